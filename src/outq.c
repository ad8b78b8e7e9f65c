/* SPDX-License-Identifier: MIT */
/* outq.c - what waits to be sent: a list of pieces, written with writev().
 *
 * Small pushes are gathered into one piece, so that a queue of many of them
 * leaves in few iovecs; a piece is never moved or copied again.  Other pieces
 * are somebody else's bytes, or a source that is asked when its turn comes.
 * Nothing here does input or output. */
#include "internal.h"

/* A piece of copies holds at least this much, so that what follows finds
 * room; with its head it is of a size that malloc() has at hand.  In a long
 * queue the pieces grow with it, up to the other size. */
#define ROOM_MIN ((size_t)2032 - sizeof(struct asyncore__piece))
#define ROOM_MAX ((size_t)65536 - sizeof(struct asyncore__piece))

/* What a map keeps of the smallest: enough for the channels that answer in one
 * pass, in less memory than it receives into. */
#define SPARES_MOST 64

static struct asyncore__piece *
new_piece(enum asyncore__piece_kind kind, size_t cap)
{
    struct asyncore__piece *piece = NULL;
    if (cap <= SIZE_MAX - sizeof *piece) {
        piece = asyncore__realloc(NULL, sizeof *piece + cap);
    }
    if (piece != NULL) {
        *piece = (struct asyncore__piece){.kind = kind, .cap = cap};
        piece->bytes = piece->data;
    }
    return piece;
}

static void
link_piece(struct asyncore__outq *q, struct asyncore__piece *piece)
{
    if (q->tail != NULL) {
        q->tail->next = piece;
    }
    else {
        q->head = piece;
    }
    q->tail = piece;
}

static struct asyncore__piece *
unlink_head(struct asyncore__outq *q)
{
    struct asyncore__piece *piece = q->head;
    q->head = piece->next;
    if (q->head == NULL) {
        q->tail = NULL;
    }
    return piece;
}

/* ---- spare pieces ---- */

/* An empty piece of copies, for at least `room` bytes. */
static struct asyncore__piece *
take_piece(struct asyncore__spares *spares, size_t room)
{
    struct asyncore__piece *piece = spares != NULL ? spares->first : NULL;
    if (piece == NULL || room > ROOM_MIN) {
        return new_piece(ASYNCORE__COPY, room);
    }
    spares->first = piece->next;
    spares->n--;
    piece->next = NULL;
    piece->start = piece->end = 0;
    return piece;
}

/* Returns whether it is kept. */
static bool
give_piece(struct asyncore__spares *spares, struct asyncore__piece *piece)
{
    if (spares == NULL || spares->n == SPARES_MOST ||
        piece->kind != ASYNCORE__COPY || piece->cap != ROOM_MIN) {
        return false;
    }
    piece->next = spares->first;
    spares->first = piece;
    spares->n++;
    return true;
}

void
asyncore__spares_free(struct asyncore__spares *spares)
{
    while (spares->first != NULL) {
        struct asyncore__piece *piece = spares->first;
        spares->first = piece->next;
        asyncore__free(piece);
    }
    spares->n = 0;
}

static void
drop(struct asyncore__piece *piece)
{
    if (piece->busy) {
        piece->dropped = true;
        return;
    }
    if (piece->release != NULL) {
        bool source = piece->kind == ASYNCORE__SOURCE;
        piece->release(source ? NULL : (void *)(uintptr_t)piece->bytes,
                       source ? 0 : piece->cap, piece->arg);
    }
    asyncore__free(piece);
}

/* ---- copies ---- */

static size_t
room(const struct asyncore__piece *piece)
{
    bool mine = piece != NULL && piece->kind == ASYNCORE__COPY;
    return mine ? piece->cap - piece->end : 0;
}

static size_t
size_for(const struct asyncore__outq *q, size_t len)
{
    size_t size = q->len < ROOM_MAX ? q->len : ROOM_MAX;
    size = size < ROOM_MIN ? ROOM_MIN : size;
    return len > size ? len : size;
}

/* Copy up to `most` bytes of iov, from *at in its first piece on, into the
 * piece; both advance. */
static void
fill(struct asyncore__piece *piece, size_t most, const struct iovec **iov,
     size_t *at)
{
    while (most > 0) {
        size_t here = (*iov)->iov_len - *at;
        size_t n = here < most ? here : most;
        if (n > 0) {
            memcpy(piece->data + piece->end,
                   (const char *)(*iov)->iov_base + *at, n);
        }
        piece->end += n;
        most -= n;
        *at += n;
        if (*at == (*iov)->iov_len) {
            (*iov)++;
            *at = 0;
        }
    }
}

