"""The stitched file: what follows the points moves with them, and every reader finds it."""

import io
import struct
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import laspy
import numpy as np
import pytest

from tests.data import real
from tests.unit.las_files import las_of, laz_of, random_labels, rewritten, stored, with_labels
from tilery.outcomes import BadInput
from tilery.workloads.pointcloud import copc
from tilery.workloads.pointcloud.las_header import Chunk, read_las
from tilery.workloads.pointcloud.shards import MOST_BYTES, MOST_SHARDS, shards_of
from tilery.workloads.pointcloud.stitch import ShardOutput, segments_of
from tilery.workloads.pointcloud.verify import verify

BACKENDS = [laspy.LazBackend.Lazrs, laspy.LazBackend.LazrsParallel, laspy.LazBackend.Laszip]


@pytest.mark.parametrize("backend", BACKENDS, ids=[backend.name for backend in BACKENDS])
@pytest.mark.parametrize("point_format", [1, 3, 6, 7, 8])
def test_every_reader_reads_the_output(tmp_path: Path, point_format: int, backend: laspy.LazBackend) -> None:
    las = las_of(point_format, extra=True)
    labels = random_labels(1_700, point_format)
    store, source = stored(tmp_path, laz_of(las))
    output = rewritten(store, source, labels)
    got = laspy.read(io.BytesIO(store.get(output.key)), laz_backend=backend)
    want = laspy.read(io.BytesIO(with_labels(las, labels)))
    assert got.points.array.tobytes() == want.points.array.tobytes()


def test_extended_records_follow_the_points(tmp_path: Path) -> None:
    store, source = stored(tmp_path, laz_of(las_of(6, evlr=b"something long" * 1_000)))
    before, output = read_las(store, source), rewritten(store, source, np.zeros(1_700, np.uint8))
    after = read_las(store, output)
    assert after.evlrs[0].start == before.evlrs[0].start + output.size - source.size
    assert after.evlrs[0].start != before.evlrs[0].start
    (record,) = laspy.read(io.BytesIO(store.get(output.key))).evlrs
    assert record.record_data == b"something long" * 1_000


def with_waveforms(las: bytes) -> bytes:
    """A LAS 1.3 or 1.4 file with internal waveform packets behind its points."""
    packets = struct.pack("<H16sHQ32s", 0, b"LASF_Spec", 65535, 500, b"") + bytes(range(250)) * 2
    head = bytearray(las) + packets
    struct.pack_into("<Q", head, 227, len(las))
    struct.pack_into("<H", head, 6, struct.unpack_from("<H", head, 6)[0] | 0b10)
    if las[25] == 4:
        struct.pack_into("<QI", head, 235, len(las), 1)
    return bytes(head)


@pytest.mark.parametrize("point_format", [4, 5, 9, 10])
def test_internal_waveforms_are_found_where_the_header_says(tmp_path: Path, point_format: int) -> None:
    las = with_waveforms(las_of(point_format, version="1.3" if point_format < 6 else "1.4"))
    store, source = stored(tmp_path, laz_of(las))
    output = rewritten(store, source, np.ones(1_700, np.uint8))
    data, file = store.get(output.key), read_las(store, output)
    assert file.waveforms_at == struct.unpack_from("<Q", data, 227)[0] == len(data) - 560
    assert data[file.waveforms_at + 60 :] == bytes(range(250)) * 2
    assert verify(store, source, output) == []


def test_bytes_between_the_last_chunk_and_the_table_are_kept(tmp_path: Path) -> None:
    data = bytearray(laz_of(las_of(6)))
    (start,) = struct.unpack_from("<I", data, 96)
    (table,) = struct.unpack_from("<q", data, start)
    data[table:table] = b"left over"
    struct.pack_into("<q", data, start, table + 9)
    store, source = stored(tmp_path, bytes(data))
    output = rewritten(store, source, np.zeros(1_700, np.uint8))
    (table,) = struct.unpack_from("<q", store.get(output.key), start)
    assert store.get(output.key)[table - 9 : table] == b"left over"
    assert verify(store, source, output) == []


def test_shards_that_miss_points_are_not_stitched(tmp_path: Path) -> None:
    store, source = stored(tmp_path, laz_of(las_of(6)))
    file = read_las(store, source)
    with pytest.raises(ValueError, match="do not hold its 1700 points"):
        segments_of(store, source, file, [ShardOutput("work/acme/x", 100, ((500, 100),))])


