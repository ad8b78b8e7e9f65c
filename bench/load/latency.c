/* SPDX-License-Identifier: MIT */
/* latency.c - 32 bins for each power of two, as an HDR histogram has them. */
#include "latency.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define BINS ((size_t)64 * 32)

static uint64_t bins[BINS];
static int64_t longest;

void
latency_reset(void)
{
    memset(bins, 0, sizeof bins);
    longest = 0;
}

void
latency_note(int64_t ns)
{
    uint64_t value = ns > 0 ? (uint64_t)ns : 0;
    unsigned shift = value < 64 ? 0 : 58 - (unsigned)__builtin_clzll(value);
    bins[shift * 32 + (value >> shift)]++;
    longest = ns > longest ? ns : longest;
}

/* The middle of a bin, in microseconds. */
static double
middle(size_t i)
{
    size_t shift = i < 64 ? 0 : i / 32 - 1;
    double half = shift > 0 ? 0.5 : 0;
    return ((double)(i - shift * 32) + half) * (double)(UINT64_C(1) << shift) /
           1000;
}

double
latency_percentile(double part)
{
    uint64_t total = 0, seen = 0;
    for (size_t i = 0; i < BINS; i++) {
        total += bins[i];
    }
    for (size_t i = 0; i < BINS; i++) {
        seen += bins[i];
        if ((double)seen >= part * (double)total && bins[i] > 0) {
            return middle(i);
        }
    }
    return 0;
}

double
latency_longest(void)
{
    return (double)longest / 1000;
}

void
latency_print(void)
{
    const char *comma = "";
    putchar('[');
    for (size_t i = 0; i < BINS; i++) {
        if (bins[i] > 0) {
            printf("%s[%.3f, %llu]", comma, middle(i),
                   (unsigned long long)bins[i]);
            comma = ", ";
        }
    }
    putchar(']');
}
