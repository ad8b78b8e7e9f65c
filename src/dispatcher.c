/* SPDX-License-Identifier: MIT */
/* dispatcher.c - class dispatcher: the life of a channel, and what its
 * handlers do unless somebody overrides them. */
#include <stdio.h>

#include "internal.h"

/* At most so many connections per listener and pass, in fairness to the
 * others. */
#define ACCEPT_BATCH 64

/* What asyncore_set_linger() starts with. */
#define LINGER 200 /* hundredths of a second */

/* ---- birth ---- */

static const struct asyncore_ops no_ops;

int
asyncore__init(struct asyncore_dispatcher *d,
               const struct asyncore__class *cls, size_t size,
               const struct asyncore_ops *ops, struct asyncore_map *map,
               int (*adopt)(struct asyncore_dispatcher *d, int fd), int fd)
{
    if (d == NULL) {
        return -EINVAL;
    }
    memset(d, 0, size);
    d->fd = -1;
    int err = asyncore__map(&map);
    if (err < 0) {
        return err;
    }
    d->ops = ops != NULL ? ops : &no_ops;
    d->map = map;
    d->ignore_log_types = ASYNCORE_LOG_WARNING;
    d->asyncore__linger = LINGER;
    d->asyncore__transport = ASYNCORE__SOCKET;
    d->asyncore__class = cls->number & 7u;
    d->asyncore__magic = ASYNCORE__MAGIC;
    if (fd != -1) {
        err = adopt(d, fd);
        if (err < 0) {
            asyncore__set_addr(d, NULL);
            d->asyncore__magic = 0;
        }
    }
    return err;
}

void *
asyncore__new(const struct asyncore__class *cls, size_t size,
              const struct asyncore_ops *ops, struct asyncore_map *map,
              int (*adopt)(struct asyncore_dispatcher *d, int fd), int fd,
              int *ret_err)
{
    struct asyncore_dispatcher *d = asyncore__realloc(NULL, size);
    *ret_err = d != NULL ? asyncore__init(d, cls, size, ops, map, adopt, fd)
                         : -ENOMEM;
    if (*ret_err < 0) {
        asyncore__free(d);
        return NULL;
    }
    asyncore__set(d, ASYNCORE__OWNED);
    return d;
}

int
asyncore_dispatcher_init(struct asyncore_dispatcher *d,
                         const struct asyncore_ops *ops, int fd,
                         struct asyncore_map *map)
{
    return asyncore__init(d, &asyncore__dispatcher_class, sizeof *d, ops, map,
                          asyncore_set_socket, fd);
}

int
asyncore_dispatcher_new(const struct asyncore_ops *ops, int fd,
                        struct asyncore_map *map,
                        struct asyncore_dispatcher **ret)
{
    int err;
    struct asyncore_dispatcher *d =
        asyncore__new(&asyncore__dispatcher_class, sizeof *d, ops, map,
                      asyncore_set_socket, fd, &err);
    if (d != NULL && ret != NULL) {
        *ret = d;
    }
    return err;
}

/* ---- descriptors given to handlers ---- */

/* The innermost.  Of the thread, not of the map: descriptors are the
 * process's, and may be given to a channel of any map. */
static _Thread_local struct asyncore__given *innermost;

struct asyncore__given *
asyncore__given(int fd)
{
    struct asyncore__given *given = innermost;
    while (given != NULL && given->fd != fd) {
        given = given->outer;
    }
    return given;
}

/* It is no more the handler's who was given it. */
static void
disown(int fd)
{
    struct asyncore__given *given = asyncore__given(fd);
    if (given != NULL) {
        given->fd = -1;
    }
}

void
asyncore__give(struct asyncore__given *given)
{
    disown(given->fd); /* the number is new: an older one has been closed */
    given->outer = innermost;
    innermost = given;
}

void
asyncore__given_back(struct asyncore__given *given)
{
    innermost = given->outer;
}

/* ---- a life ---- */

int
asyncore__open(struct asyncore_dispatcher *d, int fd, unsigned transport,
               bool stream)
{
    if (asyncore__has(d, ASYNCORE__DESTROYED)) {
        return -EBADF; /* it must be initialised anew */
    }
    d->fd = fd;
    int err = asyncore__map_add(d->map, d);
    if (err < 0) {
        d->fd = -1;
        return err;
    }
    asyncore__unbury(d);
    asyncore__unset(d, ~(unsigned)(ASYNCORE__OWNED | ASYNCORE__TOUCHED |
                                   ASYNCORE__IN_MAP));
    asyncore__set(d, stream ? ASYNCORE__STREAM : 0);
    d->asyncore__transport = transport & 3u;
    d->error = 0;
    d->asyncore__life++;
    d->map->open++;
    disown(fd); /* it is the channel's now */
    asyncore__touch(d);
    return 0;
}

