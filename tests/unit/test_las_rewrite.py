"""New labels, everything else untouched: any sharding equals coding the relabelled file whole."""

import dataclasses
import io
import struct
from itertools import pairwise
from pathlib import Path

import laspy
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.las_files import las_of, laz_of, random_labels, records_of, rewritten, stored, with_labels
from tilery.outcomes import BadInput
from tilery.workloads.pointcloud import laz
from tilery.workloads.pointcloud.las_header import LasFile, read_las
from tilery.workloads.pointcloud.points import decode_chunks
from tilery.workloads.pointcloud.rewrite import encode_chunks, rewrite_chunks, rewrite_shard, splice_chunks
from tilery.workloads.pointcloud.shards import Shard, shards_of
from tilery.workloads.pointcloud.verify import verify

FORMATS = range(11)
VARIABLE = [100, 1, 899, 700]


def cut_at(file: LasFile, cuts: list[int]) -> list[Shard]:
    """Shards of a LAZ file that begin at these chunks, or of a LAS file at these points."""
    if not file.chunks:
        edges = sorted({0, file.count, *(cut for cut in cuts if cut < file.count)})
        at = [file.offset_to_points + edge * file.point_size for edge in edges]
        return [Shard(f"s{n}", 0, a, b - a, at[n], at[n + 1]) for n, (a, b) in enumerate(pairwise(edges))]
    edges = sorted({0, len(file.chunks), *(cut for cut in cuts if cut < len(file.chunks))})
    shards, first = [], 0
    for n, (a, b) in enumerate(pairwise(edges)):
        count = sum(chunk.points for chunk in file.chunks[a:b])
        shards.append(Shard(f"s{n}", 0, first, count, file.chunks[a].start, file.chunks[b - 1].stop, a, b))
        first += count
    return shards


@pytest.mark.parametrize("chunks", [500, 850, VARIABLE], ids=["fixed", "exact multiple", "variable"])
@pytest.mark.parametrize("extra", [False, True], ids=["bare", "extra bytes"])
@pytest.mark.parametrize("point_format", FORMATS)
def test_a_relabelled_laz_is_the_relabelled_las_compressed_whole(
    tmp_path: Path, point_format: int, extra: bool, chunks: int | list[int]
) -> None:
    las = las_of(point_format, extra=extra, evlr=b"later" * 9 if point_format >= 6 else None, padding=3)
    labels = random_labels(1_700, point_format)
    store, source = stored(tmp_path, laz_of(las, chunks))
    output = rewritten(store, source, labels, shards=cut_at(read_las(store, source), [1, 2]))
    assert store.get(output.key) == laz_of(with_labels(las, labels), chunks)
    assert verify(store, source, output) == []


@pytest.mark.parametrize("point_format", FORMATS)
def test_a_relabelled_las_differs_in_the_class_of_its_points_only(tmp_path: Path, point_format: int) -> None:
    las = las_of(point_format, extra=True, evlr=b"later" if point_format >= 6 else None, padding=2)
    labels = random_labels(1_700, point_format)
    store, source = stored(tmp_path, las, "some.las")
    output = rewritten(store, source, labels, shards=cut_at(read_las(store, source), [3, 1_000]))
    assert store.get(output.key) == with_labels(las, labels)
    assert verify(store, source, output) == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_sharding_gives_the_same_bytes(tmp_path: Path, data: st.DataObject) -> None:
    point_format = data.draw(st.sampled_from(FORMATS))
    sizes = data.draw(st.lists(st.integers(1, 120), min_size=1, max_size=8))
    chunks = data.draw(st.sampled_from([sizes, max(sizes)]))
    cuts = data.draw(st.lists(st.integers(0, sum(sizes)), max_size=5))
    las = las_of(point_format, sum(sizes), seed=data.draw(st.integers(0, 99)), extra=data.draw(st.booleans()))
    labels = random_labels(sum(sizes), point_format, seed=data.draw(st.integers(0, 99)))
    store, source = stored(tmp_path, laz_of(las, chunks))
    whole = laz_of(with_labels(las, labels), chunks)
    assert store.get(rewritten(store, source, labels, shards=cut_at(read_las(store, source), cuts)).key) == whole
    assert store.get(rewritten(store, source, labels).key) == whole


