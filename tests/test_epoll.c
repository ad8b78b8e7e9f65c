/* SPDX-License-Identifier: MIT */
/* test_epoll.c - what the epoll backend does by edges, and what it leaves to
 * the kernel when a socket is closed, can't be seen from above. */
#include "kit.h"

static unsigned long
controls(void)
{
    return kit.world.calls[KIT_EPOLL_CTL];
}

/* A TCP channel that is served by edges. */
static struct chan *
tcp_chan(const char *name, unsigned flags, int *ret_peer)
{
    struct chan *c = kit_pair_chan(name, flags, AF_INET, ret_peer);
    kit_pass();
    assert_true(kit.map->slots[D(c)->fd].scratch);
    kit_count_anew();
    return c;
}

/* ---- edges ---- */

static void
reading_to_the_end_needs_no_epoll_ctl(void **state)
{
    (void)state;
    int peer;
    struct chan *c = tcp_chan("a", 0, &peer);
    for (int i = 1; i <= 20; i++) {
        kit_write(peer, "hello", 5);
        kit_pass();
        assert_int_equal(c->in.len, 5 * i);
    }
    assert_int_equal(controls(), 0);
    assert_true(kit.map->slots[D(c)->fd].scratch);
    close(peer);
}

static void
what_is_left_unread_is_reported_again(void **state)
{
    (void)state;
    int peer;
    struct chan *c = tcp_chan("a", 0, &peer);
    c->chunk = 3;
    kit_write(peer, "hello world!", 12);
    for (int i = 1; i <= 4; i++) {
        kit_pass();
        assert_int_equal(c->in.len, 3 * i);
    }
    kit_pass();
    assert_int_equal(c->events[ON_READ], 4); /* and no more */
    assert_string_equal(text_get(&c->in), "hello world!");
    assert_int_equal(controls(), 1); /* from edges to levels, once */
    close(peer);
}

static void
who_does_not_read_is_told_in_every_pass(void **state)
{
    (void)state;
    int peer;
    struct chan *c = tcp_chan("a", 0, &peer);
    c->react[ON_READ] = react_nothing;
    kit_write(peer, "x", 1);
    for (unsigned i = 1; i <= 5; i++) {
        kit_pass();
        assert_int_equal(c->events[ON_READ], i);
    }
    assert_int_equal(controls(), 1);
    close(peer);
}

/* Another way than asyncore_recv(), for a part of it. */
static int
react_read_by_hand(struct chan *c)
{
    char two[2];
    ssize_t n = recv(D(c)->fd, two, sizeof two, 0);
    text_append(&c->in, two, n > 0 ? (size_t)n : 0);
    ssize_t sent = asyncore_send(D(c), "ok", 2); /* that it did something */
    return sent < 0 ? (int)sent : 0;
}

static void
who_reads_by_hand_loses_nothing(void **state)
{
    (void)state;
    int peer;
    struct chan *c = tcp_chan("a", 0, &peer);
    c->react[ON_READ] = react_read_by_hand;
    kit_write(peer, "abcdef", 6);
    RUN_UNTIL(c->in.len == 6);
    assert_string_equal(text_get(&c->in), "abcdef");
    kit_write(peer, "gh", 2);
    RUN_UNTIL(c->in.len == 8);
    close(peer);
}

static void
the_end_that_comes_with_the_last_bytes_is_seen(void **state)
{
    (void)state;
    int peer;
    struct chan *c = tcp_chan("a", 0, &peer);
    kit_write(peer, "bye", 3);
    close(peer);
    RUN_UNTIL(c->destroyed);
    assert_string_equal(text_get(&c->in), "bye");
    assert_int_equal(c->reason, 0);
}

static void
the_end_that_comes_between_event_and_receive_is_seen(void **state)
{
    (void)state;
    int peer, other_peer;
    struct chan *other = tcp_chan("other", 0, &other_peer);
    struct chan *c = tcp_chan("a", 0, &peer);
    /* `other` is served first, and closes c's peer when both are ready. */
    other->react[ON_READ] = react_close_peer;
    other->peer = chan_open("peer", 0, peer);
    kit_pass();
    kit_write(peer, "bye", 3);
    kit_write(other_peer, "x", 1);
    RUN_UNTIL(c->destroyed);
    assert_string_equal(text_get(&c->in), "bye");
    close(other_peer);
}

