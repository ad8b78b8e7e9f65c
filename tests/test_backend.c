/* SPDX-License-Identifier: MIT */
/* test_backend.c - the contract of a backend, through its table: what it is
 * told to watch, it reports, all of it, in one wait. */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "await.h"
#include "kit.h"

enum {
    R = ASYNCORE__READ,
    W = ASYNCORE__WRITE,
    P = ASYNCORE__PRI,
    H = ASYNCORE__HUP
};

/* A channel that the library arms for nothing, so that the tests may. */
static int
watched_pair(const char *name, int family, int *ret_peer)
{
    struct chan *c = kit_pair_chan(name, REC_TOUCH | REC_QUIET | REC_EXPT,
                                   family, ret_peer);
    c->want_read = false;
    kit_pass();
    return D(c)->fd;
}

/* Tell the backend, and keep the book that the map keeps. */
static int
modify(int fd, unsigned mask)
{
    struct asyncore__slot *slot = &kit.map->slots[fd];
    int err = kit.map->backend->modify(kit.map, fd, slot->armed, mask);
    if (err >= 0) {
        slot->armed = mask & 31u;
    }
    return err;
}

/* One wait that does not; returns what is reported of a descriptor, 0 if it
 * is not.  Forgets all reports. */
static unsigned
reported(int fd)
{
    unsigned mask = 0;
    assert_int_equal(kit.map->backend->wait(kit.map, 0), 0);
    for (size_t i = 0; i < kit.map->nready; i++) {
        if (kit.map->ready[i].fd == fd) {
            assert_int_equal(mask, 0); /* once */
            mask = kit.map->ready[i].mask;
        }
    }
    kit.map->nready = 0;
    return mask;
}

static bool
is_backend(const char *name)
{
    return strcmp(kit.map->backend->name, name) == 0;
}

static void
needs_backend(const char *name)
{
    if (!is_backend(name)) {
        skip();
    }
}

/* ---- modify and wait ---- */

static void
modify_sets_changes_and_ends_the_interest(void **state)
{
    (void)state;
    int peer;
    int fd = watched_pair("a", AF_UNIX, &peer);
    assert_int_equal(reported(fd), 0);
    assert_int_equal(modify(fd, R), 0);
    assert_int_equal(reported(fd), 0);
    kit_write(peer, "x", 1);
    assert_int_equal(reported(fd), R);
    assert_int_equal(reported(fd), R); /* as long as it lasts */
    assert_int_equal(modify(fd, R | W), 0);
    assert_int_equal(reported(fd), R | W);
    assert_int_equal(modify(fd, W), 0);
    assert_int_equal(reported(fd), W);
    assert_int_equal(modify(fd, R), 0);
    assert_int_equal(reported(fd), R);
    assert_int_equal(modify(fd, 0), 0);
    assert_int_equal(reported(fd), 0);
    assert_int_equal(modify(fd, W), 0);
    assert_int_equal(reported(fd), W);
    close(peer);
}

static void
modify_of_one_leaves_the_others(void **state)
{
    (void)state;
    int peer[4], fd[4];
    static const char *const names[] = {"a", "b", "c", "d"};
    for (size_t i = 0; i < COUNT(fd); i++) {
        fd[i] = watched_pair(names[i], AF_UNIX, &peer[i]);
        assert_int_equal(modify(fd[i], R), 0);
    }
    /* The first, the last, one between, in any order. */
    static const size_t order[] = {0, 3, 1, 2};
    for (size_t i = 0; i < COUNT(order); i++) {
        assert_int_equal(modify(fd[order[i]], 0), 0);
        for (size_t j = 0; j < COUNT(order); j++) {
            bool on = j > i;
            kit_write(peer[order[j]], "x", 1);
            assert_int_equal(reported(fd[order[j]]), on ? R : 0);
            assert_int_equal(read(fd[order[j]], (char[2]){0}, 2), 1);
        }
    }
    for (size_t i = 0; i < COUNT(fd); i++) {
        close(peer[i]);
    }
}

static void
urgent_data_is_reported_as_such(void **state)
{
    (void)state;
    int peer;
    int fd = watched_pair("a", AF_INET, &peer);
    assert_int_equal(modify(fd, P), 0);
    assert_int_equal(reported(fd), 0);
    assert_int_equal(send(peer, "!", 1, MSG_OOB), 1);
    await(fd, POLLPRI);
    assert_int_equal(reported(fd) & P, P);
    assert_int_equal(modify(fd, R), 0);
    assert_int_equal(reported(fd) & P, 0);
    close(peer);
}

