/* SPDX-License-Identifier: MIT */
/* test_workers.c - threads with a map each: how they start, who gets which
 * connection, how they end.
 *
 * The test is the clients.  What runs in the workers asserts nothing, for that
 * would leave the wrong thread; it notes what it sees. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* affinity, names of threads */
#endif
#include <asyncore_workers.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include "await.h"
#include "kit.h"

#define MANY 8

static struct {
    struct asyncore__world table; /* first: the kernel's, with faults */
    unsigned starts, start_that_fails;
    int pin_result, cpus;
} world;

static struct asyncore_workers *workers;

/* What the workers have seen. */
static struct {
    atomic_uint served[MANY]; /* connections */
    atomic_uint setups, teardowns, destroyed, logged;
    atomic_bool wrong;
    atomic_uint failing_setup; /* the index + 1 */
} seen;

static void
expect(bool true_in_a_worker)
{
    if (!true_in_a_worker) {
        atomic_store(&seen.wrong, true);
    }
}

/* ---- the world ---- */

static int
start_or_fail(struct asyncore__world *w, pthread_t *ret,
              void *(*run)(void *arg), void *arg)
{
    (void)w;
    if (++world.starts == world.start_that_fails) {
        return -EAGAIN;
    }
    return asyncore__kernel.thread_start(&asyncore__kernel, ret, run, arg);
}

static int
pin_or_fail(struct asyncore__world *w, unsigned nth)
{
    (void)w;
    return world.pin_result < 0
               ? world.pin_result
               : asyncore__kernel.thread_pin(&asyncore__kernel, nth);
}

static int
count_cpus(struct asyncore__world *w)
{
    (void)w;
    return world.cpus;
}

static void
count_log(enum asyncore_log_type type, const char *message,
          struct asyncore_dispatcher *d, void *arg)
{
    (void)message;
    (void)d;
    (void)arg;
    seen.logged += type == ASYNCORE_LOG_ERROR;
}

static int
setup(void **state)
{
    kit_setup_bare(state);
    memset(&world, 0, sizeof world);
    memset(&seen, 0, sizeof seen);
    world.table = asyncore__kernel;
    world.table.thread_start = start_or_fail;
    world.table.thread_pin = pin_or_fail;
    world.table.cpus = count_cpus;
    asyncore__world_default = &world.table;
    asyncore_set_log(count_log, NULL);
    return 0;
}

