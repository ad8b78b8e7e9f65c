/* SPDX-License-Identifier: MIT */
/* field.c - the attributes that dispatcher sets, kept in the channel itself.
 *
 * They are what every event looks at, and all that most channels have: so
 * there they cost neither look-ups nor a dictionary.  To a program they are
 * attributes like others (attribute.c).  If it asks for the dictionary they
 * come there, and are back when nobody else has it any more; and one that is
 * set to something that does not fit here is there meanwhile, too. */
#include <arpa/inet.h>
#include <sys/socket.h>

#include "state.h"

PyObject *
field_name(const struct state *st, enum field f)
{
    const struct names *n = &st->names;
    switch (f) {
    case FIELD_SOCKET:
        return n->socket;
    case FIELD_MAP:
        return n->_map;
    case FIELD_TERMINATOR:
        return n->terminator;
    case FIELD_ADDR:
        return n->addr;
    case FIELD_FILENO:
        return n->_fileno;
    case FIELD_CONNECTED:
        return n->connected;
    case FIELD_ACCEPTING:
        return n->accepting;
    default:
        return n->connecting;
    }
}

enum field
field_named(const struct state *st, PyObject *name)
{
    enum field f = 0;
    while (f < FIELDS && field_name(st, f) != name) {
        f++;
    }
    return f;
}

static PyObject *
own_name(PyObject *self, enum field f)
{
    return field_name(klass_of(self)->st, f);
}

/* ---- in the channel ---- */

static PyObject **
object_at(struct channel *ch, enum field f)
{
    switch (f) {
    case FIELD_SOCKET:
        return &ch->socket;
    case FIELD_MAP:
        return &ch->map;
    case FIELD_FILENO:
        return &ch->fileno;
    case FIELD_TERMINATOR:
        return ch->is_chat ? chat_terminator_at(ch) : NULL;
    case FIELD_ADDR:
        return &ch->addr.object;
    default:
        return NULL;
    }
}

static enum flag
get_flag(const struct channel *ch, enum field f)
{
    return f == FIELD_CONNECTED   ? ch->connected
           : f == FIELD_ACCEPTING ? ch->accepting
                                  : ch->connecting;
}

static void
put_flag(struct channel *ch, enum field f, PyObject *value)
{
    unsigned flag = value == NULL      ? FLAG_UNSET
                    : value == Py_True ? FLAG_TRUE
                                       : FLAG_FALSE;
    switch (f) {
    case FIELD_CONNECTED:
        ch->connected = flag & 3;
        break;
    case FIELD_ACCEPTING:
        ch->accepting = flag & 3;
        break;
    default:
        ch->connecting = flag & 3;
    }
}

static bool
is_flag(enum field f)
{
    return f == FIELD_CONNECTED || f == FIELD_ACCEPTING ||
           f == FIELD_CONNECTING;
}

/* The address becomes an object when somebody looks at it, and stays one. */
static int
make_addr(struct channel *ch)
{
    if (!ch->addr_inet) {
        return 0;
    }
    char host[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, ch->addr.inet.host, host, sizeof host);
    PyObject *addr = Py_BuildValue("(si)", host, ntohs(ch->addr.inet.port));
    if (addr == NULL) {
        return -1;
    }
    ch->addr_inet = false;
    ch->addr.object = addr;
    return 0;
}

static PyObject *
get(struct channel *ch, enum field f)
{
    if (is_flag(f)) {
        enum flag flag = get_flag(ch, f);
        return flag != FLAG_UNSET ? PyBool_FromLong(flag == FLAG_TRUE) : NULL;
    }
    if (f == FIELD_ADDR && make_addr(ch) < 0) {
        return NULL;
    }
    PyObject **at = object_at(ch, f);
    PyObject *object = at != NULL ? *at : NULL;
    Py_XINCREF(object);
    return object;
}

static bool
fits(enum field f, PyObject *value)
{
    return !is_flag(f) || value == Py_True || value == Py_False;
}

/* A value that fits, or NULL: nothing.  0 or -1. */
static int
put(struct channel *ch, enum field f, PyObject *value)
{
    if (is_flag(f)) {
        put_flag(ch, f, value);
        return 0;
    }
    if (f == FIELD_TERMINATOR && value != NULL && chat_make(ch) == NULL) {
        return -1;
    }
    if (f == FIELD_ADDR && ch->addr_inet) {
        ch->addr_inet = false;
        ch->addr.object = NULL;
    }
    PyObject **at = object_at(ch, f);
    if (at != NULL) {
        Py_XINCREF(value);
        Py_XSETREF(*at, value);
    }
    return 0;
}

