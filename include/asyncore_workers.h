/* SPDX-License-Identifier: MIT */
/* asyncore_workers.h - a server on several cores: threads, each with a map of
 * its own.
 *
 * What serves connections on one thread serves them on n: the listener's
 * handle_accepted gets the connection in the worker that it belongs to, and
 * d->map, which is also what NULL means there, is the worker's.  Nothing is
 * shared, nothing is locked.
 *
 *   static struct asyncore_workers *workers;
 *
 *   static void terminate(int sig) { asyncore_workers_stop(workers, 10); }
 *
 *   asyncore_workers_create(NULL, &workers);
 *   asyncore_workers_listen(workers, AF_INET, "", 8007, 128, &server, NULL);
 *   signal(SIGTERM, terminate);
 *   asyncore_workers_start(workers);
 *   asyncore_workers_join(workers);
 *   asyncore_workers_free(workers);
 *
 * The rules at the head of asyncore.h hold here too.  Of threads: the workers
 * are made, started, joined and freed by one thread, which is none of them;
 * what may be called from anywhere says so.  The functions of
 * asyncore_set_log() and asyncore_set_allocator() are called by all workers,
 * at the same time.  In the child of a fork() the workers are the parent's:
 * what would change them returns -ECHILD.
 */
#ifndef ASYNCORE_WORKERS_H
#define ASYNCORE_WORKERS_H

#include "asyncore.h"

