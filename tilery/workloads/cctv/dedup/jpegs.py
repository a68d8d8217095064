"""A run of JPEG files as the first one and, for each after it, how its coefficients differ from those of the one before.

Bit for bit: a file is packed this way only if it was put together again, at once, to the same bytes. Baseline files with the
Huffman tables of ITU-T T.81 annex K are, which is what most cameras write; others lie in the run as they are.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from tilery.workloads.cctv.dedup.tiles import Encoded, NotFrames

LEVEL = 6
LIBRARY = "turbo210"
"""Which of the libraries that jpeglib holds: libjpeg-turbo."""
MOST_FILE = 1 << 28
_HEAD = struct.Struct("<4sIQQ")
"""Magic, files, bytes of the heads, bytes of the low halves."""
_MAGIC = b"TLJ1"
_ENTRY = struct.Struct("<BI")
"""Whether the file is coefficients (1) or whole (0); how many bytes of it follow."""
_SCAN = b"\xff\xda"

Planes = list[NDArray[np.int16]]


def available() -> bool:
    """Whether the library that gives coefficients is installed."""
    try:
        import jpeglib  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        return False
    return True


class JpegEncoder:
    """Takes the bytes of JPEG files of one camera; keeps the coefficients of one. `scratch` is a folder of its own."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._base = b""
        self._template: Any = None
        self._before: Planes = []
        self._streams = [zstandard.ZstdCompressor(level=LEVEL).compressobj() for _ in range(3)]
        self._parts: list[list[bytes]] = [[], [], []]
        self._hash = hashlib.sha256()
        self._files = self._packed = self._size = 0

    @property
    def frames(self) -> int:
        return self._files

    @property
    def size(self) -> int:
        """Bytes so far, about."""
        return len(self._base) + sum(len(part) for parts in self._parts for part in parts)

    def add(self, data: bytes) -> None:
        self._hash.update(data)
        self._size += len(data)
        self._files += 1
        if self._files == 1:
            self._base = data
            self._template = _read(data, self._scratch)
            self._before = _planes(self._template) if self._template is not None else []
            return
        found = _read(data, self._scratch) if self._template is not None else None
        planes = _planes(found) if found is not None else []
        head = _head(data)
        whole = [plane.shape for plane in planes] != [plane.shape for plane in self._before] or not planes
        if whole or _rebuilt(self._template, planes, head, self._scratch) != data:
            self._write(0, _ENTRY.pack(0, len(data)) + data)
            return
        self._write(0, _ENTRY.pack(1, len(head)) + head)
        for now, before in zip(planes, self._before, strict=True):
            low, high = _halves(now - before)
            self._write(1, low)
            self._write(2, high)
        self._before = planes
        self._packed += 1

    def finish(self) -> Encoded:
        if not self._files:
            raise ValueError("there are no files")
        heads, low, high = (
            b"".join([*parts, stream.flush()]) for parts, stream in zip(self._parts, self._streams, strict=True)
        )
        changes = _HEAD.pack(_MAGIC, self._files, len(heads), len(low)) + heads + low + high
        after = self._files - 1
        return Encoded(self._base, changes, self._files, self._hash.hexdigest(), 0, 0, self._size, self._packed, after)

    def _write(self, stream: int, data: bytes) -> None:
        self._parts[stream].append(self._streams[stream].compress(data))


def unpacked(base: bytes, changes: bytes, scratch: Path) -> Iterator[bytes]:
    """The files. Raises `NotFrames` for bytes that make no sense."""
    try:
        magic, count, heads, low = _HEAD.unpack_from(changes)
    except struct.error:
        raise NotFrames("the head of a run of JPEG files is cut short") from None
    if magic != _MAGIC:
        raise NotFrames("this is no run of JPEG files")
    at = _HEAD.size
    parts = (changes[at : at + heads], changes[at + heads : at + heads + low], changes[at + heads + low :])
    readers = [zstandard.ZstdDecompressor().stream_reader(part) for part in parts]
    yield base
    template, before = None, None
    for _ in range(count - 1):
        kind, length = _ENTRY.unpack(_taken(readers[0], _ENTRY.size))
        if length > MOST_FILE:
            raise NotFrames("a run of JPEG files is damaged")
        head = _taken(readers[0], length)
        if not kind:
            yield head
            continue
        if template is None or before is None:
            template = _read(base, scratch)
            before = _planes(template)
        before = [plane + _whole(readers, plane.shape) for plane in before]
        yield _rebuilt(template, before, head, scratch)


def _read(data: bytes, scratch: Path) -> Any:
    """The coefficients of a file, None if the library cannot read it."""
    import jpeglib

    jpeglib.version.set(LIBRARY)
    path = scratch / "in.jpg"
    path.write_bytes(data)
    try:
        found = jpeglib.read_dct(str(path))
        found.load()
    except (OSError, RuntimeError, ValueError):
        return None
    return found if found.Y is not None and not found.progressive_mode else None


def _planes(found: Any) -> Planes:
    return [np.asarray(plane, np.int16) for plane in (found.Y, found.Cb, found.Cr) if plane is not None]


def _rebuilt(template: Any, planes: Planes, head: bytes, scratch: Path) -> bytes:
    """A file with these coefficients: `head`, and the scan that the library writes for them."""
    path = scratch / "out.jpg"
    for name, plane in zip(("Y", "Cb", "Cr"), planes, strict=False):
        setattr(template, name, np.ascontiguousarray(plane))
    template.write_dct(str(path))
    data = path.read_bytes()
    return head + data[len(_head(data)) :]


def _head(data: bytes) -> bytes:
    """All before the entropy-coded bytes of the first scan (T.81, B.2.3)."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at : at + 2] == _SCAN:
            return data[: at + 2 + length]
        at += 2 + length
    return data


def _halves(differences: NDArray[np.int16]) -> tuple[bytes, bytes]:
    """Low and high bytes, each coefficient of all blocks before the next one."""
    ordered = np.ascontiguousarray(differences.transpose(2, 3, 0, 1))
    low = ordered.astype(np.int8)
    return low.tobytes(), ((ordered - low) >> 8).astype(np.int8).tobytes()


def _whole(readers: list[zstandard.ZstdDecompressionReader], shape: tuple[int, ...]) -> NDArray[np.int16]:
    down, across = shape[:2]
    size = down * across * 64
    low = np.frombuffer(_taken(readers[1], size), np.int8).astype(np.int16)
    high = np.frombuffer(_taken(readers[2], size), np.int8).astype(np.int16)
    return (low + (high << 8)).reshape(8, 8, down, across).transpose(2, 3, 0, 1)


def _taken(reader: zstandard.ZstdDecompressionReader, size: int) -> bytes:
    try:
        data = reader.read(size)
    except zstandard.ZstdError as error:
        raise NotFrames(f"a run of JPEG files cannot be unpacked ({error})") from error
    if len(data) < size:
        raise NotFrames("a run of JPEG files is cut short")
    return data
