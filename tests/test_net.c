/* SPDX-License-Identifier: MIT */
/* test_net.c - addresses from text and to text; kinds of errors. */
#include <arpa/inet.h>

#include "kit.h"

static struct asyncore_addr
lookup(int family, const char *host, int port)
{
    struct asyncore_addr addr;
    memset(&addr, 0xee, sizeof addr);
    assert_int_equal(asyncore_getaddrinfo(kit.map, family, SOCK_STREAM, host,
                                          port, &addr, 1),
                     1);
    return addr;
}

static const char *
round_trip(int family, const char *host, int port)
{
    struct asyncore_addr addr = lookup(family, host, port);
    return asyncore_addr_str(&addr);
}

static void
numeric_addresses_come_out_as_they_went_in(void **state)
{
    (void)state;
    assert_string_equal(round_trip(AF_INET, "127.0.0.1", 80), "127.0.0.1:80");
    assert_string_equal(round_trip(AF_UNSPEC, "10.1.2.3", 65535),
                        "10.1.2.3:65535");
    assert_string_equal(round_trip(AF_INET6, "::1", 0), "[::1]:0");
    assert_string_equal(round_trip(AF_UNSPEC, "2001:db8::5", 443),
                        "[2001:db8::5]:443");
    assert_string_equal(round_trip(AF_UNIX, "/run/x.sock", 0), "/run/x.sock");
    assert_string_equal(round_trip(AF_UNIX, "@hidden", 7), "@hidden");
}

static void
scope_of_an_address_is_kept(void **state)
{
    (void)state;
    struct asyncore_addr addr = lookup(AF_INET6, "fe80::1", 9);
    addr.u.in6.sin6_scope_id = 3;
    assert_string_equal(asyncore_addr_str(&addr), "[fe80::1%3]:9");
}

static void
no_host_is_any_address(void **state)
{
    (void)state;
    assert_string_equal(round_trip(AF_INET, "", 5), "0.0.0.0:5");
    assert_string_equal(round_trip(AF_INET, NULL, 5), "0.0.0.0:5");
    assert_string_equal(round_trip(AF_INET6, "", 5), "[::]:5");
}

static void
texts_of_four_addresses_can_be_shown_at_once(void **state)
{
    (void)state;
    const char *text[4];
    for (int i = 0; i < 4; i++) {
        text[i] = round_trip(AF_INET, "127.0.0.1", i + 1);
    }
    assert_string_equal(text[0], "127.0.0.1:1");
    assert_string_equal(text[1], "127.0.0.1:2");
    assert_string_equal(text[2], "127.0.0.1:3");
    assert_string_equal(text[3], "127.0.0.1:4");
}

static void
text_of_nothing_is_empty(void **state)
{
    (void)state;
    struct asyncore_addr addr;
    memset(&addr, 0, sizeof addr);
    assert_string_equal(asyncore_addr_str(NULL), "");
    assert_string_equal(asyncore_addr_str(&addr), "");
    addr.u.un.sun_family = AF_UNIX; /* a socket without a name */
    addr.len = sizeof(sa_family_t);
    assert_string_equal(asyncore_addr_str(&addr), "");
    addr.u.sa.sa_family = AF_APPLETALK;
    addr.len = sizeof(struct sockaddr);
    assert_true(asyncore_addr_str(&addr)[0] != '\0');
}

static void
unix_path_is_terminated_and_measured(void **state)
{
    (void)state;
    struct asyncore_addr addr = lookup(AF_UNIX, "/a", 0);
    assert_int_equal(addr.u.un.sun_family, AF_UNIX);
    assert_string_equal(addr.u.un.sun_path, "/a");
    assert_int_equal(addr.len, offsetof(struct sockaddr_un, sun_path) + 3);
    addr = lookup(AF_UNIX, "@a", 0);
    assert_int_equal(addr.u.un.sun_path[0], '\0');
    assert_int_equal(addr.u.un.sun_path[1], 'a');
    assert_int_equal(addr.len, offsetof(struct sockaddr_un, sun_path) + 2);
}

static void
unix_path_that_does_not_fit_is_enametoolong(void **state)
{
    (void)state;
    struct asyncore_addr addr;
    char path[200];
    size_t room = sizeof addr.u.un.sun_path;
    memset(path, 'p', sizeof path);
    path[room - 1] = '\0'; /* the longest path */
    assert_int_equal(asyncore__addr_unix(&addr, path), 0);
    assert_string_equal(asyncore_addr_str(&addr), path);
    path[room - 1] = 'p';
    path[room] = '\0';
    assert_int_equal(asyncore__addr_unix(&addr, path), -ENAMETOOLONG);
    path[0] = '@'; /* a name needs no terminator */
    assert_int_equal(asyncore__addr_unix(&addr, path), 0);
    assert_string_equal(asyncore_addr_str(&addr), path);
    path[room] = 'p';
    path[room + 1] = '\0';
    assert_int_equal(asyncore__addr_unix(&addr, path), -ENAMETOOLONG);
    assert_int_equal(
        asyncore_getaddrinfo(kit.map, AF_UNIX, SOCK_STREAM, path, 0, &addr, 1),
        -ENAMETOOLONG);
}

