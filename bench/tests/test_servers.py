# SPDX-License-Identifier: MIT
"""Every server that is measured does what it should, however it is asked."""

import unittest

import kit
from driver import servers

ECHO = [
    "--messages 200",
    "--messages 5000 --connections 50 --depth 16",
    "--messages 500 --mode churn --connections 16",
    "--messages 500 --connections 5 --size 16384 --depth 4",
    # More than the kernel takes: sends fall short.
    "--messages 150 --connections 3 --size 262144 --depth 32",
    "--messages 500 --connections 10 --idle 300",
]
LINES = [
    "--mode lines --messages 200",
    "--mode lines --messages 5000 --connections 20 --depth 16",
    "--mode lines --messages 500 --size 3 --depth 100",
    "--mode lines --messages 300 --size 5000 --depth 8 --connections 3",
]


class Servers(unittest.TestCase):
    """Of all groups."""

    def check_group(self, members, loads):
        measured = 0
        for server in members:
            if servers.why_not(server):
                continue
            for load in loads:
                with self.subTest(server=server.label, load=load):
                    with servers.start(server) as running:
                        kit.GENERATOR.run(running, load, "--seconds=30")
                    measured += 1
        return measured

    def test_c(self):
        groups = servers.c_groups(kit.BUILD)
        self.assertGreater(self.check_group(groups["echo"], ECHO), 0)
        self.assertGreater(self.check_group(groups["lines"], LINES), 0)
        # They have work to do, by the byte.
        self.check_group(groups["workers"], ECHO[:3])

    def test_python(self):
        groups = servers.python_groups(kit.BUILD, servers.find_pythons(None))
        self.check_group(groups["python echo"][1:], ECHO)
        self.check_group(groups["python overriding"], ECHO)
        self.check_group(groups["python lines"][1:], LINES)


class Starting(unittest.TestCase):
    """Who does not run is told from who does."""

    def test_what_is_not_built(self):
        self.assertTrue(servers.why_not(servers.Server("x", ("/no/such",))))

    def test_wrong_backend(self):
        program = servers.c_groups(kit.BUILD)["echo"][1].command
        server = servers.Server("x", program, ("poll",), backend="epoll")
        self.assertIn("poll", servers.why_not(server))

    def test_wrong_arguments(self):
        program = servers.c_groups(kit.BUILD)["echo"][1].command
        server = servers.Server("x", program, ("no such backend",))
        self.assertIn("does not listen", servers.why_not(server))


if __name__ == "__main__":
    kit.main()
