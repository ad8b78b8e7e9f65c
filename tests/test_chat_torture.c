/* SPDX-License-Identifier: MIT */
/* test_chat_torture.c - a conversation is played again and again: every
 * allocation in it, then every call that moves bytes, fails once in turn.
 *
 * Whatever fails: nothing crashes or leaks, what was taken is released once,
 * the peer gets a front of what was taken, messages are a front of those that
 * were sent, and all of both if nobody was told of a failure.  And: what
 * cannot be asked is refused. */
#include "talk.h"

static struct {
    char what[100]; /* is failing */
    struct talk *talk;
    struct text taken; /* what pushes have taken, in order */
    struct text heard; /* messages, each with a newline */
    unsigned lent, released;
    bool failed; /* something said so */
} play;

#define CHECK(condition)                                                  \
    do {                                                                  \
        if (!(condition)) {                                               \
            fail_msg("%s: not so: %s; trace:\n%s", play.what, #condition, \
                     text_get(&kit.trace));                               \
        }                                                                 \
    } while (0)

/* A failure that was told to whoever asked. */
static bool
ok(int rc)
{
    if (rc < 0) {
        play.failed = true;
    }
    return rc >= 0;
}

static void
turn(void)
{
    int rc = asyncore_poll(0, kit.map);
    CHECK(rc == 0 || rc == -ENOMEM);
    play.failed |= rc < 0;
}

static void
take_back(void *data, size_t len, void *arg)
{
    (void)data;
    (void)len;
    (void)arg;
    play.released++;
}

static void
release_producer(struct asynchat_producer *p)
{
    (void)p;
    play.released++;
}

static int
more(struct asynchat_producer *p, size_t hint, struct asyncore_bytes *ret)
{
    (void)p;
    (void)hint;
    (void)ret;
    return 0;
}

static const struct asynchat_producer_ops empty_ops = {more, release_producer};
static struct asynchat_producer empty = {&empty_ops};

static void
say(const char *text)
{
    struct asynchat *chat = &play.talk->chat;
    if (ok(asynchat_push(chat, text, strlen(text)))) {
        text_append(&play.taken, text, strlen(text));
    }
}

static void
say_much(void)
{
    struct asynchat *chat = &play.talk->chat;
    static char own[] = "own bytes ", big[3000];
    struct asynchat_producer *p;
    const struct iovec iov[] = {{big, 1000}, {own, 3}, {big, 1001}};
    memset(big, 'b', sizeof big);
    say("hello ");
    if (ok(asynchat_push_owned(chat, own, 10, take_back, NULL))) {
        play.lent++;
        text_append(&play.taken, own, 10);
    }
    if (ok(asynchat_push_with_producer(chat, &empty))) {
        play.lent++;
    }
    if (ok(asynchat_pushv(chat, iov, 3))) {
        text_append(&play.taken, big, 1000);
        text_append(&play.taken, own, 3);
        text_append(&play.taken, big, 1001);
    }
    if (ok(asynchat_simple_producer_new(big, 2000, 700, &p))) {
        if (ok(asynchat_push_with_producer(chat, p))) {
            text_append(&play.taken, big, 2000);
        }
        else {
            p->ops->release(p);
        }
    }
    say("and goodbye ");
}

static int
on_message(struct talk *t)
{
    text_append(&play.heard, t->message.data, t->message.len);
    text_append(&play.heard, "\n", 1);
    switch (t->found) {
    case 2:
        return asynchat_set_terminator(&t->chat, "--a long boundary--", 19);
    case 3:
        return asynchat_set_terminator_count(&t->chat, 5);
    case 4:
        return asynchat_set_terminator(&t->chat, "\r\n", 2);
    default:
        return 0;
    }
}

static const char *const words[] = {
    "one\r\ntw", "o\r",      "\na message --a long ", "bound--a long bounda",
    "ry--12",    "345six\r", "\rseven\r\n\r\neight",  "\r\n",
};
static const char all_heard[] = "one\ntwo\na message --a long bound\n12345\n"
                                "six\r\rseven\n\neight\n";

