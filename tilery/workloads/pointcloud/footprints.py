"""Outlines of buildings, from the cells whose points are building: joined across tiles, squared, as a GeoPackage."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.features
import shapely
import shapely.affinity
from numpy.typing import NDArray
from rasterio.transform import Affine

from tilery.workloads.pointcloud import gridding, sheets
from tilery.workloads.pointcloud.geopackage import Column, GeoPackage, Layer
from tilery.workloads.pointcloud.grid import Window
from tilery.workloads.pointcloud.heights import CHM, DTM, Models
from tilery.workloads.pointcloud.isolines import Line, Points, Weaver, blocks
from tilery.workloads.pointcloud.layers import Layers
from tilery.workloads.pointcloud.rasters import NODATA, Sheet

BLOCK = 1024
AROUND_M = 150.0
"""How far around a sheet is looked first for the rest of its buildings."""
LEAST_M2 = 12.0
"""Smaller buildings, and smaller courtyards, are left out."""
GAP_M = 1.0
"""Gaps up to twice this are closed, and what is thinner than twice this is taken away."""
TOLERANCE_M = 0.8
"""How far an outline may leave the cells' edges when it is simplified: at least three quarters of a cell."""
SQUARE_DEGREES = 22.5
"""Edges this close to the building's main direction, or square to it, are turned into it."""
STUB_CELLS = 5.0
"""Edges shorter than this that lie in neither direction are the work of cells, not of the building."""
STEP_CELLS = 1.0
"""Parallel edges closer than this are one."""
LEAST_LIKENESS = 0.8
"""Shared area of the squared and the plain outline, of both together: below, the plain one is kept."""
ROOF_SHARE = 0.9
COLUMNS: dict[str, Column] = {
    "area_m2": "REAL",
    "height_m": "REAL",
    "highest_m": "REAL",
    "ground_m": "REAL",
    "squared": "INTEGER",
}
LAYER = Layer("footprints", "POLYGON", COLUMNS, "Buildings seen from above")


@dataclass
class _Courts:
    """Holes that wait for the building around them: a hole ends before its building does."""

    waiting: list[Points] = field(default_factory=list)

    def of(self, outer: Any) -> list[Points]:
        """The holes that lie in this outline; they wait no longer."""
        x0, y0, x1, y1 = outer.bounds
        mine: list[Points] = []
        for hole in list(self.waiting):
            x, y = hole[0]
            if x0 < x < x1 and y0 < y < y1 and shapely.contains_xy(outer, x, y):
                mine.append(hole)
        if mine:
            taken = {id(hole) for hole in mine}
            self.waiting = [hole for hole in self.waiting if id(hole) not in taken]
        return mine


def write(path: Path, models: Models, tiles: Layers) -> int:
    """Write the footprints of a sheet with their area, height above ground and ground height (metres); returns how many.

    A building belongs to the sheet that holds its southernmost corner, and is drawn there in full. Heights are null where the
    terrain below is not known.
    """
    count, sheet = 0, models.sheet
    metres, corner = sheet.cell * sheet.unit_m, np.array([sheet.extent.x0, sheet.extent.y0])
    with GeoPackage(path, [LAYER], sheet.crs_wkt) as package:
        for outline in of_sheet(tiles, sheet, models.heights.extent):
            west, south = outline.bounds[:2]
            # From a corner of its own: the same in whichever sheet.
            shape, is_squared = squared(shapely.affinity.translate(outline, -west, -south), max(TOLERANCE_M / metres, 0.75))
            area_m2 = float(shape.area) * metres**2
            if area_m2 < LEAST_M2:
                continue
            heights = _heights(outline, models)
            place = corner + np.array([west, south])
            rings = [np.round((shapely.get_coordinates(ring) + place) * sheet.cell, 3) for ring in rings_of(shape)]
            package.add(LAYER.name, rings, [round(area_m2, 2), *heights, int(is_squared)])
            count += 1
    return count


def of_sheet(tiles: Layers, sheet: Sheet, extent: Window) -> Iterator[Any]:
    """The outlines of the buildings of a sheet, in cells from its south-west corner; `extent`: all cells of the run.

    They are drawn with what lies around the sheet, and those that reach beyond it once more with more around.
    """
    metres = sheet.cell * sheet.unit_m
    around, most = round(AROUND_M / metres), round(sheets.AROUND_M / metres)
    least = LEAST_M2 / sheet.cell_m2
    before: Window | None = None
    while True:
        area = sheet.extent.grow(around).overlap(extent)
        is_last, again = around >= most, False
        for outline in outlines(tiles, area, extent, max(1, round(GAP_M / sheet.resolution_m)), least):
            placed = shapely.affinity.translate(outline, area.x0 - sheet.extent.x0, area.y0 - sheet.extent.y0)
            box = _cells(placed, sheet)
            part = box.overlap(sheet.extent)
            if not part.width or not part.height or (before is not None and _inside(box, before, extent)):
                continue
            if not is_last and not _inside(box, area, extent):
                again = True
            elif _starts_in(placed, sheet):
                yield placed
        if not again:
            return
        before, around = area, min(4 * around, most)


