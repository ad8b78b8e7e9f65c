/* SPDX-License-Identifier: MIT */
/* world.c - the kernel as a world: each function a system call, its failure a
 * negated errno.  No other file calls the operating system, but for
 * world_uring.c, which has a part of it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* accept4, ppoll, epoll_pwait2, secure_getenv */
#endif
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#if defined(__GLIBC__)
#if __GLIBC_PREREQ(2, 35)
#define HAVE_EPOLL_PWAIT2
#endif
#endif

#define NS_PER_SEC INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)

static int
result(int n)
{
    return n < 0 ? -errno : n;
}

static ssize_t
count(ssize_t n)
{
    return n < 0 ? -errno : n;
}

/* ---- sockets ---- */

static int
k_socket(struct asyncore__world *w, int family, int type)
{
    (void)w;
    return result(socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

static int
k_bind(struct asyncore__world *w, int fd, const struct sockaddr *sa,
       socklen_t len)
{
    (void)w;
    return result(bind(fd, sa, len));
}

static int
k_listen(struct asyncore__world *w, int fd, int backlog)
{
    (void)w;
    return result(listen(fd, backlog));
}

static int
k_accept(struct asyncore__world *w, int fd, struct asyncore_addr *ret)
{
    (void)w;
    ret->len = sizeof ret->u;
    return result(
        accept4(fd, &ret->u.sa, &ret->len, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

static int
k_connect(struct asyncore__world *w, int fd, const struct sockaddr *sa,
          socklen_t len)
{
    (void)w;
    return result(connect(fd, sa, len));
}

static int
k_shutdown(struct asyncore__world *w, int fd, int how)
{
    (void)w;
    return result(shutdown(fd, how));
}

static int
k_getsockopt(struct asyncore__world *w, int fd, int level, int name, int *ret)
{
    (void)w;
    socklen_t len = sizeof *ret;
    return result(getsockopt(fd, level, name, ret, &len));
}

static int
k_setsockopt(struct asyncore__world *w, int fd, int level, int name, int value)
{
    (void)w;
    return result(setsockopt(fd, level, name, &value, sizeof value));
}

static int
k_getsockname(struct asyncore__world *w, int fd, struct asyncore_addr *ret)
{
    (void)w;
    ret->len = sizeof ret->u;
    return result(getsockname(fd, &ret->u.sa, &ret->len));
}

static int
k_getpeername(struct asyncore__world *w, int fd, struct asyncore_addr *ret)
{
    (void)w;
    ret->len = sizeof ret->u;
    return result(getpeername(fd, &ret->u.sa, &ret->len));
}

/* Sockets are non-blocking; but whoever shares one, by dup() or fork(), can
 * take that away. */
#define SENDING (MSG_NOSIGNAL | MSG_DONTWAIT)

static ssize_t
k_recv(struct asyncore__world *w, int fd, void *buf, size_t len, int flags)
{
    (void)w;
    return count(recv(fd, buf, len, flags | MSG_DONTWAIT));
}

static ssize_t
k_recvfrom(struct asyncore__world *w, int fd, void *buf, size_t len,
           struct asyncore_addr *ret)
{
    (void)w;
    ret->len = sizeof ret->u;
    return count(recvfrom(fd, buf, len, MSG_DONTWAIT, &ret->u.sa, &ret->len));
}

static ssize_t
k_send(struct asyncore__world *w, int fd, const void *data, size_t len,
       int flags)
{
    (void)w;
    return count(send(fd, data, len, flags | SENDING));
}

static ssize_t
k_send_soon(struct asyncore__world *w, int fd, const void *data, size_t len)
{
    (void)w;
    return count(send(fd, data, len, SENDING));
}

static ssize_t
k_sendto(struct asyncore__world *w, int fd, const void *data, size_t len,
         const struct asyncore_addr *to)
{
    (void)w;
    return count(sendto(fd, data, len, SENDING, &to->u.sa, to->len));
}

static ssize_t
k_sendv(struct asyncore__world *w, int fd, const struct iovec *iov, int n)
{
    (void)w;
    struct msghdr msg = {0};
    msg.msg_iov = (struct iovec *)(uintptr_t)iov;
    msg.msg_iovlen = (size_t)n;
    return count(sendmsg(fd, &msg, SENDING));
}

/* ---- descriptors of any kind ---- */

static ssize_t
k_read(struct asyncore__world *w, int fd, void *buf, size_t len)
{
    (void)w;
    return count(read(fd, buf, len));
}

/* A pipe without a reader raises SIGPIPE, and no flag forbids it: it is held
 * back and taken, unless somebody else's was there before. */
static ssize_t
k_writev(struct asyncore__world *w, int fd, const struct iovec *iov, int n)
{
    (void)w;
    sigset_t pipe, before, pending;
    const struct timespec at_once = {0, 0};
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    ssize_t written = count(writev(fd, iov, n));
    if (written == -EPIPE && !sigismember(&before, SIGPIPE) &&
        sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE)) {
        sigtimedwait(&pipe, NULL, &at_once);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return written;
}

static ssize_t
k_pread(struct asyncore__world *w, int fd, void *buf, size_t len, off_t offset)
{
    (void)w;
    return count(pread(fd, buf, len, offset));
}

static ssize_t
k_sendfile(struct asyncore__world *w, int to, int from, off_t offset,
           size_t len)
{
    (void)w;
    return count(sendfile(to, from, &offset, len));
}

static int
k_dup(struct asyncore__world *w, int fd)
{
    (void)w;
    return result(fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

static int
k_set_nonblocking(struct asyncore__world *w, int fd)
{
    (void)w;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0) {
        return -errno;
    }
    if ((flags & O_NONBLOCK) != 0) {
        return 0;
    }
    return result(fcntl(fd, F_SETFL, flags | O_NONBLOCK));
}

static int
k_close(struct asyncore__world *w, int fd)
{
    (void)w;
    return result(close(fd));
}

static int
k_open_reserve(struct asyncore__world *w)
{
    (void)w;
    return result(open("/dev/null", O_RDONLY | O_CLOEXEC));
}

/* ---- names ---- */

static int
from_eai(int eai)
{
    switch (eai) {
    case EAI_SYSTEM:
        return errno != 0 ? -errno : -ASYNCORE_EAI_OTHER;
    case EAI_MEMORY:
        return -ENOMEM;
    case EAI_NONAME:
#ifdef EAI_NODATA
    case EAI_NODATA:
#endif
    case EAI_SERVICE:
        return -ASYNCORE_EAI_NONAME;
    case EAI_AGAIN:
        return -ASYNCORE_EAI_AGAIN;
    case EAI_FAIL:
        return -ASYNCORE_EAI_FAIL;
    case EAI_FAMILY:
#ifdef EAI_ADDRFAMILY
    case EAI_ADDRFAMILY:
#endif
        return -ASYNCORE_EAI_FAMILY;
    default:
        return -ASYNCORE_EAI_OTHER;
    }
}

static int
k_resolve(struct asyncore__world *w, int family, int type, const char *host,
          int port, struct asyncore_addr *ret, size_t max)
{
    (void)w;
    struct addrinfo hints = {0};
    struct addrinfo *list = NULL;
    char service[8];
    hints.ai_family = family;
    hints.ai_socktype = type;
    hints.ai_flags = AI_NUMERICSERV | (host == NULL ? AI_PASSIVE : 0);
    snprintf(service, sizeof service, "%d", port);
    int eai = getaddrinfo(host, service, &hints, &list);
    if (eai != 0) {
        return from_eai(eai);
    }
    size_t n = 0;
    for (struct addrinfo *ai = list; ai != NULL && n < max; ai = ai->ai_next) {
        if (ai->ai_addrlen <= sizeof ret[n].u) {
            memset(&ret[n], 0, sizeof ret[n]);
            memcpy(&ret[n].u, ai->ai_addr, ai->ai_addrlen);
            ret[n++].len = ai->ai_addrlen;
        }
    }
    freeaddrinfo(list);
    return n > 0 ? (int)n : -ASYNCORE_EAI_NONAME;
}

/* ---- the clock and the waiting ---- */

static int64_t
k_now(struct asyncore__world *w)
{
    (void)w;
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

static struct timespec *
timespec(struct timespec *ts, int64_t timeout)
{
    if (timeout < 0) {
        return NULL;
    }
    ts->tv_sec = (time_t)(timeout / NS_PER_SEC);
    ts->tv_nsec = (long)(timeout % NS_PER_SEC);
    return ts;
}

static int
k_select(struct asyncore__world *w, int nfds, void *r, void *wr, void *x,
         int64_t timeout)
{
    (void)w;
    struct timespec ts;
    return result(pselect(nfds, r, wr, x, timespec(&ts, timeout), NULL));
}

static int
k_poll(struct asyncore__world *w, void *pollfds, size_t n, int64_t timeout)
{
    (void)w;
    struct timespec ts;
    return result(ppoll(pollfds, n, timespec(&ts, timeout), NULL));
}

static int
k_epoll_create(struct asyncore__world *w)
{
    (void)w;
    return result(epoll_create1(EPOLL_CLOEXEC));
}

static int
k_epoll_ctl(struct asyncore__world *w, int epfd, int op, int fd,
            uint32_t events, uint64_t data)
{
    (void)w;
    struct epoll_event event = {.events = events, .data.u64 = data};
    return result(epoll_ctl(epfd, op, fd, &event));
}

/* Whole milliseconds, never less than asked for. */
static int
milliseconds(int64_t timeout)
{
    int64_t ms = timeout / NS_PER_MS + (timeout % NS_PER_MS != 0);
    return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

static int
k_epoll_wait(struct asyncore__world *w, int epfd, void *events, int max,
             int64_t timeout)
{
    (void)w;
    if (timeout <= 0) {
        return result(epoll_wait(epfd, events, max, timeout < 0 ? -1 : 0));
    }
#ifdef HAVE_EPOLL_PWAIT2
    /* Kernels before 5.11 lack it; a sandbox may forbid it. */
    static atomic_bool lacks_pwait2;
    if (!atomic_load_explicit(&lacks_pwait2, memory_order_relaxed)) {
        struct timespec ts;
        int n = epoll_pwait2(epfd, events, max, timespec(&ts, timeout), NULL);
        if (n >= 0 || (errno != ENOSYS && errno != EPERM)) {
            return result(n);
        }
        atomic_store_explicit(&lacks_pwait2, true, memory_order_relaxed);
    }
#endif
    return result(epoll_wait(epfd, events, max, milliseconds(timeout)));
}

/* ---- the wake-up ---- */

static int
k_wake_open(struct asyncore__world *w, int fd[2])
{
    (void)w;
    fd[0] = fd[1] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return fd[0] < 0 ? -errno : 0;
}

/* Async-signal-safe; a full counter is signalled already. */
static int
k_wake_signal(struct asyncore__world *w, int fd)
{
    (void)w;
    uint64_t one = 1;
    int saved = errno;
    int err = write(fd, &one, sizeof one) < 0 ? -errno : 0;
    errno = saved;
    return err == -EAGAIN ? 0 : err;
}

static int
k_wake_drain(struct asyncore__world *w, int fd)
{
    (void)w;
    uint64_t n;
    return read(fd, &n, sizeof n) < 0 ? -errno : 0;
}

/* ---- threads ---- */

static int
k_cpus(struct asyncore__world *w)
{
    (void)w;
    cpu_set_t set;
    int err = pthread_getaffinity_np(pthread_self(), sizeof set, &set);
    return err == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
}

/* The mask is inherited: so there is no moment at which the new thread could
 * be given a signal. */
static int
k_thread_start(struct asyncore__world *w, pthread_t *ret,
               void *(*run)(void *arg), void *arg)
{
    (void)w;
    static const int faults[] = {SIGSEGV, SIGBUS,  SIGFPE, SIGILL,
                                 SIGTRAP, SIGABRT, SIGSYS};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        sigdelset(&blocked, faults[i]);
    }
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int err = pthread_create(ret, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -err;
}

static void
k_thread_name(struct asyncore__world *w, const char *name)
{
    (void)w;
    pthread_setname_np(pthread_self(), name);
}

static int
k_thread_pin(struct asyncore__world *w, unsigned nth)
{
    (void)w;
    cpu_set_t set, one;
    int err = pthread_getaffinity_np(pthread_self(), sizeof set, &set);
    if (err != 0) {
        return -err;
    }
    nth %= (unsigned)CPU_COUNT(&set);
    size_t cpu = 0;
    while (!CPU_ISSET(cpu, &set) || nth-- > 0) {
        cpu++;
    }
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    return -pthread_setaffinity_np(pthread_self(), sizeof one, &one);
}

struct asyncore__world asyncore__kernel = {
    .socket = k_socket,
    .bind = k_bind,
    .listen = k_listen,
    .accept = k_accept,
    .connect = k_connect,
    .shutdown = k_shutdown,
    .getsockopt = k_getsockopt,
    .setsockopt = k_setsockopt,
    .getsockname = k_getsockname,
    .getpeername = k_getpeername,
    .recv = k_recv,
    .recvfrom = k_recvfrom,
    .send = k_send,
    .sendto = k_sendto,
    .sendv = k_sendv,
    .read = k_read,
    .writev = k_writev,
    .pread = k_pread,
    .sendfile = k_sendfile,
    .dup = k_dup,
    .set_nonblocking = k_set_nonblocking,
    .close = k_close,
    .open_reserve = k_open_reserve,
    .resolve = k_resolve,
    .now = k_now,
    .select = k_select,
    .poll = k_poll,
    .epoll_create = k_epoll_create,
    .epoll_ctl = k_epoll_ctl,
    .epoll_wait = k_epoll_wait,
    .wake_open = k_wake_open,
    .wake_signal = k_wake_signal,
    .wake_drain = k_wake_drain,
    .cpus = k_cpus,
    .thread_start = k_thread_start,
    .thread_name = k_thread_name,
    .thread_pin = k_thread_pin,
    .send_soon = k_send_soon,
    .sendv_soon = k_sendv,
#if defined(ASYNCORE_IO_URING)
    .uring_setup = asyncore__k_uring_setup,
    .uring_register = asyncore__k_uring_register,
    .uring_submit = asyncore__k_uring_submit,
    .uring_wait = asyncore__k_uring_wait,
    .uring_map = asyncore__k_uring_map,
    .uring_unmap = asyncore__k_uring_unmap,
#endif
};

struct asyncore__world *asyncore__world_default = &asyncore__kernel;

const char *
asyncore__getenv(const char *name)
{
#if defined(__GLIBC__)
    return secure_getenv(name);
#else
    return getuid() == geteuid() && getgid() == getegid() ? getenv(name)
                                                          : NULL;
#endif
}
