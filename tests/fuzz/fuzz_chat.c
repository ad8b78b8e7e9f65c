/* SPDX-License-Identifier: MIT */
/* fuzz_chat.c - a whole chat, in a world that is made up.
 *
 * The input is a script: what the peer sends, how it is cut, what the kernel
 * takes or refuses, which allocation fails, what the program does, in its
 * handlers and between passes.  A model knows what must come of it:
 *
 *   input   What is handed on is, in order and without a gap, what was
 *           received: message bytes to the collector, delimiters to
 *           found_terminator, at the first place where they are.
 *   output  What is sent is, in order and without a gap, what was taken.
 *           What was lent is given back once; by the end, all of it.
 *   end     A closed chat hears nothing.  Who closes when done loses nothing.
 *
 * Nothing here touches the system.  With TRACE in the environment, it says on
 * stderr what happens. */
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "asynchat.h"
#include "internal.h"

#define CHECK(condition)                                               \
    do {                                                               \
        if (!(condition)) {                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, \
                    #condition);                                       \
            abort();                                                   \
        }                                                              \
    } while (0)

#define SOCKET_FD 5
#define WAKE_FD 6
#define FILE_FD 7
#define FIRST_DUP 8
#define FDS 64
#define FILE_LEN 300

/* ---- the script ---- */

static struct {
    const uint8_t *at, *end;
    unsigned steps; /* so that a script of loops ends */
} script;

static unsigned
next_byte(void)
{
    return script.at < script.end ? *script.at++ : 0;
}

static bool
script_goes_on(void)
{
    return script.at < script.end && script.steps < 2000;
}

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void
say(const char *fmt, ...)
{
    static int wanted = -1;
    if (wanted < 0) {
        wanted = getenv("TRACE") != NULL;
    }
    if (wanted) {
        va_list args;
        va_start(args, fmt);
        vfprintf(stderr, fmt, args);
        va_end(args);
        fputc('\n', stderr);
    }
}

/* ---- what is modelled ---- */

/* A terminator, and from where in the stream on it is looked for. */
struct expected {
    enum asynchat_terminator_kind kind;
    char delimiter[64];
    size_t len;
    size_t from;
};

/* Bytes, or part of a file, or what a producer made, that go out. */
struct segment {
    enum {
        COPY,
        OWNED,
        PRODUCER,
        FILE_PART
    } kind;
    unsigned id;
    size_t len, sent; /* a producer's grows as it is asked */
    size_t start;     /* of a part of the file */
    bool ended;       /* a producer that said so */
    bool released;    /* or nothing to release */
    bool gone;        /* out of the queue, or it may be */
    struct asynchat_producer base;
    char *bytes; /* lent, or given by the producer */
    unsigned pieces;
};

#define SEGMENTS 512

static struct {
    struct asyncore_map *map;
    struct asynchat chat;
    bool live; /* the chat is initialised and not destroyed */
    bool own_collector;
    unsigned depth; /* of handlers */
    bool tame;      /* handlers do nothing any more */
    int fds[FDS];   /* how often each is open */
    int64_t time;

    /* in */
    char peer[65536]; /* sent by the peer, not yet received */
    size_t peer_at, peer_len;
    bool peer_ended;
    int recv_code;
    size_t recv_most;
    char *stream;         /* received */
    size_t len, pos;      /* pos: handed on */
    struct expected now;  /* what ends the message … */
    struct expected owed; /* … but first, if somebody has set another since */
    bool is_owed;         /* it was decided that it is there */
    bool fresh; /* a message has just been taken, and nothing happened since */
    bool blind; /* nobody knows what has been handed on */

    /* out */
    struct segment *segments;
    unsigned nsegments, first;
    bool broken; /* the queue was dropped for a failure */
    int send_code;
    size_t send_most;
    bool full; /* the kernel takes nothing */
    bool closing, shut;
    bool no_sendfile;

    /* memory */
    unsigned long allocations, fail_at, fail_times, blocks;
    bool starved; /* an allocation has failed */
} m;

static char
file_byte(size_t offset)
{
    return (char)('A' + offset % 26);
}

static char
segment_byte(const struct segment *s, size_t at)
{
    return s->kind == FILE_PART ? file_byte(s->start + at)
                                : (char)(s->id * 7 + at * 3);
}

/* ---- the model of the output ---- */

static struct segment *
new_segment(int kind, size_t len)
{
    if (m.nsegments == SEGMENTS) {
        return NULL;
    }
    struct segment *s = &m.segments[m.nsegments];
    *s = (struct segment){.id = m.nsegments++, .len = len};
    s->kind = kind;
    s->released = kind == COPY || kind == FILE_PART;
    return s;
}

