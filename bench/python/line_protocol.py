# SPDX-License-Identifier: MIT
"""line_protocol.py PORT [uvloop]: lines, as fast as asyncio lets one write
it: all that came in at once is split, and answered in one write."""

import asyncio

import asyncio_server


class LineProtocol(asyncio.Protocol):
    """Keeps the beginning of a line until its end comes."""

    def connection_made(self, transport):
        self.transport = transport
        self.tail = b""

    def data_received(self, data):
        *lines, self.tail = (self.tail + data).split(b"\r\n")
        if lines:
            self.transport.write(
                b"".join([b"+%b\r\n" % line for line in lines])
            )


if __name__ == "__main__":
    asyncio_server.main_protocol(LineProtocol)
