"""Heights on the cells of the products: tiles in these cells, and voids filled from nearby."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.pointcloud import squares
from tilery.workloads.pointcloud.fill import fill
from tilery.workloads.pointcloud.grid import MM_PER_M, VOID, TileGrid, TileIndex, Window, cell_millimetres


def in_cells(grid: TileGrid, tile: TileIndex, cell_mm: int) -> Window:
    """A tile's window in cells of another size, of which its side is a whole number."""
    core, side = grid.window(tile), grid.side * grid.cell_mm // cell_mm
    return Window(core.x0 * grid.cell_mm // cell_mm, core.y0 * grid.cell_mm // cell_mm, side, side)


def fill_cells(resolution_m: float, fill_m: float) -> int:
    """Cells around a window that its heights depend on: how far voids are interpolated."""
    return math.floor(fill_m * MM_PER_M / cell_millimetres(resolution_m))


def fill_twice(mean: NDArray[np.int32], reach: int) -> NDArray[np.int32]:
    """Voids filled from known cells within `reach`, in two passes of half of it.

    One pass looks along eight directions only and leaves cobwebs of void between its lines; the second closes them.
    """
    first = reach - reach // 2
    for step in (first, reach - first):
        mean = fill(mean, step, one_sided=False) if step else mean
    return mean


SMOOTHING = (3, 2, 1)
"""Radii (cells) of the means that filled cells are smoothed by, one after the other."""
MORE = sum(SMOOTHING)
"""Cells that a filled height depends on beyond how far voids are filled."""


def smoothed(heights: NDArray[np.int32], measured: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The same heights where they are measured; what was filled, along lines that show, becomes the mean of what is around."""
    known = heights != VOID
    changed = known & ~measured
    for radius in SMOOTHING:
        total, count = squares.total(np.where(known, heights, 0), radius), squares.total(known, radius)
        heights = np.where(changed, (2 * total + count) // np.maximum(2 * count, 1), heights).astype(np.int32)
    return heights


def filled(mean: NDArray[np.int32], wide: Window, core: Window, reach: int) -> NDArray[np.int32]:
    """The heights (int32 mm) of `core`, voids filled from what is known (not `VOID`) within `reach` cells.

    `mean` are the heights of the window `wide`, which holds the core and `reach + MORE` cells around it. A cell gets the same
    height in any window that holds it.
    """
    heights = np.full(core.shape, VOID, np.int32)
    if (box := known(mean, wide)) is not None and (part := core.overlap(box)).width and part.height:
        cut = mean[box.inside(wide)]
        whole = smoothed(fill_twice(cut, reach), cut != VOID)
        heights[part.inside(core)] = whole[part.inside(box)]
    return heights


def known(mean_mm: NDArray[np.int32], window: Window) -> Window | None:
    """The smallest window that holds every known cell; beyond it nothing is filled, as filling is between known cells."""
    there = mean_mm != VOID
    rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
    if not len(rows):
        return None
    x0, y0 = int(columns[0]), int(rows[0])
    return Window(window.x0 + x0, window.y0 + y0, int(columns[-1]) - x0 + 1, int(rows[-1]) - y0 + 1)


class Neighbours:
    """Which of many tiles of equal size lie where, without comparing all with all."""

    def __init__(self, windows: Sequence[Window]) -> None:
        self._side = windows[0].width if windows else 1
        self._at = {(window.x0 // self._side, window.y0 // self._side): number for number, window in enumerate(windows)}

    def touching(self, window: Window) -> list[int]:
        """The tiles that share cells with a window."""
        columns = range(window.x0 // self._side, (window.x0 + window.width - 1) // self._side + 1)
        rows = range(window.y0 // self._side, (window.y0 + window.height - 1) // self._side + 1)
        return [self._at[column, row] for row in rows for column in columns if (column, row) in self._at]
