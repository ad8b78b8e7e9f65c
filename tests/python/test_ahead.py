# SPDX-License-Identifier: MIT
"""Nothing is seen of reading ahead, nor of gathering what is sent.

A program that uses its socket besides the channel finds there what it would
find without the channel: the bytes that were not asked for yet, and the effect
of every send that has returned.
"""

import array
import collections
import fcntl
import gc
import itertools
import os
import select
import socket
import subprocess
import sys
import termios
import threading
import time
import tracemalloc
import unittest

import kit
from kit import asynchat, asyncore


class Scripted(asyncore.dispatcher):
    """Its handle_read is the test's."""

    def writable(self):
        return False

    def handle_read(self):
        self.script(self)

    def handle_error(self):
        raise


class ReadingTest(kit.TestCase):
    """A handler receives a part; the rest is still in the socket."""

    families = (None, "tcp")

    def channels(self, held):
        """On each kind of socket, which others have, too, or nobody."""
        for family in self.families:
            near, far = self.pair(family)
            self.held = [near]
            yield Scripted(near), far
        if not held:
            near, far = kit.tcp_pair()
            self.addCleanup(far.close)
            self.held = []
            channel = Scripted(near)
            del near  # nothing is read ahead where somebody else has it
            yield channel, far

    def run_handler(self, script, data=b"0123456789", size=1, held=False):
        """Each time over, the channel has been read from a few times
        before, so that whatever it learns of itself it has learnt."""
        for channel, far in self.channels(held):
            for _ in range(20):
                channel.script = lambda channel: channel.recv(2)
                far.send(b"warm")
                self.deliver(channel)
                channel.script = lambda channel: channel.recv(9)
                while select.select([channel._fileno], [], [], 0)[0]:
                    self.step()
            seen = []
            channel.script = lambda channel: seen.append(script(channel))
            far.send(data)
            self.deliver(channel, size)
            yield seen, channel, far

    def deliver(self, channel, passes=1):
        kit.settle(channel._fileno)
        self.step(passes)

    @kit.each_poller
    def test_socket_recv(self):
        def script(channel):
            return channel.recv(3), channel.socket.recv(3)

        for seen, _, _ in self.run_handler(script):
            self.assertEqual(seen, [(b"012", b"345")])

    @kit.each_poller
    def test_many_small_reads(self):
        """One by one, and then the socket's turn."""
        def script(channel):
            return [channel.recv(1) for _ in range(5)] + [
                channel.socket.recv(99)
            ]

        want = [b"0", b"1", b"2", b"3", b"4", b"56789"]
        for seen, _, _ in self.run_handler(script):
            self.assertEqual(seen, [want])

    @kit.each_poller
    def test_peek_and_count(self):
        def script(channel):
            channel.recv(4)
            count = array.array("i", [0])
            fcntl.ioctl(channel.socket, termios.FIONREAD, count)
            peeked = channel.socket.recv(99, socket.MSG_PEEK)
            return count[0], peeked, channel.recv(99)

        for seen, _, _ in self.run_handler(script):
            self.assertEqual(seen, [(6, b"456789", b"456789")])

    @kit.each_poller
    def test_select(self):
        """What select says inside the handler, and after it."""
        def script(channel):
            channel.recv(4)
            return bool(select.select([channel.socket], [], [], 0)[0])

        for seen, channel, _ in self.run_handler(script):
            self.assertEqual(seen, [True])
            ready = select.select([channel.socket], [], [], 0)[0]
            self.assertEqual(ready, [channel.socket])
            self.assertEqual(channel.socket.recv(99), b"456789")

    @kit.each_poller
    def test_rest_comes_again(self):
        """What was not read is an event of the next pass, in every kind
        of loop."""
        for seen, channel, _ in self.run_handler(
            lambda c: c.recv(4), size=2, held=True
        ):
            self.assertEqual(seen, [b"0123", b"4567"])
            ready = select.select([channel.socket], [], [], 0)[0]
            for _ in ready:
                asyncore.read(channel)
            self.assertEqual(seen, [b"0123", b"4567", b"89"])

    @kit.ours_only
    @kit.each_poller
    def test_rest_comes_at_once(self):
        """Where nobody else has the socket, it is not asked again."""
        for seen, _, _ in self.run_handler(lambda c: c.recv(4)):
            want = [b"0123", b"4567", b"89"]
            self.assertEqual(seen, want[:1] if self.held else want)

    @kit.each_poller
    def test_dup_and_fileno(self):
        def script(channel):
            first = channel.recv(2)
            second = os.read(channel.socket.fileno(), 2)
            with channel.socket.dup() as other:
                third = other.recv(2)
            return first + second + third + channel.recv(99)

        for seen, _, _ in self.run_handler(script):
            self.assertEqual(seen, [b"0123456789"])

    @kit.each_poller
    def test_numbers(self):
        """The number of the descriptor comes from the channel."""
        def script(channel):
            first = channel.recv(2)
            second = os.read(channel._fileno, 2)
            third = channel.recv(2)
            key = [k for k, v in channel._map.items() if v is channel][0]
            return first + second + third + os.read(key, 2) + channel.recv(9)

        for seen, _, _ in self.run_handler(script):
            self.assertEqual(seen, [b"0123456789"])

    @kit.each_poller
    def test_makefile(self):
        def script(channel):
            first = channel.recv(2)
            channel.socket.setblocking(True)
            with channel.socket.makefile("rb", 0) as file:
                return first, file.read(8)

        for seen, _, _ in self.run_handler(script):
            self.assertEqual(seen, [(b"01", b"23456789")])

    @kit.each_poller
    def test_handed_to_a_thread(self):
        """The rest of the conversation is another thread's."""
        def script(channel):
            first = channel.recv(2)
            channel.del_channel()
            sock, result = channel.socket, []
            sock.setblocking(True)

            def read():
                result.append(sock.recv(99))

            thread = threading.Thread(target=read)
            thread.start()
            thread.join(kit.PATIENCE)
            return first, result

        for seen, _, _ in self.run_handler(script):
            self.assertEqual(seen, [(b"01", [b"23456789"])])

    @kit.each_poller
    def test_handed_to_a_process(self):
        """As inetd does it."""
        def script(channel):
            channel.recv(2)
            channel.del_channel()
            channel.socket.setblocking(True)
            program = "import os; os.write(1, os.read(0, 99).swapcase())"
            return subprocess.check_output(
                [sys.executable, "-c", program], stdin=channel.socket
            )

        for seen, _, _ in self.run_handler(script, b"abcdef"):
            self.assertEqual(seen, [b"CDEF"])

    @kit.each_poller
    def test_handed_to_another_channel(self):
        def script(channel):
            first = channel.recv(2)
            channel.del_channel()
            heir = kit.Reader(channel.socket)
            heir.handle_read()
            return first, heir.data

        for seen, _, _ in self.run_handler(script):
            self.assertEqual(seen, [(b"01", b"23456789")])

    @kit.each_poller
    def test_chat_and_its_socket(self):
        """A chat reads as much as it says, and not a byte more."""
        for family in self.families:
            near, far = self.pair(family)
            chat = asynchat.async_chat(near)
            chat.ac_in_buffer_size = 6
            chat.collect_incoming_data = lambda data: None
            chat.set_terminator(b"\n")
            body = []
            chat.found_terminator = lambda: body.append(near.recv(99))
            far.send(b"head5\n" + b"body")
            kit.settle(near)
            self.step()
            self.assertEqual(body, [b"body"])


