/* SPDX-License-Identifier: MIT */
/* state.h - what the files of the extension share.
 *
 * `_asyncore` has one layout for all channels, `channel`, from which the
 * classes of asyncore.py and asynchat.py derive; so any two of them can be
 * bases of a third, but none together with a class in C that has a layout of
 * its own.  What dispatcher itself sets is in fields of that (field.c), the
 * rest where CPython keeps instances' attributes (instance.c).  Nothing is
 * static: each interpreter that imports the module has a state of its own. */
#ifndef ASYNCORE_PYTHON_STATE_H
#define ASYNCORE_PYTHON_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) && PY_VERSION_HEX >= 0x030c0000 && \
    PY_VERSION_HEX < 0x030d0000
/* ma_version_tag: 3.13 has watchers that tell who is being watched instead. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#endif

/* ---- module.c ---------------------------------------------------------- */

/* Strings that are looked up often, interned.  Private methods of a class have
 * its name before theirs: a subclass may have others of that name. */
#define NAMES(X)                            \
    X(__class__)                            \
    X(__dict__)                             \
    X(__getattribute__)                     \
    X(_DISCONNECTED)                        \
    X(_async_chat__handle_read)             \
    X(_async_chat__initiate_send)           \
    X(_dispatcher__back_off)                \
    X(_dispatcher__events)                  \
    X(_dispatcher_with_send__initiate_send) \
    X(_exception)                           \
    X(_fileno)                              \
    X(_map)                                 \
    X(_reraised_exceptions)                 \
    X(ac_in_buffer)                         \
    X(ac_in_buffer_size)                    \
    X(ac_out_buffer_size)                   \
    X(accepting)                            \
    X(add_channel)                          \
    X(addr)                                 \
    X(append)                               \
    X(close)                                \
    X(collect_incoming_data)                \
    X(connected)                            \
    X(connecting)                           \
    X(debug)                                \
    X(dispatcher)                           \
    X(found_terminator)                     \
    X(get_terminator)                       \
    X(getpeername)                          \
    X(handle_accept)                        \
    X(handle_close)                         \
    X(handle_connect_event)                 \
    X(handle_error)                         \
    X(handle_expt_event)                    \
    X(handle_read)                          \
    X(handle_read_event)                    \
    X(handle_write)                         \
    X(handle_write_event)                   \
    X(incoming)                             \
    X(initiate_send)                        \
    X(log_info)                             \
    X(more)                                 \
    X(out_buffer)                           \
    X(poll)                                 \
    X(producer_fifo)                        \
    X(read)                                 \
    X(readable)                             \
    X(readwrite)                            \
    X(recv)                                 \
    X(select)                               \
    X(send)                                 \
    X(sleep)                                \
    X(socket)                               \
    X(terminator)                           \
    X(time)                                 \
    X(use_encoding)                         \
    X(writable)                             \
    X(write)

struct names {
#define X(name) PyObject *name;
    NAMES(X)
#undef X
};

/* The methods in C, by class; asyncore.py and asynchat.py put them into the
 * classes.  They are told by identity: who finds one of them has not found an
 * override. */
#define METHODS(X)                    \
    X(chat, _collect_incoming_data)   \
    X(chat, _get_data)                \
    X(chat, close_when_done)          \
    X(chat, get_terminator)           \
    X(chat, handle_read)              \
    X(chat, handle_write)             \
    X(chat, initiate_send)            \
    X(chat, push)                     \
    X(chat, push_with_producer)       \
    X(chat, readable)                 \
    X(chat, writable)                 \
    X(dispatcher, add_channel)        \
    X(dispatcher, del_channel)        \
    X(dispatcher, handle_read_event)  \
    X(dispatcher, handle_write_event) \
    X(dispatcher, readable)           \
    X(dispatcher, recv)               \
    X(dispatcher, send)               \
    X(dispatcher, writable)           \
    X(sender, handle_write)           \
    X(sender, initiate_send)          \
    X(sender, send)                   \
    X(sender, writable)