/* It was not taken. */
static void
refused(struct segment *s, int err)
{
    CHECK(err == -ENOMEM || err == -ENOBUFS || err == -EPIPE ||
          err == -EMFILE);
    CHECK(err != -ENOMEM || m.starved);
    CHECK(err != -EPIPE || m.closing);
    CHECK(s->released == (s->kind == COPY || s->kind == FILE_PART));
    s->kind = COPY;
    s->len = 0;
    s->released = true;
    free(s->bytes);
    s->bytes = NULL;
}

static bool
has_nothing_left(const struct segment *s)
{
    return s->gone || (s->sent == s->len && (s->kind != PRODUCER || s->ended));
}

static void
drop_segments(void)
{
    for (unsigned i = m.first; i < m.nsegments; i++) {
        m.segments[i].gone = true;
    }
    m.first = m.nsegments;
}

/* Who is released with something left is dropped, and with him all that is
 * queued by then. */
static void
released_segment(struct segment *s)
{
    CHECK(!s->released);
    s->released = true;
    if (!has_nothing_left(s)) {
        drop_segments();
    }
}

/* The queue is lost with the connection. */
static void
broke(void)
{
    m.broken = true;
    drop_segments();
}

static void
sent_bytes(const char *data, size_t len)
{
    if (m.broken) {
        return;
    }
    for (size_t i = 0; i < len; i++) {
        while (m.first < m.nsegments &&
               has_nothing_left(&m.segments[m.first])) {
            m.first++;
        }
        CHECK(m.first < m.nsegments);
        struct segment *s = &m.segments[m.first];
        CHECK(s->sent < s->len && data[i] == segment_byte(s, s->sent));
        s->sent++;
    }
}

static bool
all_is_sent(void)
{
    while (m.first < m.nsegments) {
        if (!has_nothing_left(&m.segments[m.first])) {
            return false;
        }
        m.first++;
    }
    return true;
}

/* ---- the model of the input ---- */

static void
received(const char *data, size_t len)
{
    m.stream = realloc(m.stream, m.len + len + 1);
    CHECK(m.stream != NULL);
    memcpy(m.stream + m.len, data, len);
    m.len += len;
}

static void
forget_received(void)
{
    m.len = m.pos = 0;
    m.blind = m.is_owed = false;
    m.fresh = false;
    m.now.from = 0;
}

/* Where the delimiter is first, or SIZE_MAX. */
static size_t
find_delimiter(const struct expected *e)
{
    for (size_t i = e->from; i + e->len <= m.len; i++) {
        if (memcmp(m.stream + i, e->delimiter, e->len) == 0) {
            return i;
        }
    }
    return SIZE_MAX;
}

static void
hand_on(const char *data, size_t len)
{
    if (m.blind) {
        return;
    }
    CHECK(m.pos + len <= m.len);
    CHECK(len == 0 || memcmp(m.stream + m.pos, data, len) == 0);
    m.pos += len;
}

/* A terminator has been found, and all before it has been handed on. */
static void
found_here(void)
{
    if (m.blind) {
        return;
    }
    struct expected *e = m.is_owed ? &m.owed : &m.now;
    if (e->kind == ASYNCHAT_DELIMITER) {
        CHECK(find_delimiter(e) == m.pos);
        m.pos += e->len;
    }
    else {
        CHECK(e->kind == ASYNCHAT_COUNT);
        CHECK(m.pos == e->from + e->len);
    }
    if (m.is_owed) {
        m.is_owed = false;
        CHECK(m.now.from == m.pos);
    }
    else {
        if (e->kind == ASYNCHAT_COUNT) {
            e->kind = ASYNCHAT_NONE;
        }
        e->from = m.pos;
    }
}

/* ---- the world: sockets ---- */

static int
w_set_nonblocking(struct asyncore__world *w, int fd)
{
    (void)w;
    return m.fds[fd] > 0 ? 0 : -EBADF;
}

static int
w_getsockopt(struct asyncore__world *w, int fd, int level, int name, int *ret)
{
    (void)w;
    (void)level;
    if (fd != SOCKET_FD) {
        return -ENOTSOCK;
    }
    *ret = name == SO_TYPE ? SOCK_STREAM : 0;
    return 0;
}

static int
w_getpeername(struct asyncore__world *w, int fd, struct asyncore_addr *ret)
{
    (void)w;
    (void)fd;
    memset(ret, 0, sizeof *ret);
    ret->u.in.sin_family = AF_INET;
    ret->len = sizeof ret->u.in;
    return 0;
}

static int
w_close(struct asyncore__world *w, int fd)
{
    (void)w;
    CHECK(fd >= 0 && fd < FDS && m.fds[fd] == 1);
    m.fds[fd] = 0;
    return 0;
}

