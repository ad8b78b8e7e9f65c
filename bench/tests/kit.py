# SPDX-License-Identifier: MIT
"""What the tests of the benchmarks share; their argument is the build
directory."""

import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from driver import servers, timing  # noqa: E402

BUILD = sys.argv[1]
GENERATOR = timing.Generator(BUILD)


def wrong_server(fault):
    """A server with that fault."""
    command = (sys.executable, str(HERE / "wrong_server.py"))
    return servers.Server(fault, command, (fault,))


def main():
    """Run the tests of the calling script."""
    unittest.main(argv=sys.argv[:1], verbosity=2)
