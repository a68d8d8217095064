"""Pictures of a part of a clip are those of the whole clip, whatever the container, the codec and the damage."""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from weakref import WeakSet

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from tests.data import real
from tests.unit.cctv_video import CLOSED_GOP, OPEN_GOP, Drop, make, number_of, print_of, scene
from tilery.workloads.cctv.clips import Clip
from tilery.workloads.cctv.spared import MOST_CELLS, Spare

HEVC = {"x265-params": "keyint=12:min-keyint=12:open-gop=1:bframes=3:log-level=none"}
VIDEOS: dict[str, dict[str, Any]] = {
    "closed.mp4": {"options": CLOSED_GOP},
    "sound_first_index.mp4": {"options": CLOSED_GOP, "container": {"movflags": "faststart"}, "sound": True},
    "fragments.mp4": {"options": CLOSED_GOP, "container": {"movflags": "frag_keyframe+empty_moov"}},
    "refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=12:scenecut=0"}},
    "one_key.mp4": {"options": {"x264-params": "keyint=1000:bframes=3:b-pyramid=normal"}, "gop": 1000},
    "open.mov": {"options": OPEN_GOP},
    "open.mkv": {"options": OPEN_GOP, "container": {"cluster_time_limit": "400"}},
    "deep.mkv": {"options": {"x264-params": "open-gop=1:keyint=12:scenecut=0:bframes=5:b-pyramid=normal:ref=5"}},
    "open.ts": {"options": OPEN_GOP, "sound": True},
    "hevc.mkv": {"codec": "libx265", "options": HEVC},
    "hevc.ts": {"codec": "libx265", "options": HEVC},
    "hevc_anew.mp4": {"codec": "libx265", "options": {"x265-params": HEVC["x265-params"].replace("open-gop=1", "open-gop=0")}},
    "mpeg2.ts": {"codec": "mpeg2video", "options": {"bf": "2"}},
    "xvid.avi": {"codec": "mpeg4"},
    "xvid_b.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "h264_b.avi": {"options": OPEN_GOP},
    "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime"}},
    "odd.mp4": {"size": (97, 65), "pixels": "yuv444p"},
    "interlaced.mp4": {"options": {"x264-params": "tff=1:keyint=12:bframes=2"}},
    "interlaced.ts": {"options": {"x264-params": "tff=1:keyint=12:bframes=2:open-gop=1"}},
    "varying.mp4": {"options": OPEN_GOP, "times": lambda n: n * n * 7 + n * 40, "time_base": Fraction(1, 1000)},
}


def dropped(folder: Path, name: str, **how: Any) -> tuple[Drop, Clip]:
    drop = Drop(folder / "root").add(make(folder / name, **how))
    return drop, drop.clips()[0]


def same_from_anywhere(drop: Drop, clip: Clip, step: int = 1) -> list[tuple[int, str]]:
    """Decodes the clip from the start and from each picture on."""
    whole = [print_of(picture) for picture in drop.decode(clip)]
    for place in range(0, len(whole), step):
        assert [print_of(picture) for picture in drop.decode(clip, whole[place][0])] == whole[place:]
    return whole


@pytest.mark.parametrize("name", VIDEOS)
def test_pictures_do_not_depend_on_where_decoding_began(tmp_path: Path, name: str) -> None:
    drop, clip = dropped(tmp_path, name, frames=45, **VIDEOS[name])
    whole = same_from_anywhere(drop, clip, 4)
    assert len(whole) == 45
    assert all(content for _, content in whole)
    assert [time for time, _ in whole] == sorted({time for time, _ in whole})


@pytest.mark.parametrize("name", ["open.mkv", "xvid_b.avi", "h264_b.avi", "hevc.ts"])
def test_pictures_come_in_the_order_in_which_they_were_taken(tmp_path: Path, name: str) -> None:
    how = VIDEOS[name] | {"options": {"qmin": "1", "qmax": "2", "crf": "10"} | VIDEOS[name]["options"]}
    drop, clip = dropped(tmp_path, name, frames=26, **how)
    assert [number_of(picture) for picture in drop.decode(clip)] == list(range(26))


