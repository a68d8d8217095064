"""Heights on the cells of the products, known tile by tile, filled across tile borders."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

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


class Filled:
    """A surface kept tile by tile, its voids filled from what is known within `reach` cells, also across tile borders.

    `read` gives the heights (int32 mm, `VOID` where unknown, row 0 in the south) of the tile with a number, `windows` the cells
    of each, `near` which tiles are where. A cell gets the same height as in one window of everything.
    """

    def __init__(
        self, read: Callable[[int], NDArray[np.int32]], windows: Sequence[Window], near: Neighbours, reach: int
    ) -> None:
        self._read, self._windows, self._near, self._reach = read, windows, near, reach

    def tile(self, number: int) -> NDArray[np.int32]:
        """The heights (int32 mm) of a tile, `VOID` where there is nothing to fill from."""
        window = self._windows[number]
        wide = window.grow(self._reach)
        mean = np.full(wide.shape, VOID, np.int32)
        for other in self._near.touching(wide):
            part = self._windows[other].overlap(wide)
            mean[part.inside(wide)] = self._read(other)[part.inside(self._windows[other])]
        heights = np.full(window.shape, VOID, np.int32)
        if (box := known(mean, wide)) is not None and (part := window.overlap(box)).width and part.height:
            filled = fill_twice(mean[box.inside(wide)], self._reach)
            heights[part.inside(window)] = filled[part.inside(box)]
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
