"""Ground points by a simple morphological filter that does not know about tiles.

After Pingel, Clarke and McBride, "An improved simple morphological filter for the terrain classification of airborne LIDAR
data", ISPRS Journal 77 (2013): a minimum surface, openings by growing disks, everything that an opening lowers by more than a
slope allows is an object, and points near the surface of what remains are ground. Different here: every opening starts from
the same surface (so the reach is twice the largest disk, not the sum of all), the tolerance grows with the slope of the
terrain and the distance between points, ground that the openings took is won back, more of it in the open than among trees and
houses (regrowth.py), voids are filled from a bounded neighbourhood, and every sum that a label depends on is of integers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from tilery.workloads.pointcloud import compiled, fill, morphology, regrowth, squares
from tilery.workloads.pointcloud.array_module import module_of
from tilery.workloads.pointcloud.compiled import kernels_for
from tilery.workloads.pointcloud.grid import MM_PER_M, VOID, Window, bounds, cell_millimetres, lowest
from tilery.workloads.pointcloud.options import GroundOptions

HALO_ONLY = 0
UNCLASSIFIED = 1
GROUND = 2
LOW_NOISE = 7
BATCH_POINTS = 1 << 18
"""Points that are labelled at once: what they need then stays in the processor's cache."""
STEEPEST = 100_000
"""Slope (mm per m) beyond which the tolerance grows no further, so that it stays an int32."""
STEEPEST_RISE = 20_000_000
"""Rise (mm) over two cells beyond which slopes grow no further, so that their squares fit."""
STICKING_RADIUS = 6
"""Radius (cells) of the opening that shows low objects."""
SPACING_RADIUS = 7
"""Cells around a cell in which those known are counted: enough for some where there is one point on 10 m2."""
EDGE_CELLS = 3
"""Cells kept around the outermost points. Beyond, all is void, and no step looks further past the last point than this:
the last fill may know a cell there, and slopes and the bilinear surface look at the next one."""


@dataclass(frozen=True, slots=True)
class Cells:
    """The options in whole cells and millimetres: what the filter computes with."""

    cell_mm: int
    window: int
    crowd_window: int
    slope_radius: int
    fill: int
    slope_mm: int
    crowd_slope_mm: int
    low_mm: int
    threshold_mm: int

    @classmethod
    def of(cls, options: GroundOptions) -> Cells:
        cell_mm = cell_millimetres(options.cell_m)

        def cells(metres: float) -> int:
            return max(1, math.ceil(metres * MM_PER_M / cell_mm))

        return cls(
            cell_mm=cell_mm,
            window=cells(options.max_window_m),
            crowd_window=cells(options.crowd_window_m),
            slope_radius=cells(options.slope_radius_m),
            fill=cells(options.fill_m),
            slope_mm=round(options.slope * MM_PER_M),
            crowd_slope_mm=round(options.crowd_slope * MM_PER_M),
            low_mm=round(options.low_m * MM_PER_M),
            threshold_mm=round(options.threshold_m * MM_PER_M),
        )

    @property
    def pair_radii(self) -> range:
        """Radii (pairs of cells) of the disks larger than the largest of single cells; none, or at least two."""
        first, last = self.window // 2, -(-self.crowd_window // 2)
        return range(first, last + 1) if 0 < first < last else range(0)


