/* SPDX-License-Identifier: MIT */
/* process.h - what a process has used, as the kernel accounts for it. */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include <stdint.h>

struct usage {
    int64_t cpu;    /* ns of CPU time, of all its threads, dead ones, too */
    int64_t waited; /* ns that its threads waited for a CPU */
    double rss;     /* bytes of memory that are its own */
};

/* Returns 0, or -1 if there is no such process. */
int process_usage(int pid, struct usage *ret);

/* Stop a process; returns when it has stopped: 0, or -1. */
int process_stop(int pid);

#endif