/* The attributes that are computed, likewise. */
#define COMPUTED(X)        \
    X(chat, ac_in_buffer)  \
    X(chat, incoming)      \
    X(chat, producer_fifo) \
    X(sender, out_buffer)

struct methods {
#define X(cls, name) PyObject *cls##_##name;
    METHODS(X)
#undef X
#define X(cls, name) PyObject *cls##_##name;
    COMPUTED(X)
#undef X
};

#define X(cls, name) extern PyMethodDef cls##_##name##_def;
METHODS(X)
#undef X
#define X(cls, name) extern PyGetSetDef cls##_##name##_def;
COMPUTED(X)
#undef X

struct iovec;
struct state;
struct registry;

/* Those that are not looked up each time. */
enum method {
    METHOD_READABLE,
    METHOD_WRITABLE,
    METHOD_HANDLE_READ,
    METHOD_HANDLE_WRITE,
    METHOD_COLLECT, /* collect_incoming_data */
    METHOD_FOUND,   /* found_terminator */
    METHODS_CALLED
};

/* klass.c: what is known of a class. */
struct klass {
    struct state *st;   /* NULL: the module is gone */
    PyTypeObject *type; /* borrowed: valid while there are channels */
    PyObject *events;   /* the class's `__events`; borrowed, or NULL */
    unsigned tag;       /* the type's version when this was found out; 0 =
                           unknown */
    unsigned facts;
    /* Of the attributes that are fields, 1 << enum field: which the class has
     * something else for, and ever had while there were channels. */
    unsigned foreign, strays;
    PyObject *called[METHODS_CALLED]; /* method.c: borrowed from the class,
                                         valid as long as its version is */
    Py_ssize_t channels;
    /* instance.c: none of the first `plain_keys` attributes that instances
     * were given stands for a method */
    Py_ssize_t plain_keys;
    bool has_dicts; /* instances are given attributes */
};

struct state {
    struct names names;
    struct methods methods;
    PyTypeObject *channel_type;
    PyTypeObject *attribute_type;
    PyTypeObject *computed_type;
    PyTypeObject *events_type;
    PyObject *deque_type;
    PyObject *common_dict; /* the descriptor that most classes have */
    /* sockets.c: what a genuine socket is, and where its parts are */
    PyTypeObject *socket_base;
    PyTypeObject *socket_type; /* borrowed, with its version */
    unsigned socket_tag;
    bool socket_layout_known;
    /* klass.c */
    struct klass unknown; /* of which nothing is known */
    struct klass **klasses;
    size_t nklasses, klass_cap;
    unsigned klass_changes; /* + 1 with every change of a class seen */
    /* registry.c */
    struct registry *registries;
    struct state *next; /* of the same interpreter; dictwatch.c */
    int watcher;
    uint64_t renamed; /* + 1 with every change of a module's names seen */
    /* event.c: events that are not all done */
    struct event *pending;
    char *scratch;         /* SCRATCH_SIZE bytes, unless somebody has them */
    struct pieces *pieces; /* pieces.c: sets that nobody has */
};

#define SCRATCH_SIZE ((size_t)256 * 1024)

struct state *state_of(PyObject *module);
/* Of a channel's, or an object's, type; NULL if it is no channel. */
struct state *state_of_type(PyTypeObject *type);
/* obj.name(), and truth of the result: 1, 0, -1. */
PyObject *call_method(PyObject *obj, PyObject *name);
PyObject *call_method_one(PyObject *obj, PyObject *name, PyObject *arg);
int call_void(PyObject *obj, PyObject *name);
int call_truth(PyObject *obj, PyObject *name);
int attribute_truth(PyObject *obj, PyObject *name);
/* -1 with exception. */
Py_ssize_t attribute_size(PyObject *obj, PyObject *name);
/* The only argument of a method, by place or by name; NULL with TypeError.
 * optional: Py_None if there is none.  Borrowed. */
PyObject *only_argument(const char *method, const char *name, bool optional,
                        PyObject *const *args, Py_ssize_t nargs,
                        PyObject *kwnames);
