/* SPDX-License-Identifier: MIT */
/* dictwatch.c - has a dictionary changed since?
 *
 * Up to 3.12 dictionaries have a version, unique among all; from 3.13 on
 * whoever asks for it is called with each change. */
#include "registry.h"

#if PY_VERSION_HEX < 0x030d0000

int
dictwatch_init(struct state *st)
{
    (void)st;
    return 0;
}

void
dictwatch_fini(struct state *st)
{
    (void)st;
}

void
dictwatch_add(struct registry *reg)
{
    reg->version = 0; /* no dictionary has it */
}

void
dictwatch_remove(struct registry *reg)
{
    (void)reg;
}

uint64_t
dictwatch_version(const struct registry *reg)
{
    return ((PyDictObject *)reg->map)->ma_version_tag;
}

uint64_t
dictwatch_names(const struct state *st, PyObject *dict)
{
    (void)st;
    return ((PyDictObject *)dict)->ma_version_tag;
}

#else

/* The callback is told neither who asked for it nor why: the states of an
 * interpreter are found in its dictionary. */
static const char key[] = "_asyncore.states";

static struct state **
states(void)
{
    PyObject *dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
    PyObject *capsule = dict != NULL ? PyDict_GetItemString(dict, key) : NULL;
    return capsule != NULL ? PyCapsule_GetPointer(capsule, key) : NULL;
}

static void
free_states(PyObject *capsule)
{
    PyMem_Free(PyCapsule_GetPointer(capsule, key));
}

static int
changed(PyDict_WatchEvent event, PyObject *dict, PyObject *name,
        PyObject *value)
{
    (void)value;
    struct state **head = states();
    struct state *st = head != NULL ? *head : NULL;
    for (; st != NULL; st = st->next) {
        st->renamed += name == NULL || !PyLong_CheckExact(name);
        struct registry *reg = registry_find(st, dict);
        if (reg == NULL) {
            continue;
        }
        reg->mutations++;
        registry_nudge(reg);
        if (event == PyDict_EVENT_DEALLOCATED) {
            registry_free(reg);
        }
    }
    return 0;
}

static struct state **
make_states(void)
{
    struct state **head = states();
    if (head != NULL) {
        return head;
    }
    PyObject *dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
    head = PyMem_Calloc(1, sizeof(struct state *));
    PyObject *capsule =
        head != NULL ? PyCapsule_New(head, key, free_states) : NULL;
    int rc = dict != NULL && capsule != NULL
                 ? PyDict_SetItemString(dict, key, capsule)
                 : -1;
    Py_XDECREF(capsule);
    return rc == 0 ? head : NULL;
}

int
dictwatch_init(struct state *st)
{
    struct state **head = make_states();
    st->watcher = head != NULL ? PyDict_AddWatcher(changed) : -1;
    if (head == NULL) {
        return -1;
    }
    PyErr_Clear(); /* no watcher left: maps are read anew in each pass */
    st->next = *head;
    *head = st;
    return 0;
}

void
dictwatch_fini(struct state *st)
{
    struct state **at = states();
    while (at != NULL && *at != NULL) {
        if (*at == st) {
            *at = st->next;
            if (st->watcher >= 0) {
                PyDict_ClearWatcher(st->watcher);
            }
            return;
        }
        at = &(*at)->next;
    }
}

void
dictwatch_add(struct registry *reg)
{
    reg->mutations = 1;
    if (reg->st->watcher < 0 || PyDict_Watch(reg->st->watcher, reg->map) < 0) {
        PyErr_Clear();
        reg->unwatched = true;
    }
}

void
dictwatch_remove(struct registry *reg)
{
    if (!reg->unwatched && PyDict_Unwatch(reg->st->watcher, reg->map) < 0) {
        PyErr_Clear();
    }
}

uint64_t
dictwatch_version(const struct registry *reg)
{
    struct registry *r = (struct registry *)(uintptr_t)reg;
    if (reg->unwatched) {
        r->mutations++;
    }
    return reg->mutations;
}

/* Keys that are numbers are those of maps. */
uint64_t
dictwatch_names(const struct state *st, PyObject *dict)
{
    if (st->watcher < 0 || PyDict_Watch(st->watcher, dict) < 0) {
        PyErr_Clear();
        return 0;
    }
    return st->renamed + 1;
}

#endif
