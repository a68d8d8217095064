"""Points that lie where no point can lie: what a decoder makes of damaged chunks."""

import struct
from pathlib import Path

import numpy as np
import pytest

from tests.unit.las_files import las_of, laz_of, stored
from tilery.outcomes import BadInput
from tilery.workloads.pointcloud.columns import iter_columns
from tilery.workloads.pointcloud.coordinates import millimetres
from tilery.workloads.pointcloud.las_header import read_las
from tilery.workloads.pointcloud.shards import shards_of


def read(tmp_path: Path, data: bytes) -> int:
    store, source = stored(tmp_path, data, "city.laz")
    file = read_las(store, source)
    return sum(len(columns) for shard in shards_of(file) for _, columns in iter_columns(store, source, file, shard))


def moved(las: bytes, point: int, axis: int, value: int) -> bytes:
    (start,) = struct.unpack_from("<I", las, 96)
    (size,) = struct.unpack_from("<H", las, 105)
    changed = bytearray(las)
    struct.pack_into("<i", changed, start + point * size + 4 * axis, value)
    return bytes(changed)


@pytest.mark.parametrize("pack", [bytes, laz_of])
@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("value", [2**31 - 1, -(2**31)])
def test_one_point_far_from_all_others_is_named(tmp_path: Path, pack: type[bytes], axis: int, value: int) -> None:
    data = pack(moved(las_of(6), 1_234, axis, value))
    with pytest.raises(BadInput, match=rf"city.laz is damaged: its point 1,234 has {'xyz'[axis]} = .* and its header says"):
        read(tmp_path, data)


def test_a_point_a_little_outside_is_the_headers_fault(tmp_path: Path) -> None:
    las = las_of(1)
    highest = int(np.frombuffer(las, "<i4", 1, struct.unpack_from("<I", las, 96)[0])[0])
    assert read(tmp_path, moved(las, 3, 0, highest + 500_000)) == 1_700


@pytest.mark.parametrize("bounds", [[0.0] * 6, [-1.0, 1.0] * 3])
def test_a_header_that_says_nothing_is_not_asked(tmp_path: Path, bounds: list[float]) -> None:
    las = bytearray(moved(las_of(1), 7, 1, 2**31 - 1))
    struct.pack_into("<6d", las, 179, *bounds)
    if any(bounds):  # turned round, near the offsets
        struct.pack_into("<6d", las, 179, 500_000, 500_001, 5_000_000, 5_000_001, 100, 101)
    assert read(tmp_path, bytes(las)) == 1_700


def test_heights_beyond_the_sky_are_refused_where_the_header_says_nothing(tmp_path: Path) -> None:
    las = bytearray(las_of(1))
    struct.pack_into("<d", las, 147, 1e4)  # scale of z
    struct.pack_into("<6d", las, 179, *[0.0] * 6)
    store, source = stored(tmp_path, bytes(las), "city.laz")
    file = read_las(store, source)
    (columns,) = (columns for shard in shards_of(file) for _, columns in iter_columns(store, source, file, shard))
    with pytest.raises(BadInput, match="has heights beyond 2,147 km; its scale or offset in z is wrong"):
        millimetres(file, columns, 1, 1)
