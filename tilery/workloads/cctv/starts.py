"""Where decoding may begin: key packets, found from any moment of a video."""

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


def packets_from(
    container: InputContainer, stream: VideoStream, pts: int, first_pts: int, key_pts: int | None = None
) -> tuple[int, Iterator[VideoPacket | Lost]] | None:
    """The pts of a key packet that is shown at or before `pts`, and the packets from it on.

    `key_pts` is one that an index knows. None where there is none: read a newly opened container from its start.
    """
    second = int(1 / (stream.time_base or 1))
    back = 0 if key_pts is None else max(0, pts - key_pts)
    while pts - back > first_pts:
        packets = key_packets(container, stream, pts - back, until=pts)
        first = next(packets, None)
        if first is not None and not isinstance(first, Lost) and _shown(first) <= pts:
            return _shown(first), chain([first], packets)
        back = 2 * back if back else FIRST_STEP_S * second
    return None


def key_packets(
    container: InputContainer, stream: VideoStream, pts: int, *, until: int | None = None, most: int | None = None
) -> Iterator[VideoPacket | Lost]:
    """Packets from the first key packet that comes when FFmpeg is asked for the one before `pts`; it may lie behind.

    None if it would be shown after `until`, or if `most` bytes were read without one.
    """
    try:
        container.seek(pts, stream=stream, backward=True)
    except av.FFmpegError:
        return
    packets = packets_of(container, stream)
    read = 0
    for packet in packets:
        if isinstance(packet, Lost):
            continue
        if packet.is_keyframe and packet.size and not packet.is_corrupt:
            yield packet
            yield from packets
            return
        read += packet.size
        if (most is not None and read > most) or (until is not None and _decoded_at(packet) > until):
            return


def _decoded_at(packet: VideoPacket) -> int:
    return packet.dts if packet.dts is not None else 0


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
        except av.FFmpegError:  # invalid data, or more memory than there is for a size that is nonsense
            failures += 1
        except IndexError:  # PyAV, where a stream appeared that was not announced; ours has been flushed by then
            return


def _shown(packet: VideoPacket) -> int:
    shown = packet.pts if packet.pts is not None else packet.dts
    return shown if shown is not None else 0
