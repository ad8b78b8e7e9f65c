/* SPDX-License-Identifier: MIT */
/* chat_output.c - async_chat's sending: push, producers, the end. */
#include <sys/socket.h>
#include <sys/uio.h>

#include "chat.h"

/* As many pieces go out at once. */
#define PIECES 64

static bool
is_bytes_like(PyObject *item)
{
    return PyBytes_CheckExact(item) || PyByteArray_CheckExact(item) ||
           PyMemoryView_Check(item);
}

/* ---- the pieces at the front ---- */

struct pieces {
    Py_buffer views[PIECES];
    struct iovec iov[PIECES];
    size_t n, bytes;
};

/* Bytes stay what and where they are; of others, a view keeps them so. */
static int
view_of(PyObject *item, Py_buffer *view)
{
    if (!PyBytes_CheckExact(item)) {
        return PyObject_GetBuffer(item, view, PyBUF_SIMPLE);
    }
    view->obj = NULL;
    view->buf = PyBytes_AS_STRING(item);
    view->len = PyBytes_GET_SIZE(item);
    return 0;
}

static int
gather(const struct fifo *q, struct pieces *p)
{
    p->n = p->bytes = 0;
    for (size_t i = q->head; i < q->len && p->n < PIECES; i++) {
        PyObject *item = fifo_item(q, i);
        Py_buffer *view = &p->views[p->n];
        if (!is_bytes_like(item)) {
            break;
        }
        if (view_of(item, view) < 0) {
            if (p->n > 0) {
                PyErr_Clear(); /* of the first of a later attempt */
                break;
            }
            return -1;
        }
        size_t offset = i == q->head ? q->offset : 0;
        size_t len = (size_t)view->len;
        offset = offset < len ? offset : len;
        p->iov[p->n++] = (struct iovec){.iov_base = (char *)view->buf + offset,
                                        .iov_len = len - offset};
        p->bytes += len - offset;
    }
    return 0;
}

static void
ungather(struct pieces *p)
{
    for (size_t i = 0; i < p->n; i++) {
        PyBuffer_Release(&p->views[i]);
    }
}

/* Drop n bytes from the front; and pieces that are empty. */
static void
consume(struct fifo *q, size_t n, const struct pieces *p)
{
    for (size_t i = 0; i < p->n; i++) {
        size_t len = p->iov[i].iov_len;
        if (n < len) {
            q->offset += n;
            return;
        }
        n -= len;
        fifo_pop(q);
    }
}

/* ---- one attempt to send; 0 or -1 ---- */

static int
failed(PyObject *self, const struct klass *k)
{
    if (!PyErr_ExceptionMatches(PyExc_OSError)) {
        return -1;
    }
    struct caught caught;
    catch_begin(&caught, "send");
    int rc = call_void(self, k->st->names.handle_error);
    catch_end(&caught);
    return rc;
}

static int
send_directly(PyObject *self, const struct klass *k, struct chat *c, int fd)
{
    struct pieces p;
    if (gather(&c->fifo, &p) < 0) {
        return -1;
    }
    Py_ssize_t n = p.bytes > 0 ? direct_send(fd, p.iov, p.n) : 0;
    ungather(&p);
    if (n >= 0) {
        consume(&c->fifo, (size_t)n, &p);
        return 0;
    }
    return channel_io_failed(self, "send") < 0 ? failed(self, k) : 0;
}

/* By the method of some socket of somebody's. */
static int
send_by_method(PyObject *self, const struct klass *k, struct chat *c)
{
    PyObject *first = fifo_first(&c->fifo);
    Py_ssize_t len = PyObject_Size(first);
    Py_ssize_t most = attribute_size(self, k->st->names.ac_out_buffer_size);
    if (len < 0 || (most == -1 && PyErr_Occurred())) {
        return -1;
    }
    Py_ssize_t at = (Py_ssize_t)c->fifo.offset;
    Py_ssize_t end = len - at > most ? at + most : len;
    Py_INCREF(first);
    PyObject *data = PySequence_GetSlice(first, at, end);
    PyObject *sent =
        data != NULL ? call_method_one(self, k->st->names.send, data) : NULL;
    Py_XDECREF(data);
    Py_ssize_t n = sent != NULL && sent != Py_None
                       ? PyNumber_AsSsize_t(sent, PyExc_OverflowError)
                       : 0;
    int rc = sent == NULL ? failed(self, k) : 0;
    Py_XDECREF(sent);
    if (n == -1 && PyErr_Occurred()) {
        rc = -1;
    }
    c = channel_chat(channel_of(self));
    if (n > 0 && c != NULL && fifo_len(&c->fifo) > 0 &&
        fifo_first(&c->fifo) == first) {
        c->fifo.offset += (size_t)n;
        if (c->fifo.offset >= (size_t)len) {
            fifo_pop(&c->fifo);
        }
    }
    Py_DECREF(first);
    return rc;
}

