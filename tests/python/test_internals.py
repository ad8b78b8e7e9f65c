# SPDX-License-Identifier: MIT
"""What old programs do behind the modules' back.

Attributes are set from outside, classes are patched while instances live,
module globals are replaced, maps are edited or are no dicts at all: all of
it counts at the next call.
"""

import abc
import collections
import functools
import http.server
import numbers
import os
import select
import socket
import socketserver
import sys
import threading
import time
import types
import typing
import unittest
import unittest.mock
import weakref

import kit
from kit import asynchat, asyncore


class PatchTest(kit.TestCase):
    """Whatever can be replaced, after the loop has run with the original."""

    @kit.each_poller
    def test_class_after_instances(self):
        near, far = self.pair()

        class Own(kit.Channel):
            pass

        channel = Own(near)
        far.send(b"x")
        self.step()
        self.assertEqual(channel.taken(), ["read", "write"])
        Own.writable = lambda self: False
        self.step()
        self.assertEqual(channel.taken(), ["read"])
        Own.handle_read = lambda self: self.calls.append("patched")
        self.step()
        self.assertEqual(channel.taken(), ["patched"])
        Own.readable = lambda self: False
        self.step()
        self.assertEqual(channel.taken(), [])
        del Own.readable, Own.writable, Own.handle_read
        self.step()
        self.assertEqual(channel.taken(), ["read", "write"])

    @kit.each_poller
    def test_base_classes(self):
        """The modules' own classes are patched, too."""
        near, far = self.pair()
        far.send(b"x")
        plain = asyncore.dispatcher(near)
        chat = asynchat.async_chat(self.pair()[0])
        sender = asyncore.dispatcher_with_send(self.pair()[0])
        self.step()
        calls = []
        for channel in (plain, chat, sender):
            for name in ("readable", "writable"):
                kind = type(channel)
                with unittest.mock.patch.object(
                    kind, name, lambda self: calls.append(self)
                ):
                    self.step()
                self.assertIn(channel, calls)
                calls.clear()
        self.step()
        self.assertEqual(calls, [])
        for name in (
            "handle_read_event",
            "handle_read",
            "handle_write_event",
            "handle_write",
        ):
            with unittest.mock.patch.object(
                asyncore.dispatcher, name, lambda self: calls.append(self)
            ):
                self.step()
            self.assertIn(plain, calls)
            calls.clear()

    @kit.each_poller
    def test_patch_reaches_subclasses(self):
        """A base is patched; subclasses see it unless they override."""

        class Sub(asynchat.async_chat):
            pass

        chat = Sub(self.pair()[0])
        self.step()
        calls = []
        with unittest.mock.patch.object(
            asyncore.dispatcher,
            "handle_write_event",
            lambda self: calls.append(self),
        ):
            chat.producer_fifo.append(b"x")
            self.step()
        self.assertEqual(calls, [chat])
        self.step()
        self.assertFalse(chat.producer_fifo)

    @kit.each_poller
    def test_instance_attributes(self):
        near, far = self.pair()
        far.send(b"x")
        channel = kit.Channel(near)
        self.step()
        channel.taken()
        for name in (
            "handle_read_event",
            "handle_read",
            "handle_write_event",
            "handle_write",
        ):
            calls = []
            setattr(channel, name, lambda: calls.append(name))
            self.step()
            self.assertEqual(calls, [name])
            delattr(channel, name)
        vars(channel)["writable"] = lambda: False
        channel.taken()
        self.step()
        self.assertEqual(channel.taken(), ["read"])

    @kit.each_poller
    def test_bases_are_replaced(self):
        class Quiet(asyncore.dispatcher):
            def writable(self):
                return False

        class Loud(asyncore.dispatcher):
            pass

        class Own(kit.Recorder, Loud):
            pass

        channel = Own(self.pair()[0])
        self.step()
        self.assertEqual(channel.taken(), ["write"])
        Own.__bases__ = (kit.Recorder, Quiet)
        self.step()
        self.assertEqual(channel.taken(), [])

    @kit.each_poller
    def test_connected_and_accepting(self):
        """Flags are set by hand, on the instance and on the class."""
        near, far = self.pair()
        channel = kit.Channel(near)
        self.step()
        self.assertEqual(channel.taken(), ["write"])
        channel.accepting = True
        self.step()
        self.assertEqual(channel.taken(), [])
        channel.accepting = False
        channel.connected, channel.connecting = False, True
        self.step()
        self.assertEqual(channel.taken(), ["connect", "write"])
        sender = asyncore.dispatcher_with_send(far)
        sender.connected = False
        self.assertTrue(sender.writable())
        chat = asynchat.async_chat(self.pair()[0])
        self.assertFalse(chat.writable())
        chat.connected = False
        self.assertTrue(chat.writable())

    @kit.each_poller
    def test_properties(self):
        """A subclass computes what the base keeps."""
        asked = []

        class Computed(kit.Channel):
            @property
            def accepting(self):
                asked.append("accepting")
                return False

            @accepting.setter
            def accepting(self, value):
                asked.append(("set", value))

            @property
            def connected(self):
                return True

            @connected.setter
            def connected(self, value):
                pass

        channel = Computed(self.pair()[0])
        self.step()
        self.assertEqual(channel.taken(), ["write"])
        self.assertIn("accepting", asked)
        channel.close()
        self.assertIn(("set", False), asked)

    @kit.each_poller
    def test_slots_and_getattr(self):
        class Slotted(kit.Channel):
            __slots__ = ("accepting", "wish")

            def __getattr__(self, name):
                if name.startswith("_"):
                    raise AttributeError(name)
                return "made up " + name

        channel = Slotted(self.pair()[0])
        self.assertEqual(channel.nothing, "made up nothing")
        self.step()

    def test_class_body_aliases(self):
        class Aliased(kit.Channel):
            handle_read_event = kit.Recorder.handle_read

            def handle_connect(self):
                self.calls.append("alias")

            handle_write = handle_connect

        near, far = self.pair()
        far.send(b"x")
        channel = Aliased(near)
        self.step()
        self.assertEqual(channel.taken(), ["read", "alias"])

    def test_static_and_builtin(self):
        """Any callable is a handler."""
        near, far = self.pair()
        far.send(b"x")
        calls = []

        class Own(asyncore.dispatcher):
            readable = staticmethod(lambda: True)
            writable = classmethod(lambda cls: cls is Own)
            handle_read = unittest.mock.Mock()
            handle_write = staticmethod(lambda: calls.append(1))

        Own(near)
        self.step()
        Own.handle_read.assert_called_once_with()
        self.assertEqual(calls, [1])

    def test_unbound_calls(self):
        """Base methods are called by their class."""
        near, far = self.pair()
        far.send(b"xy")
        channel = kit.Channel(near)
        asyncore.dispatcher.handle_read_event(channel)
        self.assertEqual(channel.taken(), ["read"])
        self.assertEqual(asyncore.dispatcher.recv(channel, 1), b"x")
        self.assertEqual(asyncore.dispatcher.send(channel, b"z"), 1)
        asyncore.dispatcher.close(channel)
        self.assertEqual(asyncore.socket_map, {})


