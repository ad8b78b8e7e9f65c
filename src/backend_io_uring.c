/* SPDX-License-Identifier: MIT */
/* backend_io_uring.c - Linux's io_uring(7), by completion.
 *
 * Connected stream sockets are received from, and listeners accepted from, by
 * one request each that goes on by itself (multishot); what it brings is kept
 * (uring_store.c) until the channel reads, which finds it there
 * (uring_world.c).  To the map that is readiness, as level-triggered as any.
 * All else is polled, one request a wait.
 *
 * Who does not keep up, or receives much at once, is polled, too, and reads
 * from the kernel: a copy from the ring would cost more than the call. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* POLLRDBAND */
#endif
#include <poll.h>

#include "uring.h"

/* So much in one piece is a stream. */
#define LARGE ((int)(8 * 1024))

/* Parts received, sends staged, that there is room for from the beginning. */
#define AT_ONCE 256

/* ---- entries ---- */

static uint32_t
next_token(struct asyncore__uring *u)
{
    u->token = (u->token + 1) & 0xfffffffu;
    u->token += u->token == 0;
    return u->token;
}

struct io_uring_sqe *
asyncore__uring_entry(struct asyncore__uring *u)
{
    struct io_uring_sqe *sqe = asyncore__ring_entry(u->ring);
    if (sqe == NULL && asyncore__uring_flush(u) >= 0) {
        sqe = asyncore__ring_entry(u->ring);
    }
    return sqe;
}

/* All connections that a request takes have one place for their address, so
 * it is of use for the last of them; the first listener has it. */
static void
ask_for_peer(struct asyncore__uring *u, int fd, struct io_uring_sqe *sqe)
{
    const struct asyncore_dispatcher *d = u->map->slots[fd].d;
    if (asyncore__has(d, ASYNCORE__TCP) &&
        (u->peer_of < 0 || u->peer_of == fd)) {
        u->peer_of = fd;
        u->peer_fd = -1;
        u->peer.len = sizeof u->peer.u;
        sqe->addr = (uintptr_t)&u->peer.u;
        sqe->addr2 = (uintptr_t)&u->peer.len;
    }
}

static int
add_shot(struct asyncore__uring *u, int fd, bool listener)
{
    struct io_uring_sqe *sqe = asyncore__uring_entry(u);
    if (sqe == NULL) {
        return -EBUSY;
    }
    struct asyncore__conn *c = &u->conns[fd];
    c->shot = next_token(u);
    sqe->fd = fd;
    if (listener) {
        ask_for_peer(u, fd, sqe);
        sqe->opcode = IORING_OP_ACCEPT;
        sqe->ioprio = IORING_ACCEPT_MULTISHOT;
        sqe->accept_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
        sqe->user_data = asyncore__uring_tag(URING_ACCEPT, c->shot, fd);
    }
    else {
        sqe->opcode = IORING_OP_RECV;
        sqe->ioprio = IORING_RECV_MULTISHOT;
        sqe->flags = IOSQE_BUFFER_SELECT;
        sqe->buf_group = URING_GROUP;
        sqe->user_data = asyncore__uring_tag(URING_RECV, c->shot, fd);
    }
    return 0;
}

static int
add_poll(struct asyncore__uring *u, int fd, unsigned mask)
{
    struct io_uring_sqe *sqe = asyncore__uring_entry(u);
    if (sqe == NULL) {
        return -EBUSY;
    }
    struct asyncore__conn *c = &u->conns[fd];
    c->poll = next_token(u);
    c->polled = (unsigned char)mask;
    sqe->fd = fd;
    sqe->opcode = IORING_OP_POLL_ADD;
    /* PRI alone wakes no poll of io_uring's; what wakes for it says this, too,
     * and nobody says it else. */
    mask |= (mask & ASYNCORE__PRI) != 0 ? (unsigned)POLLRDBAND : 0;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    mask <<= 16; /* the halves are swapped there */
#endif
    sqe->poll32_events = mask;
    sqe->user_data = asyncore__uring_tag(URING_POLL, c->poll, fd);
    return 0;
}

