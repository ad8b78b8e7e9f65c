/* SPDX-License-Identifier: MIT */
/* scan.c - all the delimiters in a stretch of a stream, in one pass.
 *
 * A call of memchr() for each line costs more than looking at the line.  Where
 * the processor compares many bytes at once, 64 places yield the delimiters
 * among them as the bits of a word.  Which of the ways is taken is chosen when
 * the first is needed, by what the processor can do.  Where there is none,
 * near the end of the input, and where delimiters are far apart, memchr() is
 * as fast as anything. */
#include "internal.h"

#define PLACES 64

/* Words at a time: few at first (ASYNCORE__WORDS_FIRST), for a handler may set
 * another terminator; then more each time, up to what an offset can tell of.
 */
#define GROWTH 4
#define WORDS_MOST 64

/* ---- the ways ---- */

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
#include <sys/platform/x86.h>
#endif

/* A delimiter's last two bytes are looked for, the others only where those
 * are.  There is always room for the ends of a word more. */
#define DEFINE_SCAN(name, target, vector, fill, equal)                       \
    target static void name(struct asyncore__ends *ends, const char *needle, \
                            size_t len, unsigned words)                      \
    {                                                                        \
        const char *at = ends->at, *stop = at + (size_t)words * PLACES;      \
        uint16_t *place = ends->place, offset = 1;                           \
        size_t before = len > 1;                                             \
        vector last = fill(needle[len - 1]);                                 \
        vector other = fill(needle[len - 1 - before]);                       \
        ends->base = at;                                                     \
        do {                                                                 \
            uint64_t bits = equal(at, last, at - before, other);             \
            for (size_t i = 2; i < len && bits != 0; i++) {                  \
                vector byte = fill(needle[len - 1 - i]);                     \
                bits &= equal(at - i, byte, at - i, byte);                   \
            }                                                                \
            for (; bits != 0; bits &= bits - 1) {                            \
                *place++ = (uint16_t)(offset + __builtin_ctzll(bits));       \
            }                                                                \
            at += PLACES;                                                    \
            offset = (uint16_t)(offset + PLACES);                            \
        } while (at < stop &&                                                \
                 place <= ends->place + ASYNCORE__ENDS - PLACES);            \
        ends->at = at;                                                       \
        ends->next = 0;                                                      \
        ends->n = (unsigned)(place - ends->place);                           \
    }

/* equal(): the places where one vector of bytes has `a` and the other `b`. */

#define SSE2 /* all of this kind have it */

static inline uint64_t
equal_16(const char *at_a, __m128i a, const char *at_b, __m128i b)
{
    __m128i is_a = _mm_cmpeq_epi8(_mm_loadu_si128((const void *)at_a), a);
    __m128i is_b = _mm_cmpeq_epi8(_mm_loadu_si128((const void *)at_b), b);
    return (unsigned)_mm_movemask_epi8(_mm_and_si128(is_a, is_b));
}

static inline uint64_t
equal_sse2(const char *at_a, __m128i a, const char *at_b, __m128i b)
{
    return equal_16(at_a, a, at_b, b) |
           equal_16(at_a + 16, a, at_b + 16, b) << 16 |
           equal_16(at_a + 32, a, at_b + 32, b) << 32 |
           equal_16(at_a + 48, a, at_b + 48, b) << 48;
}

#define AVX2 __attribute__((target("avx2,bmi")))

AVX2 static inline uint64_t
equal_32(const char *at_a, __m256i a, const char *at_b, __m256i b)
{
    __m256i is_a =
        _mm256_cmpeq_epi8(_mm256_loadu_si256((const void *)at_a), a);
    __m256i is_b =
        _mm256_cmpeq_epi8(_mm256_loadu_si256((const void *)at_b), b);
    return (unsigned)_mm256_movemask_epi8(_mm256_and_si256(is_a, is_b));
}

AVX2 static inline uint64_t
equal_avx2(const char *at_a, __m256i a, const char *at_b, __m256i b)
{
    return equal_32(at_a, a, at_b, b) | equal_32(at_a + 32, a, at_b + 32, b)
                                            << 32;
}

#define AVX512 __attribute__((target("avx512bw,bmi")))

