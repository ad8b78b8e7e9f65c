# SPDX-License-Identifier: MIT
"""Runs programs on whatever asyncore and asynchat are first on the path.

Reads one program a line, as JSON, and writes what happened: every call of a
handler, what was received, logged, raised, and the state of the channels
after every step.
"""

import collections
import errno
import gc
import itertools
import json
import os
import re
import select
import socket
import sys
import tempfile
import warnings

warnings.simplefilter("ignore")
import asynchat  # noqa: E402
import asyncore  # noqa: E402
import attributes  # noqa: E402
from channels import (  # noqa: E402
    PipeEnd,
    Producer,
    TooLong,
    brief,
    make_kinds,
)

LONGEST = 500
DEEPEST = 6
RESET = b"\1\0\0\0\0\0\0\0"
ERRORS = {
    "key": lambda: KeyError("key"),
    "pipe": lambda: OSError(errno.EPIPE, "mine"),
    "reset": lambda: OSError(errno.ECONNRESET, "mine"),
    "space": lambda: OSError(errno.ENOSPC, "mine"),
    "again": lambda: OSError(errno.EAGAIN, "mine"),
    "exit": lambda: asyncore.ExitNow("exit"),
    "interrupt": KeyboardInterrupt,
    "generator": GeneratorExit,
    "memory": MemoryError,
}


