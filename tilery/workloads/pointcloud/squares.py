"""Sums and maxima over the square of cells around each."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilery.workloads.pointcloud.array_module import module_of
from tilery.workloads.pointcloud.compiled import kernels_for


def total(values: Any, radius: int) -> Any:
    """Sum (int64) of the values (int32 or bool, 2D) in the square of cells within `radius`; beyond the array counts as 0."""
    xp, side = module_of(values), 2 * radius + 1
    values = xp.ascontiguousarray(values, dtype=xp.int32)
    kernels = kernels_for(values)
    if kernels is not None:
        sums = np.empty(values.shape, dtype=np.int64)
        kernels.total(values, radius, np.zeros(values.shape[1], np.int64), sums)
        return sums
    sums = xp.cumsum(xp.pad(values, ((radius + 1, radius), (radius + 1, radius))), axis=0, dtype=xp.int64)
    sums = xp.cumsum(sums[side:] - sums[:-side], axis=1)
    return sums[:, side:] - sums[:, :-side]


def mean(values: Any, radius: int) -> Any:
    """Mean (int32, rounded down) over the same square."""
    xp, side = module_of(values), 2 * radius + 1
    return (total(values, radius) // (side * side)).astype(xp.int32)


def highest(values: Any, radius: int) -> Any:
    """Maximum over the square of cells within `radius`."""
    xp, kernels = module_of(values), kernels_for(values) if values.dtype == np.int32 else None
    if kernels is not None:
        best = np.empty_like(values)
        kernels.extreme(values, radius, True, np.empty(values.shape[1], np.int32), best)
        return best
    best = values.copy()
    for axis in (0, 1):
        line = best.swapaxes(0, axis)
        source = line.copy()
        for step in range(1, min(radius, len(line) - 1) + 1):
            xp.maximum(line[step:], source[:-step], out=line[step:])
            xp.maximum(line[:-step], source[step:], out=line[:-step])
    return best
