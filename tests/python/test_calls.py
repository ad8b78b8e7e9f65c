# SPDX-License-Identifier: MIT
"""call_later() and call_soon_threadsafe(), outside of asyncio."""

import collections
import gc
import os
import select
import signal
import subprocess
import sys
import threading
import time
import unittest
import weakref

import kit
from kit import asyncore


class Map(collections.OrderedDict):
    """The core serves dictionaries only; this can be told to go, too."""


def own_maps():
    """What the core serves, and what it does not."""
    return {}, Map()


class CallsTestCase(kit.TestCase):
    def setUp(self):
        self.got, self.threads = [], []
        super().setUp()

    def clean(self):
        super().clean()
        asyncore._calls.clear()
        self.got.clear()

    def idle(self, map=None):
        """A channel that nothing happens to."""
        return kit.Reader(self.pair()[0], map)

    def start(self, function, *args, **kwargs):
        thread = threading.Thread(target=function, args=args, kwargs=kwargs)
        self.threads.append(thread)
        thread.start()
        self.addCleanup(thread.join, kit.PATIENCE)
        return thread

    def join(self):
        """Who wakes a loop has its pipe meanwhile."""
        while self.threads:
            self.threads.pop().join(kit.PATIENCE)

    def descriptors(self):
        return len(os.listdir("/proc/self/fd"))


class LaterTest(CallsTestCase):
    @kit.each_poller
    def test_by_time(self):
        for map in own_maps():
            self.got.clear()
            self.idle(map)
            for delay in (0.03, 0.01, 0.02):
                asyncore.call_later(delay, self.got.append, delay, map=map)
            asyncore.call_later(0.04, asyncore.close_all, map, map=map)
            asyncore.loop(kit.PATIENCE, self.use_poll, map)
            self.assertEqual(self.got, [0.01, 0.02, 0.03])
            self.assertEqual(asyncore._calls, {})

    @kit.each_poller
    def test_cancel(self):
        self.idle()
        call = asyncore.call_later(0, self.got.append, 1)
        asyncore.call_later(0, self.got.append, 2)
        self.assertFalse(call.cancelled)
        call.cancel()
        call.cancel()
        self.assertTrue(call.cancelled)
        self.step()
        self.assertEqual(self.got, [2])
        self.assertEqual(asyncore._calls, {})

    def test_cancelled_calls_keep_nothing(self):
        """Time-outs that are put off with each message."""
        self.idle()
        thing = Map()
        asyncore.call_later(3600, self.fail, thing).cancel()
        ref = weakref.ref(thing)
        del thing
        gc.collect()
        self.assertIsNone(ref())
        calls = asyncore._calls[id(asyncore.socket_map)]
        keep = asyncore.call_later(3600, self.fail)
        for _ in range(1000):
            asyncore.call_later(3600, self.fail).cancel()
            self.step()
        self.assertLess(len(calls.heap), 200)
        keep.cancel()
        self.step()
        self.assertEqual(asyncore._calls, {})

    @kit.each_poller
    def test_one_that_adds_one(self):
        """It waits for the next pass, though it is due."""
        self.idle()

        def again():
            self.got.append(1)
            asyncore.call_later(0, again)

        asyncore.call_later(0, again)
        asyncore.poll(0)
        self.assertLessEqual(len(self.got), 2)
        asyncore.loop(kit.PATIENCE, self.use_poll, None, 3)
        self.assertGreaterEqual(len(self.got), 4)

    @kit.each_poller
    def test_error_leaves_the_loop(self):
        self.idle()
        asyncore.call_later(0, self.fail, "as expected")
        asyncore.call_later(0, self.got.append, 1)
        with self.assertRaisesRegex(AssertionError, "as expected"):
            asyncore.loop(kit.PATIENCE, self.use_poll)
        self.step()
        self.assertEqual(self.got, [1])

    @kit.each_poller
    def test_end_of_the_loop(self):
        """It does not wait for calls; what is not due is cancelled, and
        nothing of the map is kept, though calls and channels refer to it."""
        for map in own_maps():
            channel = self.idle(map)
            channel.map = map
            asyncore.call_later(3600, channel.close, map=map)
            late = asyncore.call_later(3600, self.fail, map=map)
            asyncore.call_later(0, channel.close, map=map)
            asyncore.loop(kit.PATIENCE, self.use_poll, map)
            self.assertTrue(late.cancelled)
            self.assertEqual(asyncore._calls, {})
            ref = weakref.ref(channel)
            del channel, map
            gc.collect()
            self.assertIsNone(ref())

    @kit.each_poller
    def test_loop_over_nothing(self):
        """What is due is done even then, and may bring channels."""

        def begin():
            asyncore.call_later(0, self.idle().close)
            self.got.append(1)

        asyncore.call_later(0, begin)
        asyncore.loop(kit.PATIENCE, self.use_poll)
        self.assertEqual(self.got, [1])
        self.assertEqual(asyncore._calls, {})

    @kit.each_poller
    def test_single_passes_forget_nothing(self):
        """With a count, or poll(), it is the program that makes the loop: its
        map may be empty for a while."""
        asyncore.call_later(0.01, self.got.append, 1)
        self.step()
        asyncore.poll(0)
        channel = self.idle()
        self.until(lambda: self.got)
        asyncore.call_later(0, self.got.append, 2)
        channel.close()
        with self.assertRaises(asyncore.ExitNow):
            self.leave()
        asyncore.poll(0)
        self.assertEqual(self.got, [1, 2, 3])

    def leave(self):
        def leaves():
            raise asyncore.ExitNow

        asyncore.call_later(0, leaves)
        asyncore.call_later(0, self.got.append, 3)
        self.idle()
        asyncore.loop(kit.PATIENCE, self.use_poll)

    def test_nested_loop(self):
        """A call may run the loop itself."""
        self.idle()
        asyncore.call_later(0, asyncore.loop, kit.PATIENCE)
        asyncore.call_later(0, self.got.append, 1)
        asyncore.call_later(0.01, asyncore.close_all)
        asyncore.loop(kit.PATIENCE)
        self.assertEqual(self.got, [1])


