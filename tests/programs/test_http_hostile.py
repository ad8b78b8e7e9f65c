# SPDX-License-Identifier: MIT
"""http_server among clients that mean it no good: they get an answer that is
true, or none; never a file from outside, nor the next client's place."""

import os
import random
import re

import harness
from http_kit import LETTERS, SECRET, TestCase, request

HOST = "Host: x\r\n"
GET = b"GET /letters.txt HTTP/1.1\r\nHost: x\r\n\r\n"

# Targets, and what they may be answered with.
ESCAPES = {
    "/../secret.txt": {403},
    "/..": {403},
    "/../": {403},
    "/sub/../../secret.txt": {403},
    "/sub/../..": {403},
    "/a/b/../../../secret.txt": {403},
    "/%2e%2e/secret.txt": {403},
    "/%2E%2E/secret.txt": {403},
    "/.%2e/secret.txt": {403},
    "/%2e./secret.txt": {403},
    "/sub/%2e%2e/%2e%2e/secret.txt": {403},
    "/..%2fsecret.txt": {400},
    "/..%2Fsecret.txt": {400},
    "/%2e%2e%2fsecret.txt": {400},
    "/%2fetc/passwd": {400},
    "/%2Fetc%2Fpasswd": {400},
    "/%252e%252e/secret.txt": {404},
    "/..%c0%afsecret.txt": {404},
    "/%c0%ae%c0%ae/secret.txt": {404},
    "/..\\secret.txt": {404},
    "/..%5csecret.txt": {404},
    "//../secret.txt": {403},
    "//etc/passwd": {404},
    "///etc/passwd": {404},
    "//../../../../etc/passwd": {403},
    "/.../secret.txt": {404},
    "/../site2/secret.txt": {403},
    "/../site/../secret.txt": {403},
    "/letters.txt%00": {400},
    "/letters.txt%00.html": {400},
    "/%00": {400},
    "/..%00/secret.txt": {400},
    "/letters.txt%": {400},
    "/letters.txt%2": {400},
    "/letters.txt%2g": {400},
    "/letters.txt%g2": {400},
    "/letters.txt%-1": {400},
    "/letters.txt%%41": {400},
    "/out": {403, 404},
    "/out_dir/secret.txt": {403, 404},
    "/out_dir/site/letters.txt": {403, 404},
    "/out_absolute": {403, 404},
    "/out_and_in": {403, 404},
    "/sub/out": {403, 404},
    "/root/etc/passwd": {403, 404},
    "/proc/environ": {403, 404},
    "/proc/fd/0": {403, 404},
    "/proc/cwd/secret.txt": {403, 404},
    "/proc/root/etc/passwd": {403, 404},
    "http://localhost/../secret.txt": {403},
    "http://localhost/%2e%2e/secret.txt": {403},
    "http://localhost//etc/passwd": {404},
    "http://../secret.txt": {404},
    "http://localhost": {200},
    "http:///letters.txt": {400},
    "http://": {400},
    "http://user@localhost/letters.txt": {400},
    "http:/letters.txt": {400},
    "https://localhost/letters.txt": {400},
    "file:///etc/passwd": {400},
    "ftp://localhost/letters.txt": {400},
    "letters.txt": {400},
    "../secret.txt": {400},
    "*": {400},
    "localhost:80": {400},
    "?": {400},
    "%2fletters.txt": {400},
    "%2e%2e/secret.txt": {400},
    "/letters.txt#part": {400},
}

