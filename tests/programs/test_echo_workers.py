# SPDX-License-Identifier: MIT
"""echo_workers: an echo server on several threads, and how it stops."""

import os
import random
import re
import signal
import socket
import subprocess
import threading
import unittest

import harness

WORKERS = 3


class Client:
    """Sends one half of its data, and the other when it is told to."""

    def __init__(self, address, seed):
        self.data = random.Random(seed).randbytes(1 << 20)
        self.sock = harness.connect(address)
        self.go_on = threading.Event()
        self.writer = threading.Thread(target=self.write, daemon=True)
        self.writer.start()

    def write(self):
        """More than the kernel keeps: the server is in the middle of it."""
        half = len(self.data) // 2
        self.sock.sendall(self.data[:half])
        self.go_on.wait(harness.PATIENCE)
        self.sock.sendall(self.data[half:])
        self.sock.shutdown(socket.SHUT_WR)

    def finish(self):
        """Returns what came back."""
        self.go_on.set()
        with self.sock:
            back = harness.read_all(self.sock)
        self.writer.join(harness.PATIENCE)
        return back


def is_refused(address):
    """Does nobody listen there any more?"""
    try:
        socket.create_connection(address, harness.PATIENCE).close()
    except ConnectionError:
        return True
    return False


class EchoWorkers(harness.TestCase):
    """One server for each test."""

    def setUp(self):
        self.server = self.enterContext(
            harness.serve("echo_workers", "-w", WORKERS, "127.0.0.1", 0)
        )

    def test_many_connections(self):
        """All are served, and by all workers."""
        socks = [harness.connect(self.server.address) for _ in range(100)]
        for number, sock in enumerate(socks):
            sock.sendall(b"%d" % number)
        for number, sock in enumerate(socks):
            size = len(str(number))
            self.assertEqual(
                harness.read_exactly(sock, size), b"%d" % number
            )
            sock.close()
        self.assertEqual(self.server.stop(), 0)
        lines = self.server.stderr.all()
        served = re.findall(r"worker (\d+): incoming connection", lines)
        self.assertEqual(len(served), 100)
        self.assertEqual(len(set(served)), WORKERS)

    def test_threads_have_names(self):
        """… which top and gdb show."""
        tasks = f"/proc/{self.server.pid}/task"
        names = set()
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/comm", encoding="ascii") as comm:
                names.add(comm.read().strip())
        self.assertEqual(
            names, {"echo_workers"} | {f"echo/{i}" for i in range(WORKERS)}
        )

    def test_stop_while_busy(self):
        """SIGTERM in the middle of it: not a byte is lost."""
        with harness.serve(
            "echo_workers", "-w", WORKERS, "-t", harness.PATIENCE,
            "127.0.0.1", 0,
        ) as server:
            clients = [Client(server.address, seed) for seed in range(12)]
            for client in clients:
                self.assertTrue(client.sock.recv(1, socket.MSG_PEEK))
            server.popen.send_signal(signal.SIGTERM)
            harness.wait_for(lambda: is_refused(server.address))
            for client in clients:
                self.assert_same_bytes(client.finish(), client.data)
            self.assertEqual(server.wait(), 0)

    def test_second_signal_ends_it_at_once(self):
        """Who is still there is cut off."""
        with harness.connect(self.server.address) as sock:
            sock.sendall(b"x")
            self.assertEqual(sock.recv(1), b"x")
            self.server.popen.send_signal(signal.SIGINT)
            harness.wait_for(lambda: is_refused(self.server.address))
            self.assertIsNone(self.server.popen.poll())
            self.assertEqual(self.server.stop(signal.SIGINT), 0)
            self.assertEqual(sock.recv(1), b"")

    def test_time_to_finish(self):
        """-t says for how long connections may go on."""
        with harness.serve(
            "echo_workers", "-w", 2, "-t", 0.05, "127.0.0.1", 0
        ) as server, harness.connect(server.address) as sock:
            sock.sendall(b"x")
            self.assertEqual(sock.recv(1), b"x")
            self.assertEqual(server.stop(), 0)
            self.assertEqual(sock.recv(1), b"")

    def test_port_of_somebody_else(self):
        """A second one does not get half of the connections."""
        result = harness.run(
            *harness.program("echo_workers", *self.server.address)
        )
        self.assert_fails(result, 1, "Address already in use")

    def serve_again(self):
        """Where the first one was.  What requests of io_uring held is given
        back some milliseconds after the process has gone."""
        for left in reversed(range(100 if harness.IO_URING else 1)):
            try:
                return harness.serve(
                    "echo_workers", "-w", 2, *self.server.address
                )
            except AssertionError:
                if left == 0:
                    raise

    def test_restart(self):
        """Connections of a server that has gone do not keep its port."""
        with harness.connect(self.server.address) as sock:
            sock.sendall(b"x")
            self.assertEqual(sock.recv(1), b"x")
            self.server.popen.kill()
            self.server.wait()
            with self.serve_again() as server, harness.connect(
                server.address
            ) as another:
                another.sendall(b"y")
                self.assertEqual(another.recv(1), b"y")

    def test_unix(self):
        """An abstract socket has one listener, which deals out in turn."""
        name = f"@asyncore-echo-workers-{os.getpid()}"
        with harness.Process(
            *harness.program("echo_workers", "-w", WORKERS, name)
        ) as server:
            server.stdout.search(f"listening on {name}")
            for _ in range(2 * WORKERS):
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect("\0" + name[1:])
                    sock.sendall(b"x")
                    self.assertEqual(sock.recv(1), b"x")
            self.assertEqual(server.stop(), 0)
            served = re.findall(r"worker (\d+):", server.stderr.all())
            self.assertEqual(
                served, [str(i % WORKERS) for i in range(2 * WORKERS)]
            )

    def test_ipv6(self):
        """Its address is written with brackets."""
        if not harness.has_ipv6():
            self.skipTest("no IPv6 here")
        with harness.serve("echo_workers", "-w", 2, "::1", 0) as server:
            with harness.connect(server.address) as sock:
                sock.sendall(b"six")
                self.assertEqual(harness.read_exactly(sock, 3), b"six")

    @unittest.skipUnless(harness.find("socat"), "socat is not installed")
    def test_socat(self):
        """1 MiB for a client of somebody else's."""
        data = random.Random(3).randbytes(1 << 20)
        result = subprocess.run(
            ["socat", "-t60", "-", "TCP:%s:%d" % self.server.address],
            input=data, capture_output=True, check=False,
            timeout=harness.PATIENCE,
        )
        self.assert_same_bytes(result.stdout, data)
        self.assertEqual(result.returncode, 0)


if __name__ == "__main__":
    harness.main()
