/* SPDX-License-Identifier: MIT */
/* pass.c - a pass over a map that the core serves. */
#include <math.h>
#include <poll.h>

#include "registry.h"

/* Descriptors that somebody closed are silently forgotten by epoll: after so
 * many passes, or when nothing happens, but not more often than once in such
 * a time, they are looked at. */
#define LOOK_AGAIN 4096
#define LOOK_NS INT64_C(1000000000)

/* So many channels are looked at in no time; more, every so many passes. */
#define FEW 64
#define MANY_PASSES 256

/* ---- may the core serve it? ---- */

/* Into ns, -1 = for ever.  False for what the original would complain about:
 * let it. */
static bool
read_timeout(PyObject *timeout, bool use_poll, int64_t *ret)
{
    if (timeout == Py_None) {
        *ret = -1;
        return true;
    }
    if (!PyLong_CheckExact(timeout) && !PyFloat_CheckExact(timeout)) {
        return false;
    }
    double t = PyFloat_AsDouble(timeout);
    if (t == -1.0 && PyErr_Occurred()) {
        PyErr_Clear();
        return false;
    }
    if (use_poll && t < 0) {
        *ret = -1;
        return true;
    }
    double most = use_poll ? 2147483647.0 : 2147483.0;
    if (!(t >= 0 && t <= most)) {
        return false;
    }
    *ret = (int64_t)ceil(t * (use_poll ? 1e6 : 1e9));
    return true;
}

struct registry *
registry_find_or_make(struct state *st, PyObject *map)
{
    struct registry *reg = registry_find(st, map);
    if (reg != NULL && reg->depth == 0 && asyncore__map_check(reg->core) < 0) {
        /* The child of a fork: what is registered there is the parent's. */
        registry_free(reg);
        reg = NULL;
    }
    return reg != NULL ? reg : registry_make(st, map);
}

/* ---- the wait ---- */

/* No interest anywhere: the original sleeps, if it is to use select(), and
 * complains of what is no time to sleep. */
