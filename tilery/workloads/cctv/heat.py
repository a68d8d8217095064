"""Where road users are, how many pass and how fast: grids over the picture, and their hot spots."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tilery.workloads.cctv.kalman import Array
from tilery.workloads.cctv.speeds import Speeds
from tilery.workloads.cctv.tracks import Tracks

CELLS = 96
"""Cells along the longer side of the picture."""
LONGEST_STEP = 1_500_000
"""A row stands for the time to the next one of its track, at most so long (microseconds)."""
RADIUS = CELLS // 24
"""Of a spot's neighbourhood, in cells."""
SURE = 2.58
"""|z| above which a spot is hot or cold: 99 % of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Heat:
    """Grids (rows, columns) over the reference frame; row 0 is its upper edge."""

    cell_px: float
    """Side of a cell."""
    occupancy: NDArray[np.float32]
    """Seconds that road users stood or went in the cell, added up."""
    flow: NDArray[np.int32]
    """How many different road users came through, as wide as their boxes are."""
    speed: NDArray[np.float32]
    """Mean of their speeds there, weighted by time; NaN where nobody was."""
    unit: str
    """Of the speed."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A place where significantly more, or fewer, pass than elsewhere along the ways."""

    kind: str
    """`high` or `low`."""
    x: float
    """Centre of the cell in pixels of the reference frame."""
    y: float
    z: float
    """Getis and Ord's Gi*: standard deviations of the sum around the place."""
    flow: int
    occupancy_s: float


def heat(tracks: Tracks, speeds: Speeds, frame_size: tuple[int, int]) -> Heat:
    """The grids of all tracks; frame_size is width, height of the reference frame. What is outside of it is left out."""
    cell = max(frame_size) / CELLS
    columns, rows = (int(np.ceil(side / cell)) for side in frame_size)
    occupancy, moved = np.zeros(rows * columns), np.zeros(rows * columns)
    timed = np.zeros(rows * columns)
    flow = np.zeros(rows * columns, np.int32)
    for _, chosen in tracks.by_track():
        foot, step_s = tracks.foot[chosen], _steps(tracks.time_us[chosen])
        place, inside = _cells(foot, cell, rows, columns)
        value = speeds.value[chosen].astype(np.float64)
        good = inside & np.isfinite(value) & ~speeds.impossible[chosen]
        np.add.at(occupancy, place[inside], step_s[inside])
        np.add.at(moved, place[good], (value * step_s)[good])
        np.add.at(timed, place[good], step_s[good])
        wide = float(np.median(tracks.box[chosen, 2] - tracks.box[chosen, 0]))
        way, through = _cells(_swept(_filled(foot, cell / 2), wide, cell), cell, rows, columns)
        flow[np.unique(way[through])] += 1
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = moved / timed
    shape = (rows, columns)
    seconds = occupancy.reshape(shape).astype(np.float32)
    return Heat(cell, seconds, flow.reshape(shape), mean.reshape(shape).astype(np.float32), speeds.unit)


def _steps(time_us: NDArray[np.int64]) -> Array:
    """(n,) s: half the time from the row before to the row after."""
    between = np.minimum(np.diff(time_us), LONGEST_STEP) * 1e-6
    return np.asarray((np.concatenate([[0.0], between]) + np.concatenate([between, [0.0]])) / 2, np.float64)


def _cells(points: Array, cell: float, rows: int, columns: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    at = np.floor(points / cell)
    inside = (at >= 0).all(1) & (at[:, 0] < columns) & (at[:, 1] < rows)
    at = np.where(inside[:, None], at, 0).astype(np.int64)
    return at[:, 1] * columns + at[:, 0], inside


def _filled(foot: Array, step: float) -> Array:
    """The way with points at most a step apart, so that a fast one leaves no cell out."""
    if len(foot) < 2:
        return foot
    pieces = np.maximum(np.ceil(np.hypot(*np.diff(foot, axis=0).T) / step).astype(int), 1)
    left = np.repeat(np.arange(len(pieces)), pieces)
    share = (np.arange(len(left)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) / pieces[left]
    return np.concatenate([foot[left] + share[:, None] * (foot[left + 1] - foot[left]), foot[-1:]])


def _swept(way: Array, wide: float, cell: float) -> Array:
    """The way of a bar that lies across the picture with its middle on the foot."""
    aside = np.linspace(-0.5, 0.5, 2 * int(wide / 2 / cell) + 1) * wide * (wide > 2 * cell)
    return (way[:, None] + np.stack([aside, 0 * aside], axis=1)[None]).reshape(-1, 2)


def spots(found: Heat, most: int = 5) -> list[Spot]:
    """Places of high and of low flow, the strongest first, at most so many of each, none within another's neighbourhood.

    A high spot has more than elsewhere in the picture, a low one less than elsewhere on the ways: no empty sky.
    """
    used = found.flow > 0
    high = np.where(used, _hotness(found.flow, np.ones_like(used)), 0)
    low = np.where(used, _hotness(found.flow, used), 0)
    return [*_peaks(found, high, "high", most), *_peaks(found, -low, "low", most)]


def _hotness(flow: NDArray[np.int32], among: NDArray[np.bool_]) -> Array:
    """Getis and Ord's Gi* (Geographical Analysis 24, 1992) over discs, among some of the cells; 0 where few are near."""
    y, x = np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]
    disc = (x**2 + y**2 <= RADIUS**2).astype(np.float64)
    n, value = int(among.sum()), flow.astype(np.float64)
    if n < 2 * disc.sum() or not (deviation := float(value[among].std())):
        return np.zeros(flow.shape)
    around = cv2.filter2D(value, -1, disc, borderType=cv2.BORDER_CONSTANT)
    count = cv2.filter2D(among.astype(np.float64), -1, disc, borderType=cv2.BORDER_CONSTANT)
    spread = deviation * np.sqrt(np.maximum(n * count - count**2, 1e-9) / (n - 1))
    return np.where(count >= disc.sum() / 2, (around - value[among].mean() * count) / spread, 0.0)


def _peaks(found: Heat, z: Array, kind: str, most: int) -> list[Spot]:
    result: list[Spot] = []
    left = z.copy()
    rows, columns = np.mgrid[: z.shape[0], : z.shape[1]]
    while len(result) < most:
        row, column = divmod(int(left.argmax()), z.shape[1])
        if left[row, column] < SURE:
            break
        x, y = (column + 0.5) * found.cell_px, (row + 0.5) * found.cell_px
        signed = float(z[row, column]) * (1 if kind == "high" else -1)
        result.append(Spot(kind, x, y, signed, int(found.flow[row, column]), float(found.occupancy[row, column])))
        left[(rows - row) ** 2 + (columns - column) ** 2 <= (2 * RADIUS) ** 2] = 0
    return result