static void
bytes_behind_an_urgent_one_are_not_forgotten(void **state)
{
    (void)state;
    int peer;
    struct chan *c = tcp_chan("a", 0, &peer);
    kit_write(peer, "abc", 3);
    assert_int_equal(send(peer, "!", 1, MSG_OOB), 1);
    kit_write(peer, "def", 3);
    RUN_UNTIL(c->in.len == 6);
    assert_string_equal(text_get(&c->in), "abcdef");
    close(peer);
}

static void
events_left_by_an_exit_come_again(void **state)
{
    (void)state;
    int peer[2];
    struct chan *a = tcp_chan("a", 0, &peer[0]);
    struct chan *b = tcp_chan("b", 0, &peer[1]);
    a->react[ON_READ] = react_exit_now;
    kit_write(peer[0], "x", 1);
    kit_write(peer[1], "x", 1);
    assert_int_equal(asyncore_poll(0, kit.map), ASYNCORE_EXIT_NOW);
    assert_int_equal(b->events[ON_READ], 0);
    a->react[ON_READ] = react_read;
    kit_pass();
    assert_int_equal(a->in.len, 1);
    assert_int_equal(b->in.len, 1);
    close(peer[0]);
    close(peer[1]);
}

static int
react_nested_pass(struct chan *c)
{
    int err = react_read(c);
    return err < 0 ? err : asyncore_poll(0, kit.map);
}

static void
events_of_the_outer_pass_outlive_an_inner_one(void **state)
{
    (void)state;
    int peer[2];
    struct chan *a = tcp_chan("a", 0, &peer[0]);
    struct chan *b = tcp_chan("b", 0, &peer[1]);
    a->react[ON_READ] = react_nested_pass;
    b->chunk = 1;
    kit_write(peer[0], "x", 1);
    kit_write(peer[1], "yz", 2);
    kit_pass();
    RUN_UNTIL(a->in.len == 1 && b->in.len == 2);
    close(peer[0]);
    close(peer[1]);
}

static void
a_failed_change_to_levels_is_made_up_for(void **state)
{
    (void)state;
    int peer;
    struct chan *c = tcp_chan("a", 0, &peer);
    c->chunk = 1;
    kit_write(peer, "ab", 2);
    kit_pass();
    struct kit_fault *fault = kit_fail(KIT_EPOLL_CTL, -1, 1, 1, -ENOMEM);
    assert_int_equal(asyncore_poll(0, kit.map), -ENOMEM);
    assert_int_equal(fault->hits, 1);
    kit_pass();
    assert_string_equal(text_get(&c->in), "ab");
    close(peer);
}

static void
want_of_memory_for_reports_loses_no_edge(void **state)
{
    (void)state;
    enum {
        N = 40
    };
    int peer[N];
    struct chan *c[N];
    for (int i = 0; i < N; i++) {
        c[i] = tcp_chan("a", 0, &peer[i]);
        kit_write(peer[i], "x", 1);
    }
    kit_fail_alloc(1, 1);
    kit_pass();
    kit_fail_alloc(0, 0);
    kit_pass();
    for (int i = 0; i < N; i++) {
        assert_int_equal(c[i]->in.len, 1);
        close(peer[i]);
    }
}

static void
bytes_that_a_failed_receive_has_left_come_again(void **state)
{
    (void)state;
    int peer;
    struct chan *c = tcp_chan("a", 0, &peer);
    c->react[ON_ERROR] = react_nothing;
    kit_write(peer, "abc", 3);
    kit_fail(KIT_RECV, D(c)->fd, 1, 1, -ENOMEM);
    kit_pass();
    assert_int_equal(c->in.len, 0);
    assert_int_equal(c->events[ON_ERROR], 1);
    kit_pass();
    assert_string_equal(text_get(&c->in), "abc");
    close(peer);
}

static int
react_receive_of_peer(struct chan *c)
{
    char byte[8];
    assert_int_equal(asyncore_recv(D(c->peer), byte, sizeof byte), -EAGAIN);
    return asyncore_recv(D(c), byte, 1) == 1 ? 0 : -EPROTO;
}