static void
converse(void)
{
    int fd[2];
    struct talk *t = talk_new("t", 0);
    unsigned char file_bytes[] = "from a file ";
    char path[] = "/tmp/test_chat_torture_XXXXXX";
    play.talk = t;
    t->quiet = true;
    t->on_found = on_message;
    kit_pair(AF_UNIX, fd);
    t->peer = fd[1];
    if (!ok(talk_try(t, fd[0]))) {
        close(fd[0]);
        return;
    }
    if (!ok(asynchat_set_terminator(&t->chat, "\r\n", 2))) {
        asyncore_close(T(t));
        return;
    }
    say_much();
    for (size_t i = 0; i < COUNT(words); i++) {
        if (i == 3 && T(t)->fd >= 0) {
            int file = mkstemp(path);
            assert_true(file >= 0);
            unlink(path);
            assert_int_equal(write(file, file_bytes, 12), 12);
            /* By reading, which takes memory. */
            talk_files.sendfile_code = -ENOSYS;
            if (ok(asynchat_push_file(&t->chat, file, 0, 12))) {
                text_append(&play.taken, (char *)file_bytes, 12);
            }
            close(file);
        }
        if (T(t)->fd >= 0) {
            kit_write(t->peer, words[i], strlen(words[i]));
        }
        turn();
    }
    for (int i = 0; i < 3; i++) {
        turn();
    }
    /* A part of a delimiter is held, and another delimiter set. */
    if (T(t)->fd >= 0 && ok(asynchat_set_terminator(&t->chat, "\r!", 2))) {
        kit_write(t->peer, "x\r", 2);
        turn();
        if (T(t)->fd >= 0) {
            ok(asynchat_set_terminator(&t->chat, "a longer delimiter", 18));
        }
    }
    turn();
    if (T(t)->fd >= 0) {
        say("the end");
        ok(asyncore_close_when_done(T(t)));
    }
}

static void
finish(struct text *got)
{
    struct talk *t = play.talk;
    bool more_comes = true;
    for (int i = 0; i < 50 && more_comes; i++) {
        turn();
        more_comes = talk_read(t, got);
    }
    talk_close_peer(t);
    for (int i = 0; i < 10 && T(t)->fd >= 0; i++) {
        turn();
    }
    if (T(t)->fd >= 0) {
        CHECK(play.failed);
        asyncore_close(T(t));
    }
    turn();
    turn();
}

static bool
begins_with(const struct text *all, const struct text *front)
{
    return front->len <= all->len &&
           memcmp(text_get(all), text_get(front), front->len) == 0;
}

static void
play_once(const char *what)
{
    struct text got = {0}, want = {0};
    memset(&play, 0, sizeof play);
    snprintf(play.what, sizeof play.what, "%s", what);
    talk_files.sendfile_code = 0;
    kit_advance(0);
    converse();
    kit_heal();
    finish(&got);
    text_append(&want, all_heard, sizeof all_heard - 1);
    CHECK(begins_with(&play.taken, &got));
    CHECK(begins_with(&want, &play.heard));
    CHECK(play.lent == play.released);
    bool told = play.failed || play.talk->errors > 0 ||
                strstr(text_get(&kit.trace), "t.close ") != NULL;
    if (!told) {
        CHECK(got.len == play.taken.len);
        CHECK(play.heard.len == want.len);
        CHECK(play.talk->closed == 1);
    }
    text_clear(&got);
    text_clear(&want);
    text_clear(&play.taken);
    text_clear(&play.heard);
    text_clear(&kit.trace);
    text_clear(&kit.log);
}

static void
every_allocation_fails(unsigned long times)
{
    char what[100];
    unsigned long before = kit.alloc.count;
    play_once("nothing");
    unsigned long all = kit.alloc.count - before;
    assert_true(all > 15);
    for (unsigned long n = 1; n <= all + 3; n++) {
        snprintf(what, sizeof what, "allocations %lu to %lu", n,
                 n + times - 1);
        kit_fail_alloc(n, times);
        play_once(what);
        /* Nothing has stayed behind but what the map keeps. */
        assert_int_equal(asyncore_map_count(kit.map), 0);
    }
}

static void
each_allocation_fails_once(void **state)
{
    (void)state;
    every_allocation_fails(1);
}

static void
memory_runs_out_for_a_while(void **state)
{
    (void)state;
    every_allocation_fails(4);
}

static void
memory_runs_out_for_good(void **state)
{
    (void)state;
    every_allocation_fails(1000000);
}

