/* SPDX-License-Identifier: MIT */
/* klass.c - what is known of a class: which of the methods in C it has
 * overridden.
 *
 * Found out once, and again whenever the type's version says that the class,
 * or one it derives from, has changed. */
#include "state.h"

static bool
has(const struct klass *k, PyObject *name, PyObject *method)
{
    return _PyType_Lookup(k->type, name) == method;
}

static unsigned
writable_facts(const struct klass *k)
{
    const struct names *n = &k->st->names;
    PyObject *writable = _PyType_Lookup(k->type, n->writable);
    if (attribute_is(k->st, writable, k->st->methods.dispatcher_writable)) {
        return KLASS_WRITES_ALWAYS;
    }
    if (attribute_is(k->st, writable, k->st->methods.chat_writable)) {
        return KLASS_WRITES_FIFO;
    }
    return attribute_is(k->st, writable, k->st->methods.sender_writable)
               ? KLASS_WRITES_BUFFER
               : 0;
}

static bool
is_attribute(const struct klass *k, PyObject *name, PyObject *value)
{
    return attribute_is(k->st, _PyType_Lookup(k->type, name), value);
}

/* The class itself is a base of `type`: a change of it is one of that. */
static bool
base_sends(const struct klass *k)
{
    const struct names *n = &k->st->names;
    const struct events *ev = (const struct events *)(void *)k->events;
    PyObject *base = events_global(ev, n->dispatcher);
    return base != NULL && PyType_Check(base) &&
           _PyType_Lookup((PyTypeObject *)(void *)base, n->send) ==
               k->st->methods.dispatcher_send;
}

static unsigned
find_chat_facts(const struct klass *k)
{
    const struct names *n = &k->st->names;
    const struct methods *m = &k->st->methods;
    unsigned facts = 0;
    facts |= has(k, n->send, m->dispatcher_send) ? KLASS_SEND : 0;
    facts |= has(k, n->ac_in_buffer, m->chat_ac_in_buffer) &&
                     has(k, n->incoming, m->chat_incoming) &&
                     has(k, n->producer_fifo, m->chat_producer_fifo)
                 ? KLASS_CHAT_PARTS
                 : 0;
    facts |=
        has(k, n->initiate_send, m->chat_initiate_send) ? KLASS_CHAT_SENDS : 0;
    facts |= has(k, n->get_terminator, m->chat_get_terminator)
                 ? KLASS_GET_TERMINATOR
                 : 0;
    facts |= has(k, n->collect_incoming_data, m->chat__collect_incoming_data)
                 ? KLASS_COLLECTS
                 : 0;
    facts |= is_attribute(k, n->terminator, NULL) ? KLASS_TERMINATOR : 0;
    return facts;
}

static unsigned
find_facts(const struct klass *k)
{
    const struct names *n = &k->st->names;
    const struct methods *m = &k->st->methods;
    unsigned facts = writable_facts(k);
    facts |= is_attribute(k, n->readable, m->dispatcher_readable) ||
                     is_attribute(k, n->readable, m->chat_readable)
                 ? KLASS_READABLE
                 : 0;
    facts |= is_attribute(k, n->connected, Py_False) &&
                     is_attribute(k, n->accepting, Py_False) &&
                     is_attribute(k, n->connecting, Py_False)
                 ? KLASS_FLAGS
                 : 0;
    facts |= is_attribute(k, n->socket, NULL) ? KLASS_SOCKET : 0;
    facts |= is_attribute(k, n->addr, Py_None) ? KLASS_ADDR : 0;
    facts |= has(k, n->handle_read_event, m->dispatcher_handle_read_event)
                 ? KLASS_READ_EVENT
                 : 0;
    facts |= has(k, n->handle_write_event, m->dispatcher_handle_write_event)
                 ? KLASS_WRITE_EVENT
                 : 0;
    facts |= has(k, n->recv, m->dispatcher_recv) ? KLASS_RECV : 0;
    facts |=
        has(k, n->initiate_send, m->sender_initiate_send) ? KLASS_SENDER : 0;
    facts |= has(k, n->handle_write, m->sender_handle_write)
                 ? KLASS_SENDER_WRITE
                 : 0;
    facts |=
        has(k, n->out_buffer, m->sender_out_buffer) ? KLASS_OUT_BUFFER : 0;
    facts |= has(k, n->debug, Py_False) ? KLASS_QUIET : 0;
    facts |= base_sends(k) ? KLASS_BASE_SEND : 0;
    facts |=
        has(k, n->__dict__, _PyType_Lookup(k->st->channel_type, n->__dict__))
            ? 0
            : KLASS_BLIND;
    return facts | find_chat_facts(k);
}

static unsigned
find_foreign(const struct klass *k)
{
    unsigned foreign = 0;
    for (enum field f = 0; f < FIELDS; f++) {
        PyObject *own = _PyType_Lookup(k->type, field_name(k->st, f));
        foreign |= attribute_is_field(k->st, own, f) ? 0 : 1U << f;
    }
    return foreign;
}

/* ---- who gets the dictionary ---- */

/* The `__dict__` that a class has of itself: what it does is done for all. */
static bool
is_common(const struct state *st, PyObject *descriptor)
{
    return Py_IS_TYPE(descriptor, &PyGetSetDescr_Type) &&
           ((PyGetSetDescrObject *)(void *)descriptor)->d_getset->get ==
               ((PyGetSetDescrObject *)(void *)st->common_dict)->d_getset->get;
}