static void
hang_up_is_reported_if_the_backend_says_so(void **state)
{
    (void)state;
    int peer;
    int fd = watched_pair("a", AF_UNIX, &peer);
    assert_int_equal(modify(fd, W), 0);
    assert_int_equal(reported(fd), W);
    close(peer);
    unsigned mask = reported(fd);
    assert_int_equal(mask & W, W);
    assert_int_equal(mask & H, kit.map->backend->tells_hup ? H : 0);
    assert_int_equal(modify(fd, 0), 0);
    assert_int_equal(reported(fd), 0); /* not watched, not told */
}

static void
wait_hands_on_timeout_and_errors(void **state)
{
    (void)state;
    static const int64_t timeouts[] = {0, 1, 999999, 1000001, 5000000000};
    int peer;
    int fd = watched_pair("a", AF_UNIX, &peer);
    kit_advance(0);
    for (size_t i = 0; i < COUNT(timeouts); i++) {
        assert_int_equal(kit.map->backend->wait(kit.map, timeouts[i]), 0);
        assert_int_equal(kit.world.timeout, timeouts[i]);
    }
    assert_int_equal(modify(fd, W), 0);
    assert_int_equal(kit.map->backend->wait(kit.map, -1), 0);
    assert_int_equal(kit.world.timeout, -1);
    kit.map->nready = 0;
    static const int errors[] = {-EINTR, -ENOMEM, -EIO};
    for (size_t i = 0; i < COUNT(errors); i++) {
        kit_fail(kit_wait_call(), -1, 1, 1, errors[i]);
        assert_int_equal(kit.map->backend->wait(kit.map, 0), errors[i]);
        assert_int_equal(kit.map->nready, 0);
        kit_heal();
    }
    assert_int_equal(reported(fd), W);
    close(peer);
}

static void
wait_is_one_system_call(void **state)
{
    (void)state;
    int peer;
    int fd = watched_pair("a", AF_UNIX, &peer);
    assert_int_equal(modify(fd, R | W), 0);
    kit_count_anew();
    assert_int_equal(reported(fd), W);
    assert_int_equal(kit.world.calls[kit_wait_call()], 1);
    assert_int_equal(kit.world.total, 1);
    close(peer);
}

static void
backend_without_memory_cannot_begin(void **state)
{
    (void)state;
    void *before = kit.map->state;
    kit.map->state = NULL;
    kit_fail_alloc(1, 1);
    assert_int_equal(kit.map->backend->init(kit.map), -ENOMEM);
    assert_null(kit.map->state);
    kit.map->state = before;
}

/* ---- reports ---- */

static void
report_of_a_life_that_has_passed_is_dropped(void **state)
{
    (void)state;
    int peer;
    int fd = watched_pair("a", AF_UNIX, &peer);
    uint32_t generation = kit.map->slots[fd].generation;
    assert_int_equal(asyncore__report(kit.map, fd, generation - 1, R), 0);
    assert_int_equal(asyncore__report(kit.map, fd, generation + 1, R), 0);
    assert_int_equal(kit.map->nready, 0);
    assert_int_equal(asyncore__report(kit.map, fd, generation, R), 0);
    assert_int_equal(kit.map->nready, 1);
    kit.map->nready = 0;
    assert_int_equal(asyncore_close(asyncore_map_get(kit.map, fd)), 0);
    assert_int_equal(asyncore__report(kit.map, fd, generation, R), 0);
    assert_int_equal(kit.map->nready, 0);
    close(peer);
}

static void
report_without_memory_comes_again(void **state)
{
    (void)state;
    int peer;
    int fd = watched_pair("a", AF_UNIX, &peer);
    assert_int_equal(modify(fd, W), 0);
    assert_int_equal(kit.map->ready_cap, 0);
    kit_fail_alloc(1, 1);
    assert_int_equal(kit.map->backend->wait(kit.map, 0), -ENOMEM);
    kit_heal();
    assert_int_equal(reported(fd), W);
    close(peer);
}

/* The registration of a descriptor that was closed while the kernel kept it:
 * somebody has a dup() of it, and the removal failed. */
static void
ghost_of_a_closed_channel_is_not_its_successors_event(void **state)
{
    (void)state;
    needs_backend("epoll");
    int peer[2], pair[2];
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer[0]);
    kit_pass();
    int fd = D(a)->fd;
    int keeps_it_open = dup(fd);
    kit_pair(AF_UNIX, pair);
    peer[1] = pair[1];
    kit_fail(KIT_EPOLL_CTL, fd, 1, 1, -ENOMEM);
    assert_int_equal(asyncore_close(D(a)), 0);
    kit_heal();
    assert_int_equal(dup2(pair[0], fd), fd);
    close(pair[0]);
    struct chan *b = chan_open("b", 0, fd);
    kit_write(peer[0], "for a", 5); /* the kernel reports it at a's number */
    kit_pass();
    kit_pass();
    assert_trace("a.destroy\n");
    kit_write(peer[1], "for b", 5);
    kit_pass();
    assert_trace("b.handle_read\nb.recv 5\n");
    assert_string_equal(text_get(&b->in), "for b");
    close(keeps_it_open);
    close(peer[0]);
    close(peer[1]);
}

