"""Which of several boxes of one thing remains: greedy suppression by overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]


def areas(boxes: Boxes) -> NDArray[np.float32]:
    """(n, 4) left, top, right, bottom -> (n,)."""
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), np.float32)


def intersections(some: Boxes, others: Boxes) -> NDArray[np.float32]:
    """Areas that (n, 4) and (m, 4) boxes share, as (n, m)."""
    least = np.maximum(some[:, None, :2], others[None, :, :2])
    most = np.minimum(some[:, None, 2:], others[None, :, 2:])
    sides = np.maximum(most - least, 0)
    return np.asarray(sides[..., 0] * sides[..., 1], np.float32)


def overlaps(some: Boxes, others: Boxes) -> NDArray[np.float32]:
    """Intersection over union of (n, 4) and (m, 4) boxes, as (n, m)."""
    shared = intersections(some, others)
    union = areas(some)[:, None] + areas(others)[None, :] - shared
    return np.asarray(shared / np.maximum(union, np.float32(1e-9)), np.float32)


def order(boxes: Boxes, scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """By falling score, then by box: an order that does not depend on where the boxes came from."""
    return np.lexsort((boxes[:, 3], boxes[:, 2], boxes[:, 1], boxes[:, 0], -scores))


def suppress(
    boxes: Boxes, scores: NDArray[np.float32], threshold: float, kinds: NDArray[np.uint8] | None = None
) -> NDArray[np.intp]:
    """Places of the boxes that remain, by falling score: each goes that overlaps a better one by more than `threshold`.

    Boxes of different `kinds` do not suppress each other.
    """
    by_score = order(boxes, scores)
    ranked = boxes[by_score]
    rival = overlaps(ranked, ranked) > threshold
    if kinds is not None:
        rival &= kinds[by_score][:, None] == kinds[by_score][None, :]
    alive = np.ones(len(ranked), bool)
    for place in range(len(ranked)):
        if alive[place]:
            alive[place + 1 :] &= ~rival[place, place + 1 :]
    return np.asarray(by_score[alive], np.intp)
