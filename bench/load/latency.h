/* SPDX-License-Identifier: MIT */
/* latency.h - a histogram of times, exact to 3 %, from a nanosecond on. */
#ifndef BENCH_LATENCY_H
#define BENCH_LATENCY_H

#include <stdint.h>

void latency_reset(void);
void latency_note(int64_t ns);

/* The time that `part` of those noted did not exceed, in microseconds; 0 if
 * none was noted. */
double latency_percentile(double part);
/* The longest of them, in microseconds. */
double latency_longest(void);

/* Print [[microseconds, how many], ...], shortest first. */
void latency_print(void);

#endif
