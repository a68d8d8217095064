"""Pictures of heights: shaded from several sides, tinted by height."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from PIL import Image
from rasterio.enums import Resampling


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


def read_heights(cog: Path, longest: int) -> tuple[npt.NDArray[np.float32], float]:
    """Heights (NaN is void, row 0 in the north) of a model with at most `longest` cells a side, and the side of a cell."""
    with rasterio.open(cog) as raster:
        shrink = max(1.0, max(raster.width, raster.height) / longest)
        shape = (max(1, round(raster.height / shrink)), max(1, round(raster.width / shrink)))
        band = raster.read(1, out_shape=shape, resampling=Resampling.average, masked=True)
        cell = raster.transform.a * raster.width / shape[1]
    return np.ma.filled(band.astype(np.float32), np.nan), cell


def shade(heights: npt.NDArray[np.float32], cell: float, z_factor: float = 1.0) -> npt.NDArray[np.float64]:
    """Four-way shading (0 dark to 1 lit) with the sun in the north-west; voids and their edges are lit as level ground."""
    suns = [(315.0, 0.55), (270.0, 0.15), (360.0, 0.15), (225.0, 0.15)]
    lit = np.sum([weight * hillshade(heights, cell, z_factor, azimuth) for azimuth, weight in suns], axis=0)
    return np.where(np.isfinite(lit), lit, math.sin(math.radians(45)))


def write_hillshade(cog: Path, picture: Path, z_factor: float = 1.0, longest: int = 4096) -> None:
    """A PNG of a model of heights, shaded and tinted by height; void is transparent."""
    heights, cell = read_heights(cog, longest)
    known = np.isfinite(heights)
    if not known.any():
        Image.fromarray(np.zeros((*heights.shape, 4), dtype=np.uint8)).save(picture)
        return
    low, high = np.percentile(heights[known], (1, 99))
    place = np.clip((np.where(known, heights, low) - low) / max(high - low, 1e-6), 0, 1) * (len(_TINTS) - 1)
    stops = np.arange(len(_TINTS))
    tint = np.stack([np.interp(place, stops, _TINTS[:, band]) for band in range(3)], axis=-1)
    lit = tint * (0.25 + 1.06 * shade(heights, cell, z_factor)[..., None])
    alpha = np.where(known, 255, 0)[..., None]
    Image.fromarray(np.concatenate([np.clip(lit, 0, 255), alpha], axis=-1).astype(np.uint8)).save(picture)
