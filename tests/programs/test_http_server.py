# SPDX-License-Identifier: MIT
"""http_server: files, in whole and in part, to everybody, in order."""

import contextlib
import hashlib
import os
import random
import resource
import select
import signal
import sys
import unittest

import harness
from http_kit import (
    LETTERS, MODIFIED, SECRET, Client, TestCase, request, write,
)

STAMP = "Sun, 13 Sep 2020 12:26:40 GMT"  # MODIFIED
EARLIER = "Sun, 13 Sep 2020 12:26:39 GMT"
LATER = "Sun, 13 Sep 2020 12:26:41 GMT"

RANGES = {
    "bytes=0-0": (206, b"a", "0-0"),
    "bytes=0-25": (206, LETTERS, "0-25"),
    "bytes=0-999": (206, LETTERS, "0-25"),
    "bytes=3-5": (206, b"def", "3-5"),
    "bytes=25-": (206, b"z", "25-25"),
    "bytes=0-": (206, LETTERS, "0-25"),
    "bytes=-1": (206, b"z", "25-25"),
    "bytes=-26": (206, LETTERS, "0-25"),
    "bytes=-1000": (206, LETTERS, "0-25"),
    "BYTES=3-5": (206, b"def", "3-5"),
    "bytes=3-99999999999999999999999999": (206, LETTERS[3:], "3-25"),
    "bytes=26-": (416, None, "*"),
    "bytes=26-30": (416, None, "*"),
    "bytes=99999999999999999999999999-": (416, None, "*"),
    "bytes=-0": (416, None, "*"),
    "bytes=5-3": (200, LETTERS, None),
    "bytes=5": (200, LETTERS, None),
    "bytes=-": (200, LETTERS, None),
    "bytes=": (200, LETTERS, None),
    "bytes": (200, LETTERS, None),
    "bytes=a-b": (200, LETTERS, None),
    "bytes=1-2-3": (200, LETTERS, None),
    "bytes=+1-2": (200, LETTERS, None),
    "bytes=--1": (200, LETTERS, None),
    "bytes=0-0,2-3": (200, LETTERS, None),
    "lines=1-2": (200, LETTERS, None),
}

TYPES = {
    "a.html": "text/html; charset=utf-8",
    "a.HTM": "text/html; charset=utf-8",
    "a.css": "text/css; charset=utf-8",
    "a.js": "text/javascript; charset=utf-8",
    "a.json": "application/json",
    "a.txt": "text/plain; charset=utf-8",
    "a.png": "image/png",
    "a.jpeg": "image/jpeg",
    "a.tar.gz": "application/octet-stream",
    "html": "application/octet-stream",
    ".html": "text/html; charset=utf-8",
    "x.html/a": "application/octet-stream",
}


def make_big(path, size):
    """A file of which no two pieces are alike; returns its digest."""
    digest = hashlib.sha256()
    block = random.Random(4).randbytes(1 << 20)
    with open(path, "wb") as file:
        for number in range(size >> 20):
            piece = number.to_bytes(8, "big") + block[8:]
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def read_digest(file, size):
    """Of so many bytes of a stream."""
    digest = hashlib.sha256()
    while size > 0 and (data := file.read(min(size, 1 << 16))):
        digest.update(data)
        size -= len(data)
    return digest.hexdigest()


