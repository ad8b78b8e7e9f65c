/* SPDX-License-Identifier: MIT */
/* ask.c - readable() and writable() of who overrides them, called before each
 * wait.
 *
 * With many idle channels that is nearly all that a pass costs.  So a function
 * of the class is called as it is, without being looked up, and whose answers
 * are those of the last pass is not touched otherwise. */
#include <stdlib.h>

#include "registry.h"

static int
truth(PyObject *answer)
{
    if (answer == Py_True || answer == Py_False) {
        Py_DECREF(answer);
        return answer == Py_True;
    }
    int rc = answer != NULL ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    return rc;
}

/* ---- one channel ---- */

struct answer {
    bool readable, writable, urgent;
};

struct question {
    PyObject *obj;
    int fd;
    bool channel;
};

static int
ask_readable(const struct state *st, const struct question *q)
{
    const struct klass *k = q->channel ? klass_of(q->obj) : &st->unknown;
    if (interest_readable(k, channel_of(q->obj))) {
        return 1;
    }
    return truth(method_call(k, q->obj, METHOD_READABLE, NULL));
}

/* As in the original: both, and `accepting` only of the writable. */
static int
ask(const struct state *st, const struct question *q, struct answer *ret)
{
    int r = ask_readable(st, q);
    if (r < 0) {
        return -1;
    }
    ret->readable = r;
    /* Again: readable() was called. */
    const struct klass *k = q->channel ? klass_of(q->obj) : &st->unknown;
    struct channel *ch = channel_of(q->obj);
    if (interest_writable(k, ch, &ret->writable)) {
        ret->urgent = r > 0 || interest_has_output(k, ch) > 0;
        return 0;
    }
    int w = truth(method_call(k, q->obj, METHOD_WRITABLE, NULL));
    ret->urgent = r > 0 || w > 0;
    if (w > 0) {
        int accepting = attribute_truth(q->obj, st->names.accepting);
        w = accepting < 0 ? -1 : !accepting;
    }
    ret->writable = w > 0;
    return w < 0 ? -1 : 0;
}

/* Who is asked has the say until the next pass, if he is still there. */
static int
ask_one(struct registry *reg, const struct question *q)
{
    struct answer answer = {false, false, false};
    if (ask(reg->st, q, &answer) < 0) {
        return -1;
    }
    struct watch *w = (size_t)q->fd < reg->nfds ? reg->by_fd[q->fd] : NULL;
    if (w == NULL || watch_object(w) != q->obj) {
        return 0;
    }
    if (w->settled && w->readable == answer.readable &&
        w->writable == answer.writable && w->urgent == answer.urgent) {
        return 0;
    }
    w->readable = answer.readable;
    w->writable = answer.writable;
    w->urgent = answer.urgent;
    return interest_arm(w);
}

/* ---- all of them ---- */

static int
by_seq(const void *a, const void *b)
{
    const struct watch *x = *(struct watch *const *)a;
    const struct watch *y = *(struct watch *const *)b;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static void
sort_asked(struct registry *reg)
{
    if (!reg->asked_unsorted) {
        return;
    }
    size_t n = 0;
    for (size_t i = 0; i < reg->nasked; i++) {
        if (reg->asked[i] != NULL) {
            reg->asked[n++] = reg->asked[i];
        }
    }
    qsort(reg->asked, n, sizeof *reg->asked, by_seq);
    reg->nasked = n;
    reg->asked_unsorted = false;
}

/* What is asked is who is there now, whatever the predicates do: a list of
 * its own, since they may run passes in turn. */
struct questions {
    struct question *at;
    size_t n, cap;
};

static int
questions_begin(struct registry *reg, struct questions *qs)
{
    *qs = (struct questions){reg->questions, 0, reg->questions_cap};
    reg->questions = NULL;
    reg->questions_cap = 0;
    size_t n = reg->nasked;
    if (asyncore__reserve_raw(&qs->at, &qs->cap, n, sizeof *qs->at) < 0) {
        asyncore__free(qs->at);
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        const struct watch *w = reg->asked[i];
        PyObject *obj = watch_object(w);
        Py_INCREF(obj);
        qs->at[qs->n++] = (struct question){obj, w->fd, w->channel};
    }
    return 0;
}

static void
questions_end(struct registry *reg, struct questions *qs)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    for (size_t i = 0; i < qs->n; i++) {
        Py_DECREF(qs->at[i].obj);
    }
    PyErr_Restore(type, value, traceback);
    asyncore__free(reg->questions); /* of a pass inside of this one */
    reg->questions = qs->at;
    reg->questions_cap = qs->cap;
}

int
ask_all(struct registry *reg)
{
    struct questions qs;
    if (reg->nasked == 0) {
        return 0;
    }
    sort_asked(reg);
    if (questions_begin(reg, &qs) < 0) {
        return -1;
    }
    int rc = 0;
    for (size_t i = 0; i < qs.n && rc == 0; i++) {
        rc = ask_one(reg, &qs.at[i]);
    }
    questions_end(reg, &qs);
    return rc;
}