static int
add_cancel(struct asyncore__uring *u, uint64_t what)
{
    struct io_uring_sqe *sqe = asyncore__uring_entry(u);
    if (sqe == NULL) {
        return -EBUSY;
    }
    sqe->opcode = IORING_OP_ASYNC_CANCEL;
    sqe->fd = -1;
    sqe->addr = what;
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    return 0;
}

/* ---- who is served how ---- */

enum serving {
    BY_POLL,
    BY_RECV,
    BY_ACCEPT
};

/* Who closes a TCP connection with bytes unread resets it, and so do we.  Of
 * a unix socket only the kernel can do that, so it must have the bytes. */
static bool
is_stream(const struct asyncore_dispatcher *d)
{
    return d->connected && !d->connecting &&
           asyncore__has(d, ASYNCORE__TCP | (asyncore__uring_takes_unix
                                                 ? (unsigned)ASYNCORE__STREAM
                                                 : 0));
}

static enum serving
serving(const struct asyncore_map *map, int fd, const struct asyncore__conn *c)
{
    const struct asyncore_dispatcher *d = map->slots[fd].d;
    if (d == NULL || c->direct > 0 || (c->want & ASYNCORE__PRI) != 0 ||
        (d->ops->flags & ASYNCORE_DIRECT_IO) != 0 || d->ops->recv != NULL ||
        asyncore__transport_of(d) != &asyncore__socket_transport ||
        !asyncore__has(d, ASYNCORE__STREAM)) {
        return BY_POLL;
    }
    if (d->accepting) {
        return map->uring->forked ? BY_POLL : BY_ACCEPT;
    }
    return is_stream(d) ? BY_RECV : BY_POLL;
}

void
asyncore__uring_mark(struct asyncore__uring *u, int fd)
{
    struct asyncore__conn *c = &u->conns[fd];
    if (!c->dirty) {
        c->dirty = true;
        u->dirty[u->ndirty++] = fd;
    }
}

/* A multishot request that nobody wants at the moment may stay, as long as it
 * brings nothing; it must go before the descriptor is polled, for its bytes
 * would come too late. */
static bool
shot_must_go(const struct asyncore__uring *u, int fd, enum serving how)
{
    const struct asyncore__conn *c = &u->conns[fd];
    if ((c->want & ASYNCORE__READ) != 0) {
        return how == BY_POLL;
    }
    return c->first != 0 || u->map->slots[fd].d == NULL;
}

static int
update_shot(struct asyncore__uring *u, int fd, enum serving how)
{
    struct asyncore__conn *c = &u->conns[fd];
    if (c->shot != 0) {
        return shot_must_go(u, fd, how)
                   ? add_cancel(u, asyncore__uring_tag(c->kind, c->shot, fd))
                   : 0;
    }
    bool wanted = how != BY_POLL && (c->want & ASYNCORE__READ) != 0;
    if (!wanted || asyncore__uring_holds(c)) {
        return 0;
    }
    c->kind = how == BY_ACCEPT ? URING_ACCEPT : URING_RECV;
    return add_shot(u, fd, how == BY_ACCEPT);
}

static int
update_poll(struct asyncore__uring *u, int fd, enum serving how)
{
    struct asyncore__conn *c = &u->conns[fd];
    unsigned mask = c->want;
    if (how != BY_POLL || asyncore__uring_holds(c)) {
        mask &= ~(unsigned)ASYNCORE__READ;
    }
    if (mask == c->polled) {
        return 0;
    }
    if (c->polled != 0) {
        int err = add_cancel(u, asyncore__uring_tag(URING_POLL, c->poll, fd));
        if (err < 0) {
            return err;
        }
        c->poll = 0;
        c->polled = 0;
    }
    return mask != 0 ? add_poll(u, fd, mask) : 0;
}