/* What one instance had not settled is nobody's business after it. */
static void
another_backend_in_between_loses_no_edge(void **state)
{
    (void)state;
    int peer[2];
    struct chan *a = tcp_chan("a", 0, &peer[0]);
    struct chan *b = tcp_chan("b", 0, &peer[1]);
    a->chunk = 1;
    kit_write(peer[0], "xyz", 3);
    kit_pass(); /* of a, something is left */
    assert_int_equal(asyncore_map_set_backend(kit.map, "poll"), 0);
    a->chunk = 2;
    char rest[2];
    assert_int_equal(recv(D(a)->fd, rest, 2, 0), 2);
    assert_int_equal(asyncore_map_set_backend(kit.map, "epoll"), 0);
    kit_pass();
    b->peer = a;
    b->react[ON_READ] = react_receive_of_peer;
    kit_write(peer[1], "12", 2);
    kit_pass();
    kit_pass();
    assert_int_equal(b->events[ON_READ], 2); /* one byte in each */
    close(peer[0]);
    close(peer[1]);
}

/* It is nothing that the channel waits for. */
static void
urgent_byte_alone_keeps_no_idle_channel_alive(void **state)
{
    (void)state;
    int peer;
    struct chan *c = tcp_chan("a", 0, &peer);
    kit_advance(0);
    assert_int_equal(asyncore_set_timeout(D(c), 10), 0);
    kit_pass();
    kit_advance(6);
    assert_int_equal(send(peer, "!", 1, MSG_OOB), 1);
    kit_pass();
    kit_advance(5);
    kit_pass();
    kit_pass();
    assert_int_equal(c->events[ON_TIMEOUT], 1);
    close(peer);
}

static void
embedded_map_is_served_by_levels(void **state)
{
    (void)state;
    int peer;
    struct chan *c = tcp_chan("a", 0, &peer);
    int fd = asyncore_map_fileno(kit.map);
    assert_true(fd >= 0);
    c->chunk = 1;
    kit_write(peer, "ab", 2);
    kit_pass();
    double timeout;
    assert_int_equal(asyncore_prepare(kit.map, &timeout), 0);
    assert_true(kit_is_readable(fd)); /* for the "b" */
    kit_pass();
    assert_false(kit_is_readable(fd));
    close(peer);
}

/* A short receive does not mean of unix sockets that nothing is left. */
static void
accepted_unix_socket_is_served_by_levels(void **state)
{
    (void)state;
    struct chan *s = chan_socket("s", 0, AF_UNIX, SOCK_STREAM);
    struct asyncore_addr at = {.u.un.sun_family = AF_UNIX};
    char *name = at.u.un.sun_path + 1; /* abstract: after a zero */
    snprintf(name, 40, "asyncore-epoll-%ld", (long)getpid());
    at.len =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
    assert_int_equal(asyncore_bind_addr(D(s), &at.u.sa, at.len), 0);
    assert_int_equal(asyncore_listen(D(s), 8), 0);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, &at.u.sa, at.len), 0);
    RUN_UNTIL(s->last != NULL);
    kit_pass();
    assert_true((kit.map->slots[D(s->last)->fd].armed & ASYNCORE__READ) != 0);
    assert_false(kit.map->slots[D(s->last)->fd].scratch);
    close(fd);
}

static void
accepted_tcp_socket_is_served_by_edges(void **state)
{
    (void)state;
    struct chan *s = chan_listen("s", 0, AF_INET);
    int fd = kit_connect(chan_port(s));
    RUN_UNTIL(s->last != NULL);
    kit_pass();
    assert_true(kit.map->slots[D(s->last)->fd].scratch);
    close(fd);
}

/* ---- closing, and ghosts ---- */

static void
closing_a_socket_needs_no_epoll_ctl(void **state)
{
    (void)state;
    int peer;
    struct chan *c = tcp_chan("a", 0, &peer);
    asyncore_close(D(c));
    kit_pass();
    assert_int_equal(controls(), 0);
    close(peer);
}

static void
ghost_of_a_closed_socket_is_laid(void **state)
{
    (void)state;
    int peer, other_peer;
    struct chan *c = tcp_chan("a", 0, &peer);
    struct chan *other = tcp_chan("b", 0, &other_peer);
    int twin = dup(D(c)->fd); /* as a child of a fork has one */
    asyncore_close(D(c));
    kit_pass();
    kit_write(peer, "x", 1);
    kit_pass(); /* the ghost shows itself */
    kit_pass(); /* and is laid */
    assert_int_equal(kit.world.calls[KIT_EPOLL_CREATE], 1);
    kit_write(peer, "x", 1);
    kit_pass();
    kit_pass();
    assert_int_equal(kit.world.calls[KIT_EPOLL_CREATE], 1);
    kit_write(other_peer, "x", 1);
    kit_pass();
    assert_int_equal(other->in.len, 1);
    close(twin);
    close(peer);
    close(other_peer);
}

