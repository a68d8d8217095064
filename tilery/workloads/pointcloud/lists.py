"""Which tiles there are to process, and which shards to finish. Pure lists: no numpy, as `plan` is a control function."""

from __future__ import annotations

from tilery.workload import Done, Item, Work
from tilery.workloads.pointcloud import sheets
from tilery.workloads.pointcloud.options import PointCloudOptions

TOLD_IN = 1000
"""The number of returns says something where at least one point in so many is of a pulse of several."""
WRITTEN = frozenset({"classified", "copc"})
"""Products that shards are written anew for."""
SUMMARY = "summary"
"""The finish item that keeps what the run learned, beside one item a shard and one a sheet."""


def tiles(shards: list[Done]) -> list[Item]:
    """One item a tile that owns a point, with the shards whose fragments it needs. Halo points cost as much as others."""
    owned: dict[str, int] = {}
    cost: dict[str, int] = {}
    needed: dict[str, list[str]] = {}
    for shard in shards:
        for tile, (core, halo) in shard.value["tiles"].items():
            owned[tile] = owned.get(tile, 0) + core
            cost[tile] = cost.get(tile, 0) + core + halo
            needed.setdefault(tile, []).append(str(shard.item["id"]))
    points, several = sum(shard.item["count"] for shard in shards), sum(shard.value["several"] for shard in shards)
    told = several * TOLD_IN >= points
    return [
        {"id": tile, "work": cost[tile], "points": owned[tile], "shards": sorted(needed[tile]), "told": told}
        for tile in sorted(owned)
        if owned[tile]
    ]


def finishes(work: Work[PointCloudOptions], merged: list[Done]) -> list[Item]:
    """One item a shard, with the tiles that labelled its points; one a sheet; and the summary."""
    root = merged[-1].value
    refused = root["refused"]
    shards = []
    for done in work.finished("tile") if WRITTEN & set(work.options.products) else []:
        mine = sorted(tile for tile, (core, _) in done.value["tiles"].items() if core)
        shards.append({**done.item, "tiles": mine, "refused": {tile: refused[tile] for tile in mine if tile in refused}})
    tiles = [str(done.item["id"]) for done in work.finished("process")]
    made = sheets.items(root, tiles, work.options.products)
    return [*shards, *made, {"id": SUMMARY, "work": 1, "statistics": root["statistics"]}]
