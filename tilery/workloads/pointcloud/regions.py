"""Regions of cells that cross tiles: found tile by tile, united exactly in the merge, decided once.

A tile labels the connected regions (by edge or corner) of its core and of `RING` cells around it, and counts each over the
cells of its core only. Cells near a border are seen by several tiles, and regions that share such a cell are one. A region
without open cells, that is, whose border cells have been told by every tile that sees them, cannot grow any more and is
decided; so a merge hands on only what touches the outline of what it has merged. The result depends neither on the order nor
on the grouping of merges, as counts add up and regions unite in any order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workload import Item, Work
from tilery.workloads.pointcloud import deciding, statistics
from tilery.workloads.pointcloud.array_module import to_host
from tilery.workloads.pointcloud.bridges import BRIDGE, is_bridge
from tilery.workloads.pointcloud.candidates import CLASS, HOUSE, WATER, WIDE, Candidates
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.grid import TileGrid, Window
from tilery.workloads.pointcloud.objects import RING, Found
from tilery.workloads.pointcloud.options import ObjectOptions, PointCloudOptions
from tilery.workloads.pointcloud.water import is_water
from tilery.workloads.pointcloud.wide_roofs import is_wide_roof

Refused = dict[str, list[int]]
"""Tile -> what became of the regions in it that are not what they might have been, or are what their points are not labelled
as, by the tile's own numbers (deciding.py)."""
EVERY = 16
"""Of a run of cells along the border of a tile, one in so many is told of, and its first."""


@dataclass
class Region:
    """A region as far as it is known."""

    members: list[tuple[str, int]]
    """(tile, number in the tile) of points that get their other label if it is refused."""
    kind: str = HOUSE
    """What it may be."""
    claims: list[tuple[str, int]] = field(default_factory=list)
    """The same of points that have hope of another region's class, and get this one's if it is accepted."""
    cells: int = 0
    sums: dict[str, int] = field(default_factory=dict)
    """What else is added up over its cells."""
    span: list[int] = field(default_factory=list)
    """The least and the greatest value of its cells, if they have one, and how far these may be apart."""
    points: dict[str, int] = field(default_factory=dict)
    """Its members' points, as "from>to": the class of the input, and the one that they get if it is refused."""
    claimed: dict[str, int] = field(default_factory=dict)
    """The points that it claims, in the same way; the other region counts them as its own, which must be refused if this one
    is not."""
    open: dict[tuple[int, int], int] = field(default_factory=dict)
    """Cells that further tiles may tell of -> how many have told."""

    @property
    def hopeless(self) -> bool:
        """Whether it is refused, whatever else belongs to it."""
        return bool(self.span) and self.span[1] - self.span[0] > self.span[2]

    def outcome(self, options: ObjectOptions, cell_mm: int) -> int:
        """The class of its points; 0 if it is not what it might be."""
        if self.kind == HOUSE and is_bridge(self.sums, options, cell_mm):
            return BRIDGE
        return CLASS[self.kind] if not self.hopeless and self._accepted(options, cell_mm) else 0

    def _accepted(self, options: ObjectOptions, cell_mm: int) -> bool:
        if self.kind == WATER:
            return is_water(self.cells, self.sums, options, cell_mm)
        if self.kind == WIDE:
            return is_wide_roof(self.cells, self.sums, options, cell_mm)
        return self.cells * cell_mm * cell_mm >= options.area_m2 * 1_000_000 and self.sums["inner"] >= options.inner_cells

    def unite(self, other: Region) -> None:
        """Take another part of the same region in."""
        self.kind = other.kind
        self.members += other.members
        self.claims += other.claims
        self.cells += other.cells
        _add(self.sums, other.sums)
        _add(self.points, other.points)
        _add(self.claimed, other.claimed)
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
    cell, also, otherwise = (to_host(column) for column in (found.cell, found.also, found.otherwise))
    numbers = np.zeros(len(cell), np.int32)
    if not found.candidates:
        return TileRegions(numbers, {}, [], found.window)
    regions: dict[int, Region] = {}
    rasters = []
    for candidates in found.candidates:
        first = len(regions)
        rasters.append(np.where(candidates.numbers > 0, candidates.numbers + first, 0))
        for number, region in _counted(candidates, found.window, core).items():
            sure = candidates.refused is not None and candidates.refused[number]
            region.members = [] if sure else [(tile, first + number)]
            regions[first + number] = region
    flat = np.concatenate([raster.ravel() for raster in rasters])
    taking = np.flatnonzero(cell >= 0)
    numbers[taking] = flat[cell[taking]]
    for number, change, count in _changes(numbers[taking], source[taking], otherwise[taking]):
        regions[number].points[change] = count
    both = np.flatnonzero(also >= 0)
    pairs, of = _combined(numbers[both], flat[also[both]])
    for pair, (one, other) in enumerate(pairs, len(regions) + 1):
        regions[one].members.append((tile, pair))
        regions[other].claims.append((tile, pair))
    numbers[both] = of + (len(regions) + 1)
    for pair, change, count in _changes(of, source[both], otherwise[both]):
        claimed = regions[pairs[pair][1]].claimed
        claimed[change] = claimed.get(change, 0) + count
    edge = _border(found.window, core)
    for raster in rasters:
        rows, columns = np.nonzero(edge & (raster > 0))
        told = _told(raster > 0, rows, columns, found.window, core)
        rows, columns = rows[told], columns[told]
        x, y = (columns + found.window.x0).tolist(), (rows + found.window.y0).tolist()
        for east, north, number in zip(x, y, raster[rows, columns].tolist(), strict=True):
            regions[number].open[east, north] = 1
    kept = {number: region for number, region in regions.items() if region.members or region.open}
    return TileRegions(numbers, kept, rasters, found.window)


