# SPDX-License-Identifier: MIT
"""http_client: whole answers of all kinds, and everything that can be wrong
with one."""

import contextlib
import functools
import os
import random
import socket
import sys
import tempfile

import harness

HEAD = b"HTTP/1.1 200 OK\r\n"
LARGE = random.Random(1).randbytes(5 << 20)


def with_length(body):
    """An answer with a Content-Length."""
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(body, size, extension=b"", trailer=b""):
    """An answer in chunks."""
    pieces = [HEAD, b"Transfer-Encoding: chunked\r\n\r\n"]
    for at in range(0, len(body), size):
        piece = body[at : at + size]
        pieces += [b"%x%s\r\n" % (len(piece), extension), piece, b"\r\n"]
    pieces += [b"0\r\n", trailer, b"\r\n"]
    return b"".join(pieces)


def read_request(connection):
    """Up to the empty line."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        data = connection.recv(4096)
        if not data:
            break
        request += data
    return request


def answer(sock, data, end=socket.socket.close, piece=None):
    """Take one connection, answer, and end it; returns the request.

    piece: send so many bytes at a time."""
    connection = harness.accept(sock)
    request = read_request(connection)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(ConnectionError):
        for at in range(0, len(data), piece or len(data) or 1):
            connection.sendall(data[at : at + (piece or len(data))])
    end(connection)
    return request


class FromSocket(harness.TestCase):
    """Against answers written by hand."""

    def setUp(self):
        self.listener = self.enterContext(harness.listener())
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/page"
        self.request = None

    def fetch(self, data, *options, **how):
        """The client's result for an answer."""
        server = harness.Background(
            functools.partial(answer, self.listener, data, **how)
        )
        with server:
            result = harness.run(
                *harness.program("http_client", *options, self.url)
            )
        self.request = server.result
        return result

    def assert_body(self, data, body, **how):
        """It is whole."""
        result = self.fetch(data, **how)
        self.assertEqual(result.stderr, b"")
        self.assertEqual(result.returncode, 0)
        self.assert_same_bytes(result.stdout, body)

    def assert_refused(self, data, *words, **how):
        """Status 1 and one line; returns what came to stdout."""
        result = self.fetch(data, **how)
        self.assert_one_line(result.stderr, "http_client: ", *words)
        self.assertEqual(result.returncode, 1)
        return result.stdout

    def test_request(self):
        """What we say."""
        self.assert_body(with_length(b"x"), b"x")
        lines = self.request.decode().split("\r\n")
        self.assertEqual(lines[0], "GET /page HTTP/1.1")
        self.assertIn(f"Host: 127.0.0.1:{self.port}", lines)
        self.assertIn("Connection: close", lines)

    def test_length(self):
        """Content-Length, with and without something after it."""
        self.assert_body(with_length(b"hello"), b"hello")
        self.assert_body(with_length(b""), b"")
        self.assert_body(with_length(b"hello") + b" world", b"hello")
        self.assert_body(with_length(LARGE), LARGE)

    def test_end_is_not_waited_for(self):
        """A server may keep the connection open: a whole body is whole."""
        with contextlib.ExitStack() as keep:
            self.assert_body(
                with_length(b"hello"), b"hello", end=keep.enter_context
            )
            self.assert_body(
                chunked(b"hello", 2), b"hello", end=keep.enter_context
            )
            self.assert_body(
                HEAD[:9] + b"204 No Content\r\n\r\n", b"",
                end=keep.enter_context,
            )

    def test_whole_body_then_reset(self):
        """… or be rude once it has said everything."""
        self.assert_body(
            with_length(b"x" * 5000), b"x" * 5000, end=harness.reset
        )

    def test_to_the_end(self):
        """HTTP/1.0, and 1.1 without a length."""
        old = b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\n"
        self.assert_body(old + b"hello", b"hello")
        self.assert_body(old, b"")
        self.assert_body(old + LARGE, LARGE)
        self.assert_body(HEAD + b"\r\nhello", b"hello")

    def test_chunks(self):
        """Of all sizes, with extensions and trailers."""
        body = LARGE[:10000]
        self.assert_body(chunked(body, 1), body)
        self.assert_body(chunked(body, 4096), body)
        self.assert_body(chunked(body, 999, b";name=value"), body)
        self.assert_body(chunked(body, 999, b" "), body)
        self.assert_body(chunked(body, 5000, trailer=b"A: b\r\nC: d\r\n"), body)
        self.assert_body(chunked(b"", 1), b"")
        self.assert_body(chunked(LARGE, 65537), LARGE)
        # Many small ones are no long header.
        self.assert_body(chunked(LARGE[:300000], 1), LARGE[:300000])

    def test_both_lengths(self):
        """Chunks say more than a Content-Length."""
        data = chunked(b"hello", 3).replace(
            b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n", 1
        )
        self.assert_body(data, b"hello")

    def test_byte_by_byte(self):
        """Everything may be split anywhere."""
        self.assert_body(with_length(b"hello"), b"hello", piece=1)
        self.assert_body(chunked(b"hello", 2, b";x"), b"hello", piece=1)
        self.assert_body(chunked(b"hello" * 9, 12), b"hello" * 9, piece=2)

    def test_lenient(self):
        """What real servers do: bare line feeds, odd case and space."""
        self.assert_body(
            b"HTTP/1.1 200\ncontent-LENGTH:5\n\nhello", b"hello"
        )
        self.assert_body(
            HEAD + b"X: a\r\n\tfolded: b\r\nContent-Length: \t 5 \r\n\r\nhello",
            b"hello",
        )
        self.assert_body(
            HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            b"hello",
        )

    def test_interim_answers(self):
        """1xx is not the answer."""
        self.assert_body(
            b"HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\n\r\n"
            + with_length(b"hello"),
            b"hello",
        )

    def test_status(self):
        """Not a page: its status says why, its body is none."""
        for status, words in {
            b"404 Not Found": ("404 Not Found",),
            b"500": ("500",),
            b"301 Moved\r\nLocation: http://there/": (
                "301 Moved",
                "http://there/",
            ),
        }.items():
            with self.subTest(status=status):
                out = self.assert_refused(
                    b"HTTP/1.1 " + status
                    + b"\r\nContent-Length: 4\r\n\r\nsad\n",
                    self.url, *words,
                )
                self.assertEqual(out, b"")

    def test_control_characters(self):
        """What a server says cannot drive our terminal."""
        self.assert_refused(
            b"HTTP/1.1 404 \x1b[31mred\r\n\r\n", "404 ?[31mred"
        )

    def test_truncated(self):
        """It ends too early; what there was has been written."""
        for data, word, body in (
            (with_length(b"hello")[:-2], "2 bytes are missing", b"hel"),
            (with_length(b"hello")[:-5], "5 bytes are missing", b""),
            (chunked(b"hello", 9)[:-9], "last chunk is missing", b"hel"),
            (chunked(b"hello", 9)[:-7], "last chunk is missing", b"hello"),
            (chunked(b"hello", 9)[:-5], "last chunk is missing", b"hello"),
            (chunked(b"hello", 9)[:-2], "last chunk is missing", b"hello"),
            (HEAD + b"Content-Length: 5\r\n", "ends in the headers", b""),
            (HEAD[:9], "ends in the status line", b""),
            (b"", "without an answer", b""),
        ):
            with self.subTest(data=data):
                self.assertEqual(self.assert_refused(data, word), body)

    def test_reset(self):
        """In the middle of a body, or before anything."""
        self.assert_refused(
            HEAD + b"Content-Length: 9\r\n\r\nhello",
            "reset by peer", end=harness.reset,
        )
        self.assert_refused(
            HEAD + b"\r\nhello", "reset by peer", end=harness.reset
        )
        self.assert_refused(b"", "reset by peer", end=harness.reset)

    def test_malformed(self):
        """Not HTTP, or not quite."""
        for data in (
            b"garbage\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"\r\n\r\n",
            b"x" * 10000,
            b"HTTP/2 200 OK\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"HTTP/1.1  200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\0\r\n\r\n",
            HEAD + b"no colon\r\n\r\n",
            HEAD + b": no name\r\n\r\n",
            HEAD + b"Content-Length : 5\r\n\r\nhello",
            HEAD + b"Content-Length: five\r\n\r\nhello",
            HEAD + b"Content-Length: -5\r\n\r\nhello",
            HEAD + b"Content-Length: 5 5\r\n\r\nhello",
            HEAD + b"Content-Length:\r\n\r\nhello",
            HEAD + b"Content-Length: 99999999999999999999\r\n\r\nhello",
            HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            HEAD + b"X: " + b"x" * 10000 + b"\r\n\r\n",
            HEAD + b"X: y\r\n" * 100000 + b"\r\n",
            HEAD + b"Transfer-Encoding: chunked\r\n\r\nfive\r\nhello\r\n",
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n",
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n",
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n",
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n",
        ):
            with self.subTest(data=data[:60]):
                self.assert_refused(data, "malformed response")

    def test_unknown_coding(self):
        """We don't write what we can't decode."""
        out = self.assert_refused(
            HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
            "unknown transfer coding", "gzip",
        )
        self.assertEqual(out, b"")

    def test_timeout(self):
        """Silence is not waited for without end."""
        with contextlib.ExitStack() as keep:
            result = self.fetch(
                HEAD, "-t", "0.2", end=keep.enter_context
            )
        self.assert_fails(result, 1, "timed out")

    def test_lost_output(self):
        """A page that could not be written is no success."""
        for data in with_length(b"hello"), with_length(LARGE):
            with open("/dev/full", "wb") as full, harness.Background(
                answer, self.listener, data
            ), harness.Process(
                *harness.program("http_client", self.url), stdout=full
            ) as client:
                self.assertEqual(client.wait(), 1)
                self.assert_one_line(client.stderr.all(), "No space left")

    def test_refused(self):
        """Nobody is there."""
        with harness.unused_port() as nobody:
            url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
            result = harness.run(*harness.program("http_client", url))
        self.assert_fails(result, 1, "refused", url)

    def test_unknown_host(self):
        """Whatever the resolver says."""
        result = harness.run(
            *harness.program("http_client", "http://nosuchhost.invalid/")
        )
        self.assert_fails(result, 1, "nosuchhost.invalid")

    def test_next_address(self):
        """localhost may be ::1 first: then 127.0.0.1 is tried, too."""
        try:
            socket.getaddrinfo("localhost", self.port, socket.AF_INET)
        except OSError:
            self.skipTest("this machine does not know localhost")
        with harness.Background(
            answer, self.listener, with_length(b"hello")
        ) as server:
            result = harness.run(
                *harness.program(
                    "http_client", f"http://localhost:{self.port}"
                )
            )
        self.assertEqual(result.stdout, b"hello")
        self.assertIn(b"GET / HTTP/1.1\r\n", server.result)


