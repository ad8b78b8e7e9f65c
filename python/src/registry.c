/* SPDX-License-Identifier: MIT */
/* registry.c - beside each map that is served, a map of the core.
 *
 * The dictionary is the truth.  When it has changed, it is read again, unless
 * the change was made by add_channel and del_channel here, which do the same
 * to both.  Channels that can only change their interest by what is noticed
 * are told of in the `touched` list; so a pass costs what is ready. */
#include "registry.h" /* first: Python says which system calls there are */

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* With fewer channels poll() is about as cheap as epoll, and forgets no
 * descriptor that was closed behind its channel.  With 50 a pass in which it
 * has to sleep costs more than serving a channel. */
#define SMALL 16

/* What serves more of them. */
#if defined(__linux__)
#define LARGE "epoll"
#else
#define LARGE "poll"
#endif

/* Maps of one pass only leave registries behind. */
#define MOST_REGISTRIES 16

/* Descriptors beyond are no descriptors. */
#define HIGHEST (1 << 22)

/* ---- the world of a registry: waiting without the lock ---- */

static int
wait_poll(struct asyncore__world *w, void *fds, size_t n, int64_t timeout)
{
    int rc;
    if (timeout == 0) {
        return asyncore__kernel.poll(w, fds, n, timeout);
    }
    Py_BEGIN_ALLOW_THREADS rc = asyncore__kernel.poll(w, fds, n, timeout);
    Py_END_ALLOW_THREADS return rc;
}

static int
wait_epoll(struct asyncore__world *w, int epfd, void *events, int max,
           int64_t timeout)
{
    int rc;
    if (timeout == 0) {
        return asyncore__kernel.epoll_wait(w, epfd, events, max, timeout);
    }
    Py_BEGIN_ALLOW_THREADS rc =
        asyncore__kernel.epoll_wait(w, epfd, events, max, timeout);
    Py_END_ALLOW_THREADS return rc;
}

/* ---- … and with descriptors that are out of the way ---- */

/* A program that closes and opens gets the number it expects; and one that has
 * closed a descriptor behind its channel does not find ours there. */
#define HIGH 512

static int
raise_fd(int fd)
{
    int high = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, HIGH) : -1;
    if (high < 0) {
        return fd; /* there are not so many */
    }
    close(fd);
    return high;
}

static int
create_epoll(struct asyncore__world *w)
{
    return raise_fd(asyncore__kernel.epoll_create(w));
}

static int
open_wake(struct asyncore__world *w, int fd[2])
{
    int err = asyncore__kernel.wake_open(w, fd);
    if (err < 0) {
        return err;
    }
    bool one = fd[0] == fd[1];
    fd[0] = raise_fd(fd[0]);
    fd[1] = one ? fd[0] : raise_fd(fd[1]);
    return err;
}

/* ---- the touched ---- */

/* What tells who comes after him; -1: the first. */
static int *
link_after(struct registry *reg, int fd)
{
    return fd >= 0 ? &reg->by_fd[fd]->after : &reg->touched_first;
}

void
registry_touch(struct watch *w)
{
    w->settled = false;
    struct registry *reg = w->reg;
    if (w->touched) {
        return;
    }
    w->touched = true;
    w->before = reg->touched_last;
    w->after = -1;
    *link_after(reg, w->before) = w->fd;
    reg->touched_last = w->fd;
    registry_nudge(reg);
}

void
registry_untouch(struct watch *w)
{
    struct registry *reg = w->reg;
    if (!w->touched) {
        return;
    }
    w->touched = false;
    *link_after(reg, w->before) = w->after;
    if (w->after >= 0) {
        reg->by_fd[w->after]->before = w->before;
    }
    else {
        reg->touched_last = w->before;
    }
}

void
registry_touch_all(struct registry *reg)
{
    for (size_t fd = 0; fd < reg->nfds; fd++) {
        if (reg->by_fd[fd] != NULL) {
            registry_touch(reg->by_fd[fd]);
        }
    }
}

/* The first of a channel's, if it is in itself, else the others. */
static struct watch *
places(struct channel *ch)
{
    return ch->place.reg != NULL ? &ch->place : ch->place.sibling;
}

void
channel_touch(struct channel *ch)
{
    for (struct watch *w = places(ch); w != NULL; w = w->sibling) {
        registry_touch(w);
    }
}

/* ---- the asked ---- */

