/* SPDX-License-Identifier: MIT */
/* module.c - the module `_asyncore`: what is in it, how it comes and goes. */
#include "registry.h"

PyDoc_STRVAR(module_doc,
             "What asyncore and asynchat do in C; not to be used directly.");

static struct PyModuleDef module_def;

#if PY_VERSION_HEX < 0x03090000
/* 3.8 has no way from a type to its module. */
static struct state *only_state;
#endif

struct state *
state_of(PyObject *module)
{
    return PyModule_GetState(module);
}

struct state *
state_of_type(PyTypeObject *type)
{
#if PY_VERSION_HEX < 0x03090000
    (void)type;
    return only_state;
#else
    for (; type != NULL; type = type->tp_base) {
        PyObject *module = PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE)
                               ? ((PyHeapTypeObject *)(void *)type)->ht_module
                               : NULL;
        if (module != NULL && PyModule_GetDef(module) == &module_def) {
            return state_of(module);
        }
    }
    return NULL;
#endif
}

/* ---- names ---- */

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

/* ---- calling ---- */

PyObject *
call_method(PyObject *obj, PyObject *name)
{
#if PY_VERSION_HEX >= 0x03090000
    return PyObject_CallMethodNoArgs(obj, name);
#else
    return PyObject_CallMethodObjArgs(obj, name, NULL);
#endif
}

PyObject *
call_method_one(PyObject *obj, PyObject *name, PyObject *arg)
{
#if PY_VERSION_HEX >= 0x03090000
    return PyObject_CallMethodOneArg(obj, name, arg);
#else
    return PyObject_CallMethodObjArgs(obj, name, arg, NULL);
#endif
}