/* Take and give back the scratch buffer; NULL with MemoryError. */
char *scratch_take(struct state *st);
void scratch_give(struct state *st, char *buffer);

/* ---- trace.c: exceptions that are handled in C ------------------------- */

struct caught {
    PyObject *type, *value, *traceback; /* the outer ones, to come back */
};

/* The exception that is set is being handled from now on: what is called sees
 * it in sys.exc_info().  One that comes from C gets a place, `function`. */
void catch_begin(struct caught *c, const char *function);
void catch_end(struct caught *c);
/* The errno of the exception that is set, if it is an OSError, else 0. */
int caught_errno(void);

/* ---- klass.c: what is known of a class --------------------------------- */

/* What instances of the class do not override in it. */
enum {
    KLASS_READABLE = 1 << 0,      /* always readable */
    KLASS_WRITES_ALWAYS = 1 << 1, /* how `writable` is answered … */
    KLASS_WRITES_BUFFER = 1 << 2, /* … or else it is to be asked */
    KLASS_FLAGS = 1 << 3,         /* connected … connecting are ours */
    KLASS_READ_EVENT = 1 << 4,    /* handle_read_event */
    KLASS_WRITE_EVENT = 1 << 5,   /* handle_write_event */
    KLASS_RECV = 1 << 6,          /* recv is dispatcher's */
    KLASS_SOCKET = 1 << 7,        /* socket is */
    KLASS_SENDER = 1 << 8,        /* send and initiate_send are the sender's */
    KLASS_SENDER_WRITE = 1 << 9,  /* handle_write is */
    KLASS_OUT_BUFFER = 1 << 10,   /* out_buffer is ours */
    KLASS_QUIET = 1 << 11,        /* debug is false */
    KLASS_BASE_SEND = 1 << 12,    /* nobody has replaced dispatcher.send */
    KLASS_SEND = 1 << 13,         /* send is dispatcher's */
    KLASS_WRITES_FIFO = 1 << 14,  /* writable is async_chat's */
    KLASS_CHAT_PARTS = 1 << 15,   /* so are the buffers and the queue … */
    KLASS_CHAT_SENDS = 1 << 16,   /* … initiate_send … */
    KLASS_GET_TERMINATOR = 1 << 17, /* … get_terminator; and … */
    KLASS_COLLECTS = 1 << 18, /* … _collect_incoming_data is what collects */
    KLASS_BLIND = 1 << 19,    /* nothing tells who gets the dictionary */
    KLASS_TERMINATOR = 1 << 20, /* terminator is an attribute of ours */
    KLASS_ADDR = 1 << 21        /* addr is */
};

/* ---- channel.c --------------------------------------------------------- */

struct watch;
struct event;
struct chat;

/* So many more pieces go out together with the first. */
#define OUTPUT_PIECES 63

/* What a dispatcher_with_send has yet to send: bytes[start, end). */
struct output {
    char *bytes;
    size_t start, end, cap;
    PyObject *whole; /* … or all from `start` of this, a bytes object … */
    PyObject **rest; /* … and all of these, OUTPUT_PIECES at most */
    size_t nrest, rest_bytes;
    PyObject *odd; /* … or something a program has put there */
    bool unknown;  /* to the maps, that it waits: it may go before they look */
};

/* connected, accepting, connecting: not set, and what they were set to. */
enum flag {
    FLAG_UNSET,
    FLAG_FALSE,
    FLAG_TRUE
};

/* A place in a map that is served: who is under which descriptor
 * (registry.c).  Small, for every channel has one. */
struct watch {
    struct registry *reg;  /* NULL: none */
    struct watch *sibling; /* the channel's next place */
    uint64_t seq;          /* the order of the map */
    int fd;
    int before, after; /* descriptors of the neighbours in a list, or -1 */
    bool channel : 1;  /* one of ours; others are asked in every pass */
    bool inside : 1;   /* the place that the channel has in itself */
    bool touched : 1;  /* in the list of the touched */
    bool asked : 1;    /* among the asked */
    bool readable : 1; /* what it waits for */
    bool writable : 1; /* … */
    bool urgent : 1;   /* select() looks for exceptions */
    bool invalid : 1;  /* the descriptor is not open */
    bool fresh : 1;    /* it may be another file by now */
    bool settled : 1;  /* the core has been told what is said here */
};

