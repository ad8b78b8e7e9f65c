/* SPDX-License-Identifier: MIT */
/* clock.c - time in a map: timers, idle timeouts, listeners that rest. */
#include "internal.h"

#define NS_PER_SEC 1e9
#define LONGEST_NS (INT64_MAX / 4) /* may be added to the clock */

/* How long a listener rests when there are no descriptors. */
#define REST_NS INT64_C(100000000)

static int64_t
now(struct asyncore_map *map)
{
    return map->world->now(map->world);
}

bool
asyncore__ns(double seconds, int64_t *ret)
{
    if (!(seconds >= 0)) {
        return false; /* negative or NaN */
    }
    double ns = seconds * NS_PER_SEC;
    if (ns >= (double)LONGEST_NS) {
        *ret = -1;
        return true;
    }
    *ret = (int64_t)ns;
    *ret += (double)*ret < ns;
    return true;
}

/* ---- timers ---- */

double
asyncore_time(struct asyncore_map *map)
{
    return asyncore__map(&map) < 0 ? 0.0 : (double)now(map) / NS_PER_SEC;
}

static int64_t
add_timer(struct asyncore_map *map, int64_t when, asyncore_call_fn *fn,
          void *arg)
{
    return asyncore__timers_add(&map->timers, when, fn, arg);
}

int64_t
asyncore_call_later(struct asyncore_map *map, double delay,
                    asyncore_call_fn *fn, void *arg)
{
    int64_t ns;
    if (fn == NULL || !asyncore__ns(delay, &ns) || ns < 0) {
        return -EINVAL;
    }
    int err = asyncore__map(&map);
    return err < 0 ? err : add_timer(map, now(map) + ns, fn, arg);
}

int64_t
asyncore_call_at(struct asyncore_map *map, double when, asyncore_call_fn *fn,
                 void *arg)
{
    int64_t ns;
    if (fn == NULL || when != when || when == (double)INFINITY) {
        return -EINVAL;
    }
    if (!asyncore__ns(when < 0 ? 0 : when, &ns) || ns < 0) {
        return -EINVAL;
    }
    int err = asyncore__map(&map);
    if (err < 0) {
        return err;
    }
    /* Not before those that are due already: a tick that lags behind would
     * keep them from ever running. */
    int64_t time = now(map);
    return add_timer(map, ns > time ? ns : time, fn, arg);
}

int
asyncore_cancel(struct asyncore_map *map, int64_t id)
{
    int err = asyncore__map(&map);
    return err < 0 ? err : asyncore__timers_cancel(&map->timers, id);
}

static void
log_failed_call(int code)
{
    char text[160];
    struct asyncore_error err = {code, "call", "call"};
    asyncore__log(ASYNCORE_LOG_ERROR, NULL, "uncaptured error (%s)",
                  asyncore_compact_traceback(&err, text, sizeof text));
}

/* The result of a timer or a post is a handler's, without a channel. */
int
asyncore__called(struct asyncore_map *map, int result)
{
    if (result == ASYNCORE_EXIT_NOW) {
        return asyncore__exit(map);
    }
    if (result < 0 && result != -EAGAIN) {
        log_failed_call(result);
    }
    return 0;
}

