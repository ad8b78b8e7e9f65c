/* SPDX-License-Identifier: MIT */
/* net.c - addresses as text, and what an errno means for a connection. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>

#include "internal.h"

bool
asyncore__disconnected(int code)
{
    switch (-code) {
    case ECONNRESET:
    case ENOTCONN:
    case ESHUTDOWN:
    case ECONNABORTED:
    case EPIPE:
    case EBADF:
    case EPROTOTYPE: /* macOS: send to a socket that is closing */
    case ETIMEDOUT:  /* the peer stopped to answer */
        return true;
    default:
        return false;
    }
}

/* accept(2) hands out errors of the connection it found, which is gone. */
bool
asyncore__accept_again(int code)
{
    switch (-code) {
    case EAGAIN:
#if EWOULDBLOCK != EAGAIN
    case EWOULDBLOCK:
#endif
    case ECONNABORTED:
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
#ifdef EHOSTDOWN
    case EHOSTDOWN:
#endif
#ifdef ENONET
    case ENONET:
#endif
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case EPERM: /* a firewall's doing */
    case ETIMEDOUT:
    case ENETUNREACH:
        return true;
    default:
        return false;
    }
}

bool
asyncore__exhausted(int code)
{
    return code == -EMFILE || code == -ENFILE || code == -ENOBUFS ||
           code == -ENOMEM;
}

int
asyncore__addr_unix(struct asyncore_addr *ret, const char *path)
{
    size_t len = strlen(path);
    bool abstract = path[0] == '@';
    /* A path needs its terminator, an abstract name is counted. */
    if (len == 0 || (abstract && len < 2)) {
        return -EINVAL;
    }
    if (len + (abstract ? 0 : 1) > sizeof ret->u.un.sun_path) {
        return -ENAMETOOLONG;
    }
    memset(ret, 0, sizeof *ret);
    ret->u.un.sun_family = AF_UNIX;
    memcpy(ret->u.un.sun_path, path, len);
    size_t used = offsetof(struct sockaddr_un, sun_path) + len;
    if (abstract) {
        ret->u.un.sun_path[0] = '\0';
    }
    else {
        used++;
    }
    ret->len = (socklen_t)used;
    return 0;
}

static void
unix_str(const struct asyncore_addr *addr, char *buf, size_t size)
{
    size_t head = offsetof(struct sockaddr_un, sun_path);
    size_t len = addr->len > head ? addr->len - head : 0;
    const char *path = addr->u.un.sun_path;
    if (len > 0 && path[0] == '\0') {
        snprintf(buf, size, "@%.*s", (int)(len - 1), path + 1);
    }
    else {
        snprintf(buf, size, "%.*s", (int)len, path);
    }
}

static void
inet6_str(const struct sockaddr_in6 *in6, char *buf, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "";
    inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
    if (in6->sin6_scope_id != 0) {
        snprintf(buf, size, "[%s%%%u]:%u", host, (unsigned)in6->sin6_scope_id,
                 (unsigned)ntohs(in6->sin6_port));
    }
    else {
        snprintf(buf, size, "[%s]:%u", host, (unsigned)ntohs(in6->sin6_port));
    }
}

static void
addr_str(const struct asyncore_addr *addr, char *buf, size_t size)
{
    char host[INET_ADDRSTRLEN] = "";
    buf[0] = '\0';
    if (addr == NULL || addr->len < (socklen_t)sizeof(sa_family_t)) {
        return;
    }
    switch (addr->u.sa.sa_family) {
    case AF_INET:
        inet_ntop(AF_INET, &addr->u.in.sin_addr, host, sizeof host);
        snprintf(buf, size, "%s:%u", host,
                 (unsigned)ntohs(addr->u.in.sin_port));
        break;
    case AF_INET6:
        inet6_str(&addr->u.in6, buf, size);
        break;
    case AF_UNIX:
        unix_str(addr, buf, size);
        break;
    default:
        snprintf(buf, size, "family %u", (unsigned)addr->u.sa.sa_family);
        break;
    }
}

const char *
asyncore_addr_str(const struct asyncore_addr *addr)
{
    /* Four, so that a printf can show several. */
    static _Thread_local char text[4][ASYNCORE_ADDR_STRLEN];
    static _Thread_local unsigned next;
    char *buf = text[next++ % 4];
    addr_str(addr, buf, ASYNCORE_ADDR_STRLEN);
    return buf;
}

int
asyncore_getaddrinfo(struct asyncore_map *map, int family, int type,
                     const char *host, int port, struct asyncore_addr *ret,
                     size_t max)
{
    if (ret == NULL || max == 0) {
        return -EINVAL;
    }
    if (family == AF_UNIX) {
        int bad = asyncore__addr_unix(ret, host != NULL ? host : "");
        return bad < 0 ? bad : 1;
    }
    if (port < 0 || port > 65535) {
        return -EINVAL;
    }
    if (family != AF_INET && family != AF_INET6 && family != AF_UNSPEC) {
        return -EAFNOSUPPORT;
    }
    int err = asyncore__map(&map);
    if (err < 0) {
        return err;
    }
    bool any = host == NULL || host[0] == '\0';
    return map->world->resolve(map->world, family, type, any ? NULL : host,
                               port, ret, max);
}
