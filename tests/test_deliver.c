/* SPDX-License-Identifier: MIT */
/* test_deliver.c - from ready descriptors to handlers: the order of events,
 * and the way of failures. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>

#include "kit.h"

/* ---- order ---- */

static void
events_come_in_map_order_whatever_was_ready_first(void **state)
{
    (void)state;
    enum {
        N = 26
    };
    int peer[N];
    char name[2] = "a", want[N * 30] = "";
    for (int i = 0; i < N; i++) {
        name[0] = (char)('a' + i);
        kit_pair_chan(name, 0, AF_UNIX, &peer[i]);
    }
    kit_pass();
    for (int i = 0; i < N; i++) {
        kit_write(peer[i * 7 % N], "x", 1);
    }
    for (int i = 0; i < N; i++) {
        size_t used = strlen(want);
        snprintf(want + used, sizeof want - used,
                 "%c.handle_read\n%c.recv 1\n", 'a' + i, 'a' + i);
    }
    kit_pass();
    assert_trace(want);
    for (int i = 0; i < N; i++) {
        close(peer[i]);
    }
}

static void
channel_taken_out_and_put_back_comes_last(void **state)
{
    (void)state;
    int peer[3];
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer[0]);
    kit_pair_chan("b", 0, AF_UNIX, &peer[1]);
    kit_pair_chan("c", 0, AF_UNIX, &peer[2]);
    assert_int_equal(asyncore_del_channel(D(a)), 0);
    assert_int_equal(asyncore_add_channel(D(a), NULL), 0);
    for (int i = 0; i < 3; i++) {
        kit_write(peer[i], "x", 1);
    }
    kit_pass();
    assert_trace("b.handle_read\n"
                 "b.recv 1\n"
                 "c.handle_read\n"
                 "c.recv 1\n"
                 "a.handle_read\n"
                 "a.recv 1\n");
    for (int i = 0; i < 3; i++) {
        close(peer[i]);
    }
}

static void
all_events_of_a_channel_come_before_the_next_ones(void **state)
{
    (void)state;
    int pa, pb;
    kit_pair_chan("a", REC_WRITE, AF_UNIX, &pa);
    kit_pair_chan("b", REC_WRITE, AF_UNIX, &pb);
    kit_write(pa, "x", 1);
    kit_write(pb, "x", 1);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.recv 1\n"
                 "a.handle_write\n"
                 "b.handle_read\n"
                 "b.recv 1\n"
                 "b.handle_write\n");
    close(pa);
    close(pb);
}

static void
all_that_is_ready_is_served_in_one_pass(void **state)
{
    (void)state;
    enum {
        N = 300
    };
    static int peer[N];
    static struct chan *c[N];
    for (int i = 0; i < N; i++) {
        c[i] = kit_pair_chan("c", 0, AF_UNIX, &peer[i]);
        kit_write(peer[i], "x", 1);
    }
    kit_pass();
    for (int i = 0; i < N; i++) {
        assert_int_equal(c[i]->events[ON_READ], 1);
        close(peer[i]);
    }
    kit_pass();
    for (int i = 0; i < N; i++) {
        assert_int_equal(c[i]->destroyed, 1);
    }
}

/* The holes that closed channels leave do not disturb the order. */
static void
order_survives_many_that_come_and_go(void **state)
{
    (void)state;
    enum {
        N = 64
    };
    struct chan *c[N];
    int peer[N];
    uint32_t seed = 5;
    for (int i = 0; i < N; i++) {
        c[i] = kit_pair_chan("c", 0, AF_UNIX, &peer[i]);
        c[i]->value = i;
    }
    int next = N;
    for (int step = 0; step < 400; step++) {
        seed = seed * 1664525u + 1013904223u;
        int i = (int)((seed >> 16) % N);
        asyncore_close(D(c[i]));
        close(peer[i]);
        if (seed >> 31) {
            kit_pass();
        }
        c[i] = kit_pair_chan("c", 0, AF_UNIX, &peer[i]);
        c[i]->value = next++;
        int last = -1;
        size_t n = 0;
        struct asyncore_dispatcher *d = asyncore_map_next(kit.map, NULL);
        for (; d != NULL; d = asyncore_map_next(kit.map, d)) {
            assert_true(chan_of(d)->value > last);
            last = chan_of(d)->value;
            n++;
        }
        assert_int_equal(n, N);
        assert_int_equal(asyncore_map_count(kit.map), N);
    }
    for (int i = 0; i < N; i++) {
        close(peer[i]);
    }
}

