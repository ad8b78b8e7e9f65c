# SPDX-License-Identifier: MIT
"""TLS over the modules, as old programs do it: the socket is wrapped and
takes its place under the same descriptor."""

import os
import select
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest

import kit
from kit import asynchat, asyncore


@unittest.skipUnless(shutil.which("openssl"), "needs openssl")
class TLSTestCase(kit.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.certificate = os.path.join(cls.folder.name, "cert.pem")
        subprocess.run(
            "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -batch"
            f" -subj /CN=localhost -keyout {cls.certificate}.key"
            f" -out {cls.certificate}".split(),
            check=True,
            stderr=subprocess.DEVNULL,
        )

    def server_context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.certificate + ".key")
        return context

    def client_context(self):
        context = ssl.create_default_context(cafile=self.certificate)
        context.check_hostname = False
        return context


class Secure(asynchat.async_chat):
    """Lines; STARTTLS switches, and STOPTLS switches back."""

    context = None
    shaking = False

    def __init__(self, sock, map=None):
        super().__init__(sock, map)
        self.lines = []
        self.set_terminator(b"\n")

    collect_incoming_data = asynchat.async_chat._collect_incoming_data

    def found_terminator(self):
        line = self._get_data()
        self.lines.append(line)
        if line == b"STARTTLS":
            self.push(b"go\n")
            self.secure()
        else:
            self.push(b"+" + line + b"\n")

    def secure(self):
        """The wrapped socket has the same number and takes the place."""
        self.del_channel()
        wrapped = self.context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )
        self.set_socket(wrapped)
        self.shaking = True

    def handle_read_event(self):
        if self.shaking:
            self.shake()
        else:
            super().handle_read_event()

    def handle_write_event(self):
        if self.shaking:
            self.shake()
        else:
            super().handle_write_event()

    def writable(self):
        return not self.shaking and super().writable()

    def shake(self):
        try:
            self.socket.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        self.shaking = False

    def recv(self, size):
        try:
            return super().recv(size)
        except ssl.SSLWantReadError:
            raise BlockingIOError from None

    def handle_error(self):
        raise

    def readable(self):
        """What TLS has decoded already is no event for the kernel."""
        pending = getattr(self.socket, "pending", None)
        while pending is not None and not self.shaking and pending():
            self.handle_read_event()
        return super().readable()


class StartTLSTest(TLSTestCase):
    def talk(self, client, steps):
        """What the client does, in a thread, while the loop runs."""
        result, errors = [], []

        def run():
            try:
                steps(client, result)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        while thread.is_alive():
            asyncore.loop(0.01, self.use_poll, None, 1)
        thread.join()
        if errors:
            raise errors[0]
        return result

    @kit.each_poller
    def test_switch(self):
        near, far = self.pair("tcp")
        far.settimeout(kit.PATIENCE)
        channel = Secure(near)
        channel.context = self.server_context()
        number = channel._fileno

        def steps(client, result):
            file = client.makefile("rb")
            client.sendall(b"plain\n")
            result.append(file.readline())
            client.sendall(b"STARTTLS\n")
            result.append(file.readline())
            with self.client_context().wrap_socket(client) as secure:
                file = secure.makefile("rb")
                for line in (b"one\n", b"x" * 40000 + b"\n", b"a\nb\nc\n"):
                    secure.sendall(line)
                    for _ in range(line.count(b"\n")):
                        result.append(file.readline())

        got = self.talk(far, steps)
        self.assertEqual(
            got,
            [b"+plain\n", b"go\n", b"+one\n", b"+" + b"x" * 40000 + b"\n"]
            + [b"+a\n", b"+b\n", b"+c\n"],
        )
        self.assertEqual(channel.lines[1], b"STARTTLS")
        self.until(lambda: not asyncore.socket_map)
        self.assertIsInstance(channel.socket, ssl.SSLSocket)
        self.assertIsInstance(number, int)

    @kit.each_poller
    def test_plain_assignment(self):
        """self.socket = wrapped, and nothing else is told."""
        near, far = self.pair("tcp")
        far.settimeout(kit.PATIENCE)

        class Assigns(Secure):
            def secure(self):
                self.socket = self.context.wrap_socket(
                    self.socket,
                    server_side=True,
                    do_handshake_on_connect=False,
                )
                self.shaking = True

        channel = Assigns(near)
        channel.context = self.server_context()

        def steps(client, result):
            client.sendall(b"STARTTLS\n")
            result.append(client.recv(3))
            with self.client_context().wrap_socket(client) as secure:
                secure.sendall(b"hello\n")
                result.append(secure.recv(99))

        self.assertEqual(self.talk(far, steps), [b"go\n", b"+hello\n"])

    def test_bytes_are_not_read_ahead(self):
        """The client's hello comes together with the command: what is
        not taken from the kernel by one recv stays there for TLS."""
        near, far = self.pair("tcp")
        channel = Secure(near)
        channel.ac_in_buffer_size = len(b"STARTTLS\n")
        channel.context = self.server_context()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = self.client_context().wrap_bio(incoming, outgoing)
        self.assertRaises(ssl.SSLWantReadError, client.do_handshake)
        far.sendall(b"STARTTLS\n" + outgoing.read())
        kit.settle(near)
        far.settimeout(kit.PATIENCE)
        greeted = False
        for _ in range(20):
            self.step(timeout=0.05)
            if not greeted:
                self.assertEqual(far.recv(3), b"go\n")
                greeted = True
            if select.select([far], [], [], 0)[0]:
                incoming.write(far.recv(65536))
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                pass
            if outgoing.pending:
                far.sendall(outgoing.read())
        far.sendall(outgoing.read())
        client.write(b"ping\n")
        far.sendall(outgoing.read())
        self.until(lambda: b"ping" in channel.lines)


class EchoTest(TLSTestCase):
    @kit.each_poller
    def test_server_that_drains_in_readable(self):
        """CPython's own test server: the handshake in the handlers."""
        context = self.server_context()

        class Connection(asyncore.dispatcher_with_send):
            def __init__(self, conn):
                self.socket = context.wrap_socket(
                    conn, server_side=True, do_handshake_on_connect=False
                )
                super().__init__(self.socket)
                self.accepting_tls = True
                self.shake()

            def readable(self):
                while self.socket.pending() > 0:
                    self.handle_read_event()
                return True

            def shake(self):
                try:
                    self.socket.do_handshake()
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    return
                self.accepting_tls = False

            def handle_read(self):
                if self.accepting_tls:
                    return self.shake()
                try:
                    data = self.recv(1024)
                except ssl.SSLWantReadError:
                    return
                if data:
                    self.send(data.lower())

            def handle_close(self):
                self.close()

            def handle_error(self):
                raise

        class Server(asyncore.dispatcher):
            def __init__(self):
                super().__init__()
                self.create_socket()
                self.bind(("127.0.0.1", 0))
                self.listen(5)

            def handle_accepted(self, sock, addr):
                Connection(sock)

        server = Server()
        result = []

        def client():
            address = server.socket.getsockname()
            with socket.create_connection(address) as plain:
                with self.client_context().wrap_socket(plain) as secure:
                    secure.settimeout(kit.PATIENCE)
                    secure.sendall(b"X" * 100000)
                    data = b""
                    while len(data) < 100000:
                        data += secure.recv(65536)
                    result.append(data)

        thread = threading.Thread(target=client)
        thread.start()
        while thread.is_alive():
            asyncore.loop(0.01, self.use_poll, None, 1)
        thread.join()
        self.assertEqual(result, [b"x" * 100000])


if __name__ == "__main__":
    kit.main()
