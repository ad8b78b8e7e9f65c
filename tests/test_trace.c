/* SPDX-License-Identifier: MIT */
/* test_trace.c - what happens to a channel, event by event: a scenario each,
 * whose trace must be the same text on every backend. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>

#include "kit.h"

/* ---- connecting ---- */

static void
connect_without_data_is_found_by_writing(void **state)
{
    (void)state;
    int port;
    int listener = kit_listener(AF_INET, &port);
    struct chan *a =
        chan_socket("a", REC_EVENTS | REC_WRITE, AF_INET, SOCK_STREAM);
    assert_int_equal(asyncore_connect(D(a), "127.0.0.1", port), 0);
    assert_true(D(a)->connecting);
    assert_false(D(a)->connected);
    assert_trace("");
    RUN_UNTIL(a->events[ON_WRITE] > 0);
    assert_trace("a.handle_write_event\n"
                 "a.handle_connect_event\n"
                 "a.handle_connect\n"
                 "a.handle_write\n");
    assert_true(D(a)->connected);
    assert_false(D(a)->connecting);
    close(listener);
}

static void
connect_with_data_is_found_by_reading(void **state)
{
    (void)state;
    int port;
    int listener = kit_listener(AF_INET, &port);
    struct chan *a =
        chan_socket("a", REC_EVENTS | REC_WRITE, AF_INET, SOCK_STREAM);
    assert_int_equal(asyncore_connect(D(a), "127.0.0.1", port), 0);
    int peer = accept(listener, NULL, NULL);
    kit_write(peer, "hello", 5);
    RUN_UNTIL(a->events[ON_WRITE] > 0);
    assert_trace("a.handle_read_event\n"
                 "a.handle_connect_event\n"
                 "a.handle_connect\n"
                 "a.handle_read\n"
                 "a.recv 5\n"
                 "a.handle_write_event\n"
                 "a.handle_write\n");
    close(peer);
    close(listener);
}

static int
react_is_connected(struct chan *c)
{
    kit_trace("connected %d connecting %d", D(c)->connected, D(c)->connecting);
    return 0;
}

static void
connect_of_a_unix_socket_is_told_before_it_returns(void **state)
{
    (void)state;
    char name[40];
    snprintf(name, sizeof name, "@asyncore-trace-%d", (int)getpid());
    struct chan *l = chan_socket("l", 0, AF_UNIX, SOCK_STREAM);
    assert_int_equal(asyncore_bind(D(l), name, 0), 0);
    assert_int_equal(asyncore_listen(D(l), 5), 0);
    struct chan *a = chan_socket("a", REC_EVENTS, AF_UNIX, SOCK_STREAM);
    a->ops.handle_write_event = NULL; /* or it would be waited for */
    a->react[ON_CONNECT] = react_is_connected;
    assert_int_equal(asyncore_connect(D(a), name, 0), 0);
    assert_trace("a.handle_connect_event\n"
                 "a.handle_connect\n"
                 "connected 1 connecting 0\n");
    kit_pass();
    assert_trace("l.handle_accepted\n");
    kit_pass();
    assert_trace("");
}

static void
connect_refused_is_an_error_then_the_end(void **state)
{
    (void)state;
    int bound;
    int port = kit_dead_port(&bound);
    struct chan *a = chan_socket("a", REC_WRITE, AF_INET, SOCK_STREAM);
    assert_int_equal(asyncore_connect(D(a), "127.0.0.1", port), 0);
    RUN_UNTIL(a->destroyed);
    assert_trace("a.handle_error ECONNREFUSED connect handle_connect_event\n"
                 "a.handle_close ECONNREFUSED\n"
                 "a.destroy\n");
    assert_logged("ECONNREFUSED");
    close(bound);
}

static void
connect_refused_is_found_by_reading_first(void **state)
{
    (void)state;
    int bound;
    int port = kit_dead_port(&bound);
    struct chan *a = chan_socket("a", REC_EVENTS, AF_INET, SOCK_STREAM);
    assert_int_equal(asyncore_connect(D(a), "127.0.0.1", port), 0);
    RUN_UNTIL(a->destroyed);
    assert_trace("a.handle_read_event\n"
                 "a.handle_connect_event\n"
                 "a.handle_error ECONNREFUSED connect handle_connect_event\n"
                 "a.handle_close ECONNREFUSED\n"
                 "a.destroy\n");
    close(bound);
}

