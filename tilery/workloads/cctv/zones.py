"""Zones: where each road user came from and where it went, and the origin-destination matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.cctv.labels import LABELS
from tilery.workloads.cctv.options import Polygon
from tilery.workloads.cctv.tracks import Tracks

OUTSIDE = ""
"""The name of no zone."""
STAY_US = 300_000
"""Whoever is in a zone for less time only touches it."""


@dataclass(frozen=True, slots=True)
class Trip:
    """A road user that was in a zone."""

    id: int
    label: str
    origin: str
    """The first zone, or `OUTSIDE`."""
    destination: str
    """The last zone, or `OUTSIDE`."""
    start_us: int
    """When it entered its first zone."""
    stop_us: int
    """When it was last in a zone."""


def trips(tracks: Tracks, zones: Mapping[str, Polygon]) -> list[Trip]:
    """From the first zone each road user's foot was in to the last. Of overlapping zones the one named first holds.

    Who was in one zone only, once, came from outside if first seen outside, and went outside if last seen there;
    both (it passed through) counts as from the zone to itself.
    """
    found = []
    for identity, rows in tracks.by_track():
        inside = np.full(len(rows), -1)
        for number, polygon in reversed(list(enumerate(zones.values()))):
            inside[within(tracks.foot[rows], polygon)] = number
        visits = _visits(inside, tracks.time_us[rows])
        if visits:
            label = LABELS[tracks.label[rows[0]]]
            origin, destination = _ends(visits, inside, list(zones))
            found.append(Trip(identity, label, origin, destination, visits[0][1], visits[-1][2]))
    return found


def _visits(inside: NDArray[np.int64], time_us: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Stays in zones: (zone, from, to); short ones left out, two of one zone in a row made one."""
    edges = np.flatnonzero(np.diff(inside)) + 1
    result: list[tuple[int, int, int]] = []
    for run in np.split(np.arange(len(inside)), edges):
        zone, start, stop = int(inside[run[0]]), int(time_us[run[0]]), int(time_us[run[-1]])
        if zone < 0 or stop - start < STAY_US:
            continue
        if result and result[-1][0] == zone:
            result[-1] = (zone, result[-1][1], stop)
        else:
            result.append((zone, start, stop))
    return result


def _ends(visits: Sequence[tuple[int, int, int]], inside: NDArray[np.int64], names: Sequence[str]) -> tuple[str, str]:
    first, last = visits[0][0], visits[-1][0]
    if len(visits) > 1 or (inside[0] < 0) == (inside[-1] < 0):
        return names[first], names[last]
    return (OUTSIDE, names[last]) if inside[0] < 0 else (names[first], OUTSIDE)


def matrix(found: Sequence[Trip]) -> list[tuple[str, str, str, int]]:
    """(origin, destination, label, count) for all that occur, in the order of names."""
    keys = [(one.origin, one.destination, one.label) for one in found]
    return [(*key, keys.count(key)) for key in sorted(set(keys))]


def within(points: NDArray[np.float64], polygon: Polygon) -> NDArray[np.bool_]:
    """Which points (n, 2) lie in a polygon: a ray to the right crosses its edges an odd number of times."""
    result = np.zeros(len(points), bool)
    x, y = points[:, 0], points[:, 1]
    for (x0, y0), (x1, y1) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if y0 != y1:
            crosses = (y0 > y) != (y1 > y)
            result ^= crosses & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    return result
