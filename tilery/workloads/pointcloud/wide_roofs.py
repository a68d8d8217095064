"""Roofs too wide for any opening, which count as ground: halls, stands, decks.

Such a roof is a piece of what passes for terrain that is cut off from the rest by steps, and almost wherever something else is
known beyond a step, that is lower. A terrace has as much above it as below; a bank, a ramp or the road on a bridge is connected
with the land at its ends, and so part of a region that is far too large.

Everything is a sum of whole numbers, so that regions can be united across tiles (regions.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tilery.workloads.pointcloud.array_module import module_of, to_host
from tilery.workloads.pointcloud.candidates import WIDE, Candidates, beside, inside, spread
from tilery.workloads.pointcloud.features import around, between, extreme
from tilery.workloads.pointcloud.grid import MM_PER_M, VOID, Window
from tilery.workloads.pointcloud.options import ObjectOptions

STEP_MM = 2_500
"""Difference of height within 3 x 3 cells from which there is a step."""
FAR = 5
"""Cells from the edge of a region within which what lies beyond the step is looked for."""
LOWER_MM, HIGHER_MM = 2_500, 1_000
"""How much lower, or higher, that must be."""
DROPS = 0.75
"""Share of the edges with something lower beyond, of those with anything higher or lower."""
OUTLINE = 2
"""Edges with something lower beyond, at least so many times the root of the region's cells: a square has 4."""
ONE_SIDED = 0.5
"""Mean of the directions to what is lower, as a share of their length, at most: all around they cancel out; along one side, as
on a yard above a wall, they add up."""
UNIT = 100
"""Length of a direction, in whole numbers."""
BREADTH_MM = 4_000
"""Area of a roof at least, for each length of its edges: a strip of twice this breadth has just as much."""
MOST_M2 = 100_000
"""Larger roofs are not looked for: the terrain itself is such a region."""
ABOVE_MM, PARAPET_MM = 1_000, 1_500
"""A point on the edge is of the roof if it is so much higher than what lies beyond, and at most so much than the roof."""
FURTHEST = 1 << 40
BESIDE = 2
"""Cells from a roof within which its edge and its walls may have points."""
AMID = 3
"""Cells with ground lie so near on two opposite sides of one without."""
REACH = AMID + FAR
"""Cells around the ring that decide."""


def wide_roofs(
    there: Any, terrain: Any, window: Window, core: Window, ring: Window, cell_mm: int, options: ObjectOptions
) -> Candidates:
    """The regions, in `ring`, of cells that may be wide roofs; `window` reaches `REACH` cells around it.

    there: the level cells (bool) of `window`; terrain: its heights (int32 mm).
    """
    inner = core.overlap(ring).inside(ring)
    found = Candidates.of(WIDE, there[ring.inside(window)])
    cells = np.bincount(found.numbers[inner].ravel(), minlength=found.count + 1)
    refused = cells * cell_mm * cell_mm > MOST_M2 * MM_PER_M**2
    refused[0] = True
    found = replace(found, refused=refused)
    found = replace(found, sums=_outline(found, there, terrain, window, core, ring))
    return replace(
        found, refused=found.refused_where(core, ring, lambda sums: is_wide_roof(sums["cells"], sums, options, cell_mm))
    )


def level_cells(ground_count: Any, terrain: Any) -> Any:
    """Cells (bool) on ground, or beside and amid it, without a step in the 3 x 3 cells around.

    ground_count: ground points of each cell; terrain: its heights (int32 mm, `VOID` where unknown).
    """
    xp = module_of(terrain)
    known = terrain != VOID
    highest = extreme(xp.maximum, xp.where(known, terrain, -VOID), 1)
    lowest = extreme(xp.minimum, terrain, 1)  # the void is the largest height
    amid = (around(ground_count > 0, 1) > 0) & between(ground_count > 0, AMID)
    return known & amid & (highest.astype(xp.int64) - lowest <= STEP_MM)


def _outline(found: Candidates, there: Any, terrain: Any, window: Window, core: Window, ring: Window) -> dict[str, Any]:
    """How many edges have something lower, or else something higher, beyond, and the directions of what is lower, each of
    `UNIT` length; rasters of `ring`, of what lies in the core."""
    xp = module_of(terrain)
    assert found.refused is not None
    part = ring.inside(window)
    edges = inside(core, ring) & ~found.refused[found.numbers] & to_host(around(there, 1)[part] < 9)
    own = terrain[part][xp.asarray(edges)].astype(xp.int64)
    lower, north, east = (xp.zeros(len(own), dtype=xp.int64) for _ in range(3))
    higher = xp.zeros(len(own), dtype=bool)
    for (dy, dx), other in beside(edges, window, ring, FAR, terrain):
        rise = xp.where(there.ravel()[other], terrain.ravel()[other] - own, 0)
        falls = rise <= -LOWER_MM
        lower += falls
        north += dy * falls
        east += dx * falls
        higher |= rise >= HIGHER_MM
    # The root of a small whole number is correctly rounded, and so is the division: the same on every device.
    length = xp.maximum(xp.sqrt((north * north + east * east).astype(xp.float64)), 1.0)
    sums = {"lower": lower > 0, "higher": higher & (lower == 0)}
    sums |= {name: xp.rint(UNIT * part / length).astype(xp.int64) for name, part in (("north", north), ("east", east))}
    return {name: spread(edges, values) for name, values in sums.items()}


