"""What one video file is, from a few range reads: its container's index and its first picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from itertools import chain, islice
from typing import cast

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from tilery.outcomes import BadInput
from tilery.run import Source
from tilery.store.port import Store
from tilery.workloads.cctv.boxes import check_boxes
from tilery.workloads.cctv.clips import Clip
from tilery.workloads.cctv.clock import goes_back
from tilery.workloads.cctv.decode import TELLS, set_up, shown, whole_from
from tilery.workloads.cctv.limits import MOST_FRAMES, check_size
from tilery.workloads.cctv.matroska import Indexed, clusters
from tilery.workloads.cctv.missing import Missing
from tilery.workloads.cctv.opening import container_of, opened, pictures_of, video_stream
from tilery.workloads.cctv.ranges import Ranges
from tilery.workloads.cctv.starts import Lost, VideoPacket, demuxed, key_packets

WINDOW = 256 << 10
"""Largest range that probing reads at once (bytes)."""
PATIENCE = 600
"""Packets without a picture after which a video cannot be decoded."""
LISTENED = 60
"""Packets whose times are looked at, while they are small."""
LISTENED_BYTES = 1 << 20
OFTEN = 0.05
"""Where so many of the pictures listened to, and more than two, seem to miss one before them, numbers mean nothing."""
WALKED = 1 << 30
"""A file without a duration is read through if it has no more bytes than this."""
TAIL = 8 << 20
"""Bytes at the end of a Matroska file in which its last cluster is looked for."""
WORTH_US = 20_000_000
"""A shorter video is one piece of work with an index or without."""
SPANNED = 0.8
"""Share of the duration that an index must span to be one."""
PLACES = (0.5, 0.75)
"""Shares of the duration at which it is tried to begin."""
SEARCHED = 3 << 20
"""Bytes in which the first picture must come out."""
FASTEST_HZ = 1000
_SEGMENT = b"\x18\x53\x80\x67"
"""The element that holds all of a Matroska file (RFC 9559)."""
_CLUSTER = b"\x1f\x43\xb6\x75"
_CHECKSUM = b"\xbf\x84"
"""The head of a CRC-32 of four bytes, which may come first in a cluster."""
_TIMESTAMP = 0xE7
OLDEST = datetime(1990, 1, 1, tzinfo=UTC)
"""Cameras without a clock write 1904 or 1970."""


@dataclass(frozen=True, slots=True)
class Probed:
    clip: Clip
    keys_us: list[int] | None = None
    """Decoding times of the key frames in the container's index (microseconds of the clip, ascending); None without one."""
    seeks: bool = True
    """Whether a key frame before a moment can be found without reading all that lies before it."""
    created: datetime | None = None
    fetched: int = 0
    """Bytes read."""


def probe(store: Store, source: Source, place: int, most_pixels: float) -> Probed:
    """Look at `source`, which is number `place` of the run. `BadInput` names it and says what is wrong."""
    file = Ranges(store, source, most=WINDOW)
    head = file.read(1024)
    file.seek(0)
    container = container_of(head)
    if not container:
        raise BadInput(f"{source.name} is not a video that is read here (MP4, MOV, MKV, WebM, AVI, TS); convert it")
    if container == "mov":
        check_boxes(file, source.size)
    found = _probe(store, source, place, most_pixels, container, file)
    if container == "matroska" and not found.clip.counted and not _spanned(found) and (known := clusters(store, source)):
        try:
            again = _probe(store, source, place, most_pixels, container, Indexed(store, source, known, most=WINDOW))
        except BadInput:  # what is wrong with it is no matter where the file can be read as it is
            return found
        if again.seeks and _spanned(again):
            return replace(again, clip=replace(again.clip, clusters=[list(one) for one in known]))
    return found


def _spanned(found: Probed) -> bool:
    """Whether the index spans the video, or nothing would come of one."""
    short = found.clip.duration_us < WORTH_US
    return short or bool(found.keys_us and found.keys_us[-1] >= SPANNED * found.clip.duration_us)


