/* SPDX-License-Identifier: MIT */
/* test_torture.c - a scenario with channels of each class is played again and
 * again: every allocation in it, then every call to the world, fails once in
 * turn.
 *
 * Whatever fails: nothing crashes or leaks (the teardown sees to that), who
 * is cut off is told so, a receiver gets a front of what was sent, and all of
 * it if nobody was told of a failure. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>

#include "kit.h"

#define BLOCK ((size_t)2000)
#define BLOCKS 3
#define ECHO ((size_t)300)

static struct {
    char what[100];       /* is failing */
    struct chan *client;  /* a sender, over a unix socket … */
    struct chan *server;  /* … to this listener, which echoes */
    struct chan *caller;  /* a dispatcher, over TCP … */
    struct chan *answers; /* … to this one */
    struct chan *file;    /* reads a pipe */
    struct chan *udp[2];
    struct chan *asked[2];
    int pipe_end, asked_end[2];
    size_t taken; /* of what the client sent */
    bool connected;
    bool heals; /* in the middle, all is well again */
    unsigned timers, posts;
} play;

#define CHECK(condition)                                                  \
    do {                                                                  \
        if (!(condition)) {                                               \
            fail_msg("%s: not so: %s; trace:\n%s", play.what, #condition, \
                     text_get(&kit.trace));                               \
        }                                                                 \
    } while (0)

/* ---- the parts ---- */

static int
count_timer(struct asyncore_map *map, void *arg)
{
    (void)map;
    (void)arg;
    play.timers++;
    return 0;
}

static int
count_post(struct asyncore_map *map, void *arg)
{
    (void)map;
    (void)arg;
    play.posts++;
    return 0;
}

/* c->value: bytes of the echo that were taken for sending. */
static int
react_keep_and_echo(struct chan *c)
{
    char buf[ECHO];
    ssize_t n = asyncore_recv(D(c), buf, sizeof buf);
    if (n > 0) {
        text_append(&c->in, buf, (size_t)n);
        n = asyncore_send(D(c), buf, (size_t)n);
        c->value += n > 0 ? (int)n : 0;
    }
    return n < 0 ? (int)n : 0;
}

static int
react_finish(struct chan *c)
{
    return asyncore_close_when_done(D(c));
}

static int
react_say_hello(struct chan *c)
{
    ssize_t n = c->value == 0 ? asyncore_send(D(c), "hello", 5) : 0;
    c->value += n > 0; /* 5 bytes are never cut */
    return n < 0 ? (int)n : 0;
}

static int
react_read_and_close(struct chan *c)
{
    int err = react_read(c);
    if (c->in.len > 0) {
        asyncore_close(D(c));
    }
    return err;
}

static bool
make_socket(struct chan *c, int family, int type, bool sender)
{
    int err = sender ? chan_try_sender(c, -1) : chan_try(c, -1);
    if (err >= 0) {
        err = asyncore_create_socket(D(c), family, type);
        c->opened = err >= 0;
    }
    return err >= 0;
}

static bool
start_server(void)
{
    char name[60];
    static unsigned number; /* one that failed may have left its own */
    snprintf(name, sizeof name, "@asyncore-torture-%d-%u", (int)getpid(),
             number++);
    struct chan *s = play.server = chan_new("server", REC_EOF);
    s->react[ON_READ] = react_keep_and_echo;
    s->react[ON_EOF] = react_finish;
    play.client = chan_new("client", 0);
    return make_socket(s, AF_UNIX, SOCK_STREAM, true) &&
           asyncore_bind(D(s), name, 0) >= 0 &&
           asyncore_listen(D(s), 5) >= 0 &&
           make_socket(play.client, AF_UNIX, SOCK_STREAM, true) &&
           asyncore_connect(D(play.client), name, 0) >= 0;
}

