# SPDX-License-Identifier: MIT
"""What an echo costs, in system calls, on epoll: counted, not timed."""

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

    def __init__(self, trace):
        self.trace = trace
        super().__init__(
            "strace", "-D", "-o", trace,
            *harness.program("echo_server", "127.0.0.1", 0),
            # Leaks can't be looked for under strace.
            env={
                **os.environ,
                "ASYNCORE_BACKEND": "epoll",
                "ASAN_OPTIONS": "detect_leaks=0",
            },
        )

    def calls(self):
        """End the server; returns the names of the calls it made from the
        first message to the last.  A wait that a signal ended is none: it is
        ours who sent it."""
        assert self.stop() == 0
        harness.wait_for(self.is_complete)
        with open(self.trace, encoding="utf-8") as lines:
            calls = [
                re.match(r"\w+", line)[0]
                for line in lines
                if re.match(r"\w+\(", line) and "EINTR" not in line
            ]
        first = calls.index("recvfrom")
        last = len(calls) - calls[::-1].index("sendto")
        return calls[first:last]

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

    def setUp(self):
        root = self.enterContext(tempfile.TemporaryDirectory())
        self.server = self.enterContext(Traced(os.path.join(root, "trace")))

    def report(self, echoes):
        """Calls for each echo."""
        calls = self.server.calls()
        each = len(calls) / echoes
        names = {name: calls.count(name) for name in sorted(set(calls))}
        print(f"{each:.3f} calls for each of {echoes} echoes: {names}")
        return each

    def test_one_connection(self):
        """Wait, receive, send."""
        with harness.connect(self.server.address) as sock:
            for _ in range(1000):
                sock.sendall(MESSAGE)
                self.assertEqual(harness.read_exactly(sock, 64), MESSAGE)
        self.assertLessEqual(self.report(1000), 3)

    def test_fifty_connections(self):
        """All of them in flight: one wait for fifty messages.  The server is
        stopped while they are sent, so that it finds them all."""
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
        self.assertLessEqual(self.report(1000), 2.1)


if __name__ == "__main__":
    harness.require("strace")
    if harness.run("strace", "-o", os.devnull, "true").returncode != 0:
        print("strace may not trace here")
        sys.exit(harness.SKIP)
    harness.main()
