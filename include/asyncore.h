/* SPDX-License-Identifier: MIT */
/* asyncore.h - channels, handlers and a loop: Python's asyncore, in C.
 *
 * A *channel* is a descriptor with a table of handlers.  Its predicates,
 * readable() and writable(), say what it waits for; its handle_*() functions
 * say what happens.  A *map* is a set of channels.  asyncore_loop() serves a
 * map until it is empty.
 *
 * Who knows the Python module finds the same words here:
 *
 *   asyncore.loop, poll                 asyncore_loop, asyncore_poll
 *   asyncore.socket_map                 struct asyncore_map, NULL = default
 *   asyncore.dispatcher                 struct asyncore_dispatcher
 *   asyncore.dispatcher_with_send       struct asyncore_dispatcher_with_send
 *   asyncore.file_dispatcher            struct asyncore_file_dispatcher
 *   asyncore.file_wrapper               struct asyncore_file_wrapper
 *   asyncore.ExitNow                    ASYNCORE_EXIT_NOW
 *   asyncore.compact_traceback          asyncore_compact_traceback
 *   class X(dispatcher): def handle_…   static const struct asyncore_ops x
 *   dispatcher.handle_read(self)        asyncore_dispatcher_handle_read(d)
 *
 * Rules that hold everywhere, and are not repeated below:
 *
 *   Results   >= 0 is success, a negative value is a negated errno (or one of
 *             the ASYNCORE_EAI_* codes).  errno itself is not used.  -EINVAL:
 *             a NULL or never initialised object, or an argument out of its
 *             bounds; nothing was touched.  -EBADF: the channel is closed.
 *             -EAGAIN: would block; never an error.  -ENOMEM: out of memory;
 *             the object is as it was.
 *   Threads   A map and its channels belong to one thread.  The exceptions
 *             are asyncore_call_soon_threadsafe() and
 *             asyncore_call_soon_signal().
 *   Re-entry  Unless it says otherwise, every function may be called from
 *             inside every handler, asyncore_loop() included.
 *   Signals   Sends raise no SIGPIPE.  EINTR is never seen, and a signal ends
 *             no wait: asyncore_call_soon_signal() does.
 *   Memory    Structs embedded by the caller stay the caller's.  The library
 *             calls `destroy` exactly once for a channel; its memory may be
 *             released there or later, never before.
 *
 * Nothing here aborts, exits, or writes to stdout.
 */
#ifndef ASYNCORE_H
#define ASYNCORE_H

#include <math.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ASYNCORE_API __attribute__((visibility("default")))
#define ASYNCORE_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define ASYNCORE_API
#define ASYNCORE_PRINTF(fmt, args)
#endif

#define ASYNCORE_VERSION_MAJOR 0
#define ASYNCORE_VERSION_MINOR 1
#define ASYNCORE_VERSION_PATCH 0
#define ASYNCORE_VERSION "0.1.0"

/* The version of the library that is running, "MAJOR.MINOR.PATCH". */
ASYNCORE_API const char *asyncore_version(void);

struct asyncore_map;        /* a set of channels and its loop; opaque */
struct asyncore__rare;      /* private */
struct asyncore_dispatcher; /* a channel; open, for embedding */

/* The object around an embedded member, in ISO C: the subclass of a channel.
 *
 *   struct session *s = asyncore_container_of(d, struct session, channel);
 */
#define asyncore_container_of(ptr, type, member) \
    ((type *)(void *)&((char *)(ptr))[-(ptrdiff_t)offsetof(type, member)])

/* ---- errors ------------------------------------------------------------ */

/* A handler that returns this leaves the loop: asyncore_loop() returns it,
 * all channels stay as they are, events not yet delivered are reported again
 * by the next pass.  Python: raise asyncore.ExitNow. */
#define ASYNCORE_EXIT_NOW (-0x10000)

/* Name resolution failed; the negated code is what functions return. */
enum asyncore_eai {
    ASYNCORE_EAI_NONAME = 3000, /* unknown host or service */
    ASYNCORE_EAI_AGAIN,         /* temporary failure in name resolution */
    ASYNCORE_EAI_FAIL,          /* the name server refused for good */
    ASYNCORE_EAI_FAMILY,        /* no address of that family, or no such */
    ASYNCORE_EAI_OTHER          /* any other getaddrinfo() failure */
};

/* What went wrong, for handle_error: the exception of the original. */
struct asyncore_error {
    int code;            /* negated errno, or one of ASYNCORE_EAI_* negated */
    const char *op;      /* the failed operation: "recv", "connect", …;
                            the handler's name if the handler made it up */
    const char *handler; /* the handler it came out of: "handle_read"; NULL
                            if none was running (queued output, a timeout) */
};

/* The text for a code as functions return them (either sign is taken).
 * Never NULL; static or valid until the thread's next call.
 * Python: asyncore._strerror. */
ASYNCORE_API const char *asyncore_strerror(int code);

/* The name for a code: "ECONNRESET", "EXIT_NOW", "EAI_NONAME"; NULL for a
 * code nobody knows.  Static.  Python: errno.errorcode. */
ASYNCORE_API const char *asyncore_errorcode(int code);

/* Write "NAME:TEXT [HANDLER|OPERATION]" for an error, as much as fits.
 *
 *   buf, size   always terminated if size > 0
 *
 * Returns buf.  Python: asyncore.compact_traceback, whose triple and info
 * serve the same end: one line that says what failed where. */
ASYNCORE_API char *asyncore_compact_traceback(const struct asyncore_error *err,
                                              char *buf, size_t size);

/* ---- logging ----------------------------------------------------------- */

/* The three categories of dispatcher.log_info, and that of dispatcher.log. */
enum asyncore_log_type {
    ASYNCORE_LOG_INFO = 1,
    ASYNCORE_LOG_WARNING = 2, /* ignored by channels unless asked for */
    ASYNCORE_LOG_ERROR = 4,
    ASYNCORE_LOG_LOG = 8
};

/* Receives every line the library logs, without a line end.
 *
 *   d   the channel it is about, or NULL
 *
 * Called from the thread of the map.  May not close channels. */
