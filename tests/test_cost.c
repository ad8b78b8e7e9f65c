/* SPDX-License-Identifier: MIT */
/* test_cost.c - what things cost, counted: system calls, allocations, bytes
 * of a channel.  No clock is looked at. */
#include <sys/resource.h>

#include "asynchat.h"
#include "await.h"
#include "kit.h"

enum {
    ROUNDS = 20
};

/* n channels, each with the test at the other end. */
struct crowd {
    size_t n;
    struct chan *chan[50];
    int peer[50];
};

static void
gather(struct crowd *crowd, size_t n, unsigned flags, bool senders,
       int (*on_read)(struct chan *c))
{
    crowd->n = n;
    for (size_t i = 0; i < n; i++) {
        int fd[2];
        char name[24];
        snprintf(name, sizeof name, "c%zu", i);
        kit_pair(AF_UNIX, fd);
        crowd->chan[i] = senders ? chan_open_sender(name, flags, fd[0])
                                 : chan_open(name, flags, fd[0]);
        crowd->chan[i]->react[ON_READ] = on_read;
        crowd->peer[i] = fd[1];
    }
}

static void
scatter(struct crowd *crowd)
{
    for (size_t i = 0; i < crowd->n; i++) {
        assert_int_equal(asyncore_close(D(crowd->chan[i])), 0);
        close(crowd->peer[i]);
    }
    kit_pass();
    text_clear(&kit.trace);
}

/* Each peer says something, and gets `back` bytes for it. */
static void
talk(struct crowd *crowd, size_t back)
{
    for (size_t i = 0; i < crowd->n; i++) {
        kit_write(crowd->peer[i], "hello", 5);
    }
    assert_int_equal(asyncore_poll(30, kit.map), 0);
    for (size_t i = 0; i < crowd->n; i++) {
        struct text got = {0};
        assert_true(kit_drain(crowd->peer[i], &got));
        assert_int_equal(got.len, back);
        text_clear(&got);
    }
    text_clear(&kit.trace);
}

static int
receive(struct chan *c)
{
    char buf[64];
    ssize_t n = asyncore_recv(D(c), buf, sizeof buf);
    return n < 0 ? (int)n : 0;
}

/* How often an io_uring was entered without a wait: for what was to be sent
 * after the last pass, and for twenty or so completions each.  Others have no
 * such calls. */
static unsigned long
submits(size_t rounds, size_t n)
{
    unsigned long calls = kit.world.calls[KIT_URING_SUBMIT];
    bool io_uring = strcmp(asyncore_map_backend(kit.map), "io_uring") == 0;
    assert_in_range(calls, 0, io_uring ? rounds * (1 + n / 16) : 0);
    return calls;
}

/* A steady state: in each round one wait, and these calls for each. */
static void
assert_steady(struct crowd *crowd, size_t back, unsigned long recvs,
              unsigned long sends)
{
    talk(crowd, back); /* to warm up */
    unsigned long allocations = kit.alloc.count, live = kit.alloc.live;
    kit_count_anew();
    for (int i = 0; i < ROUNDS; i++) {
        talk(crowd, back);
    }
    assert_int_equal(kit.world.calls[kit_wait_call()], ROUNDS);
    assert_int_equal(kit.world.calls[KIT_RECV], ROUNDS * crowd->n * recvs);
    assert_int_equal(kit.world.calls[KIT_SEND], ROUNDS * crowd->n * sends);
    assert_int_equal(kit.world.total - submits(ROUNDS, crowd->n),
                     ROUNDS * (1 + crowd->n * (recvs + sends)));
    assert_int_equal(kit.alloc.count, allocations);
    assert_int_equal(kit.alloc.live, live);
}

static void
echo_costs_a_recv_and_a_send_for_each_and_a_wait_for_all(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 50};
    struct crowd crowd;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        gather(&crowd, sizes[i], 0, true, react_echo);
        assert_steady(&crowd, 5, 1, 1);
        scatter(&crowd);
    }
}

