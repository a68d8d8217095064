"""The process verb: the same tables however a clip is cut, still frames, damage, schedules."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.cctv.segments import seen, sized
from tests.data import real
from tilery.workload import Item, Work
from tilery.workloads.cctv import tables
from tilery.workloads.cctv.detector import Found
from tilery.workloads.cctv.detector_onnx import OnnxDetector
from tilery.workloads.cctv.frames import Looked
from tilery.workloads.cctv.options import CctvOptions
from tilery.workloads.cctv.segment import PICTURES, process

Picture = NDArray[np.uint8]
SECONDS = 34
GROUND = np.random.default_rng(1).integers(60, 180, (8, 12, 3)).repeat(16, 0).repeat(16, 1).astype(np.uint8)


def walk(path: Path, seconds: int, still_from: int = 10**9, rate: int = 8, contrast: float = 1) -> Path:
    """A light square walks over the ground, and stops after `still_from` frames; `contrast` below 1 is fog."""
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libx264", rate=rate, options={"crf": "18", "g": "40"})
        stream.width, stream.height, stream.pix_fmt = GROUND.shape[1], GROUND.shape[0], "yuv420p"
        for number in range(seconds * rate):
            picture = GROUND.copy()
            at = min(number, still_from)
            left, top = at * 3 % 160, 20 + at // 60 * 7 % 60
            picture[top : top + 28, left : left + 24] = (250, 245, 230)
            seen_so = (120 + (picture - 120.0) * contrast).astype(np.uint8) if contrast < 1 else picture
            output.mux(stream.encode(av.VideoFrame.from_ndarray(seen_so, format="rgb24")))
        output.mux(stream.encode(None))
    return path


def cut(items: list[Item], starts: list[int]) -> list[Item]:
    """Segments that begin at these blocks."""
    whole = items[0]
    last = max(item["first_block"] + item["blocks"] for item in items)
    firsts = sorted({0, *(start for start in starts if start < last)})
    return [
        whole
        | {
            "id": f"s{first}",
            "first_block": first,
            "blocks": stop - first,
            "start_us": first * 10_000_000,
            "stop_us": None if stop == last else stop * 10_000_000,
            "decode_from": None,
        }
        for first, stop in zip(firsts, [*firsts[1:], last], strict=True)
    ]


def joined(work: Work[CctvOptions], items: list[Item]) -> tuple[bytes, bytes, list[Any]]:
    frames, found, _ = seen(work, items)
    pictures = [one for item in items for one in tables.decode_pictures(work.store.get(work.out("background", item["id"])))]
    return tables.encode_frames(frames), tables.encode_detections(found), [(at, one.tobytes()) for at, one in pictures]


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Work[CctvOptions], list[Item], tuple[bytes, bytes, list[Any]]]:
    folder = tmp_path_factory.mktemp("walk")
    work, items = sized(folder / "root", [walk(folder / "walk.mp4", SECONDS)], detector="auto", detect_hz=2, dedup="off")
    assert len(items) == 1
    return work, items, joined(work, items)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(starts=st.lists(st.integers(1, 3), min_size=1, max_size=3, unique=True))
def test_any_segmentation_gives_the_same_bytes(walked: Any, starts: list[int]) -> None:
    work, items, whole = walked
    assert joined(work, cut(items, starts)) == whole


def test_every_frame_is_there_once_and_two_a_second_and_the_last_are_looked_at(walked: Any) -> None:
    _, _, (frames_bytes, found_bytes, pictures) = walked
    frames, found = tables.decode_frames(frames_bytes), tables.decode_detections(found_bytes)
    np.testing.assert_array_equal(frames.time_us, np.arange(SECONDS * 8) * 125_000)
    looked = frames.looked != Looked.SKIPPED
    np.testing.assert_array_equal(np.flatnonzero(looked), [*range(0, SECONDS * 8, 4), SECONDS * 8 - 1])
    assert set(found.time_us) <= set(frames.time_us[frames.looked == Looked.DETECTED])
    assert (np.diff(found.time_us) >= 0).all()
    assert len(pictures) == SECONDS < PICTURES


@pytest.mark.parametrize("detector", ["motion", "auto"])
def test_the_real_sequence_gives_the_same_bytes_in_one_segment_and_in_many(tmp_path: Path, detector: str) -> None:
    frames = sorted(real("cctv/highway/frames").glob("*.jpg"))[600:920]
    work, items = sized(tmp_path / "root", frames, detector=detector, frame_hz=10.0, detect_hz=1.0, dedup="off")
    assert joined(work, cut(items, [])) == joined(work, cut(items, [1, 2, 3, 4]))


def test_a_large_frame_is_detected_where_something_changed_however_it_is_cut(tmp_path: Path, monkeypatch: Any) -> None:
    large = tmp_path / "large.mp4"
    with av.open(str(real("cctv/pets/vtest.avi"))) as source, av.open(str(large), "w") as output:
        stream: Any = output.add_stream("libx264", rate=2, options={"preset": "ultrafast", "g": "10"})
        stream.width, stream.height, stream.pix_fmt = 1152, 864, "yuv420p"
        for number, frame in zip(range(200), source.decode(video=0), strict=False):
            if number % 5 == 0:
                pixels = frame.to_ndarray(width=1152, height=864, format="yuv420p")
                output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="yuv420p")))
        output.mux(stream.encode(None))
    work, items = sized(tmp_path / "root", [large], detect_hz=2, dedup="off")
    given: list[int] = []
    detect = OnnxDetector.detect

    def noted(detector: OnnxDetector, pictures: list[Picture]) -> list[Found]:
        given.extend(one.shape[0] * one.shape[1] for one in pictures)
        return detect(detector, pictures)

    monkeypatch.setattr(OnnxDetector, "detect", noted)
    assert joined(work, cut(items, [])) == joined(work, cut(items, [1]))
    given = given[-40:]
    whole, parts = np.array(given) == 512 * 384, np.array(given) <= 0.8 * 512 * 384
    assert whole[::4].all()  # every two seconds
    assert (whole | parts).all()
    assert parts.sum() >= 10


@pytest.mark.parametrize("contrast", [1, 0.12])
def test_what_walks_is_found_where_it_is_by_motion_alone(tmp_path: Path, contrast: float) -> None:
    work, items = sized(tmp_path / "root", [walk(tmp_path / "walk.mp4", 12, contrast=contrast)], detector="motion")
    frames, found, values = seen(work, items)
    confident = found.score >= values[0]["confident"]
    looked = int((frames.looked == Looked.DETECTED).sum())
    assert confident.sum() >= 0.9 * looked
    number = found.time_us[confident] // 125_000
    inside = number * 3 % 160 < 160
    np.testing.assert_allclose(found.box[confident][inside, 0], number[inside] * 3 % 160, atol=4)
    assert (found.moving[confident] > 0.8).all()


def test_still_frames_are_not_detected_again_unless_that_is_asked_for(tmp_path: Path) -> None:
    video = walk(tmp_path / "walk.mp4", 20, still_from=30)
    for still, least, most in ((True, 20, 60), (False, 100, 100)):
        work, items = sized(tmp_path / "root", [video], still=still, dedup="off")
        frames, _, (value,) = seen(work, items)
        assert least <= value["detector_calls"] <= most
        assert value["detected"] + value["still"] == 100
        assert value["detector_calls"] + value["detector_calls_saved"] == 100
        # a block begins without a memory
        assert frames.looked[80] == Looked.DETECTED
        assert (frames.looked[100:] == Looked.STILL).any() == still


def test_a_large_frame_is_detected_in_slices_and_only_those_that_changed(tmp_path: Path) -> None:
    big = tmp_path / "big.mp4"
    with av.open(str(big), "w") as output:
        stream: Any = output.add_stream("libx264", rate=4)
        stream.width, stream.height, stream.pix_fmt = 960, 432, "yuv420p"
        ground = np.kron(GROUND[::16, ::16].astype(int).mean(2), np.ones((54, 80)))[..., None].repeat(3, 2).astype(np.uint8)
        for number in range(8):
            picture = ground.copy()
            picture[100:160, 20 + number * 8 : 60 + number * 8] = 255
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    work, items = sized(tmp_path / "large", [big], slices="on", detector="nanodet")
    value = seen(work, items)[2][0]
    # the whole and 3 x 2 slices of 416 pixels at first, then the whole and the two slices in which the square is
    assert value["detector_calls"] + value["detector_calls_saved"] == 8 * 7
    assert value["detector_calls"] <= 7 + 7 * 3


def test_damaged_frames_keep_their_place_and_are_not_looked_at(tmp_path: Path) -> None:
    folder = sorted(real("cctv/highway/frames").glob("*.jpg"))[:20]
    files = []
    for file in folder:
        data = file.read_bytes()
        files.append(tmp_path / file.name)
        files[-1].write_bytes(data[: len(data) // 2] if file.name.endswith(("05.jpg", "06.jpg")) else data)
    work, items = sized(tmp_path / "root", files, detector="motion", frame_hz=10.0, detect_hz=10.0)
    frames, found, (value,) = seen(work, items)
    assert value["damaged"] == 2
    assert (np.flatnonzero(frames.looked == Looked.DAMAGED) == [4, 5]).all()
    assert len(frames) == 20
    assert not np.isin(found.time_us, frames.time_us[4:6]).any()


def test_a_drones_frames_are_registered_and_have_no_motion(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    ground = np.kron(random.integers(0, 256, (60, 80)), np.ones((8, 8)))[..., None].repeat(3, 2).astype(np.uint8)
    path = tmp_path / "drone.mp4"
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libx264", rate=Fraction(4), options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 400, 300, "yuv420p"
        for number in range(12):
            shown = np.ascontiguousarray(ground[2 * number : 300 + 2 * number, 5 * number : 400 + 5 * number])
            output.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        output.mux(stream.encode(None))
    work, items = sized(tmp_path / "root", [path], view="drone", detect_hz=2.0)
    frames, found, (value,) = seen(work, items)
    assert value["registered"] == value["detected"] == 7, "two a second, and the last"
    assert len(value["error_px"]) == 7
    assert np.isnan(found.moving).all()
    looked = np.flatnonzero(frames.looked == Looked.DETECTED)
    np.testing.assert_allclose(frames.to_reference[looked, 0, 2], 5 * looked, atol=1)
    assert np.isnan(frames.to_reference[frames.looked == Looked.SKIPPED]).all()


def test_the_value_says_what_was_done(tmp_path: Path) -> None:
    work, items = sized(tmp_path / "root", [walk(tmp_path / "walk.mp4", 3)], score=0.6)
    value = process(work, items[0])
    assert value["frames"] == 24
    assert value["detector"] == "centernet"
    assert value["confident"] == 0.6
    assert value["provider"] == "CPUExecutionProvider"