/* A handle_error that does nothing: the connection has still ended. */
static void
connect_refused_ends_it_whatever_handle_error_does(void **state)
{
    (void)state;
    int bound;
    int port = kit_dead_port(&bound);
    struct chan *a = chan_socket("a", 0, AF_INET, SOCK_STREAM);
    a->react[ON_ERROR] = react_nothing;
    assert_int_equal(asyncore_connect(D(a), "127.0.0.1", port), 0);
    RUN_UNTIL(a->destroyed);
    assert_trace("a.handle_error ECONNREFUSED connect handle_connect_event\n"
                 "a.handle_close ECONNREFUSED\n"
                 "a.destroy\n");
    close(bound);
}

static void
connect_that_times_out_later_is_an_error_then_the_end(void **state)
{
    (void)state;
    int port;
    int listener = kit_listener(AF_INET, &port);
    struct chan *a = chan_socket("a", 0, AF_INET, SOCK_STREAM);
    assert_int_equal(asyncore_connect(D(a), "127.0.0.1", port), 0);
    kit_fail(KIT_GETSOCKOPT, D(a)->fd, 1, 1, -ETIMEDOUT);
    RUN_UNTIL(a->destroyed);
    assert_trace("a.handle_error ETIMEDOUT connect handle_connect_event\n"
                 "a.handle_close ETIMEDOUT\n"
                 "a.destroy\n");
    close(listener);
}

static void
connect_unreachable_at_once_tells_no_handler(void **state)
{
    (void)state;
    struct chan *a = chan_socket("a", REC_WRITE, AF_INET, SOCK_STREAM);
    kit_fail(KIT_CONNECT, -1, 1, 1, -ENETUNREACH);
    assert_int_equal(asyncore_connect(D(a), "127.0.0.1", 1), -ENETUNREACH);
    assert_int_equal(asyncore_map_count(kit.map), 0);
    assert_false(D(a)->connecting);
    kit_pass();
    assert_trace("");
    asyncore_close(D(a));
    kit_pass();
    assert_trace("a.destroy\n");
}

static void
connect_to_a_full_unix_backlog_fails_at_once(void **state)
{
    (void)state;
    char name[40];
    snprintf(name, sizeof name, "@asyncore-full-%d", (int)getpid());
    struct chan *l = chan_socket("l", 0, AF_UNIX, SOCK_STREAM);
    assert_int_equal(asyncore_bind(D(l), name, 0), 0);
    assert_int_equal(asyncore_listen(D(l), 1), 0);
    struct chan *full = NULL;
    int err = 0;
    for (int i = 0; i < 10 && err == 0; i++) {
        full = chan_socket("c", 0, AF_UNIX, SOCK_STREAM);
        text_clear(&kit.trace);
        err = asyncore_connect(D(full), name, 0);
    }
    assert_int_equal(err, -EBUSY);
    assert_trace("");
    assert_false(D(full)->connected || D(full)->connecting);
    assert_null(asyncore_map_next(kit.map, D(full)));
    asyncore_close(D(full));
}

static void
connect_again_is_refused_without_a_second_event(void **state)
{
    (void)state;
    int port;
    int listener = kit_listener(AF_INET, &port);
    struct chan *a = chan_socket("a", 0, AF_INET, SOCK_STREAM);
    assert_int_equal(asyncore_connect(D(a), "127.0.0.1", port), 0);
    assert_int_equal(asyncore_connect(D(a), "127.0.0.1", port), -EALREADY);
    RUN_UNTIL(D(a)->connected);
    assert_int_equal(asyncore_connect(D(a), "127.0.0.1", port), -EISCONN);
    kit_pass();
    assert_trace("a.handle_connect\n");
    assert_true(D(a)->connected);
    close(listener);
}

/* ---- accepting ---- */

static void
accept_is_a_read_event_of_the_listener(void **state)
{
    (void)state;
    struct chan *l = chan_listen("l", REC_EVENTS | REC_ACCEPT, AF_INET);
    int client = kit_connect(chan_port(l));
    RUN_UNTIL(l->born == 1);
    assert_trace("l.handle_read_event\n"
                 "l.handle_accept\n"
                 "l.handle_accepted\n");
    assert_true(D(l->last)->connected);
    close(client);
}