@dataclass(frozen=True, slots=True)
class Halo:
    """How many cells around a tile its labels depend on, by what is known of them: each step is made only so far out as the
    next ones look."""

    points: int
    """Points: the sum of the steps' reaches along the longest chain."""
    surface: int
    """The filled surface."""
    objects: int
    """Cells taken or doubted."""
    ground: int
    """Ground cells."""

    @classmethod
    def of(cls, options: GroundOptions) -> Halo:
        cells = Cells.of(options)
        low_outliers, smoothed_slope = 2, 2
        filled = cells.fill + low_outliers + cells.fill
        taken = 2 * cells.window + cells.slope_radius + 1
        doubted = max(taken, 2 * (2 * max(cells.pair_radii)) + 1 if cells.pair_radii else 0)
        ground = cells.fill + smoothed_slope
        reach = regrowth.Halo.of(options)
        surface = ground + max(reach.ground + taken, reach.doubted + doubted if reach.doubted else 0)
        known = ground + max(reach.ground + SPACING_RADIUS, reach.heights)
        return cls(
            points=max(surface + filled, known + cells.fill + low_outliers),
            surface=surface,
            objects=ground + max(reach.ground, reach.heights),
            ground=ground,
        )


def halo_cells(options: GroundOptions) -> int:
    """How many cells around a tile its labels depend on."""
    return Halo.of(options).points


def halo_m(options: GroundOptions) -> float:
    """The same in metres."""
    return halo_cells(options) * Cells.of(options).cell_mm / MM_PER_M


@dataclass(frozen=True, slots=True)
class GroundResult:
    """What the ground filter knows about the points it was given."""

    labels: Any
    """ASPRS class per point (uint8: 1, 2 or 7) in the core; 0 for all others."""
    terrain: Any
    """Height of the ground (int32 mm, `VOID` where unknown), rows x columns of `window`."""
    window: Window
    """The cells of `terrain`, `low` and `slope`: the core and two cells around, as far as there are points; what is further
    out than one cell may depend on points that were not given."""
    low: Any
    """Cells (bool) whose lowest point is low noise."""
    height: Any
    """Of the labelled points above the terrain (int32 mm), `VOID` where that is unknown."""
    slope: Any
    """Of the terrain (int32 mm per m), smoothed."""


def classify_ground(x: Any, y: Any, z: Any, core: Window, options: GroundOptions) -> Any:
    """The labels alone of `ground_of`."""
    return ground_of(x, y, z, core, options).labels


@dataclass(frozen=True, slots=True)
class Lowest:
    """The lowest points of cells."""

    heights: Any
    """Int32 mm, `VOID` where no point is, rows x columns of `window`."""
    window: Window


def ground_of(x: Any, y: Any, z: Any, core: Window, options: GroundOptions, terrain: Terrain | None = None) -> GroundResult:
    """The ground among the points in `core`, and the terrain below them.

    x, y (int64 mm), z (int32 mm) hold every point of `core.grow(halo_cells(options))`; more do no harm, and order does not
    matter. Where the `terrain` is known already (`terrain_below`), those of the core are enough. Arrays of CuPy are worked on
    where they are.
    """
    xp = module_of(z)
    cells = Cells.of(options)
    window = core.grow(halo_cells(options))
    labels, height = xp.full(z.shape, HALO_ONLY, dtype=xp.uint8), xp.full(z.shape, VOID, dtype=xp.int32)
    if terrain is not None:
        terrain = terrain.part(core.grow(2))
        label_core(x, y, z, core, terrain, options, labels, height)
        return GroundResult(labels, terrain.height, terrain.window, terrain.low, height, terrain.slope)
    here = survey(x, y, window, cells.cell_mm)
    if not here.inside:
        nowhere = Window(core.x0, core.y0, 0, 0)
        none = xp.zeros((0, 0), dtype=xp.int32)
        return GroundResult(labels, none, nowhere, none.astype(bool), height, none)
    if here.inside < len(z):
        near = window.contains(x, y, cells.cell_mm)
        found = ground_of(x[near], y[near], z[near], core, options)
        labels[near], height[near] = found.labels, found.height
        return replace(found, labels=labels, height=height)
    window = window.overlap(here.bounds.grow(EDGE_CELLS))
    lowest_points = Lowest(minimum_surface(x, y, z, window, cells.cell_mm), window)
    return ground_of(x, y, z, core, options, _terrain(lowest_points, core, options))


