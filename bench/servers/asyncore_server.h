/* SPDX-License-Identifier: MIT */
/* asyncore_server.h - what our own servers share: everything but what a
 * connection does. */
#ifndef BENCH_ASYNCORE_SERVER_H
#define BENCH_ASYNCORE_SERVER_H

#include <asyncore.h>

/* Serve on 127.0.0.1 until SIGTERM.
 *
 *   argv         PORT [BACKEND [BUSY_US]]
 *   server_ops   of the listener
 *
 * Returns the exit status of the program. */
int serve(int argc, char **argv, const struct asyncore_ops *server_ops);

#endif