static int
update(struct asyncore__uring *u, int fd)
{
    struct asyncore__conn *c = &u->conns[fd];
    enum serving how = c->want != 0 ? serving(u->map, fd, c) : BY_POLL;
    int err = update_shot(u, fd, how);
    return err < 0 ? err : update_poll(u, fd, how);
}

/* Those that are marked meanwhile are looked at, too, but for those whose
 * poll is done: they wait for the next time. */
static int
update_all(struct asyncore__uring *u)
{
    int err = 0;
    size_t later = 0;
    while (u->ndirty > later && err >= 0) {
        size_t last = u->ndirty - 1;
        int fd = u->dirty[last];
        if (u->conns[fd].events != 0) {
            u->dirty[last] = u->dirty[later];
            u->dirty[later++] = fd;
            continue;
        }
        u->ndirty = last;
        u->conns[fd].dirty = false;
        err = update(u, fd);
        if (err < 0) {
            asyncore__uring_mark(u, fd);
        }
    }
    return err;
}

/* ---- completions ---- */

/* A piece of a buffer: which, and where in it.  Its memory is the caller's,
 * until asyncore__uring_unref(). */
static int32_t
take_buffer(struct asyncore__uring *u, const struct io_uring_cqe *cqe,
            uint32_t *ret_start)
{
    int32_t id = (int32_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
    struct asyncore__buffer *b = &u->buffers[id];
    *ret_start = b->used;
    b->used += (uint32_t)(cqe->res > 0 ? cqe->res : 0);
    b->refs++;
    b->full = !u->ring->incremental || (cqe->flags & URING_F_BUF_MORE) == 0;
    return id;
}

static int
take_bytes(struct asyncore__uring *u, int fd, bool ours,
           const struct io_uring_cqe *cqe)
{
    /* Its place first, for a part that has none must stay in the ring. */
    if (ours && cqe->res > 0) {
        int err = asyncore__uring_append(u, fd, NULL, 0, 0, URING_HEAP);
        if (err < 0) {
            return err;
        }
    }
    uint32_t start;
    int32_t id = take_buffer(u, cqe, &start);
    if (!ours || cqe->res <= 0) {
        asyncore__uring_unref(u, id);
        return 0;
    }
    struct asyncore__conn *c = &u->conns[fd];
    u->received[c->last - 1].base = u->memory + (size_t)id * URING_BUFFER_SIZE;
    u->received[c->last - 1].start = start;
    u->received[c->last - 1].end = start + (uint32_t)cqe->res;
    u->received[c->last - 1].buffer = id;
    if (cqe->res >= LARGE) {
        c->direct = URING_DIRECT_READS;
        asyncore__uring_mark(u, fd);
    }
    return 0;
}

/* Why a multishot request has ended. */
static void
shot_ended(struct asyncore__uring *u, int fd, int result)
{
    struct asyncore__conn *c = &u->conns[fd];
    c->shot = 0;
    asyncore__uring_mark(u, fd);
    switch (-result) {
    case ECANCELED:
    case EINTR:
    case EAGAIN:
        break;
    case ENOBUFS:
    case EINVAL: /* this kernel cannot, for this kind of socket */
    case EOPNOTSUPP:
    case ENOTSOCK:
        c->direct = URING_DIRECT_READS;
        break;
    case EBADF:
        c->direct = URING_DIRECT_READS; /* the poll will say so */
        break;
    default:
        if (result < 0) {
            asyncore__uring_append_end(u, fd, result);
        }
        break;
    }
}

static int
on_recv(struct asyncore__uring *u, int fd, uint32_t token,
        const struct io_uring_cqe *cqe)
{
    struct asyncore__conn *c = asyncore__uring_conn(u, fd);
    bool ours = c != NULL && c->shot == token;
    if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
        int err = take_bytes(u, fd, ours, cqe);
        if (err < 0) {
            return err;
        }
    }
    if (!ours) {
        return 0;
    }
    if (cqe->res > 0 && (c->want & ASYNCORE__READ) == 0) {
        asyncore__uring_mark(u, fd); /* no more of it */
    }
    if ((cqe->flags & IORING_CQE_F_MORE) == 0) {
        shot_ended(u, fd, cqe->res);
        if (cqe->res == 0) {
            asyncore__uring_append_end(u, fd, 1);
        }
    }
    return 0;
}

