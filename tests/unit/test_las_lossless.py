"""What other tools lose, kept: header bytes, extra bytes with scales, old versions, files beyond 4 GB and 2^32 points."""

import io
import struct
from pathlib import Path

import laspy
import numpy as np
import pytest

from tests.unit.las_files import WKT, las_of, laz_of, random_labels, records_of, rewritten, stored
from tilery.run import Source
from tilery.store.directory import DirectoryStore
from tilery.store.port import Span
from tilery.workloads.pointcloud.las_header import LasFile, read_las
from tilery.workloads.pointcloud.points import read_records
from tilery.workloads.pointcloud.rewrite import rewrite_shard
from tilery.workloads.pointcloud.shards import MOST_BYTES, MOST_SHARDS, Shard, shards_of
from tilery.workloads.pointcloud.stitch import ShardOutput, segments_of
from tilery.workloads.pointcloud.verify import verify

MOVES = slice(227, 243)
"""Where the header says what lies behind the points: the only bytes of it that may change."""


def relabelled(tmp_path: Path, data: bytes, point_format: int) -> tuple[bytes, bytes]:
    """The head of a file before and after it got other classes, checked to differ in nothing else."""
    store, source = stored(tmp_path, data)
    output = rewritten(store, source, random_labels(1_700, point_format))
    assert verify(store, source, output) == []
    return read_las(store, source).head, read_las(store, output).head


@pytest.mark.parametrize("compressed", [False, True], ids=["las", "laz"])
@pytest.mark.parametrize("point_format", range(11))
def test_no_byte_of_the_header_changes_but_places(tmp_path: Path, point_format: int, compressed: bool) -> None:
    las = bytearray(las_of(point_format, extra=True, evlr=b"later" if point_format >= 6 else None, padding=7))
    rng = np.random.default_rng(point_format)
    las[4:6], las[8:24], las[26:94] = rng.bytes(2), rng.bytes(16), rng.bytes(68)  # ids, software, creation date
    las[6] |= 0b1000  # synthetic return numbers
    before, after = relabelled(tmp_path, laz_of(bytes(las)) if compressed else bytes(las), point_format)
    assert before[: MOVES.start] + before[MOVES.stop :] == after[: MOVES.start] + after[MOVES.stop :]


@pytest.mark.parametrize("compressed", [False, True], ids=["las", "laz"])
@pytest.mark.parametrize("minor", [0, 1, 2])
def test_old_versions_stay_old(tmp_path: Path, minor: int, compressed: bool) -> None:
    las = bytearray(las_of(1, version="1.2"))
    las[25] = minor
    before, after = relabelled(tmp_path, laz_of(bytes(las)) if compressed else bytes(las), 1)
    assert (after[24], after[25]) == (1, minor)
    assert before == after


@pytest.mark.parametrize("point_format", [1, 3, 6, 8])
def test_extra_bytes_keep_their_scales_and_their_values(tmp_path: Path, point_format: int) -> None:
    las = las_of(point_format, extra=True)
    store, source = stored(tmp_path, laz_of(las))
    got = laspy.read(io.BytesIO(store.get(rewritten(store, source, random_labels(1_700, point_format)).key)))
    want = laspy.read(io.BytesIO(las))
    for name in ("height", "normal", "flag"):
        assert np.array_equal(np.asarray(got[name]), np.asarray(want[name]), equal_nan=name == "normal")
    (height, *_) = [dimension for dimension in got.point_format.extra_dimensions if dimension.name == "height"]
    assert (height.scales[0], height.offsets[0]) == (0.001, 5.0)


def with_vlr(las: bytes, user: str, record: int, data: bytes) -> bytes:
    """One more variable length record, behind the others."""
    header, start, number = struct.unpack_from("<HII", las, 94)
    at = header
    for _ in range(number):
        at += 54 + struct.unpack_from("<H", las, at + 20)[0]
    new = struct.pack("<H16sHH32s", 0, user.encode(), record, len(data), b"a second one") + data
    head = bytearray(las[:at] + new + las[at:start])
    struct.pack_into("<II", head, 96, start + len(new), number + 1)
    if las[25] == 4 and struct.unpack_from("<I", las, 243)[0]:
        struct.pack_into("<Q", head, 235, struct.unpack_from("<Q", las, 235)[0] + len(new))
    return bytes(head) + las[start:]


