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
    wide, high = (_shared(some[:, axis::2], others[:, axis::2]) for axis in (0, 1))
    wide *= high
    return wide


def _shared(some: Boxes, others: Boxes) -> NDArray[np.float32]:
    """Lengths that stretches (n, 2) and (m, 2) share, as (n, m)."""
    (first, last), (start, stop) = np.ascontiguousarray(some.T), np.ascontiguousarray(others.T)
    length = np.minimum(last[:, None], stop)
    length -= np.maximum(first[:, None], start)
    return np.asarray(np.maximum(length, np.float32(0), out=length), np.float32)


def overlaps(some: Boxes, others: Boxes) -> NDArray[np.float32]:
    """Intersection over union of (n, 4) and (m, 4) boxes, as (n, m)."""
    shared = intersections(some, others)
    union = areas(some)[:, None] + areas(others)
    union -= shared
    shared /= np.maximum(union, np.float32(1e-9), out=union)
    return shared


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
    gone = np.zeros(len(ranked), bool)
    for place in range(len(ranked)):
        if not gone[place]:
            worse = gone[place + 1 :]
            worse |= rival[place, place + 1 :]
    return np.asarray(by_score[~gone], np.intp)
