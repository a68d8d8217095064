"""Classes above ground: buildings, vegetation by height, and what is neither.

A roof is smooth and returns light once; leaves are rough and return it several times. So cells of smooth high surface are the
seeds of buildings; they grow over cells that carry the same surface on, over small things on roofs, and take walls below.
Whether a connected region of such cells is large enough to be a building may need tiles far away: a point there gets both
answers, and `regions` decides. Everything else looks `REACH` cells at most, in whole numbers only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tilery.workloads.pointcloud import point_kernels
from tilery.workloads.pointcloud.array_module import module_of
from tilery.workloads.pointcloud.bridges import REACH as BRIDGE_REACH
from tilery.workloads.pointcloud.bridges import with_landings
from tilery.workloads.pointcloud.candidates import CLASS, HOUSE, WATER, Candidates
from tilery.workloads.pointcloud.compiled import kernels_for
from tilery.workloads.pointcloud.features import NO_PLANE, Planes, around, extreme, planes
from tilery.workloads.pointcloud.grid import MM_PER_M, VOID, Window
from tilery.workloads.pointcloud.ground import GROUND, HALO_ONLY, LOW_NOISE, UNCLASSIFIED, GroundResult
from tilery.workloads.pointcloud.learned import (
    AT_ONCE,
    CLASSES,
    FAR_MM,
    LIFTED_MM,
    VOTE,
    Described,
    Footing,
    Forest,
    dense_cells,
    voted,
)
from tilery.workloads.pointcloud.lines import wire_cells
from tilery.workloads.pointcloud.options import ObjectOptions
from tilery.workloads.pointcloud.water import NEAR_MM, water_cells
from tilery.workloads.pointcloud.water import REACH as WATER_REACH
from tilery.workloads.pointcloud.wide_roofs import BESIDE, Shares, Some, level_cells, wide_roofs
from tilery.workloads.pointcloud.wide_roofs import REACH as WIDE_REACH

LOW_VEGETATION, MEDIUM_VEGETATION, HIGH_VEGETATION, BUILDING, WIRE, HIGH_NOISE = 3, 4, 5, 6, 14, 18

FIT, CLEAN, LOOSE, ROUND, FILL, POINTS, APART = 1, 1, 1, 1, 2, 2, 3
ROUNDS = 2
ROOFS = FIT + CLEAN + LOOSE + ROUNDS * ROUND + FILL
RING = BESIDE
"""Cells around the core for which regions are told: a point takes part in a region so many cells away."""
REACH = max(ROOFS + POINTS + VOTE + APART, ROOFS + RING + 1, BRIDGE_REACH, WATER_REACH + RING, WIDE_REACH + RING)
"""Cells that an object looks around itself, step by step: the squares of the planes, the cleaning of seeds, the loose cells
beside them, the growth over carried-on surface, the filling of holes, how far from its own cell a point looks for roofs, and
from how far points vote on it, and how far what stands apart is from the next roof."""
CLEAN_LEAST, FILL_LEAST, WALL_LEAST = 4, 16, 2
"""Of 9 cells, those that must be smooth; of 25, those that must be roof around a hole; of 9, those beside a wall."""
GRASS_DENSITY, GRASS_SLOPE, GRASS_LEVEL_MM = 4, 1_250, 100
"""Ground points per m2 from which terrain is known closely; how much higher (mm) ground may be times slope, less the last."""
ALONE_POINTS, ALONE_AMONG = 2, 50
"""Points of noise in one cell at most; points in the 5 x 5 cells around at least."""
VAN_MM = 3_000
"""Height that vans do not reach."""
LOW_DEPTH_MM = 2_000
"""Low things are looked at whole."""
ONLY_THEMSELVES = (BUILDING, LOW_NOISE, WIRE, HIGH_NOISE)
"""Classes of points that take no part in wide roofs."""
NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]


@dataclass(frozen=True, slots=True)
class Returns:
    """What the returns of points say (bool each), and whether they say anything: some instruments give one return only."""

    several: Any
    """One of several returns of its pulse."""
    passed: Any
    """Not the last: light went on."""
    told: bool

    @classmethod
    def of(cls, packed: Any, told: bool) -> Returns:
        number, count = packed & 15, packed >> 4
        return cls((count > 1) & told, (number < count) & told, told)


@dataclass(frozen=True, slots=True)
class Found:
    """Labels of points, and what hangs on the size of regions."""

    labels: Any
    """ASPRS class per point (uint8), as if every region were what it may be."""
    otherwise: Any
    """The class (uint8) where the region of the point's cell is not."""
    cell: Any
    """Per point the cell in whose region it takes part (int32, flat index in the rasters of all candidates, one after the
    other), -1 for none."""
    also: Any
    """The same of a second region, whose class it gets if that is accepted."""
    candidates: tuple[Candidates, ...]
    """The regions (rasters of `window`) that decide."""
    window: Window
    """The core and `RING` cells around it."""
    asked: Any = None
    """The points (indices) that the learned head was asked about."""