/* ---- many ---- */

static void
all_that_is_ready_is_reported_in_one_wait(void **state)
{
    (void)state;
    struct rlimit limit;
    size_t n = is_backend("select") ? 500 : 1500, seen = 0;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < n + 64) {
        limit.rlim_cur = n + 64;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
            skip();
        }
    }
    struct asyncore_dispatcher *d = calloc(n, sizeof *d);
    assert_non_null(d);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(asyncore_dispatcher_init(&d[i], NULL, -1, kit.map),
                         0);
        assert_int_equal(asyncore_create_socket(&d[i], AF_UNIX, SOCK_DGRAM),
                         0);
    }
    kit_pass();
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(modify(d[i].fd, W), 0);
    }
    kit_count_anew();
    assert_int_equal(kit.map->backend->wait(kit.map, 0), 0);
    /* An io_uring's kernel does twenty or so at once. */
    assert_in_range(kit.world.total, 1, is_backend("io_uring") ? n / 16 : 1);
    assert_int_equal(kit.map->nready, n);
    for (size_t i = 0; i < n; i++) {
        seen += kit.map->ready[i].mask == W;
    }
    assert_int_equal(seen, n);
    kit.map->nready = 0;
    assert_int_equal(asyncore_close_all(kit.map, false), 0);
    free(d);
}

/* ---- regular files ---- */

static void
regular_file_is_always_ready_or_refused(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    struct chan *c = chan_open_file("f", REC_ASK | REC_QUIET, fileno(file));
    c->want_read = false;
    kit_pass();
    int fd = D(c)->fd;
    int err = modify(fd, R | W);
    if (is_backend("epoll")) {
        assert_int_equal(err, -EPERM);
    }
    else {
        assert_int_equal(err, 0);
        assert_int_equal(reported(fd), R | W);
        assert_int_equal(modify(fd, 0), 0);
    }
    fclose(file);
}

/* ---- descriptors closed behind the library's back ---- */

/* epoll's kernel forgets them: there is nothing to report. */
static void
needs_to_be_told(void)
{
    if (is_backend("epoll") || is_backend("io_uring")) {
        skip();
    }
}

static void
bad_descriptor_is_reported_as_such(void **state)
{
    (void)state;
    needs_to_be_told();
    int peer[3], fd[3];
    static const char *const names[] = {"a", "b", "c"};
    for (size_t i = 0; i < COUNT(fd); i++) {
        fd[i] = watched_pair(names[i], AF_UNIX, &peer[i]);
        assert_int_equal(modify(fd[i], R), 0);
    }
    close(fd[0]);
    close(fd[2]);
    kit_write(peer[1], "x", 1);
    unsigned long seen = 0;
    assert_int_equal(kit.map->backend->wait(kit.map, 0), 0);
    for (size_t i = 0; i < kit.map->nready; i++) {
        const struct asyncore__ready *event = &kit.map->ready[i];
        if (event->mask == ASYNCORE__NVAL) {
            assert_true(event->fd == fd[0] || event->fd == fd[2]);
            seen++;
        }
    }
    assert_int_equal(seen, 2);
    kit.map->nready = 0;
    for (size_t i = 0; i < COUNT(fd); i += 2) {
        assert_int_equal(modify(fd[i], 0), 0);
    }
    assert_int_equal(reported(fd[1]), R);
    for (size_t i = 0; i < COUNT(fd); i++) {
        close(peer[i]);
    }
}

static void
bad_descriptor_ends_its_channel_only(void **state)
{
    (void)state;
    needs_to_be_told();
    int peer[2];
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer[0]);
    kit_pair_chan("b", 0, AF_UNIX, &peer[1]);
    kit_pass();
    close(D(a)->fd);
    kit_write(peer[1], "x", 1);
    kit_pass();
    kit_pass();
    assert_non_null(strstr(text_get(&kit.trace), "a.handle_close EBADF\n"));
    assert_non_null(strstr(text_get(&kit.trace), "b.recv 1\n"));
    assert_null(strstr(text_get(&kit.trace), "b.handle_close"));
    assert_int_equal(a->events[ON_CLOSE], 1);
    assert_int_equal(a->destroyed, 1);
    close(peer[0]);
    close(peer[1]);
}

