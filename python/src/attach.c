/* SPDX-License-Identifier: MIT */
/* attach.c - a map that is served from somebody else's event loop.
 *
 * That loop sleeps on the one descriptor of the core's map.  Whatever changes
 * what the map waits for, outside a pass of its own, signals the core's
 * wake-up, which is part of that descriptor; so nobody has to look again and
 * again.  The loop itself is dealt with in _asyncore_asyncio.py. */
#include "registry.h"

void
registry_nudge(struct registry *reg)
{
    if (reg->attached > 0 && reg->depth == 0 && !reg->nudged) {
        reg->nudged = true;
        reg->world.wake_signal(&reg->world, reg->core->wake_fd[1]);
    }
}

/* The next wait of the map is none.  From any thread: it may be waiting now.
 */
PyObject *
events_wake(PyObject *self, PyObject *map)
{
    const struct events *ev = (struct events *)(void *)self;
    struct registry *reg =
        PyDict_CheckExact(map) ? registry_find_or_make(ev->st, map) : NULL;
    if (reg != NULL && asyncore__map_check(reg->core) >= 0) {
        atomic_store(&reg->core->woken, true);
        reg->world.wake_signal(&reg->world, reg->core->wake_fd[1]);
    }
    Py_RETURN_NONE;
}

/* Bring the core up to date.  1, or 0: it cannot serve the map; or -1. */
static int
prepare(struct events *ev, struct registry *reg, bool use_poll)
{
    if (!events_are_own(ev, use_poll)) {
        return 0;
    }
    reg->nudged = false;
    return registry_prepare(reg, use_poll);
}

/* With what was told to the kernel before the other loop slept, unless things
 * have changed since. */
static int
serve(struct events *ev, struct registry *reg, bool use_poll)
{
    bool touched = reg->touched_first >= 0;
    int rc = events_are_own(ev, use_poll);
    if (rc > 0 && (touched || dictwatch_version(reg) != reg->version)) {
        rc = prepare(ev, reg, use_poll);
    }
    return rc > 0 ? registry_deliver(ev, reg) : rc;
}

static PyObject *
describe(struct registry *reg)
{
    int fd = asyncore_map_fileno(reg->core);
    if (fd < 0) {
        errno = -fd;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    /* Files, descriptors that are not open, and who came too late. */
    bool again =
        reg->core->nalways > 0 || reg->ninvalid > 0 || reg->touched_first >= 0;
    return Py_BuildValue("(iOO)", fd, again ? Py_True : Py_False,
                         reg->nasked > 0 ? Py_True : Py_False);
}

PyObject *
events_attach(PyObject *self, PyObject *map)
{
    struct events *ev = (struct events *)(void *)self;
    struct registry *reg =
        PyDict_CheckExact(map) ? registry_find_or_make(ev->st, map) : NULL;
    if (reg == NULL) {
        Py_RETURN_FALSE;
    }
    reg->attached++;
    Py_RETURN_TRUE;
}

PyObject *
events_detach(PyObject *self, PyObject *map)
{
    const struct events *ev = (struct events *)(void *)self;
    struct registry *reg = registry_find(ev->st, map);
    if (reg != NULL && reg->attached > 0) {
        reg->attached--;
    }
    Py_RETURN_NONE;
}

/* The map's registry, if the core can still serve it. */
static struct registry *
find_attached(const struct events *ev, PyObject *map)
{
    struct registry *reg = registry_find(ev->st, map);
    bool ours = reg != NULL && reg->attached > 0 &&
                asyncore__map_check(reg->core) >= 0; /* no fork since */
    return ours ? reg : NULL;
}

static bool
read_arguments(PyObject *args, PyObject **map, bool *use_poll)
{
    int flag;
    if (!PyArg_ParseTuple(args, "Op", map, &flag)) {
        return false;
    }
    *use_poll = flag;
    return true;
}

PyObject *
events_serve_attached(PyObject *self, PyObject *args)
{
    struct events *ev = (struct events *)(void *)self;
    PyObject *map;
    bool use_poll;
    if (!read_arguments(args, &map, &use_poll) ||
        event_flush_all(ev->st) < 0) {
        return NULL;
    }
    struct registry *reg = find_attached(ev, map);
    if (reg == NULL || reg->waiting) { /* another thread is to serve it */
        Py_RETURN_NONE;
    }
    reg->depth++;
    int rc = serve(ev, reg, use_poll);
    reg->depth--;
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
events_prepare_attached(PyObject *self, PyObject *args)
{
    struct events *ev = (struct events *)(void *)self;
    PyObject *map;
    bool use_poll;
    if (!read_arguments(args, &map, &use_poll) ||
        event_flush_all(ev->st) < 0) {
        return NULL;
    }
    struct registry *reg = find_attached(ev, map);
    if (reg == NULL) {
        Py_RETURN_NONE;
    }
    if (reg->waiting) {
        PyErr_SetString(PyExc_RuntimeError,
                        "another thread is serving the map");
        return NULL;
    }
    reg->depth++;
    int rc = prepare(ev, reg, use_poll);
    reg->depth--;
    if (rc < 0) {
        return NULL;
    }
    if (rc == 0) {
        Py_RETURN_NONE;
    }
    return describe(reg);
}
