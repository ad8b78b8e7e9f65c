/* SPDX-License-Identifier: MIT */
/* echo_libev.c - libev's watchers around the yardstick's calls. */
#include <ev.h>
#include <stdlib.h>
#include <unistd.h>

#include "server.h"

struct conn {
    ev_io io; /* first: a watcher is its connection */
    struct rest rest;
};

static void
update(struct ev_loop *loop, struct conn *c, enum sent was, enum sent sent)
{
    int fd = c->io.fd;
    if (sent == was) {
        return;
    }
    ev_io_stop(loop, &c->io);
    if (sent == SENT_GONE) {
        server_forget(&c->rest);
        close(fd);
        free(c);
        return;
    }
    ev_io_set(&c->io, fd, sent == SENT_PART ? EV_WRITE : EV_READ);
    ev_io_start(loop, &c->io);
}

static void
ready(struct ev_loop *loop, ev_io *io, int what)
{
    struct conn *c = (struct conn *)io;
    char *data;
    if ((what & EV_WRITE) != 0) {
        update(loop, c, SENT_PART, server_flush(io->fd, &c->rest));
        return;
    }
    long n = server_recv(io->fd, &data);
    update(loop, c, SENT_ALL,
           n < 0    ? SENT_GONE
           : n == 0 ? SENT_ALL
                    : server_send(io->fd, data, (size_t)n, &c->rest));
}

static void
can_accept(struct ev_loop *loop, ev_io *io, int what)
{
    int fd;
    (void)what;
    while ((fd = server_accept(io->fd)) >= 0) {
        struct conn *c = calloc(1, sizeof *c);
        if (c == NULL) {
            die("calloc");
        }
        ev_io_init(&c->io, ready, fd, EV_READ);
        ev_io_start(loop, &c->io);
    }
}

int
main(int argc, char **argv)
{
    struct ev_loop *loop = ev_default_loop(EVFLAG_AUTO);
    ev_io accepting;
    ev_io_init(&accepting, can_accept, server_listen(argc, argv), EV_READ);
    ev_io_start(loop, &accepting);
    ev_run(loop, 0);
    return 1;
}
