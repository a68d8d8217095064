"""The bytes that the shuffle between shards and tiles moves: points of one shard for one tile, and their labels back.

A fragment is a header and its columns, split in bytes of equal place and deflated at the fastest level: positions relative to
the fragment's own corner (int32 mm), return number and count in one byte, the class that the input gave (uint8), index within
the shard (uint32, ascending), and, where something needs them and the file has them, intensity and colour (uint16).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tilery.outcomes import Incomplete
from tilery.workloads.pointcloud import deciding

_HEADER = struct.Struct("<4sIIBqqqI")
"""Magic, shard, points, which of the optional columns there are, corner x, y, z (mm), CRC-32 of the deflated columns."""
_MAGIC = b"TFR2"
_INTENSITY, _RGB = 1, 2
_LABELS_HEADER = struct.Struct("<4sIIII")
"""Magic, shard, points, how many of them depend on a region, CRC-32."""
_LABELS_MAGIC = b"TLB2"


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
    body = bytearray()
    for column, start in zip(places, corner, strict=True):
        relative = column.astype(np.int64) - start
        if count and int(relative.max()) > np.iinfo(np.int32).max:
            raise ValueError("a fragment spreads over more than 2,147 km")
        body += _planes(relative.astype("<i4"))
    body += fragment.returns.astype(np.uint8).tobytes()
    steps = np.diff(fragment.index.astype(np.uint32), prepend=np.uint32(0)).astype("<u4")
    body += _planes(steps)
    body += fragment.source.astype(np.uint8).tobytes()
    there = 0
    if fragment.intensity is not None:
        there |= _INTENSITY
        body += _planes(fragment.intensity.astype("<u2"))
    if fragment.rgb is not None:
        there |= _RGB
        body += _planes(fragment.rgb.astype("<u2"))
    packed = _deflated(bytes(body))
    return _HEADER.pack(_MAGIC, fragment.shard, count, there, *corner, zlib.crc32(packed)) + packed


def decode(data: bytes, name: str) -> Fragment:
    """The fragment of these bytes; `name` (its key) goes into the error. Raises `Incomplete` where the bytes are damaged."""
    if len(data) < _HEADER.size or data[:4] != _MAGIC:
        raise _damaged(name)
    _, shard, count, there, x0, y0, z0, crc = _HEADER.unpack_from(data)
    packed = data[_HEADER.size :]
    if zlib.crc32(packed) != crc:
        raise _damaged(name)
    body = zlib.decompress(packed)
    sizes = [12, 1, 4, 1, 2 if there & _INTENSITY else 0, 6 if there & _RGB else 0]
    if len(body) != sum(sizes) * count:
        raise _damaged(name)
    ends = np.cumsum(sizes) * count
    xyz, returns, steps, source, intensity, rgb = (
        body[end - size * count : end] for size, end in zip(sizes, ends.tolist(), strict=True)
    )
    x, y, z = (
        _from_planes(xyz[4 * count * place : 4 * count * (place + 1)], count, 4).view("<u4").ravel() for place in range(3)
    )
    return Fragment(
        shard,
        x.astype(np.int64) + x0,
        y.astype(np.int64) + y0,
        (z.astype(np.int64) + z0).astype(np.int32),
        np.frombuffer(returns, np.uint8),
        np.cumsum(_from_planes(steps, count, 4).view("<u4").ravel(), dtype=np.uint32),
        np.frombuffer(source, np.uint8),
        _from_planes(intensity, count, 2).view("<u2").ravel() if there & _INTENSITY else None,
        _from_planes(rgb, count, 6).view("<u2") if there & _RGB else None,
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
    body = _planes(steps) + labels.label.astype(np.uint8).tobytes()
    unsure = np.flatnonzero(labels.number)
    body += _planes(unsure.astype("<u4")) + _planes(labels.number[unsure].astype("<u4")) + labels.otherwise[unsure].tobytes()
    packed = _deflated(body)
    return _LABELS_HEADER.pack(_LABELS_MAGIC, labels.shard, count, len(unsure), zlib.crc32(packed)) + packed


def decode_labels(data: bytes, name: str) -> Labels:
    """The inverse of `encode_labels`. Raises `Incomplete` where the bytes are damaged; `name` (the key) goes into the error."""
    if len(data) < _LABELS_HEADER.size or data[:4] != _LABELS_MAGIC:
        raise _damaged(name)
    _, shard, count, unsure, crc = _LABELS_HEADER.unpack_from(data)
    packed = data[_LABELS_HEADER.size :]
    if zlib.crc32(packed) != crc:
        raise _damaged(name)
    body = zlib.decompress(packed)
    if len(body) != 5 * count + 9 * unsure:
        raise _damaged(name)
    index = np.cumsum(_from_planes(body[: 4 * count], count, 4).view("<u4").ravel(), dtype=np.uint32)
    number, otherwise = np.zeros(count, np.uint32), np.zeros(count, np.uint8)
    rest = body[5 * count :]
    places = _from_planes(rest[: 4 * unsure], unsure, 4).view("<u4").ravel()
    number[places] = _from_planes(rest[4 * unsure : 8 * unsure], unsure, 4).view("<u4").ravel()
    otherwise[places] = np.frombuffer(rest, np.uint8, unsure, 8 * unsure)
    return Labels(shard, index, np.frombuffer(body, np.uint8, count, 4 * count), number, otherwise)


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


def _deflated(body: bytes) -> bytes:
    """Deflated for runs only: planes are constant or noise, so that looking for longer matches costs double and gains 5 %."""
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    return packer.compress(body) + packer.flush()


def _planes(values: npt.NDArray[Any]) -> bytes:
    """Bytes of equal place together: the high ones are nearly constant and deflate to nothing."""
    rows = np.ascontiguousarray(values).view(np.uint8)
    return rows.reshape(len(values), -1).T.tobytes() if len(values) else b""


def _from_planes(data: bytes, count: int, size: int) -> npt.NDArray[np.uint8]:
    """The rows, each of `size` bytes, of bytes of equal place together."""
    return np.ascontiguousarray(np.frombuffer(data, dtype=np.uint8).reshape(size, count).T)


def _damaged(name: str) -> Incomplete:
    return Incomplete(f"{name}: this intermediate object is damaged or cut off; redo the run from the stage that wrote it")
