"""Shards: runs of whole chunks (or records) of a file, small enough for one worker and large enough for S3."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from tilery.workloads.pointcloud.las_header import LasFile

TARGET_BYTES = 32 << 20
LEAST_BYTES = 16 << 20
MOST_BYTES = 5 << 30
"""The largest part that S3 copies."""
MOST_SHARDS = 9_900
"""Parts of one multipart upload, less some for the header and what follows the points."""
BYTES_A_POINT = 4
"""A point counts at least this much, so that a file that compresses well has no shard of a billion points."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A run of points of one file: points [first, first + count), bytes [start, stop).

    For LAZ these are the chunks [first_chunk, stop_chunk); both are 0 for LAS. A file without a usable chunk table is one
    shard, `streamed`, whose bytes are everything between the chunk table pointer and the extended records.
    """

    id: str
    file: int
    """Index of the file in the drop."""
    first: int
    count: int
    start: int
    stop: int
    first_chunk: int = 0
    stop_chunk: int = 0
    streamed: bool = False

    def as_json(self) -> dict[str, Any]:
        """The shard as an item's fields; `Shard(**fields)` is its inverse."""
        return asdict(self)


def shards_of(file: LasFile, index: int = 0, target_bytes: int = TARGET_BYTES, least_bytes: int = LEAST_BYTES) -> list[Shard]:
    """Cut a file into shards of about `target_bytes`, in order and without gaps.

    `target_bytes` is kept within `least_bytes` and 5 GiB, and raised where the file would have more than 9,900 shards.
    """
    target = max(least_bytes, min(target_bytes, MOST_BYTES), -(-_weight(file) // (MOST_SHARDS // 2 - 1)))
    if file.slow:
        start, stop = file.offset_to_points + 8, file.points_stop
        return [Shard(_id(index, 0), index, 0, file.count, start, stop, 0, len(file.chunks), streamed=True)]
    runs = _runs_of_chunks(file, target) if file.chunks else _runs_of_records(file, target)
    return [
        Shard(_id(index, number), index, first, count, start, stop, first_chunk, stop_chunk)
        for number, (first, count, start, stop, first_chunk, stop_chunk) in enumerate(runs)
    ]


def _id(file: int, number: int) -> str:
    return f"f{file:05d}-s{number:04d}"


def _weight(file: LasFile) -> int:
    """At least half of what the shards' weights add up to, since a chunk weighs its bytes or its points."""
    return max(file.points_stop - file.offset_to_points, file.count * BYTES_A_POINT)


def _runs_of_records(file: LasFile, target: int) -> Iterator[tuple[int, int, int, int, int, int]]:
    records = max(1, target // file.point_size)
    for first in range(0, file.count, records):
        count = min(records, file.count - first)
        start = file.offset_to_points + first * file.point_size
        yield first, count, start, start + count * file.point_size, 0, 0


def _runs_of_chunks(file: LasFile, target: int) -> Iterator[tuple[int, int, int, int, int, int]]:
    first = first_chunk = count = weight = 0
    last = len(file.chunks) - 1
    for number, chunk in enumerate(file.chunks):
        count += chunk.points
        weight += max(chunk.stop - chunk.start, chunk.points * BYTES_A_POINT)
        if number == last or (weight >= target and first + count < file.count):
            yield first, count, file.chunks[first_chunk].start, chunk.stop, first_chunk, number + 1
            first, first_chunk, count, weight = first + count, number + 1, 0, 0
