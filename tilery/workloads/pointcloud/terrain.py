"""The terrain model: exact means of ground points on the global grid, voids filled from nearby; as a COG and a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from PIL import Image
from rasterio.enums import Resampling
from rasterio.shutil import copy as copy_raster
from rasterio.transform import Affine
from rasterio.windows import Window as RasterWindow

from tilery.workloads.pointcloud.fill import fill
from tilery.workloads.pointcloud.grid import MM_PER_M, VOID, Window, cell_millimetres

NODATA = -9999.0
_BLOCK = 512


def fill_cells(resolution_m: float, fill_m: float) -> int:
    """Cells around a window that its terrain depends on: how far voids are interpolated."""
    return math.floor(fill_m * MM_PER_M / cell_millimetres(resolution_m))


def terrain_model(
    x: npt.NDArray[np.int64],
    y: npt.NDArray[np.int64],
    z: npt.NDArray[np.int32],
    core: Window,
    resolution_m: float,
    fill_m: float,
) -> npt.NDArray[np.float32]:
    """Heights (float32 m in the vertical unit of z, mm; row 0 is the southernmost) of a window of cells of `resolution_m`.

    Takes the ground points (int64 mm; order does not matter) of `core.grow(fill_cells(...))`; more do no harm. A cell is the
    mean of its points rounded to whole millimetres. Cells without, between known cells within `fill_m`, are interpolated;
    others are `NODATA`. Every cell is the same in any window that holds it.
    """
    cell_mm, reach = cell_millimetres(resolution_m), fill_cells(resolution_m, fill_m)
    window = core.grow(reach)
    return filled_heights(mean_heights(x, y, z, window, cell_mm), window, core, reach)


def mean_heights(
    x: npt.NDArray[np.int64], y: npt.NDArray[np.int64], z: npt.NDArray[np.int32], window: Window, cell_mm: int
) -> npt.NDArray[np.int32]:
    """Per cell of the window the mean of its points (mm), rounded to whole millimetres, `VOID` where there is none.

    Exact, so that the order of the points does not matter: sums of whole millimetres stay below 2^53 in float64.
    """
    near = window.contains(x, y, cell_mm)
    cell, size = window.cell_of(x[near], y[near], cell_mm), window.width * window.height
    count = np.bincount(cell, minlength=size)
    total = np.bincount(cell, weights=z[near], minlength=size).astype(np.int64)
    mean = np.where(count > 0, (2 * total + count) // np.maximum(2 * count, 1), VOID)
    return mean.astype(np.int32).reshape(window.shape)


def filled_heights(mean: npt.NDArray[np.int32], window: Window, core: Window, reach: int) -> npt.NDArray[np.float32]:
    """The same from mean heights (int32 mm) of a window that holds the core and `reach` cells around it."""
    heights = fill_twice(mean, reach)[core.inside(window)]
    return np.where(heights == VOID, np.float32(NODATA), (heights / MM_PER_M).astype(np.float32))


def fill_twice(mean: npt.NDArray[np.int32], reach: int) -> npt.NDArray[np.int32]:
    """Voids filled from known cells within `reach`, in two passes of half of it.

    One pass looks along eight directions only and leaves cobwebs of void between its lines; the second closes them.
    """
    first = reach - reach // 2
    for step in (first, reach - first):
        mean = fill(mean, step, one_sided=False) if step else mean
    return mean


def write_cog(
    path: Path,
    extent: Window,
    windows: Iterable[tuple[Window, npt.NDArray[np.float32]]],
    resolution_m: float,
    crs_wkt: str | None,
    unit_m: float = 1.0,
    z_unit_m: float = 1.0,
) -> None:
    """Write windows (as `terrain_model` gives them) as one cloud-optimized GeoTIFF, north up, in the units of the CRS.

    Never more than one window and the raster cache is in memory. Parts of `extent` that no window covers are nodata.
    """
    step = cell_millimetres(resolution_m) / MM_PER_M / unit_m
    transform = Affine(step, 0, extent.x0 * step, 0, -step, (extent.y0 + extent.height) * step)
    flat = path.with_suffix(".parts.tif")
    profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "width": extent.width, "height": extent.height}
    profile |= {"crs": crs_wkt, "transform": transform, "nodata": NODATA, "compress": "deflate", "predictor": 3}
    profile |= {"tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK, "bigtiff": "if_safer", "sparse_ok": True}
    try:
        with rasterio.open(flat, "w", **profile) as raster:
            for window, heights in windows:
                _write(raster, extent, window, np.where(heights == NODATA, heights, heights / np.float32(z_unit_m)))
        options = {"compress": "deflate", "predictor": 3, "blocksize": _BLOCK, "bigtiff": "if_safer"}
        copy_raster(flat, path, driver="COG", overview_resampling="average", **options)
    finally:
        flat.unlink(missing_ok=True)


def _write(raster: Any, extent: Window, window: Window, heights: npt.NDArray[np.float32]) -> None:
    """Write the part of a window that lies in the extent, upside down: rasters start in the north."""
    x0, x1 = max(window.x0, extent.x0), min(window.x0 + window.width, extent.x0 + extent.width)
    y0, y1 = max(window.y0, extent.y0), min(window.y0 + window.height, extent.y0 + extent.height)
    if x0 >= x1 or y0 >= y1:
        return
    part = Window(x0, y0, x1 - x0, y1 - y0)
    place = RasterWindow(x0 - extent.x0, extent.y0 + extent.height - y1, part.width, part.height)
    raster.write(heights[part.inside(window)][::-1].astype(np.float32), 1, window=place)


def hillshade(
    heights: npt.NDArray[np.float32], cell: float, z_factor: float = 1.0, azimuth: float = 315.0, altitude: float = 45.0
) -> npt.NDArray[np.float32]:
    """Shade (0 dark to 1 lit) of heights (row 0 in the north; NaN is void), slopes after Horn, Proc. IEEE 69 (1981).

    `cell` is in the horizontal unit; `z_factor` is horizontal units per vertical unit; angles in degrees.
    """
    z = np.pad(heights.astype(np.float64) * z_factor, 1, mode="edge")
    west = z[:-2, :-2] + 2 * z[1:-1, :-2] + z[2:, :-2]
    east = z[:-2, 2:] + 2 * z[1:-1, 2:] + z[2:, 2:]
    north = z[:-2, :-2] + 2 * z[:-2, 1:-1] + z[:-2, 2:]
    south = z[2:, :-2] + 2 * z[2:, 1:-1] + z[2:, 2:]
    to_east, to_north = (east - west) / (8 * cell), (north - south) / (8 * cell)
    sun, up = math.radians(azimuth), math.radians(altitude)
    toward = to_east * math.sin(sun) + to_north * math.cos(sun)
    lit = (math.sin(up) - math.cos(up) * toward) / np.sqrt(1 + to_east**2 + to_north**2)
    return np.clip(lit, 0, 1).astype(np.float32)


_TINTS = np.array(
    [[74, 126, 104], [134, 168, 116], [206, 204, 148], [214, 178, 124], [178, 134, 104], [222, 212, 204]], dtype=np.float64
)
"""Low to high: meadow green over straw to rock."""


def write_hillshade(cog: Path, picture: Path, z_factor: float = 1.0, longest: int = 4096) -> None:
    """A PNG of a terrain model: four-way shading with the sun in the north-west, tinted by height; void is transparent."""
    with rasterio.open(cog) as raster:
        shrink = max(1.0, max(raster.width, raster.height) / longest)
        shape = (max(1, round(raster.height / shrink)), max(1, round(raster.width / shrink)))
        band = raster.read(1, out_shape=shape, resampling=Resampling.average, masked=True)
        cell = raster.transform.a * raster.width / shape[1]
    heights = np.ma.filled(band.astype(np.float32), np.nan)
    known = np.isfinite(heights)
    if not known.any():
        Image.fromarray(np.zeros((*shape, 4), dtype=np.uint8)).save(picture)
        return
    shades = [(315.0, 0.55), (270.0, 0.15), (360.0, 0.15), (225.0, 0.15)]
    shade = sum(weight * hillshade(heights, cell, z_factor, azimuth) for azimuth, weight in shades)
    # Cells at the edge of a void have no slope; they are lit as level ground.
    shade = np.where(np.isfinite(shade), shade, math.sin(math.radians(45)))
    low, high = np.percentile(heights[known], (1, 99))
    place = np.clip((np.where(known, heights, low) - low) / max(high - low, 1e-6), 0, 1) * (len(_TINTS) - 1)
    stops = np.arange(len(_TINTS))
    tint = np.stack([np.interp(place, stops, _TINTS[:, band]) for band in range(3)], axis=-1)
    lit = tint * (0.25 + 1.06 * shade[..., None])
    alpha = np.where(known, 255, 0)[..., None]
    Image.fromarray(np.concatenate([np.clip(lit, 0, 255), alpha], axis=-1).astype(np.uint8)).save(picture)
