"""Water: level ground with banks around it that sends back little light, or none of whose points is off one height.

Nothing is said of water without returns, and nothing where only one of the signs is there: car parks and playing fields are
level as well, but have no banks; fields in basins have banks, but as many points as the land around; waves and flight strips
that do not meet hide the level. Signs, for each connected region of level cells, over all of it:

- the ground of 7 x 7 cells around scatters little about its mean, a slope included;
- over all of it the level varies little for its size;
- edges have land that rises beside them, and hardly any beside which it falls away;
- there are at most half as many points as on that rising land, or all of it is as level as a mirror.

Everything is a sum or the span of whole numbers, so that regions can be united across tiles (regions.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tilery.workloads.pointcloud import water_kernels
from tilery.workloads.pointcloud.array_module import module_of, to_host
from tilery.workloads.pointcloud.candidates import WATER, Candidates, beside, inside, spread
from tilery.workloads.pointcloud.compiled import kernels_for
from tilery.workloads.pointcloud.features import around, between, extreme
from tilery.workloads.pointcloud.grid import MM_PER_M, VOID, Window
from tilery.workloads.pointcloud.options import ObjectOptions

RADIUS = 3
"""Cells around a cell whose ground must be level, to which level ground is carried on, and where banks are looked for."""
APART, RISE_MM = 6, 25
"""Cells over which water may rise by so much at most (mm)."""
REACH = RADIUS + APART + RADIUS + 1
"""Cells around a cell that decide whether it may be water, and at which level."""
HIGH = 1 << 40
LEAST = 12
"""Cells with ground, of those around, that must be known."""
NEAR_MM = 150
"""How far ground may be off the level of the water around and be of it."""
BANK_MM = 300
"""How much higher land is a bank, how much lower water would run off."""
FALL_MM = 3_000
"""How much the levels of one water may differ: rivers flow."""
TILT = 500
"""The root of its area is at least so many times the root mean square by which the levels of one water vary."""
BANKS, DROPS = 0.4, 0.08
"""Share of edges beside a bank at least, and beside land that falls away at most."""
THIN, MIRROR_MM = 0.5, 10
"""Points per cell at most, as a share of those on the banks; or else root mean square by which levels vary at most."""


def water_cells(
    count: Any,
    ground_count: Any,
    terrain: Any,
    window: Window,
    core: Window,
    ring: Window,
    cell_mm: int,
    options: ObjectOptions,
) -> Candidates:
    """The regions, in `ring`, of level cells that may be water; their value is the level (mm).

    count, ground_count: points and ground points of each cell of `window`; terrain: its heights (int32 mm, `VOID` where
    unknown). `window` reaches `REACH` cells around the ring; only what lies in the core is added up.
    """
    xp = module_of(terrain)
    known = (ground_count > 0) & (terrain != VOID)
    lowest = int(terrain.min())  # squares stay small, and a variance is the same from whatever height
    rough = round(options.water_rough_m * MM_PER_M)
    # The lowest level around, and nothing where levels meet: what lies beyond a low bank, level as well, is another region.
    level = extreme(xp.minimum, _levels(terrain, known, lowest, rough), RADIUS)
    carried = _carried(terrain, lowest, level)
    there = between(count > 0, RADIUS) & (carried > -HIGH) & (extreme(xp.maximum, carried, 1) - level <= NEAR_MM)
    part = ring.inside(window)
    found = Candidates.of(WATER, there[part], level[part] + lowest, FALL_MM)
    found = replace(found, sums=_weighed(found, count, terrain, window, core, ring))
    return replace(found, refused=found.refused_where(core, ring, lambda sums: is_water(sums["cells"], sums, options, cell_mm)))


def _levels(terrain: Any, known: Any, lowest: int, rough: int) -> Any:
    """Raster (int64) of how much higher (mm) than `lowest` the ground around is, where that is level but for so much (mm);
    `HIGH` elsewhere."""
    xp = module_of(terrain)
    kernels = kernels_for(terrain, known, module=water_kernels)
    if kernels is not None:
        found, kept = (np.empty(terrain.shape, np.int64) for _ in range(2))
        limits = np.array([lowest, RADIUS, LEAST, rough * rough, HIGH, APART, RISE_MM, BANK_MM], np.int64)
        kernels.levels(terrain, known, limits, np.zeros((3, terrain.shape[1]), np.int64), found, kept)
        return kept
    height = xp.where(known, terrain.astype(xp.int64) - lowest, 0)
    n, total, square = around(known, RADIUS).astype(xp.int64), around(height, RADIUS), around(height * height, RADIUS)
    seeds = known & (n >= LEAST) & (n * square - total * total <= rough * rough * n * n)
    level = total // xp.maximum(n, 1)
    return xp.where(seeds & ~_slopes(seeds, level), level, HIGH)


def _carried(terrain: Any, lowest: int, level: Any) -> Any:
    """The level around (int64 mm) of the cells whose terrain is at it, `-HIGH` elsewhere."""
    xp, kernels = module_of(terrain), kernels_for(terrain, level, module=water_kernels)
    if kernels is not None:
        carried = np.empty(level.shape, np.int64)
        kernels.carried(terrain, level, lowest, NEAR_MM, HIGH, carried)
        return carried
    there = (level < HIGH) & (terrain != VOID) & (abs(terrain - lowest - level) <= NEAR_MM)
    return xp.where(there, level, -HIGH)


def _slopes(seeds: Any, level: Any) -> Any:
    """Cells (bool) from which level ground `APART` cells to one of four sides is off, but for what may lie beyond a bank."""
    slopes = module_of(level).zeros(seeds.shape, dtype=bool)
    for axis in (0, 1):
        there, height, found = (raster.swapaxes(0, axis) for raster in (seeds, level, slopes))
        rise = abs(height[APART:] - height[:-APART])
        off = there[APART:] & there[:-APART] & (rise > RISE_MM) & (rise < BANK_MM)
        found[APART:] |= off
        found[:-APART] |= off
    return slopes


def _weighed(found: Candidates, count: Any, terrain: Any, window: Window, core: Window, ring: Window) -> dict[str, Any]:
    """What is added up over the cells of `core` in regions that may be water; rasters of `ring`."""
    xp = module_of(terrain)
    assert found.value is not None
    assert found.refused is not None
    there = inside(core, ring) & ~found.refused[found.numbers]
    edges = there & (around(found.numbers > 0, 1) < 9)
    sums = {"points": np.where(there, to_host(count[ring.inside(window)]), 0), "edge": edges.astype(np.int64)}
    kernels = kernels_for(found.value, terrain, count, module=water_kernels)
    if kernels is not None:
        beyond = {name: np.zeros(ring.shape, np.int64) for name in ("bank", "drop", "dry", "dry_points")}
        limits = np.array([ring.y0 - window.y0, ring.x0 - window.x0, RADIUS, BANK_MM], np.int64)
        kernels.banks(edges, found.value, terrain, count, limits, *beyond.values())
        return sums | beyond
    level = xp.asarray(found.value[edges])
    bank, drop = (xp.zeros(len(level), dtype=bool) for _ in range(2))
    dry, dry_points = (xp.zeros(len(level), dtype=xp.int64) for _ in range(2))
    for _, other in beside(edges, window, ring, RADIUS, terrain):
        height = terrain.ravel()[other]  # beyond the window, as on its outermost cells, all is void
        rise = xp.where(height != VOID, height - level, 0)
        higher = rise >= BANK_MM
        bank |= higher
        drop |= rise <= -BANK_MM
        dry += higher
        dry_points += xp.where(higher, count.ravel()[other], 0)
    beyond = {"bank": bank, "drop": drop, "dry": dry, "dry_points": dry_points}
    return sums | {name: spread(edges, values) for name, values in beyond.items()}


def is_water(cells: int, sums: Mapping[str, int], options: ObjectOptions, cell_mm: int) -> bool:
    """Whether a region is, from its number of cells and what was added up over them."""
    if cells * cell_mm * cell_mm < options.water_m2 * MM_PER_M * MM_PER_M or not options.water_m2:
        return False
    held = sums["bank"] >= BANKS * sums["edge"] and sums["drop"] <= DROPS * sums["edge"]
    spread = cells * sums["squares"] - sums["values"] ** 2  # the variance of levels (mm2), times the cells squared
    level = spread * TILT**2 <= cells**3 * cell_mm**2
    thin = sums["points"] * sums["dry"] <= THIN * sums["dry_points"] * cells
    mirror = spread <= (MIRROR_MM * cells) ** 2
    return held and level and sums["dry"] > 0 and (thin or mirror)