static int
w_dup(struct asyncore__world *w, int fd)
{
    (void)w;
    if (fd != FILE_FD) {
        return -EBADF;
    }
    for (int i = FIRST_DUP; i < FDS; i++) {
        if (m.fds[i] == 0) {
            m.fds[i] = 1;
            return i;
        }
    }
    return -EMFILE;
}

static int
w_shutdown(struct asyncore__world *w, int fd, int how)
{
    (void)w;
    CHECK(fd == SOCKET_FD && how == SHUT_WR);
    CHECK(m.broken || all_is_sent());
    m.shut = true;
    return 0;
}

static ssize_t
w_recv(struct asyncore__world *w, int fd, void *buf, size_t len, int flags)
{
    (void)w;
    CHECK(fd == SOCKET_FD && m.fds[fd] == 1);
    if (m.recv_code < 0 && (flags & MSG_PEEK) == 0) {
        int code = m.recv_code;
        m.recv_code = 0;
        return code;
    }
    size_t left = m.peer_len - m.peer_at;
    size_t n = left < len ? left : len;
    n = n < m.recv_most ? n : m.recv_most;
    if (n == 0) {
        return m.peer_ended && left == 0 ? 0 : -EAGAIN;
    }
    say("recv %zu", n);
    memcpy(buf, m.peer + m.peer_at, n);
    if ((flags & MSG_PEEK) == 0) {
        received(m.peer + m.peer_at, n);
        m.peer_at += n;
    }
    return (ssize_t)n;
}

/* Returns how much of len the kernel takes. */
static ssize_t
taken(size_t len)
{
    CHECK(!m.shut);
    if (m.send_code < 0) {
        int code = m.send_code;
        m.send_code = 0;
        if (asyncore__disconnected(code)) {
            broke();
        }
        return code;
    }
    if (m.full) {
        return -EAGAIN;
    }
    return (ssize_t)(len < m.send_most ? len : m.send_most);
}

static ssize_t
w_send(struct asyncore__world *w, int fd, const void *data, size_t len,
       int flags)
{
    (void)w;
    (void)flags;
    CHECK(fd == SOCKET_FD && m.fds[fd] == 1);
    ssize_t n = taken(len);
    say("send %zu: %zd", len, n);
    if (n > 0) {
        sent_bytes(data, (size_t)n);
    }
    return n;
}

static ssize_t
w_send_soon(struct asyncore__world *w, int fd, const void *data, size_t len)
{
    return w_send(w, fd, data, len, 0);
}

static ssize_t
w_sendv(struct asyncore__world *w, int fd, const struct iovec *iov, int n)
{
    (void)w;
    CHECK(fd == SOCKET_FD && m.fds[fd] == 1);
    size_t len = 0;
    for (int i = 0; i < n; i++) {
        len += iov[i].iov_len;
    }
    ssize_t rc = taken(len);
    say("sendv %zu: %zd", len, rc);
    size_t left = rc > 0 ? (size_t)rc : 0;
    for (int i = 0; i < n && left > 0; i++) {
        size_t here = iov[i].iov_len < left ? iov[i].iov_len : left;
        sent_bytes(iov[i].iov_base, here);
        left -= here;
    }
    return rc;
}

static ssize_t
w_sendfile(struct asyncore__world *w, int to, int from, off_t offset,
           size_t len)
{
    (void)w;
    CHECK(to == SOCKET_FD && m.fds[to] == 1 && m.fds[from] == 1);
    if (m.no_sendfile) {
        return -ENOSYS;
    }
    if (offset >= FILE_LEN) {
        return 0;
    }
    size_t left = FILE_LEN - (size_t)offset;
    ssize_t n = taken(len < left ? len : left);
    for (ssize_t i = 0; i < n; i++) {
        char byte = file_byte((size_t)(offset + i));
        sent_bytes(&byte, 1);
    }
    return n;
}

static ssize_t
w_pread(struct asyncore__world *w, int fd, void *buf, size_t len, off_t offset)
{
    (void)w;
    CHECK(m.fds[fd] == 1);
    size_t n = 0;
    while (n < len && n < 50 && offset + (off_t)n < FILE_LEN) {
        ((char *)buf)[n] = file_byte((size_t)offset + n);
        n++;
    }
    return (ssize_t)n;
}

/* ---- the world: the rest ---- */

static int64_t
w_now(struct asyncore__world *w)
{
    (void)w;
    return m.time;
}

