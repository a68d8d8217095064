"""Fills voids of an integer surface from a bounded neighbourhood.

From each void cell, four lines (row, column, two diagonals) look both ways for the nearest known cell. Lines that find one on
both sides interpolate linearly; short lines weigh more. All arithmetic is in integers and nothing beyond `reach` cells is
read, so a cell has the same value in any window that holds its neighbourhood.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tilery.workloads.pointcloud.array_module import module_of
from tilery.workloads.pointcloud.compiled import kernels_for
from tilery.workloads.pointcloud.grid import VOID

_LINES = ((0, 1, 1), (1, 0, 1), (1, 1, 2), (1, -1, 2))
"""Step in y and x, and its squared length."""
_WEIGHT = 1 << 24


def fill(surface: Any, reach: int, one_sided: bool) -> Any:
    """`surface` (int32 mm, 2D) with its `VOID` cells filled where known cells lie within `reach` cells along the lines.

    Cells that no line sees known cells on both sides of stay void, or with `one_sided` take the mean of the nearest known
    cells weighted by inverse squared distance.
    """
    xp = module_of(surface)
    filled = surface.copy()
    where = xp.flatnonzero(surface.ravel() == VOID)
    if not len(where):
        return filled
    kernels = kernels_for(surface)
    if kernels is not None:
        rows, columns = surface.shape
        steps = np.empty((4, rows, columns), np.int16), np.empty((4, 2, columns), np.int16)
        kernels.fill(surface, reach, one_sided, _WEIGHT, *steps, filled)
        return filled
    flat = surface.ravel()
    both_sum, both_weight = (xp.zeros(len(where), dtype=xp.int64) for _ in range(2))
    one_sum, one_weight = (xp.zeros(len(where), dtype=xp.int64) for _ in range(2))
    for dy, dx, length in _LINES:
        stride = dy * surface.shape[1] + dx
        ahead, behind = (_nearest(surface, side * dy, side * dx, reach).ravel()[where].astype(xp.int64) for side in (1, -1))
        sees, seen = ahead <= reach, behind <= reach
        near = flat[xp.where(sees, where + ahead * stride, where)].astype(xp.int64)
        far = flat[xp.where(seen, where - behind * stride, where)].astype(xp.int64)
        span = ahead + behind
        both = sees & seen
        weight = xp.where(both, _WEIGHT // (span * span * length), 0)
        both_sum += (near * behind + far * ahead) // span * weight
        both_weight += weight
        if one_sided:
            for value, distance, found in ((near, ahead, sees), (far, behind, seen)):
                weight = xp.where(found, _WEIGHT // (distance * distance * length), 0)
                one_sum += value * weight
                one_weight += weight
    result = xp.where(both_weight > 0, both_sum // xp.maximum(both_weight, 1), VOID)
    if one_sided:
        lonely = (both_weight == 0) & (one_weight > 0)
        result = xp.where(lonely, one_sum // xp.maximum(one_weight, 1), result)
    filled.ravel()[where] = result.astype(xp.int32)
    return filled


def _nearest(surface: Any, dy: int, dx: int, reach: int) -> Any:
    """Steps (int16) to the nearest known cell in one direction, more than `reach` where there is none within it.

    Distances double: what a cell 2^k further on has seen in its next 2^k cells, this cell sees too.
    """
    xp = module_of(surface)
    beyond = xp.int16(16000)
    steps = xp.where(surface == VOID, beyond, xp.int16(0))
    rows, columns = surface.shape
    shift = 1
    while shift <= reach:
        y, x = dy * shift, dx * shift
        if abs(y) >= rows or abs(x) >= columns:
            break
        here = (slice(max(0, -y), rows - max(0, y)), slice(max(0, -x), columns - max(0, x)))
        there = (slice(max(0, y), rows - max(0, -y)), slice(max(0, x), columns - max(0, -x)))
        closer = xp.minimum(steps[here], steps[there] + xp.int16(shift))
        steps[here] = closer
        shift *= 2
    return steps