void
field_clear_all(struct channel *ch)
{
    for (enum field f = 0; f < FIELDS; f++) {
        put(ch, f, NULL);
    }
}

int
field_traverse_all(struct channel *ch, visitproc visit, void *arg)
{
    Py_VISIT(ch->socket);
    Py_VISIT(ch->map);
    Py_VISIT(ch->fileno);
    if (!ch->addr_inet) {
        Py_VISIT(ch->addr.object);
    }
    return 0;
}

/* ---- in the dictionary ---- */

PyObject *
channel_terminator(const struct channel *ch)
{
    struct channel *c = (struct channel *)(uintptr_t)ch;
    return ch->exposed   ? channel_odd_object(ch, FIELD_TERMINATOR)
           : ch->is_chat ? *chat_terminator_at(c)
                         : NULL;
}

PyObject *
channel_odd_object(const struct channel *ch, enum field f)
{
    PyObject *self = (PyObject *)(uintptr_t)ch;
    PyObject *dict = instance_dict(self);
    /* Names are interned and have their hash: this cannot fail. */
    return dict != NULL ? PyDict_GetItemWithError(dict, own_name(self, f))
                        : NULL;
}

int
channel_odd_flag(const struct channel *ch, enum field f)
{
    PyObject *value = channel_odd_object(ch, f);
    return value == NULL || value == Py_False ? 0 : value == Py_True ? 1 : -1;
}

static int
set_in_dict(PyObject *self, enum field f, PyObject *value)
{
    if (value == NULL && channel_odd_object(channel_of(self), f) == NULL) {
        return 0;
    }
    PyObject *dict = PyObject_GenericGetDict(self, NULL);
    if (dict == NULL) {
        return -1;
    }
    PyObject *name = own_name(self, f);
    int rc = value != NULL ? PyDict_SetItem(dict, name, value)
                           : PyDict_DelItem(dict, name);
    Py_DECREF(dict);
    return rc < 0 ? -1 : 1;
}

/* ---- there and back ---- */

/* Into the dictionary; 1, 0: it is not set, or what is there is newer, -1. */
static int
expose_one(PyObject *self, PyObject *dict, enum field f)
{
    PyObject *name = own_name(self, f);
    if (PyDict_GetItemWithError(dict, name) != NULL) {
        return 0;
    }
    PyObject *value = get(channel_of(self), f);
    if (value == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    int rc = PyDict_SetItem(dict, name, value);
    Py_DECREF(value);
    return rc < 0 ? -1 : 1;
}

/* No memory: what has come into the dictionary must not get old there. */
static void
take_back(PyObject *self, PyObject *dict, unsigned exposed)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    for (enum field f = 0; f < FIELDS; f++) {
        if ((exposed >> f & 1) != 0 &&
            PyDict_DelItem(dict, own_name(self, f)) < 0) {
            PyErr_Clear(); /* it was there */
        }
    }
    PyErr_Restore(type, value, traceback);
}

int
channel_expose(PyObject *self)
{
    struct channel *ch = channel_of(self);
    if (ch->exposed) {
        return 0;
    }
    PyObject *dict = PyObject_GenericGetDict(self, NULL);
    int rc = dict != NULL ? 0 : -1;
    unsigned exposed = 0;
    for (enum field f = 0; f < FIELDS && rc >= 0; f++) {
        rc = expose_one(self, dict, f);
        exposed |= rc > 0 ? 1U << f : 0;
    }
    if (rc < 0) {
        take_back(self, dict, exposed);
    }
    Py_XDECREF(dict);
    if (rc >= 0) {
        ch->exposed = true;
        field_clear_all(ch);
    }
    return rc < 0 ? -1 : 0;
}

void
channel_meet(PyObject *self)
{
    bool found = Py_REFCNT(instance_dict(self)) > 1; /* others have it */
    for (enum field f = 0; f < FIELDS && !found; f++) {
        found = channel_odd_object(channel_of(self), f) != NULL;
    }
    if (found && channel_expose(self) < 0) {
        PyErr_Clear(); /* no memory: another time */
    }
}

/* What is to come back from the dictionary; a class may have something else
 * under the name, which does not look here. */
static PyObject *
returning(PyObject *self, enum field f)
{
    return (klass_of(self)->foreign >> f & 1) == 0
               ? channel_odd_object(channel_of(self), f)
               : NULL;
}

static bool
all_fit(PyObject *self)
{
    if (returning(self, FIELD_TERMINATOR) != NULL &&
        chat_make(channel_of(self)) == NULL) {
        PyErr_Clear(); /* no room: another time */
        return false;
    }
    for (enum field f = 0; f < FIELDS; f++) {
        PyObject *value = returning(self, f);
        if (value != NULL && !fits(f, value)) {
            return false;
        }
    }
    return true;
}

