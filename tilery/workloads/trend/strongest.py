"""The pixels with the strongest significant trends, spread over the picture: one a cell, an eighth of a block wide.

Cells are those of the result's block grid, so the choice does not depend on the windows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.trend.options import TrendOptions

CELLS = 8
"""Cells along a block's side."""
MOST = 12
"""As many as can be asked for: the strongest of all are among the strongest of each window."""
Candidate = dict[str, Any]


def of_window(slope: NDArray[Any], p: NDArray[Any], column: int, row: int, options: TrendOptions) -> list[Candidate]:
    """The candidates of a window whose first pixel is (column, row): {row, column, slope, p}, the strongest first."""
    strength = np.where(p < options.alpha, np.abs(slope), -1.0)
    cell = options.block // CELLS
    found: list[Candidate] = []
    for top in range(0, slope.shape[0], cell):
        for left in range(0, slope.shape[1], cell):
            inside = strength[top : top + cell, left : left + cell]
            y, x = divmod(int(inside.argmax()), inside.shape[1])
            if inside[y, x] >= 0:
                at = (top + y, left + x)
                found.append({"row": row + at[0], "column": column + at[1], "slope": float(slope[at]), "p": float(p[at])})
    return choose(found, MOST)


def choose(candidates: Iterable[Candidate], count: int) -> list[Candidate]:
    """The strongest of all windows' candidates."""
    return sorted(candidates, key=lambda one: (-abs(one["slope"]), one["row"], one["column"]))[:count]
