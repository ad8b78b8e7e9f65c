/* SPDX-License-Identifier: MIT */
/* http_request.c - the head of an HTTP request, taken apart. */
#define _GNU_SOURCE /* memmem, strptime, timegm */

#include "http_request.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* A view of some of the bytes of the head. */
struct text {
    const char *data;
    size_t len;
};

/* ---- characters -------------------------------------------------------- */

static bool
is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
           (c >= 'a' && c <= 'z');
}

static bool
is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

static bool
is_token_char(char c)
{
    return is_alnum(c) || is_one_of(c, "!#$%&'*+-.^_`|~");
}

/* Of "HOST" or "HOST:PORT", roughly: what is in neither is a trick. */
static bool
is_host_char(char c)
{
    return is_alnum(c) || is_one_of(c, "-._~%!$&'()*+,;=:[]");
}

static bool
is_target_char(char c)
{
    return c > ' ' && c < 0x7f && c != '#';
}

static bool
is_made_of(struct text text, bool (*is)(char c))
{
    for (size_t i = 0; i < text.len; i++) {
        if (!is(text.data[i])) {
            return false;
        }
    }
    return true;
}

/* A whole head: lines that end in "\r\n" and in nothing else, and no control
 * characters, NUL among them, in any line. */
static bool
is_clean(struct text head)
{
    for (size_t i = 0; i < head.len; i++) {
        unsigned char c = (unsigned char)head.data[i];

        if (c == '\r' && i + 1 < head.len && head.data[i + 1] == '\n') {
            i++;
        }
        else if ((c < ' ' && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

/* ---- pieces of text ---------------------------------------------------- */

/* Take what comes before a separator off the beginning of a text, or all of
 * it; the separator goes, too. */
static struct text
cut(struct text *from, const char *separator)
{
    size_t len = strlen(separator);
    struct text piece = *from;
    const char *at = memmem(from->data, from->len, separator, len);

    if (at == NULL) {
        from->data += from->len;
        from->len = 0;
        return piece;
    }
    piece.len = (size_t)(at - from->data);
    from->data = at + len;
    from->len -= piece.len + len;
    return piece;
}

/* Was there no separator behind the piece? */
static bool
was_last(struct text piece, struct text rest)
{
    return piece.data + piece.len == rest.data;
}

static struct text
trim(struct text text)
{
    while (text.len > 0 && is_one_of(text.data[0], " \t")) {
        text.data++;
        text.len--;
    }
    while (text.len > 0 && is_one_of(text.data[text.len - 1], " \t")) {
        text.len--;
    }
    return text;
}

static bool
equals(struct text text, const char *other)
{
    return text.len == strlen(other) &&
           memcmp(text.data, other, text.len) == 0;
}

static bool
equals_ignoring_case(struct text text, const char *other)
{
    return text.len == strlen(other) &&
           strncasecmp(text.data, other, text.len) == 0;
}

/* Digits and nothing else.  A number that is too large for us is UINT64_MAX,
 * which is too large for anything. */
static bool
parse_number(struct text text, uint64_t *ret)
{
    *ret = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned char)text.data[i] - (unsigned)'0';

        if (digit > 9) {
            return false;
        }
        *ret =
            *ret > (UINT64_MAX - digit) / 10 ? UINT64_MAX : *ret * 10 + digit;
    }
    return text.len > 0;
}

/* ---- dates ------------------------------------------------------------- */

const char *
http_format_date(time_t when, char buf[HTTP_DATE_SIZE])
{
    struct tm tm;

    if (gmtime_r(&when, &tm) == NULL ||
        strftime(buf, HTTP_DATE_SIZE, "%a, %d %b %Y %H:%M:%S GMT", &tm) == 0) {
        snprintf(buf, HTTP_DATE_SIZE, "Thu, 01 Jan 1970 00:00:00 GMT");
    }
    return buf;
}

/* In the form of today, or in one of the two that went before it.  What is
 * none of them is as good as not said. */
static time_t
parse_date(struct text text)
{
    static const char *const formats[] = {
        "%a, %d %b %Y %H:%M:%S GMT",
        "%A, %d-%b-%y %H:%M:%S GMT",
        "%a %b %d %H:%M:%S %Y",
    };
    char copy[HTTP_DATE_SIZE];

    if (text.len >= sizeof copy) {
        return HTTP_NEVER;
    }
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        struct tm tm = {0};
        const char *end = strptime(copy, formats[i], &tm);

        if (end != NULL && *end == '\0') {
            time_t when = timegm(&tm);

            return when >= 0 ? when : HTTP_NEVER;
        }
    }
    return HTTP_NEVER;
}

/* ---- paths ------------------------------------------------------------- */

/* The value of a hexadecimal digit, -1 if it is none. */
static int
hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* Decode what stands between two slashes.  Returns its length, or -1: it is
 * wrong, or has a NUL or a "/" in it, as no name of a file has. */
static int
decode_segment(struct text from, char *ret)
{
    int len = 0;

    for (size_t i = 0; i < from.len; i++) {
        int c = (unsigned char)from.data[i];

        if (c == '%') {
            int high = i + 2 < from.len ? hex_value(from.data[i + 1]) : -1;
            int low = high >= 0 ? hex_value(from.data[i + 2]) : -1;

            if (low < 0) {
                return -1;
            }
            c = high * 16 + low;
            i += 2;
        }
        if (c == '\0' || c == '/') {
            return -1;
        }
        ret[len++] = (char)c;
    }
    return len;
}

/* Drop the last part of a path that ends in "/".  Returns its new end. */
static char *
drop_segment(const char *path, char *end)
{
    do {
        end--;
    } while (end > path && end[-1] != '/');
    return end;
}

/* What follows the first "/".  Decoding comes first, for "%2e%2e" is ".." as
 * well.  That is resolved here, by the letters, as a browser does it: what
 * reaches the system has none. */
static int
parse_path(struct text from, char *path)
{
    char *end = path;

    for (bool last = false; !last;) {
        struct text segment = cut(&from, "/");
        int len = decode_segment(segment, end);

        last = was_last(segment, from);
        if (len < 0) {
            return 400;
        }
        if (len == 2 && memcmp(end, "..", 2) == 0) {
            if (end == path) {
                return 403;
            }
            end = drop_segment(path, end);
        }
        else if (len > 0 && !(len == 1 && *end == '.')) {
            end += len;
            if (!last) {
                *end++ = '/';
            }
        }
    }
    *end = '\0';
    return 0;
}

void
http_encode_path(const char *path, char *ret)
{
    for (; *path != '\0'; path++) {
        if (is_alnum(*path) || is_one_of(*path, "-._~/")) {
            *ret++ = *path;
        }
        else {
            ret += sprintf(ret, "%%%02X", (unsigned)(unsigned char)*path);
        }
    }
    *ret = '\0';
}

/* "/PATH?QUERY" or, as if to a proxy, "http://HOST/PATH?QUERY".  There is one
 * host here, whatever it is called, and files take no queries. */
static int
parse_target(struct text target, char *path)
{
    struct text url = cut(&target, "?");

    if (url.len >= 7 && strncasecmp(url.data, "http://", 7) == 0) {
        struct text rest = {url.data + 7, url.len - 7};
        struct text host = cut(&rest, "/");

        return host.len > 0 && is_made_of(host, is_host_char)
                   ? parse_path(rest, path)
                   : 400;
    }
    if (url.len > 0 && url.data[0] == '/') {
        struct text rest = {url.data + 1, url.len - 1};

        return parse_path(rest, path);
    }
    return 400;
}

/* ---- the first line ---------------------------------------------------- */

static int
parse_method(struct text name, enum http_method *ret)
{
    static const char *const others[] = {
        "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT",
    };

    *ret = equals(name, "GET")    ? HTTP_GET
           : equals(name, "HEAD") ? HTTP_HEAD
                                  : HTTP_OTHER;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (equals(name, others[i])) {
            return 0;
        }
    }
    return *ret != HTTP_OTHER ? 0 : 501;
}

