/* SPDX-License-Identifier: MIT */
/* test_loop.c - passes, and the loop around them: how long they wait, when
 * they end, and how a map lives inside of another loop. */
#include <math.h>

#include "await.h"
#include "kit.h"

#define SECOND INT64_C(1000000000)

static unsigned long
waits(void)
{
    return kit.world.calls[kit_wait_call()];
}

/* A channel that has something to read in every pass, for it never reads. */
static struct chan *
ready_chan(const char *name, int *ret_peer)
{
    struct chan *c = kit_pair_chan(name, 0, AF_UNIX, ret_peer);
    kit_write(*ret_peer, "x", 1);
    c->react[ON_READ] = react_nothing;
    return c;
}

static int
trace_call(struct asyncore_map *map, void *arg)
{
    (void)map;
    kit_trace("%s", (const char *)arg);
    return 0;
}

/* Somebody else's loop: would poll(2) return at once? */
static bool
is_due(int fd)
{
    return kit_is_readable(fd);
}

/* ---- how long a pass waits ---- */

static void
timeout_negative_or_nan_is_einval(void **state)
{
    (void)state;
    int peer;
    static const double bad[] = {-1e-9, -1, -INFINITY, NAN};
    ready_chan("a", &peer);
    kit_pass();
    text_clear(&kit.trace);
    kit_count_anew();
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(asyncore_loop(bad[i], false, kit.map, 1), -EINVAL);
        assert_int_equal(asyncore_poll(bad[i], kit.map), -EINVAL);
    }
    assert_int_equal(kit.world.total, 0);
    assert_trace("");
    close(peer);
}

static void
timeout_of_a_fraction_is_rounded_up(void **state)
{
    (void)state;
    static const struct {
        double seconds;
        int64_t ns;
    } cases[] = {{0, 0},
                 {1e-10, 1},
                 {1.5e-9, 2},
                 {1e-9, 1},
                 {0.5, SECOND / 2},
                 {30, 30 * SECOND},
                 {1e6, 1000000 * SECOND}};
    int peer;
    kit_pair_chan("a", 0, AF_UNIX, &peer);
    kit_advance(0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(asyncore_poll(cases[i].seconds, kit.map), 0);
        assert_int_equal(kit.world.timeout, cases[i].ns);
    }
    close(peer);
}

static void
timeout_that_is_huge_waits_for_ever(void **state)
{
    (void)state;
    static const double huge[] = {1e12, 1e300, ASYNCORE_FOREVER};
    int peer;
    kit_pair_chan("a", 0, AF_UNIX, &peer);
    for (size_t i = 0; i < COUNT(huge); i++) {
        kit.world.timeout = 0;
        kit_write(peer, "x", 1);
        assert_int_equal(asyncore_poll(huge[i], kit.map), 0);
        assert_int_equal(kit.world.timeout, -1);
    }
    close(peer);
}

static void
timer_before_the_timeout_shortens_the_wait(void **state)
{
    (void)state;
    int peer;
    kit_pair_chan("a", 0, AF_UNIX, &peer);
    kit_advance(0);
    assert_true(asyncore_call_later(kit.map, 5, trace_call, "timer") > 0);
    assert_int_equal(asyncore_poll(2, kit.map), 0);
    assert_int_equal(kit.world.timeout, 2 * SECOND);
    assert_trace("");
    assert_int_equal(asyncore_poll(30, kit.map), 0);
    assert_int_equal(kit.world.timeout, 3 * SECOND);
    assert_trace("timer\n");
    assert_true(asyncore_call_later(kit.map, 1, trace_call, "late") > 0);
    kit_advance(7);
    assert_int_equal(asyncore_poll(ASYNCORE_FOREVER, kit.map), 0);
    assert_int_equal(kit.world.timeout, 0);
    assert_trace("late\n");
    close(peer);
}

static void
timer_during_a_wait_for_ever_ends_it(void **state)
{
    (void)state;
    kit_advance(0);
    assert_true(asyncore_call_later(kit.map, 4, trace_call, "timer") > 0);
    assert_int_equal(asyncore_poll(ASYNCORE_FOREVER, kit.map), 0);
    assert_int_equal(kit.world.timeout, 4 * SECOND);
    assert_trace("timer\n");
}

