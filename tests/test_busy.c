/* SPDX-License-Identifier: MIT */
/* test_busy.c - looking for events before sleeping.  The clock is the tests':
 * each wait takes a microsecond, whatever it finds. */
#include <pthread.h>

#include "kit.h"

#define US INT64_C(1000)
#define SECOND INT64_C(1000000000)
#define BUDGET 50

static struct {
    unsigned long waits; /* since begin() */
    unsigned long at;    /* the wait before which `act` is called */
    void (*act)(void);
    int64_t start;
    int peer;
    struct chan *chan;
} busy;

static int
one_microsecond_a_wait(enum kit_call call, int fd)
{
    (void)fd;
    if (call == kit_wait_call()) {
        kit.world.time += US;
        if (++busy.waits == busy.at) {
            busy.act();
        }
    }
    return 0;
}

/* A channel that nothing happens to, a budget, and the clock. */
static void
begin(long budget)
{
    memset(&busy, 0, sizeof busy);
    busy.chan = kit_pair_chan("a", 0, AF_UNIX, &busy.peer);
    kit_pass();
    assert_int_equal(asyncore_map_set_busy_poll(kit.map, budget), 0);
    kit_advance(0);
    busy.start = kit.world.time;
    kit_count_anew();
    text_clear(&kit.trace);
    kit.world.hook = one_microsecond_a_wait;
}

static void
at_wait(unsigned long nth, void (*act)(void))
{
    busy.waits = 0;
    busy.at = nth;
    busy.act = act;
}

static void
end(void)
{
    kit_heal();
    close(busy.peer);
}

static void
send_byte(void)
{
    kit_write(busy.peer, "x", 1);
}

static int
trace_call(struct asyncore_map *map, void *arg)
{
    (void)map;
    kit_trace("%s", (const char *)arg);
    return 0;
}

static void
post(void)
{
    assert_int_equal(
        asyncore_call_soon_threadsafe(kit.map, trace_call, "post"), 0);
}

/* ---- the budget ---- */

static void
without_a_budget_a_pass_waits_once(void **state)
{
    (void)state;
    begin(0);
    assert_int_equal(asyncore_poll(1, kit.map), 0);
    assert_int_equal(busy.waits, 1);
    assert_int_equal(kit.world.timeout, SECOND);
    end();
}

static void
budget_is_used_up_then_the_map_sleeps_for_the_rest(void **state)
{
    (void)state;
    begin(BUDGET);
    assert_int_equal(asyncore_poll(1, kit.map), 0);
    /* The time runs from the first look, which has found nothing, on. */
    assert_int_equal(busy.waits, 1 + BUDGET + 1);
    assert_int_equal(kit.world.timeout, SECOND - BUDGET * US);
    end();
}

static void
budget_is_each_pass_its_own(void **state)
{
    (void)state;
    begin(BUDGET);
    for (int i = 0; i < 3; i++) {
        busy.waits = 0;
        assert_int_equal(asyncore_poll(1, kit.map), 0);
        assert_int_equal(busy.waits, 1 + BUDGET + 1);
    }
    end();
}

static void
timeout_for_ever_sleeps_for_ever_after_the_budget(void **state)
{
    (void)state;
    begin(BUDGET);
    at_wait(1 + BUDGET + 1, send_byte);
    assert_int_equal(asyncore_poll(ASYNCORE_FOREVER, kit.map), 0);
    assert_int_equal(kit.world.timeout, -1);
    assert_trace("a.handle_read\na.recv 1\n");
    end();
}

static void
timeout_shorter_than_the_budget_is_not_exceeded(void **state)
{
    (void)state;
    begin(BUDGET);
    assert_int_equal(asyncore_poll(10e-6, kit.map), 0);
    assert_int_equal(busy.waits, 1 + 10);
    assert_int_equal(kit.world.timeout, 0);
    end();
}

static void
timeout_of_zero_looks_once(void **state)
{
    (void)state;
    double timeout;
    begin(BUDGET);
    assert_int_equal(asyncore_poll(0, kit.map), 0);
    assert_int_equal(busy.waits, 1);
    /* So does the map in somebody else's loop. */
    assert_int_equal(asyncore_prepare(kit.map, &timeout), 0);
    assert_true(timeout == ASYNCORE_FOREVER);
    assert_int_equal(asyncore_poll(0, kit.map), 0);
    assert_int_equal(busy.waits, 2);
    assert_int_equal(kit.world.calls[KIT_NOW], 0);
    end();
}

static void
pass_that_has_work_already_looks_once(void **state)
{
    (void)state;
    begin(BUDGET);
    post();
    assert_int_equal(asyncore_poll(1, kit.map), 0);
    assert_int_equal(busy.waits, 1);
    assert_trace("post\n");
    end();
}

/* ---- what happens meanwhile ---- */

