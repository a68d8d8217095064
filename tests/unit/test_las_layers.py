"""Layers of layered chunks coded alone equal what lazrs makes of whole points, by the kernels and without them."""

import io
from contextlib import suppress
from pathlib import Path

import laspy
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data import real
from tests.unit.las_files import las_of, laz_of, random_labels, records_of, rewritten, stored, with_labels
from tilery.outcomes import BadInput
from tilery.workloads.pointcloud import class_layer, compiled, laz
from tilery.workloads.pointcloud.columns import COLOURED, iter_columns
from tilery.workloads.pointcloud.las_header import read_las
from tilery.workloads.pointcloud.rewrite import encode_chunks, splice_chunks
from tilery.workloads.pointcloud.shards import shards_of
from tilery.workloads.pointcloud.verify import verify

LAYERED = [6, 7, 8, 9, 10]


@pytest.fixture(params=[True, False], ids=["kernels", "lazrs"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways to code a layer."""
    compiled.prepare(10**9)
    monkeypatch.setattr(compiled, "at_hand", lambda: request.param)
    return bool(request.param)


@pytest.mark.parametrize("point_format", LAYERED)
def test_columns_are_the_fields_of_the_records(tmp_path: Path, way: bool, point_format: int) -> None:
    las = las_of(point_format, 2_500, extra=True)
    store, source = stored(tmp_path, laz_of(las, [700, 1, 1_799]))
    file = read_las(store, source)
    rows = records_of(las)
    for shard in shards_of(file):
        ((_, got),) = iter_columns(store, source, file, shard)
        wanted = rows[shard.first : shard.first + shard.count]
        places = np.stack([got.x, got.y, got.z], axis=1)
        assert places.astype("<i4").tobytes() == wanted[:, :12].tobytes()
        assert np.array_equal(got.returns, wanted[:, 14])
        assert np.array_equal(got.classes, wanted[:, 16])
        assert got.contexts is not None
        assert np.array_equal(got.contexts, class_layer.contexts_of(wanted[:, 14], wanted[:, 15]))


@pytest.mark.parametrize("kind", ["random", "smooth", "grey", "constant"])
@pytest.mark.parametrize("point_format", LAYERED)
def test_intensities_and_colours_are_those_of_the_records(tmp_path: Path, way: bool, point_format: int, kind: str) -> None:
    las, rng = las_of(point_format, 2_500), np.random.default_rng(point_format)
    rows = records_of(las)
    coloured, at = point_format in COLOURED, len(rows[0]) - {7: 6, 8: 8, 10: 37}.get(point_format, 0)
    if kind != "random":
        rows[:, 15] = np.where(np.arange(len(rows)) // 90 % 3 == 1, rows[:, 15] & 0b1101_1111, rows[:, 15] & 0b1100_1111)
        steps = np.zeros((len(rows), 4), int) if kind == "constant" else rng.integers(-90, 90, (len(rows), 4))
        values = ((30_000 + np.cumsum(steps, axis=0)) % 65_536).astype("<u2")
        values[:, 1:] = values[:, 1:2] if kind == "grey" else values[:, 1:]
        rows[:, 12:14] = values[:, :1].view(np.uint8)
        if coloured:
            rows[:, at : at + 6] = np.ascontiguousarray(values[:, 1:]).view(np.uint8)
        if point_format >= 9:
            rows[:, 15] &= 0b1100_1111  # lazrs 0.8.2 writes waveforms of several scanner channels wrongly
    las = las[: -rows.size] + rows.tobytes()
    store, source = stored(tmp_path, laz_of(las, [700, 1, 1_799]))
    file = read_las(store, source)
    (shard,) = shards_of(file)
    ((_, got),) = iter_columns(store, source, file, shard, intensity=True, rgb=True)
    assert got.intensity is not None
    assert got.intensity.astype("<u2").tobytes() == rows[:, 12:14].tobytes()
    assert got.contexts is not None
    assert np.array_equal(got.contexts, class_layer.contexts_of(rows[:, 14], rows[:, 15]))
    assert (got.rgb is not None) == coloured
    if got.rgb is not None:
        assert got.rgb.astype("<u2").tobytes() == rows[:, at : at + 6].tobytes()
    if not compiled.at_hand():
        return
    room = class_layer.Places.empty(len(rows), intensity=True, rgb=coloured)
    batches = iter_columns(store, source, file, shard, intensity=True, rgb=True, points=700, into=room)
    for start, stop, (_, some) in zip((0, 700, 701), (700, 701, len(rows)), batches, strict=True):
        for name in ("x", "y", "z", "returns", "classes", "contexts", "intensity", "rgb"):
            part, held = getattr(some, name), getattr(room, name)
            assert part is None or (np.shares_memory(part, held) and np.array_equal(part, getattr(got, name)[start:stop]))
    short = class_layer.Places.empty(700, intensity=True, rgb=coloured)  # as if the file had grown since it was planned
    with pytest.raises(ValueError, match="room for 0 points, not for 1"):
        list(iter_columns(store, source, file, shard, intensity=True, rgb=True, points=700, into=short))


def test_colours_coded_in_another_way_are_left_to_records(tmp_path: Path) -> None:
    store, source = stored(tmp_path, laz_of(las_of(7, 100)))
    vlr = read_las(store, source).laszip
    assert vlr is not None
    assert class_layer.colour_layer(vlr) == (9, 30)
    newer = laz.parse_vlr(vlr.data[:-2] + (4).to_bytes(2, "little"))
    assert class_layer.colour_layer(newer) is None


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_layer_coded_alone_is_the_one_of_coding_everything(tmp_path: Path, way: bool, data: st.DataObject) -> None:
    point_format = data.draw(st.sampled_from([6, 7, 8]))
    sizes = data.draw(st.lists(st.integers(1, 150), min_size=1, max_size=5))
    las = las_of(point_format, sum(sizes), seed=data.draw(st.integers(0, 99)))
    rows = records_of(las)
    bits = data.draw(st.sampled_from([0xFF, 0b0001_0001, 0b0011_0011]), label="returns")
    rows[:, 14] &= bits
    if data.draw(st.booleans(), label="one channel"):
        rows[:, 15] &= 0b1100_1111
    las = las[: -rows.size] + rows.tobytes()
    classes = data.draw(st.sampled_from([[2], [1, 2, 7], [0, 31, 32, 63, 64, 255], list(range(256))]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    labels = np.repeat(rng.choice(np.array(classes, np.uint8), sum(sizes)), data.draw(st.integers(1, 9)))[: sum(sizes)]
    store, source = stored(tmp_path, laz_of(las, sizes))
    file = read_las(store, source)
    span = store.get_range(source.key, file.chunks[0].start, file.chunks[-1].stop)
    assert splice_chunks(file, list(file.chunks), span, labels) == encode_chunks(file, list(file.chunks), span, labels)


def test_long_runs_and_rare_classes_renew_the_models_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    labels = np.repeat(rng.choice(np.array([1, 2, 2, 2, 255], np.uint8), 3_000), rng.integers(1, 40, 3_000))[:50_000]
    contexts = rng.integers(0, 8, 50_000).astype(np.uint8)
    store, source = stored(tmp_path, laz_of(las_of(6, 100)))
    vlr = read_las(store, source).laszip
    assert vlr is not None
    vlr = laz.parse_vlr(vlr.data[:12] + (30_000).to_bytes(4, "little") + vlr.data[16:])
    compiled.prepare(10**9)
    layers = class_layer.encode(labels, contexts, [30_000, 20_000], vlr)
    assert layers == class_layer._encoded_by_lazrs(labels, contexts, [30_000, 20_000], vlr)
    back = class_layer.decode(layers, [int(labels[0]), int(labels[30_000])], contexts, [30_000, 20_000])
    assert np.array_equal(back, labels)


@pytest.mark.parametrize("backend", [laspy.LazBackend.Lazrs, laspy.LazBackend.Laszip], ids=["lazrs", "laszip"])
@pytest.mark.parametrize("point_format", [6, 7, 8])
def test_other_decoders_read_the_labels(tmp_path: Path, way: bool, point_format: int, backend: laspy.LazBackend) -> None:
    las = las_of(point_format, extra=True)
    labels = random_labels(1_700, point_format)
    store, source = stored(tmp_path, laz_of(las, 300))
    got = laspy.read(io.BytesIO(store.get(rewritten(store, source, labels).key)), laz_backend=backend)
    assert got.points.array.tobytes() == laspy.read(io.BytesIO(with_labels(las, labels))).points.array.tobytes()


def test_waveforms_of_several_channels_are_relabelled(tmp_path: Path, way: bool) -> None:
    labels = random_labels(1_700, 10)
    store, source = stored(tmp_path, laz_of(las_of(10, channels=True)))
    assert verify(store, source, rewritten(store, source, labels)) == []


def test_a_file_that_laszip_wrote_is_read_to_columns(tmp_path: Path) -> None:
    compiled.prepare(10**9)
    store, source = stored(tmp_path, real("pointcloud/samples/pdal_lone-star.copc.laz").read_bytes())
    file = read_las(store, source)
    with laspy.open(real("pointcloud/samples/pdal_lone-star.copc.laz")) as reader:
        points = reader.read_points(30_000).array
    (shard,) = shards_of(file)
    _, got = next(iter_columns(store, source, file, shard, points=30_000))
    for name, column in (
        ("X", got.x),
        ("Y", got.y),
        ("Z", got.z),
        ("bit_fields", got.returns),
        ("classification", got.classes),
    ):
        assert np.array_equal(column, points[name][: len(column)]), name


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 8, 1_001])
def test_contexts_survive_as_bit_planes(count: int, planes: int) -> None:
    contexts = np.random.default_rng(count).integers(0, 2 if planes == 1 else 8, count).astype(np.uint8)
    packed = class_layer.pack(contexts)
    assert len(packed) <= 1 + planes * ((count + 7) // 8)
    assert np.array_equal(class_layer.unpack(packed, count), contexts)
    with pytest.raises(ValueError, match="are not the contexts of"):
        class_layer.unpack(packed, count + 9)


@pytest.mark.parametrize("layer", [0, 1, 2], ids=["places", "heights", "classes"])
def test_a_layer_that_is_cut_off_is_damage_with_a_name(tmp_path: Path, layer: int) -> None:
    compiled.prepare(10**9)
    compressed = bytearray(laz_of(las_of(6)))
    store, source = stored(tmp_path / "whole", bytes(compressed))
    file = read_las(store, source)
    chunk = file.chunks[1]
    sizes_at = chunk.start + 30 + 4 + 4 * layer
    size = int.from_bytes(compressed[sizes_at : sizes_at + 4], "little")
    compressed[sizes_at : sizes_at + 4] = (40).to_bytes(4, "little")
    following = sizes_at + 4 * (4 - layer)  # the layer of flags takes the bytes
    other = int.from_bytes(compressed[following : following + 4], "little")
    compressed[following : following + 4] = (other + size - 40).to_bytes(4, "little")
    store, source = stored(tmp_path / "damaged", bytes(compressed))
    file = read_las(store, source)
    with pytest.raises(BadInput, match=r"some.laz is damaged: chunk 1 of 4 \(bytes [\d,]+ to [\d,]+\)"):
        list(iter_columns(store, source, file, shards_of(file)[0]))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_random_bytes_in_a_chunk_never_reach_beyond_it(tmp_path: Path, seed: int) -> None:
    compiled.prepare(10**9)
    compressed = bytearray(laz_of(las_of(7, 600), 200))
    store, source = stored(tmp_path / "whole", bytes(compressed))
    chunk = read_las(store, source).chunks[1]
    rng = np.random.default_rng(seed)
    head = chunk.start + 36 + 4 + 40
    at = rng.integers(head, chunk.stop, rng.integers(1, 200))
    for place in at:
        compressed[place] = rng.integers(0, 256)
    store, source = stored(tmp_path / "damaged", bytes(compressed))
    file = read_las(store, source)
    with suppress(BadInput):
        ((_, got),) = iter_columns(store, source, file, shards_of(file)[0])
        assert len(got) == 600
