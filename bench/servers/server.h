/* SPDX-License-Identifier: MIT */
/* server.h - what the reference servers share: the listening socket, and
 * output that the kernel did not take at once. */
#ifndef BENCH_SERVER_H
#define BENCH_SERVER_H

#include <stdbool.h>
#include <stddef.h>

/* What the yardstick reads at once, and so do most of those it is compared
 * with; and the most it can be told to. */
#define BUFFER_SIZE ((size_t)65536)
#define BUFFER_MOST ((size_t)1024 * 1024)

/* The exit status of a server that cannot run here. */
#define SERVER_UNAVAILABLE 77

/* Parse the arguments (PORT), listen on 127.0.0.1 and say so; SIGTERM ends the
 * process from then on.  Connections inherit TCP_NODELAY.  Returns the
 * descriptor, which is non-blocking; does not return on failure. */
int server_listen(int argc, char **argv);

/* Take a connection, non-blocking.  Returns -1 if there is none. */
int server_accept(int listener);

/* The rest of what could not be sent. */
struct rest {
    char *data;
    size_t at, len;
};

enum sent {
    SENT_ALL,
    SENT_PART,
    SENT_GONE
};

/* Send now; what the kernel does not take is kept in *rest. */
enum sent server_send(int fd, const char *data, size_t len, struct rest *rest);
/* Go on with the rest. */
enum sent server_flush(int fd, struct rest *rest);
void server_forget(struct rest *rest);

/* Read as much at once. */
void server_set_buffer(size_t size);
size_t server_buffer_size(void);

/* recv() once into the buffer of the process.  Returns what came in, 0 if
 * nothing is there, -1 at the end. */
long server_recv(int fd, char **ret);

_Noreturn void die(const char *what);

/* Never NULL. */
void *allocate(size_t size);

#endif
