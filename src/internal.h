/* SPDX-License-Identifier: MIT */
/* internal.h - what the files of the library share, and nothing else.
 *
 * A section a file, from those that know nobody to the classes;
 * ARCHITECTURE.md has the picture.
 */
#ifndef ASYNCORE_INTERNAL_H
#define ASYNCORE_INTERNAL_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/uio.h>

#include "asyncore.h"

/* For what seldom runs: kept out of the way of what often does. */
#if defined(__GNUC__)
#define ASYNCORE__COLD __attribute__((cold, noinline))
/* Have it in the cache soon. */
#define ASYNCORE__PREFETCH(at) __builtin_prefetch(at)
#else
#define ASYNCORE__COLD
#define ASYNCORE__PREFETCH(at) ((void)(at))
#endif

/* ---- alloc.c: the allocator hook --------------------------------------- */

void *asyncore__realloc(void *ptr, size_t size);
void *asyncore__calloc(size_t size); /* one object, zeroed */
void asyncore__free(void *ptr);

/* Make room for n elements of `size` bytes in *array, whose capacity is *cap;
 * grows by doubling, new elements are zero.  Returns 0 or -ENOMEM. */
int asyncore__reserve(void *array, size_t *cap, size_t n, size_t size);
/* The same, but that new elements are not written to, nor is their memory
 * touched. */
int asyncore__reserve_raw(void *array, size_t *cap, size_t n, size_t size);

/* ---- log.c ------------------------------------------------------------- */

/* Log a line that no channel can filter. */
void asyncore__log(enum asyncore_log_type type, struct asyncore_dispatcher *d,
                   const char *fmt, ...) ASYNCORE_PRINTF(3, 4);

/* ---- timer.c: a heap of calls, by time --------------------------------- */

struct asyncore__timer {
    asyncore_call_fn *fn;
    void *arg;
    uint32_t generation; /* + 1 whenever the slot is freed */
    uint32_t at;         /* place in the heap, or the next free slot */
};

struct asyncore__deadline {
    int64_t when;
    uint64_t order; /* of adding: equal times keep it */
    uint32_t slot;
};

struct asyncore__timers {
    struct asyncore__deadline *heap;
    struct asyncore__timer *slots;
    size_t len, heap_cap;    /* of the heap */
    size_t nslots, slot_cap; /* used so far, free ones included */
    uint32_t free;           /* a free slot + 1, or 0 */
    uint64_t added;
};

int64_t asyncore__timers_add(struct asyncore__timers *t, int64_t when,
                             asyncore_call_fn *fn, void *arg);
int asyncore__timers_cancel(struct asyncore__timers *t, int64_t id);
/* When the first is due, or INT64_MAX. */
int64_t asyncore__timers_next(const struct asyncore__timers *t);
/* Take the first one that is due at `now` and was added before the
 * before-th.  Returns false if there is none. */
bool asyncore__timers_pop(struct asyncore__timers *t, int64_t now,
                          uint64_t before, asyncore_call_fn **ret_fn,
                          void **ret_arg);
void asyncore__timers_fini(struct asyncore__timers *t);

/* ---- outq.c: what waits to be sent ------------------------------------- */

enum asyncore__piece_kind {
    ASYNCORE__COPY,     /* bytes of ours */
    ASYNCORE__BORROWED, /* bytes of somebody's who is told when they're sent */
    ASYNCORE__SOURCE    /* it is asked for bytes, or sends them by itself */
};

/* A piece of the queue.  A source has the bytes that it has given and that
 * are not sent yet; it stays when they are. */
struct asyncore__piece {
    struct asyncore__piece *next;
    enum asyncore__piece_kind kind;
    const char *bytes;
    size_t start, end, cap; /* bytes[start .. end) of cap wait */
    const struct asyncore__source_ops *source;
    void (*release)(void *data, size_t len, void *arg);
    void *arg;
    bool busy, dropped; /* is being asked; and was dropped meanwhile */
    char data[];
};

/* Pieces of copies that are not in use; kept by a map, for all its queues. */
struct asyncore__spares {
    struct asyncore__piece *first;
    unsigned n;
};

void asyncore__spares_free(struct asyncore__spares *spares);

/* The len bytes in the queue do not count those of sources. */
static inline bool
asyncore__outq_empty(const struct asyncore__outq *q)
{
    return q->head == NULL;
}

/* memcpy(); what stands between messages is so short that the call would cost
 * more. */
static inline void
asyncore__copy(char *to, const char *from, size_t len)
{
    if (len > 3) {
        memcpy(to, from, len);
    }
    else if (len > 0) {
        to[0] = from[0];
        to[len / 2] = from[len / 2];
        to[len - 1] = from[len - 1];
    }
}

/* Append copies of n pieces if they find room in the last piece, and the queue
 * is then no longer than `most`.  Returns whether they did. */
static inline bool
asyncore__outq_add(struct asyncore__outq *q, size_t most,
                   const struct iovec *iov, int n)
{
    struct asyncore__piece *piece = q->tail;
    if (piece == NULL || piece->kind != ASYNCORE__COPY || q->len > most) {
        return false;
    }
    size_t room = piece->cap - piece->end;
    char *begin = piece->data + piece->end, *to = begin;
    room = room < most - q->len ? room : most - q->len;
    for (; n > 0; iov++, n--) {
        size_t len = iov->iov_len;
        if (len > room || (len > 0 && iov->iov_base == NULL)) {
            return false;
        }
        asyncore__copy(to, iov->iov_base, len);
        to += len;
        room -= len;
    }
    piece->end += (size_t)(to - begin);
    q->len += (size_t)(to - begin);
    return true;
}

/* Append a copy.  Where the spares (or NULL) do, no memory is allocated.
 * Returns 0, or -ENOMEM with nothing appended. */
int asyncore__outq_append(struct asyncore__outq *q,
                          struct asyncore__spares *spares, const void *data,
                          size_t len);
/* The same for n pieces of len bytes in all. */
int asyncore__outq_appendv(struct asyncore__outq *q,
                           struct asyncore__spares *spares,
                           const struct iovec *iov, int n, size_t len);
/* Put a copy to the front.  Returns 0 or -ENOMEM. */
int asyncore__outq_prepend(struct asyncore__outq *q,
                           struct asyncore__spares *spares, const void *data,
                           size_t len);