class GlobalsTest(kit.TestCase):
    """The names of the module are read when they are used."""

    def test_delivery(self):
        """poll delivers through the module's read, write and so on."""
        near, far = self.pair("tcp")
        far.send(b"x")
        far.send(b"!", socket.MSG_OOB)
        kit.settle(near, select.POLLPRI)
        kit.settle(near)
        channel = kit.Channel(near)
        self.step()
        channel.taken()
        calls = []

        def note(*arguments):
            calls.append(arguments)

        for name in ("read", "write", "_exception"):
            self.replace(asyncore, name, functools.partial(note, name))
        self.replace(asyncore, "readwrite", note)
        asyncore.poll()
        self.assertEqual(
            calls, [(n, channel) for n in ("read", "write", "_exception")]
        )
        calls.clear()
        asyncore.poll2()
        ((obj, flags),) = calls
        self.assertIs(obj, channel)
        wanted = select.POLLIN | select.POLLOUT | select.POLLPRI
        self.assertEqual(flags & wanted, wanted)
        self.assertEqual(channel.taken(), [])

    def select_module(self, **functions):
        """A stand-in for select, as a module or as an object."""
        module = types.ModuleType("select")
        vars(module).update(vars(select))
        vars(module).update(functions)
        return module

    def check_select(self, install):
        near, far = self.pair()
        channel = kit.Channel(near)
        self.step()
        channel.taken()
        calls = []

        def fake(r, w, x, timeout=None):
            calls.append((r, w, x, timeout))
            return r, [], []

        install(fake)
        asyncore.poll(0.5)
        fd = near.fileno()
        self.assertEqual(calls, [([fd], [fd], [fd], 0.5)])
        self.assertEqual(channel.taken(), ["read"])
        asyncore.loop(0.25, False, None, 2)
        self.assertEqual([call[3] for call in calls[1:]], [0.25] * 2)

    def test_replaced_select(self):
        def install(fake):
            module = self.select_module(select=fake)
            self.replace(asyncore, "select", module)

        self.check_select(install)

    def test_select_in_the_genuine_module(self):
        self.check_select(lambda fake: self.replace(select, "select", fake))

    def check_poll(self, install):
        near, far = self.pair()
        channel = kit.Channel(near)
        self.use_poll = True
        self.step()
        channel.taken()
        calls = []

        class Fake:
            def register(self, fd, flags):
                calls.append((fd, flags))

            def poll(self, timeout):
                calls.append(timeout)
                return [(near.fileno(), select.POLLIN)]

        install(Fake)
        asyncore.poll2(0.5)
        flags = select.POLLIN | select.POLLPRI | select.POLLOUT
        self.assertEqual(calls, [(near.fileno(), flags), 500])
        self.assertEqual(channel.taken(), ["read"])

    def test_replaced_poll(self):
        def install(fake):
            module = self.select_module(poll=fake)
            self.replace(asyncore, "select", module)

        self.check_poll(install)

    def test_poll_in_the_genuine_module(self):
        self.check_poll(lambda fake: self.replace(select, "poll", fake))

    def test_sleep(self):
        """No interest: it sleeps by time.sleep, whoever replaced that."""
        near, _ = self.pair()
        channel = kit.Channel(near)
        channel.readable = channel.writable = lambda: False
        calls = []
        with unittest.mock.patch("time.sleep", calls.append):
            asyncore.poll(7)
        self.assertEqual(calls, [7])
        clock = types.SimpleNamespace(sleep=calls.append)
        self.replace(asyncore, "time", clock)
        asyncore.poll(8)
        self.assertEqual(calls, [7, 8])

    def test_by_turns(self):
        """A function is replaced, comes back, is replaced again: what is
        there counts, however long the loop has run with the other."""
        near, far = self.pair()
        far.send(b"x")
        channel = kit.Channel(near)
        idle = kit.Channel(self.pair()[0], {})
        idle.readable = idle.writable = lambda: False
        for use_poll, owner, name, map in (
            (False, select, "select", None),
            (False, time, "sleep", idle._map),
            (False, asyncore, "read", None),
            (False, asyncore, "write", None),
            (False, asyncore, "select", None),
            (True, select, "poll", None),
            (True, asyncore, "readwrite", None),
        ):
            self.use_poll = use_poll
            for _ in range(3):
                self.step(2, map)
                self.assertEqual(
                    channel.taken(), [] if map else ["read", "write"] * 2
                )
                genuine = getattr(owner, name)
                fake = unittest.mock.Mock(wraps=genuine)
                if not callable(genuine):
                    fake = self.select_module(select=fake.select)
                with unittest.mock.patch.object(owner, name, fake):
                    self.step(2, map)
                called = getattr(fake, "select", fake).call_count
                self.assertEqual(called, 2, name)
                channel.taken()

    def test_socket_module(self):
        """Constants and methods are those of the replaced module."""
        option = []

        class Sock:
            def fileno(self):
                return 0

            def setblocking(self, flag):
                pass

            def getsockopt(self, level, name):
                option.append((level, name))
                return 0

            def setsockopt(self, level, name, value):
                option.append((level, name, value))

        module = types.SimpleNamespace(
            socket=lambda family, kind: Sock(),
            SOL_SOCKET="level",
            SO_REUSEADDR="reuse",
            SO_ERROR="error",
        )
        self.replace(asyncore, "socket", module)
        channel = asyncore.dispatcher()
        channel.create_socket("family", "kind")
        self.assertEqual(channel.family_and_type, ("family", "kind"))
        channel.handle_expt = lambda: option.append("expt")
        channel.handle_expt_event()
        self.assertEqual(option, [("level", "error"), "expt"])

    def test_strerror(self):
        channel = asyncore.dispatcher()
        channel.socket = unittest.mock.Mock()
        channel.socket.getsockopt.return_value = 5
        self.replace(asyncore, "_strerror", lambda err: f"told {err}")
        with self.assertRaisesRegex(OSError, "told 5"):
            channel.handle_connect_event()

    def test_disconnected(self):
        channel = kit.Channel()
        channel.socket = unittest.mock.Mock()
        channel.socket.recv.side_effect = OSError(41, "EPROTOTYPE")
        self.assertRaises(OSError, channel.recv, 1)
        self.replace(
            asyncore, "_DISCONNECTED", asyncore._DISCONNECTED | {41}
        )
        self.assertEqual(channel.recv(1), b"")
        self.assertEqual(channel.taken(), ["close"])
        real = kit.Channel(self.pair()[0])
        real.socket.close()
        self.replace(asyncore, "_DISCONNECTED", frozenset())
        self.assertRaises(OSError, real.recv, 1)

    @kit.stock_only
    def test_find_prefix(self):
        """asynchat's helper is replaced, too; ours needs none."""
        near, far = self.pair()
        chat = asynchat.async_chat(near)
        chat.set_terminator(b"\r\n")
        got = []
        chat.collect_incoming_data = got.append
        with unittest.mock.patch.object(
            asynchat, "find_prefix_at_end", lambda haystack, needle: 2
        ):
            far.send(b"abcd")
            chat.handle_read()
        self.assertEqual((got, chat.ac_in_buffer), ([b"ab"], b"cd"))

    def test_output_class(self):
        """asynchat's simple_producer may be replaced; push does not mind."""
        with unittest.mock.patch.object(asynchat, "simple_producer", None):
            near, far = self.pair()
            asynchat.async_chat(near).push(b"x" * 70000)
        self.assertGreaterEqual(len(far.recv(1 << 20)), 65536)


