/* SPDX-License-Identifier: MIT */
/* producer.c - output that is made when it can be sent: producers, and parts
 * of files. */
#include "asynchat.h"
#include "internal.h"

static int
check_push(struct asynchat *chat)
{
    int err = asynchat_from(chat != NULL ? &chat->base : NULL) == NULL
                  ? -EINVAL
                  : asyncore__check_open(&chat->base);
    return err < 0 ? err : asyncore__output_check(&chat->base, 0);
}

static int
add_source(struct asynchat *chat, const struct asyncore__source_ops *ops,
           void (*release)(void *, size_t, void *), void *arg)
{
    int err = asyncore__outq_add_source(&chat->asynchat__out.queue, ops,
                                        release, arg);
    if (err >= 0) {
        asyncore__output_queued(&chat->base);
    }
    return err;
}

/* ---- producers ---- */

static ssize_t
pull_producer(struct asyncore_dispatcher *d, void *arg, size_t most,
              struct iovec *ret)
{
    struct asynchat_producer *p = arg;
    struct asyncore_bytes bytes = {NULL, 0};
    size_t hint = asynchat_from(d)->ac_out_buffer_size;
    int rc = p->ops->more(p, hint > 0 && hint < most ? hint : most, &bytes);
    if (rc > 0) {
        *ret = (struct iovec){(void *)(uintptr_t)bytes.data, bytes.len};
    }
    return rc < 0 ? asyncore__ran(d, "more", rc) < 0 ? rc : -EAGAIN : 0;
}

static void
release_producer(void *data, size_t len, void *arg)
{
    (void)data;
    (void)len;
    struct asynchat_producer *p = arg;
    if (p->ops->release != NULL) {
        p->ops->release(p);
    }
}

static const struct asyncore__source_ops producer_source = {
    .pull = pull_producer,
};

int
asynchat_push_with_producer(struct asynchat *chat, struct asynchat_producer *p)
{
    int err = check_push(chat);
    if (err >= 0 && (p == NULL || p->ops == NULL || p->ops->more == NULL)) {
        err = -EINVAL;
    }
    return err < 0 ? err
                   : add_source(chat, &producer_source, release_producer, p);
}

/* ---- simple_producer ---- */

struct simple_producer {
    struct asynchat_producer base;
    size_t at, len, buffer_size;
    char data[];
};

static int
simple_more(struct asynchat_producer *base, size_t hint,
            struct asyncore_bytes *ret)
{
    (void)hint;
    struct simple_producer *p =
        asyncore_container_of(base, struct simple_producer, base);
    size_t left = p->len - p->at;
    size_t n = left < p->buffer_size ? left : p->buffer_size;
    *ret = (struct asyncore_bytes){p->data + p->at, n};
    p->at += n;
    return n > 0;
}

static void
simple_release(struct asynchat_producer *base)
{
    asyncore__free(asyncore_container_of(base, struct simple_producer, base));
}

static const struct asynchat_producer_ops simple_ops = {
    .more = simple_more,
    .release = simple_release,
};

int
asynchat_simple_producer_new(const void *data, size_t len, size_t buffer_size,
                             struct asynchat_producer **ret)
{
    struct simple_producer *p;
    if ((data == NULL && len > 0) || buffer_size == 0 || ret == NULL ||
        len > SIZE_MAX - sizeof *p) {
        return -EINVAL;
    }
    p = asyncore__realloc(NULL, sizeof *p + len);
    if (p == NULL) {
        return -ENOMEM;
    }
    *p = (struct simple_producer){
        .base.ops = &simple_ops, .len = len, .buffer_size = buffer_size};
    if (len > 0) {
        memcpy(p->data, data, len);
    }
    *ret = &p->base;
    return 0;
}

/* ---- files ---- */

/* Read at once where the system has no sendfile(), or not for such a file. */
#define READ_BYTES ((size_t)64 * 1024)

struct file_part {
    struct asyncore__world *world;
    int fd;
    off_t offset;
    size_t left;
    char *buffer; /* for reading, if sendfile() is not to be had */
};

static void
advance(struct file_part *file, ssize_t n)
{
    file->offset += (off_t)n;
    file->left -= (size_t)n;
}

static ssize_t
read_part(struct asyncore_dispatcher *d, struct file_part *file, size_t most,
          struct iovec *ret)
{
    if (file->buffer == NULL) {
        file->buffer = asyncore__realloc(NULL, READ_BYTES);
        if (file->buffer == NULL) {
            return asyncore__fail(d, "pread", -ENOMEM);
        }
    }
    size_t want = most < READ_BYTES ? most : READ_BYTES;
    ssize_t n;
    do {
        n = file->world->pread(file->world, file->fd, file->buffer, want,
                               file->offset);
    } while (n == -EINTR);
    if (n <= 0) {
        return asyncore__fail(d, "pread", n < 0 ? (int)n : -ENODATA);
    }
    advance(file, n);
    *ret = (struct iovec){file->buffer, (size_t)n};
    return 0;
}

static ssize_t
pull_file(struct asyncore_dispatcher *d, void *arg, size_t most,
          struct iovec *ret)
{
    struct file_part *file = arg;
    if (file->left == 0) {
        return 0;
    }
    most = file->left < most ? file->left : most;
    if (file->buffer != NULL) {
        return read_part(d, file, most, ret);
    }
    ssize_t n;
    do {
        n = asyncore__transport_of(d)->sendfile(d, file->fd, file->offset,
                                                most);
    } while (n == -EINTR);
    asyncore__set(d, ASYNCORE__SERVED);
    if (n == -ENOSYS || n == -EINVAL) {
        return read_part(d, file, most, ret);
    }
    if (n == 0) {
        return asyncore__fail(d, "sendfile", -ENODATA);
    }
    if (n == -EAGAIN || (n > 0 && (size_t)n < most)) {
        asyncore__set(d, ASYNCORE__BLOCKED);
    }
    if (n > 0) {
        advance(file, n);
    }
    return n < 0 ? asyncore__io_failed(d, "sendfile", (int)n) : n;
}

static void
release_file(void *data, size_t len, void *arg)
{
    (void)data;
    (void)len;
    struct file_part *file = arg;
    file->world->close(file->world, file->fd);
    asyncore__free(file->buffer);
    asyncore__free(file);
}

static const struct asyncore__source_ops file_source = {.pull = pull_file};

int
asynchat_push_file(struct asynchat *chat, int fd, off_t offset, size_t len)
{
    int err = check_push(chat);
    if (err < 0 || offset < 0) {
        return err < 0 ? err : -EINVAL;
    }
    struct file_part *file = asyncore__calloc(sizeof *file);
    if (file == NULL) {
        return asyncore__fail(&chat->base, "push_file", -ENOMEM);
    }
    file->world = chat->base.map->world;
    file->offset = offset;
    file->left = len;
    file->fd = file->world->dup(file->world, fd);
    err = file->fd;
    if (err >= 0) {
        err = add_source(chat, &file_source, release_file, file);
        if (err < 0) {
            file->world->close(file->world, file->fd);
        }
    }
    if (err < 0) {
        asyncore__free(file);
        return asyncore__fail(&chat->base, "push_file", err);
    }
    return 0;
}
