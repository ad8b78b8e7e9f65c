/* SPDX-License-Identifier: MIT */
/* test_file.c - channels over what is no socket: pipes, terminals, devices,
 * regular files, which are always ready; and file_wrapper. */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700 /* posix_openpt */
#endif
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>

#include "kit.h"

/* A pipe whose ends do not block. */
static void
make_pipe(int fd[2])
{
    assert_int_equal(pipe(fd), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fcntl(fd[i], F_SETFL, O_NONBLOCK), 0);
    }
}

static void
put(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* A nameless regular file with n bytes of the stream in it, to be read. */
static int
regular_file(size_t n)
{
    char path[] = "/tmp/asyncore-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    char *bytes = malloc(n + 1);
    assert_non_null(bytes);
    kit_bytes(bytes, 0, n);
    assert_int_equal(write(fd, bytes, n), (ssize_t)n);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    free(bytes);
    return fd;
}

static void
assert_bytes(const struct text *text, size_t n)
{
    assert_int_equal(text->len, n);
    for (size_t i = 0; i < n; i++) {
        if (text->at[i] != kit_byte(i)) {
            fail_msg("byte %zu is wrong", i);
        }
    }
}

/* ---- pipes ---- */

static void
pipe_carries_from_channel_to_channel(void **state)
{
    (void)state;
    int fd[2];
    make_pipe(fd);
    struct chan *r = chan_open_file("r", 0, fd[0]);
    struct chan *w = chan_open_file("w", 0, fd[1]);
    close(fd[0]);
    close(fd[1]);
    assert_true(D(r)->connected && D(w)->connected);
    assert_int_equal(asyncore_send(D(w), "hello", 5), 5);
    kit_pass();
    assert_trace("r.handle_read\nr.recv 5\n");
    assert_string_equal(text_get(&r->in), "hello");
    assert_int_equal(asyncore_send(D(w), "bye", 3), 3);
    assert_int_equal(asyncore_close(D(w)), 0);
    RUN_UNTIL(r->destroyed == 1);
    assert_string_equal(text_get(&r->in), "hellobye");
    assert_int_equal(r->events[ON_CLOSE], 1);
    assert_int_equal(r->events[ON_ERROR], 0);
}

static void
pipe_stays_the_callers(void **state)
{
    (void)state;
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    struct chan *r = chan_open_file("r", 0, fd[0]);
    int copy = D(r)->fd;
    assert_int_not_equal(copy, fd[0]);
    assert_true((fcntl(copy, F_GETFD) & FD_CLOEXEC) != 0);
    /* The same open file: what is set on one is set on the other. */
    assert_true((fcntl(copy, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd[0], F_GETFL) & O_NONBLOCK) != 0);
    assert_int_equal(asyncore_close(D(r)), 0);
    put(fd[1], "x");
    assert_int_equal(read(fd[0], (char[1]){0}, 1), 1);
    close(fd[0]);
    close(fd[1]);
}

static void
pipe_without_data_is_eagain(void **state)
{
    (void)state;
    int fd[2];
    char byte;
    make_pipe(fd);
    struct chan *r = chan_open_file("r", 0, fd[0]);
    struct chan *w = chan_open_file("w", 0, fd[1]);
    assert_int_equal(asyncore_recv(D(r), &byte, 1), -EAGAIN);
    kit_fill(fd[1]);
    assert_int_equal(asyncore_send(D(w), "x", 1), -EAGAIN);
    assert_trace("");
    close(fd[0]);
    close(fd[1]);
}

static void
pipe_without_a_reader_ends_the_sender(void **state)
{
    (void)state;
    int fd[2];
    make_pipe(fd);
    struct chan *w = chan_open_file("w", 0, fd[1]);
    close(fd[0]);
    /* … and no signal ends the process. */
    assert_int_equal(asyncore_send(D(w), "x", 1), 0);
    assert_trace("w.handle_close EPIPE\n");
    assert_int_equal(D(w)->fd, -1);
    assert_int_equal(asyncore_send(D(w), "x", 1), -EBADF);
    close(fd[1]);
}

static void
pipe_without_a_reader_ends_who_waits_to_write(void **state)
{
    (void)state;
    int fd[2];
    make_pipe(fd);
    kit_fill(fd[1]);
    struct chan *w = chan_open_file("w", REC_WRITE, fd[1]);
    kit_pass();
    assert_trace("");
    close(fd[0]);
    RUN_UNTIL(w->destroyed == 1);
    assert_int_equal(w->events[ON_CLOSE], 1);
    assert_int_equal(w->events[ON_ERROR], 0);
    close(fd[1]);
}

static void
pipe_that_ends_is_read_to_its_end(void **state)
{
    (void)state;
    int fd[2];
    make_pipe(fd);
    struct chan *r = chan_open_file("r", 0, fd[0]);
    r->chunk = 10;
    put(fd[1], "twenty-five characters !!");
    close(fd[1]);
    RUN_UNTIL(r->destroyed == 1);
    assert_trace("r.handle_read\nr.recv 10\nr.handle_read\nr.recv 10\n"
                 "r.handle_read\nr.recv 5\nr.handle_read\nr.handle_close\n"
                 "r.destroy\n");
    close(fd[0]);
}

static void
pipe_closed_while_its_owner_keeps_it_is_forgotten(void **state)
{
    (void)state;
    int fd[2], other[2];
    make_pipe(fd);
    struct chan *r = chan_open_file("r", 0, fd[0]);
    kit_pass();
    int number = D(r)->fd;
    put(fd[1], "x"); /* ready, and so it stays */
    assert_int_equal(asyncore_close(D(r)), 0);
    make_pipe(other);
    assert_int_equal(other[0], number);
    struct chan *s = chan_open_file("s", 0, other[0]);
    close(other[0]);
    kit_pass();
    kit_pass();
    assert_trace("r.destroy\n");
    put(other[1], "y");
    kit_pass();
    assert_string_equal(text_get(&s->in), "y");
    close(fd[0]);
    close(fd[1]);
    close(other[1]);
}

static void
pipe_has_no_half_close(void **state)
{
    (void)state;
    int fd[2];
    make_pipe(fd);
    struct chan *w = chan_open_file("w", 0, fd[1]);
    assert_int_equal(asyncore_shutdown(D(w)), -ENOTSOCK);
    assert_int_equal(asyncore_send(D(w), "x", 1), 1);
    assert_int_equal(asyncore_close_when_done(D(w)), 0);
    kit_pass();
    assert_trace("w.handle_close\nw.destroy\n");
    close(fd[0]);
    close(fd[1]);
}

/* ---- regular files and devices ---- */

static void
regular_file_is_read_to_its_end(void **state)
{
    (void)state;
    int fd = regular_file(100000);
    struct chan *f = chan_open_file("f", 0, fd);
    f->chunk = 4096;
    assert_int_equal(
        asyncore_loop(ASYNCORE_FOREVER, false, kit.map, ASYNCORE_UNTIL_EMPTY),
        0);
    assert_bytes(&f->in, 100000);
    assert_int_equal(f->events[ON_READ], 26);
    assert_int_equal(f->events[ON_CLOSE], 1);
    assert_int_equal(f->destroyed, 1);
    close(fd);
}

static void
regular_file_keeps_the_pass_from_waiting(void **state)
{
    (void)state;
    int peer;
    int fd = regular_file(10);
    struct chan *c = kit_pair_chan("c", 0, AF_UNIX, &peer);
    struct chan *f = chan_open_file("f", REC_ASK | REC_QUIET, fd);
    kit_write(peer, "x", 1);
    f->react[ON_READ] = react_nothing;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(asyncore_poll(ASYNCORE_FOREVER, kit.map), 0);
    }
    assert_int_equal(f->events[ON_READ], 3);
    assert_int_equal(c->in.len, 1); /* the others are served as well */
    f->want_read = false;
    kit_advance(0);
    assert_int_equal(asyncore_poll(7, kit.map), 0);
    assert_int_equal(kit.world.timeout, INT64_C(7000000000));
    assert_int_equal(f->events[ON_READ], 3);
    f->want_read = true;
    assert_int_equal(asyncore_poll(7, kit.map), 0);
    assert_int_equal(f->events[ON_READ], 4);
    assert_int_equal(f->events[ON_CLOSE], 0);
    close(fd);
    close(peer);
}

