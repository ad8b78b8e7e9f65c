/* SPDX-License-Identifier: MIT */
/* test_dispatcher.c - class dispatcher: its states, its sockets, what it says
 * of itself, and how it takes what it cannot use. */
#include <fcntl.h>
#include <math.h>

#include "await.h"
#include "kit.h"

/* The state of a channel as text: c(onnected), a(ccepting), (connectin)g. */
static const char *
flags_of(const struct chan *c)
{
    static char text[8];
    const struct asyncore_dispatcher *d = D(c);
    snprintf(text, sizeof text, "%s%s%s%s", d->connected ? "c" : "",
             d->accepting ? "a" : "", d->connecting ? "g" : "",
             d->closing ? "e" : "");
    return text;
}

static struct asyncore_addr
addr_of(const struct chan *c)
{
    struct asyncore_addr addr;
    assert_int_equal(asyncore_getaddr(D(c), &addr), 0);
    return addr;
}

static struct asyncore_addr
own_addr_of(const struct chan *c)
{
    struct asyncore_addr addr;
    assert_int_equal(asyncore_getsockname(D(c), &addr), 0);
    return addr;
}

static void
assert_same_addr(struct asyncore_addr a, struct asyncore_addr b)
{
    assert_true(a.len > 0);
    assert_string_equal(asyncore_addr_str(&a), asyncore_addr_str(&b));
}

/* A file name in a directory of its own, for a unix socket. */
static char socket_dir[64], socket_path[96];

static const char *
make_path(void)
{
    snprintf(socket_dir, sizeof socket_dir, "%s", "/tmp/asyncore-XXXXXX");
    assert_non_null(mkdtemp(socket_dir));
    snprintf(socket_path, sizeof socket_path, "%s/socket", socket_dir);
    return socket_path;
}

static void
remove_path(void)
{
    unlink(socket_path);
    rmdir(socket_dir);
}

static void
abstract_name(char *buf, size_t size)
{
    snprintf(buf, size, "@asyncore-test-%ld", (long)getpid());
}

/* ---- states ---- */

static void
state_of_a_new_channel_is_none(void **state)
{
    (void)state;
    struct chan *c = chan_open("a", 0, -1);
    struct asyncore_addr addr;
    assert_int_equal(D(c)->fd, -1);
    assert_string_equal(flags_of(c), "");
    assert_int_equal(asyncore_getaddr(D(c), &addr), -ENOTCONN);
    assert_int_equal(D(c)->ignore_log_types, ASYNCORE_LOG_WARNING);
    assert_int_equal(D(c)->debug, 0);
    assert_null(D(c)->data);
    assert_ptr_equal(D(c)->map, kit.map);
    assert_int_equal(asyncore_map_count(kit.map), 0);
}

static void
state_of_a_client_goes_from_connecting_to_closed(void **state)
{
    (void)state;
    struct chan *s = chan_listen("s", 0, AF_INET);
    struct chan *c = chan_socket("c", 0, AF_INET, SOCK_STREAM);
    assert_string_equal(flags_of(c), "");
    assert_true(D(c)->fd >= 0);
    assert_int_equal(asyncore_map_count(kit.map), 2);
    assert_int_equal(asyncore_connect(D(c), "127.0.0.1", chan_port(s)), 0);
    assert_string_equal(flags_of(c), "g");
    RUN_UNTIL(s->born == 1 && c->events[ON_CONNECT] == 1);
    assert_string_equal(flags_of(c), "c");
    assert_string_equal(flags_of(s), "a");
    assert_string_equal(flags_of(s->last), "c");
    assert_int_equal(asyncore_close(D(c)), 0);
    assert_string_equal(flags_of(c), "");
    assert_int_equal(D(c)->fd, -1);
    assert_int_equal(asyncore_close(D(s)), 0);
    assert_string_equal(flags_of(s), "");
}

static unsigned connected_in_handler;

static int
note_connected(struct chan *c)
{
    connected_in_handler = D(c)->connected && !D(c)->connecting;
    return 0;
}

static void
state_in_handle_connect_is_connected(void **state)
{
    (void)state;
    struct chan *s = chan_listen("s", 0, AF_INET);
    struct chan *c = chan_socket("c", 0, AF_INET, SOCK_STREAM);
    c->react[ON_CONNECT] = note_connected;
    connected_in_handler = 0;
    assert_int_equal(asyncore_connect(D(c), "127.0.0.1", chan_port(s)), 0);
    RUN_UNTIL(c->events[ON_CONNECT] == 1);
    assert_int_equal(connected_in_handler, 1);
}

static void
socket_not_yet_in_use_is_not_waited_for(void **state)
{
    (void)state;
    chan_socket("a", REC_WRITE, AF_INET, SOCK_STREAM);
    chan_socket("b", REC_WRITE, AF_UNIX, SOCK_STREAM);
    kit_pass();
    kit_pass();
    assert_trace("");
}

/* ---- create_socket ---- */

static void
create_socket_is_nonblocking_and_closed_on_exec(void **state)
{
    (void)state;
    static const int families[] = {AF_INET, AF_UNIX};
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM};
    for (size_t i = 0; i < 4; i++) {
        struct chan *c = chan_socket("a", 0, families[i % 2], types[i / 2]);
        int type = 0;
        socklen_t len = sizeof type;
        assert_true((fcntl(D(c)->fd, F_GETFL) & O_NONBLOCK) != 0);
        assert_true((fcntl(D(c)->fd, F_GETFD) & FD_CLOEXEC) != 0);
        assert_int_equal(
            getsockopt(D(c)->fd, SOL_SOCKET, SO_TYPE, &type, &len), 0);
        assert_int_equal(type, types[i / 2]);
        assert_ptr_equal(asyncore_map_get(kit.map, D(c)->fd), D(c));
    }
}

static void
create_socket_on_a_channel_that_has_one_is_ebusy(void **state)
{
    (void)state;
    struct chan *c = chan_socket("a", 0, AF_INET, SOCK_STREAM);
    int fd = D(c)->fd, other[2];
    assert_int_equal(asyncore_create_socket(D(c), AF_INET, SOCK_STREAM),
                     -EBUSY);
    kit_pair(AF_UNIX, other);
    assert_int_equal(asyncore_set_socket(D(c), other[0]), -EBUSY);
    assert_int_equal(asyncore_set_file(D(c), other[0]), -EBUSY);
    assert_int_equal(D(c)->fd, fd);
    assert_int_equal(asyncore_map_count(kit.map), 1);
    close(other[0]);
    close(other[1]);
}

static void
create_socket_that_fails_leaves_no_trace(void **state)
{
    (void)state;
    struct chan *c = chan_open("a", 0, -1);
    assert_int_equal(asyncore_create_socket(D(c), 12345, SOCK_STREAM),
                     -EINVAL);
    assert_int_equal(asyncore_create_socket(D(c), AF_INET, SOCK_RAW), -EINVAL);
    kit_fail(KIT_SOCKET, -1, 1, 1, -EMFILE);
    assert_int_equal(asyncore_create_socket(D(c), AF_INET, SOCK_STREAM),
                     -EMFILE);
    kit_heal();
    assert_int_equal(D(c)->fd, -1);
    assert_int_equal(asyncore_map_count(kit.map), 0);
    assert_int_equal(asyncore_create_socket(D(c), AF_INET, SOCK_STREAM), 0);
    c->opened = true;
}

static void
create_socket_without_memory_closes_it(void **state)
{
    (void)state;
    struct chan *c = chan_open("a", REC_ASK, -1);
    unsigned long n = 0;
    int err;
    do {
        kit_fail_alloc(++n, 1);
        err = asyncore_create_socket(D(c), AF_INET, SOCK_STREAM);
        kit_heal();
        assert_true(err == 0 || err == -ENOMEM);
        assert_int_equal(asyncore_map_count(kit.map), err == 0);
    } while (err < 0);
    assert_true(n > 1);
    assert_int_equal(kit.world.calls[KIT_SOCKET],
                     kit.world.calls[KIT_CLOSE] + 1);
    c->opened = true;
}

/* ---- set_socket ---- */

static void
set_socket_of_a_connection_is_connected(void **state)
{
    (void)state;
    int fd[2];
    struct sockaddr_in peer;
    socklen_t len = sizeof peer;
    kit_pair(AF_INET, fd);
    assert_int_equal(fcntl(fd[0], F_SETFL, 0), 0);
    struct chan *c = chan_open("a", 0, -1);
    assert_int_equal(asyncore_set_socket(D(c), fd[0]), 0);
    c->opened = true;
    assert_int_equal(D(c)->fd, fd[0]);
    assert_true((fcntl(fd[0], F_GETFL) & O_NONBLOCK) != 0);
    assert_string_equal(flags_of(c), "c");
    assert_int_equal(getsockname(fd[1], (struct sockaddr *)&peer, &len), 0);
    struct asyncore_addr addr = addr_of(c);
    assert_int_equal(addr.u.in.sin_port, peer.sin_port);
    kit_write(fd[1], "x", 1);
    await(fd[0], POLLIN);
    kit_pass();
    assert_trace("a.handle_read\na.recv 1\n");
    close(fd[1]);
}

