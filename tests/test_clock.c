/* SPDX-License-Identifier: MIT */
/* test_clock.c - time in a map: timers and idle timeouts, by a clock that
 * stands still unless it is turned. */
#include <math.h>
#include <netinet/in.h>

#include "await.h"
#include "kit.h"

static int
setup(void **state)
{
    int err = kit_setup(state);
    kit_advance(0);
    return err;
}

static int
trace_call(struct asyncore_map *map, void *arg)
{
    assert_ptr_equal(map, kit.map);
    kit_trace("%s", (const char *)arg);
    return 0;
}

static int64_t
later(double delay, asyncore_call_fn *fn, const void *arg)
{
    int64_t id =
        asyncore_call_later(kit.map, delay, fn, (void *)(uintptr_t)arg);
    assert_true(id > 0);
    return id;
}

/* Turn the clock, and let the map notice. */
static void
advance(double seconds)
{
    kit_advance(seconds);
    kit_pass();
}

/* ---- timers ---- */

static void
timer_is_called_once_when_it_is_due(void **state)
{
    (void)state;
    later(1.5, trace_call, "timer");
    kit_pass();
    advance(1.4);
    assert_trace("");
    advance(0.1);
    assert_trace("timer\n");
    advance(10);
    assert_trace("");
}

static void
timers_are_called_by_time_then_by_order_of_adding(void **state)
{
    (void)state;
    later(3, trace_call, "three");
    later(1, trace_call, "one");
    later(2, trace_call, "two a");
    later(0, trace_call, "zero");
    later(2, trace_call, "two b");
    later(2, trace_call, "two c");
    advance(2);
    assert_trace("zero\none\ntwo a\ntwo b\ntwo c\n");
    advance(1);
    assert_trace("three\n");
}

static unsigned last_number, numbers;

static int
take_number(struct asyncore_map *map, void *arg)
{
    (void)map;
    assert_true((uintptr_t)arg > last_number);
    last_number = (unsigned)(uintptr_t)arg;
    numbers++;
    return 0;
}

static void
timers_by_the_thousand_keep_their_order(void **state)
{
    (void)state;
    enum {
        N = 5003
    }; /* a prime: the steps below visit each once */
    static int64_t ids[N];
    unsigned left = 0;
    last_number = numbers = 0;
    for (unsigned i = 1; i < N; i++) {
        unsigned n = i * 1009 % N;
        ids[n] = later(n, take_number, (void *)(uintptr_t)n);
    }
    for (unsigned n = 1; n < N; n++) {
        if (n % 3 == 0) {
            assert_int_equal(asyncore_cancel(kit.map, ids[n]), 0);
        }
        else {
            left++;
        }
    }
    advance(N);
    assert_int_equal(numbers, left);
    assert_int_equal(last_number, N - 1);
}

static void
timer_that_is_cancelled_is_not_called(void **state)
{
    (void)state;
    int64_t a = later(1, trace_call, "a");
    int64_t b = later(1, trace_call, "b");
    int64_t c = later(1, trace_call, "c");
    assert_true(a != b && b != c && a != c);
    assert_int_equal(asyncore_cancel(kit.map, b), 0);
    assert_int_equal(asyncore_cancel(kit.map, b), -ENOENT);
    advance(1);
    assert_trace("a\nc\n");
    assert_int_equal(asyncore_cancel(kit.map, a), -ENOENT);
}

static void
cancel_of_no_timer_is_enoent(void **state)
{
    (void)state;
    static const int64_t none[] = {
        0, -1, 1, 2, INT64_MIN, INT64_MAX, INT64_C(1) << 40};
    for (size_t i = 0; i < COUNT(none); i++) {
        assert_int_equal(asyncore_cancel(kit.map, none[i]), -ENOENT);
    }
}

static void
cancel_that_is_late_harms_nobody_else(void **state)
{
    (void)state;
    int64_t old = later(0, trace_call, "old");
    kit_pass();
    assert_trace("old\n");
    for (int i = 0; i < 50; i++) {
        int64_t new = later(1, trace_call, "new"); /* in its place */
        assert_int_not_equal(new, old);
        assert_int_equal(asyncore_cancel(kit.map, old), -ENOENT);
        advance(1);
        assert_trace("new\n");
        assert_int_equal(asyncore_cancel(kit.map, old), -ENOENT);
        old = new;
    }
}

