/* SPDX-License-Identifier: MIT */
/* test_chat_output.c - what a chat says: pushes of all kinds, producers,
 * files, limits, and the end. */
#include <fcntl.h>

#include "talk.h"

/* ---- pushes ---- */

static unsigned long
sends(void)
{
    return kit.world.calls[KIT_SEND] + kit.world.calls[KIT_SENDV];
}

static void
push_leaves_at_the_end_of_the_pass(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    kit_count_anew();
    assert_int_equal(asynchat_push(&t->chat, "hello", 5), 0);
    assert_int_equal(sends(), 0);
    assert_int_equal(asyncore_output_size(T(t)), 5);
    kit_pass();
    assert_int_equal(sends(), 1);
    assert_int_equal(asyncore_output_size(T(t)), 0);
    assert_heard(t, "hello");
}

static void
many_pushes_leave_in_one_call(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    static char bytes[3] = "own";
    kit_count_anew();
    for (int i = 0; i < 100; i++) {
        assert_int_equal(asynchat_push(&t->chat, "ab", 2), 0);
    }
    for (int i = 0; i < 10; i++) {
        assert_int_equal(asynchat_push_owned(&t->chat, bytes, 3, NULL, NULL),
                         0);
        assert_int_equal(asynchat_push(&t->chat, "c", 1), 0);
    }
    kit_pass();
    assert_int_equal(sends(), 1);
    assert_int_equal(kit.world.calls[KIT_SENDV], 1);
    struct text got = {0};
    talk_read(t, &got);
    assert_int_equal(got.len, 240);
    text_clear(&got);
}

static int
answer(struct talk *t)
{
    int err = asynchat_push(&t->chat, t->message.data, t->message.len);
    return err < 0 ? err : asynchat_push(&t->chat, "\n", 1);
}

static void
answers_of_one_read_leave_in_one_call(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    asynchat_set_terminator(&t->chat, "\n", 1);
    t->quiet = true;
    t->on_found = answer;
    kit_count_anew();
    talk_hear(t, "a\nbc\n\nd\nthe last\n");
    kit_pass();
    assert_int_equal(sends(), 1);
    assert_heard(t, "a\nbc\n\nd\nthe last\n");
    /* A pass that has nothing to send makes no call. */
    kit_pass();
    assert_int_equal(sends(), 1);
}

static int
say_bye_and_stop(struct talk *t)
{
    asyncore_stop(kit.map);
    return asynchat_push(&t->chat, "bye", 3);
}

static void
farewell_before_a_stop_is_sent(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    asynchat_set_terminator(&t->chat, "\n", 1);
    t->quiet = true;
    t->on_found = say_bye_and_stop;
    kit_write(t->peer, "quit\n", 5);
    assert_int_equal(asyncore_loop(5, false, kit.map, ASYNCORE_UNTIL_EMPTY),
                     0);
    assert_int_equal(asyncore_output_size(T(t)), 0);
    assert_heard(t, "bye");
}

static void
send_of_a_chat_is_a_push(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    assert_int_equal(asyncore_send(T(t), "hello", 5), 5);
    assert_int_equal(asyncore_output_size(T(t)), 5);
    kit_pass();
    assert_heard(t, "hello");
}

static void
vector_is_pushed_as_one(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    static struct iovec many[1025];
    const struct iovec iov[] = {
        {(void *)(uintptr_t) "one ", 4},
        {NULL, 0},
        {(void *)(uintptr_t) "two", 3},
        {(void *)(uintptr_t) "", 0},
    };
    assert_int_equal(asynchat_pushv(&t->chat, iov, 4), 0);
    assert_int_equal(asynchat_pushv(&t->chat, iov, 0), 0);
    assert_int_equal(asynchat_pushv(&t->chat, NULL, 0), 0);
    assert_int_equal(asynchat_pushv(&t->chat, iov + 1, 1), 0);
    kit_pass();
    assert_heard(t, "one two");
    for (size_t i = 0; i < COUNT(many); i++) {
        many[i] = (struct iovec){(void *)(uintptr_t) "x", 1};
    }
    assert_int_equal(asynchat_pushv(&t->chat, many, 1025), -EINVAL);
    assert_int_equal(asynchat_pushv(&t->chat, many, 1024), 0);
    assert_int_equal(asyncore_output_size(T(t)), 1024);
    many[1].iov_len = SIZE_MAX;
    assert_int_equal(asynchat_pushv(&t->chat, many, 2), -EINVAL);
    many[1] = (struct iovec){NULL, 1};
    assert_int_equal(asynchat_pushv(&t->chat, many, 2), -EINVAL);
    assert_int_equal(asynchat_pushv(&t->chat, many, -1), -EINVAL);
    assert_int_equal(asyncore_output_size(T(t)), 1024);
}

/* ---- pushes of somebody's bytes ---- */

struct lent {
    struct talk *talk;
    char *data;
    size_t len;
    unsigned released;
    int then; /* 'p' push more, 'c' close, 'd' discard, 0 nothing */
};

static void
take_back(void *data, size_t len, void *arg)
{
    struct lent *lent = arg;
    assert_ptr_equal(data, lent->data);
    assert_int_equal(len, lent->len);
    assert_int_equal(lent->released++, 0);
    switch (lent->then) {
    case 'p':
        (void)asynchat_push(&lent->talk->chat, "more", 4);
        break;
    case 'c':
        asyncore_close(T(lent->talk));
        break;
    case 'd':
        asynchat_discard_buffers(&lent->talk->chat);
        assert_int_equal(asynchat_push(&lent->talk->chat, "fresh", 5), 0);
        break;
    default:
        break;
    }
}

static void
lend(struct lent *lent, struct talk *t, char *data, size_t len, int then)
{
    *lent = (struct lent){t, data, len, 0, then};
    assert_int_equal(asynchat_push_owned(&t->chat, data, len, take_back, lent),
                     0);
}

static char borrowed[100000];

static void
owned_bytes_are_released_when_sent(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct lent lent;
    kit_shrink(T(t)->fd);
    kit_bytes(borrowed, 0, sizeof borrowed);
    lend(&lent, t, borrowed, sizeof borrowed, 0);
    assert_int_equal(lent.released, 0);
    kit_pass();
    assert_int_equal(lent.released, 0); /* the kernel has not got all yet */
    struct text got = {0};
    for (int i = 0; i < 2000 && lent.released == 0; i++) {
        talk_read(t, &got);
        kit_pass();
    }
    talk_read(t, &got);
    assert_int_equal(lent.released, 1);
    assert_int_equal(got.len, sizeof borrowed);
    assert_memory_equal(got.at, borrowed, sizeof borrowed);
    text_clear(&got);
}

