/* SPDX-License-Identifier: MIT */
/* test_error.c - codes, their names and texts, the condensed line. */
#include <limits.h>

#include "kit.h"

static void
errorcode_knows_errnos_of_either_sign(void **state)
{
    (void)state;
    assert_string_equal(asyncore_errorcode(-ECONNRESET), "ECONNRESET");
    assert_string_equal(asyncore_errorcode(ECONNRESET), "ECONNRESET");
    assert_string_equal(asyncore_errorcode(-EAGAIN), "EAGAIN");
    assert_string_equal(asyncore_errorcode(-EPERM), "EPERM");
    assert_string_equal(asyncore_errorcode(-ENOTRECOVERABLE),
                        "ENOTRECOVERABLE");
}

static void
errorcode_knows_our_own(void **state)
{
    (void)state;
    assert_string_equal(asyncore_errorcode(ASYNCORE_EXIT_NOW), "EXIT_NOW");
    assert_string_equal(asyncore_errorcode(-ASYNCORE_EAI_NONAME),
                        "EAI_NONAME");
    assert_string_equal(asyncore_errorcode(-ASYNCORE_EAI_AGAIN), "EAI_AGAIN");
    assert_string_equal(asyncore_errorcode(-ASYNCORE_EAI_FAIL), "EAI_FAIL");
    assert_string_equal(asyncore_errorcode(-ASYNCORE_EAI_FAMILY),
                        "EAI_FAMILY");
    assert_string_equal(asyncore_errorcode(-ASYNCORE_EAI_OTHER), "EAI_OTHER");
}

static void
errorcode_of_nothing_known_is_null(void **state)
{
    (void)state;
    static const int unknown[] = {0, 2999, -2999, 99999, INT_MAX, INT_MIN};
    for (size_t i = 0; i < COUNT(unknown); i++) {
        assert_null(asyncore_errorcode(unknown[i]));
    }
}

static void
errorcode_of_every_accept_and_disconnect_error_is_known(void **state)
{
    (void)state;
    for (int code = 1; code < 200; code++) {
        if (asyncore__disconnected(-code) || asyncore__exhausted(-code) ||
            asyncore__accept_again(-code)) {
            assert_non_null(asyncore_errorcode(-code));
        }
    }
}

static void
strerror_is_the_systems_text(void **state)
{
    (void)state;
    assert_string_equal(asyncore_strerror(-ECONNREFUSED),
                        strerror(ECONNREFUSED));
    assert_string_equal(asyncore_strerror(EPIPE), strerror(EPIPE));
}

static void
strerror_is_never_null(void **state)
{
    (void)state;
    static const int odd[] = {0, 12345, -12345, INT_MAX, INT_MIN};
    for (size_t i = 0; i < COUNT(odd); i++) {
        const char *text = asyncore_strerror(odd[i]);
        assert_non_null(text);
        assert_true(text[0] != '\0');
    }
    assert_string_equal(asyncore_strerror(-ASYNCORE_EAI_NONAME),
                        "Name or service not known");
    assert_non_null(strstr(asyncore_strerror(-12345), "12345"));
}

static const char *
traceback(int code, const char *op, const char *handler)
{
    static char buf[200];
    struct asyncore_error err = {code, op, handler};
    assert_ptr_equal(asyncore_compact_traceback(&err, buf, sizeof buf), buf);
    return buf;
}

static void
traceback_says_what_failed_where(void **state)
{
    (void)state;
    char want[200];
    snprintf(want, sizeof want, "ECONNREFUSED:%s [handle_read_event|connect]",
             strerror(ECONNREFUSED));
    assert_string_equal(
        traceback(-ECONNREFUSED, "connect", "handle_read_event"), want);
}

static void
traceback_of_a_handlers_own_error_names_it_once(void **state)
{
    (void)state;
    const char *text = traceback(-EINVAL, "handle_read", "handle_read");
    assert_non_null(strstr(text, "[handle_read]"));
}

static void
traceback_lacking_parts_is_still_a_line(void **state)
{
    (void)state;
    assert_non_null(strstr(traceback(-EIO, NULL, NULL), "EIO:"));
    assert_non_null(strstr(traceback(-EIO, "recv", NULL), "[recv]"));
    assert_non_null(
        strstr(traceback(-EIO, NULL, "handle_read"), "handle_read"));
    assert_non_null(strstr(traceback(-7777, "recv", "handle_read"), "7777"));
}

static void
traceback_is_cut_and_terminated(void **state)
{
    (void)state;
    struct asyncore_error err = {-EIO, "recv", "handle_read"};
    char buf[8];
    memset(buf, 'x', sizeof buf);
    asyncore_compact_traceback(&err, buf, 5);
    assert_string_equal(buf, "EIO:");
    assert_int_equal(buf[5], 'x');
    memset(buf, 'x', sizeof buf);
    asyncore_compact_traceback(&err, buf, 0);
    assert_int_equal(buf[0], 'x');
    assert_null(asyncore_compact_traceback(&err, NULL, 0));
    assert_ptr_equal(asyncore_compact_traceback(NULL, buf, sizeof buf), buf);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_BARE_TEST(errorcode_knows_errnos_of_either_sign),
        KIT_BARE_TEST(errorcode_knows_our_own),
        KIT_BARE_TEST(errorcode_of_nothing_known_is_null),
        KIT_BARE_TEST(errorcode_of_every_accept_and_disconnect_error_is_known),
        KIT_BARE_TEST(strerror_is_the_systems_text),
        KIT_BARE_TEST(strerror_is_never_null),
        KIT_BARE_TEST(traceback_says_what_failed_where),
        KIT_BARE_TEST(traceback_of_a_handlers_own_error_names_it_once),
        KIT_BARE_TEST(traceback_lacking_parts_is_still_a_line),
        KIT_BARE_TEST(traceback_is_cut_and_terminated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
