"""Sums and maxima over squares of cells are what they are by definition."""

import numpy as np
import pytest

from tilery.workloads.pointcloud import morphology, squares
from tilery.workloads.pointcloud.grid import VOID


@pytest.mark.parametrize("radius", [0, 1, 4, 30])
def test_sums_means_and_maxima(radius: int) -> None:
    values = np.random.default_rng(radius).integers(-1000, 1000, (13, 21)).astype(np.int32)
    total, mean, highest = (of(values, radius) for of in (squares.total, squares.mean, squares.highest))
    for row in range(13):
        for column in range(21):
            part = values[max(0, row - radius) : row + radius + 1, max(0, column - radius) : column + radius + 1]
            assert total[row, column] == part.sum()
            assert mean[row, column] == part.sum() // (2 * radius + 1) ** 2
            assert highest[row, column] == part.max()


@pytest.mark.parametrize(("column", "row"), [(0, 0), (-3, 4), (7, -1)])
def test_pairs_of_cells_are_those_of_the_grid_wherever_an_array_starts(column: int, row: int) -> None:
    surface = np.random.default_rng(1).integers(0, 1000, (9, 12)).astype(np.int32)
    pairs = morphology.in_pairs(surface, column, row)
    back = morphology.from_pairs(pairs, column, row, surface.shape)
    for y in range(9):
        for x in range(12):
            same = [
                surface[b, a]
                for b in range(9)
                for a in range(12)
                if (b + row) // 2 == (y + row) // 2 and (a + column) // 2 == (x + column) // 2
            ]
            assert back[y, x] == min(same)
    assert (pairs != VOID).all()
