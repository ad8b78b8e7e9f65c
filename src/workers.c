/* SPDX-License-Identifier: MIT */
/* workers.c - threads that serve a map each.
 *
 * The maps and listeners are made by the thread that owns the workers, so that
 * what can fail has failed before any thread runs; from the start on a map is
 * its worker's.  Two doors lead to a worker, and both are posts: to stop, and
 * to look at the connections that others have handed over to it.  The calls
 * are part of the worker, so that neither can fail for want of memory. */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* SO_REUSEPORT */
#endif
#include <stdio.h>

#include "asyncore_workers.h"
#include "internal.h"

/* A descriptor on its way to a worker. */
struct handed {
    struct handed *next;
    int fd;
    asyncore_adopt_fn *fn;
    void *arg;
    struct listener *listener; /* whose it is, then there is no fn; or NULL */
    struct asyncore_addr addr; /* … and where it came from */
};

struct worker {
    struct asyncore_workers *group;
    unsigned index;
    char name[16];
    struct asyncore_map *map;
    pthread_t thread;
    struct asyncore_call stop, look;
    /* the worker's own */
    bool set_up, stopping, expired;
    int64_t timer; /* of its patience; 0 = none */
    /* under the lock: a queue */
    pthread_mutex_t lock;
    struct handed *handed, **handed_end;
    bool closed; /* nobody looks at it any more */
};

/* Where the kernel does not deal out connections, one acceptor does, and the
 * channels have no descriptor. */
struct listener {
    struct asyncore_workers *group;
    struct asyncore_addr addr;
    struct asyncore_dispatcher acceptor;
    unsigned next;                         /* whose turn it is */
    struct asyncore_dispatcher channels[]; /* of each worker */
};

enum state {
    MADE,
    STARTING,
    SERVING,
    ENDED /* joined, or never got so far */
};

struct asyncore_workers {
    struct asyncore_workers_options options;
    struct asyncore__world *world;
    struct listener **listeners;
    size_t nlisteners, listeners_cap;
    _Atomic int64_t patience; /* ns; -1 = for ever */
    /* under the lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum state state;
    unsigned ready; /* setups that have come to an end */
    int failed;     /* the first failure */
    unsigned n;
    struct worker workers[];
};

static _Thread_local struct worker *self;

/* 0, or why the caller may not touch them. */
static int
check(const struct asyncore_workers *w)
{
    return w == NULL ? -EINVAL : asyncore__map_check(w->workers[0].map);
}

static void
fail(struct asyncore_workers *w, int code)
{
    pthread_mutex_lock(&w->lock);
    if (w->failed == 0 && code < 0) {
        w->failed = code;
    }
    pthread_mutex_unlock(&w->lock);
}

/* ---- connections that are handed over ---- */

/* Returns 0, or -ESHUTDOWN: it is still the caller's. */
static int
give(struct worker *to, struct handed *h)
{
    pthread_mutex_lock(&to->lock);
    bool closed = to->closed;
    if (!closed) {
        *to->handed_end = h;
        to->handed_end = &h->next;
    }
    pthread_mutex_unlock(&to->lock);
    if (closed) {
        return -ESHUTDOWN;
    }
    /* If it is posted already, that look is still to come. */
    asyncore_call_soon_signal(to->map, &to->look);
    return 0;
}

static struct handed *
take(struct worker *me)
{
    pthread_mutex_lock(&me->lock);
    struct handed *h = me->handed;
    if (h != NULL) {
        me->handed = h->next;
        if (me->handed == NULL) {
            me->handed_end = &me->handed;
        }
    }
    pthread_mutex_unlock(&me->lock);
    return h;
}

/* Nobody hands over anything any more, unless something is waiting. */
static bool
close_if_empty(struct worker *me)
{
    pthread_mutex_lock(&me->lock);
    bool empty = me->handed == NULL;
    me->closed = me->closed || empty;
    pthread_mutex_unlock(&me->lock);
    return empty;
}

static void
close_door(struct worker *me)
{
    struct asyncore__world *w = me->group->world;
    pthread_mutex_lock(&me->lock);
    me->closed = true;
    pthread_mutex_unlock(&me->lock);
    for (struct handed *h = take(me); h != NULL; h = take(me)) {
        w->close(w, h->fd);
        asyncore__free(h);
    }
}

