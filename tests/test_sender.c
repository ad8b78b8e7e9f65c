/* SPDX-License-Identifier: MIT */
/* test_sender.c - dispatcher_with_send: what is taken for sending is sent. */
#include <arpa/inet.h>
#include <fcntl.h>

#include "kit.h"

static struct {
    struct chan *a;
    int peer;
    struct text got; /* by the peer */
    size_t sent;     /* taken from us, of the endless stream of kit_byte() */
} s;

static void
open_sender(unsigned flags, int family)
{
    int fd[2];
    memset(&s, 0, sizeof s);
    kit_pair(family, fd);
    s.peer = fd[1];
    s.a = chan_open_sender("a", flags, fd[0]);
}

/* Send the next bytes of the stream. */
static ssize_t
send_next(size_t len)
{
    char *bytes = malloc(len + 1);
    assert_non_null(bytes);
    kit_bytes(bytes, s.sent, len);
    ssize_t n = asyncore_send(D(s.a), bytes, len);
    memset(bytes, '?', len); /* it has been copied */
    free(bytes);
    s.sent += n > 0 ? (size_t)n : 0;
    return n;
}

/* The peer got exactly the front of the stream. */
static void
assert_received(size_t len)
{
    assert_int_equal(s.got.len, len);
    for (size_t i = 0; i < len; i++) {
        if (s.got.at[i] != kit_byte(i)) {
            fail_msg("byte %zu of %zu is another", i, len);
        }
    }
}

static void
receive_all(void)
{
    RUN_UNTIL((kit_drain(s.peer, &s.got), s.got.len >= s.sent));
    assert_received(s.sent);
}

static void
done(void)
{
    text_clear(&s.got);
    close(s.peer);
}

/* ---- sending ---- */

static void
send_goes_out_at_once_and_allocates_nothing(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    kit_pass();
    unsigned long allocations = kit.alloc.count;
    kit_count_anew();
    assert_int_equal(send_next(1000), 1000);
    assert_int_equal(kit.world.total, 1);
    assert_int_equal(kit.alloc.count, allocations);
    assert_int_equal(asyncore_output_size(D(s.a)), 0);
    kit_drain(s.peer, &s.got);
    assert_received(1000);
    kit_count_anew();
    kit_pass();
    assert_int_equal(kit.world.total, 1); /* the wait, and nothing else */
    done();
}

static void
send_beyond_what_the_kernel_takes_is_queued(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    assert_int_equal(send_next(1000000), 1000000);
    size_t queued = asyncore_output_size(D(s.a));
    assert_in_range(queued, 1, 999999);
    assert_true(asyncore_writable(D(s.a)));
    assert_int_equal(send_next(5), 5);
    assert_int_equal(asyncore_output_size(D(s.a)), queued + 5);
    receive_all();
    assert_int_equal(asyncore_output_size(D(s.a)), 0);
    done();
}

static void
send_of_nothing_is_nothing(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    kit_count_anew();
    assert_int_equal(asyncore_send(D(s.a), NULL, 0), 0);
    assert_int_equal(asyncore_send(D(s.a), "", 0), 0);
    assert_int_equal(kit.world.total, 0);
    assert_int_equal(asyncore_send(D(s.a), NULL, 1), -EINVAL);
    assert_trace("");
    done();
}

static void
order_is_kept_whatever_the_sizes(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    uint32_t seed = 7;
    while (s.sent < 3000000) {
        seed = seed * 1664525u + 1013904223u;
        size_t len = (seed >> 8) % 4 == 0 ? (seed >> 12) % 60000
                                          : (seed >> 12) % 50 + 1;
        assert_int_equal(send_next(len), len);
        if ((seed >> 4) % 16 == 0) {
            kit_pass();
            kit_drain(s.peer, &s.got);
        }
    }
    receive_all();
    done();
}