static void
echo_of_a_class_with_predicates_costs_the_same(void **state)
{
    (void)state;
    static const unsigned flags[] = {REC_ASK | REC_QUIET,
                                     REC_TOUCH | REC_QUIET};
    struct crowd crowd;
    for (size_t i = 0; i < COUNT(flags); i++) {
        gather(&crowd, 10, flags[i], true, react_echo);
        assert_steady(&crowd, 5, 1, 1);
        scatter(&crowd);
    }
}

static void
read_costs_a_recv_and_no_memory(void **state)
{
    (void)state;
    struct crowd crowd;
    gather(&crowd, 10, 0, false, receive);
    assert_steady(&crowd, 0, 1, 0);
    scatter(&crowd);
}

/* ---- conversations ---- */

static int
answer_line(struct asynchat *chat)
{
    struct asyncore_bytes line = asynchat_get_data(chat);
    struct iovec answer[] = {
        {(void *)(uintptr_t)line.data, line.len},
        {(void *)(uintptr_t) "\r\n", 2},
    };
    return asynchat_pushv(chat, answer, 2);
}

static const struct asynchat_ops answering = {
    .base.name = "answering",
    .found_terminator = answer_line,
};

/* All say `lines` short lines at once, and get them back. */
static void
converse(const int *peer, size_t n, size_t lines)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < lines; k++) {
            kit_write(peer[i], "a line\r\n", 8);
        }
    }
    assert_int_equal(asyncore_poll(30, kit.map), 0);
    for (size_t i = 0; i < n; i++) {
        struct text got = {0};
        assert_true(kit_drain(peer[i], &got));
        assert_int_equal(got.len, 8 * lines);
        text_clear(&got);
    }
}

static void
lines_cost_a_recv_and_a_send_and_no_memory(void **state)
{
    (void)state;
    enum {
        CHATS = 50,
        LINES = 16
    };
    static struct asynchat chat[CHATS];
    int peer[CHATS];
    for (size_t i = 0; i < CHATS; i++) {
        int fd[2];
        kit_pair(AF_UNIX, fd);
        peer[i] = fd[1];
        assert_int_equal(asynchat_init(&chat[i], &answering, fd[0], kit.map),
                         0);
        assert_int_equal(asynchat_set_terminator(&chat[i], "\r\n", 2), 0);
    }
    converse(peer, CHATS, LINES); /* to warm up */
    unsigned long allocations = kit.alloc.count, live = kit.alloc.live;
    kit_count_anew();
    for (int i = 0; i < ROUNDS; i++) {
        converse(peer, CHATS, i % 2 == 0 ? LINES : 1);
    }
    assert_int_equal(kit.world.calls[KIT_RECV], ROUNDS * CHATS);
    assert_int_equal(kit.world.total - submits(ROUNDS, CHATS),
                     ROUNDS * (1 + 2 * CHATS));
    assert_int_equal(kit.alloc.count, allocations);
    assert_int_equal(kit.alloc.live, live);
    for (size_t i = 0; i < CHATS; i++) {
        assert_int_equal(asyncore_close(&chat[i].base), 0);
        close(peer[i]);
    }
}

static void
line_that_is_cut_costs_one_allocation(void **state)
{
    (void)state;
    struct asynchat chat;
    int fd[2];
    kit_pair(AF_UNIX, fd);
    assert_int_equal(asynchat_init(&chat, &answering, fd[0], kit.map), 0);
    assert_int_equal(asynchat_set_terminator(&chat, "\r\n", 2), 0);
    converse(&fd[1], 1, 1); /* to warm up */
    unsigned long allocations = kit.alloc.count, live = kit.alloc.live;
    for (int i = 1; i <= ROUNDS; i++) {
        struct text got = {0};
        for (const char *at = "a line\r\n"; *at != '\0'; at += 2) {
            kit_write(fd[1], at, 2);
            assert_int_equal(asyncore_poll(30, kit.map), 0);
        }
        assert_true(kit_drain(fd[1], &got));
        assert_string_equal(text_get(&got), "a line\r\n");
        text_clear(&got);
        assert_int_equal(kit.alloc.count, allocations + (unsigned)i);
        assert_int_equal(kit.alloc.live, live);
    }
    assert_int_equal(asyncore_close(&chat.base), 0);
    kit_pass(); /* it is destroyed */
    close(fd[1]);
}

