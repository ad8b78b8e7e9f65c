/* SPDX-License-Identifier: MIT */
/* socket.c - what a channel does with its socket: create, bind, listen,
 * connect, accept, send, receive; its addresses. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* SO_PROTOCOL */
#endif
#include "internal.h"

static struct asyncore__world *
world(const struct asyncore_dispatcher *d)
{
    return d->map->world;
}

/* A call failed on an open channel: note which. */
static int
checked(struct asyncore_dispatcher *d, const char *op, int result)
{
    return result < 0 ? asyncore__fail(d, op, result) : result;
}

/* ---- the channel's addr ---- */

static void
forget_addr(struct asyncore_dispatcher *d)
{
    if (d->asyncore__family == ASYNCORE__ADDR_OTHER) {
        asyncore__free(d->asyncore__addr.other);
    }
    d->asyncore__family = ASYNCORE__ADDR_NONE;
}

/* IPv4 and IPv6 addresses are kept in the channel; a unix path, or an IPv6
 * scope, which most do not have, on the heap.  Without memory for it there is
 * none. */
void
asyncore__set_addr(struct asyncore_dispatcher *d,
                   const struct asyncore_addr *addr)
{
    forget_addr(d);
    if (addr == NULL || addr->len < (socklen_t)sizeof(sa_family_t)) {
        return;
    }
    if (addr->u.sa.sa_family == AF_INET) {
        d->asyncore__family = ASYNCORE__ADDR_IN;
        d->asyncore__port = addr->u.in.sin_port;
        d->asyncore__addr.in = addr->u.in.sin_addr;
    }
    else if (addr->u.sa.sa_family == AF_INET6 &&
             addr->u.in6.sin6_scope_id == 0) {
        d->asyncore__family = ASYNCORE__ADDR_IN6;
        d->asyncore__port = addr->u.in6.sin6_port;
        d->asyncore__addr.in6 = addr->u.in6.sin6_addr;
    }
    else if (addr->u.sa.sa_family == AF_INET6 ||
             addr->u.sa.sa_family == AF_UNIX) {
        struct asyncore_addr *copy = asyncore__realloc(NULL, sizeof *copy);
        if (copy != NULL) {
            *copy = *addr;
            d->asyncore__family = ASYNCORE__ADDR_OTHER;
            d->asyncore__addr.other = copy;
        }
    }
}

int
asyncore_getaddr(const struct asyncore_dispatcher *d,
                 struct asyncore_addr *ret)
{
    if (!asyncore__valid(d) || ret == NULL) {
        return -EINVAL;
    }
    memset(ret, 0, sizeof *ret);
    switch (d->asyncore__family) {
    case ASYNCORE__ADDR_IN:
        ret->u.in.sin_family = AF_INET;
        ret->u.in.sin_port = (in_port_t)d->asyncore__port;
        ret->u.in.sin_addr = d->asyncore__addr.in;
        ret->len = sizeof ret->u.in;
        return 0;
    case ASYNCORE__ADDR_IN6:
        ret->u.in6.sin6_family = AF_INET6;
        ret->u.in6.sin6_port = (in_port_t)d->asyncore__port;
        ret->u.in6.sin6_addr = d->asyncore__addr.in6;
        ret->len = sizeof ret->u.in6;
        return 0;
    case ASYNCORE__ADDR_OTHER:
        *ret = *d->asyncore__addr.other;
        return 0;
    default:
        return -ENOTCONN;
    }
}

int
asyncore_getsockname(const struct asyncore_dispatcher *d,
                     struct asyncore_addr *ret)
{
    int err = asyncore__check_open(d);
    if (err < 0 || ret == NULL) {
        return err < 0 ? err : -EINVAL;
    }
    memset(ret, 0, sizeof *ret);
    return world(d)->getsockname(world(d), d->fd, ret);
}

/* A sockaddr of the caller's as an address. */
static int
copy_addr(struct asyncore_addr *ret, const struct sockaddr *sa, socklen_t len)
{
    if (sa == NULL || len < (socklen_t)sizeof(sa_family_t) ||
        len > (socklen_t)sizeof ret->u) {
        return -EINVAL;
    }
    memset(ret, 0, sizeof *ret);
    memcpy(&ret->u, sa, len);
    ret->len = len;
    return 0;
}

