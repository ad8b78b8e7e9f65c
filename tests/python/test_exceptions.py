# SPDX-License-Identifier: MIT
"""Exceptions: where they go, what is current, and what comes out."""

import errno
import os
import socket
import sys
import traceback
import unittest
import unittest.mock

import kit
from kit import asynchat, asyncore

FATAL = (asyncore.ExitNow, KeyboardInterrupt, SystemExit)


class OutOfHandlersTest(kit.TestCase):
    """The three that end the loop, out of every handler."""

    def channel_for(self, name):
        """A channel whose next event calls that handler."""
        near, far = self.pair("tcp")
        channel = kit.Channel()
        if name in ("handle_connect", "handle_connect_event"):
            listener, address = self.listen()
            channel.create_socket()
            channel.connect(address)
            kit.settle(channel.socket, 4)
            return channel
        if name in ("handle_accept", "handle_accepted", "accept"):
            listener, address = self.listen()
            channel.set_socket(listener)
            channel.accepting = True
            client = socket.create_connection(address)
            self.addCleanup(client.close)
            kit.settle(listener)
            return channel
        channel.__init__(near)
        if name == "handle_close":
            channel.handle_read = lambda: channel.recv(1)
            far.close()
        elif name in ("handle_expt", "handle_expt_event"):
            far.send(b"!", socket.MSG_OOB)
            kit.settle(near, 2)
            return channel
        elif name == "handle_error":
            channel.handle_read = unittest.mock.Mock(side_effect=KeyError)
            far.send(b"x")
        else:
            far.send(b"x")
        kit.settle(near)
        return channel

    names = """readable writable handle_read_event handle_read
        handle_write_event handle_write handle_expt_event handle_expt
        handle_connect_event handle_connect handle_accept accept
        handle_accepted handle_close handle_error""".split()

    @kit.each_poller
    def test_every_one(self):
        for name in self.names:
            for error in FATAL:
                with self.subTest(handler=name, error=error.__name__):
                    self.clean()
                    channel = self.channel_for(name)
                    key = channel._fileno
                    thrown = error(name)
                    setattr(
                        channel, name, unittest.mock.Mock(side_effect=thrown)
                    )
                    with self.assertRaises(error) as caught:
                        self.step()
                    self.assertIs(caught.exception, thrown)
                    self.assertIs(asyncore.socket_map[key], channel)
                    self.assertNotEqual(channel.socket.fileno(), -1)

    @kit.each_poller
    def test_others_are_not_served(self):
        """The rest of the pass is dropped, and comes again."""
        near, far = self.pair()
        near2, far2 = self.pair()
        first, second = kit.Channel(near), kit.Channel(near2)
        first.writable = second.writable = lambda: False
        first.handle_read = unittest.mock.Mock(side_effect=asyncore.ExitNow)
        far.send(b"x")
        far2.send(b"x")
        self.assertRaises(asyncore.ExitNow, self.step)
        self.assertEqual(second.taken(), [])
        first.handle_read = lambda: None
        self.step()
        self.assertEqual(second.taken(), ["read"])

    @kit.each_poller
    def test_all_other_kinds(self):
        """Whatever else it is: the channel's handle_error gets it."""
        kinds = GeneratorExit, MemoryError, BaseException, StopIteration
        for error in kinds:
            near, far = self.pair()
            channel = kit.Channel(near)
            thrown, seen = error(), []

            def handle_error():
                seen.append(sys.exc_info()[1])
                channel.close()

            channel.handle_write = unittest.mock.Mock(side_effect=thrown)
            channel.handle_error = handle_error
            self.step()
            self.assertEqual(seen, [thrown])

    @kit.each_poller
    def test_error_of_handle_error(self):
        near, _ = self.pair()
        channel = kit.Channel(near)
        first = KeyError("first")
        channel.handle_write = unittest.mock.Mock(side_effect=first)

        def again():
            raise

        channel.handle_error = again
        with self.assertRaises(KeyError) as caught:
            self.step()
        self.assertIs(caught.exception, first)
        self.assertIn(near.fileno(), asyncore.socket_map)


