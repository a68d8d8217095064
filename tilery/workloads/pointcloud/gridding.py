"""Points to layers: grids of one value a cell, to which points are added in batches that stay in the processor's cache.

Every grid is a sum of integers or a maximum, so that no order of the points changes it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.pointcloud import deciding
from tilery.workloads.pointcloud.fragments import Fragment
from tilery.workloads.pointcloud.grid import VOID, Window

GROUND, TOP, COUNT, INTENSITY = "ground", "top", "count", "intensity"
COLOUR, CLASSES, BUILDING, OPEN = "colour", "classes", "building", "open"
"""GROUND, TOP: int32 mm, `VOID` where unknown: the mean of the points of ground and water, the highest first return.
COUNT: uint32, points, and points of ground and water.
CLASSES: uint8, of the highest point (0 where there is none) class, class of the input, and class where its region is refused.
INTENSITY, COLOUR: uint16, of the highest point and one more than it is (65535 is kept at 65535), 0 where there is none.
BUILDING: uint8, 1 where at least half of the points are building.
OPEN: rows of int64 for what depends on regions that the tile could not decide (see `_undecided_rows`)."""

DECIDED = frozenset({GROUND, COUNT, CLASSES, BUILDING})
"""The layers that hang on regions."""
BATCH_POINTS = 1 << 18
BUILDING_CLASS = 6
_IS_TERRAIN = np.zeros(256, bool)
_IS_TERRAIN[[2, 9]] = True
"""Water is terrain: whether ground is water does not change the terrain's height."""
_IS_REAL = np.ones(256, bool)
_IS_REAL[[7, 18]] = False
"""Noise is nothing that is seen from above."""
_NOTHING = np.int64(np.iinfo(np.int64).min)


@dataclass(frozen=True, slots=True)
class Undecided:
    """What the class of each point of a tile is if its region is refused, and the region's number (0: the class is final)."""

    otherwise: NDArray[np.uint8]
    numbers: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some of the points: which, the cell and the label of each."""

    which: NDArray[np.int64]
    cell: NDArray[np.int64]
    label: NDArray[np.uint8]


def of_points(
    points: Fragment,
    labels: NDArray[np.uint8],
    window: Window,
    cell_mm: int,
    names: frozenset[str],
    undecided: Undecided | None = None,
) -> dict[str, NDArray[Any]]:
    """The layers of these names, (height, width) or (bands, height, width), from the points with a label; and `OPEN`.

    Labels are those with every undecided region accepted.
    """
    owned = np.flatnonzero(labels)
    batches = []
    for start in range(0, len(owned), BATCH_POINTS):
        which = owned[start : start + BATCH_POINTS]
        batches.append(_Batch(which, window.cell_of(points.x[which], points.y[which], cell_mm), labels[which]))
    size = window.width * window.height
    made: dict[str, NDArray[Any]] = {}
    counts = _counts(points, batches, size, names)
    if GROUND in names:
        made[GROUND] = counts.means()
    if COUNT in names:
        made[COUNT] = np.stack([counts.points, counts.ground]).astype(np.uint32)
    if BUILDING in names:
        made[BUILDING] = mostly(counts.roof, counts.points).astype(np.uint8)
    top = np.zeros(0, np.int64)
    if names & {TOP, INTENSITY, COLOUR, CLASSES}:
        top, has_first = _top(points, batches, size, counts.points)
        made |= {name: layer for name, layer in _seen(top, points.intensity is not None).items() if name in names}
        if COLOUR in names and points.rgb is not None:
            made[COLOUR] = _colour(points, points.rgb, batches, top, has_first)
    rows = None
    if undecided is not None and names & DECIDED and undecided.numbers.any():
        rows = _undecided_rows(points, batches, undecided, counts, top, made.get(CLASSES))
    layers = {name: layer.reshape(*layer.shape[:-1], *window.shape) for name, layer in made.items()}
    return layers if rows is None else layers | {OPEN: rows}


@dataclass(frozen=True, slots=True)
class _Counts:
    """Per cell (int64): points, ground points, their heights added up (mm), building points."""

    points: NDArray[np.int64]
    ground: NDArray[np.int64]
    height: NDArray[np.int64]
    roof: NDArray[np.int64]

    def means(self) -> NDArray[np.int32]:
        """The mean height of ground (int32 mm, rounded), `VOID` where there is none."""
        mean = (2 * self.height + self.ground) // np.maximum(2 * self.ground, 1)
        return np.where(self.ground > 0, mean, VOID).astype(np.int32)


def _counts(points: Fragment, batches: list[_Batch], size: int, names: frozenset[str]) -> _Counts:
    counts = _Counts(*(np.zeros(size, np.int64) for _ in range(4)))
    for batch in batches:
        np.add.at(counts.points, batch.cell, 1)
        if names & {GROUND, COUNT}:
            ground = np.flatnonzero(_IS_TERRAIN[batch.label])
            np.add.at(counts.ground, batch.cell[ground], 1)
            np.add.at(counts.height, batch.cell[ground], points.z[batch.which[ground]].astype(np.int64))
        if BUILDING in names:
            np.add.at(counts.roof, batch.cell[batch.label == BUILDING_CLASS], 1)
    return counts


def _top(
    points: Fragment, batches: list[_Batch], size: int, count: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The highest point of each cell, and which cells have a first return: of those, or where a cell has none, of all.

    A point is one number: height, intensity, class, input's class. So the highest of equal heights is the same in any order.
    """
    top = np.full(size, _NOTHING)
    for batch in batches:
        _raise(top, points, batch, _is_first(points, batch))
    has_first = top != _NOTHING
    if (count[~has_first] > 0).any():
        for batch in batches:
            _raise(top, points, batch, ~has_first[batch.cell])
    return top, has_first


