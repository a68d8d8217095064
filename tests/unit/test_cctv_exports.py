"""What other tools read in the exported tables is what was found; the same tables give the same bytes."""

from __future__ import annotations

import configparser
import io
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.unit.cctv_tables import SIZE, detections, frames, tracks
from tilery.store.directory import DirectoryStore
from tilery.workloads.cctv import exports
from tilery.workloads.cctv.detections import Detections
from tilery.workloads.cctv.frames import Frames, Looked
from tilery.workloads.cctv.stored import Stored
from tilery.workloads.cctv.tracks import empty

START = datetime(2026, 5, 4, 7, 30, tzinfo=UTC)
FRAMES = frames()
FOUND = detections(FRAMES)
TRACKS = tracks(FRAMES)


def written(write: Callable[[BinaryIO], None]) -> bytes:
    target = io.BytesIO()
    write(target)
    return target.getvalue()


def parquet() -> bytes:
    extra = {"speed_kmh": np.full(len(TRACKS), np.nan)}
    return written(lambda target: exports.write_parquet(exports.tracks_table(TRACKS, START, extra), target))


def mot() -> bytes:
    about: dict[str, Any] = {"labels": TRACKS.label.tolist(), "size": SIZE, "frames": 60, "rate": 12, "name": "pets"}
    return written(lambda target: exports.write_mot([TRACKS], target, **about))


def coco() -> bytes:
    return written(lambda target: exports.write_coco(FRAMES, FOUND, target, size=SIZE, name="pets"))


def trajectories(units: str = "pixels") -> bytes:
    about = {1: {"speed_kmh": 4.2}}
    return written(lambda target: exports.write_trajectories(TRACKS, TRACKS.foot, units, START, about, target))


def test_a_clock_set_back_in_the_night_is_so_in_what_is_written_and_no_time_passes_by_that() -> None:
    night = datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Rome"))
    assert exports.moment(night, 1_800_000_000) == "2024-10-27T02:00:00.000+01:00"
    assert exports.moment(START, 14_399_600) == "2026-05-04T07:30:14.400+00:00"
    assert exports.moment(None, 5) == ""


def test_tracks_and_detections_are_parquet_with_times_names_and_corners() -> None:
    rows = pq.read_table(io.BytesIO(parquet())).to_pylist()
    assert len(rows) == 90
    fourth = rows[3]
    assert (fourth["frame"], fourth["track"], fourth["class"], fourth["state"]) == (2, 1, "person", "bridged")
    assert fourth["time_s"] == pytest.approx(2 / 12, abs=1e-6)
    assert fourth["time"].isoformat() == "2026-05-04T07:30:00.166666+00:00"
    assert (fourth["x"], fourth["y"]) == pytest.approx((12, 30), abs=1e-4)
    assert fourth["speed_kmh"] is None
    for least in (score := float(FOUND.score[0]), score + 0.01):
        assert exports.detections_table(FRAMES, FOUND, None, least)["confident"][0].as_py() == (score >= least)
    first = exports.detections_table(FRAMES, FOUND, None, 0.5).to_pylist()[0]
    assert (first["frame"], first["class"], first["time"], first["moving"]) == (0, "person", None, None)
    assert [first[name] for name in ("x1", "y1", "x2", "y2")] == [6, 14, 14, 30]


def test_of_a_long_table_only_the_rows_around_a_moment_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "ROW_GROUP", 1000)
    long = frames(40_000)
    store = DirectoryStore(tmp_path)
    with store.writer("work/long.parquet") as target:
        exports.write_parquet(exports.detections_table(long, detections(long), None, 0.5), target)
    with Stored(store, "work/long.parquet") as file:
        found = pq.read_table(file, filters=[("time_s", ">=", 1000.0), ("time_s", "<=", 1002.0)], pre_buffer=True)
        fetched = file.fetched
    assert found["time_s"].to_pylist() == [time for time in found["time_s"].to_pylist() if 1000 <= time <= 1002]
    assert len(found) == 3 * 13
    entry = store.head("work/long.parquet")
    assert entry is not None
    assert fetched < entry.size / 5


@pytest.mark.parametrize("export", [parquet, mot, coco, trajectories])
def test_the_same_tables_give_the_same_bytes(export: Callable[[], bytes]) -> None:
    assert export() == export()


def test_mot_is_what_a_mot_reader_takes() -> None:
    with zipfile.ZipFile(io.BytesIO(mot())) as archive:
        assert archive.namelist() == ["gt/gt.txt", "gt/labels.txt", "seqinfo.ini"]
        lines = [line.split(",") for line in archive.read("gt/gt.txt").decode().splitlines()]
        assert archive.read("gt/labels.txt").decode().split() == ["person", "bicycle", "car"]
        info = configparser.ConfigParser()
        info.read_string(archive.read("seqinfo.ini").decode())
    assert len(lines) == 90
    assert lines[0] == ["1", "1", "6.00", "14.00", "8.00", "16.00", "1", "1", "1"]
    assert lines[3][:2] == ["3", "1"]
    assert lines[3][8] == "0", "a bridged place was not seen"
    assert dict(info["Sequence"])["seqlength"] == "60"