/* ---- by hand ---- */

static void
delivery_by_hand_takes_any_channel_that_is_open(void **state)
{
    (void)state;
    struct asyncore_dispatcher never;
    int peer;
    memset(&never, 0, sizeof never);
    assert_int_equal(asyncore_read(NULL), -EINVAL);
    assert_int_equal(asyncore_write(NULL), -EINVAL);
    assert_int_equal(asyncore_exception(&never), -EINVAL);
    assert_int_equal(asyncore_readwrite(&never, POLLIN), -EINVAL);
    struct chan *a = kit_pair_chan("a", REC_WRITE | REC_EXPT, AF_UNIX, &peer);
    assert_int_equal(asyncore_readwrite(D(a), 0), 0);
    assert_trace("");
    /* Nothing there to read: no error. */
    assert_int_equal(asyncore_read(D(a)), 0);
    assert_int_equal(asyncore_write(D(a)), 0);
    assert_int_equal(asyncore_exception(D(a)), 0);
    assert_trace("a.handle_read\n"
                 "a.handle_write\n"
                 "a.handle_expt\n");
    /* Also one that is in no map. */
    assert_int_equal(asyncore_del_channel(D(a)), 0);
    kit_write(peer, "x", 1);
    assert_int_equal(asyncore_read(D(a)), 0);
    assert_int_equal(asyncore_readwrite(D(a), POLLOUT | POLLPRI), 0);
    assert_trace("a.handle_read\n"
                 "a.recv 1\n"
                 "a.handle_write\n"
                 "a.handle_expt\n");
    asyncore_close(D(a));
    close(peer);
}

static void
delivery_by_hand_returns_exit_now_only(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_WRITE, AF_UNIX, &peer);
    a->react[ON_READ] = react_exit_now;
    assert_int_equal(asyncore_read(D(a)), ASYNCORE_EXIT_NOW);
    assert_int_equal(asyncore_readwrite(D(a), POLLIN | POLLOUT),
                     ASYNCORE_EXIT_NOW);
    assert_trace("a.handle_read\n"
                 "a.handle_read\n");
    /* That was for the caller, not for a pass to come. */
    a->react[ON_READ] = NULL;
    kit_pass();
    text_clear(&kit.trace);
    a->value = EIO;
    a->react[ON_READ] = react_fail;
    assert_int_equal(asyncore_read(D(a)), 0);
    assert_trace("a.handle_read\n"
                 "a.handle_error EIO handle_read handle_read\n"
                 "a.handle_close EIO\n");
    close(peer);
}

static void
exception_event_with_a_pending_error_is_the_end(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_EXPT, AF_INET, &peer);
    kit_reset(peer);
    struct pollfd one = {.fd = D(a)->fd, .events = POLLIN};
    assert_int_equal(poll(&one, 1, 5000), 1);
    assert_int_equal(asyncore_exception(D(a)), 0);
    assert_trace("a.handle_close ECONNRESET\n");
}

/* ---- leaving the loop ---- */

static int
exit_now(struct asyncore_map *map, void *arg)
{
    (void)map;
    kit_trace("%s", (const char *)arg);
    return ASYNCORE_EXIT_NOW;
}

static void
exit_now_in_a_write_is_reported_again_with_what_was_left(void **state)
{
    (void)state;
    int pa, pb;
    struct chan *a = kit_pair_chan("a", REC_WRITE, AF_UNIX, &pa);
    kit_pair_chan("b", 0, AF_UNIX, &pb);
    a->react[ON_WRITE] = react_exit_now;
    kit_write(pa, "x", 1);
    kit_write(pb, "x", 1);
    assert_int_equal(asyncore_poll(0, kit.map), ASYNCORE_EXIT_NOW);
    assert_trace("a.handle_read\n"
                 "a.recv 1\n"
                 "a.handle_write\n");
    a->react[ON_WRITE] = NULL;
    kit_pass();
    assert_trace("a.handle_write\n"
                 "b.handle_read\n"
                 "b.recv 1\n");
    close(pa);
    close(pb);
}