static int
on_accept(struct asyncore__uring *u, int fd, uint32_t token,
          const struct io_uring_cqe *cqe)
{
    struct asyncore__conn *c = asyncore__uring_conn(u, fd);
    bool ours = c != NULL && c->shot == token;
    if (cqe->res >= 0) {
        if (!ours) {
            u->world.below->close(u->world.below, cqe->res);
            return 0;
        }
        int err = asyncore__uring_append(u, fd, NULL, (uint32_t)cqe->res, 0,
                                         URING_CONNECTION);
        if (err < 0) {
            return err;
        }
        if (fd == u->peer_of) {
            u->peer_fd = cqe->res;
        }
        if ((c->want & ASYNCORE__READ) == 0) {
            asyncore__uring_mark(u, fd);
        }
    }
    if (ours && (cqe->flags & IORING_CQE_F_MORE) == 0) {
        shot_ended(u, fd, cqe->res);
    }
    return 0;
}

/* Whoever wakes a poll may say PRI where there is nothing urgent. */
static bool
is_urgent(struct asyncore__uring *u, int fd)
{
    struct asyncore__world *below = u->world.below;
    struct pollfd one = {.fd = fd, .events = POLLPRI};
    return below->poll(below, &one, 1, 0) > 0 && (one.revents & POLLPRI) != 0;
}

/* A hang-up is found by reading up to it, by writing if nobody reads. */
static unsigned
from_poll(struct asyncore__uring *u, int fd, int events)
{
    unsigned want = u->conns[fd].want, mask = (unsigned)events & want;
    if ((events & (POLLERR | POLLHUP)) != 0) {
        mask |= (want & ASYNCORE__READ) != 0 ? (unsigned)ASYNCORE__READ
                                             : want & ASYNCORE__WRITE;
    }
    if ((mask & ASYNCORE__PRI) != 0 && !is_urgent(u, fd)) {
        mask &= ~(unsigned)ASYNCORE__PRI;
    }
    return mask | ((events & POLLNVAL) != 0 ? (unsigned)ASYNCORE__NVAL : 0);
}

static void
on_poll(struct asyncore__uring *u, int fd, uint32_t token, int result)
{
    struct asyncore__conn *c = asyncore__uring_conn(u, fd);
    if (c == NULL || c->poll != token) {
        return;
    }
    c->poll = 0;
    c->polled = 0;
    asyncore__uring_mark(u, fd);
    unsigned mask = result >= 0        ? from_poll(u, fd, result)
                    : result == -EBADF ? (unsigned)ASYNCORE__NVAL
                                       : 0;
    /* Outside of a wait it would be old when it is reported: it is polled
     * again. */
    if (u->waiting && mask != 0) {
        c->events |= (unsigned char)mask;
        if (!c->listed) {
            c->listed = true;
            u->events[u->nevents++] = fd;
        }
    }
}

static int
on_completion(struct asyncore__uring *u, const struct io_uring_cqe *cqe)
{
    int fd = (int)(uint32_t)cqe->user_data;
    uint32_t token = (uint32_t)(cqe->user_data >> 32) & 0xfffffffu;
    switch (cqe->user_data >> 60) {
    case URING_RECV:
        return on_recv(u, fd, token, cqe);
    case URING_ACCEPT:
        return on_accept(u, fd, token, cqe);
    case URING_POLL:
        on_poll(u, fd, token, cqe->res);
        return 0;
    case URING_SEND:
        asyncore__uring_sent(u, token, cqe->res);
        return 0;
    default:
        return 0;
    }
}