class BulkTest(kit.TestCase):
    """Much has come in, of which a handler gets a piece at a time."""

    SIZE = 8192
    kept = collections.deque(maxlen=3)
    DATA = b"".join(b"%07d\n" % i for i in range(12_000))

    def bulk(self, kind=Scripted, data=DATA, map=None):
        """A channel that has learnt that more comes than it asks for, for
        which the data is there; the socket is nobody else's."""
        near, far = kit.tcp_pair()
        self.addCleanup(far.close)
        channel = kind(near, map)
        del near
        for waiting in [b"w" * 3 * self.SIZE] * 3 + [data]:
            channel.script = lambda channel: channel.recv(self.SIZE)
            if waiting is data:
                channel.data = []
                channel.script = self.read
            far.sendall(waiting)
            self.wait_for(channel, len(waiting))
            if waiting is not data:
                self.drain(channel)
        return channel, far

    def read(self, channel):
        data = channel.recv(self.SIZE)
        channel.data.append(data)
        return data

    @staticmethod
    def wait_for(channel, size):
        """Until so much is there at once."""
        count = array.array("i", [0])
        deadline = time.monotonic() + kit.PATIENCE
        while count[0] < size and time.monotonic() < deadline:
            fcntl.ioctl(channel._fileno, termios.FIONREAD, count)

    def drain(self, channel):
        """Passes until nothing is there."""
        while select.select([channel._fileno], [], [], 0)[0]:
            self.step(map=channel._map)

    def check(self, channel, data=DATA):
        """It has got each byte once, in order."""
        self.drain(channel)
        self.assertTrue(b"".join(channel.data) == data)

    # ---- whatever a handler does in the middle ----

    def in_the_middle(self, action, kind=Scripted):
        """The action is done once the third piece has come."""
        channel, far = self.bulk(kind)

        def script(channel):
            self.read(channel)
            if len(channel.data) == 3:
                action(channel)

        channel.script = script
        return channel, far

    @kit.ours_only
    @kit.each_poller
    def test_one_pass(self):
        """All that is there, in one pass: the other tests of this class
        do test reading ahead."""
        channel, _ = self.bulk()
        self.step()
        self.assertEqual(len(channel.data), -(-len(self.DATA) // self.SIZE))

    @kit.each_poller
    def test_event_of_its_own(self):
        channel, _ = self.in_the_middle(asyncore.read)
        self.check(channel)

    @kit.each_poller
    def test_nested_loop(self):
        channel, _ = self.in_the_middle(lambda channel: self.step())
        self.check(channel)

    @kit.each_poller
    def test_nested_loop_of_another(self):
        """Which has much to read as well."""
        other, _ = self.bulk(map={})
        self.addCleanup(other.close)
        channel, _ = self.in_the_middle(lambda channel: self.drain(other))
        self.check(channel)
        self.check(other)

    @kit.each_poller
    def test_another_thread_reads(self):
        def action(channel):
            thread = threading.Thread(target=self.read, args=(channel,))
            thread.start()
            thread.join(kit.PATIENCE)

        channel, _ = self.in_the_middle(action)
        self.check(channel)

    @kit.each_poller
    def test_another_thread_delivers(self):
        """An event that begins later and ends later."""
        inside, over = threading.Event(), threading.Event()

        def wait(channel):
            self.read(channel)
            inside.set()
            over.wait(kit.PATIENCE)

        def action(channel):
            channel.script = wait
            thread.start()
            inside.wait(kit.PATIENCE)
            channel.script = self.read

        channel, _ = self.in_the_middle(action)
        thread = threading.Thread(target=asyncore.read, args=(channel,))
        self.until(inside.is_set)
        over.set()
        thread.join(kit.PATIENCE)
        self.check(channel)

    @kit.each_poller
    def test_threads(self):
        """Each has a map of its own, and all read at once."""
        interval = sys.getswitchinterval()
        self.addCleanup(sys.setswitchinterval, interval)
        sys.setswitchinterval(1e-6)
        blocks = [self.DATA[i:] for i in range(6)]
        channels = [self.bulk(data=block, map={})[0] for block in blocks]
        for channel in channels:
            self.addCleanup(channel.close)
        threads = [
            threading.Thread(target=self.drain, args=(channel,))
            for channel in channels
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(kit.PATIENCE)
        for channel, block in zip(channels, blocks):
            self.check(channel, block)

    @kit.each_poller
    def test_exception(self):
        class Odd(Exception):
            pass

        def action(channel):
            raise Odd

        channel, _ = self.in_the_middle(action)
        with self.assertRaises(Odd):
            self.drain(channel)
        self.assertEqual(len(channel.data), 3)
        self.check(channel)

    @kit.each_poller
    def test_close(self):
        channel, far = self.in_the_middle(lambda channel: channel.close())
        for _ in range(5):
            self.step()
        got = b"".join(channel.data)
        self.assertEqual(got, self.DATA[:3 * self.SIZE])

    @kit.each_poller
    def test_leaves_the_map(self):
        channel, _ = self.in_the_middle(lambda c: c.del_channel())
        for _ in range(5):
            self.step()
        self.assertEqual(len(channel.data), 3)
        channel.set_socket(channel.socket)
        self.check(channel)

    @kit.each_poller
    def test_fork(self):
        """The child reads the rest, after the parent's three pieces."""
        def action(channel):
            pid = os.fork()
            if pid == 0:
                same = False
                try:
                    rest = self.DATA[3 * self.SIZE:]
                    sock = channel.socket
                    same = sock.recv(len(rest), socket.MSG_PEEK) == rest
                finally:
                    os._exit(0 if same else 1)
            self.assertEqual(os.waitpid(pid, 0)[1], 0)
            channel.close()

        channel, _ = self.in_the_middle(action)
        for _ in range(5):
            self.step()
        self.assertEqual(len(channel.data), 3)

    @kit.each_poller
    def test_chat(self):
        """It takes the beginning itself, and has the rest cut."""
        class Chat(Scripted, asynchat.async_chat):
            ac_in_buffer_size = 4096

            def __init__(self, sock, map):
                asynchat.async_chat.__init__(self, sock, map)
                self.set_terminator(b"\n")

            def collect_incoming_data(self, data):
                self.data.append(data)

            def found_terminator(self):
                self.data.append(b"\n")

        def action(channel):
            asynchat.async_chat.handle_read(channel)

        channel, _ = self.in_the_middle(action, Chat)
        self.check(channel)

    # ---- what it gets ----

    @kit.each_poller
    def test_sizes(self):
        """It asks for more, and for less, than it asked for at first."""
        for sizes in ((1, 8192), (8192, 1, 8191), (5000, 8192, 3),
                      (4096, 65536, 100), (100_000, 9000), (10 ** 6, 7)):
            with self.subTest(sizes=sizes):
                channel, _ = self.bulk()
                ask = itertools.cycle(sizes)

                def script(channel):
                    size = next(ask)
                    data = channel.recv(size)
                    self.assertLessEqual(len(data), size)
                    channel.data.append(data)

                channel.script = script
                self.check(channel)

    @kit.each_poller
    def test_several_at_a_time(self):
        """A handler that asks until there is no more, as far as it
        knows."""
        channel, _ = self.bulk()

        def script(channel):
            while len(self.read(channel)) == self.SIZE:
                pass

        channel.script = script
        self.check(channel)

    @kit.each_poller
    def test_kept(self):
        """What a program keeps stays what it was, with its hash, however
        it is kept; round after round."""
        kept, copies = [], []

        def script(channel):
            data = self.read(channel)
            n = len(copies)
            copies.append(bytearray(data))
            hash(data)
            kept.append([data, memoryview(data), None, {data: n}][n % 4])

        for i in range(6):
            block = self.DATA.translate(bytes(range(i, 256)) + bytes(range(i)))
            channel, _ = self.bulk(data=block)
            channel.script = script
            self.drain(channel)
            self.assertTrue(b"".join(channel.data) == block)
            channel.data = []
        self.assertGreater(len(kept), 6 * len(self.DATA) // self.SIZE)
        for n, (thing, copy) in enumerate(zip(kept, copies)):
            if isinstance(thing, dict):
                self.assertEqual(thing[bytes(copy)], n)
            elif thing is not None:
                self.assertTrue(bytes(thing) == copy)

    @kit.each_poller
    def test_hash(self):
        """Of an object that was another one before."""
        def script(channel):
            data = channel.recv(self.SIZE)
            self.assertEqual(hash(data), hash(bytes(bytearray(data))))
            self.assertEqual(len(data), len(bytearray(data)))

        for i in range(4):
            channel, _ = self.bulk(data=self.DATA[i:])
            channel.script = script
            self.drain(channel)

    # ---- memory ----

    def read_in_pieces(self, size):
        """Each round replaces what the program has kept of the last."""
        channel, _ = self.bulk()

        def script(channel):
            self.kept.append(channel.recv(size))

        channel.script = script
        self.drain(channel)
        channel.close()

    @kit.each_poller
    def test_huge_sizes(self):
        """Who asks for a million gets memory for a million, not for
        many."""
        self.read_in_pieces(10 ** 6)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.read_in_pieces(10 ** 6)
        most = tracemalloc.get_traced_memory()[1]
        self.assertLess(most, 2 * 10 ** 6)

    @kit.each_poller
    def test_level(self):
        """Once as much as is needed is there, nothing more is."""
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        traced = []
        for _ in range(6):
            for _ in range(5):
                self.read_in_pieces(self.SIZE)
            gc.collect()
            traced.append(tracemalloc.get_traced_memory()[0])
        grown = [after - before for before, after in zip(traced, traced[1:])]
        self.assertLess(min(grown), 4096)

    @kit.each_poller
    def test_many_sizes(self):
        """No size has memory of its own that stays."""
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for size in range(4096, 131_072, 4096):
            self.read_in_pieces(size)
        self.assertLess(tracemalloc.get_traced_memory()[0], 2 ** 21)


class EchoTest(kit.TestCase):
    """Much comes in at once, and not all that is sent fits."""

    class Echo(asyncore.dispatcher_with_send):
        size = 8192
        most = least = 0

        def handle_read(self):
            self.send(self.recv(self.size))

        def handle_write(self):
            self.most = max(self.most, len(self.out_buffer))
            self.least = min(self.least, len(self.out_buffer))
            super().handle_write()

    @kit.each_poller
    def test_rest_waits_for_room(self):
        """Of what one event sends together, a part fits, and nothing more
        comes in; when all has gone, nobody asks for room any more."""
        data = b"".join(b"%07d" % i for i in range(20_000))
        near, far = kit.tcp_pair()
        self.addCleanup(far.close)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        channel = self.Echo(near)
        del near
        for part in (data[:30_000], data[30_000:]):
            got = bytearray()
            channel.most, channel.least = 0, len(data)
            far.sendall(part)
            for _ in range(30):
                self.step(timeout=0.001)

            def all_is_back():
                if select.select([far], [], [], 0)[0]:
                    got.extend(far.recv(65536))
                return len(got) >= len(part)

            self.until(all_is_back)
            self.assertTrue(got == part)
        self.assertGreater(channel.most, 0)
        self.step(5)
        self.assertGreater(channel.least, 0)

    @kit.each_poller
    def test_slow_reader(self):
        """Every byte comes back once and in order, however it was cut."""
        data = b"".join(b"%07d" % i for i in range(100_000))
        for size in (1000, 3000, 8192, 65536):
            near, far = kit.tcp_pair()
            self.addCleanup(far.close)
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            far.setblocking(False)
            channel = self.Echo(near)
            del near  # nothing is read ahead where somebody else has it
            channel.size = size
            sent, got = 0, bytearray()
            deadline = time.monotonic() + kit.PATIENCE
            while len(got) < len(data) and time.monotonic() < deadline:
                blocked = False
                while sent < len(data) and not blocked:
                    try:
                        sent += far.send(data[sent:sent + 200_000])
                    except BlockingIOError:
                        blocked = True
                    self.step()
                self.step()
                try:
                    got += far.recv(size // 2)
                except BlockingIOError:
                    pass
            self.assertTrue(got == data)
            self.assertGreater(channel.most, 0)
            self.step(2)
            self.assertEqual(channel.out_buffer, b"")
            channel.close()


class SendingTest(kit.TestCase):
    """What a send has taken is out when it returns."""

    def in_handler(self, script, kind=asynchat.async_chat, family=None):
        """Run the script in a handle_read; before, the channel has sent a
        few times there."""
        near, far = self.pair(family)
        channel = kind(near)
        far.settimeout(kit.PATIENCE)
        result = []

        def handle_read():
            near.recv(99)
            steps[0]()

        def warm():
            push(b"w")

        def last():
            result.append(script(channel, far, push))

        push = getattr(channel, "push", channel.send)
        channel.handle_read = handle_read
        channel.handle_error = self.again
        steps = [warm]
        for _ in range(20):
            far.send(b"go")
            kit.settle(near)
            self.step()
            self.assertEqual(far.recv(9), b"w")
        steps[0] = last
        far.send(b"go")
        kit.settle(near)
        self.step()
        return result[0]

    @staticmethod
    def again():
        raise

    kinds = (asynchat.async_chat, asyncore.dispatcher_with_send)

    @kit.each_poller
    def test_it_is_there(self):
        """The peer has it before the handler ends: somebody may wait for
        the answer there."""
        def script(channel, far, push):
            push(b"request")
            return far.recv(99)

        for kind in self.kinds:
            self.assertEqual(self.in_handler(script, kind), b"request")

    @kit.each_poller
    def test_order_is_kept(self):
        def script(channel, far, push):
            push(b"one,")
            channel.socket.send(b"two,")
            push(b"three,")
            os.write(channel.socket.fileno(), b"four,")
            push(b"five")
            return far.recv(99)

        for kind in self.kinds:
            got = self.in_handler(script, kind)
            self.assertEqual(got, b"one,two,three,four,five")

    @kit.each_poller
    def test_shutdown(self):
        def script(channel, far, push):
            push(b"last")
            channel.socket.shutdown(socket.SHUT_WR)
            return far.recv(9), far.recv(9)

        for kind in self.kinds:
            got = self.in_handler(script, kind)
            self.assertEqual(got, (b"last", b""))

    @kit.each_poller
    def test_close(self):
        def script(channel, far, push):
            push(b"last")
            channel.close()
            return far.recv(9), far.recv(9)

        for kind in self.kinds:
            got = self.in_handler(script, kind)
            self.assertEqual(got, (b"last", b""))

    @kit.each_poller
    def test_error_in_push(self):
        """The end is told inside push, where the peer is gone."""
        def script(channel, far, push):
            far.close()
            calls = []
            channel.handle_close = lambda: calls.append("close")
            push(b"x")
            seen = list(calls)
            channel.close()
            return seen

        for kind in self.kinds:
            self.assertEqual(self.in_handler(script, kind), ["close"])

    @kit.each_poller
    def test_queue_after_push(self):
        """What went out is not in the queue any more."""
        def script(channel, far, push):
            push(b"x")
            if isinstance(channel, asynchat.async_chat):
                return len(channel.producer_fifo)
            return len(channel.out_buffer)

        for kind in self.kinds:
            self.assertEqual(self.in_handler(script, kind), 0)

    @kit.each_poller
    def test_fork(self):
        """The child has nothing left to send a second time."""
        def script(channel, far, push):
            push(b"once")
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
            return far.recv(99)

        for kind in self.kinds:
            self.assertEqual(self.in_handler(script, kind), b"once")

    @kit.each_poller
    def test_exit(self):
        """A handler that ends the process has sent what it pushed."""
        near, far = self.pair()
        pid = os.fork()
        if pid == 0:
            try:
                chat = asynchat.async_chat(near)
                chat.handle_read = lambda: (chat.push(b"bye"), os._exit(0))
                far.send(b"go")
                self.step()
            finally:
                os._exit(1)
        status = os.waitpid(pid, 0)[1]
        self.assertEqual(status, 0)
        near.close()
        self.assertEqual(far.recv(9), b"bye")

    @kit.each_poller
    def test_exception_after_push(self):
        """ExitNow leaves the loop; what was pushed before is out."""
        near, far = self.pair()
        chat = asynchat.async_chat(near)

        def handle_read():
            near.recv(9)
            chat.push(b"bye")
            raise asyncore.ExitNow

        chat.handle_read = handle_read
        far.send(b"go")
        self.assertRaises(asyncore.ExitNow, self.step)
        far.setblocking(False)
        self.assertEqual(far.recv(9), b"bye")

    @kit.each_poller
    def test_push_to_another(self):
        """A handler of one pushes to another, which is closed next."""
        one, far_one = self.pair()
        two, far_two = self.pair()
        first, second = asynchat.async_chat(one), asynchat.async_chat(two)

        def handle_read():
            one.recv(9)
            second.push(b"to two")
            second.close_when_done()
            second.handle_write()

        first.handle_read = handle_read
        far_one.send(b"go")
        self.step()
        self.assertEqual(far_two.recv(9), b"to two")
        self.assertEqual(far_two.recv(9), b"")


if __name__ == "__main__":
    unittest.main()
