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

from tilery.workload import Item, Work
from tilery.workloads.pointcloud import statistics
from tilery.workloads.pointcloud.array_module import to_host
from tilery.workloads.pointcloud.candidates import Candidates
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.grid import TileGrid, Window
from tilery.workloads.pointcloud.objects import BUILDING, RING, Found
from tilery.workloads.pointcloud.options import ObjectOptions, PointCloudOptions
from tilery.workloads.pointcloud.water import WATER, is_water

Refused = dict[str, list[int]]
"""Tile -> the regions in it that are not what they might have been, by the tile's own numbers (1 and more)."""


@dataclass
class Region:
    """A region as far as it is known."""

    members: list[tuple[str, int]]
    """(tile, number in the tile)."""
    kind: int = BUILDING
    """The class that its points get if it is accepted."""
    cells: int = 0
    sums: dict[str, int] = field(default_factory=dict)
    """What else is added up over its cells."""
    span: list[int] = field(default_factory=list)
    """The least and the greatest value of its cells, if they have one, and how far these may be apart."""
    points: dict[str, int] = field(default_factory=dict)
    """Points that take part in it, as "from>to": the class of the input, and the one that they get if it is refused."""
    open: dict[tuple[int, int], int] = field(default_factory=dict)
    """Cells that further tiles may tell of -> how many have told."""

    @property
    def hopeless(self) -> bool:
        """Whether it is refused, whatever else belongs to it."""
        return bool(self.span) and self.span[1] - self.span[0] > self.span[2]

    def accepted(self, options: ObjectOptions, cell_mm: int) -> bool:
        """Whether it is what it might be."""
        if self.hopeless:
            return False
        if self.kind == WATER:
            return is_water(self.cells, self.sums, options, cell_mm)
        return self.cells * cell_mm * cell_mm >= options.area_m2 * 1_000_000 and self.sums["inner"] >= options.inner_cells

    def unite(self, other: Region) -> None:
        """Take another part of the same region in."""
        self.kind = other.kind
        self.members += other.members
        self.cells += other.cells
        _add(self.sums, other.sums)
        _add(self.points, other.points)
        _add(self.open, other.open)
        both = [span for span in (self.span, other.span) if span]
        self.span = [min(span[0] for span in both), max(span[1] for span in both), both[0][2]] if both else []


def _add(total: dict[Any, int], more: Mapping[Any, int]) -> None:
    for name, count in more.items():
        total[name] = total.get(name, 0) + count


@dataclass(frozen=True)
class TileRegions:
    """What a tile knows of its regions and of the points in them."""

    numbers: NDArray[np.int32]
    """The region of each point; 0 for those in none."""
    regions: dict[int, Region]
    rasters: list[NDArray[np.int32]]
    """Of each kind, the number of the region of each cell, 0 for none, rows x columns of `window`."""
    window: Window


def of_tile(found: Found, source: NDArray[np.uint8], tile: str, core: Window) -> TileRegions:
    """The regions of one tile. `found.candidates` must be right in all of their window; `source` is the class of the input."""
    labels, cell, otherwise = (to_host(column) for column in (found.labels, found.cell, found.otherwise))
    if not found.candidates:
        return TileRegions(np.zeros(len(cell), np.int32), {}, [], found.window)
    numbers = np.zeros(len(cell), np.int32)
    taking = np.flatnonzero(cell >= 0)
    kinds = labels[taking]
    regions: dict[int, Region] = {}
    rasters = []
    for candidates in found.candidates:
        first = len(regions)
        mine = taking[kinds == candidates.kind]
        numbers[mine] = candidates.numbers.ravel()[cell[mine]] + first
        rasters.append(np.where(candidates.numbers > 0, candidates.numbers + first, 0))
        for number, region in _counted(candidates, found.window, core).items():
            sure = candidates.refused is not None and candidates.refused[number]
            region.members = [] if sure else [(tile, first + number)]
            regions[first + number] = region
    keys = (numbers[taking].astype(np.int64) << 16) | (source[taking].astype(np.int64) << 8) | otherwise[taking]
    for key, points in zip(*(values.tolist() for values in np.unique(keys, return_counts=True)), strict=True):
        regions[key >> 16].points[f"{key >> 8 & 255}>{key & 255}"] = points
    border = np.ones(found.window.shape, bool)
    middle = core.grow(-RING).overlap(found.window)
    if middle.width and middle.height:
        border[middle.inside(found.window)] = False
    for raster in rasters:
        rows, columns = np.nonzero(border & (raster > 0))
        x, y = (columns + found.window.x0).tolist(), (rows + found.window.y0).tolist()
        for east, north, number in zip(x, y, raster[rows, columns].tolist(), strict=True):
            regions[number].open[east, north] = 1
    kept = {number: region for number, region in regions.items() if region.members or region.open}
    return TileRegions(numbers, kept, rasters, found.window)


def _counted(candidates: Candidates, window: Window, core: Window) -> dict[int, Region]:
    """What the cells of the core say of each region."""
    totals = candidates.totals(core.overlap(window).inside(window))
    cells = totals.pop("cells")
    regions = {}
    for number in range(1, candidates.count + 1):
        sums = {name: values[number] for name, values in totals.items()}
        regions[number] = region = Region([], candidates.kind, cells[number], sums)
        if candidates.lowest is not None and candidates.highest is not None:
            region.span = [int(candidates.lowest[number]), int(candidates.highest[number]), candidates.widest]
    return regions


def united(parts: Iterable[Region]) -> list[Region]:
    """Regions of one kind that share a cell become one."""
    regions = list(parts)
    leader = list(range(len(regions)))

    def first(number: int) -> int:
        while leader[number] != number:
            leader[number] = leader[leader[number]]
            number = leader[number]
        return number

    at: dict[tuple[int, int, int], int] = {}
    for number, region in enumerate(regions):
        for x, y in region.open:
            leader[first(number)] = first(at.setdefault((x, y, region.kind), number))
    groups: dict[int, Region] = {}
    for number, region in enumerate(regions):
        groups.setdefault(first(number), Region([])).unite(region)
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
            label = str(region.kind) if accepted else other
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
            "kind": region.kind,
            "cells": region.cells,
            "sums": dict(sorted(region.sums.items())),
            "span": region.span,
            "points": dict(sorted(region.points.items())),
            "open": sorted([*cell, times] for cell, times in region.open.items()),
        }
        for region in regions
    ]
    return json.dumps(sorted(rows, key=lambda row: (row["members"], row["kind"], row["open"]))).encode()


def decode(data: bytes) -> list[Region]:
    return [
        Region(
            [(str(tile), int(number)) for tile, number in row["members"]],
            row["kind"],
            row["cells"],
            row["sums"],
            row["span"],
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
