"""MP4 and MOV from the outside, before FFmpeg allocates what they claim (ISO 14496-12)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tilery.outcomes import BadInput
from tilery.workloads.cctv.limits import MOST_FRAMES, MOST_INDEX, MOST_STREAMS
from tilery.workloads.cctv.ranges import Ranges

MOST_BOXES = 200_000
"""Of one level: fragments of a second make 345,600 boxes in 48 hours, but the walk ends at the first of them."""
_INNER = (b"trak", b"mdia", b"minf", b"stbl", b"dinf")
_ITSELF = 1
"""The flag of a data reference to the file that holds it (8.7.2)."""


@dataclass(frozen=True, slots=True)
class Box:
    kind: bytes
    start: int
    """First byte of the content."""
    stop: int


def check_boxes(file: Ranges, size: int) -> None:
    """`BadInput` for a file without its index, or with one that claims more than there can be, or that names other files."""
    for box in _boxes(file, 0, size):
        if box.kind == b"moov":
            if box.stop > size:
                raise BadInput(f"{file.name} is cut short within its index (moov): upload it again")
            if box.stop - box.start > MOST_INDEX:
                raise BadInput(
                    f"{file.name} has an index of {(box.stop - box.start) >> 20} MiB, more than {MOST_INDEX >> 20}; "
                    "cut it into clips"
                )
            _check_index(file, box)
            file.seek(0)
            return
    raise BadInput(
        f"{file.name} has no index (moov): the recording was not closed, or the upload was cut short; "
        "upload it again, or repair it"
    )


def _check_index(file: Ranges, moov: Box) -> None:
    tracks = 0
    inner = [moov]
    while inner:
        for box in _boxes(file, inner.pop().start, moov.stop):
            tracks += box.kind == b"trak"
            if box.kind in _INNER and box.stop <= moov.stop:
                inner.append(box)
            elif box.kind == b"stsz":
                _check_samples(file, box)
            elif box.kind == b"dref":
                _check_references(file, box)
    if tracks > MOST_STREAMS:
        raise BadInput(f"{file.name} has {tracks} streams, more than {MOST_STREAMS}; keep the video alone")


def _check_samples(file: Ranges, box: Box) -> None:
    head = _read(file, box.start, 12)
    each, count = int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big")
    if count > MOST_FRAMES or (not each and count * 4 > box.stop - box.start):
        raise BadInput(f"{file.name} claims a track of {count:,} samples, which cannot be; it is damaged")


def _check_references(file: Ranges, box: Box) -> None:
    count = int.from_bytes(_read(file, box.start + 4, 4), "big")
    for number, entry in enumerate(_boxes(file, box.start + 8, box.stop)):
        if number >= min(count, MOST_STREAMS):
            return
        if not _read(file, entry.start, 4)[3:4] or not _read(file, entry.start, 4)[3] & _ITSELF:
            raise BadInput(f"{file.name} keeps its pictures in another file, which is not followed; save it as one file")


def _boxes(file: Ranges, start: int, stop: int) -> Iterator[Box]:
    """The boxes that begin in [start, stop), as far as they make sense."""
    at = start
    for _ in range(MOST_BOXES):
        head = _read(file, at, 16)
        if at + 8 > stop or len(head) < 8:
            return
        length, header = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, header = int.from_bytes(head[8:16], "big"), 16
        elif length == 0:
            length = stop - at
        if length < header:
            return
        yield Box(head[4:8], at + header, at + length)
        at += length


def _read(file: Ranges, at: int, size: int) -> bytes:
    file.seek(at)
    data = file.read(size)
    while len(data) < size and (more := file.read(size - len(data))):
        data += more
    return data
