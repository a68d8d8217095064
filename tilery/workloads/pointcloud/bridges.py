"""Bridges: decks among the roofs whose two ends meet ground at their own level, and that fall off along their sides.

A deck is found as a roof is: smooth, closed, above the ground that is interpolated below it. Its edges tell it from a roof:
there is ground at its own height beside both ends, and hardly any elsewhere. Ends are told by where such edges lie along the
length of the region, which follows from sums of its cells' places. Those are whole numbers, so that regions can be united
across tiles (regions.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.pointcloud.array_module import module_of, to_host
from tilery.workloads.pointcloud.candidates import Candidates, beside, inside, spread
from tilery.workloads.pointcloud.features import around
from tilery.workloads.pointcloud.grid import MM_PER_M, VOID, Window
from tilery.workloads.pointcloud.options import ObjectOptions

BRIDGE = 17
NEAR, FAR = 3, 5
"""Cells from the edge of a deck within which ground at its level is looked for, and ground below."""
REACH = 1 + 1 + FAR
"""Cells around the core that decide."""
LEVEL_MM, DROP_MM = 600, 2_000
"""How much ground beside an end may differ from the deck; how much lower it is beside the sides."""
LANDINGS = 6
"""Edges beside ground at their level, at least."""
ELONGATED, STRAIGHT, SHORTEST_MM = 3.0, 2.0, 25_000
"""Length, at least so many times the breadth; extent across it, at most; how long it is at least."""
ENDS = 0.85
"""Variance of the places of landings along the deck, in half lengths (less half of `NEAR`), at least: at both ends it is 1."""
SIDES = 1.0
"""Edges beside which it falls off, at least so many times the length; two sides have twice as many."""
DECK, LANDING = "deck", "landing"


def with_landings(
    found: Candidates,
    height: Any,
    terrain: Any,
    ground_count: Any,
    window: Window,
    core: Window,
    ring: Window,
    cell_mm: int,
    options: ObjectOptions,
) -> Candidates:
    """The regions of roofs, in `ring`, with what says whether they are bridges.

    height: of the roof in each cell of `window` (int64 mm); terrain (int32 mm, `VOID` where unknown) and ground points there.
    """
    counts = inside(core, ring)
    part, may = core.overlap(ring).inside(ring), found.further(core, ring)
    cells = np.bincount(found.numbers[part].ravel(), minlength=found.count + 1)
    large = np.flatnonzero(~may & (cells * cell_mm * cell_mm >= options.bridge_m2 * MM_PER_M**2))
    of_large = np.zeros(found.count + 1, bool)
    of_large[large] = True
    may[0] = False
    found = replace(found, corner=(ring.x0, ring.y0))
    sums = found.placed(DECK, counts & of_large[found.numbers], part)
    for number in large.tolist():
        may[number] = _is_long({name: values[number] for name, values in sums.items()}, options, cell_mm)
    edges = counts & may[found.numbers]
    edges[edges] = (around(found.numbers > 0, 1) < 9)[edges]
    level, drop = _beside(edges, height, terrain, ground_count, window, ring)
    places = {DECK: counts & may[found.numbers], LANDING: spread(edges, level) > 0}
    return replace(found, places=places, sums={**found.sums, "drops": spread(edges, drop & ~level)})


def _beside(
    edges: NDArray[np.bool_], height: Any, terrain: Any, ground_count: Any, window: Window, ring: Window
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of each edge, whether there is ground at its level within `FAR` cells, and whether there is terrain far below."""
    xp = module_of(terrain)
    own = height[ring.inside(window)][xp.asarray(edges)]
    level, drop = (xp.zeros(len(own), dtype=bool) for _ in range(2))
    for step, other in beside(edges, window, ring, FAR, terrain):
        at = terrain.ravel()[other].astype(xp.int64)
        rise = xp.where(at != VOID, at - own, 0)
        if max(map(abs, step)) <= NEAR:
            level |= (at != VOID) & (ground_count.ravel()[other] > 0) & (abs(rise) <= LEVEL_MM)
        drop |= rise <= -DROP_MM
    return to_host(level), to_host(drop)


def _extent(sums: Mapping[str, int]) -> tuple[float, float, tuple[float, float]]:
    """Variance (cells squared) of the places of a deck's cells along its length and across it, and the direction of that."""
    n, x, y = (sums[name] for name in (DECK, f"{DECK}_x", f"{DECK}_y"))
    # Whole numbers of Python up to here: places are counted from the origin of the coordinate system.
    xx, yy, xy = (n * sums[f"{DECK}_xx"] - x * x, n * sums[f"{DECK}_yy"] - y * y, n * sums[f"{DECK}_xy"] - x * y)
    mean, off = (xx + yy) / (2 * n * n), math.hypot((xx - yy) / (2 * n * n), xy / (n * n))
    turn = 0.5 * math.atan2(2 * xy, xx - yy)
    return mean + off, mean - off, (math.cos(turn), math.sin(turn))


def _is_long(sums: Mapping[str, int], options: ObjectOptions, cell_mm: int) -> bool:
    """Whether a region has the shape of a deck."""
    cells = sums.get(DECK, 0)
    if not options.bridge_m2 or not cells or cells * cell_mm * cell_mm < options.bridge_m2 * MM_PER_M**2:
        return False
    along, across, _ = _extent(sums)
    length, extent = math.sqrt(12 * along), math.sqrt(12 * max(across, 0.0))
    breadth = cells / length
    return length >= max(ELONGATED * breadth, SHORTEST_MM / cell_mm) and extent <= max(STRAIGHT * breadth, 2.0)


def is_bridge(sums: Mapping[str, int], options: ObjectOptions, cell_mm: int) -> bool:
    """Whether a region is, from what was added up over it."""
    if not _is_long(sums, options, cell_mm) or sums.get(LANDING, 0) < LANDINGS:
        return False
    along, _, (east, north) = _extent(sums)
    deck, landings = sums[DECK], sums[LANDING]
    length = math.sqrt(12 * along)
    x, y = (sums[f"{LANDING}_{name}"] for name in "xy")
    xx, yy, xy = (landings * sums[f"{LANDING}_{name}"] - a * b for name, a, b in (("xx", x, x), ("yy", y, y), ("xy", x, y)))
    apart = (xx * east * east + yy * north * north + 2 * xy * east * north) / (landings * landings)
    east_off, north_off = (
        (deck * a - landings * b) / (deck * landings) for a, b in ((x, sums[f"{DECK}_x"]), (y, sums[f"{DECK}_y"]))
    )
    aside = abs(east_off * east + north_off * north)
    half = length / 2
    return apart >= ENDS * max(half - NEAR / 2, 0.0) ** 2 and aside <= half / 2 and sums["drops"] >= SIDES * length
