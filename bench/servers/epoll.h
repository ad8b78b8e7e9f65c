/* SPDX-License-Identifier: MIT */
/* epoll.h - a bare, level-triggered epoll loop: what all are measured by. */
#ifndef BENCH_EPOLL_H
#define BENCH_EPOLL_H

#include "server.h"

/* Serve for ever.
 *
 *   on_data     something can be read; sends with server_send()
 *   on_closed   the connection has ended; may be NULL
 *
 * EPOLLOUT is waited for only after a short send, and reading rests then. */
void epoll_serve(int listener, enum sent (*on_data)(int fd, struct rest *rest),
                 void (*on_closed)(int fd));

/* Poll for so long before going to sleep; 0, as it is without: not at all. */
void epoll_set_spin(long microseconds);

#endif
