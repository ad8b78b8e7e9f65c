/* SPDX-License-Identifier: MIT */
/* kit.h - what the tests share: a map that must come out clean, sockets, a
 * world and an allocator that count and fail on demand, a log and a trace to
 * compare as text.
 *
 * Each test runs between kit_setup() and kit_teardown(), see KIT_TEST.  The
 * teardown fails it if a channel was not destroyed exactly once, or if
 * memory or a descriptor was not given back.  A test may use the other parts
 * through the one object `kit`. */
#ifndef KIT_H
#define KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "internal.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- text that grows ---- */

struct text {
    char *at; /* terminated, never NULL after the first append */
    size_t len, cap;
};

void text_append(struct text *text, const char *data, size_t len);
void text_clear(struct text *text);
const char *text_get(const struct text *text); /* "" for an empty one */

/* ---- the world that counts and fails ---- */

#define KIT_CALLS(X)                    \
    X(SOCKET, socket)                   \
    X(BIND, bind)                       \
    X(LISTEN, listen)                   \
    X(ACCEPT, accept)                   \
    X(CONNECT, connect)                 \
    X(SHUTDOWN, shutdown)               \
    X(GETSOCKOPT, getsockopt)           \
    X(SETSOCKOPT, setsockopt)           \
    X(GETSOCKNAME, getsockname)         \
    X(GETPEERNAME, getpeername)         \
    X(RECV, recv)                       \
    X(RECVFROM, recvfrom)               \
    X(SEND, send)                       \
    X(SENDTO, sendto)                   \
    X(SENDV, sendv)                     \
    X(READ, read)                       \
    X(WRITEV, writev)                   \
    X(DUP, dup)                         \
    X(SET_NONBLOCKING, set_nonblocking) \
    X(CLOSE, close)                     \
    X(OPEN_RESERVE, open_reserve)       \
    X(RESOLVE, resolve)                 \
    X(NOW, now)                         \
    X(SELECT, select)                   \
    X(POLL, poll)                       \
    X(EPOLL_CREATE, epoll_create)       \
    X(EPOLL_CTL, epoll_ctl)             \
    X(EPOLL_WAIT, epoll_wait)           \
    X(WAKE_OPEN, wake_open)             \
    X(WAKE_SIGNAL, wake_signal)         \
    X(WAKE_DRAIN, wake_drain)           \
    X(URING_SETUP, uring_setup)         \
    X(URING_REGISTER, uring_register)   \
    X(URING_SUBMIT, uring_submit)       \
    X(URING_WAIT, uring_wait)           \
    X(URING_MAP, uring_map)

enum kit_call {
#define KIT_ENUM(upper, lower) KIT_##upper,
    KIT_CALLS(KIT_ENUM)
#undef KIT_ENUM
    KIT_NCALLS,
    KIT_ANY = KIT_NCALLS /* in a fault: whichever, but for now() */
};

const char *kit_call_name(enum kit_call call);

/* The calls from the nth that match (from 1, counted since it was planned),
 * `times` of them, fail with `code`. */
struct kit_fault {
    enum kit_call call;
    int fd; /* -1 = any */
    unsigned long nth, times;
    int code;
    unsigned long seen; /* calls that matched */
    unsigned long hits; /* … and failed */
};

struct kit_world {
    struct asyncore__world table; /* first */
    unsigned long calls[KIT_NCALLS];
    unsigned long total; /* of them, but for now(), which costs nothing */
    struct kit_fault faults[8];
    size_t nfaults;
    size_t max_in, max_out; /* most bytes that a call reads, writes */
    int64_t timeout;        /* of the last wait */
    /* A clock that stands still but for waits that find nothing: these take
     * no time, and it goes on by their timeout.  A wait for ever that finds
     * nothing is a failure. */
    bool manual;
    int64_t time;
    /* Called before each call; its negative result is the call's. */
    int (*hook)(enum kit_call call, int fd);
    enum kit_call last_failed; /* by a fault */
};

/* Plan a failure; the result tells of its hits until kit_heal(). */
struct kit_fault *kit_fail(enum kit_call call, int fd, unsigned long nth,
                           unsigned long times, int code);
