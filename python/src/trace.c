/* SPDX-License-Identifier: MIT */
/* trace.c - exceptions that are handled in C.
 *
 * A handler that is called because of an exception may look at it, and raise
 * it again; and what `compact_traceback` says of one that was born in C must
 * not be empty. */
#include "state.h"

/* In no public header since 3.13, in every libpython. */
PyAPI_FUNC(void)
    _PyTraceback_Add(const char *function, const char *file, int line);

static void
fetch(PyObject **type, PyObject **value, PyObject **traceback)
{
    PyErr_Fetch(type, value, traceback);
    PyErr_NormalizeException(type, value, traceback);
}

void
catch_begin(struct caught *c, const char *function)
{
    PyObject *type, *value, *traceback;
    fetch(&type, &value, &traceback);
    if (traceback == NULL) {
        PyErr_Restore(type, value, traceback);
        _PyTraceback_Add(function, "_asyncore.c", __LINE__);
        fetch(&type, &value, &traceback);
    }
    if (traceback != NULL) {
        PyException_SetTraceback(value, traceback);
    }
    PyErr_GetExcInfo(&c->type, &c->value, &c->traceback);
    PyErr_SetExcInfo(type, value, traceback);
}

void
catch_end(struct caught *c)
{
    PyErr_SetExcInfo(c->type, c->value, c->traceback);
}

int
caught_errno(void)
{
    if (!PyErr_ExceptionMatches(PyExc_OSError)) {
        return 0;
    }
    PyObject *type, *value, *traceback;
    fetch(&type, &value, &traceback);
    long code = 0;
    if (value != NULL && PyObject_TypeCheck(value, (PyTypeObject *)type)) {
        PyObject *number = ((PyOSErrorObject *)value)->myerrno;
        if (number != NULL && PyLong_Check(number)) {
            code = PyLong_AsLong(number);
        }
    }
    PyErr_Clear(); /* of a number that is none */
    PyErr_Restore(type, value, traceback);
    return (int)code;
}
