"""Which detection belongs to which track: the likelihood of the motion and the overlap of the boxes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from tilery.workloads.cctv.kalman import BLUR, Array, Motion, size_of
from tilery.workloads.cctv.labels import LABELS

GATE = 18.5
"""Largest squared Mahalanobis distance of a match: 99.9 % of the chi-squared distribution of 4 degrees of freedom."""
NEVER = 1.4
"""What a match may cost at most: above, two boxes stay apart rather than take each other's partners."""

KINDS = {"person": 1, "bicycle": 2, "motorcycle": 2, "car": 3, "bus": 3, "truck": 3, "train": 3, "moving": 0}
KIND = np.array([KINDS.get(label, 10 + index) for index, label in enumerate(LABELS)], np.int64)
"""Labels that detectors mix up share a kind; tracks keep to their kind. What only moves (0) goes with any."""


def overlap(a: Array, b: Array) -> Array:
    """(n, m): intersection over union of boxes given as centre x, centre y, width, height."""
    low = np.maximum((a[:, :2] - a[:, 2:] / 2)[:, None], (b[:, :2] - b[:, 2:] / 2)[None])
    high = np.minimum((a[:, :2] + a[:, 2:] / 2)[:, None], (b[:, :2] + b[:, 2:] / 2)[None])
    side = np.maximum(high - low, 0.0)
    both = side[..., 0] * side[..., 1]
    total = (a[:, 2] * a[:, 3])[:, None] + (b[:, 2] * b[:, 3])[None] - both
    return np.asarray(both / np.maximum(total, 1e-9))


def cost(motion: Motion, kind: NDArray[np.int64], boxes: Array, kinds: NDArray[np.int64], least: float = 0.0) -> Array:
    """(tracks, boxes): 0 for a perfect match, `NEVER` beyond the gate. Squared distance over the gate, plus 1 - overlap."""
    spread = motion.parts[2][:, None] + ((BLUR * size_of(boxes)) ** 2)[None]
    distance = ((boxes[None] - motion.place[:, None]) ** 2 / spread).sum(2)
    apart = (kind[:, None] != kinds[None]) & (kind[:, None] != 0) & (kinds[None] != 0)
    shared = overlap(motion.place, boxes)
    return np.where((distance > GATE) | apart | (shared < least), NEVER, distance / GATE + 1 - shared)


def assign(costs: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The cheapest pairs of rows and columns, as many as can be, none at `NEVER`."""
    if not costs.size:
        none = np.zeros(0, np.int64)
        return none, none
    rows, columns = linear_sum_assignment(costs)
    good = costs[rows, columns] < NEVER
    return rows[good], columns[good]
