/* SPDX-License-Identifier: MIT */
/* pieces.c - bytes objects that the kernel fills, to be received as they are.
 *
 * A set of them, all as long as what the program asks for at a time, is read
 * into at once (MSG_PEEK), and what is filled is handed out without another
 * copy.  The set keeps a reference to each.  One that nobody else has any more
 * is used anew, for then nobody can see it change: who has a buffer or a view
 * of an object has the object, and bytes have no weak references.  The place
 * of one that a program keeps is taken by a new one. */
#include <sys/socket.h>
#include <sys/uio.h>

#include "state.h"

/* ob_shash is deprecated, but as long as it is there it must be right. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

/* At most so many in a set, … */
#define PIECES ((size_t)64)
/* … of so many bytes together, … */
#define PIECES_BYTES ((size_t)512 * 1024)
/* … none of them shorter: then the bytes are copied; … */
#define SHORTEST ((size_t)4096)
/* … and so many sets that wait to be used, each with its length. */
#define SETS 2

struct pieces {
    struct pieces *next; /* in state.pieces */
    size_t size;         /* of each … */
    size_t n;            /* … of these: */
    size_t given;        /* of the first ones, programs may have some */
    struct iovec iov[PIECES];
    PyObject *objects[PIECES];
};

bool
pieces_fit(size_t size)
{
    return size <= PIECES_BYTES / 2; /* else there is nothing to gain */
}

static size_t
count(size_t size)
{
    size_t n = PIECES_BYTES / size;
    return n < PIECES ? n : PIECES;
}

/* ---- a set ---- */

static void
shorten(struct pieces *p, size_t n)
{
    while (p->n > n) {
        Py_DECREF(p->objects[--p->n]);
    }
}

void
pieces_free(struct pieces *p)
{
    while (p != NULL) {
        struct pieces *next = p->next;
        shorten(p, 0);
        PyMem_Free(p);
        p = next;
    }
}

static bool
put_new(struct pieces *p, size_t i)
{
    PyObject *object = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)p->size);
    if (object == NULL) {
        PyErr_Clear(); /* then fewer */
        return false;
    }
    p->objects[i] = object;
    p->iov[i].iov_base = PyBytes_AS_STRING(object);
    p->iov[i].iov_len = p->size;
    return true;
}

static void
fill_up(struct pieces *p)
{
    while (p->n < count(p->size) && put_new(p, p->n)) {
        p->n++;
    }
}

static bool
is_free(PyObject *object)
{
#ifdef Py_GIL_DISABLED
    (void)object; /* the count that is seen may be another thread's past */
    return false;
#else
    return Py_REFCNT(object) == 1;
#endif
}

/* All of them are ours alone again. */
static void
renew(struct pieces *p)
{
    for (size_t i = 0; i < p->given; i++) {
        PyObject *object = p->objects[i];
        if (is_free(object)) {
            continue;
        }
        if (!put_new(p, i)) {
            shorten(p, i);
            break;
        }
        Py_DECREF(object);
    }
    p->given = 0;
    fill_up(p);
}

/* ---- sets that wait ---- */

/* The one with that length, else one that is to get it, or NULL. */
static struct pieces *
take_known(struct state *st, size_t size)
{
    struct pieces **at = &st->pieces;
    if (*at == NULL) {
        return NULL;
    }
    while ((*at)->size != size && (*at)->next != NULL) {
        at = &(*at)->next;
    }
    struct pieces *p = *at;
    *at = p->next;
    p->next = NULL;
    return p;
}

static bool
has_set(const struct state *st, size_t size)
{
    size_t sets = 0;
    const struct pieces *p = st->pieces;
    for (; p != NULL && p->size != size; p = p->next) {
        sets++;
    }
    return p != NULL || sets >= SETS;
}

static struct pieces *
take(struct state *st, size_t size)
{
    struct pieces *p =
        has_set(st, size) ? take_known(st, size) : PyMem_Calloc(1, sizeof *p);
    if (p == NULL) {
        return NULL;
    }
    if (p->size != size) {
        shorten(p, 0);
        p->given = 0;
        p->size = size;
    }
    return p;
}

void
pieces_give(struct state *st, struct pieces *p)
{
    p->next = st->pieces;
    st->pieces = p;
    struct pieces *last = p;
    for (size_t sets = 1; last->next != NULL && sets < SETS; sets++) {
        last = last->next;
    }
    pieces_free(last->next);
    last->next = NULL;
}

/* ---- what is in it ---- */

struct pieces *
pieces_peek(struct state *st, int fd, size_t size, size_t *ret_len)
{
    struct pieces *p = take(st, size > SHORTEST ? size : SHORTEST);
    if (p == NULL) {
        return NULL;
    }
    renew(p);
    struct msghdr msg = {.msg_iov = p->iov, .msg_iovlen = p->n};
    ssize_t n = p->n > 0 ? recvmsg(fd, &msg, MSG_PEEK) : -1;
    if (n <= 0) {
        pieces_give(st, p);
        return NULL; /* recv() will say what it is */
    }
    *ret_len = (size_t)n;
    return p;
}

static PyObject *
give(struct pieces *p, size_t i)
{
    PyObject *object = p->objects[i];
    ((PyBytesObject *)(void *)object)->ob_shash = -1; /* of what it was */
    p->given = i + 1;
    Py_INCREF(object);
    return object;
}

static void
copy(char *to, const struct pieces *p, size_t at, size_t len)
{
    while (len > 0) {
        size_t offset = at % p->size;
        size_t n = p->size - offset < len ? p->size - offset : len;
        memcpy(to, (char *)p->iov[at / p->size].iov_base + offset, n);
        to += n;
        at += n;
        len -= n;
    }
}

PyObject *
pieces_get(struct pieces *p, size_t at, size_t len)
{
    if (len == p->size && at % p->size == 0) {
        return give(p, at / p->size);
    }
    PyObject *data = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)len);
    if (data != NULL) {
        copy(PyBytes_AS_STRING(data), p, at, len);
    }
    return data;
}
