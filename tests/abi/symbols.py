#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""symbols.py LIBRARY LIST HEADER...: the library exports what LIST says, and
LIST names every function that the headers declare."""

import difflib
import os
import re
import subprocess
import sys


def exported(library):
    nm = subprocess.run(
        [os.environ.get("NM", "nm"), "-D", "--defined-only", library],
        check=True, stdout=subprocess.PIPE, encoding="utf-8")
    symbols = [line.split()[-2:] for line in nm.stdout.splitlines()]
    return sorted(name for kind, name in symbols if kind != "A")


def declared(headers):
    for header in headers:
        with open(header, encoding="utf-8") as file:
            text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
        yield from re.findall(r"^ASYNCORE_API\b[^;]*?(\w+)\(", text, re.M)


def differ(want, want_name, got, got_name):
    diff = list(difflib.unified_diff(
        want, got, want_name, got_name, lineterm="", n=0))
    print("\n".join(diff), end="\n" if diff else "")
    return bool(diff)


def main(library, promised, *headers):
    with open(promised, encoding="utf-8") as file:
        want = sorted(file.read().split())
    names = sorted(symbol.split("@")[0] for symbol in want)
    return (differ(want, promised, exported(library), library)
            | differ(names, promised, sorted(declared(headers)), "headers"))


sys.exit(main(*sys.argv[1:]))
