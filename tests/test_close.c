/* SPDX-License-Identifier: MIT */
/* test_close.c - closing anywhere, and what may not happen after it. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>

#include "kit.h"

/* Two channels with something to read, a first in map order. */
static struct {
    struct chan *a, *b;
    int pa, pb; /* their peers */
} two;

static void
open_two(unsigned flags)
{
    two.a = kit_pair_chan("a", flags, AF_UNIX, &two.pa);
    two.b = kit_pair_chan("b", flags, AF_UNIX, &two.pb);
    two.a->peer = two.b;
    two.b->peer = two.a;
    kit_write(two.pa, "x", 1);
    kit_write(two.pb, "y", 1);
}

static void
close_peers(void)
{
    close(two.pa);
    close(two.pb);
}

/* ---- within a batch of events ---- */

static void
close_inside_handle_read_drops_later_events(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_WRITE | REC_EXPT, AF_INET, &peer);
    assert_int_equal(send(peer, "xy", 2, MSG_OOB), 2);
    a->react[ON_READ] = react_close;
    /* Write and priority are ready too, as `readable` comes with them. */
    RUN_UNTIL(a->destroyed || a->events[ON_EXPT] > 0);
    text_clear(&kit.trace);
    if (!a->destroyed) { /* the urgent byte was there before the other */
        RUN_UNTIL(a->destroyed);
    }
    assert_int_equal(a->events[ON_READ], 1);
    assert_int_equal(a->events[ON_CLOSE], 0);
    close(peer);
}

static void
close_inside_readwrite_drops_later_steps(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_WRITE | REC_EXPT, AF_UNIX, &peer);
    a->react[ON_READ] = react_close;
    assert_int_equal(asyncore_readwrite(D(a), POLLIN | POLLOUT | POLLPRI |
                                                  POLLHUP | POLLERR),
                     0);
    assert_trace("a.handle_read\n");
    kit_pass();
    assert_trace("a.destroy\n");
    close(peer);
}

static void
close_inside_handle_write_drops_expt_and_hangup(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_WRITE | REC_EXPT, AF_UNIX, &peer);
    a->react[ON_WRITE] = react_close;
    assert_int_equal(asyncore_readwrite(D(a), POLLOUT | POLLPRI | POLLHUP), 0);
    assert_trace("a.handle_write\n");
    close(peer);
}

static void
close_peer_in_same_batch(void **state)
{
    (void)state;
    open_two(0);
    two.a->react[ON_READ] = react_close_peer;
    kit_pass();
    assert_trace("a.handle_read\n"
                 "b.destroy\n");
    close_peers();
}

static void
close_of_one_already_served_in_same_batch(void **state)
{
    (void)state;
    open_two(0);
    two.b->react[ON_READ] = react_close_peer;
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.recv 1\n"
                 "b.handle_read\n"
                 "a.destroy\n");
    close_peers();
}

static int
react_close_all(struct chan *c)
{
    (void)c;
    assert_int_equal(asyncore_close_all(kit.map, false), 0);
    assert_int_equal(asyncore_map_count(kit.map), 0);
    kit_trace("closed");
    return 0;
}

static void
close_all_in_a_handler_drops_the_batch(void **state)
{
    (void)state;
    open_two(0);
    two.a->react[ON_READ] = react_close_all;
    kit_pass();
    assert_trace("a.handle_read\n"
                 "closed\n" /* and nobody destroyed within */
                 "a.destroy\n"
                 "b.destroy\n");
    close_peers();
}

static void
close_of_many_in_same_batch(void **state)
{
    (void)state;
    enum {
        N = 50
    };
    int peers[N];
    struct chan *c[N];
    for (int i = 0; i < N; i++) {
        c[i] = kit_pair_chan("c", 0, AF_UNIX, &peers[i]);
        kit_write(peers[i], "x", 1);
    }
    c[0]->react[ON_READ] = react_close_all;
    kit_pass();
    for (int i = 0; i < N; i++) {
        assert_int_equal(c[i]->destroyed, 1);
        assert_int_equal(c[i]->events[ON_READ], i == 0);
        close(peers[i]);
    }
}

/* ---- numbers that are used again ---- */

static int reused_peer;
static struct chan *reused;

/* Close the other, and have a new channel on its number; it is readable. */
static int
react_replace_peer(struct chan *c)
{
    int number = D(c->peer)->fd, fd[2];
    asyncore_close(D(c->peer));
    kit_pair(AF_UNIX, fd);
    if (fd[0] != number) {
        assert_int_equal(dup2(fd[0], number), number);
        if (fd[1] == number) {
            fail_msg("the pair took the number");
        }
        close(fd[0]);
    }
    kit_write(fd[1], "new", 3);
    reused_peer = fd[1];
    reused = chan_open("new", 0, number);
    return react_read(c);
}

static void
reopened_fd_gets_no_old_event(void **state)
{
    (void)state;
    open_two(0);
    two.a->react[ON_READ] = react_replace_peer;
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.recv 1\n"
                 "b.destroy\n");
    kit_pass();
    assert_trace("new.handle_read\n"
                 "new.recv 3\n");
    close(reused_peer);
    close_peers();
}

/* The same, and serve it before the old event has its turn. */
static int
react_replace_peer_and_loop(struct chan *c)
{
    int rc = react_replace_peer(c);
    assert_int_equal(asyncore_poll(0, kit.map), 0);
    kit_trace("out");
    return rc;
}

static void
reopened_fd_that_is_waited_for_gets_no_old_event(void **state)
{
    (void)state;
    open_two(0);
    two.a->react[ON_READ] = react_replace_peer_and_loop;
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.recv 1\n"
                 "new.handle_read\n"
                 "new.recv 3\n"
                 "out\n"
                 "b.destroy\n");
    close(reused_peer);
    close_peers();
}

