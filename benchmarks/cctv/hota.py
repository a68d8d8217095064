"""HOTA: how well things are found and kept apart, in one number (Luiten et al., IJCV 129, 2021), as TrackEval computes it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from tilery.workloads.cctv.nms import overlaps

Table = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
"""Frame number, id, box (left, top, right, bottom)."""
ALPHAS = np.arange(0.05, 0.99, 0.05)


def hota(truth: Table, told: Table) -> tuple[float, float, float]:
    """HOTA, DetA and AssA: means over overlaps of 0.05 to 0.95."""
    real, a = np.unique(truth[1], return_inverse=True)
    made, b = np.unique(told[1], return_inverse=True)
    frames = np.union1d(truth[0], told[0])
    looks = []
    together = np.zeros((len(real), len(made)))
    for frame in frames:
        left, right = np.flatnonzero(truth[0] == frame), np.flatnonzero(told[0] == frame)
        shared = overlaps(truth[2][left].astype(np.float32), told[2][right].astype(np.float32)).astype(np.float64)
        total = shared.sum(0, keepdims=True) + shared.sum(1, keepdims=True) - shared
        np.add.at(together, (a[left][:, None], b[right][None]), np.where(total > 1e-9, shared / np.maximum(total, 1e-9), 0))
        looks.append((a[left], b[right], shared))
    often_a, often_b = np.bincount(a, minlength=len(real)), np.bincount(b, minlength=len(made))
    alike = together / np.maximum(often_a[:, None] + often_b[None] - together, 1e-9)
    right_at = np.zeros(len(ALPHAS))
    matches = np.zeros((len(ALPHAS), len(real), len(made)))
    for left, right, shared in looks:
        if not shared.size:
            continue
        row, column = linear_sum_assignment(-alike[np.ix_(left, right)] * shared)
        for at, alpha in enumerate(ALPHAS):
            good = shared[row, column] >= alpha - 1e-12
            right_at[at] += good.sum()
            matches[at, left[row[good]], right[column[good]]] += 1
    detection = right_at / np.maximum(len(a) + len(b) - right_at, 1)
    kept = matches / np.maximum(often_a[:, None] + often_b[None] - matches, 1)
    association = (matches * kept).sum((1, 2)) / np.maximum(right_at, 1)
    return float(np.sqrt(detection * association).mean()), float(detection.mean()), float(association.mean())
