/* SPDX-License-Identifier: MIT */
/* output.c - the sending half of the classes that have a queue.
 *
 * What the kernel does not take waits in the queue for a write event; until
 * then the channel is BLOCKED, and the loop does not try.  Too long a queue
 * PAUSES reading, for what a channel reads is what makes it write. */
#include "internal.h"

/* Pieces of the queue that go out in one writev(). */
#define PIECES_PER_SEND 64

/* Asked of a source at once; sent by one channel in one pass, in fairness to
 * the others. */
#define PULL_MOST ((size_t)256 * 1024)
#define SENDS_PER_PASS 16

const struct asyncore_limits asyncore__default_limits = {
    .high = ASYNCORE_HIGH_WATER,
    .low = ASYNCORE_LOW_WATER,
    .max = ASYNCORE_MAX_OUTPUT,
};

size_t
asyncore_output_size(const struct asyncore_dispatcher *d)
{
    const struct asyncore__output *out =
        asyncore__valid(d) ? asyncore__output_of(d) : NULL;
    return out != NULL ? out->queue.len : 0;
}

void
asyncore__output_clear(struct asyncore_dispatcher *d)
{
    struct asyncore__output *out = asyncore__output_of(d);
    if (out != NULL) {
        asyncore__unset(d, ASYNCORE__PAUSED | ASYNCORE__BLOCKED |
                               ASYNCORE__DRAINED);
        asyncore__outq_clear(&out->queue);
    }
}

/* ---- limits ---- */

/* Pause reading, or resume it. */
static void
regulate(struct asyncore_dispatcher *d, const struct asyncore__output *out)
{
    if (asyncore__has(d, ASYNCORE__PAUSED)) {
        if (out->queue.len <= asyncore__limits_of(out)->low) {
            asyncore__unset(d, ASYNCORE__PAUSED);
            asyncore__set(d, ASYNCORE__DRAINED);
            asyncore__touch(d);
        }
    }
    else if (out->queue.len > asyncore__limits_of(out)->high) {
        asyncore__set(d, ASYNCORE__PAUSED);
        asyncore__touch(d);
    }
}

int
asyncore_set_limits(struct asyncore_dispatcher *d,
                    const struct asyncore_limits *limits)
{
    bool valid = asyncore__valid(d) && asyncore__class_of(d)->queues;
    if (!valid || (limits != NULL && (limits->low > limits->high ||
                                      limits->high > limits->max))) {
        return -EINVAL;
    }
    struct asyncore__output *out = asyncore__output_for(d);
    if (out == NULL) {
        return -ENOMEM;
    }
    out->limits = limits;
    if (d->fd >= 0) {
        regulate(d, out);
    }
    return 0;
}

/* ---- in ---- */

int
asyncore__output_check_all(struct asyncore_dispatcher *d, size_t len)
{
    const struct asyncore__output *out = asyncore__output_of(d);
    if (asyncore__has(d, ASYNCORE__SHUT) || d->closing) {
        return asyncore__fail(d, "send", -EPIPE);
    }
    size_t max = asyncore__limits_of(out)->max;
    size_t queued = out != NULL ? out->queue.len : 0;
    if (queued > max || len > max - queued) {
        return asyncore__fail(d, "send", -ENOBUFS);
    }
    return 0;
}

void
asyncore__output_queued(struct asyncore_dispatcher *d)
{
    const struct asyncore__output *out = asyncore__output_of(d);
    asyncore__touch_output(d);
    if (out->queue.len > asyncore__limits_of(out)->high) {
        regulate(d, out);
    }
}

/* ---- out ---- */

/* Send now; nothing is queued before it.  What follows an end of ours must
 * know what has become of it. */
static inline ssize_t
send_once(struct asyncore_dispatcher *d, const struct iovec *iov, int n)
{
    const struct asyncore__transport *transport = asyncore__transport_of(d);
    struct asyncore__world *w = d->map->world;
    if (transport != &asyncore__socket_transport || d->closing ||
        asyncore__has(d, ASYNCORE__SHUT)) {
        return n == 1 ? transport->send(d, iov[0].iov_base, iov[0].iov_len)
                      : transport->sendv(d, iov, n);
    }
    return n == 1 ? w->send_soon(w, d->fd, iov[0].iov_base, iov[0].iov_len)
                  : w->sendv_soon(w, d->fd, iov, n);
}

static ssize_t
send_bytes(struct asyncore_dispatcher *d, const struct iovec *iov, int n)
{
    ssize_t sent;
    do {
        sent = send_once(d, iov, n);
    } while (sent == -EINTR);
    asyncore__set(d, ASYNCORE__SERVED);
    return sent;
}

static size_t
total(const struct iovec *iov, int n)
{
    size_t len = 0;
    for (int i = 0; i < n; i++) {
        len += iov[i].iov_len;
    }
    return len;
}

