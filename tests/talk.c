/* SPDX-License-Identifier: MIT */
/* talk.c - a recorded chat; see talk.h. */
#include "talk.h"

struct talk_files talk_files;
static struct talk *talks;

struct talk *
talk_of(struct asynchat *chat)
{
    return asyncore_container_of(chat, struct talk, chat);
}

static struct talk *
talk_of_base(struct asyncore_dispatcher *d)
{
    return talk_of(asyncore_container_of(d, struct asynchat, base));
}

/* ---- the trace ---- */

static void
show(struct text *to, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)data[i];
        char code[8];
        int n = c == '\r'   ? snprintf(code, sizeof code, "\\r")
                : c == '\n' ? snprintf(code, sizeof code, "\\n")
                : c < ' ' || c >= 0x7f
                    ? snprintf(code, sizeof code, "\\x%02x", c)
                    : snprintf(code, sizeof code, "%c", c);
        text_append(to, code, (size_t)n);
    }
}

static void
trace_bytes(struct talk *t, const char *what, const char *data, size_t len)
{
    struct text line = {0};
    if (t->quiet) {
        return;
    }
    text_append(&line, t->name, strlen(t->name));
    text_append(&line, what, strlen(what));
    text_append(&line, " \"", 2);
    show(&line, data, len);
    text_append(&line, "\"\n", 2);
    text_append(&kit.trace, line.at, line.len);
    text_clear(&line);
}

/* ---- handlers ---- */

static int
on_collect(struct asynchat *chat, const void *data, size_t len)
{
    struct talk *t = talk_of(chat);
    assert_true(len > 0);
    assert_true(t->destroyed == 0 && T(t)->fd >= 0);
    t->collected++;
    trace_bytes(t, ".collect", data, len);
    text_append(&t->in, data, len);
    int rc = asynchat_collect_incoming_data(chat, data, len);
    return rc < 0 || t->on_collect == NULL ? rc : t->on_collect(t, data, len);
}

static int
on_found(struct asynchat *chat)
{
    struct talk *t = talk_of(chat);
    assert_true(t->destroyed == 0 && T(t)->fd >= 0);
    t->found++;
    if (t->keep) {
        if (!t->quiet) {
            kit_trace("%s.found", t->name);
        }
    }
    else {
        t->message = asynchat_get_data(chat);
        trace_bytes(t, ".found", t->message.data, t->message.len);
    }
    return t->on_found != NULL ? t->on_found(t) : 0;
}

static int
on_too_long(struct asynchat *chat)
{
    struct talk *t = talk_of(chat);
    kit_trace("%s.too_long", t->name);
    return t->on_too_long != NULL ? t->on_too_long(t) : 0;
}

static int
on_close(struct asyncore_dispatcher *d)
{
    struct talk *t = talk_of_base(d);
    assert_int_equal(t->destroyed, 0);
    t->closed++;
    kit_trace("%s.close%s%s", t->name, d->error != 0 ? " " : "",
              d->error != 0 ? asyncore_errorcode(d->error) : "");
    return t->on_close != NULL ? t->on_close(t) : asynchat_handle_close(d);
}

static int
on_error(struct asyncore_dispatcher *d, const struct asyncore_error *err)
{
    struct talk *t = talk_of_base(d);
    const char *name = asyncore_errorcode(err->code);
    assert_int_equal(t->destroyed, 0);
    t->errors++;
    t->failed = *err;
    kit_trace("%s.error %s %s", t->name, name != NULL ? name : "?",
              err->op != NULL ? err->op : "-");
    return t->on_error != NULL ? t->on_error(t)
                               : asyncore_dispatcher_handle_error(d, err);
}

static int
on_drain(struct asyncore_dispatcher *d)
{
    struct talk *t = talk_of_base(d);
    t->drains++;
    kit_trace("%s.drain", t->name);
    return t->on_drain != NULL ? t->on_drain(t) : 0;
}

static int
on_connect(struct asyncore_dispatcher *d)
{
    struct talk *t = talk_of_base(d);
    kit_trace("%s.connect", t->name);
    return t->on_connect != NULL ? t->on_connect(t) : 0;
}

static int
on_timeout(struct asyncore_dispatcher *d)
{
    struct talk *t = talk_of_base(d);
    kit_trace("%s.timeout", t->name);
    return t->on_timeout != NULL ? t->on_timeout(t)
                                 : asyncore_dispatcher_handle_timeout(d);
}

static int
on_eof(struct asyncore_dispatcher *d)
{
    kit_trace("%s.eof", talk_of_base(d)->name);
    return 0;
}