/* Resolve for the family and type that the channel's socket has. */
static int
resolve(struct asyncore_dispatcher *d, const char *host, int port,
        struct asyncore_addr *ret)
{
    int type;
    int err = asyncore_getsockname(d, ret);
    if (err >= 0) {
        err =
            world(d)->getsockopt(world(d), d->fd, SOL_SOCKET, SO_TYPE, &type);
    }
    if (err >= 0) {
        err = asyncore_getaddrinfo(d->map, ret->u.sa.sa_family, type, host,
                                   port, ret, 1);
    }
    return err < 0 ? asyncore__fail(d, "getaddrinfo", err) : 0;
}

/* ---- getting a socket ---- */

int
asyncore_create_socket(struct asyncore_dispatcher *d, int family, int type)
{
    if (!asyncore__valid(d)) {
        return -EINVAL;
    }
    if (d->fd >= 0) {
        return -EBUSY;
    }
    if ((family != AF_INET && family != AF_INET6 && family != AF_UNIX) ||
        (type != SOCK_STREAM && type != SOCK_DGRAM)) {
        return -EINVAL;
    }
    int fd = world(d)->socket(world(d), family, type);
    if (fd < 0) {
        return asyncore__fail(d, "socket", fd);
    }
    int err = asyncore__open(d, fd, ASYNCORE__SOCKET, type == SOCK_STREAM);
    if (err < 0) {
        world(d)->close(world(d), fd);
        return asyncore__fail(d, "create_socket", err);
    }
    if (type == SOCK_STREAM && family != AF_UNIX) {
        asyncore__set(d, ASYNCORE__TCP);
    }
    return 0;
}

/* What a foreign socket is: stream or not, connected to whom, listening. */
struct kind {
    bool stream, tcp, connected, listening;
    int error; /* the connection has ended already, by this */
    struct asyncore_addr peer;
};

static bool
is_tcp(struct asyncore__world *w, int fd)
{
#ifdef SO_PROTOCOL
    int protocol;
    return w->getsockopt(w, fd, SOL_SOCKET, SO_PROTOCOL, &protocol) >= 0 &&
           protocol == IPPROTO_TCP;
#else
    (void)w;
    (void)fd;
    return false;
#endif
}

static int
find_kind(struct asyncore__world *w, int fd, struct kind *kind)
{
    int type, listening = 0;
    int err = w->getsockopt(w, fd, SOL_SOCKET, SO_TYPE, &type);
    if (err < 0) {
        return err;
    }
    kind->stream = type != SOCK_DGRAM && type != SOCK_RAW;
    kind->tcp = kind->stream && is_tcp(w, fd);
    err = w->getpeername(w, fd, &kind->peer);
    kind->connected = err >= 0;
    if (err == -ENOTCONN || err == -EINVAL) {
        kind->peer.len = 0;
        int code = 0;
        w->getsockopt(w, fd, SOL_SOCKET, SO_ACCEPTCONN, &listening);
        kind->listening = listening != 0;
        if (kind->stream) {
            w->getsockopt(w, fd, SOL_SOCKET, SO_ERROR, &code);
        }
        if (code != 0) {
            /* It had a peer, who has reset it: the first read will tell. */
            kind->connected = true;
            kind->error = -code;
        }
        err = 0;
    }
    return err;
}

static void
start_accepting(struct asyncore_dispatcher *d)
{
    struct asyncore_addr addr;
    d->accepting = 1;
    if (asyncore_getsockname(d, &addr) >= 0) {
        asyncore__set_addr(d, &addr);
    }
    if (d->map->reserve_fd < 0) {
        d->map->reserve_fd = world(d)->open_reserve(world(d));
    }
    asyncore__touch(d);
}

int
asyncore_set_socket(struct asyncore_dispatcher *d, int fd)
{
    if (!asyncore__valid(d)) {
        return -EINVAL;
    }
    if (fd < 0) {
        return -EBADF;
    }
    if (d->fd >= 0) {
        return -EBUSY;
    }
    struct kind kind = {0};
    const struct asyncore__given *given = asyncore__given(fd);
    if (given != NULL && given->addr != NULL) {
        /* Just accepted here: all is known, and no system call needed. */
        kind.stream = kind.connected = true;
        kind.tcp = given->tcp;
        kind.peer = *given->addr;
    }
    else {
        int err = world(d)->set_nonblocking(world(d), fd);
        if (err >= 0) {
            err = find_kind(world(d), fd, &kind);
        }
        if (err < 0) {
            return asyncore__fail(d, "set_socket", err);
        }
    }
    int err = asyncore__open(d, fd, ASYNCORE__SOCKET, kind.stream);
    if (err < 0) {
        return asyncore__fail(d, "set_socket", err);
    }
    asyncore__set(d, kind.tcp ? (unsigned)ASYNCORE__TCP : 0);
    d->connected = kind.connected;
    d->error = kind.error;
    asyncore__set_addr(d, &kind.peer);
    if (kind.listening) {
        start_accepting(d);
    }
    return 0;
}

