/* SPDX-License-Identifier: MIT */
/* test_fork.c - a map in the child of a fork(): it may be closed, and made
 * usable; in neither case does the parent notice. */
#include <poll.h>
#include <sys/wait.h>

#include "kit.h"

/* In the child, where a failed assert would run the rest of the tests. */
#define CHECK(condition)                                                     \
    do {                                                                     \
        if (!(condition)) {                                                  \
            fprintf(stderr, "%s:%d: in the child: %s\n", __FILE__, __LINE__, \
                    #condition);                                             \
            _exit(1);                                                        \
        }                                                                    \
    } while (0)

static void
wait_for(pid_t child)
{
    int status = -1;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* The end of a child: all that it has from its parent can be released. */
static void
leave_child(void)
{
    if (kit.map != NULL) {
        CHECK(asyncore_close_all(kit.map, false) == 0);
        CHECK(asyncore_map_free(kit.map) == 0);
    }
    CHECK(kit.alloc.live == 0);
    _exit(0);
}

/* Run fn(arg) in a child. */
static void
in_child(void (*fn)(void *arg), void *arg)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        fn(arg);
        leave_child();
    }
    wait_for(child);
}

/* Two connections, a listener and a regular file. */
struct scene {
    struct chan *c[2], *listener, *file;
    int peer[2], regular;
};

static void
set_up(struct scene *s)
{
    s->c[0] = kit_pair_chan("a", 0, AF_UNIX, &s->peer[0]);
    s->c[1] = kit_pair_chan("b", 0, AF_UNIX, &s->peer[1]);
    s->listener = chan_listen("l", 0, AF_INET);
    FILE *file = tmpfile();
    assert_non_null(file);
    s->regular = dup(fileno(file));
    fclose(file);
    s->file = chan_open_file("f", REC_ASK | REC_QUIET, s->regular);
    s->file->react[ON_READ] = react_nothing;
    kit_pass(); /* the kernel knows them all */
    text_clear(&kit.trace);
}

/* All of them get their events; for use on both sides. */
static bool
is_served(struct scene *s)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    size_t before[] = {s->c[0]->in.len, s->c[1]->in.len};
    unsigned born = s->listener->born, reads = s->file->events[ON_READ];
    bool ok = write(s->peer[0], "x", 1) == 1 && write(s->peer[1], "x", 1) == 1;
    int client = socket(AF_INET, SOCK_STREAM, 0);
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    in.sin_port = htons((uint16_t)chan_port(s->listener));
    ok = ok && connect(client, (struct sockaddr *)&in, sizeof in) == 0;
    struct pollfd knocked = {.fd = D(s->listener)->fd, .events = POLLIN};
    ok = ok && poll(&knocked, 1, 10000) == 1;
    ok = ok && asyncore_poll(0, kit.map) == 0;
    ok = ok && s->c[0]->in.len == before[0] + 1 &&
         s->c[1]->in.len == before[1] + 1 && s->listener->born == born + 1 &&
         s->file->events[ON_READ] == reads + 1;
    close(client);
    return ok && asyncore_close(D(s->listener->last)) == 0;
}

static void
tear_down(struct scene *s)
{
    close(s->peer[0]);
    close(s->peer[1]);
    close(s->regular);
}

/* ---- the child may not ---- */

static void
try_all(void *arg)
{
    struct scene *s = arg;
    double timeout;
    int fd[2];
    struct asyncore_dispatcher d;
    struct chan *aside = s->c[0];
    CHECK(asyncore_poll(0, kit.map) == -ECHILD);
    CHECK(asyncore_poll(30, kit.map) == -ECHILD);
    CHECK(asyncore_loop(30, false, kit.map, 1) == -ECHILD);
    CHECK(asyncore_loop(ASYNCORE_FOREVER, false, kit.map,
                        ASYNCORE_UNTIL_EMPTY) == -ECHILD);
    CHECK(asyncore_prepare(kit.map, &timeout) == -ECHILD);
    CHECK(asyncore_map_fileno(kit.map) == -ECHILD);
    CHECK(asyncore_map_set_backend(kit.map, "poll") == -ECHILD);
    CHECK(asyncore_map_set_backend(kit.map, "select") == -ECHILD);
    CHECK(asyncore_map_set_backend(kit.map, "epoll") == -ECHILD);
    CHECK(asyncore_add_channel(D(aside), NULL) == -ECHILD);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == 0);
    CHECK(asyncore_dispatcher_init(&d, NULL, fd[0], kit.map) == -ECHILD);
    CHECK(asyncore_dispatcher_new(NULL, fd[0], kit.map, NULL) == -ECHILD);
    CHECK(asyncore_dispatcher_init(&d, NULL, -1, kit.map) == 0);
    CHECK(asyncore_create_socket(&d, AF_INET, SOCK_STREAM) == -ECHILD);
    CHECK(d.fd == -1);
    CHECK(asyncore_map_count(kit.map) == 3);
    CHECK(kit.trace.len == 0);
    CHECK(asyncore_close(D(aside)) == 0);
}

