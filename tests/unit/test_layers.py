"""What tiles leave for the products depends on the points of each cell only: not on their order, not on the tiles."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilery.outcomes import Incomplete
from tilery.workloads.pointcloud import deciding, gridding, layers
from tilery.workloads.pointcloud.fragments import Fragment
from tilery.workloads.pointcloud.grid import VOID, Window
from tilery.workloads.pointcloud.gridding import BUILDING, CLASSES, COLOUR, COUNT, GROUND, INTENSITY, OPEN, TOP, Undecided

CELL = 1000
BOX = Window(-3, 2, 6, 5)
EVERY = layers.wanted(["dtm", "dsm", "ortho", "density", "report", "footprints"])


def cloud(seed: int, count: int = 300) -> tuple[Fragment, np.ndarray]:
    """Points within the box, many of equal height; and labels."""
    random = np.random.default_rng(seed)
    x = random.integers(BOX.x0 * CELL, (BOX.x0 + BOX.width) * CELL, count)
    y = random.integers(BOX.y0 * CELL, (BOX.y0 + BOX.height) * CELL, count)
    points = Fragment(
        0,
        x,
        y,
        random.integers(-5, 5, count).astype(np.int32) * 100,
        random.integers(0, 4, count).astype(np.uint8) | np.uint8(0x30),
        np.arange(count, dtype=np.uint32),
        random.integers(0, 7, count).astype(np.uint8),
        random.integers(0, 70_000, count).clip(0, 65_535).astype(np.uint16),
        random.integers(0, 65_536, (count, 3)).astype(np.uint16),
    )
    return points, random.choice([0, 1, 2, 5, 6, 7, 18], count).astype(np.uint8)


def of(points: Fragment, labels: np.ndarray, window: Window = BOX, undecided: Undecided | None = None) -> dict[str, Any]:
    inside = window.contains(points.x, points.y, CELL)
    chosen = np.where(inside, labels, 0).astype(np.uint8)
    kept = np.flatnonzero(chosen)
    if undecided is not None:
        undecided = Undecided(undecided.otherwise[kept], undecided.numbers[kept])
    return gridding.of_points(points.take(kept), chosen[kept], window, CELL, EVERY, undecided)


def one(z: list[int], returns: list[int], labels: list[int], intensity: list[int]) -> dict[str, Any]:
    """The layers of points in one cell."""
    count = len(z)
    points = Fragment(
        0,
        np.full(count, 10),
        np.full(count, 20),
        np.array(z, np.int32),
        np.array(returns, np.uint8),
        np.zeros(0, np.uint32),
        np.array(labels, np.uint8),
        np.array(intensity, np.uint16),
        None,
    )
    return gridding.of_points(points, np.array(labels, np.uint8), Window(0, 0, 1, 1), CELL, EVERY)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_neither_order_nor_tiles_change_a_layer(seed: int) -> None:
    points, labels = cloud(seed)
    all_ = of(points, labels)
    shuffled = np.random.default_rng(seed).permutation(len(points))
    mixed = of(points.take(shuffled), labels[shuffled])
    part = Window(-1, 3, 3, 2)
    cut = of(points, labels, part)
    for name, values in all_.items():
        assert np.array_equal(mixed[name], values), name
        assert np.array_equal(cut[name], values[(..., *part.inside(BOX))]), name


def test_ground_is_the_mean_of_the_ground_points() -> None:
    assert one([100, 103, 900], [1, 1, 1], [2, 2, 5], [1, 1, 1])[GROUND] == 102
    assert one([900], [1], [5], [1])[GROUND] == VOID


def test_the_top_is_the_highest_first_return_that_is_no_noise() -> None:
    found = one([100, 700, 900, 999], [1, 1, 2, 1], [2, 5, 5, 18], [11, 22, 33, 44])
    assert (found[TOP], found[INTENSITY]) == (700, 23)
    assert found[CLASSES].ravel().tolist() == [5, 5, 5]


def test_a_cell_without_a_first_return_takes_its_highest_other_one() -> None:
    assert one([100, 300], [3, 2], [2, 5], [1, 1])[TOP] == 300


def test_a_cell_of_noise_is_void_but_counted() -> None:
    found = one([900], [1], [7], [9])
    assert (found[TOP], found[INTENSITY], found[CLASSES][0, 0, 0]) == (VOID, 0, 0)
    assert found[COUNT].ravel().tolist() == [1, 0]


@pytest.mark.parametrize(("roofs", "others", "expected"), [(2, 2, 1), (1, 2, 0), (0, 3, 0), (1, 0, 1)])
def test_a_cell_is_building_where_half_of_its_points_are(roofs: int, others: int, expected: int) -> None:
    labels = [6] * roofs + [5] * others
    assert one([5] * len(labels), [1] * len(labels), labels, [1] * len(labels))[BUILDING] == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sets(st.integers(1, 4)), st.dictionaries(st.integers(1, 4), st.sampled_from([6, 9, 17])))
def test_a_layer_that_is_decided_later_is_the_layer_of_the_final_labels(
    seed: int, refused: set[int], recast: dict[int, int]
) -> None:
    points, labels = cloud(seed)
    random = np.random.default_rng(seed + 1)
    numbers = np.where(labels == 6, random.integers(0, 5, len(labels)), 0).astype(np.int32)
    otherwise = np.where(numbers > 0, random.choice([1, 2], len(labels)), labels).astype(np.uint8)
    said = [*refused, *(deciding.of_class(number, kind) for number, kind in recast.items())]
    final = of(points, deciding.final(labels, otherwise, numbers, said))
    early = of(points, labels, undecided=Undecided(otherwise, numbers))
    for name in (GROUND, TOP, COUNT, INTENSITY, COLOUR, BUILDING):
        early_layer = (
            gridding.decide(early[name], name, early[OPEN], said) if name in gridding.DECIDED and OPEN in early else early[name]
        )
        assert np.array_equal(early_layer, final[name]), name


def test_what_became_of_regions_makes_labels() -> None:
    labels, otherwise, numbers = np.array([6, 6, 6, 6, 6]), np.array([2, 2, 2, 2, 2]), np.array([0, 1, 2, 3, 3])
    said = [2, 3, deciding.of_class(3, 9), deciding.of_class(1, 17)]
    assert deciding.final(labels, otherwise, numbers, said).tolist() == [6, 17, 2, 9, 9]
    assert deciding.final(labels, otherwise, numbers, []).tolist() == labels.tolist()


def test_the_class_of_a_cell_changes_with_the_region_of_its_highest_point() -> None:
    points, _ = cloud(4, 1)
    labels = np.array([6], np.uint8)
    early = of(points, labels, undecided=Undecided(np.array([1], np.uint8), np.array([3], np.int32)))
    assert gridding.decide(early[CLASSES], CLASSES, early[OPEN], [2])[0].max() == 6
    assert gridding.decide(early[CLASSES], CLASSES, early[OPEN], [3])[0].max() == 1


def test_only_what_a_product_needs_is_made() -> None:
    assert layers.wanted(["classified", "stac"]) == frozenset()
    assert layers.wanted(["dsm"]) == {TOP}
    assert layers.wanted(["footprints"]) == {GROUND, TOP, BUILDING}


@pytest.mark.parametrize("kind", ["int32", "uint32", "uint16", "uint8"])
@pytest.mark.parametrize("shape", [(4, 3), (2, 4, 3)])
def test_a_layer_is_read_as_it_was_written(kind: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 200, shape).astype(kind)
    window, read = layers.decode(layers.encode(Window(-7, 9, 3, 4), values), "it")
    assert window == Window(-7, 9, 3, 4)
    assert read.dtype == values.dtype
    assert np.array_equal(read, values)


@pytest.mark.parametrize("harm", [lambda data: data[:-1], lambda data: b"", lambda data: data[:-1] + bytes([data[-1] ^ 1])])
def test_a_damaged_layer_is_refused(harm: Any) -> None:
    data = layers.encode(Window(0, 0, 3, 4), np.ones((4, 3), np.uint8))
    with pytest.raises(Incomplete, match=r"it: .* damaged"):
        layers.decode(harm(data), "it")
