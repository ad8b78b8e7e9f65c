/* SPDX-License-Identifier: MIT */
/* file.c - descriptors that are no sockets: file_wrapper, which makes one
 * look like a socket, and class file_dispatcher. */
#include "internal.h"

/* ---- file_wrapper ---- */

int
asyncore_file_wrapper_init(struct asyncore_file_wrapper *file, int fd)
{
    if (file == NULL) {
        return -EINVAL;
    }
    struct asyncore__world *w = asyncore__world_default;
    int copy = w->dup(w, fd);
    file->fd = copy < 0 ? -1 : copy;
    return copy < 0 ? copy : 0;
}

ssize_t
asyncore_file_wrapper_recv(struct asyncore_file_wrapper *file, void *buf,
                           size_t len)
{
    if (file == NULL || buf == NULL) {
        return -EINVAL;
    }
    struct asyncore__world *w = asyncore__world_default;
    return w->read(w, file->fd, buf, len);
}

ssize_t
asyncore_file_wrapper_send(struct asyncore_file_wrapper *file,
                           const void *data, size_t len)
{
    if (file == NULL || (data == NULL && len > 0)) {
        return -EINVAL;
    }
    struct asyncore__world *w = asyncore__world_default;
    struct iovec iov = {(void *)(uintptr_t)data, len};
    return w->writev(w, file->fd, &iov, 1);
}

int
asyncore_file_wrapper_getsockopt(const struct asyncore_file_wrapper *file,
                                 int level, int optname)
{
    if (file == NULL) {
        return -EINVAL;
    }
    return level == SOL_SOCKET && optname == SO_ERROR ? 0 : -ENOTSUP;
}

int
asyncore_file_wrapper_close(struct asyncore_file_wrapper *file)
{
    if (file == NULL) {
        return -EINVAL;
    }
    struct asyncore__world *w = asyncore__world_default;
    int fd = file->fd;
    file->fd = -1; /* also if it fails: the number may be another's by now */
    return fd >= 0 ? w->close(w, fd) : 0;
}

int
asyncore_file_wrapper_fileno(const struct asyncore_file_wrapper *file)
{
    return file != NULL ? file->fd : -1;
}

/* ---- the transport ---- */

static ssize_t
file_recv(struct asyncore_dispatcher *d, void *buf, size_t len)
{
    struct asyncore__world *w = d->map->world;
    return w->read(w, d->fd, buf, len);
}

static ssize_t
file_sendv(struct asyncore_dispatcher *d, const struct iovec *iov, int n)
{
    struct asyncore__world *w = d->map->world;
    return w->writev(w, d->fd, iov, n);
}

static ssize_t
file_send(struct asyncore_dispatcher *d, const void *data, size_t len)
{
    struct iovec iov = {(void *)(uintptr_t)data, len};
    return file_sendv(d, &iov, 1);
}

static ssize_t
file_sendfile(struct asyncore_dispatcher *d, int fd, off_t offset, size_t len)
{
    (void)d;
    (void)fd;
    (void)offset;
    (void)len;
    return -ENOSYS;
}

static int
file_error(struct asyncore_dispatcher *d)
{
    (void)d;
    return 0;
}

/* A file has no sending side of its own: it ends when it is closed. */
const struct asyncore__transport asyncore__file_transport = {
    .recv = file_recv,
    .send = file_send,
    .sendv = file_sendv,
    .sendfile = file_sendfile,
    .error = file_error,
};

/* ---- file_dispatcher ---- */

int
asyncore_set_file(struct asyncore_dispatcher *d, int fd)
{
    if (!asyncore__valid(d)) {
        return -EINVAL;
    }
    if (d->fd >= 0) {
        return -EBUSY;
    }
    struct asyncore__world *w = d->map->world;
    int copy = w->dup(w, fd);
    if (copy < 0) {
        return asyncore__fail(d, "dup", copy);
    }
    int err = w->set_nonblocking(w, copy);
    if (err >= 0) {
        err = asyncore__open(d, copy, ASYNCORE__FILE, true);
    }
    if (err < 0) {
        w->close(w, copy);
        return asyncore__fail(d, "set_file", err);
    }
    d->connected = 1;
    return 0;
}

/* A dispatcher in all but the transport. */

int
asyncore_file_dispatcher_init(struct asyncore_file_dispatcher *f,
                              const struct asyncore_ops *ops, int fd,
                              struct asyncore_map *map)
{
    return asyncore__init(f != NULL ? &f->base : NULL,
                          &asyncore__file_dispatcher_class, sizeof *f, ops,
                          map, asyncore_set_file, fd);
}

int
asyncore_file_dispatcher_new(const struct asyncore_ops *ops, int fd,
                             struct asyncore_map *map,
                             struct asyncore_file_dispatcher **ret)
{
    int err;
    struct asyncore_file_dispatcher *f =
        asyncore__new(&asyncore__file_dispatcher_class, sizeof *f, ops, map,
                      asyncore_set_file, fd, &err);
    if (f != NULL && ret != NULL) {
        *ret = f;
    }
    return err;
}

const struct asyncore__class asyncore__file_dispatcher_class = {
    .name = "asyncore_file_dispatcher",
    .number = ASYNCORE__FILE_DISPATCHER,
    .parent = &asyncore__dispatcher_class,
    .ops = &asyncore__dispatcher_ops,
};
