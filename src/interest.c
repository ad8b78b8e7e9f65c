/* SPDX-License-Identifier: MIT */
/* interest.c - who waits for what, and who is waiting to be destroyed.
 *
 * A channel whose class has predicates of its own is asked in every pass
 * (asyncore__interest_ask).  Of the others the library knows the state, and
 * each change of it puts the channel on the map's `touched` list
 * (asyncore__touch); before the wait the list is emptied and the backend told
 * what is new (asyncore__interest_apply).  So an idle channel costs nothing.
 *
 * A closed channel stays on the same list until the outermost pass has ended;
 * then it is destroyed (asyncore__sweep). */
#include "internal.h"

/* ---- the touched list ---- */

static void
append(struct asyncore_map *map, struct asyncore_dispatcher *d)
{
    asyncore__set(d, ASYNCORE__TOUCHED);
    d->asyncore__next = NULL;
    *map->touched_end = d;
    map->touched_end = &d->asyncore__next;
    map->ntouched++;
}

/* Take the first.  Who walks the list takes one at a time, for handlers may
 * do anything to it. */
static struct asyncore_dispatcher *
take(struct asyncore_map *map)
{
    struct asyncore_dispatcher *d = map->touched;
    map->touched = d->asyncore__next;
    if (map->touched == NULL) {
        map->touched_end = &map->touched;
    }
    map->ntouched--;
    asyncore__unset(d, ASYNCORE__TOUCHED);
    return d;
}

void
asyncore__touch_output(struct asyncore_dispatcher *d)
{
    if (!asyncore__has(d, ASYNCORE__TOUCHED)) {
        append(d->map, d);
    }
}

void
asyncore__touch(struct asyncore_dispatcher *d)
{
    asyncore__set(d, ASYNCORE__CHANGED);
    asyncore__unset(d, ASYNCORE__PLAIN);
    if (!asyncore__has(d, ASYNCORE__TOUCHED)) {
        append(d->map, d);
    }
}

void
asyncore__untouch(struct asyncore_dispatcher *d)
{
    if (!asyncore__has(d, ASYNCORE__TOUCHED)) {
        return;
    }
    for (size_t n = d->map->ntouched; n > 0; n--) {
        struct asyncore_dispatcher *other = take(d->map);
        if (other != d) {
            append(d->map, other);
        }
    }
}

int
asyncore_touch(struct asyncore_dispatcher *d)
{
    int err = asyncore__check_open(d);
    if (err >= 0) {
        asyncore__touch(d);
    }
    return err;
}

void
asyncore__bury(struct asyncore_dispatcher *d)
{
    if (!asyncore__has(d, ASYNCORE__CLOSED | ASYNCORE__DESTROYED)) {
        asyncore__set(d, ASYNCORE__CLOSED);
        d->map->closed++;
        asyncore__touch(d);
    }
}

void
asyncore__unbury(struct asyncore_dispatcher *d)
{
    if (asyncore__has(d, ASYNCORE__CLOSED)) {
        asyncore__unset(d, ASYNCORE__CLOSED);
        d->map->closed--;
    }
}

/* ---- what a channel waits for ---- */

static bool
has_predicates(const struct asyncore_dispatcher *d)
{
    return d->ops->readable != NULL || d->ops->writable != NULL;
}

bool
asyncore__is_asked(const struct asyncore_dispatcher *d)
{
    return has_predicates(d) && (d->ops->flags & ASYNCORE_ASK_ON_TOUCH) == 0;
}

/* Ask, and keep the answers.  Returns false if it is gone thereafter. */
static bool
ask(struct asyncore_dispatcher *d)
{
    struct asyncore__life life = asyncore__life(d);
    bool w = false;
    d->asyncore__pins++; /* it may be closed in another map */
    bool r = ASYNCORE__VIRTUAL(d, readable)(d);
    if (asyncore__alive(d, life)) {
        w = ASYNCORE__VIRTUAL(d, writable)(d);
    }
    d->asyncore__pins--;
    if (!asyncore__alive(d, life)) {
        return false;
    }
    asyncore__unset(d, ASYNCORE__ASK_R | ASYNCORE__ASK_W);
    asyncore__set(d, (r ? (unsigned)ASYNCORE__ASK_R : 0) |
                         (w ? (unsigned)ASYNCORE__ASK_W : 0));
    return true;
}