def test_the_time_of_a_picture_is_its_own(tmp_path: Path) -> None:
    times = [0, 40, 80, 81, 300, 301, 1000, 1040, 1041, 5000]
    drop, clip = dropped(tmp_path, "v.mkv", frames=10, times=times.__getitem__, time_base=Fraction(1, 1000))
    assert [picture.clip_us for picture in drop.decode(clip)] == [time * 1000 for time in times]
    assert [picture.clip_us for picture in drop.decode(clip, 81_000, 301_000)] == [81_000, 300_000]


def test_a_real_video_is_cut_at_any_moment(tmp_path: Path) -> None:
    drop = Drop(tmp_path / "root").add(real("cctv/pets/vtest.avi"))
    clip = drop.clips()[0]
    whole = [(picture.clip_us, int(picture.gray(96, 72).sum())) for picture in drop.decode(clip)]
    assert len(whole) == 795
    for start in (1, 9_950_000, 36_000_000, 79_000_000):
        part = [(picture.clip_us, int(picture.gray(96, 72).sum())) for picture in drop.decode(clip, start)]
        assert part == [pair for pair in whole if pair[0] >= start]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_video_stands_upright(tmp_path: Path, degrees: int) -> None:
    drop, clip = dropped(tmp_path, "turned.mp4", frames=2, rotation=degrees, options={"crf": "1"})
    picture = drop.decode(clip)[0]
    upright = np.rot90(scene(0), degrees // 90)
    assert picture.rgb().shape == upright.shape == (clip.height, clip.width, 3)
    assert np.abs(picture.rgb() - upright.astype(float)).mean() < 10


def test_a_picture_is_scaled_to_the_size_asked_for(tmp_path: Path) -> None:
    drop, clip = dropped(tmp_path, "a.mp4", frames=3, rotation=90, options={"crf": "1"})
    picture = drop.decode(clip)[1]
    assert picture.rgb(20, 30).shape == (30, 20, 3)
    assert picture.gray(20, 30).shape == (30, 20)
    small = picture.gray().reshape(48 * 2, 32 * 2)[:96, :64].reshape(48, 2, 32, 2).mean(axis=(1, 3))
    assert np.abs(picture.gray(32, 48) - small).mean() < 3
    # shrunk far, colours are shrunk before they are RGB: each pixel is still the mean of what it covers
    far = picture.rgb().reshape(24, 4, 16, 4, 3).mean(axis=(1, 3))
    assert np.abs(picture.rgb(16, 24)[..., 1] - far[..., 1]).mean() < 6
    assert (np.abs((picture.rgb(16, 24) - far).mean(axis=(0, 1))) < 3).all(), "no colour is lighter or darker on the whole"


def test_luma_spans_the_full_range(tmp_path: Path) -> None:
    drop, clip = dropped(tmp_path, "a.mp4", frames=1, options={"crf": "1"})
    gray = drop.decode(clip)[0].gray()
    wanted = scene(0) @ [0.299, 0.587, 0.114]
    assert np.abs(gray - wanted).mean() < 3


@pytest.mark.parametrize(
    ("codec", "pixels", "shape"),
    [
        ("libx264", "yuv420p", (96, 96)),
        ("libx264", "yuv444p", (192, 96)),
        ("mjpeg", "yuvj422p", None),
        ("ffv1", "yuv420p10le", None),
        ("ffv1", "yuv422p10le", None),
        ("ffv1", "bgr0", None),
        ("rawvideo", "uyvy422", None),
    ],
)
def test_samples_that_cannot_be_kept_as_they_are_are_none(
    tmp_path: Path, codec: str, pixels: str, shape: tuple[int, int] | None
) -> None:
    drop, clip = dropped(tmp_path, "a.mkv" if codec != "rawvideo" else "a.avi", frames=2, codec=codec, pixels=pixels)
    picture = drop.decode(clip)[0]
    assert picture.rgb(48, 32).shape == (32, 48, 3)
    samples = picture.samples()
    assert (samples.shape if samples is not None else None) == shape
    assert samples is None or samples.dtype == np.uint8


def spoiled(path: Path, share: float = 0.5, size: int = 500) -> Path:
    data = bytearray(path.read_bytes())
    at = int(len(data) * share)
    data[at : at + size] = random.Random(1).randbytes(size)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["closed.mp4", "sound_first_index.mp4", "hevc.mp4", "xvid.avi", "mjpeg.avi"])
