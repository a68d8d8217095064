"""The background: the median of pictures taken all along the timeline. What moves is in no place most of the time."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

ROWS = 64
"""Rows that are sorted at once: memory is that of the pictures and little more."""

Rgb = NDArray[np.uint8]


def median(pictures: Sequence[Rgb]) -> Rgb:
    """The lower median (an observed value, never a mean of two) of each pixel and channel; `ValueError` without a picture."""
    if not pictures:
        raise ValueError("a median needs at least one picture")
    result = np.empty_like(pictures[0])
    for top in range(0, len(result), ROWS):
        result[top : top + ROWS] = _median([picture[top : top + ROWS] for picture in pictures])
    return result


def _median(pictures: list[Rgb]) -> Rgb:
    """The largest values of all are taken away until half are left: comparing whole pictures is many times faster than
    sorting what each pixel shows."""
    for count in range(len(pictures), (len(pictures) - 1) // 2, -1):
        largest = pictures[0]
        for at in range(1, count):
            smaller = np.minimum(largest, pictures[at])
            largest = np.maximum(largest, pictures[at])
            pictures[at - 1] = smaller
    return largest


def median_of_moved(pictures: Sequence[Rgb], matrices: Sequence[NDArray[np.float64]]) -> Rgb:
    """The same of a drone's pictures, each laid over the reference frame by its homography (of these pictures' pixels).

    Where no picture shows the ground of the reference frame, the result is black.
    """
    height, width = pictures[0].shape[:2]
    laid = [cv2.warpPerspective(picture, matrix, (width, height)) for picture, matrix in zip(pictures, matrices, strict=True)]
    white = np.full((height, width), 255, np.uint8)
    shown = [cv2.warpPerspective(white, matrix, (width, height), flags=cv2.INTER_NEAREST) for matrix in matrices]
    result = np.zeros_like(pictures[0])
    for top in range(0, height, ROWS):
        stack = np.stack([picture[top : top + ROWS] for picture in laid]).astype(np.uint16)
        seen = np.stack([one[top : top + ROWS] > 0 for one in shown])
        stack[~seen] = 256
        order = np.sort(stack, axis=0)
        count = seen.sum(axis=0)
        at = np.maximum(count - 1, 0) // 2
        found = np.take_along_axis(order, np.broadcast_to(at[None, :, :, None], (1, *stack.shape[1:])), axis=0)[0]
        result[top : top + ROWS] = np.where(count[:, :, None] > 0, found, 0).astype(np.uint8)
    return result
