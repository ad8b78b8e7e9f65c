/* SPDX-License-Identifier: MIT */
/* line_asynchat.c - answers each line L that ends in CRLF with "+L" CRLF. */
#include <asynchat.h>

#include "asyncore_server.h"

static int
line_found(struct asynchat *chat)
{
    struct asyncore_bytes line = asynchat_get_data(chat);
    struct iovec answer[] = {
        {(void *)"+", 1},
        {(void *)(uintptr_t)line.data, line.len},
        {(void *)"\r\n", 2},
    };
    return asynchat_pushv(chat, answer, 3);
}

static const struct asynchat_ops line_handler = {
    .base.name = "line_handler",
    .found_terminator = line_found,
};

static int
accepted(struct asyncore_dispatcher *d, int fd,
         const struct asyncore_addr *addr)
{
    struct asynchat *chat;
    (void)addr;
    int err = asynchat_new(&line_handler, fd, d->map, &chat);
    return err < 0 ? err : asynchat_set_terminator(chat, "\r\n", 2);
}

static const struct asyncore_ops line_server = {
    .name = "line_server",
    .handle_accepted = accepted,
};

int
main(int argc, char **argv)
{
    return serve(argc, argv, &line_server);
}
