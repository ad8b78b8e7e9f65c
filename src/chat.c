/* SPDX-License-Identifier: MIT */
/* chat.c - class async_chat: what is received, cut at the terminators.
 *
 * The bytes are looked at where they were received, in the map's buffer;
 * chat->asynchat__in is what is left of them, and advances before each handler
 * is called, so that a handler may do anything: set another terminator, feed
 * or read more, run the loop, discard, close, detach.  What must outlive the
 * event is copied then: a message that is not complete, or input that nobody
 * looked at because a handler left the loop. */
#include "internal.h"

#include "asynchat.h"

#define BUFFER_SIZE ((size_t)65536)

/* Bits of asynchat__flags. */
enum {
    FEEDING = 1,  /* a handler may be looking at our buffers */
    SKIPPING = 2, /* the rest of a message that was too long */
    STEADY = 4    /* cut_plain() knows what is in the chat */
};

/* ---- birth and identity ---- */

static struct asynchat *
chat_of(struct asyncore_dispatcher *d)
{
    return asyncore_container_of(d, struct asynchat, base);
}

struct asynchat *
asynchat_from(struct asyncore_dispatcher *d)
{
    return asyncore__isinstance(d, &asyncore__chat_class) ? chat_of(d) : NULL;
}

static inline bool
valid(const struct asynchat *chat)
{
    return chat != NULL && asyncore__valid(&chat->base) &&
           chat->base.asyncore__class == ASYNCORE__CHAT;
}

static int
check_open(const struct asynchat *chat)
{
    return !valid(chat) ? -EINVAL : chat->base.fd < 0 ? -EBADF : 0;
}

static const struct asynchat_ops no_ops;

static const struct asyncore_ops *
base_ops(const struct asynchat_ops *ops)
{
    return ops != NULL ? &ops->base : &no_ops.base;
}

static const struct asynchat_ops *
ops_of(const struct asynchat *chat)
{
    return (const struct asynchat_ops *)(const void *)chat->base.ops;
}

static void
set_defaults(struct asynchat *chat)
{
    chat->ac_in_buffer_size = BUFFER_SIZE;
    chat->ac_out_buffer_size = BUFFER_SIZE;
}

int
asynchat_init(struct asynchat *chat, const struct asynchat_ops *ops, int fd,
              struct asyncore_map *map)
{
    int err = asyncore__init(chat != NULL ? &chat->base : NULL,
                             &asyncore__chat_class, sizeof *chat,
                             base_ops(ops), map, asyncore_set_socket, fd);
    if (err >= 0) {
        set_defaults(chat);
    }
    return err;
}

int
asynchat_new(const struct asynchat_ops *ops, int fd, struct asyncore_map *map,
             struct asynchat **ret)
{
    int err;
    struct asynchat *chat =
        asyncore__new(&asyncore__chat_class, sizeof *chat, base_ops(ops), map,
                      asyncore_set_socket, fd, &err);
    if (chat != NULL) {
        set_defaults(chat);
        if (ret != NULL) {
            *ret = chat;
        }
    }
    return err;
}

/* ---- memory that a handler may still be looking at ---- */

/* Blocks are freed when no handler is below us; the newest is the first. */
struct asynchat__block {
    struct asynchat__block *next;
    char data[];
};

static char *
block_new(struct asynchat *chat, size_t size)
{
    struct asynchat__block *block =
        size <= SIZE_MAX - sizeof *block
            ? asyncore__realloc(NULL, sizeof *block + size)
            : NULL;
    if (block == NULL) {
        return NULL;
    }
    block->next = chat->asynchat__blocks;
    chat->asynchat__blocks = block;
    return block->data;
}

/* Free the blocks that are not in use: all but the stash, if input is left in
 * it, and the delimiter's. */
static void
free_blocks(struct asynchat *chat)
{
    struct asynchat__block **at = &chat->asynchat__blocks;
    while (*at != NULL) {
        struct asynchat__block *block = *at;
        bool used = block->data == (char *)chat->asynchat__term.failure ||
                    (block->data == chat->asynchat__stash &&
                     chat->asynchat__in.len > 0);
        if (used) {
            at = &block->next;
        }
        else {
            *at = block->next;
            asyncore__free(block);
        }
    }
}

static bool
feeding(const struct asynchat *chat)
{
    return (chat->asynchat__flags & FEEDING) != 0;
}

