"""Whole runs on a made-up street: right counts, however the video is cut; what is missing is told; nothing is done twice."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from numpy.typing import NDArray

from tests.unit.cctv_runs import HEIGHT, RATE, SECONDS, WALKERS, WIDTH, cctv_runs, film_street
from tests.unit.cctv_video import make
from tests.unit.runs import Result, Runs
from tilery.outcomes import BadInput
from tilery.workloads.cctv import segment

CORNERS = [[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]]
ON_A_LINE = [[0, 0], [1, 1], [2, 2], [3, 3]]
TEN_PIXELS_A_METRE = {
    "points": CORNERS,
    "metres": [[0, HEIGHT / 10], [WIDTH / 10, HEIGHT / 10], [WIDTH / 10, 0], [0, 0]],
    "origin": [9.19, 45.46],
}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_street(tmp_path_factory.mktemp("street") / "street.mp4")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs[Result]]:
    """One store: what one test has detected the next need not."""
    with cctv_runs(tmp_path_factory.mktemp("root")) as found:
        yield found


@pytest.fixture(scope="module")
def plain(runs: Runs[Result], video: Path) -> Result:
    """The street in one piece, with a film of it."""
    return runs.run(video, camera="street", annotate=True)


def pictures(data: bytes) -> tuple[list[float], list[NDArray[np.uint8]]]:
    """Times and pictures of a film."""
    with av.open(io.BytesIO(data)) as film:
        frames = list(film.decode(video=0))
        return [float(frame.time or 0) for frame in frames], [frame.to_ndarray(format="rgb24") for frame in frames]


def test_everyone_is_counted_once_when_and_where_they_cross(plain: Result) -> None:
    found = plain.rows("crossings.csv")
    assert len(found) == len(WALKERS)
    passing = sorted((walker.start_s + (WIDTH / 2 + 12) / abs(walker.speed), walker.speed) for walker in WALKERS)
    for row, (when, speed) in zip(found, passing, strict=True):
        assert float(row["time_s"]) == pytest.approx(when, abs=0.3)
        assert row["way"] == ("A->B" if speed > 0 else "B->A")
        assert float(row["speed_px_s"]) == pytest.approx(abs(speed), abs=1.5)
    assert sum(int(row["count"]) for row in plain.rows("counts.csv")) == len(WALKERS)
    assert plain.record.counts["crossings"] == len(WALKERS)
    assert plain.record.counts["frames"] == SECONDS * RATE
    assert plain.record.counts["missing_spans"] == []


def test_every_product_is_there_and_can_be_read(plain: Result) -> None:
    kinds = [one.kind for one in plain.record.products]
    assert kinds == [
        "detections", "tracks", "mot", "coco", "crossings", "counts", "trajectories", "heatmap", "heatmap", "annotated",
        "dedup", "report",
    ]  # fmt: skip
    tracks = pq.read_table(io.BytesIO(plain.bytes("tracks.parquet")))
    assert {"frame", "time_s", "track", "class", "score", "x1", "y2", "speed_px_s", "speed_px_s_sigma"} <= set(
        tracks.column_names
    )
    assert len(json.loads(plain.bytes("coco.json"))["annotations"]) == len(
        pq.read_table(io.BytesIO(plain.bytes("detections.parquet")))
    )
    with zipfile.ZipFile(io.BytesIO(plain.bytes("mot.zip"))) as archive:
        frames = [int(line.split(",")[0]) for line in archive.read("gt/gt.txt").decode().splitlines()]
    assert set(range(100, 110)) <= set(frames), "frames between two looks too"
    assert json.loads(plain.bytes("trajectories.geojson"))["units"] == "pixels"
    grids = np.load(io.BytesIO(plain.bytes("heatmap.npz")))
    assert grids["flow"].max() >= 1
    assert grids["occupancy_s"].shape == grids["flow"].shape == grids["speed"].shape
    assert "Detector calls saved" in plain.text("report.html")


def test_the_cut_and_the_lane_change_no_byte(runs: Runs[Result], plain: Result, video: Path) -> None:
    cut = runs.run(video, "fargate", camera="street", annotate=True, segment_s=20)
    assert cut.digests() == plain.digests()


def test_the_film_has_the_frames_and_the_times_of_the_source(plain: Result, video: Path) -> None:
    times, shown = pictures(plain.bytes("annotated.mp4"))
    source, _ = pictures(video.read_bytes())
    assert np.allclose(times, source, atol=1e-4)
    assert shown[0].shape == (HEIGHT, WIDTH, 3)


def test_a_film_of_a_turned_video_of_uneven_rate_stands_upright_and_keeps_its_times(runs: Runs[Result], tmp_path: Path) -> None:
    times = [number * 40 + (number % 3) * 13 for number in range(30)]
    video = make(
        tmp_path / "turned.mp4", frames=30, size=(96, 62), rotation=90, times=lambda number: times[number],
        time_base=Fraction(1, 1000),
    )  # fmt: skip
    found, shown = pictures(runs.run(video, annotate=True, lines={}).bytes("annotated.mp4"))
    assert np.allclose(found, np.array(times) / 1000, atol=1e-4)
    assert shown[0].shape == (96, 62, 3)


def test_what_is_hidden_cannot_be_seen_in_the_film(runs: Runs[Result], plain: Result, video: Path) -> None:
    hidden = runs.run(video, camera="street", annotate=True, blur=["people"])
    _, clear = pictures(plain.bytes("annotated.mp4"))
    _, blurred = pictures(hidden.bytes("annotated.mp4"))
    for number in (50, 170, 230):
        second = number / RATE
        for walker in WALKERS:
            left = round(walker.left(second))
            if not 0 < left < WIDTH - 24:
                continue
            place = np.s_[walker.y + 6 : walker.y + 38, left + 6 : left + 18]
            stripes = [np.abs(np.diff(frames[number][place].astype(int), axis=0)).mean() for frames in (clear, blurred)]
            assert stripes[1] < 0.4 * stripes[0], (second, walker)
    assert hidden.rows("counts.csv") == plain.rows("counts.csv"), "what is hidden is counted all the same"
    assert "What the detector did not find is not hidden" in hidden.text("report.html")


def test_other_lines_are_counted_without_looking_at_a_frame_again(
    runs: Runs[Result], plain: Result, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    take = segment.Segment.take
    monkeypatch.setattr(segment.Segment, "take", lambda self, picture: (looked.append(1), take(self, picture)))
    other = runs.run(video, lines={"left": [[80, 191], [80, 0]], "low": [[0, 185], [319, 185]]}, zones={"a": CORNERS[:3]})
    assert looked == []
    count = {(row["line"], row["way"]): 0 for row in other.rows("counts.csv")}
    for row in other.rows("counts.csv"):
        count[row["line"], row["way"]] += int(row["count"])
    assert (count["left", "A->B"], count["left", "B->A"]) == (4, 2)
    assert count["low", "A->B"] == count["low", "B->A"] == 0
    assert other.bytes("tracks.parquet") == plain.bytes("tracks.parquet")
    assert other.bytes("od.csv").startswith(b"origin,destination,class,count\n")
    runs.run(video, detect_hz=3)
    assert looked, "another rate does look again"


def test_without_lines_two_are_proposed_and_none_without_tracks(runs: Runs[Result], video: Path, tmp_path: Path) -> None:
    proposed = runs.run(video, lines={})
    assert {row["line"] for row in proposed.rows("counts.csv")} <= {"line 1", "line 2"}
    assert proposed.record.counts["crossings"] >= 4
    assert "these were proposed" in proposed.text("report.html")
    empty = runs.run(film_street(tmp_path / "empty.mp4", seconds=1), lines={})
    assert empty.record.counts["tracks"] == 0
    assert any("nothing was tracked" in warning for warning in empty.record.warnings)


def test_a_calibration_gives_kmh_degrees_and_a_map(runs: Runs[Result], video: Path) -> None:
    found = runs.run(video, calibration=TEN_PIXELS_A_METRE)
    speeds = [(float(row["speed_km_h"]), float(row["speed_km_h_sigma"])) for row in found.rows("crossings.csv")]
    expected = sorted(abs(walker.speed) / 10 * 3.6 for walker in WALKERS)
    assert np.allclose(sorted(speed for speed, _ in speeds), expected, rtol=0.06)
    assert all(0 < sigma < 2 for _, sigma in speeds)
    lines = json.loads(found.bytes("trajectories.geojson"))
    assert lines["units"] == "degrees"
    longitude, latitude = lines["features"][0]["geometry"]["coordinates"][0]
    assert (longitude, latitude) == pytest.approx((9.19, 45.46), abs=0.001)
    with rasterio.MemoryFile(found.bytes("heatmap.tif")) as memory, memory.open() as grid:
        flow = grid.read(2)
        row, column = grid.index(16.0, HEIGHT / 10 - 7.5)
        assert flow[row, column] >= 1, "16 m east of the origin, where the first walker goes"
        assert grid.bounds.right == pytest.approx(WIDTH / 10, abs=1)
    assert "km/h" in found.text("report.html")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"calibration": {"points": [[0, 0], [1, 1], [2, 2], [3, 3]], "metres": [[0, 0], [1, 1], [2, 2], [3, 3]]}},
            "on a line",
        ),
        ({"zone": "Mars/Olympus"}, "no time zone"),
        ({"view": "drone"}, "everything moves"),
        ({"blur": "people", "dedup": "store"}, "keeps frames with everyone"),
    ],
)
def test_what_is_wrong_with_options_is_said_before_any_work(
    runs: Runs[Result], video: Path, options: dict[str, Any], said: str
) -> None:
    before = sum(1 for _ in runs.store.list("work/acme/process/"))
    with pytest.raises(BadInput, match=said):
        runs.run(video, **options)
    assert sum(1 for _ in runs.store.list("work/acme/process/")) == before


def test_a_segment_that_fails_is_a_hole_in_counts_and_plots_and_never_zero(
    runs: Runs[Result], plain: Result, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = segment.process

    def broken(work: Any, item: Any) -> Any:
        if item["id"] == "c000-s0001":
            raise RuntimeError("told to fail")
        return process(work, item)

    monkeypatch.setattr(segment, "process", broken)
    partial = runs.run(video, "fargate", camera="street", annotate=True, segment_s=10, tolerate=30, bin_s=10, score=0.39)
    assert (partial.record.status, partial.record.missing) == ("PARTIAL", ["process/c000-s0001"])
    assert partial.record.counts["missing_spans"] == [[10.0, 20.0]]
    assert any("10 s from second 10 on are missing" in warning for warning in partial.record.warnings)
    binned = partial.rows("counts.csv")
    hole = [row for row in binned if float(row["from_s"]) == 10]
    assert hole
    assert all(row["count"] == "" and float(row["missing_s"]) == pytest.approx(10, abs=0.2) for row in hole)
    assert all(row["count"] != "" for row in binned if not 10 <= float(row["from_s"]) < 20)
    whole, holed = (
        [time for row in run.rows("crossings.csv") if not 10 <= (time := float(row["time_s"])) < 20.7]
        for run in (plain, partial)
    )
    assert holed == whole, "outside of the hole nothing changes"
    html = partial.text("report.html")
    gaps = [tuple(map(float, gap)) for gap in re.findall(r'data-missing="([\d.]+)-([\d.]+)"', html)]
    assert gaps == [pytest.approx((10, 20), abs=0.2)]
    assert "PARTIAL: this product has holes" in html
    times, _ = pictures(partial.bytes("annotated.mp4"))
    assert len(times) == (SECONDS - 10) * RATE + 1
    assert [time for time in times if 10 <= time < 19.99] == [10], "a slate"
    assert partial.record.counts["frames"] == (SECONDS - 10) * RATE
    numbers, moments = (pq.read_table(io.BytesIO(partial.bytes("tracks.parquet")))[name] for name in ("frame", "time_s"))
    assert np.allclose(np.array(numbers) / RATE, moments), "frames after the hole keep their numbers"
    assert max(image["frame"] for image in json.loads(partial.bytes("coco.json"))["images"]) == SECONDS * RATE - 1


def test_a_drones_frames_are_laid_over_one_and_the_report_says_how_well(runs: Runs[Result], tmp_path: Path) -> None:
    flight = film_street(tmp_path / "flight.mp4", seconds=11, moves=True)
    how: dict[str, Any] = {"view": "drone", "detector": "auto", "lines": {}, "detect_hz": 2}
    found, cut = runs.run(flight, **how), runs.run(flight, "fargate", segment_s=10, **how)
    assert found.digests() == cut.digests(), "the background is made of pictures laid over the reference"
    text = found.text("report.html")
    assert "frames registered directly to one reference frame" in text
    strays = re.search(r"the view strays up to (\d+) px", text)
    assert strays is not None
    assert 21 <= int(strays[1]) <= 30, "2 and 1.2 pixels a second for 11 seconds"
