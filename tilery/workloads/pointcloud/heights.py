"""The models of height: terrain from ground points, surface from the highest points, canopy as the difference."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.pointcloud import gridding, surface
from tilery.workloads.pointcloud.grid import MM_PER_M, VOID
from tilery.workloads.pointcloud.layers import Layers
from tilery.workloads.pointcloud.rasters import NODATA, Raster, Sheet

DTM, DSM, CHM = "dtm", "dsm", "chm"


@dataclass(frozen=True, slots=True)
class Models:
    """The models that were written, by name, and how many of their cells hold a ground point."""

    files: dict[str, Path]
    measured: int


def write(folder: Path, tiles: Layers, sheet: Sheet, z_unit_m: float, reach: int, names: Collection[str]) -> Models:
    """Write the models of these names (COG, float32, in the vertical unit of the CRS) from the layers `ground` and `top`.

    Voids are filled between known cells within `reach` cells; missing tiles stay void. The canopy is surface less terrain
    where both are known, never less than 0.
    """
    files = {name: folder / f"{name}.tif" for name in (DTM, DSM, CHM) if name in names}
    measured = 0
    with ExitStack() as stack:
        rasters = {name: stack.enter_context(Raster(path, sheet)) for name, path in files.items()}
        for window in sheet.blocks():
            wide = window.grow(reach + surface.MORE)
            found: dict[str, NDArray[np.int32]] = {}
            if DTM in names or CHM in names:
                mean = tiles.window(gridding.GROUND, wide)
                measured += int(np.count_nonzero(mean[window.inside(wide)] != VOID))
                found[DTM] = surface.filled(mean, wide, window, reach)
            if DSM in names or CHM in names:
                found[DSM] = surface.filled(tiles.window(gridding.TOP, wide), wide, window, reach)
            if CHM in names:
                found[CHM] = canopy(found[DSM], found[DTM])
            hole = tiles.hole(window)
            for name, raster in rasters.items():
                raster.write(window, in_units(np.where(hole, VOID, found[name]), z_unit_m))
    return Models(files, measured)


def canopy(top: NDArray[np.int32], ground: NDArray[np.int32]) -> NDArray[np.int32]:
    """Height above ground (int32 mm), `VOID` where one of the two is."""
    known = (top != VOID) & (ground != VOID)
    return np.where(known, np.maximum(top.astype(np.int64) - ground, 0), VOID).astype(np.int32)


def in_units(heights_mm: NDArray[Any], z_unit_m: float) -> NDArray[np.float32]:
    """Heights (float32) in the vertical unit of the CRS, `NODATA` where unknown."""
    metres = (heights_mm / MM_PER_M).astype(np.float32)
    return np.where(heights_mm == VOID, np.float32(NODATA), metres / np.float32(z_unit_m))
