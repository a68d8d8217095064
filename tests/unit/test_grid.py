"""The global grid: exact coordinates, cells and tiles that know no bounds."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilery.outcomes import BadInput
from tilery.workloads.pointcloud import grid

STORED = st.integers(-(2**31), 2**31 - 1)


@settings(deadline=None)
@given(
    STORED,
    st.sampled_from([0.01, 0.001, 0.00025, 1.0, 1.16451354e-06]),
    st.floats(-1e7, 1e7, allow_nan=False),
    st.sampled_from([Fraction(1), grid.INTERNATIONAL_FOOT, grid.US_SURVEY_FOOT]),
)
def test_millimetres_are_the_exact_floor(stored: int, scale: float, offset: float, unit: Fraction) -> None:
    exact = (stored * Fraction(repr(scale)) + Fraction(repr(offset))) * unit * 1000
    if abs(exact) < 2**62:
        assert grid.to_millimetres(np.array([stored], dtype=np.int32), scale, offset, unit)[0] == exact.__floor__()


def test_the_same_place_in_files_of_other_scale_and_offset_is_the_same_millimetre() -> None:
    one = grid.to_millimetres(np.array([123456], dtype=np.int32), 0.01, 500000.0)
    other = grid.to_millimetres(np.array([501234560], dtype=np.int32), 0.001, 0.0)
    assert one[0] == other[0] == 501_234_560


def test_feet_of_a_crs_are_recognised() -> None:
    assert grid.exact_unit(0.304800609601219) == grid.US_SURVEY_FOOT
    assert grid.exact_unit(0.3048) == grid.INTERNATIONAL_FOOT


def test_a_cell_that_is_no_whole_number_of_millimetres_is_refused() -> None:
    with pytest.raises(BadInput, match="whole number of millimetres"):
        grid.cell_millimetres(0.0005)


@given(st.integers(-50, 50), st.integers(-50, 50))
def test_tile_ids_round_trip(column: int, row: int) -> None:
    assert grid.tile_from_id(grid.tile_id((column, row))) == (column, row)


@settings(deadline=None, max_examples=20)
@given(st.integers(4, 60), st.integers(0, 40), st.tuples(st.integers(-9, 9), st.integers(-9, 9)), st.integers(0, 2**32 - 1))
def test_every_point_is_in_one_core_and_in_each_window_that_reaches_it(
    side: int, halo: int, origin: tuple[int, int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    x, y = random.integers(-50_000, 50_000, (2, 200))
    tiles = grid.TileGrid(1000, side, origin)
    owned = np.zeros(200, dtype=int)
    for tile, index in tiles.members(x, y, halo):
        core = tiles.window(tile)
        assert index.tolist() == np.flatnonzero(core.grow(halo).contains(x, y, 1000)).tolist()
        owned[index] += core.contains(x[index], y[index], 1000)
    assert (owned == 1).all()


def test_the_lowest_point_of_a_cell_counts() -> None:
    cells = grid.lowest(np.array([1, 0, 1]), np.array([5, -3, 4], dtype=np.int32), 3)
    assert cells.tolist() == [-3, 4, grid.VOID]


def test_a_window_of_no_cells_cuts_nothing_out_of_any_other() -> None:
    nothing = grid.Window(0, 0, 4, 4).overlap(grid.Window(9, 9, 2, 2))
    assert np.ones((2, 2))[nothing.inside(grid.Window(5, 5, 2, 2))].size == 0
    assert np.ones((0, 0))[nothing.inside(grid.Window(3, 3, 0, 0))].size == 0