static void
event_that_is_there_costs_one_look_and_no_clock(void **state)
{
    (void)state;
    begin(BUDGET);
    for (int i = 0; i < 10; i++) {
        send_byte();
        assert_int_equal(asyncore_poll(ASYNCORE_FOREVER, kit.map), 0);
    }
    assert_int_equal(busy.waits, 10);
    assert_int_equal(busy.chan->events[ON_READ], 10);
    assert_int_equal(kit.world.calls[KIT_NOW], 0);
    end();
}

static void
event_during_the_looking_is_delivered_at_once(void **state)
{
    (void)state;
    begin(BUDGET);
    at_wait(7, send_byte);
    assert_int_equal(asyncore_poll(1, kit.map), 0);
    assert_int_equal(busy.waits, 7);
    assert_trace("a.handle_read\na.recv 1\n");
    end();
}

static void
timer_due_during_the_looking_is_on_time(void **state)
{
    (void)state;
    begin(BUDGET);
    assert_true(asyncore_call_later(kit.map, 20e-6, trace_call, "timer") > 0);
    assert_int_equal(asyncore_poll(ASYNCORE_FOREVER, kit.map), 0);
    assert_trace("timer\n");
    assert_int_equal(kit.world.timeout, 0);
    assert_in_range(kit.world.time - busy.start, 20 * US, 21 * US);
    end();
}

static void
timer_after_the_budget_is_slept_for(void **state)
{
    (void)state;
    begin(BUDGET);
    assert_true(asyncore_call_later(kit.map, 1, trace_call, "timer") > 0);
    assert_int_equal(asyncore_poll(ASYNCORE_FOREVER, kit.map), 0);
    assert_trace("timer\n");
    assert_in_range(kit.world.timeout, SECOND - 51 * US, SECOND - 50 * US);
    assert_int_equal(busy.waits, 1 + BUDGET + 1);
    end();
}

static void
post_during_the_looking_is_run_at_once(void **state)
{
    (void)state;
    begin(BUDGET);
    at_wait(5, post);
    assert_int_equal(asyncore_poll(1, kit.map), 0);
    assert_int_equal(busy.waits, 5);
    assert_trace("post\n");
    /* The wake-up that it left behind, if it did, ends no looking. */
    at_wait(0, NULL);
    assert_int_equal(asyncore_poll(1, kit.map), 0);
    assert_int_equal(busy.waits, 1 + BUDGET + 1);
    end();
}

static int
stop(struct asyncore_map *map, void *arg)
{
    (void)arg;
    asyncore_stop(map);
    return 0;
}

static struct asyncore_call stopping = {.fn = stop};

static void
stop_as_a_signal_handler(void)
{
    assert_int_equal(asyncore_call_soon_signal(kit.map, &stopping), 0);
}

static void
stop_during_the_looking_ends_the_loop(void **state)
{
    (void)state;
    begin(BUDGET);
    at_wait(5, stop_as_a_signal_handler);
    assert_int_equal(
        asyncore_loop(ASYNCORE_FOREVER, false, kit.map, ASYNCORE_UNTIL_EMPTY),
        0);
    assert_int_equal(busy.waits, 5);
    end();
}

static void
signal_during_the_looking_is_no_end_of_it(void **state)
{
    (void)state;
    begin(BUDGET);
    struct kit_fault *fault = kit_fail(kit_wait_call(), -1, 3, 2, -EINTR);
    assert_int_equal(asyncore_poll(1, kit.map), 0);
    assert_int_equal(fault->hits, 2);
    assert_int_equal(busy.waits, 1 + BUDGET + 1);
    end();
}

static void
look_that_fails_is_the_passes_failure(void **state)
{
    (void)state;
    begin(BUDGET);
    kit_fail(kit_wait_call(), -1, 3, 1, -EIO);
    assert_int_equal(asyncore_poll(1, kit.map), -EIO);
    assert_int_equal(busy.waits, 3);
    end();
}

static int
nest(struct chan *c)
{
    if (c->events[ON_READ] == 1) {
        at_wait(4, send_byte);
        assert_int_equal(react_read(c), 0);
        assert_int_equal(asyncore_poll(1, kit.map), 0);
        assert_int_equal(busy.waits, 4);
        return 0;
    }
    return react_read(c);
}

static void
nested_pass_has_its_own_looking(void **state)
{
    (void)state;
    begin(BUDGET);
    busy.chan->react[ON_READ] = nest;
    at_wait(2, send_byte);
    assert_int_equal(asyncore_poll(1, kit.map), 0);
    assert_int_equal(busy.chan->events[ON_READ], 2);
    end();
}

static void *
post_stop(void *arg)
{
    (void)arg;
    assert_int_equal(asyncore_call_soon_threadsafe(kit.map, stop, NULL), 0);
    return NULL;
}

