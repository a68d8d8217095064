"""What is counted over tiles and merged exactly: sums of integers, minima and maxima."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

RANGES = ("x_mm", "y_mm", "z_mm", "ground_mm")


def of_labels(
    labels: NDArray[np.uint8],
    source: NDArray[np.uint8],
    x_mm: NDArray[Any],
    y_mm: NDArray[Any],
    z_mm: NDArray[Any],
    sure: NDArray[np.bool_] | None = None,
    ground: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """Statistics of some points (mm): how many of each class, of which class of the input became which (`was`), their extent,
    and the heights of ground (or of the points that are said to be that) and of all. The classes of points that are not `sure`
    are not counted."""
    ground = labels == 2 if ground is None else ground
    final = labels if sure is None else labels[sure]
    counts = np.bincount(final, minlength=1)
    return {
        "points": len(labels),
        "classes": {str(label): int(count) for label, count in enumerate(counts) if count},
        "was": was(source if sure is None else source[sure], final),
        **{name: _range(values) for name, values in zip(RANGES, (x_mm, y_mm, z_mm, z_mm[ground]), strict=True)},
    }


def was(source: NDArray[np.uint8], labels: NDArray[np.uint8]) -> dict[str, int]:
    """How many points of each class of the input (`source`) have which class now, as "from>to"."""
    counts = np.bincount(source.astype(np.int64) << 8 | labels, minlength=1)
    return {f"{pair >> 8}>{pair & 255}": int(counts[pair]) for pair in np.flatnonzero(counts).tolist()}


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
