/* SPDX-License-Identifier: MIT */
/* test_calls.c - posts: from other threads, from signal handlers, from posts;
 * as many calls as posts, each thread's in its order. */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

#include "kit.h"

static int
trace_call(struct asyncore_map *map, void *arg)
{
    assert_ptr_equal(map, kit.map);
    kit_trace("%s", (const char *)arg);
    return 0;
}

static void
post(asyncore_call_fn *fn, const void *arg)
{
    assert_int_equal(
        asyncore_call_soon_threadsafe(kit.map, fn, (void *)(uintptr_t)arg), 0);
}

/* ---- one thread ---- */

static void
post_is_called_in_the_next_pass(void **state)
{
    (void)state;
    post(trace_call, "a");
    assert_trace("");
    kit_pass();
    assert_trace("a\n");
    kit_pass();
    assert_trace("");
}

static int
count_up(struct asyncore_map *map, void *arg)
{
    static uintptr_t last;
    (void)map;
    if ((uintptr_t)arg != 0) {
        assert_int_equal((uintptr_t)arg, last + 1);
    }
    last = (uintptr_t)arg;
    return 0;
}

static void
posts_by_the_thousand_keep_their_order(void **state)
{
    (void)state;
    for (uintptr_t i = 0; i < 10000; i++) {
        post(count_up, (void *)i);
    }
    post(trace_call, "the last");
    kit_pass();
    assert_trace("the last\n");
    assert_int_equal(asyncore_poll(30, kit.map), 0); /* nothing is left */
    assert_int_equal(kit.world.calls[kit_wait_call()], 1);
}

static void
posts_come_after_events_and_before_timers(void **state)
{
    (void)state;
    int peer;
    kit_pair_chan("c", 0, AF_UNIX, &peer);
    kit_write(peer, "x", 1);
    assert_true(asyncore_call_later(kit.map, 0, trace_call, "timer") > 0);
    post(trace_call, "post");
    kit_pass();
    assert_trace("c.handle_read\nc.recv 1\npost\ntimer\n");
    close(peer);
}

static int
post_from_read(struct chan *c)
{
    post(trace_call, "post");
    return react_read(c);
}

static void
post_in_a_handler_is_called_in_the_same_pass(void **state)
{
    (void)state;
    int peer[2];
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer[0]);
    kit_pair_chan("b", 0, AF_UNIX, &peer[1]);
    a->react[ON_READ] = post_from_read;
    kit_write(peer[0], "x", 1);
    kit_write(peer[1], "x", 1);
    kit_pass();
    assert_trace("a.handle_read\na.recv 1\nb.handle_read\nb.recv 1\npost\n");
    close(peer[0]);
    close(peer[1]);
}

static int
post_again(struct asyncore_map *map, void *arg)
{
    int *left = arg;
    (void)map;
    kit_trace("call %d", *left);
    if (--*left > 0) {
        post(post_again, left);
    }
    return 0;
}

static void
post_in_a_post_is_called_in_the_next_pass(void **state)
{
    (void)state;
    int left = 3;
    post(post_again, &left);
    post(trace_call, "other");
    kit_pass();
    assert_trace("call 3\nother\n"); /* a pass ends, whoever posts */
    kit_pass();
    assert_trace("call 2\n");
    assert_int_equal(
        asyncore_loop(ASYNCORE_FOREVER, false, kit.map, ASYNCORE_UNTIL_EMPTY),
        0);
    assert_trace("call 1\n");
    assert_int_equal(left, 0);
}

static int
exit_now(struct asyncore_map *map, void *arg)
{
    (void)map;
    (void)arg;
    return ASYNCORE_EXIT_NOW;
}

static void
post_that_exits_leaves_the_others_for_later(void **state)
{
    (void)state;
    post(trace_call, "a");
    post(exit_now, NULL);
    post(trace_call, "b");
    assert_int_equal(asyncore_loop(30, false, kit.map, ASYNCORE_UNTIL_EMPTY),
                     ASYNCORE_EXIT_NOW);
    assert_trace("a\n");
    post(trace_call, "c");
    assert_int_equal(asyncore_loop(30, false, kit.map, ASYNCORE_UNTIL_EMPTY),
                     0);
    assert_trace("b\nc\n");
}

static int
fail_call(struct asyncore_map *map, void *arg)
{
    (void)map;
    return -*(const int *)arg;
}

static void
post_that_fails_is_logged(void **state)
{
    (void)state;
    static const int eio = EIO, again = EAGAIN;
    post(fail_call, &eio);
    post(trace_call, "next");
    kit_pass();
    assert_trace("next\n");
    assert_logged("error: ");
    assert_logged("EIO");
    text_clear(&kit.log);
    post(fail_call, &again); /* nothing to do is no failure */
    kit_pass();
    assert_string_equal(text_get(&kit.log), "");
}

