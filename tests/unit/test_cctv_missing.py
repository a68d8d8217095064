"""Pictures that never reached a recorder: what leans on them is not believed, and the same is told wherever decoding begins."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import av
import pytest

from tests.unit.cctv_video import CLOSED_GOP, OPEN_GOP, Drop, make, print_of
from tilery.workloads.cctv.h264 import Numbering, numbering, picture_number, units
from tilery.workloads.cctv.missing import Missing

ONLY_P = {"x264-params": "keyint=24:min-keyint=24:scenecut=0:bframes=0"}
ONE_B = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:scenecut=0:bframes=1:b-adapt=0"}
MATRICES = {"x264-params": "keyint=24:min-keyint=24:scenecut=0:bframes=0:cqm=jvt"}


def without(path: Path, lost: Collection[int]) -> Path:
    """The same video without some of its packets, in a file that is whole."""
    after = path.with_name("lost_" + path.name)
    with av.open(str(path)) as found, av.open(str(after), "w") as made:
        into: Any = made.add_stream_from_template(found.streams.video[0])
        for number, packet in enumerate(packet for packet in found.demux(video=0) if packet.size):
            if number not in lost:
                packet.stream = into
                made.mux(packet)
    return after


def dropped(path: Path) -> Drop:
    return Drop(path.parent / path.stem).add(path)


@pytest.mark.parametrize(
    ("name", "options", "lost"),
    [
        ("p.mp4", ONLY_P, {30}),
        ("p.ts", ONLY_P, {39, 40}),
        ("matrices.mp4", MATRICES, {30}),
        ("closed.mkv", CLOSED_GOP, {25}),
        ("open.ts", OPEN_GOP, {29}),
        ("open.mp4", OPEN_GOP, {34}),
        ("before_a_key.mp4", ONE_B, {21, 22}),
    ],
)
def test_what_leans_on_a_missing_picture_is_not_believed(
    tmp_path: Path, name: str, options: dict[str, str], lost: set[int]
) -> None:
    path = make(tmp_path / name, frames=72, options=options)
    whole = dropped(path)
    real = dict(print_of(picture) for picture in whole.decode(whole.clips()[0]))
    drop = dropped(without(path, lost))
    clip = drop.clips()[0]
    got = [print_of(picture) for picture in drop.decode(clip)]
    assert len(got) == 72 - len(lost)
    assert all(content in ("", real[time]) for time, content in got)
    assert 1 <= sum(not content for _, content in got) < 25
    assert got[-1][1]
    for place in range(0, len(got), 5):
        assert [print_of(picture) for picture in drop.decode(clip, got[place][0])] == got[place:]


def test_a_loss_is_told_once_though_several_pictures_are_numbered_after_it(tmp_path: Path) -> None:
    path = without(make(tmp_path / "p.mp4", frames=36, options=OPEN_GOP), {14})
    with av.open(str(path)) as found:
        missing = Missing(found.streams.video[0])
        assert sum(missing(packet) for packet in found.demux(video=0)) == 1


def test_where_nothing_leans_on_what_is_missing_all_the_rest_is_believed(tmp_path: Path) -> None:
    path = make(tmp_path / "b.mp4", frames=72, options=CLOSED_GOP)
    with av.open(str(path)) as found:
        sizes = [bytes(packet)[4] for packet in found.demux(video=0) if packet.size]
    spared = [place for place, header in enumerate(sizes) if header == 1]
    drop = dropped(without(path, spared[5:7]))
    pictures = drop.decode(drop.clips()[0])
    assert len(pictures) == 70
    assert not any(picture.damaged for picture in pictures)


def test_a_picture_behind_a_long_message_makes_nothing_missing(tmp_path: Path) -> None:
    path = make(tmp_path / "p.ts", frames=48, options=ONLY_P)
    message = b"\0\0\0\1\x06\x05" + b"\xff" * 20 + b"\x10" + b"\x55" * (20 * 255 + 16) + b"\x80"
    after = tmp_path / "told.ts"
    with av.open(str(path)) as found, av.open(str(after), "w") as made:
        into: Any = made.add_stream_from_template(found.streams.video[0])
        for number, packet in enumerate(packet for packet in found.demux(video=0) if packet.size):
            other = av.Packet(bytes(packet)[:6] + message + bytes(packet)[6:] if number == 30 else bytes(packet))
            other.pts, other.dts, other.time_base, other.stream = packet.pts, packet.dts, packet.time_base, into
            other.is_keyframe = packet.is_keyframe
            made.mux(other)
    drop = dropped(after)
    pictures = drop.decode(drop.clips()[0])
    assert len(pictures) == 48
    assert not any(picture.damaged for picture in pictures)


def test_an_encoder_that_counts_in_its_own_way_is_told_and_all_its_pictures_are_used(tmp_path: Path) -> None:
    path = make(tmp_path / "p.mp4", frames=72, options=ONLY_P)
    drop = dropped(without(path, {place for place in range(72) if place % 24 in (4, 9, 14, 19)}))
    sizing = drop.size()
    assert any("numbers are left out" in warning for warning in sizing.warnings)
    pictures = drop.decode(drop.clips()[0])
    assert not any(picture.damaged for picture in pictures)


def test_a_parameter_set_that_breaks_off_says_nothing() -> None:
    whole = bytes.fromhex("67640014acd941419f9e0220000003002000000781e28532c0")
    assert numbering(whole) == Numbering(4, False, False)
    assert all(numbering(whole[:end]) in (None, Numbering(4, False, False)) for end in range(1, len(whole)))
    assert picture_number(b"\x41", Numbering(4, False, False)) is None


@pytest.mark.parametrize("size", [0, 1, 2, 4])
def test_units_of_nonsense_come_to_an_end(size: int) -> None:
    for data in (b"", b"\0", b"\0\0\1", bytes(64), b"\0\0\1" * 9, b"\xff" * 64):
        assert all(units(data, size))