/* ---- the terminator ---- */

static void
copy_to(char *to, const char *from, size_t at, size_t len)
{
    if (len > 0) {
        memcpy(to, from + at, len);
    }
}

/* Keep input in memory of our own: the bytes held back, what is left, and more
 * that comes after it. */
static int
stash(struct asynchat *chat, const char *more, size_t more_len)
{
    size_t held = chat->asynchat__held, rest = chat->asynchat__in.len;
    char *data = block_new(chat, held + rest + more_len);
    if (data == NULL) {
        return -ENOMEM;
    }
    /* Message bytes that are owed came before what is held back. */
    size_t first = chat->asynchat__owed.len;
    copy_to(data, chat->asynchat__in.data, 0, first);
    copy_to(data + first, chat->asynchat__term.data, 0, held);
    copy_to(data + first + held, chat->asynchat__in.data, first, rest - first);
    copy_to(data + held + rest, more, 0, more_len);
    chat->asynchat__stash = data;
    chat->asynchat__in = (struct asyncore_bytes){data, held + rest + more_len};
    chat->asynchat__held = 0;
    return 0;
}

static int resume_later(struct asynchat *chat);

/* What is yet to be cut, or how, is not what cut_plain() thinks. */
static void
unsettle(struct asynchat *chat)
{
    chat->asynchat__flags &= ~(unsigned)STEADY;
}

/* The bytes held back are of the old terminator: whether they are message now
 * must be looked at anew, before what follows them. */
static int
unhold(struct asynchat *chat)
{
    if (chat->asynchat__held == 0) {
        return 0;
    }
    int err = stash(chat, NULL, 0);
    if (err >= 0 && !feeding(chat)) {
        err = resume_later(chat);
    }
    return err;
}

/* The blocks of the old terminator are freed by the caller, for the new one is
 * among them. */
static int
set_kind(struct asynchat *chat, enum asynchat_terminator_kind kind,
         size_t count)
{
    if (!valid(chat)) {
        return -EINVAL;
    }
    int err = unhold(chat);
    if (err >= 0) {
        unsettle(chat);
        chat->asynchat__term.kind = (unsigned char)kind;
        chat->asynchat__term.data = NULL;
        chat->asynchat__term.failure = NULL;
        chat->asynchat__term.len = 0;
        chat->asynchat__left = count;
    }
    return err;
}

static int
set_counted(struct asynchat *chat, enum asynchat_terminator_kind kind,
            size_t count)
{
    int err = set_kind(chat, kind, count);
    if (err >= 0 && !feeding(chat)) {
        free_blocks(chat);
    }
    return err;
}

int
asynchat_set_terminator_none(struct asynchat *chat)
{
    return set_counted(chat, ASYNCHAT_NONE, 0);
}

int
asynchat_set_terminator_count(struct asynchat *chat, size_t count)
{
    return set_counted(chat, count > 0 ? ASYNCHAT_COUNT : ASYNCHAT_NONE,
                       count);
}

/* One that fits into the chat. */
static int
set_few(struct asynchat *chat, const void *delimiter, size_t len)
{
    char copy[sizeof chat->asynchat__term.few]; /* it may be the old one's */
    memcpy(copy, delimiter, len);
    int err = set_kind(chat, ASYNCHAT_DELIMITER, 0);
    if (err < 0) {
        return err;
    }
    memcpy(chat->asynchat__term.few, copy, len);
    chat->asynchat__term.data = chat->asynchat__term.few;
    chat->asynchat__term.failure = chat->asynchat__term.few_failure;
    return 0;
}

/* A longer one: a block with its failure function, then its bytes. */
static int
set_many(struct asynchat *chat, const void *delimiter, size_t len)
{
    size_t head = len * sizeof(uint32_t);
    char *block = block_new(chat, head + len);
    if (block == NULL) {
        return -ENOMEM;
    }
    memcpy(block + head, delimiter, len);
    int err = set_kind(chat, ASYNCHAT_DELIMITER, 0);
    if (err < 0) {
        return err;
    }
    chat->asynchat__term.data = block + head;
    chat->asynchat__term.failure = (uint32_t *)(void *)block;
    return 0;
}

