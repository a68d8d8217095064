"""Matroska files without an index, as recorders that were cut off and browsers leave them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cctv_video import OPEN_GOP, Drop, print_of, scene
from tilery.workloads.cctv import matroska
from tilery.workloads.cctv.matroska import CLUSTER, SEGMENT, TIMESTAMP, VOID, Indexed, _element, _inside, clusters, video_track


class Pipe:
    """Nobody can seek in it, so that no index is written at its head, nor lengths afterwards."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def write(self, data: bytes) -> int:
        return self._file.write(data)

    def close(self) -> None:
        self._file.close()


def recorded(path: Path, *, seconds: int = 30, share: float = 0.9, sound: bool = False) -> Path:
    """Ten frames a second; `share` of the bytes, behind which an index would be."""
    pipe = Pipe(path)
    with av.open(pipe, "w", format="matroska") as output:
        audio: Any = output.add_stream("aac", rate=16000) if sound else None
        stream: Any = output.add_stream("libx264", rate=10, options=OPEN_GOP)
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.thread_count = 96, 64, "yuv420p", 1
        for number in range(10 * seconds):
            frame = av.VideoFrame.from_ndarray(scene(number % 90), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            output.mux(stream.encode(frame))
            if audio:
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.float32), format="fltp", layout="mono")
                silence.sample_rate, silence.pts, silence.time_base = 16000, number * 1600, Fraction(1, 16000)
                output.mux(audio.encode(silence))
        output.mux(stream.encode(None))
    pipe.close()
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


@pytest.mark.parametrize("sound", [False, True])
def test_a_recording_that_was_cut_off_is_worked_on_in_pieces_that_begin_where_they_do(tmp_path: Path, sound: bool) -> None:
    drop = Drop(tmp_path / "root").add(recorded(tmp_path / "cut.mkv", sound=sound))
    sizing = drop.size(segment_s=10)
    (clip,) = drop.clips()
    assert len(clip.clusters) > 10
    assert not clip.sequential
    assert len(sizing.items) >= 3
    assert all(item["decode_from"] is not None for item in sizing.items[1:])
    whole = [print_of(picture) for picture in drop.decode(clip)]
    assert len(whole) > 250
    assert all(content for _, content in whole[:-5])
    for item in sizing.items[1:]:
        at = next(place for place, (time, _) in enumerate(whole) if time >= item["start_us"])
        assert [print_of(one) for one in drop.decode(clip, whole[at][0], None, item["decode_from"])] == whole[at:]


def test_only_the_pieces_that_are_asked_for_are_read(tmp_path: Path) -> None:
    drop = Drop(tmp_path / "root").add(recorded(tmp_path / "cut.mkv", seconds=30))
    (clip,) = drop.clips()
    file = Indexed(drop.store, drop.sources[0], clip.clusters)
    plain = (tmp_path / "cut.mkv").read_bytes()
    with av.open(file, "r", format="matroska") as found:
        stream = found.streams.video[0]
        found.seek(20_000, stream=stream)
        assert len(stream.index_entries) == len(clip.clusters)
        packet = next(found.demux(stream))
        assert 18_000 <= (packet.pts or 0) <= 20_000
        assert bytes(packet)[:32] in plain


def test_clusters_without_a_length_make_no_index_and_the_video_is_read_all_the_same(tmp_path: Path) -> None:
    path = recorded(tmp_path / "endless.mkv", seconds=30)
    data = bytearray(path.read_bytes())
    drop = Drop(tmp_path / "known").add(path)
    for _, at in drop.clips()[0].clusters:
        width = 9 - data[at + 4].bit_length()
        data[at + 4 : at + 4 + width] = ((1 << 7 * width) - 1 | 1 << 7 * width).to_bytes(width)
    path.write_bytes(data)
    endless = Drop(tmp_path / "root").add(path)
    assert clusters(endless.store, endless.sources[0]) == []
    (clip,) = endless.clips()
    assert not clip.clusters
    pictures = [print_of(picture) for picture in drop.decode(drop.clips()[0])]
    assert [print_of(picture) for picture in endless.decode(clip)][:250] == pictures[:250]


def made(name: bytes, content: bytes) -> bytes:
    return name + bytes([0x80 | len(content)]) + content


HEADER = made(b"\x1a\x45\xdf\xa3", SEGMENT)
OF_A_TIME = made(CLUSTER, made(TIMESTAMP, b"\x07"))
OPEN = SEGMENT + b"\xff"
"""A segment that does not tell its length."""


def clusters_in(folder: Path, data: bytes) -> list[list[int]]:
    path = folder / "made.mkv"
    path.write_bytes(data)
    drop = Drop(folder / "root").add(path)
    known = [list(one) for one in clusters(drop.store, drop.sources[0])]
    if known:
        Indexed(drop.store, drop.sources[0], known)
    return known


def test_the_name_of_a_segment_within_something_else_is_none(tmp_path: Path) -> None:
    file = HEADER + OPEN + OF_A_TIME
    assert clusters_in(tmp_path, file) == [[7, len(file) - len(OF_A_TIME)]]


@pytest.mark.parametrize(
    "data",
    [
        HEADER + OF_A_TIME + OPEN + OF_A_TIME,
        HEADER + OPEN + made(CLUSTER, made(TIMESTAMP, b"\x07" * 20)),
        HEADER + OPEN + made(VOID, bytes(100)) + OF_A_TIME,
        HEADER + OPEN + made(VOID, b"") * 30 + OF_A_TIME,
    ],
    ids=["a cluster before the segment", "no number is so long", "a long head", "very many elements"],
)
def test_a_file_made_to_do_harm_gets_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(matroska, "MOST_HEAD", 90)
    monkeypatch.setattr(matroska, "MOST_ELEMENTS", 20)
    assert clusters_in(tmp_path, data) == []


def test_the_track_of_pictures_is_found_behind_others() -> None:
    sound = made(b"\xae", made(b"\xd7", b"\x01") + made(b"\x83", b"\x02"))
    pictures = made(b"\xae", made(b"\xd7", b"\x05") + made(b"\x83", b"\x01"))
    assert video_track(made(b"\x16\x54\xae\x6b", sound + pictures)) == 5
    assert video_track(made(b"\x16\x54\xae\x6b", sound)) == 1
    assert video_track(b"nothing") == 1
    endless = made(b"\xae", made(b"\xd7", b"\xff" * 20) + made(b"\x83", b"\x01"))
    assert video_track(made(b"\x16\x54\xae\x6b", endless)) < 1 << 64


@given(st.binary(max_size=80), st.integers(0, 80))
def test_nonsense_is_no_element_and_comes_to_an_end(data: bytes, at: int) -> None:
    element = _element(data, at)
    assert element is None or element[1] > at
    assert sum(len(content) for _, content in _inside(data)) <= len(data)
