"""A store in a folder: the key `drop/acme/pointcloud/a.laz` is the file ROOT/drop/acme/pointcloud/a.laz.

Plain system calls rather than obstore's LocalStore, which can neither pin a version nor copy a byte range. A file being
written lies in ROOT/.staging, which no key can name, and is renamed when it is whole.
"""

import errno
import hashlib
import os
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from tilery.outcomes import BadInput
from tilery.store.disk import room_on
from tilery.store.port import Changed, Digest, Entry, NotFound, Segment, area, area_of_prefix
from tilery.store.sequential import Sequential

MIB = 1 << 20
ABANDONED_S = 24 * 3600
"""A staged file untouched for so long belonged to a process that was killed."""

NO_OBJECT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP}
NO_KERNEL_COPY = {errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}


class DirectoryStore:
    """The store port on a folder. `fsync` makes each write survive a power cut; a killed process loses nothing without it."""

    def __init__(self, root: str | os.PathLike[str], *, fsync: bool = False) -> None:
        self.root = Path(root).absolute()
        self._staging = self.root / ".staging"
        self._fsync = fsync
        with room_on(self.root):
            self._staging.mkdir(parents=True, exist_ok=True)
        self._sweep()

    def get(self, key: str, *, version: str = "") -> bytes:
        with self._open(key, version) as file:
            return file.read()

    def get_range(self, key: str, start: int, stop: int, *, version: str = "") -> bytes:
        return self.get_ranges(key, [(start, stop)], version=version)[0]

    def get_ranges(self, key: str, spans: Sequence[tuple[int, int]], *, version: str = "") -> "list[bytes]":
        with self._open(key, version) as file:
            size = os.fstat(file.fileno()).st_size
            return [_read(file, start, min(stop, size)) for start, stop in spans]

    def put(self, key: str, data: bytes) -> None:
        with self._staged(key) as target:
            _append(target, data)

    def create(self, key: str, data: bytes) -> bool:
        try:
            with self._staged(key, publish=_link) as target:
                _append(target, data)
        except FileExistsError:
            return False
        return True

    @contextmanager
    def writer(self, key: str, *, size_hint: int = 0) -> Iterator[BinaryIO]:
        with self._staged(key) as target, open(target, "wb", buffering=MIB, closefd=False) as file:
            yield cast(BinaryIO, Sequential(file.write))

    def upload(self, path: str, key: str) -> None:
        """A copy (a clone where the file system can), so that later changes of the source do not reach the store."""
        with open(path, "rb") as source, self._staged(key) as target:
            _copy(source.fileno(), target, 0, os.fstat(source.fileno()).st_size)

    def download(self, key: str, path: str, *, version: str = "") -> None:
        part = f"{path}.{uuid.uuid4().hex}.part"
        try:
            with self._open(key, version) as source, room_on(path), open(part, "xb", buffering=0) as target:
                _copy(source.fileno(), target.fileno(), 0, os.fstat(source.fileno()).st_size)
            os.replace(part, path)
        finally:
            Path(part).unlink(missing_ok=True)

    def list(self, prefix: str) -> Iterator[Entry]:
        area_of_prefix(prefix)
        return _walk(self.root / prefix, prefix)

    def head(self, key: str) -> Entry | None:
        try:
            status = os.stat(self._path(key))
        except NO_OBJECT:
            return None
        return _entry(key, status) if stat.S_ISREG(status.st_mode) else None

    def compose(self, key: str, segments: Iterable[Segment]) -> None:
        with self._staged(key) as target:
            for segment in segments:
                if isinstance(segment, bytes):
                    _append(target, segment)
                    continue
                with self._open(segment.key, segment.version) as source:
                    copied = _copy(source.fileno(), target, segment.start, segment.stop)
                if copied < segment.stop - segment.start:
                    raise Changed(
                        f"{segment.key} ends before byte {segment.stop}; it was cut short after the run planned with it"
                    )

    def digest(self, key: str, *, version: str = "") -> Digest:
        with self._open(key, version) as file:
            return Digest("sha256", hashlib.file_digest(file, "sha256").hexdigest())

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with suppress(*NO_OBJECT):
                self._path(key).unlink()

    def _path(self, key: str) -> Path:
        area(key)
        return self.root / key

    @contextmanager
    def _open(self, key: str, version: str) -> Iterator[BufferedReader]:
        """The object's file, checked against the pinned version before and after it was read."""
        try:
            file = open(self._path(key), "rb")  # noqa: SIM115  closed by the with below; only a failed open means NotFound
        except NO_OBJECT as error:
            raise NotFound(f"there is no object at {key}") from error
        with file:
            _check_version(key, file.fileno(), version)
            yield file
            _check_version(key, file.fileno(), version)

    @contextmanager
    def _staged(self, key: str, publish: Callable[[Path, Path], None] = os.replace) -> Iterator[int]:
        """The descriptor of a new file that `publish` moves to `key` on a clean exit; on an exception nothing remains."""
        path = self._path(key)
        staged = self._staging / f"{os.getpid()}-{uuid.uuid4().hex}"
        with room_on(self.root):
            try:
                with open(staged, "xb", buffering=0) as file:
                    yield file.fileno()
                    self._sync(file.fileno())
                _make_parent(key, path)
                try:
                    publish(staged, path)
                except IsADirectoryError as error:
                    raise BadInput(f"{key} is a folder and cannot be a file too; give one of them another name") from error
                self._sync_folder(path.parent)
            finally:
                staged.unlink(missing_ok=True)

    def _sync(self, descriptor: int) -> None:
        if self._fsync:
            os.fsync(descriptor)

    def _sync_folder(self, folder: Path) -> None:
        """A rename survives a power cut once its folder is on disk."""
        if self._fsync:
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _sweep(self) -> None:
        for file in self._staging.iterdir():
            with suppress(FileNotFoundError):
                if file.stat().st_mtime < time.time() - ABANDONED_S:
                    file.unlink()