static void
connections_that_wait_are_accepted_in_one_pass(void **state)
{
    (void)state;
    struct chan *l = chan_listen("l", 0, AF_INET);
    int client[3];
    for (int i = 0; i < 3; i++) {
        client[i] = kit_connect(chan_port(l));
        kit_write(client[i], "hello", (size_t)i + 1);
    }
    RUN_UNTIL(l->born == 3);
    assert_trace("l.handle_accepted\n"
                 "l.handle_accepted\n"
                 "l.handle_accepted\n");
    RUN_UNTIL(l->last->events[ON_READ] == 1);
    assert_trace("l1.handle_read\n"
                 "l1.recv 1\n"
                 "l2.handle_read\n"
                 "l2.recv 2\n"
                 "l3.handle_read\n"
                 "l3.recv 3\n");
    for (int i = 0; i < 3; i++) {
        close(client[i]);
    }
}

/* ---- reading up to the end ---- */

static void
data_are_a_read_event(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_EVENTS, AF_UNIX, &peer);
    a->ops.handle_write_event = NULL;
    kit_pass();
    assert_trace("");
    kit_write(peer, "abc", 3);
    kit_pass();
    assert_trace("a.handle_read_event\n"
                 "a.handle_read\n"
                 "a.recv 3\n");
    assert_string_equal(text_get(&a->in), "abc");
    kit_pass();
    assert_trace("");
    close(peer);
}

static void
data_not_read_are_reported_again(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    a->react[ON_READ] = react_nothing;
    kit_write(peer, "abc", 3);
    kit_pass();
    kit_pass();
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.handle_read\n"
                 "a.handle_read\n");
    close(peer);
}

static void
end_of_a_tcp_stream_is_one_handle_close(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_INET, &peer);
    close(peer);
    RUN_UNTIL(a->destroyed);
    assert_trace("a.handle_read\n"
                 "a.handle_close\n"
                 "a.destroy\n");
}

static void
end_of_a_unix_stream_is_one_handle_close(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_WRITE, AF_UNIX, &peer);
    close(peer);
    kit_pass();
    assert_int_equal(a->events[ON_CLOSE], 1);
    assert_trace("a.handle_read\n"
                 "a.handle_close\n"
                 "a.destroy\n");
}

static void
end_of_a_pipe_is_one_handle_close(void **state)
{
    (void)state;
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    chan_open_file("a", 0, fd[0]);
    close(fd[1]);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.handle_close\n"
                 "a.destroy\n");
    close(fd[0]);
}

static void
assert_read_to_the_end(struct chan *a)
{
    a->chunk = 10;
    RUN_UNTIL(a->destroyed);
    assert_trace("a.handle_read\n"
                 "a.recv 10\n"
                 "a.handle_read\n"
                 "a.recv 10\n"
                 "a.handle_read\n"
                 "a.recv 5\n"
                 "a.handle_read\n"
                 "a.handle_close\n"
                 "a.destroy\n");
    assert_string_equal(text_get(&a->in), "abcdefghijklmnopqrstuvwxy");
}

static void
hangup_with_unread_data_loses_none_of_them(void **state)
{
    (void)state;
    int fd[2];
    kit_pair(AF_UNIX, fd);
    kit_write(fd[1], "abcdefghijklmnopqrstuvwxy", 25);
    close(fd[1]);
    assert_read_to_the_end(chan_open("a", 0, fd[0]));
    kit_pair(AF_INET, fd);
    kit_write(fd[1], "abcdefghijklmnopqrstuvwxy", 25);
    close(fd[1]);
    assert_read_to_the_end(chan_open("a", 0, fd[0]));
    assert_int_equal(pipe(fd), 0);
    assert_int_equal(write(fd[1], "abcdefghijklmnopqrstuvwxy", 25), 25);
    close(fd[1]);
    assert_read_to_the_end(chan_open_file("a", 0, fd[0]));
    close(fd[0]);
}

static void
hangup_with_data_nobody_takes_is_not_cut_off(void **state)
{
    (void)state;
    int fd[2];
    kit_pair(AF_UNIX, fd);
    kit_write(fd[1], "abc", 3);
    close(fd[1]);
    struct chan *a = chan_open("a", 0, fd[0]);
    a->react[ON_READ] = react_nothing;
    kit_pass();
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.handle_read\n");
    a->react[ON_READ] = NULL;
    RUN_UNTIL(a->destroyed);
    assert_string_equal(text_get(&a->in), "abc");
}

