"""The watched drop folder: says once of every file that lands there when it has arrived whole.

A file counts as uploaded when nobody has it open for writing (Linux tells, by refusing a read lease) and its size and
time of change have stood still for a moment. Where the lease is not to be had, it must stand still for longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import stat
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

TEMPORARY_ENDINGS = ("~", ".tmp", ".temp", ".part", ".partial", ".crdownload", ".filepart", ".swp")
OURS = ("README.md",)
"""Files that the twin itself puts into the drop folder."""
AT_ONCE = 64
"""Uploads told of at once: ingest has minutes for each, and its functions are as many as the machine has cores."""

Signature = tuple[int, int, int]
"""Inode, size in bytes, time of change in ns."""


@dataclass(slots=True)
class _Arriving:
    signature: Signature
    still_since: float


def is_temporary(path: Path) -> bool:
    """Whether a path below the drop folder is hidden, or what an editor or a download writes on the way to a file.

    >>> is_temporary(Path("acme/pointcloud/.site.laz.Xy12")), is_temporary(Path("acme/pointcloud/site.laz"))
    (True, False)
    """
    return (
        any(part.startswith(".") for part in path.parts) or path.name.lower().endswith(TEMPORARY_ENDINGS) or path.name in OURS
    )


class DropWatcher:
    """Calls `uploaded(key)` once for every file that arrives, or has arrived before, below `root/drop`.

    A file that changes later is a new upload. `settle_s` is how long a closed file must stand still, `unsure_s` how long
    one that may still be open, or is empty, must; every `rescan_s` the folder is walked, since events can be lost.
    """

    def __init__(
        self,
        root: Path,
        uploaded: Callable[[str], Awaitable[object]],
        *,
        settle_s: float = 0.3,
        unsure_s: float = 2.0,
        rescan_s: float = 20.0,
    ) -> None:
        self._root = root.resolve()
        self._folder = self._root / "drop"
        self._uploaded = uploaded
        self._settle_s = settle_s
        self._unsure_s = unsure_s
        self._rescan_s = rescan_s
        self._arriving: dict[Path, _Arriving] = {}
        self._told: dict[Path, Signature] = {}
        self._stirred = asyncio.Event()
        self._telling: set[asyncio.Task[object]] = set()
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Watch until cancelled."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(ValueError):  # not the main thread; then the lease is not asked for
            signal.signal(signal.SIGIO, signal.SIG_IGN)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._rescan())
            tasks.create_task(self._ripen())

    async def _listen(self) -> None:
        from watchfiles import awatch

        async for changes in awatch(self._folder, watch_filter=None, step=50, debounce=200, recursive=True):
            for _, name in changes:
                self._notice(Path(name))

    async def _rescan(self) -> None:
        while True:
            self._notice(self._folder)
            await asyncio.sleep(self._rescan_s)

    def _notice(self, path: Path) -> None:
        """Something happened at a path; a folder may have come with its files already in it."""
        now = asyncio.get_running_loop().time()
        for file, signature in _files(path):
            if is_temporary(file.relative_to(self._folder)) or self._told.get(file) == signature:
                continue
            known = self._arriving.get(file)
            if known is None or known.signature != signature:
                self._arriving[file] = _Arriving(signature, now)
        if self._arriving:
            self._stirred.set()

    async def _ripen(self) -> None:
        """Look at the arriving files again and again until they stand still."""
        while True:
            await self._stirred.wait()
            now = asyncio.get_running_loop().time()
            for file, arriving in list(self._arriving.items()):
                signature = _signature(file)
                if signature is None:
                    del self._arriving[file]
                elif signature != arriving.signature:
                    self._arriving[file] = _Arriving(signature, now)
                elif self._is_whole(file, signature, now - arriving.still_since):
                    del self._arriving[file]
                    self._tell(file, signature)
            if not self._arriving:
                self._stirred.clear()
            await asyncio.sleep(self._settle_s / 3)

    def _is_whole(self, file: Path, signature: Signature, still_s: float) -> bool:
        if still_s < self._settle_s:
            return False
        being_written = _being_written(file)
        if being_written is None or signature[1] == 0:
            return still_s >= self._unsure_s
        return not being_written

    def _tell(self, file: Path, signature: Signature) -> None:
        self._told[file] = signature
        key = file.relative_to(self._root).as_posix()
        task = asyncio.ensure_future(self._call(key))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _call(self, key: str) -> object:
        async with self._turns:
            return await self._uploaded(key)


def _files(path: Path) -> Iterator[tuple[Path, Signature]]:
    signature = _signature(path)
    if signature is not None:
        yield path, signature
    elif path.is_dir():
        for folder, _, names in os.walk(path):
            for name in names:
                inside = Path(folder, name)
                if (found := _signature(inside)) is not None:
                    yield inside, found


def _signature(path: Path) -> Signature | None:
    """What changes when a file does; None if there is no regular file."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _being_written(path: Path) -> bool | None:
    """Whether some process has the file open for writing; None if this system does not tell.

    fcntl(2): a read lease is refused with EAGAIN while the file is open for writing. It is given back at once; the signal
    to one who holds it is ignored.
    """
    if sys.platform != "linux" or signal.getsignal(signal.SIGIO) is not signal.SIG_IGN:
        return None
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    finally:
        os.close(descriptor)
    return False
