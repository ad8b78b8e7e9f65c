# SPDX-License-Identifier: MIT
"""System calls per message, by perf or strace, whichever may trace."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

from . import servers

MESSAGES = 20000

PATTERNS = {
    "perf": r"^\s+(?P<name>\w+) +(?P<count>\d+) +\d+ .*%$",
    "strace": r"^ *[\d.]+ +[\d.]+ +\d+ +(?P<count>\d+) +(?:\d+ +)?"
    r"(?P<name>\w+)$",
}


def find():
    """The tracer's command, or None."""
    for command in (["perf", "trace", "-s"], ["strace", "-f", "-c"]):
        if not shutil.which(command[0]):
            continue
        tried = subprocess.run(
            [*command, "-o", os.devnull, "true"],
            check=False,
            capture_output=True,
        )
        if tried.returncode == 0:
            return command
    return None


def parse(tracer, text):
    """{name: count} from what perf or strace has written."""
    counts = {}
    for match in re.finditer(PATTERNS[tracer], text, re.MULTILINE):
        if match["name"] != "total":
            counts[match["name"]] = counts.get(match["name"], 0) + int(
                match["count"]
            )
    return counts


@contextlib.contextmanager
def _tracing(command, pid):
    """Trace a process; what `with` gets is a function that ends it, and
    returns what the tracer has written."""
    with tempfile.NamedTemporaryFile("r") as file, subprocess.Popen(
        [*command, "-o", file.name, "-p", str(pid)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:

        def end():
            process.send_signal(signal.SIGINT)
            process.wait(30)
            return file.read()

        time.sleep(0.7)  # it does not say when it is there
        try:
            yield end
        finally:
            process.kill()


def count(generator, server, load, tracer):
    """Returns {name: calls a message}."""
    with servers.start(server) as running, generator.paused(
        running, load, "--seconds=20", f"--messages={MESSAGES}"
    ) as measure, _tracing(tracer, running.pid) as end:
        messages = measure()["messages"]
        return {
            name: number / messages
            for name, number in parse(tracer[0], end()).items()
        }
