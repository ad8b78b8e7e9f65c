/* SPDX-License-Identifier: MIT */
/* event.c - events delivered to channels: `read`, `write`, `_exception` and
 * `readwrite`, and dispatcher's handlers of events.
 *
 * What a channel sends while it is given what has come in, and more of that is
 * there for it, is kept, and goes out in one piece after the last; before
 * that, if the program looks at anything it could notice it by.  With nothing
 * more to come it is sent at once: a handler may wait for the answer. */
#include <errno.h>
#include <poll.h>

#include "state.h"

/* ---- output that waits for the end of an event ---- */

void
event_enlist(struct event *e)
{
    if (e->listed) {
        return;
    }
    struct state *st = klass_of(e->channel)->st;
    e->listed = true;
    e->prev = NULL;
    e->next = st->pending;
    if (e->next != NULL) {
        e->next->prev = e;
    }
    st->pending = e;
}

static void
unlist(struct event *e)
{
    if (!e->listed) {
        return;
    }
    e->listed = false;
    if (e->next != NULL) {
        e->next->prev = e->prev;
    }
    if (e->prev != NULL) {
        e->prev->next = e->next;
    }
    else {
        klass_of(e->channel)->st->pending = e->next;
    }
}

bool
event_defers(PyObject *self)
{
    struct event *e = channel_of(self)->event;
    bool more = e != NULL && (e->more || e->ahead != NULL);
    if (!more || e->thread != PyThread_get_thread_ident()) {
        return false;
    }
    e->deferred = true;
    event_enlist(e);
    return true;
}

static int
flush(struct event *e)
{
    PyObject *channel = e->channel;
    bool deferred = e->deferred;
    e->deferred = false;
    unlist(e);
    ahead_sync(e);
    if (!deferred) {
        return 0;
    }
    return channel_chat(channel_of(channel)) != NULL ? chat_flush(channel)
                                                     : sender_flush(channel);
}

int
event_flush(PyObject *self)
{
    return flush(channel_of(self)->event);
}

int
event_flush_all(struct state *st)
{
    unsigned long thread = PyThread_get_thread_ident();
    struct event *e = st->pending;
    while (e != NULL) {
        if (e->thread != thread) {
            e = e->next;
            continue;
        }
        if (flush(e) < 0) {
            return -1;
        }
        e = st->pending; /* anything may have happened */
    }
    return 0;
}

static void
event_begin(struct event *e, struct channel *ch)
{
    *e = (struct event){.channel = (PyObject *)ch,
                        .outer = ch->event,
                        .thread = PyThread_get_thread_ident()};
    ch->event = e;
}

/* The innermost without e: threads end their events in any order. */
static struct event *
without(struct event *e, struct event *innermost)
{
    if (innermost == e) {
        return e->outer;
    }
    struct event *inner = innermost;
    while (inner->outer != e) {
        inner = inner->outer;
    }
    inner->outer = e->outer;
    return innermost;
}

/* With an exception of the handler set or not, which is then kept. */
static int
event_end(struct event *e, struct channel *ch)
{
    int rc = 0;
    ch->event = without(e, ch->event); /* nothing is put off any more */
    if (e->listed) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        rc = flush(e);
        if (type != NULL) {
            PyErr_Clear();
            PyErr_Restore(type, value, traceback);
            rc = 0;
        }
    }
    return rc;
}

/* ---- dispatcher's own handlers of events ---- */

static int
is_accepting(PyObject *self, const struct klass *k)
{
    int known = (k->facts & KLASS_FLAGS) != 0
                    ? channel_accepting(channel_of(self))
                    : -1;
    return known >= 0 ? known : attribute_truth(self, k->st->names.accepting);
}

static int
is_connected(PyObject *self)
{
    const struct klass *k = klass_of(self);
    int known = (k->facts & KLASS_FLAGS) != 0
                    ? channel_connected(channel_of(self))
                    : -1;
    return known >= 0 ? known : attribute_truth(self, k->st->names.connected);
}

/* No descriptor is left for a connection.  That is no fault of the listener:
 * to close it would end the service, to go on would be to turn in circles, for
 * the connection waits still. */
static int
accept_event(PyObject *self, const struct names *n)
{
    int rc = call_void(self, n->handle_accept);
    if (rc == 0 || (caught_errno() != EMFILE && caught_errno() != ENFILE)) {
        return rc;
    }
    struct caught c;
    catch_begin(&c, "handle_accept");
    rc = call_void(self, n->_dispatcher__back_off);
    catch_end(&c);
    return rc;
}

