/* SPDX-License-Identifier: MIT */
/* test_outq_sources.c - the queue's other pieces: somebody else's bytes and
 * sources; vectors of copies; against a flat array and a list. */
#include "kit.h"

static uint32_t seed;

static uint32_t
dice(uint32_t sides)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)seed * sides) >> 32);
}

/* Where queues take pieces of copies from; NULL: from the allocator alone. */
static struct asyncore__spares *spares;

/* Somebody's bytes, and what became of them. */
struct lent {
    char *data;
    size_t len;
    unsigned released;
};

static void
take_back(void *data, size_t len, void *arg)
{
    struct lent *lent = arg;
    assert_ptr_equal(data, lent->data);
    assert_int_equal(len, lent->len);
    lent->released++;
    assert_int_equal(lent->released, 1);
    memset(lent->data, 0xee, lent->len); /* they may change now */
}

static void
lend(struct lent *lent, size_t from, size_t len)
{
    *lent = (struct lent){.data = malloc(len + 1), .len = len};
    assert_non_null(lent->data);
    kit_bytes(lent->data, from, len);
}

static const struct asyncore__source_ops no_source = {NULL};

static void
source_released(void *data, size_t len, void *arg)
{
    assert_null(data);
    assert_int_equal(len, 0);
    ++*(unsigned *)arg;
}

static void
assert_front(const struct asyncore__outq *q, size_t from, size_t len)
{
    static struct iovec iov[5000];
    int n = asyncore__outq_peek(q, iov, (int)COUNT(iov));
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        const char *bytes = iov[i].iov_base;
        assert_true(iov[i].iov_len > 0);
        for (size_t k = 0; k < iov[i].iov_len; k++) {
            assert_int_equal(bytes[k], kit_byte(from + at++));
        }
    }
    assert_int_equal(at, len);
}

/* ---- borrowed ---- */

static void
borrowed_bytes_are_not_copied(void **state)
{
    (void)state;
    struct asyncore__outq q = {0};
    struct lent lent;
    struct iovec iov[2];
    lend(&lent, 0, 5000);
    assert_int_equal(
        asyncore__outq_borrow(&q, lent.data, 5000, take_back, &lent), 0);
    assert_int_equal(q.len, 5000);
    assert_int_equal(asyncore__outq_peek(&q, iov, 2), 1);
    assert_ptr_equal(iov[0].iov_base, lent.data);
    asyncore__outq_consume(&q, NULL, 4999);
    assert_int_equal(lent.released, 0);
    assert_int_equal(asyncore__outq_peek(&q, iov, 2), 1);
    assert_ptr_equal(iov[0].iov_base, lent.data + 4999);
    asyncore__outq_consume(&q, NULL, 1);
    assert_int_equal(lent.released, 1);
    assert_true(asyncore__outq_empty(&q));
    assert_int_equal(q.len, 0);
    free(lent.data);
}

static void
borrowed_for_ever_need_no_release(void **state)
{
    (void)state;
    struct asyncore__outq q = {0};
    static char bytes[3] = "abc";
    assert_int_equal(asyncore__outq_borrow(&q, bytes, 3, NULL, NULL), 0);
    asyncore__outq_consume(&q, NULL, 3);
    assert_int_equal(asyncore__outq_borrow(&q, bytes, 3, NULL, NULL), 0);
    asyncore__outq_clear(&q);
    assert_true(asyncore__outq_empty(&q));
}

static void
nothing_borrowed_is_given_back_in_turn(void **state)
{
    (void)state;
    struct asyncore__outq q = {0};
    struct lent none;
    lend(&none, 0, 0);
    assert_int_equal(asyncore__outq_borrow(&q, none.data, 0, take_back, &none),
                     0);
    struct iovec iov[1];
    assert_int_equal(asyncore__outq_peek(&q, iov, 1), 0);
    assert_int_equal(none.released, 0);
    asyncore__outq_consume(&q, NULL, 0);
    assert_int_equal(none.released, 1);
    assert_true(asyncore__outq_empty(&q));
    free(none.data);
}

