/* SPDX-License-Identifier: MIT */
/* echo_server.c - the echo server of asyncore's documentation.
 *
 *   echo_server [HOST] [PORT]
 *
 * A dispatcher listens; each connection is a dispatcher_with_send that sends
 * back what it receives.  What a slow client does not take at once is queued
 * by the library, and the client is not read from while the queue is long.
 */
#include "common.h"

#include <getopt.h>

static const char usage[] =
    "usage: echo_server [HOST] [PORT]\n"
    "Send back what each connection sends.  HOST is 127.0.0.1 if not given,\n"
    "PORT 8007; port 0 takes one that is free.\n";

static int
echo_read(struct asyncore_dispatcher *d)
{
    char data[8192];
    ssize_t n = asyncore_recv(d, data, sizeof data);

    return (int)(n > 0 ? asyncore_send(d, data, (size_t)n) : n);
}

/* A client may end its side and still read: once the rest of the echo has
 * gone out, our side ends too. */
static const struct asyncore_ops echo_handler = {
    .name = "echo_handler",
    .handle_read = echo_read,
    .handle_eof = asyncore_shutdown,
};

static int
server_accepted(struct asyncore_dispatcher *d, int fd,
                const struct asyncore_addr *addr)
{
    fprintf(stderr, "incoming connection from %s\n", asyncore_addr_str(addr));
    return asyncore_dispatcher_with_send_new(&echo_handler, fd, d->map, NULL);
}

static const struct asyncore_ops echo_server = {
    .name = "echo_server",
    .handle_accepted = server_accepted,
};

int
main(int argc, char **argv)
{
    struct asyncore_dispatcher server;
    struct asyncore_map *map;
    struct endpoint at;

    start(argv);
    while (next_option(argc, argv, "h", 0, 2, usage) != -1) {
    }
    parse_host_port(argc > optind ? argv[optind] : "127.0.0.1",
                    argc > optind + 1 ? argv[optind + 1] : "8007", &at);
    map = make_map();
    stop_on_signals(map);
    asyncore_dispatcher_init(&server, &echo_server, -1, map);
    listen_on(&server, &at, stdout);
    return serve(map);
}
