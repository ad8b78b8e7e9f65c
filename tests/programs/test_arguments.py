# SPDX-License-Identifier: MIT
"""Wrong input: one clear line on stderr, and exit status 2."""

import os

import harness

LONG = "x" * 300

WRONG = {
    "chat_server": [
        ["127.0.0.1", "65536"],
        ["127.0.0.1", "12x"],
        ["no host", "0"],
        ["nosuchhost.invalid", "0"],
        ["127.0.0.1", "0", "more"],
        ["-t"],
        ["-t", "0", "127.0.0.1", "0"],
        ["-t", "-1", "127.0.0.1", "0"],
        ["-t", "nan", "127.0.0.1", "0"],
        ["-t", "1s", "127.0.0.1", "0"],
        ["-x"],
    ],
    "echo_server": [
        ["127.0.0.1", "65536"],
        ["127.0.0.1", "-1"],
        ["127.0.0.1", "12x"],
        ["127.0.0.1", ""],
        ["127.0.0.1", " 1"],
        ["127.0.0.1", "99999999999999999999"],
        ["no host", "0"],
        ["[::1]", "0"],
        [LONG, "0"],
        ["nosuchhost.invalid", "0"],
        ["127.0.0.1", "0", "more"],
        ["-x"],
        ["--nonsense"],
    ],
    "echo_workers": [
        ["127.0.0.1", "65536"],
        ["127.0.0.1", "12x"],
        ["no host", "0"],
        ["nosuchhost.invalid", "0"],
        ["127.0.0.1", "0", "more"],
        ["-w"],
        ["-w", "0", "127.0.0.1", "0"],
        ["-w", "-1", "127.0.0.1", "0"],
        ["-w", "1025", "127.0.0.1", "0"],
        ["-w", "2x", "127.0.0.1", "0"],
        ["-w", "", "127.0.0.1", "0"],
        ["-t", "0", "127.0.0.1", "0"],
        ["-t", "nan", "127.0.0.1", "0"],
        ["-x"],
    ],
    "http_client": [
        [],
        ["https://127.0.0.1/"],
        ["ftp://127.0.0.1/"],
        ["http://"],
        ["http:///path"],
        ["http://[::1/"],
        ["http://[::1]x/"],
        ["http://127.0.0.1:0/"],
        ["http://127.0.0.1:65536/"],
        ["http://127.0.0.1:http/"],
        ["http://127.0.0.1:/"],
        ["http://user@127.0.0.1/"],
        ["http://127.0.0.1/a b"],
        ["http://127.0.0.1/\r\nX: y"],
        ["http://127.0.0.1/\x7f"],
        ["http://" + LONG + "/"],
        ["http://127.0.0.1/" + "x" * 9000],
        ["127.0.0.1", "path"],
        ["127.0.0.1", "/a b"],
        ["127.0.0.1", "/#part"],
        ["http://127.0.0.1/a", "/b"],
        ["", "/"],
        ["a", "/b", "/c"],
        ["-t"],
        ["-t", "0", "127.0.0.1"],
        ["-t", "-1", "127.0.0.1"],
        ["-t", "nan", "127.0.0.1"],
        ["-t", "1s", "127.0.0.1"],
        ["-x", "127.0.0.1"],
    ],
    "http_server": [
        [],
        ["/nonexistent", "127.0.0.1", "0"],
        ["/etc/passwd", "127.0.0.1", "0"],
        ["", "127.0.0.1", "0"],
        ["/", "127.0.0.1", "65536"],
        ["/", "127.0.0.1", "http"],
        ["/", "no host", "0"],
        ["/", "nosuchhost.invalid", "0"],
        ["/", "127.0.0.1", "0", "more"],
        ["-t"],
        ["-t", "0", "/", "127.0.0.1", "0"],
        ["-t", "nan", "/", "127.0.0.1", "0"],
        ["-t", "1s", "/", "127.0.0.1", "0"],
        ["-x", "/", "127.0.0.1", "0"],
    ],
    "netcat": [
        [],
        ["127.0.0.1"],
        ["127.0.0.1", "1", "2"],
        ["127.0.0.1", "0"],
        ["127.0.0.1", "65536"],
        ["127.0.0.1", "port"],
        ["", "80"],
        ["a/b", "80"],
        ["nosuchhost.invalid", "80"],
        ["-l", "127.0.0.1"],
        ["-l", "127.0.0.1", "65536"],
        ["-l", "nosuchhost.invalid", "0"],
        ["-x", "127.0.0.1", "80"],
    ],
    "smtp_sink": [
        ["127.0.0.1", "65536"],
        ["127.0.0.1", "12x"],
        ["no host", "0"],
        ["nosuchhost.invalid", "0"],
        ["127.0.0.1", "0", "more"],
        ["-d"],
        ["-d", "/dev/null", "127.0.0.1", "0"],
        ["-d", "/nonexistent/mail", "127.0.0.1", "0"],
        ["-s", "", "127.0.0.1", "0"],
        ["-s", "-1", "127.0.0.1", "0"],
        ["-s", "1k", "127.0.0.1", "0"],
        ["-s", "99999999999999999999999", "127.0.0.1", "0"],
        ["-t", "0", "127.0.0.1", "0"],
        ["-t", "inf", "127.0.0.1", "0"],
        ["-x"],
    ],
    "tcp_proxy": [
        [],
        ["127.0.0.1:0"],
        ["127.0.0.1:0", "127.0.0.1:80", "more"],
        ["127.0.0.1", "127.0.0.1:80"],
        ["127.0.0.1:0", "127.0.0.1"],
        ["127.0.0.1:", "127.0.0.1:80"],
        ["127.0.0.1:0", "127.0.0.1:0"],
        ["127.0.0.1:0", ":80"],
        ["127.0.0.1:65536", "127.0.0.1:80"],
        ["::1:0", "127.0.0.1:80"],
        ["[::1:0", "127.0.0.1:80"],
        ["[::1]0", "127.0.0.1:80"],
        ["nosuchhost.invalid:0", "127.0.0.1:80"],
        ["127.0.0.1:0", "nosuchhost.invalid:80"],
        ["-x", "127.0.0.1:0", "127.0.0.1:80"],
    ],
}