static void
reset_is_found_though_the_handler_does_not_read(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_WRITE, AF_INET, &peer);
    a->react[ON_READ] = react_nothing;
    kit_pass();
    assert_trace("a.handle_write\n");
    kit_reset(peer);
    struct pollfd one = {.fd = D(a)->fd, .events = POLLIN};
    assert_int_equal(poll(&one, 1, 5000), 1);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.handle_write\n"
                 "a.handle_close ECONNRESET\n"
                 "a.destroy\n");
}

static void
reset_found_by_reading_is_the_end_not_an_error(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_INET, &peer);
    kit_reset(peer);
    RUN_UNTIL(a->destroyed);
    assert_trace("a.handle_read\n"
                 "a.handle_close ECONNRESET\n"
                 "a.destroy\n");
    assert_string_equal(text_get(&kit.log), "");
}

/* ---- writing ---- */

static void
room_is_a_write_event(void **state)
{
    (void)state;
    int peer;
    struct chan *a =
        kit_pair_chan("a", REC_EVENTS | REC_WRITE, AF_UNIX, &peer);
    kit_pass();
    kit_pass();
    assert_trace("a.handle_write_event\n"
                 "a.handle_write\n"
                 "a.handle_write_event\n"
                 "a.handle_write\n");
    kit_fill(D(a)->fd);
    kit_pass();
    assert_trace("");
    close(peer);
}

static int
react_send_once(struct chan *c)
{
    kit_trace("send %zd", asyncore_send(D(c), "x", 1));
    return 0;
}

static void
send_on_a_broken_connection_is_one_handle_close(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_WRITE, AF_UNIX, &peer);
    a->react[ON_READ] = react_nothing;
    a->react[ON_WRITE] = react_send_once;
    a->react[ON_CLOSE] = react_nothing;
    kit_write(peer, "unread", 6);
    close(peer);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.handle_write\n"
                 "a.handle_close EPIPE\n"
                 "send 0\n");
    kit_pass();
    kit_pass();
    assert_int_equal(a->events[ON_CLOSE], 1);
    asyncore_close(D(a));
}

static void
writer_only_hears_of_the_peers_close(void **state)
{
    (void)state;
    int peer;
    struct chan *a =
        kit_pair_chan("a", REC_ASK | REC_QUIET | REC_WRITE, AF_UNIX, &peer);
    a->want_read = false;
    a->want_write = true;
    kit_pass();
    close(peer);
    kit_pass();
    assert_trace("a.handle_write\n"
                 "a.handle_write\n"
                 "a.handle_close\n"
                 "a.destroy\n");
}

static void
neither_reader_nor_writer_hears_nothing(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_ASK | REC_QUIET, AF_UNIX, &peer);
    a->want_read = false;
    close(peer);
    kit_pass();
    kit_pass();
    assert_trace("");
    assert_int_equal(asyncore_map_count(kit.map), 1);
    a->want_read = true;
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.handle_close\n"
                 "a.destroy\n");
}

/* ---- urgent data ---- */

static int
react_recv_oob(struct chan *c)
{
    char byte = 0;
    kit_trace("recv_oob %zd", asyncore_recv_oob(D(c), &byte, 1));
    kit_trace("'%c'", byte);
    return 0;
}

static void
urgent_byte_is_reported_until_it_is_taken(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_EVENTS | REC_EXPT, AF_INET, &peer);
    assert_int_equal(send(peer, "!", 1, MSG_OOB), 1);
    RUN_UNTIL(a->events[ON_EXPT] == 2);
    assert_non_null(strstr(text_get(&kit.trace), "a.handle_expt_event\n"
                                                 "a.handle_expt\n"));
    text_clear(&kit.trace);
    a->react[ON_EXPT] = react_recv_oob;
    RUN_UNTIL(a->events[ON_EXPT] == 3);
    assert_non_null(strstr(text_get(&kit.trace), "recv_oob 1\n'!'\n"));
    kit_pass();
    kit_pass();
    assert_int_equal(a->events[ON_EXPT], 3);
    close(peer);
}