/* ---- signals during the wait ---- */

static int
one_second_a_wait(enum kit_call call, int fd)
{
    (void)fd;
    if (call == kit_wait_call()) {
        kit_advance(1);
    }
    return 0;
}

static void
signal_during_a_wait_leaves_its_deadline(void **state)
{
    (void)state;
    int peer;
    kit_pair_chan("a", 0, AF_UNIX, &peer);
    kit_pass();
    kit_advance(0);
    kit_count_anew();
    kit.world.hook = one_second_a_wait;
    kit_fail(kit_wait_call(), -1, 1, 2, -EINTR);
    assert_int_equal(asyncore_poll(5, kit.map), 0);
    assert_int_equal(waits(), 3);
    assert_int_equal(kit.world.timeout, 3 * SECOND);
    close(peer);
}

static void
signals_beyond_the_deadline_look_once_more(void **state)
{
    (void)state;
    int peer;
    struct chan *c = kit_pair_chan("a", 0, AF_UNIX, &peer);
    kit_pass();
    kit_write(peer, "hi", 2);
    kit_advance(0);
    kit.world.hook = one_second_a_wait;
    kit_fail(kit_wait_call(), -1, 1, 3, -EINTR);
    assert_int_equal(asyncore_poll(2.5, kit.map), 0);
    assert_int_equal(kit.world.timeout, 0);
    assert_string_equal(text_get(&c->in), "hi");
    close(peer);
}

static void
signal_during_a_wait_for_ever_or_none_is_retried(void **state)
{
    (void)state;
    static const double timeouts[] = {0, ASYNCORE_FOREVER};
    int peer;
    struct chan *c = kit_pair_chan("a", 0, AF_UNIX, &peer);
    kit_pass();
    for (size_t i = 0; i < COUNT(timeouts); i++) {
        unsigned before = c->events[ON_READ];
        kit_heal();
        kit_write(peer, "x", 1);
        struct kit_fault *fault = kit_fail(kit_wait_call(), -1, 1, 2, -EINTR);
        assert_int_equal(asyncore_poll(timeouts[i], kit.map), 0);
        assert_int_equal(fault->hits, 2);
        assert_int_equal(kit.world.timeout, timeouts[i] > 0 ? -1 : 0);
        assert_int_equal(c->events[ON_READ], before + 1);
    }
    close(peer);
}

static void
wait_that_fails_delivers_nothing(void **state)
{
    (void)state;
    int peer;
    struct chan *c = ready_chan("a", &peer);
    kit_pass();
    text_clear(&kit.trace);
    kit_fail(kit_wait_call(), -1, 1, 2, -EIO);
    assert_int_equal(asyncore_loop(1, false, kit.map, 5), -EIO);
    assert_int_equal(asyncore_poll(1, kit.map), -EIO);
    assert_trace("");
    assert_true(D(c)->connected);
    kit_pass();
    assert_trace("a.handle_read\n");
    close(peer);
}

/* ---- when the loop ends ---- */

static void
loop_with_a_count_makes_that_many_passes(void **state)
{
    (void)state;
    int peer;
    struct chan *c = ready_chan("a", &peer);
    assert_int_equal(asyncore_loop(30, false, kit.map, 0), 0);
    assert_int_equal(waits(), 0);
    assert_int_equal(asyncore_loop(30, false, kit.map, 3), 0);
    assert_int_equal(waits(), 3);
    assert_int_equal(c->events[ON_READ], 3);
    close(peer);
}

static void
loop_with_an_empty_map_returns_at_once(void **state)
{
    (void)state;
    assert_int_equal(
        asyncore_loop(ASYNCORE_FOREVER, false, kit.map, ASYNCORE_UNTIL_EMPTY),
        0);
    assert_int_equal(asyncore_loop(30, false, kit.map, 7), 0);
    assert_int_equal(asyncore_poll(30, kit.map), 0);
    assert_int_equal(waits(), 0);
}

