/* SPDX-License-Identifier: MIT */
/* test_match.c - delimiters in streams, against naive models; and the work it
 * takes, in bytes looked at. */
#include "asynchat.h"
#include "kit.h"

/* The matcher once more, with everything that looks at bytes counted: each
 * byte that memchr() and memcmp() may see, and each turn of each loop. */
static unsigned long looks;

static void *
counting_memchr(const void *data, int byte, size_t len)
{
    const char *at = memchr(data, byte, len);
    looks += at != NULL ? (size_t)(at - (const char *)data) + 1 : len;
    return (void *)(uintptr_t)at;
}

static int
counting_memcmp(const void *a, const void *b, size_t len)
{
    looks += len;
    return memcmp(a, b, len);
}

void counted_prepare(const char *needle, size_t len, uint32_t *failure);
struct asyncore__match counted_match(const struct asyncore__needle *needle,
                                     size_t held, const char *part,
                                     size_t len);
size_t counted_prefix_at_end(const void *haystack, size_t haystack_len,
                             const void *needle, size_t needle_len);

#if defined(__clang__)
#pragma clang diagnostic ignored "-Wkeyword-macro"
#endif
#undef memchr
#undef memcmp
#define memchr counting_memchr
#define memcmp counting_memcmp
/* clang-format off */
#define while(condition) while (looks++, (condition))
/* clang-format on */
#define asyncore__match_prepare counted_prepare
#define asyncore__match(needle, held, part, len) \
    counted_match(needle, held, part, len)
#define asynchat_find_prefix_at_end counted_prefix_at_end
/* `struct asyncore__match` is no call, so the macro above leaves it alone. */
#include "match.c"
#undef memchr
#undef memcmp
#undef while
#undef asyncore__match_prepare
#undef asyncore__match
#undef asynchat_find_prefix_at_end

/* ---- dice ---- */

static uint64_t seed;

static uint32_t
dice(uint32_t sides)
{
    seed =
        seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(((seed >> 33) * sides) >> 31);
}

static void
random_bytes(char *to, size_t len, uint32_t symbols)
{
    for (size_t i = 0; i < len; i++) {
        to[i] = (char)('a' + dice(symbols));
    }
}

/* ---- naive models ---- */

/* The longest beginning of the needle, of at most `most` bytes, that the
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

/* Where the needle is first, or SIZE_MAX. */
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

/* ---- a stream cut by the matcher ---- */

struct cutter {
    struct asyncore__needle needle;
    uint32_t *failure;
    size_t held;
    struct text message; /* so far */
    bool counted;
};

static void
cutter_init(struct cutter *c, const char *needle, size_t len)
{
    *c = (struct cutter){0};
    c->failure = malloc(len * sizeof *c->failure);
    assert_non_null(c->failure);
    asyncore__match_prepare(needle, len, c->failure);
    c->needle = (struct asyncore__needle){needle, len, c->failure};
}

static void
cutter_fini(struct cutter *c)
{
    free(c->failure);
    text_clear(&c->message);
}

/* One call; what it says is taken over.  Returns what was used. */
static size_t
cutter_step(struct cutter *c, const char *part, size_t len, bool *found)
{
    struct asyncore__match m =
        c->counted ? counted_match(&c->needle, c->held, part, len)
                   : asyncore__match(&c->needle, c->held, part, len);
    assert_true(m.released <= c->held);
    assert_true(m.used <= len && m.len <= m.used);
    assert_true(m.held < c->needle.len);
    assert_true(m.len == 0 || m.released == c->held);
    if (m.found) {
        assert_int_equal(m.held, 0);
        assert_true(m.used > 0);
        /* All that is neither message nor left over is the needle. */
        assert_int_equal(c->held - m.released + m.used - m.len, c->needle.len);
    }
    else {
        assert_int_equal(m.used, len);
        assert_int_equal(c->held - m.released + len - m.len, m.held);
    }
    if (!c->counted) {
        text_append(&c->message, c->needle.data, m.released);
        text_append(&c->message, part, m.len);
    }
    c->held = m.held;
    *found = m.found;
    return m.used;
}

