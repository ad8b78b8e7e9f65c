# SPDX-License-Identifier: MIT
"""echo_server: everything comes back, to everybody, in order."""

import contextlib
import os
import random
import resource
import selectors
import signal
import socket
import subprocess
import unittest

import harness


def exchange(address, data, receive_buffer=None):
    """Send data while reading what comes back, end our side, read the rest.
    Returns what came back."""
    with harness.connect(address, receive_buffer) as sock:
        with harness.Background(send, sock, data):
            return harness.read_all(sock)


def send(sock, data):
    """All of it, and then the end."""
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def limit_descriptors(count):
    """For this process, and those it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


class Client:
    """One of many: sends its data in pieces of any size, reads likewise."""

    def __init__(self, address, seed):
        self.random = random.Random(seed)
        self.data = self.random.randbytes(self.random.randrange(1, 100000))
        self.sent = 0
        self.back = bytearray()
        self.sock = harness.connect(address)
        self.sock.setblocking(False)

    def write(self):
        """Returns whether there is more to write."""
        size = self.random.choice((1, 2, 100, 4096, 8192, 8193, 60000))
        self.sent += self.sock.send(self.data[self.sent : self.sent + size])
        if self.sent < len(self.data):
            return True
        self.sock.shutdown(socket.SHUT_WR)
        return False

    def read(self):
        """Returns whether there is more to read."""
        data = self.sock.recv(self.random.choice((1, 100, 8192, 65536)))
        self.back += data
        return bool(data)


class EchoServer(harness.TestCase):
    """One server for each test."""

    def setUp(self):
        self.server = self.enterContext(
            harness.serve("echo_server", "127.0.0.1", 0)
        )

    def test_documentation(self):
        """The line it prints for a connection is the documentation's."""
        with harness.connect(self.server.address) as sock:
            sock.sendall(b"hello")
            self.assertEqual(sock.recv(100), b"hello")
            host, port = sock.getsockname()
            self.server.stderr.search(
                f"incoming connection from {host}:{port}"
            )

    def test_many_connections(self):
        """100 at once, chunks of all sizes."""
        clients = [Client(self.server.address, seed) for seed in range(100)]
        both = selectors.EVENT_READ | selectors.EVENT_WRITE
        with selectors.DefaultSelector() as selector:
            for client in clients:
                selector.register(client.sock, both, client)
            while selector.get_map():
                ready = selector.select(harness.PATIENCE)
                self.assertTrue(ready, "the server has stopped answering")
                for key, events in ready:
                    self.serve_client(selector, key, events)
        for client in clients:
            self.assert_same_bytes(client.back, client.data)

    def serve_client(self, selector, key, events):
        """Let a client do one write and one read."""
        client = key.data
        if events & selectors.EVENT_WRITE and not client.write():
            selector.modify(client.sock, selectors.EVENT_READ, client)
        if events & selectors.EVENT_READ and not client.read():
            selector.unregister(client.sock)
            client.sock.close()

    def test_slow_reader(self):
        """More than the kernel keeps for somebody who doesn't read: it is
        kept by the server, which still has it when it sees his end."""
        data = random.Random(1).randbytes(64 << 20)
        with harness.connect(self.server.address, 4096) as sock:
            near = sock.getsockname()[1]
            sent = 1 << 18
            sock.sendall(data[:sent])
            harness.wait_for(lambda: self.is_done_with(near))
            while sent <= sum(self.kept_by_kernel(near)):
                sock.sendall(data[sent : sent + 32768])
                sent += 32768
                harness.wait_for(lambda: self.is_done_with(near))
            sock.shutdown(socket.SHUT_WR)
            back = harness.read_all(sock)
        self.assert_same_bytes(back, data[:sent])

    def is_done_with(self, port):
        """Has all we sent come to the server, has it been read, does the
        server wait for more?"""
        on_its_way = harness.kernel_queues(port, self.server.port)[0]
        unread = harness.kernel_queues(self.server.port, port)[1]
        return on_its_way == unread == 0 and self.server.is_asleep()

    def kept_by_kernel(self, port):
        """Bytes on their way back: not yet acknowledged, not yet read."""
        yield harness.kernel_queues(self.server.port, port)[0]
        yield harness.kernel_queues(port, self.server.port)[1]

    def test_bounded_memory(self):
        """Who never reads is not read from, either."""
        before = self.server.status("VmRSS")
        with harness.connect(self.server.address, 4096) as sock:
            harness.send_until_stuck(sock, bytes(65536), 64 << 20)
            grown = self.server.status("VmRSS") - before
            self.assertLess(grown, 4 << 20)
            # … and nobody else has to wait for him.
            self.assertEqual(exchange(self.server.address, b"you"), b"you")
            used = self.server.cpu_seconds()
            with self.assertRaises(TimeoutError):
                sock.settimeout(0.5)
                sock.sendall(bytes(1 << 20))
            self.assertLess(self.server.cpu_seconds() - used, 0.25)

    def test_end_after_everything(self):
        """1 MiB comes back, though we end our side before we read."""
        data = random.Random(2).randbytes(1 << 20)
        with harness.connect(self.server.address) as sock:
            send(sock, data)
            self.assert_same_bytes(harness.read_all(sock), data)

    def test_resets(self):
        """A lost connection is nobody else's business."""
        for _ in range(20):
            sock = harness.connect(self.server.address)
            sock.sendall(bytes(100000))
            harness.reset(sock)
        self.assertEqual(exchange(self.server.address, b"still"), b"still")
        self.assertEqual(self.server.stop(), 0)
        self.assertNotIn("uncaptured", self.server.stderr.all())

    def test_signals(self):
        """Both end it in order, open connections or not."""
        with harness.connect(self.server.address) as sock:
            sock.sendall(b"x")
            self.assertEqual(sock.recv(1), b"x")
            self.assertEqual(self.server.stop(signal.SIGINT), 0)
            self.assertEqual(sock.recv(1), b"")
        with harness.serve("echo_server", "127.0.0.1", 0) as another:
            self.assertEqual(another.stop(signal.SIGTERM), 0)
            self.assertEqual(another.stderr.all(), "")

    def test_ipv6(self):
        """Its address is written with brackets."""
        if not harness.has_ipv6():
            self.skipTest("no IPv6 here")
        with harness.serve("echo_server", "::1", 0) as server:
            self.assertIn("listening on [::1]:", server.stdout.text)
            self.assertEqual(exchange(server.address, b"six"), b"six")

    def test_without_standard_descriptors(self):
        """A socket must not become number 0, 1 or 2."""
        command = harness.program("echo_server", "127.0.0.1", 0)
        with harness.Server(
            "sh", "-c", 'exec "$@" <&-', "sh", *command
        ) as server:
            target = os.readlink(f"/proc/{server.pid}/fd/0")
            self.assertEqual(target, "/dev/null")
            self.assertEqual(exchange(server.address, b"x"), b"x")

    def test_out_of_descriptors(self):
        """Who comes too late is turned away, and the server goes on; it does
        not burn the processor over those that still wait."""
        with harness.serve(
            "echo_server", "127.0.0.1", 0,
            preexec_fn=lambda: limit_descriptors(20),
        ) as server, contextlib.ExitStack() as stack:
            socks = [
                stack.enter_context(harness.connect(server.address))
                for _ in range(40)
            ]
            server.stderr.search("error: .*EMFILE")
            used = server.cpu_seconds()
            with self.assertRaises(TimeoutError):
                socks[0].settimeout(0.5)
                socks[0].recv(1)
            self.assertLess(server.cpu_seconds() - used, 0.25)
            stack.close()
            for _ in range(40):
                self.assertEqual(exchange(server.address, b"x"), b"x")
            self.assertEqual(server.stop(), 0)

    def test_more_than_select_serves(self):
        """1100 connections: select turns those away that are beyond it, and
        says so; the others are served on each backend."""
        try:
            limit_descriptors(2500)
        except (OSError, ValueError):
            self.skipTest("no more descriptors here")
        with harness.serve(
            "echo_server", "127.0.0.1", 0
        ) as server, contextlib.ExitStack() as stack:
            socks = [
                stack.enter_context(harness.connect(server.address))
                for _ in range(1100)
            ]
            server.stderr.search(f":{socks[-1].getsockname()[1]}\\b")
            served = [self.is_served(sock) for sock in socks]
            for sock in socks:  # or a thousand ports would rest for a minute
                harness.reset(sock)
            selecting = os.environ.get("ASYNCORE_BACKEND") == "select"
            self.assertTrue(all(served[:1000]))
            self.assertEqual(all(served), not selecting)
            self.assertEqual(server.stop(), 0)

    @staticmethod
    def is_served(sock):
        """Does it echo?"""
        try:
            sock.sendall(b"x")
            return sock.recv(1) == b"x"
        except ConnectionError:
            return False

    def echo_of(self, *command):
        """What a program of others gets back for 1 MiB."""
        data = random.Random(3).randbytes(1 << 20)
        result = subprocess.run(
            command, input=data, capture_output=True, check=False,
            timeout=harness.PATIENCE,
        )
        self.assert_same_bytes(result.stdout, data)
        self.assertEqual(result.returncode, 0)

    @unittest.skipUnless(harness.find("nc"), "nc is not installed")
    def test_nc(self):
        """The system's netcat."""
        self.echo_of("nc", "-N", self.server.host, str(self.server.port))

    @unittest.skipUnless(harness.find("socat"), "socat is not installed")
    def test_socat(self):
        """… and socat."""
        self.echo_of(
            "socat", "-t60", "-",
            f"TCP:{self.server.host}:{self.server.port}",
        )


if __name__ == "__main__":
    harness.main()