int
asynchat_set_terminator(struct asynchat *chat, const void *delimiter,
                        size_t len)
{
    if (!valid(chat) || (delimiter == NULL && len > 0) ||
        len > UINT32_MAX / (sizeof(uint32_t) + 1)) {
        return -EINVAL;
    }
    if (len == 0) {
        return asynchat_set_terminator_none(chat);
    }
    int err = len <= sizeof chat->asynchat__term.few
                  ? set_few(chat, delimiter, len)
                  : set_many(chat, delimiter, len);
    if (err < 0) {
        return err;
    }
    chat->asynchat__term.len = len;
    asyncore__match_prepare(chat->asynchat__term.data, len,
                            chat->asynchat__term.failure);
    if (!feeding(chat)) {
        free_blocks(chat);
    }
    return 0;
}

struct asynchat_terminator
asynchat_get_terminator(const struct asynchat *chat)
{
    struct asynchat_terminator term = {ASYNCHAT_NONE, NULL, 0};
    if (valid(chat)) {
        term.kind = (enum asynchat_terminator_kind)chat->asynchat__term.kind;
        term.data = chat->asynchat__term.data;
        term.len = term.kind == ASYNCHAT_COUNT ? chat->asynchat__left
                                               : chat->asynchat__term.len;
    }
    return term;
}

/* ---- collecting ---- */

/* The rest of a line that a read has cut finds room in the first allocation;
 * long messages grow by doubling. */
#define INCOMING_MIN ((size_t)240)

static int
grow_incoming(struct asynchat *chat, size_t len)
{
    size_t cap = chat->asynchat__incoming.cap;
    size_t want = cap > SIZE_MAX / 2 ? SIZE_MAX : cap * 2;
    want = want < INCOMING_MIN ? INCOMING_MIN : want;
    want = want < len ? len : want;
    char *data = asyncore__realloc(chat->asynchat__incoming.data, want);
    if (data == NULL) {
        return -ENOMEM;
    }
    chat->asynchat__incoming.data = data;
    chat->asynchat__incoming.cap = want;
    return 0;
}

static int
append_incoming(struct asynchat *chat, const char *data, size_t len)
{
    size_t was = chat->asynchat__incoming.len;
    if (len > SIZE_MAX - was || (len > chat->asynchat__incoming.cap - was &&
                                 grow_incoming(chat, was + len) < 0)) {
        return -ENOMEM;
    }
    memcpy(chat->asynchat__incoming.data + was, data, len);
    chat->asynchat__incoming.len = was + len;
    return 0;
}

/* What is only viewed so far, into memory of our own. */
static int
settle(struct asynchat *chat)
{
    struct asyncore_bytes view = chat->asynchat__view;
    chat->asynchat__view = (struct asyncore_bytes){NULL, 0};
    return view.len > 0 ? append_incoming(chat, view.data, view.len) : 0;
}

/* Do the bytes stay where they are until the event is over? */
static bool
stays(const struct asynchat *chat, const char *data)
{
    return feeding(chat) && chat->asynchat__part.len > 0 &&
           data >= chat->asynchat__part.data &&
           data < chat->asynchat__part.data + chat->asynchat__part.len;
}

int
asynchat_collect_incoming_data(struct asynchat *chat, const void *data,
                               size_t len)
{
    if (!valid(chat) || (data == NULL && len > 0)) {
        return -EINVAL;
    }
    if (len == 0) {
        return 0;
    }
    struct asyncore_bytes *view = &chat->asynchat__view;
    unsettle(chat);
    if (chat->asynchat__incoming.len == 0 && stays(chat, data)) {
        if (view->len == 0) {
            *view = (struct asyncore_bytes){data, len};
            return 0;
        }
        if (view->data + view->len == (const char *)data) {
            view->len += len;
            return 0;
        }
    }
    int err = settle(chat);
    return err < 0 ? err : append_incoming(chat, data, len);
}

struct asyncore_bytes
asynchat_get_data(struct asynchat *chat)
{
    struct asyncore_bytes none = {NULL, 0};
    if (!valid(chat)) {
        return none;
    }
    struct asyncore_bytes data = chat->asynchat__view;
    if (chat->asynchat__incoming.len > 0) {
        data.data = chat->asynchat__incoming.data;
        data.len = chat->asynchat__incoming.len;
        chat->asynchat__incoming.len = 0;
    }
    chat->asynchat__view = none;
    chat->asynchat__length = 0;
    return data;
}

