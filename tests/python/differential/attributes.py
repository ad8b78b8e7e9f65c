# SPDX-License-Identifier: MIT
"""Random programs of attributes.

Of a few channels, of classes of many shapes, attributes are set, deleted and
looked at, in the instance, its dictionary, and its class, which may become
another one; in between the loop runs.  What is found, which exceptions there
are, and what is called must be the same.

Left out is what the drop-in has in C (see docs/python.md): out_buffer,
producer_fifo and the like are in no dictionary, so programs do not replace it
where they would be.  When a class gets something under a name that
instances have, too, these are looked at: otherwise they notice in the next
pass.
"""

import copy
import gc
import random
import socket
import sys

import asynchat
import asyncore

COMPUTED = {"out_buffer", "incoming", "ac_in_buffer", "producer_fifo"}
COMPUTED |= {" received"}  # by the improvements of the original
FLAGS = ["connected", "accepting", "connecting"]
FIELDS = FLAGS + ["addr", "socket", "_map", "_fileno", "terminator"]
METHODS = """readable writable handle_read handle_write debug log_info
    found_terminator collect_incoming_data handle_read_event initiate_send
    get_terminator send recv handle_close""".split()
OTHERS = "extra foo closing ignore_log_types __doc__".split() + ["a b"]
CALLABLES = ("callable true", "callable false", "callable noted")
CHATS = (asynchat.async_chat, asyncore.dispatcher_with_send)


# ---- programs --------------------------------------------------------------


class Dice(random.Random):
    def name(self):
        return self.choice(self.choice((FIELDS, FIELDS, METHODS, OTHERS)))

    def value(self, name):
        if name in METHODS:
            return self.choice((*CALLABLES, True, 0))
        if name in FLAGS:
            return self.choice((True, False) * 3 + (0, 1, None, "s"))
        return self.choice((True, False, None, 0, 1, 5, "s", "", *CALLABLES))

    def named(self):
        name = self.name()
        return [name, self.value(name)]

    def new(self):
        return [self.choice(list(SHAPES)), self.choice(("pair", "no", "new"))]


# Of each op: its weight, and what it gets beside the number of a channel.
OPS = {
    "set": (25, lambda d, n: d.named()),
    "get": (17, lambda d, n: [d.name()]),
    "delete": (8, lambda d, n: [d.name()]),
    "vars": (8, lambda d, n: []),
    "put": (5, lambda d, n: d.named()),
    "take": (3, lambda d, n: [d.name()]),
    "replace": (1, lambda d, n: [*d.named(), d.choice((True, 1))]),
    "share": (2, lambda d, n: [d.randrange(n)]),
    "keep": (3, lambda d, n: []),
    "drop": (2, lambda d, n: []),
    "class": (3, lambda d, n: [d.choice(list(SHAPES))]),
    "class_set": (4, lambda d, n: d.named()),
    "class_delete": (2, lambda d, n: [d.name()]),
    "base_set": (1, lambda d, n: d.named()),
    "copy": (2, lambda d, n: []),
    "feed": (3, lambda d, n: []),
    "again": (1, lambda d, n: d.new()),
    "init": (1, lambda d, n: []),
    "many": (1, lambda d, n: []),
    "pass": (10, lambda d, n: []),
}
NAMES = list(OPS)
WEIGHTS = [OPS[name][0] for name in NAMES]


def program(seed, number):
    """The program of that number."""
    dice = Dice(f"attributes/{seed}/{number}")
    n = dice.randint(1, 4)
    ops = [["again", i, *dice.new()] for i in range(n)]
    for _ in range(dice.randint(3, 40)):
        (name,) = dice.choices(NAMES, WEIGHTS)
        ops.append([name, dice.randrange(n), *OPS[name][1](dice, n)])
    poll = dice.random() < 0.5
    return {"about": "attributes", "poll": poll, "ops": ops}


# ---- classes ---------------------------------------------------------------


class Mixin:
    pass


