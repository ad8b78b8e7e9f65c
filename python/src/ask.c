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
    uint64_t seq; /* the order of the map */
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

static struct question
question_of(const struct watch *w)
{
    PyObject *obj = watch_object(w);
    Py_INCREF(obj);
    return (struct question){obj, w->seq, w->fd, w->channel};
}

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
        qs->at[qs->n++] = question_of(reg->asked[i]);
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

/* ---- who is to be asked, too ---- */

static int
questions_insert(struct questions *qs, size_t i, const struct watch *w)
{
    while (i < qs->n && qs->at[i].seq < w->seq) {
        i++;
    }
    if (i < qs->n && qs->at[i].seq == w->seq) {
        return 0; /* he is there */
    }
    if (asyncore__reserve_raw(&qs->at, &qs->cap, qs->n + 1, sizeof *qs->at) <
        0) {
        PyErr_NoMemory();
        return -1;
    }
    memmove(&qs->at[i + 1], &qs->at[i], (qs->n - i) * sizeof *qs->at);
    qs->at[i] = question_of(w);
    qs->n++;
    return 0;
}

/* Was he known when the pass began, and would his turn come after `now`? */
static bool
is_later(const struct watch *w, uint64_t now, uint64_t last)
{
    return w->readable && !w->asked && w->seq > now && w->seq <= last;
}

/* The predicate that was called last may have made one of the known one who is
 * to be asked: by attributes, or by a change of his class.  Who was touched
 * before `seen` was looked at. */
static int
ask_also(struct registry *reg, struct questions *qs, size_t i, int seen,
         uint64_t last)
{
    int next = -1;
    for (int fd = reg->touched_last; fd >= 0 && fd != seen; fd = next) {
        struct watch *w = reg->by_fd[fd];
        next = w->before;
        if (!is_later(w, qs->at[i].seq, last)) {
            continue;
        }
        registry_untouch(w);
        if (interest_update(w) < 0) {
            registry_touch(w);
            return -1;
        }
        if (w->asked && questions_insert(qs, i + 1, w) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
ask_each(struct registry *reg, struct questions *qs, uint64_t last)
{
    int seen = reg->touched_last;
    bool noticed = false; /* once: some change their class in every call */
    for (size_t i = 0; i < qs->n; i++) {
        if (ask_one(reg, &qs->at[i]) < 0) {
            return -1;
        }
        noticed = noticed || interest_notice(reg);
        if (reg->touched_last != seen &&
            ask_also(reg, qs, i, seen, last) < 0) {
            return -1;
        }
        seen = reg->touched_last;
    }
    return 0;
}

int
ask_all(struct registry *reg, uint64_t last)
{
    struct questions qs;
    if (reg->nasked == 0) {
        return 0;
    }
    sort_asked(reg);
    if (questions_begin(reg, &qs) < 0) {
        return -1;
    }
    int rc = ask_each(reg, &qs, last);
    questions_end(reg, &qs);
    return rc;
}
