"""The points of a shard, decoded in batches of bounded memory.

Peak memory of a default shard (32 MiB, at most 8.4 M points): the compressed bytes of one batch and its decoded records,
about 1 M points at a time: 2 x 67 MB at the largest point format, or up to 4 M points where one chunk has that many.
`read_records` holds the whole shard: up to 8.4 M records, 560 MB at the largest format, 250 MB at format 6.
A file without a usable chunk table is decoded in sequence, in the same batches, with 8 MiB of read-ahead.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import laspy
import lazrs
import numpy as np
from numpy.typing import NDArray

from tilery.outcomes import BadInput
from tilery.run import Source
from tilery.store.port import Store
from tilery.workloads.pointcloud import laz
from tilery.workloads.pointcloud.las_header import Chunk, LasFile
from tilery.workloads.pointcloud.laz import EVERYTHING
from tilery.workloads.pointcloud.shards import Shard

BATCH_POINTS = 1_000_000
READ_AHEAD = 8 << 20

Records = NDArray[np.void]
T = TypeVar("T")


def record_dtype(file: LasFile) -> np.dtype[Any]:
    """laspy's dtype of the file's point format, with all extra bytes as one field `extra_bytes` of shape (n,)."""
    fields: list[Any] = [(name, *rest) for name, *rest in laspy.PointFormat(file.point_format).dtype().descr]
    if file.extra_bytes:
        fields.append(("extra_bytes", "u1", (file.extra_bytes,)))
    return np.dtype(fields)


def read_records(store: Store, source: Source, file: LasFile, shard: Shard, fields: int = EVERYTHING) -> Records:
    """All records of a shard, shape (shard.count,), dtype `record_dtype(file)`.

    `fields` is one of the selections in laz.py; only layered files (formats 6 to 10) obey it, and only the fields it names
    are to be read. Raises `BadInput` naming the file and the chunk.
    """
    records = np.empty(shard.count, record_dtype(file))
    for first, batch in iter_records(store, source, file, shard, fields):
        records[first - shard.first : first - shard.first + len(batch)] = batch
    return records


def iter_records(
    store: Store, source: Source, file: LasFile, shard: Shard, fields: int = EVERYTHING, points: int = BATCH_POINTS
) -> Iterator[tuple[int, Records]]:
    """A shard's records in order, as (index in the file of the first, records) with about `points` in each batch."""
    dtype = record_dtype(file)
    if file.laszip is None:
        for first in range(0, shard.count, points):
            start = shard.start + first * file.point_size
            stop = shard.start + min(first + points, shard.count) * file.point_size
            yield shard.first + first, np.frombuffer(read_span(store, source, start, stop), dtype)
    elif shard.streamed:
        yield from _iter_stream(store, source, file, shard, fields, points)
    else:
        for first, batch in batches(file, shard, points):
            data = read_span(store, source, batch[0].start, batch[-1].stop)
            yield first, decode_chunks(file, batch, data, fields).view(dtype)


def batches(file: LasFile, shard: Shard, points: int = BATCH_POINTS) -> Iterator[tuple[int, list[Chunk]]]:
    """A shard's chunks in runs of at most `points` (or of one chunk): (index in the file of the first point, chunks)."""
    first, run, held = shard.first, list[Chunk](), 0
    for chunk in file.chunks[shard.first_chunk : shard.stop_chunk]:
        if held and held + chunk.points > points:
            yield first, run
            first, run, held = first + held, [], 0
        run.append(chunk)
        held += chunk.points
    if run:
        yield first, run


def decode_chunks(file: LasFile, chunks: list[Chunk], data: bytes, fields: int = EVERYTHING) -> NDArray[np.uint8]:
    """The bytes of the records of a run of chunks, from its bytes. Raises `BadInput` naming the first broken chunk."""

    def decoded(file: LasFile, chunks: list[Chunk], data: bytes) -> NDArray[np.uint8]:
        assert file.laszip is not None
        return laz.decode(data, sizes_of(chunks), file.laszip, fields) if chunks else np.zeros(0, np.uint8)

    return named(file, chunks, data, decoded)


