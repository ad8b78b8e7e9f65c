# SPDX-License-Identifier: MIT
"""http_client against nginx, as Debian has it."""

import os
import random
import tempfile

import harness

CONFIG = """
daemon off;
master_process off;
pid {root}/pid;
error_log {root}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    default_type text/plain;
    server {{
        listen 127.0.0.1:{port};
        root {root}/www;
        location = /moved {{ return 301 /large; }}
        location = /empty {{ return 204; }}
        location = /reset {{ return 444; }}
        # What is filtered has no length: it comes in chunks.
        location /chunked/ {{
            ssi on;
            ssi_types *;
            alias {root}/www/;
        }}
    }}
}}
"""


class Nginx(harness.TestCase):
    """One server for all."""

    def setUp(self):
        self.root = self.enterContext(tempfile.TemporaryDirectory())
        os.chmod(self.root, 0o755)
        os.mkdir(os.path.join(self.root, "www"))
        self.large = random.Random(1).randbytes(3 << 20).hex().encode()
        self.write("www/index.html", b"<h1>nginx</h1>\n")
        self.write("www/large", self.large)
        # It cannot be asked for a port that is free, so it gets one that was
        # a moment ago.
        with harness.listener() as free:
            self.port = free.getsockname()[1]
        config = CONFIG.format(root=self.root, port=self.port)
        self.write("nginx.conf", config.encode())
        self.server = self.enterContext(
            harness.Process(
                harness.find("nginx"), "-p", self.root,
                "-c", os.path.join(self.root, "nginx.conf"),
            )
        )
        harness.wait_for(self.is_up)

    def write(self, name, data):
        """A file below root."""
        with open(os.path.join(self.root, name), "wb") as file:
            file.write(data)

    def is_up(self):
        """Does it answer?"""
        self.assertIsNone(self.server.popen.poll(), self.server.stderr.text)
        try:
            harness.connect(("127.0.0.1", self.port)).close()
        except ConnectionRefusedError:
            return False
        return True

    def fetch(self, path):
        """The client's result."""
        return harness.run(
            *harness.program(
                "http_client", f"http://127.0.0.1:{self.port}{path}"
            )
        )

    def test_pages(self):
        """Whole, with a length and in chunks."""
        for path, data in {
            "/": b"<h1>nginx</h1>\n",
            "/large": self.large,
            "/chunked/large": self.large,
            "/empty": b"",
        }.items():
            with self.subTest(path=path):
                result = self.fetch(path)
                self.assertEqual(result.stderr, b"")
                self.assertEqual(result.returncode, 0)
                self.assert_same_bytes(result.stdout, data)

    def test_no_pages(self):
        """One line says why not."""
        self.assert_fails(self.fetch("/none"), 1, "404 Not Found")
        self.assert_fails(self.fetch("/moved"), 1, "301 Moved", "/large")
        self.assert_fails(self.fetch("/reset"), 1, "without an answer")


if __name__ == "__main__":
    harness.require("nginx")
    harness.main()
