/* SPDX-License-Identifier: MIT */
/* calls.c - the one door for other threads, and for signal handlers.
 *
 * Posts are pushed on a lock-free list, newest first; the map's thread takes
 * the whole list at once (so there is no ABA) and turns it round.  Only the
 * first post since the last look writes to the wake-up descriptor. */
#include "internal.h"

/* The states of an asyncore_call; `state` is a plain int in the public
 * header, which C++ reads too, hence the compiler's atomics. */
enum {
    IDLE = 0,
    POSTED = 1,
    OURS = 2 /* memory from asyncore_call_soon_threadsafe() */
};

int
asyncore__calls_open(struct asyncore_map *map)
{
    int err = map->world->wake_open(map->world, map->wake_fd);
    if (err < 0) {
        map->wake_fd[0] = map->wake_fd[1] = -1;
        return err;
    }
    const int *fd = map->wake_fd;
    if (map->backend->fd_limit != 0 && fd[0] >= map->backend->fd_limit) {
        err = -ERANGE;
    }
    if (err >= 0) {
        err = asyncore__reserve(&map->slots, &map->nslots, (size_t)fd[0] + 1,
                                sizeof *map->slots);
    }
    if (err >= 0) {
        err = asyncore__arm(map, fd[0], ASYNCORE__READ);
    }
    if (err < 0) {
        asyncore__calls_close(map);
        return err;
    }
    /* After a fork: nobody has signalled this one yet, and posts may have come
     * over from the parent. */
    bool pending = asyncore__calls_pending(map);
    atomic_store(&map->woken, pending);
    if (pending) {
        map->world->wake_signal(map->world, fd[1]);
    }
    return 0;
}

void
asyncore__calls_close(struct asyncore_map *map)
{
    int *fd = map->wake_fd;
    if (fd[0] < 0) {
        return;
    }
    if ((size_t)fd[0] < map->nslots) {
        asyncore__arm(map, fd[0], 0);
    }
    if (fd[1] != fd[0]) {
        map->world->close(map->world, fd[1]);
    }
    map->world->close(map->world, fd[0]);
    fd[0] = fd[1] = -1;
}

/* ---- any thread ---- */

static int
post(struct asyncore_map *map, struct asyncore_call *call)
{
    call->next = atomic_load_explicit(&map->posted, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&map->posted, &call->next,
                                                  call, memory_order_release,
                                                  memory_order_relaxed)) {
    }
    if (!atomic_exchange(&map->woken, true)) {
        map->world->wake_signal(map->world, map->wake_fd[1]);
    }
    return 0;
}

int
asyncore_call_soon_signal(struct asyncore_map *map, struct asyncore_call *call)
{
    if (map == NULL || call == NULL || call->fn == NULL) {
        return -EINVAL;
    }
    int idle = IDLE;
    if (!__atomic_compare_exchange_n(&call->state, &idle, POSTED, false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
        return -EALREADY;
    }
    return post(map, call);
}

int
asyncore_call_soon_threadsafe(struct asyncore_map *map, asyncore_call_fn *fn,
                              void *arg)
{
    if (map == NULL || fn == NULL) {
        return -EINVAL;
    }
    struct asyncore_call *call = asyncore__calloc(sizeof *call);
    if (call == NULL) {
        return -ENOMEM;
    }
    call->fn = fn;
    call->arg = arg;
    call->state = OURS;
    return post(map, call);
}

/* ---- the map's thread ---- */

/* Another thread may be trying to post it once more. */
static bool
is_ours(const struct asyncore_call *call)
{
    return __atomic_load_n(&call->state, __ATOMIC_RELAXED) == OURS;
}

void
asyncore__calls_woken(struct asyncore_map *map)
{
    /* In this order: who posts after the flag is down writes again. */
    map->world->wake_drain(map->world, map->wake_fd[0]);
    atomic_exchange(&map->woken, false);
}

/* Append what was posted to the calls to make, oldest first. */
static void
take(struct asyncore_map *map)
{
    struct asyncore_call *newest = atomic_exchange(&map->posted, NULL);
    struct asyncore_call *oldest = NULL;
    struct asyncore_call **end =
        newest != NULL ? &newest->next : map->calls_end;
    while (newest != NULL) {
        struct asyncore_call *call = newest;
        newest = call->next;
        call->next = oldest;
        oldest = call;
    }
    *map->calls_end = oldest;
    map->calls_end = end;
}

static int
call_next(struct asyncore_map *map)
{
    struct asyncore_call *call = map->calls;
    asyncore_call_fn *fn = call->fn;
    void *arg = call->arg;
    map->calls = call->next;
    if (map->calls == NULL) {
        map->calls_end = &map->calls;
    }
    if (is_ours(call)) {
        asyncore__free(call);
    }
    else {
        /* From here on it may be posted again. */
        __atomic_store_n(&call->state, IDLE, __ATOMIC_RELEASE);
    }
    return asyncore__called(map, fn(map, arg));
}

void
asyncore__calls_drop(struct asyncore_map *map)
{
    take(map);
    while (map->calls != NULL) {
        struct asyncore_call *call = map->calls;
        map->calls = call->next;
        if (is_ours(call)) {
            asyncore__free(call);
        }
        else {
            __atomic_store_n(&call->state, IDLE, __ATOMIC_RELEASE);
        }
    }
}

int
asyncore__run_calls(struct asyncore_map *map)
{
    take(map);
    /* Up to the last one there is now: a call that posts itself again must
     * not keep the pass from ending. */
    struct asyncore_call **last = map->calls_end;
    int rc = 0;
    while (rc >= 0 && map->calls != NULL && map->calls_end == last) {
        rc = call_next(map);
    }
    return rc;
}
