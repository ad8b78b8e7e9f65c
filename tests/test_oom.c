/* SPDX-License-Identifier: MIT */
/* test_oom.c - what a call without memory says, and that it leaves everything
 * as it was: each public function that allocates, each of its allocations. */
#include <arpa/inet.h>

#include "kit.h"

/* What the attempts work on; made anew for each case. */
static struct {
    struct chan *a; /* a sender, open */
    struct chan *closed;
    int peer, spare[2], pipe[2];
    struct asyncore_map *other;
} o;

static int
called(struct asyncore_map *map, void *arg)
{
    (void)map;
    (void)arg;
    return 0;
}

static int
try_map_create(void)
{
    struct asyncore_map *map = NULL;
    int err = asyncore_map_create(NULL, &map);
    assert_true((err == 0) == (map != NULL));
    assert_int_equal(asyncore_map_free(map), 0);
    return err;
}

static int
try_default_map(void)
{
    struct asyncore_map *map = asyncore_map_default();
    if (map == NULL) {
        return -ENOMEM;
    }
    assert_int_equal(asyncore_map_free(map), 0);
    return 0;
}

static int
close_new(struct asyncore_dispatcher *d, int err)
{
    if (err == 0) {
        assert_int_equal(asyncore_close(d), 0);
        o.spare[0] = -1;
    }
    return err;
}

static int
try_dispatcher_new(void)
{
    struct asyncore_dispatcher *d = NULL;
    int err = asyncore_dispatcher_new(NULL, o.spare[0], kit.map, &d);
    assert_true((err == 0) == (d != NULL));
    return close_new(d, err);
}

static int
try_dispatcher_init(void)
{
    static struct asyncore_dispatcher d;
    int err = asyncore_dispatcher_init(&d, NULL, o.spare[0], kit.map);
    assert_true((err == 0) == (d.fd >= 0));
    return close_new(&d, err);
}

static int
try_with_send_new(void)
{
    struct asyncore_dispatcher_with_send *s = NULL;
    int err = asyncore_dispatcher_with_send_new(NULL, o.spare[0], kit.map, &s);
    return close_new(s != NULL ? &s->base : NULL, err);
}

static int
try_file_new(void)
{
    struct asyncore_file_dispatcher *f = NULL;
    int err = asyncore_file_dispatcher_new(NULL, o.pipe[0], kit.map, &f);
    return err < 0 ? err : asyncore_close(&f->base);
}

static int
try_create_socket(void)
{
    int err = asyncore_create_socket(D(o.closed), AF_INET, SOCK_STREAM);
    assert_true((err == 0) == (D(o.closed)->fd >= 0));
    o.closed->opened |= err == 0;
    return err;
}

static int
try_set_socket(void)
{
    int err = asyncore_set_socket(D(o.closed), o.spare[0]);
    assert_true((err == 0) == (D(o.closed)->fd >= 0));
    if (err == 0) {
        o.closed->opened = true;
        o.spare[0] = -1;
    }
    return err;
}

static int
try_set_file(void)
{
    int err = asyncore_set_file(D(o.closed), o.pipe[0]);
    assert_true((err == 0) == (D(o.closed)->fd >= 0));
    o.closed->opened |= err == 0;
    return err;
}

static int
try_move(void)
{
    if (asyncore_map_get(kit.map, D(o.a)->fd) != NULL) {
        assert_int_equal(asyncore_del_channel(D(o.a)), 0);
    }
    int err = asyncore_add_channel(D(o.a), o.other);
    assert_ptr_equal(D(o.a)->map, err == 0 ? o.other : kit.map);
    assert_int_equal(asyncore_map_count(o.other), err == 0);
    if (err == 0) {
        assert_int_equal(asyncore_close(D(o.a)), 0);
    }
    return err;
}

static int
try_call_later(void)
{
    int64_t id = asyncore_call_later(kit.map, 1, called, NULL);
    return id > 0 ? asyncore_cancel(kit.map, id) : (int)id;
}

static int
try_call_soon(void)
{
    return asyncore_call_soon_threadsafe(kit.map, called, NULL);
}

static int
try_set_timeout(void)
{
    return asyncore_set_timeout(D(o.a), 5);
}

static int
try_send(void)
{
    kit_fail(KIT_SEND, D(o.a)->fd, 1, 1, -EAGAIN);
    ssize_t n = asyncore_send(D(o.a), "bytes", 5);
    kit.world.nfaults = 0;
    assert_int_equal(asyncore_output_size(D(o.a)), n > 0 ? 5 : 0);
    return n == 5 ? 0 : (int)n;
}

static int
try_change_backend(const char *name)
{
    const char *was = asyncore_map_backend(kit.map);
    int err = asyncore_map_set_backend(kit.map, name);
    assert_string_equal(asyncore_map_backend(kit.map), err == 0 ? name : was);
    return err;
}