static void
child_without_after_fork_is_echild(void **state)
{
    (void)state;
    struct scene s;
    set_up(&s);
    assert_int_equal(asyncore_del_channel(D(s.c[0])), 0);
    in_child(try_all, &s);
    assert_int_equal(asyncore_add_channel(D(s.c[0]), NULL), 0);
    assert_true(is_served(&s));
    tear_down(&s);
}

static void
poll_default(void *arg)
{
    (void)arg;
    CHECK(asyncore_poll(0, NULL) == -ECHILD);
    CHECK(asyncore_map_after_fork(NULL) == 0);
    CHECK(asyncore_poll(0, NULL) == 0);
    CHECK(asyncore_close_all(NULL, false) == 0);
    CHECK(asyncore_map_free(asyncore_map_default()) == 0);
}

static void
child_of_a_default_map_is_echild(void **state)
{
    (void)state;
    int fd[2];
    struct asyncore_dispatcher d;
    kit_pair(AF_UNIX, fd);
    assert_int_equal(asyncore_dispatcher_init(&d, NULL, fd[0], NULL), 0);
    in_child(poll_default, NULL);
    assert_int_equal(asyncore_poll(0, NULL), 0);
    assert_int_equal(asyncore_close_all(NULL, false), 0);
    assert_int_equal(asyncore_map_free(asyncore_map_default()), 0);
    close(fd[1]);
}

/* ---- the child may close ---- */

static void
close_one(void *arg)
{
    struct scene *s = arg;
    struct chan *a = s->c[0];
    CHECK(asyncore_close(D(a)) == 0);
    CHECK(D(a)->fd == -1);
    CHECK(asyncore_map_count(kit.map) == 3);
    CHECK(asyncore_del_channel(D(s->c[1])) == 0);
    CHECK(asyncore_detach(D(s->listener)) >= 0);
    CHECK(asyncore_close(D(s->file)) == 0);
    CHECK(asyncore_close(D(s->c[1])) == 0);
}

static void
close_in_the_child_leaves_the_parents_registrations(void **state)
{
    (void)state;
    struct scene s;
    set_up(&s);
    in_child(close_one, &s);
    assert_true(is_served(&s));
    tear_down(&s);
}

static void
close_them_all(void *arg)
{
    struct scene *s = arg;
    CHECK(asyncore_close_all(kit.map, false) == 0);
    CHECK(asyncore_map_count(kit.map) == 0);
    CHECK(s->c[0]->destroyed == 1 && s->file->destroyed == 1);
    CHECK(asyncore_map_free(kit.map) == 0);
    kit.map = NULL;
}

static void
close_all_in_the_child_leaves_the_parents_registrations(void **state)
{
    (void)state;
    struct scene s;
    set_up(&s);
    in_child(close_them_all, &s);
    assert_int_equal(asyncore_map_count(kit.map), 4);
    assert_int_equal(s.c[0]->destroyed, 0);
    assert_true(is_served(&s));
    /* What changes thereafter is changed for the parent, too. */
    s.file->want_read = false;
    kit_pass();
    text_clear(&kit.trace);
    kit_pass();
    assert_trace("");
    tear_down(&s);
}

static void
make_own(void *arg)
{
    int fd[2];
    (void)arg;
    CHECK(asyncore_close_all(kit.map, false) == 0);
    CHECK(asyncore_map_free(kit.map) == 0);
    CHECK(asyncore_map_create(NULL, &kit.map) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == 0);
    struct chan *c = chan_new("own", 0);
    CHECK(chan_try(c, fd[0]) == 0);
    CHECK(write(fd[1], "x", 1) == 1);
    CHECK(asyncore_poll(0, kit.map) == 0);
    CHECK(c->in.len == 1);
}

static void
do_nothing(void *arg)
{
    (void)arg;
}

static void
take_over(void *arg)
{
    (void)arg;
    CHECK(asyncore_map_after_fork(kit.map) == 0);
}

/* The child has what nobody has read yet, too, and closes it. */
static void
close_in_the_child_leaves_the_parents_connections(void **state)
{
    (void)state;
    void (*const close_them[])(void *) = {do_nothing, take_over};
    for (size_t i = 0; i < COUNT(close_them); i++) {
        int peer;
        struct chan *c = kit_pair_chan("c", 0, AF_INET, &peer);
        c->react[ON_READ] = react_nothing;
        kit_pass();
        kit_write(peer, "one ", 4);
        RUN_UNTIL(c->events[ON_READ] > 0);
        in_child(close_them[i], NULL);
        c->react[ON_READ] = NULL;
        kit_write(peer, "two", 3);
        RUN_UNTIL(c->in.len == 7);
        assert_string_equal(text_get(&c->in), "one two");
        assert_int_equal(asyncore_close(D(c)), 0);
        close(peer);
    }
    text_clear(&kit.trace);
}

