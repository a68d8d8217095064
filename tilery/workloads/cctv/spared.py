"""Pictures that need not be decoded: nobody looks at them, and no picture that somebody looks at leans on them.

Two kinds, which are known without decoding anything:

- What no other picture leans on. H.264 says so of a picture (ISO 14496-10 7.4.1: `nal_ref_idc` is 0), and so does H.265 where
  it has one temporal layer (ISO 23008-2 7.4.2.2: sub-layer non-reference pictures). Encoders for files make such B pictures,
  about every second one; few cameras do. Of motion JPEG every picture is one.
- What follows the last look before a picture with which all begins anew (IDR): nothing behind that leans on what is before.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeAlias

from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from tilery.workloads.cctv.h264 import units
from tilery.workloads.cctv.starts import Lost, VideoPacket

Cell = Callable[[int], Hashable]
"""From a pts; of the pictures in a cell the first is looked at."""
Told: TypeAlias = "Iterator[tuple[VideoPacket | Lost, bool]]"
"""Packets in the order of decoding, and whether each is spared."""
PROGRESSIVE = 1
"""AV_FIELD_PROGRESSIVE: no packet is half a picture."""
MOST_PACKETS, MOST_BYTES = 500, 32 << 20
"""Held until it is known whether a look follows: more are decoded."""
MOST_CELLS = 64
"""Remembered: pictures are shown a few places after they are decoded. A recording may have no second key packet for days."""
HEAD = 4096
"""Bytes of a packet in which its first slice begins, behind parameter sets and messages: else it is decoded."""


class Spare:
    """Tells which packets are spared.

    Whether one is depends on the packets from the last key packet to the next, and so not on where decoding began; where each
    picture stands alone, on those of its cell.
    """

    def __init__(self, stream: VideoStream, cell: Cell) -> None:
        self._cell = cell
        self._kind = _kind(stream.codec_context)

    def __call__(self, packets: Iterable[VideoPacket | Lost]) -> Told:
        if self._kind is None:
            yield from ((packet, False) for packet in packets)
            return
        first: dict[Hashable, int] = {}
        held: list[VideoPacket] = []
        size = 0
        for packet in packets:
            if isinstance(packet, Lost) or packet.pts is None or not packet.size or packet.is_corrupt:
                yield from self._leaned_on(held, ends=not isinstance(packet, Lost) and not packet.size)
                yield packet, False
                held, size = [], 0
                continue
            cell = self._cell(packet.pts)
            if packet.is_keyframe and self._kind.begins(packet):
                yield from ((one, True) for one in held)
                held, size = [], 0
            if cell not in first if self._kind.alone else packet.is_keyframe:  # what is shown after it does not come before it
                first.clear()
            before = first.get(cell)
            first[cell] = packet.pts if before is None else min(before, packet.pts)
            if len(first) > MOST_CELLS:
                del first[next(iter(first))]
            if before is None or packet.pts < before or len(held) >= MOST_PACKETS or size >= MOST_BYTES:
                yield from self._leaned_on(held)
                yield packet, False
                held, size = [], 0
            else:
                held.append(packet)
                size += packet.size
        yield from self._leaned_on(held, ends=True)

    def _leaned_on(self, held: list[VideoPacket], ends: bool = False) -> Told:
        """What a look follows; or the end, and then the last picture is looked at."""
        assert self._kind is not None
        last = max((one.pts or 0 for one in held), default=0) if ends else None
        yield from ((packet, packet.pts != last and self._kind.nobody_leans(packet)) for packet in held)


class MotionJpeg:
    """Each picture stands alone."""

    alone = True

    def begins(self, packet: VideoPacket) -> bool:
        return True

    def nobody_leans(self, packet: VideoPacket) -> bool:
        return True


class H264:
    """Units of ISO 14496-10 table 7-1."""

    alone = False
    SLICES, SLICE, IDR = range(1, 6), 1, 5
    LEANED_ON = 0x60
    """The bits of `nal_ref_idc`."""

    def __init__(self, extradata: bytes) -> None:
        self._size = (extradata[4] & 3) + 1 if len(extradata) > 4 and extradata[0] == 1 else 0

    def begins(self, packet: VideoPacket) -> bool:
        return self._header(packet) & 31 == self.IDR

    def nobody_leans(self, packet: VideoPacket) -> bool:
        header = self._header(packet)
        return header & 31 == self.SLICE and not header & self.LEANED_ON

    def _header(self, packet: VideoPacket) -> int:
        """Of the first slice; 0 without one."""
        return next((one[0] for one in units(_head(packet), self._size) if one[0] & 31 in self.SLICES), 0)


class H265:
    """Units of ISO 23008-2 table 7-1."""

    alone = False
    SLICES, IDR, LAST_TRAILING, PARAMETERS = range(32), (19, 20), 15, 33

    def __init__(self, extradata: bytes) -> None:
        boxed = len(extradata) > 21 and extradata[0] == 1
        self._size = (extradata[21] & 3) + 1 if boxed else 0
        layers = (extradata[21] >> 3 & 7) if boxed else _layers(extradata)
        self._one_layer = layers == 1

    def begins(self, packet: VideoPacket) -> bool:
        return self._type(packet) in self.IDR

    def nobody_leans(self, packet: VideoPacket) -> bool:
        kind = self._type(packet)
        return self._one_layer and kind <= self.LAST_TRAILING and kind % 2 == 0

    def _type(self, packet: VideoPacket) -> int:
        """Of the first slice; one that is leaned on without a slice."""
        types = (one[0] >> 1 & 63 for one in units(_head(packet), self._size))
        return next((one for one in types if one in self.SLICES), 1)


def _layers(units_of: bytes) -> int:
    """Temporal layers that the sequence parameters tell of; 0 if there are none."""
    found = (one[2] for one in units(units_of, 0) if one[0] >> 1 & 63 == H265.PARAMETERS and len(one) > 2)
    return max(((one >> 1 & 7) + 1 for one in found), default=0)


def _head(packet: VideoPacket) -> bytes:
    return bytes(memoryview(packet)[:HEAD])


def _kind(codec: VideoCodecContext) -> MotionJpeg | H264 | H265 | None:
    extradata = codec.extradata or b""
    if codec.name == "h264" and codec.field_order == PROGRESSIVE:
        return H264(extradata)
    if codec.name == "hevc":
        return H265(extradata)
    return MotionJpeg() if codec.name == "mjpeg" else None
