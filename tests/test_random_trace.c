/* SPDX-License-Identifier: MIT */
/* test_random_trace.c - what no scenario foresees: random programs of peers
 * that write, end and reset, and of handlers that read, send, close, open,
 * pause, move and nest.  The same program must have the same handlers called,
 * in the same order, and as many bytes heard, on every backend.
 *
 * A program is a number.  Whatever is decided in it comes from one generator,
 * in handlers, too: so where two backends part, their traces do from there
 * on.  What the kernel does by and by is waited for, in both directions, so
 * that nothing depends on how much else it has to do.
 *
 * io_uring may hand over in pieces what was left unread, or was received
 * before it was wanted, and then a program takes another course.  So it has
 * programs of its own, calm ones, in which handlers read all there is. */
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "kit.h"

enum {
    PROGRAMS = 60,
    STEPS = 60,
    CONNS = 6
};

struct conn {
    struct chan *c;        /* NULL: the place is free */
    int peer;              /* -1: it has closed */
    unsigned long written; /* by the peer, urgent bytes, too */
    bool ended, reset;     /* … its side */
    unsigned long heard;   /* by the peer */
};

static struct {
    uint64_t random;
    struct conn conns[CONNS];
    struct chan *listener;
    unsigned born, nested;
    bool calm;
    bool running; /* a pass */
} prog;

static unsigned
below(unsigned n)
{
    prog.random ^= prog.random << 13;
    prog.random ^= prog.random >> 7;
    prog.random ^= prog.random << 17;
    return (unsigned)(prog.random >> 20) % n;
}

/* ---- channels ---- */

static bool
is_open(const struct conn *conn)
{
    return conn->c != NULL && !conn->c->destroyed && D(conn->c)->fd >= 0;
}

static struct conn *
conn_of(const struct chan *c)
{
    for (size_t i = 0; i < CONNS; i++) {
        if (prog.conns[i].c == c) {
            return &prog.conns[i];
        }
    }
    return NULL;
}

/* One with an open channel, or NULL. */
static struct conn *
any_conn(void)
{
    struct conn *conn = &prog.conns[below(CONNS)];
    return is_open(conn) ? conn : NULL;
}

static int act(struct chan *c);

static int
on_event(struct chan *c)
{
    return prog.nested > 3 ? react_read(c) : act(c);
}

static unsigned
any_flags(void)
{
    static const unsigned kinds[] = {
        0,         0,        0,       REC_EOF,
        REC_EOF,   REC_EXPT, REC_ASK, REC_ASK | REC_TOUCH,
        REC_EVENTS};
    return kinds[below(COUNT(kinds))] | REC_QUIET;
}

static void
adopt(struct conn *conn, struct chan *c, int peer)
{
    *conn = (struct conn){.c = c, .peer = peer};
    c->want_read = true;
    c->react[ON_READ] = c->react[ON_EOF] = on_event;
}

/* Its end is a reset, after which no port is kept in TIME_WAIT: there are not
 * so many. */
static void
linger_never(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
}

static void
open_conn(void)
{
    struct conn *conn = &prog.conns[below(CONNS)];
    if (conn->c != NULL) {
        return;
    }
    char name[16];
    int fd[2];
    snprintf(name, sizeof name, "c%u", ++prog.born);
    kit_pair(AF_INET, fd);
    linger_never(fd[0]);
    unsigned flags = any_flags();
    adopt(conn,
          below(2) > 0 ? chan_open(name, flags, fd[0])
                       : chan_open_sender(name, flags, fd[0]),
          fd[1]);
}

/* ---- what handlers do ---- */

static int
send_some(struct chan *c)
{
    struct conn *conn = conn_of(c);
    char bytes[40] = "";
    if (conn == NULL || conn->peer < 0 || conn->reset || !D(c)->connected) {
        return 0; /* when the answer comes is the kernel's affair */
    }
    ssize_t n = asyncore_send(D(c), bytes, 1 + below(sizeof bytes));
    kit_trace("%s.sent %zd", c->name, n);
    return 0;
}

static int
nest(void)
{
    prog.nested++;
    int rc = asyncore_poll(0, kit.map);
    prog.nested--;
    kit_trace("nested %d", rc);
    return 0;
}

static int
move(struct chan *c)
{
    int err = asyncore_del_channel(D(c));
    if (err >= 0 && below(2) > 0) {
        err = asyncore_add_channel(D(c), NULL);
    }
    return err;
}

static int
want(struct chan *c)
{
    c->want_read = below(2) > 0;
    return asyncore_touch(D(c));
}

