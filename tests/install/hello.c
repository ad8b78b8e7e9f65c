/* SPDX-License-Identifier: MIT */
/* hello.c - the smallest whole program: two channels that talk. */
#include <asyncore.h>
#include <stdio.h>
#include <unistd.h>

static int
ear_read(struct asyncore_dispatcher *d)
{
    char data[64];
    ssize_t n = asyncore_recv(d, data, sizeof data);

    if (n > 0)
        printf("%.*s", (int)n, data);
    return (int)n;
}

static const struct asyncore_ops ear = {.name = "ear",
                                        .handle_read = ear_read};

int
main(void)
{
    struct asyncore_dispatcher_with_send *mouth;
    int fd[2];

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) < 0)
        return 1;
    if (asyncore_dispatcher_new(&ear, fd[0], NULL, NULL) < 0 ||
        asyncore_dispatcher_with_send_new(NULL, fd[1], NULL, &mouth) < 0)
        return 1;
    asyncore_send(&mouth->base, "hello, ", 7);
    asyncore_send(&mouth->base, "asyncore ", 9);
    asyncore_close_when_done(&mouth->base);
    if (asyncore_loop(5, false, NULL, ASYNCORE_UNTIL_EMPTY) < 0)
        return 1;
    puts(asyncore_version());
    return 0;
}
