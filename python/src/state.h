/* SPDX-License-Identifier: MIT */
/* state.h - what the files of the extension share.
 *
 * `_asyncore` has one layout for all channels, `channel`, from which the
 * classes of asyncore.py and asynchat.py derive; so any two of them can be
 * bases of a third.  Attributes of a channel live in its dictionary, where
 * programs look for them.  Nothing is static: each interpreter that imports
 * the module has a state of its own. */
#ifndef ASYNCORE_PYTHON_STATE_H
#define ASYNCORE_PYTHON_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stddef.h>

/* ---- names the interpreter gives to attributes ------------------------- */

/* Strings that are looked up often, interned. */
#define NAMES(X) \
    X(accepting) \
    X(connected) \
    X(socket)

struct names {
#define X(name) PyObject *name;
    NAMES(X)
#undef X
};

struct state {
    struct names names;
    PyTypeObject *channel_type;
    PyTypeObject *attribute_type;
};

/* ---- channel.c --------------------------------------------------------- */

struct channel {
    PyObject_HEAD
    PyObject *dict;
    PyObject *weakrefs;
    unsigned life; /* + 1 when it leaves its map, or is closed */
};

/* The one way from an object to its part in C. */
static inline struct channel *
channel_of(PyObject *self)
{
    return (struct channel *)self;
}

extern PyType_Spec channel_spec;
PyObject *channel_life(PyObject *module, PyObject *arg);
PyObject *channel_end_life(PyObject *module, PyObject *arg);

/* ---- attribute.c: attributes whose changes are noticed ----------------- */

extern PyType_Spec attribute_spec;

/* ---- module.c ---------------------------------------------------------- */

struct state *state_of(PyObject *module);

#endif
