/* SPDX-License-Identifier: MIT */
/* chat_input.c - async_chat's handle_read: cut what comes in at terminators.
 *
 * Where the socket is used directly, it is received into a buffer that all
 * share, and cut there: each part is copied once, into the bytes that the
 * program gets. */
#include "chat.h"

#include "internal.h"

/* ---- terminators ---- */

static PyObject *
get_terminator(PyObject *self, const struct klass *k)
{
    const struct names *n = &k->st->names;
    if (!channel_is(self, KLASS_GET_TERMINATOR, n->get_terminator)) {
        return call_method(self, n->get_terminator);
    }
    PyObject *value = (k->facts & KLASS_TERMINATOR) != 0
                          ? channel_terminator(channel_of(self))
                          : NULL;
    Py_XINCREF(value);
    return value != NULL ? value : PyObject_GetAttr(self, n->terminator);
}

/* Failure tables of needles up to this are on the stack. */
#define SHORT 32

static struct asyncore__match
match(const struct chat *c, const char *needle, size_t len)
{
    uint32_t few[SHORT];
    uint32_t *failure =
        len <= SHORT ? few : PyMem_Malloc(len * sizeof(uint32_t));
    if (failure == NULL) {
        return (struct asyncore__match){.used = SIZE_MAX};
    }
    struct asyncore__needle n = {needle, len, failure};
    asyncore__match_prepare(needle, len, failure);
    struct asyncore__match m = asyncore__match(&n, 0, c->data, c->len);
    if (failure != few) {
        PyMem_Free(failure);
    }
    return m;
}

/* ---- handing on ---- */

static int
collect(PyObject *self, PyObject *data)
{
    const struct klass *k = klass_of(self);
    const struct names *n = &k->st->names;
    if (channel_is(self, KLASS_COLLECTS, n->collect_incoming_data)) {
        return chat_collect(self, data);
    }
    return method_call_void(self, METHOD_COLLECT, data);
}

/* The first bytes, and over some more; taken before they are handed on, so
 * that whoever fails there does not get them again.  There may be fewer by
 * now: what is set on the way may have a setter that discards them. */
static int
take(PyObject *self, size_t len, size_t skip)
{
    struct chat *c = channel_chat(channel_of(self));
    len = len < c->len ? len : c->len;
    skip = skip < c->len - len ? skip : c->len - len;
    PyObject *part =
        len > 0 ? PyBytes_FromStringAndSize(c->data, (Py_ssize_t)len) : NULL;
    if (len > 0 && part == NULL) {
        return -1;
    }
    c->data += len + skip;
    c->len -= len + skip;
    int rc = part != NULL ? collect(self, part) : 0;
    Py_XDECREF(part);
    return rc;
}

/* last: of the terminator.  If the rest has it, too, there is another message,
 * and the answers to both may go out together. */
static int
found(PyObject *self, int last)
{
    struct channel *ch = channel_of(self);
    const struct chat *c = channel_chat(ch);
    if (ch->event != NULL) {
        ch->event->more = last >= 0 && c != NULL && c->len > 0 &&
                          memchr(c->data, last, c->len) != NULL;
    }
    int rc = method_call_void(self, METHOD_FOUND, NULL);
    if (ch->event != NULL) {
        ch->event->more = false;
    }
    return rc;
}

/* ---- a step: 1, or 0: the rest may be the beginning of a terminator, or
 * -1 ---- */

static int
set_terminator(PyObject *self, const struct klass *k, size_t left)
{
    PyObject *number = PyLong_FromSize_t(left);
    int rc = number != NULL
                 ? PyObject_SetAttr(self, k->st->names.terminator, number)
                 : -1;
    Py_XDECREF(number);
    return rc;
}

static int
take_counted(PyObject *self, const struct klass *k, PyObject *terminator)
{
    size_t have = channel_chat(channel_of(self))->len;
    int overflow;
    long long wanted = PyLong_AsLongLongAndOverflow(terminator, &overflow);
    if (wanted <= 0 && overflow <= 0) {
        return take(self, have, 0) < 0 ? -1 : 1; /* none, or nonsense */
    }
    size_t n = overflow > 0 ? SIZE_MAX : (size_t)wanted;
    if (have < n) {
        return set_terminator(self, k, n - have) < 0 || take(self, have, 0) < 0
                   ? -1
                   : 1;
    }
    return set_terminator(self, k, 0) < 0 || take(self, n, 0) < 0 ||
                   found(self, -1) < 0
               ? -1
               : 1;
}

