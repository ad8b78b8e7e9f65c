# SPDX-License-Identifier: MIT
"""What happens on a socket, and which handlers are called for it.

Where ours is allowed to be better than the original, both answers stand
side by side.
"""

import contextlib
import errno
import gc
import io
import os
import resource
import select
import socket
import unittest.mock

import kit
from kit import asyncore


class ScenarioTest(kit.TestCase):
    def channel(self, sock, kind=kit.Channel, **methods):
        channel = kind(sock)
        for name, method in methods.items():
            setattr(channel, name, method)
        return channel

    def by_poller(self, with_select, with_poll):
        return with_poll if self.use_poll else with_select

    # ---- reading and writing

    @kit.each_poller
    def test_quiet(self):
        near, _ = self.pair()
        channel = self.channel(near)
        self.step(2)
        self.assertEqual(channel.taken(), ["write", "write"])
        channel.writable = lambda: False
        self.step(2)
        self.assertEqual(channel.taken(), [])

    @kit.each_poller
    def test_data_that_is_not_read(self):
        """Events are repeated until they are dealt with."""
        near, far = self.pair()
        channel = self.channel(near)
        far.send(b"x")
        self.step(3)
        self.assertEqual(channel.taken(), ["read", "write"] * 3)

    @kit.each_poller
    def test_full(self):
        near, far = self.pair()
        channel = self.channel(near)
        kit.fill(near)
        self.step()
        self.assertEqual(channel.taken(), [])
        far.recv(1 << 20)
        kit.settle(near, select.POLLOUT)
        self.step()
        self.assertEqual(channel.taken(), ["write"])

    @kit.each_poller
    def test_all_kinds_at_once(self):
        near, far = self.pair("tcp")
        channel = self.channel(near)
        far.send(b"x")
        far.send(b"!", socket.MSG_OOB)
        kit.settle(near, select.POLLPRI)
        kit.settle(near)
        self.step()
        self.assertEqual(channel.taken(), ["read", "write", "expt"])

    @kit.each_poller
    def test_sweeps(self):
        """Select: all reads, then all writes, all exceptions; poll: one
        channel after the other."""
        order = []

        class Named(kit.Channel):
            def handle_read(self):
                order.append(self.name + "r")

            def handle_write(self):
                order.append(self.name + "w")

            def handle_expt(self):
                order.append(self.name + "x")

        for name in "ab":
            near, far = self.pair("tcp")
            channel = Named(near)
            channel.name = name
            far.send(b"x")
            far.send(b"!", socket.MSG_OOB)
            kit.settle(near, select.POLLPRI)
            kit.settle(near)
        self.step()
        self.assertEqual(
            order,
            self.by_poller(
                ["ar", "br", "aw", "bw", "ax", "bx"],
                ["ar", "aw", "ax", "br", "bw", "bx"],
            ),
        )

    # ---- the end

    @kit.each_poller
    def test_end_of_tcp(self):
        near, far = self.pair("tcp")
        channel = self.channel(near, kit.Reader)
        far.close()
        kit.settle(near)
        self.step(3)
        self.assertEqual(channel.taken(), ["read", "close"])

    @kit.each_poller
    def test_end_of_unix(self):
        """The original's poll tells the end twice."""
        near, far = self.pair()
        channel = self.channel(near, kit.Reader)
        far.close()
        self.step(3)
        calls = channel.taken()
        once, twice = ["read", "close"], ["read", "close", "close"]
        if kit.OURS:
            self.assertIn(calls, (once, self.by_poller(once, twice)))
        else:
            self.assertEqual(calls, self.by_poller(once, twice))

    @kit.each_poller
    def test_end_that_is_not_closed(self):
        """Told every pass, as long as the channel stays."""
        near, far = self.pair("tcp")
        channel = self.channel(near, kit.Reader)
        channel.handle_close = lambda: channel.calls.append("close")
        far.shutdown(socket.SHUT_WR)
        kit.settle(near)
        self.step(3)
        self.assertEqual(channel.taken(), ["read", "close"] * 3)

    @kit.each_poller
    def test_hang_up_with_unread_data(self):
        """The original's poll loses what was not read at once."""

        class Slow(kit.Reader):
            def handle_read(self):
                self.calls.append("read")
                self.data += self.recv(10)

        near, far = self.pair()
        channel = self.channel(near, Slow)
        far.send(b"x" * 25)
        far.close()
        self.step(5)
        size = len(channel.data)
        if kit.OURS:
            self.assertIn(size, (25, self.by_poller(25, 10)))
        else:
            self.assertEqual(size, self.by_poller(25, 10))
        self.assertEqual(asyncore.socket_map, {})

    @kit.each_poller
    def test_half_closed(self):
        """What the peer shut down for writing it can still read."""
        near, far = self.pair("tcp")
        channel = self.channel(near)
        channel.readable = lambda: False
        far.shutdown(socket.SHUT_WR)
        kit.settle(near)
        self.step()
        self.assertEqual(channel.taken(), ["write"])
        self.assertEqual(channel.send(b"x"), 1)
        self.assertEqual(far.recv(9), b"x")

    @kit.each_poller
    def test_peer_gone_and_only_writable(self):
        near, far = self.pair()
        channel = self.channel(near)
        channel.readable = lambda: False
        far.close()
        self.step()
        calls = channel.taken()
        want = self.by_poller(["write"], ["write", "close"])
        self.assertEqual(calls, want)

    @kit.each_poller
    def test_reset(self):
        near, far = self.pair("tcp")
        channel = self.channel(near, kit.Reader)
        kit.reset(far)
        kit.settle(near)
        self.step(3)
        calls = channel.taken()
        self.assertEqual(calls[:2], ["read", "close"])
        self.assertLessEqual(calls.count("close"), 2)

    @kit.each_poller
    def test_reset_that_is_not_read(self):
        """With select, nothing tells but reading."""
        near, far = self.pair("tcp")
        channel = self.channel(near)
        kit.reset(far)
        kit.settle(near)
        self.step(2)
        calls = channel.taken()
        closed = ["read", "write", "close"]
        if self.use_poll:
            self.assertEqual(calls, closed)
        elif kit.OURS:
            self.assertIn(calls, (closed, ["read", "write"] * 2))
        else:
            self.assertEqual(calls, ["read", "write"] * 2)

    @kit.each_poller
    def test_send_to_nobody(self):
        near, far = self.pair()
        channel = self.channel(near)
        channel.readable = lambda: False
        channel.handle_write = lambda: channel.send(b"x")
        far.close()
        self.step(2)
        calls = channel.taken()
        self.assertIn("close", calls)
        self.assertEqual(asyncore.socket_map, {})

    @kit.each_poller
    def test_empty_datagram(self):
        """It reads as the end does."""
        near, far = socket.socketpair(type=socket.SOCK_DGRAM)
        self.addCleanup(far.close)
        channel = self.channel(near, kit.Reader)
        far.send(b"")
        self.step()
        self.assertEqual(channel.taken()[:2], ["read", "close"])

    # ---- channels that close each other, and come anew

    @kit.each_poller
    def test_closed_by_another(self):
        channels = []

        class Killer(kit.Channel):
            def handle_read(self):
                super().handle_read()
                for channel in channels:
                    if channel is not self:
                        channel.close()

        for _ in range(3):
            near, far = self.pair()
            far.send(b"x")
            channels.append(Killer(near))
            channels[-1].writable = lambda: False
        self.step()
        self.assertEqual(
            [channel.taken() for channel in channels], [["read"], [], []]
        )

    @kit.each_poller
    def test_closes_itself(self):
        """With the original's poll, the rest of its events come still."""
        near, far = self.pair()
        channel = self.channel(near)
        far.send(b"x")

        def read():
            channel.calls.append("read")
            channel.close()

        channel.handle_read = read
        self.step()
        short, long = ["read"], self.by_poller(["read"], ["read", "write"])
        calls = channel.taken()
        self.assertIn(calls, (short, long) if kit.OURS else (long,))

    @kit.each_poller
    def test_number_used_again(self):
        """A closes B, and C gets B's number: the original delivers B's
        event to C."""
        heirs = []

        class First(kit.Channel):
            def handle_read(self):
                super().handle_read()
                number = second._fileno
                second.close()
                os.dup2(quiet.fileno(), number)
                heirs.append(kit.Channel(socket.socket(fileno=number)))
                heirs[0].writable = lambda: False

        quiet, _ = self.pair()
        near, far = self.pair()
        first = First(near)
        first.writable = lambda: False
        far.send(b"x")
        near, far2 = self.pair()
        second = kit.Channel(near)
        far2.send(b"x")
        self.step()
        calls = heirs.pop().taken()
        self.assertNotIn("read", second.taken())
        if kit.OURS:
            self.assertEqual(calls, [])
        else:
            self.assertIn("read", calls)

    @kit.each_poller
    def test_born_in_a_pass(self):
        """It is first served in the next."""
        born = []

        class Parent(kit.Channel):
            def handle_read(self):
                super().handle_read()
                if not born:
                    near, far = test.pair()
                    far.send(b"x")
                    born.append(kit.Channel(near))

        test = self
        near, far = self.pair()
        self.channel(near, Parent).writable = lambda: False
        far.send(b"x")
        self.step()
        self.assertEqual(born[0].taken(), [])
        self.step()
        self.assertEqual(born[0].taken(), ["read", "write"])

    @kit.each_poller
    def test_born_while_asking(self):
        near, far = self.pair()
        other, far2 = self.pair()
        far2.send(b"x")
        born = []

        class Asks(kit.Channel):
            def readable(self):
                if not born:
                    born.append(kit.Channel(other))
                return True

        self.channel(near, Asks)
        self.step()
        self.assertEqual(born[0].taken(), [])
        self.step()
        self.assertEqual(born[0].taken(), ["read", "write"])

    @kit.each_poller
    def test_removed_while_asking(self):
        """What is not in the map any more gets no event."""
        near, far = self.pair()
        other, far2 = self.pair()
        far.send(b"x")
        far2.send(b"x")
        first = self.channel(near)
        second = self.channel(other)

        def writable():
            asyncore.socket_map.pop(near.fileno(), None)
            return False

        second.writable = writable
        self.step()
        self.assertEqual(first.taken(), [])
        self.assertEqual(second.taken(), ["read"])

    @kit.each_poller
    def test_replaced_in_the_map(self):
        """The channel of the snapshot is not the one of the map: the
        original serves the new one."""
        near, far = self.pair()
        other, far2 = self.pair()
        far.send(b"x")
        far2.send(b"x")
        first, second = self.channel(near), self.channel(other)
        second.writable = first.writable = lambda: False
        third = kit.Channel()
        third.writable = lambda: False

        def read():
            first.calls.append("read")
            asyncore.socket_map[other.fileno()] = third

        first.handle_read = read
        self.step()
        self.assertEqual(first.taken(), ["read"])
        self.assertEqual(second.taken(), [])
        calls = third.taken()
        self.assertIn(calls, ([], ["read"]) if kit.OURS else (["read"],))
        self.step()
        self.assertEqual(third.taken(), ["read"])

    @kit.each_poller
    def test_close_in_handle_connect(self):
        """The original has a closed channel that is connected."""
        listener, address = self.listen()

        class Shy(kit.Channel):
            def handle_connect(self):
                super().handle_connect()
                self.close()

        channel = Shy()
        channel.create_socket()
        channel.connect(address)
        kit.settle(channel.socket, select.POLLOUT)
        self.step(2)
        calls = channel.taken()
        old = ["connect", "write"]
        self.assertIn(calls, (["connect"], old) if kit.OURS else (old,))
        self.assertEqual(asyncore.socket_map, {})
        if not kit.OURS:
            self.assertTrue(channel.connected)
        elif calls == ["connect"]:
            self.assertFalse(channel.connected)

    # ---- errors

    @kit.each_poller
    def test_ordinary_error(self):
        near, far = self.pair()
        far.send(b"x")

        def fail():
            raise KeyError

        channel = self.channel(near, handle_read=fail)
        self.step(2)
        calls = channel.taken()
        self.assertEqual(calls[:2], ["error KeyError", "close"])

    @kit.each_poller
    def test_disconnected_by_the_user(self):
        """The same errno, raised by the program: an error for select."""
        near, far = self.pair()
        far.send(b"x")

        def fail():
            raise OSError(errno.EPIPE, "mine")

        channel = self.channel(near, handle_read=fail)
        self.step(2)
        self.assertEqual(
            channel.taken(),
            self.by_poller(["error BrokenPipeError", "close"], ["close"]),
        )

    @kit.each_poller
    def test_would_block_in_a_handler(self):
        """An uncaught one is an error as any other."""
        near, _ = self.pair()
        channel = self.channel(near)
        channel.handle_write = lambda: channel.recv(1)
        self.step()
        self.assertEqual(channel.taken(), ["error BlockingIOError", "close"])

    @kit.each_poller
    def test_no_descriptor_for_a_connection(self):
        """The original closes the listener; ours may hold on."""
        listener, address = self.listen()

        class Listener(kit.Channel):
            pass

        channel = Listener(listener)
        channel.accepting = True
        client = socket.create_connection(address)
        self.addCleanup(client.close)
        kit.settle(listener)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
        keep = []
        gc.collect()
        try:
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (highest + 4, limits[1])
            )
            while True:
                try:
                    keep.append(os.dup(client.fileno()))
                except OSError:
                    break
            self.step()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for fd in keep:
                os.close(fd)
        calls = channel.taken()
        if not kit.OURS:
            self.assertEqual(calls, ["error OSError", "close"])
        elif calls not in (["accepted"], ["error OSError", "close"]):
            self.assertEqual(calls, [])
            self.until(lambda: "accepted" in channel.calls)

    def test_resting(self):
        """A listener for which there is no descriptor is not asked for a
        while, whoever asks; then it is what it was."""
        if not kit.OURS:
            self.skipTest("the original closes it")
        for own in (None, lambda: 5):
            channel = asyncore.dispatcher(map={})
            channel.accepting = True
            channel.socket = unittest.mock.Mock()
            channel.socket.accept.side_effect = OSError(errno.EMFILE, "none")
            if own:
                channel.readable = own
            with contextlib.redirect_stdout(io.StringIO()) as out:
                asyncore.read(channel)
            self.assertIn("error: [Errno %d] none" % errno.EMFILE,
                          out.getvalue())
            self.assertTrue(channel.accepting)
            self.assertFalse(channel.readable())
            asyncore.read(channel)  # whoever comes all the same
            self.assertFalse(channel.readable())
            channel.readable.until = 0
            self.assertEqual(channel.readable(), own() if own else True)
            self.assertIs(vars(channel).get("readable"), own)

    @kit.each_poller
    def test_refused_and_reset_together(self):
        """A client in flight whose peer is gone before it is served."""
        listener, address = self.listen()
        channel = kit.Reader()
        channel.create_socket()
        channel.connect(address)
        conn, _ = listener.accept()
        kit.reset(conn)
        kit.settle(channel.socket, select.POLLHUP)
        self.step(2)
        calls = channel.taken()
        self.assertIn("close", calls)
        self.assertNotIn("connect", calls)
        self.assertEqual(asyncore.socket_map, {})

    # ---- limits

    @kit.each_poller
    def test_high_descriptors(self):
        """The original's select ends at 1024."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < 1200:
            if hard != resource.RLIM_INFINITY and hard < 1200:
                self.skipTest("not so many descriptors are allowed")
            resource.setrlimit(resource.RLIMIT_NOFILE, (1200, hard))
            self.addCleanup(
                resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard)
            )
        near, far = self.pair()
        os.dup2(near.fileno(), 1100)
        channel = kit.Reader(socket.socket(fileno=1100))
        far.send(b"x")
        if kit.OURS or self.use_poll:
            self.step()
            self.assertEqual(channel.data, b"x")
        else:
            self.assertRaises(ValueError, self.step)

    @kit.each_poller
    def test_many_at_once(self):
        """All that are ready are served in one pass."""
        count = 400
        channels, fars = [], []
        for _ in range(count):
            near, far = socket.socketpair()
            fars.append(far)
            channels.append(kit.Reader(near))
            far.send(b"x")
        self.step()
        self.assertEqual([c.data for c in channels], [b"x"] * count)
        for far in fars:
            far.close()
        self.step()
        self.assertEqual(asyncore.socket_map, {})


if __name__ == "__main__":
    kit.main()