static void
copies_do_not_run_into_borrowed_bytes(void **state)
{
    (void)state;
    struct asyncore__outq q = {0};
    struct lent lent;
    char first[10], last[10];
    kit_bytes(first, 0, 10);
    kit_bytes(last, 30, 10);
    lend(&lent, 10, 20);
    assert_int_equal(asyncore__outq_append(&q, NULL, first, 10), 0);
    assert_int_equal(
        asyncore__outq_borrow(&q, lent.data, 20, take_back, &lent), 0);
    assert_int_equal(asyncore__outq_append(&q, NULL, last, 10), 0);
    assert_front(&q, 0, 40);
    asyncore__outq_consume(&q, NULL, 15);
    assert_front(&q, 15, 25);
    asyncore__outq_consume(&q, NULL, 20);
    assert_int_equal(lent.released, 1);
    assert_front(&q, 35, 5);
    asyncore__outq_clear(&q);
    free(lent.data);
}

static void
without_memory_nothing_is_borrowed(void **state)
{
    (void)state;
    struct asyncore__outq q = {0};
    struct lent lent;
    unsigned released = 0;
    lend(&lent, 0, 10);
    kit_fail_alloc(1, 2);
    assert_int_equal(
        asyncore__outq_borrow(&q, lent.data, 10, take_back, &lent), -ENOMEM);
    assert_int_equal(
        asyncore__outq_add_source(&q, &no_source, source_released, &released),
        -ENOMEM);
    assert_int_equal(lent.released, 0);
    assert_int_equal(released, 0);
    assert_true(asyncore__outq_empty(&q));
    assert_int_equal(q.len, 0);
    free(lent.data);
}

/* ---- re-entry ---- */

static struct asyncore__outq *the_queue;
static unsigned clears;

static void
clear_and_append(void *data, size_t len, void *arg)
{
    char bytes[7];
    (void)data;
    (void)len;
    (void)arg;
    if (clears++ == 0) {
        asyncore__outq_clear(the_queue);
        kit_bytes(bytes, 100, 7);
        assert_int_equal(asyncore__outq_append(the_queue, NULL, bytes, 7), 0);
    }
}

static void
release_that_clears_and_appends(void **state)
{
    (void)state;
    struct asyncore__outq q = {0};
    static char bytes[20];
    the_queue = &q;
    clears = 0;
    /* Both are sent at once; what the first release appends is not. */
    assert_int_equal(
        asyncore__outq_borrow(&q, bytes, 10, clear_and_append, NULL), 0);
    assert_int_equal(
        asyncore__outq_borrow(&q, bytes + 10, 10, clear_and_append, NULL), 0);
    asyncore__outq_consume(&q, NULL, 20);
    assert_int_equal(clears, 2);
    assert_int_equal(q.len, 7);
    assert_front(&q, 100, 7);
    asyncore__outq_clear(&q);
}

static void
append_more(void *data, size_t len, void *arg)
{
    char bytes[5];
    (void)data;
    (void)len;
    kit_bytes(bytes, *(size_t *)arg, 5);
    assert_int_equal(asyncore__outq_append(the_queue, NULL, bytes, 5), 0);
}

static void
release_that_appends(void **state)
{
    (void)state;
    struct asyncore__outq q = {0};
    char bytes[20];
    size_t next = 20;
    kit_bytes(bytes, 0, 20);
    the_queue = &q;
    assert_int_equal(asyncore__outq_borrow(&q, bytes, 10, append_more, &next),
                     0);
    assert_int_equal(asyncore__outq_append(&q, NULL, bytes + 10, 10), 0);
    asyncore__outq_consume(&q, NULL, 13);
    assert_int_equal(q.len, 12);
    assert_front(&q, 13, 12);
    asyncore__outq_clear(&q);
    /* The last one, that leaves an empty queue behind. */
    next = 10;
    assert_int_equal(asyncore__outq_borrow(&q, bytes, 10, append_more, &next),
                     0);
    asyncore__outq_consume(&q, NULL, 10);
    assert_front(&q, 10, 5);
    asyncore__outq_clear(&q);
    /* … and out of a clearing: it stays. */
    assert_int_equal(asyncore__outq_borrow(&q, bytes, 10, append_more, &next),
                     0);
    asyncore__outq_clear(&q);
    assert_int_equal(q.len, 5);
    assert_front(&q, 10, 5);
    asyncore__outq_clear(&q);
}

/* ---- sources ---- */