static void
reopened_fd_is_not_blamed_for_the_old_ones_closing(void **state)
{
    (void)state;
    if (strcmp(asyncore_map_backend(kit.map), "poll") != 0) {
        return; /* epoll is not told, select tells nothing else */
    }
    open_two(0);
    kit_pass();
    text_clear(&kit.trace);
    kit_write(two.pa, "x", 1);
    close(D(two.b)->fd); /* behind its back */
    two.a->react[ON_READ] = react_replace_peer;
    RUN_UNTIL(two.a->events[ON_READ] == 2);
    RUN_UNTIL(reused->events[ON_READ] == 1);
    assert_int_equal(reused->events[ON_CLOSE], 0);
    assert_int_equal(reused->events[ON_ERROR], 0);
    close(reused_peer);
    close_peers();
}

static int
react_reopen_self(struct chan *c)
{
    int number = D(c)->fd;
    asyncore_close(D(c));
    assert_int_equal(asyncore_create_socket(D(c), AF_UNIX, SOCK_STREAM), 0);
    if (D(c)->fd != number) {
        kit_trace("%s has another number", c->name);
    }
    return 0;
}

static void
channel_with_a_new_socket_gets_no_old_event(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_WRITE | REC_EXPT, AF_UNIX, &peer);
    kit_write(peer, "x", 1);
    a->react[ON_READ] = react_reopen_self;
    kit_pass(); /* readable and writable; it is another one after the first */
    assert_trace("a.handle_read\n");
    kit_pass();
    assert_trace("");
    assert_true(D(a)->fd >= 0);
    close(peer);
}

static void
dup_of_a_closed_descriptor_makes_no_events(void **state)
{
    (void)state;
    int fd[2];
    kit_pair(AF_UNIX, fd);
    int copy = dup(fd[0]); /* the open file lives on, and so would epoll's */
    struct chan *a = chan_open("a", 0, fd[0]);
    kit_pass();
    asyncore_close(D(a));
    kit_pass();
    assert_trace("a.destroy\n");
    int peer;
    struct chan *b = kit_pair_chan("b", 0, AF_UNIX, &peer);
    kit_write(fd[1], "ghost", 5);
    kit_pass();
    assert_trace("");
    assert_int_equal(b->events[ON_READ], 0);
    close(copy);
    close(fd[1]);
    close(peer);
}

/* ---- destroy ---- */

static void
double_close_is_one_destroy(void **state)
{
    (void)state;
    open_two(0);
    assert_int_equal(asyncore_close(D(two.a)), 0);
    assert_int_equal(asyncore_close(D(two.a)), 0);
    assert_int_equal(two.a->destroyed, 0);
    assert_int_equal(asyncore_close(D(two.a)), 0);
    kit_pass();
    assert_trace("b.handle_read\n"
                 "b.recv 1\n"
                 "a.destroy\n");
    kit_pass();
    assert_trace("");
    close_peers();
}

struct own {
    struct asyncore_dispatcher base;
    char *belongings;
};

static unsigned freed;

static void
free_own(struct asyncore_dispatcher *d)
{
    struct own *own = asyncore_container_of(d, struct own, base);
    free(own->belongings);
    free(own);
    freed++;
}

static int
close_and_fail(struct asyncore_dispatcher *d)
{
    asyncore_close(d);
    return -EIO;
}

static void
free_in_destroy(void **state)
{
    (void)state;
    static const struct asyncore_ops ops = {
        .handle_read = close_and_fail,
        .destroy = free_own,
    };
    int peer[2], fd[2];
    freed = 0;
    for (int i = 0; i < 2; i++) {
        struct own *own = malloc(sizeof *own);
        assert_non_null(own);
        own->belongings = malloc(10);
        kit_pair(AF_UNIX, fd);
        peer[i] = fd[1];
        assert_int_equal(
            asyncore_dispatcher_init(&own->base, &ops, fd[0], kit.map), 0);
        kit_write(peer[i], "x", 1);
    }
    kit_pass();
    assert_int_equal(freed, 2);
    kit_pass();
    close(peer[0]);
    close(peer[1]);
}

static void
count_destroy(struct asyncore_dispatcher *d)
{
    assert_int_equal(d->fd, -1);
    freed++;
}

static void
library_memory_is_released_after_destroy(void **state)
{
    (void)state;
    static const struct asyncore_ops ops = {.destroy = count_destroy};
    int fd[2];
    struct asyncore_dispatcher *d;
    freed = 0;
    unsigned long live = kit.alloc.live;
    for (int i = 0; i < 3; i++) {
        kit_pair(AF_UNIX, fd);
        close(fd[1]);
        assert_int_equal(asyncore_dispatcher_new(&ops, fd[0], kit.map, &d), 0);
        assert_int_equal(asyncore_close(d), 0);
        kit_pass();
        assert_int_equal(freed, i + 1);
    }
    /* The map may have grown; three channels it has not kept. */
    assert_true(kit.alloc.live <= live + 3);
}

static struct chan *other;

static void
close_other(struct asyncore_dispatcher *d)
{
    kit_trace("%s.destroy", chan_of(d)->name);
    chan_of(d)->destroyed++;
    asyncore_close(D(other));
}

static void
close_in_destroy_destroys_that_one_too(void **state)
{
    (void)state;
    open_two(0);
    other = two.b;
    two.a->ops.destroy = close_other;
    two.a->react[ON_READ] = react_close;
    two.b->react[ON_READ] = react_nothing;
    kit_pass();
    assert_trace("a.handle_read\n"
                 "b.handle_read\n"
                 "a.destroy\n"
                 "b.destroy\n");
    close_peers();
}

static int late_peer;
static struct chan *late;

static void
make_another(struct asyncore_dispatcher *d)
{
    chan_of(d)->destroyed++;
    late = kit_pair_chan("late", 0, AF_UNIX, &late_peer);
    kit_write(late_peer, "x", 1);
}

