/* SPDX-License-Identifier: MIT */
/* deliver.c - from "ready" to handlers, from failures to handle_error.
 *
 * All delivery is in map order, all events of one channel together: read,
 * write, priority, hang-up; before each it is made sure that the channel is
 * still in the life that was ready.  So all backends look the same.
 *
 * A handler's negative result is the exception of the original.  On its way
 * out it is noted where it came from (asyncore__fail: the operation;
 * asyncore__ran: the handler), and where the original has a protected block
 * (asyncore__catch) it is handed to handle_error. */
#include <poll.h>

#include "internal.h"

/* ---- failures ---- */

int
asyncore__fail(struct asyncore_dispatcher *d, const char *op, int code)
{
    d->map->failed = (struct asyncore_error){code, op, NULL};
    d->map->failed_told = false;
    return code;
}

int
asyncore__ran(struct asyncore_dispatcher *d, const char *handler, int result)
{
    if (result >= 0 || result == -EAGAIN) {
        return 0;
    }
    struct asyncore_map *map = d->map;
    if (result == ASYNCORE_EXIT_NOW) {
        return asyncore__exit(map);
    }
    if (map->failed.code != result) {
        asyncore__fail(d, handler, result); /* he made it up himself */
    }
    if (map->failed.handler == NULL) {
        map->failed.handler = handler;
    }
    return result;
}

int
asyncore__run(struct asyncore_dispatcher *d, const char *handler,
              int (*fn)(struct asyncore_dispatcher *d))
{
    struct asyncore_map *map = asyncore__enter(d);
    int result = fn(d);
    asyncore__leave(d, map);
    return asyncore__ran(d, handler, result);
}

static int
handle_error(struct asyncore_dispatcher *d, const struct asyncore_error *err)
{
    d->map->failed_told = true;
    struct asyncore_map *map = asyncore__enter(d);
    int again = ASYNCORE__VIRTUAL(d, handle_error)(d, err);
    asyncore__leave(d, map);
    if (again >= 0 || again == -EAGAIN) {
        return 0;
    }
    if (again == ASYNCORE_EXIT_NOW) {
        return asyncore__exit(d->map);
    }
    /* The original's loop ends here; ours does not. */
    struct asyncore_error second = {again, "handle_error", err->handler};
    asyncore__log_uncaptured(d, err);
    asyncore__log_uncaptured(d, &second);
    asyncore_close(d);
    return 0;
}

int
asyncore__catch(struct asyncore_dispatcher *d, int result)
{
    if (result >= 0 || result == ASYNCORE_EXIT_NOW) {
        return result < 0 ? result : 0;
    }
    struct asyncore_map *map = d->map;
    struct asyncore_error err = map->failed;
    bool told = map->failed_told && err.code == result;
    map->failed = (struct asyncore_error){0, NULL, NULL};
    if (err.code != result) {
        err = (struct asyncore_error){result, "call", NULL};
    }
    if (d->fd < 0) {
        /* Closed by its own handler, which failed after that.  No handler
         * runs any more; that it is closed is no news. */
        if (result != -EBADF && !told) {
            asyncore__log_uncaptured(d, &err);
        }
        return 0;
    }
    struct asyncore__life life = asyncore__life(d);
    int rc = handle_error(d, &err);
    if (asyncore__has(d, ASYNCORE__LOST) && asyncore__same(d, life)) {
        if (rc >= 0) {
            rc = asyncore__end(d, result);
        }
        else {
            asyncore__touch(d); /* it leaves the loop: in the next pass */
        }
    }
    return rc;
}

/* The same where the block began in a life that may be over: who has closed,
 * opened another socket and then failed has not failed on that one. */
static int
catch_in(struct asyncore_dispatcher *d, struct asyncore__life life, int result)
{
    if (result >= 0 || result == ASYNCORE_EXIT_NOW || d->fd < 0 ||
        asyncore__same(d, life)) {
        return asyncore__catch(d, result);
    }
    struct asyncore_error err = d->map->failed;
    asyncore__log_uncaptured(d, &err);
    return 0;
}

