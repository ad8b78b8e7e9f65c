# SPDX-License-Identifier: MIT
"""The arithmetic, and the page."""

import pathlib
import tempfile
import unittest
import xml.dom.minidom

import kit
from driver import callgrind, page, plot, plots, scenarios, store, timing
from driver import tracing


def result(cpu_ns, waited=0.0):
    """What the generator says."""
    return {
        "cpu_ns": cpu_ns,
        "rate": 1e9 / cpu_ns,
        "p50_us": 1.0,
        "p99_us": 2.0,
        "p999_us": 3.0,
        "rss_per_idle": 100.0,
        "latency_us": [[1.0, 90], [2.0, 9], [9.0, 1]],
        "server_waited": waited,
        "load_waited": 0.0,
    }


class Rounds(unittest.TestCase):
    """Who is measured when, and what is kept."""

    def test_order_rotates(self):
        order = []
        measures = {
            label: lambda label=label: order.append(label)
            for label in ("a", "b", "c")
        }
        for turn in range(4):
            timing.round_of(measures, turn)
        self.assertEqual("".join(order), "abc" "bca" "cab" "abc")

    def kept(self, results, wanted, spare=100):
        coming = iter(results)
        plan = timing.Plan(wanted, 1, spare)
        return timing.rounds_of({"a": lambda: next(coming)}, plan)

    def test_disturbed_rounds_are_repeated(self):
        rounds, disturbed = self.kept(
            [result(1), result(2, 0.5), result(3), result(4)], 3
        )
        self.assertEqual([r["a"]["cpu_ns"] for r in rounds], [1, 3, 4])
        self.assertEqual(disturbed, 0)

    def test_a_result_is_no_reason_to_repeat(self):
        rounds, _ = self.kept([result(1), result(1000), result(2)], 3)
        self.assertEqual(len(rounds), 3)

    def test_never_quiet(self):
        noisy = [result(i, 1 / i) for i in range(1, 20)]
        rounds, disturbed = self.kept(noisy, 3)
        self.assertEqual([r["a"]["cpu_ns"] for r in rounds], [6, 5, 4])
        self.assertEqual(disturbed, 3)

    def test_no_time_left(self):
        rounds, disturbed = self.kept([result(1, 0.5)] * 3, 3, spare=0)
        self.assertEqual((len(rounds), disturbed), (3, 3))


class Arithmetic(unittest.TestCase):
    """On rounds."""

    def test_ratio_is_taken_within_a_round(self):
        # The machine is twice as slow in the second round, for both.
        kept = {
            "unit": 1,
            "rounds": [
                {"bare": result(100), "ours": result(110)},
                {"bare": result(200), "ours": result(220)},
                {"bare": result(100), "ours": result(110)},
            ],
        }
        self.assertEqual(store.ratios(kept, "ours", "bare"), [100 / 110] * 3)
        self.assertIsNone(store.ratio(kept, "ours", "nobody"))
        self.assertIsNone(store.ratio(None, "ours", "bare"))

    def test_latencies_of_all_rounds(self):
        kept = {"rounds": [{"a": result(1)}, {"a": result(1)}]}
        bins = store.latencies(kept, "a")
        self.assertEqual(bins, [(1.0, 180), (2.0, 18), (9.0, 2)])
        self.assertEqual(
            store.quantiles(bins), [(1.0, 1.0), (0.1, 2.0), (0.01, 9.0)]
        )


CALLGRIND = """\
# callgrind format
events: Ir
fl=(1) /x/src/loop.c
fn=(1) pass
10 100
fi=(3) /x/src/inline.h
5 7
fe=(1)
cfi=(2) /x/malloc.c
cfn=(2) malloc
calls=3 0
+1 60
fl=(2)
fn=(2)
1 40
cfn=(3) calloc
calls=1 0
* 20

summary: 167
totals: 167
"""


class Callgrind(unittest.TestCase):
    """Reading what it writes."""

    def test_parse(self):
        found = callgrind.parse(CALLGRIND.splitlines())
        self.assertEqual(found.total, 167)
        self.assertEqual(found.own, {"pass": 107, "malloc": 40})
        self.assertEqual(found.inclusive, {"pass": 167, "malloc": 60})
        # malloc() calling calloc() is its own affair.
        self.assertEqual(found.allocations, 3)
        self.assertEqual(found.files["pass"], "/x/src/loop.c")

    def test_per_message(self):
        found = callgrind.Profile(100, 10, {"f": 60}, {"f": 90})
        each = found.per_message(20)
        self.assertEqual((each.total, each.allocations), (5, 0.5))
        self.assertEqual((each.own, each.inclusive), ({"f": 3}, {"f": 4.5}))


