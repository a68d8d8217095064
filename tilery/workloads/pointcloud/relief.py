"""Pictures of heights: shaded from several sides, tinted by height."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Heights = npt.NDArray[np.float32]


def slopes(heights: Heights, cell: float, z_factor: float = 1.0) -> tuple[Heights, Heights]:
    """Rise to the east and to the north of heights (row 0 in the north; NaN is void), after Horn, Proc. IEEE 69 (1981).

    `cell` is in the horizontal unit; `z_factor` is horizontal units per vertical unit.
    """
    z = np.pad(heights * np.float32(z_factor), 1, mode="edge")
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
STRIP = 512
"""Rows that are painted at once."""
PNG_LEVEL = 4
"""5 % larger than the usual 6, in a third of the time."""


def shade(heights: Heights, cell: float, z_factor: float = 1.0) -> Heights:
    """Four-way shading (0 dark to 1 lit) with the sun in the north-west; voids and their edges are lit as level ground."""
    suns = [(315.0, 0.55), (270.0, 0.15), (360.0, 0.15), (225.0, 0.15)]
    to_east, to_north = slopes(heights, cell, z_factor)
    lit = np.sum([np.float32(weight) * hillshade(to_east, to_north, azimuth) for azimuth, weight in suns], axis=0)
    lit[~np.isfinite(lit)] = math.sin(math.radians(45))
    shade: Heights = lit
    return shade


def limits_of(heights: Heights) -> tuple[float, float] | None:
    """The heights that the lowest and the highest tint stand for: all but a hundredth lie between; None where all is void."""
    known = heights[np.isfinite(heights)]
    if not len(known):
        return None
    low, high = np.percentile(known, (1, 99))
    return float(low), float(high)


def palette_of(steps: int) -> Heights:
    """The tints from low to high, shape (steps, 3), 0 to 255."""
    stops = np.linspace(0, len(_TINTS) - 1, steps)
    return np.stack([np.interp(stops, np.arange(len(_TINTS)), band) for band in _TINTS.T], axis=1).astype(np.float32)


def paint(heights: Heights, cell: float, z_factor: float = 1.0) -> npt.NDArray[np.uint8]:
    """RGBA pixels of heights (row 0 in the north; NaN is void and transparent), shaded and tinted by height."""
    pixels = np.zeros((*heights.shape, 4), np.uint8)
    limits = limits_of(heights)
    if limits is None:
        return pixels
    low, high = limits
    level = np.float32((low + high) / 2)  # slopes are differences of small numbers
    palette = palette_of(TINT_STEPS)
    for top in range(0, len(heights), STRIP):
        above = min(top, 1)
        wide = heights[top - above : top + STRIP + 1]
        lit = shade(wide - level, cell, z_factor)[above : above + STRIP]
        strip = wide[above : above + STRIP]
        there = np.isfinite(strip)
        steps = (np.where(there, strip, low) - low) / max(high - low, 1e-6) * (TINT_STEPS - 1)
        tint = palette[np.clip(steps, 0, TINT_STEPS - 1).astype(np.int16)]
        pixels[top : top + STRIP, :, :3] = np.clip(tint * (0.25 + 1.06 * lit)[..., None], 0, 255)
        pixels[top : top + STRIP, :, 3] = np.where(there, 255, 0)
    return pixels
