"""New labels for a shard: the same points, the same chunks, another classification.

LAS: the classification byte is patched. LAZ of formats 0 to 5: every chunk is coded again at the same boundaries. LAZ of
formats 6 to 10 is layered: of each chunk only the classification layer is replaced, and every other byte is copied. The
result is the one that coding the relabelled points in full would give, byte for byte, if lazrs wrote the file.

Why splicing is exact: a layered chunk is the first point raw | u32 points | u32 bytes of each layer | the layers, each an
arithmetic code of its own. The contexts of the classification layer are the classification before it and whether a return
is the only one, kept per scanner channel; no other layer looks at the classification. So the layer is taken from points
that have the true returns, channel and new classification, and zeros elsewhere.

Peak memory of a default shard: the compressed bytes of a batch (about 1 M points, or one chunk), its decoded records
(67 MB at the largest format; 30 MB where spliced) and the coder's output: under 250 MB, besides the labels, one byte each.

Source: laz-rs 0.12 `las/v3`; LASzip 3.4 `laswriteitemcompressed_v3.cpp`.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Sequence
from itertools import groupby
from typing import BinaryIO

import lazrs
import numpy as np
from numpy.typing import NDArray

from tilery.outcomes import BadInput
from tilery.run import Source
from tilery.store.port import Store
from tilery.workloads.pointcloud import laz
from tilery.workloads.pointcloud.las_header import RECORD_SIZES, Chunk, LasFile
from tilery.workloads.pointcloud.points import (
    BATCH_POINTS,
    batches,
    decode_chunks,
    iter_records,
    read_span,
    sizes_of,
)
from tilery.workloads.pointcloud.shards import Shard

ChunkSize = tuple[int, int]
"""(points, bytes) of a written chunk."""
COPY_BYTES = 8 << 20
Labels = NDArray[np.uint8]

BITS_BYTE = 14
"""Offset in a record of formats 6 to 10 of the return number and number of returns; the flags follow it."""
CHANNEL_BITS = 0b0011_0000
CLASSIFICATION_LAYER = 2


def rewrite_shard(
    store: Store, source: Source, file: LasFile, shard: Shard, labels: Labels, out: BinaryIO
) -> tuple[ChunkSize, ...]:
    """Write a shard's points with new labels to `out`, without chunk table; returns the written chunks (LAS: none).

    `labels` has shape (shard.count,), in the file's order. Raises `BadInput` for a label that the point format cannot hold
    (formats 0 to 5 have 5 bits) and for damaged chunks.
    """
    check_labels(file, labels, shard.count)
    if file.laszip is None:
        for first in range(0, shard.count, BATCH_POINTS):
            stop = min(first + BATCH_POINTS, shard.count)
            data = read_span(store, source, shard.start + first * file.point_size, shard.start + stop * file.point_size)
            out.write(relabelled(file, np.frombuffer(data, np.uint8), labels[first:stop]).tobytes())
        return ()
    if shard.streamed:
        return _rewrite_stream(store, source, file, shard, labels, out)
    written: list[ChunkSize] = []
    for first, batch in batches(file, shard):
        at = first - shard.first
        data = read_span(store, source, batch[0].start, batch[-1].stop)
        body, sizes = rewrite_chunks(file, batch, data, labels[at : at + sum(chunk.points for chunk in batch)])
        out.write(body)
        written += sizes
    return tuple(written)


def rewrite_chunks(file: LasFile, chunks: list[Chunk], data: bytes, labels: Labels) -> tuple[bytes, list[ChunkSize]]:
    """A run of LAZ chunks with new labels: spliced where the format is layered, else coded again.

    A chunk without points (some writers end with one) is copied.
    """
    body, sizes, base = b"", list[ChunkSize](), chunks[0].start
    at = 0
    for filled, run in groupby(chunks, key=lambda chunk: chunk.points > 0):
        same = list(run)
        part = data[same[0].start - base : same[-1].stop - base]
        points = sum(chunk.points for chunk in same)
        new = _rewrite_filled(file, same, part, labels[at : at + points]) if filled else (part, sizes_of(same))
        body, sizes, at = body + new[0], sizes + new[1], at + points
    return body, sizes


def _rewrite_filled(file: LasFile, chunks: list[Chunk], data: bytes, labels: Labels) -> tuple[bytes, list[ChunkSize]]:
    assert file.laszip is not None
    if file.laszip.layered:
        try:
            return splice_chunks(file, chunks, data, labels)
        except laz.Corrupt:
            pass  # not laid out as LASzip does; the decoder then says whether it can be read at all
    return encode_chunks(file, chunks, data, labels)


def encode_chunks(file: LasFile, chunks: list[Chunk], data: bytes, labels: Labels) -> tuple[bytes, list[ChunkSize]]:
    """Decode a run of chunks, relabel it, and code it again at the same boundaries."""
    assert file.laszip is not None
    records = relabelled(file, decode_chunks(file, chunks, data), labels)
    check_codable(file, records)
    return laz.encode(records, [chunk.points for chunk in chunks], file.laszip)


def splice_chunks(file: LasFile, chunks: list[Chunk], data: bytes, labels: Labels) -> tuple[bytes, list[ChunkSize]]:
    """Replace the classification layer of layered chunks, all else verbatim. Raises `laz.Corrupt` for another layout."""
    assert file.laszip is not None
    vlr, layers = file.laszip, laz.layer_count(file.laszip)
    originals = [
        split_chunk(data[chunk.start - chunks[0].start : chunk.stop - chunks[0].start], vlr.record_size, layers, chunk.points)
        for chunk in chunks
    ]
    donor_vlr = skeleton_vlr(vlr)
    bare = _skeleton(laz.decode(data, sizes_of(chunks), vlr, laz.XY_AND_RETURNS), vlr.record_size, labels)
    donor, donor_sizes = laz.encode(bare, [chunk.points for chunk in chunks], donor_vlr)

    parts: list[bytes] = []
    sizes: list[ChunkSize] = []
    at = 0
    for (first, layer_sizes, bodies), (points, length) in zip(originals, donor_sizes, strict=True):
        _, _, donor_bodies = split_chunk(donor[at : at + length], RECORD_SIZES[6], laz.POINT14_LAYERS, points)
        classification = donor_bodies[CLASSIFICATION_LAYER]
        head = bytearray(first)
        head[BITS_BYTE + 2] = donor[at + BITS_BYTE + 2]
        layer_sizes[CLASSIFICATION_LAYER] = len(classification)
        bodies[CLASSIFICATION_LAYER] = classification
        chunk = b"".join((head, struct.pack(f"<I{layers}I", points, *layer_sizes), *bodies))
        parts.append(chunk)
        sizes.append((points, len(chunk)))
        at += length
    return b"".join(parts), sizes


def split_chunk(chunk: bytes, record_size: int, layers: int, points: int) -> tuple[bytes, list[int], list[bytes]]:
    """First point, layer sizes and layers of a chunk. Raises `laz.Corrupt` if they do not fill it exactly."""
    at = record_size + 4 + 4 * layers
    if len(chunk) < at:
        raise laz.Corrupt("the chunk is shorter than its own header")
    number, *sizes = struct.unpack_from(f"<I{layers}I", chunk, record_size)
    if number != points or at + sum(sizes) != len(chunk):
        raise laz.Corrupt("the chunk does not hold what its header says")
    bodies = []
    for size in sizes:
        bodies.append(chunk[at : at + size])
        at += size
    return chunk[:record_size], sizes, bodies


def skeleton_vlr(vlr: laz.LaszipVlr) -> laz.LaszipVlr:
    """The laszip VLR of bare format 6 points in the same chunks."""
    head = bytearray(vlr.data[:34])
    struct.pack_into("<H", head, 32, 1)
    return laz.parse_vlr(bytes(head) + struct.pack("<HHH", laz.POINT14, RECORD_SIZES[6], 3))


def relabelled(file: LasFile, records: NDArray[np.uint8], labels: Labels) -> NDArray[np.uint8]:
    """Record bytes with new labels. Formats 0 to 5 keep the three flags that share the byte."""
    rows = records.reshape(-1, file.point_size).copy()
    if file.point_format < 6:
        rows[:, 15] = (rows[:, 15] & 0b1110_0000) | labels
    else:
        rows[:, 16] = labels
    return rows.reshape(-1)


def check_labels(file: LasFile, labels: Labels, count: int) -> None:
    """Raises `BadInput` where labels do not fit the point format, `ValueError` where they are not `count` bytes."""
    if labels.dtype != np.uint8 or labels.shape != (count,):
        raise ValueError(f"labels must be {count} bytes, not {labels.shape} of {labels.dtype}")
    largest = int(labels.max(initial=0))
    if file.point_format < 6 and largest > 31:
        raise BadInput(
            f"{file.name} has point format {file.point_format}, which has room for classes 0 to 31, and class {largest} "
            "is to be written. Convert it to point format 6 or later first."
        )


def check_codable(file: LasFile, records: NDArray[np.uint8]) -> None:
    """Raises `BadInput` for records that lazrs 0.8.2 codes wrongly: waveforms of more than one scanner channel.

    What it writes for them neither lazrs nor laszip can decode (a test says when that changes). Splicing is not affected.
    """
    if file.laszip is None or all(item.kind != laz.WAVEPACKET14 for item in file.laszip.items):
        return
    channels = records.reshape(-1, file.point_size)[:, BITS_BYTE + 1] & CHANNEL_BITS
    if channels.any():
        raise BadInput(
            f"{file.name} has waveforms of several scanner channels and chunks that must be coded again, which would damage "
            "them. Write it again with a recent laszip, so that its chunks can be found, or drop it uncompressed."
        )


def _skeleton(records: NDArray[np.uint8], record_size: int, labels: Labels) -> NDArray[np.uint8]:
    rows = records.reshape(-1, record_size)
    bare = np.zeros((len(rows), RECORD_SIZES[6]), np.uint8)
    bare[:, BITS_BYTE] = rows[:, BITS_BYTE]
    bare[:, BITS_BYTE + 1] = rows[:, BITS_BYTE + 1] & CHANNEL_BITS
    bare[:, BITS_BYTE + 2] = labels
    return bare.reshape(-1)


def _rewrite_stream(
    store: Store, source: Source, file: LasFile, shard: Shard, labels: Labels, out: BinaryIO
) -> tuple[ChunkSize, ...]:
    """Decode, relabel and code a whole file from start to end, through a temporary file of its compressed size."""
    assert file.laszip is not None
    vlr = file.laszip
    counts = [chunk.points for chunk in file.chunks] or _full_chunks(shard.count, vlr.chunk_size)
    with tempfile.TemporaryFile() as coded:
        encoder = lazrs.LasZipCompressor(coded, lazrs.LazVlr(vlr.data))
        following = iter(counts)
        left = 0
        for first, records in iter_records(store, source, file, shard):
            new = relabelled(file, records.view(np.uint8), labels[first - shard.first :][: len(records)])
            check_codable(file, new)
            at = 0
            while at < len(records):
                while not left:
                    left = next(following)
                take = min(left, len(records) - at)
                encoder.compress_many(new[at * file.point_size : (at + take) * file.point_size])
                at, left = at + take, left - take
                if not left and vlr.chunk_size == laz.VARIABLE:
                    encoder.finish_current_chunk()
        encoder.done()
        coded.seek(0)
        (table_at,) = struct.unpack("<q", coded.read(8))
        coded.seek(table_at)
        sizes = [size for _, size in laz.parse_chunk_table(coded.read(), vlr, len(counts) + 1)]
        filled = [count for count in counts if count]
        stop = 8 + sum(sizes[: len(filled)])  # lazrs ends variable chunks with one that is empty
        coded.seek(8)
        for start in range(8, stop, COPY_BYTES):
            out.write(coded.read(min(COPY_BYTES, stop - start)))
    return tuple(zip(filled, sizes, strict=False))


def _full_chunks(count: int, size: int) -> Sequence[int]:
    return [min(size, count - first) for first in range(0, count, size)]
