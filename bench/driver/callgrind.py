# SPDX-License-Identifier: MIT
"""Instructions and allocations per message, and which functions have them.

callgrind counts what runs in user space, libc included: the same in each run,
however busy the machine is.  A server is run twice, with n and 3 n messages;
the difference is what 2 n messages take, without start, set-up and end."""

import dataclasses
import os
import re
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

    def per_message(self, other, messages):
        """What is more here than there, for each of so many messages."""

        def difference(mine, others):
            return {
                name: (mine[name] - others.get(name, 0)) / messages
                for name in mine
            }

        return Profile(
            (self.total - other.total) / messages,
            (self.allocations - other.allocations) / messages,
            difference(self.own, other.own),
            difference(self.inclusive, other.inclusive),
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


def _run(generator, server, load, messages):
    with tempfile.TemporaryDirectory() as root:
        path = os.path.join(root, "callgrind.out")
        valgrind = (
            "valgrind",
            "-q",
            "--tool=callgrind",
            f"--callgrind-out-file={path}",
        )
        with servers.start(server, prefix=valgrind) as running:
            generator.run(
                running,
                load,
                "--warmup=0",
                "--seconds=100",
                f"--messages={messages}",
            )
        with open(path, encoding="utf-8") as file:
            return parse(file)


def count(generator, server, load, messages):
    """Returns the Profile of a message."""
    few = _run(generator, server, load, messages)
    many = _run(generator, server, load, 3 * messages)
    return many.per_message(few, 2 * messages)