static int
w_poll(struct asyncore__world *w, void *pollfds, size_t n, int64_t timeout)
{
    (void)w;
    int ready = 0;
    struct pollfd *fds = pollfds;
    for (size_t i = 0; i < n; i++) {
        fds[i].revents = 0;
        if (fds[i].fd == SOCKET_FD) {
            bool in =
                m.peer_at < m.peer_len || m.peer_ended || m.recv_code < 0;
            bool out = !m.full || m.send_code < 0;
            fds[i].revents = (short)((in ? POLLIN : 0) | (out ? POLLOUT : 0) |
                                     (m.peer_ended && m.shut ? POLLHUP : 0));
            fds[i].revents &= (short)(fds[i].events | POLLHUP);
        }
        ready += fds[i].revents != 0;
    }
    if (ready == 0 && timeout > 0) {
        m.time += timeout;
    }
    return ready;
}

static int
w_wake_open(struct asyncore__world *w, int fd[2])
{
    (void)w;
    CHECK(m.fds[WAKE_FD] == 0);
    m.fds[WAKE_FD] = 1;
    fd[0] = fd[1] = WAKE_FD;
    return 0;
}

static int
w_wake(struct asyncore__world *w, int fd)
{
    (void)w;
    (void)fd;
    return 0;
}

static struct asyncore__world fake = {
    .getsockopt = w_getsockopt,
    .getpeername = w_getpeername,
    .set_nonblocking = w_set_nonblocking,
    .close = w_close,
    .dup = w_dup,
    .shutdown = w_shutdown,
    .recv = w_recv,
    .send = w_send,
    .sendv = w_sendv,
    .send_soon = w_send_soon,
    .sendv_soon = w_sendv,
    .sendfile = w_sendfile,
    .pread = w_pread,
    .now = w_now,
    .poll = w_poll,
    .wake_open = w_wake_open,
    .wake_signal = w_wake,
    .wake_drain = w_wake,
};

/* ---- memory ---- */

static void *
failing_realloc(void *ptr, size_t size, void *arg)
{
    (void)arg;
    if (size == 0) {
        m.blocks -= ptr != NULL;
        free(ptr);
        return NULL;
    }
    unsigned long n = ++m.allocations;
    if (m.fail_at != 0 && n >= m.fail_at && n - m.fail_at < m.fail_times) {
        m.starved = true;
        return NULL;
    }
    /* Always elsewhere, so that who keeps the old place is found out. */
    void *fresh = malloc(size);
    CHECK(fresh != NULL);
    memset(fresh, 0xa5, size);
    if (ptr != NULL) {
        void *grown = realloc(ptr, size);
        CHECK(grown != NULL);
        free(fresh);
        return grown;
    }
    m.blocks++;
    return fresh;
}

static void
no_log(enum asyncore_log_type type, const char *message,
       struct asyncore_dispatcher *d, void *arg)
{
    (void)type;
    (void)message;
    (void)d;
    (void)arg;
}

/* ---- what the program does ---- */

static void act(void);

/* Something that may happen in a handler; returns the handler's result. */
static int
react(void)
{
    if (m.tame || m.depth > 3) {
        return 0;
    }
    m.depth++;
    unsigned what = next_byte();
    int rc = 0;
    if (what >= 250) {
        rc = what == 250   ? ASYNCORE_EXIT_NOW
             : what == 251 ? -EAGAIN
             : what == 252 ? -EPIPE
                           : -EPROTO;
    }
    else if (what >= 100 && what < 200) {
        act();
    }
    else if (what >= 200) {
        act();
        act();
    }
    m.depth--;
    return rc;
}

static int
on_collect(struct asynchat *chat, const void *data, size_t len)
{
    say("collect '%.*s'", (int)len, (const char *)data);
    CHECK(chat == &m.chat && m.live && chat->base.fd == SOCKET_FD);
    CHECK(len > 0 && !m.closing);
    hand_on(data, len);
    m.fresh = false;
    int rc = asynchat_collect_incoming_data(chat, data, len);
    if (rc < 0) {
        CHECK(rc == -ENOMEM && m.starved);
    }
    rc = react();
    return rc;
}

static int
on_found(struct asynchat *chat)
{
    say("found, with %zu of %zu handed on", m.pos, m.len);
    CHECK(chat == &m.chat && m.live && chat->base.fd == SOCKET_FD);
    CHECK(!m.closing);
    if (!m.own_collector) {
        struct asyncore_bytes data = asynchat_get_data(chat);
        hand_on(data.data, data.len);
    }
    found_here();
    m.fresh = true;
    int rc = react();
    m.fresh = false;
    return rc;
}

static int
on_too_long(struct asynchat *chat)
{
    (void)chat;
    say("handle_too_long");
    m.blind = true;
    return react();
}

static int
on_close(struct asyncore_dispatcher *d)
{
    say("handle_close %d", d->error);
    CHECK(d->fd == SOCKET_FD);
    if (d->error < 0) {
        broke();
    }
    int rc = react();
    if (d->fd >= 0) {
        asyncore_close(d);
    }
    return rc;
}