typedef void asyncore_log_fn(enum asyncore_log_type type, const char *message,
                             struct asyncore_dispatcher *d, void *arg);

/* Set where log lines go, for the whole process; NULL restores the default,
 * which writes "TYPE: MESSAGE" lines to stderr.  Call it before other threads
 * use the library. */
ASYNCORE_API void asyncore_set_log(asyncore_log_fn *fn, void *arg);

/* ---- memory ------------------------------------------------------------ */

/* Allocate, resize (ptr not NULL) or release (size 0; returns NULL). */
typedef void *asyncore_realloc_fn(void *ptr, size_t size, void *arg);

/* Set the allocator of the whole process; NULL restores realloc() and free().
 * Call it before anything else of the library, from one thread. */
ASYNCORE_API void asyncore_set_allocator(asyncore_realloc_fn *fn, void *arg);

/* ---- addresses --------------------------------------------------------- */

/* The longest text of an address, with its terminator. */
#define ASYNCORE_ADDR_STRLEN 128

/* An address of any family the library speaks. */
struct asyncore_addr {
    socklen_t len; /* bytes of `u` in use; 0 = no address */
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
        struct sockaddr_storage storage;
    } u;
};

/* The text of an address: "127.0.0.1:80", "[::1]:80", "/run/x.sock",
 * "@abstract", "" for none or an unnamed unix socket.
 *
 * Returns text that is valid until the thread's fourth next call. */
ASYNCORE_API const char *asyncore_addr_str(const struct asyncore_addr *addr);

/* Resolve a host and a port to addresses, best first.  May block in the
 * system's resolver unless the host is numeric.
 *
 *   map       whose resolver; NULL = the default map
 *   family    AF_INET, AF_INET6, AF_UNIX, or AF_UNSPEC for AF_INET and 6
 *   type      SOCK_STREAM or SOCK_DGRAM
 *   host      a name or a numeric address; "" or NULL = any address, for
 *             bind; for AF_UNIX a path, or "@name" for an abstract name
 *   port      0 to 65535; not looked at for AF_UNIX
 *   ret       room for max addresses, max > 0
 *
 * Returns how many were written (at least 1), or
 *   -ASYNCORE_EAI_*   the resolver's answer
 *   -ENAMETOOLONG     a unix path that does not fit
 *   -EAFNOSUPPORT     another family
 *
 * Python: socket.getaddrinfo, as connect() and bind() call it inside. */
ASYNCORE_API int asyncore_getaddrinfo(struct asyncore_map *map, int family,
                                      int type, const char *host, int port,
                                      struct asyncore_addr *ret, size_t max);

/* ---- the map ----------------------------------------------------------- */

/* Make a map.
 *
 *   backend   "epoll", "io_uring", "poll", "select"; NULL = the
 *             environment's ASYNCORE_BACKEND, else the best this machine has.
 *             (The environment is not read in setuid programs.)  Where the
 *             kernel has no io_uring, or its use is forbidden, epoll serves
 *             instead; the log says why, asyncore_map_backend() which.
 *
 * Returns 0, or
 *   -ENOSYS   no such backend here; the log names those there are
 *   -EMFILE, -ENFILE, -ENOMEM
 *
 * The map is the calling thread's.  Release it with asyncore_map_free().
 * Python: map = {}. */
ASYNCORE_API int asyncore_map_create(const char *backend,
                                     struct asyncore_map **ret);

/* Release a map and its timers.  Sweeps first: closed channels get their
 * `destroy`.  Posts from other threads that have not run are dropped; nobody
 * may post any more.
 *
 *   map   NULL is fine and does nothing
 *
 * Returns 0, or -EBUSY: channels of it are open (asyncore_close_all()), or its
 * loop or a handler of it is running.  A channel of the map that has no
 * descriptor is not noticed: close it first, or use it no more. */
ASYNCORE_API int asyncore_map_free(struct asyncore_map *map);

/* The calling thread's default map, made on first use; this is what NULL
 * means wherever a map is asked for.  It is released when the thread ends, if
 * it is empty by then.
 *
 * Returns NULL if it can't be made (no memory, no descriptor, or
 * ASYNCORE_BACKEND names a backend that is not here; the log says which).
 * Python: asyncore.socket_map. */
ASYNCORE_API struct asyncore_map *asyncore_map_default(void);

/* How many channels are in the map.  Python: len(map). */
ASYNCORE_API size_t asyncore_map_count(const struct asyncore_map *map);

/* The channel at a descriptor, or NULL.  Python: map.get(fd). */
ASYNCORE_API struct asyncore_dispatcher *
asyncore_map_get(const struct asyncore_map *map, int fd);

/* The channel after d in the order of their adding; the first if d is NULL;
 * NULL after the last, or if d is not in the map.  To close channels while
 * iterating, take the next one first.  Python: for d in map.values(). */
ASYNCORE_API struct asyncore_dispatcher *
asyncore_map_next(const struct asyncore_map *map,
                  const struct asyncore_dispatcher *d);

/* The names of the backends this machine has, best first; ends in NULL. */
ASYNCORE_API const char *const *asyncore_backends(void);

/* The name of the backend that serves the map: "epoll". */
ASYNCORE_API const char *asyncore_map_backend(const struct asyncore_map *map);

/* Move a map, with all its channels, to another backend.
 *
 * Returns 0, or -ENOSYS as asyncore_map_create(), -ERANGE if a descriptor of
 * the map is beyond what that backend serves, -ECHILD, -EMFILE, -ENOMEM; the
 * map then stays on its backend. */
ASYNCORE_API int asyncore_map_set_backend(struct asyncore_map *map,
                                          const char *backend);

/* Have the map look for events again and again, for a while, before each
 * sleep.
 *
 *   microseconds   0 to 1000000: how long; 0 = not at all.  A map starts with
 *                  the environment's ASYNCORE_BUSY_POLL, else with 0
 *
 * To be put to sleep and woken costs a thread more than a short wait: where
 * the next event comes within some 10 microseconds, as in a dialogue with a
 * peer on the same machine or a fast network, a budget of 50 makes the answers
 * two to three times faster, at little more CPU time per message.  Where it
 * comes later, each sleep costs up to the budget of CPU time in vain; and
 * where the peer has no other CPU to run on, looking keeps it from answering.
 *
 * Events, posts and timers are served as ever, and what another thread posts
 * is seen at once.  A pass that need not wait has nothing to do with it, nor
 * has a map that waits in another loop (asyncore_prepare()).
 *
 * Returns 0 or -EINVAL. */