def _is_first(points: Fragment, batch: _Batch) -> NDArray[np.bool_]:
    first: NDArray[np.bool_] = (points.returns[batch.which] & np.uint8(15)) <= 1
    return first


def _raise(top: NDArray[np.int64], points: Fragment, batch: _Batch, chosen: NDArray[np.bool_]) -> None:
    """Raise the top of cells to the chosen points, as far as they are no noise."""
    place = np.flatnonzero(chosen & _IS_REAL[batch.label])
    which = batch.which[place]
    key = (points.z[which].astype(np.int64) << 32) | (batch.label[place].astype(np.int64) << 8) | points.source[which]
    if points.intensity is not None:
        key |= points.intensity[which].astype(np.int64) << 16
    np.maximum.at(top, batch.cell[place], key)


def _seen(top: NDArray[np.int64], has_intensity: bool) -> dict[str, NDArray[Any]]:
    """The layers that tell the highest points apart."""
    there = top != _NOTHING
    label = (top >> 8) & 255
    found: dict[str, NDArray[Any]] = {
        TOP: np.where(there, top >> 32, VOID).astype(np.int32),
        CLASSES: np.where(there, [label, top & 255, label], 0).astype(np.uint8),
    }
    if has_intensity:
        found[INTENSITY] = np.where(there, _one_more((top >> 16) & 0xFFFF), 0).astype(np.uint16)
    return found


def _colour(
    points: Fragment, rgb: NDArray[np.uint16], batches: list[_Batch], top: NDArray[np.int64], has_first: NDArray[np.bool_]
) -> NDArray[np.uint16]:
    """The colour of the highest points; of several at one height the largest."""
    best, height = np.zeros(len(top), np.int64), top >> 32
    for batch in batches:
        at_top = (points.z[batch.which] == height[batch.cell]) & _IS_REAL[batch.label]
        place = np.flatnonzero(at_top & (_is_first(points, batch) | ~has_first[batch.cell]))
        bands = np.take(rgb, batch.which[place], axis=0).astype(np.int64)
        np.maximum.at(best, batch.cell[place], (bands[:, 0] << 32) | (bands[:, 1] << 16) | bands[:, 2])
    split = np.stack([best >> 32, (best >> 16) & 0xFFFF, best & 0xFFFF])
    return np.where(top != _NOTHING, _one_more(split), 0).astype(np.uint16)


