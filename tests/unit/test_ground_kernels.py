"""The compiled steps of the ground filter give what the arrays' own operations give, bit for bit."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tilery.workloads.pointcloud import compiled, fill, grid, ground, morphology, squares
from tilery.workloads.pointcloud.grid import VOID, Window
from tilery.workloads.pointcloud.options import GroundOptions

pytest.importorskip("numba")
SMALL = GroundOptions(
    max_window_m=6, fill_m=5, slope_radius_m=3, grow_m=4, grow_rounds=2, crowd_m=5, crowd_window_m=11, crowd_share=0.2
)
Seed = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module", autouse=True)
def kernels() -> None:
    compiled.prepare(10**9)


def both(work: Callable[[], Any]) -> Iterator[Any]:
    """The result with compiled steps, and that without."""
    assert compiled.kernels_for(np.zeros(1)) is not None
    yield work()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "at_hand", lambda: False)
        yield work()


def heights(seed: int, rows: int, columns: int, known: float, spread: int) -> npt.NDArray[np.int32]:
    random = np.random.default_rng(seed)
    surface = random.integers(-spread, spread + 1, (rows, columns)).astype(np.int32)
    surface[random.random(surface.shape) >= known] = VOID
    return surface


Surfaces = st.builds(
    heights, Seed, st.integers(1, 40), st.integers(1, 40), st.sampled_from([0.0, 0.05, 0.5, 1.0]), st.sampled_from([3, 90_000])
)
FLOAT_EDGE = np.array([[-(1 << 23), (1 << 23) + 1, 1 << 23], [VOID, 5, -6]], dtype=np.int32)
WIDEST = np.array([[-int(VOID), 0, VOID - 1], [VOID, 5, -6]], dtype=np.int32)


@settings(deadline=None, max_examples=40)
@given(Surfaces, st.integers(1, 9))
@example(FLOAT_EDGE, 2)
@example(FLOAT_EDGE // 2, 2)
@example(WIDEST, 1)
def test_openings(surface: npt.NDArray[np.int32], radius: int) -> None:
    one, other = both(lambda: list(morphology.openings(surface, range(1, radius + 1))))
    assert len(one) == len(other) == radius
    for mine, plain in zip(one, other, strict=True):
        assert mine.dtype == plain.dtype == np.int32
        assert (mine == plain).all()


@settings(deadline=None, max_examples=30)
@given(Surfaces, st.integers(0, 6))
def test_highest_of_squares(surface: npt.NDArray[np.int32], radius: int) -> None:
    one, other = both(lambda: squares.highest(surface, radius))
    assert one.dtype == other.dtype == np.int32
    assert np.array_equal(one, other)


@settings(deadline=None, max_examples=40)
@given(Surfaces, st.integers(1, 30), st.booleans())
@example(WIDEST, 3, True)
def test_fills(surface: npt.NDArray[np.int32], reach: int, one_sided: bool) -> None:
    one, other = both(lambda: fill.fill(surface, reach, one_sided))
    assert one.dtype == other.dtype
    assert (one == other).all()


def test_a_line_so_long_that_it_weighs_nothing_counts_from_its_ends_alone() -> None:
    surface = np.full((1, 4200), VOID, dtype=np.int32)
    surface[0, [0, -1]] = 1000, -3000
    one, other = both(lambda: fill.fill(surface, 4198, one_sided=True))
    assert (one == other).all()
    assert (one != VOID).all()


@settings(deadline=None, max_examples=30)
@given(Surfaces, st.integers(0, 50))
@example(WIDEST, 1)
def test_sums_over_squares_and_slopes(surface: npt.NDArray[np.int32], radius: int) -> None:
    for work in (lambda: squares.total(surface, radius), lambda: ground.slope_mm(surface, 1000)):
        one, other = both(work)
        assert one.dtype == other.dtype
        assert (one == other).all()


@settings(deadline=None, max_examples=30)
@given(Surfaces, Seed, st.integers(0, 100_000))
@example(WIDEST, 1, 0)
def test_what_is_lowered_too_much(drop: npt.NDArray[np.int32], seed: int, length: int) -> None:
    slope, apart = np.random.default_rng(seed).integers(0, ground.STEEPEST + 1, (2, *drop.shape)).astype(np.int32)

    def marked() -> Any:
        found = drop > 5
        ground.mark_exceeding(found, drop, slope, length, apart)
        return found

    one, other = both(marked)
    assert one.dtype == other.dtype == np.bool_
    assert (one == other).all()


@settings(deadline=None, max_examples=20)
@given(
    Seed,
    st.integers(1, 4000),
    st.sampled_from([500, 1000, 1700]),
    st.tuples(st.integers(-3000, 3000), st.integers(-3000, 3000)),
    st.sampled_from([20_000, 60_000]),
)
def test_labels_terrain_and_heights(seed: int, count: int, cell_mm: int, corner: tuple[int, int], metres: int) -> None:
    random = np.random.default_rng(seed)
    x, y = (start * 1000 + random.integers(0, metres, count) for start in corner)
    z = (random.integers(-200, 200, count) + x % 7000 // 3 - 9 * (random.random(count) < 0.02) * 1000).astype(np.int32)
    z += (random.random(count) < 0.2) * random.integers(0, 12_000, count).astype(np.int32)
    options = SMALL.model_copy(update={"cell_m": cell_mm / 1000})
    core = grid.bounds(x, y, cell_mm).grow(int(random.integers(-6, 4)))
    if core.width < 1 or core.height < 1:
        core = Window(core.x0, core.y0, 1, 1)
    one, other = both(lambda: ground.ground_of(x, y, z, core, options))
    assert one.window == other.window
    for name in ("labels", "terrain", "low", "height", "slope"):
        mine, plain = getattr(one, name), getattr(other, name)
        assert mine.dtype == plain.dtype
        assert (mine == plain).all(), name


@settings(deadline=None, max_examples=20)
@given(Seed, st.integers(0, 900), st.integers(4, 60), st.integers(0, 40), st.tuples(st.integers(-9, 9), st.integers(-9, 9)))
def test_the_points_of_each_tile(seed: int, count: int, side: int, halo: int, origin: tuple[int, int]) -> None:
    x, y = np.random.default_rng(seed).integers(-50_000, 50_000, (2, count)).astype(np.int32)
    tiles = grid.TileGrid(1000, side, origin)
    one, other = both(lambda: [(tile, index.tolist()) for tile, index in tiles.members(x, y, halo)])
    assert one == other
