/* SPDX-License-Identifier: MIT */
/* http_server.c - the request handler of asynchat's documentation, made real.
 *
 *   http_server [-t SECONDS] DIR [HOST] [PORT]
 *
 * As there, a connection is a chat with two terminators: a head ends in
 * "\r\n\r\n", a body after as many bytes as the head has said.  Files are sent
 * by the kernel (asynchat_push_file).
 *
 * A client may send many requests ahead (pipelining), but only one is
 * answered at a time.  Otherwise each of them could put a file into the output
 * queue, and hold a descriptor of ours.  So behind an answer goes a producer
 * that has nothing to say: when it is asked, the answer is out, and the next
 * request is looked at.  Until then no more is read than has been.
 *
 * Nobody stays for ever: who is silent is sent away, and so is who takes too
 * long over a request, by whatever small steps he sends it.
 */
#define _GNU_SOURCE /* O_PATH, syscall */

#include "common.h"
#include "http_request.h"

#include <asynchat.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifdef SYS_openat2
#include <linux/openat2.h>
#endif

static const char usage[] =
    "usage: http_server [-t SECONDS] DIR [HOST] [PORT]\n"
    "Serve the files below a directory.  HOST is 127.0.0.1 if not given, "
    "PORT\n"
    "8080; port 0 takes one that is free.\n"
    "  -t  send away who is silent for so many seconds, or takes longer over\n"
    "      a request (30)\n";

#define READ_SIZE 4096           /* bytes read in one pass, and so, ahead */
#define MAX_HEAD (4 * READ_SIZE) /* bytes of a head */
#define MAX_BODY (1024 * 1024)   /* bytes of a body, which is thrown away */
#define INDEX "index.html"

static double patience = 30; /* seconds */
static int root = -1;        /* the directory */

struct connection {
    struct asynchat chat;
    struct asynchat_producer sent; /* it comes behind each answer */
    enum {
        HEAD,
        BODY,
        ANSWER
    } state;             /* what is under way */
    double began;        /* when the request did; 0 = it has not */
    bool has_first_line; /* … which has come in */
    int failed;          /* the first push that did, of the answer */
    struct http_request request;
};

static struct connection *
connection_of(struct asyncore_dispatcher *d)
{
    return asyncore_container_of(d, struct connection, chat.base);
}

/* ---- files ------------------------------------------------------------- */

/* Not blocking, for it may be a FIFO that nobody writes to. */
#define OPEN_FLAGS (O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

/* Open what is below the directory and nothing else, symbolic links included,
 * whoever moves directories about in the meantime: the kernel can do that. */
static int
open_by_kernel(const char *path)
{
#ifdef SYS_openat2
    struct open_how how = {.flags = OPEN_FLAGS, .resolve = RESOLVE_BENEATH};

    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
#else
    (void)path;
    errno = ENOSYS;
    return -1;
#endif
}

/* The same for an older kernel, by hand: one part of the path after the other,
 * and no symbolic links at all. */
static int
open_by_parts(char *path)
{
    int dir = root, fd = -1;

    for (char *part = path; part != NULL;) {
        char *slash = strchr(part, '/');
        int flags = OPEN_FLAGS | O_NOFOLLOW;

        if (slash != NULL) {
            *slash = '\0';
            flags |= O_DIRECTORY;
        }
        fd = openat(dir, part, flags);
        if (dir != root) {
            int err = errno;

            close(dir);
            errno = err;
        }
        if (slash != NULL) {
            *slash++ = '/';
        }
        dir = fd;
        part = fd >= 0 ? slash : NULL;
    }
    return fd;
}

static bool kernel_can;

/* Does the kernel do it, and are we allowed to ask?  (Some sandboxes forbid
 * what they don't know.) */
static void
open_root(const char *path)
{
    int fd;

    root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) {
        die(2, "directory '%s': %s", path, strerror(errno));
    }
    fd = open_by_kernel(".");
    kernel_can = fd >= 0;
    if (fd >= 0) {
        close(fd);
    }
}

/* Returns a descriptor or the status that says why not. */
static int
open_below_root(char *path)
{
    int fd = kernel_can ? open_by_kernel(path) : open_by_parts(path);

    if (fd >= 0) {
        return fd;
    }
    switch (errno) {
    case EACCES:
    case EPERM:
    case EXDEV: /* it leads out */
        return -403;
    case EAGAIN: /* something moved while the kernel was looking */
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return -503;
    default:
        return -404;
    }
}

/* Find the file for a path; that for a directory is its index.
 *
 *   ret   what it is like
 *
 * Returns a descriptor or -STATUS; 301: it is a directory. */