/* Timers that cancel: each knows the id of its victim. */
static int64_t victim;

static int
cancel_victim(struct asyncore_map *map, void *arg)
{
    (void)arg;
    kit_trace("cancel %d", asyncore_cancel(map, victim));
    return 0;
}

static void
timer_cancelled_by_another_that_is_due_is_not_called(void **state)
{
    (void)state;
    later(1, cancel_victim, NULL);
    victim = later(1, trace_call, "victim");
    later(1, trace_call, "next");
    advance(5);
    assert_trace("cancel 0\nnext\n");
}

static void
timer_that_cancels_itself_is_running(void **state)
{
    (void)state;
    char want[32];
    victim = later(1, cancel_victim, NULL);
    advance(1);
    snprintf(want, sizeof want, "cancel %d\n", -ENOENT);
    assert_trace(want);
}

static int
add_again(struct asyncore_map *map, void *arg)
{
    (void)map;
    kit_trace("tick");
    later(0, add_again, arg);
    return 0;
}

static void
timer_added_in_a_timer_is_called_in_the_next_pass(void **state)
{
    (void)state;
    later(0, add_again, NULL);
    later(0, trace_call, "other");
    kit_pass();
    assert_trace("tick\nother\n");
    kit_pass();
    assert_trace("tick\n");
    assert_int_equal(asyncore_loop(30, false, kit.map, 3), 0);
    assert_trace("tick\ntick\ntick\n");
}

static int
fail_call(struct asyncore_map *map, void *arg)
{
    (void)map;
    return -*(const int *)arg;
}

static void
timer_that_fails_is_logged_and_the_others_run(void **state)
{
    (void)state;
    static const int eio = EIO, again = EAGAIN;
    later(0, fail_call, &again); /* nothing to do: no failure */
    kit_pass();
    assert_string_equal(text_get(&kit.log), "");
    later(0, fail_call, &eio);
    later(0, trace_call, "next");
    kit_pass();
    assert_trace("next\n");
    assert_logged("error: ");
    assert_logged("EIO");
}

static int
exit_now(struct asyncore_map *map, void *arg)
{
    (void)map;
    (void)arg;
    kit_trace("exit");
    return ASYNCORE_EXIT_NOW;
}

static void
timer_that_exits_leaves_the_others_for_later(void **state)
{
    (void)state;
    later(1, exit_now, NULL);
    later(1, trace_call, "next");
    assert_int_equal(asyncore_loop(30, false, kit.map, ASYNCORE_UNTIL_EMPTY),
                     ASYNCORE_EXIT_NOW);
    assert_trace("exit\n");
    assert_int_equal(asyncore_loop(30, false, kit.map, ASYNCORE_UNTIL_EMPTY),
                     0);
    assert_trace("next\n");
}

static int
nested_loop(struct asyncore_map *map, void *arg)
{
    (void)arg;
    kit_trace("in");
    kit_trace("out %d", asyncore_loop(0, false, map, 1));
    return 0;
}

static void
timers_after_one_that_runs_the_loop_are_called_once(void **state)
{
    (void)state;
    later(1, nested_loop, NULL);
    later(1, trace_call, "a");
    advance(1);
    assert_trace("in\na\nout 0\n");
    advance(1);
    assert_trace("");
}

static void
call_at_is_called_at_that_time(void **state)
{
    (void)state;
    double now = asyncore_time(kit.map);
    assert_true(asyncore_call_at(kit.map, now + 4, trace_call,
                                 (void *)(uintptr_t) "four") > 0);
    assert_true(asyncore_call_at(kit.map, now + 2, trace_call,
                                 (void *)(uintptr_t) "two") > 0);
    advance(2.001);
    assert_trace("two\n");
    assert_true(fabs(asyncore_time(kit.map) - now - 2.001) < 1e-6);
    advance(2);
    assert_trace("four\n");
}

static void
call_at_a_time_that_has_passed_is_now(void **state)
{
    (void)state;
    static const double passed[] = {0, -1, -1e300, -INFINITY, 1e-9};
    for (size_t i = 0; i < COUNT(passed); i++) {
        assert_true(asyncore_call_at(kit.map, passed[i], trace_call,
                                     (void *)(uintptr_t) "now") > 0);
        kit_pass();
        assert_trace("now\n");
    }
}

