"""`verify` finds every difference but classification, and says which."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.unit.las_files import las_of, laz_of, random_labels, records_of, stored, with_labels
from tilery.run import Source
from tilery.store.directory import DirectoryStore
from tilery.workloads.pointcloud.verify import verify


def differences(tmp_path: Path, a: bytes, b: bytes) -> list[str]:
    store, source = stored(tmp_path, a, "a.laz")
    return verify(store, source, also(store, b))


def also(store: DirectoryStore, data: bytes) -> Source:
    store.put("results/acme/b.laz", data)
    return Source(name="b.laz", key="results/acme/b.laz", size=len(data), version="")


def with_field(las: bytes, column: int, points: slice) -> bytes:
    rows = records_of(las)
    (start,) = struct.unpack_from("<I", las, 96)
    rows[points, column] ^= 1
    return las[:start] + rows.tobytes() + las[start + rows.size :]


@pytest.mark.parametrize("point_format", range(11))
def test_other_classes_are_no_difference(tmp_path: Path, point_format: int) -> None:
    las = las_of(point_format, extra=True)
    other = with_labels(las, random_labels(1_700, point_format))
    assert differences(tmp_path / "las", las, other) == []
    assert differences(tmp_path / "laz", laz_of(las), laz_of(other, 500)) == []


@pytest.mark.parametrize(
    ("column", "name"),
    [(0, "X"), (11, "Z"), (12, "intensity"), (14, "bit_fields"), (15, "classification_flags"), (17, "user_data"),
     (20, "point_source_id"), (29, "gps_time"), (30, "red"), (36, "extra_bytes"), (52, "extra_bytes")],
)  # fmt: skip
def test_every_dimension_is_compared(tmp_path: Path, column: int, name: str) -> None:
    las = las_of(7, extra=True)
    found = differences(tmp_path, laz_of(las), laz_of(with_field(las, column, slice(600, 603))))
    assert found == [f"b.laz has another {name} in 3 points, first in point 600"]


def test_the_flags_in_the_byte_of_an_old_class_are_compared(tmp_path: Path) -> None:
    las = las_of(1)
    rows = records_of(las)
    (start,) = struct.unpack_from("<I", las, 96)
    rows[5, 15] ^= 0b1000_0000
    found = differences(tmp_path, las, las[:start] + rows.tobytes())
    assert found == ["b.laz has another raw_classification in 1 points, first in point 5"]


def at(offset: int) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        data[offset] ^= 1

    return change


@pytest.mark.parametrize(
    ("offset", "sentence"),
    [(6, "global encoding"), (10, "project GUID"), (30, "system identifier"), (60, "generating software"),
     (90, "creation date"), (180, "bounds"), (260, "point counts"), (110, "legacy point counts")],
)  # fmt: skip
def test_every_header_field_is_compared(tmp_path: Path, offset: int, sentence: str) -> None:
    las = bytearray(las_of(6))
    changed = las.copy()
    at(offset)(changed)
    assert differences(tmp_path, bytes(las), bytes(changed)) == [f"b.laz has another {sentence} in its header"]


def test_records_and_their_headers_are_compared(tmp_path: Path) -> None:
    las = las_of(6, evlr=b"later", padding=4)
    for offset, sentence in [
        (375 + 60, "b.laz has another variable length record someone 77"),
        (375 + 25, "b.laz has another variable length record someone 77"),
        (len(las) - 1, "b.laz has another extended record someone 99"),
        (struct.unpack_from("<I", las, 96)[0] - 1, "b.laz has other bytes between its records and its points"),
    ]:
        changed = bytearray(las)
        at(offset)(changed)
        assert differences(tmp_path / str(offset), las, bytes(changed)) == [sentence]
    assert differences(tmp_path / "tail", las + b"x", las + b"y") == ["b.laz has other bytes behind its last record"]


def test_other_points_are_a_difference(tmp_path: Path) -> None:
    found = differences(tmp_path, laz_of(las_of(6)), laz_of(las_of(6, 1_600)))
    assert found[-1] == "b.laz has other points: 1,600 of format 6 in 30 bytes instead of 1,700 of format 6 in 30 bytes"


def test_a_file_that_cannot_be_decoded_is_a_difference(tmp_path: Path) -> None:
    data = bytearray(laz_of(las_of(3)))
    (start,) = struct.unpack_from("<I", data, 96)
    (table,) = struct.unpack_from("<q", data, start)
    whole = bytes(data)
    data[start + 8 : table] = np.random.default_rng(0).bytes(table - start - 8)
    assert differences(tmp_path, whole, bytes(data))
