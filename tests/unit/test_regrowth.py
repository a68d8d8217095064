"""Edges of terraces are won back, bushes and roofs are not, and nothing beyond the stated reach counts."""

import numpy as np
import numpy.typing as npt
import pytest

from tilery.workloads.pointcloud import regrowth
from tilery.workloads.pointcloud.grid import VOID
from tilery.workloads.pointcloud.options import GroundOptions

Cells = npt.NDArray[np.bool_]
Heights = npt.NDArray[np.int32]


def won(heights: Heights, objects: Cells, options: GroundOptions | None = None) -> Cells:
    ground, nothing = (heights != VOID) & ~objects, np.zeros(heights.shape, dtype=bool)
    found = regrowth.regrown(heights, ground, nothing, options or GroundOptions())
    assert (found >= ground).all(), "ground that was found stays ground"
    return found & objects


def slope_with(bump_mm: int) -> tuple[Heights, Cells]:
    """An even slope with one cell that sticks out."""
    heights = np.tile(np.arange(41, dtype=np.int32) * 400, (41, 1))
    heights += np.random.default_rng(0).integers(-40, 40, heights.shape).astype(np.int32)
    objects = np.zeros(heights.shape, dtype=bool)
    heights[20, 20] += bump_mm
    objects[20, 20] = True
    return heights, objects


def test_the_edge_of_a_terrace_comes_back() -> None:
    heights = np.zeros((41, 41), dtype=np.int32)
    heights[:, 20:] = 3000
    edge = np.zeros(heights.shape, dtype=bool)
    edge[10:30:3, 20:22] = True
    assert (won(heights, edge) == edge).all()


@pytest.mark.parametrize(("bump_mm", "back"), [(100, True), (1000, False)])
def test_on_an_even_slope_a_bush_stays_an_object(bump_mm: int, back: bool) -> None:
    heights, objects = slope_with(bump_mm)
    assert won(heights, objects)[20, 20] == back


@pytest.mark.parametrize(("bump_mm", "stays"), [(100, True), (1000, False)])
def test_a_bush_that_was_taken_for_ground_goes_if_it_sticks_out(bump_mm: int, stays: bool) -> None:
    heights, bush = slope_with(bump_mm)
    ground = np.ones(heights.shape, dtype=bool)
    assert regrowth.regrown(heights, ground, bush, GroundOptions())[20, 20] == stays
    assert regrowth.regrown(heights, ground, np.zeros_like(bush), GroundOptions()).all()


def test_ground_that_sees_too_little_ground_to_judge_by_stays() -> None:
    heights = np.full((31, 31), VOID, dtype=np.int32)
    heights[15, 15] = 5000
    heights[15, 18] = 0
    alone = heights != VOID
    assert (regrowth.regrown(heights, alone, alone, GroundOptions()) == alone).all()


def test_a_house_stays_an_object() -> None:
    heights = np.zeros((61, 61), dtype=np.int32)
    heights[20:40, 25:37] = 5000
    assert not won(heights, heights > 0).any()


def test_a_cell_higher_than_all_ground_around_by_more_than_the_lift_is_never_won() -> None:
    """The ground around scatters so much that anything would do but for the lift."""
    heights = np.random.default_rng(1).choice([0, 4000], (31, 31)).astype(np.int32)
    objects = np.zeros(heights.shape, dtype=bool)
    objects[15, 15] = True
    for lift, back in ((1.0, True), (0.25, False)):
        heights[15, 15] = 4000 + 600
        assert won(heights, objects, GroundOptions(grow_dense=3, grow_keep=3, grow_lift_m=lift))[15, 15] == back


def test_what_was_won_is_ground_in_the_next_round() -> None:
    """A row of cells, each of which has enough ground around only when the one before is ground."""
    heights = np.full((9, 60), VOID, dtype=np.int32)
    heights[4, 10:50] = 0
    objects = np.zeros(heights.shape, dtype=bool)
    objects[4, 20:50] = True
    reached = [
        int(won(heights, objects, GroundOptions(grow_m=5, grow_rounds=rounds, grow_share=0.0)).sum()) for rounds in range(4)
    ]
    assert reached[0] == 0
    assert reached[0] < reached[1] < reached[2] < reached[3]


@pytest.mark.parametrize("rounds", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_nothing_beyond_the_reach_counts(rounds: int, seed: int) -> None:
    """Ground and heights are changed wherever they may be; the middle stays as it was."""
    random = np.random.default_rng(seed)
    options = GroundOptions(grow_m=3, grow_rounds=rounds)
    from_ground, from_heights = regrowth.halo_cells(options)
    heights = np.where(random.random((121, 121)) < 0.4, random.integers(0, 2500, (121, 121)), VOID).astype(np.int32)
    ground = (heights != VOID) & (random.random(heights.shape) < 0.5)
    sticking = random.random(heights.shape) < 0.5
    before = regrowth.regrown(heights, ground, sticking, options)
    y, x = np.mgrid[:121, :121]
    distance = np.maximum(abs(y - 60), abs(x - 60))
    other_ground = np.where(distance > from_ground + 5, (heights != VOID) & (random.random(heights.shape) < 0.5), ground)
    other_heights = np.where(distance > max(from_ground, from_heights) + 5, random.integers(0, 2500, (121, 121)), heights)
    after = regrowth.regrown(other_heights.astype(np.int32), other_ground & (other_heights != VOID), sticking, options)
    assert (before == after)[55:66, 55:66].all()
    assert (before != after).any()


def test_points_are_counted_without_the_cell_itself() -> None:
    cells = np.random.default_rng(3).random((20, 25)) < 0.3
    counted = regrowth.count_around(cells, 2)
    assert counted[10, 10] == cells[8:13, 8:13].sum() - cells[10, 10]
    assert counted[0, 24] == cells[:3, 22:].sum() - cells[0, 24]
