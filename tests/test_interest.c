/* SPDX-License-Identifier: MIT */
/* test_interest.c - who is asked, when, and what that costs. */
#include <arpa/inet.h>

#include "kit.h"

static int
never(struct asyncore_map *map, void *arg)
{
    (void)map;
    (void)arg;
    fail_msg("a timer for next year has run");
    return 0;
}

/* The calls that one pass makes, of each kind. */
static void
calls_of_a_pass(unsigned long calls[KIT_NCALLS])
{
    kit_count_anew();
    kit_pass();
    memcpy(calls, kit.world.calls, sizeof kit.world.calls);
}

static void
assert_same_calls(const unsigned long a[KIT_NCALLS],
                  const unsigned long b[KIT_NCALLS])
{
    for (int i = 0; i < KIT_NCALLS; i++) {
        if (a[i] != b[i]) {
            fail_msg("%s: %lu calls, not %lu", kit_call_name((enum kit_call)i),
                     b[i], a[i]);
        }
    }
}

/* ---- asked in every pass ---- */

static void
own_predicates_are_asked_in_every_pass_in_map_order(void **state)
{
    (void)state;
    int peer[3];
    kit_pair_chan("a", REC_ASK, AF_UNIX, &peer[0]);
    kit_pair_chan("b", 0, AF_UNIX, &peer[1]);
    kit_pair_chan("c", REC_ASK, AF_UNIX, &peer[2]);
    for (int i = 0; i < 3; i++) {
        kit_pass();
        assert_trace("a.readable\n"
                     "a.writable\n"
                     "c.readable\n"
                     "c.writable\n");
    }
    close(peer[0]);
    kit_pass();
    assert_trace("a.readable\n"
                 "a.writable\n"
                 "c.readable\n"
                 "c.writable\n"
                 "a.handle_read\n"
                 "a.handle_close\n"
                 "a.destroy\n");
    kit_pass();
    assert_trace("c.readable\n"
                 "c.writable\n");
    close(peer[1]);
    close(peer[2]);
}

static void
predicates_are_all_asked_before_any_delivery(void **state)
{
    (void)state;
    int pa, pb;
    kit_pair_chan("a", REC_ASK, AF_UNIX, &pa);
    kit_pair_chan("b", REC_ASK, AF_UNIX, &pb);
    kit_write(pa, "x", 1);
    kit_write(pb, "x", 1);
    kit_pass();
    assert_trace("a.readable\n"
                 "a.writable\n"
                 "b.readable\n"
                 "b.writable\n"
                 "a.handle_read\n"
                 "a.recv 1\n"
                 "b.handle_read\n"
                 "b.recv 1\n");
    close(pa);
    close(pb);
}

static void
answers_decide_what_is_waited_for(void **state)
{
    (void)state;
    int peer;
    struct chan *a =
        kit_pair_chan("a", REC_ASK | REC_QUIET | REC_WRITE, AF_UNIX, &peer);
    kit_write(peer, "x", 1);
    a->want_read = false;
    kit_pass();
    assert_trace("");
    a->want_write = true;
    kit_pass();
    assert_trace("a.handle_write\n");
    a->want_read = true;
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.recv 1\n"
                 "a.handle_write\n");
    a->want_write = false;
    kit_pass();
    assert_trace("");
    close(peer);
}

static void
one_own_predicate_leaves_the_other_to_the_class(void **state)
{
    (void)state;
    int fd[2];
    kit_pair(AF_UNIX, fd);
    struct chan *c = chan_new("c", REC_ASK | REC_WRITE);
    c->ops.writable = NULL; /* its handle_write makes it always true */
    assert_int_equal(chan_try(c, fd[0]), 0);
    c->want_read = false;
    kit_pass();
    assert_trace("c.readable\n"
                 "c.handle_write\n");
    close(fd[1]);
}

