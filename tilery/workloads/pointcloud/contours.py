"""Contours of the terrain model, in one piece across blocks and tiles, as a GeoPackage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray

from tilery.workloads.pointcloud.geopackage import GeoPackage, Layer, Ring
from tilery.workloads.pointcloud.grid import Window
from tilery.workloads.pointcloud.isolines import Line, Weaver, blocks
from tilery.workloads.pointcloud.rasters import NODATA, Sheet, read

BLOCK = 1024
"""Cells of the terrain model that are contoured at once."""
INTERVALS = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
MOST_LEVELS = 40
INDEX_EVERY = 5
SMOOTHING = np.array([1, 4, 6, 4, 1]) / 16
"""A binomial filter of 5 x 5 cells: contours of single cells show the noise of the points."""
LEAST_RING = 12.0
"""Cells around: closed lines shorter than this are bumps of single cells."""
TOLERANCE = 0.1
"""Cells that a simplified line may leave its place."""
LAYER = Layer("contours", "LINESTRING", {"elevation": "REAL", "indexed": "INTEGER"}, "Contours of the terrain model")


def interval_of(contour_m: float, relief: float, z_unit_m: float) -> float:
    """Height between contours in the unit of height: `contour_m` metres, or where that is 0 chosen by the relief."""
    if contour_m:
        return contour_m / z_unit_m
    return next((step for step in INTERVALS if relief <= MOST_LEVELS * step), INTERVALS[-1])


def write(path: Path, terrain: Path, sheet: Sheet, interval: float) -> int:
    """Write the contours of a terrain model (COG of the sheet), heights at whole multiples of `interval`; returns how many.

    The model is smoothed over 5 x 5 cells first. Lines are simplified by up to a tenth of a cell; the bytes do not depend on
    tiles.
    """
    count = 0
    with GeoPackage(path, [LAYER], sheet.crs_wkt) as package:
        for line in lines(terrain, sheet, interval):
            ring = in_units(line, sheet)
            if ring is not None:
                package.add(LAYER.name, [ring], [round(line.level * interval, 6), int(line.level % INDEX_EVERY == 0)])
                count += 1
    return count


def lines(terrain: Path, sheet: Sheet, interval: float) -> Iterator[Line]:
    """The contours in cells of the sheet, counted from its south-west cell."""
    extent = sheet.extent
    weaver = Weaver(extent.width, interval)
    margin, previous = len(SMOOTHING) // 2, 0
    with rasterio.open(terrain) as raster:
        for row, column, height, width in blocks(extent.height, extent.width, BLOCK):
            if row != previous:
                yield from weaver.finished(row)
                previous = row
            window = Window(extent.x0 + column, extent.y0 + row, width, height)
            heights = read(raster, sheet, window.grow(margin)).astype(np.float64)
            if (heights != NODATA).any():
                smoothed = smooth(np.where(heights == NODATA, np.nan, heights))
                weaver.add(smoothed[margin:-margin, margin:-margin], column, row)
    yield from weaver.finished()


def smooth(heights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Heights averaged over 5 x 5 cells, of those that are known (not NaN); unknown cells stay unknown."""
    known = np.isfinite(heights)
    level = float(np.floor(np.min(heights, where=known, initial=np.inf)))
    total, weight = np.where(known, heights - level, 0.0), known.astype(np.float64)
    for axis in (0, 1):
        total, weight = (_filtered(values, axis) for values in (total, weight))
    return np.where(known, total / np.where(known, weight, 1.0) + level, np.nan)


def _filtered(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    margin = len(SMOOTHING) // 2
    wide = np.pad(values, [(margin, margin) if one == axis else (0, 0) for one in (0, 1)])
    result = np.zeros(values.shape)
    for step, share in enumerate(SMOOTHING):
        cut = [slice(None), slice(None)]
        cut[axis] = slice(step, step + values.shape[axis])
        result += share * wide[tuple(cut)]
    return result


def in_units(line: Line, sheet: Sheet) -> Ring | None:
    """The line in the unit of the CRS, simplified; None where it is too short to mean anything."""
    steps = np.abs(np.diff(line.points, axis=0)).sum(axis=1)
    length = float(steps.sum())
    if length == 0 or (line.closed and length < LEAST_RING):
        return None
    kept = shapely.get_coordinates(shapely.simplify(shapely.linestrings(line.points), TOLERANCE, preserve_topology=False))
    corner = np.array([sheet.extent.x0 + 0.5, sheet.extent.y0 + 0.5])
    placed: Ring = np.round((kept + corner) * sheet.cell, 3)
    return placed