# Whole requests.  Each is refused with this status and the connection is
# closed: what comes behind it is never answered.
REFUSED = {
    # The first line.
    "\r\n\r\n": 400,
    "x\r\n\r\n": 400,
    " \r\n\r\n": 400,
    "GET\r\n\r\n": 400,
    "GET /\r\n\r\n": 400,
    "GET / \r\n\r\n": 400,
    "GET  / HTTP/1.1\r\n" + HOST + "\r\n": 400,
    "GET /  HTTP/1.1\r\n" + HOST + "\r\n": 400,
    "GET / HTTP/1.1 \r\n" + HOST + "\r\n": 400,
    " GET / HTTP/1.1\r\n" + HOST + "\r\n": 400,
    "GET\t/\tHTTP/1.1\r\n" + HOST + "\r\n": 400,
    "GET / x HTTP/1.1\r\n" + HOST + "\r\n": 400,
    "GET /\x01 HTTP/1.1\r\n" + HOST + "\r\n": 400,
    "GET /\x00 HTTP/1.1\r\n" + HOST + "\r\n": 400,
    "GET /\x7f HTTP/1.1\r\n" + HOST + "\r\n": 400,
    "GET /\xfc HTTP/1.1\r\n" + HOST + "\r\n": 400,
    "G\x00T / HTTP/1.1\r\n" + HOST + "\r\n": 400,
    "GET: / HTTP/1.1\r\n" + HOST + "\r\n": 400,
    "G(T / HTTP/1.1\r\n" + HOST + "\r\n": 400,
    "\xffGET / HTTP/1.1\r\n" + HOST + "\r\n": 400,
    "GET / http/1.1\r\n" + HOST + "\r\n": 400,
    "GET / HTTP/1\r\n" + HOST + "\r\n": 400,
    "GET / HTTP/1.\r\n" + HOST + "\r\n": 400,
    "GET / HTTP/11.1\r\n" + HOST + "\r\n": 400,
    "GET / HTTP/1.10\r\n" + HOST + "\r\n": 400,
    "GET / HTTP/1.x\r\n" + HOST + "\r\n": 400,
    "GET / HTTP/-1.1\r\n" + HOST + "\r\n": 400,
    "GET / HTTP/1,1\r\n" + HOST + "\r\n": 400,
    "GET / HTTPS/1.1\r\n" + HOST + "\r\n": 400,
    "GET / HTTP/0.9\r\n" + HOST + "\r\n": 505,
    "GET / HTTP/2.0\r\n" + HOST + "\r\n": 505,
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": 505,
    "get / HTTP/1.1\r\n" + HOST + "\r\n": 501,
    "BREW / HTTP/1.1\r\n" + HOST + "\r\n": 501,
    "x" * 1000 + " / HTTP/1.1\r\n" + HOST + "\r\n": 501,
    # Lines that end otherwise, or not where they seem to.
    "GET / HTTP/1.1\n" + HOST + "\r\n": 400,
    "GET / HTTP/1.1\r\nHost: x\n\r\n\r\n": 400,
    "GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n": 400,
    "GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n": 400,
    "GET / HTTP/1.1\r\nHost: x\r\r\n\r\n": 400,
    "GET / HTTP/1.1\r" + HOST + "\r\n": 400,
    "GET / HTTP/1.1\r\nHost: x\n\nGET /x HTTP/1.1\r\n\r\n": 400,
    "\nGET / HTTP/1.1\r\n" + HOST + "\r\n": 400,
    # Names and values.
    "GET / HTTP/1.1\r\n" + HOST + "Name\r\n\r\n": 400,
    "GET / HTTP/1.1\r\n" + HOST + ": value\r\n\r\n": 400,
    "GET / HTTP/1.1\r\n" + HOST + " : value\r\n\r\n": 400,
    "GET / HTTP/1.1\r\n" + HOST + "Na me: value\r\n\r\n": 400,
    "GET / HTTP/1.1\r\n" + HOST + "Name : value\r\n\r\n": 400,
    "GET / HTTP/1.1\r\n" + HOST + "Name\t: value\r\n\r\n": 400,
    "GET / HTTP/1.1\r\n" + HOST + " Name: value\r\n\r\n": 400,
    "GET / HTTP/1.1\r\n" + HOST + "Name: value\r\n folded\r\n\r\n": 400,
    "GET / HTTP/1.1\r\n" + HOST + "Name: value\r\n\tfolded\r\n\r\n": 400,
    "GET / HTTP/1.1\r\n folded\r\n" + HOST + "\r\n": 400,
    "GET / HTTP/1.1\r\n" + HOST + "Name: val\x00ue\r\n\r\n": 400,
    "GET / HTTP/1.1\r\n" + HOST + "Name: val\x0bue\r\n\r\n": 400,
    "GET / HTTP/1.1\r\n" + HOST + "Name: val\x7fue\r\n\r\n": 400,
    "GET / HTTP/1.1\r\n" + HOST + "N\x00me: value\r\n\r\n": 400,
    "GET / HTTP/1.1\r\n" + HOST + "N\xe4me: value\r\n\r\n": 400,
    "GET / HTTP/1.1\r\n" + HOST + "N[me]: value\r\n\r\n": 400,
    # Hosts.
    "GET / HTTP/1.1\r\n\r\n": 400,
    "GET / HTTP/1.1\r\nHosts: x\r\n\r\n": 400,
    "GET / HTTP/1.1\r\n" + HOST + HOST + "\r\n": 400,
    "GET / HTTP/1.1\r\n" + HOST + "host: y\r\n\r\n": 400,
    "GET / HTTP/1.1\r\nHost: x y\r\n\r\n": 400,
    "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n": 400,
    "GET / HTTP/1.1\r\nHost: x@y\r\n\r\n": 400,
    "GET / HTTP/1.1\r\nHost: x\xfc\r\n\r\n": 400,
    # Where the body ends.
    **{
        "POST / HTTP/1.1\r\n" + HOST + fields + "\r\n0\r\n\r\n": status
        for fields, status in {
            "Content-Length: \r\n": 400,
            "Content-Length: x\r\n": 400,
            "Content-Length: -1\r\n": 400,
            "Content-Length: +5\r\n": 400,
            "Content-Length: 0x5\r\n": 400,
            "Content-Length: 5 5\r\n": 400,
            "Content-Length: 5, 5\r\n": 400,
            "Content-Length: 5,\r\n": 400,
            "Content-Length: 5.0\r\n": 400,
            "Content-Length: 1e1\r\n": 400,
            "Content-Length: 5;\r\n": 400,
            "Content-Length: \xb2\r\n": 400,
            "Content-Length : 5\r\n": 400,
            "Content-Length\x00: 5\r\n": 400,
            "Content-Length: 5\r\nContent-Length: 5\r\n": 400,
            "Content-Length: 5\r\nContent-Length: 6\r\n": 400,
            "Content-Length: 0\r\ncontent-length: 5\r\n": 400,
            "Content-Length: 5\r\n Content-Length: 6\r\n": 400,
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n": 400,
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n": 400,
            "Transfer-Encoding: identity\r\nContent-Length: 5\r\n": 400,
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n": 400,
            "Transfer-Encoding : chunked\r\n": 400,
            "Transfer-Encoding:\x0bchunked\r\n": 400,
            "Transfer-Encoding:\n chunked\r\n": 400,
            "Transfer-Encoding: chunked\r\n": 411,
            "transfer-encoding:CHUNKED\r\n": 411,
            "Transfer-Encoding: \tchunked \t\r\n": 411,
            "Transfer-Encoding: gzip, chunked\r\n": 501,
            "Transfer-Encoding: chunked, identity\r\n": 501,
            "Transfer-Encoding: xchunked\r\n": 501,
            "Transfer-Encoding: identity\r\n": 501,
            "Transfer-Encoding: \r\n": 501,
            "Content-Length: 1048577\r\n": 413,
            "Content-Length: 9223372036854775807\r\n": 413,
            "Content-Length: 9223372036854775808\r\n": 413,
            "Content-Length: 18446744073709551615\r\n": 413,
            "Content-Length: 18446744073709551616\r\n": 413,
            "Content-Length: 18446744073709551620\r\n": 413,
            "Content-Length: " + "9" * 1000 + "\r\n": 413,
        }.items()
    },
    "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": 400,
    # Too much of it.
    "GET /" + "x" * 8192 + " HTTP/1.1\r\n" + HOST + "\r\n": 414,
    "GET /?" + "x" * 8192 + " HTTP/1.1\r\n" + HOST + "\r\n": 414,
    "GET /" + "x" * 100000 + " HTTP/1.1\r\n" + HOST + "\r\n": 414,
    "x" * 100000: 414,
    "GET / HTTP/1.1\r\n" + HOST + "X: " + "x" * 20000 + "\r\n\r\n": 431,
    "GET / HTTP/1.1\r\n" + HOST + "X: x\r\n" * 5000 + "\r\n": 431,
    "GET / HTTP/1.1\r\n" + "x" * 1000000: 431,
    "\r\n" * 1 + "x" * 13 + "\r\n" + "y" * 100000: 431,
}