/* What became of sends must be known before the next ones are staged: of
 * these completions, what stands behind others that have to wait. */
static void
hear_of_sends(struct asyncore__uring *u)
{
    const struct asyncore__ring *ring = u->ring;
    unsigned tail = __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE);
    for (unsigned at = *ring->cq_head; at != tail; at++) {
        struct io_uring_cqe *cqe = &ring->cqes[at & ring->cq_mask];
        if (cqe->user_data >> 60 == URING_SEND) {
            (void)on_completion(u, cqe);
            cqe->user_data = asyncore__uring_tag(URING_OTHER, 0, 0);
        }
    }
}

/* Without memory the rest stays in the ring. */
static int
harvest(struct asyncore__uring *u)
{
    const struct io_uring_cqe *cqe;
    int err = 0;
    u->epoch++;
    while (err >= 0 && (cqe = asyncore__ring_peek(u->ring)) != NULL) {
        err = on_completion(u, cqe);
        if (err >= 0) {
            asyncore__ring_pop(u->ring);
        }
    }
    if (err < 0) {
        hear_of_sends(u);
    }
    return err;
}

/* ---- submitting ---- */

static void
publish(struct asyncore__ring *ring)
{
    __atomic_store_n(ring->sq_tail, ring->tail, __ATOMIC_RELEASE);
}

int
asyncore__uring_flush(struct asyncore__uring *u)
{
    struct asyncore__world *w = u->map->world;
    struct asyncore__ring *ring = u->ring;
    int err = asyncore__ring_enable(w, ring);
    publish(ring);
    for (int i = 0; i < 8 && err >= 0 && asyncore__ring_unsent(ring) > 0;
         i++) {
        err = w->uring_submit(w, ring->fd, asyncore__ring_unsent(ring));
        err = err == -EINTR ? 0 : err;
    }
    int err2 = harvest(u);
    asyncore__uring_sends_taken(u);
    return err < 0 ? err : err2;
}

void
asyncore__uring_cancel(struct asyncore__uring *u, int fd)
{
    struct asyncore__conn *c = &u->conns[fd];
    if (u->ring == NULL || (c->shot == 0 && c->polled == 0) ||
        asyncore__map_check(u->map) < 0) {
        return;
    }
    struct io_uring_sqe *sqe = asyncore__uring_entry(u);
    if (sqe != NULL) {
        sqe->opcode = IORING_OP_ASYNC_CANCEL;
        sqe->fd = fd;
        sqe->cancel_flags = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL;
        sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
        (void)asyncore__uring_flush(u);
    }
}

/* ---- reporting ---- */

bool
asyncore__uring_ready(const struct asyncore_map *map)
{
    const struct asyncore__uring *u = map->uring;
    if (u->nevents > 0 ||
        (u->ring != NULL && asyncore__ring_peek(u->ring) != NULL)) {
        return true;
    }
    for (size_t i = 0; i < u->nholders; i++) {
        if ((map->slots[u->holders[i]].armed & ASYNCORE__READ) != 0) {
            return true;
        }
    }
    return false;
}

static int
report(struct asyncore_map *map, int fd, unsigned mask)
{
    return asyncore__report(map, fd, map->slots[fd].generation, mask);
}

static int
report_all(struct asyncore_map *map)
{
    struct asyncore__uring *u = map->uring;
    for (size_t i = 0; i < u->nholders; i++) {
        int fd = u->holders[i];
        struct asyncore__conn *c = &u->conns[fd];
        if ((map->slots[fd].armed & ASYNCORE__READ) == 0) {
            continue;
        }
        int err = report(map, fd, c->events | (unsigned)ASYNCORE__READ);
        if (err < 0) {
            return err;
        }
        c->events = 0;
        c->offered = true;
    }
    while (u->nevents > 0) {
        int fd = u->events[u->nevents - 1];
        int err = u->conns[fd].events != 0
                      ? report(map, fd, u->conns[fd].events)
                      : 0;
        if (err < 0) {
            return err;
        }
        u->conns[fd].events = 0;
        u->conns[fd].listed = false;
        u->nevents--;
    }
    return 0;
}