@pytest.mark.parametrize("compressed", [False, True], ids=["las", "laz"])
def test_two_extra_byte_records_and_two_kinds_of_crs_are_kept(tmp_path: Path, compressed: bool) -> None:
    las = las_of(6, extra=True, evlr=b"later")
    for user, record, data in (
        ("LASF_Spec", 4, bytes(192)),
        ("LASF_Projection", 34735, struct.pack("<8H", 1, 1, 0, 1, 3072, 0, 1, 32632)),
        ("LASF_Projection", 34737, b"WGS 84 / UTM zone 32N|\0"),
        ("LASF_Projection", 2112, WKT.encode() + b"\0"),
        ("liblas", 2112, WKT.encode()),
    ):
        las = with_vlr(las, user, record, data)
    store, source = stored(tmp_path, laz_of(las) if compressed else las)
    output = rewritten(store, source, random_labels(1_700, 6))
    before, after = ([(v.user_id, v.record_id, v.data) for v in read_las(store, each).vlrs] for each in (source, output))
    assert before == after
    assert verify(store, source, output) == []


def sparse(tmp_path: Path, parts: list[tuple[int, bytes]], size: int, name: str) -> tuple[DirectoryStore, Source]:
    """A file of any size that takes no room: `parts` at their places, zeros between them."""
    path = tmp_path / "drop" / "acme" / "pointcloud" / name
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(size)
        for at, data in parts:
            file.seek(at)
            file.write(data)
    store = DirectoryStore(tmp_path)
    entry = store.head(f"drop/acme/pointcloud/{name}")
    assert entry is not None
    return store, Source(name=name, key=entry.key, size=entry.size, version=entry.version)


def large_las(tmp_path: Path) -> tuple[DirectoryStore, Source, LasFile]:
    """More than 2^32 points of 30 bytes, the last 1,700 of which are not zeros, and an extended record behind them."""
    las, count = las_of(6, evlr=b"far behind"), 2**32 + 1_700
    (start,) = struct.unpack_from("<I", las, 96)
    rows = records_of(las)
    head, stop = bytearray(las[:start]), start + count * 30
    struct.pack_into("<Q", head, 247, count)
    struct.pack_into("<Q", head, 235, stop)
    tail = las[start + rows.size :]
    parts = [(0, bytes(head)), (stop - rows.size, rows.tobytes()), (stop, tail)]
    store, source = sparse(tmp_path, parts, stop + len(tail), "large.las")
    return store, source, read_las(store, source)


def test_more_points_than_32_bits_count_are_read_and_cut(tmp_path: Path) -> None:
    store, source, file = large_las(tmp_path)
    assert file.count == 2**32 + 1_700
    assert file.evlrs[0].start == file.points_stop > 2**36
    shards = shards_of(file)
    assert sum(shard.count for shard in shards) == file.count
    assert len(shards) <= MOST_SHARDS
    assert max(shard.stop - shard.start for shard in shards) <= MOST_BYTES
    last = Shard("last", 0, file.count - 1_700, 1_700, file.points_stop - 1_700 * 30, file.points_stop)
    assert read_records(store, source, file, last).tobytes() == records_of(las_of(6)).tobytes()
    labels, out = random_labels(1_700, 6), io.BytesIO()
    rewrite_shard(store, source, file, last, labels, out)
    assert np.array_equal(np.frombuffer(out.getvalue(), np.uint8).reshape(-1, 30)[:, 16], labels)
    outputs = [ShardOutput(f"work/acme/{shard.id}", shard.stop - shard.start) for shard in shards]
    head, *parts, tail = segments_of(store, source, file, outputs)
    assert head == file.head
    assert all(isinstance(part, Span) for part in parts)
    assert tail == Span(source.key, file.points_stop, file.size, source.version)


def test_a_chunk_table_beyond_4_gb_is_found_and_moved(tmp_path: Path) -> None:
    small = laz_of(las_of(6, evlr=b"far behind"))
    (start,) = struct.unpack_from("<I", small, 96)
    (table,) = struct.unpack_from("<q", small, start)
    (evlr,) = struct.unpack_from("<Q", small, 235)
    hole = 6 << 30
    head = bytearray(small[:table])
    struct.pack_into("<q", head, start, table + hole)
    struct.pack_into("<Q", head, 235, evlr + hole)
    store, source = sparse(tmp_path, [(0, bytes(head)), (table + hole, small[table:])], len(small) + hole, "large.laz")
    file = read_las(store, source)
    assert (len(file.chunks), file.slow, file.chunk_table[0]) == (4, "", table + hole)
    (shard,) = shards_of(file)
    out = io.BytesIO()
    chunks = rewrite_shard(store, source, file, shard, random_labels(1_700, 6), out)
    size = len(out.getvalue())
    begin, points, between, new_table, tail = segments_of(store, source, file, [ShardOutput("work/acme/s", size, chunks)])
    assert isinstance(begin, bytes)
    assert isinstance(new_table, bytes)
    assert (points, tail) == (Span("work/acme/s", 0, size), Span(source.key, file.tail_start, file.size, source.version))
    assert between == Span(source.key, file.points_stop, table + hole, source.version)
    moved = start + 8 + size + hole
    assert struct.unpack_from("<q", begin, start) == (moved,)
    assert struct.unpack_from("<Q", begin, 235) == (moved + len(new_table),)
