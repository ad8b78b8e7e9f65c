# SPDX-License-Identifier: MIT
"""What the tests of http_server share: a site, and a client that takes
nothing for granted."""

import email.utils
import os
import random
import re
import socket
import tempfile

import harness

SECRET = b"what nobody may read"
LETTERS = b"abcdefghijklmnopqrstuvwxyz"
MODIFIED = 1_600_000_000  # when all files of the site were


def write(path, data):
    """Make a file."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    os.utime(path, (MODIFIED, MODIFIED))


def make_site(root):
    """A directory with all sorts of things in it, and a secret beside it.
    Returns the directory."""
    site = os.path.join(root, "site")
    write(os.path.join(root, "secret.txt"), SECRET)
    write(os.path.join(root, "site2", "secret.txt"), SECRET)
    for path, data in {
        "index.html": b"<h1>front</h1>",
        "letters.txt": LETTERS,
        "empty": b"",
        "sub/index.html": b"<h1>sub</h1>",
        "sub/deep/page.html": b"<h1>page</h1>",
        "sub/deep/er/page.html": b"<h1>deeper</h1>",
        "a b/\u00fc%41.txt": b"umlaut",
        "strange/index.html/file": b"an index that is a directory",
        "bare/file.bin": bytes(range(256)),
    }.items():
        write(os.path.join(site, path), data)
    for name, target in {
        "inside": "letters.txt",
        "inside_dir": "sub/deep",
        "out": "../secret.txt",
        "out_dir": "..",
        "out_absolute": os.path.join(root, "secret.txt"),
        "out_and_in": "../site/letters.txt",
        "loop": "loop",
        "dangling": "nowhere",
        "sub/out": "../../secret.txt",
        "sub/up": "../letters.txt",
        "root": "/",
        "proc": "/proc/self",
    }.items():
        os.symlink(target, os.path.join(site, name))
    os.mkfifo(os.path.join(site, "fifo"))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.path.join(site, "socket"))
    return site


def request(target="/", *fields, method="GET", body=None, version="1.1"):
    """The bytes of a request."""
    lines = [f"{method} {target} HTTP/{version}", *fields]
    if version == "1.1":
        lines.append("Host: localhost")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


class Answer:
    """What came back."""

    def __init__(self, head):
        first, *lines = head.decode("latin-1").split("\r\n")
        found = re.fullmatch(r"HTTP/1\.1 (\d{3}) (.+)", first)
        assert found, head
        self.status = int(found[1])
        self.fields = {}
        for line in lines:
            name, colon, value = line.partition(": ")
            assert colon and name.lower() not in self.fields, head
            self.fields[name.lower()] = value
        self.body = b""
        if self.status >= 200:
            assert email.utils.parsedate(self.fields["date"]), head

    def __getitem__(self, name):
        return self.fields.get(name.lower())

    @property
    def closes(self):
        """Is it the last one?"""
        return self["Connection"] == "close"

    def length(self, method):
        """Of the body that comes behind the head."""
        if method == "HEAD" or self.status in (100, 304):
            return 0
        return int(self["Content-Length"])


def connect(address, receive_buffer=None):
    """As the harness does it, but each time from another address of the
    loopback net: the thousands of ports that have to rest when a test has
    ended would be missing elsewhere."""
    source = socket.inet_ntoa(bytes([127, *random.randbytes(2), 2]))
    sock = socket.socket()
    sock.settimeout(harness.PATIENCE)
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        sock.bind((source, 0))
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


class Client:
    """A connection."""

    def __init__(self, address, receive_buffer=None):
        self.sock = connect(address, receive_buffer)
        self.file = self.sock.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.sock.close()

    def send(self, *pieces):
        """All of it."""
        self.sock.sendall(b"".join(pieces))

    def end(self):
        """Of what we send."""
        self.sock.shutdown(socket.SHUT_WR)

    def receive_head(self):
        """Returns None at the end of the stream."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.file.readline()
            if not line:
                assert not head, head
                return None
            head += line
        return Answer(head[:-4])

    def receive(self, method="GET"):
        """A whole answer, or None."""
        answer = self.receive_head()
        if answer is not None:
            size = answer.length(method)
            answer.body = self.file.read(size)
            assert len(answer.body) == size, "a body was cut off"
        return answer

    def receive_all(self):
        """The answers up to the end of the stream.  The methods don't matter
        if it are not HEAD."""
        return list(iter(self.receive, None))

    def ask(self, *arguments, **kwargs):
        """One request, one answer."""
        self.send(request(*arguments, **kwargs))
        return self.receive(kwargs.get("method", "GET"))


class TestCase(harness.TestCase):
    """One server and one site for each test."""

    options = ()

    def setUp(self):
        self.root = self.enterContext(tempfile.TemporaryDirectory())
        self.site = make_site(self.root)
        self.server = self.enterContext(self.serve(*self.options))

    def serve(self, *options, **kwargs):
        """Another server for the site."""
        return harness.serve(
            "http_server", *options, self.site, "127.0.0.1", 0, **kwargs
        )

    def client(self, *arguments):
        """A connection, which lasts until the test ends, or its `with`."""
        return Client(self.server.address, *arguments)

    def url(self, path):
        """For programs of others."""
        return f"http://{self.server.host}:{self.server.port}{path}"

    def ask(self, *arguments, **kwargs):
        """On a connection of its own."""
        with self.client() as client:
            return client.ask(*arguments, **kwargs)

    def exchange(self, *pieces):
        """Send this and then the end; returns the answers."""
        with self.client() as client:
            client.send(*pieces)
            client.end()
            return client.receive_all()

    def assert_serves(self):
        """It is well."""
        answer = self.ask("/letters.txt")
        self.assertEqual((answer.status, answer.body), (200, LETTERS))