/* Cut a stream in random parts, and compare with the naive model after each
 * part.  Parts are copies, that a sanitizer sees the ends of. */
static void
check_stream(const char *needle, size_t nlen, const char *stream, size_t len,
             size_t biggest)
{
    struct cutter c;
    cutter_init(&c, needle, nlen);
    size_t at = 0, start = 0; /* of what is looked at, of the message */
    while (at < len) {
        size_t n = 1 + dice((uint32_t)biggest);
        n = n < len - at ? n : len - at;
        char *part = malloc(n);
        assert_non_null(part);
        memcpy(part, stream + at, n);
        size_t done = 0;
        while (done < n) {
            bool found;
            done += cutter_step(&c, part + done, n - done, &found);
            size_t end = at + done;
            size_t place =
                naive_find(stream + start, end - start, needle, nlen);
            size_t want;
            if (place != SIZE_MAX) {
                assert_true(found);
                assert_int_equal(start + place + nlen, end);
                want = place;
            }
            else {
                assert_false(found);
                size_t held =
                    naive_end(stream + start, end - start, needle, nlen - 1);
                assert_int_equal(c.held, held);
                want = end - start - held;
            }
            assert_int_equal(c.message.len, want);
            assert_memory_equal(text_get(&c.message), stream + start, want);
            if (found) {
                text_clear(&c.message);
                start = end;
            }
        }
        free(part);
        at += n;
    }
    cutter_fini(&c);
}

static void
few_symbols_in_any_parts(void **state)
{
    (void)state;
    for (seed = 1; seed < 20000000; seed += 10007) {
        uint64_t was = seed;
        char needle[40], stream[120];
        uint32_t symbols = 1 + dice(3);
        size_t nlen = 1 + dice(dice(4) == 0 ? sizeof needle : 6);
        size_t len = dice(sizeof stream + 1);
        random_bytes(needle, nlen, symbols);
        random_bytes(stream, len, symbols);
        /* Half the streams are made of beginnings of the needle. */
        if (dice(2) == 0) {
            size_t at = 0;
            while (at < len) {
                size_t n = 1 + dice((uint32_t)nlen);
                n = n < len - at ? n : len - at;
                memcpy(stream + at, needle, n);
                at += n;
            }
        }
        check_stream(needle, nlen, stream, len, 1 + dice(20));
        seed = was;
    }
}

