"""One COPC file of all classified files of a run.

Points go through scratch files, one for each part of the cube that fits into memory; the parts are sorted into the octree one
after another (octree.py). Disk, not memory, grows with the points: it holds every record once.

Source: COPC specification 1.0; ASPRS LAS 1.4-R15.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, BinaryIO

import lazrs
import numpy as np
from numpy.typing import NDArray

from tilery.outcomes import BadInput, Transient
from tilery.run import Source
from tilery.store.disk import DiskFull
from tilery.store.port import Store
from tilery.workloads.pointcloud import copc, crs, laz, unifying
from tilery.workloads.pointcloud.las_header import HEADER_SIZES, Chunk, Evlr, LasFile
from tilery.workloads.pointcloud.octree import MOST_AT_ONCE, VOXEL_LEVELS, Cube, Key, Node, Places, Sorting, key_of
from tilery.workloads.pointcloud.points import Records, iter_records
from tilery.workloads.pointcloud.shards import Shard
from tilery.workloads.pointcloud.stitch import ShardOutput
from tilery.workloads.pointcloud.unifying import EXTRA_BYTES, SPEC, Union, unified, union_of
from tilery.workloads.pointcloud.upgrading import VERSION, VLR_HEAD, encoding_of

MOST_POINTS = 150_000_000
"""Points of one file: they take about half of a function's 15 minutes (benchmarks/pointcloud)."""
MOST_BYTES = 9_000 * 2**20
"""Bytes of all their records, which a function's disk (10,240 MiB) holds once."""
ROOM = 256 << 20
"""Bytes of disk that are needed besides."""
PART_POINTS = 1_000_000
"""About how many points of a part are sorted at once."""
SAMPLE = 61
"""One point in so many says where the parts are to be cut: a prime, as scanners have beams in powers of two."""
BATCH_POINTS = 1 << 19
HEADER_SIZE = HEADER_SIZES[VERSION[1]]
MOST_EXTENDED = 64 << 20
"""Bytes of all extended records that are carried over."""
GPS_TIME, MADE_UP_RETURNS = 0b1, 0b1000
"""Bits of the global encoding."""

Batches = Iterable[tuple[LasFile, Records]]