/* Returns as a handler does. */
static int
adopt(struct worker *me, const struct handed *h)
{
    struct asyncore__world *w = me->map->world;
    if (h->listener != NULL) {
        struct asyncore_dispatcher *d = &h->listener->channels[me->index];
        if (!asyncore__has(d, ASYNCORE__CLOSED | ASYNCORE__DESTROYED)) {
            return asyncore__hand_over(d, h->fd, &h->addr);
        }
        w->close(w, h->fd); /* closed by a handler of its own */
        return 0;
    }
    struct asyncore__given given = {.fd = h->fd};
    asyncore__give(&given);
    int rc = h->fn(me->map, h->fd, h->arg);
    asyncore__given_back(&given);
    if (rc < 0 && rc != ASYNCORE_EXIT_NOW && given.fd == h->fd) {
        w->close(w, h->fd);
    }
    return asyncore__called(me->map, rc);
}

static int
look(struct asyncore_map *map, void *arg)
{
    (void)map;
    int rc = 0;
    struct handed *h;
    while (rc >= 0 && (h = take(arg)) != NULL) {
        rc = adopt(arg, h);
        asyncore__free(h);
    }
    return rc;
}

int
asyncore_workers_hand_over(struct asyncore_workers *w, unsigned index, int fd,
                           asyncore_adopt_fn *fn, void *arg)
{
    int err = check(w);
    if (err >= 0 && (index >= w->n || fd < 0 || fn == NULL)) {
        err = -EINVAL;
    }
    if (err < 0) {
        return err;
    }
    struct handed *h = asyncore__calloc(sizeof *h);
    if (h == NULL) {
        return -ENOMEM;
    }
    h->fd = fd;
    h->fn = fn;
    h->arg = arg;
    err = give(&w->workers[index], h);
    if (err < 0) {
        asyncore__free(h);
    }
    return err;
}

/* ---- one acceptor for all ---- */

static int
send_on(struct listener *l, struct worker *to, int fd,
        const struct asyncore_addr *addr)
{
    struct handed *h = asyncore__calloc(sizeof *h);
    if (h == NULL) {
        return -ENOMEM;
    }
    h->fd = fd;
    h->listener = l;
    h->addr = *addr;
    int err = give(to, h);
    if (err < 0) {
        asyncore__free(h);
    }
    return err;
}

/* To each worker in turn.  Who can't have it is passed over; we, the first,
 * can. */
static int
deal_out(struct asyncore_dispatcher *d, int fd,
         const struct asyncore_addr *addr)
{
    struct listener *l = asyncore_container_of(d, struct listener, acceptor);
    struct worker *us = &l->group->workers[0], *to;
    do {
        to = &l->group->workers[l->next];
        l->next = (l->next + 1) % l->group->n;
    } while (to != us && send_on(l, to, fd, addr) < 0);
    struct handed ours = {.fd = fd, .listener = l, .addr = *addr};
    return to == us ? adopt(us, &ours) : 0;
}

static const struct asyncore_ops acceptor_ops = {
    .name = "asyncore_workers",
    .handle_accepted = deal_out,
};

/* ---- listening ---- */

/* The first socket is not to share its port when it is bound: that somebody
 * else listens there, with the same intent, would go unnoticed. */
static int
bind_socket(struct asyncore__world *w, struct asyncore_addr *at, bool shared,
            bool first)
{
    int fd = w->socket(w, at->u.sa.sa_family, SOCK_STREAM);
    if (fd < 0) {
        return fd;
    }
    int err = 0;
    if (at->u.sa.sa_family != AF_UNIX) {
        err = w->setsockopt(w, fd, SOL_SOCKET, SO_REUSEADDR, 1);
    }
    if (err >= 0 && shared && !first) {
        err = w->setsockopt(w, fd, SOL_SOCKET, SO_REUSEPORT, 1);
    }
    if (err >= 0) {
        err = w->bind(w, fd, &at->u.sa, at->len);
    }
    if (err >= 0 && shared && first) {
        err = w->setsockopt(w, fd, SOL_SOCKET, SO_REUSEPORT, 1);
    }
    if (err >= 0 && first) {
        err = w->getsockname(w, fd, at); /* the port for the others */
    }
    if (err < 0) {
        w->close(w, fd);
    }
    return err < 0 ? err : fd;
}

