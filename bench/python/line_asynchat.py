# SPDX-License-Identifier: MIT
"""line_asynchat.py PORT [poll]: answers each line L that ends in CRLF with
"+L" CRLF."""

import asynchat

import server


class LineHandler(asynchat.async_chat):
    """Collects a line, answers it."""

    def __init__(self, sock):
        asynchat.async_chat.__init__(self, sock)
        self.set_terminator(b"\r\n")
        self.data = []

    def collect_incoming_data(self, data):
        self.data.append(data)

    def found_terminator(self):
        line = b"".join(self.data)
        self.data = []
        self.push(b"+" + line + b"\r\n")


if __name__ == "__main__":
    server.main(LineHandler)
