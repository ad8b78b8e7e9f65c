/* SPDX-License-Identifier: MIT */
/* test_uring.c - what is special about io_uring: what was received in advance
 * is bounded, in order, and lost in no way in which another backend would not
 * lose it; requests in flight end with their descriptor; what is sent later
 * is sent. */
#include <fcntl.h>
#include <poll.h>

#include "await.h"
#include "kit.h"
#include "uring.h"

/* ---- looking inside ---- */

static const struct asyncore__conn *
conn(const struct chan *c)
{
    return asyncore__uring_conn(kit.map->uring, D(c)->fd);
}

/* Bytes that were received and that nobody has asked for. */
static size_t
held(const struct chan *c)
{
    const struct asyncore__uring *u = kit.map->uring;
    size_t n = 0;
    for (uint32_t i = conn(c)->first; i != 0; i = u->received[i - 1].next) {
        n += u->received[i - 1].end - u->received[i - 1].start;
    }
    return n;
}

/* Buffers of the ring that somebody needs. */
static size_t
busy_buffers(void)
{
    size_t n = 0;
    for (size_t i = 0; i < URING_BUFFERS; i++) {
        n += kit.map->uring->buffers[i].refs > 0;
    }
    return n;
}

static struct chan *
tcp_chan(const char *name, unsigned flags, int *ret_peer)
{
    struct chan *c = kit_pair_chan(name, flags, AF_INET, ret_peer);
    kit_pass();
    assert_true(conn(c)->shot != 0); /* it is being received from */
    return c;
}

static void
say(struct chan *c, int peer, const char *text)
{
    kit_write(peer, text, strlen(text));
    await(D(c)->fd, POLLIN);
}

/* ---- in ---- */

static void
what_nobody_reads_is_bounded_and_all_there(void **state)
{
    (void)state;
    int peer;
    struct chan *c = tcp_chan("c", 0, &peer);
    static char data[4096];
    size_t sent = 0, most = 0;
    c->react[ON_READ] = react_nothing;
    for (int i = 0; i < 4000; i++) {
        kit_bytes(data, sent, sizeof data);
        ssize_t n = send(peer, data, sizeof data, MSG_DONTWAIT);
        sent += n > 0 ? (size_t)n : 0;
        kit_pass();
        most = held(c) > most ? held(c) : most;
    }
    assert_in_range(most, 1, URING_BUFFERS * URING_BUFFER_SIZE);
    kit_pass();
    assert_int_equal(busy_buffers(), 0); /* all copied out */
    c->react[ON_READ] = NULL;
    RUN_UNTIL(c->in.len == sent);
    for (size_t i = 0; i < sent; i++) {
        assert_int_equal(c->in.at[i], kit_byte(i));
    }
    text_clear(&kit.trace);
    close(peer);
}

static void
one_that_does_not_read_starves_nobody(void **state)
{
    (void)state;
    enum {
        N = 60
    };
    int peer[N];
    struct chan *c[N];
    static char much[64 * 1024];
    for (int i = 0; i < N; i++) {
        c[i] = tcp_chan("c", 0, &peer[i]);
        c[i]->react[ON_READ] = i % 3 == 0 ? react_nothing : NULL;
    }
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < N; i++) {
            if (i % 3 == 0) {
                (void)!send(peer[i], much, sizeof much, MSG_DONTWAIT);
            }
            else {
                say(c[i], peer[i], "hello");
            }
        }
        RUN_UNTIL(c[N - 1]->in.len == (size_t)(round + 1) * 5);
    }
    for (int i = 0; i < N; i++) {
        if (i % 3 != 0) {
            RUN_UNTIL(c[i]->in.len == 100);
        }
        close(peer[i]);
    }
    text_clear(&kit.trace);
}

static void
more_than_there_are_buffers_for_arrives_in_order(void **state)
{
    (void)state;
    enum {
        N = 40,
        SIZE = 48 * 1024
    };
    int peer[N];
    struct chan *c[N];
    static char data[SIZE];
    kit_bytes(data, 0, sizeof data);
    for (int i = 0; i < N; i++) {
        c[i] = tcp_chan("c", 0, &peer[i]);
    }
    for (int i = 0; i < N; i++) {
        kit_write(peer[i], data, sizeof data);
    }
    for (int i = 0; i < N; i++) {
        RUN_UNTIL(c[i]->in.len == SIZE);
        assert_memory_equal(c[i]->in.at, data, SIZE);
        close(peer[i]);
    }
    text_clear(&kit.trace);
}