/* "HTTP/1.0", "HTTP/1.1".  What comes after 1.1 promises to understand us. */
static int
parse_version(struct text version, bool *ret_is_1_0)
{
    if (version.len != 8 || memcmp(version.data, "HTTP/", 5) != 0 ||
        !is_one_of(version.data[5], "0123456789") || version.data[6] != '.' ||
        !is_one_of(version.data[7], "0123456789")) {
        return 400;
    }
    *ret_is_1_0 = version.data[7] == '0';
    return version.data[5] == '1' ? 0 : 505;
}

static int
parse_request_line(struct text line, struct http_request *r, bool *ret_is_1_0)
{
    struct text method = cut(&line, " "), target = cut(&line, " ");
    int status = parse_version(line, ret_is_1_0);

    if (status == 400 || method.len == 0 || target.len == 0 ||
        !is_made_of(method, is_token_char) ||
        !is_made_of(target, is_target_char)) {
        return 400;
    }
    if (status == 0) {
        status = parse_method(method, &r->method);
    }
    if (status == 0 && target.len > HTTP_MAX_TARGET) {
        status = 414;
    }
    if (status == 0 && r->method != HTTP_OTHER) {
        status = parse_target(target, r->path);
    }
    return status;
}

/* ---- the other lines --------------------------------------------------- */