static int
sleep_for(const struct events *ev, PyObject *timeout)
{
    const struct names *n = &ev->st->names;
    PyObject *time = events_global(ev, n->time);
    PyObject *result = call_method_one(time, n->sleep, timeout);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* Once more until the deadline; signals are heeded in between. */
static int
wait_for_events(struct registry *reg, int64_t timeout)
{
    struct asyncore__world *w = &reg->world;
    int64_t deadline = timeout > 0 ? w->now(w) + timeout : 0;
    if (reg->core->nalways > 0 || reg->ninvalid > 0) {
        timeout = 0;
    }
    int err = -EINTR;
    while (err == -EINTR) {
        reg->waiting = true;
        err = reg->core->backend->wait(reg->core, timeout);
        reg->waiting = false;
        if (err == -EINTR) {
            if (PyErr_CheckSignals() < 0) {
                return -1;
            }
            if (reg->waiting) {
                return 0; /* another thread is, meanwhile */
            }
            if (timeout > 0) {
                timeout = deadline - w->now(w);
                timeout = timeout > 0 ? timeout : 0;
            }
        }
    }
    if (err < 0) {
        errno = -err;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 0;
}

/* ---- what is ready ---- */

struct ready {
    PyObject *obj;
    uint64_t seq;
    int fd;
    unsigned mask;
    bool readable, writable;
};

struct batch {
    struct registry *reg;
    struct ready *at;
    size_t n, most;
    uint64_t version; /* of the map, as it was then */
    struct ready few[32];
};

static void
batch_add(struct batch *b, const struct watch *w, unsigned mask)
{
    PyObject *obj = watch_object(w);
    b->at[b->n++] =
        (struct ready){obj, w->seq, w->fd, mask, w->readable, w->writable};
    Py_INCREF(obj);
}

static int
ready_by_seq(const void *a, const void *b)
{
    const struct ready *x = a, *y = b;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static void
batch_sort(struct batch *b)
{
    for (size_t i = 1; i < b->n; i++) {
        if (b->at[i - 1].seq > b->at[i].seq) {
            qsort(b->at, b->n, sizeof *b->at, ready_by_seq);
            return;
        }
    }
}

/* Who is in the map under a descriptor; borrowed; NULL without exception, but
 * for what keys of other types raise. */
static PyObject *
now_under(const struct registry *reg, int fd)
{
    PyObject *key = PyLong_FromLong(fd);
    PyObject *now =
        key != NULL ? PyDict_GetItemWithError(reg->map, key) : NULL;
    Py_XDECREF(key);
    return now;
}

/* Since the map was read, predicates and other threads have run: who is out
 * of it may be gone for good. */
static int
batch_add_present(struct batch *b, int fd, unsigned mask)
{
    const struct registry *reg = b->reg;
    PyObject *now = NULL;
    bool same = dictwatch_version(reg) == reg->version;
    if (!same) {
        now = now_under(reg, fd);
        if (now == NULL && PyErr_Occurred()) {
            return -1;
        }
    }
    const struct watch *w = reg->by_fd[fd];
    if (w != NULL && b->n < b->most && (same || watch_object(w) == now)) {
        batch_add(b, w, mask);
    }
    return 0;
}

/* What the core has reported. */
static int
batch_add_ready(struct batch *b)
{
    struct asyncore_map *core = b->reg->core;
    int rc = 0;
    for (size_t i = 0; i < core->nready && rc == 0; i++) {
        if (core->ready[i].fd == core->wake_fd[0]) {
            asyncore__calls_woken(core);
            continue;
        }
        rc = batch_add_present(b, core->ready[i].fd, core->ready[i].mask);
    }
    core->nready = 0;
    return rc;
}

static int
batch_add_always(struct batch *b)
{
    const struct asyncore_map *core = b->reg->core;
    int rc = 0;
    for (size_t i = 0; i < core->nalways && rc == 0; i++) {
        int fd = core->always[i];
        unsigned armed = core->slots[fd].armed;
        rc = batch_add_present(b, fd, armed & ~(unsigned)ASYNCORE__PRI);
    }
    return rc;
}

static int
batch_add_invalid(struct batch *b)
{
    struct registry *reg = b->reg;
    int rc = 0;
    for (size_t i = 0; i < reg->ninvalid; i++) {
        struct watch *w = reg->invalid[i];
        w->invalid = false;
        registry_touch(w);
        rc = rc == 0 ? batch_add_present(b, w->fd, ASYNCORE__NVAL) : rc;
    }
    reg->ninvalid = 0;
    return rc;
}

/* All that is to be told; files are always ready. */
static int
batch_fill(struct batch *b)
{
    struct registry *reg = b->reg;
    struct asyncore_map *core = reg->core;
    b->most = core->nready + core->nalways + reg->ninvalid;
    b->n = 0;
    b->at = b->few;
    b->version = reg->version;
    if (b->most > sizeof b->few / sizeof *b->few) {
        b->at = PyMem_Malloc(b->most * sizeof *b->at);
    }
    if (b->at == NULL) {
        b->at = b->few;
        core->nready = 0;
        PyErr_NoMemory();
        return -1;
    }
    if (batch_add_ready(b) < 0 || batch_add_always(b) < 0 ||
        batch_add_invalid(b) < 0) {
        return -1;
    }
    batch_sort(b);
    return 0;
}

static void
batch_free(struct batch *b)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    for (size_t i = 0; i < b->n; i++) {
        Py_DECREF(b->at[i].obj);
    }
    PyErr_Restore(type, value, traceback);
    if (b->at != b->few) {
        PyMem_Free(b->at);
    }
}

/* ---- delivery ---- */

/* Is it still under its descriptor?  Who came there meanwhile is served in
 * the next pass.  1, 0, -1. */
static int
is_there(const struct batch *b, const struct ready *r)
{
    const struct registry *reg = b->reg;
    if (dictwatch_version(reg) == b->version) {
        return 1;
    }
    const PyObject *now = now_under(reg, r->fd);
    return now == NULL && PyErr_Occurred() ? -1 : now == r->obj;
}

static int
poll_flags(const struct ready *r)
{
    unsigned m = r->mask;
    return ((m & ASYNCORE__READ) != 0 ? POLLIN : 0) |
           ((m & ASYNCORE__WRITE) != 0 ? POLLOUT : 0) |
           ((m & ASYNCORE__PRI) != 0 ? POLLPRI : 0) |
           ((m & ASYNCORE__ERR) != 0   ? POLLERR
            : (m & ASYNCORE__HUP) != 0 ? POLLHUP
                                       : 0) |
           ((m & ASYNCORE__NVAL) != 0 ? POLLNVAL : 0);
}

/* What select() would say: a hang-up is readable, an error both. */
static bool
is_selected(const struct ready *r, enum kind kind)
{
    const unsigned err = ASYNCORE__ERR;
    switch (kind) {
    case EVENT_READ:
        return r->readable &&
               (r->mask & (ASYNCORE__READ | ASYNCORE__HUP | err)) != 0;
    case EVENT_WRITE:
        return r->writable && (r->mask & (ASYNCORE__WRITE | err)) != 0;
    default:
        return (r->mask & ASYNCORE__PRI) != 0;
    }
}

static int
sweep(struct events *ev, struct batch *b, enum kind kind)
{
    for (size_t i = 0; i < b->n; i++) {
        const struct ready *r = &b->at[i];
        bool invalid = kind == EVENT_READ && (r->mask & ASYNCORE__NVAL) != 0;
        if (!invalid && !is_selected(r, kind)) {
            continue;
        }
        int rc = is_there(b, r);
        if (rc > 0) {
            rc = invalid ? events_readwrite(ev, r->obj, POLLNVAL, false)
                         : events_deliver(ev, r->obj, kind, true);
        }
        if (rc < 0) {
            return -1;
        }
    }
    return 0;
}

static int
deliver_select(struct events *ev, struct batch *b)
{
    int rc = 0;
    for (enum kind kind = EVENT_READ; rc == 0 && kind <= EVENT_EXPT; kind++) {
        rc = sweep(ev, b, kind);
    }
    return rc;
}

static int
deliver_poll(struct events *ev, struct batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        int rc = is_there(b, &b->at[i]);
        if (rc > 0) {
            rc = events_readwrite(ev, b->at[i].obj, poll_flags(&b->at[i]),
                                  true);
        }
        if (rc < 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- descriptors that epoll has forgotten ---- */

static bool
is_due(struct registry *reg, bool idle)
{
    if (reg->core->backend != &asyncore__backend_epoll ||
        (++reg->passes < LOOK_AGAIN && !idle)) {
        return false;
    }
    reg->passes = 0;
    int64_t now = reg->world.now(&reg->world);
    bool due = now - reg->looked >= LOOK_NS;
    reg->looked = due ? now : reg->looked;
    return due;
}

static int
look_at(struct registry *reg, struct pollfd *fds)
{
    nfds_t n = 0;
    for (size_t fd = 0; fd < reg->nfds; fd++) {
        if (reg->by_fd[fd] != NULL && reg->core->slots[fd].armed != 0) {
            fds[n++] = (struct pollfd){.fd = (int)fd};
        }
    }
    int rc = 0;
    int found = poll(fds, n, 0);
    for (nfds_t i = 0; found > 0 && i < n && rc == 0; i++) {
        if ((fds[i].revents & POLLNVAL) != 0) {
            rc = registry_invalid(reg->by_fd[fds[i].fd]);
        }
    }
    return rc;
}

static int
look_again(struct registry *reg, bool idle)
{
    if (!is_due(reg, idle)) {
        return 0;
    }
    struct pollfd *fds = PyMem_Calloc(reg->nfds + 1, sizeof *fds);
    if (fds == NULL) {
        return 0; /* another time */
    }
    int rc = look_at(reg, fds);
    PyMem_Free(fds);
    return rc;
}

/* ---- the pass ---- */

/* Where a class has a `__dict__` of its own making, nothing tells who gets the
 * dictionary: then all are looked at, in small maps in each pass. */
static void
look_for_unnoticed(struct registry *reg)
{
    if (klass_any_blind(reg->st) &&
        (reg->count <= FEW || ++reg->unseen >= MANY_PASSES)) {
        reg->unseen = 0;
        registry_touch_all(reg);
    }
}

int
registry_prepare(struct registry *reg, bool use_poll)
{
    int rc = registry_sync(reg);
    if (rc <= 0) {
        return rc;
    }
    interest_notice(reg);
    if (reg->use_poll != use_poll) {
        reg->use_poll = use_poll;
        registry_touch_all(reg);
    }
    look_for_unnoticed(reg);
    /* Before anybody is asked: who was touched may become one of them. */
    uint64_t last = reg->last_seq;
    if (interest_apply(reg, last) < 0 || ask_all(reg, last) < 0) {
        return -1;
    }
    if (reg->waiting) {
        return 0; /* another thread is, since somebody was asked */
    }
    if (interest_apply(reg, last) < 0) {
        return -1;
    }
    return registry_choose(reg) < 0 ? -1 : 1;
}

static int
serve_ready(struct events *ev, struct registry *reg)
{
    struct batch b;
    b.reg = reg; /* not all of it: it is large */
    b.n = b.most = 0;
    b.at = b.few;
    bool use_poll = reg->use_poll;
    int rc = look_again(reg, reg->core->nready == 0);
    if (rc == 0) {
        rc = batch_fill(&b);
    }
    if (rc == 0) {
        rc = use_poll ? deliver_poll(ev, &b) : deliver_select(ev, &b);
    }
    batch_free(&b);
    return rc;
}

int
registry_deliver(struct events *ev, struct registry *reg)
{
    return wait_for_events(reg, 0) < 0 || serve_ready(ev, reg) < 0 ? -1 : 1;
}

static int
run(struct events *ev, struct registry *reg, PyObject *timeout, int64_t ns,
    bool use_poll)
{
    int rc = registry_prepare(reg, use_poll);
    if (rc <= 0) {
        return rc;
    }
    if (!use_poll && ns < 0 && reg->armed == 0 && reg->ninvalid == 0) {
        return sleep_for(ev, timeout) < 0 ? -1 : 1;
    }
    if (wait_for_events(reg, ns) < 0 || serve_ready(ev, reg) < 0) {
        return -1;
    }
    return 1;
}

PyObject *
events_serve(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct events *ev = (struct events *)(void *)self;
    if (nargs != 3) {
        PyErr_SetString(PyExc_TypeError, "serve() takes 3 arguments");
        return NULL;
    }
    PyObject *map = args[1];
    bool use_poll = args[2] == Py_True;
    int64_t ns;
    if (event_flush_all(ev->st) < 0) {
        return NULL;
    }
    if (!PyDict_CheckExact(map) || !events_are_genuine(ev, use_poll) ||
        !read_timeout(args[0], use_poll, &ns)) {
        Py_RETURN_FALSE;
    }
    struct registry *reg = registry_find_or_make(ev->st, map);
    if (reg == NULL || reg->waiting) { /* another thread is */
        Py_RETURN_FALSE;
    }
    if (Py_EnterRecursiveCall(" in a pass")) {
        return NULL;
    }
    reg->depth++;
    int rc = run(ev, reg, args[0], ns, use_poll);
    reg->depth--;
    Py_LeaveRecursiveCall();
    return rc < 0 ? NULL : PyBool_FromLong(rc);
}
