/* SPDX-License-Identifier: MIT */
/* test_map.c - the set of channels: its life, its order, its backends. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>

#include "await.h"
#include "kit.h"

/* ---- create and free ---- */

static void
create_on_each_backend_has_its_name(void **state)
{
    (void)state;
    const char *const *names = asyncore_backends();
    size_t n = 0;
    for (; names[n] != NULL; n++) {
        assert_int_equal(asyncore_map_create(names[n], &kit.map), 0);
        /* Not every kernel has it. */
        assert_true(strcmp(asyncore_map_backend(kit.map), names[n]) == 0 ||
                    strstr(text_get(&kit.log), "io_uring is not available") !=
                        NULL);
        kit_free_map();
    }
    assert_string_equal(names[0], "epoll");
    assert_string_equal(names[n - 2], "poll");
    assert_string_equal(names[n - 1], "select");
}

static void
create_on_an_unknown_backend_is_enosys_and_names_the_others(void **state)
{
    (void)state;
    static const char *const unknown[] = {"kqueue", "EPOLL", "epoll ", "e"};
    for (size_t i = 0; i < COUNT(unknown); i++) {
        struct asyncore_map *map = NULL;
        assert_int_equal(asyncore_map_create(unknown[i], &map), -ENOSYS);
        assert_null(map);
        assert_logged(unknown[i]);
        assert_logged("poll, select");
        text_clear(&kit.log);
    }
}

static void
create_without_a_result_is_einval(void **state)
{
    (void)state;
    assert_int_equal(asyncore_map_create("poll", NULL), -EINVAL);
    assert_int_equal(kit.world.total, 0);
}

static void
create_without_descriptors_fails_and_leaves_nothing(void **state)
{
    (void)state;
    struct asyncore_map *map = NULL;
    kit_fail(KIT_WAKE_OPEN, -1, 1, 1, -EMFILE);
    kit_fail(KIT_EPOLL_CREATE, -1, 2, 1, -ENFILE);
    assert_int_equal(asyncore_map_create("poll", &map), -EMFILE);
    assert_int_equal(asyncore_map_create("epoll", &map), 0);
    assert_int_equal(asyncore_map_free(map), 0);
    map = NULL;
    assert_int_equal(asyncore_map_create("epoll", &map), -ENFILE);
    assert_null(map);
    assert_int_equal(kit.alloc.live, 0);
}

static void
create_without_memory_fails_and_leaves_nothing(void **state)
{
    (void)state;
    const char *const *names = asyncore_backends();
    for (size_t i = 0; names[i] != NULL; i++) {
        unsigned long n = 0;
        int err;
        do {
            kit_fail_alloc(++n, 1);
            err = asyncore_map_create(names[i], &kit.map);
            assert_true(err == 0 || err == -ENOMEM);
        } while (err < 0);
        assert_true(n > 2);
        kit_heal();
        kit_free_map();
        assert_int_equal(kit.alloc.live, 0);
    }
}

static void
free_of_null_is_nothing(void **state)
{
    (void)state;
    assert_int_equal(asyncore_map_free(NULL), 0);
    assert_int_equal(kit.world.total, 0);
}

static void
free_with_a_channel_is_ebusy(void **state)
{
    (void)state;
    int peer;
    struct chan *c = kit_pair_chan("a", 0, AF_UNIX, &peer);
    assert_int_equal(asyncore_map_free(kit.map), -EBUSY);
    kit_write(peer, "x", 1);
    kit_pass();
    assert_int_equal(c->in.len, 1);
    close(peer);
}

static void
free_with_a_channel_set_aside_is_ebusy(void **state)
{
    (void)state;
    int peer;
    struct chan *c = kit_pair_chan("a", 0, AF_UNIX, &peer);
    assert_int_equal(asyncore_del_channel(D(c)), 0);
    assert_int_equal(asyncore_map_count(kit.map), 0);
    assert_int_equal(asyncore_map_free(kit.map), -EBUSY);
    assert_int_equal(asyncore_close(D(c)), 0);
    assert_int_equal(asyncore_map_free(kit.map), 0);
    kit.map = NULL;
    assert_trace("a.destroy\n");
    close(peer);
}

static void
free_destroys_what_was_closed(void **state)
{
    (void)state;
    int peer[2];
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer[0]);
    struct chan *b = kit_pair_chan("b", 0, AF_UNIX, &peer[1]);
    assert_int_equal(asyncore_close(D(a)), 0);
    assert_int_equal(asyncore_close(D(b)), 0);
    assert_int_equal(asyncore_map_free(kit.map), 0);
    kit.map = NULL;
    assert_trace("a.destroy\nb.destroy\n");
    close(peer[0]);
    close(peer[1]);
}

static int
free_map(struct chan *c)
{
    struct asyncore_map *map = D(c)->map;
    assert_int_equal(asyncore_close(D(c)), 0);
    kit_trace("free %s", asyncore_errorcode(asyncore_map_free(map)));
    return 0;
}

