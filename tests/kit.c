/* SPDX-License-Identifier: MIT */
/* kit.c - what the tests share; see kit.h. */
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>

#include "kit.h"

/* A wait for ever must not hang the suite. */
#define LONGEST_WAIT INT64_C(10000000000)

struct kit kit;

/* ---- text ---- */

void
text_append(struct text *text, const char *data, size_t len)
{
    if (text->len + len + 1 > text->cap) {
        text->cap = (text->len + len + 1) * 2;
        text->at = realloc(text->at, text->cap);
        assert_non_null(text->at);
    }
    if (len > 0) {
        memcpy(text->at + text->len, data, len);
    }
    text->len += len;
    text->at[text->len] = '\0';
}

void
text_clear(struct text *text)
{
    free(text->at);
    *text = (struct text){0};
}

const char *
text_get(const struct text *text)
{
    return text->at != NULL ? text->at : "";
}

static void
append_line(struct text *text, const char *fmt, va_list args)
{
    char line[600];
    int len = vsnprintf(line, sizeof line, fmt, args);
    assert_in_range(len, 0, sizeof line - 1);
    text_append(text, line, (size_t)len);
    text_append(text, "\n", 1);
}

void
kit_trace(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    append_line(&kit.trace, fmt, args);
    va_end(args);
}

void
kit_assert_trace(const char *want, const char *file, int line)
{
    if (strcmp(text_get(&kit.trace), want) != 0) {
        print_error("%s:%d: the trace is\n%s---- it should be\n%s----\n", file,
                    line, text_get(&kit.trace), want);
        fail();
    }
    text_clear(&kit.trace);
}

static void
keep_log(enum asyncore_log_type type, const char *message,
         struct asyncore_dispatcher *d, void *arg)
{
    (void)d;
    (void)arg;
    const char *name = type == ASYNCORE_LOG_INFO      ? "info: "
                       : type == ASYNCORE_LOG_WARNING ? "warning: "
                       : type == ASYNCORE_LOG_ERROR   ? "error: "
                                                      : "log: ";
    text_append(&kit.log, name, strlen(name));
    text_append(&kit.log, message, strlen(message));
    text_append(&kit.log, "\n", 1);
}

void
kit_assert_logged(const char *part, bool want, const char *file, int line)
{
    bool found = strstr(text_get(&kit.log), part) != NULL;
    if (found != want) {
        print_error("%s:%d: '%s' is %s the log, which is\n%s----\n", file,
                    line, part, found ? "in" : "not in", text_get(&kit.log));
        fail();
    }
}

/* ---- the world: every call ---- */

const char *
kit_call_name(enum kit_call call)
{
    static const char *const names[] = {
#define KIT_NAME(upper, lower) #lower,
        KIT_CALLS(KIT_NAME)
#undef KIT_NAME
            "any",
    };
    return names[call];
}

static bool
matches(const struct kit_fault *fault, enum kit_call call, int fd)
{
    bool kind = fault->call == KIT_ANY ? call != KIT_NOW : fault->call == call;
    return kind && (fault->fd < 0 || fault->fd == fd);
}

/* What comes first in each call: 0, or the error it is to fail with. */
static int
before(enum kit_call call, int fd)
{
    struct kit_world *kw = &kit.world;
    int code = 0;
    kw->calls[call]++;
    kw->total += call != KIT_NOW;
    if (kw->hook != NULL) {
        code = kw->hook(call, fd);
    }
    for (size_t i = 0; i < kw->nfaults; i++) {
        struct kit_fault *fault = &kw->faults[i];
        if (matches(fault, call, fd)) {
            fault->seen++;
            if (fault->seen >= fault->nth &&
                fault->seen - fault->nth < fault->times) {
                fault->hits++;
                kw->last_failed = call;
                code = fault->code;
            }
        }
    }
    return code;
}

#define K (*w->below) /* what the map's copy stands on */
#define FAIL_AS_PLANNED(call, fd)        \
    do {                                 \
        int planned_ = before(call, fd); \
        (void)w;                         \
        if (planned_ < 0) {              \
            return planned_;             \
        }                                \
    } while (0)

static size_t
least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- the world: sockets ---- */

static int
w_socket(struct asyncore__world *w, int family, int type)
{
    FAIL_AS_PLANNED(KIT_SOCKET, -1);
    return K.socket(&K, family, type);
}

static int
w_bind(struct asyncore__world *w, int fd, const struct sockaddr *sa,
       socklen_t len)
{
    FAIL_AS_PLANNED(KIT_BIND, fd);
    return K.bind(&K, fd, sa, len);
}