struct asyncore__rare *
asyncore__rare_of(struct asyncore_dispatcher *d)
{
    if (d->asyncore__rare == NULL) {
        d->asyncore__rare = asyncore__calloc(sizeof *d->asyncore__rare);
    }
    return d->asyncore__rare;
}

/* ---- in and out of maps ---- */

int
asyncore_add_channel(struct asyncore_dispatcher *d, struct asyncore_map *map)
{
    int err = asyncore__check_open(d);
    if (err < 0) {
        return err;
    }
    if (asyncore__in_map(d)) {
        return -EBUSY;
    }
    struct asyncore_map *old = d->map;
    err = asyncore__map_add(map != NULL ? map : old, d);
    if (err >= 0 && d->map != old && ASYNCORE__URING(old)) {
        err = asyncore__uring_move(old, map, d->fd);
        if (err < 0) {
            asyncore__map_remove(d, false);
            d->map = old;
        }
    }
    if (err < 0) {
        return err;
    }
    if (d->map != old) {
        struct asyncore_map *new = d->map;
        d->map = old;
        asyncore__untouch(d);
        d->map = new;
        old->open--;
        new->open++;
    }
    asyncore__touch(d);
    if (asyncore__class_of(d)->entered != NULL) {
        asyncore__class_of(d)->entered(d);
    }
    return 0;
}

static void
leave_map(struct asyncore_dispatcher *d, bool closing)
{
    if (!asyncore__in_map(d)) {
        return;
    }
    if (asyncore__class_of(d)->leaving != NULL) {
        asyncore__class_of(d)->leaving(d);
    }
    asyncore__idle_clear(d);
    asyncore__rest_clear(d);
    asyncore__map_remove(d, closing);
}

int
asyncore_del_channel(struct asyncore_dispatcher *d)
{
    int err = asyncore__check_open(d);
    if (err >= 0) {
        leave_map(d, false);
    }
    return err;
}

/* ---- death ---- */

/* The channel has no descriptor any more; returns what it was. */
static int
leave(struct asyncore_dispatcher *d, bool closing)
{
    int fd = d->fd;
    leave_map(d, closing);
    d->fd = -1;
    d->connected = d->accepting = d->connecting = d->closing = 0;
    d->map->open--;
    asyncore__bury(d);
    struct asyncore_map *map = asyncore__enter(d);
    asyncore__output_clear(d); /* producers are released */
    if (asyncore__class_of(d)->closed != NULL) {
        asyncore__class_of(d)->closed(d);
    }
    asyncore__leave(d, map);
    return fd;
}

int
asyncore_close(struct asyncore_dispatcher *d)
{
    if (!asyncore__valid(d)) {
        return -EINVAL;
    }
    if (d->fd < 0) {
        asyncore__bury(d);
        return 0;
    }
    struct asyncore__world *w = d->map->world;
    int err = w->close(w, leave(d, true));
    /* Closed it is, whatever close(2) says. */
    bool harmless = err >= 0 || err == -EBADF || err == -ENOTCONN ||
                    err == -EINTR || err == -EINPROGRESS;
    return harmless ? 0 : asyncore__fail(d, "close", err);
}

int
asyncore_detach(struct asyncore_dispatcher *d)
{
    int err = asyncore__check_open(d);
    if (err < 0) {
        return err;
    }
    struct asyncore_map *map = d->map;
    int fd = leave(d, false);
    if (ASYNCORE__URING(map)) {
        asyncore__uring_forget(map, fd);
    }
    return fd;
}

/* ---- text ---- */

char *
asyncore_repr(const struct asyncore_dispatcher *d, char *buf, size_t size)
{
    if (buf == NULL || size == 0) {
        return buf;
    }
    if (!asyncore__valid(d)) {
        snprintf(buf, size, "<no channel at %p>", (const void *)d);
        return buf;
    }
    struct asyncore_addr addr;
    bool known = asyncore_getaddr(d, &addr) >= 0;
    const char *name =
        d->ops->name != NULL ? d->ops->name : asyncore__class_of(d)->name;
    const char *status = d->accepting && known ? " listening"
                         : d->connected        ? " connected"
                                               : "";
    const char *text = known ? asyncore_addr_str(&addr) : "";
    snprintf(buf, size, "<%s%s%s%s at %p>", name, status,
             text[0] != '\0' ? " " : "", text, (const void *)d);
    return buf;
}

