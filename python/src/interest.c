/* SPDX-License-Identifier: MIT */
/* interest.c - who waits for what, and telling the core.
 *
 * Of a channel that overrides nothing, and whose attributes nobody can change
 * unnoticed, it is known; others are asked (ask.c). */
#include "registry.h"

/* ---- what is known ---- */

int
interest_has_output(const struct klass *k, struct channel *ch)
{
    if ((k->facts & KLASS_WRITES_ALWAYS) != 0) {
        return 1;
    }
    int connected = channel_connected(ch);
    if (connected <= 0) {
        return connected < 0 ? -1 : 1;
    }
    if ((k->facts & KLASS_WRITES_FIFO) != 0) {
        return chat_has_output(k, ch);
    }
    if ((k->facts & KLASS_OUT_BUFFER) == 0 || !ch->has_output ||
        (channel_output(ch) != NULL && channel_output(ch)->odd != NULL)) {
        return -1;
    }
    return sender_pending(ch) > 0;
}

bool
interest_writable(const struct klass *k, struct channel *ch, bool *ret)
{
    const unsigned known =
        KLASS_WRITES_ALWAYS | KLASS_WRITES_BUFFER | KLASS_WRITES_FIFO;
    if ((k->facts & known) == 0 || (k->facts & KLASS_FLAGS) == 0 ||
        instance_get(k, (PyObject *)ch, k->st->names.writable) != NULL) {
        return false;
    }
    int writable = interest_has_output(k, ch);
    int accepting = channel_accepting(ch);
    *ret = writable > 0 && accepting == 0;
    return writable >= 0 && accepting >= 0;
}

bool
interest_readable(const struct klass *k, struct channel *ch)
{
    return (k->facts & KLASS_READABLE) != 0 &&
           instance_get(k, (PyObject *)ch, k->st->names.readable) == NULL;
}

/* ---- telling the core ---- */

int
registry_invalid(struct watch *w)
{
    struct registry *reg = w->reg;
    if (w->invalid) {
        return 0;
    }
    if (asyncore__reserve(&reg->invalid, &reg->invalid_cap, reg->ninvalid + 1,
                          sizeof(struct watch *)) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    reg->invalid[reg->ninvalid++] = w;
    w->invalid = true;
    return 0;
}

static void
forget_file(struct watch *w)
{
    struct registry *reg = w->reg;
    if (reg->core->slots[w->fd].armed != 0) {
        asyncore__arm(reg->core, w->fd, 0);
        reg->armed--;
    }
    reg->core->slots[w->fd].generation++;
    w->fresh = false;
}

int
interest_arm(struct watch *w)
{
    struct registry *reg = w->reg;
    bool urgent = reg->use_poll ? w->readable : w->urgent;
    unsigned mask = (w->readable ? (unsigned)ASYNCORE__READ : 0) |
                    (w->writable ? (unsigned)ASYNCORE__WRITE : 0) |
                    (urgent ? (unsigned)ASYNCORE__PRI : 0);
    if (reg->waiting) { /* another thread is: what it has must not move */
        registry_touch(w);
        return 0;
    }
    if (w->fresh) {
        forget_file(w);
    }
    bool was = reg->core->slots[w->fd].armed != 0;
    w->settled = true;
    if (mask == reg->core->slots[w->fd].armed) {
        return 0;
    }
    int err = asyncore__arm(reg->core, w->fd, mask);
    w->settled = err >= 0;
    if (err == -EBADF) {
        return registry_invalid(w);
    }
    if (err < 0) {
        errno = -err;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    reg->armed += mask != 0;
    reg->armed -= was;
    return 0;
}

/* ---- the touched ---- */

int
interest_update(struct watch *w)
{
    if (!w->channel) {
        return registry_ask(w, true);
    }
    PyObject *self = watch_object(w);
    struct channel *ch = channel_of(self);
    const struct klass *k = klass_of(self);
    bool writable = false;
    bool known =
        interest_readable(k, ch) && interest_writable(k, ch, &writable);
    bool ask = channel_is_exposed(self) || !known;
    if (registry_ask(w, ask) < 0 || ask) {
        return ask ? 0 : -1;
    }
    w->readable = w->urgent = true;
    w->writable = writable;
    return interest_arm(w);
}

bool
interest_notice(struct registry *reg)
{
    klass_changed(reg->st);
    if (reg->klass_state == reg->st->klass_changes) {
        return false;
    }
    reg->klass_state = reg->st->klass_changes;
    registry_touch_all(reg);
    return true;
}

int
interest_apply(struct registry *reg, uint64_t last)
{
    for (size_t i = 0; i < reg->nlate; i++) {
        asyncore__arm(reg->core, reg->late[i], 0);
    }
    reg->nlate = 0;
    int next = -1;
    for (int fd = reg->touched_first; fd >= 0; fd = next) {
        struct watch *w = reg->by_fd[fd];
        if (w == NULL || !w->touched) {
            break; /* a finaliser has taken it out: the rest in the next pass
                    */
        }
        next = w->after;
        if (w->seq > last) {
            continue;
        }
        registry_untouch(w);
        if (interest_update(w) < 0) {
            registry_touch(w);
            return -1;
        }
    }
    return 0;
}