def test_damage_in_the_middle_is_reported_and_the_timeline_kept(tmp_path: Path, name: str) -> None:
    how = VIDEOS.get(name) or VIDEOS["hevc.mkv"]
    drop = Drop(tmp_path / "root").add(spoiled(make(tmp_path / name, frames=120, **how), 0.3 if name == "hevc.mp4" else 0.5))
    clip = drop.clips()[0]
    whole = same_from_anywhere(drop, clip, 9)
    assert [time for time, _ in whole] == [number * 1_000_000 // 30 for number in range(120)]
    damaged = sum(not content for _, content in whole)
    assert 1 <= damaged < 40
    picture = next(picture for picture in drop.decode(clip) if picture.damaged)
    with pytest.raises(ValueError, match="is damaged"):
        picture.rgb()


@pytest.mark.parametrize("name", ["open.mkv", "open.ts", "mpeg2.ts", "vp9.webm"])
def test_a_container_without_an_index_of_all_packets_is_taken_up_after_damage(tmp_path: Path, name: str) -> None:
    drop = Drop(tmp_path / "root").add(spoiled(make(tmp_path / name, frames=120, **VIDEOS[name])))
    whole = same_from_anywhere(drop, drop.clips()[0], 9)
    assert whole[-1][0] in (3_966_666, 3_967_000)
    assert len(whole) > 60


def packets_in(path: Path) -> list[tuple[int, int, bool]]:
    """Position, size and whether it is a key, of each packet."""
    with av.open(str(path)) as container:
        return [(packet.pos or 0, packet.size, packet.is_keyframe) for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize("name", ["closed.mp4", "open.mkv", "hevc.mkv"])
def test_a_damaged_key_frame_is_no_place_to_begin(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / name, frames=60, **VIDEOS[name])
    position, size, _ = [packet for packet in packets_in(path) if packet[2]][2]
    data = bytearray(path.read_bytes())
    data[position + size // 3 : position + size] = random.Random(2).randbytes(size - size // 3)
    path.write_bytes(data)
    drop = Drop(tmp_path / "root").add(path)
    same_from_anywhere(drop, drop.clips()[0])


def test_half_a_jpeg_picture_is_a_damaged_one(tmp_path: Path) -> None:
    path = make(tmp_path / "a.avi", frames=12, codec="mjpeg", pixels="yuvj420p")
    position, size, _ = packets_in(path)[5]
    data = bytearray(path.read_bytes())
    data[position + size // 2 : position + size] = b"\xff\xd9" + bytes(size - size // 2 - 2)
    path.write_bytes(data)
    drop = Drop(tmp_path / "root").add(path)
    assert [picture.damaged for picture in drop.decode(drop.clips()[0])] == [number == 5 for number in range(12)]


def without_vui(unit: bytes) -> bytes:
    """An H.264 parameter set that does not say how pictures are reordered, as cameras write it (ISO 14496-10 7.3.2.1.1)."""
    bits = "".join(f"{byte:08b}" for byte in unit.replace(b"\0\0\3", b"\0\0"))
    at = 32

    def number() -> int:
        nonlocal at
        zeros = bits.index("1", at) - at
        value = int(bits[at + zeros : at + 2 * zeros + 1], 2) - 1
        at += 2 * zeros + 1
        return value

    number()
    if unit[1] >= 100:
        number(), number(), number()
        at += 2
    number()
    if number() == 0:
        number()
    number()
    at += 1
    number(), number()
    frames_only = bits[at] == "1"
    at += 2 if frames_only else 3
    at += 1
    if bits[at - 1] == "1":
        number(), number(), number(), number()
    made = bits[:at] + "01"
    made += "0" * (-len(made) % 8)
    return bytes(int(made[place : place + 8], 2) for place in range(0, len(made), 8))


def test_a_stream_that_does_not_say_how_it_is_reordered_loses_nothing(tmp_path: Path) -> None:
    """Its first half is in order, as of a still scene; the second is not."""
    deep = {"x264-params": "keyint=24:min-keyint=24:scenecut=0:bframes=7:b-adapt=0:b-pyramid=normal:ref=4"}
    with av.open(str(tmp_path / "told.ts"), "w") as output:
        stream: Any = output.add_stream("libx264", rate=30, options=deep)
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.thread_count = 96, 64, "yuv420p", 1
        for number in range(144):
            frame = av.VideoFrame.from_ndarray(scene(number % 50), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            if number < 96 and number % 24:
                frame.pict_type = PictureType.P
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with av.open(str(tmp_path / "told.ts")) as told, av.open(str(tmp_path / "silent.ts"), "w") as silent:
        into: Any = silent.add_stream_from_template(told.streams.video[0])
        for packet in told.demux(video=0):
            if packet.size:
                units = bytes(packet).split(b"\0\0\1")
                other = av.Packet(b"\0\0\1".join(without_vui(unit) if unit[:1] == b"\x67" else unit for unit in units))
                other.pts, other.dts, other.time_base, other.stream = packet.pts, packet.dts, packet.time_base, into
                other.is_keyframe = packet.is_keyframe
                silent.mux(other)
    drop = Drop(tmp_path / "root").add(tmp_path / "silent.ts")
    whole = same_from_anywhere(drop, drop.clips()[0], 10)
    assert len(whole) == 144
    assert all(content for _, content in whole)


@pytest.mark.parametrize("name", ["mjpeg.avi", "xvid.avi", "open.ts", "mpeg2.ts"])
def test_bytes_missing_in_the_middle_do_not_matter_to_where_decoding_begins(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / name, frames=150, **VIDEOS[name])
    data = bytearray(path.read_bytes())
    at = len(data) // 2 // 188 * 188
    del data[at : at + 1880]
    path.write_bytes(data)
    drop = Drop(tmp_path / "root").add(path)
    same_from_anywhere(drop, drop.clips()[0], 7)


DAMAGED = 5879, 4930, 5306, 4932, 4431, 4169, 6490, 4408, 5609, 2731


def test_a_key_frame_that_is_damaged_itself_does_not_silence_what_follows(tmp_path: Path) -> None:
    path = make(tmp_path / "open.mkv", frames=90, options=OPEN_GOP, container={"cluster_time_limit": "400"})
    data = bytearray(path.read_bytes())
    for place, value in zip(DAMAGED, (37, 164, 103, 97, 184, 150, 191, 252, 198, 100), strict=True):
        data[place] = value
    path.write_bytes(data)
    drop = Drop(tmp_path / "root").add(path)
    assert same_from_anywhere(drop, drop.clips()[0], 5)[-1][1]


def test_of_frames_with_one_time_the_last_is_shown(tmp_path: Path) -> None:
    from tilery.workloads.cctv.decode import _latest

    frames: list[Any] = ["a", "b", "c", "d", "e", "f"]
    assert list(_latest(zip([0, 1, 1, 2, 3, 4], frames, strict=True))) == [(0, "a"), (1, "c"), (2, "d"), (3, "e"), (4, "f")]
    assert list(_latest(zip([0, 1, 90, 2, 3, 4], frames, strict=True))) == [(0, "a"), (1, "b"), (2, "d"), (3, "e"), (4, "f")]
    assert list(_latest(zip([5, 6, 1, 2, 7, 8], frames, strict=True)))[-2:] == [(7, "e"), (8, "f")]
    assert list(_latest([(0, frames[0]), (0, None), (1, None)])) == [(0, "a"), (1, None)]


def fifths(clip_us: int) -> int:
    return clip_us // 200_000


@pytest.mark.parametrize(
    ("name", "count"),
    {
        "closed.mp4": 25, "open.mkv": 16, "open.ts": 16, "deep.mkv": 15, "one_key.mp4": 14, "refresh.mp4": 13, "varying.mp4": 3,
        "hevc_anew.mp4": 21, "hevc.mkv": 14, "hevc.ts": 14, "mjpeg.avi": 32,
        "interlaced.mp4": 0, "vp9.webm": 0,  # of which a packet may be half a picture, or nobody knows
    }.items(),
)  # fmt: skip
def test_pictures_that_nobody_looks_at_are_spared_and_the_others_are_what_they_were(
    tmp_path: Path, name: str, count: int
) -> None:
    drop, clip = dropped(tmp_path, name, frames=40, **VIDEOS[name])
    whole = [print_of(picture) for picture in drop.decode(clip)]
    first = {fifths(time): time for time, _ in reversed(whole)}
    some = [(one.clip_us, "" if one.spared else print_of(one)[1]) for one in drop.decode(clip, cell=fifths)]
    assert [time for time, _ in some] == [time for time, _ in whole]
    assert all(got in ("", there) for (_, got), (_, there) in zip(some, whole, strict=True))
    assert {time for time, content in some if content} >= {*first.values(), whole[-1][0]}
    assert sum(not content for _, content in some) == count
    step = 6 if name == "mjpeg.avi" else 5  # a cell of 6 pictures, each of which stands alone
    for place in range(0, len(whole), step):
        part = drop.decode(clip, whole[place][0], cell=fifths)
        assert [(one.clip_us, "" if one.spared else print_of(one)[1]) for one in part] == some[place:]


def test_few_cells_are_remembered_however_long_no_key_packet_comes(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Cell:
        number: int

    alive: WeakSet[Cell] = WeakSet()

    def cell(pts: int) -> Cell:
        made = Cell(pts)
        alive.add(made)
        return made

    path = make(tmp_path / "a.mp4", frames=MOST_CELLS + 40, options={"x264-params": "keyint=infinite:scenecut=0"})
    most = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for _ in Spare(stream, cell)(container.demux(stream)):
            most = max(most, len(alive))
    assert MOST_CELLS <= most <= MOST_CELLS + 2


def test_damage_is_where_it_was_when_pictures_are_spared(tmp_path: Path) -> None:
    drop = Drop(tmp_path / "root").add(spoiled(make(tmp_path / "a.mp4", frames=90, **VIDEOS["closed.mp4"])))
    clip = drop.clips()[0]
    whole = drop.decode(clip)
    for place in range(0, len(whole), 9):
        part = drop.decode(clip, whole[place].clip_us, cell=fifths)
        assert [one.clip_us for one in part] == [one.clip_us for one in whole[place:]]
        for got, there in zip(part, whole[place:], strict=True):
            assert got.damaged <= there.damaged
            if not (got.damaged or got.spared):
                assert print_of(got) == print_of(there)
    spared = next(one for one in part if one.spared)
    with pytest.raises(ValueError, match="was not decoded"):
        spared.rgb()


def test_a_folder_of_frames_is_a_video(tmp_path: Path) -> None:
    import cv2

    drop = Drop(tmp_path / "root")
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"f{number}.png"), scene(number)[..., ::-1])
        drop.add(tmp_path / f"f{number}.png")
    (tmp_path / "f5.png").write_bytes((tmp_path / "f5.png").read_bytes()[:400])
    drop.store.upload(str(tmp_path / "f5.png"), drop.sources[5].key)
    entry = drop.store.head(drop.sources[5].key)
    assert entry is not None
    drop.sources[5] = drop.sources[5].model_copy(update={"size": entry.size, "version": entry.version})
    drop.sources.reverse()
    clip = drop.clips(frame_hz=4)[0]
    pictures = drop.decode(clip)
    assert [picture.clip_us for picture in pictures] == [number * 250_000 for number in range(12)]
    assert [picture.damaged for picture in pictures] == [number == 5 for number in range(12)]
    assert np.array_equal(pictures[7].rgb(), scene(7))
    assert [picture.clip_us for picture in drop.decode(clip, 1, 1_000_000)] == [250_000, 500_000, 750_000]


def test_real_frames_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    drop = Drop(tmp_path / "root")
    for path in sorted(real("cctv/highway/frames").iterdir())[:6]:
        drop.add(path)
    sizing = drop.size()
    clip = Clip.of(sizing.facts["clips"][0])
    assert (clip.width, clip.height, clip.frames) == (320, 240, 6)
    assert sizing.warnings == ["frames have no times; 25 a second are assumed: set frame_hz"]
    assert all(picture.rgb(32, 24).shape == (24, 32, 3) for picture in drop.decode(clip))
