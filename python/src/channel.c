/* SPDX-License-Identifier: MIT */
/* channel.c - what all channels are in C: the base of `dispatcher`. */
#include "state.h"

PyDoc_STRVAR(channel_doc, "The part of a channel that is in C.");

static int
channel_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct channel *ch = channel_of(self);
#if PY_VERSION_HEX >= 0x03090000
    Py_VISIT(Py_TYPE(self));
#endif
    int rc = field_traverse_all(ch, visit, arg);
    rc = rc != 0 ? rc : sender_traverse(ch, visit, arg);
    return rc != 0 ? rc : chat_traverse(ch, visit, arg);
}

static int
channel_clear(PyObject *self)
{
    struct channel *ch = channel_of(self);
    sender_clear(ch);
    chat_clear(ch);
    field_clear_all(ch);
    return 0;
}

static void
channel_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    struct channel *ch = channel_of(self);
    PyObject_GC_UnTrack(self);
    channel_unwatch(ch); /* before its descriptor is closed */
    channel_clear(self);
    klass_forget(ch);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Its own class has it from its base, but another way to be freed. */
bool
has_channel_layout(PyObject *obj)
{
    const PyTypeObject *type = Py_TYPE(obj);
    while (type != NULL && type->tp_dealloc != channel_dealloc) {
        type = type->tp_base;
    }
    return type != NULL;
}

/* ---- its dictionary ---- */

/* Whoever has the dictionary may change it unnoticed. */
static PyObject *
get_dict(PyObject *self, void *closure)
{
    struct channel *ch = channel_of(self);
    if ((event_has_deferred(ch) && event_flush(self) < 0) ||
        channel_expose(self) < 0) {
        return NULL;
    }
    channel_touch(ch);
    return PyObject_GenericGetDict(self, closure);
}

/* Another one: with it come other attributes, or none. */
static int
set_dict(PyObject *self, PyObject *value, void *closure)
{
    struct channel *ch = channel_of(self);
    if ((event_has_deferred(ch) && event_flush(self) < 0) ||
        channel_expose(self) < 0) {
        return -1;
    }
    channel_renew(ch);
    return PyObject_GenericSetDict(self, value, closure);
}

/* ---- its class ---- */

static PyObject *
get_class(PyObject *self, void *closure)
{
    (void)closure;
    PyObject *type = (PyObject *)Py_TYPE(self);
    Py_INCREF(type);
    return type;
}

/* Another one: its predicates may be others, and what it has under the names
 * of fields, which are in the dictionary then, as with any object. */
static int
set_class(PyObject *self, PyObject *value, void *closure)
{
    (void)closure;
    struct channel *ch = channel_of(self);
    if ((event_has_deferred(ch) && event_flush(self) < 0) ||
        channel_expose(self) < 0) {
        return -1;
    }
    channel_touch(ch);
    const struct names *n = &klass_of(self)->st->names;
    PyObject *own = _PyType_Lookup(&PyBaseObject_Type, n->__class__);
    return Py_TYPE(own)->tp_descr_set(own, self, value);
}

/* ---- __init__ ---- */

PyObject *
channel_begin(PyObject *module, PyObject *arg)
{
    if (!is_channel(state_of(module), arg)) {
        PyErr_SetString(PyExc_TypeError, "not a channel");
        return NULL;
    }
    if (klass_of(arg)->has_dicts && instance_begin(arg) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- lives ---- */

PyObject *
channel_life(PyObject *module, PyObject *arg)
{
    if (!is_channel(state_of(module), arg)) {
        Py_RETURN_NONE;
    }
    return PyLong_FromUnsignedLong(channel_of(arg)->life);
}

/* ---- the type ---- */

/* __dict__ is here for dispatcher, whose instances have one. */
static PyGetSetDef channel_getset[] = {
    {"__class__", get_class, set_class, NULL, NULL},
    {"__dict__", get_dict, set_dict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot channel_slots[] = {
    {Py_tp_doc, (void *)channel_doc}, {Py_tp_traverse, channel_traverse},
    {Py_tp_clear, channel_clear},     {Py_tp_dealloc, channel_dealloc},
    {Py_tp_getset, channel_getset},   {0, NULL},
};

PyType_Spec channel_spec = {
    .name = "_asyncore.channel",
    .basicsize = sizeof(struct channel),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = channel_slots,
};
