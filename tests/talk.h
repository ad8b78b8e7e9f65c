/* SPDX-License-Identifier: MIT */
/* talk.h - a recorded chat, as kit.h's `struct chan` is a recorded channel.
 *
 * It writes what it is told into the trace, in lines "NAME.HANDLER", then
 * reacts as the test says.  Bytes are shown as they are, with the others than
 * plain ones as \r, \n, \xHH. */
#ifndef TALK_H
#define TALK_H

#include "asynchat.h"
#include "kit.h"

/* The trace is as follows; the first two only without `quiet`.
 *
 *   NAME.collect "BYTES"
 *   NAME.found "MESSAGE"        what had been collected (found alone with
 *                               `keep`: nobody has asked for it)
 *   NAME.too_long
 *   NAME.close[ ERROR], NAME.error ERROR OPERATION, NAME.drain,
 *   NAME.connect, NAME.eof, NAME.timeout, NAME.destroy
 */
struct talk {
    struct asynchat chat;
    struct asynchat_ops ops;
    char name[16];
    int peer;   /* the other end of the pair, the test's; or -1 */
    bool quiet; /* trace neither collect nor found */
    bool keep;  /* found does not ask for the data */
    /* After what it does by itself: keeping what is collected; asking for it
     * (into .message); closing; telling super. */
    int (*on_collect)(struct talk *t, const char *data, size_t len);
    int (*on_found)(struct talk *t);
    int (*on_too_long)(struct talk *t);
    int (*on_close)(struct talk *t); /* instead of closing */
    int (*on_error)(struct talk *t); /* instead of super */
    int (*on_drain)(struct talk *t);
    int (*on_connect)(struct talk *t);
    int (*on_timeout)(struct talk *t); /* instead of super */
    struct text in;                    /* all that was collected */
    struct asyncore_bytes message;     /* of the last found */
    struct asyncore_error failed;
    unsigned collected, found, closed, errors, drains, destroyed;
    int value; /* the test's own use */
    struct talk *other;
    struct talk *next; /* in the list of those to free */
};

#define T(t) (&(t)->chat.base)
struct talk *talk_of(struct asynchat *chat);

/* What its class overrides, beyond found_terminator, handle_close,
 * handle_error, handle_drain, handle_connect, handle_timeout, destroy. */
enum {
    TALK_COLLECT = 1,  /* collect_incoming_data; it calls super */
    TALK_TOO_LONG = 2, /* handle_too_long */
    TALK_EOF = 4       /* handle_eof */
};

/* Make one, on one end of a fresh pair; talk_setup()'s map has it, and
 * talk_teardown() frees it. */
struct talk *talk_new(const char *name, unsigned flags);
struct talk *talk_open(const char *name, unsigned flags);
struct talk *talk_open_on(const char *name, unsigned flags, int family);
int talk_try(struct talk *t, int fd);
/* The peer sends text, and a pass delivers it. */
void talk_hear(struct talk *t, const char *text);
void talk_hear_bytes(struct talk *t, const void *data, size_t len);
/* What the peer can read now, appended; false at the end of the stream. */
bool talk_read(struct talk *t, struct text *ret);
/* … is exactly this text. */
#define assert_heard(t, want) talk_assert_heard(t, want, __FILE__, __LINE__)
void talk_assert_heard(struct talk *t, const char *want, const char *file,
                       int line);
void talk_close_peer(struct talk *t);

/* The kit's set-up, with the two calls that its world lacks: pread and
 * sendfile, counted, failing and cut short on demand. */
struct talk_files {
    unsigned long preads, sendfiles;
    int pread_code, sendfile_code; /* < 0: the results */
    size_t most;                   /* bytes that one call moves */
};
extern struct talk_files talk_files;

int talk_setup(void **state);
int talk_teardown(void **state);
#define TALK_TEST(fn) \
    cmocka_unit_test_setup_teardown(fn, talk_setup, talk_teardown)

#endif
