"""LASzip as Tilery uses it: the laszip VLR, the chunk table, and chunks coded apart from their file.

lazrs does the coding. It trusts what it is given and panics on bytes that are not LAZ, so everything that it is told is
checked here first, and a panic becomes an ordinary error.

Source: Isenburg, "LASzip: lossless compression of LiDAR data", 2013; the LASzip VLR and chunk table as read by laz-rs.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import lazrs
import numpy as np
from numpy.typing import NDArray

USER_ID = "laszip encoded"
RECORD_ID = 22204
POINTWISE_CHUNKED = 2
LAYERED_CHUNKED = 3
POINT14, RGB14, RGBNIR14, WAVEPACKET14, BYTE14 = 10, 11, 12, 13, 14
"""Item types of the layered formats; POINT14 is the common part of formats 6 to 10."""
POINT14_LAYERS = 9
VARIABLE = 0xFFFFFFFF
"""The chunk size of a file whose chunk table says how many points each chunk has."""

XY_AND_RETURNS = lazrs.SELECTIVE_DECOMPRESS_XY_RETURNS_CHANNEL
XYZ = XY_AND_RETURNS | lazrs.SELECTIVE_DECOMPRESS_Z
XYZ_AND_CLASS = XYZ | lazrs.SELECTIVE_DECOMPRESS_CLASSIFICATION | lazrs.SELECTIVE_DECOMPRESS_FLAGS
INTENSITY = lazrs.SELECTIVE_DECOMPRESS_INTENSITY
RGB = lazrs.SELECTIVE_DECOMPRESS_RGB
EVERYTHING = lazrs.SELECTIVE_DECOMPRESS_ALL

_VLR = struct.Struct("<HHBBHIIqqH")
_ITEM = struct.Struct("<HHH")

T = TypeVar("T")


class Corrupt(Exception):
    """These bytes are not what LASzip wrote. Callers name the file and the chunk."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a compressed record: LASzip type, bytes, and version of its coder."""

    kind: int
    size: int
    version: int


@dataclass(frozen=True, slots=True)
class LaszipVlr:
    """The laszip VLR, checked."""

    data: bytes
    compressor: int
    chunk_size: int
    """Points a chunk, or `VARIABLE`."""
    items: tuple[Item, ...]

    @property
    def layered(self) -> bool:
        return self.compressor == LAYERED_CHUNKED

    @property
    def record_size(self) -> int:
        """Bytes of one decoded record."""
        return sum(item.size for item in self.items)


def parse_vlr(data: bytes) -> LaszipVlr:
    """Read a laszip VLR. Raises `Corrupt` saying what is wrong with it."""
    if len(data) < _VLR.size:
        raise Corrupt(f"its laszip record has {len(data)} bytes, too few")
    compressor, _coder, _major, _minor, _revision, _options, chunk_size, _points, _bytes, count = _VLR.unpack_from(data)
    if len(data) < _VLR.size + count * _ITEM.size or count == 0:
        raise Corrupt(f"its laszip record promises {count} items and has {len(data)} bytes")
    items = tuple(Item(*_ITEM.unpack_from(data, _VLR.size + index * _ITEM.size)) for index in range(count))
    if compressor not in (POINTWISE_CHUNKED, LAYERED_CHUNKED):
        raise Corrupt(f"it uses LASzip compressor {compressor}, which is older than chunks")
    least = 2 if compressor == POINTWISE_CHUNKED else 3
    if any(item.version < least and item.kind != 0 for item in items):
        raise Corrupt("it was written by a first-generation LASzip")
    if chunk_size == 0:
        raise Corrupt("its laszip record says 0 points a chunk")
    guarded(lambda: lazrs.LazVlr(data))
    return LaszipVlr(data, compressor, chunk_size, items)


def guarded(work: Callable[[], T]) -> T:
    """Run lazrs code; its errors and panics become `Corrupt`."""
    try:
        return work()
    except lazrs.LazrsError as error:
        raise Corrupt(str(error)) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise Corrupt(str(error)) from None


def parse_chunk_table(data: bytes, vlr: LaszipVlr, most: int) -> list[tuple[int, int]]:
    """(points, bytes) of every chunk, from the bytes of a chunk table.

    For chunks of fixed size the points of the last are as if it were full. `most` bounds the number of chunks that is
    believed. Raises `Corrupt`.
    """
    if len(data) < 8:
        raise Corrupt("the chunk table is cut off")
    version, count = struct.unpack_from("<II", data)
    if version != 0 or count > most:
        raise Corrupt(f"the chunk table claims version {version} and {count} chunks")
    if count == 0:
        raise Corrupt("its chunk table is empty")
    entries: list[tuple[int, int]] = guarded(lambda: lazrs.read_chunk_table_only(io.BytesIO(data), lazrs.LazVlr(vlr.data)))
    return entries