static void
exit_now_leaves_posts_and_timers_for_later(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    a->react[ON_READ] = react_exit_now;
    kit_write(peer, "x", 1);
    static char post1[] = "post 1", post2[] = "post 2", timer1[] = "timer 1",
                timer2[] = "timer 2";
    asyncore_call_soon_threadsafe(kit.map, exit_now, post1);
    asyncore_call_soon_threadsafe(kit.map, exit_now, post2);
    assert_true(asyncore_call_later(kit.map, 0, exit_now, timer1) > 0);
    assert_true(asyncore_call_later(kit.map, 0, exit_now, timer2) > 0);
    assert_int_equal(asyncore_poll(0, kit.map), ASYNCORE_EXIT_NOW);
    assert_trace("a.handle_read\n");
    a->react[ON_READ] = NULL;
    assert_int_equal(asyncore_poll(0, kit.map), ASYNCORE_EXIT_NOW);
    assert_trace("a.handle_read\n"
                 "a.recv 1\n"
                 "post 1\n");
    assert_int_equal(asyncore_poll(0, kit.map), ASYNCORE_EXIT_NOW);
    assert_trace("post 2\n");
    assert_int_equal(asyncore_poll(0, kit.map), ASYNCORE_EXIT_NOW);
    assert_trace("timer 1\n");
    assert_int_equal(asyncore_loop(0, false, kit.map, 7), ASYNCORE_EXIT_NOW);
    assert_trace("timer 2\n");
    kit_pass();
    assert_trace("");
    close(peer);
}

/* Returns what recv() said no more. */
static int
react_read_and_forget(struct chan *c)
{
    char byte;
    kit_trace("recv %d", asyncore_recv(D(c), &byte, 1) < 0);
    return 0;
}

static void
exit_now_in_handle_close_leaves_though_the_reader_forgets_it(void **state)
{
    (void)state;
    int pa, pb;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &pa);
    kit_pair_chan("b", 0, AF_UNIX, &pb);
    a->react[ON_READ] = react_read_and_forget;
    a->react[ON_CLOSE] = react_exit_now;
    close(pa);
    kit_write(pb, "x", 1);
    assert_int_equal(asyncore_loop(1, false, kit.map, 3), ASYNCORE_EXIT_NOW);
    assert_trace("a.handle_read\n"
                 "a.handle_close\n"
                 "recv 1\n");
    kit_pass();
    assert_trace("b.handle_read\n"
                 "b.recv 1\n");
    asyncore_close(D(a));
    close(pb);
}

static void
assert_exits_from(enum kit_event event)
{
    int fd[2], port = 0, listener = -1;
    kit_pair(AF_UNIX, fd);
    struct chan *a =
        chan_new("a", REC_EOF | (event == ON_WRITE ? REC_WRITE : 0u));
    a->react[event] = react_exit_now;
    switch (event) {
    case ON_ERROR:
        a->value = EIO;
        a->react[ON_READ] = react_fail;
        /* fall through */
    case ON_READ:
        kit_write(fd[1], "x", 1);
        break;
    case ON_CLOSE:
        a->ops.handle_eof = NULL;
        /* fall through */
    case ON_EOF:
        assert_int_equal(shutdown(fd[1], SHUT_WR), 0);
        break;
    case ON_CONNECT:
        listener = kit_listener(AF_INET, &port);
        assert_int_equal(chan_try(a, -1), 0);
        assert_int_equal(asyncore_create_socket(D(a), AF_INET, SOCK_STREAM),
                         0);
        assert_int_equal(asyncore_connect(D(a), "127.0.0.1", port), 0);
        break;
    default:
        break;
    }
    if (event == ON_CONNECT) {
        a->opened = true;
        close(fd[0]);
    }
    else {
        assert_int_equal(chan_try(a, fd[0]), 0);
    }
    if (event == ON_TIMEOUT) {
        kit_advance(0);
        assert_int_equal(asyncore_set_timeout(D(a), 1), 0);
        kit_advance(2);
    }
    int rc = 0;
    for (int i = 0; i < 500 && rc == 0; i++) {
        rc = asyncore_poll(0.01, kit.map);
    }
    assert_int_equal(rc, ASYNCORE_EXIT_NOW);
    assert_int_equal(a->events[event], 1);
    assert_true(D(a)->fd >= 0);
    assert_int_equal(asyncore_map_count(kit.map), 1);
    asyncore_close(D(a));
    close(fd[1]);
    if (listener >= 0) {
        close(listener);
    }
    kit_pass();
}