static void
set_socket_of_a_listener_accepts(void **state)
{
    (void)state;
    int port;
    int fd = kit_listener(AF_INET, &port);
    struct chan *c = chan_open("a", 0, fd);
    assert_string_equal(flags_of(c), "a");
    int client = kit_connect(port);
    RUN_UNTIL(c->born == 1);
    assert_string_equal(flags_of(c->last), "c");
    close(client);
}

static void
set_socket_of_one_that_is_neither_can_still_become_both(void **state)
{
    (void)state;
    struct chan *s = chan_open("s", 0, socket(AF_INET, SOCK_STREAM, 0));
    struct chan *c = chan_open("c", 0, socket(AF_INET, SOCK_STREAM, 0));
    struct asyncore_addr addr;
    assert_string_equal(flags_of(s), "");
    assert_int_equal(asyncore_getaddr(D(s), &addr), -ENOTCONN);
    kit_pass();
    assert_trace("");
    assert_int_equal(asyncore_bind(D(s), "127.0.0.1", 0), 0);
    assert_int_equal(asyncore_listen(D(s), 1), 0);
    assert_int_equal(asyncore_connect(D(c), "127.0.0.1", chan_port(s)), 0);
    RUN_UNTIL(s->born == 1 && c->events[ON_CONNECT] == 1);
}

static void
set_socket_of_no_socket_is_refused(void **state)
{
    (void)state;
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    struct chan *c = chan_new("a", 0);
    assert_int_equal(chan_try(c, fd[0]), -ENOTSOCK);
    assert_int_equal(D(c)->fd, -1);
    assert_int_equal(asyncore_close(D(c)), -EINVAL); /* it is no channel */
    assert_int_equal(chan_try(c, 4000), -EBADF);
    assert_int_equal(chan_try(c, -2), -EBADF);
    assert_int_equal(asyncore_dispatcher_new(NULL, fd[0], kit.map, NULL),
                     -ENOTSOCK);
    assert_int_equal(asyncore_map_count(kit.map), 0);
    close(fd[0]);
    close(fd[1]);
}

static void
new_channel_of_the_library_is_released_by_it(void **state)
{
    (void)state;
    int fd[2];
    struct asyncore_dispatcher *d = NULL;
    kit_pair(AF_INET, fd);
    assert_int_equal(asyncore_dispatcher_new(NULL, fd[0], kit.map, &d), 0);
    assert_int_equal(d->fd, fd[0]);
    assert_null(d->data);
    unsigned long before = kit.alloc.live;
    assert_int_equal(asyncore_close(d), 0);
    assert_int_equal(kit.alloc.live, before);
    kit_pass();
    assert_int_equal(kit.alloc.live, before - 1);
    kit_fail_alloc(1, 1);
    assert_int_equal(asyncore_dispatcher_new(NULL, fd[1], kit.map, &d),
                     -ENOMEM);
    close(fd[1]);
}

/* ---- TCP ---- */

/* A client and a server meet; what they say arrives, their addresses fit. */
static void
converse(int family, const char *host)
{
    struct chan *s = chan_listen("s", 0, family);
    struct chan *c = chan_socket("c", 0, family, SOCK_STREAM);
    struct asyncore_addr bound = addr_of(s);
    assert_same_addr(bound, own_addr_of(s)); /* with the port it got */
    assert_true(chan_port(s) != 0);
    assert_int_equal(asyncore_connect(D(c), host, chan_port(s)), 0);
    RUN_UNTIL(s->born == 1 && D(c)->connected);
    struct chan *t = s->last;
    assert_same_addr(addr_of(c), own_addr_of(s));
    assert_same_addr(addr_of(t), own_addr_of(c));
    assert_same_addr(own_addr_of(t), addr_of(c));
    assert_int_equal(asyncore_send(D(c), "ping", 4), 4);
    RUN_UNTIL(t->in.len == 4);
    assert_string_equal(text_get(&t->in), "ping");
    assert_int_equal(asyncore_send(D(t), "pong!", 5), 5);
    RUN_UNTIL(c->in.len == 5);
    assert_string_equal(text_get(&c->in), "pong!");
    assert_int_equal(asyncore_close(D(t)), 0);
    RUN_UNTIL(c->events[ON_CLOSE] == 1);
    assert_int_equal(c->events[ON_ERROR], 0);
}

static void
tcp_over_ipv4_carries_both_ways(void **state)
{
    (void)state;
    converse(AF_INET, "127.0.0.1");
}

static void
tcp_over_ipv6_carries_both_ways(void **state)
{
    (void)state;
    converse(AF_INET6, "::1");
}