/* ---- the backend ---- */

static int
modify(struct asyncore_map *map, int fd, unsigned from, unsigned to)
{
    struct asyncore__uring *u = map->uring;
    (void)from;
    int err = asyncore__uring_reserve(u, fd);
    if (err >= 0) {
        u->conns[fd].want = (unsigned char)to;
        asyncore__uring_mark(u, fd);
    }
    return err;
}

/* The closing does the rest. */
static void
forget(struct asyncore_map *map, int fd, unsigned from)
{
    (void)from;
    map->uring->conns[fd].want = 0;
}

static int
wait(struct asyncore_map *map, int64_t timeout)
{
    struct asyncore__uring *u = map->uring;
    struct asyncore__ring *ring = u->ring;
    struct asyncore__world *w = map->world;
    asyncore__uring_copy_out(u);
    if (ring->tells) {
        w->wake_drain(w, u->event_fd);
    }
    u->waiting = true;
    int err = asyncore__ring_enable(w, ring);
    if (err >= 0) {
        err = update_all(u);
    }
    if (err >= 0) {
        publish(ring);
        err = w->uring_wait(w, ring->fd, asyncore__ring_unsent(ring),
                            asyncore__uring_ready(map) ? 0 : timeout);
        /* Nothing, or not yet: the next wait goes on with it. */
        err = err == -ETIME || err == -EBUSY || err == -EAGAIN ? 0 : err;
    }
    bool any = asyncore__ring_peek(ring) != NULL;
    int err2 = harvest(u);
    /* The kernel does twenty or so at once, then looks whether that is enough.
     * New ones may come in as fast: they are for the next pass. */
    for (size_t i = 0; err >= 0 && err2 >= 0 && i <= map->all.live / 16 &&
                       asyncore__ring_has_more(ring);
         i++) {
        err = w->uring_submit(w, ring->fd, asyncore__ring_unsent(ring));
        err2 = harvest(u);
    }
    u->waiting = false;
    u->looping = true;
    asyncore__uring_sends_taken(u);
    if (any || err >= 0) {
        int err3 = report_all(map);
        err = err2 < 0 ? err2 : err3;
    }
    return err < 0 ? err : 0;
}

/* The ring itself is readable, but wakes nobody who sleeps on it before the
 * completions are there, which is too late: they are made when it is entered.
 * A registered eventfd(2) is told in time; of posts by uring_world.c, for
 * there the kernel would take its time. */
static int
get_fileno(struct asyncore_map *map)
{
    struct asyncore__uring *u = map->uring;
    struct asyncore__ring *ring = u->ring;
    struct asyncore__world *w = map->world;
    int err = asyncore__ring_enable(w, ring);
    if (err >= 0 && u->event_fd < 0) {
        int fd[2];
        err = w->wake_open(w, fd);
        u->event_fd = err >= 0 ? fd[0] : -1;
    }
    if (err >= 0 && !ring->tells) {
        int fd = u->event_fd;
        err = w->uring_register(w, ring->fd, IORING_REGISTER_EVENTFD, &fd, 1);
        ring->tells = err >= 0;
    }
    return err < 0 ? err : u->event_fd;
}

static void
close_event(struct asyncore__uring *u)
{
    if (u->event_fd >= 0) {
        u->map->world->close(u->map->world, u->event_fd);
        u->event_fd = -1;
    }
}

/* ---- begin and end ---- */

static void
free_uring(struct asyncore__uring *u)
{
    if (u->memory != NULL) {
        u->world.below->uring_unmap(u->world.below, u->memory,
                                    URING_BUFFERS * URING_BUFFER_SIZE);
    }
    asyncore__free(u->conns);
    asyncore__free(u->received);
    asyncore__free(u->holders);
    asyncore__free(u->dirty);
    asyncore__free(u->events);
    asyncore__free(u->staged);
    asyncore__free(u->arena);
    asyncore__free(u);
}

