/* SPDX-License-Identifier: MIT */
/* test_sort.c - ready events, whatever their number, come into map order. */
#include "kit.h"

enum {
    MOST = 3000
};

static struct asyncore__ready events[MOST + 1], spare[MOST + 1];

static uint32_t
noise(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 3;
}

/* Events with places below `places`, named by their number. */
static void
make_events(size_t n, uint32_t places, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        events[i] = (struct asyncore__ready){
            .fd = (int)i, .pos = noise(&seed) % places, .mask = 1};
    }
    events[n].fd = spare[n].fd = -7;
}

static void
assert_sorted(size_t n, const uint32_t *pos_of)
{
    static bool seen[MOST];
    memset(seen, 0, sizeof seen);
    for (size_t i = 0; i < n; i++) {
        assert_in_range(events[i].fd, 0, n - 1);
        assert_false(seen[events[i].fd]);
        seen[events[i].fd] = true;
        assert_int_equal(events[i].pos, pos_of[events[i].fd]);
        assert_true(i == 0 || events[i - 1].pos <= events[i].pos);
    }
    assert_int_equal(events[n].fd, -7); /* nothing beyond */
    assert_int_equal(spare[n].fd, -7);
}

static void
check(size_t n, uint32_t places, bool room)
{
    static uint32_t pos_of[MOST];
    make_events(n, places, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        pos_of[i] = events[i].pos;
    }
    asyncore__sort(events, n, room ? spare : NULL);
    assert_sorted(n, pos_of);
}

static void
any_number_comes_into_order(void **state)
{
    (void)state;
    static const size_t numbers[] = {0,  1,  2,   3,    10,  63,
                                     64, 65, 255, 1000, MOST};
    static const uint32_t places[] = {1,     2,         200,       256,
                                      70000, 1u << 24u, UINT32_MAX};
    for (size_t i = 0; i < COUNT(numbers); i++) {
        for (size_t j = 0; j < COUNT(places); j++) {
            check(numbers[i], places[j], true);
            check(numbers[i], places[j], false);
        }
    }
}

static void
what_is_in_order_is_left_alone(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 200; i++) {
        events[i] = (struct asyncore__ready){.fd = (int)i, .pos = i / 2};
    }
    memset(spare, 0x55, sizeof spare);
    asyncore__sort(events, 200, spare);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(events[i].fd, i);
    }
    assert_int_equal(spare[0].fd, 0x55555555); /* not even used */
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_comes_into_order),
        cmocka_unit_test(what_is_in_order_is_left_alone),
    };
    return cmocka_run_group_tests_name("sort", tests, NULL, NULL);
}
