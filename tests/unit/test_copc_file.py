"""One COPC file of all files: every point once, where readers look for it, whatever the files were like."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.las_files import las_of, laz_of, stored
from tests.unit.town import SIDE_M, SOUTH_M, WEST_M, Ended, run, town
from tilery.outcomes import BadInput, Transient
from tilery.run import Source
from tilery.store.directory import DirectoryStore
from tilery.store.disk import DiskFull
from tilery.workloads.pointcloud import copc_file, laz, octree, unifying
from tilery.workloads.pointcloud.las_header import LasFile, read_las
from tilery.workloads.pointcloud.octree import Cube
from tilery.workloads.pointcloud.points import record_dtype
from tilery.workloads.pointcloud.stitch import ShardOutput


def old(data: bytes) -> bytes:
    """The eastern neighbour: format 2, in centimetres, with another offset and a dimension of its own."""
    las = laspy.convert(laspy.read(io.BytesIO(data)), point_format_id=2, file_version="1.2")
    header = laspy.LasHeader(point_format=2, version="1.2")
    header.scales, header.offsets = np.full(3, 0.01), np.array([WEST_M - 1000.0, SOUTH_M, 50.0])
    header.vlrs.extend(vlr for vlr in laspy.read(io.BytesIO(data)).header.vlrs if vlr.user_id == "LASF_Projection")
    moved = laspy.LasData(header)
    moved.add_extra_dim(laspy.ExtraBytesParams("height", "f4"))
    for name in ("intensity", "return_number", "number_of_returns", "classification", "red", "green", "blue"):
        setattr(moved, name, getattr(las, name))
    moved.x, moved.y, moved.z = las.x + SIDE_M, las.y, las.z
    moved.height, moved.scan_angle_rank = las.z - 100, np.full(len(las.z), -7)
    out = io.BytesIO()
    moved.write(out, do_compress=True)
    return out.getvalue()


FILES = {"a.laz": town(density=1.5), "b.laz": old(town(density=1.5, seed=9))}


def merged(folder: Path, **options: Any) -> Ended:
    """A run whose parts and leaves are small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(octree, "LEAF_POINTS", 200)
        patch.setattr(copc_file, "PART_POINTS", 2_000)
        return run(folder, FILES, **options)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return merged(tmp_path_factory.mktemp("both"), lane="fargate", shard_mib=0.1, products=["classified", "copc", "stac"])


def test_it_is_the_same_in_any_lane(both: Ended, tmp_path: Path) -> None:
    alone = merged(tmp_path, products=["copc"])
    assert {path: both.products[path] for path in alone.products} == alone.products
    assert list(alone.products) == ["merged.copc.laz"]


def rows(*parts: laspy.ScaleAwarePointRecord | laspy.LasData) -> np.ndarray:
    """Place (mm), class, intensity and red of all points, in an order of their own."""
    made = []
    for part in parts:
        place = [np.rint(np.asarray(part[axis]) * 1000).astype(np.int64) for axis in "xyz"]
        made.append(np.stack([*place, part.classification, part.intensity, part.red], axis=1))
    found = np.concatenate(made).astype(np.int64)
    return found[np.lexsort(found.T)]


def test_every_point_of_every_file_is_in_it_once(both: Ended) -> None:
    parts = [laspy.read(both.path(f"classified/{name}.laz")) for name in "ab"]
    with laspy.open(both.path("merged.copc.laz")) as file:
        header, plain = file.header, file.read()
    with laspy.CopcReader.open(both.path("merged.copc.laz")) as reader:
        asked = reader.query()
    assert header.point_count == both.record.counts["points"] == len(asked)
    assert np.array_equal(rows(asked), rows(*parts))
    assert np.array_equal(rows(plain), rows(*parts))
    assert (header.point_format.id, list(header.scales)) == (7, [0.001] * 3)
    assert header.global_encoding.wkt
    assert any("UTM zone 32N" in vlr.string for vlr in header.vlrs.get("WktCoordinateSystemVlr"))
    east = plain.x > WEST_M + SIDE_M
    np.testing.assert_allclose(plain.height[east], plain.z[east] - 100, atol=0.02)
    assert not plain.height[~east].any()
    assert set(plain.scan_angle[east]) == {round(-7 / 0.006)}
    np.testing.assert_allclose(header.mins, [plain.x.min(), plain.y.min(), plain.z.min()])
    assert header.number_of_points_by_return.sum() == header.point_count
    (asset,) = [product for product in both.record.products if product.kind == "copc"]
    assert asset.path == "merged.copc.laz"


