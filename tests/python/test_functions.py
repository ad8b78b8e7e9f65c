# SPDX-License-Identifier: MIT
"""The module's functions: delivery, passes, loops, the traceback, the end."""

import collections
import decimal
import errno
import fractions
import io
import os
import select
import socket
import sys
import time
import unittest
import unittest.mock

import kit
from kit import asyncore

FATAL = (asyncore.ExitNow, KeyboardInterrupt, SystemExit)
CAUGHT = (ValueError, GeneratorExit, MemoryError, BaseException)
FLAGS = "IN OUT PRI HUP ERR NVAL".split()
BITS = {name: getattr(select, "POLL" + name) for name in FLAGS}


class Duck:
    """Events can be delivered to it; it is of no class of ours."""

    def __init__(self, **raising):
        self.calls = []
        self.raising = raising
        self.current = None

    def called(self, name):
        self.calls.append(name)
        if name in self.raising:
            raise self.raising[name]

    def handle_read_event(self):
        self.called("read")

    def handle_write_event(self):
        self.called("write")

    def handle_expt_event(self):
        self.called("expt")

    def handle_close(self):
        self.current = sys.exc_info()[1]
        self.called("close")

    def handle_error(self):
        self.current = sys.exc_info()[1]
        self.called("error")


class DeliveryTest(kit.TestCase):
    single = {
        "read": asyncore.read,
        "write": asyncore.write,
        "expt": asyncore._exception,
    }

    def test_one(self):
        for name, function in self.single.items():
            duck = Duck()
            self.assertIsNone(function(duck))
            self.assertEqual(duck.calls, [name])

    def test_fatal(self):
        for name, function in self.single.items():
            for error in FATAL:
                duck = Duck(**{name: error()})
                self.assertRaises(error, function, duck)
                self.assertEqual(duck.calls, [name])

    def test_caught(self):
        """All the rest goes to handle_error, while it is current."""
        for name, function in self.single.items():
            for error in CAUGHT:
                thrown = error()
                duck = Duck(**{name: thrown})
                function(duck)
                self.assertEqual(duck.calls, [name, "error"])
                self.assertIs(duck.current, thrown)
                self.assertEqual(sys.exc_info(), (None, None, None))

    def test_error_of_error(self):
        """What handle_error raises comes out, chained to its cause."""
        first, second = ValueError(), KeyError()
        duck = Duck(read=first, error=second)
        with self.assertRaises(KeyError) as caught:
            asyncore.read(duck)
        self.assertIs(caught.exception, second)
        self.assertIs(second.__context__, first)

    def test_outer_exception(self):
        """The exception that the caller handles is back afterwards."""
        try:
            raise OSError("outer")
        except OSError as outer:
            asyncore.read(Duck(read=ValueError()))
            asyncore.readwrite(Duck(write=ValueError()), select.POLLOUT)
            self.assertIs(sys.exc_info()[1], outer)

    def test_flags_of_the_globals(self):
        """Even the names are replaced: the module is asked at each call."""
        duck = Duck(read=ValueError())
        self.replace(asyncore, "_reraised_exceptions", (ValueError,))
        self.assertRaises(ValueError, asyncore.read, duck)
        self.replace(asyncore, "_DISCONNECTED", frozenset({errno.ENOSPC}))
        duck = Duck(read=OSError(errno.ENOSPC, ""))
        asyncore.readwrite(duck, select.POLLIN)
        self.assertEqual(duck.calls, ["read", "close"])

    def test_readwrite_order(self):
        for flags in range(64):
            names = [
                name for bit, name in enumerate(FLAGS) if flags & 1 << bit
            ]
            duck = Duck()
            asyncore.readwrite(duck, sum(BITS[name] for name in names))
            want = [
                call
                for name, call in zip(FLAGS, ("read", "write", "expt"))
                if name in names
            ]
            if {"HUP", "ERR", "NVAL"} & set(names):
                want.append("close")
            self.assertEqual(duck.calls, want)

    def test_readwrite_errors(self):
        every = sum(BITS.values())
        for step, name in enumerate(("read", "write", "expt", "close")):
            before = ["read", "write", "expt", "close"][: step + 1]
            for error in FATAL:
                duck = Duck(**{name: error()})
                self.assertRaises(error, asyncore.readwrite, duck, every)
                self.assertEqual(duck.calls, before)
            for error in CAUGHT:
                duck = Duck(**{name: error()})
                asyncore.readwrite(duck, every)
                self.assertEqual(duck.calls, before + ["error"])
            duck = Duck(**{name: OSError(errno.ENOSPC, "full")})
            asyncore.readwrite(duck, every)
            self.assertEqual(duck.calls, before + ["error"])

    def test_readwrite_disconnected(self):
        """An error of a connection that is gone closes without a word."""
        for code in asyncore._DISCONNECTED:
            thrown = OSError(code, "gone")
            duck = Duck(read=thrown)
            asyncore.readwrite(duck, select.POLLIN | select.POLLOUT)
            self.assertEqual(duck.calls, ["read", "close"])
            self.assertIs(duck.current, thrown)
        duck = Duck(read=OSError(errno.EPIPE, ""), close=KeyError())
        self.assertRaises(KeyError, asyncore.readwrite, duck, select.POLLIN)
        self.assertEqual(duck.calls, ["read", "close"])

    def test_errno_is_asked_for(self):
        """OSErrors without a number are ordinary errors."""
        for thrown in (OSError(), OSError("text"), socket.timeout()):
            duck = Duck(read=thrown)
            asyncore.readwrite(duck, select.POLLIN)
            self.assertEqual(duck.calls, ["read", "error"])

    def test_hup_has_no_exception(self):
        duck = Duck()
        asyncore.readwrite(duck, select.POLLHUP)
        self.assertIsNone(duck.current)

    def test_missing_methods(self):
        self.assertRaises(AttributeError, asyncore.read, object())
        self.assertRaises(AttributeError, asyncore.readwrite, object(), 1)
        duck = Duck()
        asyncore.readwrite(duck, "flags")
        self.assertEqual(duck.calls, ["error"])
        self.assertIs(type(duck.current), TypeError)