class Files(TestCase):
    """What is served, and how."""

    def test_get(self):
        """A file, with all that is said of it."""
        answer = self.ask("/letters.txt")
        self.assertEqual((answer.status, answer.body), (200, LETTERS))
        self.assertEqual(answer["Content-Type"], TYPES["a.txt"])
        self.assertEqual(answer["Last-Modified"], STAMP)
        self.assertEqual(answer["Accept-Ranges"], "bytes")
        self.assertFalse(answer.closes)

    def test_head(self):
        """The same without the body."""
        with self.client() as client:
            for target in "/letters.txt", "/nothing", "/empty", "/sub":
                got = client.ask(target)
                head = client.ask(target, method="HEAD")
                for answer in got, head:
                    del answer.fields["date"]
                self.assertEqual(head.status, got.status)
                self.assertEqual(head.fields, got.fields)
                self.assertEqual(head.body, b"")

    def test_paths(self):
        """However a path is written, it is the same file."""
        page = b"<h1>page</h1>"
        with self.client() as client:
            for target, body in {
                "/": b"<h1>front</h1>",
                "/?query": b"<h1>front</h1>",
                "/index.html": b"<h1>front</h1>",
                "/sub/": b"<h1>sub</h1>",
                "//sub//": b"<h1>sub</h1>",
                "/sub/deep/page.html": page,
                "/sub/deep/page.html?a=/../..&b=%00": page,
                "/./sub/./deep/page.html": page,
                "/sub/../sub/deep/er/../page.html": page,
                "/sub/%2e%2E/sub/deep/page.html": page,
                "/nowhere/../sub/deep/page.html": page,
                "/%73ub/d%65ep/page%2ehtml": page,
                "/a%20b/%C3%BC%2541.txt": b"umlaut",
                "http://localhost/sub/deep/page.html": page,
                "HTTP://other:80/sub/deep/page.html?x": page,
                "http://localhost": b"<h1>front</h1>",
                "http://[::1]:80?query": b"<h1>front</h1>",
                "/sub/deep/er/../..": b"<h1>sub</h1>",
                "/sub/.": b"<h1>sub</h1>",
                "/sub/deep/..": b"<h1>sub</h1>",
                "/empty": b"",
            }.items():
                with self.subTest(target=target):
                    answer = client.ask(target)
                    self.assertEqual(
                        (answer.status, answer.body), (200, body)
                    )

    def test_links_inside(self):
        """Those that don't lead out are as good as files, where the kernel
        can tell."""
        with self.client() as client:
            for target in "/inside", "/inside_dir/page.html", "/sub/up":
                self.assertIn(client.ask(target).status, (200, 404))
        if sys.platform == "linux" and os.uname().release >= "5.6":
            self.assertEqual(self.ask("/inside").body, LETTERS)

    def test_directories(self):
        """One is sent to where its index is."""
        with self.client() as client:
            for target, location in {
                "/sub": "/sub/",
                "/sub?query": "/sub/",
                "//sub/deep": "/sub/deep/",
                "http://evil.example/sub": "/sub/",
                "/sub/deep/er/..%2": None,
                "/a%20b": "/a%20b/",
                "/%61%20b": "/a%20b/",
            }.items():
                with self.subTest(target=target):
                    answer = self.ask(target)
                    self.assertEqual(answer["Location"], location)
                    self.assertEqual(answer.status, 301 if location else 400)
            self.assertEqual(client.ask("/bare/").status, 404)
            self.assertEqual(client.ask("/strange/").status, 404)
            self.assertEqual(client.ask("/letters.txt/").status, 404)
            self.assertEqual(client.ask("/letters.txt/x").status, 404)

    def test_what_is_no_file(self):
        """Nobody waits for somebody to write to a FIFO."""
        with self.client() as client:
            for target, status in {
                "/fifo": 403,
                "/socket": 404,
                "/nothing": 404,
                "/loop": 404,
                "/dangling": 404,
                "/" + "x" * 256: 404,
                "/" + "x/" * 4000: 404,
            }.items():
                with self.subTest(target=target[:20]):
                    self.assertEqual(client.ask(target).status, status)

    @unittest.skipIf(os.geteuid() == 0, "nothing is forbidden to root")
    def test_forbidden(self):
        """What we can't read."""
        os.chmod(os.path.join(self.site, "letters.txt"), 0)
        self.assertEqual(self.ask("/letters.txt").status, 403)

    def test_types(self):
        """By the name, and only the last part of it."""
        with self.client() as client:
            for name, kind in TYPES.items():
                write(os.path.join(self.site, "types", name), b"x")
                answer = client.ask("/types/" + name)
                self.assertEqual(answer["Content-Type"], kind, name)
            self.assertEqual(
                client.ask("/sub/")["Content-Type"], TYPES["a.html"]
            )

    def test_ranges(self):
        """One part, if it is one and can be had; else the whole."""
        with self.client() as client:
            for value, (status, body, part) in RANGES.items():
                with self.subTest(range=value):
                    answer = client.ask("/letters.txt", f"Range: {value}")
                    self.assertEqual(answer.status, status)
                    if body is not None:
                        self.assertEqual(answer.body, body)
                    self.assertEqual(
                        answer["Content-Range"], part and f"bytes {part}/26"
                    )
            answer = client.ask("/letters.txt", "Range: bytes=3-5",
                                method="HEAD")
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer["Content-Length"], "26")
            for value, status in {"0-": 416, "-5": 200, "-0": 416}.items():
                answer = client.ask("/empty", f"Range: bytes={value}")
                self.assertEqual(answer.status, status, value)

    def test_if_range(self):
        """A part only of the file that the client knows."""
        with self.client() as client:
            for value, status in {
                STAMP: 206, EARLIER: 200, LATER: 200, '"etag"': 200, "": 200,
            }.items():
                answer = client.ask(
                    "/letters.txt", "Range: bytes=3-5", f"If-Range: {value}"
                )
                self.assertEqual(answer.status, status, value)

    def test_if_modified_since(self):
        """All three ways to write a date, and those that are none."""
        with self.client() as client:
            for value, status in {
                STAMP: 304,
                LATER: 304,
                EARLIER: 200,
                "Sunday, 13-Sep-20 12:26:40 GMT": 304,
                "Sun Sep 13 12:26:40 2020": 304,
                "Sun Sep  6 12:26:40 2020": 200,
                "Sun, 13 Sep 2020 12:26:40": 200,
                "Sun, 13 Sep 2020 12:26:40 GMT and more": 200,
                "yesterday": 200,
                "": 200,
                "x" * 1000: 200,
                "Thu, 01 Jan 1970 00:00:00 GMT": 200,
                "Fri, 31 Dec 9999 23:59:59 GMT": 304,
            }.items():
                answer = client.ask(
                    "/letters.txt", f"If-Modified-Since: {value}"
                )
                self.assertEqual(answer.status, status, value)
                self.assertEqual(answer["Last-Modified"], STAMP)
            answer = client.ask(
                "/letters.txt",
                f"If-Modified-Since: {STAMP}",
                'If-None-Match: "x"',
            )
            self.assertEqual(answer.status, 200)

    def test_modified_tomorrow(self):
        """No file is from the future."""
        path = os.path.join(self.site, "letters.txt")
        os.utime(path, (4_000_000_000, 4_000_000_000))
        answer = self.ask("/letters.txt")
        self.assertEqual(answer["Last-Modified"], answer["Date"])

    def test_changes(self):
        """A file is looked at for each request."""
        with self.client() as client:
            for number in range(20):
                data = bytes([number]) * number
                write(os.path.join(self.site, "changes"), data)
                self.assertEqual(client.ask("/changes").body, data)
            os.unlink(os.path.join(self.site, "changes"))
            self.assertEqual(client.ask("/changes").status, 404)

    def test_file_shrinks(self):
        """What has been promised can't be sent any more: the connection
        ends, and nothing else does."""
        path = os.path.join(self.site, "big")
        make_big(path, 64 << 20)
        with self.client(4096) as client:
            client.send(request("/big"))
            self.assertEqual(client.receive_head().status, 200)
            os.truncate(path, 1 << 20)
            self.assertLess(len(client.file.read()), 64 << 20)
        self.assert_serves()


