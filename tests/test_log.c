/* SPDX-License-Identifier: MIT */
/* test_log.c - where log lines go, and what a channel says of itself. */
#include <fcntl.h>

#include "kit.h"

static void
log_reaches_the_callback_with_its_type(void **state)
{
    (void)state;
    asyncore__log(ASYNCORE_LOG_ERROR, NULL, "%s %d", "number", 7);
    asyncore__log(ASYNCORE_LOG_INFO, NULL, "x");
    asyncore_log(NULL, "hello");
    asyncore_log(NULL, NULL);
    assert_string_equal(text_get(&kit.log),
                        "error: number 7\ninfo: x\nlog: hello\nlog: \n");
}

static void
log_cuts_a_line_at_512_bytes(void **state)
{
    (void)state;
    char line[1000];
    memset(line, 'a', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    asyncore__log(ASYNCORE_LOG_INFO, NULL, "%s", line);
    size_t len = kit.log.len - strlen("info: \n");
    assert_in_range(len, 500, 512);
}

/* What the default sink writes, taken from the file that is stderr meanwhile.
 */
static void
default_log_is_lines_on_stderr(void **state)
{
    (void)state;
    char path[] = "/tmp/asyncore-test-XXXXXX", got[200] = "";
    int file = mkstemp(path);
    int saved = dup(STDERR_FILENO);
    assert_true(file >= 0 && saved >= 0);
    unlink(path);
    fflush(stderr);
    dup2(file, STDERR_FILENO);
    asyncore_set_log(NULL, NULL);
    asyncore__log(ASYNCORE_LOG_INFO, NULL, "one");
    asyncore__log(ASYNCORE_LOG_WARNING, NULL, "two");
    asyncore__log(ASYNCORE_LOG_ERROR, NULL, "three");
    asyncore_log(NULL, "four");
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    ssize_t n = pread(file, got, sizeof got - 1, 0);
    close(file);
    close(saved);
    assert_true(n > 0);
    assert_string_equal(got, "info: one\nwarning: two\nerror: three\n"
                             "log: four\n");
}

static void
channel_ignores_warnings_unless_asked(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    asyncore_log_info(D(a), ASYNCORE_LOG_WARNING, "quiet");
    assert_string_equal(text_get(&kit.log), "");
    D(a)->ignore_log_types = 0;
    asyncore_log_info(D(a), ASYNCORE_LOG_WARNING, "loud %d", 1);
    assert_string_equal(text_get(&kit.log), "warning: loud 1\n");
    D(a)->ignore_log_types = ASYNCORE_LOG_INFO;
    asyncore_log_info(D(a), ASYNCORE_LOG_INFO, "quiet");
    asyncore_log_info(D(a), ASYNCORE_LOG_ERROR, "heard");
    assert_string_equal(text_get(&kit.log), "warning: loud 1\nerror: heard\n");
    close(peer);
}

static void
own_log_info(struct asyncore_dispatcher *d, const char *message,
             enum asyncore_log_type type)
{
    kit_trace("%s.log_info %d %s", chan_of(d)->name, (int)type, message);
}

static void
channel_logs_through_its_own_log_info(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    a->ops.log_info = own_log_info;
    asyncore_log_info(D(a), ASYNCORE_LOG_INFO, "x%s", "y");
    assert_trace("a.log_info 1 xy\n");
    asyncore_log_info(D(a), ASYNCORE_LOG_WARNING, "ignored");
    assert_trace("");
    assert_string_equal(text_get(&kit.log), "");
    close(peer);
}

static void
log_info_of_no_channel_is_nothing(void **state)
{
    (void)state;
    struct asyncore_dispatcher never;
    memset(&never, 0, sizeof never);
    asyncore_log_info(NULL, ASYNCORE_LOG_ERROR, "x");
    asyncore_log_info(&never, ASYNCORE_LOG_ERROR, "x");
    assert_string_equal(text_get(&kit.log), "");
}

/* The wordings of the original, each from the handler that has it. */
static void
unhandled_events_are_warned_of_in_the_originals_words(void **state)
{
    (void)state;
    int peer;
    struct chan *a = kit_pair_chan("a", 0, AF_UNIX, &peer);
    D(a)->ignore_log_types = 0;
    assert_int_equal(asyncore_dispatcher_handle_read(D(a)), 0);
    assert_int_equal(asyncore_dispatcher_handle_write(D(a)), 0);
    assert_int_equal(asyncore_dispatcher_handle_expt(D(a)), 0);
    assert_int_equal(asyncore_dispatcher_handle_connect(D(a)), 0);
    int given = dup(peer);
    assert_int_equal(asyncore_dispatcher_handle_accepted(D(a), given, NULL),
                     0);
    assert_int_equal(fcntl(given, F_GETFD), -1); /* it has been closed */
    assert_int_equal(asyncore_dispatcher_handle_close(D(a)), 0);
    assert_string_equal(text_get(&kit.log),
                        "warning: unhandled read event\n"
                        "warning: unhandled write event\n"
                        "warning: unhandled incoming priority event\n"
                        "warning: unhandled connect event\n"
                        "warning: unhandled accepted event\n"
                        "warning: unhandled close event\n");
    assert_int_equal(D(a)->fd, -1);
    close(peer);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_BARE_TEST(log_reaches_the_callback_with_its_type),
        KIT_BARE_TEST(log_cuts_a_line_at_512_bytes),
        KIT_BARE_TEST(default_log_is_lines_on_stderr),
        KIT_TEST(channel_ignores_warnings_unless_asked),
        KIT_TEST(channel_logs_through_its_own_log_info),
        KIT_TEST(log_info_of_no_channel_is_nothing),
        KIT_TEST(unhandled_events_are_warned_of_in_the_originals_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