def with_points(lowest_points: Lowest) -> Window:
    """The smallest window that holds all cells with points, of which there are some."""
    xp, there = module_of(lowest_points.heights), lowest_points.heights != VOID
    rows, columns = (xp.flatnonzero(there.any(axis=axis)) for axis in (1, 0))
    (y0, y1), (x0, x1) = ((int(ends[0]), int(ends[-1])) for ends in (rows, columns))
    return Window(lowest_points.window.x0 + x0, lowest_points.window.y0 + y0, x1 - x0 + 1, y1 - y0 + 1)


def terrain_below(lowest_points: Lowest, core: Window, options: GroundOptions) -> Terrain:
    """The terrain of `core` and two cells around, as far as there are points; told by the lowest points (one at least) of
    `core.grow(halo_cells(options))`."""
    (heights,), window = cut((lowest_points.heights,), lowest_points.window, with_points(lowest_points).grow(EDGE_CELLS))
    return _terrain(Lowest(heights, window), core, options)


def _terrain(lowest_points: Lowest, core: Window, options: GroundOptions) -> Terrain:
    heights, window = lowest_points.heights, lowest_points.window
    if isinstance(heights, np.ndarray):
        compiled.prepare(compiled.CELL_POINTS * heights.size)
    (height, low), window = cut(ground_surface(heights, window, core, options), window, core.grow(2))
    return Terrain(height, squares.mean(slope_mm(height, Cells.of(options).cell_mm), 1), low, window)


def cut(rasters: Sequence[Any], window: Window, wanted: Window) -> tuple[list[Any], Window]:
    """What rasters of a window hold of another one, and that part."""
    part = window.overlap(wanted)
    rows, columns = part.inside(window)
    return [module_of(raster).ascontiguousarray(raster[rows, columns]) for raster in rasters], part


@dataclass(frozen=True, slots=True)
class Survey:
    """Where points lie."""

    inside: int
    """How many lie in the window that was asked about."""
    bounds: Window
    """The smallest window that holds all points, if there are any."""