static void
short_writes_lose_nothing(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    static const size_t caps[] = {1, 2, 7, 100, 4095, 4096, 4097, 5000};
    for (size_t i = 0; i < COUNT(caps); i++) {
        kit.world.max_out = caps[i];
        size_t len = caps[i] < 10 ? 500 : 20000;
        assert_int_equal(send_next(len), len);
        assert_int_equal(send_next(len), len);
        receive_all();
    }
    done();
}

static void
interrupted_and_blocked_sends_lose_nothing(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    int fd = D(s.a)->fd;
    kit_fail(KIT_SEND, fd, 1, 3, -EINTR);
    assert_int_equal(send_next(100), 100);
    receive_all();
    kit_heal();
    kit_fail(KIT_SEND, fd, 1, 1, -EAGAIN);
    assert_int_equal(send_next(100), 100);
    assert_int_equal(asyncore_output_size(D(s.a)), 100);
    assert_int_equal(send_next(9000), 9000);
    kit_fail(KIT_SENDV, fd, 1, 2, -EINTR);
    kit_fail(KIT_SENDV, fd, 3, 2, -EAGAIN);
    receive_all();
    assert_trace("");
    done();
}

static void
queue_leaves_in_one_call_where_it_can(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    kit_fail(KIT_SEND, D(s.a)->fd, 1, 1, -EAGAIN);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(send_next(3000), 3000);
    }
    kit_heal();
    kit_pass(); /* tells the backend */
    receive_all();
    kit_fail(KIT_SEND, D(s.a)->fd, 1, 1, -EAGAIN);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(send_next(3000), 3000);
    }
    kit_heal();
    kit_count_anew();
    kit_pass();
    assert_int_equal(kit.world.calls[KIT_SENDV], 1);
    assert_int_equal(kit.world.calls[KIT_SEND], 0);
    assert_int_equal(asyncore_output_size(D(s.a)), 0);
    receive_all();
    done();
}

static void
many_small_sends_are_few_allocations(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    kit_fail(KIT_SEND, D(s.a)->fd, 1, 1, -EAGAIN);
    unsigned long allocations = kit.alloc.count;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(send_next(4), 4);
    }
    assert_true(kit.alloc.count - allocations <= 10);
    receive_all();
    done();
}

static void
send_before_the_connection_stands_is_kept(void **state)
{
    (void)state;
    int port;
    int listener = kit_listener(AF_INET, &port);
    memset(&s, 0, sizeof s);
    s.a = chan_open_sender("a", 0, -1);
    assert_int_equal(asyncore_create_socket(D(s.a), AF_INET, SOCK_STREAM), 0);
    s.a->opened = true;
    assert_int_equal(send_next(100), 100); /* not even begun */
    assert_int_equal(asyncore_connect(D(s.a), "127.0.0.1", port), 0);
    assert_int_equal(send_next(100), 100);
    assert_int_equal(asyncore_output_size(D(s.a)), 200);
    s.peer = accept(listener, NULL, NULL);
    assert_int_equal(fcntl(s.peer, F_SETFL, O_NONBLOCK), 0);
    receive_all();
    assert_trace("a.handle_connect\n");
    close(listener);
    done();
}

/* ---- watermarks ---- */

static const struct asyncore_limits small = {
    .high = 1000, .low = 100, .max = 5000};

static void
reading_pauses_above_the_high_mark_until_the_low_one(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    assert_int_equal(asyncore_set_limits(D(s.a), &small), 0);
    size_t filled = kit_fill(D(s.a)->fd);
    assert_int_equal(send_next(1000), 1000); /* not above */
    kit_write(s.peer, "1", 1);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.recv 1\n");
    assert_int_equal(send_next(1), 1); /* above */
    kit_write(s.peer, "2", 1);
    kit_pass();
    kit_pass();
    assert_trace("");
    kit.world.max_out = 500;
    struct text zeros = {0};
    RUN_UNTIL((kit_drain(s.peer, &zeros), zeros.len >= filled + 500));
    assert_int_equal(s.a->events[ON_DRAIN], 0); /* 501 left: still paused */
    assert_int_equal(s.a->events[ON_READ], 1);
    RUN_UNTIL(s.a->events[ON_READ] == 2);
    assert_trace("a.handle_drain\n"
                 "a.handle_read\n"
                 "a.recv 1\n");
    assert_int_equal(s.a->events[ON_DRAIN], 1);
    text_clear(&zeros);
    done();
}