static void
what_is_not_wanted_is_kept_and_no_more_taken(void **state)
{
    (void)state;
    int peer;
    struct chan *c = kit_pair_chan("c", REC_ASK | REC_QUIET, AF_INET, &peer);
    c->want_read = true;
    kit_pass();
    c->want_read = false;
    kit_pass();
    say(c, peer, "one ");
    kit_pass(); /* the request was still there */
    kit_pass();
    assert_trace("");
    assert_int_equal(conn(c)->shot, 0);
    assert_in_range(held(c), 0, 4);
    kit_write(peer, "two", 3);
    kit_pass();
    assert_in_range(held(c), 0, 4);
    c->want_read = true;
    RUN_UNTIL(c->in.len == 7);
    assert_string_equal(text_get(&c->in), "one two");
    text_clear(&kit.trace);
    close(peer);
}

static void
large_pieces_are_read_from_the_kernel_small_ones_in_advance(void **state)
{
    (void)state;
    int peer;
    struct chan *c = tcp_chan("c", 0, &peer);
    static char much[256 * 1024];
    kit_write(peer, much, 100 * 1024);
    RUN_UNTIL(c->in.len == 100 * 1024);
    assert_true(conn(c)->direct > 0);
    for (int i = 0; i <= URING_DIRECT_READS; i++) {
        say(c, peer, "small");
        kit_pass();
    }
    kit_pass();
    assert_true(conn(c)->direct == 0 && conn(c)->shot != 0);
    text_clear(&kit.trace);
    close(peer);
}

static void
peeking_takes_nothing(void **state)
{
    (void)state;
    char buf[8] = "";
    int peer;
    struct chan *c = tcp_chan("c", 0, &peer);
    struct asyncore__world *w = kit.map->world;
    c->react[ON_READ] = react_nothing;
    say(c, peer, "abc");
    kit_pass();
    assert_int_equal(held(c), 3);
    assert_int_equal(w->recv(w, D(c)->fd, buf, 2, MSG_PEEK), 2);
    assert_int_equal(w->recv(w, D(c)->fd, buf, sizeof buf, 0), 3);
    assert_memory_equal(buf, "abc", 3);
    assert_int_equal(w->recv(w, D(c)->fd, buf, sizeof buf, 0), -EAGAIN);
    text_clear(&kit.trace);
    close(peer);
}

static void
datagram_call_finds_what_is_there(void **state)
{
    (void)state;
    char buf[8] = "";
    int peer;
    struct asyncore_addr from;
    struct chan *c = tcp_chan("c", 0, &peer);
    c->react[ON_READ] = react_nothing;
    say(c, peer, "abc");
    kit_pass();
    assert_int_equal(held(c), 3);
    assert_int_equal(asyncore_recvfrom(D(c), buf, 2, &from), 2);
    assert_int_equal(from.len, 0); /* a stream has none */
    assert_int_equal(asyncore_recvfrom(D(c), buf + 2, 2, &from), 1);
    assert_memory_equal(buf, "abc", 3);
    text_clear(&kit.trace);
    close(peer);
}

static void
error_that_has_come_in_is_the_sockets(void **state)
{
    (void)state;
    int peer, code = 0;
    struct chan *c = tcp_chan("c", 0, &peer);
    struct asyncore__world *w = kit.map->world;
    c->react[ON_READ] = react_nothing;
    say(c, peer, "abc");
    kit_reset(peer);
    await(D(c)->fd, 0);
    kit_pass();
    assert_int_equal(conn(c)->end, -ECONNRESET); /* behind what there is */
    assert_int_equal(w->getsockopt(w, D(c)->fd, SOL_SOCKET, SO_ERROR, &code),
                     0);
    assert_int_equal(code, ECONNRESET);
    assert_int_equal(w->getsockopt(w, D(c)->fd, SOL_SOCKET, SO_ERROR, &code),
                     0);
    assert_int_equal(code, 0); /* once */
    text_clear(&kit.trace);
}

/* ---- the end ---- */

static void
close_is_seen_at_once(void **state)
{
    (void)state;
    char byte;
    int peer;
    struct chan *c = tcp_chan("c", 0, &peer);
    assert_int_equal(asyncore_close(D(c)), 0);
    await(peer, POLLIN); /* though no loop runs any more */
    assert_int_equal(read(peer, &byte, 1), 0);
    close(peer);
    text_clear(&kit.trace);
}

static void
close_with_bytes_unread_is_a_reset(void **state)
{
    (void)state;
    char byte;
    int peer;
    struct chan *c = tcp_chan("c", 0, &peer);
    c->react[ON_READ] = react_nothing;
    say(c, peer, "abc");
    kit_pass();
    assert_int_equal(held(c), 3);
    assert_int_equal(asyncore_close(D(c)), 0);
    await(peer, POLLIN);
    assert_int_equal(read(peer, &byte, 1), -1);
    assert_int_equal(errno, ECONNRESET);
    close(peer);
    text_clear(&kit.trace);
}