class Asked:
    """A channel by its looks only, over any descriptor."""

    accepting = False

    def __init__(self, sock, read=True, write=False):
        self.sock, self.read, self.write = sock, read, write
        self.calls = []

    def fileno(self):
        return self.sock.fileno()

    def readable(self):
        self.calls.append("readable")
        return self.read

    def writable(self):
        self.calls.append("writable")
        return self.write

    def handle_read_event(self):
        self.calls.append("read")

    def handle_write_event(self):
        self.calls.append("write")

    def handle_expt_event(self):
        self.calls.append("expt")

    def handle_close(self):
        self.calls.append("close")

    def handle_error(self):
        raise


class PassTest(kit.TestCase):
    def test_empty_map(self):
        for function in (asyncore.poll, asyncore.poll2):
            start = time.monotonic()
            self.assertIsNone(function(30, {}))
            self.assertIsNone(function(30))
            self.assertLess(time.monotonic() - start, 10)

    def test_default_map(self):
        """It is the module's attribute, read at each call."""
        near, far = self.pair()
        far.send(b"x")
        duck = Asked(near)
        self.replace(asyncore, "socket_map", {near.fileno(): duck})
        for function in (asyncore.poll, asyncore.poll2):
            function()
        self.assertEqual(duck.calls, ["readable", "writable", "read"] * 2)

    @kit.each_poller
    def test_asked_in_this_order(self):
        """All are asked, readable first, before any event."""
        order = []

        class Channel(Asked):
            def readable(self):
                order.append((self.name, "readable"))
                return True

            def writable(self):
                order.append((self.name, "writable"))
                return False

            def handle_read_event(self):
                order.append((self.name, "read"))

        map = {}
        for name in "bac":
            near, far = self.pair()
            far.send(b"x")
            map[near.fileno()] = channel = Channel(near)
            channel.name = name
        self.step(2, map)
        names = [(n, w) for n in "bac" for w in ("readable", "writable")]
        reads = [(name, "read") for name in "bac"]
        self.assertEqual(order, (names + reads) * 2)

    @kit.each_poller
    def test_map_order(self):
        """Events come in the order of the map, not of the descriptors."""
        order = []
        pairs = [self.pair() for _ in range(20)]
        map = {}
        for near, far in reversed(pairs):
            far.send(b"x")
            channel = map[near.fileno()] = Asked(near)
            channel.handle_read_event = (
                lambda fd=near.fileno(): order.append(fd)
            )
        self.step(map=map)
        self.assertEqual(order, list(map))

    @kit.each_poller
    def test_truth_of_the_answers(self):
        """Any object will do for an answer; only its truth counts."""
        for answer, want in (
            ([], []),
            ("", []),
            (0.0, []),
            (None, []),
            (collections.deque([1]), ["write"]),
            (3, ["write"]),
        ):
            near, _ = self.pair()
            duck = Asked(near, read=(), write=answer)
            self.step(map={near.fileno(): duck})
            self.assertEqual(duck.calls[2:], want)

    @kit.each_poller
    def test_truth_that_raises(self):
        class Moody:
            def __bool__(self):
                raise KeyError

        near, _ = self.pair()
        duck = Asked(near, read=Moody())
        self.assertRaises(KeyError, self.step, map={near.fileno(): duck})
        self.assertEqual(duck.calls[:1], ["readable"])

    @kit.each_poller
    def test_accepting_is_read_late(self):
        """It is read only from a channel that is writable."""
        seen = []

        class Listener(Asked):
            @property
            def accepting(self):
                seen.append(self.write)
                return True

        near, _ = self.pair()
        self.step(map={near.fileno(): Listener(near, write=False)})
        self.assertEqual(seen, [])
        duck = Listener(near, write=True)
        self.step(map={near.fileno(): duck})
        self.assertEqual(seen, [True])
        self.assertNotIn("write", duck.calls)

    @kit.each_poller
    def test_predicate_raises(self):
        """It comes out of the pass, and nothing is delivered."""
        for name in ("readable", "writable"):
            near, far = self.pair()
            far.send(b"x")
            first, second = Asked(near), Asked(far)
            setattr(second, name, unittest.mock.Mock(side_effect=KeyError))
            map = {near.fileno(): first, far.fileno(): second}
            self.assertRaises(KeyError, self.step, map=map)
            self.assertEqual(first.calls, ["readable", "writable"])
            self.assertEqual(len(map), 2)

    @kit.each_poller
    def test_no_such_predicate(self):
        near, _ = self.pair()
        self.assertRaises(
            AttributeError, self.step, map={near.fileno(): object()}
        )

    @kit.each_poller
    def test_sleep_without_interest(self):
        """A pass with nothing to watch takes its time."""
        near, _ = self.pair()
        map = {near.fileno(): Asked(near, read=False)}
        start = time.monotonic()
        self.step(map=map, timeout=0.05)
        self.assertGreaterEqual(time.monotonic() - start, 0.045)

    @kit.each_poller
    def test_priority(self):
        """An urgent byte is an event until it is taken."""
        near, far = self.pair("tcp")
        far.send(b"!", socket.MSG_OOB)
        kit.settle(near, select.POLLPRI)
        duck = Asked(near)
        self.step(2, {near.fileno(): duck})
        self.assertEqual(duck.calls.count("expt"), 2)
        duck = Asked(near, read=False, write=True)
        self.step(map={near.fileno(): duck})
        self.assertIn("write", duck.calls)
        self.assertEqual("expt" in duck.calls, not self.use_poll)

    @kit.each_poller
    def test_bad_keys(self):
        near, _ = self.pair()
        self.assertRaises(
            (ValueError, TypeError), self.step, map={-1: Asked(near)}
        )
        self.assertRaises(TypeError, self.step, map={"x": Asked(near)})
        self.assertRaises(TypeError, self.step, map={None: Asked(near)})

    def test_object_keys(self):
        """select takes an object with a fileno for a key and gives it
        back; poll gives back the number, which is no key."""
        near, far = self.pair()
        far.send(b"x")
        duck = Asked(near)
        asyncore.poll(0, {near: duck})
        self.assertEqual(duck.calls[2:], ["read"])
        duck = Asked(near)
        asyncore.poll2(0, {near: duck})
        self.assertEqual(duck.calls[2:], [])

    @kit.each_poller
    def test_key_counts(self):
        """The key is what is watched, whatever the channel says."""
        quiet, _ = self.pair()
        near, far = self.pair()
        far.send(b"x")
        channel = kit.Channel(quiet, {})
        channel.writable = lambda: False
        map = {near.fileno(): channel}
        self.step(map=map)
        self.assertEqual(channel.taken(), ["read"])

    @kit.each_poller
    def test_dead_descriptor(self):
        """Select's EBADF ended the loop; ours serves it as poll does, at
        the latest when it looks after its descriptors."""
        near, _ = self.pair()
        channel = kit.Channel(near)
        other, far = self.pair()
        reader = kit.Reader(other)
        far.send(b"x")
        os.close(near.detach())
        if kit.OURS or self.use_poll:
            self.until(lambda: channel.calls)
            self.assertIn("close", channel.taken())
            self.assertEqual(reader.data, b"x")
        else:
            with self.assertRaises(OSError) as caught:
                self.step()
            self.assertEqual(caught.exception.errno, errno.EBADF)

    @kit.each_poller
    def test_nothing_else_is_asked(self):
        """No interest: not even a hang-up is told."""
        near, far = self.pair()
        far.close()
        duck = Asked(near, read=False)
        self.step(3, {near.fileno(): duck})
        self.assertEqual(set(duck.calls), {"readable", "writable"})