/* It takes less than to ask them once. */
static void
unask(struct registry *reg, struct watch *w)
{
    size_t i = reg->nasked - 1;
    while (reg->asked[i] != w) {
        i--;
    }
    reg->asked[i] = NULL;
    reg->asked_unsorted = true;
    w->asked = false;
}

int
registry_ask(struct watch *w, bool on)
{
    struct registry *reg = w->reg;
    if (on == w->asked) {
        return 0;
    }
    if (!on) {
        unask(reg, w);
        return 0;
    }
    if (asyncore__reserve(&reg->asked, &reg->asked_cap, reg->nasked + 1,
                          sizeof(struct watch *)) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    if (reg->nasked > 0) {
        const struct watch *last = reg->asked[reg->nasked - 1];
        reg->asked_unsorted |= last == NULL || last->seq > w->seq;
    }
    reg->asked[reg->nasked++] = w;
    w->asked = true;
    return 0;
}

/* ---- leaving ---- */

/* The registration must go before the descriptor is closed: it lives as long
 * as any duplicate.  While somebody waits, poll's array must not move. */
static void
disarm(struct registry *reg, int fd)
{
    struct asyncore__slot *slot = &reg->core->slots[fd];
    slot->d = NULL;
    slot->generation++;
    if (slot->armed == 0) {
        return;
    }
    reg->armed--;
    if (reg->waiting && reg->core->backend != &asyncore__backend_epoll) {
        if (asyncore__reserve(&reg->late, &reg->late_cap, reg->nlate + 1,
                              sizeof(int)) >= 0) {
            reg->late[reg->nlate++] = fd;
        }
        return;
    }
    asyncore__arm(reg->core, fd, 0);
}

static void
unlink_channel(struct watch *w)
{
    if (!w->channel) {
        return;
    }
    struct watch *at = &channel_of(watch_object(w))->place;
    while (at->sibling != w) {
        at = at->sibling;
    }
    at->sibling = w->sibling;
}

static void
free_watch(struct watch *w)
{
    if (w->inside) {
        *w = (struct watch){.sibling = w->sibling};
        return;
    }
    unlink_channel(w);
    PyMem_Free((struct other_watch *)(void *)w);
}

static void
drop(struct watch *w)
{
    struct registry *reg = w->reg;
    registry_untouch(w);
    registry_ask(w, false);
    for (size_t i = 0; w->invalid && i < reg->ninvalid; i++) {
        if (reg->invalid[i] == w) {
            reg->invalid[i] = reg->invalid[--reg->ninvalid];
        }
    }
    disarm(reg, w->fd);
    reg->by_fd[w->fd] = NULL;
    reg->count--;
    free_watch(w);
    registry_nudge(reg);
}

void
channel_unwatch(struct channel *ch)
{
    for (struct watch *w = places(ch); w != NULL; w = places(ch)) {
        drop(w);
    }
}

/* ---- entering ---- */

static int
make_room(struct registry *reg, int fd)
{
    size_t n = (size_t)fd + 1;
    struct asyncore_map *core = reg->core;
    if (asyncore__reserve(&reg->by_fd, &reg->nfds, n, sizeof(struct watch *)) <
            0 ||
        asyncore__reserve(&core->slots, &core->nslots, n,
                          sizeof *core->slots) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* A new file under the number, as far as the kernel is concerned. */
static void
renew(struct watch *w)
{
    w->fresh = true;
    registry_touch(w);
}

void
channel_renew(struct channel *ch)
{
    for (struct watch *w = places(ch); w != NULL; w = w->sibling) {
        renew(w);
    }
}

/* Where a channel of ours has none yet, in itself. */
static struct watch *
make_watch(const struct registry *reg, PyObject *obj)
{
    struct channel *ch = is_channel(reg->st, obj) ? channel_of(obj) : NULL;
    if (ch != NULL && ch->place.reg == NULL) {
        ch->place = (struct watch){
            .sibling = ch->place.sibling, .channel = true, .inside = true};
        return &ch->place;
    }
    struct other_watch *other = PyMem_Calloc(1, sizeof *other);
    if (other == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    other->object = obj;
    if (ch != NULL) {
        other->w.channel = true;
        other->w.sibling = ch->place.sibling;
        ch->place.sibling = &other->w;
    }
    return &other->w;
}

/* obj is in the map under fd now. */
static int
place(struct registry *reg, int fd, PyObject *obj, uint64_t seq)
{
    if (make_room(reg, fd) < 0) {
        return -1;
    }
    if (reg->by_fd[fd] != NULL) {
        drop(reg->by_fd[fd]);
    }
    struct watch *w = make_watch(reg, obj);
    if (w == NULL) {
        return -1;
    }
    w->reg = reg;
    w->fd = fd;
    w->seq = seq;
    reg->by_fd[fd] = w;
    reg->count++;
    reg->core->slots[fd].d = &reg->whoever;
    registry_touch(w);
    return 0;
}

/* Only exact ints that can be descriptors: -1 for others. */
static int
descriptor(PyObject *key)
{
    if (!PyLong_CheckExact(key)) {
        return -1;
    }
    int overflow;
    long fd = PyLong_AsLongAndOverflow(key, &overflow);
    return overflow == 0 && fd >= 0 && fd < HIGHEST ? (int)fd : -1;
}

/* ---- reading the map ---- */

static struct watch *
watch_at(const struct registry *reg, int fd)
{
    return fd >= 0 && (size_t)fd < reg->nfds ? reg->by_fd[fd] : NULL;
}

static int
read_entry(struct registry *reg, PyObject *key, PyObject *value)
{
    int fd = descriptor(key);
    if (fd < 0) {
        return 0;
    }
    struct watch *w = watch_at(reg, fd);
    if (w != NULL && watch_object(w) == value &&
        w->channel == is_channel(reg->st, value)) { /* not another there */
        w->seq = ++reg->last_seq;
        return 1;
    }
    return place(reg, fd, value, ++reg->last_seq) < 0 ? -1 : 1;
}

/* Who was not seen in the map since. */
static void
drop_unseen(struct registry *reg, uint64_t since)
{
    for (size_t fd = 0; fd < reg->nfds; fd++) {
        struct watch *w = reg->by_fd[fd];
        if (w != NULL && w->seq <= since) {
            drop(w);
        }
    }
}

int
registry_sync(struct registry *reg)
{
    uint64_t version = dictwatch_version(reg);
    if (version == reg->version) {
        return 1;
    }
    PyObject *key, *value;
    Py_ssize_t at = 0;
    int rc = 1;
    uint64_t since = reg->last_seq;
    reg->version = 0;
    reg->asked_unsorted = true;
    while (rc > 0 && PyDict_Next(reg->map, &at, &key, &value)) {
        rc = read_entry(reg, key, value);
    }
    if (rc > 0) {
        drop_unseen(reg, since);
        reg->version = version;
    }
    return rc;
}

/* The map, which was as it had been read, has self under fd now. */
static int
enter(struct registry *reg, int fd, PyObject *self)
{
    const struct watch *w = watch_at(reg, fd);
    if (w != NULL && watch_object(w) == self) {
        renew(reg->by_fd[fd]);
    }
    else if (place(reg, fd, self, w != NULL ? w->seq : ++reg->last_seq) < 0) {
        return -1;
    }
    reg->version = dictwatch_version(reg);
    return 0;
}

int
registry_add(struct state *st, PyObject *map, PyObject *key, PyObject *self)
{
    if (!PyDict_CheckExact(map)) {
        return PyObject_SetItem(map, key, self);
    }
    struct registry *reg = registry_find(st, map);
    bool current = reg != NULL && reg->version != 0 &&
                   dictwatch_version(reg) == reg->version;
    /* Who was there dies, if so, when all is done: he may do anything. */
    PyObject *old = PyDict_GetItemWithError(map, key);
    Py_XINCREF(old);
    int rc =
        old == NULL && PyErr_Occurred() ? -1 : PyDict_SetItem(map, key, self);
    int fd = descriptor(key);
    if (rc == 0 && current && fd >= 0) {
        rc = enter(reg, fd, self);
    }
    else if (rc == 0) {
        channel_renew(channel_of(self));
    }
    Py_XDECREF(old);
    return rc;
}

int
registry_remove(struct state *st, PyObject *map, PyObject *key)
{
    if (!PyDict_CheckExact(map)) {
        return PyObject_DelItem(map, key);
    }
    struct registry *reg = registry_find(st, map);
    int fd = descriptor(key);
    struct watch *w = reg != NULL ? watch_at(reg, fd) : NULL;
    bool current = w != NULL && dictwatch_version(reg) == reg->version;
    if (w != NULL) {
        drop(w); /* in any case: its descriptor may be closed next */
    }
    PyObject *old = PyDict_GetItemWithError(map, key); /* likewise */
    Py_XINCREF(old);
    int rc = old == NULL && PyErr_Occurred() ? -1 : PyDict_DelItem(map, key);
    if (rc == 0 && current) {
        reg->version = dictwatch_version(reg);
    }
    Py_XDECREF(old);
    return rc;
}

/* ---- registries ---- */

struct registry *
registry_find(const struct state *st, PyObject *map)
{
    struct registry *reg = st->registries;
    while (reg != NULL && reg->map != map) {
        reg = reg->next;
    }
    return reg;
}

static void
release(struct registry *reg)
{
    for (size_t fd = 0; fd < reg->nfds; fd++) {
        if (reg->by_fd[fd] != NULL) {
            drop(reg->by_fd[fd]);
        }
    }
    reg->core->all.live = 0;
    asyncore_map_free(reg->core);
    asyncore__free(reg->by_fd);
    asyncore__free(reg->asked);
    asyncore__free(reg->questions);
    asyncore__free(reg->invalid);
    asyncore__free(reg->late);
    PyMem_Free(reg);
}

void
registry_free(struct registry *reg)
{
    struct registry **at = &reg->st->registries;
    while (*at != reg) {
        at = &(*at)->next;
    }
    *at = reg->next;
    release(reg);
}

void
registry_free_all(struct state *st)
{
    while (st->registries != NULL) {
        dictwatch_remove(st->registries);
        registry_free(st->registries);
    }
}

/* Room for one more: there goes who was made first, and is not in use. */
static void
evict(struct state *st)
{
    struct registry *oldest = NULL;
    size_t n = 0;
    for (struct registry *reg = st->registries; reg != NULL; reg = reg->next) {
        n++;
        if (reg->depth == 0 && reg->attached == 0 &&
            !atomic_load(&reg->core->woken)) {
            oldest = reg;
        }
    }
    if (n >= MOST_REGISTRIES && oldest != NULL) {
#if PY_VERSION_HEX >= 0x030d0000
        dictwatch_remove(oldest); /* the map is alive, or we would know */
#endif
        registry_free(oldest);
    }
}

/* The others have limits, or need what asyncore does not tell. */
static bool
can_serve(const char *backend)
{
    return strcmp(backend, "epoll") == 0 || strcmp(backend, "poll") == 0;
}

struct registry *
registry_make(struct state *st, PyObject *map)
{
    const char *name = asyncore__getenv("ASYNCORE_BACKEND");
    bool fixed = name != NULL && can_serve(name);
    struct registry *reg = PyMem_Calloc(1, sizeof *reg);
    if (reg == NULL) {
        return NULL;
    }
    reg->st = st;
    reg->map = map;
    reg->fixed = fixed;
    reg->world = asyncore__kernel;
    reg->world.poll = wait_poll;
    reg->world.epoll_wait = wait_epoll;
    reg->world.epoll_create = create_epoll;
    reg->world.wake_open = open_wake;
    reg->touched_first = reg->touched_last = -1;
    int err =
        asyncore__map_create(fixed ? name : "poll", &reg->world, &reg->core);
    if (err < 0 || reg->core->backend->fd_limit != 0) {
        if (err >= 0) {
            asyncore_map_free(reg->core);
        }
        PyMem_Free(reg);
        return NULL;
    }
    evict(st);
    reg->next = st->registries;
    st->registries = reg;
    dictwatch_add(reg);
    return reg;
}

int
registry_choose(struct registry *reg)
{
    struct asyncore_map *core = reg->core;
    core->all.live = reg->count; /* what must have room among the always */
    bool small = core->backend == &asyncore__backend_poll;
    if (reg->fixed || reg->attached > 0 ||
        (small ? reg->count <= SMALL : reg->count > SMALL / 2)) {
        return 0;
    }
    int err = asyncore_map_set_backend(core, small ? LARGE : "poll");
    if (err < 0 && err != -ENOSYS) {
        errno = -err;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 0;
}

/* ---- what is said of them ---- */

PyObject *
registry_backend(PyObject *module, PyObject *map)
{
    const struct registry *reg = registry_find(state_of(module), map);
    if (reg == NULL) {
        Py_RETURN_NONE;
    }
    return PyUnicode_FromString(reg->core->backend->name);
}

PyObject *
registry_before_fork(PyObject *module, PyObject *unused)
{
    (void)unused;
    if (event_flush_all(state_of(module)) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
registry_backends(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    PyObject *list = PyList_New(0);
    const char *const *name = asyncore_backends();
    for (; list != NULL && *name != NULL; name++) {
        if (!can_serve(*name)) {
            continue;
        }
        PyObject *text = PyUnicode_FromString(*name);
        if (text == NULL || PyList_Append(list, text) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(text);
    }
    return list;
}