static void
start_client(void)
{
    char block[BLOCK];
    play.connected = true;
    (void)asyncore_set_timeout(D(play.client), 0.5);
    for (int i = 0; i < BLOCKS; i++) {
        kit_bytes(block, play.taken, sizeof block);
        ssize_t n = asyncore_send(D(play.client), block, sizeof block);
        play.taken += n > 0 ? (size_t)n : 0;
    }
    (void)asyncore_shutdown(D(play.client));
}

static void
start_tcp(void)
{
    struct chan *l = play.answers = chan_new("answers", 0);
    struct chan *c = play.caller = chan_new("caller", REC_WRITE);
    struct asyncore_addr addr;
    l->react[ON_READ] = react_read_and_close;
    l->chunk = 1; /* it leaves some unread: a reset, for thousands of ports
                     that wait for their time to pass are a burden */
    c->react[ON_WRITE] = react_say_hello;
    if (make_socket(l, AF_INET, SOCK_STREAM, false) &&
        asyncore_set_reuse_addr(D(l)) >= 0 &&
        asyncore_bind(D(l), "127.0.0.1", 0) >= 0 &&
        asyncore_listen(D(l), 5) >= 0 &&
        asyncore_getsockname(D(l), &addr) >= 0 &&
        make_socket(c, AF_INET, SOCK_STREAM, false)) {
        (void)asyncore_connect_addr(D(c), &addr.u.sa, addr.len);
    }
}

static void
start_file(void)
{
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    play.pipe_end = fd[1];
    play.file = chan_new("file", 0);
    play.file->chunk = 7;
    assert_int_equal(write(fd[1], "0123456789", 10), 10);
    (void)chan_try_file(play.file, fd[0]);
    close(fd[0]);
}

static void
start_udp(void)
{
    struct asyncore_addr addr;
    for (int i = 0; i < 2; i++) {
        play.udp[i] = chan_new(i == 0 ? "udp" : "udp'", 0);
        if (!make_socket(play.udp[i], AF_INET, SOCK_DGRAM, false)) {
            return;
        }
    }
    if (asyncore_bind(D(play.udp[0]), "127.0.0.1", 0) >= 0 &&
        asyncore_getsockname(D(play.udp[0]), &addr) >= 0) {
        (void)asyncore_sendto(D(play.udp[1]), "datagram", 8, &addr);
    }
}

static void
start_asked(void)
{
    for (int i = 0; i < 2; i++) {
        int fd[2];
        kit_pair(AF_UNIX, fd);
        play.asked_end[i] = fd[1];
        play.asked[i] = chan_new(i == 0 ? "every" : "touch",
                                 REC_QUIET | (i == 0 ? REC_ASK : REC_TOUCH));
        kit_write(fd[1], "x", 1);
        if (chan_try(play.asked[i], fd[0]) < 0) {
            close(fd[0]);
        }
        else {
            (void)asyncore_touch(D(play.asked[i]));
        }
    }
}

/* ---- the scenario ---- */

static void
passes(int n)
{
    for (int i = 0; i < n; i++) {
        (void)asyncore_poll(0.01, kit.map);
    }
}

static void
run(void)
{
    double timeout;
    const char *backend = asyncore_map_backend(kit.map);
    if (start_server()) {
        start_client();
    }
    start_tcp();
    start_file();
    start_udp();
    start_asked();
    (void)asyncore_call_later(kit.map, 0.02, count_timer, NULL);
    (void)asyncore_call_soon_threadsafe(kit.map, count_post, NULL);
    passes(4);
    (void)asyncore_map_set_backend(kit.map, "poll");
    (void)asyncore_prepare(kit.map, &timeout);
    passes(2);
    (void)asyncore_map_set_backend(kit.map, "select");
    passes(1);
    (void)asyncore_map_set_backend(kit.map, backend);
    close(play.pipe_end);
    close(play.asked_end[0]);
    close(play.asked_end[1]);
    if (play.heals) {
        kit_heal();
    }
    passes(90);
}

/* ---- what must hold ---- */

static bool
was_told(const struct chan *c)
{
    return c->events[ON_ERROR] > 0 ||
           (c->events[ON_CLOSE] > 0 && c->reason != 0);
}