static void
queue_that_stays_below_the_high_mark_drains_silently(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    assert_int_equal(asyncore_set_limits(D(s.a), &small), 0);
    kit_fail(KIT_SEND, D(s.a)->fd, 1, 1, -EAGAIN);
    assert_int_equal(send_next(1000), 1000);
    receive_all();
    assert_trace("");
    done();
}

static int
react_fill_again(struct chan *c)
{
    if (c->value++ < 3) {
        kit_heal();
        kit_fail(KIT_SEND, D(c)->fd, 1, 1, -EAGAIN);
        assert_int_equal(send_next(2000), 2000);
    }
    return 0;
}

static void
send_in_handle_drain_is_drained_too(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    assert_int_equal(asyncore_set_limits(D(s.a), &small), 0);
    s.a->react[ON_DRAIN] = react_fill_again;
    kit_fail(KIT_SEND, D(s.a)->fd, 1, 1, -EAGAIN);
    assert_int_equal(send_next(2000), 2000);
    RUN_UNTIL(s.a->events[ON_DRAIN] == 4);
    assert_int_equal(s.sent, 8000);
    receive_all();
    done();
}

static void
close_in_handle_drain_is_final(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    assert_int_equal(asyncore_set_limits(D(s.a), &small), 0);
    s.a->react[ON_DRAIN] = react_close;
    kit_fail(KIT_SEND, D(s.a)->fd, 1, 1, -EAGAIN);
    assert_int_equal(send_next(2000), 2000);
    RUN_UNTIL(s.a->destroyed);
    assert_trace("a.handle_drain\n"
                 "a.destroy\n");
    done();
}

static void
hard_limit_takes_nothing_beyond(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    assert_int_equal(asyncore_set_limits(D(s.a), &small), 0);
    kit_fail(KIT_SEND, D(s.a)->fd, 1, 1, -EAGAIN);
    assert_int_equal(send_next(5001), -ENOBUFS);
    assert_int_equal(send_next(4000), 4000);
    assert_int_equal(send_next(1001), -ENOBUFS);
    assert_int_equal(asyncore_output_size(D(s.a)), 4000);
    assert_int_equal(send_next(1000), 1000);
    assert_int_equal(send_next(1), -ENOBUFS);
    assert_true(D(s.a)->fd >= 0);
    receive_all();
    assert_int_equal(s.got.len, 5000);
    assert_trace("a.handle_drain\n");
    done();
}

static int
react_too_much(struct chan *c)
{
    static const char zeros[6000];
    kit_fail(KIT_SEND, D(c)->fd, 1, 1, -EAGAIN);
    return (int)asyncore_send(D(c), zeros, sizeof zeros);
}

static void
slow_consumer_is_an_error_of_the_handler(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    assert_int_equal(asyncore_set_limits(D(s.a), &small), 0);
    s.a->react[ON_READ] = react_too_much;
    kit_write(s.peer, "x", 1);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.handle_error ENOBUFS send handle_read\n"
                 "a.handle_close ENOBUFS\n"
                 "a.destroy\n");
    done();
}

static void
limits_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    static const struct asyncore_limits odd = {.high = 1, .low = 2, .max = 9};
    int peer;
    struct chan *plain = kit_pair_chan("p", 0, AF_UNIX, &peer);
    open_sender(0, AF_UNIX);
    assert_int_equal(asyncore_set_limits(D(s.a), &odd), -EINVAL);
    assert_int_equal(asyncore_set_limits(D(plain), &small), -EINVAL);
    assert_int_equal(asyncore_set_limits(NULL, &small), -EINVAL);
    assert_int_equal(asyncore_set_limits(D(s.a), NULL), 0);
    close(peer);
    done();
}

