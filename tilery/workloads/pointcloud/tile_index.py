"""An index of the run, as a GeoPackage: its tiles with what they hold, and the extents of its files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.pointcloud.geopackage import GeoPackage, Layer, Ring
from tilery.workloads.pointcloud.grid import TileGrid, TileIndex, Window, tile_id
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


@dataclass
class _Tile:
    points: int = 0
    ground: int = 0
    hit: int = 0
    cells: int = 0


def write(
    path: Path,
    counts: Iterable[tuple[Window, NDArray[Any]]],
    sheet: Sheet,
    grid: TileGrid,
    missing: Sequence[TileIndex],
    files: Sequence[tuple[LasFile, str]],
) -> None:
    """Write the index. `counts`: windows of points and ground points a cell (2 x height x width); `files`: and their products'
    paths. The tiles are those of the run's options, in whatever windows the counts come."""
    cell_mm = round(sheet.resolution_m * 1000)
    with GeoPackage(path, [TILES, FILES], sheet.crs_wkt) as package:
        found = _tiles(counts, sheet.extent, grid, cell_mm)
        for hole in missing:
            found.setdefault(hole, _Tile())
        for index, tile in sorted(found.items()):
            window = in_cells(grid, index, cell_mm)
            density = round(tile.points / (tile.hit * sheet.cell_m2), 3) if tile.hit else None
            void = round(1 - tile.hit / tile.cells, 4) if tile.cells else None
            status = "missing" if index in missing else "done"
            values = [tile_id(index), status, tile.points, tile.ground, density, void]
            edges = [window.x0, window.y0, window.x0 + window.width, window.y0 + window.height]
            package.add(TILES.name, [_box(*(edge * sheet.cell for edge in edges))], values)
        for file, product in files:
            values = [file.name, file.count, f"{file.version[0]}.{file.version[1]}", file.point_format, product or None]
            package.add(FILES.name, [_box(*file.mins[:2], *file.maxs[:2])], values)


def _tiles(
    counts: Iterable[tuple[Window, NDArray[Any]]], extent: Window, grid: TileGrid, cell_mm: int
) -> dict[TileIndex, _Tile]:
    found: dict[TileIndex, _Tile] = {}
    for window, values in counts:
        part = window.overlap(extent)
        if not part.width or not part.height:
            continue
        x, y = (np.array([low, low + size - 1]) * cell_mm for low, size in ((part.x0, part.width), (part.y0, part.height)))
        columns, rows = grid.tile_of(x, y)
        for row in range(int(rows[0]), int(rows[1]) + 1):
            for column in range(int(columns[0]), int(columns[1]) + 1):
                cut = in_cells(grid, (column, row), cell_mm).overlap(part)
                points, ground = values[(slice(None), *cut.inside(window))].astype(np.int64)
                if not points.any():
                    continue
                tile = found.setdefault((column, row), _Tile())
                tile.points += int(points.sum())
                tile.ground += int(ground.sum())
                tile.hit += int(np.count_nonzero(points))
    for index, tile in found.items():
        inside = in_cells(grid, index, cell_mm).overlap(extent)
        tile.cells = inside.width * inside.height
    return found


def _box(x0: float, y0: float, x1: float, y1: float) -> Ring:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]])
