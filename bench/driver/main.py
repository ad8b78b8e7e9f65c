# SPDX-License-Identifier: MIT
"""The command line."""

import argparse
import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys

from . import (
    callgrind,
    machine,
    page,
    scenarios,
    servers,
    store,
    tables,
    timing,
    tracing,
)

DOCS = pathlib.Path(__file__).parent.parent.parent / "docs"


class Run:
    """What is measured, and where it is kept."""

    def __init__(self, args, plan):
        self.args = args
        self.plan = plan
        self.build = pathlib.Path(args.build)
        self.generator = timing.Generator(args.build)
        self.pythons = servers.find_pythons(args.python)
        self.store = store.Store(results_of(args))
        self.groups = {}

    def probe(self, groups):
        """Find out what runs here; say what does not."""
        there, missing = servers.probe(groups)
        self.groups.update(there)
        for reason in missing:
            print(f"left out: {reason}", file=sys.stderr)
        return missing

    def wants(self, scenario):
        """One that is asked for, or part of the run."""
        if self.args.scenario:
            return self.args.scenario in scenario.name
        return self.args.full or scenario.short

    def timed(self, wanted):
        """Scenario by scenario, with a table of each."""
        for scenario in wanted:
            group = self.groups[scenario.group]
            if group and self.wants(scenario):
                result = timing.measure(
                    self.generator, scenario, group, self.plan
                )
                self.store.put("timed", scenario.slug, result)
                print(tables.scenario(result), flush=True)

    def counted(self, group):
        """Those of a group that are counted: all, or only the yardstick and
        ours."""
        members = [each for each in self.groups[group] if not each.asked_for]
        return members if self.args.full else members[:2]

    def calls(self):
        """System calls."""
        tracer = tracing.find()
        if tracer is None:
            print("run: neither perf nor strace may trace", file=sys.stderr)
            return
        found = []
        for name, group, load in scenarios.CALLS:
            counts = {
                server.label: tracing.count(
                    self.generator, server, load, tracer
                )
                for server in self.counted(group)
            }
            found.append({"name": name, "servers": counts})
        self.store.put(
            "counted", "calls", {"by": " ".join(tracer), "results": found}
        )
        print(f"### System calls\n\n{tables.calls(found)}", flush=True)

    def instructions(self):
        """Instructions and allocations, and by function."""
        if not shutil.which("valgrind"):
            print("run: there is no valgrind", file=sys.stderr)
            return
        found = []
        for count in scenarios.COUNTS:
            profiles = {
                server.label: dataclasses.asdict(
                    callgrind.count(
                        self.generator, server, count.load, count.messages
                    )
                )
                for server in self.counted(count.group)
            }
            found.append(
                {
                    "name": count.name,
                    "ready": count.ready,
                    "servers": profiles,
                }
            )
        self.store.put("counted", "instructions", {"results": found})
        print(f"### Instructions\n\n{tables.instructions(found)}", flush=True)

    def framing(self):
        """The programs that print tables of their own."""
        rounds = str(self.plan.rounds)
        for name in ("bench_lines", "bench_match"):
            done = subprocess.run(
                [str(self.build / "bench" / name), rounds],
                check=True,
                preexec_fn=servers.child_setup(servers.SERVER_CPU),
                stdout=subprocess.PIPE,
                text=True,
                timeout=600,
            )
            self.store.put("framing", name, {"text": done.stdout})
            print(f"### {name}\n\n{done.stdout}", flush=True)

    def c_side(self):
        """The C servers by time."""
        self.timed(scenarios.C)

    def python_side(self):
        """The Python servers by time."""
        self.timed(scenarios.PYTHON)

    def parts(self):
        """{name: function}."""
        return {
            "timed": self.c_side,
            "python": self.python_side,
            "calls": self.calls,
            "instructions": self.instructions,
            "framing": self.framing,
        }

    def go(self):
        """All that is asked for."""
        only = self.args.only or list(self.parts())
        groups = servers.c_groups(self.build)
        if "python" in only:
            groups |= servers.python_groups(self.build, self.pythons)
        missing = self.probe(groups)
        described = machine.describe(self.build, self.pythons)
        previous = self.store.get("machine", "machine") or {}
        if "python" not in only:
            missing += [
                reason
                for reason in previous.get("missing", [])
                if reason not in missing and _is_python(reason)
            ]
        self.store.put(
            "machine", "machine", {"lines": described, "missing": missing}
        )
        for name, part in self.parts().items():
            if name in only:
                part()


def _is_python(reason):
    words = ("stock", "drop-in", "asyncio", "uvloop")
    return reason.startswith(words)


def results_of(args):
    """Where the results of a run are kept."""
    kind = "full" if args.full or args.report else "short"
    return pathlib.Path(args.build) / "bench" / "results" / kind


def parse(argv):
    """The arguments."""
    parser = argparse.ArgumentParser(
        prog="run", description="Measure servers; see bench/README.md."
    )
    parser.add_argument("build", help="the build directory")
    parser.add_argument(
        "--full", action="store_true", help="all scenarios, more rounds"
    )
    parser.add_argument("--rounds", type=int, help="default: 3; 7 if --full")
    parser.add_argument(
        "--seconds", type=float, help="of a measurement; default: 0.2; 0.5"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=["timed", "python", "calls", "instructions", "framing"],
        help="a part of it; may be given more than once",
    )
    parser.add_argument(
        "--scenario", help="of the timed ones, those with this in their name"
    )
    parser.add_argument(
        "--python",
        action="append",
        metavar="LABEL=COMMAND",
        help="an interpreter, in place of those that are found",
    )
    parser.add_argument(
        "--list-pythons",
        action="store_true",
        help="measure nothing; print the interpreters that are found",
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="measure nothing; write the page and its plots from the results"
        " of the last full run",
    )
    parser.add_argument(
        "--docs", default=DOCS, help="where to; default: docs/"
    )
    return parser.parse_args(argv)


def main(argv=None):
    """Measure, or write the page."""
    args = parse(argv)
    if args.list_pythons:
        print("\n".join(servers.find_pythons(args.python).values()))
        return
    if args.report:
        for path in page.write(store.Store(results_of(args)), args.docs):
            print(f"written: {path}", file=sys.stderr)
        return
    if len(os.sched_getaffinity(0)) < 2:
        print("run: one CPU: server and generator share it", file=sys.stderr)
    plan = timing.Plan(
        rounds=args.rounds or (7 if args.full else 3),
        seconds=args.seconds or (0.5 if args.full else 0.2),
        spare=300 if args.full else 30,
    )
    Run(args, plan).go()
