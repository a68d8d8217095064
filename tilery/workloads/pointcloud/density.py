"""How densely the area was measured: a map of points a square metre, and what share of the area has too few."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.pointcloud import gridding, sheets
from tilery.workloads.pointcloud.grid import Window
from tilery.workloads.pointcloud.layers import Layers
from tilery.workloads.pointcloud.pixels import Canvas, step_of
from tilery.workloads.pointcloud.rasters import NODATA, Raster, Sheet

SQUARE_M = 8.0
"""Least side of the squares on which the area is judged."""
MOST_SQUARES = 1024
"""Most of them along a side: squares grow with the area, memory does not."""
FEW = 1.0
"""Points a square metre below which a square counts as thin."""


@dataclass(frozen=True, slots=True)
class Survey:
    """Counts on squares of cells of the global grid; those at the edges hold fewer cells of the extent."""

    squares: Canvas
    """Points, ground points, and cells that hold a point."""
    cell_m2: float

    @property
    def side(self) -> int:
        """Cells a side of a square."""
        return self.squares.step

    @property
    def area_m2(self) -> float:
        """The surveyed area: squares that hold a point, and holes among them."""
        return self.cell_m2 * float(self._cells()[self._surveyed()].sum())

    @property
    def void_share(self) -> float:
        """Share of the surveyed area whose squares hold no point."""
        return self._share(self.squares.values[0] == 0)

    @property
    def thin_share(self) -> float:
        """Share of the surveyed area whose squares hold less than a point a square metre, none included."""
        return self._share(self.squares.values[0] < FEW * self.cell_m2 * self._cells())

    @property
    def blind_share(self) -> float:
        """Share of the surveyed area whose squares hold no ground point."""
        return self._share(self.squares.values[1] == 0)

    def _surveyed(self) -> NDArray[np.bool_]:
        from scipy import ndimage

        inside: NDArray[np.bool_] = ndimage.binary_fill_holes(self.squares.values[0] > 0)
        return inside

    def _cells(self) -> NDArray[np.int64]:
        """Cells of the extent in each square."""
        return np.multiply.outer(*(self._along(axis) for axis in (1, 0)))

    def _along(self, axis: int) -> NDArray[np.int64]:
        window, extent, side = self.squares.window, self.squares.extent, self.squares.step
        first, low = ((window.x0, extent.x0), (window.y0, extent.y0))[axis]
        edges = (first + np.arange((window.width, window.height)[axis] + 1)) * side
        clipped: NDArray[np.int64] = np.clip(edges, low, low + (extent.width, extent.height)[axis])
        return clipped[1:] - clipped[:-1]

    def _share(self, squares: NDArray[np.bool_]) -> float:
        cells, inside = self._cells(), self._surveyed()
        return float(cells[squares & inside].sum()) / max(1, int(cells[inside].sum()))


def square_side(extent: Window, resolution_m: float) -> int:
    """Cells a side of the squares of a run."""
    return step_of(extent, MOST_SQUARES, least=round(SQUARE_M / resolution_m), most=sheets.SIDE)


def count(path: Path | None, tiles: Layers, sheet: Sheet, squares: Canvas) -> Iterator[tuple[Window, NDArray[np.int64]]]:
    """Count a sheet: onto `squares` (points, ground points, cells that hold one), and at `path`, if any, as a COG.

    The COG has two bands (float32): points and ground points a square metre; nodata where a tile is missing. Yields windows and
    their counts (2 x height x width).
    """
    with ExitStack() as stack:
        names = ("points per m2", "ground points per m2")
        raster = stack.enter_context(Raster(path, sheet, bands=2, names=names)) if path else None
        for window in sheet.blocks():
            counts = tiles.window(gridding.COUNT, window).astype(np.int64)
            squares.add(window, np.concatenate([counts, counts[:1] > 0]))
            if raster:
                per_m2 = counts / sheet.cell_m2
                raster.write(window, np.where(tiles.hole(window), NODATA, per_m2).astype(np.float32))
            yield window, counts