static bool
is_of_accepted(const struct asyncore_dispatcher *d,
               const struct asyncore_error *err)
{
    return d->accepting && err->handler != NULL &&
           strcmp(err->handler, "handle_accepted") == 0;
}

void
asyncore__log_uncaptured(struct asyncore_dispatcher *d,
                         const struct asyncore_error *err)
{
    char channel[256], what[200];
    const char *then =
        is_of_accepted(d, err) ? "dropping connection to" : "closing channel";
    asyncore_repr(d, channel, sizeof channel);
    asyncore_compact_traceback(err, what, sizeof what);
    if (d->fd >= 0) {
        asyncore_log_info(d, ASYNCORE_LOG_ERROR,
                          "uncaptured error, %s %s (%s)", then, channel, what);
    }
    else if ((d->ignore_log_types & ASYNCORE_LOG_ERROR) == 0) {
        asyncore__log(ASYNCORE_LOG_ERROR, d,
                      "uncaptured error in closed channel %s (%s)", channel,
                      what);
    }
}

static int
warn(struct asyncore_dispatcher *d, const char *message)
{
    int err = asyncore__check_open(d);
    if (err >= 0) {
        asyncore_log_info(d, ASYNCORE_LOG_WARNING, "%s", message);
    }
    return err;
}

/* ---- predicates ---- */

bool
asyncore_readable(struct asyncore_dispatcher *d)
{
    return asyncore__valid(d) && ASYNCORE__VIRTUAL(d, readable)(d);
}

bool
asyncore_writable(struct asyncore_dispatcher *d)
{
    return asyncore__valid(d) && ASYNCORE__VIRTUAL(d, writable)(d);
}

bool
asyncore_dispatcher_readable(struct asyncore_dispatcher *d)
{
    (void)d;
    return true;
}

/* True in the original, always.  Who has no handler for it would only keep
 * the loop busy. */
bool
asyncore_dispatcher_writable(struct asyncore_dispatcher *d)
{
    return asyncore__valid(d) &&
           (d->connecting || d->ops->handle_write != NULL ||
            d->ops->handle_write_event != NULL);
}

/* ---- readiness to events ---- */

int
asyncore_dispatcher_handle_read_event(struct asyncore_dispatcher *d)
{
    int open = asyncore__check_open(d);
    if (open < 0) {
        return open;
    }
    if (d->accepting) {
        return ASYNCORE__RUN(d, handle_accept);
    }
    if (d->connecting) {
        struct asyncore__life life = asyncore__life(d);
        int rc = ASYNCORE__RUN(d, handle_connect_event);
        if (rc < 0 || !asyncore__alive(d, life)) {
            return rc;
        }
    }
    return ASYNCORE__RUN(d, handle_read);
}

int
asyncore_dispatcher_handle_write_event(struct asyncore_dispatcher *d)
{
    int open = asyncore__check_open(d);
    if (open < 0) {
        return open;
    }
    if (d->accepting) {
        return 0;
    }
    if (d->connecting) {
        struct asyncore__life life = asyncore__life(d);
        int rc = ASYNCORE__RUN(d, handle_connect_event);
        if (rc < 0 || !asyncore__alive(d, life)) {
            return rc;
        }
        /* It was the library that waited for this; who has a writable() of
         * his own is only told if he wants to write. */
        if (d->ops->writable != NULL && !asyncore__has(d, ASYNCORE__ASK_W)) {
            return 0;
        }
    }
    return ASYNCORE__RUN(d, handle_write);
}

int
asyncore_dispatcher_handle_connect_event(struct asyncore_dispatcher *d)
{
    int open = asyncore__check_open(d);
    if (open < 0) {
        return open;
    }
    int err = asyncore__transport_of(d)->error(d);
    asyncore__set(d, ASYNCORE__SERVED);
    asyncore__touch(d);
    d->connecting = 0;
    if (err < 0) {
        asyncore__set(d, ASYNCORE__LOST);
        d->error = err;
        return asyncore__fail(d, "connect", err);
    }
    d->connected = 1;
    return ASYNCORE__RUN(d, handle_connect);
}