static void
every_cut_in_two_and_three(void **state)
{
    (void)state;
    static const struct {
        const char *needle, *stream;
    } cases[] = {
        {"aab", "aaab"},
        {"aab", "aaaabaabaaab"},
        {"\r\n\r\n", "a\r\n\r\r\n\r\n\r\n\r\n\r\nb"},
        {"\r\n", "\r\r\n\n\r\n"},
        {"abab", "abaababab"},
        {"aaaa", "aaaaaaaaaaa"},
        {"abcabd", "abcabcabdabcab"},
        {"x", "axxbx"},
        {"\r\n.\r\n", "\r\n.\r\n.\r\n\r\n..\r\n.\r\n"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *stream = cases[i].stream;
        size_t nlen = strlen(cases[i].needle), len = strlen(stream);
        for (size_t a = 0; a <= len; a++) {
            for (size_t b = a; b <= len; b++) {
                const size_t ends[] = {a, b, len};
                struct cutter c;
                struct text got = {0}, want = {0};
                cutter_init(&c, cases[i].needle, nlen);
                size_t at = 0;
                for (int part = 0; part < 3; part++) {
                    while (at < ends[part]) {
                        bool found;
                        at += cutter_step(&c, stream + at, ends[part] - at,
                                          &found);
                        if (found) {
                            text_append(&c.message, "|", 1);
                        }
                    }
                }
                text_append(&got, c.message.at, c.message.len);
                size_t from = 0, place;
                while ((place = naive_find(stream + from, len - from,
                                           cases[i].needle, nlen)) !=
                       SIZE_MAX) {
                    text_append(&want, stream + from, place);
                    text_append(&want, "|", 1);
                    from += place + nlen;
                }
                size_t held = naive_end(stream + from, len - from,
                                        cases[i].needle, nlen - 1);
                text_append(&want, stream + from, len - from - held);
                assert_string_equal(text_get(&got), text_get(&want));
                text_clear(&got);
                text_clear(&want);
                cutter_fini(&c);
            }
        }
    }
}

static void
all_bytes_are_alike(void **state)
{
    (void)state;
    char needle[3] = {0, (char)0xff, 0};
    static char stream[60000];
    for (seed = 5; seed < 12; seed++) {
        for (size_t i = 0; i < sizeof stream; i++) {
            stream[i] = (char)dice(256);
        }
        for (int i = 0; i < 50; i++) {
            memcpy(stream + dice(sizeof stream - 3), needle, 3);
        }
        uint64_t was = seed;
        struct cutter c;
        cutter_init(&c, needle, 3);
        size_t at = 0, found_count = 0, want = 0;
        while (at < sizeof stream) {
            size_t n = 1 + dice(5000);
            n = n < sizeof stream - at ? n : sizeof stream - at;
            bool found;
            at += cutter_step(&c, stream + at, n, &found);
            found_count += found;
        }
        for (size_t i = 0; i + 3 <= sizeof stream;) {
            bool here = memcmp(stream + i, needle, 3) == 0;
            want += here;
            i += here ? 3 : 1;
        }
        assert_int_equal(found_count, want);
        cutter_fini(&c);
        seed = was;
    }
}

/* ---- long needles ---- */

#define LONGEST ((size_t)65536)

enum shape {
    ONE_LETTER,   /* aaaa… */
    LAST_DIFFERS, /* aaaa…b */
    FIRST_DIFFERS,
    PERIOD_2, /* abab… */
    PERIOD_3, /* aabaab… */
    FIBONACCI,
    RANDOM,
    SHAPES
};

static char
fibonacci(size_t i)
{
    size_t a = 1, b = 2; /* the word's letters, by Zeckendorf */
    while (b <= i) {
        size_t next = a + b;
        a = b;
        b = next;
    }
    while (i > 1) {
        while (a > i) {
            size_t before = b - a;
            b = a;
            a = before;
        }
        i -= a;
    }
    return i == 0 ? 'a' : 'b';
}

static void
shape(char *needle, size_t len, enum shape what)
{
    for (size_t i = 0; i < len; i++) {
        needle[i] = what == PERIOD_2    ? "ab"[i % 2]
                    : what == PERIOD_3  ? "aab"[i % 3]
                    : what == FIBONACCI ? fibonacci(i)
                    : what == RANDOM    ? (char)('a' + dice(2))
                                        : 'a';
    }
    if (what == LAST_DIFFERS) {
        needle[len - 1] = 'b';
    }
    else if (what == FIRST_DIFFERS) {
        needle[0] = 'b';
    }
}

/* Streams that hurt: the needle but for its end, again and again; but for one
 * byte in the middle; its last letter for ever; the needle itself. */
static void
adversary(char *stream, size_t len, const char *needle, size_t nlen, int kind)
{
    for (size_t i = 0; i < len; i++) {
        size_t in = i % nlen;
        stream[i] = kind == 0   ? needle[i % (nlen > 1 ? nlen - 1 : 1)]
                    : kind == 1 ? (in == nlen / 2 ? 'z' : needle[in])
                    : kind == 2 ? needle[nlen - 1]
                    : kind == 3 ? needle[in]
                    : kind == 4 ? (in == 0 ? 'z' : needle[in])
                                : 'a';
    }
}

#define ADVERSARIES 6

static void
long_needles_are_found(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 15, 16, 17, 18, 255, 4096, LONGEST};
    char *needle = malloc(LONGEST);
    char *stream = malloc(2 * LONGEST + 1000);
    assert_true(needle != NULL && stream != NULL);
    seed = 77;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        size_t nlen = sizes[i];
        for (int what = 0; what < SHAPES; what++) {
            shape(needle, nlen, (enum shape)what);
            size_t bad = dice(500), len = bad + nlen;
            /* Nearly the needle in front of it, which may overlap. */
            memset(stream, 'a', bad);
            memcpy(stream, needle + nlen - (bad < nlen ? bad : nlen),
                   bad < nlen ? bad : nlen);
            memcpy(stream + bad, needle, nlen);
            stream[len++] = '!';
            size_t place = naive_find(stream, len, needle, nlen);
            for (size_t step = 1; step <= len; step = step * 3 + 1) {
                struct cutter c;
                bool found = false;
                cutter_init(&c, needle, nlen);
                size_t at = 0;
                while (!found && at < len) {
                    size_t n = step < len - at ? step : len - at;
                    at += cutter_step(&c, stream + at, n, &found);
                }
                assert_true(found);
                assert_int_equal(at, place + nlen);
                assert_int_equal(c.message.len, place);
                assert_memory_equal(text_get(&c.message), stream, place);
                cutter_fini(&c);
            }
        }
    }
    free(needle);
    free(stream);
}