static int
w_listen(struct asyncore__world *w, int fd, int backlog)
{
    FAIL_AS_PLANNED(KIT_LISTEN, fd);
    return K.listen(&K, fd, backlog);
}

static int
w_accept(struct asyncore__world *w, int fd, struct asyncore_addr *ret)
{
    FAIL_AS_PLANNED(KIT_ACCEPT, fd);
    return K.accept(&K, fd, ret);
}

static int
w_connect(struct asyncore__world *w, int fd, const struct sockaddr *sa,
          socklen_t len)
{
    FAIL_AS_PLANNED(KIT_CONNECT, fd);
    return K.connect(&K, fd, sa, len);
}

static int
w_shutdown(struct asyncore__world *w, int fd, int how)
{
    FAIL_AS_PLANNED(KIT_SHUTDOWN, fd);
    return K.shutdown(&K, fd, how);
}

static int
w_getsockopt(struct asyncore__world *w, int fd, int level, int name, int *ret)
{
    FAIL_AS_PLANNED(KIT_GETSOCKOPT, fd);
    return K.getsockopt(&K, fd, level, name, ret);
}

static int
w_setsockopt(struct asyncore__world *w, int fd, int level, int name, int value)
{
    FAIL_AS_PLANNED(KIT_SETSOCKOPT, fd);
    return K.setsockopt(&K, fd, level, name, value);
}

static int
w_getsockname(struct asyncore__world *w, int fd, struct asyncore_addr *ret)
{
    FAIL_AS_PLANNED(KIT_GETSOCKNAME, fd);
    return K.getsockname(&K, fd, ret);
}

static int
w_getpeername(struct asyncore__world *w, int fd, struct asyncore_addr *ret)
{
    FAIL_AS_PLANNED(KIT_GETPEERNAME, fd);
    return K.getpeername(&K, fd, ret);
}

static ssize_t
w_recv(struct asyncore__world *w, int fd, void *buf, size_t len, int flags)
{
    FAIL_AS_PLANNED(KIT_RECV, fd);
    return K.recv(&K, fd, buf, least(len, kit.world.max_in), flags);
}

static ssize_t
w_recvfrom(struct asyncore__world *w, int fd, void *buf, size_t len,
           struct asyncore_addr *ret)
{
    FAIL_AS_PLANNED(KIT_RECVFROM, fd);
    return K.recvfrom(&K, fd, buf, len, ret);
}

static ssize_t
w_send(struct asyncore__world *w, int fd, const void *data, size_t len,
       int flags)
{
    FAIL_AS_PLANNED(KIT_SEND, fd);
    return K.send(&K, fd, data, least(len, kit.world.max_out), flags);
}

static ssize_t
w_sendto(struct asyncore__world *w, int fd, const void *data, size_t len,
         const struct asyncore_addr *to)
{
    FAIL_AS_PLANNED(KIT_SENDTO, fd);
    return K.sendto(&K, fd, data, len, to);
}

/* The front of a vector, no longer than the cap. */
static int
cut(struct iovec *to, int max, const struct iovec *from, int n)
{
    size_t left = kit.world.max_out;
    int used = 0;
    while (used < n && used < max && (left > 0 || used == 0)) {
        to[used] = from[used];
        to[used].iov_len = least(from[used].iov_len, left);
        left -= to[used].iov_len;
        used++;
    }
    return used;
}

static ssize_t
w_sendv(struct asyncore__world *w, int fd, const struct iovec *iov, int n)
{
    struct iovec front[64];
    FAIL_AS_PLANNED(KIT_SENDV, fd);
    n = cut(front, (int)COUNT(front), iov, n);
    return K.sendv(&K, fd, front, n);
}

/* To a plan, sends like any other. */
static ssize_t
w_send_soon(struct asyncore__world *w, int fd, const void *data, size_t len)
{
    FAIL_AS_PLANNED(KIT_SEND, fd);
    return K.send_soon(&K, fd, data, least(len, kit.world.max_out));
}

static ssize_t
w_sendv_soon(struct asyncore__world *w, int fd, const struct iovec *iov, int n)
{
    struct iovec front[64];
    FAIL_AS_PLANNED(KIT_SENDV, fd);
    n = cut(front, (int)COUNT(front), iov, n);
    return K.sendv_soon(&K, fd, front, n);
}

/* ---- the world: descriptors of any kind ---- */

static ssize_t
w_read(struct asyncore__world *w, int fd, void *buf, size_t len)
{
    FAIL_AS_PLANNED(KIT_READ, fd);
    return K.read(&K, fd, buf, least(len, kit.world.max_in));
}

