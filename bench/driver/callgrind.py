# SPDX-License-Identifier: MIT
"""Instructions and allocations per message, and which functions have them.

callgrind counts what runs in user space, libc included: the same in each run,
however busy the machine is.  The counters are set to zero when all connections
are open, and read when all messages have come back."""

import dataclasses
import os
import re
import subprocess
import tempfile

from . import servers

ALLOCATORS = {"malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign"}


@dataclasses.dataclass
class Profile:
    """What was counted: of all, and by function."""

    total: float = 0
    allocations: float = 0
    own: dict = dataclasses.field(default_factory=dict)
    inclusive: dict = dataclasses.field(default_factory=dict)
    files: dict = dataclasses.field(default_factory=dict)

    def per_message(self, messages):
        """The same for each of so many messages."""

        def share(counts):
            return {name: count / messages for name, count in counts.items()}

        return Profile(
            self.total / messages,
            self.allocations / messages,
            share(self.own),
            share(self.inclusive),
            self.files,
        )


class _Parser:
    """Reads callgrind's format: names are given once, then by number; the
    line after calls= is what the call has taken."""

    def __init__(self):
        self.profile = Profile()
        self.names = {}
        self.function = self.file = self.callee = ""
        self.calls = None

    def name(self, kind, text):
        """The name that "(number) name" or "(number)" stands for."""
        number, _, name = text.partition(" ")
        key = (kind, number)
        if name:
            self.names[key] = name
        return self.names.get(key, text)

    def field(self, key, value):
        """A line with an equals sign."""
        if key in ("fl", "fi", "fe"):
            self.file = self.name("file", value)
        elif key in ("cfi", "cfl"):
            self.name("file", value)
        elif key == "fn":
            self.function = self.name("function", value)
            self.profile.files.setdefault(self.function, self.file)
        elif key == "cfn":
            self.callee = self.name("function", value)
        elif key == "calls":
            self.calls = int(value.split()[0])

    def cost(self, number):
        """A line that begins with a position."""
        profile, name = self.profile, self.function
        profile.inclusive[name] = profile.inclusive.get(name, 0) + number
        if self.calls is None:
            profile.own[name] = profile.own.get(name, 0) + number
        elif self.callee in ALLOCATORS and name not in ALLOCATORS:
            profile.allocations += self.calls
        self.calls = None

    def line(self, line):
        """Any line."""
        field = re.match(r"(\w+)=(.*)", line)
        if field:
            self.field(field[1], field[2])
        elif line.startswith("summary:"):
            self.profile.total = int(line.split()[1])
        elif re.match(r"[\d+*-]", line):
            parts = line.split()
            self.cost(int(parts[1]) if len(parts) > 1 else 0)


def parse(lines):
    """A Profile, from the lines of a callgrind.out."""
    parser = _Parser()
    for line in lines:
        parser.line(line.rstrip("\n"))
    return parser.profile


def _ask(pid, what):
    """Have valgrind do something: it can be asked at any time, while a signal
    would wait for the server to come out of the kernel."""
    subprocess.run(
        ["vgdb", f"--pid={pid}", what],
        check=True,
        capture_output=True,
        timeout=60,
    )


def count(generator, server, load, messages):
    """Returns the Profile of a message."""
    with tempfile.TemporaryDirectory() as root:
        path = os.path.join(root, "callgrind.out")
        valgrind = (
            "valgrind",
            "-q",
            "--tool=callgrind",
            f"--callgrind-out-file={path}",
        )
        more = ("--warmup=0", "--seconds=100", f"--messages={messages}")
        with servers.start(server, prefix=valgrind) as running:
            with generator.paused(running, load, *more) as measure:
                _ask(running.pid, "zero")
                measure()
                _ask(running.pid, "dump")
        with open(f"{path}.1", encoding="utf-8") as file:
            return parse(file).per_message(messages)
