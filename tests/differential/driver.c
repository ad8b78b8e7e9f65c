/* SPDX-License-Identifier: MIT */
/* driver.c - conversations of the library, for test_asynchat.py to compare
 * with the original's.
 *
 * On stdin a case a line: "WAY PROGRAM PIECES", lists with commas.
 *
 *   WAY       c: a collector of its own; m: the ready-made one;
 *             f: as c, with the pieces fed, not received
 *   PROGRAM   the terminator to begin with, then what each found_terminator
 *             does: "dHEX" a delimiter, "cN" a count, "n" none, "k" keep it,
 *             "x" close, "z" discard what is left
 *   PIECES    what is received, in hex: a read each
 *
 * On stdout for each case a line of what happened: "cHEX" collect, "f" found,
 * "mHEX" found with that message, "|" the read is over, "rHEX" a message that
 * was left over in the end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "asynchat.h"

static char *program; /* what is left of it */

static void
die(const char *what, long code)
{
    fprintf(stderr, "driver: %s: %ld\n", what, code);
    exit(1);
}

static void
show(char kind, const char *data, size_t len)
{
    printf("%c", kind);
    for (size_t i = 0; i < len; i++) {
        printf("%02x", (unsigned char)data[i]);
    }
    printf(" ");
}

/* Bytes from hex, in a buffer that is the caller's until the next call. */
static size_t
unhex(const char *hex, char **ret)
{
    static char *bytes;
    size_t len = strlen(hex) / 2;
    bytes = realloc(bytes, len + 1);
    if (bytes == NULL) {
        die("memory", 0);
    }
    for (size_t i = 0; i < len; i++) {
        unsigned byte;
        if (sscanf(hex + 2 * i, "%2x", &byte) != 1) {
            die("no hex", (long)i);
        }
        bytes[i] = (char)byte;
    }
    *ret = bytes;
    return len;
}

static int
next_step(struct asynchat *chat)
{
    char *bytes;
    char *step = strsep(&program, ",");
    switch (step != NULL ? step[0] : 'k') {
    case 'd': {
        size_t len = unhex(step + 1, &bytes);
        int err = asynchat_set_terminator(chat, bytes, len);
        memset(bytes, 0, len);
        return err;
    }
    case 'c':
        return asynchat_set_terminator_count(
            chat, (size_t)strtoull(step + 1, NULL, 10));
    case 'n':
        return asynchat_set_terminator_none(chat);
    case 'x':
        return asyncore_close(&chat->base);
    case 'z':
        return asynchat_discard_buffers(chat);
    default:
        return 0;
    }
}

static int
on_collect(struct asynchat *chat, const void *data, size_t len)
{
    (void)chat;
    show('c', data, len);
    return 0;
}

static int
on_found(struct asynchat *chat)
{
    printf("f ");
    return next_step(chat);
}

static int
on_message(struct asynchat *chat)
{
    struct asyncore_bytes message = asynchat_get_data(chat);
    show('m', message.data, message.len);
    return next_step(chat);
}

static const struct asynchat_ops with_collector = {
    .collect_incoming_data = on_collect,
    .found_terminator = on_found,
};
static const struct asynchat_ops ready_made = {
    .found_terminator = on_message,
};

static void
hear(struct asynchat *chat, int peer, bool feed, const char *data, size_t len)
{
    if (feed) {
        int err = asynchat_feed(chat, data, len);
        if (err < 0) {
            die("feed", err);
        }
    }
    else if (send(peer, data, len, MSG_NOSIGNAL) != (ssize_t)len) {
        die("send", (long)len);
    }
    else {
        int err = asyncore_poll(0, NULL);
        if (err < 0) {
            die("poll", err);
        }
    }
    printf("| ");
}

static void
run_case(char way, char *pieces)
{
    static struct asynchat ours;
    struct asynchat *chat = &ours;
    int fd[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) < 0) {
        die("socketpair", 0);
    }
    int err = asynchat_init(chat, way == 'm' ? &ready_made : &with_collector,
                            fd[0], NULL);
    if (err < 0) {
        die("init", err);
    }
    err = next_step(chat);
    for (char *hex = strsep(&pieces, ","); err >= 0 && hex != NULL;
         hex = strsep(&pieces, ",")) {
        char *bytes;
        size_t len = unhex(hex, &bytes);
        char *own = malloc(len + 1); /* the program has use for bytes, too */
        if (own == NULL) {
            die("memory", 0);
        }
        memcpy(own, bytes, len);
        if (chat->base.fd >= 0) {
            hear(chat, fd[1], way == 'f', own, len);
        }
        free(own);
    }
    if (err < 0) {
        die("terminator", err);
    }
    if (way == 'm' && chat->base.fd >= 0) {
        struct asyncore_bytes rest = asynchat_get_data(chat);
        show('r', rest.data, rest.len);
    }
    printf("\n");
    if (chat->base.fd >= 0) {
        asyncore_close(&chat->base);
    }
    asyncore_poll(0, NULL);
    close(fd[1]);
}

int
main(void)
{
    char *line = NULL;
    size_t cap = 0;
    while (getline(&line, &cap, stdin) > 0) {
        char *rest = line;
        rest[strcspn(rest, "\n")] = '\0';
        char *way = strsep(&rest, " ");
        program = strsep(&rest, " ");
        if (rest == NULL) {
            die("no case", 0);
        }
        run_case(way[0], rest);
    }
    free(line);
    return ferror(stdin) || fflush(stdout) != 0;
}