static ssize_t
w_writev(struct asyncore__world *w, int fd, const struct iovec *iov, int n)
{
    struct iovec front[64];
    FAIL_AS_PLANNED(KIT_WRITEV, fd);
    n = cut(front, (int)COUNT(front), iov, n);
    return K.writev(&K, fd, front, n);
}

static int
w_dup(struct asyncore__world *w, int fd)
{
    FAIL_AS_PLANNED(KIT_DUP, fd);
    return K.dup(&K, fd);
}

static int
w_set_nonblocking(struct asyncore__world *w, int fd)
{
    FAIL_AS_PLANNED(KIT_SET_NONBLOCKING, fd);
    return K.set_nonblocking(&K, fd);
}

/* As the kernel's: also when it fails, the descriptor is gone. */
static int
w_close(struct asyncore__world *w, int fd)
{
    int planned = before(KIT_CLOSE, fd);
    int result = K.close(&K, fd);
    (void)w;
    return planned < 0 ? planned : result;
}

static int
w_open_reserve(struct asyncore__world *w)
{
    FAIL_AS_PLANNED(KIT_OPEN_RESERVE, -1);
    return K.open_reserve(&K);
}

static int
w_resolve(struct asyncore__world *w, int family, int type, const char *host,
          int port, struct asyncore_addr *ret, size_t max)
{
    FAIL_AS_PLANNED(KIT_RESOLVE, -1);
    return K.resolve(&K, family, type, host, port, ret, max);
}

/* ---- the world: the clock and the waiting ---- */

static int64_t
w_now(struct asyncore__world *w)
{
    (void)w;
    (void)before(KIT_NOW, -1);
    return kit.world.manual ? kit.world.time : K.now(&K);
}

static int64_t
before_wait(int64_t timeout)
{
    kit.world.timeout = timeout;
    if (kit.world.manual) {
        return 0;
    }
    return timeout < 0 ? LONGEST_WAIT : timeout;
}

static int
after_wait(int64_t timeout, int n)
{
    if (n == 0 && timeout < 0) {
        fail_msg("waited for ever; trace:\n%s", text_get(&kit.trace));
    }
    if (n == 0 && kit.world.manual) {
        kit.world.time += timeout;
    }
    return n;
}

static int
w_select(struct asyncore__world *w, int nfds, void *r, void *wr, void *x,
         int64_t timeout)
{
    FAIL_AS_PLANNED(KIT_SELECT, -1);
    return after_wait(timeout,
                      K.select(&K, nfds, r, wr, x, before_wait(timeout)));
}

static int
w_poll(struct asyncore__world *w, void *pollfds, size_t n, int64_t timeout)
{
    FAIL_AS_PLANNED(KIT_POLL, -1);
    return after_wait(timeout, K.poll(&K, pollfds, n, before_wait(timeout)));
}

static int
w_epoll_create(struct asyncore__world *w)
{
    FAIL_AS_PLANNED(KIT_EPOLL_CREATE, -1);
    return K.epoll_create(&K);
}

static int
w_epoll_ctl(struct asyncore__world *w, int epfd, int op, int fd,
            uint32_t events, uint64_t data)
{
    FAIL_AS_PLANNED(KIT_EPOLL_CTL, fd);
    return K.epoll_ctl(&K, epfd, op, fd, events, data);
}

static int
w_epoll_wait(struct asyncore__world *w, int epfd, void *events, int max,
             int64_t timeout)
{
    FAIL_AS_PLANNED(KIT_EPOLL_WAIT, epfd);
    return after_wait(
        timeout, K.epoll_wait(&K, epfd, events, max, before_wait(timeout)));
}

/* ---- the world: the wake-up ---- */

static int
w_wake_open(struct asyncore__world *w, int fd[2])
{
    FAIL_AS_PLANNED(KIT_WAKE_OPEN, -1);
    return K.wake_open(&K, fd);
}

/* From any thread, so it is neither counted nor fails by the plan for any. */
static int
w_wake_signal(struct asyncore__world *w, int fd)
{
    (void)w;
    return K.wake_signal(&K, fd);
}

static int
w_wake_drain(struct asyncore__world *w, int fd)
{
    FAIL_AS_PLANNED(KIT_WAKE_DRAIN, fd);
    return K.wake_drain(&K, fd);
}

/* ---- the world: io_uring ---- */

static int
w_uring_setup(struct asyncore__world *w, unsigned entries, void *params)
{
    FAIL_AS_PLANNED(KIT_URING_SETUP, -1);
    return K.uring_setup != NULL ? K.uring_setup(&K, entries, params)
                                 : -ENOSYS;
}

