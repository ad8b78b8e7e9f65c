# SPDX-License-Identifier: MIT
"""What it was measured on: numbers without it say nothing."""

import contextlib
import datetime
import json
import os
import pathlib
import re
import subprocess

from . import servers

LIBRARIES = ("libuv", "libevent", "liburing")


def _output(*command):
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(
            command, check=True, capture_output=True, text=True
        ).stdout.strip()
    return ""


def _field(path, name):
    """A "name: value" line of a file in /proc."""
    text = pathlib.Path(path).read_text(encoding="utf-8")
    match = re.search(rf"^{name}\s*: *(.*)", text, re.MULTILINE)
    return match[1].strip() if match else ""


def _congestion():
    """Streams depend on it: bbr paces them, cubic does not."""
    path = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control")
    with contextlib.suppress(OSError):
        return ", TCP by " + path.read_text(encoding="utf-8").strip()
    return ""


def _build_type(build):
    options = _output("meson", "introspect", "--buildoptions", str(build))
    for option in json.loads(options or "[]"):
        if option["name"] == "buildtype":
            return option["value"]
    return "unknown"


def _libev():
    package = _output("dpkg-query", "-W", "-f=${Version}", "libev-dev")
    return package.partition(":")[2].partition("-")[0] or package


def _versions():
    found = {
        name: _output("pkg-config", "--modversion", name) for name in LIBRARIES
    }
    found["libev"] = _libev()
    return {name: version for name, version in found.items() if version}


def _python(command):
    code = "import sys; print(sys.version.split()[0])"
    uvloop = "import uvloop; print(', uvloop', uvloop.__version__)"
    return servers.ask(command, code) + servers.ask(command, uvloop)


def describe(build, pythons):
    """A list of lines."""
    virtual = "hypervisor" in _field("/proc/cpuinfo", "flags").split()
    memory = int(_field("/proc/meminfo", "MemTotal").split()[0]) / 2**20
    compiler = _output("cc", "--version").partition("\n")[0]
    lines = [
        (_field("/proc/cpuinfo", "model name") or os.uname().machine)
        + f", {os.cpu_count()} CPUs{' of a virtual machine' * virtual},"
        f" {memory:.0f} GiB",
        f"Linux {os.uname().release.partition('-')[0]}{_congestion()}",
        f"{compiler}, {_build_type(build)}",
        ", ".join(f"{name} {text}" for name, text in _versions().items()),
    ]
    lines += [f"CPython {_python(command)}" for command in pythons.values()]
    return lines


def today():
    """The date, for what is measured now."""
    return datetime.date.today().isoformat()