/* From the answers and the state of the channel to what is armed. */
static unsigned
interest(const struct asyncore_dispatcher *d)
{
    if (d->accepting) {
        bool on = asyncore__has(d, ASYNCORE__ASK_R) &&
                  !asyncore__has(d, ASYNCORE__RESTING);
        return on ? ASYNCORE__READ : 0;
    }
    if (!d->connected && !d->connecting &&
        asyncore__has(d, ASYNCORE__STREAM)) {
        return 0; /* a socket that is nothing yet: the kernel would call it
                     hung up */
    }
    if (asyncore__has(d, ASYNCORE__LINGERING)) {
        return ASYNCORE__READ;
    }
    if (asyncore__has(d, ASYNCORE__TOLD) && d->error < 0) {
        return 0; /* it is lost: there is nothing to wait for */
    }
    unsigned mask = 0;
    /* Who has a readable() of his own knows what the output is made of. */
    bool paused =
        asyncore__has(d, ASYNCORE__PAUSED) && d->ops->readable == NULL;
    if (asyncore__has(d, ASYNCORE__ASK_R) && !d->closing && !paused &&
        !asyncore__has(d, ASYNCORE__EOF | ASYNCORE__TOLD)) {
        mask |= ASYNCORE__READ;
    }
    if (asyncore__has(d, ASYNCORE__ASK_W) || d->connecting ||
        (d->closing && asyncore__has(d, ASYNCORE__BLOCKED))) {
        mask |= ASYNCORE__WRITE;
    }
    /* An event that nobody handles is not waited for: a peer could keep the
     * loop spinning with one urgent byte. */
    if (mask != 0 &&
        (d->ops->handle_expt != NULL || d->ops->handle_expt_event != NULL)) {
        mask |= ASYNCORE__PRI;
    }
    return mask;
}

/* Is it a connected stream socket of whose state there is nothing else to be
 * known, that receives as its class does and has no way of its own from
 * readiness to handle_read?  Nearly all are: deliver.c, socket.c and sender.c
 * then take the short way.  Whatever makes this untrue touches the channel,
 * or takes it out of its map, and thereby the mark away. */
bool
asyncore__is_plain(const struct asyncore_dispatcher *d)
{
    const unsigned unusual = ASYNCORE__TOLD | ASYNCORE__EOF | ASYNCORE__SHUT |
                             ASYNCORE__LINGERING | ASYNCORE__LOST |
                             ASYNCORE__TIMED;
    return d->connected && !d->accepting && !d->connecting && !d->closing &&
           asyncore__has(d, ASYNCORE__STREAM) && !asyncore__has(d, unusual) &&
           asyncore__is_socket(d) && d->ops->recv == NULL &&
           (d->ops->flags & ASYNCORE_ASK_ON_TOUCH) == 0 &&
           ASYNCORE__VIRTUAL(d, handle_read_event) ==
               asyncore_dispatcher_handle_read_event;
}

/* Tell the backend.  A channel that cannot be watched is told so.  Returns 0,
 * 1 if its handlers ran, ASYNCORE_EXIT_NOW. */
static int
arm(struct asyncore_dispatcher *d)
{
    int err = asyncore__arm(d->map, d->fd, interest(d));
    if (err >= 0) {
        asyncore__set(d,
                      asyncore__is_plain(d) ? (unsigned)ASYNCORE__PLAIN : 0);
        return 0;
    }
    asyncore__set(d, ASYNCORE__REFUSED);
    d->map->refused = true;
    err = err == -EBADF ? asyncore__end(d, err)
                        : asyncore__catch(d, asyncore__fail(d, "watch", err));
    return err < 0 ? err : 1;
}

/* Is there output to be sent, or the end of it? */
static bool
is_unfinished(const struct asyncore_dispatcher *d)
{
    if (!d->connected || asyncore__has(d, ASYNCORE__BLOCKED)) {
        return false;
    }
    bool shut = asyncore__has(d, ASYNCORE__SHUT) &&
                !asyncore__has(d, ASYNCORE__SHUT_DONE);
    bool close =
        d->closing && !asyncore__has(d, ASYNCORE__LINGERING | ASYNCORE__TOLD);
    return shut || close || asyncore__has(d, ASYNCORE__DRAINED) ||
           asyncore__pending(d);
}

static int
flush(struct asyncore_dispatcher *d)
{
    return asyncore__catch(d, asyncore__output_flush(d));
}

/* At the end of the pass, without a look at the interest: that is for the next
 * one, if there is one. */
int
asyncore__interest_flush(struct asyncore_map *map)
{
    for (size_t n = map->ntouched; n > 0 && map->ntouched > 0; n--) {
        struct asyncore_dispatcher *d = take(map);
        if (asyncore__has(d, ASYNCORE__CLOSED | ASYNCORE__CHANGED)) {
            append(map, d); /* there is more to be seen to */
        }
        if (!asyncore__in_map(d) || !is_unfinished(d)) {
            continue;
        }
        int rc = flush(d);
        if (asyncore__in_map(d) && is_unfinished(d)) {
            asyncore__touch_output(d);
        }
        if (rc < 0 || map->exiting) {
            return ASYNCORE_EXIT_NOW;
        }
    }
    return 0;
}

