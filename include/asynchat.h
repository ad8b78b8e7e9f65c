/* SPDX-License-Identifier: MIT */
/* asynchat.h - conversations: Python's asynchat, in C.
 *
 * A *chat* is a channel for a protocol of lines, counts and blocks.  What
 * comes in is cut at the *terminator*: a delimiter, or a number of bytes;
 * found_terminator() is called at each, and may set another.  What goes out
 * is *pushed*: bytes, or *producers* that are asked for the next piece when
 * it can be sent.
 *
 *   static int line_found(struct asynchat *chat)
 *   {
 *       struct asyncore_bytes line = asynchat_get_data(chat);
 *       return asynchat_push(chat, line.data, line.len);
 *   }
 *
 *   asynchat.async_chat                 struct asynchat
 *   set_terminator(b"\r\n")             asynchat_set_terminator
 *   set_terminator(42)                  asynchat_set_terminator_count
 *   set_terminator(None)                asynchat_set_terminator_none
 *   _collect_incoming_data, _get_data   asynchat_collect_incoming_data,
 *                                       asynchat_get_data
 *   push, push_with_producer            the same
 *   close_when_done                     asyncore_close_when_done
 *   simple_producer                     asynchat_simple_producer_new
 *   find_prefix_at_end                  asynchat_find_prefix_at_end
 *
 * The rules at the head of asyncore.h hold here too: results, threads,
 * re-entry, memory.
 */
#ifndef ASYNCHAT_H
#define ASYNCHAT_H

#include <sys/uio.h>

#include "asyncore.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- chats ------------------------------------------------------------- */

struct asynchat;

/* A view of bytes that somebody else owns. */
struct asyncore_bytes {
    const char *data; /* len bytes; may be NULL if len is 0 */
    size_t len;
};

/* The handlers of a class of chats; slots left NULL are inherited. */
struct asynchat_ops {
    struct asyncore_ops base;
    /* Bytes of a message have come in, in order; a message may come in
     * several parts.  The bytes are the library's, until this returns.
     * Default: asynchat_collect_incoming_data().
     * Python: async_chat.collect_incoming_data. */
    int (*collect_incoming_data)(struct asynchat *chat, const void *data,
                                 size_t len);
    /* The terminator has come in; its bytes are in no message.  May do
     * anything: push, set another terminator (which holds for what has been
     * received already), close, detach.  Default: -ENOSYS, an error.
     * Python: async_chat.found_terminator. */
    int (*found_terminator)(struct asynchat *chat);
    /* The message is longer than asynchat_set_max_message().  If this returns
     * >= 0, what has been collected of it is forgotten, the rest is dropped
     * as it comes in, and its terminator is not told of.  Default: -EMSGSIZE,
     * an error: handle_error, which closes. */
    int (*handle_too_long)(struct asynchat *chat);
    void (*reserved[4])(void); /* leave NULL */
};

/* A chat.  Python: asynchat.async_chat. */
struct asynchat {
    struct asyncore_dispatcher base;
    /* public: set them at any time */
    size_t ac_in_buffer_size;  /* at most so many bytes a read, > 0 */
    size_t ac_out_buffer_size; /* producers are asked for this many, > 0 */
    /* private */
    struct asyncore__output asynchat__out;
    struct {
        const char *data; /* the delimiter; `few` if it is short */
        uint32_t *failure;
        size_t len;
        char few[8];
        uint32_t few_failure[8];
        unsigned char kind;
    } asynchat__term;
    size_t asynchat__left; /* of a count */
    size_t asynchat__held; /* of the delimiter, at the end so far */
    struct {               /* decided, and not yet handed on, in this order: */
        size_t released;   /* message bytes that had been held back */
        size_t len;        /* message bytes, the first that are unread */
        size_t term;       /* of the unread, after those, the delimiter's */
        bool found;        /* the terminator itself */
    } asynchat__owed;
    struct asyncore_bytes asynchat__in;   /* received, not yet looked at … */
    struct asyncore_bytes asynchat__part; /* … what it is the rest of */
    char *asynchat__stash; /* … if it is of an earlier event */
    struct asynchat__block *asynchat__blocks;
    struct asyncore_bytes asynchat__view; /* collected, and still there */
    struct {
        char *data;
        size_t len, cap;
    } asynchat__incoming;                   /* collected from several reads */
    size_t asynchat__length, asynchat__max; /* of the message */
    int64_t asynchat__resume;
    unsigned asynchat__flags;
};

