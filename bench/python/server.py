# SPDX-License-Identifier: MIT
"""The listener of the old-style programs: asyncore as it was written."""

import asyncore
import socket
import sys


class Server(asyncore.dispatcher):
    """Gives each connection to a handler of the class."""

    def __init__(self, port, handler):
        asyncore.dispatcher.__init__(self)
        self.handler = handler
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        # What is accepted inherits it.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.bind(("127.0.0.1", port))
        self.listen(1024)

    def handle_accepted(self, sock, addr):
        self.handler(sock)


def main(handler):
    """Serve; the arguments are PORT [poll]."""
    server = Server(int(sys.argv[1]), handler)
    print("listening on %s:%d" % server.socket.getsockname(), flush=True)
    asyncore.loop(use_poll="poll" in sys.argv[2:])
