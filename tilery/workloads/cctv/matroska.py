"""An index for Matroska files that have none, as of recorders that were cut off and of browsers: made of their clusters.

A file is a row of clusters, each with its time and, mostly, its length, so that a few bytes of each tell where all of them are
(RFC 9559, 5.1.3). FFmpeg is given the file with such an index (Cues, 5.1.5) put in front of the first cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from tilery.run import Source
from tilery.store.port import Store
from tilery.workloads.cctv.ranges import KIB, Ranges

SEGMENT, CLUSTER, CUES, TRACKS = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75", b"\x1c\x53\xbb\x6b", b"\x16\x54\xae\x6b"
TRACK, NUMBER, KIND = b"\xae", b"\xd7", b"\x83"
VIDEO = 1
TIMESTAMP = b"\xe7"
CHECKSUM, VOID = b"\xbf", b"\xec"
CUE_POINT, CUE_TIME, CUE_POSITIONS, CUE_TRACK, CUE_PLACE = b"\xbb", b"\xb3", b"\xb7", b"\xf7", b"\xf1"
HEAD = 64
"""Bytes in which an element's own head is, and of a cluster its time."""
MOST_ELEMENTS = 20_000
"""That are looked at, clusters nearly all, a read of the store for each."""
MOST_HEAD = 16 << 20
"""Bytes before the first cluster, which are kept in memory."""
LONGEST_NUMBER = 8
"""Bytes (RFC 8794, 7.2)."""
MOST_ENTRIES, APART = 1000, 1000
"""Of the index; and units of time (milliseconds, as nearly all files have them) between two, at least."""
Clusters = Sequence[Sequence[int]]
"""Time (units of the file) and place (bytes from the file's beginning) of each, in order."""


def clusters(store: Store, source: Source) -> Clusters:
    """Those of a file that are worth an entry; none where one does not tell its length, or times go back, or before them lies
    more than `MOST_HEAD`."""
    file = Ranges(store, source, least=4 * KIB, most=4 * KIB)
    at, within, found = 0, False, list[tuple[int, int]]()
    for _ in range(MOST_ELEMENTS):
        file.seek(at)
        head = _read(file, HEAD)
        if (element := _element(head, 0)) is None:
            break
        name, begins, length = element
        if name == SEGMENT and not within:
            at, within = at + begins, True
            continue
        if name == CLUSTER and not found and (not within or at > MOST_HEAD):
            return []
        if name == CLUSTER and (time := _time(head[begins:])) is not None:
            found.append((time, at))
        if length is None or (name == CLUSTER and not found):
            return []
        at += begins + length
    if any(later[0] < earlier[0] for earlier, later in pairwise(found)):
        return []
    kept = found[:1]
    apart = max(APART, (found[-1][0] - found[0][0]) // MOST_ENTRIES) if found else APART
    for one in found[1:]:
        if one[0] - kept[-1][0] >= apart:
            kept.append(one)
    return kept


class Indexed(Ranges):
    """A file with an index that it has not, put before its first cluster; of its segment the length is taken away."""

    def __init__(self, store: Store, source: Source, known: Clusters, *, most: int = 4096 * KIB) -> None:
        super().__init__(store, source, most=most)
        first = known[0][1]
        head = b""
        while len(head) < first:
            head += super().fetch(len(head), first)
        place, begins = next((at, begins) for name, at, begins, _ in _elements(head) if name == SEGMENT)
        width = begins - place - len(SEGMENT)
        track = video_track(head[begins:])
        unknown = ((1 << 7 * width) - 1 | 1 << 7 * width).to_bytes(width)
        cues = b""
        for _ in range(2):  # places are counted with the index, whose length does not depend on them
            moved = len(cues) - begins
            cues = _made(CUES, b"".join(_entry(time, at + moved, track) for time, at in known))
        self._head = head[: place + len(SEGMENT)] + unknown + head[begins:] + cues
        self._more = len(self._head) - first
        self._size = source.size + self._more

    def fetch(self, start: int, stop: int) -> bytes:
        if start < len(self._head):
            return self._head[start:stop]
        return super().fetch(start - self._more, stop - self._more)


def video_track(head: bytes) -> int:
    """The number of the first track of moving pictures, by the segment's elements before a cluster; 1 where none is told."""
    for name, track in _inside(dict(_inside(head)).get(TRACKS, b"")):
        told = {part: int.from_bytes(value[:LONGEST_NUMBER]) for part, value in _inside(track)} if name == TRACK else {}
        if told.get(KIND) == VIDEO:
            return told.get(NUMBER, 1)
    return 1


def _inside(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of the elements that follow each other, as far as they are whole."""
    for name, _, begins, length in _elements(data):
        if length is not None:
            yield name, data[begins : begins + length]


def _elements(data: bytes) -> Iterator[tuple[bytes, int, int, int | None]]:
    """Name and place of the elements that follow each other, where their contents begin, and their lengths."""
    at: int | None = 0
    while at is not None and (element := _element(data, at)) is not None:
        name, begins, length = element
        yield name, at, begins, length
        at = None if length is None else begins + length


def _entry(time: int, place: int, track: int) -> bytes:
    where = _made(CUE_TRACK, track.to_bytes(8)) + _made(CUE_PLACE, place.to_bytes(8))
    return _made(CUE_POINT, _made(CUE_TIME, time.to_bytes(8)) + _made(CUE_POSITIONS, where))


def _made(name: bytes, content: bytes) -> bytes:
    return name + (1 << 56 | len(content)).to_bytes(8) + content


def _read(file: Ranges, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := file.read(count - len(data))):
        data += more
    return data


def _element(data: bytes, at: int) -> tuple[bytes, int, int | None] | None:
    """Name of the element at a place, where its content begins, and how long that is (None: not told)."""
    if at + 2 > len(data) or not data[at] >> 4:
        return None
    wide = 9 - data[at].bit_length()
    if at + wide >= len(data) or not data[at + wide]:
        return None
    width = 9 - data[at + wide].bit_length()
    if at + wide + width > len(data):
        return None
    length = int.from_bytes(data[at + wide : at + wide + width]) & ((1 << 7 * width) - 1)
    return data[at : at + wide], at + wide + width, None if length == (1 << 7 * width) - 1 else length


def _time(content: bytes) -> int | None:
    """Of the cluster whose content begins so."""
    at = 0
    while (element := _element(content, at)) is not None:
        name, begins, length = element
        if name == TIMESTAMP and length and length <= LONGEST_NUMBER:
            return int.from_bytes(content[begins : begins + length])
        if name not in (CHECKSUM, VOID) or length is None:
            return None
        at = begins + length
    return None
