/* SPDX-License-Identifier: MIT */
/* map.c - the set of channels.
 *
 * Two views of it: `slots`, by descriptor, for what a backend reports; and
 * `all`, in the order of adding, which is the order of everything a program
 * can see.  All memory that a channel will ever need here is found when it is
 * added, so that taking it out cannot fail. */
#include <pthread.h>

#include "internal.h"

/* ---- channels in order ---- */

static unsigned *
place(const struct asyncore__order *o, struct asyncore_dispatcher *d)
{
    return (unsigned *)(void *)((char *)d + o->index_offset);
}

static int
order_reserve(struct asyncore__order *o)
{
    return asyncore__reserve_raw(&o->at, &o->cap, o->len + 1, sizeof *o->at);
}

static void
order_push(struct asyncore__order *o, struct asyncore_dispatcher *d)
{
    *place(o, d) = (unsigned)o->len;
    o->at[o->len++] = d;
    o->live++;
}

static void
order_drop(struct asyncore__order *o, struct asyncore_dispatcher *d)
{
    o->at[*place(o, d)] = NULL;
    o->live--;
    while (o->len > 0 && o->at[o->len - 1] == NULL) {
        o->len--;
    }
}

static void
order_compact(struct asyncore__order *o)
{
    if (!asyncore__order_is_sparse(o)) {
        return;
    }
    size_t to = 0;
    for (size_t from = 0; from < o->len; from++) {
        struct asyncore_dispatcher *d = o->at[from];
        if (d != NULL) {
            *place(o, d) = (unsigned)to;
            o->at[to++] = d;
        }
    }
    o->len = to;
}

void
asyncore__map_compact(struct asyncore_map *map)
{
    order_compact(&map->all);
    order_compact(&map->asked);
}

/* ---- forks ---- */

/* + 1 in every child of a fork(): a map whose number differs is another
 * process's.  (A getpid() in each pass would cost a system call.) */
static unsigned forks;

static void
count_fork(void)
{
    forks++;
}

static void
watch_forks(void)
{
    pthread_atfork(NULL, NULL, count_fork);
}

int
asyncore__map_check(const struct asyncore_map *map)
{
    return map->forks == forks ? 0 : -ECHILD;
}

/* ---- create and free ---- */

static void
release(struct asyncore_map *map)
{
    asyncore__calls_close(map);
    asyncore__calls_drop(map);
    if (map->state != NULL) {
        map->backend->fini(map);
    }
    if (map->reserve_fd >= 0) {
        map->world->close(map->world, map->reserve_fd);
    }
    asyncore__timers_fini(&map->timers);
    asyncore__free(map->slots);
    asyncore__free(map->all.at);
    asyncore__free(map->asked.at);
    asyncore__free(map->always);
    if (ASYNCORE__URING(map)) {
        asyncore__uring_free(map);
    }
    asyncore__free(map->ready);
    asyncore__free(map->buffer);
    asyncore__spares_free(&map->spares);
    asyncore__free(map);
}

/* What a kernel, or who guards it, says of a system call it does not want. */
static bool
is_lacking(int code)
{
    return code == -ENOSYS || code == -EPERM || code == -EACCES ||
           code == -EINVAL || code == -EOPNOTSUPP;
}

static int
start_backend(struct asyncore_map *map)
{
    const struct asyncore__backend *backend = map->backend;
    int err = backend->init(map);
    if (err < 0 && backend->may_lack && is_lacking(err)) {
        map->backend = asyncore__backends[0];
        asyncore__log(ASYNCORE_LOG_WARNING, NULL,
                      "%s is not available (%s:%s), %s serves instead",
                      backend->name, asyncore_errorcode(err),
                      asyncore_strerror(err), map->backend->name);
        err = map->backend->init(map);
    }
    return err;
}