/* Append the bytes themselves; release (or NULL) is called when they have been
 * consumed or cleared. */
int asyncore__outq_borrow(struct asyncore__outq *q, void *data, size_t len,
                          void (*release)(void *data, size_t len, void *arg),
                          void *arg);
/* Append a source; its release(NULL, 0, arg) is called when it is popped or
 * cleared. */
int asyncore__outq_add_source(struct asyncore__outq *q,
                              const struct asyncore__source_ops *source,
                              void (*release)(void *, size_t, void *),
                              void *arg);
/* Describe the front of the queue, up to a source that has no bytes; returns
 * how many of max were written. */
int asyncore__outq_peek(const struct asyncore__outq *q, struct iovec *iov,
                        int max);
/* Drop n bytes, that peek described, from the front; pieces may become
 * spare. */
void asyncore__outq_consume(struct asyncore__outq *q,
                            struct asyncore__spares *spares, size_t n);
/* The same where one piece of copies is all there is, and all is sent. */
void asyncore__outq_consume_only(struct asyncore__outq *q,
                                 struct asyncore__spares *spares);
/* Drop a source.  It was the first when it was asked; what was prepended
 * meanwhile stays. */
void asyncore__outq_pop(struct asyncore__outq *q,
                        struct asyncore__piece *piece);
/* Keep the first piece, a source, while it is asked; returns it. */
struct asyncore__piece *asyncore__outq_hold(struct asyncore__outq *q);
/* Returns false if it was dropped meanwhile, and is gone now. */
bool asyncore__outq_unhold(struct asyncore__piece *piece);
void asyncore__outq_clear(struct asyncore__outq *q);

/* ---- world.c: the one door to the operating system --------------------- */

/* Every system call, the clock and the waiting, as a table: the kernel is one
 * implementation, tests wrap it, a simulator replaces it.  A world with state
 * embeds the table first.  All return >= 0 or a negated errno, sockets come
 * out non-blocking and close-on-exec, sends raise no SIGPIPE, times are
 * nanoseconds, a timeout of -1 waits for ever. */
struct asyncore__world {
    /* sockets */
    int (*socket)(struct asyncore__world *w, int family, int type);
    int (*bind)(struct asyncore__world *w, int fd, const struct sockaddr *sa,
                socklen_t len);
    int (*listen)(struct asyncore__world *w, int fd, int backlog);
    int (*accept)(struct asyncore__world *w, int fd,
                  struct asyncore_addr *ret);
    int (*connect)(struct asyncore__world *w, int fd,
                   const struct sockaddr *sa, socklen_t len);
    int (*shutdown)(struct asyncore__world *w, int fd, int how);
    int (*getsockopt)(struct asyncore__world *w, int fd, int level, int name,
                      int *ret);
    int (*setsockopt)(struct asyncore__world *w, int fd, int level, int name,
                      int value);
    int (*getsockname)(struct asyncore__world *w, int fd,
                       struct asyncore_addr *ret);
    int (*getpeername)(struct asyncore__world *w, int fd,
                       struct asyncore_addr *ret);
    ssize_t (*recv)(struct asyncore__world *w, int fd, void *buf, size_t len,
                    int flags);
    ssize_t (*recvfrom)(struct asyncore__world *w, int fd, void *buf,
                        size_t len, struct asyncore_addr *ret);
    ssize_t (*send)(struct asyncore__world *w, int fd, const void *data,
                    size_t len, int flags);
    ssize_t (*sendto)(struct asyncore__world *w, int fd, const void *data,
                      size_t len, const struct asyncore_addr *to);
    ssize_t (*sendv)(struct asyncore__world *w, int fd,
                     const struct iovec *iov, int n);
    /* descriptors of any kind */
    ssize_t (*read)(struct asyncore__world *w, int fd, void *buf, size_t len);
    ssize_t (*writev)(struct asyncore__world *w, int fd,
                      const struct iovec *iov, int n);
    ssize_t (*pread)(struct asyncore__world *w, int fd, void *buf, size_t len,
                     off_t offset);
    /* To a socket from a regular file; -ENOSYS where there is none. */
    ssize_t (*sendfile)(struct asyncore__world *w, int to, int from,
                        off_t offset, size_t len);
    int (*dup)(struct asyncore__world *w, int fd);
    int (*set_nonblocking)(struct asyncore__world *w, int fd);
    int (*close)(struct asyncore__world *w, int fd);
    int (*open_reserve)(struct asyncore__world *w); /* any descriptor */
    /* names */
    int (*resolve)(struct asyncore__world *w, int family, int type,
                   const char *host, int port, struct asyncore_addr *ret,
                   size_t max);
    /* the clock, monotonic */
    int64_t (*now)(struct asyncore__world *w);
    /* waiting */
    int (*select)(struct asyncore__world *w, int nfds, void *r, void *wr,
                  void *x, int64_t timeout);
    int (*poll)(struct asyncore__world *w, void *pollfds, size_t n,
                int64_t timeout);
    int (*epoll_create)(struct asyncore__world *w);
    int (*epoll_ctl)(struct asyncore__world *w, int epfd, int op, int fd,
                     uint32_t events, uint64_t data);
    int (*epoll_wait)(struct asyncore__world *w, int epfd, void *events,
                      int max, int64_t timeout);
    /* the wake-up: fd[0] is polled, fd[1] signalled; they may be one */
    int (*wake_open)(struct asyncore__world *w, int fd[2]);
    int (*wake_signal)(struct asyncore__world *w, int fd);
    int (*wake_drain)(struct asyncore__world *w, int fd);
    /* threads; signals are blocked in those that are started, but for faults
     */
    int (*cpus)(struct asyncore__world *w); /* that we may run on */
    int (*thread_start)(struct asyncore__world *w, pthread_t *ret,
                        void *(*run)(void *arg), void *arg);
    void (*thread_name)(struct asyncore__world *w, const char *name);
    /* The calling one stays on the nth of its CPUs, counted round. */
    int (*thread_pin)(struct asyncore__world *w, unsigned nth);
    /* As send and sendv, of a channel that has a queue for what does not go:
     * a backend may take the bytes and send them by the end of the pass. */
    ssize_t (*send_soon)(struct asyncore__world *w, int fd, const void *data,
                         size_t len);
    ssize_t (*sendv_soon)(struct asyncore__world *w, int fd,
                          const struct iovec *iov, int n);
    /* io_uring; NULL where it was not built.  submit hands over n entries and
     * sees what is done; wait then waits for a completion. */
    int (*uring_setup)(struct asyncore__world *w, unsigned entries,
                       void *params);
    int (*uring_register)(struct asyncore__world *w, int fd, unsigned op,
                          void *arg, unsigned n);
    int (*uring_submit)(struct asyncore__world *w, int fd, unsigned n);
    int (*uring_wait)(struct asyncore__world *w, int fd, unsigned n,
                      int64_t timeout);
    int (*uring_map)(struct asyncore__world *w, int fd, size_t size,
                     uint64_t offset, void **ret);
    void (*uring_unmap)(struct asyncore__world *w, void *at, size_t size);
    /* What this one stands on: calls that it does not answer itself go there.
     * Then it keeps no state beside the table, for a map may have a copy of it
     * that stands on another.  NULL = it is the kernel, or made up. */
    struct asyncore__world *below;
};

