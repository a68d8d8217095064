"""New labels for a shard: the same points, the same chunks, another classification; and proof, before it is let go.

LAS: the classification byte is patched. LAZ of formats 0 to 5: every chunk is coded again at the same boundaries. LAZ of
formats 6 to 10 is layered: of each chunk only the classification layer is replaced, and every other byte is copied. The
result is the one that coding the relabelled points in full would give, byte for byte, if lazrs wrote the file. Where formats
0 to 5 are upgraded (upgrading.py), records become those of the new format before they are coded, or written.

Why splicing is exact: a layered chunk is the first point raw | u32 points | u32 bytes of each layer | the layers, each an
arithmetic code of its own. The contexts of the classification layer are the classification before it and whether a return
is the only one, kept per scanner channel; no other layer looks at the classification.

Every batch is read back as it is written (read_back.py): a shard that does not hold its labels, or anything else than before,
is never finished.

Peak memory of a default shard: the compressed bytes of a batch (about 1 M points, or one chunk), twice; where it is coded
again also its decoded records, thrice (67 MB each at the largest format): under 350 MB, besides the labels and contexts, a byte
each.

Source: laz-rs 0.12 `las/v3`; LASzip 3.4 `laswriteitemcompressed_v3.cpp`.
"""

from __future__ import annotations

import struct
import tempfile
import zlib
from collections.abc import Sequence
from itertools import accumulate, groupby
from typing import BinaryIO

import lazrs
import numpy as np
from numpy.typing import NDArray

from tilery.outcomes import BadInput
from tilery.run import Source
from tilery.store.port import Store
from tilery.workloads.pointcloud import class_layer, compiled, laz, read_back
from tilery.workloads.pointcloud.class_layer import CHANNEL_BITS, CLASS_BYTE, CLASSIFICATION_LAYER, FLAGS_BYTE
from tilery.workloads.pointcloud.las_header import Chunk, LasFile
from tilery.workloads.pointcloud.points import (
    BATCH_POINTS,
    batches,
    decode_chunks,
    iter_records,
    read_span,
    record_dtype,
    sizes_of,
)
from tilery.workloads.pointcloud.shards import Shard
from tilery.workloads.pointcloud.upgrading import Upgrade, downgraded, upgraded

ChunkSize = tuple[int, int]
"""(points, bytes) of a written chunk."""
COPY_BYTES = 8 << 20
Labels = NDArray[np.uint8]
Contexts = NDArray[np.uint8]


def rewrite_shard(
    store: Store,
    source: Source,
    file: LasFile,
    shard: Shard,
    labels: Labels,
    out: BinaryIO,
    contexts: Contexts | None = None,
    upgrade: Upgrade | None = None,
) -> tuple[ChunkSize, ...]:
    """Write a shard's points with new labels to `out`, without chunk table; returns the written chunks (LAS: none).

    `labels` has shape (shard.count,), in the file's order; `contexts` (class_layer.py) likewise, if known: then layered chunks
    are not decoded. With `upgrade` the points become those of its format. Raises `BadInput` for a label that the point format
    cannot hold (formats 0 to 5 have 5 bits) and for damaged chunks, `read_back.NotTheSame` where what was made does not read
    back.
    """
    upgrade = upgrade or Upgrade.of(file)
    check_labels(upgrade.new, labels, shard.count)
    if contexts is not None and contexts.shape != (shard.count,):
        raise ValueError(f"there must be {shard.count} contexts, not {contexts.shape}")
    if file.laszip is None:
        for first in range(0, shard.count, BATCH_POINTS):
            stop = min(first + BATCH_POINTS, shard.count)
            data = read_span(store, source, shard.start + first * file.point_size, shard.start + stop * file.point_size)
            records = np.frombuffer(data, np.uint8)
            new = relabelled(upgrade.new, upgrade.upgraded(records), labels[first:stop])
            _check(upgrade, records, new, labels[first:stop])
            out.write(new.tobytes())
        return ()
    if shard.streamed:
        return _rewrite_stream(store, source, file, shard, labels, out, upgrade)
    compiled.prepare(shard.count if file.laszip.layered else 0)
    written: list[ChunkSize] = []
    for first, batch in batches(file, shard):
        mine = slice(first - shard.first, first - shard.first + sum(chunk.points for chunk in batch))
        data = read_span(store, source, batch[0].start, batch[-1].stop)
        known = None if contexts is None else contexts[mine]
        body, sizes = rewrite_chunks(file, batch, data, labels[mine], known, upgrade)
        out.write(body)
        written += sizes
    return tuple(written)


