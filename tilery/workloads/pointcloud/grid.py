"""The global integer grid: coordinates in whole millimetres, cells and tiles counted from the origin of the CRS.

Nothing here depends on a file's or a tile's bounds, so a point falls in the same cell whoever reads it. Coordinates are
converted once, exactly, in rational arithmetic from the integers of the file: `floor((X * scale + offset) * unit * 1000)`.
Rounding down keeps cells exact: as a cell is a whole number of millimetres, the floor of a floor is the floor.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from tilery.outcomes import BadInput
from tilery.workloads.pointcloud.array_module import module_of
from tilery.workloads.pointcloud.compiled import kernels_for

MM_PER_M = 1000
CACHED = 1 << 15
"""Points whose intermediate columns fit in the cache of a core."""
PIECE = 1 << 20
"""Points that are assigned to tiles at once, so that what is computed on the way stays small."""
VOID = np.int32(np.iinfo(np.int32).max)
"""A cell without a height. The largest int32, so that a minimum ignores it."""

INTERNATIONAL_FOOT = Fraction(3048, 10000)
US_SURVEY_FOOT = Fraction(1200, 3937)

Millimetres = npt.NDArray[np.int64]

_NAMED_UNITS = (Fraction(1), INTERNATIONAL_FOOT, US_SURVEY_FOOT)


def exact_unit(metres: float | Fraction) -> Fraction:
    """Metres per unit as a fraction; the feet that a CRS gives as decimals are recognised to eight digits.

    >>> exact_unit(0.304800609601219)
    Fraction(1200, 3937)
    """
    if isinstance(metres, Fraction):
        return metres
    for unit in _NAMED_UNITS:
        if math.isclose(metres, float(unit), rel_tol=1e-8):
            return unit
    return Fraction(repr(float(metres)))


def to_millimetres(stored: npt.NDArray[Any], scale: float, offset: float, unit_m: float | Fraction = 1) -> Millimetres:
    """Millimetres, rounded down, of a file's integer coordinates (int32, any shape).

    `scale` and `offset` are taken as the decimals they print as (0.01 is one hundredth), `unit_m` is metres per unit.
    The result depends on the point's own coordinate only. Exact for every scale and offset that a float64 can hold.
    """
    to = Conversion.of(scale, offset, unit_m)
    wide = stored.astype(np.int64)
    if not to.fits:
        return _by_python(wide, to.factor, to.add, to.denominator, to.whole)
    if to.denominator == 1:
        return wide * to.factor + (to.whole + to.add)
    return np.asarray((wide * to.factor + to.add) // to.denominator + to.whole, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Conversion:
    """From a file's integers to millimetres: (integer * `factor` + `add`) // `denominator` + `whole`."""

    factor: int
    add: int
    denominator: int
    whole: int

    @classmethod
    def of(cls, scale: float, offset: float, unit_m: float | Fraction) -> Conversion:
        """For what `to_millimetres` takes."""
        to_mm = exact_unit(unit_m) * MM_PER_M
        step = Fraction(repr(float(scale))) * to_mm
        start = Fraction(repr(float(offset))) * to_mm
        whole = math.floor(start)
        rest = start - whole
        denominator = math.lcm(step.denominator, rest.denominator)
        return cls(
            step.numerator * (denominator // step.denominator),
            rest.numerator * (denominator // rest.denominator),
            denominator,
            whole,
        )

    @property
    def fits(self) -> bool:
        """Whether 64 bits do for every int32."""
        if self.denominator == 1:
            return abs(self.factor) < 2**31
        return abs(self.factor) * 2**31 + self.add < 2**63 and self.denominator < 2**63


def _by_python(stored: Millimetres, factor: int, add: int, denominator: int, whole: int) -> Millimetres:
    """The same with Python's unbounded integers: slow, for scales of many digits only."""
    values = [(value * factor + add) // denominator + whole for value in stored.ravel().tolist()]
    return np.array(values, dtype=np.int64).reshape(stored.shape)


def cell_millimetres(cell_m: float) -> int:
    """Size of a cell in whole millimetres. Raises `BadInput` where it is not one."""
    size = Fraction(repr(float(cell_m))) * MM_PER_M
    if size.denominator != 1 or size <= 0:
        raise BadInput(f"a cell of {cell_m} m is not a whole number of millimetres: choose for example 0.5 or 1")
    return int(size)


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of cells of the global grid: columns `x0 .. x0 + width`, rows `y0 .. y0 + height` (y grows northwards)."""

    x0: int
    y0: int
    width: int
    height: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width

    def grow(self, cells: int) -> Window:
        """The window with `cells` more on every side (fewer, if negative)."""
        return Window(self.x0 - cells, self.y0 - cells, self.width + 2 * cells, self.height + 2 * cells)

    def overlap(self, other: Window) -> Window:
        """The cells that both windows hold; of no size where they do not meet."""
        x0, y0 = max(self.x0, other.x0), max(self.y0, other.y0)
        x1, y1 = min(self.x0 + self.width, other.x0 + other.width), min(self.y0 + self.height, other.y0 + other.height)
        return Window(x0, y0, max(0, x1 - x0), max(0, y1 - y0))

    def inside(self, outer: Window) -> tuple[slice, slice]:
        """The slices (rows, columns) that cut this window out of an array of the window `outer`. No cells lie in any window."""
        if not (self.width and self.height):
            return slice(0, 0), slice(0, 0)
        row, column = self.y0 - outer.y0, self.x0 - outer.x0
        if row < 0 or column < 0 or row + self.height > outer.height or column + self.width > outer.width:
            raise ValueError(f"{self} does not lie in {outer}")
        return slice(row, row + self.height), slice(column, column + self.width)

    def edges(self, cell_mm: int) -> tuple[int, int, int, int]:
        """West, south, east and north (mm); the last two belong to the windows beyond."""
        return (
            self.x0 * cell_mm,
            self.y0 * cell_mm,
            (self.x0 + self.width) * cell_mm,
            (self.y0 + self.height) * cell_mm,
        )

    def contains(self, x: Any, y: Any, cell_mm: int) -> Any:
        """Which points (int64 mm) lie in the window."""
        west, south, east, north = self.edges(cell_mm)
        return _in_pieces(lambda x, y: (x >= west) & (x < east) & (y >= south) & (y < north), np.bool_, x, y)

    def cell_of(self, x: Any, y: Any, cell_mm: int) -> Any:
        """Flat index in an array of this window's shape, per point (int64 mm) that lies in it."""
        return _in_pieces(lambda x, y: (y // cell_mm - self.y0) * self.width + (x // cell_mm - self.x0), np.int64, x, y)


def _in_pieces(work: Callable[[Any, Any], Any], dtype: Any, x: Any, y: Any) -> Any:
    """`work` of columns, on the CPU a piece at a time, so that what it computes on the way stays in the cache."""
    if not isinstance(x, np.ndarray) or len(x) <= CACHED:
        return work(x, y)
    out = np.empty(len(x), dtype)
    for start in range(0, len(x), CACHED):
        to = slice(start, start + CACHED)
        out[to] = work(x[to], y[to])
    return out


def bounds(x: Any, y: Any, cell_mm: int) -> Window:
    """The smallest window that holds all points (int64 mm, at least one)."""
    x0, x1 = int(x.min()) // cell_mm, int(x.max()) // cell_mm
    y0, y1 = int(y.min()) // cell_mm, int(y.max()) // cell_mm
    return Window(x0, y0, x1 - x0 + 1, y1 - y0 + 1)


def lowest(cell: Any, z: Any, size: int) -> Any:
    """Per cell the lowest z (int32 mm), `VOID` where there is no point. `cell`: index per point, below `size`."""
    xp = module_of(z)
    grid = xp.full(size, VOID, dtype=xp.int32)
    xp.minimum.at(grid, cell, z)
    return grid


TileIndex = tuple[int, int]
_TILE_ID = re.compile(r"x(-?\d+)_y(-?\d+)")


def tile_id(tile: TileIndex) -> str:
    return f"x{tile[0]}_y{tile[1]}"


def tile_from_id(text: str) -> TileIndex:
    match = _TILE_ID.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a tile id")
    return int(match[1]), int(match[2])


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Square tiles of `side` cells of `cell_mm`; tile (0, 0) starts at the origin of the CRS (moved by `origin` cells)."""

    cell_mm: int
    side: int
    origin: tuple[int, int] = (0, 0)

    @classmethod
    def of_area(cls, area_km2: float, cell_m: float = 1.0, block: int = 16) -> TileGrid:
        """Tiles of about this area, their side a multiple of `block` cells.

        >>> TileGrid.of_area(0.5)
        TileGrid(cell_mm=1000, side=704, origin=(0, 0))
        """
        cell_mm = cell_millimetres(cell_m)
        blocks = max(1, round(math.sqrt(area_km2) * 1_000_000 / cell_mm / block))
        return cls(cell_mm, blocks * block)

    def window(self, tile: TileIndex) -> Window:
        """The core of a tile."""
        return Window(self.origin[0] + tile[0] * self.side, self.origin[1] + tile[1] * self.side, self.side, self.side)

    def tile_of(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Column and row of the tile that owns each point (int64 mm)."""
        size = self.side * self.cell_mm
        return (x - self.origin[0] * self.cell_mm) // size, (y - self.origin[1] * self.cell_mm) // size

    def members(self, x: npt.NDArray[Any], y: npt.NDArray[Any], halo: int) -> Iterator[tuple[TileIndex, npt.NDArray[np.int64]]]:
        """Every tile that needs some of these points (mm), in its core or within `halo` cells of it, and which (ascending).

        Core and halo are told apart by `window(tile).contains`.
        """
        reach = -(-halo // self.side)
        wanted: dict[TileIndex, list[npt.NDArray[Any]]] = {}
        for (column, row), index in self.owned(x, y):
            own_x, own_y = x[index], y[index]
            for dy in range(-reach, reach + 1):
                for dx in range(-reach, reach + 1):
                    tile = (column + dx, row + dy)
                    if dx == 0 and dy == 0:
                        wanted.setdefault(tile, []).append(index)
                        continue
                    near = index[self.window(tile).grow(halo).contains(own_x, own_y, self.cell_mm)]
                    if len(near):
                        wanted.setdefault(tile, []).append(near)
        for tile in sorted(wanted):
            yield tile, np.sort(np.concatenate(wanted.pop(tile)), kind="stable").astype(np.int64)  # a merge of runs

    def owned(self, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> Iterator[tuple[TileIndex, npt.NDArray[Any]]]:
        """Every tile that has some of these points (mm) in its core, and which (ascending)."""
        if not len(x):
            return
        (west, east), (south, north) = ((int(edge.min()), int(edge.max())) for edge in (x, y))
        (column0, row0), (column1, row1) = self.tile_of(west, south), self.tile_of(east, north)
        columns = column1 - column0 + 1
        tiles = columns * (row1 - row0 + 1)
        few = tiles <= 2**16 and len(x) < 2**31
        kernels = kernels_for(x, y) if few and x.dtype == y.dtype == np.int32 else None
        if kernels is not None:
            yield from self._dealt(kernels, x, y, (column0, row0), columns, tiles)
            return
        key = np.empty(len(x), np.uint8 if tiles <= 2**8 else np.uint16 if tiles <= 2**16 else np.int64)
        for start in range(0, len(x), PIECE):
            column, row = self.tile_of(x[start : start + PIECE], y[start : start + PIECE])
            key[start : start + PIECE] = (row - row0) * columns + (column - column0)
        order = np.argsort(key, kind="stable")
        if len(order) < 2**31:
            order = order.astype(np.int32)  # held for all tiles at once
        key = key[order]
        starts = np.append(0, np.flatnonzero(key[1:] != key[:-1]) + 1)
        for start, index in zip(starts, np.split(order, starts[1:]), strict=True):
            row_of, column_of = divmod(int(key[start]), columns)
            yield (column_of + column0, row_of + row0), index

    def _dealt(
        self, kernels: Any, x: npt.NDArray[Any], y: npt.NDArray[Any], first: TileIndex, columns: int, tiles: int
    ) -> Iterator[tuple[TileIndex, npt.NDArray[Any]]]:
        """The same by the compiled kernel, in `tiles` tiles from the `first` on, `columns` in a row."""
        size = self.side * self.cell_mm
        west, south = (start * self.cell_mm + number * size for start, number in zip(self.origin, first, strict=True))
        order, ends = np.empty(len(x), np.int32), np.empty(tiles, np.int64)
        kernels.deal(x, y, np.array([west, south, size, columns], np.int64), np.empty(len(x), np.uint16), ends, order)
        for number, index in enumerate(np.split(order, ends[:-1])):
            if len(index):
                row, column = divmod(number, columns)
                yield (column + first[0], row + first[1]), index