static void
owned_bytes_are_released_when_never_sent(void **state)
{
    (void)state;
    static const char ways[] = {'c', 'd', 'r', 'e', 'x'};
    for (size_t i = 0; i < sizeof ways; i++) {
        struct talk *t = talk_open_on("t", 0, AF_INET);
        struct lent lent[3];
        for (size_t k = 0; k < 3; k++) {
            lend(&lent[k], t, borrowed, 100 + k, 0);
        }
        switch (ways[i]) {
        case 'c':
            asyncore_close(T(t));
            break;
        case 'd':
            asynchat_discard_buffers(&t->chat);
            break;
        case 'r': /* the peer has reset the connection */
            kit_reset(t->peer);
            t->peer = -1;
            for (int n = 0; n < 100 && !t->destroyed; n++) {
                assert_int_equal(asyncore_poll(0.01, kit.map), 0);
            }
            break;
        case 'e': /* the kernel refuses */
            kit_fail(KIT_SENDV, -1, 1, 1000, -ENOBUFS);
            kit_fail(KIT_SEND, -1, 1, 1000, -ENOBUFS);
            kit_pass();
            kit_heal();
            assert_int_equal(t->errors, 1);
            break;
        default: /* detached */
            talk_close_peer(t);
            close(asyncore_detach(T(t)));
            break;
        }
        for (size_t k = 0; k < 3; k++) {
            assert_int_equal(lent[k].released, 1);
        }
        asyncore_close(T(t));
        talk_close_peer(t);
        kit_pass();
        assert_int_equal(t->destroyed, 1);
        text_clear(&kit.trace);
    }
}

static void
refused_bytes_stay_the_callers(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct lent lent = {t, borrowed, 10, 0, 0};
    kit_fail_alloc(1, 1);
    assert_int_equal(
        asynchat_push_owned(&t->chat, borrowed, 10, take_back, &lent),
        -ENOMEM);
    kit_heal();
    static const struct asyncore_limits tight = {5, 5, 5};
    asyncore_set_limits(T(t), &tight);
    assert_int_equal(
        asynchat_push_owned(&t->chat, borrowed, 10, take_back, &lent),
        -ENOBUFS);
    asyncore_close_when_done(T(t));
    assert_int_equal(
        asynchat_push_owned(&t->chat, borrowed, 1, take_back, &lent), -EPIPE);
    asyncore_close(T(t));
    assert_int_equal(
        asynchat_push_owned(&t->chat, borrowed, 1, take_back, &lent), -EBADF);
    assert_int_equal(lent.released, 0);
    kit_pass();
}

static void
nothing_owned_is_released_too(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct lent none;
    lend(&none, t, borrowed, 0, 0);
    kit_count_anew();
    kit_pass();
    kit_pass();
    assert_int_equal(none.released, 1);
    /* Not even one; and nobody waits to write. */
    assert_true(sends() <= 1);
    assert_false(asyncore_writable(T(t)));
    lend(&none, t, borrowed, 0, 0);
    assert_int_equal(asynchat_push(&t->chat, "x", 1), 0);
    kit_pass();
    assert_int_equal(none.released, 1);
    assert_heard(t, "x");
    /* … and is not in the way of the end. */
    lend(&none, t, borrowed, 0, 0);
    assert_int_equal(asyncore_close_when_done(T(t)), 0);
    kit_pass();
    struct text got = {0};
    assert_false(talk_read(t, &got));
    text_clear(&got);
    assert_int_equal(none.released, 1);
}

static void
pushing_out_of_a_release(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct lent lent;
    static char bytes[] = "bytes";
    lend(&lent, t, bytes, 5, 'p');
    kit_pass();
    kit_pass();
    assert_heard(t, "bytesmore");
    assert_int_equal(lent.released, 1);
    /* When it is closed, nobody takes anything. */
    lend(&lent, t, bytes, 5, 'p');
    asyncore_close(T(t));
    assert_int_equal(lent.released, 1);
    kit_pass();
    assert_trace("t.destroy\n");
}

static void
closing_out_of_a_release(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct lent lent[3];
    static char bytes[] = "bytes";
    for (size_t i = 0; i < 3; i++) {
        lend(&lent[i], t, bytes, 5, i == 1 ? 'c' : 0);
    }
    kit_pass();
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(lent[i].released, 1);
    }
    assert_trace("t.destroy\n");
    assert_heard(t, "bytesbytesbytes");
}

static void
closing_out_of_a_release_when_the_connection_ends(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct lent lent;
    static char bytes[] = "bytes";
    lend(&lent, t, bytes, 5, 'c');
    kit_fail(KIT_SEND, -1, 1, 1, -ECONNRESET);
    kit_pass();
    /* It was closed before it could be told. */
    assert_trace("t.destroy\n");
    assert_int_equal(lent.released, 1);
}

static void
discarding_and_pushing_out_of_a_release(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct lent a, b;
    static char bytes[] = "bytes";
    lend(&a, t, bytes, 5, 'd');
    lend(&b, t, bytes, 5, 0);
    kit_pass();
    kit_pass();
    assert_int_equal(a.released, 1);
    assert_int_equal(b.released, 1);
    /* Both had been sent by then; what was pushed after that follows. */
    assert_heard(t, "bytesbytesfresh");
}

/* ---- producers ---- */

struct maker {
    struct asynchat_producer base;
    struct talk *talk;
    const char *const *pieces; /* ends in NULL; "" = -EAGAIN; "!" = fail */
    unsigned asked, released;
    size_t hint;
    int code;  /* of "!" */
    int stays; /* fails again and again, or goes on */
    int (*hook)(struct maker *m);
};

static int
maker_more(struct asynchat_producer *p, size_t hint,
           struct asyncore_bytes *ret)
{
    struct maker *m = asyncore_container_of(p, struct maker, base);
    assert_int_equal(m->released, 0);
    m->asked++;
    m->hint = hint;
    if (m->hook != NULL) {
        int rc = m->hook(m);
        if (rc < 0) {
            return rc;
        }
    }
    const char *piece = *m->pieces;
    if (piece == NULL) {
        return 0;
    }
    if (piece[0] == '!') {
        m->pieces += !m->stays;
        return m->code;
    }
    m->pieces++;
    if (piece[0] == '\0') {
        return -EAGAIN;
    }
    *ret = (struct asyncore_bytes){piece, strlen(piece)};
    return 1;
}

static void
maker_release(struct asynchat_producer *p)
{
    struct maker *m = asyncore_container_of(p, struct maker, base);
    assert_int_equal(m->released++, 0);
}