/* What is received is kept there, also when another backend serves the map
 * later, or the channel has come from another map. */
static int
make_uring(struct asyncore_map *map)
{
    if (map->uring != NULL) {
        return 0;
    }
    struct asyncore__uring *u = asyncore__calloc(sizeof *u);
    if (u == NULL) {
        return -ENOMEM;
    }
    u->map = map;
    u->event_fd = -1;
    u->peer_of = u->peer_fd = -1;
    map->uring = u;
    asyncore__uring_enter_world(u);
    return 0;
}

static int
find_memory(struct asyncore__uring *u)
{
    struct asyncore__world *w = u->map->world;
    void *at;
    int err = 0;
    if (u->memory == NULL) {
        err = w->uring_map(w, -1, URING_BUFFERS * URING_BUFFER_SIZE, 0, &at);
        u->memory = err >= 0 ? at : NULL;
    }
    if (err >= 0 && u->arena == NULL) {
        u->arena = asyncore__realloc(NULL, URING_ARENA);
        err = u->arena != NULL ? 0 : -ENOMEM;
    }
    /* Enough for most passes: later on, memory is only needed to grow. */
    if (err >= 0) {
        err = asyncore__reserve(&u->staged, &u->staged_cap, AT_ONCE,
                                sizeof *u->staged);
    }
    if (err >= 0) {
        err = asyncore__reserve(&u->received, &u->received_cap, AT_ONCE,
                                sizeof *u->received);
    }
    return err;
}

/* Nothing is in flight on a new ring, nor on none. */
static void
forget_requests(struct asyncore__uring *u)
{
    for (size_t i = 0; i < u->nconns; i++) {
        u->conns[i].shot = u->conns[i].poll = 0;
        u->conns[i].polled = u->conns[i].want = 0;
        u->conns[i].staged = 0;
    }
}

static int
init(struct asyncore_map *map)
{
    if (map->world->uring_setup == NULL) {
        return -ENOSYS; /* a world that is made up */
    }
    struct asyncore__ring *ring = asyncore__calloc(sizeof *ring);
    int err = ring != NULL ? make_uring(map) : -ENOMEM;
    if (err >= 0) {
        err = find_memory(map->uring);
    }
    if (err >= 0) {
        err = asyncore__ring_open(map->world, ring);
    }
    if (err < 0) {
        asyncore__free(ring);
        return err;
    }
    map->state = ring;
    /* A connection wakes one request of all the processes, maybe one of the
     * parent's: after a fork all are polled. */
    if (map->uring->ring != NULL) {
        map->uring->forked = true;
        close_event(map->uring);
    }
    map->uring->ring = ring;
    map->uring->nstaged = 0;
    map->uring->arena_used = 0;
    asyncore__uring_provide(map->uring);
    forget_requests(map->uring);
    return 0;
}

/* They would keep their sockets open until the kernel comes to it. */
static void
end_requests(struct asyncore__uring *u)
{
    struct io_uring_sqe *sqe = asyncore__uring_entry(u);
    if (sqe != NULL) {
        sqe->opcode = IORING_OP_ASYNC_CANCEL;
        sqe->cancel_flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
        sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    }
    (void)asyncore__uring_flush(u);
}

static void
fini(struct asyncore_map *map)
{
    struct asyncore__uring *u = map->uring;
    struct asyncore__ring *ring = map->state;
    if (u->ring == ring) {
        if (asyncore__map_check(map) >= 0 && ring->enabled) {
            end_requests(u);
        }
        forget_requests(u);
        u->ring = NULL;
        u->looping = false;
    }
    asyncore__ring_close(map->world, ring);
    asyncore__free(ring);
    map->state = NULL;
}

