"""The hierarchy of a COPC file, which says at which bytes each octree node's chunk lies, after the chunks have moved.

Source: COPC specification 1.0: the info VLR ("copc", 1) and the hierarchy EVLR ("copc", 1000).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping

from tilery.outcomes import BadInput

USER_ID = "copc"
INFO, HIERARCHY = 1, 1000
INFO_SIZE = 160
ROOT_AT = 40
"""Offset in the info VLR of the root page's offset and size (two uint64)."""
ENTRY = struct.Struct("<iiiiQii")

Place = tuple[int, int]
"""(offset in the file, bytes)."""


def root_page(info: bytes) -> Place:
    """Where the root page of the hierarchy is, from the info VLR."""
    offset, size = struct.unpack_from("<QQ", info, ROOT_AT)
    return offset, size


def moved_hierarchy(
    name: str, data: bytes, data_start: int, root: Place, chunks: Mapping[int, Place], moved: Callable[[int], int]
) -> bytes:
    """The hierarchy EVLR's data with every node's offset and size as in `chunks` (old offset -> new place).

    `data_start` is where the data begins in the old file; `moved` maps an old offset behind the points to the new one.
    Raises `BadInput` where a page or node points elsewhere than at a page or a chunk.
    """
    new = bytearray(data)
    for at, (level, x, y, z, offset, size, points) in _entries(name, data, data_start, root):
        if points == -1:
            offset = moved(offset)
        elif size > 0:
            if offset not in chunks:
                raise BadInput(
                    f"{name} is not valid COPC: node {level}-{x}-{y}-{z} points at byte {offset:,}, where no chunk starts. "
                    "Write it again, or convert it to plain LAZ."
                )
            offset, size = chunks[offset]
        ENTRY.pack_into(new, at, level, x, y, z, offset, size, points)
    return bytes(new)


def _entries(name: str, data: bytes, data_start: int, root: Place) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Every entry of every page: (offset in `data`, fields)."""
    pages, seen = [root], set[int]()
    while pages:
        offset, size = pages.pop()
        start = offset - data_start
        if start < 0 or size < 0 or size % ENTRY.size or start + size > len(data):
            raise BadInput(f"{name} is not valid COPC: a hierarchy page lies outside the hierarchy. Write it again.")
        if offset in seen:
            raise BadInput(f"{name} is not valid COPC: a hierarchy page is listed twice. Write it again.")
        seen.add(offset)
        for at in range(start, start + size, ENTRY.size):
            entry = ENTRY.unpack_from(data, at)
            if entry[6] == -1:
                pages.append((entry[4], entry[5]))
            yield at, entry
