"""As much of the syntax of H.264 (ISO 14496-10) as it takes to read the numbers of its pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

PARAMETERS = 7
"""nal_unit_type of a sequence parameter set."""
WITH_CHROMA = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
"""Profiles whose parameter sets say how colours are sampled."""
LONGEST_HEAD = 1024
"""Bytes of a unit that are kept: more than a parameter set has."""
NUMBERED = 48
"""Bytes of a slice in which the number of its picture is."""


@dataclass(frozen=True, slots=True)
class Numbering:
    """What a sequence parameter set says about the numbers of pictures."""

    bits: int
    planes: bool
    """Colours are coded apart, and a slice says which one it is of."""
    gaps: bool
    """Numbers may be left out."""


def units(data: bytes, size: int) -> Iterator[bytes]:
    """The heads of the units of some bytes, which begin with a length of `size` bytes, or (0) with a start code; none is empty.

    >>> [unit[:1] for unit in units(bytes([0, 0, 0, 2, 9, 16, 0, 0, 0, 2, 1, 77]), 4)]
    [b'\\t', b'\\x01']
    """
    at = 0
    while True:
        if size:
            first = at + size
            at = first + int.from_bytes(data[at:first])
        else:
            first = at = data.find(b"\0\0\1", at) + 3
            if first < 3:
                return
        if first >= len(data):
            return
        if head := data[first : min(first + LONGEST_HEAD, at) if size else first + LONGEST_HEAD]:
            yield head


def records(extradata: bytes) -> Iterator[bytes]:
    """The sequence parameter sets of an avcC box (ISO 14496-15 5.3.3.1)."""
    at = 6
    for _ in range(extradata[5] & 31 if len(extradata) > 5 else 0):
        length = int.from_bytes(extradata[at : at + 2])
        yield extradata[at + 2 : at + 2 + length]
        at += 2 + length


class Bits:
    """Reads the numbers of a unit (ISO 14496-10 9.1). IndexError beyond its end."""

    def __init__(self, unit: bytes) -> None:
        plain = unit.replace(b"\0\0\3", b"\0\0")
        self._bits, self._at = f"{int.from_bytes(plain):0{8 * len(plain)}b}", 0

    def fixed(self, count: int) -> int:
        if self._at + count > len(self._bits):
            raise IndexError("a unit ends within a number")
        self._at += count
        return int(self._bits[self._at - count : self._at] or "0", 2)

    def golomb(self) -> int:
        zeros = self._bits.find("1", self._at) - self._at
        if zeros < 0:
            raise IndexError("a unit ends within a number")
        self._at += zeros
        return self.fixed(zeros + 1) - 1

    def signed(self) -> int:
        value = self.golomb()
        return (value + 1) // 2 if value % 2 else -value // 2


def numbering(unit: bytes) -> Numbering | None:
    """What a sequence parameter set says (7.3.2.1.1); None if it is none that can be read."""
    bits = Bits(unit)
    try:
        bits.fixed(8)
        profile = bits.fixed(8)
        bits.fixed(16)
        bits.golomb()
        planes = False
        if profile in WITH_CHROMA:
            chroma = bits.golomb()
            planes = chroma == 3 and bool(bits.fixed(1))
            bits.golomb(), bits.golomb()
            bits.fixed(1)
            if bits.fixed(1):
                for matrix in range(12 if chroma == 3 else 8):
                    if bits.fixed(1):
                        _pass_over(bits, 16 if matrix < 6 else 64)
        width = bits.golomb() + 4
        order = bits.golomb()
        if order == 0:
            bits.golomb()
        elif order == 1:
            bits.fixed(1)
            bits.signed(), bits.signed()
            for _ in range(min(bits.golomb(), 255)):
                bits.signed()
        bits.golomb()
        return Numbering(width, planes, bool(bits.fixed(1))) if width <= 16 else None
    except IndexError:
        return None


def _pass_over(bits: Bits, count: int) -> None:
    """A scaling list (7.3.2.1.1.1)."""
    last = following = 8
    for _ in range(count):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def picture_number(unit: bytes, said: Numbering) -> int | None:
    """`frame_num` of the picture of a slice (7.3.3)."""
    bits = Bits(unit[1:NUMBERED])
    try:
        bits.golomb(), bits.golomb(), bits.golomb()
        if said.planes:
            bits.fixed(2)
        return bits.fixed(said.bits)
    except IndexError:
        return None