static int
w_uring_register(struct asyncore__world *w, int fd, unsigned op, void *arg,
                 unsigned n)
{
    FAIL_AS_PLANNED(KIT_URING_REGISTER, fd);
    return K.uring_register(&K, fd, op, arg, n);
}

static int
w_uring_submit(struct asyncore__world *w, int fd, unsigned n)
{
    FAIL_AS_PLANNED(KIT_URING_SUBMIT, fd);
    return K.uring_submit(&K, fd, n);
}

/* Whether it has found anything is seen in the ring only. */
static int
w_uring_wait(struct asyncore__world *w, int fd, unsigned n, int64_t timeout)
{
    FAIL_AS_PLANNED(KIT_URING_WAIT, fd);
    int result = K.uring_wait(&K, fd, n, before_wait(timeout));
    struct pollfd ring = {.fd = fd, .events = POLLIN};
    if (result >= 0 || result == -ETIME) {
        after_wait(timeout, K.poll(&K, &ring, 1, 0));
    }
    return result;
}

static int
w_uring_map(struct asyncore__world *w, int fd, size_t size, uint64_t offset,
            void **ret)
{
    FAIL_AS_PLANNED(KIT_URING_MAP, fd);
    return K.uring_map(&K, fd, size, offset, ret);
}

static void
w_uring_unmap(struct asyncore__world *w, void *at, size_t size)
{
    (void)w;
    K.uring_unmap(&K, at, size);
}

static const struct asyncore__world counting_world = {
#define KIT_SLOT(upper, lower) .lower = w_##lower,
    KIT_CALLS(KIT_SLOT)
#undef KIT_SLOT
        .send_soon = w_send_soon,
    .sendv_soon = w_sendv_soon,
    .uring_unmap = w_uring_unmap,
    .below = &asyncore__kernel,
};

/* ---- the world: plans ---- */

struct kit_fault *
kit_fail(enum kit_call call, int fd, unsigned long nth, unsigned long times,
         int code)
{
    struct kit_world *kw = &kit.world;
    assert_in_range(kw->nfaults, 0, COUNT(kw->faults) - 1);
    kw->faults[kw->nfaults] = (struct kit_fault){
        .call = call, .fd = fd, .nth = nth, .times = times, .code = code};
    return &kw->faults[kw->nfaults++];
}

void
kit_heal(void)
{
    kit.world.nfaults = 0;
    kit.world.hook = NULL;
    kit.world.max_in = kit.world.max_out = SIZE_MAX;
    kit.alloc.fail_at = 0;
}

void
kit_count_anew(void)
{
    memset(kit.world.calls, 0, sizeof kit.world.calls);
    kit.world.total = 0;
}

enum kit_call
kit_wait_call(void)
{
    const char *name = asyncore_map_backend(kit.map);
    return strcmp(name, "epoll") == 0      ? KIT_EPOLL_WAIT
           : strcmp(name, "io_uring") == 0 ? KIT_URING_WAIT
           : strcmp(name, "poll") == 0     ? KIT_POLL
                                           : KIT_SELECT;
}

void
kit_advance(double seconds)
{
    if (!kit.world.manual) {
        kit.world.manual = true;
        kit.world.time = asyncore__kernel.now(&asyncore__kernel);
    }
    kit.world.time += (int64_t)(seconds * 1e9);
}

/* ---- the allocator ---- */

struct block {
    size_t size;
    max_align_t data[];
};

static void *
allocate(size_t size)
{
    unsigned long n = atomic_fetch_add(&kit.alloc.count, 1) + 1;
    unsigned long at = kit.alloc.fail_at;
    if (at != 0 && n >= at && n - at < kit.alloc.times) {
        return NULL;
    }
    struct block *block = malloc(sizeof *block + size);
    if (block == NULL) {
        return NULL;
    }
    block->size = size;
    memset(block->data, 0xa5, size);
    atomic_fetch_add(&kit.alloc.live, 1);
    return block->data;
}

static struct block *
block_of(void *ptr)
{
    return (struct block *)(void *)((char *)ptr -
                                    offsetof(struct block, data));
}

static void
release(void *ptr)
{
    struct block *block = block_of(ptr);
    memset(block->data, 0xdd, block->size);
    free(block);
    atomic_fetch_sub(&kit.alloc.live, 1);
}

static void *
counting_realloc(void *ptr, size_t size, void *arg)
{
    (void)arg;
    void *fresh = size > 0 ? allocate(size) : NULL;
    if (ptr != NULL && (fresh != NULL || size == 0)) {
        if (fresh != NULL) {
            memcpy(fresh, ptr, least(size, block_of(ptr)->size));
        }
        release(ptr);
    }
    return fresh;
}