static void
channel_made_in_destroy_lives(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    a->ops.destroy = make_another;
    asyncore_close(D(a));
    kit_pass();
    assert_int_equal(a->destroyed, 1);
    kit_pass();
    assert_trace("late.handle_read\n"
                 "late.recv 1\n");
    close(peer);
    close(late_peer);
}

/* The sweep is not a pass: what runs in it may do all the same. */
static void
run_the_loop(struct asyncore_dispatcher *d)
{
    kit_trace("%s.destroy", chan_of(d)->name);
    chan_of(d)->destroyed++;
    assert_int_equal(asyncore_poll(0, kit.map), 0);
    assert_int_equal(asyncore_loop(0, false, kit.map, 1), 0);
    assert_int_equal(asyncore_close_all(kit.map, false), 0);
}

static void
loop_in_destroy_ends(void **state)
{
    (void)state;
    open_two(0);
    two.a->ops.destroy = run_the_loop;
    two.b->ops.destroy = run_the_loop;
    asyncore_close(D(two.a));
    asyncore_close(D(two.b));
    kit_pass();
    assert_trace("a.destroy\n"
                 "b.destroy\n");
    close_peers();
}

static void
free_the_map(struct asyncore_dispatcher *d)
{
    chan_of(d)->destroyed++;
    assert_int_equal(asyncore_map_free(kit.map), -EBUSY);
}

static void
map_free_in_destroy_is_ebusy(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    a->ops.destroy = free_the_map;
    asyncore_close(D(a));
    kit_pass();
    assert_int_equal(a->destroyed, 1);
    a = kit_pair_chan("a", 0, AF_UNIX, &late_peer);
    a->ops.destroy = free_the_map;
    assert_int_equal(asyncore_close_all(kit.map, false), 0);
    assert_int_equal(a->destroyed, 1);
    close(peer);
    close(late_peer);
}

static int
react_free_the_map(struct chan *c)
{
    asyncore_close(D(c));
    assert_int_equal(asyncore_map_free(kit.map), -EBUSY);
    return 0;
}

static void
map_free_in_a_handler_is_ebusy(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    kit_write(peer, "x", 1);
    a->react[ON_READ] = react_free_the_map;
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.destroy\n");
    close(peer);
}

/* ---- outside of a loop ---- */

static void
close_outside_is_destroyed_in_the_next_pass(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    asyncore_close(D(a));
    assert_int_equal(a->destroyed, 0);
    assert_int_equal(asyncore_map_count(kit.map), 0);
    kit_pass(); /* of an empty map */
    assert_int_equal(a->destroyed, 1);
    close(peer);
}

static void
close_outside_is_destroyed_by_map_free(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    assert_int_equal(asyncore_map_free(kit.map), -EBUSY);
    asyncore_close(D(a));
    assert_int_equal(asyncore_map_free(kit.map), 0);
    kit.map = NULL;
    assert_int_equal(a->destroyed, 1);
    close(peer);
}

static void
close_outside_is_destroyed_by_close_all(void **state)
{
    (void)state;
    open_two(0);
    asyncore_close(D(two.b));
    assert_int_equal(asyncore_close_all(kit.map, false), 0);
    assert_int_equal(two.a->destroyed, 1);
    assert_int_equal(two.b->destroyed, 1);
    close_peers();
}

static void
closed_channel_has_no_state_but_its_address(void **state)
{
    (void)state;
    int peer;
    struct asyncore_addr addr, kept;
    struct chan *a = kit_pair_chan("a", 0, AF_INET, &peer);
    assert_int_equal(asyncore_getaddr(D(a), &addr), 0);
    assert_true(D(a)->connected);
    assert_ptr_equal(asyncore_map_get(kit.map, D(a)->fd), D(a));
    int fd = D(a)->fd;
    asyncore_close(D(a));
    assert_int_equal(D(a)->fd, -1);
    assert_false(D(a)->connected || D(a)->accepting || D(a)->connecting);
    assert_null(asyncore_map_get(kit.map, fd));
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(asyncore_getaddr(D(a), &kept), 0);
    assert_string_equal(asyncore_addr_str(&addr), asyncore_addr_str(&kept));
    close(peer);
}

static void
closed_channel_refuses_everything_and_tells_nobody(void **state)
{
    (void)state;
    int peer;
    char buf[4];
    struct asyncore_addr addr;
    struct chan *a = kit_pair_chan("a", REC_WRITE, AF_UNIX, &peer);
    asyncore_close(D(a));
    assert_int_equal(asyncore_send(D(a), "x", 1), -EBADF);
    assert_int_equal(asyncore_recv(D(a), buf, sizeof buf), -EBADF);
    assert_int_equal(asyncore_sendto(D(a), "x", 1, NULL), -EBADF);
    assert_int_equal(asyncore_recvfrom(D(a), buf, 1, &addr), -EBADF);
    assert_int_equal(asyncore_send_oob(D(a), "x", 1), -EBADF);
    assert_int_equal(asyncore_recv_oob(D(a), buf, 1), -EBADF);
    assert_int_equal(asyncore_bind(D(a), "/x", 0), -EBADF);
    assert_int_equal(asyncore_listen(D(a), 1), -EBADF);
    assert_int_equal(asyncore_accept(D(a), NULL), -EBADF);
    assert_int_equal(asyncore_connect(D(a), "/x", 0), -EBADF);
    assert_int_equal(asyncore_shutdown(D(a)), -EBADF);
    assert_int_equal(asyncore_close_when_done(D(a)), -EBADF);
    assert_int_equal(asyncore_detach(D(a)), -EBADF);
    assert_int_equal(asyncore_touch(D(a)), -EBADF);
    assert_int_equal(asyncore_set_timeout(D(a), 1), -EBADF);
    assert_int_equal(asyncore_getsockname(D(a), &addr), -EBADF);
    assert_int_equal(asyncore_set_reuse_addr(D(a)), -EBADF);
    assert_int_equal(asyncore_add_channel(D(a), NULL), -EBADF);
    assert_int_equal(asyncore_del_channel(D(a)), -EBADF);
    assert_int_equal(asyncore_read(D(a)), -EBADF);
    assert_int_equal(asyncore_write(D(a)), -EBADF);
    assert_int_equal(asyncore_exception(D(a)), -EBADF);
    assert_int_equal(asyncore_readwrite(D(a), POLLHUP), -EBADF);
    assert_trace("");
    close(peer);
}