static const struct asynchat_producer_ops maker_ops = {
    .more = maker_more,
    .release = maker_release,
};

static void
push_maker(struct maker *m, struct talk *t, const char *const *pieces)
{
    *m = (struct maker){.base.ops = &maker_ops, .talk = t, .pieces = pieces};
    assert_int_equal(asynchat_push_with_producer(&t->chat, &m->base), 0);
}

static const char *const three[] = {"one ", "two ", "three ", NULL};

static void
producer_is_asked_in_its_turn(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct maker m;
    asynchat_push(&t->chat, "before ", 7);
    push_maker(&m, t, three);
    asynchat_push(&t->chat, "after", 5);
    assert_int_equal(m.asked, 0);
    assert_int_equal(m.released, 0);
    for (int i = 0; i < 10; i++) {
        kit_pass();
    }
    assert_int_equal(m.asked, 4);
    assert_int_equal(m.released, 1);
    assert_int_equal(m.hint, 65536);
    assert_heard(t, "before one two three after");
}

/* All of it in one piece, of which the kernel takes nothing. */
static void
one_piece_for_a_full_kernel_goes_when_there_is_room(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct text got = {0};
    kit_pass();
    kit_pass();
    size_t filled = kit_fill(T(t)->fd);
    assert_int_equal(asynchat_push(&t->chat, "later", 5), 0);
    kit_pass();
    assert_int_equal(asyncore_output_size(T(t)), 5);
    while (got.len < filled) {
        talk_read(t, &got);
    }
    for (int i = 0; i < 3; i++) {
        kit_pass();
    }
    talk_read(t, &got);
    assert_string_equal(got.at + filled, "later");
    text_clear(&got);
}

static void
producer_is_asked_only_when_it_can_be_sent(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct maker m;
    struct text got = {0};
    size_t filled = kit_fill(T(t)->fd);
    push_maker(&m, t, three);
    /* The first piece finds the kernel full; no other is asked for. */
    for (int i = 0; i < 5; i++) {
        kit_pass();
    }
    assert_true(m.asked <= 1);
    while (got.len < filled) {
        talk_read(t, &got);
    }
    for (int i = 0; i < 10; i++) {
        kit_pass();
    }
    talk_read(t, &got);
    assert_string_equal(got.at + filled, "one two three ");
    assert_int_equal(m.released, 1);
    text_clear(&got);
}

static void
hint_is_the_out_buffer_size(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct maker m;
    t->chat.ac_out_buffer_size = 100;
    push_maker(&m, t, three);
    kit_pass();
    kit_pass();
    assert_int_equal(m.hint, 100);
    t->chat.ac_out_buffer_size = 0; /* against the rules, harmless */
    push_maker(&m, t, three);
    kit_pass();
    kit_pass();
    assert_true(m.hint > 0);
    t->chat.ac_out_buffer_size = SIZE_MAX;
    push_maker(&m, t, three);
    kit_pass();
    kit_pass();
    assert_int_equal(m.released, 1);
    assert_heard(t, "one two three one two three one two three ");
}

static void
producer_that_has_nothing_yet(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct maker m;
    static const char *const pieces[] = {"a", "", "b", "", "c", NULL};
    push_maker(&m, t, pieces);
    asynchat_push(&t->chat, "!", 1);
    for (int i = 0; i < 5; i++) {
        kit_pass();
    }
    assert_int_equal(m.asked, 2);
    assert_heard(t, "a");
    /* Nobody waits to write meanwhile. */
    assert_false(asyncore_writable(T(t)));
    asyncore_touch(T(t));
    for (int i = 0; i < 5; i++) {
        kit_pass();
    }
    assert_int_equal(m.asked, 4);
    assert_heard(t, "b");
    asyncore_touch(T(t));
    for (int i = 0; i < 5; i++) {
        kit_pass();
    }
    assert_int_equal(m.released, 1);
    assert_heard(t, "c!");
}

static int
touch_in_more(struct maker *m)
{
    asyncore_touch(T(m->talk));
    return m->asked < 5 ? -EAGAIN : 0;
}

static void
producer_that_touches_in_more_does_not_hang(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct maker m;
    push_maker(&m, t, three);
    m.hook = touch_in_more;
    for (int i = 0; i < 20; i++) {
        kit_pass();
    }
    assert_heard(t, "one two three ");
}

static int
keep_it(struct talk *t)
{
    (void)t;
    return 0;
}

static void
error_of_a_producer(void **state)
{
    (void)state;
    static const char *const pieces[] = {"a", "!", NULL};
    static const int codes[] = {-EIO, -ECONNRESET, -EPIPE};
    for (size_t i = 0; i < COUNT(codes); i++) {
        struct talk *t = talk_open("t", 0);
        struct maker m;
        push_maker(&m, t, pieces);
        m.code = codes[i];
        asynchat_push(&t->chat, "never", 5);
        kit_pass();
        kit_pass();
        /* Its own failure, not the connection's. */
        assert_int_equal(t->errors, 1);
        assert_int_equal(t->failed.code, codes[i]);
        assert_string_equal(t->failed.op, "more");
        assert_int_equal(t->closed, 1);
        assert_int_equal(t->destroyed, 1);
        assert_int_equal(m.released, 1);
        assert_heard(t, "a");
        text_clear(&kit.trace);
    }
}

static void
error_of_a_producer_that_is_survived(void **state)
{
    (void)state;
    static const char *const pieces[] = {"a", "!", "b", NULL};
    struct talk *t = talk_open("t", 0);
    struct maker m;
    t->on_error = keep_it;
    push_maker(&m, t, pieces);
    m.code = -EIO;
    kit_pass();
    kit_pass();
    assert_trace("t.error EIO more\n");
    assert_int_equal(m.released, 0);
    asyncore_touch(T(t));
    kit_pass();
    kit_pass();
    assert_heard(t, "ab");
    assert_int_equal(m.released, 1);
}

static void
error_of_a_producer_for_ever_does_not_hang(void **state)
{
    (void)state;
    static const char *const pieces[] = {"!", NULL};
    struct talk *t = talk_open("t", 0);
    struct maker m;
    t->on_error = keep_it;
    push_maker(&m, t, pieces);
    m.code = -EIO;
    m.stays = 1;
    kit_pass();
    kit_pass();
    assert_true(t->errors >= 1);
    assert_int_equal(asyncore_close(T(t)), 0);
    assert_int_equal(m.released, 1);
    text_clear(&kit.trace);
}

static int
leave_in_more(struct maker *m)
{
    return m->asked == 2 ? ASYNCORE_EXIT_NOW : 0;
}

