/* SPDX-License-Identifier: MIT */
/* await.h - what goes over TCP arrives when the kernel finds time for it, also
 * on the loopback.  Where a test counts passes, it first waits here until what
 * it has sent is there. */
#ifndef AWAIT_H
#define AWAIT_H

#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>

#include "kit.h"

/* Until an event can be had at fd. */
static inline void
await(int fd, short events)
{
    struct pollfd one = {.fd = fd, .events = events};
    assert_int_equal(poll(&one, 1, 10000), 1);
}

/* Connections that wait to be accepted. */
static inline unsigned
queued_at(const struct chan *listener)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    memset(&info, 0, sizeof info);
    assert_int_equal(
        getsockopt(listener->u.base.fd, IPPROTO_TCP, TCP_INFO, &info, &len),
        0);
    return info.tcpi_unacked;
}

/* A connection that is in the listener's queue. */
static inline int
knock(struct chan *listener)
{
    unsigned before = queued_at(listener);
    int fd = kit_connect(chan_port(listener));
    while (queued_at(listener) == before) {
        sched_yield();
    }
    return fd;
}

/* Read up to the end of the stream. */
static inline void
drain_to_end(int fd, struct text *ret)
{
    do {
        await(fd, POLLIN);
    } while (kit_drain(fd, ret));
}

#endif
