# SPDX-License-Identifier: MIT
"""smtp_sink: mail arrives as it was sent, byte by byte."""

import os
import random
import re
import signal
import smtplib
import socket
import tempfile
import unittest

import harness

ENVELOPE = [
    (b"EHLO client", 250),
    (b"MAIL FROM:<a@example.org>", 250),
    (b"RCPT TO:<b@example.org>", 250),
    (b"DATA", 354),
]


def lines_of(data):
    """What a file has for the lines of a message."""
    return data.replace(b"\r\n", b"\n")


class Client:
    """One that sends bytes as they are told, and reads replies."""

    def __init__(self, server):
        self.sock = harness.connect(server.address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile("rb")
        self.expect(220)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.sock.close()

    def send(self, *lines):
        """Lines, in one write."""
        self.sock.sendall(b"".join(line + b"\r\n" for line in lines))

    def reply(self):
        """The code of the next reply, and its lines; 0 at the end."""
        lines = []
        while True:
            line = self.file.readline()
            if line == b"":
                return 0, lines
            if not re.match(rb"\d{3}[- ].*\r\n\Z", line):
                raise AssertionError(f"no reply: {line!r}")
            lines.append(line[4:-2])
            if line[3:4] == b" ":
                return int(line[:3]), lines

    def expect(self, *codes):
        """Replies with these codes are the next to come."""
        for code in codes:
            got, lines = self.reply()
            if got != code:
                raise AssertionError(f"expected {code}: {got}, {lines}")
        return lines

    def ask(self, line, code):
        """One line and its reply."""
        self.send(line)
        got, lines = self.reply()
        if got != code:
            raise AssertionError(f"{line!r}: not {code}: {got}, {lines}")
        return lines

    def begin(self):
        """Up to the 354."""
        for line, code in ENVELOPE:
            self.ask(line, code)


class SinkTestCase(harness.TestCase):
    """One server with a Maildir for each test."""

    arguments = ()

    def setUp(self):
        root = self.enterContext(tempfile.TemporaryDirectory())
        self.maildir = os.path.join(root, "mail")
        self.server = self.enterContext(
            harness.serve(
                "smtp_sink", "-d", self.maildir, *self.arguments,
                "127.0.0.1", 0,
            )
        )

    def client(self):
        """A client without a protocol."""
        return self.enterContext(Client(self.server))

    def smtplib(self):
        """… and one that knows it."""
        return self.enterContext(
            smtplib.SMTP(
                self.server.host, self.server.port, timeout=harness.PATIENCE
            )
        )

    def listing(self, part):
        """The files of a part of the Maildir."""
        return sorted(os.listdir(os.path.join(self.maildir, part)))

    def take(self):
        """The headers of the delivery, and the message, of the only file that
        is there; it is removed."""
        self.assertEqual(self.listing("tmp"), [])
        (name,) = self.listing("new")
        path = os.path.join(self.maildir, "new", name)
        with open(path, "rb") as file:
            data = file.read()
        os.unlink(path)
        head = re.match(
            rb"((?:Return-Path|Delivered-To): .*\n)+"
            rb"Received: from .*\n\t.*\n\t.*\n",
            data,
        )
        return head[0], data[head.end() :]

    def nothing_is_there(self):
        """Neither a message nor a part of one."""
        for part in "tmp", "new", "cur":
            self.assertEqual(self.listing(part), [])


class Messages(SinkTestCase):
    """What is sent is what is there."""

    def deliver(self, smtp, data, **kwargs):
        """Send a message by smtplib; it is what is then in the Maildir."""
        recipients = ["b@example.org", "c@example.org"]
        refused = smtp.sendmail("a@example.org", recipients, data, **kwargs)
        self.assertEqual(refused, {})
        head, got = self.take()
        self.assertTrue(
            head.startswith(
                b"Return-Path: <a@example.org>\n"
                b"Delivered-To: b@example.org\n"
                b"Delivered-To: c@example.org\n"
                b"Received: from "
            )
        )
        self.assertIn(b"([127.0.0.1])", head)
        if not data.endswith(b"\r\n"):
            data += b"\r\n"  # as smtplib does
        self.assert_same_bytes(got, lines_of(data))

    def test_several(self):
        """One connection, many messages, dots everywhere."""
        smtp = self.smtplib()
        for data in (
            b"Subject: x\r\n\r\nbody\r\n",
            b"no header and no end",
            b".\r\n",
            b"..\r\n.\r\n...\r\n. .\r\n.x\r\n",
            b"ends in a dot.\r\n.\r\nand another.\r\n",
            b"\r\n",
            b"\r\n\r\n.\r\n",
            b"x" * 100000 + b".\r\n" + b"." * 100000,
            bytes(range(256)),
        ):
            self.deliver(smtp, data)
        smtp.quit()

    def test_large(self):
        """10 MiB, in little memory."""
        smtp = self.smtplib()
        before = self.server.status("VmRSS")
        rng = random.Random(1)
        data = b"\r\n".join(
            rng.randbytes(rng.randrange(900)).replace(b"\n", b".").replace(
                b"\r", b"\r\n."
            )
            for _ in range(24000)
        )
        data = data[: 10 << 20]
        self.assertEqual(len(data), 10 << 20)
        self.deliver(smtp, data, mail_options=["BODY=8BITMIME"])
        if not harness.SANITIZED:
            grown = self.server.status("VmHWM") - before
            self.assertLess(grown, (1 << 20) + harness.BUFFERS)
        smtp.quit()

    def test_any_bytes(self):
        """What looks like an end, cut anywhere."""
        seed = random.randrange(1 << 32)
        print(f"seed {seed}")
        rng = random.Random(seed)
        client = self.client()
        client.ask(*ENVELOPE[0])
        for _ in range(300):
            text = b"".join(
                rng.choices([b"\r", b"\n", b"\r\n", b".", b"x", b"\0"], k=20)
            ) + b"\r\n"
            wire = re.sub(rb"(\A|(?<=\r\n))\.", b"..", text) + b".\r\n"
            for line, code in ENVELOPE[1:]:
                client.ask(line, code)
            at = 0
            while at < len(wire):
                size = rng.choice((1, 2, 3, 7, 100))
                client.sock.sendall(wire[at : at + size])
                at += size
            client.expect(250)
            self.assertEqual(self.take()[1], lines_of(text), wire)

    def test_empty(self):
        """The end may come directly behind DATA."""
        client = self.client()
        client.begin()
        client.ask(b".", 250)
        self.assertEqual(self.take()[1], b"")
        # … in one write with the rest, too.
        client.send(*(line for line, _ in ENVELOPE), b".", b"NOOP")
        client.expect(250, 250, 250, 354, 250, 250)
        self.assertEqual(self.take()[1], b"")

    def test_smuggling(self):
        """Only CR LF . CR LF ends a message."""
        client = self.client()
        client.begin()
        for end in b"\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r":
            client.sock.sendall(b"text" + end + b"MAIL FROM:<evil@x>\r\n")
        client.send(b".")
        client.expect(250)
        data = self.take()[1]
        self.assertEqual(data.count(b"MAIL FROM:<evil@x>\n"), 5)
        # A command ends in CR LF only, too.
        client.sock.sendall(b"NOOP\nMAIL FROM:<evil@x>\r\nNOOP\r\n")
        client.expect(500, 250)
        client.ask(b"RCPT TO:<x@y>", 503)

    def test_headers(self):
        """Of a delivery: from whom, to whom, by whom."""
        client = self.client()
        client.ask(b"HELO  some.host", 250)
        client.ask(b"MAIL FROM:<>", 250)
        client.ask(b'RCPT TO:<"a b>\\"c"@example.org>', 250)
        client.ask(b"rcpt to: <@relay:d@example.org>", 250)
        client.ask(b"DATA", 354)
        client.ask(b"Subject: x\r\n\r\ntext\r\n.", 250)
        head, data = self.take()
        self.assertRegex(
            head,
            rb'\AReturn-Path: <>\nDelivered-To: "a b>\\"c"@example.org\n'
            rb"Delivered-To: @relay:d@example.org\n"
            rb"Received: from some.host \(\[127.0.0.1\]\)\n"
            rb"\tby \S+ with SMTP id \S+;\n"
            rb"\t\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000\n\Z",
        )
        self.assertEqual(data, b"Subject: x\n\ntext\n")

    def test_names(self):
        """No two messages have one name, and nothing is left in tmp."""
        clients = [self.client() for _ in range(10)]
        for client in clients:
            client.send(*(line for line, _ in ENVELOPE), b"x", b".", b"QUIT")
        replies = set()
        for client in clients:
            client.expect(250, 250, 250, 354)
            replies |= set(client.expect(250))
            client.expect(221, 0)
        names = self.listing("new")
        self.assertEqual({f"OK: {name}".encode() for name in names}, replies)
        self.assertEqual(len(names), 10)
        self.assertEqual(self.listing("tmp"), [])

    @unittest.skipUnless(harness.find("curl"), "curl is not installed")
    def test_curl(self):
        """… as a mail client."""
        data = b"Subject: x\r\n\r\n.one\r\n..\r\n.\r\ntwo.\r\n" * 1000
        path = os.path.join(os.path.dirname(self.maildir), "message")
        with open(path, "wb") as file:
            file.write(data)
        result = harness.run(
            "curl", "-sS", f"smtp://127.0.0.1:{self.server.port}/client",
            "--mail-from", "a@example.org", "--mail-rcpt", "b@example.org",
            "--mail-rcpt", "c@example.org", "--upload-file", path,
        )
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        head, got = self.take()
        self.assertIn(b"Delivered-To: c@example.org\n", head)
        self.assertIn(b"Received: from client ", head)
        self.assert_same_bytes(got, lines_of(data))


class Commands(SinkTestCase):
    """Each, right and wrong."""

    def test_ehlo(self):
        """What is offered."""
        offers = self.client().ask(b"EHLO client", 250)
        self.assertEqual(
            offers[1:], [b"SIZE 33554432", b"PIPELINING", b"8BITMIME", b"HELP"]
        )

    def test_sequence(self):
        """503 where something else must come before."""
        client = self.client()
        client.ask(b"MAIL FROM:<a@b>", 503)
        client.ask(b"RCPT TO:<a@b>", 503)
        client.ask(b"DATA", 503)
        client.ask(b"HELO x", 250)
        client.ask(b"RCPT TO:<a@b>", 503)
        client.ask(b"MAIL FROM:<a@b>", 250)
        client.ask(b"MAIL FROM:<a@b>", 503)
        client.ask(b"DATA", 503)
        client.ask(b"RSET", 250)
        client.ask(b"RCPT TO:<a@b>", 503)
        client.ask(b"MAIL FROM:<a@b>", 250)
        client.ask(b"EHLO x", 250)  # begins anew
        client.ask(b"RCPT TO:<a@b>", 503)

    def test_syntax(self):
        """500 and 501, and the session goes on."""
        client = self.client()
        for line in b"", b" ", b"XYZZY", b"NOOP\0", b"HELO \xc3\xa9", b"\x1b":
            client.ask(line, 500)
        for line in b"HELO", b"EHLO", b"EHLO  ", b"HELO " + b"x" * 300:
            client.ask(line, 501)
        client.ask(b"MAIL FROM:<a@b>", 503)
        client.ask(b"ehlo x", 250)
        for path in (
            b"", b"a@b", b"<a@b", b"<a@b>c", b"<a b>",
            b"<" + b"x" * 257 + b">", b'<"a>', b"<a\\>",
        ):
            client.ask(b"MAIL FROM:" + path, 501)
            client.ask(b"MAIL " + path, 501)
        for option in b"SIZE=", b"SIZE=x", b"SIZE=-1", b"SIZE=1k":
            client.ask(b"MAIL FROM:<a@b> " + option, 501)
        for option in b"BODY=BINARYMIME", b"SMTPUTF8", b"X=Y", b"BODY":
            client.ask(b"MAIL FROM:<a@b> " + option, 555)
        client.ask(b"Mail From:<a@b> SIZE=10 BODY=8BITMIME  ", 250)
        for path in b"", b"a@b", b"<>", b"<a@b", b"<a@b>c":
            client.ask(b"RCPT TO:" + path, 501)
        client.ask(b"RCPT TO:<a@b> NOTIFY=NEVER", 555)
        client.ask(b"RCPT TO:<a@b>", 250)
        for line in b"DATA now", b"RSET x", b"QUIT x", b"VRFY":
            client.ask(line, 501)
        client.ask(b"NOOP x", 250)
        client.ask(b"VRFY a", 252)
        client.ask(b"HELP", 214)
        client.ask(b"DATA", 354)
        client.ask(b".", 250)

    def test_helo_knows_no_options(self):
        """They came with EHLO."""
        client = self.client()
        client.ask(b"HELO x", 250)
        client.ask(b"MAIL FROM:<a@b> SIZE=10", 555)
        client.ask(b"MAIL FROM:<a@b>", 250)

    def test_long_line(self):
        """500, once, and the rest is skipped."""
        client = self.client()
        for size in 1100, 5000, 1 << 20:
            client.send(b"NOOP " + b"x" * size, b"NOOP", b"RSET")
            client.expect(500, 250, 250)

    def test_many_recipients(self):
        """A hundred, not more."""
        client = self.client()
        client.ask(b"HELO x", 250)
        client.ask(b"MAIL FROM:<a@b>", 250)
        for i in range(100):
            client.ask(b"RCPT TO:<%d@b>" % i, 250)
        client.ask(b"RCPT TO:<100@b>", 452)
        client.ask(b"DATA", 354)
        client.ask(b".", 250)
        self.assertEqual(self.take()[0].count(b"Delivered-To: "), 100)

    def test_pipelining(self):
        """All in one write, or byte by byte: all the same."""
        session = [
            b"EHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"RCPT TO:<>",
            b"DATA", b"one", b"..", b"MAIL FROM:<text>", b".",
            b"MAIL FROM:<e@f>", b"RSET", b"MAIL FROM:<a@b>",
            b"RCPT TO:<c@d>", b"DATA", b".", b"XYZZY", b"QUIT",
            b"NOOP", b"x" * 2000, b"QUIT",
        ]
        codes = [250, 250, 250, 501, 354, 250, 250, 250, 250, 250, 354, 250,
                 500, 221, 0]
        data = b"".join(line + b"\r\n" for line in session)
        for size in len(data), 1, 7:
            with Client(self.server) as client:
                for at in range(0, len(data), size):
                    client.sock.sendall(data[at : at + size])
                client.expect(*codes)
            names = self.listing("new")
            self.assertEqual(len(names), 2)
            texts = []
            for name in names:
                path = os.path.join(self.maildir, "new", name)
                with open(path, "rb") as file:
                    texts.append(file.read().partition(b"+0000\n")[2])
                os.unlink(path)
            self.assertEqual(
                sorted(texts), [b"", b"one\n.\nMAIL FROM:<text>\n"]
            )

    def test_end_of_stream(self):
        """Replies still come; half a message is none."""
        client = self.client()
        client.send(b"EHLO x", b"NOOP", b"NOOP")
        client.sock.shutdown(socket.SHUT_WR)
        client.expect(250, 250, 250, 0)
        client = self.client()
        client.begin()
        self.assertEqual(len(self.listing("tmp")), 1)
        client.send(b"half a message")
        client.sock.shutdown(socket.SHUT_WR)
        client.expect(0)
        harness.wait_for(lambda: self.listing("tmp") == [])
        self.nothing_is_there()

    def test_resets(self):
        """Nothing is left of who is lost."""
        before = len(harness.descriptors(self.server.pid))
        for _ in range(10):
            client = Client(self.server)
            client.begin()
            client.send(b"x" * 100000)
            client.file.close()
            harness.reset(client.sock)
        harness.wait_for(
            lambda: len(harness.descriptors(self.server.pid)) == before
        )
        self.nothing_is_there()

    def test_signals(self):
        """The end of the server is no success for a message."""
        for number in signal.SIGTERM, signal.SIGINT:
            with harness.serve(
                "smtp_sink", "-d", self.maildir, "127.0.0.1", 0
            ) as server, Client(server) as client:
                client.begin()
                client.send(b"half a message")
                self.assertEqual(server.stop(number), 0)
                self.assertEqual(server.stderr.all(), "")
            self.nothing_is_there()


class Limits(SinkTestCase):
    """What is too much."""

    arguments = ("-s", "1000")

    def test_size(self):
        """Refused when it is announced, or when it comes."""
        smtp = self.smtplib()
        with self.assertRaises(smtplib.SMTPSenderRefused) as refused:
            smtp.sendmail("a@b", ["c@d"], b"x" * 2000)
        self.assertEqual(refused.exception.smtp_code, 552)
        client = self.client()
        self.assertIn(b"SIZE 1000", client.ask(b"EHLO x", 250))
        client.ask(b"MAIL FROM:<a@b> SIZE=1001", 552)
        client.ask(b"MAIL FROM:<a@b> SIZE=99999999999999999999999", 552)
        for size, code in (998, 250), (999, 552), (1 << 20, 552), (998, 250):
            client.ask(b"MAIL FROM:<a@b> SIZE=1000", 250)
            client.ask(b"RCPT TO:<a@b>", 250)
            client.ask(b"DATA", 354)
            # A dot that was added does not count.
            client.ask(b".." + b"x" * (size - 1) + b"\r\n.", code)
            if code == 250:
                self.assertEqual(len(self.take()[1]), 999)
            self.nothing_is_there()
        client.ask(b"QUIT", 221)


class Idle(SinkTestCase):
    """A client that is silent."""

    arguments = ("-t", "1")

    def test_idle(self):
        """Who says nothing is told, and hung up on."""
        client = self.client()
        client.expect(421, 0)
        client = self.client()
        client.begin()
        client.send(b"half a message")
        client.expect(421, 0)
        harness.wait_for(lambda: self.listing("tmp") == [])
        self.nothing_is_there()


class Output(harness.TestCase):
    """Without a Maildir, and with one that can't be."""

    def test_stdout(self):
        """As the DebuggingServer of smtpd prints."""
        with harness.serve("smtp_sink", "127.0.0.1", 0) as server:
            with Client(server) as client:
                client.begin()
                client.ask(
                    b"Subject: x\r\nTo: y\r\n\r\na\r\n\r\n..b\r\n.", 250
                )
                client.send(*(line for line, _ in ENVELOPE), b".")
                client.expect(250, 250, 250, 354, 250)
            self.assertEqual(server.stop(), 0)
            self.assertEqual(
                server.stdout.all().partition("\n")[2],
                "---------- MESSAGE FOLLOWS ----------\n"
                "Subject: x\nTo: y\nX-Peer: 127.0.0.1\n\na\n\n.b\n"
                "------------ END MESSAGE ------------\n"
                "---------- MESSAGE FOLLOWS ----------\n"
                "------------ END MESSAGE ------------\n",
            )

    def test_bad_maildir(self):
        """One line says what is wrong with it."""
        for path in "/dev/null", "/dev/null/x", "/nonexistent/mail", "":
            with self.subTest(path=path):
                result = harness.run(
                    *harness.program("smtp_sink", "-d", path, "127.0.0.1", 0)
                )
                self.assert_fails(result, 2, "smtp_sink", "maildir")

    def test_lost_maildir(self):
        """What can't be kept is not accepted."""
        with tempfile.TemporaryDirectory() as root:
            with harness.serve(
                "smtp_sink", "-d", root, "127.0.0.1", 0
            ) as server, Client(server) as client:
                os.rmdir(os.path.join(root, "new"))
                client.begin()
                client.ask(b"x\r\n.", 452)
                os.rmdir(os.path.join(root, "tmp"))
                for line, _ in ENVELOPE[1:3]:
                    client.ask(line, 250)
                client.ask(b"DATA", 451)
                client.ask(b"NOOP", 250)


if __name__ == "__main__":
    harness.main()