/* What they say about the connection and the body; the rest goes right into
 * the request. */
struct framing {
    bool is_1_0, has_host, has_length, has_encoding, is_chunked;
    bool says_close, says_keep_alive, has_etags;
};

/* A field's value; returns 0 or a status. */
typedef int parse_field_fn(struct text value, struct http_request *r,
                           struct framing *f);

static int
parse_connection(struct text value, struct http_request *r, struct framing *f)
{
    (void)r;
    while (value.len > 0) {
        struct text option = trim(cut(&value, ","));

        f->says_close |= equals_ignoring_case(option, "close");
        f->says_keep_alive |= equals_ignoring_case(option, "keep-alive");
    }
    return 0;
}

static int
parse_content_length(struct text value, struct http_request *r,
                     struct framing *f)
{
    f->has_length = true;
    return parse_number(value, &r->content_length) ? 0 : 400;
}

static int
parse_expect(struct text value, struct http_request *r, struct framing *f)
{
    r->expects_continue = !f->is_1_0;
    return equals_ignoring_case(value, "100-continue") ? 0 : 417;
}

static int
parse_host(struct text value, struct http_request *r, struct framing *f)
{
    (void)r;
    f->has_host = true;
    return is_made_of(value, is_host_char) ? 0 : 400;
}

/* A name for what the client has; ours have none, so it is something else. */
static int
parse_if_none_match(struct text value, struct http_request *r,
                    struct framing *f)
{
    (void)value;
    (void)r;
    f->has_etags = true;
    return 0;
}

static int
parse_if_modified_since(struct text value, struct http_request *r,
                        struct framing *f)
{
    (void)f;
    r->modified_since = parse_date(value);
    return 0;
}

static int
parse_if_range(struct text value, struct http_request *r, struct framing *f)
{
    (void)f;
    r->has_if_range = true;
    r->if_range = parse_date(value);
    return 0;
}

/* What we don't understand is no range: the client gets the whole file, which
 * is always right.  That goes for several ranges, too. */
static int
parse_range(struct text value, struct http_request *r, struct framing *f)
{
    struct http_range range = {HTTP_FROM, 0, UINT64_MAX};
    struct text unit = cut(&value, "="), first = cut(&value, "-");

    (void)f;
    if (!equals_ignoring_case(unit, "bytes") || was_last(first, value)) {
        return 0;
    }
    if (first.len == 0) {
        range.kind = HTTP_LAST;
    }
    else if (!parse_number(first, &range.first)) {
        return 0;
    }
    if ((value.len > 0 || first.len == 0) &&
        !parse_number(value, &range.last)) {
        return 0;
    }
    if (range.first <= range.last || range.kind == HTTP_LAST) {
        r->range = range;
    }
    return 0;
}

