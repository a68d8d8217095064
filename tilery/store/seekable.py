"""A file that format readers seek in, of which only the asked bytes are fetched."""

from __future__ import annotations

import io
from abc import abstractmethod


class Seekable(io.RawIOBase):
    """Keeps the place; a subclass fetches.

    >>> class Letters(Seekable):
    ...     def fetch(self, start: int, stop: int) -> bytes:
    ...         return b"abcdef"[start:stop]
    >>> letters = Letters(6)
    >>> letters.seek(-2, io.SEEK_END), letters.read(), letters.read()
    (4, b'ef', b'')
    """

    def __init__(self, size: int) -> None:
        self._size, self._at = size, 0

    @abstractmethod
    def fetch(self, start: int, stop: int) -> bytes:
        """Bytes from `start`, before `stop`; fewer if it suits, but at least one."""

    def read(self, size: int = -1) -> bytes:
        stop = self._size if size < 0 else min(self._at + size, self._size)
        if stop <= self._at:
            return b""
        data = self.fetch(self._at, stop)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True