/* No failures, caps and hooks any more. */
void kit_heal(void);
/* Forget what was counted. */
void kit_count_anew(void);
/* The kit's call in which the backend of kit.map waits. */
enum kit_call kit_wait_call(void);
/* Turn the clock forward; makes it manual. */
void kit_advance(double seconds);

/* ---- the allocator that counts and fails ---- */

/* Every resize moves, what is freed is overwritten. */
struct kit_alloc {
    atomic_ulong live;    /* blocks */
    atomic_ulong count;   /* allocations and resizes, ever */
    atomic_ulong fail_at; /* the value of `count` that fails, 0 = none */
    atomic_ulong times;   /* … and how many from there on */
};

/* The nth allocation from now on fails, and the next ones, `times` in all. */
void kit_fail_alloc(unsigned long nth, unsigned long times);

/* ---- a recorded channel ---- */

enum kit_event {
    ON_READABLE,
    ON_WRITABLE,
    ON_READ,
    ON_WRITE,
    ON_EXPT,
    ON_CONNECT,
    ON_ACCEPT,
    ON_CLOSE,
    ON_ERROR,
    ON_EOF,
    ON_TIMEOUT,
    ON_DRAIN,
    ON_NEVENTS
};

/* What its class overrides, beyond handle_read, handle_connect,
 * handle_accepted, handle_close, handle_error, handle_timeout, handle_drain
 * and destroy. */
enum {
    REC_WRITE = 1,
    REC_EXPT = 2,
    REC_EOF = 4,
    REC_ASK = 8,    /* readable and writable: .want_read, .want_write */
    REC_TOUCH = 16, /* … with ASYNCORE_ASK_ON_TOUCH */
    REC_ACCEPT = 32,
    REC_QUIET = 64,  /* the predicates are not in the trace */
    REC_EVENTS = 128 /* the handle_*_event functions; they call super */
};

/* A channel that writes a line "NAME.HANDLER" into the trace for each of its
 * handlers, then reacts: as `react` says, or as follows.  handle_read
 * receives once, up to .chunk bytes, into .in; handle_close closes;
 * handle_error calls super; handle_accepted makes a recorded channel of the
 * same class and flags, NAME1, NAME2, …; others do nothing. */
struct chan {
    union {
        struct asyncore_dispatcher base;
        struct asyncore_dispatcher_with_send sender;
        struct asyncore_file_dispatcher file;
    } u;
    struct asyncore_ops ops;
    char name[16];
    int (*react[ON_NEVENTS])(struct chan *c);
    int (*accepted)(struct chan *c, int fd, const struct asyncore_addr *addr);
    bool want_read, want_write;
    size_t chunk;
    struct text in;
    struct asyncore_error failed; /* of the last handle_error */
    int reason;                   /* d->error in the last handle_close */
    struct chan *peer;            /* the test's own use */
    int value;                    /* the test's own use */
    bool is_sender;               /* as are those it accepts */
    bool opened;
    unsigned flags;
    unsigned born;     /* channels it accepted */
    struct chan *last; /* … the last of them */
    unsigned destroyed;
    unsigned events[ON_NEVENTS]; /* how often */
    struct chan *next;           /* the kit's list */
};

/* The channel of a recorded channel, and the other way round. */
#define D(c) (&(c)->u.base)
struct chan *chan_of(struct asyncore_dispatcher *d);

/* Make a recorded channel; the kit frees it.  fd -1: no descriptor yet.  A
 * failure fails the test; chan_try() leaves it to the caller. */
struct chan *chan_new(const char *name, unsigned flags);
struct chan *chan_open(const char *name, unsigned flags, int fd);
struct chan *chan_open_sender(const char *name, unsigned flags, int fd);
struct chan *chan_open_file(const char *name, unsigned flags, int fd);
/* … with a fresh socket, as create_socket gives it. */
struct chan *chan_socket(const char *name, unsigned flags, int family,
                         int type);