static void
exit_now_works_from_every_handler(void **state)
{
    (void)state;
    static const enum kit_event events[] = {
        ON_READ, ON_WRITE, ON_CONNECT, ON_CLOSE, ON_ERROR, ON_EOF, ON_TIMEOUT,
    };
    for (size_t i = 0; i < COUNT(events); i++) {
        assert_exits_from(events[i]);
    }
}

static int
accepted_exit(struct chan *c, int fd, const struct asyncore_addr *addr)
{
    (void)addr;
    c->value = fd;
    return ASYNCORE_EXIT_NOW;
}

static void
exit_now_in_handle_accepted_leaves_it_the_descriptor(void **state)
{
    (void)state;
    struct chan *l = chan_listen("l", 0, AF_INET);
    int client = kit_connect(chan_port(l));
    l->accepted = accepted_exit;
    int rc = 0;
    for (int i = 0; i < 500 && rc == 0; i++) {
        rc = asyncore_poll(0.01, kit.map);
    }
    assert_int_equal(rc, ASYNCORE_EXIT_NOW);
    assert_int_equal(fcntl(l->value, F_GETFD), FD_CLOEXEC);
    assert_true(fcntl(l->value, F_GETFL) & O_NONBLOCK);
    close(l->value);
    close(client);
}

/* ---- failures ---- */

static struct chan *other;

static int
react_send_by_other(struct chan *c)
{
    (void)c;
    return (int)asyncore_send(D(other), "x", 1);
}

static void
error_of_another_channels_operation_is_the_callers(void **state)
{
    (void)state;
    int pa, pb;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &pa);
    other = kit_pair_chan("b", 0, AF_UNIX, &pb);
    a->react[ON_READ] = react_send_by_other;
    kit_fail(KIT_SEND, D(other)->fd, 1, 1, -EACCES);
    kit_write(pa, "x", 1);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.handle_error EACCES send handle_read\n"
                 "a.handle_close EACCES\n"
                 "a.destroy\n");
    assert_int_equal(other->destroyed, 0);
    close(pa);
    close(pb);
}

static int
react_ignore_then_fail(struct chan *c)
{
    assert_int_equal(asyncore_send(D(c), "x", 1), -EACCES);
    return -EPROTO;
}

static void
ignored_error_is_not_blamed_for_the_next_one(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    a->react[ON_READ] = react_ignore_then_fail;
    kit_fail(KIT_SEND, D(a)->fd, 1, 1, -EACCES);
    kit_write(peer, "x", 1);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.handle_error EPROTO handle_read handle_read\n"
                 "a.handle_close EPROTO\n"
                 "a.destroy\n");
    close(peer);
}

static int
react_close_then_fail(struct chan *c)
{
    asyncore_close(D(c));
    return -EPROTO;
}

static void
error_of_a_handler_that_closed_itself_is_only_logged(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_WRITE, AF_UNIX, &peer);
    a->react[ON_READ] = react_close_then_fail;
    kit_write(peer, "x", 1);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.destroy\n");
    assert_logged("EPROTO:");
    close(peer);
}

static int
react_close_then_send(struct chan *c)
{
    asyncore_close(D(c));
    return (int)asyncore_send(D(c), "x", 1);
}

static void
use_of_a_channel_after_its_close_is_no_news(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    a->react[ON_READ] = react_close_then_send;
    kit_write(peer, "x", 1);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.destroy\n");
    assert_string_equal(text_get(&kit.log), "");
    close(peer);
}

static void
error_out_of_handle_close_goes_to_handle_error(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    a->value = EPROTO;
    a->react[ON_CLOSE] = react_fail;
    close(peer);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.handle_close\n"
                 "a.handle_error EPROTO handle_close handle_close\n"
                 "a.destroy\n"); /* the default closes what has been told */
}

static void
failed_wait_is_returned_and_delivers_nothing(void **state)
{
    (void)state;
    int peer;
    kit_pair_chan("a", 0, AF_UNIX, &peer);
    kit_write(peer, "x", 1);
    kit_fail(kit_wait_call(), -1, 1, 1, -ENOMEM);
    assert_int_equal(asyncore_loop(1, false, kit.map, 5), -ENOMEM);
    assert_trace("");
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.recv 1\n");
    close(peer);
}