#ifdef __cplusplus
extern "C" {
#endif

struct asyncore_workers; /* opaque */

/* The most threads there may be. */
#define ASYNCORE_MAX_WORKERS 1024

/* How the workers are made; what is 0 or NULL is as said.  The strings are
 * needed only during asyncore_workers_create(). */
struct asyncore_workers_options {
    unsigned threads;    /* 0 = one for each CPU that the process may use (a
                            share of their time, as containers have it, is
                            not looked at) */
    const char *backend; /* as asyncore_map_create() */
    const char *name; /* the threads are NAME/0, NAME/1, …, and NAME is cut
                         to 10 bytes; NULL = "worker" */
    long busy_poll;   /* as asyncore_map_set_busy_poll(); 0 = as the map
                         starts with */
    bool pin;         /* each thread stays on one CPU, the nth of those that
                         the process may use */

    /* Called in each worker's thread; may be NULL.  First of all: make what
     * the worker needs, such as channels of its own.  An error undoes
     * asyncore_workers_start(), which returns it. */
    int (*setup)(struct asyncore_map *map, unsigned index, void *arg);
    /* The workers are to stop, and the listeners of this one are closed: end
     * what would not end by itself, such as idle connections
     * (asyncore_map_next(), asyncore_close_when_done()).  Returns as a posted
     * call does. */
    int (*stopping)(struct asyncore_map *map, unsigned index, void *arg);
    /* Last of all, where setup has not failed: the channels are destroyed;
     * release what the worker had. */
    void (*teardown)(struct asyncore_map *map, unsigned index, void *arg);
    void *arg; /* of these three */

    void (*reserved[4])(void); /* leave NULL */
};

/* Make workers and their maps; they do not run yet.
 *
 *   options   NULL = all as said there
 *
 * Returns 0, -EINVAL: an option is out of its bounds, or as
 * asyncore_map_create().  Release them with asyncore_workers_free(). */
ASYNCORE_API int
asyncore_workers_create(const struct asyncore_workers_options *options,
                        struct asyncore_workers **ret);

/* Listen at an address with all workers, from asyncore_workers_start() on;
 * what connects before waits.
 *
 *   family, host, port   as asyncore_getaddrinfo(), whose first answer is
 *                        taken; port 0 takes one that is free, the same for
 *                        all
 *   backlog              connections the kernel may hold, for each listener
 *   ops                  of the listeners
 *   data                 their d->data
 *
 * For AF_INET and AF_INET6 each worker has a listener of its own in its map
 * (SO_REUSEPORT), and the kernel deals out the connections by a hash of their
 * addresses: evenly where there are many, by chance where there are few.  A
 * worker that is behind gets its share like the others.
 *
 * For AF_UNIX, where the kernel does not, it is as
 * asyncore_workers_listen_fd() says.
 *
 * Returns the number of the listener, from 0, or
 *   -EADDRINUSE   somebody listens there, also if he would share it
 *   -EBUSY        the workers have been started
 *   or what resolving, socket(2), bind(2), listen(2) or
 *   asyncore_dispatcher_init() say; nothing listens then. */
ASYNCORE_API int asyncore_workers_listen(struct asyncore_workers *workers,
                                         int family, const char *host,
                                         int port, int backlog,
                                         const struct asyncore_ops *ops,
                                         void *data);

/* The same for one socket that listens already: of any family, inherited, or
 * because the connections are few and should be dealt out one by one.
 *
 *   fd   becomes the workers' own
 *
 * It is in the map of the first worker, who hands the connections over to all
 * in turn, himself included.  There handle_accepted is called with a listener
 * that has the map, the data and the address, but no descriptor; if it fails
 * the connection is closed, and a line logged.  A handle_accept of the ops'
 * own is not called.
 *
 * Returns as asyncore_workers_listen(), or -EINVAL: it does not listen; the
 * descriptor is still the caller's then. */
ASYNCORE_API int asyncore_workers_listen_fd(struct asyncore_workers *workers,
                                            int fd,
                                            const struct asyncore_ops *ops,
                                            void *data);

/* Where a listener listens.
 *
 *   listener   what asyncore_workers_listen() has returned
 *
 * From any thread.  Returns 0 or -EINVAL. */
ASYNCORE_API int
asyncore_workers_getsockname(const struct asyncore_workers *workers,
                             int listener, struct asyncore_addr *ret);

/* Start the threads.  When this returns, all of them have done their setup,
 * and serve.
 *
 * Signals go to the other threads of the program: all are blocked in the
 * workers, but for those that a fault of their own raises (SIGSEGV, …).
 *
 * Returns 0, -EBUSY: they have been started before, or what was in the way: an
 * error of `setup`, -EAGAIN: no more threads, or that of pinning.  Then
 * everything is undone, and they can only be freed. */
ASYNCORE_API int asyncore_workers_start(struct asyncore_workers *workers);

/* Stop, in order.  Each worker takes the connections that the kernel has
 * accepted for it, for those would be reset; closes every listener of its map;
 * calls `stopping`; and serves on, until its map has no channel any more, or
 * the time is over.  Then what is left is closed, whatever it has to send.
 *
 *   seconds   >= 0, or ASYNCORE_FOREVER: for how long connections may finish.
 *             The last call counts, so that a second one can end the waiting
 *
 * What a client begins while its listener is being closed may still be reset:
 * the kernel has no way to tell him.
 *
 * From any thread, from handlers, and from signal handlers; returns at once.
 * Before asyncore_workers_start(), they stop when they have started.
 * Returns 0 or -EINVAL. */
ASYNCORE_API int asyncore_workers_stop(struct asyncore_workers *workers,
                                       double seconds);

/* Wait until all workers have ended.  That is after asyncore_workers_stop(),
 * or when one has left its loop: a handler returned ASYNCORE_EXIT_NOW or
 * called asyncore_stop(), or the wait failed; the others then stop at once.
 *
 * Returns 0, the first such result but 0, or
 *   -EINVAL    they have not been started
 *   -EDEADLK   this is one of them */
ASYNCORE_API int asyncore_workers_join(struct asyncore_workers *workers);

/* Stop them at once, if they run, wait for them, and release everything.
 * Posts and connections on their way to them must have ended: nobody may use
 * the workers or their maps any more.
 *
 *   workers   NULL is fine and does nothing
 *
 * Returns 0, or -EDEADLK: this is one of them; or -EBUSY: a channel outside of
 * a map is still open (asyncore_del_channel()): close it and call again. */
ASYNCORE_API int asyncore_workers_free(struct asyncore_workers *workers);

/* How many there are.  From any thread. */
ASYNCORE_API unsigned
asyncore_workers_count(const struct asyncore_workers *workers);

/* The map of a worker, or NULL: no such worker.  It is released with the
 * workers.  It belongs to the worker's thread while that runs; before
 * asyncore_workers_start() it may be prepared, and
 * asyncore_call_soon_threadsafe() may be used as long as it is there: a call
 * for a worker that has ended is dropped.  From any thread. */
ASYNCORE_API struct asyncore_map *
asyncore_workers_map(const struct asyncore_workers *workers, unsigned index);

/* Which worker the calling thread is, from 0; -1: none.  From any thread. */
ASYNCORE_API int asyncore_workers_index(void);

/* Takes over a connection, in the worker's thread; fd is its own, as in
 * handle_accepted: an error gives it back, and it is closed, unless a channel
 * has been made of it. */
typedef int asyncore_adopt_fn(struct asyncore_map *map, int fd, void *arg);

/* Hand a descriptor over to a worker, such as a connection (asyncore_detach()
 * takes one from its channel): fn(map, fd, arg) is called in its loop, soon.
 * Those from one thread keep their order.  From any thread.
 *
 * Returns 0, or the descriptor is still the caller's:
 *   -ESHUTDOWN   the worker has ended
 *   -EINVAL, -ENOMEM
 * One that the worker can't take any more, because it ends, is closed. */
ASYNCORE_API int asyncore_workers_hand_over(struct asyncore_workers *workers,
                                            unsigned index, int fd,
                                            asyncore_adopt_fn *fn, void *arg);

#ifdef __cplusplus
}
#endif

#endif
