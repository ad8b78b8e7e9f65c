/* SPDX-License-Identifier: MIT */
/* sort.c - ready events into map order.
 *
 * Most often they are in order already.  A few are sorted in place; many, as
 * they come with thousands of busy connections, by radix: in linear time, and
 * without a branch that the processor could guess wrong. */
#include "internal.h"

/* From how many on the radix pays. */
#define MANY 64

#define BITS 8
#define DIGITS (1u << BITS)

/* Returns false if they are in order; then *ret_max is not written. */
static bool
is_unsorted(const struct asyncore__ready *ready, size_t n, uint32_t *ret_max)
{
    size_t i = 1;
    while (i < n && ready[i - 1].pos <= ready[i].pos) {
        i++;
    }
    if (i >= n) {
        return false;
    }
    uint32_t max = ready[i - 1].pos;
    for (; i < n; i++) {
        max = ready[i].pos > max ? ready[i].pos : max;
    }
    *ret_max = max;
    return true;
}

/* Shell's. */
static void
sort_in_place(struct asyncore__ready *ready, size_t n)
{
    for (size_t gap = n / 2; gap > 0; gap /= 2) {
        for (size_t i = gap; i < n; i++) {
            struct asyncore__ready event = ready[i];
            size_t at = i;
            while (at >= gap && ready[at - gap].pos > event.pos) {
                ready[at] = ready[at - gap];
                at -= gap;
            }
            ready[at] = event;
        }
    }
}

/* Order by the digit at `shift`; those with the same one stay as they are. */
static void
sort_by_digit(const struct asyncore__ready *from, struct asyncore__ready *to,
              size_t n, unsigned shift)
{
    size_t at[DIGITS] = {0};
    for (size_t i = 0; i < n; i++) {
        at[from[i].pos >> shift & (DIGITS - 1)]++;
    }
    size_t sum = 0;
    for (size_t digit = 0; digit < DIGITS; digit++) {
        size_t count = at[digit];
        at[digit] = sum;
        sum += count;
    }
    for (size_t i = 0; i < n; i++) {
        to[at[from[i].pos >> shift & (DIGITS - 1)]++] = from[i];
    }
}

void
asyncore__sort(struct asyncore__ready *ready, size_t n,
               struct asyncore__ready *spare)
{
    uint32_t max;
    if (!is_unsorted(ready, n, &max)) {
        return;
    }
    if (n < MANY || spare == NULL) {
        sort_in_place(ready, n);
        return;
    }
    struct asyncore__ready *from = ready, *to = spare;
    for (unsigned shift = 0; shift < 32 && max >> shift > 0; shift += BITS) {
        sort_by_digit(from, to, n, shift);
        struct asyncore__ready *sorted = to;
        to = from;
        from = sorted;
    }
    if (from != ready) {
        memcpy(ready, from, n * sizeof *ready);
    }
}