def _probe(store: Store, source: Source, place: int, most_pixels: float, container: str, file: Ranges) -> Probed:
    with opened(file, container) as found:
        stream = video_stream(found, source.name)
        check_size(source.name, stream.codec_context.width, stream.codec_context.height, most_pixels)
        picture, pts, counted, numbered = _first(found, stream, source.name)
        check_size(source.name, picture.width, picture.height, most_pixels)
        beside = Ranges(store, source, most=WINDOW)  # FFmpeg goes on where it left the file
        result = _probed(found, stream, source, place, container, picture, pts, counted, numbered, beside, store)
        return replace(result, fetched=file.fetched + beside.fetched)


def _probed(
    found: InputContainer,
    stream: VideoStream,
    source: Source,
    place: int,
    container: str,
    picture: VideoFrame,
    pts: int,
    counted: bool,
    numbered: bool,
    file: Ranges,
    store: Store,
) -> Probed:
    warnings: list[str] = []
    base = stream.time_base or Fraction(1, 1_000_000)
    rate = _rate(stream)
    keys, cut = _index(found, stream, pts, source.size)
    duration_us = _duration_us(found, stream, pts)
    share = _there(file, container, source.size)
    if cut is not None:
        there = max(0, int((cut - pts) * base * 1_000_000))
        warnings.append(f"{source.name} is cut short: {there / 1e6:.1f} of {duration_us / 1e6:.1f} s are there")
        duration_us = there
    elif share < 1:
        warnings.append(f"{source.name} is cut short: {share:.0%} of its bytes are there; what they hold is used")
        counted = counted or container == "avi"  # its index is gone, or points at other places
    if container == "matroska" and (share < 1 or not duration_us):
        there = _last_cluster_us(file, source.size, pts, base) or _last_us(store, source, container, stream, pts)
        duration_us = min(there, duration_us or there)
    if container == "mpegts" and not counted and goes_back(file, source.size, stream.id):
        frames = _counted(store, source, container, stream.index)
        duration_us, counted = frames * rate.denominator * 1_000_000 // rate.numerator, True
        warnings.append(f"the clock of {source.name} goes back within it, as where recordings were joined: give each as a file")
    if not duration_us:
        duration_us = _last_us(store, source, container, stream, pts)
    turned = picture.rotation % 360
    if turned % 90:
        warnings.append(f"{source.name} is turned by {turned} degrees, which is left as it is")
        turned = 0
    if (ratio := stream.sample_aspect_ratio) and ratio != 1:
        warnings.append(f"{source.name} has pixels that are not square ({ratio}); places in the picture count stored pixels")
    if counted:
        warnings.append(f"{source.name} has no usable times; {float(rate):g} frames a second are counted from its start")
    if not numbered:
        warnings.append(
            f"numbers are left out among the pictures of {source.name} again and again: many are missing, or the encoder "
            "counts in its own way; all that are there are used"
        )
    frames = int(duration_us * rate / 1_000_000)
    if frames > MOST_FRAMES:
        raise BadInput(f"{source.name} claims {frames:,} frames, more than {MOST_FRAMES:,}; cut it into clips")
    if (others := len(pictures_of(found)) - 1) > 0:
        told = f"{others} other video stream{'s' if others > 1 else ''}"
        warnings.append(f"{source.name} holds {told}, not looked at: its first one is; drop the others as files of their own")
    width, height = (picture.height, picture.width) if turned % 180 else (picture.width, picture.height)
    created = _created(found, stream)
    quick = bool(keys) or container in ("mpegts", "mov")  # else FFmpeg reads all before a place to find it
    seeks = quick and not counted and _starts(found, stream, pts)
    clip = Clip(
        sources=[place],
        kind="video",
        width=width,
        height=height,
        offset_us=0,
        duration_us=max(1, duration_us),
        frames=max(1, frames),
        rate=(rate.numerator, rate.denominator),
        time_base=(base.numerator, base.denominator),
        first_pts=pts,
        stream=stream.index,
        rotation=turned,
        container=container,
        codec=stream.codec_context.codec.canonical_name,
        counted=counted,
        sequential=not seeks,
        numbered=numbered,
        bytes=source.size,
        name=source.name,
        created=created.isoformat() if created else "",
        keys=len(keys),
        warnings=warnings,
    )
    keys_us = [int((key - pts) * base * 1_000_000) for key in keys] if keys else None
    return Probed(clip, keys_us, seeks, created)


