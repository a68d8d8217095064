"""The ground filter: right on scenes that are known, and the same whole or tiled, in any order."""

from typing import Any

import laspy
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.pointcloud.accuracy import scores
from tests.data import autzen_trim, real
from tilery.workloads.pointcloud import grid, ground, morphology
from tilery.workloads.pointcloud.options import GroundOptions

Points = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int32]]
SMALL = GroundOptions(max_window_m=6, fill_m=5, slope_radius_m=3)


def scene(seed: int, metres: int = 90, count: int = 6000) -> tuple[Points, npt.NDArray[np.bool_]]:
    """Rolling terrain with houses, trees, low outliers and voids; and which points are ground."""
    random = np.random.default_rng(seed)
    x, y = random.uniform(-metres / 2, metres / 2, (2, count))
    z = 300 + 4 * np.sin(x / 25) + 3 * np.cos(y / 18) + random.normal(0, 0.03, count)
    truth = np.ones(count, dtype=bool)
    for left, bottom in random.uniform(-metres / 2, metres / 2, (4, 2)):
        house = (abs(x - left) < 5) & (abs(y - bottom) < 4)
        z[house], truth[house] = 312.0, False
    trees = random.random(count) < 0.1
    z[trees] += random.uniform(3, 15, count)[trees]
    low = random.random(count) < 0.002
    z[low] -= 30
    keep = (x - 10) ** 2 + y**2 > 49
    x, y, z = (np.floor(values[keep] * 1000).astype(np.int64) for values in (x, y, z))
    return (x, y, z.astype(np.int32)), (truth & ~trees & ~low)[keep]


def read(path: Any, unit_m: float = 1.0) -> tuple[Points, npt.NDArray[np.uint8]]:
    las = laspy.read(path)
    frame = zip((las.X, las.Y, las.Z), las.header.scales, las.header.offsets, strict=True)
    x, y, z = (grid.to_millimetres(np.asarray(stored), scale, offset, unit_m) for stored, scale, offset in frame)
    return (x, y, z.astype(np.int32)), np.asarray(las.classification)


def whole(points: Points, options: GroundOptions) -> npt.NDArray[np.uint8]:
    return ground.classify_ground(*points, grid.bounds(points[0], points[1], 1000), options)


def tiled(points: Points, options: GroundOptions, side: int, origin: tuple[int, int], halo: int) -> npt.NDArray[np.uint8]:
    tiles = grid.TileGrid(1000, side, origin)
    labels = np.zeros(len(points[0]), dtype=np.uint8)
    for tile, index in tiles.members(points[0], points[1], halo):
        found = ground.classify_ground(*(column[index] for column in points), tiles.window(tile), options)
        labels[index[found > 0]] = found[found > 0]
    return labels


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.integers(11, 70), st.tuples(st.integers(-30, 30), st.integers(-30, 30)))
def test_tiles_of_any_size_origin_and_order_give_the_labels_of_the_whole(seed: int, side: int, origin: tuple[int, int]) -> None:
    points, _ = scene(seed)
    order = np.random.default_rng(seed).permutation(len(points[0]))
    shuffled = (points[0][order], points[1][order], points[2][order])
    labels = tiled(shuffled, SMALL, side, origin, ground.halo_cells(SMALL))
    assert (labels == whole(points, SMALL)[order]).all()


def test_a_clearly_smaller_halo_is_not_enough() -> None:
    points, _ = scene(3)
    labels = tiled(points, SMALL, 7, (0, 0), halo=3)
    assert (labels != whole(points, SMALL)).any()


def test_ground_of_a_known_scene_is_found() -> None:
    points, truth = scene(5)
    assert scores(truth, whole(points, SMALL) == ground.GROUND)["kappa"] > 85


def test_a_point_far_below_is_low_noise() -> None:
    points, _ = scene(6)
    labels = whole(points, SMALL)
    assert (labels[points[2] < 270_000 + 10_000] == ground.LOW_NOISE).mean() > 0.9


@pytest.mark.parametrize(("side", "origin"), [(64, (0, 0)), (101, (17, -40))])
def test_real_points_in_feet_are_labelled_the_same_in_tiles(side: int, origin: tuple[int, int]) -> None:
    points, _ = read(autzen_trim(), 0.3048)
    options = GroundOptions()
    assert (tiled(points, options, side, origin, ground.halo_cells(options)) == whole(points, options)).all()


def test_reference_samples_reach_their_kappa_whole_and_tiled() -> None:
    points, classes = read(real("pointcloud/isprs/samp31-utm.laz"))
    options = GroundOptions()
    labels = whole(points, options)
    assert scores(classes == 2, labels == ground.GROUND)["kappa"] > 92
    assert (tiled(points, options, 96, (5, 5), ground.halo_cells(options)) == labels).all()


def test_openings_equal_those_by_definition() -> None:
    surface = np.random.default_rng(2).integers(0, 1000, (30, 26)).astype(np.int32)
    y, x = np.mgrid[:30, :26]
    for radius, opened in enumerate(morphology.openings(surface, range(1, 5)), start=1):
        near = ((y.ravel()[:, None] - y.ravel()) ** 2 + (x.ravel()[:, None] - x.ravel()) ** 2) <= radius**2
        eroded = np.where(near, surface.ravel(), 9999).min(axis=1)
        assert (opened.ravel() == np.where(near, eroded, -9999).max(axis=1)).all()