static int
close_at_the_third(struct chan *c)
{
    return c->events[ON_READ] == 3 ? asyncore_close(D(c)) : 0;
}

static void
loop_until_empty_ends_with_the_last_channel(void **state)
{
    (void)state;
    int peer[2];
    struct chan *a = ready_chan("a", &peer[0]);
    struct chan *b = ready_chan("b", &peer[1]);
    a->react[ON_READ] = close_at_the_third;
    b->react[ON_READ] = react_close;
    assert_int_equal(
        asyncore_loop(ASYNCORE_FOREVER, false, kit.map, ASYNCORE_UNTIL_EMPTY),
        0);
    assert_int_equal(waits(), 3);
    assert_trace("a.handle_read\nb.handle_read\nb.destroy\n"
                 "a.handle_read\na.handle_read\na.destroy\n");
    close(peer[0]);
    close(peer[1]);
}

static void
loop_with_only_a_timer_goes_on_until_it_has_run(void **state)
{
    (void)state;
    kit_advance(0);
    assert_true(asyncore_call_later(kit.map, 100, trace_call, "timer") > 0);
    assert_int_equal(asyncore_loop(30, false, kit.map, ASYNCORE_UNTIL_EMPTY),
                     0);
    assert_trace("timer\n");
    assert_int_equal(waits(), 4); /* of 30, 30, 30 and 10 seconds */
    assert_int_equal(kit.world.timeout, 10 * SECOND);
}

static void
loop_with_only_posted_calls_makes_them(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            asyncore_call_soon_threadsafe(kit.map, trace_call, "post"), 0);
    }
    assert_int_equal(asyncore_loop(30, false, kit.map, ASYNCORE_UNTIL_EMPTY),
                     0);
    assert_trace("post\npost\n");
}

static void
pass_with_nothing_but_a_closed_channel_destroys_it(void **state)
{
    (void)state;
    int peer;
    struct chan *c = ready_chan("a", &peer);
    assert_int_equal(asyncore_close(D(c)), 0);
    assert_trace("");
    assert_int_equal(asyncore_poll(30, kit.map), 0);
    assert_int_equal(waits(), 0);
    assert_trace("a.destroy\n");
    close(peer);
}

static void
loop_without_a_map_serves_the_default_one(void **state)
{
    (void)state;
    struct asyncore_map *map = asyncore_map_default();
    assert_non_null(map);
    assert_int_equal(asyncore_call_soon_threadsafe(map, trace_call, "one"), 0);
    assert_int_equal(asyncore_loop(30, false, NULL, ASYNCORE_UNTIL_EMPTY), 0);
    assert_int_equal(asyncore_call_soon_threadsafe(map, trace_call, "two"), 0);
    assert_int_equal(asyncore_poll(30, NULL), 0);
    assert_trace("one\ntwo\n");
    assert_int_equal(asyncore_map_free(map), 0);
}

/* ---- stop ---- */

static int
stop(struct chan *c)
{
    asyncore_stop(D(c)->map);
    return 0;
}

static void
stop_in_a_handler_ends_the_loop_after_its_pass(void **state)
{
    (void)state;
    int peer[2];
    struct chan *a = ready_chan("a", &peer[0]);
    ready_chan("b", &peer[1]);
    a->react[ON_READ] = stop;
    assert_int_equal(asyncore_loop(30, false, kit.map, ASYNCORE_UNTIL_EMPTY),
                     0);
    assert_trace("a.handle_read\nb.handle_read\n");
    assert_int_equal(asyncore_map_count(kit.map), 2);
    assert_int_equal(asyncore_loop(30, false, kit.map, ASYNCORE_UNTIL_EMPTY),
                     0);
    assert_trace("a.handle_read\nb.handle_read\n");
    close(peer[0]);
    close(peer[1]);
}

static void
stop_without_a_loop_does_nothing(void **state)
{
    (void)state;
    int peer;
    struct chan *a = ready_chan("a", &peer);
    asyncore_stop(kit.map);
    assert_int_equal(asyncore_loop(30, false, kit.map, 2), 0);
    assert_int_equal(a->events[ON_READ], 2);
    a->react[ON_READ] = stop; /* a pass is no loop */
    kit_pass();
    a->react[ON_READ] = react_nothing;
    assert_int_equal(asyncore_loop(30, false, kit.map, 2), 0);
    assert_int_equal(a->events[ON_READ], 5);
    close(peer);
}