class TimeoutTest(kit.TestCase):
    def setUp(self):
        super().setUp()
        self.near, self.far = self.pair()
        self.map = {self.near.fileno(): Asked(self.near)}

    def test_wrong(self):
        for function, value, error in (
            (asyncore.poll, "x", TypeError),
            (asyncore.poll, -1, ValueError),
            (asyncore.poll, float("nan"), ValueError),
            (asyncore.poll, 1e300, OverflowError),
            (asyncore.poll2, "x", (TypeError, ValueError)),
            (asyncore.poll2, float("nan"), ValueError),
            (asyncore.poll2, 1e300, OverflowError),
        ):
            with self.subTest(function=function.__name__, value=value):
                self.assertRaises(error, function, value, self.map)

    def test_even_for_an_empty_map(self):
        asyncore.poll("x", {})
        self.assertRaises((TypeError, ValueError), asyncore.poll2, "x", {})

    def test_none_waits(self):
        self.far.send(b"x")
        for function in (asyncore.poll, asyncore.poll2):
            function(None, self.map)
        self.assertEqual(self.map[self.near.fileno()].calls.count("read"), 2)

    def test_keeps_its_time(self):
        for function in (asyncore.poll, asyncore.poll2):
            start = time.monotonic()
            function(0.05, self.map)
            self.assertGreaterEqual(time.monotonic() - start, 0.045)

    def test_numbers_of_any_kind(self):
        for value in (0, True, 0.0005):
            if value is True:
                self.far.send(b"x")
            asyncore.poll(value, self.map)
            asyncore.poll2(value, self.map)
        asyncore.poll2(decimal.Decimal(0), self.map)
        asyncore.poll2(fractions.Fraction(1, 1000), self.map)