extern struct asyncore__world asyncore__kernel;
#if defined(ASYNCORE_IO_URING)
int asyncore__k_uring_setup(struct asyncore__world *w, unsigned entries,
                            void *params);
int asyncore__k_uring_register(struct asyncore__world *w, int fd, unsigned op,
                               void *arg, unsigned n);
int asyncore__k_uring_submit(struct asyncore__world *w, int fd, unsigned n);
int asyncore__k_uring_wait(struct asyncore__world *w, int fd, unsigned n,
                           int64_t timeout);
int asyncore__k_uring_map(struct asyncore__world *w, int fd, size_t size,
                          uint64_t offset, void **ret);
void asyncore__k_uring_unmap(struct asyncore__world *w, void *at, size_t size);
#endif
/* What maps are made with: the kernel, unless a test says otherwise. */
extern struct asyncore__world *asyncore__world_default;

/* getenv(), or NULL in a setuid program. */
const char *asyncore__getenv(const char *name);

/* ---- net.c: addresses, kinds of errors --------------------------------- */

/* Does this errno (negated) mean that the connection has ended? */
bool asyncore__disconnected(int code);
/* … that an accept() found no connection after all? */
bool asyncore__accept_again(int code);
/* … that it found no resources? */
bool asyncore__exhausted(int code);
/* Fill in a unix address from a path or "@name". */
int asyncore__addr_unix(struct asyncore_addr *ret, const char *path);

/* ---- the state of a channel -------------------------------------------- */

/* Bits of asyncore_dispatcher.asyncore__flags. */
enum {
    ASYNCORE__OWNED = 1 << 0,     /* memory from asyncore_*_new() */
    ASYNCORE__STREAM = 1 << 1,    /* a recv of 0 is the end */
    ASYNCORE__TOUCHED = 1 << 2,   /* on map->touched */
    ASYNCORE__CLOSED = 1 << 3,    /* closed, not yet destroyed */
    ASYNCORE__TOLD = 1 << 4,      /* handle_close has been called */
    ASYNCORE__EOF = 1 << 5,       /* the peer has ended its side */
    ASYNCORE__SHUT = 1 << 6,      /* we are to end ours when all is sent */
    ASYNCORE__SHUT_DONE = 1 << 7, /* … have ended it */
    ASYNCORE__PAUSED = 1 << 8,    /* too much output queued to read on */
    ASYNCORE__RESTING = 1 << 9,   /* a listener without descriptors */
    ASYNCORE__SERVED = 1 << 10,   /* did I/O during this event */
    ASYNCORE__ASK_R = 1 << 11,    /* what the predicates said last */
    ASYNCORE__ASK_W = 1 << 12,
    ASYNCORE__IN_MAP = 1 << 13,
    ASYNCORE__LOST = 1 << 14,      /* its connect() failed: to be closed */
    ASYNCORE__BLOCKED = 1 << 15,   /* output waits for a write event */
    ASYNCORE__LINGERING = 1 << 16, /* all is sent, the peer is yet to end */
    ASYNCORE__DRAINED = 1 << 17,   /* handle_drain is to be told */
    ASYNCORE__REFUSED = 1 << 19,   /* by the backend */
    ASYNCORE__CHANGED = 1 << 20,   /* touched for its interest */
    ASYNCORE__DESTROYED = 1 << 18, /* `destroy` has been called */
    ASYNCORE__PLAIN = 1 << 21,     /* nothing unusual: see interest.c */
    ASYNCORE__TCP = 1 << 22,       /* a stream that is for certain TCP's */
    ASYNCORE__UNSETTLED = 1
                          << 23, /* of its last event, something may be left */
    ASYNCORE__UNSENT = 1 << 24,  /* what it sent was lost: see output.c */
    ASYNCORE__TIMED = 1 << 25    /* it has an idle timeout: see clock.c */
};

/* asyncore_dispatcher.asyncore__family: what the `addr` is. */
enum {
    ASYNCORE__ADDR_NONE,
    ASYNCORE__ADDR_IN,
    ASYNCORE__ADDR_IN6,
    ASYNCORE__ADDR_OTHER /* on the heap */
};

static inline bool
asyncore__has(const struct asyncore_dispatcher *d, unsigned flag)
{
    return (d->asyncore__flags & flag) != 0;
}

static inline void
asyncore__set(struct asyncore_dispatcher *d, unsigned flags)
{
    d->asyncore__flags |= flags;
}

static inline void
asyncore__unset(struct asyncore_dispatcher *d, unsigned flags)
{
    d->asyncore__flags &= ~flags;
}

static inline bool
asyncore__in_map(const struct asyncore_dispatcher *d)
{
    return asyncore__has(d, ASYNCORE__IN_MAP);
}

/* ---- map.c: the set of channels ---------------------------------------- */

/* What a channel can wait for, and what a backend can report. */
enum {
    ASYNCORE__READ = 1, /* these three as poll() and epoll have them */
    ASYNCORE__PRI = 2,
    ASYNCORE__WRITE = 4,
    ASYNCORE__HUP = 8,   /* reported only: hang-up or error */
    ASYNCORE__NVAL = 16, /* reported only: the descriptor is not open */
    ASYNCORE__ERR = 32   /* reported only, with HUP: it is an error */
};