/* They are read by the request in flight, when it is cancelled. */
static void
close_with_bytes_not_looked_at_is_a_reset(void **state)
{
    (void)state;
    char byte;
    int peer;
    struct chan *c = tcp_chan("c", 0, &peer);
    say(c, peer, "abc");
    assert_int_equal(asyncore_close(D(c)), 0);
    await(peer, POLLIN);
    assert_int_equal(read(peer, &byte, 1), -1);
    assert_int_equal(errno, ECONNRESET);
    close(peer);
    text_clear(&kit.trace);
}

/* A channel at this number. */
static struct chan *
chan_at(const char *name, int fd, int *ret_peer)
{
    int pair[2];
    kit_pair(AF_INET, pair);
    if (pair[0] != fd) {
        assert_int_equal(dup2(pair[0], fd), fd);
        close(pair[0]);
    }
    *ret_peer = pair[1];
    return chan_open(name, 0, fd);
}

static void
requests_that_never_left_end_with_their_descriptor(void **state)
{
    (void)state;
    int peer[2];
    struct chan *a = kit_pair_chan("a", 0, AF_INET, &peer[0]);
    int fd = D(a)->fd;
    kit_fail(KIT_URING_WAIT, -1, 1, 1, -ENOMEM);
    assert_int_equal(asyncore_poll(0, kit.map), -ENOMEM);
    kit_fail(KIT_URING_SUBMIT, -1, 1, 1000, -ENOMEM);
    assert_int_equal(asyncore_close(D(a)), 0);
    kit_heal();
    struct chan *b = chan_at("b", fd, &peer[1]);
    kit_pass();
    say(b, peer[1], "for b");
    RUN_UNTIL(b->in.len > 0);
    assert_string_equal(text_get(&b->in), "for b");
    close(peer[0]);
    close(peer[1]);
    text_clear(&kit.trace);
}

static void
number_that_is_used_again_has_its_own_bytes_only(void **state)
{
    (void)state;
    int peer[2];
    struct chan *a = tcp_chan("a", 0, &peer[0]);
    int fd = D(a)->fd;
    a->react[ON_READ] = react_nothing;
    say(a, peer[0], "for a");
    kit_pass();
    kit_write(peer[0], "more", 4);
    assert_int_equal(asyncore_close(D(a)), 0);
    struct chan *b = chan_at("b", fd, &peer[1]);
    kit_write(peer[1], "for b", 5);
    RUN_UNTIL(b->in.len > 0);
    assert_string_equal(text_get(&b->in), "for b");
    close(peer[0]);
    close(peer[1]);
    text_clear(&kit.trace);
}

/* Without memory events stay on their list, also those of channels that are
 * gone. */
static void
event_that_is_kept_has_one_place(void **state)
{
    (void)state;
    const struct asyncore__uring *u = kit.map->uring;
    for (int i = 0; i < 50; i++) {
        int peer;
        struct chan *c = kit_pair_chan("c", 0, AF_UNIX, &peer);
        if (i == 0) {
            kit_pass();
        }
        say(c, peer, "x");
        kit_fail_alloc(1, 1000);
        assert_int_equal(asyncore_poll(0, kit.map), -ENOMEM);
        kit_heal();
        assert_int_equal(u->nevents, 1);
        assert_int_equal(asyncore_close(D(c)), 0);
        close(peer);
    }
    text_clear(&kit.trace);
}

/* ---- elsewhere ---- */

static void
bytes_move_to_another_backend_with_their_channel(void **state)
{
    (void)state;
    int peer;
    struct chan *c = tcp_chan("c", 0, &peer);
    c->react[ON_READ] = react_nothing;
    say(c, peer, "one ");
    kit_pass();
    assert_int_equal(held(c), 4);
    assert_int_equal(asyncore_map_set_backend(kit.map, "poll"), 0);
    kit_write(peer, "two ", 4);
    c->react[ON_READ] = NULL;
    RUN_UNTIL(c->in.len == 8);
    assert_int_equal(asyncore_map_set_backend(kit.map, "io_uring"), 0);
    kit_write(peer, "three", 5);
    RUN_UNTIL(c->in.len == 13);
    assert_string_equal(text_get(&c->in), "one two three");
    text_clear(&kit.trace);
    close(peer);
}

