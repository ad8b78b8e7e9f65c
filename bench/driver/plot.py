# SPDX-License-Identifier: MIT
"""Line charts as SVG: a series is named where it ends, ours stand out."""

import dataclasses
import html
import math

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 200, 64, 52

STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif;
       fill: #3c4650 }
.title { font-size: 15px; font-weight: 600; fill: #1b2329 }
.grid { stroke: #e4e8eb; stroke-width: 1 }
.axis { stroke: #aab3ba; stroke-width: 1 }
.line { fill: none; stroke-linejoin: round; stroke-linecap: round }
"""


@dataclasses.dataclass
class Axis:
    """What is drawn along it, and which values have a line of the grid."""

    label: str
    ticks: dict  # value: text
    log: bool = False
    least: float = None  # where it begins and ends, if not at the ticks
    most: float = None

    def place(self, value):
        """From 0 to 1."""
        low = min(self.ticks) if self.least is None else self.least
        high = max(self.ticks) if self.most is None else self.most
        if self.log:
            low, high, value = map(math.log, (low, high, value))
        return (value - low) / (high - low) if high > low else 0.5


@dataclasses.dataclass
class Series:
    """A line, and its name."""

    name: str
    points: list  # of (x, y)
    colour: str
    ours: bool = False  # drawn bold, and on top


def nice_ticks(low, high, log=False):
    """Round values that span low to high: {value: text}."""
    if log:
        steps = [
            digit * 10.0**power
            for power in range(-3, 9)
            for digit in (1, 2, 5)
        ]
        first = max(i for i, step in enumerate(steps) if step <= low)
        last = min(i for i, step in enumerate(steps) if step >= high)
        values = steps[first : last + 1]
    else:
        width = (high - low) or 1
        step = 10.0 ** math.floor(math.log10(width))
        while width / step < 4:
            step /= 2
        first, last = math.floor(low / step), math.ceil(high / step)
        values = [i * step for i in range(first, last + 1)]
    return {value: f"{value:g}" for value in values}


def _x(axis, value):
    return LEFT + axis.place(value) * (WIDTH - LEFT - RIGHT)


def _y(axis, value):
    return HEIGHT - BOTTOM - axis.place(value) * (HEIGHT - TOP - BOTTOM)


def _text(x, y, text, anchor="start", more=""):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>'
        f"{html.escape(text)}</text>"
    )


def _line(kind, *ends):
    x1, y1, x2, y2 = (f"{end:.1f}" for end in ends)
    return f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _grid(x_axis, y_axis):
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for value, text in y_axis.ticks.items():
        y = _y(y_axis, value)
        yield _line("grid", LEFT, y, right, y)
        yield _text(LEFT - 8, y + 4, text, "end")
    for value, text in x_axis.ticks.items():
        x = _x(x_axis, value)
        yield _line("axis", x, bottom, x, bottom + 4)
        yield _text(x, bottom + 18, text, "middle")
    yield _line("axis", LEFT, bottom, right, bottom)
    yield _text((LEFT + right) / 2, HEIGHT - 12, x_axis.label, "middle")
    yield _text(LEFT - 48, TOP - 14, y_axis.label)


def spread(places, least):
    """Move places apart, so that no two are closer than `least`; their order
    stays, and so does their middle, as far as can be."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = [places[i] for i in order]
    for _ in range(200):
        for i in range(1, len(moved)):
            gap = least - (moved[i] - moved[i - 1])
            if gap > 0:
                moved[i - 1] -= gap / 2
                moved[i] += gap / 2
    return [place for _, place in sorted(zip(order, moved))]


def _names(series, x_axis, y_axis):
    places = spread([_y(y_axis, each.points[-1][1]) for each in series], 15)
    end = WIDTH - RIGHT + 18
    for each, place in zip(series, places):
        x, y = _x(x_axis, each.points[-1][0]), _y(y_axis, each.points[-1][1])
        weight = ' font-weight="600"' if each.ours else ""
        more = f'{weight} style="fill:{each.colour}"'
        yield _line("axis", x + 4, y, end - 4, place)
        yield _text(end, place + 4, each.name, more=more)


def _dots(each, radius, x_axis, y_axis):
    for x, y in each.points:
        yield (
            f'<circle cx="{_x(x_axis, x):.1f}" cy="{_y(y_axis, y):.1f}" '
            f'r="{radius:.1f}" fill="{each.colour}"/>'
        )


def _curves(series, x_axis, y_axis):
    for each in sorted(series, key=lambda each: each.ours):
        points = " ".join(
            f"{_x(x_axis, x):.1f},{_y(y_axis, y):.1f}" for x, y in each.points
        )
        width = 2.6 if each.ours else 1.5
        yield (
            f'<polyline class="line" stroke="{each.colour}" '
            f'stroke-width="{width}" points="{points}"/>'
        )
        if len(each.points) <= 10:
            yield from _dots(each, width + 0.6, x_axis, y_axis)


def chart(title, subtitle, x_axis, y_axis, series):
    """The text of an SVG file."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
        f'height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{html.escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT - 48, 22, title, more=' class="title"'),
        _text(WIDTH - 12, 22, subtitle, "end"),
        *_grid(x_axis, y_axis),
        *_curves(series, x_axis, y_axis),
        *_names(series, x_axis, y_axis),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"