static void
free_in_a_handler_is_ebusy(void **state)
{
    (void)state;
    int peer;
    struct chan *c = kit_pair_chan("a", 0, AF_UNIX, &peer);
    c->react[ON_READ] = free_map;
    kit_write(peer, "x", 1);
    assert_int_equal(asyncore_loop(30, false, kit.map, 5), 0);
    assert_trace("a.handle_read\nfree EBUSY\na.destroy\n");
    close(peer);
}

static int
never(struct asyncore_map *map, void *arg)
{
    (void)map;
    (void)arg;
    kit_trace("never");
    return 0;
}

static void
free_drops_timers_and_posts(void **state)
{
    (void)state;
    struct asyncore_call call = {.fn = never};
    assert_true(asyncore_call_later(kit.map, 0, never, NULL) > 0);
    assert_int_equal(asyncore_call_soon_threadsafe(kit.map, never, NULL), 0);
    assert_int_equal(asyncore_call_soon_signal(kit.map, &call), 0);
    kit_free_map();
    assert_trace("");
    assert_int_equal(kit.alloc.live, 0);
}

/* ---- the default map ---- */

static void *
default_of_this_thread(void *arg)
{
    struct asyncore_map **ret = arg;
    *ret = asyncore_map_default();
    return asyncore_map_default();
}

static void
default_map_is_made_once_and_one_per_thread(void **state)
{
    (void)state;
    struct asyncore_map *mine = asyncore_map_default();
    struct asyncore_map *first;
    void *second;
    pthread_t thread;
    assert_non_null(mine);
    assert_ptr_equal(asyncore_map_default(), mine);
    assert_int_equal(
        pthread_create(&thread, NULL, default_of_this_thread, &first), 0);
    assert_int_equal(pthread_join(thread, &second), 0);
    assert_non_null(first);
    assert_ptr_equal(first, second);
    assert_ptr_not_equal(first, mine);
    assert_int_equal(asyncore_map_free(mine), 0);
    /* The other one was released with its thread. */
    assert_int_equal(kit.alloc.live, 0);
}

static void
default_map_is_made_anew_after_a_free(void **state)
{
    (void)state;
    assert_int_equal(asyncore_map_count(NULL), 0);
    assert_null(asyncore_map_next(NULL, NULL));
    assert_null(asyncore_map_get(NULL, 0));
    assert_int_equal(kit.alloc.live, 0); /* to look is not to make */
    for (int i = 0; i < 2; i++) {
        struct asyncore_dispatcher d;
        int fd[2];
        kit_pair(AF_UNIX, fd);
        assert_int_equal(asyncore_dispatcher_init(&d, NULL, fd[0], NULL), 0);
        assert_ptr_equal(d.map, asyncore_map_default());
        assert_int_equal(asyncore_map_count(NULL), 1);
        assert_ptr_equal(asyncore_map_get(NULL, fd[0]), &d);
        assert_ptr_equal(asyncore_map_next(NULL, NULL), &d);
        assert_non_null(asyncore_map_backend(NULL));
        assert_int_equal(asyncore_close_all(NULL, false), 0);
        assert_int_equal(asyncore_map_free(asyncore_map_default()), 0);
        close(fd[1]);
    }
}

static void
default_map_that_cannot_be_made_is_null(void **state)
{
    (void)state;
    double timeout;
    kit_fail(KIT_WAKE_OPEN, -1, 1, 7, -EMFILE);
    assert_null(asyncore_map_default());
    assert_int_equal(asyncore_poll(0, NULL), -EMFILE);
    assert_int_equal(asyncore_loop(0, false, NULL, 1), -EMFILE);
    assert_int_equal(asyncore_close_all(NULL, true), -EMFILE);
    assert_int_equal(asyncore_call_later(NULL, 0, never, NULL), -EMFILE);
    assert_int_equal(asyncore_prepare(NULL, &timeout), -EMFILE);
    assert_int_equal(asyncore_dispatcher_new(NULL, -1, NULL, NULL), -EMFILE);
    assert_non_null(asyncore_map_default());
    assert_int_equal(asyncore_map_free(asyncore_map_default()), 0);
}

/* ---- the environment ---- */

static char *saved_env;

static int
save_env(void **state)
{
    const char *value = getenv("ASYNCORE_BACKEND");
    saved_env = value != NULL ? strdup(value) : NULL;
    return kit_setup_bare(state);
}

static int
restore_env(void **state)
{
    if (saved_env != NULL) {
        setenv("ASYNCORE_BACKEND", saved_env, 1);
    }
    else {
        unsetenv("ASYNCORE_BACKEND");
    }
    free(saved_env);
    return kit_teardown(state);
}

static void
backend_of_the_environment_is_taken(void **state)
{
    (void)state;
    const char *const *names = asyncore_backends();
    for (size_t i = 0; names[i] != NULL; i++) {
        setenv("ASYNCORE_BACKEND", names[i], 1);
        assert_int_equal(asyncore_map_create(NULL, &kit.map), 0);
        assert_string_equal(asyncore_map_backend(kit.map), names[i]);
        kit_free_map();
        /* … where the program does not say. */
        assert_int_equal(asyncore_map_create("poll", &kit.map), 0);
        assert_string_equal(asyncore_map_backend(kit.map), "poll");
        kit_free_map();
    }
}

