"""Pictures for the report: the classes that the input came with and those that it has now, shaded."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import Resampling
from scipy import ndimage

from tilery.workloads.pointcloud.density import add_to_squares
from tilery.workloads.pointcloud.grid import Window
from tilery.workloads.pointcloud.relief import PNG_LEVEL

LONGEST = 800
"""Most pixels along a side: memory is bounded, whatever the area."""
NEAR = 3
"""Pixels within which one without points takes the class of the nearest one with some."""


class ClassPicture:
    """Votes of the cells for the class of each pixel. Pixels are `side` cells wide, counted from the extent's corner."""

    def __init__(self, extent: Window, longest: int = LONGEST) -> None:
        self.extent = extent
        self.side = -(-max(extent.width, extent.height) // longest)
        self._shape = -(-extent.height // self.side), -(-extent.width // self.side)
        self._votes: dict[int, NDArray[np.int32]] = {}

    def add(self, window: Window, classes: NDArray[np.uint8]) -> None:
        """Count the classes (0: none) of a window of cells."""
        part = window.overlap(self.extent)
        if not part.width or not part.height:
            return
        seen = classes[part.inside(window)]
        for label in np.unique(seen).tolist():
            votes = self._votes.setdefault(label, np.zeros(self._shape, np.int32))
            if label:
                x0, y0 = part.x0 - self.extent.x0, part.y0 - self.extent.y0
                add_to_squares(votes, (seen == label).astype(np.int32), x0, y0, self.side)

    def classes(self) -> NDArray[np.uint8]:
        """The class of each pixel (row 0 in the north), 0 where nothing is near."""
        best, most = np.zeros(self._shape, np.uint8), np.zeros(self._shape, np.int32)
        for label in sorted(self._votes):
            votes = self._votes[label]
            better = votes > most
            best[better], most[better] = label, votes[better]
        gap, nearest = ndimage.distance_transform_edt(best == 0, return_indices=True)
        return np.where(gap <= NEAR, best[tuple(nearest)], 0).astype(np.uint8)[::-1]


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


def of_view(path: Path, longest: int = LONGEST) -> bytes:
    """A PNG of a view (one band or three of 8 bits), transparent where it has no data."""
    with rasterio.open(path) as raster:
        shrink = max(1.0, max(raster.width, raster.height) / longest)
        shape = (max(1, round(raster.height / shrink)), max(1, round(raster.width / shrink)))
        bands = raster.read(out_shape=(raster.count, *shape), resampling=Resampling.average)
    bands = np.broadcast_to(bands, (3, *shape))
    return png(np.concatenate([bands, np.where(bands.max(axis=0) > 0, 255, 0)[None].astype(np.uint8)]).transpose(1, 2, 0))


def png(pixels: NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def of_layers(extent: Window, layers: Iterable[tuple[Window, NDArray[np.uint8]]]) -> tuple[ClassPicture, ClassPicture]:
    """The pictures of the input's classes and of the result's, from the layers `classes`."""
    before, after = ClassPicture(extent), ClassPicture(extent)
    for window, values in layers:
        after.add(window, values[0])
        # Where there is a point (the result is never 0 there), an input that says nothing is shown as unclassified.
        before.add(window, np.where(values[0] > 0, np.maximum(values[1], 1), 0).astype(np.uint8))
    return before, after
