# SPDX-License-Identifier: MIT
"""netcat: both directions, both roles, against the system's own nc and socat.

What is compared is a tree that went through tar, or bytes."""

import contextlib
import fcntl
import hashlib
import os
import pty
import random
import select
import signal
import socket
import subprocess
import tempfile
import unittest

import harness

MIB = 1 << 20


def make_tree(root):
    """Many small files, some large ones, links, an empty directory."""
    pieces = random.Random(1)
    for number in range(400):
        directory = os.path.join(root, f"d{number % 13}", f"e{number % 7}")
        os.makedirs(directory, exist_ok=True)
        size = pieces.choice((0, 1, 511, 512, 513, 4096, 20000, 100000))
        with open(os.path.join(directory, f"f{number}"), "wb") as file:
            file.write(pieces.randbytes(size))
    os.mkdir(os.path.join(root, "empty"))
    os.symlink("empty", os.path.join(root, "link"))
    with open(os.path.join(root, "large"), "wb") as file:
        file.write(pieces.randbytes(6 * MIB))


def list_tree(root):
    """What is in a tree: {path: kind or digest}."""
    found = {}
    for path, directories, files in os.walk(root):
        for name in directories + files:
            full = os.path.join(path, name)
            if os.path.islink(full):
                kind = "-> " + os.readlink(full)
            elif os.path.isdir(full):
                kind = "directory"
            else:
                with open(full, "rb") as file:
                    kind = harness.digest(file.read())
            found[os.path.relpath(full, root)] = kind
    return found


class Peer:
    """How the programs are called; HOST and PORT are appended to a client."""

    def __init__(self, listen, client, announced="stderr"):
        self.listen = listen
        self.client = client
        self.announced = announced

    def server(self, **kwargs):
        """Start one that waits for a connection."""
        return harness.Server(
            *self.listen, announced=self.announced, **kwargs
        )

    def connect(self, address, **kwargs):
        """Start one that connects."""
        host, port = address
        command = [
            word.format(host=host, port=port) for word in self.client
        ]
        return harness.Process(*command, **kwargs)


OURS = Peer(
    harness.program("netcat", "-l", "127.0.0.1", 0),
    harness.program("netcat", "{host}", "{port}"),
) if "netcat" in harness.PROGRAMS else None
NC = Peer(
    ["nc", "-N", "-v", "-n", "-l", "127.0.0.1", "0"],
    ["nc", "-N", "{host}", "{port}"],
)
SOCAT = Peer(
    ["socat", "-d", "-d", "-t60", "TCP-LISTEN:0,bind=127.0.0.1", "STDIO"],
    ["socat", "-t60", "STDIO", "TCP:{host}:{port}"],
)


class Trees(harness.TestCase):
    """tar c | netcat … netcat | tar x."""

    @classmethod
    def setUpClass(cls):
        cls.root = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.source = os.path.join(cls.root, "source")
        os.mkdir(cls.source)
        make_tree(cls.source)
        cls.tree = list_tree(cls.source)

    def pack(self):
        """tar c: its output is what a sender reads."""
        return self.enterContext(
            harness.Process(
                "tar", "-C", self.source, "-c", ".", stdout=subprocess.PIPE
            )
        )

    def unpack(self, to):
        """tar x: its input is what a receiver writes."""
        return self.enterContext(
            harness.Process("tar", "-C", to, "-x", stdin=subprocess.PIPE)
        )

    def check(self, listening, connecting, sender):
        """One listens, the other connects; sender, one of the two, sends."""
        to = self.enterContext(tempfile.TemporaryDirectory(dir=self.root))
        tar_c, tar_x = self.pack(), self.unpack(to)
        # The taker has nothing to say, but doesn't say so before it is done:
        # nc -l would stop sending then.
        silence, end_of_silence = os.pipe()
        send = {"stdin": tar_c.popen.stdout, "stdout": subprocess.DEVNULL}
        take = {"stdin": silence, "stdout": tar_x.popen.stdin}
        first = send if sender is listening else take
        second = take if sender is listening else send
        server = self.enterContext(listening.server(**first))
        client = self.enterContext(
            connecting.connect(server.address, **second)
        )
        # Theirs are the only ends now.
        tar_c.popen.stdout.close()
        tar_x.popen.stdin.close()
        os.close(silence)
        self.assert_succeeds(tar_c, tar_x)
        os.close(end_of_silence)
        self.assert_succeeds(server, client)
        self.assertEqual(list_tree(to), self.tree)

    def assert_succeeds(self, *processes):
        """They all do."""
        for process in processes:
            self.assertEqual(process.wait(), 0, process.stderr.all())

    def check_roles(self, other):
        """All four of them."""
        for listening, connecting in (OURS, other), (other, OURS):
            for sender in listening, connecting:
                with self.subTest(
                    we="listen" if listening is OURS else "connect",
                    send=sender is OURS,
                ):
                    self.check(listening, connecting, sender)

    @unittest.skipUnless(harness.find("nc"), "nc is not installed")
    def test_nc(self):
        """netcat-openbsd at the other end."""
        self.check_roles(NC)

    @unittest.skipUnless(harness.find("socat"), "socat is not installed")
    def test_socat(self):
        """socat at the other end."""
        self.check_roles(SOCAT)

    def test_ours(self):
        """Both ends are ours."""
        self.check(OURS, OURS, OURS)


