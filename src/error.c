/* SPDX-License-Identifier: MIT */
/* error.c - codes to names and texts; the one line that describes a failure.
 *
 * Codes are negated errnos, a few of our own beyond them.  C has a function
 * for an errno's text but none, portably, for its name: hence the table. */
#include <stdio.h>
#include <stdlib.h>

#include "internal.h"

/* clang-format off */
#define ERRNO_NAMES(X)                                                       \
    X(EPERM) X(ENOENT) X(EINTR) X(EIO) X(ENXIO) X(E2BIG) X(EBADF)            \
    X(ECHILD) X(EAGAIN) X(ENOMEM) X(EACCES) X(EFAULT) X(EBUSY) X(EEXIST)     \
    X(EXDEV) X(ENODEV) X(ENOTDIR) X(EISDIR) X(EINVAL) X(ENFILE) X(EMFILE)    \
    X(ENOTTY) X(ETXTBSY) X(EFBIG) X(ENOSPC) X(ESPIPE) X(EROFS) X(EMLINK)     \
    X(EPIPE) X(EDOM) X(ERANGE) X(EDEADLK) X(ENAMETOOLONG) X(ENOLCK)          \
    X(ENOSYS) X(ENOTEMPTY) X(ELOOP) X(ENOMSG) X(EPROTO) X(EBADMSG)           \
    X(EOVERFLOW) X(EILSEQ) X(ENOTSOCK) X(EDESTADDRREQ) X(EMSGSIZE)           \
    X(EPROTOTYPE) X(ENOPROTOOPT) X(EPROTONOSUPPORT) X(EOPNOTSUPP)            \
    X(EAFNOSUPPORT) X(EADDRINUSE) X(EADDRNOTAVAIL) X(ENETDOWN)               \
    X(ENETUNREACH) X(ENETRESET) X(ECONNABORTED) X(ECONNRESET) X(ENOBUFS)     \
    X(EISCONN) X(ENOTCONN) X(ETIMEDOUT) X(ECONNREFUSED) X(EHOSTUNREACH)      \
    X(EALREADY) X(EINPROGRESS) X(ESTALE) X(EDQUOT) X(ECANCELED)              \
    X(EOWNERDEAD) X(ENOTRECOVERABLE) X(ESRCH) X(ENOEXEC) X(ENODATA)          \
    X(ENOTSUP) NOT_POSIX(X)

/* What only some systems have. */
#ifdef ESHUTDOWN
#define HAS_ESHUTDOWN(X) X(ESHUTDOWN)
#else
#define HAS_ESHUTDOWN(X)
#endif
#ifdef EHOSTDOWN
#define HAS_EHOSTDOWN(X) X(EHOSTDOWN)
#else
#define HAS_EHOSTDOWN(X)
#endif
#ifdef ENONET
#define HAS_ENONET(X) X(ENONET)
#else
#define HAS_ENONET(X)
#endif
#define NOT_POSIX(X) HAS_ESHUTDOWN(X) HAS_EHOSTDOWN(X) HAS_ENONET(X)

/* clang-format on */

/* What POSIX does not have. */
#define OWN_CODES(X)                                                  \
    X(-ASYNCORE_EXIT_NOW, "EXIT_NOW", "a handler left the loop")      \
    X(ASYNCORE_EAI_NONAME, "EAI_NONAME", "Name or service not known") \
    X(ASYNCORE_EAI_AGAIN, "EAI_AGAIN",                                \
      "Temporary failure in name resolution")                         \
    X(ASYNCORE_EAI_FAIL, "EAI_FAIL",                                  \
      "Non-recoverable failure in name resolution")                   \
    X(ASYNCORE_EAI_FAMILY, "EAI_FAMILY",                              \
      "Address family for hostname not supported")                    \
    X(ASYNCORE_EAI_OTHER, "EAI_OTHER", "Name resolution failed")

struct name {
    int code;
    const char *name, *text; /* text NULL: strerror's */
};

static const struct name names[] = {
#define ERRNO_ENTRY(e) {e, #e, NULL},
#define OWN_ENTRY(code, name, text) {code, name, text},
    ERRNO_NAMES(ERRNO_ENTRY) OWN_CODES(OWN_ENTRY)};

static const struct name *
find(int code)
{
    if (code == INT32_MIN) {
        return NULL;
    }
    code = abs(code);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (names[i].code == code) {
            return &names[i];
        }
    }
    return NULL;
}

const char *
asyncore_errorcode(int code)
{
    const struct name *known = find(code);
    return known != NULL ? known->name : NULL;
}

const char *
asyncore_strerror(int code)
{
    static _Thread_local char text[128];
    const struct name *known = find(code);
    if (known != NULL && known->text != NULL) {
        return known->text;
    }
    if (code == INT32_MIN || strerror_r(abs(code), text, sizeof text) != 0) {
        snprintf(text, sizeof text, "Unknown error %d", code);
    }
    return text;
}

char *
asyncore_compact_traceback(const struct asyncore_error *err, char *buf,
                           size_t size)
{
    if (buf == NULL || size == 0) {
        return buf;
    }
    if (err == NULL) {
        buf[0] = '\0';
        return buf;
    }
    const char *name = asyncore_errorcode(err->code);
    const char *op = err->op != NULL ? err->op : "?";
    const char *handler = err->handler != NULL ? err->handler : op;
    bool own = strcmp(handler, op) == 0;
    snprintf(buf, size, "%s:%s [%s%s%s]", name != NULL ? name : "error",
             asyncore_strerror(err->code), handler, own ? "" : "|",
             own ? "" : op);
    return buf;
}