/* ---- work ---- */

/* Whatever the needle, the stream and the parts are: so many looks for a byte
 * of the stream, and as many to begin with as its parts are to be told. */
static void
assert_linear(const char *needle, size_t nlen, const char *stream, size_t len,
              size_t piece, unsigned long *worst)
{
    struct cutter c;
    cutter_init(&c, needle, nlen);
    c.counted = true;
    looks = 0;
    counted_prepare(needle, nlen, c.failure);
    assert_true(looks <= 4 * nlen);
    looks = 0;
    size_t at = 0, calls = 0;
    while (at < len) {
        size_t n = piece < len - at ? piece : len - at, done = 0;
        while (done < n) {
            bool found;
            done += cutter_step(&c, stream + at + done, n - done, &found);
            calls++;
        }
        at += n;
    }
    unsigned long most = 20 * len + 8 * calls + 2048;
    if (looks > most) {
        fail_msg("%lu looks for %zu bytes in pieces of %zu, needle of %zu",
                 looks, len, piece, nlen);
    }
    *worst = looks / len > *worst ? looks / len : *worst;
    cutter_fini(&c);
}

static void
work_is_linear(void **state)
{
    (void)state;
    static const size_t sizes[] = {1,  2,  3,   4,    8,     15,     16,
                                   17, 18, 100, 1000, 65535, LONGEST};
    static const size_t pieces[] = {1, 1024, 65536, 1048576};
    const size_t len = 1048576;
    char *needle = malloc(LONGEST), *stream = malloc(len);
    unsigned long worst = 0;
    assert_true(needle != NULL && stream != NULL);
    seed = 99;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        for (int what = 0; what < SHAPES; what++) {
            shape(needle, sizes[i], (enum shape)what);
            for (int kind = 0; kind < ADVERSARIES; kind++) {
                size_t bytes = sizes[i] == LONGEST          ? len / 8
                               : sizes[i] == 4 && kind == 0 ? len
                                                            : len / 32;
                adversary(stream, bytes, needle, sizes[i], kind);
                for (size_t p = 0; p < COUNT(pieces); p++) {
                    assert_linear(needle, sizes[i], stream, bytes, pieces[p],
                                  &worst);
                }
            }
        }
    }
    print_message("at most %lu looks a byte\n", worst);
    free(needle);
    free(stream);
}

/* ---- the failure function ---- */

static void
failure_function_is_what_it_says(void **state)
{
    (void)state;
    for (seed = 1; seed < 5000000; seed += 10007) {
        uint64_t was = seed;
        char needle[30];
        uint32_t failure[30];
        size_t len = 1 + dice(sizeof needle);
        random_bytes(needle, len, 1 + dice(3));
        asyncore__match_prepare(needle, len, failure);
        for (size_t i = 0; i < len; i++) {
            assert_int_equal(failure[i], naive_end(needle, i + 1, needle, i));
        }
        seed = was;
    }
}

/* ---- find_prefix_at_end ---- */

