"""Classes above ground: right on scenes that are known, and the same whole or tiled, in any order."""

from dataclasses import replace
from pathlib import Path

import laspy
import numpy as np
import numpy.typing as npt
import pytest

from tests.data import real
from tilery.workloads.pointcloud import classify as classification
from tilery.workloads.pointcloud import deciding, fragments, ground, learned, objects, regions
from tilery.workloads.pointcloud.classify import classify
from tilery.workloads.pointcloud.features import between
from tilery.workloads.pointcloud.fragments import Fragment
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.grid import TileGrid, Window, tile_id, to_millimetres
from tilery.workloads.pointcloud.options import GroundOptions, ObjectOptions, PointCloudOptions

SMALL = PointCloudOptions(ground=GroundOptions(max_window_m=12, fill_m=6))
BUILDING = 6


def points_of(x: npt.NDArray[np.int64], y: npt.NDArray[np.int64], z: npt.NDArray[np.int32], **columns: object) -> Fragment:
    """Points that are the only return of their pulse, if nothing else is said."""
    given = {"returns": np.full(len(z), 0x11, np.uint8), "source": np.zeros(len(z), np.uint8), **columns}
    return Fragment(0, x, y, z, index=np.arange(len(z), dtype=np.uint32), **given)  # type: ignore[arg-type]


def read(path: Path) -> Fragment:
    las = laspy.read(path)
    stored = zip((las.X, las.Y, las.Z), las.header.scales, las.header.offsets, strict=True)
    x, y, z = (to_millimetres(np.asarray(column), scale, offset) for column, scale, offset in stored)
    returns = fragments.pack_returns(np.asarray(las.return_number), np.asarray(las.number_of_returns))
    return points_of(x, y, z.astype(np.int32), returns=returns, source=np.asarray(las.classification).astype(np.uint8))


def labels_of(
    points: Fragment, options: PointCloudOptions, side: int, origin: tuple[int, int] = (0, 0), seed: int = 0, fan_in: int = 3
) -> tuple[npt.NDArray[np.uint8], dict[str, int]]:
    """Final labels and counts from tiles of `side` cells, merged in groups of `fan_in`, everything in an order of `seed`."""
    random = np.random.default_rng(seed)
    grid = TileGrid(1000, side, origin)
    frame = Frame(1.0, 1.0, grid, ground.halo_cells(options.ground) + objects.REACH, 1000)
    shuffle = random.permutation(len(points))
    mixed = points.take(shuffle)
    told = fragments.of_several(points.returns) * 1000 >= len(points)
    labels = np.zeros(len(points), np.uint8)
    parts = []
    waiting = []
    for tile, members in grid.members(mixed.x, mixed.y, frame.halo):
        mine = mixed.take(members)
        found = classify(mine, tile, frame, options, "cpu", told=told)
        owned = found.labels != 0
        if not owned.any():
            continue
        assert not labels[members[owned]].any(), "a point is owned by one tile"
        labels[members[owned]] = found.labels[owned]
        waiting.append((tile_id(tile), members, found))
        parts.append((found.statistics(mine), regions.decode(regions.encode(found.open)), found.refused))
    while len(parts) > 1 or parts[0][1]:
        parts = [parts[number] for number in random.permutation(len(parts))]
        last = len(parts) <= fan_in
        groups = [parts[start : start + fan_in] for start in range(0, len(parts), fan_in)]
        merges = [
            regions.merged([one[0] for one in group], [r for one in group for r in one[1]], options.objects, grid, last=last)
            for group in groups
        ]
        parts = [
            (
                done.statistics,
                regions.decode(regions.encode(done.rest)),
                regions.joined([*(one[2] for one in group), done.refused]),
            )
            for done, group in zip(merges, groups, strict=True)
        ]
    (statistics, _, refused) = parts[0]
    for name, members, found in waiting:
        final = deciding.final(found.labels, found.otherwise, found.numbers, refused.get(name, []))
        owned = found.labels != 0
        labels[members[owned]] = final[owned]
    back = np.empty_like(labels)
    back[shuffle] = labels
    return back, statistics["classes"]


