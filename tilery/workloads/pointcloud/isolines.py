"""Lines of equal value through a grid, made block by block and joined where blocks meet.

Marching squares between the centres of cells: Lorensen and Cline, Computer Graphics 21 (1987), in two dimensions, with the mean
of the corners deciding saddles. A vertex is known by the edge of the grid that it lies on, so that pieces are joined exactly.
Lines have the higher side on their left: a closed line runs counter-clockwise around a summit, clockwise around a hollow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""Vertices, shape (n, 2): column and row of the grid, in cells, (0, 0) at the centre of its first cell."""

SOUTH, EAST, NORTH, WEST = range(4)
_SW, _SE, _NE, _NW = 1, 2, 4, 8


def _table() -> NDArray[np.int8]:
    """For each set of corners that are above (and 16 more where the centre is above, for saddles): two segments (from, to)."""
    ways = {
        _SW: [(SOUTH, WEST)],
        _SE: [(EAST, SOUTH)],
        _NE: [(NORTH, EAST)],
        _NW: [(WEST, NORTH)],
        _SW | _SE: [(EAST, WEST)],
        _SE | _NE: [(NORTH, SOUTH)],
        _NE | _NW: [(WEST, EAST)],
        _NW | _SW: [(SOUTH, NORTH)],
        15 - _SW: [(WEST, SOUTH)],
        15 - _SE: [(SOUTH, EAST)],
        15 - _NE: [(EAST, NORTH)],
        15 - _NW: [(NORTH, WEST)],
    }
    table = np.full((32, 2, 2), -1, np.int8)
    for code, segments in ways.items():
        table[code, : len(segments)] = table[code + 16, : len(segments)] = segments
    table[_SW | _NE] = [(SOUTH, WEST), (NORTH, EAST)]
    table[_SE | _NW] = [(EAST, SOUTH), (WEST, NORTH)]
    table[16 + (_SW | _NE)] = [(SOUTH, EAST), (NORTH, WEST)]
    table[16 + (_SE | _NW)] = [(WEST, SOUTH), (EAST, NORTH)]
    return table


_SEGMENTS = _table()


@dataclass(frozen=True, slots=True)
class Line:
    """A line of one level: `level` counts intervals from 0."""

    level: int
    points: Points
    closed: bool


@dataclass(frozen=True, slots=True)
class _Piece:
    """Part of a line: the keys of its first and last vertex."""

    level: int
    first: int
    last: int
    points: Points


