"""The shuffle's second half: a shard collects its labels and is written anew, a sheet its layers and is drawn."""

from __future__ import annotations

from typing import Any

from tilery.store.port import NotFound
from tilery.workload import Item, Work
from tilery.workloads.pointcloud import class_layer, fragments, layers
from tilery.workloads.pointcloud.drawing import draw
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.grid import tile_from_id
from tilery.workloads.pointcloud.las_header import read_las
from tilery.workloads.pointcloud.lists import SUMMARY
from tilery.workloads.pointcloud.options import PointCloudOptions
from tilery.workloads.pointcloud.rewrite import Contexts, Labels, rewrite_shard
from tilery.workloads.pointcloud.tiling import CONTEXTS, shard_of
from tilery.workloads.pointcloud.upgrading import Upgrade


def finish(work: Work[PointCloudOptions], item: Item) -> dict[str, Any]:
    """Finish one shard or one sheet, or keep the summary."""
    if item["id"] == SUMMARY:
        return {"statistics": item["statistics"]}
    if "window" in item:
        return draw(work, item, [_place(work, tile) for tile in item["tiles"]])
    holes = work.missing.get("process", frozenset())
    present = [tile for tile in item["tiles"] if tile not in holes]
    keys = {tile: work.key("process", "labels", tile, f"{item['id']}.labels") for tile in present}
    parts = ((key, work.store.get(key), item["refused"].get(tile, [])) for tile, key in keys.items())
    labels = fragments.assemble(item["number"], item["count"], parts, holes=bool(holes & set(item["tiles"])))
    return write_shard(work, item, labels, _contexts(work, item))


def _place(work: Work[PointCloudOptions], tile: str) -> dict[str, Any]:
    """Where a tile's layers are, and which cells they cover."""
    return layers.place(work.key("process", "layers", tile), tile_from_id(tile), Frame.of(work.run, work.options))


def _contexts(work: Work[PointCloudOptions], item: Item) -> Contexts | None:
    """What the tile stage knew of the points: without it a layered shard is decoded once more."""
    try:
        return class_layer.unpack(work.store.get(work.key("tile", CONTEXTS, str(item["id"]))), item["count"])
    except NotFound:
        return None


def write_shard(work: Work[PointCloudOptions], item: Item, labels: Labels, contexts: Contexts | None = None) -> dict[str, Any]:
    """Write a shard with its labels, read back as it is written; returns where, and its chunks, for the stitching."""
    source, shard = work.run.sources[item["file"]], shard_of(item)
    file = read_las(work.store, source)
    key = work.out("shards", str(item["id"]))
    upgrade = Upgrade.of(file, work.options.upgrade)
    with work.store.writer(key, size_hint=2 * (shard.stop - shard.start)) as out:
        chunks = rewrite_shard(work.store, source, file, shard, labels, out, contexts, upgrade)
        size = out.tell()
    written = {"file": item["file"], "key": key, "size": size, "chunks": chunks, "verified": shard.count}
    return written | ({"returns": upgrade.returns.tolist()} if upgrade.is_one else {})