int
asyncore__outq_appendv(struct asyncore__outq *q,
                       struct asyncore__spares *spares,
                       const struct iovec *iov, int n, size_t len)
{
    if (len == 0) {
        return 0;
    }
    if (asyncore__outq_add(q, SIZE_MAX, iov, n)) {
        return 0;
    }
    size_t first = room(q->tail), rest = len - first, at = 0;
    struct asyncore__piece *piece = take_piece(spares, size_for(q, rest));
    if (piece == NULL) {
        return -ENOMEM;
    }
    if (first > 0) {
        fill(q->tail, first, &iov, &at);
        fill(piece, rest, &iov, &at);
        link_piece(q, piece);
        q->len += len;
    }
    else {
        link_piece(q, piece);
        asyncore__outq_add(q, SIZE_MAX, iov, n);
    }
    return 0;
}

int
asyncore__outq_append(struct asyncore__outq *q,
                      struct asyncore__spares *spares, const void *data,
                      size_t len)
{
    struct iovec iov = {(void *)(uintptr_t)data, len};
    return asyncore__outq_appendv(q, spares, &iov, 1, len);
}

int
asyncore__outq_prepend(struct asyncore__outq *q,
                       struct asyncore__spares *spares, const void *data,
                       size_t len)
{
    size_t room = len > ROOM_MIN ? len : ROOM_MIN;
    struct asyncore__piece *piece = take_piece(spares, room);
    if (piece == NULL) {
        return -ENOMEM;
    }
    memcpy(piece->data, data, len);
    piece->end = len;
    piece->next = q->head;
    q->head = piece;
    q->tail = q->tail != NULL ? q->tail : piece;
    q->len += len;
    return 0;
}

/* ---- others ---- */

int
asyncore__outq_borrow(struct asyncore__outq *q, void *data, size_t len,
                      void (*release)(void *data, size_t len, void *arg),
                      void *arg)
{
    struct asyncore__piece *piece = new_piece(ASYNCORE__BORROWED, 0);
    if (piece == NULL) {
        return -ENOMEM;
    }
    piece->bytes = data;
    piece->end = piece->cap = len;
    piece->release = release;
    piece->arg = arg;
    link_piece(q, piece);
    q->len += len;
    return 0;
}

int
asyncore__outq_add_source(struct asyncore__outq *q,
                          const struct asyncore__source_ops *source,
                          void (*release)(void *, size_t, void *), void *arg)
{
    struct asyncore__piece *piece = new_piece(ASYNCORE__SOURCE, 0);
    if (piece == NULL) {
        return -ENOMEM;
    }
    piece->source = source;
    piece->release = release;
    piece->arg = arg;
    link_piece(q, piece);
    return 0;
}

/* ---- out ---- */

int
asyncore__outq_peek(const struct asyncore__outq *q, struct iovec *iov, int max)
{
    int n = 0;
    for (struct asyncore__piece *piece = q->head; piece != NULL && n < max;
         piece = piece->next) {
        if (piece->end > piece->start) {
            iov[n].iov_base = (void *)(uintptr_t)(piece->bytes + piece->start);
            iov[n].iov_len = piece->end - piece->start;
            n++;
        }
        if (piece->kind == ASYNCORE__SOURCE) {
            break; /* it may have more, and that goes first */
        }
    }
    return n;
}

void
asyncore__outq_consume(struct asyncore__outq *q,
                       struct asyncore__spares *spares, size_t n)
{
    /* The queue first, then those who are told: they may clear it, or push. */
    struct asyncore__outq gone = {0};
    while (q->head != NULL) {
        struct asyncore__piece *piece = q->head;
        size_t here = piece->end - piece->start;
        size_t taken = n < here ? n : here;
        piece->start += taken;
        n -= taken;
        if (piece->kind == ASYNCORE__SOURCE) {
            break;
        }
        q->len -= taken;
        if (taken < here) {
            break;
        }
        unlink_head(q);
        if (!give_piece(spares, piece)) {
            piece->next = NULL;
            link_piece(&gone, piece);
        }
    }
    while (gone.head != NULL) {
        drop(unlink_head(&gone));
    }
}

void
asyncore__outq_consume_only(struct asyncore__outq *q,
                            struct asyncore__spares *spares)
{
    struct asyncore__piece *piece = q->head;
    *q = (struct asyncore__outq){0};
    if (!give_piece(spares, piece)) {
        drop(piece);
    }
}

void
asyncore__outq_pop(struct asyncore__outq *q, struct asyncore__piece *piece)
{
    if (q->head == piece) {
        drop(unlink_head(q));
        return;
    }
    struct asyncore__piece *before = q->head;
    while (before->next != piece) {
        before = before->next;
    }
    before->next = piece->next;
    q->tail = q->tail == piece ? before : q->tail;
    drop(piece);
}

struct asyncore__piece *
asyncore__outq_hold(struct asyncore__outq *q)
{
    q->head->busy = true;
    return q->head;
}

bool
asyncore__outq_unhold(struct asyncore__piece *piece)
{
    piece->busy = false;
    if (piece->dropped) {
        drop(piece);
        return false;
    }
    return true;
}

void
asyncore__outq_clear(struct asyncore__outq *q)
{
    /* Detached first: a release may push again. */
    struct asyncore__outq old = *q;
    *q = (struct asyncore__outq){0};
    while (old.head != NULL) {
        drop(unlink_head(&old));
    }
}