static void
limits_set_while_bytes_wait_count_at_once(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    kit_fail(KIT_SEND, D(s.a)->fd, 1, 1, -EAGAIN);
    assert_int_equal(send_next(2000), 2000);
    kit_write(s.peer, "1", 1);
    assert_int_equal(asyncore_set_limits(D(s.a), &small), 0);
    kit.world.max_out = 1500;
    kit_pass();
    assert_trace(""); /* 500 left, above the low mark */
    kit_pass();
    kit_pass();
    assert_trace("a.handle_drain\n"
                 "a.handle_read\n"
                 "a.recv 1\n");
    receive_all();
    done();
}

/* ---- ending ---- */

static void
shutdown_comes_after_what_is_queued(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    assert_int_equal(send_next(500000), 500000);
    assert_true(asyncore_output_size(D(s.a)) > 0);
    assert_int_equal(asyncore_shutdown(D(s.a)), 0);
    assert_int_equal(asyncore_shutdown(D(s.a)), 0);
    assert_int_equal(send_next(1), -EPIPE);
    RUN_UNTIL(!kit_drain(s.peer, &s.got));
    assert_received(500000);
    assert_trace(""); /* no handle_drain: there is nothing more to send */
    kit_write(s.peer, "still read", 10);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.recv 10\n");
    done();
    RUN_UNTIL(s.a->destroyed);
    assert_trace("a.handle_read\n"
                 "a.handle_close\n"
                 "a.destroy\n");
}

static void
shutdown_of_an_empty_queue_is_at_once(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    assert_int_equal(asyncore_shutdown(D(s.a)), 0);
    assert_false(kit_drain(s.peer, &s.got));
    done();
}

static void
shutdown_while_connecting_comes_after_the_connect(void **state)
{
    (void)state;
    int port;
    int listener = kit_listener(AF_INET, &port);
    memset(&s, 0, sizeof s);
    s.a = chan_open_sender("a", 0, -1);
    assert_int_equal(asyncore_create_socket(D(s.a), AF_INET, SOCK_STREAM), 0);
    s.a->opened = true;
    assert_int_equal(asyncore_shutdown(D(s.a)), -ENOTCONN);
    assert_int_equal(asyncore_connect(D(s.a), "127.0.0.1", port), 0);
    assert_int_equal(send_next(10), 10);
    assert_int_equal(asyncore_shutdown(D(s.a)), 0);
    s.peer = accept(listener, NULL, NULL);
    assert_int_equal(fcntl(s.peer, F_SETFL, O_NONBLOCK), 0);
    RUN_UNTIL(!kit_drain(s.peer, &s.got));
    assert_received(10);
    close(listener);
    done();
}

static void
close_when_done_sends_all_first(void **state)
{
    (void)state;
    open_sender(0, AF_INET);
    kit_shrink(D(s.a)->fd);
    assert_int_equal(send_next(3000000), 3000000);
    assert_true(asyncore_output_size(D(s.a)) > 0);
    assert_int_equal(asyncore_close_when_done(D(s.a)), 0);
    assert_true(D(s.a)->closing);
    assert_int_equal(send_next(1), -EPIPE);
    assert_int_equal(asyncore_close_when_done(D(s.a)), 0);
    kit_write(s.peer, "unread", 6); /* makes no reset of it */
    RUN_UNTIL(!kit_drain(s.peer, &s.got));
    assert_received(3000000);
    assert_int_equal(s.a->destroyed, 0);
    done();
    RUN_UNTIL(s.a->destroyed);
    assert_trace("a.handle_close\n"
                 "a.destroy\n");
}

static void
close_when_done_waits_no_longer_than_the_linger(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    kit_advance(0);
    assert_int_equal(asyncore_set_linger(D(s.a), 5), 0);
    assert_int_equal(send_next(10), 10);
    assert_int_equal(asyncore_close_when_done(D(s.a)), 0);
    kit_advance(4);
    kit_pass();
    assert_trace("");
    assert_false(kit_drain(s.peer, &s.got)); /* our end is told at once */
    assert_received(10);
    kit_advance(2);
    kit_pass();
    kit_pass();
    assert_trace("a.handle_close\n"
                 "a.destroy\n");
    done();
}

