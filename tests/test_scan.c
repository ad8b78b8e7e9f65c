/* SPDX-License-Identifier: MIT */
/* test_scan.c - short delimiters, many at once: each way that this processor
 * can go, and memchr() alone, against a naive model; and the work it takes. */
#include "kit.h"

/* ---- dice ---- */

static uint64_t seed;

static uint32_t
dice(uint32_t sides)
{
    seed =
        seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(((seed >> 33) * sides) >> 31);
}

/* ---- the ways ---- */

static unsigned long scanned; /* places looked at */

/* One byte after the other; where there are no vectors, too. */
static void
scan_slowly(struct asyncore__ends *ends, const char *needle, size_t len,
            unsigned words)
{
    ends->base = ends->at;
    ends->next = ends->n = 0;
    while (words-- > 0 && ends->n <= ASYNCORE__ENDS - 64) {
        for (int i = 0; i < 64; i++, ends->at++) {
            scanned++;
            if (memcmp(ends->at + 1 - len, needle, len) == 0) {
                ends->place[ends->n++] = (uint16_t)(ends->at + 1 - ends->base);
            }
        }
    }
}

static void
use(asyncore__scan_fn *scan)
{
    atomic_store(&asyncore__scan, scan);
}

/* Runs the test with each of them. */
static void
with_each(void (*test)(void))
{
    asyncore__scan_fn *chosen = asyncore__scan;
    use(NULL);
    test();
    use(scan_slowly);
    test();
    for (const struct asyncore__scanner *s = asyncore__scanners;
         s->name != NULL; s++) {
        if (s->supported()) {
            use(s->scan);
            test();
        }
        else {
            print_message("this processor has no %s\n", s->name);
        }
    }
    use(chosen);
}

/* ---- the model ---- */

static const char *
naive_next(const char *needle, size_t len, const char *from, const char *to)
{
    for (; (size_t)(to - from) >= len; from++) {
        if (memcmp(from, needle, len) == 0) {
            return from + len;
        }
    }
    return NULL;
}

/* All the delimiters in the stream, up to the one after which a handler would
 * look anew. */
static void
assert_same_ends(const char *needle, size_t len, const char *stream,
                 size_t stream_len, uint32_t anew)
{
    /* Of its own size, so that a sanitizer sees who looks beyond it. */
    char *copy = malloc(stream_len > 0 ? stream_len : 1);
    assert_non_null(copy);
    memcpy(copy, stream, stream_len);
    const char *from = copy, *to = copy + stream_len, *end;
    struct asyncore__ends ends;
    asyncore__ends_init(&ends, from);
    do {
        end = asyncore__next_end(&ends, needle, len, from, to);
        assert_ptr_equal(end, naive_next(needle, len, from, to));
        from = end;
        if (end != NULL && anew > 0 && dice(anew) == 0) {
            asyncore__ends_init(&ends, from);
        }
    } while (end != NULL);
    free(copy);
}

/* ---- tests ---- */

static void
few_symbols(void)
{
    /* Letters, zero, and where a char changes its sign. */
    static const unsigned char firsts[] = {'a', 0, 0x7e, 0xfc};
    static char stream[9000];
    char needle[8];
    seed = 7;
    for (int i = 0; i < 4000; i++) {
        size_t nlen = 1 + dice(sizeof needle);
        size_t len = dice(4) > 0 ? dice(300) : dice(sizeof stream);
        uint32_t symbols = 1 + dice(4);
        uint32_t first = firsts[dice(COUNT(firsts))];
        for (size_t k = 0; k < nlen; k++) {
            needle[k] = (char)(first + dice(symbols));
        }
        for (size_t k = 0; k < len; k++) {
            stream[k] = (char)(first + dice(symbols));
        }
        assert_same_ends(needle, nlen, stream, len, dice(3) * dice(5));
    }
}

static void
few_symbols_by_each_way(void **state)
{
    (void)state;
    with_each(few_symbols);
}

/* One delimiter, at each place. */
static void
every_place(void)
{
    static const char *const needles[] = {"\n", "\r\n", ".\r\n", "\r\n\r\n",
                                          "boundary"};
    char stream[300];
    for (size_t i = 0; i < COUNT(needles); i++) {
        size_t len = strlen(needles[i]);
        for (size_t at = 0; at + len <= sizeof stream; at++) {
            memset(stream, 'x', sizeof stream);
            memcpy(stream + at, needles[i], len);
            assert_same_ends(needles[i], len, stream, sizeof stream, 0);
            assert_same_ends(needles[i], len, stream, at + len, 0);
            assert_same_ends(needles[i], len, stream, at + len - 1, 0);
        }
    }
}