int
asynchat_set_max_message(struct asynchat *chat, size_t max)
{
    if (!valid(chat)) {
        return -EINVAL;
    }
    unsettle(chat);
    chat->asynchat__max = max;
    return 0;
}

static void
forget_message(struct asynchat *chat)
{
    chat->asynchat__view = (struct asyncore_bytes){NULL, 0};
    chat->asynchat__incoming.len = 0;
}

static int
too_long(struct asynchat *chat)
{
    struct asyncore_dispatcher *d = &chat->base;
    const struct asynchat_ops *ops = ops_of(chat);
    forget_message(chat);
    chat->asynchat__flags |= SKIPPING;
    if (ops->handle_too_long == NULL) {
        return asyncore__fail(d, "handle_too_long", -EMSGSIZE);
    }
    return asyncore__ran(d, "handle_too_long", ops->handle_too_long(chat));
}

/* Hand on a part of a message.  Like found(), returns 0 or
 * ASYNCORE_EXIT_NOW: an error has been told. */
static int
collect(struct asynchat *chat, const char *data, size_t len)
{
    struct asyncore_dispatcher *d = &chat->base;
    const struct asynchat_ops *ops = ops_of(chat);
    if (len == 0 || (chat->asynchat__flags & SKIPPING) != 0) {
        return 0;
    }
    int rc;
    chat->asynchat__length += len;
    bool ends = chat->asynchat__term.kind != ASYNCHAT_NONE ||
                chat->asynchat__owed.found;
    if (chat->asynchat__max > 0 && ends &&
        chat->asynchat__length > chat->asynchat__max) {
        rc = too_long(chat);
    }
    else if (ops->collect_incoming_data == NULL) {
        rc = asynchat_collect_incoming_data(chat, data, len);
    }
    else {
        rc = asyncore__ran(d, "collect_incoming_data",
                           ops->collect_incoming_data(chat, data, len));
    }
    return rc < 0 ? asyncore__catch(d, rc) : 0;
}

static inline int
tell_found(struct asynchat *chat)
{
    struct asyncore_dispatcher *d = &chat->base;
    const struct asynchat_ops *ops = ops_of(chat);
    chat->asynchat__length = 0;
    int rc =
        ops->found_terminator != NULL ? ops->found_terminator(chat) : -ENOSYS;
    if (rc < 0) {
        rc = asyncore__ran(d, "found_terminator", rc);
    }
    return rc < 0 ? asyncore__catch(d, rc) : 0;
}

static int
found(struct asynchat *chat)
{
    if ((chat->asynchat__flags & SKIPPING) == 0) {
        return tell_found(chat);
    }
    chat->asynchat__flags &= ~(unsigned)SKIPPING;
    chat->asynchat__length = 0;
    return 0;
}

/* ---- cutting ---- */

static void forget_input(struct asynchat *chat);

/* Take the first n bytes of what is left. */
static const char *
advance(struct asynchat *chat, size_t n)
{
    const char *data = chat->asynchat__in.data;
    if (n > 0) {
        chat->asynchat__in.data += n;
        chat->asynchat__in.len -= n;
    }
    return data;
}

/* What follows is decided here and handed on by pay(), one handler at a time:
 * whatever a handler does, the rest is in the chat, in its order. */
static bool
owes(const struct asynchat *chat)
{
    return chat->asynchat__owed.found ||
           (chat->asynchat__owed.released | chat->asynchat__owed.len) > 0;
}

static void
owe_all(struct asynchat *chat)
{
    chat->asynchat__owed.len = chat->asynchat__in.len;
}

static void
owe_count(struct asynchat *chat)
{
    size_t left = chat->asynchat__left, len = chat->asynchat__in.len;
    size_t n = len < left ? len : left;
    chat->asynchat__left = left - n;
    chat->asynchat__owed.len = n;
    chat->asynchat__owed.term = 0;
    if (n == left) {
        /* Unless somebody sets it again, it has done its work. */
        chat->asynchat__term.kind = ASYNCHAT_NONE;
        chat->asynchat__owed.found = true;
    }
}