static void
close_sockets(struct asyncore__world *w, const int *fds, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        w->close(w, fds[i]);
    }
}

/* n sockets that listen at an address. */
static int
open_sockets(struct asyncore__world *w, struct asyncore_addr *at, int backlog,
             int *fds, unsigned n)
{
    int err = 0;
    unsigned made = 0;
    while (err >= 0 && made < n) {
        err = bind_socket(w, at, n > 1, made == 0);
        if (err >= 0) {
            fds[made++] = err;
        }
    }
    for (unsigned i = 0; err >= 0 && i < n; i++) {
        err = w->listen(w, fds[i], backlog);
    }
    if (err < 0) {
        close_sockets(w, fds, made);
    }
    return err < 0 ? err : 0;
}

static const struct asyncore_ops no_ops;

/* As if it had never been: no `destroy`, and the socket is as it was. */
static void
forget(struct asyncore_dispatcher *d)
{
    if (asyncore__valid(d)) {
        asyncore_detach(d);
        asyncore_close(d);
        d->ops = &no_ops;
    }
}

static void
drop_listener(struct asyncore_workers *w, struct listener *l)
{
    forget(&l->acceptor);
    for (unsigned i = 0; i < w->n; i++) {
        forget(&l->channels[i]);
        asyncore__sweep(w->workers[i].map);
    }
    asyncore__free(l);
}

/* Over a socket each, or over one for all. */
static int
add_channels(struct asyncore_workers *w, struct listener *l,
             const struct asyncore_ops *ops, void *data, const int *fds,
             unsigned n)
{
    bool one_for_all = n < w->n;
    int err = 0;
    if (one_for_all) {
        err = asyncore_dispatcher_init(&l->acceptor, &acceptor_ops, fds[0],
                                       w->workers[0].map);
    }
    for (unsigned i = 0; err >= 0 && i < w->n; i++) {
        struct asyncore_dispatcher *d = &l->channels[i];
        err = asyncore_dispatcher_init(d, ops, one_for_all ? -1 : fds[i],
                                       w->workers[i].map);
        if (err >= 0) {
            d->data = data;
            asyncore__set_addr(d, &l->addr);
        }
    }
    return err;
}

/* A listener over n sockets that listen.  Returns its number; on failure the
 * sockets that are not -1 by then are the caller's. */
static int
add_listener(struct asyncore_workers *w, const struct asyncore_addr *at,
             const struct asyncore_ops *ops, void *data, const int *fds,
             unsigned n)
{
    int err = asyncore__reserve(&w->listeners, &w->listeners_cap,
                                w->nlisteners + 1, sizeof *w->listeners);
    if (err < 0) {
        return err;
    }
    struct listener *l =
        asyncore__calloc(sizeof *l + w->n * sizeof *l->channels);
    if (l == NULL) {
        return -ENOMEM;
    }
    l->group = w;
    l->addr = *at;
    err = add_channels(w, l, ops, data, fds, n);
    if (err < 0) {
        drop_listener(w, l);
        return err;
    }
    w->listeners[w->nlisteners] = l;
    return (int)w->nlisteners++;
}

static int
may_listen(const struct asyncore_workers *w)
{
    int err = check(w);
    return err >= 0 && w->state != MADE ? -EBUSY : err;
}

int
asyncore_workers_listen(struct asyncore_workers *w, int family,
                        const char *host, int port, int backlog,
                        const struct asyncore_ops *ops, void *data)
{
    struct asyncore_addr at;
    int err = may_listen(w);
    if (err >= 0 && backlog <= 0) {
        err = -EINVAL;
    }
    if (err >= 0) {
        err = asyncore_getaddrinfo(w->workers[0].map, family, SOCK_STREAM,
                                   host, port, &at, 1);
    }
    if (err < 0) {
        return err;
    }
    unsigned n = at.u.sa.sa_family == AF_UNIX ? 1 : w->n;
    int *fds = asyncore__realloc(NULL, n * sizeof *fds);
    if (fds == NULL) {
        return -ENOMEM;
    }
    err = open_sockets(w->world, &at, backlog, fds, n);
    if (err >= 0) {
        err = add_listener(w, &at, ops, data, fds, n);
        close_sockets(w->world, fds, err < 0 ? n : 0);
    }
    asyncore__free(fds);
    return err;
}

