# SPDX-License-Identifier: MIT
"""line_streams.py PORT [uvloop]: lines, as asyncio's streams read them."""

import asyncio

import asyncio_server


async def answer(reader, writer):
    """Until the peer has had enough."""
    try:
        while True:
            line = await reader.readuntil(b"\r\n")
            writer.write(b"+" + line)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def listen(**where):
    """For asyncio_server.main()."""
    return await asyncio.start_server(answer, **where)


if __name__ == "__main__":
    asyncio_server.main(listen)
