"""A small drop in one worker: the same tiles, the same labels, without the shuffle through the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workload import Done, Item, Work
from tilery.workloads.pointcloud import deciding, drawing, fragments, layers, merging, ortho, point_kernels, regions, sheets
from tilery.workloads.pointcloud.array_module import array_module
from tilery.workloads.pointcloud.class_layer import Places
from tilery.workloads.pointcloud.classify import classify
from tilery.workloads.pointcloud.columns import Columns, iter_columns
from tilery.workloads.pointcloud.compiled import kernels_for
from tilery.workloads.pointcloud.coordinates import write_millimetres
from tilery.workloads.pointcloud.dealt import Dealt, Members
from tilery.workloads.pointcloud.finishing import write_shard
from tilery.workloads.pointcloud.fragments import Fragment
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.grid import TileIndex, tile_id, to_millimetres
from tilery.workloads.pointcloud.gridding import Undecided
from tilery.workloads.pointcloud.ground import Lowest, Terrain, terrain_below
from tilery.workloads.pointcloud.heap import give_back_freed_pages
from tilery.workloads.pointcloud.las_header import LasFile, read_las
from tilery.workloads.pointcloud.lists import SUMMARY, TOLD_IN, WRITTEN
from tilery.workloads.pointcloud.objects import REACH
from tilery.workloads.pointcloud.options import PointCloudOptions
from tilery.workloads.pointcloud.regions import Refused, Region
from tilery.workloads.pointcloud.tiling import has_colour, shard_of

TERRAIN_CELLS = 4_000_000
"""Cells whose terrain is told at once: a hundred bytes each on the way."""
SHARE_READ, SHARE_WRITTEN = 0.2, 0.9
"""About how much of the work is done once all points are read, and once all have their class."""


def whole(work: Work[PointCloudOptions], items: list[Item]) -> list[Done]:
    """Classify and rewrite every shard; returns what the finish stage would have returned."""
    known = classify_all(work, items)
    done = []
    start = 0
    for item in items if WRITTEN & set(work.options.products) else []:
        to = slice(start, start + item["count"])
        done.append(Done(item, write_shard(work, item, known.labels[to], known.contexts[to])))
        start = to.stop
    return [
        *done,
        *_sheets(work, known.statistics, known.tiles, known.refused),
        Done({"id": SUMMARY, "work": 1}, {"statistics": known.statistics}),
    ]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a drop once all of its points have their class."""

    labels: NDArray[np.uint8]
    """In the order of the shards, as `contexts`."""
    contexts: NDArray[np.uint8]
    """What coding a class needs (class_layer.py); 0 where the format is not layered."""
    statistics: dict[str, Any]
    tiles: list[dict[str, Any]]
    """Where the layers of each are."""
    refused: Refused


def classify_all(work: Work[PointCloudOptions], items: list[Item]) -> Known:
    """Read all points and classify them, tile after tile."""
    frame = Frame.of(work.run, work.options)
    drop = read_points(work, items, frame)
    give_back_freed_pages()
    work.progress(SHARE_READ)
    told = fragments.of_several(drop.points.returns) * TOLD_IN >= len(drop.points)
    labels = np.zeros(len(drop.points), np.uint8)
    counts: list[dict[str, Any]] = []
    tiles: dict[TileIndex, dict[str, Any]] = {}
    unsure: list[tuple[str, Members, NDArray[np.int32], NDArray[np.uint8]]] = []
    found: list[Region] = []
    refused: list[Refused] = []

    dealt = Dealt(frame.grid, drop.x, drop.y, drop.points.z)

    def terrain_of(block: list[TileIndex]) -> Terrain:
        """The terrain that the tiles of a block look at, told once: what lies around it takes as long as one of them."""
        core, side = dealt.around(block).grow(REACH), frame.grid.side
        lowest_points = dealt.lowest(core.grow(frame.halo - REACH))
        core = replace(core, x0=core.x0 + drop.corner[0] * side, y0=core.y0 + drop.corner[1] * side)
        heights = array_module(work.device).asarray(lowest_points)
        return terrain_below(Lowest(heights, core.grow(frame.halo - REACH)), core, work.options.ground)

    def label(near: TileIndex, terrain: Terrain) -> None:
        """Of what a tile makes, only what is kept here is still there when the next one begins."""
        members, tile = dealt.members(near, REACH), (near[0] + drop.corner[0], near[1] + drop.corner[1])
        part = drop.take(members, frame)
        mine = classify(part, tile, frame, work.options, work.device, told=told, terrain=terrain)
        owned = dealt.owned(near)
        labels[owned] = mine.labels[: len(owned)]
        counts.append(mine.statistics(part))
        tiles[near] = layers.write(work, tile, frame, part, mine.labels, Undecided(mine.otherwise, mine.numbers))
        waiting = np.flatnonzero(mine.numbers)
        unsure.append((tile_id(tile), members[waiting], mine.numbers[waiting], mine.otherwise[waiting]))
        found.extend(mine.open)
        refused.append(mine.refused)

    for block in dealt.blocks(TERRAIN_CELLS):
        terrain = terrain_of(block)
        for near in block:
            label(near, terrain)
            work.progress(SHARE_READ + (SHARE_WRITTEN - SHARE_READ) * int(np.count_nonzero(labels)) / len(labels))
    all_tiles = regions.merged(counts, found, work.options.objects, frame.grid, last=True)
    decided = regions.joined([*refused, all_tiles.refused])
    for name, place, number, otherwise in unsure:
        labels[place] = deciding.final(labels[place], otherwise, number, decided.get(name, []))
    return Known(labels, drop.contexts, all_tiles.statistics, [tiles[near] for near in dealt.tiles], decided)


