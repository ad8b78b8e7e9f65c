/* SPDX-License-Identifier: MIT */
/* method.c - methods of a class that are called again and again: without being
 * looked up, as long as the class is what it was. */
#include "state.h"

#if PY_VERSION_HEX < 0x03090000
#define PyObject_Vectorcall _PyObject_Vectorcall
#endif

PyObject *
method_name(const struct state *st, enum method m)
{
    const struct names *n = &st->names;
    switch (m) {
    case METHOD_READABLE:
        return n->readable;
    case METHOD_WRITABLE:
        return n->writable;
    case METHOD_HANDLE_READ:
        return n->handle_read;
    case METHOD_HANDLE_WRITE:
        return n->handle_write;
    case METHOD_COLLECT:
        return n->collect_incoming_data;
    default:
        return n->found_terminator;
    }
}

/* What obj.name() calls, if the instance has none of its own; borrowed. */
static PyObject *
find(const struct klass *k, PyObject *name)
{
    PyObject *f = _PyType_Lookup(k->type, name);
    return f != NULL &&
                   PyType_HasFeature(Py_TYPE(f), Py_TPFLAGS_METHOD_DESCRIPTOR)
               ? f
               : NULL;
}

bool
methods_learn(struct klass *k)
{
    const struct names *n = &k->st->names;
    bool ordinary = _PyType_Lookup(k->type, n->__getattribute__) ==
                    _PyType_Lookup(&PyBaseObject_Type, n->__getattribute__);
    for (enum method m = 0; m < METHODS_CALLED; m++) {
        k->called[m] = ordinary ? find(k, method_name(k->st, m)) : NULL;
    }
    return ordinary;
}

/* What PyObject_Vectorcall() does beside is to look for mistakes of functions
 * in C. */
static PyObject *
invoke(PyObject *f, PyObject *const *args, size_t nargs)
{
    return PyFunction_Check(f) ? ((PyFunctionObject *)(void *)f)
                                     ->vectorcall(f, args, nargs, NULL)
                               : PyObject_Vectorcall(f, args, nargs, NULL);
}

PyObject *
method_call(const struct klass *k, PyObject *obj, enum method m, PyObject *arg)
{
    PyObject *name = method_name(k->st, m);
    PyObject *f = k->called[m];
    if (f == NULL || instance_get(k, obj, name) != NULL) {
        return arg == NULL ? call_method(obj, name)
                           : call_method_one(obj, name, arg);
    }
    PyObject *args[] = {obj, arg};
    Py_INCREF(f); /* it may replace itself */
    PyObject *result = invoke(f, args, arg == NULL ? 1 : 2);
    Py_DECREF(f);
    return result;
}

int
method_call_void(PyObject *self, enum method m, PyObject *arg)
{
    PyObject *result = method_call(klass_of(self), self, m, arg);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}
