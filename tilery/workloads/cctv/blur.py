"""Hides people and number plates in what is published. What no detector found is not hidden; docs/cctv.md says so.

Inside a region a picture is reduced to a few flat cells, so that what was there cannot be computed back: a Gaussian blur
alone can be undone in part.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from tilery.workloads.cctv.labels import LABELS

CELLS = 5
"""Cells along the shorter side of a region; no cell is smaller than `LEAST_CELL_PX`."""
LEAST_CELL_PX = 6
MARGIN = 0.12
"""Regions are this much larger than their boxes, on each side, as a share of the box: boxes are not exact."""
STANDS = 1 / 6
"""People who cover a pixel for more than this share of the time may have stayed in the background: it is hidden there."""

DOUBTFUL = 0.6
"""Boxes with less than this share of the confident score are mostly nothing, and are not hidden unless they are tracked."""

PEOPLE = frozenset({LABELS.index("person"), LABELS.index("bicycle"), LABELS.index("motorcycle")})
"""Riders are often found as their bicycle or motorcycle only."""
VEHICLES = frozenset(LABELS.index(name) for name in ("car", "motorcycle", "bus", "truck", "moving"))
ANYTHING_MOVING = LABELS.index("moving")

Boxes = NDArray[np.float32]
Region = tuple[int, int, int, int]
"""Left, top, right, bottom: whole pixels, right and bottom excluded."""


def regions(boxes: Boxes, labels: NDArray[np.uint8], asked: Collection[str], width: int, height: int) -> list[Region]:
    """What is to be hidden in a picture of this size, from the boxes (n, 4) of what was found in it.

    There is no plate detector: `plates` hides the lower half of a vehicle, where plates are. What is only known to move
    may be either, and is hidden as both.
    """
    found = []
    for box, label in zip(boxes.astype(np.float64), labels, strict=True):
        left, top, right, bottom = box
        if "people" in asked and (int(label) in PEOPLE or int(label) == ANYTHING_MOVING):
            found.append(_region(left, top, right, bottom, width, height))
        if "plates" in asked and int(label) in VEHICLES:
            found.append(_region(left, top + 0.5 * (bottom - top), right, bottom, width, height))
    return [region for region in found if region is not None]


def hide(picture: NDArray[np.uint8], hidden: Sequence[Region]) -> NDArray[np.uint8]:
    """The picture (h, w, 3) with these regions reduced to flat cells; the picture itself is left alone."""
    if not hidden:
        return picture
    result = picture.copy()
    for left, top, right, bottom in hidden:
        width, height = right - left, bottom - top
        cell = max(LEAST_CELL_PX, -(-min(width, height) // CELLS))
        few = (max(1, width // cell), max(1, height // cell))
        cells = cv2.resize(picture[top:bottom, left:right], few, interpolation=cv2.INTER_AREA)
        result[top:bottom, left:right] = cv2.resize(cells, (width, height), interpolation=cv2.INTER_NEAREST)
    return result


def standing(
    boxes: Boxes,
    labels: NDArray[np.uint8],
    looked: int,
    asked: Collection[str],
    width: int,
    height: int,
) -> NDArray[np.bool_]:
    """(height, width): where what is to be hidden stood for so long that the median may show it.

    `boxes` are those of all `looked` frames together, in pixels of the background.
    """
    cover = np.zeros((height + 1, width + 1), np.int32)
    for left, top, right, bottom in regions(boxes, labels, asked, width, height):
        cover[top, left] += 1
        cover[top, right] -= 1
        cover[bottom, left] -= 1
        cover[bottom, right] += 1
    count = cover.cumsum(axis=0).cumsum(axis=1)[:height, :width]
    return np.asarray(count > STANDS * looked, np.bool_)


def hide_where(picture: NDArray[np.uint8], where: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The picture with the marked pixels, and those around them, replaced by the colour of cells of what is there."""
    if not where.any():
        return picture
    height, width = where.shape
    cell = max(LEAST_CELL_PX, min(width, height) // 30)
    few = (max(1, width // cell), max(1, height // cell))
    cells = cv2.resize(cv2.resize(picture, few, interpolation=cv2.INTER_AREA), (width, height), interpolation=cv2.INTER_NEAREST)
    wide = cv2.dilate(where.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return np.where(wide[:, :, None], cells, picture)


def _region(left: float, top: float, right: float, bottom: float, width: int, height: int) -> Region | None:
    wide, high = MARGIN * (right - left), MARGIN * (bottom - top)
    a, b = max(0, int(np.floor(left - wide))), max(0, int(np.floor(top - high)))
    c, d = min(width, int(np.ceil(right + wide))), min(height, int(np.ceil(bottom + high)))
    return (a, b, c, d) if a < c and b < d else None
