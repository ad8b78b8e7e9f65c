# SPDX-License-Identifier: MIT
"""dispatcher_with_send and the file classes."""

import errno
import gc
import os
import select
import socket
import tempfile
import unittest
import unittest.mock
import warnings

import kit
from kit import asynchat, asyncore


class SenderTest(kit.TestCase):
    def test_attributes(self):
        channel = asyncore.dispatcher_with_send()
        self.assertEqual(channel.out_buffer, b"")
        self.assertIs(type(channel.out_buffer), bytes)
        self.assertIs(channel.writable(), True)
        near, _ = self.pair()
        channel = asyncore.dispatcher_with_send(near, {})
        self.assertTrue(channel.connected)
        self.assertIs(type(channel.writable()), int)
        self.assertEqual(channel.writable(), 0)
        self.assertTrue(channel.readable())

    def test_sends_at_once(self):
        near, far = self.pair()
        channel = asyncore.dispatcher_with_send(near)
        self.assertIsNone(channel.send(b"data"))
        self.assertEqual(far.recv(9), b"data")
        self.assertEqual(channel.out_buffer, b"")

    def test_keeps_what_does_not_fit(self):
        near, far = self.pair()
        kit.fill(near)
        channel = asyncore.dispatcher_with_send(near)
        channel.send(b"one")
        channel.send(b"two")
        self.assertEqual(channel.out_buffer, b"onetwo")
        self.assertEqual(channel.writable(), 6)
        while channel.out_buffer:
            tail = far.recv(65536)
            self.step()
        while not tail.endswith(b"two"):
            tail = far.recv(65536)
        self.assertEqual(tail[-6:].lstrip(b"\0"), b"onetwo")

    def test_buffer_is_a_plain_attribute(self):
        """Programs set it, read it, replace it with other kinds."""
        near, far = self.pair()
        channel = asyncore.dispatcher_with_send(near)
        channel.out_buffer = bytearray(b"array")
        self.assertEqual(channel.writable(), 5)
        self.step()
        self.assertEqual(far.recv(9), b"array")
        self.assertEqual(channel.out_buffer, b"")
        channel.out_buffer = b"one"
        channel.out_buffer += b"two"
        self.assertEqual(channel.out_buffer, b"onetwo")
        channel.send(b"!")
        self.assertEqual(far.recv(9), b"onetwo!")
        channel.out_buffer = b"kept"
        del channel.out_buffer
        self.assertRaises(AttributeError, channel.send, b"x")

    @kit.each_poller
    def test_buffer_set_from_outside(self):
        """Interest follows the attribute without any call of ours."""
        near, far = self.pair()
        channel = asyncore.dispatcher_with_send(near)
        self.step()
        channel.out_buffer = b"later"
        self.step()
        self.assertEqual(far.recv(9), b"later")
        channel.out_buffer += b"still later"
        self.step()
        self.assertEqual(far.recv(99), b"still later")

    def test_in_pieces_of_65536(self):
        """One send for each call, of a slice of the buffer."""
        sent = []
        channel = asyncore.dispatcher_with_send()
        channel.socket = unittest.mock.Mock()
        channel.socket.send.side_effect = (
            lambda data: sent.append(len(data)) or len(data)
        )
        channel.connected = True
        channel.out_buffer = bytes(150000)
        for rest in (84464, 18928, 0):
            self.assertIsNone(channel.initiate_send())
            self.assertEqual(len(channel.out_buffer), rest)
        self.assertEqual(sent, [65536, 65536, 18928])
        channel.initiate_send()
        self.assertEqual(sent[3:], [0])

    def test_base_send(self):
        """initiate_send calls dispatcher's send, whoever overrides it;
        but dispatcher.send where that was replaced on the class."""

        class Own(asyncore.dispatcher_with_send):
            def send(self, data, do_close=True):
                raise AssertionError

        near, far = self.pair()
        channel = Own(near)
        channel.out_buffer = b"x"
        channel.initiate_send()
        self.assertEqual(far.recv(9), b"x")
        with unittest.mock.patch.object(
            asyncore.dispatcher, "send", lambda self, data: 2
        ):
            channel.out_buffer = b"12345"
            channel.initiate_send()
        self.assertEqual(channel.out_buffer, b"345")

    def test_initiate_send_is_virtual(self):
        calls = []

        class Own(asyncore.dispatcher_with_send):
            def initiate_send(self):
                calls.append(self.out_buffer)

        near, _ = self.pair()
        channel = Own(near)
        channel.send(b"x")
        channel.handle_write()
        channel.initiate_send = lambda: calls.append("instance")
        channel.send(b"y")
        self.assertEqual(calls, [b"x", b"x", "instance"])

    def test_errors(self):
        """Errors reach the caller, and nothing is lost."""
        channel = asyncore.dispatcher_with_send()
        channel.socket = unittest.mock.Mock()
        channel.socket.send.side_effect = OSError(errno.ENOBUFS, "")
        self.assertRaises(OSError, channel.send, b"x")
        self.assertEqual(channel.out_buffer, b"x")
        self.assertRaises(TypeError, channel.send, "text")
        self.assertEqual(channel.out_buffer, b"x")

    def test_peer_is_gone(self):
        near, far = self.pair()
        far.close()

        class Own(kit.Recorder, asyncore.dispatcher_with_send):
            pass

        channel = Own(near)
        channel.send(b"x")
        self.assertEqual(channel.taken(), ["close"])
        self.assertEqual(channel.out_buffer, b"x")

    def test_nothing_to_send(self):
        """Even so it is tried: that tells that the peer is gone."""
        near, far = self.pair()
        far.close()

        class Own(kit.Recorder, asyncore.dispatcher_with_send):
            def handle_write(self):
                asyncore.dispatcher_with_send.handle_write(self)

        channel = Own(near)
        channel.readable, channel.writable = (lambda: False), (lambda: True)
        self.step()
        self.assertEqual(channel.taken(), ["close"])

    @kit.each_poller
    def test_before_the_connection(self):
        """What is sent while it connects goes out when it has."""
        listener, address = self.listen()
        channel = asyncore.dispatcher_with_send()
        channel.create_socket()
        channel.connect(address)
        channel.send(b"early")
        conn, _ = listener.accept()
        self.until(lambda: not channel.out_buffer)
        self.assertEqual(conn.recv(9), b"early")
        conn.close()

    @kit.each_poller
    def test_much(self):
        """A megabyte to a slow reader, in order."""
        near, far = self.pair()
        channel = asyncore.dispatcher_with_send(near)
        data = bytes(range(256)) * 4096
        channel.send(data)
        got = bytearray()
        far.setblocking(False)
        while len(got) < len(data):
            self.step()
            try:
                got += far.recv(10000)
            except BlockingIOError:
                pass
        self.assertEqual(got, data)


