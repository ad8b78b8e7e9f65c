/* SPDX-License-Identifier: MIT */
/* sockets.c - dispatcher's send and recv.
 *
 * Where the channel's socket is exactly what the standard library makes, and
 * cannot block, the system is called without a detour; everything else (TLS,
 * mocks, sockets whose methods somebody has replaced) is asked by its
 * methods. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "state.h"

/* How a socket object of CPython begins, from 3.8 on at least; checked before
 * it is relied on. */
struct layout {
    PyObject_HEAD
    int fd, family, type, proto;
    PyObject *(*errorhandler)(void);
    int64_t timeout; /* ns; 0 = non-blocking */
};

/* ---- is it genuine? ---- */

static bool
check_layout(PyObject *sock)
{
    const struct layout *l = (const struct layout *)(void *)sock;
    PyObject *fd = PyObject_CallMethod(sock, "fileno", NULL);
    PyObject *none = PyObject_CallMethod(sock, "settimeout", "d", 1.5);
    bool same = fd != NULL && none != NULL && PyLong_AsLong(fd) == l->fd &&
                l->family == AF_UNIX && l->type == SOCK_DGRAM &&
                l->proto == 0 && l->timeout == INT64_C(1500000000);
    Py_XDECREF(fd);
    Py_XDECREF(none);
    none = PyObject_CallMethod(sock, "close", NULL);
    Py_XDECREF(none);
    return same && none != NULL && l->fd == -1;
}

int
socket_init(struct state *st)
{
    PyObject *module = PyImport_ImportModule("_socket");
    if (module == NULL) {
        return -1;
    }
    PyObject *type = PyObject_GetAttrString(module, "socket");
    Py_DECREF(module);
    if (type == NULL || !PyType_Check(type)) {
        Py_XDECREF(type);
        return -1;
    }
    st->socket_base = (PyTypeObject *)type;
    bool fits = (size_t)st->socket_base->tp_basicsize >= sizeof(struct layout);
    PyObject *sock =
        fits ? PyObject_CallFunction(type, "ii", AF_UNIX, SOCK_DGRAM) : NULL;
    st->socket_layout_known = sock != NULL && check_layout(sock);
    Py_XDECREF(sock);
    PyErr_Clear(); /* then the methods are called */
    return 0;
}

static bool
is_method(const struct state *st, PyTypeObject *type, PyObject *name)
{
    PyObject *method = _PyType_Lookup(type, name);
    return method != NULL && Py_IS_TYPE(method, &PyMethodDescr_Type) &&
           PyDescr_TYPE(method) == st->socket_base;
}

/* The class of the standard library derives from that of `_socket`, whose
 * methods it leaves alone; so does nobody's who has put in something else. */
static bool
check_type(struct state *st, PyTypeObject *type)
{
    st->socket_type = NULL;
    if (type->tp_base == st->socket_base && st->socket_layout_known &&
        is_method(st, type, st->names.recv) &&
        is_method(st, type, st->names.send) &&
        is_method(st, type, st->names.getpeername)) {
        st->socket_type = type;
        st->socket_tag = type_tag(type);
    }
    return st->socket_type != NULL;
}

bool
socket_direct(struct channel *ch, struct direct *ret)
{
    const struct klass *k = klass_of((PyObject *)ch);
    if ((k->facts & KLASS_SOCKET) == 0) {
        return false;
    }
    PyObject *sock = channel_socket(ch);
    if (sock == NULL) {
        return false;
    }
    PyTypeObject *type = Py_TYPE(sock);
    bool known = type == k->st->socket_type && k->st->socket_tag != 0 &&
                 type_tag(type) == k->st->socket_tag;
    if (!known && !check_type(k->st, type)) {
        return false;
    }
    const struct layout *l = (const struct layout *)(void *)sock;
    ret->fd = l->fd;
    ret->family = l->family;
    ret->type = l->type;
    ret->sock = sock;
    return l->timeout == 0;
}

/* ---- the system ---- */

