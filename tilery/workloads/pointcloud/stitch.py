"""The whole output file as segments for `Store.compose`: nothing of its points passes through here.

Header and VLRs are copied, or those of the upgraded file are taken, with only the offsets corrected that must change when
chunks change size: the chunk table pointer, the first EVLR, the internal waveforms, and in COPC files the hierarchy. The chunk
table is rebuilt; whatever follows the points is copied from the source.

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
from tilery.workloads.pointcloud.upgrading import WAVEFORMS_AT

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


def segments_of(
    store: Store, source: Source, file: LasFile, outputs: Sequence[ShardOutput], new: LasFile | None = None
) -> list[Segment]:
    """The output file of all shards' outputs, in the order of the shards. Reads only a COPC hierarchy.

    `new` is the file as it is written, where that is not as it was (upgrading.py). Raises `ValueError` if the outputs do not
    hold the file's points, `BadInput` for a COPC hierarchy that is not valid.
    """
    new = new or file
    size = sum(output.size for output in outputs)
    layout = _Layout(file, new, size, [chunk for output in outputs for chunk in output.chunks])
    held = sum(points for points, _ in layout.chunks) if file.compressed else size / new.point_size
    if held != file.count:
        raise ValueError(f"the shards of {file.name} do not hold its {file.count} points")
    if file.compressed and sum(size for _, size in layout.chunks) != size:
        raise ValueError(f"the shards of {file.name} are not as long as their chunks")
    return [
        moved_head(layout) + (struct.pack("<q", layout.table_at) if file.compressed else b""),
        *(Span(output.key, 0, output.size, output.version) for output in outputs),
        *(_source(source, file.points_stop, file.chunk_table[0]) if file.chunk_table[1] else ()),
        *([layout.table] if file.compressed else []),
        *_tail(store, source, file, layout),
    ]


class _Layout:
    """Where things lie in the output."""

    def __init__(self, file: LasFile, new: LasFile, size: int, chunks: list[ChunkSize]) -> None:
        self.file, self.new, self.chunks = file, new, chunks
        self.points_start = new.offset_to_points + (8 if file.compressed else 0)
        self.points_stop = self.points_start + size
        between = max(0, file.chunk_table[0] - file.points_stop) if file.chunk_table[1] else 0
        self.table_at = self.points_stop + between
        self.table = b"" if new.laszip is None else laz.format_chunk_table(chunks, new.laszip)
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


def moved_head(layout: _Layout) -> bytes:
    """Header and VLRs with the offsets of what lies behind the points."""
    file, head = layout.new, bytearray(layout.new.head)
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
