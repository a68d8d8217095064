"""One tile: its points and those around it in, a label for each of its own out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workload import Item, Work
from tilery.workloads.pointcloud import compiled, deciding, fragments, layers, regions, statistics
from tilery.workloads.pointcloud.array_module import array_module, to_host
from tilery.workloads.pointcloud.fragments import Fragment
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.grid import TileIndex, tile_from_id, tile_id
from tilery.workloads.pointcloud.gridding import Undecided
from tilery.workloads.pointcloud.ground import Terrain, ground_of
from tilery.workloads.pointcloud.heap import give_back_freed_pages
from tilery.workloads.pointcloud.learned import shipped
from tilery.workloads.pointcloud.objects import REACH, Found, classify_objects
from tilery.workloads.pointcloud.options import PointCloudOptions
from tilery.workloads.pointcloud.regions import Refused, Region


@dataclass(frozen=True, slots=True)
class Labelled:
    """The points of a tile with their classes, and what its neighbours must help to decide."""

    labels: NDArray[np.uint8]
    """Of every point that the tile owns; 0 for the points around it."""
    otherwise: NDArray[np.uint8]
    """The label where the region of the point is refused."""
    numbers: NDArray[np.int32]
    """The region of each point whose label depends on one that is open; 0 for all others."""
    open: list[Region]
    refused: Refused
    """What the tile could decide alone, which its labels know already."""
    counted: NDArray[np.uint8]
    """The label under which a point is counted here: that of its own region; 0 for those whose region is open."""
    claimed: dict[str, Any]
    """What regions that won points of others add to that (regions.py)."""

    def statistics(self, points: Fragment) -> dict[str, Any]:
        """Of the points that the tile owns; those of open regions are without class as yet.

        Heights of ground are those of all that the filter took for it, as the rest may be decided elsewhere."""
        places = points.x, points.y, points.z
        mine = statistics.of_tile(self.labels, self.otherwise, self.counted, points.source, *places)
        return statistics.merged([mine, self.claimed])


def process(work: Work[PointCloudOptions], item: Item) -> dict[str, Any]:
    """Classify a tile from its fragments; write its labels shard by shard, and its layers for the products."""
    frame, tile = Frame.of(work.run, work.options), tile_from_id(item["id"])
    parts = []
    for shard in item["shards"]:
        key = work.key("tile", "fragments", item["id"], f"{shard}.fragment")
        parts.append(fragments.decode(work.store.get(key), key))
    points, starts = fragments.join(parts)
    shards = [part.shard for part in parts]
    del parts  # joined: what is classified needs their room
    give_back_freed_pages()
    compiled.prepare(len(points))
    found = classify(points, tile, frame, work.options, work.device, told=item["told"])
    for number, shard in enumerate(item["shards"]):
        mine = np.arange(starts[number], starts[number + 1])
        mine = mine[found.labels[mine] != 0]
        columns = (points.index[mine], found.labels[mine], found.numbers[mine].astype(np.uint32), found.otherwise[mine])
        data = fragments.encode_labels(fragments.Labels(shards[number], *columns))
        work.store.put(work.out("labels", item["id"], f"{shard}.labels"), data)
    layers.write(work, tile, frame, points, found.labels, Undecided(found.otherwise, found.numbers))
    return {
        "statistics": found.statistics(points),
        "open": regions.store_open(work, item["id"], found.open),
        "refused": found.refused,
    }


def classify(
    points: Fragment,
    tile: TileIndex,
    frame: Frame,
    options: PointCloudOptions,
    device: str,
    *,
    told: bool,
    terrain: Terrain | None = None,
) -> Labelled:
    """The class of every point that the tile owns. The device does not change a label.

    `told`: whether pulses of the drop have several returns. `terrain` of the tile and `REACH` cells around it, where it is
    known: then only the points there are needed, not those of `frame.halo` cells around.
    """
    xp = array_module(device)
    x, y, z, returns = (xp.asarray(column) for column in (points.x, points.y, points.z, points.returns))
    core = frame.grid.window(tile)
    ground = ground_of(x, y, z, core.grow(REACH), options.ground, terrain)
    source = xp.asarray(points.source) if options.evidence else None
    forest = shipped() if options.learned else None
    found = classify_objects(x, y, z, returns, ground, core, frame.grid.cell_mm, options.objects, told, source, forest)
    found = kept(found, points.source, options.keep)
    mine = regions.of_tile(found, points.source, tile_id(tile), core)
    complete, rest = regions.settled(mine.regions.values(), frame.grid, last=False)
    done = regions.decided(complete, options.objects, frame.grid.cell_mm)
    said, won = done.refused.get(tile_id(tile), []), done.won.get(tile_id(tile), [])
    labels, otherwise, numbers = to_host(found.labels), to_host(found.otherwise), mine.numbers
    at = np.flatnonzero(numbers)
    own, other, number = labels[at], otherwise[at], numbers[at]
    first = deciding.final(own, other, number, said)
    labels, counted, waiting = labels.copy(), labels.copy(), np.zeros_like(numbers)
    labels[at] = deciding.final(first, other, number, won)
    unsure, claimed = (
        np.isin(number, [one for region in rest for _, one in numbers_of(region)])
        for numbers_of in (attrgetter("members"), attrgetter("claims"))
    )
    counted[at] = np.where(unsure, 0, first)
    waiting[at] = np.where(unsure | claimed, number, 0)
    return Labelled(labels, otherwise, waiting, rest, regions.joined([done.refused, done.won]), counted, done.claimed)


def kept(found: Found, source: NDArray[np.uint8], classes: list[int]) -> Found:
    """Points of these classes of the input keep them, whatever was found."""
    if not classes:
        return found
    labels = to_host(found.labels)
    keep = np.isin(source, classes) & (labels != 0)
    return replace(
        found,
        labels=np.where(keep, source, labels),
        otherwise=np.where(keep, source, to_host(found.otherwise)),
        cell=np.where(keep, -1, to_host(found.cell)),
        also=np.where(keep, -1, to_host(found.also)),
    )
