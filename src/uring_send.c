/* SPDX-License-Identifier: MIT */
/* uring_send.c - what leaves at the end of the pass.
 *
 * Small output of the classes that have a queue is copied and counts as sent;
 * it goes out with the system call that waits next, one entry a descriptor.
 * The kernel does such a send while it takes the entry (MSG_DONTWAIT), and
 * tells only if it fell short (CQE_SKIP_SUCCESS): then what is left goes back
 * to the front of the channel's queue, as if it had been kept there at once.
 *
 * Whoever has staged bytes and wants to send past them, shut down or close,
 * sends them first. */
#include "uring.h"

static char *
bytes_of(const struct asyncore__uring *u, const struct asyncore__staged *s)
{
    return u->arena + s->at;
}

/* What is left of staged bytes after the first `done`. */
static void
fell_short(struct asyncore__uring *u, const struct asyncore__staged *s,
           int result)
{
    struct asyncore_dispatcher *d = u->map->slots[s->fd].d;
    size_t done = result > 0 ? (size_t)result : 0;
    if (d == NULL || done >= s->len) {
        return;
    }
    if (result < 0 && result != -EAGAIN) {
        asyncore__output_lost(d, result);
    }
    else {
        asyncore__output_short(d, bytes_of(u, s) + done, s->len - done);
    }
}

void
asyncore__uring_sent(struct asyncore__uring *u, uint32_t index, int result)
{
    if (index < u->nstaged) {
        fell_short(u, &u->staged[index], result);
    }
}

/* Mostly the kernel takes all there is, and has told what came of it: unless
 * completions find no room, for those before them find no memory. */
void
asyncore__uring_sends_taken(struct asyncore__uring *u)
{
    bool told = !asyncore__ring_overflows(u->ring);
    bool all = told && asyncore__ring_unsent(u->ring) == 0;
    for (size_t i = 0; i < u->nstaged; i++) {
        struct asyncore__staged *s = &u->staged[i];
        struct asyncore__conn *c = &u->conns[s->fd];
        if (!all && s->sqe != NULL && asyncore__ring_has(u->ring, s->sqe)) {
            continue;
        }
        s->sqe = NULL;
        if (told && c->staged == i + 1) {
            c->staged = 0;
        }
    }
    if (all) {
        u->nstaged = 0;
        u->arena_used = 0;
    }
}

/* ---- staging ---- */

static size_t
total(const struct iovec *iov, int n)
{
    size_t len = 0;
    for (int i = 0; i < n; i++) {
        len += iov[i].iov_len;
    }
    return len;
}

static void
gather(char *to, const struct iovec *iov, int n)
{
    for (int i = 0; i < n; i++) {
        if (iov[i].iov_len > 0) {
            memcpy(to, iov[i].iov_base, iov[i].iov_len);
            to += iov[i].iov_len;
        }
    }
}

static struct asyncore__staged *
new_staged(struct asyncore__uring *u, int fd)
{
    if (asyncore__reserve(&u->staged, &u->staged_cap, u->nstaged + 1,
                          sizeof *u->staged) < 0) {
        return NULL;
    }
    struct io_uring_sqe *sqe = asyncore__uring_entry(u);
    if (sqe == NULL) {
        return NULL;
    }
    struct asyncore__staged *s = &u->staged[u->nstaged];
    *s = (struct asyncore__staged){sqe, fd, (uint32_t)u->arena_used, 0};
    sqe->opcode = IORING_OP_SEND;
    sqe->fd = fd;
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    sqe->msg_flags = MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL;
    sqe->user_data = asyncore__uring_tag(URING_SEND, (uint32_t)u->nstaged, fd);
    u->nstaged++;
    u->conns[fd].staged = (uint32_t)u->nstaged;
    return s;
}

/* Has the kernel not taken what was staged? */
static bool
fell_behind(const struct asyncore__uring *u, int fd)
{
    const struct asyncore_dispatcher *d = asyncore_map_get(u->map, fd);
    return d != NULL && asyncore__has(d, ASYNCORE__BLOCKED | ASYNCORE__UNSENT);
}

/* Behind what is staged of the same descriptor, which moves to the end of the
 * arena if it is not there. */
static bool
stage(struct asyncore__uring *u, int fd, const struct iovec *iov, int n,
      size_t len)
{
    uint32_t index = u->conns[fd].staged;
    size_t before = index != 0 ? u->staged[index - 1].len : 0;
    if (before + len > URING_STAGE_MOST ||
        (index != 0 && u->staged[index - 1].sqe == NULL)) {
        return false;
    }
    if (u->arena_used + before + len > URING_ARENA) {
        (void)asyncore__uring_flush(u);
        if (u->arena_used > 0 || fell_behind(u, fd)) {
            return false;
        }
        index = 0;
        before = 0;
    }
    struct asyncore__staged *s =
        index != 0 ? &u->staged[index - 1] : new_staged(u, fd);
    if (s == NULL) {
        return false;
    }
    if (s->at + before != u->arena_used) {
        memcpy(u->arena + u->arena_used, bytes_of(u, s), before);
        s->at = (uint32_t)u->arena_used;
    }
    gather(bytes_of(u, s) + before, iov, n);
    s->len = (uint32_t)(before + len);
    u->arena_used = s->at + s->len;
    s->sqe->addr = (uintptr_t)bytes_of(u, s);
    s->sqe->len = s->len;
    return true;
}

static bool
may_stage(const struct asyncore__uring *u, int fd, size_t len)
{
    return u->looping && len > 0 && len <= URING_STAGE_MOST &&
           asyncore__uring_conn(u, fd) != NULL &&
           u->map->slots[fd].d != NULL && asyncore__map_check(u->map) >= 0;
}

ssize_t
asyncore__uring_sendv_soon(struct asyncore__world *w, int fd,
                           const struct iovec *iov, int n)
{
    struct asyncore__uring *u = (struct asyncore__uring *)(void *)w;
    size_t len = total(iov, n);
    if (may_stage(u, fd, len) && stage(u, fd, iov, n, len)) {
        return (ssize_t)len;
    }
    if (fell_behind(u, fd)) {
        return -EAGAIN; /* what was staged goes first */
    }
    return n == 1 ? w->send(w, fd, iov[0].iov_base, iov[0].iov_len, 0)
                  : w->sendv(w, fd, iov, n);
}

ssize_t
asyncore__uring_send_soon(struct asyncore__world *w, int fd, const void *data,
                          size_t len)
{
    struct iovec iov = {(void *)(uintptr_t)data, len};
    return asyncore__uring_sendv_soon(w, fd, &iov, 1);
}

/* ---- sooner than that ---- */

int
asyncore__uring_settle(struct asyncore_map *map, int fd)
{
    struct asyncore__uring *u = map->uring;
    struct asyncore__conn *c = asyncore__uring_conn(u, fd);
    if (c == NULL || c->staged == 0 || asyncore__map_check(map) < 0) {
        return 0;
    }
    struct asyncore__staged *s = &u->staged[c->staged - 1];
    struct asyncore__world *below = u->world.below;
    ssize_t n;
    if (s->sqe == NULL) {
        return -EAGAIN; /* what came of it is yet to be told */
    }
    c->staged = 0;
    do {
        n = below->send(below, fd, bytes_of(u, s), s->len, 0);
    } while (n == -EINTR);
    memset(s->sqe, 0, sizeof *s->sqe);
    s->sqe->opcode = IORING_OP_NOP;
    s->sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    bool all = n == (ssize_t)s->len;
    if (!all) {
        fell_short(u, s, (int)n);
    }
    return all ? 0 : -EAGAIN;
}
