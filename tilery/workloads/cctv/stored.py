"""An object of the store as a file that Parquet's reader seeks in: it takes the end and the row groups it needs, no more."""

from __future__ import annotations

from tilery.outcomes import Transient
from tilery.store.port import Store
from tilery.store.seekable import Seekable


class Stored(Seekable):
    """Reads by ranges; nothing is kept."""

    def __init__(self, store: Store, key: str) -> None:
        entry = store.head(key)
        if entry is None:
            raise Transient(f"a file of the run is not there: {key}")
        super().__init__(entry.size)
        self._store, self._key = store, key
        self.fetched = 0
        """Bytes read so far."""

    def fetch(self, start: int, stop: int) -> bytes:
        data = self._store.get_range(self._key, start, stop)
        self.fetched += len(data)
        return data