static void
each_call_fails_once(void **state)
{
    (void)state;
    static const enum kit_call calls[] = {KIT_SEND, KIT_SENDV, KIT_RECV,
                                          KIT_SHUTDOWN, KIT_DUP};
    static const int codes[] = {-EAGAIN,  -EINTR, -ECONNRESET, -EPIPE,
                                -ENOBUFS, -EIO,   -ETIMEDOUT};
    char what[100];
    for (size_t i = 0; i < COUNT(calls); i++) {
        for (size_t k = 0; k < COUNT(codes); k++) {
            unsigned long hits = 1;
            for (unsigned long n = 1; n < 100 && hits > 0; n++) {
                snprintf(what, sizeof what, "%s %lu: %s",
                         kit_call_name(calls[i]), n,
                         asyncore_errorcode(codes[k]));
                struct kit_fault *fault =
                    kit_fail(calls[i], -1, n, 1, codes[k]);
                play_once(what);
                hits = fault->hits;
            }
        }
    }
}

/* ---- what cannot be asked ---- */

static void
refuse(struct asynchat *chat, int want)
{
    static char bytes[] = "x";
    const struct iovec iov = {bytes, 1};
    struct asynchat_producer p = {&empty_ops};
    assert_int_equal(asynchat_feed(chat, "x", 1), want);
    assert_int_equal(asynchat_push(chat, "x", 1), want);
    assert_int_equal(asynchat_pushv(chat, &iov, 1), want);
    assert_int_equal(asynchat_push_owned(chat, bytes, 1, take_back, NULL),
                     want);
    assert_int_equal(asynchat_push_file(chat, 0, 0, 1), want);
    assert_int_equal(asynchat_push_with_producer(chat, &p), want);
    struct asyncore_dispatcher *d = chat != NULL ? &chat->base : NULL;
    assert_int_equal(asynchat_handle_read(d), want);
    assert_int_equal(asynchat_handle_write(d), want);
    assert_int_equal(asyncore_send(d, "x", 1), want);
    assert_int_equal(asyncore_recv(d, bytes, 1), want);
    assert_int_equal(asyncore_close_when_done(d), want);
    assert_int_equal(asyncore_detach(d), want);
    assert_int_equal(asyncore_touch(d), want);
    assert_int_equal(asyncore_read(d), want);
    assert_false(asynchat_writable(d));
    memset(&play, 0, sizeof play);
}

static void
refuse_no_chat(struct asynchat *chat)
{
    refuse(chat, -EINVAL);
    assert_int_equal(asynchat_set_terminator(chat, "x", 1), -EINVAL);
    assert_int_equal(asynchat_set_terminator(chat, "", 0), -EINVAL);
    assert_int_equal(asynchat_set_terminator_count(chat, 1), -EINVAL);
    assert_int_equal(asynchat_set_terminator_none(chat), -EINVAL);
    assert_int_equal(asynchat_get_terminator(chat).kind, ASYNCHAT_NONE);
    assert_int_equal(asynchat_collect_incoming_data(chat, "x", 1), -EINVAL);
    assert_int_equal(asynchat_get_data(chat).len, 0);
    assert_int_equal(asynchat_set_max_message(chat, 1), -EINVAL);
    assert_int_equal(asynchat_unread(chat).len, 0);
    assert_int_equal(asynchat_discard_buffers(chat), -EINVAL);
    struct asyncore_dispatcher *d = chat != NULL ? &chat->base : NULL;
    assert_int_equal(asynchat_handle_close(d), -EINVAL);
    assert_null(asynchat_from(d));
    assert_int_equal(asyncore_output_size(d), 0);
    assert_int_equal(asyncore_set_limits(d, NULL), -EINVAL);
    assert_int_equal(asyncore_set_linger(d, 1), -EINVAL);
}

static void
null_and_zeroed_are_no_chats(void **state)
{
    (void)state;
    static struct asynchat zeroed;
    refuse_no_chat(NULL);
    refuse_no_chat(&zeroed);
    assert_int_equal(asynchat_init(NULL, NULL, -1, kit.map), -EINVAL);
}