static int
write_a_piece(struct chan *c)
{
    char piece[1000];
    kit_bytes(piece, (size_t)c->value, sizeof piece);
    ssize_t n = asyncore_send(D(c), piece, sizeof piece);
    c->value += n > 0 ? (int)n : 0;
    return c->value < 10000 ? (int)n : asyncore_close(D(c));
}

static void
regular_file_is_written_when_it_may(void **state)
{
    (void)state;
    int fd = regular_file(0);
    struct text got = {0};
    struct chan *f = chan_open_file("f", REC_ASK | REC_QUIET | REC_WRITE, fd);
    f->want_read = false;
    f->want_write = true;
    f->react[ON_WRITE] = write_a_piece;
    assert_int_equal(
        asyncore_loop(ASYNCORE_FOREVER, false, kit.map, ASYNCORE_UNTIL_EMPTY),
        0);
    assert_int_equal(f->events[ON_WRITE], 10);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_false(kit_drain(fd, &got));
    assert_bytes(&got, 10000);
    text_clear(&got);
    close(fd);
}

static void
regular_files_by_the_dozen_come_and_go(void **state)
{
    (void)state;
    struct chan *f[12];
    size_t open = COUNT(f);
    for (size_t i = 0; i < COUNT(f); i++) {
        int fd = regular_file(i);
        char name[4];
        snprintf(name, sizeof name, "f%zu", i);
        f[i] = chan_open_file(name, 0, fd);
        f[i]->chunk = 1;
        close(fd);
    }
    while (open > 0) {
        kit_pass();
        open--;
        assert_int_equal(asyncore_map_count(kit.map), open);
    }
    for (size_t i = 0; i < COUNT(f); i++) {
        assert_bytes(&f[i]->in, i);
        assert_int_equal(f[i]->events[ON_CLOSE], 1);
    }
}