def _one_more(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.minimum(values, 65534) + 1


def mostly(part: NDArray[Any], all_: NDArray[Any]) -> NDArray[np.bool_]:
    """Where at least half of all are of the part, which is not nothing."""
    most: NDArray[np.bool_] = (part > 0) & (2 * part >= all_)
    return most


def _undecided_rows(
    points: Fragment,
    batches: list[_Batch],
    undecided: Undecided,
    counts: _Counts,
    top: NDArray[np.int64],
    classes: NDArray[np.uint8] | None,
) -> NDArray[np.int64]:
    """A row for every region that has points in a cell: region, cell, whether the cell's highest point is of it; then, of its
    points there, and as they are labelled and as they are otherwise: how many are building, how many terrain, and the heights
    of these added up; how many they are, and their heights; and of the whole cell building points, points, terrain points and
    their heights.

    The third band of `classes` is set to what the highest point is if its region is refused.
    """
    open_ = [np.flatnonzero(undecided.numbers[batch.which]) for batch in batches]
    pairs = list(zip(batches, open_, strict=True))
    cell, label, which = (
        np.concatenate([getattr(batch, name)[place] for batch, place in pairs]) for name in ("cell", "label", "which")
    )
    number, otherwise = undecided.numbers[which].astype(np.int64), undecided.otherwise[which]
    span = int(number.max()) + 1
    found, row = np.unique(cell * span + number, return_inverse=True)
    cells, numbers = found // span, found % span
    height = points.z[which].astype(np.int64)

    def total(chosen: NDArray[np.bool_], values: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        sums = np.zeros(len(found), np.int64)
        np.add.at(sums, row[chosen], 1 if values is None else values[chosen])
        return sums

    tops = np.zeros(len(counts.points), np.int64)
    if classes is not None:
        on_top = points.z[which] == (top >> 32)[cell]
        np.maximum.at(tops, cell[on_top], number[on_top])
        classes[2, cell[on_top]] = 255
        np.minimum.at(classes[2], cell[on_top], otherwise[on_top])
    columns = [numbers, cells, tops[cells] == numbers]
    for kind in (label, otherwise):
        columns += [total(kind == BUILDING_CLASS), total(_IS_TERRAIN[kind]), total(_IS_TERRAIN[kind], height)]
    every = np.ones(len(row), bool)
    columns += [total(every), total(every, height)]
    columns += [column[cells] for column in (counts.roof, counts.points, counts.ground, counts.height)]
    return np.stack(columns, axis=1).astype(np.int64)


def decide(values: NDArray[Any], name: str, rows: NDArray[np.int64], said: Collection[int]) -> NDArray[Any]:
    """A layer (of `DECIDED`) as it is once it is known what became of regions (deciding.py); values are those where nothing is
    said of any."""
    final = values.copy()
    flat = final.reshape(*values.shape[:-2], -1)
    number, cell, top = rows[:, :3].T
    labelled, otherwise, (count, height), whole = rows[:, 3:6].T, rows[:, 6:9].T, rows[:, 9:11].T, rows[:, 11:15].T
    classes = deciding.recast(said)
    is_recast, is_refused = np.isin(number, list(classes)), np.isin(number, [one for one in said if one > 0])
    kind = np.array([classes.get(one, 0) for one in number.tolist()], np.int64)
    if name == CLASSES:
        on_top = top == 1
        changed = cell[on_top & is_refused]
        flat[0, changed] = flat[2, changed]
        flat[0, cell[on_top & is_recast]] = kind[on_top & is_recast]
        return final
    recast = np.stack([(kind == BUILDING_CLASS) * count, _IS_TERRAIN[kind] * count, _IS_TERRAIN[kind] * height])
    change = np.where(is_recast, recast, np.where(is_refused, otherwise, labelled)) - labelled
    cells, first, row = np.unique(cell, return_index=True, return_inverse=True)
    totals = whole[:, first]
    for place, values_of in zip((0, 2, 3), change, strict=True):
        np.add.at(totals[place], row, values_of)
    roof, points, ground, ground_height = totals
    if name == BUILDING:
        flat[cells] = mostly(roof, points)
    elif name == COUNT:
        flat[1, cells] = ground
    else:
        flat[cells] = _Counts(points, ground, ground_height, roof).means()
    return final