ASYNCORE_API int asyncore_map_set_busy_poll(struct asyncore_map *map,
                                            long microseconds);

/* What it is set to. */
ASYNCORE_API long asyncore_map_busy_poll(const struct asyncore_map *map);

/* Make a map usable in the child of a fork().  Until then, what needs the
 * kernel's registrations (asyncore_poll, asyncore_loop, adding channels)
 * returns -ECHILD there; closing channels and asyncore_close_all() work and
 * leave the parent's registrations alone.
 *
 * Returns 0 (also in the parent: nothing to do), or -EMFILE, -ENFILE,
 * -ENOMEM. */
ASYNCORE_API int asyncore_map_after_fork(struct asyncore_map *map);

/* Close every channel of a map, in map order, then sweep: outside of a loop
 * their `destroy` has run when this returns.
 *
 *   ignore_all   false: the first channel whose close fails (for another
 *                reason than EBADF) ends it; its error is returned, the
 *                channels after it stay.  true: all are closed.
 *
 * Returns 0 or that error.  Python: asyncore.close_all. */
ASYNCORE_API int asyncore_close_all(struct asyncore_map *map, bool ignore_all);

/* ---- the loop ---------------------------------------------------------- */

/* As a timeout: wait for as long as it takes.  Python: None. */
#define ASYNCORE_FOREVER ((double)INFINITY)

/* As a count: until the map is empty.  Python: count=None. */
#define ASYNCORE_UNTIL_EMPTY (-1L)

/* Serve a map: passes until it has neither channels nor timers nor posted
 * calls, or `count` passes are done, or asyncore_stop(), or ExitNow.
 *
 *   timeout    seconds a pass may wait for events, >= 0; rounded up to what
 *              the backend can.  Timers shorten it.  The original's default
 *              is 30.
 *   use_poll   true: poll() instead of select(), that is, a map on the
 *              select backend moves to poll.  No effect on other backends.
 *   map        NULL = the calling thread's default map
 *   count      passes, or ASYNCORE_UNTIL_EMPTY
 *
 * A pass asks the predicates of the channels that have their own, waits,
 * delivers what is ready in map order, runs posted calls and due timers, sends
 * what was queued, and destroys what was closed.  Channels made by a handler
 * are served from the next pass on; those that a predicate makes, before the
 * wait, may be in this one, if they have no predicates to be asked.  A handler
 * may run the loop again, on this map or another.
 *
 * Returns 0, or
 *   ASYNCORE_EXIT_NOW  a handler left the loop
 *   -ECHILD            the map belongs to the parent of a fork()
 *   -EINVAL            timeout is negative or NaN
 *   another errno      the wait failed; nothing was delivered
 *
 * Python: asyncore.loop. */
ASYNCORE_API int asyncore_loop(double timeout, bool use_poll,
                               struct asyncore_map *map, long count);

/* One pass.  Returns at once if there is nothing to wait for.  Returns as
 * asyncore_loop().  Python: asyncore.poll. */
ASYNCORE_API int asyncore_poll(double timeout, struct asyncore_map *map);

/* End the innermost running asyncore_loop() of the map when its pass is done;
 * it returns 0.  Without a running loop: nothing.  From another thread or a
 * signal handler, post a call that does it. */
ASYNCORE_API void asyncore_stop(struct asyncore_map *map);

/* The map as one descriptor, for another event loop: readable when
 * asyncore_poll(0, map) has something to do, provided asyncore_prepare() came
 * before.  A map on a backend without a descriptor (select, poll) moves to
 * one that has it.
 *
 * Returns the descriptor, which stays the map's and changes with its backend,
 * or -ENOSYS: no backend here has one; or as asyncore_map_set_backend(). */
ASYNCORE_API int asyncore_map_fileno(struct asyncore_map *map);

/* What asyncore_poll() does before it waits: ask the predicates, tell the
 * kernel.  Call it each time before the outer loop sleeps.
 *
 *   ret_timeout   the seconds after which asyncore_poll(0, map) is due even
 *                 if the descriptor stays silent: 0, or until the next timer,
 *                 or ASYNCORE_FOREVER
 *
 * Returns 0 or as asyncore_loop(). */
ASYNCORE_API int asyncore_prepare(struct asyncore_map *map,
                                  double *ret_timeout);

/* ---- time and other threads -------------------------------------------- */

/* Called by a timer or a post.  It returns as a handler does; an error, having
 * no channel, is only logged. */
typedef int asyncore_call_fn(struct asyncore_map *map, void *arg);

/* Seconds on the map's monotonic clock, for asyncore_call_at(); 0 if there is
 * no default map to be had. */
ASYNCORE_API double asyncore_time(struct asyncore_map *map);

/* Call fn(map, arg) once, `delay` seconds from now or as soon after as the
 * loop gets there.  Equal times keep their order.  A pending timer keeps
 * asyncore_loop() going.
 *
 *   delay   >= 0, finite
 *
 * Returns the timer's id, > 0, to cancel it with, or -EINVAL, -ENOMEM.
 * O(log n) in pending timers. */
ASYNCORE_API int64_t asyncore_call_later(struct asyncore_map *map,
                                         double delay, asyncore_call_fn *fn,
                                         void *arg);

/* The same, at a time of asyncore_time(); a time that has passed is now. */
ASYNCORE_API int64_t asyncore_call_at(struct asyncore_map *map, double when,
                                      asyncore_call_fn *fn, void *arg);

/* Cancel a timer.  An id is never used again, so a late cancel is harmless.
 *
 * Returns 0, or -ENOENT: it has run, is running, or was cancelled. */
ASYNCORE_API int asyncore_cancel(struct asyncore_map *map, int64_t id);