def test_readers_find_what_they_ask_for(both: Ended) -> None:
    with laspy.CopcReader.open(both.path("merged.copc.laz")) as reader:
        every, (x, y) = reader.query(), (WEST_M + 60.0, SOUTH_M + 40.0)
        box = laspy.Bounds(np.array([x, y]), np.array([x + 90, y + 30]))
        inside = (every.x >= x) & (every.x <= x + 90) & (every.y >= y) & (every.y <= y + 30)
        assert len(reader.query(box)) == inside.sum() > 1000
        levels = [len(reader.query(level=level)) for level in range(12)]
        assert sum(levels) == len(every)
        assert all(levels[:3]), "the root, what lies above the parts, and below"
        coarse = reader.query(level=0)
        low = reader.copc_info.center - reader.copc_info.halfsize
        voxel = (np.stack([coarse.x, coarse.y, coarse.z], axis=1) - low) / reader.copc_info.spacing
        voxel = np.minimum(np.floor(voxel + 1e-6), 127)  # what lies on the far side belongs to the last
        assert len(np.unique(voxel, axis=0)) == len(coarse), "one point a voxel"
        assert voxel.min() >= 0
        assert (np.stack([every.x, every.y, every.z]).max(axis=1) <= low + 2 * reader.copc_info.halfsize + 1e-6).all()