/* Returns 1: go on, 0: it is gone, -1. */
static int
connect_event(PyObject *self, const struct names *n)
{
    int connecting = attribute_truth(self, n->connecting);
    if (connecting <= 0) {
        return connecting < 0 ? -1 : 1;
    }
    unsigned life = channel_of(self)->life;
    if (call_void(self, n->handle_connect_event) < 0) {
        return -1;
    }
    return channel_of(self)->life == life;
}

static int
read_event(PyObject *self)
{
    const struct klass *k = klass_of(self);
    const struct names *n = &k->st->names;
    int accepting = is_accepting(self, k);
    if (accepting != 0) {
        return accepting < 0 ? -1 : accept_event(self, n);
    }
    int connected = is_connected(self);
    if (connected == 0) {
        connected = connect_event(self, n);
    }
    return connected > 0 ? method_call_void(self, METHOD_HANDLE_READ, NULL)
                         : connected;
}

static int
write_event(PyObject *self)
{
    const struct klass *k = klass_of(self);
    const struct names *n = &k->st->names;
    int accepting = is_accepting(self, k);
    if (accepting != 0) {
        return accepting < 0 ? -1 : 0;
    }
    int connected = is_connected(self);
    if (connected == 0) {
        connected = connect_event(self, n);
    }
    return connected > 0 ? method_call_void(self, METHOD_HANDLE_WRITE, NULL)
                         : connected;
}