def _link(staged: Path, path: Path) -> None:
    """Let `path` be the staged file, if there is nothing; where the file system knows no hard links (a USB stick's), an empty
    file holds the place until the rename."""
    try:
        os.link(staged, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.replace(staged, path)


def _version(status: os.stat_result) -> str:
    return f"{status.st_size:x}-{status.st_mtime_ns:x}"


def _entry(key: str, status: os.stat_result) -> Entry:
    return Entry(key, status.st_size, _version(status), _version(status))


def _check_version(key: str, descriptor: int, version: str) -> None:
    if version and _version(os.fstat(descriptor)) != version:
        raise Changed(f"{key} is not the version that the run began with; drop it again to start a new run")


def _walk(folder: Path, prefix: str) -> Iterator[Entry]:
    """Entries in the order of S3: by the bytes of the whole key, so a folder sorts as its name with a slash."""
    try:
        with os.scandir(folder) as found:
            children = sorted(found, key=lambda child: child.name + "/" if child.is_dir() else child.name)
    except NO_OBJECT:
        return
    for child in children:
        key = prefix + child.name
        if child.is_dir():
            yield from _walk(folder / child.name, key + "/")
            continue
        with suppress(FileNotFoundError):  # deleted while we listed
            yield _entry(key, child.stat())


def _read(file: BinaryIO, start: int, stop: int) -> bytes:
    file.seek(start)
    return file.read(max(0, stop - start))


def _append(target: int, data: bytes) -> None:
    with open(target, "wb", closefd=False) as file:  # a buffered file writes all of it; os.write may stop short
        file.write(data)


def _copy(source: int, target: int, start: int, stop: int) -> int:
    """Append bytes [start, stop) of `source` to `target`; the number copied, less only where the source ends."""
    at = start
    while at < stop and (count := _copy_some(source, target, at, stop)):
        at += count
    return at - start


def _copy_some(source: int, target: int, start: int, stop: int) -> int:
    """Let the kernel copy (it may share blocks), else copy one MiB ourselves."""
    kernel_copy: Callable[..., int] | None = getattr(os, "copy_file_range", None)  # Linux only
    if kernel_copy:
        try:
            if count := kernel_copy(source, target, min(stop - start, 1024 * MIB), start):
                return count
        except OSError as error:
            if error.errno not in NO_KERNEL_COPY:
                raise
    data = os.pread(source, min(stop - start, MIB), start)
    _append(target, data)
    return len(data)


def _make_parent(key: str, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise BadInput(f"a part of {key} is a file and cannot be a folder too; give one of them another name") from error
