# SPDX-License-Identifier: MIT
"""The driver for Cassandra: a loop in a thread, woken by a pipe; a connection
with two bases, of which Debian has the other one compiled."""

import socketserver
import struct
import threading
import unittest

import support
from support import asyncore, kit

reactor, connection, protocol, cassandra = support.need(
    "cassandra.io.asyncorereactor",
    "cassandra.connection",
    "cassandra.protocol",
    "cassandra",
)
STARTUP, READY, OPTIONS, SUPPORTED, QUERY, RESULT = 1, 2, 5, 6, 7, 8
VOID = struct.pack(">i", 1)


def string(text):
    return struct.pack(">H", len(text)) + text


class Handler(socketserver.StreamRequestHandler):
    """As much of a server as is needed: frames of version 4, one after the
    other, and a result without rows for each query."""

    def handle(self):
        while True:
            header = self.rfile.read(9)
            if len(header) < 9:
                return
            _, _, stream, opcode, length = struct.unpack(">BBhBI", header)
            self.answer(stream, opcode, self.rfile.read(length))

    def answer(self, stream, opcode, body):
        if opcode == OPTIONS:
            versions = struct.pack(">H", 1) + string(b"3.4.4")
            none = struct.pack(">H", 0)
            options = string(b"CQL_VERSION") + versions
            options += string(b"COMPRESSION") + none
            self.send(stream, SUPPORTED, struct.pack(">H", 2) + options)
        elif opcode == STARTUP:
            self.send(stream, READY, b"")
        elif opcode == QUERY:
            (length,) = struct.unpack_from(">I", body)
            self.server.queries.append(body[4 : 4 + length])
            self.send(stream, RESULT, VOID)

    def send(self, stream, opcode, body):
        header = struct.pack(">BBhBI", 0x84, 0, stream, opcode, len(body))
        self.wfile.write(header + body)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.queries = []


class DriverTest(unittest.TestCase):
    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.server_close)
        thread = threading.Thread(
            target=self.server.serve_forever, args=(0.02,)
        )
        thread.start()
        self.addCleanup(thread.join, kit.PATIENCE)
        self.addCleanup(self.server.shutdown)
        reactor.AsyncoreConnection.initialize_reactor()

    def connect(self):
        endpoint = connection.DefaultEndPoint(*self.server.server_address)
        conn = reactor.AsyncoreConnection.factory(
            endpoint, kit.PATIENCE, protocol_version=4
        )
        self.addCleanup(conn.close)
        return conn

    def ask(self, conn, text):
        one = cassandra.ConsistencyLevel.ONE
        message = protocol.QueryMessage(text, one)
        answer = conn.wait_for_response(message, timeout=kit.PATIENCE)
        self.assertEqual(answer.kind, protocol.RESULT_KIND_VOID)

    def test_bases(self):
        bases = reactor.AsyncoreConnection.__bases__
        self.assertEqual(bases, (connection.Connection, asyncore.dispatcher))

    def test_queries(self):
        conn = self.connect()
        self.assertIn(conn, reactor._dispatcher_map.values())
        for number in range(50):
            self.ask(conn, f"query {number}")
        want = [b"query %d" % number for number in range(50)]
        self.assertEqual(self.server.queries, want)

    def test_large_query(self):
        """In pieces, as the server takes them."""
        text = "x" * (8 << 20)
        self.ask(self.connect(), text)
        self.assertEqual(self.server.queries, [text.encode()])

    def test_threads(self):
        """Connections that are made, used and closed by several threads."""
        failures = []

        def work(name):
            try:
                conn = self.connect()
                for number in range(20):
                    self.ask(conn, f"{name} {number}")
                conn.close()
            except Exception as error:
                failures.append(error)

        threads = [
            threading.Thread(target=work, args=(name,)) for name in "abcd"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(kit.PATIENCE)
        self.assertEqual(failures, [])
        self.assertEqual(len(self.server.queries), 80)

    def test_server_goes(self):
        """Who waits is told."""
        conn = self.connect()
        self.ask(conn, "query")
        conn._socket.shutdown(2)
        with self.assertRaises((connection.ConnectionShutdown, OSError)):
            self.ask(conn, "query")
        self.assertTrue(conn.is_closed or conn.is_defunct)


if __name__ == "__main__":
    unittest.main()