static void
close_when_done_after_the_peers_end_is_final(void **state)
{
    (void)state;
    open_sender(REC_EOF, AF_INET);
    s.a->react[ON_EOF] = react_nothing;
    assert_int_equal(shutdown(s.peer, SHUT_WR), 0);
    RUN_UNTIL(s.a->events[ON_EOF] == 1);
    text_clear(&kit.trace);
    assert_int_equal(send_next(2000000), 2000000);
    assert_int_equal(asyncore_close_when_done(D(s.a)), 0);
    RUN_UNTIL(!kit_drain(s.peer, &s.got));
    assert_received(2000000);
    RUN_UNTIL(s.a->destroyed);
    assert_trace("a.handle_close\n"
                 "a.destroy\n");
    done();
}

static void
end_of_input_leaves_the_queue_to_a_class_with_handle_eof(void **state)
{
    (void)state;
    open_sender(REC_EOF, AF_INET);
    s.a->react[ON_EOF] = react_nothing;
    assert_int_equal(send_next(2000000), 2000000);
    assert_int_equal(shutdown(s.peer, SHUT_WR), 0);
    RUN_UNTIL(s.a->events[ON_EOF] == 1);
    receive_all();
    for (int i = 0; i < 3; i++) {
        kit_pass();
    }
    assert_trace("a.handle_read\n"
                 "a.handle_eof\n");
    assert_int_equal(asyncore_shutdown(D(s.a)), 0);
    assert_trace("a.handle_close\n");
    assert_false(kit_drain(s.peer, &s.got));
    done();
}

static void
broken_connection_tells_handle_close_once_and_takes_no_more(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    s.a->react[ON_CLOSE] = react_nothing;
    assert_int_equal(send_next(500000), 500000);
    kit_fail(KIT_SEND, D(s.a)->fd, 1, 1, -ECONNRESET);
    kit_fail(KIT_SENDV, D(s.a)->fd, 1, 1, -ECONNRESET);
    struct text some = {0};
    kit_drain(s.peer, &some);
    RUN_UNTIL(s.a->events[ON_CLOSE] == 1);
    assert_trace("a.handle_close ECONNRESET\n");
    assert_int_equal(asyncore_output_size(D(s.a)), 0); /* for nobody */
    assert_int_equal(asyncore_send(D(s.a), "x", 1), 0);
    kit_pass();
    assert_trace("");
    text_clear(&some);
    asyncore_close(D(s.a));
    done();
}

static void
send_error_of_another_kind_goes_to_the_caller(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    kit_fail(KIT_SEND, D(s.a)->fd, 1, 1, -EACCES);
    assert_int_equal(asyncore_send(D(s.a), "x", 1), -EACCES);
    assert_trace("");
    assert_int_equal(send_next(10), 10);
    receive_all();
    done();
}

static void
queued_send_error_goes_to_handle_error(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    kit_fail(KIT_SEND, D(s.a)->fd, 1, 1, -EAGAIN);
    kit_fail(KIT_SEND, D(s.a)->fd, 2, 1, -EACCES);
    assert_int_equal(send_next(10), 10);
    RUN_UNTIL(s.a->destroyed);
    assert_trace("a.handle_error EACCES send handle_write\n"
                 "a.handle_close EACCES\n"
                 "a.destroy\n");
    done();
}

/* ---- memory ---- */

static void
no_memory_for_the_queue_takes_nothing(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    kit_fail(KIT_SEND, D(s.a)->fd, 1, 1, -EAGAIN);
    kit_fail_alloc(1, 1);
    assert_int_equal(asyncore_send(D(s.a), "lost?", 5), -ENOMEM);
    assert_int_equal(asyncore_output_size(D(s.a)), 0);
    assert_trace("");
    assert_int_equal(send_next(5), 5);
    receive_all();
    done();
}

