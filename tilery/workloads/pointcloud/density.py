"""How densely the area was measured: a map of points a square metre, and what share of the area has too few."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tilery.workloads.pointcloud import gridding
from tilery.workloads.pointcloud.grid import Window
from tilery.workloads.pointcloud.layers import Layers
from tilery.workloads.pointcloud.rasters import NODATA, Raster, Sheet

SQUARE_M = 8.0
"""Least side of the squares on which the area is judged."""
MOST_SQUARES = 1024
"""Most of them along a side: squares grow with the area, memory does not."""
FEW = 1.0
"""Points a square metre below which a square counts as thin."""


def write(path: Path, tiles: Layers, sheet: Sheet) -> None:
    """A COG of two bands (float32): points and ground points a square metre; nodata where a tile is missing."""
    with Raster(path, sheet, bands=2, names=("points per m2", "ground points per m2")) as raster:
        for window in sheet.blocks():
            counts = tiles.window(gridding.COUNT, window) / sheet.cell_m2
            raster.write(window, np.where(tiles.hole(window), NODATA, counts).astype(np.float32))


@dataclass(frozen=True, slots=True)
class Survey:
    """Counts on squares of `side` cells over the extent, counted from its south-west corner."""

    sheet: Sheet
    side: int
    points: NDArray[np.int64]
    ground: NDArray[np.int64]
    hit: NDArray[np.int64]
    """Cells that hold a point."""

    @property
    def square_m2(self) -> float:
        return self.side**2 * self.sheet.cell_m2

    @property
    def surveyed(self) -> NDArray[np.bool_]:
        """Squares that hold a point, and holes among them."""
        inside: NDArray[np.bool_] = ndimage.binary_fill_holes(self.points > 0)
        return inside

    @property
    def area_m2(self) -> float:
        """The surveyed area."""
        return float(np.count_nonzero(self.surveyed)) * self.square_m2

    @property
    def void_share(self) -> float:
        """Share of the surveyed area whose squares hold no point."""
        return self._share(self.points == 0)

    @property
    def thin_share(self) -> float:
        """Share of the surveyed area whose squares hold less than a point a square metre, none included."""
        return self._share(self.points < FEW * self.square_m2)

    @property
    def blind_share(self) -> float:
        """Share of the surveyed area whose squares hold no ground point."""
        return self._share(self.ground == 0)

    def _share(self, squares: NDArray[np.bool_]) -> float:
        inside = self.surveyed
        return float(np.count_nonzero(squares & inside)) / max(1, int(np.count_nonzero(inside)))


def survey(counts: Iterable[tuple[Window, NDArray[Any]]], sheet: Sheet) -> Survey:
    """The survey of an extent from windows of counts (2 x height x width: points, ground points)."""
    extent = sheet.extent
    longest = max(extent.width, extent.height)
    side = max(1, round(SQUARE_M / sheet.resolution_m), -(-longest // MOST_SQUARES))
    shape = -(-extent.height // side), -(-extent.width // side)
    sums = [np.zeros(shape, np.int64) for _ in range(3)]
    for window, values in counts:
        part = window.overlap(extent)
        if not part.width or not part.height:
            continue
        rows, columns = part.inside(window)
        points, ground = values[0, rows, columns].astype(np.int64), values[1, rows, columns].astype(np.int64)
        for total, cells in zip(sums, (points, ground, (points > 0).astype(np.int64)), strict=True):
            add_to_squares(total, cells, part.x0 - extent.x0, part.y0 - extent.y0, side)
    return Survey(sheet, side, *sums)


def add_to_squares(total: NDArray[Any], cells: NDArray[Any], x0: int, y0: int, side: int) -> None:
    """Add a window of cells, which starts at this column and row of the extent, to the squares that they lie in."""
    columns, rows = (x0 + np.arange(cells.shape[1])) // side, (y0 + np.arange(cells.shape[0])) // side
    narrow = np.add.reduceat(cells, np.flatnonzero(np.diff(columns, prepend=-1)), axis=1)
    small = np.add.reduceat(narrow, np.flatnonzero(np.diff(rows, prepend=-1)), axis=0)
    total[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += small