/* A metronome that is behind: its next time has always passed. */
static int
tick(struct asyncore_map *map, void *arg)
{
    double *when = arg;
    *when += 0.001;
    kit_trace("tick");
    assert_true(asyncore_call_at(map, *when, tick, when) > 0);
    return 0;
}

static void
call_at_that_lags_behind_lets_others_run(void **state)
{
    (void)state;
    double when = asyncore_time(kit.map);
    assert_true(asyncore_call_at(kit.map, when, tick, &when) > 0);
    later(1, trace_call, "other");
    advance(100);
    kit_pass();
    assert_trace("tick\nother\ntick\n");
}

static void
timer_with_wrong_arguments_is_einval(void **state)
{
    (void)state;
    static const double bad[] = {-1e-9, -5, NAN, INFINITY, -INFINITY};
    unsigned long before = kit.alloc.count;
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(
            asyncore_call_later(kit.map, bad[i], trace_call, NULL), -EINVAL);
    }
    assert_int_equal(asyncore_call_at(kit.map, NAN, trace_call, NULL),
                     -EINVAL);
    assert_int_equal(asyncore_call_at(kit.map, INFINITY, trace_call, NULL),
                     -EINVAL);
    assert_int_equal(kit.alloc.count, before);
    assert_int_equal(asyncore_loop(30, false, kit.map, ASYNCORE_UNTIL_EMPTY),
                     0);
    assert_int_equal(kit.world.calls[kit_wait_call()], 0);
}

static void
timer_without_memory_is_enomem(void **state)
{
    (void)state;
    for (unsigned long n = 1; n <= 2; n++) {
        kit_fail_alloc(n, 1);
        assert_int_equal(asyncore_call_later(kit.map, 0, trace_call, NULL),
                         -ENOMEM);
        kit_heal();
        /* The first time it was not even half there. */
        assert_int_equal(asyncore__timers_next(&kit.map->timers), INT64_MAX);
    }
    later(0, trace_call, "timer");
    kit_pass();
    assert_trace("timer\n");
}

static int
trace_default(struct asyncore_map *map, void *arg)
{
    (void)arg;
    kit_trace("%s", map == asyncore_map_default() ? "default" : "another");
    return 0;
}

static void
timer_without_a_map_is_the_default_ones(void **state)
{
    (void)state;
    int64_t id = asyncore_call_later(NULL, 1, trace_default, NULL);
    assert_true(id > 0);
    assert_true(asyncore_call_at(NULL, 0, trace_default, NULL) > 0);
    assert_int_equal(asyncore_cancel(NULL, id), 0);
    assert_true(asyncore_time(NULL) > 0);
    assert_int_equal(asyncore_loop(30, false, NULL, ASYNCORE_UNTIL_EMPTY), 0);
    assert_trace("default\n");
    assert_int_equal(asyncore_map_free(asyncore_map_default()), 0);
}

/* ---- idle timeouts ---- */

static struct chan *
idle_chan(const char *name, double seconds, int *ret_peer)
{
    struct chan *c = kit_pair_chan(name, 0, AF_UNIX, ret_peer);
    assert_int_equal(asyncore_set_timeout(D(c), seconds), 0);
    return c;
}

static void
idle_channel_is_closed_by_default(void **state)
{
    (void)state;
    int peer;
    idle_chan("a", 5, &peer);
    advance(4.9);
    assert_trace("");
    advance(0.1);
    assert_trace("a.handle_timeout\na.handle_close ETIMEDOUT\na.destroy\n");
    assert_int_equal(asyncore_loop(30, false, kit.map, ASYNCORE_UNTIL_EMPTY),
                     0);
    assert_int_equal(kit.world.calls[kit_wait_call()], 2);
    close(peer);
}

static void
idle_channel_of_no_class_is_closed(void **state)
{
    (void)state;
    int fd[2];
    struct asyncore_dispatcher d;
    kit_pair(AF_UNIX, fd);
    assert_int_equal(asyncore_dispatcher_init(&d, NULL, fd[0], kit.map), 0);
    assert_int_equal(asyncore_set_timeout(&d, 1), 0);
    advance(1);
    assert_int_equal(d.fd, -1);
    assert_int_equal(d.error, -ETIMEDOUT);
    close(fd[1]);
}

