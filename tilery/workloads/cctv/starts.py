"""Where decoding may begin: a key packet after which every picture is whole, found from any moment of a video."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TypeAlias

import av
from av.container import InputContainer
from av.index import IndexEntries
from av.packet import Packet
from av.video.stream import VideoStream


class Lost(int):
    """The pts of a packet that could not be read."""


VideoPacket: TypeAlias = "Packet[VideoStream]"
MOST_FAILURES = 1_000
"""Unreadable places in a row after which a file has ended."""
AVI_CHUNK = 8
"""Bytes of a chunk's header, at which the index points."""
FIRST_STEP_S = 2
"""How much further back the second look goes when the first finds no key packet; then twice that, and so on."""
_RECOVERY_POINT = 6
_H264_IDR, _H264_SEI = 5, 6


def packets_from(
    container: InputContainer, stream: VideoStream, pts: int, first_pts: int, key_pts: int | None = None
) -> tuple[int, Iterator[VideoPacket | Lost]] | None:
    """Packets from a key packet that is shown at or before `pts`, and the pts from which pictures are whole.

    What is shown from that pts on does not depend on which key packet it is. `key_pts` is one that an index knows. None where
    there is none: read a newly opened container from its start.
    """
    second = int(1 / (stream.time_base or 1))
    back = 0 if key_pts is None else max(0, pts - key_pts)
    while pts - back > first_pts:
        packets = key_packets(container, stream, pts - back)
        first = next(packets, None)
        if first is not None and not isinstance(first, Lost) and _shown(first) <= pts:
            return _shown(first), chain([first], packets)
        back = 2 * back if back else FIRST_STEP_S * second
    return None


def key_packets(container: InputContainer, stream: VideoStream, pts: int) -> Iterator[VideoPacket | Lost]:
    """Packets from the first key packet that FFmpeg finds when it is asked for the one before `pts`; may be later, or none."""
    try:
        container.seek(pts, stream=stream, backward=True)
    except av.FFmpegError:
        return
    packets = packets_of(container, stream)
    for packet in packets:
        if not isinstance(packet, Lost) and packet.is_keyframe and packet.size and clean(packet):
            yield packet
            yield from packets


def packets_of(container: InputContainer, stream: VideoStream) -> Iterator[VideoPacket | Lost]:
    """The packets, AVI's with the times of its index: they have none of their own, and a damaged place shifts the count."""
    if container.format.name != "avi" or not len(stream.index_entries):
        return demuxed(container, stream)
    return _indexed(demuxed(container, stream), stream.index_entries)


def _indexed(packets: Iterable[VideoPacket], index: IndexEntries) -> Iterator[VideoPacket | Lost]:
    before: int | None = None
    for packet in packets:
        place = bisect_left(index, packet.pos - AVI_CHUNK, key=lambda entry: entry.pos) if packet.pos else len(index)
        if place < len(index) and packet.pos and index[place].pos == packet.pos - AVI_CHUNK and packet.dts is not None:
            if before is not None:
                yield from (Lost(index[missed].timestamp) for missed in range(before + 1, place) if index[missed].size)
            before = place
            shift = index[place].timestamp - packet.dts
            packet.dts += shift
            if packet.pts is not None:
                packet.pts += shift
        yield packet


def demuxed(container: InputContainer, stream: VideoStream) -> Iterator[VideoPacket]:
    """The packets that can be read; a place that cannot is passed over."""
    failures = 0
    while failures < MOST_FAILURES:
        try:
            for packet in container.demux(stream):
                failures = 0
                yield packet
            return
        except av.InvalidDataError:
            failures += 1
        except IndexError:  # PyAV, where a stream appeared that was not announced; ours has been flushed by then
            return


def _shown(packet: VideoPacket) -> int:
    shown = packet.pts if packet.pts is not None else packet.dts
    return shown if shown is not None else 0


def clean(packet: VideoPacket) -> bool:
    """Whether a packet that is flagged as key is one: in H.264, gradual refresh is flagged too."""
    if packet.stream.codec_context.name != "h264":
        return not packet.is_corrupt
    if packet.is_corrupt:
        return False
    counts: list[int] = []
    for unit in _units(bytes(packet), packet.stream.codec_context.extradata):
        kind = unit[0] & 31
        if kind == _H264_IDR:
            return True
        if kind == _H264_SEI:
            counts += recovery_counts(unit)
    return not any(counts)


def _units(data: bytes, extradata: bytes | None) -> Iterator[bytes]:
    """The heads (64 bytes suffice) of the NAL units of a packet, in either framing (ISO 14496-10 annex B, 14496-15)."""
    if extradata and extradata[0] == 1 and len(extradata) > 4:
        size, at = (extradata[4] & 3) + 1, 0
        while at + size < len(data):
            length = int.from_bytes(data[at : at + size], "big")
            yield data[at + size : at + size + min(length, 64)]
            at += size + length
        return
    at = data.find(b"\0\0\1")
    while 0 <= at < len(data) - 3:
        following = data.find(b"\0\0\1", at + 3)
        yield data[at + 3 : at + 67 if following < 0 else min(following, at + 67)]
        at = following


def recovery_counts(unit: bytes) -> list[int]:
    """`recovery_frame_cnt` of the recovery points in an H.264 SEI unit (ISO 14496-10 D.1.8)."""
    payload = unit[1:].replace(b"\0\0\3", b"\0\0")
    at, found = 0, []
    while at + 2 < len(payload):
        kind, at = _varying(payload, at)
        size, at = _varying(payload, at)
        if kind == _RECOVERY_POINT:
            found.append(_exp_golomb(payload[at : at + size]))
        at += size
    return found


def _varying(payload: bytes, at: int) -> tuple[int, int]:
    value = 0
    while at < len(payload) and payload[at] == 255:
        value, at = value + 255, at + 1
    return (value + payload[at], at + 1) if at < len(payload) else (value, at)


def _exp_golomb(data: bytes) -> int:
    bits = "".join(f"{byte:08b}" for byte in data[:8])
    zeros = len(bits) - len(bits.lstrip("0"))
    return int(bits[zeros : 2 * zeros + 1] or "1", 2) - 1
