#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The drop-in against the original: random programs, the same traces.

    run.py --oracle PYTHON [--seed TEXT] [--count N] [--first N] [--plain]

Runs under the interpreter whose drop-in, in ASYNCORE_UNDER_TEST, is tested;
--oracle is a Python up to 3.11 that runs the original.  Each program is run
in both, one after the other in one process each.  The first that differs is
cut down to what is needed for it to differ, and printed with both traces.

The improvements that the drop-in is meant to have are made to the original,
too (improvements.py); with --plain they are not, to see what they amount to.
"""

import argparse
import copy
import json
import os
import random
import subprocess
import sys

import attributes
import generate

ATTRIBUTES = 4  # one program of so many is about them

HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE = 3600


class Crash(Exception):
    """A worker ended, or answered nothing."""


class Worker:
    """A process that runs programs; it is started again after a crash."""

    def __init__(self, python, directory, *options):
        self.command = ["timeout", str(PATIENCE), python, "-W", "ignore"]
        self.command += ["-X", "faulthandler", f"{HERE}/worker.py", *options]
        self.environment = dict(os.environ, PYTHONPATH=directory)
        self.directory = directory
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.environment,
            text=True,
        )
        self.files = json.loads(self.read())
        homes = {os.path.dirname(os.path.realpath(f)) for f in self.files}
        if self.directory and homes != {os.path.realpath(self.directory)}:
            raise SystemExit(f"not the modules under test: {self.files}")

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise Crash
        return line

    def end(self):
        """Its exit status, once there is nothing more to do."""
        self.process.stdin.close()
        return self.process.wait()

    def ask(self, program):
        try:
            self.process.stdin.write(json.dumps(program) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def answer(self):
        """The trace, or what it died of."""
        try:
            return json.loads(self.read())
        except Crash:
            status = self.process.wait()
            self.start()
            return [f"crashed: status {status}"]


def make(seed, number):
    """The program of that number."""
    about = attributes if number % ATTRIBUTES == 0 else generate
    return about.program(seed, number)


def run(workers, program):
    """The trace of each, both at the same time."""
    for worker in workers:
        worker.ask(program)
    return [worker.answer() for worker in workers]


def differs(workers, program):
    """Do the two disagree about it?"""
    one, two = run(workers, program)
    return one != two


def lists(value):
    """All lists in a program from which something can be left out."""
    if isinstance(value, dict):
        for key in sorted(value):
            yield from lists(value[key])
    elif isinstance(value, list):
        if not value or isinstance(value[0], list):
            yield value
        for item in value:
            yield from lists(item)


def shrink(workers, program):
    """Leave out ops and scripts as long as the two still disagree."""
    smaller = True
    while smaller:
        smaller = False
        size = 8
        while size:
            for number in range(sum(1 for _ in lists(program)) - 1, -1, -1):
                position = 0
                while True:
                    attempt = copy.deepcopy(program)
                    found = list(lists(attempt))
                    if number >= len(found) or position >= len(found[number]):
                        break
                    del found[number][position : position + size]
                    if differs(workers, attempt):
                        program, smaller = attempt, True
                    else:
                        position += size
            size //= 2
    return strip(program)


def strip(program):
    """Without the scripts that are empty."""
    for op in program["ops"]:
        for argument in op[1:]:
            if isinstance(argument, dict):
                argument["scripts"] = {
                    name: script
                    for name, script in argument["scripts"].items()
                    if script
                }
    return program


def explain(workers, program, one, two):
    """The program and both traces, from a little before they part; cut
    down, unless it takes the programs before it to see that again."""
    if differs(workers, program):
        program = shrink(workers, program)
        one, two = run(workers, program)
    else:
        print("not by itself:")
    print("poll" if program["poll"] else "select")
    for op in program["ops"]:
        print(" ", json.dumps(op))
    part = 0
    while one[part : part + 1] == two[part : part + 1] != []:
        part += 1
    for line in one[max(part - 12, 0) : part]:
        print("   ", line)
    for line in one[part : part + 8]:
        print("  <", line)
    for line in two[part : part + 8]:
        print("  >", line)


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--oracle", required=True)
    parser.add_argument("--seed", default=str(random.randrange(10**6)))
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--show", type=int, default=3, metavar="N")
    return parser.parse_args()


def main():
    arguments = parse()
    directory = os.environ["ASYNCORE_UNDER_TEST"]
    options = [] if arguments.plain else ["improved"]
    workers = (
        Worker(arguments.oracle, "", *options),
        Worker(sys.executable, directory),
    )
    print(f"seed {arguments.seed}")
    for worker in workers:
        print(*worker.files)
    failed, events = [], 0
    for number in range(arguments.count):
        program = make(arguments.seed, arguments.first + number)
        one, two = run(workers, program)
        events += len(one)
        if one != two:
            failed.append((program, one, two))
    for program, one, two in failed[: arguments.show]:
        explain(workers, program, one, two)
    print(f"{arguments.count} programs, {events} lines of trace")
    ends = [worker.end() for worker in workers]
    if any(ends):
        print(f"did not end well: status {ends}")
        failed.append(None)
    passed = max(arguments.count - len(failed), 0)
    print(f"{passed} passed, {len(failed)} failed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
