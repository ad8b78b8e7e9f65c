/* SPDX-License-Identifier: MIT */
/* outq.c - bytes waiting to be sent: a list of pieces, written with writev.
 *
 * Small pushes are gathered into one piece, so that a queue of many of them
 * leaves in few iovecs; a piece is never moved or copied again. */
#include "internal.h"

/* A piece holds at least this much, so that what follows finds room. */
#define PIECE_MIN ((size_t)4096 - sizeof(struct asyncore__piece))

struct asyncore__piece {
    struct asyncore__piece *next;
    size_t start, end, cap; /* data[start .. end) of cap */
    char data[];
};

static size_t
room(const struct asyncore__piece *piece)
{
    return piece != NULL ? piece->cap - piece->end : 0;
}

static void
fill(struct asyncore__piece *piece, const char *data, size_t len)
{
    memcpy(piece->data + piece->end, data, len);
    piece->end += len;
}

int
asyncore__outq_append(struct asyncore__outq *q, const void *data, size_t len)
{
    if (len == 0) {
        return 0;
    }
    size_t first = room(q->tail) < len ? room(q->tail) : len;
    size_t rest = len - first;
    struct asyncore__piece *piece = NULL;
    if (rest > 0) {
        size_t cap = rest < PIECE_MIN ? PIECE_MIN : rest;
        if (cap > SIZE_MAX - sizeof *piece) {
            return -ENOMEM;
        }
        piece = asyncore__realloc(NULL, sizeof *piece + cap);
        if (piece == NULL) {
            return -ENOMEM;
        }
        *piece = (struct asyncore__piece){.cap = cap};
        fill(piece, (const char *)data + first, rest);
    }
    if (first > 0) {
        fill(q->tail, data, first);
    }
    if (piece != NULL) {
        if (q->tail != NULL) {
            q->tail->next = piece;
        } else {
            q->head = piece;
        }
        q->tail = piece;
    }
    q->len += len;
    return 0;
}

int
asyncore__outq_peek(const struct asyncore__outq *q, struct iovec *iov, int max)
{
    int n = 0;
    for (struct asyncore__piece *piece = q->head; piece != NULL && n < max;
         piece = piece->next) {
        iov[n].iov_base = piece->data + piece->start;
        iov[n].iov_len = piece->end - piece->start;
        n++;
    }
    return n;
}

void
asyncore__outq_consume(struct asyncore__outq *q, size_t n)
{
    q->len -= n;
    while (q->head != NULL) {
        struct asyncore__piece *piece = q->head;
        size_t here = piece->end - piece->start;
        if (n < here) {
            piece->start += n;
            return;
        }
        n -= here;
        q->head = piece->next;
        asyncore__free(piece);
    }
    q->tail = NULL;
}

void
asyncore__outq_clear(struct asyncore__outq *q)
{
    asyncore__outq_consume(q, q->len);
}
