"""Pictures for the report: the classes that the input came with and those that it has now, shaded."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tilery.workloads.pointcloud import gridding
from tilery.workloads.pointcloud.grid import Window
from tilery.workloads.pointcloud.layers import Layers
from tilery.workloads.pointcloud.pixels import Canvas, pixels
from tilery.workloads.pointcloud.rasters import Sheet
from tilery.workloads.pointcloud.relief import PNG_LEVEL

LONGEST = 800
"""Most pixels along a side: memory is bounded, whatever the area."""
SMALLEST = 480
"""Pictures of half as many pixels a side, or fewer, are enlarged, a whole number of times."""
LEAST_WIDTH, STRIP, MARGIN, KEY_WIDTH = 420, 40, 14, 90
"""Pixels: of a picture, of the strip below it, and in the strip."""
PAPER, INK = (247, 247, 245, 255), (40, 44, 52, 255)
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
    from scipy import ndimage

    gap, nearest = ndimage.distance_transform_edt(classes == 0, return_indices=True)
    closed: NDArray[np.uint8] = np.where(gap <= NEAR, classes[tuple(nearest)], 0).astype(np.uint8)
    return closed


def paint(
    classes: NDArray[np.uint8], colours: dict[int, str], other: str, shade: NDArray[np.float32] | None
) -> NDArray[np.uint8]:
    """RGBA pixels of classes in their colours (`#rrggbb`), lit by `shade` (0 to 1, any shape); transparent without class."""
    palette = np.zeros((256, 3), np.float32)
    for label in range(256):
        text = colours.get(label, other)
        palette[label] = [int(text[place : place + 2], 16) for place in (1, 3, 5)]
    picture: NDArray[np.float32] = palette[classes]
    if shade is not None:
        lit = Image.fromarray(shade).resize((classes.shape[1], classes.shape[0]), Image.Resampling.BILINEAR)
        picture *= 0.35 + 0.92 * np.asarray(lit)[..., None]
    alpha = np.where(classes > 0, 255, 0)[..., None]
    return np.concatenate([np.clip(picture, 0, 255), alpha], axis=-1).astype(np.uint8)


def shrunk(pixels: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """RGBA pixels with at most `longest` a side."""
    height, width = pixels.shape[:2]
    if max(height, width) <= longest:
        return pixels
    share = longest / max(height, width)
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(Image.fromarray(pixels, "RGBA").resize(size, Image.Resampling.BOX, reducing_gap=2.0))


@dataclass(frozen=True, slots=True)
class Key:
    """What colours from low to high stand for."""

    low: str
    high: str
    palette: NDArray[np.float32]
    """Shape (steps, 3), 0 to 255."""


def framed(pixels: NDArray[np.uint8], pixel_m: float, longest: int, key: Key | None = None) -> bytes:
    """A PNG of RGBA pixels (north up) for the report: of a size to look at, with a bar of its scale, north, and a key below.

    `pixel_m`: metres a pixel, before it is shrunk to `longest` a side, or small pictures enlarged.
    """
    height, width = pixels.shape[:2]
    times = max(1, SMALLEST // max(height, width))
    picture = Image.fromarray(np.ascontiguousarray(shrunk(pixels, longest)), "RGBA")
    picture = picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    metres = pixel_m * width / picture.width
    sheet = Image.new("RGBA", (max(picture.width, LEAST_WIDTH), picture.height + STRIP), (0, 0, 0, 0))
    sheet.paste(picture, ((sheet.width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((0, picture.height, sheet.width, sheet.height), fill=PAPER)
    line = picture.height + STRIP - 10
    length = scale_length(0.3 * sheet.width * metres)
    end = MARGIN + round(length / metres)
    draw.line([(MARGIN, line - 6), (MARGIN, line), (end, line), (end, line - 6)], fill=INK, width=2)
    font = ImageFont.load_default(13)
    draw.text(((MARGIN + end) // 2, line - 4), f"{length:,g} m", INK, font, anchor="mb")
    middle = end + 26
    draw.polygon([(middle, line - 22), (middle - 5, line), (middle, line - 5), (middle + 5, line)], fill=INK)
    draw.text((middle + 10, line), "N", INK, font, anchor="lb")
    if key is not None:
        right = sheet.width - MARGIN - round(draw.textlength(key.high, font))
        left = right - KEY_WIDTH
        ramp = np.broadcast_to(key.palette[np.linspace(0, len(key.palette) - 1, KEY_WIDTH).astype(int)], (14, KEY_WIDTH, 3))
        sheet.paste(Image.fromarray(ramp.astype(np.uint8)), (left, line - 14))
        draw.text((left - 6, line), key.low, INK, font, anchor="rb")
        draw.text((right + 6, line), key.high, INK, font, anchor="lb")
    return png(np.asarray(sheet))


def scale_length(most: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten (m) that is not longer."""
    power = 10.0 ** math.floor(math.log10(most))
    return max(step * power for step in (1, 2, 5) if step * power <= most)


def of_view(bands: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGBA pixels of a view (bands of 8 bits: one or three; row 0 in the north), transparent where it shows nothing."""
    shown = np.broadcast_to(bands, (3, *bands.shape[-2:]))
    alpha = np.where(shown.max(axis=0) > 0, 255, 0)[None].astype(np.uint8)
    return np.concatenate([shown, alpha]).transpose(1, 2, 0)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()
