"""What a LAS or LAZ file says about itself, read by ranges and believed only as far as its size allows.

Source: ASPRS LAS specification 1.0 to 1.4-R15, "Public header block", "Variable length records", "Extended variable
length records"; the chunk table of LASzip.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tilery.outcomes import BadInput
from tilery.run import Source
from tilery.store.port import Store
from tilery.workloads.pointcloud import laz

RECORD_SIZES = (20, 28, 26, 34, 57, 63, 30, 36, 38, 59, 67)
"""Bytes of a record without extra bytes, by point format."""
HEADER_SIZES = {0: 227, 1: 227, 2: 227, 3: 235, 4: 375}
"""Least bytes of the public header block, by minor version."""
FIRST_READ = 64 << 10
LARGEST_HEAD = 64 << 20
"""A header with VLRs larger than this is no header."""
MOST_VLRS = 100_000
LARGEST_CHUNK_POINTS = 4_000_000
"""A chunk with more points is never decoded at once: the file takes the slower path (memory, see points.py)."""
INT32 = 2.0**31
LARGEST_COORDINATE = 1e15
"""In the file's unit: beyond it, millimetres do not fit in 64 bits."""

Vector = tuple[float, float, float]


class Chunk(NamedTuple):
    """A LAZ chunk: its number of points and its bytes [start, stop) in the file."""

    points: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Vlr:
    """A variable length record in the header."""

    user_id: str
    record_id: int
    data: bytes
    at: int
    """Offset in the file of its first data byte."""


@dataclass(frozen=True, slots=True)
class Evlr:
    """An extended variable length record after the points; its data stays in the file."""

    user_id: str
    record_id: int
    start: int
    """Offset in the file of its header."""
    stop: int

    @property
    def data_start(self) -> int:
        return self.start + 60


@dataclass(frozen=True, slots=True)
class LasFile:
    """A checked LAS or LAZ file. Offsets are bytes in the file."""

    name: str
    size: int
    version: tuple[int, int]
    point_format: int
    point_size: int
    """Bytes of one record, with extra bytes."""
    count: int
    scales: Vector
    offsets: Vector
    mins: Vector
    maxs: Vector
    global_encoding: int
    header_size: int
    offset_to_points: int
    head: bytes
    """The file's first `offset_to_points` bytes: header and VLRs, as they are."""
    vlrs: tuple[Vlr, ...]
    evlrs: tuple[Evlr, ...]
    waveforms_at: int
    """Where the internal waveform packets start (LAS 1.3 and later); 0 if there are none."""
    laszip: laz.LaszipVlr | None
    """None for an uncompressed file."""
    chunks: tuple[Chunk, ...]
    """The chunks of a LAZ file with a usable chunk table, in order, empty ones too; else empty."""
    chunk_table: tuple[int, int]
    """Bytes [start, stop) of the LAZ chunk table; (0, 0) if there is none that can be used."""
    slow: str
    """Why a LAZ file must be read from its start to its end in one piece; empty if it need not."""

    @property
    def compressed(self) -> bool:
        return self.laszip is not None

    @property
    def extra_bytes(self) -> int:
        return self.point_size - RECORD_SIZES[self.point_format]

    @property
    def points_stop(self) -> int:
        """Where the point data (without the chunk table) ends, as far as it is known."""
        if self.laszip is None:
            return self.offset_to_points + self.count * self.point_size
        if self.chunks:
            return self.chunks[-1].stop
        return self.tail_start

    @property
    def tail_start(self) -> int:
        """Where everything behind the points and the chunk table starts."""
        if self.laszip is None:
            return self.points_stop
        if self.chunk_table[1]:
            return self.chunk_table[1]
        return min((evlr.start for evlr in self.evlrs), default=self.size)

    def vlr(self, user_id: str, record_id: int) -> Vlr | None:
        """The first VLR of this kind."""
        return next((vlr for vlr in self.vlrs if (vlr.user_id, vlr.record_id) == (user_id, record_id)), None)

    def evlr(self, user_id: str, record_id: int) -> Evlr | None:
        """The first EVLR of this kind."""
        return next((evlr for evlr in self.evlrs if (evlr.user_id, evlr.record_id) == (user_id, record_id)), None)


