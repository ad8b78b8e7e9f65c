# SPDX-License-Identifier: MIT
"""What an echo costs, in system calls: counted, not timed."""

import os
import re
import signal
import sys
import tempfile

import harness

MESSAGE = b"x" * 64


class Traced(harness.Server):
    """echo_server under strace, which stays out of the way as a grandchild:
    the server is our own child, and can be stopped and continued."""

    def __init__(self, trace, backend):
        self.trace = trace
        super().__init__(
            "strace", "-D", "-o", trace,
            *harness.program("echo_server", "127.0.0.1", 0),
            # Leaks can't be looked for under strace.
            env={
                **os.environ,
                "ASYNCORE_BACKEND": backend,
                "ASAN_OPTIONS": "detect_leaks=0",
            },
        )

    def calls(self, first, last):
        """End the server; returns the names of the calls it made from the
        first of one kind to the last of another.  A wait that a signal ended is
        none: it is ours who sent it."""
        assert self.stop() == 0
        harness.wait_for(self.is_complete)
        with open(self.trace, encoding="utf-8") as lines:
            calls = [
                re.match(r"\w+", line)[0]
                for line in lines
                if re.match(r"\w+\(", line) and "EINTR" not in line
            ]
        if last not in calls:
            return []
        return calls[calls.index(first) : len(calls) - calls[::-1].index(last)]

    def is_complete(self):
        """Has strace written its last line?"""
        with open(self.trace, encoding="utf-8") as lines:
            return "+++ exited with 0 +++" in lines.read()

    def is_stopped(self):
        """Has SIGSTOP arrived?"""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as stat:
            return stat.read().rpartition(")")[2].split()[0] in "tT"


class SystemCalls(harness.TestCase):
    """One line of the trace is one call."""

    def start(self, backend):
        root = self.enterContext(tempfile.TemporaryDirectory())
        self.server = self.enterContext(
            Traced(os.path.join(root, "trace"), backend)
        )

    def report(self, echoes, first="recvfrom", last="sendto"):
        """Calls for each echo."""
        calls = self.server.calls(first, last)
        each = len(calls) / echoes
        names = {name: calls.count(name) for name in sorted(set(calls))}
        print(f"{each:.3f} calls for each of {echoes} echoes: {names}")
        return each

    def test_one_connection(self):
        """Wait, receive, send."""
        self.start("epoll")
        with harness.connect(self.server.address) as sock:
            for _ in range(1000):
                sock.sendall(MESSAGE)
                self.assertEqual(harness.read_exactly(sock, 64), MESSAGE)
        self.assertLessEqual(self.report(1000), 3)

    def test_fifty_connections(self):
        """One wait for fifty messages."""
        self.start("epoll")
        self.talk_with_fifty()
        self.assertLessEqual(self.report(1000), 2.1)

    def test_fifty_connections_by_completion(self):
        """One call for twenty messages or so, which also sends.  What it takes
        to accept the connections, and to end them, is counted, too."""
        self.start("io_uring")
        self.talk_with_fifty()
        each = self.report(1000, "getpeername", "io_uring_enter")
        if each == 0:
            self.skipTest("no io_uring here")
        self.assertLessEqual(each, 0.35)

    def talk_with_fifty(self):
        """All of them in flight.  The server is stopped while messages are
        sent, so that it finds them all."""
        socks = [
            self.enterContext(harness.connect(self.server.address))
            for _ in range(50)
        ]
        for sock in socks:  # until all are accepted
            self.server.stderr.search(rf":{sock.getsockname()[1]}\b")
        for _ in range(20):
            os.kill(self.server.pid, signal.SIGSTOP)
            harness.wait_for(self.server.is_stopped)
            for sock in socks:
                sock.sendall(MESSAGE)
            os.kill(self.server.pid, signal.SIGCONT)
            for sock in socks:
                self.assertEqual(harness.read_exactly(sock, 64), MESSAGE)


if __name__ == "__main__":
    harness.require("strace")
    if harness.run("strace", "-o", os.devnull, "true").returncode != 0:
        print("strace may not trace here")
        sys.exit(harness.SKIP)
    harness.main()
