"""Blobs named by their SHA-256, in packs of some MiB named by theirs.

Below one prefix of the store:
  packs/SHA      the pack: a head, blobs, and their list
  index/SHA      the same list, so that finding a blob reads no pack; written after its pack
  recipes/NAME   what is kept: it names blobs, and is written after all of them are indexed
  condemned/SHA  a pack that no recipe needed when it was looked at, and the moment of that

Nothing is ever changed in place, so a process may be killed anywhere: what it leaves is a pack or a blob that no recipe names,
which `collect` takes away later. Writers need no lock: two that write the same blob leave it twice, until it is collected.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tilery import keys
from tilery.outcomes import BadInput, Transient
from tilery.store.port import NotFound, Store

MIB = 1 << 20
PACK_BYTES = 16 * MIB
"""A pack is closed when it has as many; the last one of a writer has fewer."""
LARGEST_PACK = 64 * MIB
WRITER_S = 7 * 3600.0
"""A writer may work so long after it learned what is there; longer than a job may run."""
AT_ONCE = 16
_HEAD = b"TLRYPCK1"
_SALT = 16
_LENGTH = 8

Clock = Callable[[], float]


class Damaged(Exception):
    """A stored blob is not what its name says, or is gone."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a blob lies: bytes [start, stop) of a pack."""

    pack: str
    start: int
    stop: int


def prefix(tenant: str) -> str:
    """Where the frames of a tenant are, of all its cameras; a place that does not expire."""
    return f"results/{tenant}/cctv/_frames"


class Packs:
    """The packs below `prefix` (no trailing slash), as they were when this was made or `refresh`ed."""

    def __init__(self, store: Store, prefix: str, *, writer_s: float = WRITER_S, clock: Clock = time.time) -> None:
        self.store, self.prefix = store, prefix
        self.writer_s, self.clock = writer_s, clock
        self.places: dict[str, list[Place]] = {}
        self.condemned: frozenset[str] = frozenset()
        self.since = 0.0
        self._read: set[str] = set()
        self.refresh()

    def key(self, *names: str) -> str:
        return keys.join(self.prefix, *names)

    def names(self, folder: str) -> Iterator[str]:
        """Names below one of the folders, sorted."""
        head = f"{self.prefix}/{folder}/"
        return (entry.key.removeprefix(head) for entry in self.store.list(head))

    def refresh(self) -> None:
        """Learn what is there now. Condemned packs are read from, but nothing new is built on them."""
        self.since = self.clock()
        self.condemned = frozenset(self.names("condemned"))
        present = list(self.names("index"))
        for gone in self._read.difference(present):
            self._forget(gone)
        fresh = [name for name in present if name not in self._read]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for name, listed in zip(fresh, pool.map(self._index, fresh), strict=True):
                if listed is not None:
                    self.learn(name, listed)

    def learn(self, pack: str, listed: dict[str, list[int]]) -> None:
        self._read.add(pack)
        for digest, (start, stop) in listed.items():
            self.places.setdefault(digest, []).append(Place(pack, start, stop))

    def has(self, digest: str) -> bool:
        """Whether a new recipe may name this blob as it lies."""
        return any(place.pack not in self.condemned for place in self.places.get(digest, ()))

    def get(self, digest: str) -> bytes:
        """A blob, verified. Raises `Damaged`."""
        for place in self.places.get(digest, ()):
            try:
                data = self.store.get_range(self.key("packs", place.pack), place.start, place.stop)
            except NotFound:
                continue
            if hashlib.sha256(data).hexdigest() == digest:
                return data
        raise Damaged(f"the blob {digest} below {self.prefix} is damaged or gone")

    def _index(self, pack: str) -> dict[str, list[int]] | None:
        try:
            return read_list(self.store.get(self.key("index", pack)))
        except NotFound:  # collected since it was listed
            return None

    def _forget(self, pack: str) -> None:
        self._read.discard(pack)
        for digest in list(self.places):
            left = [place for place in self.places[digest] if place.pack != pack]
            if left:
                self.places[digest] = left
            else:
                del self.places[digest]