static void
enclose(PyObject *self, PyObject *dict)
{
    for (enum field f = 0; f < FIELDS; f++) {
        PyObject *value = returning(self, f);
        if (value != NULL && (put(channel_of(self), f, value) < 0 ||
                              PyDict_DelItem(dict, own_name(self, f)) < 0)) {
            PyErr_Clear(); /* there is room, and it was there */
        }
    }
    channel_of(self)->exposed = false;
}

static bool
is_set(struct channel *ch, enum field f)
{
    if (is_flag(f)) {
        return get_flag(ch, f) != FLAG_UNSET;
    }
    PyObject **at = object_at(ch, f);
    return (f == FIELD_ADDR && ch->addr_inet) || (at != NULL && *at != NULL);
}

/* Is there a field that is not for the attribute of the class, or may there be
 * something in the dictionary that was set when that was another one? */
static bool
has_strays(struct channel *ch, const struct klass *k)
{
    bool found = (k->strays & ~k->foreign) != 0;
    for (enum field f = 0; f < FIELDS && !found; f++) {
        found = (k->foreign >> f & 1) != 0 && is_set(ch, f);
    }
    return found;
}

bool
channel_is_exposed(PyObject *self)
{
    struct channel *ch = channel_of(self);
    const struct klass *k = klass_of(self);
    bool blind = (k->facts & KLASS_BLIND) != 0;
    if (!ch->exposed && !blind && !has_strays(ch, k)) {
        return false;
    }
    if (channel_expose(self) < 0) {
        PyErr_Clear(); /* no memory: another time */
        return true;
    }
    PyObject *dict = instance_dict(self);
    if (blind) {
        return Py_REFCNT(dict) > 1;
    }
    if (dict == NULL || (Py_REFCNT(dict) == 1 && all_fit(self))) {
        enclose(self, dict);
    }
    return ch->exposed;
}

/* ---- for attribute.c ---- */

/* Where the dictionary may know better. */
static int
find_strays(PyObject *self)
{
    const struct klass *k = klass_of(self);
    bool may = (k->facts & KLASS_BLIND) != 0 || (k->strays & ~k->foreign) != 0;
    return may ? channel_expose(self) : 0;
}

PyObject *
field_get(PyObject *self, enum field f)
{
    struct channel *ch = channel_of(self);
    if (!ch->exposed && find_strays(self) < 0) {
        return NULL;
    }
    if (!ch->exposed) {
        return get(ch, f);
    }
    PyObject *value = channel_odd_object(ch, f);
    Py_XINCREF(value);
    return value;
}

int
field_set(PyObject *self, enum field f, PyObject *value)
{
    struct channel *ch = channel_of(self);
    if (find_strays(self) < 0 ||
        (value != NULL && !fits(f, value) && channel_expose(self) < 0)) {
        return -1;
    }
    if (ch->exposed) {
        return set_in_dict(self, f, value);
    }
    bool was = is_set(ch, f);
    return put(ch, f, value) < 0 ? -1 : value != NULL || was;
}

/* ---- the address of the peer ---- */

/* A plain IPv4 address is kept as it is. */
static int
keep_peer(struct channel *ch, const struct direct *d)
{
    struct sockaddr_in in;
    socklen_t len = sizeof in;
    if (getpeername(d->fd, (struct sockaddr *)&in, &len) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    put(ch, FIELD_ADDR, NULL);
    memcpy(ch->addr.inet.host, &in.sin_addr, sizeof ch->addr.inet.host);
    ch->addr.inet.port = in.sin_port;
    ch->addr_inet = true;
    return 0;
}

static int
set_peer(PyObject *self, PyObject *sock)
{
    const struct klass *k = klass_of(self);
    struct channel *ch = channel_of(self);
    struct direct d;
    if ((k->facts & KLASS_ADDR) != 0 && !ch->exposed &&
        Py_TYPE(self)->tp_setattro == PyObject_GenericSetAttr &&
        channel_socket(ch) == sock && socket_direct(ch, &d) &&
        d.family == AF_INET) {
        return keep_peer(ch, &d);
    }
    PyObject *addr = call_method(sock, k->st->names.getpeername);
    int rc =
        addr != NULL ? PyObject_SetAttr(self, k->st->names.addr, addr) : -1;
    Py_XDECREF(addr);
    return rc;
}

PyObject *
channel_set_peer(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 2 || !is_channel(state_of(module), args[0])) {
        PyErr_SetString(PyExc_TypeError, "not a channel and its socket");
        return NULL;
    }
    if (set_peer(args[0], args[1]) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}