def test_mot_scores_perfectly_against_itself_in_a_common_library(tmp_path: Path) -> None:
    motmetrics = pytest.importorskip("motmetrics")
    with zipfile.ZipFile(io.BytesIO(mot())) as archive:
        (tmp_path / "gt.txt").write_bytes(archive.read("gt/gt.txt"))
    table = motmetrics.io.loadtxt(str(tmp_path / "gt.txt"), fmt="mot16")
    assert len(table) == 90
    assert table.index.get_level_values("Id").nunique() == 3


def test_between_two_looks_a_track_is_in_every_frame_however_they_are_parted(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(exports.in_every_frame(TRACKS, FRAMES))
    monkeypatch.setattr(exports, "DENSE_FRAMES", 7)
    parts = list(exports.in_every_frame(TRACKS, FRAMES))
    assert len(whole) == 1
    assert len(parts) == 9
    assert len(whole[0]) == 3 * 59, "up to the last look"
    for name in ("frame", "id", "box", "state"):
        assert np.array_equal(getattr(whole[0], name), np.concatenate([getattr(part, name) for part in parts])), name


def test_a_still_frame_has_the_boxes_of_the_look_before() -> None:
    looked = FRAMES.looked.copy()
    looked[[2, 4]] = Looked.STILL
    seen = ~np.isin(FOUND.time_us, FRAMES.time_us[[2, 4]])
    told = Detections(*(getattr(FOUND, name)[seen] for name in ("time_us", "label", "score", "box", "moving")))
    found = exports.explicit(Frames(FRAMES.time_us, looked, FRAMES.to_reference), told)
    assert np.array_equal(found.time_us, FOUND.time_us)
    assert np.array_equal(found.box[3:9], np.tile(FOUND.box[:3], (2, 1)))
    assert np.array_equal(found.box[9:], FOUND.box[9:])


def test_coco_has_the_ids_that_coco_gives_and_an_image_for_each_frame_looked_at() -> None:
    found = json.loads(coco())
    assert len(found["images"]) == 30
    assert len(found["annotations"]) == 90
    names = {entry["id"]: entry["name"] for entry in found["categories"]}
    assert (names[1], names[3], names[44], names[90], names[100]) == ("person", "car", "bottle", "toothbrush", "moving")
    second = found["annotations"][4]
    assert (second["image_id"], names[second["category_id"]], second["score"]) == (3, "car", 0.8)
    assert second["bbox"] == pytest.approx([181, 44, 8, 16], abs=0.01)
    assert {entry["image_id"] for entry in found["annotations"]} <= {entry["id"] for entry in found["images"]}


def test_trajectories_are_lines_with_times_and_say_what_their_numbers_are() -> None:
    found = json.loads(trajectories())
    assert found["units"] == "pixels"
    person = found["features"][0]
    assert person["geometry"]["type"] == "LineString"
    assert person["geometry"]["coordinates"][-1] == pytest.approx([10 + 12 * 58 / 12, 30], abs=0.1)
    told = person["properties"]
    assert (told["class"], told["speed_kmh"], told["start"]) == ("person", 4.2, "2026-05-04T07:30:00.000+00:00")
    assert len(told["times_s"]) == len(person["geometry"]["coordinates"]) == 30
    assert len(json.loads(trajectories("degrees"))["features"]) == 3


def test_places_that_are_not_known_are_left_out_of_trajectories() -> None:
    one, *others = np.unique(TRACKS.id).tolist()
    places = TRACKS.foot.copy()
    places[TRACKS.id == one] = np.nan
    first = np.flatnonzero(TRACKS.id == others[0])
    places[first[1:]] = np.nan
    data = written(lambda target: exports.write_trajectories(TRACKS, places, "metres", START, {}, target))

    def refused(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    found = {each["id"]: each for each in json.loads(data, parse_constant=refused)["features"]}
    assert found[one]["geometry"] is None
    assert found[one]["properties"]["times_s"] == []
    assert found[others[0]]["geometry"]["type"] == "Point"
    for each in found.values():
        if each["geometry"] and each["geometry"]["type"] == "LineString":
            assert len(each["geometry"]["coordinates"]) == len(each["properties"]["times_s"])


def test_nothing_found_is_empty_files_and_no_error() -> None:
    nothing = empty()
    table = exports.tracks_table(nothing, None, {})
    assert written(lambda target: exports.write_parquet(table, target))
    assert written(lambda target: exports.write_mot([nothing], target, labels=[], size=SIZE, frames=0, rate=25, name="x"))
    features = written(lambda target: exports.write_trajectories(nothing, nothing.foot, "pixels", None, {}, target))
    assert json.loads(features)["features"] == []
    none = FOUND.__class__(*(getattr(FOUND, name)[:0] for name in ("time_us", "label", "score", "box", "moving")))
    assert (
        json.loads(written(lambda target: exports.write_coco(FRAMES, none, target, size=SIZE, name="x")))["annotations"] == []
    )


def test_csv_and_npz_are_plain_and_the_same_each_time() -> None:
    assert exports.csv_bytes(["a", "b"], [[1, None], ["x,y", 2.5]]) == b'a,b\n1,\n"x,y",2.5\n'
    arrays = {"occupancy": np.arange(6.0).reshape(2, 3), "cell_px": np.array(8)}
    data = exports.npz(arrays)
    assert data == exports.npz(arrays)
    loaded = np.load(io.BytesIO(data))
    assert np.array_equal(loaded["occupancy"], arrays["occupancy"])
