/* SPDX-License-Identifier: MIT */
/* module.c - the module `_asyncore`: what is in it, how it comes and goes. */
#include "state.h"

PyDoc_STRVAR(module_doc,
             "What asyncore and asynchat do in C; not to be used directly.");

struct state *
state_of(PyObject *module)
{
    return PyModule_GetState(module);
}

static int
intern_names(struct names *names)
{
#define X(name)                                      \
    names->name = PyUnicode_InternFromString(#name); \
    if (names->name == NULL) {                       \
        return -1;                                   \
    }
    NAMES(X)
#undef X
    return 0;
}

static PyTypeObject *
add_type(PyObject *module, PyType_Spec *spec)
{
#if PY_VERSION_HEX >= 0x03090000
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
#else
    PyObject *type = PyType_FromSpec(spec);
#endif
    if (type == NULL) {
        return NULL;
    }
    const char *name = strchr(spec->name, '.') + 1;
    if (PyObject_SetAttrString(module, name, type) < 0) {
        Py_DECREF(type);
        return NULL;
    }
    return (PyTypeObject *)type;
}

static int
module_exec(PyObject *module)
{
    struct state *st = state_of(module);
    if (intern_names(&st->names) < 0) {
        return -1;
    }
    st->channel_type = add_type(module, &channel_spec);
#if PY_VERSION_HEX < 0x03090000
    if (st->channel_type != NULL) { /* whose specs do not know of these */
        st->channel_type->tp_dictoffset = offsetof(struct channel, dict);
        st->channel_type->tp_weaklistoffset =
            offsetof(struct channel, weakrefs);
    }
#endif
    st->attribute_type = add_type(module, &attribute_spec);
    return st->channel_type != NULL && st->attribute_type != NULL ? 0 : -1;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct state *st = state_of(module);
    if (st != NULL) {
        Py_VISIT(st->channel_type);
        Py_VISIT(st->attribute_type);
    }
    return 0;
}

static int
module_clear(PyObject *module)
{
    struct state *st = state_of(module);
    if (st != NULL) {
#define X(name) Py_CLEAR(st->names.name);
        NAMES(X)
#undef X
        Py_CLEAR(st->channel_type);
        Py_CLEAR(st->attribute_type);
    }
    return 0;
}

static void
module_free(void *module)
{
    module_clear(module);
}

static PyMethodDef module_methods[] = {
    {"life", channel_life, METH_O, NULL},
    {"end_life", channel_end_life, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030c0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef module_def = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_asyncore",
    .m_doc = module_doc,
    .m_size = sizeof(struct state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

/* The one symbol that is seen; 3.8 does not say so by itself. */
__attribute__((visibility("default"))) PyMODINIT_FUNC PyInit__asyncore(void);

PyMODINIT_FUNC
PyInit__asyncore(void)
{
    return PyModuleDef_Init(&module_def);
}
