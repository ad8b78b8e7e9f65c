# SPDX-License-Identifier: MIT
"""Which plots there are, and what is drawn in them."""

import math

from . import scenarios, store
from .plot import Axis, Series, chart, nice_ticks

BARE = "bare epoll"

COLOURS = {
    "asyncore, epoll": "#d1495b",
    "asyncore, io_uring": "#00798c",
    "asyncore, busy-poll": "#6a4c93",
    "asyncore, poll": "#e08e00",
    "bare epoll": "#1b2329",
    "bare epoll, edge-triggered": "#7c8790",
    "bare epoll, spinning": "#9aa5ad",
    "bare io_uring": "#3f78b5",
    "libuv": "#6f9a37",
    "libev": "#b0873f",
    "libevent, events": "#c07ac0",
    "libevent, bufferevent": "#8c564b",
}


def _series(label, points):
    colour = COLOURS.get(label, "#5b6770")
    return Series(label, points, colour, label.startswith("asyncore"))


def _collect(results, value):
    """A series for each server that was measured everywhere; `results` is
    {x: result}, `value` what is drawn of a result and a label."""
    series = {}
    for x, result in results.items():
        for label in result["labels"]:
            y = value(result, label)
            if y:
                series.setdefault(label, []).append((x, y))
    return [
        _series(label, points)
        for label, points in series.items()
        if len(points) == len(results)
    ]


def _draw(title, x_axis, label, series, log=False):
    values = [y for each in series for _, y in each.points]
    y_axis = Axis(label, nice_ticks(min(values), max(values), log), log)
    return chart(title, "lower is better", x_axis, y_axis, series)


def _microseconds(result, label):
    return (store.median(result, label, "cpu_ns") or 0) / 1000


def _times_bare(result, label):
    return store.ratio(result, BARE, label)


TIMES = "CPU time of the server, that of the bare epoll loop being 1"


def connections(results):
    """Cost over the number of connections."""
    found = {
        n: results[f"64 B at {n}"]
        for n in scenarios.CONNECTIONS
        if f"64 B at {n}" in results
    }
    ticks = {n: str(n) for n in found}
    axis = Axis("connections, 64 bytes a message", ticks, log=True)
    series = _collect(found, _times_bare)
    return series and _draw(TIMES, axis, "times", series)


def idle(results):
    """Cost over the number of idle connections."""
    found = {
        n: results[f"100 active, {n} idle"]
        for n in scenarios.IDLE
        if f"100 active, {n} idle" in results
    }
    ticks = {n: str(n) for n in found}
    axis = Axis("idle connections, beside 100 that are active", ticks)
    title = "CPU time of the server, beside idle connections"
    series = _collect(found, _microseconds)
    return series and _draw(title, axis, "µs a message", series, log=True)


def sizes(results):
    """Cost over the size of a message."""
    found = {
        size: results[f"{name} at 50"]
        for name, size in scenarios.SIZES.items()
        if f"{name} at 50" in results
    }
    ticks = {
        size: name for name, size in scenarios.SIZES.items() if size in found
    }
    axis = Axis("a message, 50 connections", ticks, log=True)
    series = _collect(found, _times_bare)
    return series and _draw(TIMES, axis, "times", series, log=True)


# The part that took longer: 1 at the left, 1 in 10,000 at the right.
_TAIL = {0: "0", 1: "90", 2: "99", 3: "99.9", 4: "99.99"}


def latency(result):
    """How many messages took how long."""
    series = []
    for label in result["labels"]:
        bins = store.latencies(result, label)
        points = [
            (-math.log10(part), microseconds)
            for part, microseconds in store.quantiles(bins)
            if part >= 1e-4
        ]
        if points:
            series.append(_series(label, points))
    axis = Axis("percentile", _TAIL)
    return series and _draw(
        f"Latency, {result['name']}", axis, "µs", series, log=True
    )


def all_plots(results):
    """{name: SVG}, from {name of a scenario: result}."""
    drawn = {
        "connections": connections(results),
        "idle": idle(results),
        "sizes": sizes(results),
    }
    for name, scenario in (
        ("latency-1", "64 B at 1"),
        ("latency-50", "64 B at 50"),
    ):
        if scenario in results:
            drawn[name] = latency(results[scenario])
    return {name: svg for name, svg in drawn.items() if svg}