/* Have the map's thread call fn(map, arg) in its loop, soon.  From any
 * thread.  N posts are N calls, those of a thread in its order.
 *
 *   map   not NULL (the default map is the caller's own); must outlive it
 *
 * Returns 0, -EINVAL or -ENOMEM.  Not for signal handlers: it allocates. */
ASYNCORE_API int asyncore_call_soon_threadsafe(struct asyncore_map *map,
                                               asyncore_call_fn *fn,
                                               void *arg);

/* A post in the caller's memory, for signal handlers. */
struct asyncore_call {
    asyncore_call_fn *fn; /* set both before the first post */
    void *arg;
    /* private */
    struct asyncore_call *next;
    int state;
};

/* The same from a signal handler: async-signal-safe, allocates nothing.
 *
 *   call   stays the caller's; must live until it has run
 *
 * Returns 0, -EINVAL, or -EALREADY: it is posted and has not run yet. */
ASYNCORE_API int asyncore_call_soon_signal(struct asyncore_map *map,
                                           struct asyncore_call *call);

/* ---- channels ---------------------------------------------------------- */

/* The handlers of a class: what a Python class body overrides.  Slots left
 * NULL are inherited; the defaults are exported for super calls, where there
 * are any
 * (asyncore_dispatcher_handle_read …).  Make it `static const`; it must
 * outlive its channels.
 *
 * Handlers return 0 (any value >= 0) or
 *   -EAGAIN             nothing to do
 *   ASYNCORE_EXIT_NOW   leave the loop
 *   a negated errno     the exception of the original: handle_error gets it
 * so that `return asyncore_send(d, …)` loses no error. */
struct asyncore_ops {
    /* For repr() and the log; NULL = the library class's name. */
    const char *name;
    /* ASYNCORE_ASK_* below. */
    unsigned flags;

    /* Predicates.  Does the channel want to read, to write?  A class that has
     * its own is asked for each of its channels in every pass, readable
     * first, in map order, before the wait.  A class that has none is never
     * asked: the library knows.  May close channels; gets no error out. */
    bool (*readable)(struct asyncore_dispatcher *d);
    bool (*writable)(struct asyncore_dispatcher *d);

    /* There is something to read: data, the end of the stream, an error.
     * Default: logs a warning and reads nothing. */
    int (*handle_read)(struct asyncore_dispatcher *d);
    /* Output will be taken.  A dispatcher that overrides this and not
     * writable() is served whenever its socket is writable.  One that
     * overrides neither is not woken for it; the default, which logs a
     * warning, is called once, when it is connected.  dispatcher_with_send
     * inherits asyncore_initiate_send(). */
    int (*handle_write)(struct asyncore_dispatcher *d);
    /* There is urgent (out-of-band) data.  Waited for only if overridden. */
    int (*handle_expt)(struct asyncore_dispatcher *d);
    /* A connect() came through; `connected` is already set. */
    int (*handle_connect)(struct asyncore_dispatcher *d);
    /* A listener has connections.  Default: accepts up to a bounded batch,
     * and calls handle_accepted for each. */
    int (*handle_accept)(struct asyncore_dispatcher *d);
    /* A connection was accepted.  fd is non-blocking and close-on-exec, and
     * the handler's own: give it to a channel (asyncore_*_new, *_init) or
     * close it; then no other socket with its number to a channel, before it
     * returns.  A handler that returns an error gives it back: the library
     * then closes it, unless a channel has it.  Default: closes it. */
    int (*handle_accepted)(struct asyncore_dispatcher *d, int fd,
                           const struct asyncore_addr *addr);
    /* The connection has ended; d->error says why (0: the peer closed it in
     * order).  Told once per connection.  Default: logs a warning (async_chat
     * does not), and closes. */
    int (*handle_close)(struct asyncore_dispatcher *d);
    /* A handler failed.  Default: logs one line, then handle_close, or
     * asyncore_close() if that has been told.  If it was handle_accepted:
     * logs, and the listener goes on without that connection.  An error out
     * of this one is logged, and the channel closed. */
    int (*handle_error)(struct asyncore_dispatcher *d,
                        const struct asyncore_error *err);

    /* The peer has shut down its sending side.  If overridden, it comes
     * instead of handle_close: the channel is not read any more, can still
     * write, and handle_close follows when writing has ended too
     * (asyncore_shutdown(), or an error). */
    int (*handle_eof)(struct asyncore_dispatcher *d);
    /* Nothing happened for the time of asyncore_set_timeout().  Default:
     * ends the connection with -ETIMEDOUT in d->error: handle_close. */
    int (*handle_timeout)(struct asyncore_dispatcher *d);
    /* The output queue fell to the low mark after it was above the high
     * one, and more can be sent.  Default: nothing. */
    int (*handle_drain)(struct asyncore_dispatcher *d);

    /* One level down: how readiness becomes the events above. */
    int (*handle_read_event)(struct asyncore_dispatcher *d);
    int (*handle_write_event)(struct asyncore_dispatcher *d);
    int (*handle_expt_event)(struct asyncore_dispatcher *d);
    int (*handle_connect_event)(struct asyncore_dispatcher *d);

    /* What asyncore_send() and asyncore_recv() call. */
    ssize_t (*send)(struct asyncore_dispatcher *d, const void *data,
                    size_t len);
    ssize_t (*recv)(struct asyncore_dispatcher *d, void *buf, size_t len);
    /* What the channel's log lines go through. */
    void (*log_info)(struct asyncore_dispatcher *d, const char *message,
                     enum asyncore_log_type type);

    /* The channel is closed for good and no function of the library is using
     * it: free what belongs to it, and itself if you allocated it (not if it
     * came from an asyncore_*_new()).  Exactly once, at the end of the
     * outermost pass; outside of a loop, in the next one, in
     * asyncore_close_all() or asyncore_map_free(). */
    void (*destroy)(struct asyncore_dispatcher *d);

    void (*reserved[8])(void); /* leave NULL */
};

/* For ops.flags: the answers of readable() and writable() change only in the
 * channel's own events or with asyncore_touch(), so it is asked only then,
 * and costs nothing while idle. */
#define ASYNCORE_ASK_ON_TOUCH 1u