/* What `from` sent and `got` is what came of it.  A send that failed half-way
 * has closed the channel and told it; its front may have arrived. */
static void
check_front(const struct text *got, const struct chan *from, size_t taken,
            size_t last)
{
    CHECK(got->len <= taken + (was_told(from) ? last : 0));
    for (size_t i = 0; i < got->len; i++) {
        CHECK(got->at[i] == kit_byte(i));
    }
}

static void
check_conversation(void)
{
    struct chan *client = play.client, *child = play.server->last;
    /* Nobody is left waiting: it ended, in order or otherwise. */
    CHECK(!play.connected || client->destroyed || client->events[ON_CLOSE] ||
          client->events[ON_ERROR]);
    if (child == NULL) {
        CHECK(client->in.len == 0);
        return;
    }
    check_front(&child->in, client, play.taken, BLOCK);
    check_front(&client->in, child, (size_t)child->value, ECHO);
    if (was_told(child) || was_told(client)) {
        return;
    }
    if (child->events[ON_EOF] > 0) {
        CHECK(child->in.len == play.taken);
    }
    if (client->events[ON_CLOSE] > 0) {
        CHECK(client->in.len == (size_t)child->value);
    }
}

static void
check_others(void)
{
    CHECK(strncmp(text_get(&play.file->in), "0123456789", play.file->in.len) ==
          0);
    if (play.file->events[ON_CLOSE] > 0 && !was_told(play.file)) {
        CHECK(play.file->in.len == 10);
    }
    CHECK(play.timers <= 1);
    CHECK(play.posts <= 1);
}

/* TCP takes its time on a busy machine, though the clock stands still. */
static void
settle(void)
{
    for (int i = 0; i < 5000 && !play.caller->destroyed; i++) {
        poll(NULL, 0, 1);
        (void)asyncore_poll(0, kit.map);
    }
}

/* Everything came out as it should. */
static void
check_success(void)
{
    settle();
    struct chan *child = play.server->last;
    CHECK(play.taken == BLOCK * BLOCKS);
    CHECK(child != NULL && child->in.len == play.taken);
    CHECK(play.client->in.len == play.taken);
    CHECK(!was_told(child) && !was_told(play.client));
    CHECK(play.client->destroyed == 1 && child->destroyed == 1);
    CHECK(play.caller->destroyed == 1);
    CHECK(play.caller->reason == -ECONNRESET);
    CHECK(play.answers->last != NULL);
    CHECK(strcmp(text_get(&play.answers->last->in), "h") == 0);
    CHECK(strcmp(text_get(&play.file->in), "0123456789") == 0);
    CHECK(strcmp(text_get(&play.udp[0]->in), "datagram") == 0);
    CHECK(strcmp(text_get(&play.asked[0]->in), "x") == 0);
    CHECK(strcmp(text_get(&play.asked[1]->in), "x") == 0);
    CHECK(play.timers == 1);
    CHECK(play.posts == 1);
}

static void
begin(void **state)
{
    memset(&play, 0, sizeof play);
    kit_setup_bare(state);
    kit_advance(0); /* waits take no time */
}

/* One performance; what is to fail has been planned. */
static void
perform(void)
{
    kit.world.max_out = 700;
    kit.world.max_in = 450;
    int err = asyncore_map_create(NULL, &kit.map);
    if (err < 0) {
        kit.map = NULL;
        return;
    }
    run();
    check_conversation();
    check_others();
}

static void
end(void **state)
{
    kit_teardown(state);
}

/* How many allocations and calls there are, if none fails. */
static void
rehearse(void **state, unsigned long *allocations, unsigned long *calls)
{
    begin(state);
    snprintf(play.what, sizeof play.what, "nothing");
    perform();
    *allocations = kit.alloc.count;
    *calls = kit.world.total;
    check_success();
    end(state);
}

/* ---- the tests ---- */

static void
nothing_fails_and_all_is_well(void **state)
{
    unsigned long allocations, calls;
    rehearse(state, &allocations, &calls);
    assert_true(allocations > 20);
    assert_true(calls > 100);
}