/* Nearly always the delimiter is where it may begin first, or nowhere. */
static struct asyncore__match
find(const struct chat *c, const char *needle, size_t len)
{
    const char *at = memchr(c->data, needle[0], c->len);
    size_t before = at != NULL ? (size_t)(at - c->data) : c->len;
    bool found = c->len - before >= len && memcmp(at, needle, len) == 0;
    if (!found && at != NULL) {
        return match(c, needle, len);
    }
    return (struct asyncore__match){.found = found, .len = before};
}

static int
take_delimited(PyObject *self, const char *needle, size_t len)
{
    struct asyncore__match m =
        find(channel_chat(channel_of(self)), needle, len);
    if (m.used == SIZE_MAX) {
        PyErr_NoMemory();
        return -1;
    }
    if (m.found) {
        return take(self, m.len, len) < 0 ||
                       found(self, (unsigned char)needle[len - 1]) < 0
                   ? -1
                   : 1;
    }
    return take(self, m.len, 0) < 0 ? -1 : m.held == 0;
}

/* Of a type that was not made for it: what bytes-like objects can, and the
 * error of others. */
static int
take_odd(PyObject *self, PyObject *terminator)
{
    int truth = PyObject_IsTrue(terminator);
    if (truth <= 0) {
        return truth < 0 ||
                       take(self, channel_chat(channel_of(self))->len, 0) < 0
                   ? -1
                   : 1;
    }
    Py_buffer view;
    if (PyObject_GetBuffer(terminator, &view, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    int rc;
    if (view.len > 0) {
        rc = take_delimited(self, view.buf, (size_t)view.len);
    }
    else {
        rc = take(self, channel_chat(channel_of(self))->len, 0) < 0 ? -1 : 1;
    }
    PyBuffer_Release(&view);
    return rc;
}

static int
step(PyObject *self)
{
    const struct klass *k = klass_of(self);
    PyObject *terminator = get_terminator(self, k);
    struct chat *c = channel_chat(channel_of(self));
    int rc = -1;
    if (terminator == NULL || c == NULL || c->len == 0) {
        rc = terminator == NULL ? -1 : 1;
    }
    else if (PyBytes_CheckExact(terminator) &&
             PyBytes_GET_SIZE(terminator) > 0) {
        rc = take_delimited(self, PyBytes_AS_STRING(terminator),
                            (size_t)PyBytes_GET_SIZE(terminator));
    }
    else if (terminator == Py_None) {
        rc = take(self, c->len, 0) < 0 ? -1 : 1;
    }
    else if (PyLong_Check(terminator)) {
        rc = take_counted(self, k, terminator);
    }
    else {
        rc = take_odd(self, terminator);
    }
    Py_XDECREF(terminator);
    return rc;
}

/* All there is, unless the channel is closed meanwhile. */
static int
parse(PyObject *self)
{
    struct channel *ch = channel_of(self);
    unsigned life = ch->life;
    int rc = 1;
    while (rc > 0 && channel_chat(ch) != NULL && channel_chat(ch)->len > 0 &&
           ch->life == life) {
        rc = step(self);
    }
    return rc < 0 ? -1 : 0;
}

/* ---- receiving ---- */

/* recv has failed: would-block is nothing, the rest goes to handle_error.
 * Returns 0 or -1. */
static int
recv_failed(PyObject *self, const struct klass *k)
{
    if (PyErr_ExceptionMatches(PyExc_BlockingIOError)) {
        PyErr_Clear();
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_OSError)) {
        return -1;
    }
    struct caught caught;
    catch_begin(&caught, "recv");
    int rc = call_void(self, k->st->names.handle_error);
    catch_end(&caught);
    return rc;
}

/* What is left in a buffer that is not ours comes into one that is. */
static int
keep_rest(struct chat *c, const char *buffer)
{
    if (c == NULL || c->data < buffer || c->data > buffer + SCRATCH_SIZE) {
        return 0;
    }
    PyObject *rest =
        c->len > 0 ? PyBytes_FromStringAndSize(c->data, (Py_ssize_t)c->len)
                   : NULL;
    bool lost = c->len > 0 && rest == NULL;
    c->owner = rest; /* there was none */
    c->data = rest != NULL ? PyBytes_AS_STRING(rest) : NULL;
    c->len = rest != NULL ? c->len : 0;
    return lost ? -1 : 0;
}

static int
read_directly(PyObject *self, const struct klass *k, int fd, char *buffer,
              size_t size)
{
    struct chat *c = channel_chat(channel_of(self));
    size_t held = c->len;
    if (held > 0) {
        memcpy(buffer, c->data, held);
    }
    Py_ssize_t n = channel_recv_into(self, fd, buffer + held, size);
    if (n <= 0) { /* at the end, what is left is handed on */
        return n < 0 ? recv_failed(self, k) : parse(self);
    }
    Py_CLEAR(c->owner);
    c->data = buffer;
    c->len = held + (size_t)n;
    int rc = parse(self);
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (keep_rest(channel_chat(channel_of(self)), buffer) < 0 && rc == 0) {
        return -1;
    }
    PyErr_Restore(type, value, traceback);
    return rc;
}

/* By recv, whoever's it is. */
static int
read_by_method(PyObject *self, const struct klass *k, PyObject *size)
{
    PyObject *data = call_method_one(self, k->st->names.recv, size);
    if (data == NULL) {
        return recv_failed(self, k);
    }
    if (PyUnicode_Check(data) &&
        attribute_truth(self, k->st->names.use_encoding) > 0) {
        PyObject *encoding = PyObject_GetAttrString(self, "encoding");
        const char *name =
            encoding != NULL ? PyUnicode_AsUTF8(encoding) : NULL;
        PyObject *bytes = name != NULL
                              ? PyUnicode_AsEncodedString(data, name, "strict")
                              : NULL;
        Py_XDECREF(encoding);
        Py_SETREF(data, bytes);
    }
    PyObject *old = data != NULL
                        ? PyObject_GetAttr(self, k->st->names.ac_in_buffer)
                        : NULL;
    PyObject *all = old != NULL ? PySequence_Concat(old, data) : NULL;
    Py_XDECREF(old);
    Py_XDECREF(data);
    int rc = all != NULL
                 ? PyObject_SetAttr(self, k->st->names.ac_in_buffer, all)
                 : -1;
    Py_XDECREF(all);
    return rc < 0 ? -1 : parse(self);
}

static int
handle_read(PyObject *self)
{
    const struct klass *k = klass_of(self);
    struct channel *ch = channel_of(self);
    struct direct d;
    PyObject *size = PyObject_GetAttr(self, k->st->names.ac_in_buffer_size);
    if (size == NULL) {
        return -1;
    }
    Py_ssize_t n = PyLong_CheckExact(size) ? PyLong_AsSsize_t(size) : -1;
    PyErr_Clear();
    bool fits = n > 0 && (size_t)n < SCRATCH_SIZE &&
                channel_chat(ch)->len <= SCRATCH_SIZE - (size_t)n;
    int rc;
    if (fits && channel_is(self, KLASS_RECV, k->st->names.recv) &&
        socket_direct(ch, &d)) {
        char *buffer = scratch_take(k->st);
        rc = buffer != NULL ? read_directly(self, k, d.fd, buffer, (size_t)n)
                            : -1;
        if (buffer != NULL) {
            scratch_give(k->st, buffer);
        }
    }
    else {
        rc = read_by_method(self, k, size);
    }
    Py_DECREF(size);
    return rc;
}

static PyObject *
chat_handle_read(PyObject *self, PyObject *unused)
{
    (void)unused;
    const struct klass *k = klass_of(self);
    if ((k->facts & KLASS_CHAT_PARTS) == 0) {
        return call_method(self, k->st->names._async_chat__handle_read);
    }
    if (chat_of(self, "ac_in_buffer") == NULL) {
        return NULL;
    }
    if (Py_EnterRecursiveCall(" in handle_read")) {
        return NULL;
    }
    Py_INCREF(self);
    int rc = handle_read(self);
    Py_DECREF(self);
    Py_LeaveRecursiveCall();
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef chat_handle_read_def = {
    "handle_read", chat_handle_read, METH_NOARGS,
    PyDoc_STR("handle_read($self)\n--\n\nData has come in: cut it at "
              "terminators.")};

static PyObject *
chat_get_terminator(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyObject_GetAttr(self, klass_of(self)->st->names.terminator);
}

PyMethodDef chat_get_terminator_def = {
    "get_terminator", chat_get_terminator, METH_NOARGS,
    PyDoc_STR("get_terminator($self)\n--\n\nWhat set_terminator() was given, "
              "or what is left of a number.")};
