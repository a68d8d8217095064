"""The bytes that the shuffle between shards and tiles moves: points of one shard for one tile, and their labels back.

A fragment is a header and its columns, split in bytes of equal place, each of which is packed as pays (`_packed`): positions
relative to the fragment's own corner (int32 mm), return number and count in one byte, the class that the input gave (uint8),
index within the shard (uint32, ascending), and, where something needs them and the file has them, intensity and colour
(uint16).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tilery.outcomes import Incomplete
from tilery.workloads.pointcloud import deciding

_HEADER = struct.Struct("<4sIIBqqq")
"""Magic, shard, points, which of the optional columns there are, corner x, y, z (mm)."""
_MAGIC = b"TFR3"
_INTENSITY, _RGB = 1, 2
_LABELS_HEADER = struct.Struct("<4sIII")
"""Magic, shard, points, how many of them depend on a region."""
_LABELS_MAGIC = b"TLB3"
_CRC = struct.Struct("<I")
"""Of the header and all that follows."""
_PLANE = struct.Struct("<BI")
"""How the bytes of one place are packed, and how many follow."""
_CONSTANT, _PLAIN, _DEFLATED = range(3)
Bytes = bytes | memoryview
_SAMPLE, _NOISE = 4096, 100
"""Of so many bytes, if they are as often alike as if there were more than this number of values, nothing is gained by packing
them."""


COLUMNS = ("x", "y", "z", "returns", "index", "source", "intensity", "rgb")
"""All columns of a fragment."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """Points of one shard: all columns of equal length."""

    shard: int
    x: npt.NDArray[np.int64]
    """Millimetres, as y and z."""
    y: npt.NDArray[np.int64]
    z: npt.NDArray[np.int32]
    returns: npt.NDArray[np.uint8]
    """Return number in the low four bits, number of returns in the high four."""
    index: npt.NDArray[np.uint32]
    """Place of each point within its shard; empty where nothing asks for it (the whole lane)."""
    source: npt.NDArray[np.uint8]
    """The class that the input gave."""
    intensity: npt.NDArray[np.uint16] | None = None
    """None where nothing needs it."""
    rgb: npt.NDArray[np.uint16] | None = None
    """Shape (n, 3); None where nothing needs it or no file has it. Black where only this point's file has none."""

    def __len__(self) -> int:
        return len(self.z)

    def take(self, members: npt.NDArray[Any], named: Iterable[str] = COLUMNS) -> Fragment:
        """Some of the points, in the order of `members`; columns that are not named stay as they are."""
        columns: dict[str, Any] = {name: _taken(getattr(self, name), members) for name in named}
        return replace(self, **columns)


