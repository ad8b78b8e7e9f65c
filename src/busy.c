/* SPDX-License-Identifier: MIT */
/* busy.c - looking for events instead of sleeping, for a while.
 *
 * Going to sleep and being woken costs more than a short wait: where the next
 * event is some microseconds away, who looks again and again has it sooner,
 * and has spent less.  How long that may go on is the map's budget. */
#include <stdlib.h>

#include "internal.h"

#define NS_PER_US 1000
#define MOST_US 1000000L

bool
asyncore__busy_valid(long microseconds)
{
    return microseconds >= 0 && microseconds <= MOST_US;
}

int
asyncore_map_set_busy_poll(struct asyncore_map *map, long microseconds)
{
    if (!asyncore__busy_valid(microseconds)) {
        return -EINVAL;
    }
    int err = asyncore__map(&map);
    if (err >= 0) {
        map->busy_ns = (int64_t)microseconds * NS_PER_US;
    }
    return err;
}

long
asyncore_map_busy_poll(const struct asyncore_map *map)
{
    if (map == NULL) {
        map = asyncore_map_default();
    }
    return map != NULL ? (long)(map->busy_ns / NS_PER_US) : 0;
}

void
asyncore__busy_init(struct asyncore_map *map)
{
    const char *text = asyncore__getenv("ASYNCORE_BUSY_POLL");
    if (text == NULL || text[0] == '\0') {
        return;
    }
    char *end;
    long us = strtol(text, &end, 10);
    if (*end != '\0' || asyncore_map_set_busy_poll(map, us) < 0) {
        asyncore__log(ASYNCORE_LOG_ERROR, NULL,
                      "ASYNCORE_BUSY_POLL is not 0 to %ld microseconds: '%s'",
                      MOST_US, text);
    }
}

/* The clock is read after a look that found nothing, never before the first:
 * a map that has work pays for no budget. */
int
asyncore__busy_wait(struct asyncore_map *map, int64_t *timeout, size_t first)
{
    struct asyncore__world *w = map->world;
    int64_t sleep = *timeout, start = 0, spent = 0;
    int64_t budget = sleep >= 0 && sleep < map->busy_ns ? sleep : map->busy_ns;
    *timeout = 0;
    do {
        int err = map->backend->wait(map, 0);
        if ((err < 0 && err != -EINTR) || map->nready > first ||
            asyncore__calls_pending(map)) {
            return err == -EINTR ? 0 : err;
        }
        int64_t now = w->now(w);
        start = start != 0 ? start : now;
        spent = now - start;
    } while (spent < budget);
    *timeout = sleep < 0 ? sleep : sleep > spent ? sleep - spent : 0;
    return 0;
}