/* For ops.flags: handlers of this class read from the descriptor, or accept
 * from it, by other means than the library's functions (a TLS library,
 * recvmsg(), splice()), or give it away with asyncore_detach().  The io_uring
 * backend, which receives from TCP connections in advance, then leaves their
 * bytes in the kernel until they are asked for, as the others always do.  So
 * it is, without the flag, for classes with a `recv` of their own. */
#define ASYNCORE_DIRECT_IO 2u

/* A channel.  Embed it in a struct of your own, or use asyncore_*_new().
 * Its fields may be read; write only where it says so.
 * Python: asyncore.dispatcher. */
struct asyncore_dispatcher {
    /* public */
    void *data; /* yours: the library does not look at it */
    /* read-only */
    const struct asyncore_ops *ops; /* of the class; NULL = all inherited */
    struct asyncore_map *map;       /* where it lives or lived last */
    int fd;                         /* the descriptor, -1 = closed */
    int error; /* why the connection ended: 0 in order, or negated errno */
    unsigned connected : 1;
    unsigned accepting : 1;
    unsigned connecting : 1;
    unsigned closing : 1; /* asyncore_close_when_done() was called */
    /* public */
    unsigned debug : 1;            /* dispatcher_with_send: log what is sent */
    unsigned ignore_log_types : 4; /* ASYNCORE_LOG_* or-ed; at first WARNING */
    /* private */
    unsigned asyncore__class : 3;
    unsigned asyncore__transport : 2;
    unsigned asyncore__family : 2;
    unsigned asyncore__port : 16;
    unsigned asyncore__flags;
    unsigned asyncore__pos;
    unsigned asyncore__asked;
    unsigned short asyncore__magic;
    unsigned short asyncore__linger;
    unsigned short asyncore__life;
    unsigned short asyncore__pins;
    struct asyncore_dispatcher *asyncore__next;
    struct asyncore__rare *asyncore__rare;
    union {
        struct in_addr in;
        struct in6_addr in6;
        struct asyncore_addr *other;
    } asyncore__addr;
};

/* Initialise a channel in the caller's memory, and adopt a descriptor.
 *
 *   ops   may be NULL
 *   fd    a socket, which becomes non-blocking and the channel's own; it is
 *         connected if it has a peer.  Or -1: asyncore_create_socket() later.
 *   map   NULL = the calling thread's default map
 *
 * Returns 0, or
 *   -EBADF, -ENOTSOCK   fd is not a socket
 *   -EEXIST             a channel of the map has this descriptor
 *   -ERANGE             beyond what the map's backend serves (select: 1024)
 *   -ECHILD, -ENOMEM
 * On failure d is no channel (using it is -EINVAL), no `destroy` comes, and fd
 * is the caller's.
 * Python: dispatcher.__init__. */
ASYNCORE_API int asyncore_dispatcher_init(struct asyncore_dispatcher *d,
                                          const struct asyncore_ops *ops,
                                          int fd, struct asyncore_map *map);

/* The same in the library's memory, which is released after `destroy`.
 *
 *   ret   may be NULL
 */
ASYNCORE_API int asyncore_dispatcher_new(const struct asyncore_ops *ops,
                                         int fd, struct asyncore_map *map,
                                         struct asyncore_dispatcher **ret);

/* Make a non-blocking, close-on-exec socket for the channel and put it into
 * its map.  It is waited for from asyncore_connect() or asyncore_listen() on
 * (a datagram socket: at once).
 *
 *   family   AF_INET, AF_INET6 or AF_UNIX
 *   type     SOCK_STREAM or SOCK_DGRAM
 *
 * Returns 0, -EINVAL for another family or type, or -EBUSY: it has one
 * (asyncore_close() first), or what socket(2) or asyncore_set_socket() say.
 * Python: dispatcher.create_socket, which leaks the old one. */
ASYNCORE_API int asyncore_create_socket(struct asyncore_dispatcher *d,
                                        int family, int type);

/* Adopt a socket, as asyncore_dispatcher_init().  Python:
 * dispatcher.set_socket. */
ASYNCORE_API int asyncore_set_socket(struct asyncore_dispatcher *d, int fd);

/* Put a channel that has a descriptor into a map (NULL = its own), or take
 * it out.  Closing and creating do this for you; by hand it moves a channel
 * to another map, or sets it aside.
 *
 * Taking it out ends its timeout (asyncore_set_timeout()).
 *
 * Return 0, or -EBUSY: it is in a map; or as asyncore_dispatcher_init().
 * Python: dispatcher.add_channel, del_channel. */
ASYNCORE_API int asyncore_add_channel(struct asyncore_dispatcher *d,
                                      struct asyncore_map *map);
ASYNCORE_API int asyncore_del_channel(struct asyncore_dispatcher *d);

/* Allow the address to be bound again at once (SO_REUSEADDR).  Returns 0 or
 * what setsockopt(2) says.  Python: dispatcher.set_reuse_addr. */
ASYNCORE_API int asyncore_set_reuse_addr(struct asyncore_dispatcher *d);

/* Bind to an address.
 *
 *   host   as asyncore_getaddrinfo(); "" = any; "@name" = abstract, or a path
 *          for AF_UNIX
 *   port   0 to 65535; 0 = one that is free: asyncore_getsockname()
 *
 * Return 0, or what resolving or bind(2) say.  Python: dispatcher.bind. */
ASYNCORE_API int asyncore_bind(struct asyncore_dispatcher *d, const char *host,
                               int port);
ASYNCORE_API int asyncore_bind_addr(struct asyncore_dispatcher *d,
                                    const struct sockaddr *sa, socklen_t len);

/* Accept connections from now on.
 *
 *   backlog   connections the kernel may hold for us, > 0
 *
 * When the process is out of descriptors, a listener drops one connection,
 * says so in the log, and rests for a moment, instead of spinning or dying.
 * Returns 0 or what listen(2) says.  Python: dispatcher.listen. */
ASYNCORE_API int asyncore_listen(struct asyncore_dispatcher *d, int backlog);

