"""What is counted over tiles and merged exactly: sums of integers, minima and maxima."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def of_labels(labels: NDArray[np.uint8], z_mm: NDArray[Any]) -> dict[str, Any]:
    """Statistics of some points: how many of each class, and the heights (mm) of ground and of all."""
    counts = np.bincount(labels, minlength=1)
    ground = z_mm[labels == 2]
    return {
        "points": len(labels),
        "classes": {str(label): int(count) for label, count in enumerate(counts) if count},
        "z_mm": [int(z_mm.min()), int(z_mm.max())] if len(z_mm) else [],
        "ground_mm": [int(ground.min()), int(ground.max())] if len(ground) else [],
    }


def merged(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The statistics of all parts together; order and grouping do not matter."""
    total: dict[str, Any] = {"points": 0, "classes": {}, "z_mm": [], "ground_mm": []}
    for part in parts:
        total["points"] += part["points"]
        for label, count in part["classes"].items():
            total["classes"][label] = total["classes"].get(label, 0) + count
        for name in ("z_mm", "ground_mm"):
            if part[name]:
                both = [*total[name], *part[name]]
                total[name] = [min(both), max(both)]
    total["classes"] = dict(sorted(total["classes"].items(), key=lambda one: int(one[0])))
    return total