int
asyncore__map_create(const char *name, struct asyncore__world *world,
                     struct asyncore_map **ret)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);

    const struct asyncore__backend *backend;
    int err = asyncore__backend_find(name, &backend);
    if (err < 0) {
        return err;
    }
    struct asyncore_map *map = asyncore__calloc(sizeof *map);
    if (map == NULL) {
        return -ENOMEM;
    }
    map->world = world;
    map->backend = backend;
    map->forks = forks;
    map->touched_end = &map->touched;
    map->calls_end = &map->calls;
    map->all.index_offset =
        offsetof(struct asyncore_dispatcher, asyncore__pos);
    map->asked.index_offset =
        offsetof(struct asyncore_dispatcher, asyncore__asked);
    map->reserve_fd = -1;
    map->wake_fd[0] = map->wake_fd[1] = -1;
    asyncore__busy_init(map);
    err = start_backend(map);
    if (err >= 0) {
        err = asyncore__calls_open(map);
    }
    if (err < 0) {
        release(map);
        return err;
    }
    *ret = map;
    return 0;
}

int
asyncore_map_create(const char *backend, struct asyncore_map **ret)
{
    return ret != NULL
               ? asyncore__map_create(backend, asyncore__world_default, ret)
               : -EINVAL;
}

static _Thread_local struct asyncore_map *default_map;
static pthread_key_t at_thread_end;

int
asyncore_map_free(struct asyncore_map *map)
{
    if (map == NULL) {
        return 0;
    }
    if (map->depth > 0 || map->loops > 0) {
        return -EBUSY;
    }
    asyncore__sweep(map);
    if (map->open > 0) {
        return -EBUSY;
    }
    if (map == default_map) {
        default_map = NULL;
        pthread_setspecific(at_thread_end, NULL);
    }
    release(map);
    return 0;
}

/* ---- the default map ---- */

static void
free_default(void *map)
{
    asyncore_map_free(map);
}

static void
make_key(void)
{
    pthread_key_create(&at_thread_end, free_default);
}

int
asyncore__map(struct asyncore_map **map)
{
    if (*map != NULL) {
        return 0;
    }
    if (default_map == NULL) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        pthread_once(&once, make_key);
        struct asyncore_map *made;
        int err = asyncore_map_create(NULL, &made);
        if (err < 0) {
            return err;
        }
        default_map = made;
        pthread_setspecific(at_thread_end, made);
    }
    *map = default_map;
    return 0;
}

void
asyncore__map_set_default(struct asyncore_map *map)
{
    default_map = map; /* not to be freed at the thread's end */
}

struct asyncore_map *
asyncore_map_default(void)
{
    struct asyncore_map *map = NULL;
    return asyncore__map(&map) < 0 ? NULL : map;
}

/* ---- looking at it ---- */

size_t
asyncore_map_count(const struct asyncore_map *map)
{
    map = map != NULL ? map : default_map;
    return map != NULL ? map->all.live : 0;
}

struct asyncore_dispatcher *
asyncore_map_get(const struct asyncore_map *map, int fd)
{
    map = map != NULL ? map : default_map;
    bool known = map != NULL && fd >= 0 && (size_t)fd < map->nslots;
    return known ? map->slots[fd].d : NULL;
}

struct asyncore_dispatcher *
asyncore_map_next(const struct asyncore_map *map,
                  const struct asyncore_dispatcher *d)
{
    map = map != NULL ? map : default_map;
    size_t at = 0;
    if (map == NULL) {
        return NULL;
    }
    if (d != NULL) {
        if (!asyncore__valid(d) || d->map != map || !asyncore__in_map(d)) {
            return NULL;
        }
        at = d->asyncore__pos + (size_t)1;
    }
    while (at < map->all.len && map->all.at[at] == NULL) {
        at++;
    }
    return at < map->all.len ? map->all.at[at] : NULL;
}

const char *
asyncore_map_backend(const struct asyncore_map *map)
{
    if (map == NULL) {
        map = asyncore_map_default();
    }
    return map != NULL ? map->backend->name : NULL;
}

/* ---- in and out ---- */

/* Room for a slot; the new ones are empty. */
static int
reserve_slot(struct asyncore_map *map, int fd)
{
    return asyncore__reserve(&map->slots, &map->nslots, (size_t)fd + 1,
                             sizeof *map->slots);
}

static int
check_limit(const struct asyncore__backend *backend, int fd)
{
    if (backend->fd_limit == 0 || fd < backend->fd_limit) {
        return 0;
    }
    asyncore__log(ASYNCORE_LOG_ERROR, NULL,
                  "descriptor %d is beyond the %d that %s serves; "
                  "use another backend",
                  fd, backend->fd_limit, backend->name);
    return -ERANGE;
}