static int
send_in_python(PyObject *self, const struct klass *k)
{
    return call_void(self, k->st->names._async_chat__initiate_send);
}

static int
send_front(PyObject *self, const struct klass *k, struct chat *c)
{
    struct direct d;
    if (!channel_is(self, KLASS_SEND, k->st->names.send)) {
        return send_in_python(self, k); /* it may look at the queue */
    }
    return socket_direct(channel_of(self), &d)
               ? send_directly(self, k, c, d.fd)
               : send_by_method(self, k, c);
}

/* ---- what is not bytes ---- */

/* Is it still to be sent first?  If others have the queue: not here. */
static bool
is_first(const struct klass *k, struct chat *c, PyObject *item)
{
    return c != NULL && chat_reclaim(k->st, c) && fifo_len(&c->fifo) > 0 &&
           fifo_first(&c->fifo) == item;
}

/* Others have the queue: as it is done in Python. */
static int
deque_put_first(PyObject *self, const struct klass *k, PyObject *data)
{
    PyObject *fifo = PyObject_GetAttr(self, k->st->names.producer_fifo);
    PyObject *none = fifo != NULL
                         ? PyObject_CallMethod(fifo, "appendleft", "O", data)
                         : NULL;
    Py_XDECREF(fifo);
    Py_XDECREF(none);
    return none != NULL ? 0 : -1;
}

static int
deque_drop_first(PyObject *self, const struct klass *k, PyObject *item)
{
    PyObject *fifo = PyObject_GetAttr(self, k->st->names.producer_fifo);
    Py_ssize_t len = fifo != NULL ? PyObject_Size(fifo) : -1;
    PyObject *first = len > 0 ? PySequence_GetItem(fifo, 0) : NULL;
    int rc = len < 0 || (len > 0 && first == NULL) ? -1 : 0;
    if (first == item && item != NULL) {
        rc = PySequence_DelItem(fifo, 0);
    }
    Py_XDECREF(first);
    Py_XDECREF(fifo);
    return rc;
}

static int
put_first(PyObject *self, const struct klass *k, PyObject *data)
{
    struct chat *c = channel_chat(channel_of(self));
    return c != NULL && chat_reclaim(k->st, c)
               ? fifo_prepend(&c->fifo, data)
               : deque_put_first(self, k, data);
}

static int
drop_first(PyObject *self, const struct klass *k, PyObject *item)
{
    struct chat *c = channel_chat(channel_of(self));
    if (is_first(k, c, item)) {
        fifo_pop(&c->fifo);
        return 0;
    }
    return c != NULL && c->deque != NULL ? deque_drop_first(self, k, item) : 0;
}

/* More from a producer, to be sent before it is asked again.  What it does may
 * be to look at the queue, or to change it. */
static int
ask_producer(PyObject *self, const struct klass *k, PyObject *producer)
{
    PyObject *data = call_method(producer, k->st->names.more);
    int some = data != NULL ? PyObject_IsTrue(data) : -1;
    int rc = some < 0   ? -1
             : some > 0 ? put_first(self, k, data)
                        : drop_first(self, k, producer);
    Py_XDECREF(data);
    return rc;
}

/* Whatever else can be cut is not for us: strings, above all. */
static bool
is_producer(PyObject *item)
{
    const PyTypeObject *type = Py_TYPE(item);
    return (type->tp_as_mapping == NULL ||
            type->tp_as_mapping->mp_subscript == NULL) &&
           (type->tp_as_sequence == NULL ||
            type->tp_as_sequence->sq_item == NULL);
}

/* ---- initiate_send ---- */

static int
is_connected(PyObject *self, const struct klass *k)
{
    bool known = (k->facts & KLASS_FLAGS) != 0 &&
                 channel_connected(channel_of(self)) > 0;
    return known ? 1 : attribute_truth(self, k->st->names.connected);
}

/* The end: returns 0 or -1. */
static int
end(PyObject *self, const struct klass *k, struct chat *c)
{
    fifo_pop(&c->fifo);
    channel_touch(channel_of(self)); /* before anything else may happen */
    return call_void(self, k->st->names.handle_close);
}

