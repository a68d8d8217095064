"""The shuffle's first half: a shard's points, cut into one fragment for every tile that needs some of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workload import Item, Work
from tilery.workloads.pointcloud import class_layer, fragments
from tilery.workloads.pointcloud.columns import COLOURED, Columns, iter_columns
from tilery.workloads.pointcloud.coordinates import millimetres
from tilery.workloads.pointcloud.fragments import Fragment
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.grid import TileIndex, tile_id
from tilery.workloads.pointcloud.las_header import LasFile, read_las
from tilery.workloads.pointcloud.options import PointCloudOptions
from tilery.workloads.pointcloud.shards import Shard

CONTEXTS = "contexts"
"""Folder of what the finish stage must know of a shard's points to code their classes (class_layer.py)."""


def shard_of(item: Item) -> Shard:
    return Shard(**{name: item[name] for name in Shard.__dataclass_fields__})


def fragment_name(item: Item) -> str:
    return f"{item['id']}.fragment"


def tile(work: Work[PointCloudOptions], item: Item) -> dict[str, Any]:
    """Write the shard's fragments; returns per tile how many points it owns there and how many it only sees, and how
    many points are of a pulse of several returns."""
    shard, source = shard_of(item), work.run.sources[item["file"]]
    frame = Frame.of(work.run, work.options)
    file = read_las(work.store, source)
    parts: dict[TileIndex, list[Fragment]] = {}
    several = 0
    contexts: list[NDArray[np.uint8]] = []
    for first, columns in iter_columns(work.store, source, file, shard, intensity=frame.needs.intensity, rgb=frame.needs.rgb):
        points = points_of(file, columns, frame, first - shard.first, item["number"])
        if columns.contexts is not None:
            contexts.append(columns.contexts)
        several += fragments.of_several(points.returns)
        for index, members in frame.grid.members(points.x, points.y, frame.halo):
            parts.setdefault(index, []).append(points.take(members))
        work.progress((first - shard.first + len(columns)) / shard.count)
    if contexts:
        work.store.put(work.out(CONTEXTS, str(item["id"])), class_layer.pack(np.concatenate(contexts)))
    tiles = {}
    for index in sorted(parts):
        points, _ = fragments.join(parts.pop(index))
        core = int(np.count_nonzero(frame.grid.window(index).contains(points.x, points.y, frame.grid.cell_mm)))
        tiles[tile_id(index)] = (core, len(points) - core)
        work.store.put(work.out("fragments", tile_id(index), fragment_name(item)), fragments.encode(points))
    return {"tiles": tiles, "several": several}


def has_colour(point_format: int) -> bool:
    return point_format in COLOURED


def points_of(file: LasFile, columns: Columns, frame: Frame, first: int, shard: int) -> Fragment:
    """The points of a batch whose first has this index within its shard."""
    x, y, z = millimetres(file, columns, frame.unit_m, frame.z_unit_m)
    return Fragment(
        shard,
        x,
        y,
        z,
        columns.returns,
        np.arange(first, first + len(columns), dtype=np.uint32),
        columns.classes,
        columns.intensity,
        columns.rgb,
    )