/* What the map knows of a descriptor. */
struct asyncore__slot {
    struct asyncore_dispatcher *d; /* NULL = none (or the wake-up) */
    uint32_t scratch;              /* the backend's own */
    uint32_t generation : 24;      /* + 1 whenever the channel here changes */
    uint32_t armed : 5;            /* the interest the backend has been told */
    uint32_t always : 1;           /* the backend refused it: a regular file */
};

/* Channels in the order of their adding, with holes where one has gone;
 * each knows its place, in the member at index_offset. */
struct asyncore__order {
    struct asyncore_dispatcher **at;
    size_t len, cap, live, index_offset;
};

/* An event: who, which life of his, what. */
struct asyncore__ready {
    int fd;
    uint32_t generation;
    uint32_t pos; /* in map order */
    uint32_t mask;
};

/* sort.c: into map order.  spare has room for n, or is NULL: slower then. */
void asyncore__sort(struct asyncore__ready *ready, size_t n,
                    struct asyncore__ready *spare);

struct asyncore_map {
    struct asyncore__world *world;
    const struct asyncore__backend *backend;
    void *state;                   /* the backend's */
    struct asyncore__uring *uring; /* what was received in advance, or NULL */
    struct asyncore__slot *slots;
    size_t nslots;
    struct asyncore__order all;   /* every channel */
    struct asyncore__order asked; /* those whose predicates are asked */
    struct asyncore_dispatcher *touched, **touched_end; /* interest.c */
    size_t ntouched;
    size_t closed; /* of those: closed, to be destroyed */
    bool refused;  /* there are channels that could not be watched */
    size_t open;   /* channels with a descriptor, in `all` or set aside */
    int *always;   /* slots with .always */
    size_t nalways, always_cap;
    struct asyncore__ready *ready; /* a stack: nested passes go on top */
    size_t nready, ready_cap;
    size_t unsettled; /* … that are, at most: see backend_epoll.c */
    struct asyncore__timers timers;
    unsigned depth; /* passes and handlers running: nobody is destroyed */
    unsigned loops; /* asyncore_loop()s running */
    bool stopping;
    bool exiting;                 /* a handler returned ASYNCORE_EXIT_NOW */
    int64_t busy_ns;              /* of looking before each sleep; busy.c */
    unsigned forks;               /* map.c's count of forks when it was made */
    struct asyncore_error failed; /* the last failure; see deliver.c */
    bool failed_told;             /* … and handle_error knows */
    char *buffer;                 /* to receive into, if nobody has taken it */
    size_t buffer_size;
    struct asyncore__spares spares; /* of output queues */
    int reserve_fd; /* given up when there are no descriptors */
    bool starved;   /* … and the log has been told */
    size_t resting; /* listeners waiting for descriptors */
    int64_t rest_timer;
    /* the door for other threads; see calls.c */
    int wake_fd[2];
    atomic_bool woken;
    _Atomic(struct asyncore_call *) posted;   /* newest first */
    struct asyncore_call *calls, **calls_end; /* taken, oldest first */
};

/* NULL becomes the default map.  Returns 0 or why there is none. */
int asyncore__map(struct asyncore_map **map);
int asyncore__map_create(const char *backend, struct asyncore__world *world,
                         struct asyncore_map **ret);
/* -ECHILD in the child of a fork, else 0. */
int asyncore__map_check(const struct asyncore_map *map);
/* Put d, which has a descriptor, into the map. */
int asyncore__map_add(struct asyncore_map *map, struct asyncore_dispatcher *d);
/* Take it out, before its descriptor is closed; `closing`: that follows at
 * once. */
void asyncore__map_remove(struct asyncore_dispatcher *d, bool closing);
/* Tell the backend what a descriptor waits for now.  Cannot fail but with
 * what the backend says; a refusal is kept as `always`. */
int asyncore__arm(struct asyncore_map *map, int fd, unsigned mask);
/* Have NULL mean this map in the calling thread; NULL: none. */
void asyncore__map_set_default(struct asyncore_map *map);
/* Are there more holes than channels? */
static inline bool
asyncore__order_is_sparse(const struct asyncore__order *o)
{
    return o->len - o->live > o->len / 2;
}

/* Close up the holes.  Only while no pass is running. */
void asyncore__map_compact(struct asyncore_map *map);

/* ---- check.c: builds that check themselves --------------------------------
 */

#ifdef ASYNCORE_CHECKS
/* What must be true between two passes; aborts. */
void asyncore__check_map(const struct asyncore_map *map);
/* Overwrite a channel of ours that is about to be freed. */
void asyncore__make_dead(struct asyncore_dispatcher *d);
/* Abort, saying what was to be true. */
void asyncore__must(bool true_, const char *what);
#else
static inline void
asyncore__check_map(const struct asyncore_map *map)
{
    (void)map;
}

static inline void
asyncore__make_dead(struct asyncore_dispatcher *d)
{
    (void)d;
}

static inline void
asyncore__must(bool true_, const char *what)
{
    (void)true_;
    (void)what;
}
#endif

/* ---- backends ---------------------------------------------------------- */

/* One const table a backend.  They report, they never call user code, and
 * they reach the system through map->world only. */
struct asyncore__backend {
    const char *name;      /* also the value of ASYNCORE_BACKEND */
    int fd_limit;          /* serves descriptors below it; 0 = any */
    bool tells_hup;        /* reports ASYNCORE__HUP */
    bool may_lack;         /* init() may find that this kernel has it not */
    bool (*is_here)(void); /* … has it?  NULL = always */
    /* Make and release map->state. */
    int (*init)(struct asyncore_map *map);
    void (*fini)(struct asyncore_map *map);
    /* The interest in fd changes; the masks differ, 0 = not watched.
     * map->slots[fd] has the generation and .scratch.  -EPERM: the kernel
     * does not poll this kind of file; it counts as always ready. */
    int (*modify)(struct asyncore_map *map, int fd, unsigned from,
                  unsigned to);
    /* The descriptor of a socket, that was watched for `from`, is going to be
     * closed, and need not be taken out by modify(); NULL = it must be. */
    void (*forget)(struct asyncore_map *map, int fd, unsigned from);
    /* Wait, once, for at most timeout ns (-1: for ever); asyncore__report()
     * what is ready, all of it.  Returns 0 or a negated errno. */
    int (*wait)(struct asyncore_map *map, int64_t timeout);
    /* A descriptor that is readable when wait() would report; NULL = none. */
    int (*fileno)(struct asyncore_map *map);
};

