/* SPDX-License-Identifier: MIT */
#include "micro.h"

#include <linux/perf_event.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int64_t
micro_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static int
compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct micro_spread
micro_spread(double *values, size_t n)
{
    qsort(values, n, sizeof *values, compare);
    return (struct micro_spread){
        (values[(n - 1) / 2] + values[n / 2]) / 2,
        values[0],
        values[n - 1],
    };
}

int64_t
micro_instructions(void)
{
    static int fd = -2;
    int64_t count;
    if (fd == -2) {
        struct perf_event_attr attr = {
            .type = PERF_TYPE_HARDWARE,
            .size = sizeof attr,
            .config = PERF_COUNT_HW_INSTRUCTIONS,
            .exclude_kernel = 1,
            .exclude_hv = 1,
        };
        fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
    }
    if (fd < 0 || read(fd, &count, sizeof count) != sizeof count) {
        return -1;
    }
    return count;
}