def check(files: Sequence[LasFile]) -> None:
    """Raises `BadInput` where the files cannot become one, by their headers."""
    union, count = union_of(files), sum(file.count for file in files)
    most = min(MOST_POINTS, MOST_BYTES // union.dtype.itemsize)
    if count > most:
        raise BadInput(
            f"one COPC file is made of at most {most:,} points like these, and they are {count:,}: leave out the product copc, "
            "or drop parts of the area apart"
        )
    if sum(evlr.stop - evlr.start for file in files for evlr in _carried(file)) > MOST_EXTENDED:
        raise BadInput(
            f"{files[0].name} and the files beside it have more than {MOST_EXTENDED >> 20} MiB of extended records, too many "
            "for one COPC file: leave out the product copc"
        )


def batches_of(store: Store, files: Sequence[LasFile], outputs: Mapping[int, Sequence[ShardOutput]]) -> Batches:
    """The records of what was written of the files, which have these numbers: some at a time, in order."""
    for number, file in enumerate(files):
        for output in outputs[number]:
            starts = accumulate((size for _, size in output.chunks), initial=0)
            chunks = tuple(Chunk(points, at, at + size) for at, (points, size) in zip(starts, output.chunks, strict=False))
            count = sum(chunk.points for chunk in chunks) if file.compressed else output.size // file.point_size
            shard = Shard("", number, 0, count, 0, output.size, 0, len(chunks), streamed=bool(file.slow))
            source = Source(name=file.name, key=output.key, size=output.size, version=output.version)
            for _, records in iter_records(store, source, replace(file, chunks=chunks), shard, points=BATCH_POINTS):
                if len(records):
                    yield file, records


def extended_of(store: Store, sources: Sequence[Source], files: Sequence[LasFile]) -> list[bytes]:
    """The extended records of all files, each once, but those that are made anew."""
    found: dict[bytes, None] = {}
    for source, file in zip(sources, files, strict=True):
        for evlr in _carried(file):
            found[store.get_range(source.key, evlr.start, evlr.stop, version=source.version)] = None
    return list(found)


def _carried(file: LasFile) -> list[Evlr]:
    return [evlr for evlr in file.evlrs if not _is_made_anew(evlr.user_id, evlr.record_id)]


def _is_made_anew(user_id: str, record_id: int) -> bool:
    """Whether a record is about the file that it stands in, and not about its points."""
    if user_id == SPEC:
        return record_id == EXTRA_BYTES
    return user_id in (laz.USER_ID, copc.USER_ID, crs.USER_ID)


def write(
    path: Path,
    files: Sequence[LasFile],
    batches: Batches,
    crs_wkt: str | None,
    scratch: Path,
    extended: Sequence[bytes] = (),
) -> None:
    """Write all records that `batches` yields (with the file that each batch is of) as one COPC file.

    `scratch` is a folder that is made and taken away again. Raises `BadInput` as `union_of` and `unified` do, and where more
    points lie in one place than can be sorted; `DiskFull` before anything is written.
    """
    union, count = union_of(files), sum(file.count for file in files)
    _check_room(path.parent, count * union.dtype.itemsize)
    scratch.mkdir()
    cube, sample, pieces = _spool(batches, union, scratch)
    sorting = Sorting(cube)
    with path.open("wb") as out:
        coding = _Coding(out, union, files, crs_wkt, extended)
        waiting: dict[int, tuple[Node, list[Records]]] = {}
        for level, part in _parts(cube, sample, pieces, union, scratch):
            records = np.fromfile(part, union.dtype)
            part.unlink()
            if len(records) > MOST_AT_ONCE:
                raise BadInput(
                    f"{len(records):,} points of {files[0].name} and the files beside it lie in one place, too many for a COPC "
                    "file: take out duplicates, or leave out the product copc"
                )
            ready: list[tuple[Node, list[Records]]] = []
            for node, members in sorting.nodes(_places(records), level):
                if node[0] >= level:
                    ready.append((node, [records[members]]))
                    continue
                if node[0] in waiting and waiting[node[0]][0] != node:
                    ready.append(waiting.pop(node[0]))
                waiting.setdefault(node[0], (node, []))[1].append(records[members])
            coding.add(ready)
        coding.add(list(waiting.values()))
        if coding.count != count:
            raise ValueError(f"{coding.count} points were written of {count}")
        coding.close(cube)
    scratch.rmdir()


def _check_room(folder: Path, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < need + ROOM:
        raise DiskFull(
            f"the COPC file needs {(need + ROOM) >> 20:,} MiB of disk while it is made and {folder} has {free >> 20:,}; make "
            "room, then redrive the run"
        )


def _spool(batches: Batches, union: Union, scratch: Path) -> tuple[Cube, NDArray[np.uint64], list[Path]]:
    """All records on disk; the cube that holds them, and a sample of where in it they lie."""
    pieces: list[Path] = []
    sample: list[Places] = []
    low, high, skip = np.full(3, 2**62), np.full(3, -(2**62)), 0
    for file, records in batches:
        one = unified(file, records, union)
        pieces.append(scratch / f"{len(pieces)}")
        one.tofile(pieces[-1])
        places = _places(one)
        low, high = np.minimum(low, places.min(axis=0)), np.maximum(high, places.max(axis=0))
        sample.append(places[skip::SAMPLE].astype(np.int32))
        skip = (skip - len(one)) % SAMPLE
    cube = Cube.around(*(tuple(edge.tolist()) for edge in (low, high)))
    return cube, cube.codes(np.concatenate(sample).astype(np.int64)), pieces


def _parts(
    cube: Cube, sample: NDArray[np.uint64], pieces: list[Path], union: Union, scratch: Path
) -> Iterator[tuple[int, Path]]:
    """The records sorted into parts small enough for memory, in the order of the curve: level and file of each.

    What is read is taken away, so that the disk holds every record once.
    """
    parts = cube.parts(sample, max(1, PART_POINTS // SAMPLE))
    paths = [scratch / f"part-{number}" for number in range(len(parts))]
    for piece in pieces:
        records = np.fromfile(piece, union.dtype)
        piece.unlink()
        owners = cube.part_of(cube.codes(_places(records)), parts)
        order = np.argsort(owners, kind="stable")
        edges = np.flatnonzero(np.diff(owners[order], prepend=-1, append=len(parts)))
        for start, stop in pairwise(edges.tolist()):
            with paths[owners[order[start]]].open("ab") as out:
                records[order[start:stop]].tofile(out)
    for (level, _), path in zip(parts, paths, strict=True):
        if path.exists():
            yield level, path


def _places(records: Records) -> Places:
    return np.stack([records[name] for name in "XYZ"], axis=1).astype(np.int64)


@dataclass
class _Coding:
    """The file while it is written: nodes become chunks, and the header is written last."""

    out: BinaryIO
    union: Union
    files: Sequence[LasFile]
    crs_wkt: str | None
    extended: Sequence[bytes]
    nodes: list[tuple[Key, int, int, int]] = field(default_factory=list)
    """Key, offset, bytes, points."""
    returns: NDArray[np.int64] = field(default_factory=lambda: np.zeros(16, np.int64))
    low: NDArray[Any] = field(default_factory=lambda: np.full(4, np.inf))
    """X, Y, Z and GPS time."""
    high: NDArray[Any] = field(default_factory=lambda: np.full(4, -np.inf))

    def __post_init__(self) -> None:
        vlr = lazrs.LazVlr.new_for_compression(self.union.point_format, self.union.extra_bytes, True)
        self.laszip = laz.parse_vlr(bytes(vlr.record_data()))
        self.points_at = HEADER_SIZE + len(b"".join(self._vlrs(bytes(copc.INFO_SIZE))))
        self.out.write(bytes(self.points_at + 8))

    @property
    def count(self) -> int:
        return sum(count for *_, count in self.nodes)

    def add(self, nodes: Sequence[tuple[Node, list[Records]]]) -> None:
        """Code the points of each node as a chunk, and read it back. Raises `Transient` where it is not what was coded."""
        if not nodes:
            return
        records = np.concatenate([piece for _, pieces in nodes for piece in pieces])
        counts = [sum(map(len, pieces)) for _, pieces in nodes]
        raw = records.view(np.uint8).reshape(-1)
        data, sizes = laz.encode(raw, counts, self.laszip)
        self._check(data, sizes, raw)
        at = self.out.tell()
        for (node, _), (count, size) in zip(nodes, sizes, strict=True):
            self.nodes.append((key_of(node), at, size, count))
            at += size
        self.out.write(data)
        self.returns += np.bincount(records["bit_fields"] & 15, minlength=16)
        for axis, name in enumerate(("X", "Y", "Z", "gps_time")):
            self.low[axis] = np.fmin(self.low[axis], np.fmin.reduce(records[name]))
            self.high[axis] = np.fmax(self.high[axis], np.fmax.reduce(records[name]))

    def _check(self, data: bytes, sizes: list[tuple[int, int]], raw: NDArray[np.uint8]) -> None:
        said = "points of the COPC file do not read back as they were coded; nothing of it was published, redrive the run"
        try:
            if not np.array_equal(laz.decode(data, sizes, self.laszip), raw):
                raise Transient(said)
        except laz.Corrupt as why:
            raise Transient(said) from why

    def close(self, cube: Cube) -> None:
        """Chunk table, hierarchy, and the header that points at them."""
        table_at = self.out.tell()
        self.out.write(laz.format_chunk_table([(count, size) for _, _, size, count in self.nodes], self.laszip))
        evlrs_at = self.out.tell()
        hierarchy = b"".join(copc.ENTRY.pack(*key, offset, size, count) for key, offset, size, count in sorted(self.nodes))
        self.out.write(struct.pack("<H16sHQ32s", 0, copc.USER_ID.encode(), copc.HIERARCHY, len(hierarchy), b"") + hierarchy)
        self.out.write(b"".join(self.extended))
        half = self.union.scale * cube.side / 2
        corner = [start * self.union.scale + offset for start, offset in zip(cube.origin, self.union.offsets, strict=True)]
        spacing = 2 * half / 2**VOXEL_LEVELS
        root = evlrs_at + 60, len(hierarchy)
        times = (float(time) if np.isfinite(time) else 0.0 for time in (self.low[3], self.high[3]))
        info = struct.pack("<3dddQQdd88x", *(edge + half for edge in corner), half, spacing, *root, *times)
        self.out.seek(0)
        self.out.write(self._header(evlrs_at) + b"".join(self._vlrs(info)) + struct.pack("<q", table_at))

    def _header(self, evlrs_at: int) -> bytes:
        union, first = self.union, self.files[0].head
        timed = [file for file in self.files if file.point_format not in unifying.TIMELESS]
        encoding = crs.WKT_IS_MEANT | (encoding_of(timed[0]) & GPS_TIME if timed else 0)
        encoding |= max(encoding_of(file) & MADE_UP_RETURNS for file in self.files)
        size = sum(item.size for item in self.laszip.items)
        bounds = []
        for axis, offset in enumerate(union.offsets):
            bounds += [edge[axis] * union.scale + offset for edge in (self.high, self.low)]
        head = struct.pack("<4sHH16xBB32s32s", b"LASF", 0, encoding, 1, 4, b"MERGE", b"Tilery")
        head += first[90:94]  # the day on which the first file was made
        head += struct.pack("<HIIBHI20x", HEADER_SIZE, self.points_at, len(self._vlrs(b"")), union.point_format | 0x80, size, 0)
        head += struct.pack("<12d", *[union.scale] * 3, *union.offsets, *bounds)
        head += struct.pack("<QQIQ", 0, evlrs_at, 1 + len(self.extended), self.count)
        return head + struct.pack("<15Q", *self.returns[1:].tolist())

    def _vlrs(self, info: bytes) -> list[bytes]:
        """The header's records: COPC's own first, as it wants it, then what a reader needs, then all that the files had."""
        own = [(copc.USER_ID, copc.INFO, info), (laz.USER_ID, laz.RECORD_ID, self.laszip.data)]
        if self.crs_wkt:
            own.append((crs.USER_ID, crs.WKT, self.crs_wkt.encode() + b"\0"))
        if self.union.extra:
            own.append((SPEC, EXTRA_BYTES, self.union.described))
        found = [struct.pack("<H16sHH32s", 0, user.encode(), number, len(data), b"") + data for user, number, data in own]
        for file in self.files:
            for vlr in file.vlrs:
                given = file.head[vlr.at - VLR_HEAD : vlr.at + len(vlr.data)]
                kept = vlr.user_id == crs.USER_ID and not self.crs_wkt
                if given not in found and (kept or not _is_made_anew(vlr.user_id, vlr.record_id)):
                    found.append(given)
        return found
