"""What a tile leaves behind for the products: small rasters of its own cells, made from its points and their labels.

A layer is a window of the global grid in cells of the run's resolution, with one or more bands of integers, row 0 in the
south. Every value depends on the points of its own cell only, and on no order of them: the layers of two tilings are the same.
"""

from __future__ import annotations

import struct
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.outcomes import Incomplete
from tilery.store.port import Store
from tilery.workload import Work
from tilery.workloads.pointcloud import surface
from tilery.workloads.pointcloud.fragments import Fragment
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.grid import VOID, TileIndex, Window, bounds, tile_id
from tilery.workloads.pointcloud.gridding import (
    BUILDING,
    CLASSES,
    COLOUR,
    COUNT,
    DECIDED,
    GROUND,
    INTENSITY,
    OPEN,
    TOP,
    Undecided,
    decide,
    of_points,
)
from tilery.workloads.pointcloud.options import PointCloudOptions
from tilery.workloads.pointcloud.rasters import Sheet

NEEDED_BY = {
    GROUND: {"dtm", "hillshade", "chm", "contours", "footprints", "report"},
    TOP: {"dsm", "chm", "footprints"},
    COUNT: {"density", "tiles", "report"},
    INTENSITY: {"ortho"},
    COLOUR: {"ortho"},
    CLASSES: {"report"},
    BUILDING: {"footprints"},
}
"""The products that each layer is for."""
_TYPES = {GROUND: "i4", TOP: "i4", COUNT: "u4", INTENSITY: "u2", COLOUR: "u2", CLASSES: "u1", BUILDING: "u1"}
_BANDS = {COUNT: (2,), COLOUR: (3,), CLASSES: (3,)}
KEPT_BYTES = 128 << 20
"""Decoded layers kept while neighbours are read: 0.5 km2 at 1 m is 2 MB of heights."""
_HEADER = struct.Struct("<4s2sHqqIII")
"""Magic, type, bands, window, CRC-32 of the deflated values."""
_MAGIC = b"TLY1"


def wanted(products: Iterable[str]) -> frozenset[str]:
    """The layers that these products are made from."""
    asked = set(products)
    return frozenset(name for name, users in NEEDED_BY.items() if users & asked)


def write(
    work: Work[PointCloudOptions],
    tile: TileIndex,
    frame: Frame,
    points: Fragment,
    labels: NDArray[np.uint8],
    undecided: Undecided | None = None,
) -> dict[str, Any]:
    """Write the layers of a tile from the points that it owns (label not 0); returns where they are, as `place` does."""
    key = work.out("layers", tile_id(tile))
    window = surface.in_cells(frame.grid, tile, frame.resolution_mm)
    names, owned = wanted(work.options.products), labels != 0
    if names and owned.any():
        window = window.overlap(bounds(points.x[owned], points.y[owned], frame.resolution_mm))
        for name, values in of_points(points, labels, window, frame.resolution_mm, names, undecided).items():
            work.store.put(f"{key}/{name}", encode(window, values))
    return place(key, tile, frame)


def place(key: str, tile: TileIndex, frame: Frame) -> dict[str, Any]:
    """What the summary says of a tile: the key below which its layers are, and the window of cells that they cover."""
    return {"key": key, "window": astuple(surface.in_cells(frame.grid, tile, frame.resolution_mm))}


