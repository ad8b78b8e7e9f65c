# SPDX-License-Identifier: MIT
"""What was found, as JSON, and the arithmetic on it.

A file for each part and scenario, so that a part that is measured again takes
the place of what was there.  A result keeps its rounds as they were; each is
{label: what the generator has printed}."""

import json
import pathlib
import statistics

from . import machine


class Store:
    """A directory of results."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)

    def put(self, part, name, data):
        """Keep it; its date is today's."""
        path = self.directory / part / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {"date": machine.today(), **data}
        path.write_text(json.dumps(kept) + "\n", encoding="utf-8")

    def get(self, part, name):
        """What was kept, or None."""
        path = self.directory / part / f"{name}.json"
        if not path.exists():
            return None
        return json.loads(path.read_text(encoding="utf-8"))

    def dates(self):
        """On which days it was measured."""
        return sorted(
            {
                json.loads(path.read_text(encoding="utf-8"))["date"]
                for path in self.directory.glob("*/*.json")
            }
        )


def values(result, label, key):
    """Of each round, as far as the server has them."""
    return [
        round[label][key]
        for round in result["rounds"]
        if key in round.get(label, {})
    ]


def median(result, label, key):
    """Of the rounds, or None."""
    found = values(result, label, key)
    return statistics.median(found) if found else None


def cost(result, label):
    """CPU time in ns, for the unit of the scenario; or None."""
    found = median(result, label, "cpu_ns")
    return None if found is None else found / result["unit"]


def ratios(result, ours, other, key="cpu_ns"):
    """In each round: how many times as much `other` has as `ours`."""
    return [
        round[other][key] / round[ours][key]
        for round in result["rounds"]
        if ours in round and other in round and round[ours].get(key)
    ]


def ratio(result, ours, other, key="cpu_ns"):
    """The median of them; None if nothing can be said."""
    if result is None:
        return None
    found = ratios(result, ours, other, key)
    return statistics.median(found) if found else None


def latencies(result, label):
    """[(microseconds, how many)] of all rounds together, shortest first."""
    counts = {}
    for bins in values(result, label, "latency_us"):
        for microseconds, number in bins:
            counts[microseconds] = counts.get(microseconds, 0) + number
    return sorted(counts.items())


def quantiles(bins):
    """[(part that took longer, microseconds)], from all to the last."""
    total = sum(number for _, number in bins)
    points, left = [], total
    for microseconds, number in bins:
        points.append((left / total, microseconds))
        left -= number
    return points