static void
source_hides_what_is_behind_it(void **state)
{
    (void)state;
    struct asyncore__outq q = {0};
    struct iovec iov[4];
    unsigned released = 0;
    char bytes[30];
    kit_bytes(bytes, 0, 30);
    assert_int_equal(asyncore__outq_append(&q, NULL, bytes, 10), 0);
    assert_int_equal(
        asyncore__outq_add_source(&q, &no_source, source_released, &released),
        0);
    assert_int_equal(asyncore__outq_append(&q, NULL, bytes + 20, 10), 0);
    /* Its bytes are not counted. */
    assert_int_equal(q.len, 20);
    assert_front(&q, 0, 10);
    /* Once it has given some, they go along. */
    q.head->next->bytes = bytes + 10;
    q.head->next->end = 10;
    assert_front(&q, 0, 20);
    assert_int_equal(asyncore__outq_peek(&q, iov, 1), 1);
    asyncore__outq_consume(&q, NULL, 15);
    assert_int_equal(q.len, 10);
    assert_front(&q, 15, 5);
    /* It stays when they are gone: it may have more. */
    asyncore__outq_consume(&q, NULL, 5);
    assert_int_equal(released, 0);
    assert_int_equal(asyncore__outq_peek(&q, iov, 4), 0);
    assert_int_equal(q.head->kind, ASYNCORE__SOURCE);
    asyncore__outq_pop(&q, q.head);
    assert_int_equal(released, 1);
    assert_front(&q, 20, 10);
    asyncore__outq_clear(&q);
}

static void
what_is_put_before_a_source_that_is_asked_stays(void **state)
{
    (void)state;
    for (size_t behind = 0; behind <= 10; behind += 10) {
        struct asyncore__outq q = {0};
        unsigned released = 0;
        char bytes[30];
        kit_bytes(bytes, 0, 30);
        asyncore__outq_add_source(&q, &no_source, source_released, &released);
        asyncore__outq_append(&q, NULL, bytes + 20, behind);
        struct asyncore__piece *piece = asyncore__outq_hold(&q);
        asyncore__outq_prepend(&q, NULL, bytes, 20);
        assert_true(asyncore__outq_unhold(piece));
        asyncore__outq_pop(&q, piece);
        assert_int_equal(released, 1);
        assert_int_equal(q.len, 20 + behind);
        assert_front(&q, 0, 20 + behind);
        asyncore__outq_append(&q, NULL, bytes, 5); /* it has an end */
        asyncore__outq_clear(&q);
    }
}

static void
clearing_releases_all_once(void **state)
{
    (void)state;
    struct asyncore__outq q = {0};
    struct lent lent[10];
    unsigned released[10] = {0};
    for (size_t i = 0; i < 10; i++) {
        lend(&lent[i], 0, 100 * i);
        assert_int_equal(asyncore__outq_borrow(&q, lent[i].data, 100 * i,
                                               take_back, &lent[i]),
                         0);
        assert_int_equal(asyncore__outq_add_source(
                             &q, &no_source, source_released, &released[i]),
                         0);
    }
    assert_int_equal(asyncore__outq_add_source(&q, &no_source, NULL, NULL), 0);
    asyncore__outq_clear(&q);
    asyncore__outq_clear(&q);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(lent[i].released, 1);
        assert_int_equal(released[i], 1);
        free(lent[i].data);
    }
    assert_int_equal(q.len, 0);
    assert_int_equal(kit.alloc.live, 0);
}

/* ---- vectors ---- */

/* Cut len bytes of the stream into a vector of copies, each of its own size,
 * and append them. */
static int
append_vector(struct asyncore__outq *q, size_t from, size_t len)
{
    struct iovec iov[40];
    int n = 0;
    size_t left = len;
    while (left > 0 && n < (int)COUNT(iov) - 2) {
        size_t most =
            n == (int)COUNT(iov) - 3 ? left : dice((uint32_t)left / 3 + 2);
        size_t here = most < left ? most : left;
        iov[n].iov_base = here > 0 || dice(2) ? malloc(here + 1) : NULL;
        iov[n].iov_len = here;
        if (here > 0) {
            kit_bytes(iov[n].iov_base, from + len - left, here);
        }
        left -= here;
        n++;
    }
    iov[n++] = (struct iovec){NULL, 0};
    int err = asyncore__outq_appendv(q, spares, iov, n, len);
    for (int i = 0; i < n; i++) {
        free(iov[i].iov_base);
    }
    return err;
}

static void
vectors_are_copied_in_order(void **state)
{
    (void)state;
    for (seed = 1; seed < 200; seed++) {
        uint32_t was = seed;
        struct asyncore__outq q = {0};
        size_t end = 0;
        for (int i = 0; i < 20; i++) {
            size_t len = dice(3000);
            if (dice(5) == 0) {
                kit_fail_alloc(1, 1);
            }
            end += append_vector(&q, end, len) == 0 ? len : 0;
            kit_heal();
            assert_int_equal(q.len, end);
        }
        assert_front(&q, 0, end);
        asyncore__outq_clear(&q);
        seed = was;
    }
}