def test_shards_are_runs_of_whole_chunks_without_gaps(tmp_path: Path) -> None:
    store, source = stored(tmp_path, laz_of(las_of(6, 5_000)))
    file = read_las(store, source)
    shards = shards_of(file, 3, target_bytes=30_000, least_bytes=30_000)
    assert len(shards) > 2
    assert shards[0].start == file.chunks[0].start
    assert shards[-1].stop == file.chunks[-1].stop
    for one, following in pairwise(shards):
        assert (one.stop, one.first + one.count, one.stop_chunk) == (following.start, following.first, following.first_chunk)
    assert sum(shard.count for shard in shards) == 5_000
    assert len({shard.id for shard in shards}) == len(shards)
    assert len(shards_of(file)) == 1


@pytest.mark.parametrize(("points", "size"), [(50_000, 350_000), (50_000, 40), (4_000_000, 60_000_000)])
def test_a_file_of_any_size_has_few_enough_shards_that_s3_can_copy(tmp_path: Path, points: int, size: int) -> None:
    store, source = stored(tmp_path, laz_of(las_of(6)))
    first = read_las(store, source).chunks[0].start
    chunks = tuple(Chunk(points, first + n * size, first + (n + 1) * size) for n in range(60_000))
    file = replace(read_las(store, source), chunks=chunks, count=60_000 * points)
    shards = shards_of(file)
    assert 30 < len(shards) <= MOST_SHARDS
    assert max(shard.stop - shard.start for shard in shards) <= MOST_BYTES
    assert sum(shard.count for shard in shards) == file.count
    assert shards[-1].stop == chunks[-1].stop


def test_a_copc_file_stays_one_that_copc_readers_query(tmp_path: Path) -> None:
    store, source = stored(tmp_path, real("pointcloud/samples/pdal_lone-star.copc.laz").read_bytes())
    file = read_las(store, source)
    labels = random_labels(file.count, 6)
    output = rewritten(store, source, labels, shards=shards_of(file, 0, 200_000, 200_000))
    assert verify(store, source, output) == []
    before, after = (laspy.CopcReader(io.BytesIO(store.get(each.key))).query(resolution=None) for each in (source, output))
    assert len(after) == len(before) == file.count
    order = [np.lexsort([points.gps_time, points.X, points.Y, points.Z]) for points in (before, after)]
    for name in ("X", "Y", "Z", "intensity", "gps_time"):
        assert np.array_equal(before[name][order[0]], after[name][order[1]])
    assert np.array_equal(np.bincount(after.classification, minlength=256), np.bincount(labels, minlength=256))


def test_a_copc_hierarchy_that_points_at_no_chunk_is_refused() -> None:
    page = copc.ENTRY.pack(0, 0, 0, 0, 1_000, 50, 10)
    root = (5_000, len(page))
    moved = copc.moved_hierarchy("a.laz", page, 5_000, root, {1_000: (1_000, 60)}, lambda offset: offset)
    assert copc.ENTRY.unpack(moved) == (0, 0, 0, 0, 1_000, 60, 10)
    with pytest.raises(BadInput, match=r"a.laz is not valid COPC: node 0-0-0-0 points at byte 1,000, where no chunk starts"):
        copc.moved_hierarchy("a.laz", page, 5_000, root, {}, lambda offset: offset)
    with pytest.raises(BadInput, match="a hierarchy page lies outside the hierarchy"):
        copc.moved_hierarchy("a.laz", page, 5_000, (5_000, 64), {}, lambda offset: offset)
    loop = copc.ENTRY.pack(0, 0, 0, 0, 5_000, 32, -1)
    with pytest.raises(BadInput, match="a hierarchy page is listed twice"):
        copc.moved_hierarchy("a.laz", loop, 5_000, root, {}, lambda offset: offset)


def test_pages_below_the_root_page_move_with_the_hierarchy() -> None:
    data = copc.ENTRY.pack(0, 0, 0, 0, 5_032, 32, -1) + copc.ENTRY.pack(1, 0, 0, 0, 1_000, 50, 10)
    moved = copc.moved_hierarchy("a.laz", data, 5_000, (5_000, 32), {1_000: (1_010, 60)}, lambda offset: offset + 7)
    assert copc.ENTRY.unpack(moved[:32]) == (0, 0, 0, 0, 5_039, 32, -1)
    assert copc.ENTRY.unpack(moved[32:]) == (1, 0, 0, 0, 1_010, 60, 10)
