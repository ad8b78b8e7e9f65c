# SPDX-License-Identifier: MIT
"""Who is measured, and how one is started."""

import contextlib
import dataclasses
import os
import pathlib
import re
import resource
import select
import signal
import subprocess
import tempfile

SERVER_CPU, LOAD_CPU = 0, 1
PATIENCE = 30  # seconds until a server that does not listen is given up

SCRIPTS = pathlib.Path(__file__).parent.parent / "python"


class Unavailable(Exception):
    """A server that does not run here, and why."""


@dataclasses.dataclass(frozen=True)
class Server:
    """A program that listens; the first argument of each is the port."""

    label: str
    command: tuple
    arguments: tuple = ()
    backend: str = ""  # what it must say that it uses
    pythonpath: str = ""
    old_style: bool = False  # a program on asyncore; it takes "poll"
    asked_for: bool = False  # only where a scenario names it

    def with_arguments(self, arguments):
        """The same with more arguments, if it is one that takes them."""
        if not self.old_style:
            return self
        return dataclasses.replace(
            self, arguments=(*self.arguments, *arguments)
        )


@dataclasses.dataclass(frozen=True)
class Running:
    """A server that listens."""

    pid: int
    port: str


def child_setup(cpu):
    """What a child does first: stay on that CPU, open many files."""
    cpus = sorted(os.sched_getaffinity(0))
    here = set(cpus) if cpu is None else {cpus[cpu % len(cpus)]}
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    def setup():
        os.sched_setaffinity(0, here)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    return setup


def _environment(server):
    environment = dict(os.environ, PYTHONWARNINGS="ignore")
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    environment.pop("PYTHONPATH", None)
    if server.pythonpath:
        environment["PYTHONPATH"] = server.pythonpath
    return environment


def _end(process, number):
    process.send_signal(number)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()


def _line(process, server):
    """A line that it prints; Unavailable, if it ends or keeps quiet."""
    readable, _, _ = select.select([process.stdout], [], [], PATIENCE)
    line = process.stdout.readline() if readable else b""
    if not line:
        process.kill()
        raise Unavailable(f"{server.label} does not listen")
    return line.decode()


@contextlib.contextmanager
def start(server, prefix=(), cpu=SERVER_CPU):
    """Run a server; what follows `with` gets it as it listens.  Its first
    line says where, and the second, if a backend was asked for, which."""
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(
        [*prefix, *server.command, "0", *server.arguments],
        bufsize=0,  # select() is to see what there is
        env=_environment(server),
        preexec_fn=child_setup(cpu),
        stdout=subprocess.PIPE,
        stderr=said,
    ) as process:
        try:
            line = _line(process, server)
            port = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+)\n", line)
            if port is None:
                raise Unavailable(f"{server.label} said {line!r}")
            if server.backend:
                line = _line(process, server)
                if line != f"backend {server.backend}\n":
                    raise Unavailable(f"{server.label}: it has {line!r}")
            yield Running(process.pid, port[1])
        except Unavailable as error:
            said.seek(0)
            last = said.read().strip().rpartition("\n")[2]
            last = last.replace(os.path.dirname(server.command[-1]) + "/", "")
            raise Unavailable(f"{error} ({last})" if last else error)
        finally:
            # valgrind delivers no signal to who waits in io_uring_enter().
            _end(process, signal.SIGKILL if prefix else signal.SIGTERM)


# ---- the C side -----------------------------------------------------------

# What polls before it sleeps does so for as many microseconds.
SPIN = "50"
# A worker's handler hashes a message as often, which takes some 70 µs.
WORK = "1000"


def c_groups(build):
    """{group: servers}; the first of each is the yardstick."""
    programs = pathlib.Path(build).resolve() / "bench"

    def server(label, program, *arguments, **more):
        return Server(label, (str(programs / program),), arguments, **more)

    def ours(label, program, backend, *arguments, **more):
        return server(
            label, program, backend, *arguments, backend=backend, **more
        )

    return {
        "echo": [
            server("bare epoll", "echo_epoll"),
            ours("asyncore, epoll", "echo_asyncore", "epoll"),
            ours("asyncore, io_uring", "echo_asyncore", "io_uring"),
            server("bare epoll, edge-triggered", "echo_epoll_et"),
            server("bare io_uring", "echo_uring"),
            server("libuv", "echo_libuv"),
            server("libev", "echo_libev"),
            server("libevent, events", "echo_libevent"),
            server("libevent, bufferevent", "echo_bufferevent"),
            server("bare epoll, 256 KiB", "echo_epoll", "256", asked_for=True),
            server(
                "bare epoll, spinning",
                "echo_epoll",
                "64",
                SPIN,
                asked_for=True,
            ),
            ours(
                "asyncore, busy-poll",
                "echo_asyncore",
                "epoll",
                SPIN,
                asked_for=True,
            ),
            ours("asyncore, poll", "echo_asyncore", "poll", asked_for=True),
        ],
        "lines": [
            server("bare epoll, memchr", "line_epoll"),
            ours("asynchat, epoll", "line_asynchat", "epoll"),
            ours("asynchat, io_uring", "line_asynchat", "io_uring"),
        ],
        "workers": [
            server("1 worker", "echo_workers", "1", WORK),
            server("2 workers", "echo_workers", "2", WORK),
        ],
    }


