/* SPDX-License-Identifier: MIT */
/* genuine.c - are the functions that a pass of the original calls what they
 * were made to be?  If so, the core may do their work.
 *
 * Programs replace the globals of asyncore, and others put their own into the
 * genuine modules.  What was found remains true as long as none of these
 * dictionaries changes. */
#include "registry.h"

static bool
is_own_function(const struct events *ev, PyObject *name)
{
    PyObject *f = events_global(ev, name);
    return f != NULL && PyCFunction_Check(f) &&
           PyCFunction_GET_SELF(f) == (PyObject *)(uintptr_t)ev;
}

bool
events_are_own(const struct events *ev, bool use_poll)
{
    const struct names *n = &ev->st->names;
    return is_own_function(ev, n->readwrite) &&
           (use_poll ||
            (is_own_function(ev, n->read) && is_own_function(ev, n->write) &&
             is_own_function(ev, n->_exception)));
}

/* What is in the module that has the name; borrowed; NULL: it is none. */
static PyObject *
module_dict(const struct events *ev, PyObject *name)
{
    PyObject *m = events_global(ev, name);
    return m != NULL && PyModule_CheckExact(m) ? PyModule_GetDict(m) : NULL;
}

/* Is module.name the builtin of that name, of that module? */
static bool
is_builtin(const struct events *ev, PyObject *module, PyObject *name)
{
    PyObject *dict = module_dict(ev, module);
    PyObject *f = dict != NULL ? PyDict_GetItemWithError(dict, name) : NULL;
    return f != NULL && PyCFunction_Check(f) &&
           PyCFunction_GET_SELF(f) == events_global(ev, module);
}

static bool
find_out(const struct events *ev, bool use_poll)
{
    const struct names *n = &ev->st->names;
    bool waits = use_poll ? is_builtin(ev, n->select, n->poll)
                          : is_builtin(ev, n->select, n->select) &&
                                is_builtin(ev, n->time, n->sleep);
    return waits && events_are_own(ev, use_poll);
}

/* ---- what was found ---- */

static void
look(const struct state *st, struct seen *s, PyObject *dict)
{
    s->dict = dict;
    s->version = dict != NULL ? dictwatch_names(st, dict) : 0;
}

static bool
is_as_seen(const struct state *st, const struct seen *s)
{
    return s->version != 0 && dictwatch_names(st, s->dict) == s->version;
}

bool
events_are_genuine(struct events *ev, bool use_poll)
{
    const struct state *st = ev->st;
    struct genuine *g = &ev->genuine[use_poll];
    /* The globals first: as long as they are the same, the modules live. */
    if (is_as_seen(st, &g->globals) && is_as_seen(st, &g->select) &&
        is_as_seen(st, &g->time)) {
        return true;
    }
    look(st, &g->globals, ev->globals);
    look(st, &g->select, module_dict(ev, st->names.select));
    look(st, &g->time, module_dict(ev, st->names.time));
    if (find_out(ev, use_poll)) {
        return true;
    }
    g->globals.version = 0;
    return false;
}