static PyObject *
dispatcher_handle_read_event(PyObject *self, PyObject *unused)
{
    (void)unused;
    if (read_event(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef dispatcher_handle_read_event_def = {
    "handle_read_event", dispatcher_handle_read_event, METH_NOARGS,
    PyDoc_STR("handle_read_event($self)\n--\n\nReadable: a connection to "
              "accept, one that stands now, or data.")};

static PyObject *
dispatcher_handle_write_event(PyObject *self, PyObject *unused)
{
    (void)unused;
    if (write_event(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef dispatcher_handle_write_event_def = {
    "handle_write_event", dispatcher_handle_write_event, METH_NOARGS,
    PyDoc_STR("handle_write_event($self)\n--\n\nWritable: a connection that "
              "stands now, or room for output.")};

/* ---- one event ---- */

static int
call_handler(const struct state *st, PyObject *obj, enum kind kind)
{
    const struct names *n = &st->names;
    if (kind == EVENT_EXPT) {
        return call_void(obj, n->handle_expt_event);
    }
    bool reading = kind == EVENT_READ;
    PyObject *name = reading ? n->handle_read_event : n->handle_write_event;
    unsigned fact = reading ? KLASS_READ_EVENT : KLASS_WRITE_EVENT;
    if (is_channel(st, obj) && channel_is(obj, fact, name)) {
        if (Py_EnterRecursiveCall(" in an event of a channel")) {
            return -1;
        }
        int rc = reading ? read_event(obj) : write_event(obj);
        Py_LeaveRecursiveCall();
        return rc;
    }
    return call_void(obj, name);
}

static int
call_event(const struct state *st, PyObject *obj, enum kind kind, bool greedy)
{
    if (!is_channel(st, obj)) {
        return call_handler(st, obj, kind);
    }
    struct event event;
    struct channel *ch = channel_of(obj);
    /* A handler may have another event delivered to its own channel, and so
     * may another thread: what waits for the end of the first is not for the
     * second to find.  Only for the innermost may something wait, then. */
    if (event_has_deferred(ch) && event_flush(obj) < 0) {
        return -1;
    }
    Py_INCREF(obj);
    event_begin(&event, ch);
    event.greedy =
        greedy && kind == EVENT_READ &&
        channel_is(obj, KLASS_READ_EVENT, st->names.handle_read_event);
    unsigned life = ch->life;
    int rc = call_handler(st, obj, kind);
    size_t before = 0;
    while (rc == 0 && ch->life == life && ahead_more(&event, obj, before)) {
        before = event.at;
        rc = method_call_void(obj, METHOD_HANDLE_READ, NULL);
    }
    if (event_end(&event, ch) < 0) {
        rc = -1;
    }
    Py_DECREF(obj);
    return rc;
}

/* ---- exceptions ---- */

PyObject *
events_global(const struct events *ev, PyObject *name)
{
    return PyDict_GetItemWithError(ev->globals, name);
}

int
events_disconnected(PyObject *events, int code)
{
    if (code == 0 || events == NULL) {
        return 0;
    }
    const struct events *ev = (const struct events *)(void *)events;
    PyObject *set = events_global(ev, ev->st->names._DISCONNECTED);
    PyObject *number = PyLong_FromLong(code);
    int found = -1;
    if (set != NULL && number != NULL) {
        found = PySequence_Contains(set, number);
    }
    Py_XDECREF(number);
    return found;
}

static bool
passes(const struct events *ev)
{
    PyObject *kinds = events_global(ev, ev->st->names._reraised_exceptions);
    return kinds != NULL && PyErr_ExceptionMatches(kinds);
}

/* The end of a protected block that has failed: somebody is told, while the
 * exception is being handled. */
static int
route(const struct events *ev, PyObject *obj, bool quietly)
{
    const struct names *n = &ev->st->names;
    PyObject *handler = n->handle_error;
    if (quietly && PyErr_ExceptionMatches(PyExc_OSError)) {
        int gone =
            events_disconnected((PyObject *)(uintptr_t)ev, caught_errno());
        if (gone < 0) {
            return -1;
        }
        handler = gone > 0 ? n->handle_close : handler;
    }
    else if (passes(ev)) {
        return -1;
    }
    struct caught c;
    catch_begin(&c, "handle_event");
    int rc = call_void(obj, handler);
    catch_end(&c);
    return rc;
}

int
events_deliver(struct events *ev, PyObject *obj, enum kind kind, bool greedy)
{
    int rc = call_event(ev->st, obj, kind, greedy);
    return rc < 0 ? route(ev, obj, false) : 0;
}

/* ---- the events of poll() ---- */

/* A channel of ours that has left its map gets no more of them; of other
 * objects nothing is known. */
static bool
is_over(const struct state *st, PyObject *obj, unsigned life)
{
    return is_channel(st, obj) && channel_of(obj)->life != life;
}

/* A hang-up is found by reading up to it, or what has come in before would be
 * lost. */
static bool
is_reading(const struct state *st, PyObject *obj)
{
    return is_channel(st, obj) && channel_of(obj)->received;
}

static int
deliver_flags(const struct state *st, PyObject *obj, int flags, bool greedy)
{
    static const struct {
        int flag;
        enum kind kind;
    } steps[] = {
        {POLLIN, EVENT_READ}, {POLLOUT, EVENT_WRITE}, {POLLPRI, EVENT_EXPT}};
    unsigned life = is_channel(st, obj) ? channel_of(obj)->life : 0;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        if ((flags & steps[i].flag) == 0) {
            continue;
        }
        if (is_channel(st, obj)) {
            channel_of(obj)->received = false;
        }
        if (call_event(st, obj, steps[i].kind, greedy) < 0) {
            return -1;
        }
        if (is_over(st, obj, life)) {
            return 0;
        }
        if (steps[i].kind == EVENT_READ && is_reading(st, obj)) {
            flags &= ~POLLHUP;
        }
    }
    bool ended = (flags & (POLLHUP | POLLERR | POLLNVAL)) != 0;
    return ended ? call_void(obj, st->names.handle_close) : 0;
}

int
events_readwrite(struct events *ev, PyObject *obj, int flags, bool greedy)
{
    int rc = deliver_flags(ev->st, obj, flags, greedy);
    return rc < 0 ? route(ev, obj, true) : 0;
}

/* ---- the functions ---- */

static PyObject *
none_or_error(int rc)
{
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
deliver_method(PyObject *self, const char *name, PyObject *const *args,
               Py_ssize_t nargs, PyObject *kwnames, enum kind kind)
{
    PyObject *obj = only_argument(name, "obj", false, args, nargs, kwnames);
    if (obj == NULL) {
        return NULL;
    }
    Py_INCREF(obj);
    int rc = events_deliver((struct events *)self, obj, kind, false);
    Py_DECREF(obj);
    return none_or_error(rc);
}

PyDoc_STRVAR(read_doc, "read($self, obj)\n--\n\n"
                       "Have a channel handle that it is readable.");
PyDoc_STRVAR(write_doc, "write($self, obj)\n--\n\n"
                        "Have a channel handle that it is writable.");
PyDoc_STRVAR(exception_doc, "_exception($self, obj)\n--\n\n"
                            "Have a channel handle that it has urgent data.");
PyDoc_STRVAR(readwrite_doc,
             "readwrite($self, obj, flags)\n--\n\n"
             "Have a channel handle the events in flags, as poll() has them.");

static PyObject *
events_read(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
            PyObject *kwnames)
{
    return deliver_method(self, "read", args, nargs, kwnames, EVENT_READ);
}

static PyObject *
events_write(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
             PyObject *kwnames)
{
    return deliver_method(self, "write", args, nargs, kwnames, EVENT_WRITE);
}

static PyObject *
events_exception(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *kwnames)
{
    return deliver_method(self, "_exception", args, nargs, kwnames,
                          EVENT_EXPT);
}

static PyObject *
events_readwrite_method(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"obj", "flags", NULL};
    PyObject *obj, *number;
    struct events *ev = (struct events *)self;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:readwrite", names, &obj,
                                     &number)) {
        return NULL;
    }
    long flags = PyLong_AsLong(number);
    if (flags == -1 && PyErr_Occurred()) {
        return none_or_error(route(ev, obj, true));
    }
    return none_or_error(events_readwrite(ev, obj, (int)flags, false));
}

/* ---- the type ---- */

PyDoc_STRVAR(events_doc,
             "events(globals)\n--\n\n"
             "What serves channels, for an asyncore with these globals.");

static PyObject *
events_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *globals;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "O!:events", &PyDict_Type, &globals)) {
        return NULL;
    }
    struct events *self = (struct events *)(void *)type->tp_alloc(type, 0);
    if (self != NULL) {
        Py_INCREF(globals);
        self->st = state_of_type(type);
        self->globals = globals;
    }
    return (PyObject *)self;
}