static int
nested_loop(struct asyncore_map *map, void *arg)
{
    (void)arg;
    kit_trace("in");
    kit_trace("out %d", asyncore_loop(0, false, map, 2));
    return 0;
}

static void
posts_after_one_that_runs_the_loop_are_called_once(void **state)
{
    (void)state;
    post(nested_loop, NULL);
    post(trace_call, "a");
    post(trace_call, "b");
    kit_pass();
    assert_trace("in\na\nb\nout 0\n");
    kit_pass();
    assert_trace("");
}

static void
post_survives_a_change_of_backend(void **state)
{
    (void)state;
    const char *const *names = asyncore_backends();
    struct text want = {0};
    for (size_t i = 0; names[i] != NULL; i++) {
        text_append(&want, names[i], strlen(names[i]));
        text_append(&want, "\n", 1);
        post(trace_call, names[i]);
        assert_int_equal(asyncore_map_set_backend(kit.map, names[i]), 0);
        kit_pass();
    }
    assert_string_equal(text_get(&kit.trace), text_get(&want));
    text_clear(&kit.trace);
    text_clear(&want);
}

static void
post_of_nothing_is_einval(void **state)
{
    (void)state;
    struct asyncore_call call = {.fn = NULL};
    assert_int_equal(asyncore_call_soon_threadsafe(NULL, trace_call, NULL),
                     -EINVAL);
    assert_int_equal(asyncore_call_soon_threadsafe(kit.map, NULL, NULL),
                     -EINVAL);
    assert_int_equal(asyncore_call_soon_signal(kit.map, NULL), -EINVAL);
    assert_int_equal(asyncore_call_soon_signal(kit.map, &call), -EINVAL);
    call.fn = trace_call;
    call.arg = (void *)(uintptr_t) "call";
    assert_int_equal(asyncore_call_soon_signal(NULL, &call), -EINVAL);
    assert_int_equal(asyncore_call_soon_signal(kit.map, &call), 0);
    kit_pass();
    assert_trace("call\n"); /* the refusals have left it as it was */
}

static void
post_without_memory_is_enomem(void **state)
{
    (void)state;
    kit_fail_alloc(1, 1);
    assert_int_equal(asyncore_call_soon_threadsafe(kit.map, trace_call, "a"),
                     -ENOMEM);
    kit_heal();
    post(trace_call, "b");
    kit_pass();
    assert_trace("b\n");
}

/* ---- other threads ---- */

enum {
    THREADS = 4,
    POSTS = 2000
};

/* What the map's thread knows of the posts. */
static unsigned next_of[THREADS], calls_made;

struct numbered {
    unsigned thread, n;
};

static struct numbered numbers[THREADS][POSTS];

static int
take_number(struct asyncore_map *map, void *arg)
{
    const struct numbered *number = arg;
    assert_int_equal(number->n, next_of[number->thread]);
    next_of[number->thread]++;
    if (++calls_made == THREADS * POSTS) {
        asyncore_stop(map);
    }
    return 0;
}

static void *
post_many(void *arg)
{
    struct numbered *mine = arg;
    intptr_t failed = 0;
    for (unsigned i = 0; i < POSTS; i++) {
        failed +=
            asyncore_call_soon_threadsafe(kit.map, take_number, &mine[i]) != 0;
    }
    return (void *)failed;
}

static void
start(pthread_t *thread, void *(*fn)(void *), void *arg)
{
    assert_int_equal(pthread_create(thread, NULL, fn, arg), 0);
}

static void
join(pthread_t thread)
{
    void *failed = NULL;
    assert_int_equal(pthread_join(thread, &failed), 0);
    assert_null(failed);
}

/* Start all the threads, each with its numbers. */
static void
start_all(pthread_t thread[THREADS])
{
    memset(next_of, 0, sizeof next_of);
    calls_made = 0;
    for (unsigned t = 0; t < THREADS; t++) {
        for (unsigned i = 0; i < POSTS; i++) {
            numbers[t][i] = (struct numbered){t, i};
        }
        start(&thread[t], post_many, numbers[t]);
    }
}