static void
vector_takes_one_allocation_at_most(void **state)
{
    (void)state;
    struct asyncore__outq q = {0};
    seed = 11;
    unsigned long before = kit.alloc.count;
    assert_int_equal(append_vector(&q, 0, 100000), 0);
    assert_true(kit.alloc.count <= before + 1);
    assert_int_equal(append_vector(&q, 100000, 50), 0);
    assert_true(kit.alloc.count <= before + 2);
    asyncore__outq_clear(&q);
}

/* ---- all together ---- */

/* The model: pieces in order, each so many bytes of the one stream, or a
 * source that has bytes to give. */
struct model {
    enum asyncore__piece_kind kind;
    size_t len;        /* left of it; of a source: what it still has */
    size_t given;      /* … of these: already in the queue */
    struct lent lent;  /* if borrowed */
    unsigned released; /* if a source */
    char *bytes;       /* that it has given */
    struct model *next;
};

struct both {
    struct asyncore__outq q;
    struct model *head, **end, *gone;
    size_t from, to; /* of the stream: what is in it */
};

static struct model *
model_add(struct both *b, enum asyncore__piece_kind kind, size_t len)
{
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->kind = kind;
    m->len = len;
    *b->end = m;
    b->end = &m->next;
    b->to += len;
    return m;
}

static void
model_drop_first(struct both *b)
{
    struct model *m = b->head;
    b->head = m->next;
    if (b->head == NULL) {
        b->end = &b->head;
    }
    m->next = b->gone;
    b->gone = m;
}

static bool
empty_of_bytes(const struct model *m)
{
    return m->kind == ASYNCORE__SOURCE ? m->given == 0 : m->len == 0;
}

/* What can be seen from the front; what is counted. */
static size_t
model_front(const struct both *b)
{
    size_t len = 0;
    for (const struct model *m = b->head; m != NULL; m = m->next) {
        len += m->kind == ASYNCORE__SOURCE ? m->given : m->len;
        if (m->kind == ASYNCORE__SOURCE) {
            break;
        }
    }
    return len;
}

static size_t
model_counted(const struct both *b)
{
    size_t len = 0;
    for (const struct model *m = b->head; m != NULL; m = m->next) {
        len += m->kind == ASYNCORE__SOURCE ? 0 : m->len;
    }
    return len;
}

static void
model_consume(struct both *b, size_t n)
{
    b->from += n;
    while (b->head != NULL) {
        struct model *m = b->head;
        size_t here = m->kind == ASYNCORE__SOURCE ? m->given : m->len;
        size_t gone = n < here ? n : here;
        m->len -= gone;
        n -= gone;
        if (m->kind == ASYNCORE__SOURCE) {
            m->given -= gone;
            break;
        }
        if (m->len > 0) {
            break;
        }
        model_drop_first(b);
    }
    assert_int_equal(n, 0);
}

/* Every release once for those that are gone, never for those that are not. */
static void
assert_releases(const struct both *b)
{
    for (const struct model *m = b->gone; m != NULL; m = m->next) {
        if (m->kind == ASYNCORE__BORROWED) {
            assert_int_equal(m->lent.released, 1);
        }
        else if (m->kind == ASYNCORE__SOURCE) {
            assert_int_equal(m->released, 1);
        }
    }
    for (const struct model *m = b->head; m != NULL; m = m->next) {
        assert_int_equal(m->released, 0);
        assert_int_equal(m->lent.released, 0);
    }
}

