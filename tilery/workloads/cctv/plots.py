"""Counts over time as a picture (SVG, a string). What was not seen is hatched: a missing minute is no minute without traffic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import count

COLOURS = ("#3a6ea5", "#d98e04", "#2a9d8f", "#b5533c", "#7a5195", "#5f7d3a", "#c2185b", "#6c757d", "#00838f", "#8d6e63")
WIDTH, HALF = 1000, 110
"""Of the plot: forward is counted upwards, backward downwards, each with this much room."""
LEFT, BELOW = 46, 34
MOST_BARS = 180
STEPS_S = (10, 30, 60, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400, 604800)
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
    """A line's crossings of one class in one direction in one time bin."""

    start_s: float
    label: str
    forward: bool
    count: int


def colours(labels: Sequence[str]) -> dict[str, str]:
    """A colour for each class, the same whichever of its plots it is in."""
    return {label: COLOURS[at % len(COLOURS)] for at, label in enumerate(labels)}


def counts(
    bars: Sequence[Bar],
    duration_s: float,
    bin_s: float,
    missing: Sequence[tuple[float, float]],
    colour: Mapping[str, str],
    names: tuple[str, str] = ("forward", "backward"),
) -> str:
    """Stacked bars by time bin. `missing` are spans (s) that nothing is known of; bins are joined where there are many."""
    joined = next(step for step in count(1) if duration_s / (bin_s * step) <= MOST_BARS) * bin_s
    stacks: dict[tuple[int, bool], dict[str, int]] = {}
    for bar in bars:
        stack = stacks.setdefault((int(bar.start_s // joined), bar.forward), {})
        stack[bar.label] = stack.get(bar.label, 0) + bar.count
    most = max([sum(stack.values()) for stack in stacks.values()], default=0) or 1
    room = WIDTH - LEFT

    def x(second: float) -> float:
        return LEFT + room * min(second / duration_s, 1.0) if duration_s > 0 else LEFT

    drawn = []
    for (number, forward), stack in sorted(stacks.items()):
        left, right = x(number * joined), x((number + 1) * joined)
        level = 0.0
        for label in (label for label in colour if stack.get(label)):
            high = (HALF - 16) * stack[label] / most
            top = HALF - level - high if forward else HALF + level
            way = names[0] if forward else names[1]
            said = f"{clock(number * joined)}: {stack[label]} {label}, {way}"
            drawn.append(
                f'<rect x="{left + 0.4:.2f}" y="{top:.2f}" width="{max(right - left - 0.8, 0.6):.2f}" height="{high:.2f}" '
                f'fill="{colour[label]}"><title>{escape(said)}</title></rect>'
            )
            level += high
    holes = "".join(
        f'<rect class="gone" data-missing="{start:g}-{stop:g}" x="{x(start):.2f}" y="0" width="{max(x(stop) - x(start), 1):.2f}" '
        f'height="{2 * HALF}"><title>{escape(f"missing: {clock(start)} to {clock(stop)}")}</title></rect>'
        + (f'<text class="said" x="{x(start) + 4:.2f}" y="12">missing</text>' if x(stop) - x(start) > 46 else "")
        for start, stop in missing
    )
    legend = "".join(
        f'<li><svg class=key viewBox="0 0 10 10" aria-hidden="true"><rect width="10" height="10" rx="2" fill="{colour[label]}"/>'
        f"</svg>{escape(label)} <b>{sum(bar.count for bar in bars if bar.label == label):,}</b></li>"
        for label in colour
        if any(bar.label == label for bar in bars)
    )
    total = sum(bar.count for bar in bars)
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {2 * HALF + BELOW}" role="img" '
        f'aria-label="{total:,} crossings over time, {escape(names[0])} above and {escape(names[1])} below the axis">{HATCH}'
        f'<text x="0" y="12">{escape(names[0])}</text><text x="0" y="{2 * HALF - 2}">{escape(names[1])}</text>'
        f'<text x="{LEFT - 6}" y="26" text-anchor="end">{most:,}</text>'
        f'<line class="grid" x1="{LEFT}" y1="16" x2="{WIDTH}" y2="16"/>'
        f"{_ticks(duration_s, x)}{''.join(drawn)}{holes}"
        f'<line class="axis" x1="{LEFT}" y1="{HALF}" x2="{WIDTH}" y2="{HALF}"/></svg>'
        f"<ul class=legend>{legend}</ul>"
    )


def clock(second: float) -> str:
    """A moment of the timeline, hours:minutes:seconds.

    >>> clock(3723.4), clock(61)
    ('1:02:03', '1:01')
    """
    whole = int(second)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def _ticks(duration_s: float, x: object) -> str:
    assert callable(x)
    step = next((step for step in STEPS_S if duration_s / step <= 10), STEPS_S[-1])
    return "".join(
        f'<line class="grid" x1="{x(at):.2f}" y1="0" x2="{x(at):.2f}" y2="{2 * HALF}"/>'
        f'<text x="{x(at):.2f}" y="{2 * HALF + 18}" text-anchor="middle">{clock(at)}</text>'
        for at in (number * step for number in range(1, int(duration_s // step) + 1))
    )
