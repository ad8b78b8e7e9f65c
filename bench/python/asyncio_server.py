# SPDX-License-Identifier: MIT
"""What the servers on asyncio share; their arguments are PORT [uvloop]."""

import asyncio
import sys


async def serve(listen):
    """Serve with what listen(**where) makes a server."""
    server = await listen(
        host="127.0.0.1", port=int(sys.argv[1]), backlog=4096
    )
    print("listening on %s:%d" % server.sockets[0].getsockname(), flush=True)
    await server.serve_forever()


def main(listen):
    """Serve, on the event loop that is asked for."""
    if "uvloop" in sys.argv[2:]:
        import uvloop

        uvloop.install()
    asyncio.run(serve(listen))


def main_protocol(protocol):
    """Serve with a class of asyncio.Protocol."""

    async def listen(**where):
        loop = asyncio.get_running_loop()
        return await loop.create_server(protocol, **where)

    main(listen)
