"""The coordinate system of a file, however it is written, and drops that mix several."""

import struct
from pathlib import Path

import pytest

from tests.data import real
from tests.unit.las_files import las_of, stored
from tilery.outcomes import BadInput
from tilery.workloads.pointcloud.crs import Crs, common_crs, read_crs
from tilery.workloads.pointcloud.las_header import read_las


def crs_of(tmp_path: Path, data: bytes) -> Crs:
    store, source = stored(tmp_path, data)
    return read_crs(store, source, read_las(store, source))


def with_keys(las: bytes, keys: bytes, user: bytes = b"LASF_Projection", record: int = 34735) -> bytes:
    header_size, start, count = struct.unpack_from("<HII", las, 94)
    data = bytearray(las)
    vlr = struct.pack("<H16sHH32s", 0, user, record, len(keys), b"") + keys
    data[header_size:header_size] = vlr
    struct.pack_into("<II", data, 96, start + len(vlr), count + 1)
    return bytes(data)


def keys_of(code: int) -> bytes:
    return struct.pack("<16H", 1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, code)


def test_wkt_is_read(tmp_path: Path) -> None:
    crs = crs_of(tmp_path, las_of(6))
    assert crs.system is not None
    assert crs.system.to_epsg() == 32632
    assert (crs.metres_per_unit, crs.geographic, crs.projected) == (1.0, False, True)


def test_geotiff_keys_are_read(tmp_path: Path) -> None:
    crs = crs_of(tmp_path, with_keys(las_of(1), keys_of(2903)))
    assert crs.system is not None
    assert crs.system.to_epsg() == 2903
    assert crs.metres_per_unit == pytest.approx(1200 / 3937)


def test_a_file_without_any_has_none(tmp_path: Path) -> None:
    assert crs_of(tmp_path, las_of(1)) == Crs(None, ())


def test_one_that_cannot_be_understood_is_kept_with_a_warning(tmp_path: Path) -> None:
    crs = crs_of(tmp_path, with_keys(las_of(1), b"NONSENSE[" + bytes(3), record=2112))
    assert crs.wkt is None
    assert crs.warning == "some.laz has a coordinate system that GDAL cannot read; it is kept as it is."
    assert crs.raw == ((2112, b"NONSENSE[\0\0\0"),)


@pytest.mark.parametrize("keys", [b"", b"\xff" * 7, b"\xff" * 200, struct.pack("<4H", 1, 1, 0, 60_000) + bytes(64)])
def test_broken_keys_are_no_crash(tmp_path: Path, keys: bytes) -> None:
    assert crs_of(tmp_path, with_keys(las_of(1), keys)).wkt is None


def test_a_citation_in_any_letters_is_no_crash(tmp_path: Path) -> None:
    citation = "Gauß-Krüger|".encode("latin-1")
    keys = struct.pack("<12H", 1, 1, 0, 2, 3072, 0, 1, 31468, 1026, 34737, len(citation), 0)
    file = with_keys(with_keys(las_of(1), keys), citation, record=34737)
    system = crs_of(tmp_path, file).system
    assert system is not None
    assert system.to_epsg() == 31468


def test_the_same_system_in_two_spellings_is_one(tmp_path: Path) -> None:
    wkt = crs_of(tmp_path / "a", las_of(6))
    keys = crs_of(tmp_path / "b", with_keys(las_of(1), keys_of(32632)))
    assert common_crs([("a.laz", wkt), ("b.laz", keys)]) is wkt


def test_a_drop_of_two_systems_is_refused(tmp_path: Path) -> None:
    one = crs_of(tmp_path / "a", las_of(6))
    for name, other in (
        ("EPSG:2903", crs_of(tmp_path / "b", with_keys(las_of(1), keys_of(2903)))),
        ("no stated coordinate system", Crs(None, ())),
    ):
        with pytest.raises(BadInput, match=f"b.laz is in {name} and a.laz in EPSG:32632: the files of one drop must share"):
            common_crs([("a.laz", one), ("b.laz", other)])


@pytest.mark.parametrize(
    ("name", "epsg"),
    [("samples/lidR_Topography.laz", 2949), ("samples/ignpt_las_with_several_extra_byte_bloc.laz", 2154),
     ("samples/pdal_autzen_trim.laz", 2994), ("samples/laspy_file_with_both_wkt_and_geotiff_vlrs.las", 6880),
     ("samples/laspy_1_4_w_evlr.laz", 2903), ("isprs/samp11-utm.laz", 32632)],
)  # fmt: skip
def test_real_files_say_where_they_are(tmp_path: Path, name: str, epsg: int) -> None:
    crs = crs_of(tmp_path, real(f"pointcloud/{name}").read_bytes())
    assert crs.system is not None
    assert crs.system.to_epsg() == epsg
