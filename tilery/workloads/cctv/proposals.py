"""Two counting lines for who draws none: across the ways that most road users take, where they have come and have yet to go."""

from __future__ import annotations

import numpy as np

from tilery.workloads.cctv.counting import beside
from tilery.workloads.cctv.kalman import Array
from tilery.workloads.cctv.options import Line
from tilery.workloads.cctv.tracks import Tracks

NAMES = ("line 1", "line 2")
DIRECTIONS = 12
OFFSETS = 15
MARGIN = 0.06
"""Share of the picture's diagonal that a road user should be seen on either side of a line."""
POINTS = 24
"""Each way is thinned to so many points."""


def lines(tracks: Tracks, frame_size: tuple[int, int]) -> dict[str, Line]:
    """Up to two lines, each across the picture (width, height) and cut to where it is crossed; none without tracks.

    Of straight lines in `DIRECTIONS` directions, the first is the one that most road users cross with room on both sides,
    squarely rather than aslant; the second the best for those whom the first misses, else the next best elsewhere.
    """
    ways = _ways(tracks)
    if not len(ways):
        return {}
    drawn = _candidates(frame_size)
    diagonal = float(np.hypot(*frame_size))
    value = np.array([_crossed(ways, line, MARGIN * diagonal) for line in drawn])
    first = int(value.sum(1).argmax())
    if not value[first].any():
        return {}
    rest = value * (1 - 0.75 * value[first])
    rest[[_near(drawn[first], line, diagonal) for line in drawn]] = 0
    second = int(rest.sum(1).argmax())
    chosen = [first] + ([second] if rest[second].any() else [])
    return {name: _cut(ways, drawn[one], frame_size) for name, one in zip(NAMES, chosen, strict=False)}


def _ways(tracks: Tracks) -> Array:
    """(tracks, POINTS, 2): the feet of each track, at even steps of its rows."""
    found = [tracks.foot[rows[np.linspace(0, len(rows) - 1, POINTS).astype(int)]] for _, rows in tracks.by_track()]
    return np.array(found).reshape(-1, POINTS, 2)


def _candidates(frame_size: tuple[int, int]) -> list[Line]:
    """Straight lines from edge to edge of the picture. They point right, or straight down."""
    width, height = frame_size
    middle = np.array([width / 2, height / 2])
    result = []
    for turn in range(DIRECTIONS):
        angle = np.pi * turn / DIRECTIONS - np.pi / 2 + np.pi / DIRECTIONS
        along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        reach = (abs(across[0]) * width + abs(across[1]) * height) / 2
        for offset in np.linspace(-0.8, 0.8, OFFSETS) * reach:
            through = middle + offset * across
            with np.errstate(divide="ignore"):
                ends = np.sort([(np.array([0, 0]) - through) / along, (np.array([width, height]) - through) / along], axis=0)
            start, stop = ends[0].max(), ends[1].min()
            if stop > start:
                a, b = through + start * along, through + stop * along
                result.append(((float(a[0]), float(a[1])), (float(b[0]), float(b[1]))))
    return result


def _crossed(ways: Array, line: Line, margin: float) -> Array:
    """(tracks,) 0 to 1: how well each is counted: 0 if not, more the squarer the way crosses the line, full with room."""
    distance = beside(ways.reshape(-1, 2), line)[0].reshape(ways.shape[:2])
    start, end = ways[:, 0], ways[:, -1]
    room = np.minimum(np.abs(distance[:, 0]), np.abs(distance[:, -1]))
    straight = np.abs(distance[:, -1] - distance[:, 0]) / np.maximum(np.hypot(*(end - start).T), 1e-9)
    return np.where(distance[:, 0] * distance[:, -1] < 0, np.minimum(room / margin, 1) * straight**2, 0.0)


def _near(a: Line, b: Line, diagonal: float) -> bool:
    """Whether two lines are too much alike to be of use together."""
    points = np.array(b)
    return bool((np.abs(beside(np.concatenate([points, points.mean(0)[None]]), a)[0]) < 0.15 * diagonal).all())


def _cut(ways: Array, line: Line, frame_size: tuple[int, int]) -> Line:
    """The stretch of a line that ways cross, with a tenth of the picture's diagonal to spare at either end; whole pixels."""
    distance, along = (part.reshape(ways.shape[:2]) for part in beside(ways.reshape(-1, 2), line))
    here = distance[:, 1:] * distance[:, :-1] < 0
    share = (distance[:, :-1] / np.where(here, distance[:, :-1] - distance[:, 1:], 1.0))[here]
    at = along[:, :-1][here] + share * (along[:, 1:] - along[:, :-1])[here]
    a, b = np.array(line)
    spare = 0.1 * np.hypot(*frame_size) / max(float(np.hypot(*(b - a))), 1e-9)
    low, high = max(0.0, float(at.min()) - spare), min(1.0, float(at.max()) + spare)
    p, q = np.round(a + low * (b - a)), np.round(a + high * (b - a))
    return (float(p[0]), float(p[1])), (float(q[0]), float(q[1]))
