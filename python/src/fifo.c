/* SPDX-License-Identifier: MIT */
/* fifo.c - what an async_chat has yet to send: bytes, producers, None for the
 * end.
 *
 * `producer_fifo` is a deque that programs append to, clear and keep, but few
 * look at it.  So it is made when somebody looks, with all that is queued; and
 * when nobody else has it any more, what is in it comes back here. */
#include "chat.h"

size_t
fifo_len(const struct fifo *q)
{
    return q->len - q->head;
}

PyObject *
fifo_first(const struct fifo *q)
{
    return fifo_item(q, q->head);
}

static int
reserve(struct fifo *q, size_t n)
{
    if (q->head > 0 && q->len + n > q->cap) {
        memmove(q->items, q->items + q->head, fifo_len(q) * sizeof *q->items);
        q->len -= q->head;
        q->head = 0;
    }
    if (q->len + n <= q->cap) {
        return 0;
    }
    size_t cap = 2 * (q->len + n);
    uintptr_t *more = PyMem_Realloc(q->items, cap * sizeof *more);
    if (more == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    q->items = more;
    q->cap = cap;
    return 0;
}

int
fifo_append(struct fifo *q, PyObject *item, bool pushed)
{
    if (reserve(q, 1) < 0) {
        return -1;
    }
    Py_INCREF(item);
    q->ends += item == Py_None;
    q->items[q->len++] = (uintptr_t)item | pushed;
    return 0;
}

int
fifo_prepend(struct fifo *q, PyObject *item)
{
    if (q->head == 0) {
        if (reserve(q, 1) < 0) {
            return -1;
        }
        memmove(q->items + 1, q->items, q->len * sizeof *q->items);
        q->len++;
    }
    else {
        q->head--;
    }
    Py_INCREF(item);
    q->ends += item == Py_None;
    q->items[q->head] = (uintptr_t)item;
    q->offset = 0;
    return 0;
}

void
fifo_pop(struct fifo *q)
{
    PyObject *item = fifo_item(q, q->head++);
    q->ends -= item == Py_None;
    q->offset = 0;
    if (q->head == q->len) {
        PyMem_Free(q->items);
        *q = (struct fifo){0};
    }
    Py_DECREF(item);
}

void
fifo_clear(struct fifo *q)
{
    while (fifo_len(q) > 0) {
        fifo_pop(q);
    }
}

int
fifo_traverse(const struct fifo *q, visitproc visit, void *arg)
{
    for (size_t i = q->head; i < q->len; i++) {
        Py_VISIT(fifo_item(q, i));
    }
    return 0;
}

/* ---- as a deque ---- */

static int
deque_append(PyObject *deque, PyObject *item)
{
    PyObject *none =
        item != NULL ? PyObject_CallMethod(deque, "append", "O", item) : NULL;
    Py_XDECREF(none);
    return none != NULL ? 0 : -1;
}

/* What push() took whole is there in pieces that are sent at a time. */
static int
append_pieces(PyObject *deque, PyObject *item, size_t offset, size_t most)
{
    Py_ssize_t len = PyObject_Size(item);
    Py_ssize_t at = (Py_ssize_t)offset;
    while (at < len) {
        Py_ssize_t end =
            len - at > (Py_ssize_t)most ? at + (Py_ssize_t)most : len;
        PyObject *piece = PySequence_GetSlice(item, at, end);
        int rc = deque_append(deque, piece);
        Py_XDECREF(piece);
        if (rc < 0) {
            return -1;
        }
        at = end;
    }
    return 0;
}

PyObject *
fifo_to_deque(const struct fifo *q, PyObject *type, size_t most)
{
    PyObject *deque = PyObject_CallObject(type, NULL);
    int rc = deque != NULL ? 0 : -1;
    for (size_t i = q->head; i < q->len && rc == 0; i++) {
        PyObject *item = fifo_item(q, i);
        size_t offset = i == q->head ? q->offset : 0;
        bool pushed = (q->items[i] & 1) != 0;
        bool whole =
            offset == 0 && (!pushed || (size_t)PyBytes_GET_SIZE(item) <= most);
        rc = whole ? deque_append(deque, item)
                   : append_pieces(deque, item, offset,
                                   pushed ? most : (size_t)PY_SSIZE_T_MAX);
    }
    if (rc < 0) {
        Py_CLEAR(deque);
    }
    return deque;
}

int
fifo_from_deque(struct fifo *q, PyObject *deque)
{
    PyObject *list = PySequence_List(deque);
    int rc = list != NULL ? 0 : -1;
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(list); i++) {
        rc = fifo_append(q, PyList_GET_ITEM(list, i), false);
    }
    Py_XDECREF(list);
    if (rc < 0) {
        fifo_clear(q);
    }
    return rc;
}