static void
backend_of_no_environment_is_the_best(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        unsetenv("ASYNCORE_BACKEND");
        if (i > 0) {
            setenv("ASYNCORE_BACKEND", "", 1);
        }
        assert_int_equal(asyncore_map_create(NULL, &kit.map), 0);
        assert_string_equal(asyncore_map_backend(kit.map),
                            asyncore_backends()[0]);
        kit_free_map();
    }
}

static void
backend_of_the_environment_that_is_unknown_is_logged(void **state)
{
    (void)state;
    struct asyncore_map *map;
    setenv("ASYNCORE_BACKEND", "devpoll", 1);
    assert_null(asyncore_map_default());
    assert_logged("devpoll");
    assert_logged("poll, select");
    assert_int_equal(asyncore_map_create(NULL, &map), -ENOSYS);
    assert_int_equal(asyncore_map_create("poll", &map), 0);
    assert_int_equal(asyncore_map_free(map), 0);
}

/* ---- count, get, next ---- */

static void
get_finds_a_channel_by_its_descriptor(void **state)
{
    (void)state;
    int peer;
    struct chan *c = kit_pair_chan("a", 0, AF_UNIX, &peer);
    int fd = D(c)->fd;
    assert_int_equal(asyncore_map_count(kit.map), 1);
    assert_ptr_equal(asyncore_map_get(kit.map, fd), D(c));
    assert_null(asyncore_map_get(kit.map, peer));
    assert_null(asyncore_map_get(kit.map, -1));
    assert_null(asyncore_map_get(kit.map, INT32_MIN));
    assert_null(asyncore_map_get(kit.map, INT32_MAX));
    assert_null(asyncore_map_get(kit.map, kit.map->wake_fd[0]));
    assert_int_equal(asyncore_close(D(c)), 0);
    assert_int_equal(asyncore_map_count(kit.map), 0);
    assert_null(asyncore_map_get(kit.map, fd));
    close(peer);
}

/* The names of the map's channels, in its order. */
static void
assert_order(const char *want)
{
    char got[256] = "";
    size_t n = 0;
    for (struct asyncore_dispatcher *d = asyncore_map_next(kit.map, NULL);
         d != NULL; d = asyncore_map_next(kit.map, d)) {
        strcat(got, chan_of(d)->name);
        n++;
    }
    assert_string_equal(got, want);
    assert_int_equal(asyncore_map_count(kit.map), n);
}

/* n channels named a, b, c, …; the peers are closed. */
static void
make_chans(struct chan **chans, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int peer;
        char name[2] = {(char)('a' + i), '\0'};
        chans[i] = kit_pair_chan(name, 0, AF_UNIX, &peer);
        close(peer);
    }
}

static void
next_gives_the_order_of_adding(void **state)
{
    (void)state;
    struct chan *c[10];
    int peer;
    assert_order("");
    make_chans(c, 10);
    assert_order("abcdefghij");
    asyncore_close(D(c[0]));
    asyncore_close(D(c[4]));
    asyncore_close(D(c[9]));
    assert_order("bcdfghi");
    struct chan *k = kit_pair_chan("k", 0, AF_UNIX, &peer);
    close(peer);
    assert_order("bcdfghik");
    assert_int_equal(asyncore_del_channel(D(c[1])), 0);
    assert_order("cdfghik");
    assert_int_equal(asyncore_add_channel(D(c[1]), NULL), 0);
    assert_order("cdfghikb");
    for (size_t i = 2; i < 9; i++) {
        asyncore_close(D(c[i]));
    }
    assert_int_equal(asyncore_close(D(k)), 0);
    assert_order("b");
    assert_int_equal(asyncore_poll(0, kit.map), 0); /* closes up the holes */
    assert_order("");
}

static void
next_while_closing_what_it_gave_finds_all(void **state)
{
    (void)state;
    struct chan *c[7];
    char got[16] = "";
    make_chans(c, 7);
    struct asyncore_dispatcher *next = asyncore_map_next(kit.map, NULL);
    while (next != NULL) {
        struct asyncore_dispatcher *d = next;
        next = asyncore_map_next(kit.map, d);
        strcat(got, chan_of(d)->name);
        if (d != D(c[3])) {
            assert_int_equal(asyncore_close(d), 0);
        }
    }
    assert_string_equal(got, "abcdefg");
    assert_order("d");
}

static void
next_of_a_channel_that_is_not_there_is_null(void **state)
{
    (void)state;
    struct chan *c[3];
    struct asyncore_map *other;
    struct asyncore_dispatcher never_was = {.fd = 0};
    make_chans(c, 3);
    assert_int_equal(asyncore_map_create(NULL, &other), 0);
    assert_null(asyncore_map_next(other, D(c[0])));
    assert_null(asyncore_map_next(other, NULL));
    assert_null(asyncore_map_next(kit.map, &never_was));
    asyncore_close(D(c[0]));
    assert_null(asyncore_map_next(kit.map, D(c[0])));
    asyncore_del_channel(D(c[1]));
    assert_null(asyncore_map_next(kit.map, D(c[1])));
    assert_int_equal(asyncore_add_channel(D(c[1]), NULL), 0);
    assert_int_equal(asyncore_map_free(other), 0);
}

