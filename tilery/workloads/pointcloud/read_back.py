"""Proof that what was written of a shard is the shard with its labels, before it counts as finished.

Spliced chunks: every byte but the classification layer, its size, and the first point's class is compared with the source, and
the layer is decoded to the labels. Records: every bit but the class is compared, after decoding what was coded.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import partial
from typing import BinaryIO

import lazrs
import numpy as np
from numpy.typing import NDArray

from tilery.outcomes import Transient
from tilery.workloads.pointcloud import class_layer, compiled, laz
from tilery.workloads.pointcloud.class_layer import CLASS_BYTE, CLASSIFICATION_LAYER
from tilery.workloads.pointcloud.las_header import LasFile

ChunkSize = tuple[int, int]
Bytes = NDArray[np.uint8]


class NotTheSame(Transient):
    """What was written is not the source with its labels. Nothing of it is published; done again, it may be right."""

    def __init__(self, file: LasFile, what: str) -> None:
        super().__init__(f"{file.name} was not rewritten as it should be: {what}; nothing was published, redrive the run")


def check_spliced(
    file: LasFile, olds: Sequence[memoryview], body: bytes, sizes: Sequence[ChunkSize], labels: Bytes, contexts: Bytes
) -> None:
    """Raises `NotTheSame` unless `body` is the chunks `olds` with `labels` and nothing else changed."""
    assert file.laszip is not None
    vlr, layers, view = file.laszip, laz.layer_count(file.laszip), memoryview(body)
    if sum(size for _, size in sizes) != len(body) or sum(points for points, _ in sizes) != len(labels):
        raise NotTheSame(file, "its chunks are not as long as they were announced")
    coded, firsts, at = list[bytes](), list[int](), 0
    size_at = vlr.record_size + 4 + 4 * CLASSIFICATION_LAYER
    for old, (points, size) in zip(olds, sizes, strict=True):
        new = view[at : at + size]
        try:
            (lengths, starts), (were, began) = (class_layer.split(each, vlr.record_size, layers, points) for each in (new, old))
        except laz.Corrupt as why:
            raise NotTheSame(file, str(why)) from why
        begin, stop = starts[CLASSIFICATION_LAYER], starts[CLASSIFICATION_LAYER] + lengths[CLASSIFICATION_LAYER]
        mine, its = np.frombuffer(new, np.uint8), np.frombuffer(old, np.uint8)
        same = (
            np.array_equal(mine[:CLASS_BYTE], its[:CLASS_BYTE])
            and np.array_equal(mine[CLASS_BYTE + 1 : size_at], its[CLASS_BYTE + 1 : size_at])
            and np.array_equal(mine[size_at + 4 : begin], its[size_at + 4 : begin])
            and np.array_equal(mine[stop:], its[began[CLASSIFICATION_LAYER] + were[CLASSIFICATION_LAYER] :])
        )
        if not same:
            raise NotTheSame(file, "a chunk differs from its source in more than its classes")
        coded.append(bytes(new[begin:stop]))
        firsts.append(new[CLASS_BYTE])
        at += size
    try:
        classes = _classes(file, body, sizes, coded, firsts, contexts)
    except laz.Corrupt as why:
        raise NotTheSame(file, str(why)) from why
    if not np.array_equal(classes, labels):
        raise NotTheSame(file, "its classes do not decode to the labels")


def _classes(
    file: LasFile, body: bytes, sizes: Sequence[ChunkSize], coded: list[bytes], firsts: list[int], contexts: Bytes
) -> Bytes:
    assert file.laszip is not None
    if compiled.at_hand():
        return class_layer.decode(coded, firsts, contexts, [points for points, _ in sizes])
    fields = laz.XY_AND_RETURNS | lazrs.SELECTIVE_DECOMPRESS_CLASSIFICATION
    classes: Bytes = laz.decode(body, sizes, file.laszip, fields).reshape(-1, file.point_size)[:, CLASS_BYTE]
    return classes


def decoded(file: LasFile, body: bytes, sizes: Sequence[ChunkSize]) -> Bytes:
    """The records of chunks that were just coded."""
    assert file.laszip is not None
    try:
        return laz.decode(body, sizes, file.laszip)
    except laz.Corrupt as why:
        raise NotTheSame(file, str(why)) from why


def check_records(file: LasFile, old: Bytes, new: Bytes, labels: Bytes) -> None:
    """Raises `NotTheSame` unless the records differ in their classes only, and these are the labels."""
    before, after = old.reshape(-1, file.point_size), new.reshape(-1, file.point_size)
    at, bits = (15, 0b1_1111) if file.point_format < 6 else (CLASS_BYTE, 0xFF)
    if not np.array_equal(after[:, at] & np.uint8(bits), labels):
        raise NotTheSame(file, "its classes are not the labels")
    others = np.ones(file.point_size, np.bool_)
    others[at] = False
    edges = np.flatnonzero(np.diff(others, prepend=False, append=False))
    same = all(np.array_equal(before[:, a:b], after[:, a:b]) for a, b in edges.reshape(-1, 2))
    if not same or not np.array_equal(before[:, at] & np.uint8(~bits & 0xFF), after[:, at] & np.uint8(~bits & 0xFF)):
        raise NotTheSame(file, "its points differ from their source in more than their classes")


def check_stream(file: LasFile, coded: BinaryIO, sums: Sequence[tuple[int, int]]) -> None:
    """Raises `NotTheSame` unless a coded stream (pointer, chunks, table) decodes to records of these (points, CRC-32)."""
    assert file.laszip is not None
    coded.seek(0)
    decoder = lazrs.LasZipDecompressor(coded, file.laszip.data)
    for points, crc in sums:
        records = np.zeros(points * file.point_size, np.uint8)
        try:
            laz.guarded(partial(decoder.decompress_many, records))
        except laz.Corrupt as why:
            raise NotTheSame(file, str(why)) from why
        if zlib.crc32(records.data) != crc:
            raise NotTheSame(file, "its points do not decode to what was coded")