/* The answer to a send of len bytes of the queue.  Returns 1: more could be
 * sent; 0: not now, or not any more; or an error. */
static int
sent_queued(struct asyncore_dispatcher *d, struct asyncore__outq *q,
            size_t len, ssize_t sent)
{
    if (sent == -EAGAIN || (sent >= 0 && (size_t)sent < len)) {
        asyncore__set(d, ASYNCORE__BLOCKED);
    }
    if (sent > 0) {
        asyncore__outq_consume(q, &d->map->spares, (size_t)sent);
    }
    if (sent < 0 && sent != -EAGAIN) {
        return asyncore__io_failed(d, "send", (int)sent);
    }
    return sent == (ssize_t)len;
}

/* One send of as much of the queue as fits into it. */
static int
send_queued(struct asyncore_dispatcher *d, struct asyncore__outq *q)
{
    struct iovec iov[PIECES_PER_SEND];
    int n = asyncore__outq_peek(q, iov, PIECES_PER_SEND);
    return sent_queued(d, q, total(iov, n), send_bytes(d, iov, n));
}

/* The queue begins with a source that has given no bytes: ask it. */
static int
pull(struct asyncore_dispatcher *d, struct asyncore__outq *q)
{
    struct asyncore__piece *piece = asyncore__outq_hold(q);
    struct iovec given = {NULL, 0};
    struct asyncore_map *map = asyncore__enter(d);
    ssize_t n = piece->source->pull(d, piece->arg, PULL_MOST, &given);
    asyncore__leave(d, map);
    if (!asyncore__outq_unhold(piece)) {
        return 0; /* the source has closed or discarded itself */
    }
    if (n != 0) {
        return n < 0 ? (int)n : 1;
    }
    if (given.iov_len == 0) {
        asyncore__outq_pop(q, piece);
    }
    else {
        piece->bytes = given.iov_base;
        piece->start = 0;
        piece->end = given.iov_len;
    }
    return 1;
}

/* Returns 0 when no more can be sent now, or an error. */
static int
send_all(struct asyncore_dispatcher *d, struct asyncore__outq *q)
{
    struct asyncore__life life = asyncore__life(d);
    for (int i = 0;; i++) {
        if (!asyncore__same(d, life) || asyncore__outq_empty(q) ||
            asyncore__has(d, ASYNCORE__BLOCKED)) {
            return 0;
        }
        if (q->head->busy) {
            return 0; /* it is being asked, further out */
        }
        if (i == SENDS_PER_PASS) {
            break;
        }
        bool dry = q->head->kind == ASYNCORE__SOURCE &&
                   q->head->start == q->head->end;
        int more = dry ? pull(d, q) : send_queued(d, q);
        if (more <= 0) {
            return more;
        }
    }
    /* Enough for this pass; the kernel will say at once that it takes more. */
    asyncore__set(d, ASYNCORE__BLOCKED);
    return 0;
}

static int
send_pending(struct asyncore_dispatcher *d, struct asyncore__output *out)
{
    bool was_blocked = asyncore__has(d, ASYNCORE__BLOCKED);
    struct asyncore__life life = asyncore__life(d);
    asyncore__unset(d, ASYNCORE__BLOCKED);
    int rc = send_all(d, &out->queue);
    if (!asyncore__same(d, life)) {
        return rc == -EAGAIN ? 0 : rc;
    }
    if (was_blocked != asyncore__has(d, ASYNCORE__BLOCKED)) {
        asyncore__touch(d); /* its interest changes */
    }
    if (rc < 0 && rc != -EAGAIN) {
        return rc;
    }
    regulate(d, out);
    return 0;
}

/* Is all there is one piece of copies, and nothing to follow from its being
 * sent?  Mostly it is. */
static inline bool
is_one_piece(const struct asyncore_dispatcher *d,
             const struct asyncore__output *out)
{
    return asyncore__has(d, ASYNCORE__PLAIN) &&
           !asyncore__has(d, ASYNCORE__PAUSED | ASYNCORE__DRAINED |
                                 ASYNCORE__BLOCKED) &&
           out != NULL && out->queue.head != NULL &&
           out->queue.head == out->queue.tail &&
           out->queue.head->kind == ASYNCORE__COPY;
}

static int
flush_one_piece(struct asyncore_dispatcher *d, struct asyncore__outq *q)
{
    const struct asyncore__piece *piece = q->head;
    struct iovec iov = {(void *)(uintptr_t)(piece->bytes + piece->start),
                        piece->end - piece->start};
    ssize_t n = send_bytes(d, &iov, 1);
    if (n == (ssize_t)iov.iov_len) {
        asyncore__outq_consume_only(q, &d->map->spares);
        return 0;
    }
    struct asyncore__life life = asyncore__life(d);
    int rc = sent_queued(d, q, iov.iov_len, n);
    if (asyncore__same(d, life)) {
        asyncore__touch(d); /* it is BLOCKED */
    }
    return rc < 0 ? rc : 0;
}

