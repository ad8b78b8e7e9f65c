/* SPDX-License-Identifier: MIT */
/* uring_world.c - the world of a map whose sockets are received from in
 * advance: each call looks at what there is of the descriptor, then goes on
 * to the kernel.  It stands just above the kernel, so that whatever else
 * wraps a map's world is above it. */
#include <poll.h>

#include "uring.h"

/* Less than that is not worth polling for. */
#define SMALL ((ssize_t)(4 * 1024))

static struct asyncore__uring *
uring(struct asyncore__world *w)
{
    return (struct asyncore__uring *)(void *)w;
}

/* ---- in ---- */

/* A read from the kernel: small ones are better received in advance. */
static void
count_direct(struct asyncore__uring *u, int fd, ssize_t n)
{
    struct asyncore__conn *c = &u->conns[fd];
    if (n >= SMALL) {
        c->direct = c->direct > 0 ? URING_DIRECT_READS : 0;
    }
    else if (n >= 0 && c->direct > 0) {
        c->direct--;
    }
}

/* Was it emptied just now, with the next bytes to come by themselves?  Then
 * the kernel need not be asked. */
static bool
just_emptied(struct asyncore__uring *u, struct asyncore__conn *c)
{
    if (c->shot == 0 || !u->looping || c->epoch != u->epoch) {
        return false;
    }
    c->epoch--;
    return true;
}

static ssize_t
u_recv(struct asyncore__world *w, int fd, void *buf, size_t len, int flags)
{
    struct asyncore__uring *u = uring(w);
    struct asyncore__conn *c = asyncore__uring_conn(u, fd);
    struct asyncore__world *below = w->below;
    if (c == NULL || (flags & ~MSG_PEEK) != 0) {
        return below->recv(below, fd, buf, len, flags);
    }
    if (c->first != 0) {
        return (ssize_t)asyncore__uring_copy(u, fd, buf, len, flags != 0);
    }
    if (c->end != 0) {
        int end = c->end;
        c->end = 1; /* an error is told once, then it has ended */
        return end < 0 ? end : 0;
    }
    if (just_emptied(u, c)) {
        return -EAGAIN;
    }
    ssize_t n = below->recv(below, fd, buf, len, flags);
    count_direct(u, fd, n);
    return n;
}

/* A stream has no addresses. */
static ssize_t
u_recvfrom(struct asyncore__world *w, int fd, void *buf, size_t len,
           struct asyncore_addr *ret)
{
    const struct asyncore__conn *c = asyncore__uring_conn(uring(w), fd);
    if (c == NULL || !asyncore__uring_holds(c)) {
        return w->below->recvfrom(w->below, fd, buf, len, ret);
    }
    ret->len = 0;
    return u_recv(w, fd, buf, len, 0);
}

static int
u_accept(struct asyncore__world *w, int fd, struct asyncore_addr *ret)
{
    struct asyncore__uring *u = uring(w);
    struct asyncore__conn *c = asyncore__uring_conn(u, fd);
    struct asyncore__world *below = w->below;
    if (c != NULL && c->first != 0) {
        int accepted = (int)asyncore__uring_shift(u, fd).start;
        if (fd == u->peer_of && accepted == u->peer_fd && u->ring != NULL &&
            asyncore__ring_peek(u->ring) == NULL) {
            *ret = u->peer; /* and nobody has come since */
        }
        else if (below->getpeername(below, accepted, ret) < 0) {
            memset(ret, 0, sizeof *ret); /* it has gone again already */
        }
        return accepted;
    }
    if (c != NULL && c->end != 0) {
        int code = c->end;
        c->end = 0;
        asyncore__uring_drop(u, fd);
        asyncore__uring_mark(u, fd);
        return code;
    }
    if (c != NULL && just_emptied(u, c)) {
        return -EAGAIN;
    }
    int accepted = below->accept(below, fd, ret);
    if (c != NULL) {
        count_direct(u, fd, accepted >= 0 ? 0 : accepted);
    }
    return accepted;
}

static int
u_getsockopt(struct asyncore__world *w, int fd, int level, int name, int *ret)
{
    struct asyncore__conn *c = asyncore__uring_conn(uring(w), fd);
    if (c != NULL && c->end < 0 && level == SOL_SOCKET && name == SO_ERROR) {
        *ret = -c->end;
        c->end = 1;
        return 0;
    }
    return w->below->getsockopt(w->below, fd, level, name, ret);
}