/* Returns 1: on with the next, 0: done, -1. */
static int
send_item(PyObject *self, const struct klass *k, struct chat *c,
          PyObject *first)
{
    if (first == Py_None) {
        return end(self, k, c) < 0 ? -1 : 0;
    }
    if (is_bytes_like(first)) {
        if (PyObject_Size(first) == 0) {
            fifo_pop(&c->fifo);
            return 1;
        }
        return send_front(self, k, c) < 0 ? -1 : 0;
    }
    int truth = PyObject_IsTrue(first);
    if (truth <= 0) {
        return truth < 0 || drop_first(self, k, first) < 0 ? -1 : 1;
    }
    if (is_producer(first)) {
        return ask_producer(self, k, first) < 0 ? -1 : 1;
    }
    return send_in_python(self, k) < 0 ? -1 : 0;
}

/* Likewise; before each look at the queue it is taken back from who has had a
 * look himself. */
static int
send_next(PyObject *self, const struct klass *k)
{
    struct channel *ch = channel_of(self);
    struct chat *c = channel_chat(ch);
    bool ours = c != NULL && chat_reclaim(k->st, c);
    if (ours && fifo_len(&c->fifo) > 0) {
        int connected = is_connected(self, k);
        if (connected <= 0) {
            return connected;
        }
        c = channel_chat(ch);
        ours = c != NULL && chat_reclaim(k->st, c);
    }
    if (!ours) {
        return c != NULL && send_in_python(self, k) < 0 ? -1 : 0;
    }
    if (fifo_len(&c->fifo) == 0) {
        return 0;
    }
    PyObject *first = fifo_first(&c->fifo);
    Py_INCREF(first);
    int rc = send_item(self, k, c, first);
    Py_DECREF(first);
    return rc;
}

static bool
has_queued(struct channel *ch)
{
    const struct chat *c = channel_chat(ch);
    return c != NULL && (c->deque != NULL || fifo_len(&c->fifo) > 0);
}

static int
initiate(PyObject *self, const struct klass *k)
{
    struct channel *ch = channel_of(self);
    if (chat_of(self, "producer_fifo") == NULL) {
        return -1;
    }
    bool had = has_queued(ch);
    int rc = 1;
    while (rc > 0) {
        rc = send_next(self, k);
    }
    if (had != has_queued(ch)) {
        channel_touch(ch);
    }
    return rc;
}

int
chat_flush(PyObject *self)
{
    struct channel *ch = channel_of(self);
    int rc = initiate(self, klass_of(self));
    if (channel_chat(ch) != NULL && fifo_len(&channel_chat(ch)->fifo) > 0) {
        channel_touch(ch);
    }
    return rc;
}