static void
map_made_in_the_child_needs_nothing(void **state)
{
    (void)state;
    struct scene s;
    set_up(&s);
    in_child(make_own, NULL);
    assert_true(is_served(&s));
    tear_down(&s);
}

/* ---- the child may go on ---- */

static void
go_on(void *arg)
{
    struct scene *s = arg;
    CHECK(asyncore_map_after_fork(kit.map) == 0);
    for (int i = 0; i < 3; i++) {
        CHECK(is_served(s));
    }
    /* Its changes are its own. */
    CHECK(asyncore_close(D(s->c[0])) == 0);
    s->file->want_read = false;
    CHECK(asyncore_poll(0, kit.map) == 0);
    CHECK(s->c[0]->destroyed == 1);
    const char *const *names = asyncore_backends();
    for (size_t i = 0; names[i] != NULL; i++) {
        CHECK(asyncore_map_set_backend(kit.map, names[i]) == 0);
        CHECK(asyncore_poll(0, kit.map) == 0);
    }
}

static void
after_fork_serves_in_both(void **state)
{
    (void)state;
    struct scene s;
    set_up(&s);
    in_child(go_on, &s);
    assert_true(is_served(&s));
    in_child(go_on, &s); /* as often as one likes */
    assert_true(is_served(&s));
    tear_down(&s);
}

static void
close_then_go_on(void *arg)
{
    struct scene *s = arg;
    CHECK(asyncore_close(D(s->c[0])) == 0);
    CHECK(asyncore_close(D(s->file)) == 0);
    CHECK(asyncore_map_after_fork(kit.map) == 0);
    CHECK(write(s->peer[1], "x", 1) == 1);
    CHECK(asyncore_poll(0, kit.map) == 0);
    CHECK(s->c[1]->in.len == 1);
    CHECK(s->c[0]->destroyed == 1 && s->file->destroyed == 1);
}

static void
after_fork_serves_what_is_left(void **state)
{
    (void)state;
    struct scene s;
    set_up(&s);
    in_child(close_then_go_on, &s);
    assert_true(is_served(&s));
    tear_down(&s);
}

static void
after_fork_in_the_parent_is_nothing(void **state)
{
    (void)state;
    struct scene s;
    set_up(&s);
    kit_count_anew();
    assert_int_equal(asyncore_map_after_fork(kit.map), 0);
    assert_int_equal(kit.world.total, 0);
    assert_true(is_served(&s));
    tear_down(&s);
}

static void
fork_again(void *arg)
{
    struct scene *s = arg;
    CHECK(asyncore_map_after_fork(kit.map) == 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK(asyncore_poll(0, kit.map) == -ECHILD);
        CHECK(asyncore_map_after_fork(kit.map) == 0);
        CHECK(is_served(s));
        leave_child();
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(is_served(s));
}

static void
after_fork_in_a_grandchild_serves_in_all(void **state)
{
    (void)state;
    struct scene s;
    set_up(&s);
    in_child(fork_again, &s);
    assert_true(is_served(&s));
    tear_down(&s);
}

static void
fail_calls_then_go_on(void *arg)
{
    static const enum kit_call calls[] = {KIT_WAKE_OPEN, KIT_EPOLL_CREATE,
                                          KIT_EPOLL_CTL};
    for (size_t i = 0; i < COUNT(calls); i++) {
        struct kit_fault *fault = kit_fail(calls[i], -1, 1, 1, -EMFILE);
        int err = asyncore_map_after_fork(kit.map);
        CHECK(err == (fault->hits > 0 ? -EMFILE : 0));
        kit_heal();
        if (err == 0) {
            break; /* no such call on this backend: it is done */
        }
        CHECK(asyncore_poll(0, kit.map) == -ECHILD);
    }
    CHECK(asyncore_map_after_fork(kit.map) == 0);
    CHECK(is_served(arg));
}

static void
fail_memory_then_go_on(void *arg)
{
    unsigned long n = 0;
    int err;
    do {
        kit_fail_alloc(++n, 1);
        err = asyncore_map_after_fork(kit.map);
        kit_heal();
        CHECK(err == 0 || err == -ENOMEM);
        CHECK((asyncore_poll(0, kit.map) == 0) == (err == 0));
    } while (err < 0);
    CHECK(n > 2);
    CHECK(is_served(arg));
}

static void
after_fork_that_fails_can_be_retried(void **state)
{
    (void)state;
    struct scene s;
    set_up(&s);
    in_child(fail_calls_then_go_on, &s);
    in_child(fail_memory_then_go_on, &s);
    assert_true(is_served(&s));
    tear_down(&s);
}

/* ---- in a handler ---- */

static pid_t forked;

static int
fork_and_go_on(struct chan *c)
{
    forked = fork();
    if (forked == 0) {
        CHECK(asyncore_map_after_fork(D(c)->map) == 0);
    }
    return react_read(c);
}

static void
after_fork_in_a_handler_finishes_the_pass(void **state)
{
    (void)state;
    int peer[2];
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer[0]);
    struct chan *b = kit_pair_chan("b", 0, AF_UNIX, &peer[1]);
    kit_pass();
    /* Two bytes there, and each reads one: the descriptors are shared. */
    a->chunk = b->chunk = 1;
    kit_write(peer[0], "xx", 2);
    kit_write(peer[1], "xx", 2);
    a->react[ON_READ] = fork_and_go_on;
    int err = asyncore_poll(0, kit.map);
    if (forked == 0) {
        CHECK(err == 0);
        CHECK(a->in.len == 1 && b->in.len == 1);
        leave_child();
    }
    assert_int_equal(err, 0);
    wait_for(forked);
    assert_int_equal(a->in.len, 1);
    assert_int_equal(b->in.len, 1);
    close(peer[0]);
    close(peer[1]);
}