def rewrite_chunks(
    file: LasFile,
    chunks: list[Chunk],
    data: bytes,
    labels: Labels,
    contexts: Contexts | None = None,
    upgrade: Upgrade | None = None,
) -> tuple[bytes, list[ChunkSize]]:
    """A run of LAZ chunks with new labels: spliced where the format is layered, else coded again.

    A chunk without points (some writers end with one) is copied.
    """
    bodies, sizes, base, at = list[bytes](), list[ChunkSize](), chunks[0].start, 0
    for filled, run in groupby(chunks, key=lambda chunk: chunk.points > 0):
        same = list(run)
        part = data[same[0].start - base : same[-1].stop - base]
        mine = slice(at, at + sum(chunk.points for chunk in same))
        known = None if contexts is None else contexts[mine]
        new = _rewrite_filled(file, same, part, labels[mine], known, upgrade) if filled else (part, sizes_of(same))
        bodies.append(new[0])
        sizes, at = sizes + new[1], mine.stop
    return b"".join(bodies), sizes


def _rewrite_filled(
    file: LasFile, chunks: list[Chunk], data: bytes, labels: Labels, contexts: Contexts | None, upgrade: Upgrade | None
) -> tuple[bytes, list[ChunkSize]]:
    assert file.laszip is not None
    if file.laszip.layered:
        try:
            return splice_chunks(file, chunks, data, labels, contexts)
        except laz.Corrupt:
            pass  # not laid out as LASzip does; the decoder then says whether it can be read at all
    return encode_chunks(file, chunks, data, labels, upgrade)


def encode_chunks(
    file: LasFile, chunks: list[Chunk], data: bytes, labels: Labels, upgrade: Upgrade | None = None
) -> tuple[bytes, list[ChunkSize]]:
    """Decode a run of chunks, relabel it, and code it again at the same boundaries."""
    upgrade = upgrade or Upgrade.of(file)
    assert upgrade.new.laszip is not None
    records = decode_chunks(file, chunks, data)
    new = relabelled(upgrade.new, upgrade.upgraded(records), labels)
    check_codable(upgrade.new, new)
    body, sizes = laz.encode(new, [chunk.points for chunk in chunks], upgrade.new.laszip)
    _check(upgrade, records, read_back.decoded(upgrade.new, body, sizes), labels)
    return body, sizes


def _check(upgrade: Upgrade, records: NDArray[np.uint8], new: NDArray[np.uint8], labels: Labels) -> None:
    """Raises `read_back.NotTheSame` unless new records are the old ones with these labels."""
    if not upgrade.is_one:
        read_back.check_records(upgrade.old, records, new, labels)
        return
    old, raised = records.view(record_dtype(upgrade.old)), new.view(record_dtype(upgrade.new))
    read_back.check_records(upgrade.new, upgraded(upgrade.old, upgrade.new, old).view(np.uint8), new, labels)
    read_back.check_records(upgrade.old, records, downgraded(upgrade.old, raised).view(np.uint8), labels & np.uint8(0b1_1111))


def splice_chunks(
    file: LasFile, chunks: list[Chunk], data: bytes, labels: Labels, contexts: Contexts | None = None
) -> tuple[bytes, list[ChunkSize]]:
    """Replace the classification layer of layered chunks, all else verbatim. Raises `laz.Corrupt` for another layout."""
    assert file.laszip is not None
    vlr, layers, counts = file.laszip, laz.layer_count(file.laszip), [chunk.points for chunk in chunks]
    view, base = memoryview(data), chunks[0].start
    olds = [view[chunk.start - base : chunk.stop - base] for chunk in chunks]
    laid = [class_layer.split(old, vlr.record_size, layers, points) for old, points in zip(olds, counts, strict=True)]
    if contexts is None:
        contexts = contexts_of_chunks(file, chunks, data)
    coded = class_layer.encode(labels, contexts, counts, vlr)
    parts: list[bytes | bytearray | memoryview] = []
    sizes: list[ChunkSize] = []
    firsts = accumulate(counts, initial=0)
    for old, (lengths, starts), new, points, first in zip(olds, laid, coded, counts, firsts, strict=False):
        head = bytearray(old[: starts[0]])
        head[CLASS_BYTE] = labels[first]
        struct.pack_into("<I", head, vlr.record_size + 4 + 4 * CLASSIFICATION_LAYER, len(new))
        begin = starts[CLASSIFICATION_LAYER]
        parts += [head, old[starts[0] : begin], new, old[begin + lengths[CLASSIFICATION_LAYER] :]]
        sizes.append((points, len(old) - lengths[CLASSIFICATION_LAYER] + len(new)))
    body = b"".join(parts)
    read_back.check_spliced(file, olds, body, sizes, labels, contexts)
    return body, sizes