static void
exit_now_out_of_a_producer(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct maker m;
    push_maker(&m, t, three);
    m.hook = leave_in_more;
    assert_int_equal(asyncore_loop(0, false, kit.map, 3), ASYNCORE_EXIT_NOW);
    asyncore_touch(T(t));
    for (int i = 0; i < 5; i++) {
        kit_pass();
    }
    assert_heard(t, "one two three ");
    assert_int_equal(m.released, 1);
    assert_trace("");
}

static int
close_in_more(struct maker *m)
{
    /* It has been released; the kit's memory is still there. */
    return m->asked == 2 ? asyncore_close(T(m->talk)) : 0;
}

static void
closing_in_more(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct maker m;
    push_maker(&m, t, three);
    m.hook = close_in_more;
    asynchat_push(&t->chat, "never", 5);
    for (int i = 0; i < 3; i++) {
        kit_pass();
    }
    assert_int_equal(m.released, 1);
    assert_trace("t.destroy\n");
    assert_heard(t, "one ");
}

static struct maker second;

static int
discard_in_more(struct maker *m)
{
    static const char *const pieces[] = {"new ", NULL};
    if (m->asked == 2) {
        asynchat_discard_buffers(&m->talk->chat);
        push_maker(&second, m->talk, pieces);
    }
    return 0;
}

static void
discarding_and_pushing_in_more(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct maker m;
    push_maker(&m, t, three);
    m.hook = discard_in_more;
    for (int i = 0; i < 5; i++) {
        kit_pass();
    }
    assert_int_equal(m.released, 1);
    assert_int_equal(second.released, 1);
    /* "two " was discarded with its producer. */
    assert_heard(t, "one new ");
}

static int
loop_in_more(struct maker *m)
{
    if (m->asked == 2) {
        assert_int_equal(asyncore_loop(0, false, kit.map, 2), 0);
        assert_int_equal(m->asked, 2); /* not while it is being asked */
    }
    return 0;
}

static void
loop_inside_more(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct maker m;
    push_maker(&m, t, three);
    m.hook = loop_in_more;
    asynchat_push(&t->chat, "end", 3);
    for (int i = 0; i < 5; i++) {
        kit_pass();
    }
    assert_int_equal(m.released, 1);
    assert_heard(t, "one two three end");
}

static int
push_in_more(struct maker *m)
{
    return m->asked == 1 ? asynchat_push(&m->talk->chat, "pushed", 6) : 0;
}

static void
pushing_in_more_comes_after_it(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct maker m;
    push_maker(&m, t, three);
    m.hook = push_in_more;
    for (int i = 0; i < 5; i++) {
        kit_pass();
    }
    assert_heard(t, "one two three pushed");
}

static void
producers_are_released_when_never_asked(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct maker m[3];
    for (size_t i = 0; i < 3; i++) {
        push_maker(&m[i], t, three);
    }
    asynchat_discard_buffers(&t->chat);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(m[i].released, 1);
        assert_int_equal(m[i].asked, 0);
        push_maker(&m[i], t, three);
    }
    asyncore_close(T(t));
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(m[i].released, 1);
    }
    kit_pass();
    assert_trace("t.destroy\n");
}

static void
refused_producers_stay_the_callers(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct maker m = {.base.ops = &maker_ops, .talk = t, .pieces = three};
    kit_fail_alloc(1, 1);
    assert_int_equal(asynchat_push_with_producer(&t->chat, &m.base), -ENOMEM);
    kit_heal();
    asyncore_close_when_done(T(t));
    assert_int_equal(asynchat_push_with_producer(&t->chat, &m.base), -EPIPE);
    asyncore_close(T(t));
    assert_int_equal(asynchat_push_with_producer(&t->chat, &m.base), -EBADF);
    assert_int_equal(m.released, 0);
    kit_pass();
}

static void
producer_without_release(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    static const struct asynchat_producer_ops ops = {.more = maker_more};
    struct maker m = {.base.ops = &ops, .talk = t, .pieces = three};
    assert_int_equal(asynchat_push_with_producer(&t->chat, &m.base), 0);
    for (int i = 0; i < 5; i++) {
        kit_pass();
    }
    assert_heard(t, "one two three ");
}

static void
endless_producer_leaves_time_for_others(void **state)
{
    (void)state;
    /* One that never ends, to a peer that always takes: a pass ends. */
    static const char *pieces[100000];
    for (size_t i = 0; i + 1 < COUNT(pieces); i++) {
        pieces[i] = "x";
    }
    struct talk *t = talk_open("t", 0);
    struct maker m;
    push_maker(&m, t, pieces);
    kit_pass();
    assert_true(m.asked < 1000);
    asynchat_discard_buffers(&t->chat);
}

static void
simple_producer_in_pieces(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct asynchat_producer *p = NULL;
    char data[] = "0123456789";
    assert_int_equal(asynchat_simple_producer_new(data, 10, 4, &p), 0);
    memset(data, 0, sizeof data); /* it is a copy */
    struct asyncore_bytes got = {NULL, 0};
    assert_int_equal(p->ops->more(p, 1, &got), 1);
    assert_int_equal(got.len, 4);
    assert_memory_equal(got.data, "0123", 4);
    assert_int_equal(asynchat_push_with_producer(&t->chat, p), 0);
    for (int i = 0; i < 5; i++) {
        kit_pass();
    }
    assert_heard(t, "456789");
    assert_int_equal(asynchat_simple_producer_new(NULL, 0, 512, &p), 0);
    assert_int_equal(p->ops->more(p, 1, &got), 0);
    assert_int_equal(p->ops->more(p, 1, &got), 0);
    p->ops->release(p);
    assert_int_equal(asynchat_simple_producer_new("x", 1, 0, &p), -EINVAL);
    assert_int_equal(asynchat_simple_producer_new(NULL, 1, 1, &p), -EINVAL);
    assert_int_equal(asynchat_simple_producer_new("x", 1, 1, NULL), -EINVAL);
    assert_int_equal(asynchat_simple_producer_new("x", SIZE_MAX, 1, &p),
                     -EINVAL);
    kit_fail_alloc(1, 1);
    assert_int_equal(asynchat_simple_producer_new("x", 1, 1, &p), -ENOMEM);
}

/* ---- files ---- */

static int
file_of(const void *data, size_t len)
{
    char path[] = "/tmp/test_chat_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    for (size_t at = 0; at < len;) {
        ssize_t n = write(fd, (const char *)data + at, len - at);
        assert_true(n > 0);
        at += (size_t)n;
    }
    return fd;
}