class LeanMixin:
    __slots__ = ()


def looked_up(self, name):
    if name in ("extra", "terminator", "socket"):
        return "missing"
    raise AttributeError(name)


def look_up(self, name):
    if name in ("accepting", "foo"):
        return False
    return object.__getattribute__(self, name)


def set_loudly(self, name, value):
    self.note(f"setting {name}")
    object.__setattr__(self, name, value)


own_addr = property(
    lambda self: vars(self).get("addr", "none"),
    lambda self, value: vars(self).update(addr=value),
)

# Of each shape: the bases, and what is in the body.
SHAPES = {
    "plain": ((asyncore.dispatcher,), {}),
    "sender": ((asyncore.dispatcher_with_send,), {}),
    "chat": ((asynchat.async_chat,), {}),
    "both": ((asynchat.async_chat, asyncore.dispatcher_with_send), {}),
    "mixed": ((Mixin, asyncore.dispatcher), {}),
    "mixed chat": ((Mixin, asynchat.async_chat), {}),
    "lean mixed": ((LeanMixin, asyncore.dispatcher), {}),
    "slotted": ((asyncore.dispatcher,), {"__slots__": ("extra",)}),
    "diamond": (None, {}),
    "getattr": ((asyncore.dispatcher,), {"__getattr__": looked_up}),
    "getattribute": ((asyncore.dispatcher,), {"__getattribute__": look_up}),
    "setattr": ((asyncore.dispatcher,), {"__setattr__": set_loudly}),
    "property": ((asyncore.dispatcher,), {"addr": own_addr}),
    "valued": (
        (asyncore.dispatcher,),
        dict(connected=True, addr="a", socket=None, terminator="t"),
    ),
}


def handlers(trace):
    """What all the classes have."""

    def handle_read(self):
        trace.append("read")
        try:
            trace.append(self.recv(3).decode())
        except Exception as error:
            trace.append(type(error).__name__)

    def handle_error(self):
        trace.append("error " + sys.exc_info()[0].__name__)

    def noting(text):
        return lambda self, *arguments: trace.append(text)

    return {
        "note": staticmethod(trace.append),
        "handle_read": handle_read,
        "handle_error": handle_error,
        "handle_write": noting("write"),
        "handle_close": noting("close"),
        "log_info": noting("log"),
        "collect_incoming_data": noting("collect"),
        "found_terminator": noting("found"),
        "writable": lambda self: False,
    }


def make_classes(trace):
    classes = {}
    for name, (bases, body) in SHAPES.items():
        body = dict(handlers(trace), **body)
        if bases is None:
            bases = tuple(
                type(side, (asyncore.dispatcher,), {})
                for side in ("Left", "Right")
            )
        if issubclass(bases[-1], CHATS):
            for own in ("handle_read", "handle_write", "writable"):
                del body[own]
        classes[name] = type(name.title(), bases, body)
    return classes


# ---- running them ----------------------------------------------------------


