/* SPDX-License-Identifier: MIT */
/* fuzz_match.c - the matcher, against a naive model.
 *
 * Input: the needle's length, a mask that makes symbols few, the needle; then
 * parts of the stream: the length of each, then its bytes. */
#include <stdlib.h>

#include "asynchat.h"
#include "internal.h"

#define CHECK(condition)    \
    do {                    \
        if (!(condition)) { \
            abort();        \
        }                   \
    } while (0)

/* The longest beginning of the needle, of `most` bytes at most, that the
 * stream ends with. */
static size_t
naive_end(const char *stream, size_t len, const char *needle, size_t most)
{
    size_t n = most < len ? most : len;
    while (n > 0 && memcmp(stream + len - n, needle, n) != 0) {
        n--;
    }
    return n;
}

static size_t
naive_find(const char *stream, size_t len, const char *needle, size_t nlen)
{
    for (size_t i = 0; i + nlen <= len; i++) {
        if (memcmp(stream + i, needle, nlen) == 0) {
            return i;
        }
    }
    return SIZE_MAX;
}

/* Memory of exactly that size, for the sanitizer to see its ends. */
static char *
copy_of(const char *data, size_t len)
{
    char *copy = malloc(len > 0 ? len : 1);
    CHECK(copy != NULL);
    if (len > 0) {
        memcpy(copy, data, len);
    }
    return copy;
}

static void
check_helpers(const char *needle, size_t nlen, const uint32_t *failure,
              const char *stream, size_t len)
{
    for (size_t i = 0; i < nlen; i++) {
        CHECK(failure[i] == naive_end(needle, i + 1, needle, i));
    }
    char *haystack = copy_of(stream, len);
    CHECK(asynchat_find_prefix_at_end(haystack, len, needle, nlen) ==
          naive_end(haystack, len, needle, nlen - 1));
    free(haystack);
}

/* Short needles by each way to look for many at once, and by none. */
static void
check_scan(const char *needle, size_t nlen, const char *stream, size_t len,
           asyncore__scan_fn *scan)
{
    char *copy = copy_of(stream, len);
    const char *from = copy;
    struct asyncore__ends ends;
    asyncore__scan = scan;
    asyncore__ends_init(&ends, from);
    while (from != NULL) {
        size_t left = len - (size_t)(from - copy);
        size_t place = naive_find(from, left, needle, nlen);
        const char *want = place < left ? from + place + nlen : NULL;
        from = asyncore__next_end(&ends, needle, nlen, from, copy + len);
        CHECK(from == want);
    }
    free(copy);
}

static void
check_scans(const char *needle, size_t nlen, const char *stream, size_t len)
{
    check_scan(needle, nlen, stream, len, NULL);
    for (const struct asyncore__scanner *s = asyncore__scanners;
         s->name != NULL; s++) {
        if (s->supported()) {
            check_scan(needle, nlen, stream, len, s->scan);
        }
    }
}

/* The stream, which is the parts one after the other, as it was cut. */
struct cut {
    const char *stream; /* of the message: from its beginning */
    size_t len;         /* what has been looked at */
    size_t held, told;  /* told: message bytes */
};

static void
check_match(struct cut *cut, const struct asyncore__needle *needle,
            const struct asyncore__match *m, size_t was_held)
{
    size_t place =
        naive_find(cut->stream, cut->len, needle->data, needle->len);
    CHECK(m->released <= was_held);
    CHECK(m->len == 0 || m->released == was_held);
    CHECK(m->found == (place != SIZE_MAX));
    if (m->found) {
        CHECK(m->held == 0);
        CHECK(cut->told == place && cut->len == place + needle->len);
    }
    else {
        CHECK(m->held ==
              naive_end(cut->stream, cut->len, needle->data, needle->len - 1));
        CHECK(cut->told == cut->len - m->held);
    }
}

static void
cut_part(struct cut *cut, const struct asyncore__needle *needle,
         const char *data, size_t len)
{
    char *part = copy_of(data, len);
    size_t at = 0;
    while (at < len) {
        struct asyncore__match m =
            asyncore__match(needle, cut->held, part + at, len - at);
        CHECK(m.used <= len - at && m.len <= m.used && m.used > 0);
        size_t was_held = cut->held;
        at += m.used;
        cut->len += m.used;
        cut->told += m.released + m.len;
        cut->held = m.held;
        check_match(cut, needle, &m, was_held);
        if (m.found) {
            cut->stream += cut->len;
            cut->len = cut->told = 0;
        }
    }
    free(part);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3) {
        return 0;
    }
    size_t nlen = data[0] < 200 ? data[0] % 24 + 1u : data[0] * 2u;
    uint8_t mask = data[1];
    data += 2;
    size -= 2;
    if (size <= nlen) {
        return 0;
    }
    char *all = copy_of((const char *)data, size);
    for (size_t i = 0; i < nlen; i++) {
        all[i] = (char)(all[i] & mask);
    }
    char *bytes = copy_of(all, nlen);
    uint32_t *failure = malloc(nlen * sizeof *failure);
    CHECK(failure != NULL);
    asyncore__match_prepare(bytes, nlen, failure);
    struct asyncore__needle needle = {bytes, nlen, failure};

    /* The lengths are taken out of the stream, so that it is in one piece. */
    size_t ends[4096], parts = 0, len = 0;
    char *stream = all;
    for (size_t i = nlen; i < size && parts < 4096;) {
        size_t n = (unsigned char)all[i++] % 64u + 1;
        n = n < size - i ? n : size - i;
        for (size_t k = 0; k < n; k++) {
            stream[len + k] = (char)(all[i + k] & mask);
        }
        i += n;
        len += n;
        ends[parts++] = len;
    }
    struct cut cut = {.stream = stream};
    size_t from = 0;
    for (size_t i = 0; i < parts; i++) {
        cut_part(&cut, &needle, stream + from, ends[i] - from);
        from = ends[i];
    }
    check_helpers(bytes, nlen, failure, stream, len);
    check_scans(bytes, nlen, stream, len);
    free(failure);
    free(bytes);
    free(all);
    return 0;
}