/* ---- bind, listen, accept ---- */

int
asyncore_set_reuse_addr(struct asyncore_dispatcher *d)
{
    int err = asyncore__check_open(d);
    return err < 0 ? err
                   : checked(d, "set_reuse_addr",
                             world(d)->setsockopt(world(d), d->fd, SOL_SOCKET,
                                                  SO_REUSEADDR, 1));
}

int
asyncore_bind_addr(struct asyncore_dispatcher *d, const struct sockaddr *sa,
                   socklen_t len)
{
    struct asyncore_addr addr;
    int err = asyncore__check_open(d);
    if (err >= 0) {
        err = copy_addr(&addr, sa, len);
    }
    if (err < 0) {
        return err;
    }
    err = checked(d, "bind", world(d)->bind(world(d), d->fd, sa, len));
    if (err >= 0) {
        asyncore__set_addr(d, &addr);
    }
    return err;
}

int
asyncore_bind(struct asyncore_dispatcher *d, const char *host, int port)
{
    struct asyncore_addr addr;
    int err = asyncore__check_open(d);
    if (err >= 0) {
        err = resolve(d, host, port, &addr);
    }
    return err < 0 ? err : asyncore_bind_addr(d, &addr.u.sa, addr.len);
}

int
asyncore_listen(struct asyncore_dispatcher *d, int backlog)
{
    int err = asyncore__check_open(d);
    if (err >= 0 && backlog <= 0) {
        err = -EINVAL;
    }
    if (err >= 0) {
        err = checked(d, "listen", world(d)->listen(world(d), d->fd, backlog));
    }
    if (err >= 0) {
        start_accepting(d);
    }
    return err;
}

/* No descriptor for a connection that is there, and will be there in the next
 * pass.  The one in reserve lets us take it and turn it away; then we rest. */
static void
turn_away(struct asyncore_dispatcher *d, int code)
{
    struct asyncore_map *map = d->map;
    struct asyncore__world *w = map->world;
    if ((code == -EMFILE || code == -ENFILE) && map->reserve_fd >= 0) {
        struct asyncore_addr addr;
        w->close(w, map->reserve_fd);
        int fd = w->accept(w, d->fd, &addr);
        if (fd >= 0) {
            w->close(w, fd);
        }
        map->reserve_fd = w->open_reserve(w);
    }
    if (!map->starved) {
        char channel[256];
        map->starved = true;
        asyncore_log_info(d, ASYNCORE_LOG_ERROR,
                          "%s cannot accept and rests (%s:%s)",
                          asyncore_repr(d, channel, sizeof channel),
                          asyncore_errorcode(code), asyncore_strerror(code));
    }
    asyncore__rest(d);
}

int
asyncore_accept(struct asyncore_dispatcher *d, struct asyncore_addr *ret_addr)
{
    int err = asyncore__check_open(d);
    if (err < 0 || !d->accepting) {
        return err < 0 ? err : -EINVAL;
    }
    struct asyncore_addr addr;
    int fd;
    do {
        fd = world(d)->accept(world(d), d->fd, &addr);
    } while (fd == -EINTR);
    if (fd >= 0) {
        asyncore__set(d, ASYNCORE__SERVED);
        d->map->starved = false;
        if (ret_addr != NULL) {
            *ret_addr = addr;
        }
        return fd;
    }
    if (asyncore__accept_again(fd)) {
        return -EAGAIN;
    }
    if (asyncore__exhausted(fd)) {
        turn_away(d, fd);
        return -EAGAIN;
    }
    return asyncore__fail(d, "accept", fd);
}

/* ---- connect ---- */

/* It failed at once: as before, and out of the map, so that a loop does not
 * wait for it for ever. */
static int
connect_failed(struct asyncore_dispatcher *d, int code)
{
    d->connecting = 0;
    asyncore_del_channel(d);
    /* EAGAIN is "nothing to do" here; a full backlog is more than that. */
    return asyncore__fail(d, "connect", code == -EAGAIN ? -EBUSY : code);
}

/* May it connect?  Returns 0, or why not. */
static int
check_connect(const struct asyncore_dispatcher *d)
{
    int err = asyncore__check_open(d);
    if (err >= 0 && d->connecting) {
        err = -EALREADY;
    }
    if (err >= 0 && d->connected && asyncore__has(d, ASYNCORE__STREAM)) {
        err = -EISCONN;
    }
    return err >= 0 && d->accepting ? -EINVAL : err;
}