class FileWrapperTest(kit.TestCase):
    def setUp(self):
        super().setUp()
        self.reader, self.writer = self.pipe()

    def test_duplicates(self):
        wrapper = asyncore.file_wrapper(self.reader.fileno())
        self.addCleanup(wrapper.close)
        self.assertNotEqual(wrapper.fd, self.reader.fileno())
        self.assertEqual(wrapper.fileno(), wrapper.fd)
        self.assertFalse(os.get_inheritable(wrapper.fd))
        self.assertEqual(vars(wrapper), {"fd": wrapper.fd})

    def test_reads_and_writes(self):
        source = asyncore.file_wrapper(self.reader.fileno())
        sink = asyncore.file_wrapper(self.writer.fileno())
        self.addCleanup(source.close)
        self.addCleanup(sink.close)
        self.assertEqual(sink.send(b"ab"), 2)
        self.assertEqual(sink.write(b"c"), 1)
        self.assertEqual(source.recv(2), b"ab")
        self.assertEqual(source.read(2), b"c")
        self.assertRaises(TypeError, source.recv)
        self.assertRaises(TypeError, source.recv, 1, 2)

    def test_getsockopt(self):
        wrapper = asyncore.file_wrapper(self.reader.fileno())
        self.addCleanup(wrapper.close)
        option = socket.SOL_SOCKET, socket.SO_ERROR
        self.assertEqual(wrapper.getsockopt(*option), 0)
        self.assertEqual(wrapper.getsockopt(*option, buflen=0), 0)
        for wrong in (
            (*option, 4),
            (socket.SOL_SOCKET, socket.SO_TYPE),
            (0, socket.SO_ERROR),
        ):
            with self.assertRaisesRegex(
                NotImplementedError,
                "^Only asyncore specific behaviour implemented.$",
            ):
                wrapper.getsockopt(*wrong)

    def test_close(self):
        wrapper = asyncore.file_wrapper(self.reader.fileno())
        os.close(wrapper.fd)
        self.assertRaises(OSError, wrapper.close)
        self.assertEqual((wrapper.fd, wrapper.fileno()), (-1, -1))
        wrapper.close()
        self.assertRaises(OSError, wrapper.recv, 1)

    def test_finaliser(self):
        wrapper = asyncore.file_wrapper(self.reader.fileno())
        fd, text = wrapper.fd, repr(wrapper)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del wrapper
            gc.collect()
        (message,) = caught
        self.assertIs(message.category, ResourceWarning)
        self.assertEqual(str(message.message), f"unclosed file {text}")
        self.assertIsNotNone(message.source)
        self.assertRaises(OSError, os.fstat, fd)

    def test_finaliser_of_a_closed_one(self):
        wrapper = asyncore.file_wrapper(self.reader.fileno())
        wrapper.close()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del wrapper
            gc.collect()
        self.assertEqual(caught, [])

    def test_warning_that_is_an_error(self):
        """The descriptor is closed even then."""
        wrapper = asyncore.file_wrapper(self.reader.fileno())
        fd = wrapper.fd
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with unittest.mock.patch("sys.unraisablehook") as hook:
                del wrapper
                gc.collect()
        self.assertEqual(hook.call_count, 1)
        if kit.OURS:
            self.assertRaises(OSError, os.fstat, fd)
        else:
            os.close(fd)

    @kit.ours_only
    def test_failed_init_is_silent(self):
        """The original complains of an attribute that is not there."""
        with unittest.mock.patch("sys.unraisablehook") as hook:
            self.assertRaises(OSError, asyncore.file_wrapper, -1)
            self.assertRaises(TypeError, asyncore.file_wrapper, "x")
            gc.collect()
        hook.assert_not_called()

    def test_subclass(self):
        class Own(asyncore.file_wrapper):
            def recv(self, *args):
                return super().recv(*args).upper()

        wrapper = Own(self.reader.fileno())
        self.addCleanup(wrapper.close)
        self.writer.write(b"x")
        self.assertEqual(wrapper.recv(9), b"X")