static void
unix_name_that_is_empty_is_einval(void **state)
{
    (void)state;
    struct asyncore_addr addr;
    assert_int_equal(asyncore__addr_unix(&addr, ""), -EINVAL);
    assert_int_equal(asyncore__addr_unix(&addr, "@"), -EINVAL);
    assert_int_equal(
        asyncore_getaddrinfo(kit.map, AF_UNIX, SOCK_STREAM, NULL, 0, &addr, 1),
        -EINVAL);
}

static void
bad_arguments_are_refused(void **state)
{
    (void)state;
    struct asyncore_addr addr;
    struct {
        int family, port;
        struct asyncore_addr *ret;
        size_t max;
        int want;
    } cases[] = {
        {AF_INET, -1, &addr, 1, -EINVAL},
        {AF_INET, 65536, &addr, 1, -EINVAL},
        {AF_INET, 1, NULL, 1, -EINVAL},
        {AF_INET, 1, &addr, 0, -EINVAL},
        {AF_APPLETALK, 1, &addr, 1, -EAFNOSUPPORT},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(asyncore_getaddrinfo(kit.map, cases[i].family,
                                              SOCK_STREAM, "127.0.0.1",
                                              cases[i].port, cases[i].ret,
                                              cases[i].max),
                         cases[i].want);
    }
}

static void
resolver_errors_have_codes_of_their_own(void **state)
{
    (void)state;
    struct asyncore_addr addr;
    assert_int_equal(asyncore_getaddrinfo(kit.map, AF_INET, SOCK_STREAM,
                                          "not a host name", 1, &addr, 1),
                     -ASYNCORE_EAI_NONAME);
    int err = asyncore_getaddrinfo(kit.map, AF_INET, SOCK_STREAM, "::1", 1,
                                   &addr, 1);
    assert_true(err == -ASYNCORE_EAI_FAMILY || err == -ASYNCORE_EAI_NONAME);
    kit_fail(KIT_RESOLVE, -1, 1, 1, -ASYNCORE_EAI_AGAIN);
    assert_int_equal(
        asyncore_getaddrinfo(kit.map, AF_INET, SOCK_STREAM, "x", 1, &addr, 1),
        -ASYNCORE_EAI_AGAIN);
}

static void
answers_are_no_more_than_there_is_room_for(void **state)
{
    (void)state;
    struct asyncore_addr addr[4];
    memset(addr, 0, sizeof addr);
    int n =
        asyncore_getaddrinfo(kit.map, AF_UNSPEC, SOCK_STREAM, "", 1, addr, 4);
    assert_in_range(n, 1, 4);
    for (int i = 0; i < n; i++) {
        assert_true(addr[i].len > 0);
    }
    memset(addr, 0, sizeof addr);
    assert_int_equal(
        asyncore_getaddrinfo(kit.map, AF_UNSPEC, SOCK_STREAM, "", 1, addr, 1),
        1);
    assert_int_equal(addr[1].len, 0);
}

static bool
among(int code, const int *set, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (set[i] == code) {
            return true;
        }
    }
    return false;
}

static void
errnos_are_classified(void **state)
{
    (void)state;
    static const int gone[] = {ECONNRESET, ENOTCONN, ESHUTDOWN,  ECONNABORTED,
                               EPIPE,      EBADF,    EPROTOTYPE, ETIMEDOUT};
    static const int again[] = {
        EAGAIN, ECONNABORTED, ENETDOWN,   EPROTO,      ENOPROTOOPT, EHOSTDOWN,
        ENONET, EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH, EPERM,       ETIMEDOUT};
    static const int out[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
    for (int code = 1; code < 200; code++) {
        assert_int_equal(asyncore__disconnected(-code),
                         among(code, gone, COUNT(gone)));
        assert_int_equal(asyncore__accept_again(-code),
                         among(code, again, COUNT(again)));
        assert_int_equal(asyncore__exhausted(-code),
                         among(code, out, COUNT(out)));
    }
    assert_false(asyncore__disconnected(0));
    assert_false(asyncore__accept_again(0));
    assert_false(asyncore__exhausted(0));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(numeric_addresses_come_out_as_they_went_in),
        KIT_TEST(scope_of_an_address_is_kept),
        KIT_TEST(no_host_is_any_address),
        KIT_TEST(texts_of_four_addresses_can_be_shown_at_once),
        KIT_TEST(text_of_nothing_is_empty),
        KIT_TEST(unix_path_is_terminated_and_measured),
        KIT_TEST(unix_path_that_does_not_fit_is_enametoolong),
        KIT_TEST(unix_name_that_is_empty_is_einval),
        KIT_TEST(bad_arguments_are_refused),
        KIT_TEST(resolver_errors_have_codes_of_their_own),
        KIT_TEST(answers_are_no_more_than_there_is_room_for),
        KIT_TEST(errnos_are_classified),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