static void
bytes_move_to_another_map_with_their_channel(void **state)
{
    (void)state;
    static const char *const backends[] = {"io_uring", "poll"};
    for (size_t i = 0; i < COUNT(backends); i++) {
        int peer;
        struct asyncore_map *other;
        struct chan *c = tcp_chan("c", 0, &peer);
        c->react[ON_READ] = react_nothing;
        say(c, peer, "one ");
        kit_pass();
        assert_int_equal(asyncore_map_create(backends[i], &other), 0);
        assert_int_equal(asyncore_del_channel(D(c)), 0);
        kit_write(peer, "two", 3);
        /* Whatever fails on the way, they are where the channel is. */
        int err = -ENOMEM;
        for (unsigned long nth = 1; err < 0; nth++) {
            assert_int_equal(err, -ENOMEM);
            assert_ptr_equal(D(c)->map, kit.map);
            kit_fail_alloc(nth, 1);
            err = asyncore_add_channel(D(c), other);
            kit_heal();
        }
        assert_int_equal(err, 0);
        c->react[ON_READ] = NULL;
        for (int left = 1000; c->in.len < 7 && left > 0; left--) {
            assert_int_equal(asyncore_poll(0.01, other), 0);
        }
        assert_string_equal(text_get(&c->in), "one two");
        assert_int_equal(asyncore_close(D(c)), 0);
        assert_int_equal(asyncore_map_free(other), 0);
        close(peer);
    }
    text_clear(&kit.trace);
}

static void
direct_io_leaves_the_bytes_in_the_kernel(void **state)
{
    (void)state;
    char buf[8] = "";
    int fd[2];
    kit_pair(AF_INET, fd);
    struct chan *c = chan_new("c", 0);
    c->ops.flags |= ASYNCORE_DIRECT_IO;
    c->react[ON_READ] = react_nothing;
    assert_int_equal(chan_try(c, fd[0]), 0);
    kit_pass();
    say(c, fd[1], "abc");
    kit_pass();
    kit_pass();
    assert_int_equal(c->events[ON_READ], 2);
    assert_int_equal(asyncore_detach(D(c)), fd[0]);
    assert_int_equal(recv(fd[0], buf, sizeof buf, MSG_DONTWAIT), 3);
    kit_write(fd[1], "def", 3);
    kit_pass();
    await(fd[0], POLLIN);
    assert_int_equal(recv(fd[0], buf, sizeof buf, MSG_DONTWAIT), 3);
    close(fd[0]);
    close(fd[1]);
    text_clear(&kit.trace);
}

/* ---- out ---- */

static int
react_answer(struct chan *c)
{
    react_read(c);
    for (int i = 0; i < c->value; i++) {
        assert_int_equal(asyncore_send(D(c), "0123456789", 10), 10);
    }
    return 0;
}

static struct chan *
tcp_sender(int value, int *ret_peer)
{
    int fd[2];
    kit_pair(AF_INET, fd);
    struct chan *c = chan_open_sender("c", 0, fd[0]);
    *ret_peer = fd[1];
    c->value = value;
    c->react[ON_READ] = react_answer;
    kit_pass();
    return c;
}

static void
sends_of_a_pass_are_one_entry(void **state)
{
    (void)state;
    int peer;
    struct text got = {0};
    struct chan *c = tcp_sender(100, &peer);
    say(c, peer, "x");
    kit_count_anew();
    kit_pass();
    assert_int_equal(kit.world.calls[KIT_SEND], 100);
    assert_int_equal(kit.world.calls[KIT_URING_SUBMIT], 1);
    assert_int_equal(asyncore_output_size(D(c)), 0);
    await(peer, POLLIN);
    assert_true(kit_drain(peer, &got));
    assert_int_equal(got.len, 1000);
    text_clear(&got);
    text_clear(&kit.trace);
    close(peer);
}

static void
sends_that_fall_short_go_on_in_order(void **state)
{
    (void)state;
    int peer;
    struct text got = {0};
    struct chan *c = tcp_sender(300, &peer);
    kit_shrink(D(c)->fd);
    kit_shrink(peer);
    /* Some of it goes out before the kernel takes no more. */
    for (int i = 0; i < 100 && asyncore_output_size(D(c)) == 0; i++) {
        say(c, peer, "x");
        kit_pass();
    }
    assert_in_range(asyncore_output_size(D(c)), 1, 2999);
    size_t want = c->events[ON_READ] * (size_t)3000;
    RUN_UNTIL(kit_drain(peer, &got) && got.len == want);
    assert_int_equal(asyncore_output_size(D(c)), 0);
    for (size_t i = 0; i < got.len; i++) {
        assert_int_equal(got.at[i], '0' + (char)(i % 10));
    }
    text_clear(&got);
    text_clear(&kit.trace);
    close(peer);
}

/* Fill it, and what is on its way; returns how much that was. */
static size_t
stuff(int fd, int peer)
{
    const int size = 64 * 1024;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    size_t n = 0;
    for (int quiet = 0; quiet < 100; quiet++) {
        size_t more = kit_fill(fd);
        n += more;
        quiet = more > 0 ? 0 : quiet;
        sched_yield();
    }
    return n;
}

