/* SPDX-License-Identifier: MIT */
/* uring_store.c - what was received and not yet asked for, by descriptor.
 *
 * A part is a piece of a buffer of the ring, memory of its own, or a
 * connection that was accepted.  Whoever has parts, or has come to the end of
 * the stream, is a holder, and ready for reading in every pass.  What a
 * handler leaves behind is copied out before the next wait: so the buffers
 * are free whenever the kernel may fill them, and nobody's slowness is at the
 * expense of others. */
#include "uring.h"

/* ---- descriptors ---- */

int
asyncore__uring_reserve(struct asyncore__uring *u, int fd)
{
    size_t n = (size_t)fd + 1;
    if (n <= u->nconns) {
        return 0;
    }
    /* The lists first: whoever has a place has one there. */
    int err =
        asyncore__reserve(&u->holders, &u->holders_cap, n, sizeof *u->holders);
    if (err >= 0) {
        err = asyncore__reserve(&u->dirty, &u->dirty_cap, n, sizeof *u->dirty);
    }
    if (err >= 0) {
        err = asyncore__reserve(&u->events, &u->events_cap, n,
                                sizeof *u->events);
    }
    if (err >= 0) {
        err = asyncore__reserve(&u->conns, &u->conns_cap, n, sizeof *u->conns);
    }
    if (err >= 0) {
        u->nconns = n;
    }
    return err;
}

static void
hold(struct asyncore__uring *u, int fd)
{
    struct asyncore__conn *c = &u->conns[fd];
    if (c->holder == 0) {
        u->holders[u->nholders++] = fd;
        c->holder = (uint32_t)u->nholders;
    }
}

static void
unhold(struct asyncore__uring *u, int fd)
{
    struct asyncore__conn *c = &u->conns[fd];
    if (c->holder != 0 && !asyncore__uring_holds(c)) {
        int last = u->holders[--u->nholders];
        u->holders[c->holder - 1] = last;
        u->conns[last].holder = c->holder;
        c->holder = 0;
    }
}

/* ---- parts ---- */

int
asyncore__uring_append(struct asyncore__uring *u, int fd, char *base,
                       uint32_t start, uint32_t end, int32_t buffer)
{
    uint32_t index = u->free_received;
    if (index != 0) {
        u->free_received = u->received[index - 1].next;
    }
    else {
        int err = asyncore__reserve(&u->received, &u->received_cap,
                                    u->nreceived + 1, sizeof *u->received);
        if (err < 0) {
            return err;
        }
        index = (uint32_t)++u->nreceived;
    }
    u->received[index - 1] =
        (struct asyncore__received){base, start, end, 0, buffer};
    struct asyncore__conn *c = &u->conns[fd];
    if (c->first == 0) {
        c->first = index;
        c->offered = false;
    }
    else {
        u->received[c->last - 1].next = index;
    }
    c->last = index;
    hold(u, fd);
    return 0;
}

void
asyncore__uring_append_end(struct asyncore__uring *u, int fd, int code)
{
    u->conns[fd].end = code;
    hold(u, fd);
}

struct asyncore__received
asyncore__uring_shift(struct asyncore__uring *u, int fd)
{
    struct asyncore__conn *c = &u->conns[fd];
    uint32_t index = c->first;
    struct asyncore__received part = u->received[index - 1];
    c->first = part.next;
    u->received[index - 1].next = u->free_received;
    u->free_received = index;
    if (c->first == 0) {
        c->epoch = u->epoch;
        unhold(u, fd);
        if (c->shot == 0) {
            asyncore__uring_mark(u, fd);
        }
    }
    return part;
}

/* ---- buffers ---- */

static void
provide(struct asyncore__uring *u, int32_t i)
{
    struct asyncore__buffer *b = &u->buffers[i];
    *b = (struct asyncore__buffer){0};
    asyncore__ring_provide(u->ring, u->memory + (size_t)i * URING_BUFFER_SIZE,
                           URING_BUFFER_SIZE, (uint16_t)i);
}

void
asyncore__uring_unref(struct asyncore__uring *u, int32_t buffer)
{
    struct asyncore__buffer *b = &u->buffers[buffer];
    if (--b->refs == 0 && b->full && u->ring != NULL) {
        provide(u, buffer);
    }
}

/* To a ring that has none yet. */
void
asyncore__uring_provide(struct asyncore__uring *u)
{
    for (int32_t i = 0; i < URING_BUFFERS; i++) {
        if (u->buffers[i].refs == 0) {
            provide(u, i);
        }
        else {
            u->buffers[i].full = true;
        }
    }
}