static int
on_error(struct asyncore_dispatcher *d, const struct asyncore_error *err)
{
    say("handle_error %d %s", err->code, err->op);
    CHECK(d->fd == SOCKET_FD && err->code < 0 && err->op != NULL);
    if (err->code == -ENOMEM) {
        m.blind = true; /* bytes may be missing: that is what we are told */
    }
    (void)react();
    if (d->fd < 0) {
        return 0;
    }
    if (err->code == -ENOMEM || next_byte() % 2 == 0) {
        broke();
        return asyncore_dispatcher_handle_error(d, err);
    }
    return 0; /* survived */
}

static int
on_event(struct asyncore_dispatcher *d)
{
    CHECK(d->fd == SOCKET_FD);
    return react();
}

static void
on_destroy(struct asyncore_dispatcher *d)
{
    say("destroy");
    CHECK(d == &m.chat.base && m.live);
    m.live = false;
    drop_segments();
    memset(&m.chat, 0xdd, sizeof m.chat);
    m.chat.base.fd = -1;
}

static const struct asynchat_ops with_collector = {
    .base = {.handle_close = on_close,
             .handle_error = on_error,
             .handle_drain = on_event,
             .destroy = on_destroy},
    .collect_incoming_data = on_collect,
    .found_terminator = on_found,
    .handle_too_long = on_too_long,
};
static const struct asynchat_ops ready_made = {
    .base = {.handle_close = on_close,
             .handle_error = on_error,
             .handle_drain = on_event,
             .destroy = on_destroy},
    .found_terminator = on_found,
    .handle_too_long = on_too_long,
};

/* ---- pushes ---- */

static void
release_owned(void *data, size_t len, void *arg)
{
    struct segment *s = arg;
    say("release %u", s->id);
    CHECK(data == s->bytes && len == s->len);
    released_segment(s);
    free(s->bytes); /* whoever looks at it now is found out */
    s->bytes = NULL;
    (void)react();
}

static int
producer_more(struct asynchat_producer *p, size_t hint,
              struct asyncore_bytes *ret)
{
    struct segment *s = asyncore_container_of(p, struct segment, base);
    CHECK(!s->released && hint > 0);
    /* In its turn: all before it has been sent. */
    if (!m.broken && !s->gone) {
        CHECK(s->sent == s->len);
        for (unsigned i = m.first; i < s->id; i++) {
            CHECK(m.segments[i].gone ||
                  m.segments[i].sent == m.segments[i].len);
        }
    }
    if (m.tame || s->pieces == 0) {
        s->ended = true;
        return 0;
    }
    unsigned what = next_byte();
    say("more %u: %u", s->id, what);
    if (what >= 250) {
        return what == 250 ? ASYNCORE_EXIT_NOW : what == 251 ? -EIO : -EAGAIN;
    }
    s->pieces--;
    size_t n = what % 40u + 1;
    free(s->bytes);
    s->bytes = malloc(n);
    CHECK(s->bytes != NULL);
    for (size_t i = 0; i < n; i++) {
        s->bytes[i] = segment_byte(s, s->len + i);
    }
    if (what >= 200) {
        (void)react();
        if (s->gone || s->released) {
            return 0; /* we are discarded */
        }
    }
    s->len += n;
    *ret = (struct asyncore_bytes){s->bytes, n};
    return 1;
}

static void
producer_release(struct asynchat_producer *p)
{
    struct segment *s = asyncore_container_of(p, struct segment, base);
    say("release producer %u", s->id);
    released_segment(s);
    (void)react();
}

static const struct asynchat_producer_ops producer_ops = {
    .more = producer_more, .release = producer_release};

static void
push_copy(size_t len)
{
    static char bytes[70000];
    struct segment *s = new_segment(COPY, len);
    if (s == NULL) {
        return;
    }
    for (size_t i = 0; i < len; i++) {
        bytes[i] = segment_byte(s, i);
    }
    struct iovec iov[3] = {{bytes, len / 3},
                           {bytes + len / 3, 0},
                           {bytes + len / 3, len - len / 3}};
    int err = len % 2 == 0 ? asynchat_push(&m.chat, bytes, len)
                           : asynchat_pushv(&m.chat, iov, 3);
    if (err < 0) {
        refused(s, err);
    }
}

static void
push_owned(size_t len)
{
    struct segment *s = new_segment(OWNED, len);
    if (s == NULL) {
        return;
    }
    s->bytes = malloc(len + 1);
    CHECK(s->bytes != NULL);
    for (size_t i = 0; i < len; i++) {
        s->bytes[i] = segment_byte(s, i);
    }
    int err = asynchat_push_owned(&m.chat, s->bytes, len, release_owned, s);
    if (err < 0) {
        refused(s, err);
    }
}

