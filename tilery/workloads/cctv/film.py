"""H.264 (or VP9) in MP4, made in parts that join without being encoded again, whichever way the timeline was cut into parts.

Every block of the timeline is a stream of its own: it starts with a key frame and depends on no other. All are encoded with
the same settings, so that their headers are the same, and without B-frames, so that their times go on where they join.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av
from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy import uint8
from numpy.typing import NDArray

from tilery.workloads.cctv.stored import Stored

ENCODERS = {
    "libx264": {"preset": "veryfast", "crf": "25", "bf": "0"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "33", "b": "0", "lag-in-frames": "0", "auto-alt-ref": "0"},
}
"""The first that is there is taken (docs/decisions/0007)."""
TIME_BASE = Fraction(1, 90_000)
"""The clock of broadcast video: every usual frame rate is whole in it."""
RATE = Fraction(25)
"""What the encoder plans with; the times of the frames are those of the source."""

READ_AT_ONCE = 4 << 20
"""Bytes of a part."""


def encoder() -> str:
    """The name of the encoder of this machine's libraries."""
    return next(name for name in ENCODERS if name in av.codecs_available)


def size(width: int, height: int, longest: int) -> tuple[int, int]:
    """The width and height of the film of such frames, no side longer than that; even, as 4:2:0 wants them."""
    share = min(1.0, longest / max(width, height))
    return max(2, round(width * share / 2) * 2), max(2, round(height * share / 2) * 2)


class Film:
    """A part of a film; a context manager. Pictures are uint8 RGB (height, width, 3), in the order of time."""

    def __init__(self, path: Path, width: int, height: int) -> None:
        self._size = width, height
        self._out = av.open(str(path), "w", format="mp4")
        self._name = encoder()
        self._stream = cast(VideoStream, self._out.add_stream(self._name, rate=RATE, options=ENCODERS[self._name]))
        self._set_up(self._stream.codec_context)
        self._stream.time_base = TIME_BASE
        self._encoder: VideoCodecContext | None = None
        self._begun = 0
        self.frames = 0

    def block(self, time_us: int) -> None:
        """From here on nothing depends on what came before."""
        self._flush()
        self._encoder = cast(VideoCodecContext, av.CodecContext.create(self._name, "w"))
        self._encoder.options = ENCODERS[self._name]
        self._set_up(self._encoder)
        self._begun = _ticks(time_us)

    def add(self, picture: NDArray[uint8], time_us: int) -> None:
        if self._encoder is None:
            self.block(time_us)
        assert self._encoder is not None
        frame = VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = _ticks(time_us) - self._begun, TIME_BASE
        self._write(self._encoder, frame)
        self.frames += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self._flush()
        self._out.close()

    def _set_up(self, encoder: VideoCodecContext) -> None:
        encoder.width, encoder.height = self._size
        encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", TIME_BASE, RATE
        encoder.thread_count, encoder.max_b_frames = 1, 0  # threads would change the bytes
        encoder.flags |= Flags.global_header

    def _flush(self) -> None:
        if self._encoder is not None:
            self._write(self._encoder, None)
            self._encoder = None

    def _write(self, encoder: VideoCodecContext, frame: VideoFrame | None) -> None:
        for packet in encoder.encode(frame):
            assert packet.pts is not None
            packet.pts = packet.dts = packet.pts + self._begun
            packet.stream, packet.time_base = self._stream, TIME_BASE
            self._out.mux(packet)


def join(parts: Iterable[Path | Stored], path: Path) -> int:
    """Put parts in the order of time into one film that browsers play while they load it; returns its number of frames."""
    frames = 0
    # the bit rate that a file may state is that of its first part: it would tell how the film was cut
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart", "write_btrt": "0"}) as out:
        stream: VideoStream | None = None
        for part in parts:
            with av.open(str(part) if isinstance(part, Path) else part, "r", buffer_size=READ_AT_ONCE) as source:
                here = source.streams.video[0]
                stream = stream or out.add_stream_from_template(here)
                for packet in source.demux(here):
                    if packet.pts is None:
                        continue
                    packet.stream = stream
                    out.mux(packet)
                    frames += 1
    return frames


def _ticks(time_us: int) -> int:
    return round(time_us * TIME_BASE.denominator / 1_000_000)