static void
idle_timeout_ends_the_wait(void **state)
{
    (void)state;
    int peer;
    idle_chan("a", 5, &peer);
    assert_int_equal(
        asyncore_loop(ASYNCORE_FOREVER, false, kit.map, ASYNCORE_UNTIL_EMPTY),
        0);
    assert_int_equal(kit.world.timeout, INT64_C(5000000000));
    assert_trace("a.handle_timeout\na.handle_close ETIMEDOUT\na.destroy\n");
    close(peer);
}

static void
idle_timeout_begins_anew_with_each_event(void **state)
{
    (void)state;
    int peer;
    struct chan *a = idle_chan("a", 5, &peer);
    for (int i = 0; i < 10; i++) {
        kit_write(peer, "x", 1);
        advance(4);
    }
    assert_int_equal(a->events[ON_TIMEOUT], 0);
    assert_int_equal(a->in.len, 10);
    advance(4.9);
    assert_int_equal(a->events[ON_TIMEOUT], 0);
    advance(0.1);
    assert_int_equal(a->events[ON_TIMEOUT], 1);
    close(peer);
}

static void
idle_timeout_begins_anew_with_each_write_event(void **state)
{
    (void)state;
    int peer;
    struct chan *a =
        kit_pair_chan("a", REC_ASK | REC_QUIET | REC_WRITE, AF_UNIX, &peer);
    assert_int_equal(asyncore_set_timeout(D(a), 5), 0);
    a->want_write = true;
    for (int i = 0; i < 3; i++) {
        advance(4);
    }
    assert_int_equal(a->events[ON_TIMEOUT], 0);
    a->want_write = false;
    advance(5);
    assert_int_equal(a->events[ON_TIMEOUT], 1);
    close(peer);
}

static void
idle_timeout_comes_again_and_again(void **state)
{
    (void)state;
    int peer;
    struct chan *a = idle_chan("a", 5, &peer);
    a->react[ON_TIMEOUT] = react_nothing;
    for (unsigned i = 1; i <= 4; i++) {
        advance(5);
        assert_int_equal(a->events[ON_TIMEOUT], i);
        kit_pass();
        assert_int_equal(a->events[ON_TIMEOUT], i);
    }
    advance(23); /* late is late: once, not four times */
    kit_pass();
    assert_int_equal(a->events[ON_TIMEOUT], 5);
    advance(4.9);
    assert_int_equal(a->events[ON_TIMEOUT], 5);
    advance(0.1);
    assert_int_equal(a->events[ON_TIMEOUT], 6);
    close(peer);
}

static void
idle_timeout_can_be_changed_and_ended(void **state)
{
    (void)state;
    int peer;
    struct chan *a = idle_chan("a", 5, &peer);
    a->react[ON_TIMEOUT] = react_nothing;
    advance(4);
    assert_int_equal(asyncore_set_timeout(D(a), 10), 0); /* from now on */
    advance(9);
    assert_int_equal(a->events[ON_TIMEOUT], 0);
    advance(1);
    assert_int_equal(a->events[ON_TIMEOUT], 1);
    assert_int_equal(asyncore_set_timeout(D(a), 1), 0);
    advance(1);
    assert_int_equal(a->events[ON_TIMEOUT], 2);
    assert_int_equal(asyncore_set_timeout(D(a), -1), -EINVAL);
    advance(1);
    assert_int_equal(a->events[ON_TIMEOUT], 3); /* as before */
    assert_int_equal(asyncore_set_timeout(D(a), 0), 0);
    assert_int_equal(asyncore_set_timeout(D(a), 0), 0);
    advance(100);
    assert_int_equal(a->events[ON_TIMEOUT], 3);
    assert_int_equal(asyncore_set_timeout(D(a), ASYNCORE_FOREVER), 0);
    advance(1e6);
    assert_int_equal(a->events[ON_TIMEOUT], 3);
    assert_int_equal(kit.map->timers.len, 0);
    close(peer);
}

static void
idle_timeout_ends_with_its_channel(void **state)
{
    (void)state;
    int peer;
    struct chan *a = idle_chan("a", 5, &peer);
    assert_int_equal(asyncore_close(D(a)), 0);
    assert_int_equal(kit.map->timers.len, 0);
    advance(10);
    assert_trace("a.destroy\n");
    close(peer);
}