static void
push_producer(unsigned pieces)
{
    struct segment *s = new_segment(PRODUCER, 0);
    if (s == NULL) {
        return;
    }
    s->base.ops = &producer_ops;
    s->pieces = pieces;
    int err = asynchat_push_with_producer(&m.chat, &s->base);
    if (err < 0) {
        refused(s, err);
    }
}

static void
push_file(size_t start, size_t len)
{
    struct segment *s = new_segment(FILE_PART, len);
    if (s == NULL) {
        return;
    }
    s->start = start;
    int err = asynchat_push_file(&m.chat, FILE_FD, (off_t)start, len);
    if (err < 0) {
        refused(s, err);
    }
}

/* ---- terminators ---- */

static bool
nothing_pending(void)
{
    return m.chat.asynchat__in.len == 0 && m.chat.asynchat__held == 0 &&
           !m.chat.asynchat__owed.found && m.chat.asynchat__owed.len == 0 &&
           m.chat.asynchat__owed.released == 0;
}

/* From where on is a terminator looked for that is set now? */
static void
expect_from_now_on(const struct expected *e)
{
    if (m.own_collector) {
        /* From what is decided to be message on, and its terminator. */
        struct expected was = m.now;
        m.now = *e;
        m.now.from =
            m.pos + m.chat.asynchat__owed.released + m.chat.asynchat__owed.len;
        if (m.chat.asynchat__owed.found) {
            if (!m.is_owed) {
                m.owed = was;
                m.is_owed = true;
            }
            m.now.from += m.owed.kind == ASYNCHAT_DELIMITER ? m.owed.len : 0;
        }
        return;
    }
    m.now = *e;
    if (m.fresh) {
        m.now.from = m.pos;
    }
    else if (m.depth == 0 && nothing_pending()) {
        m.now.from = m.len; /* all has been collected */
    }
    else {
        m.blind = true;
    }
}

static void
set_terminator(unsigned kind, size_t len)
{
    int err;
    struct expected e = {.kind = ASYNCHAT_NONE};
    if (kind % 4 == 0) {
        e.kind = len > 0 ? ASYNCHAT_COUNT : ASYNCHAT_NONE;
        e.len = len;
        err = asynchat_set_terminator_count(&m.chat, len);
    }
    else if (kind % 16 == 1) {
        err = asynchat_set_terminator_none(&m.chat);
    }
    else {
        static const char common[] = "\r\n\r\n";
        len = len % sizeof e.delimiter;
        len = len > 12 && kind % 3 != 0 ? len % 4 + 1 : len;
        for (size_t i = 0; i < len; i++) {
            e.delimiter[i] = kind % 4 == 2
                                 ? common[i % 4]
                                 : (char)('a' + (kind >> (i % 6)) % 2);
        }
        e.kind = len > 0 ? ASYNCHAT_DELIMITER : ASYNCHAT_NONE;
        e.len = len;
        /* It is a copy. */
        char delimiter[sizeof e.delimiter];
        memcpy(delimiter, e.delimiter, sizeof delimiter);
        err = asynchat_set_terminator(&m.chat, delimiter, len);
    }
    say("terminator %d '%.*s' %zu: %d", (int)e.kind,
        e.kind == ASYNCHAT_DELIMITER ? (int)len : 0, e.delimiter, len, err);
    if (err < 0) {
        CHECK(err == -ENOMEM && m.starved);
        return;
    }
    expect_from_now_on(&e);
    struct asynchat_terminator now = asynchat_get_terminator(&m.chat);
    CHECK(now.kind == e.kind && now.len == e.len);
}

/* ---- one thing ---- */

static void
peer_sends(size_t len, unsigned flavour)
{
    static const char *const texts[] = {"\r\n", "\r\n\r\n", "ab",
                                        "aab",  "\r\r\n",   "b"};
    for (size_t i = 0; i < len && m.peer_len < sizeof m.peer; i++) {
        const char *text = texts[flavour % 6];
        m.peer[m.peer_len++] =
            flavour >= 128 ? (char)next_byte() : text[i % strlen(text)];
    }
}

static void
open_chat(void)
{
    if (m.live || m.fds[SOCKET_FD] != 0 || m.depth > 0) {
        return;
    }
    m.fds[SOCKET_FD] = 1;
    m.peer_at = m.peer_len = 0;
    m.peer_ended = m.shut = m.closing = m.broken = false;
    m.recv_code = m.send_code = 0;
    m.own_collector = next_byte() % 2 == 0;
    forget_received();
    m.now = (struct expected){.kind = ASYNCHAT_NONE};
    memset(&m.chat, 0xa5, sizeof m.chat);
    int err =
        asynchat_init(&m.chat, m.own_collector ? &with_collector : &ready_made,
                      SOCKET_FD, m.map);
    if (err < 0) {
        CHECK(err == -ENOMEM && m.starved);
        m.fds[SOCKET_FD] = 0;
        m.chat.base.fd = -1;
        return;
    }
    m.live = true;
    set_terminator(next_byte(), next_byte() % 20u);
}