class Writer:
    """Adds blobs. A context manager: on a clean exit all that was added is in the store; recipes may name it then."""

    def __init__(self, packs: Packs, *, pack_bytes: int = PACK_BYTES) -> None:
        packs.refresh()
        self._packs, self._pack_bytes = packs, pack_bytes
        self._since = packs.since
        self._blobs: dict[str, bytes] = {}
        self._size = 0
        self.added = 0
        """Bytes that were not there before."""
        self.shared = 0
        """Bytes that were there already."""

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self.flush()

    def add(self, data: bytes) -> str:
        """The blob's name."""
        if len(data) > LARGEST_PACK:
            raise ValueError(f"a blob of {len(data)} bytes does not fit in a pack")
        digest = hashlib.sha256(data).hexdigest()
        if digest in self._blobs or self._packs.has(digest):
            self.shared += len(data)
            return digest
        if self._size and self._size + len(data) > LARGEST_PACK:
            self.flush()
        self._blobs[digest] = data
        self._size += len(data)
        self.added += len(data)
        if self._size >= self._pack_bytes:
            self.flush()
        return digest

    def discard(self) -> None:
        """Forget what is not in the store yet."""
        self._blobs, self._size = {}, 0

    def copy(self, digest: str) -> None:
        """Store a blob a second time, in a new pack."""
        if digest not in self._blobs:
            self._blobs[digest] = data = self._packs.get(digest)
            self._size += len(data)
            if self._size >= self._pack_bytes:
                self.flush()

    def keep(self, name: str, recipe: dict[str, Any]) -> None:
        """Write a recipe; `recipe["blobs"]` are all those that it needs, added before. Idempotent."""
        self.flush()
        missing = [digest for digest in recipe["blobs"] if not self._packs.places.get(digest)]
        if missing:
            raise ValueError(f"{len(missing)} blobs of the recipe {name} are not stored")
        self._check_age()
        self._packs.store.put(self._packs.key("recipes", f"{name}.json"), json.dumps(recipe, sort_keys=True).encode())

    def _check_age(self) -> None:
        if self._packs.clock() - self._since > self._packs.writer_s:
            raise Transient("storing frames took longer than stored frames are sure to stay; it is done again")

    def flush(self) -> None:
        """Store what was added. Raises `Transient` when this writer is too old to know what may be built on."""
        self._check_age()
        if not self._blobs:
            return
        content, listed = packed(self._blobs, bytes(_SALT))
        name = hashlib.sha256(content).hexdigest()
        packs = self._packs
        if packs.store.head(packs.key("condemned", name)) is not None:  # that pack may go at any moment: make another
            content, listed = packed(self._blobs, secrets.token_bytes(_SALT))
            name = hashlib.sha256(content).hexdigest()
        packs.store.create(packs.key("packs", name), content)
        packs.store.create(packs.key("index", name), write_list(listed))
        packs.learn(name, listed)
        self._blobs, self._size = {}, 0


def packed(blobs: dict[str, bytes], salt: bytes) -> tuple[bytes, dict[str, list[int]]]:
    """A pack and its list: name of a blob -> [start, stop)."""
    parts, at = [_HEAD, salt], len(_HEAD) + _SALT
    listed: dict[str, list[int]] = {}
    for digest, data in blobs.items():
        parts.append(data)
        listed[digest] = [at, at + len(data)]
        at += len(data)
    tail = write_list(listed)
    return b"".join([*parts, tail, len(tail).to_bytes(_LENGTH, "little"), _HEAD]), listed


def list_of(content: bytes) -> dict[str, list[int]]:
    """The list within a pack: what its index object should say. Raises `Damaged`."""
    tail = len(_HEAD) + _LENGTH
    if len(content) < tail or content[:8] != _HEAD or content[-8:] != _HEAD:
        raise Damaged("this is no pack, or it is cut short")
    length = int.from_bytes(content[-tail : -len(_HEAD)], "little")
    return read_list(content[-tail - length : -tail])


def write_list(listed: dict[str, list[int]]) -> bytes:
    return json.dumps(listed, separators=(",", ":")).encode()


def read_list(data: bytes) -> dict[str, list[int]]:
    value: dict[str, list[int]] = json.loads(data)
    return value


def read_recipe(packs: Packs, name: str) -> dict[str, Any]:
    try:
        recipe: dict[str, Any] = json.loads(packs.store.get(packs.key("recipes", f"{name}.json")))
    except NotFound:
        raise BadInput(f"nothing is stored under {name!r}; look at what lies below {packs.prefix}/recipes/") from None
    return recipe


def reindex(packs: Packs) -> int:
    """Write the index objects that are missing, from the packs themselves; how many there were. Raises `Damaged`."""
    lost = sorted(set(packs.names("packs")) - set(packs.names("index")))
    for name in lost:
        listed = list_of(packs.store.get(packs.key("packs", name)))
        packs.store.create(packs.key("index", name), write_list(listed))
    return len(lost)
