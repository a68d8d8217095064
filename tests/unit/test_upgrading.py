"""Formats 0 to 5 as LAS 1.4: every field carried over, read by every reader, proved by `verify`, and told from damage."""

import io
import struct
from pathlib import Path

import laspy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.las_files import las_of, laz_of, stored
from tests.unit.test_las_stitch import BACKENDS, with_waveforms
from tests.unit.town import run, town
from tilery.run import Source
from tilery.store.directory import DirectoryStore
from tilery.workloads.pointcloud.crs import read_crs
from tilery.workloads.pointcloud.las_header import LasFile, read_las
from tilery.workloads.pointcloud.points import record_dtype
from tilery.workloads.pointcloud.rewrite import rewrite_shard
from tilery.workloads.pointcloud.shards import shards_of
from tilery.workloads.pointcloud.stitch import ShardOutput, segments_of
from tilery.workloads.pointcloud.upgrading import UPGRADED, Upgrade, downgraded, upgraded, with_head, written_as
from tilery.workloads.pointcloud.verify import verify

OLD = {0: "1.0", 1: "1.1", 2: "1.2", 3: "1.4", 4: "1.3", 5: "1.3"}
"""Format -> a version that has it."""


def old_of(point_format: int, **changes: object) -> bytes:
    las = bytearray(las_of(point_format, extra=True, version=max("1.2", OLD[point_format]), **changes))
    las[25] = int(OLD[point_format][-1])
    las[8:24] = bytes(range(16))
    return bytes(with_waveforms(bytes(las)) if point_format >= 4 else las)


def labels_of(count: int) -> np.ndarray:
    return np.repeat(np.random.default_rng(5).integers(0, 256, count), 3)[:count].astype(np.uint8)


def raised(store: DirectoryStore, source: Source, labels: np.ndarray, least: int = 16 << 20) -> Source:
    """The whole way, with as many shards as `least` bytes of each make."""
    file = read_las(store, source)
    outputs, returns = [], np.zeros(16, np.int64)
    for shard in shards_of(file, 0, least, least):
        upgrade, key = Upgrade.of(file, wanted=True), f"work/acme/finish/{shard.id}"
        mine = labels[shard.first : shard.first + shard.count]
        with store.writer(key) as out:
            chunks = rewrite_shard(store, source, file, shard, mine, out, None, upgrade)
        outputs.append(ShardOutput(key, store.head(key).size, chunks))
        returns += upgrade.returns
    new = with_head(store, source, file, written_as(file, True), returns)
    key = f"results/acme/{source.name}"
    store.compose(key, segments_of(store, source, file, outputs, new))
    return Source(name="upgraded", key=key, size=store.head(key).size, version="")


@pytest.mark.parametrize("compressed", [False, True], ids=["las", "laz"])
@pytest.mark.parametrize("point_format", range(6))
def test_every_field_is_carried_over(tmp_path: Path, point_format: int, compressed: bool) -> None:
    las = old_of(point_format, padding=7)
    store, source = stored(tmp_path, laz_of(las) if compressed else las)
    labels = labels_of(1_700)
    output = raised(store, source, labels)
    data, was = store.get(output.key), laspy.read(io.BytesIO(las))
    for backend in BACKENDS if compressed else BACKENDS[:1]:
        now = laspy.read(io.BytesIO(data), laz_backend=backend)
        assert (str(now.header.version), now.header.point_format.id) == ("1.4", UPGRADED[point_format])
        for name in set(was.point_format.dimension_names) - {"classification", "scan_angle_rank"}:
            assert np.array_equal(np.asarray(now[name]), np.asarray(was[name]), equal_nan=True), name
        assert np.array_equal(now.classification, labels)
        assert np.array_equal(np.rint(now.scan_angle * 0.006), was.scan_angle_rank)
        assert np.abs(now.scan_angle * 0.006 - was.scan_angle_rank).max() <= 0.003
        assert now.header.number_of_points_by_return.tolist() == np.bincount(was.return_number, minlength=16)[1:].tolist()
    assert data[107:131] == bytes(24), "no legacy counts"
    assert (data[8:24], data[26:94]) == (las[8:24], las[26:94])
    assert verify(store, source, output) == []
    output = raised(store, source, labels, least=20_000)
    assert store.get(output.key) == data, "however it is cut"


@pytest.mark.parametrize("point_format", [4, 5])
def test_waveforms_stay_where_the_header_says(tmp_path: Path, point_format: int) -> None:
    las = old_of(point_format)
    store, source = stored(tmp_path, laz_of(las))
    before, after = (read_las(store, one) for one in (source, raised(store, source, labels_of(1_700))))
    assert (len(after.evlrs), after.waveforms_at) == (1, after.evlrs[0].start)
    assert after.evlrs[0].stop - after.evlrs[0].start == before.evlrs[0].stop - before.evlrs[0].start
    assert store.get("results/acme/some.laz").endswith(las[-500:])