void
kit_fail_alloc(unsigned long nth, unsigned long times)
{
    kit.alloc.times = times;
    kit.alloc.fail_at = kit.alloc.count + nth;
}

/* ---- recorded channels ---- */

struct chan *
chan_of(struct asyncore_dispatcher *d)
{
    return asyncore_container_of(d, struct chan, u.base);
}

/* Count it, and do as the test says, or else as `usual` does. */
static int
react(struct chan *c, enum kit_event event, int (*usual)(struct chan *c))
{
    c->events[event]++;
    if (c->react[event] != NULL) {
        return c->react[event](c);
    }
    return usual != NULL ? usual(c) : 0;
}

static bool
on_readable(struct asyncore_dispatcher *d)
{
    struct chan *c = chan_of(d);
    if ((c->flags & REC_QUIET) == 0) {
        kit_trace("%s.readable", c->name);
    }
    (void)react(c, ON_READABLE, NULL);
    return c->want_read;
}

static bool
on_writable(struct asyncore_dispatcher *d)
{
    struct chan *c = chan_of(d);
    if ((c->flags & REC_QUIET) == 0) {
        kit_trace("%s.writable", c->name);
    }
    (void)react(c, ON_WRITABLE, NULL);
    return c->want_write;
}

int
react_read(struct chan *c)
{
    char buf[4096];
    size_t len = c->chunk > 0 ? least(c->chunk, sizeof buf) : sizeof buf;
    ssize_t n = asyncore_recv(D(c), buf, len);
    if (n > 0) {
        text_append(&c->in, buf, (size_t)n);
        kit_trace("%s.recv %zd", c->name, n);
    }
    return n < 0 ? (int)n : 0;
}

static int
on_read(struct asyncore_dispatcher *d)
{
    kit_trace("%s.handle_read", chan_of(d)->name);
    return react(chan_of(d), ON_READ, react_read);
}

static int
on_write(struct asyncore_dispatcher *d)
{
    kit_trace("%s.handle_write", chan_of(d)->name);
    return react(chan_of(d), ON_WRITE, NULL);
}

static int
on_expt(struct asyncore_dispatcher *d)
{
    kit_trace("%s.handle_expt", chan_of(d)->name);
    return react(chan_of(d), ON_EXPT, NULL);
}

static int
on_connect(struct asyncore_dispatcher *d)
{
    kit_trace("%s.handle_connect", chan_of(d)->name);
    return react(chan_of(d), ON_CONNECT, NULL);
}

static int
on_eof(struct asyncore_dispatcher *d)
{
    kit_trace("%s.handle_eof", chan_of(d)->name);
    return react(chan_of(d), ON_EOF, NULL);
}

static int
super_timeout(struct chan *c)
{
    return asyncore_dispatcher_handle_timeout(D(c));
}

static int
on_timeout(struct asyncore_dispatcher *d)
{
    kit_trace("%s.handle_timeout", chan_of(d)->name);
    return react(chan_of(d), ON_TIMEOUT, super_timeout);
}

static int
on_drain(struct asyncore_dispatcher *d)
{
    kit_trace("%s.handle_drain", chan_of(d)->name);
    return react(chan_of(d), ON_DRAIN, NULL);
}

static int
super_accept(struct chan *c)
{
    return asyncore_dispatcher_handle_accept(D(c));
}

static int
on_accept(struct asyncore_dispatcher *d)
{
    kit_trace("%s.handle_accept", chan_of(d)->name);
    return react(chan_of(d), ON_ACCEPT, super_accept);
}

static int
take_child(struct chan *c, int fd)
{
    char name[sizeof c->name + 12];
    snprintf(name, sizeof name, "%s%u", c->name, ++c->born);
    struct chan *child = chan_new(name, c->flags);
    memcpy(child->react, c->react, sizeof child->react);
    child->chunk = c->chunk;
    child->want_read = c->want_read;
    child->want_write = c->want_write;
    child->is_sender = c->is_sender;
    c->last = child;
    return c->is_sender ? chan_try_sender(child, fd) : chan_try(child, fd);
}

static int
on_accepted(struct asyncore_dispatcher *d, int fd,
            const struct asyncore_addr *addr)
{
    struct chan *c = chan_of(d);
    kit_trace("%s.handle_accepted", c->name);
    return c->accepted != NULL ? c->accepted(c, fd, addr) : take_child(c, fd);
}

int
react_close(struct chan *c)
{
    return asyncore_close(D(c));
}

static int
on_close(struct asyncore_dispatcher *d)
{
    struct chan *c = chan_of(d);
    c->reason = d->error;
    kit_trace("%s.handle_close%s%s", c->name, d->error != 0 ? " " : "",
              d->error != 0 ? asyncore_errorcode(d->error) : "");
    return react(c, ON_CLOSE, react_close);
}