static void
idle_timeout_ends_when_set_aside(void **state)
{
    (void)state;
    int peer;
    struct asyncore_map *other;
    struct chan *a = idle_chan("a", 5, &peer);
    assert_int_equal(asyncore_map_create(NULL, &other), 0);
    assert_int_equal(asyncore_del_channel(D(a)), 0);
    assert_int_equal(kit.map->timers.len, 0);
    assert_int_equal(asyncore_set_timeout(D(a), 5), -ENOENT);
    assert_int_equal(asyncore_add_channel(D(a), other), 0);
    kit_advance(10);
    kit_pass();
    assert_int_equal(asyncore_poll(0, other), 0);
    assert_trace("");
    assert_int_equal(asyncore_set_timeout(D(a), 5), 0); /* there */
    kit_advance(5);
    kit_pass();
    assert_trace("");
    assert_int_equal(asyncore_poll(0, other), 0);
    assert_trace("a.handle_timeout\na.handle_close ETIMEDOUT\na.destroy\n");
    assert_int_equal(asyncore_map_free(other), 0);
    close(peer);
}

static void
idle_timeout_covers_a_connect_that_does_not_end(void **state)
{
    (void)state;
    /* A listener whose queue is full takes no notice of who knocks. */
    struct sockaddr_in in = {.sin_family = AF_INET};
    socklen_t len = sizeof in;
    int full = socket(AF_INET, SOCK_STREAM, 0);
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(full, (struct sockaddr *)&in, len), 0);
    assert_int_equal(listen(full, 0), 0);
    assert_int_equal(getsockname(full, (struct sockaddr *)&in, &len), 0);
    int first = kit_connect(ntohs(in.sin_port));
    await(full, POLLIN);
    struct chan *c = chan_socket("c", 0, AF_INET, SOCK_STREAM);
    assert_int_equal(asyncore_connect(D(c), "127.0.0.1", ntohs(in.sin_port)),
                     0);
    assert_int_equal(asyncore_set_timeout(D(c), 5), 0);
    kit_pass();
    assert_int_equal(D(c)->connecting, 1);
    assert_trace("");
    advance(5);
    assert_trace("c.handle_timeout\nc.handle_close ETIMEDOUT\nc.destroy\n");
    close(first);
    close(full);
}

static int
exit_on_timeout(struct chan *c)
{
    return c->events[ON_TIMEOUT] == 1 ? ASYNCORE_EXIT_NOW : 0;
}

static void
idle_handler_may_leave_the_loop(void **state)
{
    (void)state;
    int peer;
    struct chan *a = idle_chan("a", 5, &peer);
    a->react[ON_TIMEOUT] = exit_on_timeout;
    kit_advance(5);
    assert_int_equal(asyncore_poll(0, kit.map), ASYNCORE_EXIT_NOW);
    assert_true(D(a)->connected);
    advance(5); /* it goes on */
    assert_int_equal(a->events[ON_TIMEOUT], 2);
    close(peer);
}

static void
idle_handler_that_fails_is_an_error_of_the_channel(void **state)
{
    (void)state;
    int peer;
    struct chan *a = idle_chan("a", 5, &peer);
    a->react[ON_TIMEOUT] = react_fail;
    a->value = EIO;
    advance(5);
    assert_trace("a.handle_timeout\n"
                 "a.handle_error EIO handle_timeout handle_timeout\n"
                 "a.handle_close EIO\na.destroy\n");
    close(peer);
}

static void
idle_handler_may_close_itself_and_others(void **state)
{
    (void)state;
    int peer[3];
    struct chan *a = idle_chan("a", 5, &peer[0]);
    struct chan *b = idle_chan("b", 5, &peer[1]);
    struct chan *c = idle_chan("c", 5, &peer[2]);
    a->react[ON_TIMEOUT] = react_close_peer;
    a->peer = b;
    c->react[ON_TIMEOUT] = react_close;
    advance(5);
    assert_trace("a.handle_timeout\nc.handle_timeout\nb.destroy\n"
                 "c.destroy\n");
    for (size_t i = 0; i < COUNT(peer); i++) {
        close(peer[i]);
    }
}

/* Events of a channel about which there was nothing unusual go a shorter way,
 * where no time is noted. */
static void
idle_timeout_that_is_set_late_notes_events(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    kit_write(peer, "x", 1);
    kit_pass();
    assert_int_equal(a->in.len, 1);
    assert_int_equal(asyncore_set_timeout(D(a), 5), 0);
    advance(4);
    kit_write(peer, "y", 1);
    kit_pass();
    assert_int_equal(a->in.len, 2);
    advance(4);
    assert_int_equal(a->events[ON_TIMEOUT], 0);
    advance(1);
    assert_int_equal(a->events[ON_TIMEOUT], 1);
    close(peer);
}