int
asyncore__run_timers(struct asyncore_map *map)
{
    asyncore_call_fn *fn;
    void *arg;
    int64_t due = now(map);
    uint64_t limit = map->timers.added; /* those added meanwhile: next pass */
    while (asyncore__timers_pop(&map->timers, due, limit, &fn, &arg)) {
        int rc = asyncore__called(map, fn(map, arg));
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* ---- idle timeouts ---- */

/* Events only note the time; the timer, when it fires, sees how much of the
 * period is left.  So a busy channel costs no timer work. */

static int
idle_fired(struct asyncore_map *map, void *arg)
{
    struct asyncore_dispatcher *d = arg;
    struct asyncore__rare *idle = d->asyncore__rare;
    int64_t due = idle->last + idle->period;
    int64_t time = now(map);
    bool expired = time >= due;
    if (expired) {
        idle->last = time;
        due = time + idle->period;
    }
    idle->timer = add_timer(map, due, idle_fired, d);
    if (idle->timer < 0) {
        int err = (int)idle->timer;
        return asyncore__catch(d, asyncore__fail(d, "set_timeout", err));
    }
    if (!expired) {
        return 0;
    }
    map->failed = (struct asyncore_error){0, NULL, NULL};
    if ((d->ops->flags & ASYNCORE_ASK_ON_TOUCH) != 0) {
        asyncore__touch(d);
    }
    if (asyncore__has(d, ASYNCORE__LINGERING)) {
        return asyncore__catch(d, asyncore__linger_over(d));
    }
    return asyncore__catch(d, ASYNCORE__RUN(d, handle_timeout));
}

void
asyncore__idle_reset(struct asyncore_dispatcher *d)
{
    d->asyncore__rare->last = now(d->map);
}

void
asyncore__idle_clear(struct asyncore_dispatcher *d)
{
    if (asyncore__has(d, ASYNCORE__TIMED)) {
        asyncore__timers_cancel(&d->map->timers, d->asyncore__rare->timer);
        asyncore__unset(d, ASYNCORE__TIMED);
    }
}

static int
idle_start(struct asyncore_dispatcher *d, int64_t period)
{
    struct asyncore__rare *idle = asyncore__rare_of(d);
    if (idle == NULL) {
        return -ENOMEM;
    }
    int64_t time = now(d->map);
    int64_t timer = add_timer(d->map, time + period, idle_fired, d);
    if (timer < 0) {
        return (int)timer;
    }
    asyncore__idle_clear(d);
    idle->period = period;
    idle->last = time;
    idle->timer = timer;
    asyncore__set(d, ASYNCORE__TIMED);
    asyncore__touch(d); /* its events are noted from now on */
    return 0;
}

int
asyncore_set_timeout(struct asyncore_dispatcher *d, double seconds)
{
    int64_t period;
    int err = asyncore__check_open(d);
    if (err < 0 || !asyncore__ns(seconds, &period)) {
        return err < 0 ? err : -EINVAL;
    }
    if (!asyncore__in_map(d)) {
        return -ENOENT;
    }
    if (asyncore__has(d, ASYNCORE__LINGERING)) {
        return 0; /* that has its own end */
    }
    if (period <= 0) { /* none, or one that never comes */
        asyncore__idle_clear(d);
        return 0;
    }
    return idle_start(d, period);
}

/* ---- listeners without descriptors ---- */

static int
rested(struct asyncore_map *map, void *arg)
{
    (void)arg;
    map->resting = 0;
    if (map->reserve_fd < 0) {
        map->reserve_fd = map->world->open_reserve(map->world);
    }
    for (size_t i = 0; i < map->all.len; i++) {
        struct asyncore_dispatcher *d = map->all.at[i];
        if (d != NULL && asyncore__has(d, ASYNCORE__RESTING)) {
            asyncore__unset(d, ASYNCORE__RESTING);
            asyncore__touch(d);
        }
    }
    return 0;
}

void
asyncore__rest(struct asyncore_dispatcher *d)
{
    struct asyncore_map *map = d->map;
    if (asyncore__has(d, ASYNCORE__RESTING) || !asyncore__in_map(d)) {
        return;
    }
    if (map->resting == 0) {
        map->rest_timer = add_timer(map, now(map) + REST_NS, rested, NULL);
        if (map->rest_timer < 0) {
            return; /* no memory: it will be tried again at once */
        }
    }
    map->resting++;
    asyncore__set(d, ASYNCORE__RESTING);
    asyncore__touch(d);
}

void
asyncore__rest_clear(struct asyncore_dispatcher *d)
{
    if (asyncore__has(d, ASYNCORE__RESTING)) {
        asyncore__unset(d, ASYNCORE__RESTING);
        if (--d->map->resting == 0) {
            asyncore__timers_cancel(&d->map->timers, d->map->rest_timer);
        }
    }
}
