# SPDX-License-Identifier: MIT
"""What the tests of the drop-in share.

The modules under test are the first on sys.path.  ASYNCORE_UNDER_TEST says
which these must be: a directory, or "stock" for the ones Python came with up
to 3.11, on which every test here holds, too, unless it says otherwise.
"""

import functools
import importlib
import os
import select
import socket
import sys
import unittest
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import asyncore
    import asynchat

UNDER_TEST = os.environ.get("ASYNCORE_UNDER_TEST", "stock")
OURS = UNDER_TEST != "stock"
STDLIB = os.path.dirname(os.path.realpath(os.__file__))
PATIENCE = 10


def check_modules():
    """No test may pass on modules that it was not meant for."""
    want = os.path.realpath(UNDER_TEST) if OURS else STDLIB
    for module in (asyncore, asynchat):
        got = os.path.dirname(os.path.realpath(module.__file__))
        if got != want:
            raise SystemExit(f"{module.__name__} is from {got}, not {want}")


check_modules()

ours_only = unittest.skipUnless(OURS, "the original does not")
stock_only = unittest.skipIf(OURS, "ours does not")


class TestCase(unittest.TestCase):
    """Every test begins and ends with an empty default map."""

    use_poll = False

    def setUp(self):
        asyncore.socket_map.clear()
        self.addCleanup(self.clean)

    def clean(self):
        asyncore.close_all(ignore_all=True)
        asyncore.socket_map.clear()

    def step(self, count=1, map=None, timeout=0):
        """Passes of the loop that do not wait."""
        asyncore.loop(timeout, self.use_poll, map, count)

    def until(self, condition, map=None):
        """Passes of the loop up to when the condition is true."""
        for _ in range(PATIENCE * 100):
            if condition():
                return
            asyncore.loop(0.01, self.use_poll, map, 1)
        self.fail("it never came to pass")

    def pair(self, family=None):
        """Two sockets that are connected; both are closed in the end."""
        ends = tcp_pair() if family == "tcp" else socket.socketpair()
        for end in ends:
            self.addCleanup(end.close)
        return ends

    def pipe(self):
        """The two ends of a pipe, as files without a buffer."""
        return [
            self.enter(os.fdopen(fd, mode, 0))
            for fd, mode in zip(os.pipe(), ("rb", "wb"))
        ]

    def enter(self, context):
        """enterContext, which came with 3.11."""
        result = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return result

    def replace(self, owner, name, value):
        """Set an attribute until the end of the test."""
        self.addCleanup(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, value)

    def listen(self, family=socket.AF_INET):
        """A socket that listens, and its address."""
        address = ("127.0.0.1" if family == socket.AF_INET else "::1", 0)
        listener = socket.create_server(address, family=family)
        self.addCleanup(listener.close)
        return listener, listener.getsockname()


def each_poller(test):
    """Run the test with select and with poll."""

    @functools.wraps(test)
    def both(self):
        for name in ("select", "poll"):
            with self.subTest(poller=name):
                self.use_poll = name == "poll"
                try:
                    test(self)
                finally:
                    self.clean()

    return both


def tcp_pair():
    """Two connected TCP sockets that send at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    for end in (client, server):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client, server


def settle(sock, events=select.POLLIN):
    """Wait until the kernel says so."""
    poller = select.poll()
    poller.register(sock, events)
    if not poller.poll(PATIENCE * 1000):
        raise AssertionError("nothing came")


def reset(sock):
    """Close so that the peer sees a reset."""
    sock.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
    )
    sock.close()


def fill(sock):
    """Send until nothing more fits."""
    sock.setblocking(False)
    try:
        while True:
            sock.send(bytes(65536))
    except BlockingIOError:
        pass


class Recorder:
    """A mixin that writes down which handlers are called."""

    def __init__(self, *args, **kwargs):
        self.calls = []
        super().__init__(*args, **kwargs)

    def handle_read(self):
        self.calls.append("read")

    def handle_write(self):
        self.calls.append("write")

    def handle_expt(self):
        self.calls.append("expt")

    def handle_connect(self):
        self.calls.append("connect")

    def handle_accepted(self, sock, _):
        self.calls.append("accepted")
        sock.close()

    def handle_close(self):
        self.calls.append("close")
        self.close()

    def handle_error(self):
        self.calls.append("error " + sys.exc_info()[0].__name__)
        self.handle_close()

    def taken(self):
        """What was called since this was asked last."""
        calls, self.calls = self.calls, []
        return calls


class Channel(Recorder, asyncore.dispatcher):
    """A dispatcher that records."""


class Reader(Channel):
    """It is interested in reading only, and reads."""

    def __init__(self, *args, **kwargs):
        self.data = b""
        super().__init__(*args, **kwargs)

    def writable(self):
        return False

    def handle_read(self):
        super().handle_read()
        self.data += self.recv(65536)


def reimport(*names):
    """Import the modules once more, as if for the first time."""
    saved = {name: sys.modules.pop(name) for name in names}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return [importlib.import_module(name) for name in names]
    finally:
        sys.modules.update(saved)


def main():
    unittest.main(module="__main__")