# One correct call of each, which would do something if it came to that.
RIGHT = {
    "chat_server": ["127.0.0.1", "0"],
    "echo_server": ["127.0.0.1", "0"],
    "http_client": ["127.0.0.1:1"],
    "http_server": ["/", "127.0.0.1", "0"],
    "netcat": ["-l", "127.0.0.1", "0"],
    "smtp_sink": ["127.0.0.1", "0"],
    "tcp_proxy": ["127.0.0.1:0", "127.0.0.1:1"],
}


class Arguments(harness.TestCase):
    """Of all programs."""

    def test_wrong(self):
        """Status 2 and one line, whatever is wrong."""
        for name, cases in WRONG.items():
            for arguments in cases:
                with self.subTest(program=name, arguments=arguments):
                    result = harness.run(*harness.program(name, *arguments))
                    self.assert_fails(result, 2, name)

    def test_help(self):
        """-h and --help print the usage to stdout."""
        for name in WRONG:
            for option in "-h", "--help":
                with self.subTest(program=name, option=option):
                    result = harness.run(*harness.program(name, option))
                    self.assertEqual(result.returncode, 0)
                    self.assertEqual(result.stderr, b"")
                    usage = f"usage: {name} ".encode()
                    self.assertTrue(result.stdout.startswith(usage))

    def test_help_to_nowhere(self):
        """An output that is lost is no success."""
        with open("/dev/full", "wb") as full:
            with harness.Process(
                *harness.program("netcat", "-h"), stdout=full
            ) as process:
                self.assertEqual(process.wait(), 1)
                self.assert_one_line(process.stderr.all(), "stdout")

    def test_unknown_backend(self):
        """The library's own line says which there are."""
        environment = {**os.environ, "ASYNCORE_BACKEND": "abacus"}
        for name, arguments in RIGHT.items():
            with self.subTest(program=name):
                result = harness.run(
                    *harness.program(name, *arguments), env=environment
                )
                self.assert_fails(result, 2, "abacus", "select")

    def test_port_in_use(self):
        """That is nobody's mistake: status 1."""
        with harness.listener() as taken:
            port = taken.getsockname()[1]
            for name, arguments in {
                "echo_server": ["127.0.0.1", port],
                "http_server": ["/", "127.0.0.1", port],
                "netcat": ["-l", "127.0.0.1", port],
                "tcp_proxy": [f"127.0.0.1:{port}", "127.0.0.1:1"],
            }.items():
                with self.subTest(program=name):
                    result = harness.run(*harness.program(name, *arguments))
                    self.assert_fails(result, 1, name, "cannot listen")


if __name__ == "__main__":
    harness.main()