static void
select_whose_bad_descriptor_is_not_found_fails(void **state)
{
    (void)state;
    needs_backend("select");
    kit_fail(KIT_SELECT, -1, 1, 1, -EBADF);
    assert_int_equal(kit.map->backend->wait(kit.map, 0), -EBADF);
}

/* ---- repairs of epoll ---- */

static void
epoll_registers_anew_what_the_kernel_forgot(void **state)
{
    (void)state;
    needs_backend("epoll");
    int peer, pair[2];
    int fd = watched_pair("a", AF_UNIX, &peer);
    assert_int_equal(modify(fd, R), 0);
    kit_pair(AF_UNIX, pair);
    assert_int_equal(dup2(pair[0], fd), fd); /* another file at its number */
    close(pair[0]);
    kit_count_anew();
    assert_int_equal(modify(fd, R | W), 0);
    assert_int_equal(kit.world.calls[KIT_EPOLL_CTL], 2);
    kit_write(pair[1], "x", 1);
    assert_int_equal(reported(fd), R | W);
    assert_int_equal(modify(fd, 0), 0);
    close(peer);
    close(pair[1]);
}

static void
epoll_changes_what_the_kernel_has_kept(void **state)
{
    (void)state;
    needs_backend("epoll");
    int peer;
    int fd = watched_pair("a", AF_UNIX, &peer);
    assert_int_equal(modify(fd, R), 0);
    kit_fail(KIT_EPOLL_CTL, fd, 1, 1, -EIO);
    assert_int_equal(modify(fd, 0), -EIO);
    kit_heal();
    kit.map->slots[fd].armed = 0;
    kit.map->slots[fd].generation++; /* the next channel there */
    kit_count_anew();
    assert_int_equal(modify(fd, W), 0);
    assert_int_equal(kit.world.calls[KIT_EPOLL_CTL], 2);
    assert_int_equal(reported(fd), W); /* of the new life */
    close(peer);
}

static void
epoll_that_is_refused_says_so(void **state)
{
    (void)state;
    needs_backend("epoll");
    int peer;
    int fd = watched_pair("a", AF_UNIX, &peer);
    kit_fail(KIT_EPOLL_CTL, fd, 1, 1, -ENOSPC);
    assert_int_equal(modify(fd, R), -ENOSPC);
    assert_int_equal(modify(fd, R), 0);
    kit_fail(KIT_EPOLL_CTL, fd, 1, 1, -ENOMEM);
    assert_int_equal(modify(fd, W), -ENOMEM);
    assert_int_equal(modify(fd, W), 0);
    assert_int_equal(reported(fd), W);
    close(peer);
}

/* ---- fileno ---- */

static void
fileno_is_readable_when_a_wait_would_report(void **state)
{
    (void)state;
    needs_backend("epoll");
    int peer;
    int fd = watched_pair("a", AF_UNIX, &peer);
    assert_int_equal(modify(fd, R), 0);
    int whole = kit.map->backend->fileno(kit.map);
    assert_false(kit_is_readable(whole));
    kit_write(peer, "x", 1);
    assert_true(kit_is_readable(whole));
    assert_int_equal(reported(fd), R);
    assert_int_equal(modify(fd, 0), 0);
    assert_false(kit_is_readable(whole));
    close(peer);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(modify_sets_changes_and_ends_the_interest),
        KIT_TEST(modify_of_one_leaves_the_others),
        KIT_TEST(urgent_data_is_reported_as_such),
        KIT_TEST(hang_up_is_reported_if_the_backend_says_so),
        KIT_TEST(wait_hands_on_timeout_and_errors),
        KIT_TEST(wait_is_one_system_call),
        KIT_TEST(backend_without_memory_cannot_begin),
        KIT_TEST(report_of_a_life_that_has_passed_is_dropped),
        KIT_TEST(report_without_memory_comes_again),
        KIT_TEST(ghost_of_a_closed_channel_is_not_its_successors_event),
        KIT_TEST(all_that_is_ready_is_reported_in_one_wait),
        KIT_TEST(regular_file_is_always_ready_or_refused),
        KIT_TEST(bad_descriptor_is_reported_as_such),
        KIT_TEST(bad_descriptor_ends_its_channel_only),
        KIT_TEST(select_whose_bad_descriptor_is_not_found_fails),
        KIT_TEST(epoll_registers_anew_what_the_kernel_forgot),
        KIT_TEST(epoll_changes_what_the_kernel_has_kept),
        KIT_TEST(epoll_that_is_refused_says_so),
        KIT_TEST(fileno_is_readable_when_a_wait_would_report),
    };
    return cmocka_run_group_tests_name("backend", tests, NULL, NULL);
}