def encode(window: Window, values: NDArray[Any]) -> bytes:
    """The bytes of a layer: bytes of equal place together, deflated at the fastest level."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    packed = zlib.compress(little.view(np.uint8).reshape(-1, little.itemsize).T.tobytes(), 1)
    kind = f"{little.dtype.kind}{little.itemsize}".encode()
    bands = values.shape[0] if values.ndim == 3 else 0
    header = (window.x0, window.y0, values.shape[-1], values.shape[-2])
    return _HEADER.pack(_MAGIC, kind, bands, *header, zlib.crc32(packed)) + packed


def decode(data: bytes, name: str) -> tuple[Window, NDArray[Any]]:
    """The layer of these bytes. Raises `Incomplete` where they are damaged; `name` goes into the sentence."""
    if len(data) >= _HEADER.size and data[:4] == _MAGIC:
        _, kind, bands, x0, y0, width, height, crc = _HEADER.unpack_from(data)
        packed = data[_HEADER.size :]
        if zlib.crc32(packed) == crc:
            dtype = np.dtype("<" + kind.decode())
            planes = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(dtype.itemsize, -1)
            shape = (bands, height, width) if bands else (height, width)
            return Window(x0, y0, width, height), np.ascontiguousarray(planes.T).view(dtype).reshape(shape)
    raise Incomplete(f"{name}: this intermediate object is damaged or cut off; redo the run from the stage process")


class Layers:
    """The layers of all tiles of a run within its extent, read one by one; the last few stay in memory."""

    def __init__(
        self,
        store: Store,
        tiles: Sequence[dict[str, Any]],
        extent: Window,
        refused: Mapping[str, Sequence[int]] | None = None,
        missing: Sequence[Window] = (),
    ) -> None:
        """`tiles` as `place` gives them; `refused`: by tile id, what became of regions (deciding.py); `missing`: the
        windows of tiles that are holes of a PARTIAL product."""
        self._missing = missing
        self._store, self._refused = store, refused or {}
        places = sorted(
            ((str(tile["key"]), Window(*tile["window"])) for tile in tiles), key=lambda place: (place[1].y0, place[1].x0)
        )
        self._keys = [key for key, _ in places]
        self._near = surface.Neighbours([window for _, window in places])
        self.windows = [window.overlap(extent) for _, window in places]
        """The cells of each tile that lie in the extent."""
        self._kept: OrderedDict[str, NDArray[Any]] = OrderedDict()

    def read(self, name: str, number: int) -> NDArray[Any]:
        """The values of a layer in the window of the tile with this number."""
        key = f"{self._keys[number]}/{name}"
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        self._kept[key] = values = self._read(key, name, self._keys[number], self.windows[number])
        while len(self._kept) > 1 and sum(one.nbytes for one in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return values

    def _read(self, key: str, name: str, tile: str, wanted: Window) -> NDArray[Any]:
        window, values = decode(self._store.get(key), key)
        refused = self._refused.get(tile.rsplit("/", 1)[-1], ())
        if name in DECIDED and refused and self._store.head(f"{tile}/{OPEN}") is not None:
            values = decide(values, name, decode(self._store.get(f"{tile}/{OPEN}"), f"{tile}/{OPEN}")[1], refused)
        if window == wanted:
            return values
        whole = np.full((*values.shape[:-2], *wanted.shape), VOID if name in (GROUND, TOP) else 0, values.dtype)
        part = window.overlap(wanted)
        whole[(..., *part.inside(wanted))] = values[(..., *part.inside(window))]
        return whole

    def each(self, name: str) -> Iterator[tuple[Window, NDArray[Any]]]:
        """Window and values of a layer, tile by tile."""
        for number, window in enumerate(self.windows):
            yield window, self.read(name, number)

    def window(self, name: str, window: Window) -> NDArray[Any]:
        """The values of a layer in any window of cells; `VOID` (heights) or 0 where there is no tile."""
        values = np.full((*_BANDS.get(name, ()), *window.shape), VOID if name in (GROUND, TOP) else 0, _TYPES[name])
        for number in self._near.touching(window):
            part = self.windows[number].overlap(window)
            if part.width and part.height:
                values[(..., *part.inside(window))] = self.read(name, number)[(..., *part.inside(self.windows[number]))]
        return values

    def blocks(self, sheet: Sheet, around: int = 0) -> Iterator[Window]:
        """The blocks of a sheet that have a tile within so many cells: nothing is known in others."""
        return (window for window in sheet.blocks() if self._near.touching(window.grow(around)))

    def hole(self, window: Window) -> NDArray[np.bool_]:
        """Which cells of a window lie in a missing tile."""
        cells = np.zeros(window.shape, bool)
        for missing in self._missing:
            part = missing.overlap(window)
            if part.width and part.height:
                cells[part.inside(window)] = True
        return cells
