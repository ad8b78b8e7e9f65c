/* SPDX-License-Identifier: MIT */
/* world_uring.c - the kernel's doors to io_uring(7), for world.c's table.
 *
 * Bare system calls: what liburing would add is the layout of the rings, and
 * that must be known here anyway. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* syscall, MAP_ANONYMOUS */
#endif
#include "internal.h"

#if defined(ASYNCORE_IO_URING)

#include <linux/io_uring.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NS_PER_SEC INT64_C(1000000000)

static int
result(long n)
{
    return n < 0 ? -errno : (int)n;
}

int
asyncore__k_uring_setup(struct asyncore__world *w, unsigned entries,
                        void *params)
{
    (void)w;
    return result(syscall(__NR_io_uring_setup, entries, params));
}

int
asyncore__k_uring_register(struct asyncore__world *w, int fd, unsigned op,
                           void *arg, unsigned n)
{
    (void)w;
    return result(syscall(__NR_io_uring_register, fd, op, arg, n));
}

int
asyncore__k_uring_submit(struct asyncore__world *w, int fd, unsigned n)
{
    (void)w;
    return result(syscall(__NR_io_uring_enter, fd, n, 0,
                          IORING_ENTER_GETEVENTS, NULL, (size_t)0));
}

int
asyncore__k_uring_wait(struct asyncore__world *w, int fd, unsigned n,
                       int64_t timeout)
{
    if (timeout == 0) {
        return asyncore__k_uring_submit(w, fd, n);
    }
    struct __kernel_timespec ts = {timeout / NS_PER_SEC, timeout % NS_PER_SEC};
    struct io_uring_getevents_arg arg = {
        .sigmask_sz = _NSIG / 8,
        .ts = timeout > 0 ? (uintptr_t)&ts : 0,
    };
    return result(syscall(__NR_io_uring_enter, fd, n, 1,
                          IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &arg,
                          sizeof arg));
}

int
asyncore__k_uring_map(struct asyncore__world *w, int fd, size_t size,
                      uint64_t offset, void **ret)
{
    (void)w;
    int flags =
        fd >= 0 ? MAP_SHARED | MAP_POPULATE : MAP_PRIVATE | MAP_ANONYMOUS;
    *ret = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, (off_t)offset);
    return *ret == MAP_FAILED ? -errno : 0;
}

void
asyncore__k_uring_unmap(struct asyncore__world *w, void *at, size_t size)
{
    (void)w;
    munmap(at, size);
}

#endif