static int
set_timeout(struct chan *c)
{
    static const double periods[] = {1, 3, ASYNCORE_FOREVER};
    return asyncore_set_timeout(D(c), periods[below(COUNT(periods))]);
}

/* One of many things, to this channel. */
static int
act_on(struct chan *c)
{
    unsigned what = below(16);
    if (prog.calm && (what == 3 || what == 4 || what > 7)) {
        what = 6; /* else something would stay unread */
    }
    switch (what) {
    case 0:
        return asyncore_close(D(c));
    case 1:
        return asyncore_close_when_done(D(c));
    case 2:
        return asyncore_shutdown(D(c));
    case 3:
        return move(c);
    case 4:
        return want(c);
    case 5:
        return set_timeout(c);
    case 6:
    case 7:
        return send_some(c);
    case 8:
        c->chunk = below(2) > 0 ? 1 + below(9) : 0;
        return 0;
    default:
        return prog.running ? react_read(c) : 0;
    }
}

/* To another one, if there is one. */
static void
act_on_other(struct chan *c)
{
    struct conn *other = any_conn();
    if (other != NULL) {
        kit_trace("%s by %s", other->c->name, c->name);
        (void)act_on(other->c);
    }
}

static int
act_calmly(struct chan *c)
{
    int rc = react_read(c);
    if (rc < 0 || D(c)->fd < 0) {
        return rc;
    }
    switch (below(10)) {
    case 0:
        return -EPROTO;
    case 1:
        return nest();
    case 2:
        open_conn();
        return 0;
    case 3:
    case 4:
        act_on_other(c);
        return 0;
    case 5:
    case 6:
        return act_on(c);
    default:
        return send_some(c);
    }
}

static int
act(struct chan *c)
{
    if (prog.calm) {
        return act_calmly(c);
    }
    switch (below(24)) {
    case 0:
        return 0;
    case 1:
        return -EPROTO;
    case 2:
        return ASYNCORE_EXIT_NOW;
    case 3:
        return nest();
    case 4:
        open_conn();
        return 0;
    case 5:
    case 6:
    case 7:
        act_on_other(c);
        return react_read(c);
    case 8:
    case 9:
    case 10:
        return act_on(c);
    case 11: {
        int rc = react_read(c);
        return rc < 0 || D(c)->fd < 0 ? rc : send_some(c);
    }
    default:
        return react_read(c);
    }
}

/* ---- what peers do ---- */

/* Has all that the peer did arrived? */
static bool
has_arrived(const struct conn *conn)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    getsockopt(D(conn->c)->fd, IPPROTO_TCP, TCP_INFO, &info, &len);
    bool ended = info.tcpi_state != 1 && info.tcpi_state != 4 &&
                 info.tcpi_state != 5; /* ESTABLISHED, FIN_WAIT1 and 2 */
    bool closed = info.tcpi_state == 7;
    return closed || (!conn->reset && (!conn->ended || ended) &&
                      info.tcpi_bytes_received >= conn->written);
}

/* Has all that the channel did arrived at its peer? */
static bool
has_been_heard(const struct conn *conn)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    int unsent = 0;
    if (is_open(conn)) {
        return ioctl(D(conn->c)->fd, SIOCOUTQ, &unsent) < 0 || unsent == 0;
    }
    getsockopt(conn->peer, IPPROTO_TCP, TCP_INFO, &info, &len);
    return info.tcpi_state == 7; /* closed: see linger_never() */
}

/* The peers read all that was sent to them. */
static void
peers_hear(void)
{
    for (size_t i = 0; i < CONNS; i++) {
        struct conn *conn = &prog.conns[i];
        struct text heard = {0};
        bool all = conn->peer < 0 || conn->c == NULL;
        while (!all) {
            all = has_been_heard(conn);
            kit_drain(conn->peer, &heard);
            sched_yield();
        }
        conn->heard += heard.len;
        text_clear(&heard);
    }
}

static void
await_arrival(const struct conn *conn)
{
    while (is_open(conn) && !has_arrived(conn)) {
        sched_yield();
    }
}

static void
peer_writes(struct conn *conn, int flags)
{
    char bytes[200] = "";
    size_t len = (flags & MSG_OOB) != 0 ? 1 : 1 + below(sizeof bytes);
    ssize_t n = send(conn->peer, bytes, len, flags | MSG_NOSIGNAL);
    conn->written += n > 0 ? (unsigned long)n : 0;
}

