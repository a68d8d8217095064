"""What is counted over tiles and merged exactly: sums of integers, minima and maxima."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

RANGES = ("x_mm", "y_mm", "z_mm", "ground_mm")


def of_labels(labels: NDArray[np.uint8], x_mm: NDArray[Any], y_mm: NDArray[Any], z_mm: NDArray[Any]) -> dict[str, Any]:
    """Statistics of some points (mm): how many of each class, their extent, and the heights of ground and of all."""
    counts = np.bincount(labels, minlength=1)
    return {
        "points": len(labels),
        "classes": {str(label): int(count) for label, count in enumerate(counts) if count},
        **{name: _range(values) for name, values in zip(RANGES, (x_mm, y_mm, z_mm, z_mm[labels == 2]), strict=True)},
    }


def _range(values: NDArray[Any]) -> list[int]:
    return [int(values.min()), int(values.max())] if len(values) else []


def merged(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The statistics of all parts together; order and grouping do not matter."""
    total: dict[str, Any] = {"points": 0, "classes": {}, **{name: [] for name in RANGES}}
    for part in parts:
        total["points"] += part["points"]
        for label, count in part["classes"].items():
            total["classes"][label] = total["classes"].get(label, 0) + count
        for name in RANGES:
            if part[name]:
                both = [*total[name], *part[name]]
                total[name] = [min(both), max(both)]
    total["classes"] = dict(sorted(total["classes"].items(), key=lambda one: int(one[0])))
    return total
