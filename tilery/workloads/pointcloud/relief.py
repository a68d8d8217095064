"""Pictures of heights: shaded from several sides, tinted by height."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from PIL import Image
from rasterio.enums import Resampling

Heights = npt.NDArray[np.float32]


def slopes(heights: Heights, cell: float, z_factor: float = 1.0) -> tuple[Heights, Heights]:
    """Rise to the east and to the north of heights (row 0 in the north; NaN is void), after Horn, Proc. IEEE 69 (1981).

    `cell` is in the horizontal unit; `z_factor` is horizontal units per vertical unit.
    """
    level = np.nanmean(heights) if np.isfinite(heights).any() else 0.0
    z = np.pad((heights - np.float32(level)) * np.float32(z_factor), 1, mode="edge")
    along, across = z[:, :-2] + 2 * z[:, 1:-1] + z[:, 2:], z[:-2] + 2 * z[1:-1] + z[2:]
    scale = np.float32(1 / (8 * cell))
    return (across[:, 2:] - across[:, :-2]) * scale, (along[:-2] - along[2:]) * scale


def hillshade(to_east: Heights, to_north: Heights, azimuth: float = 315.0, altitude: float = 45.0) -> Heights:
    """Shade (0 dark to 1 lit) of slopes by a sun at these angles (degrees)."""
    sun, up = math.radians(azimuth), math.radians(altitude)
    east, north = np.float32(math.sin(sun) * math.cos(up)), np.float32(math.cos(sun) * math.cos(up))
    lit = (np.float32(math.sin(up)) - to_east * east - to_north * north) / np.sqrt(1 + to_east**2 + to_north**2)
    shade: Heights = np.clip(lit, 0, 1)
    return shade


_TINTS = np.array(
    [[74, 126, 104], [134, 168, 116], [206, 204, 148], [214, 178, 124], [178, 134, 104], [222, 212, 204]], dtype=np.float64
)
"""Low to high: meadow green over straw to rock."""
TINT_STEPS = 1024
PNG_LEVEL = 4
"""5 % larger than the usual 6, in a third of the time."""


def read_heights(cog: Path, longest: int) -> tuple[Heights, float]:
    """Heights (NaN is void, row 0 in the north) of a model with at most `longest` cells a side, and the side of a cell."""
    with rasterio.open(cog) as raster:
        shrink = max(1.0, max(raster.width, raster.height) / longest)
        shape = (max(1, round(raster.height / shrink)), max(1, round(raster.width / shrink)))
        band = raster.read(1, out_shape=shape, resampling=Resampling.average, masked=True)
        cell = raster.transform.a * raster.width / shape[1]
    return np.ma.filled(band.astype(np.float32), np.nan), cell


def shade(heights: Heights, cell: float, z_factor: float = 1.0) -> Heights:
    """Four-way shading (0 dark to 1 lit) with the sun in the north-west; voids and their edges are lit as level ground."""
    suns = [(315.0, 0.55), (270.0, 0.15), (360.0, 0.15), (225.0, 0.15)]
    to_east, to_north = slopes(heights, cell, z_factor)
    lit = np.sum([np.float32(weight) * hillshade(to_east, to_north, azimuth) for azimuth, weight in suns], axis=0)
    lit[~np.isfinite(lit)] = math.sin(math.radians(45))
    shade: Heights = lit
    return shade


def write_hillshade(cog: Path, picture: Path, z_factor: float = 1.0, longest: int = 4096) -> None:
    """A PNG of a model of heights, shaded and tinted by height; void is transparent."""
    heights, cell = read_heights(cog, longest)
    known = np.isfinite(heights)
    if not known.any():
        Image.fromarray(np.zeros((*heights.shape, 4), dtype=np.uint8)).save(picture)
        return
    low, high = np.percentile(heights[known], (1, 99))
    steps = (np.where(known, heights, low) - low) / max(high - low, 1e-6) * (TINT_STEPS - 1)
    stops = np.linspace(0, len(_TINTS) - 1, TINT_STEPS)
    palette = np.stack([np.interp(stops, np.arange(len(_TINTS)), band) for band in _TINTS.T], axis=1).astype(np.float32)
    tint = palette[np.clip(steps, 0, TINT_STEPS - 1).astype(np.int16)]
    pixels = np.zeros((*heights.shape, 4), np.uint8)
    pixels[..., :3] = np.clip(tint * (0.25 + 1.06 * shade(heights, cell, z_factor))[..., None], 0, 255)
    pixels[..., 3] = np.where(known, 255, 0)
    Image.fromarray(pixels).save(picture, compress_level=PNG_LEVEL)
