"""Decoding a shard: damage is named, and no claim of a chunk is paid for in memory."""

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.las_files import las_of, laz_of, records_of, stored
from tilery.outcomes import BadInput
from tilery.workloads.pointcloud.las_header import read_las
from tilery.workloads.pointcloud.points import classes_of, iter_records, read_records, record_dtype
from tilery.workloads.pointcloud.shards import shards_of


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("point_format", range(11))
def test_a_shard_decodes_to_its_records(tmp_path: Path, point_format: int, compressed: bool) -> None:
    las = las_of(point_format, extra=True)
    store, source = stored(tmp_path, laz_of(las) if compressed else las)
    file = read_las(store, source)
    got = [read_records(store, source, file, shard) for shard in shards_of(file, 0, 20_000, 20_000)]
    assert b"".join(records.tobytes() for records in got) == records_of(las).tobytes()
    assert got[0]["extra_bytes"].shape[1] == 17
    assert record_dtype(file).itemsize == file.point_size


def test_a_layer_that_claims_gigabytes_is_not_believed(tmp_path: Path) -> None:
    data = bytearray(laz_of(las_of(6)))
    store, source = stored(tmp_path / "whole", bytes(data))
    chunk = read_las(store, source).chunks[2]
    struct.pack_into("<I", data, chunk.start + 30 + 4 + 8, 2**32 - 1)
    store, source = stored(tmp_path / "damaged", bytes(data))
    file = read_las(store, source)
    with pytest.raises(BadInput, match=r"some.laz is damaged: chunk 2 of 4 .* \(its layers are longer than the chunk\)"):
        read_records(store, source, file, shards_of(file)[0])


def test_a_file_that_lost_its_end_after_it_was_sized_is_refused(tmp_path: Path) -> None:
    data = laz_of(las_of(6))
    store, source = stored(tmp_path, data)
    file = read_las(store, source)
    store.put(source.key, data[:-40_000])
    with pytest.raises(BadInput, match=r"some.laz is cut off: bytes .* of its points are not there"):
        list(iter_records(store, source.model_copy(update={"version": ""}), file, shards_of(file)[0]))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_to_points_raises_anything_but_bad_input(tmp_path: Path, data: st.DataObject) -> None:
    whole = bytearray(laz_of(las_of(data.draw(st.sampled_from([1, 6, 7])), 120), 50))
    (start,) = struct.unpack_from("<I", whole, 96)
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(start + 8, len(whole) - 1))] = data.draw(st.integers(0, 255))
    store, source = stored(tmp_path, bytes(whole))
    try:
        file = read_las(store, source)
        for shard in shards_of(file):
            assert len(read_records(store, source, file, shard)) == 120
    except BadInput as why:
        sentence = str(why)
        assert sentence.startswith("some.laz ")


@pytest.mark.parametrize("point_format", [2, 8])
def test_flags_and_classes_are_told_apart(tmp_path: Path, point_format: int) -> None:
    store, source = stored(tmp_path, las_of(point_format))
    file = read_las(store, source)
    records = read_records(store, source, file, shards_of(file)[0])
    column = records.view("u1").reshape(1_700, -1)
    if point_format == 2:
        assert (classes_of(records, 2) == column[:, 15] % 32).all()
    else:
        assert (classes_of(records, 8) == column[:, 16]).all()