int
asyncore_workers_listen_fd(struct asyncore_workers *w, int fd,
                           const struct asyncore_ops *ops, void *data)
{
    struct asyncore_addr at;
    int listening = 0;
    int err = may_listen(w);
    if (err >= 0) {
        err = w->world->getsockopt(w->world, fd, SOL_SOCKET, SO_ACCEPTCONN,
                                   &listening);
    }
    if (err >= 0 && !listening) {
        err = -EINVAL;
    }
    if (err >= 0) {
        memset(&at, 0, sizeof at);
        err = w->world->getsockname(w->world, fd, &at);
    }
    return err < 0 ? err : add_listener(w, &at, ops, data, &fd, 1);
}

int
asyncore_workers_getsockname(const struct asyncore_workers *w, int listener,
                             struct asyncore_addr *ret)
{
    if (w == NULL || ret == NULL || listener < 0 ||
        (size_t)listener >= w->nlisteners) {
        return -EINVAL;
    }
    *ret = w->listeners[listener]->addr;
    return 0;
}

/* ---- the end of a worker ---- */

/* One, or what the listener's own handler takes at once.  Returns -EAGAIN when
 * there is no more, or ASYNCORE_EXIT_NOW. */
static int
accept_some(struct asyncore_dispatcher *d)
{
    if (d->ops->handle_accept != NULL || d->ops->handle_read_event != NULL) {
        int rc = asyncore_read(d);
        return rc < 0 || asyncore__has(d, ASYNCORE__SERVED) ? rc : -EAGAIN;
    }
    struct asyncore_addr addr;
    int fd = asyncore_accept(d, &addr);
    return fd < 0 ? fd : asyncore__hand_over(d, fd, &addr);
}

/* Connections that the kernel has accepted for a listener are reset when it
 * is closed; nobody else gets them, also if he shares the port.  The bound is
 * for clients that come faster than they can be taken. */
static int
accept_queued(struct asyncore_dispatcher *d)
{
    int rc = 0;
    for (int i = 0; i < SOMAXCONN && rc >= 0 && d->accepting; i++) {
        rc = accept_some(d);
    }
    return rc == ASYNCORE_EXIT_NOW ? rc : 0;
}

static struct asyncore_dispatcher *
first_listener(const struct asyncore_map *map)
{
    struct asyncore_dispatcher *d = asyncore_map_next(map, NULL);
    while (d != NULL && !d->accepting) {
        d = asyncore_map_next(map, d);
    }
    return d;
}

static int
stop_listening(struct asyncore_map *map)
{
    int rc = 0;
    struct asyncore_dispatcher *d;
    while (rc >= 0 && (d = first_listener(map)) != NULL) {
        rc = accept_queued(d);
        asyncore_close(d);
    }
    return rc;
}

static int
expire(struct asyncore_map *map, void *arg)
{
    struct worker *me = arg;
    (void)map;
    me->timer = 0;
    me->expired = true;
    return 0;
}

static void
set_patience(struct worker *me)
{
    int64_t ns = atomic_load(&me->group->patience);
    asyncore_cancel(me->map, me->timer);
    me->timer = 0;
    if (ns > 0) {
        me->timer = asyncore_call_later(me->map, (double)ns / 1e9, expire, me);
    }
    if (ns == 0 || me->timer < 0) {
        me->expired = true; /* or there is no memory to wait with */
    }
}

static int
begin_to_stop(struct asyncore_map *map, void *arg)
{
    struct worker *me = arg;
    const struct asyncore_workers_options *options = &me->group->options;
    set_patience(me);
    if (me->stopping) {
        return 0;
    }
    me->stopping = true;
    int rc = stop_listening(map);
    if (rc >= 0 && options->stopping != NULL) {
        rc = options->stopping(map, me->index, options->arg);
    }
    return rc;
}

