/* SPDX-License-Identifier: MIT */
#include "epoll.h"

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define MAX_FDS 65536
#define MAX_EVENTS 1024

static struct rest rests[MAX_FDS]; /* by descriptor; few are ever touched */
static int epfd;
static int64_t spin; /* nanoseconds */

static void
control(int op, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(epfd, op, fd, &event) < 0) {
        die("epoll_ctl");
    }
}

static void
accept_all(int listener)
{
    int fd;
    while ((fd = server_accept(listener)) >= 0) {
        if (fd >= MAX_FDS) {
            close(fd);
            continue;
        }
        control(EPOLL_CTL_ADD, fd, EPOLLIN);
    }
}

void
epoll_set_spin(long microseconds)
{
    spin = microseconds * INT64_C(1000);
}

static int64_t
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int
wait_for(struct epoll_event *events)
{
    int n = 0;
    if (spin > 0) {
        int64_t deadline = now() + spin;
        do {
            n = epoll_wait(epfd, events, MAX_EVENTS, 0);
        } while (n == 0 && now() < deadline);
    }
    return n != 0 ? n : epoll_wait(epfd, events, MAX_EVENTS, -1);
}

void
epoll_serve(int listener, enum sent (*on_data)(int fd, struct rest *rest),
            void (*on_closed)(int fd))
{
    static struct epoll_event events[MAX_EVENTS];
    epfd = epoll_create1(EPOLL_CLOEXEC);
    control(EPOLL_CTL_ADD, listener, EPOLLIN);
    for (;;) {
        int n = wait_for(events);
        if (n < 0 && errno != EINTR) {
            die("epoll_wait");
        }
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                accept_all(listener);
                continue;
            }
            enum sent was = SENT_ALL, sent;
            if ((events[i].events & EPOLLOUT) != 0) {
                was = SENT_PART;
                sent = server_flush(fd, &rests[fd]);
            }
            else {
                sent = on_data(fd, &rests[fd]);
            }
            if (sent == SENT_GONE) {
                server_forget(&rests[fd]);
                if (on_closed != NULL) {
                    on_closed(fd);
                }
                close(fd);
            }
            else if (sent != was) {
                control(EPOLL_CTL_MOD, fd,
                        sent == SENT_PART ? EPOLLOUT : EPOLLIN);
            }
        }
    }
}
