/* SPDX-License-Identifier: MIT */
/* uring.h - what the files of the io_uring backend share.
 *
 *   uring_ring.c         the rings: entries out, completions in
 *   uring_store.c        what was received, until somebody asks for it
 *   uring_send.c         what leaves at the end of the pass
 *   uring_world.c        the world that looks there first, then goes on to
 *                        the kernel
 *   backend_io_uring.c   who is served how; completions to events */
#ifndef URING_H
#define URING_H

#include <linux/io_uring.h>

#include "internal.h"

/* Since the headers of Linux 6.1. */
#define URING_PBUF_INC 2u          /* IOU_PBUF_RING_INC, 6.12 */
#define URING_F_BUF_MORE (1u << 4) /* IORING_CQE_F_BUF_MORE, 6.12 */

/* The memory that all connections of a map receive into: small messages share
 * a buffer where the kernel can do that.  What is not read in its pass is
 * copied out, so it need not hold more than comes in at once. */
#define URING_BUFFERS 32
#define URING_BUFFER_SIZE ((size_t)16 * 1024)
#define URING_GROUP 0

/* ---- uring_ring.c ------------------------------------------------------ */

struct asyncore__ring {
    int fd;
    bool enabled;
    bool tells;       /* uring->event_fd is registered */
    bool incremental; /* a buffer is filled bit by bit */
    void *rings, *buf_ring;
    size_t rings_size, sqes_size, buf_size;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    unsigned *sq_head, *sq_tail, *sq_flags, *cq_head, *cq_tail;
    unsigned sq_mask, cq_mask, sq_entries;
    unsigned tail;     /* of the entries that are filled in */
    uint16_t buf_tail; /* of the buffers that the kernel may fill */
};

/* What a completion is of; with the descriptor and a token in its user_data.
 */
enum asyncore__uring_kind {
    URING_OTHER, /* nobody waits for it */
    URING_RECV,
    URING_ACCEPT,
    URING_POLL,
    URING_SEND
};

static inline uint64_t
asyncore__uring_tag(enum asyncore__uring_kind kind, uint32_t token, int fd)
{
    return (uint64_t)kind << 60 | (uint64_t)(token & 0xfffffffu) << 32 |
           (uint32_t)fd;
}

struct asyncore__uring;

/* Open the rings, with `buffers` to receive into; closed again on failure. */
int asyncore__ring_open(struct asyncore__world *w,
                        struct asyncore__ring *ring);
void asyncore__ring_close(struct asyncore__world *w,
                          struct asyncore__ring *ring);
/* Bind it to this thread, once. */
int asyncore__ring_enable(struct asyncore__world *w,
                          struct asyncore__ring *ring);
/* Let the kernel fill a buffer. */
void asyncore__ring_provide(struct asyncore__ring *ring, char *at, size_t size,
                            uint16_t id);

/* Entries that the kernel has not taken yet. */
static inline unsigned
asyncore__ring_unsent(const struct asyncore__ring *ring)
{
    return ring->tail - __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE);
}

/* A cleared entry, or NULL: there is no room before the next submit. */
static inline struct io_uring_sqe *
asyncore__ring_entry(struct asyncore__ring *ring)
{
    if (asyncore__ring_unsent(ring) >= ring->sq_entries) {
        return NULL;
    }
    struct io_uring_sqe *sqe = &ring->sqes[ring->tail++ & ring->sq_mask];
    memset(sqe, 0, sizeof *sqe);
    return sqe;
}

/* Is it one of those? */
static inline bool
asyncore__ring_has(const struct asyncore__ring *ring,
                   const struct io_uring_sqe *sqe)
{
    unsigned head = ring->tail - asyncore__ring_unsent(ring);
    unsigned place = (unsigned)(sqe - ring->sqes);
    return ((place - head) & ring->sq_mask) < ring->tail - head;
}

/* The oldest completion, or NULL. */
static inline const struct io_uring_cqe *
asyncore__ring_peek(const struct asyncore__ring *ring)
{
    unsigned head = *ring->cq_head;
    return head != __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE)
               ? &ring->cqes[head & ring->cq_mask]
               : NULL;
}