static void
urgent_byte_is_reported_to_a_writer_too(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan(
        "a", REC_ASK | REC_QUIET | REC_EXPT | REC_WRITE, AF_INET, &peer);
    a->want_read = false;
    a->want_write = true;
    assert_int_equal(send(peer, "!", 1, MSG_OOB), 1);
    RUN_UNTIL(a->events[ON_EXPT] == 1);
    assert_int_equal(a->events[ON_READ], 0);
    close(peer);
}

static void
urgent_byte_nobody_asks_for_wakes_nobody(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_ASK | REC_QUIET, AF_INET, &peer);
    a->want_read = true;
    assert_int_equal(send(peer, "!", 1, MSG_OOB), 1);
    kit_pass();
    kit_pass();
    a->want_read = false;
    text_clear(&kit.trace);
    kit_pass();
    kit_pass();
    assert_trace("");
    close(peer);
}

static void
read_write_and_expt_come_in_this_order(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_WRITE | REC_EXPT, AF_INET, &peer);
    kit_write(peer, "data", 4);
    assert_int_equal(send(peer, "!", 1, MSG_OOB), 1);
    /* Till the urgent byte is there. */
    struct pollfd one = {.fd = D(a)->fd, .events = POLLPRI};
    assert_int_equal(poll(&one, 1, 5000), 1);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.recv 4\n"
                 "a.handle_write\n"
                 "a.handle_expt\n");
    close(peer);
}

static void
readwrite_delivers_in_the_originals_order(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_WRITE | REC_EXPT, AF_UNIX, &peer);
    kit_write(peer, "x", 1);
    assert_int_equal(
        asyncore_readwrite(D(a), POLLHUP | POLLPRI | POLLOUT | POLLIN), 0);
    assert_trace("a.handle_read\n"
                 "a.recv 1\n"
                 "a.handle_write\n"
                 "a.handle_expt\n"
                 "a.handle_close\n");
    a = chan_open("b", REC_WRITE | REC_EXPT, peer);
    text_clear(&kit.trace);
    assert_int_equal(asyncore_write(D(a)), 0);
    assert_int_equal(asyncore_exception(D(a)), 0);
    assert_int_equal(asyncore_readwrite(D(a), POLLNVAL), 0);
    assert_trace("b.handle_write\n"
                 "b.handle_expt\n"
                 "b.handle_close EBADF\n");
}

/* ---- failing ---- */

static void
error_of_a_handler_is_handle_error_then_handle_close(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    a->value = EINVAL;
    a->react[ON_READ] = react_fail;
    kit_write(peer, "x", 1);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.handle_error EINVAL handle_read handle_read\n"
                 "a.handle_close EINVAL\n"
                 "a.destroy\n");
    assert_logged("error: uncaptured error, closing channel <a connected");
    assert_logged("(EINVAL:Invalid argument [handle_read])");
    close(peer);
}

/* The original closes without a word here, with poll. */
static void
disconnect_error_made_up_by_a_handler_is_an_error(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    a->value = ECONNRESET;
    a->react[ON_READ] = react_fail;
    kit_write(peer, "x", 1);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.handle_error ECONNRESET handle_read handle_read\n"
                 "a.handle_close ECONNRESET\n"
                 "a.destroy\n");
    close(peer);
}

static void
error_of_the_kernel_names_the_operation(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    kit_fail(KIT_RECV, D(a)->fd, 1, 1, -EIO);
    kit_write(peer, "x", 1);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.handle_error EIO recv handle_read\n"
                 "a.handle_close EIO\n"
                 "a.destroy\n");
    assert_logged("[handle_read|recv]");
    close(peer);
}

static void
would_block_out_of_a_handler_is_nothing(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    a->value = EAGAIN;
    a->react[ON_READ] = react_fail;
    kit_write(peer, "x", 1);
    kit_pass();
    assert_trace("a.handle_read\n");
    assert_string_equal(text_get(&kit.log), "");
    close(peer);
}

static int
react_fail_again(struct chan *c)
{
    (void)c;
    return -EPROTO;
}