static int
update(struct asyncore_dispatcher *d)
{
    if (!asyncore__in_map(d)) {
        return 0;
    }
    if (asyncore__has(d, ASYNCORE__LOST)) {
        int rc = asyncore__end(d, d->error);
        return rc < 0 ? rc : 1;
    }
    if (asyncore__has(d, ASYNCORE__UNSENT)) {
        int rc = asyncore__output_unsent(d);
        return rc < 0 ? rc : 1;
    }
    /* What was queued since the last wait goes out, in one piece. */
    int ran = 0;
    if (is_unfinished(d)) {
        ran = 1;
        int rc = flush(d);
        if (rc < 0 || !asyncore__in_map(d)) {
            return rc < 0 ? rc : 1;
        }
    }
    if (!asyncore__has(d, ASYNCORE__CHANGED)) {
        return ran;
    }
    asyncore__unset(d, ASYNCORE__CHANGED);
    /* The predicates of a class that has none are the library's own, and
     * cheap; those of a class that is asked in every pass will be. */
    if (!asyncore__is_asked(d) && !ask(d)) {
        return 1;
    }
    int rc = arm(d);
    return rc != 0 ? rc : ran;
}

/* Once a pass, so that the loop does not spin while it lasts. */
void
asyncore__interest_retry(struct asyncore_map *map)
{
    if (!map->refused) {
        return;
    }
    map->refused = false;
    for (size_t i = 0; i < map->all.len; i++) {
        struct asyncore_dispatcher *d = map->all.at[i];
        if (d != NULL && asyncore__has(d, ASYNCORE__REFUSED)) {
            asyncore__unset(d, ASYNCORE__REFUSED);
            asyncore__touch(d);
        }
    }
}

int
asyncore__interest_ask(struct asyncore_map *map)
{
    /* Those that a predicate makes are asked in the next pass. */
    size_t len = map->asked.len;
    for (size_t i = 0; i < len && i < map->asked.len; i++) {
        struct asyncore_dispatcher *d = map->asked.at[i];
        if (d == NULL || !ask(d)) {
            continue;
        }
        int err = arm(d);
        if (err < 0 || map->exiting) {
            return ASYNCORE_EXIT_NOW;
        }
    }
    return 0;
}

int
asyncore__interest_apply(struct asyncore_map *map)
{
    /* Handlers that run here may touch others; who is touched after the second
     * round keeps the pass from waiting, and is seen to in the next. */
    bool again = true;
    for (int round = 0; round < 2 && again; round++) {
        again = false;
        for (size_t n = map->ntouched; n > 0 && map->ntouched > 0; n--) {
            struct asyncore_dispatcher *d = take(map);
            if (asyncore__has(d, ASYNCORE__CLOSED)) {
                append(map, d);
            }
            else if (update(d) != 0) {
                again = true;
            }
        }
        if (map->exiting) {
            return ASYNCORE_EXIT_NOW;
        }
    }
    return 0;
}

/* ---- the sweep ---- */

static void
destroy(struct asyncore_dispatcher *d)
{
    void (*fn)(struct asyncore_dispatcher *) = d->ops->destroy;
    bool owned = asyncore__has(d, ASYNCORE__OWNED);
    if (d->asyncore__family == ASYNCORE__ADDR_OTHER) {
        asyncore__set_addr(d, NULL); /* the one that is not in the channel */
    }
    if (asyncore__class_of(d)->fini != NULL) {
        asyncore__class_of(d)->fini(d);
    }
    asyncore__free(d->asyncore__rare);
    d->asyncore__rare = NULL;
    asyncore__set(d, ASYNCORE__DESTROYED);
    if (fn != NULL) {
        fn(d); /* a channel in the caller's memory may be gone now */
    }
    if (owned) {
        asyncore__make_dead(d);
        asyncore__free(d);
    }
}

void
asyncore__sweep(struct asyncore_map *map)
{
    map->depth++; /* a pass inside of a `destroy` leaves the rest to us */
    bool again = true;
    while (again && map->closed > 0) {
        again = false;
        for (size_t n = map->ntouched; n > 0 && map->ntouched > 0; n--) {
            struct asyncore_dispatcher *d = take(map);
            if (asyncore__has(d, ASYNCORE__CLOSED) && d->asyncore__pins == 0) {
                map->closed--;
                destroy(d);
                again = true;
            }
            else {
                append(map, d);
            }
        }
    }
    map->depth--;
}