static void
posts_of_several_threads_are_as_many_calls_in_order(void **state)
{
    (void)state;
    pthread_t thread[THREADS];
    int peer;
    kit_pair_chan("c", 0, AF_UNIX, &peer); /* keeps the loop going */
    start_all(thread);
    assert_int_equal(
        asyncore_loop(ASYNCORE_FOREVER, false, kit.map, ASYNCORE_UNTIL_EMPTY),
        0);
    for (unsigned t = 0; t < THREADS; t++) {
        join(thread[t]);
        assert_int_equal(next_of[t], POSTS);
    }
    kit_pass();
    assert_int_equal(calls_made, THREADS * POSTS);
    close(peer);
}

static void
posts_that_have_not_run_are_released_with_the_map(void **state)
{
    (void)state;
    pthread_t thread[THREADS];
    struct asyncore_call call = {.fn = trace_call};
    start_all(thread);
    for (unsigned t = 0; t < THREADS; t++) {
        join(thread[t]);
    }
    assert_int_equal(asyncore_call_soon_signal(kit.map, &call), 0);
    kit_free_map();
    assert_int_equal(calls_made, 0);
    assert_trace("");
    assert_int_equal(kit.alloc.live, 0);
}

static int
trace_and_stop(struct asyncore_map *map, void *arg)
{
    asyncore_stop(map);
    return trace_call(map, arg);
}

/* Passes until trace_and_stop(): one may wake up for what has been seen. */
static void
sleep_until_stopped(void)
{
    assert_int_equal(
        asyncore_loop(ASYNCORE_FOREVER, false, kit.map, ASYNCORE_UNTIL_EMPTY),
        0);
}

/* A thread that acts when the map's thread is about to sleep. */
static sem_t asleep;
static pthread_t sleeper;

static int
tell_before_a_wait(enum kit_call call, int fd)
{
    (void)fd;
    if (call == kit_wait_call()) {
        kit.world.hook = NULL; /* once */
        sem_post(&asleep);
    }
    return 0;
}

static void *
post_when_asleep(void *arg)
{
    while (sem_wait(&asleep) < 0) {
    }
    intptr_t failed =
        asyncore_call_soon_threadsafe(kit.map, trace_and_stop, arg) != 0;
    return (void *)failed;
}

static void
post_while_the_loop_sleeps_wakes_it(void **state)
{
    (void)state;
    int peer;
    pthread_t thread;
    kit_pair_chan("c", 0, AF_UNIX, &peer);
    assert_int_equal(sem_init(&asleep, 0, 0), 0);
    for (int again = 0; again < 3; again++) {
        kit.world.hook = tell_before_a_wait;
        start(&thread, post_when_asleep, (void *)(uintptr_t) "awake");
        sleep_until_stopped();
        join(thread);
        assert_trace("awake\n");
    }
    sem_destroy(&asleep);
    close(peer);
}

/* ---- signal handlers ---- */

static struct asyncore_call signal_call;
static struct asyncore_map *signal_map;
static volatile sig_atomic_t signal_results[2];

static void
post_twice(int signo)
{
    (void)signo;
    signal_results[0] = asyncore_call_soon_signal(signal_map, &signal_call);
    signal_results[1] = asyncore_call_soon_signal(signal_map, &signal_call);
}

/* SIGUSR1 posts signal_call, which writes `text` into the trace. */
static void
on_signal_post(const char *text, struct sigaction *ret_before)
{
    struct sigaction act;
    memset(&act, 0, sizeof act);
    act.sa_handler = post_twice;
    signal_map = kit.map;
    signal_call = (struct asyncore_call){.fn = trace_call,
                                         .arg = (void *)(uintptr_t)text};
    signal_results[0] = signal_results[1] = 1;
    assert_int_equal(sigaction(SIGUSR1, &act, ret_before), 0);
}

static void
signal_posts_once_until_it_has_run(void **state)
{
    (void)state;
    struct sigaction before;
    on_signal_post("signal", &before);
    for (int i = 0; i < 3; i++) {
        unsigned long allocations = kit.alloc.count;
        raise(SIGUSR1);
        assert_int_equal(signal_results[0], 0);
        assert_int_equal(signal_results[1], -EALREADY);
        assert_int_equal(kit.alloc.count, allocations);
        kit_pass();
        assert_trace("signal\n");
    }
    sigaction(SIGUSR1, &before, NULL);
}

static int
raise_before_the_wait(enum kit_call call, int fd)
{
    (void)fd;
    if (call == kit_wait_call()) {
        kit.world.hook = NULL;
        raise(SIGUSR1);
    }
    return 0;
}

static void
signal_just_before_the_wait_ends_it(void **state)
{
    (void)state;
    int peer;
    struct sigaction before;
    kit_pair_chan("c", 0, AF_UNIX, &peer);
    on_signal_post("signal", &before);
    kit.world.hook = raise_before_the_wait;
    assert_int_equal(asyncore_poll(ASYNCORE_FOREVER, kit.map), 0);
    assert_trace("signal\n");
    sigaction(SIGUSR1, &before, NULL);
    close(peer);
}

