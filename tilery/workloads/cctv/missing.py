"""Pictures that are missing from an H.264 stream: lost on the way to a recorder, whose file is whole and well formed.

A decoder makes them up of others and goes on; what leans on them looks right and is not. Pictures that others lean on are
numbered (`frame_num`, ISO 14496-10 7.4.3), and a number that is left out tells. Where pictures that nothing leans on are
missing, no other one is any worse for it.
"""

from __future__ import annotations

from collections.abc import Iterable

from av.video.stream import VideoStream

from tilery.workloads.cctv.h264 import PARAMETERS, Numbering, numbering, picture_number, records, units
from tilery.workloads.cctv.starts import VideoPacket

SLICES = (1, 2, 5)
"""Types of the units that begin with the header of a slice."""
KEY = 5
LEANED_ON = 0x60
FEW = 4
"""A count that goes on at 0 or 1 after a larger step was set back, as few encoders do (7.4.3.3: operation 5)."""
LOOKED = 4096
"""Bytes of a packet in which its first slice begins, behind parameter sets and messages."""


class Missing:
    """Tells of packets, in the order of decoding, whether pictures that others lean on are missing just before them."""

    def __init__(self, stream: VideoStream) -> None:
        extradata = stream.codec_context.extradata or b""
        boxed = len(extradata) > 6 and extradata[0] == 1
        self._size = (extradata[4] & 3) + 1 if boxed else 0
        self._known = stream.codec_context.name == "h264"
        self._numbering: Numbering | None = None
        self._last: int | None = None
        """The number of the last picture that others lean on."""
        if self._known:
            self._learn(records(extradata) if boxed else units(extradata, 0))

    def __call__(self, packet: VideoPacket) -> bool:
        if not self._known or not packet.size:
            return False
        sets = []
        for unit in units(bytes(memoryview(packet)[:LOOKED]), self._size):
            if (kind := unit[0] & 31) == PARAMETERS:
                sets.append(unit)
            elif kind in SLICES:
                self._learn(sets)
                return self._leaves_out(unit)
        self._last = None  # of a picture whose number lies too far behind, the next one says nothing
        return False

    def _learn(self, found: Iterable[bytes]) -> None:
        """Sets that lie together and differ are followed by no number that could be told."""
        said = {numbering(unit) for unit in found if unit and unit[0] & 31 == PARAMETERS}
        if said:
            self._numbering = said.pop() if len(said) == 1 else None

    def _leaves_out(self, unit: bytes) -> bool:
        said = self._numbering
        number = picture_number(unit, said) if said else None
        if said is None or number is None:
            self._last = None
            return False
        last, leaned_on, numbers = self._last, unit[0] & LEANED_ON, 1 << said.bits
        if leaned_on:
            self._last = number
        if unit[0] & 31 == KEY or last is None or said.gaps:
            return False
        step = (number - last) % numbers
        # 0 and 1 may also follow a picture that sets the count back, of which only the end of its header tells
        left_out = step > 1 and (number > 1 or step <= FEW)
        if left_out and not leaned_on:
            self._last = (number - 1) % numbers  # as decoders count on (7.4.3), so that a loss is told once
        return left_out
