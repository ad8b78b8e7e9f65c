/* SPDX-License-Identifier: MIT */
/* sender.c - class dispatcher_with_send: a channel that keeps what the kernel
 * does not take at once. */
#include <stdio.h>

#include "internal.h"

/* Pieces of the queue that go out in one writev(). */
#define PIECES_PER_SEND 64

static const struct asyncore__class with_send_class;

static const struct asyncore_limits default_limits = {
    .high = ASYNCORE_HIGH_WATER,
    .low = ASYNCORE_LOW_WATER,
    .max = ASYNCORE_MAX_OUTPUT,
};

static struct asyncore_dispatcher_with_send *
sender(const struct asyncore_dispatcher *d)
{
    struct asyncore_dispatcher *base =
        (struct asyncore_dispatcher *)(uintptr_t)d;
    return asyncore_container_of(base, struct asyncore_dispatcher_with_send,
                                 base);
}

struct asyncore_dispatcher_with_send *
asyncore_dispatcher_with_send_from(struct asyncore_dispatcher *d)
{
    return asyncore__isinstance(d, &with_send_class) ? sender(d) : NULL;
}

int
asyncore_dispatcher_with_send_init(struct asyncore_dispatcher_with_send *s,
                                   const struct asyncore_ops *ops, int fd,
                                   struct asyncore_map *map)
{
    return asyncore__init(s != NULL ? &s->base : NULL, &with_send_class,
                          sizeof *s, ops, map, asyncore_set_socket, fd);
}

int
asyncore_dispatcher_with_send_new(const struct asyncore_ops *ops, int fd,
                                  struct asyncore_map *map,
                                  struct asyncore_dispatcher_with_send **ret)
{
    int err;
    struct asyncore_dispatcher_with_send *s = asyncore__new(
        &with_send_class, sizeof *s, ops, map, asyncore_set_socket, fd, &err);
    if (s != NULL && ret != NULL) {
        *ret = s;
    }
    return err;
}

/* ---- limits ---- */

static const struct asyncore_limits *
limits_of(const struct asyncore_dispatcher_with_send *s)
{
    return s->asyncore__limits != NULL ? s->asyncore__limits : &default_limits;
}

/* Too much is queued: the channel is not read from, for what it reads is
 * what makes it write.  Returns whether it has just recovered from that. */
static bool
regulate(struct asyncore_dispatcher_with_send *s)
{
    struct asyncore_dispatcher *d = &s->base;
    const struct asyncore_limits *limits = limits_of(s);
    if (asyncore__has(d, ASYNCORE__PAUSED)) {
        if (s->asyncore__out.len <= limits->low) {
            asyncore__unset(d, ASYNCORE__PAUSED);
            asyncore__touch(d);
            return true;
        }
    } else if (s->asyncore__out.len > limits->high) {
        asyncore__set(d, ASYNCORE__PAUSED);
        asyncore__touch(d);
    }
    return false;
}