class LoopTest(kit.TestCase):
    def count_passes(self, count, map=None):
        near, _ = self.pair()
        duck = Asked(near)
        map = {near.fileno(): duck} if map is None else map
        asyncore.loop(0, self.use_poll, map, count)
        return duck.calls.count("readable")

    @kit.each_poller
    def test_count(self):
        for count, passes in (
            (0, 0),
            (-1, 0),
            (1, 1),
            (3, 3),
            (2.5, 3),
            (True, 1),
            (0.0, 0),
        ):
            self.assertEqual(self.count_passes(count), passes)

    def test_count_of_a_wrong_type(self):
        self.assertRaises(TypeError, self.count_passes, "x")
        self.count_passes("x", {})

    @kit.each_poller
    def test_until_the_map_is_empty(self):
        near, far = self.pair()
        reader = kit.Reader(near)
        far.send(b"all")
        far.close()
        self.assertIsNone(asyncore.loop(use_poll=self.use_poll))
        self.assertEqual(reader.data, b"all")
        self.assertEqual(asyncore.socket_map, {})

    def test_calls_the_global_poll(self):
        """loop takes poll or poll2 from the module, once, at entry."""
        near, _ = self.pair()
        map = {near.fileno(): Asked(near)}
        calls = []
        self.replace(asyncore, "poll", lambda *a: calls.append(("poll", a)))
        self.replace(asyncore, "poll2", lambda *a: calls.append(("poll2", a)))
        asyncore.loop(5, False, map, 2)
        asyncore.loop(6, True, map, 1)
        self.assertEqual(
            calls,
            [("poll", (5, map))] * 2 + [("poll2", (6, map))],
        )

    def test_chosen_once(self):
        near, _ = self.pair()
        map = {near.fileno(): Asked(near)}
        calls = []

        def first(timeout, map):
            calls.append("first")
            asyncore.poll = second

        def second(timeout, map):
            calls.append("second")

        self.replace(asyncore, "poll", first)
        asyncore.loop(0, False, map, 3)
        self.assertEqual(calls, ["first"] * 3)

    def test_without_poll(self):
        """Where the select module has no poll, loop takes select."""
        near, _ = self.pair()
        calls = []
        self.replace(asyncore, "select", unittest.mock.Mock(spec=["select"]))
        self.replace(asyncore, "poll", lambda *a: calls.append("poll"))
        asyncore.loop(0, True, {near.fileno(): Asked(near)}, 1)
        self.assertEqual(calls, ["poll"])

    @kit.each_poller
    def test_map_is_chosen_once(self):
        """Replacing socket_map does not touch a loop that runs."""
        near, _ = self.pair()
        duck = Asked(near)
        self.replace(asyncore, "socket_map", {near.fileno(): duck})

        def readable():
            duck.calls.append("readable")
            asyncore.socket_map = {}
            return True

        duck.readable = readable
        self.step(3)
        self.assertEqual(duck.calls.count("readable"), 3)

    @kit.each_poller
    def test_resumes(self):
        """An exception ends the pass, and the next goes on."""
        near, far = self.pair()
        far.send(b"x")
        order = []

        class Once(Asked):
            def handle_read_event(self):
                order.append("once")
                if len(order) == 1:
                    raise asyncore.ExitNow

        class Twice(Asked):
            def handle_read_event(self):
                order.append("twice")

        near2, far2 = self.pair()
        far2.send(b"x")
        map = {near.fileno(): Once(near), near2.fileno(): Twice(near2)}
        self.assertRaises(asyncore.ExitNow, self.step, map=map)
        self.assertEqual(order, ["once"])
        self.step(map=map)
        self.assertEqual(order, ["once", "once", "twice"])