static void
order_after_many_comings_and_goings_is_that_of_adding(void **state)
{
    (void)state;
    struct chan *c[20];
    make_chans(c, 20);
    for (unsigned round = 0; round < 200; round++) {
        struct asyncore_dispatcher *d = D(c[round * 7 % 20]);
        assert_int_equal(asyncore_del_channel(d), 0);
        assert_int_equal(asyncore_add_channel(d, NULL), 0);
        struct asyncore_dispatcher *last = NULL;
        for (struct asyncore_dispatcher *at = asyncore_map_next(kit.map, NULL);
             at != NULL; at = asyncore_map_next(kit.map, at)) {
            last = at;
        }
        assert_ptr_equal(last, d);
        assert_int_equal(asyncore_map_count(kit.map), 20);
        asyncore__map_compact(kit.map);
        assert_true(kit.map->all.len <= 41); /* holes are closed up */
    }
}

/* ---- close_all ---- */

static void
close_all_closes_in_order_and_destroys(void **state)
{
    (void)state;
    struct chan *c[4];
    make_chans(c, 4);
    assert_int_equal(asyncore_close_all(kit.map, false), 0);
    assert_trace("a.destroy\nb.destroy\nc.destroy\nd.destroy\n");
    assert_int_equal(asyncore_map_count(kit.map), 0);
    assert_int_equal(asyncore_close_all(kit.map, false), 0);
}

static void
close_all_with_a_failing_close_stops_there(void **state)
{
    (void)state;
    struct chan *c[3];
    make_chans(c, 3);
    kit_fail(KIT_CLOSE, D(c[1])->fd, 1, 1, -EIO);
    assert_int_equal(asyncore_close_all(kit.map, false), -EIO);
    assert_trace("a.destroy\nb.destroy\n"); /* closed all the same */
    assert_order("c");
}

static void
close_all_that_ignores_all_closes_all(void **state)
{
    (void)state;
    struct chan *c[3];
    make_chans(c, 3);
    kit_fail(KIT_CLOSE, D(c[0])->fd, 1, 1, -EIO);
    kit_fail(KIT_CLOSE, D(c[2])->fd, 1, 1, -ENOSPC);
    assert_int_equal(asyncore_close_all(kit.map, true), 0);
    assert_trace("a.destroy\nb.destroy\nc.destroy\n");
    assert_order("");
}

static void
close_all_does_not_mind_ebadf(void **state)
{
    (void)state;
    struct chan *c[3];
    make_chans(c, 3);
    close(D(c[0])->fd);
    assert_int_equal(asyncore_close_all(kit.map, false), 0);
    assert_trace("a.destroy\nb.destroy\nc.destroy\n");
}

static int
close_them_all(struct chan *c)
{
    kit_trace("close_all %d", asyncore_close_all(D(c)->map, false));
    return 0;
}

static void
close_all_in_a_handler_destroys_after_the_pass(void **state)
{
    (void)state;
    int peer[2];
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer[0]);
    kit_pair_chan("b", 0, AF_UNIX, &peer[1]);
    a->react[ON_READ] = close_them_all;
    kit_write(peer[0], "x", 1);
    kit_write(peer[1], "x", 1);
    assert_int_equal(asyncore_loop(30, false, kit.map, ASYNCORE_UNTIL_EMPTY),
                     0);
    assert_trace("a.handle_read\nclose_all 0\na.destroy\nb.destroy\n");
    close(peer[0]);
    close(peer[1]);
}

/* ---- set_backend ---- */

/* A map with one channel of each kind: a connection, a listener, a file that
 * is always ready, one that only writes, one that wants nothing. */
struct scene {
    struct chan *conn, *listener, *file, *writer, *idle;
    int peer[3], regular;
};

static void
set_up(struct scene *s)
{
    s->conn = kit_pair_chan("c", 0, AF_UNIX, &s->peer[0]);
    s->listener = chan_listen("l", 0, AF_INET);
    FILE *file = tmpfile();
    assert_non_null(file);
    s->regular = dup(fileno(file));
    fclose(file);
    s->file = chan_open_file("f", REC_ASK | REC_QUIET, s->regular);
    s->file->react[ON_READ] = react_nothing;
    s->writer = kit_pair_chan("w", REC_ASK | REC_QUIET | REC_WRITE, AF_UNIX,
                              &s->peer[1]);
    s->writer->want_read = false;
    s->writer->want_write = true;
    s->idle = kit_pair_chan("i", REC_ASK | REC_QUIET, AF_UNIX, &s->peer[2]);
    s->idle->want_read = false;
    kit_write(s->peer[2], "x", 1);
    kit_pass(); /* the backend knows them all */
    text_clear(&kit.trace);
}

