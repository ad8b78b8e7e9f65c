# SPDX-License-Identifier: MIT
"""Random programs of socket events.

A program is plain data, so that it can be sent to another process, printed,
and cut down: {"poll": bool, "peek": bool, "ops": [op...]}, where an op is a
list of its name and its arguments.  Channels have numbers; an op on one that
is not there does nothing, so that every part of a program can be left out.

Left out are descriptors that are closed behind their channels' backs, also by
channels that exchange sockets: epoll does not tell of those, so that it is a
matter of time when they are noticed.  test_functions.py has them.
"""

import random

KINDS = """plain deaf sender chat chat mute events file pipe lean
    lean_sender lean_chat lean_chat asked asked_sender""".split()
FAMILIES = ("unix", "unix", "tcp")
PREDICATES = ("base", "base", "traced", "never", "reading", "writing")
ERRORS = "key pipe reset space again exit interrupt generator memory".split()
HANDLERS = """read write expt connect close error found collect readable
    writable""".split()
TERMINATORS = ("\n", "\n", "\r\n", "ab", "aab", 1, 3, 10, 0, None, "", "b")
TEXT = "aab\r\n\nc"


class Dice(random.Random):
    """With the choices that programs are made of."""

    def text(self, most=30):
        return "".join(self.choices(TEXT, k=self.randint(0, most)))

    def channel(self):
        return self.randint(1, 5)

    def size(self):
        return self.choice((0, 1, 3, 10, 100, 5000, 70000, 300000))


def spec(dice, number, depth):
    """A new channel: what it is and what its handlers do."""
    return {
        "id": number,
        "kind": dice.choice(KINDS),
        "family": dice.choice(FAMILIES),
        "ask": dice.choice(PREDICATES),
        "on_close": dice.choice(("close", "close", "close", "base", "none")),
        "on_error": dice.choice(("base", "base", "close", "raise", "none")),
        "recv": dice.choice((1, 5, 100, 65536)),
        "terminator": dice.choice(TERMINATORS),
        "in": dice.choice((65536, 65536, 4, 1)),
        "out": dice.choice((65536, 65536, 7, 1000)),
        "scripts": scripts(dice, depth),
    }


def scripts(dice, depth):
    """What handlers do the first times that they are called."""
    if depth > 1:
        return {}
    chosen = {}
    for name in HANDLERS:
        if dice.random() < 0.22:
            chosen[name] = [
                [op(dice, depth + 1) for _ in range(dice.choice((0, 1, 1, 2)))]
                for _ in range(dice.choice((1, 1, 2)))
            ]
    # A pass in a predicate may tell the kernel of channels that are too new
    # for the pass around it.
    for name in ("readable", "writable"):
        chosen[name] = [
            [one for one in script if one[0] != "pass"]
            for script in chosen.get(name, ())
        ]
    return chosen


def producer(dice):
    kind = dice.choice(("simple", "traced", "raising", "empty", "bytes"))
    return [kind, [dice.text(8) for _ in range(dice.randint(0, 3))]]


def assignment(dice):
    """An attribute set from outside."""
    flag = dice.random() < 0.5
    return dice.choice(
        (
            ["connected", flag],
            ["accepting", flag],
            ["connecting", flag],
            ["addr", "somewhere"],
            ["out_buffer", dice.text()],
            ["ac_in_buffer", dice.text()],
            ["terminator", dice.choice(TERMINATORS)],
            ["ac_in_buffer_size", dice.choice((1, 4, 65536))],
            ["ac_out_buffer_size", dice.choice((1, 4, 65536))],
            ["ignore_log_types", dice.choice(([], ["warning", "error"]))],
            ["debug", flag],
        )
    )


# Each op with its weight, and its arguments.
OPS = {
    "send": (14, lambda d, _: [d.channel(), d.text()]),
    "send_much": (1, lambda d, _: [d.channel(), d.size()]),
    "far_oob": (1, lambda d, _: [d.channel()]),
    "far_close": (4, lambda d, _: [d.channel()]),
    "far_shut": (1, lambda d, _: [d.channel()]),
    "far_reset": (2, lambda d, _: [d.channel()]),
    "far_read": (3, lambda d, _: [d.channel(), d.size()]),
    "new": (5, lambda d, n: [spec(d, d.channel(), n)]),
    "listen": (2, lambda d, n: [spec(d, d.channel(), n)]),
    "connect": (3, lambda d, n: [spec(d, d.channel(), n), d.channel()]),
    "refuse": (1, lambda d, n: [spec(d, d.channel(), n)]),
    "close": (3, lambda d, _: [d.channel()]),
    "close_all": (1, lambda d, _: [d.random() < 0.5]),
    "del": (1, lambda d, _: [d.channel()]),
    "add": (2, lambda d, _: [d.channel()]),
    "set": (5, lambda d, _: [d.channel(), *assignment(d)]),
    "ask": (3, lambda d, _: [d.channel(), d.choice(PREDICATES)]),
    "map_pop": (1, lambda d, _: [d.channel()]),
    "map_alias": (1, lambda d, _: [d.channel(), d.channel()]),
    "map_order": (1, lambda d, _: [d.channel()]),
    "map_clear": (0.3, lambda d, _: []),
    "map_other": (1, lambda d, _: []),
    "chan_send": (4, lambda d, _: [d.channel(), d.text()]),
    "chan_much": (2, lambda d, _: [d.channel(), d.size()]),
    "chan_recv": (2, lambda d, _: [d.channel(), d.choice((1, 5, 65536))]),
    "push": (6, lambda d, _: [d.channel(), d.text()]),
    "push_much": (1, lambda d, _: [d.channel(), d.size()]),
    "producer": (3, lambda d, _: [d.channel(), *producer(d)]),
    "fifo": (2, lambda d, _: [d.channel(), d.choice((d.text(5), None))]),
    "fifo_clear": (1, lambda d, _: [d.channel()]),
    "done": (2, lambda d, _: [d.channel()]),
    "terminator": (3, lambda d, _: [d.channel(), d.choice(TERMINATORS)]),
    "discard": (1, lambda d, _: [d.channel()]),
    "event": (1, lambda d, _: [d.channel(), d.choice(
        ("handle_read_event", "handle_write_event", "handle_expt_event",
         "handle_read", "handle_write", "handle_close", "initiate_send"))]),
    "patch": (1, lambda d, _: [d.choice(KINDS), d.choice(
        ("readable", "writable", "handle_read", "handle_write"))]),
    "raise": (4, lambda d, _: [d.choice(ERRORS)]),
    "pass": (14, lambda d, _: [d.choice((1, 1, 1, 2))]),
}
NAMES = list(OPS)
WEIGHTS = [OPS[name][0] for name in NAMES]


def op(dice, depth):
    """One op; at the top level, none that raises."""
    while True:
        (name,) = dice.choices(NAMES, WEIGHTS)
        if name == "raise" and depth == 0:
            continue
        if name == "pass" and depth > 0 and dice.random() < 0.9:
            continue
        return [name, *OPS[name][1](dice, depth)]


def program(seed, number):
    """The program of that number."""
    dice = Dice(f"{seed}/{number}")
    ops = []
    for channel in range(1, dice.randint(2, 4)):
        kind = "listen" if dice.random() < 0.15 else "new"
        ops.append([kind, spec(dice, channel, 0)])
    ops += [op(dice, 0) for _ in range(dice.randint(4, 25))]
    ops += [["pass", 3]]
    flags = {name: dice.random() < 0.5 for name in ("poll", "peek")}
    return dict(flags, ops=ops)
