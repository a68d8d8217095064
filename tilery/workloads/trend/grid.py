"""The pixel grid of a raster, and of the result: windows on its blocks, and how two grids lie to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil, floor
from typing import Any

from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.warp import transform_bounds

from tilery.outcomes import BadInput

_OF_A_PIXEL = 1e-3
"""Grids that differ by less everywhere are the same: files round their numbers."""
MOST_PIXELS = 10**11

Box = tuple[int, int, int, int]
"""Column, row, width, height in pixels."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid: CRS as WKT (empty where the file has none), the six numbers of its affine transform, size in pixels."""

    crs: str
    transform: tuple[float, float, float, float, float, float]
    width: int
    height: int

    @classmethod
    def of(cls, dataset: Any) -> Grid:
        """The grid of an open rasterio dataset."""
        crs = dataset.crs.to_wkt() if dataset.crs else ""
        return cls(crs, tuple(dataset.transform)[:6], dataset.width, dataset.height)

    @classmethod
    def read(cls, value: dict[str, Any]) -> Grid:
        return cls(value["crs"], tuple(value["transform"]), value["width"], value["height"])

    def json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def affine(self) -> Affine:
        return Affine(*self.transform)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top of a grid that is north up."""
        a, _, c, _, e, f = self.transform
        return c, f + e * self.height, c + a * self.width, f

    @property
    def north_up(self) -> bool:
        return self.transform[1] == 0 and self.transform[3] == 0 and self.transform[0] > 0 and self.transform[4] < 0


def offset(grid: Grid, other: Grid) -> tuple[int, int] | None:
    """Column and row in `grid` of the first pixel of `other`, if both are cut from one lattice; else None."""
    if not _same_crs(grid.crs, other.crs):
        return None
    shift = ~grid.affine @ other.affine  # pixels of other -> pixels of grid
    column, row = round(shift.c), round(shift.f)
    corners = [(0, 0), (other.width, 0), (0, other.height), (other.width, other.height)]
    for x, y in corners:
        at_x, at_y = shift @ (x, y)
        if abs(at_x - x - column) > _OF_A_PIXEL or abs(at_y - y - row) > _OF_A_PIXEL:
            return None
    return column, row


def same(grid: Grid, other: Grid) -> bool:
    return (grid.width, grid.height) == (other.width, other.height) and offset(grid, other) == (0, 0)


def difference(grid: Grid, other: Grid) -> str:
    """How `other` differs, for a sentence."""
    if not _same_crs(grid.crs, other.crs):
        return f"its CRS is {crs_name(other.crs)}, not {crs_name(grid.crs)}"
    if (grid.width, grid.height) != (other.width, other.height):
        return f"it has {other.width} x {other.height} pixels, not {grid.width} x {grid.height}"
    return "its pixels lie elsewhere: " + ", ".join(f"{value:g}" for value in other.transform)


def union(grids: Sequence[Grid]) -> Grid:
    """The smallest grid on the lattice of the first that holds them all."""
    first = grids[0]
    if not first.north_up or not all(grid.north_up for grid in grids):
        raise BadInput("rasters whose rows do not run west to east cannot be joined to a union; set grid=first")
    a, _, c, _, e, f = first.transform
    columns, rows = [0, first.width], [0, first.height]
    for grid in grids[1:]:
        bounds = grid.bounds
        if not _same_crs(first.crs, grid.crs):
            if not first.crs or not grid.crs:
                raise BadInput("rasters with and without a CRS cannot be joined; give all of them one")
            bounds = transform_bounds(CRS.from_wkt(grid.crs), CRS.from_wkt(first.crs), *bounds, densify_pts=21)
        left, bottom, right, top = bounds
        columns += [floor((left - c) / a + _OF_A_PIXEL), ceil((right - c) / a - _OF_A_PIXEL)]
        rows += [floor((top - f) / e + _OF_A_PIXEL), ceil((bottom - f) / e - _OF_A_PIXEL)]
    left_column, top_row = min(columns), min(rows)
    transform = (a, 0.0, c + a * left_column, 0.0, e, f + e * top_row)
    return Grid(first.crs, transform, max(columns) - left_column, max(rows) - top_row)


def windows(grid: Grid, width: int, height: int) -> list[Box]:
    """The grid in boxes of at most width x height, row by row.

    >>> windows(Grid("", (1, 0, 0, 0, -1, 0), 5, 2), 4, 4)
    [(0, 0, 4, 2), (4, 0, 1, 2)]
    """
    return [
        (column, row, min(width, grid.width - column), min(height, grid.height - row))
        for row in range(0, grid.height, height)
        for column in range(0, grid.width, width)
    ]


def _same_crs(a: str, b: str) -> bool:
    if a == b:
        return True
    return bool(a and b) and CRS.from_wkt(a) == CRS.from_wkt(b)


def crs_name(crs: str) -> str:
    """A CRS in a few words: its EPSG code and name, else its name, else its parameters."""
    if not crs:
        return "missing"
    known = CRS.from_wkt(crs)
    _, name, *_ = [*crs.split('"'), "unnamed"]
    if known.to_epsg():
        return f"EPSG:{known.to_epsg()} ({name})"
    return (str(known.to_proj4()) if name == "unnamed" else name)[:120]
