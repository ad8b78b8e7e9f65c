# SPDX-License-Identifier: MIT
"""CPU time per message, in rounds that all servers take part in."""

import contextlib
import dataclasses
import json
import pathlib
import subprocess
import time

from . import servers

# A round is disturbed if a server or the generator waited longer than this
# part of the time for its CPU.
DISTURBED = 0.05


class Generator:
    """The load generator: build/bench/load, and how it is run."""

    def __init__(self, build):
        self.program = str(pathlib.Path(build).resolve() / "bench" / "load")

    def command(self, running, load, *more):
        """Its command line, against a server that runs."""
        return [
            self.program,
            f"--watch={running.pid}",
            *load.split(),
            *more,
            running.port,
        ]

    def run(self, running, load, *more, cpu=servers.LOAD_CPU, patience=240):
        """Once.  Returns what it found out; fails if it does."""
        done = subprocess.run(
            self.command(running, load, *more),
            check=True,
            preexec_fn=servers.child_setup(cpu),
            stdout=subprocess.PIPE,
            text=True,
            timeout=patience,
        )
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def paused(self, running, load, *more, cpu=servers.LOAD_CPU):
        """One that measures whenever the function that `with` gets is
        called, and keeps its connections in between."""
        with subprocess.Popen(
            self.command(running, load, *more, "--pause"),
            preexec_fn=servers.child_setup(cpu),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:

            def measure():
                process.stdin.write("\n")
                process.stdin.flush()
                line = process.stdout.readline()
                if not line:
                    raise RuntimeError("the generator has failed")
                return json.loads(line)

            try:
                if process.stdout.readline() != "ready\n":
                    raise RuntimeError("the generator has failed")
                yield measure
            finally:
                process.stdin.close()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()


def _fresh(generator, scenario, members, more):
    """{label: function that starts a server and measures once}."""
    server_cpu = None if scenario.both_cpus else servers.SERVER_CPU
    load_cpu = None if scenario.both_cpus else servers.LOAD_CPU

    def measure(server):
        with servers.start(server, cpu=server_cpu) as running:
            return generator.run(running, scenario.load, *more, cpu=load_cpu)

    return {
        server.label: lambda server=server: measure(server)
        for server in members
    }


def _resident(stack, generator, scenario, members, more):
    """{label: function that measures once}; all servers are there."""
    found = {}
    for server in members:
        running = stack.enter_context(servers.start(server))
        found[server.label] = stack.enter_context(
            generator.paused(running, scenario.load, *more)
        )
    return found


def round_of(measures, turn):
    """Each once, in an order that changes.  Returns {label: result}."""
    labels = list(measures)
    turn %= len(labels)
    return {
        label: measures[label]() for label in labels[turn:] + labels[:turn]
    }


def disturbance(results):
    """The longest of the waits in a round."""
    return max(
        max(result["server_waited"], result["load_waited"])
        for result in results.values()
    )


@dataclasses.dataclass
class Plan:
    """How long is measured."""

    rounds: int
    seconds: float  # of a measurement
    spare: float  # seconds that are left for rounds that must be repeated


def rounds_of(measures, plan, limit=DISTURBED):
    """As many rounds as are wanted, the disturbed ones repeated as far as
    time allows; the least disturbed are kept: chosen by the waiting, never
    by the result.  Returns them, and how many of them were disturbed."""
    rounds, wanted = [], plan.rounds
    while len(rounds) < wanted or (
        sum(how <= limit for how, _ in rounds) < wanted
        and len(rounds) < 2 * wanted
        and plan.spare > 0
    ):
        began = time.monotonic()
        results = round_of(measures, len(rounds))
        if len(rounds) >= wanted:
            plan.spare -= time.monotonic() - began
        rounds.append((disturbance(results), results))
    rounds.sort(key=lambda round: round[0])
    kept = rounds[:wanted]
    return [results for _, results in kept], sum(
        how > limit for how, _ in kept
    )


def measure(generator, scenario, group, plan):
    """A scenario.  Returns what is kept of it."""
    members = [
        server.with_arguments(scenario.old_style)
        for server in group
        if not server.asked_for or server.label in scenario.also
    ]
    more = [f"--seconds={plan.seconds}"]
    if scenario.histogram:
        more.append("--histogram")
    with contextlib.ExitStack() as stack:
        if scenario.resident:
            measures = _resident(stack, generator, scenario, members, more)
        else:
            measures = _fresh(generator, scenario, members, more)
        # Who shares the CPUs waits for them: that is no disturbance.
        limit = float("inf") if scenario.both_cpus else DISTURBED
        rounds, disturbed = rounds_of(measures, plan, limit)
    return {
        "name": scenario.name,
        "group": scenario.group,
        "load": scenario.load,
        "unit": scenario.unit,
        "seconds": plan.seconds,
        "labels": [server.label for server in members],
        "rounds": rounds,
        "disturbed": disturbed,
    }