# ---- the Python side ------------------------------------------------------


def ask(command, code, pythonpath=""):
    """What a python prints, or "" if it cannot."""
    environment = dict(os.environ, PYTHONWARNINGS="ignore")
    environment.pop("PYTHONPATH", None)
    if pythonpath:
        environment["PYTHONPATH"] = pythonpath
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            [command, "-c", code],
            env=environment,
            capture_output=True,
            check=True,
            cwd="/",
            text=True,
            timeout=60,
        ).stdout.strip()
    return ""


def find_pythons(named):
    """{version: command}: those named on the command line (LABEL=COMMAND),
    or the system's and 3.13, wherever pyenv has put it."""
    if named:
        return dict(word.split("=", 1) for word in named)
    found = {}
    root = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    pyenv = pathlib.Path(root, "versions").glob("3.13*/bin/python3.13")
    for command in ("/usr/bin/python3", "python3.13", *sorted(pyenv)):
        version = ask(
            command, "import sys; print('%d.%d' % sys.version_info[:2])"
        )
        if version:
            found.setdefault(version, str(command))
    return found


def _asyncore_of(command, pythonpath):
    """Where a python's asyncore and asynchat come from, if they are there."""
    code = "import asyncore, asynchat; print(asyncore.__file__, asynchat.__file__)"
    return ask(command, code, pythonpath).split()


def _is_stock(command):
    """They are the standard library's."""
    library = ask(
        command, "import sysconfig; print(sysconfig.get_path('stdlib'))"
    )
    files = _asyncore_of(command, "")
    return len(files) == 2 and all(file.startswith(library) for file in files)


def _dropin(build, version, command):
    """The directory of our modules for that python, if they are there, and
    it is they that it imports."""
    path = str(pathlib.Path(build).resolve() / f"python-{version}")
    files = _asyncore_of(command, path) if os.path.isdir(path) else []
    inside = len(files) == 2 and all(file.startswith(path) for file in files)
    return path if inside else ""


class _Python:
    """The servers that one interpreter can run."""

    def __init__(self, build, version, command):
        self.version = version
        self.command = command
        self.dropin = _dropin(build, version, command)
        self.is_stock = _is_stock(command)
        self.has_uvloop = bool(ask(command, "import uvloop; print(1)"))

    def _script(self, name):
        return (self.command, str(SCRIPTS / name))

    def old_style(self, script):
        """The same program on the standard library's module and on ours."""
        if self.is_stock:
            yield Server(
                f"stock {self.version}", self._script(script), old_style=True
            )
        if self.dropin:
            yield Server(
                f"drop-in {self.version}",
                self._script(script),
                pythonpath=self.dropin,
                old_style=True,
            )

    def peers(self, script, kind=""):
        """asyncio, and uvloop in its place."""
        command = self._script(script)
        yield Server(f"asyncio{kind} {self.version}", command)
        if self.has_uvloop:
            yield Server(f"uvloop{kind} {self.version}", command, ("uvloop",))


def python_groups(build, pythons):
    """{group: servers}, likewise."""
    c = c_groups(build)
    groups = {
        "python echo": [c["echo"][0]],
        "python lines": [c["lines"][0]],
        "python overriding": [],
    }
    for version, command in pythons.items():
        python = _Python(build, version, command)
        groups["python echo"] += [
            *python.old_style("echo_asyncore.py"),
            *python.peers("echo_protocol.py"),
        ]
        groups["python lines"] += [
            *python.old_style("line_asynchat.py"),
            *python.peers("line_protocol.py"),
            *python.peers("line_streams.py", " streams"),
        ]
        groups["python overriding"] += python.old_style("echo_overriding.py")
    return groups


# ---- those that run here --------------------------------------------------


# Without these nothing is worth measuring.
NEEDED = {
    "bare epoll",
    "asyncore, epoll",
    "bare epoll, memchr",
    "asynchat, epoll",
}


def why_not(server):
    """Start it once.  Returns why that cannot be, or ""."""
    try:
        with start(server):
            return ""
    except OSError as error:
        reason = f"{server.label}: {error.strerror}"
    except Unavailable as error:
        reason = str(error)
    if server.label in NEEDED:
        raise Unavailable(reason)
    return reason


def probe(groups):
    """Start each once.  Returns the groups with those that run, and why the
    others do not."""
    there, missing = {}, []
    for group, candidates in groups.items():
        reasons = [why_not(server) for server in candidates]
        there[group] = [
            server for server, reason in zip(candidates, reasons) if not reason
        ]
        missing += [reason for reason in reasons if reason]
    return there, missing