class Connections(TestCase):
    """How they are used, and how they end."""

    def test_versions(self):
        """Who says nothing stays connected with 1.1, and not with 1.0."""
        for version, field, closes in (
            ("1.1", None, False),
            ("1.1", "Connection: close", True),
            ("1.1", "Connection: keep-alive", False),
            ("1.1", "Connection: upgrade,  CLOSE", True),
            ("1.1", "Connection: x\r\nConnection: close", True),
            ("1.1", "Connection: closed", False),
            ("1.0", None, True),
            ("1.0", "Connection: keep-alive", False),
            ("1.0", "Connection: Keep-Alive, close", True),
            ("1.9", "Host: x", False),
        ):
            with self.subTest(version=version, field=field):
                with self.client() as client:
                    fields = [field] if field is not None else []
                    answer = client.ask("/", *fields, version=version)
                    self.assertEqual(answer.status, 200)
                    self.assertEqual(answer.closes, closes)
                    if closes:
                        self.assertIsNone(client.receive())
                    else:
                        self.assertEqual(client.ask("/sub/").status, 200)

    def test_pipelining(self):
        """A thousand requests in one write, and the answers in their order,
        whatever kind they are."""
        kinds = [
            ("/letters.txt", (), 200),
            ("/nothing", (), 404),
            ("/sub", (), 301),
            ("/letters.txt", ("Range: bytes={0}-{0}",), 206),
            ("/letters.txt", ("Range: bytes=99-",), 416),
            ("/letters.txt", (f"If-Modified-Since: {STAMP}",), 304),
            ("/out", (), 403),
        ]
        chosen = random.Random(5).choices(range(len(kinds)), k=1000)
        stream = []
        for number, kind in enumerate(chosen):
            target, fields, _ = kinds[kind]
            fields = [field.format(number % 26) for field in fields]
            body = b"GET / HTTP/1.1\r\n\r\n" * 3 if number % 5 == 0 else None
            stream.append(request(target, *fields, body=body))
        answers = self.exchange(*stream)
        self.assertEqual(
            [answer.status for answer in answers],
            [kinds[kind][2] for kind in chosen],
        )
        for number, answer in enumerate(answers):
            if answer.status == 206:
                self.assertEqual(answer.body[0], LETTERS[number % 26])

    def test_pipelining_of_files(self):
        """Large ones among the small, with HEAD in between."""
        sizes = [0, 1, 1000, 65536, 300000, 5, 1 << 20] * 10
        for size in set(sizes):
            write(
                os.path.join(self.site, f"file{size}"),
                random.Random(size).randbytes(size),
            )
        with self.client() as client:
            client.send(*(
                request(f"/file{size}", method=method)
                for size in sizes
                for method in ("GET", "HEAD")
            ))
            for size in sizes:
                for method in "GET", "HEAD":
                    answer = client.receive(method)
                    self.assertEqual(answer["Content-Length"], str(size))
                    self.assert_same_bytes(
                        answer.body,
                        random.Random(size).randbytes(size)
                        if method == "GET" else b"",
                    )

    def test_pieces(self):
        """The stream decides, not how it is cut."""
        stream = b"".join([
            request("/letters.txt"),
            request("/", method="POST", body=b"x" * 30),
            b"\r\n", request("/nothing", body=b"\r\n\r\n\r\n"),
            request("/empty"),
            request("/sub", "Connection: close"),
            request("/ignored"),
        ])
        for size in 1, 2, 3, 7, 100, 1000:
            with self.subTest(size=size), self.client() as client:
                for at in range(0, len(stream), size):
                    client.send(stream[at : at + size])
                statuses = [answer.status for answer in client.receive_all()]
                self.assertEqual(statuses, [200, 405, 404, 200, 301])

    def test_bodies(self):
        """They are read and forgotten; what follows is understood."""
        with self.client() as client:
            for size in 0, 1, 4095, 4096, 4097, 100000, 1 << 20:
                for method, status in {
                    "GET": 200, "POST": 405, "PUT": 405, "DELETE": 405,
                }.items():
                    answer = client.ask(
                        "/letters.txt", method=method, body=b"G" * size
                    )
                    self.assertEqual(answer.status, status)
                    self.assertFalse(answer.closes)
                    if status == 405:
                        self.assertEqual(answer["Allow"], "GET, HEAD")

    def test_expect(self):
        """A client that asks whether it may go on is told so."""
        with self.client() as client:
            body = b"x" * 5000
            wanted = request("/", "Expect: 100-continue", method="POST",
                             body=body)
            client.send(wanted[: -len(body)])
            self.assertEqual(client.receive().status, 100)
            client.send(body)
            self.assertEqual(client.receive().status, 405)
            # No body, no question.
            answer = client.ask("/letters.txt", "Expect: 100-continue")
            self.assertEqual(answer.body, LETTERS)
            answer = client.ask("/", "Expect: miracles")
            self.assertEqual(answer.status, 417)
            self.assertTrue(answer.closes)
        # Who will not read it is not asked for it.
        with self.client() as client:
            answer = client.ask(
                "/", "Expect: 100-continue", "Content-Length: 99999999",
                method="PUT",
            )
            self.assertEqual(answer.status, 413)

    def test_half_close(self):
        """Who has said all still gets all."""
        digest = make_big(os.path.join(self.site, "big"), 16 << 20)
        with self.client() as client:
            client.send(request("/letters.txt"), request("/big"))
            client.end()
            self.assertEqual(client.receive().body, LETTERS)
            answer = client.receive_head()
            self.assertEqual(answer.status, 200)
            self.assertEqual(read_digest(client.file, 16 << 20), digest)
            self.assertIsNone(client.receive())

    def test_large_file(self):
        """To a fast reader, to a slow one, and both at once."""
        size = 64 << 20
        digest = make_big(os.path.join(self.site, "big"), size)
        before = self.server.status("VmRSS")
        with self.client(4096) as slow, self.client() as fast:
            slow.send(request("/big"))
            self.assertEqual(slow.receive_head().status, 200)
            with harness.Background(read_digest, slow.file, size) as reader:
                fast.send(request("/big"))
                self.assertEqual(fast.receive_head().status, 200)
                self.assertEqual(read_digest(fast.file, size), digest)
            self.assertEqual(reader.result, digest)
        grown = self.server.status("VmRSS") - before
        self.assertLess(grown, 16 << 20 if harness.SANITIZED else 1 << 20)

    def test_greedy_client(self):
        """Who asks for a large file over and over and takes nothing gets one
        file opened, is not read from any more, and costs no time."""
        make_big(os.path.join(self.site, "big"), 16 << 20)
        before = len(harness.descriptors(self.server.pid))
        memory = self.server.status("VmRSS")
        with self.client(4096) as client:
            harness.send_until_stuck(
                client.sock, request("/big") * 1000, 64 << 20
            )
            self.assertLessEqual(
                len(harness.descriptors(self.server.pid)), before + 2
            )
            grown = self.server.status("VmRSS") - memory
            self.assertLess(grown, 16 << 20 if harness.SANITIZED else 2 << 20)
            used = self.server.cpu_seconds()
            with self.assertRaises(TimeoutError):
                client.sock.settimeout(0.5)
                client.sock.sendall(request("/big") * 1000)
            self.assertLess(self.server.cpu_seconds() - used, 0.25)
            self.assert_serves()
        self.wait_for_descriptors(before)

    def wait_for_descriptors(self, count):
        """It has so many again."""
        harness.wait_for(
            lambda: len(harness.descriptors(self.server.pid)) == count
        )

    def test_leaves_nothing(self):
        """Every way to go, many times: no descriptor and no memory stays."""
        make_big(os.path.join(self.site, "big"), 4 << 20)
        before = len(harness.descriptors(self.server.pid))
        memory = None
        for round_number in range(4):
            for _ in range(50):
                self.come_and_go()
            self.wait_for_descriptors(before)
            if round_number == 1:
                memory = self.server.status("VmRSS")
        if not harness.SANITIZED:
            self.assertLess(self.server.status("VmRSS") - memory, 256 << 10)
        self.assert_serves()

    def come_and_go(self):
        """Ask, and be gone at some point."""
        with self.client() as client:
            pass
        with self.client() as client:
            client.send(request("/big"))
        with self.client() as client:
            client.send(request("/big") * 10)
            client.receive_head()
            harness.reset(client.sock)
        with self.client() as client:
            client.send(request("/letters.txt")[:-1])
            client.end()
            self.assertEqual(client.receive_all(), [])
        with self.client() as client:
            client.send(request("/", method="POST", body=bytes(100))[:-1])
        with self.client() as client:
            self.assertEqual(client.ask("/nothing").status, 404)

    def test_many_connections(self):
        """500 at once, each asking twice."""
        before = len(harness.descriptors(self.server.pid))
        with contextlib.ExitStack() as stack:
            clients = [
                stack.enter_context(self.client()) for _ in range(500)
            ]
            for target, body in {
                "/letters.txt": LETTERS, "/sub/": b"<h1>sub</h1>",
            }.items():
                for client in clients:
                    client.send(request(target))
                for client in clients:
                    self.assertEqual(client.receive().body, body)
            harness.wait_for(self.server.is_asleep)
            self.assertEqual(
                len(harness.descriptors(self.server.pid)), before + 500
            )
        self.wait_for_descriptors(before)

    def test_out_of_descriptors(self):
        """A file that can't be opened now is no file that isn't there."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with self.serve(
            preexec_fn=lambda: resource.setrlimit(
                resource.RLIMIT_NOFILE, (12, hard)
            ),
        ) as server, contextlib.ExitStack() as stack:
            statuses = []
            for _ in range(12):
                client = stack.enter_context(Client(server.address))
                with contextlib.suppress(ConnectionError):
                    answer = client.ask("/letters.txt")
                    statuses.append(answer.status if answer else None)
                    if answer is not None:
                        self.assertEqual(
                            answer.closes, answer.status == 503
                        )
            self.assertIn(200, statuses)
            self.assertLessEqual(set(statuses), {200, 503, None})
            stack.close()
            harness.wait_for(
                lambda: len(harness.descriptors(server.pid)) < 9
            )
            with Client(server.address) as client:
                self.assertEqual(client.ask("/letters.txt").status, 200)

    def test_signals(self):
        """Both end it, whatever it is doing."""
        make_big(os.path.join(self.site, "big"), 4 << 20)
        with self.client(4096) as client:
            client.send(request("/big") * 3)
            self.assertEqual(client.receive_head().status, 200)
            self.assertEqual(self.server.stop(signal.SIGINT), 0)
        self.assertEqual(self.server.stderr.all(), "")
        with self.serve() as another:
            self.assertEqual(another.stop(signal.SIGTERM), 0)
            self.assertEqual(another.stderr.all(), "")


class Patience(TestCase):
    """Nobody stays for ever."""

    options = ("-t", "0.5")

    def assert_says_408(self, client):
        """… and that was all."""
        answer = client.receive()
        self.assertEqual(answer.status, 408)
        self.assertTrue(answer.closes)
        self.assertIsNone(client.receive())

    def test_silence(self):
        """Who has not begun to ask is not told anything."""
        with self.client() as new, self.client() as old:
            self.assertEqual(old.ask("/").status, 200)
            self.assertIsNone(old.receive())
            self.assertIsNone(new.receive())

    def test_half_a_request(self):
        """Head or body."""
        whole = request("/", method="POST", body=bytes(100))
        for size in 1, 10, len(whole) - 101, len(whole) - 100, len(whole) - 1:
            with self.subTest(size=size), self.client() as client:
                client.send(whole[:size])
                self.assert_says_408(client)

    def test_half_a_second_request(self):
        """It counts from its own beginning."""
        with self.client() as client:
            client.send(request("/letters.txt"), request("/")[:-1])
            self.assertEqual(client.receive().body, LETTERS)
            self.assert_says_408(client)

    def test_dribble(self):
        """A byte now and then is no progress."""
        post = request("/", method="POST", body=bytes(1000))
        for at_once, bit_by_bit in (
            (b"", request("/", "X: " + "x" * 1000)),
            (post[:-1000], post[-1000:]),
        ):
            with self.subTest(at_once=at_once), self.client() as client:
                client.send(at_once)
                sent = self.dribble(client.sock, bit_by_bit)
                self.assertLess(sent, 100)
                self.assert_says_408(client)

    def test_too_late(self):
        """A request that is whole after all, but not in time."""
        whole = request("/letters.txt")
        with self.client() as client:
            for piece in whole[:5], whole[5:10]:
                client.send(piece)
                select.select([], [], [], 0.3)
            client.send(whole[10:], whole)
            self.assert_says_408(client)

    @staticmethod
    def dribble(sock, data):
        """A byte after the other, until there is an answer.  Returns how many
        bytes that took."""
        for number in range(len(data)):
            sock.send(data[number : number + 1])
            ready, _, _ = select.select([sock], [], [], 0.05)
            if ready:
                return number
        return len(data)

    def test_who_does_not_read(self):
        """The file is closed, and so is the connection."""
        make_big(os.path.join(self.site, "big"), 16 << 20)
        before = len(harness.descriptors(self.server.pid))
        with self.client(4096) as client, self.client(4096) as last:
            for one, fields in (client, ()), (last, ("Connection: close",)):
                one.send(request("/big", *fields))
                self.assertEqual(one.receive_head().status, 200)
            harness.wait_for(
                lambda: len(harness.descriptors(self.server.pid)) == before
            )
        self.assert_serves()

    def test_who_reads_slowly(self):
        """It may take much longer than that, if there is progress."""
        size = 4 << 20
        digest = make_big(os.path.join(self.site, "big"), size)
        got = hashlib.sha256()
        with self.client(16384) as client:
            client.send(request("/big"))
            self.assertEqual(client.receive_head().status, 200)
            left = size
            while left > 0:
                data = client.file.read(min(left, size // 20))
                self.assertTrue(data)
                got.update(data)
                left -= len(data)
                select.select([], [], [], 0.05)  # this takes its time
            self.assertEqual(got.hexdigest(), digest)


class WithoutOpenat2(TestCase):
    """A kernel that can't look after links: there are none then."""

    def serve(self, *options, **kwargs):
        if harness.find("strace") is None or harness.run(
            "strace", "-o", os.devnull, "true"
        ).returncode != 0:
            self.skipTest("strace is not installed, or may not trace")
        return harness.Server(
            "strace", "-D", "-o", os.devnull, "-e", "trace=openat2",
            "-e", "inject=openat2:error=ENOSYS",
            *harness.program("http_server", self.site, "127.0.0.1", 0),
            env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},
        )

    def test_files(self):
        """At all depths, and no descriptor of a directory stays open."""
        before = len(harness.descriptors(self.server.pid))
        for target, status in {
            "/": 200,
            "/letters.txt": 200,
            "/sub/deep/er/page.html": 200,
            "/sub/deep/er": 301,
            "/sub/deep/er/nothing": 404,
            "/sub/nothing/er/page.html": 404,
            "/letters.txt/x/y": 404,
            "/fifo": 403,
            "/bare/": 404,
            "/inside": 404,
            "/inside_dir/page.html": 404,
            "/out": 404,
            "/out_dir/secret.txt": 404,
            "/root/etc/passwd": 404,
            "/sub/out": 404,
        }.items():
            with self.subTest(target=target):
                answer = self.ask(target)
                self.assertEqual(answer.status, status)
                self.assertNotIn(SECRET, answer.body)
        harness.wait_for(
            lambda: len(harness.descriptors(self.server.pid)) == before
        )


