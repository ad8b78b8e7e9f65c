/* SPDX-License-Identifier: MIT */
/* backend_epoll.c - Linux's epoll(7), level-triggered.
 *
 * Each registration carries descriptor and generation, so that an event of a
 * life that has passed is known as such.  The buffer for events grows with
 * the registrations: one wait reports all that is ready. */
#include <sys/epoll.h>

#include "internal.h"

struct state {
    int epfd;
    size_t watched; /* descriptors registered */
    struct epoll_event *events;
    size_t cap;
};

static int
init(struct asyncore_map *map)
{
    struct state *st = asyncore__calloc(sizeof *st);
    if (st == NULL) {
        return -ENOMEM;
    }
    int epfd = map->world->epoll_create(map->world);
    if (epfd < 0) {
        asyncore__free(st);
        return epfd;
    }
    st->epfd = epfd;
    map->state = st;
    return 0;
}

static void
fini(struct asyncore_map *map)
{
    struct state *st = map->state;
    map->world->close(map->world, st->epfd);
    asyncore__free(st->events);
    asyncore__free(st);
    map->state = NULL;
}

_Static_assert((unsigned)EPOLLIN == (unsigned)ASYNCORE__READ &&
                   (unsigned)EPOLLPRI == (unsigned)ASYNCORE__PRI &&
                   (unsigned)EPOLLOUT == (unsigned)ASYNCORE__WRITE,
               "the masks need no translation");
#define SAME ((uint32_t)(EPOLLIN | EPOLLPRI | EPOLLOUT))

static inline unsigned
from_epoll(uint32_t events)
{
    if (events == (uint32_t)EPOLLIN) {
        return ASYNCORE__READ; /* as nearly all of them are */
    }
    bool hup = (events & (uint32_t)(EPOLLHUP | EPOLLERR)) != 0;
    return (events & SAME) | (hup ? (unsigned)ASYNCORE__HUP : 0);
}

static int
control(struct asyncore_map *map, int op, int fd, unsigned mask)
{
    const struct state *st = map->state;
    uint64_t generation = map->slots[fd].generation;
    return map->world->epoll_ctl(map->world, st->epfd, op, fd, mask,
                                 generation << 32 | (uint32_t)fd);
}

static int
modify(struct asyncore_map *map, int fd, unsigned from, unsigned to)
{
    struct state *st = map->state;
    if (to == 0) {
        st->watched--; /* also if the kernel has forgotten it already */
        return control(map, EPOLL_CTL_DEL, fd, 0);
    }
    if (from != 0) {
        int err = control(map, EPOLL_CTL_MOD, fd, to);
        /* Somebody put another file under the number, by dup2(). */
        return err == -ENOENT ? control(map, EPOLL_CTL_ADD, fd, to) : err;
    }
    int err = asyncore__reserve(&st->events, &st->cap, st->watched + 1,
                                sizeof *st->events);
    if (err < 0) {
        return err;
    }
    err = control(map, EPOLL_CTL_ADD, fd, to);
    if (err == -EEXIST) {
        err = control(map, EPOLL_CTL_MOD, fd, to);
    }
    if (err >= 0) {
        st->watched++;
    }
    return err;
}

static int
wait(struct asyncore_map *map, int64_t timeout)
{
    struct state *st = map->state;
    struct epoll_event spare;
    struct epoll_event *events = st->cap > 0 ? st->events : &spare;
    int max = st->cap > 0 ? (int)st->cap : 1;
    int n = map->world->epoll_wait(map->world, st->epfd, events, max, timeout);
    if (n < 0) {
        return n;
    }
    for (int i = 0; i < n; i++) {
        uint64_t data = events[i].data.u64;
        int err =
            asyncore__report(map, (int)(uint32_t)data, (uint32_t)(data >> 32),
                             from_epoll(events[i].events));
        if (err < 0) {
            return i > 0 ? 0 : err;
        }
    }
    return 0;
}

static int
get_fileno(const struct asyncore_map *map)
{
    const struct state *st = map->state;
    return st->epfd;
}

const struct asyncore__backend asyncore__backend_epoll = {
    .name = "epoll",
    .tells_hup = true,
    .init = init,
    .fini = fini,
    .modify = modify,
    .wait = wait,
    .fileno = get_fileno,
};