def _taken(column: npt.NDArray[Any] | None, members: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    # `take` moves the rows of a table several times as fast as an index does.
    return column if column is None or not len(column) else np.take(column, members, axis=0)


def pack_returns(number: npt.NDArray[Any], count: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return number and number of returns (0 to 15 each) in one byte."""
    low, high = number.astype(np.uint8), count.astype(np.uint8)
    return (low & np.uint8(15)) | ((high & np.uint8(15)) << np.uint8(4))


def of_several(returns: npt.NDArray[np.uint8]) -> int:
    """How many of these packed returns are of a pulse that has several."""
    return int(np.count_nonzero(returns >= 2 << 4))


def encode(fragment: Fragment) -> bytes:
    """Raises `ValueError` where columns differ in length or spread over more than int32 mm (2,147 km)."""
    count = len(fragment)
    columns = [column for name in COLUMNS if (column := getattr(fragment, name)) is not None]
    if any(len(column) != count for column in columns):
        raise ValueError("the columns of a fragment must have the same length")
    places: tuple[npt.NDArray[Any], ...] = (fragment.x, fragment.y, fragment.z)
    corner = [int(column.min()) if count else 0 for column in places]
    body: list[Bytes] = []
    for column, start in zip(places, corner, strict=True):
        if count and int(column.max()) - start > np.iinfo(np.int32).max:
            raise ValueError("a fragment spreads over more than 2,147 km")
        body += _packed(np.subtract(column, start, dtype=np.int64).astype("<i4"))
    steps = np.diff(fragment.index.astype(np.uint32), prepend=np.uint32(0)).astype("<u4")
    body += [*_packed(fragment.returns.astype(np.uint8)), *_packed(steps), *_packed(fragment.source.astype(np.uint8))]
    there = 0
    if fragment.intensity is not None:
        there |= _INTENSITY
        body += _packed(fragment.intensity.astype("<u2"))
    if fragment.rgb is not None:
        there |= _RGB
        body += _packed(fragment.rgb.astype("<u2"))
    return _sealed(_HEADER.pack(_MAGIC, fragment.shard, count, there, *corner), body)


def decode(data: bytes, name: str) -> Fragment:
    """The fragment of these bytes; `name` (its key) goes into the error. Raises `Incomplete` where the bytes are damaged."""
    if len(data) < _HEADER.size or data[:4] != _MAGIC:
        raise _damaged(name)
    _, shard, count, there, x0, y0, z0 = _HEADER.unpack_from(data)
    planes = _Planes(data, _HEADER.size, count, name)
    x, y, z = (planes.column("<u4") for _ in range(3))
    returns, steps, source = (planes.column(kind) for kind in ("u1", "<u4", "u1"))
    intensity = planes.column("<u2") if there & _INTENSITY else None
    rgb = planes.table("<u2", 3) if there & _RGB else None
    planes.end()
    return Fragment(
        shard,
        np.add(x, x0, dtype=np.int64),
        np.add(y, y0, dtype=np.int64),
        np.add(z, z0, dtype=np.int64).astype(np.int32),
        returns,
        np.cumsum(steps, dtype=np.uint32),
        source,
        intensity,
        rgb,
    )


def join(fragments: Iterable[Fragment]) -> tuple[Fragment, npt.NDArray[np.int64]]:
    """All points of several fragments (of the first one's shard), and where each fragment starts, plus the end.

    An optional column that only some of them have is 0 for the points of the others.
    """
    parts = list(fragments)
    if not parts:
        raise ValueError("nothing to join")
    starts = np.cumsum([0, *(len(part) for part in parts)])
    return Fragment(parts[0].shard, **{name: _joined(parts, name) for name in COLUMNS}), starts


def _joined(parts: list[Fragment], name: str) -> Any:
    columns = [getattr(part, name) for part in parts]
    example = next((column for column in columns if column is not None), None)
    if example is None:
        return None
    empty = [
        np.zeros((len(part), *example.shape[1:]), example.dtype) if column is None else column
        for part, column in zip(parts, columns, strict=True)
    ]
    return empty[0] if len(empty) == 1 else np.concatenate(empty)


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of some points of a shard."""

    shard: int
    index: npt.NDArray[np.uint32]
    """Place of each point within its shard, ascending."""
    label: npt.NDArray[np.uint8]
    number: npt.NDArray[np.uint32]
    """The region of the tile that decides the label; 0 where nothing does."""
    otherwise: npt.NDArray[np.uint8]
    """The label if that region is refused."""

    def final(self, refused: Collection[int]) -> npt.NDArray[np.uint8]:
        """The labels, once it is known what became of the regions (deciding.py)."""
        return deciding.final(self.label, self.otherwise, self.number, refused)


def encode_labels(labels: Labels) -> bytes:
    """Raises `ValueError` where the columns differ in length."""
    count = len(labels.index)
    if any(len(column) != count for column in (labels.label, labels.number, labels.otherwise)):
        raise ValueError("as many labels as indices are needed")
    steps = np.diff(labels.index.astype(np.uint32), prepend=np.uint32(0)).astype("<u4")
    unsure = np.flatnonzero(labels.number)
    body = [*_packed(steps), *_packed(labels.label.astype(np.uint8)), *_packed(unsure.astype("<u4"))]
    body += [*_packed(labels.number[unsure].astype("<u4")), *_packed(labels.otherwise[unsure])]
    return _sealed(_LABELS_HEADER.pack(_LABELS_MAGIC, labels.shard, count, len(unsure)), body)


def decode_labels(data: bytes, name: str) -> Labels:
    """The inverse of `encode_labels`. Raises `Incomplete` where the bytes are damaged; `name` (the key) goes into the error."""
    if len(data) < _LABELS_HEADER.size or data[:4] != _LABELS_MAGIC:
        raise _damaged(name)
    _, shard, count, unsure = _LABELS_HEADER.unpack_from(data)
    planes = _Planes(data, _LABELS_HEADER.size, count, name)
    index, label = np.cumsum(planes.column("<u4"), dtype=np.uint32), planes.column("u1")
    planes.count = unsure
    places, numbers, others = (planes.column(kind) for kind in ("<u4", "<u4", "u1"))
    planes.end()
    number, otherwise = np.zeros(count, np.uint32), np.zeros(count, np.uint8)
    number[places], otherwise[places] = numbers, others
    return Labels(shard, index, label, number, otherwise)


def assemble(
    shard: int, points: int, parts: Iterable[tuple[str, bytes, Collection[int]]], *, holes: bool = False
) -> npt.NDArray[np.uint8]:
    """The labels (uint8, one a point, in the shard's order) from what every tile it touches says: the name of its bytes, the
    bytes, and what became of its regions.

    With `holes`, points of a missing tile are class 0, "created, never classified" (ASPRS LAS 1.4). Raises
    `Incomplete` where a point has no label or more than one, or a part belongs to another shard.
    """
    labels = np.zeros(points, dtype=np.uint8)
    times = np.zeros(points, dtype=np.uint8)
    for name, data, refused in parts:
        part = decode_labels(data, name)
        index = part.index
        if part.shard != shard or (len(index) and int(index.max()) >= points):
            raise Incomplete(f"{name}: these labels are not of shard {shard}; redo the run from the stage tile")
        again = bool((np.diff(index.astype(np.int64)) <= 0).any()) or bool(times[index].any())
        if again:
            raise Incomplete(f"{name}: points of shard {shard} are labelled twice; redo the run from the stage tile")
        labels[index] = part.final(refused)
        times[index] = 1
    missing = points - int(times.sum())
    if missing and not holes:
        raise Incomplete(f"shard {shard}: {missing:,} of {points:,} points have no label; redrive the run")
    return labels


def _deflated(body: Bytes) -> bytes:
    """Deflated for runs only: planes are constant or noise, so that looking for longer matches costs double and gains 5 %."""
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    return packer.compress(body) + packer.flush()


def _packed(values: npt.NDArray[Any]) -> Iterator[Bytes]:
    """Bytes of equal place together: high ones are often constant or nearly so, low ones noise, which stays as it is."""
    rows = np.ascontiguousarray(values).view(np.uint8)
    for plane in map(np.ascontiguousarray, rows.reshape(len(values), -1).T if len(values) else ()):
        how, data = _PLAIN, cast(Bytes, plane.data)
        if plane.min() == plane.max():
            how, data = _CONSTANT, plane[:1].tobytes()
        elif not _is_noise(plane):
            how, data = _DEFLATED, _deflated(data)
        yield _PLANE.pack(how, len(data))
        yield data


def _sealed(header: bytes, body: Iterable[Bytes]) -> bytes:
    crc, parts = zlib.crc32(header), list(body)
    for part in parts:
        crc = zlib.crc32(part, crc)
    return b"".join([header, _CRC.pack(crc), *parts])


def _is_noise(plane: npt.NDArray[np.uint8]) -> bool:
    """Whether deflating would gain little, going by bytes from all over it."""
    times = np.bincount(plane[:: 1 + len(plane) // _SAMPLE])
    return bool((times * times).sum() * _NOISE < times.sum() ** 2)


class _Planes:
    """Packed columns of equal length (`count`) behind a header, read one after another. Raises `Incomplete` where bytes are
    damaged."""

    def __init__(self, data: bytes, header: int, count: int, name: str) -> None:
        self.count = count
        self._data, self._at, self._name = memoryview(data), header + _CRC.size, name
        crc = zlib.crc32(self._data[self._at :], zlib.crc32(self._data[:header]))
        if self._data[header : self._at] != _CRC.pack(crc):
            raise _damaged(name)

    def column(self, kind: str) -> npt.NDArray[Any]:
        """The next column, of this type."""
        return self.table(kind, 1).reshape(-1)

    def table(self, kind: str, columns: int) -> npt.NDArray[Any]:
        """The next rows of so many numbers."""
        values = np.zeros((self.count, columns), kind)
        rows = values.view(np.uint8)
        for place in range(rows.shape[1]) if self.count else ():
            plane = self._plane()
            if len(plane) not in (1, self.count):
                raise _damaged(self._name)
            if len(plane) == self.count or plane[0]:
                rows[:, place] = plane
        return values

    def end(self) -> None:
        """There is nothing else."""
        if self._at != len(self._data):
            raise _damaged(self._name)

    def _plane(self) -> npt.NDArray[np.uint8]:
        try:
            how, size = _PLANE.unpack_from(self._data, self._at)
            self._at += _PLANE.size + size
            data = self._data[self._at - size : self._at]
            return np.frombuffer(zlib.decompress(data) if how == _DEFLATED else data, np.uint8)
        except (struct.error, zlib.error) as error:
            raise _damaged(self._name) from error


def _damaged(name: str) -> Incomplete:
    return Incomplete(f"{name}: this intermediate object is damaged or cut off; redo the run from the stage that wrote it")