/* Take one connection.  For a handle_accept of your own.
 *
 *   ret_addr   the peer's address; may be NULL
 *
 * Returns the descriptor (non-blocking, close-on-exec, the caller's), or
 *   -EAGAIN   none there; or it is gone already; or there is no descriptor
 *             for it, which the log has been told, and the listener rests
 *   -EINVAL   not listening
 * Python: dispatcher.accept. */
ASYNCORE_API int asyncore_accept(struct asyncore_dispatcher *d,
                                 struct asyncore_addr *ret_addr);

/* Begin to connect.  handle_connect tells when it is done, handle_error (then
 * handle_close) that it failed.  A connect that succeeds at once (AF_UNIX)
 * calls handle_connect before it returns.
 *
 *   host, port   as asyncore_getaddrinfo(), whose first answer for the
 *                socket's family is taken
 *
 * Return 0, or
 *   -EISCONN, -EALREADY   it is connected, or under way
 *   -ECONNREFUSED, -ENETUNREACH, -EBUSY (AF_UNIX: the backlog is full), …
 *       failed at once: no handler was called, the channel is out of its map;
 *       close it, or close it and create a new socket
 *   what handle_connect returned, if it was called
 * Python: dispatcher.connect. */
ASYNCORE_API int asyncore_connect(struct asyncore_dispatcher *d,
                                  const char *host, int port);
ASYNCORE_API int asyncore_connect_addr(struct asyncore_dispatcher *d,
                                       const struct sockaddr *sa,
                                       socklen_t len);

/* Send bytes, through the channel's class.
 *
 *   data   len bytes; may be NULL if len is 0
 *
 * A dispatcher sends what the kernel takes at once.  A dispatcher_with_send
 * or asynchat takes all: see asyncore_dispatcher_with_send_send().
 *
 * Returns the bytes taken, or
 *   0         (len > 0) the connection has ended; handle_close has been told
 *   -EAGAIN   would block: nothing taken
 *   another errno
 * Python: dispatcher.send. */
ASYNCORE_API ssize_t asyncore_send(struct asyncore_dispatcher *d,
                                   const void *data, size_t len);

/* Receive bytes, through the channel's class.
 *
 *   buf   room for len bytes, len > 0
 *
 * Returns the bytes received, or
 *   0         the stream has ended, handle_close (or handle_eof) has been
 *             told; for a datagram socket: an empty datagram
 *   -EAGAIN   would block
 *   another errno
 * Python: dispatcher.recv. */
ASYNCORE_API ssize_t asyncore_recv(struct asyncore_dispatcher *d, void *buf,
                                   size_t len);

/* Send a datagram to, or receive one from, an address.
 *
 *   to         NULL or len 0 = the connected peer, as asyncore_send()
 *   ret_from   the sender; may be NULL
 *
 * Return as asyncore_dispatcher_send() and asyncore_dispatcher_recv().
 * Python: dispatcher.socket.sendto, recvfrom. */
ASYNCORE_API ssize_t asyncore_sendto(struct asyncore_dispatcher *d,
                                     const void *data, size_t len,
                                     const struct asyncore_addr *to);
ASYNCORE_API ssize_t asyncore_recvfrom(struct asyncore_dispatcher *d,
                                       void *buf, size_t len,
                                       struct asyncore_addr *ret_from);

/* Send and receive one urgent byte (or more: only the last is urgent).  They
 * pass by the output queue.  recv_oob returns -EINVAL if there is none.
 * Python: dispatcher.socket.send(data, MSG_OOB), recv(n, MSG_OOB). */
ASYNCORE_API ssize_t asyncore_send_oob(struct asyncore_dispatcher *d,
                                       const void *data, size_t len);
ASYNCORE_API ssize_t asyncore_recv_oob(struct asyncore_dispatcher *d,
                                       void *buf, size_t len);

/* Close a channel: its descriptor is closed and out of the map, and no
 * handler of it runs again, whatever was ready.  Legal anywhere, any number
 * of times.  What follows is `destroy`, exactly once, when no function of the
 * library is using the channel (see struct asyncore_ops), unless the channel
 * gets a new socket before (a reconnect in handle_close).
 *
 * Returns 0, or what close(2) says; it is closed all the same.
 * Python: dispatcher.close. */
ASYNCORE_API int asyncore_close(struct asyncore_dispatcher *d);

/* Close in order: when all that is queued has been sent, the sending side is
 * shut down; when the peer has ended its side too, or after the time of
 * asyncore_set_linger(), handle_close is called.  So no byte that was taken
 * for sending is lost, and the peer sees the end of the stream, not a reset.
 * Nothing more is taken for sending, and what comes in is thrown away.
 *
 * If the peer has ended its side already, for datagrams and files, and with a
 * linger of 0, handle_close is called as soon as all is sent, which may be at
 * once.  Called in handle_close, the channel is closed then.
 *
 * A peer that does not read holds the sending up for as long as it likes: let
 * asyncore_set_timeout() end that.  From the linger on, its time is over.
 *
 * Returns 0, -EBADF, or ASYNCORE_EXIT_NOW from a handle_close that it called.
 * Python: async_chat.close_when_done. */
ASYNCORE_API int asyncore_close_when_done(struct asyncore_dispatcher *d);

/* How long asyncore_close_when_done() waits, when all is sent, for the peer
 * to end its side, so that nothing that is on its way is cut off.
 *
 *   seconds   >= 0, rounded up to hundredths; 2 if never set; from 655.35 on,
 *             for ever
 *
 * Returns 0 or -EINVAL. */
ASYNCORE_API int asyncore_set_linger(struct asyncore_dispatcher *d,
                                     double seconds);

/* Shut down the sending side, once what is queued has been sent; the peer
 * sees the end of the stream.  When the peer has ended its side too,
 * handle_close is told.
 *
 * Returns 0, -EBADF, -ENOTCONN, -ENOTSOCK: a file, which has no sides (use
 * asyncore_close_when_done()); or what shutdown(2) says. */
ASYNCORE_API int asyncore_shutdown(struct asyncore_dispatcher *d);

/* Give the descriptor away: the channel is closed as by asyncore_close(), but
 * the descriptor lives on and is the caller's.  Queued output is dropped; so
 * is what the io_uring backend has received in advance, unless the class is
 * one of ASYNCORE_DIRECT_IO: read until -EAGAIN before.
 *
 * Returns the descriptor or -EBADF. */