enum {
    MANY = 80,
    HALF = 2000
};
static struct chan *many[MANY];

/* Of each the second is added to the first, which is not the last that was
 * staged any more: it moves.  There is less room than that takes. */
static int
react_send_to_many(struct chan *c)
{
    char data[HALF];
    react_read(c);
    for (size_t from = 0; from < 3 * HALF; from += HALF) {
        kit_bytes(data, from, sizeof data);
        for (int i = 0; i < MANY; i++) {
            assert_int_equal(asyncore_send(D(many[i]), data, sizeof data),
                             sizeof data);
        }
    }
    return 0;
}

static void
sends_to_many_in_turn_are_in_order(void **state)
{
    (void)state;
    int peer[MANY], first;
    assert_true((size_t)MANY * 3 * HALF > URING_ARENA);
    assert_true((size_t)3 * HALF > URING_STAGE_MOST);
    struct chan *c = tcp_chan("c", 0, &first);
    c->react[ON_READ] = react_send_to_many;
    for (int i = 0; i < MANY; i++) {
        many[i] = tcp_sender(0, &peer[i]);
    }
    say(c, first, "x");
    kit_pass();
    for (int i = 0; i < MANY; i++) {
        struct text got = {0};
        RUN_UNTIL(kit_drain(peer[i], &got) && got.len >= 3 * HALF);
        assert_int_equal(got.len, 3 * HALF);
        for (size_t n = 0; n < got.len; n++) {
            assert_int_equal(got.at[n], kit_byte(n));
        }
        text_clear(&got);
        close(peer[i]);
    }
    text_clear(&kit.trace);
    close(first);
}

static int
react_answer_and_close_when_done(struct chan *c)
{
    react_answer(c);
    return asyncore_close_when_done(D(c));
}

static void
what_falls_short_before_the_end_arrives_before_it(void **state)
{
    (void)state;
    int peer;
    struct text got = {0};
    struct chan *c = tcp_sender(3, &peer);
    c->react[ON_READ] = react_answer_and_close_when_done;
    say(c, peer, "x");
    size_t filled = stuff(D(c)->fd, peer);
    kit_pass();
    assert_int_equal(asyncore_output_size(D(c)), 30);
    RUN_UNTIL(!kit_drain(peer, &got));
    assert_int_equal(got.len, filled + 30);
    assert_memory_equal(got.at + filled, "012345678901234567890123456789", 30);
    close(peer);
    RUN_UNTIL(c->destroyed);
    text_clear(&got);
    text_clear(&kit.trace);
}

static int
react_answer_and_close(struct chan *c)
{
    react_answer(c);
    return asyncore_close(D(c));
}

static int
react_answer_and_shutdown(struct chan *c)
{
    react_answer(c);
    return asyncore_shutdown(D(c));
}

static void
what_was_sent_before_the_end_arrives_before_it(void **state)
{
    (void)state;
    static int (*const react[])(struct chan *) = {react_answer_and_close,
                                                  react_answer_and_shutdown};
    for (size_t i = 0; i < COUNT(react); i++) {
        int peer;
        struct text got = {0};
        struct chan *c = tcp_sender(3, &peer);
        c->react[ON_READ] = react[i];
        say(c, peer, "x");
        RUN_UNTIL(!kit_drain(peer, &got));
        assert_string_equal(text_get(&got), "012345678901234567890123456789");
        text_clear(&got);
        close(peer);
    }
    text_clear(&kit.trace);
}

/* The kernel takes `entries` more, then fails. */
static struct {
    int (*submit)(struct asyncore__world *w, int fd, unsigned n);
    unsigned entries;
} taking;

static int
take_some(struct asyncore__world *w, int fd, unsigned n)
{
    n = n < taking.entries ? n : taking.entries;
    taking.entries -= n;
    return n > 0 ? taking.submit(w, fd, n) : -EAGAIN;
}

static void
sends_of_which_some_were_taken_are_sent_once(void **state)
{
    (void)state;
    enum {
        N = 3
    };
    struct chan *c[N];
    int peer[N];
    for (int i = 0; i < N; i++) {
        c[i] = tcp_sender(1, &peer[i]);
    }
    for (int i = 0; i < N; i++) {
        say(c[i], peer[i], "x");
    }
    taking.submit = kit.map->world->uring_submit;
    taking.entries = 1;
    kit.map->world->uring_submit = take_some;
    kit_pass();
    assert_int_equal(taking.entries, 0);
    kit.map->world->uring_submit = taking.submit;
    for (int i = 0; i < N; i++) {
        struct text got = {0};
        assert_int_equal(asyncore_send(D(c[i]), "more", 4), 4);
        RUN_UNTIL(kit_drain(peer[i], &got) && got.len >= 14);
        kit_pass();
        kit_drain(peer[i], &got);
        assert_string_equal(text_get(&got), "0123456789more");
        text_clear(&got);
    }
    for (int i = 0; i < N; i++) {
        close(peer[i]);
    }
    text_clear(&kit.trace);
}

