"""The pixels with the strongest significant trends, spread over the picture: one a cell, a few a block.

Cells and blocks are those of the result's grid, so the choice does not depend on the windows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.trend.options import TrendOptions

CELLS = 8
"""Cells along a block's side."""
A_BLOCK = 4
Candidate = dict[str, Any]


def of_window(result: NDArray[Any], column: int, row: int, options: TrendOptions) -> list[Candidate]:
    """The candidates of a window's blocks: {row, column, slope, p}."""
    slope, p = result[0], result[4]
    strength = np.where(p < options.alpha, np.abs(slope), -1.0)
    found: list[Candidate] = []
    block = options.block
    for top in range(0, slope.shape[0], block):
        for left in range(0, slope.shape[1], block):
            inside = strength[top : top + block, left : left + block]
            if inside.max() < 0:
                continue
            for y, x in _of_block(inside, block // CELLS):
                at = (top + y, left + x)
                found.append({"row": row + at[0], "column": column + at[1], "slope": float(slope[at]), "p": float(p[at])})
    return found


def choose(candidates: Iterable[Candidate], count: int) -> list[Candidate]:
    """The strongest of all windows' candidates."""
    return sorted(candidates, key=lambda one: (-abs(one["slope"]), one["row"], one["column"]))[:count]


def _of_block(strength: NDArray[Any], cell: int) -> list[tuple[int, int]]:
    best = []
    for top in range(0, strength.shape[0], cell):
        for left in range(0, strength.shape[1], cell):
            inside = strength[top : top + cell, left : left + cell]
            at = int(inside.argmax())
            y, x = divmod(at, inside.shape[1])
            if inside[y, x] >= 0:
                best.append((-float(inside[y, x]), top + y, left + x))
    return [(y, x) for _, y, x in sorted(best)[:A_BLOCK]]