def counted(labels: npt.NDArray[np.uint8]) -> dict[str, int]:
    return {str(label): int(count) for label, count in enumerate(np.bincount(labels)) if count}


def town(
    seed: int, metres: int = 60, density: int = 12, origin: tuple[int, int] = (-30, -20)
) -> tuple[Fragment, npt.NDArray[np.uint8]]:
    """Flat ground with houses of several shapes, trees, a shed and a bird, and what each point is."""
    random = np.random.default_rng(seed)
    count = metres * metres * density
    x, y = random.uniform(0, metres, (2, count))
    z, truth = 100 + 0.02 * x + random.normal(0, 0.02, count), np.full(count, 2, np.uint8)
    several = np.ones(count, np.uint8)
    gable = (abs(x - 16) < 6) & (abs(y - 20) < 9)
    z[gable], truth[gable] = 108 - 0.6 * abs(x[gable] - 16) + random.normal(0, 0.02, gable.sum()), BUILDING
    flat = (abs(x - 44) < 9) & (abs(y - 40) < 7) & ~((abs(x - 50) < 4) & (abs(y - 44) < 4))
    z[flat], truth[flat] = 106 + random.normal(0, 0.02, flat.sum()), BUILDING
    for east, north, radius in ((40, 14, 5), (12, 48, 6), (52, 22, 3)):
        off = (x - east) ** 2 + (y - north) ** 2
        crown = (off < radius**2) & (random.random(count) < 0.8)
        z[crown] = 103 + random.uniform(0, 1, crown.sum()) * np.sqrt(radius**2 - off[crown]) * 1.5
        truth[crown], several[crown] = 5, random.integers(1, 4, crown.sum())
    shed = (abs(x - 30) < 1) & (abs(y - 30) < 1)
    z[shed], truth[shed] = 102.6 + random.normal(0, 0.02, shed.sum()), 1
    z[0], truth[0] = 160, 18
    number = np.minimum(np.ones(count, np.uint8), several)
    mm = [np.floor(values * 1000).astype(np.int64) for values in (x + origin[0], y + origin[1], z)]
    returns = fragments.pack_returns(number, several)
    return points_of(mm[0], mm[1], mm[2].astype(np.int32), returns=returns, source=truth), truth


def overlap(labels: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8], classes: tuple[int, ...]) -> float:
    """Intersection over union of some classes."""
    found, right = np.isin(labels, classes), np.isin(truth, classes)
    return float((found & right).sum() / (found | right).sum())


def test_houses_trees_and_ground_are_told_apart() -> None:
    points, truth = town(1)
    labels, counts = labels_of(points, SMALL, 500)
    assert overlap(labels, truth, (2,)) > 0.98
    assert overlap(labels, truth, (BUILDING,)) > 0.97
    assert overlap(labels, truth, (3, 4, 5)) > 0.9
    assert labels[truth == 18].tolist() == [18], "the bird"
    assert not (labels[truth == 1] == BUILDING).any(), "a shed of 4 m2 is no building"
    assert counts == counted(labels)


@pytest.mark.parametrize(
    ("side", "origin", "seed", "fan_in"), [(22, (0, 0), 1, 2), (31, (7, -11), 2, 3), (48, (-13, 5), 3, 64)]
)
def test_tiles_their_origin_and_every_order_change_nothing(side: int, origin: tuple[int, int], seed: int, fan_in: int) -> None:
    points, _ = town(2)
    right, counts = labels_of(points, SMALL, 500)
    labels, cut = labels_of(points, SMALL, side, origin, seed, fan_in)
    assert np.flatnonzero(labels != right).tolist() == []
    assert cut == counts