static void
close_of_no_channel_is_einval(void **state)
{
    (void)state;
    struct asyncore_dispatcher never;
    memset(&never, 0, sizeof never);
    assert_int_equal(asyncore_close(NULL), -EINVAL);
    assert_int_equal(asyncore_close(&never), -EINVAL);
}

static void
close_that_fails_has_closed_all_the_same(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    kit_fail(KIT_CLOSE, D(a)->fd, 1, 1, -EIO);
    assert_int_equal(asyncore_close(D(a)), -EIO);
    assert_int_equal(D(a)->fd, -1);
    assert_int_equal(asyncore_close(D(a)), 0);
    kit_pass();
    assert_trace("a.destroy\n");
    close(peer);
}

static void
close_of_a_descriptor_closed_behind_us_is_fine(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    kit_pass();
    close(D(a)->fd);
    assert_int_equal(asyncore_close(D(a)), 0);
    kit_pass();
    assert_trace("a.destroy\n");
    close(peer);
}

static void
close_all_stops_at_a_failure_unless_told_to_ignore_it(void **state)
{
    (void)state;
    open_two(0);
    kit_fail(KIT_CLOSE, D(two.a)->fd, 1, 1, -EIO);
    assert_int_equal(asyncore_close_all(kit.map, false), -EIO);
    assert_int_equal(two.a->destroyed, 1);
    assert_int_equal(two.b->destroyed, 0);
    assert_int_equal(asyncore_map_count(kit.map), 1);
    kit_fail(KIT_CLOSE, D(two.b)->fd, 1, 1, -EIO);
    assert_int_equal(asyncore_close_all(kit.map, true), 0);
    assert_int_equal(two.b->destroyed, 1);
    close_peers();
}

static void
detached_descriptor_lives_on(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    kit_pass();
    int number = D(a)->fd;
    int fd = asyncore_detach(D(a));
    assert_int_equal(fd, number);
    assert_int_equal(D(a)->fd, -1);
    kit_write(peer, "x", 1);
    kit_pass();
    assert_trace("a.destroy\n");
    char byte;
    assert_int_equal(read(fd, &byte, 1), 1);
    /* Another channel may have it. */
    struct chan *b = chan_open("b", 0, fd);
    kit_write(peer, "y", 1);
    kit_pass();
    assert_trace("b.handle_read\n"
                 "b.recv 1\n");
    assert_int_equal(b->destroyed, 0);
    close(peer);
}

/* ---- the connection ends ---- */

static int
react_reconnect(struct chan *c)
{
    int fd[2];
    asyncore_close(D(c));
    kit_pair(AF_UNIX, fd);
    c->value = fd[1];
    c->react[ON_CLOSE] = NULL;
    return asyncore_set_socket(D(c), fd[0]);
}

static void
reconnect_in_handle_close_is_not_destroyed(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    a->react[ON_CLOSE] = react_reconnect;
    kit_write(peer, "1", 1);
    kit_pass();
    close(peer);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.recv 1\n"
                 "a.handle_read\n"
                 "a.handle_close\n");
    kit_pass();
    assert_int_equal(a->destroyed, 0);
    assert_true(D(a)->fd >= 0);
    kit_write(a->value, "2", 1);
    kit_pass();
    assert_string_equal(text_get(&a->in), "12");
    text_clear(&kit.trace);
    close(a->value);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.handle_close\n"
                 "a.destroy\n");
}

static void
reconnect_after_close_outside_is_not_destroyed(void **state)
{
    (void)state;
    int peer, fd[2];
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    asyncore_close(D(a));
    kit_pair(AF_UNIX, fd);
    assert_int_equal(asyncore_set_socket(D(a), fd[0]), 0);
    kit_pass();
    assert_int_equal(a->destroyed, 0);
    asyncore_close(D(a));
    kit_pass();
    assert_trace("a.destroy\n");
    close(peer);
    close(fd[1]);
}

static void
close_in_handle_close_twice_is_one_destroy(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    close(peer);
    a->react[ON_CLOSE] = react_close;
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.handle_close\n"
                 "a.destroy\n");
}

static void
handle_close_that_does_not_close_is_told_once(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_WRITE, AF_INET, &peer);
    a->react[ON_CLOSE] = react_nothing;
    kit_pass(); /* the writable one */
    text_clear(&kit.trace);
    kit_reset(peer);
    RUN_UNTIL(a->events[ON_CLOSE] > 0);
    text_clear(&kit.trace);
    for (int i = 0; i < 5; i++) {
        kit_pass();
    }
    assert_int_equal(a->events[ON_CLOSE], 1);
    assert_int_equal(asyncore_send(D(a), "x", 1), 0);
    assert_int_equal(a->events[ON_CLOSE], 1);
    assert_true(D(a)->fd >= 0);
    asyncore_close(D(a));
}

static void
eof_that_is_not_closed_is_not_reported_for_ever(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    a->react[ON_CLOSE] = react_nothing;
    close(peer);
    for (int i = 0; i < 5; i++) {
        kit_pass();
    }
    assert_trace("a.handle_read\n"
                 "a.handle_close\n");
}