static int
open_file(const char *path, struct stat *ret)
{
    char name[HTTP_MAX_TARGET + sizeof INDEX];
    size_t len = strlen(path);
    bool is_dir = len == 0 || path[len - 1] == '/';
    int fd, status = 0;

    snprintf(name, sizeof name, "%s%s", path, is_dir ? INDEX : "");
    fd = open_below_root(name);
    if (fd < 0) {
        return fd;
    }
    if (fstat(fd, ret) < 0) {
        status = 500;
    }
    else if (S_ISDIR(ret->st_mode)) {
        status = is_dir ? 404 : 301;
    }
    else if (!S_ISREG(ret->st_mode)) {
        status = 403;
    }
    if (status != 0) {
        close(fd);
    }
    return status != 0 ? -status : fd;
}

static const char *
content_type(const char *path)
{
    static const char *const types[][2] = {
        {".css", "text/css; charset=utf-8"},
        {".gif", "image/gif"},
        {".htm", "text/html; charset=utf-8"},
        {".html", "text/html; charset=utf-8"},
        {".jpg", "image/jpeg"},
        {".jpeg", "image/jpeg"},
        {".js", "text/javascript; charset=utf-8"},
        {".json", "application/json"},
        {".pdf", "application/pdf"},
        {".png", "image/png"},
        {".svg", "image/svg+xml"},
        {".txt", "text/plain; charset=utf-8"},
        {".wasm", "application/wasm"},
        {".xml", "application/xml"},
    };
    const char *name = strrchr(path, '/');
    const char *dot = strrchr(name != NULL ? name : path, '.');

    if (*path == '\0' || (name != NULL && name[1] == '\0')) {
        dot = ".html"; /* the index */
    }
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (dot != NULL && strcasecmp(dot, types[i][0]) == 0) {
            return types[i][1];
        }
    }
    return "application/octet-stream";
}

/* ---- answers ----------------------------------------------------------- */

static const char *
reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {411, "Length Required"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {431, "Request Header Fields Too Large"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };

    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (reasons[i].status == status) {
            return reasons[i].reason;
        }
    }
    return "Internal Server Error";
}

/* Add to an answer.  Many small pushes are no burden: what has been pushed by
 * the end of the pass is sent in one go.  The first that fails is remembered,
 * and end_answer() tells. */
static void
put(struct connection *c, const char *data, size_t len)
{
    if (c->failed == 0) {
        c->failed = asynchat_push(&c->chat, data, len);
    }
}

static void putf(struct connection *c, const char *fmt, ...)
    ASYNCORE_PRINTF(2, 3);

static void
putf(struct connection *c, const char *fmt, ...)
{
    char text[512];
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    put(c, text, n < (int)sizeof text ? (size_t)n : sizeof text - 1);
}

static void
begin_answer(struct connection *c, int status)
{
    char date[HTTP_DATE_SIZE];

    c->failed = 0;
    putf(c, "HTTP/1.1 %d %s\r\nDate: %s\r\nConnection: %s\r\n", status,
         reason(status), http_format_date(time(NULL), date),
         c->request.keep_alive ? "keep-alive" : "close");
}

/* What comes ahead of its time is collected in the meantime: no more than is
 * left of what has been read already, for connection_readable() says no. */
static int
end_answer(struct connection *c)
{
    if (c->failed < 0) {
        return c->failed;
    }
    if (!c->request.keep_alive) {
        return asyncore_close_when_done(&c->chat.base);
    }
    c->state = ANSWER;
    asynchat_set_terminator_none(&c->chat);
    return asynchat_push_with_producer(&c->chat, &c->sent);
}

/* The rest of an answer whose body is only what its status says. */
static int
end_with_text(struct connection *c, int status)
{
    char text[64];
    int len = snprintf(text, sizeof text, "%d %s\n", status, reason(status));

    putf(c, "Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n", len);
    if (c->request.method != HTTP_HEAD) {
        put(c, text, (size_t)len);
    }
    return end_answer(c);
}

static int
answer_with_text(struct connection *c, int status)
{
    begin_answer(c, status);
    return end_with_text(c, status);
}

/* The same, as the last answer: what follows can't be a request, and the
 * library throws it away. */
static int
refuse(struct connection *c, int status)
{
    c->request.keep_alive = false;
    return answer_with_text(c, status);
}

static int
redirect_to_directory(struct connection *c)
{
    char path[3 * HTTP_MAX_TARGET + 1];

    http_encode_path(c->request.path, path);
    begin_answer(c, 301);
    putf(c, "Location: /");
    put(c, path, strlen(path));
    putf(c, "/\r\n");
    return end_with_text(c, 301);
}

static int
answer_other_method(struct connection *c)
{
    begin_answer(c, 405);
    putf(c, "Allow: GET, HEAD\r\n");
    return end_with_text(c, 405);
}

