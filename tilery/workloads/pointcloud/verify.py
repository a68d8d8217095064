"""Proof that two LAS or LAZ files differ in nothing but the classification of their points.

The second may be the first in LAS 1.4 (upgrading.py): then every field is compared with what it becomes there, and what it was
is got back from it.

Both are read in batches of 1 M points: peak memory is two batches with their compressed bytes, under 400 MB at the
largest point format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilery.outcomes import BadInput, Incomplete
from tilery.run import Source
from tilery.store.port import Store
from tilery.workloads.pointcloud import copc, laz
from tilery.workloads.pointcloud.crs import USER_ID, WKT, WKT_IS_MEANT
from tilery.workloads.pointcloud.las_header import HEADER_SIZES, LasFile, read_las
from tilery.workloads.pointcloud.points import Records, iter_records, record_dtype
from tilery.workloads.pointcloud.shards import shards_of
from tilery.workloads.pointcloud.stitch import EVLRS_AT
from tilery.workloads.pointcloud.upgrading import VLR_HEAD, WAVEFORMS_AT, downgraded, encoding_of, is_upgrade, upgraded

COPY_BYTES = 8 << 20
END_BYTES = 1 << 20
HEADER_FIELDS = (
    ("file source ID", 4, 6),
    ("global encoding", 6, 8),
    ("project GUID", 8, 24),
    ("version", 24, 26),
    ("system identifier", 26, 58),
    ("generating software", 58, 90),
    ("creation date", 90, 94),
    ("header size", 94, 96),
    ("offset to points", 96, 100),
    ("number of VLRs", 100, 104),
    ("point format", 104, 105),
    ("record length", 105, 107),
    ("legacy point counts", 107, 131),
    ("scales", 131, 155),
    ("offsets", 155, 179),
    ("bounds", 179, 227),
    ("number of EVLRs", 243, 247),
    ("point counts", 247, 375),
)
"""Name and bytes of what the public header block holds, but for offsets of what lies behind the points."""
UPGRADED_FIELDS = frozenset(
    {"global encoding", "version", "header size", "offset to points", "number of VLRs", "point format", "record length"}
    | {"legacy point counts", "number of EVLRs", "point counts"}
)
"""Those that are others in an upgraded file, and compared in their own way."""


def verify(store: Store, source_a: Source, source_b: Source) -> list[str]:
    """Every difference of B from A but classification, as sentences; empty if there is none.

    Compared are the header, VLRs and EVLRs byte for byte, and every dimension of every point, flags and extra bytes
    included. Offsets that follow the size of the compressed points (EVLRs, waveforms, COPC hierarchy) are checked to
    point at the same things instead.
    """
    a, b = read_las(store, source_a), read_las(store, source_b)
    differences = [*_headers(a, b), *_vlrs(a, b), *_evlrs(store, (source_a, a), (source_b, b))]
    if not _same_points(a, b):
        return [*differences, f"{b.name} has other points: {_points(b)} instead of {_points(a)}"]
    try:
        differences += _records(store, (source_a, a), (source_b, b))
    except BadInput as why:
        differences.append(str(why))
    return differences


def check_stitched(store: Store, source: Source, product: Source, chunks: Sequence[tuple[int, int]]) -> None:
    """Raises `Incomplete` unless the product is its source around the points: header, records, chunk table, places.

    Together with what every shard proved of its points (read_back.py), this is `verify` without decoding: of extended records
    longer than 2 MiB only both ends are compared, since they were copied whole. `chunks` are the (points, bytes) that shards
    wrote; empty for LAS.
    """
    a, b = read_las(store, source), read_las(store, product)
    found = [*_headers(a, b), *_vlrs(a, b), *_evlrs(store, (source, a), (product, b), ends_only=True)]
    if not _same_points(a, b):
        found.append(f"{b.name} has other points: {_points(b)} instead of {_points(a)}")
    if chunks and [(chunk.points, chunk.stop - chunk.start) for chunk in b.chunks] != list(chunks):
        found.append(f"{b.name} has another chunk table than its shards")
    if found:
        raise Incomplete(f"the classified {source.name} is not its input with other classes: {found[0]}; redrive the run")


def _same_points(a: LasFile, b: LasFile) -> bool:
    return a.count == b.count and (is_upgrade(a, b) or (a.point_format, a.point_size) == (b.point_format, b.point_size))


def _points(file: LasFile) -> str:
    return f"{file.count:,} of format {file.point_format} in {file.point_size} bytes"


def _headers(a: LasFile, b: LasFile) -> Iterator[str]:
    if is_upgrade(a, b):
        yield from _upgraded_header(a, b)
        return
    size = min(a.header_size, b.header_size)
    known = np.zeros(size, bool)
    for name, start, stop in HEADER_FIELDS:
        known[start:stop] = True
        if start < size and a.head[start:stop] != b.head[start:stop]:
            yield f"{b.name} has another {name} in its header"
    if a.version >= (1, 3):
        known[WAVEFORMS_AT : WAVEFORMS_AT + 8] = True
        if bool(a.waveforms_at) != bool(b.waveforms_at):
            yield f"{b.name} has lost the place of its waveforms"
    if a.version >= (1, 4):
        known[EVLRS_AT : EVLRS_AT + 8] = True
    left = np.frombuffer(a.head[:size], np.uint8)[~known], np.frombuffer(b.head[:size], np.uint8)[~known]
    if not np.array_equal(*left):
        yield f"{b.name} has other bytes at the end of its header"


def _upgraded_header(a: LasFile, b: LasFile) -> Iterator[str]:
    for name, start, stop in HEADER_FIELDS:
        if name not in UPGRADED_FIELDS and a.head[start:stop] != b.head[start:stop]:
            yield f"{b.name} has another {name} in its header"
    if (encoding_of(a) ^ b.global_encoding) & ~WKT_IS_MEANT:
        yield f"{b.name} has another global encoding in its header"
    if any(b.head[107:131]):
        yield f"{b.name} has legacy point counts in its header, and LAS 1.4 has none of its format"
    if (a.head[104] ^ b.head[104]) & 0xC0:
        yield f"{b.name} has another point format in its header"
    if bool(a.waveforms_at) != bool(b.waveforms_at):
        yield f"{b.name} has lost the place of its waveforms"
    if a.head[HEADER_SIZES[a.version[1]] : a.header_size] != b.head[HEADER_SIZES[b.version[1]] : b.header_size]:
        yield f"{b.name} has other bytes at the end of its header"


def _vlrs(a: LasFile, b: LasFile) -> Iterator[str]:
    if is_upgrade(a, b):
        yield from _upgraded_vlrs(a, b)
        return
    if len(a.vlrs) != len(b.vlrs):
        yield f"{b.name} has {len(b.vlrs)} variable length records instead of {len(a.vlrs)}"
        return
    for one, other in zip(a.vlrs, b.vlrs, strict=True):
        title = f"{one.user_id} {one.record_id}"
        mine, its = a.head[one.at - 54 : one.at] + one.data, b.head[other.at - 54 : other.at] + other.data
        if (one.user_id, one.record_id) == (copc.USER_ID, copc.INFO):
            at = 54 + copc.ROOT_AT
            mine, its = mine[:at] + mine[at + 8 :], its[:at] + its[at + 8 :]
        if mine != its:
            yield f"{b.name} has another variable length record {title}"
    if a.vlrs and len(a.vlrs) == len(b.vlrs):
        ends = [file.vlrs[-1].at + len(file.vlrs[-1].data) for file in (a, b)]
        if a.head[ends[0] :] != b.head[ends[1] :]:
            yield f"{b.name} has other bytes between its records and its points"


def _upgraded_vlrs(a: LasFile, b: LasFile) -> Iterator[str]:
    """The same records, but for what says how points are packed; perhaps the CRS as WKT behind them."""
    ours, theirs = (
        [(vlr, file.head[vlr.at - VLR_HEAD : vlr.at] + vlr.data) for vlr in file.vlrs if vlr.user_id != laz.USER_ID]
        for file in (a, b)
    )
    more = theirs[len(ours) :]
    if len(theirs) < len(ours) or any((vlr.user_id, vlr.record_id) != (USER_ID, WKT) for vlr, _ in more) or len(more) > 1:
        yield f"{b.name} has {len(b.vlrs)} variable length records instead of {len(a.vlrs)}"
    for (vlr, mine), (_, its) in zip(ours, theirs, strict=False):
        if mine != its:
            yield f"{b.name} has another variable length record {vlr.user_id} {vlr.record_id}"
    ends = [max([vlr.at + len(vlr.data) for vlr in file.vlrs], default=file.header_size) for file in (a, b)]
    if a.head[ends[0] :] != b.head[ends[1] :]:
        yield f"{b.name} has other bytes between its records and its points"


def _evlrs(store: Store, a: tuple[Source, LasFile], b: tuple[Source, LasFile], ends_only: bool = False) -> Iterator[str]:
    (source_a, file_a), (source_b, file_b) = a, b
    if len(file_a.evlrs) != len(file_b.evlrs):
        yield f"{file_b.name} has {len(file_b.evlrs)} extended records instead of {len(file_a.evlrs)}"
        return
    for one, other in zip(file_a.evlrs, file_b.evlrs, strict=True):
        title = f"{one.user_id} {one.record_id}"
        if (file_a.waveforms_at == one.start) != (file_b.waveforms_at == other.start):
            yield f"{file_b.name} has lost the place of its waveforms, extended record {title}"
        if (one.user_id, one.record_id) == (copc.USER_ID, copc.HIERARCHY):
            try:
                if _hierarchy(store, *a) != _hierarchy(store, *b):
                    yield f"{file_b.name} has another COPC hierarchy"
            except BadInput as why:
                yield str(why)
        elif not _same_bytes(store, (source_a, one.start, one.stop), (source_b, other.start, other.stop), ends_only):
            yield f"{file_b.name} has another extended record {title}"
    ends = [file.evlrs[-1].stop if file.evlrs else file.tail_start for file in (file_a, file_b)]
    if not _same_bytes(store, (source_a, ends[0], source_a.size), (source_b, ends[1], source_b.size), ends_only):
        yield f"{file_b.name} has other bytes behind its last record"


def _hierarchy(store: Store, source: Source, file: LasFile) -> bytes:
    """The COPC hierarchy with the number of the chunk in place of offsets, and without sizes."""
    info, evlr = file.vlr(copc.USER_ID, copc.INFO), file.evlr(copc.USER_ID, copc.HIERARCHY)
    if info is None or evlr is None:
        return b""
    data = store.get_range(source.key, evlr.data_start, evlr.stop, version=source.version)
    numbers = {chunk.start: (number, 1) for number, chunk in enumerate(file.chunks) if chunk.points}
    root = copc.root_page(info.data)
    return copc.moved_hierarchy(file.name, data, evlr.data_start, root, numbers, lambda offset: offset - evlr.data_start)


def _same_bytes(store: Store, a: tuple[Source, int, int], b: tuple[Source, int, int], ends_only: bool = False) -> bool:
    (source_a, start_a, stop_a), (source_b, start_b, stop_b) = a, b
    if stop_a - start_a != stop_b - start_b:
        return False
    if ends_only and stop_a - start_a > 2 * END_BYTES:
        first = (source_a, start_a, start_a + END_BYTES), (source_b, start_b, start_b + END_BYTES)
        last = (source_a, stop_a - END_BYTES, stop_a), (source_b, stop_b - END_BYTES, stop_b)
        return _same_bytes(store, *first) and _same_bytes(store, *last)
    for at in range(0, stop_a - start_a, COPY_BYTES):
        length = min(COPY_BYTES, stop_a - start_a - at)
        one = store.get_range(source_a.key, start_a + at, start_a + at + length, version=source_a.version)
        if one != store.get_range(source_b.key, start_b + at, start_b + at + length, version=source_b.version):
            return False
    return True


def _records(store: Store, a: tuple[Source, LasFile], b: tuple[Source, LasFile]) -> list[str]:
    """Per dimension that differs: how many points, and the first; and for an upgraded file what its header counts."""
    (_, file), (_, other) = a, b
    raised = is_upgrade(file, other)
    found = _Found({}, {})
    returns = np.zeros(16, np.int64)
    for first, mine, its in _pairs(_all(store, *a), _all(store, *b)):
        if not raised:
            found.compare(file, first, mine, its)
            continue
        returns += np.bincount(its["bit_fields"] & 0b1111, minlength=16)
        if not found.compare(other, first, upgraded(file, other, mine), its):
            found.compare(file, first, mine, downgraded(file, its))
    said = [
        f"{other.name} has another {field} in {n:,} points, first in point {found.firsts[field]:,}"
        for field, n in found.counts.items()
    ]
    if raised and struct.pack("<Q15Q", other.count, *returns[1:].tolist()) != other.head[247:375]:
        said.append(f"{other.name} counts other points in its header than it has")
    return said


@dataclass
class _Found:
    """Dimensions that differ."""

    counts: dict[str, int]
    """In how many points."""
    firsts: dict[str, int]

    def compare(self, file: LasFile, first: int, one: Records, other: Records) -> bool:
        """Note in what records of a file, the first of which has this index, differ but in class; whether they do."""
        at, bits = (15, np.uint8(0b1_1111)) if file.point_format < 6 else (16, np.uint8(0xFF))
        rows, others = (np.ascontiguousarray(batch).view(np.uint8).reshape(-1, file.point_size) for batch in (one, other))
        others = others.copy()
        others[:, at] = (others[:, at] & ~bits) | (rows[:, at] & bits)
        if np.array_equal(rows, others):
            return False
        wrong: NDArray[np.bool_] = rows != others
        for name, (start, stop) in _columns(file).items():
            points = np.flatnonzero(wrong[:, start:stop].any(axis=1))
            if len(points):
                self.counts[name] = self.counts.get(name, 0) + len(points)
                self.firsts.setdefault(name, first + int(points[0]))
        return True


def _columns(file: LasFile) -> dict[str, tuple[int, int]]:
    """Dimension -> its bytes in a record."""
    fields = record_dtype(file).fields
    assert fields is not None
    return {name: (offset, offset + dtype.itemsize) for name, (dtype, offset, *_) in fields.items()}


def _all(store: Store, source: Source, file: LasFile) -> Iterator[tuple[int, Records]]:
    for shard in shards_of(file):
        yield from iter_records(store, source, file, shard)


def _pairs(a: Iterator[tuple[int, Records]], b: Iterator[tuple[int, Records]]) -> Iterator[tuple[int, Records, Records]]:
    """The same points of both, whatever their batches."""
    at_a, one = next(a)
    at_b, other = next(b)
    while True:
        first = max(at_a, at_b)
        stop = min(at_a + len(one), at_b + len(other))
        yield first, one[first - at_a : stop - at_a], other[first - at_b : stop - at_b]
        if stop == at_a + len(one):
            following = next(a, None)
            if following is None:
                return
            at_a, one = following
        if stop == at_b + len(other):
            at_b, other = next(b)
