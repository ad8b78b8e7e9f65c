/* SPDX-License-Identifier: MIT */
/* instance.c - the attributes that programs set on channels.
 *
 * They are where CPython has them in instances of any class, so its quick
 * paths lead to them.  Up to 3.10 that is a dictionary; later versions have an
 * array of values, whose names the instances of a class share, until somebody
 * asks for the dictionary.  Nobody is to be slowed down by our looking: so
 * here we look, with the interpreter's own headers, but never ask. */
#include <patchlevel.h>

#if PY_VERSION_HEX >= 0x030b0000
#define Py_BUILD_CORE /* before Python.h */
#endif

#include "state.h"

#if PY_VERSION_HEX >= 0x030b0000
#include <internal/pycore_dict.h>
#include <internal/pycore_object.h>
#define KNOWN_KEYS
#endif
#if PY_VERSION_HEX >= 0x030b0000 && PY_VERSION_HEX < 0x030d0000
#define SHARED_VALUES
#endif

#ifdef SHARED_VALUES

static PyDictValues *
values_of(PyObject *self)
{
#if PY_VERSION_HEX < 0x030c0000
    return *_PyObject_ValuesPointer(self);
#else
    PyDictOrValues at = *_PyObject_DictOrValuesPointer(self);
    return _PyDictOrValues_IsValues(at) ? _PyDictOrValues_GetValues(at) : NULL;
#endif
}

static PyObject *
managed_dict(PyObject *self)
{
#if PY_VERSION_HEX < 0x030c0000
    return *_PyObject_ManagedDictPointer(self);
#else
    PyDictOrValues at = *_PyObject_DictOrValuesPointer(self);
    return _PyDictOrValues_IsValues(at) ? NULL : _PyDictOrValues_GetDict(at);
#endif
}

/* ---- the names ---- */

static PyObject *
key_at(PyDictKeysObject *keys, Py_ssize_t i)
{
    return keys->dk_kind == DICT_KEYS_GENERAL
               ? DK_ENTRIES(keys)[i].me_key
               : DK_UNICODE_ENTRIES(keys)[i].me_key;
}

static bool
is_same(PyObject *a, PyObject *b)
{
    return a == b ||
           (a != NULL && PyUnicode_Check(a) && PyUnicode_Compare(a, b) == 0);
}

static Py_ssize_t
find_key(PyDictKeysObject *keys, PyObject *name)
{
    Py_ssize_t i = keys->dk_nentries - 1;
    while (i >= 0 && !is_same(key_at(keys, i), name)) {
        i--;
    }
    return i;
}

/* Is there a method of that name, which is asked for here? */
static bool
is_method_name(const struct state *st, PyObject *key)
{
    const struct names *n = &st->names;
    PyObject *const others[] = {
        n->debug,
        n->get_terminator,
        n->handle_read_event,
        n->handle_write_event,
        n->initiate_send,
        n->recv,
        n->send,
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (is_same(key, others[i])) {
            return true;
        }
    }
    enum method m = 0;
    while (m < METHODS_CALLED && !is_same(key, method_name(st, m))) {
        m++;
    }
    return m < METHODS_CALLED;
}

/* Names are only ever added: what was seen once remains true. */
static bool
are_plain(struct klass *k, PyDictKeysObject *keys)
{
    while (k->plain_keys < keys->dk_nentries &&
           !is_method_name(k->st, key_at(keys, k->plain_keys))) {
        k->plain_keys++;
    }
    return k->plain_keys >= keys->dk_nentries;
}

/* ---- looking ---- */

static bool
has_place(PyObject *self)
{
    return PyType_HasFeature(Py_TYPE(self), Py_TPFLAGS_MANAGED_DICT);
}

PyObject *
instance_dict(PyObject *self)
{
    return has_place(self) ? managed_dict(self) : NULL;
}

/* Apart, to keep what follows short. */
__attribute__((noinline)) static PyObject *
search_values(struct klass *k, PyObject *self, PyDictKeysObject *keys,
              PyObject *name)
{
    const PyDictValues *values = values_of(self);
    if (values == NULL || (k->type != NULL && are_plain(k, keys))) {
        return NULL;
    }
    Py_ssize_t i = find_key(keys, name);
    return i >= 0 ? values->values[i] : NULL;
}

/* Of an instance that has no dictionary; nearly always there is nothing to
 * look for. */
static PyObject *
get_value(const struct klass *k, PyObject *self, PyObject *name)
{
    PyDictKeysObject *keys =
        ((PyHeapTypeObject *)(void *)Py_TYPE(self))->ht_cached_keys;
    return keys == NULL || k->plain_keys >= keys->dk_nentries
               ? NULL
               : search_values((struct klass *)(uintptr_t)k, self, keys, name);
}

#elif PY_VERSION_HEX >= 0x030d0000
#define OWN_KEYS

/* Objects with fields have no values in them, but the dictionary at once. */
PyObject *
instance_dict(PyObject *self)
{
    return PyType_HasFeature(Py_TYPE(self), Py_TPFLAGS_MANAGED_DICT)
               ? (PyObject *)_PyObject_GetManagedDict(self)
               : NULL;
}

#else

PyObject *
instance_dict(PyObject *self)
{
    PyObject **at = _PyObject_GetDictPtr(self);
    return at != NULL ? *at : NULL;
}

#endif

/* From 3.13 on the dictionaries of such objects share their names, which makes
 * each as large as any may become, and keeps the interpreter from its quick
 * paths.  One that is there before the first attribute has its own. */
int
instance_begin(PyObject *self)
{
    int rc = 0;
#ifdef OWN_KEYS
    if (PyType_HasFeature(Py_TYPE(self), Py_TPFLAGS_MANAGED_DICT) &&
        instance_dict(self) == NULL) {
        PyObject *dict = PyDict_New();
        rc = dict != NULL ? PyObject_GenericSetDict(self, dict, NULL) : -1;
        Py_XDECREF(dict);
    }
#else
    (void)self;
#endif
    return rc;
}

#ifdef KNOWN_KEYS

/* To run over more is not cheaper than to look it up. */
#define FEW_KEYS 12

/* Is the name surely none of the dictionary's? */
static bool
lacks(PyObject *dict, PyObject *name)
{
    PyDictKeysObject *keys = ((PyDictObject *)(void *)dict)->ma_keys;
    Py_ssize_t n = keys->dk_nentries;
    if (keys->dk_kind == DICT_KEYS_GENERAL || n > FEW_KEYS) {
        return false;
    }
    Py_hash_t hash = ((PyASCIIObject *)(void *)name)->hash;
    const PyDictUnicodeEntry *entries = DK_UNICODE_ENTRIES(keys);
    for (Py_ssize_t i = 0; i < n; i++) {
        const PyASCIIObject *key = (const void *)entries[i].me_key;
        if (key != NULL && key->hash == hash) {
            return false;
        }
    }
    return true;
}

#endif

PyObject *
instance_get(const struct klass *k, PyObject *self, PyObject *name)
{
    PyObject *dict = instance_dict(self);
    if (dict != NULL) {
#ifdef OWN_KEYS
        ((struct klass *)(uintptr_t)k)->has_dicts = true;
#endif
#ifdef KNOWN_KEYS
        if (lacks(dict, name)) {
            return NULL;
        }
#endif
        /* Names are interned and have their hash: this cannot fail. */
        return PyDict_GetItemWithError(dict, name);
    }
#ifdef SHARED_VALUES
    return has_place(self) ? get_value(k, self, name) : NULL;
#else
    (void)k;
    return NULL;
#endif
}