static void
prefix_at_end_as_the_original_says(void **state)
{
    (void)state;
    assert_int_equal(asynchat_find_prefix_at_end("qwerty\r", 7, "\r\n", 2), 1);
    assert_int_equal(asynchat_find_prefix_at_end("qwertydkjf", 10, "\r\n", 2),
                     0);
    assert_int_equal(asynchat_find_prefix_at_end("\r\n\r", 3, "\r\n\r\n", 4),
                     3);
    assert_int_equal(asynchat_find_prefix_at_end("xaab", 4, "aab", 3), 0);
    assert_int_equal(asynchat_find_prefix_at_end("xaaa", 4, "aab", 3), 2);
    /* No part of it is shorter and not empty. */
    assert_int_equal(asynchat_find_prefix_at_end("x", 1, "x", 1), 0);
}

static void
prefix_at_end_of_nothing_is_nothing(void **state)
{
    (void)state;
    assert_int_equal(asynchat_find_prefix_at_end("", 0, "ab", 2), 0);
    assert_int_equal(asynchat_find_prefix_at_end("a", 1, "", 0), 0);
    assert_int_equal(asynchat_find_prefix_at_end(NULL, 0, "ab", 2), 0);
    assert_int_equal(asynchat_find_prefix_at_end("a", 1, NULL, 0), 0);
    assert_int_equal(asynchat_find_prefix_at_end(NULL, 0, NULL, 0), 0);
}

static void
prefix_at_end_agrees_with_the_naive_one(void **state)
{
    (void)state;
    for (seed = 1; seed < 20000000; seed += 10007) {
        uint64_t was = seed;
        uint32_t symbols = 1 + dice(3);
        size_t nlen = 1 + dice(200), len = dice(300);
        /* Of its own size each, so that a sanitizer sees the ends. */
        char *needle = malloc(nlen), *haystack = malloc(len + 1);
        assert_true(needle != NULL && haystack != NULL);
        random_bytes(needle, nlen, symbols);
        random_bytes(haystack, len, symbols);
        if (dice(2) == 0) {
            size_t n = dice((uint32_t)nlen + 1);
            n = n < len ? n : len;
            memcpy(haystack + len - n, needle, n);
        }
        bool no_memory = dice(8) == 0;
        if (no_memory) {
            kit_fail_alloc(1, 1); /* it takes longer then */
        }
        assert_int_equal(
            asynchat_find_prefix_at_end(haystack, len, needle, nlen),
            naive_end(haystack, len, needle, nlen - 1));
        kit_heal();
        free(needle);
        free(haystack);
        seed = was;
    }
}

static void
prefix_at_end_is_linear_in_the_needle(void **state)
{
    (void)state;
    const size_t len = 4 * LONGEST;
    char *needle = malloc(LONGEST), *haystack = malloc(len);
    assert_true(needle != NULL && haystack != NULL);
    seed = 3;
    for (size_t nlen = 2; nlen <= LONGEST; nlen *= 2) {
        for (int what = 0; what < SHAPES; what++) {
            shape(needle, nlen, (enum shape)what);
            for (int kind = 0; kind < ADVERSARIES; kind++) {
                adversary(haystack, len, needle, nlen, kind);
                looks = 0;
                size_t got =
                    counted_prefix_at_end(haystack, len, needle, nlen);
                assert_true(looks <= 8 * nlen);
                assert_true(got < nlen);
                assert_memory_equal(haystack + len - got, needle, got);
                assert_int_equal(got, asynchat_find_prefix_at_end(
                                          haystack, len, needle, nlen));
            }
        }
    }
    free(needle);
    free(haystack);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_BARE_TEST(few_symbols_in_any_parts),
        KIT_BARE_TEST(every_cut_in_two_and_three),
        KIT_BARE_TEST(all_bytes_are_alike),
        KIT_BARE_TEST(long_needles_are_found),
        KIT_BARE_TEST(work_is_linear),
        KIT_BARE_TEST(failure_function_is_what_it_says),
        KIT_BARE_TEST(prefix_at_end_as_the_original_says),
        KIT_BARE_TEST(prefix_at_end_of_nothing_is_nothing),
        KIT_BARE_TEST(prefix_at_end_agrees_with_the_naive_one),
        KIT_BARE_TEST(prefix_at_end_is_linear_in_the_needle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