static void
without_a_descriptor_the_ghost_is_laid_later(void **state)
{
    (void)state;
    int peer, other_peer;
    struct chan *c = tcp_chan("a", 0, &peer);
    tcp_chan("b", 0, &other_peer); /* or there is nothing to wait for */
    int twin = dup(D(c)->fd);
    asyncore_close(D(c));
    kit_write(peer, "x", 1);
    kit_fail(KIT_EPOLL_CREATE, -1, 1, 1, -EMFILE);
    for (int i = 0; i < 4; i++) {
        kit_pass();
    }
    assert_int_equal(kit.world.calls[KIT_EPOLL_CREATE], 2);
    close(twin);
    close(peer);
    close(other_peer);
}

static void
number_of_a_shared_descriptor_stays(void **state)
{
    (void)state;
    int peer;
    struct chan *c = tcp_chan("a", 0, &peer);
    int fd = asyncore_map_fileno(kit.map);
    kit_count_anew();
    int twin = dup(D(c)->fd);
    asyncore_close(D(c));
    assert_int_equal(controls(), 1); /* so that there is no ghost */
    kit_write(peer, "x", 1);
    kit_pass();
    assert_false(kit_is_readable(fd));
    assert_int_equal(asyncore_map_fileno(kit.map), fd);
    assert_int_equal(kit.world.calls[KIT_EPOLL_CREATE], 0);
    close(twin);
    close(peer);
}

static void
sharing_lays_ghosts_that_have_not_shown_yet(void **state)
{
    (void)state;
    int peer;
    struct chan *c = tcp_chan("a", 0, &peer);
    int twin = dup(D(c)->fd);
    asyncore_close(D(c));
    kit_fail(KIT_EPOLL_CREATE, -1, 1, 1, -EMFILE);
    assert_int_equal(asyncore_map_fileno(kit.map), -EMFILE);
    int fd = asyncore_map_fileno(kit.map);
    assert_true(fd >= 0);
    kit_write(peer, "x", 1);
    assert_false(kit_is_readable(fd));
    close(twin);
    close(peer);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        KIT_TEST(reading_to_the_end_needs_no_epoll_ctl),
        KIT_TEST(what_is_left_unread_is_reported_again),
        KIT_TEST(who_does_not_read_is_told_in_every_pass),
        KIT_TEST(who_reads_by_hand_loses_nothing),
        KIT_TEST(the_end_that_comes_with_the_last_bytes_is_seen),
        KIT_TEST(the_end_that_comes_between_event_and_receive_is_seen),
        KIT_TEST(bytes_behind_an_urgent_one_are_not_forgotten),
        KIT_TEST(events_left_by_an_exit_come_again),
        KIT_TEST(events_of_the_outer_pass_outlive_an_inner_one),
        KIT_TEST(a_failed_change_to_levels_is_made_up_for),
        KIT_TEST(want_of_memory_for_reports_loses_no_edge),
        KIT_TEST(bytes_that_a_failed_receive_has_left_come_again),
        KIT_TEST(another_backend_in_between_loses_no_edge),
        KIT_TEST(urgent_byte_alone_keeps_no_idle_channel_alive),
        KIT_TEST(embedded_map_is_served_by_levels),
        KIT_TEST(accepted_unix_socket_is_served_by_levels),
        KIT_TEST(accepted_tcp_socket_is_served_by_edges),
        KIT_TEST(closing_a_socket_needs_no_epoll_ctl),
        KIT_TEST(ghost_of_a_closed_socket_is_laid),
        KIT_TEST(without_a_descriptor_the_ghost_is_laid_later),
        KIT_TEST(number_of_a_shared_descriptor_stays),
        KIT_TEST(sharing_lays_ghosts_that_have_not_shown_yet),
    };
    return cmocka_run_group_tests_name("epoll", tests, NULL, NULL);
}