int
asyncore_dispatcher_handle_expt_event(struct asyncore_dispatcher *d)
{
    int open = asyncore__check_open(d);
    if (open < 0) {
        return open;
    }
    int err = asyncore__transport_of(d)->error(d);
    return err < 0 ? asyncore__end(d, err) : ASYNCORE__RUN(d, handle_expt);
}

/* ---- events to nothing in particular ---- */

int
asyncore_dispatcher_handle_read(struct asyncore_dispatcher *d)
{
    return warn(d, "unhandled read event");
}

int
asyncore_dispatcher_handle_write(struct asyncore_dispatcher *d)
{
    return warn(d, "unhandled write event");
}

int
asyncore_dispatcher_handle_expt(struct asyncore_dispatcher *d)
{
    return warn(d, "unhandled incoming priority event");
}

int
asyncore_dispatcher_handle_connect(struct asyncore_dispatcher *d)
{
    return warn(d, "unhandled connect event");
}

int
asyncore_dispatcher_handle_accepted(struct asyncore_dispatcher *d, int fd,
                                    const struct asyncore_addr *addr)
{
    (void)addr;
    if (!asyncore__valid(d)) {
        return -EINVAL;
    }
    struct asyncore__world *w = d->map->world;
    disown(fd);
    w->close(w, fd);
    return warn(d, "unhandled accepted event");
}

int
asyncore_dispatcher_handle_close(struct asyncore_dispatcher *d)
{
    int err = warn(d, "unhandled close event");
    return err < 0 ? err : asyncore_close(d);
}

int
asyncore_dispatcher_handle_timeout(struct asyncore_dispatcher *d)
{
    int open = asyncore__check_open(d);
    return open < 0 ? open : asyncore__end(d, -ETIMEDOUT);
}

int
asyncore_dispatcher_handle_error(struct asyncore_dispatcher *d,
                                 const struct asyncore_error *err)
{
    int open = asyncore__check_open(d);
    if (open < 0 || err == NULL) {
        return open < 0 ? open : -EINVAL;
    }
    asyncore__log_uncaptured(d, err);
    /* One connection that could not be served is no reason to accept no
     * more. */
    if (is_of_accepted(d, err)) {
        return 0;
    }
    if (asyncore__has(d, ASYNCORE__TOLD)) {
        return asyncore_close(d);
    }
    return asyncore__end(d, err->code);
}

/* ---- accepting ---- */

int
asyncore__hand_over(struct asyncore_dispatcher *d, int fd,
                    const struct asyncore_addr *addr)
{
    struct asyncore__given given = {
        .fd = fd, .tcp = asyncore__has(d, ASYNCORE__TCP), .addr = addr};
    struct asyncore_map *map = asyncore__enter(d);
    asyncore__give(&given);
    int rc = ASYNCORE__VIRTUAL(d, handle_accepted)(d, fd, addr);
    asyncore__given_back(&given);
    asyncore__leave(d, map);
    rc = asyncore__ran(d, "handle_accepted", rc);
    if (rc < 0 && rc != ASYNCORE_EXIT_NOW && given.fd == fd) {
        map->world->close(map->world, fd);
    }
    return asyncore__catch(d, rc);
}

int
asyncore_dispatcher_handle_accept(struct asyncore_dispatcher *d)
{
    int open = asyncore__check_open(d);
    if (open < 0) {
        return open;
    }
    struct asyncore__life life = asyncore__life(d);
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct asyncore_addr addr;
        int fd = asyncore_accept(d, &addr);
        if (fd < 0) {
            return fd;
        }
        int rc = asyncore__hand_over(d, fd, &addr);
        if (rc < 0 || d->map->exiting || !asyncore__alive(d, life)) {
            return rc;
        }
    }
    return 0;
}

/* ---- the class ---- */

const struct asyncore_ops asyncore__dispatcher_ops = {
    .readable = asyncore_dispatcher_readable,
    .writable = asyncore_dispatcher_writable,
    .handle_read = asyncore_dispatcher_handle_read,
    .handle_write = asyncore_dispatcher_handle_write,
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
    .send = asyncore_dispatcher_send,
    .recv = asyncore_dispatcher_recv,
    .log_info = asyncore_dispatcher_log_info,
};

const struct asyncore__class asyncore__dispatcher_class = {
    .name = "asyncore_dispatcher",
    .number = ASYNCORE__DISPATCHER,
    .ops = &asyncore__dispatcher_ops,
};