static void
asking_without_a_change_costs_no_call(void **state)
{
    (void)state;
    enum {
        N = 20
    };
    int peer[N];
    unsigned long with_none[KIT_NCALLS], with_many[KIT_NCALLS];
    assert_true(asyncore_call_later(kit.map, 3e7, never, NULL) > 0);
    kit_pass();
    calls_of_a_pass(with_none);
    for (int i = 0; i < N; i++) {
        kit_pair_chan("a", REC_ASK | REC_QUIET, AF_UNIX, &peer[i]);
    }
    kit_pass();
    calls_of_a_pass(with_many);
    assert_same_calls(with_none, with_many);
    for (int i = 0; i < N; i++) {
        close(peer[i]);
    }
}

static struct chan *made;
static int made_peer;

static int
react_make(struct chan *c)
{
    if (c->born++ == 0) {
        made = kit_pair_chan("new", (unsigned)c->value, AF_UNIX, &made_peer);
        kit_write(made_peer, "x", 1);
    }
    return 0;
}

static void
channel_made_in_a_predicate_is_served_in_the_next_pass(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_ASK, AF_UNIX, &peer);
    a->react[ON_READABLE] = react_make;
    a->value = REC_ASK;
    kit_pass();
    assert_trace("a.readable\n"
                 "a.writable\n");
    kit_pass();
    assert_trace("a.readable\n"
                 "a.writable\n"
                 "new.readable\n"
                 "new.writable\n"
                 "new.handle_read\n"
                 "new.recv 1\n");
    close(peer);
    close(made_peer);
}

/* ---- never asked ---- */

static void
idle_channels_cost_nothing_per_pass(void **state)
{
    (void)state;
    enum {
        N = 150
    };
    int peer[N];
    unsigned long with_none[KIT_NCALLS], with_many[KIT_NCALLS];
    assert_true(asyncore_call_later(kit.map, 3e7, never, NULL) > 0);
    kit_pass();
    calls_of_a_pass(with_none);
    for (int i = 0; i < N; i++) {
        switch (i % 4) {
        case 0:
            kit_pair_chan("d", 0, AF_UNIX, &peer[i]);
            break;
        case 1: {
            int fd[2];
            kit_pair(AF_UNIX, fd);
            peer[i] = fd[1];
            chan_open_sender("s", 0, fd[0]);
            break;
        }
        case 2:
            kit_pair_chan("t", REC_TOUCH | REC_QUIET, AF_UNIX, &peer[i]);
            break;
        default: {
            int fd[2];
            assert_int_equal(pipe(fd), 0);
            chan_open_file("f", 0, fd[0]);
            close(fd[0]);
            peer[i] = fd[1];
            break;
        }
        }
    }
    kit_pass(); /* here the backend is told */
    unsigned long allocations = kit.alloc.count;
    calls_of_a_pass(with_many);
    assert_same_calls(with_none, with_many);
    assert_int_equal(kit.alloc.count, allocations);
    for (int i = 0; i < N; i++) {
        close(peer[i]);
    }
}

static void
connected_dispatcher_without_handle_write_is_not_woken_for_room(void **state)
{
    (void)state;
    int peer;
    unsigned long before, after;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    kit_pass();
    kit_advance(0);
    before = kit.world.calls[kit_wait_call()];
    /* With nothing ready the wait takes its whole time. */
    assert_int_equal(asyncore_loop(3, false, kit.map, 2), 0);
    after = kit.world.calls[kit_wait_call()];
    assert_int_equal(after - before, 2);
    assert_trace("");
    assert_false(asyncore_writable(D(a)));
    assert_true(asyncore_readable(D(a)));
    close(peer);
}

/* ---- the price of an echo ---- */

static void
open_echoes(int n, int *peers, struct chan **chans)
{
    for (int i = 0; i < n; i++) {
        int fd[2];
        kit_pair(AF_UNIX, fd);
        peers[i] = fd[1];
        chans[i] = chan_open_sender("e", 0, fd[0]);
        chans[i]->react[ON_READ] = react_echo;
    }
}