class FileDispatcherTest(kit.TestCase):
    def test_init(self):
        for make in (lambda file: file, lambda file: file.fileno()):
            reader, _ = self.pipe()
            channel = asyncore.file_dispatcher(make(reader))
            self.assertTrue(channel.connected)
            self.assertIs(type(channel.socket), asyncore.file_wrapper)
            self.assertEqual(channel._fileno, channel.socket.fd)
            self.assertIs(asyncore.socket_map[channel._fileno], channel)
            self.assertFalse(os.get_blocking(reader.fileno()))
            self.assertIsNone(channel.addr)
            channel.close()
        self.assertRaises(OSError, asyncore.file_dispatcher, -1)

    def test_map(self):
        map = {}
        reader, _ = self.pipe()
        channel = asyncore.file_dispatcher(reader, map)
        self.assertEqual(map, {channel._fileno: channel})
        channel.close()
        self.assertEqual(map, {})

    @kit.each_poller
    def test_pipe(self):
        class Pipe(kit.Recorder, asyncore.file_dispatcher):
            data = b""

            def writable(self):
                return False

            def handle_read(self):
                super().handle_read()
                self.data += self.recv(99)

        reader, writer = self.pipe()
        channel = Pipe(reader)
        writer.write(b"data")
        self.step()
        self.assertEqual((channel.data, channel.taken()), (b"data", ["read"]))
        writer.close()
        self.step()
        self.assertIn("close", channel.taken())
        self.assertEqual(asyncore.socket_map, {})

    @kit.each_poller
    def test_write_end(self):
        class Pipe(kit.Recorder, asyncore.file_dispatcher):
            def readable(self):
                return False

            def handle_write(self):
                super().handle_write()
                self.send(b"x")

        reader, writer = self.pipe()
        channel = Pipe(writer)
        self.step(2)
        self.assertEqual(channel.taken(), ["write"] * 2)
        self.assertEqual(reader.read(9), b"xx")
        reader.close()
        self.step()
        self.assertIn("close", channel.taken())

    @kit.each_poller
    def test_regular_file(self):
        """It is ready at any time, to be read and written."""
        file = self.enter(tempfile.TemporaryFile())
        file.write(b"content")
        file.flush()
        file.seek(0)

        class File(kit.Recorder, asyncore.file_dispatcher):
            def handle_read(self):
                super().handle_read()
                self.data = self.recv(3)

        channel = File(file)
        for data in (b"con", b"ten", b"t"):
            self.step()
            self.assertEqual(channel.data, data)
            self.assertEqual(channel.taken(), ["read", "write"])
        self.step()
        self.assertIn("close", channel.taken())

    @kit.each_poller
    def test_dev_null(self):
        with open(os.devnull, "r+b", 0) as null:

            class Null(kit.Recorder, asyncore.file_dispatcher):
                def readable(self):
                    return False

            channel = Null(null)
            self.step(2)
            self.assertEqual(channel.taken(), ["write"] * 2)

    @kit.each_poller
    def test_ghost(self):
        """The duplicate is closed, the original is open: no events come
        for a descriptor that was used again."""
        reader, writer = self.pipe()
        channel = asyncore.file_dispatcher(reader)
        fd = channel._fileno
        near, _ = self.pair()
        self.step()
        channel.close()
        writer.write(b"x")
        os.dup2(near.fileno(), fd)
        other = kit.Channel(socket.socket(fileno=fd))
        other.writable = lambda: False
        self.step(3)
        self.assertEqual(other.taken(), [])

    @kit.each_poller
    def test_pty(self):
        """The end of a terminal is an error, EIO, when it is read; with
        poll, it may not be read."""
        master, slave = os.openpty()

        class Terminal(kit.Recorder, asyncore.file_dispatcher):
            data = b""

            def writable(self):
                return False

            def handle_read(self):
                self.data += self.recv(99)

        channel = Terminal(master)
        os.write(slave, b"line\n")
        self.until(lambda: b"\n" in channel.data)
        self.assertEqual(channel.data, b"line\r\n")
        os.close(slave)
        kit.settle(master, select.POLLHUP)
        self.step()
        calls = channel.taken()
        self.assertIn("close", calls)
        if not self.use_poll:
            self.assertIn("error OSError", calls)
        os.close(master)