def read_las(store: Store, source: Source) -> LasFile:
    """Read and check a file's header, VLRs, EVLR headers and chunk table. Raises `BadInput` naming the file."""
    return _Reader(store, source).read()


class _Reader:
    """The steps of `read_las`, which share the file at hand."""

    def __init__(self, store: Store, source: Source) -> None:
        self.store, self.source, self.name, self.size = store, source, source.name, source.size

    def refuse(self, what: str, then: str = "Copy it again, or repair it with las2las or PDAL.") -> BadInput:
        return BadInput(f"{self.name} {what}. {then}")

    def range(self, start: int, stop: int, what: str) -> bytes:
        if not 0 <= start <= stop <= self.size:
            raise self.refuse(f"is cut off: its {what} would end at byte {stop:,} and the file has {self.size:,}")
        data = self.store.get_range(self.source.key, start, stop, version=self.source.version) if stop > start else b""
        if len(data) != stop - start:
            raise self.refuse(f"is cut off in its {what}: {self.size:,} bytes were announced and fewer can be read")
        return data

    def read(self) -> LasFile:
        first = self.range(0, min(self.size, FIRST_READ), "header")
        if first[:4] != b"LASF":
            raise self.refuse("is not a LAS or LAZ file: it does not start with LASF", "Drop .las or .laz files.")
        if len(first) < 227:
            raise self.refuse(f"is cut off: a LAS header has at least 227 bytes and the file has {self.size:,}")
        version = (first[24], first[25])
        if version[0] != 1 or version[1] not in HEADER_SIZES:
            raise self.refuse(f"says it is LAS {version[0]}.{version[1]}; versions 1.0 to 1.4 are read")
        header_size, offset_to_points, vlr_count = struct.unpack_from("<HII", first, 94)
        if header_size < HEADER_SIZES[version[1]]:
            raise self.refuse(f"has a header of {header_size} bytes; LAS 1.{version[1]} needs {HEADER_SIZES[version[1]]}")
        if offset_to_points < header_size:
            raise self.refuse(f"says its points start at byte {offset_to_points:,}, inside its header")
        if offset_to_points > self.size:
            raise self.refuse(f"is cut off: its points start at byte {offset_to_points:,} and the file has {self.size:,}")
        if offset_to_points > LARGEST_HEAD:
            raise self.refuse(f"says its header takes {offset_to_points:,} bytes; at most {LARGEST_HEAD:,} are believed")
        head = first[:offset_to_points]
        head += self.range(len(head), offset_to_points, "header")

        format_byte, point_size = struct.unpack_from("<BH", head, 104)
        point_format, packed = format_byte & 0x3F, bool(format_byte & 0xC0)
        if point_format >= len(RECORD_SIZES):
            raise self.refuse(f"has point format {point_format}; formats 0 to 10 are read", "Convert it with las2las or PDAL.")
        if point_size < RECORD_SIZES[point_format]:
            raise self.refuse(
                f"says {point_size} bytes a point; point format {point_format} needs {RECORD_SIZES[point_format]}"
            )
        (count,) = struct.unpack_from("<I", head, 107)
        if version >= (1, 4):
            (count,) = struct.unpack_from("<Q", head, 247)
        if count == 0:
            raise self.refuse("has no points", "Take it out of the drop.")
        scales, offsets, mins, maxs = self.geometry(head)
        vlrs = self.vlrs(head, header_size, vlr_count)
        laszip = self.laszip(vlrs, packed, point_size)
        waveforms_at, evlrs = self.evlrs(head, version)
        chunks: tuple[Chunk, ...] = ()
        table, slow = (0, 0), ""
        if laszip is None:
            end = offset_to_points + count * point_size
            if end > self.size:
                held = (self.size - offset_to_points) // point_size
                raise self.refuse(f"is cut off: its header says {count:,} points and there is room for {held:,}")
        else:
            end = offset_to_points + 8
            chunks, table, slow = self.chunks(laszip, offset_to_points, count, evlrs)
        if any(evlr.start < end for evlr in evlrs):
            raise self.refuse("has extended records that overlap its points")
        return LasFile(
            name=self.name,
            size=self.size,
            version=version,
            point_format=point_format,
            point_size=point_size,
            count=count,
            scales=scales,
            offsets=offsets,
            mins=mins,
            maxs=maxs,
            global_encoding=struct.unpack_from("<H", head, 6)[0],
            header_size=header_size,
            offset_to_points=offset_to_points,
            head=head,
            vlrs=vlrs,
            evlrs=evlrs,
            waveforms_at=waveforms_at,
            laszip=laszip,
            chunks=chunks,
            chunk_table=table,
            slow=slow,
        )

    def geometry(self, head: bytes) -> tuple[Vector, Vector, Vector, Vector]:
        values = struct.unpack_from("<12d", head, 131)
        scales, offsets, bounds = values[:3], values[3:6], values[6:]
        maxs, mins = bounds[0::2], bounds[1::2]
        for axis, scale, offset in zip("xyz", scales, offsets, strict=True):
            if not math.isfinite(scale) or scale == 0:
                raise self.refuse(f"has a scale of {scale:g} in {axis}, so its coordinates cannot be known")
            if not math.isfinite(offset):
                raise self.refuse(f"has an offset of {offset:g} in {axis}, so its coordinates cannot be known")
            if not abs(scale) * INT32 + abs(offset) < LARGEST_COORDINATE:
                raise self.refuse(f"has a scale of {scale:g} in {axis}, so its coordinates overflow")
        if not all(math.isfinite(value) for value in bounds):
            raise self.refuse("has bounds in its header that are not numbers")
        for axis, scale, offset, low, high in zip("xyz", scales, offsets, mins, maxs, strict=True):
            if max(abs(low - offset), abs(high - offset)) > 1.001 * abs(scale) * INT32:
                raise self.refuse(f"has bounds in {axis} in its header that coordinates of its scale, {scale:g}, cannot reach")
        return scales, offsets, mins, maxs

    def vlrs(self, head: bytes, header_size: int, count: int) -> tuple[Vlr, ...]:
        if count > MOST_VLRS or count * 54 > len(head) - header_size:
            raise self.refuse(f"says it has {count:,} variable length records, more than fit before its points")
        at, vlrs = header_size, []
        for index in range(count):
            if at + 54 > len(head):
                raise self.refuse(f"is broken: variable length record {index + 1} of {count} runs into its points")
            _reserved, user, record_id, length = struct.unpack_from("<H16sHH", head, at)
            at += 54
            if at + length > len(head):
                raise self.refuse(f"is broken: variable length record {index + 1} of {count} runs into its points")
            vlrs.append(Vlr(_text(user), record_id, head[at : at + length], at))
            at += length
        return tuple(vlrs)

    def laszip(self, vlrs: tuple[Vlr, ...], packed: bool, point_size: int) -> laz.LaszipVlr | None:
        record = next((vlr for vlr in vlrs if (vlr.user_id, vlr.record_id) == (laz.USER_ID, laz.RECORD_ID)), None)
        if not packed:
            return None
        if record is None:
            raise self.refuse("says it is compressed but has no laszip record to tell how")
        try:
            vlr = laz.parse_vlr(record.data)
        except laz.Corrupt as why:
            raise self.refuse(
                f"cannot be decompressed: {why}", "Write it again with a recent laszip, las2las or PDAL."
            ) from why
        if vlr.record_size != point_size:
            raise self.refuse(f"has {point_size} bytes a point in its header and {vlr.record_size} in its laszip record")
        return vlr

    def evlrs(self, head: bytes, version: tuple[int, int]) -> tuple[int, tuple[Evlr, ...]]:
        """Where internal waveforms start, and the headers of the extended records."""
        waveforms_at = struct.unpack_from("<Q", head, 227)[0] if version >= (1, 3) else 0
        encoding = struct.unpack_from("<H", head, 6)[0]
        if not encoding & 0b10:
            waveforms_at = 0
        start, count = struct.unpack_from("<QI", head, 235) if version >= (1, 4) else (0, 0)
        if version == (1, 3) and waveforms_at:
            start, count = waveforms_at, 1
        if waveforms_at > self.size:
            raise self.refuse(f"says its waveforms start at byte {waveforms_at:,}, behind its end")
        if count and (start > self.size or count * 60 > self.size - start):
            raise self.refuse(f"says it has {count:,} extended records at byte {start:,}, more than the file holds")
        if count > MOST_VLRS:
            raise self.refuse(f"says it has {count:,} extended records; at most {MOST_VLRS:,} are believed")
        evlrs = []
        for index in range(count):
            record = self.range(start, start + 60, f"extended record {index + 1} of {count}")
            _reserved, user, record_id, length = struct.unpack_from("<H16sHQ", record)
            if length > self.size - start - 60:
                raise self.refuse(f"is broken: extended record {index + 1} of {count} runs past the end of the file")
            evlrs.append(Evlr(_text(user), record_id, start, start + 60 + length))
            start += 60 + length
        return waveforms_at, tuple(evlrs)

    def chunks(
        self, vlr: laz.LaszipVlr, points_at: int, count: int, evlrs: Sequence[Evlr]
    ) -> tuple[tuple[Chunk, ...], tuple[int, int], str]:
        """The chunks and the bytes of the chunk table, both empty if it cannot be used, and why the file is slow."""
        (table_at,) = struct.unpack("<q", self.range(points_at, points_at + 8, "point data"))
        pointer_last = table_at == -1 and self.size >= points_at + 16
        if pointer_last:
            (table_at,) = struct.unpack("<q", self.range(self.size - 8, self.size, "chunk table pointer"))
        first = points_at + 8
        if not pointer_last and self.size < table_at <= first + count * vlr.record_size:
            raise self.refuse(f"is cut off: its points would end at byte {table_at:,} and the file has {self.size:,}")
        end = min((evlr.start for evlr in evlrs if evlr.start >= table_at), default=self.size)
        if not first <= table_at <= end - 8:
            return self.without_table(vlr, "it has no chunk table")
        try:
            entries, table_stop = self.table(vlr, table_at, end, most=(table_at - first) // vlr.record_size + 2)
        except laz.Corrupt as why:
            return self.without_table(vlr, str(why))
        sizes = [size for _, size in entries]
        if any(size < 0 for size in sizes) or sum(sizes) > table_at - first:
            return self.without_table(vlr, "its chunk table is longer than its data")
        points = [points for points, _ in entries]
        if vlr.chunk_size != laz.VARIABLE:
            filled = -(-count // vlr.chunk_size)
            held = sum(size >= vlr.record_size for size in sizes)
            if filled > held:
                raise self.refuse(
                    f"is cut off: its header says {count:,} points and its chunk table has room for {held * vlr.chunk_size:,}"
                )
            if filled < held:
                raise self.refuse(f"has more chunks than its {count:,} points fill, so the header's count is wrong")
            points = [max(0, min(vlr.chunk_size, count - index * vlr.chunk_size)) for index in range(len(sizes))]
        if sum(points) != count:
            raise self.refuse(f"says {count:,} points in its header and {sum(points):,} in its chunk table")
        if any((size < vlr.record_size) != (number == 0) for number, size in zip(points, sizes, strict=True)):
            return self.without_table(vlr, "its chunk table has chunks shorter than a point")
        chunks, at = [], first
        for number, size in zip(points, sizes, strict=True):
            chunks.append(Chunk(number, at, at + size))
            at += size
        if pointer_last and table_stop == self.size - 8:
            table_stop = self.size  # the pointer behind the table goes with it: the output points to its table up front
        slow = f"its chunks have up to {max(points):,} points" if max(points) > LARGEST_CHUNK_POINTS else ""
        return tuple(chunks), (table_at, table_stop), slow

    def table(self, vlr: laz.LaszipVlr, start: int, end: int, most: int) -> tuple[list[tuple[int, int]], int]:
        """The table's entries and where it stops."""
        data = self.range(start, min(end, start + FIRST_READ), "chunk table")
        (claimed,) = struct.unpack_from("<I", data, 4)
        need = start + 64 + 10 * min(claimed, most)  # an entry takes at most two coded integers of 5 bytes
        if min(end, need) > start + len(data):
            data += self.range(start + len(data), min(end, need), "chunk table")
        entries = laz.parse_chunk_table(data, vlr, most)
        again = laz.format_chunk_table(entries, vlr)
        return entries, start + len(again) if data.startswith(again) else end

    def without_table(self, vlr: laz.LaszipVlr, why: str) -> tuple[tuple[Chunk, ...], tuple[int, int], str]:
        if vlr.chunk_size == laz.VARIABLE:
            raise self.refuse(f"cannot be read: {why}, and its chunks are of any size")
        return (), (0, 0), why


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("latin-1")