static int
react_send_prepare_send(struct chan *c)
{
    double timeout;
    react_read(c);
    assert_int_equal(asyncore_send(D(c), "one ", 4), 4);
    assert_int_equal(asyncore_prepare(kit.map, &timeout), 0);
    assert_int_equal(asyncore_send(D(c), "two", 3), 3);
    return 0;
}

static void
sends_around_a_prepare_are_all_sent(void **state)
{
    (void)state;
    int peer;
    struct text got = {0};
    struct chan *c = tcp_sender(0, &peer);
    c->react[ON_READ] = react_send_prepare_send;
    say(c, peer, "x");
    RUN_UNTIL(kit_drain(peer, &got) && got.len >= 7);
    assert_string_equal(text_get(&got), "one two");
    text_clear(&got);
    text_clear(&kit.trace);
    close(peer);
}

static int
react_send_for_peer_and_remove(struct chan *c)
{
    react_read(c);
    assert_int_equal(asyncore_send(D(c->peer), "answer", 6), 6);
    return asyncore_del_channel(D(c->peer));
}

static void
send_that_falls_short_outside_of_the_map_is_kept(void **state)
{
    (void)state;
    int peer[2], fd[2];
    struct text got = {0};
    kit_pair(AF_INET, fd);
    /* It waits for nothing, so the backend does not know it. */
    struct chan *idle = chan_open_sender("idle", REC_ASK | REC_QUIET, fd[0]);
    idle->want_read = false;
    peer[0] = fd[1];
    struct chan *c = tcp_chan("c", 0, &peer[1]);
    size_t filled = stuff(fd[0], fd[1]);
    c->peer = idle;
    c->react[ON_READ] = react_send_for_peer_and_remove;
    say(c, peer[1], "x");
    kit_pass();
    kit_pass();
    assert_int_equal(asyncore_add_channel(D(idle), NULL), 0);
    idle->want_write = true;
    RUN_UNTIL(kit_drain(peer[0], &got) && got.len == filled + 6);
    assert_memory_equal(got.at + filled, "answer", 6);
    text_clear(&got);
    text_clear(&kit.trace);
    close(peer[0]);
    close(peer[1]);
}

/* What has been received finds no place, and behind it is that a send fell
 * short. */
static void
falls_short_without_memory(void)
{
    enum {
        N = 300 /* more than there is room for from the beginning */
    };
    struct chan *other[N];
    int peer, peers[N];
    struct text got = {0};
    assert_in_range(kit.map->uring->received_cap, 1, N - 10);
    struct chan *c = tcp_sender(1, &peer);
    for (int i = 0; i < N; i++) {
        other[i] = kit_pair_chan("o", 0, AF_INET, &peers[i]);
        other[i]->react[ON_READ] = react_nothing;
    }
    kit_pass();
    say(c, peer, "x");
    for (int i = 0; i < N; i++) {
        say(other[i], peers[i], "x");
    }
    size_t filled = stuff(D(c)->fd, peer);
    assert_int_equal(asyncore__reserve_raw(&kit.map->ready,
                                           &kit.map->ready_cap, (size_t)2 * N,
                                           sizeof *kit.map->ready),
                     0);
    kit_fail_alloc(1, 1000000);
    while (c->events[ON_READ] == 0) {
        (void)asyncore_poll(0, kit.map);
    }
    (void)asyncore_poll(0, kit.map);
    kit_heal();
    for (int i = 0; i < N; i++) {
        other[i]->react[ON_READ] = NULL;
    }
    RUN_UNTIL(c->failed.code == -ENOMEM ||
              (kit_drain(peer, &got) && got.len == filled + 10));
    for (int i = 0; i < N; i++) {
        close(peers[i]);
    }
    text_clear(&got);
    text_clear(&kit.trace);
    close(peer);
}

static int
set_up_few(struct asyncore__world *w, unsigned entries, void *params)
{
    struct io_uring_params *p = params;
    (void)entries;
    p->cq_entries = 16;
    return asyncore__kernel.uring_setup(w, 8, p);
}

static void
send_that_falls_short_is_heard_of_without_memory(void **state)
{
    (void)state;
    falls_short_without_memory();
    /* There is not even a place in the ring. */
    kit_free_map();
    kit.world.table.uring_setup = set_up_few;
    assert_int_equal(asyncore_map_create("io_uring", &kit.map), 0);
    falls_short_without_memory();
}

