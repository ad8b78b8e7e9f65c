/* SPDX-License-Identifier: MIT */
/* test_timer.c - the heap of calls, against a list that is searched. */
#include "kit.h"

static int
nothing(struct asyncore_map *map, void *arg)
{
    (void)map;
    (void)arg;
    return 0;
}

/* Take the first that is due; returns its number or -1. */
static int
pop(struct asyncore__timers *t, int64_t now, uint64_t before)
{
    asyncore_call_fn *fn;
    void *arg;
    if (!asyncore__timers_pop(t, now, before, &fn, &arg)) {
        return -1;
    }
    assert_ptr_equal(fn, nothing);
    return (int)(intptr_t)arg;
}

static int64_t
add(struct asyncore__timers *t, int64_t when, int number)
{
    int64_t id =
        asyncore__timers_add(t, when, nothing, (void *)(intptr_t)number);
    assert_true(id > 0);
    return id;
}

static void
timers_run_by_time_then_by_order_of_adding(void **state)
{
    (void)state;
    struct asyncore__timers t = {0};
    static const int64_t when[] = {30, 10, 20, 10, 30, 10, 20};
    static const int want[] = {1, 3, 5, 2, 6, 0, 4};
    for (int i = 0; i < (int)COUNT(when); i++) {
        add(&t, when[i], i);
    }
    for (size_t i = 0; i < COUNT(want); i++) {
        assert_int_equal(pop(&t, 100, UINT64_MAX), want[i]);
    }
    assert_int_equal(pop(&t, 100, UINT64_MAX), -1);
    asyncore__timers_fini(&t);
}

static void
timers_run_when_due_and_not_before(void **state)
{
    (void)state;
    struct asyncore__timers t = {0};
    assert_true(asyncore__timers_next(&t) == INT64_MAX);
    add(&t, 10, 1);
    assert_int_equal(asyncore__timers_next(&t), 10);
    assert_int_equal(pop(&t, 9, UINT64_MAX), -1);
    assert_int_equal(pop(&t, 10, UINT64_MAX), 1);
    assert_true(asyncore__timers_next(&t) == INT64_MAX);
    asyncore__timers_fini(&t);
}

static void
timers_added_too_late_are_left(void **state)
{
    (void)state;
    struct asyncore__timers t = {0};
    add(&t, 10, 1);
    uint64_t limit = t.added;
    add(&t, 20, 2);
    assert_int_equal(pop(&t, 100, limit), 1);
    assert_int_equal(pop(&t, 100, limit), -1);
    assert_int_equal(pop(&t, 100, UINT64_MAX), 2);
    asyncore__timers_fini(&t);
}

static void
cancel_of_what_has_run_or_never_was_is_enoent(void **state)
{
    (void)state;
    struct asyncore__timers t = {0};
    static const int64_t never[] = {0,
                                    -1,
                                    1,
                                    2,
                                    INT64_MIN,
                                    INT64_MAX,
                                    (int64_t)UINT32_MAX,
                                    INT64_C(1) << 32};
    for (size_t i = 0; i < COUNT(never); i++) {
        assert_int_equal(asyncore__timers_cancel(&t, never[i]), -ENOENT);
    }
    int64_t ran = add(&t, 1, 1);
    assert_int_equal(pop(&t, 1, UINT64_MAX), 1);
    assert_int_equal(asyncore__timers_cancel(&t, ran), -ENOENT);
    int64_t other = add(&t, 1, 2); /* in the slot of the one that ran */
    assert_true(other != ran);
    assert_int_equal(asyncore__timers_cancel(&t, ran), -ENOENT);
    assert_int_equal(asyncore__timers_cancel(&t, other), 0);
    assert_int_equal(asyncore__timers_cancel(&t, other), -ENOENT);
    assert_int_equal(pop(&t, 100, UINT64_MAX), -1);
    asyncore__timers_fini(&t);
}

static void
id_is_never_used_again(void **state)
{
    (void)state;
    struct asyncore__timers t = {0};
    enum {
        N = 2000
    };
    static int64_t ids[N];
    for (int i = 0; i < N; i++) {
        ids[i] = add(&t, 1, i);
        assert_int_equal(asyncore__timers_cancel(&t, ids[i]), 0);
        for (int j = 0; j < i; j++) {
            assert_true(ids[j] != ids[i]);
        }
    }
    assert_int_equal(t.nslots, 1);
    asyncore__timers_fini(&t);
}

static void
no_memory_leaves_the_timers_as_they_were(void **state)
{
    (void)state;
    struct asyncore__timers t = {0};
    for (unsigned long nth = 1; nth <= 2; nth++) {
        kit_fail_alloc(nth, 1);
        assert_int_equal(asyncore__timers_add(&t, 5, nothing, NULL), -ENOMEM);
        assert_int_equal(t.len, 0);
        assert_true(asyncore__timers_next(&t) == INT64_MAX);
    }
    kit_heal();
    add(&t, 5, 1);
    size_t room = t.heap_cap < t.slot_cap ? t.heap_cap : t.slot_cap;
    for (size_t i = 1; i < room; i++) {
        add(&t, 5, (int)i + 1);
    }
    kit_fail_alloc(1, 1);
    assert_int_equal(asyncore__timers_add(&t, 1, nothing, NULL), -ENOMEM);
    for (size_t i = 0; i < room; i++) {
        assert_int_equal(pop(&t, 5, UINT64_MAX), (int)i + 1);
    }
    assert_int_equal(pop(&t, 5, UINT64_MAX), -1);
    asyncore__timers_fini(&t);
}

