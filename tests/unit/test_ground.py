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
from tilery.workloads.pointcloud.grid import Window
from tilery.workloads.pointcloud.options import GroundOptions

Cells = npt.NDArray[np.bool_]
Points = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int32]]
SMALL = GroundOptions(
    max_window_m=6, fill_m=5, slope_radius_m=3, grow_m=4, grow_rounds=2, crowd_m=5, crowd_window_m=11, crowd_share=0.2
)


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


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000), st.integers(21, 70), st.tuples(st.integers(-30, 30), st.integers(-30, 30)))
def test_tiles_of_any_size_origin_and_order_give_the_labels_of_the_whole(seed: int, side: int, origin: tuple[int, int]) -> None:
    points, _ = scene(seed)
    order = np.random.default_rng(seed).permutation(len(points[0]))
    shuffled = (points[0][order], points[1][order], points[2][order])
    labels = tiled(shuffled, SMALL, side, origin, ground.halo_cells(SMALL))
    assert (labels == whole(points, SMALL)[order]).all()


def rough(seed: int, metres: int = 50, count: int = 600) -> Points:
    """Sparse points on breaks, steps and pits: every step of the filter has something to do nearly everywhere."""
    random = np.random.default_rng(seed)
    x, y = random.uniform(-metres / 2, metres / 2, (2, count))
    z = random.choice([0, 0.4, 1.5, 4, 9], count) * random.random(count) + 0.3 * x * (np.sin(y / 9) > 0)
    z[random.random(count) < 0.05] -= 12
    x, y, z = (np.floor(values * 1000).astype(np.int64) for values in (x, y, z))
    return x, y, z.astype(np.int32)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000), st.integers(12, 40), st.tuples(st.integers(-30, 30), st.integers(-30, 30)))
def test_tiles_of_rough_sparse_points_give_the_labels_of_the_whole(seed: int, side: int, origin: tuple[int, int]) -> None:
    points = rough(seed)
    assert (tiled(points, SMALL, side, origin, ground.halo_cells(SMALL)) == whole(points, SMALL)).all()


def domino(window: int, fill: int, rise: int) -> Points:
    """A row of points along x of which the last decides over the label of the second, as far away as can be.

    The second stands in the first's cell (a third beside them keeps it from being low noise), on a slope to a plateau whose
    first cell is `fill` further on. The plateau is ground if a disk of `window` fits on it. Whether it fits depends on the
    void cell at the plateau's end, filled from a low cell `fill` further on, unless that is low noise. Whether it is depends
    on the void two cells on, filled from the last point.
    """
    plateau = 1 + fill
    end = plateau + 2 * window
    pit, last = end + fill, end + fill + 2 + fill
    top = (fill + 1) * rise
    bottom = top - 3 * top
    column = [0, 0, -1, *range(plateau, end), pit, pit + 1, last]
    height = [0, 0.4 * rise, 0, *[top] * (2 * window), bottom, bottom, bottom + 20 * (fill + 1)]
    x = np.array(column, dtype=np.int64) * 1000 + 500
    x[1] += 450
    return x, np.full(len(x), 500, dtype=np.int64), (np.array(height) * 1000).astype(np.int32)


@pytest.mark.parametrize(("window", "fill", "rise"), [(6, 5, 6), (3, 8, 4), (18, 15, 18), (20, 15, 30), (25, 4, 20)])
@pytest.mark.parametrize("turn", range(4))
def test_the_halo_is_enough_and_one_smaller_by_four_cells_is_not(window: int, fill: int, rise: int, turn: int) -> None:
    options = GroundOptions(max_window_m=window, fill_m=fill, slope_share=0, slope_radius_m=1, grow_rounds=0)
    x, y, z = domino(window, fill, rise)
    x, y = [(x, y), (-x, y), (y, x), (y, -x)][turn]
    first = grid.bounds(x[:2], y[:2], 1000)
    right = whole((x, y, z), options)[1]

    def label(halo: int) -> int:
        near = first.grow(halo).contains(x, y, 1000)
        return int(ground.classify_ground(x[near], y[near], z[near], first, options)[1])

    assert label(ground.halo_cells(options)) == right == ground.GROUND
    assert label(ground.halo_cells(options) - 4) == ground.UNCLASSIFIED


