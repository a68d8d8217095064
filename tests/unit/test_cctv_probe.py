"""What size learns of a video from few bytes, and how files that are no video, or not whole, or hostile, are refused."""

from __future__ import annotations

import random
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.unit.cctv_video import CLOSED_GOP, Drop, make, print_of
from tilery.outcomes import BadInput
from tilery.run import Source
from tilery.workloads.cctv.clips import Clip
from tilery.workloads.cctv.clock import first_time, goes_back
from tilery.workloads.cctv.limits import MOST_STREAMS
from tilery.workloads.cctv.opening import opened
from tilery.workloads.cctv.probe import Probed, probe
from tilery.workloads.cctv.ranges import Ranges

MOST = 40e6


def probed(path: Path, most_pixels: float = MOST) -> Probed:
    drop = Drop(path.parent / "root").add(path)
    return probe(drop.store, drop.sources[0], 0, most_pixels)


def long(path: Path, turns: int, **container: str) -> Path:
    """A video whose packets are those of 20 frames, again and again: two seconds a turn, a key frame every second."""
    how = {"qmin": "1", "qmax": "1"}
    short = make(
        path.with_name("s_" + path.name), frames=20, rate=Fraction(10), gop=10, size=(1280, 720), codec="mpeg4", options=how
    )
    with av.open(str(short)) as source, av.open(str(path), "w", options=container) as output:
        stream = source.streams.video[0]
        packets = [(packet.dts or 0, packet.is_keyframe, bytes(packet)) for packet in source.demux(stream) if packet.size]
        assert stream.time_base is not None
        second = int(1 / stream.time_base)
        into: Any = output.add_stream_from_template(stream)
        for turn in range(turns):
            for dts, key, data in packets:
                packet = av.Packet(data)
                packet.dts = packet.pts = dts - packets[0][0] + 2 * turn * second
                packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, second), into, key
                output.mux(packet)
    return path


@pytest.mark.parametrize("name", ["end.mp4", "start.mp4", "a.mov", "a.mkv", "a.avi", "a.ts"])
def test_a_large_file_costs_few_bytes(tmp_path: Path, name: str) -> None:
    path = long(tmp_path / name, 40, **({"movflags": "faststart"} if name == "start.mp4" else {}))
    size = path.stat().st_size
    found = probed(path)
    assert size > 50e6
    assert found.fetched < 5e6
    assert found.clip.duration_us == pytest.approx(80e6, abs=110_000)
    assert found.clip.frames == pytest.approx(800, abs=2)
    assert (found.clip.width, found.clip.height, found.clip.rate) == (1280, 720, (10, 1))
    if not name.endswith(".ts"):
        assert found.keys_us is not None
        assert len(found.keys_us) == 80


def test_what_the_camera_says_is_read(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", frames=5, metadata={"creation_time": "2024-05-06T07:08:09Z"}, sound=True, rotation=90)
    clip = probed(path).clip
    assert clip.created == "2024-05-06T07:08:09+00:00"
    assert (clip.width, clip.height, clip.rotation, clip.codec) == (64, 96, 90, "h264")
    assert Clip.of(clip.json()) == clip


def test_a_clock_that_was_never_set_says_nothing(tmp_path: Path) -> None:
    assert probed(make(tmp_path / "a.mp4", frames=5, metadata={"creation_time": "1970-01-01T00:00:00Z"})).created is None


def test_the_container_is_told_by_its_bytes_not_its_name(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mkv", frames=5)
    path.rename(tmp_path / "a.mp4")
    assert probed(tmp_path / "a.mp4").clip.container == "matroska"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello" * 1000,
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        random.Random(3).randbytes(5000),
    ],
)
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(BadInput, match=r"a\.mp4 is not a video that is read here"):
        probed(tmp_path / "a.mp4")


@pytest.mark.parametrize("start", [b"\0\0\0\x18ftypmp42", b"\x1a\x45\xdf\xa3", b"RIFF\0\1\0\0AVI LIST", b"G" + b"\xff" * 187])
def test_what_only_begins_like_a_video_is_named(tmp_path: Path, start: bytes) -> None:
    tail = (
        b"".join(b"G" + random.Random(n).randbytes(187) for n in range(40))
        if start[:1] == b"G"
        else random.Random(1).randbytes(9000)
    )
    (tmp_path / "a.mp4").write_bytes(start + tail)
    with pytest.raises(BadInput, match=r"a\.mp4"):
        probed(tmp_path / "a.mp4")


