"""The compiled passes over points give what the arrays' own operations give."""

from collections.abc import Callable, Iterator
from dataclasses import astuple
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilery.outcomes import BadInput
from tilery.workloads.pointcloud import compiled, objects, statistics
from tilery.workloads.pointcloud.candidates import connected
from tilery.workloads.pointcloud.coordinates import write_millimetres
from tilery.workloads.pointcloud.features import NO_PLANE, around, extreme, planes
from tilery.workloads.pointcloud.fragments import Fragment
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.grid import VOID, TileGrid, Window, to_millimetres
from tilery.workloads.pointcloud.options import ObjectOptions
from tilery.workloads.pointcloud.water import water_cells
from tilery.workloads.pointcloud.whole import Drop

pytest.importorskip("numba")
Seed = st.integers(0, 2**32 - 1)


def both(work: Callable[[], Any]) -> Iterator[Any]:
    """The result with compiled passes, and that without."""
    compiled.prepare(10**9)
    assert compiled.kernels_for(np.zeros(1)) is not None
    yield work()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "at_hand", lambda: False)
        yield work()


@settings(deadline=None, max_examples=30)
@given(Seed, st.integers(0, 300))
def test_points_are_sorted_out(seed: int, points: int) -> None:
    random = np.random.default_rng(seed)
    window, core = Window(-5, 40, 20, 30), Window(-2, 44, 11, 19)
    x, y = random.integers(-5_000, 15_000, points), random.integers(40_000, 70_000, points)
    seen = random.choice(np.array([0, 1, 2, 7], np.uint8), points)
    one, other = both(lambda: objects.sorted_out(x, y, seen, core, window, 1000))
    for mine, plain in zip(one, other, strict=True):
        pairs = zip(astuple(mine), astuple(plain), strict=True) if isinstance(mine, objects.Some) else [(mine, plain)]
        assert all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


@settings(deadline=None, max_examples=30)
@given(Seed, st.integers(0, 200))
def test_points_are_counted(seed: int, points: int) -> None:
    random = np.random.default_rng(seed)
    labels, otherwise, source = random.choice(np.array([0, 1, 2, 6, 255], np.uint8), (3, points))
    counted = np.where(random.random(points) < 0.3, 0, labels)
    x, y = random.integers(-(10**12), 10**12, (2, points))
    z = random.integers(-(2**31), 2**31, points).astype(np.int32)
    for column in (source, x, y, z):
        column.flags.writeable = False  # as what was read from the store
    one, other = both(lambda: statistics.of_tile(labels, otherwise, counted, source, x, y, z))
    assert one == other
    assert one["points"] == np.count_nonzero(labels)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1), st.sampled_from([0.01, 0.001, 1 / 3]), st.integers(-9, 9))
def test_places_are_converted(stored: list[int], scale: float, offset: int) -> None:
    file = SimpleNamespace(name="some.laz", scales=(scale, scale, scale / 10), offsets=(offset / 7, 0.0, 0.0))
    column = np.array(stored, np.int32)

    def written() -> Any:
        into = tuple(np.zeros(len(stored), np.int32) for _ in range(3))
        try:
            write_millimetres(cast(Any, file), (column, column, column), 1200 / 3937, 0.3, (5_000_000, -5_000_000), into)
        except BadInput as refused:
            return str(refused)
        return [one.tolist() for one in into]

    one, other = both(written)
    assert one == other
    if not isinstance(one, str):
        assert one[0] == (to_millimetres(column, scale, offset / 7, 1200 / 3937) - 5_000_000).tolist()


@settings(deadline=None, max_examples=30)
@given(Seed, st.integers(1, 12), st.integers(1, 12), st.integers(0, 5), st.booleans())
def test_sums_over_squares(seed: int, rows: int, columns: int, reach: int, cells: bool) -> None:
    values = np.random.default_rng(seed).integers(-(1 << 40), 1 << 40, (rows, columns))
    one, other = both(lambda: around(values > 0 if cells else values, reach))
    assert one.dtype == other.dtype
    assert np.array_equal(one, other)


