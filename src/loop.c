/* SPDX-License-Identifier: MIT */
/* loop.c - the pass, and the loop around it. */
#include "internal.h"

static bool
has_work(struct asyncore_map *map)
{
    return map->all.live > 0 || map->timers.len > 0 ||
           asyncore__calls_pending(map);
}

/* ---- waiting ---- */

static int64_t
sooner(int64_t a, int64_t b)
{
    return a < 0 ? b : b < 0 ? a : a < b ? a : b;
}

/* How long the wait may take: no longer than asked for (-1: for ever), than
 * until the next timer, than nothing if something is ready for sure. */
static int64_t
time_to_wait(struct asyncore_map *map, int64_t timeout)
{
    bool touched = map->ntouched > map->closed; /* by a predicate */
    bool to_destroy = map->closed > 0 && map->depth <= 1;
    if (map->nalways > 0 || touched || to_destroy ||
        asyncore__calls_pending(map) ||
        (ASYNCORE__URING(map) && asyncore__uring_ready(map))) {
        return 0;
    }
    int64_t next = asyncore__timers_next(&map->timers);
    if (next == INT64_MAX || timeout == 0) {
        return timeout;
    }
    int64_t left = next - map->world->now(map->world);
    return sooner(timeout, left > 0 ? left : 0);
}

/* One wait; a signal does not end it before its time. */
static int
wait_until_ready(struct asyncore_map *map, int64_t timeout, size_t first)
{
    if (map->busy_ns > 0 && timeout != 0) {
        int err = asyncore__busy_wait(map, &timeout, first);
        if (err < 0 || timeout == 0) {
            return err;
        }
    }
    struct asyncore__world *w = map->world;
    int64_t deadline = timeout > 0 ? w->now(w) + timeout : 0;
    int err = map->backend->wait(map, timeout);
    while (err == -EINTR) {
        if (asyncore__calls_pending(map)) {
            return 0;
        }
        if (timeout > 0) {
            timeout = deadline - w->now(w);
            timeout = timeout > 0 ? timeout : 0;
        }
        err = map->backend->wait(map, timeout);
    }
    return err;
}

/* Regular files: the kernel does not poll them, they are ready. */
static int
report_always(struct asyncore_map *map)
{
    int err = 0;
    for (size_t i = 0; i < map->nalways && err >= 0; i++) {
        const struct asyncore__slot *slot = &map->slots[map->always[i]];
        err = asyncore__report(map, map->always[i], slot->generation,
                               slot->armed & ~(unsigned)ASYNCORE__PRI);
    }
    return err;
}

static int
wait_for_events(struct asyncore_map *map, int64_t timeout, size_t first)
{
    int err = wait_until_ready(map, time_to_wait(map, timeout), first);
    if (err >= 0) {
        err = report_always(map);
    }
    if (err >= 0 && ASYNCORE__URING(map)) {
        err = asyncore__uring_report_left(map);
    }
    /* What could not be noted for want of memory is reported again. */
    return map->nready > first ? 0 : err;
}

/* ---- the pass ---- */

/* What happened since the last wait, then the predicates, then what they made
 * happen. */
static int
prepare(struct asyncore_map *map)
{
    int rc = 0;
    if (map->refused) {
        asyncore__interest_retry(map);
    }
    if (map->ntouched > 0) {
        rc = asyncore__interest_apply(map);
    }
    if (rc >= 0 && map->asked.live > 0) {
        rc = asyncore__interest_ask(map);
        if (rc >= 0) {
            rc = asyncore__interest_apply(map);
        }
    }
    return rc;
}

static int
phases(struct asyncore_map *map, int64_t timeout, size_t first)
{
    int rc = prepare(map);
    if (rc >= 0) {
        rc = wait_for_events(map, timeout, first);
    }
    if (rc >= 0) {
        rc = asyncore__deliver(map, first);
    }
    if (rc >= 0 && !map->exiting && asyncore__calls_pending(map)) {
        rc = asyncore__run_calls(map);
    }
    if (rc >= 0 && !map->exiting && map->timers.len > 0) {
        rc = asyncore__run_timers(map);
    }
    if (rc >= 0 && !map->exiting && map->ntouched > 0) {
        rc = asyncore__interest_flush(map);
    }
    return rc;
}

