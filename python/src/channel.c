/* SPDX-License-Identifier: MIT */
/* channel.c - what all channels are in C: the base of `dispatcher`. */
#include "state.h"

#include <structmember.h>

PyDoc_STRVAR(channel_doc, "The part of a channel that is in C.");

static int
channel_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct channel *ch = channel_of(self);
#if PY_VERSION_HEX >= 0x03090000
    Py_VISIT(Py_TYPE(self));
#endif
    Py_VISIT(ch->dict);
    int rc = sender_traverse(ch, visit, arg);
    return rc != 0 ? rc : chat_traverse(ch, visit, arg);
}

static int
channel_clear(PyObject *self)
{
    struct channel *ch = channel_of(self);
    sender_clear(ch);
    chat_clear(ch);
    Py_CLEAR(ch->dict);
    return 0;
}

static void
channel_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    struct channel *ch = channel_of(self);
    PyObject_GC_UnTrack(self);
    if (ch->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    channel_unwatch(ch); /* before its descriptor is closed */
    channel_clear(self);
    klass_forget(ch);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- its dictionary ---- */

PyObject *
channel_get(const struct channel *ch, PyObject *name)
{
    /* Names are interned and have their hash: this cannot fail. */
    return ch->dict != NULL ? PyDict_GetItemWithError(ch->dict, name) : NULL;
}

/* A dictionary of its own: one that shares its keys with those of the class's
 * other instances has room for all that any of them might have. */
int
channel_make_dict(struct channel *ch)
{
    if (ch->dict == NULL) {
        ch->dict = PyDict_New();
    }
    return ch->dict != NULL ? 0 : -1;
}

int
channel_put(struct channel *ch, PyObject *name, PyObject *value)
{
    return channel_make_dict(ch) < 0 ? -1
                                     : PyDict_SetItem(ch->dict, name, value);
}

/* Whoever has the dictionary may change it unnoticed. */
static PyObject *
get_dict(PyObject *self, void *closure)
{
    struct channel *ch = channel_of(self);
    if (event_has_deferred(ch) && event_flush(self) < 0) {
        return NULL;
    }
    ch->exposed = true;
    channel_touch(ch);
    return PyObject_GenericGetDict(self, closure);
}

static int
set_dict(PyObject *self, PyObject *value, void *closure)
{
    channel_of(self)->exposed = true;
    channel_touch(channel_of(self));
    return PyObject_GenericSetDict(self, value, closure);
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

static PyGetSetDef channel_getset[] = {
    {"__dict__", get_dict, set_dict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef channel_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(struct channel, dict), READONLY,
     NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct channel, weakrefs),
     READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot channel_slots[] = {
    {Py_tp_doc, (void *)channel_doc},
    {Py_tp_traverse, channel_traverse},
    {Py_tp_clear, channel_clear},
    {Py_tp_dealloc, channel_dealloc},
    {Py_tp_getset, channel_getset},
    {Py_tp_members, channel_members},
    {0, NULL},
};

PyType_Spec channel_spec = {
    .name = "_asyncore.channel",
    .basicsize = sizeof(struct channel),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = channel_slots,
};