static int
super_error(struct chan *c)
{
    return asyncore_dispatcher_handle_error(D(c), &c->failed);
}

static int
on_error(struct asyncore_dispatcher *d, const struct asyncore_error *err)
{
    struct chan *c = chan_of(d);
    const char *name = asyncore_errorcode(err->code);
    c->failed = *err;
    kit_trace("%s.handle_error %s %s %s", c->name, name != NULL ? name : "?",
              err->op != NULL ? err->op : "-",
              err->handler != NULL ? err->handler : "-");
    return react(c, ON_ERROR, super_error);
}

static void
on_destroy(struct asyncore_dispatcher *d)
{
    struct chan *c = chan_of(d);
    kit_trace("%s.destroy", c->name);
    c->destroyed++;
    assert_int_equal(c->destroyed, 1);
    memset(&c->u, 0xdd, sizeof c->u); /* nobody may look at it any more */
}

#define ON_EVENT(kind)                                            \
    static int on_##kind##_event(struct asyncore_dispatcher *d)   \
    {                                                             \
        kit_trace("%s.handle_" #kind "_event", chan_of(d)->name); \
        return asyncore_dispatcher_handle_##kind##_event(d);      \
    }
ON_EVENT(read)
ON_EVENT(write)
ON_EVENT(expt)
ON_EVENT(connect)

static void
fill_ops(struct asyncore_ops *ops, unsigned flags)
{
    ops->handle_read = on_read;
    ops->handle_connect = on_connect;
    ops->handle_accepted = on_accepted;
    ops->handle_close = on_close;
    ops->handle_error = on_error;
    ops->handle_timeout = on_timeout;
    ops->handle_drain = on_drain;
    ops->destroy = on_destroy;
    if ((flags & REC_WRITE) != 0) {
        ops->handle_write = on_write;
    }
    if ((flags & REC_EXPT) != 0) {
        ops->handle_expt = on_expt;
    }
    if ((flags & REC_EOF) != 0) {
        ops->handle_eof = on_eof;
    }
    if ((flags & REC_ACCEPT) != 0) {
        ops->handle_accept = on_accept;
    }
    if ((flags & (REC_ASK | REC_TOUCH)) != 0) {
        ops->readable = on_readable;
        ops->writable = on_writable;
        ops->flags = (flags & REC_TOUCH) != 0 ? ASYNCORE_ASK_ON_TOUCH : 0;
    }
    if ((flags & REC_EVENTS) != 0) {
        ops->handle_read_event = on_read_event;
        ops->handle_write_event = on_write_event;
        ops->handle_expt_event = on_expt_event;
        ops->handle_connect_event = on_connect_event;
    }
}

struct chan *
chan_new(const char *name, unsigned flags)
{
    struct chan *c = calloc(1, sizeof *c);
    assert_non_null(c);
    memset(&c->u, 0xa5, sizeof c->u); /* init must not trust it */
    snprintf(c->name, sizeof c->name, "%s", name);
    c->flags = flags;
    c->want_read = true;
    fill_ops(&c->ops, flags);
    c->ops.name = c->name;
    c->next = kit.chans;
    kit.chans = c;
    return c;
}

static int
opened(struct chan *c, int fd, int err)
{
    if (err >= 0) {
        c->opened = fd >= 0;
        c->destroyed = 0;
    }
    return err;
}

int
chan_try(struct chan *c, int fd)
{
    return opened(c, fd, asyncore_dispatcher_init(D(c), &c->ops, fd, kit.map));
}

int
chan_try_sender(struct chan *c, int fd)
{
    c->is_sender = true;
    return opened(c, fd,
                  asyncore_dispatcher_with_send_init(&c->u.sender, &c->ops, fd,
                                                     kit.map));
}

int
chan_try_file(struct chan *c, int fd)
{
    return opened(
        c, fd,
        asyncore_file_dispatcher_init(&c->u.file, &c->ops, fd, kit.map));
}

struct chan *
chan_open(const char *name, unsigned flags, int fd)
{
    struct chan *c = chan_new(name, flags);
    assert_int_equal(chan_try(c, fd), 0);
    return c;
}

struct chan *
chan_open_sender(const char *name, unsigned flags, int fd)
{
    struct chan *c = chan_new(name, flags);
    assert_int_equal(chan_try_sender(c, fd), 0);
    return c;
}

struct chan *
chan_open_file(const char *name, unsigned flags, int fd)
{
    struct chan *c = chan_new(name, flags);
    assert_int_equal(chan_try_file(c, fd), 0);
    return c;
}

struct chan *
chan_socket(const char *name, unsigned flags, int family, int type)
{
    struct chan *c = chan_open(name, flags, -1);
    int err = asyncore_create_socket(D(c), family, type);
    if (err == -EAFNOSUPPORT) {
        skip();
    }
    assert_int_equal(err, 0);
    c->opened = true;
    return c;
}

struct chan *
chan_listen(const char *name, unsigned flags, int family)
{
    struct chan *c = chan_socket(name, flags, family, SOCK_STREAM);
    const char *host = family == AF_INET6 ? "::1" : "127.0.0.1";
    int err = asyncore_bind(D(c), host, 0);
    if (err == -EADDRNOTAVAIL) {
        skip();
    }
    assert_int_equal(err, 0);
    assert_int_equal(asyncore_listen(D(c), 64), 0);
    return c;
}

int
chan_port(struct chan *c)
{
    struct asyncore_addr addr;
    assert_int_equal(asyncore_getsockname(D(c), &addr), 0);
    return ntohs(addr.u.sa.sa_family == AF_INET6 ? addr.u.in6.sin6_port
                                                 : addr.u.in.sin_port);
}

/* ---- reactions ---- */

int
react_close_peer(struct chan *c)
{
    return asyncore_close(D(c->peer));
}

int
react_nothing(struct chan *c)
{
    (void)c;
    return 0;
}

int
react_exit_now(struct chan *c)
{
    (void)c;
    return ASYNCORE_EXIT_NOW;
}

int
react_fail(struct chan *c)
{
    return -c->value;
}

int
react_echo(struct chan *c)
{
    char buf[4096];
    ssize_t n = asyncore_recv(D(c), buf, sizeof buf);
    if (n > 0) {
        n = asyncore_send(D(c), buf, (size_t)n);
    }
    return n < 0 ? (int)n : 0;
}

/* ---- set-up and tear-down ---- */

static void
list_fds(unsigned char open_fds[4096])
{
    memset(open_fds, 0, 4096);
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        int fd = atoi(e->d_name);
        if (e->d_name[0] != '.' && fd != dirfd(dir) && fd < 4096) {
            open_fds[fd] = 1;
        }
    }
    closedir(dir);
}

