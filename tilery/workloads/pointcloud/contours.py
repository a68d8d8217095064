"""Contours of the terrain model, in one piece across blocks and tiles, as a GeoPackage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from tilery.workloads.pointcloud.geopackage import GeoPackage, Layer, Ring
from tilery.workloads.pointcloud.grid import Window
from tilery.workloads.pointcloud.heights import DTM, Models
from tilery.workloads.pointcloud.isolines import Line, Weaver, blocks
from tilery.workloads.pointcloud.rasters import NODATA

BLOCK = 1024
"""Cells of the terrain model that are contoured at once."""
INTERVALS = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
MOST_LEVELS = 40
INDEX_EVERY = 5
SMOOTHING = np.array([1, 4, 6, 4, 1]) / 16
"""A binomial filter of 5 x 5 cells: contours of single cells show the noise of the points."""
MARGIN = 6
"""Cells around a sheet in which a ring that is to be left out can lie, if it touches the sheet."""
LEAST_RING = 2.0 * MARGIN
"""Cells around: closed lines shorter than this are bumps of single cells."""
TOLERANCE = 0.1
"""Cells that a simplified line may leave its place."""
LAYER = Layer("contours", "LINESTRING", {"elevation": "REAL", "indexed": "INTEGER"}, "Contours of the terrain model")


def interval_of(contour_m: float, relief: float, z_unit_m: float) -> float:
    """Height between contours in the unit of height: `contour_m` metres, or where that is 0 chosen by the relief."""
    if contour_m:
        return contour_m / z_unit_m
    return next((step for step in INTERVALS if relief <= MOST_LEVELS * step), INTERVALS[-1])


def write(path: Path, models: Models, interval: float) -> int:
    """Write the contours of the terrain of a sheet, heights at whole multiples of `interval`; returns how many.

    The model is smoothed over 5 x 5 cells first. Lines are simplified by up to a tenth of a cell; the bytes do not depend on
    tiles. Lines that cross the edge of the sheet end there, at the very vertex where the next sheet goes on.
    """
    count, sheet = 0, models.sheet
    area = sheet.extent.grow(MARGIN + 1).overlap(models.heights.extent)
    with GeoPackage(path, [LAYER], sheet.crs_wkt) as package:
        for line in lines(models, area, interval):
            if line.closed and _length(line) < LEAST_RING:
                continue
            for part in within(line, sheet.extent, area):
                if _length(part):
                    values = [round(part.level * interval, 6), int(part.level % INDEX_EVERY == 0)]
                    package.add(LAYER.name, [in_units(part, area, sheet.cell)], values)
                    count += 1
    return count


def lines(models: Models, area: Window, interval: float) -> Iterator[Line]:
    """The contours in an area, in its cells, counted from its south-west cell."""
    weaver = Weaver(area.width, interval)
    margin, previous = len(SMOOTHING) // 2, 0
    for row, column, height, width in blocks(area.height, area.width, BLOCK):
        if row != previous:
            yield from weaver.finished(row)
            previous = row
        window = Window(area.x0 + column, area.y0 + row, width, height)
        heights = models.window(DTM, window.grow(margin)).astype(np.float64)
        if (heights != NODATA).any():
            smoothed = smooth(np.where(heights == NODATA, np.nan, heights))
            weaver.add(smoothed[margin:-margin, margin:-margin], column, row)
    yield from weaver.finished()


def within(line: Line, sheet: Window, area: Window) -> Iterator[Line]:
    """The parts of a line whose squares (between the centres of four cells) start at cells of the sheet."""
    if sheet == area:
        yield line
        return
    start = np.array([sheet.x0 - area.x0, sheet.y0 - area.y0])
    square = np.floor((line.points[1:] + line.points[:-1]) / 2)
    stop = start + np.array([sheet.width, sheet.height])
    mine = np.asarray(((square >= start) & (square < stop)).all(axis=1))
    if mine.all():
        yield line
        return
    edges = np.flatnonzero(np.diff(mine, prepend=False, append=False))
    runs = edges.reshape(-1, 2).tolist()
    if line.closed and len(runs) > 1 and mine[0] and mine[-1]:  # the line starts in the middle of a part
        (_, end), (begin, _) = runs.pop(0), runs.pop()
        yield Line(line.level, np.concatenate([line.points[begin:], line.points[1 : end + 1]]), closed=False)
    for begin, end in runs:
        yield Line(line.level, line.points[begin : end + 1], closed=False)


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


def _length(line: Line) -> float:
    """Cells along the line, by rows and columns."""
    return float(np.abs(np.diff(line.points, axis=0)).sum())


def in_units(line: Line, area: Window, cell: float) -> Ring:
    """The line in the unit of the CRS, simplified."""
    kept = shapely.get_coordinates(shapely.simplify(shapely.linestrings(line.points), TOLERANCE, preserve_topology=False))
    corner = np.array([area.x0 + 0.5, area.y0 + 0.5])
    placed: Ring = np.round((kept + corner) * cell, 3)
    return placed
