# SPDX-License-Identifier: MIT
"""The modules in a process: threads, signals, fork, the GIL."""

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

import kit
from kit import asynchat, asyncore


def run_child(function):
    """Run it in a forked child; its exit status tells."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    status = os.waitpid(pid, 0)[1]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -status


class ThreadTest(kit.TestCase):
    def start(self, target, *args):
        thread = threading.Thread(target=target, args=args, daemon=True)
        thread.start()
        self.addCleanup(thread.join, kit.PATIENCE)
        return thread

    @kit.each_poller
    def test_gil_is_released(self):
        """Another thread runs while the loop waits; else nobody sends."""
        near, far = self.pair()
        reader = kit.Reader(near)
        thread = self.start(
            lambda: (time.sleep(0.05), far.send(b"x"), far.close())
        )
        asyncore.loop(kit.PATIENCE, self.use_poll)
        self.assertEqual(reader.data, b"x")
        thread.join()

    @kit.each_poller
    def test_loops_in_threads(self):
        """Each its map, at the same time."""
        done = []

        def serve(number):
            map = {}
            near, far = socket.socketpair()
            reader = kit.Reader(near, map)
            for turn in range(100):
                far.send(b"%d," % turn)
                asyncore.loop(1, self.use_poll, map, 1)
            far.close()
            asyncore.loop(1, self.use_poll, map)
            done.append((number, reader.data))

        threads = [self.start(serve, number) for number in range(4)]
        for thread in threads:
            thread.join(kit.PATIENCE)
        want = b"".join(b"%d," % turn for turn in range(100))
        self.assertEqual(sorted(done), [(n, want) for n in range(4)])

    @kit.each_poller
    def test_added_by_another_thread(self):
        """A channel that comes while the loop waits is served in the
        next pass."""
        wake, waker = self.pair()
        kit.Reader(wake)
        near, far = self.pair()
        far.send(b"x")
        born = []

        def add():
            born.append(kit.Reader(near))
            waker.send(b"!")

        class Waits(kit.Channel):
            """The other thread starts when the loop has asked."""

            started = False

            def readable(self):
                return False

            def writable(self):
                if not self.started:
                    self.started = True
                    test.start(lambda: (time.sleep(0.05), add()))
                return False

        test = self
        Waits(self.pair()[0])
        asyncore.loop(kit.PATIENCE, self.use_poll, None, 1)
        self.assertEqual(born[0].taken(), [])
        self.step()
        self.assertEqual(born[0].data, b"x")

    @kit.each_poller
    def test_flag_and_pipe(self):
        """As database drivers do it: a flag set, then a byte in a pipe."""
        reader, writer = self.pipe()
        near, far = self.pair()

        class Waker(asyncore.file_dispatcher):
            def writable(self):
                return False

            def handle_read(self):
                self.recv(99)

        class Driver(kit.Channel):
            wants = False

            def readable(self):
                return False

            def writable(self):
                return self.wants

            def handle_write(self):
                super().handle_write()
                self.send(b"query")
                self.wants = False

        Waker(reader)
        driver = Driver(near)
        self.step()

        def ask():
            driver.wants = True
            writer.write(b"!")

        self.start(ask)
        while not driver.calls:
            asyncore.loop(kit.PATIENCE, self.use_poll, None, 1)
        self.assertEqual(far.recv(9), b"query")

    @kit.each_poller
    def test_closed_by_another_thread(self):
        """The loop may end with EBADF or go on, but not hang or crash."""
        near, far = self.pair()
        channel = kit.Channel(near)
        channel.writable = lambda: False
        self.start(lambda: (time.sleep(0.05), channel.close()))
        try:
            asyncore.loop(0.2, self.use_poll, None, 2)
        except OSError as error:
            self.assertEqual(error.errno, errno.EBADF)
        self.assertEqual(asyncore.socket_map, {})

    @kit.each_poller
    def test_pushes_of_other_threads(self):
        """Many threads fill the queues of chats; one loop serves all."""
        chats, fars = [], []
        for _ in range(8):
            near, far = self.pair()
            chats.append(asynchat.async_chat(near))
            fars.append(far)

        def push(chat):
            for number in range(40):
                chat.producer_fifo.append(b"%d\n" % number)

        threads = [self.start(push, chat) for chat in chats]
        while any(thread.is_alive() for thread in threads):
            asyncore.loop(0.01, self.use_poll, None, 1)
        self.until(lambda: not any(chat.producer_fifo for chat in chats))
        want = b"".join(b"%d\n" % number for number in range(40))
        for far in fars:
            self.assertEqual(far.recv(1 << 16), want)

    @kit.each_poller
    def test_maps_that_change_under_the_loop(self):
        """Threads add and close channels all the time.  The original is
        not made for it, either; but nothing may crash or hang."""
        stop = threading.Event()
        kit.Channel(self.pair()[0])
        turns = []

        def churn():
            while not stop.is_set():
                near, far = socket.socketpair()
                with near, far, contextlib.suppress(OSError, KeyError):
                    channel = kit.Channel(near)
                    far.send(b"x")
                    channel.close()
                turns.append(1)

        threads = [self.start(churn) for _ in range(2)]
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            try:
                asyncore.loop(0.001, self.use_poll, None, 1)
            except (OSError, ValueError, LookupError, RuntimeError):
                pass
        stop.set()
        for thread in threads:
            thread.join(kit.PATIENCE)
            self.assertFalse(thread.is_alive())
        self.assertTrue(turns)


class SignalTest(kit.TestCase):
    def watch(self):
        """A channel that waits to read."""
        near, self.far = self.pair()
        self.reader = kit.Reader(near)

    def alarm(self, handler, delay=0.05):
        old = signal.signal(signal.SIGALRM, handler)
        self.addCleanup(signal.signal, signal.SIGALRM, old)
        self.addCleanup(signal.setitimer, signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_REAL, delay)

    @kit.each_poller
    def test_handler_runs_while_waiting(self):
        calls = []
        self.watch()
        self.alarm(lambda *_: calls.append(self.far.send(b"x")))
        asyncore.loop(kit.PATIENCE, self.use_poll, None, 1)
        self.assertEqual(calls, [1])
        self.assertEqual(self.reader.taken(), ["read"])

    @kit.each_poller
    def test_waits_on(self):
        """An interrupted wait lasts as long as it should."""
        self.watch()
        self.alarm(lambda *_: None)
        start = time.monotonic()
        asyncore.loop(0.2, self.use_poll, None, 1)
        self.assertGreaterEqual(time.monotonic() - start, 0.19)

    @kit.each_poller
    def test_handler_that_raises(self):
        for error in (KeyboardInterrupt, ValueError, asyncore.ExitNow):
            self.watch()

            def handler(*_):
                raise error

            self.alarm(handler)
            with self.assertRaises(error):
                asyncore.loop(kit.PATIENCE, self.use_poll, None, 1)
            self.assertEqual(self.reader.taken(), [])
            self.assertIn(self.reader, asyncore.socket_map.values())

    @kit.each_poller
    def test_while_nothing_is_watched(self):
        self.watch()
        self.reader.readable = lambda: False

        def handler(*_):
            raise KeyboardInterrupt

        self.alarm(handler)
        with self.assertRaises(KeyboardInterrupt):
            asyncore.loop(kit.PATIENCE, self.use_poll, None, 1)

    @kit.each_poller
    def test_busy_loop_is_interrupted(self):
        """Even if there is always something to do."""
        channel = kit.Channel(self.pair()[0])
        channel.handle_write = lambda: None
        self.watch()

        def handler(*_):
            raise KeyboardInterrupt

        self.alarm(handler)
        with self.assertRaises(KeyboardInterrupt):
            asyncore.loop(kit.PATIENCE, self.use_poll)

    def test_control_c(self):
        script = (
            "import warnings; warnings.simplefilter('ignore')\n"
            "import asyncore, socket, sys\n"
            "near, far = socket.socketpair()\n"
            "channel = asyncore.dispatcher(near)\n"
            "channel.writable = lambda: False\n"
            "print('ready', flush=True)\n"
            "try:\n"
            "    asyncore.loop(use_poll=bool(int(sys.argv[1])))\n"
            "except KeyboardInterrupt:\n"
            "    print('interrupted', len(asyncore.socket_map))\n"
        )
        for poller in "01":
            child = subprocess.Popen(
                [sys.executable, "-c", script, poller],
                stdout=subprocess.PIPE,
                text=True,
            )
            with child:
                self.assertEqual(child.stdout.readline(), "ready\n")
                time.sleep(0.05)
                child.send_signal(signal.SIGINT)
                self.assertEqual(child.stdout.read(), "interrupted 1\n")


class ForkTest(kit.TestCase):
    @kit.each_poller
    def test_child_closes_all(self):
        """The parent's channels go on as if nothing had been."""
        near, far = self.pair()
        reader = kit.Reader(near)
        self.step()

        def child():
            asyncore.close_all()
            assert asyncore.socket_map == {}

        self.assertEqual(run_child(child), 0)
        far.send(b"x")
        self.step()
        self.assertEqual(reader.data, b"x")

    @kit.each_poller
    def test_child_goes_on(self):
        """Both serve the map on; neither sees the other's changes."""
        near, far = self.pair()
        reader = kit.Reader(near)
        other, far2 = self.pair()
        second = kit.Channel(other)
        second.writable = lambda: False
        self.step()

        def child():
            second.close()
            far.send(b"child")
            self.step()
            assert reader.data == b"child", reader.data
            mine, theirs = socket.socketpair()
            third = kit.Reader(mine)
            theirs.send(b"x")
            self.step()
            assert third.data == b"x", third.data

        self.assertEqual(run_child(child), 0)
        far2.send(b"x")
        self.step()
        self.assertEqual(second.taken(), ["read"])
        far.send(b"parent")
        self.step()
        self.assertEqual(reader.data, b"parent")

    @kit.each_poller
    def test_fork_in_a_handler(self):
        """A server that forks for each connection."""
        near, far = self.pair()
        far.send(b"x")
        statuses = []

        class Forks(kit.Reader):
            def handle_read(self):
                super().handle_read()

                def child():
                    self.send(b"from the child")
                    asyncore.close_all()

                statuses.append(run_child(child))

        Forks(near)
        self.step()
        self.assertEqual(statuses, [0])
        self.assertEqual(far.recv(99), b"from the child")
        far.send(b"y")
        self.step()
        self.assertEqual(statuses, [0, 0])

    @kit.each_poller
    def test_child_exits_while_the_parent_waits(self):
        """Descriptors that the child closes are not gone for us."""
        near, far = self.pair()
        reader = kit.Reader(near)
        self.step()
        pid = os.fork()
        if pid == 0:
            try:
                near.close()
                asyncore.loop(0, self.use_poll, {}, 1)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        for turn in range(3):
            far.send(b"%d" % turn)
            self.step()
        self.assertEqual(reader.data, b"012")


