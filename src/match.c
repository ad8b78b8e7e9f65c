/* SPDX-License-Identifier: MIT */
/* match.c - find a delimiter in a stream that comes in parts.
 *
 * Whole delimiters are looked for with memchr(), for the last byte, which is
 * as fast as memory; one that is cut by the end of a part, by the automaton
 * of Knuth, Morris and Pratt, whose state ("how many bytes of the needle does
 * the stream end with") is all that is kept from part to part: the bytes
 * themselves are the needle's.  The automaton also takes over where memchr()
 * finds candidates everywhere, so that the work is linear whatever comes. */
#include "asynchat.h"
#include "internal.h"

/* Needles up to this are compared at every candidate: at most so many looks
 * for a byte of the stream. */
#define SHORT 16

/* A longer one may have wasted so many looks, and as many again per byte. */
#define PATIENCE 1024

void
asyncore__match_prepare(const char *needle, size_t len, uint32_t *failure)
{
    uint32_t state = 0;
    failure[0] = 0;
    for (size_t i = 1; i < len; i++) {
        while (state > 0 && needle[i] != needle[state]) {
            state = failure[state - 1];
        }
        if (needle[i] == needle[state]) {
            state++;
        }
        failure[i] = state;
    }
}

/* The automaton's next state. */
static size_t
step(const struct asyncore__needle *needle, size_t state, char byte)
{
    while (state > 0 && byte != needle->data[state]) {
        state = needle->failure[state - 1];
    }
    return byte == needle->data[state] ? state + 1 : state;
}

/* The automaton, from *at with *state; stops after a match.  Returns whether
 * there was one. */
static bool
run(const struct asyncore__needle *needle, const char *part, size_t len,
    size_t *at, size_t *state)
{
    while (*at < len) {
        *state = step(needle, *state, part[(*at)++]);
        if (*state == needle->len) {
            return true;
        }
    }
    return false;
}

/* The first place where the needle is, or len; *state is what the part ends
 * with in that case. */
static size_t
find(const struct asyncore__needle *needle, const char *part, size_t len,
     size_t *state)
{
    size_t tail = needle->len - 1;
    char last = needle->data[tail];
    size_t at = 0, wasted = 0;
    while (at + tail < len) {
        const char *p = memchr(part + at + tail, last, len - at - tail);
        if (p == NULL) {
            break;
        }
        const char *start = p - tail;
        if (memcmp(start, needle->data, tail) == 0) {
            return (size_t)(start - part);
        }
        at = (size_t)(start - part) + 1;
        wasted += tail;
        if (tail >= SHORT && wasted > PATIENCE + at) {
            *state = 0;
            bool found = run(needle, part, len, &at, state);
            return found ? at - needle->len : len;
        }
    }
    /* What is left is shorter than the needle, or has no end of one. */
    at = len > tail ? len - tail : 0;
    *state = 0;
    run(needle, part, len, &at, state);
    return len;
}

struct asyncore__match
asyncore__match(const struct asyncore__needle *needle, size_t held,
                const char *part, size_t len)
{
    struct asyncore__match m = {0};
    size_t at = 0, state = held;
    /* As long as a match would begin in the bytes held back … */
    while (state > at) {
        if (at == len) {
            m.released = held + len - state;
            m.used = len;
            m.held = state;
            return m;
        }
        state = step(needle, state, part[at++]);
        if (state == needle->len) {
            m.found = true;
            m.used = at;
            m.released = state >= at ? held - (state - at) : held;
            m.len = state >= at ? 0 : at - state;
            return m;
        }
    }
    /* … and from there on it begins in this part. */
    m.released = held;
    size_t from = at - state;
    size_t place = find(needle, part + from, len - from, &m.held);
    m.found = place < len - from;
    if (m.found) {
        m.held = 0;
        m.len = from + place;
        m.used = m.len + needle->len;
    }
    else {
        m.len = len - m.held;
        m.used = len;
    }
    return m;
}

/* ---- the helper of the original ---- */

size_t
asynchat_find_prefix_at_end(const void *haystack, size_t haystack_len,
                            const void *needle, size_t needle_len)
{
    if (haystack == NULL || needle == NULL || needle_len < 2) {
        return 0;
    }
    const char *data = needle;
    size_t most =
        needle_len - 1 < haystack_len ? needle_len - 1 : haystack_len;
    const char *end = (const char *)haystack + haystack_len;
    uint32_t few[64], *failure = few;
    if (most > sizeof few / sizeof *few) {
        failure = asyncore__realloc(NULL, most * sizeof *failure);
    }
    size_t state = 0;
    if (failure == NULL) { /* no memory: slowly */
        state = most;
        while (state > 0 && memcmp(end - state, data, state) != 0) {
            state--;
        }
        return state;
    }
    /* The first `most` bytes of the needle at the end of the haystack's last:
     * that is a match in the end, or what it ends with. */
    if (most > 0) {
        struct asyncore__needle part = {data, most, failure};
        size_t at = 0;
        asyncore__match_prepare(data, most, failure);
        while (at < most) {
            state = step(&part, state == most ? failure[most - 1] : state,
                         (end - most)[at]);
            at++;
        }
    }
    if (failure != few) {
        asyncore__free(failure);
    }
    return state;
}
