"""Regions of cells that cross tiles: found tile by tile, united exactly in the merge, decided once.

A tile labels the connected regions (by edge or corner) of its core and of `RING` cells around it, and counts each over the
cells of its core only. Cells near a border are seen by several tiles, and regions that share such a cell are one. A region
without open cells, that is, whose border cells have been told by every tile that sees them, cannot grow any more and is
decided; so a merge hands on only what touches the outline of what it has merged. The result depends neither on the order nor
on the grouping of merges, as counts add up and regions unite in any order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tilery.workload import Item, Work
from tilery.workloads.pointcloud import statistics
from tilery.workloads.pointcloud.array_module import to_host
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.grid import TileGrid, Window
from tilery.workloads.pointcloud.objects import BUILDING, RING, Found
from tilery.workloads.pointcloud.options import ObjectOptions, PointCloudOptions

Refused = dict[str, list[int]]
"""Tile -> the regions in it that are not large enough, by the tile's own numbers (1 and more)."""


@dataclass
class Region:
    """A region as far as it is known."""

    members: list[tuple[str, int]]
    """(tile, number in the tile)."""
    cells: int = 0
    inner: int = 0
    """Cells whose eight neighbours are in the region as well."""
    points: dict[str, int] = field(default_factory=dict)
    """Points that take part in it, as "from>to": the class of the input, and the one that they get if it is refused."""
    open: dict[tuple[int, int], int] = field(default_factory=dict)
    """Cells that further tiles may tell of -> how many have told."""

    def accepted(self, options: ObjectOptions, cell_mm: int) -> bool:
        """Whether it is large and wide enough for a building."""
        return self.cells * cell_mm * cell_mm >= options.area_m2 * 1_000_000 and self.inner >= options.inner_cells


@dataclass(frozen=True)
class TileRegions:
    """What a tile knows of its regions and of the points in them."""

    numbers: NDArray[np.int32]
    """The region of each point; 0 for those in none."""
    regions: dict[int, Region]
    raster: NDArray[np.int32]
    """Number of the region of each cell, 0 for none, rows x columns of `window`."""
    window: Window


def of_tile(found: Found, source: NDArray[np.uint8], tile: str, core: Window) -> TileRegions:
    """The regions of one tile. `found.roofs` must be right in all of `found.window`; `source` is the class of the input."""
    roofs = to_host(found.roofs)
    if not roofs.any():
        return TileRegions(np.zeros(len(found.labels), np.int32), {}, np.zeros(roofs.shape, np.int32), found.window)
    labelled, count = ndimage.label(roofs, np.ones((3, 3)))
    raster: NDArray[np.int32] = labelled.astype(np.int32)
    cell, otherwise = to_host(found.cell), to_host(found.otherwise)
    taking = np.flatnonzero(cell >= 0)
    numbers = np.zeros(len(cell), np.int32)
    numbers[taking] = raster.ravel()[cell[taking]]
    regions = {number: Region([(tile, number)]) for number in range(1, count + 1)}
    part = core.overlap(found.window)
    own = raster[part.inside(found.window)]
    inner = ndimage.minimum_filter(np.pad(roofs, 1), 3)[1:-1, 1:-1][part.inside(found.window)]
    for number, cells in enumerate(np.bincount(own.ravel(), minlength=count + 1)):
        if number:
            regions[number].cells = int(cells)
    for number, cells in enumerate(np.bincount(own[inner], minlength=count + 1)):
        if number:
            regions[number].inner = int(cells)
    keys = (numbers[taking].astype(np.int64) << 16) | (source[taking].astype(np.int64) << 8) | otherwise[taking]
    for key, points in zip(*(values.tolist() for values in np.unique(keys, return_counts=True)), strict=True):
        regions[key >> 16].points[f"{key >> 8 & 255}>{key & 255}"] = points
    rows, columns = np.nonzero(raster)
    x, y = columns + found.window.x0, rows + found.window.y0
    middle = core.grow(-RING)
    near = (x < middle.x0) | (x >= middle.x0 + middle.width) | (y < middle.y0) | (y >= middle.y0 + middle.height)
    for east, north, number in zip(x[near].tolist(), y[near].tolist(), raster[rows[near], columns[near]].tolist(), strict=True):
        regions[number].open[east, north] = 1
    return TileRegions(numbers, regions, raster, found.window)


