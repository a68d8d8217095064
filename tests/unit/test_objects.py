"""Classes above ground: right on scenes that are known, and the same whole or tiled, in any order of points, tiles and merges."""

from dataclasses import replace
from pathlib import Path

import laspy
import numpy as np
import numpy.typing as npt
import pytest

from tests.data import real
from tilery.workloads.pointcloud import fragments, ground, objects, regions
from tilery.workloads.pointcloud.classify import classify
from tilery.workloads.pointcloud.fragments import Fragment
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.grid import TileGrid, bounds, tile_id, to_millimetres
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
        change = np.isin(found.numbers, refused.get(name, [])) & (found.numbers > 0)
        labels[members[change]] = found.otherwise[change]
    back = np.empty_like(labels)
    back[shuffle] = labels
    return back, statistics["classes"]


def counted(labels: npt.NDArray[np.uint8]) -> dict[str, int]:
    return {str(label): int(count) for label, count in enumerate(np.bincount(labels)) if count}