def _cells(outline: Any, sheet: Sheet) -> Window:
    """The cells that an outline spans."""
    west, south, east, north = (round(edge) for edge in outline.bounds)
    return Window(sheet.extent.x0 + west, sheet.extent.y0 + south, east - west, north - south)


def _inside(box: Window, area: Window, extent: Window) -> bool:
    """Whether what spans this box ends before the area does, or where the whole extent ends."""
    wide = box.grow(1).overlap(extent)
    return wide.overlap(area) == wide


def _starts_in(outline: Any, sheet: Sheet) -> bool:
    """Whether the southernmost, then westernmost vertex of an outline lies in the sheet."""
    x, y = min(shapely.get_coordinates(outline.exterior).tolist(), key=lambda vertex: (vertex[1], vertex[0]))
    return bool(0 <= x < sheet.extent.width and 0 <= y < sheet.extent.height)


def rings_of(shape: Any) -> list[Any]:
    return [shape.exterior, *shape.interiors]


def outlines(tiles: Layers, area: Window, extent: Window, reach: int, least: float) -> Iterator[Any]:
    """Polygons (shapely) along the edges of building cells of an area, in cells from its south-west corner, by their northern
    ends. Gaps up to twice `reach` cells are closed; what has less than `least` cells is left out."""
    box = area.grow(1)
    weaver, courts = Weaver(box.width, 1.0), _Courts()
    previous = 0
    for row, column, height, width in blocks(box.height, box.width, BLOCK):
        if row != previous:
            yield from _polygons(list(weaver.finished(row)), courts, least)
            previous = row
        window = Window(box.x0 + column, box.y0 + row, width, height)
        wide = window.grow(4 * reach)
        mask = tiles.window(gridding.BUILDING, wide) > 0
        if mask.any():
            solid = np.zeros(window.shape, bool)
            part = window.overlap(area)
            solid[part.inside(window)] = closed(mask, reach)[part.inside(wide)]
            weaver.add(solid + 0.5, column, row)
    yield from _polygons(list(weaver.finished()), courts, least)


def closed(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """The mask with small gaps closed and thin parts taken away."""
    steps = np.arange(-reach, reach + 1)
    square = np.ones((2 * reach + 1, 2 * reach + 1), bool)
    disk = steps[:, None] ** 2 + steps**2 <= reach**2  # a square would cut the corners of what is turned
    from scipy import ndimage

    without_gaps = ndimage.binary_erosion(ndimage.binary_dilation(mask, square), square)
    opened: NDArray[np.bool_] = ndimage.binary_dilation(ndimage.binary_erosion(without_gaps, disk), disk)
    return opened


def _polygons(lines: list[Line], courts: _Courts, least: float) -> Iterator[Any]:
    """Closed lines as polygons with their holes; the smaller first, so that a hole goes to the closest outline around it."""
    rings = [(_area(line.points), line.points - 0.5) for line in lines if line.closed]  # (0, 0) is the corner, not a centre
    courts.waiting += [ring for area, ring in rings if area <= -least]
    for area, ring in sorted(rings, key=lambda one: (one[0], one[1][0, 1], one[1][0, 0])):
        if area >= least:
            yield shapely.Polygon(ring, courts.of(shapely.Polygon(ring)))


def _area(ring: Points) -> float:
    """Area of a closed ring, positive counter-clockwise."""
    x, y = ring[:, 0] - ring[0, 0], ring[:, 1] - ring[0, 1]
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


def squared(outline: Any, tolerance: float) -> tuple[Any, bool]:
    """The outline simplified and, where that keeps its shape, with edges in its main direction and square to it; and which."""
    plain = shapely.simplify(outline, tolerance, preserve_topology=True)
    turn = main_direction(shapely.get_coordinates(plain.exterior))
    rings = [_squared_ring(shapely.get_coordinates(ring), turn) for ring in rings_of(plain)]
    if all(len(ring) >= 4 for ring in rings):
        shape = shapely.Polygon(rings[0], rings[1:])
        if shape.is_valid and shape.intersection(outline).area >= LEAST_LIKENESS * shape.union(outline).area:
            return shape, True
    return plain, False


def main_direction(ring: Points) -> float:
    """Angle (radians) of the long edges of a closed ring and of those square to them: weighed by the square of their length."""
    edges = np.diff(ring, axis=0)
    weight, angle = (edges**2).sum(axis=1), np.arctan2(edges[:, 1], edges[:, 0])
    return float(np.arctan2((weight * np.sin(4 * angle)).sum(), (weight * np.cos(4 * angle)).sum()) / 4)


def _squared_ring(ring: Points, turn: float) -> Points:
    """A closed ring whose edges near the main direction lie in it: neighbours of one direction merged, others cut anew."""
    there = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    corners = (ring @ there.T)[:-1]
    edges = _without_stubs([_Edge.of(a, b) for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True)])
    merged: list[_Edge] = []
    for edge in edges:
        if merged and edge.axis >= 0 and merged[-1].axis == edge.axis:
            merged[-1] = merged[-1].with_(edge)
        else:
            merged.append(edge)
    while len(merged) > 1 and merged[0].axis >= 0 and merged[-1].axis == merged[0].axis:
        merged[0] = merged.pop().with_(merged[0])
    if len(merged) < 4:
        return np.zeros((0, 2))
    points = [before.meet(after) for before, after in zip([merged[-1], *merged[:-1]], merged, strict=True)]
    turned: Points = np.array([*points, points[0]]) @ there
    return turned


