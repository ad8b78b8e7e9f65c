/* SPDX-License-Identifier: MIT */
/* echo_epoll.c - the yardstick: recv, send, and nothing else. */
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
    epoll_serve(server_listen(argc, argv), echo, NULL);
    return 1;
}