@dataclass(frozen=True, slots=True)
class Roofs:
    """Rasters of the cells of roofs and the planes that they carry."""

    there: Any
    slope_x: Any
    slope_y: Any
    height: Any

    def above(self, cell: Any, dx: int, dy: int, east: Any, north: Any) -> Any:
        """Height (mm) of the plane of the cell that lies `dx`, `dy` from its centre, at these places about it (mm)."""
        rise = self.slope_x.ravel()[cell] * (east - dx) + self.slope_y.ravel()[cell] * (north - dy)
        return self.height.ravel()[cell] + (rise >> 10)


def classify_objects(
    x: Any,
    y: Any,
    z: Any,
    packed: Any,
    ground: GroundResult,
    core: Window,
    cell_mm: int,
    options: ObjectOptions,
    told: bool,
    source: Any = None,
    forest: Forest | None = None,
) -> Found:
    """The classes of the points in `core`; those of ground and noise as they are.

    `ground` is that of `core.grow(REACH)`, of the same points (mm). `packed` are the returns as fragments hold them, `told`
    says whether any pulse of the drop has several. `source` are the classes of the input, where they are evidence.
    With a `forest`, it decides where points are like those that it learned from.
    """
    xp = module_of(z)
    heights, ring = z, core.grow(RING).overlap(ground.window)
    window = core.grow(REACH).overlap(ground.window)
    labels, low, rest, count, ground_count = sorted_out(x, y, ground.labels, core, window, cell_mm)
    if not bool(labels.any()):
        nowhere = xp.full(len(z), -1, dtype=xp.int32)
        return Found(labels, labels.copy(), nowhere, nowhere.copy(), (), ring)
    grass = _low_plants(z, ground, low, ground_count, window, cell_mm, options)
    labels[grass[labels[grass] != 0]] = LOW_VEGETATION
    otherwise, region = labels.copy(), xp.full(len(z), -1, dtype=xp.int32)
    terrain = xp.ascontiguousarray(ground.terrain[window.inside(ground.window)])
    candidates: list[Candidates] = []
    also = region.copy()
    if options.water_m2:
        water = water_cells(count, ground_count, terrain, window, core, ring, cell_mm, options)
        which, cell = _onto_water(water, low, z, labels, window, ring)
        labels[which] = CLASS[WATER]
        region[which] = cell
        candidates.append(water)
    footing, lifted = None, Some(*(xp.zeros(0, dtype=xp.int64) for _ in range(2)))
    dense = dense_cells(count, cell_mm).ravel()
    if forest is not None and told:
        slope, several = ground.slope[window.inside(ground.window)], Returns.of(packed[low.which], told).several
        footing = Footing.of(low.cell, ground.height[low.which], several, slope, window)
        raised = (ground.height[low.which] >= LIFTED_MM) & (labels[low.which] != 0) & dense[low.cell]
        lifted = Some(low.which[raised], low.cell[raised])
    every, other, cell = (x, y, z, packed), rest.which, rest.cell
    x, y, z, returns = x[other], y[other], z[other].astype(xp.int64), Returns.of(packed[other], told)
    known = ground.height[other] != VOID
    height = xp.where(known, ground.height[other], 0)
    high = height >= round(options.roof_m * MM_PER_M)
    believed = None if source is None else votes(source[other], cell, high, window)
    roofs = roof_cells(x, y, z, high, returns, window, cell_mm, options, believed)
    hard = hard_cells(x, y, z, height, high, returns, window, cell_mm, options)
    wires = wire_cells(cell, height, returns.passed, window, round(options.wire_m * MM_PER_M), told)
    alone = alone_above(cell, z, height, count, window, options)
    described = None
    if footing is not None:
        surface = planes(x, y, z, window, cell_mm, options.least, round(options.depth_m * MM_PER_M))
        described = Described.of(cell, height, returns.several, returns.passed, footing, surface, roofs.there, window)

    part = xp.flatnonzero(labels[other] if footing is None else core.grow(VOTE + APART).contains(x, y, cell_mm))
    place = other[part]
    x, y, z, height, cell, several = x[part], y[part], z[part], height[part], cell[part], returns.several[part]
    plain = plants(height, options)
    plain[hard.ravel()[cell] & (height >= round(options.hard_m * MM_PER_M))] = UNCLASSIFIED
    plain[wires.ravel()[cell] & (height >= round(options.wire_m * MM_PER_M))] = WIRE
    plain[z >= alone.ravel()[cell]] = HIGH_NOISE
    plain[~known[part]] = UNCLASSIFIED
    of, off_roof = roof_of(x, y, z, cell, high[part], ~several, roofs, window, cell_mm, options)
    of = xp.where((plain == WIRE) | (plain == HIGH_NOISE), -1, of)
    building = of >= 0
    asked, told_apart = None, xp.zeros(len(place), dtype=bool)
    if forest is not None and described is not None:
        unsure = dense if believed is None else dense & ~(believed[0] | believed[1]).ravel()
        wanted = xp.flatnonzero(unsure[cell] & (plain != WIRE) & (plain != HIGH_NOISE) & known[part])
        scores = _scores(forest, described, cell[wanted], height[wanted], several[wanted], off_roof[wanted])
        scores[:, CLASSES.index(GROUND)] = xp.iinfo(xp.int32).min  # what the filter took away does not come back
        kind = voted(scores, cell[wanted], height[wanted], window)
        building[wanted] = kind == CLASSES.index(BUILDING)
        plain[wanted] = xp.where(kind == CLASSES.index(HIGH_VEGETATION), plants(height[wanted], options), UNCLASSIFIED)
        building[wanted] &= ~_like_vans(cell[wanted], height[wanted], building[wanted], ground_count, window, cell_mm, options)
        of = xp.where(building, of, -1)
        told_apart[wanted] = building[wanted]
        at, on = (column[unsure[lifted.cell]] for column in (lifted.which, lifted.cell))
        otherwise[at] = _of_lifted(at, on, every, ground.height[at], forest, described, roofs, window, cell_mm, options)
        dry = at[region[at] < 0]  # whether the others are water may be known elsewhere
        labels[dry] = otherwise[dry]
        asked = xp.concatenate([place[wanted], at])
    own = labels[place] != 0
    place, of = place[own], of[own]
    # What trees take for a building is one, however little of its roof was seen; its region may make it a bridge.
    otherwise[place] = xp.where(told_apart, BUILDING, plain)[own]
    labels[place] = xp.where(building, BUILDING, plain)[own]
    row, column = of // window.width + (window.y0 - ring.y0), of % window.width + (window.x0 - ring.x0)
    region[place] = xp.where(of >= 0, row * ring.width + column + len(candidates) * ring.width * ring.height, -1)
    houses = Candidates.of(HOUSE, roofs.there[ring.inside(window)])
    houses.sums["inner"] = (around(houses.numbers > 0, 1) == 9).astype(np.int64)
    if options.bridge_m2:
        houses = with_landings(houses, roofs.height, terrain, ground_count, window, core, ring, cell_mm, options)
    candidates.append(houses)
    if options.wide_roof_m2:
        level = level_cells(ground_count, terrain)
        wide = wide_roofs(level, terrain, window, core, ring, cell_mm, options)
        shares = Shares.of(wide, level, terrain, window, core, ring)
        if shares is not None:
            which, cell = (
                xp.concatenate(both) for both in zip(*(shares.taking(some, heights) for some in (low, rest)), strict=True)
            )
            free = ~xp.isin(labels[which], ONLY_THEMSELVES)
            which, cell = which[free], cell[free]
            wet = which[labels[which] == CLASS[WATER]]
            also[wet] = region[wet]
            region[which] = shares.cell[cell] + len(candidates) * ring.width * ring.height
            labels[which] = BUILDING
        candidates.append(wide)
    return Found(labels, otherwise, region, also, tuple(candidates), ring, asked)


