/* SPDX-License-Identifier: MIT */
/* http_client.c - the HTTP client of asyncore's documentation.
 *
 *   http_client URL
 *   http_client HOST[:PORT] [PATH]
 *
 * As there, a dispatcher connects, writable() says that there is still
 * something of the request to send, handle_write() sends it, handle_read()
 * takes what comes.  This one also understands the answer: it writes the body
 * to stdout, and only a whole one is a success.
 */
#define _POSIX_C_SOURCE 200809L

#include "common.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char usage[] =
    "usage: http_client [-t SECONDS] URL\n"
    "       http_client [-t SECONDS] HOST[:PORT] [PATH]\n"
    "Fetch http://HOST[:PORT]/PATH and write its body to stdout.\n"
    "  -t SECONDS  give up when nothing happens for so long (default 30)\n";

#define MAX_HEAD ((size_t)256 * 1024) /* bytes of status line and headers */

/* What of the answer comes next. */
enum part {
    NOTHING, /* it has not begun: we are connecting */
    STATUS_LINE,
    HEADER,
    BODY,        /* `left` bytes of it */
    BODY_TO_END, /* whatever comes until the connection ends */
    CHUNK_SIZE,
    CHUNK, /* `left` bytes of it */
    CHUNK_END,
    TRAILER,
    DONE
};

struct http_client {
    struct asyncore_dispatcher channel;
    struct endpoint server;
    struct target target;
    int tried; /* addresses of the target */
    double timeout;
    const char *path;
    char authority[300]; /* "HOST:PORT", as in a URL */
    char request[8192];
    size_t request_len, sent;

    enum part part;
    char line[8192]; /* as much of it as has come */
    size_t line_len, head_len;
    char status[128]; /* "200 OK" */
    char location[512];
    bool has_length, chunked;
    uint64_t left;
    int exit_status;
};

static struct http_client *
client_of(struct asyncore_dispatcher *d)
{
    return asyncore_container_of(d, struct http_client, channel);
}

/* ---- the end, good or bad ---------------------------------------------- */

static int
finish(struct http_client *c, int exit_status)
{
    c->part = DONE;
    c->exit_status = exit_status;
    return asyncore_close(&c->channel);
}

static int
fail(struct http_client *c, const char *what, const char *detail)
{
    complain("http://%s%s: %s%s%s", c->authority, c->path, what,
             *detail != '\0' ? ": " : "", detail);
    return finish(c, 1);
}

static int
malformed(struct http_client *c, const char *detail)
{
    return fail(c, "malformed response", detail);
}

static int
succeed(struct http_client *c)
{
    if (fflush(stdout) != 0) {
        return fail(c, "cannot write to stdout", strerror(errno));
    }
    return finish(c, 0);
}

/* The connection has ended, in order if err is 0: is that the right time? */
static int
ended(struct http_client *c, int err)
{
    char detail[64];

    if (err != 0) {
        return fail(c, "connection lost", asyncore_strerror(err));
    }
    switch (c->part) {
    case BODY_TO_END:
        return succeed(c);
    case BODY:
        snprintf(detail, sizeof detail, "%" PRIu64 " bytes are missing",
                 c->left);
        return fail(c, "truncated body", detail);
    case STATUS_LINE:
        if (c->head_len == 0) {
            return fail(c, "the server closed without an answer", "");
        }
        return malformed(c, "it ends in the status line");
    case HEADER:
        return malformed(c, "it ends in the headers");
    default:
        return fail(c, "truncated body", "the last chunk is missing");
    }
}

/* ---- the answer, line by line ------------------------------------------ */

/* "HTTP/1.1 200 OK" */
static int
take_status_line(struct http_client *c, const char *line)
{
    static const char digits[] = "0123456789";

    if (strncmp(line, "HTTP/1.", 7) != 0 || strspn(line + 7, digits) != 1 ||
        line[8] != ' ' || strspn(line + 9, digits) != 3 ||
        (line[12] != ' ' && line[12] != '\0')) {
        return malformed(c, "no HTTP/1 status line");
    }
    snprintf(c->status, sizeof c->status, "%s", line + 9);
    c->part = HEADER;
    return 0;
}

/* Returns false if it is no number, or one beyond all measure. */
static bool
parse_number(const char *text, int base, uint64_t *ret)
{
    const char *digits = base == 16 ? "0123456789abcdefABCDEF" : "0123456789";
    size_t len = strspn(text, digits);

    if (len == 0 || text[len + strspn(text + len, " \t")] != '\0') {
        return false;
    }
    errno = 0;
    *ret = strtoull(text, NULL, base);
    return errno == 0;
}

static int
take_length(struct http_client *c, const char *value)
{
    uint64_t length;

    if (!parse_number(value, 10, &length) ||
        (c->has_length && length != c->left)) {
        return malformed(c, "bad Content-Length");
    }
    c->has_length = true;
    c->left = length;
    return 0;
}