@pytest.mark.parametrize(
    "name", ["ignpt_test_data_77055_627760_LA93_IGN69.laz", "laspy_file_with_both_wkt_and_geotiff_vlrs.las"]
)
def test_a_real_file_is_the_same_in_tiles_and_a_few_points_at_a_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    points = read(real(f"pointcloud/samples/{name}"))
    right, counts = labels_of(points, SMALL, 4000)
    assert {"1", "2", "3", "4", "5", "6"} <= set(counts)
    monkeypatch.setattr(objects, "AT_ONCE", 700)
    labels, cut = labels_of(points, SMALL, 29, (7, 11), seed=1)
    assert np.flatnonzero(labels != right).tolist() == []
    assert cut == counts


def test_the_halo_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    points = read(real("pointcloud/samples/ignpt_test_data_77055_627760_LA93_IGN69.laz"))
    rules = SMALL.model_copy(update={"learned": False})
    right, _ = labels_of(points, rules, 500)
    for module in (objects, classification):
        monkeypatch.setattr(module, "REACH", 3)
    wrong, _ = labels_of(points, rules, 25, (0, 3))
    assert (wrong != right).any()


def test_a_house_on_four_tiles_is_one_house_and_a_shed_is_none() -> None:
    """Each quarter of the house alone is too small."""
    options = replace_objects(area_m2=80.0)
    ground_x, ground_y = np.meshgrid(np.arange(-26_000, 26_000, 300), np.arange(-26_000, 26_000, 300))
    x, y = ground_x.ravel().astype(np.int64), ground_y.ravel().astype(np.int64)
    house, shed = (abs(x) < 6_000) & (abs(y) < 6_000), (abs(x - 20_000) < 3_000) & (abs(y - 20_000) < 3_000)
    z = np.where(house | shed, 104_000, 100_000).astype(np.int32)
    for side in (26, 500):
        labels, _ = labels_of(points_of(x, y, z), options, side)
        assert (labels[house] == BUILDING).all()
        assert not (labels[shed] == BUILDING).any()


def replace_objects(**changes: float) -> PointCloudOptions:
    return SMALL.model_copy(update={"objects": ObjectOptions(**changes)})  # type: ignore[arg-type]


def test_classes_that_are_kept_survive_and_nothing_else_changes() -> None:
    points, truth = town(5)
    told = replace(points, source=np.where(truth == 5, 9, truth).astype(np.uint8))
    without, _ = labels_of(told, SMALL, 31)
    labels, counts = labels_of(told, SMALL.model_copy(update={"keep": [9, 1]}), 31)
    kept = np.isin(told.source, [9, 1])
    assert (labels[kept] == told.source[kept]).all()
    assert (labels[~kept] == without[~kept]).all()
    assert counts == counted(labels)


def test_evidence_of_the_input_starts_and_ends_roofs() -> None:
    points, truth = town(6)
    wrong = np.where((truth == BUILDING) & (points.x < 0), 5, truth).astype(np.uint8)
    told = replace(points, source=wrong)
    labels, _ = labels_of(told, SMALL.model_copy(update={"evidence": True}), 31)
    gable = (truth == BUILDING) & (points.x < 0)
    assert (labels[gable] == BUILDING).mean() < 0.2
    assert (labels[(truth == BUILDING) & ~gable] == BUILDING).mean() > 0.97


def test_a_wire_between_poles_is_a_wire() -> None:
    random = np.random.default_rng(1)
    x, y = (random.uniform(0, 60_000, 20_000) for _ in range(2))
    along = random.uniform(5_000, 55_000, 400)
    x, y = np.concatenate([x, along]), np.concatenate([y, 20_000 + 0.3 * along + random.normal(0, 50, 400)])
    z = np.concatenate([random.normal(0, 20, 20_000), 8_000 + random.normal(0, 30, 400)])
    returns = np.where(np.arange(20_400) < 20_000, 0x11, 0x21).astype(np.uint8)
    points = points_of(*(values.astype(np.int64) for values in (x, y)), z.astype(np.int32), returns=returns)
    labels, _ = labels_of(points, SMALL, 25)
    assert (labels[20_000:] == 14).mean() > 0.8
    assert (labels[:20_000] == 2).mean() > 0.98