ASYNCORE_API int asyncore_detach(struct asyncore_dispatcher *d);

/* Say that a predicate's answer may have changed (ASYNCORE_ASK_ON_TOUCH).
 * Returns 0 or -EBADF. */
ASYNCORE_API int asyncore_touch(struct asyncore_dispatcher *d);

/* Call handle_timeout whenever the channel had no event for this long: nothing
 * was ready, so nothing came in (sending that the kernel takes at once is no
 * event).  A connect that does not end is included.  It comes again and again
 * until the channel is closed.
 *
 *   seconds   > 0, or 0 or ASYNCORE_FOREVER = no timeout
 *
 * Returns 0, -EBADF, -ENOENT: it is in no map, -EINVAL, -ENOMEM. */
ASYNCORE_API int asyncore_set_timeout(struct asyncore_dispatcher *d,
                                      double seconds);

/* The peer's address (or, for a listener, its own), kept when the channel is
 * closed: Python's `addr`.  And what the kernel says of a socket's own end.
 *
 * Return 0, -ENOTCONN: none is known; -EBADF. */
ASYNCORE_API int asyncore_getaddr(const struct asyncore_dispatcher *d,
                                  struct asyncore_addr *ret);
ASYNCORE_API int asyncore_getsockname(const struct asyncore_dispatcher *d,
                                      struct asyncore_addr *ret);

/* What the predicates say: the channel's own, or the library's knowledge.
 * Python: dispatcher.readable, writable. */
ASYNCORE_API bool asyncore_readable(struct asyncore_dispatcher *d);
ASYNCORE_API bool asyncore_writable(struct asyncore_dispatcher *d);

/* Write "<NAME STATUS ADDR at 0xADDRESS>", as much as fits; returns buf.
 * Python: dispatcher.__repr__. */
ASYNCORE_API char *asyncore_repr(const struct asyncore_dispatcher *d,
                                 char *buf, size_t size);

/* Log "log: MESSAGE".  Python: dispatcher.log. */
ASYNCORE_API void asyncore_log(struct asyncore_dispatcher *d,
                               const char *message);
/* Log a line through the channel's log_info, unless its type is among
 * d->ignore_log_types.  Lines are cut at 512 bytes.  Python:
 * dispatcher.log_info. */
ASYNCORE_API void asyncore_log_info(struct asyncore_dispatcher *d,
                                    enum asyncore_log_type type,
                                    const char *fmt, ...)
    ASYNCORE_PRINTF(3, 4);

/* Deliver events to a channel by hand: what the loop does with what is ready.
 * An error goes to handle_error.
 *
 *   flags   of <poll.h>: POLLIN, POLLOUT, POLLPRI, POLLHUP, POLLERR, POLLNVAL;
 * they come in this order, and none once the channel is closed
 *
 * Return 0, ASYNCORE_EXIT_NOW, -EBADF or -EINVAL.
 * Python: asyncore.read, write, _exception, readwrite. */
ASYNCORE_API int asyncore_read(struct asyncore_dispatcher *d);
ASYNCORE_API int asyncore_write(struct asyncore_dispatcher *d);
ASYNCORE_API int asyncore_exception(struct asyncore_dispatcher *d);
ASYNCORE_API int asyncore_readwrite(struct asyncore_dispatcher *d, int flags);

/* The handlers of class dispatcher, for super calls from your own. */
ASYNCORE_API bool asyncore_dispatcher_readable(struct asyncore_dispatcher *d);
ASYNCORE_API bool asyncore_dispatcher_writable(struct asyncore_dispatcher *d);
ASYNCORE_API int asyncore_dispatcher_handle_read(struct asyncore_dispatcher *);
ASYNCORE_API int
asyncore_dispatcher_handle_write(struct asyncore_dispatcher *d);
ASYNCORE_API int asyncore_dispatcher_handle_expt(struct asyncore_dispatcher *);
ASYNCORE_API int
asyncore_dispatcher_handle_connect(struct asyncore_dispatcher *d);
ASYNCORE_API int
asyncore_dispatcher_handle_accept(struct asyncore_dispatcher *d);
ASYNCORE_API int
asyncore_dispatcher_handle_accepted(struct asyncore_dispatcher *d, int fd,
                                    const struct asyncore_addr *addr);
ASYNCORE_API int
asyncore_dispatcher_handle_close(struct asyncore_dispatcher *d);
ASYNCORE_API int
asyncore_dispatcher_handle_error(struct asyncore_dispatcher *d,
                                 const struct asyncore_error *err);
ASYNCORE_API int
asyncore_dispatcher_handle_timeout(struct asyncore_dispatcher *d);
ASYNCORE_API int
asyncore_dispatcher_handle_read_event(struct asyncore_dispatcher *d);
ASYNCORE_API int
asyncore_dispatcher_handle_write_event(struct asyncore_dispatcher *d);
ASYNCORE_API int
asyncore_dispatcher_handle_expt_event(struct asyncore_dispatcher *d);
ASYNCORE_API int
asyncore_dispatcher_handle_connect_event(struct asyncore_dispatcher *d);
ASYNCORE_API ssize_t asyncore_dispatcher_send(struct asyncore_dispatcher *d,
                                              const void *data, size_t len);
ASYNCORE_API ssize_t asyncore_dispatcher_recv(struct asyncore_dispatcher *d,
                                              void *buf, size_t len);
ASYNCORE_API void asyncore_dispatcher_log_info(struct asyncore_dispatcher *d,
                                               const char *message,
                                               enum asyncore_log_type type);

/* ---- dispatcher_with_send ---------------------------------------------- */

/* How much output a channel may hold, in bytes.  A class with a readable() of
 * its own decides there when not to read (asyncore_output_size()), and is told
 * by handle_drain; a proxy, for one, where the output comes from elsewhere. */
struct asyncore_limits {
    size_t high; /* above it the channel is not read from … */
    size_t low;  /* … until the queue is down to this; then handle_drain */
    size_t max;  /* a send that would go beyond fails with -ENOBUFS */
};

