"""What a tile leaves behind for the products: small rasters of its own cells, made from its points and their labels.

A layer is a window of the global grid in cells of the run's resolution, with one or more bands of integers, row 0 in the
south. Every value depends on the points of its own cell only, and on no order of them: the layers of two tilings are the same.
"""

from __future__ import annotations

import struct
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
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
from tilery.workloads.pointcloud.options import PointCloudOptions

GROUND, TOP, COUNT, INTENSITY = "ground", "top", "count", "intensity"
COLOUR, CLASSES, BUILDING, OPEN = "colour", "classes", "building", "open"
"""GROUND, TOP: int32 mm, `VOID` where unknown: the mean of the ground points, the highest first return.
COUNT: uint32, points and ground points.
CLASSES: uint8, of the highest point (0 where there is none) class, class of the input, and class where its region is refused.
INTENSITY, COLOUR: uint16, of the highest point and one more than it is (65535 is kept at 65535), 0 where there is none.
BUILDING: uint8, 1 where at least half of the points are building.
OPEN: rows of int32 for what depends on regions that the tile could not decide (see `_undecided_rows`)."""
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
BUILDING_CLASS = 6
_NOISE = (7, 18)
_NOTHING = np.int64(np.iinfo(np.int64).min)
_HEADER = struct.Struct("<4s2sHqqIII")
"""Magic, type, bands, window, CRC-32 of the deflated values."""
_MAGIC = b"TLY1"


def wanted(products: Iterable[str]) -> frozenset[str]:
    """The layers that these products are made from."""
    asked = set(products)
    return frozenset(name for name, users in NEEDED_BY.items() if users & asked)


@dataclass(frozen=True, slots=True)
class Undecided:
    """What the class of each point of a tile is if its region is refused, and the region's number (0: the class is final)."""

    otherwise: NDArray[np.uint8]
    numbers: NDArray[np.int32]


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


def of_points(
    points: Fragment,
    labels: NDArray[np.uint8],
    window: Window,
    cell_mm: int,
    names: frozenset[str],
    undecided: Undecided | None = None,
) -> dict[str, NDArray[Any]]:
    """The layers of these names: (height, width) or (bands, height, width), from the points with a label; and `OPEN`."""
    size = window.width * window.height
    owned = np.flatnonzero(labels)
    label = labels[owned]
    otherwise = label if undecided is None else undecided.otherwise[owned]
    number = np.zeros(len(owned), np.int32) if undecided is None else undecided.numbers[owned]
    cell = window.cell_of(points.x[owned], points.y[owned], cell_mm)
    made: dict[str, NDArray[Any]] = {}
    is_ground = label == 2
    if GROUND in names:
        made[GROUND] = _means(cell[is_ground], points.z[owned[is_ground]], size)
    if COUNT in names:
        counts = [np.bincount(cell, minlength=size), np.bincount(cell[is_ground], minlength=size)]
        made[COUNT] = np.stack(counts).astype(np.uint32)
    if BUILDING in names:
        part, all_ = np.bincount(cell[label == BUILDING_CLASS], minlength=size), np.bincount(cell, minlength=size)
        made[BUILDING] = _mostly(part, all_).astype(np.uint8)
    regions = np.zeros(size, np.int32)
    if names & {TOP, INTENSITY, COLOUR, CLASSES}:
        found = _highest(points, owned, label, cell, size)
        made |= {name: layer for name, layer in found.items() if name in names}
        if CLASSES in names and number.any():
            on_top = (number > 0) & (points.z[owned] == found[TOP][cell])
            np.maximum.at(regions, cell[on_top], number[on_top])
            made[CLASSES][2, cell[on_top]] = 255
            np.minimum.at(made[CLASSES][2], cell[on_top], otherwise[on_top])
    layers = {name: layer.reshape(*layer.shape[:-1], *window.shape) for name, layer in made.items()}
    if names & {CLASSES, BUILDING} and number.any():
        layers[OPEN] = _undecided_rows(cell, label, otherwise, number, regions)
    return layers


def _mostly(part: NDArray[Any], all_: NDArray[Any]) -> NDArray[np.bool_]:
    """Where at least half of all are of the part, which is not nothing."""
    mostly: NDArray[np.bool_] = (part > 0) & (2 * part >= all_)
    return mostly