int
asyncore_connect_addr(struct asyncore_dispatcher *d, const struct sockaddr *sa,
                      socklen_t len)
{
    struct asyncore_addr addr;
    int err = check_connect(d);
    if (err >= 0) {
        err = copy_addr(&addr, sa, len);
    }
    if (err >= 0 && !asyncore__in_map(d)) {
        err = asyncore_add_channel(d, NULL);
    }
    if (err < 0) {
        return err;
    }
    d->connecting = 1;
    asyncore__touch(d);
    err = world(d)->connect(world(d), d->fd, sa, len);
    switch (-err) {
    case EINPROGRESS:
    case EALREADY:
    case EINTR: /* goes on by itself */
        asyncore__set_addr(d, &addr);
        return 0;
    case EISCONN:
        break;
    default:
        if (err < 0) {
            return connect_failed(d, err);
        }
        break;
    }
    asyncore__set_addr(d, &addr);
    err = ASYNCORE__RUN(d, handle_connect_event);
    if (err < 0 && asyncore__has(d, ASYNCORE__LOST)) {
        asyncore__unset(d, ASYNCORE__LOST);
        return connect_failed(d, err);
    }
    return err;
}

int
asyncore_connect(struct asyncore_dispatcher *d, const char *host, int port)
{
    struct asyncore_addr addr;
    int err = check_connect(d);
    if (err >= 0) {
        err = resolve(d, host, port, &addr);
        if (err < 0 && err != -EINVAL) {
            asyncore_del_channel(d);
        }
    }
    return err < 0 ? err : asyncore_connect_addr(d, &addr.u.sa, addr.len);
}

/* ---- bytes out ---- */

/* May the channel send?  Returns 0, or why not. */
static int
check_send(struct asyncore_dispatcher *d, const void *data, size_t len)
{
    int err = asyncore__check_open(d);
    if (err >= 0 && data == NULL && len > 0) {
        err = -EINVAL;
    }
    if (err >= 0 && (asyncore__has(d, ASYNCORE__SHUT) || d->closing)) {
        err = asyncore__fail(d, "send", -EPIPE);
    }
    return err;
}

/* The kernel's answer to a send. */
static ssize_t
sent(struct asyncore_dispatcher *d, ssize_t n)
{
    asyncore__set(d, ASYNCORE__SERVED);
    return n >= 0 ? n : asyncore__io_failed(d, "send", (int)n);
}

ssize_t
asyncore_send(struct asyncore_dispatcher *d, const void *data, size_t len)
{
    /* Each class looks at the rest itself. */
    return asyncore__valid(d) ? ASYNCORE__VIRTUAL(d, send)(d, data, len)
                              : -EINVAL;
}

ssize_t
asyncore_dispatcher_send(struct asyncore_dispatcher *d, const void *data,
                         size_t len)
{
    int err = check_send(d, data, len);
    if (err < 0) {
        return err;
    }
    ssize_t n;
    do {
        n = asyncore__transport_of(d)->send(d, data, len);
    } while (n == -EINTR);
    return sent(d, n);
}

ssize_t
asyncore_sendto(struct asyncore_dispatcher *d, const void *data, size_t len,
                const struct asyncore_addr *to)
{
    if (to == NULL || to->len == 0) {
        return asyncore_send(d, data, len); /* not past the queue */
    }
    int err = check_send(d, data, len);
    if (err < 0) {
        return err;
    }
    ssize_t n;
    do {
        n = world(d)->sendto(world(d), d->fd, data, len, to);
    } while (n == -EINTR);
    return sent(d, n);
}

ssize_t
asyncore_send_oob(struct asyncore_dispatcher *d, const void *data, size_t len)
{
    int err = check_send(d, data, len);
    if (err < 0) {
        return err;
    }
    ssize_t n;
    do {
        n = world(d)->send(world(d), d->fd, data, len, MSG_OOB);
    } while (n == -EINTR);
    return sent(d, n);
}

/* ---- bytes in ---- */

static int
check_recv(const struct asyncore_dispatcher *d, const void *buf, size_t len)
{
    int err = asyncore__check_open(d);
    return err >= 0 && (buf == NULL || len == 0) ? -EINVAL : err;
}

/* The kernel had no bytes for us. */
ASYNCORE__COLD static ssize_t
received_none(struct asyncore_dispatcher *d, int result)
{
    if (result < 0) {
        return asyncore__io_failed(d, "recv", result);
    }
    return asyncore__has(d, ASYNCORE__STREAM) ? asyncore__end_of_stream(d) : 0;
}

