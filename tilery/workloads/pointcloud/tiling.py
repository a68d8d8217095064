"""The shuffle's first half: a shard's points, cut into one fragment for every tile that needs some of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workload import Item, Work
from tilery.workloads.pointcloud import fragments, laz
from tilery.workloads.pointcloud.coordinates import millimetres
from tilery.workloads.pointcloud.fragments import Fragment
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.grid import TileIndex, tile_id
from tilery.workloads.pointcloud.las_header import LasFile, read_las
from tilery.workloads.pointcloud.options import PointCloudOptions
from tilery.workloads.pointcloud.points import iter_records, returns_of
from tilery.workloads.pointcloud.shards import Shard

Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8], NDArray[np.uint32]]
"""x, y, z (mm), returns, index within the shard."""


def shard_of(item: Item) -> Shard:
    return Shard(**{name: item[name] for name in Shard.__dataclass_fields__})


def fragment_name(item: Item) -> str:
    return f"{item['id']}.fragment"


def tile(work: Work[PointCloudOptions], item: Item) -> dict[str, Any]:
    """Write the shard's fragments; returns per tile how many points it owns there and how many it only sees."""
    shard, source = shard_of(item), work.run.sources[item["file"]]
    frame = Frame.of(work.run, work.options)
    file = read_las(work.store, source)
    parts: dict[TileIndex, list[Columns]] = {}
    for first, records in iter_records(work.store, source, file, shard, laz.XYZ):
        columns = columns_of(file, records, frame, first - shard.first)
        for index, members in frame.grid.members(columns[0], columns[1], frame.halo):
            parts.setdefault(index, []).append(tuple(column[members] for column in columns))  # type: ignore[arg-type]
        work.progress((first - shard.first + len(records)) / shard.count)
    tiles = {}
    for index in sorted(parts):
        x, y, z, returns, place = (np.concatenate(column) for column in zip(*parts.pop(index), strict=True))
        core = int(np.count_nonzero(frame.grid.window(index).contains(x, y, frame.grid.cell_mm)))
        tiles[tile_id(index)] = (core, len(x) - core)
        data = fragments.encode(Fragment(item["number"], x, y, z, returns, place))
        work.store.put(work.out("fragments", tile_id(index), fragment_name(item)), data)
    return {"tiles": tiles}


def columns_of(file: LasFile, records: NDArray[Any], frame: Frame, first: int) -> Columns:
    """The columns of a batch of records whose first has this index within its shard."""
    x, y, z = millimetres(file, records, frame.unit_m, frame.z_unit_m)
    returns = fragments.pack_returns(*returns_of(records, file.point_format))
    return x, y, z, returns, np.arange(first, first + len(records), dtype=np.uint32)
