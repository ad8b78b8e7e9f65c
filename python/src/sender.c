/* SPDX-License-Identifier: MIT */
/* sender.c - dispatcher_with_send: output that the kernel does not take at
 * once is kept.
 *
 * `out_buffer` is what waits, computed when somebody looks.  One bytes object
 * is kept as it is; so are the large ones of one event that go out together.
 * Others are copied into one buffer, from whose front is sent. */
#include <sys/socket.h>
#include <sys/uio.h>

#include "state.h"

/* As much as is sent at a time. */
#define MOST ((size_t)65536)

/* What is shorter is copied rather than sent from where it is. */
#define LARGE ((size_t)1024)

/* ---- what waits ---- */

/* What front() points to. */
static size_t
front_length(const struct output *out)
{
    return out->whole != NULL
               ? (size_t)PyBytes_GET_SIZE(out->whole) - out->start
               : out->end - out->start;
}

static size_t
length(const struct output *out)
{
    return out != NULL ? front_length(out) + out->rest_bytes : 0;
}

size_t
sender_pending(const struct channel *ch)
{
    return length(channel_output(ch));
}

static bool
is_odd(const struct channel *ch)
{
    const struct output *out = channel_output(ch);
    return out != NULL && out->odd != NULL;
}

static const char *
front(const struct output *out)
{
    const char *base =
        out->whole != NULL ? PyBytes_AS_STRING(out->whole) : out->bytes;
    return base + out->start;
}

static struct output **
output_at(struct channel *ch)
{
    return ch->is_chat ? chat_output_at(ch) : &ch->part.output;
}

void
sender_clear(struct channel *ch)
{
    struct output *out = channel_output(ch);
    if (out != NULL) {
        *output_at(ch) = NULL;
        PyMem_Free(out->bytes);
        Py_XDECREF(out->whole);
        Py_XDECREF(out->odd);
        for (size_t i = 0; i < out->nrest; i++) {
            Py_DECREF(out->rest[i]);
        }
        PyMem_Free(out->rest);
        PyMem_Free(out);
    }
}

int
sender_traverse(struct channel *ch, visitproc visit, void *arg)
{
    if (channel_output(ch) != NULL) {
        Py_VISIT(channel_output(ch)->odd);
    }
    return 0;
}

static struct output *
make(struct channel *ch)
{
    struct output **at = output_at(ch);
    if (*at == NULL) {
        *at = PyMem_Calloc(1, sizeof **at);
        if (*at == NULL) {
            PyErr_NoMemory();
        }
    }
    return *at;
}