def survey(x: Any, y: Any, window: Window, cell_mm: int) -> Survey:
    """Where points (int64 mm) lie."""
    if not len(x):
        return Survey(0, Window(window.x0, window.y0, 0, 0))
    kernels = kernels_for(x, y)
    if kernels is None:
        return Survey(int(window.contains(x, y, cell_mm).sum()), bounds(x, y, cell_mm))
    found = np.empty(5, np.int64)
    kernels.survey(x, y, *window.edges(cell_mm), found)
    inside, *ends = found.tolist()
    x0, x1, y0, y1 = (end // cell_mm for end in ends)
    return Survey(inside, Window(x0, y0, x1 - x0 + 1, y1 - y0 + 1))


def minimum_surface(x: Any, y: Any, z: Any, window: Window, cell_mm: int) -> Any:
    """Lowest height (int32 mm) of the points (mm) in each cell of the window that holds them all, `VOID` where none is."""
    kernels = kernels_for(x, y, z)
    if kernels is None:
        return lowest(window.cell_of(x, y, cell_mm), z, window.width * window.height).reshape(window.shape)
    grid = np.full(window.shape, VOID, dtype=np.int32)
    west, south, _, _ = window.edges(cell_mm)
    kernels.lower(x, y, z, west, south, cell_mm, grid)
    return grid


@dataclass(frozen=True, slots=True)
class Terrain:
    """Rasters of a window: height (int32 mm, `VOID` where unknown), slope (int32 mm per m), cells of low noise (bool)."""

    height: Any
    slope: Any
    low: Any
    window: Window

    def part(self, window: Window) -> Terrain:
        """What of it lies in a window."""
        (height, slope, low), there = cut((self.height, self.slope, self.low), self.window, window)
        return Terrain(height, slope, low, there)


def label_core(
    x: Any, y: Any, z: Any, core: Window, terrain: Terrain, options: GroundOptions, labels: Any, height: Any
) -> None:
    """Write the classes and heights (as `label_points`) of the points in `core` into `labels` and `height`."""
    xp, cells = module_of(z), Cells.of(options)
    rasters = terrain.height, terrain.slope, terrain.low
    kernels = kernels_for(x, y, z, *rasters)
    if kernels is not None:
        edges, corner = (np.array(window.edges(cells.cell_mm), np.int64) for window in (core, terrain.window))
        limits = np.array([cells.cell_mm, cells.threshold_mm, round(options.threshold_slope * 1000), cells.low_mm], np.int64)
        kernels.label(x, y, z, edges, corner, *rasters, limits, labels, height)
        return
    mine = xp.flatnonzero(core.contains(x, y, cells.cell_mm))
    for start in range(0, len(mine), BATCH_POINTS):
        part = mine[start : start + BATCH_POINTS]
        wide = z[part].astype(xp.int64)
        labels[part], height[part] = label_points(x[part], y[part], wide, *rasters, terrain.window, options)


def label_points(
    x: Any, y: Any, z: Any, terrain: Any, slope: Any, low: Any, window: Window, options: GroundOptions
) -> tuple[Any, Any]:
    """Classes (uint8) of points (int64 mm) by their height above the terrain, its slope, and whether their cell is low; and
    that height (int32 mm, `VOID` where unknown)."""
    xp, cells = module_of(z), Cells.of(options)
    cell = window.cell_of(x, y, cells.cell_mm)
    height = z - bilinear(terrain, x, y, window, cells.cell_mm)
    steepness = slope.ravel()[cell].astype(xp.int64)
    allowed = cells.threshold_mm + round(options.threshold_slope * 1000) * steepness // 1000
    known = terrain.ravel()[cell] != VOID
    ground = known & (height <= allowed)
    noise = low.ravel()[cell] & known & (height < -cells.low_mm * (MM_PER_M + steepness) // MM_PER_M)
    labels = xp.where(noise, LOW_NOISE, xp.where(ground, GROUND, UNCLASSIFIED)).astype(xp.uint8)
    return labels, xp.where(known, xp.clip(height, -VOID, VOID - 1), VOID).astype(xp.int32)


def ground_surface(minimum: Any, window: Window, core: Window, options: GroundOptions) -> tuple[Any, Any]:
    """The terrain (int32 mm, `VOID` where unknown) and the cells with low noise (bool), of the minimum surface (int32 mm) of a
    window; right in the core and one cell around."""
    cells, halo = Cells.of(options), Halo.of(options)
    low = low_cells(fill.fill(minimum, cells.fill, one_sided=False), cells.low_mm)
    xp = module_of(minimum)
    lowest_points = xp.where(low, VOID, minimum)
    surface = fill.fill(lowest_points, cells.fill, one_sided=False)
    apart = spacing(lowest_points != VOID, cells.cell_mm)
    (surface, apart), there = cut((surface, apart), window, core.grow(halo.surface))
    found, there = cut(object_cells(surface, apart, there, options), there, core.grow(halo.objects))
    (heights,), _ = cut((lowest_points,), window, there)
    objects, doubted, sticking = found
    ground = regrowth.regrown(heights, (heights != VOID) & ~objects, doubted, sticking, options)
    heights[~ground] = VOID
    (heights,), near = cut((heights,), there, core.grow(halo.ground))
    terrain = xp.full(window.shape, VOID, dtype=xp.int32)
    terrain[near.inside(window)] = fill.fill(heights, cells.fill, one_sided=True)
    return terrain, low


def low_cells(surface: Any, low_mm: int) -> Any:
    """Cells (bool) more than `low_mm` below what a small disk touching from below reaches: isolated low points."""
    xp = module_of(surface)
    upside_down = xp.where(surface == VOID, VOID, -surface)
    (opened,) = morphology.openings(upside_down, range(1, 2))
    return (surface != VOID) & (upside_down.astype(xp.int64) - opened > low_mm)


def object_cells(surface: Any, apart: Any, window: Window, options: GroundOptions) -> tuple[Any, Any, Any]:
    """Cells (bool) that the opening by some disk lowers, from the next smaller one, by more than terrain may; those that would
    be such in a crowd; and those that a small opening lowers by so much that they may be low objects.

    `surface` (int32 mm) of the window is filled between the cells that are known, which are so far `apart` (int32 mm): over
    that distance, and not less, terrain may rise.
    """
    xp, cells = module_of(surface), Cells.of(options)
    (widest,) = morphology.openings(surface, range(cells.window, cells.window + 1))
    own = squares.mean(slope_mm(widest, cells.cell_mm), cells.slope_radius)
    own = (own.astype(xp.int64) * round(options.slope_share * 1000)) // 1000
    slope, crowd_slope = (
        xp.minimum(xp.maximum(least, own), STEEPEST).astype(xp.int32) for least in (cells.slope_mm, cells.crowd_slope_mm)
    )
    radii, most = [radius * cells.cell_mm for radius in range(1, cells.window + 1)], round(options.most_m * MM_PER_M)
    objects = _Lowered.none(slope, apart, [allowed_length(radius, options) for radius in radii])
    doubted = _Lowered.none(crowd_slope, apart, [min(radius, most) for radius in radii])
    before, sticks = surface, surface
    for number, after in enumerate(chain(morphology.openings(surface, range(1, cells.window)), [widest])):
        drop = before - after
        objects.add(number, drop)
        doubted.add(number, drop)
        before, sticks = after, after if number < STICKING_RADIUS else sticks
    if cells.pair_radii:
        mark_exceeding(doubted.found, widest_drop(surface, window, cells), crowd_slope, most, apart)
    return objects.all(), doubted.all(), surface - sticks > round(options.grow_height_m * MM_PER_M)


@dataclass(frozen=True, slots=True)
class _Lowered:
    """Cells that are lowered from one surface to the next by more than terrain may be."""

    found: Any
    """Cells (bool) that were, by steps shorter than the longest."""
    most: Any
    """The most (int32 mm) that the longest steps lowered each."""
    slope: Any
    """Int32 mm per m."""
    apart: Any
    """Int32 mm."""
    lengths: list[int]
    """Of each step (mm), the last of them the longest."""

    @classmethod
    def none(cls, slope: Any, apart: Any, lengths: list[int]) -> _Lowered:
        xp = module_of(slope)
        return cls(xp.zeros(slope.shape, dtype=bool), xp.zeros(slope.shape, dtype=xp.int32), slope, apart, lengths)

    def add(self, step: int, drop: Any) -> None:
        """What one of the steps lowered cells by (int32 mm)."""
        if self.lengths[step] == self.lengths[-1]:
            module_of(drop).maximum(self.most, drop, out=self.most)
        else:
            mark_exceeding(self.found, drop, self.slope, self.lengths[step], self.apart)

    def all(self) -> Any:
        """All such cells (bool)."""
        mark_exceeding(self.found, self.most, self.slope, self.lengths[-1], self.apart)
        return self.found


def mark_exceeding(found: Any, drop: Any, slope: Any, length: int, apart: Any) -> None:
    """Add to the cells (bool) `found` those whose height is lowered (int32 mm) by more than a slope (int32, mm per m) does over
    this length or the distance between points (int32 mm), whichever is more."""
    xp, kernels = module_of(drop), kernels_for(drop, slope, apart, found)
    if kernels is not None:
        kernels.exceeds(drop, slope, length, apart, found)
    else:
        found |= drop > slope.astype(xp.int64) * xp.maximum(apart, xp.int32(length)) // MM_PER_M


def widest_drop(surface: Any, window: Window, cells: Cells) -> Any:
    """The most (int32 mm) that one of the disks larger than the largest of single cells lowers the surface by from the next
    smaller one. These are openings of pairs of cells: what is so wide does not need finer ones."""
    xp = module_of(surface)
    pairs = morphology.in_pairs(surface, window.x0, window.y0)
    steps = morphology.openings(pairs, cells.pair_radii)
    before, widest = next(steps), xp.zeros_like(pairs)
    for after in steps:
        xp.maximum(widest, before - after, out=widest)
        before = after
    return xp.ascontiguousarray(morphology.from_pairs(widest, window.x0, window.y0, surface.shape))


def allowed_length(radius_mm: int, options: GroundOptions) -> int:
    """The length (mm) over which terrain may rise at its slope when a disk grows to this radius.

    >>> [allowed_length(radius, GroundOptions()) for radius in (1000, 2000, 3000, 20000)]
    [1000, 2000, 4000, 13000]
    """
    wide = round(options.wide_m * MM_PER_M)
    return min(radius_mm + max(0, radius_mm - wide), round(options.most_m * MM_PER_M))


def spacing(known: Any, cell_mm: int) -> Any:
    """Mean distance (int32 mm) between the cells that are known (bool), around each."""
    xp = module_of(known)
    area = (MM_PER_M * (2 * SPACING_RADIUS + 1)) ** 2
    cells = xp.floor(xp.sqrt((area // xp.maximum(squares.total(known, SPACING_RADIUS), 1)).astype(xp.float64)))
    return (cells.astype(xp.int64) * cell_mm // MM_PER_M).astype(xp.int32)


def slope_mm(surface: Any, cell_mm: int) -> Any:
    """Slope (int32, mm per m) by central differences; 0 next to void."""
    xp, kernels = module_of(surface), kernels_for(surface)
    if kernels is not None:
        slope = np.zeros(surface.shape, dtype=np.int32)
        kernels.slope(surface, cell_mm, STEEPEST_RISE, slope)
        return slope
    rise_x, rise_y = (xp.zeros(surface.shape, dtype=xp.int64) for _ in range(2))
    wide = surface.astype(xp.int64)
    known = surface != VOID
    rise_x[:, 1:-1] = xp.where(known[:, 2:] & known[:, :-2], wide[:, 2:] - wide[:, :-2], 0)
    rise_y[1:-1] = xp.where(known[2:] & known[:-2], wide[2:] - wide[:-2], 0)
    # The square root of an integer below 2^53 is correctly rounded on every device.
    rise_x, rise_y = (xp.clip(rise, -STEEPEST_RISE, STEEPEST_RISE) for rise in (rise_x, rise_y))
    rise = xp.sqrt((rise_x**2 + rise_y**2).astype(xp.float64))
    return (xp.floor(rise).astype(xp.int64) * MM_PER_M // (2 * cell_mm)).astype(xp.int32)


def bilinear(surface: Any, x: Any, y: Any, window: Window, cell_mm: int) -> Any:
    """Height (int64 mm, rounded down) of the surface through the cell centres at points (int64 mm) of the window but for its
    outermost cells.

    A void corner counts as the height of the point's own cell.
    """
    xp = module_of(surface)
    half = cell_mm // 2
    east, north = x - half - window.x0 * cell_mm, y - half - window.y0 * cell_mm
    column, row = east // cell_mm, north // cell_mm
    part_x, part_y = east - column * cell_mm, north - row * cell_mm
    own = surface.ravel()[window.cell_of(x, y, cell_mm)].astype(xp.int64)
    flat = surface.ravel()
    corner_below = row * window.width + column
    total = xp.zeros(x.shape, dtype=xp.int64)
    for dy, weight_y in ((0, cell_mm - part_y), (1, part_y)):
        for dx, weight_x in ((0, cell_mm - part_x), (1, part_x)):
            corner = flat[corner_below + (dy * window.width + dx)]
            total += xp.where(corner == VOID, own, corner) * (weight_x * weight_y)
    return total // (cell_mm * cell_mm)