static PyObject *
chat_initiate_send(PyObject *self, PyObject *unused)
{
    (void)unused;
    const struct klass *k = klass_of(self);
    int rc = (k->facts & KLASS_CHAT_PARTS) != 0 ? initiate(self, k)
                                                : send_in_python(self, k);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef chat_initiate_send_def = {
    "initiate_send", chat_initiate_send, METH_NOARGS,
    PyDoc_STR("initiate_send($self)\n--\n\nSend what is at the front of the "
              "queue.")};

static PyObject *
chat_handle_write(PyObject *self, PyObject *unused)
{
    const struct klass *k = klass_of(self);
    if (channel_is(self, KLASS_CHAT_SENDS, k->st->names.initiate_send)) {
        return chat_initiate_send(self, unused);
    }
    return call_method(self, k->st->names.initiate_send);
}

PyMethodDef chat_handle_write_def = {
    "handle_write", chat_handle_write, METH_NOARGS,
    PyDoc_STR("handle_write($self)\n--\n\nThere is room for output: send what "
              "is queued.")};

/* ---- queueing ---- */

static bool
is_connected_stream(struct channel *ch)
{
    struct direct d;
    return channel_connected(ch) > 0 && socket_direct(ch, &d) &&
           d.type == SOCK_STREAM;
}

/* Can what is pushed now wait until the event ends?  Not with the end in the
 * queue, when to send may be to close.  If something waits already, nobody has
 * touched the socket or the flags meanwhile. */
static bool
may_defer(PyObject *self, const struct klass *k)
{
    struct channel *ch = channel_of(self);
    return ch->event != NULL && (k->facts & KLASS_FLAGS) != 0 &&
           channel_is(self, KLASS_SEND, k->st->names.send) &&
           (ch->event->deferred ||
            (is_connected_stream(ch) && channel_chat(ch)->fifo.ends == 0)) &&
           event_defers(self);
}

/* Append, by the deque's own method if others have it. */
static int
append(PyObject *self, const struct klass *k, PyObject *item, bool pushed)
{
    struct channel *ch = channel_of(self);
    struct chat *c = channel_chat(ch);
    if ((k->facts & KLASS_CHAT_PARTS) != 0 && c != NULL &&
        chat_reclaim(k->st, c)) {
        return fifo_append(&c->fifo, item, pushed);
    }
    PyObject *fifo = PyObject_GetAttr(self, k->st->names.producer_fifo);
    PyObject *none =
        fifo != NULL ? call_method_one(fifo, k->st->names.append, item) : NULL;
    Py_XDECREF(fifo);
    Py_XDECREF(none);
    return none != NULL ? 0 : -1;
}

/* … in pieces of what is sent at a time, where somebody might see them. */
static int
append_data(PyObject *self, const struct klass *k, PyObject *data)
{
    if (PyBytes_CheckExact(data) && (k->facts & KLASS_CHAT_PARTS) != 0) {
        return append(self, k, data, true);
    }
    Py_ssize_t len = PyObject_Size(data);
    Py_ssize_t most = attribute_size(self, k->st->names.ac_out_buffer_size);
    if (len < 0 || (most == -1 && PyErr_Occurred())) {
        return -1;
    }
    if (len <= most || most <= 0) {
        return append(self, k, data, false);
    }
    int rc = 0;
    for (Py_ssize_t at = 0; at < len && rc == 0; at += most) {
        PyObject *piece =
            PySequence_GetSlice(data, at, len - at > most ? at + most : len);
        rc = piece != NULL ? append(self, k, piece, false) : -1;
        Py_XDECREF(piece);
    }
    return rc;
}

static int
start_sending(PyObject *self, const struct klass *k, bool patient)
{
    if (!channel_is(self, KLASS_CHAT_SENDS, k->st->names.initiate_send)) {
        channel_touch(channel_of(self));
        return call_void(self, k->st->names.initiate_send);
    }
    const struct chat *c = channel_chat(channel_of(self));
    if (patient && c != NULL && c->deque == NULL && may_defer(self, k)) {
        return 0;
    }
    channel_touch(channel_of(self));
    PyObject *none = chat_initiate_send(self, NULL);
    Py_XDECREF(none);
    return none != NULL ? 0 : -1;
}

/* A view of anything but bytes is one of its bytes. */
static PyObject *
as_bytes_like(PyObject *data)
{
    if (PyMemoryView_Check(data) &&
        PyMemoryView_GET_BUFFER(data)->itemsize != 1) {
        return PyObject_CallMethod(data, "cast", "s", "B");
    }
    Py_INCREF(data);
    return data;
}

/* Bytes, and nobody has a say in how they are queued and sent. */
static bool
is_plain(PyObject *self, const struct klass *k, PyObject *data)
{
    const struct chat *c = channel_chat(channel_of(self));
    const unsigned facts = KLASS_CHAT_PARTS | KLASS_FLAGS;
    return PyBytes_CheckExact(data) && (k->facts & facts) == facts &&
           c != NULL && c->deque == NULL &&
           channel_is(self, KLASS_CHAT_SENDS, k->st->names.initiate_send) &&
           channel_is(self, KLASS_SEND, k->st->names.send);
}

/* Nothing is queued, and this may go out as it is. */
static bool
may_push_at_once(struct channel *ch, PyObject *data, struct direct *d)
{
    return fifo_len(&channel_chat(ch)->fifo) == 0 &&
           PyBytes_GET_SIZE(data) > 0 && channel_connected(ch) > 0 &&
           socket_direct(ch, d);
}

/* Only what the kernel does not take is queued: if it takes all, as it nearly
 * always does, nothing has changed. */
static int
push_at_once(PyObject *self, const struct klass *k, PyObject *data, int fd)
{
    size_t len = (size_t)PyBytes_GET_SIZE(data);
    ssize_t n = direct_try(fd, PyBytes_AS_STRING(data), len);
    int code = errno;
    if (n == (ssize_t)len) {
        return 0;
    }
    struct fifo *q = &channel_chat(channel_of(self))->fifo;
    if (fifo_append(q, data, true) < 0) {
        return -1;
    }
    channel_touch(channel_of(self));
    if (n >= 0) {
        q->offset = (size_t)n;
        return 0;
    }
    return direct_failed(code) < 0 && channel_io_failed(self, "send") < 0
               ? failed(self, k)
               : 0;
}

static int
push(PyObject *self, PyObject *data)
{
    const struct klass *k = klass_of(self);
    struct channel *ch = channel_of(self);
    struct direct d;
    if (is_plain(self, k, data)) {
        struct fifo *q = &channel_chat(ch)->fifo;
        if (ch->event != NULL && ch->event->deferred && event_defers(self)) {
            return fifo_append(q, data, true);
        }
        if (may_push_at_once(ch, data, &d)) {
            return may_defer(self, k) ? fifo_append(q, data, true)
                                      : push_at_once(self, k, data, d.fd);
        }
    }
    return append_data(self, k, data) < 0 ? -1 : start_sending(self, k, true);
}

static PyObject *
chat_push(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
          PyObject *kwnames)
{
    PyObject *data =
        only_argument("push", "data", false, args, nargs, kwnames);
    if (data == NULL) {
        return NULL;
    }
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) &&
        !PyMemoryView_Check(data)) {
        return PyErr_Format(PyExc_TypeError,
                            "data argument must be byte-ish (%R)",
                            (PyObject *)Py_TYPE(data));
    }
    PyObject *bytes = as_bytes_like(data);
    int rc = bytes != NULL ? push(self, bytes) : -1;
    Py_XDECREF(bytes);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef chat_push_def = {
    "push", (PyCFunction)(void (*)(void))chat_push,
    METH_FASTCALL | METH_KEYWORDS,
    PyDoc_STR("push($self, data)\n--\n\nSend bytes, now or when their turn "
              "comes.")};