def _without_stubs(edges: list[_Edge]) -> list[_Edge]:
    """The edges without short ones in neither direction, which cells leave at corners; parallel edges get a step between."""
    kept = []
    for place, edge in enumerate(edges):
        before, after = edges[place - 1], edges[(place + 1) % len(edges)]
        if edge.axis < 0 and edge.length < STUB_CELLS and before.axis >= 0 and after.axis >= 0:
            if before.axis == after.axis and abs(before.at - after.at) >= STEP_CELLS:
                kept.append(edge.along(1 - before.axis))
            continue
        kept.append(edge)
    return kept


@dataclass(frozen=True, slots=True)
class _Edge:
    """An edge in the turned plane: along x (axis 0) or y (axis 1) at a fixed other coordinate, or free (-1)."""

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    axis: int
    at: float
    length: float

    @classmethod
    def of(cls, start: NDArray[np.float64], end: NDArray[np.float64]) -> _Edge:
        dx, dy = (float(part) for part in np.abs(end - start))
        bend = math.tan(math.radians(SQUARE_DEGREES))
        axis = 0 if dy <= bend * dx else 1 if dx <= bend * dy else -1
        return cls(start, end, -1, 0.0, math.hypot(dx, dy)).along(axis)

    def along(self, axis: int) -> _Edge:
        """The same edge laid along an axis (or none) through its middle."""
        at = float((self.start + self.end)[1 - axis] / 2) if axis >= 0 else 0.0
        return _Edge(self.start, self.end, axis, at, self.length)

    def with_(self, other: _Edge) -> _Edge:
        length = self.length + other.length
        at = (self.at * self.length + other.at * other.length) / max(length, 1e-9)
        return _Edge(self.start, other.end, self.axis, at, length)

    def meet(self, after: _Edge) -> NDArray[np.float64]:
        """Where this edge and the next cross."""
        if self.axis >= 0 and after.axis >= 0:
            return np.array([after.at, self.at] if self.axis == 0 else [self.at, after.at])
        if self.axis < 0 and after.axis < 0:
            return after.start
        straight, free = (self, after) if self.axis >= 0 else (after, self)
        run = free.end - free.start
        share = (straight.at - free.start[1 - straight.axis]) / run[1 - straight.axis]
        return np.asarray(free.start + share * run)


def _heights(outline: Any, models: Models) -> list[float | None]:
    """Height above ground of nine tenths of the cells, of the highest, and the lowest ground (m) of the building's cells."""
    window = _cells(outline, models.sheet)
    west, south = (round(edge) for edge in outline.bounds[:2])
    cells = rasterio.features.geometry_mask([outline], window.shape, Affine.translation(west, south), invert=True)
    above, ground = (models.window(name, window)[cells] for name in (CHM, DTM))
    above, ground = (heights[heights != NODATA] * models.heights.z_unit_m for heights in (above, ground))
    if not len(above):
        return [None, None, None]
    return [round(float(value), 2) for value in (np.quantile(above, ROOF_SHARE), above.max(), ground.min())]