def _sheets(
    work: Work[PointCloudOptions], statistics: dict[str, Any], tiles: list[dict[str, Any]], refused: Refused
) -> Iterator[Done]:
    """Draw every sheet from the layers of all tiles."""
    places = {str(place["key"]).rsplit("/", 1)[-1]: place for place in tiles}
    levels = None
    if "ortho" in work.options.products:
        keys = [f"{place['key']}/{merging.view_of(work)}" for place in tiles]
        levels = ortho.levels(layers.decode(work.store.get(key), key)[1] for key in keys)
    root = {"statistics": statistics, "refused": refused, **merging.shared(work, levels)}
    for item in sheets.items(root, places, work.options.products):
        yield Done(item, drawing.draw(work, item, [places[tile] for tile in item["tiles"]]))


@dataclass(frozen=True, slots=True)
class Drop:
    """All points of a drop in the order of the shards, without their places in them. 15 bytes a point, 8 more in colour."""

    points: Fragment
    """Without x and y."""
    x: NDArray[np.int32]
    """Millimetres from the corner, as y."""
    y: NDArray[np.int32]
    corner: TileIndex
    """The tile whose south-west corner is meant."""
    contexts: NDArray[np.uint8]
    """What coding a class needs (class_layer.py); 0 where the format is not layered."""

    def take(self, members: Members, frame: Frame) -> Fragment:
        """Some of the points, in the order of `members`, where they are."""
        points, many = self.points, len(members)
        kernels = kernels_for(members, module=point_kernels) if members.dtype == np.int32 else None
        if kernels is not None:
            east, north, z = np.empty(many, np.int64), np.empty(many, np.int64), np.empty(many, np.int32)
            returns, source = np.empty(many, np.uint8), np.empty(many, np.uint8)
            corner = np.array(corner_mm(self.corner, frame), np.int64)
            told = members, self.x, self.y, points.z, points.returns, points.source
            kernels.take(*told, corner, east, north, z, returns, source)
            others = points.take(members, ("index", "intensity", "rgb"))
            return replace(others, x=east, y=north, z=z, returns=returns, source=source)
        x, y = (
            np.add(np.take(column, members), start, dtype=np.int64)
            for column, start in zip((self.x, self.y), corner_mm(self.corner, frame), strict=True)
        )
        return replace(points.take(members), x=x, y=y)


def tile_of_first(file: LasFile, columns: Columns, frame: Frame) -> TileIndex:
    """The tile that owns the first of some points."""
    x, y = (
        to_millimetres(stored[:1], scale, offset, frame.unit_m)
        for stored, scale, offset in zip((columns.x, columns.y), file.scales, file.offsets, strict=False)
    )
    column, row = frame.grid.tile_of(x, y)
    return int(column[0]), int(row[0])


def corner_mm(tile: TileIndex, frame: Frame) -> tuple[int, int]:
    size = frame.grid.side * frame.grid.cell_mm
    return tile[0] * size, tile[1] * size


def read_points(work: Work[PointCloudOptions], items: list[Item], frame: Frame) -> Drop:
    """Read every shard. Raises `BadInput` where points are more than 2,147 km apart."""
    total = sum(item["count"] for item in items)
    files = {number: read_las(work.store, work.run.sources[number]) for number in {item["file"] for item in items}}
    coloured = frame.needs.rgb and any(has_colour(file.point_format) for file in files.values())
    points = Fragment(
        0,
        np.empty(0, np.int64),
        np.empty(0, np.int64),
        np.empty(total, np.int32),
        np.empty(total, np.uint8),
        np.empty(0, np.uint32),
        np.empty(total, np.uint8),
        np.empty(total, np.uint16) if frame.needs.intensity else None,
        np.zeros((total, 3), np.uint16) if coloured else None,
    )
    x, y, contexts = np.empty(total, np.int32), np.empty(total, np.int32), np.zeros(total, np.uint8)
    room = Places(x, y, points.z, points.returns, contexts, points.source, points.intensity, points.rgb)
    corner: TileIndex | None = None
    start = 0
    for item in items:
        file, source = files[item["file"]], work.run.sources[item["file"]]
        wanted = {"intensity": frame.needs.intensity, "rgb": coloured}
        mine = room.part(slice(start, start + item["count"]))
        for _, columns in iter_columns(work.store, source, file, shard_of(item), **wanted, into=mine):
            to = slice(start, start + len(columns))  # what was decoded there stays there
            corner = corner or tile_of_first(file, columns, frame)
            stored, into = (columns.x, columns.y, columns.z), (x[to], y[to], points.z[to])
            write_millimetres(file, stored, frame.unit_m, frame.z_unit_m, corner_mm(corner, frame), into)
            if columns.contexts is not None:
                contexts[to] = columns.contexts
            pairs = (points.returns, columns.returns), (points.source, columns.classes)
            for column, new in (*pairs, (points.intensity, columns.intensity), (points.rgb, columns.rgb)):
                if column is not None and new is not None:
                    column[to] = new
            start = to.stop
    assert corner is not None
    return Drop(points, x, y, corner, contexts)