static void
hear_all(struct talk *t, struct text *got, size_t len)
{
    for (int i = 0; i < 100000 && got->len < len && T(t)->fd >= 0; i++) {
        kit_pass();
        talk_read(t, got);
    }
}

/* A file of so many bytes, between two pushes. */
static void
send_file(size_t len)
{
    struct talk *t = talk_open("t", 0);
    char *bytes = malloc(len + 1);
    struct text got = {0};
    assert_non_null(bytes);
    kit_bytes(bytes, 0, len);
    int fd = file_of(bytes, len);
    kit_shrink(T(t)->fd);
    assert_int_equal(asynchat_push(&t->chat, "before", 6), 0);
    assert_int_equal(asynchat_push_file(&t->chat, fd, 0, len), 0);
    assert_int_equal(close(fd), 0); /* the chat has its own */
    assert_int_equal(asynchat_push(&t->chat, "after", 5), 0);
    hear_all(t, &got, len + 11);
    assert_int_equal(got.len, len + 11);
    assert_memory_equal(got.at, "before", 6);
    assert_memory_equal(got.at + 6, bytes, len);
    assert_memory_equal(got.at + 6 + len, "after", 5);
    text_clear(&got);
    free(bytes);
    asyncore_close(T(t));
    talk_close_peer(t);
    kit_pass();
    assert_trace("t.destroy\n");
}

static void
file_goes_out_in_order(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 65536, 1000000};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        send_file(sizes[i]);
    }
    assert_true(talk_files.sendfiles > 0);
    assert_int_equal(talk_files.preads, 0);
}

static void
file_without_sendfile(void **state)
{
    (void)state;
    static const int codes[] = {-ENOSYS, -EINVAL};
    for (size_t i = 0; i < COUNT(codes); i++) {
        talk_files.sendfile_code = codes[i];
        talk_files.sendfiles = talk_files.preads = 0;
        send_file(300000);
        assert_int_equal(talk_files.sendfiles, 1); /* tried once */
        assert_true(talk_files.preads >= 5);
    }
}

static void
file_in_short_sends(void **state)
{
    (void)state;
    talk_files.most = 777;
    kit.world.max_out = 333;
    send_file(20000);
    talk_files.sendfile_code = -ENOSYS;
    send_file(20000);
}

static void
part_of_a_file(void **state)
{
    (void)state;
    int fd = file_of("0123456789", 10);
    for (int way = 0; way < 2; way++) {
        struct talk *t = talk_open("t", 0);
        talk_files.sendfile_code = way == 0 ? 0 : -ENOSYS;
        assert_int_equal(asynchat_push_file(&t->chat, fd, 3, 4), 0);
        assert_int_equal(asynchat_push_file(&t->chat, fd, 0, 1), 0);
        assert_int_equal(asynchat_push_file(&t->chat, fd, 9, 1), 0);
        assert_int_equal(lseek(fd, 0, SEEK_CUR), 10);
        for (int i = 0; i < 6; i++) {
            kit_pass();
        }
        assert_heard(t, "345609");
        /* Nobody's place in the file has moved. */
        assert_int_equal(lseek(fd, 0, SEEK_CUR), 10);
    }
    close(fd);
}

static void
file_that_is_shorter_than_promised(void **state)
{
    (void)state;
    int fd = file_of("0123456789", 10);
    for (int way = 0; way < 2; way++) {
        struct talk *t = talk_open("t", 0);
        talk_files.sendfile_code = way == 0 ? 0 : -ENOSYS;
        assert_int_equal(asynchat_push_file(&t->chat, fd, 5, 10), 0);
        assert_int_equal(asynchat_push(&t->chat, "never", 5), 0);
        for (int i = 0; i < 6; i++) {
            kit_pass();
        }
        assert_heard(t, "56789");
        assert_int_equal(t->errors, 1);
        assert_int_equal(t->failed.code, -ENODATA);
        assert_int_equal(t->destroyed, 1);
        text_clear(&kit.trace);
    }
    close(fd);
}

static void
file_that_cannot_be_read(void **state)
{
    (void)state;
    int fd = file_of("0123456789", 10);
    struct talk *t = talk_open("t", 0);
    talk_files.sendfile_code = -ENOSYS;
    talk_files.pread_code = -EIO;
    assert_int_equal(asynchat_push_file(&t->chat, fd, 0, 10), 0);
    kit_pass();
    kit_pass();
    assert_int_equal(t->failed.code, -EIO);
    assert_string_not_equal(t->failed.op, "send");
    assert_int_equal(t->destroyed, 1);
    close(fd);
    text_clear(&kit.trace);
}

static void
connection_that_ends_during_a_file(void **state)
{
    (void)state;
    int fd = file_of("0123456789", 10);
    struct talk *t = talk_open("t", 0);
    talk_files.sendfile_code = -ECONNRESET;
    assert_int_equal(asynchat_push_file(&t->chat, fd, 0, 10), 0);
    kit_pass();
    kit_pass();
    assert_trace("t.close ECONNRESET\nt.destroy\n");
    close(fd);
}

static void
file_the_kernel_does_not_take_yet(void **state)
{
    (void)state;
    int fd = file_of("0123456789", 10);
    struct talk *t = talk_open("t", 0);
    talk_files.sendfile_code = -EAGAIN;
    assert_int_equal(asynchat_push_file(&t->chat, fd, 0, 10), 0);
    kit_pass();
    kit_pass();
    assert_true(asyncore_writable(T(t)));
    assert_heard(t, "");
    talk_files.sendfile_code = -EINTR;
    talk_files.sendfile_code = 0;
    kit_pass();
    kit_pass();
    kit_pass();
    assert_heard(t, "0123456789");
    assert_trace("");
    close(fd);
}

static void
files_that_cannot_be_pushed(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    int fd = file_of("x", 1);
    assert_int_equal(asynchat_push_file(&t->chat, -1, 0, 1), -EBADF);
    assert_int_equal(asynchat_push_file(&t->chat, fd, -1, 1), -EINVAL);
    kit_fail(KIT_DUP, -1, 1, 1, -EMFILE);
    assert_int_equal(asynchat_push_file(&t->chat, fd, 0, 1), -EMFILE);
    kit_heal();
    for (unsigned long n = 1; n <= 2; n++) {
        kit_fail_alloc(n, 1);
        assert_int_equal(asynchat_push_file(&t->chat, fd, 0, 1), -ENOMEM);
        kit_heal();
    }
    assert_int_equal(asynchat_push_file(&t->chat, fd, 0, 1), 0);
    asyncore_close_when_done(T(t));
    assert_int_equal(asynchat_push_file(&t->chat, fd, 0, 1), -EPIPE);
    asyncore_close(T(t)); /* its descriptor is closed with it */
    assert_int_equal(asynchat_push_file(&t->chat, fd, 0, 1), -EBADF);
    close(fd);
    kit_pass();
    text_clear(&kit.trace);
}