static void
error_inside_handle_error_is_logged_and_closes(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    a->value = EIO;
    a->react[ON_READ] = react_fail;
    a->react[ON_ERROR] = react_fail_again;
    kit_write(peer, "x", 1);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.handle_error EIO handle_read handle_read\n"
                 "a.destroy\n");
    assert_logged("EIO:");
    assert_logged("EPROTO:");
    close(peer);
}

static void
handled_error_keeps_the_channel(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_WRITE, AF_UNIX, &peer);
    a->value = EIO;
    a->react[ON_READ] = react_fail;
    a->react[ON_ERROR] = react_nothing;
    kit_write(peer, "x", 1);
    kit_pass(); /* what was to come is dropped */
    assert_trace("a.handle_read\n"
                 "a.handle_error EIO handle_read handle_read\n");
    a->react[ON_READ] = NULL;
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.recv 1\n"
                 "a.handle_write\n");
    close(peer);
}

static void
exit_now_leaves_the_channels_as_they_are(void **state)
{
    (void)state;
    int pa, pb;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &pa);
    struct chan *b = kit_pair_chan("b", 0, AF_UNIX, &pb);
    a->react[ON_READ] = react_exit_now;
    kit_write(pa, "x", 1);
    kit_write(pb, "yy", 2);
    assert_int_equal(asyncore_loop(1, false, kit.map, 5), ASYNCORE_EXIT_NOW);
    assert_trace("a.handle_read\n");
    assert_int_equal(asyncore_map_count(kit.map), 2);
    assert_true(D(a)->connected);
    a->react[ON_READ] = NULL;
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.recv 1\n"
                 "b.handle_read\n"
                 "b.recv 2\n");
    assert_int_equal(b->destroyed, 0);
    close(pa);
    close(pb);
}

/* ---- being born ---- */

static int new_peer;

static int
react_make_channel(struct chan *c)
{
    if (c->born++ == 0) {
        c->last = kit_pair_chan("new", 0, AF_UNIX, &new_peer);
        kit_write(new_peer, "x", 1);
    }
    return react_read(c);
}

static void
channel_made_in_a_handler_is_served_in_the_next_pass(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    a->react[ON_READ] = react_make_channel;
    kit_write(peer, "x", 1);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.recv 1\n");
    kit_pass();
    assert_trace("new.handle_read\n"
                 "new.recv 1\n");
    close(peer);
    close(new_peer);
}

/* ---- datagrams ---- */

static void
empty_datagram_is_no_end(void **state)
{
    (void)state;
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, fd), 0);
    struct chan *a = chan_open("a", 0, fd[0]);
    assert_int_equal(send(fd[1], "", 0, 0), 0);
    assert_int_equal(send(fd[1], "xyz", 3, 0), 3);
    kit_pass();
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.handle_read\n"
                 "a.recv 3\n");
    assert_int_equal(a->destroyed, 0);
    close(fd[1]);
}

/* ---- descriptors closed behind the channel ---- */

static void
descriptor_closed_behind_a_channel_ends_that_one_only(void **state)
{
    (void)state;
    int pa, pb;
    /* The kernel does not say so to an epoll, which forgets the descriptor,
     * nor to an io_uring, which knows the file. */
    const char *backend = asyncore_map_backend(kit.map);
    bool tells =
        strcmp(backend, "epoll") != 0 && strcmp(backend, "io_uring") != 0;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &pa);
    struct chan *b = kit_pair_chan("b", 0, AF_UNIX, &pb);
    kit_pass();
    close(D(a)->fd);
    kit_write(pb, "x", 1);
    RUN_UNTIL(b->events[ON_READ] == 1 && (!tells || a->destroyed));
    assert_int_equal(a->events[ON_CLOSE], tells ? 1 : 0);
    assert_int_equal(a->events[ON_ERROR] + b->events[ON_CLOSE], 0);
    if (tells) {
        assert_non_null(
            strstr(text_get(&kit.trace), "a.handle_close EBADF\n"));
    }
    close(pa);
    close(pb);
}

/* ---- one for all ---- */

static int
tell(struct asyncore_map *map, void *arg)
{
    (void)map;
    kit_trace("%s", (const char *)arg);
    return 0;
}

static int
react_close_when_done(struct chan *c)
{
    react_read(c);
    assert_int_equal(asyncore_send(D(c), "answer", 6), 6);
    return asyncore_close_when_done(D(c));
}

static int
react_half_close(struct chan *c)
{
    return asyncore_shutdown(D(c));
}

