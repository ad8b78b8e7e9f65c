/* SPDX-License-Identifier: MIT */
/* computed.c - attributes that are computed when somebody looks.
 *
 * What CPython has for that finds out by the whole order of the classes, each
 * time, whether the object has such an attribute; a predicate that looks at
 * `out_buffer` is called a thousand times a pass. */
#include "state.h"

struct computed {
    PyObject_HEAD
    const PyGetSetDef *def;
    PyTypeObject *owner; /* whose instances have it */
};

PyObject *
computed_make(struct state *st, const PyGetSetDef *def)
{
    PyTypeObject *type = st->computed_type;
    struct computed *self = (struct computed *)type->tp_alloc(type, 0);
    if (self != NULL) {
        Py_INCREF(st->channel_type);
        self->def = def;
        self->owner = st->channel_type;
    }
    return (PyObject *)self;
}

static bool
applies(const struct computed *self, PyObject *obj)
{
    const PyTypeObject *type = Py_TYPE(obj);
    while (type != NULL && type != self->owner) {
        type = type->tp_base;
    }
    if (type == NULL) {
        PyErr_Format(PyExc_TypeError,
                     "descriptor '%s' doesn't apply to a '%s' object",
                     self->def->name, Py_TYPE(obj)->tp_name);
    }
    return type != NULL;
}

static PyObject *
computed_get(PyObject *self, PyObject *obj, PyObject *type)
{
    const struct computed *c = (const struct computed *)(void *)self;
    (void)type;
    if (obj == NULL) {
        Py_INCREF(self);
        return self;
    }
    return applies(c, obj) ? c->def->get(obj, NULL) : NULL;
}

static int
computed_set(PyObject *self, PyObject *obj, PyObject *value)
{
    const struct computed *c = (const struct computed *)(void *)self;
    return applies(c, obj) ? c->def->set(obj, value, NULL) : -1;
}

/* ---- what it tells of itself ---- */

static PyObject *
get_name(PyObject *self, void *closure)
{
    (void)closure;
    return PyUnicode_FromString(((struct computed *)(void *)self)->def->name);
}

static PyObject *
get_doc(PyObject *self, void *closure)
{
    (void)closure;
    return PyUnicode_FromString(((struct computed *)(void *)self)->def->doc);
}

static PyObject *
get_owner(PyObject *self, void *closure)
{
    (void)closure;
    PyObject *owner = (PyObject *)((struct computed *)(void *)self)->owner;
    Py_XINCREF(owner);
    return owner;
}

/* ---- the type ---- */

static int
computed_traverse(PyObject *self, visitproc visit, void *arg)
{
#if PY_VERSION_HEX >= 0x03090000
    Py_VISIT(Py_TYPE(self));
#endif
    Py_VISIT(((struct computed *)(void *)self)->owner);
    return 0;
}

static int
computed_clear(PyObject *self)
{
    Py_CLEAR(((struct computed *)(void *)self)->owner);
    return 0;
}

static void
computed_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    computed_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyGetSetDef computed_getset[] = {
    {"__name__", get_name, NULL, NULL, NULL},
    {"__doc__", get_doc, NULL, NULL, NULL},
    {"__objclass__", get_owner, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot computed_slots[] = {
    {Py_tp_getset, computed_getset},
    {Py_tp_descr_get, computed_get},
    {Py_tp_descr_set, computed_set},
    {Py_tp_traverse, computed_traverse},
    {Py_tp_clear, computed_clear},
    {Py_tp_dealloc, computed_dealloc},
    {0, NULL},
};

PyType_Spec computed_spec = {
    .name = "_asyncore.computed",
    .basicsize = sizeof(struct computed),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = computed_slots,
};