def _first(found: InputContainer, stream: VideoStream, name: str) -> tuple[VideoFrame, int, bool, bool]:
    """The first picture, its pts, whether times are of no use, and whether the numbers of pictures are of use."""
    set_up(stream, 1)
    times: list[int | None] = []
    missing, lacks = Missing(stream), 0

    def listened() -> Iterator[VideoPacket]:
        nonlocal lacks
        for packet in islice(demuxed(found, stream), PATIENCE):
            if packet.size:
                times.append(packet.pts)
                lacks += missing(packet)
            yield packet

    packets = listened()
    for pts, picture in shown(packets, -(1 << 63), stream.codec_context.codec.canonical_name):
        if isinstance(picture, VideoFrame):
            read = 0
            while len(times) < LISTENED and read < LISTENED_BYTES and (packet := next(packets, None)):
                read += packet.size
            known = [time for time in times if time is not None]
            guessed = found.format.name == "avi" and stream.codec_context.name in TELLS and stream.codec_context.has_b_frames
            return picture, pts, bool(guessed) or len(set(known)) < len(times), lacks <= max(2, OFTEN * len(times))
    raise BadInput(f"no frame of {name} can be decoded; it may be damaged: upload it again, or convert it")


def _rate(stream: VideoStream) -> Fraction:
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and 0 < rate <= FASTEST_HZ:
            return rate.limit_denominator(1_000_000)
    return Fraction(25)


def _index(found: InputContainer, stream: VideoStream, pts: int, size: int) -> tuple[list[int], int | None]:
    """Times of the key frames in the index, none if it does not span the video; and the first sample beyond the file's end."""
    if found.format.name.startswith("matroska"):
        with suppress(av.FFmpegError):  # the demuxer reads its index when it first seeks
            found.seek(pts + int(1 / (stream.time_base or 1)), stream=stream)
    keys: list[int] = []
    last = pts
    for entry in stream.index_entries:
        if entry.size > 0 and entry.pos + entry.size > size:
            return keys, entry.timestamp
        last = max(last, entry.timestamp)
        if entry.is_keyframe:
            keys.append(entry.timestamp)
    spanned = (last - pts) * (stream.time_base or 1) * 1_000_000
    return (keys if spanned >= SPANNED * _duration_us(found, stream, pts) else []), None


def _there(file: Ranges, container: str, size: int) -> float:
    """The share of a file that is there, of the size that its first bytes state."""
    file.seek(0)
    head = file.read(4096)
    stated = 0
    if container == "avi" and b"AVIX" not in head:
        stated = 8 + int.from_bytes(head[4:8], "little")
    elif container == "matroska" and (at := head.find(_SEGMENT)) >= 0 and at + 12 <= len(head):
        length = 9 - head[at + 4].bit_length()
        value = int.from_bytes(head[at + 4 : at + 4 + length], "big") & ((1 << 7 * length) - 1)
        unknown = value == (1 << 7 * length) - 1
        stated = 0 if unknown else at + 4 + length + value
    return min(1.0, size / stated) if stated else 1.0