static int
interrupted_by_a_signal(enum kit_call call, int fd)
{
    if (call != kit_wait_call()) {
        return 0;
    }
    raise_before_the_wait(call, fd);
    return -EINTR;
}

static void
signal_that_interrupts_the_wait_is_seen_at_once(void **state)
{
    (void)state;
    int peer;
    struct sigaction before;
    kit_pair_chan("c", 0, AF_UNIX, &peer);
    on_signal_post("signal", &before);
    kit_pass();
    kit_count_anew();
    kit.world.hook = interrupted_by_a_signal;
    assert_int_equal(asyncore_poll(ASYNCORE_FOREVER, kit.map), 0);
    assert_trace("signal\n");
    assert_int_equal(kit.world.calls[kit_wait_call()], 1);
    sigaction(SIGUSR1, &before, NULL);
    close(peer);
}

static void *
signal_when_asleep(void *arg)
{
    (void)arg;
    while (sem_wait(&asleep) < 0) {
    }
    return (void *)(intptr_t)pthread_kill(sleeper, SIGUSR1);
}

static void
signal_while_the_loop_sleeps_wakes_it(void **state)
{
    (void)state;
    int peer;
    pthread_t thread;
    struct sigaction before;
    kit_pair_chan("c", 0, AF_UNIX, &peer);
    on_signal_post("signal", &before);
    signal_call.fn = trace_and_stop;
    assert_int_equal(sem_init(&asleep, 0, 0), 0);
    sleeper = pthread_self();
    for (int i = 0; i < 5; i++) {
        kit.world.hook = tell_before_a_wait;
        start(&thread, signal_when_asleep, NULL);
        sleep_until_stopped();
        join(thread);
        assert_trace("signal\n");
    }
    sem_destroy(&asleep);
    sigaction(SIGUSR1, &before, NULL);
    close(peer);
}

static int
post_itself(struct asyncore_map *map, void *arg)
{
    struct asyncore_call *call = arg;
    kit_trace("call");
    assert_int_equal(asyncore_call_soon_signal(map, call), 0);
    assert_int_equal(asyncore_call_soon_signal(map, call), -EALREADY);
    return 0;
}

static void
signal_call_may_post_itself_from_its_call(void **state)
{
    (void)state;
    struct asyncore_call call = {.fn = post_itself, .arg = &call};
    assert_int_equal(asyncore_call_soon_signal(kit.map, &call), 0);
    kit_pass();
    assert_trace("call\n");
    kit_pass();
    assert_trace("call\n");
    kit_free_map(); /* while it is posted */
    assert_trace("");
}

static void
signal_posts_and_others_keep_their_order(void **state)
{
    (void)state;
    struct sigaction before;
    on_signal_post("signal", &before);
    post(trace_call, "a");
    raise(SIGUSR1);
    post(trace_call, "b");
    kit_pass();
    assert_trace("a\nsignal\nb\n");
    sigaction(SIGUSR1, &before, NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(post_is_called_in_the_next_pass),
        KIT_TEST(posts_by_the_thousand_keep_their_order),
        KIT_TEST(posts_come_after_events_and_before_timers),
        KIT_TEST(post_in_a_handler_is_called_in_the_same_pass),
        KIT_TEST(post_in_a_post_is_called_in_the_next_pass),
        KIT_TEST(post_that_exits_leaves_the_others_for_later),
        KIT_TEST(post_that_fails_is_logged),
        KIT_TEST(posts_after_one_that_runs_the_loop_are_called_once),
        KIT_TEST(post_survives_a_change_of_backend),
        KIT_TEST(post_of_nothing_is_einval),
        KIT_TEST(post_without_memory_is_enomem),
        KIT_TEST(posts_of_several_threads_are_as_many_calls_in_order),
        KIT_TEST(posts_that_have_not_run_are_released_with_the_map),
        KIT_TEST(post_while_the_loop_sleeps_wakes_it),
        KIT_TEST(signal_posts_once_until_it_has_run),
        KIT_TEST(signal_just_before_the_wait_ends_it),
        KIT_TEST(signal_that_interrupts_the_wait_is_seen_at_once),
        KIT_TEST(signal_while_the_loop_sleeps_wakes_it),
        KIT_TEST(signal_call_may_post_itself_from_its_call),
        KIT_TEST(signal_posts_and_others_keep_their_order),
    };
    return cmocka_run_group_tests_name("calls", tests, NULL, NULL);
}