def sorted_out(x: Any, y: Any, seen: Any, core: Window, window: Window, cell_mm: int) -> tuple[Any, Some, Some, Any, Any]:
    """From places (int64 mm) and what the ground filter says of points: the labels (uint8) of those in the core, 0 for others;
    the points of the ground, and the unclassified ones; points a cell of the window, and points of the ground a cell.

    Points that were labelled lie in the window.
    """
    xp, size = module_of(x), window.width * window.height
    kernels = kernels_for(x, y, seen, module=point_kernels)
    if kernels is not None:
        labels, count, ground_count = np.empty(len(x), np.uint8), np.zeros(size, np.int64), np.zeros(size, np.int64)
        low, rest = (
            Some(*(np.empty(int(np.count_nonzero(seen == kind)), np.int64) for _ in range(2)))
            for kind in (GROUND, UNCLASSIFIED)
        )
        layout = np.array([*window.edges(cell_mm)[:2], cell_mm, window.width], np.int64)
        edges = np.array(core.edges(cell_mm), np.int64)
        kernels.sort(x, y, seen, edges, layout, labels, count, ground_count, low.which, low.cell, rest.which, rest.cell)
    else:
        labels = xp.where(core.contains(x, y, cell_mm), seen, 0).astype(xp.uint8)
        there = xp.flatnonzero(seen != HALO_ONLY)
        cells, kinds = window.cell_of(x[there], y[there], cell_mm), seen[there]
        low, rest = (Some(there[kinds == kind], cells[kinds == kind]) for kind in (GROUND, UNCLASSIFIED))
        count, ground_count = (xp.bincount(of, minlength=size) for of in (cells, low.cell))
    return labels, low, rest, count.reshape(window.shape), ground_count.reshape(window.shape)


