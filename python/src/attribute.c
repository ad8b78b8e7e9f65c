/* SPDX-License-Identifier: MIT */
/* attribute.c - attributes of channels whose changes are noticed.
 *
 * To a program such an attribute is an ordinary one: on the class it is its
 * default, on an instance what it was set to.  But setting it comes by here,
 * and most are kept in fields (field.c), the others in the dictionary. */
#include "state.h"

struct attribute {
    PyObject_HEAD
    PyObject *name;
    PyObject *value; /* the default; NULL = none */
    enum field field;
};

PyDoc_STRVAR(attribute_doc, "attribute([default])\n--\n\n"
                            "An attribute whose changes are noticed.");

static PyObject *
attribute_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *value = NULL;
    (void)kwargs;
    if (!PyArg_UnpackTuple(args, "attribute", 0, 1, &value)) {
        return NULL;
    }
    struct attribute *self = (struct attribute *)type->tp_alloc(type, 0);
    if (self != NULL) {
        Py_XINCREF(value);
        self->value = value;
        self->field = FIELDS;
    }
    return (PyObject *)self;
}

static PyObject *
attribute_set_name(PyObject *self, PyObject *args)
{
    PyObject *owner, *name;
    if (!PyArg_ParseTuple(args, "OU:__set_name__", &owner, &name)) {
        return NULL;
    }
    struct attribute *a = (struct attribute *)self;
    if (a->name != NULL) {
        Py_RETURN_NONE; /* what a class has borrowed remains its owner's */
    }
    Py_INCREF(name);
    PyUnicode_InternInPlace(&name);
    a->name = name;
    a->field = field_named(state_of_type(Py_TYPE(self)), name);
    Py_RETURN_NONE;
}

/* The default, as the class has it: a function becomes a method. */
static PyObject *
get_default(struct attribute *a, PyObject *obj, PyObject *type)
{
    if (a->value == NULL) {
        const char *name =
            PyType_Check(type) ? ((PyTypeObject *)type)->tp_name : "?";
        PyErr_Format(PyExc_AttributeError, "'%s' object has no attribute '%V'",
                     name, a->name, "?");
        return NULL;
    }
    descrgetfunc get = Py_TYPE(a->value)->tp_descr_get;
    if (get != NULL) {
        return get(a->value, obj, type);
    }
    Py_INCREF(a->value);
    return a->value;
}

/* What the instance has; a new reference, or NULL, without exception if it has
 * none.  An override asks super() for what is here, not for what an instance
 * has in its place. */
static PyObject *
get_own(const struct attribute *a, PyObject *obj)
{
    if (a->field != FIELDS) {
        return field_get(obj, a->field);
    }
    if (_PyType_Lookup(Py_TYPE(obj), a->name) != (PyObject *)(uintptr_t)a) {
        return NULL;
    }
    PyObject *value = instance_get(klass_of(obj), obj, a->name);
    Py_XINCREF(value);
    return value;
}

static PyObject *
attribute_get(PyObject *self, PyObject *obj, PyObject *type)
{
    struct attribute *a = (struct attribute *)self;
    if (obj == NULL || a->name == NULL || !has_channel_layout(obj)) {
        return get_default(a, obj, type);
    }
    if (event_has_deferred(channel_of(obj)) && event_flush(obj) < 0) {
        return NULL;
    }
    PyObject *value = get_own(a, obj);
    return value != NULL || PyErr_Occurred()
               ? value
               : get_default(a, obj, (PyObject *)Py_TYPE(obj));
}

/* ---- setting ---- */

static int
set_in_dict(const struct attribute *a, PyObject *obj, PyObject *value)
{
    PyObject *dict = PyObject_GenericGetDict(obj, NULL);
    int rc = dict == NULL    ? -1
             : value != NULL ? PyDict_SetItem(dict, a->name, value)
                             : PyDict_DelItem(dict, a->name);
    Py_XDECREF(dict);
    return rc;
}

static int
set_own(const struct attribute *a, PyObject *obj, PyObject *value)
{
    if (a->field == FIELDS) {
        return set_in_dict(a, obj, value);
    }
    return field_set(obj, a->field, value) < 0 ? -1 : 0;
}

/* Whoever waits for the channel has to look at it again. */
static void
announce(const struct attribute *a, struct channel *ch)
{
    switch (a->field) {
    case FIELD_SOCKET:
    case FIELD_MAP:
        channel_renew(ch); /* its descriptor is another one */
        break;
    case FIELD_CONNECTED:
    case FIELD_ACCEPTING:
    case FIELDS:
        channel_touch(ch);
        break;
    default:
        break; /* nobody does */
    }
}

static int
attribute_set(PyObject *self, PyObject *obj, PyObject *value)
{
    struct attribute *a = (struct attribute *)self;
    struct channel *ch = channel_of(obj);
    if (a->name == NULL || !has_channel_layout(obj)) {
        PyErr_Format(PyExc_TypeError, "'%s' object is no channel",
                     Py_TYPE(obj)->tp_name);
        return -1;
    }
    if (event_has_deferred(ch) && event_flush(obj) < 0) {
        return -1;
    }
    PyObject *old = get_own(a, obj);
    Py_XDECREF(old); /* to compare, only */
    if (old == NULL && PyErr_Occurred()) {
        return -1;
    }
    if (old == NULL && value == NULL) {
        PyErr_SetObject(PyExc_AttributeError, a->name);
        return -1;
    }
    if (old == value) {
        return 0;
    }
    announce(a, ch);
    return set_own(a, obj, value);
}

bool
attribute_is(const struct state *st, PyObject *descriptor, PyObject *value)
{
    return descriptor != NULL && Py_TYPE(descriptor) == st->attribute_type &&
           ((struct attribute *)descriptor)->value == value;
}

bool
attribute_is_field(const struct state *st, PyObject *descriptor, enum field f)
{
    return descriptor != NULL && Py_TYPE(descriptor) == st->attribute_type &&
           ((struct attribute *)descriptor)->field == f;
}

static int
attribute_traverse(PyObject *self, visitproc visit, void *arg)
{
#if PY_VERSION_HEX >= 0x03090000
    Py_VISIT(Py_TYPE(self));
#endif
    Py_VISIT(((struct attribute *)self)->value);
    return 0;
}

static int
attribute_clear(PyObject *self)
{
    Py_CLEAR(((struct attribute *)self)->value);
    Py_CLEAR(((struct attribute *)self)->name);
    return 0;
}

static void
attribute_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    attribute_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef attribute_methods[] = {
    {"__set_name__", attribute_set_name, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot attribute_slots[] = {
    {Py_tp_doc, (void *)attribute_doc},
    {Py_tp_new, attribute_new},
    {Py_tp_methods, attribute_methods},
    {Py_tp_descr_get, attribute_get},
    {Py_tp_descr_set, attribute_set},
    {Py_tp_traverse, attribute_traverse},
    {Py_tp_clear, attribute_clear},
    {Py_tp_dealloc, attribute_dealloc},
    {0, NULL},
};

PyType_Spec attribute_spec = {
    .name = "_asyncore.attribute",
    .basicsize = sizeof(struct attribute),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = attribute_slots,
};
