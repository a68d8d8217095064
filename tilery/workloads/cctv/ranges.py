"""An object of the store as the file that FFmpeg reads: by ranges, a bounded part of it in memory."""

from __future__ import annotations

from collections import OrderedDict

from tilery.run import Source
from tilery.store.port import Store
from tilery.store.seekable import Seekable

KIB = 1 << 10
WINDOWS = 4
"""Ranges kept: containers jump between an index, pictures and sound."""


class Ranges(Seekable):
    """Reads `source` where it lies, its version pinned. Reading on from the last range doubles the next one."""

    def __init__(self, store: Store, source: Source, *, least: int = 64 * KIB, most: int = 4096 * KIB) -> None:
        super().__init__(source.size)
        self.name = source.name
        self.fetched = 0
        """Bytes read from the store so far."""
        self._store, self._source = store, source
        self._least, self._most = least, most
        self._next = least
        self._windows: OrderedDict[int, bytes] = OrderedDict()

    def fetch(self, start: int, stop: int) -> bytes:
        window = self._window(start)
        self._windows.move_to_end(window)
        return self._windows[window][start - window : stop - window]

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
