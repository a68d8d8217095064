"""Clips of one camera on one timeline."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.unit.cctv_video import Drop, make
from tilery.outcomes import BadInput
from tilery.workloads.cctv.clips import Clip
from tilery.workloads.cctv.probe import Probed
from tilery.workloads.cctv.sizing import identity
from tilery.workloads.cctv.timeline import named, placed, zone_of

SECOND = 1_000_000
NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)


def clip(name: str, seconds: float = 60, created: datetime | None = None) -> Probed:
    return Probed(Clip([0], "video", 96, 64, 0, int(seconds * SECOND), name=name), created=created)


def laid(
    *probed: Probed, start: datetime | None = None, zone: str = "UTC"
) -> tuple[list[tuple[str, float, float]], datetime | None, list[str]]:
    """Name, offset (s) and what is left out at its start (s) of each clip."""
    kept, begins, warnings = placed(probed, start, zone_of(zone), 2.0)
    return [(each.clip.name, each.clip.offset_us / SECOND, each.clip.skip_us / SECOND) for each in kept], begins, warnings


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("20240131_235959.mp4", "2024-01-31T23:59:59+00:00"),
        ("ch01_20240131235959.mp4", "2024-01-31T23:59:59+00:00"),
        ("2024-01-31 23-59-59.mkv", "2024-01-31T23:59:59+00:00"),
        ("site/2024-01-31T23:59:59.250Z.ts", "2024-01-31T23:59:59.250000+00:00"),
        ("cam3-1706745599.mp4", "2024-01-31T23:59:59+00:00"),
        ("cam3-1706745599500.mp4", "2024-01-31T23:59:59.500000+00:00"),
        ("NVR_ch2_main_20240131235959_20240201001500.mp4", "2024-01-31T23:59:59+00:00"),
        ("cam 2024-01-31T23:59:59+01-00.mp4", "2024-01-31T23:59:59+01:00"),
        ("2024-01-31 11-59-59 PM.mp4", "2024-01-31T23:59:59+00:00"),
        ("2024-01-31 12-00-07 am.mp4", "2024-01-31T00:00:07+00:00"),
        ("2024_01_31__23_59_59.avi", "2024-01-31T23:59:59+00:00"),
        ("gate/2024-01-31/23-59-59.mp4", "2024-01-31T23:59:59+00:00"),
        ("20240131_23h00.mp4", "2024-01-31T23:00:00+00:00"),
    ],
)
def test_a_moment_in_a_name_is_read(name: str, moment: str) -> None:
    found = named(name, UTC)
    assert found is not None
    assert found.isoformat() == moment


@pytest.mark.parametrize(
    "name",
    [
        "clip7.mp4",
        "20249931_235959.mp4",
        "20240131.mp4",
        "20240131_0017.mp4",
        "20240131_235959+9900.mp4",
        "9999999999999999999999.mp4",
    ],
)
def test_a_name_without_a_moment_has_none(name: str) -> None:
    assert named(name, UTC) is None
    assert named("20240131/000123.jpg", UTC, joined=False) is None, "the number of a frame is no time"


def test_names_tell_local_time() -> None:
    found = named("20240701_120000.mp4", ZoneInfo("Europe/Rome"))
    assert found is not None
    assert found.astimezone(UTC).hour == 10
    with pytest.raises(BadInput, match="there is no time zone 'Mars'"):
        zone_of("Mars")


def test_clips_without_times_follow_each_other_in_natural_order() -> None:
    clips, begins, warnings = laid(clip("c10"), clip("c9"), clip("c1", 30))
    assert clips == [("c1", 0, 0), ("c9", 30, 0), ("c10", 90, 0)]
    assert begins is None
    assert "follow each other in the order of their names, from c1 to c10" in warnings[0]


def test_names_decide_and_gaps_stay() -> None:
    clips, begins, warnings = laid(clip("20240506_120500"), clip("20240506_120000"), clip("20240506_120100"))
    assert [(name[-6:], offset) for name, offset, _ in clips] == [("120000", 0), ("120100", 60), ("120500", 300)]
    assert begins == NOON
    assert warnings == ["nothing was filmed, by their names: 180.0 s before 20240506_120500"]


def test_clocks_that_are_set_forward_between_two_clips_make_no_gap() -> None:
    clips, begins, _ = laid(clip("20240331_015950", 10), clip("20240331_030010"), zone="Europe/Rome")
    assert [offset for _, offset, _ in clips] == [0, 20]
    assert begins == datetime(2024, 3, 31, 0, 59, 50, tzinfo=UTC)


def test_start_moves_the_whole_timeline() -> None:
    clips, begins, _ = laid(clip("20240506_120000"), clip("20240506_120100"), start=datetime(2024, 5, 6, 8), zone="Europe/Rome")
    assert begins == datetime(2024, 5, 6, 6, tzinfo=UTC)
    assert [offset for _, offset, _ in clips] == [0, 60]


def test_metadata_decides_when_not_all_names_have_a_time() -> None:
    clips, begins, _ = laid(clip("b", created=NOON), clip("20240506_130000", created=NOON + timedelta(seconds=70)))
    assert clips == [("b", 0, 0), ("20240506_130000", 70, 0)]
    assert begins == NOON


def test_metadata_that_is_the_same_for_all_is_of_no_use() -> None:
    clips, begins, _ = laid(clip("b", created=NOON), clip("a", created=NOON))
    assert clips == [("a", 0, 0), ("b", 60, 0)]
    assert begins is None


def test_of_two_clips_that_overlap_the_earlier_one_is_shown() -> None:
    clips, _, warnings = laid(clip("20240506_120000"), clip("20240506_120045"), clip("20240506_120010", 20))
    assert [(offset, skipped) for _, offset, skipped in clips] == [(0, 0), (45, 15)]
    assert warnings == [
        "clips overlap by their names: 20240506_120010 lies within the clips before it and is left out; "
        "the first 15.000 s of 20240506_120045 are left out"
    ]


def test_an_overlap_by_whole_seconds_alone_drops_nothing() -> None:
    clips, _, warnings = laid(clip("20240506_120000", 60.4), clip("20240506_120100", 60.4))
    assert [(offset, skipped) for _, offset, skipped in clips] == [(0, 0), (60.4, 0)]
    assert warnings == []


def test_a_run_of_overlapping_clips_has_every_moment_once(tmp_path: Path) -> None:
    drop = Drop(tmp_path / "root")
    for name, frames in (("20240506_120000.mp4", 90), ("20240506_120002.mkv", 90), ("20240506_120009.avi", 30)):
        drop.add(make(tmp_path / name, frames=frames, codec="mpeg4"))
    sizing = drop.size()
    times = [picture.time_us for each in sizing.facts["clips"] for picture in drop.decode(Clip.of(each))]
    assert times == sorted(set(times))
    assert len(times) == 90 + 60 + 30
    assert sizing.facts["start"] == "2024-05-06T12:00:00+00:00"
    assert sizing.counts["frames"] == pytest.approx(180, abs=2)
    assert len(sizing.warnings) == 2


def test_the_same_file_under_two_names_is_used_once(tmp_path: Path) -> None:
    drop = Drop(tmp_path / "root").add(make(tmp_path / "a.mp4", frames=30)).add(tmp_path / "a.mp4", "b.mp4")
    drop.sources = [source.model_copy(update={"digest": "sha256:1"}) for source in drop.sources]
    sizing = drop.size()
    assert len(sizing.facts["clips"]) == 1
    assert sizing.warnings == ["b.mp4 is the same file as a.mp4 and is left out"]


def test_where_clips_lie_and_not_their_names_decides_what_is_worked_on_again(tmp_path: Path) -> None:
    first, second = make(tmp_path / "first.mp4", frames=30), make(tmp_path / "second.mp4", frames=25)

    def place(number: int, *names: str, **options: Any) -> tuple[list[Any], Any]:
        drop = Drop(tmp_path / f"root{number}").add(first, names[0]).add(second, names[1])
        drop.sources = [one.model_copy(update={"digest": f"sha256:{place}"}) for place, one in enumerate(drop.sources)]
        return identity(drop.sources), drop.size(**options).facts["timeline"]

    rome = place(0, "20240331_015950.mp4", "20240331_030010.mp4", zone="Europe/Rome")
    assert rome == place(1, "cam2_20240506_120000.mp4", "cam2_20240506_120020.mp4")
    assert rome != place(2, "20240506_120000.mp4", "20240506_120030.mp4")
    assert place(3, "a.mp4", "b.mp4") == place(4, "clip9.mp4", "clip10.mp4") != place(5, "b.mp4", "a.mp4")
