/* SPDX-License-Identifier: MIT */
/* echo_uring.c - io_uring by completion, and nothing else.
 *
 * One multishot accept, and for each connection one multishot receive into a
 * ring of provided buffers, which are used up bit by bit (Linux 6.12).  What
 * came in is sent from where it lies.  One system call a batch: it submits
 * the sends of the last one and waits for the next.
 *
 * A send is tried at once, and says nothing if all of it went (MSG_DONTWAIT,
 * MSG_WAITALL, CQE_SKIP_SUCCESS).  If not, its completion is one of the next
 * batch, so the bytes are still where they were: a buffer is given back when
 * the batch after its own has been handled.  The bytes that did not go are
 * copied, and sent with a completion. */
#include <errno.h>
#include <limits.h>
#include <liburing.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "server.h"

/* Of Linux 6.12; liburing 2.3 does not know them. */
#define PBUF_RING_INC 2
#define CQE_F_BUF_MORE (1U << 4)

#define MAX_FDS 65536
#define ENTRIES 1024
#define COMPLETIONS 16384
#define BUFFERS 16 /* a power of two */
#define GROUP 0

enum kind {
    ACCEPT,
    RECV,
    SEND, /* of what came in; only if it fell short */
    REST,
    CLOSE
};

/* What came in at once. */
struct piece {
    struct iovec bytes;
    int next; /* of the same connection, or NONE */
};

/* All that came in for a connection, in one send: of several, linked, only
 * the first would be tried at once. */
struct send {
    struct msghdr message;
    size_t len;
};

#define NONE (-1)

static struct conn {
    bool open, ending, dirty;
    int first, last; /* pieces of this batch, or NONE */
    int npieces;
    char *sending;    /* what is being sent with a completion, or NULL */
    struct rest rest; /* what comes after that */
} conns[MAX_FDS];

/* The batch that is handled, and the one before, whose sends may still have
 * something to say. */
static struct batch {
    struct piece pieces[COMPLETIONS];
    struct iovec iov[COMPLETIONS]; /* the same, sorted by connection */
    struct send sends[COMPLETIONS];
    int npieces, nsends;
    size_t niov;
    int spent[BUFFERS]; /* buffers that are used up */
    int nspent;
} batches[2];
static struct batch *batch = &batches[0], *before = &batches[1];

static int dirty[COMPLETIONS]; /* connections that something is to be done */
static int ndirty;

static struct io_uring ring;
static struct io_uring_buf_ring *provided;
static char buffers[BUFFERS][BUFFER_SIZE];
static size_t used[BUFFERS]; /* bytes of each */

/* ---- submissions ---- */

static struct io_uring_sqe *
get_sqe(void)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    if (sqe == NULL && io_uring_submit(&ring) > 0) {
        sqe = io_uring_get_sqe(&ring);
    }
    if (sqe == NULL) {
        die("io_uring_get_sqe");
    }
    return sqe;
}

static void
tag(struct io_uring_sqe *sqe, enum kind kind, int fd, int index)
{
    sqe->user_data = (uint64_t)kind << 56 | (uint64_t)(unsigned)index << 24 |
                     (uint64_t)(unsigned)fd;
}

static void
arm_accept(int listener)
{
    struct io_uring_sqe *sqe = get_sqe();
    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    tag(sqe, ACCEPT, listener, 0);
}

static void
arm_recv(int fd)
{
    struct io_uring_sqe *sqe = get_sqe();
    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
    tag(sqe, RECV, fd, 0);
}

static void
submit_close(int fd)
{
    struct io_uring_sqe *sqe = get_sqe();
    io_uring_prep_close(sqe, fd);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    tag(sqe, CLOSE, fd, 0);
    conns[fd].open = false;
}

static int
gather(struct conn *c)
{
    struct send *send = &batch->sends[batch->nsends];
    *send = (struct send){.message.msg_iov = batch->iov + batch->niov};
    for (int i = c->first; i != NONE; i = batch->pieces[i].next) {
        batch->iov[batch->niov++] = batch->pieces[i].bytes;
        send->len += batch->pieces[i].bytes.iov_len;
        send->message.msg_iovlen++;
    }
    c->first = c->last = NONE;
    c->npieces = 0;
    return batch->nsends++;
}