class Ends(harness.TestCase):
    """Half-close, errors, signals: against a socket of the test's."""

    def setUp(self):
        self.listener = self.enterContext(harness.listener())
        self.address = self.listener.getsockname()

    def netcat(self, **kwargs):
        """Ours, connected: the process and our end of the connection."""
        process = self.enterContext(OURS.connect(self.address, **kwargs))
        return process, self.enterContext(harness.accept(self.listener))

    def test_answer_after_end(self):
        """printf x | netcat, to a server that answers only after the end."""
        process, sock = self.netcat(
            stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        process.popen.stdin.write(b"question")
        process.popen.stdin.close()
        self.assertEqual(harness.read_all(sock), b"question")
        answer = random.Random(1).randbytes(3 * MIB)
        with harness.Background(sock.sendall, answer):
            got = process.popen.stdout.read(len(answer))
        self.assert_same_bytes(got, answer)
        sock.close()
        self.assertEqual(process.popen.stdout.read(), b"")
        self.assertEqual(process.wait(), 0)
        self.assertEqual(process.stderr.all(), "")

    def test_question_after_end(self):
        """The other way round: stdout ends while stdin goes on."""
        process, sock = self.netcat(
            stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        sock.sendall(b"first")
        sock.shutdown(socket.SHUT_WR)
        self.assertEqual(process.popen.stdout.read(), b"first")
        self.assertIsNone(process.popen.poll())
        with harness.Background(harness.read_all, sock) as reader:
            process.popen.stdin.write(bytes(3 * MIB))
            process.popen.stdin.close()
        self.assertEqual(reader.result, bytes(3 * MIB))
        self.assertEqual(process.wait(), 0)

    def test_kinds_of_stdin(self):
        """A file, nothing at all, closed: what is there is sent, then the
        end, and what comes back is written."""
        with tempfile.TemporaryFile() as file:
            data = random.Random(2).randbytes(5 * MIB)
            file.write(data)
            file.seek(0)
            self.check_stdin(OURS.client, data, stdin=file)
        self.check_stdin(OURS.client, b"", stdin=subprocess.DEVNULL)
        closed = ["sh", "-c", 'exec "$@" <&-', "sh", *OURS.client]
        self.check_stdin(closed, b"")

    def check_stdin(self, client, data, **kwargs):
        """One of the kinds."""
        process = self.enterContext(
            Peer(None, client).connect(self.address, **kwargs)
        )
        with harness.accept(self.listener) as sock:
            self.assert_same_bytes(harness.read_all(sock), data)
            sock.sendall(b"answer")
        self.assertEqual(process.wait(), 0, process.stderr.all())
        self.assertEqual(process.stdout.all(), "answer")

    def test_closed_stdout(self):
        """Nobody is to see the answer: that is no reason to fail."""
        command = ["sh", "-c", 'exec "$@" >&-', "sh", *OURS.client]
        process = self.enterContext(Peer(None, command).connect(self.address))
        with harness.accept(self.listener) as sock:
            sock.sendall(b"answer")
            sock.shutdown(socket.SHUT_WR)
            self.assertEqual(harness.read_all(sock), b"")
        self.assertEqual(process.wait(), 0)

    def test_stdout_file(self):
        """An answer into a regular file, of stdin from another."""
        with tempfile.TemporaryFile() as file:
            process, sock = self.netcat(stdout=file)
            sock.sendall(bytes(2 * MIB))
            sock.close()
            self.assertEqual(process.wait(), 0)
            self.assertEqual(os.fstat(file.fileno()).st_size, 2 * MIB)

    def test_full_stdout(self):
        """A disk that is full is a failure."""
        with open("/dev/full", "wb") as full:
            process, sock = self.netcat(stdout=full)
            sock.sendall(b"x")
            self.assertEqual(process.wait(), 1)
        self.assert_one_line(process.stderr.all(), "stdout", "No space left")

    def test_broken_stdout(self):
        """… as is a reader that has gone."""
        process, sock = self.netcat(stdout=subprocess.PIPE)
        process.popen.stdout.close()
        sock.sendall(b"x")
        self.assertEqual(process.wait(), 1)
        self.assert_one_line(process.stderr.all(), "stdout", "Broken pipe")

    def test_unreadable_stdin(self):
        """A directory can be opened, and that is all."""
        directory = os.open("/", os.O_RDONLY)
        try:
            process, _ = self.netcat(stdin=directory)
            self.assertEqual(process.wait(), 1)
        finally:
            os.close(directory)
        self.assert_one_line(process.stderr.all(), "stdin", "directory")

    def test_refused(self):
        """Nobody is there."""
        with harness.unused_port() as nobody:
            result = harness.run(
                *harness.program("netcat", *nobody.getsockname())
            )
        self.assert_fails(result, 1, "cannot connect", "refused")

    def test_reset(self):
        """A lost connection is a failure, though both files are open."""
        process, sock = self.netcat(
            stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        harness.reset(sock)
        self.assertEqual(process.wait(), 1)
        self.assert_one_line(process.stderr.all(), "reset by peer")

    def test_signals(self):
        """Waiting for somebody may be ended; a conversation is cut short."""
        for number in signal.SIGINT, signal.SIGTERM:
            with OURS.server() as process:
                self.assertEqual(process.stop(number), 0)
            process, sock = self.netcat(stdin=subprocess.PIPE)
            process.popen.stdin.write(b"x")
            process.popen.stdin.flush()
            self.assertEqual(sock.recv(1), b"x")
            self.assertEqual(process.stop(number), 1)
            self.assert_one_line(process.stderr.all(), "interrupted")

    def test_one_is_enough(self):
        """-l takes one connection, and refuses others."""
        with OURS.server(stdin=subprocess.PIPE) as process:
            with harness.connect(process.address) as sock:
                process.popen.stdin.write(b"x")
                process.popen.stdin.flush()
                self.assertEqual(sock.recv(1), b"x")
                with self.assertRaises(ConnectionRefusedError):
                    harness.connect(process.address)
                process.popen.stdin.close()
            self.assertEqual(process.wait(), 0)


class Blocking(harness.TestCase):
    """The blocking mode of stdin and stdout, which others share, is restored
    whatever the end."""

    def setUp(self):
        self.listener = self.enterContext(harness.listener())
        self.ends = []
        for _ in range(2):
            ends = os.pipe()
            self.ends += ends
            for end in ends:
                self.addCleanup(os.close, end)

    def start(self, *command):
        """On two pipes."""
        stdin, self.feed, self.drain, stdout = self.ends
        return self.enterContext(
            harness.Process(*command, stdin=stdin, stdout=stdout)
        )

    def assert_restored(self):
        """Both block."""
        self.assertTrue(os.get_blocking(self.ends[0]))
        self.assertTrue(os.get_blocking(self.ends[3]))

    def test_every_end(self):
        """In order, by a signal, by a reset, by a refusal."""
        host, port = self.listener.getsockname()
        for end in "close", "signal", "reset":
            with self.subTest(end=end):
                process = self.start(*harness.program("netcat", host, port))
                with harness.accept(self.listener) as sock:
                    os.write(self.feed, b"x")
                    self.assertEqual(sock.recv(1), b"x")
                    self.assertFalse(os.get_blocking(self.ends[0]))
                    if end == "signal":
                        process.stop()
                    elif end == "reset":
                        harness.reset(sock)
                    else:
                        sock.close()
                        process.stop()
                process.wait()
                self.assert_restored()

    def test_refused(self):
        """… by a refusal."""
        with harness.unused_port() as nobody:
            process = self.start(
                *harness.program("netcat", *nobody.getsockname())
            )
            self.assertEqual(process.wait(), 1)
        self.assert_restored()

    def test_left_as_it_was(self):
        """Who came with non-blocking files keeps them."""
        for end in self.ends:
            os.set_blocking(end, False)
        with harness.unused_port() as nobody:
            self.start(*harness.program("netcat", *nobody.getsockname())).wait()
        self.assertFalse(os.get_blocking(self.ends[0]))
        self.assertFalse(os.get_blocking(self.ends[3]))

    def test_terminal(self):
        """One terminal is stdin and stdout; Ctrl-D ends what we send."""
        ours, theirs = pty.openpty()
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, ours)
            stack.callback(os.close, theirs)
            process = stack.enter_context(
                harness.Process(
                    *harness.program("netcat", *self.listener.getsockname()),
                    stdin=theirs, stdout=theirs,
                )
            )
            with harness.accept(self.listener) as sock:
                os.write(ours, b"typed\n\x04")
                self.assertEqual(harness.read_all(sock), b"typed\n")
                sock.sendall(b"shown\n")
            self.assertEqual(process.wait(), 0)
            self.assertTrue(os.get_blocking(theirs))
            screen = b""
            while b"shown" not in screen:
                screen += os.read(ours, 1000)


class Backpressure(harness.TestCase):
    """Whatever is slow: memory is bounded, nothing is lost, no processor time
    is burnt, and the other direction goes on."""

    def setUp(self):
        listener = self.enterContext(harness.listener())
        self.process = self.enterContext(
            OURS.connect(
                listener.getsockname(),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )
        )
        self.stdin = self.process.popen.stdin
        self.stdout = self.process.popen.stdout
        self.sock = self.enterContext(harness.accept(listener))
        self.data = random.Random(3).randbytes(MIB)
        self.before = self.process.status("VmRSS")

    def stuff_stdin(self):
        """Write until netcat reads no more; returns how much it took."""
        sent = 0
        fd = self.stdin.fileno()
        view = memoryview(self.data)
        os.set_blocking(fd, False)
        used = self.process.cpu_seconds()
        while select.select([], [fd], [], 0.4)[1]:
            sent += os.write(fd, view[sent % MIB :])
            self.assertLess(sent, 64 * MIB)
            used = self.process.cpu_seconds()
        self.assertLess(self.process.cpu_seconds() - used, 0.2)
        os.set_blocking(fd, True)
        return sent

    def expect(self, read, size):
        """Read so much of data over and over."""
        got, want = hashlib.sha256(), hashlib.sha256()
        at = 0
        while at < size:
            piece = read(min(65536, size - at))
            self.assertTrue(piece, f"{size - at} bytes are missing")
            got.update(piece)
            at += len(piece)
        for _ in range(size // MIB):
            want.update(self.data)
        want.update(self.data[: size % MIB])
        self.assertEqual(got.hexdigest(), want.hexdigest())

    def assert_flat(self):
        """Some buffers are all that was needed.  (ThreadSanitizer keeps four
        bytes for each that is used.)"""
        grown = self.process.status("VmHWM") - self.before
        self.assertLess(grown, (20 if harness.SANITIZED else 4) * MIB)

    def test_slow_network(self):
        """The peer doesn't read: stdin is not read, stdout is served."""
        sent = self.stuff_stdin()
        with harness.Background(self.sock.sendall, 8 * self.data):
            self.expect(self.stdout.read1, 8 * MIB)
        self.assert_flat()
        self.stdin.close()
        self.expect(self.sock.recv, sent)
        self.assertEqual(self.sock.recv(1), b"")
        self.sock.close()
        self.assertEqual(self.process.wait(), 0)

    def test_slow_stdout(self):
        """Nobody reads stdout: the peer can't send, stdin is served."""
        sent = harness.send_until_stuck(self.sock, self.data, 64 * MIB)
        used = self.process.cpu_seconds()
        with self.assertRaises(TimeoutError):
            self.sock.settimeout(0.4)
            self.sock.sendall(bytes(64 * MIB))
        self.assertLess(self.process.cpu_seconds() - used, 0.2)
        self.sock.settimeout(harness.PATIENCE)
        with harness.Background(self.stdin.write, 8 * self.data):
            self.expect(self.sock.recv, 8 * MIB)
        self.assert_flat()
        self.expect(self.stdout.read1, sent)

    def test_slow_both(self):
        """Both at once, then both go on."""
        fcntl.fcntl(self.stdout, fcntl.F_SETPIPE_SZ, 4096)
        into = self.stuff_stdin()
        out = harness.send_until_stuck(self.sock, self.data, 64 * MIB)
        self.assert_flat()
        self.sock.shutdown(socket.SHUT_WR)
        self.stdin.close()
        with harness.Background(self.expect, self.stdout.read1, out):
            self.expect(self.sock.recv, into)
        self.assertEqual(self.stdout.read(), b"")
        self.assertEqual(self.process.wait(), 0)

    def test_file_is_no_busy_loop(self):
        """A regular file is always ready; it is left alone while the peer
        doesn't read."""
        with tempfile.TemporaryFile() as file, harness.listener() as listener:
            for _ in range(32):
                file.write(self.data)
            file.seek(0)
            process = self.enterContext(
                OURS.connect(listener.getsockname(), stdin=file)
            )
            with harness.accept(listener) as sock:
                harness.wait_for(lambda: self.is_idle(process))
                self.expect(sock.recv, 32 * MIB)

    @staticmethod
    def is_idle(process):
        """For a fifth of a second."""
        before = process.cpu_seconds()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.popen.wait(0.2)
        return process.cpu_seconds() == before


if __name__ == "__main__":
    harness.main()
