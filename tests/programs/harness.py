# SPDX-License-Identifier: MIT
"""What the tests of the example programs share.

A test script gets the programs' paths as its arguments, and the backend in
the environment as ASYNCORE_BACKEND.  Nothing here sleeps to give a program
time: servers are waited for by the line they print, peers by socket timeouts.
"""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

PATIENCE = 60  # seconds until something that never comes is given up
SKIP = 77  # exit status that tells meson that nothing was tested

# The programs are built with a sanitizer, which has memory of its own.
SANITIZED = os.environ.get("SANITIZED", "") not in ("", "none")
IO_URING = os.environ.get("ASYNCORE_BACKEND") == "io_uring"
# Bytes that a server may take for a map's buffers when they are first used.
BUFFERS = (512 << 10) if IO_URING else 0
if SANITIZED:
    os.environ["ASAN_OPTIONS"] = ":".join(
        [os.environ.get("ASAN_OPTIONS", ""), "quarantine_size_mb=1"]
    ).lstrip(":")

PROGRAMS = {os.path.basename(path): path for path in sys.argv[1:]}


def give_up(number, _):
    """For signals: leave by all `with` blocks, which end the children."""
    raise AssertionError(f"ended by {signal.Signals(number).name}")


def main():
    """Run the tests of the calling script."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, give_up)
    signal.signal(signal.SIGALRM, give_up)
    unittest.main(argv=sys.argv[:1], verbosity=2)


def require(*commands):
    """Skip the whole script if a command is not installed."""
    for command in commands:
        if find(command) is None:
            print(f"{command} is not installed")
            sys.exit(SKIP)


def find(command):
    """The path of a command, that of a daemon included."""
    return shutil.which(command, path=os.environ["PATH"] + ":/usr/sbin")


def program(name, *arguments):
    """The command line of one of our programs."""
    return [PROGRAMS[name], *map(str, arguments)]


# ---- processes ------------------------------------------------------------


class Lines:
    """Keeps all of a pipe, and finds a line in it when it comes."""

    def __init__(self, pipe):
        self.pipe = pipe
        self.text = ""
        self.ended = False
        self.news = threading.Condition()
        self.thread = threading.Thread(target=self.collect, daemon=True)
        self.thread.start()

    def collect(self):
        """Read until the end."""
        while True:
            data = self.pipe.read1(65536)
            with self.news:
                self.text += data.decode(errors="replace")
                self.ended = not data
                self.news.notify_all()
            if not data:
                return

    def search(self, pattern):
        """Wait for a whole line that matches; returns the match."""
        pattern = re.compile(f"{pattern}.*\n")
        with self.news:
            self.news.wait_for(
                lambda: self.ended or pattern.search(self.text), PATIENCE
            )
            found = pattern.search(self.text)
        if found is None:
            raise AssertionError(f"no {pattern.pattern!r} in {self.text!r}")
        return found

    def all(self):
        """Wait for the end; returns everything."""
        self.thread.join(PATIENCE)
        return self.text


class Process:
    """A child that does not outlive its `with` block.

    Its stderr is collected.  stdin and stdout are as Popen has them, but
    nothing and a collected pipe unless given."""

    def __init__(self, *command, **kwargs):
        collect = "stdout" not in kwargs
        self.popen = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                **kwargs,
            },
        )
        self.pid = self.popen.pid
        self.stderr = Lines(self.popen.stderr)
        self.stdout = Lines(self.popen.stdout) if collect else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        uncollected = None if self.stdout is not None else self.popen.stdout
        for pipe in self.popen.stdin, uncollected:
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        for lines in self.stderr, self.stdout:
            if lines is not None:
                lines.thread.join(PATIENCE)
                lines.pipe.close()

    def wait(self):
        """Returns the exit status."""
        return self.popen.wait(PATIENCE)

    def stop(self, number=signal.SIGTERM):
        """Returns the exit status after a signal."""
        self.popen.send_signal(number)
        return self.wait()

    def is_asleep(self):
        """Does it wait for something?"""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "S"

    def status(self, field):
        """A size out of /proc/PID/status, in bytes."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            found = re.search(rf"{field}:\s+(\d+) kB", status.read())
        return int(found[1]) * 1024

    def cpu_seconds(self):
        """Processor time used so far."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


class Server(Process):
    """A child that says on which address it listens: .host and .port."""

    def __init__(self, *command, announced="stdout", **kwargs):
        super().__init__(*command, **kwargs)
        try:
            self.find_address(getattr(self, announced))
        except BaseException:
            self.__exit__()
            raise

    def find_address(self, lines):
        """Ours say HOST:PORT, nc HOST PORT, socat AF=2 HOST:PORT."""
        try:
            found = lines.search(
                r"(?i)listening on (?:AF=\d+ )?"
                r"(?:\[(.+?)\]|([^ :\n]+))[: ](\d+)"
            )
        except AssertionError as error:
            self.popen.kill()
            raise AssertionError(self.stderr.all()) from error
        self.host, self.port = found[1] or found[2], int(found[3])
        self.address = self.host, self.port


def serve(name, *arguments, **kwargs):
    """Start one of our servers."""
    return Server(*program(name, *arguments), **kwargs)


def run(*command, **kwargs):
    """Run a child to its end; returns subprocess.CompletedProcess."""
    return subprocess.run(
        command,
        timeout=PATIENCE,
        check=False,
        capture_output=True,
        **{"stdin": subprocess.DEVNULL, **kwargs},
    )


# ---- sockets --------------------------------------------------------------


def connect(address, receive_buffer=None):
    """A connection that gives up after a while."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    sock = socket.socket(family)
    sock.settimeout(PATIENCE)
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    try:
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def has_ipv6():
    """Can ::1 be reached?"""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def listener():
    """A socket that listens on a port of its own."""
    sock = socket.create_server(("127.0.0.1", 0))
    sock.settimeout(PATIENCE)
    return sock