/* After the empty line: what kind of body is it? */
static int
headers_end(struct http_client *c)
{
    if (c->status[0] == '1') { /* the real answer is still to come */
        c->part = STATUS_LINE;
        c->has_length = c->chunked = false;
        return 0;
    }
    if (c->status[0] != '2') {
        return fail(c, c->status, c->location);
    }
    if (strncmp(c->status, "204", 3) == 0) {
        return succeed(c);
    }
    if (c->chunked) {
        c->part = CHUNK_SIZE;
        return 0;
    }
    if (!c->has_length) {
        c->part = BODY_TO_END;
        return 0;
    }
    c->part = BODY;
    return c->left == 0 ? succeed(c) : 0;
}

/* "Name: value", or the empty line after the last. */
static int
take_header(struct http_client *c, char *line)
{
    char *colon, *value;

    if (*line == '\0') {
        return headers_end(c);
    }
    if (*line == ' ' || *line == '\t') {
        return 0; /* a header of old goes on; none of ours does */
    }
    colon = strchr(line, ':');
    if (colon == NULL || colon == line ||
        strcspn(line, ": \t") != (size_t)(colon - line)) {
        return malformed(c, "bad header");
    }
    *colon = '\0';
    value = colon + 1 + strspn(colon + 1, " \t");
    if (strcasecmp(line, "Content-Length") == 0) {
        return take_length(c, value);
    }
    if (strcasecmp(line, "Transfer-Encoding") == 0) {
        if (strcasecmp(value, "chunked") != 0) {
            return fail(c, "unknown transfer coding", value);
        }
        c->chunked = true;
    }
    if (strcasecmp(line, "Location") == 0) {
        snprintf(c->location, sizeof c->location, "%s", value);
    }
    return 0;
}

/* "1f40" or "1f40;extension" */
static int
take_chunk_size(struct http_client *c, char *line)
{
    line[strcspn(line, ";")] = '\0';
    if (!parse_number(line, 16, &c->left)) {
        return malformed(c, "bad chunk size");
    }
    c->part = c->left > 0 ? CHUNK : TRAILER;
    return 0;
}

static int
take_whole_line(struct http_client *c, char *line)
{
    switch (c->part) {
    case STATUS_LINE:
        return take_status_line(c, line);
    case HEADER:
        return take_header(c, line);
    case CHUNK_SIZE:
        return take_chunk_size(c, line);
    case CHUNK_END:
        c->part = CHUNK_SIZE;
        return *line == '\0' ? 0 : malformed(c, "bad end of a chunk");
    default: /* trailers say nothing to us */
        return *line == '\0' ? succeed(c) : 0;
    }
}

/* ---- the answer, byte by byte ------------------------------------------ */

/* Add to the line; returns how much was taken. */
static size_t
take_line(struct http_client *c, const char *data, size_t len)
{
    const char *end = memchr(data, '\n', len);
    size_t n = end != NULL ? (size_t)(end - data) + 1 : len;

    if (c->part != CHUNK_SIZE && c->part != CHUNK_END) {
        c->head_len += n;
    }
    if (n >= sizeof c->line - c->line_len || c->head_len > MAX_HEAD) {
        malformed(c, "a line or the header is too long");
        return n;
    }
    memcpy(c->line + c->line_len, data, n);
    c->line_len += n;
    if (end == NULL) {
        return n;
    }
    c->line_len -= c->line_len > 1 && c->line[c->line_len - 2] == '\r' ? 2 : 1;
    c->line[c->line_len] = '\0';
    if (memchr(c->line, '\0', c->line_len) != NULL) {
        malformed(c, "a zero byte in a line");
        return n;
    }
    c->line_len = 0;
    take_whole_line(c, c->line);
    return n;
}

static size_t
take_body(struct http_client *c, const char *data, size_t len)
{
    if (c->part != BODY_TO_END && len > c->left) {
        len = (size_t)c->left;
    }
    if (fwrite(data, 1, len, stdout) != len) {
        fail(c, "cannot write to stdout", strerror(errno));
        return len;
    }
    if (c->part == BODY_TO_END) {
        return len;
    }
    c->left -= len;
    if (c->left == 0) {
        if (c->part == BODY) {
            succeed(c);
        }
        else {
            c->part = CHUNK_END;
        }
    }
    return len;
}

/* ---- the channel ------------------------------------------------------- */

/* Go on with the next address; err is what became of the last one. */
static int
connect_to_next(struct http_client *c, int err)
{
    err = connect_next(&c->channel, &c->target, &c->tried, err);
    if (err < 0) {
        return fail(c, "cannot connect", asyncore_strerror(err));
    }
    return asyncore_set_timeout(&c->channel, c->timeout);
}

static int
http_handle_connect(struct asyncore_dispatcher *d)
{
    client_of(d)->part = STATUS_LINE;
    return 0;
}

static int
http_handle_close(struct asyncore_dispatcher *d)
{
    struct http_client *c = client_of(d);

    return c->part == NOTHING ? connect_to_next(c, d->error)
                              : ended(c, d->error);
}

static int
http_handle_error(struct asyncore_dispatcher *d,
                  const struct asyncore_error *err)
{
    struct http_client *c = client_of(d);

    return c->part == NOTHING ? connect_to_next(c, err->code)
                              : ended(c, err->code);
}

