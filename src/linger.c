/* SPDX-License-Identifier: MIT */
/* linger.c - the orderly end of a connection.
 *
 * close(2) on a socket that has received what nobody read, or receives any-
 * thing later, makes the kernel reset the connection, and a reset throws away
 * what the peer has not read yet.  So who has sent his last byte shuts down
 * his side, and goes on reading, for the waste, until the peer has ended his
 * side too, or lingered long enough. */
#include "internal.h"

#define WASTE_BYTES ((size_t)64 * 1024)

int
asyncore_set_linger(struct asyncore_dispatcher *d, double seconds)
{
    int64_t ns;
    if (!asyncore__valid(d) || !asyncore__ns(seconds, &ns)) {
        return -EINVAL;
    }
    const int64_t unit = 10 * 1000 * 1000;
    int64_t units = ns / unit + (ns % unit != 0);
    d->asyncore__linger = ns < 0 || units >= ASYNCORE__LINGER_FOREVER
                              ? ASYNCORE__LINGER_FOREVER
                              : (unsigned short)units;
    return 0;
}

/* Shut down our side; with the peer's, that is a hang-up, to be seen in the
 * next pass. */
static int
shut_down(struct asyncore_dispatcher *d)
{
    asyncore__set(d, ASYNCORE__SERVED);
    return asyncore__transport_of(d)->shutdown(d);
}

/* Over and out. */
static int
finish(struct asyncore_dispatcher *d)
{
    return asyncore__has(d, ASYNCORE__TOLD) ? asyncore_close(d)
                                            : asyncore__end(d, 0);
}

int
asyncore__linger_over(struct asyncore_dispatcher *d)
{
    asyncore__unset(d, ASYNCORE__LINGERING);
    asyncore__touch(d);
    return finish(d);
}

int
asyncore__linger_read(struct asyncore_dispatcher *d)
{
    size_t size = WASTE_BYTES;
    char *waste = asyncore__buffer_take(d->map, &size);
    if (waste == NULL) {
        return asyncore__linger_over(d);
    }
    ssize_t n = asyncore__transport_of(d)->recv(d, waste, size);
    asyncore__buffer_give(d->map, waste, size);
    asyncore__set(d, ASYNCORE__SERVED);
    bool goes_on = n > 0 || n == -EAGAIN || n == -EINTR;
    return goes_on ? 0 : asyncore__linger_over(d);
}

static int
linger(struct asyncore_dispatcher *d)
{
    bool stream = asyncore__has(d, ASYNCORE__STREAM) && asyncore__is_socket(d);
    if (!stream || !d->connected || d->asyncore__linger == 0 ||
        asyncore__has(d, ASYNCORE__EOF | ASYNCORE__TOLD)) {
        return finish(d);
    }
    if (!asyncore__has(d, ASYNCORE__SHUT_DONE) && shut_down(d) < 0) {
        return finish(d); /* no connection any more */
    }
    double seconds = d->asyncore__linger < ASYNCORE__LINGER_FOREVER
                         ? d->asyncore__linger / 1e2
                         : ASYNCORE_FOREVER;
    if (asyncore_set_timeout(d, seconds) < 0) {
        return finish(d); /* no memory to wait with */
    }
    asyncore__set(d,
                  ASYNCORE__LINGERING | ASYNCORE__SHUT | ASYNCORE__SHUT_DONE);
    asyncore__touch(d);
    return 0;
}

int
asyncore__flushed(struct asyncore_dispatcher *d)
{
    bool over = d->closing || (asyncore__has(d, ASYNCORE__SHUT) &&
                               !asyncore__has(d, ASYNCORE__SHUT_DONE));
    if (over && ASYNCORE__URING(d->map) &&
        asyncore__uring_settle(d->map, d->fd) < 0) {
        return 0; /* some of it is not sent yet */
    }
    if (d->closing) {
        return asyncore__has(d, ASYNCORE__LINGERING) ? 0 : linger(d);
    }
    if (!asyncore__has(d, ASYNCORE__SHUT) ||
        asyncore__has(d, ASYNCORE__SHUT_DONE)) {
        return 0;
    }
    asyncore__set(d, ASYNCORE__SHUT_DONE);
    int err = shut_down(d);
    if (err < 0 && !asyncore__disconnected(err)) {
        return asyncore__fail(d, "shutdown", err);
    }
    /* Both sides have ended? */
    return asyncore__has(d, ASYNCORE__EOF) ? asyncore__end(d, 0) : 0;
}

int
asyncore_close_when_done(struct asyncore_dispatcher *d)
{
    int err = asyncore__check_open(d);
    if (err < 0) {
        return err;
    }
    d->closing = 1;
    asyncore__touch(d);
    return asyncore__pending(d) ? 0 : asyncore__flushed(d);
}

int
asyncore_shutdown(struct asyncore_dispatcher *d)
{
    int err = asyncore__check_open(d);
    if (err < 0) {
        return err;
    }
    if (!d->connected && !d->connecting) {
        return -ENOTCONN;
    }
    if (asyncore__transport_of(d)->shutdown == NULL) {
        return -ENOTSOCK;
    }
    asyncore__set(d, ASYNCORE__SHUT);
    asyncore__touch(d);
    bool now = d->connected && !asyncore__pending(d);
    return now ? asyncore__flushed(d) : 0;
}