static void
dev_null_ends_at_once_and_takes_all(void **state)
{
    (void)state;
    int fd = open("/dev/null", O_RDWR);
    assert_true(fd >= 0);
    struct chan *f = chan_open_file("f", 0, fd);
    assert_int_equal(asyncore_send(D(f), "into the void", 13), 13);
    kit_pass();
    assert_trace("f.handle_read\nf.handle_close\nf.destroy\n");
    close(fd);
}

static void
directory_fails_to_be_read(void **state)
{
    (void)state;
    int fd = open("/", O_RDONLY);
    assert_true(fd >= 0);
    chan_open_file("f", 0, fd);
    kit_pass();
    assert_trace("f.handle_read\nf.handle_error EISDIR recv handle_read\n"
                 "f.handle_close EISDIR\nf.destroy\n");
    close(fd);
}

/* ---- terminals ---- */

static void
terminal_carries_both_ways_and_hangs_up(void **state)
{
    (void)state;
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    struct termios raw;
    struct text got = {0};
    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0) {
        skip();
    }
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(slave >= 0);
    assert_int_equal(tcgetattr(slave, &raw), 0);
    raw.c_lflag &= ~(tcflag_t)(ECHO | ICANON);
    raw.c_oflag &= ~(tcflag_t)OPOST;
    assert_int_equal(tcsetattr(slave, TCSANOW, &raw), 0);
    struct chan *t = chan_open_file("t", 0, master);
    kit_pass();
    assert_trace("");
    put(slave, "from below");
    RUN_UNTIL(t->in.len == 10);
    assert_string_equal(text_get(&t->in), "from below");
    assert_int_equal(fcntl(slave, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(asyncore_send(D(t), "from above", 10), 10);
    while (got.len < 10) { /* the line discipline has a thread of its own */
        struct pollfd one = {.fd = slave, .events = POLLIN};
        assert_int_equal(poll(&one, 1, 10000), 1);
        assert_true(kit_drain(slave, &got));
    }
    assert_string_equal(text_get(&got), "from above");
    close(slave);
    RUN_UNTIL(t->destroyed == 1);
    assert_int_equal(t->events[ON_CLOSE], 1);
    text_clear(&got);
    close(master);
}

/* ---- making one ---- */

static void
file_dispatcher_without_a_file_is_refused(void **state)
{
    (void)state;
    struct asyncore_file_dispatcher f, *made = NULL;
    assert_int_equal(asyncore_file_dispatcher_init(&f, NULL, 4000, kit.map),
                     -EBADF);
    assert_int_equal(f.base.fd, -1);
    assert_int_equal(asyncore_file_dispatcher_new(NULL, 4000, kit.map, &made),
                     -EBADF);
    assert_null(made);
    assert_int_equal(asyncore_map_count(kit.map), 0);
}

static void
file_dispatcher_that_fails_gives_all_back(void **state)
{
    (void)state;
    static const enum kit_call calls[] = {KIT_DUP, KIT_SET_NONBLOCKING};
    int fd = regular_file(3);
    struct chan *f = chan_new("f", 0);
    for (size_t i = 0; i < COUNT(calls); i++) {
        kit_fail(calls[i], -1, 1, 1, -EMFILE);
        assert_int_equal(chan_try_file(f, fd), -EMFILE);
        assert_int_equal(D(f)->fd, -1);
        kit_heal();
    }
    unsigned long n = 0;
    int err;
    do {
        kit_fail_alloc(++n, 1);
        err = chan_try_file(f, fd);
        kit_heal();
        assert_true(err == 0 || err == -ENOMEM);
    } while (err < 0);
    assert_true(n > 1);
    close(fd);
}

static void
file_dispatcher_of_the_library_is_released_by_it(void **state)
{
    (void)state;
    int fd = regular_file(3);
    struct asyncore_file_dispatcher *f = NULL;
    assert_int_equal(asyncore_file_dispatcher_new(NULL, fd, kit.map, &f), 0);
    char text[64];
    assert_memory_equal(asyncore_repr(&f->base, text, sizeof text),
                        "<asyncore_file_dispatcher connected at ", 39);
    unsigned long before = kit.alloc.live;
    assert_int_equal(asyncore_close(&f->base), 0);
    assert_int_equal(asyncore_map_count(kit.map), 0);
    assert_int_equal(kit.alloc.live, before);
    kit_pass();
    assert_int_equal(kit.alloc.live, before - 1);
    assert_true(fcntl(fd, F_GETFD) >= 0);
    close(fd);
}

static void
file_refused_by_the_kernel_without_memory_is_an_error(void **state)
{
    (void)state;
    if (strcmp(asyncore_map_backend(kit.map), "epoll") != 0) {
        skip();
    }
    int fd = regular_file(3);
    struct chan *f = chan_open_file("f", 0, fd);
    /* What it needs is a place among those that are always ready. */
    kit_fail_alloc(1, 1);
    kit_pass();
    kit_heal();
    assert_int_equal(f->events[ON_ERROR], 1);
    assert_int_equal(f->failed.code, -ENOMEM);
    assert_int_equal(f->destroyed, 1);
    close(fd);
}

/* ---- set_file ---- */

static void
set_file_gives_a_queue_to_a_pipe(void **state)
{
    (void)state;
    enum {
        TOTAL = 1000000
    };
    static const struct asyncore_limits limits = {300000, 50000, TOTAL};
    static char bytes[TOTAL];
    struct text got = {0};
    int fd[2];
    make_pipe(fd);
    kit_bytes(bytes, 0, sizeof bytes);
    struct chan *w = chan_new("w", 0);
    assert_int_equal(chan_try_sender(w, -1), 0);
    assert_int_equal(asyncore_set_file(D(w), fd[1]), 0);
    w->opened = true;
    close(fd[1]);
    assert_true(D(w)->connected);
    assert_int_equal(asyncore_set_limits(D(w), &limits), 0);
    assert_int_equal(asyncore_send(D(w), bytes, TOTAL), TOTAL);
    size_t queued = asyncore_output_size(D(w));
    assert_in_range(queued, limits.high + 1, TOTAL - 1);
    /* The pipe is full: nothing moves, nothing is tried. */
    kit_pass();
    kit_pass();
    assert_int_equal(asyncore_output_size(D(w)), queued);
    assert_int_equal(asyncore_send(D(w), bytes, TOTAL), -ENOBUFS);
    while (asyncore_output_size(D(w)) > 0) {
        assert_true(kit_drain(fd[0], &got));
        assert_int_equal(asyncore_poll(10, kit.map), 0);
    }
    assert_int_equal(w->events[ON_DRAIN], 1);
    assert_true(kit_drain(fd[0], &got));
    assert_bytes(&got, TOTAL);
    text_clear(&got);
    close(fd[0]);
}

static void
set_file_with_output_closes_when_it_is_done(void **state)
{
    (void)state;
    enum {
        TOTAL = 300000
    };
    static char bytes[TOTAL];
    struct text got = {0};
    int fd[2];
    make_pipe(fd);
    kit_bytes(bytes, 0, sizeof bytes);
    struct chan *w = chan_new("w", 0);
    assert_int_equal(chan_try_sender(w, -1), 0);
    assert_int_equal(asyncore_set_file(D(w), fd[1]), 0);
    w->opened = true;
    close(fd[1]);
    assert_int_equal(asyncore_send(D(w), bytes, TOTAL), TOTAL);
    assert_int_equal(asyncore_close_when_done(D(w)), 0);
    assert_int_equal(w->events[ON_CLOSE], 0);
    while (kit_drain(fd[0], &got)) {
        assert_int_equal(asyncore_poll(10, kit.map), 0);
    }
    assert_bytes(&got, TOTAL);
    kit_pass();
    assert_int_equal(w->events[ON_CLOSE], 1);
    assert_int_equal(w->destroyed, 1);
    text_clear(&got);
    close(fd[0]);
}

static void
set_file_whose_reader_leaves_forgets_the_output(void **state)
{
    (void)state;
    static char bytes[300000];
    int fd[2];
    make_pipe(fd);
    struct chan *w = chan_new("w", 0);
    assert_int_equal(chan_try_sender(w, -1), 0);
    assert_int_equal(asyncore_set_file(D(w), fd[1]), 0);
    w->opened = true;
    close(fd[1]);
    assert_int_equal(asyncore_send(D(w), bytes, sizeof bytes), sizeof bytes);
    close(fd[0]);
    RUN_UNTIL(w->events[ON_CLOSE] > 0);
    kit_pass();
    assert_int_equal(w->events[ON_CLOSE], 1);
    assert_int_equal(w->destroyed, 1);
}

static void
set_file_then_a_socket_changes_how_it_sends(void **state)
{
    (void)state;
    int fd[2], pair[2];
    struct text got = {0};
    make_pipe(fd);
    struct chan *c = chan_open("c", 0, -1);
    assert_int_equal(asyncore_set_file(D(c), fd[1]), 0);
    c->opened = true;
    assert_int_equal(asyncore_send(D(c), "pipe", 4), 4);
    assert_int_equal(asyncore_close(D(c)), 0);
    kit_pair(AF_UNIX, pair);
    assert_int_equal(asyncore_set_socket(D(c), pair[0]), 0);
    assert_int_equal(asyncore_send(D(c), "socket", 6), 6);
    assert_int_equal(asyncore_shutdown(D(c)), 0);
    assert_true(kit_drain(fd[0], &got));
    assert_false(kit_drain(pair[1], &got));
    assert_string_equal(text_get(&got), "pipesocket");
    text_clear(&got);
    close(fd[0]);
    close(fd[1]);
    close(pair[1]);
}

/* ---- file_wrapper ---- */

static void
wrapper_reads_writes_and_closes_its_own(void **state)
{
    (void)state;
    int fd[2];
    char buf[8] = "";
    struct asyncore_file_wrapper r, w;
    make_pipe(fd);
    assert_int_equal(asyncore_file_wrapper_init(&r, fd[0]), 0);
    assert_int_equal(asyncore_file_wrapper_init(&w, fd[1]), 0);
    assert_int_not_equal(asyncore_file_wrapper_fileno(&r), fd[0]);
    assert_int_equal(asyncore_file_wrapper_fileno(&w), w.fd);
    assert_true((fcntl(r.fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_equal(asyncore_file_wrapper_recv(&r, buf, sizeof buf), -EAGAIN);
    assert_int_equal(asyncore_file_wrapper_send(&w, "hello", 5), 5);
    assert_int_equal(asyncore_file_wrapper_recv(&r, buf, sizeof buf), 5);
    assert_string_equal(buf, "hello");
    int old = w.fd;
    assert_int_equal(asyncore_file_wrapper_close(&w), 0);
    assert_int_equal(fcntl(old, F_GETFD), -1);
    assert_true(fcntl(fd[1], F_GETFD) >= 0);
    close(fd[1]);
    assert_int_equal(asyncore_file_wrapper_recv(&r, buf, sizeof buf), 0);
    assert_int_equal(asyncore_file_wrapper_close(&r), 0);
    close(fd[0]);
}

static void
wrapper_that_is_closed_stays_closed(void **state)
{
    (void)state;
    struct asyncore_file_wrapper f;
    char byte;
    assert_int_equal(asyncore_file_wrapper_init(&f, 0), 0);
    kit_fail(KIT_CLOSE, f.fd, 1, 1, -EIO);
    assert_int_equal(asyncore_file_wrapper_close(&f), -EIO);
    assert_int_equal(asyncore_file_wrapper_fileno(&f), -1);
    kit_count_anew();
    assert_int_equal(asyncore_file_wrapper_close(&f), 0);
    assert_int_equal(kit.world.calls[KIT_CLOSE], 0);
    assert_int_equal(asyncore_file_wrapper_recv(&f, &byte, 1), -EBADF);
    assert_int_equal(asyncore_file_wrapper_send(&f, "x", 1), -EBADF);
}

static void
wrapper_that_cannot_be_made_is_closed(void **state)
{
    (void)state;
    struct asyncore_file_wrapper f = {.fd = 0};
    assert_int_equal(asyncore_file_wrapper_init(&f, 4000), -EBADF);
    assert_int_equal(asyncore_file_wrapper_fileno(&f), -1);
    kit_fail(KIT_DUP, -1, 1, 1, -EMFILE);
    assert_int_equal(asyncore_file_wrapper_init(&f, 0), -EMFILE);
    assert_int_equal(asyncore_file_wrapper_close(&f), 0);
}

static void
wrapper_has_one_socket_option(void **state)
{
    (void)state;
    struct asyncore_file_wrapper f;
    assert_int_equal(asyncore_file_wrapper_init(&f, 0), 0);
    assert_int_equal(
        asyncore_file_wrapper_getsockopt(&f, SOL_SOCKET, SO_ERROR), 0);
    assert_int_equal(asyncore_file_wrapper_getsockopt(&f, SOL_SOCKET, SO_TYPE),
                     -ENOTSUP);
    assert_int_equal(
        asyncore_file_wrapper_getsockopt(&f, IPPROTO_TCP, SO_ERROR), -ENOTSUP);
    assert_int_equal(asyncore_file_wrapper_close(&f), 0);
}

static void
wrapper_that_is_null_is_einval(void **state)
{
    (void)state;
    struct asyncore_file_wrapper f = {.fd = -1};
    char byte;
    assert_int_equal(asyncore_file_wrapper_init(NULL, 0), -EINVAL);
    assert_int_equal(asyncore_file_wrapper_recv(NULL, &byte, 1), -EINVAL);
    assert_int_equal(asyncore_file_wrapper_recv(&f, NULL, 1), -EINVAL);
    assert_int_equal(asyncore_file_wrapper_send(NULL, "x", 1), -EINVAL);
    assert_int_equal(asyncore_file_wrapper_send(&f, NULL, 1), -EINVAL);
    assert_int_equal(
        asyncore_file_wrapper_getsockopt(NULL, SOL_SOCKET, SO_ERROR), -EINVAL);
    assert_int_equal(asyncore_file_wrapper_close(NULL), -EINVAL);
    assert_int_equal(asyncore_file_wrapper_fileno(NULL), -1);
    assert_int_equal(kit.world.calls[KIT_READ], 0);
    assert_int_equal(kit.world.calls[KIT_WRITEV], 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(pipe_carries_from_channel_to_channel),
        KIT_TEST(pipe_stays_the_callers),
        KIT_TEST(pipe_without_data_is_eagain),
        KIT_TEST(pipe_without_a_reader_ends_the_sender),
        KIT_TEST(pipe_without_a_reader_ends_who_waits_to_write),
        KIT_TEST(pipe_that_ends_is_read_to_its_end),
        KIT_TEST(pipe_closed_while_its_owner_keeps_it_is_forgotten),
        KIT_TEST(pipe_has_no_half_close),
        KIT_TEST(regular_file_is_read_to_its_end),
        KIT_TEST(regular_file_keeps_the_pass_from_waiting),
        KIT_TEST(regular_file_is_written_when_it_may),
        KIT_TEST(regular_files_by_the_dozen_come_and_go),
        KIT_TEST(dev_null_ends_at_once_and_takes_all),
        KIT_TEST(directory_fails_to_be_read),
        KIT_TEST(terminal_carries_both_ways_and_hangs_up),
        KIT_TEST(file_dispatcher_without_a_file_is_refused),
        KIT_TEST(file_dispatcher_that_fails_gives_all_back),
        KIT_TEST(file_dispatcher_of_the_library_is_released_by_it),
        KIT_TEST(file_refused_by_the_kernel_without_memory_is_an_error),
        KIT_TEST(set_file_gives_a_queue_to_a_pipe),
        KIT_TEST(set_file_with_output_closes_when_it_is_done),
        KIT_TEST(set_file_whose_reader_leaves_forgets_the_output),
        KIT_TEST(set_file_then_a_socket_changes_how_it_sends),
        KIT_TEST(wrapper_reads_writes_and_closes_its_own),
        KIT_TEST(wrapper_that_is_closed_stays_closed),
        KIT_TEST(wrapper_that_cannot_be_made_is_closed),
        KIT_TEST(wrapper_has_one_socket_option),
        KIT_TEST(wrapper_that_is_null_is_einval),
    };
    return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