static int
stop_call(struct asyncore_map *map, void *arg)
{
    (void)arg;
    asyncore_stop(map);
    return 0;
}

static void
stop_in_a_post_ends_the_loop(void **state)
{
    (void)state;
    int peer;
    kit_pair_chan("a", 0, AF_UNIX, &peer);
    assert_int_equal(asyncore_call_soon_threadsafe(kit.map, stop_call, NULL),
                     0);
    assert_int_equal(
        asyncore_loop(ASYNCORE_FOREVER, false, kit.map, ASYNCORE_UNTIL_EMPTY),
        0);
    assert_int_equal(asyncore_map_count(kit.map), 1);
    close(peer);
}

/* ---- loops in loops ---- */

/* The first time it runs the loop of its own map, c->value passes. */
static int
nest_once(struct chan *c)
{
    if (c->events[ON_READ] > 1) {
        return 0;
    }
    kit_trace("in");
    int rc = asyncore_loop(30, false, D(c)->map, c->value);
    kit_trace("out %s", rc == ASYNCORE_EXIT_NOW ? "EXIT_NOW" : "0");
    return 0;
}

static int
nest_once_and_return(struct chan *c)
{
    if (c->events[ON_READ] > 1) {
        return 0;
    }
    return asyncore_loop(30, false, D(c)->map, c->value);
}

static void
stop_in_a_nested_loop_ends_the_inner_one(void **state)
{
    (void)state;
    int peer[2];
    struct chan *a = ready_chan("a", &peer[0]);
    struct chan *b = ready_chan("b", &peer[1]);
    a->react[ON_READ] = nest_once;
    a->value = 10;
    b->react[ON_READ] = stop;
    assert_int_equal(asyncore_loop(30, false, kit.map, 2), 0);
    assert_trace("a.handle_read\nin\na.handle_read\nb.handle_read\nout 0\n"
                 "b.handle_read\n"); /* … which stops the outer one, too */
    close(peer[0]);
    close(peer[1]);
}

static int
stop_then_nest(struct chan *c)
{
    if (c->events[ON_READ] > 1) {
        return 0;
    }
    asyncore_stop(D(c)->map);
    int rc = asyncore_loop(30, false, D(c)->map, 1);
    kit_trace("out %d", rc);
    return 0;
}

static void
stop_before_a_nested_loop_ends_the_outer_one(void **state)
{
    (void)state;
    int peer;
    struct chan *a = ready_chan("a", &peer);
    a->react[ON_READ] = stop_then_nest;
    assert_int_equal(asyncore_loop(30, false, kit.map, 9), 0);
    assert_trace("a.handle_read\na.handle_read\nout 0\n");
    close(peer);
}

static void
exit_now_in_a_handler_leaves_the_loop(void **state)
{
    (void)state;
    int peer[3];
    struct chan *a = ready_chan("a", &peer[0]);
    struct chan *b = ready_chan("b", &peer[1]);
    ready_chan("c", &peer[2]);
    b->react[ON_READ] = react_exit_now;
    assert_int_equal(asyncore_loop(30, false, kit.map, ASYNCORE_UNTIL_EMPTY),
                     ASYNCORE_EXIT_NOW);
    assert_trace("a.handle_read\nb.handle_read\n");
    assert_true(D(a)->connected && D(b)->connected);
    assert_int_equal(asyncore_map_count(kit.map), 3);
    b->react[ON_READ] = react_nothing;
    kit_pass();
    assert_trace("a.handle_read\nb.handle_read\nc.handle_read\n");
    for (size_t i = 0; i < COUNT(peer); i++) {
        close(peer[i]);
    }
}

static void
exit_now_in_a_pass_is_its_result(void **state)
{
    (void)state;
    int peer;
    struct chan *a = ready_chan("a", &peer);
    a->react[ON_READ] = react_exit_now;
    assert_int_equal(asyncore_poll(30, kit.map), ASYNCORE_EXIT_NOW);
    close(peer);
}

