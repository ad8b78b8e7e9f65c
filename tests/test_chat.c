/* SPDX-License-Identifier: MIT */
/* test_chat.c - what a chat hears: terminators, collecting, and what handlers
 * may do meanwhile. */
#include "talk.h"

#define CR "\r\n"

/* A chat of lines, whose collector is traced as well. */
static struct talk *
open_lines(const char *name)
{
    struct talk *t = talk_open(name, TALK_COLLECT);
    assert_int_equal(asynchat_set_terminator(&t->chat, CR, 2), 0);
    return t;
}

/* The same with the ready-made collector alone. */
static struct talk *
open_plain(const char *name)
{
    struct talk *t = talk_open(name, 0);
    assert_int_equal(asynchat_set_terminator(&t->chat, CR, 2), 0);
    return t;
}

/* ---- terminators ---- */

static void
without_a_terminator_all_is_collected(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", TALK_COLLECT);
    talk_hear(t, "one\r\n");
    talk_hear(t, "two");
    assert_trace("t.collect \"one\\r\\n\"\nt.collect \"two\"\n");
    struct asyncore_bytes all = asynchat_get_data(&t->chat);
    assert_int_equal(all.len, 8);
    assert_memory_equal(all.data, "one\r\ntwo", 8);
}

static void
lines_of_one_read(void **state)
{
    (void)state;
    struct talk *t = open_lines("t");
    talk_hear(t, "one\r\ntwo\r\n\r\nthree");
    assert_trace("t.collect \"one\"\nt.found \"one\"\n"
                 "t.collect \"two\"\nt.found \"two\"\n"
                 "t.found \"\"\n"
                 "t.collect \"three\"\n");
    talk_hear(t, CR);
    assert_trace("t.found \"three\"\n");
}

static void
delimiter_split_over_reads(void **state)
{
    (void)state;
    struct talk *t = open_lines("t");
    talk_hear(t, "x");
    talk_hear(t, "\r");
    assert_trace("t.collect \"x\"\n");
    talk_hear(t, "\n");
    assert_trace("t.found \"x\"\n");
}

static void
held_prefix_that_was_none(void **state)
{
    (void)state;
    struct talk *t = open_lines("t");
    talk_hear(t, "\r");
    assert_trace("");
    talk_hear(t, "\r");
    assert_trace("t.collect \"\\r\"\n");
    talk_hear(t, "\n");
    assert_trace("t.found \"\\r\"\n");
    talk_hear(t, "\r");
    talk_hear(t, "z\r\n");
    assert_trace("t.collect \"\\r\"\nt.collect \"z\"\nt.found \"\\rz\"\n");
}

static struct text noted;

static int
note_message(struct talk *t)
{
    text_append(&noted, t->message.data, t->message.len);
    text_append(&noted, "|", 1);
    return 0;
}

