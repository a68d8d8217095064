"""Points dealt to tiles: every tile gets its own, those near it, and the lowest heights of all cells around."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilery.workloads.pointcloud import compiled, dealt, grid, ground
from tilery.workloads.pointcloud.options import GroundOptions

pytest.importorskip("numba")
SMALL = GroundOptions(max_window_m=4, fill_m=3, slope_radius_m=2, grow_m=2, grow_rounds=1, crowd_m=3, crowd_window_m=5)


@pytest.fixture(scope="module", params=["compiled", "plain"])
def kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    compiled.prepare(10**9)
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "plain":
            patch.setattr(compiled, "at_hand", lambda: False)
        yield


@pytest.mark.usefixtures("kernels")
@settings(deadline=None, max_examples=12)
@given(st.integers(0, 2**32 - 1), st.integers(10, 40), st.integers(0, 45), st.tuples(st.integers(-5, 5), st.integers(-5, 5)))
def test_a_tile_gets_the_points_and_the_lowest_heights_around_it(
    seed: int, side: int, halo: int, origin: tuple[int, int]
) -> None:
    random = np.random.default_rng(seed)
    x, y, z = random.integers(-50_000, 50_000, (3, 200)).astype(np.int32)
    tiles = grid.TileGrid(1000, side, origin)
    points = dealt.Dealt(tiles, x, y, z)
    owned = np.zeros(len(x), int)
    for tile in points.tiles:
        core = tiles.window(tile)
        members = points.members(tile, halo)
        assert sorted(members.tolist()) == np.flatnonzero(core.grow(halo).contains(x, y, 1000)).tolist()
        owned[members] += core.contains(x[members], y[members], 1000)
        around = core.grow(halo)
        cell = around.cell_of(x[members].astype(np.int64), y[members].astype(np.int64), 1000)
        expected = grid.lowest(cell, z[members], around.width * around.height).reshape(around.shape)
        assert (points.lowest(around) == expected).all()
    assert (owned == 1).all()


def test_heights_that_were_let_go_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dealt, "KEPT_BYTES", 1)
    x, y = (np.arange(0, 60_000, 500, dtype=np.int32) for _ in range(2))
    points = dealt.Dealt(grid.TileGrid(1000, 10), x, y, x)
    near, far = grid.Window(-5, -5, 20, 20), grid.Window(25, 25, 20, 20)
    first = points.lowest(near)
    assert (points.lowest(far) != first).any()
    assert (points.lowest(near) == first).all()


@pytest.mark.usefixtures("kernels")
def test_ground_told_from_lowest_heights_is_that_told_from_all_points() -> None:
    random = np.random.default_rng(3)
    x, y = random.integers(0, 60_000, (2, 6000))
    z = (x // 20 + random.choice([0, 0, 0, 4000], len(x)) + random.integers(0, 300, len(x))).astype(np.int32)
    tiles, halo = grid.TileGrid(1000, 20), ground.halo_cells(SMALL)
    points = dealt.Dealt(tiles, x.astype(np.int32), y.astype(np.int32), z)
    block = {}
    for several in points.blocks(1600):
        around = points.around(several)
        lowest = ground.Lowest(points.lowest(around.grow(halo)), around.grow(halo))
        block |= dict.fromkeys(several, ground.terrain_below(lowest, around, SMALL))
    for tile in points.tiles:
        core = tiles.window(tile)
        mine = points.members(tile, 0)
        told = ground.ground_of(x[mine], y[mine], z[mine], core, SMALL, block[tile])
        whole = ground.ground_of(x, y, z, core, SMALL)
        assert (told.labels == whole.labels[mine]).all()
        assert set(np.unique(told.labels)) == {1, 2}
        assert told.window == whole.window
        assert (told.terrain == whole.terrain).all()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1), st.integers(0, 3_000))
def test_blocks_hold_each_tile_once_and_so_many_cells_at_most(places: list[tuple[int, int]], cells: int) -> None:
    x, y = (np.array(axis, np.int32) * 10_000 for axis in zip(*places, strict=True))
    points = dealt.Dealt(grid.TileGrid(1000, 10), x, y, x)
    blocks = points.blocks(cells)
    assert sorted(tile for block in blocks for tile in block) == points.tiles
    for block in blocks:
        window = points.around(block)
        assert window.width * window.height <= max(cells, 100)


def test_few_points_over_a_large_area_are_worth_compiled_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(compiled, "prepare", asked.append)
    x, z = np.array([0, 80_000]), np.zeros(2, np.int32)
    ground.ground_of(x, x, z, grid.Window(0, 0, 81, 81), SMALL)
    assert asked == [compiled.CELL_POINTS * (81 + 2 * ground.EDGE_CELLS) ** 2]