/* ---- idle channels ---- */

static int
raise_limit(rlim_t n)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < n) {
        limit.rlim_cur = n;
        return setrlimit(RLIMIT_NOFILE, &limit);
    }
    return 0;
}

/* What a pass costs that has nothing to do, and one that has one echo. */
static void
measure(struct crowd *crowd, unsigned long ret[2][KIT_NCALLS])
{
    kit_pass();
    kit_count_anew();
    kit_pass();
    memcpy(ret[0], kit.world.calls, sizeof kit.world.calls);
    kit_count_anew();
    talk(crowd, 5);
    memcpy(ret[1], kit.world.calls, sizeof kit.world.calls);
}

static void
idle_channels_by_the_thousand_cost_no_calls(void **state)
{
    (void)state;
    enum {
        IDLE = 1000
    };
    static struct asyncore_dispatcher idle[IDLE];
    unsigned long alone[2][KIT_NCALLS], among[2][KIT_NCALLS];
    struct crowd crowd;
    if (raise_limit(1060) < 0) {
        skip();
    }
    gather(&crowd, 1, 0, true, react_echo);
    measure(&crowd, alone);
    for (size_t i = 0; i < IDLE; i++) {
        assert_int_equal(asyncore_dispatcher_init(&idle[i], NULL, -1, kit.map),
                         0);
        assert_int_equal(asyncore_create_socket(&idle[i], AF_UNIX, SOCK_DGRAM),
                         0);
    }
    measure(&crowd, among);
    assert_memory_equal(alone, among, sizeof alone);
    unsigned long allocations = kit.alloc.count;
    kit_pass();
    assert_int_equal(kit.alloc.count, allocations);
    close(crowd.peer[0]);
    assert_int_equal(asyncore_close_all(kit.map, false), 0);
}

static void
idle_channels_are_not_looked_at(void **state)
{
    (void)state;
    struct crowd crowd;
    gather(&crowd, 20, REC_TOUCH, false, receive);
    kit_pass();
    text_clear(&kit.trace);
    kit_write(crowd.peer[7], "x", 1);
    kit_pass();
    assert_trace("c7.handle_read\n");
    kit_pass();
    assert_trace("c7.readable\nc7.writable\n"); /* after its own event */
    kit_pass();
    assert_trace("");
    scatter(&crowd);
}

/* ---- interest ---- */

static void
interest_is_told_when_it_changes_and_only_then(void **state)
{
    (void)state;
    bool on_epoll = strcmp(asyncore_map_backend(kit.map), "epoll") == 0;
    struct crowd crowd;
    struct text got = {0};
    gather(&crowd, 1, 0, true, receive);
    struct asyncore_dispatcher *d = D(crowd.chan[0]);
    kit_pass();
    kit_count_anew();
    size_t size = 16 * 1024 * 1024;
    char *much = calloc(1, size);
    assert_non_null(much);
    assert_int_equal(asyncore_send(d, much, size), size);
    free(much);
    assert_true(asyncore_output_size(d) > 0);
    kit_pass();
    assert_int_equal(kit.world.calls[KIT_EPOLL_CTL], on_epoll); /* to write */
    while (asyncore_output_size(d) > 0) {
        assert_true(kit_drain(crowd.peer[0], &got));
        assert_int_equal(asyncore_poll(10, kit.map), 0);
    }
    kit_pass();
    kit_pass();
    /* … to write no more, and, its queue having been long, to read again. */
    assert_in_range(kit.world.calls[KIT_EPOLL_CTL], 2 * on_epoll,
                    3 * on_epoll);
    text_clear(&got);
    scatter(&crowd);
}