def sorted_out(places: np.ndarray, most: int) -> dict[octree.Node, list[np.ndarray]]:
    """Node -> its points, in pieces, with at most so many points in a part, if it can be cut."""
    cube = Cube.around(tuple(places.min(axis=0).tolist()), tuple(places.max(axis=0).tolist()))
    codes = cube.codes(places)
    parts, sorting, nodes = cube.parts(codes, most), octree.Sorting(cube), dict[octree.Node, list[np.ndarray]]()
    owners = cube.part_of(codes, parts)
    for number, (level, _) in enumerate(parts):
        mine = np.flatnonzero(owners == number)
        for node, members in sorting.nodes(places[mine], level):
            assert node[0] < level or node not in nodes, "a node of a part comes at once"
            nodes.setdefault(node, []).append(mine[members])
    return nodes


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 2**31),
    st.integers(1, 2000),
    st.integers(0, 28),
    st.sampled_from([2**40, 300, 3]),
    st.sampled_from([1, 3, 1000]),
)
def test_a_point_lies_in_its_node_and_every_node_has_its_parent(
    seed: int, count: int, bits: int, most: int, times: int
) -> None:
    random = np.random.default_rng(seed)
    places = np.repeat(random.normal(0, 2.0**bits, (-(-count // times), 3)).astype(np.int64), times, axis=0)[:count]
    cube = Cube.around(tuple(places.min(axis=0).tolist()), tuple(places.max(axis=0).tolist()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(octree, "LEAF_POINTS", 20)
        nodes = sorted_out(places, most)
    assert sorted(np.concatenate([piece for pieces in nodes.values() for piece in pieces]).tolist()) == list(range(count))
    keys = {octree.key_of(node) for node in nodes}
    for node, pieces in nodes.items():
        level, *at = octree.key_of(node)
        inside, members = (places - np.array(cube.origin)) * 2**level, np.concatenate(pieces)
        assert (inside[members] >= np.array(at) * cube.side).all()
        assert (inside[members] <= (np.array(at) + 1) * cube.side).all()
        assert not level or (level - 1, *(step // 2 for step in at)) in keys


def test_a_stray_point_far_away_makes_no_part_too_large() -> None:
    places = np.random.default_rng(0).integers(0, 1_000, (50_000, 3))
    places[7] = 2**31 - 1
    cube = Cube.around((0, 0, 0), (2**31 - 1,) * 3)
    codes = cube.codes(places)
    parts = cube.parts(codes, 10_000)
    assert len(parts) > 8
    assert max(level for level, _ in parts) == octree.DEEPEST, "as far as it can be cut"


def las_file(tmp_path: Path) -> LasFile:
    return read_las(*stored(tmp_path, FILES["a.laz"]))


def merged_here(tmp_path: Path, *files: bytes) -> Path:
    """The COPC file of files as they are."""
    store, sources, las, outputs = DirectoryStore(tmp_path), list[Source](), list[LasFile](), {}
    for number, data in enumerate(files):
        _, source = stored(tmp_path, data, f"{number}.laz")
        file = read_las(store, source)
        body = f"work/acme/{number}"
        store.put(body, store.get_range(source.key, file.chunks[0].start, file.chunks[-1].stop))
        chunks = tuple((chunk.points, chunk.stop - chunk.start) for chunk in file.chunks)
        outputs[number] = [ShardOutput(body, sum(size for _, size in chunks), chunks)]
        sources.append(source)
        las.append(file)
    path = tmp_path / "made.copc.laz"
    extended = copc_file.extended_of(store, sources, las)
    copc_file.write(path, las, copc_file.batches_of(store, las, outputs), None, tmp_path / "parts", extended)
    return path


def plain(count: int = 5, at: float = 0.0, extra: Sequence[laspy.ExtraBytesParams] = ()) -> bytes:
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.scales, header.offsets = np.full(3, 0.01), np.zeros(3)
    for one in extra:
        header.add_extra_dim(one)
    las = laspy.LasData(header)
    las.x = las.y = las.z = np.arange(count) + at
    for one in extra:
        las[one.name] = np.arange(count)
    out = io.BytesIO()
    las.write(out, do_compress=True)
    return out.getvalue()


@pytest.mark.parametrize("point_format", [0, 1, 2, 3, 6, 7, 8])
def test_every_field_of_every_format_is_in_it(tmp_path: Path, point_format: int) -> None:
    data = las_of(point_format, extra=True)
    was, now = laspy.read(io.BytesIO(data)), laspy.read(merged_here(tmp_path, laz_of(data)))
    for name in set(was.point_format.dimension_names) - {"X", "Y", "Z", "scan_angle_rank"}:
        assert np.array_equal(np.asarray(now[name]), np.asarray(was[name]), equal_nan=True), name
    np.testing.assert_allclose(now.xyz, was.xyz, atol=1e-6)
    assert now.header.global_encoding.value == 0b1_0001 if point_format not in (0, 2) else 0b1_0000
    assert now.header.number_of_points_by_return.tolist() == np.bincount(was.return_number, minlength=16)[1:].tolist()


def test_a_chunk_without_points_takes_no_others_with_it(tmp_path: Path) -> None:
    data = laz_of(las_of(6), [700, 1_000], empty_end=True)
    with laspy.CopcReader.open(merged_here(tmp_path, data)) as reader:
        assert len(reader.query()) == 1_700


def test_what_files_say_beside_their_points_is_kept_once(tmp_path: Path) -> None:
    one, other = (laz_of(las_of(6, evlr=said)) for said in (b"later", b"other"))
    path = merged_here(tmp_path, one, one, other)
    with laspy.open(path) as file:
        (vlr,) = [vlr for vlr in file.header.vlrs if vlr.user_id == "someone"]
        assert (vlr.record_id, vlr.description, vlr.record_data) == (77, "kept as it is", bytes(range(50)))
        file.read()
        assert [evlr.record_data for evlr in file.evlrs if evlr.user_id == "someone"] == [b"later", b"other"]


def test_a_point_without_an_extra_dimension_has_its_nodata(tmp_path: Path) -> None:
    depth = laspy.ExtraBytesParams("depth", "int16", no_data=np.array([-999]))
    scaled = laspy.ExtraBytesParams("scaled", "int32", scales=np.array([0.1]), offsets=np.array([5.0]))
    las = laspy.read(merged_here(tmp_path, plain(extra=[depth]), plain(at=10, extra=[scaled, depth]), plain(at=20)))
    assert las.depth.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, *[-999] * 5]
    assert np.asarray(las.scaled).tolist() == [5.0] * 5 + [0.0, 1.0, 2.0, 3.0, 4.0] + [5.0] * 5


def test_dimensions_of_one_name_and_two_scales_are_refused(tmp_path: Path) -> None:
    one, other = (laspy.ExtraBytesParams("h", "i4", scales=np.array([scale]), offsets=np.zeros(1)) for scale in (0.1, 0.01))
    with pytest.raises(BadInput, match=r"1\.laz has an extra dimension 'h' of another type or scale"):
        merged_here(tmp_path, plain(extra=[one]), plain(extra=[other]))


def test_points_that_pile_up_beyond_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copc_file, "MOST_AT_ONCE", 1_000)
    with pytest.raises(BadInput, match="lie in one place, too many"):
        merged_here(tmp_path, laz_of(las_of(6)))


@pytest.mark.parametrize("at", [3, 40, 2_000])
def test_points_that_do_not_read_back_are_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    def damaged(*given: Any) -> tuple[bytes, list[tuple[int, int]]]:
        data, sizes = laz_encode(*given)
        broken = bytearray(data)
        broken[at] ^= 0x55
        return bytes(broken), sizes

    laz_encode = laz.encode
    monkeypatch.setattr(laz, "encode", damaged)
    with pytest.raises(Transient, match="do not read back"):
        merged_here(tmp_path, laz_of(las_of(6)))


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copc_file, "ROOM", 2**60)
    with pytest.raises(DiskFull, match="MiB of disk while it is made"):
        merged_here(tmp_path, plain())
    assert not (tmp_path / "parts").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"point_format": 4}, "waveforms"),
        ({"global_encoding": 16 | 1}, "GPS time in two ways"),
        (
            {"mins": (WEST_M - 9e6, SOUTH_M, 0.0), "offsets": (WEST_M - 9e6, SOUTH_M, 0.0)},
            "too far for one file of scale 0.001",
        ),
        ({"count": 10**9}, "at most 150,000,000 points"),
    ],
)
def test_what_does_not_fit_into_one_file_is_refused_before_it_is_begun(tmp_path: Path, change: dict, words: str) -> None:
    file = las_file(tmp_path)
    copc_file.check([file])
    with pytest.raises(BadInput, match=words):
        copc_file.check([replace(file, name="b.laz", **change), file])


def test_a_coordinate_that_overflows_is_refused(tmp_path: Path) -> None:
    file = las_file(tmp_path)
    union = unifying.union_of([file])
    records = np.zeros(3, record_dtype(file))
    records["X"] = 2**31 - 1
    assert unifying.unified(file, records, union)["X"].tolist() == [2**31 - 1] * 3
    with pytest.raises(BadInput, match="do not fit"):
        unifying.unified(file, records, replace(union, scale=0.0001))
