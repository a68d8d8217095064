"""A run of frames as one base and, for each frame after it, the tiles that changed and by how much.

Frames are uint8, (height, width) or (height, width, 3). With an error of 0 they come back as they were; with an error of e no
sample is off by more than e: residuals against the frame before, as it will be decoded, are rounded to steps of 2e + 1, as in
near-lossless JPEG-LS (ISO 14495-1, A.4.4), so that errors do not add up. The base is exact: an error in it would be a change in
every frame after it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import zstandard
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
SIDE = 16
LEVEL = 6
LARGEST_ERROR = 32
MOST_SAMPLES = 3 << 28
"""Of a frame; what a damaged head may not exceed."""
_HEAD = struct.Struct("<4sBBBxIIIQ")
"""Magic, error, channels, how the base was predicted; height, width, frames, bytes of the bitmaps."""
_MAGIC = b"TLF1"
_GREEN = 1


class NotFrames(Exception):
    """Bytes that this module did not write."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """What stands for a run of frames. The base is apart, since other runs may have the same."""

    base: bytes
    changes: bytes
    frames: int
    sha256: str
    """Of all frames as they are decoded."""
    largest_error: int
    squared_error: int
    """Summed over all samples."""
    samples: int
    changed: int
    """Tiles."""
    tiles: int
    """Of all frames but the first."""


class Encoder:
    """Takes frames of one shape, one after the other; keeps one."""

    def __init__(self, error: int = 0) -> None:
        if not 0 <= error <= LARGEST_ERROR:
            raise ValueError(f"an error of {error} is not between 0 and {LARGEST_ERROR}")
        self._error = error
        self._shape: tuple[int, ...] | None = None
        self._before: Pixels = np.empty((0, 0, 0), np.uint8)
        self._base, self._predicted = b"", 0
        self._bitmaps, self._residuals = _compressor().compressobj(), _compressor().compressobj()
        self._bits: list[bytes] = []
        self._rest: list[bytes] = []
        self._hash = hashlib.sha256()
        self._frames = self._largest = self._squared = self._samples = self._changed = self._tiles = 0

    @property
    def size(self) -> int:
        """Bytes so far, about."""
        return len(self._base) + sum(map(len, self._rest))

    @property
    def frames(self) -> int:
        return self._frames

    def add(self, frame: Pixels) -> None:
        """Raises ValueError for a frame of another shape, or of samples that are not 8 bits."""
        if frame.dtype != np.uint8:
            raise ValueError(f"samples of {frame.dtype} are no 8 bits")
        if self._shape is None:
            self._shape = frame.shape
            self._base, self._predicted = _pressed(_decorrelated(frame.reshape(*frame.shape[:2], -1)))
            self._before = _padded(frame)
        elif frame.shape != self._shape:
            raise ValueError(f"a frame of {frame.shape} after one of {self._shape}")
        else:
            self._change(_padded(frame))
        self._told(frame, _cropped(self._before, frame.shape))
        self._frames += 1

    def finish(self) -> Encoded:
        if self._shape is None:
            raise ValueError("there are no frames")
        bits = b"".join([*self._bits, self._bitmaps.flush()])
        rest = b"".join([*self._rest, self._residuals.flush()])
        channels = sum(self._shape[2:])
        head = (_MAGIC, self._error, channels, self._predicted, self._shape[0], self._shape[1], self._frames, len(bits))
        changes = _HEAD.pack(*head) + bits + rest
        counted = (self._largest, self._squared, self._samples, self._changed, self._tiles)
        return Encoded(self._base, changes, self._frames, self._hash.hexdigest(), *counted)

    def _change(self, now: Pixels) -> None:
        before, after = _tiles(self._before), _tiles(now)
        apart = np.maximum(before, after) - np.minimum(before, after)
        changed = apart.max(axis=(1, 3)) > self._error
        self._changed, self._tiles = self._changed + int(changed.sum()), self._tiles + changed.size
        self._bits.append(self._bitmaps.compress(np.packbits(changed).tobytes()))
        if changed.any():
            old, new = _chosen(before, changed), _chosen(after, changed)
            steps = _rounded(new.astype(np.int16) - old, self._error)
            _put(before, changed, _moved(old, steps, self._error))
            self._rest.append(self._residuals.compress(_planar(steps.astype(np.uint8), self._before.shape[2])))

    def _told(self, frame: Pixels, decoded: Pixels) -> None:
        self._hash.update(np.ascontiguousarray(decoded).data)
        self._samples += frame.size
        if self._error:
            off = np.abs(frame.astype(np.int16) - decoded)
            self._largest = max(self._largest, int(off.max(initial=0)))
            self._squared += int(np.square(off, dtype=np.int64).sum())


def decoded(base: bytes, changes: bytes) -> Iterator[Pixels]:
    """The frames, each an array of its own. Raises `NotFrames` for bytes that make no sense."""
    try:
        magic, error, channels, predicted, height, width, count, length = _HEAD.unpack_from(changes)
    except struct.error:
        raise NotFrames("the head of a run of frames is cut short") from None
    shape = (height, width, channels) if channels else (height, width)
    if magic != _MAGIC or error > LARGEST_ERROR or height * width * max(channels, 1) > MOST_SAMPLES:
        raise NotFrames("this is no run of frames")
    bitmaps = _unpressed(changes[_HEAD.size : _HEAD.size + length])
    residuals = _unpressed(changes[_HEAD.size + length :])
    before = _padded(_correlated(_unpredicted(base, (height, width, max(channels, 1)), predicted)).reshape(shape))
    yield _cropped(before, shape)
    tiles = _tiles(before)
    rows, columns = tiles.shape[0], tiles.shape[2]
    for _ in range(count - 1):
        bits = np.frombuffer(_taken(bitmaps, -(-rows * columns // 8)), np.uint8)
        changed = np.unpackbits(bits, count=rows * columns).astype(bool).reshape(rows, columns)
        if number := int(changed.sum()):
            data = np.frombuffer(_taken(residuals, number * SIDE * SIDE * before.shape[2]), np.uint8)
            steps = _unplanar(data, number, before.shape[2]).astype(np.int8).astype(np.int16) if error else None
            if steps is None:  # exact residuals wrap round
                wrapped = _unplanar(data, number, before.shape[2])
                _put(tiles, changed, _chosen(tiles, changed) + wrapped)
            else:
                _put(tiles, changed, _moved(_chosen(tiles, changed), steps, error))
        yield _cropped(before, shape)


def _step(error: int) -> int:
    return 2 * error + 1


def _rounded(residuals: NDArray[np.int16], error: int) -> NDArray[np.int16]:
    """Steps that bring each sample within `error`."""
    if not error:
        return residuals
    return np.asarray(np.sign(residuals) * ((np.abs(residuals) + error) // _step(error)), np.int16)


def _moved(old: Pixels, steps: NDArray[np.int16], error: int) -> Pixels:
    return np.asarray(np.clip(old + steps * _step(error), 0, 255), np.uint8)


def _padded(frame: Pixels) -> Pixels:
    """(rows, columns, channels) of whole tiles; the last row and column repeated."""
    cube = frame.reshape(frame.shape[0], frame.shape[1], -1)
    down, across = -frame.shape[0] % SIDE, -frame.shape[1] % SIDE
    return np.pad(cube, ((0, down), (0, across), (0, 0)), mode="edge")


def _cropped(padded: Pixels, shape: tuple[int, ...]) -> Pixels:
    return padded[: shape[0], : shape[1]].reshape(shape).copy()


def _tiles(padded: Pixels) -> Pixels:
    """A view (tile rows, side, tile columns, side * channels)."""
    rows, columns, channels = padded.shape
    return padded.reshape(rows // SIDE, SIDE, columns // SIDE, SIDE * channels)


def _chosen(tiles: Pixels, changed: NDArray[np.bool_]) -> Pixels:
    """(number, side, side * channels)."""
    return tiles.transpose(0, 2, 1, 3)[changed]


def _put(tiles: Pixels, changed: NDArray[np.bool_], values: Pixels) -> None:
    tiles.transpose(0, 2, 1, 3)[changed] = values


def _planar(steps: Pixels, channels: int) -> bytes:
    """Channel by channel, what the green one says already taken off the others."""
    cube = _decorrelated(steps.reshape(-1, SIDE, channels))
    return np.ascontiguousarray(cube.transpose(2, 0, 1)).tobytes()


def _unplanar(data: Pixels, number: int, channels: int) -> Pixels:
    cube = data.reshape(channels, number * SIDE * SIDE // SIDE, SIDE).transpose(1, 2, 0)
    return _correlated(cube).reshape(number, SIDE, SIDE * channels)


def _decorrelated(cube: Pixels) -> Pixels:
    """Of three channels the others less the green one, modulo 256."""
    if cube.shape[2] != 3:
        return cube
    made = cube - cube[..., _GREEN : _GREEN + 1]
    made[..., _GREEN] = cube[..., _GREEN]
    return made


def _correlated(cube: Pixels) -> Pixels:
    if cube.shape[2] != 3:
        return cube
    made = cube + cube[..., _GREEN : _GREEN + 1]
    made[..., _GREEN] = cube[..., _GREEN]
    return made


def _pressed(cube: Pixels) -> tuple[bytes, int]:
    """The smaller of two predictions: from the left, or from the left, above, and between."""
    planes = np.ascontiguousarray(cube.transpose(2, 0, 1))
    left = np.diff(planes, axis=2, prepend=np.zeros_like(planes[:, :, :1]))
    both = np.diff(left, axis=1, prepend=np.zeros_like(left[:, :1]))
    ways = [_compressor().compress(way.tobytes()) for way in (left, both)]
    best = int(len(ways[1]) < len(ways[0]))
    return ways[best], best


def _unpredicted(base: bytes, shape: tuple[int, int, int], predicted: int) -> Pixels:
    height, width, channels = shape
    data = _taken(_unpressed(base), height * width * channels)
    planes = np.frombuffer(data, np.uint8).reshape(channels, height, width)
    if predicted:
        planes = np.cumsum(planes, axis=1, dtype=np.uint8)
    return np.ascontiguousarray(np.cumsum(planes, axis=2, dtype=np.uint8).transpose(1, 2, 0))


def _compressor() -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(level=LEVEL)


def _unpressed(data: bytes) -> zstandard.ZstdDecompressionReader:
    return zstandard.ZstdDecompressor().stream_reader(data)


def _taken(reader: zstandard.ZstdDecompressionReader, size: int) -> bytes:
    try:
        data = reader.read(size)
    except zstandard.ZstdError as error:
        raise NotFrames(f"a run of frames cannot be unpacked ({error})") from error
    if len(data) < size:
        raise NotFrames("a run of frames is cut short")
    return data