def format_chunk_table(chunks: Sequence[tuple[int, int]], vlr: LaszipVlr) -> bytes:
    """The bytes of a chunk table of (points, bytes) entries."""
    out = io.BytesIO()
    lazrs.write_chunk_table(out, list(chunks), lazrs.LazVlr(vlr.data))
    return out.getvalue()


def decode(data: bytes, chunks: Sequence[tuple[int, int]], vlr: LaszipVlr, fields: int = EVERYTHING) -> NDArray[np.uint8]:
    """Decode a run of whole chunks to the bytes of their records.

    `chunks` are (points, bytes) with true counts, none empty; `fields` is a lazrs selection, obeyed by layered files only
    (others decode whole; a field left out holds each chunk's first value). Uses all cores. Raises `Corrupt`.
    """
    if sum(size for _, size in chunks) != len(data):
        raise Corrupt("the data ends before the chunk does")
    records = np.zeros(sum(points for points, _ in chunks) * vlr.record_size, np.uint8)
    if any(size < vlr.record_size or not points for points, size in chunks):
        raise Corrupt("a chunk is shorter than one record")
    if vlr.layered:
        check_layers(data, chunks, vlr)
    if chunks:
        selection = lazrs.DecompressionSelection(fields)
        guarded(lambda: lazrs.decompress_points_with_chunk_table(data, vlr.data, records, list(chunks), selection))
    return records


def layer_count(vlr: LaszipVlr) -> int:
    """How many layers each chunk of a layered file has. Raises `Corrupt` for items that are not known, or in another order."""
    if vlr.items[0].kind != POINT14:
        raise Corrupt("its laszip record does not begin with the points")
    return sum(layers_of(item) for item in vlr.items)


def layers_of(item: Item) -> int:
    """How many layers an item of a layered file has. Raises `Corrupt` for one that is not known."""
    if item.kind == BYTE14:
        return item.size
    known = {POINT14: POINT14_LAYERS, RGB14: 1, RGBNIR14: 2, WAVEPACKET14: 1}
    if item.kind not in known:
        raise Corrupt(f"its laszip record has an item of type {item.kind}")
    return known[item.kind]


def check_layers(data: bytes, chunks: Sequence[tuple[int, int]], vlr: LaszipVlr) -> None:
    """Raises `Corrupt` where a layered chunk's layers are longer than the chunk: lazrs would allocate what they claim."""
    layers, at = layer_count(vlr), 0
    for _, size in chunks:
        head = vlr.record_size + 4 + 4 * layers
        if size < head or head + sum(struct.unpack_from(f"<{layers}I", data, at + head - 4 * layers)) > size:
            raise Corrupt("its layers are longer than the chunk")
        at += size


def encode(records: NDArray[np.uint8], counts: Sequence[int], vlr: LaszipVlr) -> tuple[bytes, list[tuple[int, int]]]:
    """Encode the bytes of records as chunks of `counts` points, none 0: the chunks one after another, and (points, bytes).

    With chunks of fixed size every count but the last must be that size: then the bytes are those that compressing the
    whole file would have given, since chunks do not depend on each other.
    """
    size = vlr.record_size
    if sum(counts) * size != records.size:
        raise ValueError(f"{records.size} bytes are not {sum(counts)} records of {size} bytes")
    full = list(counts)
    if not full:
        return b"", []
    out = io.BytesIO()
    compressor = lazrs.ParLasZipCompressor(out, lazrs.LazVlr(vlr.data))
    if vlr.chunk_size == VARIABLE:
        edges = np.cumsum([0, *full]) * size
        compressor.compress_chunks([records[start:stop] for start, stop in pairwise(edges)])
    else:
        if any(count != vlr.chunk_size for count in full[:-1]) or full[-1] > vlr.chunk_size:
            raise ValueError(f"chunks of {vlr.chunk_size} points cannot hold {full}")
        compressor.compress_many(records)
    compressor.done()
    written = out.getvalue()
    (table_at,) = struct.unpack_from("<q", written)
    sizes = [length for _, length in parse_chunk_table(written[table_at:], vlr, len(full) + 1)]
    return written[8:table_at], list(zip(full, sizes, strict=True))
