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
    return 0;
}

static int
channel_clear(PyObject *self)
{
    Py_CLEAR(channel_of(self)->dict);
    return 0;
}

static void
channel_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (channel_of(self)->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    channel_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- lives ---- */

PyObject *
channel_life(PyObject *module, PyObject *arg)
{
    if (!PyObject_TypeCheck(arg, state_of(module)->channel_type)) {
        Py_RETURN_NONE;
    }
    return PyLong_FromUnsignedLong(channel_of(arg)->life);
}

PyObject *
channel_end_life(PyObject *module, PyObject *arg)
{
    if (PyObject_TypeCheck(arg, state_of(module)->channel_type)) {
        channel_of(arg)->life++;
    }
    Py_RETURN_NONE;
}

/* ---- the type ---- */

static PyGetSetDef channel_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
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