struct channel {
    PyObject_HEAD
    /* The attributes that dispatcher sets (field.c); NULL = not set. */
    PyObject *socket;
    PyObject *map;
    PyObject *fileno;
    union {
        PyObject *object;
        struct {
            unsigned char host[4]; /* IPv4, in network order, as is … */
            uint16_t port;         /* … this */
        } inet;
    } addr;
    unsigned connected : 2, accepting : 2, connecting : 2; /* enum flag */
    bool addr_inet : 1;
    bool exposed : 1;      /* they are in the dictionary, which others have */
    bool is_chat : 1;      /* of the two below */
    bool has_output : 1;   /* out_buffer exists */
    bool closing_told : 1; /* handle_close is being called by recv or send */
    bool received : 1;     /* recv has returned something */
    bool bulk : 1;         /* more comes in than is asked for at once */
    unsigned life;         /* + 1 when it leaves its map */
    union {
        struct output *output; /* NULL: nothing, or no out_buffer at all */
        struct chat *chat;     /* which has the output of who is both */
    } part;
    struct klass *klass;
    struct event *event; /* that is being delivered to it */
    struct watch place;  /* in a map that is served; its siblings are others */
};

/* The one way from an object to its part in C. */
static inline struct channel *
channel_of(PyObject *self)
{
    return (struct channel *)(void *)self;
}

/* Whatever else a class derives from, this way leads to its layout. */
static inline bool
is_channel(const struct state *st, PyObject *obj)
{
    const PyTypeObject *type = Py_TYPE(obj);
    while (type != NULL && type != st->channel_type) {
        type = type->tp_base;
    }
    return type != NULL;
}

/* The same for who knows no state: a class that is no channel's may have got
 * hold of what is in those of channels. */
bool has_channel_layout(PyObject *obj);

extern PyType_Spec channel_spec;
PyObject *channel_begin(PyObject *module, PyObject *arg);
PyObject *channel_life(PyObject *module, PyObject *arg);

/* ---- field.c: the attributes that dispatcher sets ---------------------- */

enum field {
    FIELD_SOCKET,
    FIELD_MAP,
    FIELD_FILENO,
    FIELD_TERMINATOR,
    FIELD_ADDR,
    FIELD_CONNECTED,
    FIELD_ACCEPTING,
    FIELD_CONNECTING,
    FIELDS
};

PyObject *field_name(const struct state *st, enum field f);
/* Which one has the name?  FIELDS: none. */
enum field field_named(const struct state *st, PyObject *name);
/* A new reference; NULL without exception: it is not set. */
PyObject *field_get(PyObject *self, enum field f);
/* NULL: delete it.  1, 0: it was not there; or -1. */
int field_set(PyObject *self, enum field f, PyObject *value);
/* The address of the peer becomes `addr`; 0, or -1 with exception. */
PyObject *channel_set_peer(PyObject *module, PyObject *const *args,
                           Py_ssize_t nargs);
/* The fields come into the dictionary, since somebody wants that: 0 or -1. */
int channel_expose(PyObject *self);
/* Of a class that it had not when it was looked at last: it may have been
 * given a dictionary unnoticed, with all of them. */
void channel_meet(PyObject *self);
/* Are they still there, because others have the dictionary, or something in
 * it does not fit into a field? */
bool channel_is_exposed(PyObject *self);
int channel_odd_flag(const struct channel *ch, enum field f);
PyObject *channel_odd_object(const struct channel *ch, enum field f);
void field_clear_all(struct channel *ch);
int field_traverse_all(struct channel *ch, visitproc visit, void *arg);

