/* SPDX-License-Identifier: MIT */
/* test_alloc.c - the allocator hook. */
#include "kit.h"

static struct {
    void *ptr;
    size_t size;
    void *arg;
    unsigned calls;
} last;

static void *
recording(void *ptr, size_t size, void *arg)
{
    last.ptr = ptr;
    last.size = size;
    last.arg = arg;
    last.calls++;
    if (size == 0) {
        free(ptr);
        return NULL;
    }
    return realloc(ptr, size);
}

static void
hook_gets_every_request_and_its_argument(void **state)
{
    (void)state;
    int mine;
    last.calls = 0;
    asyncore_set_allocator(recording, &mine);
    void *ptr = asyncore__realloc(NULL, 10);
    assert_non_null(ptr);
    assert_null(last.ptr);
    assert_int_equal(last.size, 10);
    assert_ptr_equal(last.arg, &mine);
    asyncore__free(ptr);
    assert_ptr_equal(last.ptr, ptr);
    assert_int_equal(last.size, 0);
    assert_int_equal(last.calls, 2);
}

static void
hook_null_restores_the_system(void **state)
{
    (void)state;
    last.calls = 0;
    asyncore_set_allocator(recording, NULL);
    asyncore_set_allocator(NULL, NULL);
    void *ptr = asyncore__realloc(NULL, 10);
    ptr = asyncore__realloc(ptr, 20);
    assert_non_null(ptr);
    memset(ptr, 1, 20);
    assert_null(asyncore__realloc(ptr, 0));
    assert_int_equal(last.calls, 0);
}

static void
free_of_null_asks_nobody(void **state)
{
    (void)state;
    last.calls = 0;
    asyncore_set_allocator(recording, NULL);
    asyncore__free(NULL);
    assert_int_equal(last.calls, 0);
}

static void
calloc_gives_zeros_or_null(void **state)
{
    (void)state;
    unsigned char *ptr = asyncore__calloc(100);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(ptr[i], 0);
    }
    asyncore__free(ptr);
    kit_fail_alloc(1, 1);
    assert_null(asyncore__calloc(100));
}

static void
reserve_grows_keeps_and_zeroes(void **state)
{
    (void)state;
    struct pair {
        int a, b;
    } *array = NULL;
    size_t cap = 0, old = 0;
    for (size_t n = 1; n < 1000; n++) {
        assert_int_equal(asyncore__reserve(&array, &cap, n, sizeof *array), 0);
        assert_true(cap >= n);
        for (size_t i = old; i < cap; i++) {
            assert_int_equal(array[i].a, 0);
            assert_int_equal(array[i].b, 0);
        }
        for (size_t i = old; i < cap; i++) {
            array[i] = (struct pair){(int)i, -(int)i};
        }
        old = cap;
    }
    for (size_t i = 0; i < cap; i++) {
        assert_int_equal(array[i].a, (int)i);
        assert_int_equal(array[i].b, -(int)i);
    }
    assert_true(kit.alloc.count < 12); /* by doubling */
    asyncore__free(array);
}

static void
reserve_without_memory_changes_nothing(void **state)
{
    (void)state;
    int *array = NULL;
    size_t cap = 0;
    assert_int_equal(asyncore__reserve(&array, &cap, 4, sizeof *array), 0);
    int *was = array;
    size_t was_cap = cap;
    array[0] = 42;
    kit_fail_alloc(1, 1);
    assert_int_equal(
        asyncore__reserve(&array, &cap, was_cap + 1, sizeof *array), -ENOMEM);
    assert_ptr_equal(array, was);
    assert_int_equal(cap, was_cap);
    assert_int_equal(array[0], 42);
    asyncore__free(array);
}

static void
reserve_beyond_memory_is_enomem(void **state)
{
    (void)state;
    struct asyncore__slot *array = NULL;
    size_t cap = 0;
    unsigned long before = kit.alloc.count;
    assert_int_equal(
        asyncore__reserve(&array, &cap, SIZE_MAX / 2, sizeof *array), -ENOMEM);
    assert_int_equal(asyncore__reserve(&array, &cap, SIZE_MAX, sizeof *array),
                     -ENOMEM);
    assert_null(array);
    assert_int_equal(cap, 0);
    assert_int_equal(kit.alloc.count, before); /* not even tried */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_BARE_TEST(hook_gets_every_request_and_its_argument),
        KIT_BARE_TEST(hook_null_restores_the_system),
        KIT_BARE_TEST(free_of_null_asks_nobody),
        KIT_BARE_TEST(calloc_gives_zeros_or_null),
        KIT_BARE_TEST(reserve_grows_keeps_and_zeroes),
        KIT_BARE_TEST(reserve_without_memory_changes_nothing),
        KIT_BARE_TEST(reserve_beyond_memory_is_enomem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