def contexts_of_chunks(file: LasFile, chunks: list[Chunk], data: bytes) -> Contexts:
    """The contexts of the points of layered chunks."""
    rows = decode_chunks(file, chunks, data, laz.XY_AND_RETURNS).reshape(-1, file.point_size)
    return class_layer.contexts_of(rows[:, class_layer.BITS_BYTE], rows[:, FLAGS_BYTE])


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
            "is to be written. Set upgrade=true, which makes it point format 6 or later."
        )


def check_codable(file: LasFile, records: NDArray[np.uint8]) -> None:
    """Raises `BadInput` for records that lazrs 0.8.2 codes wrongly: waveforms of more than one scanner channel.

    What it writes for them neither lazrs nor laszip can decode (a test says when that changes). Splicing is not affected.
    """
    if file.laszip is None or all(item.kind != laz.WAVEPACKET14 for item in file.laszip.items):
        return
    channels = records.reshape(-1, file.point_size)[:, FLAGS_BYTE] & CHANNEL_BITS
    if channels.any():
        raise BadInput(
            f"{file.name} has waveforms of several scanner channels and chunks that must be coded again, which would damage "
            "them. Write it again with a recent laszip, so that its chunks can be found, or drop it uncompressed."
        )


def _rewrite_stream(
    store: Store, source: Source, file: LasFile, shard: Shard, labels: Labels, out: BinaryIO, upgrade: Upgrade
) -> tuple[ChunkSize, ...]:
    """Decode, relabel and code a whole file from start to end, through a temporary file of its compressed size."""
    assert upgrade.new.laszip is not None
    vlr = upgrade.new.laszip
    whole = upgrade.is_one or not file.chunks
    counts = _full_chunks(shard.count, vlr.chunk_size) if whole else [chunk.points for chunk in file.chunks]
    with tempfile.TemporaryFile() as coded:
        encoder = lazrs.LasZipCompressor(coded, lazrs.LazVlr(vlr.data))
        following = iter(counts)
        left, sums = 0, list[tuple[int, int]]()
        for first, records in iter_records(store, source, file, shard):
            mine = labels[first - shard.first :][: len(records)]
            new = relabelled(upgrade.new, upgrade.upgraded(records.view(np.uint8)), mine)
            check_codable(upgrade.new, new)
            _check(upgrade, records.view(np.uint8), new, mine)
            sums.append((len(records), zlib.crc32(new.data)))
            at = 0
            while at < len(records):
                while not left:
                    left = next(following)
                take = min(left, len(records) - at)
                encoder.compress_many(new[at * vlr.record_size : (at + take) * vlr.record_size])
                at, left = at + take, left - take
                if not left and vlr.chunk_size == laz.VARIABLE:
                    encoder.finish_current_chunk()
        encoder.done()
        coded.seek(0)
        (table_at,) = struct.unpack("<q", coded.read(8))
        coded.seek(table_at)
        sizes = [size for _, size in laz.parse_chunk_table(coded.read(), vlr, len(counts) + 1)]
        read_back.check_stream(upgrade.new, coded, sums)
        filled = [count for count in counts if count]
        stop = 8 + sum(sizes[: len(filled)])  # lazrs ends variable chunks with one that is empty
        coded.seek(8)
        for start in range(8, stop, COPY_BYTES):
            out.write(coded.read(min(COPY_BYTES, stop - start)))
    return tuple(zip(filled, sizes, strict=False))


def _full_chunks(count: int, size: int) -> Sequence[int]:
    return [min(size, count - first) for first in range(0, count, size)]
