/* SPDX-License-Identifier: MIT */
/* chat.h - what an async_chat has in C. */
#ifndef ASYNCORE_PYTHON_CHAT_H
#define ASYNCORE_PYTHON_CHAT_H

#include "state.h"

/* A queue of objects, from head on; of the first, offset bytes have been
 * sent. */
struct fifo {
    uintptr_t *items; /* pointers; + 1: bytes that push() would have cut */
    size_t head, len, cap;
    size_t offset;
    size_t ends; /* so many of them are None */
};

static inline PyObject *
fifo_item(const struct fifo *q, size_t i)
{
    return (PyObject *)(q->items[i] & ~(uintptr_t)1);
}

size_t fifo_len(const struct fifo *q);
PyObject *fifo_first(const struct fifo *q);
/* pushed: to be shown in pieces of what is sent at a time. */
int fifo_append(struct fifo *q, PyObject *item, bool pushed);
int fifo_prepend(struct fifo *q, PyObject *item);
void fifo_pop(struct fifo *q);
void fifo_clear(struct fifo *q);
int fifo_traverse(const struct fifo *q, visitproc visit, void *arg);
/* A deque of what is queued, what was pushed in pieces of at most `most`. */
PyObject *fifo_to_deque(const struct fifo *q, PyObject *type, size_t most);
int fifo_from_deque(struct fifo *q, PyObject *deque);

struct chat {
    struct fifo fifo;
    PyObject *deque; /* the queue, if somebody else has it; or what he has put
                        in its place */
    PyObject *incoming; /* NULL: an empty list */
    /* What came in and is not parsed yet: in `owner`, or in a buffer of a
     * handle_read that is running. */
    PyObject *owner;
    const char *data;
    size_t len;
    PyObject *terminator;  /* an attribute (field.c) */
    struct output *output; /* of who is a dispatcher_with_send, too */
};

/* chat.c: its parts; NULL with AttributeError before __init__ */
struct chat *chat_of(PyObject *self, const char *name);
/* What is queued comes back from a deque that nobody else has.  Returns false
 * if others have it. */
bool chat_reclaim(const struct state *st, struct chat *c);

#endif