void
asyncore__uring_free(struct asyncore_map *map)
{
    struct asyncore__uring *u = map->uring;
    if (u != NULL) {
        for (size_t fd = 0; fd < u->nconns; fd++) {
            asyncore__uring_drop(u, (int)fd);
        }
        close_event(u);
        asyncore__uring_leave_world(u);
        free_uring(u);
        map->uring = NULL;
    }
}

/* ---- what the loop asks ---- */

int
asyncore__uring_report_left(struct asyncore_map *map)
{
    return map->uring->ring == NULL ? report_all(map) : 0;
}

int
asyncore__uring_finish(struct asyncore_map *map)
{
    struct asyncore__uring *u = map->uring;
    u->looping = false;
    u->epoch++;
    bool staged = u->nstaged > 0 && asyncore__map_check(map) >= 0;
    return staged ? asyncore__uring_flush(u) : 0;
}

int
asyncore__uring_prepare(struct asyncore_map *map)
{
    struct asyncore__uring *u = map->uring;
    if (u->ring == NULL) {
        return 0;
    }
    struct asyncore__ring *ring = u->ring;
    struct asyncore__world *w = map->world;
    asyncore__uring_copy_out(u);
    u->waiting = true; /* what is polled now will be reported then */
    int err = asyncore__ring_enable(w, ring);
    if (err >= 0) {
        err = update_all(u);
    }
    u->waiting = false;
    if (err >= 0 && asyncore__ring_unsent(ring) > 0) {
        publish(ring);
        err = w->uring_submit(w, ring->fd, asyncore__ring_unsent(ring));
        hear_of_sends(u); /* the rest is for the wait */
        asyncore__uring_sends_taken(u);
    }
    if (err >= 0 && ring->tells) {
        w->wake_drain(w, u->event_fd);
        if (asyncore__uring_ready(map) || asyncore__ring_has_more(ring) ||
            asyncore__calls_pending(map)) {
            w->wake_signal(w, u->event_fd);
        }
    }
    return err < 0 ? err : 0;
}

/* ---- leaving the map, or the library ---- */

void
asyncore__uring_forget(struct asyncore_map *map, int fd)
{
    struct asyncore__uring *u = map->uring;
    struct asyncore__conn *c = asyncore__uring_conn(u, fd);
    if (c != NULL) {
        (void)asyncore__uring_settle(map, fd);
        asyncore__uring_cancel(u, fd);
        asyncore__uring_drop(u, fd);
        if (fd == u->peer_of) {
            u->peer_of = u->peer_fd = -1;
        }
        if (c->staged != 0) {
            u->staged[c->staged - 1].len = 0; /* nobody is to hear of it */
        }
        /* Its places on the lists stay. */
        *c = (struct asyncore__conn){.dirty = c->dirty, .listed = c->listed};
    }
}

int
asyncore__uring_move(struct asyncore_map *from, struct asyncore_map *to,
                     int fd)
{
    struct asyncore__uring *u = from->uring;
    struct asyncore__conn *c = asyncore__uring_conn(u, fd);
    if (c == NULL) {
        return 0;
    }
    asyncore__uring_cancel(u, fd);
    int err = 0;
    if (asyncore__uring_holds(c)) {
        err = make_uring(to);
        if (err >= 0) {
            err = asyncore__uring_reserve(to->uring, fd);
        }
        if (err >= 0) {
            err = asyncore__uring_hand_on(u, to->uring, fd);
        }
    }
    if (err >= 0) {
        asyncore__uring_forget(from, fd);
    }
    return err;
}

static bool
is_here(void)
{
    struct asyncore__ring ring;
    int err = asyncore__ring_open(&asyncore__kernel, &ring);
    if (err >= 0) {
        asyncore__ring_close(&asyncore__kernel, &ring);
    }
    return err >= 0;
}

const struct asyncore__backend asyncore__backend_io_uring = {
    .name = "io_uring",
    .may_lack = true,
    .is_here = is_here,
    .init = init,
    .fini = fini,
    .modify = modify,
    .forget = forget,
    .wait = wait,
    .fileno = get_fileno,
};