class RestTest(kit.TestCase):
    """What the kernel does not take of the first piece goes out by itself, in
    a channel that the loop has been serving for a while."""

    SIZE = 60000

    def start(self, cls):
        ours, theirs = self.pair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        theirs.setblocking(False)
        channel = cls(ours)
        self.step(3)
        return channel, theirs

    def check(self, theirs, want):
        got = []

        def drain():
            try:
                got.append(theirs.recv(1 << 20))
            except BlockingIOError:
                pass
            return sum(map(len, got)) >= len(want)

        self.assertFalse(drain())
        self.until(drain)
        self.step(3)
        drain()
        self.assertEqual(b"".join(got), want)

    @kit.each_poller
    def test_sender(self):
        channel, theirs = self.start(asyncore.dispatcher_with_send)
        want = os.urandom(self.SIZE)
        channel.send(want)
        kept = len(channel.out_buffer)
        self.assertTrue(0 < kept < self.SIZE)
        self.assertEqual(channel.out_buffer, want[-kept:])
        self.check(theirs, want)

    @kit.each_poller
    def test_sender_unseen(self):
        """Nobody looks at the buffer."""
        channel, theirs = self.start(asyncore.dispatcher_with_send)
        want = os.urandom(self.SIZE)
        channel.send(want)
        self.check(theirs, want)

    @kit.each_poller
    def test_chat(self):
        channel, theirs = self.start(asynchat.async_chat)
        want = os.urandom(self.SIZE)
        channel.push(want)
        self.check(theirs, want)


if __name__ == "__main__":
    kit.main()