def test_a_recording_that_was_not_closed_is_named(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", frames=60, options=CLOSED_GOP)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadInput, match=r"a\.mp4 has no index \(moov\): the recording was not closed"):
        probed(path)


@pytest.mark.parametrize(
    ("name", "container"),
    [("a.mp4", {"movflags": "faststart"}), ("b.mp4", {"movflags": "frag_keyframe+empty_moov"}), ("a.mkv", {}), ("a.avi", {})],
)
def test_a_file_that_was_cut_short_is_used_as_far_as_it_goes(tmp_path: Path, name: str, container: dict[str, str]) -> None:
    path = make(
        tmp_path / name,
        frames=150,
        container=container,
        options=CLOSED_GOP if name != "a.avi" else {},
        codec="libx264" if name != "a.avi" else "mpeg4",
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    drop = Drop(tmp_path / "root").add(path)
    sizing = drop.size()
    clip = Clip.of(sizing.facts["clips"][0])
    assert any("is cut short" in warning for warning in sizing.warnings)
    pictures = drop.decode(clip)
    assert 60 < sum(not picture.damaged for picture in pictures) < 100
    assert pictures[-1].clip_us < 3_500_000


def test_too_large_a_frame_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"96 x 64 pixels, more than 0\.005 megapixels; set max_megapixels"):
        probed(make(tmp_path / "a.mp4", frames=5), 5000)


@pytest.mark.parametrize("name", ["a.avi", "a.mkv"])
def test_a_picture_that_claims_to_be_huge_is_refused(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / name, frames=5, codec="mjpeg", pixels="yuvj420p")
    data = path.read_bytes().replace(struct.pack(">HH", 64, 96), struct.pack(">HH", 65000, 65000))
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"a\.(avi|mkv)"):
        probed(path)


def patched(path: Path, kind: bytes, at: int, data: bytes) -> Path:
    """Writes `data` at this distance from a box's name."""
    whole = bytearray(path.read_bytes())
    place = whole.find(kind) + at
    whole[place : place + len(data)] = data
    path.write_bytes(whole)
    return path


def test_an_index_that_claims_billions_of_samples_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", frames=20)
    with pytest.raises(BadInput, match="claims a track of 268,435,455 samples"):
        probed(patched(path, b"stsz", 8, struct.pack(">II", 1, 0x0FFFFFFF)))