/* ---- against a model ---- */

struct model {
    struct {
        int64_t when, id;
        bool live;
    } timer[40000]; /* by order of adding */
    int n;
    int live;
};

static uint32_t seed;

static uint32_t
dice(uint32_t sides)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)seed * sides) >> 32);
}

static int
model_first(const struct model *m)
{
    int first = -1;
    for (int i = 0; i < m->n; i++) {
        if (m->timer[i].live &&
            (first < 0 || m->timer[i].when < m->timer[first].when)) {
            first = i;
        }
    }
    return first;
}

static void
model_add(struct model *m, struct asyncore__timers *t)
{
    m->timer[m->n].when = dice(500);
    m->timer[m->n].id = add(t, m->timer[m->n].when, m->n);
    m->timer[m->n].live = true;
    m->n++;
    m->live++;
}

static void
model_cancel(struct model *m, struct asyncore__timers *t)
{
    int i = (int)dice((uint32_t)m->n);
    assert_int_equal(asyncore__timers_cancel(t, m->timer[i].id),
                     m->timer[i].live ? 0 : -ENOENT);
    m->live -= m->timer[i].live;
    m->timer[i].live = false;
}

static void
model_pop(struct model *m, struct asyncore__timers *t)
{
    int first = model_first(m);
    int64_t now = dice(500);
    bool due = first >= 0 && m->timer[first].when <= now;
    assert_true(asyncore__timers_next(t) ==
                (first >= 0 ? m->timer[first].when : INT64_MAX));
    assert_int_equal(pop(t, now, UINT64_MAX), due ? first : -1);
    if (due) {
        m->timer[first].live = false;
        m->live--;
    }
}

static void
random_operations_agree_with_a_naive_model(void **state)
{
    (void)state;
    static struct model m;
    for (seed = 1; seed < 20; seed += 7) {
        struct asyncore__timers t = {0};
        memset(&m, 0, sizeof m);
        for (int step = 0; step < 6000; step++) {
            /* Ups and downs: first more are added, then more are taken. */
            uint32_t limit = (step / 1000) % 2 == 0 ? 6 : 2;
            uint32_t what = dice(10);
            if (what < limit || m.n == 0) {
                model_add(&m, &t);
            }
            else if (what < limit + 2) {
                model_cancel(&m, &t);
            }
            else {
                model_pop(&m, &t);
            }
            assert_int_equal(t.len, m.live);
        }
        while (m.live > 0) {
            int first = model_first(&m);
            assert_int_equal(pop(&t, 500, UINT64_MAX), first);
            m.timer[first].live = false;
            m.live--;
        }
        assert_int_equal(pop(&t, 500, UINT64_MAX), -1);
        asyncore__timers_fini(&t);
    }
}

/* Thirty thousand live: a linear structure would take minutes. */
static void
thousands_live_run_in_order(void **state)
{
    (void)state;
    enum {
        N = 30000
    };
    static int64_t when[N], ids[N];
    static bool cancelled[N];
    struct asyncore__timers t = {0};
    seed = 99;
    for (int i = 0; i < N; i++) {
        when[i] = dice(1000);
        ids[i] = add(&t, when[i], i);
        cancelled[i] = false;
    }
    int left = N;
    for (int i = 0; i < N; i += 3) {
        assert_int_equal(asyncore__timers_cancel(&t, ids[i]), 0);
        cancelled[i] = true;
        left--;
    }
    int last = -1;
    for (; left > 0; left--) {
        int got = pop(&t, 1000, UINT64_MAX);
        assert_in_range(got, 0, N - 1);
        assert_false(cancelled[got]);
        if (last >= 0) {
            assert_true(when[last] < when[got] ||
                        (when[last] == when[got] && last < got));
        }
        last = got;
    }
    assert_int_equal(pop(&t, 1000, UINT64_MAX), -1);
    assert_int_equal(t.nslots, N);
    asyncore__timers_fini(&t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_BARE_TEST(timers_run_by_time_then_by_order_of_adding),
        KIT_BARE_TEST(timers_run_when_due_and_not_before),
        KIT_BARE_TEST(timers_added_too_late_are_left),
        KIT_BARE_TEST(cancel_of_what_has_run_or_never_was_is_enoent),
        KIT_BARE_TEST(id_is_never_used_again),
        KIT_BARE_TEST(no_memory_leaves_the_timers_as_they_were),
        KIT_BARE_TEST(random_operations_agree_with_a_naive_model),
        KIT_BARE_TEST(thousands_live_run_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