def test_the_trees_say_the_same_compiled_level_by_level_and_as_onnx() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    forest = learned.shipped()
    random = np.random.default_rng(1)
    described = random.integers(-100, 6_000, (2_000, len(learned.FEATURES))).astype(np.int32)
    compiled = forest.scores(described)
    assert np.array_equal(compiled, learned.scores_by_level(forest, described))
    model = Path(learned.__file__).with_name("learned_ign.onnx").read_bytes()
    (by_onnx,) = onnxruntime.InferenceSession(model).run(None, {"described": described.astype(np.float32)})
    assert np.array_equal(by_onnx, compiled)
    assert len(np.unique(compiled.argmax(axis=1))) == len(learned.CLASSES)


def test_trees_that_were_learned_speak_only_where_returns_say_something() -> None:
    points, _ = town(7)
    single = replace(points, returns=np.full(len(points), 0x11, np.uint8))
    rules = SMALL.model_copy(update={"learned": False})
    assert np.array_equal(labels_of(single, SMALL, 500)[0], labels_of(single, rules, 500)[0])
    assert not np.array_equal(labels_of(points, SMALL, 500)[0], labels_of(points, rules, 500)[0])


def test_points_vote_on_their_neighbours_of_the_same_height() -> None:
    window, building, vegetation = Window(0, 0, 9, 9), learned.CLASSES.index(6), learned.CLASSES.index(5)
    cell = np.arange(81).repeat(2)
    height = np.tile([1_000, 6_000], 81)
    scores = np.zeros((162, len(learned.CLASSES)), np.int32)
    scores[::2, vegetation] = 100  # below 3 m all are plants, above all are roof
    scores[1::2, building] = 100
    middle = 2 * 40
    scores[middle] = scores[middle + 1] = 0
    scores[middle, building], scores[middle + 1, vegetation] = learned.SCALE, 4 * learned.SCALE
    kind = learned.voted(scores, cell, height, window)
    assert kind[middle] == vegetation, "outvoted, though roofs hang above"
    assert kind[middle + 1] == vegetation, "surer than all votes weigh"
    assert (np.delete(kind, [middle, middle + 1])[1::2] == building).all()