/* ---- files as answers -------------------------------------------------- */

static int
push_part(struct connection *c, int fd, int status, time_t modified,
          const struct stat *st, uint64_t first, uint64_t len)
{
    char date[HTTP_DATE_SIZE];

    begin_answer(c, status);
    putf(c,
         "Content-Type: %s\r\nContent-Length: %" PRIu64 "\r\n"
         "Last-Modified: %s\r\nAccept-Ranges: bytes\r\n",
         content_type(c->request.path), len, http_format_date(modified, date));
    if (status == 206) {
        putf(c, "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%jd\r\n", first,
             first + len - 1, (intmax_t)st->st_size);
    }
    putf(c, "\r\n");
    if (c->failed == 0 && c->request.method == HTTP_GET && len > 0) {
        c->failed =
            asynchat_push_file(&c->chat, fd, (off_t)first, (size_t)len);
    }
    return end_answer(c);
}

static int
answer_not_modified(struct connection *c, time_t modified)
{
    char date[HTTP_DATE_SIZE];

    begin_answer(c, 304);
    putf(c, "Last-Modified: %s\r\n\r\n", http_format_date(modified, date));
    return end_answer(c);
}

static int
answer_no_such_part(struct connection *c, const struct stat *st)
{
    begin_answer(c, 416);
    putf(c, "Content-Range: bytes */%jd\r\n", (intmax_t)st->st_size);
    return end_with_text(c, 416);
}

/* A range is for GET only, and If-Range only for the file as it was. */
static bool
wants_range(const struct http_request *r, time_t modified)
{
    return r->method == HTTP_GET &&
           (!r->has_if_range || r->if_range == modified);
}

static int
answer_with_file(struct connection *c, int fd, const struct stat *st)
{
    const struct http_request *r = &c->request;
    uint64_t first = 0, len = (uint64_t)st->st_size;
    time_t now = time(NULL), modified = st->st_mtime;
    int status = 200;

    if (modified > now) { /* by a clock that is not ours */
        modified = now;
    }
    if (r->modified_since != HTTP_NEVER && modified <= r->modified_since) {
        return answer_not_modified(c, modified);
    }
    if (wants_range(r, modified)) {
        status = http_apply_range(&r->range, len, &first, &len);
    }
    return status == 416 ? answer_no_such_part(c, st)
                         : push_part(c, fd, status, modified, st, first, len);
}

/* Status 5xx: it is not the client's fault, but waiting here does not help. */
static int
answer(struct connection *c)
{
    struct stat st;
    int fd, err;

    if (c->request.method == HTTP_OTHER) {
        return answer_other_method(c);
    }
    fd = open_file(c->request.path, &st);
    if (fd == -301) {
        return redirect_to_directory(c);
    }
    if (fd < 0) {
        return fd <= -500 ? refuse(c, -fd) : answer_with_text(c, -fd);
    }
    err = answer_with_file(c, fd, &st);
    close(fd); /* the chat has a copy, if it needs one */
    return err;
}

/* ---- from head to body to answer --------------------------------------- */

static int
expect_head(struct connection *c)
{
    c->state = HEAD;
    c->began = 0;
    c->has_first_line = false;
    c->request.method = HTTP_OTHER;
    asynchat_set_max_message(&c->chat, MAX_HEAD);
    return asynchat_set_terminator(&c->chat, "\r\n\r\n", 4);
}

static int
expect_body(struct connection *c)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const struct http_request *r = &c->request;
    int err = 0;

    if (r->content_length > MAX_BODY) {
        return refuse(c, 413);
    }
    if (r->expects_continue) {
        err = asynchat_push(&c->chat, go_on, strlen(go_on));
    }
    c->state = BODY;
    asynchat_set_max_message(&c->chat, 0);
    asynchat_set_terminator_count(&c->chat, (size_t)r->content_length);
    return err;
}

/* The answer is out; now for what came ahead.  It may lie where we collect, so
 * it is fed from another place. */
static int
answer_sent(struct asynchat_producer *p, size_t hint,
            struct asyncore_bytes *ret)
{
    struct connection *c = asyncore_container_of(p, struct connection, sent);
    struct asyncore_bytes ahead = asynchat_get_data(&c->chat);
    char copy[READ_SIZE];
    int err;

    (void)hint;
    (void)ret;
    if (ahead.len > sizeof copy) {
        return -EMSGSIZE;
    }
    if (ahead.len > 0) {
        memcpy(copy, ahead.data, ahead.len);
    }
    err = expect_head(c);
    asyncore_touch(&c->chat.base); /* it is readable again */
    return err < 0 ? err : asynchat_feed(&c->chat, copy, ahead.len);
}

static const struct asynchat_producer_ops sent_ops = {
    .more = answer_sent,
};