static void
no_memory_after_a_part_went_out_ends_the_stream(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    kit.world.max_out = 2;
    kit_fail_alloc(1, 1);
    assert_int_equal(asyncore_send(D(s.a), "lost?", 5), -ENOMEM);
    assert_int_equal(D(s.a)->fd, -1);
    assert_non_null(
        strstr(text_get(&kit.trace), "a.handle_error ENOMEM send "));
    assert_int_equal(s.a->events[ON_ERROR], 1);
    kit_pass();
    assert_int_equal(s.a->destroyed, 1);
    done();
}

static int
react_send_five(struct chan *c)
{
    return (int)asyncore_send(D(c), "lost?", 5);
}

static void
no_memory_in_a_handler_is_told_once(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    s.a->react[ON_READ] = react_send_five;
    kit_write(s.peer, "x", 1);
    kit_pass(); /* the arrays of the map have grown */
    kit_drain(s.peer, &s.got);
    kit.world.max_out = 2;
    text_clear(&kit.trace);
    kit_fail_alloc(1, 1);
    kit_pass();
    assert_int_equal(s.a->events[ON_ERROR], 1);
    assert_int_equal(s.a->destroyed, 1);
    done();
}

/* ---- the rest ---- */

static void
debug_logs_what_is_sent(void **state)
{
    (void)state;
    open_sender(0, AF_UNIX);
    assert_int_equal(asyncore_send(D(s.a), "a'\n\x80", 4), 4);
    assert_string_equal(text_get(&kit.log), "");
    D(s.a)->debug = 1;
    assert_int_equal(asyncore_send(D(s.a), "a'\n\x80", 4), 4);
    assert_logged("info: sending '");
    assert_logged("\\x0a\\x80'");
    char long_one[3000];
    memset(long_one, 0, sizeof long_one);
    assert_int_equal(asyncore_send(D(s.a), long_one, sizeof long_one),
                     sizeof long_one);
    done();
}

static void
class_is_known(void **state)
{
    (void)state;
    int peer;
    struct chan *plain = kit_pair_chan("p", 0, AF_UNIX, &peer);
    open_sender(0, AF_UNIX);
    assert_ptr_equal(asyncore_dispatcher_with_send_from(D(s.a)),
                     &s.a->u.sender);
    assert_null(asyncore_dispatcher_with_send_from(D(plain)));
    assert_null(asyncore_dispatcher_with_send_from(NULL));
    assert_int_equal(asyncore_dispatcher_with_send_send(D(plain), "x", 1),
                     -EINVAL);
    assert_int_equal(asyncore_dispatcher_with_send_handle_write(D(plain)),
                     -EINVAL);
    assert_true(asyncore_initiate_send(NULL) < 0);
    assert_int_equal(asyncore_initiate_send(&s.a->u.sender), 0);
    assert_int_equal(asyncore_output_size(D(plain)), 0);
    assert_int_equal(asyncore_output_size(NULL), 0);
    close(peer);
    done();
}

static void
new_in_library_memory_works_as_init_does(void **state)
{
    (void)state;
    static const struct asyncore_ops ops = {.name = "heap"};
    struct asyncore_dispatcher_with_send *heap = NULL;
    int fd[2];
    struct text got = {0};
    kit_pair(AF_UNIX, fd);
    assert_int_equal(
        asyncore_dispatcher_with_send_new(&ops, fd[0], kit.map, &heap), 0);
    assert_int_equal(asyncore_send(&heap->base, "x", 1), 1);
    kit_drain(fd[1], &got);
    assert_string_equal(text_get(&got), "x");
    assert_int_equal(
        asyncore_dispatcher_with_send_new(&ops, fd[0], kit.map, NULL),
        -EEXIST);
    assert_int_equal(asyncore_close(&heap->base), 0);
    kit_pass();
    text_clear(&got);
    close(fd[1]);
}