static void
clean_up(struct asyncore_map *map)
{
    if (map->depth > 0) {
        return;
    }
    if (map->closed > 0) {
        asyncore__sweep(map);
    }
    if (asyncore__order_is_sparse(&map->all) ||
        asyncore__order_is_sparse(&map->asked)) {
        asyncore__map_compact(map);
    }
    asyncore__check_map(map);
}

static int
pass(struct asyncore_map *map, int64_t timeout)
{
    int rc = asyncore__map_check(map);
    if (rc < 0) {
        return rc;
    }
    size_t first = map->nready;
    /* An exit that a handler further out has asked for is not ours. */
    bool outer_exit = map->exiting;
    map->exiting = false;
    map->depth++;
    rc = phases(map, timeout, first);
    map->depth--;
    map->nready = first;
    if (map->exiting) {
        rc = ASYNCORE_EXIT_NOW;
    }
    map->exiting = outer_exit;
    clean_up(map);
    return rc;
}

/* No wait follows that would send what a backend has gathered. */
static void
finish(struct asyncore_map *map)
{
    if (ASYNCORE__URING(map)) {
        asyncore__uring_finish(map);
    }
}

int
asyncore_poll(double timeout, struct asyncore_map *map)
{
    int64_t ns;
    if (!asyncore__ns(timeout, &ns)) {
        return -EINVAL;
    }
    int err = asyncore__map(&map);
    if (err < 0) {
        return err;
    }
    if (!has_work(map)) {
        clean_up(map);
        return 0;
    }
    int rc = pass(map, ns);
    finish(map);
    return rc;
}

/* ---- the loop ---- */

static int
run(struct asyncore_map *map, int64_t timeout, long count)
{
    int rc = 0;
    /* A stop that was asked for before is a loop's further out. */
    bool outer_stop = map->stopping;
    map->stopping = false;
    map->loops++;
    while (rc >= 0 && count != 0 && !map->stopping && has_work(map)) {
        rc = pass(map, timeout);
        count -= count > 0;
    }
    map->stopping = outer_stop;
    map->loops--;
    finish(map);
    return rc;
}

int
asyncore_loop(double timeout, bool use_poll, struct asyncore_map *map,
              long count)
{
    int64_t ns;
    if (!asyncore__ns(timeout, &ns)) {
        return -EINVAL;
    }
    int rc = asyncore__map(&map);
    if (rc >= 0 && use_poll && map->backend == &asyncore__backend_select) {
        rc = asyncore_map_set_backend(map, "poll");
    }
    if (rc >= 0) {
        rc = run(map, ns, count);
        clean_up(map);
    }
    return rc;
}

int
asyncore__serve(struct asyncore_map *map, bool (*done)(void *arg), void *arg)
{
    int rc = 0;
    map->loops++;
    while (rc >= 0 && !map->stopping && !done(arg)) {
        rc = pass(map, -1);
    }
    map->stopping = false;
    map->loops--;
    return rc;
}

void
asyncore_stop(struct asyncore_map *map)
{
    if (asyncore__map(&map) >= 0 && map->loops > 0) {
        map->stopping = true;
    }
}

int
asyncore_close_all(struct asyncore_map *map, bool ignore_all)
{
    int err = asyncore__map(&map);
    if (err < 0) {
        return err;
    }
    /* Those that are there now: a `destroy` may add others. */
    struct asyncore_dispatcher *next = asyncore_map_next(map, NULL);
    while (next != NULL && (err >= 0 || ignore_all)) {
        struct asyncore_dispatcher *d = next;
        next = asyncore_map_next(map, d);
        err = asyncore_close(d);
    }
    clean_up(map);
    return ignore_all || err >= 0 ? 0 : err;
}

/* ---- inside another loop ---- */

int
asyncore_prepare(struct asyncore_map *map, double *ret_timeout)
{
    if (ret_timeout == NULL) {
        return -EINVAL;
    }
    int rc = asyncore__map(&map);
    if (rc >= 0) {
        rc = asyncore__map_check(map);
    }
    if (rc < 0) {
        return rc;
    }
    bool outer_exit = map->exiting;
    map->exiting = false;
    map->depth++;
    rc = prepare(map);
    if (rc >= 0 && ASYNCORE__URING(map)) {
        rc = asyncore__uring_prepare(map);
    }
    map->depth--;
    map->exiting = outer_exit;
    int64_t ns = time_to_wait(map, -1);
    *ret_timeout = ns < 0 ? ASYNCORE_FOREVER : (double)ns / 1e9;
    return rc;
}
