"""A small drop in one worker: the same tiles, the same labels, without the shuffle through the store."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workload import Done, Item, Work
from tilery.workloads.pointcloud import fragments, layers, regions
from tilery.workloads.pointcloud.classify import classify
from tilery.workloads.pointcloud.columns import iter_columns
from tilery.workloads.pointcloud.finishing import write_shard
from tilery.workloads.pointcloud.fragments import COLUMNS, Fragment
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.grid import tile_id
from tilery.workloads.pointcloud.gridding import Undecided
from tilery.workloads.pointcloud.las_header import read_las
from tilery.workloads.pointcloud.lists import SUMMARY, TOLD_IN
from tilery.workloads.pointcloud.options import PointCloudOptions
from tilery.workloads.pointcloud.regions import Refused, Region
from tilery.workloads.pointcloud.tiling import has_colour, points_of, shard_of


def whole(work: Work[PointCloudOptions], items: list[Item]) -> list[Done]:
    """Classify and rewrite every shard; returns what the finish stage would have returned."""
    frame = Frame.of(work.run, work.options)
    points, contexts = read_points(work, items, frame)
    told = fragments.of_several(points.returns) * TOLD_IN >= len(points)
    labels = np.zeros(len(points.z), np.uint8)
    counts: list[dict[str, Any]] = []
    tiles: list[dict[str, Any]] = []
    unsure: list[tuple[str, NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8]]] = []
    found: list[Region] = []
    refused: list[Refused] = []
    for tile, members in frame.grid.members(points.x, points.y, frame.halo):
        part = points.take(members)
        mine = classify(part, tile, frame, work.options, work.device, told=told)
        owned = mine.labels != 0
        if not owned.any():
            continue
        labels[members[owned]] = mine.labels[owned]
        counts.append(mine.statistics(part))
        undecided = Undecided(mine.otherwise, mine.numbers)
        tiles.append(layers.write(work, tile, frame, part, mine.labels, undecided))
        waiting = np.flatnonzero(mine.numbers)
        unsure.append((tile_id(tile), members[waiting], mine.numbers[waiting], mine.otherwise[waiting]))
        found += mine.open
        refused.append(mine.refused)
    all_tiles = regions.merged(counts, found, work.options.objects, frame.grid, last=True)
    for name, place, number, otherwise in unsure:
        change = np.isin(number, all_tiles.refused.get(name, []))
        labels[place[change]] = otherwise[change]
    done = []
    start = 0
    for item in items if "classified" in work.options.products else []:
        to = slice(start, start + item["count"])
        done.append(Done(item, write_shard(work, item, labels[to], contexts[to])))
        start = to.stop
    refusals = regions.joined([*refused, all_tiles.refused])
    summary = {"statistics": all_tiles.statistics, "tiles": tiles, "refused": refusals}
    return [*done, Done({"id": SUMMARY, "work": 1}, summary)]


def read_points(work: Work[PointCloudOptions], items: list[Item], frame: Frame) -> tuple[Fragment, NDArray[np.uint8]]:
    """All points of the drop in the order of the shards, without their places in them, and their contexts (class_layer.py).

    23 bytes a point, 8 more in colour.
    """
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
    contexts = np.zeros(total, np.uint8)
    start = 0
    for item in items:
        file, source = files[item["file"]], work.run.sources[item["file"]]
        wanted = {"intensity": frame.needs.intensity, "rgb": coloured}
        for _, columns in iter_columns(work.store, source, file, shard_of(item), **wanted):
            to = slice(start, start + len(columns))
            batch = points_of(file, columns, frame, 0, 0)
            if columns.contexts is not None:
                contexts[to] = columns.contexts
            for name in COLUMNS:
                column, new = getattr(points, name), getattr(batch, name)
                if name != "index" and column is not None and new is not None:
                    column[to] = new
            start = to.stop
    return points, contexts