INTERPRETERS = """
try:
    import _interpreters as inter
except ImportError:
    import _xxsubinterpreters as inter
"""
SERVES = """
import asyncore, socket
near, far = socket.socketpair()
class C(asyncore.dispatcher):
    def handle_read(self):
        self.data = self.recv(9)
channel = C(near)
far.send(b'x')
asyncore.loop(0, count=1)
assert channel.data == b'x'
"""
needs_interpreters = unittest.skipIf(
    sys.version_info < (3, 12), "too old to be tried"
)


class ProcessTest(kit.TestCase):
    def run_script(self, script, *options):
        return subprocess.run(
            [sys.executable, "-W", "ignore", *options, "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )

    def test_exit_with_open_channels(self):
        """The interpreter ends with channels, also in cycles, alive."""
        script = (
            "import asyncore, asynchat, socket, os\n"
            "pairs = [socket.socketpair() for _ in range(10)]\n"
            "for near, far in pairs:\n"
            "    chat = asynchat.async_chat(near)\n"
            "    chat.itself = chat\n"
            "    far.send(b'x' * 10); chat.set_terminator(None)\n"
            "    chat.collect_incoming_data = lambda data: None\n"
            "    chat.push(b'y' * 200000)\n"
            "asyncore.file_dispatcher(os.pipe()[0])\n"
            "asyncore.loop(count=3, timeout=0)\n"
            "asyncore.loop(count=3, timeout=0, use_poll=True)\n"
            "print('end')\n"
        )
        for options in ((), ("-X", "dev")):
            result = self.run_script(script, *options)
            self.assertEqual((result.returncode, result.stdout), (0, "end\n"))

    def test_exit_in_the_loop(self):
        script = (
            "import asyncore, socket, sys, atexit\n"
            "near, far = socket.socketpair()\n"
            "class C(asyncore.dispatcher):\n"
            "    def handle_write(self): sys.exit(7)\n"
            "C(near)\n"
            "atexit.register(asyncore.close_all)\n"
            "asyncore.loop()\n"
        )
        result = self.run_script(script)
        self.assertEqual((result.returncode, result.stderr), (7, ""))

    def test_daemon_thread_at_exit(self):
        """A thread still waits in the loop when the interpreter ends."""
        script = (
            "import asyncore, socket, threading, time\n"
            "near, far = socket.socketpair()\n"
            "channel = asyncore.dispatcher(near)\n"
            "channel.writable = lambda: False\n"
            "threading.Thread(target=asyncore.loop, daemon=True).start()\n"
            "time.sleep(0.05)\n"
            "print('end')\n"
        )
        result = self.run_script(script)
        self.assertEqual((result.returncode, result.stdout), (0, "end\n"))

    @needs_interpreters
    def test_subinterpreter(self):
        """The original worked in all of them, side by side."""
        script = (
            f"{INTERPRETERS}\n"
            f"code = {SERVES!r}\n"
            "exec(code)\n"
            "mine = asyncore.socket_map\n"
            "for _ in range(3):\n"
            "    id = inter.create()\n"
            "    failure = inter.run_string(id, code)\n"
            "    assert failure is None, failure\n"
            "    inter.destroy(id)\n"
            "exec(code)\n"
            "assert mine is asyncore.socket_map and len(mine) > 0\n"
            "print('end')\n"
        )
        result = self.run_script(script)
        self.assertEqual(result.stdout, "end\n", result.stderr)

    @needs_interpreters
    def test_subinterpreters_at_the_same_time(self):
        """Each has a lock of its own, and nothing of ours is shared."""
        script = (
            f"{INTERPRETERS}\n"
            "import threading\n"
            f"code = {SERVES!r} * 200\n"
            "failures = []\n"
            "def run(id):\n"
            "    failures.append(inter.run_string(id, code))\n"
            "ids = [inter.create() for _ in range(4)]\n"
            "threads = [threading.Thread(target=run, args=(id,))"
            " for id in ids]\n"
            "for thread in threads: thread.start()\n"
            "for thread in threads: thread.join()\n"
            "for id in ids: inter.destroy(id)\n"
            "print(failures)\n"
        )
        result = self.run_script(script)
        self.assertEqual(
            result.stdout, "[None, None, None, None]\n", result.stderr
        )


class DescriptorTest(kit.TestCase):
    """A program that closes and opens gets the number it expects."""

    @staticmethod
    def next_number():
        number = os.dup(0)
        os.close(number)
        return number

    @kit.each_poller
    def test_none_is_in_the_way(self):
        map, channels = {}, []  # a map of its own: nothing is open for it
        for count in (1, 40):  # served by poll(), and by epoll
            while len(channels) < count:
                channels.append(asyncore.dispatcher(self.pair()[0], map))
            before = self.next_number()
            self.step(3, map)
            self.assertEqual(self.next_number(), before)
        asyncore.close_all(map)


if __name__ == "__main__":
    kit.main()