AVX512 static inline uint64_t
equal_avx512(const char *at_a, __m512i a, const char *at_b, __m512i b)
{
    __mmask64 is_a =
        _mm512_cmpeq_epi8_mask(_mm512_loadu_si512((const void *)at_a), a);
    return _mm512_mask_cmpeq_epi8_mask(
        is_a, _mm512_loadu_si512((const void *)at_b), b);
}

DEFINE_SCAN(scan_sse2, SSE2, __m128i, _mm_set1_epi8, equal_sse2)
DEFINE_SCAN(scan_avx2, AVX2, __m256i, _mm256_set1_epi8, equal_avx2)
DEFINE_SCAN(scan_avx512, AVX512, __m512i, _mm512_set1_epi8, equal_avx512)

/* glibc has asked the processor when it loaded the program.  The compiler's
 * own way asks again, in each program that has it, before main(): a dozen
 * CPUIDs, which cost a virtual machine a tenth of a millisecond. */
#ifdef CPU_FEATURE_ACTIVE
#define HAS(glibc, gcc) x86_cpu_active(glibc)
#else
#define HAS(glibc, gcc) __builtin_cpu_supports(gcc)
#endif

static bool
has_avx512(void)
{
    return HAS(x86_cpu_AVX512BW, "avx512bw") && HAS(x86_cpu_BMI1, "bmi");
}

static bool
has_avx2(void)
{
    return HAS(x86_cpu_AVX2, "avx2") && HAS(x86_cpu_BMI1, "bmi");
}

static bool
has_sse2(void)
{
    return true;
}

const struct asyncore__scanner asyncore__scanners[] = {
    {"avx512", has_avx512, scan_avx512},
    {"avx2", has_avx2, scan_avx2},
    {"sse2", has_sse2, scan_sse2},
    {NULL, NULL, NULL},
};

/* ---- the choice ---- */

static void
choose(struct asyncore__ends *ends, const char *needle, size_t len,
       unsigned words)
{
    const struct asyncore__scanner *scanner = asyncore__scanners;
    while (!scanner->supported()) {
        scanner++;
    }
    atomic_store_explicit(&asyncore__scan, scanner->scan,
                          memory_order_relaxed);
    scanner->scan(ends, needle, len, words);
}

_Atomic(asyncore__scan_fn *) asyncore__scan = choose;

#else

const struct asyncore__scanner asyncore__scanners[] = {{NULL, NULL, NULL}};
_Atomic(asyncore__scan_fn *) asyncore__scan; /* none */

#endif

/* ---- the search ---- */

/* One at a time. */
static const char *
find_end(struct asyncore__ends *ends, const char *needle, size_t len,
         const char *to)
{
    size_t tail = len - 1;
    while (ends->at < to) {
        const char *p =
            memchr(ends->at, needle[tail], (size_t)(to - ends->at));
        if (p == NULL) {
            break;
        }
        ends->at = p + 1;
        bool so_far = tail == 0 || p[-1] == needle[tail - 1];
        if (so_far && (tail < 2 || memcmp(p - tail, needle, tail) == 0)) {
            return p + 1;
        }
    }
    return NULL;
}

/* Many, where there are as many places; returns whether there were some. */
static bool
scan_ahead(struct asyncore__ends *ends, const char *needle, size_t len,
           size_t words)
{
    asyncore__scan_fn *scan =
        atomic_load_explicit(&asyncore__scan, memory_order_relaxed);
    if (words == 0 || scan == NULL) {
        return false;
    }
    unsigned most = ends->words;
    scan(ends, needle, len, words < most ? (unsigned)words : most);
    ends->words = ends->n == 0        ? ASYNCORE__WORDS_FIRST
                  : most < WORDS_MOST ? most * GROWTH
                                      : WORDS_MOST;
    return ends->n > 0;
}

const char *
asyncore__more_ends(struct asyncore__ends *ends, const char *needle,
                    size_t len, const char *from, const char *to)
{
    if ((size_t)(to - from) < len) {
        return NULL;
    }
    const char *first = from + len - 1;
    do {
        while (ends->next < ends->n) {
            const char *end = ends->base + ends->place[ends->next++];
            if (end > first) {
                return end;
            }
        }
        ends->at = ends->at > first ? ends->at : first;
    } while (scan_ahead(ends, needle, len, (size_t)(to - ends->at) / PLACES));
    return find_end(ends, needle, len, to);
}