class World:
    """A program that runs: its channels, their peers, its trace."""

    def __init__(self, use_poll, peek):
        self.use_poll, self.peek = use_poll, peek
        self.trace = []
        self.depth = 0
        self.channels = {}
        self.fars = {}
        self.nears = {}
        self.listeners = []
        self.keep = []
        self.map = asyncore.socket_map = {}
        self.kinds = make_kinds(self)

    def note(self, *words):
        if len(self.trace) >= LONGEST:
            raise TooLong
        self.trace.append(" ".join(map(str, words)))

    # ---- handlers

    def handle(self, channel, name, default):
        """A handler was called: note it, run its script, go on."""
        flags = self.flags(channel)
        self.note(self.name(channel), name, flags, self.current())
        if self.depth > DEEPEST:
            return
        self.depth += 1
        try:
            for op in channel.next_script(name):
                self.run(op)
            default()
        finally:
            self.depth -= 1

    def ask(self, channel, name, default):
        """A predicate was called, likewise."""
        answers = []
        self.handle(channel, name, lambda: answers.append(default()))
        return answers[0] if answers else False

    def name(self, channel):
        return f"{channel.spec['id']}.{channel.birth}"

    def current(self):
        error = sys.exc_info()[1]
        return "" if error is None else brief(error)

    def flags(self, channel):
        return "".join(
            letter
            for letter, name in zip("calm", ("connected", "accepting",
                                             "connecting"))
            if getattr(channel, name)
        )

    # ---- ops

    def run(self, op):
        """One op; what it returns is noted."""
        name, *arguments = op
        if name == "raise":
            self.note("raise", arguments[0])
            raise ERRORS[arguments[0]]()
        try:
            result = getattr(self, "do_" + name)(*arguments)
        except (TooLong, asyncore.ExitNow, KeyboardInterrupt):
            raise
        except BaseException as error:
            result = error
        if result is not None:
            self.note("=", name, brief(result))

    def top(self, op):
        """An op of the program itself, and the state thereafter."""
        self.note("-", op[0])
        try:
            self.run(op)
        except TooLong:
            raise
        except BaseException as error:
            self.note("! out:", brief(error))
        for channel in list(self.channels.values()):
            self.note(" ", self.state(channel))

    def state(self, channel):
        """All that can be seen of a channel, or, where the program does not
        peek, what can be seen without touching the buffers."""
        mapped = [key == channel._fileno for key, value in self.map.items()
                  if value is channel]
        words = [self.name(channel), self.flags(channel), mapped,
                 channel._fileno is None]
        if not self.peek:
            return " ".join(map(str, words))
        for name in ("out_buffer", "ac_in_buffer", "terminator"):
            if hasattr(channel, name):
                words.append(brief(getattr(channel, name)))
        words += self.queue(getattr(channel, "producer_fifo", ()))
        return " ".join(map(str, words))

    def queue(self, fifo):
        """Items, but neighbouring bytes as one."""
        for _, group in itertools.groupby(fifo, type):
            items = list(group)
            if isinstance(items[0], bytes):
                items = [b"".join(items)]
            yield from map(brief, items)

    def do_pass(self, count):
        if self.depth > 2:
            return
        asyncore.loop(0, self.use_poll, self.map, count)

    def do_new(self, spec):
        if spec["kind"] in ("file", "pipe"):
            return self.new_file(spec)
        near, far = self.pair(spec["family"])
        self.make(spec, near)
        self.keep += [near, far]
        self.fars[spec["id"]], self.nears[spec["id"]] = far, near

    def make(self, spec, sock):
        """A channel of that kind; whoever had the number is forgotten, but
        kept."""
        kind = self.kinds[spec["kind"] if sock else "plain"]
        channel = kind.__new__(kind)
        self.keep.append(channel)
        channel.begin(spec, len(self.keep))
        self.channels[spec["id"]] = channel
        self.fars.pop(spec["id"], None)
        self.nears.pop(spec["id"], None)
        channel.__init__(sock, self.map)
        return channel

    def new_file(self, spec):
        if spec["kind"] == "pipe":
            fd, far = os.pipe()
            self.fars[spec["id"]] = PipeEnd(far)
        else:
            file = tempfile.TemporaryFile(buffering=0)
            file.write(b"content of a file")
            file.seek(0)
            fd = os.dup(file.fileno())
            file.close()
        self.keep.append(PipeEnd(fd))
        far = self.fars.pop(spec["id"], None)
        self.nears.pop(spec["id"], None)
        kind = self.kinds[spec["kind"]]
        channel = kind.__new__(kind)
        self.keep += [channel, far]
        channel.begin(spec, len(self.keep))
        self.channels[spec["id"]] = channel
        if far is not None:
            self.fars[spec["id"]] = far
        channel.__init__(fd, self.map)

    def pair(self, family):
        if family == "unix":
            pair = socket.socketpair()
            for end in pair:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20000)
        else:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                near = socket.create_connection(listener.getsockname())
                pair = near, listener.accept()[0]
            for end in pair:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for end in pair:
            end.setblocking(False)
        return pair

    def do_listen(self, spec):
        channel = self.make(dict(spec, kind="plain"), None)
        channel.create_socket()
        channel.bind(("127.0.0.1", 0))
        channel.listen(5)
        self.listeners.append(channel.socket)
        self.keep.append(channel.socket)

    def do_connect(self, spec, to):
        if not self.listeners:
            return
        listener = self.listeners[to % len(self.listeners)]
        if listener.fileno() < 0:
            return
        address = listener.getsockname()
        channel = self.make(dict(spec, kind="plain"), None)
        channel.create_socket()
        self.keep.append(channel.socket)
        channel.connect(address)
        self.settle(channel.socket, select.POLLOUT)

    def do_refuse(self, spec):
        with socket.create_server(("127.0.0.1", 0)) as closed:
            address = closed.getsockname()
        channel = self.make(dict(spec, kind="plain"), None)
        channel.create_socket()
        self.keep.append(channel.socket)
        channel.connect(address)
        self.settle(channel.socket, select.POLLIN)

    def settle(self, sock, events):
        """Wait for the kernel, where it takes its time."""
        if sock is not None and sock.fileno() >= 0:
            poller = select.poll()
            poller.register(sock, events)
            poller.poll(200)

    def near(self, number, events=select.POLLIN):
        """Let what the peer did arrive."""
        self.settle(self.nears.get(number), events)

    def do_send(self, number, text):
        far = self.fars.get(number)
        if far is not None and text:
            try:
                far.send(text.encode())
            except OSError:
                return
            self.near(number)

    def do_send_much(self, number, size):
        self.do_send(number, "x" * min(size, 10000))

    def do_far_oob(self, number):
        far = self.fars.get(number)
        if getattr(far, "family", None) == socket.AF_INET:
            try:
                far.send(b"!", socket.MSG_OOB)
            except OSError:
                return
            self.near(number, select.POLLPRI)

    def do_far_close(self, number):
        far = self.fars.pop(number, None)
        if far is not None:
            far.close()
            self.near(number)

    def do_far_shut(self, number):
        far = self.fars.get(number)
        if isinstance(far, socket.socket):
            try:
                far.shutdown(socket.SHUT_WR)
            except OSError:
                return
            self.near(number)

    def do_far_reset(self, number):
        far = self.fars.pop(number, None)
        if isinstance(far, socket.socket):
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            far.close()
            self.near(number)

    def do_far_read(self, number, size):
        far = self.fars.get(number)
        if isinstance(far, socket.socket):
            try:
                return far.recv(size)
            except OSError as error:
                return error

    # ---- ops on a channel

    def on(self, number, call):
        channel = self.channels.get(number)
        if channel is not None:
            return call(channel)

    def do_close(self, number):
        return self.on(number, lambda channel: channel.close())

    def do_close_all(self, ignore):
        return asyncore.close_all(self.map, ignore)

    def do_del(self, number):
        return self.on(number, lambda channel: channel.del_channel())

    def do_add(self, number):
        def add(channel):
            if channel.socket is not None and channel.socket.fileno() >= 0:
                channel._fileno = channel.socket.fileno()
                channel.add_channel()

        return self.on(number, add)

    def do_set(self, number, name, value):
        if isinstance(value, str) and name != "addr":
            value = value.encode()
        return self.on(number, lambda channel: setattr(channel, name, value))

    def do_ask(self, number, how):
        return self.on(number, lambda channel: channel.ask(how))

    def do_map_pop(self, number):
        self.on(number, lambda c: self.map.pop(c._fileno, None))

    def do_map_alias(self, number, other):
        """A channel under the key of another."""
        one, two = self.channels.get(number), self.channels.get(other)
        if one and two and two._fileno is not None:
            self.map[two._fileno] = one

    def do_map_order(self, number):
        """To the end of the map."""
        def move(channel):
            if self.map.get(channel._fileno) is channel:
                self.map[channel._fileno] = self.map.pop(channel._fileno)

        self.on(number, move)

    def do_map_clear(self):
        self.map.clear()

    def do_map_other(self):
        """The same channels in a map of another kind, between passes."""
        if self.depth:
            return
        if type(self.map) is dict:
            other = collections.OrderedDict(self.map)
        else:
            other = dict(self.map)
        for channel in self.channels.values():
            if channel._map is self.map:
                channel._map = other
        self.map = asyncore.socket_map = other

    def do_chan_send(self, number, text):
        return self.on(number, lambda c: c.send(text.encode()))

    def do_chan_much(self, number, size):
        return self.on(number, lambda c: c.send(b"y" * size)
                       if c.unix else None)

    def do_chan_recv(self, number, size):
        return self.on(number, lambda channel: channel.recv(size))

    def chat(self, number, call):
        channel = self.channels.get(number)
        if isinstance(channel, asynchat.async_chat):
            return call(channel)

    def do_push(self, number, text):
        return self.chat(number, lambda c: c.push(text.encode()))

    def do_push_much(self, number, size):
        return self.chat(number, lambda c: c.push(b"z" * size)
                         if c.unix else None)

    def do_producer(self, number, kind, parts):
        parts = [part.encode() for part in parts]
        if kind == "simple":
            made = asynchat.simple_producer(b"".join(parts), 4)
        elif kind == "bytes":
            made = b"".join(parts)
        else:
            made = Producer(self, kind, parts)
        return self.chat(number, lambda c: c.push_with_producer(made))

    def do_fifo(self, number, item):
        item = item if item is None else item.encode()
        return self.chat(number, lambda c: c.producer_fifo.append(item))

    def do_fifo_clear(self, number):
        return self.chat(number, lambda c: c.producer_fifo.clear())

    def do_done(self, number):
        return self.chat(number, lambda c: c.close_when_done())

    def do_terminator(self, number, term):
        term = term.encode() if isinstance(term, str) else term
        return self.chat(number, lambda c: c.set_terminator(term))

    def do_discard(self, number):
        return self.chat(number, lambda c: c.discard_buffers())

    def do_event(self, number, name):
        return self.on(number, lambda c: getattr(c, name, int)())

    def do_patch(self, kind, name):
        """The class is patched, or is as it was again."""
        owner = self.kinds[kind]
        if name in vars(owner) and hasattr(vars(owner)[name], "patched"):
            setattr(owner, name, vars(owner)[name].patched)
            return
        before = getattr(owner, name)

        def patched(channel):
            self.note(self.name(channel), "patched", name)
            return before(channel)

        patched.patched = before
        setattr(owner, name, patched)

    def finish(self):
        """Nothing may be left for the next program."""
        for thing in self.keep:
            for end in (thing, getattr(thing, "socket", None)):
                try:
                    getattr(end, "really_close", getattr(end, "close", int))()
                except Exception:
                    pass
        self.map.clear()