PERF = """
 echo (123), 80026 events, 100.0%

   syscall            calls  errors  total       min       avg       max
                                     (msec)    (msec)    (msec)    (msec)
   --------------- --------  ------ -------- --------- --------- ---------
   sendto             20000      0   100.000     0.001     0.005     0.1    0.50%
   epoll_wait           400      0     1.000     0.001     0.005     0.1    0.50%
"""
STRACE = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.100000           5     20000           sendto
 40.00    0.050000           2       400        12 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.150000           7     20400        12 total
"""


class Tracing(unittest.TestCase):
    """Reading what perf and strace write."""

    def test_perf(self):
        self.assertEqual(
            tracing.parse("perf", PERF), {"sendto": 20000, "epoll_wait": 400}
        )

    def test_strace(self):
        self.assertEqual(
            tracing.parse("strace", STRACE), {"sendto": 20000, "recvfrom": 400}
        )


class Plots(unittest.TestCase):
    """SVG."""

    def test_names_do_not_overlap(self):
        moved = plot.spread([10, 11, 50, 12], 15)
        self.assertEqual(sorted(moved), sorted(set(moved)))
        ordered = sorted(moved)
        for a, b in zip(ordered, ordered[1:]):
            self.assertGreater(b - a, 14.5)
        self.assertLess(moved[0], moved[1])

    def test_ticks_span(self):
        for low, high, log in (
            (3, 22, False),
            (0.9, 1.1, False),
            (2, 3000, True),
            (5, 5, True),
            (5, 5, False),
        ):
            ticks = sorted(plot.nice_ticks(low, high, log))
            self.assertLessEqual(ticks[0], low)
            self.assertGreaterEqual(ticks[-1], high)
            self.assertLessEqual(len(ticks), 16)


def synthetic(directory):
    """Results of a run that never was."""
    kept = store.Store(directory)
    groups = {
        "echo": ["bare epoll", "asyncore, epoll", "libuv"],
        "lines": ["bare epoll, memchr", "asynchat, epoll"],
        "python echo": ["bare epoll", "stock 3.11", "drop-in 3.11"],
        "python lines": ["bare epoll", "stock 3.11", "drop-in 3.11"],
    }
    for scenario in scenarios.C + scenarios.PYTHON:
        labels = groups.get(scenario.group)
        if labels:
            rounds = [
                {label: result(1000 + i) for i, label in enumerate(labels)}
            ]
            kept.put(
                "timed",
                scenario.slug,
                {
                    "name": scenario.name,
                    "group": scenario.group,
                    "load": scenario.load,
                    "unit": scenario.unit,
                    "seconds": 1,
                    "labels": labels,
                    "rounds": rounds,
                    "disturbed": 0,
                },
            )
    return kept


class Page(unittest.TestCase):
    """docs/performance.md."""

    def setUp(self):
        self.root = self.enterContext(tempfile.TemporaryDirectory())
        self.docs = pathlib.Path(self.root, "docs")

    def write(self):
        paths = page.write(store.Store(self.root), self.docs)
        return {path.name: path.read_text("utf-8") for path in paths}

    def test_same_results_same_page(self):
        synthetic(self.root)
        first = self.write()
        self.assertEqual(self.write(), first)
        self.assertNotIn("{{", first["performance.md"])
        self.assertIn("| 64 B at 50 | 1.00 |", first["performance.md"])

    def test_every_plot_is_shown_and_well_formed(self):
        synthetic(self.root)
        written = self.write()
        names = [name for name in written if name.endswith(".svg")]
        self.assertEqual(len(names), 5)
        for name in names:
            self.assertIn(f"]({name})", written["performance.md"])
            xml.dom.minidom.parseString(written[name])

    def test_nothing_measured(self):
        self.assertIn("*Not measured.*", self.write()["performance.md"])

    def test_scenarios_have_names_of_their_own(self):
        slugs = [each.slug for each in scenarios.C + scenarios.PYTHON]
        self.assertEqual(len(slugs), len(set(slugs)))

    def test_all_servers_have_a_colour(self):
        from driver import servers

        for server in servers.c_groups(kit.BUILD)["echo"]:
            if server.label != "bare epoll, 256 KiB":
                self.assertIn(server.label, plots.COLOURS)


if __name__ == "__main__":
    kit.main()