static int
parse_transfer_encoding(struct text value, struct http_request *r,
                        struct framing *f)
{
    (void)r;
    f->has_encoding = true;
    f->is_chunked = equals_ignoring_case(value, "chunked");
    return 0;
}

/* Those that matter here.  Which of two values is meant, nobody can know. */
static const struct field {
    const char *name;
    parse_field_fn *parse;
    bool is_list; /* may come more than once */
} fields[] = {
    {"Connection", parse_connection, true},
    {"Content-Length", parse_content_length, false},
    {"Expect", parse_expect, false},
    {"Host", parse_host, false},
    {"If-Modified-Since", parse_if_modified_since, false},
    {"If-None-Match", parse_if_none_match, true},
    {"If-Range", parse_if_range, false},
    {"Range", parse_range, false},
    {"Transfer-Encoding", parse_transfer_encoding, false},
};

/* A blank before the colon is in the name then, which must not be; so is one
 * at the beginning of the line, which once meant that the last line goes on.
 *
 *   seen   a bit for each of the fields
 */
static int
parse_field(struct text line, struct http_request *r, struct framing *f,
            unsigned *seen)
{
    struct text name = cut(&line, ":");

    if (name.len == 0 || was_last(name, line) ||
        !is_made_of(name, is_token_char)) {
        return 400;
    }
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (equals_ignoring_case(name, fields[i].name)) {
            if ((*seen & 1u << i) != 0 && !fields[i].is_list) {
                return 400;
            }
            *seen |= 1u << i;
            return fields[i].parse(trim(line), r, f);
        }
    }
    return 0;
}

/* Is it clear where the request ends?  Who says it in two ways may want us to
 * take the one, and a proxy the other. */
static int
check_framing(const struct framing *f)
{
    if (f->has_encoding) {
        return f->has_length || f->is_1_0 ? 400 : f->is_chunked ? 411 : 501;
    }
    return f->has_host || f->is_1_0 ? 0 : 400;
}

/* ---- the head ---------------------------------------------------------- */

int
http_parse(const char *data, size_t len, struct http_request *ret)
{
    struct text head = {data, len};
    struct framing f = {.is_1_0 = false};
    unsigned seen = 0;
    int status;

    *ret = (struct http_request){.method = HTTP_OTHER};
    ret->modified_since = ret->if_range = HTTP_NEVER;
    if (len == 0 || !is_clean(head)) {
        return 400;
    }
    if (len >= 2 && memcmp(data, "\r\n", 2) == 0) {
        cut(&head, "\r\n"); /* some send one more behind a body */
    }
    status = parse_request_line(cut(&head, "\r\n"), ret, &f.is_1_0);
    while (status == 0 && head.len > 0) {
        status = parse_field(cut(&head, "\r\n"), ret, &f, &seen);
    }
    if (status == 0) {
        status = check_framing(&f);
    }
    if (f.has_etags) {
        ret->modified_since = HTTP_NEVER;
    }
    ret->keep_alive = !f.says_close && (!f.is_1_0 || f.says_keep_alive);
    return status;
}

int
http_apply_range(const struct http_range *range, uint64_t size,
                 uint64_t *ret_first, uint64_t *ret_len)
{
    uint64_t first = range->first, last = size - 1;

    *ret_first = 0;
    *ret_len = size;
    if (range->kind == HTTP_WHOLE ||
        (range->kind == HTTP_LAST && size == 0 && range->last > 0)) {
        return 200;
    }
    if (range->kind == HTTP_LAST) {
        first = range->last < size ? size - range->last : 0;
    }
    else if (range->last < last) {
        last = range->last;
    }
    if (first >= size) {
        return 416;
    }
    *ret_first = first;
    *ret_len = last - first + 1;
    return 206;
}
