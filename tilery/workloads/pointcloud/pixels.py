"""A whole area on few pixels, made block by block.

Pixels are squares of cells of the global grid: their side is a power of two, so that no block or sheet cuts one.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.pointcloud.grid import Window
from tilery.workloads.pointcloud.rasters import BLOCK


def step_of(extent: Window, longest: int, least: int = 1, most: int = BLOCK) -> int:
    """Cells a side of a pixel: at least so many, and so many that the extent has at most `longest` pixels a side."""
    step = 1
    while step < most and (step < least or max(extent.width, extent.height) > longest * step):
        step *= 2
    return step


def pixels(window: Window, step: int) -> Window:
    """The pixels that a window of cells touches."""
    x0, y0 = window.x0 // step, window.y0 // step
    x1, y1 = (window.x0 + window.width - 1) // step, (window.y0 + window.height - 1) // step
    return Window(x0, y0, x1 - x0 + 1, y1 - y0 + 1)


@dataclass
class Canvas:
    """Pixels of an extent of cells, row 0 in the south: (height, width) or (bands, height, width)."""

    extent: Window
    step: int
    values: NDArray[Any]

    @classmethod
    def blank(cls, extent: Window, step: int, dtype: Any, nothing: float = 0, bands: int = 0) -> Canvas:
        shape = pixels(extent, step).shape
        return cls(extent, step, np.full((bands, *shape) if bands else shape, nothing, dtype))

    @property
    def window(self) -> Window:
        """The pixels that there are."""
        return pixels(self.extent, self.step)

    def put(self, window: Window, values: NDArray[Any]) -> None:
        """Set the pixels of a window of pixels, as far as there are such."""
        part = window.overlap(self.window)
        self.values[(..., *part.inside(self.window))] = values[(..., *part.inside(window))]

    def add(self, window: Window, cells: NDArray[Any]) -> None:
        """Add a window of cells, within the extent, to the pixels that they lie in."""
        part = pixels(window, self.step)
        self.values[(..., *part.inside(self.window))] += _sums(window, cells, self.step)

    def mean(self, window: Window, cells: NDArray[Any], nothing: float) -> None:
        """Set pixels to the mean of the cells of a window that are something. Only edges of the extent may cut a pixel."""
        if self.step == 1:
            self.put(window, cells)
            return
        known = (cells != nothing) if cells.ndim == 2 else (cells != nothing).any(axis=0)
        count = _sums(window, known.astype(np.int64), self.step)
        mean = _sums(window, np.where(known, cells, 0).astype(np.float64), self.step) / np.maximum(count, 1)
        if self.values.dtype.kind == "u":
            mean = np.rint(mean)
        self.put(pixels(window, self.step), np.where(count > 0, mean, nothing).astype(self.values.dtype))


def _sums(window: Window, cells: NDArray[Any], step: int) -> NDArray[Any]:
    """Sums of the cells of each pixel that a window touches."""
    if step == 1:
        return cells
    for axis, (first, size) in ((-1, (window.x0, window.width)), (-2, (window.y0, window.height))):
        starts = np.flatnonzero(np.diff((first + np.arange(size)) // step, prepend=first // step - 1))
        cells = np.add.reduceat(cells, starts, axis=axis)
    return cells


def to_bytes(values: NDArray[Any]) -> bytes:
    """Pixels as an object of the store."""
    data = io.BytesIO()
    np.save(data, values, allow_pickle=False)
    return data.getvalue()


def joined(parts: Iterable[tuple[Window, bytes]], extent: Window, step: int, nothing: float = 0) -> Canvas | None:
    """The canvas of an extent from those of its sheets (their windows of cells, and bytes); None where there is none."""
    canvas: Canvas | None = None
    for window, data in parts:
        values = np.load(io.BytesIO(data), allow_pickle=False)
        if canvas is None:
            canvas = Canvas.blank(extent, step, values.dtype, nothing, values.shape[0] if values.ndim == 3 else 0)
        canvas.put(pixels(window, step), values)
    return canvas