static void
file_discarded_half_sent(void **state)
{
    (void)state;
    int fd = file_of("0123456789", 10);
    for (int way = 0; way < 2; way++) {
        struct talk *t = talk_open("t", 0);
        talk_files.sendfile_code = way == 0 ? 0 : -ENOSYS;
        talk_files.most = 4;
        kit.world.max_out = 3;
        assert_int_equal(asynchat_push_file(&t->chat, fd, 0, 10), 0);
        kit_pass();
        assert_int_equal(asynchat_discard_buffers(&t->chat), 0);
        assert_int_equal(asynchat_push(&t->chat, "x", 1), 0);
        for (int i = 0; i < 4; i++) {
            kit_pass();
        }
        struct text got = {0};
        talk_read(t, &got);
        assert_true(got.len >= 1 && got.len < 10);
        assert_int_equal(got.at[got.len - 1], 'x');
        text_clear(&got);
        asyncore_close(T(t));
    }
    close(fd);
}

/* ---- limits ---- */

static const struct asyncore_limits limits = {
    .high = 1000, .low = 100, .max = 5000};

static void
queue_that_would_be_too_long(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    assert_int_equal(asyncore_set_limits(T(t), &limits), 0);
    assert_int_equal(asynchat_push(&t->chat, borrowed, 5000), 0);
    assert_int_equal(asynchat_push(&t->chat, borrowed, 1), -ENOBUFS);
    assert_int_equal(asynchat_push_owned(&t->chat, borrowed, 1, NULL, NULL),
                     -ENOBUFS);
    const struct iovec iov = {borrowed, 1};
    assert_int_equal(asynchat_pushv(&t->chat, &iov, 1), -ENOBUFS);
    assert_int_equal(asyncore_send(T(t), borrowed, 1), -ENOBUFS);
    assert_int_equal(asynchat_push(&t->chat, borrowed, 0), 0);
    assert_int_equal(asyncore_output_size(T(t)), 5000);
    kit_pass();
    assert_int_equal(asynchat_push(&t->chat, borrowed, 5001), -ENOBUFS);
    assert_int_equal(asynchat_push(&t->chat, borrowed, SIZE_MAX), -ENOBUFS);
    struct text got = {0};
    talk_read(t, &got);
    assert_int_equal(got.len, 5000);
    text_clear(&got);
}

static void
too_much_output_pauses_reading(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct text got = {0};
    asynchat_set_terminator(&t->chat, "\n", 1);
    assert_int_equal(asyncore_set_limits(T(t), &limits), 0);
    size_t filled = kit_fill(T(t)->fd);
    assert_int_equal(asynchat_push(&t->chat, borrowed, 1000), 0);
    talk_hear(t, "a\n");
    assert_trace("t.found \"a\"\n"); /* not above it yet */
    assert_int_equal(asynchat_push(&t->chat, "x", 1), 0);
    talk_hear(t, "b\n");
    kit_pass();
    assert_trace("");
    /* The peer reads: down to the low mark, it goes on. */
    while (got.len < filled + 1001) {
        talk_read(t, &got);
        kit_pass();
    }
    kit_pass();
    kit_pass();
    assert_int_equal(t->drains, 1);
    assert_int_equal(t->found, 2);
    text_clear(&got);
    text_clear(&kit.trace);
}

/* ---- the end ---- */

static const struct asyncore_limits wide = {
    .high = 1000000, .low = 100, .max = 1000000};

static void
close_when_done_loses_nothing_to_a_slow_peer(void **state)
{
    (void)state;
    static const int families[] = {AF_UNIX, AF_INET};
    for (size_t f = 0; f < COUNT(families); f++) {
        struct talk *t = talk_open_on("t", 0, families[f]);
        struct text got = {0};
        struct maker m;
        struct lent lent;
        size_t len = sizeof borrowed;
        int fd = file_of("from a file", 11);
        kit_shrink(T(t)->fd);
        kit_bytes(borrowed, 0, len);
        kit_advance(0);
        asyncore_set_limits(T(t), &wide); /* no handle_drain */
        assert_int_equal(asynchat_push(&t->chat, borrowed, len), 0);
        lend(&lent, t, borrowed, len, 0);
        push_maker(&m, t, three);
        assert_int_equal(asynchat_push_file(&t->chat, fd, 0, 11), 0);
        close(fd);
        assert_int_equal(asyncore_close_when_done(T(t)), 0);
        assert_int_equal(asynchat_push(&t->chat, "x", 1), -EPIPE);
        /* What comes in meanwhile is thrown away, and no reset. */
        kit_write(t->peer, "noise", 5);
        char byte[1000];
        bool more = true;
        for (int i = 0; more && i < 100000; i++) {
            assert_int_equal(asyncore_poll(0, kit.map), 0);
            ssize_t n = read(t->peer, byte, sizeof byte);
            assert_true(n >= 0 || errno == EAGAIN);
            more = n != 0;
            if (n > 0) {
                text_append(&got, byte, (size_t)n);
            }
            else if (n < 0) {
                kit_advance(0.001);
            }
        }
        assert_int_equal(got.len, 2 * len + 14 + 11);
        assert_memory_equal(got.at, borrowed, len);
        assert_memory_equal(got.at + len, borrowed, len);
        assert_string_equal(got.at + 2 * len, "one two three from a file");
        assert_int_equal(t->found + t->collected, 0);
        talk_close_peer(t);
        RUN_UNTIL(t->destroyed);
        assert_trace("t.close\nt.destroy\n");
        assert_int_equal(lent.released, 1);
        assert_int_equal(m.released, 1);
        text_clear(&got);
    }
}

static void
linger_is_bounded(void **state)
{
    (void)state;
    static const double seconds[] = {0, 0.5, 10};
    for (size_t i = 0; i < COUNT(seconds); i++) {
        struct talk *t = talk_open("t", 0);
        kit_advance(0);
        assert_int_equal(asyncore_set_linger(T(t), seconds[i]), 0);
        asynchat_push(&t->chat, "bye", 3);
        assert_int_equal(asyncore_close_when_done(T(t)), 0);
        kit_pass();
        if (seconds[i] > 0) {
            /* All is sent; the peer sees the end, and does not end. */
            struct text got = {0};
            assert_false(talk_read(t, &got));
            assert_string_equal(text_get(&got), "bye");
            text_clear(&got);
            kit_advance(seconds[i] - 0.01);
            kit_pass();
            kit_write(t->peer, "still here", 10); /* makes it no longer */
            kit_pass();
            assert_trace("");
            kit_advance(0.011);
            kit_pass();
        }
        assert_trace("t.close\nt.destroy\n");
        talk_close_peer(t);
    }
}