static PyObject *
chat_push_with_producer(PyObject *self, PyObject *const *args,
                        Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *producer = only_argument("push_with_producer", "producer", false,
                                       args, nargs, kwnames);
    if (producer == NULL) {
        return NULL;
    }
    /* It is asked at once, and what it raises is the caller's. */
    if (event_has_deferred(channel_of(self)) && event_flush(self) < 0) {
        return NULL;
    }
    const struct klass *k = klass_of(self);
    if (append(self, k, producer, false) < 0 ||
        start_sending(self, k, false) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef chat_push_with_producer_def = {
    "push_with_producer", (PyCFunction)(void (*)(void))chat_push_with_producer,
    METH_FASTCALL | METH_KEYWORDS,
    PyDoc_STR("push_with_producer($self, producer)\n--\n\nSend what "
              "producer.more() gives, until that is empty.")};

static PyObject *
chat_close_when_done(PyObject *self, PyObject *unused)
{
    (void)unused;
    /* What is pushed after the end does not wait. */
    if ((event_has_deferred(channel_of(self)) && event_flush(self) < 0) ||
        append(self, klass_of(self), Py_None, false) < 0) {
        return NULL;
    }
    channel_touch(channel_of(self));
    Py_RETURN_NONE;
}

PyMethodDef chat_close_when_done_def = {
    "close_when_done", chat_close_when_done, METH_NOARGS,
    PyDoc_STR("close_when_done($self)\n--\n\nClose when all that is queued "
              "has been sent.")};

/* ---- predicates ---- */

static PyObject *
chat_readable(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    return PyLong_FromLong(1);
}

PyMethodDef chat_readable_def = {
    "readable", chat_readable, METH_NOARGS,
    PyDoc_STR("readable($self)\n--\n\n"
              "Does the channel wait for something to "
              "read?")};

static PyObject *
chat_writable(PyObject *self, PyObject *unused)
{
    (void)unused;
    const struct klass *k = klass_of(self);
    PyObject *fifo = PyObject_GetAttr(self, k->st->names.producer_fifo);
    int some = fifo != NULL ? PyObject_IsTrue(fifo) : -1;
    if (some > 0) {
        return fifo;
    }
    Py_XDECREF(fifo);
    int connected = some < 0 ? -1 : is_connected(self, k);
    return connected < 0 ? NULL : PyBool_FromLong(!connected);
}

PyMethodDef chat_writable_def = {
    "writable", chat_writable, METH_NOARGS,
    PyDoc_STR("writable($self)\n--\n\nIs there something to send, or a "
              "connection to wait for?")};

int
chat_has_output(const struct klass *k, struct channel *ch)
{
    struct chat *c = channel_chat(ch);
    if ((k->facts & KLASS_CHAT_PARTS) == 0 || c == NULL ||
        !chat_reclaim(k->st, c)) {
        return -1;
    }
    return fifo_len(&c->fifo) > 0;
}