class World:
    """A program that runs."""

    def __init__(self, use_poll):
        self.use_poll = use_poll
        self.trace = []
        self.classes = make_classes(self.trace)
        self.map = {}
        self.channels = {}
        self.far = {}
        self.kept = []
        self.sockets = []
        self.callables = {
            "callable true": lambda *_: True,
            "callable false": lambda *_: False,
            "callable noted": lambda *_: self.trace.append("called"),
        }

    def top(self, op):
        name, number, *arguments = op
        if name != "again" and number not in self.channels:
            return
        try:
            result = getattr(self, f"do_{name}")(number, *arguments)
        except Exception as error:
            result = f"raised {type(error).__name__}"
        self.trace.append(f"{op} {result}")

    def finish(self):
        for number in sorted(self.channels):
            self.trace.append(self.all(self.channels[number]))
        for end in self.sockets:
            end.close()
        self.map.clear()

    # what is seen

    def value(self, value):
        return self.callables.get(value, value)

    def brief(self, value):
        if value is None or isinstance(value, (int, str, bytes)):
            known = type(value) is not int or value <= 5
            return repr(value) if known else "number"
        if value is self.map:
            return "map"
        if isinstance(value, (tuple, frozenset)):
            return sorted(map(self.brief, value))
        return "callable" if callable(value) else type(value).__name__

    def all(self, channel):
        found = [
            f"{name}={self.brief(value)}"
            for name, value in vars(channel).items()
            if name not in COMPUTED
        ]
        return " ".join(sorted(found))

    def look(self):
        for number in sorted(self.channels):
            self.all(self.channels[number])

    # the ops

    def do_again(self, number, shape, how):
        old = self.channels.pop(number, None)
        for key in [key for key, obj in self.map.items() if obj is old]:
            del self.map[key]
        kind = self.classes[shape]
        if how == "new":
            self.channels[number] = kind.__new__(kind)
            return
        near = None
        if how == "pair":
            near, self.far[number] = socket.socketpair()
            self.sockets += [near, self.far[number]]
        self.channels[number] = kind(near, self.map)

    def do_init(self, number):
        channel = self.channels[number]
        type(channel).__init__(channel, None, self.map)

    def do_set(self, number, name, value):
        setattr(self.channels[number], name, self.value(value))

    def do_get(self, number, name):
        return self.brief(getattr(self.channels[number], name))

    def do_delete(self, number, name):
        delattr(self.channels[number], name)

    def do_many(self, number):
        for i in range(40):
            setattr(self.channels[number], f"many{i}", i)

    def do_vars(self, number):
        return self.all(self.channels[number])

    def do_put(self, number, name, value):
        if name != "extra":  # which is a slot for some
            vars(self.channels[number])[name] = self.value(value)

    def do_take(self, number, name):
        del vars(self.channels[number])[name]

    def do_replace(self, number, name, value, connected):
        channel = self.channels[number]
        if not isinstance(channel, CHATS) and name != "extra":
            new = {name: self.value(value), "connected": connected}
            channel.__dict__ = new

    def do_share(self, number, other):
        one, two = (self.channels.get(i) for i in (number, other))
        if not isinstance(one, CHATS) and not isinstance(two, CHATS):
            one.__dict__ = two.__dict__

    def do_keep(self, number):
        self.kept.append(vars(self.channels[number]))

    def do_drop(self, _):
        self.kept.clear()

    def do_class(self, number, shape):
        """Where the original could, too, and nothing in C is missed."""
        channel, kind = self.channels[number], self.classes[shape]
        lean = LeanMixin in kind.__mro__ or isinstance(channel, LeanMixin)
        if not lean and [issubclass(kind, chat) for chat in CHATS] == [
            isinstance(channel, chat) for chat in CHATS
        ]:
            channel.__class__ = kind

    def do_class_set(self, number, name, value):
        self.look()
        setattr(type(self.channels[number]), name, self.value(value))
        self.look()

    def do_class_delete(self, number, name):
        self.look()
        delattr(type(self.channels[number]), name)
        self.look()

    def do_base_set(self, number, name, value):
        base = type(self.channels[number]).__mro__[1]
        if base.__module__ == __name__:
            self.look()
            setattr(base, name, self.value(value))
            self.look()

    def do_copy(self, number):
        channel = self.channels[number]
        twin = copy.copy(channel)
        return type(twin) is type(channel), self.all(twin)

    def do_feed(self, number):
        if number in self.far:
            self.far[number].send(b"ab\n")

    def do_pass(self, _):
        asyncore.loop(0, self.use_poll, self.map, 1)


def perform(program):
    """Run one program; its trace."""
    world = World(program["poll"])
    mixin = dict(vars(Mixin))
    for op in program["ops"]:
        world.top(op)
    world.finish()
    for name in set(vars(Mixin)) - set(mixin):
        delattr(Mixin, name)
    Mixin.__doc__ = None
    gc.collect(0)
    return world.trace