extern const struct asyncore__backend asyncore__backend_io_uring;
extern const struct asyncore__backend asyncore__backend_epoll;
extern const struct asyncore__backend asyncore__backend_poll;
extern const struct asyncore__backend asyncore__backend_select;

/* backend.c: the choice.  NULL = the environment's or the best. */
int asyncore__backend_find(const char *name,
                           const struct asyncore__backend **ret);
/* Best first, ends in NULL. */
extern const struct asyncore__backend *const asyncore__backends[];

/* Where asyncore__report() has no room, or nobody to report: the wake-up, or
 * an event of a life that has passed, which is dropped. */
ASYNCORE__COLD int asyncore__report_other(struct asyncore_map *map, int fd,
                                          uint32_t generation, unsigned mask);

/* What asyncore__report() does, for a channel that is there, if there is room
 * in map->ready. */
static inline void
asyncore__note(struct asyncore_map *map, const struct asyncore__slot *slot,
               int fd, unsigned mask)
{
    map->ready[map->nready++] = (struct asyncore__ready){
        fd, slot->generation, slot->d->asyncore__pos, mask};
}

/* Called by wait() for each ready descriptor.  Returns 0, or -ENOMEM: it will
 * be reported again. */
static inline int
asyncore__report(struct asyncore_map *map, int fd, uint32_t generation,
                 unsigned mask)
{
    const struct asyncore__slot *slot = &map->slots[fd];
    bool known = slot->d != NULL && slot->generation == generation;
    if (!known || map->nready == map->ready_cap) {
        return asyncore__report_other(map, fd, generation, mask);
    }
    asyncore__note(map, slot, fd, mask);
    return 0;
}

/* ---- uring_*.c: sockets that are received from in advance --------------- */

/* Each but the first only of a map that has a map->uring; where io_uring was
 * not built none has. */
#if defined(ASYNCORE_IO_URING)
#define ASYNCORE__URING(map) ((map)->uring != NULL)
#else
#define ASYNCORE__URING(map) false
#endif

/* Are unix sockets received from in advance, too?  For tests; backend.c. */
extern bool asyncore__uring_takes_unix;

/* Is there a channel that would find what it waits for? */
bool asyncore__uring_ready(const struct asyncore_map *map);
/* Report those, where another backend serves the map by now. */
int asyncore__uring_report_left(struct asyncore_map *map);
/* No wait follows: all that was to be sent leaves. */
int asyncore__uring_finish(struct asyncore_map *map);
/* The wait is somebody else's. */
int asyncore__uring_prepare(struct asyncore_map *map);
/* Send what is staged of a descriptor.  -EAGAIN: some of it is in its
 * channel's queue. */
int asyncore__uring_settle(struct asyncore_map *map, int fd);
/* The descriptor is leaving the library. */
void asyncore__uring_forget(struct asyncore_map *map, int fd);
/* … this map, for another. */
int asyncore__uring_move(struct asyncore_map *from, struct asyncore_map *to,
                         int fd);
void asyncore__uring_free(struct asyncore_map *map);

/* ---- interest.c: who waits for what ------------------------------------ */

/* Have the channel's interest looked at before the next wait. */
void asyncore__touch(struct asyncore_dispatcher *d);
/* Have its output sent before the next wait. */
void asyncore__touch_output(struct asyncore_dispatcher *d);
/* Forget that, for a channel that moves to another map. */
void asyncore__untouch(struct asyncore_dispatcher *d);
/* Have it destroyed by the next sweep, unless it is opened again. */
void asyncore__bury(struct asyncore_dispatcher *d);
void asyncore__unbury(struct asyncore_dispatcher *d);
/* Does it deserve the mark? */
bool asyncore__is_plain(const struct asyncore_dispatcher *d);
/* Does the class have predicates to be asked in every pass? */
bool asyncore__is_asked(const struct asyncore_dispatcher *d);
/* Phases of a pass: try again whom the backend has refused; … */
void asyncore__interest_retry(struct asyncore_map *map);
/* … ask the predicates; … */
int asyncore__interest_ask(struct asyncore_map *map);
/* … send what was queued; … */
int asyncore__interest_flush(struct asyncore_map *map);
/* … send it, and bring the backend up to date. */
int asyncore__interest_apply(struct asyncore_map *map);
/* Phase: destroy the closed. */
void asyncore__sweep(struct asyncore_map *map);

/* ---- busy.c: looking before sleeping ------------------------------------ */

/* Is it within the bounds of a budget? */
bool asyncore__busy_valid(long microseconds);
/* What ASYNCORE_BUSY_POLL says. */
void asyncore__busy_init(struct asyncore_map *map);
/* Look, without sleeping, until the budget is used up.  *timeout, the time to
 * wait, becomes what is left of it to sleep: 0 if there is something to do.
 * Returns 0 or the wait's error. */
int asyncore__busy_wait(struct asyncore_map *map, int64_t *timeout,
                        size_t first);

/* ---- deliver.c: events to handlers, errors to handle_error ------------- */

/* A life of a channel: from one socket to the closing of it; and of that, the
 * stay in a map (NULL: in none). */
struct asyncore__life {
    unsigned number;
    uint32_t generation;
    const struct asyncore_map *map;
};

static inline struct asyncore__life
asyncore__life(const struct asyncore_dispatcher *d)
{
    struct asyncore__life life = {d->asyncore__life, 0, NULL};
    if (asyncore__in_map(d)) {
        life.map = d->map;
        life.generation = d->map->slots[d->fd].generation;
    }
    return life;
}

/* Is it still the same connection?  And has not left the map, either? */
static inline bool
asyncore__same(const struct asyncore_dispatcher *d, struct asyncore__life life)
{
    return d->fd >= 0 && d->asyncore__life == life.number;
}

