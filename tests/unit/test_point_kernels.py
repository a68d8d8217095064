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
from tilery.workloads.pointcloud.features import around
from tilery.workloads.pointcloud.grid import Window, to_millimetres

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