def _scores(forest: Forest, described: Described, cell: Any, height: Any, several: Any, off_roof: Any) -> Any:
    """Scores (int32, points x classes), a few points described at a time."""
    xp = module_of(height)
    scores = xp.empty((len(cell), len(CLASSES)), dtype=xp.int32)
    for start in range(0, len(cell), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        scores[some] = forest.scores(described.features(cell[some], height[some], several[some], off_roof[some]))
    return scores


def _like_vans(
    cell: Any, height: Any, building: Any, ground_count: Any, window: Window, cell_mm: int, options: ObjectOptions
) -> Any:
    """Points (bool) around which, within `APART` cells, what the trees take for `building` (bool) covers less than a building
    does, is nowhere higher than a van and stands in the open: what is not of it is ground for the most part.

    A house of which the file holds a corner alone is higher; sheds stand among plants. ground_count: ground points a cell.
    """
    xp, size = module_of(height), window.width * window.height
    top = xp.zeros(size, dtype=xp.int32)
    xp.maximum.at(top, cell[building], height[building].astype(xp.int32))
    own, above = (xp.bincount(of, minlength=size).reshape(window.shape) for of in (cell[building], cell))
    small = around(2 * own > above, APART) * cell_mm**2 < options.area_m2 * MM_PER_M**2
    low = extreme(xp.maximum, top.reshape(window.shape), APART) < VAN_MM
    bare = around(ground_count, APART) >= around(above - own, APART)
    return (small & low & bare).ravel()[cell]


def _of_lifted(
    which: Any,
    cell: Any,
    every: tuple[Any, Any, Any, Any],
    height: Any,
    forest: Forest,
    described: Described,
    roofs: Roofs,
    window: Window,
    cell_mm: int,
    options: ObjectOptions,
) -> Any:
    """What the trees say of points (indices into the columns x, y, z and returns) that passed for ground: classes (uint8)."""
    xp = module_of(height)
    x, y, z, packed = (column[which] for column in every)
    several = Returns.of(packed, told=True).several
    high = height >= round(options.roof_m * MM_PER_M)
    _, off_roof = roof_of(x, y, z.astype(xp.int64), cell, high, ~several, roofs, window, cell_mm, options)
    kind = xp.asarray(CLASSES, dtype=xp.uint8)[_scores(forest, described, cell, height, several, off_roof).argmax(axis=1)]
    return xp.where(kind == HIGH_VEGETATION, plants(height, options), kind)


def _onto_water(water: Candidates, low: Some, z: Any, labels: Any, window: Window, ring: Window) -> tuple[Any, Any]:
    """The points (indices) of the ground at the level of what may be water, and in which cell of the ring (flat index)."""
    xp = module_of(z)
    assert water.value is not None
    assert water.refused is not None
    hope = ~water.refused[water.numbers]
    level = xp.full(window.shape, -(1 << 40), dtype=xp.int64)
    level[ring.inside(window)] = xp.asarray(np.where(hope, water.value, -(1 << 40)))
    level = level.ravel()
    kernels = kernels_for(low.which, low.cell, z, labels, level, module=point_kernels)
    if kernels is not None:
        which, cell = (np.empty(len(low.which) if hope.any() else 0, np.int64) for _ in range(2))
        limits = np.array([-(1 << 40), NEAR_MM], np.int64)
        count = kernels.at_level(low.which, low.cell, z, labels, level, limits, which, cell) if len(which) else 0
        which, cell = which[:count].copy(), cell[:count].copy()  # room for all of them is not kept
    else:
        near = xp.flatnonzero(level[low.cell] > -(1 << 40)) if hope.any() else xp.zeros(0, dtype=xp.int64)
        which, cell = low.which[near], low.cell[near]
        wet = (abs(z[which] - level[cell]) <= NEAR_MM) & (labels[which] == GROUND)
        which, cell = which[wet], cell[wet]
    row, column = cell // window.width + (window.y0 - ring.y0), cell % window.width + (window.x0 - ring.x0)
    return which, row * ring.width + column


def _low_plants(
    z: Any, ground: GroundResult, low: Some, ground_count: Any, window: Window, cell_mm: int, options: ObjectOptions
) -> Any:
    """Which points (indices) that passed for ground stand too high for it, where points are dense enough to tell: grass."""
    xp = module_of(z)
    least, slope = round(options.grass_m * MM_PER_M), ground.slope[window.inside(ground.window)].ravel()
    dense = (around(ground_count, 1) * MM_PER_M**2 >= 9 * GRASS_DENSITY * cell_mm**2).ravel()
    kernels = kernels_for(low.which, low.cell, ground.height, slope, dense, module=point_kernels)
    if kernels is not None:
        limits, picked = np.array([least, GRASS_SLOPE, GRASS_LEVEL_MM], np.int64), np.empty(len(low.which), np.int64)
        count = kernels.stand_out(low.which, low.cell, ground.height, slope, dense, limits, picked)
        return picked[:count].copy()  # room for all of them is not kept
    height = ground.height[low.which]
    tall = xp.flatnonzero(height > least)
    steepness = slope[low.cell[tall]].astype(xp.int64)
    tall = tall[height[tall] > least + xp.maximum(steepness * GRASS_SLOPE // MM_PER_M - GRASS_LEVEL_MM, 0)]
    return low.which[tall[dense[low.cell[tall]]]]


def alone_above(cell: Any, z: Any, height: Any, count: Any, window: Window, options: ObjectOptions) -> Any:
    """Per cell the height (int64 mm) from which its points are noise in the air: birds, clouds; far above all where none are.

    They are the highest of their cell, two at most, high above ground and above everything else around, where points are
    dense enough that a tree would have more. `count`: all points a cell, ground included.
    """
    xp, size = module_of(z), window.width * window.height
    nothing = xp.full(window.shape, 1 << 40, dtype=xp.int64)
    gap = round(options.alone_m * MM_PER_M)
    aloft = xp.flatnonzero(height >= 2 * gap)
    if not len(aloft):
        return nothing
    top = xp.full(size, -(1 << 31), dtype=xp.int32)
    xp.maximum.at(top, cell, z.astype(xp.int32))
    wide = top.astype(xp.int64)
    upper = xp.bincount(cell[aloft][z[aloft] >= wide[cell[aloft]] - gap], minlength=size)
    few = (upper > 0) & (upper <= ALONE_POINTS)
    wide = wide.reshape(window.shape)
    single = few.reshape(window.shape) & (_highest_beside(wide) < wide - gap)
    dense = around(count, 2) >= ALONE_AMONG
    return xp.where(single & dense, wide - gap, nothing)


def _highest_beside(values: Any) -> Any:
    """Maximum over the eight cells around; of those beyond the raster nothing is known."""
    xp = module_of(values)
    wide = xp.pad(values, 1, constant_values=-(1 << 31))
    rows, columns = values.shape
    best = xp.full(values.shape, -(1 << 31), dtype=values.dtype)
    for dy, dx in NEIGHBOURS:
        if dy or dx:
            xp.maximum(best, wide[1 + dy : 1 + dy + rows, 1 + dx : 1 + dx + columns], out=best)
    return best


def plants(height: Any, options: ObjectOptions) -> Any:
    """Low, medium or high vegetation (uint8) by height (mm)."""
    xp = module_of(height)
    low, medium = (round(metres * MM_PER_M) for metres in (options.low_vegetation_m, options.medium_vegetation_m))
    kind = xp.where(height < low, LOW_VEGETATION, xp.where(height < medium, MEDIUM_VEGETATION, HIGH_VEGETATION))
    return kind.astype(xp.uint8)


def hard_cells(
    x: Any, y: Any, z: Any, height: Any, high: Any, returns: Returns, window: Window, cell_mm: int, options: ObjectOptions
) -> Any:
    """Cells (bool) of low things that light does not go through: cars, walls, street furniture."""
    xp, size = module_of(z), window.width * window.height
    cell = window.cell_of(x, y, cell_mm)
    tall = xp.bincount(cell[high], minlength=size).reshape(window.shape)
    if returns.told:
        count = around(xp.bincount(cell, minlength=size).reshape(window.shape), 1)
        several = around(xp.bincount(cell[returns.several], minlength=size).reshape(window.shape), 1)
        dense = 1000 * several <= round(1000 * options.hard_share) * count
    else:
        low = ~high & (height >= round(options.hard_m * MM_PER_M))
        flat = planes(x, y, z, window, cell_mm, options.least, LOW_DEPTH_MM, low)
        dense = flat.variance <= round(options.rough_m * MM_PER_M) ** 2
    return dense & (around(tall, 1) == 0)


def roof_cells(
    x: Any,
    y: Any,
    z: Any,
    high: Any,
    returns: Returns,
    window: Window,
    cell_mm: int,
    options: ObjectOptions,
    believed: tuple[Any, Any] | None = None,
) -> Roofs:
    """The cells whose high points form a roof, and the plane of each. `believed` as `votes` returns it."""
    xp, size = module_of(z), window.width * window.height
    surface = planes(x, y, z, window, cell_mm, options.least, round(options.depth_m * MM_PER_M), high)
    through = high & returns.passed
    light = xp.bincount(window.cell_of(x[through], y[through], cell_mm), minlength=size).reshape(window.shape)
    closed = (surface.count > 0) & (1000 * light <= round(1000 * options.passed_share) * surface.count)
    seeds = closed & (surface.variance <= round(options.rough_m * MM_PER_M) ** 2)
    if believed is not None:
        seeds, closed = (seeds | (believed[0] & (surface.variance < NO_PLANE))) & ~believed[1], closed & ~believed[1]
    seeds &= around(seeds, 1) >= CLEAN_LEAST
    loose = closed & (surface.variance <= (2 * round(options.rough_m * MM_PER_M)) ** 2)
    there = seeds | (loose & (around(seeds, 1) > 0))
    roofs = Roofs(there, surface.slope_x, surface.slope_y, surface.height)
    for _ in range(ROUNDS):
        roofs = _grown(roofs, closed & (surface.variance < NO_PLANE), surface, cell_mm, options)
    return _filled(roofs, (surface.count > 0), surface, cell_mm)


def votes(source: Any, cell: Any, high: Any, window: Window) -> tuple[Any, Any]:
    """Cells (bool) most of whose high points the input calls building, and those of which it does vegetation."""
    xp, size = module_of(source), window.width * window.height

    def most(chosen: Any) -> Any:
        return (2 * xp.bincount(cell[chosen], minlength=size) > xp.bincount(cell[high], minlength=size)).reshape(window.shape)

    plants_there = (source >= LOW_VEGETATION) & (source <= HIGH_VEGETATION)
    return most(high & (source == BUILDING)), most(high & plants_there)


def _grown(roofs: Roofs, closed: Any, surface: Planes, cell_mm: int, options: ObjectOptions) -> Roofs:
    """With the closed cells beside roofs whose surface carries one of theirs on."""
    xp = module_of(closed)
    candidates = xp.flatnonzero((closed & ~roofs.there & (around(roofs.there, 1) > 0)).ravel())
    width = closed.shape[1]
    best = xp.full(len(candidates), NO_PLANE, dtype=xp.int64)
    source = xp.full(len(candidates), -1, dtype=xp.int64)
    there, level = roofs.there.ravel(), surface.height.ravel()[candidates]
    for dy, dx in NEIGHBOURS:
        cell = xp.clip(candidates + dy * width + dx, 0, there.size - 1)
        off = abs(level - roofs.above(cell, dx * cell_mm, dy * cell_mm, 0, 0))
        closer = there[cell] & (off < best)
        best = xp.where(closer, off, best)
        source = xp.where(closer, cell, source)
    carried = best <= round(options.step_m * MM_PER_M)
    return _adopt(roofs, candidates[carried], source[carried], cell_mm)


def _filled(roofs: Roofs, present: Any, surface: Planes, cell_mm: int) -> Roofs:
    """With the cells that roofs surround: chimneys, dormers and what else stands on them."""
    xp = module_of(present)
    holes = xp.flatnonzero((present & ~roofs.there & (around(roofs.there, FILL) >= FILL_LEAST)).ravel())
    width = present.shape[1]
    source, best = holes.copy(), xp.full(len(holes), NO_PLANE, dtype=xp.int64)
    there = roofs.there.ravel()
    for dy, dx in NEIGHBOURS:
        cell = xp.clip(holes + dy * width + dx, 0, there.size - 1)
        off = abs(surface.top.ravel()[holes] - roofs.above(cell, dx * cell_mm, dy * cell_mm, 0, 0))
        closer = there[cell] & (off < best)
        best = xp.where(closer, off, best)
        source = xp.where(closer, cell, source)
    beside = best < NO_PLANE
    return _adopt(roofs, holes[beside], source[beside], cell_mm)


def _adopt(roofs: Roofs, cells: Any, sources: Any, cell_mm: int) -> Roofs:
    """Cells that become roofs take over the plane of another."""
    width = roofs.there.shape[1]
    dx, dy = sources % width - cells % width, sources // width - cells // width
    height = roofs.above(sources, dx * cell_mm, dy * cell_mm, 0, 0)
    copies = [raster.copy() for raster in (roofs.there, roofs.slope_x, roofs.slope_y, roofs.height)]
    for raster, values in zip(
        copies, (True, roofs.slope_x.ravel()[sources], roofs.slope_y.ravel()[sources], height), strict=True
    ):
        raster.ravel()[cells] = values
    return Roofs(*copies)


def roof_of(
    x: Any,
    y: Any,
    z: Any,
    cell: Any,
    high: Any,
    single: Any,
    roofs: Roofs,
    window: Window,
    cell_mm: int,
    options: ObjectOptions,
) -> tuple[Any, Any]:
    """Per point (mm) the cell of the roof that it is part of (int64), -1 for none; and how far it is off the nearest plane (mm,
    `FAR_MM` at most and where there is none)."""
    xp = module_of(z)
    count, on, above = around(roofs.there, 1), round(options.on_m * MM_PER_M), round(options.above_m * MM_PER_M)
    rasters = [raster.ravel() for raster in (roofs.there, count, roofs.slope_x, roofs.slope_y, roofs.height)]
    kernels = kernels_for(x, y, z, cell, high, single, *rasters, module=point_kernels)
    if kernels is not None:
        limits = np.array([cell_mm, window.width, on, above, WALL_LEAST, FAR_MM], np.int64)
        of, distance = np.empty(len(z), np.int64), np.empty(len(z), np.int64)
        kernels.roof(x, y, z, cell, high, single, *rasters, limits, of, distance)
        return of, distance
    result, distance = xp.full(len(z), -1, dtype=xp.int64), xp.full(len(z), FAR_MM, dtype=xp.int64)
    near = xp.flatnonzero(count.ravel()[cell] > 0)
    x, y, z, cell, high, single = (column[near] for column in (x, y, z, cell, high, single))
    east, north = x % cell_mm - cell_mm // 2, y % cell_mm - cell_mm // 2
    there = roofs.there.ravel()
    best = xp.full(len(z), NO_PLANE, dtype=xp.int64)
    source = xp.full(len(z), -1, dtype=xp.int64)
    below = xp.zeros(len(z), dtype=bool)
    for dy, dx in NEIGHBOURS:
        other = cell + (dy * window.width + dx)
        off = z - roofs.above(other, dx * cell_mm, dy * cell_mm, east, north)
        closer = there[other] & (abs(off) < best)
        best = xp.where(closer, abs(off), best)
        source = xp.where(closer, other, source)
        below |= there[other] & (off < -on)
    inside = there[cell]
    rise = z - roofs.above(cell, 0, 0, east, north)
    part = high & (best <= on)
    part |= inside & (rise <= above)
    part |= high & below & single & (count.ravel()[cell] >= WALL_LEAST)
    result[near] = xp.where(part, xp.where(inside, cell, source), -1)
    distance[near] = xp.minimum(best, FAR_MM)
    return result, distance