class SoonTest(CallsTestCase):
    @kit.each_poller
    def test_while_it_waits(self):
        """The first one, too; the map is the program's, nothing is added."""
        map = {}
        channel = self.idle(map)

        def call():
            time.sleep(0.02)
            for number in range(100):
                asyncore.call_soon_threadsafe(
                    self.got.append, number, map=map
                )
            asyncore.call_soon_threadsafe(
                lambda: self.got.append(len(map)), map=map
            )
            asyncore.call_soon_threadsafe(channel.close, map=map)

        self.start(call)
        start = time.monotonic()
        asyncore.loop(kit.PATIENCE, self.use_poll, map)
        self.assertLess(time.monotonic() - start, kit.PATIENCE)
        self.assertEqual(self.got, [*range(100), 1])
        self.assertEqual(asyncore._calls, {})

    @kit.each_poller
    def test_large_maps(self):
        """Which epoll serves."""
        map = {}
        for _ in range(40):
            self.idle(map)
        self.step(map=map)
        self.start(lambda: (time.sleep(0.02), asyncore.call_soon_threadsafe(
            asyncore.close_all, map, map=map)))
        asyncore.loop(kit.PATIENCE, self.use_poll, map)
        self.assertEqual(map, {})

    @kit.each_poller
    def test_while_nobody_waits_for_anything(self):
        """Then select() would be a sleep()."""
        map = {}
        channel = self.idle(map)
        channel.readable = lambda: False
        self.start(lambda: (time.sleep(0.02), asyncore.call_soon_threadsafe(
            channel.close, map=map)))
        start = time.monotonic()
        asyncore.loop(kit.PATIENCE, self.use_poll, map)
        self.assertLess(time.monotonic() - start, kit.PATIENCE)

    @kit.each_poller
    def test_what_the_core_does_not_serve(self):
        """There a first call tells that others may come."""
        map = Map()
        channel = self.idle(map)
        before = self.descriptors()

        def ready():
            self.start(asyncore.call_soon_threadsafe, self.start_late, map,
                       map=map)

        asyncore.call_soon_threadsafe(ready, map=map)
        start = time.monotonic()
        asyncore.loop(kit.PATIENCE, self.use_poll, map)
        self.assertLess(time.monotonic() - start, kit.PATIENCE)
        self.assertEqual(self.got, [1])
        self.assertEqual(asyncore._calls, {})
        channel.socket.close()
        self.join()
        self.assertLess(self.descriptors(), before)

    def start_late(self, map):
        def late():
            time.sleep(0.02)
            asyncore.call_soon_threadsafe(
                lambda: (self.got.append(len(map)), asyncore.close_all(map)),
                map=map,
            )

        self.start(late)

    @kit.each_poller
    def test_loop_ends_by_itself(self):
        """Calls keep no loop running; none is lost."""
        channel = self.idle()
        asyncore.call_soon_threadsafe(channel.close)
        asyncore.call_soon_threadsafe(self.got.append, 1)
        asyncore.loop(kit.PATIENCE, self.use_poll)
        self.assertEqual(self.got, [1])
        asyncore.call_soon_threadsafe(self.got.append, 2)
        asyncore.loop(kit.PATIENCE, self.use_poll)
        self.assertEqual(self.got, [1, 2])
        self.assertEqual(asyncore._calls, {})

    @kit.each_poller
    def test_between_the_last_pass_and_the_end(self):
        """A call that is added while the last ones are made is for the next
        loop."""

        def last():
            asyncore.call_soon_threadsafe(self.got.append, 1)

        asyncore.call_soon_threadsafe(last)
        asyncore.loop(kit.PATIENCE, self.use_poll)
        self.assertEqual(self.got, [])
        asyncore.loop(kit.PATIENCE, self.use_poll)
        self.assertEqual(self.got, [1])

    @kit.each_poller
    def test_none_is_lost(self):
        """Threads against a loop that comes and goes."""
        for map in own_maps():
            self.got.clear()
            threads = [
                self.start(self.call_often, map, base)
                for base in (0, 1000, 2000)
            ]
            while any(thread.is_alive() for thread in threads):
                channel = self.idle(map)
                asyncore.call_later(0.001, channel.close, map=map)
                asyncore.loop(kit.PATIENCE, self.use_poll, map)
            asyncore.loop(kit.PATIENCE, self.use_poll, map)
            self.assertEqual(sorted(self.got), list(range(3000)))
            for base in (0, 1000, 2000):
                mine = [n for n in self.got if base <= n < base + 1000]
                self.assertEqual(mine, sorted(mine))

    def call_often(self, map, base):
        for number in range(base, base + 1000):
            asyncore.call_soon_threadsafe(self.got.append, number, map=map)

    @kit.each_poller
    def test_many_maps(self):
        """More than the core keeps at hand: none is forgotten before its
        loop has seen that it was called."""
        maps = [{} for _ in range(40)]
        for map in maps:
            self.idle(map)
            asyncore.call_soon_threadsafe(self.got.append, 1, map=map)
        for map in maps:
            asyncore.loop(kit.PATIENCE, self.use_poll, map, 1)
        self.assertEqual(len(self.got), 40)

    @kit.each_poller
    def test_signals(self):
        self.idle()

        def handler(*_):
            asyncore.call_soon_threadsafe(asyncore.close_all)

        old = signal.signal(signal.SIGALRM, handler)
        self.addCleanup(signal.signal, signal.SIGALRM, old)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        start = time.monotonic()
        asyncore.loop(kit.PATIENCE, self.use_poll)
        self.assertLess(time.monotonic() - start, kit.PATIENCE)

    @kit.each_poller
    def test_fork(self):
        """The child's calls wake the child."""
        for map in own_maps():
            channel = self.idle(map)
            asyncore.call_soon_threadsafe(self.got.append, 1, map=map)
            self.step(map=map)
            pid = os.fork()
            if pid == 0:
                try:
                    asyncore.call_soon_threadsafe(channel.close, map=map)
                    asyncore.loop(kit.PATIENCE, self.use_poll, map)
                    os._exit(0 if not map else 1)
                finally:
                    os._exit(2)
            self.assertEqual(os.waitpid(pid, 0)[1], 0)
            start = time.monotonic()
            asyncore.loop(0.02, self.use_poll, map, 1)
            self.assertGreaterEqual(time.monotonic() - start, 0.019)
            asyncore.close_all(map)

    def test_own_select(self):
        """Somebody has put a select() of his own into the module."""
        genuine = select.select
        self.replace(select, "select", lambda *args: genuine(*args))
        self.test_while_it_waits_there()

    def test_while_it_waits_there(self):
        map = {}
        self.idle(map)
        asyncore.call_soon_threadsafe(self.start_late, map, map=map)
        asyncore.loop(kit.PATIENCE, False, map)
        self.assertEqual(self.got, [1])


class NotImportedTest(unittest.TestCase):
    def test_it_is_not(self):
        """Who makes no calls pays nothing for them: an import brings what
        the original did, and us."""
        code = (
            "import errno, os, select, socket, sys, time, warnings\n"
            "before = set(sys.modules)\n"
            "import asyncore\n"
            "print(*sorted(set(sys.modules) - before))"
        )
        output = subprocess.check_output(
            [sys.executable, "-W", "ignore", "-c", code], text=True
        )
        self.assertEqual(output, "_asyncore asyncore\n")


def load_tests(loader, tests, pattern):
    return tests if kit.OURS else unittest.TestSuite()


if __name__ == "__main__":
    kit.main()
