/* SPDX-License-Identifier: MIT */
/* bench_match.c - what a byte costs in a long message, by the size of the
 * pieces it comes in.
 *
 *   bench_match [ROUNDS]
 *
 * A message of 1 MiB, and one of 4, ends in a delimiter of four bytes.  If
 * the work is linear, a byte of the longer one costs the same.  "Teasing"
 * content is full of beginnings of the delimiter. */
#include <asynchat.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "micro.h"

#define MIB ((size_t)1024 * 1024)
#define LONGEST (4 * MIB)
#define MAX_ROUNDS 99

static const char delimiter[4] = {'\r', '\n', '\r', '\n'};

static char *message;
static size_t got, times;

static int
found(struct asynchat *chat)
{
    got += asynchat_get_data(chat).len;
    times++;
    return 0;
}

static const struct asynchat_ops ops = {
    .base.name = "match",
    .found_terminator = found,
};

static void
fail(const char *what)
{
    fprintf(stderr, "bench_match: %s\n", what);
    exit(1);
}

static void
make_message(size_t len, bool teasing)
{
    static const char tease[] = "\r\n\rx";
    for (size_t i = 0; i < len; i++) {
        message[i] = teasing ? tease[i % 4] : (char)('a' + i % 26);
    }
    memcpy(message + len, delimiter, sizeof delimiter);
}

struct cost {
    double ns, instructions; /* a byte; instructions < 0: unknown */
};

static struct cost
feed(size_t len, size_t piece)
{
    struct asynchat chat;
    int fds[2];
    size_t total = len + sizeof delimiter;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0 ||
        asynchat_init(&chat, &ops, fds[0], NULL) < 0 ||
        asynchat_set_terminator(&chat, delimiter, sizeof delimiter) < 0) {
        fail("no chat");
    }
    got = times = 0;
    int64_t instructions = micro_instructions();
    int64_t began = micro_now();
    for (size_t at = 0; at < total; at += piece) {
        size_t n = piece < total - at ? piece : total - at;
        if (asynchat_feed(&chat, message + at, n) < 0) {
            fail("asynchat_feed");
        }
    }
    int64_t took = micro_now() - began;
    int64_t instructions_after = micro_instructions();
    if (times != 1 || got != len) {
        fail("not the message");
    }
    asyncore_close_all(NULL, true);
    close(fds[1]);
    return (struct cost){
        (double)took / (double)len,
        instructions < 0
            ? -1
            : (double)(instructions_after - instructions) / (double)len,
    };
}

/* The medians of so many rounds. */
static struct cost
measure(size_t len, size_t piece, bool teasing, size_t rounds)
{
    double ns[MAX_ROUNDS], instructions[MAX_ROUNDS];
    make_message(len, teasing);
    for (size_t i = 0; i < rounds; i++) {
        struct cost c = feed(len, piece);
        ns[i] = c.ns;
        instructions[i] = c.instructions;
    }
    return (struct cost){
        micro_spread(ns, rounds).median,
        micro_spread(instructions, rounds).median,
    };
}

static void
print_cost(struct cost c)
{
    printf(" %.3f |", c.ns);
    if (c.instructions >= 0) {
        printf(" %.2f |", c.instructions);
    }
    else {
        printf(" - |");
    }
}

int
main(int argc, char **argv)
{
    static const size_t pieces[] = {1, 1024, 65536};
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 5;
    if (rounds < 1 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: bench_match [ROUNDS]\n");
        return 2;
    }
    message = malloc(LONGEST + sizeof delimiter);
    if (message == NULL) {
        fail("out of memory");
    }
    printf("a message with a delimiter of 4 bytes, %ld rounds; a byte costs\n"
           "\n| content | pieces | ns, 1 MiB | instructions | ns, 4 MiB "
           "| instructions |\n|---|---:|---:|---:|---:|---:|\n",
           rounds);
    for (int teasing = 0; teasing < 2; teasing++) {
        for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
            printf("| %s | %zu |", teasing ? "teasing" : "plain", pieces[i]);
            print_cost(measure(MIB, pieces[i], teasing, (size_t)rounds));
            print_cost(measure(LONGEST, pieces[i], teasing, (size_t)rounds));
            printf("\n");
        }
    }
    if (micro_instructions() < 0) {
        printf("\nno counter of instructions on this machine\n");
    }
    free(message);
    return 0;
}
