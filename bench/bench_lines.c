/* SPDX-License-Identifier: MIT */
/* bench_lines.c - how fast lines are framed; no sockets are read.
 *
 *   bench_lines [ROUNDS [MIB]]
 *
 * A stream of CRLF lines comes in pieces of 64 KiB, that end inside of a line.
 * Three look at its first byte and its length of each: found_terminator(),
 * libevent's evbuffer_readln() (whose input is referred to, not copied), and
 * a bare loop over memchr().  They take turns. */
#include <asynchat.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef HAVE_LIBEVENT
#include <event2/buffer.h>
#endif

#include "micro.h"

#define PIECE ((size_t)65536)
#define MAX_ROUNDS 99

/* The stream: PIECE bytes of it, beginning in the middle of a line, which
 * follow on themselves, for the length of a line divides them. */
static char *piece;
static size_t line_size;

/* What was seen; all must have seen the same. */
struct seen {
    uint64_t lines, bytes, sum;
};

static struct seen seen;

static void
look(const char *line, size_t len)
{
    seen.lines++;
    seen.bytes += len;
    seen.sum += (unsigned char)line[0];
}

static void
fail(const char *what)
{
    fprintf(stderr, "bench_lines: %s\n", what);
    exit(1);
}

static void
make_stream(size_t size)
{
    size_t lead = size / 2;
    line_size = size;
    for (size_t i = 0; i < PIECE; i++) {
        size_t at = (i + lead) % size;
        piece[i] = at == size - 2   ? '\r'
                   : at == size - 1 ? '\n'
                                    : (char)('a' + i / size % 26);
    }
}

/* ---- those that take turns ---- */

static int
line_found(struct asynchat *chat)
{
    struct asyncore_bytes line = asynchat_get_data(chat);
    look(line.data, line.len);
    return 0;
}

static const struct asynchat_ops line_ops = {
    .base.name = "lines",
    .found_terminator = line_found,
};

static void
run_asynchat(size_t pieces)
{
    struct asynchat chat;
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0 ||
        asynchat_init(&chat, &line_ops, fds[0], NULL) < 0 ||
        asynchat_set_terminator(&chat, "\r\n", 2) < 0) {
        fail("no chat");
    }
    for (size_t i = 0; i < pieces; i++) {
        if (asynchat_feed(&chat, piece, PIECE) < 0) {
            fail("asynchat_feed");
        }
    }
    asyncore_close_all(NULL, true);
    close(fds[1]);
}

static void
run_memchr(size_t pieces)
{
    static char tail[128]; /* of a line that goes on in the next piece */
    size_t tail_len = 0;
    for (size_t i = 0; i < pieces; i++) {
        const char *line = piece, *from = piece, *end = piece + PIECE, *lf;
        while ((lf = memchr(from, '\n', (size_t)(end - from))) != NULL) {
            from = lf + 1;
            if (lf == line || lf[-1] != '\r') {
                continue;
            }
            size_t len = (size_t)(lf - 1 - line);
            if (tail_len > 0) {
                memcpy(tail + tail_len, line, len);
                look(tail, tail_len + len);
                tail_len = 0;
            }
            else {
                look(line, len);
            }
            line = from;
        }
        memcpy(tail, line, (size_t)(end - line));
        tail_len = (size_t)(end - line);
    }
}

#ifdef HAVE_LIBEVENT
static void
run_libevent(size_t pieces)
{
    struct evbuffer *buffer = evbuffer_new();
    if (buffer == NULL) {
        fail("evbuffer_new");
    }
    for (size_t i = 0; i < pieces; i++) {
        char *line;
        size_t len;
        evbuffer_add_reference(buffer, piece, PIECE, NULL, NULL);
        while ((line = evbuffer_readln(buffer, &len,
                                       EVBUFFER_EOL_CRLF_STRICT)) != NULL) {
            look(line, len);
            free(line);
        }
    }
    evbuffer_free(buffer);
}
#endif

static struct runner {
    const char *name;
    void (*run)(size_t pieces);
    double ns[MAX_ROUNDS]; /* per line */
    struct micro_spread spread;
} runners[] = {
    {.name = "asynchat", .run = run_asynchat},
    {.name = "memchr loop", .run = run_memchr},
#ifdef HAVE_LIBEVENT
    {.name = "evbuffer_readln", .run = run_libevent},
#endif
};

enum {
    ASYNCHAT,
    MEMCHR,
    LIBEVENT,
    RUNNERS = sizeof runners / sizeof *runners
};

/* ---- rounds ---- */

static void
run_round(size_t round, size_t pieces)
{
    struct seen first = {0};
    for (size_t k = 0; k < RUNNERS; k++) {
        size_t which = (k + round) % RUNNERS;
        seen = (struct seen){0};
        int64_t began = micro_now();
        runners[which].run(pieces);
        int64_t took = micro_now() - began;
        runners[which].ns[round] = (double)took / (double)seen.lines;
        if (k == 0) {
            first = seen;
        }
        else if (memcmp(&first, &seen, sizeof seen) != 0) {
            fail("they saw different lines");
        }
    }
}

/* Ratios are taken within a round, where both had the same machine. */
static struct micro_spread
ratio(const double *of, const double *to, size_t rounds)
{
    double ratios[MAX_ROUNDS];
    for (size_t i = 0; i < rounds; i++) {
        ratios[i] = of[i] / to[i];
    }
    return micro_spread(ratios, rounds);
}

static void
print_ratio(const char *what, struct micro_spread r)
{
    printf("%s: %.2f (%.2f to %.2f)\n\n", what, r.median, r.least, r.most);
}

static void
compare(size_t size, size_t rounds, size_t pieces)
{
    make_stream(size);
    for (size_t i = 0; i < rounds; i++) {
        run_round(i, pieces);
    }
    struct micro_spread to_memchr =
        ratio(runners[MEMCHR].ns, runners[ASYNCHAT].ns, rounds);
    struct micro_spread to_libevent = {0, 0, 0};
    if (RUNNERS > LIBEVENT) {
        to_libevent =
            ratio(runners[RUNNERS - 1].ns, runners[ASYNCHAT].ns, rounds);
    }
    printf("| lines of %zu bytes | ns a line | least to most "
           "| millions a second |\n|---|---:|---:|---:|\n",
           size);
    for (size_t i = 0; i < RUNNERS; i++) {
        struct micro_spread s = micro_spread(runners[i].ns, rounds);
        printf("| %s | %.2f | %.2f to %.2f | %.1f |\n", runners[i].name,
               s.median, s.least, s.most, 1e3 / s.median);
    }
    printf("\n");
    print_ratio("asynchat, speed of the memchr loop", to_memchr);
    if (RUNNERS > LIBEVENT) {
        print_ratio("asynchat, speed of evbuffer_readln", to_libevent);
    }
    else {
        printf("built without libevent: evbuffer_readln not compared\n\n");
    }
}

int
main(int argc, char **argv)
{
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 9;
    long mib = argc > 2 ? strtol(argv[2], NULL, 10) : 64;
    if (rounds < 1 || rounds > MAX_ROUNDS || mib < 1 || mib > 4096) {
        fprintf(stderr, "usage: bench_lines [ROUNDS [MIB]]\n");
        return 2;
    }
    piece = malloc(PIECE);
    if (piece == NULL) {
        fail("out of memory");
    }
    size_t pieces = (size_t)mib * 16;
    printf("%ld rounds of %ld MiB, in pieces of 64 KiB\n\n", rounds, mib);
    compare(16, (size_t)rounds, pieces);
    compare(64, (size_t)rounds, pieces);
    free(piece);
    return 0;
}