def test_pictures_in_another_file_are_not_followed(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", frames=20)
    with pytest.raises(BadInput, match="keeps its pictures in another file, which is not followed"):
        probed(patched(path, b"url ", 4, b"\0\0\0\0"))


def test_streams_beyond_the_limit_are_not_opened(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as output:
        streams: list[Any] = [output.add_stream("mpeg4", rate=30) for _ in range(70)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for stream in streams:
            output.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
            output.mux(stream.encode(None))
    drop = Drop(tmp_path / "root").add(tmp_path / "a.mkv")
    with opened(Ranges(drop.store, drop.sources[0]), "matroska") as container:
        assert len(container.streams) <= MOST_STREAMS


def test_of_two_pictures_in_one_file_the_first_is_looked_at_and_that_is_told(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.ts"), "w") as output:
        for size in (64, 32):
            stream: Any = output.add_stream("mpeg2video", rate=25)
            stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
        for number in range(10):
            for stream in output.streams:
                frame = av.VideoFrame(stream.width, stream.height, "yuv420p")
                frame.pts = number
                output.mux(stream.encode(frame))
        for stream in output.streams:
            output.mux(stream.encode(None))
    found = probed(tmp_path / "a.ts").clip
    assert (found.width, found.height) == (64, 64)
    assert "1 other video stream, not looked at" in " ".join(found.warnings)


def test_a_codec_that_is_not_on_the_list_is_named(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mkv", frames=5, codec="snow", options={"strict": "experimental"})
    with pytest.raises(BadInput, match=r"a\.mkv"):
        probed(path)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as output:
        stream: Any = output.add_stream("pcm_s16le", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        output.mux(stream.encode(frame))
    with pytest.raises(BadInput, match=r"a\.mkv holds no video stream"):
        probed(tmp_path / "a.mkv")


def test_a_path_in_the_metadata_is_only_text(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mkv", frames=5, metadata={"title": "../../etc/passwd", "creation_time": "file:///etc/passwd"})
    assert probed(path).created is None


def test_a_mutilated_file_ends_in_a_sentence_or_in_pictures(tmp_path: Path) -> None:
    """Bytes changed at random, many times over."""
    sentences: list[tuple[str, str]] = []
    for name in ("a.mp4", "a.mkv", "a.avi", "a.ts"):
        whole = make(tmp_path / name, frames=20, codec="mpeg4").read_bytes()
        for seed in range(25):
            dice = random.Random(seed)
            data = bytearray(whole)
            for _ in range(dice.choice((1, 5, 60))):
                data[dice.randrange(len(data))] = dice.randrange(256)
            (tmp_path / f"{seed}{name}").write_bytes(data)
            drop = Drop(tmp_path / "root").add(tmp_path / f"{seed}{name}")
            try:
                assert len(drop.decode(drop.clips()[0])) <= 200
            except BadInput as error:
                sentences.append((f"{seed}{name}", str(error)))
    assert sentences
    assert [sentence for name, sentence in sentences if name not in sentence] == []


def test_a_source_that_was_replaced_is_not_read(tmp_path: Path) -> None:
    from tilery.store.port import Changed

    drop = Drop(tmp_path / "root").add(make(tmp_path / "a.mp4", frames=5))
    source: Source = drop.sources[0].model_copy(update={"version": "5-5"})
    with pytest.raises(Changed):
        probe(drop.store, source, 0, MOST)


def test_a_stream_that_grows_in_its_middle_keeps_its_time(tmp_path: Path) -> None:
    """Two pieces of H.264 in one file: what does not have the size that was probed is damaged, however large it is."""
    quick = {"preset": "ultrafast"}
    small, large = (
        make(tmp_path / f"{side}.ts", frames=3, size=(side, side), options=quick).read_bytes() for side in (96, 512)
    )
    (tmp_path / "a.ts").write_bytes(small + large)
    drop = Drop(tmp_path / "root").add(tmp_path / "a.ts")
    clip = Clip.of(drop.size().facts["clips"][0])
    pictures = drop.decode(clip)
    assert (clip.width, clip.height) == (96, 96)
    assert [picture.damaged for picture in pictures[:2]] == [False, False]
    assert pictures[-1].damaged


def test_recordings_that_were_joined_are_all_there(tmp_path: Path) -> None:
    """Their clocks begin anew; of the second one every picture would be taken for one of the first."""
    quick = {"preset": "ultrafast"}
    one = make(tmp_path / "one.ts", frames=90, options=quick).read_bytes()
    (tmp_path / "two.ts").write_bytes(one[-100:] + one + one)  # and cut in the middle of a packet
    drop = Drop(tmp_path / "root").add(tmp_path / "two.ts")
    (clip,) = drop.clips()
    pictures = drop.decode(clip)
    assert [picture.clip_us for picture in pictures] == [number * 1_000_000 // 30 for number in range(180)]
    assert print_of(pictures[95])[1] == print_of(pictures[5])[1] != ""
    assert "the clock of two.ts goes back within it" in clip.warnings[0]
    assert drop.decode(clip, 4_000_000)[0].clip_us == 4_000_000


def test_a_clock_that_turns_over_goes_on(tmp_path: Path) -> None:
    turned = {"output_ts_offset": str(2**33 // 90_000 - 3)}
    path = make(tmp_path / "a.ts", frames=90, options={"preset": "ultrafast"}, container=turned)
    found = probed(path).clip
    assert (found.counted, found.duration_us) == (False, 3_000_000)
    drop = Drop(tmp_path / "again").add(path)
    assert goes_back(Ranges(drop.store, drop.sources[0]), path.stat().st_size, 256) is False
    assert first_time(b"G" * 5000, 256) is None


@pytest.mark.parametrize("container", [{"live": "1"}, {}])
def test_how_long_a_matroska_file_is_does_not_depend_on_how_it_was_written(tmp_path: Path, container: dict[str, str]) -> None:
    """A recorder does not know the duration when it begins; clusters may begin with a checksum; time may begin late."""
    how = {"preset": "ultrafast", "crf": "8"}
    path = make(
        tmp_path / "a.mkv",
        frames=90,
        gop=15,
        size=(320, 240),
        options=how,
        container=container,
        times=lambda number: 150 + number,
    )
    found = probed(path)
    assert found.clip.duration_us == pytest.approx(3_000_000, abs=600_000), "to the beginning of the last cluster at least"
    assert found.clip.frames == pytest.approx(90, abs=18)
    assert len(Drop(tmp_path / "again").add(path).decode(found.clip)) == 90