static int
events_traverse(PyObject *self, visitproc visit, void *arg)
{
#if PY_VERSION_HEX >= 0x03090000
    Py_VISIT(Py_TYPE(self));
#endif
    Py_VISIT(((struct events *)self)->globals);
    return 0;
}

static int
events_clear(PyObject *self)
{
    Py_CLEAR(((struct events *)self)->globals);
    return 0;
}

static void
events_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    events_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

#define FAST(fn) (PyCFunction)(void (*)(void))(fn)

static PyMethodDef events_methods[] = {
    {"read", FAST(events_read), METH_FASTCALL | METH_KEYWORDS, read_doc},
    {"write", FAST(events_write), METH_FASTCALL | METH_KEYWORDS, write_doc},
    {"_exception", FAST(events_exception), METH_FASTCALL | METH_KEYWORDS,
     exception_doc},
    {"readwrite", FAST(events_readwrite_method), METH_VARARGS | METH_KEYWORDS,
     readwrite_doc},
    {"serve", FAST(events_serve), METH_FASTCALL,
     PyDoc_STR("serve($self, timeout, map, use_poll, /)\n--\n\n"
               "Serve a map for a pass, if the core can.")},
    {"wake", events_wake, METH_O,
     PyDoc_STR("wake($self, map, /)\n--\n\n"
               "End the wait of another thread, or the next one.")},
    {"attach", events_attach, METH_O,
     PyDoc_STR("attach($self, map, /)\n--\n\n"
               "Have a map served from another loop; can the core do that?")},
    {"detach", events_detach, METH_O,
     PyDoc_STR("detach($self, map, /)\n--\n\nNo more.")},
    {"serve_attached", events_serve_attached, METH_VARARGS,
     PyDoc_STR("serve_attached($self, map, use_poll, /)\n--\n\n"
               "Serve what is ready in an attached map.")},
    {"prepare_attached", events_prepare_attached, METH_VARARGS,
     PyDoc_STR("prepare_attached($self, map, use_poll, /)\n--\n\n"
               "Prepare an attached map for the wait.  Returns its "
               "descriptor, whether it is\nready anyhow, and whether there "
               "are channels that must be asked each time; or\nNone, if the "
               "core cannot serve it.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot events_slots[] = {
    {Py_tp_doc, (void *)events_doc},
    {Py_tp_new, events_new},
    {Py_tp_methods, events_methods},
    {Py_tp_traverse, events_traverse},
    {Py_tp_clear, events_clear},
    {Py_tp_dealloc, events_dealloc},
    {0, NULL},
};

PyType_Spec events_spec = {
    .name = "_asyncore.events",
    .basicsize = sizeof(struct events),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = events_slots,
};
