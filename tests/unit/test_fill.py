"""Voids are filled by the definition, from a bounded neighbourhood, in windows of any size."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilery.workloads.pointcloud.fill import fill
from tilery.workloads.pointcloud.grid import VOID

Surface = npt.NDArray[np.int32]


def sparse(seed: int, rows: int, columns: int, known: float = 0.05) -> Surface:
    random = np.random.default_rng(seed)
    heights = random.integers(-50_000, 3_000_000, (rows, columns))
    return np.where(random.random((rows, columns)) < known, heights, VOID).astype(np.int32)


def by_definition(surface: Surface, reach: int, one_sided: bool) -> Surface:
    """The fill cell by cell, in Python's integers."""
    filled = surface.copy()
    for y, x in np.argwhere(surface == VOID).tolist():
        both, one = [0, 0], [0, 0]
        for dy, dx, length in ((0, 1, 1), (1, 0, 1), (1, 1, 2), (1, -1, 2)):
            ahead, behind = (_first(surface, y, x, side * dy, side * dx, reach) for side in (1, -1))
            if ahead and behind:
                (near, n), (far, f) = ahead, behind
                weight = 2**24 // ((n + f) ** 2 * length)
                both = [both[0] + (near * f + far * n) // (n + f) * weight, both[1] + weight]
            for height, steps in (seen for seen in (ahead, behind) if seen):
                weight = 2**24 // (steps * steps * length)
                one = [one[0] + height * weight, one[1] + weight]
        total, weights = both if both[1] or not one_sided else one
        if weights:
            filled[y, x] = total // weights
    return filled


def _first(surface: Surface, y: int, x: int, dy: int, dx: int, reach: int) -> tuple[int, int] | None:
    for steps in range(1, reach + 1):
        row, column = y + steps * dy, x + steps * dx
        if not (0 <= row < surface.shape[0] and 0 <= column < surface.shape[1]):
            return None
        if surface[row, column] != VOID:
            return int(surface[row, column]), steps
    return None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 24), st.integers(1, 24), st.integers(1, 9), st.booleans())
def test_every_void_gets_the_height_of_the_definition(seed: int, rows: int, columns: int, reach: int, one_sided: bool) -> None:
    surface = sparse(seed, rows, columns)
    assert (fill(surface, reach, one_sided) == by_definition(surface, reach, one_sided)).all()


@pytest.mark.parametrize("columns", [1057, 1058, 1700, 4000])
def test_a_wide_window_has_the_cells_of_a_narrow_one(columns: int) -> None:
    """Steps times the width of the window pass 2^15 from 1,058 columns on: 31 steps are 32,798 cells."""
    wide, reach = sparse(7, 75, columns, known=0.004), 36
    filled = fill(wide, reach, one_sided=True)
    last = slice(columns - 60, columns)
    narrow = fill(np.ascontiguousarray(wide[:, last.start - reach :]), reach, one_sided=True)
    assert (filled[:, last] == narrow[:, reach:]).all()


def test_nothing_further_away_than_the_reach_counts_and_the_last_cell_within_it_does() -> None:
    surface = np.full((1, 41), VOID, dtype=np.int32)
    surface[0, 20] = 5
    filled = fill(surface, 7, one_sided=True)
    assert np.flatnonzero(filled[0] != VOID).tolist() == list(range(13, 28))