class StrangeMap(collections.UserDict):
    """A map that is no dict."""


class MapTest(kit.TestCase):
    kinds = (
        dict,
        StrangeMap,
        collections.OrderedDict,
        type("SubDict", (dict,), {}),
        lambda: collections.defaultdict(list),
        weakref.WeakValueDictionary,
    )

    @kit.each_poller
    def test_kinds(self):
        for kind in self.kinds:
            map = kind()
            fars, channels = [], []
            for _ in range(3):
                near, far = self.pair()
                fars.append(far)
                channels.append(kit.Reader(near, map))
                self.assertIs(channels[-1]._map, map)
                far.send(b"x")
            self.step(map=map)
            self.assertEqual([c.data for c in channels], [b"x"] * 3)
            for far in fars:
                far.close()
            asyncore.loop(1, self.use_poll, map)
            self.assertFalse(map)
            kit.Reader(self.pair()[0], map)
            asyncore.close_all(map)
            self.assertEqual(len(map), 0)

    @kit.each_poller
    def test_overridden_methods(self):
        """A dict that overrides is asked by its own methods."""
        calls = []

        class Watched(dict):
            def items(self):
                calls.append("items")
                return super().items()

            def get(self, key, default=None):
                calls.append("get")
                return super().get(key, default)

            def __setitem__(self, key, value):
                calls.append("set")
                super().__setitem__(key, value)

            def __delitem__(self, key):
                calls.append("del")
                super().__delitem__(key)

            def __contains__(self, key):
                calls.append("contains")
                return super().__contains__(key)

        map = Watched()
        near, far = self.pair()
        channel = kit.Reader(near, map)
        self.assertEqual(calls, ["set"])
        calls.clear()
        far.send(b"x")
        self.step(map=map)
        self.assertEqual(calls, ["items", "get"])
        calls.clear()
        channel.close()
        self.assertEqual(calls, ["contains", "del"])

    @kit.each_poller
    def test_truth_of_the_map(self):
        """loop goes by it; a map that says it is empty ends it."""

        class Moody(dict):
            mood = 3

            def __bool__(self):
                self.mood -= 1
                return self.mood > 0

        map = Moody()
        kit.Channel(self.pair()[0], map)
        asyncore.loop(0, self.use_poll, map)
        self.assertLessEqual(map.mood, 0)

    @kit.each_poller
    def test_fresh_map_every_call(self):
        """A select-like use: a new dict for every pass."""
        channels = []
        for _ in range(3):
            near, far = self.pair()
            channels.append(kit.Reader(near, {}))
            far.send(b"x")
        for turn in range(3):
            for channel in channels:
                self.step(map={channel._fileno: channel})
                self.assertEqual(channel.taken(), ["read"] if not turn else [])
        self.assertEqual([c.data for c in channels], [b"x"] * 3)

    @kit.each_poller
    def test_edited_by_hand(self):
        near, far = self.pair()
        channel = kit.Channel(near)
        channel.writable = lambda: False
        far.send(b"x")
        self.step()
        self.assertEqual(channel.taken(), ["read"])
        del asyncore.socket_map[near.fileno()]
        self.step()
        self.assertEqual(channel.taken(), [])
        asyncore.socket_map[near.fileno()] = channel
        self.step()
        self.assertEqual(channel.taken(), ["read"])
        asyncore.socket_map.clear()
        self.step()
        self.assertEqual(channel.taken(), [])
        asyncore.socket_map.update({near.fileno(): channel})
        saved = asyncore.socket_map.copy()
        self.step()
        self.assertEqual(channel.taken(), ["read"])
        self.assertEqual(saved, asyncore.socket_map)

    @kit.each_poller
    def test_two_maps(self):
        """One channel in two maps is served by both."""
        near, far = self.pair()
        channel = kit.Channel(near)
        channel.writable = lambda: False
        other = {near.fileno(): channel}
        far.send(b"x")
        for map in (None, other, None, other):
            self.step(map=map)
            self.assertEqual(channel.taken(), ["read"])
        channel.close()
        self.assertEqual(list(other.values()), [channel])

    @kit.each_poller
    def test_one_descriptor_in_two_maps(self):
        """Two channels, two interests, one descriptor."""
        near, far = self.pair()
        far.send(b"x")
        one, two = kit.Channel(near, {}), kit.Channel(near, {})
        one.readable = two.writable = lambda: False
        for _ in range(3):
            self.step(map=one._map)
            self.step(map=two._map)
        self.assertEqual(one.taken(), ["write"] * 3)
        self.assertEqual(two.taken(), ["read"] * 3)

    @kit.each_poller
    def test_two_keys(self):
        """One channel under two keys is served for both."""
        near, far = self.pair()
        other, far2 = self.pair()
        channel = kit.Channel(near)
        channel.writable = lambda: False
        asyncore.socket_map[other.fileno()] = channel
        far.send(b"x")
        far2.send(b"x")
        self.step()
        self.assertEqual(channel.taken(), ["read", "read"])

    @kit.each_poller
    def test_foreign_objects(self):
        """Not even a dispatcher: the methods are what counts."""

        class Foreign:
            accepting = False
            calls = []

            def readable(self):
                return True

            def writable(self):
                return False

            def handle_read_event(self):
                self.calls.append("read")

            def handle_close(self):
                self.calls.append("close")

        near, far = self.pair()
        foreign = Foreign()
        foreign.calls = []
        asyncore.socket_map[near.fileno()] = foreign
        channel = kit.Channel(self.pair()[0])
        far.send(b"x")
        self.step()
        self.assertEqual(foreign.calls, ["read"])
        self.assertEqual(channel.taken(), ["write"])

    @kit.each_poller
    def test_module_as_a_channel(self):
        """It need not be an instance either."""
        near, far = self.pair()
        far.send(b"x")
        calls = []
        channel = types.SimpleNamespace(
            readable=lambda: True,
            writable=lambda: False,
            accepting=False,
            handle_read_event=lambda: calls.append("read"),
        )
        self.step(map={near.fileno(): channel})
        self.assertEqual(calls, ["read"])

    @kit.each_poller
    def test_boolean_and_int_like_keys(self):
        """Subclasses of int, as enums are, are keys."""

        class Number(int):
            pass

        near, far = self.pair()
        far.send(b"x")
        channel = kit.Channel(near, {})
        channel.writable = lambda: False
        self.step(map={Number(near.fileno()): channel})
        self.assertEqual(channel.taken(), ["read"])