def test_the_slope_averaged_around_a_cell_counts_as_far_as_the_halo_says_and_no_further() -> None:
    """A bump is an object unless a wall stands near enough to raise the mean slope around it."""
    options = GroundOptions(max_window_m=2, slope_radius_m=7, slope_share=1)
    flat = np.zeros((41, 41), dtype=np.int32)
    flat[20, 20] = 155
    assert objects(flat, 1000, options)[20, 20]
    spared = [step for step in range(6, 21) if not objects(_wall(flat, step), 1000, options)[20, 20]]
    assert max(spared) == 7 + 1


def objects(surface: npt.NDArray[np.int32], apart_mm: int, options: GroundOptions) -> Cells:
    """Cells that openings take, where points are so far apart."""
    window = Window(0, 0, surface.shape[1], surface.shape[0])
    found: Cells = ground.object_cells(surface, np.full_like(surface, apart_mm), window, options)[0]
    return found


def _wall(surface: npt.NDArray[np.int32], step: int) -> npt.NDArray[np.int32]:
    walled = surface.copy()
    walled[:, 20 + step :] = 100_000
    return walled


def test_terrain_may_rise_over_the_distance_between_points() -> None:
    """A bump too steep for one cell is terrain where the next known cells are three cells away, and an object in dense ones."""
    options = GroundOptions(max_window_m=2, slope_share=0, slope=0.12)
    bump = np.zeros((41, 41), dtype=np.int32)
    bump[20, 20] = 300
    known = np.zeros(bump.shape, dtype=bool)
    known[2::3, 2::3] = True
    apart = int(ground.spacing(known, 1000)[20, 20])
    assert abs(apart - 3000) < 100
    assert not objects(bump, apart, options)[20, 20]
    assert objects(bump, 1000, options)[20, 20]


def test_a_bank_is_terrain_where_a_wall_of_its_height_is_an_object() -> None:
    """Both are 5 m high and 24 m wide; the bank rises by 0.6 on 1."""
    profile = np.minimum(5000, np.maximum(0, 12 - abs(np.arange(61) - 30)) * 600)
    bank = np.tile(profile.astype(np.int32), (61, 1))
    wall = np.where(bank > 0, 5000, 0).astype(np.int32)
    options = GroundOptions(slope_share=0)
    assert not objects(bank, 1000, options)[30, 30]
    assert objects(wall, 1000, options)[30, 30]


@pytest.mark.parametrize("seed", range(6))
def test_cropping_to_the_points_changes_no_label(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    points = rough(seed, metres=40, count=300)
    cropped = whole(points, SMALL)
    monkeypatch.setattr(ground, "EDGE_CELLS", 10_000)
    assert (whole(points, SMALL) == cropped).all()


def test_ground_of_a_known_scene_is_found() -> None:
    points, truth = scene(5)
    assert scores(truth, whole(points, SMALL) == ground.GROUND)["kappa"] > 85


def test_a_point_far_below_is_low_noise() -> None:
    points, _ = scene(6)
    labels = whole(points, SMALL)
    assert (labels[points[2] < 270_000 + 10_000] == ground.LOW_NOISE).mean() > 0.9


@pytest.mark.parametrize(("side", "origin"), [(101, (17, -40)), (256, (0, 0))])
def test_real_points_in_feet_are_labelled_the_same_in_tiles_in_any_order(side: int, origin: tuple[int, int]) -> None:
    points, _ = read(autzen_trim(), 0.3048)
    options = GroundOptions()
    order = np.random.default_rng(side).permutation(len(points[0]))
    shuffled = (points[0][order], points[1][order], points[2][order])
    labels = tiled(shuffled, options, side, origin, ground.halo_cells(options))
    assert (labels == whole(points, options)[order]).all()


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