/* Where the class says that it is ours: 1, 0, or -1: it is something odd. */
static inline int
channel_connected(const struct channel *ch)
{
    return ch->exposed ? channel_odd_flag(ch, FIELD_CONNECTED)
                       : ch->connected == FLAG_TRUE;
}

static inline int
channel_accepting(const struct channel *ch)
{
    return ch->exposed ? channel_odd_flag(ch, FIELD_ACCEPTING)
                       : ch->accepting == FLAG_TRUE;
}

/* Likewise; borrowed, or NULL without exception. */
static inline PyObject *
channel_socket(const struct channel *ch)
{
    return ch->exposed ? channel_odd_object(ch, FIELD_SOCKET) : ch->socket;
}

PyObject *channel_terminator(const struct channel *ch);

/* ---- instance.c: the attributes that programs set ---------------------- */

/* The dictionary, if there is one; borrowed. */
PyObject *instance_dict(PyObject *self);
/* Before the first attribute, where there will be some: 0 or -1. */
int instance_begin(PyObject *self);
/* An attribute of the instance, by no means of the class; borrowed; NULL
 * without exception. */
PyObject *instance_get(const struct klass *k, PyObject *self, PyObject *name);

/* The class of a channel, up to date; never NULL. */
const struct klass *klass_find(struct channel *ch);
void klass_forget(struct channel *ch);
void klass_free_all(struct state *st);
/* Have classes with channels changed?  Finds out what they are now. */
bool klass_changed(struct state *st);
/* Are there classes whose channels' dictionaries may change unnoticed? */
bool klass_any_blind(const struct state *st);

#if PY_VERSION_HEX < 0x03090000
#define Py_IS_TYPE(obj, type) (Py_TYPE(obj) == (type))
#endif

static inline unsigned
type_tag(const PyTypeObject *type)
{
#if PY_VERSION_HEX < 0x030c0000
    if (!PyType_HasFeature((PyTypeObject *)(uintptr_t)type,
                           Py_TPFLAGS_VALID_VERSION_TAG)) {
        return 0;
    }
#endif
    return type->tp_version_tag;
}

static inline const struct klass *
klass_of(PyObject *self)
{
    struct channel *ch = channel_of(self);
    const struct klass *k = ch->klass;
    if (k != NULL && k->type == Py_TYPE(self) && k->tag != 0 &&
        k->tag == type_tag(k->type)) {
        return k;
    }
    return klass_find(ch);
}

/* Is `fact` true of the channel, who has no `name` of its own? */
static inline bool
channel_is(PyObject *self, unsigned fact, PyObject *name)
{
    const struct klass *k = klass_of(self);
    return (k->facts & fact) != 0 && instance_get(k, self, name) == NULL;
}

/* ---- method.c: methods that are called again and again ----------------- */

/* false: the class looks attributes up in a way of its own. */
bool methods_learn(struct klass *k);
PyObject *method_name(const struct state *st, enum method m);
/* obj.method(), with one argument or, NULL, none; k is the class of a channel,
 * or `unknown`, of any other object. */
PyObject *method_call(const struct klass *k, PyObject *obj, enum method m,
                      PyObject *arg);
/* Of a channel, for its effect: 0 or -1. */
int method_call_void(PyObject *self, enum method m, PyObject *arg);

/* ---- attribute.c: attributes whose changes are noticed ----------------- */

extern PyType_Spec attribute_spec;
/* Is it such an attribute, with this default (NULL: none)? */
bool attribute_is(const struct state *st, PyObject *descriptor,
                  PyObject *value);
bool attribute_is_field(const struct state *st, PyObject *descriptor,
                        enum field f);

/* ---- computed.c: attributes that are computed -------------------------- */

extern PyType_Spec computed_spec;
PyObject *computed_make(struct state *st, const PyGetSetDef *def);

/* ---- event.c: events delivered to channels ----------------------------- */

enum kind {
    EVENT_READ,
    EVENT_WRITE,
    EVENT_EXPT
};