static void
other_channels_are_no_chats(void **state)
{
    (void)state;
    struct asyncore_dispatcher *d;
    struct asynchat *no;
    int fd[2];
    kit_pair(AF_UNIX, fd);
    assert_int_equal(asyncore_dispatcher_new(NULL, fd[0], kit.map, &d), 0);
    /* A lie, that the class sees through before it looks any further. */
    no = (struct asynchat *)(void *)d;
    assert_null(asynchat_from(d));
    assert_int_equal(asynchat_handle_read(d), -EINVAL);
    assert_int_equal(asynchat_handle_write(d), -EINVAL);
    assert_int_equal(asynchat_push(no, "x", 1), -EINVAL);
    assert_int_equal(asynchat_feed(no, "x", 1), -EINVAL);
    assert_int_equal(asynchat_set_terminator(no, "x", 1), -EINVAL);
    assert_int_equal(asynchat_get_data(no).len, 0);
    assert_int_equal(asynchat_discard_buffers(no), -EINVAL);
    assert_int_equal(asynchat_push_file(no, 0, 0, 1), -EINVAL);
    close(fd[1]);
}

static void
closed_chats_take_nothing(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    asyncore_close(T(t));
    refuse(&t->chat, -EBADF);
    assert_int_equal(asyncore_close(T(t)), 0);
    assert_int_equal(asynchat_handle_close(T(t)), 0);
    assert_int_equal(asynchat_set_terminator(&t->chat, "x", 1), 0);
    assert_int_equal(asynchat_set_terminator_count(&t->chat, 1), 0);
    assert_int_equal(asynchat_discard_buffers(&t->chat), 0);
    assert_int_equal(asynchat_unread(&t->chat).len, 0);
    kit_pass();
    assert_trace("t.destroy\n");
}

static void
bad_arguments_are_refused(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    static const struct asynchat_producer_ops no_more = {NULL, NULL};
    struct asynchat_producer p = {NULL}, q = {&no_more};
    assert_int_equal(asynchat_set_terminator(&t->chat, NULL, 1), -EINVAL);
    assert_int_equal(asynchat_set_terminator(&t->chat, "x", SIZE_MAX),
                     -EINVAL);
    assert_int_equal(asynchat_collect_incoming_data(&t->chat, NULL, 1),
                     -EINVAL);
    assert_int_equal(asynchat_collect_incoming_data(&t->chat, NULL, 0), 0);
    assert_int_equal(asynchat_feed(&t->chat, NULL, 1), -EINVAL);
    assert_int_equal(asynchat_feed(&t->chat, NULL, 0), 0);
    assert_int_equal(asynchat_push(&t->chat, NULL, 1), -EINVAL);
    assert_int_equal(asynchat_push(&t->chat, NULL, 0), 0);
    assert_int_equal(asynchat_pushv(&t->chat, NULL, 1), -EINVAL);
    assert_int_equal(asynchat_push_owned(&t->chat, NULL, 1, take_back, NULL),
                     -EINVAL);
    assert_int_equal(asynchat_push_with_producer(&t->chat, NULL), -EINVAL);
    assert_int_equal(asynchat_push_with_producer(&t->chat, &p), -EINVAL);
    assert_int_equal(asynchat_push_with_producer(&t->chat, &q), -EINVAL);
    assert_int_equal(asyncore_output_size(T(t)), 0);
    assert_int_equal(asyncore_set_linger(T(t), -1), -EINVAL);
    assert_int_equal(asyncore_set_linger(T(t), (double)NAN), -EINVAL);
}

static void
descriptor_that_is_none(void **state)
{
    (void)state;
    struct asynchat *chat = NULL;
    struct talk *t = talk_new("t", 0);
    assert_int_equal(asynchat_new(NULL, 9999, kit.map, &chat), -EBADF);
    assert_null(chat);
    assert_int_equal(talk_try(t, 9999), -EBADF);
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    assert_int_equal(talk_try(t, fd[0]), -ENOTSOCK);
    close(fd[0]);
    close(fd[1]);
    kit_pair(AF_UNIX, fd);
    assert_int_equal(talk_try(t, fd[0]), 0);
    struct talk *u = talk_new("u", 0);
    assert_int_equal(talk_try(u, fd[0]), -EEXIST);
    kit_pass();
    assert_trace("");
    close(fd[1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TALK_TEST(each_allocation_fails_once),
        TALK_TEST(memory_runs_out_for_a_while),
        TALK_TEST(memory_runs_out_for_good),
        TALK_TEST(each_call_fails_once),
        TALK_TEST(null_and_zeroed_are_no_chats),
        TALK_TEST(other_channels_are_no_chats),
        TALK_TEST(closed_chats_take_nothing),
        TALK_TEST(bad_arguments_are_refused),
        TALK_TEST(descriptor_that_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