/* ---- the end of a connection ---- */

int
asyncore__end(struct asyncore_dispatcher *d, int reason)
{
    if (d->fd < 0) {
        return 0;
    }
    if (reason < 0) {
        struct asyncore__life life = asyncore__life(d);
        struct asyncore_map *map = asyncore__enter(d);
        asyncore__output_clear(d); /* nobody will take it */
        asyncore__leave(d, map);
        if (!asyncore__same(d, life)) {
            return 0; /* closed by one whose bytes were released */
        }
    }
    if (asyncore__has(d, ASYNCORE__TOLD)) {
        /* It only waited for its output to go. */
        return d->closing ? asyncore__catch(d, asyncore_close(d)) : 0;
    }
    asyncore__set(d, ASYNCORE__TOLD);
    asyncore__unset(d, ASYNCORE__LOST);
    d->error = reason;
    asyncore__touch(d);
    return asyncore__catch(d, ASYNCORE__RUN(d, handle_close));
}

int
asyncore__end_of_stream(struct asyncore_dispatcher *d)
{
    if (asyncore__has(d, ASYNCORE__EOF)) {
        return 0;
    }
    asyncore__set(d, ASYNCORE__EOF);
    asyncore__touch(d);
    if (d->ops->handle_eof == NULL || d->error < 0) {
        return asyncore__end(d, d->error);
    }
    struct asyncore__life life = asyncore__life(d);
    int rc =
        asyncore__catch(d, asyncore__run(d, "handle_eof", d->ops->handle_eof));
    if (rc >= 0 && asyncore__same(d, life) &&
        asyncore__has(d, ASYNCORE__SHUT_DONE)) {
        rc = asyncore__end(d, 0);
    }
    return rc;
}

int
asyncore__io_failed(struct asyncore_dispatcher *d, const char *op, int code)
{
    if (code == -EAGAIN) {
        return code;
    }
    asyncore__fail(d, op, code);
    return asyncore__disconnected(code) ? asyncore__end(d, code) : code;
}

/* ---- delivery ---- */

/* A new protected block: what failed before is nobody's business. */
static void
begin(struct asyncore_dispatcher *d)
{
    d->map->failed.code = 0;
    asyncore__unset(d, ASYNCORE__SERVED);
    if (asyncore__has(d, ASYNCORE__TIMED) &&
        !asyncore__has(d, ASYNCORE__LINGERING)) {
        asyncore__idle_reset(d);
    }
    if ((d->ops->flags & ASYNCORE_ASK_ON_TOUCH) != 0) {
        asyncore__touch(d);
    }
}

/* The events of `mask` in their order, in one protected block. */
static int
steps(struct asyncore_dispatcher *d, unsigned mask)
{
    struct asyncore__life life = asyncore__life(d);
    int rc = 0;
    begin(d);
    if (asyncore__has(d, ASYNCORE__LINGERING)) {
        return asyncore__catch(d, asyncore__linger_read(d));
    }
    if ((mask & ASYNCORE__READ) != 0) {
        rc = ASYNCORE__RUN(d, handle_read_event);
    }
    if (rc >= 0 && (mask & ASYNCORE__WRITE) != 0 && asyncore__alive(d, life)) {
        rc = ASYNCORE__RUN(d, handle_write_event);
    }
    if (rc >= 0 && (mask & ASYNCORE__PRI) != 0 && asyncore__alive(d, life)) {
        rc = ASYNCORE__RUN(d, handle_expt_event);
    }
    return catch_in(d, life, rc);
}

static int
deliver_one(struct asyncore_dispatcher *d, unsigned mask)
{
    int err = asyncore__check_open(d);
    return err < 0 ? err : steps(d, mask);
}

