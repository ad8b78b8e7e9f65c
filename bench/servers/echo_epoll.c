/* SPDX-License-Identifier: MIT */
/* echo_epoll.c - the yardstick: recv, send, and nothing else.
 *
 *   echo_epoll PORT [KIB [SPIN]]
 *
 * KIB is what it reads at once, if not 64; SPIN the microseconds that it
 * polls before it sleeps, if not 0. */
#include <stdlib.h>

#include "epoll.h"

static enum sent
echo(int fd, struct rest *rest)
{
    char *data;
    long n = server_recv(fd, &data);
    if (n <= 0) {
        return n < 0 ? SENT_GONE : SENT_ALL;
    }
    return server_send(fd, data, (size_t)n, rest);
}

int
main(int argc, char **argv)
{
    if (argc > 2) {
        server_set_buffer((size_t)atoi(argv[2]) * 1024);
    }
    epoll_set_spin(argc > 3 ? atol(argv[3]) : 0);
    epoll_serve(server_listen(argc, argv), echo, NULL);
    return 1;
}