static void
linger_is_two_seconds_by_default(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    kit_advance(0);
    assert_int_equal(asyncore_close_when_done(T(t)), 0);
    kit_pass();
    kit_advance(1.99);
    kit_pass();
    assert_trace("");
    kit_advance(0.02);
    kit_pass();
    assert_trace("t.close\nt.destroy\n");
}

static int
bye(struct talk *t)
{
    int err = asynchat_push(&t->chat, "bye", 3);
    return err < 0 ? err : asyncore_close_when_done(T(t));
}

static void
close_when_done_in_found_ignores_the_rest(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    asynchat_set_terminator(&t->chat, "\r\n", 2);
    t->on_found = bye;
    talk_hear(t, "quit\r\nmore\r\nand mo");
    kit_pass();
    assert_trace("t.found \"quit\"\n");
    struct text got = {0};
    assert_false(talk_read(t, &got));
    assert_string_equal(text_get(&got), "bye");
    text_clear(&got);
    talk_close_peer(t);
    RUN_UNTIL(t->destroyed);
    assert_trace("t.close\nt.destroy\n");
}

static void
close_when_done_with_nothing_to_send(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    assert_int_equal(asyncore_close_when_done(T(t)), 0);
    struct text got = {0};
    kit_pass();
    assert_false(talk_read(t, &got));
    text_clear(&got);
    talk_close_peer(t);
    RUN_UNTIL(t->destroyed);
    assert_trace("t.close\nt.destroy\n");
    assert_int_equal(asyncore_close_when_done(NULL), -EINVAL);
}

static void
close_when_done_then_closed(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    struct lent lent;
    lend(&lent, t, borrowed, sizeof borrowed, 0);
    assert_int_equal(asyncore_close_when_done(T(t)), 0);
    assert_int_equal(asyncore_close_when_done(T(t)), 0);
    asyncore_close(T(t));
    assert_int_equal(lent.released, 1);
    kit_pass();
    assert_trace("t.destroy\n");
}

static void
discarding_lets_the_end_come(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    kit_fill(T(t)->fd);
    asynchat_push(&t->chat, "never", 5);
    assert_int_equal(asyncore_close_when_done(T(t)), 0);
    kit_pass();
    assert_int_equal(asynchat_discard_buffers(&t->chat), 0);
    kit_pass();
    kit_pass();
    struct text got = {0};
    assert_false(talk_read(t, &got)); /* what was sent, and the end */
    text_clear(&got);
    talk_close_peer(t);
    RUN_UNTIL(t->destroyed);
    text_clear(&kit.trace);
}

static void
reset_while_lingering(void **state)
{
    (void)state;
    struct talk *t = talk_open_on("t", 0, AF_INET);
    asynchat_push(&t->chat, "bye", 3);
    assert_int_equal(asyncore_close_when_done(T(t)), 0);
    kit_pass();
    kit_reset(t->peer);
    t->peer = -1;
    RUN_UNTIL(t->destroyed);
    assert_int_equal(t->closed, 1);
    assert_int_equal(t->errors, 0);
    text_clear(&kit.trace);
}

static void
push_before_connect(void **state)
{
    (void)state;
    int port;
    int listener = kit_listener(AF_INET, &port);
    struct talk *t = talk_new("t", 0);
    struct maker m;
    assert_int_equal(talk_try(t, -1), 0);
    assert_int_equal(asyncore_create_socket(T(t), AF_INET, SOCK_STREAM), 0);
    asynchat_set_terminator(&t->chat, "\n", 1);
    assert_int_equal(asynchat_push(&t->chat, "early ", 6), 0);
    assert_int_equal(asyncore_connect(T(t), "127.0.0.1", port), 0);
    push_maker(&m, t, three);
    assert_int_equal(asynchat_push(&t->chat, "birds\n", 6), 0);
    t->peer = accept(listener, NULL, NULL);
    assert_true(t->peer >= 0);
    fcntl(t->peer, F_SETFL, O_NONBLOCK);
    struct text got = {0};
    RUN_UNTIL(talk_read(t, &got) && got.len >= 26);
    assert_string_equal(text_get(&got), "early one two three birds\n");
    assert_trace("t.connect\n");
    kit_write(t->peer, "hello\n", 6);
    RUN_UNTIL(t->found == 1);
    assert_trace("t.found \"hello\"\n");
    text_clear(&got);
    close(listener);
}

static void
push_then_close_when_done_before_connect(void **state)
{
    (void)state;
    int port;
    int listener = kit_listener(AF_INET, &port);
    struct talk *t = talk_new("t", 0);
    assert_int_equal(talk_try(t, -1), 0);
    assert_int_equal(asyncore_create_socket(T(t), AF_INET, SOCK_STREAM), 0);
    assert_int_equal(asyncore_connect(T(t), "127.0.0.1", port), 0);
    assert_int_equal(asynchat_push(&t->chat, "only this", 9), 0);
    assert_int_equal(asyncore_close_when_done(T(t)), 0);
    t->peer = accept(listener, NULL, NULL);
    assert_true(t->peer >= 0);
    fcntl(t->peer, F_SETFL, O_NONBLOCK);
    struct text got = {0};
    RUN_UNTIL(!talk_read(t, &got));
    assert_string_equal(text_get(&got), "only this");
    talk_close_peer(t);
    RUN_UNTIL(t->destroyed);
    assert_trace("t.connect\nt.close\nt.destroy\n");
    text_clear(&got);
    close(listener);
}

static void
push_and_the_connect_fails(void **state)
{
    (void)state;
    int dead, port = kit_dead_port(&dead);
    struct talk *t = talk_new("t", 0);
    struct lent lent;
    assert_int_equal(talk_try(t, -1), 0);
    assert_int_equal(asyncore_create_socket(T(t), AF_INET, SOCK_STREAM), 0);
    (void)asyncore_connect(T(t), "127.0.0.1", port);
    lend(&lent, t, borrowed, 100, 0);
    for (int i = 0; i < 10 && !t->destroyed; i++) {
        assert_int_equal(asyncore_poll(0.01, kit.map), 0);
    }
    asyncore_close(T(t));
    assert_int_equal(lent.released, 1);
    text_clear(&kit.trace);
    close(dead);
}

