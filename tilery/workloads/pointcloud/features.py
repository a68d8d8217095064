"""What a cell of the grid knows of the points in it: the smoothest plane through its surface, and how light passes it.

All of it follows from integer sums over cells (moments), so it does not depend on the order of the points, on tiles or on the
device. A plane is fitted to each square of two by two cells; a cell takes the best of the four squares that it lies in, so
that beside a ridge or an edge the plane of its own side counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tilery.workloads.pointcloud import plane_kernels
from tilery.workloads.pointcloud.array_module import module_of
from tilery.workloads.pointcloud.compiled import kernels_for
from tilery.workloads.pointcloud.grid import Window

NO_PLANE = 1 << 62
"""The variance where no plane could be fitted."""
SCALE = 1024
"""Slopes are whole numbers of this part of 1 mm a mm."""
DEEPEST = 65_000
"""Heights are counted down from the top of the cell, and no further (mm): what is squared stays small."""
_LOWEST = -(1 << 31)


@dataclass(frozen=True, slots=True)
class Planes:
    """Rasters (int64, the window's shape) of the points given to `planes`."""

    count: Any
    """Points in the cell."""
    top: Any
    """The highest of them (mm), far below all where there is none."""
    variance: Any
    """Mean square distance in z (mm2) of the points near the top to the best plane, `NO_PLANE` where there is none."""
    slope_x: Any
    """Rise of that plane, in 1 / `SCALE`."""
    slope_y: Any
    height: Any
    """Its height (mm) at the centre of the cell."""


@dataclass(frozen=True, slots=True)
class _Moments:
    """Sums over points (one a cell, flat): of 1, x, y, z and their products, about a centre and a height of each cell's own."""

    n: Any
    x: Any
    y: Any
    z: Any
    xx: Any
    xy: Any
    yy: Any
    xz: Any
    yz: Any
    zz: Any

    def moved(self, x: int, y: int, z: Any) -> _Moments:
        """The same points with x, y and z added to their coordinates."""
        n, sx, sy, sz = self.n, self.x, self.y, self.z
        return _Moments(
            n,
            sx + x * n,
            sy + y * n,
            sz + z * n,
            self.xx + 2 * x * sx + x * x * n,
            self.xy + x * sy + y * sx + x * y * n,
            self.yy + 2 * y * sy + y * y * n,
            self.xz + x * sz + z * sx + x * z * n,
            self.yz + y * sz + z * sy + y * z * n,
            self.zz + 2 * z * sz + z * z * n,
        )

    def at(self, cells: Any) -> _Moments:
        """Of some cells (flat indices) only."""
        return _Moments(*(getattr(self, name)[cells] for name in self.__dataclass_fields__))

    def plus(self, other: _Moments) -> _Moments:
        return _Moments(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def planes(x: Any, y: Any, z: Any, window: Window, cell_mm: int, least: int, depth_mm: int, chosen: Any = None) -> Planes:
    """The best plane of each cell of `window`, from points (int64 mm) that all lie in it, or those that are `chosen` (bool).

    Only points within `depth_mm` below the highest of their cell count, so that walls below an eave do not; a square needs
    `least` of them. The planes of the window's outermost cells are of no use.
    """
    xp = module_of(z)
    chosen = xp.ones(len(z), dtype=bool) if chosen is None else chosen
    if kernels_for(x, y, z, chosen, module=plane_kernels) is not None:
        return _compiled(x, y, z, chosen, window, cell_mm, least, depth_mm)
    x, y, z = x[chosen], y[chosen], z[chosen]
    cell, size = window.cell_of(x, y, cell_mm), window.width * window.height
    highest = xp.full(size, _LOWEST, dtype=xp.int32)
    xp.maximum.at(highest, cell, z.astype(xp.int32))
    count = xp.bincount(cell, minlength=size)
    depth = z.astype(xp.int64) - highest[cell]
    near = xp.flatnonzero(depth >= -depth_mm)
    moments = _moments(x[near], y[near], depth[near], cell[near], window, cell_mm)
    top = highest.astype(xp.int64)
    found = _best(moments, top, window.width, cell_mm, least)
    return Planes(*(raster.reshape(window.shape) for raster in (count, top, *found)))


def _compiled(x: Any, y: Any, z: Any, chosen: Any, window: Window, cell_mm: int, least: int, depth_mm: int) -> Planes:
    size, depths = window.width * window.height, np.array([depth_mm, DEEPEST], np.int64)
    layout = np.array([*window.edges(cell_mm)[:2], cell_mm, window.width], np.int64)
    highest, place, count = np.empty(size, np.int32), np.empty(size, np.int32), np.zeros(size, np.int64)
    cells = plane_kernels.tops(x, y, z, chosen, layout, highest, count, place)
    sums = np.empty((cells, plane_kernels.MOMENTS), np.int64)
    plane_kernels.moments(x, y, z, chosen, layout, depths, highest, place, sums)
    found = np.full(size, NO_PLANE), *(np.zeros(size, np.int64) for _ in range(3))
    plane_kernels.best(highest, place, sums, np.array([window.width, cell_mm, least, DEEPEST, NO_PLANE], np.int64), *found)
    return Planes(*(raster.reshape(window.shape) for raster in (count, highest.astype(np.int64), *found)))


def _moments(x: Any, y: Any, depth: Any, cell: Any, window: Window, cell_mm: int) -> _Moments:
    xp = module_of(depth)
    size = window.width * window.height
    east = (x % cell_mm - cell_mm // 2).astype(xp.float64)
    north = (y % cell_mm - cell_mm // 2).astype(xp.float64)
    down = xp.maximum(depth, -DEEPEST).astype(xp.float64)

    def total(weights: Any) -> Any:
        # Sums of whole numbers below 2^53 are exact in float64, in any order.
        return xp.bincount(cell, weights=weights, minlength=size).astype(xp.int64)

    return _Moments(
        xp.bincount(cell, minlength=size),
        total(east),
        total(north),
        total(down),
        total(east * east),
        total(east * north),
        total(north * north),
        total(east * down),
        total(north * down),
        total(down * down),
    )


def _best(cells: _Moments, top: Any, width: int, cell_mm: int, least: int) -> tuple[Any, Any, Any, Any]:
    """Variance, slopes and height (flat rasters) of the best plane of each cell."""
    xp = module_of(top)
    half = cell_mm // 2
    # Of each square: where its cells are from the south-western one, and their centres seen from its middle.
    corners = [(dy * width + dx, (2 * dx - 1) * half, (2 * dy - 1) * half) for dy in (0, 1) for dx in (0, 1)]
    total = xp.zeros(len(top), dtype=xp.int64)
    for step, _, _ in corners:
        total[: len(top) - step] += cells.n[step:]
    total[width - 1 :: width] = 0
    total[len(top) - width :] = 0
    square = xp.flatnonzero(total >= least)
    reference = xp.full(len(square), _LOWEST, dtype=xp.int64)
    for step, _, _ in corners:
        xp.maximum(reference, top[square + step], out=reference)
    summed = None
    for step, east, north in corners:
        part = cells.at(square + step)
        moved = part.moved(east, north, xp.where(part.n > 0, xp.maximum(top[square + step] - reference, -DEEPEST), 0))
        summed = moved if summed is None else summed.plus(moved)
    assert summed is not None
    variance, slope_x, slope_y, mean = _fit(summed, cell_mm, least)
    found = [xp.full(len(top), NO_PLANE, dtype=xp.int64), *(xp.zeros(len(top), dtype=xp.int64) for _ in range(3))]
    for step, east, north in corners:
        rise = slope_x * (east - mean[0]) + slope_y * (north - mean[1])
        better = (variance < found[0][square + step]) & (cells.n[square + step] > 0)
        values = (variance, slope_x, slope_y, reference + mean[2] + (rise >> 10))
        for best, value in zip(found, values, strict=True):
            best[square[better] + step] = value[better]
    return found[0], found[1], found[2], found[3]


def _fit(square: _Moments, cell_mm: int, least: int) -> tuple[Any, Any, Any, tuple[Any, Any, Any]]:
    """Variance about the plane of least squares, its slopes, and the mean point; in whole mm and mm2."""
    xp = module_of(square.n)
    n = xp.maximum(square.n, 1)
    x, y, z = square.x // n, square.y // n, square.z // n
    xx = (square.xx - x * (2 * square.x - x * n)) // n
    yy = (square.yy - y * (2 * square.y - y * n)) // n
    zz = (square.zz - z * (2 * square.z - z * n)) // n
    xy = (square.xy - x * square.y - y * square.x + n * x * y) // n
    xz = (square.xz - x * square.z - z * square.x + n * x * z) // n
    yz = (square.yz - y * square.z - z * square.y + n * y * z) // n
    spread = xx * yy - xy * xy
    fits = (square.n >= least) & (spread > (cell_mm * cell_mm // 50) ** 2)
    spread = xp.where(fits, spread, 1)
    slope_x = xp.where(fits, (xz * yy - yz * xy) * SCALE // spread, 0)
    slope_y = xp.where(fits, (yz * xx - xz * xy) * SCALE // spread, 0)
    left = xp.maximum(zz - ((slope_x * xz + slope_y * yz) >> 10), 0)
    return xp.where(fits, left, NO_PLANE), slope_x, slope_y, (x, y, z)


def around(values: Any, reach: int) -> Any:
    """Sum over the square of cells within `reach`; beyond the raster counts as 0. int32 if of booleans."""
    xp, kernels = module_of(values), kernels_for(values) if values.dtype in (bool, np.int64) else None
    if kernels is not None:
        cells = values.dtype == bool
        sums = np.empty(values.shape, np.int32 if cells else np.int64)
        of = kernels.total_of_cells if cells else kernels.total_of_long
        of(values, reach, np.zeros(values.shape[1], np.int64), sums)
        return sums
    total = values.astype(xp.int32 if values.dtype == bool else values.dtype)
    for axis in (0, 1):
        line = total.swapaxes(0, axis)
        wide = line.copy()
        for step in range(1, min(reach, len(line) - 1) + 1):
            wide[step:] += line[:-step]
            wide[:-step] += line[step:]
        total = wide.swapaxes(0, axis)
    return total


def between(there: Any, reach: int) -> Any:
    """Those cells (bool), and the ones that have such cells within `reach` on two opposite sides.

    Of cells with points: others may lie in a tile without any, which nobody looks at, so that what is added up over them would
    depend on the tiles. Of two points so near on both sides one is in the same tile, if that has 2 `reach` cells a side.
    """
    found = there.copy()
    for axis in (0, 1):
        line, before, after = (raster.swapaxes(0, axis) for raster in (there, there.copy(), there.copy()))
        for step in range(1, min(reach, len(line) - 1) + 1):
            before[step:] |= line[:-step]
            after[:-step] |= line[step:]
        found |= (before & after).swapaxes(0, axis)
    return found


def extreme(better: Any, values: Any, reach: int) -> Any:
    """Maximum or minimum (`better`, of two arrays) over the square of cells within `reach`."""
    kernels = kernels_for(values) if values.dtype in (np.int32, np.int64) else None
    if kernels is not None:
        best, line = np.empty_like(values), np.empty(values.shape[1], values.dtype)
        of = kernels.extreme if values.dtype == np.int32 else kernels.extreme_of_long
        of(values, reach, better is np.maximum, line, best)
        return best
    best = values
    for axis in (0, 1):
        line = best.swapaxes(0, axis)
        wide = line.copy()
        for step in range(1, min(reach, len(line) - 1) + 1):
            better(wide[step:], line[:-step], out=wide[step:])
            better(wide[:-step], line[step:], out=wide[:-step])
        best = wide.swapaxes(0, axis)
    return best