static inline bool
asyncore__alive(const struct asyncore_dispatcher *d,
                struct asyncore__life life)
{
    struct asyncore__life now = asyncore__life(d);
    return asyncore__same(d, life) && now.map == life.map &&
           now.generation == life.generation;
}

/* The slot of the channel's own class, or the one it inherits. */
#define ASYNCORE__VIRTUAL(d, slot) \
    ((d)->ops->slot ? (d)->ops->slot : asyncore__class_of(d)->ops->slot)
/* Call a handler; returns 0 or the error it returned, noted as its own. */
#define ASYNCORE__RUN(d, slot) \
    asyncore__run(d, #slot, ASYNCORE__VIRTUAL(d, slot))

int asyncore__run(struct asyncore_dispatcher *d, const char *handler,
                  int (*fn)(struct asyncore_dispatcher *d));

/* Around the call of a handler of any other kind: whatever it does, nobody of
 * the map is destroyed before we are done with him, nor is the channel if it
 * is moved to another map; hence the result of the first is an argument of
 * the second. */
static inline struct asyncore_map *
asyncore__enter(struct asyncore_dispatcher *d)
{
    d->asyncore__pins++;
    d->map->depth++;
    return d->map;
}

static inline void
asyncore__leave(struct asyncore_dispatcher *d, struct asyncore_map *map)
{
    if (--map->depth == 0) {
        map->exiting = false; /* there was no loop to leave */
    }
    d->asyncore__pins--;
}

/* A handler has asked to leave the loop; returns ASYNCORE_EXIT_NOW. */
static inline int
asyncore__exit(struct asyncore_map *map)
{
    map->exiting = map->depth > 0;
    return ASYNCORE_EXIT_NOW;
}

/* Note what a handler returned; returns 0 or its error. */
int asyncore__ran(struct asyncore_dispatcher *d, const char *handler,
                  int result);
/* Note that `op` failed, for whoever reports it; returns code. */
int asyncore__fail(struct asyncore_dispatcher *d, const char *op, int code);
/* The end of a protected block: an error goes to handle_error.  Returns 0 or
 * ASYNCORE_EXIT_NOW. */
int asyncore__catch(struct asyncore_dispatcher *d, int result);
/* The connection has ended: tell handle_close, once.  Returns 0 or
 * ASYNCORE_EXIT_NOW. */
int asyncore__end(struct asyncore_dispatcher *d, int reason);
/* The peer has ended its side: handle_eof, or handle_close. */
int asyncore__end_of_stream(struct asyncore_dispatcher *d);
/* Phase: deliver map->ready[first …]; drops them all. */
int asyncore__deliver(struct asyncore_map *map, size_t first);

/* ---- loop.c ------------------------------------------------------------- */

/* Passes until done(arg), over an empty map, too.  Returns as asyncore_loop(),
 * 0 also if it was stopped. */
int asyncore__serve(struct asyncore_map *map, bool (*done)(void *arg),
                    void *arg);

/* ---- clock.c: timers and idle timeouts of a map ------------------------ */

/* Seconds to ns, rounded up; -1 = for ever.  Returns false if they are
 * negative or NaN. */
bool asyncore__ns(double seconds, int64_t *ret);
/* Treat the result of a timer's or a post's function. */
int asyncore__called(struct asyncore_map *map, int result);
/* Phase, if there are timers: run what is due. */
int asyncore__run_timers(struct asyncore_map *map);
/* The channel had an event. */
void asyncore__idle_reset(struct asyncore_dispatcher *d);
/* The channel is closed or moved: no timeout any more. */
void asyncore__idle_clear(struct asyncore_dispatcher *d);
/* A listener found no descriptors: let it rest. */
void asyncore__rest(struct asyncore_dispatcher *d);
void asyncore__rest_clear(struct asyncore_dispatcher *d);

/* ---- calls.c: posts from other threads --------------------------------- */

int asyncore__calls_open(struct asyncore_map *map);
void asyncore__calls_close(struct asyncore_map *map);
void asyncore__calls_drop(struct asyncore_map *map);
static inline bool
asyncore__calls_pending(const struct asyncore_map *map)
{
    return map->calls != NULL ||
           atomic_load_explicit(&map->posted, memory_order_relaxed) != NULL;
}
/* The wake-up descriptor is readable. */
void asyncore__calls_woken(struct asyncore_map *map);
/* Phase, if anything is pending: run what was posted. */
int asyncore__run_calls(struct asyncore_map *map);

/* ---- classes ----------------------------------------------------------- */

/* How the bytes of a channel go in and out: a socket, a file. */
struct asyncore__transport {
    ssize_t (*recv)(struct asyncore_dispatcher *d, void *buf, size_t len);
    ssize_t (*send)(struct asyncore_dispatcher *d, const void *data,
                    size_t len);
    ssize_t (*sendv)(struct asyncore_dispatcher *d, const struct iovec *iov,
                     int n);
    /* From a regular file; -ENOSYS: by reading and sending. */
    ssize_t (*sendfile)(struct asyncore_dispatcher *d, int fd, off_t offset,
                        size_t len);
    /* Of the sending side; NULL: it has none of its own. */
    int (*shutdown)(struct asyncore_dispatcher *d);
    int (*error)(struct asyncore_dispatcher *d); /* SO_ERROR, negated */
};
extern const struct asyncore__transport asyncore__socket_transport;
extern const struct asyncore__transport asyncore__file_transport;
/* classes.c: all of them, by the number that a channel has. */
enum {
    ASYNCORE__SOCKET,
    ASYNCORE__FILE
};
extern const struct asyncore__transport *const asyncore__transports[];

/* A class of the library: a complete table of handlers, and what the core
 * must know of its channels. */
struct asyncore__class {
    const char *name;
    const struct asyncore__class *parent;
    const struct asyncore_ops *ops;
    unsigned number; /* its place in asyncore__classes */
    bool queues;     /* it has an output queue … */
    size_t output;   /* … where in it; 0 = in what is rare */
    /* it is closed: forget what belonged to the connection; may be NULL */
    void (*closed)(struct asyncore_dispatcher *d);
    /* it is taken out of its map, it has been put into one; may be NULL */
    void (*leaving)(struct asyncore_dispatcher *d);
    void (*entered)(struct asyncore_dispatcher *d);
    /* it is destroyed: release all; may be NULL */
    void (*fini)(struct asyncore_dispatcher *d);
};

/* classes.c: all of them, by the number that a channel has. */
enum {
    ASYNCORE__DISPATCHER,
    ASYNCORE__WITH_SEND,
    ASYNCORE__FILE_DISPATCHER,
    ASYNCORE__CHAT
};
extern const struct asyncore__class *const asyncore__classes[];

static inline const struct asyncore__class *
asyncore__class_of(const struct asyncore_dispatcher *d)
{
    return asyncore__classes[d->asyncore__class];
}

#define ASYNCORE__MAGIC 0xa54c

/* Is it a channel that was initialised? */
static inline bool
asyncore__valid(const struct asyncore_dispatcher *d)
{
    return d != NULL && d->asyncore__magic == ASYNCORE__MAGIC;
}

/* 0, or -EINVAL: no channel, or -EBADF: a closed one. */
static inline int
asyncore__check_open(const struct asyncore_dispatcher *d)
{
    return !asyncore__valid(d) ? -EINVAL : d->fd < 0 ? -EBADF : 0;
}

static inline bool
asyncore__isinstance(const struct asyncore_dispatcher *d,
                     const struct asyncore__class *cls)
{
    const struct asyncore__class *c =
        asyncore__valid(d) ? asyncore__class_of(d) : NULL;
    while (c != NULL && c != cls) {
        c = c->parent;
    }
    return c != NULL;
}

extern const struct asyncore__class asyncore__dispatcher_class;
extern const struct asyncore__class asyncore__with_send_class;
extern const struct asyncore__class asyncore__file_dispatcher_class;
extern const struct asyncore__class asyncore__chat_class;
extern const struct asyncore_ops asyncore__dispatcher_ops;

static inline const struct asyncore__transport *
asyncore__transport_of(const struct asyncore_dispatcher *d)
{
    return asyncore__transports[d->asyncore__transport];
}

static inline bool
asyncore__is_socket(const struct asyncore_dispatcher *d)
{
    return d->asyncore__transport == ASYNCORE__SOCKET;
}

/* What few channels need: found when it is needed first, kept until the
 * channel is destroyed. */
struct asyncore__rare {
    int64_t period, last, timer;    /* clock.c, if it is TIMED */
    struct asyncore__output output; /* of a class that has none of its own */
};

/* NULL without memory. */
struct asyncore__rare *asyncore__rare_of(struct asyncore_dispatcher *d);

/* Initialise a channel of a class, of `size` bytes in all, in the caller's
 * memory; then adopt(d, fd) unless fd is -1. */
int asyncore__init(struct asyncore_dispatcher *d,
                   const struct asyncore__class *cls, size_t size,
                   const struct asyncore_ops *ops, struct asyncore_map *map,
                   int (*adopt)(struct asyncore_dispatcher *d, int fd),
                   int fd);
/* The same in memory of our own; NULL and *ret_err on failure. */
void *asyncore__new(const struct asyncore__class *cls, size_t size,
                    const struct asyncore_ops *ops, struct asyncore_map *map,
                    int (*adopt)(struct asyncore_dispatcher *d, int fd),
                    int fd, int *ret_err);
/* Begin a life: the descriptor is the channel's, in its map. */
int asyncore__open(struct asyncore_dispatcher *d, int fd, unsigned transport,
                   bool stream);
/* Input or output failed with `code`: the end of the connection is told and
 * becomes 0, other errors are noted and come back. */
int asyncore__io_failed(struct asyncore_dispatcher *d, const char *op,
                        int code);
/* A descriptor that a handler is being given, and that nobody has made a
 * channel of yet: then fd becomes -1.  Handlers nest, and so do these. */
struct asyncore__given {
    int fd;
    bool tcp;
    const struct asyncore_addr *addr; /* of a connection just accepted; NULL:
                                         what it is has to be found out */
    struct asyncore__given *outer;
};
/* Around the call of the handler. */
void asyncore__give(struct asyncore__given *given);
void asyncore__given_back(struct asyncore__given *given);
/* The one with this descriptor, or NULL. */
struct asyncore__given *asyncore__given(int fd);
/* Hand a connection to handle_accepted; if that fails, it is closed.  Returns
 * 0 or ASYNCORE_EXIT_NOW. */
int asyncore__hand_over(struct asyncore_dispatcher *d, int fd,
                        const struct asyncore_addr *addr);
/* Remember an address as the channel's `addr`; NULL = none. */
void asyncore__set_addr(struct asyncore_dispatcher *d,
                        const struct asyncore_addr *addr);
/* handle_error's default line: "uncaptured error, closing channel …". */
void asyncore__log_uncaptured(struct asyncore_dispatcher *d,
                              const struct asyncore_error *err);

/* ---- output.c: the sending half of the classes that have a queue ------- */

struct asyncore__source_ops {
    /* Give bytes or send some, at most `most`.  Returns how many were sent by
     * itself; 0 with *ret set: bytes to be sent; 0 with *ret empty: there are
     * no more; -EAGAIN: none now; or an errno. */
    ssize_t (*pull)(struct asyncore_dispatcher *d, void *arg, size_t most,
                    struct iovec *ret);
};

/* The queue of a channel; NULL: it has none, or none yet. */
static inline struct asyncore__output *
asyncore__output_of(const struct asyncore_dispatcher *d)
{
    size_t at = asyncore__class_of(d)->output;
    if (at != 0) {
        return (void *)((char *)(uintptr_t)d + at);
    }
    return d->asyncore__rare != NULL ? &d->asyncore__rare->output : NULL;
}

/* The queue, to put something into it; NULL without memory. */
static inline struct asyncore__output *
asyncore__output_for(struct asyncore_dispatcher *d)
{
    struct asyncore__output *out = asyncore__output_of(d);
    if (out == NULL) {
        struct asyncore__rare *rare = asyncore__rare_of(d);
        out = rare != NULL ? &rare->output : NULL;
    }
    return out;
}

/* Does anything wait to be sent? */
static inline bool
asyncore__pending(const struct asyncore_dispatcher *d)
{
    const struct asyncore__output *out = asyncore__output_of(d);
    return out != NULL && !asyncore__outq_empty(&out->queue);
}

/* Its owner's limits, or those of all. */
extern const struct asyncore_limits asyncore__default_limits;

static inline const struct asyncore_limits *
asyncore__limits_of(const struct asyncore__output *out)
{
    return out != NULL && out->limits != NULL ? out->limits
                                              : &asyncore__default_limits;
}

/* May `len` more bytes be taken?  Returns 0, or why not. */
int asyncore__output_check_all(struct asyncore_dispatcher *d, size_t len);

static inline int
asyncore__output_check(struct asyncore_dispatcher *d, size_t len)
{
    const struct asyncore__output *out = asyncore__output_of(d);
    bool few = len <= ASYNCORE_MAX_OUTPUT / 2 &&
               (out == NULL || (out->limits == NULL &&
                                out->queue.len <= ASYNCORE_MAX_OUTPUT / 2));
    bool open = !d->closing && !asyncore__has(d, ASYNCORE__SHUT);
    return few && open ? 0 : asyncore__output_check_all(d, len);
}

/* Something was queued: see that it goes out, and that it is not too much. */
void asyncore__output_queued(struct asyncore_dispatcher *d);
/* Send what can be sent, and what follows from that.  Returns 0 or an
 * error. */
int asyncore__output_flush(struct asyncore_dispatcher *d);
/* Bytes at once where nothing is queued, else queued; see
 * asyncore_dispatcher_with_send_send(). */
ssize_t asyncore__output_send(struct asyncore_dispatcher *d, const void *data,
                              size_t len);
/* The kernel's answer to a send of bytes that nothing was queued before is n,
 * not len: what asyncore__output_send() returns then. */
ASYNCORE__COLD ssize_t asyncore__output_sent_part(
    struct asyncore_dispatcher *d, const void *data, size_t len, ssize_t n);
void asyncore__output_clear(struct asyncore_dispatcher *d);
/* Bytes that counted as sent were not: they go first when it goes on.  Called
 * while waiting; no handler runs. */
void asyncore__output_short(struct asyncore_dispatcher *d, const void *data,
                            size_t len);
/* … and will not be: asyncore__output_unsent() tells of it. */
void asyncore__output_lost(struct asyncore_dispatcher *d, int code);
int asyncore__output_unsent(struct asyncore_dispatcher *d);

/* ---- linger.c: the orderly end ----------------------------------------- */

/* asyncore_dispatcher.asyncore__linger, in hundredths of a second. */
#define ASYNCORE__LINGER_FOREVER UINT16_MAX

/* All is sent: shut down or close, if that was asked for.  Returns 0, an
 * error of shutdown(2), or ASYNCORE_EXIT_NOW. */
int asyncore__flushed(struct asyncore_dispatcher *d);
/* A lingering channel can be read, or its time is over. */
int asyncore__linger_read(struct asyncore_dispatcher *d);
int asyncore__linger_over(struct asyncore_dispatcher *d);

/* ---- buffer.c: memory to receive into, shared by a map ----------------- */

/* At least `size` bytes, in *size those there are; NULL without memory. */
char *asyncore__buffer_take(struct asyncore_map *map, size_t *size);
void asyncore__buffer_give(struct asyncore_map *map, char *buffer,
                           size_t size);

/* ---- match.c: delimiters in streams ------------------------------------ */

struct asyncore__needle {
    const char *data;
    size_t len;              /* > 0 */
    const uint32_t *failure; /* as asyncore__match_prepare() fills it in */
};

/* What became of a part of the stream.  Its message bytes are first
 * `released` bytes of the needle, that had been held back, then the first
 * `len` bytes of the part. */
struct asyncore__match {
    bool found;
    size_t released, len;
    size_t used; /* of the part; all of it if not found */
    size_t held; /* bytes of the needle the stream ends with now */
};

/* failure[i]: the longest part from the needle's beginning, shorter than
 * i + 1, that its first i + 1 bytes end with. */
void asyncore__match_prepare(const char *needle, size_t len,
                             uint32_t *failure);
/* Look for the needle in the next part of a stream, of whose end so far `held`
 * bytes may be its beginning.  At most about 16 looks per byte. */
struct asyncore__match asyncore__match(const struct asyncore__needle *needle,
                                       size_t held, const char *part,
                                       size_t len);

/* ---- scan.c: short delimiters, many at once ---------------------------- */

#define ASYNCORE__ENDS 128
#define ASYNCORE__WORDS_FIRST 4

/* What is known of the stream ahead. */
struct asyncore__ends {
    const char *at;   /* all has been looked at that ends before this */
    const char *base; /* there are ends at base + place[next … n) */
    unsigned next, n;
    unsigned words; /* of 64 places, to be looked at next time */
    uint16_t place[ASYNCORE__ENDS];
};

static inline void
asyncore__ends_init(struct asyncore__ends *ends, const char *at)
{
    ends->at = at;
    ends->next = ends->n = 0;
    ends->words = ASYNCORE__WORDS_FIRST;
}

/* Find the delimiters whose last bytes are among up to `words` times 64 from
 * ends->at on; fill in their ends, and how far it got.  Looks at the len - 1
 * bytes before those, too. */
typedef void asyncore__scan_fn(struct asyncore__ends *ends, const char *needle,
                               size_t len, unsigned words);

struct asyncore__scanner {
    const char *name; /* of what the processor must have */
    bool (*supported)(void);
    asyncore__scan_fn *scan;
};
/* Best first, ends in NULLs; the one in use, NULL: none. */
extern const struct asyncore__scanner asyncore__scanners[];
extern _Atomic(asyncore__scan_fn *) asyncore__scan;

/* The end of the next delimiter of len > 0 bytes in [from, to), the place
 * after its last byte, or NULL.  At most about 2 * len + 2 looks per byte;
 * and, where `ends` is begun anew, at most 256 * len that were in vain. */
const char *asyncore__more_ends(struct asyncore__ends *ends,
                                const char *needle, size_t len,
                                const char *from, const char *to);

static inline const char *
asyncore__next_end(struct asyncore__ends *ends, const char *needle, size_t len,
                   const char *from, const char *to)
{
    if (ends->next < ends->n) {
        const char *end = ends->base + ends->place[ends->next++];
        if ((size_t)(end - from) >= len) { /* or it overlaps the last */
            return end;
        }
    }
    return asyncore__more_ends(ends, needle, len, from, to);
}

#endif
