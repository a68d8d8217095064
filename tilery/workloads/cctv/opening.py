"""Open a container: its kind from its first bytes, FFmpeg confined to the one object."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from tilery.outcomes import BadInput
from tilery.workloads.cctv.limits import CODECS, MOST_STREAMS, demuxer_options
from tilery.workloads.cctv.ranges import Ranges

LISTENED = 1 << 20
"""Bytes that FFmpeg may read to find out what streams there are."""
BUFFER = 256 << 10
TS_SYNC = 0x47
TS_STEPS = (188, 192, 204)
"""Bytes of a packet of a transport stream: plain, with a time before it (M2TS), with a checksum behind it."""
TS_AGREE = 4
"""So many packets in a row begin with `TS_SYNC`, at least."""
TS_LOOKED = 1024
"""Bytes of which every packet does."""


def container_of(head: bytes) -> str:
    """FFmpeg's name of the container that begins with these bytes (the first 1,024), or none.

    >>> container_of(b"RIFF\\0\\0\\0\\0AVI LIST")
    'avi'
    """
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"pnot", b"styp"):
        return "mov"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    return "mpegts" if packets_in(head) else ""


def packets_in(data: bytes) -> tuple[int, int] | None:
    """Where packets of a transport stream begin and how long they are; None if these bytes (1,024 or more) are of none.

    The first byte may be in the middle of a packet, as where a recorder began, or whoever cut the file.

    >>> packets_in((bytes(100) + b"G" + bytes(87)) * 6)
    (100, 188)
    """
    looked = data[:TS_LOOKED]
    for step in TS_STEPS:
        for first in range(step):
            if len(sync := looked[first::step]) >= TS_AGREE and set(sync) == {TS_SYNC}:
                return first, step
    return None


@contextmanager
def opened(file: Ranges, container: str) -> Iterator[InputContainer]:
    """The container; `BadInput` names the file when it cannot be read."""
    try:
        found = av.open(
            file, "r", format=container, options=demuxer_options(LISTENED), buffer_size=BUFFER, metadata_errors="replace"
        )
    except av.FFmpegError as error:
        raise unreadable(file.name, error) from error
    with found:
        yield found


def unreadable(name: str, error: Exception) -> BadInput:
    reason = getattr(error, "strerror", None) or str(error)
    return BadInput(f"{name} is not a readable video ({reason}); it may be cut short: upload it again, or convert it")


def video_stream(container: InputContainer, name: str) -> VideoStream:
    """The first stream of moving pictures; the others are not read. `BadInput` where there is none to decode."""
    if len(container.streams) > MOST_STREAMS:
        raise BadInput(f"{name} has {len(container.streams)} streams, more than {MOST_STREAMS}; keep the video alone")
    pictures = pictures_of(container)
    if not pictures:
        raise BadInput(f"{name} holds no video stream; give a video")
    stream = pictures[0]
    if stream.codec_context is None:
        raise BadInput(f"{name} is coded in a way that is not read here; convert it to H.264")
    if (codec := stream.codec_context.codec.canonical_name) not in CODECS:
        raise BadInput(f"{name} is coded as {codec}, which is not read here; convert it to H.264")
    return stream


def pictures_of(container: InputContainer) -> list[VideoStream]:
    """The streams of moving pictures; the cover of a file is none."""
    return [stream for stream in container.streams.video if not stream.disposition & av.stream.Disposition.attached_pic]
