/* SPDX-License-Identifier: MIT */
/* check.c - what must be true of a map between two passes, in builds made for
 * it (-Dchecks=true): each pass ends with this, and the dead are made to look
 * dead. */
#include "internal.h"

#ifdef ASYNCORE_CHECKS

/* On purpose without <assert.h>: who configures the checks wants them,
 * whatever NDEBUG says. */
#include <stdio.h>
#include <stdlib.h>

void
asyncore__must(bool true_, const char *what)
{
    if (!true_) {
        fprintf(stderr, "asyncore: check failed: %s\n", what);
        abort();
    }
}

static void
check_channel(const struct asyncore_map *map,
              const struct asyncore_dispatcher *d)
{
    asyncore__must(asyncore__valid(d), "a channel of the map is a channel");
    asyncore__must(d->map == map && asyncore__in_map(d),
                   "… and knows its map");
    asyncore__must(d->fd >= 0 && (size_t)d->fd < map->nslots,
                   "… has a descriptor");
    asyncore__must(map->slots[d->fd].d == d, "… which is its own");
    asyncore__must(!asyncore__has(d, ASYNCORE__CLOSED | ASYNCORE__DESTROYED),
                   "… and is alive");
    asyncore__must(!asyncore__has(d, ASYNCORE__PLAIN) || asyncore__is_plain(d),
                   "who is marked as plain is plain");
}

static size_t
check_order(const struct asyncore_map *map, const struct asyncore__order *o)
{
    size_t live = 0;
    for (size_t i = 0; i < o->len; i++) {
        const struct asyncore_dispatcher *d = o->at[i];
        if (d != NULL) {
            unsigned place;
            memcpy(&place, (const char *)d + o->index_offset, sizeof place);
            asyncore__must(place == i, "a channel knows its place");
            check_channel(map, d);
            live++;
        }
    }
    asyncore__must(live == o->live, "the channels are counted");
    return live;
}

static void
check_slots(const struct asyncore_map *map)
{
    size_t channels = 0, always = 0;
    for (size_t fd = 0; fd < map->nslots; fd++) {
        const struct asyncore__slot *slot = &map->slots[fd];
        channels += slot->d != NULL;
        always += slot->always;
        asyncore__must(slot->armed == 0 || slot->d != NULL ||
                           (int)fd == map->wake_fd[0],
                       "who is watched has a channel");
    }
    asyncore__must(channels == map->all.live, "a channel has one slot");
    asyncore__must(always == map->nalways, "who is always ready is listed");
}

static void
check_touched(const struct asyncore_map *map)
{
    size_t n = 0, closed = 0;
    for (const struct asyncore_dispatcher *d = map->touched; d != NULL;
         d = d->asyncore__next) {
        asyncore__must(asyncore__has(d, ASYNCORE__TOUCHED) && d->map == map,
                       "who is listed as touched knows it");
        closed += asyncore__has(d, ASYNCORE__CLOSED);
        n++;
    }
    asyncore__must(n == map->ntouched, "the touched are counted");
    asyncore__must(closed == map->closed, "the closed are listed");
}

void
asyncore__check_map(const struct asyncore_map *map)
{
    size_t all = check_order(map, &map->all);
    asyncore__must(check_order(map, &map->asked) <= all,
                   "who is asked is in the map");
    asyncore__must(map->open >= all, "who is in the map is open");
    check_slots(map);
    check_touched(map);
}

/* Use after destruction finds nothing that looks right. */
void
asyncore__make_dead(struct asyncore_dispatcher *d)
{
    memset(d, 0xff, sizeof *d);
}

#endif