int
asyncore__map_add(struct asyncore_map *map, struct asyncore_dispatcher *d)
{
    int fd = d->fd;
    int err = asyncore__map_check(map);
    if (err >= 0) {
        err = check_limit(map->backend, fd);
    }
    if (err >= 0) {
        err = reserve_slot(map, fd);
    }
    if (err >= 0 && (map->slots[fd].d != NULL || fd == map->wake_fd[0])) {
        err = -EEXIST;
    }
    if (err >= 0) {
        err = order_reserve(&map->all);
    }
    if (err >= 0 && asyncore__is_asked(d)) {
        err = order_reserve(&map->asked);
    }
    if (err < 0) {
        return err;
    }
    map->slots[fd].d = d;
    map->slots[fd].generation++;
    order_push(&map->all, d);
    if (asyncore__is_asked(d)) {
        order_push(&map->asked, d);
    }
    d->map = map;
    asyncore__set(d, ASYNCORE__IN_MAP);
    return 0;
}

/* Have the backend watch a socket no more that is going to be closed. */
static void
forget(struct asyncore_map *map, int fd)
{
    struct asyncore__slot *slot = &map->slots[fd];
    if (map->backend->forget == NULL || slot->armed == 0 || slot->always ||
        asyncore__map_check(map) < 0) {
        asyncore__arm(map, fd, 0);
        return;
    }
    unsigned from = slot->armed;
    slot->armed = 0;
    map->backend->forget(map, fd, from);
}

void
asyncore__map_remove(struct asyncore_dispatcher *d, bool closing)
{
    struct asyncore_map *map = d->map;
    if (ASYNCORE__URING(map)) {
        /* What falls short must find its channel. */
        (void)asyncore__uring_settle(map, d->fd);
    }
    /* Of a file, the channel has but a dup(). */
    if (closing && asyncore__is_socket(d)) {
        forget(map, d->fd);
    }
    else {
        asyncore__arm(map, d->fd, 0);
    }
    map->slots[d->fd].d = NULL;
    order_drop(&map->all, d);
    if (asyncore__is_asked(d)) {
        order_drop(&map->asked, d);
    }
    asyncore__unset(d,
                    ASYNCORE__IN_MAP | ASYNCORE__PLAIN | ASYNCORE__UNSETTLED);
}

/* ---- what the backend knows ---- */

static int
always_add(struct asyncore_map *map, int fd)
{
    int err = asyncore__reserve_raw(&map->always, &map->always_cap,
                                    map->nalways + 1, sizeof *map->always);
    if (err >= 0) {
        map->always[map->nalways++] = fd;
        map->slots[fd].always = true;
    }
    return err;
}

static void
always_drop(struct asyncore_map *map, int fd)
{
    for (size_t i = 0; i < map->nalways; i++) {
        if (map->always[i] == fd) {
            map->always[i] = map->always[--map->nalways];
            break;
        }
    }
    map->slots[fd].always = false;
}

int
asyncore__arm(struct asyncore_map *map, int fd, unsigned mask)
{
    struct asyncore__slot *slot = &map->slots[fd];
    unsigned from = slot->armed;
    if (mask == from) {
        return 0;
    }
    if (mask == 0) {
        slot->armed = 0;
        if (slot->always) {
            always_drop(map, fd);
        }
        else if (asyncore__map_check(map) >= 0) {
            /* The registrations of a fork's parent are not ours to touch; a
             * failure means that the kernel has forgotten it already. */
            (void)map->backend->modify(map, fd, from, 0);
        }
        return 0;
    }
    int err = 0;
    if (!slot->always) {
        err = map->backend->modify(map, fd, from, mask);
        if (err == -EPERM) {
            err = always_add(map, fd);
        }
    }
    if (err >= 0) {
        slot->armed = mask & 31u;
    }
    return err < 0 ? err : 0;
}

/* Tell a fresh backend what the old one knew.  The slots it refuses are
 * noted in `always`, which has room for every channel. */