class SocketSwitchTest(kit.TestCase):
    @kit.each_poller
    def test_another_socket(self):
        """The channel's socket is replaced; the key stays what it was."""
        near, far = self.pair()
        other, far2 = self.pair()
        channel = kit.Reader(near)
        far.send(b"x")
        self.step()
        self.assertEqual(channel.data, b"x")
        channel.socket = other
        far2.send(b"second")
        self.step()
        self.assertEqual(channel.data, b"x")
        far.send(b"y")
        self.step()
        self.assertEqual(channel.data, b"xsecond")

    @kit.each_poller
    def test_same_number_another_socket(self):
        """del_channel, set_socket of a wrapper with the same number."""

        class Wrapped:
            def __init__(self, sock):
                self.sock = sock

            def __getattr__(self, name):
                return getattr(self.sock, name)

            def recv(self, size):
                return self.sock.recv(size).upper()

        near, far = self.pair()
        channel = kit.Reader(near)
        self.step()
        channel.del_channel()
        channel.set_socket(Wrapped(near))
        far.send(b"x")
        self.step()
        self.assertEqual(channel.data, b"X")
        channel.socket = near
        far.send(b"y")
        self.step()
        self.assertEqual(channel.data, b"Xy")

    @kit.each_poller
    def test_descriptor_replaced_beneath(self):
        """dup2 puts another stream under the same number: the program
        does not tell, and is served what is there now."""
        near, far = self.pair()
        channel = kit.Reader(near)
        self.step()
        other, far2 = self.pair()
        os.dup2(other.fileno(), near.fileno())
        far2.send(b"new")
        self.step()
        self.assertEqual(channel.data, b"new")

    @kit.each_poller
    def test_closed_and_opened_again(self):
        """The number is closed behind the channel's back, and is used
        again, as create_socket twice does it."""
        channel = kit.Channel()
        channel.create_socket(socket.AF_INET, socket.SOCK_DGRAM)
        number = channel._fileno
        self.step()
        channel.taken()
        channel.socket.close()
        channel.create_socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.assertEqual(channel._fileno, number)
        channel.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", channel.socket.getsockname())
        kit.settle(channel.socket)
        self.step()
        self.assertEqual(channel.taken(), ["read", "write"])

    @kit.each_poller
    def test_reused_by_another_channel(self):
        """A channel goes, and the next has its number: no old events."""
        near, far = self.pair()
        channel = kit.Channel(near)
        number = near.fileno()
        far.send(b"x")
        self.step()
        channel.close()
        for _ in range(10):
            near, far = socket.socketpair()
            channel = kit.Reader(near)
            self.step()
            self.assertEqual(channel.taken(), [])
            far.send(b"y")
            self.step()
            self.assertEqual(channel.data, b"y")
            channel.close()
            far.close()
        self.assertIsInstance(number, int)