@dataclass
class Weaver:
    """Joins the lines of blocks. Blocks are added row by row from the first; `finished` gives what no later row can extend."""

    columns: int
    """Cells in a row of the whole grid."""
    interval: float
    _open: dict[tuple[int, int], _Piece] = field(default_factory=dict)
    """Pieces by level and first vertex."""
    _ends: dict[tuple[int, int], _Piece] = field(default_factory=dict)
    """The same by level and last vertex."""
    _done: list[Line] = field(default_factory=list)

    def add(self, values: NDArray[Any], column: int, row: int) -> None:
        """Add a block: values (NaN is void) of cells from this column and row. Blocks share their outermost cells."""
        for piece in pieces(values.astype(np.float64), column, row, self.columns, self.interval):
            self._join(piece)

    def finished(self, below_row: int | None = None) -> Iterator[Line]:
        """Lines that no block above this row of cells can extend; all that are left if there is no such block."""
        yield from self._done
        self._done.clear()
        final = [piece for piece in self._open.values() if below_row is None or not self._reaches(piece, below_row)]
        for piece in final:
            del self._open[piece.level, piece.first], self._ends[piece.level, piece.last]
            yield Line(piece.level, without_repeats(piece.points), closed=False)

    def _reaches(self, piece: _Piece, row: int) -> bool:
        return any(key // 2 // self.columns == row and key % 2 == 0 for key in (piece.first, piece.last))

    def _join(self, piece: _Piece) -> None:
        if piece.first == piece.last:
            self._done.append(Line(piece.level, _from_lowest(piece.points), closed=True))
            return
        before = self._ends.pop((piece.level, piece.first), None)
        if before is not None:
            del self._open[before.level, before.first]
            joined = np.concatenate([before.points, piece.points[1:]])
            self._join(_Piece(piece.level, before.first, piece.last, joined))
            return
        after = self._open.pop((piece.level, piece.last), None)
        if after is not None:
            del self._ends[after.level, after.last]
            joined = np.concatenate([piece.points, after.points[1:]])
            self._join(_Piece(piece.level, piece.first, after.last, joined))
            return
        self._open[piece.level, piece.first] = self._ends[piece.level, piece.last] = piece


def _from_lowest(ring: Points) -> Points:
    """A closed line that starts at its southernmost, westernmost vertex, wherever it was begun."""
    around = without_repeats(ring)[:-1]
    low = around[around[:, 1] == around[:, 1].min()] if len(around) else ring[:1]
    lowest = np.array([low[:, 0].min(), low[0, 1]])
    starts = np.flatnonzero((around == lowest).all(axis=1)).tolist() if len(around) else []
    turns = [np.roll(around, -start, axis=0) for start in starts] or [ring[:1]]
    # A line may touch itself there: then the way it goes on decides.
    turned = min(turns, key=lambda points: points.tobytes())
    return np.concatenate([turned, turned[:1]])


def without_repeats(points: Points) -> Points:
    """A line without vertices that repeat the one before, as where its height is that of a cell."""
    kept = np.ones(len(points), bool)
    kept[1:] = (points[1:] != points[:-1]).any(axis=1)
    return points[kept]


def pieces(values: Points, column: int, row: int, columns: int, interval: float) -> Iterator[_Piece]:
    """The lines of one block, each as long as the block lets it be. `columns`: cells in a row of the whole grid."""
    start, end, level, at = segments(values, column, row, columns, interval)
    if not len(start):
        return
    for order in chains(level, start, end):
        first = order[0]
        path = np.concatenate([at[order, 0], at[order[-1:], 1]])
        yield _Piece(int(level[first]), int(start[first]), int(end[order[-1]]), path)


def segments(
    values: Points, column: int, row: int, columns: int, interval: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The segments of all levels in a block: keys of their first and last vertices, level, and places (n, 2 ends, 2)."""
    known = np.isfinite(values)
    step = np.floor(np.where(known, values, 0.0) / interval).astype(np.int64)
    corners = [step[:-1, :-1], step[:-1, 1:], step[1:, 1:], step[1:, :-1]]
    low, high = np.minimum.reduce(corners), np.maximum.reduce(corners)
    whole = known[:-1, :-1] & known[:-1, 1:] & known[1:, 1:] & known[1:, :-1]
    levels = np.where(whole, high - low, 0).ravel()
    square = np.repeat(np.flatnonzero(levels), levels[levels > 0])
    if not len(square):
        empty = np.zeros(0, np.int64)
        return empty, empty, empty, np.zeros((0, 2, 2))
    first = np.cumsum(levels[levels > 0]) - levels[levels > 0]
    level = low.ravel()[square] + 1 + np.arange(len(square)) - np.repeat(first, levels[levels > 0])
    code = np.zeros(len(square), np.int64)
    for bit, corner in zip((_SW, _SE, _NE, _NW), corners, strict=True):
        code += bit * (corner.ravel()[square] >= level)
    r, c = np.divmod(square, values.shape[1] - 1)
    mean = (values[r, c] + values[r, c + 1] + values[r + 1, c + 1] + values[r + 1, c]) / 4
    code += 16 * (mean >= level * interval)
    ways = _SEGMENTS[code]
    place, way = np.nonzero(ways[:, :, 0] >= 0)
    r, c, level = r[place], c[place], level[place]
    keys, points = [], []
    for end in (0, 1):
        side = ways[place, way, end]
        key, point = _vertex(values, r, c, side, level * interval, column, row, columns)
        keys.append(key)
        points.append(point)
    return keys[0], keys[1], level, np.stack(points, axis=1)


def _vertex(
    values: Points, r: Any, c: Any, side: Any, height: Any, column: int, row: int, columns: int
) -> tuple[NDArray[np.int64], Points]:
    """Key and place of the vertex at this height on a side of a square. An edge starts at its western or southern cell."""
    upright = (side == WEST) | (side == EAST)
    r0, c0 = r + (side == NORTH), c + (side == EAST)
    a, b = values[r0, c0], values[r0 + upright, c0 + ~upright]
    share = (height - a) / (b - a)
    x, y = (column + c0) + np.where(upright, 0.0, share), (row + r0) + np.where(upright, share, 0.0)
    key = 2 * ((row + r0).astype(np.int64) * columns + (column + c0)) + upright
    return key, np.stack([x, y], axis=1)


def chains(level: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]) -> Iterator[list[int]]:
    """Segments put in line: numbers of the segments of each line."""
    order = np.lexsort((start, level))
    span = int(max(start.max(), end.max())) + 1
    low = int(level.min())
    sought, given = (level - low) * span + end, ((level - low) * span + start)[order]
    found = np.minimum(np.searchsorted(given, sought), len(given) - 1)
    after = np.where(given[found] == sought, order[found], -1)
    has_before = np.zeros(len(start), bool)
    has_before[after[after >= 0]] = True
    following, seen = after.tolist(), bytearray(len(start))
    heads = [*np.flatnonzero(~has_before).tolist(), *order.tolist()]
    for head in heads:
        if seen[head]:
            continue
        line, now = [], head
        while now >= 0 and not seen[now]:
            seen[now] = 1
            line.append(now)
            now = following[now]
        yield line


def blocks(rows: int, columns: int, side: int) -> Iterator[tuple[int, int, int, int]]:
    """First row, first column, rows and columns of the blocks of a grid, row by row; neighbours share their outermost cells."""
    for row in range(0, max(1, rows - 1), side):
        for column in range(0, max(1, columns - 1), side):
            yield row, column, min(side + 1, rows - row), min(side + 1, columns - column)