static void
fail_each_allocation(void **state, unsigned long times)
{
    unsigned long allocations, calls;
    rehearse(state, &allocations, &calls);
    for (unsigned long nth = 1; nth <= allocations; nth++) {
        begin(state);
        snprintf(play.what, sizeof play.what,
                 "allocation %lu of %lu fails, %lu times", nth, allocations,
                 times);
        kit_fail_alloc(nth, times);
        play.heals = times == ULONG_MAX;
        perform();
        end(state);
    }
}

static void
each_allocation_fails_once(void **state)
{
    fail_each_allocation(state, 1);
}

static void
each_allocation_fails_and_the_next_ones_too(void **state)
{
    fail_each_allocation(state, 5);
    fail_each_allocation(state, ULONG_MAX);
}

static void
fail_each_call(void **state, int code)
{
    unsigned long allocations, calls;
    rehearse(state, &allocations, &calls);
    for (unsigned long nth = 1; nth <= calls; nth++) {
        begin(state);
        snprintf(play.what, sizeof play.what, "call %lu of %lu fails (%s)",
                 nth, calls, asyncore_errorcode(code));
        kit_fail(KIT_ANY, -1, nth, 1, code);
        perform();
        end(state);
    }
}

static void
each_call_fails_for_want_of_memory(void **state)
{
    fail_each_call(state, -ENOMEM);
}

static void
each_call_fails_for_want_of_descriptors(void **state)
{
    fail_each_call(state, -EMFILE);
}

static void
each_call_fails_by_a_reset(void **state)
{
    fail_each_call(state, -ECONNRESET);
}

static void
each_call_fails_for_no_good_reason(void **state)
{
    fail_each_call(state, -EIO);
}

/* Would block though it was ready: that is no failure where there is input
 * and output, and the performance is perfect. */
static void
each_call_of_these_kinds_is_taken_up_again(void **state, int code)
{
    static const enum kit_call kinds[] = {
        KIT_ACCEPT, KIT_RECV,   KIT_SEND, KIT_SENDV,      KIT_READ,
        KIT_WRITEV, KIT_SELECT, KIT_POLL, KIT_EPOLL_WAIT, KIT_RECVFROM,
    };
    for (size_t i = 0; i < COUNT(kinds); i++) {
        struct kit_fault *fault;
        unsigned long nth = 0, hits;
        do {
            begin(state);
            snprintf(play.what, sizeof play.what, "%s %lu says %s",
                     kit_call_name(kinds[i]), ++nth, asyncore_errorcode(code));
            fault = kit_fail(kinds[i], -1, nth, 1, code);
            perform();
            CHECK(kit.map != NULL);
            check_success();
            hits = fault->hits;
            end(state);
        } while (hits > 0);
    }
}

static void
interrupted_calls_are_taken_up_again(void **state)
{
    each_call_of_these_kinds_is_taken_up_again(state, -EINTR);
}

static void
blocked_calls_are_taken_up_again(void **state)
{
    each_call_of_these_kinds_is_taken_up_again(state, -EAGAIN);
}

/* So that the failing one can be told. */
static int
tell_what(void **state)
{
    (void)state;
    if (kit.map != NULL || kit.chans != NULL) {
        print_error("this was when: %s\n", play.what);
    }
    return 0;
}

#define TORTURE(fn) cmocka_unit_test_setup_teardown(fn, NULL, tell_what)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TORTURE(nothing_fails_and_all_is_well),
        TORTURE(each_allocation_fails_once),
        TORTURE(each_allocation_fails_and_the_next_ones_too),
        TORTURE(each_call_fails_for_want_of_memory),
        TORTURE(each_call_fails_for_want_of_descriptors),
        TORTURE(each_call_fails_by_a_reset),
        TORTURE(each_call_fails_for_no_good_reason),
        TORTURE(interrupted_calls_are_taken_up_again),
        TORTURE(blocked_calls_are_taken_up_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
