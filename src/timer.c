/* SPDX-License-Identifier: MIT */
/* timer.c - calls to be made later: a binary heap by (time, order of adding).
 *
 * Who added a timer holds an id, never a pointer: its low half names a slot,
 * its high half the slot's generation, which changes when the slot is freed.
 * So an id that has run or was cancelled finds nothing, for ever; there is no
 * way to cancel somebody else's timer with it. */
#include <stdint.h>

#include "internal.h"

static bool
before(const struct asyncore__deadline *a, const struct asyncore__deadline *b)
{
    return a->when != b->when ? a->when < b->when : a->order < b->order;
}

static void
put(struct asyncore__timers *t, size_t at, struct asyncore__deadline entry)
{
    t->heap[at] = entry;
    t->slots[entry.slot].at = (uint32_t)at;
}

static void
sift_up(struct asyncore__timers *t, size_t at)
{
    struct asyncore__deadline entry = t->heap[at];
    while (at > 0 && before(&entry, &t->heap[(at - 1) / 2])) {
        put(t, at, t->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(t, at, entry);
}

static void
sift_down(struct asyncore__timers *t, size_t at)
{
    struct asyncore__deadline entry = t->heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= t->len) {
            break;
        }
        if (child + 1 < t->len &&
            before(&t->heap[child + 1], &t->heap[child])) {
            child++;
        }
        if (!before(&t->heap[child], &entry)) {
            break;
        }
        put(t, at, t->heap[child]);
        at = child;
    }
    put(t, at, entry);
}

static void
remove_at(struct asyncore__timers *t, size_t at)
{
    uint32_t slot = t->heap[at].slot;
    struct asyncore__deadline last = t->heap[--t->len];
    if (at < t->len) {
        put(t, at, last);
        sift_up(t, at);
        sift_down(t, t->slots[last.slot].at);
    }
    t->slots[slot].fn = NULL;
    t->slots[slot].generation++;
    t->slots[slot].at = t->free;
    t->free = slot + 1;
}

static int64_t
id_of(const struct asyncore__timers *t, uint32_t slot)
{
    /* 31 bits of generation keep the id positive; slot + 1, not 0. */
    uint64_t generation = t->slots[slot].generation & 0x7fffffffu;
    return (int64_t)(generation << 32 | (slot + 1));
}

int64_t
asyncore__timers_add(struct asyncore__timers *t, int64_t when,
                     asyncore_call_fn *fn, void *arg)
{
    if (asyncore__reserve(&t->heap, &t->heap_cap, t->len + 1,
                          sizeof *t->heap) < 0) {
        return -ENOMEM;
    }
    uint32_t slot;
    if (t->free != 0) {
        slot = t->free - 1;
        t->free = t->slots[slot].at;
    }
    else {
        if (t->nslots >= UINT32_MAX - 1 ||
            asyncore__reserve(&t->slots, &t->slot_cap, t->nslots + 1,
                              sizeof *t->slots) < 0) {
            return -ENOMEM;
        }
        slot = (uint32_t)t->nslots++;
    }
    t->slots[slot].fn = fn;
    t->slots[slot].arg = arg;
    t->heap[t->len] = (struct asyncore__deadline){when, t->added++, slot};
    sift_up(t, t->len++);
    return id_of(t, slot);
}

int
asyncore__timers_cancel(struct asyncore__timers *t, int64_t id)
{
    uint64_t slot = ((uint64_t)id & UINT32_MAX) - 1;
    if (id <= 0 || slot >= t->nslots || t->slots[slot].fn == NULL ||
        id_of(t, (uint32_t)slot) != id) {
        return -ENOENT;
    }
    remove_at(t, t->slots[slot].at);
    return 0;
}

int64_t
asyncore__timers_next(const struct asyncore__timers *t)
{
    return t->len > 0 ? t->heap[0].when : INT64_MAX;
}

bool
asyncore__timers_pop(struct asyncore__timers *t, int64_t now, uint64_t limit,
                     asyncore_call_fn **ret_fn, void **ret_arg)
{
    /* One that was added too late may hide an older, later one; both are
     * then left to the next pass, which is soon. */
    if (t->len == 0 || t->heap[0].when > now || t->heap[0].order >= limit) {
        return false;
    }
    const struct asyncore__timer *timer = &t->slots[t->heap[0].slot];
    *ret_fn = timer->fn;
    *ret_arg = timer->arg;
    remove_at(t, 0);
    return true;
}

void
asyncore__timers_fini(struct asyncore__timers *t)
{
    asyncore__free(t->heap);
    asyncore__free(t->slots);
    *t = (struct asyncore__timers){0};
}