static void
thread_that_posts_meanwhile_is_heard(void **state)
{
    (void)state;
    pthread_t thread;
    int peer;
    kit_pair_chan("a", 0, AF_UNIX, &peer);
    assert_int_equal(asyncore_map_set_busy_poll(kit.map, 1000000), 0);
    assert_int_equal(pthread_create(&thread, NULL, post_stop, NULL), 0);
    assert_int_equal(
        asyncore_loop(ASYNCORE_FOREVER, false, kit.map, ASYNCORE_UNTIL_EMPTY),
        0);
    pthread_join(thread, NULL);
    close(peer);
}

/* ---- setting it ---- */

static void
budget_has_bounds(void **state)
{
    (void)state;
    static const long good[] = {1000000, 1, 0}, bad[] = {-1, 1000001};
    assert_int_equal(asyncore_map_busy_poll(kit.map), 0);
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_int_equal(asyncore_map_set_busy_poll(kit.map, good[i]), 0);
        assert_int_equal(asyncore_map_busy_poll(kit.map), good[i]);
    }
    assert_int_equal(asyncore_map_set_busy_poll(kit.map, 7), 0);
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(asyncore_map_set_busy_poll(kit.map, bad[i]), -EINVAL);
    }
    assert_int_equal(asyncore_map_busy_poll(kit.map), 7);
}

static void
budget_stays_with_another_backend(void **state)
{
    (void)state;
    begin(BUDGET);
    assert_int_equal(asyncore_map_set_backend(kit.map, "poll"), 0);
    assert_int_equal(asyncore_poll(1, kit.map), 0);
    assert_int_equal(busy.waits, 1 + BUDGET + 1);
    end();
}

static void
budget_of_the_default_map(void **state)
{
    (void)state;
    assert_int_equal(asyncore_map_set_busy_poll(NULL, 3), 0);
    assert_int_equal(asyncore_map_busy_poll(NULL), 3);
    assert_int_equal(asyncore_map_busy_poll(asyncore_map_default()), 3);
    assert_int_equal(asyncore_map_free(asyncore_map_default()), 0);
}

/* The budget of a map that is made in such an environment. */
static long
budget_in(const char *value)
{
    struct asyncore_map *map;
    setenv("ASYNCORE_BUSY_POLL", value, 1);
    assert_int_equal(asyncore_map_create(NULL, &map), 0);
    unsetenv("ASYNCORE_BUSY_POLL");
    long budget = asyncore_map_busy_poll(map);
    assert_int_equal(asyncore_map_free(map), 0);
    return budget;
}

static void
environment_sets_it(void **state)
{
    (void)state;
    assert_int_equal(budget_in("50"), 50);
    assert_int_equal(budget_in("0"), 0);
    assert_int_equal(budget_in(""), 0);
    assert_string_equal(text_get(&kit.log), "");
}

static void
environment_that_makes_no_sense_is_logged(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "x", "5x", "-1", "1000001", "1e3", "99999999999999999999"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        text_clear(&kit.log);
        assert_int_equal(budget_in(bad[i]), 0);
        assert_logged("error: ASYNCORE_BUSY_POLL is not 0 to 1000000");
        assert_logged(bad[i]);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(without_a_budget_a_pass_waits_once),
        KIT_TEST(budget_is_used_up_then_the_map_sleeps_for_the_rest),
        KIT_TEST(budget_is_each_pass_its_own),
        KIT_TEST(timeout_for_ever_sleeps_for_ever_after_the_budget),
        KIT_TEST(timeout_shorter_than_the_budget_is_not_exceeded),
        KIT_TEST(timeout_of_zero_looks_once),
        KIT_TEST(pass_that_has_work_already_looks_once),
        KIT_TEST(event_that_is_there_costs_one_look_and_no_clock),
        KIT_TEST(event_during_the_looking_is_delivered_at_once),
        KIT_TEST(timer_due_during_the_looking_is_on_time),
        KIT_TEST(timer_after_the_budget_is_slept_for),
        KIT_TEST(post_during_the_looking_is_run_at_once),
        KIT_TEST(stop_during_the_looking_ends_the_loop),
        KIT_TEST(signal_during_the_looking_is_no_end_of_it),
        KIT_TEST(look_that_fails_is_the_passes_failure),
        KIT_TEST(nested_pass_has_its_own_looking),
        KIT_TEST(thread_that_posts_meanwhile_is_heard),
        KIT_TEST(budget_has_bounds),
        KIT_TEST(budget_stays_with_another_backend),
        KIT_TEST(budget_of_the_default_map),
        KIT_TEST(environment_sets_it),
        KIT_TEST(environment_that_makes_no_sense_is_logged),
    };
    return cmocka_run_group_tests_name("busy", tests, NULL, NULL);
}
