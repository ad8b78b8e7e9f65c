/* SPDX-License-Identifier: MIT */
/* sender.c - class dispatcher_with_send: a channel that keeps what the kernel
 * does not take at once. */
#include <stdio.h>

#include "internal.h"

static struct asyncore_dispatcher_with_send *
sender(struct asyncore_dispatcher *d)
{
    return asyncore_container_of(d, struct asyncore_dispatcher_with_send,
                                 base);
}

struct asyncore_dispatcher_with_send *
asyncore_dispatcher_with_send_from(struct asyncore_dispatcher *d)
{
    return asyncore__isinstance(d, &asyncore__with_send_class) ? sender(d)
                                                               : NULL;
}

int
asyncore_dispatcher_with_send_init(struct asyncore_dispatcher_with_send *s,
                                   const struct asyncore_ops *ops, int fd,
                                   struct asyncore_map *map)
{
    return asyncore__init(s != NULL ? &s->base : NULL,
                          &asyncore__with_send_class, sizeof *s, ops, map,
                          asyncore_set_socket, fd);
}

int
asyncore_dispatcher_with_send_new(const struct asyncore_ops *ops, int fd,
                                  struct asyncore_map *map,
                                  struct asyncore_dispatcher_with_send **ret)
{
    int err;
    struct asyncore_dispatcher_with_send *s =
        asyncore__new(&asyncore__with_send_class, sizeof *s, ops, map,
                      asyncore_set_socket, fd, &err);
    if (s != NULL && ret != NULL) {
        *ret = s;
    }
    return err;
}

/* ---- sending ---- */

static void
log_sending(struct asyncore_dispatcher *d, const unsigned char *data,
            size_t len)
{
    char text[480];
    size_t used = 0;
    for (size_t i = 0; i < len && used < sizeof text - 5; i++) {
        bool plain = data[i] >= ' ' && data[i] < 127 && data[i] != '\\' &&
                     data[i] != '\'';
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 plain ? "%c" : "\\x%02x", (unsigned)data[i]);
    }
    text[used] = '\0';
    asyncore_log_info(d, ASYNCORE_LOG_INFO, "sending '%s'", text);
}

/* May it?  Returns 0, or why not. */
static int
check_send(struct asyncore_dispatcher *d, const void *data, size_t len)
{
    bool valid = asyncore__isinstance(d, &asyncore__with_send_class) &&
                 (data != NULL || len == 0);
    int err = valid ? asyncore__check_open(d) : -EINVAL;
    return err < 0 ? err : asyncore__output_check(d, len);
}

static ssize_t
send_any(struct asyncore_dispatcher *d, const void *data, size_t len)
{
    int err = check_send(d, data, len);
    if (err < 0 || len == 0) {
        return err;
    }
    if (d->debug) {
        log_sending(d, data, len);
    }
    if (!asyncore__has(d, ASYNCORE__STREAM)) {
        /* Kept in no queue: datagrams must not run together. */
        return asyncore_dispatcher_send(d, data, len);
    }
    return asyncore__output_send(d, data, len);
}

/* May the bytes go to the kernel without more ado? */
static inline bool
is_plain(const struct asyncore_dispatcher *d, const void *data, size_t len)
{
    if (!asyncore__valid(d) || d->asyncore__class != ASYNCORE__WITH_SEND ||
        !asyncore__has(d, ASYNCORE__PLAIN) || d->debug) {
        return false;
    }
    const struct asyncore__output *out = asyncore__output_of(d);
    return (out == NULL ||
            (asyncore__outq_empty(&out->queue) && out->limits == NULL)) &&
           data != NULL && len > 0 && len <= ASYNCORE_MAX_OUTPUT;
}

ssize_t
asyncore_dispatcher_with_send_send(struct asyncore_dispatcher *d,
                                   const void *data, size_t len)
{
    if (!is_plain(d, data, len)) {
        return send_any(d, data, len);
    }
    struct asyncore__world *w = d->map->world;
    ssize_t n = w->send_soon(w, d->fd, data, len);
    if (n != (ssize_t)len) {
        return asyncore__output_sent_part(d, data, len, n);
    }
    asyncore__set(d, ASYNCORE__SERVED);
    return n;
}

int
asyncore_initiate_send(struct asyncore_dispatcher_with_send *s)
{
    int err = asyncore__check_open(s != NULL ? &s->base : NULL);
    return err < 0 ? err : asyncore__output_flush(&s->base);
}

/* ---- the class ---- */

int
asyncore_dispatcher_with_send_handle_write(struct asyncore_dispatcher *d)
{
    struct asyncore_dispatcher_with_send *s =
        asyncore_dispatcher_with_send_from(d);
    return s != NULL ? asyncore_initiate_send(s) : -EINVAL;
}

bool
asyncore_dispatcher_with_send_writable(struct asyncore_dispatcher *d)
{
    return asyncore__valid(d) &&
           (d->connecting || asyncore__has(d, ASYNCORE__BLOCKED));
}

static const struct asyncore_ops with_send_ops = {
    .readable = asyncore_dispatcher_readable,
    .writable = asyncore_dispatcher_with_send_writable,
    .handle_read = asyncore_dispatcher_handle_read,
    .handle_write = asyncore_dispatcher_with_send_handle_write,
    .handle_expt = asyncore_dispatcher_handle_expt,
    .handle_connect = asyncore_dispatcher_handle_connect,
    .handle_accept = asyncore_dispatcher_handle_accept,
    .handle_accepted = asyncore_dispatcher_handle_accepted,
    .handle_close = asyncore_dispatcher_handle_close,
    .handle_error = asyncore_dispatcher_handle_error,
    .handle_timeout = asyncore_dispatcher_handle_timeout,
    .handle_read_event = asyncore_dispatcher_handle_read_event,
    .handle_write_event = asyncore_dispatcher_handle_write_event,
    .handle_expt_event = asyncore_dispatcher_handle_expt_event,
    .handle_connect_event = asyncore_dispatcher_handle_connect_event,
    .send = asyncore_dispatcher_with_send_send,
    .recv = asyncore_dispatcher_recv,
    .log_info = asyncore_dispatcher_log_info,
};

const struct asyncore__class asyncore__with_send_class = {
    .name = "asyncore_dispatcher_with_send",
    .number = ASYNCORE__WITH_SEND,
    .parent = &asyncore__dispatcher_class,
    .ops = &with_send_ops,
    .queues = true,
};