class HighIsBuilding:
    """In place of the trees: from 1.5 m on all is building."""

    def scores(self, described: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        high = described[:, 0] >= 1_500
        return np.stack([~high, high & False, high & False, high], axis=1).astype(np.int32) * 8 * learned.SCALE


def test_a_van_in_the_open_is_no_building_whatever_the_trees_say(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    x, y = random.uniform(0, 44, (2, 44 * 44 * 12))
    z = random.normal(0, 0.02, len(x))
    at = {"van": (11, 11), "shed among plants": (11, 33), "low house": (33, 11), "corner of a house": (33, 33)}
    sizes = {"van": (2, 5, 2.4), "shed among plants": (2, 5, 2.4), "low house": (8, 8, 2.4), "corner of a house": (2, 5, 5.0)}
    plants = (abs(x - 11) < 6) & (abs(y - 33) < 6) & (random.random(len(x)) < 0.7)
    z[plants] += random.uniform(0.7, 1.3, plants.sum())
    parts = {}
    for name, (wide, long, high) in sizes.items():
        parts[name] = (abs(x - at[name][0]) < wide / 2) & (abs(y - at[name][1]) < long / 2)
        z[parts[name]] = high + random.normal(0, 0.02, parts[name].sum())
    mm = [np.floor(values * 1000).astype(np.int64) for values in (x, y, z)]
    returns = np.where(random.random(len(x)) < 0.05, 0x22, 0x11).astype(np.uint8)
    points = points_of(mm[0], mm[1], mm[2].astype(np.int32), returns=returns)
    monkeypatch.setattr(classification, "shipped", HighIsBuilding)
    labels, counts = labels_of(points, NARROW, 500)
    buildings = {name: (labels[part] == BUILDING).mean() for name, part in parts.items()}
    assert buildings.pop("van") < 0.05
    assert min(buildings.values()) > 0.95
    cut, cut_counts = labels_of(points, NARROW, 22, (3, -2), seed=1)
    assert np.flatnonzero(cut != labels).tolist() == []
    assert cut_counts == counts


def test_trees_may_take_ground_away_but_never_make_it() -> None:
    points = read(real("pointcloud/samples/ignpt_test_data_77055_627760_LA93_IGN69.laz"))
    labels, _ = labels_of(points, SMALL, 500)
    rules, _ = labels_of(points, SMALL.model_copy(update={"learned": False}), 500)
    assert set(rules[labels == 2].tolist()) <= {2, 3}, "what was grass by rule may be ground"
    assert (labels[rules == 2] != 2).sum() > 100
    truth = points.source
    assert overlap(labels, truth, (2,)) > overlap(rules, truth, (2,))


def pond(
    seed: int, share: float = 0.3, bank: float = 0.8, ripple: float = 0.0, metres: int = 64
) -> tuple[Fragment, npt.NDArray[np.bool_]]:
    """A pond with a share of the points of the land around, which rises by `bank`; and which points are water."""
    random = np.random.default_rng(seed)
    count = metres * metres * 6
    x, y = random.uniform(0, metres, (2, count))
    off = np.hypot(x - metres / 2, y - metres / 2)
    wet = off < 18
    held = ~wet | (random.random(count) < share)
    x, y, off, wet = x[held], y[held], off[held], wet[held]
    z = 100 + np.where(wet, ripple * np.sin(x / 4), np.minimum(0.4 * (off - 18), bank)) + random.normal(0, 0.03, len(x))
    mm = [np.floor(values * 1000).astype(np.int64) for values in (x, y, z)]
    return points_of(mm[0], mm[1], mm[2].astype(np.int32)), wet


def test_a_level_pond_between_banks_is_water_in_any_tiles() -> None:
    points, wet = pond(1)
    labels, counts = labels_of(points, SMALL, 500)
    assert (labels[wet] == 9).mean() > 0.97
    assert (labels[~wet] == 9).mean() < 0.02
    for side, origin in ((27, (5, -3)),):
        cut, cut_counts = labels_of(points, SMALL, side, origin, seed=side)
        assert np.flatnonzero(cut != labels).tolist() == []
        assert cut_counts == counts


@pytest.mark.parametrize(("share", "bank", "ripple"), [(1.0, 0.8, 0.03), (0.3, 0.0, 0.0)])
def test_what_has_the_points_of_land_or_no_banks_is_no_water(share: float, bank: float, ripple: float) -> None:
    points, _ = pond(2, share, bank, ripple)
    assert not (labels_of(points, SMALL, 31)[0] == 9).any()


def test_water_is_not_looked_for_if_not_wanted() -> None:
    points, _ = pond(1)
    assert not (labels_of(points, replace_objects(water_m2=0), 500)[0] == 9).any()


NARROW = PointCloudOptions(ground=GroundOptions(max_window_m=4, crowd_window_m=4, fill_m=4, crowd_m=5))
"""What is wider than 8 m passes for ground."""


def hall(seed: int = 4, metres: int = 64) -> tuple[Fragment, npt.NDArray[np.bool_]]:
    """A gentle slope with a hall of 36 x 30 m, 7 m high and a little gabled, with a ventilator; and which points are of it."""
    random = np.random.default_rng(seed)
    x, y = random.uniform(0, metres, (2, metres * metres * 5))
    z = 100 + 0.03 * x + random.normal(0, 0.02, len(x))
    inside = (abs(x - 30) < 18) & (abs(y - 33) < 15)
    z[inside] = 108 - 0.05 * abs(y[inside] - 33) + random.normal(0, 0.02, inside.sum())
    z[(abs(x - 30) < 1) & (abs(y - 33) < 1)] += 1.5
    mm = [np.floor(values * 1000).astype(np.int64) for values in (x, y, z)]
    return points_of(mm[0], mm[1], mm[2].astype(np.int32)), inside


def test_a_roof_too_wide_for_the_ground_filter_is_a_building_in_any_tiles() -> None:
    points, inside = hall()
    plain, _ = labels_of(points, NARROW.model_copy(update={"objects": ObjectOptions(wide_roof_m2=0)}), 500)
    assert (plain[inside] == 2).mean() > 0.9
    labels, counts = labels_of(points, NARROW, 500)
    assert (labels[inside] == BUILDING).mean() > 0.97
    assert (labels[~inside] == 2).mean() > 0.99
    cut, cut_counts = labels_of(points, NARROW, 31, (5, -3), seed=2)
    assert np.flatnonzero(cut != labels).tolist() == []
    assert cut_counts == counts


def plateau(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], kind: str) -> npt.NDArray[np.float64]:
    """Height of ground that a wall of 5 m cuts off: a terrace with as much above it, or land that a ramp leads up to."""
    up = (abs(x - 32) < 14) & (abs(y - 32) < 14)
    if kind == "terrace":
        return np.where(up, 5.0, np.where(y > 32, 10.0, 0.0))
    return np.where(up, 5.0, np.where((abs(y - 32) < 4) & (x >= 46), np.clip(5 - (x - 46) / 4, 0, 5), 0.0))


@pytest.mark.parametrize("kind", ["terrace", "ramp"])
def test_high_ground_that_something_leads_up_to_or_rises_above_is_no_roof(kind: str) -> None:
    random = np.random.default_rng(1)
    x, y = random.uniform(0, 70, (2, 70 * 70 * 4))
    z = plateau(x, y, kind) + random.normal(0, 0.02, len(x))
    mm = [np.floor(values * 1000).astype(np.int64) for values in (x, y, z)]
    points, up = points_of(mm[0], mm[1], mm[2].astype(np.int32)), (abs(x - 32) < 12) & (abs(y - 32) < 12)
    labels, _ = labels_of(points, NARROW, 500)
    assert (labels[up] == 2).mean() > 0.95


def test_a_yard_above_a_wall_that_trains_cut_off_from_the_land_is_no_roof() -> None:
    """All edges known are a drop, as a roof's are; but they lie on one side (the goods yard of ISPRS site 4)."""
    random = np.random.default_rng(1)
    x = random.uniform(0, 90, 90 * 60 * 4)
    y = random.uniform(0, 60, len(x))
    yard = (abs(x - 45) < 32) & (y > 20) & (y < 32)
    train = ~yard & (abs(x - 45) < 35) & (y > 20) & (y < 35)
    z = np.where(y > 20, 5.0, 0.0) + np.where(train, 4.0, 0.0) + random.normal(0, 0.02, len(x))
    mm = [np.floor(values * 1000).astype(np.int64) for values in (x, y, z)]
    labels, _ = labels_of(points_of(mm[0], mm[1], mm[2].astype(np.int32)), NARROW, 500)
    assert (labels[yard & (abs(x - 45) < 30) & (y > 22)] == 2).mean() > 0.95


@pytest.mark.parametrize("bank", [6, 30])
def test_water_at_the_edge_of_the_points_is_the_same_where_that_is_the_edge_of_a_tile(bank: int) -> None:
    """No tile looks at the cells beyond, which lie level with the water: it may go on there, and no bank is seen."""
    random = np.random.default_rng(3)
    x, y = random.uniform(0, 40, (2, 40 * 40 * 6))
    dry = (y > 40 - bank) | ((bank > 6) & ((abs(x - 20) > 14) | (y < 3)))
    z = np.where(dry, 3.0, 0.0) + random.normal(0, 0.005, len(x))
    mm = [np.floor(values * 1000).astype(np.int64) for values in (x, y, z)]
    points = points_of(mm[0], mm[1], mm[2].astype(np.int32))
    rules = NARROW.model_copy(update={"objects": ObjectOptions(water_m2=100)})
    labels, counts = labels_of(points, rules, 80, (-20, -20))
    assert (labels == 9).any() == (bank > 6)
    cut, cut_counts = labels_of(points, rules, 20)
    assert np.flatnonzero(cut != labels).tolist() == []
    assert cut_counts == counts


def test_cells_between_others() -> None:
    there = np.zeros((7, 9), bool)
    there[3, [1, 5, 8]] = there[6, 7] = True
    found = between(there, 2)
    assert np.argwhere(found & ~there).tolist() == [[3, 3], [3, 6], [3, 7]]
    assert (found[there]).all()


def test_a_level_roof_that_might_be_water_is_decided_once_in_any_tiles() -> None:
    """Both what is level and what is cut off by steps is told of by several tiles; no point is counted twice."""
    points, inside = hall()
    z = np.where(inside, 108_000, points.z // 20 * 20).astype(np.int32)
    flat = replace(points, z=z)
    labels, counts = labels_of(flat, NARROW, 500)
    assert (labels[inside] == BUILDING).mean() > 0.97
    cut, cut_counts = labels_of(flat, NARROW, 33, seed=3)
    assert np.flatnonzero(cut != labels).tolist() == []
    assert cut_counts == counts == counted(cut)


def crossing(seed: int = 3, ends: bool = True) -> tuple[Fragment, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """A deck, 5 m wide, over a cut of 52 m, 6 m deep, beside a house of 8 x 14 m; which points are of the deck (its middle),
    and of the house. Without `ends` the deck stands alone in the cut."""
    random = np.random.default_rng(seed)
    x = random.uniform(0, 84, 84 * 44 * 5)
    y = random.uniform(0, 44, len(x))
    cut = np.clip((abs(x - 42) - 26) / 1.2, -6, 0)
    deck = (abs(y - 12) < 2.5) & ((cut < -0.5) if ends else (abs(x - 42) < 15))
    house = (abs(x - 42) < 4) & (abs(y - 32) < 7)
    z = 100 + np.where(deck, 0.0, np.where(house, -1.0, cut)) + random.normal(0, 0.02, len(x))
    mm = [np.floor(values * 1000).astype(np.int64) for values in (x, y, z)]
    return points_of(mm[0], mm[1], mm[2].astype(np.int32)), deck & (abs(x - 42) < 12), house


def test_a_deck_whose_ends_meet_ground_is_a_bridge_in_any_tiles_and_a_house_is_none() -> None:
    points, deck, house = crossing()
    labels, counts = labels_of(points, SMALL, 500)
    assert (labels[deck] == 17).mean() > 0.95
    assert (labels[house] == BUILDING).mean() > 0.95
    assert counts == counted(labels)
    cut, cut_counts = labels_of(points, SMALL, 34, (8, 7), seed=1)
    assert np.flatnonzero(cut != labels).tolist() == []
    assert cut_counts == counts


@pytest.mark.parametrize(("ends", "bridge_m2"), [(False, 60.0), (True, 0.0)])
def test_what_meets_no_ground_or_is_not_looked_for_is_no_bridge(ends: bool, bridge_m2: float) -> None:
    points, _, _ = crossing(ends=ends)
    options = SMALL.model_copy(update={"objects": ObjectOptions(bridge_m2=bridge_m2)})
    assert not (labels_of(points, options, 500)[0] == 17).any()
