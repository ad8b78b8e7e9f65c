/* SPDX-License-Identifier: MIT */
/* backend_poll.c - poll(2): an array of pollfds without holes; each
 * descriptor's place in it is its slot's scratch word. */
#include <poll.h>

#include "internal.h"

struct state {
    struct pollfd *fds;
    size_t len, cap;
};

static int
init(struct asyncore_map *map)
{
    map->state = asyncore__calloc(sizeof(struct state));
    return map->state != NULL ? 0 : -ENOMEM;
}

static void
fini(struct asyncore_map *map)
{
    struct state *st = map->state;
    asyncore__free(st->fds);
    asyncore__free(st);
    map->state = NULL;
}

static short
to_poll(unsigned mask)
{
    return (short)(((mask & ASYNCORE__READ) != 0 ? POLLIN : 0) |
                   ((mask & ASYNCORE__WRITE) != 0 ? POLLOUT : 0) |
                   ((mask & ASYNCORE__PRI) != 0 ? POLLPRI : 0));
}

static unsigned
from_poll(short events)
{
    return ((events & POLLIN) != 0 ? (unsigned)ASYNCORE__READ : 0) |
           ((events & POLLOUT) != 0 ? (unsigned)ASYNCORE__WRITE : 0) |
           ((events & POLLPRI) != 0 ? (unsigned)ASYNCORE__PRI : 0) |
           ((events & (POLLHUP | POLLERR)) != 0 ? (unsigned)ASYNCORE__HUP
                                                : 0) |
           ((events & POLLERR) != 0 ? (unsigned)ASYNCORE__ERR : 0) |
           ((events & POLLNVAL) != 0 ? (unsigned)ASYNCORE__NVAL : 0);
}

static int
modify(struct asyncore_map *map, int fd, unsigned from, unsigned to)
{
    struct state *st = map->state;
    uint32_t *at = &map->slots[fd].scratch;
    if (from == 0) {
        int err = asyncore__reserve_raw(&st->fds, &st->cap, st->len + 1,
                                        sizeof *st->fds);
        if (err < 0) {
            return err;
        }
        *at = (uint32_t)st->len++;
        st->fds[*at] = (struct pollfd){.fd = fd, .events = to_poll(to)};
    }
    else if (to == 0) {
        struct pollfd last = st->fds[--st->len];
        st->fds[*at] = last;
        map->slots[last.fd].scratch = *at;
    }
    else {
        st->fds[*at].events = to_poll(to);
    }
    return 0;
}

static int
wait(struct asyncore_map *map, int64_t timeout)
{
    struct state *st = map->state;
    int n = map->world->poll(map->world, st->fds, st->len, timeout);
    int left = n;
    for (size_t i = 0; left > 0 && i < st->len; i++) {
        if (st->fds[i].revents == 0) {
            continue;
        }
        int fd = st->fds[i].fd;
        int err = asyncore__report(map, fd, map->slots[fd].generation,
                                   from_poll(st->fds[i].revents));
        if (err < 0) {
            return left < n ? 0 : err;
        }
        left--;
    }
    return n < 0 ? n : 0;
}

const struct asyncore__backend asyncore__backend_poll = {
    .name = "poll",
    .tells_hup = true,
    .init = init,
    .fini = fini,
    .modify = modify,
    .wait = wait,
};