def _undecided_rows(
    cell: NDArray[Any], label: NDArray[np.uint8], otherwise: NDArray[np.uint8], number: NDArray[np.int32], regions: NDArray[Any]
) -> NDArray[np.int32]:
    """A row for every region that has points in a cell: region, cell, whether the cell's highest point is of it, how many
    building points it adds to the cell if it is accepted and if it is refused, the cell's other building points, and all.
    """
    span = int(number.max()) + 1
    pairs, which = np.unique(cell[number > 0] * span + number[number > 0], return_inverse=True)
    cells, numbers = pairs // span, pairs % span
    accepted, refused = (
        np.bincount(which[kind[number > 0] == BUILDING_CLASS], minlength=len(pairs)) for kind in (label, otherwise)
    )
    sure = np.bincount(cell[(number == 0) & (label == BUILDING_CLASS)], minlength=len(regions))[cells]
    columns = [numbers, cells, regions[cells] == numbers, accepted, refused, sure, np.bincount(cell)[cells]]
    return np.stack(columns, axis=1).astype(np.int32)


def decide(values: NDArray[Any], name: str, rows: NDArray[np.int32], refused: Sequence[int]) -> NDArray[Any]:
    """A layer (`BUILDING` or `CLASSES`) as it is when the regions of these numbers are refused and all others accepted."""
    final = values.copy()
    flat = final.reshape(*values.shape[:-2], -1)
    no = np.isin(rows[:, 0], refused)
    if name == CLASSES:
        changed = rows[no & (rows[:, 2] == 1), 1]
        flat[0, changed] = flat[2, changed]
        return final
    cells, first = np.unique(rows[:, 1], return_index=True)
    adds = np.bincount(np.searchsorted(cells, rows[:, 1]), weights=np.where(no, rows[:, 4], rows[:, 3])).astype(np.int64)
    flat[cells] = _mostly(rows[first, 5] + adds, rows[first, 6])
    return final


def _means(cell: NDArray[Any], z: NDArray[np.int32], size: int) -> NDArray[np.int32]:
    """Per cell the mean (int32 mm, rounded) of its points, `VOID` where there is none.

    Exact, so that the order of the points does not matter: sums of whole millimetres stay below 2^53 in float64.
    """
    count = np.bincount(cell, minlength=size)
    total = np.bincount(cell, weights=z, minlength=size).astype(np.int64)
    return np.where(count > 0, (2 * total + count) // np.maximum(2 * count, 1), VOID).astype(np.int32)


def _highest(
    points: Fragment, owned: NDArray[Any], label: NDArray[np.uint8], cell: NDArray[Any], size: int
) -> dict[str, NDArray[Any]]:
    """What the highest point of each cell tells: of the first returns, or where a cell has none, of all. Noise does not count.

    Height and attributes are one number, so that the highest of equal heights is the same in any order. Colour, too large for
    it, is the largest among the points at the top.
    """
    z = points.z[owned].astype(np.int64)
    key = (z << 32) | (label.astype(np.int64) << 8) | points.source[owned]
    if points.intensity is not None:
        key |= points.intensity[owned].astype(np.int64) << 16
    real = ~np.isin(label, _NOISE)
    first = np.flatnonzero(real & ((points.returns[owned] & np.uint8(15)) <= 1))
    top = np.full(size, _NOTHING)
    np.maximum.at(top, cell[first], key[first])
    later = np.flatnonzero(real & (top[cell] == _NOTHING))
    np.maximum.at(top, cell[later], key[later])
    there = top != _NOTHING
    found: dict[str, NDArray[Any]] = {
        TOP: np.where(there, top >> 32, VOID).astype(np.int32),
        CLASSES: np.where(there, [(top >> 8) & 255, top & 255, (top >> 8) & 255], 0).astype(np.uint8),
    }
    if points.intensity is not None:
        found[INTENSITY] = np.where(there, _one_more((top >> 16) & 0xFFFF), 0).astype(np.uint16)
    if points.rgb is not None:
        at_top = np.concatenate([first, later])
        at_top = at_top[z[at_top] == (top >> 32)[cell[at_top]]]
        bands = points.rgb[owned[at_top]].astype(np.int64)
        best = np.zeros(size, np.int64)
        np.maximum.at(best, cell[at_top], (bands[:, 0] << 32) | (bands[:, 1] << 16) | bands[:, 2])
        split = np.stack([best >> 32, (best >> 16) & 0xFFFF, best & 0xFFFF])
        found[COLOUR] = np.where(there, _one_more(split), 0).astype(np.uint16)
    return found


def _one_more(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.minimum(values, 65534) + 1


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
        """`tiles` as `place` gives them; `refused`: by tile id, the numbers of the regions that are refused; `missing`: the
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
        if name in (BUILDING, CLASSES) and refused and self._store.head(f"{tile}/{OPEN}") is not None:
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

    def hole(self, window: Window) -> NDArray[np.bool_]:
        """Which cells of a window lie in a missing tile."""
        cells = np.zeros(window.shape, bool)
        for missing in self._missing:
            part = missing.overlap(window)
            if part.width and part.height:
                cells[part.inside(window)] = True
        return cells
