/* SPDX-License-Identifier: MIT */
/* echo_libevent.c - libevent's bare events around the yardstick's calls. */
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <unistd.h>

#include "server.h"

struct conn {
    struct event in, out;
    struct rest rest;
};

static void
drop(struct conn *c)
{
    int fd = event_get_fd(&c->in);
    event_del(&c->in);
    event_del(&c->out);
    server_forget(&c->rest);
    close(fd);
    free(c);
}

static void
can_write(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;
    (void)what;
    enum sent sent = server_flush(fd, &c->rest);
    if (sent == SENT_GONE) {
        drop(c);
    }
    else if (sent == SENT_ALL) {
        event_del(&c->out);
        event_add(&c->in, NULL);
    }
}

static void
can_read(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;
    char *data;
    (void)what;
    long n = server_recv(fd, &data);
    enum sent sent = n < 0    ? SENT_GONE
                     : n == 0 ? SENT_ALL
                              : server_send(fd, data, (size_t)n, &c->rest);
    if (sent == SENT_GONE) {
        drop(c);
    }
    else if (sent == SENT_PART) {
        event_del(&c->in);
        event_add(&c->out, NULL);
    }
}

static void
can_accept(evutil_socket_t listener, short what, void *arg)
{
    int fd;
    (void)what;
    while ((fd = server_accept(listener)) >= 0) {
        struct conn *c = calloc(1, sizeof *c);
        if (c == NULL) {
            die("calloc");
        }
        event_assign(&c->in, arg, fd, EV_READ | EV_PERSIST, can_read, c);
        event_assign(&c->out, arg, fd, EV_WRITE | EV_PERSIST, can_write, c);
        event_add(&c->in, NULL);
    }
}

int
main(int argc, char **argv)
{
    struct event_base *base = event_base_new();
    struct event *accepting =
        event_new(base, server_listen(argc, argv), EV_READ | EV_PERSIST,
                  can_accept, base);
    if (base == NULL || accepting == NULL || event_add(accepting, NULL) < 0) {
        die("event_new");
    }
    return event_base_dispatch(base);
}
