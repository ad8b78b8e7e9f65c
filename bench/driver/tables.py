# SPDX-License-Identifier: MIT
"""What was found, as markdown."""

import statistics

from . import store

NOTHING = "*Not measured.*\n"


def table(head, rows):
    """All columns but the first are numbers."""
    lines = [f"| {' | '.join(head)} |"]
    lines.append("|---" + "|---:" * (len(head) - 1) + "|")
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def number(value, digits=2):
    """For a cell; empty if there is none."""
    return "" if value is None else f"{value:,.{digits}f}".replace(",", " ")


def figure(value):
    """The same, with about three digits."""
    if value is None:
        return ""
    return number(value, 0 if value >= 100 else 1 if value >= 10 else 2)


def times(value):
    """A ratio: two digits behind the point, or the first two that count."""
    if value is None:
        return ""
    return number(value, 2 if value >= 0.1 else 4)


def span(found, form):
    """From the least to the most."""
    return f"{form(min(found))} to {form(max(found))}" if found else ""


# ---- a scenario -----------------------------------------------------------

COLUMNS = [
    "server",
    "ratio",
    "spread",
    "CPU, ns",
    "spread",
    "a second",
    "p50 µs",
    "p99 µs",
    "p99.9 µs",
    "B/idle",
]


def _row(result, label):
    unit = result["unit"]
    of_bare = store.ratios(result, label, result["labels"][0])
    costs = [ns / unit for ns in store.values(result, label, "cpu_ns")]

    def median(key):
        return store.median(result, label, key)

    return [
        label,
        times(statistics.median(of_bare)),
        span(of_bare, times),
        figure(statistics.median(costs)),
        span(costs, figure),
        number(median("rate") * unit, 0),
        number(median("p50_us"), 1),
        number(median("p99_us"), 1),
        number(median("p999_us"), 1),
        number(median("rss_per_idle"), 0),
    ]


def scenario(result):
    """Its title, how it was measured, and a row for each server."""
    rows = [_row(result, label) for label in result["labels"]]
    columns = COLUMNS
    if not rows[0][-1]:
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    n, disturbed = len(result["rounds"]), result["disturbed"]
    rounds = "1 round" if n == 1 else f"{n} rounds"
    note = f"; {disturbed} of them disturbed" if disturbed else ""
    how = f"`load {result['load']}`, {rounds} of {result['seconds']} s{note}"
    return f"### {result['name']}\n\n{how}\n\n{table(columns, rows)}"


def side_by_side(results):
    """The ratios to the yardstick: a row for each scenario."""
    labels = []
    for result in results:
        labels += [each for each in result["labels"] if each not in labels]
    rows = [
        [
            result["name"],
            *(
                times(store.ratio(result, label, result["labels"][0]))
                for label in labels
            ),
        ]
        for result in results
    ]
    return table(["scenario", *labels], rows) if rows else NOTHING


# ---- what is counted ------------------------------------------------------


def calls(results):
    """System calls a message, and which."""
    rows = []
    for result in results:
        for label, counts in result["servers"].items():
            each = sorted(counts.items(), key=lambda item: -item[1])
            which = ", ".join(
                f"{name} {number(count)}"
                for name, count in each
                if count >= 0.005
            )
            total = number(sum(counts.values()))
            rows.append([f"{result['name']}: {label}", total, which])
    return table(["server", "calls", "which"], rows) if rows else NOTHING


def instructions(results):
    """User-space instructions and allocations a message."""
    rows = []
    for result in results:
        servers = result["servers"]
        bare = next(iter(servers.values()))["total"]
        for label, found in servers.items():
            rows.append(
                [
                    f"{result['name']}: {label}",
                    number(found["total"], 0),
                    number(found["total"] / bare),
                    number(found["allocations"]),
                ]
            )
    head = ["server", "instructions", "times bare epoll", "allocations"]
    return table(head, rows) if rows else NOTHING


def passes(results, ours):
    """Instructions a pass with so many ready of so many."""
    rows = []
    for result in results:
        found = [
            counts["total"]
            for label, counts in result["servers"].items()
            if label in ours
        ]
        if found and result["name"] != "churn":
            bare = next(iter(result["servers"].values()))["total"]
            each, ready = found[0], result["ready"]
            rows.append(
                [
                    result["name"],
                    number(each, 0),
                    number(each * ready, 0),
                    number(bare, 0),
                    number(each / bare),
                ]
            )
    head = ["ready", "a message", "a pass", "bare epoll, a message", "times"]
    return table(head, rows) if rows else NOTHING


LEAST = 0.02  # of the instructions, to be listed


def _plain(name):
    """A function, without what the compiler and callgrind add to its name:
    .constprop.0, and '2 where it runs within itself."""
    name, _, level = name.partition("'")
    again = ", again" if level else ""
    return f"`{name.partition('.')[0]}`{again}"


def functions(result, ours):
    """Which functions of ours a message runs through."""
    found = next(
        (
            counts
            for label, counts in result["servers"].items()
            if label in ours
        ),
        None,
    )
    if found is None:
        return ""
    listed = [
        name
        for name, file in found["files"].items()
        if "/src/" in file
        and found["inclusive"].get(name, 0) >= LEAST * found["total"]
    ]
    listed.sort(key=lambda name: -found["inclusive"][name])
    rows = [
        [
            _plain(name),
            number(found["inclusive"][name], 1),
            number(found["own"].get(name, 0), 1),
        ]
        for name in listed
    ]
    inside = sum(
        count
        for name, count in found["own"].items()
        if "/src/" in found["files"].get(name, "")
    )
    rows.append(["all of the library", "", number(inside, 1)])
    rows.append(
        ["libc and the program", "", number(found["total"] - inside, 1)]
    )
    head = ["function", "with what it calls", "itself"]
    return f"### {result['name']}\n\n{table(head, rows)}"


# ---- memory ---------------------------------------------------------------


def memory(results):
    """Bytes per idle connection, of each server that was measured so."""
    found = {}
    for result in results:
        for label in result["labels"]:
            value = store.median(result, label, "rss_per_idle")
            if value is not None:
                found[label] = value
    rows = [[label, number(value, 0)] for label, value in found.items()]
    return table(["server", "B/idle"], rows) if rows else NOTHING
