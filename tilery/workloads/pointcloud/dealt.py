"""All points of a drop dealt to the tiles that own them, and what a tile sees of them beyond its edges.

Ground is told from far away, by the lowest point of each cell; all else looks a few cells around itself. So a tile takes the
points of those few cells, and of the rest of its halo lowest heights only, which every tile has from its own points once.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.pointcloud.compiled import kernels_for
from tilery.workloads.pointcloud.grid import VOID, TileGrid, TileIndex, Window, lowest

KEPT_BYTES = 64 << 20
"""Lowest heights of tiles kept for their neighbours: 0.5 km2 at 1 m are 2 MB."""
Members = NDArray[np.integer[Any]]


class Dealt:
    """The points (int32 mm) of a drop by the tiles of a grid; numbers of points are as long as `x`."""

    def __init__(self, grid: TileGrid, x: NDArray[np.int32], y: NDArray[np.int32], z: NDArray[np.int32]) -> None:
        self._grid, self._x, self._y, self._z = grid, x, y, z
        self._owned = dict(grid.owned(x, y))
        self._edges: dict[tuple[TileIndex, int], Members] = {}
        self._lowest: OrderedDict[TileIndex, NDArray[np.int32]] = OrderedDict()
        self.tiles = sorted(self._owned)
        """Those that own a point."""

    def owned(self, tile: TileIndex) -> Members:
        """The points of a tile."""
        return self._owned[tile]

    def members(self, tile: TileIndex, halo: int) -> Members:
        """The points of a tile and of `halo` cells around it, its own first."""
        around = self._grid.window(tile).grow(halo)
        near = [self._picked(self._edge(other, halo), around) for other in self._beside(tile, halo)]
        return np.concatenate([self._owned[tile], *near])

    def blocks(self, cells: int) -> list[list[TileIndex]]:
        """Tiles in blocks of neighbours, each of so many cells at most or of one tile: what is around it is looked at once."""
        (west, south), (east, north) = ([bound(axis) for axis in zip(*self.tiles, strict=True)] for bound in (min, max))
        most = max(1, cells // self._grid.side**2)
        across = min(east - west + 1, max(math.isqrt(most), most // (north - south + 1)))
        up = max(1, most // across)
        found: dict[TileIndex, list[TileIndex]] = {}
        for tile in self.tiles:
            found.setdefault(((tile[0] - west) // across, (tile[1] - south) // up), []).append(tile)
        return list(found.values())

    def around(self, tiles: list[TileIndex]) -> Window:
        """The window of a block of tiles."""
        windows = [self._grid.window(tile) for tile in tiles]
        x0, y0 = min(window.x0 for window in windows), min(window.y0 for window in windows)
        side = self._grid.side
        return Window(x0, y0, max(w.x0 for w in windows) + side - x0, max(w.y0 for w in windows) + side - y0)

    def lowest(self, window: Window) -> NDArray[np.int32]:
        """The lowest height (int32 mm, `VOID` where no point is) of each cell of a window."""
        heights = np.full(window.shape, VOID, np.int32)
        columns, rows = (
            range((start - origin) // self._grid.side, (start - origin + size - 1) // self._grid.side + 1)
            for start, size, origin in zip((window.x0, window.y0), window.shape[::-1], self._grid.origin, strict=True)
        )
        for tile in ((column, row) for column in columns for row in rows):
            if tile in self._owned:
                there = self._grid.window(tile)
                part = there.overlap(window)
                heights[part.inside(window)] = self._lowest_of(tile)[part.inside(there)]
        return heights

    def _beside(self, tile: TileIndex, halo: int) -> list[TileIndex]:
        """The other tiles with points that may have some within so many cells."""
        reach = -(-halo // self._grid.side)
        steps = range(-reach, reach + 1)
        beside = ((tile[0] + dx, tile[1] + dy) for dx in steps for dy in steps if dx or dy)
        return [other for other in beside if other in self._owned]

    def _edge(self, tile: TileIndex, cells: int) -> Members:
        """The points of a tile that others may see from so many cells away: few, and looked at by each of them."""
        if (tile, cells) not in self._edges:
            self._edges[tile, cells] = self._picked(self._owned[tile], self._grid.window(tile).grow(-cells), inside=False)
        return self._edges[tile, cells]

    def _picked(self, members: Members, window: Window, inside: bool = True) -> Members:
        """Those of some points that lie inside of a window, or those that lie outside."""
        x, y, cell_mm = self._x, self._y, self._grid.cell_mm
        kernels = kernels_for(x, y, members) if members.dtype == np.int32 else None
        if kernels is None:
            chosen: Members = members[window.contains(x[members], y[members], cell_mm) == inside]
            return chosen
        picked = np.empty(len(members), np.int32)
        count = kernels.pick(x, y, members, np.array(window.edges(cell_mm), np.int64), inside, picked)
        return picked[:count].copy()

    def _lowest_of(self, tile: TileIndex) -> NDArray[np.int32]:
        """The lowest heights of a tile's own cells."""
        if tile not in self._lowest:
            self._lowest[tile] = self._made(tile)
            while len(self._lowest) > 1 and sum(one.nbytes for one in self._lowest.values()) > KEPT_BYTES:
                self._lowest.popitem(last=False)
        self._lowest.move_to_end(tile)
        return self._lowest[tile]

    def _made(self, tile: TileIndex) -> NDArray[np.int32]:
        window, members, cell_mm = self._grid.window(tile), self._owned[tile], self._grid.cell_mm
        kernels = kernels_for(self._x, self._y, self._z, members) if members.dtype == np.int32 else None
        if kernels is not None:
            heights = np.full(window.shape, VOID, np.int32)
            west, south, _, _ = window.edges(cell_mm)
            kernels.lower_some(self._x, self._y, self._z, members, west, south, cell_mm, heights)
            return heights
        cell = window.cell_of(self._x[members].astype(np.int64), self._y[members].astype(np.int64), cell_mm)
        found: NDArray[np.int32] = lowest(cell, self._z[members], window.width * window.height).reshape(window.shape)
        return found
