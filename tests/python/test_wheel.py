# SPDX-License-Identifier: MIT
"""The wheel: what is in it, and that it is all that is needed."""

import glob
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import unittest
import zipfile

import kit

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

OLD_PROGRAM = """
import asynchat, asyncore, socket

class Echo(asynchat.async_chat):
    def __init__(self, sock):
        asynchat.async_chat.__init__(self, sock)
        self.set_terminator(b"\\n")

    collect_incoming_data = asynchat.async_chat._collect_incoming_data

    def found_terminator(self):
        self.push(self._get_data().upper() + b"\\n")
        self.close_when_done()

one, other = socket.socketpair()
Echo(one)
other.sendall(b"hello\\n")
asyncore.loop(count=10)
print(other.recv(100), asyncore.__file__)
"""

TYPED = """
import asynchat
import asyncore

class Echo(asyncore.dispatcher_with_send):
    def handle_read(self) -> None:
        self.send(self.recv(8192))

class Chat(asynchat.async_chat):
    def __init__(self) -> None:
        super().__init__()
        self.set_terminator(b"x")

    def collect_incoming_data(self, data: bytes) -> None:
        self._collect_incoming_data(data)

    def found_terminator(self) -> None:
        self.push(self._get_data())

async def main() -> None:
    Chat()
    asyncore.call_later(1.5, print, "x").cancel()
    with asyncore.asyncio_attach(map={}) as attachment:
        await attachment.wait()
"""

WRONG = """
import asyncore

asyncore.loop(timeout="x")
asyncore.dispatcher().listen()
asyncore.no_such_name
"""


of_debian = unittest.skipUnless(
    importlib.util.find_spec("mypy"), "mypy is of another interpreter"
)


def run(*command, **arguments):
    """What a command prints; it must succeed."""
    environment = dict(os.environ, **arguments)
    environment.setdefault("PYTHONPATH", "")
    result = subprocess.run(
        command,
        cwd=arguments.get("PWD", "/"),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if result.returncode:
        raise AssertionError(f"{' '.join(command)}\n{result.stdout}")
    return result.stdout


def everything_in(folder):
    """The files there, but for what is built."""
    return {
        path
        for path in glob.glob(f"{folder}/**", recursive=True)
        + glob.glob(f"{folder}/.*")
        if not path.startswith(f"{folder}/build")
    }


@kit.ours_only
class WheelTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        lines = run(f"{ROOT}/tools/wheel", sys.executable, PWD=ROOT)
        cls.wheel = os.path.join(ROOT, lines.splitlines()[-1])
        cls.folder = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.python = cls.venv("plain", "--no-index", cls.wheel)
        cls.sources = cls.unpack()

    @classmethod
    def unpack(cls):
        """The archive of the sources, which is all that a build needs."""
        name = "-".join(os.path.basename(cls.wheel).split("-")[:2])
        with tarfile.open(f"{ROOT}/build/dist/{name}.tar.gz") as tar:
            tar.extractall(cls.folder)
        return os.path.join(cls.folder, name)

    @classmethod
    def venv(cls, name, *arguments):
        """A new environment with this installed; its interpreter."""
        folder = os.path.join(cls.folder, name)
        options = ["--system-site-packages"] if name == "system" else []
        run(sys.executable, "-m", "venv", *options, folder)
        python = os.path.join(folder, "bin/python")
        run(python, "-m", "pip", "install", "--no-deps", *arguments)
        return python

    def where(self, python):
        return run(
            *(python, "-c"),
            "import sysconfig; print(sysconfig.get_path('platlib'))",
        ).strip()

    def test_contents(self):
        with zipfile.ZipFile(self.wheel) as wheel:
            names = {
                re.sub(r"_asyncore\..*", "_asyncore", name)
                for name in wheel.namelist()
                if ".dist-info/" not in name
            }
            self.assertTrue(
                any(name.endswith("/LICENSE") for name in wheel.namelist())
            )
        self.assertEqual(
            names,
            {
                "_asyncore",
                "_asyncore_asyncio.py",
                "_asyncore_calls.py",
                "_asyncore_main.py",
                "asynchat-stubs/__init__.pyi",
                "asynchat.py",
                "asyncore-stubs/__init__.pyi",
                "asyncore.py",
            },
        )

    def old_program(self, python):
        """It finds these modules; up to 3.11, if they come first."""
        where = self.where(python)
        path = where if sys.version_info < (3, 12) else ""
        output = run(
            python, "-W", "ignore", "-c", OLD_PROGRAM, PYTHONPATH=path
        )
        self.assertEqual(output, f"b'HELLO\\n' {where}/asyncore.py\n")

    def test_old_program(self):
        self.old_program(self.python)

    def test_needs_libc_only(self):
        where = self.where(self.python)
        (extension,) = [
            name for name in os.listdir(where) if name.startswith("_asyncore.")
        ]
        needed = run("objdump", "-p", os.path.join(where, extension))
        libraries = set(re.findall(r"NEEDED +(\S+)", needed))
        self.assertIn("libc.so.6", libraries)
        for library in libraries:
            self.assertRegex(library, r"^lib[cm]\.so\.6$|^ld-linux")

    def test_pip_install(self):
        """pip install ., without a network."""
        if importlib.util.find_spec("mesonpy") is None:
            self.skipTest("meson-python is of another interpreter")
        folder = os.path.join(self.folder, "pip")
        shutil.copytree(self.sources, folder)
        options = ["--no-index", "--no-build-isolation", folder]
        self.old_program(self.venv("system", *options))

    def test_builds_are_apart(self):
        """A wheel is built, and nothing written beside build/: another build
        of the same sources may be under way."""
        before = everything_in(self.sources)
        run("tools/wheel", sys.executable, PWD=self.sources)
        self.assertEqual(everything_in(self.sources), before)

    def test_sources(self):
        """What makes the wheel is in the archive, and nothing built."""
        names = {
            os.path.relpath(path, self.sources)
            for path in everything_in(self.sources)
        }
        self.assertIn("PKG-INFO", names)
        for name in names:
            self.assertNotRegex(name, r"\.(pyc|so|o|a|log)$|^build|mesonpy")

    def check(self, text):
        path = os.path.join(self.folder, "checked.py")
        with open(path, "w") as file:
            file.write(textwrap.dedent(text))
        return subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--cache-dir"]
            + [os.path.join(self.folder, "cache"), path],
            cwd=self.folder,
            env=dict(os.environ, PYTHONPATH="", MYPYPATH=kit.UNDER_TEST),
            stdout=subprocess.PIPE,
            text=True,
        )

    @of_debian
    def test_types(self):
        result = self.check(TYPED)
        self.assertEqual(result.returncode, 0, result.stdout)
        result = self.check(WRONG)
        for line in (4, 5, 6):
            self.assertIn(f"checked.py:{line}: error", result.stdout)

    @of_debian
    def test_stubs_are_true(self):
        """What the stubs say is what is there, says mypy's stubtest."""
        run(
            *(sys.executable, "-W", "ignore", "-m", "mypy.stubtest"),
            *("asyncore", "asynchat"),
            PYTHONPATH=kit.UNDER_TEST,
            MYPYPATH=kit.UNDER_TEST,
            PWD=self.folder,
        )


if __name__ == "__main__":
    kit.main()
