# SPDX-License-Identifier: MIT
"""What the tests of other people's programs share.

The programs are Debian's packages, as they are.  Where an interpreter is not
Debian's own, those in pure Python are taken from there all the same.
"""

import importlib
import os
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
DEBIAN = "/usr/lib/python3/dist-packages"
sys.path.insert(0, os.path.dirname(HERE))
if DEBIAN not in sys.path:
    sys.path.append(DEBIAN)

import kit  # noqa: E402
from kit import asyncore  # noqa: E402


def need(*names):
    """These modules, or the file of tests ends here."""
    try:
        modules = [importlib.import_module(name) for name in names]
    except Exception as error:
        print(f"skipped: {type(error).__name__}: {error}")
        raise SystemExit(0) from None
    for module in modules:
        for name in ("asyncore", "asynchat"):
            used = getattr(module, name, sys.modules[name])
            if used is not sys.modules[name]:
                raise AssertionError(f"{module} uses {used}")
    return modules[0] if len(modules) == 1 else modules


class Serving:
    """Serves the default map in a thread of its own."""

    def __init__(self, use_poll=False):
        self.use_poll = use_poll
        self.error = None
        self.stop = False
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            while not self.stop and asyncore.socket_map:
                asyncore.loop(0.02, self.use_poll, None, 1)
        except BaseException as error:
            self.error = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop = True
        self.thread.join(kit.PATIENCE)
        if self.error is not None:
            raise self.error
