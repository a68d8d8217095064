"""Counting lines: who crossed which, when, which way; and the counts by time bin, direction and class.

A road user is where its box stands: the middle of the lower edge. It has crossed when it was surely on one side and is now
surely on the other, which is farther from the line than its own jitter: what trembles or stops on a line is counted once.
Side A of a line is to the left when looking from its first point to its second, B to the right: crossings are A->B or B->A.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.cctv.frames import Frames
from tilery.workloads.cctv.labels import LABELS
from tilery.workloads.cctv.looks import seen
from tilery.workloads.cctv.options import Line
from tilery.workloads.cctv.tracks import Tracks

Span = tuple[int, int]
"""From, to (exclusive), in microseconds of the timeline."""
WAYS = ("A->B", "B->A")


@dataclass(frozen=True, slots=True)
class Crossing:
    """A road user crossed a line."""

    time_us: int
    id: int
    label: str
    line: str
    way: str
    """`A->B` or `B->A`."""
    x: float
    """Where, in pixels of the reference frame."""
    y: float
    counted: bool
    """False where the same road user had crossed this line this way before: it is counted once."""


@dataclass(frozen=True, slots=True)
class Count:
    """How many crossed a line one way in a time bin."""

    line: str
    way: str
    label: str
    start_us: int
    stop_us: int
    """The bin, cut to the timeline."""
    count: int | None
    """None where it cannot be known: nothing was seen in (a part of) the bin. Never a zero made of missing video."""
    missing_s: float
    """How much of the bin is missing; what is counted in such a bin is the least it can have been."""


def crossings(tracks: Tracks, lines: Mapping[str, Line]) -> list[Crossing]:
    """All crossings of all lines, by time, id and line."""
    found = [
        crossing
        for identity, rows in tracks.by_track()
        for name, line in lines.items()
        for crossing in _of_track(tracks, identity, rows, name, line)
    ]
    return sorted(found, key=lambda one: (one.time_us, one.id, one.line))


def _of_track(tracks: Tracks, identity: int, rows: NDArray[np.int64], name: str, line: Line) -> Iterable[Crossing]:
    foot, time_us = tracks.foot[rows], tracks.time_us[rows]
    distance, along = beside(foot, line)
    sure = np.flatnonzero(np.abs(distance) > max(1.0, float(tracks.jitter[rows[0]])))
    sides = distance[sure] > 0
    before: set[str] = set()
    for change in np.flatnonzero(sides[1:] != sides[:-1]):
        steps = np.arange(sure[change], sure[change + 1])
        here = int(steps[(distance[steps] > 0) != (distance[steps + 1] > 0)][-1])
        share = distance[here] / (distance[here] - distance[here + 1])
        if not 0 <= along[here] + share * (along[here + 1] - along[here]) <= 1:
            continue
        way = WAYS[0] if sides[change + 1] else WAYS[1]
        x, y = foot[here] + share * (foot[here + 1] - foot[here])
        when = time_us[here] + int(share * (time_us[here + 1] - time_us[here]))
        label = LABELS[tracks.label[rows[0]]]
        yield Crossing(int(when), identity, label, name, way, float(x), float(y), way not in before)
        before.add(way)


def beside(points: NDArray[np.float64], line: Line) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Signed distance of points from a line (positive on side B, pixels), and how far along it they are (0 to 1)."""
    (x0, y0), (x1, y1) = line
    along = np.array([x1 - x0, y1 - y0])
    length = max(float(np.hypot(*along)), 1e-9)
    off = points - np.array([x0, y0])
    return (along[0] * off[:, 1] - along[1] * off[:, 0]) / length, off @ along / length**2


def counts(
    found: Sequence[Crossing],
    lines: Iterable[str],
    labels: Iterable[str],
    bins: Sequence[Span],
    missing: Sequence[Span] = (),
) -> list[Count]:
    """Counts of each line, way and class in every bin, zeros included; classes that crossed are added to those asked for.

    missing: spans of which nothing is known (`unseen`).
    """
    starts = [start for start, _ in bins]
    tally = Counter((one.line, one.way, one.label, bisect_right(starts, one.time_us) - 1) for one in found if one.counted)
    named = sorted({*labels, *(label for _, _, label, _ in tally)}, key=LABELS.index)
    spans = merged(missing)
    gone = [sum(max(0, min(stop, end) - max(start, begin)) for begin, end in spans) * 1e-6 for start, stop in bins]
    return [
        Count(line, way, label, *bins[at], count if (count := tally[line, way, label, at]) or not gone[at] else None, gone[at])
        for line in lines
        for way in WAYS
        for label in named
        for at in range(len(bins))
    ]


def time_bins(timeline: Span, bin_us: int, phase_us: int = 0) -> list[Span]:
    """The timeline cut into bins; phase_us is the time of day of its 0, so that bins begin at full minutes of the clock."""
    first = (timeline[0] + phase_us) // bin_us * bin_us - phase_us
    starts = range(first, max(timeline[1], timeline[0] + 1), bin_us)
    return [(max(start, timeline[0]), min(start + bin_us, timeline[1])) for start in starts]


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same time in spans that neither overlap nor touch, in order."""
    result: list[Span] = []
    for start, stop in sorted(span for span in spans if span[1] > span[0]):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(result[-1][1], stop))
        else:
            result.append((start, stop))
    return result


def timeline(frames: Frames) -> Span:
    """From the first frame to one usual interval after the last."""
    if not len(frames):
        return (0, 0)
    interval = int(np.median(np.diff(frames.time_us))) if len(frames) > 1 else 1
    return int(frames.time_us[0]), int(frames.time_us[-1]) + interval


def unseen(frames: Frames, gap_us: int, missing: Sequence[Span] = ()) -> list[Span]:
    """Spans of which nothing is known: those given, gaps between clips, and stretches that could not be decoded or registered.

    A gap is more than `gap_us` from one look to the next, and more than three usual intervals.
    """
    if not len(frames):
        return merged(missing)
    looks = frames.time_us[seen(frames)]
    first, stop = timeline(frames)
    if not len(looks):
        return merged([*missing, (first, stop)])
    interval = int(np.median(np.diff(looks))) if len(looks) > 1 else 0
    known = np.concatenate([[first - interval], looks, [stop]])
    wide = np.flatnonzero(np.diff(known) > max(gap_us, 3 * interval))
    return merged([*missing, *((int(known[at]) + interval, int(known[at + 1])) for at in wide)])