class TracebackTest(kit.TestCase):
    def test_one_frame(self):
        try:
            raise ValueError("boo")
        except ValueError as thrown:
            where, kind, value, info = asyncore.compact_traceback()
            self.assertIs(value, thrown)
        self.assertIs(kind, ValueError)
        file, function, line = where
        self.assertEqual(os.path.basename(file), "test_functions.py")
        self.assertEqual(function, "test_one_frame")
        self.assertIs(type(line), str)
        self.assertEqual(info, f"[{file}|{function}|{line}]")

    def test_outermost_first(self):
        def inner():
            raise KeyError

        def outer():
            inner()

        try:
            outer()
        except KeyError:
            where, _, _, info = asyncore.compact_traceback()
        parts = [part[1:-1].split("|") for part in info.split(" ")]
        self.assertEqual(
            [part[1] for part in parts],
            ["test_outermost_first", "outer", "inner"],
        )
        self.assertEqual(list(where), parts[-1])

    def test_none(self):
        with self.assertRaises((AssertionError, AttributeError)):
            asyncore.compact_traceback()

    def test_no_traceback(self):
        """An exception that was never raised has none."""

        class Caught(Exception):
            pass

        try:
            raise Caught
        except Caught as thrown:
            thrown.__traceback__ = None
            with self.assertRaises(AssertionError) as caught:
                # exc_info of 3.11 and later takes it from the exception.
                if sys.version_info < (3, 11):
                    raise AssertionError("traceback does not exist")
                asyncore.compact_traceback()
        self.assertEqual(str(caught.exception), "traceback does not exist")