@settings(deadline=None, max_examples=40)
@given(Seed, st.integers(1, 15), st.integers(1, 15), st.sampled_from([0.1, 0.4, 0.6, 1.0]))
def test_regions_of_cells(seed: int, rows: int, columns: int, share: float) -> None:
    there = np.random.default_rng(seed).random((rows, columns)) < share
    (one, count), (other, plain) = both(lambda: connected(there))
    assert count == plain == one.max(initial=0)
    assert one.dtype == other.dtype
    assert np.array_equal(one, other)


@settings(deadline=None, max_examples=40)
@given(Seed, st.integers(1, 12), st.integers(1, 12), st.integers(0, 5), st.booleans(), st.sampled_from([np.int32, np.int64]))
def test_extremes_of_squares(seed: int, rows: int, columns: int, reach: int, highest: bool, dtype: type[np.integer]) -> None:
    ends = np.iinfo(dtype)
    values = np.random.default_rng(seed).integers(ends.min, ends.max, (rows, columns), dtype)
    one, other = both(lambda: extreme(np.maximum if highest else np.minimum, values, reach))
    assert one.dtype == other.dtype == dtype
    assert np.array_equal(one, other)


@settings(deadline=None, max_examples=40)
@given(Seed, st.integers(0, 400), st.sampled_from([1000, 500]), st.sampled_from([20, 3_000, 200_000]), st.booleans())
def test_planes(seed: int, points: int, cell_mm: int, spread: int, all_of_them: bool) -> None:
    random = np.random.default_rng(seed)
    window = Window(-5, 40, 9, 7)
    west, south, east, north = window.edges(cell_mm)
    x, y = random.integers(west, east, points), random.integers(south, north, points)
    z = random.integers(-spread, spread + 1, points) + x // 3
    chosen = None if all_of_them else random.random(points) < 0.7
    one, other = both(lambda: planes(x, y, z, window, cell_mm, 4, 2_000, chosen))
    for mine, plain in zip(astuple(one), astuple(other), strict=True):
        assert mine.dtype == plain.dtype
        assert np.array_equal(mine, plain)