static void
assert_silent_after_reset(unsigned flags)
{
    int peer;
    struct chan *a = kit_pair_chan("a", flags, AF_INET, &peer);
    a->react[ON_CLOSE] = react_nothing;
    kit_reset(peer);
    RUN_UNTIL(a->events[ON_CLOSE] == 1);
    text_clear(&kit.trace);
    for (int i = 0; i < 5; i++) {
        kit_pass();
    }
    assert_trace("");
    /* Nothing is ready: the wait takes its time. */
    kit_advance(0);
    int64_t time = kit.world.time;
    assert_int_equal(asyncore_poll(7, kit.map), 0);
    assert_true(kit.world.time - time == INT64_C(7000000000));
    asyncore_close(D(a));
}

static void
reset_that_is_not_closed_is_not_reported_for_ever(void **state)
{
    (void)state;
    assert_silent_after_reset(0);
    assert_silent_after_reset(REC_WRITE);
    assert_silent_after_reset(REC_WRITE | REC_EXPT | REC_EOF);
}

static int
react_send(struct chan *c)
{
    assert_int_equal(asyncore_send(D(c), "bye", 3), 0);
    asyncore_close(D(c));
    return 0;
}

static void
send_in_handle_close_of_a_broken_one_does_not_recurse(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    a->react[ON_CLOSE] = react_send;
    close(peer);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.handle_close\n"
                 "a.destroy\n");
}

static void
close_in_handle_error_hears_no_handle_close(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    a->value = EIO;
    a->react[ON_READ] = react_fail;
    a->react[ON_ERROR] = react_close;
    kit_write(peer, "x", 1);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.handle_error EIO handle_read handle_read\n"
                 "a.destroy\n");
    close(peer);
}

/* ---- while connecting, accepting ---- */

static void
close_in_handle_connect_is_final(void **state)
{
    (void)state;
    int port;
    int listener = kit_listener(AF_INET, &port);
    struct chan *a = chan_socket("a", REC_WRITE, AF_INET, SOCK_STREAM);
    a->react[ON_CONNECT] = react_close;
    assert_int_equal(asyncore_connect(D(a), "127.0.0.1", port), 0);
    RUN_UNTIL(a->destroyed);
    assert_trace("a.handle_connect\n"
                 "a.destroy\n");
    close(listener);
}

static void
close_while_connecting_is_final(void **state)
{
    (void)state;
    int port;
    int listener = kit_listener(AF_INET, &port);
    struct chan *a = chan_socket("a", REC_WRITE, AF_INET, SOCK_STREAM);
    assert_int_equal(asyncore_connect(D(a), "127.0.0.1", port), 0);
    asyncore_close(D(a));
    kit_pass();
    kit_pass();
    assert_trace("a.destroy\n");
    close(listener);
}

static int
accepted_close_listener(struct chan *c, int fd,
                        const struct asyncore_addr *addr)
{
    (void)addr;
    close(fd);
    return asyncore_close(D(c));
}

static void
close_in_handle_accepted_ends_the_batch(void **state)
{
    (void)state;
    struct chan *l = chan_listen("l", 0, AF_INET);
    int client[3];
    for (int i = 0; i < 3; i++) {
        client[i] = kit_connect(chan_port(l));
    }
    l->accepted = accepted_close_listener;
    RUN_UNTIL(l->destroyed);
    assert_trace("l.handle_accepted\n"
                 "l.destroy\n");
    for (int i = 0; i < 3; i++) {
        close(client[i]);
    }
}

/* ---- nested loops ---- */

static int
react_close_peer_and_loop(struct chan *c)
{
    asyncore_close(D(c->peer));
    kit_trace("in");
    assert_int_equal(asyncore_loop(0, false, kit.map, 3), 0);
    assert_int_equal(asyncore_poll(0, kit.map), 0);
    assert_int_equal(c->peer->destroyed, 0);
    assert_int_equal(D(c->peer)->fd, -1);
    kit_trace("out");
    return 0;
}

static void
nested_loop_does_not_destroy(void **state)
{
    (void)state;
    open_two(0);
    two.a->react[ON_TIMEOUT] = react_close_peer_and_loop;
    kit_pass();
    text_clear(&kit.trace);
    kit_advance(0);
    assert_int_equal(asyncore_set_timeout(D(two.a), 5), 0);
    kit_advance(6);
    kit_pass();
    assert_trace("a.handle_timeout\n"
                 "in\n"
                 "out\n"
                 "b.destroy\n");
    close_peers();
}

static int
react_loop_once(struct chan *c)
{
    c->react[ON_READ] = NULL; /* the inner one reads */
    kit_trace("in");
    assert_int_equal(asyncore_poll(0, kit.map), 0);
    kit_trace("out %d", D(c)->fd >= 0);
    return 0;
}

static void
close_in_nested_pass_drops_events_of_the_outer_batch(void **state)
{
    (void)state;
    open_two(0);
    two.a->react[ON_READ] = react_loop_once;
    two.b->react[ON_READ] = react_close;
    kit_pass();
    assert_trace("a.handle_read\n"
                 "in\n"
                 "a.handle_read\n"
                 "a.recv 1\n"
                 "b.handle_read\n"
                 "out 1\n" /* and b is not read again by the outer one */
                 "b.destroy\n");
    close_peers();
}

static int
react_loop_once_and_close(struct chan *c)
{
    c->react[ON_READ] = react_close;
    kit_trace("in");
    assert_int_equal(asyncore_poll(0, kit.map), 0);
    kit_trace("out %d", D(c)->fd);
    return 0;
}

static void
close_of_itself_in_nested_pass_keeps_the_object(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_WRITE, AF_UNIX, &peer);
    kit_write(peer, "x", 1);
    a->react[ON_READ] = react_loop_once_and_close;
    kit_pass();
    assert_trace("a.handle_read\n"
                 "in\n"
                 "a.handle_read\n"
                 "out -1\n"
                 "a.destroy\n");
    close(peer);
}

