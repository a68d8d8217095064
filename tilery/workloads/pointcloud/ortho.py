"""The view from above: colour, or intensity, of the highest point of each cell, in 8 bits a band."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.pointcloud import gridding
from tilery.workloads.pointcloud.layers import Layers
from tilery.workloads.pointcloud.pixels import Canvas
from tilery.workloads.pointcloud.rasters import Raster, Sheet

VOID = 0
"""The nodata of the view; what is seen is 1 to 255."""
EIGHT_BITS = 255
NEAR = 3
"""Cells within which a void takes what the nearest cell shows."""
LOW_SHARE, HIGH_SHARE = 0.01, 0.99
"""Shares of the cells whose intensities become the darkest and the lightest grey."""


@dataclass(frozen=True, slots=True)
class Scale:
    """16 bits to 8: `low` and below is 1, `high` and above is 255, linear between."""

    low: int
    high: int

    def apply(self, values: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """Values as the layers keep them (one more than they are, 0 where there is nothing) as grey or colour."""
        table = np.arange(1 << 16, dtype=np.int64) - 1
        span = max(self.high - self.low, 1)
        grey = 1 + np.clip((254 * (table - self.low) + span // 2) // span, 0, 254)
        grey[0] = VOID
        shown: NDArray[np.uint8] = grey.astype(np.uint8)[values]
        return shown


def write(path: Path, tiles: Layers, sheet: Sheet, name: str, scale: Scale, small: Canvas) -> bool:
    """Write the view of a sheet from the layer of this name (`COLOUR` or `INTENSITY`), as a COG of three bands or one.

    The scale is one for the whole run, whatever its tiles and sheets. Cells without points show the nearest within three.
    Returns whether there is anything to see.
    """
    shows = False
    with Raster(path, sheet, "uint8", 3 if name == gridding.COLOUR else 1, VOID) as raster:
        for window in tiles.blocks(sheet, NEAR):
            seen = filled(tiles.window(name, window.grow(NEAR)), NEAR)
            shown = scale.apply(np.where(tiles.hole(window), np.uint16(VOID), seen))
            raster.write(window, shown)
            small.mean(window, shown, VOID)
            shows = shows or bool((shown != VOID).any())
    return shows


def filled(wide: NDArray[np.uint16], reach: int) -> NDArray[np.uint16]:
    """The inner cells of a window that is `reach` cells larger on every side; a void one takes the value of the nearest cell
    within `reach`, of several equally near ones always the same."""
    height, width = wide.shape[-2:]
    flat = wide.reshape(-1, height * width)
    inner = flat.reshape(-1, height, width)[:, reach:-reach, reach:-reach].copy()
    row, column = np.nonzero(inner.max(axis=0) == VOID)
    around = sorted(
        (dy * dy + dx * dx, dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1) if dy or dx
    )
    for distance, dy, dx in around:
        if distance > reach * reach:
            break
        values = flat[:, (row + reach + dy) * width + column + reach + dx]
        found = values.max(axis=0) != VOID
        inner[:, row[found], column[found]] = values[:, found]
        row, column = row[~found], column[~found]
    return inner if wide.ndim == 3 else inner[0]


def levels(layers: Iterable[NDArray[np.uint16]]) -> NDArray[np.int64]:
    """How often each value occurs (65,536 of them)."""
    counts = np.zeros(1 << 16, np.int64)
    for values in layers:
        counts += np.bincount(values.ravel(), minlength=1 << 16)
    return counts


def scale_of(counts: NDArray[Any], stretch: bool) -> Scale | None:
    """The scale from how often each stored value occurs (int64, 65,536 of them); None where all is black.

    Colours span 0 to 255 where none is larger, else 0 to 65535; with `stretch` (intensities), the 1st to the 99th percentile.
    """
    seen = counts[1:]
    if not seen[1:].any():
        return None
    if not stretch:
        return Scale(0, EIGHT_BITS if int(np.flatnonzero(seen)[-1]) <= EIGHT_BITS else (1 << 16) - 1)
    below = np.cumsum(seen)
    low, high = (int(np.searchsorted(below, share * below[-1])) for share in (LOW_SHARE, HIGH_SHARE))
    return Scale(low, max(high, low + 1))