static int
try_to_epoll(void)
{
    return try_change_backend("epoll");
}

static int
try_to_poll(void)
{
    return try_change_backend("poll");
}

static int
try_to_select(void)
{
    return try_change_backend("select");
}

static int
try_fileno(void)
{
    int fd = asyncore_map_fileno(kit.map);
    return fd < 0 ? fd : 0;
}

static void
set_up(void)
{
    int fd[2];
    kit_pair(AF_UNIX, fd);
    o.peer = fd[1];
    o.a = chan_open_sender("a", 0, fd[0]);
    o.closed = chan_open("closed", 0, -1);
    kit_pair(AF_UNIX, o.spare);
    assert_int_equal(pipe(o.pipe), 0);
    assert_int_equal(asyncore_map_create(NULL, &o.other), 0);
    kit_pass();
}

/* All that was there before works as it did. */
static void
assert_unharmed(void)
{
    assert_true(D(o.a)->fd >= 0);
    assert_int_equal(asyncore_map_count(kit.map), 1);
    kit_write(o.peer, "x", 1);
    unsigned before = o.a->events[ON_READ];
    kit_pass();
    kit_pass();
    assert_int_equal(o.a->events[ON_READ], before + 1);
}

static void
tear_down(void)
{
    assert_int_equal(asyncore_close_all(o.other, false), 0);
    assert_int_equal(asyncore_map_free(o.other), 0);
    close(o.peer);
    if (o.spare[0] >= 0) {
        close(o.spare[0]);
    }
    close(o.spare[1]);
    close(o.pipe[0]);
    close(o.pipe[1]);
}

static void
assert_fails_clean(int (*attempt)(void), bool takes_it_out)
{
    set_up();
    int err = -ENOMEM;
    for (unsigned long nth = 1; err < 0; nth++) {
        assert_in_range(nth, 1, 50);
        unsigned long live = kit.alloc.live;
        kit_fail_alloc(nth, 1);
        err = attempt();
        kit_heal();
        if (err < 0) {
            assert_int_equal(err, -ENOMEM);
            assert_in_range(kit.alloc.live, live, live + 2); /* had grown */
            if (!takes_it_out) {
                assert_unharmed();
            }
        }
    }
    assert_int_equal(err, 0);
    tear_down();
}

#define CASE(name, takes_it_out)                                           \
    static void name##_without_memory_is_enomem_and_harmless(void **state) \
    {                                                                      \
        (void)state;                                                       \
        assert_fails_clean(try_##name, takes_it_out);                      \
    }

CASE(map_create, false)
CASE(default_map, false)
CASE(dispatcher_new, false)
CASE(dispatcher_init, false)
CASE(with_send_new, false)
CASE(file_new, false)
CASE(create_socket, false)
CASE(set_socket, false)
CASE(set_file, false)
CASE(move, true)
CASE(call_later, false)
CASE(call_soon, false)
CASE(set_timeout, false)
CASE(send, false)
CASE(to_epoll, false)
CASE(to_poll, false)
CASE(to_select, false)
CASE(fileno, false)

/* An address that does not fit into a channel: it has none then. */
static void
address_without_memory_is_unknown(void **state)
{
    (void)state;
    char name[40];
    struct asyncore_addr addr;
    snprintf(name, sizeof name, "@asyncore-oom-%d", (int)getpid());
    struct chan *l = chan_socket("l", 0, AF_UNIX, SOCK_STREAM);
    kit_fail_alloc(1, 1);
    assert_int_equal(asyncore_bind(D(l), name, 0), 0);
    assert_int_equal(asyncore_getaddr(D(l), &addr), -ENOTCONN);
    assert_int_equal(asyncore_listen(D(l), 1), 0);
    assert_int_equal(asyncore_getaddr(D(l), &addr), 0);
    assert_string_equal(asyncore_addr_str(&addr), name);
}

#define OOM_TEST(name) KIT_TEST(name##_without_memory_is_enomem_and_harmless)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        OOM_TEST(map_create),
        OOM_TEST(default_map),
        OOM_TEST(dispatcher_new),
        OOM_TEST(dispatcher_init),
        OOM_TEST(with_send_new),
        OOM_TEST(file_new),
        OOM_TEST(create_socket),
        OOM_TEST(set_socket),
        OOM_TEST(set_file),
        OOM_TEST(move),
        OOM_TEST(call_later),
        OOM_TEST(call_soon),
        OOM_TEST(set_timeout),
        OOM_TEST(send),
        OOM_TEST(to_epoll),
        OOM_TEST(to_poll),
        OOM_TEST(to_select),
        OOM_TEST(fileno),
        KIT_TEST(address_without_memory_is_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