/* They get what they wait for, and nothing else. */
static void
assert_served(struct scene *s)
{
    kit_write(s->peer[0], "hello", 5);
    int client = knock(s->listener);
    kit_pass();
    assert_trace("c.handle_read\nc.recv 5\nl.handle_accepted\n"
                 "f.handle_read\nw.handle_write\n");
    assert_int_equal(asyncore_close(D(s->listener->last)), 0);
    kit_pass();
    char gone[64];
    snprintf(gone, sizeof gone, "f.handle_read\nw.handle_write\n%s.destroy\n",
             s->listener->last->name);
    assert_trace(gone);
    close(client);
}

static void
tear_down(struct scene *s)
{
    for (size_t i = 0; i < COUNT(s->peer); i++) {
        close(s->peer[i]);
    }
    close(s->regular);
}

static void
set_backend_moves_live_channels(void **state)
{
    (void)state;
    struct scene s;
    const char *const *names = asyncore_backends();
    set_up(&s);
    /* From each to each. */
    for (size_t from = 0; names[from] != NULL; from++) {
        for (size_t to = 0; names[to] != NULL; to++) {
            assert_int_equal(asyncore_map_set_backend(kit.map, names[from]),
                             0);
            assert_int_equal(asyncore_map_set_backend(kit.map, names[to]), 0);
            assert_string_equal(asyncore_map_backend(kit.map), names[to]);
            assert_served(&s);
        }
    }
    /* What changes thereafter arrives at the new one. */
    s.writer->want_write = false;
    s.file->want_read = false;
    s.idle->want_read = true;
    kit_pass();
    assert_trace("i.handle_read\ni.recv 1\n");
    tear_down(&s);
}

static void
set_backend_to_the_same_one_is_nothing(void **state)
{
    (void)state;
    struct scene s;
    set_up(&s);
    void *before = kit.map->state;
    assert_int_equal(
        asyncore_map_set_backend(kit.map, asyncore_map_backend(kit.map)), 0);
    assert_int_equal(asyncore_map_set_backend(kit.map, NULL), 0);
    assert_ptr_equal(kit.map->state, before);
    tear_down(&s);
}

static void
set_backend_unknown_is_enosys_and_changes_nothing(void **state)
{
    (void)state;
    struct scene s;
    set_up(&s);
    assert_int_equal(asyncore_map_set_backend(kit.map, "iocp"), -ENOSYS);
    assert_logged("iocp");
    assert_logged("poll, select");
    assert_served(&s);
    tear_down(&s);
}

static void set_backend_in_a_handler_keeps_the_rest_of_the_pass(void **state);

/* Another one than the map's. */
static const char *
other_backend(size_t n)
{
    const char *const *names = asyncore_backends();
    for (size_t i = 0;; i++) {
        assert_non_null(names[i]);
        if (strcmp(names[i], asyncore_map_backend(kit.map)) != 0 && n-- == 0) {
            return names[i];
        }
    }
}

static int
change_backend(struct chan *c)
{
    assert_int_equal(asyncore_map_set_backend(D(c)->map, other_backend(0)), 0);
    return 0;
}

static void
set_backend_in_a_handler_keeps_the_rest_of_the_pass(void **state)
{
    (void)state;
    struct scene s;
    set_up(&s);
    s.conn->react[ON_READ] = change_backend;
    kit_write(s.peer[0], "x", 1);
    kit_pass();
    assert_trace("c.handle_read\nf.handle_read\nw.handle_write\n");
    s.conn->react[ON_READ] = NULL;
    kit_pass();
    assert_trace("c.handle_read\nc.recv 1\nf.handle_read\nw.handle_write\n");
    tear_down(&s);
}

static void
set_backend_without_memory_stays_where_it_was(void **state)
{
    (void)state;
    struct scene s;
    set_up(&s);
    for (size_t which = 0; which < 2; which++) {
        const char *before = asyncore_map_backend(kit.map);
        const char *to = other_backend(which);
        unsigned long n = 0;
        for (;;) {
            kit_fail_alloc(++n, 1);
            int err = asyncore_map_set_backend(kit.map, to);
            kit_heal();
            if (err >= 0) {
                break;
            }
            assert_int_equal(err, -ENOMEM);
            assert_string_equal(asyncore_map_backend(kit.map), before);
            assert_served(&s);
        }
        assert_true(n > 2);
        assert_int_equal(asyncore_map_set_backend(kit.map, before), 0);
    }
    tear_down(&s);
}