static bool
is_done(void *arg)
{
    struct worker *me = arg;
    return me->stopping &&
           (me->expired || (me->map->all.live == 0 && close_if_empty(me)));
}

/* Close all channels of a worker's map, and its listeners that are in none. */
static void
clear(struct worker *me)
{
    const struct asyncore_workers *w = me->group;
    for (size_t i = 0; i < w->nlisteners; i++) {
        asyncore_close(&w->listeners[i]->channels[me->index]);
    }
    asyncore_close_all(me->map, true);
}

/* ---- a worker ---- */

static int
prepare(struct worker *me)
{
    const struct asyncore_workers_options *options = &me->group->options;
    struct asyncore__world *w = me->group->world;
    int rc = 0;
    w->thread_name(w, me->name);
    if (options->pin) {
        rc = w->thread_pin(w, me->index);
    }
    if (rc >= 0 && options->setup != NULL) {
        rc = options->setup(me->map, me->index, options->arg);
    }
    me->set_up = rc >= 0;
    return rc;
}

/* Tell how the setup went, and wait for the others.  Returns whether to
 * serve. */
static bool
report(struct worker *me, int result)
{
    struct asyncore_workers *w = me->group;
    fail(w, result);
    pthread_mutex_lock(&w->lock);
    w->ready++;
    pthread_cond_broadcast(&w->changed);
    while (w->state == STARTING) {
        pthread_cond_wait(&w->changed, &w->lock);
    }
    bool go = w->state == SERVING;
    pthread_mutex_unlock(&w->lock);
    return go;
}

static void *
run(void *arg)
{
    struct worker *me = arg;
    struct asyncore_workers *w = me->group;
    self = me;
    asyncore__map_set_default(me->map);
    if (report(me, prepare(me))) {
        int rc = asyncore__serve(me->map, is_done, me);
        if (rc < 0 || !me->stopping) {
            fail(w, rc);
            asyncore_workers_stop(w, 0);
        }
    }
    close_door(me);
    clear(me);
    if (me->set_up && w->options.teardown != NULL) {
        w->options.teardown(me->map, me->index, w->options.arg);
    }
    asyncore__map_set_default(NULL);
    return NULL;
}

/* ---- all of them ---- */

static int
make_worker(struct worker *me, struct asyncore_workers *group, unsigned index)
{
    const struct asyncore_workers_options *options = &group->options;
    int err = asyncore__map_create(options->backend, group->world, &me->map);
    if (err >= 0 && options->busy_poll > 0) {
        asyncore_map_set_busy_poll(me->map, options->busy_poll);
    }
    me->group = group;
    me->index = index;
    me->stop = (struct asyncore_call){.fn = begin_to_stop, .arg = me};
    me->look = (struct asyncore_call){.fn = look, .arg = me};
    me->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    me->handed_end = &me->handed;
    snprintf(me->name, sizeof me->name, "%.10s/%u",
             options->name != NULL ? options->name : "worker",
             index % ASYNCORE_MAX_WORKERS);
    return err;
}

static unsigned
count_threads(const struct asyncore_workers_options *options)
{
    struct asyncore__world *w = asyncore__world_default;
    if (options->threads > 0) {
        return options->threads;
    }
    int cpus = w->cpus(w);
    return cpus < 1                      ? 1
           : cpus > ASYNCORE_MAX_WORKERS ? ASYNCORE_MAX_WORKERS
                                         : (unsigned)cpus;
}

int
asyncore_workers_create(const struct asyncore_workers_options *options,
                        struct asyncore_workers **ret)
{
    static const struct asyncore_workers_options defaults;
    options = options != NULL ? options : &defaults;
    if (ret == NULL || options->threads > ASYNCORE_MAX_WORKERS ||
        !asyncore__busy_valid(options->busy_poll)) {
        return -EINVAL;
    }
    unsigned n = count_threads(options);
    struct asyncore_workers *w =
        asyncore__calloc(sizeof *w + n * sizeof *w->workers);
    if (w == NULL) {
        return -ENOMEM;
    }
    w->options = *options;
    w->world = asyncore__world_default;
    w->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    w->changed = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    int err = 0;
    while (err >= 0 && w->n < n) {
        err = make_worker(&w->workers[w->n], w, w->n);
        w->n += err >= 0;
    }
    if (err < 0) {
        asyncore_workers_free(w);
        return err;
    }
    *ret = w;
    return 0;
}

