/* SPDX-License-Identifier: MIT */
/* chat.c - async_chat's attributes: computed when somebody looks. */
#include "chat.h"

struct chat *
chat_make(struct channel *ch)
{
    struct chat *c = channel_chat(ch);
    if (c == NULL) {
        c = PyMem_Calloc(1, sizeof *c);
        if (c == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        c->output = ch->part.output;
        ch->part.chat = c;
        ch->is_chat = true;
    }
    return c;
}

struct output **
chat_output_at(struct channel *ch)
{
    return &ch->part.chat->output;
}

PyObject **
chat_terminator_at(struct channel *ch)
{
    return &ch->part.chat->terminator;
}

struct chat *
chat_of(PyObject *self, const char *name)
{
    struct chat *c = channel_chat(channel_of(self));
    if (c == NULL) {
        PyErr_SetString(PyExc_AttributeError, name);
    }
    return c;
}

static void
set_input(struct chat *c, PyObject *owner)
{
    PyObject *old = c->owner;
    c->owner = owner;
    c->data = owner != NULL ? PyBytes_AS_STRING(owner) : NULL;
    c->len = owner != NULL ? (size_t)PyBytes_GET_SIZE(owner) : 0;
    Py_XDECREF(old);
}

/* No input, nothing kept, nothing queued. */
static void
make_empty(struct chat *c)
{
    fifo_clear(&c->fifo);
    Py_CLEAR(c->deque);
    Py_CLEAR(c->incoming);
    set_input(c, NULL);
}

void
chat_clear(struct channel *ch)
{
    struct chat *c = channel_chat(ch);
    if (c == NULL) {
        return;
    }
    ch->is_chat = false;
    ch->part.output = c->output;
    make_empty(c);
    Py_CLEAR(c->terminator);
    PyMem_Free(c);
}

int
chat_traverse(struct channel *ch, visitproc visit, void *arg)
{
    const struct chat *c = channel_chat(ch);
    if (c == NULL) {
        return 0;
    }
    Py_VISIT(c->deque);
    Py_VISIT(c->incoming);
    Py_VISIT(c->terminator);
    return fifo_traverse(&c->fifo, visit, arg);
}

/* ---- __init__ ---- */

static int
set_empty(PyObject *self, const char *name, PyObject *value)
{
    int rc = value != NULL ? PyObject_SetAttrString(self, name, value) : -1;
    Py_XDECREF(value);
    return rc;
}

PyObject *
chat_begin(PyObject *module, PyObject *self)
{
    const struct state *st = state_of(module);
    if (!is_channel(st, self)) {
        PyErr_SetString(PyExc_TypeError, "not a channel");
        return NULL;
    }
    struct channel *ch = channel_of(self);
    if ((klass_of(self)->facts & KLASS_CHAT_PARTS) != 0) {
        struct chat *c = chat_make(ch);
        channel_touch(ch);
        if (c == NULL || instance_begin(self) < 0) {
            return NULL;
        }
        make_empty(c);
    }
    else if (set_empty(self, "ac_in_buffer",
                       PyBytes_FromStringAndSize(NULL, 0)) < 0 ||
             set_empty(self, "incoming", PyList_New(0)) < 0 ||
             set_empty(self, "producer_fifo",
                       PyObject_CallObject(st->deque_type, NULL)) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- producer_fifo ---- */

bool
chat_reclaim(const struct state *st, struct chat *c)
{
    if (c->deque == NULL) {
        return true;
    }
    if ((PyObject *)Py_TYPE(c->deque) != st->deque_type ||
        Py_REFCNT(c->deque) > 1) {
        return false;
    }
    if (fifo_from_deque(&c->fifo, c->deque) < 0) {
        PyErr_Clear(); /* no memory: it stays where it is */
        return false;
    }
    Py_CLEAR(c->deque);
    return true;
}

/* Whoever has it may change it unnoticed, hence the touch. */
static PyObject *
get_fifo(PyObject *self, void *closure)
{
    (void)closure;
    struct channel *ch = channel_of(self);
    if (event_has_deferred(ch) && event_flush(self) < 0) {
        return NULL;
    }
    struct chat *c = chat_of(self, "producer_fifo");
    if (c == NULL) {
        return NULL;
    }
    channel_touch(ch);
    if (c->deque == NULL) {
        const struct state *st = klass_of(self)->st;
        Py_ssize_t most = attribute_size(self, st->names.ac_out_buffer_size);
        if (most <= 0) {
            PyErr_Clear();
            most = PY_SSIZE_T_MAX;
        }
        PyObject *deque =
            fifo_to_deque(&c->fifo, st->deque_type, (size_t)most);
        if (deque == NULL) {
            return NULL;
        }
        fifo_clear(&c->fifo);
        c->deque = deque;
    }
    Py_INCREF(c->deque);
    return c->deque;
}

static int
set_fifo(PyObject *self, PyObject *value, void *closure)
{
    (void)closure;
    struct channel *ch = channel_of(self);
    if ((event_has_deferred(ch) && event_flush(self) < 0) ||
        chat_make(ch) == NULL) {
        return -1;
    }
    channel_touch(ch);
    struct chat *c = channel_chat(ch);
    fifo_clear(&c->fifo);
    Py_XINCREF(value);
    Py_XSETREF(c->deque, value);
    return 0;
}

PyGetSetDef chat_producer_fifo_def = {
    "producer_fifo", get_fifo, set_fifo,
    PyDoc_STR("A deque of what is to be sent: bytes, producers, None for the "
              "end."),
    NULL};

/* ---- incoming ---- */

static PyObject *
get_incoming(PyObject *self, void *closure)
{
    (void)closure;
    struct chat *c = chat_of(self, "incoming");
    if (c == NULL) {
        return NULL;
    }
    if (c->incoming == NULL) {
        c->incoming = PyList_New(0);
    }
    Py_XINCREF(c->incoming);
    return c->incoming;
}

static int
set_incoming(PyObject *self, PyObject *value, void *closure)
{
    (void)closure;
    struct chat *c = chat_make(channel_of(self));
    if (c == NULL) {
        return -1;
    }
    Py_XINCREF(value);
    Py_XSETREF(c->incoming, value);
    return 0;
}

PyGetSetDef chat_incoming_def = {
    "incoming", get_incoming, set_incoming,
    PyDoc_STR("A list of what _collect_incoming_data() has kept."), NULL};

int
chat_collect(PyObject *self, PyObject *data)
{
    const struct klass *k = klass_of(self);
    PyObject *list = (k->facts & KLASS_CHAT_PARTS) != 0
                         ? get_incoming(self, NULL)
                         : PyObject_GetAttr(self, k->st->names.incoming);
    int rc = -1;
    if (list != NULL && PyList_CheckExact(list)) {
        rc = PyList_Append(list, data);
    }
    else if (list != NULL) {
        PyObject *none = PyObject_CallMethod(list, "append", "O", data);
        Py_XDECREF(none);
        rc = none != NULL ? 0 : -1;
    }
    Py_XDECREF(list);
    return rc;
}

static PyObject *
chat__collect_incoming_data(PyObject *self, PyObject *const *args,
                            Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *data = only_argument("_collect_incoming_data", "data", false,
                                   args, nargs, kwnames);
    if (data == NULL || chat_collect(self, data) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef chat__collect_incoming_data_def = {
    "_collect_incoming_data",
    (PyCFunction)(void (*)(void))chat__collect_incoming_data,
    METH_FASTCALL | METH_KEYWORDS,
    PyDoc_STR("_collect_incoming_data($self, data)\n--\n\nKeep it for "
              "_get_data(); a ready-made collect_incoming_data().")};

/* The same list, emptied; but for nobody else, none. */
static int
empty_incoming(PyObject *self, PyObject *list)
{
    struct chat *c = channel_chat(channel_of(self));
    if (c != NULL && c->incoming == list && PyList_CheckExact(list) &&
        Py_REFCNT(list) == 2) {
        Py_CLEAR(c->incoming);
        return 0;
    }
    return PySequence_DelSlice(list, 0, PY_SSIZE_T_MAX);
}

static PyObject *
chat__get_data(PyObject *self, PyObject *unused)
{
    (void)unused;
    PyObject *list = PyObject_GetAttrString(self, "incoming");
    PyObject *nothing =
        list != NULL ? PyBytes_FromStringAndSize(NULL, 0) : NULL;
    PyObject *data = nothing != NULL
                         ? PyObject_CallMethod(nothing, "join", "O", list)
                         : NULL;
    Py_XDECREF(nothing);
    if (data != NULL && empty_incoming(self, list) < 0) {
        Py_CLEAR(data);
    }
    Py_XDECREF(list);
    return data;
}

PyMethodDef chat__get_data_def = {
    "_get_data", chat__get_data, METH_NOARGS,
    PyDoc_STR("_get_data($self)\n--\n\nWhat was kept, in one piece, which is "
              "then forgotten.")};

/* ---- ac_in_buffer ---- */

static PyObject *
get_in_buffer(PyObject *self, void *closure)
{
    (void)closure;
    struct chat *c = chat_of(self, "ac_in_buffer");
    return c != NULL ? PyBytes_FromStringAndSize(c->data, (Py_ssize_t)c->len)
                     : NULL;
}

static int
set_in_buffer(PyObject *self, PyObject *value, void *closure)
{
    (void)closure;
    PyObject *bytes = value != NULL ? PyBytes_FromObject(value) : NULL;
    struct chat *c = chat_make(channel_of(self));
    if ((value != NULL && bytes == NULL) || c == NULL) {
        Py_XDECREF(bytes);
        return -1;
    }
    set_input(c, bytes);
    return 0;
}

PyGetSetDef chat_ac_in_buffer_def = {
    "ac_in_buffer", get_in_buffer, set_in_buffer,
    PyDoc_STR("What has come in and is not parsed yet."), NULL};
