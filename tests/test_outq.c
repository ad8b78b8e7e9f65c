/* SPDX-License-Identifier: MIT */
/* test_outq.c - bytes waiting to be sent, against a flat array of them. */
#include "kit.h"

static uint32_t seed;

static uint32_t
dice(uint32_t sides)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)seed * sides) >> 32);
}

/* What the queue holds, by peeking. */
static void
assert_holds(const struct asyncore__outq *q, size_t from, size_t len)
{
    static struct iovec iov[5000];
    int n = asyncore__outq_peek(q, iov, (int)COUNT(iov));
    size_t at = 0;
    assert_int_equal(q->len, len);
    for (int i = 0; i < n; i++) {
        const char *bytes = iov[i].iov_base;
        assert_true(iov[i].iov_len > 0);
        for (size_t k = 0; k < iov[i].iov_len; k++) {
            assert_int_equal(bytes[k], kit_byte(from + at++));
        }
    }
    assert_int_equal(at, len);
    assert_true((q->head == NULL) == (len == 0));
    assert_true((q->tail == NULL) == (len == 0));
}

static int
append(struct asyncore__outq *q, size_t from, size_t len)
{
    char *bytes = malloc(len + 1);
    assert_non_null(bytes);
    kit_bytes(bytes, from, len);
    int err = asyncore__outq_append(q, NULL, bytes, len);
    memset(bytes, 0, len); /* it has been copied */
    free(bytes);
    return err;
}

static void
empty_queue_has_nothing(void **state)
{
    (void)state;
    struct asyncore__outq q = {0};
    struct iovec iov[2];
    assert_int_equal(asyncore__outq_peek(&q, iov, 2), 0);
    assert_int_equal(asyncore__outq_append(&q, NULL, NULL, 0), 0);
    assert_int_equal(asyncore__outq_append(&q, NULL, "", 0), 0);
    assert_int_equal(asyncore__outq_peek(&q, iov, 2), 0);
    asyncore__outq_consume(&q, NULL, 0);
    asyncore__outq_clear(&q);
    assert_holds(&q, 0, 0);
}

static void
appended_bytes_come_out_in_order(void **state)
{
    (void)state;
    struct asyncore__outq q = {0};
    static const size_t sizes[] = {1, 5000, 3, 4096, 100000, 1, 1, 2};
    size_t end = 0;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        assert_int_equal(append(&q, end, sizes[i]), 0);
        end += sizes[i];
        assert_holds(&q, 0, end);
    }
    for (size_t start = 0; start < end; start += 7919) {
        assert_holds(&q, start, end - start);
        asyncore__outq_consume(&q, NULL,
                               end - start < 7919 ? end - start : 7919);
    }
    assert_holds(&q, 0, 0);
}

static void
small_appends_share_few_pieces(void **state)
{
    (void)state;
    struct asyncore__outq q = {0};
    struct iovec iov[1000];
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(append(&q, i * 4, 4), 0);
    }
    assert_true(asyncore__outq_peek(&q, iov, (int)COUNT(iov)) <= 4);
    assert_true(kit.alloc.count <= 4);
    assert_holds(&q, 0, 4000);
    asyncore__outq_clear(&q);
}

static void
peek_writes_no_more_than_asked(void **state)
{
    (void)state;
    struct asyncore__outq q = {0};
    struct iovec iov[4];
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(append(&q, i * 10000, 10000), 0);
    }
    memset(iov, 0x77, sizeof iov);
    struct iovec was = iov[3];
    assert_int_equal(asyncore__outq_peek(&q, iov, 3), 3);
    assert_memory_equal(&iov[3], &was, sizeof was);
    assert_int_equal(asyncore__outq_peek(&q, iov, 0), 0);
    asyncore__outq_clear(&q);
    assert_holds(&q, 0, 0);
}

static void
consumed_pieces_are_freed_at_once(void **state)
{
    (void)state;
    struct asyncore__outq q = {0};
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(append(&q, i * 8192, 8192), 0);
    }
    unsigned long full = kit.alloc.live;
    asyncore__outq_consume(&q, NULL, 50 * 8192);
    assert_true(kit.alloc.live <= full / 2 + 1);
    assert_holds(&q, 50 * 8192, 50 * 8192);
    asyncore__outq_clear(&q);
    assert_int_equal(kit.alloc.live, 0);
}

/* Short messages in turn, each appended and sent. */
static void
exchange(struct asyncore__outq *q, struct asyncore__spares *spares, int n)
{
    for (int i = 0; i < n; i++) {
        assert_int_equal(asyncore__outq_append(q, spares, "hello", 5), 0);
        asyncore__outq_consume(q, spares, 5);
    }
}