static void
interest_of_a_channel_that_comes_and_goes_in_a_pass_is_not_told(void **state)
{
    (void)state;
    int fd[2];
    kit_pass();
    kit_count_anew();
    kit_pair(AF_UNIX, fd);
    struct chan *c = chan_open("c", 0, fd[0]);
    assert_int_equal(asyncore_close(D(c)), 0);
    kit_pass();
    assert_int_equal(kit.world.calls[KIT_EPOLL_CTL], 0);
    close(fd[1]);
}

/* ---- accepting ---- */

static void
accepting_costs_an_accept_for_each_and_one_more(void **state)
{
    (void)state;
    enum {
        CLIENTS = 10
    };
    bool on_epoll = strcmp(asyncore_map_backend(kit.map), "epoll") == 0;
    int client[CLIENTS];
    struct chan *s = chan_listen("s", 0, AF_INET);
    for (size_t i = 0; i < CLIENTS; i++) {
        client[i] = knock(s);
    }
    kit_pass(); /* the listener is told, and the connections are taken */
    assert_int_equal(s->born, CLIENTS);
    assert_int_equal(kit.world.calls[KIT_ACCEPT], CLIENTS + 1);
    kit_count_anew();
    kit_pass();
    assert_int_equal(kit.world.calls[KIT_EPOLL_CTL], on_epoll ? CLIENTS : 0);
    assert_int_equal(kit.world.total, 1 + kit.world.calls[KIT_EPOLL_CTL]);
    for (size_t i = 0; i < CLIENTS; i++) {
        close(client[i]);
    }
}

static void
adopting_an_accepted_connection_costs_no_calls(void **state)
{
    (void)state;
    struct chan *s = chan_listen("s", 0, AF_INET);
    kit_pass();
    int client = knock(s);
    kit_count_anew();
    kit_pass();
    assert_int_equal(s->born, 1);
    assert_int_equal(kit.world.calls[KIT_ACCEPT], 2);
    assert_int_equal(kit.world.total, 1 + 2);
    close(client);
}

/* ---- memory ---- */

static void
channel_takes_no_more_memory_than_it_says(void **state)
{
    (void)state;
    assert_true(sizeof(struct asyncore_dispatcher) <= 200);
    assert_true(sizeof(struct asyncore_file_dispatcher) ==
                sizeof(struct asyncore_dispatcher));
}

static void
channel_in_the_callers_memory_costs_no_allocation(void **state)
{
    (void)state;
    int fd[2];
    struct crowd crowd;
    gather(&crowd, 10, 0, true, receive); /* the map's tables have room now */
    kit_pass();
    scatter(&crowd);
    struct asyncore_dispatcher d;
    kit_pair(AF_INET, fd);
    unsigned long allocations = kit.alloc.count;
    assert_int_equal(asyncore_dispatcher_init(&d, NULL, fd[0], kit.map), 0);
    kit_pass();
    assert_int_equal(asyncore_close(&d), 0);
    kit_pass();
    assert_int_equal(kit.alloc.count, allocations);
    close(fd[1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(echo_costs_a_recv_and_a_send_for_each_and_a_wait_for_all),
        KIT_TEST(echo_of_a_class_with_predicates_costs_the_same),
        KIT_TEST(read_costs_a_recv_and_no_memory),
        KIT_TEST(lines_cost_a_recv_and_a_send_and_no_memory),
        KIT_TEST(line_that_is_cut_costs_one_allocation),
        KIT_TEST(idle_channels_by_the_thousand_cost_no_calls),
        KIT_TEST(idle_channels_are_not_looked_at),
        KIT_TEST(interest_is_told_when_it_changes_and_only_then),
        KIT_TEST(
            interest_of_a_channel_that_comes_and_goes_in_a_pass_is_not_told),
        KIT_TEST(accepting_costs_an_accept_for_each_and_one_more),
        KIT_TEST(adopting_an_accepted_connection_costs_no_calls),
        KIT_TEST(channel_takes_no_more_memory_than_it_says),
        KIT_TEST(channel_in_the_callers_memory_costs_no_allocation),
    };
    return cmocka_run_group_tests_name("cost", tests, NULL, NULL);
}