# Odd, but right.
ACCEPTED = {
    "GET /letters.txt HTTP/1.1\r\nHost:\r\n\r\n": 200,
    "GET /letters.txt HTTP/1.1\r\nhOST: \t x:80 \t \r\n\r\n": 200,
    "\r\nGET /letters.txt HTTP/1.1\r\n" + HOST + "\r\n": 200,
    "GET /letters.txt HTTP/1.7\r\n" + HOST + "\r\n": 200,
    "GET /letters.txt HTTP/1.1\r\n" + HOST + "X: \xfc\t\r\n\r\n": 200,
    "GET /letters.txt HTTP/1.1\r\n" + HOST + "X:\r\nX:\r\n\r\n": 200,
    "GET /letters.txt HTTP/1.1\r\n" + HOST + "X: a:b: c\r\n\r\n": 200,
    "GET /letters.txt HTTP/1.1\r\n" + HOST + "!#$%&'*+.^_`|~: x\r\n\r\n": 200,
    "GET /letters.txt?" + "x" * 8179 + " HTTP/1.1\r\n" + HOST + "\r\n": 200,
    "GET /letters.txt HTTP/1.1\r\n" + HOST + "Y: y\r\n" * 2700 + "\r\n": 200,
    "GET / HTTP/1.1\r\n" + HOST + "Content-Length: 005\r\n\r\n12345": 200,
    "OPTIONS * HTTP/1.1\r\n" + HOST + "\r\n": 405,
    "CONNECT x:80 HTTP/1.1\r\n" + HOST + "\r\n": 405,
    "TRACE / HTTP/1.1\r\n" + HOST + "\r\n": 405,
    "POST /../../x HTTP/1.1\r\n" + HOST + "\r\n": 405,
}