static void
submit_send(int fd)
{
    const int flags = MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL;
    struct conn *c = &conns[fd];
    int i = gather(c);
    struct send *send = &batch->sends[i];
    struct io_uring_sqe *sqe = get_sqe();
    if (send->message.msg_iovlen == 1) {
        io_uring_prep_send(sqe, fd, send->message.msg_iov->iov_base, send->len,
                           flags);
    }
    else {
        io_uring_prep_sendmsg(sqe, fd, &send->message, (unsigned)flags);
    }
    /* Unless something is to follow. */
    if (!c->ending && c->rest.len == 0) {
        sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    }
    tag(sqe, SEND, fd, i);
}

static void
submit_rest(int fd)
{
    struct conn *c = &conns[fd];
    struct io_uring_sqe *sqe = get_sqe();
    c->sending = c->rest.data;
    io_uring_prep_send(sqe, fd, c->sending, c->rest.len,
                       MSG_WAITALL | MSG_NOSIGNAL);
    tag(sqe, REST, fd, 0);
    c->rest = (struct rest){NULL, 0, 0};
}

/* ---- what is to be done with a connection at the end of the batch ---- */

static void
note(int fd)
{
    if (!conns[fd].dirty) {
        conns[fd].dirty = true;
        dirty[ndirty++] = fd;
    }
}

static void
settle(int fd)
{
    struct conn *c = &conns[fd];
    c->dirty = false;
    if (c->first != NONE) {
        submit_send(fd);
    }
    else if (c->sending == NULL && c->rest.len > 0) {
        submit_rest(fd);
    }
    else if (c->sending == NULL && c->ending && c->open) {
        submit_close(fd);
    }
}

static void
append(struct rest *rest, const char *data, size_t len)
{
    if (len == 0) {
        return;
    }
    rest->data = realloc(rest->data, rest->len + len);
    if (rest->data == NULL) {
        die("realloc");
    }
    memcpy(rest->data + rest->len, data, len);
    rest->len += len;
}

/* Nothing more can be sent. */
static void
broken(int fd)
{
    server_forget(&conns[fd].rest);
    conns[fd].ending = true;
    note(fd);
}

static void
add_piece(int fd, char *data, size_t len)
{
    struct conn *c = &conns[fd];
    int i = batch->npieces;
    if (c->last != NONE) {
        struct piece *last = &batch->pieces[c->last];
        if ((char *)last->bytes.iov_base + last->bytes.iov_len == data) {
            last->bytes.iov_len += len;
            return;
        }
        last->next = i;
    }
    else {
        c->first = i;
    }
    batch->pieces[i] = (struct piece){{data, len}, NONE};
    batch->npieces++;
    c->npieces++;
    c->last = i;
}

/* ---- completions ---- */

static void
accepted(int listener, int fd, unsigned flags)
{
    if ((flags & IORING_CQE_F_MORE) == 0) {
        arm_accept(listener);
    }
    if (fd >= MAX_FDS) {
        submit_close(fd % MAX_FDS);
    }
    else if (fd >= 0) {
        conns[fd] = (struct conn){.open = true, .first = NONE, .last = NONE};
        arm_recv(fd);
    }
}

static void
received(int fd, int n, unsigned flags)
{
    struct conn *c = &conns[fd];
    if (n == 0 || (n < 0 && n != -ENOBUFS)) {
        c->ending = true;
        note(fd);
        return;
    }
    if (n > 0) {
        unsigned id = flags >> IORING_CQE_BUFFER_SHIFT;
        char *data = buffers[id] + used[id];
        used[id] += (unsigned)n;
        if ((flags & CQE_F_BUF_MORE) == 0) {
            batch->spent[batch->nspent++] = (int)id;
        }
        if (c->sending != NULL || c->rest.len > 0 || c->npieces == IOV_MAX) {
            append(&c->rest, data, (size_t)n);
        }
        else {
            add_piece(fd, data, (size_t)n);
        }
        note(fd);
    }
    if ((flags & IORING_CQE_F_MORE) == 0) {
        arm_recv(fd);
    }
}

static void
append_pieces(struct rest *rest, struct conn *c)
{
    for (int i = c->first; i != NONE; i = batch->pieces[i].next) {
        const struct iovec *v = &batch->pieces[i].bytes;
        append(rest, v->iov_base, v->iov_len);
    }
    c->first = c->last = NONE;
    c->npieces = 0;
}