static void
set_backend_refused_by_the_kernel_stays_where_it_was(void **state)
{
    (void)state;
    struct scene s;
    set_up(&s);
    const char *before = asyncore_map_backend(kit.map);
    if (strcmp(before, "epoll") == 0) {
        assert_int_equal(asyncore_map_set_backend(kit.map, "poll"), 0);
        before = "poll";
    }
    kit_fail(KIT_EPOLL_CREATE, -1, 1, 1, -EMFILE);
    assert_int_equal(asyncore_map_set_backend(kit.map, "epoll"), -EMFILE);
    assert_string_equal(asyncore_map_backend(kit.map), before);
    assert_served(&s);
    unsigned long n = 0;
    for (;;) {
        kit_heal();
        kit_fail(KIT_EPOLL_CTL, -1, ++n, 1, -ENOSPC);
        int err = asyncore_map_set_backend(kit.map, "epoll");
        if (err >= 0) {
            break;
        }
        assert_int_equal(err, -ENOSPC);
        assert_string_equal(asyncore_map_backend(kit.map), before);
        assert_served(&s);
    }
    assert_int_equal(n, 6); /* four are watched, and the wake-up */
    kit_heal();
    assert_served(&s);
    tear_down(&s);
}

enum {
    MANY = 6
};

/* One after the other is not watched for a while; the others are heard. */
static void
assert_each_is_watched(struct chan *c[MANY], int peer[MANY])
{
    for (int off = 0; off < MANY; off++) {
        c[off]->want_read = false;
        asyncore_touch(D(c[off]));
        kit_pass();
        for (int i = 0; i < MANY; i++) {
            size_t len = c[i]->in.len;
            kit_write(peer[i], "x", 1);
            kit_pass();
            assert_int_equal(c[i]->in.len, len + (i != off));
        }
        c[off]->want_read = true;
        asyncore_touch(D(c[off]));
        kit_pass();
    }
}

/* … by the call, or for want of memory. */
static int
change_that_fails(const char *to, enum kit_call call, unsigned long n)
{
    if (call == KIT_ANY) {
        kit_fail_alloc(n, 1);
    }
    else {
        kit_fail(call, -1, n, 1, -ENOSPC);
    }
    int err = asyncore_map_set_backend(kit.map, to);
    kit_heal();
    return err;
}

static void
change_that_fails_half_way_leaves_no_trace(void **state)
{
    (void)state;
    const enum kit_call calls[] = {KIT_EPOLL_CTL, KIT_ANY};
    struct chan *c[MANY];
    int peer[MANY];
    for (int i = 0; i < MANY; i++) {
        c[i] = kit_pair_chan("c", REC_ASK | REC_TOUCH | REC_QUIET, AF_INET,
                             &peer[i]);
        c[i]->want_read = true;
    }
    kit_pass();
    const char *before = asyncore_map_backend(kit.map);
    for (const char *const *to = asyncore_backends(); *to != NULL; to++) {
        for (size_t i = 0; i < COUNT(calls); i++) {
            unsigned long n = 1;
            while (change_that_fails(*to, calls[i], n) < 0) {
                assert_string_equal(asyncore_map_backend(kit.map), before);
                assert_each_is_watched(c, peer);
                n++;
            }
            assert_each_is_watched(c, peer);
            assert_int_equal(asyncore_map_set_backend(kit.map, before), 0);
            assert_each_is_watched(c, peer);
        }
    }
    for (int i = 0; i < MANY; i++) {
        close(peer[i]);
    }
}

/* ---- the limit of select ---- */

/* A connected socket with a number that select cannot serve. */
static int
high_fd(int *ret_peer)
{
    int fd[2];
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < 1200) {
        limit.rlim_cur = 1200;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
            skip();
        }
    }
    kit_pair(AF_UNIX, fd);
    int high = fcntl(fd[0], F_DUPFD_CLOEXEC, 1024);
    assert_true(high >= 1024);
    close(fd[0]);
    *ret_peer = fd[1];
    return high;
}

static void
descriptor_beyond_select_is_erange_and_logged(void **state)
{
    (void)state;
    int peer;
    int fd = high_fd(&peer);
    assert_int_equal(asyncore_map_set_backend(kit.map, "select"), 0);
    struct chan *c = chan_new("a", 0);
    char number[16];
    snprintf(number, sizeof number, "%d", fd);
    assert_int_equal(chan_try(c, fd), -ERANGE);
    assert_logged(number);
    assert_logged("select");
    assert_int_equal(asyncore_map_count(kit.map), 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC); /* still the caller's */
    close(fd);
    close(peer);
}

static void
descriptor_beyond_select_keeps_the_map_from_it(void **state)
{
    (void)state;
    int peer;
    int fd = high_fd(&peer);
    if (strcmp(asyncore_map_backend(kit.map), "select") == 0) {
        assert_int_equal(asyncore_map_set_backend(kit.map, "poll"), 0);
    }
    const char *before = asyncore_map_backend(kit.map);
    struct chan *c = chan_open("a", 0, fd);
    assert_int_equal(asyncore_map_set_backend(kit.map, "select"), -ERANGE);
    assert_string_equal(asyncore_map_backend(kit.map), before);
    assert_logged("select");
    kit_write(peer, "x", 1);
    kit_pass();
    assert_trace("a.handle_read\na.recv 1\n");
    assert_int_equal(asyncore_close(D(c)), 0);
    assert_int_equal(asyncore_map_set_backend(kit.map, "select"), 0);
    close(peer);
}