/* ---- in the predicates ---- */

static void
close_itself_in_readable_waits_for_nothing(void **state)
{
    (void)state;
    open_two(REC_ASK);
    two.a->react[ON_READABLE] = react_close;
    kit_pass();
    assert_trace("a.readable\n"
                 "b.readable\n"
                 "b.writable\n"
                 "b.handle_read\n"
                 "b.recv 1\n"
                 "a.destroy\n");
    close_peers();
}

static void
close_itself_in_writable_waits_for_nothing(void **state)
{
    (void)state;
    open_two(REC_ASK);
    two.a->react[ON_WRITABLE] = react_close;
    kit_pass();
    assert_trace("a.readable\n"
                 "a.writable\n"
                 "b.readable\n"
                 "b.writable\n"
                 "b.handle_read\n"
                 "b.recv 1\n"
                 "a.destroy\n");
    close_peers();
}

static void
close_of_the_next_in_readable_is_not_asked(void **state)
{
    (void)state;
    open_two(REC_ASK);
    two.a->react[ON_READABLE] = react_close_peer;
    kit_pass();
    assert_trace("a.readable\n"
                 "a.writable\n"
                 "a.handle_read\n"
                 "a.recv 1\n"
                 "b.destroy\n");
    close_peers();
}

static void
close_of_one_that_was_asked_is_not_served(void **state)
{
    (void)state;
    open_two(REC_ASK);
    two.b->react[ON_READABLE] = react_close_peer;
    kit_pass();
    assert_trace("a.readable\n"
                 "a.writable\n"
                 "b.readable\n"
                 "b.writable\n"
                 "b.handle_read\n"
                 "b.recv 1\n"
                 "a.destroy\n");
    close_peers();
}

static int
react_replace_self(struct chan *c)
{
    c->react[ON_READABLE] = NULL;
    int number = D(c)->fd;
    asyncore_close(D(c));
    int fd[2];
    kit_pair(AF_UNIX, fd);
    c->value = fd[1];
    assert_int_equal(fd[0], number);
    assert_int_equal(asyncore_set_socket(D(c), fd[0]), 0);
    return 0;
}

static void
new_socket_in_readable_is_asked_again_in_the_next_pass(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_ASK, AF_UNIX, &peer);
    a->react[ON_READABLE] = react_replace_self;
    kit_pass();
    text_clear(&kit.trace);
    kit_write(a->value, "x", 1);
    kit_pass();
    assert_trace("a.readable\n"
                 "a.writable\n"
                 "a.handle_read\n"
                 "a.recv 1\n");
    assert_int_equal(a->destroyed, 0);
    close(a->value);
    close(peer);
}

static void
close_in_a_predicate_that_is_asked_on_touch(void **state)
{
    (void)state;
    open_two(REC_TOUCH);
    two.a->react[ON_READABLE] = react_close;
    two.b->react[ON_WRITABLE] = react_close;
    kit_pass();
    assert_trace("a.readable\n"
                 "b.readable\n"
                 "b.writable\n"
                 "a.destroy\n"
                 "b.destroy\n");
    close_peers();
}

/* ---- from timers and posts ---- */

static int
close_it(struct asyncore_map *map, void *arg)
{
    struct chan *c = arg;
    (void)map;
    kit_trace("close %s", c->name);
    return asyncore_close(D(c));
}

static void
close_in_a_timer_and_in_a_post_is_destroyed_in_that_pass(void **state)
{
    (void)state;
    open_two(0);
    two.a->react[ON_READ] = two.b->react[ON_READ] = react_nothing;
    assert_true(asyncore_call_later(kit.map, 0, close_it, two.a) > 0);
    assert_int_equal(asyncore_call_soon_threadsafe(kit.map, close_it, two.b),
                     0);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "b.handle_read\n"
                 "close b\n"
                 "close a\n"
                 "b.destroy\n"
                 "a.destroy\n");
    close_peers();
}

static void
close_forgets_its_timeout(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    kit_advance(0);
    assert_int_equal(asyncore_set_timeout(D(a), 1), 0);
    asyncore_close(D(a));
    kit_advance(10);
    kit_pass();
    kit_pass();
    assert_trace("a.destroy\n");
    close(peer);
}

static void
close_in_handle_timeout_is_final(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    a->react[ON_TIMEOUT] = react_close;
    kit_advance(0);
    assert_int_equal(asyncore_set_timeout(D(a), 1), 0);
    kit_advance(10);
    kit_pass();
    kit_advance(10);
    kit_pass();
    assert_trace("a.handle_timeout\n"
                 "a.destroy\n");
    close(peer);
}

static void
close_in_handle_eof_is_final(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", REC_EOF | REC_WRITE, AF_UNIX, &peer);
    a->react[ON_EOF] = react_close;
    close(peer);
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.handle_eof\n"
                 "a.destroy\n");
}

/* ---- between maps ---- */

static void
channel_taken_out_hears_nothing_and_can_be_closed(void **state)
{
    (void)state;
    open_two(0);
    assert_int_equal(asyncore_del_channel(D(two.a)), 0);
    assert_int_equal(asyncore_del_channel(D(two.a)), 0);
    assert_int_equal(asyncore_map_count(kit.map), 1);
    kit_pass();
    assert_trace("b.handle_read\n"
                 "b.recv 1\n");
    assert_int_equal(asyncore_map_free(kit.map), -EBUSY);
    asyncore_close(D(two.a));
    kit_pass();
    assert_trace("a.destroy\n");
    close_peers();
}

