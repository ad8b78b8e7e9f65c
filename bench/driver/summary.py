# SPDX-License-Identifier: MIT
"""The tables at the top of the page: ours beside each of the others."""

from . import store
from .tables import NOTHING, number, table, times

OURS = {"echo": "asyncore, epoll", "lines": "asynchat, epoll"}
URING = {"echo": "asyncore, io_uring", "lines": "asynchat, io_uring"}
BARE = {"echo": "bare epoll", "lines": "bare epoll, memchr"}

PEERS = {
    "bare epoll": "bare epoll",
    "libuv": "libuv",
    "libev": "libev",
    "bufferevent": "libevent, bufferevent",
}


def _c_row(result):
    group = result["group"]
    ours, uring = OURS[group], URING[group]
    others = {**PEERS, "bare epoll": BARE[group]}
    return [
        result["name"],
        *(times(store.ratio(result, ours, o)) for o in others.values()),
        times(store.ratio(result, uring, BARE[group])),
    ]


def c_costs(results):
    """How many times as much CPU time the others take."""
    rows = [_c_row(result) for result in results if result["group"] in OURS]
    head = ["CPU time", *(f"{name} / ours" for name in PEERS)]
    head.append("bare epoll / ours, io_uring")
    return table(head, rows) if rows else NOTHING


def _counts(results, name, value):
    """{label: value} of what was counted under that name."""
    for result in results:
        if result["name"] == name:
            return {
                label: value(found)
                for label, found in result["servers"].items()
            }
    return {}


def resources(calls, instructions, idle):
    """What an echo and a connection take: a row for each server."""

    def total(counts):
        return sum(counts.values())

    columns = {
        "calls an echo": _counts(calls, "64 B at 50", total),
        "calls a connection": _counts(calls, "churn", total),
        "instructions an echo": _counts(
            instructions, "50 of 50", lambda found: found["total"]
        ),
        "allocations an echo": _counts(
            instructions, "50 of 50", lambda found: found["allocations"]
        ),
        "B/idle": {
            label: store.median(idle, label, "rss_per_idle")
            for label in (idle or {"labels": []})["labels"]
        },
    }
    digits = (2, 1, 0, 2, 0)
    labels = [label for column in columns.values() for label in column]
    rows = [
        [
            label,
            *(
                number(column.get(label), n)
                for column, n in zip(columns.values(), digits)
            ),
        ]
        for label in dict.fromkeys(labels)
    ]
    return table(["server", *columns], rows) if rows else NOTHING


def _rates(result):
    first, unit = result["labels"][0], result["unit"]
    rows = [
        [
            label,
            number(store.median(result, label, "rate") * unit, 0),
            times(store.ratio(result, first, label, "rate")),
            times(store.ratio(result, label, first)),
            number(store.median(result, label, "p50_us"), 1),
            number(store.median(result, label, "p99_us"), 1),
        ]
        for label in result["labels"]
    ]
    head = [result["name"], "a second", "rate, times", "cost, ratio"]
    return table([*head, "p50 µs", "p99 µs"], rows)


def rates(results):
    """Where the rate says something: one connection, streams, two cores."""
    return "\n".join(map(_rates, results)) or NOTHING


# ---- the Python side ------------------------------------------------------


def _versions(results, name):
    """The versions that something was measured with."""
    found = []
    for result in results:
        for label in result["labels"]:
            kind, _, version = label.rpartition(" ")
            if kind == name and version not in found:
                found.append(version)
    return found


def _pairs(results):
    """Which of ours stands beside which of the others, of one interpreter."""
    pairs = []
    for version in _versions(results, "drop-in"):
        for other in ("stock", "asyncio", "asyncio streams", "uvloop"):
            if version in _versions(results, other):
                pairs.append((f"drop-in {version}", f"{other} {version}"))
    return pairs


def python_costs(results):
    """How many times as much CPU time as the drop-in the others take."""
    pairs = _pairs(results)
    rows = [
        [
            result["name"],
            *(times(store.ratio(result, ours, o)) for ours, o in pairs),
        ]
        for result in results
    ]
    head = ["CPU time", *(f"{o} / {ours}" for ours, o in pairs)]
    return table(head, rows) if pairs else NOTHING