/* A server and its clients: connections that talk, end in order, break, fail,
 * go idle; timers and posts in between. */
static void
rich_scenario_is_the_same_on_every_backend(void **state)
{
    (void)state;
    char name[40];
    snprintf(name, sizeof name, "@asyncore-rich-%d", (int)getpid());
    kit_advance(0);
    struct chan *s = chan_open_sender("s", REC_EOF, -1);
    assert_int_equal(asyncore_create_socket(D(s), AF_UNIX, SOCK_STREAM), 0);
    s->opened = true;
    s->react[ON_READ] = react_echo;
    s->react[ON_EOF] = react_half_close;
    assert_int_equal(asyncore_bind(D(s), name, 0), 0);
    assert_int_equal(asyncore_listen(D(s), 8), 0);
    struct chan *c[4];
    static const char *const names[] = {"ann", "bob", "cat", "dan"};
    for (int i = 0; i < 4; i++) {
        c[i] = chan_open_sender(names[i], 0, -1);
        assert_int_equal(asyncore_create_socket(D(c[i]), AF_UNIX, SOCK_STREAM),
                         0);
        c[i]->opened = true;
        assert_int_equal(asyncore_connect(D(c[i]), name, 0), 0);
    }
    c[2]->react[ON_READ] = react_close_when_done;
    c[3]->value = EPROTO;
    c[3]->react[ON_READ] = react_fail;
    assert_int_equal(asyncore_send(D(c[0]), "hello", 5), 5);
    assert_int_equal(asyncore_send(D(c[2]), "how", 3), 3);
    assert_int_equal(asyncore_send(D(c[3]), "are you", 7), 7);
    assert_true(asyncore_call_later(kit.map, 0.5, tell, "(later)") > 0);
    assert_true(asyncore_call_later(kit.map, 0.25, tell, "(sooner)") > 0);
    assert_int_equal(asyncore_set_timeout(D(c[1]), 2), 0);
    assert_int_equal(asyncore_call_soon_threadsafe(kit.map, tell, "(posted)"),
                     0);
    for (int i = 0; i < 6; i++) {
        kit_trace("- pass");
        assert_int_equal(asyncore_poll(0, kit.map), 0);
    }
    kit_trace("- ann ends");
    assert_int_equal(asyncore_shutdown(D(c[0])), 0);
    for (int i = 0; i < 4; i++) {
        kit_trace("- pass");
        assert_int_equal(asyncore_poll(0, kit.map), 0);
    }
    kit_trace("- waiting");
    assert_int_equal(asyncore_loop(10, false, kit.map, 5), 0);
    kit_trace("- the end");
    assert_int_equal(asyncore_close_all(kit.map, false), 0);
    assert_trace("ann.handle_connect\n"
                 "bob.handle_connect\n"
                 "cat.handle_connect\n"
                 "dan.handle_connect\n"
                 "- pass\n"
                 "s.handle_accepted\n"
                 "s.handle_accepted\n"
                 "s.handle_accepted\n"
                 "s.handle_accepted\n"
                 "(posted)\n"
                 "- pass\n"
                 "s1.handle_read\n"
                 "s3.handle_read\n"
                 "s4.handle_read\n"
                 "- pass\n"
                 "ann.handle_read\n"
                 "ann.recv 5\n"
                 "cat.handle_read\n"
                 "cat.recv 3\n"
                 "dan.handle_read\n"
                 "dan.handle_error EPROTO handle_read handle_read\n"
                 "dan.handle_close EPROTO\n"
                 "dan.destroy\n"
                 "- pass\n"
                 "s3.handle_read\n"
                 "s4.handle_read\n"
                 "s4.handle_close ECONNRESET\n" /* dan had not read all */
                 "s4.destroy\n"
                 "- pass\n" /* cat throws away the echo of its answer */
                 "s3.handle_read\n"
                 "s3.handle_eof\n"
                 "s3.handle_close\n"
                 "s3.destroy\n"
                 "- pass\n"
                 "cat.handle_close\n"
                 "cat.destroy\n"
                 "- ann ends\n"
                 "- pass\n"
                 "s1.handle_read\n"
                 "s1.handle_eof\n"
                 "s1.handle_close\n"
                 "s1.destroy\n"
                 "- pass\n"
                 "ann.handle_read\n"
                 "ann.handle_close\n"
                 "ann.destroy\n"
                 "- pass\n"
                 "- pass\n"
                 "- waiting\n"
                 "(sooner)\n"
                 "(later)\n"
                 "bob.handle_timeout\n"
                 "bob.handle_close ETIMEDOUT\n"
                 "bob.destroy\n"
                 "s2.handle_read\n"
                 "s2.handle_eof\n"
                 "s2.handle_close\n"
                 "s2.destroy\n"
                 "- the end\n"
                 "s.destroy\n");
}

