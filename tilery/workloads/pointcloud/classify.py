"""One tile: its points and those around it in, a label for each of its own out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workload import Item, Work
from tilery.workloads.pointcloud import class_layer, fragments, layers, regions, statistics
from tilery.workloads.pointcloud.array_module import array_module, to_host
from tilery.workloads.pointcloud.fragments import Fragment
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.grid import TileIndex, tile_from_id, tile_id
from tilery.workloads.pointcloud.gridding import Undecided
from tilery.workloads.pointcloud.ground import ground_of
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
    """What the tile could refuse alone, which its labels know already."""

    def statistics(self, points: Fragment) -> dict[str, Any]:
        """Of the points that the tile owns; those of open regions are without class as yet."""
        owned = self.labels != 0
        sure = self.numbers[owned] == 0
        x, y, z = points.x[owned], points.y[owned], points.z[owned]
        return statistics.of_labels(self.labels[owned], points.source[owned], x, y, z, sure)


def process(work: Work[PointCloudOptions], item: Item) -> dict[str, Any]:
    """Classify a tile from its fragments; write its labels shard by shard, and its layers for the products."""
    frame, tile = Frame.of(work.run, work.options), tile_from_id(item["id"])
    parts = []
    for shard in item["shards"]:
        key = work.key("tile", "fragments", item["id"], f"{shard}.fragment")
        parts.append(fragments.decode(work.store.get(key), key))
    points, starts = fragments.join(parts)
    class_layer.prepare(len(points))
    found = classify(points, tile, frame, work.options, work.device, told=item["told"])
    for number, shard in enumerate(item["shards"]):
        mine = np.arange(starts[number], starts[number + 1])
        mine = mine[found.labels[mine] != 0]
        columns = (points.index[mine], found.labels[mine], found.numbers[mine].astype(np.uint32), found.otherwise[mine])
        data = fragments.encode_labels(fragments.Labels(parts[number].shard, *columns))
        work.store.put(work.out("labels", item["id"], f"{shard}.labels"), data)
    layers.write(work, tile, frame, points, found.labels, Undecided(found.otherwise, found.numbers))
    return {
        "statistics": found.statistics(points),
        "open": regions.store_open(work, item["id"], found.open),
        "refused": found.refused,
    }


def classify(
    points: Fragment, tile: TileIndex, frame: Frame, options: PointCloudOptions, device: str, *, told: bool
) -> Labelled:
    """The class of every point that the tile owns. The device does not change a label.

    `told`: whether pulses of the drop have several returns.
    """
    xp = array_module(device)
    x, y, z, returns = (xp.asarray(column) for column in (points.x, points.y, points.z, points.returns))
    core = frame.grid.window(tile)
    ground = ground_of(x, y, z, core.grow(REACH), options.ground)
    source = xp.asarray(points.source) if options.evidence else None
    forest = shipped() if options.learned else None
    found = classify_objects(x, y, z, returns, ground, core, frame.grid.cell_mm, options.objects, told, source, forest)
    found = kept(found, points.source, options.keep)
    mine = regions.of_tile(found, points.source, tile_id(tile), core)
    complete, rest = regions.settled(mine.regions.values(), frame.grid, last=False)
    refused = regions.decided(complete, options.objects, frame.grid.cell_mm).refused
    labels, otherwise, numbers = to_host(found.labels), to_host(found.otherwise), mine.numbers
    labels = np.where(np.isin(numbers, refused.get(tile_id(tile), [])), otherwise, labels)
    unsure = np.isin(numbers, [number for region in rest for _, number in region.members])
    return Labelled(labels, otherwise, np.where(unsure, numbers, 0), rest, refused)


def kept(found: Found, source: NDArray[np.uint8], classes: list[int]) -> Found:
    """Points of these classes of the input keep them, whatever was found."""
    labels = to_host(found.labels)
    keep = np.isin(source, classes) & (labels != 0)
    return replace(
        found,
        labels=np.where(keep, source, labels),
        otherwise=np.where(keep, source, to_host(found.otherwise)),
        cell=np.where(keep, -1, to_host(found.cell)),
    )