def _last_cluster_us(file: Ranges, size: int, pts: int, base: Fraction) -> int:
    """When the last cluster of a Matroska file begins, which its end tells (RFC 9559, 5.1.3); 0 if it does not."""
    file.seek(max(0, size - TAIL))
    tail = bytearray()
    while data := file.read(TAIL):
        tail += data
    at = tail.rfind(_CLUSTER)
    while at >= 0:
        inner = at + 4 + 9 - tail[at + 4].bit_length() if at + 4 < len(tail) else len(tail)
        inner += len(_CHECKSUM) + 4 if tail[inner : inner + len(_CHECKSUM)] == _CHECKSUM else 0
        if inner + 2 < len(tail) and tail[inner] == _TIMESTAMP and 0x81 <= tail[inner + 1] <= 0x88:
            stamp = int.from_bytes(tail[inner + 2 : inner + 2 + (tail[inner + 1] & 15)], "big")
            return max(0, int((stamp - pts) * base * 1_000_000))
        at = tail.rfind(_CLUSTER, 0, at)
    return 0


def _counted(store: Store, source: Source, container: str, stream: int) -> int:
    """How many frames there are, all read. `BadInput` for a large file."""
    if source.size > WALKED:
        raise BadInput(
            f"the clock of {source.name} goes back within it, as where recordings were joined: cut it there, and drop each part"
        )
    return sum(1 for packet in _all(store, source, container, stream) if packet.size)


def _last_us(store: Store, source: Source, container: str, stream: VideoStream, pts: int) -> int:
    """The time of the last packet, all read. `BadInput` for a large file."""
    if source.size > WALKED:
        raise BadInput(f"{source.name} does not say how long it is; copy it into a new container (ffmpeg -c copy)")
    packets = _all(store, source, container, stream.index)
    last = max((packet.pts for packet in packets if packet.pts is not None), default=pts)
    return int((last - pts) * (stream.time_base or 1) * 1_000_000)


def _all(store: Store, source: Source, container: str, stream: int) -> Iterator[VideoPacket]:
    """All packets of a stream, of a container that is opened for it: reading beside it would lead another one astray."""
    with opened(Ranges(store, source), container) as found:
        yield from demuxed(found, cast(VideoStream, found.streams[stream]))


def _starts(found: InputContainer, stream: VideoStream, pts: int) -> bool:
    """Whether decoding can begin in the middle: tried at two places, for one of them may be damaged."""
    base = stream.time_base or Fraction(1)
    for share in PLACES:
        sought = pts + int(_duration_us(found, stream, pts) * share / 1_000_000 / base)
        packets = _within(key_packets(found, stream, sought, most=SEARCHED), SEARCHED)
        first = next(packets, None)
        if first is None or isinstance(first, Lost) or first.pts is None:
            continue
        if whole_from(first.pts, chain([first], packets), stream.codec_context.codec.canonical_name) is not None:
            return True
    return False


def _within(packets: Iterable[VideoPacket | Lost], most: int) -> Iterator[VideoPacket | Lost]:
    """The packets until they have so many bytes together."""
    for packet in packets:
        yield packet
        most -= 0 if isinstance(packet, Lost) else packet.size
        if most < 0:
            return


def _duration_us(found: InputContainer, stream: VideoStream, pts: int) -> int:
    """From the first picture to the end, by the headers; read through where they do not say."""
    if stream.duration and stream.duration > 0:
        start = stream.start_time if stream.start_time is not None else pts
        return int((start + stream.duration - pts) * (stream.time_base or 1) * 1_000_000)
    if found.duration and found.duration > 0:
        before = pts * (stream.time_base or 0) * 1_000_000 if found.format.name.startswith("matroska") else 0
        return max(0, int(found.duration - before))  # Matroska's ends where it says, however late it begins
    return 0


def _created(found: InputContainer, stream: VideoStream) -> datetime | None:
    for metadata in (found.metadata, stream.metadata):
        for name in ("com.apple.quicktime.creationdate", "creation_time", "DATE", "date"):
            try:
                moment = datetime.fromisoformat(metadata.get(name, ""))
            except ValueError:
                continue
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            if moment > OLDEST:
                return moment
    return None