static void
owe_up_to_delimiter(struct asynchat *chat)
{
    struct asyncore__needle needle = {chat->asynchat__term.data,
                                      chat->asynchat__term.len,
                                      chat->asynchat__term.failure};
    struct asyncore__match m =
        asyncore__match(&needle, chat->asynchat__held, chat->asynchat__in.data,
                        chat->asynchat__in.len);
    chat->asynchat__owed.released = m.released;
    chat->asynchat__owed.len = m.len;
    chat->asynchat__owed.found = m.found;
    chat->asynchat__owed.term = m.used - m.len;
    chat->asynchat__held = m.held;
    if (!m.found) {
        /* What is held back now is the end of this part. */
        chat->asynchat__in.len = m.len;
        chat->asynchat__owed.term = 0;
    }
}

/* The released bytes are the delimiter's own: if they are in the chat itself,
 * a collector that sets another would change them under its hands. */
static int
pay_released(struct asynchat *chat)
{
    char copy[sizeof chat->asynchat__term.few];
    const char *data = chat->asynchat__term.data;
    size_t len = chat->asynchat__owed.released;
    chat->asynchat__owed.released = 0;
    if (data == chat->asynchat__term.few) {
        memcpy(copy, data, len);
        data = copy;
    }
    return collect(chat, data, len);
}

static int
pay(struct asynchat *chat)
{
    if (chat->asynchat__owed.released > 0) {
        return pay_released(chat);
    }
    if (chat->asynchat__owed.len > 0) {
        size_t len = chat->asynchat__owed.len;
        chat->asynchat__owed.len = 0;
        return collect(chat, advance(chat, len), len);
    }
    chat->asynchat__owed.found = false;
    advance(chat, chat->asynchat__owed.term);
    return found(chat);
}

/* What most conversations are: short delimiters, of which nothing came in an
 * earlier part, and nobody who wants to see the parts of a message. */
static bool
is_plain(const struct asynchat *chat)
{
    return chat->asynchat__term.data == chat->asynchat__term.few &&
           chat->asynchat__flags == FEEDING && chat->asynchat__held == 0 &&
           (chat->asynchat__view.len | chat->asynchat__incoming.len) == 0 &&
           ops_of(chat)->collect_incoming_data == NULL;
}

/* Is it still, and nothing else has changed what is yet to be cut? */
static inline bool
is_steady(const struct asynchat *chat, const struct asyncore_ops *ops)
{
    return chat->asynchat__flags == (FEEDING | STEADY) &&
           chat->asynchat__view.len == 0 && chat->base.ops == ops &&
           !chat->base.closing && !chat->base.map->exiting;
}

/* What STEADY promises: whoever changes any of this takes it away. */
static inline void
check_steady(const struct asynchat *chat, const char *begin, const char *end,
             size_t term_len)
{
    asyncore__must(chat->asynchat__in.data == begin &&
                       chat->asynchat__in.len == (size_t)(end - begin),
                   "the input is where it was");
    asyncore__must(chat->asynchat__term.data == chat->asynchat__term.few &&
                       chat->asynchat__term.len == term_len,
                   "the delimiter is what it was");
    asyncore__must(!owes(chat) && chat->asynchat__held == 0 &&
                       chat->asynchat__incoming.len == 0,
                   "nothing else comes before it");
}

/* Hand on whole messages, as long as they are plain.  Returns false if what is
 * left begins with no such message. */
static bool
cut_plain(struct asynchat *chat, int *ret)
{
    if (!is_plain(chat)) {
        return false;
    }
    const struct asyncore_ops *ops = chat->base.ops;
    const char *begin = chat->asynchat__in.data;
    const char *end = begin + chat->asynchat__in.len;
    size_t term_len = chat->asynchat__term.len;
    size_t most = chat->asynchat__max > 0 ? chat->asynchat__max : SIZE_MAX;
    int rc = 0;
    struct asyncore__ends ends;
    asyncore__ends_init(&ends, begin);
    chat->asynchat__flags |= STEADY;
    while (rc >= 0 && is_steady(chat, ops) && begin < end) {
        check_steady(chat, begin, end, term_len);
        const char *after = asyncore__next_end(&ends, chat->asynchat__term.few,
                                               term_len, begin, end);
        if (after == NULL || (size_t)(after - begin) - term_len > most) {
            unsettle(chat);
            return false;
        }
        chat->asynchat__view.data = begin;
        chat->asynchat__view.len = (size_t)(after - begin) - term_len;
        chat->asynchat__in.data = begin = after;
        chat->asynchat__in.len = (size_t)(end - after);
        rc = tell_found(chat);
    }
    unsettle(chat);
    *ret = rc;
    return true;
}

