/* SPDX-License-Identifier: MIT */
#include "process.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The process's own clock: the threads that io_uring starts on its behalf
 * are in it, and so are those that have ended. */
static int
read_cpu(int pid, int64_t *ret)
{
    clockid_t clock;
    struct timespec used;
    if (clock_getcpuclockid(pid, &clock) != 0 ||
        clock_gettime(clock, &used) < 0) {
        return -1;
    }
    *ret = used.tv_sec * INT64_C(1000000000) + used.tv_nsec;
    return 0;
}

/* Of the threads there are now. */
static int
read_waited(int pid, int64_t *ret)
{
    char path[320];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    struct dirent *task;
    *ret = 0;
    while (tasks != NULL && (task = readdir(tasks)) != NULL) {
        long long waited;
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid,
                 task->d_name);
        FILE *file = fopen(path, "r");
        if (file != NULL && fscanf(file, "%*d %lld", &waited) == 1) {
            *ret += waited;
        }
        if (file != NULL) {
            fclose(file);
        }
    }
    if (tasks == NULL) {
        return -1;
    }
    closedir(tasks);
    return 0;
}

static double
read_rss(int pid)
{
    char line[256];
    double kib = 0;
    snprintf(line, sizeof line, "/proc/%d/smaps_rollup", pid);
    FILE *file = fopen(line, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "Rss:", 4) == 0) {
            kib = strtod(line + 4, NULL);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return kib * 1024;
}

int
process_usage(int pid, struct usage *ret)
{
    ret->rss = read_rss(pid);
    return read_cpu(pid, &ret->cpu) < 0 ? -1 : read_waited(pid, &ret->waited);
}

int
process_stop(int pid)
{
    char path[64], state = '?';
    if (kill(pid, SIGSTOP) < 0) {
        return -1;
    }
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    while (state != 'T' && state != 't') {
        FILE *file = fopen(path, "r");
        int n = file != NULL ? fscanf(file, "%*d (%*[^)]) %c", &state) : 0;
        if (file != NULL) {
            fclose(file);
        }
        if (n != 1) {
            return -1;
        }
    }
    return 0;
}