static void
channel_moved_to_another_map_is_destroyed_there(void **state)
{
    (void)state;
    struct asyncore_map *map;
    open_two(0);
    assert_int_equal(asyncore_map_create(NULL, &map), 0);
    kit_pass();
    text_clear(&kit.trace);
    assert_int_equal(asyncore_add_channel(D(two.a), map), -EBUSY);
    assert_int_equal(asyncore_del_channel(D(two.a)), 0);
    assert_int_equal(asyncore_add_channel(D(two.a), map), 0);
    assert_ptr_equal(D(two.a)->map, map);
    kit_write(two.pa, "1", 1);
    kit_pass();
    assert_trace("");
    assert_int_equal(asyncore_poll(0, map), 0);
    assert_trace("a.handle_read\n"
                 "a.recv 1\n");
    asyncore_close(D(two.a));
    kit_pass();
    assert_trace("");
    assert_int_equal(asyncore_map_free(map), 0);
    assert_trace("a.destroy\n");
    close_peers();
}

/* Move to another map in the middle of a batch of this one. */
static struct asyncore_map *elsewhere;

static int
react_move_peer(struct chan *c)
{
    assert_int_equal(asyncore_del_channel(D(c->peer)), 0);
    assert_int_equal(asyncore_add_channel(D(c->peer), elsewhere), 0);
    return react_read(c);
}

static void
channel_moved_in_the_batch_is_served_by_its_new_map_only(void **state)
{
    (void)state;
    open_two(0);
    assert_int_equal(asyncore_map_create(NULL, &elsewhere), 0);
    two.a->react[ON_READ] = react_move_peer;
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.recv 1\n");
    assert_int_equal(asyncore_poll(0, elsewhere), 0);
    assert_trace("b.handle_read\n"
                 "b.recv 1\n");
    assert_int_equal(asyncore_close_all(elsewhere, false), 0);
    assert_trace("b.destroy\n");
    assert_int_equal(asyncore_map_free(elsewhere), 0);
    close_peers();
}

static void
move_b(struct asyncore_dispatcher *d)
{
    kit_trace("%s.destroy", chan_of(d)->name);
    chan_of(d)->destroyed++;
    assert_int_equal(asyncore_del_channel(D(two.b)), 0);
    assert_int_equal(asyncore_add_channel(D(two.b), elsewhere), 0);
}

/* All three wait to be looked at when the first one goes. */
static void
channel_moved_in_a_destroy_takes_nobody_along(void **state)
{
    (void)state;
    int peer;
    open_two(0);
    struct chan *c = kit_pair_chan("c", 0, AF_UNIX, &peer);
    kit_write(peer, "z", 1);
    assert_int_equal(asyncore_map_create(NULL, &elsewhere), 0);
    two.a->ops.destroy = move_b;
    asyncore_close(D(two.a));
    assert_int_equal(asyncore_close_all(elsewhere, false), 0);
    assert_int_equal(asyncore_loop(0, false, kit.map, 0), 0); /* a sweep */
    assert_trace("a.destroy\n");
    kit_pass();
    assert_trace("c.handle_read\n"
                 "c.recv 1\n");
    assert_int_equal(asyncore_touch(D(two.b)), 0);
    assert_int_equal(asyncore_poll(0, elsewhere), 0);
    assert_trace("b.handle_read\n"
                 "b.recv 1\n");
    assert_int_equal(c->destroyed, 0);
    assert_int_equal(asyncore_close_all(elsewhere, false), 0);
    assert_int_equal(asyncore_map_free(elsewhere), 0);
    close_peers();
    close(peer);
}

static int
react_move_peer_once(struct chan *c)
{
    c->react[ON_READABLE] = NULL;
    assert_int_equal(asyncore_del_channel(D(c->peer)), 0);
    assert_int_equal(asyncore_add_channel(D(c->peer), elsewhere), 0);
    return 0;
}

static void
channel_moved_in_a_predicate_takes_nobody_along(void **state)
{
    (void)state;
    int peer;
    open_two(REC_TOUCH | REC_QUIET);
    struct chan *c = kit_pair_chan("c", 0, AF_UNIX, &peer);
    kit_write(peer, "z", 1);
    assert_int_equal(asyncore_map_create(NULL, &elsewhere), 0);
    two.a->react[ON_READABLE] = react_move_peer_once;
    kit_pass();
    assert_trace("a.handle_read\n"
                 "a.recv 1\n"
                 "c.handle_read\n"
                 "c.recv 1\n");
    assert_int_equal(c->destroyed, 0);
    assert_int_equal(asyncore_touch(D(two.b)), 0);
    assert_int_equal(asyncore_poll(0, elsewhere), 0);
    assert_trace("b.handle_read\n"
                 "b.recv 1\n");
    assert_int_equal(asyncore_close_all(elsewhere, false), 0);
    assert_int_equal(asyncore_map_free(elsewhere), 0);
    close_peers();
    close(peer);
}

static bool is_asked;

static bool
is_readable_elsewhere(struct asyncore_dispatcher *d)
{
    is_asked = true;
    assert_int_equal(asyncore_del_channel(d), 0);
    assert_int_equal(asyncore_add_channel(d, elsewhere), 0);
    assert_int_equal(asyncore_close_all(elsewhere, false), 0);
    is_asked = false;
    return false;
}

static void
is_not_asked(struct asyncore_dispatcher *d)
{
    (void)d;
    assert_false(is_asked);
}

/* Nobody is running there, but here we are in the middle of it. */
static void
channel_closed_elsewhere_by_its_predicate_outlives_it(void **state)
{
    (void)state;
    static const struct asyncore_ops ops[] = {
        {.readable = is_readable_elsewhere, .destroy = is_not_asked},
        {.writable = is_readable_elsewhere,
         .destroy = is_not_asked,
         .flags = ASYNCORE_ASK_ON_TOUCH},
    };
    for (size_t i = 0; i < COUNT(ops); i++) {
        int fd[2];
        kit_pair(AF_UNIX, fd);
        assert_int_equal(asyncore_map_create(NULL, &elsewhere), 0);
        assert_int_equal(
            asyncore_dispatcher_new(&ops[i], fd[0], kit.map, NULL), 0);
        kit_pass();
        assert_int_equal(asyncore_map_count(elsewhere), 0);
        assert_int_equal(asyncore_map_free(elsewhere), 0);
        close(fd[1]);
    }
}