def named(file: LasFile, chunks: list[Chunk], data: bytes, decode: Callable[[LasFile, list[Chunk], bytes], T]) -> T:
    """Decode a run of chunks, without those that hold no points. Raises `BadInput` naming the first broken chunk."""
    base = chunks[0].start
    if any(not chunk.points for chunk in chunks):
        chunks = [chunk for chunk in chunks if chunk.points]
        data = b"".join(data[chunk.start - base : chunk.stop - base] for chunk in chunks)
    try:
        return decode(file, chunks, data)
    except laz.Corrupt as why:
        broken = chunks[0]
        at = 0
        for chunk in chunks:
            size = chunk.stop - chunk.start
            try:
                decode(file, [chunk], data[at : at + size])
            except laz.Corrupt:
                broken = chunk
                break
            at += size
        number = file.chunks.index(broken)
        raise BadInput(
            f"{file.name} is damaged: chunk {number} of {len(file.chunks)} (bytes {broken.start:,} to {broken.stop:,}) "
            f"cannot be decompressed ({why}). Copy the file again from where it came from."
        ) from why


def sizes_of(chunks: list[Chunk]) -> list[tuple[int, int]]:
    """(points, bytes) of chunks, as laz.py takes them."""
    return [(chunk.points, chunk.stop - chunk.start) for chunk in chunks]


def read_span(store: Store, source: Source, start: int, stop: int) -> bytes:
    """Bytes [start, stop) of the pinned file. Raises `BadInput` if it ends before."""
    data = store.get_range(source.key, start, stop, version=source.version)
    if len(data) != stop - start:
        raise BadInput(
            f"{source.name} is cut off: bytes {start:,} to {stop:,} of its points are not there. Copy the file again."
        )
    return data


def _iter_stream(
    store: Store, source: Source, file: LasFile, shard: Shard, fields: int, points: int
) -> Iterator[tuple[int, Records]]:
    """Decode from the first byte to the last, for a file whose chunks cannot be found or held apart."""
    assert file.laszip is not None
    vlr, dtype = file.laszip, record_dtype(file)
    table = laz.format_chunk_table(sizes_of(list(file.chunks)), vlr) if file.chunks else bytes(8)
    stream = io.BufferedReader(_PointData(store, source, shard, table), READ_AHEAD)
    done = 0
    try:
        decoder = laz.guarded(lambda: lazrs.LasZipDecompressor(stream, vlr.data, lazrs.DecompressionSelection(fields)))
        while done < shard.count:
            batch = np.zeros(min(points, shard.count - done), dtype)
            raw = batch.view(np.uint8)
            laz.guarded(partial(decoder.decompress_many, raw))
            yield shard.first + done, batch
            done += len(batch)
    except laz.Corrupt as why:
        raise BadInput(
            f"{file.name} is damaged: it cannot be decompressed after point {done:,} ({why}). "
            "Copy the file again from where it came from."
        ) from why


class _PointData(io.RawIOBase):
    """A shard's bytes as lazrs wants to read them: a pointer, the chunks, and the chunk table that it points to."""

    def __init__(self, store: Store, source: Source, shard: Shard, table: bytes) -> None:
        self.store, self.source, self.table = store, source, table
        self.start, self.length = shard.start, shard.stop - shard.start
        self.pointer = struct.pack("<q", 8 + self.length)
        self.at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: 8 + self.length + len(self.table)}[whence]
        self.at = base + offset
        return self.at

    def readinto(self, buffer: Any) -> int:
        want = len(buffer)
        if self.at < 8:
            data = self.pointer[self.at : self.at + want]
        elif self.at < 8 + self.length:
            start = self.start + self.at - 8
            data = read_span(self.store, self.source, start, min(start + want, self.start + self.length))
        else:
            at = self.at - 8 - self.length
            data = self.table[at : at + want]
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)


def returns_of(records: Records, point_format: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(return number, number of returns) of records."""
    bits: NDArray[np.uint8] = records["bit_fields"]
    width = 3 if point_format < 6 else 4
    mask = np.uint8((1 << width) - 1)
    return bits & mask, (bits >> np.uint8(width)) & mask


def classes_of(records: Records, point_format: int) -> NDArray[np.uint8]:
    """The classification of records, without the flags that formats 0 to 5 keep in the same byte."""
    if point_format < 6:
        raw: NDArray[np.uint8] = records["raw_classification"]
        return raw & np.uint8(0b1_1111)
    classes: NDArray[np.uint8] = records["classification"].copy()
    return classes
