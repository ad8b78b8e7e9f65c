/* SPDX-License-Identifier: MIT */
/* line_epoll.c - the yardstick for lines: memchr() over what has come in, the
 * answers of one read in one send. */
#include "epoll.h"

#include <stdlib.h>
#include <string.h>

#define LONGEST BUFFER_SIZE /* of a line; who sends more is dropped */

/* The beginning of a line whose end has not come in yet, by descriptor. */
static struct tail {
    char *data;
    size_t len;
} tails[65536];

/* The shortest line, 2 bytes, is answered by 3. */
static char answers[(LONGEST + BUFFER_SIZE) / 2 * 3];

static void
forget_tail(int fd)
{
    free(tails[fd].data);
    tails[fd] = (struct tail){NULL, 0};
}

static void
keep_tail(int fd, const char *data, size_t len)
{
    tails[fd].data = allocate(len);
    memcpy(tails[fd].data, data, len);
    tails[fd].len = len;
}

static enum sent
answer(int fd, struct rest *rest)
{
    static char joined[LONGEST + BUFFER_SIZE];
    char *data;
    long n = server_recv(fd, &data);
    if (n <= 0) {
        return n < 0 ? SENT_GONE : SENT_ALL;
    }
    size_t len = (size_t)n;
    if (tails[fd].len > 0) {
        memcpy(joined, tails[fd].data, tails[fd].len);
        memcpy(joined + tails[fd].len, data, len);
        len += tails[fd].len;
        data = joined;
        forget_tail(fd);
    }
    char *out = answers, *line = data, *from = data, *end = data + len, *lf;
    while ((lf = memchr(from, '\n', (size_t)(end - from))) != NULL) {
        from = lf + 1;
        if (lf > line && lf[-1] == '\r') {
            *out++ = '+';
            memcpy(out, line, (size_t)(from - line));
            out += from - line;
            line = from;
        }
    }
    if (line < end) {
        if ((size_t)(end - line) > LONGEST) {
            return SENT_GONE;
        }
        keep_tail(fd, line, (size_t)(end - line));
    }
    return out > answers
               ? server_send(fd, answers, (size_t)(out - answers), rest)
               : SENT_ALL;
}

int
main(int argc, char **argv)
{
    epoll_serve(server_listen(argc, argv), answer, forget_tail);
    return 1;
}
