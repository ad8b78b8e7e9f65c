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

static void
must(bool true_, const char *what)
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
    must(asyncore__valid(d), "a channel of the map is a channel");
    must(d->map == map && asyncore__in_map(d), "… and knows its map");
    must(d->fd >= 0 && (size_t)d->fd < map->nslots, "… has a descriptor");
    must(map->slots[d->fd].d == d, "… which is its own");
    must(!asyncore__has(d, ASYNCORE__CLOSED | ASYNCORE__DESTROYED),
         "… and is alive");
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
            must(place == i, "a channel knows its place");
            check_channel(map, d);
            live++;
        }
    }
    must(live == o->live, "the channels are counted");
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
        must(slot->armed == 0 || slot->d != NULL || (int)fd == map->wake_fd[0],
             "who is watched has a channel");
    }
    must(channels == map->all.live, "a channel has one slot");
    must(always == map->nalways, "who is always ready is listed");
}

static void
check_touched(const struct asyncore_map *map)
{
    size_t n = 0, closed = 0;
    for (const struct asyncore_dispatcher *d = map->touched; d != NULL;
         d = d->asyncore__next) {
        must(asyncore__has(d, ASYNCORE__TOUCHED) && d->map == map,
             "who is listed as touched knows it");
        closed += asyncore__has(d, ASYNCORE__CLOSED);
        n++;
    }
    must(n == map->ntouched, "the touched are counted");
    must(closed == map->closed, "the closed are listed");
}

void
asyncore__check_map(const struct asyncore_map *map)
{
    size_t all = check_order(map, &map->all);
    must(check_order(map, &map->asked) <= all, "who is asked is in the map");
    must(map->open >= all, "who is in the map is open");
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