static void
descriptor_beyond_select_of_a_fresh_socket_is_erange(void **state)
{
    (void)state;
    int low = asyncore_map_set_backend(kit.map, "select"), peer, fd;
    static int taken[1200];
    size_t n = 0;
    assert_int_equal(low, 0);
    close(high_fd(&peer)); /* may there be so many? */
    do {
        fd = dup(0);
        taken[n++] = fd;
    } while (fd >= 0 && fd < 1023);
    assert_int_equal(fd, 1023);
    struct chan *c = chan_open("a", 0, -1);
    assert_int_equal(asyncore_create_socket(D(c), AF_INET, SOCK_STREAM),
                     -ERANGE);
    assert_int_equal(D(c)->fd, -1);
    while (n > 0) {
        close(taken[--n]);
    }
    assert_int_equal(asyncore_create_socket(D(c), AF_INET, SOCK_STREAM), 0);
    c->opened = true;
    close(peer);
}

/* ---- in and out ---- */

static void
channel_whose_descriptor_is_taken_is_eexist(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    struct chan *b = chan_new("b", 0);
    assert_int_equal(chan_try(b, D(a)->fd), -EEXIST);
    assert_int_equal(D(b)->fd, -1);
    assert_ptr_equal(asyncore_map_get(kit.map, D(a)->fd), D(a));
    kit_write(peer, "x", 1);
    kit_pass();
    assert_trace("a.handle_read\na.recv 1\n");
    close(peer);
}

static void
channel_set_aside_is_not_served(void **state)
{
    (void)state;
    int peer;
    struct text got = {0};
    struct chan *c = kit_pair_chan("a", REC_ASK, AF_UNIX, &peer);
    assert_int_equal(asyncore_del_channel(D(c)), 0);
    assert_int_equal(asyncore_del_channel(D(c)), 0);
    assert_int_equal(asyncore_map_count(kit.map), 0);
    assert_null(asyncore_map_get(kit.map, D(c)->fd));
    kit_write(peer, "x", 1);
    kit_pass();
    assert_trace("");
    assert_int_equal(asyncore_send(D(c), "still open", 10), 10);
    assert_true(kit_drain(peer, &got));
    assert_string_equal(text_get(&got), "still open");
    assert_int_equal(asyncore_add_channel(D(c), NULL), 0);
    assert_int_equal(asyncore_add_channel(D(c), NULL), -EBUSY);
    assert_int_equal(asyncore_add_channel(D(c), kit.map), -EBUSY);
    kit_pass();
    assert_trace("a.readable\na.writable\na.handle_read\na.recv 1\n");
    text_clear(&got);
    close(peer);
}

static void
channel_moved_to_another_map_is_served_there(void **state)
{
    (void)state;
    int peer;
    struct asyncore_map *first = kit.map, *second;
    assert_int_equal(asyncore_map_create(NULL, &second), 0);
    struct chan *c = kit_pair_chan("a", 0, AF_UNIX, &peer);
    for (int i = 0; i < 4; i++) {
        struct asyncore_map *to = i % 2 == 0 ? second : first;
        struct asyncore_map *from = i % 2 == 0 ? first : second;
        if (i > 1) {
            assert_int_equal(asyncore_poll(0, from), 0);
        }
        assert_int_equal(asyncore_del_channel(D(c)), 0);
        assert_int_equal(asyncore_add_channel(D(c), to), 0);
        assert_ptr_equal(D(c)->map, to);
        assert_int_equal(asyncore_map_count(from), 0);
        assert_int_equal(asyncore_map_count(to), 1);
        kit_write(peer, "x", 1);
        assert_int_equal(asyncore_poll(0, from), 0);
        assert_trace("");
        assert_int_equal(asyncore_poll(0, to), 0);
        assert_trace("a.handle_read\na.recv 1\n");
    }
    assert_int_equal(asyncore_map_free(second), 0);
    close(peer);
}

static struct asyncore_map *elsewhere;

static int
move_peer(struct chan *c)
{
    assert_int_equal(asyncore_del_channel(D(c->peer)), 0);
    assert_int_equal(asyncore_add_channel(D(c->peer), elsewhere), 0);
    return react_read(c);
}

static void
channel_moved_in_a_pass_gets_its_event_in_the_other_map(void **state)
{
    (void)state;
    int peer[2];
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer[0]);
    struct chan *b = kit_pair_chan("b", 0, AF_UNIX, &peer[1]);
    assert_int_equal(asyncore_map_create(NULL, &elsewhere), 0);
    a->peer = b;
    a->react[ON_READ] = move_peer;
    kit_write(peer[0], "x", 1);
    kit_write(peer[1], "x", 1);
    kit_pass();
    assert_trace("a.handle_read\na.recv 1\n");
    assert_int_equal(asyncore_poll(0, elsewhere), 0);
    assert_trace("b.handle_read\nb.recv 1\n");
    assert_int_equal(asyncore_close_all(elsewhere, false), 0);
    assert_int_equal(asyncore_map_free(elsewhere), 0);
    close(peer[0]);
    close(peer[1]);
}