static void
spare_piece_saves_the_allocation(void **state)
{
    (void)state;
    struct asyncore__outq q = {0};
    struct asyncore__spares spares = {0};
    exchange(&q, &spares, 100);
    assert_int_equal(kit.alloc.count, 1);
    /* Another queue of the map's has it next. */
    struct asyncore__outq other = {0};
    kit_fail_alloc(1, 1);
    assert_int_equal(asyncore__outq_append(&other, &spares, "x", 1), 0);
    assert_holds(&q, 0, 0);
    assert_int_equal(asyncore__outq_append(&q, &spares, "x", 1), -ENOMEM);
    kit_heal();
    asyncore__outq_clear(&other);
    asyncore__spares_free(&spares);
    assert_int_equal(kit.alloc.live, 0);
}

static void
spare_pieces_are_few_and_small(void **state)
{
    (void)state;
    struct asyncore__outq q[1000] = {0};
    struct asyncore__spares spares = {0};
    for (size_t i = 0; i < COUNT(q); i++) {
        assert_int_equal(asyncore__outq_append(&q[i], &spares, "x", 1), 0);
    }
    for (size_t i = 0; i < COUNT(q); i++) {
        asyncore__outq_consume(&q[i], &spares, 1);
    }
    assert_in_range(kit.alloc.live, 1, 64);
    assert_int_equal(kit.alloc.live, spares.n);
    asyncore__spares_free(&spares);
    assert_int_equal(kit.alloc.live, 0);
    /* A large one is not kept, and not served by a small one. */
    static char large[100000];
    exchange(&q[0], &spares, 1);
    assert_int_equal(
        asyncore__outq_append(&q[0], &spares, large, sizeof large), 0);
    assert_int_equal(kit.alloc.live, 2);
    asyncore__outq_consume(&q[0], &spares, sizeof large);
    assert_int_equal(kit.alloc.live, 1);
    asyncore__spares_free(&spares);
}

static void
no_memory_appends_nothing(void **state)
{
    (void)state;
    struct asyncore__outq q = {0};
    kit_fail_alloc(1, 1);
    assert_int_equal(append(&q, 0, 10), -ENOMEM);
    assert_holds(&q, 0, 0);
    assert_int_equal(append(&q, 0, 10), 0);
    kit_fail_alloc(1, 1);
    /* A part would fit into the piece that is there: all or nothing. */
    assert_int_equal(append(&q, 10, 100000), -ENOMEM);
    assert_holds(&q, 0, 10);
    kit_heal();
    assert_int_equal(append(&q, 10, 100000), 0);
    assert_holds(&q, 0, 100010);
    asyncore__outq_clear(&q);
}

static void
impossible_length_is_enomem(void **state)
{
    (void)state;
    struct asyncore__outq q = {0};
    assert_int_equal(asyncore__outq_append(&q, NULL, "x", SIZE_MAX), -ENOMEM);
    assert_holds(&q, 0, 0);
}

static void
random_operations_agree_with_a_flat_array(void **state)
{
    (void)state;
    for (seed = 3; seed < 30; seed += 5) {
        struct asyncore__outq q = {0};
        size_t start = 0, end = 0;
        for (int step = 0; step < 2000; step++) {
            uint32_t what = dice(10);
            if (what < 5) {
                size_t len = dice(4) == 0 ? dice(20000) : dice(300);
                bool fails = dice(20) == 0;
                if (fails) {
                    kit_fail_alloc(1, 1);
                }
                int err = append(&q, end, len);
                kit_heal();
                assert_true(err == 0 || (fails && err == -ENOMEM));
                end += err == 0 ? len : 0;
            }
            else if (what < 9) {
                size_t n = dice((uint32_t)(end - start) / 2 + 2);
                n = n < end - start ? n : end - start;
                asyncore__outq_consume(&q, NULL, n);
                start += n;
            }
            else if (dice(30) == 0) {
                asyncore__outq_clear(&q);
                start = end;
            }
            if (step % 16 == 0) {
                assert_holds(&q, start, end - start);
            }
        }
        assert_holds(&q, start, end - start);
        asyncore__outq_clear(&q);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_BARE_TEST(empty_queue_has_nothing),
        KIT_BARE_TEST(appended_bytes_come_out_in_order),
        KIT_BARE_TEST(small_appends_share_few_pieces),
        KIT_BARE_TEST(peek_writes_no_more_than_asked),
        KIT_BARE_TEST(consumed_pieces_are_freed_at_once),
        KIT_BARE_TEST(spare_piece_saves_the_allocation),
        KIT_BARE_TEST(spare_pieces_are_few_and_small),
        KIT_BARE_TEST(no_memory_appends_nothing),
        KIT_BARE_TEST(impossible_length_is_enomem),
        KIT_BARE_TEST(random_operations_agree_with_a_flat_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
