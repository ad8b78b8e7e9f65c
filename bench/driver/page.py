# SPDX-License-Identifier: MIT
"""docs/performance.md: bench/page.md, with what was found in the places that
are marked {{so}}."""

import pathlib
import re

from . import plots, scenarios, summary, tables

TEMPLATE = pathlib.Path(__file__).parent.parent / "page.md"
OURS = set(summary.OURS.values())

# Of these the functions are listed.
PROFILED = ("1 of 1", "50 of 50", "churn", "lines, 50 of 50, 16 deep")
IDLE = "100 active, 8000 idle"  # memory is that of these
RATES = ("64 B at 1", "1 stream, per KiB", "8 streams, per KiB")


class Page:
    """The results of a run, and what is said of them."""

    def __init__(self, results):
        self.store = results
        self.c = self._timed(scenarios.C)
        self.python = self._timed(scenarios.PYTHON)

    def _timed(self, wanted):
        found = (self.store.get("timed", each.slug) for each in wanted)
        return [result for result in found if result is not None]

    def _counted(self, name):
        return (self.store.get("counted", name) or {}).get("results", [])

    def _of(self, group):
        return [each for each in self.c if each["group"] == group]

    # What stands for a {{name}}, by that name.

    def machine(self):
        """A list."""
        lines = (self.store.get("machine", "machine") or {}).get("lines", [])
        dates = ", ".join(self.store.dates())
        return "\n".join(f"- {line}" for line in (*lines, dates)) + "\n"

    def missing(self):
        """What did not run there."""
        kept = self.store.get("machine", "machine") or {}
        lines = [f"- {reason}" for reason in kept.get("missing", [])]
        if not lines:
            return ""
        return "Left out, for it did not run there:\n\n" + "\n".join(lines)

    def summary(self):
        """Ours beside the others."""
        return summary.c_costs(self.c)

    def python_summary(self):
        """The drop-in beside the others."""
        return summary.python_costs(self.python)

    def resources(self):
        """Calls, instructions, allocations, memory."""
        idle = [each for each in self.c if each["name"] == IDLE]
        return summary.resources(
            self._counted("calls"),
            self._counted("instructions"),
            idle[0] if idle else None,
        )

    def rates(self):
        """Where the rate counts."""
        wanted = [each for each in self.c if each["name"] in RATES]
        return summary.rates(wanted)

    def workers(self):
        """On two cores."""
        return summary.rates(self._of("workers"))

    def echo_ratios(self):
        """All to the bare loop."""
        return tables.side_by_side(self._of("echo"))

    def line_ratios(self):
        """The same, for lines."""
        return tables.side_by_side(self._of("lines"))

    def memory(self):
        """Bytes per idle connection."""
        return tables.memory(self.c)

    def python_memory(self):
        """Likewise."""
        groups = {"echo": [], "lines": []}
        for result in self.python:
            kind = "lines" if result["group"].endswith("lines") else "echo"
            groups[kind].append(result)
        return (
            f"dispatcher:\n\n{tables.memory(groups['echo'])}\n"
            f"async_chat:\n\n{tables.memory(groups['lines'])}"
        )

    def calls(self):
        """System calls."""
        return tables.calls(self._counted("calls"))

    def tracer(self):
        """Who has counted them."""
        return (self.store.get("counted", "calls") or {}).get("by", "perf")

    def instructions(self):
        """And allocations."""
        return tables.instructions(self._counted("instructions"))

    def passes(self):
        """Instructions a pass."""
        return tables.passes(self._counted("instructions"), OURS)

    def functions(self):
        """Who has them."""
        found = {each["name"]: each for each in self._counted("instructions")}
        listed = [
            tables.functions(found[name], OURS)
            for name in PROFILED
            if name in found
        ]
        return "\n".join(listed) or tables.NOTHING

    def framing(self):
        """Lines without sockets."""
        return self._framing("bench_lines")

    def long_messages(self):
        """Likewise."""
        return self._framing("bench_match")

    def _framing(self, name):
        kept = self.store.get("framing", name)
        return kept["text"] if kept else tables.NOTHING

    def details(self):
        """Every scenario of the C side."""
        return "\n".join(map(tables.scenario, self.c)) or tables.NOTHING

    def python_details(self):
        """Every scenario of the Python side."""
        return "\n".join(map(tables.scenario, self.python)) or tables.NOTHING

    def text(self, template):
        """The whole of it."""
        filled = re.sub(
            r"\{\{(\w+)\}\}",
            lambda match: getattr(self, match[1])().rstrip("\n"),
            template,
        )
        return re.sub(r"\n{3,}", "\n\n", filled)


def write(results, docs):
    """Write the page and its plots; returns their paths."""
    made = Page(results)
    docs = pathlib.Path(docs)
    docs.mkdir(exist_ok=True)
    drawn = plots.all_plots({each["name"]: each for each in made.c})
    files = {f"performance-{name}.svg": svg for name, svg in drawn.items()}
    files["performance.md"] = made.text(TEMPLATE.read_text(encoding="utf-8"))
    for name, text in files.items():
        (docs / name).write_text(text, encoding="utf-8")
    return [docs / name for name in files]
