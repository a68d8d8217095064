"""One tile: its points and those around it in, a label for each of its own out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workload import Item, Work
from tilery.workloads.pointcloud import fragments, layers, statistics
from tilery.workloads.pointcloud.array_module import array_module, to_host
from tilery.workloads.pointcloud.fragments import Fragment
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.grid import TileIndex, tile_from_id
from tilery.workloads.pointcloud.ground import classify_ground
from tilery.workloads.pointcloud.options import PointCloudOptions


def process(work: Work[PointCloudOptions], item: Item) -> dict[str, Any]:
    """Classify a tile from its fragments; write its labels shard by shard, and its layers for the products."""
    frame, tile = Frame.of(work.run, work.options), tile_from_id(item["id"])
    parts = []
    for shard in item["shards"]:
        key = work.key("tile", "fragments", item["id"], f"{shard}.fragment")
        parts.append(fragments.decode(work.store.get(key), key))
    points, starts = fragments.join(parts)
    labels = classify(points, tile, frame, work.options, work.device)
    for number, shard in enumerate(item["shards"]):
        mine = slice(starts[number], starts[number + 1])
        owned = labels[mine] != 0
        data = fragments.encode_labels(parts[number].shard, points.index[mine][owned], labels[mine][owned])
        work.store.put(work.out("labels", item["id"], f"{shard}.labels"), data)
    layers.write(work, tile, frame, points, labels)
    owned = labels != 0
    return statistics.of_labels(labels[owned], points.x[owned], points.y[owned], points.z[owned])


def classify(points: Fragment, tile: TileIndex, frame: Frame, options: PointCloudOptions, device: str) -> NDArray[np.uint8]:
    """The class of every point that the tile owns, 0 for the points around it. The device does not change a label."""
    xp = array_module(device)
    x, y, z = (xp.asarray(column) for column in (points.x, points.y, points.z))
    return to_host(classify_ground(x, y, z, frame.grid.window(tile), options.ground))
