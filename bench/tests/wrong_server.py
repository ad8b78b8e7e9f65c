# SPDX-License-Identifier: MIT
"""wrong_server.py PORT FAULT: a server that is wrong in one way.

It answers bytes or, with a FAULT that begins with "lines", lines; most faults
show after some good answers."""

import contextlib
import itertools
import socket
import sys
import threading

GOOD = 20  # answers before the fault
QUIET = 0.2  # seconds


def right(data, _):
    """Nothing is wrong."""
    return data


def other_byte(data, turn):
    """The last byte is another."""
    return data if turn < GOOD else data[:-1] + b"\0"


def late_byte(data, turn):
    """One byte less than is due, for ever after."""
    return data if turn < GOOD else data[1:] + data[:1]


def too_much(data, turn):
    """A byte that nobody asked for."""
    return data if turn < GOOD else data + b"x"


def swapped(data, turn):
    """The two halves, which are messages, in the wrong order."""
    half = len(data) // 2
    return data if turn < GOOD else data[half:] + data[:half]


def end(data, turn):
    """It closes the connection."""
    return data if turn < GOOD else None


def first(data, _):
    """Wrong from the beginning."""
    return b"\0" * len(data)


def idle_end(data, _):
    """A connection that has asked once, and then is quiet, is closed."""
    return data


def lines(data, _):
    """Right, for lines."""
    return b"".join(b"+" + line for line in data.splitlines(True))


def lines_plus(data, turn):
    """The answer lacks its plus."""
    return lines(data, turn) if turn < GOOD else b"-" + lines(data, turn)[1:]


def serve(conn, answer):
    """Answer until there is nothing more, or nothing more to say."""
    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with conn, contextlib.suppress(TimeoutError):
        for turn in itertools.count():
            conn.settimeout(
                QUIET if answer is idle_end and turn == 1 else None
            )
            data = conn.recv(65536)
            reply = answer(data, turn) if data else None
            if reply is None:
                return
            conn.sendall(reply)


def main():
    """Serve until SIGTERM."""
    answer = globals()[sys.argv[2]]
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    print("listening on %s:%d" % listener.getsockname(), flush=True)
    while True:
        conn, _ = listener.accept()
        threading.Thread(
            target=serve, args=(conn, answer), daemon=True
        ).start()


if __name__ == "__main__":
    main()