/* Room for len more bytes at the end. */
static int
reserve(struct output *out, size_t len)
{
    if (out->cap - out->end >= len) {
        return 0;
    }
    size_t used = out->end - out->start;
    if (out->start >= used && out->cap - used >= len) {
        memcpy(out->bytes, out->bytes + out->start, used);
    }
    else {
        size_t cap = 2 * (used + len);
        char *more = PyMem_Malloc(cap);
        if (more == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        if (used > 0) {
            memcpy(more, out->bytes + out->start, used);
        }
        PyMem_Free(out->bytes);
        out->bytes = more;
        out->cap = cap;
    }
    out->start = 0;
    out->end = used;
    return 0;
}

static int
append_bytes(struct output *out, const char *data, size_t len)
{
    if (len == 0) {
        return 0;
    }
    if (reserve(out, len) < 0) {
        return -1;
    }
    memcpy(out->bytes + out->end, data, len);
    out->end += len;
    return 0;
}

/* From objects to the buffer. */
static int
spread(struct output *out)
{
    PyObject *whole = out->whole;
    if (whole == NULL) {
        return 0;
    }
    struct output joined = {.bytes = out->bytes, .cap = out->cap};
    int rc = reserve(&joined, length(out));
    out->bytes = joined.bytes;
    out->cap = joined.cap;
    if (rc < 0) {
        return -1;
    }
    append_bytes(&joined, front(out), front_length(out));
    for (size_t i = 0; i < out->nrest; i++) {
        append_bytes(&joined, PyBytes_AS_STRING(out->rest[i]),
                     (size_t)PyBytes_GET_SIZE(out->rest[i]));
        Py_DECREF(out->rest[i]);
    }
    Py_DECREF(whole);
    PyMem_Free(out->rest);
    *out = joined;
    return 0;
}

/* Can it be sent from where it is, after what waits? */
static bool
is_piece(const struct channel *ch, const struct output *out, PyObject *data)
{
    return ch->event != NULL && ch->event->deferred && out->whole != NULL &&
           out->nrest < OUTPUT_PIECES && PyBytes_CheckExact(data) &&
           (size_t)PyBytes_GET_SIZE(data) >= LARGE;
}

static int
append_piece(struct output *out, PyObject *data)
{
    if (out->rest == NULL) {
        out->rest = PyMem_Malloc(OUTPUT_PIECES * sizeof(PyObject *));
        if (out->rest == NULL) {
            PyErr_NoMemory();
            return -1;
        }
    }
    Py_INCREF(data);
    out->rest[out->nrest++] = data;
    out->rest_bytes += (size_t)PyBytes_GET_SIZE(data);
    return 0;
}

static int
append(struct channel *ch, PyObject *data)
{
    struct output *out = make(ch);
    if (out == NULL) {
        return -1;
    }
    if (length(out) == 0 && PyBytes_CheckExact(data)) {
        Py_INCREF(data);
        Py_XSETREF(out->whole, data);
        out->start = 0;
        return 0;
    }
    if (is_piece(ch, out, data)) {
        return append_piece(out, data);
    }
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    int rc = spread(out);
    if (rc == 0) {
        rc = append_bytes(out, view.buf, (size_t)view.len);
    }
    PyBuffer_Release(&view);
    return rc;
}

static void
consume(struct channel *ch, size_t n)
{
    struct output *out = channel_output(ch);
    if (out == NULL) {
        return; /* dropped meanwhile */
    }
    if (n >= length(out)) {
        sender_clear(ch);
        return;
    }
    size_t gone = 0;
    while (n >= front_length(out)) {
        n -= front_length(out);
        Py_SETREF(out->whole, out->rest[gone++]);
        out->start = 0;
        out->rest_bytes -= (size_t)PyBytes_GET_SIZE(out->whole);
    }
    out->start += n;
    out->nrest -= gone;
    if (gone > 0) {
        memmove(out->rest, out->rest + gone, out->nrest * sizeof *out->rest);
    }
}

/* ---- sending ---- */

/* At most so much of it, to such a socket. */
static Py_ssize_t
send_output(PyObject *self, int fd, const struct output *out, size_t most)
{
    struct iovec iov[1 + OUTPUT_PIECES];
    size_t len = front_length(out);
    iov[0].iov_base = len > 0 ? (char *)(uintptr_t)front(out) : "";
    iov[0].iov_len = len < most ? len : most;
    for (size_t i = 0; i < out->nrest; i++) {
        iov[i + 1].iov_base = PyBytes_AS_STRING(out->rest[i]);
        iov[i + 1].iov_len = (size_t)PyBytes_GET_SIZE(out->rest[i]);
    }
    return channel_send_pieces(self, fd, iov, 1 + out->nrest);
}

/* One send, by the means of class dispatcher; a subclass's send is not for
 * us.  Returns 0 or -1. */
static int
send_front(PyObject *self, size_t most)
{
    struct channel *ch = channel_of(self);
    struct output *out = channel_output(ch);
    struct direct d;
    bool direct = socket_direct(ch, &d);
    if ((!direct || most < length(out)) && spread(out) < 0) {
        return -1;
    }
    Py_ssize_t n;
    if (direct) {
        /* Who is told that it is closed may drop it all, or add to it. */
        n = send_output(self, d.fd, out, most);
    }
    else {
        size_t len = length(out) < most ? length(out) : most;
        PyObject *data = PyBytes_FromStringAndSize(len > 0 ? front(out) : "",
                                                   (Py_ssize_t)len);
        PyObject *sent = data != NULL ? channel_send(self, data) : NULL;
        Py_XDECREF(data);
        n = sent != NULL ? PyNumber_AsSsize_t(sent, PyExc_OverflowError) : -1;
        Py_XDECREF(sent);
        if (n == -1 && PyErr_Occurred()) {
            return -1;
        }
    }
    if (n > 0) {
        consume(ch, (size_t)n);
    }
    return n < 0 ? -1 : 0;
}

/* With something in out_buffer that is not bytes: as it was in Python. */
static int
initiate_odd(PyObject *self, const struct state *st)
{
    PyObject *odd = channel_output(channel_of(self))->odd;
    Py_INCREF(odd);
    PyObject *part = PySequence_GetSlice(odd, 0, (Py_ssize_t)MOST);
    PyObject *sent = part != NULL ? channel_send(self, part) : NULL;
    Py_ssize_t n =
        sent != NULL ? PyNumber_AsSsize_t(sent, PyExc_OverflowError) : -1;
    PyObject *rest = NULL;
    if (sent != NULL && !(n == -1 && PyErr_Occurred())) {
        rest = PySequence_GetSlice(odd, n, PY_SSIZE_T_MAX);
    }
    Py_XDECREF(part);
    Py_XDECREF(sent);
    Py_DECREF(odd);
    int rc =
        rest != NULL ? PyObject_SetAttr(self, st->names.out_buffer, rest) : -1;
    Py_XDECREF(rest);
    return rc;
}

/* It tells that the peer is gone, or that there never will be one. */
static int
send_nothing(PyObject *self)
{
    PyObject *data = PyBytes_FromStringAndSize(NULL, 0);
    PyObject *sent = data != NULL ? channel_send(self, data) : NULL;
    Py_XDECREF(data);
    Py_XDECREF(sent);
    return sent != NULL ? 0 : -1;
}

static int
initiate(PyObject *self, size_t most)
{
    const struct klass *k = klass_of(self);
    struct channel *ch = channel_of(self);
    const unsigned ours = KLASS_OUT_BUFFER | KLASS_BASE_SEND;
    if ((k->facts & ours) != ours) {
        return call_void(self,
                         k->st->names._dispatcher_with_send__initiate_send);
    }
    if (!ch->has_output) {
        PyErr_SetObject(PyExc_AttributeError, k->st->names.out_buffer);
        return -1;
    }
    if (is_odd(ch)) {
        return initiate_odd(self, k->st);
    }
    bool had = sender_pending(ch) > 0;
    bool known = had && !channel_output(ch)->unknown;
    int rc = had ? send_front(self, most) : send_nothing(self);
    bool has = sender_pending(ch) > 0;
    if (has) {
        channel_output(ch)->unknown = false;
    }
    /* Who has nothing to be sent may have been asked to by a mistake. */
    if (!had || known != has) {
        channel_touch(ch);
    }
    return rc;
}

int
sender_flush(PyObject *self)
{
    if (sender_pending(channel_of(self)) == 0) {
        return 0; /* it went out with what was sent last */
    }
    int rc = initiate(self, SIZE_MAX);
    if (sender_pending(channel_of(self)) > 0) {
        channel_touch(channel_of(self));
    }
    return rc;
}

static PyObject *
sender_initiate_send(PyObject *self, PyObject *unused)
{
    (void)unused;
    if (initiate(self, MOST) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef sender_initiate_send_def = {
    "initiate_send", sender_initiate_send, METH_NOARGS,
    PyDoc_STR("initiate_send($self)\n--\n\nSend what is kept, as far as the "
              "kernel takes it.")};

static PyObject *
sender_handle_write(PyObject *self, PyObject *unused)
{
    const struct klass *k = klass_of(self);
    if (channel_is(self, KLASS_SENDER, k->st->names.initiate_send)) {
        return sender_initiate_send(self, unused);
    }
    return call_method(self, k->st->names.initiate_send);
}

PyMethodDef sender_handle_write_def = {
    "handle_write", sender_handle_write, METH_NOARGS,
    PyDoc_STR("handle_write($self)\n--\n\nThere is room for output: send "
              "what is kept.")};

/* ---- send ---- */

static int
log_debug(PyObject *self, const struct klass *k, PyObject *data)
{
    if (channel_is(self, KLASS_QUIET, k->st->names.debug)) {
        return 0;
    }
    int debug = attribute_truth(self, k->st->names.debug);
    if (debug <= 0) {
        return debug;
    }
    PyObject *text = PyUnicode_FromFormat("sending %R", data);
    PyObject *result = text != NULL
                           ? call_method_one(self, k->st->names.log_info, text)
                           : NULL;
    Py_XDECREF(text);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* out_buffer + data, whatever it is. */
static int
append_odd(PyObject *self, const struct state *st, PyObject *data)
{
    PyObject *old = PyObject_GetAttr(self, st->names.out_buffer);
    PyObject *sum = old != NULL ? PyNumber_Add(old, data) : NULL;
    Py_XDECREF(old);
    int rc =
        sum != NULL ? PyObject_SetAttr(self, st->names.out_buffer, sum) : -1;
    Py_XDECREF(sum);
    return rc;
}

/* Can what is sent now wait until the event ends?  The attempt must not be
 * somebody else's, nor the pieces matter. */
static bool
may_defer(PyObject *self, const struct klass *k)
{
    struct direct d;
    return channel_of(self)->event != NULL &&
           (k->facts & KLASS_BASE_SEND) != 0 &&
           channel_is(self, KLASS_SENDER, k->st->names.initiate_send) &&
           (k->facts & KLASS_FLAGS) != 0 &&
           channel_connected(channel_of(self)) > 0 &&
           socket_direct(channel_of(self), &d) && d.type == SOCK_STREAM &&
           event_defers(self);
}

/* Until the event ends.  Nobody looks before: nothing may have changed. */
static int
put_off(struct channel *ch, PyObject *data)
{
    bool had = sender_pending(ch) > 0;
    if (append(ch, data) < 0) {
        return -1;
    }
    if (!had) {
        channel_output(ch)->unknown = true;
    }
    return 0;
}

/* Nothing waits, and this may go out as it is. */
static bool
may_send_at_once(PyObject *self, const struct klass *k, PyObject *data,
                 struct direct *d)
{
    return PyBytes_CheckExact(data) && PyBytes_GET_SIZE(data) > 0 &&
           (size_t)PyBytes_GET_SIZE(data) <= MOST &&
           (k->facts & KLASS_BASE_SEND) != 0 &&
           channel_is(self, KLASS_SENDER, k->st->names.initiate_send) &&
           socket_direct(channel_of(self), d);
}

/* Only what the kernel does not take is kept: if it takes all, as it nearly
 * always does, nothing has changed. */
static int
send_at_once(PyObject *self, PyObject *data, int fd)
{
    size_t len = (size_t)PyBytes_GET_SIZE(data);
    ssize_t n = direct_try(fd, PyBytes_AS_STRING(data), len);
    int code = errno;
    if (n == (ssize_t)len) {
        return 0;
    }
    if (append(channel_of(self), data) < 0) {
        return -1;
    }
    channel_touch(channel_of(self));
    if (n < 0) {
        return direct_failed(code) < 0 ? channel_io_failed(self, "send") : 0;
    }
    if (n > 0) {
        consume(channel_of(self), (size_t)n);
    }
    return 0;
}

/* By initiate_send(), whoever's it is. */
static int
send_kept(PyObject *self, const struct klass *k)
{
    if (!channel_is(self, KLASS_SENDER, k->st->names.initiate_send)) {
        channel_touch(channel_of(self));
        return call_void(self, k->st->names.initiate_send);
    }
    /* What has waited for this goes out with it. */
    const struct event *e = channel_of(self)->event;
    return initiate(self, e != NULL && e->deferred ? SIZE_MAX : MOST);
}

static int
send_data(PyObject *self, PyObject *data)
{
    const struct klass *k = klass_of(self);
    struct channel *ch = channel_of(self);
    if (log_debug(self, k, data) < 0) {
        return -1;
    }
    if ((k->facts & KLASS_OUT_BUFFER) == 0 || !ch->has_output || is_odd(ch) ||
        !PyObject_CheckBuffer(data)) {
        return append_odd(self, k->st, data) < 0 ? -1 : send_kept(self, k);
    }
    bool had = sender_pending(ch) > 0;
    if (may_defer(self, k)) {
        return put_off(ch, data);
    }
    struct direct d;
    if (!had && may_send_at_once(self, k, data, &d)) {
        return send_at_once(self, data, d.fd);
    }
    if (append(ch, data) < 0) {
        return -1;
    }
    if (!had) {
        channel_touch(ch);
    }
    return send_kept(self, k);
}

static PyObject *
sender_send(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
            PyObject *kwnames)
{
    PyObject *data =
        only_argument("send", "data", false, args, nargs, kwnames);
    if (data == NULL || send_data(self, data) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef sender_send_def = {
    "send", (PyCFunction)(void (*)(void))sender_send,
    METH_FASTCALL | METH_KEYWORDS,
    PyDoc_STR("send($self, data)\n--\n\nSend data, now or when the kernel "
              "takes it.")};

/* ---- writable and out_buffer ---- */

static PyObject *
sender_writable(PyObject *self, PyObject *unused)
{
    (void)unused;
    const struct klass *k = klass_of(self);
    int connected = attribute_truth(self, k->st->names.connected);
    if (connected <= 0) {
        return connected < 0 ? NULL : PyBool_FromLong(1);
    }
    struct channel *ch = channel_of(self);
    if ((k->facts & KLASS_OUT_BUFFER) != 0 && ch->has_output && !is_odd(ch)) {
        return PyLong_FromSize_t(sender_pending(ch));
    }
    PyObject *buffer = PyObject_GetAttr(self, k->st->names.out_buffer);
    Py_ssize_t len = buffer != NULL ? PyObject_Size(buffer) : -1;
    Py_XDECREF(buffer);
    return len < 0 ? NULL : PyLong_FromSsize_t(len);
}

PyMethodDef sender_writable_def = {
    "writable", sender_writable, METH_NOARGS,
    PyDoc_STR("writable($self)\n--\n\nIs there something to send, or a "
              "connection to wait for?")};

static PyObject *
get_out_buffer(PyObject *self, void *closure)
{
    (void)closure;
    struct channel *ch = channel_of(self);
    if (event_has_deferred(ch) && event_flush(self) < 0) {
        return NULL;
    }
    struct output *out = channel_output(ch);
    if (!ch->has_output) {
        PyErr_SetString(PyExc_AttributeError, "out_buffer");
        return NULL;
    }
    if (out != NULL && out->odd != NULL) {
        Py_INCREF(out->odd);
        return out->odd;
    }
    size_t len = length(out);
    if (len == 0) {
        return PyBytes_FromStringAndSize(NULL, 0);
    }
    if (out->nrest > 0 && spread(out) < 0) {
        return NULL;
    }
    if (out->whole == NULL || out->start > 0) {
        /* Kept as it is given, so that looking again costs nothing. */
        PyObject *whole =
            PyBytes_FromStringAndSize(front(out), (Py_ssize_t)len);
        if (whole == NULL) {
            return NULL;
        }
        PyMem_Free(out->bytes);
        out->bytes = NULL;
        out->start = out->end = out->cap = 0;
        Py_XSETREF(out->whole, whole);
    }
    Py_INCREF(out->whole);
    return out->whole;
}

static int
set_out_buffer(PyObject *self, PyObject *value, void *closure)
{
    (void)closure;
    struct channel *ch = channel_of(self);
    if (event_has_deferred(ch) && event_flush(self) < 0) {
        return -1;
    }
    channel_touch(ch);
    sender_clear(ch);
    ch->has_output = value != NULL;
    if (value == NULL ||
        (PyBytes_CheckExact(value) && PyBytes_GET_SIZE(value) == 0)) {
        return 0;
    }
    struct output *out = make(ch);
    if (out == NULL) {
        return -1;
    }
    Py_INCREF(value);
    if (PyBytes_CheckExact(value)) {
        out->whole = value;
    }
    else {
        out->odd = value;
    }
    return 0;
}

PyGetSetDef sender_out_buffer_def = {
    "out_buffer", get_out_buffer, set_out_buffer,
    PyDoc_STR("What is kept to be sent."), NULL};
