"""Pictures of a part of a clip, in the order of time. They do not depend on where decoding began.

A picture's time comes from its own pts alone. Decoding begins at a key packet at or before the part; pictures that are
shown before that packet's own are left out, since they may lean on what was not decoded (open GOP).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import chain
from typing import Protocol, cast

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.stream import Discard
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tilery.outcomes import OutOfMemory
from tilery.run import Source
from tilery.store.port import Store
from tilery.workloads.cctv.clips import Clip
from tilery.workloads.cctv.limits import LARGEST_SIDE
from tilery.workloads.cctv.matroska import Indexed
from tilery.workloads.cctv.missing import Missing
from tilery.workloads.cctv.opening import opened
from tilery.workloads.cctv.pictures import dimensions, ends
from tilery.workloads.cctv.ranges import Ranges
from tilery.workloads.cctv.spared import Spare
from tilery.workloads.cctv.starts import Lost, VideoPacket, packets_from, packets_of

Pixels = NDArray[np.uint8]
TELLS = ("h264", "hevc", "mjpeg")
"""Codecs with one picture a packet: a packet without a picture is damage. Others have packets that show nothing."""
SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
"""The same on every processor, at no cost when the size changes."""
SUBSAMPLED = ("yuv420p", "nv12")
FAR = 3
"""A picture that is shrunk so far becomes RGB after that, in half the time; as in video, two pixels each way share a colour."""
MOST_CHANNELS = 4
"""Of a pixel."""
READ_AT_ONCE = 8
"""Frames of a folder that are asked from the store together."""


class Spared:
    """In the place of a frame that was not decoded since nobody looks at it."""


SPARED = Spared()
Shown = VideoFrame | Spared | None
"""None is a frame that was lost or cannot be trusted."""


class HasSources(Protocol):
    """A `Run`, as far as decoding reads it."""

    @property
    def sources(self) -> list[Source]: ...


class Shapes:
    """swscale's contexts, one for each size and format asked for: making one costs more than a small conversion."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, int, str], VideoReformatter] = {}

    def convert(self, frame: VideoFrame, width: int, height: int, kind: str) -> Pixels:
        if kind == "rgb24" and frame.format.name in SUBSAMPLED and FAR * width <= frame.width and FAR * height <= frame.height:
            frame = self._reformatted(frame, width, height, "yuv420p")
        return cast(Pixels, self._reformatted(frame, width, height, kind).to_ndarray())

    def _reformatted(self, frame: VideoFrame, width: int, height: int, kind: str) -> VideoFrame:
        key = (width, height, kind)
        reformatter = self._made.get(key) or self._made.setdefault(key, VideoReformatter())
        how = Interpolation.AREA if (width, height) == (frame.width, frame.height) else SCALING
        return reformatter.reformat(frame, width, height, kind, interpolation=how, threads=1)