/* The delivery of one event to a channel.  What has come in is read ahead
 * (ahead.c), what goes out is gathered. */
struct event {
    struct event *prev, *next; /* in state.pending */
    struct event *outer;       /* of the same channel */
    PyObject *channel;
    unsigned long thread;
    bool listed;          /* there is something to do before anybody looks: */
    bool deferred;        /* output to send, … */
    struct pieces *ahead; /* … input to take: the first `at` of `len` bytes */
    size_t at, len;
    int fd;
    bool more;   /* what has come in is not all handled */
    bool greedy; /* it comes from a pass: reading ahead is allowed */
    bool tried;  /* and was tried */
    size_t full; /* the last recv() got as much as it asked for */
};

/* genuine.c: a dictionary, and its version at a time. */
struct seen {
    PyObject *dict;
    uint64_t version; /* 0 = never */
};

struct genuine {
    struct seen globals, select, time;
};

/* `asyncore`'s half of the module: what is looked up in its globals. */
struct events {
    PyObject_HEAD
    struct state *st;
    PyObject *globals;
    struct genuine genuine[2]; /* for passes of select, and of poll */
};

extern PyType_Spec events_spec;
/* What `read`, `write` and `_exception` do; 0 or -1.  greedy: a pass does it,
 * all that can be read may be. */
int events_deliver(struct events *ev, PyObject *obj, enum kind kind,
                   bool greedy);
/* What `readwrite` does with flags of poll(); 0 or -1. */
int events_readwrite(struct events *ev, PyObject *obj, int flags, bool greedy);
/* Is that errno in `_DISCONNECTED`?  1, 0, -1. */
int events_disconnected(PyObject *events, int code);
/* A global of asyncore; borrowed; NULL without exception. */
PyObject *events_global(const struct events *ev, PyObject *name);
/* May output of the channel wait, since there is more for it to handle? */
bool event_defers(PyObject *self);
/* There is something to do before anybody looks. */
void event_enlist(struct event *e);
/* What waits goes out now: of the channel; of all that this thread serves. */
int event_flush(PyObject *self);
int event_flush_all(struct state *st);

static inline bool
event_has_deferred(const struct channel *ch)
{
    return ch->event != NULL && ch->event->listed;
}

/* ---- sockets.c: genuine sockets, without their methods ----------------- */

struct direct {
    int fd;
    int family, type;
    PyObject *sock; /* borrowed */
};

/* Can the channel's socket be used without its methods?  (Exactly a
 * socket.socket, whose methods nobody has replaced, and non-blocking.) */
bool socket_direct(struct channel *ch, struct direct *ret);
int socket_init(struct state *st);
/* recv(2), signals heeded; -1 with exception. */
Py_ssize_t direct_recv(int fd, char *buffer, size_t len, int flags);
PyObject *direct_recv_bytes(struct state *st, int fd, size_t size);
/* What the kernel takes at once, which may be nothing; -1 with errno, which
 * direct_failed() takes: 0 after a signal, or -1 with exception. */
ssize_t direct_try(int fd, const char *data, size_t len);
int direct_failed(int code);
/* One send of at most 64 pieces: how many bytes the kernel took, or -1. */
Py_ssize_t direct_send(int fd, const struct iovec *iov, size_t n);
/* What dispatcher.send does with bytes on such a socket: how many were sent,
 * or -1. */
Py_ssize_t channel_send_pieces(PyObject *self, int fd, const struct iovec *iov,
                               size_t n);
/* recv into a buffer, as dispatcher.recv does it: 0, if the connection has
 * ended, or -1. */
Py_ssize_t channel_recv_into(PyObject *self, int fd, char *buffer, size_t len);
/* The exception that is set is of input or output.  Returns 0 if it means
 * that the connection has ended, which handle_close was told, or -1. */
int channel_io_failed(PyObject *self, const char *function);
/* dispatcher's send and recv. */
PyObject *channel_send(PyObject *self, PyObject *data);
PyObject *channel_recv(PyObject *self, PyObject *size);

