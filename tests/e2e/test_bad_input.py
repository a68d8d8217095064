"""Bad input of every kind: a sentence that names the file, exit code 2, failure.json, ledger, notice; the input untouched."""

import io
import struct
from collections.abc import Callable

import laspy
import numpy as np
import pytest

from tests.e2e.drops import Cloud, refused, thin, thin_laz, verified, written
from tests.unit.las_files import laz_of

COUNT, SCALES, BOUNDS = 107, 131, 179
"""Offsets in a LAS header: the legacy point count, the scales, the bounds."""
THIN_POINTS = 11_000


def put(layout: str, offset: int, value: float) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        struct.pack_into(layout, changed, offset, value)
        return bytes(changed)

    return change


def no_points(data: bytes) -> bytes:
    las = laspy.read(io.BytesIO(data))
    las.points = las.points[:0]
    return written(las)


def late_garbage(data: bytes) -> bytes:
    """The last chunk of a LAZ file overwritten, its tables whole."""
    changed = bytearray(data)
    (start,) = struct.unpack_from("<I", data, 96)
    (table,) = struct.unpack_from("<q", data, start)
    changed[table - 4_000 : table] = b"\xff" * 4_000
    return bytes(changed)


LAS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut off": (lambda data: data[: len(data) // 2], "is cut off: its header says 11,000 points"),
    "a count larger than its data": (put("<I", COUNT, THIN_POINTS + 1), "is cut off: its header says 11,001 points"),
    "a count much larger than its data": (put("<I", COUNT, 4_000_000_000), "is cut off: its header says 4,000,000,000 points"),
    "no points": (no_points, "has no points. Take it out of the drop"),
    "only a piece of its header": (lambda data: data[:200], "is cut off: a LAS header has at least 227 bytes"),
    "a scale that is no number": (put("<d", SCALES, np.nan), "has a scale of nan in x"),
    "an overflowing scale": (put("<d", SCALES + 8, 1e300), "has a scale of 1e+300 in y, so its coordinates overflow"),
    "a scale that leaves the earth": (put("<d", SCALES, 1e30), "has a scale of 1e+30 in x, so its coordinates overflow"),
    "heights beyond the sky": (put("<d", SCALES + 16, 1e4), "point 0 has z = 411,190,000.00, and its header says 406.26 to"),
    "bounds that are no numbers": (put("<d", BOUNDS, np.inf), "has bounds in its header that are not numbers"),
    "bounds far beyond its points": (put("<d", BOUNDS, 1e12), "has bounds in x in its header that coordinates of its scale"),
    "text instead of points": (lambda data: b"x;y;z\n1;2;3\n" * 100, "is not a LAS or LAZ file: it does not start with LASF"),
}
LAZ: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut off": (lambda data: data[: len(data) // 2], "is cut off: its points would end at byte"),
    "a count larger than its data": (put("<I", COUNT, THIN_POINTS + 1), "says 11,001 points"),
    "a count much larger than its data": (put("<I", COUNT, 4_000_000_000), "is cut off: its header says 4,000,000,000 points"),
    "a last chunk of garbage": (late_garbage, "is damaged: chunk 10 of 11"),
}


@pytest.mark.parametrize("case", LAS)
def test_a_las_file_with(cloud: Cloud, case: str) -> None:
    change, sentence = LAS[case]
    refuses(cloud, "survey.las", change(thin()), sentence)


@pytest.mark.parametrize("case", LAZ)
def test_a_laz_file_with(cloud: Cloud, case: str) -> None:
    change, sentence = LAZ[case]
    refuses(cloud, "survey.laz", change(thin_laz()), sentence)


def test_a_laz_file_cut_off_behind_its_last_point_still_works_and_says_so(cloud: Cloud) -> None:
    path = cloud.folder / "survey.laz"
    path.write_bytes(thin_laz()[:-12])
    ended = cloud.run(path)
    assert ended.code == 0, ended.err
    assert "warning: survey.laz is read in one piece, which is slower: " in ended.err + " ".join(ended.out.split())
    verified(path, ended.folder / "classified" / path.name)


def test_garbage_is_found_in_the_sharded_lane_too(cloud: Cloud) -> None:
    settings = ("--set", "lane=fargate", "--set", "shard_mib=0.03")
    refuses(cloud, "survey.laz", late_garbage(thin_laz()), "is damaged: chunk 10 of 11", *settings)


def test_an_empty_upload(cloud: Cloud) -> None:
    refuses(cloud, "survey.laz", b"", "is empty (0 bytes): its upload failed; upload it again")


def refuses(cloud: Cloud, name: str, data: bytes, sentence: str, *settings: str) -> None:
    path = cloud.folder / name
    path.write_bytes(data)
    before = path.stat()
    ended = cloud.run(path, *settings)
    refused(ended, name, sentence)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (data, before.st_mtime_ns)


def test_files_of_two_coordinate_systems_are_not_one_dataset(cloud: Cloud) -> None:
    las = laspy.read(io.BytesIO(thin(100)))
    las.vlrs = [vlr for vlr in las.vlrs if vlr.user_id != "LASF_Projection"]
    (cloud.folder / "here.laz").write_bytes(thin_laz(100))
    (cloud.folder / "there.laz").write_bytes(laz_of(written(las)))
    ended = cloud.run(cloud.folder / "here.laz", cloud.folder / "there.laz")
    refused(ended, "here.laz", "there.laz", "must share one coordinate system. Drop them apart, or reproject them first")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("survey.laz", "--set", "tile_aera_km2=1"), "unknown option 'tile_aera_km2': did you mean 'tile_area_km2'?"),
        (("survey.laz", "--set", "resolution_m=-1"), "option 'resolution_m'"),
        (("survey.laz", "--set", "ground.cell_m=1"), "unknown option 'ground.cell_m'"),
        (("survey.laz", "--tenant", "../x"), "the tenant '../x' must be 1 to 32 letters a-z or digits"),
        (("survey.laz", "--name", ".."), "has an empty part, '.' or '..'"),
        (("survey.txt",), "survey.txt is not a file that pointcloud reads; it takes .las, .laz"),
        (("missing.laz",), "missing.laz; check the path"),
    ],
)
def test_a_command_that_cannot_be_right_is_refused_before_anything_starts(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(cloud.folder)
    for name in ("survey.laz", "survey.txt"):
        (cloud.folder / name).write_bytes(b"some bytes")
    ended = cloud.run(*arguments)
    assert ended.code == 2
    assert sentence in ended.err
    assert ended.out == ""
    assert sorted(path.name for path in cloud.folder.iterdir()) == ["survey.laz", "survey.txt"]
    assert (cloud.folder / "survey.laz").read_bytes() == b"some bytes"


def test_names_with_spaces_and_letters_of_any_script_work(cloud: Cloud) -> None:
    path = cloud.folder / "Vermessung Süd ß 塔 #1.laz"
    path.write_bytes(thin_laz(100))
    ended = cloud.run(path, "--set", "lane=fargate")
    assert ended.code == 0, ended.err
    assert (ended.folder / "classified" / path.name).is_file()
    assert ended.record["dataset"] == path.name
    assert ended.record["products"][0]["source"] == path.name
