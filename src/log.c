/* SPDX-License-Identifier: MIT */
/* log.c - where log lines go.  The library writes nothing by itself but here,
 * and here only to stderr. */
#include <stdarg.h>
#include <stdio.h>

#include "internal.h"

/* The longest line; what is beyond is cut. */
#define LINE_MAX_BYTES 512

static const char *
type_name(enum asyncore_log_type type)
{
    switch (type) {
    case ASYNCORE_LOG_INFO:
        return "info";
    case ASYNCORE_LOG_WARNING:
        return "warning";
    case ASYNCORE_LOG_ERROR:
        return "error";
    case ASYNCORE_LOG_LOG:
        break;
    }
    return "log";
}

static void
to_stderr(enum asyncore_log_type type, const char *message,
          struct asyncore_dispatcher *d, void *arg)
{
    (void)d;
    (void)arg;
    fprintf(stderr, "%s: %s\n", type_name(type), message);
}

static struct {
    asyncore_log_fn *fn;
    void *arg;
} sink = {to_stderr, NULL};

void
asyncore_set_log(asyncore_log_fn *fn, void *arg)
{
    sink.fn = fn != NULL ? fn : to_stderr;
    sink.arg = arg;
}

static void
emit(enum asyncore_log_type type, const char *message,
     struct asyncore_dispatcher *d)
{
    sink.fn(type, message, d, sink.arg);
}

void
asyncore__log(enum asyncore_log_type type, struct asyncore_dispatcher *d,
              const char *fmt, ...)
{
    char line[LINE_MAX_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    emit(type, line, d);
}

void
asyncore_log(struct asyncore_dispatcher *d, const char *message)
{
    emit(ASYNCORE_LOG_LOG, message != NULL ? message : "", d);
}

void
asyncore_dispatcher_log_info(struct asyncore_dispatcher *d,
                             const char *message, enum asyncore_log_type type)
{
    emit(type, message != NULL ? message : "", d);
}

void
asyncore_log_info(struct asyncore_dispatcher *d, enum asyncore_log_type type,
                  const char *fmt, ...)
{
    if (!asyncore__valid(d) || fmt == NULL ||
        (d->ignore_log_types & (unsigned)type) != 0) {
        return;
    }
    char line[LINE_MAX_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    ASYNCORE__VIRTUAL(d, log_info)(d, line, type);
}