/* A mixin that comes before the channel's class brings its own, by which we
 * would not be told: the class gets ours. */
static void
adopt_dict(struct klass *k)
{
    PyObject *name = k->st->names.__dict__;
    PyObject *ours = _PyType_Lookup(k->st->channel_type, name);
    PyObject *found = _PyType_Lookup(k->type, name);
    if (found == NULL || found == ours || !is_common(k->st, found)) {
        return;
    }
    if (PyDict_SetItem(k->type->tp_dict, name, ours) < 0) {
        PyErr_Clear(); /* no memory: then not */
    }
    PyType_Modified(k->type);
}

static void
learn(struct klass *k)
{
    /* The look-ups give the type a version; without one (there are not many)
     * nothing is taken for granted. */
    PyObject *events =
        _PyType_Lookup(k->type, k->st->names._dispatcher__events);
    bool ours = events != NULL && Py_TYPE(events) == k->st->events_type;
    if (ours) {
        adopt_dict(k);
    }
    k->events = ours ? events : NULL;
    k->facts = ours ? find_facts(k) : 0;
    k->foreign = find_foreign(k);
    k->strays |= k->foreign;
    bool ordinary = methods_learn(k);
    k->tag = type_tag(k->type);
    k->plain_keys = 0;
    if (k->tag == 0 || !ordinary) {
        k->facts &= KLASS_BLIND;
    }
    k->st->klass_changes++;
}

/* ---- the table: a handful of classes ---- */

static struct klass *
search(const struct state *st, const PyTypeObject *type)
{
    for (size_t i = 0; i < st->nklasses; i++) {
        if (st->klasses[i]->type == type) {
            return st->klasses[i];
        }
    }
    return NULL;
}

/* Of a class without channels, to be of another one: it is not freed, for
 * whoever has changed his class in a handler is still being served by what is
 * known of the old one. */
static struct klass *
find_unused(const struct state *st)
{
    for (size_t i = 0; i < st->nklasses; i++) {
        if (st->klasses[i]->channels == 0) {
            return st->klasses[i];
        }
    }
    return NULL;
}

static struct klass *
add(struct state *st)
{
    if (st->nklasses == st->klass_cap) {
        size_t cap = st->klass_cap > 0 ? 2 * st->klass_cap : 16;
        struct klass **more =
            PyMem_Realloc(st->klasses, cap * sizeof(struct klass *));
        if (more == NULL) {
            return NULL;
        }
        st->klasses = more;
        st->klass_cap = cap;
    }
    struct klass *k = PyMem_Malloc(sizeof *k);
    if (k != NULL) {
        st->klasses[st->nklasses++] = k;
    }
    return k;
}

static struct klass *
append(struct state *st, PyTypeObject *type)
{
    struct klass *k = find_unused(st);
    if (k == NULL) {
        k = add(st);
    }
    if (k != NULL) {
        *k = (struct klass){.st = st, .type = type};
    }
    return k;
}

const struct klass *
klass_find(struct channel *ch)
{
    PyTypeObject *type = Py_TYPE((PyObject *)ch);
    struct klass *k = ch->klass;
    bool met = k != NULL && k->type == type;
    if (!met) {
        struct state *st = k != NULL ? k->st : state_of_type(type);
        unsigned strays = k != NULL ? k->strays : 0;
        klass_forget(ch);
        k = search(st, type);
        if (k == NULL) {
            k = append(st, type);
        }
        if (k == NULL) {
            return &st->unknown; /* no memory: nothing is known */
        }
        k->channels++;
        k->strays |= strays;
        ch->klass = k;
    }
    if (k->tag == 0 || k->tag != type_tag(type)) {
        learn(k);
    }
    if (!met && !ch->exposed && instance_dict((PyObject *)ch) != NULL) {
        channel_meet((PyObject *)ch);
    }
    return k;
}

void
klass_forget(struct channel *ch)
{
    struct klass *k = ch->klass;
    ch->klass = NULL;
    if (k != NULL && --k->channels == 0 && k->st == NULL) {
        PyMem_Free(k);
    }
}

bool
klass_changed(struct state *st)
{
    unsigned before = st->klass_changes;
    for (size_t i = 0; i < st->nklasses; i++) {
        struct klass *k = st->klasses[i];
        if (k->channels > 0 && k->tag != type_tag(k->type)) {
            learn(k);
        }
    }
    return st->klass_changes != before;
}

bool
klass_any_blind(const struct state *st)
{
    for (size_t i = 0; i < st->nklasses; i++) {
        if (st->klasses[i]->channels > 0 &&
            (st->klasses[i]->facts & KLASS_BLIND) != 0) {
            return true;
        }
    }
    return false;
}

/* At the end of an interpreter the collector may free the module before the
 * last channels: what those have is left to them. */
void
klass_free_all(struct state *st)
{
    for (size_t i = 0; i < st->nklasses; i++) {
        st->klasses[i]->st = NULL;
        if (st->klasses[i]->channels == 0) {
            PyMem_Free(st->klasses[i]);
        }
    }
    PyMem_Free(st->klasses);
    st->klasses = NULL;
    st->nklasses = st->klass_cap = 0;
}