int chan_try(struct chan *c, int fd);
int chan_try_sender(struct chan *c, int fd);
int chan_try_file(struct chan *c, int fd);
/* A listener on a free port, and where it is. */
struct chan *chan_listen(const char *name, unsigned flags, int family);
int chan_port(struct chan *c);

/* Reactions to choose from. */
int react_close(struct chan *c);      /* itself */
int react_close_peer(struct chan *c); /* c->peer */
int react_nothing(struct chan *c);
int react_exit_now(struct chan *c);
int react_fail(struct chan *c); /* with the errno c->value */
int react_echo(struct chan *c); /* receive, send back */
int react_read(struct chan *c); /* what handle_read does by itself */

/* ---- the kit itself ---- */

struct kit {
    struct asyncore_map *map;
    struct kit_world world;
    struct kit_alloc alloc;
    struct text log;   /* lines "TYPE: MESSAGE\n" */
    struct text trace; /* lines "NAME.HANDLER\n" */
    struct chan *chans;
    unsigned char open_fds[4096];
};

extern struct kit kit;

int kit_setup(void **state);
int kit_teardown(void **state);
#define KIT_TEST(fn) \
    cmocka_unit_test_setup_teardown(fn, kit_setup, kit_teardown)

/* As KIT_TEST, with no map made. */
int kit_setup_bare(void **state);
#define KIT_BARE_TEST(fn) \
    cmocka_unit_test_setup_teardown(fn, kit_setup_bare, kit_teardown)

/* Close the channels of kit.map and free it; teardown does it anyway. */
void kit_free_map(void);

void kit_trace(const char *fmt, ...) ASYNCORE_PRINTF(1, 2);
/* The trace since the last look is exactly this text. */
#define assert_trace(want) kit_assert_trace(want, __FILE__, __LINE__)
void kit_assert_trace(const char *want, const char *file, int line);
/* A log line since the last clearing has this in it, or none has. */
#define assert_logged(part) kit_assert_logged(part, true, __FILE__, __LINE__)
#define assert_not_logged(part) \
    kit_assert_logged(part, false, __FILE__, __LINE__)
void kit_assert_logged(const char *part, bool want, const char *file,
                       int line);

/* One pass over kit.map that waits for nothing. */
void kit_pass(void);

/* Passes over kit.map until something is true; a bounded number. */
#define RUN_UNTIL(condition)                                          \
    do {                                                              \
        for (int kit_left = 2000; !(condition); kit_left--) {         \
            if (kit_left == 0) {                                      \
                fail_msg("it never came: %s; trace:\n%s", #condition, \
                         text_get(&kit.trace));                       \
            }                                                         \
            assert_int_equal(asyncore_poll(0.01, kit.map), 0);        \
        }                                                             \
    } while (0)

/* ---- descriptors ---- */

/* A connected pair of non-blocking stream sockets: AF_INET, AF_INET6 (skips
 * the test where there is none), AF_UNIX. */
void kit_pair(int family, int fd[2]);
/* A channel on the one, the other for the test to play the peer. */
struct chan *kit_pair_chan(const char *name, unsigned flags, int family,
                           int *ret_peer);
/* A listening socket on the loopback, and its port. */
int kit_listener(int family, int *ret_port);
/* A port that refuses connections, as long as *ret_fd is open. */
int kit_dead_port(int *ret_fd);
/* A blocking connection to a port of the loopback. */
int kit_connect(int port);
/* Write it all, or the test fails. */
void kit_write(int fd, const void *data, size_t len);
/* Write until it would block; returns how much that was. */
size_t kit_fill(int fd);
/* Append what there is to read without waiting.  Returns false at the end of
 * the stream, or when the connection was reset. */
bool kit_drain(int fd, struct text *ret);
/* Close so that the peer gets a reset (TCP). */
void kit_reset(int fd);
/* Smallest buffers, so that little fills them. */
void kit_shrink(int fd);
/* Can the next event at fd be had without waiting? */
bool kit_is_readable(int fd);
/* The n-th byte of a stream that tells when bytes are lost or doubled. */
char kit_byte(size_t n);
void kit_bytes(char *buf, size_t from, size_t len);

#endif
