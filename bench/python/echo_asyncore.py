# SPDX-License-Identifier: MIT
"""echo_asyncore.py PORT [poll]: the echo of asyncore's documentation."""

import asyncore

import server


class EchoHandler(asyncore.dispatcher_with_send):
    """Sends back what it gets."""

    def handle_read(self):
        data = self.recv(8192)
        if data:
            self.send(data)


if __name__ == "__main__":
    server.main(EchoHandler)