@pytest.mark.parametrize("chunks", [500, VARIABLE], ids=["fixed", "variable"])
@pytest.mark.parametrize("point_format", [6, 7, 8, 9, 10])
def test_splicing_one_layer_is_coding_everything_again(tmp_path: Path, point_format: int, chunks: int | list[int]) -> None:
    store, source = stored(tmp_path, laz_of(las_of(point_format, extra=True), chunks))
    file = read_las(store, source)
    data = store.get_range(source.key, file.chunks[0].start, file.chunks[-1].stop)
    labels = random_labels(file.count, point_format)
    assert splice_chunks(file, list(file.chunks), data, labels) == encode_chunks(file, list(file.chunks), data, labels)


@pytest.mark.parametrize("point_format", [1, 7])
def test_an_empty_chunk_at_the_end_stays(tmp_path: Path, point_format: int) -> None:
    las = las_of(point_format)
    labels = random_labels(1_700, point_format)
    store, source = stored(tmp_path, laz_of(las, VARIABLE, empty_end=True))
    file = read_las(store, source)
    assert [chunk.points for chunk in file.chunks] == [*VARIABLE, 0]
    output = rewritten(store, source, labels, shards=cut_at(file, [2]))
    assert store.get(output.key) == laz_of(with_labels(las, labels), VARIABLE, empty_end=True)
    assert verify(store, source, output) == []


def test_one_class_for_all_points_leaves_no_classification_layer(tmp_path: Path) -> None:
    las = las_of(6)
    labels = np.full(1_700, 2, np.uint8)
    store, source = stored(tmp_path, laz_of(las))
    assert store.get(rewritten(store, source, labels).key) == laz_of(with_labels(las, labels))


def test_a_chunk_laid_out_in_another_way_is_coded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    las = las_of(7)
    labels = random_labels(1_700, 7)
    store, source = stored(tmp_path, laz_of(las))
    file = read_las(store, source)
    data = store.get_range(source.key, file.chunks[0].start, file.chunks[-1].stop)
    spliced = rewrite_chunks(file, list(file.chunks), data, labels)

    def refuse(*_: object) -> None:
        raise laz.Corrupt("another layout")

    monkeypatch.setattr("tilery.workloads.pointcloud.class_layer.split", refuse)
    assert rewrite_chunks(file, list(file.chunks), data, labels) == spliced


@pytest.mark.parametrize("chunks", [500, VARIABLE], ids=["fixed", "variable"])
@pytest.mark.parametrize("point_format", [3, 6])
def test_the_slower_path_gives_the_same_file(tmp_path: Path, point_format: int, chunks: int | list[int]) -> None:
    las = las_of(point_format)
    labels = random_labels(1_700, point_format)
    store, source = stored(tmp_path, laz_of(las, chunks))
    file = dataclasses.replace(read_las(store, source), slow="its chunks are held to be too large")
    (shard,) = shards_of(file)
    assert shard.streamed
    output = rewritten(store, source, labels, file=file, shards=[shard])
    assert store.get(output.key) == laz_of(with_labels(las, labels), chunks)


@pytest.mark.parametrize("pointer", [-1, 0, 10**15])
def test_a_file_without_chunk_table_gets_one(tmp_path: Path, pointer: int) -> None:
    las = las_of(1)
    labels = random_labels(1_700, 1)
    compressed = bytearray(laz_of(las))
    (start,) = struct.unpack_from("<I", compressed, 96)
    (table,) = struct.unpack_from("<q", compressed, start)
    struct.pack_into("<q", compressed, start, pointer)
    store, source = stored(tmp_path, bytes(compressed[:table]))
    file = read_las(store, source)
    assert "chunk table" in file.slow
    assert store.get(rewritten(store, source, labels).key) == laz_of(with_labels(las, labels))