static void
on_destroy(struct asyncore_dispatcher *d)
{
    struct talk *t = talk_of_base(d);
    kit_trace("%s.destroy", t->name);
    t->destroyed++;
    assert_int_equal(t->destroyed, 1);
    memset(&t->chat, 0xdd, sizeof t->chat); /* nobody may look any more */
    t->chat.base.fd = -1;                   /* but for the test */
}

/* ---- birth ---- */

struct talk *
talk_new(const char *name, unsigned flags)
{
    struct talk *t = calloc(1, sizeof *t);
    assert_non_null(t);
    memset(&t->chat, 0xa5, sizeof t->chat); /* init must not trust it */
    snprintf(t->name, sizeof t->name, "%s", name);
    t->peer = -1;
    t->ops.found_terminator = on_found;
    t->ops.base.name = t->name;
    t->ops.base.handle_close = on_close;
    t->ops.base.handle_error = on_error;
    t->ops.base.handle_drain = on_drain;
    t->ops.base.handle_connect = on_connect;
    t->ops.base.handle_timeout = on_timeout;
    t->ops.base.destroy = on_destroy;
    if ((flags & TALK_COLLECT) != 0) {
        t->ops.collect_incoming_data = on_collect;
    }
    if ((flags & TALK_TOO_LONG) != 0) {
        t->ops.handle_too_long = on_too_long;
    }
    if ((flags & TALK_EOF) != 0) {
        t->ops.base.handle_eof = on_eof;
    }
    t->next = talks;
    talks = t;
    return t;
}

int
talk_try(struct talk *t, int fd)
{
    t->destroyed = 0;
    return asynchat_init(&t->chat, &t->ops, fd, kit.map);
}

struct talk *
talk_open_on(const char *name, unsigned flags, int family)
{
    struct talk *t = talk_new(name, flags);
    int fd[2];
    kit_pair(family, fd);
    t->peer = fd[1];
    assert_int_equal(talk_try(t, fd[0]), 0);
    return t;
}

struct talk *
talk_open(const char *name, unsigned flags)
{
    return talk_open_on(name, flags, AF_UNIX);
}

/* ---- the peer ---- */

void
talk_hear_bytes(struct talk *t, const void *data, size_t len)
{
    kit_write(t->peer, data, len);
    kit_pass();
}

void
talk_hear(struct talk *t, const char *text)
{
    talk_hear_bytes(t, text, strlen(text));
}

bool
talk_read(struct talk *t, struct text *ret)
{
    return kit_drain(t->peer, ret);
}

void
talk_assert_heard(struct talk *t, const char *want, const char *file, int line)
{
    struct text got = {0};
    talk_read(t, &got);
    bool same =
        got.len == strlen(want) && memcmp(text_get(&got), want, got.len) == 0;
    if (!same) {
        print_error("%s:%d: the peer got '%s', not '%s'\n", file, line,
                    text_get(&got), want);
    }
    text_clear(&got);
    assert_true(same);
}

void
talk_close_peer(struct talk *t)
{
    if (t->peer >= 0) {
        close(t->peer);
        t->peer = -1;
    }
}

/* ---- the calls that the kit's world lacks ---- */

static ssize_t
w_pread(struct asyncore__world *w, int fd, void *buf, size_t len, off_t offset)
{
    talk_files.preads++;
    if (talk_files.pread_code < 0) {
        return talk_files.pread_code;
    }
    len = len < talk_files.most ? len : talk_files.most;
    return w->below->pread(w->below, fd, buf, len, offset);
}

static ssize_t
w_sendfile(struct asyncore__world *w, int to, int from, off_t offset,
           size_t len)
{
    talk_files.sendfiles++;
    if (talk_files.sendfile_code < 0) {
        return talk_files.sendfile_code;
    }
    len = len < talk_files.most ? len : talk_files.most;
    return w->below->sendfile(w->below, to, from, offset, len);
}

/* ---- set-up and tear-down ---- */

int
talk_setup(void **state)
{
    kit_setup_bare(state);
    kit.world.table.pread = w_pread;
    kit.world.table.sendfile = w_sendfile;
    talk_files = (struct talk_files){.most = SIZE_MAX};
    return asyncore_map_create(NULL, &kit.map);
}

int
talk_teardown(void **state)
{
    kit_heal();
    for (struct talk *t = talks; t != NULL; t = t->next) {
        talk_close_peer(t);
    }
    kit_free_map();
    while (talks != NULL) {
        struct talk *t = talks;
        talks = t->next;
        text_clear(&t->in);
        free(t);
    }
    return kit_teardown(state);
}