/* Closing and discarding leave nothing to cut. */
static int
cut(struct asynchat *chat)
{
    int rc = 0;
    while (rc >= 0 && (owes(chat) || chat->asynchat__in.len > 0)) {
        if (chat->base.closing) {
            forget_input(chat); /* nobody is to hear of it any more */
        }
        else if (owes(chat)) {
            rc = pay(chat);
        }
        else if (chat->asynchat__term.kind == ASYNCHAT_NONE) {
            owe_all(chat);
        }
        else if (chat->asynchat__term.kind == ASYNCHAT_COUNT) {
            owe_count(chat);
        }
        else if (!cut_plain(chat, &rc)) {
            owe_up_to_delimiter(chat);
        }
        if (chat->base.map->exiting) {
            rc = ASYNCORE_EXIT_NOW;
        }
    }
    return rc;
}

/* ---- feeding ---- */

/* Input that a handler left over when it left the loop. */
static int
resume(struct asyncore_map *map, void *arg)
{
    struct asynchat *chat = arg;
    (void)map;
    chat->asynchat__resume = 0;
    return asynchat_feed(chat, NULL, 0);
}

static int
resume_later(struct asynchat *chat)
{
    if (chat->asynchat__resume > 0) {
        return 0;
    }
    int64_t id = asyncore_call_later(chat->base.map, 0, resume, chat);
    chat->asynchat__resume = id > 0 ? id : 0;
    return id > 0 ? 0 : (int)id;
}

/* What is left over is copied, for the buffer it is in is not ours. */
static int
keep_rest(struct asynchat *chat)
{
    int err = settle(chat);
    if (err >= 0 && chat->asynchat__in.len > 0) {
        err = stash(chat, NULL, 0);
    }
    return err;
}

/* Bytes are lost: the conversation is over. */
static int
give_up(struct asynchat *chat, int err)
{
    struct asyncore_dispatcher *d = &chat->base;
    int rc = asyncore__catch(d, asyncore__fail(d, "collect", err));
    asyncore_close(d);
    return rc;
}

/* No handler of ours is below any more: what need not stay is freed. */
static void
end_feeding(struct asynchat *chat)
{
    chat->asynchat__flags &= ~(unsigned)FEEDING;
    if (chat->asynchat__incoming.len == 0 &&
        chat->asynchat__incoming.data != NULL) {
        asyncore__free(chat->asynchat__incoming.data);
        chat->asynchat__incoming.data = NULL;
        chat->asynchat__incoming.cap = 0;
    }
    if (chat->asynchat__blocks != NULL) {
        free_blocks(chat);
    }
}

/* Put the bytes behind those that are there. */
static int
take_in(struct asynchat *chat, const char *data, size_t len)
{
    if (chat->asynchat__in.len > 0 || owes(chat)) {
        int err = len > 0 ? stash(chat, data, len) : 0;
        if (err >= 0) {
            chat->asynchat__part = chat->asynchat__in;
        }
        return err;
    }
    /* Each by itself: what is written in two parts is slow to read in one. */
    chat->asynchat__in.data = chat->asynchat__part.data = data;
    chat->asynchat__in.len = chat->asynchat__part.len = len;
    return 0;
}

int
asynchat_feed(struct asynchat *chat, const void *data, size_t len)
{
    int rc = check_open(chat);
    if (rc < 0 || (data == NULL && len > 0)) {
        return rc < 0 ? rc : -EINVAL;
    }
    struct asyncore_dispatcher *d = &chat->base;
    struct asyncore_bytes outer_part = chat->asynchat__part;
    bool inner = feeding(chat);
    rc = take_in(chat, data, len);
    if (rc < 0) {
        return asyncore__fail(d, "feed", rc);
    }
    struct asyncore__life life = asyncore__life(d);
    struct asyncore_map *map = asyncore__enter(d);
    chat->asynchat__flags |= FEEDING;
    rc = cut(chat);
    int err = asyncore__same(d, life) ? keep_rest(chat) : 0;
    if (inner) {
        unsettle(chat);
        chat->asynchat__part = outer_part; /* it goes on with what is left */
    }
    else {
        end_feeding(chat);
        if (err >= 0 && d->fd >= 0 &&
            (chat->asynchat__in.len > 0 || owes(chat))) {
            err = resume_later(chat);
        }
    }
    if (err < 0) {
        int rc2 = give_up(chat, err);
        rc = rc < 0 ? rc : rc2;
    }
    asyncore__leave(d, map);
    return rc;
}