static int
send_in_vain(struct asyncore_map *map, void *arg)
{
    struct chan *c = arg;
    (void)map;
    assert_int_equal(asyncore_send(D(c), "lost", 4), 4);
    return 0;
}

static void
send_that_is_lost_ends_the_connection_once(void **state)
{
    (void)state;
    int peer;
    struct chan *c = tcp_sender(0, &peer);
    assert_int_equal(shutdown(D(c)->fd, SHUT_WR), 0); /* behind its back */
    assert_true(asyncore_call_later(kit.map, 0, send_in_vain, c) > 0);
    RUN_UNTIL(c->destroyed);
    assert_int_equal(c->events[ON_CLOSE], 1);
    assert_int_equal(c->reason, -EPIPE);
    text_clear(&kit.trace);
    close(peer);
}

/* ---- accepting ---- */

static int
react_accept_one(struct chan *c)
{
    struct asyncore_addr addr;
    int fd = asyncore_accept(D(c), &addr);
    if (fd >= 0) {
        struct sockaddr_in peer;
        socklen_t len = sizeof peer;
        assert_int_equal(getpeername(fd, (struct sockaddr *)&peer, &len), 0);
        assert_int_equal(addr.len, len);
        assert_int_equal(addr.u.in.sin_port, peer.sin_port);
        c->value++;
        close(fd);
    }
    return 0;
}

static void
connections_that_wait_are_not_lost(void **state)
{
    (void)state;
    enum {
        N = 20
    };
    int client[N];
    struct chan *s = chan_listen("s", REC_ACCEPT, AF_INET);
    s->react[ON_ACCEPT] = react_accept_one;
    kit_pass();
    for (int i = 0; i < N; i++) {
        client[i] = kit_connect(chan_port(s));
        kit_pass(); /* the address of each, and of some that come together */
        kit_pass();
        if (i == N / 2) {
            for (i++; i < N; i++) {
                client[i] = kit_connect(chan_port(s));
            }
        }
    }
    RUN_UNTIL(s->value == N);
    for (int i = 0; i < N; i++) {
        close(client[i]);
    }
    text_clear(&kit.trace);
}

static void
connections_nobody_took_end_with_their_listener(void **state)
{
    (void)state;
    char byte;
    struct chan *s = chan_listen("s", REC_ACCEPT, AF_INET);
    s->react[ON_ACCEPT] = react_nothing;
    kit_pass();
    int client = kit_connect(chan_port(s));
    await(D(s)->fd, POLLIN);
    kit_pass();
    assert_int_equal(asyncore_close(D(s)), 0);
    await(client, POLLIN);
    assert_true(read(client, &byte, 1) <= 0);
    close(client);
    text_clear(&kit.trace);
}

/* Another process may hold it. */
static void
closing_a_listener_is_no_affair_of_others(void **state)
{
    (void)state;
    struct chan *s = chan_listen("s", REC_ACCEPT, AF_INET);
    s->react[ON_ACCEPT] = react_nothing;
    kit_pass();
    int client = kit_connect(chan_port(s));
    await(D(s)->fd, POLLIN);
    kit_pass();
    assert_true(conn(s)->first != 0);
    int same = dup(D(s)->fd), listening = 0;
    socklen_t len = sizeof listening;
    assert_int_equal(asyncore_close(D(s)), 0);
    assert_int_equal(
        getsockopt(same, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len), 0);
    assert_true(listening);
    close(same);
    close(client);
    text_clear(&kit.trace);
}

/* ---- where it is missing ---- */

static void
epoll_serves_where_it_is_missing(void **state)
{
    (void)state;
    static const struct {
        enum kit_call call;
        unsigned long nth;
        int code;
    } faults[] = {
        {KIT_URING_SETUP, 1, -ENOSYS},   {KIT_URING_SETUP, 1, -EPERM},
        {KIT_URING_SETUP, 1, -EINVAL},   {KIT_URING_MAP, 1, -EPERM},
        {KIT_URING_MAP, 2, -EPERM},      {KIT_URING_MAP, 3, -EACCES},
        {KIT_URING_REGISTER, 1, -EPERM},
    };
    for (size_t i = 0; i < COUNT(faults); i++) {
        struct asyncore_map *map;
        kit_fail(faults[i].call, -1, faults[i].nth, 1, faults[i].code);
        assert_int_equal(asyncore_map_create("io_uring", &map), 0);
        kit_heal();
        assert_string_equal(asyncore_map_backend(map), "epoll");
        assert_logged("io_uring is not available");
        assert_logged(asyncore_errorcode(faults[i].code));
        assert_int_equal(asyncore_map_free(map), 0);
        text_clear(&kit.log);
    }
}