/* The kernel's answer to a receive of at most len bytes.  (One that failed has
 * left what was there.) */
static inline ssize_t
received(struct asyncore_dispatcher *d, size_t len, ssize_t n)
{
    unsigned flags = d->asyncore__flags | ASYNCORE__SERVED;
    if ((flags & ASYNCORE__UNSETTLED) != 0 && n < (ssize_t)len &&
        (n >= 0 || n == -EAGAIN)) {
        flags &= ~(unsigned)ASYNCORE__UNSETTLED; /* that was all */
        d->map->unsettled--;
    }
    d->asyncore__flags = flags;
    return n > 0 ? n : received_none(d, (int)n);
}

ASYNCORE__COLD static ssize_t
recv_any(struct asyncore_dispatcher *d, void *buf, size_t len)
{
    int err = check_recv(d, buf, len);
    return err < 0 ? err : ASYNCORE__VIRTUAL(d, recv)(d, buf, len);
}

ssize_t
asyncore_recv(struct asyncore_dispatcher *d, void *buf, size_t len)
{
    if (!asyncore__valid(d) || !asyncore__has(d, ASYNCORE__PLAIN) ||
        buf == NULL || len == 0) {
        return recv_any(d, buf, len);
    }
    ssize_t n = world(d)->recv(world(d), d->fd, buf, len, 0);
    return n != -EINTR ? received(d, len, n) : recv_any(d, buf, len);
}

ssize_t
asyncore_dispatcher_recv(struct asyncore_dispatcher *d, void *buf, size_t len)
{
    int err = check_recv(d, buf, len);
    if (err < 0) {
        return err;
    }
    ssize_t n;
    do {
        n = asyncore__transport_of(d)->recv(d, buf, len);
    } while (n == -EINTR);
    return received(d, len, n);
}

ssize_t
asyncore_recvfrom(struct asyncore_dispatcher *d, void *buf, size_t len,
                  struct asyncore_addr *ret_from)
{
    int err = check_recv(d, buf, len);
    if (err < 0) {
        return err;
    }
    struct asyncore_addr from;
    ssize_t n;
    do {
        memset(&from, 0, sizeof from);
        n = world(d)->recvfrom(world(d), d->fd, buf, len, &from);
    } while (n == -EINTR);
    if (ret_from != NULL && n >= 0) {
        *ret_from = from;
    }
    return received(d, len, n);
}

ssize_t
asyncore_recv_oob(struct asyncore_dispatcher *d, void *buf, size_t len)
{
    int err = check_recv(d, buf, len);
    if (err < 0) {
        return err;
    }
    ssize_t n;
    do {
        n = world(d)->recv(world(d), d->fd, buf, len, MSG_OOB);
    } while (n == -EINTR);
    asyncore__set(d, ASYNCORE__SERVED);
    /* Neither "no urgent byte" nor the end behind it says anything of the
     * stream. */
    return n >= 0 || n == -EINVAL ? n : asyncore__io_failed(d, "recv", (int)n);
}

/* ---- the transport ---- */

static ssize_t
socket_recv(struct asyncore_dispatcher *d, void *buf, size_t len)
{
    return world(d)->recv(world(d), d->fd, buf, len, 0);
}

static ssize_t
socket_send(struct asyncore_dispatcher *d, const void *data, size_t len)
{
    return world(d)->send(world(d), d->fd, data, len, 0);
}

static ssize_t
socket_sendv(struct asyncore_dispatcher *d, const struct iovec *iov, int n)
{
    return world(d)->sendv(world(d), d->fd, iov, n);
}

static ssize_t
socket_sendfile(struct asyncore_dispatcher *d, int fd, off_t offset,
                size_t len)
{
    return world(d)->sendfile(world(d), d->fd, fd, offset, len);
}

static int
socket_shutdown(struct asyncore_dispatcher *d)
{
    return world(d)->shutdown(world(d), d->fd, SHUT_WR);
}

static int
socket_error(struct asyncore_dispatcher *d)
{
    int code = 0;
    int err =
        world(d)->getsockopt(world(d), d->fd, SOL_SOCKET, SO_ERROR, &code);
    return err < 0 ? err : -code;
}

const struct asyncore__transport asyncore__socket_transport = {
    .recv = socket_recv,
    .send = socket_send,
    .sendv = socket_sendv,
    .sendfile = socket_sendfile,
    .shutdown = socket_shutdown,
    .error = socket_error,
};