static void
peer_leaves(struct conn *conn, bool reset)
{
    if (reset) {
        kit_reset(conn->peer);
    }
    else {
        close(conn->peer);
    }
    conn->peer = -1;
    conn->ended = true;
    conn->reset |= reset;
}

static void
peer_acts(struct conn *conn)
{
    if (!is_open(conn) || conn->peer < 0) {
        return;
    }
    peers_hear(); /* who leaves with bytes unread resets */
    unsigned what = below(12);
    if (what == 0) {
        peer_leaves(conn, true);
    }
    else if (what == 1) {
        peer_leaves(conn, false);
    }
    else if (conn->ended) {
        return;
    }
    else if (what == 2) {
        shutdown(conn->peer, SHUT_WR);
        conn->ended = true;
    }
    else {
        peer_writes(conn, what == 3 && !prog.calm ? MSG_OOB : 0);
    }
    await_arrival(conn);
}

/* ---- the program ---- */

/* The channels that have gone make room for others. */
static void
bury(void)
{
    for (size_t i = 0; i < CONNS; i++) {
        struct conn *conn = &prog.conns[i];
        if (conn->c != NULL && !is_open(conn)) {
            kit_trace("%s's peer heard %lu", conn->c->name, conn->heard);
            if (conn->peer >= 0) {
                kit_reset(conn->peer);
            }
            *conn = (struct conn){.c = NULL, .peer = -1};
        }
    }
}

static void
run_pass(void)
{
    prog.running = true;
    kit_trace("-- pass %d", asyncore_poll(0, kit.map));
    prog.running = false;
    peers_hear();
    bury();
}

static void
step(void)
{
    struct conn *conn;
    switch (below(8)) {
    case 0:
        open_conn();
        break;
    case 1:
        conn = any_conn();
        if (conn != NULL) {
            kit_trace("on %s", conn->c->name);
            (void)act_on(conn->c);
            run_pass(); /* what was sent is on its way */
        }
        break;
    case 2:
        kit_advance(1);
        break;
    case 3:
        conn = any_conn();
        if (conn != NULL &&
            asyncore_map_get(kit.map, D(conn->c)->fd) == NULL) {
            asyncore_add_channel(D(conn->c), NULL);
        }
        break;
    default:
        peer_acts(&prog.conns[below(CONNS)]);
    }
    if (below(3) > 0) {
        run_pass();
    }
}

/* Returns the trace, which is the caller's. */
static char *
run_program(unsigned number, bool calm, const char *backend)
{
    memset(&prog, 0, sizeof prog);
    prog.calm = calm;
    prog.random = number * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < CONNS; i++) {
        prog.conns[i].peer = -1;
    }
    assert_int_equal(asyncore_map_create(backend, &kit.map), 0);
    kit_advance(0);
    for (int i = 0; i < STEPS; i++) {
        step();
    }
    kit_free_map();
    bury();
    char *trace = strdup(text_get(&kit.trace));
    text_clear(&kit.trace);
    return trace;
}

/* The beginning of the first line that differs. */
static const char *
parting(const char *a, const char *b)
{
    const char *line = a;
    for (; *a == *b && *a != '\0'; a++, b++) {
        line = *a == '\n' ? a + 1 : line;
    }
    return line;
}

static void
assert_as_poll(unsigned number, bool calm, const char *backend)
{
    char *want = run_program(number, calm, "poll");
    char *got = run_program(number, calm, backend);
    if (strcmp(got, want) != 0) {
        size_t at = (size_t)(parting(want, got) - want);
        size_t before = at < 600 ? 0 : at - 600;
        fail_msg("%sprogram %u on %s:\n%.*s--- poll:\n%.200s\n"
                 "--- here:\n%.200s",
                 calm ? "calm " : "", number, backend, (int)(at - before),
                 want + before, want + at, got + at);
    }
    free(got);
    free(want);
}

static void
every_backend_yields_the_same(void **state)
{
    (void)state;
    for (unsigned number = 1; number <= PROGRAMS; number++) {
        const char *const *backend = asyncore_backends();
        for (; *backend != NULL; backend++) {
            if (strcmp(*backend, "poll") != 0) {
                bool calm = strcmp(*backend, "io_uring") == 0;
                assert_as_poll(number, calm, *backend);
                if (calm) { /* the others need only come to their end */
                    free(run_program(number, false, *backend));
                }
            }
        }
    }
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        KIT_BARE_TEST(every_backend_yields_the_same),
    };
    return cmocka_run_group_tests_name("random_trace", tests, NULL, NULL);
}