static void
assert_price_of_echoes(int n)
{
    enum {
        MAX = 50,
        ROUNDS = 20
    };
    int peer[MAX];
    char got[8];
    struct chan *chans[MAX];
    open_echoes(n, peer, chans);
    for (int round = -2; round < ROUNDS; round++) {
        unsigned long allocations = kit.alloc.count;
        for (int i = 0; i < n; i++) {
            kit_write(peer[i], "ping", 4);
        }
        kit_count_anew();
        kit_pass();
        for (int i = 0; i < n; i++) {
            assert_int_equal(read(peer[i], got, sizeof got), 4);
        }
        if (round < 0) {
            continue; /* the first ones arm and allocate */
        }
        assert_int_equal(kit.world.calls[kit_wait_call()], 1);
        assert_int_equal(kit.world.calls[KIT_RECV], n);
        assert_int_equal(kit.world.calls[KIT_SEND], n);
        /* An io_uring is entered once more after the last pass. */
        unsigned long submits = kit.world.calls[KIT_URING_SUBMIT];
        assert_in_range(submits, 0, 1 + n / 16);
        assert_int_equal(kit.world.total - submits, 2 * n + 1);
        assert_int_equal(kit.world.calls[KIT_EPOLL_CTL], 0);
        assert_int_equal(kit.alloc.count, allocations);
    }
    for (int i = 0; i < n; i++) {
        close(peer[i]);
    }
}

static void
echo_of_one_connection_is_three_calls(void **state)
{
    (void)state;
    assert_price_of_echoes(1);
}

static void
echoes_of_fifty_connections_share_the_wait(void **state)
{
    (void)state;
    assert_price_of_echoes(50);
}

static void
queue_changes_the_interest_once_each_way(void **state)
{
    (void)state;
    bool epoll = strcmp(asyncore_map_backend(kit.map), "epoll") == 0;
    int fd[2];
    struct text got = {0};
    kit_pair(AF_UNIX, fd);
    struct chan *a = chan_open_sender("a", 0, fd[0]);
    kit_pass();
    size_t filled = kit_fill(fd[0]);
    kit_count_anew();
    for (int i = 0; i < 10; i++) {
        assert_int_equal(asyncore_send(D(a), "more", 4), 4);
        kit_pass();
    }
    assert_true(asyncore_writable(D(a)));
    assert_int_equal(kit.world.calls[KIT_EPOLL_CTL], epoll ? 1 : 0);
    RUN_UNTIL(kit_drain(fd[1], &got) && asyncore_output_size(D(a)) == 0);
    kit_pass();
    assert_false(asyncore_writable(D(a)));
    assert_int_equal(kit.world.calls[KIT_EPOLL_CTL], epoll ? 2 : 0);
    kit_drain(fd[1], &got);
    assert_int_equal(got.len, filled + 40);
    text_clear(&got);
    close(fd[1]);
}

/* ---- asked when touched ---- */

static void
asked_on_touch_only_after_own_events_and_touch(void **state)
{
    (void)state;
    int pa, pb;
    struct chan *a = kit_pair_chan("a", REC_TOUCH, AF_UNIX, &pa);
    kit_pair_chan("b", 0, AF_UNIX, &pb);
    kit_pass();
    assert_trace("a.readable\n"
                 "a.writable\n");
    kit_pass();
    assert_trace("");
    kit_write(pb, "x", 1);
    kit_pass();
    kit_pass();
    assert_trace("b.handle_read\n"
                 "b.recv 1\n");
    kit_write(pa, "x", 1);
    kit_pass();
    kit_pass();
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.recv 1\n"
                 "a.readable\n"
                 "a.writable\n");
    assert_int_equal(asyncore_touch(D(a)), 0);
    assert_int_equal(asyncore_touch(D(a)), 0);
    kit_pass();
    kit_pass();
    assert_trace("a.readable\n"
                 "a.writable\n");
    close(pa);
    close(pb);
}

