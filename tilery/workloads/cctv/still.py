"""Which tiles of a picture changed: a bitmap that says whether a frame need be looked at again."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

TILE = 16
"""Pixels of the small picture."""
CELL = 4
"""Noise is averaged over cells of so many pixels square."""
CHANGE = 8
"""Grey levels by which the mean of a cell must differ; noise of a standard deviation of 5 makes 1.8 of it."""

Gray = NDArray[np.uint8]


def cells(gray: Gray) -> Gray:
    """The means of cells."""
    height, width = gray.shape
    return np.asarray(cv2.resize(gray, (max(1, width // CELL), max(1, height // CELL)), interpolation=cv2.INTER_AREA))


def changed(before: Gray, now: Gray) -> NDArray[np.bool_]:
    """(rows, columns) of tiles: which hold a cell that changed. Both are `cells` of pictures of one size."""
    differs = (cv2.absdiff(before, now) >= CHANGE).astype(np.uint8)
    height, width = differs.shape
    side = TILE // CELL
    padded = np.zeros((-(-height // side) * side, -(-width // side) * side), np.uint8)
    padded[:height, :width] = differs
    return np.asarray(padded.reshape(padded.shape[0] // side, side, -1, side).any(axis=(1, 3)))
