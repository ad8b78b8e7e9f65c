/* SPDX-License-Identifier: MIT */
/* alloc.c - the allocator hook: one function to replace all memory. */
#include <stdint.h>
#include <stdlib.h>

#include "internal.h"

static void *
system_realloc(void *ptr, size_t size, void *arg)
{
    (void)arg;
    if (size == 0) {
        free(ptr);
        return NULL;
    }
    return realloc(ptr, size);
}

static struct {
    asyncore_realloc_fn *fn;
    void *arg;
} allocator = {system_realloc, NULL};

void
asyncore_set_allocator(asyncore_realloc_fn *fn, void *arg)
{
    allocator.fn = fn != NULL ? fn : system_realloc;
    allocator.arg = arg;
}

void *
asyncore__realloc(void *ptr, size_t size)
{
    return allocator.fn(ptr, size, allocator.arg);
}

void *
asyncore__calloc(size_t size)
{
    void *ptr = asyncore__realloc(NULL, size);
    if (ptr != NULL) {
        memset(ptr, 0, size);
    }
    return ptr;
}

void
asyncore__free(void *ptr)
{
    if (ptr != NULL) {
        asyncore__realloc(ptr, 0);
    }
}

int
asyncore__reserve_raw(void *array, size_t *cap, size_t n, size_t size)
{
    if (n <= *cap) {
        return 0;
    }
    size_t want = *cap < 8 ? 8 : *cap;
    while (want < n) {
        want = want > SIZE_MAX / 2 ? n : want * 2;
    }
    if (want > SIZE_MAX / size) {
        return -ENOMEM;
    }
    /* Every array is a pointer to some struct: copy its bits, for `void **`
     * is not a legal alias of `struct x **`. */
    void *old;
    memcpy(&old, array, sizeof old);
    char *grown = asyncore__realloc(old, want * size);
    if (grown == NULL) {
        return -ENOMEM;
    }
    memcpy(array, &grown, sizeof grown);
    *cap = want;
    return 0;
}

int
asyncore__reserve(void *array, size_t *cap, size_t n, size_t size)
{
    size_t old = *cap;
    int err = asyncore__reserve_raw(array, cap, n, size);
    if (err >= 0 && *cap > old) {
        char *at;
        memcpy(&at, array, sizeof at);
        memset(at + old * size, 0, (*cap - old) * size);
    }
    return err;
}