static void
delimiters_with_repeating_prefixes(void **state)
{
    (void)state;
    static const struct {
        const char *delimiter, *stream, *want;
    } cases[] = {
        {"aab", "aaab", "a|"},
        {"aab", "aaaabaabaaab", "aa||a|"},
        {"\r\n\r\n", "a\r\n\r\r\n\r\nb\r\n\r\n", "a\r\n\r|b|"},
        {"aaa", "aaaaaaa", "||"},      /* and "a" held */
        {"abab", "abaababab", "aba|"}, /* and "ab" */
        {"abab", "abaabababc", "aba|abc"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t len = strlen(cases[i].stream);
        for (size_t piece = 1; piece <= len; piece++) {
            struct talk *t = talk_open("t", 0);
            t->quiet = true;
            t->on_found = note_message;
            asynchat_set_terminator(&t->chat, cases[i].delimiter,
                                    strlen(cases[i].delimiter));
            for (size_t at = 0; at < len; at += piece) {
                size_t n = piece < len - at ? piece : len - at;
                talk_hear_bytes(t, cases[i].stream + at, n);
            }
            struct asyncore_bytes rest = asynchat_get_data(&t->chat);
            text_append(&noted, rest.data, rest.len);
            assert_string_equal(text_get(&noted), cases[i].want);
            text_clear(&noted);
            asyncore_close(T(t));
            talk_close_peer(t);
        }
    }
}

static char longest[65536];

static void
delimiter_of_64_kib(void **state)
{
    (void)state;
    static char stream[3 * 65536 + 7];
    for (size_t i = 0; i < sizeof longest; i++) {
        longest[i] = "aab"[i % 3];
    }
    /* Nearly, then overlapping, then the real one. */
    memcpy(stream, longest, 65536);
    stream[65535] = 'z';
    memcpy(stream + 65536, longest, 65536 - 3);
    memcpy(stream + 2 * 65536 - 3, longest, 65536);
    memcpy(stream + 3 * 65536 - 3, "rest", 4);
    struct talk *t = talk_open("t", 0);
    t->quiet = t->keep = true;
    static const size_t pieces[] = {1, 1000, 65536};
    for (size_t p = 0; p < COUNT(pieces); p++) {
        assert_int_equal(asynchat_set_terminator(&t->chat, longest, 65536), 0);
        size_t len = 3 * 65536 + 1, found_at = 0;
        unsigned before = t->found;
        for (size_t at = 0; at < len; at += pieces[p]) {
            size_t n = pieces[p] < len - at ? pieces[p] : len - at;
            assert_int_equal(asynchat_feed(&t->chat, stream + at, n), 0);
            if (t->found == before + 1 && found_at == 0) {
                found_at = at + n;
            }
        }
        assert_int_equal(t->found, before + 1);
        /* The needle has period 3: it is there as soon as it can be. */
        assert_true(found_at >= 2 * 65536 && found_at <= len);
        struct asyncore_bytes message = asynchat_get_data(&t->chat);
        assert_true(message.len > 65536);
        assert_memory_equal(message.data, stream, 65536);
        asynchat_discard_buffers(&t->chat);
    }
}

static void
delimiter_may_be_any_bytes(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    static const char zero[] = {0, 0, (char)0xff};
    asynchat_set_terminator(&t->chat, zero, 3);
    static const char stream[] = {'a', 0, 0, 0, (char)0xff, 'b', 0};
    talk_hear_bytes(t, stream, sizeof stream);
    assert_trace("t.found \"a\\x00\"\n");
    /* It is a copy. */
    char own[12] = "0123456789x";
    asynchat_set_terminator(&t->chat, own, 11);
    memset(own, 0, sizeof own);
    struct asynchat_terminator term = asynchat_get_terminator(&t->chat);
    assert_int_equal(term.kind, ASYNCHAT_DELIMITER);
    assert_int_equal(term.len, 11);
    assert_memory_equal(term.data, "0123456789x", 11);
    /* … also of itself, and of a part of itself. */
    assert_int_equal(asynchat_set_terminator(&t->chat, term.data, term.len),
                     0);
    term = asynchat_get_terminator(&t->chat);
    assert_memory_equal(term.data, "0123456789x", 11);
    assert_int_equal(asynchat_set_terminator(&t->chat, term.data + 8, 3), 0);
    term = asynchat_get_terminator(&t->chat);
    assert_int_equal(term.len, 3);
    assert_memory_equal(term.data, "89x", 3);
    assert_int_equal(asynchat_set_terminator(&t->chat, term.data + 1, 2), 0);
    term = asynchat_get_terminator(&t->chat);
    assert_memory_equal(term.data, "9x", 2);
}

static void
count_is_found_once(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", TALK_COLLECT);
    assert_int_equal(asynchat_set_terminator_count(&t->chat, 5), 0);
    talk_hear(t, "ab");
    struct asynchat_terminator term = asynchat_get_terminator(&t->chat);
    assert_int_equal(term.kind, ASYNCHAT_COUNT);
    assert_int_equal(term.len, 3);
    talk_hear(t, "cdefgh");
    assert_trace("t.collect \"ab\"\nt.collect \"cde\"\nt.found \"abcde\"\n"
                 "t.collect \"fgh\"\n");
    term = asynchat_get_terminator(&t->chat);
    assert_int_equal(term.kind, ASYNCHAT_NONE);
    assert_int_equal(term.len, 0);
    talk_hear(t, "ijklmnopq");
    assert_trace("t.collect \"ijklmnopq\"\n");
}

static void
count_of_nothing_is_no_terminator(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", TALK_COLLECT);
    assert_int_equal(asynchat_set_terminator_count(&t->chat, 0), 0);
    assert_int_equal(asynchat_get_terminator(&t->chat).kind, ASYNCHAT_NONE);
    talk_hear(t, "abc");
    assert_trace("t.collect \"abc\"\n");
    assert_int_equal(asynchat_set_terminator(&t->chat, "", 0), 0);
    assert_int_equal(asynchat_get_terminator(&t->chat).kind, ASYNCHAT_NONE);
    assert_int_equal(asynchat_set_terminator(&t->chat, NULL, 0), 0);
    assert_int_equal(asynchat_get_terminator(&t->chat).kind, ASYNCHAT_NONE);
}

static void
count_of_size_max(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", TALK_COLLECT);
    assert_int_equal(asynchat_set_terminator_count(&t->chat, SIZE_MAX), 0);
    talk_hear(t, "abc");
    assert_trace("t.collect \"abc\"\n");
    assert_int_equal(asynchat_get_terminator(&t->chat).len, SIZE_MAX - 3);
}

/* ---- switched in found_terminator ---- */

/* A line with a number, then so many bytes, then a line again. */
static int
line_then_count(struct talk *t)
{
    if (asynchat_get_terminator(&t->chat).kind == ASYNCHAT_DELIMITER) {
        char number[20] = "";
        memcpy(number, t->message.data,
               t->message.len < 19 ? t->message.len : 19);
        return asynchat_set_terminator_count(&t->chat, (size_t)atoi(number));
    }
    return asynchat_set_terminator(&t->chat, CR, 2);
}

static void
line_count_line_in_one_read(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    t->on_found = line_then_count;
    talk_hear(t, "4\r\nab\r\n1\r\nx3\r\nyyy7\r\n");
    assert_trace("t.found \"4\"\nt.found \"ab\\r\\n\"\n"
                 "t.found \"1\"\nt.found \"x\"\n"
                 "t.found \"3\"\nt.found \"yyy\"\nt.found \"7\"\n");
}

static void
line_count_line_however_cut(void **state)
{
    (void)state;
    static const char stream[] = "4\r\nab\r\n12\r\n\r\n0123456789"
                                 "3\r\nyyy7\r\n";
    size_t len = strlen(stream);
    for (size_t a = 0; a <= len; a++) {
        for (size_t b = a; b <= len; b++) {
            struct talk *t = open_plain("t");
            t->on_found = line_then_count;
            assert_int_equal(asynchat_feed(&t->chat, stream, a), 0);
            assert_int_equal(asynchat_feed(&t->chat, stream + a, b - a), 0);
            assert_int_equal(asynchat_feed(&t->chat, stream + b, len - b), 0);
            assert_trace("t.found \"4\"\nt.found \"ab\\r\\n\"\n"
                         "t.found \"12\"\nt.found \"\\r\\n0123456789\"\n"
                         "t.found \"3\"\nt.found \"yyy\"\nt.found \"7\"\n");
            asyncore_close(T(t));
            kit_pass();
            talk_close_peer(t);
            assert_trace("t.destroy\n");
        }
    }
}

static int
become_long(struct talk *t)
{
    return t->found == 1
               ? asynchat_set_terminator(&t->chat, "--boundary--", 12)
           : t->found == 2 ? asynchat_set_terminator_none(&t->chat)
                           : 0;
}

static void
short_long_none_and_back(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    t->on_found = become_long;
    talk_hear(t, "a\r\nb\r\nc--boundary--d\r\ne--boundary--");
    assert_trace("t.found \"a\"\nt.found \"b\\r\\nc\"\n");
    assert_int_equal(asynchat_set_terminator(&t->chat, ";", 1), 0);
    talk_hear(t, "f;g;");
    assert_trace("t.found \"d\\r\\ne--boundary--f\"\nt.found \"g\"\n");
}

static void
set_while_a_part_of_the_old_one_is_held(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    talk_hear(t, "a\r"); /* held */
    assert_int_equal(asynchat_set_terminator(&t->chat, "\r", 1), 0);
    kit_pass();
    assert_trace("t.found \"a\"\n");
    assert_int_equal(asynchat_set_terminator(&t->chat, "xyz", 3), 0);
    talk_hear(t, "bxy");
    /* … what it was to be, the library finds out by itself. */
    assert_int_equal(asynchat_set_terminator_count(&t->chat, 2), 0);
    talk_hear(t, "c");
    assert_trace("t.found \"bxy\"\n");
    assert_memory_equal(asynchat_get_data(&t->chat).data, "c", 1);
    assert_int_equal(asynchat_set_terminator(&t->chat, "0123456789abcdef", 16),
                     0);
    talk_hear(t, "x0123456789");
    assert_int_equal(asynchat_set_terminator_none(&t->chat), 0);
    kit_pass();
    struct asyncore_bytes all = asynchat_get_data(&t->chat);
    assert_int_equal(all.len, 11);
    assert_memory_equal(all.data, "x0123456789", 11);
    assert_trace("");
}

static void
long_one_set_while_a_part_is_held(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    asynchat_set_terminator(&t->chat, "0123456789abcdef", 16);
    talk_hear(t, "x0123456789ab"); /* 12 bytes held */
    assert_int_equal(asynchat_set_terminator(&t->chat, "123456789", 9), 0);
    kit_pass();
    assert_trace("t.found \"x0\"\n");
    struct asyncore_bytes rest = asynchat_get_data(&t->chat);
    assert_int_equal(rest.len, 2);
    assert_memory_equal(rest.data, "ab", 2);
}

static void
set_again_while_held_is_as_new(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    talk_hear(t, "a\r");
    assert_int_equal(asynchat_set_terminator(&t->chat, CR, 2), 0);
    talk_hear(t, "\nb\r\n");
    assert_trace("t.found \"a\"\nt.found \"b\"\n");
    talk_hear(t, "c\r");
    assert_int_equal(asynchat_set_terminator(&t->chat, CR, 2), 0);
    asyncore_close(T(t)); /* with the bytes set aside */
    kit_pass();
    assert_trace("t.destroy\n");
}

static int
set_in_collector(struct talk *t, const char *data, size_t len)
{
    (void)data;
    return len == 1 ? asynchat_set_terminator(&t->chat, "#", 1) : 0;
}

static void
set_in_the_collector(void **state)
{
    (void)state;
    struct talk *t = open_lines("t");
    t->on_collect = set_in_collector;
    /* The byte that is collected, then a held part of the old one. */
    talk_hear(t, "x\r");
    talk_hear(t, "y#z#");
    struct text all = {0};
    text_append(&all, t->in.at, t->in.len);
    assert_string_equal(text_get(&all), "x\ryz");
    text_clear(&all);
    assert_int_equal(t->found, 2);
}

/* ---- long reads, by each way to look for delimiters ---- */

/* A stream, cut as the terminators say that are set on the way. */
static struct {
    char bytes[60000];
    size_t at, messages;
    struct asynchat_terminator term;
    uint64_t seed;
} cut;

static uint32_t
cut_dice(uint32_t sides)
{
    cut.seed = cut.seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(((cut.seed >> 33) * sides) >> 31);
}

/* How long the next message is, or SIZE_MAX: the rest is none. */
static size_t
cut_next(void)
{
    size_t left = sizeof cut.bytes - cut.at;
    if (cut.term.kind == ASYNCHAT_COUNT) {
        return cut.term.len <= left ? cut.term.len : SIZE_MAX;
    }
    for (size_t len = 0; len + cut.term.len <= left; len++) {
        if (memcmp(cut.bytes + cut.at + len, cut.term.data, cut.term.len) ==
            0) {
            return len;
        }
    }
    return SIZE_MAX;
}

/* Another terminator, or the same anew, or nothing of that. */
static void
cut_otherwise(struct talk *t, uint32_t most)
{
    static const char *const delimiters[] = {"\n", "\r\n", "\n\r\n", "\n.",
                                             "aa"};
    uint32_t what = cut_dice(most);
    if (cut.term.kind == ASYNCHAT_COUNT || what < COUNT(delimiters)) {
        const char *d = delimiters[what % COUNT(delimiters)];
        cut.term.kind = ASYNCHAT_DELIMITER;
        cut.term.data = d;
        cut.term.len = strlen(d);
        assert_int_equal(asynchat_set_terminator(&t->chat, d, strlen(d)), 0);
    }
    else if (what == COUNT(delimiters)) {
        cut.term.kind = ASYNCHAT_COUNT;
        cut.term.len = 1 + cut_dice(300);
        asynchat_set_terminator_count(&t->chat, cut.term.len);
    }
    else if (what == COUNT(delimiters) + 1) {
        asynchat_set_max_message(&t->chat, cut_dice(2) * 100000);
    }
}

static int
check_cut(struct talk *t)
{
    size_t len = cut_next();
    assert_int_equal(t->message.len, len);
    assert_memory_equal(t->message.data, cut.bytes + cut.at, len);
    cut.at += len;
    cut.at += cut.term.kind == ASYNCHAT_DELIMITER ? cut.term.len : 0;
    cut.messages++;
    struct asyncore_bytes rest = asynchat_unread(&t->chat);
    assert_int_equal(rest.len, sizeof cut.bytes - cut.at);
    cut_otherwise(t, (uint32_t)t->value);
    return 0;
}

static void
cut_long_reads(uint64_t seed)
{
    static const int how_rarely[] = {7, 30, 1000};
    cut.seed = seed;
    for (size_t i = 0; i < COUNT(how_rarely); i++) {
        uint32_t longest = 1u << (1 + cut_dice(12));
        for (size_t at = 0, line = 0; at < sizeof cut.bytes; at++) {
            line = line == 0 ? 1 + cut_dice(longest) : line - 1;
            cut.bytes[at] = line == 1   ? '\r'
                            : line == 0 ? '\n'
                                        : "a.b\n"[cut_dice(64) % 3];
        }
        struct talk *t = talk_open("t", 0);
        t->quiet = true;
        t->on_found = check_cut;
        t->value = how_rarely[i];
        cut.at = cut.messages = 0;
        cut.term.kind = ASYNCHAT_COUNT;
        cut_otherwise(t, COUNT(how_rarely));
        assert_int_equal(asynchat_feed(&t->chat, cut.bytes, sizeof cut.bytes),
                         0);
        assert_true(cut_next() == SIZE_MAX); /* none was missed */
        assert_int_equal(t->found, cut.messages);
        asyncore_close(T(t));
    }
}

static void
long_reads_are_cut_alike_by_each_way(void **state)
{
    (void)state;
    asyncore__scan_fn *chosen = asyncore__scan;
    for (uint64_t seed = 1; seed < 4; seed++) {
        atomic_store(&asyncore__scan, (asyncore__scan_fn *)0);
        cut_long_reads(seed);
        for (const struct asyncore__scanner *s = asyncore__scanners;
             s->name != NULL; s++) {
            if (s->supported()) {
                atomic_store(&asyncore__scan, s->scan);
                cut_long_reads(seed);
            }
        }
    }
    atomic_store(&asyncore__scan, chosen);
}

/* ---- collecting without a copy ---- */

static const char *collected_at;
static unsigned long allocations;

static int
note_place(struct talk *t, const char *data, size_t len)
{
    (void)t;
    (void)len;
    collected_at = data;
    return 0;
}

static int
assert_place(struct talk *t)
{
    if (t->message.len > 0) {
        assert_ptr_equal(t->message.data, collected_at);
    }
    assert_int_equal(kit.alloc.count, allocations);
    return 0;
}

static void
message_of_one_read_is_a_view(void **state)
{
    (void)state;
    struct talk *t = open_lines("t");
    t->quiet = true;
    talk_hear(t, "warm\r\n"); /* the map has its buffer now */
    t->on_collect = note_place;
    t->on_found = assert_place;
    allocations = kit.alloc.count;
    talk_hear(t, "one\r\ntwo\r\n\r\nthree\r\n");
    assert_int_equal(t->found, 5);
    assert_int_equal(kit.alloc.count, allocations);
    asynchat_set_terminator_count(&t->chat, 4);
    talk_hear(t, "four");
    assert_int_equal(t->found, 6);
    assert_int_equal(kit.alloc.count, allocations);
}

static void
view_without_a_collector_is_where_it_was_received(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    static const char bytes[] = "hello\r\nyou\r\n";
    t->quiet = true;
    unsigned long before = kit.alloc.count;
    assert_int_equal(asynchat_feed(&t->chat, bytes, sizeof bytes - 1), 0);
    assert_ptr_equal(t->message.data, bytes + 7);
    assert_int_equal(t->message.len, 3);
    assert_int_equal(kit.alloc.count, before);
}

static void
message_of_several_reads_is_one_piece(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    talk_hear(t, "one, ");
    talk_hear(t, "two, ");
    talk_hear(t, "three\r");
    talk_hear(t, "\nfour\r\n");
    assert_trace("t.found \"one, two, three\"\nt.found \"four\"\n");
    unsigned long live = kit.alloc.live;
    talk_hear(t, "five\r\n");
    assert_true(kit.alloc.live <= live);
}

static void
big_message_in_small_pieces(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    static char big[1048576];
    t->quiet = true;
    for (size_t i = 0; i < sizeof big; i++) {
        big[i] = (char)(kit_byte(i) & 0x7e); /* no \r */
        big[i] = (char)(big[i] == '\r' ? 'r' : big[i]);
    }
    for (size_t piece = 7; piece < 100000; piece *= 30) {
        for (size_t at = 0; at < sizeof big; at += piece) {
            size_t n = piece < sizeof big - at ? piece : sizeof big - at;
            assert_int_equal(asynchat_feed(&t->chat, big + at, n), 0);
        }
        unsigned before = t->found;
        t->keep = true;
        assert_int_equal(asynchat_feed(&t->chat, CR, 2), 0);
        assert_int_equal(t->found, before + 1);
        struct asyncore_bytes all = asynchat_get_data(&t->chat);
        assert_int_equal(all.len, sizeof big);
        assert_memory_equal(all.data, big, sizeof big);
    }
}

static void
idle_chat_holds_no_memory(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    talk_hear(t, "warm\r\n");
    unsigned long live = kit.alloc.live;
    talk_hear(t, "a part");
    assert_true(kit.alloc.live > live);
    talk_hear(t, "\r\n");
    kit_pass();
    assert_int_equal(kit.alloc.live, live);
}

static int
collect_twice(struct talk *t, const char *data, size_t len)
{
    /* On top of what the kit's collector has kept already. */
    return asynchat_collect_incoming_data(&t->chat, len > 1 ? data : "?",
                                          len > 1 ? 1 : 1);
}

static void
collecting_something_else_is_fine(void **state)
{
    (void)state;
    struct talk *t = open_lines("t");
    t->on_collect = collect_twice;
    talk_hear(t, "abc\r\nd\r\n");
    assert_trace("t.collect \"abc\"\nt.found \"abca\"\n"
                 "t.collect \"d\"\nt.found \"d?\"\n");
    char own[4] = "own";
    assert_int_equal(asynchat_collect_incoming_data(&t->chat, own, 3), 0);
    memset(own, 0, 3); /* it was no part of the input: copied */
    struct asyncore_bytes got = asynchat_get_data(&t->chat);
    assert_int_equal(got.len, 3);
    assert_memory_equal(got.data, "own", 3);
    assert_int_equal(asynchat_get_data(&t->chat).len, 0);
}

static void
not_asked_for_it_goes_on(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    t->keep = true;
    talk_hear(t, "one\r\ntwo\r\n");
    struct asyncore_bytes all = asynchat_get_data(&t->chat);
    assert_int_equal(all.len, 6);
    assert_memory_equal(all.data, "onetwo", 6);
}

static void
in_buffer_size_bounds_a_read(void **state)
{
    (void)state;
    struct talk *t = open_lines("t");
    t->chat.ac_in_buffer_size = 3;
    talk_hear(t, "abcdefg\r\n");
    assert_trace("t.collect \"abc\"\n");
    kit_pass();
    kit_pass();
    assert_trace("t.collect \"def\"\nt.collect \"g\"\nt.found \"abcdefg\"\n");
    t->chat.ac_in_buffer_size = 0; /* against the rules, harmless */
    talk_hear(t, "x\r\n");
    kit_pass();
    kit_pass();
    assert_trace("t.collect \"x\"\nt.found \"x\"\n");
    t->chat.ac_in_buffer_size = 200000;
    talk_hear(t, "y\r\n");
    assert_trace("t.collect \"y\"\nt.found \"y\"\n");
}

/* ---- closing, discarding, detaching ---- */

static int
close_now(struct talk *t)
{
    return asyncore_close(T(t));
}

static void
closing_in_found_ends_it(void **state)
{
    (void)state;
    struct talk *t = open_lines("t");
    t->on_found = close_now;
    talk_hear(t, "one\r\ntwo\r\nthree");
    assert_trace("t.collect \"one\"\nt.found \"one\"\nt.destroy\n");
}

static int
close_in_collector(struct talk *t, const char *data, size_t len)
{
    (void)data;
    (void)len;
    return asyncore_close(T(t));
}

static void
closing_in_the_collector_ends_it(void **state)
{
    (void)state;
    struct talk *t = open_lines("t");
    t->on_collect = close_in_collector;
    talk_hear(t, "one\r\ntwo\r\n");
    assert_trace("t.collect \"one\"\nt.destroy\n");
}

static int
look_after_closing(struct talk *t)
{
    int err = asyncore_close(T(t));
    /* The message is the handler's until it returns. */
    assert_int_equal(t->message.len, 11);
    assert_memory_equal(t->message.data, "hello there", 11);
    return err;
}

static void
message_outlives_the_closing(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    t->on_found = look_after_closing;
    talk_hear(t, "hello ");
    talk_hear(t, "there\r\nx");
    assert_trace("t.found \"hello there\"\nt.destroy\n");
}

static int
discard_now(struct talk *t)
{
    return asynchat_discard_buffers(&t->chat);
}

static void
discarding_in_found_forgets_the_rest(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    t->on_found = discard_now;
    talk_hear(t, "one\r\ntwo\r\nthr");
    assert_trace("t.found \"one\"\n");
    talk_hear(t, "four\r\nfive\r\n");
    assert_trace("t.found \"four\"\n");
}

static void
discarding_forgets_what_is_held(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    talk_hear(t, "abc\r");
    assert_int_equal(asynchat_discard_buffers(&t->chat), 0);
    talk_hear(t, "\nd\r\n");
    assert_trace("t.found \"\\nd\"\n");
}

static int
discard_in_collector(struct talk *t, const char *data, size_t len)
{
    (void)data;
    (void)len;
    t->on_collect = NULL;
    return asynchat_discard_buffers(&t->chat);
}

static void
discarding_in_the_collector_of_held_bytes(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", TALK_COLLECT);
    asynchat_set_terminator(&t->chat, "\r\n\r\n", 4);
    talk_hear(t, "a\r\n");
    assert_trace("t.collect \"a\"\n");
    t->on_collect = discard_in_collector;
    talk_hear(t, "bcd\r\n\r\nX\r\n\r\n");
    /* "bcd" had not been looked at yet. */
    assert_trace("t.collect \"\\r\\n\"\n");
}

static int
upgrade(struct talk *t)
{
    struct asyncore_bytes rest = asynchat_unread(&t->chat);
    text_append(&noted, rest.data, rest.len);
    struct talk *o = t->other;
    int fd = asyncore_detach(T(t));
    assert_true(fd >= 0);
    assert_int_equal(talk_try(o, fd), 0);
    asynchat_set_terminator(&o->chat, "\n", 1);
    return asynchat_feed(&o->chat, rest.data, rest.len);
}

static void
detaching_hands_over_unread_input(void **state)
{
    (void)state;
    struct talk *t = open_plain("t"), *o = talk_new("o", 0);
    text_clear(&noted);
    t->on_found = upgrade;
    t->other = o;
    talk_hear(t, "STARTTLS\r\nbin\nary");
    assert_trace("t.found \"STARTTLS\"\no.found \"bin\"\nt.destroy\n");
    assert_string_equal(text_get(&noted), "bin\nary");
    kit_write(t->peer, "!\n", 2);
    kit_pass();
    assert_trace("o.found \"ary!\"\n");
    text_clear(&noted);
}

static void
detaching_after_input_that_was_put_by(void **state)
{
    (void)state;
    struct talk *t = open_plain("t"), *o = talk_new("o", 0);
    text_clear(&noted);
    t->on_found = upgrade;
    t->other = o;
    talk_hear(t, "start\r");
    /* The held \r is looked at anew, in memory of the chat's own. */
    assert_int_equal(asynchat_set_terminator(&t->chat, "tls", 3), 0);
    talk_hear(t, "tlsx\ny");
    assert_trace("t.found \"start\\r\"\no.found \"x\"\nt.destroy\n");
    assert_string_equal(text_get(&noted), "x\ny");
    text_clear(&noted);
}

static int
upgrade_in_collector(struct talk *t, const char *data, size_t len)
{
    (void)data;
    (void)len;
    return upgrade(t);
}

static void
detaching_in_the_collector_of_held_bytes(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", TALK_COLLECT), *o = talk_new("o", 0);
    text_clear(&noted);
    asynchat_set_terminator(&t->chat, "\r\n\r\n", 4);
    talk_hear(t, "a\r\n");
    t->on_collect = upgrade_in_collector;
    t->other = o;
    talk_hear(t, "bcd\r\n\r\nX");
    /* All that has been given to no collector, and nothing else. */
    assert_string_equal(text_get(&noted), "bcd\r\n\r\nX");
    text_clear(&noted);
}

static int
note_unread(struct talk *t)
{
    struct asyncore_bytes rest = asynchat_unread(&t->chat);
    text_append(&noted, rest.data, rest.len);
    text_append(&noted, "|", 1);
    return 0;
}

static int
note_unread_in_collector(struct talk *t, const char *data, size_t len)
{
    (void)data;
    (void)len;
    return note_unread(t);
}

static void
unread_is_what_nobody_has_seen(void **state)
{
    (void)state;
    struct talk *t = open_lines("t");
    text_clear(&noted);
    t->on_found = note_unread;
    talk_hear(t, "a\r\nb\r\n");
    assert_string_equal(text_get(&noted), "b\r\n||");
    text_clear(&noted);
    /* A held beginning has not been looked at in vain. */
    t->on_collect = note_unread_in_collector;
    talk_hear(t, "c\r");
    assert_string_equal(text_get(&noted), "\r|");
    text_clear(&noted);
}

static int
move_away(struct talk *t)
{
    return t->found == 1 ? asyncore_del_channel(T(t)) : 0;
}

static void
set_aside_in_found_goes_on_with_its_input(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    t->on_found = move_away;
    talk_hear(t, "one\r\ntwo\r\nthree\r\n");
    assert_trace("t.found \"one\"\nt.found \"two\"\nt.found \"three\"\n");
    assert_int_equal(asynchat_feed(&t->chat, "four\r\n", 6), 0);
    assert_trace("t.found \"four\"\n");
    assert_int_equal(asyncore_add_channel(T(t), NULL), 0);
}

/* ---- loops inside of handlers, and leaving them ---- */

static int
exit_now(struct talk *t)
{
    return t->found == 1 || t->found == 3 ? ASYNCORE_EXIT_NOW : 0;
}

static void
exit_now_loses_no_input(void **state)
{
    (void)state;
    struct talk *t = open_lines("t");
    t->on_found = exit_now;
    kit_write(t->peer, "one\r\ntwo\r\nthree\r\nfo", 19);
    assert_int_equal(asyncore_loop(1, false, kit.map, 5), ASYNCORE_EXIT_NOW);
    assert_trace("t.collect \"one\"\nt.found \"one\"\n");
    assert_int_equal(asyncore_loop(1, false, kit.map, 5), ASYNCORE_EXIT_NOW);
    assert_trace("t.collect \"two\"\nt.found \"two\"\n"
                 "t.collect \"three\"\nt.found \"three\"\n");
    kit_write(t->peer, "ur\r\n", 4);
    t->on_found = NULL;
    assert_int_equal(asyncore_loop(0, false, kit.map, 2), 0);
    RUN_UNTIL(t->found == 4);
    assert_string_equal(text_get(&t->in), "onetwothreefour");
    assert_int_equal(t->message.len, 4);
    text_clear(&kit.trace);
}

/* What is left over has no memory to wait with in front of what comes. */
static void
exit_now_then_no_memory_is_the_end(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    t->on_found = exit_now;
    kit_write(t->peer, "one\r\ntwo\r\n", 10);
    assert_int_equal(asyncore_loop(1, false, kit.map, 5), ASYNCORE_EXIT_NOW);
    kit_write(t->peer, "three\r\n", 7);
    kit_fail_alloc(1, 1000);
    kit_pass();
    kit_heal();
    kit_pass();
    assert_int_equal(t->failed.code, -ENOMEM);
    assert_trace("t.found \"one\"\n"
                 "t.error ENOMEM collect\n"
                 "t.close ENOMEM\n"
                 "t.destroy\n");
}

static int
feed_more(struct talk *t)
{
    if (t->found == 1) {
        kit_fail_alloc(1, 1000);
        assert_int_equal(asynchat_feed(&t->chat, "three\r\n", 7), -ENOMEM);
        kit_heal();
    }
    return 0;
}

static void
feed_without_memory_takes_nothing(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    t->on_found = feed_more;
    talk_hear(t, "one\r\ntwo\r\n");
    assert_trace("t.found \"one\"\nt.found \"two\"\n");
}

static void
exit_now_then_closed(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    t->on_found = exit_now;
    kit_write(t->peer, "one\r\ntwo\r\n", 10);
    assert_int_equal(asyncore_loop(1, false, kit.map, 5), ASYNCORE_EXIT_NOW);
    asyncore_close(T(t));
    kit_pass();
    kit_pass();
    assert_trace("t.found \"one\"\nt.destroy\n");
}

static int
exit_in_collector(struct talk *t, const char *data, size_t len)
{
    (void)data;
    (void)len;
    return t->collected == 1 ? ASYNCORE_EXIT_NOW : 0;
}

static void
exit_now_in_the_collector(void **state)
{
    (void)state;
    struct talk *t = open_lines("t");
    t->on_collect = exit_in_collector;
    kit_write(t->peer, "one\r\ntwo\r\n", 10);
    assert_int_equal(asyncore_loop(1, false, kit.map, 5), ASYNCORE_EXIT_NOW);
    assert_int_equal(asyncore_loop(0, false, kit.map, 2), 0);
    kit_pass();
    assert_trace("t.collect \"one\"\nt.found \"one\"\n"
                 "t.collect \"two\"\nt.found \"two\"\n");
}

static void
exit_now_out_of_a_feed_by_hand(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    t->on_found = exit_now;
    assert_int_equal(asynchat_feed(&t->chat, "one\r\ntwo\r\n", 10),
                     ASYNCORE_EXIT_NOW);
    assert_trace("t.found \"one\"\n");
    t->on_found = NULL;
    /* What is left comes first, and nobody leaves any more. */
    assert_int_equal(asynchat_feed(&t->chat, "three\r\nfour\r\n", 13), 0);
    assert_trace("t.found \"two\"\nt.found \"three\"\nt.found \"four\"\n");
    kit_pass();
    assert_trace("");
}

static void
exit_now_then_moved_to_another_map(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    struct asyncore_map *other;
    assert_int_equal(asyncore_map_create(NULL, &other), 0);
    t->on_found = exit_now;
    kit_write(t->peer, "one\r\ntwo\r\n", 10);
    assert_int_equal(asyncore_loop(1, false, kit.map, 5), ASYNCORE_EXIT_NOW);
    assert_trace("t.found \"one\"\n");
    assert_int_equal(asyncore_del_channel(T(t)), 0);
    assert_int_equal(asyncore_add_channel(T(t), other), 0);
    kit_pass(); /* the old map has nothing to do with it any more */
    kit_pass();
    assert_trace("");
    assert_int_equal(asyncore_poll(0, other), 0);
    assert_int_equal(asyncore_poll(0, other), 0);
    assert_trace("t.found \"two\"\n");
    asyncore_close_all(other, true);
    assert_int_equal(asyncore_map_free(other), 0);
    assert_trace("t.destroy\n");
}

static int
loop_inside(struct talk *t)
{
    if (t->found == 1) {
        kit_write(t->peer, "three\r\nfo", 9);
        assert_int_equal(asyncore_loop(0.01, false, kit.map, 2), 0);
        /* What this message was, is still there: the inner ones went on with
         * what had come after it. */
        kit_trace("out");
    }
    return 0;
}

static void
loop_inside_found(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    t->on_found = loop_inside;
    talk_hear(t, "one\r\ntwo\r\n");
    talk_hear(t, "ur\r\n");
    assert_trace("t.found \"one\"\nt.found \"two\"\nt.found \"three\"\nout\n"
                 "t.found \"four\"\n");
}

static int
loop_inside_collector(struct talk *t, const char *data, size_t len)
{
    (void)data;
    (void)len;
    if (t->collected == 1) {
        kit_write(t->peer, "three\r\nfour\r\n", 13);
        assert_int_equal(asyncore_loop(0.01, false, kit.map, 2), 0);
        kit_trace("out");
    }
    return 0;
}

static void
loop_inside_the_collector(void **state)
{
    (void)state;
    struct talk *t = open_lines("t");
    t->on_collect = loop_inside_collector;
    talk_hear(t, "one\r\ntwo\r\n");
    kit_pass();
    /* In whichever loop: each message once, in order, for itself. */
    assert_true(strstr(text_get(&kit.trace), "out\n") != NULL);
    assert_string_equal(text_get(&t->in), "onetwothreefour");
    assert_int_equal(t->found, 4);
    const char *at = text_get(&kit.trace);
    static const char *const found[] = {
        "t.found \"one\"\n", "t.found \"two\"\n", "t.found \"three\"\n",
        "t.found \"four\"\n"};
    for (size_t i = 0; i < COUNT(found); i++) {
        at = strstr(at, found[i]);
        if (at == NULL) {
            fail_msg("no %s in\n%s", found[i], text_get(&kit.trace));
        }
    }
    text_clear(&kit.trace);
}

static void
loop_inside_the_collector_of_held_bytes(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", TALK_COLLECT);
    asynchat_set_terminator(&t->chat, "\r\n\r\n", 4);
    talk_hear(t, "\r\n");
    t->on_collect = loop_inside_collector;
    talk_hear(t, "bcd\r\n\r\nX");
    kit_pass();
    assert_string_equal(text_get(&t->in), "\r\nbcdXthree\r\nfour");
    assert_int_equal(t->found, 1);
    text_clear(&kit.trace);
}

static int
feed_inside(struct talk *t)
{
    return t->found == 1 ? asynchat_feed(&t->chat, "x\r\ny", 4) : 0;
}

static void
feed_inside_found_comes_after_what_is_left(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    t->on_found = feed_inside;
    talk_hear(t, "one\r\ntwo\r\n");
    talk_hear(t, "z\r\n");
    assert_trace("t.found \"one\"\nt.found \"two\"\nt.found \"x\"\n"
                 "t.found \"yz\"\n");
}

static int
feed_deeper(struct talk *t)
{
    switch (t->found) {
    case 1:
        return asynchat_feed(&t->chat, "three\r\n", 7);
    case 2: /* inside of the feeding of "three" */
        return asynchat_feed(&t->chat, "four\r\n", 6);
    default:
        return 0;
    }
}

static void
fed_in_order_however_deep(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    t->on_found = feed_deeper;
    talk_hear(t, "one\r\ntwo\r\n");
    assert_trace("t.found \"one\"\nt.found \"two\"\nt.found \"three\"\n"
                 "t.found \"four\"\n");
}

static int
loop_in_second(struct talk *t)
{
    if (t->found == 1) {
        return ASYNCORE_EXIT_NOW;
    }
    if (t->found == 2) {
        kit_write(t->peer, "four\r\n", 6);
        assert_int_equal(asyncore_loop(0, false, kit.map, 2), 0);
    }
    return 0;
}

static void
received_in_order_after_an_exit(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    t->on_found = loop_in_second;
    kit_write(t->peer, "one\r\ntwo\r\n", 10);
    assert_int_equal(asyncore_loop(1, false, kit.map, 5), ASYNCORE_EXIT_NOW);
    talk_hear(t, "three\r\n");
    kit_pass();
    assert_trace("t.found \"one\"\nt.found \"two\"\nt.found \"three\"\n"
                 "t.found \"four\"\n");
}

static int
close_and_loop(struct talk *t)
{
    asyncore_close(T(t));
    assert_int_equal(asyncore_poll(0, kit.map), 0);
    assert_int_equal(t->destroyed, 0); /* we are in it */
    return 0;
}

static void
closed_then_looped_inside_a_feed_by_hand(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    t->on_found = close_and_loop;
    assert_int_equal(asynchat_feed(&t->chat, "one\r\ntwo\r\n", 10), 0);
    assert_trace("t.found \"one\"\n");
    kit_pass();
    assert_trace("t.destroy\n");
}

static int
close_all_inside(struct talk *t)
{
    assert_int_equal(asyncore_close_all(kit.map, true), 0);
    assert_int_equal(t->destroyed, 0);
    return 0;
}

static void
close_all_inside_found(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    t->on_found = close_all_inside;
    assert_int_equal(asynchat_feed(&t->chat, "one\r\ntwo\r\n", 10), 0);
    kit_pass();
    assert_trace("t.found \"one\"\nt.destroy\n");
}

/* ---- errors ---- */

static int
fail_in_found(struct talk *t)
{
    return t->found == 1 ? -EPROTO : 0;
}

static int
keep_it(struct talk *t)
{
    (void)t;
    return 0;
}

static void
error_in_found_closes(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    t->on_found = fail_in_found;
    talk_hear(t, "one\r\ntwo\r\n");
    assert_trace("t.found \"one\"\nt.error EPROTO found_terminator\n"
                 "t.close EPROTO\nt.destroy\n");
    assert_string_equal(t->failed.handler, "found_terminator");
    assert_logged("EPROTO");
}

static void
error_in_found_that_is_survived(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    t->on_found = fail_in_found;
    t->on_error = keep_it;
    talk_hear(t, "one\r\ntwo\r\n");
    assert_trace("t.found \"one\"\nt.error EPROTO found_terminator\n"
                 "t.found \"two\"\n");
}

static int
fail_in_collector(struct talk *t, const char *data, size_t len)
{
    (void)data;
    (void)len;
    return t->collected == 1 ? -EILSEQ : 0;
}

static void
error_in_the_collector_that_is_survived(void **state)
{
    (void)state;
    struct talk *t = open_lines("t");
    t->on_collect = fail_in_collector;
    t->on_error = keep_it;
    talk_hear(t, "one\r\ntwo\r\n");
    /* The same bytes do not come again. */
    assert_trace("t.collect \"one\"\n"
                 "t.error EILSEQ collect_incoming_data\nt.found \"one\"\n"
                 "t.collect \"two\"\nt.found \"two\"\n");
}

static void
no_found_terminator_is_an_error(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    t->ops.found_terminator = NULL;
    talk_hear(t, "one\r\n");
    assert_trace("t.error ENOSYS found_terminator\nt.close ENOSYS\n"
                 "t.destroy\n");
}

static void
eagain_out_of_handlers_is_nothing(void **state)
{
    (void)state;
    struct talk *t = open_lines("t");
    t->on_found = fail_in_found;
    talk_hear(t, "");
    struct talk *u = open_plain("u");
    u->value = 0;
    talk_hear(u, "x\r\ny\r\n");
    assert_trace("u.found \"x\"\nu.found \"y\"\n");
}

static void
eof_with_a_held_part_delivers_no_message(void **state)
{
    (void)state;
    struct talk *t = open_lines("t");
    kit_write(t->peer, "one\r\ntwo\r", 9);
    talk_close_peer(t);
    RUN_UNTIL(t->destroyed);
    assert_trace("t.collect \"one\"\nt.found \"one\"\nt.collect \"two\"\n"
                 "t.close\nt.destroy\n");
}

/* ---- messages that are too long ---- */

static void
too_long_is_an_error(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    assert_int_equal(asynchat_set_max_message(&t->chat, 4), 0);
    talk_hear(t, "1234\r\n");
    assert_trace("t.found \"1234\"\n");
    talk_hear(t, "12345\r\nx\r\n");
    assert_trace("t.error EMSGSIZE handle_too_long\nt.close EMSGSIZE\n"
                 "t.destroy\n");
}

static void
too_long_can_be_skipped(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", TALK_TOO_LONG);
    asynchat_set_terminator(&t->chat, CR, 2);
    asynchat_set_max_message(&t->chat, 4);
    talk_hear(t, "a\r\n123");
    talk_hear(t, "4567");
    assert_trace("t.found \"a\"\nt.too_long\n");
    talk_hear(t, "89");
    talk_hear(t, "0\r");
    talk_hear(t, "\rmore\r");
    talk_hear(t, "\nnext\r\n\r\n");
    assert_trace("t.found \"next\"\nt.found \"\"\n");
    talk_hear(t, "12345\r\nb\r\n");
    assert_trace("t.too_long\nt.found \"b\"\n");
    asynchat_set_max_message(&t->chat, 0);
    talk_hear(t, "123456789\r\n");
    assert_trace("t.found \"123456789\"\n");
}

static int
set_max_to_three(struct talk *t)
{
    return asynchat_set_max_message(&t->chat, 3);
}

static void
limit_set_in_found_holds_for_what_has_been_received(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", TALK_TOO_LONG);
    asynchat_set_terminator(&t->chat, CR, 2);
    t->on_found = set_max_to_three;
    talk_hear(t, "1234\r\n123\r\n1234\r\n12\r\n");
    assert_trace("t.found \"1234\"\nt.found \"123\"\nt.too_long\n"
                 "t.found \"12\"\n");
}

static void
too_long_however_cut(void **state)
{
    (void)state;
    static const char stream[] =
        "ok\r\n\r\r\r\r\r\r\n1234\r\n12345\r\n\r\nx\r\n";
    size_t len = strlen(stream);
    for (size_t piece = 1; piece <= len; piece++) {
        struct talk *t = talk_open("t", TALK_TOO_LONG);
        asynchat_set_terminator(&t->chat, CR, 2);
        asynchat_set_max_message(&t->chat, 4);
        for (size_t at = 0; at < len; at += piece) {
            size_t n = piece < len - at ? piece : len - at;
            assert_int_equal(asynchat_feed(&t->chat, stream + at, n), 0);
        }
        assert_trace("t.found \"ok\"\nt.too_long\nt.found \"1234\"\n"
                     "t.too_long\nt.found \"\"\nt.found \"x\"\n");
        asyncore_close(T(t));
        talk_close_peer(t);
        kit_pass();
        assert_trace("t.destroy\n");
    }
}

static void
too_long_survived_by_handle_error_is_skipped(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    asynchat_set_max_message(&t->chat, 4);
    t->on_error = keep_it;
    talk_hear(t, "12345678\r\nx\r\n");
    assert_trace("t.error EMSGSIZE handle_too_long\nt.found \"x\"\n");
}

static void
counted_message_too_long(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", TALK_TOO_LONG);
    asynchat_set_max_message(&t->chat, 4);
    asynchat_set_terminator_count(&t->chat, 4);
    talk_hear(t, "1234");
    assert_trace("t.found \"1234\"\n");
    /* In one read, in two, and with more behind it. */
    asynchat_set_terminator_count(&t->chat, 6);
    talk_hear(t, "123456");
    assert_trace("t.too_long\n");
    asynchat_set_terminator_count(&t->chat, 6);
    talk_hear(t, "123");
    talk_hear(t, "456");
    assert_trace("t.too_long\n");
}

static void
no_message_is_too_long_without_a_terminator(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", TALK_COLLECT);
    asynchat_set_max_message(&t->chat, 4);
    talk_hear(t, "123456789");
    assert_trace("t.collect \"123456789\"\n");
    /* Taken: the next message begins, and may be as long as any. */
    assert_int_equal(asynchat_get_data(&t->chat).len, 9);
    asynchat_set_terminator(&t->chat, CR, 2);
    talk_hear(t, "1234\r\n");
    assert_trace("t.collect \"1234\"\nt.found \"1234\"\n");
}

static int
close_in_too_long(struct talk *t)
{
    return asyncore_close(T(t));
}

static void
closing_in_too_long(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", TALK_TOO_LONG);
    asynchat_set_terminator(&t->chat, CR, 2);
    asynchat_set_max_message(&t->chat, 4);
    t->on_too_long = close_in_too_long;
    talk_hear(t, "12345\r\nx\r\n");
    assert_trace("t.too_long\nt.destroy\n");
}

static int
too_long_fails(struct talk *t)
{
    (void)t;
    return -EFBIG;
}

static void
error_out_of_too_long(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", TALK_TOO_LONG);
    asynchat_set_terminator(&t->chat, CR, 2);
    asynchat_set_max_message(&t->chat, 4);
    t->on_too_long = too_long_fails;
    talk_hear(t, "12345\r\nx\r\n");
    assert_trace("t.too_long\nt.error EFBIG handle_too_long\nt.close EFBIG\n"
                 "t.destroy\n");
}

/* ---- identity ---- */

static void
from_knows_its_own(void **state)
{
    (void)state;
    struct talk *t = talk_open("t", 0);
    assert_ptr_equal(asynchat_from(T(t)), &t->chat);
    assert_null(asynchat_from(NULL));
    int peer;
    struct chan *c = kit_pair_chan("c", 0, AF_UNIX, &peer);
    assert_null(asynchat_from(D(c)));
    assert_null(asyncore_dispatcher_with_send_from(T(t)));
    close(peer);
}

static void
new_is_released_by_the_library(void **state)
{
    (void)state;
    int fd[2];
    struct asynchat *chat = NULL;
    kit_pair(AF_UNIX, fd);
    assert_int_equal(asynchat_new(NULL, fd[0], kit.map, &chat), 0);
    assert_non_null(chat);
    assert_int_equal(chat->ac_in_buffer_size, 65536);
    assert_int_equal(chat->ac_out_buffer_size, 65536);
    assert_int_equal(asynchat_set_terminator(chat, "a long delimiter", 16), 0);
    kit_write(fd[1], "x a long deli", 13);
    kit_pass();
    close(fd[1]);
    RUN_UNTIL(asyncore_map_count(kit.map) == 0);
    assert_int_equal(asynchat_new(NULL, -1, kit.map, &chat), 0);
    asyncore_close(&chat->base);
    kit_pass();
}

static void
used_before_it_has_a_socket(void **state)
{
    (void)state;
    struct talk *t = talk_new("t", 0);
    assert_int_equal(talk_try(t, -1), 0);
    assert_int_equal(asynchat_set_terminator(&t->chat, "a long delimiter", 16),
                     0);
    assert_int_equal(asynchat_set_terminator_count(&t->chat, 3), 0);
    assert_int_equal(asynchat_set_terminator(&t->chat, "a long delimiter", 16),
                     0);
    assert_int_equal(asynchat_feed(&t->chat, "x", 1), -EBADF);
    assert_int_equal(asynchat_push(&t->chat, "x", 1), -EBADF);
    assert_int_equal(asynchat_collect_incoming_data(&t->chat, "abc", 3), 0);
    assert_int_equal(asynchat_get_data(&t->chat).len, 3);
    assert_int_equal(asynchat_discard_buffers(&t->chat), 0);
    assert_int_equal(asyncore_close(T(t)), 0);
    kit_pass();
    assert_trace("t.destroy\n");
}

static int
reopen(struct talk *t)
{
    asyncore_close(T(t));
    int fd[2];
    if (t->closed > 1) {
        return 0;
    }
    kit_pair(AF_UNIX, fd);
    talk_close_peer(t);
    t->peer = fd[1];
    return asyncore_set_socket(T(t), fd[0]);
}

static void
second_life_begins_afresh(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    t->on_close = reopen;
    talk_hear(t, "old\r\npart of\r");
    assert_trace("t.found \"old\"\n");
    talk_close_peer(t);
    RUN_UNTIL(t->peer >= 0);
    assert_trace("t.close\n");
    talk_hear(t, "\nnew\r\n");
    assert_trace("t.found \"\\nnew\"\n");
}

static int
reopen_in_found(struct talk *t)
{
    return t->found == 1 ? reopen(t) : 0;
}

static void
second_life_begun_in_found_does_not_hear_the_first(void **state)
{
    (void)state;
    struct talk *t = open_plain("t");
    t->on_found = reopen_in_found;
    talk_hear(t, "one\r\ntwo\r\n");
    assert_trace("t.found \"one\"\n");
    talk_hear(t, "three\r\n");
    assert_trace("t.found \"three\"\n");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TALK_TEST(without_a_terminator_all_is_collected),
        TALK_TEST(lines_of_one_read),
        TALK_TEST(delimiter_split_over_reads),
        TALK_TEST(held_prefix_that_was_none),
        TALK_TEST(delimiters_with_repeating_prefixes),
        TALK_TEST(delimiter_of_64_kib),
        TALK_TEST(delimiter_may_be_any_bytes),
        TALK_TEST(count_is_found_once),
        TALK_TEST(count_of_nothing_is_no_terminator),
        TALK_TEST(count_of_size_max),
        TALK_TEST(line_count_line_in_one_read),
        TALK_TEST(line_count_line_however_cut),
        TALK_TEST(short_long_none_and_back),
        TALK_TEST(set_while_a_part_of_the_old_one_is_held),
        TALK_TEST(long_one_set_while_a_part_is_held),
        TALK_TEST(set_again_while_held_is_as_new),
        TALK_TEST(set_in_the_collector),
        TALK_TEST(long_reads_are_cut_alike_by_each_way),
        TALK_TEST(message_of_one_read_is_a_view),
        TALK_TEST(view_without_a_collector_is_where_it_was_received),
        TALK_TEST(message_of_several_reads_is_one_piece),
        TALK_TEST(big_message_in_small_pieces),
        TALK_TEST(idle_chat_holds_no_memory),
        TALK_TEST(collecting_something_else_is_fine),
        TALK_TEST(not_asked_for_it_goes_on),
        TALK_TEST(in_buffer_size_bounds_a_read),
        TALK_TEST(closing_in_found_ends_it),
        TALK_TEST(closing_in_the_collector_ends_it),
        TALK_TEST(message_outlives_the_closing),
        TALK_TEST(discarding_in_found_forgets_the_rest),
        TALK_TEST(discarding_forgets_what_is_held),
        TALK_TEST(discarding_in_the_collector_of_held_bytes),
        TALK_TEST(detaching_hands_over_unread_input),
        TALK_TEST(detaching_after_input_that_was_put_by),
        TALK_TEST(detaching_in_the_collector_of_held_bytes),
        TALK_TEST(unread_is_what_nobody_has_seen),
        TALK_TEST(set_aside_in_found_goes_on_with_its_input),
        TALK_TEST(exit_now_loses_no_input),
        TALK_TEST(exit_now_then_no_memory_is_the_end),
        TALK_TEST(feed_without_memory_takes_nothing),
        TALK_TEST(exit_now_then_closed),
        TALK_TEST(exit_now_in_the_collector),
        TALK_TEST(exit_now_out_of_a_feed_by_hand),
        TALK_TEST(exit_now_then_moved_to_another_map),
        TALK_TEST(loop_inside_found),
        TALK_TEST(loop_inside_the_collector),
        TALK_TEST(loop_inside_the_collector_of_held_bytes),
        TALK_TEST(feed_inside_found_comes_after_what_is_left),
        TALK_TEST(fed_in_order_however_deep),
        TALK_TEST(received_in_order_after_an_exit),
        TALK_TEST(closed_then_looped_inside_a_feed_by_hand),
        TALK_TEST(close_all_inside_found),
        TALK_TEST(error_in_found_closes),
        TALK_TEST(error_in_found_that_is_survived),
        TALK_TEST(error_in_the_collector_that_is_survived),
        TALK_TEST(no_found_terminator_is_an_error),
        TALK_TEST(eagain_out_of_handlers_is_nothing),
        TALK_TEST(eof_with_a_held_part_delivers_no_message),
        TALK_TEST(too_long_is_an_error),
        TALK_TEST(too_long_can_be_skipped),
        TALK_TEST(limit_set_in_found_holds_for_what_has_been_received),
        TALK_TEST(too_long_however_cut),
        TALK_TEST(too_long_survived_by_handle_error_is_skipped),
        TALK_TEST(counted_message_too_long),
        TALK_TEST(no_message_is_too_long_without_a_terminator),
        TALK_TEST(closing_in_too_long),
        TALK_TEST(error_out_of_too_long),
        TALK_TEST(from_knows_its_own),
        TALK_TEST(new_is_released_by_the_library),
        TALK_TEST(used_before_it_has_a_socket),
        TALK_TEST(second_life_begins_afresh),
        TALK_TEST(second_life_begun_in_found_does_not_hear_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