/* Is there work that the kernel does when it is entered again? */
static inline bool
asyncore__ring_has_more(const struct asyncore__ring *ring)
{
    return (__atomic_load_n(ring->sq_flags, __ATOMIC_RELAXED) &
            (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

/* … of which that is to tell what has been done already? */
static inline bool
asyncore__ring_overflows(const struct asyncore__ring *ring)
{
    return (__atomic_load_n(ring->sq_flags, __ATOMIC_RELAXED) &
            IORING_SQ_CQ_OVERFLOW) != 0;
}

static inline void
asyncore__ring_pop(struct asyncore__ring *ring)
{
    __atomic_store_n(ring->cq_head, *ring->cq_head + 1, __ATOMIC_RELEASE);
}

/* ---- uring_store.c ----------------------------------------------------- */

/* A part of what was received, or a connection that was accepted. */
struct asyncore__received {
    char *base;          /* … [start .. end) of it waits */
    uint32_t start, end; /* start: the descriptor, if it is a connection */
    uint32_t next;       /* index + 1 */
    int32_t buffer;      /* of the ring, or: */
};
enum {
    URING_HEAP = -1,
    URING_CONNECTION = -2
};

/* What is known of a descriptor. */
struct asyncore__conn {
    uint32_t first, last; /* received, index + 1 */
    uint32_t holder;      /* place in uring->holders + 1 */
    uint32_t staged;      /* index in uring->staged + 1 */
    uint32_t shot;        /* token of its multishot request, 0 = none */
    uint32_t poll;        /* token of its poll, 0 = none */
    int32_t end;          /* what comes after: 1 = the end, or an errno */
    int32_t failed;       /* what became of a send; see output.c */
    uint32_t epoch;       /* of uring, when the last that was received went */
    unsigned char want;   /* mask, as the map wants it */
    unsigned char polled; /* mask of the poll in flight */
    unsigned char events; /* mask, to be reported */
    unsigned char direct; /* served by polling, for so many small reads */
    unsigned char kind;   /* of the multishot request */
    bool dirty, listed;   /* on uring->dirty, uring->events */
    bool offered;         /* the map has been told of what was received */
};

struct asyncore__buffer {
    uint32_t refs; /* parts of it that wait */
    uint32_t used; /* bytes of it */
    bool full;     /* the kernel has done with it */
};

/* Bytes that leave with the next submit. */
struct asyncore__staged {
    struct io_uring_sqe *sqe; /* NULL: the kernel has it */
    int fd;
    uint32_t at, len; /* in the arena */
};

#define URING_ARENA ((size_t)256 * 1024)
#define URING_STAGE_MOST ((size_t)4096) /* for a descriptor */
#define URING_DIRECT_READS 16

struct asyncore__uring {
    struct asyncore__world world;        /* first */
    struct asyncore__world copy, *outer; /* above it; the map's before */
    struct asyncore_map *map;
    struct asyncore__ring *ring; /* NULL: another backend serves the map */
    struct asyncore__conn *conns;
    size_t nconns, conns_cap;
    struct asyncore__received *received;
    size_t nreceived, received_cap;
    uint32_t free_received;        /* index + 1 */
    int *holders, *dirty, *events; /* room for each of conns */
    size_t nholders, ndirty, nevents;
    size_t holders_cap, dirty_cap, events_cap;
    char *memory; /* of the buffers */
    struct asyncore__buffer buffers[URING_BUFFERS];
    char *arena;
    size_t arena_used;
    struct asyncore__staged *staged;
    size_t nstaged, staged_cap;
    /* Where the kernel writes who has connected to a listener (-1: to none),
     * and whose that is: the last one's. */
    struct asyncore_addr peer;
    int peer_of, peer_fd;
    uint32_t token;
    uint32_t epoch;      /* + 1 whenever completions may have come in */
    atomic_int event_fd; /* for the loops of others, see get_fileno(); or -1 */
    bool forked;         /* sockets may be shared with the parent */
    bool looping;        /* a wait follows: sends may be staged */
    bool waiting;        /* this is it: polls may be reported */
};

static inline struct asyncore__conn *
asyncore__uring_conn(const struct asyncore__uring *u, int fd)
{
    return fd >= 0 && (size_t)fd < u->nconns ? &u->conns[fd] : NULL;
}

/* Does anything wait to be taken? */
static inline bool
asyncore__uring_holds(const struct asyncore__conn *c)
{
    return c->first != 0 || c->end != 0;
}

/* Room for a descriptor. */
int asyncore__uring_reserve(struct asyncore__uring *u, int fd);
/* Append.  -ENOMEM: nothing has changed. */
int asyncore__uring_append(struct asyncore__uring *u, int fd, char *base,
                           uint32_t start, uint32_t end, int32_t buffer);
/* Nothing comes after what there is. */
void asyncore__uring_append_end(struct asyncore__uring *u, int fd, int code);
/* Remove the first; what it holds is the caller's. */
struct asyncore__received asyncore__uring_shift(struct asyncore__uring *u,
                                                int fd);
/* Give back what a part that was removed holds. */
void asyncore__uring_release(struct asyncore__uring *u,
                             const struct asyncore__received *part);
/* A part of a buffer is not needed any more. */
void asyncore__uring_unref(struct asyncore__uring *u, int32_t buffer);
/* Copy bytes, up to len; `keep` leaves them where they are. */
size_t asyncore__uring_copy(struct asyncore__uring *u, int fd, char *to,
                            size_t len, bool keep);
/* What nobody has read in its pass, into memory of its own. */
void asyncore__uring_copy_out(struct asyncore__uring *u);
/* To the other, which has room for the descriptor. */
int asyncore__uring_hand_on(struct asyncore__uring *u,
                            struct asyncore__uring *to, int fd);
/* Forget what there is. */
void asyncore__uring_drop(struct asyncore__uring *u, int fd);
/* Let all buffers that nobody needs be filled. */
void asyncore__uring_provide(struct asyncore__uring *u);

/* ---- uring_send.c ------------------------------------------------------ */

ssize_t asyncore__uring_send_soon(struct asyncore__world *w, int fd,
                                  const void *data, size_t len);
ssize_t asyncore__uring_sendv_soon(struct asyncore__world *w, int fd,
                                   const struct iovec *iov, int n);
/* A send was not as hoped for. */
void asyncore__uring_sent(struct asyncore__uring *u, uint32_t index,
                          int result);
/* The kernel has been entered, and all that it said of sends been heard. */
void asyncore__uring_sends_taken(struct asyncore__uring *u);

/* ---- uring_world.c ----------------------------------------------------- */

/* Put it below the map's world, take it away. */
void asyncore__uring_enter_world(struct asyncore__uring *u);
void asyncore__uring_leave_world(struct asyncore__uring *u);

/* ---- backend_io_uring.c ------------------------------------------------ */

/* Look at the descriptor before the next wait. */
void asyncore__uring_mark(struct asyncore__uring *u, int fd);
/* End what is in flight for it, now. */
void asyncore__uring_cancel(struct asyncore__uring *u, int fd);
/* Hand over what is filled in.  Returns 0 or an errno. */
int asyncore__uring_flush(struct asyncore__uring *u);
/* The same if there is no room for another entry. */
struct io_uring_sqe *asyncore__uring_entry(struct asyncore__uring *u);

#endif
