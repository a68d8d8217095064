"""Edges of terraces are won back, bushes and roofs are not, and nothing beyond the stated reach counts."""

import numpy as np
import numpy.typing as npt
import pytest

from tilery.workloads.pointcloud import regrowth
from tilery.workloads.pointcloud.grid import VOID
from tilery.workloads.pointcloud.options import GroundOptions

Cells = npt.NDArray[np.bool_]
Heights = npt.NDArray[np.int32]


def regrown(heights: Heights, ground: Cells, sticking: Cells, options: GroundOptions | None = None) -> Cells:
    return regrowth.regrown(heights, ground, np.zeros_like(ground), sticking, options or GroundOptions())


def won(heights: Heights, objects: Cells, options: GroundOptions | None = None) -> Cells:
    ground, nothing = (heights != VOID) & ~objects, np.zeros(heights.shape, dtype=bool)
    found = regrown(heights, ground, nothing, options)
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
    assert regrown(heights, ground, bush)[20, 20] == stays
    assert regrown(heights, ground, np.zeros_like(bush)).all()


def test_ground_that_sees_too_little_ground_to_judge_by_stays() -> None:
    heights = np.full((31, 31), VOID, dtype=np.int32)
    heights[15, 15] = 5000
    heights[15, 18] = 0
    alone = heights != VOID
    assert (regrown(heights, alone, alone) == alone).all()


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
        int(won(heights, objects, GroundOptions(grow_m=5, grow_rounds=rounds, grow_share=0.0)).sum()) for rounds in range(3)
    ]
    assert reached[0] == 0
    assert reached[0] < reached[1] < reached[2]


def crowd_of_bumps(apart: int) -> tuple[Heights, Cells]:
    """A plain with bumps of 2 m on 3 x 3 cells, so far apart, all objects but the one in the middle."""
    heights = np.zeros((81, 81), dtype=np.int32)
    for row in range(4, 77, apart):
        for column in range(4, 77, apart):
            heights[row : row + 3, column : column + 3] = 2000
    middle = heights[36:44, 36:44] > 0
    objects = heights > 0
    objects[36:44, 36:44] &= ~middle
    return heights, objects


def test_what_is_doubted_is_ground_in_the_open_and_not_in_a_crowd() -> None:
    options = GroundOptions(grow_keep=99)
    for apart, stays in ((36, True), (4, False)):
        heights, objects = crowd_of_bumps(apart)
        ground = ~objects
        doubted = (heights > 0) & ground
        assert doubted.any()
        nothing = np.zeros_like(ground)
        found = regrowth.regrown(heights, ground, doubted, nothing, options)
        assert (found[doubted] == stays).all()
        assert regrowth.regrown(heights, ground, nothing, nothing, options)[doubted].all()


def test_in_the_open_a_cell_may_rise_further() -> None:
    """The ground around scatters, so that it depends on how many times its scatter a cell may rise."""
    heights = np.random.default_rng(1).integers(-500, 500, (41, 41)).astype(np.int32)
    objects = np.zeros(heights.shape, dtype=bool)
    objects[20, 20], heights[20, 20] = True, 500
    options = {"grow_dense": 0.8, "grow_level": 0, "grow_keep": 99}
    assert not won(heights, objects, GroundOptions(open_grow=1, **options))[20, 20]
    assert won(heights, objects, GroundOptions(open_grow=2, **options))[20, 20]
    assert not won(heights, objects, GroundOptions(open_grow=2, open_share=0, **options))[20, 20]


@pytest.mark.parametrize("rounds", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_nothing_beyond_the_reach_counts(rounds: int, seed: int) -> None:
    """Ground and heights are changed wherever they may be; the middle stays as it was."""
    random = np.random.default_rng(seed)
    options = GroundOptions(grow_m=3, grow_rounds=rounds, crowd_m=4, crowd_share=0.5, open_share=0.45)
    halo = regrowth.Halo.of(options)
    ends = random.integers(0, 2500, (121, 121))
    heights = np.where(random.random(ends.shape) < 0.4, ends, VOID).astype(np.int32)
    ground, doubted, sticking = (random.random(heights.shape) < 0.5 for _ in range(3))
    before = regrowth.regrown(heights, ground & (heights != VOID), doubted, sticking, options)
    y, x = np.mgrid[:121, :121]
    distance = np.maximum(abs(y - 60), abs(x - 60))
    ground, doubted = (
        np.where(distance > reach + 5, random.random(cells.shape) < 0.5, cells)
        for cells, reach in ((ground, halo.ground), (doubted, halo.doubted))
    )
    others = np.where(distance > halo.heights + 5, random.integers(0, 2500, heights.shape), heights).astype(np.int32)
    after = regrowth.regrown(others, ground & (others != VOID), doubted, sticking, options)
    assert (before == after)[55:66, 55:66].all()
    assert (before != after).any()


def test_points_are_counted_without_the_cell_itself() -> None:
    cells = np.random.default_rng(3).random((20, 25)) < 0.3
    counted = regrowth.count_around(cells, 2)
    assert counted[10, 10] == cells[8:13, 8:13].sum() - cells[10, 10]
    assert counted[0, 24] == cells[:3, 22:].sum() - cells[0, 24]
