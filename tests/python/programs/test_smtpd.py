# SPDX-License-Identifier: MIT
"""The standard library's smtpd receives what smtplib sends."""

import contextlib
import io
import smtplib
import sys
import unittest

import support
from support import asyncore, kit

if sys.version_info < (3, 12):
    import smtpd
else:
    # There the test package has a copy, which is to find our modules.
    import run_cpython

    try:
        smtpd = run_cpython.install(kit.UNDER_TEST)[2]
    except (ImportError, SystemExit) as error:
        print(f"skipped: {error}")
        raise SystemExit(0) from None

MESSAGE = "Subject: hello\r\n\r\n.a dot\r\n" + "x" * 500 + "\r\nend\r\n"


class DebuggingTest(kit.TestCase):
    def test_module(self):
        self.assertIs(smtpd.asyncore, asyncore)

    @kit.each_poller
    def test_debugging_server(self):
        server = smtpd.DebuggingServer(("127.0.0.1", 0), None)
        address = server.socket.getsockname()
        out = io.StringIO()
        with contextlib.redirect_stdout(out), support.Serving(self.use_poll):
            for number in range(3):
                with smtplib.SMTP(*address, timeout=kit.PATIENCE) as client:
                    client.sendmail(
                        "a@example.org", [f"b{number}@example.org"], MESSAGE
                    )
        text = out.getvalue()
        self.assertEqual(text.count("MESSAGE FOLLOWS"), 3)
        self.assertEqual(text.count("b'.a dot'"), 3)
        self.assertEqual(text.count("Subject: hello"), 3)

    @kit.each_poller
    def test_large_message_and_commands(self):
        taken = []

        class Server(smtpd.SMTPServer):
            def process_message(self, peer, mailfrom, rcpttos, data, **kwargs):
                taken.append((mailfrom, rcpttos, data))

        taken.clear()
        server = Server(("127.0.0.1", 0), None, data_size_limit=1 << 24)
        address = server.socket.getsockname()
        body = b"Subject: big\r\n\r\n" + b"0123456789" * 7 + b"\r\n"
        body += (b"x" * 70 + b"\r\n") * 30000
        with support.Serving(self.use_poll):
            with smtplib.SMTP(*address, timeout=kit.PATIENCE) as client:
                self.assertEqual(client.noop()[0], 250)
                self.assertEqual(client.vrfy("x@example.org")[0], 252)
                client.sendmail("a@example.org", ["b@example.org"], body)
                self.assertEqual(client.rset()[0], 250)
        ((sender, receivers, data),) = taken
        self.assertEqual(sender, "a@example.org")
        self.assertEqual(receivers, ["b@example.org"])
        self.assertEqual(data.split(b"\n"), body.replace(
            b"\r\n", b"\n").rstrip(b"\n").split(b"\n"))


class LocalServerTest(kit.TestCase):
    @unittest.skipIf(sys.version_info >= (3, 12), "imports smtpd by its name")
    def test_pytest_localserver(self):
        """A server that is a thread as well."""
        module = support.need("pytest_localserver.smtp")
        server = module.Server("127.0.0.1")
        server.start()
        try:
            with smtplib.SMTP(*server.addr, timeout=kit.PATIENCE) as client:
                client.sendmail("a@example.org", ["b@example.org"], MESSAGE)
        finally:
            server.stop()
        (message,) = server.outbox
        self.assertEqual(message["Subject"], "hello")
        self.assertEqual(message.details.mailfrom, "a@example.org")


if __name__ == "__main__":
    kit.main()
