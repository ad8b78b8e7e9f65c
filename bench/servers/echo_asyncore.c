/* SPDX-License-Identifier: MIT */
/* echo_asyncore.c - dispatcher_with_send, sends back every byte. */
#include "asyncore_server.h"

static int
echo_read(struct asyncore_dispatcher *d)
{
    static char data[256 * 1024]; /* all connections share it */
    ssize_t n = asyncore_recv(d, data, sizeof data);
    return (int)(n > 0 ? asyncore_send(d, data, (size_t)n) : n);
}

static const struct asyncore_ops echo_handler = {
    .name = "echo_handler",
    .handle_read = echo_read,
};

static int
accepted(struct asyncore_dispatcher *d, int fd,
         const struct asyncore_addr *addr)
{
    (void)addr;
    return asyncore_dispatcher_with_send_new(&echo_handler, fd, d->map, NULL);
}

static const struct asyncore_ops echo_server = {
    .name = "echo_server",
    .handle_accepted = accepted,
};

int
main(int argc, char **argv)
{
    return serve(argc, argv, &echo_server);
}