static void
answer_changed_without_touch_is_not_noticed(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_TOUCH | REC_QUIET, AF_UNIX, &peer);
    kit_write(peer, "x", 1);
    a->want_read = false;
    kit_pass();
    a->want_read = true;
    kit_pass();
    assert_trace("");
    asyncore_touch(D(a));
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.recv 1\n");
    close(peer);
}

static int
react_touch_peer(struct chan *c)
{
    c->peer->want_read = true;
    assert_int_equal(asyncore_touch(D(c->peer)), 0);
    return react_read(c);
}

static void
touch_in_a_handler_counts_for_the_next_pass(void **state)
{
    (void)state;
    int pa, pb;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &pa);
    struct chan *b = kit_pair_chan("b", REC_TOUCH | REC_QUIET, AF_UNIX, &pb);
    a->peer = b;
    a->react[ON_READ] = react_touch_peer;
    b->want_read = false;
    kit_write(pa, "x", 1);
    kit_write(pb, "y", 1);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.recv 1\n");
    kit_pass();
    assert_trace("b.handle_read\n"
                 "b.recv 1\n");
    close(pa);
    close(pb);
}

static void
touch_of_no_channel_is_refused(void **state)
{
    (void)state;
    struct asyncore_dispatcher never_made;
    memset(&never_made, 0, sizeof never_made);
    assert_int_equal(asyncore_touch(NULL), -EINVAL);
    assert_int_equal(asyncore_touch(&never_made), -EINVAL);
    assert_false(asyncore_readable(NULL));
    assert_false(asyncore_writable(&never_made));
}

/* ---- what the library waits for itself ---- */

static void
connect_is_waited_for_though_writable_says_no(void **state)
{
    (void)state;
    int port;
    int listener = kit_listener(AF_INET, &port);
    struct chan *a = chan_socket("a", REC_ASK | REC_QUIET | REC_WRITE, AF_INET,
                                 SOCK_STREAM);
    a->want_read = false;
    assert_int_equal(asyncore_connect(D(a), "127.0.0.1", port), 0);
    RUN_UNTIL(D(a)->connected);
    kit_pass();
    assert_trace("a.handle_connect\n"); /* and no handle_write */
    close(listener);
}

static void
listener_that_does_not_want_to_read_does_not_accept(void **state)
{
    (void)state;
    struct chan *l = chan_listen("l", REC_ASK | REC_QUIET, AF_INET);
    int client = kit_connect(chan_port(l));
    l->want_read = false;
    l->want_write = true; /* means nothing to a listener */
    kit_pass();
    kit_pass();
    assert_trace("");
    l->want_read = true;
    RUN_UNTIL(l->born == 1);
    close(client);
}

static void
socket_that_is_nothing_yet_is_not_watched(void **state)
{
    (void)state;
    chan_socket("a", REC_WRITE, AF_INET, SOCK_STREAM);
    kit_pass();
    kit_pass();
    assert_trace("");
}

static void
datagram_socket_is_watched_at_once(void **state)
{
    (void)state;
    struct asyncore_addr addr;
    struct chan *a = chan_socket("a", 0, AF_INET, SOCK_DGRAM);
    struct chan *b = chan_socket("b", 0, AF_INET, SOCK_DGRAM);
    assert_int_equal(asyncore_bind(D(a), "127.0.0.1", 0), 0);
    assert_int_equal(asyncore_getsockname(D(a), &addr), 0);
    assert_int_equal(asyncore_sendto(D(b), "hey", 3, &addr), 3);
    RUN_UNTIL(a->events[ON_READ] == 1);
    assert_string_equal(text_get(&a->in), "hey");
}

/* ---- when the backend refuses ---- */

static void
channel_that_cannot_be_watched_is_told_so(void **state)
{
    (void)state;
    if (strcmp(asyncore_map_backend(kit.map), "epoll") != 0) {
        return; /* the others ask nobody */
    }
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    kit_fail(KIT_EPOLL_CTL, D(a)->fd, 1, 1, -ENOSPC);
    kit_pass();
    assert_trace("a.handle_error ENOSPC watch -\n"
                 "a.handle_close ENOSPC\n"
                 "a.destroy\n");
    close(peer);
}

