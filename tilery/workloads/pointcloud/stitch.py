"""The whole output file as segments for `Store.compose`: nothing of its points passes through here.

Header and VLRs are copied with only the offsets corrected that must change when chunks change size: the chunk table
pointer, the first EVLR, the internal waveforms, and in COPC files the hierarchy. The chunk table is rebuilt; whatever
follows the points is copied from the source.

Source: ASPRS LAS 1.4-R15, table 3; COPC specification 1.0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from tilery.run import Source
from tilery.store.port import Segment, Span, Store
from tilery.workloads.pointcloud import copc, laz
from tilery.workloads.pointcloud.las_header import LasFile
from tilery.workloads.pointcloud.rewrite import ChunkSize

WAVEFORMS_AT = 227
"""Offset in the header of "start of waveform data packet record" (LAS 1.3 and later)."""
EVLRS_AT = 235
"""Offset in the header of "start of first extended variable length record" (LAS 1.4)."""


@dataclass(frozen=True, slots=True)
class ShardOutput:
    """What `rewrite_shard` left in the store for one shard."""

    key: str
    size: int
    """Bytes of the object."""
    chunks: tuple[ChunkSize, ...] = ()
    """(points, bytes) of its LAZ chunks; empty for LAS."""
    version: str = ""


def segments_of(store: Store, source: Source, file: LasFile, outputs: Sequence[ShardOutput]) -> list[Segment]:
    """The output file of all shards' outputs, in the order of the shards. Reads only a COPC hierarchy.

    Raises `ValueError` if the outputs do not hold the file's points, `BadInput` for a COPC hierarchy that is not valid.
    """
    shards: list[Segment] = [Span(output.key, 0, output.size, output.version) for output in outputs]
    if file.laszip is None:
        if sum(output.size for output in outputs) != file.count * file.point_size:
            raise ValueError(f"the shards of {file.name} do not hold its {file.count} points")
        return [file.head, *shards, *_source(source, file.points_stop, file.size)]

    layout = _Layout(file, [chunk for output in outputs for chunk in output.chunks])
    if sum(points for points, _ in layout.chunks) != file.count:
        raise ValueError(f"the shards of {file.name} do not hold its {file.count} points")
    if sum(size for _, size in layout.chunks) != sum(output.size for output in outputs):
        raise ValueError(f"the shards of {file.name} are not as long as their chunks")
    return [
        moved_head(file, layout) + struct.pack("<q", layout.table_at),
        *shards,
        *(_source(source, file.points_stop, file.chunk_table[0]) if file.chunk_table[1] else ()),
        layout.table,
        *_tail(store, source, file, layout),
    ]


class _Layout:
    """Where things lie in the output."""

    def __init__(self, file: LasFile, chunks: list[ChunkSize]) -> None:
        assert file.laszip is not None
        self.file, self.chunks = file, chunks
        self.points_start = file.offset_to_points + 8
        self.points_stop = self.points_start + sum(size for _, size in chunks)
        between = max(0, file.chunk_table[0] - file.points_stop) if file.chunk_table[1] else 0
        self.table_at = self.points_stop + between
        self.table = laz.format_chunk_table(chunks, file.laszip)
        self.tail_start = self.table_at + len(self.table)

    def moved(self, offset: int) -> int:
        """An offset of the source, in the output. Offsets into the points or the table do not move."""
        if self.file.tail_start <= offset <= self.file.size:
            return offset - self.file.tail_start + self.tail_start
        if self.file.chunk_table[1] and self.file.points_stop <= offset < self.file.chunk_table[0]:
            return offset - self.file.points_stop + self.points_stop
        return offset

    def places(self) -> dict[int, copc.Place]:
        """Old offset of each chunk -> (new offset, new size)."""
        starts = accumulate((size for _, size in self.chunks), initial=self.points_start)
        new = [(start, size) for start, (points, size) in zip(starts, self.chunks, strict=False) if points]
        return dict(zip((chunk.start for chunk in self.file.chunks if chunk.points), new, strict=True))


def moved_head(file: LasFile, layout: _Layout) -> bytes:
    """Header and VLRs with the offsets of what lies behind the points."""
    head = bytearray(file.head)
    if file.version >= (1, 4):
        _move(head, EVLRS_AT, layout)
    if file.waveforms_at:
        _move(head, WAVEFORMS_AT, layout)
    info = file.vlr(copc.USER_ID, copc.INFO)
    if info is not None and len(info.data) >= copc.INFO_SIZE:
        _move(head, info.at + copc.ROOT_AT, layout)
    return bytes(head)


def _move(head: bytearray, at: int, layout: _Layout) -> None:
    (offset,) = struct.unpack_from("<Q", head, at)
    struct.pack_into("<Q", head, at, layout.moved(offset))


def _tail(store: Store, source: Source, file: LasFile, layout: _Layout) -> Iterator[Segment]:
    """What follows the chunk table: a copy, but for the hierarchy of a COPC file."""
    info, hierarchy = file.vlr(copc.USER_ID, copc.INFO), file.evlr(copc.USER_ID, copc.HIERARCHY)
    if info is None or hierarchy is None or len(info.data) < copc.INFO_SIZE or not file.chunks:
        yield from _source(source, file.tail_start, file.size)
        return
    yield from _source(source, file.tail_start, hierarchy.data_start)
    data = store.get_range(source.key, hierarchy.data_start, hierarchy.stop, version=source.version)
    root = copc.root_page(info.data)
    yield copc.moved_hierarchy(file.name, data, hierarchy.data_start, root, layout.places(), layout.moved)
    yield from _source(source, hierarchy.stop, file.size)


def _source(source: Source, start: int, stop: int) -> Iterator[Segment]:
    if stop > start:
        yield Span(source.key, start, stop, source.version)