/* Not all of it went, or something is to follow.  What a receive that was
 * armed again finds at once can be there before: it comes behind. */
static void
sent(int fd, int n, int index)
{
    struct conn *c = &conns[fd];
    const struct send *send = &before->sends[index];
    size_t done = n > 0 ? (size_t)n : 0;
    struct rest rest = {NULL, 0, 0};
    if (n < 0 && n != -EAGAIN) {
        broken(fd);
        return;
    }
    for (size_t i = 0; i < send->message.msg_iovlen; i++) {
        const struct iovec *v = &send->message.msg_iov[i];
        size_t skip = done < v->iov_len ? done : v->iov_len;
        append(&rest, (char *)v->iov_base + skip, v->iov_len - skip);
        done -= skip;
    }
    append_pieces(&rest, c);
    append(&rest, c->rest.data, c->rest.len);
    server_forget(&c->rest);
    c->rest = rest;
    note(fd);
}

static void
rest_sent(int fd, int n)
{
    free(conns[fd].sending);
    conns[fd].sending = NULL;
    if (n <= 0) {
        broken(fd);
    }
    note(fd);
}

static void
complete(const struct io_uring_cqe *cqe)
{
    int fd = (int)(cqe->user_data & 0xffffff);
    int index = (int)(cqe->user_data >> 24 & 0xffffffff);
    switch ((enum kind)(cqe->user_data >> 56)) {
    case ACCEPT:
        accepted(fd, cqe->res, cqe->flags);
        break;
    case RECV:
        received(fd, cqe->res, cqe->flags);
        break;
    case SEND:
        sent(fd, cqe->res, index);
        break;
    case REST:
        rest_sent(fd, cqe->res);
        break;
    case CLOSE:
        break;
    }
}

/* ---- buffers ---- */

static void
provide(int id)
{
    used[id] = 0;
    io_uring_buf_ring_add(provided, buffers[id], sizeof buffers[id],
                          (unsigned short)id, io_uring_buf_ring_mask(BUFFERS),
                          0);
    io_uring_buf_ring_advance(provided, 1);
}

static void
next_batch(void)
{
    struct batch *old = before;
    for (int i = 0; i < old->nspent; i++) {
        provide(old->spent[i]);
    }
    old->nspent = old->npieces = old->nsends = 0;
    old->niov = 0;
    before = batch;
    batch = old;
}

/* ---- the program ---- */

static void
unavailable(const char *what, int err)
{
    fprintf(stderr, "%s: %s\n", what, strerror(-err));
    exit(SERVER_UNAVAILABLE);
}

static void
setup(void)
{
    static _Alignas(4096) char memory[4096];
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_CQSIZE,
        .cq_entries = COMPLETIONS,
    };
    /* io_uring_buf_reg, whose flags liburing 2.3 calls a pad. */
    struct {
        uint64_t ring;
        uint32_t entries;
        uint16_t group, flags;
        uint64_t reserved[3];
    } reg = {(uintptr_t)memory, BUFFERS, GROUP, PBUF_RING_INC, {0}};
    int err = io_uring_queue_init_params(ENTRIES, &ring, &params);
    if (err < 0) {
        unavailable("io_uring", err);
    }
    err = io_uring_register_buf_ring(&ring, (void *)&reg, 0);
    if (err < 0) {
        unavailable("a ring of buffers that are used up bit by bit", err);
    }
    io_uring_register_ring_fd(&ring);
    provided = (void *)memory;
    for (int i = 0; i < BUFFERS; i++) {
        provide(i);
    }
}

int
main(int argc, char **argv)
{
    setup();
    arm_accept(server_listen(argc, argv));
    for (;;) {
        int err = io_uring_submit_and_wait(&ring, 1);
        if (err < 0 && err != -EINTR && err != -EBUSY && err != -EAGAIN) {
            errno = -err;
            die("io_uring_submit_and_wait");
        }
        struct io_uring_cqe *cqe;
        unsigned head, n = 0;
        io_uring_for_each_cqe(&ring, head, cqe)
        {
            complete(cqe);
            n++;
        }
        io_uring_cq_advance(&ring, n);
        for (int i = 0; i < ndirty; i++) {
            settle(dirty[i]);
        }
        ndirty = 0;
        next_batch();
    }
}
