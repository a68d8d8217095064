"""A small drop in one worker: the same tiles, the same labels, without the shuffle through the store."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workload import Done, Item, Work
from tilery.workloads.pointcloud import laz, statistics, surface
from tilery.workloads.pointcloud.classify import classify, ground_heights
from tilery.workloads.pointcloud.finishing import write_shard
from tilery.workloads.pointcloud.fragments import Fragment
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.grid import tile_id
from tilery.workloads.pointcloud.las_header import read_las
from tilery.workloads.pointcloud.lists import SUMMARY
from tilery.workloads.pointcloud.options import PointCloudOptions
from tilery.workloads.pointcloud.points import iter_records
from tilery.workloads.pointcloud.tiling import columns_of, shard_of

TILE_CELLS = 2048
"""Side of the tiles here: larger than elsewhere, as every halo is work done twice; 4 million cells take about 400 MB."""


def whole(work: Work[PointCloudOptions], items: list[Item]) -> list[Done]:
    """Classify and rewrite every shard; returns what the finish stage would have returned."""
    frame = Frame.of(work.run, work.options).with_tiles(TILE_CELLS)
    points = read_points(work, items, frame)
    labels = np.zeros(len(points.z), np.uint8)
    found: list[dict[str, Any]] = []
    heights: list[dict[str, Any]] = []
    for tile, members in frame.grid.members(points.x, points.y, frame.halo):
        part = take(points, members)
        mine = classify(part, tile, frame, work.options, work.device)
        owned = mine != 0
        if not owned.any():
            continue
        labels[members[owned]] = mine[owned]
        found.append(statistics.of_labels(mine[owned], part.x[owned], part.y[owned], part.z[owned]))
        key, ground = work.out("ground", tile_id(tile)), ground_heights(part, mine, tile, frame)
        work.store.put(key, surface.encode(ground))
        heights.append({"key": key, "window": astuple(ground.window)})
    done = []
    start = 0
    for item in items:
        done.append(Done(item, write_shard(work, item, labels[start : start + item["count"]])))
        start += item["count"]
    summary = {"statistics": statistics.merged(found), "ground": heights}
    return [*done, Done({"id": SUMMARY, "work": 1}, summary)]


def read_points(work: Work[PointCloudOptions], items: list[Item], frame: Frame) -> Fragment:
    """All points of the drop in the order of the shards. 21 bytes a point."""
    total = sum(item["count"] for item in items)
    x, y = np.empty(total, np.int64), np.empty(total, np.int64)
    z, returns = np.empty(total, np.int32), np.empty(total, np.uint8)
    start = 0
    for item in items:
        source = work.run.sources[item["file"]]
        file = read_las(work.store, source)
        for _, records in iter_records(work.store, source, file, shard_of(item), laz.XYZ):
            to = slice(start, start + len(records))
            x[to], y[to], z[to], returns[to], _ = columns_of(file, records, frame, 0)
            start = to.stop
    return Fragment(0, x, y, z, returns, np.empty(0, np.uint32))


def take(points: Fragment, members: NDArray[np.int64]) -> Fragment:
    """Some of the points; their places within shards are not needed here."""
    return Fragment(0, points.x[members], points.y[members], points.z[members], points.returns[members], points.index)