static void
every_place_by_each_way(void **state)
{
    (void)state;
    with_each(every_place);
}

/* Lines whose lengths are far from each other, of all bytes there are. */
static void
lines(void)
{
    static char stream[300000];
    seed = 11;
    for (int i = 0; i < 20; i++) {
        for (size_t at = 0; at < sizeof stream; at++) {
            stream[at] = (char)dice(256);
        }
        uint32_t longest = 1u << (2 + dice(14));
        size_t at = dice(longest);
        while (at + 2 < sizeof stream) {
            memcpy(stream + at, "\r\n", 2);
            at += 2 + dice(longest);
        }
        assert_same_ends("\r\n", 2, stream, sizeof stream, 0);
    }
}

static void
lines_by_each_way(void **state)
{
    (void)state;
    with_each(lines);
}

static void
nothing_is_found_in_less_than_a_delimiter(void **state)
{
    (void)state;
    struct asyncore__ends ends;
    char stream[1] = "\n";
    asyncore__ends_init(&ends, stream);
    assert_null(asyncore__next_end(&ends, "\r\n", 2, stream, stream));
    assert_null(asyncore__next_end(&ends, "\r\n", 2, stream, stream + 1));
}

static void
best_that_the_processor_has_is_chosen(void **state)
{
    (void)state;
    char stream[256] = {0};
    const struct asyncore__scanner *best = asyncore__scanners;
    if (best->name == NULL) {
        assert_true(asyncore__scan == NULL);
        skip();
    }
    assert_same_ends("x", 1, stream, sizeof stream, 0);
    while (!best->supported()) {
        best++;
    }
    assert_true(asyncore__scan == best->scan);
}

#if defined(__x86_64__) && defined(__GNUC__)

static void
processor_is_what_the_compiler_says(void **state)
{
    (void)state;
    bool bmi = __builtin_cpu_supports("bmi") != 0;
    bool avx512 = __builtin_cpu_supports("avx512bw") && bmi;
    bool avx2 = __builtin_cpu_supports("avx2") && bmi;
    assert_int_equal(asyncore__scanners[0].supported(), avx512);
    assert_int_equal(asyncore__scanners[1].supported(), avx2);
}

#else

static void
processor_is_what_the_compiler_says(void **state)
{
    (void)state;
    skip();
}

#endif

/* ---- work ---- */

/* What is scanned is not scanned again, unless a handler has changed what is
 * looked for: then it is a few words. */
static void
work_is_linear(void **state)
{
    (void)state;
    enum {
        LEN = 100000
    };
    static char stream[LEN];
    asyncore__scan_fn *chosen = asyncore__scan;
    use(scan_slowly);
    for (size_t size = 2; size <= LEN / 2; size = size * 3 / 2 + 1) {
        for (int anew = 0; anew < 2; anew++) {
            for (size_t i = 0; i < LEN; i++) {
                stream[i] = i % size == size - 1 ? '\n' : 'x';
            }
            struct asyncore__ends ends;
            const char *from = stream, *end = stream;
            unsigned long looked_for = 0;
            asyncore__ends_init(&ends, stream);
            scanned = 0;
            while (end != NULL) {
                end = asyncore__next_end(&ends, "\n", 1, from, stream + LEN);
                looked_for++;
                from = end;
                if (anew == 1) {
                    asyncore__ends_init(&ends, from);
                }
            }
            assert_int_equal(looked_for, LEN / size + 1);
            assert_true(scanned <= LEN + 256ul * (anew ? looked_for : 0));
            /* Far apart they are not scanned for, but rarely. */
            assert_true(size < 10000 || scanned <= LEN / 10);
        }
    }
    use(chosen);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_BARE_TEST(few_symbols_by_each_way),
        KIT_BARE_TEST(every_place_by_each_way),
        KIT_BARE_TEST(lines_by_each_way),
        KIT_BARE_TEST(nothing_is_found_in_less_than_a_delimiter),
        KIT_BARE_TEST(best_that_the_processor_has_is_chosen),
        KIT_BARE_TEST(processor_is_what_the_compiler_says),
        KIT_BARE_TEST(work_is_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
