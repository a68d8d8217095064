"""A small drop in one worker: the same tiles, the same labels, without the shuffle through the store."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilery.workload import Done, Item, Work
from tilery.workloads.pointcloud import layers, statistics
from tilery.workloads.pointcloud.classify import classify
from tilery.workloads.pointcloud.finishing import write_shard
from tilery.workloads.pointcloud.fragments import COLUMNS, Fragment
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.las_header import read_las
from tilery.workloads.pointcloud.lists import SUMMARY
from tilery.workloads.pointcloud.options import PointCloudOptions
from tilery.workloads.pointcloud.points import iter_records
from tilery.workloads.pointcloud.tiling import fields_of, has_colour, points_of, shard_of

TILE_CELLS = 2048
"""Side of the tiles here: larger than elsewhere, as every halo is work done twice; 4 million cells take about 400 MB."""


def whole(work: Work[PointCloudOptions], items: list[Item]) -> list[Done]:
    """Classify and rewrite every shard; returns what the finish stage would have returned."""
    frame = Frame.of(work.run, work.options).with_tiles(TILE_CELLS)
    points = read_points(work, items, frame)
    labels = np.zeros(len(points.z), np.uint8)
    found: list[dict[str, Any]] = []
    tiles: list[dict[str, Any]] = []
    for tile, members in frame.grid.members(points.x, points.y, frame.halo):
        part = points.take(members)
        mine = classify(part, tile, frame, work.options, work.device)
        owned = mine != 0
        if not owned.any():
            continue
        labels[members[owned]] = mine[owned]
        found.append(statistics.of_labels(mine[owned], part.x[owned], part.y[owned], part.z[owned]))
        tiles.append(layers.write(work, tile, frame, part, mine))
    done = []
    start = 0
    for item in items:
        done.append(Done(item, write_shard(work, item, labels[start : start + item["count"]])))
        start += item["count"]
    summary = {"statistics": statistics.merged(found), "tiles": tiles}
    return [*done, Done({"id": SUMMARY, "work": 1}, summary)]


def read_points(work: Work[PointCloudOptions], items: list[Item], frame: Frame) -> Fragment:
    """All points of the drop in the order of the shards, without their places in them. 22 bytes a point, 8 more in colour."""
    total = sum(item["count"] for item in items)
    files = {number: read_las(work.store, work.run.sources[number]) for number in {item["file"] for item in items}}
    coloured = frame.needs.rgb and any(has_colour(file.point_format) for file in files.values())
    points = Fragment(
        0,
        np.empty(total, np.int64),
        np.empty(total, np.int64),
        np.empty(total, np.int32),
        np.empty(total, np.uint8),
        np.empty(0, np.uint32),
        np.empty(total, np.uint8),
        np.empty(total, np.uint16) if frame.needs.intensity else None,
        np.zeros((total, 3), np.uint16) if coloured else None,
    )
    start = 0
    for item in items:
        file, source = files[item["file"]], work.run.sources[item["file"]]
        for _, records in iter_records(work.store, source, file, shard_of(item), fields_of(frame.needs)):
            to = slice(start, start + len(records))
            batch = points_of(file, records, frame, 0, 0)
            for name in COLUMNS:
                column, new = getattr(points, name), getattr(batch, name)
                if name != "index" and column is not None and new is not None:
                    column[to] = new
            start = to.stop
    return points