class Output:
    """stdout, as far as the channels are concerned."""

    def __init__(self):
        self.world = None

    def write(self, text):
        if text == "\n" or self.world is None:
            return
        text = re.sub(r" at 0x[0-9a-f]+", "", text)
        text = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", text)
        text = re.sub(r"'127\.0\.0\.1', \d+", "ADDRESS", text)
        text = re.sub(r"<[\w.<>]*\.(\w+)", r"<\1", text)
        self.world.note("log", re.sub(r"\[[^|\]]*\|.*\]\)", "[...])", text))

    def flush(self):
        pass


def perform(program, output):
    """Run one program; its trace."""
    if program.get("about") == "attributes":
        return attributes.perform(program)
    world = output.world = World(program["poll"], program["peek"])
    try:
        for op in program["ops"]:
            world.top(op)
        world.peek = True
        world.top(["pass", 1])
    except TooLong:
        world.trace.append("too long")
    finally:
        output.world = None
        world.finish()
    return world.trace


def main():
    if "improved" in sys.argv:
        import improvements

        improvements.install(asyncore, asynchat)
    out, sys.stdout = sys.stdout, Output()
    print(json.dumps([asyncore.__file__, asynchat.__file__]), file=out)
    out.flush()
    gc.disable()
    for count, line in enumerate(sys.stdin):
        trace = perform(json.loads(line), sys.stdout)
        if count % 50 == 0:
            gc.collect()
        print(json.dumps(trace), file=out)
        out.flush()


if __name__ == "__main__":
    main()