static void
exit_now_of_one_that_cannot_be_watched_leaves_the_loop(void **state)
{
    (void)state;
    if (strcmp(asyncore_map_backend(kit.map), "epoll") != 0) {
        return; /* the others ask nobody */
    }
    int pa, pb;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &pa);
    kit_pair_chan("b", 0, AF_UNIX, &pb);
    a->react[ON_ERROR] = react_exit_now;
    kit_write(pa, "x", 1);
    kit_write(pb, "x", 1);
    kit_fail(KIT_EPOLL_CTL, D(a)->fd, 1, 1, -ENOSPC);
    assert_int_equal(asyncore_loop(1, false, kit.map, 3), ASYNCORE_EXIT_NOW);
    assert_trace("a.handle_error ENOSPC watch -\n");
    kit_pass(); /* it is tried again, and the other has lost nothing */
    assert_trace("a.handle_read\n"
                 "a.recv 1\n"
                 "b.handle_read\n"
                 "b.recv 1\n");
    close(pa);
    close(pb);
}

static void
channel_that_cannot_be_watched_for_want_of_memory_is_told_so(void **state)
{
    (void)state;
    if (strcmp(asyncore_map_backend(kit.map), "select") == 0) {
        return; /* needs none */
    }
    enum {
        N = 40
    };
    int peer[N], told = 0;
    struct chan *a[N];
    for (int i = 0; i < N; i++) {
        a[i] = kit_pair_chan("a", 0, AF_UNIX, &peer[i]);
        kit_write(peer[i], "x", 1);
    }
    kit_fail_alloc(1, 1000);
    (void)asyncore_poll(0, kit.map);
    kit_heal();
    for (int i = 0; i < N; i++) {
        told += a[i]->events[ON_ERROR] == 1 && a[i]->destroyed == 1;
        assert_int_equal(a[i]->events[ON_ERROR], a[i]->events[ON_CLOSE]);
    }
    assert_in_range(told, 1, N - 1);
    kit_pass();
    for (int i = 0; i < N; i++) { /* the others are served */
        assert_true(a[i]->destroyed || a[i]->events[ON_READ] == 1);
        close(peer[i]);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(own_predicates_are_asked_in_every_pass_in_map_order),
        KIT_TEST(predicates_are_all_asked_before_any_delivery),
        KIT_TEST(answers_decide_what_is_waited_for),
        KIT_TEST(one_own_predicate_leaves_the_other_to_the_class),
        KIT_TEST(asking_without_a_change_costs_no_call),
        KIT_TEST(channel_made_in_a_predicate_is_served_in_the_next_pass),
        KIT_TEST(idle_channels_cost_nothing_per_pass),
        KIT_TEST(
            connected_dispatcher_without_handle_write_is_not_woken_for_room),
        KIT_TEST(echo_of_one_connection_is_three_calls),
        KIT_TEST(echoes_of_fifty_connections_share_the_wait),
        KIT_TEST(queue_changes_the_interest_once_each_way),
        KIT_TEST(asked_on_touch_only_after_own_events_and_touch),
        KIT_TEST(answer_changed_without_touch_is_not_noticed),
        KIT_TEST(touch_in_a_handler_counts_for_the_next_pass),
        KIT_TEST(touch_of_no_channel_is_refused),
        KIT_TEST(connect_is_waited_for_though_writable_says_no),
        KIT_TEST(listener_that_does_not_want_to_read_does_not_accept),
        KIT_TEST(socket_that_is_nothing_yet_is_not_watched),
        KIT_TEST(datagram_socket_is_watched_at_once),
        KIT_TEST(channel_that_cannot_be_watched_is_told_so),
        KIT_TEST(exit_now_of_one_that_cannot_be_watched_leaves_the_loop),
        KIT_TEST(channel_that_cannot_be_watched_for_want_of_memory_is_told_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
