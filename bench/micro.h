/* SPDX-License-Identifier: MIT */
/* micro.h - what the benchmarks without sockets share: a clock, medians, a
 * counter of instructions. */
#ifndef BENCH_MICRO_H
#define BENCH_MICRO_H

#include <stddef.h>
#include <stdint.h>

int64_t micro_now(void); /* ns */

struct micro_spread {
    double median, least, most;
};

/* Sorts the values. */
struct micro_spread micro_spread(double *values, size_t n);

/* User-space instructions of this thread so far, or -1 where the machine has
 * no counter for them, or does not let us. */
int64_t micro_instructions(void);

#endif
