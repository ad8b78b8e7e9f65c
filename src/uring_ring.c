/* SPDX-License-Identifier: MIT */
/* uring_ring.c - the two rings shared with the kernel, and a third one with
 * buffers to receive into.
 *
 * The kernel must be able to do the work of completions only when asked
 * (DEFER_TASKRUN, Linux 6.1): so nothing is received behind our back, and
 * what is not in the rings is still in the socket.  Such a kernel has all
 * else that is used here, too, and is tried for it once a ring. */
#include "uring.h"

#define ENTRIES 1024
#define COMPLETIONS 8192

static int
setup(struct asyncore__world *w, struct asyncore__ring *ring,
      struct io_uring_params *p)
{
    memset(p, 0, sizeof *p);
    p->flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP |
               IORING_SETUP_R_DISABLED | IORING_SETUP_SUBMIT_ALL |
               IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
               IORING_SETUP_TASKRUN_FLAG;
    p->cq_entries = COMPLETIONS;
    int fd = w->uring_setup(w, ENTRIES, p);
    if (fd < 0) {
        return fd;
    }
    ring->fd = fd;
    unsigned needed = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP |
                      IORING_FEAT_EXT_ARG | IORING_FEAT_CQE_SKIP;
    return (p->features & needed) == needed ? 0 : -EOPNOTSUPP;
}

static int
map_rings(struct asyncore__world *w, struct asyncore__ring *ring,
          const struct io_uring_params *p)
{
    size_t sq = p->sq_off.array + p->sq_entries * sizeof(unsigned);
    size_t cq = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
    void *at;
    ring->rings_size = sq > cq ? sq : cq;
    int err =
        w->uring_map(w, ring->fd, ring->rings_size, IORING_OFF_SQ_RING, &at);
    if (err < 0) {
        return err;
    }
    ring->rings = at;
    ring->sqes_size = p->sq_entries * sizeof(struct io_uring_sqe);
    err = w->uring_map(w, ring->fd, ring->sqes_size, IORING_OFF_SQES, &at);
    if (err >= 0) {
        ring->sqes = at;
    }
    return err;
}

static unsigned *
word(const struct asyncore__ring *ring, uint32_t offset)
{
    return (unsigned *)(void *)((char *)ring->rings + offset);
}

static void
find_parts(struct asyncore__ring *ring, const struct io_uring_params *p)
{
    ring->sq_head = word(ring, p->sq_off.head);
    ring->sq_tail = word(ring, p->sq_off.tail);
    ring->sq_flags = word(ring, p->sq_off.flags);
    ring->sq_mask = *word(ring, p->sq_off.ring_mask);
    ring->sq_entries = p->sq_entries;
    ring->cq_head = word(ring, p->cq_off.head);
    ring->cq_tail = word(ring, p->cq_off.tail);
    ring->cq_mask = *word(ring, p->cq_off.ring_mask);
    ring->cqes = (void *)((char *)ring->rings + p->cq_off.cqes);
    ring->tail = *ring->sq_tail;
    /* An entry stands where it is: nobody needs the indirection. */
    for (unsigned i = 0; i < p->sq_entries; i++) {
        word(ring, p->sq_off.array)[i] = i;
    }
}

static int
open_buffers(struct asyncore__world *w, struct asyncore__ring *ring)
{
    ring->buf_size = URING_BUFFERS * sizeof(struct io_uring_buf);
    int err = w->uring_map(w, -1, ring->buf_size, 0, &ring->buf_ring);
    if (err < 0) {
        ring->buf_ring = NULL;
        return err;
    }
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)ring->buf_ring,
        .ring_entries = URING_BUFFERS,
        .bgid = URING_GROUP,
    };
    reg.pad = URING_PBUF_INC; /* `flags`, to later headers */
    ring->incremental = true;
    err = w->uring_register(w, ring->fd, IORING_REGISTER_PBUF_RING, &reg, 1);
    if (err == -EINVAL) {
        reg.pad = 0;
        ring->incremental = false;
        err =
            w->uring_register(w, ring->fd, IORING_REGISTER_PBUF_RING, &reg, 1);
    }
    return err;
}

int
asyncore__ring_open(struct asyncore__world *w, struct asyncore__ring *ring)
{
    struct io_uring_params p;
    *ring = (struct asyncore__ring){.fd = -1};
    int err = setup(w, ring, &p);
    if (err >= 0) {
        err = map_rings(w, ring, &p);
    }
    if (err >= 0) {
        find_parts(ring, &p);
        err = open_buffers(w, ring);
    }
    if (err < 0) {
        asyncore__ring_close(w, ring);
    }
    return err;
}

void
asyncore__ring_close(struct asyncore__world *w, struct asyncore__ring *ring)
{
    if (ring->fd >= 0) {
        w->close(w, ring->fd);
        ring->fd = -1;
    }
    if (ring->sqes != NULL) {
        w->uring_unmap(w, ring->sqes, ring->sqes_size);
    }
    if (ring->rings != NULL) {
        w->uring_unmap(w, ring->rings, ring->rings_size);
    }
    if (ring->buf_ring != NULL) {
        w->uring_unmap(w, ring->buf_ring, ring->buf_size);
    }
}

int
asyncore__ring_enable(struct asyncore__world *w, struct asyncore__ring *ring)
{
    if (ring->enabled) {
        return 0;
    }
    int err =
        w->uring_register(w, ring->fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    ring->enabled = err >= 0;
    return err < 0 ? err : 0;
}

void
asyncore__ring_provide(struct asyncore__ring *ring, char *at, size_t size,
                       uint16_t id)
{
    struct io_uring_buf *bufs = ring->buf_ring;
    struct io_uring_buf *buf = &bufs[ring->buf_tail & (URING_BUFFERS - 1)];
    buf->addr = (uintptr_t)at;
    buf->len = (uint32_t)size;
    buf->bid = id;
    ring->buf_tail++;
    /* The tail is where the first buffer has a field that nobody uses. */
    __atomic_store_n(&bufs[0].resv, ring->buf_tail, __ATOMIC_RELEASE);
}