void
asyncore__uring_release(struct asyncore__uring *u,
                        const struct asyncore__received *part)
{
    if (part->buffer >= 0) {
        asyncore__uring_unref(u, part->buffer);
    }
    else if (part->buffer == URING_HEAP) {
        asyncore__free(part->base);
    }
    else {
        u->world.below->close(u->world.below, (int)part->start);
    }
}

/* ---- taking ---- */

size_t
asyncore__uring_copy(struct asyncore__uring *u, int fd, char *to, size_t len,
                     bool keep)
{
    size_t done = 0;
    uint32_t index = u->conns[fd].first;
    while (index != 0 && done < len) {
        struct asyncore__received *part = &u->received[index - 1];
        size_t here = part->end - part->start;
        size_t n = here < len - done ? here : len - done;
        index = part->next;
        memcpy(to + done, part->base + part->start, n);
        done += n;
        if (keep) {
            continue;
        }
        part->start += (uint32_t)n;
        if (n == here) {
            struct asyncore__received gone = asyncore__uring_shift(u, fd);
            asyncore__uring_release(u, &gone);
        }
    }
    return done;
}

void
asyncore__uring_drop(struct asyncore__uring *u, int fd)
{
    while (u->conns[fd].first != 0) {
        struct asyncore__received part = asyncore__uring_shift(u, fd);
        asyncore__uring_release(u, &part);
    }
    u->conns[fd].end = 0;
    unhold(u, fd);
}

/* ---- what is left behind ---- */

/* The bytes that are in the ring, and in all. */
static size_t
count_bytes(const struct asyncore__uring *u, int fd, size_t *ret_in_ring)
{
    size_t all = 0;
    *ret_in_ring = 0;
    for (uint32_t i = u->conns[fd].first; i != 0;
         i = u->received[i - 1].next) {
        const struct asyncore__received *part = &u->received[i - 1];
        size_t n = part->end - part->start;
        all += part->buffer == URING_CONNECTION ? 0 : n;
        *ret_in_ring += part->buffer >= 0 ? n : 0;
    }
    return all;
}

int
asyncore__uring_hand_on(struct asyncore__uring *u, struct asyncore__uring *to,
                        int fd)
{
    struct asyncore__conn *c = &u->conns[fd];
    size_t in_ring, all = count_bytes(u, fd, &in_ring);
    int err = 0;
    if (all > 0) {
        char *data = asyncore__realloc(NULL, all);
        err = data != NULL ? asyncore__uring_append(to, fd, data, 0,
                                                    (uint32_t)all, URING_HEAP)
                           : -ENOMEM;
        if (err < 0) {
            asyncore__free(data);
            return err;
        }
        asyncore__uring_copy(u, fd, data, all, false);
    }
    while (err >= 0 && c->first != 0) {
        const struct asyncore__received *part = &u->received[c->first - 1];
        err = asyncore__uring_append(to, fd, NULL, part->start, 0,
                                     URING_CONNECTION);
        if (err >= 0) {
            (void)asyncore__uring_shift(u, fd);
        }
    }
    if (err >= 0 && c->end != 0) {
        asyncore__uring_append_end(to, fd, c->end);
    }
    return err;
}

static void
copy_out(struct asyncore__uring *u, int fd)
{
    struct asyncore__conn *c = &u->conns[fd];
    bool wanted = (c->want & ASYNCORE__READ) != 0;
    if (c->first == 0 || (wanted && !c->offered)) {
        return; /* nobody has been told of it */
    }
    size_t in_ring, all = count_bytes(u, fd, &in_ring);
    if (wanted) {
        c->direct = URING_DIRECT_READS; /* it does not keep up */
    }
    asyncore__uring_mark(u, fd);
    if (in_ring == 0) {
        return;
    }
    char *data = asyncore__realloc(NULL, all);
    if (data == NULL) {
        return; /* it keeps its buffers until the next pass */
    }
    asyncore__uring_copy(u, fd, data, all, false);
    /* There is a free part: of those that were just taken. */
    (void)asyncore__uring_append(u, fd, data, 0, (uint32_t)all, URING_HEAP);
    c->offered = true;
}

void
asyncore__uring_copy_out(struct asyncore__uring *u)
{
    for (size_t i = u->nholders; i > 0; i--) {
        /* Taking all of it moves the last holder to its place, and the
         * appending puts it to the end. */
        copy_out(u, u->holders[i - 1]);
    }
}
