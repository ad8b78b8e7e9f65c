/* SPDX-License-Identifier: MIT */
/* echo_epoll_et.c - the yardstick's calls, edge-triggered: a connection is
 * registered once, for both directions.
 *
 * A short read means that there is no more; the next byte is a new edge.
 * Only the end of input makes none of its own if it came along with the last
 * bytes: EPOLLRDHUP tells. */
#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "server.h"

#define MAX_FDS 65536
#define MAX_EVENTS 1024

static struct rest rests[MAX_FDS];
static int epfd;

static void
add(int fd, uint32_t events)
{
    struct epoll_event event = {.events = events | EPOLLET, .data.fd = fd};
    if (epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event) < 0) {
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
        add(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
    }
}

static enum sent
echo_until_drained(int fd, bool ended)
{
    char *data;
    size_t most = server_buffer_size();
    long n;
    do {
        n = server_recv(fd, &data);
        if (n <= 0) {
            return n < 0 ? SENT_GONE : SENT_ALL;
        }
        enum sent sent = server_send(fd, data, (size_t)n, &rests[fd]);
        if (sent != SENT_ALL) {
            return sent;
        }
    } while (ended || (size_t)n == most);
    return SENT_ALL;
}

static void
serve(int fd, uint32_t events)
{
    struct rest *rest = &rests[fd];
    enum sent sent = SENT_ALL;
    bool waited = rest->data != NULL;
    if (waited) {
        sent = server_flush(fd, rest);
    }
    /* What came in while output waited makes no new edge. */
    if (sent == SENT_ALL && (waited || (events & ~(uint32_t)EPOLLOUT) != 0)) {
        sent = echo_until_drained(fd, waited || (events & EPOLLRDHUP) != 0);
    }
    if (sent == SENT_GONE) {
        server_forget(rest);
        close(fd);
    }
}

int
main(int argc, char **argv)
{
    static struct epoll_event events[MAX_EVENTS];
    int listener = server_listen(argc, argv);
    epfd = epoll_create1(EPOLL_CLOEXEC);
    add(listener, EPOLLIN);
    for (;;) {
        int n = epoll_wait(epfd, events, MAX_EVENTS, -1);
        if (n < 0 && errno != EINTR) {
            die("epoll_wait");
        }
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener) {
                accept_all(listener);
            }
            else {
                serve(events[i].data.fd, events[i].events);
            }
        }
    }
}