/* ---- the channel of a connection --------------------------------------- */

static bool
connection_readable(struct asyncore_dispatcher *d)
{
    return connection_of(d)->state != ANSWER;
}

/* Looked at when something comes in; if nothing does, that is for
 * connection_timeout(). */
static bool
is_too_slow(struct connection *c)
{
    double now = asyncore_time(c->chat.base.map);

    if (c->began == 0) {
        c->began = now;
    }
    return now - c->began > patience;
}

static int
connection_collect(struct asynchat *chat, const void *data, size_t len)
{
    struct connection *c = connection_of(&chat->base);

    if (c->state != ANSWER && is_too_slow(c)) {
        return refuse(c, 408);
    }
    if (c->state == BODY) {
        return 0; /* nothing here wants it */
    }
    if (memchr(data, '\n', len) != NULL) {
        c->has_first_line = true;
    }
    return asynchat_collect_incoming_data(chat, data, len);
}

static int
connection_found(struct asynchat *chat)
{
    struct connection *c = connection_of(&chat->base);
    struct asyncore_bytes head;
    int status;

    if (c->state == BODY) {
        return answer(c);
    }
    head = asynchat_get_data(chat);
    status = http_parse(head.data, head.len, &c->request);
    if (status != 0) {
        return refuse(c, status);
    }
    return c->request.content_length > 0 ? expect_body(c) : answer(c);
}

/* By now more has come in than a target may have. */
static int
connection_too_long(struct asynchat *chat)
{
    struct connection *c = connection_of(&chat->base);

    return refuse(c, c->has_first_line ? 431 : 414);
}

/* The client has said all, and may be waiting for the rest of what we say. */
static int
connection_eof(struct asyncore_dispatcher *d)
{
    return asyncore_close_when_done(d);
}

/* In the middle of a request the client is told; else it has not begun one,
 * or does not take what we send. */
static int
connection_timeout(struct asyncore_dispatcher *d)
{
    struct connection *c = connection_of(d);

    if (d->closing || c->state == ANSWER || c->began == 0) {
        return asyncore_close(d);
    }
    return refuse(c, 408);
}

static void
connection_destroy(struct asyncore_dispatcher *d)
{
    free(connection_of(d));
}

/* It is asked whether it is readable only when that may have changed. */
static const struct asynchat_ops connection_ops = {
    .base.name = "http_connection",
    .base.flags = ASYNCORE_ASK_ON_TOUCH,
    .base.readable = connection_readable,
    .base.handle_eof = connection_eof,
    .base.handle_timeout = connection_timeout,
    .base.destroy = connection_destroy,
    .collect_incoming_data = connection_collect,
    .found_terminator = connection_found,
    .handle_too_long = connection_too_long,
};

/* ---- the listener ------------------------------------------------------ */

static int
prepare(struct connection *c)
{
    int on = 1;
    int err = asyncore_set_timeout(&c->chat.base, patience);

    /* A small file must not wait until its head has been acknowledged. */
    setsockopt(c->chat.base.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->chat.ac_in_buffer_size = READ_SIZE;
    c->sent.ops = &sent_ops;
    return err < 0 ? err : expect_head(c);
}

static int
server_accepted(struct asyncore_dispatcher *d, int fd,
                const struct asyncore_addr *addr)
{
    struct connection *c = calloc(1, sizeof *c);
    int err;

    if (c == NULL) {
        return -ENOMEM;
    }
    err = asynchat_init(&c->chat, &connection_ops, fd, d->map);
    if (err < 0) {
        free(c);
        return err;
    }
    err = prepare(c);
    if (err < 0) {
        complain("%s: %s", asyncore_addr_str(addr), asyncore_strerror(err));
        return asyncore_close(&c->chat.base); /* destroy releases it */
    }
    return 0;
}

static const struct asyncore_ops http_server = {
    .name = "http_server",
    .handle_accepted = server_accepted,
};

/* ---- the command line -------------------------------------------------- */

int
main(int argc, char **argv)
{
    struct asyncore_dispatcher server;
    struct asyncore_map *map;
    struct endpoint at;
    int option;

    start(argv);
    while ((option = next_option(argc, argv, "ht:", 1, 3, usage)) != -1) {
        if (option == 't') {
            patience = parse_seconds(optarg);
        }
    }
    parse_host_port(argc > optind + 1 ? argv[optind + 1] : "127.0.0.1",
                    argc > optind + 2 ? argv[optind + 2] : "8080", &at);
    open_root(argv[optind]);
    map = make_map();
    stop_on_signals(map);
    asyncore_dispatcher_init(&server, &http_server, -1, map);
    listen_on(&server, &at, stdout);
    return serve(map);
}