def test_of_equal_planes_the_same_one_counts() -> None:
    window, places = Window(0, 0, 6, 5), np.arange(250, 6_000, 500)
    x, y = (axis.ravel() for axis in np.meshgrid(places, places[places < 5_000]))
    z = np.where(x < 3_000, x // 2, 3_000 - x // 2)  # a ridge: two planes fit beside it, each exactly
    one, other = both(lambda: planes(x, y, z, window, 1000, 4, 2_000))
    assert (one.variance < NO_PLANE).all()
    for mine, plain in zip(astuple(one), astuple(other), strict=True):
        assert np.array_equal(mine, plain)


@settings(deadline=None, max_examples=25)
@given(Seed, st.sampled_from([0.6, 0.95, 1.0]), st.sampled_from([20, 200]))
def test_water(seed: int, known: float, rough: int) -> None:
    random = np.random.default_rng(seed)
    core = Window(-7, 12, 24, 20)
    window, ring = core.grow(15), core.grow(1)
    rows, columns = np.indices(window.shape)
    pond = (rows - 25) ** 2 + (columns - 27) ** 2 < 90
    terrain = np.where(pond, 5_000, 5_000 + random.integers(200, 2_000)) + random.integers(0, rough, window.shape)
    terrain = np.where(random.random(window.shape) < known, terrain, VOID).astype(np.int32)
    terrain[0, 0] = 4_990
    count = random.integers(0, 9, window.shape)
    ground_count = np.where(random.random(window.shape) < known, count, 0)
    options = ObjectOptions(water_m2=20)
    one, other = both(lambda: water_cells(count, ground_count, terrain, window, core, ring, 1000, options))
    assert np.array_equal(one.numbers, other.numbers)
    assert np.array_equal(one.value[one.numbers > 0], other.value[one.numbers > 0])
    assert np.array_equal(one.refused, other.refused)
    assert one.count or known < 1 or rough > 20
    assert one.sums.keys() == other.sums.keys()
    assert all(np.array_equal(one.sums[name], other.sums[name]) for name in one.sums)


@settings(deadline=None, max_examples=20)
@given(Seed, st.integers(1, 60), st.booleans())
def test_points_are_taken(seed: int, points: int, grey: bool) -> None:
    random = np.random.default_rng(seed)
    x, y, z = random.integers(-(2**31), 2**31, (3, points)).astype(np.int32)
    returns, source = random.integers(0, 256, (2, points)).astype(np.uint8)
    intensity = random.integers(0, 1 << 16, points).astype(np.uint16) if grey else None
    nothing = np.empty(0, np.int64)
    held = Fragment(0, nothing, nothing, z, returns, np.empty(0, np.uint32), source, intensity)
    drop = Drop(held, x, y, (700, -3), np.zeros(points, np.uint8))
    members = random.integers(0, points, 2 * points).astype(np.int32)
    frame = cast(Frame, SimpleNamespace(grid=TileGrid(1000, 704)))
    one, other = both(lambda: drop.take(members, frame))
    for mine, plain in zip(astuple(one), astuple(other), strict=True):
        assert getattr(mine, "dtype", None) == getattr(plain, "dtype", None)
        assert np.array_equal(mine, plain)
    assert one.x.tolist() == (x[members].astype(np.int64) + 700 * 704_000).tolist()


def cells_of(random: np.random.Generator, points: int, window: Window) -> tuple[Any, Any, Any]:
    """x and y (mm) of points in a window but for its outermost cells, and their cells."""
    west, south, east, north = window.grow(-1).edges(1000)
    x, y = random.integers(west, east, points), random.integers(south, north, points)
    return x, y, window.cell_of(x, y, 1000)


@settings(deadline=None, max_examples=30)
@given(Seed, st.integers(0, 300))
def test_grass_stands_out(seed: int, points: int) -> None:
    random, window = np.random.default_rng(seed), Window(-3, 8, 12, 9)
    _, _, cell = cells_of(random, points, window)
    height, z = random.integers(-50, 400, (2, points)).astype(np.int32)
    height[random.random(points) < 0.05] = VOID
    ground = SimpleNamespace(height=height, slope=random.integers(0, 900, window.shape).astype(np.int32), window=window)
    which = np.flatnonzero(random.random(points) < 0.7)
    low = objects.Some(which, cell[which])
    count = np.bincount(low.cell, minlength=window.width * window.height).reshape(window.shape)
    given_ = z, cast(Any, ground), low, count, window, 1000, ObjectOptions()
    one, other = both(lambda: objects._low_plants(*given_))
    assert np.array_equal(one, other)


@settings(deadline=None, max_examples=30)
@given(Seed, st.integers(0, 300), st.booleans())
def test_points_at_the_level_of_water(seed: int, points: int, hopeless: bool) -> None:
    random, window = np.random.default_rng(seed), Window(-3, 8, 12, 9)
    ring = window.grow(-2)
    _, _, cell = cells_of(random, points, window)
    z = random.integers(-400, 400, points).astype(np.int32)
    labels = random.choice(np.array([0, 1, 2, 3], np.uint8), points)
    numbers = random.integers(0, 3, ring.shape).astype(np.int32)
    water = SimpleNamespace(
        value=random.integers(-100, 100, ring.shape), refused=np.array([True, hopeless, True]), numbers=numbers
    )
    which = np.flatnonzero(random.random(points) < 0.8)
    low = objects.Some(which, cell[which])
    one, other = both(lambda: objects._onto_water(cast(Any, water), low, z, labels, window, ring))
    assert all(mine.dtype == plain.dtype and np.array_equal(mine, plain) for mine, plain in zip(one, other, strict=True))


@settings(deadline=None, max_examples=40)
@given(Seed, st.integers(0, 300), st.sampled_from([0.1, 0.6]))
def test_points_of_roofs(seed: int, points: int, share: float) -> None:
    random, window = np.random.default_rng(seed), Window(-3, 8, 12, 9)
    x, y, cell = cells_of(random, points, window)
    z, (high, single) = random.integers(3_000, 6_000, points), random.random((2, points)) < 0.6
    slopes = random.integers(-900, 900, (2, *window.shape))
    roofs = objects.Roofs(random.random(window.shape) < share, *slopes, random.integers(3_000, 6_000, window.shape))
    one, other = both(lambda: objects.roof_of(x, y, z, cell, high, single, roofs, window, 1000, ObjectOptions()))
    assert all(mine.dtype == plain.dtype and np.array_equal(mine, plain) for mine, plain in zip(one, other, strict=True))