struct asyncore_bytes
asynchat_unread(struct asynchat *chat)
{
    struct asyncore_bytes rest = {NULL, 0};
    if (valid(chat)) {
        (void)unhold(chat); /* without memory: all but those few bytes */
        rest = chat->asynchat__in;
    }
    return rest;
}

/* The timer that resumes is the map's. */
static void
leaving(struct asyncore_dispatcher *d)
{
    struct asynchat *chat = chat_of(d);
    if (chat->asynchat__resume > 0) {
        asyncore_cancel(d->map, chat->asynchat__resume);
        chat->asynchat__resume = 0;
    }
}

static void
entered(struct asyncore_dispatcher *d)
{
    struct asynchat *chat = chat_of(d);
    if ((chat->asynchat__in.len > 0 || owes(chat)) && !feeding(chat)) {
        int err = resume_later(chat);
        if (err < 0) {
            asyncore__catch(d, asyncore__fail(d, "add_channel", err));
        }
    }
}

static void
forget_input(struct asynchat *chat)
{
    unsettle(chat);
    chat->asynchat__in = (struct asyncore_bytes){NULL, 0};
    chat->asynchat__held = 0;
    memset(&chat->asynchat__owed, 0, sizeof chat->asynchat__owed);
    chat->asynchat__length = 0;
    chat->asynchat__flags &= ~(unsigned)SKIPPING;
    leaving(&chat->base);
    forget_message(chat);
}

int
asynchat_discard_buffers(struct asynchat *chat)
{
    if (!valid(chat)) {
        return -EINVAL;
    }
    forget_input(chat);
    if (chat->base.fd >= 0) {
        asyncore__touch(&chat->base);
    }
    asyncore__output_clear(&chat->base);
    return 0;
}

/* ---- output ---- */

/* Most of what is pushed follows something that was pushed in the same event:
 * the channel is to be flushed already, and the bytes find room behind those.
 * Returns false, and has done nothing, if there is more to it. */
static inline bool
push_behind(struct asynchat *chat, const struct iovec *iov, int n)
{
    const struct asyncore_dispatcher *d = &chat->base;
    struct asyncore__output *out = &chat->asynchat__out;
    unsigned flags = d->asyncore__flags;
    return (flags & (ASYNCORE__TOUCHED | ASYNCORE__SHUT)) ==
               ASYNCORE__TOUCHED &&
           !d->closing &&
           asyncore__outq_add(&out->queue, asyncore__limits_of(out)->high, iov,
                              n);
}

static int
push_first(struct asynchat *chat, const struct iovec *iov, int n)
{
    size_t len = 0;
    for (int i = 0; i < n; i++) {
        if ((iov[i].iov_base == NULL && iov[i].iov_len > 0) ||
            iov[i].iov_len > SIZE_MAX - len) {
            return -EINVAL;
        }
        len += iov[i].iov_len;
    }
    int err = asyncore__output_check(&chat->base, len);
    if (err < 0 || len == 0) {
        return err;
    }
    err = asyncore__outq_appendv(&chat->asynchat__out.queue,
                                 &chat->base.map->spares, iov, n, len);
    if (err < 0) {
        return asyncore__fail(&chat->base, "push", err);
    }
    asyncore__output_queued(&chat->base);
    return 0;
}

int
asynchat_push(struct asynchat *chat, const void *data, size_t len)
{
    struct iovec iov = {(void *)(uintptr_t)data, len};
    int err = check_open(chat);
    return err < 0                      ? err
           : push_behind(chat, &iov, 1) ? 0
                                        : push_first(chat, &iov, 1);
}

int
asynchat_pushv(struct asynchat *chat, const struct iovec *iov, int n)
{
    int err = check_open(chat);
    if (err < 0 || n < 0 || n > 1024 || (iov == NULL && n > 0)) {
        return err < 0 ? err : -EINVAL;
    }
    return push_behind(chat, iov, n) ? 0 : push_first(chat, iov, n);
}

