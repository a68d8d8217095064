"""The object-store port: what Tilery needs from S3, and all that it may use of it.

Keys are full keys that start with their area (`drop/`, `work/`, `results/`, `ledger/`); an adapter maps areas to buckets
or to folders. Writes are atomic: an object is there whole or not at all. Every method raises `keys.BadKey` for a key that
`keys.check` refuses or that lies in no area.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from tilery import keys

AREAS = ("drop", "work", "results", "ledger")


def area(key: str) -> str:
    """The area of a checked key; `keys.BadKey` if there is none."""
    first, slash, _ = keys.check(key).partition("/")
    if first not in AREAS or not slash:
        raise keys.BadKey(f"the key {key!r} is in no area; keys start with {', '.join(name + '/' for name in AREAS)}")
    return first


def area_of_prefix(prefix: str) -> str:
    """The area of a listing's prefix, which ends with one `/`; else `keys.BadKey`."""
    if not prefix.endswith("/"):
        raise keys.BadKey(f"the prefix {prefix!r} must end with '/', so that 'a/b/' does not list 'a/bc'")
    return area(prefix + "x")


class NotFound(Exception):
    """There is no object at this key (S3 answers 403 for this where listing is not allowed)."""


class Changed(Exception):
    """The object is no longer the version that was pinned when the run began."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored object. `version` pins its content: an S3 version id, or size and modification time on a directory."""

    key: str
    size: int
    etag: str
    version: str


@dataclass(frozen=True, slots=True)
class Digest:
    """A content digest: `algorithm` is `sha256` (hexadecimal), or what S3 keeps: `crc64nvme` or `sha256-of-parts` (base64), or
    for a large object without any of them the id of its `upload`."""

    algorithm: str
    value: str


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes [start, stop) of a stored object, for `compose`. `version` as in `Entry`; empty means the current one."""

    key: str
    start: int
    stop: int
    version: str = ""


Segment = bytes | Span


class Store(Protocol):
    """Everything the library does with objects. All methods may raise `NotFound`, `Changed` or `outcomes.Transient`."""

    def get(self, key: str, *, version: str = "") -> bytes: ...

    def get_range(self, key: str, start: int, stop: int, *, version: str = "") -> bytes:
        """Bytes [start, stop); shorter only at the end of the object."""

    def get_ranges(self, key: str, spans: Sequence[tuple[int, int]], *, version: str = "") -> list[bytes]:
        """Several ranges of one object at once, in order (adapters coalesce neighbours)."""

    def put(self, key: str, data: bytes) -> None:
        """Write or replace an object."""

    def create(self, key: str, data: bytes) -> bool:
        """Write only if there is nothing at `key`; False if there was."""

    def writer(self, key: str, *, size_hint: int = 0) -> AbstractContextManager[BinaryIO]:
        """A streaming writer of bounded memory that cannot seek; published on a clean exit, discarded on an exception.

        `size_hint` (bytes, an upper guess) scales the part size; without one an object on S3 can have 156 GiB.
        """

    def upload(self, path: str, key: str) -> None:
        """Put a local file of any size."""

    def download(self, key: str, path: str, *, version: str = "") -> None:
        """Copy an object of any size to a local file."""

    def list(self, prefix: str) -> Iterator[Entry]:
        """All objects below `prefix`, sorted by key. `prefix` ends with `/`. Only `drop/` entries need a version."""

    def head(self, key: str) -> Entry | None:
        """The object's entry, or None."""

    def compose(self, key: str, segments: Iterable[Segment]) -> None:
        """Write an object from literal bytes and spans of others; see `parts` for what S3 copies by itself.

        A span must lie inside its object, else `Changed`.
        """

    def digest(self, key: str, *, version: str = "") -> Digest:
        """A digest of the content: read on a directory, the stored checksum on S3 where there is one."""

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; missing ones are no error."""
