/* SPDX-License-Identifier: MIT */
/* backend_epoll.c - Linux's epoll(7), level-triggered to those above it.
 *
 * Each registration carries descriptor and generation, so that an event of a
 * life that has passed is known as such.  The buffer for events grows with
 * the registrations: one wait reports all that is ready.
 *
 * Level-triggered, the kernel looks at each ready socket once more in the next
 * wait, which costs much where many are ready.  So a TCP connection that is
 * only read from begins edge-triggered: as long as the receives after each
 * event are short, which means that they have taken all there was (epoll(7)),
 * nothing is missed.  Who leaves something behind, or may have, is registered
 * level-triggered before the next wait, and stays so.
 *
 * A socket that is closed is not taken out before: the kernel does that,
 * unless somebody else has the same open file, by dup() or fork().  Such a
 * ghost is noticed at its first event, and a fresh epoll instance lays it. */
#include <sys/epoll.h>

#include "internal.h"

struct state {
    int epfd;
    size_t watched; /* descriptors registered */
    struct epoll_event *events;
    size_t cap;
    size_t reported; /* events[] that the last wait filled in */
    bool haunted;    /* … an event of nobody's was among them */
    bool forgot;     /* sockets were closed without being taken out */
    bool shared;     /* epfd is known outside and must stay what it is */
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

/* Another receive says nothing of this event any more. */
static void
drop_event(struct asyncore_map *map, const struct epoll_event *event)
{
    struct asyncore_dispatcher *d = map->slots[(uint32_t)event->data.u64].d;
    if (d != NULL) {
        asyncore__unset(d, ASYNCORE__UNSETTLED);
    }
}

static void
fini(struct asyncore_map *map)
{
    struct state *st = map->state;
    for (; st->reported > 0; st->reported--) {
        drop_event(map, &st->events[st->reported - 1]);
    }
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

/* What is watched edge-triggered.  With an urgent byte or the end of the
 * stream a receive may be short and leave something: these two tell. */
#define EDGES ((uint32_t)(EPOLLIN | EPOLLPRI | EPOLLRDHUP) | (uint32_t)EPOLLET)

static unsigned
from_epoll(uint32_t events)
{
    bool hup = (events & (uint32_t)(EPOLLHUP | EPOLLERR)) != 0;
    bool error = (events & (uint32_t)EPOLLERR) != 0;
    return (events & SAME) | (hup ? (unsigned)ASYNCORE__HUP : 0) |
           (error ? (unsigned)ASYNCORE__ERR : 0);
}

/* ---- registrations ---- */

/* Is the descriptor registered edge-triggered? */
static uint32_t *
by_edge(const struct asyncore_map *map, int fd)
{
    return &map->slots[fd].scratch;
}

static bool
may_be_by_edge(const struct asyncore_map *map, int fd, unsigned mask)
{
    const struct state *st = map->state;
    const struct asyncore_dispatcher *d = map->slots[fd].d;
    return (mask & ~(unsigned)ASYNCORE__PRI) == ASYNCORE__READ && d != NULL &&
           d->connected && asyncore__has(d, ASYNCORE__TCP) && !st->shared;
}

static int
control(struct asyncore_map *map, int op, int fd, unsigned mask)
{
    const struct state *st = map->state;
    uint64_t generation = map->slots[fd].generation;
    uint32_t events = mask != 0 && *by_edge(map, fd) ? EDGES : mask;
    return map->world->epoll_ctl(map->world, st->epfd, op, fd, events,
                                 generation << 32 | (uint32_t)fd);
}

/* Somebody may have put another file under the number, by dup2(). */
static int
change(struct asyncore_map *map, int fd, unsigned mask)
{
    int err = control(map, EPOLL_CTL_MOD, fd, mask);
    return err == -ENOENT ? control(map, EPOLL_CTL_ADD, fd, mask) : err;
}

static int
add(struct asyncore_map *map, int fd, unsigned mask)
{
    int err = control(map, EPOLL_CTL_ADD, fd, mask);
    return err == -EEXIST ? control(map, EPOLL_CTL_MOD, fd, mask) : err;
}

/* From edges to levels: the kernel looks at it anew. */
static int
level(struct asyncore_map *map, int fd)
{
    *by_edge(map, fd) = false;
    int err = change(map, fd, map->slots[fd].armed);
    if (err >= 0 || err == -EBADF) {
        return 0;
    }
    *by_edge(map, fd) = true; /* to be tried again */
    return err;
}

static int
modify(struct asyncore_map *map, int fd, unsigned from, unsigned to)
{
    struct state *st = map->state;
    if (to == 0) {
        st->watched--; /* also if the kernel has forgotten it already */
        return control(map, EPOLL_CTL_DEL, fd, 0);
    }
    *by_edge(map, fd) = may_be_by_edge(map, fd, to);
    if (from != 0) {
        return change(map, fd, to);
    }
    int err = asyncore__reserve_raw(&st->events, &st->cap, st->watched + 1,
                                    sizeof *st->events);
    if (err >= 0) {
        err = add(map, fd, to);
    }
    st->watched += err >= 0;
    return err;
}

static void
forget(struct asyncore_map *map, int fd, unsigned from)
{
    struct state *st = map->state;
    (void)from;
    st->watched--;
    if (st->shared) {
        (void)control(map, EPOLL_CTL_DEL, fd, 0);
    }
    else {
        st->forgot = true;
    }
}

/* A fresh instance, with all that are watched.  Without a descriptor for it,
 * the old one has to do a while longer. */
static int
start_anew(struct asyncore_map *map)
{
    struct state *st = map->state;
    int old = st->epfd;
    int epfd = map->world->epoll_create(map->world);
    if (epfd < 0) {
        return epfd;
    }
    int err = 0;
    st->epfd = epfd;
    for (size_t fd = 0; fd < map->nslots && err >= 0; fd++) {
        const struct asyncore__slot *slot = &map->slots[fd];
        if (slot->armed != 0 && !slot->always) {
            err = add(map, (int)fd, slot->armed);
            err = err == -EBADF ? 0 : err; /* closed behind its channel */
        }
    }
    st->epfd = err >= 0 ? epfd : old;
    map->world->close(map->world, err >= 0 ? old : epfd);
    if (err >= 0) {
        st->haunted = st->forgot = false;
    }
    return err;
}

/* ---- waiting ---- */

/* May something be left of what the event was about, that no edge will tell
 * of? */
static bool
is_unsettled(const struct asyncore_map *map, const struct epoll_event *event)
{
    int fd = (int)(uint32_t)event->data.u64;
    const struct asyncore__slot *slot = &map->slots[fd];
    if (slot->d == NULL || slot->armed == 0 || !*by_edge(map, fd) ||
        slot->generation != (uint32_t)(event->data.u64 >> 32)) {
        return false;
    }
    return event->events != (uint32_t)EPOLLIN ||
           asyncore__has(slot->d, ASYNCORE__UNSETTLED);
}

/* Before the next wait: who has not taken all of what the last one reported
 * gets no edge for it.  Level-triggered, the kernel looks for itself. */
static int
settle(struct asyncore_map *map)
{
    struct state *st = map->state;
    for (; st->reported > 0; st->reported--) {
        const struct epoll_event *event = &st->events[st->reported - 1];
        int fd = (int)(uint32_t)event->data.u64;
        int err = is_unsettled(map, event) ? level(map, fd) : 0;
        if (err < 0) {
            return err;
        }
        drop_event(map, event);
    }
    map->unsettled = 0;
    return 0;
}

/* An edge: something may be left of it until a receive was short. */
static inline void
expect_receive(struct asyncore_map *map, struct asyncore_dispatcher *d)
{
    asyncore__set(d, ASYNCORE__UNSETTLED);
    map->unsettled++;
}

ASYNCORE__COLD static int
report_other(struct asyncore_map *map, const struct epoll_event *event)
{
    struct state *st = map->state;
    int fd = (int)(uint32_t)event->data.u64;
    uint32_t generation = (uint32_t)(event->data.u64 >> 32);
    unsigned mask = from_epoll(event->events);
    const struct asyncore__slot *slot = &map->slots[fd];
    if (slot->d == NULL || slot->generation != generation) {
        st->haunted |= fd != map->wake_fd[0];
    }
    else if (*by_edge(map, fd)) {
        expect_receive(map, slot->d);
        if (event->events != (uint32_t)EPOLLIN) {
            map->unsettled++; /* settled only by a look at the event */
            mask &= slot->armed | (unsigned)ASYNCORE__HUP;
            if (mask == 0) {
                return 0; /* an urgent byte, which nobody waits for */
            }
        }
    }
    return asyncore__report(map, fd, generation, mask);
}

static inline int
report(struct asyncore_map *map, const struct epoll_event *event)
{
    int fd = (int)(uint32_t)event->data.u64;
    uint32_t generation = (uint32_t)(event->data.u64 >> 32);
    const struct asyncore__slot *slot = &map->slots[fd];
    if (event->events != (uint32_t)EPOLLIN || slot->d == NULL ||
        slot->generation != generation || map->nready == map->ready_cap) {
        return report_other(map, event);
    }
    if (slot->scratch) {
        expect_receive(map, slot->d);
    }
    asyncore__note(map, slot, fd, ASYNCORE__READ);
    return 0;
}

static int
wait(struct asyncore_map *map, int64_t timeout)
{
    struct state *st = map->state;
    int err = map->unsettled > 0 ? settle(map) : 0;
    if (err < 0) {
        return err;
    }
    if (st->haunted && !st->shared) {
        (void)start_anew(map);
    }
    struct epoll_event spare;
    struct epoll_event *events = st->cap > 0 ? st->events : &spare;
    int max = st->cap > 0 ? (int)st->cap : 1;
    int n = map->world->epoll_wait(map->world, st->epfd, events, max, timeout);
    if (n < 0) {
        return n;
    }
    st->reported = st->cap > 0 ? (size_t)n : 0;
    for (int i = 0; i < n; i++) {
        int failed = report(map, &events[i]);
        err = failed < 0 ? failed : err;
    }
    return err;
}

/* Somebody else is going to wait, who settles nothing. */
static int
get_fileno(struct asyncore_map *map)
{
    struct state *st = map->state;
    int err = 0;
    for (size_t fd = 0; fd < map->nslots && err >= 0 && !st->shared; fd++) {
        if (map->slots[fd].armed != 0 && *by_edge(map, (int)fd)) {
            err = level(map, (int)fd);
        }
    }
    if (err >= 0 && st->forgot) {
        err = start_anew(map);
    }
    if (err < 0) {
        return err;
    }
    st->shared = true;
    return st->epfd;
}

const struct asyncore__backend asyncore__backend_epoll = {
    .name = "epoll",
    .tells_hup = true,
    .init = init,
    .fini = fini,
    .modify = modify,
    .forget = forget,
    .wait = wait,
    .fileno = get_fileno,
};