/* What was received in advance can be read. */
static int
u_poll(struct asyncore__world *w, void *pollfds, size_t n, int64_t timeout)
{
    struct pollfd *one = pollfds;
    const struct asyncore__conn *c =
        n == 1 ? asyncore__uring_conn(uring(w), one->fd) : NULL;
    bool held =
        c != NULL && asyncore__uring_holds(c) && (one->events & POLLIN) != 0;
    int rc = w->below->poll(w->below, pollfds, n, held ? 0 : timeout);
    if (rc >= 0 && held) {
        one->revents |= POLLIN;
        rc = 1;
    }
    return rc;
}

/* ---- out: behind what is staged ---- */

/* Send that.  -EAGAIN if it does not go. */
static int
settle(struct asyncore__world *w, int fd)
{
    return asyncore__uring_settle(uring(w)->map, fd);
}

static ssize_t
u_send(struct asyncore__world *w, int fd, const void *data, size_t len,
       int flags)
{
    int err = settle(w, fd);
    return err < 0 ? err : w->below->send(w->below, fd, data, len, flags);
}

static ssize_t
u_sendto(struct asyncore__world *w, int fd, const void *data, size_t len,
         const struct asyncore_addr *to)
{
    int err = settle(w, fd);
    return err < 0 ? err : w->below->sendto(w->below, fd, data, len, to);
}

static ssize_t
u_sendv(struct asyncore__world *w, int fd, const struct iovec *iov, int n)
{
    int err = settle(w, fd);
    return err < 0 ? err : w->below->sendv(w->below, fd, iov, n);
}

static ssize_t
u_sendfile(struct asyncore__world *w, int to, int from, off_t offset,
           size_t len)
{
    int err = settle(w, to);
    return err < 0 ? err : w->below->sendfile(w->below, to, from, offset, len);
}

static int
u_shutdown(struct asyncore__world *w, int fd, int how)
{
    (void)settle(w, fd);
    return w->below->shutdown(w->below, fd, how);
}

/* ---- the end ---- */

/* Is it a connection with bytes that nobody has read?  Not if it is another
 * process's, too: that may go on with it. */
static bool
is_unread(const struct asyncore__uring *u, const struct asyncore__conn *c)
{
    return c != NULL && c->first != 0 &&
           u->received[c->first - 1].buffer != URING_CONNECTION &&
           !u->forked && asyncore__map_check(u->map) >= 0;
}

/* A request in flight would keep the socket open. */
static int
u_close(struct asyncore__world *w, int fd)
{
    struct asyncore__uring *u = uring(w);
    const struct asyncore__conn *c = asyncore__uring_conn(u, fd);
    bool unread = is_unread(u, c);
    if (c != NULL) {
        asyncore__uring_forget(u->map, fd);
    }
    if (unread) {
        /* As the kernel does: a reset. */
        const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
        (void)w->below->connect(w->below, fd, &nobody, sizeof nobody);
    }
    return w->below->close(w->below, fd);
}

/* From any thread, and from signal handlers. */
static int
u_wake_signal(struct asyncore__world *w, int fd)
{
    const struct asyncore__uring *u = uring(w);
    int err = w->below->wake_signal(w->below, fd);
    int event_fd = u->event_fd;
    if (event_fd >= 0 && fd == u->map->wake_fd[1]) {
        w->below->wake_signal(w->below, event_fd);
    }
    return err;
}

/* ---- in its place ---- */

/* Above the kernel and below what wraps it; of that the map has a copy, for
 * others of its maps may stand on others. */
void
asyncore__uring_enter_world(struct asyncore__uring *u)
{
    struct asyncore__world *outer = u->map->world;
    struct asyncore__world *kernel =
        outer->below != NULL ? outer->below : outer;
    u->outer = outer;
    u->world = *kernel; /* what is not answered here goes to the kernel */
    u->world.below = kernel;
    u->world.recv = u_recv;
    u->world.recvfrom = u_recvfrom;
    u->world.accept = u_accept;
    u->world.getsockopt = u_getsockopt;
    u->world.poll = u_poll;
    u->world.send = u_send;
    u->world.send_soon = asyncore__uring_send_soon;
    u->world.sendv_soon = asyncore__uring_sendv_soon;
    u->world.sendto = u_sendto;
    u->world.sendv = u_sendv;
    u->world.sendfile = u_sendfile;
    u->world.shutdown = u_shutdown;
    u->world.close = u_close;
    u->world.wake_signal = u_wake_signal;
    u->map->world = &u->world;
    if (outer != kernel) {
        u->copy = *outer;
        u->copy.below = &u->world;
        u->map->world = &u->copy;
    }
}

void
asyncore__uring_leave_world(struct asyncore__uring *u)
{
    u->map->world = u->outer;
}