/* The limits a channel starts with. */
#define ASYNCORE_HIGH_WATER ((size_t)64 * 1024)
#define ASYNCORE_LOW_WATER ((size_t)16 * 1024)
#define ASYNCORE_MAX_OUTPUT ((size_t)16 * 1024 * 1024)

/* private: bytes waiting to be sent, and how many may be */
struct asyncore__outq {
    struct asyncore__piece *head, *tail;
    size_t len;
};
struct asyncore__output {
    struct asyncore__outq queue;
    const struct asyncore_limits *limits;
};

/* A channel with an output queue: what the kernel does not take at once is
 * kept and sent when it can be.  Python: asyncore.dispatcher_with_send. */
struct asyncore_dispatcher_with_send {
    struct asyncore_dispatcher base;
};

/* As asyncore_dispatcher_init() and asyncore_dispatcher_new(). */
ASYNCORE_API int
asyncore_dispatcher_with_send_init(struct asyncore_dispatcher_with_send *s,
                                   const struct asyncore_ops *ops, int fd,
                                   struct asyncore_map *map);
ASYNCORE_API int
asyncore_dispatcher_with_send_new(const struct asyncore_ops *ops, int fd,
                                  struct asyncore_map *map,
                                  struct asyncore_dispatcher_with_send **ret);

/* The channel as a dispatcher_with_send, or NULL if it is none.
 * Python: isinstance(). */
ASYNCORE_API struct asyncore_dispatcher_with_send *
asyncore_dispatcher_with_send_from(struct asyncore_dispatcher *d);

/* Send bytes: at once where nothing is queued, the rest when the kernel takes
 * it.  Before the connection stands, they are kept.  The bytes are copied.
 *
 * Returns len (all taken), or
 *   0          (len > 0) the connection has ended; handle_close has been told
 *   -ENOBUFS   the queue would be longer than limits.max; nothing taken
 *   -EPIPE     after asyncore_shutdown() or asyncore_close_when_done()
 *   -ENOMEM    nothing taken; or, where a part had gone out already, the
 *              channel has been closed after handle_error, for the stream
 *              can't be mended
 *   another errno from the kernel
 * Python: dispatcher_with_send.send. */
ASYNCORE_API ssize_t asyncore_dispatcher_with_send_send(
    struct asyncore_dispatcher *d, const void *data, size_t len);

/* Send what is queued, as far as the kernel takes it, in one writev().
 * Returns 0 or an errno as asyncore_send().  Python:
 * dispatcher_with_send.initiate_send, handle_write. */
ASYNCORE_API int
asyncore_initiate_send(struct asyncore_dispatcher_with_send *s);

/* The handle_write and writable of the class, for super calls. */
ASYNCORE_API int
asyncore_dispatcher_with_send_handle_write(struct asyncore_dispatcher *d);
ASYNCORE_API bool
asyncore_dispatcher_with_send_writable(struct asyncore_dispatcher *d);

/* Bytes queued, without what producers and files have yet to give; nor do the
 * limits see those.  Python: len(out_buffer). */
ASYNCORE_API size_t asyncore_output_size(const struct asyncore_dispatcher *d);

/* Set the limits; NULL = those it started with.
 *
 *   limits   low <= high <= max; must outlive the channel (make it static
 *            const)
 *
 * Returns 0, -EINVAL: not such a channel, or not in that order, or -ENOMEM. */
ASYNCORE_API int asyncore_set_limits(struct asyncore_dispatcher *d,
                                     const struct asyncore_limits *limits);

/* ---- files ------------------------------------------------------------- */

/* A descriptor of any kind that behaves like a socket; owns a dup() of what
 * it was given.  Python: asyncore.file_wrapper. */
struct asyncore_file_wrapper {
    int fd; /* -1 = closed */
};

/* dup() fd.  Returns 0 or -EBADF, -EMFILE. */
ASYNCORE_API int asyncore_file_wrapper_init(struct asyncore_file_wrapper *file,
                                            int fd);
/* read(2) and write(2); the original calls them recv/read and send/write. */
ASYNCORE_API ssize_t asyncore_file_wrapper_recv(
    struct asyncore_file_wrapper *file, void *buf, size_t len);
ASYNCORE_API ssize_t asyncore_file_wrapper_send(
    struct asyncore_file_wrapper *file, const void *data, size_t len);
/* 0 for (SOL_SOCKET, SO_ERROR), -ENOTSUP for anything else. */
ASYNCORE_API int
asyncore_file_wrapper_getsockopt(const struct asyncore_file_wrapper *file,
                                 int level, int optname);
/* Close it; closed it stays, also if close(2) fails.  Again: nothing. */
ASYNCORE_API int
asyncore_file_wrapper_close(struct asyncore_file_wrapper *file);
/* The descriptor, -1 when closed. */
ASYNCORE_API int
asyncore_file_wrapper_fileno(const struct asyncore_file_wrapper *file);

/* A channel over a pipe, a tty, stdin, or a regular file (which is always
 * ready).  Python: asyncore.file_dispatcher. */
struct asyncore_file_dispatcher {
    struct asyncore_dispatcher base;
};

/* As asyncore_dispatcher_init(), for any descriptor that can be read or
 * written.  fd stays the caller's: the channel has a dup() of it.  Both are
 * the same open file, so the caller's becomes non-blocking too. */
ASYNCORE_API int
asyncore_file_dispatcher_init(struct asyncore_file_dispatcher *f,
                              const struct asyncore_ops *ops, int fd,
                              struct asyncore_map *map);
ASYNCORE_API int
asyncore_file_dispatcher_new(const struct asyncore_ops *ops, int fd,
                             struct asyncore_map *map,
                             struct asyncore_file_dispatcher **ret);

/* Give a channel of any class, that has no descriptor, a file: so that a
 * dispatcher_with_send can queue output for a pipe.  As
 * asyncore_file_dispatcher_init().  Python: file_dispatcher.set_file. */
ASYNCORE_API int asyncore_set_file(struct asyncore_dispatcher *d, int fd);

#ifdef __cplusplus
}
#endif

#endif