class Hostile(TestCase):
    """One server for a list of them."""

    def answers(self, data):
        """To this and then the end; there is nothing in them that should not
        be."""
        answers = self.exchange(data)
        for answer in answers:
            self.assertNotIn(SECRET, answer.body)
            self.assertNotIn(b"root:", answer.body)
            self.assertNotIn(b"PATH=", answer.body)
        return answers

    def test_escapes(self):
        """There is no way out of the directory."""
        for target, statuses in ESCAPES.items():
            for method in "GET", "HEAD":
                with self.subTest(target=target, method=method):
                    answer = self.ask(target, method=method)
                    self.assertIn(answer.status, statuses)
                    self.assertNotIn(SECRET, answer.body)
        for target in "/secret.txt", "/site2/secret.txt", "/site/index.html":
            self.assertEqual(self.ask(target).status, 404)
        self.assert_serves()

    def test_redirects_stay_here(self):
        """No target makes us send somebody to another host."""
        os.mkdir(os.path.join(self.site, "evil.example"))
        os.mkdir(os.path.join(self.site, "\\evil.example"))
        os.mkdir(os.path.join(self.site, "a\r\nSet-Cookie: b"))
        for target, location in {
            "//evil.example": "/evil.example/",
            "///evil.example": "/evil.example/",
            "/.//evil.example": "/evil.example/",
            "/x/..//evil.example": "/evil.example/",
            "/\\evil.example": "/%5Cevil.example/",
            "/a%0d%0aSet-Cookie:%20b": "/a%0D%0ASet-Cookie%3A%20b/",
        }.items():
            with self.subTest(target=target):
                self.assertEqual(self.ask(target)["Location"], location)

    def test_refused(self):
        """One answer, and then the end: the good request behind the bad one
        might be a part of it."""
        for text, status in REFUSED.items():
            with self.subTest(text=text[:60], length=len(text)):
                answers = self.answers(text.encode("latin-1") + GET)
                self.assertEqual([one.status for one in answers], [status])
                self.assertTrue(answers[0].closes)
        self.assert_serves()

    def test_refused_behind_others(self):
        """What came before is answered as if nothing had followed."""
        for text, status in REFUSED.items():
            with self.subTest(text=text[:60], length=len(text)):
                answers = self.answers(GET * 2 + text.encode("latin-1") + GET)
                self.assertEqual(
                    [one.status for one in answers], [200, 200, status]
                )
                self.assertEqual(answers[1].body, LETTERS)

    def test_accepted(self):
        """Strict is not pedantic."""
        for text, status in ACCEPTED.items():
            with self.subTest(text=text[:60], length=len(text)):
                data = text.encode("latin-1")
                answers = self.answers(data + GET + data + GET)
                self.assertEqual(
                    [one.status for one in answers], [status, 200] * 2
                )

    def test_bodies_are_no_requests(self):
        """Nor are they the beginning of one."""
        inner = GET * 3
        for length, statuses in {
            len(inner): [405, 200],
            len(inner) - len(GET): [405, 200, 200],
            len(inner) + 2: [405, 501],  # there is no method T
        }.items():
            answers = self.answers(
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
                % length + inner + GET
            )
            self.assertEqual([one.status for one in answers], statuses)

    def test_byte_by_byte(self):
        """It makes no difference how the bytes come."""
        for text in [*REFUSED, *ACCEPTED]:
            if len(text) > 200:
                continue
            data = GET + text.encode("latin-1") + GET
            with self.subTest(text=text), self.client() as client:
                for at in range(len(data)):
                    try:
                        client.send(data[at : at + 1])
                    except ConnectionError:
                        break  # it was refused some time ago
                statuses = []
                answer = client.receive()
                while answer is not None:
                    statuses.append(answer.status)
                    if answer.closes or len(statuses) == 3:
                        break
                    answer = client.receive()
                wanted = REFUSED.get(text) or ACCEPTED[text]
                self.assertEqual(
                    statuses,
                    [200, wanted] + [200] * (text in ACCEPTED),
                )

    def test_oversize_without_end(self):
        """Who never comes to an end is not listened to for long."""
        memory = self.server.status("VmRSS")
        for start in b"", b"GET / HTTP/1.1\r\nHost: x\r\nX: ":
            with self.subTest(start=start), self.client() as client:
                with self.assertRaises(ConnectionError):
                    client.send(start)
                    while True:
                        client.send(b"x" * 65536)
        with self.client() as client, self.assertRaises(ConnectionError):
            client.send(b"PUT / HTTP/1.1\r\nHost: x\r\n"
                        b"Content-Length: 999999999999\r\n\r\n")
            while True:
                client.send(bytes(65536))
        grown = self.server.status("VmRSS") - memory
        most = 8 << 20 if harness.SANITIZED else 1 << 20
        self.assertLess(grown, most + harness.BUFFERS)
        self.assert_serves()

    def test_gone_at_every_byte(self):
        """Ended or reset anywhere in a request."""
        data = request("/letters.txt", "Range: bytes=1-2", body=b"body")
        for size in range(len(data)):
            self.assertEqual(self.answers(data[:size]), [])
            with self.client() as client:
                client.send(data[:size])
                harness.reset(client.sock)
        self.assertEqual(len(self.answers(data)), 1)
        self.assert_serves()
        self.assertEqual(self.server.stop(), 0)
        self.assertNotIn("uncaptured", self.server.stderr.all())

    def test_garbage(self):
        """Random bytes, and requests with random damage."""
        seed = random.randrange(1 << 32)
        print(f"seed {seed}")
        source = random.Random(seed)
        texts = [text for text in [*REFUSED, *ACCEPTED] if len(text) < 2000]
        with self.subTest(seed=seed):
            for _ in range(300):
                self.answers_are_well_formed(self.damaged(source, texts))
        self.assert_serves()

    @staticmethod
    def damaged(source, texts):
        """Some requests in which some bytes are wrong, missing or double."""
        data = bytearray(
            b"".join(
                source.choice((GET, source.choice(texts).encode("latin-1")))
                for _ in range(source.randrange(1, 8))
            )
        )
        for _ in range(source.randrange(8)):
            at = source.randrange(len(data))
            new = source.choice((
                b"", b"\r", b"\n", b"\r\n", b"\0", b":", b" ", b"%", b"/..",
                source.randbytes(source.randrange(1, 20)),
                bytes(data[at : at + 50]) * 2,
            ))
            data[at : at + source.choice((0, 1, len(new)))] = new
            if not data:
                data += b"x"
        return bytes(data)

    def answers_are_well_formed(self, data):
        """One behind the other, nothing behind the last.  HEAD leaves bodies
        out, so that only those are counted that have none."""
        if re.search(rb"HEAD", data):
            return
        answers = self.answers(data)
        for answer in answers[:-1]:
            self.assertFalse(answer.closes, data)


if __name__ == "__main__":
    harness.main()