/* ---- posts and timers ---- */

static int
count_call(struct asyncore_map *map, void *arg)
{
    (void)map;
    ++*(int *)arg;
    return 0;
}

static int posts_made, timers_made;

static void
run_what_came_over(void *arg)
{
    (void)arg;
    CHECK(asyncore_map_after_fork(kit.map) == 0);
    CHECK(asyncore_poll(0, kit.map) == 0);
    CHECK(posts_made == 1 && timers_made == 0);
    kit_advance(5);
    CHECK(asyncore_poll(0, kit.map) == 0);
    CHECK(posts_made == 1 && timers_made == 1);
}

static void
posts_and_timers_go_over_to_the_child(void **state)
{
    (void)state;
    posts_made = timers_made = 0;
    kit_advance(0);
    assert_int_equal(
        asyncore_call_soon_threadsafe(kit.map, count_call, &posts_made), 0);
    assert_true(asyncore_call_later(kit.map, 5, count_call, &timers_made) > 0);
    in_child(run_what_came_over, NULL);
    assert_int_equal(posts_made, 0);
    kit_pass(); /* and stay with the parent */
    assert_int_equal(posts_made, 1);
    assert_int_equal(timers_made, 0);
    kit_advance(5);
    kit_pass();
    assert_int_equal(timers_made, 1);
}

static void
post_in_the_child(void *arg)
{
    (void)arg;
    CHECK(asyncore_map_after_fork(kit.map) == 0);
    CHECK(!kit_is_readable(kit.map->wake_fd[0]));
    for (int i = 0; i < 3; i++) {
        posts_made = 0;
        CHECK(asyncore_call_soon_threadsafe(kit.map, count_call,
                                            &posts_made) == 0);
        CHECK(kit_is_readable(kit.map->wake_fd[0]));
        CHECK(asyncore_poll(0, kit.map) == 0);
        CHECK(posts_made == 1);
    }
}

static int
post_from_handler(struct chan *c)
{
    assert_int_equal(
        asyncore_call_soon_threadsafe(D(c)->map, count_call, &posts_made), 0);
    return react_read(c);
}

static void
post_in_the_child_wakes_the_child_only(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    in_child(post_in_the_child, NULL);
    assert_false(kit_is_readable(kit.map->wake_fd[0]));
    /* Also if a post has been made and answered just before the fork. */
    a->react[ON_READ] = post_from_handler;
    kit_write(peer, "x", 1);
    posts_made = 0;
    kit_pass();
    assert_int_equal(posts_made, 1);
    in_child(post_in_the_child, NULL);
    close(peer);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(child_without_after_fork_is_echild),
        KIT_TEST(child_of_a_default_map_is_echild),
        KIT_TEST(close_in_the_child_leaves_the_parents_registrations),
        KIT_TEST(close_all_in_the_child_leaves_the_parents_registrations),
        KIT_TEST(close_in_the_child_leaves_the_parents_connections),
        KIT_TEST(map_made_in_the_child_needs_nothing),
        KIT_TEST(after_fork_serves_in_both),
        KIT_TEST(after_fork_serves_what_is_left),
        KIT_TEST(after_fork_in_the_parent_is_nothing),
        KIT_TEST(after_fork_in_a_grandchild_serves_in_all),
        KIT_TEST(after_fork_that_fails_can_be_retried),
        KIT_TEST(after_fork_in_a_handler_finishes_the_pass),
        KIT_TEST(posts_and_timers_go_over_to_the_child),
        KIT_TEST(post_in_the_child_wakes_the_child_only),
    };
    return cmocka_run_group_tests_name("fork", tests, NULL, NULL);
}
