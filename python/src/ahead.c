/* SPDX-License-Identifier: MIT */
/* ahead.c - reading ahead, unseen.
 *
 * A program that reads 8 KiB of a long message is called for each 8 KiB of it,
 * and each time the kernel is.  Within the delivery of one event, what has
 * come in is looked at in one piece (MSG_PEEK), the program is called until
 * it has got all of it, and then as much is taken from the kernel without
 * being copied again (MSG_TRUNC).  Before the program can get at the socket in
 * any other way, exactly what it has got is taken; so it never finds anything
 * missing there, whatever it does with it: TLS, another process.  Who has the
 * socket object besides the channel gets none of this.  (Only who reads from
 * the descriptor by a number that he has noted before could tell.) */
#include <sys/socket.h>

#include "state.h"

static bool
is_allowed(const struct event *e, const struct direct *d)
{
    return e != NULL && e->greedy && d->type == SOCK_STREAM &&
           (d->family == AF_INET || d->family == AF_INET6) &&
           Py_REFCNT(d->sock) == 1 && e->thread == PyThread_get_thread_ident();
}

/* size: what the program asks for at a time. */
static bool
peek(struct event *e, struct state *st, int fd, size_t size)
{
    e->tried = true;
    e->ahead = pieces_peek(st, fd, size, &e->len);
    e->at = 0;
    e->fd = fd;
    if (e->ahead != NULL) {
        event_enlist(e);
    }
    return e->ahead != NULL;
}

void
ahead_sync(struct event *e)
{
    struct pieces *ahead = e->ahead;
    if (ahead == NULL) {
        return;
    }
    e->ahead = NULL;
    size_t left = e->at;
    while (left > 0) {
        ssize_t n = recv(e->fd, NULL, left, MSG_TRUNC);
        if (n <= 0) {
            break; /* reset meanwhile: there is nothing to take any more */
        }
        left -= (size_t)n;
    }
    pieces_give(klass_of(e->channel)->st, ahead);
}

void
ahead_stop(struct channel *ch)
{
    if (ch->event != NULL) {
        ahead_sync(ch->event);
    }
}

bool
ahead_has(const struct channel *ch)
{
    const struct event *e = ch->event;
    return e != NULL && e->ahead != NULL &&
           e->thread == PyThread_get_thread_ident();
}

PyObject *
ahead_serve(struct event *e, size_t size)
{
    size_t left = e->len - e->at;
    size_t n = size < left ? size : left;
    PyObject *data = pieces_get(e->ahead, e->at, n);
    if (data != NULL) {
        e->at += n;
    }
    if (e->at == e->len) {
        ahead_sync(e); /* before what is sent: the other end answers that */
    }
    return data;
}

PyObject *
ahead_recv(PyObject *self, const struct direct *d, size_t size)
{
    struct channel *ch = channel_of(self);
    struct event *e = ch->event;
    struct state *st = klass_of(self)->st;
    if (!is_allowed(e, d)) {
        ahead_stop(ch);
        return direct_recv_bytes(st, d->fd, size);
    }
    if (ch->bulk && !e->tried && pieces_fit(size)) {
        ch->bulk = peek(e, st, d->fd, size) && e->len > size;
    }
    if (e->ahead != NULL) {
        return ahead_serve(e, size);
    }
    PyObject *data = direct_recv_bytes(st, d->fd, size);
    bool full = data != NULL && (size_t)PyBytes_GET_SIZE(data) == size;
    e->full = full && pieces_fit(size) ? size : 0;
    return data;
}

/* Is the channel as it was when the event came, but for what it has read? */
static bool
is_reading(PyObject *self, const struct klass *k)
{
    const struct channel *ch = channel_of(self);
    const unsigned facts = KLASS_READABLE | KLASS_FLAGS | KLASS_RECV;
    return (k->facts & facts) == facts && !ch->exposed &&
           channel_connected(ch) > 0 &&
           instance_get(k, self, k->st->names.readable) == NULL;
}

bool
ahead_more(struct event *e, PyObject *self, size_t before)
{
    const struct klass *k = klass_of(self);
    if (!e->greedy || !is_reading(self, k)) {
        return false;
    }
    if (e->ahead != NULL) {
        return e->at > before;
    }
    struct direct d;
    if (e->full == 0 || e->tried || !socket_direct(channel_of(self), &d) ||
        !is_allowed(e, &d)) {
        return false;
    }
    channel_of(self)->bulk = peek(e, k->st, d.fd, e->full);
    return channel_of(self)->bulk;
}