static bool
http_writable(struct asyncore_dispatcher *d)
{
    struct http_client *c = client_of(d);

    return c->sent < c->request_len;
}

static int
http_handle_write(struct asyncore_dispatcher *d)
{
    struct http_client *c = client_of(d);
    ssize_t n =
        asyncore_send(d, c->request + c->sent, c->request_len - c->sent);

    if (n < 0) {
        return (int)n;
    }
    c->sent += (size_t)n;
    return 0;
}

static int
http_handle_read(struct asyncore_dispatcher *d)
{
    struct http_client *c = client_of(d);
    char data[16384];
    ssize_t len = asyncore_recv(d, data, sizeof data);
    size_t at = 0;

    while (len > 0 && at < (size_t)len && c->part != DONE) {
        const char *rest = data + at;
        size_t n = (size_t)len - at;

        at += c->part == BODY || c->part == BODY_TO_END || c->part == CHUNK
                  ? take_body(c, rest, n)
                  : take_line(c, rest, n);
    }
    return len < 0 ? (int)len : 0;
}

static const struct asyncore_ops http_client = {
    .name = "http_client",
    .writable = http_writable,
    .handle_connect = http_handle_connect,
    .handle_close = http_handle_close,
    .handle_read = http_handle_read,
    .handle_write = http_handle_write,
    .handle_error = http_handle_error,
};

/* ---- the command line -------------------------------------------------- */

/* Nothing of the command line may break out of its place in the request. */
static void
check_path(const char *path)
{
    for (const char *p = path; *p != '\0'; p++) {
        if (*p <= ' ' || *p >= 0x7f || *p == '#') {
            die(2, "bad path '%s'", path);
        }
    }
    if (*path != '\0' && *path != '/' && *path != '?') {
        die(2, "bad path '%s': it begins with '/'", path);
    }
}

/* Find the host, the port and the path in "http://HOST:PORT/PATH" or
 * "HOST:PORT". */
static void
parse_url(struct http_client *c, char *url)
{
    const char *scheme = strstr(url, "://");
    const char *text = scheme != NULL ? scheme + 3 : url;
    size_t len = strcspn(text, "/?#");
    const char *wrong = "bad host";
    char host_port[sizeof c->server.host + sizeof "[]:65535"];

    if (scheme != NULL && strncasecmp(url, "http://", 7) != 0) {
        die(2, "bad URL '%s': only http:// is spoken here", url);
    }
    url[strcspn(url, "#")] = '\0'; /* a fragment is for the reader */
    c->path = text + len;
    if (len < sizeof host_port) {
        memcpy(host_port, text, len);
        host_port[len] = '\0';
        wrong = split_host_port(host_port, 80, &c->server);
    }
    if (wrong == NULL && (c->server.host[0] == '\0' || c->server.port == 0)) {
        wrong = c->server.port == 0 ? "bad port" : "bad host";
    }
    if (wrong != NULL) {
        die(2, "%s in '%s'", wrong, url);
    }
}

/* A path may be "" and "?query", for "/" and "/?query". */
static void
make_request(struct http_client *c)
{
    bool v6 = strchr(c->server.host, ':') != NULL;
    char port[8] = "";
    int len;

    if (c->server.port != 80) {
        snprintf(port, sizeof port, ":%d", c->server.port);
    }
    snprintf(c->authority, sizeof c->authority, "%s%.*s%s%s", v6 ? "[" : "",
             (int)strcspn(c->server.host, "%"), c->server.host, v6 ? "]" : "",
             port);
    len = snprintf(c->request, sizeof c->request,
                   "GET %s%s HTTP/1.1\r\n"
                   "Host: %s\r\n"
                   "User-Agent: libasyncore-http_client/%s\r\n"
                   "Accept: */*\r\n"
                   "Connection: close\r\n\r\n",
                   *c->path == '/' ? "" : "/", c->path, c->authority,
                   asyncore_version());
    if (len < 0 || (size_t)len >= sizeof c->request) {
        die(2, "bad path: it is too long");
    }
    c->request_len = (size_t)len;
}

int
main(int argc, char **argv)
{
    static struct http_client client = {.timeout = 30};
    struct asyncore_map *map;
    int option, status, err;

    start(argv);
    while ((option = next_option(argc, argv, "ht:", 1, 2, usage)) != -1) {
        client.timeout = parse_seconds(optarg);
    }
    parse_url(&client, argv[optind]);
    if (argc - optind == 2) {
        if (client.path[0] != '\0' && strcmp(client.path, "/") != 0) {
            die(2, "two paths: '%s' and '%s'", client.path, argv[optind + 1]);
        }
        client.path = argv[optind + 1];
    }
    check_path(client.path);
    make_request(&client);

    map = make_map();
    err = find_target(&client.server, &client.target);
    if (err < 0) {
        die(1, "unknown host '%s': %s", client.server.host,
            asyncore_strerror(err));
    }
    asyncore_dispatcher_init(&client.channel, &http_client, -1, map);
    connect_to_next(&client, 0);
    status = serve(map);
    return status != 0 ? status : client.exit_status;
}