@unittest.skipUnless(harness.find("curl"), "curl is not installed")
class Curl(TestCase):
    """A client of others."""

    def curl(self, *arguments):
        """Returns stdout."""
        result = harness.run("curl", "-sS", *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def test_get(self):
        """A large file, compared by its digest."""
        digest = make_big(os.path.join(self.site, "big"), 64 << 20)
        self.assertEqual(
            harness.digest(self.curl(self.url("/big"))), digest
        )

    def test_head(self):
        """-I."""
        head = self.curl("-I", self.url("/letters.txt"))
        self.assertTrue(head.startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertIn(b"\r\nContent-Length: 26\r\n", head)

    def test_range(self):
        """-r, and going on with half a file."""
        url = self.url("/letters.txt")
        self.assertEqual(self.curl("-r", "3-5", url), b"def")
        half = os.path.join(self.root, "half")
        write(half, LETTERS[:10])
        self.curl("-C", "-", "-o", half, url)
        with open(half, "rb") as file:
            self.assertEqual(file.read(), LETTERS)

    def test_if_modified_since(self):
        """-z."""
        code = ("-o", os.devnull, "-w", "%{http_code}")
        url = self.url("/letters.txt")
        self.assertEqual(self.curl("-z", STAMP, *code, url), b"304")
        self.assertEqual(self.curl("-z", EARLIER, *code, url), b"200")

    def test_keep_alive(self):
        """Three files, one connection."""
        urls = [self.url(path) for path in ("/", "/letters.txt", "/nothing")]
        sinks = ["-o", os.devnull] * 3
        self.assertEqual(
            self.curl("-w", "%{num_connects}", *sinks, *urls), b"100"
        )

    def test_redirect(self):
        """-L."""
        self.assertEqual(
            self.curl("-L", self.url("/sub")), b"<h1>sub</h1>"
        )

    def test_upload(self):
        """It asks before it sends a large one."""
        for size, status in (
            (1000, b"405"), (1 << 20, b"405"), (2 << 20, b"413"),
        ):
            path = os.path.join(self.root, "upload")
            write(path, bytes(size))
            self.assertEqual(
                self.curl("-T", path, "-o", os.devnull, "-w", "%{http_code}",
                          "--expect100-timeout", "30", self.url("/x")),
                status,
            )


@unittest.skipUnless(harness.find("wrk"), "wrk is not installed")
class Wrk(TestCase):
    """Two seconds of as many requests as it goes."""

    def wrk(self, path, *arguments):
        """No error of any kind."""
        result = harness.run(
            "wrk", "-t1", "-c50", "-d2s", *arguments, self.url(path)
        )
        text = result.stdout.decode()
        print(text)
        self.assertEqual(result.returncode, 0)
        self.assertRegex(text, r"Requests/sec: +[1-9]")
        self.assertNotIn("Socket errors", text)
        self.assertNotIn("Non-2xx", text)

    def test_small_file(self):
        """Keep-alive."""
        before = len(harness.descriptors(self.server.pid))
        self.wrk("/letters.txt")
        self.assert_serves()
        harness.wait_for(
            lambda: len(harness.descriptors(self.server.pid)) == before
        )

    def test_large_file(self):
        """sendfile() all the time."""
        make_big(os.path.join(self.site, "big"), 1 << 20)
        self.wrk("/big")


assert MODIFIED == 1_600_000_000  # what STAMP says

if __name__ == "__main__":
    harness.main()
