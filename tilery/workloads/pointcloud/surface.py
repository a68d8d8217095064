"""Ground heights of tiles on the cells of the terrain model: exact means, kept tile by tile, filled across tile borders."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tilery.outcomes import Incomplete
from tilery.store.port import Store
from tilery.workloads.pointcloud import terrain
from tilery.workloads.pointcloud.grid import VOID, TileGrid, TileIndex, Window

_HEADER = struct.Struct("<4sqqIII")
"""Magic, window, CRC-32 of the deflated heights."""
_MAGIC = b"TGH1"
KEPT = 64
"""Decoded tiles kept while neighbours are filled: 0.5 km2 at 1 m is 2 MB."""


@dataclass(frozen=True, slots=True)
class Heights:
    """Mean ground heights (int32 mm, `VOID` where there is no ground point) in the cells of a window; row 0 is the south."""

    window: Window
    mean_mm: NDArray[np.int32]


def in_cells(grid: TileGrid, tile: TileIndex, cell_mm: int) -> Window:
    """A tile's window in cells of another size, of which its side is a whole number."""
    core, side = grid.window(tile), grid.side * grid.cell_mm // cell_mm
    return Window(core.x0 * grid.cell_mm // cell_mm, core.y0 * grid.cell_mm // cell_mm, side, side)


def encode(heights: Heights) -> bytes:
    packed = zlib.compress(heights.mean_mm.astype("<i4").tobytes(), 1)
    window = heights.window
    return _HEADER.pack(_MAGIC, window.x0, window.y0, window.width, window.height, zlib.crc32(packed)) + packed


def decode(data: bytes, name: str) -> Heights:
    """The heights of these bytes. Raises `Incomplete` where they are damaged; `name` goes into the sentence."""
    if len(data) >= _HEADER.size and data[:4] == _MAGIC:
        _, x0, y0, width, height, crc = _HEADER.unpack_from(data)
        packed = data[_HEADER.size :]
        if zlib.crc32(packed) == crc:
            mean = np.frombuffer(zlib.decompress(packed), "<i4").reshape(height, width)
            return Heights(Window(x0, y0, width, height), mean)
    raise Incomplete(f"{name}: this intermediate object is damaged or cut off; redo the run from the stage process")


@dataclass(frozen=True, slots=True)
class Model:
    """The filled heights of the part of a tile where any are known (float32 m, `NODATA` where unknown), and how many of its
    cells hold a ground point."""

    window: Window
    heights: NDArray[np.float32]
    measured: int


def filled(store: Store, keys: Sequence[str], windows: Sequence[Window], reach: int) -> Iterator[Model]:
    """Every tile that holds ground, its voids filled from ground within `reach` cells, also across tile borders.

    `windows` are the tiles' windows, in the order of `keys`. A cell gets the same height as in one window of everything.
    """

    @lru_cache(maxsize=KEPT)
    def read(number: int) -> NDArray[np.int32]:
        return decode(store.get(keys[number]), keys[number]).mean_mm

    near = Neighbours(windows, reach)
    for number, window in enumerate(windows):
        wide = window.grow(reach)
        mean = np.full(wide.shape, VOID, np.int32)
        for other in near.of(number):
            part = windows[other].overlap(wide)
            mean[part.inside(wide)] = read(other)[part.inside(windows[other])]
        measured = int(np.count_nonzero(read(number) != VOID))
        if (box := known(mean, wide)) is not None and (part := window.overlap(box)).width and part.height:
            yield Model(part, terrain.filled_heights(mean[box.inside(wide)], box, part, reach), measured)


def known(mean_mm: NDArray[np.int32], window: Window) -> Window | None:
    """The smallest window that holds every known cell; beyond it nothing is filled, as filling is between known cells."""
    there = mean_mm != VOID
    rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
    if not len(rows):
        return None
    x0, y0 = int(columns[0]), int(rows[0])
    return Window(window.x0 + x0, window.y0 + y0, int(columns[-1]) - x0 + 1, int(rows[-1]) - y0 + 1)


class Neighbours:
    """Which tiles of equal size lie within `reach` cells of each other, without comparing all with all."""

    def __init__(self, windows: Sequence[Window], reach: int) -> None:
        self._windows = windows
        self._side = windows[0].width if windows else 1
        self._steps = -(-reach // self._side) if reach else 0
        self._at = {self._place(window): number for number, window in enumerate(windows)}

    def of(self, number: int) -> list[int]:
        """The tile itself and those near it."""
        column, row = self._place(self._windows[number])
        steps = range(-self._steps, self._steps + 1)
        places = ((column + dx, row + dy) for dy in steps for dx in steps)
        return [self._at[place] for place in places if place in self._at]

    def _place(self, window: Window) -> tuple[int, int]:
        return window.x0 // self._side, window.y0 // self._side