/* ---- ahead.c: reading ahead -------------------------------------------- */

/* Has this thread read ahead, so that nobody has got at the socket since? */
bool ahead_has(const struct channel *ch);
/* The next of it. */
PyObject *ahead_serve(struct event *e, size_t size);
/* recv() on such a socket. */
PyObject *ahead_recv(PyObject *self, const struct direct *d, size_t size);
/* After handle_read: is there more for another one? */
bool ahead_more(struct event *e, PyObject *self, size_t before);
/* Take from the kernel what the program has got; forget the rest. */
void ahead_sync(struct event *e);
/* Somebody is about to read from the socket itself. */
void ahead_stop(struct channel *ch);

/* ---- pieces.c: objects to receive into --------------------------------- */

/* Can several pieces of so many bytes be looked at at once? */
bool pieces_fit(size_t size);
/* Look at what has come in, for who asks for `size` bytes at a time: how many
 * there are, and the set that has them; NULL without exception. */
struct pieces *pieces_peek(struct state *st, int fd, size_t size,
                           size_t *ret_len);
/* `len` of them as an object, nothing before `at` from now on; a new
 * reference. */
PyObject *pieces_get(struct pieces *p, size_t at, size_t len);
void pieces_give(struct state *st, struct pieces *p);
void pieces_free(struct pieces *p); /* and those after it */

/* ---- sender.c ---------------------------------------------------------- */

struct output **chat_output_at(struct channel *ch);

static inline struct output *
channel_output(const struct channel *ch)
{
    return ch->is_chat ? *chat_output_at((struct channel *)(uintptr_t)ch)
                       : ch->part.output;
}

size_t sender_pending(const struct channel *ch);
int sender_flush(PyObject *self);
void sender_clear(struct channel *ch);
int sender_traverse(struct channel *ch, visitproc visit, void *arg);

/* ---- chat*.c ----------------------------------------------------------- */

/* NULL: no async_chat, or not yet. */
static inline struct chat *
channel_chat(const struct channel *ch)
{
    return ch->is_chat ? ch->part.chat : NULL;
}

/* It becomes one; NULL with MemoryError. */
struct chat *chat_make(struct channel *ch);
PyObject **chat_terminator_at(struct channel *ch);

PyObject *chat_begin(PyObject *module, PyObject *self);
void chat_clear(struct channel *ch);
int chat_traverse(struct channel *ch, visitproc visit, void *arg);
/* _collect_incoming_data */
int chat_collect(PyObject *self, PyObject *data);
int chat_flush(PyObject *self);
/* Is something queued?  1, 0, or -1: somebody else has the queue. */
int chat_has_output(const struct klass *k, struct channel *ch);

/* ---- registry.c: maps that are served by the core ---------------------- */

/* Something that the interest depends on has changed. */
void channel_touch(struct channel *ch);
/* Its descriptor may be another one now. */
void channel_renew(struct channel *ch);
/* It goes away. */
void channel_unwatch(struct channel *ch);
/* map[key] = self, and del map[key], with the registry kept up to date. */
int registry_add(struct state *st, PyObject *map, PyObject *key,
                 PyObject *self);
int registry_remove(struct state *st, PyObject *map, PyObject *key);
void registry_free_all(struct state *st);
/* serve(milliseconds or seconds, map, use_poll): True, or False: do it in
 * Python. */
PyObject *events_serve(PyObject *self, PyObject *const *args,
                       Py_ssize_t nargs);
/* attach.c */
PyObject *events_wake(PyObject *self, PyObject *map);
PyObject *events_attach(PyObject *self, PyObject *map);
PyObject *events_detach(PyObject *self, PyObject *map);
PyObject *events_serve_attached(PyObject *self, PyObject *args);
PyObject *events_prepare_attached(PyObject *self, PyObject *args);
PyObject *registry_backend(PyObject *module, PyObject *map);
PyObject *registry_backends(PyObject *module, PyObject *unused);
PyObject *registry_before_fork(PyObject *module, PyObject *unused);

#endif
