"""The shuffle's first half: a shard's points, cut into one fragment for every tile that needs some of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workload import Item, Work
from tilery.workloads.pointcloud import fragments, laz
from tilery.workloads.pointcloud.coordinates import millimetres
from tilery.workloads.pointcloud.fragments import Fragment
from tilery.workloads.pointcloud.frame import Frame, Needs
from tilery.workloads.pointcloud.grid import TileIndex, tile_id
from tilery.workloads.pointcloud.las_header import LasFile, read_las
from tilery.workloads.pointcloud.options import PointCloudOptions
from tilery.workloads.pointcloud.points import classes_of, iter_records, returns_of
from tilery.workloads.pointcloud.shards import Shard


def shard_of(item: Item) -> Shard:
    return Shard(**{name: item[name] for name in Shard.__dataclass_fields__})


def fragment_name(item: Item) -> str:
    return f"{item['id']}.fragment"


def tile(work: Work[PointCloudOptions], item: Item) -> dict[str, Any]:
    """Write the shard's fragments; returns per tile how many points it owns there and how many it only sees."""
    shard, source = shard_of(item), work.run.sources[item["file"]]
    frame = Frame.of(work.run, work.options)
    file = read_las(work.store, source)
    parts: dict[TileIndex, list[Fragment]] = {}
    for first, records in iter_records(work.store, source, file, shard, fields_of(frame.needs)):
        points = points_of(file, records, frame, first - shard.first, item["number"])
        for index, members in frame.grid.members(points.x, points.y, frame.halo):
            parts.setdefault(index, []).append(points.take(members))
        work.progress((first - shard.first + len(records)) / shard.count)
    tiles = {}
    for index in sorted(parts):
        points, _ = fragments.join(parts.pop(index))
        core = int(np.count_nonzero(frame.grid.window(index).contains(points.x, points.y, frame.grid.cell_mm)))
        tiles[tile_id(index)] = (core, len(points) - core)
        work.store.put(work.out("fragments", tile_id(index), fragment_name(item)), fragments.encode(points))
    return {"tiles": tiles}


def fields_of(needs: Needs) -> int:
    """What of a layered file is decoded."""
    fields: int = laz.XYZ_AND_CLASS | (laz.INTENSITY if needs.intensity else 0) | (laz.RGB if needs.rgb else 0)
    return fields


def has_colour(point_format: int) -> bool:
    return point_format in (2, 3, 5, 7, 8, 10)


def points_of(file: LasFile, records: NDArray[Any], frame: Frame, first: int, shard: int) -> Fragment:
    """The points of a batch of records whose first has this index within its shard."""
    x, y, z = millimetres(file, records, frame.unit_m, frame.z_unit_m)
    coloured = frame.needs.rgb and has_colour(file.point_format)
    return Fragment(
        shard,
        x,
        y,
        z,
        fragments.pack_returns(*returns_of(records, file.point_format)),
        np.arange(first, first + len(records), dtype=np.uint32),
        classes_of(records, file.point_format),
        records["intensity"].copy() if frame.needs.intensity else None,
        np.stack([records[name] for name in ("red", "green", "blue")], axis=1) if coloured else None,
    )