static int
teardown(void **state)
{
    assert_int_equal(asyncore_workers_free(workers), 0);
    workers = NULL;
    assert_false(seen.wrong);
    return kit_teardown(state);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

/* ---- the server ---- */

static int
echo_read(struct asyncore_dispatcher *d)
{
    char data[4096];
    ssize_t n = asyncore_recv(d, data, sizeof data);
    return (int)(n > 0 ? asyncore_send(d, data, (size_t)n) : n);
}

static void
count_destroyed(struct asyncore_dispatcher *d)
{
    int index = asyncore_workers_index();
    expect(index >= 0 && d->map == asyncore_map_default());
    seen.destroyed++;
}

static int
end_quietly(struct asyncore_dispatcher *d)
{
    return asyncore_close(d);
}

static const struct asyncore_ops echo_handler = {
    .name = "echo",
    .handle_read = echo_read,
    .handle_eof = asyncore_shutdown,
    .handle_close = end_quietly,
    .destroy = count_destroyed,
};

static int
accepted(struct asyncore_dispatcher *d, int fd,
         const struct asyncore_addr *addr)
{
    int index = asyncore_workers_index();
    (void)addr;
    expect(index >= 0 && index < MANY);
    expect(d->map == asyncore_workers_map(workers, (unsigned)index));
    expect(asyncore_map_default() == d->map);
    expect(d->data == &seen);
    seen.served[index]++;
    return asyncore_dispatcher_with_send_new(&echo_handler, fd, NULL, NULL);
}

static const struct asyncore_ops server = {
    .name = "server",
    .handle_accepted = accepted,
};

static int
note_setup(struct asyncore_map *map, unsigned index, void *arg)
{
    expect(map == asyncore_workers_map(workers, index));
    expect(asyncore_workers_index() == (int)index);
    expect(arg == &seen);
    seen.setups++;
    return index + 1 == seen.failing_setup ? -EPROTO : 0;
}

static void
note_teardown(struct asyncore_map *map, unsigned index, void *arg)
{
    (void)map;
    expect(asyncore_workers_index() == (int)index);
    expect(asyncore_map_count(map) == 0);
    expect(arg == &seen);
    seen.teardowns++;
}

/* Workers whose setup and teardown are noted. */
static void
create(unsigned threads)
{
    struct asyncore_workers_options options = {
        .threads = threads,
        .setup = note_setup,
        .teardown = note_teardown,
        .arg = &seen,
    };
    assert_int_equal(asyncore_workers_create(&options, &workers), 0);
}

static int
port_of_listener(int listener)
{
    struct asyncore_addr at;
    assert_int_equal(asyncore_workers_getsockname(workers, listener, &at), 0);
    assert_int_equal(at.u.sa.sa_family, AF_INET);
    return ntohs(at.u.in.sin_port);
}

/* Listen on a free port of the loopback; returns the port. */
static int
listen_tcp(void)
{
    int listener = asyncore_workers_listen(workers, AF_INET, "127.0.0.1", 0,
                                           256, &server, &seen);
    assert_true(listener >= 0);
    return port_of_listener(listener);
}

/* Echo servers that run; returns the port. */
static int
serve(unsigned threads)
{
    create(threads);
    int port = listen_tcp();
    assert_int_equal(asyncore_workers_start(workers), 0);
    return port;
}

static void
stop_and_join(double seconds, int result)
{
    assert_int_equal(asyncore_workers_stop(workers, seconds), 0);
    assert_int_equal(asyncore_workers_join(workers), result);
}

static unsigned
all_served(void)
{
    unsigned n = 0;
    for (int i = 0; i < MANY; i++) {
        n += seen.served[i];
    }
    return n;
}

/* ---- the clients ---- */

/* To an abstract unix socket. */
static const char *
unix_name(void)
{
    static char name[64];
    snprintf(name, sizeof name, "@asyncore-workers-%ld", (long)getpid());
    return name;
}

static int
connect_unix(void)
{
    struct asyncore_addr at;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(asyncore__addr_unix(&at, unix_name()), 0);
    assert_int_equal(connect(fd, &at.u.sa, at.len), 0);
    return fd;
}

static void
assert_echo(int fd, const char *text)
{
    char back[64];
    size_t len = strlen(text);
    kit_write(fd, text, len);
    for (size_t got = 0; got < len;) {
        await(fd, POLLIN);
        ssize_t n = read(fd, back + got, len - got);
        assert_true(n > 0);
        got += (size_t)n;
    }
    assert_memory_equal(back, text, len);
}

/* The server has ended the connection, in whatever way. */
static void
assert_ended(int fd)
{
    char byte;
    await(fd, POLLIN);
    assert_true(read(fd, &byte, 1) <= 0);
    close(fd);
}

static bool
is_refused(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    to.sin_port = htons((uint16_t)port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int err = connect(fd, (struct sockaddr *)&to, sizeof to) < 0 ? errno : 0;
    close(fd);
    return err == ECONNREFUSED;
}

/* ---- a worker that is kept busy ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool in, may_go;
} gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, false};

static int
pass_gate(struct asyncore_map *map, void *arg)
{
    (void)map;
    (void)arg;
    pthread_mutex_lock(&gate.lock);
    gate.in = true;
    pthread_cond_broadcast(&gate.changed);
    while (!gate.may_go) {
        pthread_cond_wait(&gate.changed, &gate.lock);
    }
    pthread_mutex_unlock(&gate.lock);
    return 0;
}

static void
wait_for_gate(void)
{
    pthread_mutex_lock(&gate.lock);
    while (!gate.in) {
        pthread_cond_wait(&gate.changed, &gate.lock);
    }
    pthread_mutex_unlock(&gate.lock);
}

static void
close_gate(void)
{
    pthread_mutex_lock(&gate.lock);
    gate.in = gate.may_go = false;
    pthread_mutex_unlock(&gate.lock);
}

static void
hold(unsigned index)
{
    close_gate();
    assert_int_equal(
        asyncore_call_soon_threadsafe(asyncore_workers_map(workers, index),
                                      pass_gate, NULL),
        0);
    wait_for_gate();
}

static void
open_gate(void)
{
    pthread_mutex_lock(&gate.lock);
    gate.may_go = true;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

/* ---- making them ---- */

static void
options_have_bounds(void **state)
{
    (void)state;
    struct asyncore_workers_options options = {.threads = 1};
    assert_int_equal(asyncore_workers_create(&options, NULL), -EINVAL);
    options.threads = ASYNCORE_MAX_WORKERS + 1;
    assert_int_equal(asyncore_workers_create(&options, &workers), -EINVAL);
    options.threads = 1;
    options.busy_poll = -1;
    assert_int_equal(asyncore_workers_create(&options, &workers), -EINVAL);
    options.busy_poll = 1000001;
    assert_int_equal(asyncore_workers_create(&options, &workers), -EINVAL);
    options.busy_poll = 0;
    options.backend = "devpoll";
    assert_int_equal(asyncore_workers_create(&options, &workers), -ENOSYS);
    assert_null(workers);
}

static void
threads_are_as_many_as_cpus_by_default(void **state)
{
    (void)state;
    static const struct {
        int cpus;
        unsigned want;
    } cases[] = {{3, 3}, {1, 1}, {-1, 1}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        world.cpus = cases[i].cpus;
        assert_int_equal(asyncore_workers_create(NULL, &workers), 0);
        assert_int_equal(asyncore_workers_count(workers), cases[i].want);
        assert_int_equal(asyncore_workers_free(workers), 0);
    }
    workers = NULL;
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    assert_int_equal(asyncore__kernel.cpus(&asyncore__kernel),
                     CPU_COUNT(&set));
}

static void
options_reach_the_maps(void **state)
{
    (void)state;
    struct asyncore_workers_options options = {
        .threads = 2, .backend = "poll", .busy_poll = 7};
    assert_int_equal(asyncore_workers_create(&options, &workers), 0);
    for (unsigned i = 0; i < 2; i++) {
        struct asyncore_map *map = asyncore_workers_map(workers, i);
        assert_string_equal(asyncore_map_backend(map), "poll");
        assert_int_equal(asyncore_map_busy_poll(map), 7);
    }
    assert_null(asyncore_workers_map(workers, 2));
}

static void
nobody_is_no_worker(void **state)
{
    (void)state;
    assert_int_equal(asyncore_workers_index(), -1);
    assert_int_equal(asyncore_workers_count(NULL), 0);
    assert_null(asyncore_workers_map(NULL, 0));
    assert_int_equal(asyncore_workers_free(NULL), 0);
    assert_int_equal(asyncore_workers_start(NULL), -EINVAL);
    assert_int_equal(asyncore_workers_stop(NULL, 0), -EINVAL);
    assert_int_equal(asyncore_workers_join(NULL), -EINVAL);
    assert_int_equal(
        asyncore_workers_listen(NULL, AF_INET, "", 0, 1, NULL, NULL), -EINVAL);
    assert_int_equal(asyncore_workers_listen_fd(NULL, 0, NULL, NULL), -EINVAL);
    assert_int_equal(asyncore_workers_hand_over(NULL, 0, 0, NULL, NULL),
                     -EINVAL);
}

/* ---- listening ---- */

static void
each_worker_has_a_listener_on_the_same_port(void **state)
{
    (void)state;
    create(3);
    int port = listen_tcp();
    for (unsigned i = 0; i < 3; i++) {
        struct asyncore_map *map = asyncore_workers_map(workers, i);
        struct asyncore_dispatcher *d = asyncore_map_next(map, NULL);
        struct asyncore_addr at;
        assert_int_equal(asyncore_map_count(map), 1);
        assert_true(d->accepting && d->data == &seen);
        assert_int_equal(asyncore_getsockname(d, &at), 0);
        assert_int_equal(ntohs(at.u.in.sin_port), port);
    }
}

static void
address_in_use_is_eaddrinuse(void **state)
{
    (void)state;
    int on = 1, port;
    int other = kit_listener(AF_INET, &port);
    create(2);
    assert_int_equal(asyncore_workers_listen(workers, AF_INET, "127.0.0.1",
                                             port, 64, &server, &seen),
                     -EADDRINUSE);
    /* Also if he has nothing against it. */
    assert_int_equal(
        setsockopt(other, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), 0);
    assert_int_equal(asyncore_workers_listen(workers, AF_INET, "127.0.0.1",
                                             port, 64, &server, &seen),
                     -EADDRINUSE);
    close(other);
    int second = listen_tcp();
    assert_int_equal(asyncore_workers_listen(workers, AF_INET, "127.0.0.1",
                                             second, 64, &server, &seen),
                     -EADDRINUSE);
    assert_int_equal(asyncore_map_count(asyncore_workers_map(workers, 0)), 1);
}

static void
listening_checks_its_arguments(void **state)
{
    (void)state;
    struct asyncore_addr at;
    int fd[2];
    create(2);
    assert_int_equal(asyncore_workers_listen(workers, AF_INET, "127.0.0.1", 0,
                                             0, &server, &seen),
                     -EINVAL);
    assert_int_equal(asyncore_workers_listen(workers, AF_INET, "127.0.0.1",
                                             65536, 1, &server, &seen),
                     -EINVAL);
    assert_int_equal(
        asyncore_workers_listen(workers, AF_APPLETALK, "", 0, 1, NULL, NULL),
        -EAFNOSUPPORT);
    kit_pair(AF_INET, fd);
    assert_int_equal(
        asyncore_workers_listen_fd(workers, fd[0], &server, &seen), -EINVAL);
    assert_true(fcntl(fd[0], F_GETFD) >= 0); /* still ours */
    close(fd[0]);
    close(fd[1]);
    assert_int_equal(
        asyncore_workers_listen_fd(workers, fd[0], &server, &seen), -EBADF);
    assert_int_equal(asyncore_workers_getsockname(workers, 0, &at), -EINVAL);
    assert_int_equal(asyncore_workers_getsockname(workers, -1, &at), -EINVAL);
    listen_tcp();
    assert_int_equal(asyncore_workers_getsockname(workers, 0, NULL), -EINVAL);
    assert_int_equal(asyncore_workers_start(workers), 0);
    assert_int_equal(asyncore_workers_listen(workers, AF_INET, "127.0.0.1", 0,
                                             1, &server, &seen),
                     -EBUSY);
    assert_int_equal(asyncore_workers_start(workers), -EBUSY);
}

static void
destroy_nobody(struct asyncore_dispatcher *d)
{
    (void)d;
    seen.destroyed++;
}

static const struct asyncore_ops counted_server = {
    .name = "server",
    .handle_accepted = accepted,
    .destroy = destroy_nobody,
};

/* Make and listen, in the kit's world.  Returns the first failure. */
static int
create_and_listen(int family)
{
    struct asyncore_workers_options options = {.threads = 2};
    const char *host = family == AF_UNIX ? unix_name() : "127.0.0.1";
    int err = asyncore_workers_create(&options, &workers);
    return err < 0 ? err
                   : asyncore_workers_listen(workers, family, host, 0, 8,
                                             &counted_server, &seen);
}

static void
assert_undone(int result, unsigned long hits)
{
    assert_int_equal(seen.destroyed, 0);
    assert_int_equal(result<0, hits> 0);
    kit_heal();
    assert_int_equal(asyncore_workers_free(workers), 0);
    assert_int_equal(seen.destroyed, result < 0 ? 0 : 2);
    assert_int_equal(kit.alloc.live, 0);
    seen.destroyed = 0;
    workers = NULL;
}

/* Whichever call fails, nothing is left. */
static void
listening_that_fails_is_undone(void **state)
{
    (void)state;
    static const int families[] = {AF_INET, AF_UNIX};
    static const enum kit_call calls[] = {
        KIT_SOCKET,      KIT_BIND,         KIT_LISTEN,    KIT_SETSOCKOPT,
        KIT_GETSOCKNAME, KIT_EPOLL_CREATE, KIT_WAKE_OPEN, KIT_SET_NONBLOCKING};
    asyncore__world_default = &kit.world.table;
    for (size_t f = 0; f < COUNT(families); f++) {
        for (size_t c = 0; c < COUNT(calls); c++) {
            unsigned long hits = 1;
            for (unsigned long nth = 1; hits > 0; nth++) {
                struct kit_fault *fault =
                    kit_fail(calls[c], -1, nth, 1, -ENOBUFS);
                int result = create_and_listen(families[f]);
                hits = fault->hits;
                /* The address of a channel is only for show. */
                bool harmless = calls[c] == KIT_GETSOCKNAME && result >= 0;
                assert_undone(result, harmless ? 0 : hits);
            }
        }
    }
}

static void
listening_without_memory_is_undone(void **state)
{
    (void)state;
    static const int families[] = {AF_INET, AF_UNIX};
    asyncore__world_default = &kit.world.table;
    for (size_t f = 0; f < COUNT(families); f++) {
        int result = -ENOMEM;
        for (unsigned long nth = 1; result < 0; nth++) {
            kit_fail_alloc(nth, 1000);
            result = create_and_listen(families[f]);
            assert_true(result >= 0 || result == -ENOMEM);
            assert_undone(result, result < 0);
        }
    }
}

/* ---- starting ---- */

static atomic_uint unblocked, ill_named;

static int
look_at_myself(struct asyncore_map *map, unsigned index, void *arg)
{
    static const int theirs[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD};
    sigset_t mask;
    char name[32], want[32];
    (void)map;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    for (size_t i = 0; i < COUNT(theirs); i++) {
        unblocked += sigismember(&mask, theirs[i]) != 1;
    }
    unblocked += sigismember(&mask, SIGSEGV) != 0;
    pthread_getname_np(pthread_self(), name, sizeof name);
    snprintf(want, sizeof want, "%s/%u", (const char *)arg, index);
    ill_named += strcmp(name, want) != 0;
    return 0;
}

static void
threads_have_names_and_block_signals(void **state)
{
    (void)state;
    static const char *const names[][2] = {
        {"shop", "shop"}, {NULL, "worker"}, {"longer-than-ten", "longer-tha"}};
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    for (size_t i = 0; i < COUNT(names); i++) {
        char want[32];
        snprintf(want, sizeof want, "%s", names[i][1]);
        struct asyncore_workers_options options = {
            .threads = 3,
            .name = names[i][0],
            .setup = look_at_myself,
            .arg = want,
        };
        assert_int_equal(asyncore_workers_create(&options, &workers), 0);
        assert_int_equal(asyncore_workers_start(workers), 0);
        assert_int_equal(asyncore_workers_free(workers), 0);
    }
    workers = NULL;
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_int_equal(sigismember(&after, SIGTERM),
                     sigismember(&before, SIGTERM));
    assert_int_equal(unblocked, 0);
    assert_int_equal(ill_named, 0);
}

static void
setup_comes_before_start_returns(void **state)
{
    (void)state;
    create(4);
    assert_int_equal(asyncore_workers_start(workers), 0);
    assert_int_equal(seen.setups, 4);
    assert_int_equal(seen.teardowns, 0);
    stop_and_join(0, 0);
    assert_int_equal(seen.teardowns, 4);
}

static void
setup_that_fails_undoes_all(void **state)
{
    (void)state;
    create(3);
    int port = listen_tcp();
    seen.failing_setup = 2;
    assert_int_equal(asyncore_workers_start(workers), -EPROTO);
    assert_int_equal(seen.setups, 3);
    assert_int_equal(seen.teardowns, 2); /* of the others */
    assert_true(is_refused(port));
    assert_int_equal(asyncore_workers_start(workers), -EBUSY);
    assert_int_equal(asyncore_workers_join(workers), -EPROTO);
}

static void
thread_that_is_not_to_be_had_undoes_all(void **state)
{
    (void)state;
    for (unsigned nth = 1; nth <= 3; nth++) {
        world.starts = 0;
        world.start_that_fails = nth;
        seen.setups = 0;
        seen.teardowns = 0;
        create(3);
        int port = listen_tcp();
        assert_int_equal(asyncore_workers_start(workers), -EAGAIN);
        assert_int_equal(seen.setups, nth - 1);
        assert_int_equal(seen.teardowns, nth - 1);
        assert_true(is_refused(port));
        assert_int_equal(asyncore_workers_free(workers), 0);
    }
    workers = NULL;
}

static int
count_my_cpus(struct asyncore_map *map, unsigned index, void *arg)
{
    cpu_set_t set;
    (void)map;
    (void)index;
    (void)arg;
    expect(pthread_getaffinity_np(pthread_self(), sizeof set, &set) == 0);
    expect(CPU_COUNT(&set) == 1);
    seen.setups++;
    return 0;
}

static void
pinned_threads_have_one_cpu(void **state)
{
    (void)state;
    struct asyncore_workers_options options = {
        .threads = MANY, .pin = true, .setup = count_my_cpus};
    assert_int_equal(asyncore_workers_create(&options, &workers), 0);
    assert_int_equal(asyncore_workers_start(workers), 0);
    assert_int_equal(seen.setups, MANY);
    assert_int_equal(asyncore_workers_free(workers), 0);
    world.pin_result = -EPERM;
    assert_int_equal(asyncore_workers_create(&options, &workers), 0);
    assert_int_equal(asyncore_workers_start(workers), -EPERM);
    assert_int_equal(seen.setups, MANY); /* no more */
}

/* ---- connections ---- */

static void
connections_are_dealt_out_by_the_kernel(void **state)
{
    (void)state;
    int fds[64];
    int port = serve(2);
    for (size_t i = 0; i < COUNT(fds); i++) {
        fds[i] = kit_connect(port);
    }
    for (size_t i = 0; i < COUNT(fds); i++) {
        assert_echo(fds[i], "hello");
    }
    assert_int_equal(all_served(), COUNT(fds));
    assert_true(seen.served[0] > 0 && seen.served[1] > 0);
    for (size_t i = 0; i < COUNT(fds); i++) {
        close(fds[i]);
    }
    stop_and_join(ASYNCORE_FOREVER, 0);
    assert_int_equal(seen.destroyed, COUNT(fds));
}

static void
assert_dealt_out_in_turn(int (*connect_one)(void))
{
    int fds[12];
    for (size_t i = 0; i < COUNT(fds); i++) {
        fds[i] = connect_one();
        assert_echo(fds[i], "hello");
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(seen.served[i], 4);
    }
    for (size_t i = 0; i < COUNT(fds); i++) {
        close(fds[i]);
    }
}

static void
unix_connections_are_dealt_out_in_turn(void **state)
{
    (void)state;
    create(3);
    assert_int_equal(asyncore_workers_listen(workers, AF_UNIX, unix_name(), 0,
                                             64, &server, &seen),
                     0);
    assert_int_equal(asyncore_workers_start(workers), 0);
    assert_dealt_out_in_turn(connect_unix);
    stop_and_join(ASYNCORE_FOREVER, 0);
    assert_int_equal(seen.destroyed, 12);
}

static int tcp_port;

static int
connect_tcp(void)
{
    return kit_connect(tcp_port);
}

static void
connections_of_one_listener_are_dealt_out_in_turn(void **state)
{
    (void)state;
    create(3);
    int fd = kit_listener(AF_INET, &tcp_port);
    assert_int_equal(asyncore_workers_listen_fd(workers, fd, &server, &seen),
                     0);
    assert_int_equal(port_of_listener(0), tcp_port);
    assert_int_equal(asyncore_workers_start(workers), 0);
    assert_dealt_out_in_turn(connect_tcp);
    stop_and_join(ASYNCORE_FOREVER, 0);
    assert_true(is_refused(tcp_port));
}

static void
one_worker_needs_no_dealing_out(void **state)
{
    (void)state;
    create(1);
    assert_int_equal(asyncore_workers_listen(workers, AF_UNIX, unix_name(), 0,
                                             64, &server, &seen),
                     0);
    struct asyncore_map *map = asyncore_workers_map(workers, 0);
    assert_ptr_equal(asyncore_map_next(map, NULL)->ops, &server);
    assert_int_equal(asyncore_workers_start(workers), 0);
    int fd = connect_unix();
    assert_echo(fd, "hello");
    close(fd);
}

static int
accept_and_close_listener(struct asyncore_dispatcher *d, int fd,
                          const struct asyncore_addr *addr)
{
    int rc = accepted(d, fd, addr);
    if (asyncore_workers_index() == 1) {
        expect(asyncore_close(d) == 0);
    }
    return rc;
}

static const struct asyncore_ops closing_server = {
    .name = "server",
    .handle_accepted = accept_and_close_listener,
};

static void
listener_that_closes_itself_gets_no_more(void **state)
{
    (void)state;
    create(2);
    assert_int_equal(asyncore_workers_listen(workers, AF_UNIX, unix_name(), 0,
                                             64, &closing_server, &seen),
                     0);
    assert_int_equal(asyncore_workers_start(workers), 0);
    int fds[4];
    for (int i = 0; i < 4; i++) {
        fds[i] = connect_unix();
        if (i < 3) {
            assert_echo(fds[i], "hello");
        }
        else {
            assert_ended(fds[i]);
        }
    }
    for (int i = 0; i < 3; i++) {
        close(fds[i]);
    }
    assert_int_equal(seen.served[0], 2);
    assert_int_equal(seen.served[1], 1);
}

static int
refuse(struct asyncore_dispatcher *d, int fd, const struct asyncore_addr *addr)
{
    (void)d;
    (void)fd;
    (void)addr;
    return -EACCES;
}

static const struct asyncore_ops refusing_server = {
    .name = "server",
    .handle_accepted = refuse,
};

static void
connection_that_is_not_taken_is_closed(void **state)
{
    (void)state;
    create(2);
    assert_int_equal(asyncore_workers_listen(workers, AF_UNIX, unix_name(), 0,
                                             64, &refusing_server, NULL),
                     0);
    assert_int_equal(asyncore_workers_start(workers), 0);
    for (int i = 0; i < 4; i++) {
        assert_ended(connect_unix());
    }
    stop_and_join(0, 0);
    assert_int_equal(seen.logged, 4);
}

static void
echo_once(void)
{
    int fd = connect_unix();
    assert_echo(fd, "hello");
    close(fd);
}

/* Whichever allocation fails: the next connection is served. */
static void
connection_without_memory_is_lost_and_no_more(void **state)
{
    (void)state;
    create(2);
    assert_int_equal(asyncore_workers_listen(workers, AF_UNIX, unix_name(), 0,
                                             64, &server, &seen),
                     0);
    assert_int_equal(asyncore_workers_start(workers), 0);
    echo_once(); /* what a map needs once: without it, the loop ends */
    echo_once();
    for (unsigned long nth = 1; nth < 12; nth++) {
        char byte;
        kit_fail_alloc(nth, 1);
        int fd = connect_unix();
        await(fd, POLLOUT);
        if (send(fd, "x", 1, MSG_NOSIGNAL) == 1) {
            await(fd, POLLIN);
            ssize_t n = read(fd, &byte, 1);
            (void)n; /* an echo, or the end of it */
        }
        close(fd);
        kit.alloc.fail_at = 0;
        echo_once();
        echo_once();
    }
}

/* ---- handing over ---- */

static atomic_int adopted_by;

static int
adopt_echo(struct asyncore_map *map, int fd, void *arg)
{
    expect(arg == &seen);
    adopted_by = asyncore_workers_index();
    return asyncore_dispatcher_with_send_new(&echo_handler, fd, map, NULL);
}

static int
adopt_and_fail(struct asyncore_map *map, int fd, void *arg)
{
    (void)map;
    (void)fd;
    (void)arg;
    return -EPERM;
}

static int
adopt_then_fail(struct asyncore_map *map, int fd, void *arg)
{
    int err = adopt_echo(map, fd, arg);
    return err < 0 ? err : -EPERM;
}

static void
connection_is_handed_to_a_worker(void **state)
{
    (void)state;
    int fd[2];
    create(3);
    assert_int_equal(asyncore_workers_start(workers), 0);
    for (unsigned i = 0; i < 3; i++) {
        kit_pair(AF_INET, fd);
        assert_int_equal(
            asyncore_workers_hand_over(workers, i, fd[0], adopt_echo, &seen),
            0);
        assert_echo(fd[1], "hello");
        assert_int_equal(adopted_by, i);
        close(fd[1]);
    }
    stop_and_join(ASYNCORE_FOREVER, 0);
    assert_int_equal(seen.destroyed, 3);
}

static void
connection_that_is_not_adopted_is_closed(void **state)
{
    (void)state;
    int fd[2];
    create(2);
    assert_int_equal(asyncore_workers_start(workers), 0);
    kit_pair(AF_INET, fd);
    assert_int_equal(
        asyncore_workers_hand_over(workers, 1, fd[0], adopt_and_fail, NULL),
        0);
    assert_ended(fd[1]);
    kit_pair(AF_INET, fd);
    assert_int_equal(
        asyncore_workers_hand_over(workers, 1, fd[0], adopt_then_fail, &seen),
        0);
    assert_echo(fd[1], "a channel has it");
    close(fd[1]);
    stop_and_join(ASYNCORE_FOREVER, 0);
    assert_int_equal(seen.logged, 2);
}

static atomic_int other_fd;

static int
adopt_close_then_fail(struct asyncore_map *map, int fd, void *arg)
{
    struct asyncore_dispatcher *d;
    (void)arg;
    int err = asyncore_dispatcher_new(&echo_handler, fd, map, &d);
    expect(err >= 0 && asyncore_close(d) >= 0);
    other_fd = dup2(STDIN_FILENO, fd); /* somebody else's, by now */
    return -EPERM;
}

static void
adopting_that_fails_after_a_close_closes_nobody_elses(void **state)
{
    (void)state;
    int fd[2];
    create(1);
    assert_int_equal(asyncore_workers_start(workers), 0);
    kit_pair(AF_INET, fd);
    assert_int_equal(asyncore_workers_hand_over(workers, 0, fd[0],
                                                adopt_close_then_fail, NULL),
                     0);
    assert_ended(fd[1]);
    stop_and_join(ASYNCORE_FOREVER, 0);
    assert_int_equal(other_fd, fd[0]);
    assert_true(fcntl(other_fd, F_GETFD) >= 0);
    close(other_fd);
}

static void
handing_over_checks_its_arguments(void **state)
{
    (void)state;
    int fd[2];
    create(2);
    kit_pair(AF_UNIX, fd);
    assert_int_equal(
        asyncore_workers_hand_over(workers, 2, fd[0], adopt_echo, NULL),
        -EINVAL);
    assert_int_equal(
        asyncore_workers_hand_over(workers, 0, -1, adopt_echo, NULL), -EINVAL);
    assert_int_equal(asyncore_workers_hand_over(workers, 0, fd[0], NULL, NULL),
                     -EINVAL);
    kit_fail_alloc(1, 1);
    assert_int_equal(
        asyncore_workers_hand_over(workers, 0, fd[0], adopt_echo, NULL),
        -ENOMEM);
    kit_heal();
    assert_int_equal(asyncore_workers_start(workers), 0);
    stop_and_join(0, 0);
    assert_int_equal(
        asyncore_workers_hand_over(workers, 0, fd[0], adopt_echo, NULL),
        -ESHUTDOWN);
    assert_true(fcntl(fd[0], F_GETFD) >= 0);
    close(fd[0]);
    close(fd[1]);
}

static void
connection_handed_over_before_the_start_waits(void **state)
{
    (void)state;
    int fd[2], lost[2];
    create(2);
    kit_pair(AF_UNIX, fd);
    assert_int_equal(
        asyncore_workers_hand_over(workers, 1, fd[0], adopt_echo, &seen), 0);
    assert_int_equal(asyncore_workers_start(workers), 0);
    assert_echo(fd[1], "hello");
    close(fd[1]);
    assert_int_equal(asyncore_workers_free(workers), 0);
    create(2); /* these are never started */
    kit_pair(AF_UNIX, lost);
    assert_int_equal(
        asyncore_workers_hand_over(workers, 1, lost[0], adopt_echo, &seen), 0);
    assert_int_equal(asyncore_workers_free(workers), 0);
    workers = NULL;
    assert_ended(lost[1]);
}

static int
wait_at_gate(struct asyncore_map *map, unsigned index, void *arg)
{
    (void)index;
    return pass_gate(map, arg);
}

static void
connection_handed_over_too_late_is_closed(void **state)
{
    (void)state;
    int fd[2];
    struct asyncore_workers_options options = {.threads = 1,
                                               .stopping = wait_at_gate};
    assert_int_equal(asyncore_workers_create(&options, &workers), 0);
    assert_int_equal(asyncore_workers_start(workers), 0);
    kit_pair(AF_UNIX, fd);
    close_gate();
    assert_int_equal(asyncore_workers_stop(workers, 0), 0);
    wait_for_gate();
    assert_int_equal(
        asyncore_workers_hand_over(workers, 0, fd[0], adopt_echo, &seen), 0);
    open_gate();
    assert_ended(fd[1]);
    assert_int_equal(asyncore_workers_join(workers), 0);
}

static void
connection_handed_over_while_they_stop_is_served(void **state)
{
    (void)state;
    int fd[2];
    struct asyncore_workers_options options = {.threads = 1,
                                               .stopping = wait_at_gate};
    assert_int_equal(asyncore_workers_create(&options, &workers), 0);
    assert_int_equal(asyncore_workers_start(workers), 0);
    kit_pair(AF_UNIX, fd);
    close_gate();
    assert_int_equal(asyncore_workers_stop(workers, ASYNCORE_FOREVER), 0);
    wait_for_gate();
    assert_int_equal(
        asyncore_workers_hand_over(workers, 0, fd[0], adopt_echo, &seen), 0);
    open_gate();
    assert_echo(fd[1], "hello");
    close(fd[1]);
    assert_int_equal(asyncore_workers_join(workers), 0);
}

/* ---- posts ---- */

static atomic_uint posts[MANY];

static int
note_post(struct asyncore_map *map, void *arg)
{
    int index = asyncore_workers_index();
    expect(asyncore_map_default() == map);
    expect(index == *(const int *)arg);
    posts[index]++;
    return 0;
}

static void
posts_run_in_their_worker(void **state)
{
    (void)state;
    static const int indices[] = {0, 1, 2};
    serve(3);
    for (unsigned i = 0; i < 30; i++) {
        assert_int_equal(asyncore_call_soon_threadsafe(
                             asyncore_workers_map(workers, i % 3), note_post,
                             (void *)(uintptr_t)&indices[i % 3]),
                         0);
    }
    for (unsigned i = 0; i < 3; i++) {
        hold(i); /* runs after them */
        open_gate();
        assert_int_equal(posts[i], 10);
    }
}

/* ---- stopping ---- */

static void
stop_lets_connections_finish(void **state)
{
    (void)state;
    struct text rest = {0};
    int port = serve(2);
    int fd = kit_connect(port);
    assert_echo(fd, "before");
    assert_int_equal(asyncore_workers_stop(workers, ASYNCORE_FOREVER), 0);
    while (!is_refused(port)) {
        sched_yield();
    }
    assert_echo(fd, "after");
    kit_write(fd, "last", 4);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    drain_to_end(fd, &rest);
    assert_string_equal(text_get(&rest), "last");
    assert_int_equal(asyncore_workers_join(workers), 0);
    text_clear(&rest);
    close(fd);
    assert_int_equal(seen.destroyed, all_served());
    assert_int_equal(seen.teardowns, 2);
}

static void
stop_ends_connections_when_the_time_is_over(void **state)
{
    (void)state;
    int port = serve(2);
    int fd = kit_connect(port);
    assert_echo(fd, "hello");
    stop_and_join(0.02, 0);
    assert_ended(fd);
    assert_int_equal(seen.destroyed, 1);
}

static void
stop_once_more_changes_the_time(void **state)
{
    (void)state;
    int port = serve(2);
    int fd = kit_connect(port);
    assert_echo(fd, "hello");
    assert_int_equal(asyncore_workers_stop(workers, ASYNCORE_FOREVER), 0);
    while (!is_refused(port)) {
        sched_yield();
    }
    assert_echo(fd, "still there");
    assert_int_equal(asyncore_workers_stop(workers, 1000), 0);
    stop_and_join(0, 0);
    assert_ended(fd);
}

/* What the kernel has accepted is not lost, nor is what it has received: also
 * if it is more than a pass takes. */
static void
stop_takes_the_connections_that_are_queued(void **state)
{
    (void)state;
    int fds[200];
    int port = serve(1);
    hold(0);
    for (size_t i = 0; i < COUNT(fds); i++) {
        fds[i] = kit_connect(port);
        kit_write(fds[i], "x", 1);
    }
    assert_int_equal(asyncore_workers_stop(workers, ASYNCORE_FOREVER), 0);
    open_gate();
    for (size_t i = 0; i < COUNT(fds); i++) {
        char byte = 0;
        await(fds[i], POLLIN);
        assert_int_equal(read(fds[i], &byte, 1), 1);
        assert_int_equal(byte, 'x');
        close(fds[i]);
    }
    assert_int_equal(asyncore_workers_join(workers), 0);
    assert_int_equal(all_served(), COUNT(fds));
}

static int
accept_one_by_hand(struct asyncore_dispatcher *d)
{
    struct asyncore_addr addr;
    int fd = asyncore_accept(d, &addr);
    return fd < 0 ? fd : accepted(d, fd, &addr);
}

static const struct asyncore_ops slow_server = {
    .name = "server",
    .handle_accept = accept_one_by_hand,
};

static void
stop_lets_the_listener_accept_in_its_own_way(void **state)
{
    (void)state;
    int fds[20];
    create(1);
    assert_int_equal(asyncore_workers_listen(workers, AF_INET, "127.0.0.1", 0,
                                             64, &slow_server, &seen),
                     0);
    assert_int_equal(asyncore_workers_start(workers), 0);
    hold(0);
    for (size_t i = 0; i < COUNT(fds); i++) {
        fds[i] = kit_connect(port_of_listener(0));
    }
    assert_int_equal(asyncore_workers_stop(workers, ASYNCORE_FOREVER), 0);
    open_gate();
    for (size_t i = 0; i < COUNT(fds); i++) {
        assert_echo(fds[i], "hello");
        close(fds[i]);
    }
    assert_int_equal(asyncore_workers_join(workers), 0);
    assert_int_equal(all_served(), COUNT(fds));
}

static void
stop_takes_what_is_queued_for_all(void **state)
{
    (void)state;
    int fds[200];
    create(3);
    assert_int_equal(asyncore_workers_listen(workers, AF_UNIX, unix_name(), 0,
                                             256, &server, &seen),
                     0);
    assert_int_equal(asyncore_workers_start(workers), 0);
    hold(0);
    for (size_t i = 0; i < COUNT(fds); i++) {
        fds[i] = connect_unix();
    }
    /* The others have ended, or not, when the first deals out. */
    assert_int_equal(asyncore_workers_stop(workers, ASYNCORE_FOREVER), 0);
    open_gate();
    for (size_t i = 0; i < COUNT(fds); i++) {
        assert_echo(fds[i], "hello");
        close(fds[i]);
    }
    assert_int_equal(asyncore_workers_join(workers), 0);
    assert_int_equal(all_served(), COUNT(fds));
}

static int
listen_too(struct asyncore_map *map, unsigned index, void *arg)
{
    struct asyncore_dispatcher *d;
    int err = asyncore_dispatcher_new(&server, -1, map, &d);
    (void)index;
    if (err >= 0) {
        err = asyncore_create_socket(d, AF_INET, SOCK_STREAM);
    }
    if (err >= 0) {
        err = asyncore_bind(d, "127.0.0.1", 0);
    }
    if (err >= 0) {
        err = asyncore_listen(d, 4);
    }
    *(struct asyncore_dispatcher **)arg = d;
    return err;
}

static void
stop_closes_listeners_of_the_users_own(void **state)
{
    (void)state;
    struct asyncore_dispatcher *own;
    struct asyncore_addr at;
    struct asyncore_workers_options options = {
        .threads = 1, .setup = listen_too, .arg = &own};
    assert_int_equal(asyncore_workers_create(&options, &workers), 0);
    assert_int_equal(asyncore_workers_start(workers), 0);
    assert_int_equal(asyncore_getaddr(own, &at), 0);
    stop_and_join(ASYNCORE_FOREVER, 0);
    assert_true(is_refused(ntohs(at.u.in.sin_port)));
}

static int
end_all(struct asyncore_map *map, unsigned index, void *arg)
{
    struct asyncore_dispatcher *next = asyncore_map_next(map, NULL);
    (void)index;
    (void)arg;
    while (next != NULL) {
        struct asyncore_dispatcher *d = next;
        next = asyncore_map_next(map, d);
        expect(!d->accepting);
        expect(asyncore_close_when_done(d) == 0);
    }
    return 0;
}

static void
stopping_may_end_idle_connections(void **state)
{
    (void)state;
    struct asyncore_workers_options options = {.threads = 2,
                                               .stopping = end_all};
    assert_int_equal(asyncore_workers_create(&options, &workers), 0);
    int port = listen_tcp();
    assert_int_equal(asyncore_workers_start(workers), 0);
    int fd = kit_connect(port);
    assert_echo(fd, "hello");
    assert_int_equal(asyncore_workers_stop(workers, ASYNCORE_FOREVER), 0);
    assert_ended(fd);
    assert_int_equal(asyncore_workers_join(workers), 0);
}

static void
stop_checks_its_argument(void **state)
{
    (void)state;
    create(1);
    assert_int_equal(asyncore_workers_stop(workers, -1), -EINVAL);
    assert_int_equal(asyncore_workers_stop(workers, NAN), -EINVAL);
}

static void
stop_before_the_start_comes_true_after_it(void **state)
{
    (void)state;
    create(2);
    listen_tcp();
    assert_int_equal(asyncore_workers_stop(workers, ASYNCORE_FOREVER), 0);
    assert_int_equal(asyncore_workers_start(workers), 0);
    assert_int_equal(asyncore_workers_join(workers), 0);
    assert_int_equal(asyncore_workers_join(workers), 0); /* once more */
    assert_int_equal(asyncore_workers_stop(workers, 0), 0);
}

static void
stop_on_signal(int sig)
{
    (void)sig;
    asyncore_workers_stop(workers, ASYNCORE_FOREVER);
}

static void
stop_in_a_signal_handler(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = stop_on_signal}, before;
    serve(2);
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    assert_int_equal(asyncore_workers_join(workers), 0);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

static int
stop_all(struct asyncore_dispatcher *d)
{
    expect(asyncore_workers_join(workers) == -EDEADLK);
    expect(asyncore_workers_free(workers) == -EDEADLK);
    expect(asyncore_workers_stop(workers, 0) == 0);
    return asyncore_close(d);
}

static int
stop_me(struct asyncore_dispatcher *d)
{
    asyncore_stop(d->map);
    return 0;
}

static int
exit_now(struct asyncore_dispatcher *d)
{
    (void)d;
    return ASYNCORE_EXIT_NOW;
}

/* A connection whose handle_read is this ends the workers, with a result. */
static void
assert_handler_ends_them(int (*handle_read)(struct asyncore_dispatcher *d),
                         int result)
{
    static struct asyncore_ops ops;
    int fd[2];
    struct asyncore_dispatcher d;
    ops = (struct asyncore_ops){.handle_read = handle_read};
    create(3);
    int port = listen_tcp();
    kit_pair(AF_INET, fd);
    assert_int_equal(asyncore_dispatcher_init(
                         &d, &ops, fd[0], asyncore_workers_map(workers, 1)),
                     0);
    assert_int_equal(asyncore_workers_start(workers), 0);
    int client = kit_connect(port);
    assert_echo(client, "hello");
    kit_write(fd[1], "x", 1);
    assert_int_equal(asyncore_workers_join(workers), result);
    assert_ended(client);
    assert_ended(fd[1]);
    assert_int_equal(asyncore_workers_free(workers), 0);
    workers = NULL;
}

static void
stop_by_a_handler(void **state)
{
    (void)state;
    assert_handler_ends_them(stop_all, 0);
}

static void
loop_that_is_stopped_ends_all(void **state)
{
    (void)state;
    assert_handler_ends_them(stop_me, 0);
}

static void
exit_now_ends_all_and_is_the_result(void **state)
{
    (void)state;
    assert_handler_ends_them(exit_now, ASYNCORE_EXIT_NOW);
}

/* ---- the end ---- */

static void
join_without_start_is_einval(void **state)
{
    (void)state;
    create(2);
    assert_int_equal(asyncore_workers_join(workers), -EINVAL);
}

static void
free_ends_those_that_run(void **state)
{
    (void)state;
    int port = serve(2);
    int fd = kit_connect(port);
    assert_echo(fd, "hello");
    assert_int_equal(asyncore_workers_free(workers), 0);
    workers = NULL;
    assert_ended(fd);
    assert_int_equal(seen.teardowns, 2);
}

static void
free_waits_for_channels_that_are_set_aside(void **state)
{
    (void)state;
    int fd[2];
    struct asyncore_dispatcher d;
    create(2);
    kit_pair(AF_UNIX, fd);
    assert_int_equal(asyncore_dispatcher_init(
                         &d, NULL, fd[0], asyncore_workers_map(workers, 1)),
                     0);
    assert_int_equal(asyncore_del_channel(&d), 0);
    assert_int_equal(asyncore_workers_free(workers), -EBUSY);
    assert_int_equal(asyncore_close(&d), 0);
    assert_int_equal(asyncore_workers_free(workers), 0);
    workers = NULL;
    close(fd[1]);
}

/* In the child of a fork.  What it has of the parent's can't be released, so
 * it ends in a way that leaves nobody to count that. */
static _Noreturn void
misuse(void)
{
    if (asyncore_workers_start(workers) == -ECHILD &&
        asyncore_workers_stop(workers, 0) == -ECHILD &&
        asyncore_workers_join(workers) == -ECHILD &&
        asyncore_workers_hand_over(workers, 0, 0, adopt_echo, NULL) ==
            -ECHILD &&
        asyncore_workers_free(workers) == -ECHILD) {
        kill(getpid(), SIGKILL);
    }
    _exit(1);
}

static void
child_of_a_fork_leaves_them_alone(void **state)
{
    (void)state;
    int status, port = serve(2);
    pid_t child = fork();
    if (child == 0) {
        misuse();
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    int fd = kit_connect(port);
    assert_echo(fd, "hello");
    close(fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(options_have_bounds),
        TEST(threads_are_as_many_as_cpus_by_default),
        TEST(options_reach_the_maps),
        TEST(nobody_is_no_worker),
        TEST(each_worker_has_a_listener_on_the_same_port),
        TEST(address_in_use_is_eaddrinuse),
        TEST(listening_checks_its_arguments),
        TEST(listening_that_fails_is_undone),
        TEST(listening_without_memory_is_undone),
        TEST(threads_have_names_and_block_signals),
        TEST(setup_comes_before_start_returns),
        TEST(setup_that_fails_undoes_all),
        TEST(thread_that_is_not_to_be_had_undoes_all),
        TEST(pinned_threads_have_one_cpu),
        TEST(connections_are_dealt_out_by_the_kernel),
        TEST(unix_connections_are_dealt_out_in_turn),
        TEST(connections_of_one_listener_are_dealt_out_in_turn),
        TEST(one_worker_needs_no_dealing_out),
        TEST(listener_that_closes_itself_gets_no_more),
        TEST(connection_that_is_not_taken_is_closed),
        TEST(connection_without_memory_is_lost_and_no_more),
        TEST(connection_is_handed_to_a_worker),
        TEST(connection_that_is_not_adopted_is_closed),
        TEST(adopting_that_fails_after_a_close_closes_nobody_elses),
        TEST(handing_over_checks_its_arguments),
        TEST(connection_handed_over_before_the_start_waits),
        TEST(connection_handed_over_too_late_is_closed),
        TEST(connection_handed_over_while_they_stop_is_served),
        TEST(posts_run_in_their_worker),
        TEST(stop_lets_connections_finish),
        TEST(stop_ends_connections_when_the_time_is_over),
        TEST(stop_once_more_changes_the_time),
        TEST(stop_takes_the_connections_that_are_queued),
        TEST(stop_lets_the_listener_accept_in_its_own_way),
        TEST(stop_takes_what_is_queued_for_all),
        TEST(stop_closes_listeners_of_the_users_own),
        TEST(stopping_may_end_idle_connections),
        TEST(stop_checks_its_argument),
        TEST(stop_before_the_start_comes_true_after_it),
        TEST(stop_in_a_signal_handler),
        TEST(stop_by_a_handler),
        TEST(loop_that_is_stopped_ends_all),
        TEST(exit_now_ends_all_and_is_the_result),
        TEST(join_without_start_is_einval),
        TEST(free_ends_those_that_run),
        TEST(free_waits_for_channels_that_are_set_aside),
        TEST(child_of_a_fork_leaves_them_alone),
    };
    return cmocka_run_group_tests_name("workers", tests, NULL, NULL);
}