static void
exit_now_in_a_nested_loop_leaves_the_inner_one(void **state)
{
    (void)state;
    int peer[2];
    struct chan *a = ready_chan("a", &peer[0]);
    struct chan *b = ready_chan("b", &peer[1]);
    a->react[ON_READ] = nest_once;
    a->value = 10;
    b->react[ON_READ] = react_exit_now;
    assert_int_equal(asyncore_loop(30, false, kit.map, 1), ASYNCORE_EXIT_NOW);
    assert_trace("a.handle_read\nin\na.handle_read\nb.handle_read\n"
                 "out EXIT_NOW\nb.handle_read\n");
    close(peer[0]);
    close(peer[1]);
}

static int
exit_now_once(struct chan *c)
{
    return c->events[ON_READ] == 1 ? ASYNCORE_EXIT_NOW : 0;
}

static void
exit_now_that_the_handler_keeps_leaves_the_outer_loop_running(void **state)
{
    (void)state;
    int peer[2];
    struct chan *a = ready_chan("a", &peer[0]);
    struct chan *b = ready_chan("b", &peer[1]);
    a->react[ON_READ] = nest_once;
    a->value = 10;
    b->react[ON_READ] = exit_now_once;
    assert_int_equal(asyncore_loop(30, false, kit.map, 2), 0);
    assert_trace("a.handle_read\nin\na.handle_read\nb.handle_read\n"
                 "out EXIT_NOW\nb.handle_read\n"
                 "a.handle_read\nb.handle_read\n");
    close(peer[0]);
    close(peer[1]);
}

static void
exit_now_that_the_handler_returns_leaves_both_loops(void **state)
{
    (void)state;
    int peer[2];
    struct chan *a = ready_chan("a", &peer[0]);
    struct chan *b = ready_chan("b", &peer[1]);
    a->react[ON_READ] = nest_once_and_return;
    a->value = 10;
    b->react[ON_READ] = exit_now_once;
    assert_int_equal(asyncore_loop(30, false, kit.map, 9), ASYNCORE_EXIT_NOW);
    assert_trace("a.handle_read\na.handle_read\nb.handle_read\n");
    close(peer[0]);
    close(peer[1]);
}

/* What recv() says is dropped: a handler must not be able to lose it. */
static int
read_and_forget(struct chan *c)
{
    char byte;
    kit_trace("%s", asyncore_recv(D(c), &byte, 1) == 1 ? "got" : "did not");
    return 0;
}

static void
exit_now_in_the_handle_close_of_a_recv_leaves_the_loop(void **state)
{
    (void)state;
    int peer[2];
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer[0]);
    struct chan *b = kit_pair_chan("b", 0, AF_UNIX, &peer[1]);
    a->react[ON_CLOSE] = b->react[ON_CLOSE] = react_exit_now;
    a->react[ON_READ] = read_and_forget;
    close(peer[0]);
    assert_int_equal(asyncore_loop(30, false, kit.map, 9), ASYNCORE_EXIT_NOW);
    assert_trace("a.handle_read\na.handle_close\ndid not\n");
    assert_int_equal(asyncore_map_count(kit.map), 2);
    assert_int_equal(asyncore_close(D(a)), 0);
    close(peer[1]); /* b hands on what recv() says */
    assert_int_equal(asyncore_loop(30, false, kit.map, 9), ASYNCORE_EXIT_NOW);
    assert_trace("b.handle_read\nb.handle_close\na.destroy\n");
}

/* Runs the loop of another map, whose channel is c->peer. */
static int
serve_other(struct chan *c)
{
    int rc = asyncore_loop(30, false, D(c->peer)->map, ASYNCORE_UNTIL_EMPTY);
    kit_trace("%s", rc == ASYNCORE_EXIT_NOW ? "EXIT_NOW" : "0");
    return asyncore_close(D(c));
}

