/* SPDX-License-Identifier: MIT */
/* backend.c - which backends there are, and which one serves a map. */
#include <pthread.h>
#include <stdio.h>

#include "internal.h"

/* Best first.  A new backend is its file and its line here and in
 * meson.build. */
const struct asyncore__backend *const asyncore__backends[] = {
#if defined(__linux__)
    &asyncore__backend_epoll,
#endif
#if defined(ASYNCORE_IO_URING)
    &asyncore__backend_io_uring,
#endif
    &asyncore__backend_poll,     &asyncore__backend_select, NULL,
};

bool asyncore__uring_takes_unix;

#define NBACKENDS (sizeof asyncore__backends / sizeof *asyncore__backends - 1)

static const char *names[NBACKENDS + 1];

static void
fill_names(void)
{
    size_t n = 0;
    for (size_t i = 0; i < NBACKENDS; i++) {
        const struct asyncore__backend *backend = asyncore__backends[i];
        if (backend->is_here == NULL || backend->is_here()) {
            names[n++] = backend->name;
        }
    }
}

const char *const *
asyncore_backends(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fill_names);
    return names;
}

static void
log_unknown(const char *name)
{
    char list[128] = "";
    size_t used = 0;
    for (size_t i = 0; i < NBACKENDS && used < sizeof list; i++) {
        used +=
            (size_t)snprintf(list + used, sizeof list - used, "%s%s",
                             i > 0 ? ", " : "", asyncore__backends[i]->name);
    }
    asyncore__log(ASYNCORE_LOG_ERROR, NULL,
                  "no backend '%s' on this machine, it has: %s", name, list);
}

int
asyncore__backend_find(const char *name, const struct asyncore__backend **ret)
{
    if (name == NULL) {
        name = asyncore__getenv("ASYNCORE_BACKEND");
    }
    if (name == NULL || name[0] == '\0') {
        *ret = asyncore__backends[0];
        return 0;
    }
    for (size_t i = 0; i < NBACKENDS; i++) {
        if (strcmp(asyncore__backends[i]->name, name) == 0) {
            *ret = asyncore__backends[i];
            return 0;
        }
    }
    log_unknown(name);
    return -ENOSYS;
}

const char *
asyncore_version(void)
{
    return ASYNCORE_VERSION;
}
