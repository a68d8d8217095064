"""What moves: pictures of a fixed camera against the background, which is the median of pictures around them.

The background of a stretch is made of pictures before, in and after the frames it is used for, so a thing that has just come
to stop, or just left, leaves no ghost for long. It depends on nothing but these pictures: no state is carried on.
Shadows are darker but of the colour of the ground (Horprasert et al. 1999): they are no motion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tilery.workloads.cctv.detector import Found
from tilery.workloads.cctv.labels import LABELS, MOVING

Rgb = NDArray[np.uint8]
Mask = NDArray[np.uint8]
"""0 or 1."""
CHANGE = 25
"""Least difference of the most different channel, of 255."""
SHADOW = 0.5, 0.97
"""Brightness of a shadow as a share of the background's."""
SHADOW_COLOUR = 6.0
"""Largest distance of a shadow from the line of the background's colour, of 255."""
LEAST_AREA = 40
"""Pixels of the small picture: smaller blobs are noise."""


@dataclass(frozen=True)
class Background:
    """What a fixed camera sees when nothing is there."""

    picture: Rgb

    @staticmethod
    def of(pictures: Sequence[Rgb]) -> Background:
        stack = np.stack(pictures)
        middle = (len(stack) - 1) // 2
        return Background(np.partition(stack, middle, axis=0)[middle])

    def moving(self, picture: Rgb) -> Mask:
        """Which pixels show something that is not background, nor its shadow."""
        different = cv2.absdiff(picture, self.picture).max(axis=2) > CHANGE
        seen, known = picture.astype(np.float32), self.picture.astype(np.float32) + 1
        share = (seen * known).sum(2) / (known * known).sum(2)
        off = np.sqrt(((seen - share[..., None] * known) ** 2).sum(2))
        shadow = (share > SHADOW[0]) & (share < SHADOW[1]) & (off < SHADOW_COLOUR)
        mask = (different & ~shadow).astype(np.uint8)
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)), np.uint8)


def shares(mask: Mask, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Share of each box (pixels of the mask) that moves."""
    sums = cv2.integral(mask)
    height, width = mask.shape
    left, top = (np.clip(np.floor(boxes[:, axis]), 0, side - 1).astype(int) for axis, side in ((0, width), (1, height)))
    right, bottom = (np.clip(np.ceil(boxes[:, axis]), 1, side).astype(int) for axis, side in ((2, width), (3, height)))
    right, bottom = np.maximum(right, left + 1), np.maximum(bottom, top + 1)
    inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return np.asarray(inside / ((right - left) * (bottom - top)), np.float32)


def blobs(mask: Mask) -> Found:
    """Boxes of what moves, in pixels of the mask; the score grows with how much of its box a blob fills."""
    _, _, rows, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    rows = rows[1:][rows[1:, cv2.CC_STAT_AREA] >= LEAST_AREA].astype(np.float32)
    left, top, width, height, area = rows.T
    box = np.stack([left, top, left + width, top + height], 1)
    score = np.clip(area / (width * height), 0.1, 0.95).astype(np.float32)
    found = Found(np.full(len(rows), LABELS.index(MOVING), np.uint8), score, box)
    return Found.joined([found])
