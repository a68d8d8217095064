"""Which tiles there are to process, and which shards to finish. Pure lists: no numpy, as `plan` is a control function."""

from __future__ import annotations

from tilery.workload import Done, Item, Work
from tilery.workloads.pointcloud.options import PointCloudOptions

SUMMARY = "summary"
"""The finish item that gathers what the run learned, beside one item a shard."""


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
    return [
        {"id": tile, "work": cost[tile], "points": owned[tile], "shards": sorted(needed[tile])}
        for tile in sorted(owned)
        if owned[tile]
    ]


def finishes(work: Work[PointCloudOptions], merged: list[Done]) -> list[Item]:
    """One item a shard, with the tiles that labelled its points, and the summary."""
    shards = [
        {**done.item, "tiles": sorted(tile for tile, (core, _) in done.value["tiles"].items() if core)}
        for done in work.finished("tile")
    ]
    tiles = [str(done.item["id"]) for done in work.finished("process")]
    summary = {"id": SUMMARY, "work": 1, "tiles": tiles, "statistics": merged[-1].value if merged else {}}
    return [*shards, summary]