static void
feed(size_t len)
{
    char bytes[64];
    len = len % sizeof bytes;
    for (size_t i = 0; i < len; i++) {
        bytes[i] = "\r\n\r\nab"[next_byte() % 6];
    }
    if (m.closing) {
        len = 0;
    }
    received(bytes, len);
    m.fresh = false;
    int rc = asynchat_feed(&m.chat, bytes, len);
    memset(bytes, 0xee, sizeof bytes);
    if (rc == -ENOMEM) {
        CHECK(m.starved);
        m.len -= len; /* not taken, and nobody was called */
        return;
    }
    CHECK(rc == 0 || rc == ASYNCORE_EXIT_NOW);
}

static void
check_unread(void)
{
    struct asyncore_bytes rest = asynchat_unread(&m.chat);
    if (m.own_collector && !m.blind && !m.closing && m.depth == 0 &&
        !m.starved) {
        CHECK(rest.len == m.len - m.pos);
        CHECK(rest.len == 0 ||
              memcmp(rest.data, m.stream + m.pos, rest.len) == 0);
    }
}

/* The terminator stays, and what is left of a count; producers and lent bytes
 * are released meanwhile, and who is told may do anything. */
static void
discard(void)
{
    bool was_tame = m.tame;
    m.tame = true;
    asynchat_discard_buffers(&m.chat);
    m.tame = was_tame;
    drop_segments();
    forget_received();
    struct asynchat_terminator left = asynchat_get_terminator(&m.chat);
    m.now.kind = left.kind;
    m.now.len = left.len;
}

static void
act_on_chat(unsigned what, unsigned value)
{
    say("%*schat %u %u", (int)m.depth * 2, "", what % 24, value);
    static const struct asyncore_limits tight = {100, 10, 1000};
    switch (what % 24) {
    case 0:
    case 1:
    case 2:
        set_terminator(value, next_byte() % 70u);
        break;
    case 3:
    case 4:
        push_copy(value);
        break;
    case 5:
        push_copy(value * 250u);
        break;
    case 6:
    case 7:
        push_owned(value % 50u);
        break;
    case 8:
    case 9:
        push_producer(value % 8);
        break;
    case 10:
        push_file(value % FILE_LEN, FILE_LEN - value % FILE_LEN);
        break;
    case 11:
        discard();
        break;
    case 12:
        if (m.chat.base.fd >= 0) {
            m.closing = true;
            int rc = asyncore_close_when_done(&m.chat.base);
            CHECK(rc >= 0 || rc == ASYNCORE_EXIT_NOW);
        }
        break;
    case 13:
        if (value % 4 == 0) {
            asyncore_close(&m.chat.base);
        }
        break;
    case 14:
        if (m.chat.base.fd >= 0) {
            feed(value);
        }
        break;
    case 15:
        asyncore_touch(&m.chat.base);
        break;
    case 16:
        asynchat_set_max_message(&m.chat, value % 32u);
        break;
    case 17:
        asyncore_set_limits(&m.chat.base, value % 2 ? &tight : NULL);
        break;
    case 18:
        m.chat.ac_in_buffer_size = value % 9u + 1;
        break;
    case 19:
        check_unread();
        break;
    case 20:
        if (asyncore_del_channel(&m.chat.base) == 0 && value % 4 != 0) {
            (void)asyncore_add_channel(&m.chat.base, NULL);
        }
        break;
    case 21:
        (void)asyncore_add_channel(&m.chat.base, NULL);
        break;
    case 22:
        (void)asyncore_set_linger(&m.chat.base, value / 10.0);
        break;
    default:
        asynchat_get_data(&m.chat);
        m.blind = true;
        break;
    }
}