static void
exit_now_of_another_map_is_not_this_ones(void **state)
{
    (void)state;
    int peer[2];
    struct chan *a = ready_chan("a", &peer[0]);
    struct asyncore_map *map = kit.map, *other;
    assert_int_equal(asyncore_map_create(NULL, &other), 0);
    kit.map = other;
    struct chan *b = ready_chan("b", &peer[1]);
    kit.map = map;
    a->react[ON_READ] = serve_other;
    a->peer = b;
    b->react[ON_READ] = react_exit_now;
    assert_int_equal(asyncore_loop(30, false, map, ASYNCORE_UNTIL_EMPTY), 0);
    assert_trace("a.handle_read\nb.handle_read\nEXIT_NOW\na.destroy\n");
    assert_int_equal(asyncore_close_all(other, false), 0);
    assert_int_equal(asyncore_map_free(other), 0);
    close(peer[0]);
    close(peer[1]);
}

/* ---- use_poll ---- */

static void
use_poll_moves_a_map_from_select_to_poll(void **state)
{
    (void)state;
    const char *before = asyncore_map_backend(kit.map);
    bool on_select = strcmp(before, "select") == 0;
    int peer;
    struct chan *a = ready_chan("a", &peer);
    kit_pass();
    assert_int_equal(asyncore_loop(30, false, kit.map, 1), 0);
    assert_string_equal(asyncore_map_backend(kit.map), before);
    assert_int_equal(asyncore_loop(30, true, kit.map, 1), 0);
    assert_string_equal(asyncore_map_backend(kit.map),
                        on_select ? "poll" : before);
    assert_int_equal(a->events[ON_READ], 3);
    close(peer);
}

/* ---- inside another loop ---- */

static void
embedded_map_is_readable_when_a_channel_is_ready(void **state)
{
    (void)state;
    int peer;
    double timeout = -1;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    int fd = asyncore_map_fileno(kit.map);
    assert_true(fd >= 0);
    assert_int_equal(asyncore_prepare(kit.map, &timeout), 0);
    assert_true(isinf(timeout) && timeout > 0);
    assert_false(is_due(fd));
    kit_write(peer, "hello", 5);
    assert_true(is_due(fd));
    kit_pass();
    assert_string_equal(text_get(&a->in), "hello");
    assert_int_equal(asyncore_prepare(kit.map, &timeout), 0);
    assert_false(is_due(fd));
    assert_int_equal(asyncore_map_fileno(kit.map), fd);
    close(peer);
}

static void
embedded_map_moves_to_a_backend_with_a_descriptor(void **state)
{
    (void)state;
    int peer;
    double timeout;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    kit_pass(); /* the first backend knows the channel */
    int fd = asyncore_map_fileno(kit.map);
    assert_true(fd >= 0);
    assert_non_null(kit.map->backend->fileno);
    assert_int_equal(asyncore_prepare(kit.map, &timeout), 0);
    assert_false(is_due(fd));
    kit_write(peer, "x", 1);
    assert_true(is_due(fd));
    kit_pass();
    assert_int_equal(a->events[ON_READ], 1);
    close(peer);
}

static void
embedded_map_tells_when_its_timer_is_due(void **state)
{
    (void)state;
    double timeout = -1;
    kit_advance(0);
    assert_true(asyncore_call_later(kit.map, 2.5, trace_call, "timer") > 0);
    assert_int_equal(asyncore_prepare(kit.map, &timeout), 0);
    assert_true(timeout == 2.5);
    kit_advance(1);
    assert_int_equal(asyncore_prepare(kit.map, &timeout), 0);
    assert_true(timeout == 1.5);
    kit_pass();
    assert_trace("");
    kit_advance(2);
    assert_int_equal(asyncore_prepare(kit.map, &timeout), 0);
    assert_true(timeout == 0);
    kit_pass();
    assert_trace("timer\n");
}

