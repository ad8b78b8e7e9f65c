# SPDX-License-Identifier: MIT
"""A hundred thousand connections come and go, and nothing stays."""

import gc
import os
import resource
import socket
import sys
import tracemalloc
import unittest

import kit
from kit import asynchat, asyncore

CONNECTIONS = int(os.environ.get("CONNECTIONS", "100000"))


def pages():
    """What the process has in memory now, in KiB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1024


def descriptors():
    return len(os.listdir("/proc/self/fd"))


class Line(asynchat.async_chat):
    """It answers one line, and goes."""

    def __init__(self, sock, map=None):
        super().__init__(sock, map)
        self.set_terminator(b"\n")

    collect_incoming_data = asynchat.async_chat._collect_incoming_data

    def found_terminator(self):
        self.push(self._get_data())
        self.close_when_done()


class Echo(asyncore.dispatcher_with_send):
    """It sends back what comes, until the end."""

    def handle_read(self):
        self.send(self.recv(99))

    def handle_close(self):
        self.close()


class Fails(asyncore.dispatcher):
    """Its handler does not work."""

    def handle_read(self):
        raise KeyError

    def handle_error(self):
        self.close()


class LeakTest(kit.TestCase):
    def churn(self, kind, connections):
        """Connections one by one, each served to its end."""
        for _ in range(connections):
            near, far = socket.socketpair()
            kind(near)
            far.send(b"x\n")
            asyncore.loop(1, self.use_poll, None, 1)
            far.close()
            asyncore.loop(1, self.use_poll)

    def growths(self, kind):
        """By how much what is allocated grows with 500 connections, time
        after time; a table may double once, and no more."""
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        traced = []
        for _ in range(4):
            self.churn(kind, 500)
            gc.collect()
            traced.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        return [after - before for before, after in zip(traced, traced[1:])]

    def check(self, kind, connections):
        """After a warming up, memory, descriptors, counts are level."""
        self.churn(kind, 1000)
        gc.collect()
        before = pages(), descriptors(), sys.getrefcount(kind)
        grown = self.growths(kind)
        self.churn(kind, connections)
        gc.collect()
        self.assertLess(min(grown), 4096)
        self.assertLess(pages() - before[0], 2048)
        self.assertEqual(descriptors(), before[1])
        self.assertEqual(sys.getrefcount(kind), before[2])
        self.assertEqual(asyncore.socket_map, {})

    def test_lines(self):
        self.check(Line, CONNECTIONS)

    def test_echo(self):
        self.check(Echo, CONNECTIONS // 10)

    def test_failures(self):
        self.check(Fails, CONNECTIONS // 10)

    def test_with_poll(self):
        self.use_poll = True
        self.check(Line, CONNECTIONS // 10)

    def test_counts_of_what_is_shared(self):
        """None, True, the module's own objects: passes leave their
        counts alone."""
        near, far = self.pair()
        channel = kit.Reader(near)
        shared = (
            asyncore.socket_map,
            asyncore._DISCONNECTED,
            asyncore.dispatcher,
            channel,
            near,
            socket,
        )
        for use_poll in (False, True):
            self.use_poll = use_poll
            self.step(10)
            before = [sys.getrefcount(thing) for thing in shared]
            for _ in range(1000):
                far.send(b"x")
                self.step()
            after = [sys.getrefcount(thing) for thing in shared]
            self.assertEqual(after, before)

    def test_errors_are_let_go(self):
        """A handled exception, its frames, and what they hold."""

        class Holds:
            alive = 0

            def __init__(self):
                Holds.alive += 1

            def __del__(self):
                Holds.alive -= 1

        class Raises(asyncore.dispatcher):
            def handle_write(self):
                held = Holds()
                raise KeyError(held)

            def handle_error(self):
                pass

        Raises(self.pair()[0])
        for use_poll in (False, True):
            self.use_poll = use_poll
            self.step(100)
            gc.collect()
            self.assertEqual(Holds.alive, 0)

    def test_classes_are_forgotten(self):
        """Of which there are no channels any more."""
        kinds = [
            type(f"Kind{i}", (asyncore.dispatcher,), {}) for i in range(3000)
        ]
        for kind in kinds[:1000]:
            kind()
        gc.collect()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for kind in kinds[1000:]:
            kind()
        gc.collect()
        self.assertLess(tracemalloc.get_traced_memory()[0], 100_000)


    @unittest.skipUnless(hasattr(sys, "gettotalrefcount"), "a debug build's")
    def test_total_count(self):
        self.churn(Line, 100)
        gc.collect()
        before = sys.gettotalrefcount()
        self.churn(Line, 1000)
        gc.collect()
        self.assertLess(sys.gettotalrefcount() - before, 100)


if __name__ == "__main__":
    kit.main()