int
asyncore_read(struct asyncore_dispatcher *d)
{
    return deliver_one(d, ASYNCORE__READ);
}

int
asyncore_write(struct asyncore_dispatcher *d)
{
    return deliver_one(d, ASYNCORE__WRITE);
}

int
asyncore_exception(struct asyncore_dispatcher *d)
{
    return deliver_one(d, ASYNCORE__PRI);
}

int
asyncore_readwrite(struct asyncore_dispatcher *d, int flags)
{
    int rc = asyncore__check_open(d);
    if (rc < 0) {
        return rc;
    }
    struct asyncore__life life = asyncore__life(d);
    rc =
        steps(d, ((flags & POLLIN) != 0 ? (unsigned)ASYNCORE__READ : 0) |
                     ((flags & POLLOUT) != 0 ? (unsigned)ASYNCORE__WRITE : 0) |
                     ((flags & POLLPRI) != 0 ? (unsigned)ASYNCORE__PRI : 0));
    if (rc >= 0 && (flags & (POLLHUP | POLLERR | POLLNVAL)) != 0 &&
        asyncore__alive(d, life)) {
        rc = asyncore__end(d, (flags & POLLNVAL) != 0 ? -EBADF : 0);
    }
    return rc;
}

/* ---- hang-ups ---- */

/* For backends that cannot tell: is it hung up?  Then *mask is as of one that
 * can. */
static bool
is_hung_up(struct asyncore_dispatcher *d, unsigned *mask)
{
    struct asyncore__world *w = d->map->world;
    struct pollfd one = {.fd = d->fd, .events = POLLIN};
    if (w->poll(w, &one, 1, 0) <= 0 ||
        (one.revents & (POLLHUP | POLLERR)) == 0) {
        return false;
    }
    *mask = (one.revents & POLLIN) != 0 ? (unsigned)ASYNCORE__READ : 0;
    return true;
}

/* The channel had a read or write event, and did no input or output: a hang-
 * up would be reported for ever.  Is it one?  Data that the handler left
 * unread are not cut off; a reader that wants them will get to the end. */
static int
unserved(struct asyncore_dispatcher *d, unsigned mask)
{
    bool stream = asyncore__has(d, ASYNCORE__STREAM);
    const struct asyncore__backend *backend = d->map->backend;
    if (!stream || d->accepting || asyncore__has(d, ASYNCORE__TOLD) ||
        ((mask & ASYNCORE__HUP) == 0 &&
         (backend->tells_hup || !is_hung_up(d, &mask)))) {
        return 0;
    }
    if ((d->map->slots[d->fd].armed & ASYNCORE__READ) != 0) {
        char byte;
        struct asyncore__world *w = d->map->world;
        ssize_t n = w->recv(w, d->fd, &byte, 1, MSG_PEEK);
        if (n > 0 || (n == -ENOTSOCK && (mask & ASYNCORE__READ) != 0)) {
            return 0;
        }
        return asyncore__end(
            d, n < 0 && n != -EAGAIN && n != -ENOTSOCK ? (int)n : 0);
    }
    return asyncore__end(d, asyncore__transport_of(d)->error(d));
}

/* ---- the phase ---- */

/* What is left to do after a handle_read that failed, or that left alone what
 * was to be read. */
ASYNCORE__COLD static int
after_read(struct asyncore_dispatcher *d, struct asyncore__life life,
           int result)
{
    int rc = catch_in(d, life, asyncore__ran(d, "handle_read", result));
    if (rc >= 0 && !asyncore__has(d, ASYNCORE__SERVED) &&
        asyncore__alive(d, life)) {
        rc = unserved(d, ASYNCORE__READ);
    }
    return rc;
}