def united(parts: Iterable[Region]) -> list[Region]:
    """Regions that share a cell become one."""
    regions = list(parts)
    leader = list(range(len(regions)))

    def first(number: int) -> int:
        while leader[number] != number:
            leader[number] = leader[leader[number]]
            number = leader[number]
        return number

    at: dict[tuple[int, int], int] = {}
    for number, region in enumerate(regions):
        for cell in region.open:
            leader[first(number)] = first(at.setdefault(cell, number))
    groups: dict[int, Region] = {}
    for number, region in enumerate(regions):
        whole = groups.setdefault(first(number), Region([]))
        whole.members += region.members
        whole.cells += region.cells
        whole.inner += region.inner
        for change, count in region.points.items():
            whole.points[change] = whole.points.get(change, 0) + count
        for cell, times in region.open.items():
            whole.open[cell] = whole.open.get(cell, 0) + times
    return list(groups.values())


def told_by(grid: TileGrid, cell: tuple[int, int]) -> int:
    """How many tiles see a cell in their core or within `RING` cells of it."""
    count = 1
    for place, origin in zip(cell, grid.origin, strict=True):
        inside = (place - origin) % grid.side
        count *= 1 + (inside < RING) + (inside >= grid.side - RING)
    return count


def settled(regions: Iterable[Region], grid: TileGrid, last: bool) -> tuple[list[Region], list[Region]]:
    """(those that are complete, those that are not yet). With `last` all are, as the other tiles have no points."""
    complete: list[Region] = []
    rest: list[Region] = []
    for region in regions:
        region.open = {cell: times for cell, times in region.open.items() if times < told_by(grid, cell)}
        (complete if last or not region.open else rest).append(region)
    return complete, rest


@dataclass(frozen=True)
class Decided:
    """What became of complete regions."""

    refused: Refused
    statistics: dict[str, Any]
    """Their points by class, as `statistics.merged` takes them."""


def decided(regions: Iterable[Region], options: ObjectOptions, cell_mm: int) -> Decided:
    refused: Refused = {}
    total: dict[str, Any] = statistics.merged([])
    for region in regions:
        accepted = region.accepted(options, cell_mm)
        for change, count in region.points.items():
            before, other = change.split(">")
            label = str(BUILDING) if accepted else other
            total["classes"][label] = total["classes"].get(label, 0) + count
            total["was"][f"{before}>{label}"] = total["was"].get(f"{before}>{label}", 0) + count
        for tile, number in region.members if not accepted else ():
            refused.setdefault(tile, []).append(number)
    return Decided(refused, total)


def encode(regions: Iterable[Region]) -> bytes:
    """Incomplete regions as JSON, in an order of their own."""
    rows = [
        {
            "members": sorted(region.members),
            "cells": region.cells,
            "inner": region.inner,
            "points": dict(sorted(region.points.items())),
            "open": sorted([*cell, times] for cell, times in region.open.items()),
        }
        for region in regions
    ]
    return json.dumps(sorted(rows, key=lambda row: row["members"])).encode()


def decode(data: bytes) -> list[Region]:
    return [
        Region(
            [(str(tile), int(number)) for tile, number in row["members"]],
            row["cells"],
            row["inner"],
            row["points"],
            {(x, y): times for x, y, times in row["open"]},
        )
        for row in json.loads(data)
    ]


@dataclass(frozen=True)
class Merged:
    """Of several tiles or merges: statistics with the points of every decided region, refusals, and what is open."""

    statistics: dict[str, Any]
    refused: Refused
    rest: list[Region]


def merged(
    parts: Iterable[dict[str, Any]], regions: Iterable[Region], options: ObjectOptions, grid: TileGrid, *, last: bool
) -> Merged:
    """Of the statistics and open regions of parts."""
    complete, rest = settled(united(regions), grid, last)
    done = decided(complete, options, grid.cell_mm)
    return Merged(statistics.merged([*parts, done.statistics]), done.refused, rest)


def joined(parts: Iterable[Mapping[str, list[int]]]) -> Refused:
    """All refusals, in order."""
    total: dict[str, set[int]] = {}
    for part in parts:
        for tile, numbers in part.items():
            total.setdefault(tile, set()).update(numbers)
    return {tile: sorted(total[tile]) for tile in sorted(total)}


def merge(work: Work[PointCloudOptions], item: Item) -> dict[str, Any]:
    """Add up the statistics of tiles, unite their regions, and decide those that are complete."""
    values: list[dict[str, Any]] = item["values"]
    parts = [region for value in values if value["open"] for region in decode(work.store.get(value["open"]))]
    grid = Frame.of(work.run, work.options).grid
    done = merged([value["statistics"] for value in values], parts, work.options.objects, grid, last=item["last"])
    refused = joined([*(value["refused"] for value in values), done.refused])
    return {"statistics": done.statistics, "open": store_open(work, str(item["id"]), done.rest), "refused": refused}


def store_open(work: Work[PointCloudOptions], name: str, rest: list[Region]) -> str:
    """The key of the regions that are not decided, empty where there are none."""
    if not rest:
        return ""
    key = work.out("regions", name)
    work.store.put(key, encode(rest))
    return key