static void
channel_that_cannot_be_added_stays_set_aside(void **state)
{
    (void)state;
    int peer;
    struct chan *c = kit_pair_chan("a", REC_ASK | REC_QUIET, AF_UNIX, &peer);
    struct asyncore_map *other;
    assert_int_equal(asyncore_map_create("poll", &other), 0);
    assert_int_equal(asyncore_del_channel(D(c)), 0);
    unsigned long n = 0;
    int err;
    do {
        kit_fail_alloc(++n, 1);
        err = asyncore_add_channel(D(c), other);
        kit_heal();
        if (err < 0) {
            assert_int_equal(err, -ENOMEM);
            assert_ptr_equal(D(c)->map, kit.map);
            assert_int_equal(asyncore_map_count(other), 0);
        }
    } while (err < 0);
    assert_true(n > 1);
    assert_int_equal(asyncore_del_channel(D(c)), 0);
    assert_int_equal(asyncore_add_channel(D(c), kit.map), 0);
    kit_write(peer, "x", 1);
    kit_pass();
    assert_trace("a.handle_read\na.recv 1\n");
    assert_int_equal(asyncore_map_free(other), 0);
    close(peer);
}

static void
channel_closed_while_set_aside_is_destroyed(void **state)
{
    (void)state;
    int peer;
    struct chan *c = kit_pair_chan("a", REC_ASK, AF_UNIX, &peer);
    assert_int_equal(asyncore_del_channel(D(c)), 0);
    assert_int_equal(asyncore_close(D(c)), 0);
    assert_int_equal(asyncore_add_channel(D(c), NULL), -EBADF);
    assert_int_equal(asyncore_del_channel(D(c)), -EBADF);
    kit_pass();
    assert_trace("a.destroy\n");
    close(peer);
}

#define ENV_TEST(fn) cmocka_unit_test_setup_teardown(fn, save_env, restore_env)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_BARE_TEST(create_on_each_backend_has_its_name),
        KIT_BARE_TEST(
            create_on_an_unknown_backend_is_enosys_and_names_the_others),
        KIT_BARE_TEST(create_without_a_result_is_einval),
        KIT_BARE_TEST(create_without_descriptors_fails_and_leaves_nothing),
        KIT_BARE_TEST(create_without_memory_fails_and_leaves_nothing),
        KIT_BARE_TEST(free_of_null_is_nothing),
        KIT_TEST(free_with_a_channel_is_ebusy),
        KIT_TEST(free_with_a_channel_set_aside_is_ebusy),
        KIT_TEST(free_destroys_what_was_closed),
        KIT_TEST(free_in_a_handler_is_ebusy),
        KIT_TEST(free_drops_timers_and_posts),
        KIT_BARE_TEST(default_map_is_made_once_and_one_per_thread),
        KIT_BARE_TEST(default_map_is_made_anew_after_a_free),
        KIT_BARE_TEST(default_map_that_cannot_be_made_is_null),
        ENV_TEST(backend_of_the_environment_is_taken),
        ENV_TEST(backend_of_no_environment_is_the_best),
        ENV_TEST(backend_of_the_environment_that_is_unknown_is_logged),
        KIT_TEST(get_finds_a_channel_by_its_descriptor),
        KIT_TEST(next_gives_the_order_of_adding),
        KIT_TEST(next_while_closing_what_it_gave_finds_all),
        KIT_TEST(next_of_a_channel_that_is_not_there_is_null),
        KIT_TEST(order_after_many_comings_and_goings_is_that_of_adding),
        KIT_TEST(close_all_closes_in_order_and_destroys),
        KIT_TEST(close_all_with_a_failing_close_stops_there),
        KIT_TEST(close_all_that_ignores_all_closes_all),
        KIT_TEST(close_all_does_not_mind_ebadf),
        KIT_TEST(close_all_in_a_handler_destroys_after_the_pass),
        KIT_TEST(set_backend_moves_live_channels),
        KIT_TEST(set_backend_to_the_same_one_is_nothing),
        KIT_TEST(set_backend_unknown_is_enosys_and_changes_nothing),
        KIT_TEST(set_backend_in_a_handler_keeps_the_rest_of_the_pass),
        KIT_TEST(set_backend_without_memory_stays_where_it_was),
        KIT_TEST(set_backend_refused_by_the_kernel_stays_where_it_was),
        KIT_TEST(change_that_fails_half_way_leaves_no_trace),
        KIT_TEST(descriptor_beyond_select_is_erange_and_logged),
        KIT_TEST(descriptor_beyond_select_keeps_the_map_from_it),
        KIT_TEST(descriptor_beyond_select_of_a_fresh_socket_is_erange),
        KIT_TEST(channel_whose_descriptor_is_taken_is_eexist),
        KIT_TEST(channel_set_aside_is_not_served),
        KIT_TEST(channel_moved_to_another_map_is_served_there),
        KIT_TEST(channel_moved_in_a_pass_gets_its_event_in_the_other_map),
        KIT_TEST(channel_that_cannot_be_added_stays_set_aside),
        KIT_TEST(channel_closed_while_set_aside_is_destroyed),
    };
    return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
