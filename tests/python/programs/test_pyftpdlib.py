# SPDX-License-Identifier: MIT
"""pyftpdlib serves files to curl and to Python's ftplib."""

import ftplib
import hashlib
import os
import ssl
import subprocess
import tempfile
import threading
import unittest

import support
from support import kit

ioloop, servers, handlers, authorizers = support.need(
    "pyftpdlib.ioloop",
    "pyftpdlib.servers",
    "pyftpdlib.handlers",
    "pyftpdlib.authorizers",
)
import logging  # noqa: E402

logging.disable(logging.CRITICAL)
BIG = os.urandom(1 << 16) * 200


class ServerTestCase(unittest.TestCase):
    """An FTP server in a thread, with an IO loop of each kind."""

    loops = ("Select", "Poll", "Epoll")

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        with open(f"{self.folder}/big", "wb") as file:
            file.write(BIG)
        for name in ("one", "two"):
            with open(f"{self.folder}/{name}", "w", encoding="ascii") as file:
                file.write(name)

    def serve(self, kind, handler):
        """Serve until the test's end; the address."""
        loop = getattr(ioloop, kind)()
        authorizer = authorizers.DummyAuthorizer()
        authorizer.add_user("me", "secret", self.folder, perm="elradfmwMT")
        handler = type("Handler", (handler,), {"authorizer": authorizer})
        server = servers.FTPServer(("127.0.0.1", 0), handler, loop)
        stop = threading.Event()

        def run():
            while not stop.is_set():
                server.serve_forever(timeout=0.02, blocking=False)
            server.close_all()

        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join, kit.PATIENCE)
        self.addCleanup(stop.set)
        return server.address

    def check_ftplib(self, client, address):
        client.connect(*address, timeout=kit.PATIENCE)
        client.login("me", "secret")
        if hasattr(client, "prot_p"):
            client.prot_p()
        self.assertEqual(sorted(client.nlst()), ["big", "one", "two"])
        digest = hashlib.sha256()
        client.retrbinary("RETR big", digest.update)
        self.assertEqual(digest.digest(), hashlib.sha256(BIG).digest())
        with open(f"{self.folder}/big", "rb") as file:
            client.storbinary("STOR copy", file)
        with open(f"{self.folder}/copy", "rb") as file:
            self.assertEqual(file.read(), BIG)
        lines = []
        client.retrlines("LIST", lines.append)
        self.assertEqual(len(lines), 4)
        client.rename("copy", "moved")
        client.delete("moved")
        self.assertRaises(ftplib.error_perm, client.size, "moved")
        client.quit()


class PlainTest(ServerTestCase):
    def test_ftplib(self):
        for kind in self.loops:
            for passive in (True, False):
                with self.subTest(loop=kind, passive=passive):
                    address = self.serve(kind, handlers.FTPHandler)
                    client = ftplib.FTP()
                    client.set_pasv(passive)
                    self.check_ftplib(client, address)

    def test_without_sendfile(self):
        """The data goes through producers and push."""
        base = handlers.FTPHandler
        handler = type("Plain", (base,), {"use_sendfile": False})
        address = self.serve("Select", handler)
        self.check_ftplib(ftplib.FTP(), address)

    def test_ascii(self):
        """Line ends are made, so that a producer changes the data."""
        with open(f"{self.folder}/text", "w", encoding="ascii") as file:
            file.write("line\n" * 50000)
        address = self.serve("Poll", handlers.FTPHandler)
        client = ftplib.FTP()
        client.connect(*address, timeout=kit.PATIENCE)
        client.login("me", "secret")
        lines = []
        client.retrlines("RETR text", lines.append)
        self.assertEqual(lines, ["line"] * 50000)
        client.quit()

    def test_curl(self):
        host, port = self.serve("Epoll", handlers.FTPHandler)
        url = f"ftp://me:secret@{host}:{port}/"

        def curl(*arguments):
            command = ["curl", "-sS", "--max-time", "60", *arguments]
            return subprocess.check_output(command)

        self.assertEqual(curl(url + "big"), BIG)
        self.assertEqual(len(curl(url).splitlines()), 3)
        curl("-T", f"{self.folder}/big", url + "up")
        with open(f"{self.folder}/up", "rb") as file:
            self.assertEqual(file.read(), BIG)
        self.assertEqual(curl("-r", "100-199", url + "big"), BIG[100:200])

    def test_many(self):
        """Forty clients at once."""
        address = self.serve("Epoll", handlers.FTPHandler)
        errors = []

        def talk():
            try:
                client = ftplib.FTP()
                client.connect(*address, timeout=kit.PATIENCE)
                client.login("me", "secret")
                parts = []
                client.retrbinary("RETR one", parts.append)
                assert parts == [b"one"]
                client.quit()
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=talk) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])


@unittest.skipUnless(
    hasattr(handlers, "TLS_FTPHandler"), "needs Debian's OpenSSL module"
)
class SecureTest(ServerTestCase):
    def test_ftps(self):
        certificate = f"{self.folder}/../{os.path.basename(self.folder)}.pem"
        self.addCleanup(os.remove, certificate)
        subprocess.run(
            "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -batch"
            f" -subj /CN=localhost -keyout {certificate}.key"
            f" -out {certificate}".split(),
            check=True,
            stderr=subprocess.DEVNULL,
        )
        with open(certificate + ".key", "rb") as key:
            with open(certificate, "ab") as file:
                file.write(key.read())
        os.remove(certificate + ".key")
        handler = type(
            "Handler", (handlers.TLS_FTPHandler,), {"certfile": certificate}
        )
        address = self.serve("Select", handler)
        context = ssl.create_default_context(cafile=certificate)
        context.check_hostname = False
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.check_ftplib(ftplib.FTP_TLS(context=context), address)


if __name__ == "__main__":
    kit.main()