Py_ssize_t
direct_recv(int fd, char *buffer, size_t len, int flags)
{
    for (;;) {
        ssize_t n = recv(fd, buffer, len, flags);
        if (n >= 0) {
            return n;
        }
        if (errno != EINTR) {
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
        if (PyErr_CheckSignals() < 0) {
            return -1;
        }
    }
}

/* Small pieces are put together here, which is cheaper than to have the
 * kernel do it. */
#define TOGETHER ((size_t)4096)

static ssize_t
send_pieces(int fd, const struct iovec *iov, size_t n)
{
    char buffer[TOGETHER];
    size_t len = 0;
    for (size_t i = 0; n > 1 && i < n; i++) {
        if (iov[i].iov_len > sizeof buffer - len) {
            struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                                 .msg_iovlen = n};
            return sendmsg(fd, &msg, 0);
        }
        memcpy(buffer + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }
    return n == 1 ? send(fd, iov[0].iov_base, iov[0].iov_len, 0)
                  : send(fd, buffer, len, 0);
}

int
direct_failed(int code)
{
    if (code == EINTR) {
        return PyErr_CheckSignals() < 0 ? -1 : 0;
    }
    errno = code;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

ssize_t
direct_try(int fd, const char *data, size_t len)
{
    ssize_t n = send(fd, data, len, 0);
    bool nothing = n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    return nothing ? 0 : n;
}

/* A handler of signals may do anything, to the data as well: then nothing was
 * sent. */
Py_ssize_t
direct_send(int fd, const struct iovec *iov, size_t n)
{
    ssize_t sent = send_pieces(fd, iov, n);
    if (sent >= 0) {
        return sent;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return 0;
    }
    return direct_failed(errno);
}

/* ---- errors ---- */

/* Tell handle_close; not again while it is being told, for it may send or
 * receive itself. */
static int
tell_close(PyObject *self, const struct state *st)
{
    struct channel *ch = channel_of(self);
    if (ch->closing_told) {
        return 0;
    }
    ch->closing_told = true;
    int rc = call_void(self, st->names.handle_close);
    ch->closing_told = false;
    return rc;
}

/* An input or output call has failed.  Returns 0 if the connection has ended,
 * which handle_close was told, -1 with the exception otherwise. */
int
channel_io_failed(PyObject *self, const char *function)
{
    const struct klass *k = klass_of(self);
    int gone = events_disconnected(k->events, caught_errno());
    if (gone <= 0) {
        return -1;
    }
    struct caught c;
    catch_begin(&c, function);
    int rc = tell_close(self, k->st);
    catch_end(&c);
    return rc;
}

static PyObject *
call_socket(PyObject *self, const struct state *st, PyObject *name,
            PyObject *arg)
{
    PyObject *sock = PyObject_GetAttr(self, st->names.socket);
    if (sock == NULL) {
        return NULL;
    }
    PyObject *result = call_method_one(sock, name, arg);
    Py_DECREF(sock);
    return result;
}

/* ---- send ---- */

Py_ssize_t
channel_send_pieces(PyObject *self, int fd, const struct iovec *iov, size_t n)
{
    Py_ssize_t sent = direct_send(fd, iov, n);
    return sent < 0 ? channel_io_failed(self, "send") : sent;
}

static PyObject *
send_by_method(PyObject *self, const struct state *st, PyObject *data)
{
    PyObject *result = call_socket(self, st, st->names.send, data);
    if (result != NULL) {
        return result;
    }
    int code = caught_errno();
    if (code == EWOULDBLOCK || code == EAGAIN) {
        PyErr_Clear();
        return PyLong_FromLong(0);
    }
    return channel_io_failed(self, "send") < 0 ? NULL : PyLong_FromLong(0);
}

PyObject *
channel_send(PyObject *self, PyObject *data)
{
    struct direct d;
    if (!socket_direct(channel_of(self), &d)) {
        return send_by_method(self, klass_of(self)->st, data);
    }
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    struct iovec iov = {.iov_base = view.buf, .iov_len = (size_t)view.len};
    Py_ssize_t n = channel_send_pieces(self, d.fd, &iov, 1);
    PyBuffer_Release(&view);
    return n < 0 ? NULL : PyLong_FromSsize_t(n);
}

static PyObject *
dispatcher_send(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    PyObject *data =
        only_argument("send", "data", false, args, nargs, kwnames);
    return data != NULL ? channel_send(self, data) : NULL;
}

PyMethodDef dispatcher_send_def = {
    "send", (PyCFunction)(void (*)(void))dispatcher_send,
    METH_FASTCALL | METH_KEYWORDS,
    PyDoc_STR("send($self, data)\n--\n\nSend what the kernel takes at once; "
              "returns how much that is.")};

/* ---- recv ---- */

/* Up to here it is cheaper to copy what has come in out of a buffer than to
 * make room for what might come. */
#define COPIED ((size_t)16 * 1024)

static PyObject *
recv_into_bytes(int fd, size_t size)
{
    PyObject *data = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (data == NULL) {
        return NULL;
    }
    Py_ssize_t n = direct_recv(fd, PyBytes_AS_STRING(data), size, 0);
    if (n < 0) {
        Py_DECREF(data);
        return NULL;
    }
    if ((size_t)n < size) {
        _PyBytes_Resize(&data, n);
    }
    return data;
}

PyObject *
direct_recv_bytes(struct state *st, int fd, size_t size)
{
    if (size > COPIED) {
        return recv_into_bytes(fd, size);
    }
    char *buffer = scratch_take(st);
    if (buffer == NULL) {
        return NULL;
    }
    Py_ssize_t n = direct_recv(fd, buffer, size, 0);
    PyObject *data = n >= 0 ? PyBytes_FromStringAndSize(buffer, n) : NULL;
    scratch_give(st, buffer);
    return data;
}

Py_ssize_t
channel_recv_into(PyObject *self, int fd, char *buffer, size_t len)
{
    ahead_stop(channel_of(self));
    Py_ssize_t n = direct_recv(fd, buffer, len, 0);
    if (n < 0) {
        return channel_io_failed(self, "recv");
    }
    if (n == 0) {
        return tell_close(self, klass_of(self)->st);
    }
    channel_of(self)->received = true;
    return n;
}

static PyObject *
receive(PyObject *self, const struct state *st, PyObject *size)
{
    struct channel *ch = channel_of(self);
    struct direct d;
    Py_ssize_t n = PyLong_CheckExact(size) ? PyLong_AsSsize_t(size) : -1;
    if (n <= 0) {
        PyErr_Clear(); /* of a number that is too large: it's the socket's */
    }
    else if (ahead_has(ch)) {
        return ahead_serve(ch->event, (size_t)n);
    }
    else if (socket_direct(ch, &d)) {
        return ahead_recv(self, &d, (size_t)n);
    }
    return call_socket(self, st, st->names.recv, size);
}

PyObject *
channel_recv(PyObject *self, PyObject *size)
{
    const struct state *st = klass_of(self)->st;
    struct channel *ch = channel_of(self);
    PyObject *data = receive(self, st, size);
    if (data == NULL) {
        return channel_io_failed(self, "recv") < 0
                   ? NULL
                   : PyBytes_FromStringAndSize(NULL, 0);
    }
    int some = PyBytes_CheckExact(data) ? PyBytes_GET_SIZE(data) > 0
                                        : PyObject_IsTrue(data);
    if (some > 0) {
        ch->received = true;
        return data;
    }
    Py_DECREF(data);
    return some < 0 || tell_close(self, st) < 0
               ? NULL
               : PyBytes_FromStringAndSize(NULL, 0);
}

static PyObject *
dispatcher_recv(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    PyObject *size =
        only_argument("recv", "buffer_size", false, args, nargs, kwnames);
    return size != NULL ? channel_recv(self, size) : NULL;
}

PyMethodDef dispatcher_recv_def = {
    "recv", (PyCFunction)(void (*)(void))dispatcher_recv,
    METH_FASTCALL | METH_KEYWORDS,
    PyDoc_STR("recv($self, buffer_size)\n--\n\nWhat has come in, at most "
              "buffer_size bytes; nothing, once the peer\nhas closed the "
              "connection, which handle_close() is told.")};
