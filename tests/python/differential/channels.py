# SPDX-License-Identifier: MIT
"""The channels of the programs, and what else is not the program's world."""

import os
import socket
import sys
import zlib

import asynchat
import asyncore


class TooLong(BaseException):
    """The trace is: the rest of the program is left out."""


def brief(value):
    """Data by its length, beginning and sum; errors by type and errno."""
    if isinstance(value, BaseException):
        number = getattr(value, "errno", None)
        return f"{type(value).__name__}({number})"
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        if len(data) < 40:
            return repr(data)
        return f"{len(data)}:{zlib.crc32(data):x}"
    if isinstance(value, (str, int, type(None))):
        return repr(value)
    return type(value).__name__


class PipeEnd:
    """A descriptor, with what is used of a socket."""

    def __init__(self, fd):
        self.fd = fd

    def send(self, data):
        return os.write(self.fd, data)

    def close(self):
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class Producer:
    """A producer that tells when it is asked."""

    def __init__(self, world, kind, parts):
        self.world, self.kind, self.parts = world, kind, parts

    def more(self):
        self.world.note("more", len(self.parts))
        if self.parts:
            return self.parts.pop(0)
        if self.kind == "raising":
            self.kind = "traced"
            raise KeyError("more")
        return b""


def make_kinds(world):
    """The classes of channels, anew for each program: they are patched."""

    class Known:
        """What all have in common, whatever they override."""

        def begin(self, spec, birth):
            self.spec, self.birth = spec, birth
            self.scripts = {k: list(v) for k, v in spec["scripts"].items()}
            self.ask(spec["ask"])
            if "chat" in spec["kind"]:
                self.ac_in_buffer_size = spec["in"]
                self.ac_out_buffer_size = spec["out"]
                term = spec["terminator"]
                self.terminator = (
                    term.encode() if isinstance(term, str) else term
                )

        @property
        def unix(self):
            """How much TCP takes at once is a matter of chance."""
            return getattr(self.socket, "family", None) == socket.AF_UNIX

        def next_script(self, name):
            lists = self.scripts.get(name)
            return lists.pop(0) if lists else ()

        def ask(self, how):
            """How the predicates answer from now on."""
            for name in ("readable", "writable"):
                vars(self).pop(name, None)
            if how == "traced":
                self.readable = lambda: self.answer("readable")
                self.writable = lambda: self.answer("writable")
            elif how != "base":
                self.readable = lambda: how == "reading"
                self.writable = lambda: how == "writing"

        def answer(self, name):
            world.note(world.name(self), name)
            return getattr(type(self), name)(self)

    class Traced(Known):
        """Every handler is noted."""

        def handle_write(self):
            world.handle(self, "write", self.default_write)

        def default_write(self):
            pass

        def handle_read(self):
            world.handle(self, "read", self.default_read)

        def default_read(self):
            data = self.recv(self.spec["recv"])
            world.note(world.name(self), "got", brief(data))

        def handle_expt(self):
            world.handle(self, "expt", self.take_urgent)

        def take_urgent(self):
            if isinstance(self.socket, socket.socket):
                try:
                    self.socket.recv(1, socket.MSG_OOB)
                except OSError as error:
                    world.note("oob", brief(error))

        def handle_connect(self):
            world.handle(self, "connect", lambda: None)

        def handle_accepted(self, sock, addr):
            def take():
                world.keep.append(sock)
                spec = dict(self.spec, id=self.spec["id"] + 10, scripts={})
                world.make(spec, sock)

            world.handle(self, "accepted", take)

        def handle_close(self):
            world.handle(self, "close", self.default_close)

        def default_close(self):
            if self.spec["on_close"] == "close":
                self.close()
            elif self.spec["on_close"] == "base":
                super().handle_close()

        def handle_error(self):
            error = sys.exc_info()[1]
            if isinstance(error, TooLong):
                raise error
            world.handle(self, "error", lambda: self.default_error(error))

        def default_error(self, error):
            how = self.spec["on_error"]
            if how == "base":
                super().handle_error()
            elif how == "close":
                self.close()
            elif how == "raise":
                raise error

    class Plain(Traced, asyncore.dispatcher):
        pass

    class Deaf(Traced, asyncore.dispatcher):
        def default_read(self):
            pass

    class Sender(Traced, asyncore.dispatcher_with_send):
        def default_write(self):
            asyncore.dispatcher_with_send.handle_write(self)

    class Chat(Traced, asynchat.async_chat):
        def default_read(self):
            asynchat.async_chat.handle_read(self)

        def default_write(self):
            asynchat.async_chat.handle_write(self)

        def collect_incoming_data(self, data):
            world.note(world.name(self), "data", brief(data))
            world.handle(self, "collect", lambda: None)

        def found_terminator(self):
            world.handle(self, "found", lambda: None)

    class Mute(Known, asyncore.dispatcher):
        """It has no handlers of its own."""

        ignore_log_types = ()

    # These override as little as programs do, and have nothing before the
    # modules' own classes.

    class Lean(asyncore.dispatcher, Known):
        def handle_read(self):
            world.handle(self, "read", self.receive)

        def receive(self):
            data = self.recv(self.spec["recv"])
            world.note(world.name(self), "got", brief(data))

    class LeanSender(asyncore.dispatcher_with_send, Known):
        handle_read, receive = Lean.handle_read, Lean.receive

        def handle_close(self):
            world.handle(self, "close", self.close)

    class Asked(Lean):
        """What it waits for is a matter of its class, which does things when
        it is asked."""

        def readable(self):
            return world.ask(self, "readable", super().readable)

        def writable(self):
            return world.ask(self, "writable", super().writable)

    class AskedSender(LeanSender):
        def readable(self):
            return world.ask(self, "readable", lambda: not self.out_buffer)

        def writable(self):
            return world.ask(self, "writable", lambda: len(self.out_buffer))

    class LeanChat(asynchat.async_chat, Known):
        collect_incoming_data = Chat.collect_incoming_data
        found_terminator = Chat.found_terminator

    class Events(Plain):
        """Its events are overridden, too."""

        def handle_read_event(self):
            world.note(world.name(self), "read event")
            super().handle_read_event()

        def handle_write_event(self):
            world.note(world.name(self), "write event")
            super().handle_write_event()

        def handle_expt_event(self):
            world.note(world.name(self), "expt event")
            super().handle_expt_event()

        def handle_connect_event(self):
            world.note(world.name(self), "connect event")
            super().handle_connect_event()

        def add_channel(self, map=None):
            world.note(world.name(self), "add")
            super().add_channel(map)

        def del_channel(self, map=None):
            world.note(world.name(self), "del")
            super().del_channel(map)

    class File(Traced, asyncore.file_dispatcher):
        pass

    return {
        "plain": Plain, "deaf": Deaf, "sender": Sender, "chat": Chat,
        "mute": Mute, "events": Events, "file": File,
        "lean": Lean, "lean_sender": LeanSender, "lean_chat": LeanChat,
        "asked": Asked, "asked_sender": AskedSender,
        "pipe": type("Pipe", (File,), {}),
    }