int
call_void(PyObject *obj, PyObject *name)
{
    PyObject *result = call_method(obj, name);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

Py_ssize_t
attribute_size(PyObject *obj, PyObject *name)
{
    PyObject *value = PyObject_GetAttr(obj, name);
    Py_ssize_t n =
        value != NULL ? PyNumber_AsSsize_t(value, PyExc_OverflowError) : -1;
    Py_XDECREF(value);
    return n;
}

static int
truth(PyObject *value)
{
    int rc = value != NULL ? PyObject_IsTrue(value) : -1;
    Py_XDECREF(value);
    return rc;
}

int
call_truth(PyObject *obj, PyObject *name)
{
    return truth(call_method(obj, name));
}

int
attribute_truth(PyObject *obj, PyObject *name)
{
    return truth(PyObject_GetAttr(obj, name));
}

PyObject *
only_argument(const char *method, const char *name, bool optional,
              PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    Py_ssize_t nkw = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    if (nargs + nkw == 1) {
        if (nkw == 0 || PyUnicode_CompareWithASCIIString(
                            PyTuple_GET_ITEM(kwnames, 0), name) == 0) {
            return args[0];
        }
        PyErr_Format(PyExc_TypeError,
                     "%s() got an unexpected keyword argument '%U'", method,
                     PyTuple_GET_ITEM(kwnames, 0));
        return NULL;
    }
    if (nargs + nkw == 0 && optional) {
        return Py_None;
    }
    PyErr_Format(PyExc_TypeError, "%s() takes one argument, '%s' (%zd given)",
                 method, name, nargs + nkw);
    return NULL;
}

/* ---- the scratch buffer ---- */

char *
scratch_take(struct state *st)
{
    char *buffer = st->scratch;
    st->scratch = NULL;
    if (buffer == NULL) {
        buffer = PyMem_Malloc(SCRATCH_SIZE);
        if (buffer == NULL) {
            PyErr_NoMemory();
        }
    }
    return buffer;
}

void
scratch_give(struct state *st, char *buffer)
{
    if (st->scratch == NULL) {
        st->scratch = buffer;
    }
    else {
        PyMem_Free(buffer);
    }
}

/* ---- what is in the module ---- */

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
add_types(PyObject *module)
{
    struct state *st = state_of(module);
    st->channel_type = add_type(module, &channel_spec);
    st->attribute_type = add_type(module, &attribute_spec);
    st->computed_type = add_type(module, &computed_spec);
    st->events_type = add_type(module, &events_spec);
    if (st->channel_type == NULL || st->attribute_type == NULL ||
        st->computed_type == NULL || st->events_type == NULL) {
        return -1;
    }
    return 0;
}

static PyObject *
add_descriptor(PyObject *module, const char *name, PyObject *descriptor)
{
    if (descriptor != NULL &&
        PyObject_SetAttrString(module, name, descriptor) < 0) {
        Py_CLEAR(descriptor);
    }
    return descriptor;
}

static int
add_methods(PyObject *module)
{
    struct state *st = state_of(module);
    PyTypeObject *type = st->channel_type;
#define X(cls, name)                                                  \
    st->methods.cls##_##name =                                        \
        add_descriptor(module, #cls "_" #name,                        \
                       PyDescr_NewMethod(type, &cls##_##name##_def)); \
    if (st->methods.cls##_##name == NULL) {                           \
        return -1;                                                    \
    }
    METHODS(X)
#undef X
#define X(cls, name)                                                     \
    st->methods.cls##_##name = add_descriptor(                           \
        module, #cls "_" #name, computed_make(st, &cls##_##name##_def)); \
    if (st->methods.cls##_##name == NULL) {                              \
        return -1;                                                       \
    }
    COMPUTED(X)
#undef X
    return 0;
}

static int
add_version(PyObject *module)
{
    return PyModule_AddStringConstant(module, "version", asyncore_version());
}

static int
find_deque(struct state *st)
{
    PyObject *module = PyImport_ImportModule("collections");
    if (module != NULL) {
        st->deque_type = PyObject_GetAttrString(module, "deque");
        Py_DECREF(module);
    }
    return st->deque_type != NULL ? 0 : -1;
}

static int
find_common_dict(struct state *st)
{
    PyObject *type =
        PyObject_CallFunction((PyObject *)&PyType_Type, "s(){}", "plain");
    if (type == NULL) {
        return -1;
    }
    st->common_dict =
        _PyType_Lookup((PyTypeObject *)(void *)type, st->names.__dict__);
    Py_XINCREF(st->common_dict);
    Py_DECREF(type);
    return st->common_dict != NULL ? 0 : -1;
}

static int
module_exec(PyObject *module)
{
    struct state *st = state_of(module);
    st->unknown.st = st;
#if PY_VERSION_HEX < 0x03090000
    only_state = st;
#endif
    return intern_names(&st->names) < 0 || add_types(module) < 0 ||
                   add_methods(module) < 0 || add_version(module) < 0 ||
                   find_deque(st) < 0 || find_common_dict(st) < 0 ||
                   socket_init(st) < 0 || dictwatch_init(st) < 0
               ? -1
               : 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct state *st = state_of(module);
    if (st == NULL) {
        return 0;
    }
    Py_VISIT(st->channel_type);
    Py_VISIT(st->attribute_type);
    Py_VISIT(st->computed_type);
    Py_VISIT(st->events_type);
    Py_VISIT(st->deque_type);
    Py_VISIT(st->common_dict);
    Py_VISIT(st->socket_base);
#define X(cls, name) Py_VISIT(st->methods.cls##_##name);
    METHODS(X)
    COMPUTED(X)
#undef X
    return 0;
}

static int
module_clear(PyObject *module)
{
    struct state *st = state_of(module);
    if (st == NULL) {
        return 0;
    }
#define X(cls, name) Py_CLEAR(st->methods.cls##_##name);
    METHODS(X)
    COMPUTED(X)
#undef X
    Py_CLEAR(st->channel_type);
    Py_CLEAR(st->attribute_type);
    Py_CLEAR(st->computed_type);
    Py_CLEAR(st->events_type);
    Py_CLEAR(st->deque_type);
    Py_CLEAR(st->common_dict);
    Py_CLEAR(st->socket_base);
    return 0;
}

static void
module_free(void *module)
{
    struct state *st = state_of(module);
    if (st == NULL) {
        return;
    }
    module_clear(module);
    registry_free_all(st);
    dictwatch_fini(st);
    klass_free_all(st);
    pieces_free(st->pieces);
    PyMem_Free(st->scratch);
#define X(name) Py_CLEAR(st->names.name);
    NAMES(X)
#undef X
}

static PyMethodDef module_methods[] = {
    {"life", channel_life, METH_O,
     PyDoc_STR("life($module, channel, /)\n--\n\n"
               "A number that changes when the channel leaves its map.")},
    {"begin", channel_begin, METH_O,
     PyDoc_STR("begin($module, channel, /)\n--\n\n"
               "Before anything is set on it.")},
    {"set_peer", (PyCFunction)(void (*)(void))channel_set_peer, METH_FASTCALL,
     PyDoc_STR("set_peer($module, channel, sock, /)\n--\n\n"
               "What sock.getpeername() says becomes the channel's address.")},
    {"chat_begin", chat_begin, METH_O,
     PyDoc_STR("chat_begin($module, chat, /)\n--\n\n"
               "Empty buffers and an empty queue.")},
    {"backends", registry_backends, METH_NOARGS,
     PyDoc_STR("backends($module)\n--\n\n"
               "The names of those that may serve maps here, best first.")},
    {"before_fork", registry_before_fork, METH_NOARGS,
     PyDoc_STR("before_fork($module)\n--\n\n"
               "Send what waits, or both processes would.")},
    {"backend", registry_backend, METH_O,
     PyDoc_STR("backend($module, map, /)\n--\n\n"
               "What serves a map: its name, or None.")},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030c0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030d0000
    /* Channels, registries and what is known of classes have no locks. */
    {Py_mod_gil, Py_MOD_GIL_USED},
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