/* As asyncore_dispatcher_init() and asyncore_dispatcher_new().  The chat has
 * no terminator at first: everything is collected.
 * Python: async_chat.__init__. */
ASYNCORE_API int asynchat_init(struct asynchat *chat,
                               const struct asynchat_ops *ops, int fd,
                               struct asyncore_map *map);
ASYNCORE_API int asynchat_new(const struct asynchat_ops *ops, int fd,
                              struct asyncore_map *map, struct asynchat **ret);

/* The channel as a chat, or NULL if it is none.  Python: isinstance(). */
ASYNCORE_API struct asynchat *asynchat_from(struct asyncore_dispatcher *d);

/* ---- input ------------------------------------------------------------- */

/* What ends a message. */
struct asynchat_terminator {
    enum asynchat_terminator_kind {
        ASYNCHAT_NONE,      /* nothing: all is collected, for ever */
        ASYNCHAT_COUNT,     /* `len` more bytes */
        ASYNCHAT_DELIMITER, /* the `len` bytes at `data` */
    } kind;
    const char *data;
    size_t len;
};

/* Set a delimiter.
 *
 *   delimiter   len bytes of any content, which are copied
 *   len         0 = no terminator
 *
 * It is found however the stream is cut into reads, in time linear in the
 * length of the stream, whatever the two look like.
 *
 * Returns 0, -EINVAL, -ENOMEM (the terminator is as it was).
 * Python: async_chat.set_terminator(bytes). */
ASYNCORE_API int asynchat_set_terminator(struct asynchat *chat,
                                         const void *delimiter, size_t len);

/* Set a number of bytes, after which found_terminator() is called once; what
 * follows is then collected without end until another terminator is set.
 *
 *   count   0 = no terminator
 *
 * Returns 0 or -EINVAL.  Python: async_chat.set_terminator(int). */
ASYNCORE_API int asynchat_set_terminator_count(struct asynchat *chat,
                                               size_t count);

/* Collect everything, for ever.  Python: async_chat.set_terminator(None). */
ASYNCORE_API int asynchat_set_terminator_none(struct asynchat *chat);

/* The terminator; of a count, what is left of it.  The bytes are the chat's
 * until another is set.  Python: async_chat.get_terminator. */
ASYNCORE_API struct asynchat_terminator
asynchat_get_terminator(const struct asynchat *chat);

/* The ready-made collector: keeps the message for asynchat_get_data(), without
 * a copy if it comes in one read.
 *
 * Returns 0 or -ENOMEM.  Python: async_chat._collect_incoming_data. */
ASYNCORE_API int asynchat_collect_incoming_data(struct asynchat *chat,
                                                const void *data, size_t len);

/* What has been collected, which is thereby taken: the next message begins.
 *
 * Returns the bytes, which are valid until the handler that asks returns, or
 * something else is collected.  Python: async_chat._get_data. */
ASYNCORE_API struct asyncore_bytes asynchat_get_data(struct asynchat *chat);

/* Let a message have at most so many bytes (see handle_too_long).
 *
 *   max   0 = no limit, which is the default
 *
 * Returns 0 or -EINVAL. */
ASYNCORE_API int asynchat_set_max_message(struct asynchat *chat, size_t max);

/* What has been received and not been looked at yet, in a handler: for a new
 * owner of the descriptor (asyncore_detach()), after STARTTLS or an upgrade.
 *
 * Returns the bytes, valid until the handler returns.
 * Python: async_chat.ac_in_buffer. */
ASYNCORE_API struct asyncore_bytes asynchat_unread(struct asynchat *chat);

/* Treat bytes as if they had been received.
 *
 *   data   stays the caller's
 *
 * Returns 0, -EBADF, -EINVAL, -ENOMEM: nothing taken, or ASYNCORE_EXIT_NOW: a
 * handler left the loop (which has been noted; what it left over comes in the
 * next pass). */
ASYNCORE_API int asynchat_feed(struct asynchat *chat, const void *data,
                               size_t len);

/* Forget what has been received and not been looked at, what has been
 * collected, and what is queued for sending.  Producers are released.
 *
 * Returns 0 or -EINVAL.  Python: async_chat.discard_buffers. */
ASYNCORE_API int asynchat_discard_buffers(struct asynchat *chat);

/* ---- output ------------------------------------------------------------ */