def test_a_table_pointer_at_the_end_of_a_streamed_file_is_followed(tmp_path: Path) -> None:
    las = las_of(1)
    labels = random_labels(1_700, 1)
    compressed = bytearray(laz_of(las))
    (start,) = struct.unpack_from("<I", compressed, 96)
    pointer = bytes(compressed[start : start + 8])
    struct.pack_into("<q", compressed, start, -1)
    store, source = stored(tmp_path, bytes(compressed) + pointer)
    file = read_las(store, source)
    assert (len(file.chunks), file.slow) == (4, "")
    assert store.get(rewritten(store, source, labels).key) == laz_of(with_labels(las, labels))


def test_the_flags_beside_an_old_class_are_kept(tmp_path: Path) -> None:
    las = las_of(0)
    store, source = stored(tmp_path, laz_of(las))
    output = rewritten(store, source, np.full(1_700, 31, np.uint8))
    flags = laspy.read(io.BytesIO(las))
    new = laspy.read(io.BytesIO(store.get(output.key)))
    for name in ("synthetic", "key_point", "withheld"):
        assert np.array_equal(new[name], flags[name])
        assert 0 < np.count_nonzero(new[name]) < 1_700
    assert set(new.classification) == {31}


@pytest.mark.parametrize("compressed", [False, True])
def test_a_class_that_an_old_format_cannot_hold_is_refused(tmp_path: Path, compressed: bool) -> None:
    las = las_of(3)
    store, source = stored(tmp_path, laz_of(las) if compressed else las)
    file = read_las(store, source)
    labels = np.zeros(1_700, np.uint8)
    labels[7] = 32
    with pytest.raises(BadInput, match=r"some.laz has point format 3, .* classes 0 to 31, and class 32 is to be written"):
        rewrite_shard(store, source, file, shards_of(file)[0], labels, io.BytesIO())


def test_waveforms_of_several_channels_are_spliced_and_never_coded_again(tmp_path: Path) -> None:
    las = las_of(9, channels=True)
    store, source = stored(tmp_path, laz_of(las))
    file = read_las(store, source)
    data = store.get_range(source.key, file.chunks[0].start, file.chunks[-1].stop)
    assert decode_chunks(file, list(file.chunks), data).tobytes() != records_of(las).tobytes(), "lazrs is repaired: lift this"
    labels = random_labels(file.count, 9)
    assert verify(store, source, rewritten(store, source, labels)) == []
    with pytest.raises(BadInput, match=r"some.laz has waveforms of several scanner channels"):
        encode_chunks(file, list(file.chunks), data, labels)


def test_labels_of_another_length_or_type_are_a_mistake(tmp_path: Path) -> None:
    store, source = stored(tmp_path, laz_of(las_of(6)))
    file = read_las(store, source)
    for labels in (np.zeros(1_699, np.uint8), np.zeros(1_700, np.int64)):
        with pytest.raises(ValueError, match="labels must be 1700 bytes"):
            rewrite_shard(store, source, file, shards_of(file)[0], labels, io.BytesIO())


def test_a_damaged_chunk_is_named(tmp_path: Path) -> None:
    compressed = bytearray(laz_of(las_of(6)))
    store, source = stored(tmp_path / "whole", bytes(compressed))
    second = read_las(store, source).chunks[1]
    compressed[second.start + 30 : second.start + 90] = b"\xff" * 60
    store, source = stored(tmp_path / "damaged", bytes(compressed))
    file = read_las(store, source)
    with pytest.raises(BadInput, match=r"some.laz is damaged: chunk 1 of 4 \(bytes [\d,]+ to [\d,]+\) cannot be decompressed"):
        rewrite_shard(store, source, file, shards_of(file)[0], np.zeros(1_700, np.uint8), io.BytesIO())


def test_chunks_decode_to_the_records_they_were_made_of(tmp_path: Path) -> None:
    las = las_of(6)
    store, source = stored(tmp_path, laz_of(las))
    file = read_las(store, source)
    data = store.get_range(source.key, file.chunks[0].start, file.chunks[-1].stop)
    assert decode_chunks(file, list(file.chunks), data).tobytes() == records_of(las).tobytes()
