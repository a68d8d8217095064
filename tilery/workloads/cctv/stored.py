"""An object of the store as a file that Parquet's reader seeks in: it takes the end and the row groups it needs, no more."""

from __future__ import annotations

import io

from tilery.outcomes import Transient
from tilery.store.port import Store


class Stored(io.RawIOBase):
    """Reads by ranges; nothing is kept."""

    def __init__(self, store: Store, key: str) -> None:
        entry = store.head(key)
        if entry is None:
            raise Transient(f"a file of the run is not there: {key}")
        self._store, self._key, self._size, self._at = store, key, entry.size, 0
        self.fetched = 0
        """Bytes read so far."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        stop = self._size if size < 0 else min(self._at + size, self._size)
        if stop <= self._at:
            return b""
        data = self._store.get_range(self._key, self._at, stop)
        self._at += len(data)
        self.fetched += len(data)
        return data
