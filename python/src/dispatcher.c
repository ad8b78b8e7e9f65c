/* SPDX-License-Identifier: MIT */
/* dispatcher.c - dispatcher's predicates, and its coming and going in maps. */
#include "state.h"

static PyObject *
dispatcher_readable(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    Py_RETURN_TRUE;
}

PyMethodDef dispatcher_readable_def = {
    "readable", dispatcher_readable, METH_NOARGS,
    PyDoc_STR("readable($self)\n--\n\n"
              "Does the channel wait for something "
              "to read?")};

static PyObject *
dispatcher_writable(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    Py_RETURN_TRUE;
}

PyMethodDef dispatcher_writable_def = {
    "writable", dispatcher_writable, METH_NOARGS,
    PyDoc_STR("writable($self)\n--\n\n"
              "Does the channel wait until it can "
              "write?")};

/* The map that was given, or the channel's own; a new reference. */
static PyObject *
choose_map(PyObject *self, const struct state *st, PyObject *map)
{
    if (map == Py_None) {
        return PyObject_GetAttr(self, st->names._map);
    }
    Py_INCREF(map);
    return map;
}

static int
add(PyObject *self, PyObject *given)
{
    struct state *st = klass_of(self)->st;
    PyObject *map = choose_map(self, st, given);
    PyObject *key =
        map != NULL ? PyObject_GetAttr(self, st->names._fileno) : NULL;
    int rc = key != NULL ? registry_add(st, map, key, self) : -1;
    Py_XDECREF(map);
    Py_XDECREF(key);
    return rc;
}

static PyObject *
dispatcher_add_channel(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                       PyObject *kwnames)
{
    PyObject *map =
        only_argument("add_channel", "map", true, args, nargs, kwnames);
    if (map == NULL || add(self, map) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef dispatcher_add_channel_def = {
    "add_channel", (PyCFunction)(void (*)(void))dispatcher_add_channel,
    METH_FASTCALL | METH_KEYWORDS,
    PyDoc_STR("add_channel($self, map=None)\n--\n\nPut the channel into a "
              "map, its own if none is given.")};

static int
del(PyObject *self, PyObject *given)
{
    struct state *st = klass_of(self)->st;
    PyObject *key = PyObject_GetAttr(self, st->names._fileno);
    PyObject *map = key != NULL ? choose_map(self, st, given) : NULL;
    int found = map != NULL ? PySequence_Contains(map, key) : -1;
    if (found > 0) {
        found = registry_remove(st, map, key);
    }
    Py_XDECREF(map);
    Py_XDECREF(key);
    if (found < 0) {
        return -1;
    }
    channel_of(self)->life++;
    return PyObject_SetAttr(self, st->names._fileno, Py_None);
}

static PyObject *
dispatcher_del_channel(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                       PyObject *kwnames)
{
    PyObject *map =
        only_argument("del_channel", "map", true, args, nargs, kwnames);
    if (map == NULL || del(self, map) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef dispatcher_del_channel_def = {
    "del_channel", (PyCFunction)(void (*)(void))dispatcher_del_channel,
    METH_FASTCALL | METH_KEYWORDS,
    PyDoc_STR("del_channel($self, map=None)\n--\n\nTake the channel out of "
              "a map, its own if none is given.")};