@dataclass(frozen=True, slots=True)
class Some:
    """Some of the points: which (indices), and the cell of each (flat index in a window)."""

    which: Any
    cell: Any


@dataclass(frozen=True, slots=True)
class Shares:
    """Which points have part in a wide roof: rasters of the window, of its cells."""

    cell: Any
    """The cell of the ring (int32, flat index) in whose region points of the core take part, -1 for none."""
    least: Any
    """The height (int64 mm) from which they do ..."""
    most: Any
    """... and up to which."""

    @classmethod
    def of(cls, found: Candidates, there: Any, terrain: Any, window: Window, core: Window, ring: Window) -> Shares | None:
        """Those of the regions that may be roofs: all in their cells, and what hangs on their edges; None where no region may.

        there: the level cells of the window; terrain: its heights.
        """
        assert found.refused is not None
        hope = ~found.refused[found.numbers]
        if not hope.any():
            return None
        heights, level = to_host(terrain).ravel().astype(np.int64), to_host(there).ravel()  # int32 holds no `FURTHEST`
        numbers, hopes = found.numbers.ravel(), hope.ravel()
        size, offset = window.width * window.height, (ring.y0 - window.y0) * window.width + ring.x0 - window.x0
        cell, least, most = np.full(size, -1, np.int32), np.full(size, -FURTHEST), np.full(size, FURTHEST)
        own = np.flatnonzero(hopes)
        cell[own // ring.width * window.width + own % ring.width + offset] = own
        edges = np.flatnonzero((around(hope, BESIDE) > 0) & (found.numbers == 0))
        rows, columns = edges // ring.width, edges % ring.width
        owner, best, lowest = np.full(len(edges), -1), np.full(len(edges), -FURTHEST), np.full(len(edges), FURTHEST)
        for dy in range(-FAR, FAR + 1):
            for dx in range(-FAR, FAR + 1):
                y, x = rows + dy + ring.y0 - window.y0, columns + dx + ring.x0 - window.x0
                inside = (y >= 0) & (y < window.height) & (x >= 0) & (x < window.width)
                other = np.where(inside, y * window.width + x, 0)
                height = np.where(inside & level[other], heights[other], FURTHEST)
                np.minimum(lowest, height, out=lowest)
                if max(abs(dy), abs(dx)) <= BESIDE:
                    y, x = rows + dy, columns + dx
                    inside = (y >= 0) & (y < ring.height) & (x >= 0) & (x < ring.width)
                    beside = np.where(inside, y * ring.width + x, 0)
                    higher = inside & (numbers[beside] > 0) & (height > best)
                    owner, best = np.where(higher, beside, owner), np.where(higher, height, best)
        mine = np.flatnonzero((owner >= 0) & hopes[owner] & (lowest <= best - LOWER_MM))
        at = rows[mine] * window.width + columns[mine] + offset
        cell[at], least[at], most[at] = owner[mine], lowest[mine] + ABOVE_MM, best[mine] + PARAPET_MM
        outside = np.ones(window.shape, bool)
        outside[core.overlap(window).inside(window)] = False
        cell[outside.ravel()] = -1
        xp = module_of(terrain)
        return cls(xp.asarray(cell), xp.asarray(least), xp.asarray(most))

    def taking(self, some: Some, heights: Any) -> tuple[Any, Any]:
        """Those of some points that take part (indices, and the cell of each), from the heights (mm) of all."""
        near = module_of(heights).flatnonzero(self.cell[some.cell] >= 0)
        which, cell = some.which[near], some.cell[near]
        z = heights[which]
        taking = (z >= self.least[cell]) & (z <= self.most[cell])
        return which[taking], cell[taking]


def is_wide_roof(cells: int, sums: Mapping[str, int], options: ObjectOptions, cell_mm: int) -> bool:
    """Whether a region is, from its number of cells and what was added up over them."""
    area = cells * cell_mm * cell_mm
    if not options.wide_roof_m2 * MM_PER_M**2 <= area <= MOST_M2 * MM_PER_M**2 or not options.wide_roof_m2:
        return False
    narrow = cells * cell_mm < BREADTH_MM * (sums["lower"] + sums["higher"])
    falls_off = sums["lower"] >= DROPS * (sums["lower"] + sums["higher"])
    around_it = sums["north"] ** 2 + sums["east"] ** 2 <= (ONE_SIDED * UNIT * sums["lower"]) ** 2
    return falls_off and around_it and not narrow and sums["lower"] ** 2 >= OUTLINE**2 * cells
