# SPDX-License-Identifier: MIT
"""echo_protocol.py PORT [uvloop]: the echo of asyncio's documentation."""

import asyncio

import asyncio_server


class EchoProtocol(asyncio.Protocol):
    """Sends back what it gets."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


if __name__ == "__main__":
    asyncio_server.main_protocol(EchoProtocol)