/* Returns how many. */
static unsigned
start_threads(struct asyncore_workers *w)
{
    int err = 0;
    unsigned n = 0;
    while (n < w->n && err >= 0) {
        struct worker *next = &w->workers[n];
        err = w->world->thread_start(w->world, &next->thread, run, next);
        n += err >= 0;
    }
    fail(w, err);
    return n;
}

/* Wait for n setups.  Returns 0 or what failed. */
static int
wait_for_setup(struct asyncore_workers *w, unsigned n)
{
    pthread_mutex_lock(&w->lock);
    while (w->ready < n) {
        pthread_cond_wait(&w->changed, &w->lock);
    }
    int err = w->failed;
    w->state = err < 0 ? ENDED : SERVING;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    return err;
}

static void
join_threads(struct asyncore_workers *w, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        pthread_join(w->workers[i].thread, NULL);
    }
    w->state = ENDED;
}

int
asyncore_workers_start(struct asyncore_workers *w)
{
    int err = may_listen(w);
    if (err < 0) {
        return err;
    }
    w->state = STARTING;
    unsigned n = start_threads(w);
    err = wait_for_setup(w, n);
    if (err < 0) {
        join_threads(w, n);
        for (unsigned i = n; i < w->n; i++) {
            close_door(&w->workers[i]);
            clear(&w->workers[i]);
        }
    }
    return err;
}

int
asyncore_workers_stop(struct asyncore_workers *w, double seconds)
{
    int64_t ns;
    int err = check(w);
    if (err < 0 || !asyncore__ns(seconds, &ns)) {
        return err < 0 ? err : -EINVAL;
    }
    atomic_store(&w->patience, ns);
    for (unsigned i = 0; i < w->n; i++) {
        /* If it is posted already, it finds the new time. */
        asyncore_call_soon_signal(w->workers[i].map, &w->workers[i].stop);
    }
    return 0;
}

int
asyncore_workers_join(struct asyncore_workers *w)
{
    int err = check(w);
    if (err < 0) {
        return err;
    }
    if (self != NULL && self->group == w) {
        return -EDEADLK;
    }
    if (w->state == MADE) {
        return -EINVAL;
    }
    if (w->state == SERVING) {
        join_threads(w, w->n);
    }
    return w->failed;
}

/* A channel that somebody has set aside keeps its map. */
static bool
is_in_use(struct asyncore_workers *w)
{
    for (unsigned i = 0; i < w->n; i++) {
        close_door(&w->workers[i]);
        clear(&w->workers[i]);
        if (w->workers[i].map->open > 0) {
            return true;
        }
    }
    return false;
}

int
asyncore_workers_free(struct asyncore_workers *w)
{
    if (w == NULL) {
        return 0;
    }
    int err = w->n > 0 ? check(w) : 0;
    if (err >= 0 && self != NULL && self->group == w) {
        err = -EDEADLK;
    }
    if (err < 0) {
        return err;
    }
    if (w->state == SERVING) {
        asyncore_workers_stop(w, 0);
        asyncore_workers_join(w);
    }
    if (is_in_use(w)) {
        return -EBUSY;
    }
    for (unsigned i = 0; i < w->n; i++) {
        asyncore_map_free(w->workers[i].map);
        pthread_mutex_destroy(&w->workers[i].lock);
    }
    for (size_t i = 0; i < w->nlisteners; i++) {
        asyncore__free(w->listeners[i]);
    }
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->changed);
    asyncore__free(w->listeners);
    asyncore__free(w);
    return 0;
}

unsigned
asyncore_workers_count(const struct asyncore_workers *w)
{
    return w != NULL ? w->n : 0;
}

struct asyncore_map *
asyncore_workers_map(const struct asyncore_workers *w, unsigned index)
{
    return w != NULL && index < w->n ? w->workers[index].map : NULL;
}

int
asyncore_workers_index(void)
{
    return self != NULL ? (int)self->index : -1;
}
