"""An append-only file of JSON lines: what happened in one execution (or one map run), in order.

A line is `{"type": ..., "t": seconds since the epoch, "p": scope path, ...}`; `type` comes first so that a reader can skip
lines without parsing them. The journal is the only truth: describe, history, resume and redrive read it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tilery.store.disk import DiskFull, room_on
from twin.integrations import Json

Record = dict[str, Json]

SYNC_EVERY_S = 0.05
"""Results are handed to the operating system at once (they survive a killed process) and to the disk at most this late."""


class Journal:
    """One open journal. Nothing is in the file before `flush`, nothing is sure to outlive a power cut before a sync."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lines: list[str] = []
        self._file: BinaryIO | None = path.open("ab", buffering=0)
        self._sync_timer: asyncio.TimerHandle | None = None
        self._full = False
        if (end := _end_of_whole_lines(path)) != path.stat().st_size:
            os.truncate(path, end)

    def append(self, record: Record) -> None:
        """Remember a record; it is written with the next flush."""
        self._lines.append(json.dumps(record, separators=(",", ":"), ensure_ascii=False))

    def flush(self) -> None:
        """Hand all records to the operating system. Raises `DiskFull`, then and ever after: a record that followed a torn or a
        lost one would tell a history that never was."""
        if self._full:
            raise self._no_room()
        if self._lines and self._file is not None:
            data = ("\n".join(self._lines) + "\n").encode()
            self._lines.clear()
            with self._room():
                while data:
                    data = data[self._file.write(data) :]

    def flush_soon_synced(self) -> None:
        """Flush, and sync to disk within SYNC_EVERY_S, one sync for all results of that time."""
        self.flush()
        if self._sync_timer is None:
            self._sync_timer = asyncio.get_running_loop().call_later(SYNC_EVERY_S, self._sync_later)

    def sync(self) -> None:
        """Flush and force the file to disk."""
        self.flush()
        if self._sync_timer is not None:
            self._sync_timer.cancel()
            self._sync_timer = None
        if self._file is not None:
            with self._room():
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Sync and close; a full disk, which whoever wrote last was told of, does not keep it open."""
        if self._file is not None:
            with contextlib.suppress(DiskFull):
                self.sync()
            self._file.close()
            self._file = None

    def _sync_later(self) -> None:
        with contextlib.suppress(DiskFull):  # the next flush says so
            self.sync()

    @contextlib.contextmanager
    def _room(self) -> Iterator[None]:
        try:
            with room_on(self.path):
                yield
        except DiskFull:
            self._full = True
            raise self._no_room() from None

    def _no_room(self) -> DiskFull:
        return DiskFull(
            f"the disk that holds {self.path.parent} is full; make room and start again: the run goes on from there"
        )


def read(path: Path, containing: bytes = b"") -> Iterator[Record]:
    """The whole records of a journal, in order; a torn last line is left out. `containing` skips lines without those bytes."""
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            if containing in line:
                yield json.loads(line)


def _end_of_whole_lines(path: Path) -> int:
    """The size in bytes up to and including the last newline: what follows it was torn by a kill."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0