static void
embedded_map_is_due_at_once_for_what_is_certain(void **state)
{
    (void)state;
    double timeout = -1;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    int fd = asyncore_map_fileno(kit.map);
    /* A post: the descriptor tells it, to an outer loop that sleeps. */
    assert_int_equal(asyncore_prepare(kit.map, &timeout), 0);
    assert_int_equal(asyncore_call_soon_threadsafe(kit.map, trace_call, "p"),
                     0);
    assert_true(is_due(fd));
    assert_int_equal(asyncore_prepare(kit.map, &timeout), 0);
    assert_true(timeout == 0);
    kit_pass();
    assert_trace("p\n");
    assert_int_equal(asyncore_prepare(kit.map, &timeout), 0);
    assert_true(timeout > 0);
    assert_false(is_due(fd));
    /* A channel to be destroyed. */
    assert_int_equal(asyncore_close(D(a)), 0);
    assert_int_equal(asyncore_prepare(kit.map, &timeout), 0);
    assert_true(timeout == 0);
    kit_pass();
    assert_trace("a.destroy\n");
    close(peer);
}

static void
embedded_map_with_a_regular_file_is_due_at_once(void **state)
{
    (void)state;
    double timeout = -1;
    FILE *file = tmpfile();
    assert_non_null(file);
    chan_open_file("f", 0, fileno(file));
    assert_true(asyncore_map_fileno(kit.map) >= 0);
    assert_int_equal(asyncore_prepare(kit.map, &timeout), 0);
    assert_true(timeout == 0);
    kit_pass();
    assert_trace("f.handle_read\nf.handle_close\nf.destroy\n");
    fclose(file);
}

static void
prepare_asks_the_predicates(void **state)
{
    (void)state;
    int peer;
    double timeout;
    struct chan *a = kit_pair_chan("a", REC_ASK, AF_UNIX, &peer);
    kit_write(peer, "x", 1);
    int fd = asyncore_map_fileno(kit.map);
    a->want_read = false;
    assert_int_equal(asyncore_prepare(kit.map, &timeout), 0);
    assert_trace("a.readable\na.writable\n");
    assert_false(is_due(fd));
    a->want_read = true;
    assert_int_equal(asyncore_prepare(kit.map, &timeout), 0);
    assert_true(is_due(fd));
    assert_int_equal(asyncore_prepare(kit.map, NULL), -EINVAL);
    close(peer);
}

static void
fileno_of_a_map_that_cannot_move_is_an_error(void **state)
{
    (void)state;
    if (kit.map->backend->fileno != NULL) {
        skip();
    }
    const char *before = asyncore_map_backend(kit.map);
    int peer;
    struct chan *a = ready_chan("a", &peer);
    kit_pass();
    kit_fail(KIT_EPOLL_CREATE, -1, 1, 1, -EMFILE);
    assert_int_equal(asyncore_map_fileno(kit.map), -EMFILE);
    assert_string_equal(asyncore_map_backend(kit.map), before);
    kit_pass();
    assert_int_equal(a->events[ON_READ], 2);
    close(peer);
}

/* Another program's loop around poll(2): it knows one descriptor. */
static void
embedded_map_in_a_poll_loop_serves_to_the_end(void **state)
{
    (void)state;
    struct chan *server = chan_listen("s", 0, AF_INET);
    int client = kit_connect(chan_port(server));
    struct text got = {0};
    kit_write(client, "ping", 4);
    shutdown(client, SHUT_WR);
    struct pollfd outer = {.fd = asyncore_map_fileno(kit.map),
                           .events = POLLIN};
    assert_true(outer.fd >= 0);
    while (server->last == NULL || server->last->destroyed == 0) {
        double timeout;
        assert_int_equal(asyncore_prepare(kit.map, &timeout), 0);
        assert_int_equal(poll(&outer, 1, 10000), 1);
        kit_pass();
    }
    assert_string_equal(text_get(&server->last->in), "ping");
    assert_int_equal(server->last->events[ON_CLOSE], 1);
    drain_to_end(client, &got);
    text_clear(&got);
    close(client);
}

/* A map as a channel of another map. */
static struct asyncore_map *inner_map;

static int
serve_inner(struct chan *c)
{
    double timeout;
    (void)c;
    int rc = asyncore_poll(0, inner_map);
    return rc < 0 ? rc : asyncore_prepare(inner_map, &timeout);
}