class CurrentTest(kit.TestCase):
    def test_nothing_is_left(self):
        near, far = self.pair()
        far.close()
        channel = kit.Channel(near)
        channel.handle_read = unittest.mock.Mock(side_effect=KeyError)
        self.step()
        self.assertEqual(sys.exc_info(), (None, None, None))

    def observe(self, channel, name):
        """Have a handler note what is current when it is called."""
        seen = []

        def handler():
            kind, value, trace = sys.exc_info()
            seen.append((kind, value, trace is not None))
            channel.close()

        setattr(channel, name, handler)
        return seen

    @kit.each_poller
    def test_handle_error(self):
        near, _ = self.pair()
        channel = kit.Channel(near)
        thrown = KeyError()
        channel.handle_write = unittest.mock.Mock(side_effect=thrown)
        seen = self.observe(channel, "handle_error")
        self.step()
        self.assertEqual(seen, [(KeyError, thrown, True)])

    @kit.each_poller
    def test_handle_close_at_the_end(self):
        """The end of a stream is no exception."""
        for family in (None, "tcp"):
            near, far = self.pair(family)
            channel = kit.Channel(near)
            channel.handle_read = lambda: channel.recv(1)
            seen = self.observe(channel, "handle_close")
            far.close()
            kit.settle(near)
            self.step()
            self.assertEqual(set(seen), {(None, None, False)})

    @kit.each_poller
    def test_handle_close_of_a_send(self):
        near, far = self.pair()
        channel = kit.Channel(near)
        channel.readable = lambda: False
        channel.handle_write = lambda: channel.send(b"x")
        seen = self.observe(channel, "handle_close")
        far.close()
        self.step()
        kind, value, has_trace = seen[0]
        self.assertIs(kind, BrokenPipeError)
        self.assertEqual(value.errno, errno.EPIPE)
        self.assertEqual(value.strerror, os.strerror(errno.EPIPE))
        self.assertTrue(has_trace)

    def test_handle_close_of_a_recv(self):
        near, far = self.pair("tcp")
        channel = kit.Channel(near)
        seen = self.observe(channel, "handle_close")
        kit.reset(far)
        kit.settle(near)
        self.assertEqual(channel.recv(1), b"")
        self.assertIs(seen[0][0], ConnectionResetError)
        self.assertTrue(seen[0][2])
        seen.clear()
        channel.recv(1)
        self.assertIs(seen[0][0], OSError)
        self.assertEqual(seen[0][1].errno, errno.EBADF)

    @kit.each_poller
    def test_refused_has_a_traceback(self):
        """The error is born in the module: it must have one all the same,
        or handle_error fails."""
        listener, address = self.listen()
        listener.close()
        lines = []

        class Client(asyncore.dispatcher):
            def log_info(self, message, type="info"):
                lines.append((type, message))

        channel = Client()
        channel.create_socket()
        channel.connect(address)
        kit.settle(channel.socket)
        self.step()
        self.assertEqual([kind for kind, _ in lines], ["error", "warning"])
        self.assertRegex(
            lines[0][1],
            r"^uncaptured python exception, closing channel <.*Client "
            r"127\.0\.0\.1:\d+ at 0x[0-9a-f]+> \(<class "
            r"'ConnectionRefusedError'>:\[Errno 111\] Connection refused "
            r"(\[[^|\]]+\|[^|\]]+\|\d+\] ?)+\)$",
        )

    @kit.each_poller
    def test_what_handle_error_can_ask(self):
        """format_exc, compact_traceback, exc_info, for an error of ours
        and one of the program's."""
        seen = []

        class Client(kit.Channel):
            def handle_error(self):
                seen.append(traceback.format_exc())
                seen.append(asyncore.compact_traceback())
                self.close()

            def handle_write(self):
                self.recv(1)

        near, _ = self.pair()
        Client(near)
        self.step()
        text, (where, kind, value, info) = seen
        self.assertIn("BlockingIOError", text)
        self.assertIn("handle_write", text)
        self.assertIs(kind, BlockingIOError)
        self.assertIn("|handle_write|", info)
        self.assertTrue(info.endswith(f"[{'|'.join(where)}]"))

    def test_replaced_compact_traceback(self):
        """handle_error takes it from the module, when it needs it."""
        lines = []
        channel = asyncore.dispatcher()
        channel.log_info = lambda *args: lines.append(args)
        fake = (("f", "g", "1"), "TYPE", "VALUE", "INFO")
        self.replace(asyncore, "compact_traceback", lambda: fake)
        channel.handle_error()
        self.assertEqual(
            lines[0],
            (
                "uncaptured python exception, closing channel "
                f"{channel!r} (TYPE:VALUE INFO)",
                "error",
            ),
        )

    def test_handle_error_without_an_error(self):
        channel = asyncore.dispatcher()
        self.assertRaises(
            (AssertionError, AttributeError), channel.handle_error
        )


class RecursionTest(kit.TestCase):
    """Circles end in RecursionError, not in a crash."""

    def setUp(self):
        super().setUp()
        # A traceback of a thousand frames is long.
        self.replace(
            asyncore, "compact_traceback", lambda: (("f",), "t", "v", "i")
        )

    def test_close_that_sends(self):
        near, far = self.pair()
        far.close()
        channel = asyncore.dispatcher(near)
        calls = []

        def handle_close():
            calls.append(1)
            channel.send(b"bye")

        channel.handle_close = handle_close
        if kit.OURS:
            try:
                channel.send(b"x")
            except RecursionError:
                pass
            self.assertGreaterEqual(len(calls), 1)
        else:
            self.assertRaises(RecursionError, channel.send, b"x")

    def test_handlers_that_call_themselves(self):
        channel = asyncore.dispatcher(self.pair()[0])
        channel.handle_read = lambda: channel.handle_read_event()
        self.assertRaises(RecursionError, channel.handle_read_event)
        channel.handle_write = lambda: channel.handle_write_event()
        self.assertRaises(RecursionError, channel.handle_write_event)

    def test_class_aliases(self):
        """handle_read is handle_read_event: a circle in C alone."""

        class Circle(asyncore.dispatcher):
            handle_read = asyncore.dispatcher.handle_read_event

        self.assertRaises(
            RecursionError, Circle(self.pair()[0]).handle_read_event
        )

        class Pushes(asynchat.async_chat):
            initiate_send = asynchat.async_chat.handle_write

        chat = Pushes(self.pair()[0])
        self.assertRaises(RecursionError, chat.push, b"x")

    def test_nested_loops(self):
        near, far = self.pair()
        far.send(b"x")
        channel = kit.Channel(near)
        depth = []

        def read():
            depth.append(1)
            asyncore.loop(0, False, None, 1)

        def fail():
            raise

        channel.handle_read, channel.handle_error = read, fail
        channel.writable = lambda: False
        self.assertRaises(RecursionError, self.step)
        self.assertGreater(len(depth), 10)
        depth.clear()
        self.use_poll = True
        channel.handle_read = lambda: asyncore.loop(0, True, None, 1)
        self.assertRaises(RecursionError, self.step)


if __name__ == "__main__":
    kit.main()
