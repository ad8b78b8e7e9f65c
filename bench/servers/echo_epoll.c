/* SPDX-License-Identifier: MIT */
/* echo_epoll.c - the yardstick: recv, send, and nothing else.
 *
 *   echo_epoll PORT [KIB]
 *
 * KIB is what it reads at once, if not 64. */
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
    epoll_serve(server_listen(argc, argv), echo, NULL);
    return 1;
}