static void
tcp_by_sockaddr_connects(void **state)
{
    (void)state;
    struct chan *s = chan_socket("s", 0, AF_INET, SOCK_STREAM);
    struct chan *c = chan_socket("c", 0, AF_INET, SOCK_STREAM);
    struct sockaddr_in in = {.sin_family = AF_INET};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(
        asyncore_bind_addr(D(s), (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(asyncore_listen(D(s), 5), 0);
    in.sin_port = htons((uint16_t)chan_port(s));
    assert_int_equal(
        asyncore_connect_addr(D(c), (struct sockaddr *)&in, sizeof in), 0);
    RUN_UNTIL(s->born == 1 && D(c)->connected);
}

static void
bind_to_any_address_takes_local_connections(void **state)
{
    (void)state;
    static const char *const any[] = {"", NULL, "0.0.0.0"};
    for (size_t i = 0; i < COUNT(any); i++) {
        struct chan *s = chan_socket("s", 0, AF_INET, SOCK_STREAM);
        assert_int_equal(asyncore_bind(D(s), any[i], 0), 0);
        assert_int_equal(asyncore_listen(D(s), 5), 0);
        struct asyncore_addr addr = own_addr_of(s);
        assert_int_equal(addr.u.in.sin_addr.s_addr, INADDR_ANY);
        int client = knock(s);
        RUN_UNTIL(s->born == 1);
        close(client);
    }
}

static void
bind_to_an_address_in_use_fails_and_can_be_retried(void **state)
{
    (void)state;
    struct chan *s = chan_listen("s", 0, AF_INET);
    struct chan *c = chan_socket("c", 0, AF_INET, SOCK_STREAM);
    assert_int_equal(asyncore_bind(D(c), "127.0.0.1", chan_port(s)),
                     -EADDRINUSE);
    assert_int_equal(asyncore_bind(D(c), "127.0.0.1", 0), 0);
}

static void
set_reuse_addr_sets_the_option(void **state)
{
    (void)state;
    struct chan *c = chan_socket("c", 0, AF_INET, SOCK_STREAM);
    int on = 0;
    socklen_t len = sizeof on;
    assert_int_equal(asyncore_set_reuse_addr(D(c)), 0);
    assert_int_equal(getsockopt(D(c)->fd, SOL_SOCKET, SO_REUSEADDR, &on, &len),
                     0);
    assert_int_not_equal(on, 0);
    kit_fail(KIT_SETSOCKOPT, -1, 1, 1, -EPERM);
    assert_int_equal(asyncore_set_reuse_addr(D(c)), -EPERM);
}

static void
name_that_does_not_resolve_is_an_eai(void **state)
{
    (void)state;
    struct chan *c = chan_socket("c", 0, AF_INET, SOCK_STREAM);
    kit_fail(KIT_RESOLVE, -1, 1, 2, -ASYNCORE_EAI_NONAME);
    assert_int_equal(asyncore_bind(D(c), "no.such.host.invalid", 0),
                     -ASYNCORE_EAI_NONAME);
    assert_int_equal(asyncore_connect(D(c), "no.such.host.invalid", 80),
                     -ASYNCORE_EAI_NONAME);
    assert_string_equal(flags_of(c), "");
    assert_int_equal(asyncore_map_count(kit.map), 0); /* as a failed connect */
    assert_trace("");
    assert_int_equal(asyncore_bind(D(c), "127.0.0.1", 0), 0);
    assert_int_equal(asyncore_close(D(c)), 0);
}

/* ---- AF_UNIX ---- */

static void
talk_over_unix(const char *name)
{
    struct chan *s = chan_socket("s", 0, AF_UNIX, SOCK_STREAM);
    struct chan *c = chan_socket("c", 0, AF_UNIX, SOCK_STREAM);
    assert_int_equal(asyncore_bind(D(s), name, 0), 0);
    assert_int_equal(asyncore_listen(D(s), 1), 0);
    assert_int_equal(asyncore_connect(D(c), name, 0), 0);
    assert_trace("c.handle_connect\n"); /* before connect() returned */
    assert_string_equal(flags_of(c), "c");
    struct asyncore_addr addr = addr_of(c);
    assert_string_equal(asyncore_addr_str(&addr), name);
    addr = addr_of(s);
    assert_string_equal(asyncore_addr_str(&addr), name);
    assert_int_equal(asyncore_send(D(c), "ping", 4), 4);
    RUN_UNTIL(s->born == 1 && s->last->in.len == 4);
    assert_int_equal(asyncore_send(D(s->last), "pong", 4), 4);
    RUN_UNTIL(c->in.len == 4);
    assert_int_equal(asyncore_close(D(c)), 0);
    addr = addr_of(c); /* kept */
    assert_string_equal(asyncore_addr_str(&addr), name);
    RUN_UNTIL(s->last->destroyed == 1);
}

static void
unix_socket_with_a_path_carries_both_ways(void **state)
{
    (void)state;
    talk_over_unix(make_path());
    remove_path();
}

static void
unix_socket_with_an_abstract_name_carries_both_ways(void **state)
{
    (void)state;
    char name[64];
    abstract_name(name, sizeof name);
    talk_over_unix(name);
}

static void
unix_path_that_is_too_long_is_enametoolong(void **state)
{
    (void)state;
    char name[200];
    struct chan *c = chan_socket("c", 0, AF_UNIX, SOCK_STREAM);
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(asyncore_bind(D(c), name, 0), -ENAMETOOLONG);
    assert_int_equal(asyncore_connect(D(c), name, 0), -ENAMETOOLONG);
    assert_int_equal(asyncore_close(D(c)), 0);
}

/* ---- connect ---- */

static void
connect_that_fails_at_once_leaves_the_map(void **state)
{
    (void)state;
    char name[64];
    abstract_name(name, sizeof name);
    struct chan *c = chan_socket("c", 0, AF_UNIX, SOCK_STREAM);
    assert_int_equal(asyncore_connect(D(c), name, 0), -ECONNREFUSED);
    assert_trace("");
    assert_string_equal(flags_of(c), "");
    assert_int_equal(asyncore_map_count(kit.map), 0);
    assert_true(D(c)->fd >= 0);
    assert_int_equal(
        asyncore_loop(ASYNCORE_FOREVER, false, kit.map, ASYNCORE_UNTIL_EMPTY),
        0); /* nobody to wait for */
    assert_int_equal(asyncore_close(D(c)), 0);
    assert_int_equal(asyncore_create_socket(D(c), AF_UNIX, SOCK_STREAM), 0);
    assert_int_equal(asyncore_map_count(kit.map), 1);
    kit_pass();
    assert_trace(""); /* not destroyed: it is in use again */
}

static void
connect_that_fails_at_once_says_why(void **state)
{
    (void)state;
    static const int errors[] = {-ENETUNREACH, -EADDRNOTAVAIL, -EACCES,
                                 -ETIMEDOUT};
    for (size_t i = 0; i < COUNT(errors); i++) {
        struct chan *c = chan_socket("c", 0, AF_INET, SOCK_STREAM);
        kit_fail(KIT_CONNECT, D(c)->fd, 1, 1, errors[i]);
        assert_int_equal(asyncore_connect(D(c), "127.0.0.1", 1), errors[i]);
        assert_int_equal(asyncore_map_count(kit.map), 0);
        assert_int_equal(asyncore_close(D(c)), 0);
        kit_heal();
    }
}

static void
connect_to_a_full_unix_backlog_is_ebusy(void **state)
{
    (void)state;
    char name[64];
    abstract_name(name, sizeof name);
    struct chan *s = chan_socket("s", 0, AF_UNIX, SOCK_STREAM);
    assert_int_equal(asyncore_bind(D(s), name, 0), 0);
    assert_int_equal(asyncore_listen(D(s), 1), 0);
    int err = 0;
    for (int i = 0; i < 10 && err == 0; i++) {
        struct chan *c = chan_socket("c", 0, AF_UNIX, SOCK_STREAM);
        err = asyncore_connect(D(c), name, 0);
        assert_int_equal(D(c)->connected, err == 0);
        if (err < 0) {
            assert_int_equal(asyncore_close(D(c)), 0);
        }
    }
    assert_int_equal(err, -EBUSY);
}

static void
connect_refused_is_an_error_and_the_end(void **state)
{
    (void)state;
    int held;
    int port = kit_dead_port(&held);
    struct chan *c = chan_socket("c", 0, AF_INET, SOCK_STREAM);
    assert_int_equal(asyncore_connect(D(c), "127.0.0.1", port), 0);
    RUN_UNTIL(c->destroyed == 1);
    assert_string_equal(asyncore_errorcode(c->failed.code), "ECONNREFUSED");
    assert_string_equal(c->failed.op, "connect");
    assert_int_equal(c->events[ON_CONNECT], 0);
    assert_int_equal(c->events[ON_ERROR], 1);
    assert_int_equal(c->events[ON_CLOSE], 1);
    close(held);
}

static void
connect_refused_ends_after_an_error_that_leaves_the_loop(void **state)
{
    (void)state;
    int held, rc = 0;
    int port = kit_dead_port(&held);
    struct chan *c = chan_socket("c", 0, AF_INET, SOCK_STREAM);
    c->react[ON_ERROR] = react_exit_now;
    assert_int_equal(asyncore_connect(D(c), "127.0.0.1", port), 0);
    for (int i = 0; i < 1000 && rc == 0; i++) {
        rc = asyncore_poll(0.01, kit.map);
    }
    assert_int_equal(rc, ASYNCORE_EXIT_NOW);
    assert_int_equal(c->events[ON_CLOSE], 0);
    kit_pass();
    assert_int_equal(c->events[ON_ERROR], 1);
    assert_int_equal(c->events[ON_CLOSE], 1);
    assert_int_equal(c->reason, -ECONNREFUSED);
    assert_int_equal(c->destroyed, 1);
    close(held);
}

static void
connect_again_is_ealready_or_eisconn(void **state)
{
    (void)state;
    struct chan *s = chan_listen("s", 0, AF_INET);
    struct chan *c = chan_socket("c", 0, AF_INET, SOCK_STREAM);
    int port = chan_port(s);
    assert_int_equal(asyncore_connect(D(c), "127.0.0.1", port), 0);
    assert_int_equal(asyncore_connect(D(c), "127.0.0.1", port), -EALREADY);
    assert_string_equal(flags_of(c), "g");
    RUN_UNTIL(D(c)->connected);
    assert_int_equal(asyncore_connect(D(c), "127.0.0.1", port), -EISCONN);
    assert_string_equal(flags_of(c), "c");
    assert_int_equal(c->events[ON_CONNECT], 1);
    assert_int_equal(asyncore_map_count(kit.map), 3 - (s->born == 0));
}

static void
connect_interrupted_by_a_signal_goes_on(void **state)
{
    (void)state;
    struct chan *s = chan_listen("s", 0, AF_INET);
    struct chan *c = chan_socket("c", 0, AF_INET, SOCK_STREAM);
    struct sockaddr_in in = {.sin_family = AF_INET};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    in.sin_port = htons((uint16_t)chan_port(s));
    /* The kernel has begun, and says that it was disturbed. */
    assert_true(connect(D(c)->fd, (struct sockaddr *)&in, sizeof in) < 0);
    kit_fail(KIT_CONNECT, D(c)->fd, 1, 1, -EINTR);
    assert_int_equal(asyncore_connect(D(c), "127.0.0.1", chan_port(s)), 0);
    assert_string_equal(flags_of(c), "g");
    RUN_UNTIL(D(c)->connected);
}

/* ---- UDP ---- */

static struct chan *
udp_chan(const char *name)
{
    struct chan *c = chan_socket(name, 0, AF_INET, SOCK_DGRAM);
    assert_int_equal(asyncore_bind(D(c), "127.0.0.1", 0), 0);
    return c;
}

static int
answer(struct chan *c)
{
    char buf[64];
    struct asyncore_addr from;
    ssize_t n = asyncore_recvfrom(D(c), buf, sizeof buf, &from);
    if (n < 0) {
        return (int)n;
    }
    text_append(&c->in, buf, (size_t)n);
    kit_trace("%s.recvfrom %zd", c->name, n);
    return (int)asyncore_sendto(D(c), "got it", 6, &from);
}

static void
datagrams_go_and_come_with_addresses(void **state)
{
    (void)state;
    struct chan *a = udp_chan("a");
    struct chan *b = udp_chan("b");
    struct asyncore_addr to = own_addr_of(b), from = {0};
    char buf[64];
    a->react[ON_READ] = react_nothing;
    b->react[ON_READ] = answer;
    assert_int_equal(asyncore_sendto(D(a), "hello", 5, &to), 5);
    RUN_UNTIL(a->events[ON_READ] > 0);
    assert_string_equal(text_get(&b->in), "hello");
    assert_int_equal(asyncore_recvfrom(D(a), buf, sizeof buf, &from), 6);
    assert_memory_equal(buf, "got it", 6);
    assert_same_addr(from, to);
    assert_int_equal(asyncore_recvfrom(D(a), buf, sizeof buf, &from), -EAGAIN);
    assert_int_equal(asyncore_recvfrom(D(a), buf, sizeof buf, NULL), -EAGAIN);
    assert_string_equal(flags_of(a), "");
}

static void
datagram_socket_can_be_connected_again_and_again(void **state)
{
    (void)state;
    struct chan *a = udp_chan("a");
    struct chan *b = udp_chan("b");
    struct chan *c = udp_chan("c");
    struct chan *peers[] = {b, c, b};
    for (size_t i = 0; i < COUNT(peers); i++) {
        size_t before = peers[i]->in.len;
        assert_int_equal(
            asyncore_connect(D(a), "127.0.0.1", chan_port(peers[i])), 0);
        assert_string_equal(flags_of(a), "c");
        assert_same_addr(addr_of(a), own_addr_of(peers[i]));
        assert_int_equal(asyncore_send(D(a), "one", 3), 3);
        assert_int_equal(asyncore_sendto(D(a), "two", 3, NULL), 3);
        RUN_UNTIL(peers[i]->in.len == before + 6);
    }
    assert_int_equal(a->events[ON_CONNECT], 3);
}

static void
datagram_of_no_bytes_is_no_end(void **state)
{
    (void)state;
    struct chan *a = udp_chan("a");
    struct chan *b = udp_chan("b");
    struct asyncore_addr to = own_addr_of(b);
    assert_int_equal(asyncore_sendto(D(a), "", 0, &to), 0);
    assert_int_equal(asyncore_sendto(D(a), NULL, 0, &to), 0);
    RUN_UNTIL(b->events[ON_READ] == 2);
    assert_int_equal(asyncore_sendto(D(a), "x", 1, &to), 1);
    RUN_UNTIL(b->in.len == 1);
    assert_int_equal(b->events[ON_CLOSE], 0);
    assert_int_equal(b->events[ON_READ], 3);
    assert_true(D(b)->fd >= 0);
}

/* ---- urgent data ---- */

static int
receive_urgent(struct chan *c)
{
    char byte = '?';
    ssize_t n = asyncore_recv_oob(D(c), &byte, 1);
    if (n > 0) {
        kit_trace("%s.urgent %c", c->name, byte);
    }
    return n < 0 ? (int)n : 0;
}

/* Blocking is a property of the open file, which others may share. */
static void
socket_made_blocking_by_others_does_not_block(void **state)
{
    (void)state;
    char byte;
    int peer;
    struct asyncore_addr from;
    struct chan *c = kit_pair_chan("c", 0, AF_INET, &peer);
    kit_fill(D(c)->fd);
    int flags = fcntl(D(c)->fd, F_GETFL);
    assert_int_equal(fcntl(D(c)->fd, F_SETFL, flags & ~O_NONBLOCK), 0);
    assert_int_equal(asyncore_recv(D(c), &byte, 1), -EAGAIN);
    assert_int_equal(asyncore_recvfrom(D(c), &byte, 1, &from), -EAGAIN);
    ssize_t n = 0;
    for (int i = 0; i < 1000 && n != -EAGAIN; i++) {
        static const char much[65536];
        n = asyncore_send(D(c), much, sizeof much);
    }
    assert_int_equal(n, -EAGAIN);
    close(peer);
}

static void
urgent_byte_goes_and_comes(void **state)
{
    (void)state;
    struct chan *s = chan_listen("s", REC_EXPT, AF_INET);
    struct chan *c = chan_socket("c", REC_EXPT, AF_INET, SOCK_STREAM);
    s->react[ON_EXPT] = c->react[ON_EXPT] = receive_urgent;
    assert_int_equal(asyncore_connect(D(c), "127.0.0.1", chan_port(s)), 0);
    RUN_UNTIL(s->born == 1 && D(c)->connected);
    text_clear(&kit.trace);
    assert_int_equal(asyncore_send_oob(D(c), "!", 1), 1);
    RUN_UNTIL(s->last->events[ON_EXPT] == 1);
    assert_non_null(strstr(text_get(&kit.trace), "s1.urgent !\n"));
    assert_int_equal(asyncore_send_oob(D(s->last), "ab", 2), 2);
    RUN_UNTIL(c->events[ON_EXPT] == 1);
    assert_non_null(strstr(text_get(&kit.trace), "c.urgent b\n"));
    RUN_UNTIL(c->in.len == 1); /* only the last was urgent */
    assert_string_equal(text_get(&c->in), "a");
    kit_pass();
    kit_pass();
    assert_int_equal(c->events[ON_EXPT], 1); /* consumed */
    char byte;
    assert_int_equal(asyncore_recv_oob(D(c), &byte, 1), -EINVAL);
    assert_int_equal(c->events[ON_CLOSE], 0);
}

/* ---- text ---- */

static void
assert_repr(const struct chan *c, const char *head)
{
    char want[256], got[256];
    snprintf(want, sizeof want, "<%s at %p>", head, (const void *)D(c));
    assert_string_equal(asyncore_repr(D(c), got, sizeof got), want);
}

static void
repr_tells_name_status_and_address(void **state)
{
    (void)state;
    char head[128];
    struct chan *s = chan_socket("server", 0, AF_INET, SOCK_STREAM);
    assert_repr(s, "server");
    assert_int_equal(asyncore_bind(D(s), "127.0.0.1", 0), 0);
    assert_repr(s, "server 127.0.0.1:0"); /* as it was asked for */
    assert_int_equal(asyncore_listen(D(s), 5), 0);
    snprintf(head, sizeof head, "server listening 127.0.0.1:%d", chan_port(s));
    assert_repr(s, head);
    struct chan *c = chan_socket("client", 0, AF_INET, SOCK_STREAM);
    assert_int_equal(asyncore_connect(D(c), "127.0.0.1", chan_port(s)), 0);
    RUN_UNTIL(D(c)->connected);
    snprintf(head, sizeof head, "client connected 127.0.0.1:%d", chan_port(s));
    assert_repr(c, head);
    assert_int_equal(asyncore_close(D(c)), 0);
    snprintf(head, sizeof head, "client 127.0.0.1:%d", chan_port(s));
    assert_repr(c, head);
    struct asyncore_dispatcher *d;
    assert_int_equal(asyncore_dispatcher_new(NULL, -1, kit.map, &d), 0);
    char got[64];
    asyncore_repr(d, got, sizeof got);
    assert_memory_equal(got, "<asyncore_dispatcher at ", 24);
    assert_int_equal(asyncore_close(d), 0);
}

static void
repr_in_too_little_room_is_cut(void **state)
{
    (void)state;
    struct chan *c = chan_socket("client", 0, AF_INET, SOCK_STREAM);
    char buf[8];
    memset(buf, '#', sizeof buf);
    assert_ptr_equal(asyncore_repr(D(c), buf, 5), buf);
    assert_string_equal(buf, "<cli");
    assert_int_equal(buf[5], '#');
    assert_ptr_equal(asyncore_repr(D(c), buf, 0), buf);
    assert_string_equal(buf, "<cli");
    assert_null(asyncore_repr(D(c), NULL, 10));
    assert_non_null(asyncore_repr(NULL, buf, sizeof buf));
    assert_true(buf[0] != '\0');
}

static void
default_handlers_say_what_nobody_handled(void **state)
{
    (void)state;
    int fd[2], spare = dup(0);
    struct asyncore_dispatcher *d;
    struct asyncore_addr addr = {0};
    kit_pair(AF_UNIX, fd);
    assert_int_equal(asyncore_dispatcher_new(NULL, fd[0], kit.map, &d), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(asyncore_dispatcher_handle_read(d), 0);
        assert_int_equal(asyncore_dispatcher_handle_write(d), 0);
        assert_int_equal(asyncore_dispatcher_handle_expt(d), 0);
        assert_int_equal(asyncore_dispatcher_handle_connect(d), 0);
        assert_string_equal(text_get(&kit.log),
                            i == 0 ? ""
                                   : "warning: unhandled read event\n"
                                     "warning: unhandled write event\n"
                                     "warning: unhandled incoming priority "
                                     "event\n"
                                     "warning: unhandled connect event\n");
        d->ignore_log_types = 0; /* the second time round, they are heard */
    }
    text_clear(&kit.log);
    assert_int_equal(asyncore_dispatcher_handle_accepted(d, spare, &addr), 0);
    assert_int_equal(fcntl(spare, F_GETFD), -1);
    assert_int_equal(asyncore_dispatcher_handle_close(d), 0);
    assert_int_equal(d->fd, -1);
    assert_string_equal(text_get(&kit.log),
                        "warning: unhandled accepted event\n"
                        "warning: unhandled close event\n");
    text_clear(&kit.log);
    close(fd[1]);
}

static void
log_lines_go_through_the_channel(void **state)
{
    (void)state;
    struct chan *c = chan_open("a", 0, -1);
    char line[1000];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    asyncore_log(D(c), "plain");
    asyncore_log_info(D(c), ASYNCORE_LOG_INFO, "%s %d", "seven", 7);
    asyncore_log_info(D(c), ASYNCORE_LOG_WARNING, "unheard");
    assert_string_equal(text_get(&kit.log), "log: plain\ninfo: seven 7\n");
    D(c)->ignore_log_types = ASYNCORE_LOG_INFO;
    asyncore_log_info(D(c), ASYNCORE_LOG_INFO, "unheard");
    asyncore_log_info(D(c), ASYNCORE_LOG_WARNING, "heard");
    assert_not_logged("unheard");
    assert_logged("warning: heard");
    text_clear(&kit.log);
    asyncore_log_info(D(c), ASYNCORE_LOG_ERROR, "%s", line);
    assert_true(kit.log.len > 500 && kit.log.len <= 512 + 8);
}

/* ---- accept ---- */

static void
accept_gives_a_descriptor_and_an_address(void **state)
{
    (void)state;
    struct chan *s = chan_listen("s", 0, AF_INET);
    struct asyncore_addr addr;
    assert_int_equal(asyncore_accept(D(s), &addr), -EAGAIN);
    int client = knock(s);
    int fd = asyncore_accept(D(s), &addr);
    assert_true(fd >= 0);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_equal(addr.u.sa.sa_family, AF_INET);
    close(fd);
    close(client);
    client = knock(s);
    fd = asyncore_accept(D(s), NULL);
    assert_true(fd >= 0);
    close(fd);
    close(client);
    struct chan *c = chan_socket("c", 0, AF_INET, SOCK_STREAM);
    assert_int_equal(asyncore_accept(D(c), &addr), -EINVAL);
}

static void
accept_takes_what_waits_in_one_pass(void **state)
{
    (void)state;
    struct chan *s = chan_listen("s", 0, AF_INET);
    int clients[10];
    for (size_t i = 0; i < COUNT(clients); i++) {
        clients[i] = knock(s);
    }
    kit_pass();
    assert_int_equal(s->born, COUNT(clients));
    for (size_t i = 0; i < COUNT(clients); i++) {
        close(clients[i]);
    }
}

static void
accept_in_one_pass_is_bounded(void **state)
{
    (void)state;
    struct chan *s = chan_listen("s", 0, AF_INET);
    int clients[150];
    assert_int_equal(asyncore_listen(D(s), 200), 0);
    for (size_t i = 0; i < COUNT(clients); i++) {
        clients[i] = knock(s);
    }
    kit_pass();
    assert_in_range(s->born, 1, 100);
    RUN_UNTIL(s->born == COUNT(clients));
    for (size_t i = 0; i < COUNT(clients); i++) {
        close(clients[i]);
    }
}

static void
accept_error_of_a_lost_connection_is_passed_over(void **state)
{
    (void)state;
    static const int lost[] = {
        EAGAIN, ECONNABORTED, ENETDOWN,   EPROTO,      ENOPROTOOPT, EHOSTDOWN,
        ENONET, EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH, EPERM,       ETIMEDOUT,
    };
    struct chan *s = chan_listen("s", 0, AF_INET);
    for (size_t i = 0; i < COUNT(lost); i++) {
        int client = knock(s);
        kit_fail(KIT_ACCEPT, -1, 1, 1, -lost[i]);
        kit_pass();
        kit_heal();
        assert_int_equal(s->born, i);
        kit_pass();
        assert_int_equal(s->born, i + 1);
        close(client);
    }
    assert_int_equal(s->events[ON_ERROR], 0);
    assert_string_equal(text_get(&kit.log), "");
}

static void
accept_interrupted_by_a_signal_is_retried(void **state)
{
    (void)state;
    struct chan *s = chan_listen("s", 0, AF_INET);
    int client = knock(s);
    kit_fail(KIT_ACCEPT, -1, 1, 3, -EINTR);
    kit_pass();
    assert_int_equal(s->born, 1);
    close(client);
}

static void
accept_error_of_the_listener_is_its_end(void **state)
{
    (void)state;
    struct chan *s = chan_listen("s", 0, AF_INET);
    int client = knock(s);
    kit_fail(KIT_ACCEPT, -1, 1, 1, -EINVAL);
    kit_pass();
    assert_trace("s.handle_error EINVAL accept handle_accept\n"
                 "s.handle_close EINVAL\ns.destroy\n");
    assert_logged("error: uncaptured error, closing channel <s listening");
    assert_logged("EINVAL");
    close(client);
}

/* ---- handle_accepted ---- */

static int
refuse(struct chan *c, int fd, const struct asyncore_addr *addr)
{
    (void)fd;
    assert_true(addr->len > 0);
    return -c->value;
}

static void
handle_accepted_that_fails_gives_the_connection_back(void **state)
{
    (void)state;
    struct text got = {0};
    struct chan *s = chan_listen("s", 0, AF_INET);
    s->accepted = refuse;
    s->value = EPERM;
    int client = knock(s);
    kit_pass();
    assert_trace("s.handle_accepted\n"
                 "s.handle_error EPERM handle_accepted handle_accepted\n");
    drain_to_end(client, &got); /* closed */
    assert_logged("dropping connection to <s listening");
    close(client);
    s->accepted = NULL;
    client = knock(s);
    kit_pass();
    assert_int_equal(s->born, 1);
    assert_string_equal(flags_of(s), "a");
    close(client);
}

static int
adopt_and_fail(struct chan *c, int fd, const struct asyncore_addr *addr)
{
    (void)addr;
    c->last = chan_open("kept", 0, fd);
    return -EPERM;
}

static void
handle_accepted_that_fails_keeps_what_a_channel_has(void **state)
{
    (void)state;
    struct chan *s = chan_listen("s", 0, AF_INET);
    s->accepted = adopt_and_fail;
    int client = knock(s);
    kit_pass();
    assert_int_equal(s->events[ON_ERROR], 1);
    kit_write(client, "x", 1);
    await(D(s->last)->fd, POLLIN);
    kit_pass();
    assert_int_equal(s->last->in.len, 1);
    close(client);
}

static int
adopt_close_and_fail(struct chan *c, int fd, const struct asyncore_addr *addr)
{
    (void)addr;
    c->last = chan_open("kept", 0, fd);
    assert_int_equal(asyncore_close(D(c->last)), 0);
    c->value = dup(0); /* it gets the number */
    assert_int_equal(c->value, fd);
    return -EPERM;
}

static void
handle_accepted_that_fails_after_a_close_closes_nobody_elses(void **state)
{
    (void)state;
    struct chan *s = chan_listen("s", 0, AF_INET);
    s->accepted = adopt_close_and_fail;
    int client = knock(s);
    kit_pass();
    assert_int_equal(s->events[ON_ERROR], 1);
    assert_true(fcntl(s->value, F_GETFD) >= 0);
    close(s->value);
    close(client);
}

/* Of the handler around the loop in which something happens. */
static int outer_fd;

static int
adopt_the_outer_one(struct chan *c, int fd, const struct asyncore_addr *addr)
{
    (void)addr;
    close(fd);
    c->last = chan_open("kept", 0, outer_fd);
    return 0;
}

static int
loop_and_fail(struct chan *c, int fd, const struct asyncore_addr *addr)
{
    (void)addr;
    outer_fd = fd;
    c->accepted = adopt_the_outer_one;
    int client = knock(c);
    RUN_UNTIL(c->last != NULL);
    close(client);
    return -EPERM;
}

static void
handle_accepted_that_fails_keeps_what_a_loop_inside_has_adopted(void **state)
{
    (void)state;
    struct chan *s = chan_listen("s", 0, AF_INET);
    s->accepted = loop_and_fail;
    int client = knock(s);
    kit_pass();
    assert_int_equal(s->events[ON_ERROR], 1);
    kit_write(client, "x", 1);
    await(D(s->last)->fd, POLLIN);
    kit_pass();
    assert_int_equal(s->last->in.len, 1);
    close(client);
}

static int
close_and_accept_again(struct chan *c, int fd,
                       const struct asyncore_addr *addr)
{
    (void)addr;
    c->accepted = NULL;
    int client = knock(c);
    close(fd);
    RUN_UNTIL(c->last != NULL);
    assert_int_equal(D(c->last)->fd, fd); /* the next one gets the number */
    outer_fd = client;
    return -EPERM;
}

static void
handle_accepted_that_fails_keeps_a_later_one_of_the_number(void **state)
{
    (void)state;
    struct chan *s = chan_listen("s", 0, AF_INET);
    s->accepted = close_and_accept_again;
    int client = knock(s);
    kit_pass();
    assert_int_equal(s->events[ON_ERROR], 1);
    kit_write(outer_fd, "x", 1);
    await(D(s->last)->fd, POLLIN);
    kit_pass();
    assert_int_equal(s->last->in.len, 1);
    close(client);
    close(outer_fd);
}

static int
close_listener(struct chan *c, int fd, const struct asyncore_addr *addr)
{
    (void)addr;
    close(fd);
    return asyncore_close(D(c));
}

static void
handle_accepted_that_closes_the_listener_ends_the_batch(void **state)
{
    (void)state;
    struct chan *s = chan_listen("s", 0, AF_INET);
    int clients[3];
    for (size_t i = 0; i < COUNT(clients); i++) {
        clients[i] = knock(s);
    }
    s->accepted = close_listener;
    kit_pass();
    assert_trace("s.handle_accepted\ns.destroy\n");
    for (size_t i = 0; i < COUNT(clients); i++) {
        close(clients[i]);
    }
}

/* ---- out of descriptors ---- */

static unsigned
lines_with(const char *part)
{
    unsigned n = 0;
    const char *at = text_get(&kit.log);
    while ((at = strstr(at, part)) != NULL) {
        n++;
        at++;
    }
    return n;
}

/* Is the connection still there, or was it turned away? */
static bool
is_open(int client)
{
    struct text got = {0};
    bool open = kit_drain(client, &got);
    text_clear(&got);
    return open;
}

static void
exhaustion_drops_one_connection_and_rests(void **state)
{
    (void)state;
    static const int errors[] = {-EMFILE, -ENFILE};
    for (size_t i = 0; i < COUNT(errors); i++) {
        struct chan *s = chan_listen("s", 0, AF_INET);
        text_clear(&kit.log);
        kit_advance(0);
        int first = knock(s);
        int second = knock(s);
        kit_fail(KIT_ACCEPT, D(s)->fd, 1, 1, errors[i]);
        kit_pass();
        assert_int_equal(s->born, 0);
        await(first, POLLIN);
        assert_false(is_open(first));
        assert_true(is_open(second));
        assert_int_equal(lines_with("cannot accept"), 1);
        assert_logged(asyncore_errorcode(errors[i]));
        /* It does not spin: there is a connection, and nobody looks. */
        kit_count_anew();
        kit_pass();
        assert_int_equal(asyncore_poll(0.001, kit.map), 0);
        assert_int_equal(kit.world.calls[KIT_ACCEPT], 0);
        assert_int_equal(kit.world.timeout, 1000000);
        /* It does not rest for ever. */
        kit_advance(1);
        kit_pass();
        kit_pass();
        assert_int_equal(s->born, 1);
        assert_true(is_open(second));
        assert_int_equal(lines_with("\n"), 1);
        assert_string_equal(flags_of(s), "a");
        assert_int_equal(s->events[ON_ERROR], 0);
        close(first);
        close(second);
        assert_int_equal(asyncore_close_all(kit.map, false), 0);
        kit_heal();
    }
}

static void
exhaustion_that_lasts_is_logged_once(void **state)
{
    (void)state;
    struct chan *s = chan_listen("s", 0, AF_INET);
    int client[4];
    kit_advance(0);
    for (size_t i = 0; i < COUNT(client); i++) {
        client[i] = knock(s);
    }
    /* Each time the first attempt fails, the one with the reserve does not. */
    for (unsigned long nth = 1; nth <= 5; nth += 2) {
        kit_fail(KIT_ACCEPT, D(s)->fd, nth, 1, -EMFILE);
    }
    for (int i = 0; i < 3; i++) {
        kit_pass();
        assert_int_equal(s->born, 0);
        kit_advance(1);
        kit_pass();
    }
    assert_int_equal(lines_with("cannot accept"), 1);
    kit_pass();
    assert_int_equal(s->born, 1); /* the fourth; they are back */
    close(client[0]);
    client[0] = knock(s);
    kit_heal();
    kit_fail(KIT_ACCEPT, D(s)->fd, 1, 1, -EMFILE);
    kit_pass();
    assert_int_equal(lines_with("cannot accept"), 2); /* another time */
    for (size_t i = 0; i < COUNT(client); i++) {
        close(client[i]);
    }
}

static void
exhaustion_without_a_reserve_keeps_the_connection(void **state)
{
    (void)state;
    kit_fail(KIT_OPEN_RESERVE, -1, 1, 2, -EMFILE);
    struct chan *s = chan_listen("s", 0, AF_INET);
    kit_advance(0);
    int client = knock(s);
    struct kit_fault *fault = kit_fail(KIT_ACCEPT, D(s)->fd, 1, 1, -EMFILE);
    kit_pass();
    assert_int_equal(fault->seen, 1);
    assert_true(is_open(client));
    kit_advance(1);
    kit_pass();
    kit_pass();
    assert_int_equal(s->born, 1);
    close(client);
}

static void
exhaustion_of_memory_rests_and_drops_nobody(void **state)
{
    (void)state;
    static const int errors[] = {-ENOBUFS, -ENOMEM};
    struct chan *s = chan_listen("s", 0, AF_INET);
    kit_advance(0);
    for (size_t i = 0; i < COUNT(errors); i++) {
        int client = knock(s);
        kit_fail(KIT_ACCEPT, D(s)->fd, 1, 1, errors[i]);
        kit_count_anew();
        kit_pass();
        kit_pass();
        assert_int_equal(kit.world.calls[KIT_ACCEPT], 1);
        assert_true(is_open(client));
        kit_advance(1);
        kit_pass();
        kit_pass();
        assert_int_equal(s->born, i + 1);
        close(client);
    }
}

static void
exhaustion_rests_several_listeners(void **state)
{
    (void)state;
    struct chan *s = chan_listen("s", 0, AF_INET);
    struct chan *t = chan_listen("t", 0, AF_INET);
    int client[2];
    kit_advance(0);
    client[0] = knock(s);
    client[1] = knock(t);
    kit_fail(KIT_ACCEPT, -1, 1, 2, -ENOBUFS);
    kit_pass();
    assert_int_equal(asyncore_close(D(s)), 0); /* while it rests */
    kit_pass();
    assert_int_equal(t->born, 0);
    kit_advance(1);
    kit_pass();
    kit_pass();
    assert_int_equal(t->born, 1);
    close(client[0]);
    close(client[1]);
}

static void
resting_listener_that_is_closed_lets_the_loop_end(void **state)
{
    (void)state;
    struct chan *s = chan_listen("s", 0, AF_INET);
    kit_advance(0);
    int client = knock(s);
    kit_fail(KIT_ACCEPT, -1, 1, 1, -ENOBUFS);
    kit_pass();
    assert_int_equal(asyncore_close(D(s)), 0);
    kit_count_anew();
    assert_int_equal(
        asyncore_loop(ASYNCORE_FOREVER, false, kit.map, ASYNCORE_UNTIL_EMPTY),
        0);
    assert_int_equal(kit.world.calls[kit_wait_call()], 0);
    close(client);
}

static void
resting_listener_that_moves_rests_no_more(void **state)
{
    (void)state;
    struct asyncore_map *other;
    struct chan *s = chan_listen("s", 0, AF_INET);
    assert_int_equal(asyncore_map_create(NULL, &other), 0);
    kit_advance(0);
    int client = knock(s);
    kit_fail(KIT_ACCEPT, -1, 1, 1, -ENOBUFS);
    kit_pass();
    assert_int_equal(s->born, 0);
    assert_int_equal(asyncore_del_channel(D(s)), 0);
    assert_int_equal(asyncore_add_channel(D(s), other), 0);
    assert_int_equal(asyncore_poll(0, other), 0);
    assert_int_equal(s->born, 1);
    assert_int_equal(asyncore_close_all(other, false), 0);
    assert_int_equal(asyncore_map_free(other), 0);
    close(client);
}

/* ---- detach, shutdown, close_when_done ---- */

static void
detach_gives_the_descriptor_away(void **state)
{
    (void)state;
    int peer;
    struct text got = {0};
    struct chan *c = kit_pair_chan("a", 0, AF_UNIX, &peer);
    int fd = D(c)->fd;
    kit_pass();
    assert_int_equal(asyncore_detach(D(c)), fd);
    assert_int_equal(D(c)->fd, -1);
    assert_string_equal(flags_of(c), "");
    assert_int_equal(asyncore_detach(D(c)), -EBADF);
    kit_write(peer, "x", 1);
    kit_pass();
    assert_trace("a.destroy\n");
    kit_write(fd, "mine", 4);
    assert_true(kit_drain(peer, &got));
    assert_string_equal(text_get(&got), "mine");
    text_clear(&got);
    close(fd);
    close(peer);
}

static void
shutdown_of_no_connection_is_enotconn(void **state)
{
    (void)state;
    struct chan *c = chan_socket("c", 0, AF_INET, SOCK_STREAM);
    struct chan *s = chan_listen("s", 0, AF_INET);
    assert_int_equal(asyncore_shutdown(D(c)), -ENOTCONN);
    assert_int_equal(asyncore_shutdown(D(s)), -ENOTCONN);
}

static void
shutdown_ends_the_sending_side(void **state)
{
    (void)state;
    int peer;
    struct text got = {0};
    struct chan *c = kit_pair_chan("a", 0, AF_INET, &peer);
    assert_int_equal(asyncore_send(D(c), "last", 4), 4);
    assert_int_equal(asyncore_shutdown(D(c)), 0);
    assert_int_equal(asyncore_shutdown(D(c)), 0); /* again: nothing */
    assert_int_equal(asyncore_send(D(c), "more", 4), -EPIPE);
    RUN_UNTIL(!kit_drain(peer, &got));
    assert_string_equal(text_get(&got), "last");
    kit_write(peer, "answer", 6);
    RUN_UNTIL(c->in.len == 6); /* the other side is open */
    close(peer);
    RUN_UNTIL(c->events[ON_CLOSE] == 1);
    text_clear(&got);
}

static void
close_when_done_waits_for_the_peer_to_end(void **state)
{
    (void)state;
    int peer;
    struct text got = {0};
    struct chan *c = kit_pair_chan("a", 0, AF_INET, &peer);
    assert_int_equal(asyncore_send(D(c), "last", 4), 4);
    assert_int_equal(asyncore_close_when_done(D(c)), 0);
    assert_string_equal(flags_of(c), "ce");
    RUN_UNTIL(!kit_drain(peer, &got));
    assert_string_equal(text_get(&got), "last");
    kit_write(peer, "to the wind", 11);
    kit_pass();
    kit_pass();
    assert_trace("");
    assert_int_equal(asyncore_send(D(c), "more", 4), -EPIPE);
    close(peer);
    RUN_UNTIL(c->destroyed == 1);
    assert_trace("a.handle_close\na.destroy\n");
    text_clear(&got);
}

static void
close_when_done_without_lingering_closes_now(void **state)
{
    (void)state;
    int peer;
    struct chan *c = kit_pair_chan("a", 0, AF_INET, &peer);
    assert_int_equal(asyncore_set_linger(D(c), 0), 0);
    assert_int_equal(asyncore_close_when_done(D(c)), 0);
    assert_trace("a.handle_close\n");
    assert_int_equal(D(c)->fd, -1);
    assert_int_equal(asyncore_close_when_done(D(c)), -EBADF);
    close(peer);
}

/* ---- what cannot be used ---- */

static char scratch[16];
static const struct sockaddr_in loopback_addr = {.sin_family = AF_INET};
static const struct asyncore_addr some_addr = {
    .len = sizeof(struct sockaddr_in),
    .u.in = {.sin_family = AF_INET},
};
static const struct asyncore_error some_error = {-EIO, "test", "test"};
static struct asyncore_addr addr_out;

#define AS_SENDER(d) ((struct asyncore_dispatcher_with_send *)(void *)(d))

/* Every public function of a channel that has a descriptor. */
#define NEED_OPEN(X)                                                    \
    X(asyncore_add_channel(d, NULL))                                    \
    X(asyncore_del_channel(d))                                          \
    X(asyncore_set_reuse_addr(d))                                       \
    X(asyncore_bind(d, "127.0.0.1", 0))                                 \
    X(asyncore_bind_addr(d, (const struct sockaddr *)&loopback_addr,    \
                         sizeof loopback_addr))                         \
    X(asyncore_listen(d, 5))                                            \
    X(asyncore_accept(d, &addr_out))                                    \
    X(asyncore_connect(d, "127.0.0.1", 1))                              \
    X(asyncore_connect_addr(d, (const struct sockaddr *)&loopback_addr, \
                            sizeof loopback_addr))                      \
    X(asyncore_send(d, "x", 1))                                         \
    X(asyncore_recv(d, scratch, sizeof scratch))                        \
    X(asyncore_sendto(d, "x", 1, &some_addr))                           \
    X(asyncore_recvfrom(d, scratch, sizeof scratch, &addr_out))         \
    X(asyncore_send_oob(d, "x", 1))                                     \
    X(asyncore_recv_oob(d, scratch, 1))                                 \
    X(asyncore_close_when_done(d))                                      \
    X(asyncore_shutdown(d))                                             \
    X(asyncore_detach(d))                                               \
    X(asyncore_touch(d))                                                \
    X(asyncore_set_timeout(d, 1))                                       \
    X(asyncore_getsockname(d, &addr_out))                               \
    X(asyncore_read(d))                                                 \
    X(asyncore_write(d))                                                \
    X(asyncore_exception(d))                                            \
    X(asyncore_readwrite(d, POLLIN | POLLOUT | POLLHUP))                \
    X(asyncore_dispatcher_send(d, "x", 1))                              \
    X(asyncore_dispatcher_recv(d, scratch, sizeof scratch))             \
    X(asyncore_dispatcher_with_send_send(d, "x", 1))                    \
    X(asyncore_initiate_send(AS_SENDER(d)))                             \
    X(asyncore_dispatcher_with_send_handle_write(d))                    \
    X(asyncore_dispatcher_handle_read(d))                               \
    X(asyncore_dispatcher_handle_write(d))                              \
    X(asyncore_dispatcher_handle_expt(d))                               \
    X(asyncore_dispatcher_handle_connect(d))                            \
    X(asyncore_dispatcher_handle_accept(d))                             \
    X(asyncore_dispatcher_handle_close(d))                              \
    X(asyncore_dispatcher_handle_error(d, &some_error))                 \
    X(asyncore_dispatcher_handle_timeout(d))                            \
    X(asyncore_dispatcher_handle_read_event(d))                         \
    X(asyncore_dispatcher_handle_write_event(d))                        \
    X(asyncore_dispatcher_handle_expt_event(d))                         \
    X(asyncore_dispatcher_handle_connect_event(d))

/* Those that do without one, but not without a channel. */
#define NEED_CHANNEL(X)                                \
    X(asyncore_create_socket(d, AF_INET, SOCK_STREAM)) \
    X(asyncore_set_socket(d, 0))                       \
    X(asyncore_set_file(d, 0))                         \
    X(asyncore_close(d))                               \
    X(asyncore_getaddr(d, &addr_out))                  \
    X(asyncore_set_linger(d, 1))                       \
    X(asyncore_set_limits(d, NULL))                    \
    X(asyncore_dispatcher_handle_accepted(d, -1, &some_addr))

/* Each call has the result, and nothing has been done. */
#define CALL_AND_COMPARE(call)                                \
    do {                                                      \
        ssize_t got_ = (call);                                \
        if (got_ != want) {                                   \
            fail_msg("%s is %zd, not %d", #call, got_, want); \
        }                                                     \
    } while (0);

static void
call_those_that_need_open(struct asyncore_dispatcher *d, int want)
{
    unsigned long allocations = kit.alloc.count;
    kit_count_anew();
    NEED_OPEN(CALL_AND_COMPARE)
    assert_int_equal(kit.world.total, 0);
    assert_int_equal(kit.alloc.count, allocations);
    assert_trace("");
    assert_string_equal(text_get(&kit.log), "");
}

static void
call_those_that_need_a_channel(struct asyncore_dispatcher *d, int want)
{
    kit_count_anew();
    NEED_CHANNEL(CALL_AND_COMPARE)
    assert_int_equal(kit.world.total, 0);
    assert_string_equal(text_get(&kit.log), "");
    assert_false(asyncore_readable(d));
    assert_false(asyncore_writable(d));
    assert_false(asyncore_dispatcher_writable(d));
    assert_false(asyncore_dispatcher_with_send_writable(d));
    assert_null(asyncore_dispatcher_with_send_from(d));
    assert_int_equal(asyncore_output_size(d), 0);
    asyncore_log_info(d, ASYNCORE_LOG_ERROR, "nobody");
    assert_not_logged("nobody");
}

static void
argument_null_is_einval(void **state)
{
    (void)state;
    call_those_that_need_open(NULL, -EINVAL);
    call_those_that_need_a_channel(NULL, -EINVAL);
    assert_int_equal(asyncore_dispatcher_init(NULL, NULL, -1, kit.map),
                     -EINVAL);
    assert_int_equal(
        asyncore_dispatcher_with_send_init(NULL, NULL, -1, kit.map), -EINVAL);
    assert_int_equal(asyncore_file_dispatcher_init(NULL, NULL, -1, kit.map),
                     -EINVAL);
    assert_int_equal(asyncore_call_later(kit.map, 1, NULL, NULL), -EINVAL);
    assert_int_equal(asyncore_call_at(kit.map, 1, NULL, NULL), -EINVAL);
    assert_int_equal(
        asyncore_getaddrinfo(kit.map, AF_INET, SOCK_STREAM, "", 0, NULL, 1),
        -EINVAL);
}

static void
argument_never_initialised_is_einval(void **state)
{
    (void)state;
    struct asyncore_dispatcher_with_send s;
    static const unsigned char fills[] = {0, 0xa5, 0xff};
    for (size_t i = 0; i < COUNT(fills); i++) {
        memset(&s, fills[i], sizeof s);
        struct asyncore_dispatcher_with_send before = s;
        call_those_that_need_open(&s.base, -EINVAL);
        call_those_that_need_a_channel(&s.base, -EINVAL);
        assert_memory_equal(&s, &before, sizeof s);
    }
}

static void
argument_without_a_descriptor_is_ebadf(void **state)
{
    (void)state;
    struct chan *c = chan_new("a", 0);
    assert_int_equal(chan_try_sender(c, -1), 0);
    call_those_that_need_open(D(c), -EBADF);
    assert_int_equal(asyncore_map_count(kit.map), 0);
    assert_int_equal(asyncore_create_socket(D(c), AF_INET, SOCK_STREAM), 0);
    c->opened = true;
}

static void
argument_that_is_closed_is_ebadf(void **state)
{
    (void)state;
    int fd[2];
    kit_pair(AF_INET, fd);
    struct chan *c = chan_open_sender("a", 0, fd[0]);
    assert_int_equal(asyncore_close(D(c)), 0);
    call_those_that_need_open(D(c), -EBADF);
    assert_int_equal(asyncore_close(D(c)), 0); /* any number of times */
    assert_string_equal(flags_of(c), "");
    kit_pass();
    assert_trace("a.destroy\n");
    close(fd[1]);
}

static void
argument_out_of_bounds_is_einval(void **state)
{
    (void)state;
    int peer;
    struct chan *c = kit_pair_chan("a", 0, AF_INET, &peer);
    struct chan *u = chan_socket("u", 0, AF_INET, SOCK_STREAM);
    struct sockaddr_storage big = {.ss_family = AF_INET};
    const struct sockaddr *sa = (const struct sockaddr *)&big;
    kit_pass();
    kit_count_anew();
    assert_int_equal(asyncore_send(D(c), NULL, 5), -EINVAL);
    assert_int_equal(asyncore_send_oob(D(c), NULL, 1), -EINVAL);
    assert_int_equal(asyncore_sendto(D(c), NULL, 5, &some_addr), -EINVAL);
    assert_int_equal(asyncore_recv(D(c), NULL, 5), -EINVAL);
    assert_int_equal(asyncore_recv(D(c), scratch, 0), -EINVAL);
    assert_int_equal(asyncore_recvfrom(D(c), NULL, 5, NULL), -EINVAL);
    assert_int_equal(asyncore_recvfrom(D(c), scratch, 0, NULL), -EINVAL);
    assert_int_equal(asyncore_recv_oob(D(c), NULL, 1), -EINVAL);
    assert_int_equal(asyncore_bind_addr(D(u), NULL, 16), -EINVAL);
    assert_int_equal(asyncore_bind_addr(D(u), sa, 1), -EINVAL);
    assert_int_equal(asyncore_connect_addr(D(u), NULL, 16), -EINVAL);
    assert_int_equal(asyncore_connect_addr(D(u), sa, 0), -EINVAL);
    assert_int_equal(asyncore_connect_addr(D(u), sa, 5000), -EINVAL);
    assert_int_equal(asyncore_listen(D(u), 0), -EINVAL);
    assert_int_equal(asyncore_listen(D(u), -1), -EINVAL);
    assert_int_equal(asyncore_set_timeout(D(c), -1), -EINVAL);
    assert_int_equal(asyncore_set_timeout(D(c), NAN), -EINVAL);
    assert_int_equal(asyncore_set_linger(D(c), -1), -EINVAL);
    assert_int_equal(asyncore_set_linger(D(c), NAN), -EINVAL);
    assert_int_equal(asyncore_getaddr(D(c), NULL), -EINVAL);
    assert_int_equal(asyncore_getsockname(D(c), NULL), -EINVAL);
    assert_int_equal(asyncore_set_limits(D(c), NULL), -EINVAL);
    assert_int_equal(asyncore_dispatcher_handle_error(D(c), NULL), -EINVAL);
    assert_int_equal(kit.world.total, 0);
    assert_int_equal(asyncore_bind(D(u), "127.0.0.1", -1), -EINVAL);
    assert_int_equal(asyncore_bind(D(u), "127.0.0.1", 65536), -EINVAL);
    assert_int_equal(asyncore_connect(D(u), "127.0.0.1", 65536), -EINVAL);
    assert_string_equal(flags_of(u), "");
    assert_int_equal(asyncore_map_count(kit.map), 2);
    kit_pass();
    assert_trace("");
    close(peer);
}

static void
argument_of_another_class_is_einval(void **state)
{
    (void)state;
    int peer;
    struct chan *c = kit_pair_chan("a", 0, AF_UNIX, &peer);
    static const struct asyncore_limits limits = {2, 1, 3};
    assert_null(asyncore_dispatcher_with_send_from(D(c)));
    assert_int_equal(asyncore_dispatcher_with_send_send(D(c), "x", 1),
                     -EINVAL);
    assert_int_equal(asyncore_dispatcher_with_send_handle_write(D(c)),
                     -EINVAL);
    assert_int_equal(asyncore_set_limits(D(c), &limits), -EINVAL);
    assert_int_equal(asyncore_output_size(D(c)), 0);
    close(peer);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(state_of_a_new_channel_is_none),
        KIT_TEST(state_of_a_client_goes_from_connecting_to_closed),
        KIT_TEST(state_in_handle_connect_is_connected),
        KIT_TEST(socket_not_yet_in_use_is_not_waited_for),
        KIT_TEST(create_socket_is_nonblocking_and_closed_on_exec),
        KIT_TEST(create_socket_on_a_channel_that_has_one_is_ebusy),
        KIT_TEST(create_socket_that_fails_leaves_no_trace),
        KIT_TEST(create_socket_without_memory_closes_it),
        KIT_TEST(set_socket_of_a_connection_is_connected),
        KIT_TEST(set_socket_of_a_listener_accepts),
        KIT_TEST(set_socket_of_one_that_is_neither_can_still_become_both),
        KIT_TEST(set_socket_of_no_socket_is_refused),
        KIT_TEST(new_channel_of_the_library_is_released_by_it),
        KIT_TEST(tcp_over_ipv4_carries_both_ways),
        KIT_TEST(tcp_over_ipv6_carries_both_ways),
        KIT_TEST(tcp_by_sockaddr_connects),
        KIT_TEST(bind_to_any_address_takes_local_connections),
        KIT_TEST(bind_to_an_address_in_use_fails_and_can_be_retried),
        KIT_TEST(set_reuse_addr_sets_the_option),
        KIT_TEST(name_that_does_not_resolve_is_an_eai),
        KIT_TEST(unix_socket_with_a_path_carries_both_ways),
        KIT_TEST(unix_socket_with_an_abstract_name_carries_both_ways),
        KIT_TEST(unix_path_that_is_too_long_is_enametoolong),
        KIT_TEST(connect_that_fails_at_once_leaves_the_map),
        KIT_TEST(connect_that_fails_at_once_says_why),
        KIT_TEST(connect_to_a_full_unix_backlog_is_ebusy),
        KIT_TEST(connect_refused_is_an_error_and_the_end),
        KIT_TEST(connect_refused_ends_after_an_error_that_leaves_the_loop),
        KIT_TEST(connect_again_is_ealready_or_eisconn),
        KIT_TEST(connect_interrupted_by_a_signal_goes_on),
        KIT_TEST(datagrams_go_and_come_with_addresses),
        KIT_TEST(datagram_socket_can_be_connected_again_and_again),
        KIT_TEST(datagram_of_no_bytes_is_no_end),
        KIT_TEST(socket_made_blocking_by_others_does_not_block),
        KIT_TEST(urgent_byte_goes_and_comes),
        KIT_TEST(repr_tells_name_status_and_address),
        KIT_TEST(repr_in_too_little_room_is_cut),
        KIT_TEST(default_handlers_say_what_nobody_handled),
        KIT_TEST(log_lines_go_through_the_channel),
        KIT_TEST(accept_gives_a_descriptor_and_an_address),
        KIT_TEST(accept_takes_what_waits_in_one_pass),
        KIT_TEST(accept_in_one_pass_is_bounded),
        KIT_TEST(accept_error_of_a_lost_connection_is_passed_over),
        KIT_TEST(accept_interrupted_by_a_signal_is_retried),
        KIT_TEST(accept_error_of_the_listener_is_its_end),
        KIT_TEST(handle_accepted_that_fails_gives_the_connection_back),
        KIT_TEST(handle_accepted_that_fails_keeps_what_a_channel_has),
        KIT_TEST(handle_accepted_that_fails_after_a_close_closes_nobody_elses),
        KIT_TEST(
            handle_accepted_that_fails_keeps_what_a_loop_inside_has_adopted),
        KIT_TEST(handle_accepted_that_fails_keeps_a_later_one_of_the_number),
        KIT_TEST(handle_accepted_that_closes_the_listener_ends_the_batch),
        KIT_TEST(exhaustion_drops_one_connection_and_rests),
        KIT_TEST(exhaustion_that_lasts_is_logged_once),
        KIT_TEST(exhaustion_without_a_reserve_keeps_the_connection),
        KIT_TEST(exhaustion_of_memory_rests_and_drops_nobody),
        KIT_TEST(exhaustion_rests_several_listeners),
        KIT_TEST(resting_listener_that_is_closed_lets_the_loop_end),
        KIT_TEST(resting_listener_that_moves_rests_no_more),
        KIT_TEST(detach_gives_the_descriptor_away),
        KIT_TEST(shutdown_of_no_connection_is_enotconn),
        KIT_TEST(shutdown_ends_the_sending_side),
        KIT_TEST(close_when_done_waits_for_the_peer_to_end),
        KIT_TEST(close_when_done_without_lingering_closes_now),
        KIT_TEST(argument_null_is_einval),
        KIT_TEST(argument_never_initialised_is_einval),
        KIT_TEST(argument_without_a_descriptor_is_ebadf),
        KIT_TEST(argument_that_is_closed_is_ebadf),
        KIT_TEST(argument_out_of_bounds_is_einval),
        KIT_TEST(argument_of_another_class_is_einval),
    };
    return cmocka_run_group_tests_name("dispatcher", tests, NULL, NULL);
}