/* All that steps() does for a READ of a plain channel. */
static inline int
read_plain(struct asyncore_map *map, struct asyncore_dispatcher *d,
           uint32_t generation)
{
    struct asyncore__life life = {d->asyncore__life, generation, map};
    map->failed.code = 0;
    asyncore__unset(d, ASYNCORE__SERVED);
    d->asyncore__pins++;
    int result = ASYNCORE__VIRTUAL(d, handle_read)(d);
    d->asyncore__pins--;
    bool usual = result >= 0 && asyncore__has(d, ASYNCORE__SERVED);
    return usual ? 0 : after_read(d, life, result);
}

ASYNCORE__COLD static int
deliver_event(struct asyncore_dispatcher *d, unsigned armed, unsigned mask)
{
    if ((mask & ASYNCORE__NVAL) != 0) {
        return asyncore__end(d, -EBADF);
    }
    unsigned events = mask & armed;
    /* A hang-up is found by reading up to it; by writing if nobody reads. */
    if ((mask & ASYNCORE__HUP) != 0) {
        events |= (armed & ASYNCORE__READ) != 0 ? (unsigned)ASYNCORE__READ
                                                : armed & ASYNCORE__WRITE;
    }
    struct asyncore__life life = asyncore__life(d);
    int rc = steps(d, events);
    if (rc >= 0 && !asyncore__has(d, ASYNCORE__SERVED) &&
        (events & (ASYNCORE__READ | ASYNCORE__WRITE)) != 0 &&
        asyncore__alive(d, life)) {
        rc = unserved(d, mask);
    }
    return rc;
}

int
asyncore__report_other(struct asyncore_map *map, int fd, uint32_t generation,
                       unsigned mask)
{
    if (fd == map->wake_fd[0]) {
        asyncore__calls_woken(map);
        return 0;
    }
    const struct asyncore__slot *slot = &map->slots[fd];
    if (slot->d == NULL || slot->generation != generation) {
        return 0;
    }
    int err = asyncore__reserve_raw(&map->ready, &map->ready_cap,
                                    map->nready + 1, sizeof *map->ready);
    return err < 0 ? err : asyncore__report(map, fd, generation, mask);
}

/* In map order.  Without memory to do it fast, it takes longer. */
static void
sort(struct asyncore_map *map, size_t first)
{
    size_t n = map->nready - first;
    bool room =
        asyncore__reserve_raw(&map->ready, &map->ready_cap, map->nready + n,
                              sizeof *map->ready) >= 0;
    asyncore__sort(map->ready + first, n,
                   room ? map->ready + map->nready : NULL);
}

/* With thousands of busy connections their channels are long out of the cache
 * when it is their turn: have the next one fetched while the kernel is busy
 * with this one. */
static inline void
look_ahead(const struct asyncore_map *map, size_t next, size_t end)
{
    if (next < end) {
        const struct asyncore_dispatcher *d =
            map->slots[map->ready[next].fd].d;
        ASYNCORE__PREFETCH(d);
        ASYNCORE__PREFETCH((const char *)d + 64);
    }
}

int
asyncore__deliver(struct asyncore_map *map, size_t first)
{
    size_t end = map->nready;
    int rc = 0;
    if (end > first + 1) {
        sort(map, first);
    }
    for (size_t i = first; i < end && rc >= 0 && !map->exiting; i++) {
        /* By its parts: a pass inside of a handler may move the array. */
        const struct asyncore__ready *at = &map->ready[i];
        struct asyncore__ready event = {at->fd, at->generation, 0, at->mask};
        struct asyncore__slot *slot = &map->slots[event.fd];
        struct asyncore_dispatcher *d = slot->d;
        if (d == NULL || slot->generation != event.generation) {
            continue;
        }
        look_ahead(map, i + 1, end);
        bool plain_read = event.mask == ASYNCORE__READ &&
                          (slot->armed & ASYNCORE__READ) != 0 &&
                          asyncore__has(d, ASYNCORE__PLAIN);
        rc = plain_read ? read_plain(map, d, event.generation)
                        : deliver_event(d, slot->armed, event.mask);
    }
    map->nready = first;
    return rc;
}
