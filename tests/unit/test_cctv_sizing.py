"""The plan of a run: segments of whole blocks, cut where decoding can begin near by."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data import real
from tests.unit.cctv_video import Drop, make
from tilery.outcomes import BadInput
from tilery.workloads.cctv.clips import BLOCK_US, Clip
from tilery.workloads.cctv.probe import Probed
from tilery.workloads.cctv.sizing import LEAST_LEAD_US, WARMUP_US, segments

SECOND = 1_000_000


def clip(seconds: float, keys: list[float] | None, seeks: bool = True, skip: float = 0) -> Probed:
    keys_us = [int(key * SECOND) for key in keys] if keys is not None else None
    return Probed(Clip([3], "video", 96, 64, 0, int(seconds * SECOND), skip_us=int(skip * SECOND)), keys_us, seeks)


@given(
    seconds=st.floats(0.1, 2000),
    gaps=st.lists(st.floats(0.1, 300), max_size=50),
    segment_s=st.floats(5, 600),
    skip=st.floats(0, 1),
    indexed=st.booleans(),
)
def test_segments_are_whole_blocks_and_cover_the_clip_once(
    seconds: float, gaps: list[float], segment_s: float, skip: float, indexed: bool
) -> None:
    keys = [sum(gaps[:number]) for number in range(len(gaps) + 1)]
    found = clip(seconds, keys if indexed else None, skip=seconds * skip * 0.9)
    items = segments(7, found, segment_s)
    assert items[0]["start_us"] <= found.clip.skip_us
    assert items[0]["start_us"] + BLOCK_US > found.clip.skip_us
    assert all(one["stop_us"] == other["start_us"] for one, other in pairwise(items))
    assert items[-1]["stop_us"] is None
    assert items[-1]["start_us"] < found.clip.duration_us
    assert all(item["start_us"] == item["first_block"] * BLOCK_US and item["blocks"] >= 1 for item in items)
    assert len({item["id"] for item in items}) == len(items)


def test_segments_have_about_the_length_asked_for() -> None:
    items = segments(0, clip(3600, [float(second) for second in range(3600)]), 60)
    assert [item["blocks"] for item in items] == [6] * 60
    assert [item["id"] for item in items][:2] == ["c000-s0000", "c000-s0001"]
    assert [item["work"] for item in items] == [1500.0] * 60


def test_decoding_begins_at_the_key_frame_before_the_warm_up() -> None:
    items = segments(0, clip(120, [0, 7, 33, 55, 57, 100]), 60)
    assert [item["decode_from"] for item in items] == [None, 55 * SECOND + 1]
    assert items[1]["start_us"] - WARMUP_US == 56 * SECOND


def test_a_video_with_one_key_frame_is_one_segment() -> None:
    assert len(segments(0, clip(600, [0]), 60)) == 1
    assert len(segments(0, clip(600, None, seeks=False), 60)) == 1
    assert len(segments(0, clip(600, None), 60)) == 10


def test_a_cut_far_behind_a_key_frame_is_not_made() -> None:
    items = segments(0, clip(600, [0, 30, 300, 450]), 60)
    starts = [item["start_us"] for item in items]
    for start in starts[1:]:
        key = max(key * SECOND for key in (0, 30, 300, 450) if key * SECOND <= start - WARMUP_US)
        assert start - WARMUP_US - key <= max(LEAST_LEAD_US, 0.5 * start)
    assert 2 <= len(starts) < 10


@pytest.mark.parametrize("name", ["refresh.mp4", "refresh.ts"])
def test_a_stream_without_whole_key_frames_is_one_segment(tmp_path: Path, name: str) -> None:
    for refresh in (0, 1):
        options = {"x264-params": f"intra-refresh={refresh}:keyint=12:scenecut=0"}
        drop = Drop(tmp_path / f"root{refresh}").add(make(tmp_path / name, frames=160, rate=Fraction(5), options=options))
        assert len(drop.size(segment_s=10).items) == (1 if refresh else 4)


def test_clips_of_two_cameras_are_refused(tmp_path: Path) -> None:
    drop = (
        Drop(tmp_path / "root").add(make(tmp_path / "a.mp4", frames=5)).add(make(tmp_path / "b.mp4", frames=5, size=(64, 64)))
    )
    with pytest.raises(BadInput, match=r"b\.mp4 has frames of 64 x 64 pixels and a\.mp4 of 96 x 64; one drop is one camera"):
        drop.size()


def test_a_drop_without_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "detector.json").write_text("{}")
    with pytest.raises(BadInput, match="the drop holds no video"):
        Drop(tmp_path / "root").add(tmp_path / "detector.json").size()


def test_a_picture_of_another_size_is_named(tmp_path: Path) -> None:
    import cv2
    import numpy as np

    drop = Drop(tmp_path / "root")
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), np.zeros((20 + number // 4, 30, 3), np.uint8))
        drop.add(tmp_path / f"{number}.jpg")
    with pytest.raises(BadInput, match=r"4\.jpg has 30 x 21 pixels and 0\.jpg 30 x 20"):
        drop.size()


@pytest.mark.parametrize(
    ("text", "asked", "rate"),
    [
        ("[Sequence]\nname=%x\nframeRate=30\n", {}, (30, 1)),
        ("[Sequence]\nframeRate=30\n", {"frame_hz": 5}, (5, 1)),
        ("[Sequence]\nframeRate=fast\n", {}, (25, 1)),
        ("\0\xff", {}, (25, 1)),
    ],
)
def test_a_sequence_of_the_mot_challenge_says_its_rate(tmp_path: Path, text: str, asked: dict[str, Any], rate: Any) -> None:
    import cv2
    import numpy as np

    (tmp_path / "seqinfo.ini").write_text(text)
    drop = Drop(tmp_path / "root").add(tmp_path / "seqinfo.ini", "MOT17-09/seqinfo.ini")
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), np.zeros((20, 30, 3), np.uint8))
        drop.add(tmp_path / f"{number}.jpg", f"MOT17-09/img1/{number}.jpg")
    (clip,) = drop.clips(**asked)
    assert clip.rate == rate
    assert bool(clip.warnings) == (rate == (25, 1))


def test_too_long_a_video_is_refused_and_says_what_to_set(tmp_path: Path) -> None:
    drop = Drop(tmp_path / "root").add(real("cctv/pets/vtest.avi"))
    with pytest.raises(BadInput, match=r"hours of video, more than 0\.01; set max_hours if that is right"):
        drop.size(max_hours=0.01)


def test_clips_years_apart_are_refused(tmp_path: Path) -> None:
    drop = Drop(tmp_path / "root")
    for name in ("20190506_120000.mp4", "20240506_120000.mp4"):
        drop.add(make(tmp_path / name, frames=5))
    with pytest.raises(BadInput, match="the clips span 1827 days"):
        drop.size()


def test_the_plan_of_a_real_video(tmp_path: Path) -> None:
    sizing = Drop(tmp_path / "root").add(real("cctv/pets/vtest.avi")).size(segment_s=30)
    assert sizing.work == 795
    assert sizing.counts == {"clips": 1, "frames": 795, "seconds": 79.5, "input_bytes": 8131690}
    assert [(item["start_us"], item["stop_us"]) for item in sizing.items] == [
        (0, 30 * SECOND),
        (30 * SECOND, 60 * SECOND),
        (60 * SECOND, None),
    ]
    assert sizing.facts["frame_size"] == [768, 576]
    assert sizing.warnings == []
