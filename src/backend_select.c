/* SPDX-License-Identifier: MIT */
/* backend_select.c - select(2): three sets of bits, FD_SETSIZE descriptors.
 *
 * It cannot tell a hang-up from data or room, and fails as a whole when one
 * descriptor is bad; then the bad one is looked for. */
#include <sys/select.h>

#include "internal.h"

struct state {
    fd_set read, write, except; /* what is waited for */
    int nfds;                   /* highest descriptor ever + 1 */
};

static int
init(struct asyncore_map *map)
{
    struct state *st = asyncore__calloc(sizeof *st);
    if (st == NULL) {
        return -ENOMEM;
    }
    FD_ZERO(&st->read);
    FD_ZERO(&st->write);
    FD_ZERO(&st->except);
    map->state = st;
    return 0;
}

static void
fini(struct asyncore_map *map)
{
    asyncore__free(map->state);
    map->state = NULL;
}

static void
set_bit(fd_set *set, int fd, bool on)
{
    if (on) {
        FD_SET(fd, set);
    }
    else {
        FD_CLR(fd, set);
    }
}

static int
modify(struct asyncore_map *map, int fd, unsigned from, unsigned to)
{
    (void)from;
    struct state *st = map->state;
    set_bit(&st->read, fd, (to & ASYNCORE__READ) != 0);
    set_bit(&st->write, fd, (to & ASYNCORE__WRITE) != 0);
    set_bit(&st->except, fd, (to & ASYNCORE__PRI) != 0);
    if (fd >= st->nfds) {
        st->nfds = fd + 1;
    }
    return 0;
}

/* Report the descriptors that are not open any more. */
static int
report_bad(struct asyncore_map *map)
{
    int found = -EBADF;
    struct state *st = map->state;
    for (int fd = 0; fd < st->nfds; fd++) {
        fd_set one;
        if (map->slots[fd].armed == 0) {
            continue;
        }
        FD_ZERO(&one);
        FD_SET(fd, &one);
        if (map->world->select(map->world, fd + 1, &one, NULL, NULL, 0) ==
            -EBADF) {
            int err = asyncore__report(map, fd, map->slots[fd].generation,
                                       ASYNCORE__NVAL);
            found = err < 0 ? err : 0;
        }
    }
    return found;
}

static int
wait(struct asyncore_map *map, int64_t timeout)
{
    struct state *st = map->state;
    fd_set r = st->read, w = st->write, x = st->except;
    int n = map->world->select(map->world, st->nfds, &r, &w, &x, timeout);
    if (n == -EBADF) {
        return report_bad(map);
    }
    for (int fd = 0; n > 0 && fd < st->nfds; fd++) {
        unsigned mask = (FD_ISSET(fd, &r) ? (unsigned)ASYNCORE__READ : 0) |
                        (FD_ISSET(fd, &w) ? (unsigned)ASYNCORE__WRITE : 0) |
                        (FD_ISSET(fd, &x) ? (unsigned)ASYNCORE__PRI : 0);
        if (mask == 0) {
            continue;
        }
        int err = asyncore__report(map, fd, map->slots[fd].generation, mask);
        if (err < 0) {
            return err;
        }
    }
    return n < 0 ? n : 0;
}

const struct asyncore__backend asyncore__backend_select = {
    .name = "select",
    .fd_limit = FD_SETSIZE,
    .init = init,
    .fini = fini,
    .modify = modify,
    .wait = wait,
};
