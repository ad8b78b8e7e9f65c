# SPDX-License-Identifier: MIT
"""tcp_proxy: what goes in comes out, ends and losses included, and memory
stays flat whoever is slow."""

import contextlib
import random
import select
import signal
import socket
import threading

import harness

MIB = 1 << 20
DATA = random.Random(1).randbytes(MIB)


class Sender:
    """Sends so many MiB, then the end; says when nobody takes any more."""

    def __init__(self, sock, times):
        self.sock = sock
        self.times = times
        self.stuck = threading.Event()
        self.done = False

    def run(self):
        """All of it."""
        data = memoryview(DATA)
        left = self.times * MIB
        self.sock.setblocking(False)
        while left > 0:
            if not select.select([], [self.sock], [], 0.1)[1]:
                self.stuck.set()
                continue
            left -= self.sock.send(data[-left % MIB :])
        self.sock.settimeout(harness.PATIENCE)
        self.sock.shutdown(socket.SHUT_WR)
        self.done = True
        self.stuck.set()

    def wait_until_stuck(self):
        """Do nothing while it has somewhere to send to.  The kernel may have
        room for all of the rest."""
        self.stuck.clear()
        if not self.done and not self.stuck.wait(harness.PATIENCE):
            raise AssertionError("what is not read is taken without end")


def read_slowly(sock, sender):
    """Take what the sender sends, and nothing for a while at every quarter of
    it.  Returns how many bytes came, and whether they were right."""
    buffer = memoryview(bytearray(MIB))
    received, right, pauses = 0, True, 0
    while True:
        if received >= pauses * sender.times * MIB // 4 and pauses < 4:
            sender.wait_until_stuck()
            pauses += 1
        n = sock.recv_into(buffer)
        if n == 0:
            return received, right
        at = received % MIB
        first = min(n, MIB - at)
        right &= bytes(buffer[:first]) == DATA[at : at + first]
        right &= bytes(buffer[first:n]) == DATA[: n - first]
        received += n