static void
act(void)
{
    unsigned what = next_byte(), value = next_byte();
    static const int codes[] = {-ECONNRESET, -EINTR,  -ENOBUFS,
                                -EPIPE,      -EAGAIN, -EIO};
    script.steps++;
    if (m.chat.base.fd >= 0 && m.live && what < 150) {
        act_on_chat(what, value);
        return;
    }
    say("%*sact %u %u", (int)m.depth * 2, "", what % 12, value);
    switch (what % 12) {
    case 0:
    case 1:
    case 2:
        peer_sends(value, next_byte());
        break;
    case 3:
    case 4:
    case 5:
        if (m.depth < 3) {
            m.fresh = false;
            int rc = asyncore_poll(0, m.map);
            CHECK(rc == 0 || rc == ASYNCORE_EXIT_NOW ||
                  (rc == -ENOMEM && m.starved));
        }
        break;
    case 6:
        m.peer_ended = value % 8 == 0;
        break;
    case 7:
        if (value % 3 == 0) {
            m.recv_code = codes[value / 3 % 6];
        }
        else if (value % 3 == 1) {
            m.send_code = codes[value / 3 % 6];
        }
        m.no_sendfile = value % 2 == 0;
        break;
    case 8:
        m.send_most = value % 4 == 0 ? SIZE_MAX : value;
        m.send_most = m.send_most > 0 ? m.send_most : 1;
        m.full = value % 16 == 1;
        break;
    case 9:
        m.recv_most = value % 4 == 0 ? SIZE_MAX : value % 16u + 1;
        break;
    case 10:
        if (value % 2 == 0) {
            m.fail_at = m.allocations + value / 8 + 1;
            m.fail_times = value % 8 == 0 ? 1000 : 1;
        }
        else {
            m.fail_at = 0;
        }
        break;
    default:
        m.time += INT64_C(10000000) * value;
        open_chat();
        break;
    }
}

/* ---- the end ---- */

/* All is well from here on: what was taken goes out, what was received is
 * handed on. */
static void
settle(void)
{
    m.tame = true;
    m.fail_at = 0;
    m.recv_code = m.send_code = 0;
    m.recv_most = m.send_most = SIZE_MAX;
    m.full = false;
    if (!m.live || m.chat.base.fd < 0) {
        return;
    }
    (void)asyncore_add_channel(&m.chat.base, NULL);
    asyncore_set_limits(&m.chat.base, NULL);
    m.chat.ac_in_buffer_size = 65536;
    if (m.starved) {
        /* What there was no memory to come back to. */
        asynchat_feed(&m.chat, NULL, 0);
    }
    for (int i = 0; i < 3000 && m.live && m.chat.base.fd >= 0; i++) {
        bool quiet = m.peer_at == m.peer_len && m.chat.asynchat__in.len == 0 &&
                     asyncore__outq_empty(&m.chat.asynchat__out.queue);
        asyncore_touch(&m.chat.base);
        int rc = asyncore_poll(0, m.map);
        CHECK(rc == 0);
        if (quiet) {
            break;
        }
    }
    if (!m.live || m.chat.base.fd < 0) {
        return;
    }
    CHECK(m.broken || all_is_sent());
    if (m.closing) {
        return; /* it lingers */
    }
    CHECK(m.peer_at == m.peer_len);
    if (m.own_collector && !m.blind) {
        size_t rest = m.len - m.pos;
        CHECK(rest == m.chat.asynchat__held);
        CHECK(!m.is_owed);
        if (m.now.kind == ASYNCHAT_DELIMITER) {
            CHECK(find_delimiter(&m.now) == SIZE_MAX);
            CHECK(rest == asynchat_find_prefix_at_end(
                              m.stream + m.now.from, m.len - m.now.from,
                              m.now.delimiter, m.now.len));
        }
        else {
            CHECK(rest == 0);
        }
    }
}

/* Lines are looked for in another way each time, as the processor has them. */
static void
choose_scanner(size_t which)
{
    asyncore__scan_fn *ways[8] = {NULL};
    size_t n = 1;
    for (const struct asyncore__scanner *s = asyncore__scanners;
         s->name != NULL; s++) {
        if (s->supported()) {
            ways[n++] = s->scan;
        }
    }
    asyncore__scan = ways[which % n];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    memset(&m, 0, sizeof m);
    script.at = data;
    script.end = data + size;
    script.steps = 0;
    choose_scanner(size);
    m.segments = calloc(SEGMENTS, sizeof *m.segments);
    CHECK(m.segments != NULL);
    m.fds[FILE_FD] = 1;
    m.recv_most = m.send_most = SIZE_MAX;
    m.chat.base.fd = -1;
    asyncore_set_allocator(failing_realloc, NULL);
    asyncore_set_log(no_log, NULL);
    received("", 0);
    CHECK(asyncore__map_create("poll", &fake, &m.map) == 0);
    open_chat();
    while (script_goes_on()) {
        act();
    }
    settle();
    m.tame = true;
    asyncore_close_all(m.map, true);
    if (m.live) { /* it was set aside */
        asyncore_close(&m.chat.base);
    }
    CHECK(asyncore_map_free(m.map) == 0);
    CHECK(!m.live);
    for (unsigned i = 0; i < m.nsegments; i++) {
        CHECK(m.segments[i].released);
        free(m.segments[i].bytes);
    }
    free(m.segments);
    free(m.stream);
    CHECK(m.blocks == 0);
    for (int fd = 0; fd < FDS; fd++) {
        CHECK(m.fds[fd] == (fd == FILE_FD));
    }
    return 0;
}