class CloseAllTest(kit.TestCase):
    class Closes:
        def __init__(self, error=None):
            self.error = error
            self.closed = 0

        def close(self):
            self.closed += 1
            if self.error is not None:
                raise self.error

    def test_all(self):
        map = {key: self.Closes() for key in range(5)}
        channels = list(map.values())
        self.assertIsNone(asyncore.close_all(map))
        self.assertEqual(map, {})
        self.assertEqual([channel.closed for channel in channels], [1] * 5)

    def test_default(self):
        map = {1: self.Closes()}
        self.replace(asyncore, "socket_map", map)
        asyncore.close_all()
        self.assertEqual(map, {})

    def test_ebadf_is_nothing(self):
        map = {1: self.Closes(OSError(errno.EBADF, "")), 2: self.Closes()}
        asyncore.close_all(map)
        self.assertEqual(map, {})

    def test_errors(self):
        for error in (OSError(errno.EIO, ""), KeyError(), GeneratorExit()):
            map = {1: self.Closes(error), 2: self.Closes()}
            last = map[2]
            self.assertRaises(type(error), asyncore.close_all, map)
            self.assertEqual((len(map), last.closed), (2, 0))
            asyncore.close_all(map, ignore_all=True)
            self.assertEqual((map, last.closed), ({}, 1))

    def test_fatal(self):
        for error in FATAL:
            map = {1: self.Closes(error())}
            self.assertRaises(error, asyncore.close_all, map, True)
            self.assertEqual(len(map), 1)

    def test_map_that_changes(self):
        """Channels take themselves out meanwhile, and others, too."""
        map = {}
        for key in range(5):
            near, _ = self.pair()
            kit.Channel(near, map)
        asyncore.close_all(map)
        self.assertEqual(map, {})


class StreamTest(kit.TestCase):
    def test_log(self):
        channel = asyncore.dispatcher()
        with unittest.mock.patch("sys.stderr", io.StringIO()) as stream:
            channel.log("one")
            channel.log(2)
        self.assertEqual(stream.getvalue(), "log: one\nlog: 2\n")

    def test_log_info(self):
        channel = asyncore.dispatcher()
        with unittest.mock.patch("sys.stdout", io.StringIO()) as stream:
            channel.log_info("one")
            channel.log_info("two", "debug")
            channel.log_info(["three"], type="error")
            channel.log_info("hidden", "warning")
            channel.ignore_log_types = ()
            channel.log_info("seen", "warning")
        self.assertEqual(
            stream.getvalue(),
            "info: one\ndebug: two\nerror: ['three']\nwarning: seen\n",
        )

    def test_unhandled(self):
        channel = asyncore.dispatcher()
        channel.ignore_log_types = []
        sock = unittest.mock.Mock()
        with unittest.mock.patch("sys.stdout", io.StringIO()) as stream:
            channel.handle_expt()
            channel.handle_read()
            channel.handle_write()
            channel.handle_connect()
            channel.handle_accepted(sock, "address")
            channel.handle_close()
        sock.close.assert_called_once_with()
        events = "incoming priority,read,write,connect,accepted,close"
        self.assertEqual(
            stream.getvalue().splitlines(),
            [f"warning: unhandled {name} event" for name in events.split(",")],
        )

    def test_called_by_position(self):
        """Subclasses name the second parameter as they like."""
        calls = []

        class Logs(asyncore.dispatcher):
            def log_info(self, text, level="info"):
                calls.append((text, level))

        channel = Logs()
        channel.handle_read()
        try:
            raise KeyError("key")
        except KeyError:
            channel.handle_error()
        self.assertEqual(calls[0], ("unhandled read event", "warning"))
        self.assertEqual(calls[1][1], "error")
        self.assertRegex(
            calls[1][0],
            r"^uncaptured python exception, closing channel "
            r"<(\w|\.|<|>)*Logs at 0x[0-9a-f]+> "
            r"\(<class 'KeyError'>:'key' \[[^|]*\|[^|]*\|\d+\]\)$",
        )
        self.assertEqual(calls[2], ("unhandled close event", "warning"))

    def test_repr_that_fails(self):
        lines = []

        class Broken(asyncore.dispatcher):
            def __repr__(self):
                raise ValueError

            def log_info(self, message, type="info"):
                lines.append(message)

        channel = Broken()
        try:
            raise KeyError
        except KeyError:
            channel.handle_error()
        self.assertIn(
            f"<__repr__(self) failed for object at {id(channel):0x}>",
            lines[0],
        )

    def test_no_stream(self):
        """print forgives that there is no stdout."""
        channel = asyncore.dispatcher()
        with unittest.mock.patch("sys.stdout", None):
            channel.log_info("nowhere")

    def test_debug(self):
        """dispatcher_with_send tells what it sends, when it debugs."""
        near, far = self.pair()
        channel = asyncore.dispatcher_with_send(near)
        channel.debug = True
        with unittest.mock.patch("sys.stdout", io.StringIO()) as stream:
            channel.send(b"x\n")
        self.assertEqual(stream.getvalue(), "info: sending b'x\\n'\n")
        self.assertEqual(far.recv(9), b"x\n")


if __name__ == "__main__":
    kit.main()