static void
assert_same_fds(void)
{
    static unsigned char now[4096];
    bool same = true;
    list_fds(now);
    for (int fd = 0; fd < 4096; fd++) {
        if (now[fd] != kit.open_fds[fd]) {
            char path[32], name[128] = "";
            snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
            ssize_t len = readlink(path, name, sizeof name - 1);
            print_error("descriptor %d %s %.*s\n", fd,
                        now[fd] ? "was left open:" : "has been closed",
                        len > 0 ? (int)len : 0, name);
            same = false;
        }
    }
    assert_true(same);
}

int
kit_setup_bare(void **state)
{
    (void)state;
    memset(&kit, 0, sizeof kit);
    kit.world.table = counting_world;
    asyncore__uring_takes_unix = getenv("KIT_URING_UNIX") != NULL;
    kit_heal();
    list_fds(kit.open_fds);
    asyncore_set_allocator(counting_realloc, NULL);
    asyncore_set_log(keep_log, NULL);
    asyncore__world_default = &kit.world.table;
    return 0;
}

int
kit_setup(void **state)
{
    kit_setup_bare(state);
    int err = asyncore_map_create(NULL, &kit.map);
    if (strstr(text_get(&kit.log), "io_uring is not available") != NULL) {
        print_message("%s", text_get(&kit.log));
        exit(77); /* skipped, to meson */
    }
    return err;
}

void
kit_free_map(void)
{
    if (kit.map != NULL) {
        for (struct chan *c = kit.chans; c != NULL; c = c->next) {
            if (c->opened && !c->destroyed) { /* also if it is in no map */
                asyncore_close(D(c));
            }
        }
        asyncore_close_all(kit.map, true);
        assert_int_equal(asyncore_map_free(kit.map), 0);
        kit.map = NULL;
    }
}

/* Returns how many were not destroyed as they should. */
static int
free_chans(void)
{
    int bad = 0;
    while (kit.chans != NULL) {
        struct chan *c = kit.chans;
        kit.chans = c->next;
        if (c->destroyed != (c->opened ? 1u : 0u)) {
            print_error("%s was destroyed %u times\n", c->name, c->destroyed);
            bad++;
        }
        text_clear(&c->in);
        free(c);
    }
    return bad;
}

