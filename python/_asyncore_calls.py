# SPDX-License-Identifier: MIT
"""Calls that the loop of a map is to make: later, or for other threads.

asyncore._calls has them by the map's id, from the first one on until there
are none.  Nothing of this is imported before.
"""

import math
import os
import time
from _thread import RLock
from heapq import heappop, heappush
from itertools import count

# Held where calls of other threads, or of a signal handler, could get lost.
_lock = RLock()

# So many that were cancelled are no waste.
FEW = 64


def _forked():
    """Who held it may not be here."""
    global _lock
    _lock = RLock()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_forked)


def add(space, map, function, args, delay=None):
    """Add a call, for the asyncore whose globals are space.  Without a delay
    it is for another thread's loop, which may be waiting."""
    if map is None:
        map = space['socket_map']
    when = time.monotonic() + max(0.0, delay or 0.0)
    with _lock:
        calls = space['_calls'].get(id(map))
        if calls is None:
            calls = space['_calls'][id(map)] = Calls(space, map)
        call = calls.add(when, function, args)
    calls.tell(delay is None)
    return call


class Call:
    """A call that can be cancelled."""

    __slots__ = ('calls', 'function', 'args')

    def __init__(self, calls, function, args):
        self.calls = calls
        self.function = function
        self.args = args

    @property
    def cancelled(self):
        """Was it, or has it been made?"""
        return self.function is None

    def cancel(self):
        """Do not make it."""
        if self.function is not None:
            self.calls.cancelled += 1
            self.function = self.args = None

    def make(self):
        """Only once."""
        function, args = self.function, self.args
        self.function = self.args = None
        if function is not None:
            function(*args)


class Calls:
    """The calls of a map, by time."""

    def __init__(self, space, map):
        self.space = space
        self.map = map
        self.heap = []
        self.numbers = count(1)
        self.last = 0
        self.cancelled = 0
        self.waker = None

    def add(self, when, function, args):
        call = Call(self, function, args)
        self.last = number = next(self.numbers)
        heappush(self.heap, (when, number, call))
        return call

    def tell(self, wake):
        """Whoever serves the map looks at it, if need be at once."""
        attachment = self.space['_attachments'].get(id(self.map))
        if attachment is not None:
            attachment.touch()
        elif wake:
            self.space['_events'].wake(self.map)
            waker = self.waker
            if waker is not None:
                waker.wake()

    # ---- in the thread of the loop ----

    def before_pass(self, timeout):
        """Make those that are due; returns how long to wait, at most."""
        self._make()
        return self._limit(timeout)

    def after_pass(self):
        """The same, and go if nothing is left."""
        self._make()
        if not self.map:
            self.waker = None
        self._clean()
        return self._limit(None)

    def finish(self):
        """The map is empty, and its loop about to end: make those that are
        due.  True if they have brought channels; else others are cancelled."""
        self._make()
        if self.map:
            return True
        self.cancel_late()
        return False

    def cancel_late(self):
        """Nobody will make those that are not due."""
        now = time.monotonic()
        for when, _, call in tuple(self.heap):
            if when > now:
                call.cancel()
        self.waker = None
        self._clean()

    def _make(self):
        """Up to the last one there is now: those that are added meanwhile
        must not keep the pass from ending."""
        now = time.monotonic()
        last = self.last
        while self.heap and self.heap[0][0] <= now:
            if self.heap[0][1] > last:
                break
            heappop(self.heap)[2].make()

    def _clean(self):
        """Drop what was cancelled; nothing at all is to be kept."""
        many = self.cancelled > max(FEW, len(self.heap) // 2)
        kept = []
        with _lock:
            while self.heap and (many or self.heap[0][2].cancelled):
                kept.append(heappop(self.heap))
            for item in kept:
                if not item[2].cancelled:
                    heappush(self.heap, item)
            if many or not self.heap:
                self.cancelled = 0
            self._go()

    def _go(self):
        table, key = self.space['_calls'], id(self.map)
        if not self.heap and self.waker is None and table.get(key) is self:
            del table[key]
            if self.heap:  # a signal has come
                table[key] = self

    def _limit(self, timeout, unit=1):
        """A timeout, or how long it is until the next call."""
        if not self.heap:
            return timeout
        left = max(0.0, self.heap[0][0] - time.monotonic())
        if unit != 1:
            left = math.ceil(left * unit)
        return left if timeout is None or not 0 <= timeout < left else timeout

    def before_wait(self, timeout, unit=1):
        """For a pass that the core does not make: a descriptor by which
        others end the wait, and how long that is to be."""
        if self.waker is None or self.waker.pid != os.getpid():
            self.waker = Waker()
        self.waker.drain()
        return self.waker.reader, self._limit(timeout, unit)


class Waker:
    """A pipe, readable when a call has come."""

    def __init__(self):
        self.pid = os.getpid()
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self.writer, False)

    def __del__(self):
        os.close(self.reader)
        os.close(self.writer)

    def wake(self):
        try:
            os.write(self.writer, b'.')
        except BlockingIOError:
            pass  # full: it is readable

    def drain(self):
        try:
            os.read(self.reader, 65536)
        except BlockingIOError:
            pass