static void
events_that_cannot_be_noted_are_reported_again(void **state)
{
    (void)state;
    enum {
        N = 40
    };
    int peer[N];
    struct chan *c[N];
    for (int i = 0; i < N; i++) {
        c[i] = kit_pair_chan("c", 0, AF_UNIX, &peer[i]);
    }
    kit_pass(); /* all is armed, and nothing was ever ready */
    for (int i = 0; i < N; i++) {
        kit_write(peer[i], "x", 1);
    }
    kit_fail_alloc(1, 2);
    for (int i = 0; i < 4; i++) {
        int err = asyncore_poll(0, kit.map);
        assert_true(err == 0 || err == -ENOMEM);
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(c[i]->events[ON_READ], 1);
        assert_string_equal(text_get(&c[i]->in), "x");
        close(peer[i]);
    }
}

/* ---- accepting ---- */

static int
accepted_fail(struct chan *c, int fd, const struct asyncore_addr *addr)
{
    (void)addr;
    c->value = fd;
    c->born++;
    return -EPROTO;
}

static void
error_of_handle_accepted_costs_that_connection_only(void **state)
{
    (void)state;
    struct chan *l = chan_listen("l", 0, AF_INET);
    int client[2];
    client[0] = kit_connect(chan_port(l));
    client[1] = kit_connect(chan_port(l));
    l->accepted = accepted_fail;
    RUN_UNTIL(l->born == 2);
    assert_trace("l.handle_accepted\n"
                 "l.handle_error EPROTO handle_accepted handle_accepted\n"
                 "l.handle_accepted\n"
                 "l.handle_error EPROTO handle_accepted handle_accepted\n");
    assert_true(D(l)->accepting);
    assert_int_equal(fcntl(l->value, F_GETFD), -1); /* closed for it */
    assert_logged("dropping connection to");
    close(client[0]);
    close(client[1]);
}

static int
accepted_adopt_and_fail(struct chan *c, int fd,
                        const struct asyncore_addr *addr)
{
    (void)addr;
    c->born++;
    c->last = chan_open("child", 0, fd);
    return -EPROTO;
}

static void
error_of_handle_accepted_leaves_a_descriptor_that_has_an_owner(void **state)
{
    (void)state;
    struct chan *l = chan_listen("l", 0, AF_INET);
    int client = kit_connect(chan_port(l));
    l->accepted = accepted_adopt_and_fail;
    RUN_UNTIL(l->born == 1);
    assert_true(D(l->last)->fd >= 0);
    kit_write(client, "x", 1);
    RUN_UNTIL(l->last->events[ON_READ] == 1);
    assert_string_equal(text_get(&l->last->in), "x");
    close(client);
}

/* ---- the defaults ---- */

static void
channel_without_handlers_warns_and_reads_nothing(void **state)
{
    (void)state;
    int fd[2];
    struct asyncore_dispatcher d;
    kit_pair(AF_UNIX, fd);
    assert_int_equal(asyncore_dispatcher_init(&d, NULL, fd[0], kit.map), 0);
    d.ignore_log_types = 0;
    kit_write(fd[1], "x", 1);
    kit_pass();
    kit_pass();
    assert_string_equal(text_get(&kit.log), "warning: unhandled read event\n"
                                            "warning: unhandled read event\n");
    text_clear(&kit.log);
    char byte;
    assert_int_equal(asyncore_recv(&d, &byte, 1), 1);
    close(fd[1]);
    kit_pass();
    assert_int_equal(d.fd, -1);
    assert_logged("warning: unhandled close event\n");
}

/* ---- the peer ends its side ---- */

static void
eof_with_its_handler_leaves_the_writing_side(void **state)
{
    (void)state;
    int peer;
    struct text got = {0};
    struct chan *a = kit_pair_chan("a", REC_EOF, AF_UNIX, &peer);
    kit_write(peer, "x", 1);
    assert_int_equal(shutdown(peer, SHUT_WR), 0);
    for (int i = 0; i < 5; i++) {
        kit_pass();
    }
    assert_trace("a.handle_read\n"
                 "a.recv 1\n"
                 "a.handle_read\n"
                 "a.handle_eof\n");
    assert_int_equal(asyncore_send(D(a), "answer", 6), 6);
    kit_drain(peer, &got);
    assert_string_equal(text_get(&got), "answer");
    assert_int_equal(asyncore_shutdown(D(a)), 0);
    assert_trace("a.handle_close\n");
    assert_false(kit_drain(peer, &got));
    kit_pass();
    assert_trace("a.destroy\n");
    text_clear(&got);
    close(peer);
}