def accept(sock):
    """A connection, as connect() makes them."""
    connection, _ = sock.accept()
    connection.settimeout(PATIENCE)
    return connection


def unused_port():
    """A port where nobody listens: bound, so that nobody will."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


def reset(sock):
    """Close a connection so that the peer sees a reset."""
    sock.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    sock.close()


def read_all(sock):
    """Everything up to the end of the stream."""
    return b"".join(iter(lambda: sock.recv(65536), b""))


def read_exactly(sock, size):
    """So many bytes, fewer only at the end of the stream."""
    pieces = []
    while size > 0 and (data := sock.recv(min(size, 65536))):
        pieces.append(data)
        size -= len(data)
    return b"".join(pieces)


def send_until_stuck(sock, data, bound):
    """Send data over and over until nothing is taken any more; returns how
    many bytes were.  It is an error if that are more than bound."""
    sent = 0
    sock.settimeout(0.5)
    view = memoryview(data)
    with contextlib.suppress(TimeoutError):
        while sent <= bound:
            sent += sock.send(view[sent % len(data) :])
    sock.settimeout(PATIENCE)
    if sent > bound:
        raise AssertionError(f"{sent} bytes were taken and not passed on")
    return sent


class Background:
    """Run a function in a thread; leaving the `with` block waits for it, and
    raises what it raised."""

    def __init__(self, function, *arguments):
        self.result = self.error = None
        self.thread = threading.Thread(
            target=self.run, args=(function, *arguments), daemon=True
        )

    def run(self, function, *arguments):
        """The thread."""
        try:
            self.result = function(*arguments)
        except BaseException as error:  # pylint: disable=broad-except
            self.error = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.thread.join(PATIENCE if kind is None else 1)
        if kind is None and self.thread.is_alive():
            raise AssertionError("the other side did not come to its end")
        if kind is None and self.error is not None:
            raise self.error


def descriptors(pid):
    """What a process has open."""
    return os.listdir(f"/proc/{pid}/fd")


def wait_for(condition):
    """Wait for something that nothing announces, a change in /proc."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen")
        os.sched_yield()


def kernel_queues(port, peer_port):
    """What the kernel keeps for one end of a connection on 127.0.0.1: bytes
    not yet acknowledged by the peer, bytes not yet read."""
    end = f" 0100007F:{port:04X} 0100007F:{peer_port:04X} "
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in table:
            if end in line:
                queues = line.split()[4].split(":")
                return int(queues[0], 16), int(queues[1], 16)
    raise AssertionError("there is no such connection")


def digest(data):
    """A short name for bytes, to compare them by."""
    return hashlib.sha256(data).hexdigest()


# ---- tests ----------------------------------------------------------------


class TestCase(unittest.TestCase):
    """With what the tests assert over and over, and a bound on their time."""

    def run(self, result=None):
        """One test."""
        signal.alarm(2 * PATIENCE)
        try:
            return super().run(result)
        finally:
            signal.alarm(0)

    def assert_one_line(self, text, *words):
        """It is one clear line, with these words in it."""
        if isinstance(text, bytes):
            text = text.decode()
        self.assertRegex(text, r"\A[^\n]+\n\Z")
        for word in words:
            self.assertIn(word, text)

    def assert_fails(self, result, status, *words):
        """It ended with this status, said why in one line, and nothing on
        stdout."""
        self.assert_one_line(result.stderr, *words)
        self.assertEqual(result.returncode, status, result.stderr)
        self.assertEqual(result.stdout, b"")

    def assert_same_bytes(self, got, sent):
        """As assertEqual, without showing megabytes."""
        self.assertEqual(
            (len(got), digest(got)), (len(sent), digest(sent))
        )
