"""The models of height: terrain from ground points, surface from the highest points, canopy as the difference."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from tilery.workloads.pointcloud import gridding, surface
from tilery.workloads.pointcloud.grid import MM_PER_M, VOID, Window
from tilery.workloads.pointcloud.layers import Layers
from tilery.workloads.pointcloud.pixels import Canvas
from tilery.workloads.pointcloud.rasters import NODATA, Raster, Sheet, read

DTM, DSM, CHM = "dtm", "dsm", "chm"

Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Heights:
    """Heights of any window of cells, from the layers `ground` and `top`, in the vertical unit of the CRS.

    Voids are filled between known cells within `reach` cells; missing tiles stay void. A cell has one height in all windows.
    """

    tiles: Layers
    extent: Window
    """All cells of the run: beyond them nothing is known."""
    z_unit_m: float
    reach: int

    def of(self, window: Window, names: Collection[str]) -> dict[str, Values]:
        """The models of these names: float32, `NODATA` where unknown. The canopy is surface less terrain where both are known,
        never less than 0."""
        wide = window.grow(self.reach + surface.MORE)
        found: dict[str, NDArray[np.int32]] = {}
        for name, layer in ((DTM, gridding.GROUND), (DSM, gridding.TOP)):
            if name in names or CHM in names:
                found[name] = surface.filled(self.tiles.window(layer, wide), wide, window, self.reach)
        if CHM in names:
            found[CHM] = canopy(found[DSM], found[DTM])
        hole = self.tiles.hole(window)
        return {name: in_units(np.where(hole, VOID, found[name]), self.z_unit_m) for name in names}


class Models:
    """The models of a sheet while others are made from them: read from their rasters, and computed again beyond their edges."""

    def __init__(self, heights: Heights, sheet: Sheet, files: dict[str, Path], known: Collection[str] = ()) -> None:
        """`known`: those that have a height anywhere."""
        self.heights, self.sheet, self.known = heights, sheet, known
        self._stack = ExitStack()
        self._open = {name: self._stack.enter_context(rasterio.open(path)) for name, path in files.items()}

    def __enter__(self) -> Models:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def window(self, name: str, window: Window) -> Values:
        """A model in any window, row 0 in the south."""
        values: Values = read(self._open[name], self.sheet, window)
        for strip in beyond(window.overlap(self.heights.extent), self.sheet.extent):
            values[strip.inside(window)] = self.heights.of(strip, [name])[name]
        return values


def beyond(window: Window, inner: Window) -> Iterator[Window]:
    """What of a window does not lie in another, as windows that share no cell."""
    part = window.overlap(inner)
    if not part.width or not part.height:
        if window.width and window.height:
            yield window
        return
    for y0, height in (
        (window.y0, part.y0 - window.y0),
        (part.y0 + part.height, window.y0 + window.height - part.y0 - part.height),
    ):
        if height:
            yield Window(window.x0, y0, window.width, height)
    for x0, width in (
        (window.x0, part.x0 - window.x0),
        (part.x0 + part.width, window.x0 + window.width - part.x0 - part.width),
    ):
        if width:
            yield Window(x0, part.y0, width, part.height)


def write(folder: Path, heights: Heights, sheet: Sheet, names: Collection[str], small: dict[str, Canvas]) -> Models:
    """Write the models of these names (COG, float32), and their means on the canvases `small`."""
    files = {name: folder / f"{name}.tif" for name in (DTM, DSM, CHM) if name in names}
    known: set[str] = set()
    with ExitStack() as stack:
        rasters = {name: stack.enter_context(Raster(path, sheet)) for name, path in files.items()}
        for window in heights.tiles.blocks(sheet, heights.reach + surface.MORE) if files else ():
            for name, values in heights.of(window, files).items():
                rasters[name].write(window, values)
                if (values != NODATA).any():
                    known.add(name)
                if name in small:
                    small[name].mean(window, values, NODATA)
    return Models(heights, sheet, files, known)


def canopy(top: NDArray[np.int32], ground: NDArray[np.int32]) -> NDArray[np.int32]:
    """Height above ground (int32 mm), `VOID` where one of the two is."""
    known = (top != VOID) & (ground != VOID)
    return np.where(known, np.maximum(top.astype(np.int64) - ground, 0), VOID).astype(np.int32)


def in_units(heights_mm: NDArray[Any], z_unit_m: float) -> Values:
    """Heights (float32) in the vertical unit of the CRS, `NODATA` where unknown."""
    metres = (heights_mm / MM_PER_M).astype(np.float32)
    return np.where(heights_mm == VOID, np.float32(NODATA), metres / np.float32(z_unit_m))