static struct asyncore_addr last_addr;

static void
note_addr(struct asyncore_dispatcher *d)
{
    assert_int_equal(asyncore_getaddr(d, &last_addr), 0);
}

static void
address_is_known_in_destroy(void **state)
{
    (void)state;
    static const struct asyncore_ops ops = {.destroy = note_addr};
    struct asyncore_dispatcher *d;
    last_addr.len = 0;
    assert_int_equal(asyncore_dispatcher_new(&ops, -1, kit.map, &d), 0);
    assert_int_equal(asyncore_create_socket(d, AF_INET, SOCK_STREAM), 0);
    assert_int_equal(asyncore_bind(d, "127.0.0.1", 0), 0);
    assert_int_equal(asyncore_listen(d, 1), 0);
    assert_int_equal(asyncore_close(d), 0);
    kit_pass();
    assert_int_equal(last_addr.u.in.sin_family, AF_INET);
    assert_int_not_equal(last_addr.u.in.sin_port, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(close_inside_handle_read_drops_later_events),
        KIT_TEST(close_inside_readwrite_drops_later_steps),
        KIT_TEST(close_inside_handle_write_drops_expt_and_hangup),
        KIT_TEST(close_peer_in_same_batch),
        KIT_TEST(close_of_one_already_served_in_same_batch),
        KIT_TEST(close_all_in_a_handler_drops_the_batch),
        KIT_TEST(close_of_many_in_same_batch),
        KIT_TEST(reopened_fd_gets_no_old_event),
        KIT_TEST(reopened_fd_that_is_waited_for_gets_no_old_event),
        KIT_TEST(reopened_fd_is_not_blamed_for_the_old_ones_closing),
        KIT_TEST(channel_with_a_new_socket_gets_no_old_event),
        KIT_TEST(dup_of_a_closed_descriptor_makes_no_events),
        KIT_TEST(double_close_is_one_destroy),
        KIT_TEST(address_is_known_in_destroy),
        KIT_TEST(free_in_destroy),
        KIT_TEST(library_memory_is_released_after_destroy),
        KIT_TEST(close_in_destroy_destroys_that_one_too),
        KIT_TEST(channel_made_in_destroy_lives),
        KIT_TEST(loop_in_destroy_ends),
        KIT_TEST(map_free_in_destroy_is_ebusy),
        KIT_TEST(map_free_in_a_handler_is_ebusy),
        KIT_TEST(close_outside_is_destroyed_in_the_next_pass),
        KIT_TEST(close_outside_is_destroyed_by_map_free),
        KIT_TEST(close_outside_is_destroyed_by_close_all),
        KIT_TEST(closed_channel_has_no_state_but_its_address),
        KIT_TEST(closed_channel_refuses_everything_and_tells_nobody),
        KIT_TEST(close_of_no_channel_is_einval),
        KIT_TEST(close_that_fails_has_closed_all_the_same),
        KIT_TEST(close_of_a_descriptor_closed_behind_us_is_fine),
        KIT_TEST(close_all_stops_at_a_failure_unless_told_to_ignore_it),
        KIT_TEST(detached_descriptor_lives_on),
        KIT_TEST(reconnect_in_handle_close_is_not_destroyed),
        KIT_TEST(reconnect_after_close_outside_is_not_destroyed),
        KIT_TEST(close_in_handle_close_twice_is_one_destroy),
        KIT_TEST(handle_close_that_does_not_close_is_told_once),
        KIT_TEST(eof_that_is_not_closed_is_not_reported_for_ever),
        KIT_TEST(reset_that_is_not_closed_is_not_reported_for_ever),
        KIT_TEST(send_in_handle_close_of_a_broken_one_does_not_recurse),
        KIT_TEST(close_in_handle_error_hears_no_handle_close),
        KIT_TEST(close_in_handle_connect_is_final),
        KIT_TEST(close_while_connecting_is_final),
        KIT_TEST(close_in_handle_accepted_ends_the_batch),
        KIT_TEST(nested_loop_does_not_destroy),
        KIT_TEST(close_in_nested_pass_drops_events_of_the_outer_batch),
        KIT_TEST(close_of_itself_in_nested_pass_keeps_the_object),
        KIT_TEST(close_itself_in_readable_waits_for_nothing),
        KIT_TEST(close_itself_in_writable_waits_for_nothing),
        KIT_TEST(close_of_the_next_in_readable_is_not_asked),
        KIT_TEST(close_of_one_that_was_asked_is_not_served),
        KIT_TEST(new_socket_in_readable_is_asked_again_in_the_next_pass),
        KIT_TEST(close_in_a_predicate_that_is_asked_on_touch),
        KIT_TEST(close_in_a_timer_and_in_a_post_is_destroyed_in_that_pass),
        KIT_TEST(close_forgets_its_timeout),
        KIT_TEST(close_in_handle_timeout_is_final),
        KIT_TEST(close_in_handle_eof_is_final),
        KIT_TEST(channel_taken_out_hears_nothing_and_can_be_closed),
        KIT_TEST(channel_moved_to_another_map_is_destroyed_there),
        KIT_TEST(channel_moved_in_the_batch_is_served_by_its_new_map_only),
        KIT_TEST(channel_moved_in_a_destroy_takes_nobody_along),
        KIT_TEST(channel_moved_in_a_predicate_takes_nobody_along),
        KIT_TEST(channel_closed_elsewhere_by_its_predicate_outlives_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