static void
kernel_that_is_too_busy_is_asked_again(void **state)
{
    (void)state;
    static const int codes[] = {-EAGAIN, -EBUSY};
    for (size_t i = 0; i < COUNT(codes); i++) {
        int peer;
        struct chan *c = kit_pair_chan("c", 0, AF_INET, &peer);
        kit_write(peer, "x", 1);
        kit_fail(KIT_URING_WAIT, -1, 1, 3, codes[i]);
        RUN_UNTIL(c->in.len == 1);
        kit_heal();
        close(peer);
    }
    text_clear(&kit.trace);
}

static void
want_of_memory_is_no_lack(void **state)
{
    (void)state;
    struct asyncore_map *map;
    kit_fail(KIT_URING_SETUP, -1, 1, 1, -ENOMEM);
    assert_int_equal(asyncore_map_create("io_uring", &map), -ENOMEM);
    kit_heal();
    assert_int_equal(asyncore_map_set_backend(kit.map, "poll"), 0);
    kit_fail(KIT_URING_SETUP, -1, 1, 1, -EPERM);
    assert_int_equal(asyncore_map_set_backend(kit.map, "io_uring"), -EPERM);
    assert_string_equal(asyncore_map_backend(kit.map), "poll");
}

static void
older_kernels_fill_a_buffer_at_once(void **state)
{
    (void)state;
    int peer;
    kit_free_map();
    kit_fail(KIT_URING_REGISTER, -1, 1, 1, -EINVAL);
    assert_int_equal(asyncore_map_create("io_uring", &kit.map), 0);
    kit_heal();
    assert_false(kit.map->uring->ring->incremental);
    struct chan *c = tcp_chan("c", 0, &peer);
    for (size_t i = 1; i <= 3 * URING_BUFFERS; i++) {
        say(c, peer, "hello");
        RUN_UNTIL(c->in.len == 5 * i);
    }
    text_clear(&kit.trace);
    close(peer);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(what_nobody_reads_is_bounded_and_all_there),
        KIT_TEST(one_that_does_not_read_starves_nobody),
        KIT_TEST(more_than_there_are_buffers_for_arrives_in_order),
        KIT_TEST(what_is_not_wanted_is_kept_and_no_more_taken),
        KIT_TEST(large_pieces_are_read_from_the_kernel_small_ones_in_advance),
        KIT_TEST(peeking_takes_nothing),
        KIT_TEST(datagram_call_finds_what_is_there),
        KIT_TEST(error_that_has_come_in_is_the_sockets),
        KIT_TEST(close_is_seen_at_once),
        KIT_TEST(close_with_bytes_unread_is_a_reset),
        KIT_TEST(close_with_bytes_not_looked_at_is_a_reset),
        KIT_TEST(number_that_is_used_again_has_its_own_bytes_only),
        KIT_TEST(requests_that_never_left_end_with_their_descriptor),
        KIT_TEST(event_that_is_kept_has_one_place),
        KIT_TEST(bytes_move_to_another_backend_with_their_channel),
        KIT_TEST(bytes_move_to_another_map_with_their_channel),
        KIT_TEST(direct_io_leaves_the_bytes_in_the_kernel),
        KIT_TEST(sends_of_a_pass_are_one_entry),
        KIT_TEST(sends_that_fall_short_go_on_in_order),
        KIT_TEST(sends_to_many_in_turn_are_in_order),
        KIT_TEST(what_falls_short_before_the_end_arrives_before_it),
        KIT_TEST(what_was_sent_before_the_end_arrives_before_it),
        KIT_TEST(sends_of_which_some_were_taken_are_sent_once),
        KIT_TEST(sends_around_a_prepare_are_all_sent),
        KIT_TEST(send_that_falls_short_outside_of_the_map_is_kept),
        KIT_TEST(send_that_falls_short_is_heard_of_without_memory),
        KIT_TEST(send_that_is_lost_ends_the_connection_once),
        KIT_TEST(connections_that_wait_are_not_lost),
        KIT_TEST(connections_nobody_took_end_with_their_listener),
        KIT_TEST(closing_a_listener_is_no_affair_of_others),
        KIT_TEST(epoll_serves_where_it_is_missing),
        KIT_TEST(kernel_that_is_too_busy_is_asked_again),
        KIT_TEST(want_of_memory_is_no_lack),
        KIT_TEST(older_kernels_fill_a_buffer_at_once),
    };
    setenv("ASYNCORE_BACKEND", "io_uring", 1);
    return cmocka_run_group_tests_name("uring", tests, NULL, NULL);
}
