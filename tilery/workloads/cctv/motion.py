"""What moves: pictures of a fixed camera against what each pixel shows at other times.

A pixel is background if it looked like that in a fair share of the pictures before, in and after (k nearest neighbours,
Zivkovic and van der Heijden 2006, on pictures of both sides): leaves in the wind have several looks and all of them count, and
a thing that has just come or left leaves no ghost. It depends on nothing but these pictures: no state is carried on.
Shadows are darker but of the colour of the ground (Horprasert et al. 1999): they are no motion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from tilery.workloads.cctv import nms
from tilery.workloads.cctv.detector import Found
from tilery.workloads.cctv.labels import LABELS, MOVING
from tilery.workloads.cctv.median import median

Rgb = NDArray[np.uint8]
Plane = NDArray[np.uint8]
"""One channel of a picture."""
Mask = NDArray[np.uint8]
"""0 or 1."""
Channel = NDArray[np.float32]
"""(n,) of so many pixels."""
LIKE = 24
"""Grey levels by which each channel of two looks of one thing may differ, of 255."""
OFTEN = 0.25
"""The share of the pictures in which background looks like that, at least."""
SHADOW = 0.5, 0.97
"""Brightness of a shadow as a share of the background's."""
SHADOW_COLOUR = 6.0
"""Largest distance of a shadow from the line of the background's colour, of 255."""
SPECK, GAP = 5, 3
"""Sides (pixels of the small picture) of the median that removes specks, and of the closing that mends gaps."""
LEAST_AREA = 60
"""Pixels of the small picture: smaller blobs are noise."""
CONFIDENT = 0.6
"""From this score on a blob counts as a thing of its own, without a detector."""
FAINT_SCORE, FAINT_MOVING = 0.2, 0.1
"""A box below this score in which less than this share moves is noise."""
PERSON = LABELS.index("person")
AGREES, DOUBT = 0.6, 0.6
"""A box of the detector that overlaps a blob by so much (IoU) is confirmed by it."""
COVERED = 0.3
"""A blob of which this share lies in boxes of the detector adds nothing to them."""
UNNAMED_SCORE = 0.3
"""Score of what moves and has no name, beside a detector: too low to start a track of its own."""


@dataclass(frozen=True)
class Background:
    """What a fixed camera sees when nothing moves."""

    planes: Sequence[Sequence[Plane]]
    """Red, green and blue of each picture."""
    usual: Sequence[Plane]
    """The median."""

    @staticmethod
    def of(pictures: Sequence[Rgb]) -> Background:
        return Background([_planes(one) for one in pictures], _planes(median(pictures)))

    def moving(self, picture: Rgb) -> Mask:
        """Which pixels show something that is not background, nor its shadow."""
        own = _planes(picture)
        alike, off, other = (np.zeros(picture.shape[:2], np.uint8) for _ in range(3))
        for red, green, blue in self.planes:
            cv2.max(cv2.absdiff(own[0], red, off), cv2.absdiff(own[1], green, other), off)
            cv2.max(off, cv2.absdiff(own[2], blue, other), off)
            cv2.add(alike, cv2.threshold(off, LIKE, 1, cv2.THRESH_BINARY_INV, off)[1], alike)
        strange = alike < np.uint8(ceil(OFTEN * len(self.planes)))
        different = np.flatnonzero(strange)
        seen, usual = ([plane.reshape(-1)[different] for plane in planes] for planes in (own, self.usual))
        strange.reshape(-1)[different] = ~_shadow(seen, usual)
        mask = strange.view(np.uint8)
        # of zeros and ones the median is what more than half of them are
        ones = cv2.boxFilter(mask, -1, (SPECK, SPECK), normalize=False, borderType=cv2.BORDER_REPLICATE)
        without_specks = (ones > SPECK * SPECK // 2).astype(np.uint8)
        return np.asarray(cv2.morphologyEx(without_specks, cv2.MORPH_CLOSE, np.ones((GAP, GAP), np.uint8)), np.uint8)


def _planes(picture: Rgb) -> Sequence[Plane]:
    return [np.asarray(plane, np.uint8) for plane in cv2.split(picture)]


def _shadow(seen: Sequence[Plane], usual: Sequence[Plane]) -> NDArray[np.bool_]:
    """Which pixels are only darker than usual: channels (n,)."""
    light, known = [one.astype(np.float32) for one in seen], [one.astype(np.float32) + 1 for one in usual]
    share = _summed(light, known) / _summed(known, known)
    off = [one - share * other for one, other in zip(light, known, strict=True)]
    return np.asarray((share > SHADOW[0]) & (share < SHADOW[1]) & (_summed(off, off) < SHADOW_COLOUR**2), np.bool_)


def _summed(some: Sequence[Channel], others: Sequence[Channel]) -> Channel:
    """Of each pixel the products of its channels, added up."""
    red, green, blue = (one * other for one, other in zip(some, others, strict=True))
    return np.asarray(red + green + blue, np.float32)


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
    """Boxes of what moves, in pixels of the mask. The score grows with the area and with how much of its box a blob fills."""
    how = (8, cv2.CV_16U, cv2.CCL_SPAGHETTI)  # a third of the time of the default
    _, _, rows, _ = cv2.connectedComponentsWithStatsWithAlgorithm(mask, *how)
    rows = rows[1:][rows[1:, cv2.CC_STAT_AREA] >= LEAST_AREA].astype(np.float32)
    left, top, width, height, area = rows.T
    box = np.stack([left, top, left + width, top + height], 1)
    sure = 1 - np.exp(-area / (2 * LEAST_AREA))
    score = (sure * np.minimum(1, 0.5 + area / (width * height))).astype(np.float32)
    return Found.joined([Found(np.full(len(rows), LABELS.index(MOVING), np.uint8), score, box)])


def fused(found: Found, mask: Mask, confident: float) -> tuple[Found, NDArray[np.float32]]:
    """A detector's boxes with the share of each that moves, without faint ones in which nothing does, and with what moves
    outside of them (label `moving`, a low score)."""
    moving = shares(mask, found.box)
    kept = (found.score >= FAINT_SCORE) | (moving >= FAINT_MOVING)
    found, moving = found.take(kept), moving[kept]
    others = blobs(mask)
    found = confirmed(found, others)
    covered = nms.intersections(others.box, found.box[found.score >= UNNAMED_SCORE]).sum(1) / nms.areas(others.box)
    others = others.take(covered < COVERED)
    low = np.minimum(others.score, np.float32(min(UNNAMED_SCORE, confident / 2 + FAINT_SCORE / 2)))
    others = Found(others.label, low, others.box)
    both = Found.joined([found, others])
    return both, shares(mask, both.box)


def confirmed(found: Found, moving: Found) -> Found:
    """A box that is also a blob's is surer by that: the best such box of each blob is doubted only by `DOUBT` as much.

    Not of people: they walk in groups, and a blob is often several of them.
    """
    table = nms.overlaps(moving.box, found.box) * (found.label != PERSON)
    score = found.score.copy()
    for row in table[table.max(1, initial=0) >= AGREES]:
        best = int(np.argmax(np.where(row >= AGREES, found.score, -1)))
        score[best] = 1 - (1 - found.score[best]) * np.float32(DOUBT)
    return Found(found.label, score, found.box)