static void
embedded_map_in_a_channel_of_another_is_served(void **state)
{
    (void)state;
    int peer;
    double timeout;
    struct asyncore_map *outer = kit.map;
    assert_int_equal(asyncore_map_create(NULL, &inner_map), 0);
    kit.map = inner_map;
    struct chan *in = kit_pair_chan("in", 0, AF_UNIX, &peer);
    kit.map = outer;
    struct chan *out =
        chan_open_file("out", 0, asyncore_map_fileno(inner_map));
    out->react[ON_READ] = serve_inner;
    assert_int_equal(asyncore_prepare(inner_map, &timeout), 0);
    kit_pass();
    assert_trace("");
    kit_write(peer, "one", 3);
    assert_int_equal(asyncore_loop(30, false, outer, 1), 0);
    assert_trace("out.handle_read\nin.handle_read\nin.recv 3\n");
    kit_pass();
    assert_trace("");
    close(peer);
    assert_int_equal(asyncore_loop(30, false, outer, 1), 0);
    assert_trace("out.handle_read\nin.handle_read\nin.handle_close\n"
                 "in.destroy\n");
    assert_int_equal(in->destroyed, 1);
    assert_int_equal(asyncore_map_free(inner_map), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(timeout_negative_or_nan_is_einval),
        KIT_TEST(timeout_of_a_fraction_is_rounded_up),
        KIT_TEST(timeout_that_is_huge_waits_for_ever),
        KIT_TEST(timer_before_the_timeout_shortens_the_wait),
        KIT_TEST(timer_during_a_wait_for_ever_ends_it),
        KIT_TEST(signal_during_a_wait_leaves_its_deadline),
        KIT_TEST(signals_beyond_the_deadline_look_once_more),
        KIT_TEST(signal_during_a_wait_for_ever_or_none_is_retried),
        KIT_TEST(wait_that_fails_delivers_nothing),
        KIT_TEST(loop_with_a_count_makes_that_many_passes),
        KIT_TEST(loop_with_an_empty_map_returns_at_once),
        KIT_TEST(loop_until_empty_ends_with_the_last_channel),
        KIT_TEST(loop_with_only_a_timer_goes_on_until_it_has_run),
        KIT_TEST(loop_with_only_posted_calls_makes_them),
        KIT_TEST(pass_with_nothing_but_a_closed_channel_destroys_it),
        KIT_TEST(loop_without_a_map_serves_the_default_one),
        KIT_TEST(stop_in_a_handler_ends_the_loop_after_its_pass),
        KIT_TEST(stop_without_a_loop_does_nothing),
        KIT_TEST(stop_in_a_post_ends_the_loop),
        KIT_TEST(stop_in_a_nested_loop_ends_the_inner_one),
        KIT_TEST(stop_before_a_nested_loop_ends_the_outer_one),
        KIT_TEST(exit_now_in_a_handler_leaves_the_loop),
        KIT_TEST(exit_now_in_a_pass_is_its_result),
        KIT_TEST(exit_now_in_a_nested_loop_leaves_the_inner_one),
        KIT_TEST(
            exit_now_that_the_handler_keeps_leaves_the_outer_loop_running),
        KIT_TEST(exit_now_that_the_handler_returns_leaves_both_loops),
        KIT_TEST(exit_now_in_the_handle_close_of_a_recv_leaves_the_loop),
        KIT_TEST(exit_now_of_another_map_is_not_this_ones),
        KIT_TEST(use_poll_moves_a_map_from_select_to_poll),
        KIT_TEST(embedded_map_is_readable_when_a_channel_is_ready),
        KIT_TEST(embedded_map_moves_to_a_backend_with_a_descriptor),
        KIT_TEST(embedded_map_tells_when_its_timer_is_due),
        KIT_TEST(embedded_map_is_due_at_once_for_what_is_certain),
        KIT_TEST(embedded_map_with_a_regular_file_is_due_at_once),
        KIT_TEST(prepare_asks_the_predicates),
        KIT_TEST(fileno_of_a_map_that_cannot_move_is_an_error),
        KIT_TEST(embedded_map_in_a_poll_loop_serves_to_the_end),
        KIT_TEST(embedded_map_in_a_channel_of_another_is_served),
    };
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