int
asyncore__output_flush(struct asyncore_dispatcher *d)
{
    struct asyncore__output *out = asyncore__output_of(d);
    if (is_one_piece(d, out)) {
        return flush_one_piece(d, &out->queue);
    }
    struct asyncore__life life = asyncore__life(d);
    int rc = 0;
    if (!d->connected || asyncore__has(d, ASYNCORE__UNSENT)) {
        return 0; /* … yet, or any more: nothing may follow a hole */
    }
    if (asyncore__pending(d)) {
        rc = send_pending(d, out);
    }
    if (rc >= 0 && asyncore__same(d, life) &&
        asyncore__has(d, ASYNCORE__DRAINED)) {
        asyncore__unset(d, ASYNCORE__DRAINED);
        bool over = d->closing || asyncore__has(d, ASYNCORE__SHUT);
        if (d->ops->handle_drain != NULL && !over) {
            rc = asyncore__run(d, "handle_drain", d->ops->handle_drain);
        }
    }
    if (asyncore__same(d, life) && !asyncore__pending(d)) {
        int rc2 = asyncore__flushed(d);
        rc = rc < 0 ? rc : rc2;
    }
    return rc;
}

/* The stream lacks bytes now, and that can't be mended. */
static ssize_t
torn(struct asyncore_dispatcher *d)
{
    int rc = asyncore__catch(d, asyncore__fail(d, "send", -ENOMEM));
    asyncore_close(d);
    asyncore__fail(d, "send", -ENOMEM);
    d->map->failed_told = true;
    return rc < 0 ? rc : -ENOMEM;
}

/* Queue what is left of the bytes after the first `done`. */
static ssize_t
keep(struct asyncore_dispatcher *d, const char *data, size_t len, size_t done)
{
    struct asyncore__output *out = asyncore__output_for(d);
    int err = out != NULL ? asyncore__outq_append(&out->queue, &d->map->spares,
                                                  data + done, len - done)
                          : -ENOMEM;
    if (err < 0) {
        return done > 0 ? torn(d) : asyncore__fail(d, "send", err);
    }
    if (d->connected && !asyncore__has(d, ASYNCORE__BLOCKED)) {
        asyncore__set(d, ASYNCORE__BLOCKED);
        asyncore__touch(d);
    }
    asyncore__output_queued(d);
    return (ssize_t)len;
}

ssize_t
asyncore__output_sent_part(struct asyncore_dispatcher *d, const void *data,
                           size_t len, ssize_t n)
{
    asyncore__set(d, ASYNCORE__SERVED);
    if (n == -EINTR) {
        return asyncore__output_send(d, data, len);
    }
    if (n < 0 && n != -EAGAIN) {
        return asyncore__io_failed(d, "send", (int)n);
    }
    return keep(d, data, len, n > 0 ? (size_t)n : 0);
}

ssize_t
asyncore__output_send(struct asyncore_dispatcher *d, const void *data,
                      size_t len)
{
    if (asyncore__has(d, ASYNCORE__TOLD) && d->error < 0) {
        return 0;
    }
    if (!d->connected || asyncore__pending(d) ||
        asyncore__has(d, ASYNCORE__UNSENT)) {
        return keep(d, data, len, 0);
    }
    struct iovec iov = {(void *)(uintptr_t)data, len};
    ssize_t n = send_bytes(d, &iov, 1);
    return n == (ssize_t)len ? n : asyncore__output_sent_part(d, data, len, n);
}

/* ---- what counted as sent and was not ---- */

void
asyncore__output_short(struct asyncore_dispatcher *d, const void *data,
                       size_t len)
{
    struct asyncore__output *out = asyncore__output_for(d);
    int err = out != NULL ? asyncore__outq_prepend(&out->queue,
                                                   &d->map->spares, data, len)
                          : -ENOMEM;
    if (err < 0) {
        asyncore__output_lost(d, err);
        return;
    }
    asyncore__set(d, ASYNCORE__BLOCKED);
    asyncore__touch(d);
    regulate(d, out);
}

void
asyncore__output_lost(struct asyncore_dispatcher *d, int code)
{
    if (!asyncore__has(d, ASYNCORE__TOLD)) {
        d->error = code;
        asyncore__set(d, ASYNCORE__UNSENT);
        asyncore__touch(d);
    }
}

int
asyncore__output_unsent(struct asyncore_dispatcher *d)
{
    int code = d->error;
    asyncore__unset(d, ASYNCORE__UNSENT);
    if (code == -ENOMEM) {
        return torn(d) == ASYNCORE_EXIT_NOW ? ASYNCORE_EXIT_NOW : 0;
    }
    d->error = 0;
    return asyncore__catch(d, asyncore__io_failed(d, "send", code));
}
