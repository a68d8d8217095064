"""An object of the store as the file that FFmpeg reads: by ranges, a bounded part of it in memory."""

from __future__ import annotations

from collections import OrderedDict

from tilery.run import Source
from tilery.store.port import Store

KIB = 1 << 10
WINDOWS = 4
"""Ranges kept: containers jump between an index, pictures and sound."""


class Ranges:
    """Reads `source` where it lies, its version pinned. Reading on from the last range doubles the next one."""

    def __init__(self, store: Store, source: Source, *, least: int = 64 * KIB, most: int = 4096 * KIB) -> None:
        self.name = source.name
        self.fetched = 0
        """Bytes read from the store so far."""
        self._store, self._source = store, source
        self._least, self._most = least, most
        self._at = 0
        self._next = least
        self._windows: OrderedDict[int, bytes] = OrderedDict()

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, fewer where a range ends; none only at the end."""
        if size < 0:
            size = self._source.size - self._at
        if size <= 0 or self._at >= self._source.size:
            return b""
        start = self._window(self._at)
        data = self._windows[start]
        self._windows.move_to_end(start)
        found = data[self._at - start : self._at - start + size]
        self._at += len(found)
        return found

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._source.size)[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def _window(self, at: int) -> int:
        """The start of a kept range that holds byte `at`, read now if need be."""
        for start, data in self._windows.items():
            if start <= at < start + len(data):
                return start
        follows = any(start + len(data) == at for start, data in self._windows.items())
        self._next = min(2 * self._next, self._most) if follows else self._least
        stop = min(at + self._next, self._source.size)
        data = self._store.get_range(self._source.key, at, stop, version=self._source.version)
        self.fetched += len(data)
        if not data:
            raise EOFError
        self._windows[at] = data
        while len(self._windows) > WINDOWS:
            self._windows.popitem(last=False)
        return at
