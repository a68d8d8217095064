"""How `compose` becomes the parts of an S3 multipart upload.

S3 wants 1 to 10,000 parts of 5 MiB to 5 GiB, only the last may be smaller. A long span is copied inside S3 (UploadPartCopy);
literals and what is too short to be a part of its own are joined, with the first bytes of the next span, into a part that
is uploaded. So at most one threshold of bytes passes through the caller per literal or short span.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise

from tilery.store.port import Segment, Span

MIB = 1 << 20
SMALLEST = 5 * MIB
LONGEST_COPY = 1024 * MIB
"""S3 allows 5 GiB; shorter pieces are copied side by side."""
MOST = 10_000

Part = list[Segment]
"""Segments to join: one span alone of at least the threshold is copied, anything else is read and uploaded."""


def length(segment: Segment) -> int:
    return len(segment) if isinstance(segment, bytes) else segment.stop - segment.start


def copied(part: Part) -> Span | None:
    """The span that S3 can copy by itself, or None for a part that has to be uploaded."""
    first = part[0]
    return first if len(part) == 1 and isinstance(first, Span) and length(first) >= SMALLEST else None


def plan(segments: Iterable[Segment], *, smallest: int = SMALLEST, most: int = MOST) -> list[Part]:
    """The parts, in order; the threshold grows from `smallest` bytes until `most` parts suffice."""
    merged = list(merge(segments))
    while len(parts := list(_parts(merged, smallest))) > most:
        smallest *= 2
    return parts


def merge(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Drop empty segments and join spans that continue each other."""
    last: Span | None = None
    for segment in segments:
        if length(segment) <= 0:
            continue
        if (
            last
            and isinstance(segment, Span)
            and (last.key, last.version, last.stop) == (segment.key, segment.version, segment.start)
        ):
            last = replace(last, stop=segment.stop)
            continue
        if last:
            yield last
        last = segment if isinstance(segment, Span) else None
        if isinstance(segment, bytes):
            yield segment
    if last:
        yield last


def _parts(segments: list[Segment], smallest: int) -> Iterator[Part]:
    waiting: Part = []
    missing = smallest
    for segment in segments:
        rest: Segment | None = segment
        while rest is not None:
            if not waiting and isinstance(rest, Span) and length(rest) >= smallest:
                yield from _pieces(rest)
                break
            head, rest = _cut(rest, missing)
            waiting.append(head)
            missing -= length(head)
            if not missing:
                yield waiting
                waiting, missing = [], smallest
    if waiting:
        yield waiting


def _cut(segment: Segment, size: int) -> tuple[Segment, Segment | None]:
    """The first `size` bytes and the rest."""
    if length(segment) <= size:
        return segment, None
    if isinstance(segment, bytes):
        return segment[:size], segment[size:]
    middle = segment.start + size
    return replace(segment, stop=middle), replace(segment, start=middle)


def _pieces(span: Span) -> Iterator[Part]:
    """Parts of nearly equal spans, none longer than `LONGEST_COPY`."""
    size = length(span)
    count = -(-size // LONGEST_COPY)
    edges = [span.start + size * i // count for i in range(count + 1)]
    return ([replace(span, start=start, stop=stop)] for start, stop in pairwise(edges))