def test_a_file_whose_chunks_cannot_be_found_gets_some(tmp_path: Path) -> None:
    data = bytearray(laz_of(old_of(1)))
    (start,) = struct.unpack_from("<I", data, 96)
    (table_at,) = struct.unpack_from("<q", data, start)
    struct.pack_into("<q", data, start, -1)
    store, source = stored(tmp_path, bytes(data[:table_at]))
    assert read_las(store, source).slow
    output = raised(store, source, labels_of(1_700))
    assert len(read_las(store, output).chunks) == 1
    assert verify(store, source, output) == []


@pytest.mark.parametrize(
    ("at", "word"), [(14, "bit_fields"), (15, "classification_flags"), (18, "scan_angle"), (22, "gps_time")]
)
def test_what_is_not_as_it_was_is_found(tmp_path: Path, at: int, word: str) -> None:
    las = old_of(1)
    store, source = stored(tmp_path, las)
    data = bytearray(store.get(raised(store, source, labels_of(1_700)).key))
    (start,) = struct.unpack_from("<I", data, 96)
    data[start + 5 * (30 + 17) + at] ^= 16
    store.put("results/acme/changed", bytes(data))
    found = verify(store, source, Source(name="b", key="results/acme/changed", size=len(data), version=""))
    assert f"b has another {word} in 1 points, first in point 5" in found


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (5, "file source ID"),
        (6, "global encoding"),
        (107, "legacy point counts"),
        (180, "bounds"),
        (256, "counts other points"),
    ],
)
def test_a_header_that_is_not_as_it_was_is_found(tmp_path: Path, at: int, words: str) -> None:
    store, source = stored(tmp_path, old_of(3))
    data = bytearray(store.get(raised(store, source, labels_of(1_700)).key))
    data[at] ^= 2
    store.put("results/acme/changed", bytes(data))
    found = verify(store, source, Source(name="b", key="results/acme/changed", size=len(data), version=""))
    assert len(found) == 1
    assert words in found[0]


def a_file(tmp_path: Path, point_format: int) -> LasFile:
    store, source = stored(tmp_path, old_of(point_format, count=1))
    return read_las(store, source)


@pytest.mark.parametrize("point_format", range(6))
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_any_record_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, point_format: int, data: st.DataObject
) -> None:
    file = a_file(tmp_path_factory.mktemp("las"), point_format)
    new = written_as(file, True)
    raw = data.draw(st.binary(min_size=3 * file.point_size, max_size=3 * file.point_size))
    records = np.frombuffer(raw, record_dtype(file))
    there = upgraded(file, new, records)
    assert downgraded(file, there).tobytes() == raw
    assert np.abs(there["scan_angle"].astype(int)).max() <= 30_000


def test_all_angles_come_back() -> None:
    angles = np.arange(-128, 128)
    assert np.array_equal(np.rint(np.rint(angles / 0.006) * 0.006), angles)


def test_keys_are_joined_by_the_same_system_as_wkt(tmp_path: Path) -> None:
    las = las_of(1, version="1.2")
    keys = struct.pack("<4H12H", 1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 25832)
    record = struct.pack("<H16sHH32s", 0, b"LASF_Projection", 34735, len(keys), b"") + keys
    head = bytearray(las[:227])
    (start,) = struct.unpack_from("<I", las, 96)
    struct.pack_into("<II", head, 96, start + len(record), struct.unpack_from("<I", las, 100)[0] + 1)
    store, source = stored(tmp_path, bytes(head) + record + las[227:])
    output = raised(store, source, labels_of(1_700))
    after = read_las(store, output)
    assert [vlr.record_id for vlr in after.vlrs] == [34735, 77, 2112]
    assert after.global_encoding & 16
    assert "25832" in read_crs(store, output, after).wkt
    assert verify(store, source, output) == []


def test_a_run_upgrades_what_it_is_asked_to(tmp_path: Path) -> None:
    las = laspy.read(io.BytesIO(town(point_format=1, density=1.0)))
    header = laspy.LasHeader(point_format=1, version="1.2")
    header.scales, header.offsets, header.vlrs = las.header.scales, las.header.offsets, las.header.vlrs
    out = io.BytesIO()
    laspy.LasData(header, las.points).write(out, do_compress=True)
    files = {"a.laz": out.getvalue(), "b.laz": town(density=1.0, seed=5)}
    asked = {"products": ["classified", "stac"], "upgrade": True}
    whole = run(tmp_path, files, **asked)
    shards = run(tmp_path, files, lane="fargate", shard_mib=0.02, **asked)
    assert whole.products == shards.products
    with laspy.open(whole.path("classified/a.laz")) as file:
        assert (file.header.point_format.id, str(file.header.version)) == (6, "1.4")
    for name in files:
        source = Source(name=name, key=f"drop/acme/pointcloud/town/{name}", size=len(files[name]), version="")
        key = whole.path(f"classified/{name}").relative_to(whole.root).as_posix()
        product = Source(name="product", key=key, size=whole.path(f"classified/{name}").stat().st_size, version="")
        assert verify(whole.store, source, product) == []