static void
more_pieces_than_one_call_takes(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    static char stream[3000];
    kit_bytes(stream, 0, sizeof stream);
    for (size_t i = 0; i < sizeof stream; i += 3) {
        assert_int_equal(
            asynchat_push_owned(&t->chat, stream + i, 3, NULL, NULL), 0);
    }
    struct text got = {0};
    hear_all(t, &got, sizeof stream);
    assert_int_equal(got.len, sizeof stream);
    assert_memory_equal(got.at, stream, sizeof stream);
    text_clear(&got);
}

static void
short_sends_of_everything(void **state)
{
    (void)state;
    for (size_t most = 1; most < 40; most += 3) {
        struct talk *t = talk_open("t", 0);
        struct maker m;
        struct lent lent;
        struct text got = {0};
        static char bytes[] = "lent ";
        int fd = file_of("file ", 5);
        kit.world.max_out = talk_files.most = most;
        asynchat_push(&t->chat, "push ", 5);
        lend(&lent, t, bytes, 5, 0);
        push_maker(&m, t, three);
        asynchat_push_file(&t->chat, fd, 0, 5);
        asynchat_push(&t->chat, "end", 3);
        close(fd);
        hear_all(t, &got, 32);
        assert_string_equal(text_get(&got),
                            "push lent one two three file end");
        text_clear(&got);
        asyncore_close(T(t));
        talk_close_peer(t);
    }
}

/* As many calls as a channel may make in one pass, to the last. */
static void
queue_that_ends_where_the_pass_gives_up(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    static char stream[16 * 64];
    kit_bytes(stream, 0, sizeof stream);
    kit_count_anew();
    for (size_t i = 0; i < sizeof stream; i++) {
        assert_int_equal(
            asynchat_push_owned(&t->chat, stream + i, 1, NULL, NULL), 0);
    }
    struct text got = {0};
    hear_all(t, &got, sizeof stream);
    assert_memory_equal(got.at, stream, sizeof stream);
    text_clear(&got);
    kit_pass();
    kit_pass();
    assert_false(asyncore_writable(T(t))); /* there is nothing to write */
    assert_int_equal(kit.map->slots[T(t)->fd].armed & ASYNCORE__WRITE, 0);
}

static int
fail_in_drain(struct talk *t)
{
    (void)t;
    return -EPROTO;
}

static void
error_out_of_drain(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    asyncore_set_limits(T(t), &limits);
    t->on_drain = fail_in_drain;
    asynchat_push(&t->chat, borrowed, 2000);
    kit_pass();
    kit_pass();
    assert_trace("t.drain\nt.error EPROTO handle_drain\nt.close EPROTO\n"
                 "t.destroy\n");
}

static void
error_of_the_kernel_that_is_survived(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    t->on_error = keep_it;
    kit_fail(KIT_SEND, -1, 1, 1, -ENOBUFS);
    asynchat_push(&t->chat, "hello", 5);
    kit_pass();
    assert_trace("t.error ENOBUFS send\n");
    asyncore_touch(T(t));
    kit_pass();
    assert_heard(t, "hello"); /* the bytes are still there */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TALK_TEST(push_leaves_at_the_end_of_the_pass),
        TALK_TEST(many_pushes_leave_in_one_call),
        TALK_TEST(answers_of_one_read_leave_in_one_call),
        TALK_TEST(farewell_before_a_stop_is_sent),
        TALK_TEST(send_of_a_chat_is_a_push),
        TALK_TEST(vector_is_pushed_as_one),
        TALK_TEST(owned_bytes_are_released_when_sent),
        TALK_TEST(owned_bytes_are_released_when_never_sent),
        TALK_TEST(refused_bytes_stay_the_callers),
        TALK_TEST(nothing_owned_is_released_too),
        TALK_TEST(pushing_out_of_a_release),
        TALK_TEST(closing_out_of_a_release),
        TALK_TEST(closing_out_of_a_release_when_the_connection_ends),
        TALK_TEST(discarding_and_pushing_out_of_a_release),
        TALK_TEST(producer_is_asked_in_its_turn),
        TALK_TEST(one_piece_for_a_full_kernel_goes_when_there_is_room),
        TALK_TEST(producer_is_asked_only_when_it_can_be_sent),
        TALK_TEST(hint_is_the_out_buffer_size),
        TALK_TEST(producer_that_has_nothing_yet),
        TALK_TEST(producer_that_touches_in_more_does_not_hang),
        TALK_TEST(error_of_a_producer),
        TALK_TEST(error_of_a_producer_that_is_survived),
        TALK_TEST(error_of_a_producer_for_ever_does_not_hang),
        TALK_TEST(exit_now_out_of_a_producer),
        TALK_TEST(closing_in_more),
        TALK_TEST(discarding_and_pushing_in_more),
        TALK_TEST(loop_inside_more),
        TALK_TEST(pushing_in_more_comes_after_it),
        TALK_TEST(producers_are_released_when_never_asked),
        TALK_TEST(refused_producers_stay_the_callers),
        TALK_TEST(producer_without_release),
        TALK_TEST(endless_producer_leaves_time_for_others),
        TALK_TEST(simple_producer_in_pieces),
        TALK_TEST(file_goes_out_in_order),
        TALK_TEST(file_without_sendfile),
        TALK_TEST(file_in_short_sends),
        TALK_TEST(part_of_a_file),
        TALK_TEST(file_that_is_shorter_than_promised),
        TALK_TEST(file_that_cannot_be_read),
        TALK_TEST(connection_that_ends_during_a_file),
        TALK_TEST(file_the_kernel_does_not_take_yet),
        TALK_TEST(files_that_cannot_be_pushed),
        TALK_TEST(file_discarded_half_sent),
        TALK_TEST(queue_that_would_be_too_long),
        TALK_TEST(too_much_output_pauses_reading),
        TALK_TEST(close_when_done_loses_nothing_to_a_slow_peer),
        TALK_TEST(linger_is_bounded),
        TALK_TEST(linger_is_two_seconds_by_default),
        TALK_TEST(close_when_done_in_found_ignores_the_rest),
        TALK_TEST(close_when_done_with_nothing_to_send),
        TALK_TEST(close_when_done_then_closed),
        TALK_TEST(discarding_lets_the_end_come),
        TALK_TEST(reset_while_lingering),
        TALK_TEST(push_before_connect),
        TALK_TEST(push_then_close_when_done_before_connect),
        TALK_TEST(push_and_the_connect_fails),
        TALK_TEST(more_pieces_than_one_call_takes),
        TALK_TEST(short_sends_of_everything),
        TALK_TEST(queue_that_ends_where_the_pass_gives_up),
        TALK_TEST(error_out_of_drain),
        TALK_TEST(error_of_the_kernel_that_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
