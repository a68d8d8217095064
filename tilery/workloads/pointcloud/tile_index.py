"""An index of the run, as a GeoPackage: its tiles with what they hold, and the extents of its files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.pointcloud.geopackage import GeoPackage, Layer, Ring
from tilery.workloads.pointcloud.grid import TileGrid, Window, tile_from_id, tile_id
from tilery.workloads.pointcloud.las_header import LasFile
from tilery.workloads.pointcloud.rasters import Sheet
from tilery.workloads.pointcloud.surface import in_cells

TILES = Layer(
    "tiles",
    "POLYGON",
    {"tile": "TEXT", "status": "TEXT", "points": "INTEGER", "ground": "INTEGER", "per_m2": "REAL", "void": "REAL"},
    "Tiles of the run: points, ground points, points per m2 of the cells that hold some, share of cells without",
)
FILES = Layer(
    "files",
    "POLYGON",
    {"file": "TEXT", "points": "INTEGER", "version": "TEXT", "point_format": "INTEGER", "product": "TEXT"},
    "Files of the run, as their headers bound them",
)
SHEETS = Layer("sheets", "POLYGON", {"sheet": "TEXT", "products": "TEXT"}, "Sheets of the run, and their products' paths")


Counts = dict[str, list[int]]
"""Tile -> its points, ground points, and cells that hold a point."""


def add(counts: Counts, window: Window, values: NDArray[np.int64], grid: TileGrid, cell_mm: int) -> None:
    """Add a window of points and ground points a cell (2 x height x width) to the counts of the tiles that it touches.

    The tiles are those of the run's options, in whatever windows the counts come.
    """
    x, y = (np.array([low, low + size - 1]) * cell_mm for low, size in ((window.x0, window.width), (window.y0, window.height)))
    columns, rows = grid.tile_of(x, y)
    for row in range(int(rows[0]), int(rows[1]) + 1):
        for column in range(int(columns[0]), int(columns[1]) + 1):
            cut = in_cells(grid, (column, row), cell_mm).overlap(window)
            points, ground = values[(slice(None), *cut.inside(window))]
            if points.any():
                added = int(points.sum()), int(ground.sum()), int(np.count_nonzero(points))
                before = counts.get(tile_id((column, row)), [0, 0, 0])
                counts[tile_id((column, row))] = [one + more for one, more in zip(before, added, strict=True)]


def merged(parts: Iterable[Mapping[str, Sequence[int]]]) -> Counts:
    """The counts of all parts together."""
    total: Counts = {}
    for part in parts:
        for tile, counts in part.items():
            total[tile] = [one + other for one, other in zip(total.get(tile, [0, 0, 0]), counts, strict=True)]
    return total


def write(
    path: Path,
    counts: Counts,
    area: Sheet,
    grid: TileGrid,
    missing: Collection[str],
    files: Sequence[tuple[LasFile, str]],
    sheets: Sequence[tuple[str, Window, str]] = (),
) -> None:
    """Write the index of an area. `files`: and the paths of their products; `sheets`: name, window, paths of products."""
    cell_mm = round(area.resolution_m * 1000)
    with GeoPackage(path, [TILES, FILES, *([SHEETS] if sheets else [])], area.crs_wkt) as package:
        for index in sorted(tile_from_id(name) for name in {*counts, *missing}):
            window = in_cells(grid, index, cell_mm)
            inside = window.overlap(area.extent)
            points, ground, hit = counts.get(tile_id(index), [0, 0, 0])
            density = round(points / (hit * area.cell_m2), 3) if hit else None
            void = round(1 - hit / (inside.width * inside.height), 4) if hit else None
            status = "missing" if tile_id(index) in missing else "done"
            package.add(TILES.name, [_of_cells(window, area.cell)], [tile_id(index), status, points, ground, density, void])
        for file, product in files:
            values = [file.name, file.count, f"{file.version[0]}.{file.version[1]}", file.point_format, product or None]
            package.add(FILES.name, [_box(*file.mins[:2], *file.maxs[:2])], values)
        for name, window, paths in sheets:
            package.add(SHEETS.name, [_of_cells(window, area.cell)], [name, paths])


def _of_cells(window: Window, cell: float) -> Ring:
    edges = [window.x0, window.y0, window.x0 + window.width, window.y0 + window.height]
    return _box(*(edge * cell for edge in edges))


def _box(x0: float, y0: float, x1: float, y1: float) -> Ring:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]])