/* All pushes: what is pushed goes out in order, at the end of the pass, all
 * that is queued by then in one writev() (of 64 pieces); outside of a loop, at
 * the beginning of the next.  What a handler pushes that leaves the loop by
 * ASYNCORE_EXIT_NOW stays queued.  asyncore_set_limits() bounds it.
 *
 * They return 0, or
 *   -EBADF     the chat is closed
 *   -EPIPE     after asyncore_shutdown() or asyncore_close_when_done()
 *   -ENOBUFS   the queue would be longer than limits.max
 *   -ENOMEM, -EINVAL
 * and then have taken nothing.  What goes wrong later is told to handle_error
 * or handle_close, never by a push. */

/* Push a copy of the bytes.  Python: async_chat.push. */
ASYNCORE_API int asynchat_push(struct asynchat *chat, const void *data,
                               size_t len);

/* Push copies of n pieces, as one.
 *
 *   iov   n <= 1024 of them
 */
ASYNCORE_API int asynchat_pushv(struct asynchat *chat, const struct iovec *iov,
                                int n);

/* Called when pushed bytes have been sent, or will never be. */
typedef void asynchat_release_fn(void *data, size_t len, void *arg);

/* Push the bytes themselves, without a copy.
 *
 *   data      must not change until release(data, len, arg) is called, which
 *             happens exactly once if this returns 0, and not if it fails
 *   release   NULL for bytes that live for ever
 */
ASYNCORE_API int asynchat_push_owned(struct asynchat *chat, void *data,
                                     size_t len, asynchat_release_fn *release,
                                     void *arg);

/* Push a part of a regular file; it is sent by sendfile() where the system has
 * that.
 *
 *   fd       open for reading; the chat gets a dup() of it
 *   offset   >= 0
 *   len      bytes; if the file turns out to be shorter, that is an error
 *            (-ENODATA, to handle_error: the peer waits for the rest)
 *
 * Also returns -EMFILE, and -EBADF for fd. */
ASYNCORE_API int asynchat_push_file(struct asynchat *chat, int fd,
                                    off_t offset, size_t len);

/* Something that is asked for output piece by piece.  Embed it first. */
struct asynchat_producer {
    const struct asynchat_producer_ops *ops;
};

struct asynchat_producer_ops {
    /* The next piece.
     *
     *   hint   about as many bytes as can be sent
     *   ret    to be set to them; they must stay until the next call of more
     *          or release
     *
     * Returns 1 with a piece (not empty), 0 when there is no more, -EAGAIN:
     * not now (ask again after asyncore_touch()), or an errno, to
     * handle_error. Python: producer.more(). */
    int (*more)(struct asynchat_producer *p, size_t hint,
                struct asyncore_bytes *ret);
    /* It is not needed any more: exactly once.  May free it.  NULL is fine. */
    void (*release)(struct asynchat_producer *p);
};

/* Push a producer; it is the chat's if this returns 0.
 * Python: async_chat.push_with_producer. */
ASYNCORE_API int asynchat_push_with_producer(struct asynchat *chat,
                                             struct asynchat_producer *p);

/* A producer for a copy of len bytes, in pieces of buffer_size.
 *
 *   buffer_size   > 0; the original's default is 512
 *
 * Returns 0, -EINVAL, -ENOMEM.  Python: asynchat.simple_producer. */
ASYNCORE_API int asynchat_simple_producer_new(const void *data, size_t len,
                                              size_t buffer_size,
                                              struct asynchat_producer **ret);

/* ---- helpers ----------------------------------------------------------- */

/* The length of the longest part of the needle, shorter than it and from its
 * beginning, that the haystack ends with; 0 if there is none.  Linear in the
 * needle's length.  Python: asynchat.find_prefix_at_end. */
ASYNCORE_API size_t asynchat_find_prefix_at_end(const void *haystack,
                                                size_t haystack_len,
                                                const void *needle,
                                                size_t needle_len);

/* The handlers of class async_chat, for super calls. */
ASYNCORE_API int asynchat_handle_read(struct asyncore_dispatcher *d);
ASYNCORE_API int asynchat_handle_write(struct asyncore_dispatcher *d);
ASYNCORE_API int asynchat_handle_close(struct asyncore_dispatcher *d);
ASYNCORE_API bool asynchat_writable(struct asyncore_dispatcher *d);

#ifdef __cplusplus
}
#endif

#endif