static void
idle_timeout_without_memory_keeps_the_old_one(void **state)
{
    (void)state;
    int peer;
    struct chan *a = idle_chan("a", 5, &peer);
    a->react[ON_TIMEOUT] = react_nothing;
    for (int i = 1; i < 8; i++) {
        later(1e6, trace_call, "the heap of timers is full");
    }
    unsigned long n = 0;
    int err;
    do {
        kit_fail_alloc(++n, 1);
        err = asyncore_set_timeout(D(a), 50);
        kit_heal();
        if (err < 0) {
            assert_int_equal(err, -ENOMEM);
            unsigned before = a->events[ON_TIMEOUT];
            advance(5);
            assert_int_equal(a->events[ON_TIMEOUT], before + 1);
        }
    } while (err < 0);
    assert_true(n > 1);
    advance(49);
    assert_int_equal(a->events[ON_TIMEOUT], n - 1);
    close(peer);
}

static void
idle_timeout_of_a_busy_channel_costs_no_timers(void **state)
{
    (void)state;
    int peer;
    idle_chan("a", 3600, &peer);
    kit_write(peer, "x", 1);
    kit_pass();
    uint64_t added = kit.map->timers.added;
    unsigned long allocations = kit.alloc.count;
    for (int i = 0; i < 50; i++) {
        kit_write(peer, "x", 1);
        kit_pass();
        text_clear(&kit.trace);
    }
    assert_int_equal(kit.map->timers.added, added);
    assert_int_equal(kit.alloc.count, allocations);
    close(peer);
}

#define CLOCK_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, kit_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CLOCK_TEST(timer_is_called_once_when_it_is_due),
        CLOCK_TEST(timers_are_called_by_time_then_by_order_of_adding),
        CLOCK_TEST(timers_by_the_thousand_keep_their_order),
        CLOCK_TEST(timer_that_is_cancelled_is_not_called),
        CLOCK_TEST(cancel_of_no_timer_is_enoent),
        CLOCK_TEST(cancel_that_is_late_harms_nobody_else),
        CLOCK_TEST(timer_cancelled_by_another_that_is_due_is_not_called),
        CLOCK_TEST(timer_that_cancels_itself_is_running),
        CLOCK_TEST(timer_added_in_a_timer_is_called_in_the_next_pass),
        CLOCK_TEST(timer_that_fails_is_logged_and_the_others_run),
        CLOCK_TEST(timer_that_exits_leaves_the_others_for_later),
        CLOCK_TEST(timers_after_one_that_runs_the_loop_are_called_once),
        CLOCK_TEST(call_at_is_called_at_that_time),
        CLOCK_TEST(call_at_a_time_that_has_passed_is_now),
        CLOCK_TEST(call_at_that_lags_behind_lets_others_run),
        CLOCK_TEST(timer_with_wrong_arguments_is_einval),
        CLOCK_TEST(timer_without_memory_is_enomem),
        CLOCK_TEST(timer_without_a_map_is_the_default_ones),
        CLOCK_TEST(idle_channel_is_closed_by_default),
        CLOCK_TEST(idle_channel_of_no_class_is_closed),
        CLOCK_TEST(idle_timeout_ends_the_wait),
        CLOCK_TEST(idle_timeout_begins_anew_with_each_event),
        CLOCK_TEST(idle_timeout_begins_anew_with_each_write_event),
        CLOCK_TEST(idle_timeout_comes_again_and_again),
        CLOCK_TEST(idle_timeout_can_be_changed_and_ended),
        CLOCK_TEST(idle_timeout_ends_with_its_channel),
        CLOCK_TEST(idle_timeout_ends_when_set_aside),
        CLOCK_TEST(idle_timeout_covers_a_connect_that_does_not_end),
        CLOCK_TEST(idle_handler_may_leave_the_loop),
        CLOCK_TEST(idle_handler_that_fails_is_an_error_of_the_channel),
        CLOCK_TEST(idle_handler_may_close_itself_and_others),
        CLOCK_TEST(idle_timeout_that_is_set_late_notes_events),
        CLOCK_TEST(idle_timeout_without_memory_keeps_the_old_one),
        CLOCK_TEST(idle_timeout_of_a_busy_channel_costs_no_timers),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
