# SPDX-License-Identifier: MIT
"""`python -m asyncore`: what this is, and does it work?"""

import socket
import sys

import _asyncore
import asynchat
import asyncore


class Echo(asynchat.async_chat):
    """Sends back each line."""

    def __init__(self, sock, map):
        asynchat.async_chat.__init__(self, sock, map)
        self.set_terminator(b'\n')

    collect_incoming_data = asynchat.async_chat._collect_incoming_data

    def found_terminator(self):
        self.push(self._get_data() + b'\n')


class Client(asyncore.dispatcher_with_send):
    """Sends a line, and closes with the answer."""

    answer = b''

    def handle_read(self):
        self.answer += self.recv(4096)
        if self.answer.endswith(b'\n'):
            self.close()


def test(use_poll):
    """A line there and back; returns what served it, or None."""
    map = {}
    one, other = socket.socketpair()
    Echo(one, map)
    client = Client(other, map)
    client.send(b'hello\n')
    asyncore.loop(1, use_poll, map, count=10)
    served = asyncore.backend(map)
    asyncore.close_all(map)
    return served if client.answer == b'hello\n' else None


def main():
    """Print a few lines; returns 0 if all is well."""
    results = {name: test(name == 'poll') for name in ('select', 'poll')}
    print('libasyncore %s, %s' % (_asyncore.version, _asyncore.__file__))
    print('backends: %s' % ' '.join(_asyncore.backends()))
    for name, served in results.items():
        print('self-test, loop with %s: %s' % (
            name, 'ok, served by ' + served if served else 'FAILED'))
    return 0 if all(results.values()) else 1


if __name__ == '__main__':
    sys.exit(main())
