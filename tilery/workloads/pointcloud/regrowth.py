"""Ground that the openings took for objects is won back: where planes through the ground around it say that it is ground.

On banks, terraces and cliffs an opening cuts edges off, the more the sparser the points are. Seen from a cell there, the
ground around it scatters much about a plane; seen from a low bush on an even slope, little. So a cell comes back if it rises
above the plane, fitted to the ground cells around it without itself, by no more than a few times that scatter. It may rise
further the more of what lies around it is at its own height: edges and mounds are part of something, trees are not. Rounds
repeat this, as what came back is ground for others. How far cells look depends on how many lowest points there are near by.

Then the surroundings count, by the share of objects in a square of some size. In the open, a bump is a bank or a rock rather
than a thing put there: one more round, with more scatter allowed. In a crowd of trees or houses it is one of them: what only
passed as banks do is no ground. In the end, what came back and what sticks out of the ground otherwise is looked at once more,
more strictly: bushes on slopes go.

Sums are whole numbers. What follows from them is added, multiplied, divided and rooted in float64 by separate operations,
each correctly rounded, so the same on every device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tilery.workloads.pointcloud import morphology, squares
from tilery.workloads.pointcloud.array_module import module_of
from tilery.workloads.pointcloud.compiled import kernels_for
from tilery.workloads.pointcloud.grid import MM_PER_M, VOID, cell_millimetres
from tilery.workloads.pointcloud.options import GroundOptions

BATCH_CELLS = 1 << 16
"""Cells that are looked at at once: what they need then stays in the processor's cache."""
LEAST_KNOWN = 8
"""Known cells that a cell must see around itself, or it looks further."""
LEAST_GROUND = 4
"""Ground cells that a plane needs."""
STEADY = 0.5
"""Cells squared, added to the spread of the ground in x and y, so that a plane through cells in line is defined."""
LEVEL_REACH = 2
"""Heights are compared with those of cells up to so many times as far as the plane looks."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far (cells) planes look where points are dense, between and sparse, and how far heights are compared."""

    planes: tuple[int, ...]

    @classmethod
    def of(cls, options: GroundOptions) -> Reach:
        cells = max(1, math.ceil(options.grow_m * MM_PER_M / cell_millimetres(options.cell_m)))
        return cls(tuple(sorted({(cells + 1) // 4, (cells + 1) // 2, cells} - {0})))

    @property
    def rounds(self) -> int:
        """The furthest that one round looks, including the highest ground around a candidate."""
        return self.planes[-1]

    @property
    def heights(self) -> int:
        """The furthest that known cells are looked at."""
        return LEVEL_REACH * self.planes[-1]


@dataclass(frozen=True, slots=True)
class Halo:
    """How far (cells) a cell looks: the rounds, the share of objects around, the round in the open, the look back."""

    ground: int
    """For ground found before."""
    heights: int
    """For known heights."""
    doubted: int
    """For cells that are doubted."""

    @classmethod
    def of(cls, options: GroundOptions) -> Halo:
        if not options.grow_rounds:
            return cls(0, 0, 0)
        reach = Reach.of(options)
        ground = (options.grow_rounds + 2) * reach.rounds + crowd_cells(options)
        return cls(ground, ground - reach.rounds + reach.heights, reach.rounds)


def crowd_cells(options: GroundOptions) -> int:
    """Radius (cells) of the square in which objects are counted."""
    return max(1, math.ceil(options.crowd_m * MM_PER_M / cell_millimetres(options.cell_m)))


def regrown(heights: Any, ground: Any, doubted: Any, sticking: Any, options: GroundOptions) -> Any:
    """`ground` (bool) with the cells it wins back, and without those that do not belong to it after all.

    `heights` (int32 mm) are the lowest points, `VOID` where there are none; cells that are `doubted` (bool) are no ground in
    crowds; of the ground before, only cells that are `sticking` out (bool) are looked at again. All 2D.
    """
    xp, reach = module_of(heights), Reach.of(options)
    if not options.grow_rounds:
        return ground.copy()
    known = heights != VOID
    top = squares.highest(xp.where(ground, heights, xp.int32(morphology.LOWEST)), reach.rounds).astype(xp.int64)
    candidates = known & ~ground & (heights <= top + round(options.grow_lift_m * MM_PER_M))
    doubtful = list(_groups(heights, ground & sticking, known, options))
    groups = list(_groups(heights, candidates, known, options))
    ground, lenience = ground.copy(), xp.ones(heights.size)
    for number in range(options.grow_rounds + 1):
        if number == options.grow_rounds:
            objects, cells = squares.total(known & ~ground, crowd_cells(options)), squares.total(known, crowd_cells(options))
            lenience[_share_below(objects, cells, options.open_share).ravel()] = options.open_grow
        around = _padded(xp.where(ground, heights, VOID), reach.rounds)
        looks = [look(group, around, options, group.limit(options) * lenience[group.cell]) for group in groups]
        fits = [enough & within for enough, within in looks]
        won = [group.part(fit) for group, fit in zip(groups, fits, strict=True)]
        groups = [group.part(~fit) for group, fit in zip(groups, fits, strict=True)]
        doubtful += won
        for group in won:
            ground.ravel()[group.cell] = True
    ground &= ~doubted | _share_below(objects, cells, options.crowd_share)
    around = _padded(xp.where(ground, heights, VOID), reach.rounds)
    for group in doubtful:
        enough, within = look(group, around, options, options.grow_keep + options.grow_keep_level * group.level)
        ground.ravel()[group.cell] &= within | ~enough
    return ground


def _share_below(count: Any, of: Any, share: float) -> Any:
    """Where (bool) a count (int64) is less than this share, in thousandths, of another, or there is nothing to count."""
    return (count * MM_PER_M < of * round(share * MM_PER_M)) | (of == 0)


@dataclass(frozen=True, slots=True)
class _Group:
    """Candidates that look equally far."""

    cell: Any
    """Flat index (int64)."""
    height: Any
    """Millimetres (int64)."""
    radius: int
    known: Any
    """How many known cells each sees in the square around it."""
    level: Any
    """Share (float64) of the known cells around at the cell's own height."""
    dense: bool
    """Whether these look no further than where points are dense."""
    width: int
    """Columns of the raster."""

    def part(self, chosen: Any) -> _Group:
        return replace(
            self, cell=self.cell[chosen], height=self.height[chosen], known=self.known[chosen], level=self.level[chosen]
        )

    def limit(self, options: GroundOptions) -> Any:
        """How many times the scatter each may rise above the plane (float64), to be won back."""
        return (options.grow_dense if self.dense else options.grow_sparse) + options.grow_level * self.level


@dataclass(frozen=True, slots=True)
class _Padded:
    """A raster with void around it."""

    flat: Any
    width: int
    reach: int

    def place(self, cell: Any, width: int) -> Any:
        """Flat index of the cells with this flat index in the raster without padding, of `width` columns."""
        return (cell // width + self.reach) * self.width + cell % width + self.reach


def _padded(heights: Any, reach: int) -> _Padded:
    wide = module_of(heights).pad(heights, reach, constant_values=VOID)
    return _Padded(wide.ravel(), wide.shape[1], reach)


def _groups(heights: Any, candidates: Any, known: Any, options: GroundOptions) -> Iterator[_Group]:
    """The candidates in groups by how far they look, small enough for the cache."""
    xp, reach = module_of(heights), Reach.of(options)
    padded = _padded(heights, reach.heights)
    rest = xp.flatnonzero(candidates.ravel())
    for number, radius in enumerate(reach.planes):
        seen = count_around(known, radius).ravel()[rest]
        enough = seen >= LEAST_KNOWN
        if number + 1 == len(reach.planes):
            enough[:] = True
        chosen, seen_by_chosen = rest[enough], seen[enough]
        rest = rest[~enough]
        for start in range(0, len(chosen), BATCH_CELLS):
            cell = chosen[start : start + BATCH_CELLS]
            height = heights.ravel()[cell].astype(xp.int64)
            level = share_at_level(padded, cell, height, heights.shape[1], LEVEL_REACH * radius, options)
            yield _Group(
                cell,
                height,
                radius,
                seen_by_chosen[start : start + BATCH_CELLS],
                level,
                number == 0,
                heights.shape[1],
            )


def count_around(cells: Any, radius: int) -> Any:
    """How many cells (bool) hold in the square around each, without itself (int64)."""
    return squares.total(cells, radius) - cells


def share_at_level(padded: _Padded, cell: Any, height: Any, width: int, radius: int, options: GroundOptions) -> Any:
    """Share (float64) of the known cells within `radius` that are as high as the cell, nearly, the further the less nearly."""
    xp, place = module_of(height), padded.place(cell, width)
    near_mm = round(options.level_m * MM_PER_M)
    per_cell = round(options.level_slope * cell_millimetres(options.cell_m))
    aside = range(-radius, radius + 1)
    disk = [(dy, dx) for dy in aside for dx in aside if 0 < dy * dy + dx * dx <= radius * radius]
    steps = [dy * padded.width + dx for dy, dx in disk]
    tolerances = [near_mm + math.isqrt((dy * dy + dx * dx) * per_cell * per_cell) for dy, dx in disk]
    counts, kernels = xp.zeros((2, len(cell)), dtype=xp.int64), kernels_for(padded.flat, place, height)
    if kernels is not None:
        kernels.level(padded.flat, place, height, np.array(steps), np.array(tolerances), counts)
        return counts[1] / xp.maximum(counts[0], 1)
    for step, tolerance in zip(steps, tolerances, strict=True):
        other = padded.flat[place + step]
        # A void differs from every height by more than any tolerance.
        counts[0] += other != VOID
        counts[1] += xp.abs(other - height) <= tolerance
    return counts[1] / xp.maximum(counts[0], 1)


def look(group: _Group, ground: _Padded, options: GroundOptions, limit: Any) -> tuple[Any, Any]:
    """Whether there is enough ground around (bool, each cell of the group) for a plane through it, and whether the cell rises
    above that plane by `limit` times the scatter of the ground at most."""
    xp = module_of(group.cell)
    place = ground.place(group.cell, group.width)
    n, x, y, z, xx, xy, yy, xz, yz, zz = moments(group, ground, place)
    count = xp.maximum(n, 1).astype(xp.float64)
    mean_x, mean_y, mean_z = x / count, y / count, z / count
    var_x, var_y = xx / count - mean_x * mean_x + STEADY, yy / count - mean_y * mean_y + STEADY
    cov_xy, cov_xz, cov_yz = xy / count - mean_x * mean_y, xz / count - mean_x * mean_z, yz / count - mean_y * mean_z
    det = var_x * var_y - cov_xy * cov_xy
    slope_x, slope_y = (cov_xz * var_y - cov_yz * cov_xy) / det, (cov_yz * var_x - cov_xz * cov_xy) / det
    above = slope_x * mean_x + slope_y * mean_y - mean_z
    scatter = xp.sqrt(xp.maximum(zz / count - mean_z * mean_z - slope_x * cov_xz - slope_y * cov_yz, 0.0))
    allowed = limit * (options.grow_height_m * MM_PER_M + scatter)
    return (n >= LEAST_GROUND) & (n >= options.grow_share * group.known), above <= allowed


def moments(group: _Group, ground: _Padded, place: Any) -> Any:
    """Sums (ten columns of int64: n, x, y, z, xx, xy, yy, xz, yz, zz) over the ground around each cell of the group.

    The cells are at `place` in the padded raster; x and y are cells, z is mm, from the cell itself.
    """
    xp, kernels = module_of(place), kernels_for(ground.flat, place, group.height)
    if kernels is not None:
        sums = np.empty((10, len(place)), dtype=np.int64)
        kernels.moments(ground.flat, ground.width, place, group.height, group.radius, sums)
        return sums
    n, x, y, z, xx, xy, yy, xz, yz, zz = (xp.zeros(len(place), dtype=xp.int64) for _ in range(10))
    for dy in range(-group.radius, group.radius + 1):
        row_n, row_x, row_z = (xp.zeros(len(place), dtype=xp.int64) for _ in range(3))
        for dx in range(-group.radius, group.radius + 1):
            if dy == 0 and dx == 0:
                continue
            other = ground.flat[place + (dy * ground.width + dx)]
            there = other != VOID
            rise = xp.where(there, other - group.height, 0)
            row_n += there
            row_z += rise
            row_x += there * dx
            xx += there * (dx * dx)
            xz += rise * dx
            zz += rise * rise
        n += row_n
        x += row_x
        z += row_z
        y += row_n * dy
        yy += row_n * (dy * dy)
        xy += row_x * dy
        yz += row_z * dy
    return n, x, y, z, xx, xy, yy, xz, yz, zz