static void
datagrams_are_not_run_together(void **state)
{
    (void)state;
    int fd[2];
    char got[100];
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fd),
                     0);
    struct chan *a = chan_open_sender("a", 0, fd[0]);
    int taken = 0;
    ssize_t n;
    while ((n = asyncore_send(D(a), "0123456789", (size_t)taken % 9 + 1)) >
           0) {
        assert_int_equal(n, taken % 9 + 1);
        taken++;
    }
    assert_int_equal(n, -EAGAIN);
    for (int i = 0; i < taken; i++) {
        assert_int_equal(read(fd[1], got, sizeof got), i % 9 + 1);
        kit_pass();
    }
    assert_int_equal(read(fd[1], got, sizeof got), -1);
    close(fd[1]);
}

/* Between that and the telling of it, handlers run. */
static void
nothing_is_sent_behind_what_was_lost(void **state)
{
    (void)state;
    int fd[2];
    struct text heard = {0};
    kit_pair(AF_INET, fd);
    struct chan *c = chan_open_sender("c", 0, fd[0]);
    kit_pass();
    asyncore__output_lost(D(c), -ENOMEM);
    assert_int_equal(asyncore_send(D(c), "abc", 3), 3);
    assert_int_equal(asyncore_initiate_send(&c->u.sender), 0);
    assert_int_equal(asyncore_send(D(c), "def", 3), 3);
    kit_pass();
    assert_trace("c.handle_error ENOMEM send -\nc.handle_close ENOMEM\n"
                 "c.destroy\n");
    assert_false(kit_drain(fd[1], &heard));
    assert_int_equal(heard.len, 0);
    text_clear(&heard);
    close(fd[1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(send_goes_out_at_once_and_allocates_nothing),
        KIT_TEST(send_beyond_what_the_kernel_takes_is_queued),
        KIT_TEST(send_of_nothing_is_nothing),
        KIT_TEST(order_is_kept_whatever_the_sizes),
        KIT_TEST(short_writes_lose_nothing),
        KIT_TEST(interrupted_and_blocked_sends_lose_nothing),
        KIT_TEST(queue_leaves_in_one_call_where_it_can),
        KIT_TEST(many_small_sends_are_few_allocations),
        KIT_TEST(send_before_the_connection_stands_is_kept),
        KIT_TEST(reading_pauses_above_the_high_mark_until_the_low_one),
        KIT_TEST(queue_that_stays_below_the_high_mark_drains_silently),
        KIT_TEST(send_in_handle_drain_is_drained_too),
        KIT_TEST(close_in_handle_drain_is_final),
        KIT_TEST(hard_limit_takes_nothing_beyond),
        KIT_TEST(slow_consumer_is_an_error_of_the_handler),
        KIT_TEST(limits_that_make_no_sense_are_refused),
        KIT_TEST(limits_set_while_bytes_wait_count_at_once),
        KIT_TEST(shutdown_comes_after_what_is_queued),
        KIT_TEST(shutdown_of_an_empty_queue_is_at_once),
        KIT_TEST(shutdown_while_connecting_comes_after_the_connect),
        KIT_TEST(close_when_done_sends_all_first),
        KIT_TEST(close_when_done_waits_no_longer_than_the_linger),
        KIT_TEST(close_when_done_after_the_peers_end_is_final),
        KIT_TEST(end_of_input_leaves_the_queue_to_a_class_with_handle_eof),
        KIT_TEST(broken_connection_tells_handle_close_once_and_takes_no_more),
        KIT_TEST(send_error_of_another_kind_goes_to_the_caller),
        KIT_TEST(queued_send_error_goes_to_handle_error),
        KIT_TEST(no_memory_for_the_queue_takes_nothing),
        KIT_TEST(no_memory_after_a_part_went_out_ends_the_stream),
        KIT_TEST(no_memory_in_a_handler_is_told_once),
        KIT_TEST(debug_logs_what_is_sent),
        KIT_TEST(class_is_known),
        KIT_TEST(new_in_library_memory_works_as_init_does),
        KIT_TEST(datagrams_are_not_run_together),
        KIT_TEST(nothing_is_sent_behind_what_was_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
