/* SPDX-License-Identifier: MIT */
/* http_request.h - what a client asks for: the head of an HTTP request, taken
 * apart.  Nothing here does input or output.
 *
 * The parser is strict, for where two programs read the same bytes as
 * different requests, one of them can be deceived.  A head that is not what
 * RFC 9112 has a client send is refused, and the connection with it. */
#ifndef EXAMPLES_HTTP_REQUEST_H
#define EXAMPLES_HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define HTTP_MAX_TARGET 8192 /* bytes of a URL, without its host */
#define HTTP_DATE_SIZE 64    /* room for a date */
#define HTTP_NEVER ((time_t)-1)

enum http_method {
    HTTP_OTHER, /* one that exists, but is not for files */
    HTTP_GET,
    HTTP_HEAD
};

/* A part of a file, before the file's size is known. */
struct http_range {
    enum {
        HTTP_WHOLE,
        HTTP_FROM, /* first to last, which may be beyond the end */
        HTTP_LAST  /* the last `last` bytes */
    } kind;
    uint64_t first, last;
};

struct http_request {
    enum http_method method;
    bool keep_alive;         /* the connection may be used again */
    bool expects_continue;   /* the body comes when we have asked for it */
    uint64_t content_length; /* of the body */
    time_t modified_since;   /* HTTP_NEVER = whatever its age */
    time_t if_range;         /* HTTP_NEVER = none … */
    bool has_if_range;       /* … or one that is no date of ours */
    struct http_range range;
    char path[HTTP_MAX_TARGET + 1]; /* see http_parse() */
};

/* Take a head apart.
 *
 *   head   len bytes, without the "\r\n\r\n" at their end; may be NULL if
 *          len is 0
 *
 * path is for open(), from the directory that is served: decoded, without
 * empty parts, "." and ".."; "" or with a "/" at its end for a directory.  It
 * is only set for HTTP_GET and HTTP_HEAD.
 *
 * Returns 0, or the status to refuse the request with: where the next one
 * begins is not known then. */
int http_parse(const char *head, size_t len, struct http_request *ret);

/* Apply a range to a file of so many bytes.
 *
 *   ret_first, ret_len   the part to be sent
 *
 * Returns the status: 200 (the whole), 206, or 416 (there is no such part). */
int http_apply_range(const struct http_range *range, uint64_t size,
                     uint64_t *ret_first, uint64_t *ret_len);

/* Write a path so that it can stand in a URL.
 *
 *   ret   room for 3 * strlen(path) + 1 bytes
 */
void http_encode_path(const char *path, char *ret);

/* Write a date as HTTP has it; returns buf. */
const char *http_format_date(time_t when, char buf[HTTP_DATE_SIZE]);

#endif
