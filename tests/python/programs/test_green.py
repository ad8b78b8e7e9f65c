# SPDX-License-Identifier: MIT
"""gevent and eventlet replace what is in select, socket and time: a loop
that waits must let their other green threads run."""

import subprocess
import sys
import unittest

import support
from support import kit

# An echo server on the modules and a client in a green thread: they can
# only talk if each gives way to the other.  {patch} and {load} are done in
# either order.
PROGRAM = """
import sys, warnings
warnings.simplefilter("ignore")
sys.path.append({debian!r})
{first}
{second}
import socket, select, time
spawn, sleep = {spawn}, {sleep}
turns, answers = [], []

class Echo(asynchat.async_chat):
    def __init__(self, sock):
        super().__init__(sock)
        self.set_terminator(b"\\n")
    def collect_incoming_data(self, data):
        self.line = data
    def found_terminator(self):
        self.push(b"+" + self.line + b"\\n")

class Server(asyncore.dispatcher):
    def __init__(self):
        super().__init__()
        self.create_socket()
        self.bind(("127.0.0.1", 0))
        self.listen(5)
    def handle_accepted(self, sock, addr):
        Echo(sock)

server = Server()
address = server.socket.getsockname()

def client():
    with socket.create_connection(address) as sock:
        file = sock.makefile("rb")
        for number in range(20):
            sock.sendall(b"%d\\n" % number)
            answers.append(file.readline())
            sleep(0)

def ticker():
    while True:
        turns.append(1)
        sleep(0.001)

spawn(ticker)
spawn(client)
while len(answers) < 20:
    asyncore.loop(5, {use_poll}, None, 1)
assert answers == [b"+%d\\n" % n for n in range(20)], answers
assert turns, "no other green thread ran"
kind = type(server.socket)
assert kind is socket.socket, kind
print(len(answers), kind.__module__)
"""

LOAD = "import asyncore, asynchat"
GREEN = {
    "gevent": {
        "patch": "from gevent import monkey; monkey.patch_all()",
        "spawn": "__import__('gevent').spawn",
        "sleep": "__import__('gevent').sleep",
    },
    "eventlet": {
        "patch": "import eventlet; eventlet.monkey_patch()",
        "spawn": "__import__('eventlet').spawn",
        "sleep": "__import__('eventlet').sleep",
    },
}


support.need(*GREEN)


class GreenTest(unittest.TestCase):
    def run_program(self, name, first, second, use_poll):
        green = GREEN[name]
        program = PROGRAM.format(
            debian=support.DEBIAN,
            first=first,
            second=second,
            spawn=green["spawn"],
            sleep=green["sleep"],
            use_poll=use_poll,
        )
        return subprocess.run(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
        )

    def check(self, name):
        patch = GREEN[name]["patch"]
        for first, second in ((patch, LOAD), (LOAD, patch)):
            for use_poll in (False, True):
                with self.subTest(first=first, use_poll=use_poll):
                    result = self.run_program(name, first, second, use_poll)
                    self.assertEqual(result.returncode, 0, result.stderr)
                    self.assertTrue(result.stdout.startswith("20 "))

    def test_gevent(self):
        self.check("gevent")

    def test_eventlet(self):
        self.check("eventlet")

    def test_eventlet_green(self):
        """Eventlet has modules of its own made of these: it executes them
        once more, with its select, socket and time in their place."""
        load = (
            "from eventlet.green import asyncore, asynchat\n"
            "import eventlet.green.socket\n"
            "sys.modules['socket'] = eventlet.green.socket"
        )
        result = self.run_program("eventlet", "import eventlet", load, False)
        self.assertEqual(result.returncode, 0, result.stderr)


if __name__ == "__main__":
    kit.main()
