"""Nothing is stored or worked on twice: whole runs, dropped again, and with their frames stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from tests.data import real
from tests.unit.cctv_runs import cctv_runs, film_street, street
from tests.unit.cctv_video import make, scene
from tests.unit.runs import Result, Runs
from tilery import registry
from tilery.outcomes import BadInput
from tilery.store.directory import DirectoryStore
from tilery.workloads.cctv import segment
from tilery.workloads.cctv.dedup.__main__ import main
from tilery.workloads.cctv.dedup.kept import keep
from tilery.workloads.cctv.dedup.packs import Packs, prefix
from tilery.workloads.cctv.dedup.restore import restore
from tilery.workloads.cctv.dedup.saving import report


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs[Result]]:
    with cctv_runs(tmp_path / "root") as found:
        yield found


def never(*_: Any) -> None:
    raise BadInput("it was worked on again")


def test_the_same_video_under_another_name_is_worked_on_once(
    runs: Runs[Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = film_street(tmp_path / "street.mp4", seconds=12)
    first = runs.run(video, lane="fargate", camera="gate")
    with monkeypatch.context() as patched:
        patched.setattr(segment, "process", never)
        again = runs.run({"copy.mp4": video}, lane="lambda", camera="gate")
        other = runs.run({"copy.mp4": video}, lane="fargate", camera="yard")
        timed = runs.run({"20240506_120000.mp4": video}, lane="fargate", camera="gate")
        with pytest.raises(BadInput):
            runs.run({"copy.mp4": video}, lane="lambda", detect_hz=4)
    assert {row["time"] for row in first.rows("crossings.csv")} == {""}
    assert {row["time"][:16] for row in timed.rows("crossings.csv")} == {"2024-05-06T12:00"}, "only the merge knows the hour"
    assert again.bytes("tracks.parquet") == first.bytes("tracks.parquet")
    assert other.rows("crossings.csv") == first.rows("crossings.csv")


def test_a_video_gains_nothing_and_the_report_says_so(runs: Runs[Result], tmp_path: Path) -> None:
    told = json.loads(runs.run(film_street(tmp_path / "street.mp4", seconds=12)).text("dedup.json"))["frames"]
    assert told["how"] == "sampled"
    assert told["sentence"].startswith("Nothing is gained by storing frames apart: they would take")
    assert [line["kept"] for line in told["stretches"]] == ["source"]
    assert told["gained_bytes"] == 0


def frames_in(folder: Path, count: int = 30) -> dict[str, Path]:
    """A street seen without noise, as PNG files."""
    found = {}
    for number in range(count):
        picture = street()
        picture[40:80, 5 * number : 5 * number + 30] = (200, 40, 40)
        path = folder / f"f{number}.png"
        cv2.imwrite(str(path), picture[..., ::-1])
        found[path.name] = path
    return found


def test_png_frames_are_stored_once_for_two_cameras(runs: Runs[Result], tmp_path: Path) -> None:
    files = frames_in(tmp_path)
    told = [
        json.loads(runs.run(named, frame_hz=2, dedup="store").text("dedup.json"))["frames"]
        for named in (files, {f"other{name}": path for name, path in files.items()})
    ]
    assert [one["how"] for one in told] == ["stored", "stored"]
    assert [line["kept"] for line in told[0]["stretches"]] == ["store", "store"]
    assert told[0]["gained_bytes"] > 0.8 * told[0]["source_bytes"]
    assert sum(line["added_bytes"] for line in told[0]["stretches"]) > 0
    assert sum(line["added_bytes"] for line in told[1]["stretches"]) == 0
    packs = Packs(runs.store, prefix("acme"))
    name = told[0]["stretches"][1]["name"]
    back = restore(packs, name, tmp_path / "back")
    assert [path.name for path in back] == [f"f{number}.png" for number in range(20, 30)]
    assert np.array_equal(cv2.imread(str(back[3])), cv2.imread(str(files["f23.png"])))
    tidied = registry.load("cctv").tidy(runs.store, "acme")
    assert tidied["packs"] > 0
    assert tidied["condemned"] == 0, "everything is needed"
    assert registry.load("cctv").tidy(runs.store, "other") == {}


def test_jpeg_frames_are_stored_bit_for_bit(runs: Runs[Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("jpeglib")
    files = {path.name: path for path in sorted(real("cctv/highway/frames").iterdir())[:40]}
    told = json.loads(runs.run(files, frame_hz=2, dedup="store").text("dedup.json"))["frames"]
    assert told["stored_bytes"] < 0.65 * told["source_bytes"]
    assert main(["acme", "list"]) == 0
    names = capsys.readouterr().out.split()
    assert names == [line["name"] for line in told["stretches"]]
    assert main(["acme", "restore", names[0].rpartition("b")[0], "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / name) for name in files]
    assert all((tmp_path / name).read_bytes() == path.read_bytes() for name, path in files.items())
    assert main(["acme", "restore", "another"]) == 2
    assert "nothing is stored under 'another'" in capsys.readouterr().err


def test_frames_of_which_nobody_knows_what_they_were_are_said_to_be_such(tmp_path: Path) -> None:
    packs = Packs(DirectoryStore(tmp_path), prefix("acme"))
    keep(packs, "old", [np.zeros((48, 64), np.uint8)] * 3, 3 * 48 * 64)
    with pytest.raises(BadInput, match="run the drop again"):
        restore(packs, "old", tmp_path)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p", "bgr24"])
def test_lossless_video_comes_back_with_the_same_samples_and_times(runs: Runs[Result], tmp_path: Path, pixels: str) -> None:
    film = make(tmp_path / "raw.avi", frames=25, codec="rawvideo", pixels=pixels)
    told = json.loads(runs.run(film, dedup="store").text("dedup.json"))["frames"]
    assert [line["kept"] for line in told["stretches"]] == ["store"]
    (back,) = restore(Packs(runs.store, prefix("acme")), told["stretches"][0]["name"], tmp_path / "back")
    with av.open(str(film)) as before, av.open(str(back)) as after:
        pairs = list(zip(before.decode(video=0), after.decode(video=0), strict=True))
        assert len(pairs) == 25
        assert [a.time for a, _ in pairs] == pytest.approx([b.time for _, b in pairs], abs=1e-6)
        assert all(np.array_equal(a.to_ndarray(), b.to_ndarray()) for a, b in pairs)
        assert pairs[0][1].format.name == pixels


def test_frames_that_hold_more_than_can_be_stored_stay_files(runs: Runs[Result], tmp_path: Path) -> None:
    files = frames_in(tmp_path, 12)
    cv2.imwrite(str(files["f3.png"]), street().astype(np.uint16) * 256)
    told = json.loads(runs.run(files, frame_hz=10, dedup="store").text("dedup.json"))["frames"]
    assert [line["kept"] for line in told["stretches"]] == ["source"]
    assert "16 bits a sample" in told["stretches"][0]["why"]


def test_video_of_more_than_8_bits_a_sample_stays_a_file(runs: Runs[Result], tmp_path: Path) -> None:
    deep = make(tmp_path / "deep.mkv", frames=12, codec="ffv1", pixels="yuv420p10le")
    told = json.loads(runs.run(deep, dedup="store").text("dedup.json"))["frames"]
    assert [(line["kept"], line["why"][:23]) for line in told["stretches"]] == [("source", "more than 8 bits a samp")]
    assert told["sentence"].startswith("Frames are kept as their source alone: more than 8 bits a sample")
    told = json.loads(runs.run(deep).text("dedup.json"))["frames"]
    assert told["sentence"].startswith("Frames are kept as their source alone: more than 8 bits a sample")


def test_noise_within_the_error_is_not_stored(runs: Runs[Result], tmp_path: Path) -> None:
    dice = np.random.default_rng(4)
    files = {}
    for number in range(12):
        noisy = scene(0, 192, 128).astype(int) + dice.integers(-2, 3, (128, 192, 3))
        files[f"{number}.png"] = tmp_path / f"{number}.png"
        cv2.imwrite(str(files[f"{number}.png"]), noisy.clip(0, 255))
    lines = [
        json.loads(runs.run(files, frame_hz=10, dedup="store", dedup_error=error).text("dedup.json"))["frames"]["stretches"][0]
        for error in (0, 4)
    ]
    assert lines[0]["changed_tiles"] > 0.9
    assert lines[1]["changed_tiles"] == 0
    assert lines[1]["largest_error"] <= 4
    assert lines[1]["psnr_db"] > 40
    assert lines[1]["stored_bytes"] * 5 < lines[0]["stored_bytes"]


def test_a_report_of_nothing_is_a_report() -> None:
    assert report([None, None])["sentence"] == "No frames were compared."