static void
one_step(struct both *b)
{
    bool fails = dice(12) == 0;
    size_t len = dice(6) == 0 ? dice(9000) : dice(200);
    struct model *m;
    int err;
    if (fails) {
        kit_fail_alloc(1, 1);
    }
    switch (dice(12)) {
    case 0:
    case 1:
    case 2: /* a copy: it may go into the piece before it */
        err = append_vector(&b->q, b->to, len);
        if (err == 0) {
            model_add(b, ASYNCORE__COPY, len);
        }
        break;
    case 3:
    case 4: /* somebody's */
        m = model_add(b, ASYNCORE__BORROWED, len);
        lend(&m->lent, b->to - len, len);
        err = asyncore__outq_borrow(&b->q, m->lent.data, len, take_back,
                                    &m->lent);
        if (err < 0) { /* it was not taken */
            m->len = 0;
            m->kind = ASYNCORE__COPY;
            b->to -= len;
            free(m->lent.data);
            m->lent.data = NULL;
        }
        break;
    case 5: /* a source */
        m = model_add(b, ASYNCORE__SOURCE, len);
        err = asyncore__outq_add_source(&b->q, &no_source, source_released,
                                        &m->released);
        if (err < 0) {
            m->len = 0;
            m->kind = ASYNCORE__COPY;
            b->to -= len;
        }
        break;
    case 6:
    case 7:
    case 8: /* send some */
        len = dice((uint32_t)model_front(b) + 1);
        asyncore__outq_consume(&b->q, spares, len);
        model_consume(b, len);
        err = 0;
        break;
    case 9:
    case 10: /* ask the source in front */
        err = 0;
        while (b->head != NULL && b->head->kind == ASYNCORE__COPY &&
               b->head->len == 0) {
            model_drop_first(b);
        }
        m = b->head;
        if (m == NULL || m->kind != ASYNCORE__SOURCE || m->given > 0) {
            break;
        }
        asyncore__outq_consume(&b->q, spares,
                               0); /* whoever is empty before it */
        assert_int_equal(b->q.head->kind, ASYNCORE__SOURCE);
        if (m->len == 0) {
            asyncore__outq_pop(&b->q, b->q.head);
            model_drop_first(b);
            break;
        }
        m->given = 1 + dice((uint32_t)m->len);
        free(m->bytes);
        m->bytes = malloc(m->given);
        assert_non_null(m->bytes);
        kit_bytes(m->bytes, b->from, m->given);
        b->q.head->bytes = m->bytes;
        b->q.head->start = 0;
        b->q.head->end = m->given;
        break;
    default:
        err = 0;
        if (dice(25) == 0) {
            asyncore__outq_clear(&b->q);
            while (b->head != NULL) {
                model_drop_first(b);
            }
            b->from = b->to;
        }
        break;
    }
    kit_heal();
    assert_true(err == 0 || (fails && err == -ENOMEM));
}

static void
random_operations_agree_with_a_list(void **state)
{
    (void)state;
    for (seed = 3; seed < 80; seed++) {
        uint32_t was = seed;
        struct both b = {.end = NULL};
        struct asyncore__spares some = {0};
        spares = seed % 3 > 0 ? &some : NULL;
        b.end = &b.head;
        for (int step = 0; step < 600; step++) {
            one_step(&b);
            assert_int_equal(b.q.len, model_counted(&b));
            assert_front(&b.q, b.from, model_front(&b));
            /* Pieces without bytes may be let go of late, never early. */
            while (b.head != NULL && b.head->kind == ASYNCORE__COPY &&
                   empty_of_bytes(b.head)) {
                model_drop_first(&b);
            }
            if (step % 32 == 0) {
                assert_releases(&b);
            }
        }
        asyncore__outq_clear(&b.q);
        while (b.head != NULL) {
            model_drop_first(&b);
        }
        assert_releases(&b);
        assert_int_equal(kit.alloc.live, some.n);
        asyncore__spares_free(&some);
        assert_int_equal(kit.alloc.live, 0);
        spares = NULL;
        while (b.gone != NULL) {
            struct model *m = b.gone;
            b.gone = m->next;
            free(m->lent.data);
            free(m->bytes);
            free(m);
        }
        seed = was;
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_BARE_TEST(borrowed_bytes_are_not_copied),
        KIT_BARE_TEST(borrowed_for_ever_need_no_release),
        KIT_BARE_TEST(nothing_borrowed_is_given_back_in_turn),
        KIT_BARE_TEST(copies_do_not_run_into_borrowed_bytes),
        KIT_BARE_TEST(without_memory_nothing_is_borrowed),
        KIT_BARE_TEST(release_that_clears_and_appends),
        KIT_BARE_TEST(release_that_appends),
        KIT_BARE_TEST(source_hides_what_is_behind_it),
        KIT_BARE_TEST(what_is_put_before_a_source_that_is_asked_stays),
        KIT_BARE_TEST(clearing_releases_all_once),
        KIT_BARE_TEST(vectors_are_copied_in_order),
        KIT_BARE_TEST(vector_takes_one_allocation_at_most),
        KIT_BARE_TEST(random_operations_agree_with_a_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