class InterestTest(kit.TestCase):
    @kit.each_poller
    def test_asked_every_pass(self):
        asked = []

        class Asks(kit.Channel):
            def readable(self):
                asked.append("r")
                return False

            def writable(self):
                asked.append("w")
                return False

        Asks(self.pair()[0])
        Asks(self.pair()[0])
        self.step(5)
        self.assertEqual(asked, ["r", "w"] * 10)

    @kit.each_poller
    def test_wish_of_another(self):
        """Interest hangs on an attribute that anybody sets."""

        class Wishes(kit.Channel):
            wish = False

            def readable(self):
                return False

            def writable(self):
                return self.wish

        class Setter(kit.Channel):
            def handle_write(self):
                wishing.wish = not wishing.wish

        wishing = Wishes(self.pair()[0])
        Setter(self.pair()[0])
        self.step(4)
        self.assertEqual(wishing.taken(), ["write"] * 2)

    @kit.each_poller
    def test_close_while_asked(self):
        """A channel that times out closes itself in readable()."""

        class Idle(kit.Channel):
            def readable(self):
                self.close()
                return False

            def writable(self):
                return False

        channel = Idle(self.pair()[0])
        self.step()
        self.assertEqual(asyncore.socket_map, {})
        self.assertEqual(channel.taken(), [])

    @kit.each_poller
    def test_fifo_filled_from_outside(self):
        near, far = self.pair()
        chat = asynchat.async_chat(near)
        self.step(2)
        chat.producer_fifo.append(b"x")
        self.step()
        self.assertEqual(far.recv(9), b"x")
        chat.producer_fifo = collections.deque([b"y"])
        self.step()
        self.assertEqual(far.recv(9), b"y")

    @kit.each_poller
    def test_map_cleared_by_a_handler(self):
        near, far = self.pair()
        far.send(b"x")
        channel = kit.Channel(near)
        other = kit.Channel(self.pair()[0])
        channel.handle_read = asyncore.socket_map.clear
        self.step()
        self.assertEqual(asyncore.socket_map, {})
        self.assertEqual(other.taken(), [])
        channel.close()
        other.close()