@dataclass(slots=True)
class Picture:
    """One picture. Nothing is converted until it is asked for; valid after the next one is taken, too."""

    time_us: int
    """On the camera's timeline."""
    clip_us: int
    """From the start of the clip."""
    damaged: bool
    """It has a place on the timeline, but no picture that can be trusted: `rgb` and `gray` raise ValueError."""
    width: int
    """Of the upright picture."""
    height: int
    spared: bool = False
    """It was not decoded: nobody looks at it (see `decode`)."""
    _frame: VideoFrame | Pixels | None = None
    _rotation: int = 0
    _shapes: Shapes | None = None

    def rgb(self, width: int | None = None, height: int | None = None) -> Pixels:
        """Height x width x 3, upright, scaled straight to that size."""
        return self._as("rgb24", width, height)

    def gray(self, width: int | None = None, height: int | None = None) -> Pixels:
        """Height x width: luma, full range."""
        return self._as("gray", width, height)

    @property
    def layout(self) -> str:
        """FFmpeg's name of how `samples` lie; empty where there is no picture, or it came from a file of its own."""
        return self._frame.format.name if isinstance(self._frame, VideoFrame) else ""

    def samples(self) -> Pixels | None:
        """All that was decoded, not turned: one plane below the other, or the channels of each pixel.

        None where samples have more than 8 bits, or are laid out as no array can be (FFmpeg has some two hundred formats).
        """
        if self._frame is None:
            raise ValueError(f"the frame at {self.time_us} us {'was not decoded' if self.spared else 'is damaged'}")
        if isinstance(self._frame, np.ndarray):
            return self._frame
        try:
            found: object = self._frame.to_ndarray()
        except ValueError:
            return None
        if not isinstance(found, np.ndarray) or found.dtype != np.uint8:  # a picture with a palette is two arrays
            return None
        return found.reshape(-1, found.shape[2]) if found.ndim == 3 and found.shape[2] > MOST_CHANNELS else found

    def _as(self, kind: str, width: int | None, height: int | None) -> Pixels:
        width, height = width or self.width, height or self.height
        if self._frame is None:
            raise ValueError(f"the frame at {self.time_us} us {'was not decoded' if self.spared else 'is damaged'}")
        across, down = (height, width) if self._rotation % 180 else (width, height)
        if isinstance(self._frame, np.ndarray):
            return _scaled(self._frame, width, height, kind)
        assert self._shapes is not None
        pixels = self._shapes.convert(self._frame, across, down, kind)
        return np.ascontiguousarray(np.rot90(pixels, self._rotation // 90)) if self._rotation else pixels


def decode(
    store: Store,
    run: HasSources,
    clip: Clip,
    start_us: int = 0,
    stop_us: int | None = None,
    decode_from: int | None = None,
    *,
    threads: int = 1,
    cell: Callable[[int], Hashable] | None = None,
) -> Iterator[Picture]:
    """Pictures of `clip` with start_us <= clip time < stop_us (microseconds; None: to the end), strictly ascending.

    Frames that cannot be decoded keep their place and are `damaged`. `decode_from` is the pts of a key packet at or before
    the start, where size knows one; the pictures do not depend on it.

    `cell` makes a cell of a clip time: who looks at no more than the first picture of each cell and the last of the clip gives
    it, and pictures behind the first are `spared` where no picture that is looked at leans on them. Cells are runs of time.
    """
    start_us = max(start_us, clip.skip_us)
    if clip.kind == "frames":
        yield from _folder(store, run, clip, start_us, stop_us)
        return
    shapes = Shapes()
    with ExitStack() as stack:
        frames = _video(store, run, clip, start_us, decode_from, threads, stack, cell)
        for clip_us, frame in _latest(found for found in frames if found[0] <= clip.latest_us):
            if stop_us is not None and clip_us >= stop_us:
                return
            if clip_us >= start_us:
                yield _picture(clip, clip_us, frame, shapes)


def _video(
    store: Store,
    run: HasSources,
    clip: Clip,
    start_us: int,
    decode_from: int | None,
    threads: int,
    stack: ExitStack,
    cell: Callable[[int], Hashable] | None,
) -> Iterator[tuple[int, Shown]]:
    """Clip times and frames from a key packet at or before `start_us` on."""
    source = run.sources[clip.sources[0]]

    def spare(stream: VideoStream) -> Spare | None:
        return Spare(stream, lambda pts: cell(clip.time_us(pts))) if cell else None

    def missing(stream: VideoStream) -> Missing | None:
        return Missing(stream) if clip.numbered else None

    if not (clip.counted or clip.sequential):
        sought, hint, back = clip.pts_at(start_us), decode_from, clip.pts_at(1_000_000) - clip.first_pts
        while sought > clip.first_pts:
            container, stream = _open(store, source, clip, threads, stack)
            if (start := packets_from(container, stream, sought, clip.first_pts, hint)) is None:
                break
            if (frames := whole_from(*start, clip.codec, spare(stream), missing(stream))) is not None:
                return ((clip.time_us(pts), frame) for pts, frame in frames)
            stack.close()
            sought, hint, back = start[0] - back, None, 2 * back
        stack.close()
    container, stream = _open(store, source, clip, threads, stack)
    packets = packets_of(container, stream)
    if clip.counted:
        return _counted(packets, clip)
    every = spare(stream), missing(stream)
    frames = shown(packets, clip.first_pts, clip.codec, *every, trusting=clip.sequential)
    return ((clip.time_us(pts), frame) for pts, frame in frames)


def _open(store: Store, source: Source, clip: Clip, threads: int, stack: ExitStack) -> tuple[InputContainer, VideoStream]:
    file = Indexed(store, source, clip.clusters) if clip.clusters else Ranges(store, source)
    container = stack.enter_context(opened(file, clip.container))
    stream = cast(VideoStream, container.streams[clip.stream])
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all
    set_up(stream, threads)
    return container, stream


def set_up(stream: VideoStream, threads: int) -> None:
    """Decoder settings that keep pictures the same on every machine: no frame threads, reordering by the standard."""
    stream.codec_context.thread_count = threads
    stream.codec_context.thread_type = "SLICE" if threads > 1 else "NONE"
    stream.codec_context.options = {"max_pixels": str(LARGEST_SIDE**2)}
    if stream.codec_context.name == "h264":
        stream.codec_context.options |= {"strict": "1"}
    if stream.codec_context.name == "mjpeg":  # else what a damaged picture does not say is whatever was in memory
        stream.codec_context.options |= {"err_detect": "explode"}


def shown(
    packets: Iterable[VideoPacket | Lost],
    first: int,
    codec: str,
    spare: Spare | None = None,
    missing: Missing | None = None,
    *,
    trusting: bool = False,
) -> Iterator[tuple[int, Shown]]:
    """Frames in the order of display, with their pts, from pts `first` on; None for one that was lost or cannot be trusted.

    What a decoder makes up for a damaged frame may depend on all that it decoded before, and so may the frames up to the next
    key frame that is whole: none of them can be trusted, unless (`trusting`) decoding always begins at the same place.
    """
    keys: set[int] = set()
    leaning: set[int] = set()
    broken = False
    for pts, frame in _displayed(packets, codec, keys, leaning, spare, missing):
        broken = frame is None or pts in leaning or (broken and pts not in keys)
        keys.discard(pts)
        leaning.discard(pts)
        if pts >= first:
            yield pts, frame if trusting or not broken else None


def _displayed(
    packets: Iterable[VideoPacket | Lost],
    codec: str,
    keys: set[int],
    leaning: set[int],
    spare: Spare | None,
    missing: Missing | None,
) -> Iterator[tuple[int, Shown]]:
    """All frames; the pts of key packets are added to `keys`. Of interlaced video a packet may be half a frame.

    The pts of packets that are decoded after pictures that are missing, and before the next key packet, are added to `leaning`.

    After damage the decoder is made to forget at the next key packet, as one that begins there has nothing to remember.
    """
    waiting: list[tuple[int, bool]] = []
    doubtful: set[int] = set()
    spared: set[int] = set()
    fields = damaged = lacking = False
    fresh: int | None = None
    last: int | None = None
    for packet, nobody_looks in spare(packets) if spare else ((one, False) for one in packets):
        if isinstance(packet, Lost):
            damaged = True
            heappush(waiting, (int(packet), True))
            continue
        lost = missing is not None and missing(packet)
        lacking = (lost or lacking) and not packet.is_keyframe
        damaged = damaged or lost
        if lacking and packet.pts is not None:
            leaning.add(packet.pts)
        if nobody_looks and packet.pts is not None:
            heappush(waiting, (packet.pts, False))
            spared.add(packet.pts)
            continue
        before: list[VideoFrame] = []
        if damaged and packet.is_keyframe and packet.size and not packet.is_corrupt:
            before, damaged, fresh = _emptied(packet.stream.codec_context), False, packet.pts
        frames, whole = _decoded(packet)
        frames = [*before, *frames]
        damaged = damaged or not whole or packet.is_corrupt
        if packet.pts is not None and packet.size:
            if packet.is_keyframe:
                keys.add(packet.pts)
                fresh = packet.pts if fresh is None else fresh
            if packet.is_corrupt or (lost and not packet.is_keyframe):
                doubtful.add(packet.pts)
            if not packet.is_discard and (codec in TELLS or not whole):
                heappush(waiting, (packet.pts, not whole))
        for frame in frames:
            pts = frame.pts if frame.pts is not None else frame.dts
            if pts is None:
                continue
            fields = frame.interlaced_frame
            while waiting and waiting[0][0] <= pts:
                early, failed = heappop(waiting)
                if early in spared:
                    spared.discard(early)
                    if early < pts:
                        yield early, SPARED
                elif early < pts and (failed or not fields) and (last is None or early > last):
                    damaged = damaged or fresh is None or early > fresh  # else it leaned on what was forgotten
                    yield early, None
            damaged = damaged or (frame.is_corrupt and (fresh is None or pts >= fresh))
            last = pts
            yield pts, None if frame.is_corrupt or pts in doubtful else frame
    yield from ((pts, SPARED if pts in spared else None) for pts, failed in sorted(waiting) if failed or not fields)


def _emptied(decoder: VideoCodecContext) -> list[VideoFrame]:
    """The frames that a decoder still holds; it then knows nothing."""
    try:
        frames = decoder.decode(None)
    except av.FFmpegError:
        frames = []
    decoder.flush_buffers()
    return frames


def whole_from(
    first: int,
    packets: Iterable[VideoPacket | Lost],
    codec: str,
    spare: Spare | None = None,
    missing: Missing | None = None,
) -> Iterator[tuple[int, Shown]] | None:
    """`shown`, if the key packet's own picture comes out whole; else None: what follows would depend on having begun there.

    A damaged key frame does not, nor a recovery point of a stream that is refreshed bit by bit (ISO 14496-10 D.2.8).
    """
    frames = shown(packets, first, codec, spare, missing)
    found = next(frames, None)
    if found is None or found[0] != first or found[1] is None:
        return None
    return chain([found], frames)


def _decoded(packet: VideoPacket) -> tuple[list[VideoFrame], bool]:
    """The frames that a packet brings out, and whether it could be decoded."""
    try:
        return packet.decode(), True
    except MemoryError as error:
        raise OutOfMemory(f"a frame of {packet.stream.codec_context.name} video did not fit in memory") from error
    except av.FFmpegError:
        return [], False


def _counted(packets: Iterable[VideoPacket | Lost], clip: Clip) -> Iterator[tuple[int, Shown]]:
    """Frames numbered from the start of the clip."""
    number = 0
    for packet in packets:
        frames, whole = ([], False) if isinstance(packet, Lost) else _decoded(packet)
        for frame in (*frames, *([] if whole else [None])):
            yield clip.frame_us(number), frame if frame is not None and not frame.is_corrupt else None
            number += 1


def _latest(found: Iterable[tuple[int, Shown]]) -> Iterator[tuple[int, Shown]]:
    """Strictly ascending times: of frames with one time the last whole one.

    When time goes back, the frame that is out of place is left out: the one before if the next one follows what came before
    it (a damaged time), else the one that goes back.
    """
    before: int | None = None
    held: tuple[int, Shown] | None = None
    for time_us, frame in found:
        if held is not None:
            if time_us == held[0] and (frame is None or frame is SPARED):
                continue
            if time_us < held[0] and before is not None and time_us <= before:
                continue
            if time_us > held[0]:
                yield held
                before = held[0]
        held = time_us, frame
    if held is not None:
        yield held


def _picture(clip: Clip, clip_us: int, frame: Shown | Pixels, shapes: Shapes | None = None) -> Picture:
    """A frame whose size is not the clip's has no picture that fits the others."""
    if isinstance(frame, Spared):
        return Picture(clip.offset_us + clip_us, clip_us, False, clip.width, clip.height, spared=True)
    if frame is not None:
        size = (frame.width, frame.height) if isinstance(frame, VideoFrame) else (frame.shape[1], frame.shape[0])
        if size != ((clip.height, clip.width) if clip.rotation % 180 else (clip.width, clip.height)):
            frame = None
    return Picture(
        clip.offset_us + clip_us, clip_us, frame is None, clip.width, clip.height, False, frame, clip.rotation, shapes
    )


def _folder(store: Store, run: HasSources, clip: Clip, start_us: int, stop_us: int | None) -> Iterator[Picture]:
    """Frames of a folder, some read ahead."""
    last = len(clip.sources) if stop_us is None else min(len(clip.sources), clip.frame_at(stop_us))
    numbers = range(clip.frame_at(start_us), last)
    sources = [run.sources[clip.sources[number]] for number in numbers]
    with ThreadPoolExecutor(READ_AT_ONCE) as pool:
        ahead = deque(pool.submit(store.get, source.key, version=source.version) for source in sources[:READ_AT_ONCE])
        for place, number in enumerate(numbers):
            data = ahead.popleft().result()
            if place + READ_AT_ONCE < len(sources):
                source = sources[place + READ_AT_ONCE]
                ahead.append(pool.submit(store.get, source.key, version=source.version))
            yield _picture(clip, clip.frame_us(number), still(data, clip.width, clip.height))


def still(data: bytes, width: int, height: int) -> Pixels | None:
    """The pixels (BGR, upright) of a JPEG or PNG file of this size; None if it is another size, or not whole."""
    if dimensions(data) not in ((width, height), (height, width)) or not ends(data):
        return None
    try:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return cast(Pixels, found) if found is not None else None


def _scaled(pixels: Pixels, width: int, height: int, kind: str) -> Pixels:
    if (pixels.shape[1], pixels.shape[0]) != (width, height):
        smaller = width < pixels.shape[1] or height < pixels.shape[0]
        pixels = cast(
            Pixels, cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
        )
    return cast(Pixels, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if kind == "rgb24" else cv2.COLOR_BGR2GRAY))