def _changes(numbers: NDArray[Any], source: NDArray[np.uint8], otherwise: NDArray[np.uint8]) -> Iterator[tuple[int, str, int]]:
    """Number, "from>to" (as in `Region.points`) and how many points."""
    kinds, kind = _combined(source, otherwise)
    pairs, of = _combined(numbers, kind)
    for (number, change), points in zip(pairs, np.bincount(of).tolist(), strict=True):
        yield number, "{}>{}".format(*kinds[change]), points


def _combined(one: NDArray[Any], other: NDArray[Any]) -> tuple[list[tuple[int, int]], NDArray[np.int64]]:
    """The pairs that two columns of small whole numbers (0 or more) make, in order, and which of them each row has; no row is
    sorted."""
    ones, others = (np.flatnonzero(np.bincount(column)) for column in (one, other))
    ranks = []
    for column, found in ((one, ones), (other, others)):
        rank = np.zeros(int(found[-1]) + 1 if len(found) else 0, np.int64)
        rank[found] = np.arange(len(found))
        ranks.append(rank[column])
    key = ranks[0] * len(others) + ranks[1]
    there = np.flatnonzero(np.bincount(key))
    place = np.zeros(int(there[-1]) + 1 if len(there) else 0, np.int64)
    place[there] = np.arange(len(there))
    pairs = [(int(ones[code // len(others)]), int(others[code % len(others)])) for code in there.tolist()]
    return pairs, place[key]


def _border(window: Window, core: Window) -> NDArray[np.bool_]:
    """Cells that other tiles see as well."""
    border = np.ones(window.shape, bool)
    middle = core.grow(-RING).overlap(window)
    if middle.width and middle.height:
        border[middle.inside(window)] = False
    return border


def _told(
    there: NDArray[np.bool_], rows: NDArray[np.int64], columns: NDArray[np.int64], window: Window, core: Window
) -> NDArray[np.bool_]:
    """Which of these cells of regions on the border are told of: enough for tiles to know which of their regions are one.

    All tiles choose alike, as both sides of an edge see the same cells along it: those beside which there is none in the row
    (or column) before, and one row in `EVERY`. Near the corners all are told of.
    """
    wide = np.pad(there, 1)  # what lies beyond the window is in no region
    y, x = rows + window.y0, columns + window.x0
    sides = (core.x0, core.x0 + core.width), (core.y0, core.y0 + core.height)
    near_x, near_y = (
        [(at >= edge - RING) & (at < edge + RING) for edge in edges] for at, edges in zip((x, y), sides, strict=True)
    )
    told = (near_x[0] | near_x[1]) & (near_y[0] | near_y[1])
    told |= np.where(near_x[0] | near_x[1], y, x) % EVERY == 0
    across = (sides[0], near_x, wide, window.x0, x, rows), (sides[1], near_y, wide.T, window.y0, y, columns)
    for edges, nears, cells, start, place, along in across:
        for edge, near in zip(edges, nears, strict=True):
            before = np.zeros(len(along), bool)
            for aside in (-1, 0, 1):
                shared = (place + aside >= edge - RING) & (place + aside < edge + RING)
                before |= shared & cells[along, np.clip(place + aside - start + 1, 0, cells.shape[1] - 1)]
            told |= near & ~before
    return told


def _counted(candidates: Candidates, window: Window, core: Window) -> dict[int, Region]:
    """What the cells of the core say of each region."""
    totals = candidates.totals(core.overlap(window).inside(window))
    cells = totals.pop("cells")
    regions = {}
    for number in range(1, candidates.count + 1):
        sums = {name: values[number] for name, values in totals.items()}
        regions[number] = region = Region([], candidates.kind, cells=cells[number], sums=sums)
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

    at: dict[tuple[int, int, str], int] = {}
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
    """Of the points that they count as their own."""
    won: Refused
    """Of those that they won."""
    statistics: dict[str, Any]
    """Their points by class, as `statistics.merged` takes them."""
    claimed: dict[str, Any]
    """The same of points that they won: what must be added to how other regions, or tiles, count them."""


def decided(regions: Iterable[Region], options: ObjectOptions, cell_mm: int) -> Decided:
    refused: Refused = {}
    won: Refused = {}
    own, claimed = statistics.merged([]), statistics.merged([])
    for region in regions:
        kind = region.outcome(options, cell_mm)
        for change, points in region.points.items():
            _count(own, change, str(kind) if kind else change.split(">")[1], points)
        for tile, number in region.members if kind != CLASS[region.kind] else ():
            refused.setdefault(tile, []).append(deciding.of_class(number, kind) if kind else number)
        if kind:
            for change, points in region.claimed.items():
                _count(claimed, change, str(kind), points)
                _count(claimed, change, change.split(">")[1], -points)
            for tile, number in region.claims:
                won.setdefault(tile, []).append(deciding.of_class(number, kind))
    return Decided(refused, won, own, claimed)


def _count(total: dict[str, Any], change: str, to: str, points: int) -> None:
    for kind, name in (("classes", to), ("was", f"{change.split('>')[0]}>{to}")):
        total[kind][name] = total[kind].get(name, 0) + points


def encode(regions: Iterable[Region]) -> bytes:
    """Incomplete regions as JSON, in an order of their own."""
    rows = [
        {
            "members": sorted(region.members),
            "kind": region.kind,
            "claims": sorted(region.claims),
            "cells": region.cells,
            "sums": dict(sorted(region.sums.items())),
            "span": region.span,
            "points": dict(sorted(region.points.items())),
            "claimed": dict(sorted(region.claimed.items())),
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
            [(str(tile), int(number)) for tile, number in row["claims"]],
            row["cells"],
            row["sums"],
            row["span"],
            row["points"],
            row["claimed"],
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
    counts = statistics.merged([*parts, done.statistics, done.claimed])
    return Merged(counts, joined([done.refused, done.won]), rest)


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