class InheritanceTest(kit.TestCase):
    def test_thread(self):
        class Both(kit.Channel, threading.Thread):
            def __init__(self, sock):
                threading.Thread.__init__(self)
                kit.Channel.__init__(self, sock)

            def run(self):
                asyncore.loop(0, False, None, 1)

        channel = Both(self.pair()[0])
        channel.start()
        channel.join()
        self.assertEqual(channel.calls, ["write"])

        class Other(threading.Thread, asyncore.dispatcher):
            def __init__(self):
                threading.Thread.__init__(self)
                asyncore.dispatcher.__init__(self)

        Other()

    def test_http_handler(self):
        """The old Medusa way: a chat that is a request handler."""

        class Handler(
            asynchat.async_chat, http.server.SimpleHTTPRequestHandler
        ):
            def __init__(self, sock):
                asynchat.async_chat.__init__(self, sock)
                self.set_terminator(b"\r\n\r\n")
                self.client_address = self.addr
                self.request_version = "HTTP/1.0"
                self.requestline = ""

            collect_incoming_data = asynchat.async_chat._collect_incoming_data

            def found_terminator(self):
                self.wfile = self
                self.push(b"HTTP/1.0 200 OK\r\n\r\n" + self._get_data())
                self.close_when_done()

        near, far = self.pair()
        Handler(near)
        far.send(b"GET / HTTP/1.0\r\n\r\n")
        asyncore.loop()
        self.assertTrue(far.recv(99).endswith(b"GET / HTTP/1.0"))

    def test_diamonds(self):
        class One(asynchat.async_chat, asyncore.file_dispatcher):
            def __init__(self, sock, fd):
                asynchat.async_chat.__init__(self, sock)
                asyncore.file_dispatcher.__init__(self, fd)

        near, _ = self.pair()
        reader, _ = self.pipe()
        channel = One(near, reader)
        self.assertIs(type(channel.socket), asyncore.file_wrapper)
        self.assertEqual(channel.ac_in_buffer, b"")

        class Mixin(asyncore.dispatcher):
            def send(self, data):
                return super().send(data.upper())

        class Two(Mixin, asynchat.async_chat):
            pass

        class Three(asyncore.dispatcher_with_send, asynchat.async_chat):
            pass

        near, far = self.pair()
        Two(near).push(b"x")
        self.assertEqual(far.recv(9), b"X")
        self.assertEqual(Three.__mro__[3], asyncore.dispatcher)

    @kit.each_poller
    def test_who_is_replaced(self):
        """Who dies when another takes his place, or when he is taken out,
        may change the map; and the other has the place."""
        pairs = [self.pair() for _ in range(4)]
        calls = []

        class Own(asyncore.dispatcher):
            def handle_write(self):
                calls.append(self.name)

        class Last(Own):
            def __del__(self):
                make(pairs[3][0], "born", Own)

        def make(sock, name, kind):
            channel = kind()
            channel.name = name
            channel.connected = True
            channel.set_socket(sock)
            return channel

        make(pairs[0][0], "old", Last)
        make(pairs[1][0], "second", Own)
        self.step()
        self.assertEqual(calls, ["old", "second"])
        make(pairs[0][0], "new", Own)
        del calls[:]
        self.step()
        self.assertEqual(calls, ["new", "second", "born"])
        asyncore.socket_map[pairs[3][0].fileno()].del_channel()
        last = make(pairs[2][0], "last", Last)
        self.step()
        other = Own()
        other._fileno = last._fileno
        del last, calls[:]
        other.del_channel()
        self.step()
        self.assertEqual(calls, ["new", "second", "born"])

    def test_bases_with_a_layout(self):
        """Bases in C that have fields of their own: the one limit."""

        def exception():
            class Four(Exception, asyncore.dispatcher):
                pass

            return Four

        def dictionary():
            class Five(asyncore.dispatcher, dict):
                pass

            return Five

        for make in (exception, dictionary):
            if kit.OURS:
                self.assertRaisesRegex(TypeError, "lay-out conflict", make)
            else:
                self.assertTrue(issubclass(make(), asyncore.dispatcher))

    def test_bases_without_a_layout(self):
        """In C or not: before the channel, or after it."""
        for other in (type("Plain", (), {}), abc.ABC, threading.Thread,
                      typing.Generic[typing.TypeVar("item")],
                      socketserver.BaseRequestHandler, numbers.Number):
            before = types.new_class("Before", (other, asyncore.dispatcher))
            after = types.new_class("After", (asyncore.dispatcher, other))
            for kind in (before, after):
                channel = kind.__new__(kind)
                asyncore.dispatcher.__init__(channel, map={})
                channel.set_socket(unittest.mock.Mock())
                self.assertEqual(len(channel._map), 1)

    def test_generic_and_abstract(self):
        class Abstract(asyncore.dispatcher, abc.ABC):
            @abc.abstractmethod
            def answer(self):
                pass

        self.assertRaises(TypeError, Abstract)
        item = typing.TypeVar("item")

        class Generic(asynchat.async_chat, typing.Generic[item]):
            pass

        Generic[int]()

    def test_metaclass_and_subclass_hook(self):
        seen = []

        class Meta(type):
            def __call__(cls, *args, **kwargs):
                seen.append(cls)
                return super().__call__(*args, **kwargs)

        class Own(asyncore.dispatcher, metaclass=Meta):
            def __init_subclass__(cls, **kwargs):
                seen.append("subclass")
                super().__init_subclass__()

        class Sub(Own, mark=1):
            pass

        Sub()
        self.assertEqual(seen, ["subclass", Sub])

    def test_init_of_other_signatures(self):
        class Own(asyncore.dispatcher):
            def __init__(self, host, port, *, mark):
                super().__init__(map={})
                self.mark = mark

        self.assertEqual(Own("h", 1, mark=2).mark, 2)

    def test_cooperative_init(self):
        """dispatcher.__init__ calls nobody's __init__ further on."""
        calls = []

        class Last:
            def __init__(self):
                calls.append("last")

        class Own(asyncore.dispatcher, Last):
            pass

        Own()
        self.assertEqual(calls, [])


