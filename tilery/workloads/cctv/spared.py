"""Pictures that need not be decoded: nobody looks at them, and no other picture leans on them.

Only of H.264 (ISO 14496-10 7.4.1): `nal_ref_idc` is 0 in a picture that is no reference, and its place in the order of decoding
leaves no gap. Encoders for files make such B pictures, about every second one; few cameras do.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from av.video.stream import VideoStream

from tilery.workloads.cctv.starts import VideoPacket

Cell = Callable[[int], Hashable]
"""From a pts; of the pictures in a cell the first is looked at."""
PROGRESSIVE = 1
"""AV_FIELD_PROGRESSIVE: no packet is half a picture."""
SLICE = 1
"""nal_unit_type of a slice of a picture that is no key."""
SLICES = range(1, 6)
LEANED_ON = 0x60
"""The bits of `nal_ref_idc`."""


class Spare:
    """Tells of packets, in the order of decoding, which are spared.

    Whether one is depends on the packets between the last key packet and it, and so not on where decoding began.
    """

    def __init__(self, stream: VideoStream, cell: Cell) -> None:
        self._cell = cell
        extradata = stream.codec_context.extradata or b""
        self._size = (extradata[4] & 3) + 1 if len(extradata) > 4 and extradata[0] == 1 else 0
        self._known = stream.codec_context.name == "h264" and stream.codec_context.field_order == PROGRESSIVE
        self._seen: Hashable = None
        self._first: dict[Hashable, int] = {}

    def __call__(self, packet: VideoPacket) -> bool:
        if not self._known or packet.pts is None or not packet.size:
            return False
        if packet.is_keyframe:  # what is shown after it does not come before it
            self._first.clear()
        cell = self._cell(packet.pts)
        first = self._first.get(cell)
        self._first[cell] = packet.pts if first is None else min(first, packet.pts)
        if first is None or packet.pts < first or packet.is_corrupt or packet.is_keyframe:
            return False
        kind = first_slice(bytes(packet), self._size)
        return kind is not None and kind & 31 == SLICE and not kind & LEANED_ON


def first_slice(data: bytes, size: int) -> int | None:
    """The header of the first slice in a packet, whose units begin with a length of `size` bytes, or (0) with a start code.

    >>> first_slice(bytes([0, 0, 0, 2, 9, 16, 0, 0, 0, 2, 1, 77]), 4)
    1
    """
    at = 0
    while True:
        if size:
            unit = at + size
            at = unit + int.from_bytes(data[at:unit])
        else:
            unit = data.find(b"\0\0\1", at) + 3
            if unit < 3:
                return None
            at = unit
        if unit >= len(data):
            return None
        if data[unit] & 31 in SLICES:
            return data[unit]