static int
rearm_all(struct asyncore_map *map, int *always, size_t *ret_n)
{
    *ret_n = 0;
    for (size_t fd = 0; fd < map->nslots; fd++) {
        if (map->slots[fd].armed == 0) {
            continue;
        }
        int err = map->backend->modify(map, (int)fd, 0, map->slots[fd].armed);
        if (err == -EPERM) {
            always[(*ret_n)++] = (int)fd;
        }
        else if (err < 0) {
            return err;
        }
    }
    return 0;
}

/* Have a fresh `backend` know what the map's knows; on failure nothing has
 * changed, not even the latter's notes in the slots. */
static int
try_backend(struct asyncore_map *map, const struct asyncore__backend *backend,
            int *always, size_t *ret_n)
{
    const struct asyncore__backend *old = map->backend;
    void *old_state = map->state;
    uint32_t *notes = NULL;
    size_t cap = 0;
    int err = asyncore__reserve_raw(&notes, &cap, map->nslots, sizeof *notes);
    if (err < 0) {
        return err;
    }
    for (size_t fd = 0; fd < map->nslots; fd++) {
        notes[fd] = map->slots[fd].scratch;
    }
    map->backend = backend;
    err = backend->init(map);
    if (err >= 0) {
        err = rearm_all(map, always, ret_n);
        if (err < 0) {
            backend->fini(map);
        }
    }
    if (err < 0) {
        map->backend = old;
        map->state = old_state;
        for (size_t fd = 0; fd < map->nslots; fd++) {
            map->slots[fd].scratch = notes[fd];
        }
    }
    asyncore__free(notes);
    return err;
}

/* Have `backend` serve the map from now on; on failure nothing changes. */
static int
change_backend(struct asyncore_map *map,
               const struct asyncore__backend *backend)
{
    const struct asyncore__backend *old = map->backend;
    void *old_state = map->state;
    int *always = NULL;
    size_t cap = 0, n = 0;
    int err = asyncore__reserve_raw(&always, &cap, map->all.live + 1,
                                    sizeof *always);
    if (err >= 0) {
        err = try_backend(map, backend, always, &n);
    }
    if (err < 0) {
        asyncore__free(always);
        return err;
    }
    void *new_state = map->state;
    map->state = old_state;
    old->fini(map);
    map->state = new_state;
    for (size_t i = 0; i < map->nalways; i++) {
        map->slots[map->always[i]].always = false;
    }
    for (size_t i = 0; i < n; i++) {
        map->slots[always[i]].always = true;
    }
    asyncore__free(map->always);
    map->always = always;
    map->always_cap = cap;
    map->nalways = n;
    return 0;
}

int
asyncore_map_set_backend(struct asyncore_map *map, const char *name)
{
    const struct asyncore__backend *backend;
    int err = asyncore__map(&map);
    if (err >= 0) {
        err = asyncore__backend_find(name, &backend);
    }
    if (err >= 0) {
        err = asyncore__map_check(map);
    }
    if (err < 0 || backend == map->backend) {
        return err;
    }
    for (size_t i = 0; i < map->all.len && err >= 0; i++) {
        if (map->all.at[i] != NULL) {
            err = check_limit(backend, map->all.at[i]->fd);
        }
    }
    if (err >= 0) {
        err = check_limit(backend, map->wake_fd[0]);
    }
    return err >= 0 ? change_backend(map, backend) : err;
}

int
asyncore_map_after_fork(struct asyncore_map *map)
{
    int err = asyncore__map(&map);
    if (err < 0 || asyncore__map_check(map) >= 0) {
        return err;
    }
    /* The wake-up is shared with the parent, too: a new one, or a post there
     * would be answered here. */
    asyncore__calls_close(map);
    map->forks = forks;
    err = change_backend(map, map->backend);
    if (err >= 0) {
        err = asyncore__calls_open(map);
    }
    if (err < 0) {
        map->forks = forks - 1;
    }
    return err;
}

int
asyncore_map_fileno(struct asyncore_map *map)
{
    int err = asyncore__map(&map);
    if (err >= 0) {
        err = asyncore__map_check(map);
    }
    for (size_t i = 0; err >= 0 && map->backend->fileno == NULL; i++) {
        if (asyncore__backends[i] == NULL) {
            err = -ENOSYS;
        }
        else if (asyncore__backends[i]->fileno != NULL) {
            err = change_backend(map, asyncore__backends[i]);
        }
    }
    return err >= 0 ? map->backend->fileno(map) : err;
}
