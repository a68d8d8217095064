"""A header is read by ranges, believed as far as the file's size allows, and refused with a sentence that helps."""

import io
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import laspy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.las_files import las_of, laz_of, stored
from tilery.outcomes import BadInput
from tilery.store.directory import DirectoryStore
from tilery.workloads.pointcloud.las_header import FIRST_READ, LasFile, read_las

Change = Callable[[bytearray], object]


def read(tmp_path: Path, data: bytes) -> LasFile:
    return read_las(*stored(tmp_path, data))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("point_format", range(11))
def test_what_a_file_says_is_read_as_laspy_reads_it(tmp_path: Path, point_format: int, compressed: bool) -> None:
    las = las_of(point_format, extra=True, evlr=b"later" if point_format >= 6 else None)
    data = laz_of(las) if compressed else las
    file, header = read(tmp_path, data), laspy.open(io.BytesIO(data)).header
    assert (file.version, file.point_format) == ((header.version.major, header.version.minor), header.point_format.id)
    assert (file.point_size, file.count, file.extra_bytes) == (header.point_format.size, header.point_count, 17)
    assert (file.scales, file.offsets) == (tuple(header.scales), tuple(header.offsets))
    assert (file.mins, file.maxs) == (tuple(header.mins), tuple(header.maxs))
    assert [(vlr.user_id, vlr.record_id) for vlr in file.vlrs if vlr.record_id not in (4, 22204)] == [
        (vlr.user_id, vlr.record_id) for vlr in header.vlrs if vlr.record_id not in (4, 22204)
    ]
    assert [(evlr.user_id, evlr.record_id) for evlr in file.evlrs] == ([("someone", 99)] if point_format >= 6 else [])
    assert (file.compressed, len(file.chunks)) == (compressed, 4 if compressed else 0)
    assert file.slow == ""


@pytest.mark.parametrize("minor", [0, 1, 2, 3])
def test_old_versions_are_read(tmp_path: Path, minor: int) -> None:
    las = bytearray(las_of(1, version="1.3" if minor == 3 else "1.2"))
    las[25] = minor
    assert read(tmp_path, bytes(las)).version == (1, minor)


def test_chunks_are_where_the_table_says(tmp_path: Path) -> None:
    file = read(tmp_path, laz_of(las_of(6), [100, 1, 899, 700]))
    assert [chunk.points for chunk in file.chunks] == [100, 1, 899, 700]
    assert file.chunks[0].start == file.offset_to_points + 8
    assert file.chunks[-1].stop == file.chunk_table[0]
    assert file.tail_start == file.size


def test_only_the_header_and_the_chunk_table_are_read(tmp_path: Path) -> None:
    _, source = stored(tmp_path, laz_of(las_of(6, 40_000)))
    reads: list[int] = []

    class Counted(DirectoryStore):
        def get_range(self, key: str, start: int, stop: int, *, version: str = "") -> bytes:
            reads.append(stop - start)
            return super().get_range(key, start, stop, version=version)

    read_las(Counted(tmp_path), source)
    assert source.size > 10 * FIRST_READ
    assert sum(reads) < 2 * FIRST_READ


def put(form: str, at: int, *values: float) -> Change:
    return lambda data: struct.pack_into(form, data, at, *values)


def put_in_vlr(form: str, at: int, value: int) -> Change:
    """Change the laszip VLR, which `laz_of` puts first behind the header of 375 bytes."""
    return lambda data: struct.pack_into(form, data, 375 + at, value)


def put_in_table(value: int) -> Change:
    def change(data: bytearray) -> None:
        (start,) = struct.unpack_from("<I", data, 96)
        (table,) = struct.unpack_from("<q", data, start)
        struct.pack_into("<I", data, table + 4, value)

    return change


def cut(length: int) -> Change:
    def change(data: bytearray) -> None:
        del data[length:]

    return change


