"""Pictures for the report: the classes that the input came with and those that it has now, shaded."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tilery.workloads.pointcloud import gridding
from tilery.workloads.pointcloud.grid import Window
from tilery.workloads.pointcloud.layers import Layers
from tilery.workloads.pointcloud.pixels import Canvas, pixels
from tilery.workloads.pointcloud.rasters import Sheet
from tilery.workloads.pointcloud.relief import PNG_LEVEL

LONGEST = 800
"""Most pixels along a side: memory is bounded, whatever the area."""
NEAR = 3
"""Pixels within which one without points takes the class of the nearest one with some."""


class Votes:
    """Votes of the cells of a sheet for the class of each pixel."""

    def __init__(self, extent: Window, step: int) -> None:
        self._extent, self._step = extent, step
        self._votes: dict[int, Canvas] = {}

    def add(self, window: Window, classes: NDArray[np.uint8]) -> None:
        """Count the classes (0: none) of a window of cells of the sheet."""
        for label in np.unique(classes).tolist():
            if label:
                votes = self._votes.setdefault(label, Canvas.blank(self._extent, self._step, np.int32))
                votes.add(window, (classes == label).astype(np.int32))

    def classes(self) -> NDArray[np.uint8]:
        """The class of each pixel (row 0 in the south), 0 where there is none; the lowest of those with most votes."""
        shape = pixels(self._extent, self._step).shape
        best, most = np.zeros(shape, np.uint8), np.zeros(shape, np.int32)
        for label in sorted(self._votes):
            votes = self._votes[label].values
            better = votes > most
            best[better], most[better] = label, votes[better]
        return best


def vote(tiles: Layers, sheet: Sheet, step: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The classes of the pixels of a sheet in the input, and in the result, from the layer `classes`."""
    before, after = Votes(sheet.extent, step), Votes(sheet.extent, step)
    for window in tiles.blocks(sheet):
        now, was, _ = tiles.window(gridding.CLASSES, window)
        after.add(window, now)
        # Where there is a point (the result is never 0 there), an input that says nothing is shown as unclassified.
        before.add(window, np.where(now > 0, np.maximum(was, 1), 0).astype(np.uint8))
    return before.classes(), after.classes()


def near(classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Classes (0: none) with small gaps closed: the class of the nearest pixel within `NEAR`."""
    gap, nearest = ndimage.distance_transform_edt(classes == 0, return_indices=True)
    closed: NDArray[np.uint8] = np.where(gap <= NEAR, classes[tuple(nearest)], 0).astype(np.uint8)
    return closed


def paint(classes: NDArray[np.uint8], colours: dict[int, str], other: str, shade: NDArray[np.float32] | None) -> bytes:
    """A PNG of classes in their colours (`#rrggbb`), lit by `shade` (0 to 1, any shape); transparent where there is none."""
    palette = np.zeros((256, 3), np.float32)
    for label in range(256):
        text = colours.get(label, other)
        palette[label] = [int(text[place : place + 2], 16) for place in (1, 3, 5)]
    picture: NDArray[np.float32] = palette[classes]
    if shade is not None:
        lit = Image.fromarray(shade).resize((classes.shape[1], classes.shape[0]), Image.Resampling.BILINEAR)
        picture *= 0.35 + 0.92 * np.asarray(lit)[..., None]
    alpha = np.where(classes > 0, 255, 0)[..., None]
    return png(np.concatenate([np.clip(picture, 0, 255), alpha], axis=-1).astype(np.uint8))


def shrunk(pixels: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """RGBA pixels with at most `longest` a side."""
    height, width = pixels.shape[:2]
    if max(height, width) <= longest:
        return pixels
    share = longest / max(height, width)
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(Image.fromarray(pixels, "RGBA").resize(size, Image.Resampling.BOX, reducing_gap=2.0))


def of_view(bands: NDArray[np.uint8]) -> bytes:
    """A PNG of a view (bands of 8 bits: one or three; row 0 in the north), transparent where it shows nothing."""
    shown = np.broadcast_to(bands, (3, *bands.shape[-2:]))
    alpha = np.where(shown.max(axis=0) > 0, 255, 0)[None].astype(np.uint8)
    return png(shrunk(np.ascontiguousarray(np.concatenate([shown, alpha]).transpose(1, 2, 0)), LONGEST))


def png(pixels: NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()
