"""What is counted over tiles and merged exactly: sums of integers, minima and maxima."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.pointcloud import point_kernels
from tilery.workloads.pointcloud.compiled import kernels_for

GROUND = 2
NONE = 1 << 62
"""Beyond every coordinate (mm)."""
RANGES = ("x_mm", "y_mm", "z_mm", "ground_mm")


def of_tile(
    labels: NDArray[np.uint8],
    otherwise: NDArray[np.uint8],
    counted: NDArray[np.uint8],
    source: NDArray[np.uint8],
    x_mm: NDArray[np.int64],
    y_mm: NDArray[np.int64],
    z_mm: NDArray[np.int32],
) -> dict[str, Any]:
    """Statistics of the points (mm) that a tile owns (label not 0): how many there are, of each class, and of which class of
    the input became which (`was`), those without a class to be `counted` under left out; their extent, and the heights of
    those whose label is, or otherwise would be, ground."""
    kernels = kernels_for(labels, otherwise, counted, source, x_mm, y_mm, z_mm, module=point_kernels)
    if kernels is not None:
        changes, ranges = np.zeros(1 << 16, np.int64), np.array([NONE, -NONE] * len(RANGES), np.int64)
        kernels.tally(labels, otherwise, counted, source, x_mm, y_mm, z_mm, changes, ranges)
        spans = [span if span[0] <= span[1] else [] for span in ranges.reshape(-1, 2).tolist()]
    else:
        owned = labels != 0
        sure, ground = counted != 0, (labels == GROUND) | (otherwise == GROUND)
        changes = np.bincount(source[owned & sure].astype(np.int64) << 8 | counted[owned & sure], minlength=1 << 16)
        spans = [_range(values) for values in (x_mm[owned], y_mm[owned], z_mm[owned], z_mm[owned & ground])]
    classes = changes.reshape(256, 256).sum(axis=0)
    return {
        "points": int(np.count_nonzero(labels)),
        "classes": {str(label): int(classes[label]) for label in np.flatnonzero(classes).tolist()},
        "was": {f"{pair >> 8}>{pair & 255}": int(changes[pair]) for pair in np.flatnonzero(changes).tolist()},
        **dict(zip(RANGES, spans, strict=True)),
    }


def _range(values: NDArray[Any]) -> list[int]:
    return [int(values.min()), int(values.max())] if len(values) else []


def merged(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The statistics of all parts together; order and grouping do not matter."""
    total: dict[str, Any] = {"points": 0, "classes": {}, "was": {}, **{name: [] for name in RANGES}}
    for part in parts:
        total["points"] += part["points"]
        for kind in ("classes", "was"):
            for label, count in part[kind].items():
                total[kind][label] = total[kind].get(label, 0) + count
        for name in RANGES:
            if part[name]:
                both = [*total[name], *part[name]]
                total[name] = [min(both), max(both)]
    total["classes"] = dict(sorted(total["classes"].items(), key=lambda one: int(one[0])))
    total["was"] = dict(sorted(total["was"].items()))
    return total