static int
react_shutdown(struct chan *c)
{
    return asyncore_shutdown(D(c));
}

static void
shutdown_before_and_in_handle_eof_is_the_end(void **state)
{
    (void)state;
    int pa, pb;
    struct chan *a = kit_pair_chan("a", REC_EOF, AF_UNIX, &pa);
    struct chan *b = kit_pair_chan("b", REC_EOF, AF_UNIX, &pb);
    assert_int_equal(asyncore_shutdown(D(a)), 0);
    b->react[ON_EOF] = react_shutdown;
    assert_int_equal(shutdown(pa, SHUT_WR), 0);
    assert_int_equal(shutdown(pb, SHUT_WR), 0);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.handle_eof\n"
                 "a.handle_close\n"
                 "b.handle_read\n"
                 "b.handle_eof\n"
                 "b.handle_close\n"
                 "a.destroy\n"
                 "b.destroy\n");
    close(pa);
    close(pb);
}

static void
error_after_eof_is_still_told(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_EOF, AF_UNIX, &peer);
    assert_int_equal(shutdown(peer, SHUT_WR), 0);
    kit_pass();
    text_clear(&kit.trace);
    kit_fail(KIT_SEND, D(a)->fd, 1, 1, -EPIPE);
    assert_int_equal(asyncore_send(D(a), "x", 1), 0);
    assert_trace("a.handle_close EPIPE\n");
    close(peer);
}

static void
recv_after_the_end_says_so_again_and_tells_nobody(void **state)
{
    (void)state;
    int peer;
    char byte;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    a->react[ON_CLOSE] = react_nothing;
    close(peer);
    assert_int_equal(asyncore_recv(D(a), &byte, 1), 0);
    assert_int_equal(asyncore_recv(D(a), &byte, 1), 0);
    assert_trace("a.handle_close\n");
    asyncore_close(D(a));
}

static void
would_block_is_a_result_not_an_error(void **state)
{
    (void)state;
    int peer;
    char byte;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    assert_int_equal(asyncore_recv(D(a), &byte, 1), -EAGAIN);
    kit_fill(D(a)->fd);
    assert_int_equal(asyncore_send(D(a), "x", 1), -EAGAIN);
    assert_trace("");
    close(peer);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(events_come_in_map_order_whatever_was_ready_first),
        KIT_TEST(channel_taken_out_and_put_back_comes_last),
        KIT_TEST(all_events_of_a_channel_come_before_the_next_ones),
        KIT_TEST(all_that_is_ready_is_served_in_one_pass),
        KIT_TEST(order_survives_many_that_come_and_go),
        KIT_TEST(delivery_by_hand_takes_any_channel_that_is_open),
        KIT_TEST(delivery_by_hand_returns_exit_now_only),
        KIT_TEST(exception_event_with_a_pending_error_is_the_end),
        KIT_TEST(exit_now_in_a_write_is_reported_again_with_what_was_left),
        KIT_TEST(exit_now_leaves_posts_and_timers_for_later),
        KIT_TEST(exit_now_in_handle_close_leaves_though_the_reader_forgets_it),
        KIT_TEST(exit_now_works_from_every_handler),
        KIT_TEST(exit_now_in_handle_accepted_leaves_it_the_descriptor),
        KIT_TEST(error_of_another_channels_operation_is_the_callers),
        KIT_TEST(ignored_error_is_not_blamed_for_the_next_one),
        KIT_TEST(error_of_a_handler_that_closed_itself_is_only_logged),
        KIT_TEST(use_of_a_channel_after_its_close_is_no_news),
        KIT_TEST(error_out_of_handle_close_goes_to_handle_error),
        KIT_TEST(failed_wait_is_returned_and_delivers_nothing),
        KIT_TEST(events_that_cannot_be_noted_are_reported_again),
        KIT_TEST(error_of_handle_accepted_costs_that_connection_only),
        KIT_TEST(
            error_of_handle_accepted_leaves_a_descriptor_that_has_an_owner),
        KIT_TEST(channel_without_handlers_warns_and_reads_nothing),
        KIT_TEST(eof_with_its_handler_leaves_the_writing_side),
        KIT_TEST(shutdown_before_and_in_handle_eof_is_the_end),
        KIT_TEST(error_after_eof_is_still_told),
        KIT_TEST(recv_after_the_end_says_so_again_and_tells_nobody),
        KIT_TEST(would_block_is_a_result_not_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