class OwnLoopTest(kit.TestCase):
    """Programs with loops of their own use the parts of ours."""

    def test_read_and_write(self):
        near, far = self.pair()
        far.send(b"x")
        channel = kit.Channel(near)
        ready, _, _ = select.select(list(asyncore.socket_map), [], [], 1)
        for fd in ready:
            asyncore.read(asyncore.socket_map[fd])
        self.assertEqual(channel.taken(), ["read"])

    def test_epoll(self):
        near, far = self.pair()
        channel = kit.Reader(near)
        with select.epoll() as epoll:
            epoll.register(near, select.EPOLLIN)
            far.send(b"x")
            for fd, flags in epoll.poll(1):
                asyncore.readwrite(asyncore.socket_map[fd], flags)
            far.close()
            for fd, flags in epoll.poll(1):
                asyncore.readwrite(asyncore.socket_map[fd], flags)
        self.assertEqual(channel.data, b"x")
        self.assertIn("close", channel.taken())

    @kit.each_poller
    def test_nested(self):
        """A handler runs the loop until something has come."""
        near, far = self.pair()
        inner, far2 = self.pair()
        reader = kit.Reader(inner)
        outer = kit.Channel(near)
        outer.writable = lambda: False

        def read():
            near.recv(9)
            far2.send(b"inner")
            while not reader.data:
                self.step()
            outer.calls.append(reader.data)

        outer.handle_read = read
        far.send(b"x")
        self.step()
        self.assertEqual(outer.taken(), [b"inner"])

    @kit.each_poller
    def test_nested_with_another_map(self):
        near, far = self.pair()
        inner, far2 = self.pair()
        private = {}
        reader = kit.Reader(inner, private)
        outer = kit.Channel(near)
        outer.writable = lambda: False

        def read():
            near.recv(9)
            far2.send(b"inner")
            far2.close()
            asyncore.loop(1, self.use_poll, private)

        outer.handle_read = read
        far.send(b"x")
        self.step()
        self.assertEqual((reader.data, private), (b"inner", {}))

    def test_loop_that_is_replaced(self):
        """The name itself is assigned (ThreadedAsync does it)."""
        self.replace(asyncore, "loop", lambda *args: "mine")
        self.assertEqual(asyncore.loop(), "mine")

    def test_last_reference_goes_in_a_handler(self):
        near, far = self.pair()
        far.send(b"x")
        gone = []

        class Fleeting(asyncore.dispatcher):
            def handle_read(self):
                asyncore.socket_map.clear()
                gone.append("read")

            def __del__(self):
                gone.append("del")

        Fleeting(near)
        self.step()
        self.assertEqual(gone, ["read", "del"])


class SaveEnvTest(kit.TestCase):
    """What CPython's test runner does to the module."""

    def test_save_and_restore(self):
        near, _ = self.pair()
        kit.Channel(near)
        saved = asyncore.socket_map.copy()
        asyncore.close_all(ignore_all=True)
        self.assertEqual(asyncore.socket_map, {})
        asyncore.socket_map.update(saved)
        self.assertEqual(len(asyncore.socket_map), 1)
        self.assertIn("asyncore", sys.modules)


if __name__ == "__main__":
    kit.main()