LAS_FAULTS: list[tuple[str, Change, str]] = [
    ("not LAS", put("<4s", 0, b"PK\3\4"), "is not a LAS or LAZ file: it does not start with LASF. Drop .las or .laz files."),
    ("short", cut(100), "is cut off: a LAS header has at least 227 bytes and the file has 100"),
    ("empty", cut(0), "is not a LAS or LAZ file"),
    ("version", put("<BB", 24, 2, 0), "says it is LAS 2.0; versions 1.0 to 1.4 are read"),
    ("header size", put("<H", 94, 227), "has a header of 227 bytes; LAS 1.4 needs 375"),
    ("points in header", put("<I", 96, 100), "says its points start at byte 100, inside its header"),
    ("points behind end", put("<I", 96, 2**31), "is cut off: its points start at byte 2,147,483,648 and the file has"),
    ("format", put("<B", 104, 11), "has point format 11; formats 0 to 10 are read"),
    ("record length", put("<H", 105, 12), "says 12 bytes a point; point format 6 needs 30"),
    ("no points", put("<Q", 247, 0), "has no points"),
    ("more points", put("<Q", 247, 1_701), "is cut off: its header says 1,701 points and there is room for 1,700"),
    ("absurd points", put("<Q", 247, 2**63), "is cut off: its header says 9,223,372,036,854,775,808 points"),
    ("cut in points", cut(30_000), "is cut off: its header says 1,700 points and there is room for"),
    ("zero scale", put("<d", 131, 0.0), "has a scale of 0 in x, so its coordinates cannot be known"),
    ("nan scale", put("<d", 139, float("nan")), "has a scale of nan in y"),
    ("infinite offset", put("<d", 171, float("inf")), "has an offset of inf in z"),
    ("overflow", put("<d", 147, 1e300), "has a scale of 1e+300 in z, so its coordinates overflow"),
    ("nan bounds", put("<d", 179, float("nan")), "has bounds in its header that are not numbers"),
    ("many VLRs", put("<I", 100, 2**32 - 1), "says it has 4,294,967,295 variable length records, more than fit"),
    ("VLR too long", put("<H", 375 + 20, 60_000), "is broken: variable length record 1 of 2 runs into its points"),
    ("many EVLRs", put("<QI", 235, 60_000, 2**32 - 1), "says it has 4,294,967,295 extended records at byte 60,000, more than"),
    ("EVLR behind end", put("<QI", 235, 2**40, 1), "says it has 1 extended records at byte 1,099,511,627,776, more than"),
    ("EVLR in points", put("<QI", 235, 375, 1), "extended record"),
]
LAZ_FAULTS: list[tuple[str, Change, str]] = [
    ("more points", put("<Q", 247, 2_001), "is cut off: its header says 2,001 points and its chunk table has room for 2,000"),
    ("fewer points", put("<Q", 247, 1_400), "has more chunks than its 1,400 points fill, so the header's count is wrong"),
    ("no laszip VLR", put_in_vlr("<H", 18, 1), "says it is compressed but has no laszip record to tell how"),
    ("unchunked", put_in_vlr("<H", 54, 1), "cannot be decompressed: it uses LASzip compressor 1, which is older than chunks"),
    ("old items", put_in_vlr("<H", 54 + 38, 1), "cannot be decompressed: it was written by a first-generation LASzip"),
    ("many items", put_in_vlr("<H", 54 + 32, 500), "cannot be decompressed: its laszip record promises 500 items"),
    ("chunk of none", put_in_vlr("<I", 54 + 12, 0), "cannot be decompressed: its laszip record says 0 points a chunk"),
    ("record length", put("<H", 105, 40), "has 40 bytes a point in its header and 30 in its laszip record"),
    ("cut at points", lambda data: cut(struct.unpack_from("<I", data, 96)[0] + 3)(data), "is cut off: its point data"),
]


@pytest.mark.parametrize(("change", "sentence"), [fault[1:] for fault in LAS_FAULTS], ids=[fault[0] for fault in LAS_FAULTS])
def test_a_broken_las_is_refused(tmp_path: Path, change: Change, sentence: str) -> None:
    data = bytearray(las_of(6))
    change(data)
    with pytest.raises(BadInput) as refusal:
        read(tmp_path, bytes(data))
    assert str(refusal.value).startswith("some.laz ")
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(("change", "sentence"), [fault[1:] for fault in LAZ_FAULTS], ids=[fault[0] for fault in LAZ_FAULTS])
def test_a_broken_laz_is_refused(tmp_path: Path, change: Change, sentence: str) -> None:
    data = bytearray(laz_of(las_of(6)))
    change(data)
    with pytest.raises(BadInput) as refusal:
        read(tmp_path, bytes(data))
    assert str(refusal.value).startswith("some.laz ")
    assert sentence in str(refusal.value)


@pytest.mark.parametrize("count", [2**32 - 1, 0])
def test_a_chunk_table_of_absurd_length_is_not_believed(tmp_path: Path, count: int) -> None:
    data = bytearray(laz_of(las_of(6)))
    put_in_table(count)(data)
    assert "chunk table" in read(tmp_path, bytes(data)).slow


def test_variable_chunks_without_a_table_cannot_be_read(tmp_path: Path) -> None:
    data = bytearray(laz_of(las_of(6), [700, 1_000]))
    put_in_table(2**31)(data)
    with pytest.raises(BadInput, match=r"some.laz cannot be read: the chunk table claims .*, and its chunks are of any size"):
        read(tmp_path, bytes(data))


def test_variable_chunks_must_hold_the_points_of_the_header(tmp_path: Path) -> None:
    data = bytearray(laz_of(las_of(6), [700, 1_000]))
    put("<Q", 247, 1_699)(data)
    with pytest.raises(BadInput, match="says 1,699 points in its header and 1,700 in its chunk table"):
        read(tmp_path, bytes(data))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), compressed=st.booleans())
def test_no_damage_to_a_header_raises_anything_but_bad_input(tmp_path: Path, data: st.DataObject, compressed: bool) -> None:
    las = las_of(data.draw(st.sampled_from([3, 6])), 60, evlr=None)
    file = bytearray(laz_of(las, 25) if compressed else las)
    for _ in range(data.draw(st.integers(1, 6))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del file[data.draw(st.integers(0, len(file))) :]
    with suppress(BadInput):
        read(tmp_path, bytes(file))
