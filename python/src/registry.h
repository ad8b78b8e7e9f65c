/* SPDX-License-Identifier: MIT */
/* registry.h - a map of Python's, and the core's map beside it. */
#ifndef ASYNCORE_PYTHON_REGISTRY_H
#define ASYNCORE_PYTHON_REGISTRY_H

#include "state.h"

#include "internal.h"

/* Of who is no channel, or has its own place elsewhere. */
struct other_watch {
    struct watch w;
    PyObject *object; /* borrowed: the map has it */
};

/* Who is there. */
static inline PyObject *
watch_object(const struct watch *w)
{
    const char *at = (const char *)w;
    return w->inside
               ? (PyObject *)(uintptr_t)(at - offsetof(struct channel, place))
               : ((const struct other_watch *)(const void *)w)->object;
}

struct question;

struct registry {
    struct registry *next;
    struct state *st;
    PyObject *map;                /* borrowed */
    uint64_t version;             /* of the map, when it was read; 0 = never */
    uint64_t mutations;           /* counted by the watcher of the map */
    bool unwatched;               /* there is no watcher */
    unsigned klass_state;         /* st->klass_changes seen */
    struct asyncore__world world; /* the kernel's, without the lock */
    struct asyncore_map *core;
    struct asyncore_dispatcher whoever; /* in the slots of the core */
    struct watch **by_fd;
    size_t nfds;
    size_t count;
    struct watch **asked;
    size_t nasked, asked_cap;
    bool asked_unsorted;
    struct question *questions; /* a list for the next pass that asks */
    size_t questions_cap;
    int touched_first, touched_last; /* descriptors, or -1 */
    struct watch **invalid;
    size_t ninvalid, invalid_cap;
    int *late; /* descriptors that left during a wait */
    size_t nlate, late_cap;
    size_t armed;
    uint64_t last_seq;
    unsigned depth;  /* passes running */
    unsigned passes; /* since descriptors were looked at */
    unsigned unseen; /* passes since all were looked at */
    int64_t looked;  /* when that was */
    bool waiting;
    bool use_poll;
    bool fixed;        /* the environment chose the backend */
    unsigned attached; /* to loops of others, which sleep on its descriptor */
    bool nudged;
};

/* dictwatch.c */
int dictwatch_init(struct state *st);
void dictwatch_fini(struct state *st);
void dictwatch_add(struct registry *reg);
void dictwatch_remove(struct registry *reg);
uint64_t dictwatch_version(const struct registry *reg);
/* The same of a module's dictionary; 0: that cannot be told. */
uint64_t dictwatch_names(const struct state *st, PyObject *dict);

/* registry.c */
struct registry *registry_find(const struct state *st, PyObject *map);
struct registry *registry_make(struct state *st, PyObject *map);
/* Anew in the child of a fork. */
struct registry *registry_find_or_make(struct state *st, PyObject *map);
void registry_free(struct registry *reg);
/* Read the map, if it has changed.  1, or 0: the core cannot serve it; or
 * -1. */
int registry_sync(struct registry *reg);
void registry_touch(struct watch *w);
void registry_touch_all(struct registry *reg);
void registry_untouch(struct watch *w);
/* Have a watch asked in every pass, or not. */
int registry_ask(struct watch *w, bool on);
/* Its descriptor is not open: it is told so in this pass. */
int registry_invalid(struct watch *w);
/* Serve it by poll while it is small, by epoll when it is not. */
int registry_choose(struct registry *reg);

/* attach.c: something has changed; who sleeps on the descriptor must look */
void registry_nudge(struct registry *reg);

/* genuine.c: are `read`, `write` … among the globals what they were made to
 * be?  And what select and time have for it? */
bool events_are_own(const struct events *ev, bool use_poll);
bool events_are_genuine(struct events *ev, bool use_poll);

/* pass.c: the parts of a pass */
/* Before the wait.  1, or 0: the core cannot serve the map; or -1. */
int registry_prepare(struct registry *reg, bool use_poll);
/* After it: serve what is ready.  1 or -1. */
int registry_deliver(struct events *ev, struct registry *reg);

/* interest.c: is it known that a channel is, or is not, readable; writable,
 * and not accepting?  If not, it is to be asked. */
bool interest_readable(const struct klass *k, struct channel *ch);
bool interest_writable(const struct klass *k, struct channel *ch, bool *ret);
/* Of such a one: is it writable, accepting or not? */
int interest_has_output(const struct klass *k, struct channel *ch);
/* Have classes changed?  Then all are touched. */
bool interest_notice(struct registry *reg);
/* Find out whether he is to be asked, or what he waits for; 0 or -1. */
int interest_update(struct watch *w);
/* Bring the core up to date with a place, or with all that were touched; 0 or
 * -1.  Who came after `last` has to wait for the next pass. */
int interest_arm(struct watch *w);
int interest_apply(struct registry *reg, uint64_t last);

/* ask.c: call the predicates of who overrides them; 0 or -1. */
int ask_all(struct registry *reg, uint64_t last);

#endif
