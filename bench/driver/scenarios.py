# SPDX-License-Identifier: MIT
"""What is done to the servers."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What the generator does, and to whom."""

    name: str
    group: str
    load: str
    also: tuple = ()  # servers that are only measured where they are named
    unit: int = 1  # the cost is that of a message, or of so many parts of one
    short: bool = False  # part of the short run
    # All servers and their generators are there for all rounds: thousands of
    # connections are opened once.
    resident: bool = False
    histogram: bool = False  # keep all latencies
    old_style: tuple = ()  # arguments of the programs on asyncore
    both_cpus: bool = False  # nobody is told where to run

    @property
    def slug(self):
        """For a file's name."""
        text = f"{self.group} {self.name}".lower()
        return "-".join(
            "".join(c if c.isalnum() else " " for c in text).split()
        )


def _echo(name, load, **more):
    return Scenario(name, "echo", load, **more)


SIZES = {"64 B": 64, "1 KiB": 1024, "4 KiB": 4096, "16 KiB": 16384}
SIZES["64 KiB"] = 65536
CONNECTIONS = (1, 50, 1000, 8000)
IDLE = (0, 1000, 4000, 8000)

SPINNING = ("bare epoll, spinning", "asyncore, busy-poll")
WIDE = ("bare epoll, 256 KiB",)


def _connections(n):
    return _echo(
        f"64 B at {n}",
        f"--connections {n}",
        also=SPINNING if n == 1 else (),
        short=n < 8000,
        resident=n >= 1000,
        histogram=n <= 50,
    )


def _size(name):
    return _echo(
        f"{name} at 50",
        f"--connections 50 --size {SIZES[name]}",
        short=name == "16 KiB",
    )


def _idle(n):
    return _echo(
        f"100 active, {n} idle",
        f"--connections 100 --idle {n}",
        also=("asyncore, poll",),
        short=n == 4000,
        resident=n > 0,
    )


C = [
    *map(_connections, CONNECTIONS),
    _echo("64 B at 50, 16 deep", "--connections 50 --depth 16", short=True),
    *(_size(name) for name in SIZES if name != "64 B"),
    *map(_idle, IDLE),
    _echo("churn", "--mode churn --connections 16", short=True),
    _echo(
        "1 stream, per KiB",
        "--size 65536 --depth 16",
        also=WIDE,
        unit=64,
        short=True,
    ),
    _echo(
        "8 streams, per KiB",
        "--size 65536 --depth 16 --connections 8",
        also=WIDE,
        unit=64,
    ),
    Scenario(
        "lines at 50", "lines", "--mode lines --connections 50", short=True
    ),
    Scenario(
        "lines at 50, 16 deep",
        "lines",
        "--mode lines --connections 50 --depth 16",
        short=True,
    ),
    Scenario(
        "lines, 100 active, 8000 idle",
        "lines",
        "--mode lines --connections 100 --idle 8000",
        resident=True,
    ),
    Scenario(
        "on two cores",
        "workers",
        "--connections 64 --sleep",
        both_cpus=True,
    ),
]


def _python(name, load, lines=False, **more):
    mode = "--mode lines " if lines else ""
    group = "python lines" if lines else "python echo"
    return Scenario(name, group, mode + load, **more)


_MANY = {"resident": True, "old_style": ("poll",)}


def _overriding(active, poller):
    """All are asked in each pass, which serves as many as are active."""
    return Scenario(
        f"own readable() and writable(), {active} active, 1000 idle, {poller}",
        "python overriding",
        f"--connections {active} --idle 1000",
        resident=True,
        old_style=("poll",) if poller == "poll" else (),
    )


PYTHON = [
    _python("echo 64 B at 50", "--connections 50", short=True),
    _python("echo 64 B at 8000", "--connections 8000", **_MANY),
    _python(
        "echo, 100 active, 8000 idle", "--connections 100 --idle 8000", **_MANY
    ),
    _python("echo, 1 active, 8000 idle", "--idle 8000", **_MANY),
    _python("echo 16 KiB at 50", "--connections 50 --size 16384", short=True),
    _python("1 stream, per KiB", "--size 65536 --depth 16", unit=64),
    _python("lines at 50", "--connections 50", lines=True, short=True),
    _python(
        "lines at 50, 16 deep",
        "--connections 50 --depth 16",
        lines=True,
        short=True,
    ),
    _python(
        "lines, 100 active, 8000 idle",
        "--connections 100 --idle 8000",
        lines=True,
        **_MANY,
    ),
    _overriding(1, "select"),
    _overriding(1, "poll"),
    _overriding(50, "poll"),
]


# ---- what is counted, not timed -------------------------------------------

CALLS = [
    ("64 B at 1", "echo", "--connections 1"),
    ("64 B at 50", "echo", "--connections 50"),
    ("16 KiB at 50", "echo", "--connections 50 --size 16384"),
    ("churn", "echo", "--mode churn --connections 16"),
    ("lines at 50", "lines", "--mode lines --connections 50"),
    (
        "lines at 50, 16 deep",
        "lines",
        "--mode lines --connections 50 --depth 16",
    ),
]


@dataclasses.dataclass(frozen=True)
class Count:
    """What callgrind sees.  With --burst all connections are ready at once:
    `ready` messages are a pass."""

    name: str
    group: str
    load: str
    messages: int
    ready: int


COUNTS = [
    Count("1 of 1", "echo", "--connections 1", 1000, 1),
    Count("1 of 1000", "echo", "--connections 1 --idle 999", 1000, 1),
    Count("50 of 50", "echo", "--connections 50 --burst", 5000, 50),
    Count(
        "100 of 1000",
        "echo",
        "--connections 100 --idle 900 --burst",
        5000,
        100,
    ),
    Count("churn", "echo", "--mode churn --connections 1", 500, 1),
    Count(
        "lines, 50 of 50",
        "lines",
        "--mode lines --connections 50 --burst",
        5000,
        50,
    ),
    Count(
        "lines, 50 of 50, 16 deep",
        "lines",
        "--mode lines --connections 50 --depth 16 --burst",
        16000,
        800,
    ),
]
