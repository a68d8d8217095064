"""Counts over time as a picture (SVG, a string). What was not seen is hatched: a missing minute is no quiet minute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import count

COLOURS = ("#3a6ea5", "#d98e04", "#2a9d8f", "#b5533c", "#7a5195", "#5f7d3a", "#c2185b", "#6c757d", "#00838f", "#8d6e63")
WIDTH, HALF = 1000, 110
"""Of the plot: one way is counted upwards, the other downwards, each with this much room."""
LEFT, BELOW, HEAD = 46, 34, 16
MOST_BARS = 180
STEPS_S = (10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400, 604800)
DAY_S = 86_400
STYLE = """
.plot{display:block;width:100%;height:auto;font:11px system-ui,sans-serif}
.plot text{fill:var(--soft)}.plot .axis{stroke:var(--soft);stroke-width:1}.plot .grid{stroke:var(--line)}
.plot .gone{fill:url(#hatch);stroke:var(--warnline);stroke-width:.5}.plot .said{fill:var(--part);font-weight:600}
.plot .stripes{stroke:var(--warnline);stroke-width:1.5}
.plots h3{font-size:.98rem;margin:18px 0 6px}.plots h3:first-child{margin-top:0}
"""
HATCH = (
    '<defs><pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<line class="stripes" x1="0" y1="0" x2="0" y2="7"/></pattern></defs>'
)


@dataclass(frozen=True, slots=True)
class Bar:
    """Crossings of a line by one class, one way, in one time bin."""

    start_s: float
    label: str
    way: str
    count: int


@dataclass(frozen=True, slots=True)
class Axis:
    """Time from left to right."""

    start_s: float
    stop_s: float
    midnight_s: float | None = None
    """The time of day of second 0, where it is known: then the clock is shown, else the time since the start."""

    def x(self, second: float) -> float:
        span = max(self.stop_s - self.start_s, 1e-6)
        return LEFT + (WIDTH - LEFT) * min(max((second - self.start_s) / span, 0.0), 1.0)

    def clock(self, second: float) -> str:
        return clock(second) if self.midnight_s is None else clock((self.midnight_s + second) % DAY_S, hours=True)

    def ticks(self) -> list[float]:
        step = next((step for step in STEPS_S if (self.stop_s - self.start_s) / step <= 10), STEPS_S[-1])
        phase = self.midnight_s or 0.0
        first = -(-(self.start_s + phase) // step)
        found: list[float] = []
        for number in count(int(first)):
            second = number * step - phase
            if second > self.stop_s:
                return found
            found.append(second)
        return found


def colours(labels: Sequence[str]) -> dict[str, str]:
    """A colour for each class, the same in all plots."""
    return {label: COLOURS[at % len(COLOURS)] for at, label in enumerate(labels)}


def counts(
    bars: Sequence[Bar],
    axis: Axis,
    bin_s: float,
    missing: Sequence[tuple[float, float]],
    colour: Mapping[str, str],
    ways: tuple[str, str],
) -> str:
    """Stacked bars by time bin. `missing` are spans (s) of which nothing is known; bins are joined where there are many."""
    joined = bin_s * next(step for step in count(1) if (axis.stop_s - axis.start_s) / (bin_s * step) <= MOST_BARS)
    phase = axis.midnight_s or 0.0
    stacks: dict[tuple[int, str], dict[str, int]] = {}
    for bar in bars:
        stack = stacks.setdefault((int((bar.start_s + phase) // joined), bar.way), {})
        stack[bar.label] = stack.get(bar.label, 0) + bar.count
    most = max((sum(stack.values()) for stack in stacks.values()), default=0) or 1
    drawn = "".join(
        _stack(stack, axis, number * joined - phase, joined, way, way == ways[0], most, colour)
        for (number, way), stack in sorted(stacks.items())
    )
    said = f"{sum(bar.count for bar in bars):,} crossings over time, {ways[0]} above and {ways[1]} below the axis"
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {2 * HALF + BELOW}" role="img" aria-label="{escape(said)}">{HATCH}'
        f'<text x="0" y="12">{escape(ways[0])}</text><text x="0" y="{2 * HALF - 2}">{escape(ways[1])}</text>'
        f'<text x="{LEFT - 6}" y="{HEAD + 10}" text-anchor="end">{most:,}</text>'
        f'<line class="grid" x1="{LEFT}" y1="{HEAD}" x2="{WIDTH}" y2="{HEAD}"/>{_grid(axis)}{drawn}'
        f"{''.join(_gap(axis, start, stop) for start, stop in missing)}"
        f'<line class="axis" x1="{LEFT}" y1="{HALF}" x2="{WIDTH}" y2="{HALF}"/></svg>{_legend(bars, colour)}'
    )


def clock(second: float, *, hours: bool = False) -> str:
    """Hours, minutes and seconds.

    >>> clock(3723.4), clock(61), clock(61, hours=True)
    ('1:02:03', '1:01', '0:01:01')
    """
    whole = int(second)
    minutes = f"{whole % 3600 // 60:02d}:{whole % 60:02d}"
    return f"{whole // 3600}:{minutes}" if hours or whole >= 3600 else minutes.removeprefix("0")


def _stack(
    stack: Mapping[str, int], axis: Axis, start: float, wide: float, way: str, up: bool, most: int, colour: Mapping[str, str]
) -> str:
    left, right = axis.x(start), axis.x(start + wide)
    place = f'x="{left + 0.4:.2f}" width="{max(right - left - 0.8, 0.6):.2f}"'
    parts, level = [], 0.0
    for label in (label for label in colour if stack.get(label)):
        high = (HALF - HEAD) * stack[label] / most
        top = HALF - level - high if up else HALF + level
        said = escape(f"{axis.clock(max(start, axis.start_s))}: {stack[label]} {label}, {way}")
        parts.append(
            f'<rect {place} y="{top:.2f}" height="{high:.2f}" fill="{colour[label]}"><title>{said}</title></rect>'
        )  # fmt: skip
        level += high
    return "".join(parts)


def _gap(axis: Axis, start: float, stop: float) -> str:
    left, wide = axis.x(start), max(axis.x(stop) - axis.x(start), 1.0)
    said = escape(f"missing: {axis.clock(start)} to {axis.clock(stop)}")
    return (
        f'<rect class="gone" data-missing="{start:g}-{stop:g}" x="{left:.2f}" y="0" width="{wide:.2f}" height="{2 * HALF}">'
        f"<title>{said}</title></rect>" + (f'<text class="said" x="{left + 4:.2f}" y="12">missing</text>' if wide > 46 else "")
    )


def _grid(axis: Axis) -> str:
    return "".join(
        f'<line class="grid" x1="{axis.x(at):.2f}" y1="0" x2="{axis.x(at):.2f}" y2="{2 * HALF}"/>'
        f'<text x="{min(axis.x(at), WIDTH - 24):.2f}" y="{2 * HALF + 18}" text-anchor="middle">{axis.clock(at)}</text>'
        for at in axis.ticks()
    )


def _legend(bars: Sequence[Bar], colour: Mapping[str, str]) -> str:
    totals = {label: sum(bar.count for bar in bars if bar.label == label) for label in colour}
    entries = "".join(
        f'<li><svg class=key viewBox="0 0 10 10" aria-hidden="true"><rect width="10" height="10" rx="2" '
        f'fill="{colour[label]}"/></svg>{escape(label)} <b>{total:,}</b></li>'
        for label, total in totals.items()
        if total
    )
    return f"<ul class=legend>{entries}</ul>"