int
asynchat_push_owned(struct asynchat *chat, void *data, size_t len,
                    asynchat_release_fn *release, void *arg)
{
    int err = check_open(chat);
    if (err < 0 || (data == NULL && len > 0)) {
        return err < 0 ? err : -EINVAL;
    }
    err = asyncore__output_check(&chat->base, len);
    if (err >= 0 && len == 0) {
        if (release != NULL) {
            release(data, 0, arg); /* as good as sent */
        }
        return 0;
    }
    if (err >= 0) {
        err = asyncore__outq_borrow(&chat->asynchat__out.queue, data, len,
                                    release, arg);
    }
    if (err < 0) {
        return asyncore__fail(&chat->base, "push", err);
    }
    asyncore__output_queued(&chat->base);
    return 0;
}

/* ---- the class ---- */

int
asynchat_handle_read(struct asyncore_dispatcher *d)
{
    struct asynchat *chat = asynchat_from(d);
    if (chat == NULL) {
        return -EINVAL;
    }
    struct asyncore_map *map = d->map;
    size_t want = chat->ac_in_buffer_size > 0 ? chat->ac_in_buffer_size : 1;
    size_t size = want;
    char *buffer = asyncore__buffer_take(map, &size);
    if (buffer == NULL) {
        return asyncore__fail(d, "recv", -ENOMEM);
    }
    ssize_t n = asyncore_recv(d, buffer, want);
    int rc = n > 0 ? asynchat_feed(chat, buffer, (size_t)n) : (int)n;
    if (n > 0 && rc == -ENOMEM) {
        rc = give_up(chat, rc); /* nobody else has these bytes */
    }
    asyncore__buffer_give(map, buffer, size);
    return rc;
}

int
asynchat_handle_write(struct asyncore_dispatcher *d)
{
    struct asynchat *chat = asynchat_from(d);
    int err = check_open(chat);
    return err < 0 ? err : asyncore__output_flush(d);
}

int
asynchat_handle_close(struct asyncore_dispatcher *d)
{
    return asyncore_close(d);
}

bool
asynchat_writable(struct asyncore_dispatcher *d)
{
    return asyncore__valid(d) &&
           (d->connecting || asyncore__has(d, ASYNCORE__BLOCKED));
}

static ssize_t
chat_send(struct asyncore_dispatcher *d, const void *data, size_t len)
{
    int err = asynchat_push(asynchat_from(d), data, len);
    return err < 0 ? err : (ssize_t)len;
}

/* The connection's input goes with it; memory stays until the end, for a
 * handler may have closed the chat and still look at the last message. */
static void
closed(struct asyncore_dispatcher *d)
{
    forget_input(chat_of(d));
}

static void
fini(struct asyncore_dispatcher *d)
{
    struct asynchat *chat = chat_of(d);
    chat->asynchat__term.failure = NULL;
    asyncore__free(chat->asynchat__incoming.data);
    free_blocks(chat);
}

static const struct asyncore_ops chat_ops = {
    .readable = asyncore_dispatcher_readable,
    .writable = asynchat_writable,
    .handle_read = asynchat_handle_read,
    .handle_write = asynchat_handle_write,
    .handle_expt = asyncore_dispatcher_handle_expt,
    .handle_connect = asyncore_dispatcher_handle_connect,
    .handle_accept = asyncore_dispatcher_handle_accept,
    .handle_accepted = asyncore_dispatcher_handle_accepted,
    .handle_close = asynchat_handle_close,
    .handle_error = asyncore_dispatcher_handle_error,
    .handle_timeout = asyncore_dispatcher_handle_timeout,
    .handle_read_event = asyncore_dispatcher_handle_read_event,
    .handle_write_event = asyncore_dispatcher_handle_write_event,
    .handle_expt_event = asyncore_dispatcher_handle_expt_event,
    .handle_connect_event = asyncore_dispatcher_handle_connect_event,
    .send = chat_send,
    .recv = asyncore_dispatcher_recv,
    .log_info = asyncore_dispatcher_log_info,
};

const struct asyncore__class asyncore__chat_class = {
    .name = "asynchat",
    .number = ASYNCORE__CHAT,
    .parent = &asyncore__dispatcher_class,
    .ops = &chat_ops,
    .queues = true,
    .output = offsetof(struct asynchat, asynchat__out),
    .closed = closed,
    .leaving = leaving,
    .entered = entered,
    .fini = fini,
};