int
asyncore_set_limits(struct asyncore_dispatcher *d,
                    const struct asyncore_limits *limits)
{
    struct asyncore_dispatcher_with_send *s =
        asyncore_dispatcher_with_send_from(d);
    if (s == NULL || (limits != NULL && limits->low > limits->high)) {
        return -EINVAL;
    }
    s->asyncore__limits = limits;
    if (d->fd >= 0) {
        regulate(s);
    }
    return 0;
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

/* May these bytes be taken?  Returns 0, or why not. */
static int
check_send(struct asyncore_dispatcher_with_send *s, const void *data,
           size_t len)
{
    struct asyncore_dispatcher *d = &s->base;
    if (data == NULL && len > 0) {
        return -EINVAL;
    }
    if (asyncore__has(d, ASYNCORE__SHUT) || d->closing) {
        return asyncore__fail(d, "send", -EPIPE);
    }
    size_t max = limits_of(s)->max;
    if (s->asyncore__out.len > max || len > max - s->asyncore__out.len) {
        return asyncore__fail(d, "send", -ENOBUFS);
    }
    return 0;
}

/* The stream lacks bytes now, and that can't be mended. */
static ssize_t
torn(struct asyncore_dispatcher *d)
{
    int rc = asyncore__catch(d, asyncore__fail(d, "send", -ENOMEM));
    asyncore_close(d);
    asyncore__fail(d, "send", -ENOMEM);
    d->map->failed_told = true;
    return rc < 0 ? rc : -ENOMEM;
}

/* Send now; nothing is queued before it.  Returns the bytes that went out,
 * or as sent(). */
static ssize_t
send_now(struct asyncore_dispatcher *d, const void *data, size_t len)
{
    ssize_t n;
    do {
        n = asyncore__transport_of(d)->send(d, data, len);
    } while (n == -EINTR);
    asyncore__set(d, ASYNCORE__SERVED);
    return n;
}

static ssize_t
keep(struct asyncore_dispatcher_with_send *s, const char *data, size_t len,
     size_t done)
{
    struct asyncore_dispatcher *d = &s->base;
    int err = asyncore__outq_append(&s->asyncore__out, data + done, len - done);
    if (err < 0) {
        return done > 0 ? torn(d) : asyncore__fail(d, "send", err);
    }
    asyncore__touch(d);
    regulate(s);
    return (ssize_t)len;
}

ssize_t
asyncore_dispatcher_with_send_send(struct asyncore_dispatcher *d,
                                   const void *data, size_t len)
{
    struct asyncore_dispatcher_with_send *s =
        asyncore_dispatcher_with_send_from(d);
    int err = s == NULL ? -EINVAL : asyncore__check_open(d);
    if (err >= 0) {
        err = check_send(s, data, len);
    }
    if (err < 0 || len == 0) {
        return err;
    }
    if (d->debug) {
        log_sending(d, data, len);
    }
    if (!asyncore__has(d, ASYNCORE__STREAM)) {
        return asyncore_dispatcher_send(d, data, len); /* kept in no queue:
                                            datagrams must not run together */
    }
    if (asyncore__has(d, ASYNCORE__TOLD) && d->error < 0) {
        return 0;
    }
    if (!d->connected || s->asyncore__out.len > 0) {
        return keep(s, data, len, 0);
    }
    ssize_t n = send_now(d, data, len);
    if (n == (ssize_t)len) {
        return n;
    }
    if (n < 0 && n != -EAGAIN) {
        return asyncore__io_failed(d, "send", (int)n);
    }
    return keep(s, data, len, n > 0 ? (size_t)n : 0);
}

/* One send of as much of the queue as fits into it. */
static ssize_t
send_queued(struct asyncore_dispatcher_with_send *s)
{
    struct asyncore_dispatcher *d = &s->base;
    struct iovec iov[PIECES_PER_SEND];
    int pieces = asyncore__outq_peek(&s->asyncore__out, iov, PIECES_PER_SEND);
    if (pieces == 1) {
        return send_now(d, iov[0].iov_base, iov[0].iov_len);
    }
    ssize_t n;
    do {
        n = asyncore__transport_of(d)->sendv(d, iov, pieces);
    } while (n == -EINTR);
    asyncore__set(d, ASYNCORE__SERVED);
    return n;
}

int
asyncore_initiate_send(struct asyncore_dispatcher_with_send *s)
{
    struct asyncore_dispatcher *d = s != NULL ? &s->base : NULL;
    int rc = asyncore__check_open(d);
    if (rc < 0 || s->asyncore__out.len == 0 || !d->connected) {
        return rc;
    }
    ssize_t n = send_queued(s);
    if (n < 0) {
        return n == -EAGAIN ? 0 : asyncore__io_failed(d, "send", (int)n);
    }
    struct asyncore__life life = asyncore__life(d);
    asyncore__outq_consume(&s->asyncore__out, (size_t)n);
    if (regulate(s) && d->ops->handle_drain != NULL) {
        rc = asyncore__ran(d, "handle_drain", d->ops->handle_drain(d));
    }
    if (rc >= 0 && asyncore__alive(d, life) && s->asyncore__out.len == 0) {
        asyncore__touch(d);
        rc = asyncore__flushed(d);
    }
    return rc;
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
    return d->connecting || asyncore__pending(d) > 0;
}

static size_t
pending(const struct asyncore_dispatcher *d)
{
    return sender(d)->asyncore__out.len;
}

static void
discard(struct asyncore_dispatcher *d)
{
    asyncore__outq_clear(&sender(d)->asyncore__out);
    asyncore__unset(d, ASYNCORE__PAUSED);
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

static const struct asyncore__class with_send_class = {
    .name = "asyncore_dispatcher_with_send",
    .parent = &asyncore__dispatcher_class,
    .ops = &with_send_ops,
    .pending = pending,
    .discard = discard,
};