class FromPython(harness.TestCase):
    """Against python3 -m http.server."""

    def test_pages(self):
        """A page, a large one, and one that is not there."""
        with tempfile.TemporaryDirectory() as root:
            for name, data in ("index.html", b"<h1>hi"), ("large", LARGE):
                with open(os.path.join(root, name), "wb") as file:
                    file.write(data)
            with harness.Process(
                sys.executable, "-u", "-m", "http.server", "0",
                "--bind", "127.0.0.1", "--directory", root,
            ) as server:
                port = server.stdout.search(r"port (\d+)")[1]
                self.check_pages(f"127.0.0.1:{port}")

    def check_pages(self, authority):
        """The different ways to say which."""
        for arguments, status, data in (
            ([f"http://{authority}"], 0, b"<h1>hi"),
            ([f"http://{authority}?query#part"], 0, b"<h1>hi"),
            ([f"HTTP://{authority}/index.html"], 0, b"<h1>hi"),
            ([authority], 0, b"<h1>hi"),
            ([authority, "/large"], 0, LARGE),
            ([f"http://{authority}", "/large"], 0, LARGE),
            ([f"http://{authority}/", "/large"], 0, LARGE),
            ([f"http://{authority}/none"], 1, b""),
        ):
            with self.subTest(arguments=arguments):
                result = harness.run(
                    *harness.program("http_client", *arguments)
                )
                self.assertEqual(result.returncode, status, result.stderr)
                self.assert_same_bytes(result.stdout, data)

    def test_ipv6(self):
        """[::1]:PORT, in the URL and in the Host header."""
        if not harness.has_ipv6():
            self.skipTest("no IPv6 here")
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as sock:
            sock.settimeout(harness.PATIENCE)
            port = sock.getsockname()[1]
            with harness.Background(
                answer, sock, with_length(b"six")
            ) as server:
                result = harness.run(
                    *harness.program("http_client", f"http://[::1]:{port}/")
                )
            self.assertEqual(result.stdout, b"six")
            self.assertIn(b"\r\nHost: [::1]:%d\r\n" % port, server.result)


if __name__ == "__main__":
    harness.main()