int
kit_teardown(void **state)
{
    (void)state;
    kit_heal();
    kit_free_map();
    int bad = free_chans();
    asyncore_set_allocator(NULL, NULL);
    asyncore_set_log(NULL, NULL);
    asyncore__world_default = &asyncore__kernel;
    text_clear(&kit.log);
    text_clear(&kit.trace);
    assert_int_equal(bad, 0);
    assert_int_equal(kit.alloc.live, 0);
    assert_same_fds();
    return 0;
}

void
kit_pass(void)
{
    assert_int_equal(asyncore_poll(0, kit.map), 0);
}

/* ---- descriptors ---- */

static void
set_flags(int fd)
{
    assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
    assert_int_equal(fcntl(fd, F_SETFD, FD_CLOEXEC), 0);
}

static void
no_delay(int fd)
{
    int on = 1;
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on),
                     0);
}

static void
loopback(int family, struct asyncore_addr *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->u.sa.sa_family = (sa_family_t)family;
    if (family == AF_INET6) {
        ret->u.in6.sin6_addr = in6addr_loopback;
        ret->len = sizeof ret->u.in6;
    }
    else {
        ret->u.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        ret->len = sizeof ret->u.in;
    }
}

static int
bound_socket(int family, struct asyncore_addr *ret)
{
    int fd = socket(family, SOCK_STREAM, 0);
    if (fd < 0 && family == AF_INET6) {
        skip();
    }
    assert_true(fd >= 0);
    loopback(family, ret);
    if (bind(fd, &ret->u.sa, ret->len) < 0) {
        close(fd);
        assert_int_equal(family, AF_INET6);
        skip();
    }
    ret->len = sizeof ret->u;
    assert_int_equal(getsockname(fd, &ret->u.sa, &ret->len), 0);
    return fd;
}

static int
port_of(const struct asyncore_addr *addr)
{
    return ntohs(addr->u.sa.sa_family == AF_INET6 ? addr->u.in6.sin6_port
                                                  : addr->u.in.sin_port);
}

int
kit_listener(int family, int *ret_port)
{
    struct asyncore_addr addr;
    int fd = bound_socket(family, &addr);
    assert_int_equal(listen(fd, 64), 0);
    *ret_port = port_of(&addr);
    return fd;
}

int
kit_dead_port(int *ret_fd)
{
    struct asyncore_addr addr;
    *ret_fd = bound_socket(AF_INET, &addr);
    return port_of(&addr);
}

int
kit_connect(int port)
{
    struct asyncore_addr addr;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    loopback(AF_INET, &addr);
    addr.u.in.sin_port = htons((uint16_t)port);
    assert_int_equal(connect(fd, &addr.u.sa, addr.len), 0);
    no_delay(fd);
    set_flags(fd);
    return fd;
}

void
kit_pair(int family, int fd[2])
{
    if (family == AF_UNIX) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    }
    else {
        struct asyncore_addr addr;
        int listener = bound_socket(family, &addr);
        assert_int_equal(listen(listener, 1), 0);
        fd[0] = socket(family, SOCK_STREAM, 0);
        assert_int_equal(connect(fd[0], &addr.u.sa, addr.len), 0);
        fd[1] = accept(listener, NULL, NULL);
        assert_true(fd[1] >= 0);
        close(listener);
        no_delay(fd[0]);
        no_delay(fd[1]);
    }
    set_flags(fd[0]);
    set_flags(fd[1]);
}

struct chan *
kit_pair_chan(const char *name, unsigned flags, int family, int *ret_peer)
{
    int fd[2];
    kit_pair(family, fd);
    *ret_peer = fd[1];
    return chan_open(name, flags, fd[0]);
}

void
kit_write(int fd, const void *data, size_t len)
{
    assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

size_t
kit_fill(int fd)
{
    static const char zeros[65536];
    size_t total = 0;
    for (;;) {
        ssize_t n = write(fd, zeros, sizeof zeros);
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            return total;
        }
        total += (size_t)n;
    }
}

bool
kit_drain(int fd, struct text *ret)
{
    char buf[65536];
    for (;;) {
        ssize_t n = read(fd, buf, sizeof buf);
        if (n == 0 || (n < 0 && errno == ECONNRESET)) {
            return false;
        }
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            return true;
        }
        text_append(ret, buf, (size_t)n);
    }
}

void
kit_reset(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    close(fd);
}

void
kit_shrink(int fd)
{
    int size = 4096;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size),
                     0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size),
                     0);
}

bool
kit_is_readable(int fd)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    return poll(&one, 1, 0) > 0;
}

char
kit_byte(size_t n)
{
    return (char)((uint32_t)(n * 2654435761u) >> 24);
}

void
kit_bytes(char *buf, size_t from, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        buf[i] = kit_byte(from + i);
    }
}
