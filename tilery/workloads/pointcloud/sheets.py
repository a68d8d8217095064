"""How a large area is cut into sheets: every raster and table of a run is made, and kept, a sheet at a time.

Sheets are squares of the global grid, so that runs side by side have theirs at the same places. An area that fits into one is
one, wherever it lies, and has one file a product. No numpy here, as `plan` is a control function; a box is a window of cells as
(x0, y0, width, height).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tilery.workload import Item

Box = tuple[int, int, int, int]

SIDE = 8192
"""Cells a side, a whole number of blocks (rasters.py): 67 km2 at 1 m."""
AROUND_M = 2_000
"""How far a sheet sees around itself: a building that crosses its edge is drawn whole, by one of the two."""
MOST_CELLS = 10**11
"""Cells of the largest area that is drawn. Stray points, hundreds of kilometres off, would ask for more."""
ONLY = "sheet"
"""The id of the sheet of an area that is one; others have their place in the grid behind it."""
DRAWN = frozenset({"dtm", "dsm", "chm", "hillshade", "ortho", "density", "contours", "footprints"})
"""Products that are rasters, or made from one."""
COUNTED = frozenset({"tiles", "report"})
"""Products that count what lies in cells, however far these spread."""


def extent_of(statistics: Mapping[str, Any], cell_mm: int) -> Box:
    """The cells between the outermost points; headers may say anything."""
    (x0, x1), (y0, y1) = ([edge // cell_mm for edge in statistics[name]] for name in ("x_mm", "y_mm"))
    return x0, y0, x1 - x0 + 1, y1 - y0 + 1


def is_drawable(extent: Box) -> bool:
    return extent[2] * extent[3] <= MOST_CELLS


def wanted(extent: Box, products: Collection[str]) -> frozenset[str]:
    """Those of the products that sheets are needed for."""
    return frozenset(products) & (DRAWN | COUNTED if is_drawable(extent) else COUNTED)


def is_one(extent: Box) -> bool:
    """Whether the extent is one sheet."""
    return extent[2] <= SIDE and extent[3] <= SIDE


def path(kind: str, sheet: str, suffix: str) -> str:
    """The path of a product of a sheet: `dtm.tif`, or `dtm/x1_y2.tif` where there are several."""
    return f"{kind}{suffix}" if sheet == ONLY else f"{kind}/{sheet.removeprefix(ONLY + '-')}{suffix}"


def items(merged: Mapping[str, Any], tiles: Collection[str], products: Collection[str]) -> list[Item]:
    """An item a sheet that holds points, with the tiles that it sees. `merged`: what the root of the merge returned."""
    statistics, cell_mm, refused = merged["statistics"], merged["cell_mm"], merged["refused"]
    extent = extent_of(statistics, cell_mm)
    kinds = sorted(wanted(extent, products))
    if not kinds:
        return []
    found = {"ground_mm": statistics["ground_mm"], "buildings": "6" in statistics["classes"], "scale": merged["scale"]}
    common = {"extent": extent, "kinds": kinds, "drawable": is_drawable(extent), **found}
    made = []
    for name, box, near in _cut(extent, cell_mm, merged["tile_cells"], tiles):
        mine = {tile: refused[tile] for tile in near if tile in refused}
        made.append({"id": name, "work": box[2] * box[3], "window": box, "tiles": near, "refused": mine, **common})
    return made


def _cut(extent: Box, cell_mm: int, tile_cells: int, tiles: Collection[str]) -> Iterator[tuple[str, Box, list[str]]]:
    """Name and box of every sheet that a tile touches, with all the tiles that it sees."""
    boxes = {tile: _box_of(tile, tile_cells) for tile in sorted(tiles)}
    if is_one(extent):
        yield ONLY, extent, list(boxes)
        return
    around = -(-AROUND_M * 1000 // cell_mm)
    seen: dict[tuple[int, int], list[str]] = {}
    for tile, (x0, y0, width, height) in boxes.items():
        for place in _places(_overlap((x0 - around, y0 - around, width + 2 * around, height + 2 * around), extent)):
            seen.setdefault(place, []).append(tile)
    touched = {place for box in boxes.values() for place in _places(_overlap(box, extent))}
    for column, row in sorted(touched):
        box = _overlap((column * SIDE, row * SIDE, SIDE, SIDE), extent)
        yield f"{ONLY}-x{column}_y{row}", box, seen[column, row]


def _box_of(tile: str, side: int) -> Box:
    column, _, row = tile.removeprefix("x").partition("_y")
    return int(column) * side, int(row) * side, side, side


def _overlap(one: Box, other: Box) -> Box:
    x0, y0 = max(one[0], other[0]), max(one[1], other[1])
    x1, y1 = min(one[0] + one[2], other[0] + other[2]), min(one[1] + one[3], other[1] + other[3])
    return x0, y0, max(0, x1 - x0), max(0, y1 - y0)


def _places(box: Box) -> Iterator[tuple[int, int]]:
    """Column and row of the sheets that share cells with a box."""
    x0, y0, width, height = box
    for column in range(x0 // SIDE, (x0 + width - 1) // SIDE + 1 if width and height else x0 // SIDE):
        for row in range(y0 // SIDE, (y0 + height - 1) // SIDE + 1):
            yield column, row