class Proxy(harness.TestCase):
    """A proxy in front of a socket of the test's."""

    def setUp(self):
        self.listener = self.enterContext(harness.listener())
        host, port = self.listener.getsockname()
        self.proxy = self.enterContext(
            harness.serve("tcp_proxy", "127.0.0.1:0", f"{host}:{port}")
        )

    def pair(self):
        """Both ends of a connection: the client's, the target's."""
        client = self.enterContext(harness.connect(self.proxy.address))
        return client, self.enterContext(harness.accept(self.listener))

    def test_back_and_forth(self):
        """A conversation."""
        client, target = self.pair()
        for number in range(100):
            client.sendall(b"question %d" % number)
            self.assertEqual(target.recv(100), b"question %d" % number)
            target.sendall(b"answer %d" % number)
            self.assertEqual(client.recv(100), b"answer %d" % number)

    def check_memory(self, sender, receiver, times):
        """So many MiB to a slow reader."""
        before = self.proxy.status("VmRSS")
        sender = Sender(sender, times)
        with harness.Background(sender.run):
            got = read_slowly(receiver, sender)
        self.assertEqual(got, (times * MIB, True))
        peak = self.proxy.status("VmHWM")
        if harness.SANITIZED:
            self.assertLess(peak - before, 16 * MIB)
        else:
            self.assertLess(peak - before, 2 * MIB)
            self.assertLess(peak, 16 * MIB)

    def test_slow_target(self):
        """1 GiB from client to target."""
        client, target = self.pair()
        self.check_memory(client, target, 1024)
        target.sendall(b"thanks")
        target.close()
        self.assertEqual(harness.read_all(client), b"thanks")

    def test_slow_client(self):
        """The other way, less of it."""
        client, target = self.pair()
        self.check_memory(target, client, 128)

    def test_directions_are_independent(self):
        """While one is stuck, the other goes on."""
        for one, other in self.pair(), reversed(self.pair()):
            harness.send_until_stuck(one, DATA, 64 * MIB)
            with harness.Background(other.sendall, 16 * DATA):
                for _ in range(16):
                    got = harness.read_exactly(one, MIB)
                    self.assert_same_bytes(got, DATA)

    def test_stuck_is_idle(self):
        """Waiting costs no processor time."""
        client, _ = self.pair()
        harness.send_until_stuck(client, DATA, 64 * MIB)
        used = self.proxy.cpu_seconds()
        with self.assertRaises(TimeoutError):
            client.settimeout(0.5)
            client.sendall(64 * DATA)
        self.assertLess(self.proxy.cpu_seconds() - used, 0.25)

    def test_half_close(self):
        """An end is passed on, and the other direction goes on."""
        client, target = self.pair()
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(harness.read_all(target), b"question")
        target.sendall(b"answer")
        self.assertEqual(client.recv(100), b"answer")
        target.sendall(b"more")
        target.close()
        self.assertEqual(harness.read_all(client), b"more")

    def test_half_close_of_target(self):
        """The other way round."""
        client, target = self.pair()
        target.sendall(b"greeting")
        target.shutdown(socket.SHUT_WR)
        self.assertEqual(harness.read_all(client), b"greeting")
        client.sendall(b"goodbye")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(harness.read_all(target), b"goodbye")

    def test_end_behind_a_queue(self):
        """An end does not overtake what was sent before it."""
        client, target = self.pair()
        with harness.Background(client.sendall, 8 * DATA):
            received = harness.read_exactly(target, 8 * MIB)
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(target.recv(1), b"")
        self.assert_same_bytes(received, 8 * DATA)
        target.sendall(DATA)
        target.close()
        self.assert_same_bytes(harness.read_all(client), DATA)

    def test_loss(self):
        """A reset is passed on as one: nobody takes a part for the whole."""
        for one, other in self.pair(), reversed(self.pair()):
            one.sendall(b"part")
            self.assertEqual(other.recv(4), b"part")
            harness.reset(one)
            with self.assertRaises(ConnectionResetError):
                other.recv(1)

    def test_refused(self):
        """The client is let go, the proxy lives, and says why."""
        with harness.unused_port() as nobody:
            port = nobody.getsockname()[1]
            with harness.serve(
                "tcp_proxy", "127.0.0.1:0", f"127.0.0.1:{port}"
            ) as proxy:
                for _ in range(3):
                    with harness.connect(proxy.address) as client:
                        with contextlib.suppress(ConnectionResetError):
                            self.assertEqual(client.recv(1), b"")
                self.assertEqual(proxy.stop(), 0)
                said = proxy.stderr.all()
                self.assertEqual(said.count("cannot connect"), 3)
                self.assertIn("refused", said)

    def test_many(self):
        """100 connections at once, an echo behind them."""
        with harness.serve("echo_server", "127.0.0.1", 0) as echo:
            with harness.serve(
                "tcp_proxy", "127.0.0.1:0", f"127.0.0.1:{echo.port}"
            ) as proxy, contextlib.ExitStack() as stack:
                clients = [
                    stack.enter_context(harness.connect(proxy.address))
                    for _ in range(100)
                ]
                pieces = [
                    random.Random(seed).randbytes(50000)
                    for seed in range(100)
                ]
                for client, piece in zip(clients, pieces):
                    client.sendall(piece)
                    client.shutdown(socket.SHUT_WR)
                for client, piece in zip(clients, pieces):
                    self.assert_same_bytes(harness.read_all(client), piece)
                self.assertEqual(proxy.stop(), 0)
                self.assertEqual(echo.stop(), 0)

    def test_come_and_go(self):
        """Connections that end leave nothing behind."""
        def descriptors():
            return len(harness.descriptors(self.proxy.pid))

        before = descriptors()
        for number in range(50):
            client, target = self.pair()
            client.sendall(b"x")
            self.assertEqual(target.recv(1), b"x")
            if number % 3 == 0:
                harness.reset(client)
            client.close()
            target.close()
        harness.wait_for(lambda: descriptors() == before)

    def test_signals(self):
        """In order, open connections or not."""
        client, target = self.pair()
        self.assertEqual(self.proxy.stop(signal.SIGINT), 0)
        for sock in client, target:
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(sock.recv(1), b"")
        with harness.serve(
            "tcp_proxy", "127.0.0.1:0", "127.0.0.1:1"
        ) as another:
            self.assertEqual(another.stop(signal.SIGTERM), 0)
            self.assertEqual(another.stderr.all(), "")

    def test_ipv6(self):
        """[::1]:PORT on both sides."""
        if not harness.has_ipv6():
            self.skipTest("no IPv6 here")
        with harness.serve("echo_server", "::1", 0) as echo:
            with harness.serve(
                "tcp_proxy", "[::1]:0", f"[::1]:{echo.port}"
            ) as proxy, harness.connect(proxy.address) as client:
                client.sendall(b"six")
                self.assertEqual(client.recv(3), b"six")


if __name__ == "__main__":
    harness.main()
