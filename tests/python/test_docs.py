# SPDX-License-Identifier: MIT
"""The programs of docs/python.md run; everything public is explained."""

import inspect
import os
import re
import subprocess
import sys
import unittest

import kit
from kit import asynchat, asyncore

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(kit.__file__)))


class DocsTest(unittest.TestCase):
    def test_programs(self):
        with open(os.path.join(ROOT, "docs/python.md")) as page:
            programs = re.findall(r"```python\n(.*?)```", page.read(), re.S)
        self.assertGreaterEqual(len(programs), 3)
        outputs = ["echo: Hello", "from a thread", "b'HELLO\\n'"]
        for program, output in zip(programs, outputs):
            result = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", program],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=kit.PATIENCE * 6,
            )
            self.assertEqual(result.returncode, 0, result.stdout)
            self.assertIn(output, result.stdout)

    def test_self_test(self):
        result = subprocess.run(
            [sys.executable, "-m", "asyncore"],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.assertEqual(result.returncode, 0)
        self.assertEqual(result.stdout.count("ok, served by"), 2)
        self.assertIn("backends: epoll poll\n", result.stdout)

    def test_backend_of_the_environment(self):
        program = (
            "import asyncore, socket\n"
            "near, far = socket.socketpair()\n"
            "asyncore.dispatcher(near)\n"
            "asyncore.poll(0)\n"
            "print(asyncore.backend())"
        )
        for name, served in (
            ("epoll", "epoll"),
            ("poll", "poll"),
            ("select", "poll"),
            ("io_uring", "poll"),
        ):
            output = subprocess.check_output(
                [sys.executable, "-W", "ignore", "-c", program],
                env=dict(os.environ, ASYNCORE_BACKEND=name),
                text=True,
            )
            self.assertEqual(output, served + "\n")

    def explained(self, name, thing):
        self.assertTrue(inspect.getdoc(thing), name)

    def test_docstrings(self):
        """Of the modules, their functions, classes and methods."""
        seen = 0
        for module in (asyncore, asynchat):
            self.explained(module.__name__, module)
            for name, thing in vars(module).items():
                if name.startswith("_") or inspect.ismodule(thing):
                    continue
                if not callable(thing) or name == "deque":
                    continue
                seen += 1
                self.explained(name, thing)
                for key in vars(thing) if inspect.isclass(thing) else ():
                    value = getattr(thing, key, None)
                    if callable(value) and not key.startswith("_"):
                        self.explained(f"{name}.{key}", value)
        self.assertGreater(seen, 20)

    def test_another_asyncore(self):
        """asynchat does not work on a module that it does not know."""
        program = (
            "import sys, types; sys.modules['asyncore'] = "
            "types.ModuleType('asyncore'); import asynchat"
        )
        result = subprocess.run(
            [sys.executable, "-c", program],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.assertIn("ImportError: this asynchat works only", result.stderr)


def load_tests(loader, tests, pattern):
    return tests if kit.OURS else unittest.TestSuite()


if __name__ == "__main__":
    kit.main()