static int
react_shutdown(struct chan *c)
{
    return asyncore_shutdown(D(c));
}

/* Both sides have ended, which the handler has not seen yet. */
static void
shutdown_without_reading_the_end_is_seen_later(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_INET, &peer);
    a->react[ON_READ] = react_shutdown;
    kit_pass();
    assert_int_equal(shutdown(peer, SHUT_WR), 0);
    kit_pass();
    assert_trace("a.handle_read\n");
    a->react[ON_READ] = react_nothing;
    kit_pass();
    assert_trace("a.handle_read\na.handle_close\na.destroy\n");
    close(peer);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(connect_without_data_is_found_by_writing),
        KIT_TEST(connect_with_data_is_found_by_reading),
        KIT_TEST(connect_of_a_unix_socket_is_told_before_it_returns),
        KIT_TEST(connect_refused_is_an_error_then_the_end),
        KIT_TEST(connect_refused_is_found_by_reading_first),
        KIT_TEST(connect_refused_ends_it_whatever_handle_error_does),
        KIT_TEST(connect_that_times_out_later_is_an_error_then_the_end),
        KIT_TEST(connect_unreachable_at_once_tells_no_handler),
        KIT_TEST(connect_to_a_full_unix_backlog_fails_at_once),
        KIT_TEST(connect_again_is_refused_without_a_second_event),
        KIT_TEST(accept_is_a_read_event_of_the_listener),
        KIT_TEST(connections_that_wait_are_accepted_in_one_pass),
        KIT_TEST(data_are_a_read_event),
        KIT_TEST(data_not_read_are_reported_again),
        KIT_TEST(end_of_a_tcp_stream_is_one_handle_close),
        KIT_TEST(end_of_a_unix_stream_is_one_handle_close),
        KIT_TEST(end_of_a_pipe_is_one_handle_close),
        KIT_TEST(hangup_with_unread_data_loses_none_of_them),
        KIT_TEST(hangup_with_data_nobody_takes_is_not_cut_off),
        KIT_TEST(reset_is_found_though_the_handler_does_not_read),
        KIT_TEST(reset_found_by_reading_is_the_end_not_an_error),
        KIT_TEST(room_is_a_write_event),
        KIT_TEST(send_on_a_broken_connection_is_one_handle_close),
        KIT_TEST(writer_only_hears_of_the_peers_close),
        KIT_TEST(neither_reader_nor_writer_hears_nothing),
        KIT_TEST(urgent_byte_is_reported_until_it_is_taken),
        KIT_TEST(urgent_byte_is_reported_to_a_writer_too),
        KIT_TEST(urgent_byte_nobody_asks_for_wakes_nobody),
        KIT_TEST(read_write_and_expt_come_in_this_order),
        KIT_TEST(readwrite_delivers_in_the_originals_order),
        KIT_TEST(error_of_a_handler_is_handle_error_then_handle_close),
        KIT_TEST(disconnect_error_made_up_by_a_handler_is_an_error),
        KIT_TEST(error_of_the_kernel_names_the_operation),
        KIT_TEST(would_block_out_of_a_handler_is_nothing),
        KIT_TEST(error_inside_handle_error_is_logged_and_closes),
        KIT_TEST(handled_error_keeps_the_channel),
        KIT_TEST(exit_now_leaves_the_channels_as_they_are),
        KIT_TEST(channel_made_in_a_handler_is_served_in_the_next_pass),
        KIT_TEST(empty_datagram_is_no_end),
        KIT_TEST(descriptor_closed_behind_a_channel_ends_that_one_only),
        KIT_TEST(rich_scenario_is_the_same_on_every_backend),
        KIT_TEST(shutdown_without_reading_the_end_is_seen_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
