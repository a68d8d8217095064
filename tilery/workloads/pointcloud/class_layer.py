"""Single layers of layered LAZ chunks (point formats 6 to 10): what is needed decoded to columns, classification coded too.

Two ways lead to the same bytes. Compiled kernels (laz_kernels.py) touch the layers that are asked for and no other. lazrs codes
whole points, and serves small shards and machines without numba.

What the coder of classes must know of a point beside the class is its *context*: whether it is the only return of its pulse,
and its scanner channel, in one byte (laz_kernels.py). The tile stage has it for nothing and keeps it for the finish stage, as
bit planes, so that the finish stage decodes nothing.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.pointcloud import compiled, laz
from tilery.workloads.pointcloud import laz_kernels as kernels

COLOUR_VERSION = 3
"""The version of LASzip's items of colour that the kernels know; version 4 differs where scanner channels alternate."""
THREADS = min(16, os.cpu_count() or 1)

RECORD = 30
"""Bytes of a record of point format 6, with which records of the other layered formats begin."""
INTENSITY_BYTES, BITS_BYTE, FLAGS_BYTE, CLASS_BYTE = 12, 14, 15, 16
ONLY_RETURN = 1
CHANNEL_SHIFT = 1
CHANNEL_BITS = 0b0011_0000
CONTEXT_BITS = 0b111
CLASSIFICATION_LAYER, INTENSITY_LAYER = 2, 4

Bytes = NDArray[np.uint8]
ChunkSize = tuple[int, int]
"""(points, bytes)."""
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Places:
    """Columns of a run of chunks, all of the same length: stored integers, not yet scaled."""

    x: NDArray[np.int32]
    y: NDArray[np.int32]
    z: NDArray[np.int32]
    returns: Bytes
    """Return number in the low four bits, number of returns in the high four."""
    contexts: Bytes
    classes: Bytes
    intensity: NDArray[np.uint16] | None = None
    rgb: NDArray[np.uint16] | None = None
    """Shape (n, 3)."""

    @classmethod
    def empty(cls, count: int, intensity: bool, rgb: bool) -> Places:
        """Room for so many points."""
        x, y, z = (np.empty(count, np.int32) for _ in range(3))
        returns, contexts, classes = (np.empty(count, np.uint8) for _ in range(3))
        grey, colours = (np.empty(count, np.uint16) if intensity else None), (np.empty((count, 3), np.uint16) if rgb else None)
        return cls(x, y, z, returns, contexts, classes, grey, colours)

    def part(self, points: slice) -> Places:
        """Some of the points, in place."""
        return replace(self, **{name: one[points] for name in self.__slots__ if (one := getattr(self, name)) is not None})


def contexts_of(bits: Bytes, flags: Bytes) -> Bytes:
    """The contexts of points, from their byte of returns and their byte of flags."""
    only = ((bits & 15) == 1) & (bits < 32)
    contexts: Bytes = only.astype(np.uint8) | (((flags & CHANNEL_BITS) >> 4) << CHANNEL_SHIFT).astype(np.uint8)
    return contexts


def pack(contexts: Bytes) -> bytes:
    """Contexts as bit planes: one, or three where there are several scanner channels."""
    planes = 3 if contexts.max(initial=0) > ONLY_RETURN else 1
    return bytes([planes]) + b"".join(np.packbits((contexts >> plane) & 1).tobytes() for plane in range(planes))


def unpack(data: bytes, count: int) -> Bytes:
    """The inverse of `pack`. Raises `ValueError` for bytes that do not hold `count` contexts."""
    size = (count + 7) // 8
    if not data or data[0] not in (1, 3) or len(data) != 1 + data[0] * size:
        raise ValueError(f"{len(data)} bytes are not the contexts of {count} points")
    contexts = np.zeros(count, np.uint8)
    for plane in range(data[0]):
        contexts |= np.unpackbits(np.frombuffer(data, np.uint8, size, 1 + plane * size), count=count) << plane
    return contexts


def split(chunk: bytes | memoryview, record_size: int, layers: int, points: int) -> tuple[list[int], list[int]]:
    """Sizes of a chunk's layers, and where each starts. Raises `laz.Corrupt` if they do not fill the chunk exactly."""
    at = record_size + 4 + 4 * layers
    if len(chunk) < at:
        raise laz.Corrupt("the chunk is shorter than its own header")
    number, *sizes = struct.unpack_from(f"<I{layers}I", chunk, record_size)
    if number != points or at + sum(sizes) != len(chunk):
        raise laz.Corrupt("the chunk does not hold what its header says")
    return sizes, list(accumulate(sizes[:-1], initial=at))


def colour_layer(vlr: laz.LaszipVlr) -> tuple[int, int] | None:
    """Which layer holds the colours, and at which byte of a record they are; None where the kernels cannot tell."""
    layer, at = 0, 0
    for item in vlr.items:
        if item.kind in (laz.RGB14, laz.RGBNIR14):
            return (layer, at) if item.version == COLOUR_VERSION else None
        layer, at = layer + laz.layers_of(item), at + item.size
    return None


def decode_places(
    data: bytes,
    chunks: Sequence[ChunkSize],
    vlr: laz.LaszipVlr,
    *,
    intensity: bool = False,
    rgb: bool = False,
    into: Places | None = None,
) -> Places:
    """Decode positions, returns, contexts and classes of a run of layered chunks, and what else is asked for, by the kernels.

    `rgb` may only be asked for where there is a `colour_layer`. They are written `into` what has room for them, if given.
    Raises `laz.Corrupt`, and `ValueError` for less room: kernels would write beyond it.
    """
    count = sum(points for points, _ in chunks)
    places = into or Places.empty(count, intensity, rgb)
    if len(places.z) < count:
        raise ValueError(f"there is room for {len(places.z):,} points, not for {count:,}")
    x, y, z, returns, contexts, classes = places.x, places.y, places.z, places.returns, places.contexts, places.classes
    grey, colours = (places.intensity if intensity else None), (places.rgb if rgb else None)
    layers, colour = laz.layer_count(vlr), colour_layer(vlr)
    view, held = memoryview(data), np.frombuffer(data + bytes(kernels.PADDING), np.uint8)

    def one(place: tuple[int, int, int, int]) -> None:
        at, size, first, points = place
        sizes, starts = split(view[at : at + size], vlr.record_size, layers, points)
        ends = [(at + start, at + start + size) for start, size in zip(starts, sizes, strict=True)]
        begin = [*struct.unpack_from("<iii", data, at), data[at + BITS_BYTE], data[at + FLAGS_BYTE]]
        to, space = slice(first, first + points), _workspace()
        scratch, mine = space.scratch, contexts[to]
        edges = ends[0][0], *ends[1]
        columns = (x[to], y[to], z[to], returns[to], mine)
        good = kernels.decode_points(held, *edges, np.array(begin, np.int64), space.points.fresh(), scratch, *columns)
        head, state = data[at + CLASS_BYTE], space.classes.fresh()
        good &= kernels.decode_classes(held, *ends[CLASSIFICATION_LAYER], head, mine, state, scratch, classes[to])
        if grey is not None:
            (head,) = struct.unpack_from("<H", data, at + INTENSITY_BYTES)
            given = (mine, returns[to], space.intensities.fresh(), scratch, grey[to])
            good &= kernels.decode_intensities(held, *ends[INTENSITY_LAYER], head, *given)
        if colours is not None and colour is not None:
            heads = np.array(struct.unpack_from("<HHH", data, at + colour[1]), np.int64)
            good &= kernels.decode_colours(held, *ends[colour[0]], heads, mine, space.colours.fresh(), scratch, colours[to])
        mine &= CONTEXT_BITS
        if not good:
            raise laz.Corrupt("a layer ends before its points do")

    _each(one, _places(chunks))
    return Places(x, y, z, returns, contexts, classes, grey, colours)


def encode(labels: Bytes, contexts: Bytes, counts: Sequence[int], vlr: laz.LaszipVlr) -> list[bytes]:
    """The classification layers of chunks of `counts` points, none 0: as lazrs and LASzip write them."""
    if not compiled.at_hand():
        return _encoded_by_lazrs(labels, contexts, counts, vlr)

    def one(place: tuple[int, int, int, int]) -> bytes:
        _, _, first, points = place
        out = np.empty(2 * points + 16, np.uint8)
        to = slice(first, first + points)
        space = _workspace()
        size = kernels.encode_classes(labels[to], contexts[to], space.coded.fresh(), space.scratch, out)
        return out[:size].tobytes()

    return _each(one, _places([(count, 0) for count in counts]))


def decode(layers: Sequence[bytes], firsts: Sequence[int], contexts: Bytes, counts: Sequence[int]) -> Bytes:
    """The classes of chunks from their classification layers and the classes of their first points, by the kernels.

    Raises `laz.Corrupt` where a layer is cut off.
    """
    classes = np.empty(sum(counts), np.uint8)

    def one(place: tuple[int, int, int, int]) -> None:
        number, _, first, points = place
        to = slice(first, first + points)
        layer, size = np.frombuffer(layers[number] + bytes(kernels.PADDING), np.uint8), len(layers[number])
        given = (contexts[to], _workspace().classes.fresh(), _workspace().scratch, classes[to])
        if not kernels.decode_classes(layer, 0, size, firsts[number], *given):
            raise laz.Corrupt("a classification layer ends before its points do")

    starts = accumulate(counts, initial=0)
    _each(one, [(number, 0, first, count) for number, (first, count) in enumerate(zip(starts, counts, strict=False))])
    return classes


def _places(chunks: Sequence[ChunkSize]) -> list[tuple[int, int, int, int]]:
    """(first byte, bytes, first point, points) of each chunk."""
    at = accumulate((size for _, size in chunks), initial=0)
    first = accumulate((points for points, _ in chunks), initial=0)
    return [(a, size, b, points) for a, b, (points, size) in zip(at, first, chunks, strict=False)]


def _each(work: Callable[[T], R], items: list[T]) -> list[R]:
    """Work on all items, on all cores where there are several: the kernels do not hold the interpreter's lock."""
    if len(items) < 2 or THREADS < 2:
        return [work(item) for item in items]
    if not _POOL:
        _POOL.append(ThreadPoolExecutor(THREADS))
    return list(_POOL[0].map(work, items))


def _encoded_by_lazrs(labels: Bytes, contexts: Bytes, counts: Sequence[int], vlr: laz.LaszipVlr) -> list[bytes]:
    """Layers of points of format 6 that have true classes and contexts, and zeros elsewhere."""
    bare = np.zeros((len(labels), RECORD), np.uint8)
    bare[:, BITS_BYTE] = np.where(contexts & ONLY_RETURN, 0x11, 0x21)
    bare[:, FLAGS_BYTE] = (contexts >> CHANNEL_SHIFT) << 4
    bare[:, CLASS_BYTE] = labels
    coded, sizes = laz.encode(bare.reshape(-1), counts, bare_vlr(vlr))
    layers, at = [], 0
    for points, size in sizes:
        chunk = coded[at : at + size]
        lengths, starts = split(chunk, RECORD, laz.POINT14_LAYERS, points)
        begin = starts[CLASSIFICATION_LAYER]
        layers.append(chunk[begin : begin + lengths[CLASSIFICATION_LAYER]])
        at += size
    return layers


def bare_vlr(vlr: laz.LaszipVlr) -> laz.LaszipVlr:
    """The laszip VLR of points of format 6 without more, in the same chunks."""
    head = bytearray(vlr.data[:34])
    struct.pack_into("<H", head, 32, 1)
    return laz.parse_vlr(bytes(head) + struct.pack("<HHH", laz.POINT14, RECORD, 3))


class _Models:
    """The state of a coder's models, made ready for each chunk by their heads alone."""

    def __init__(self, symbols: list[int], bits: int = 0, tables: bool = True) -> None:
        self.state: NDArray[np.uint32] = kernels.models_of(symbols * kernels.CHANNELS, bits * kernels.CHANNELS, tables)
        self.heads = len(symbols) * kernels.CHANNELS * kernels.HEAD
        self.bits = len(self.state) - bits * kernels.CHANNELS * kernels.BIT
        self.first_heads, self.first_bits = self.state[: self.heads].copy(), self.state[self.bits :].copy()

    def fresh(self) -> NDArray[np.uint32]:
        self.state[: self.heads], self.state[self.bits :] = self.first_heads, self.first_bits
        return self.state


class _Workspace(threading.local):
    """What a thread's coders need room for."""

    def __init__(self) -> None:
        classes = [kernels.CLASSES] * kernels.CLASS_MODELS
        self.points = _Models(kernels.POINT_SYMBOLS, kernels.POINT_BITS)
        self.classes, self.coded = _Models(classes), _Models(classes, tables=False)
        self.intensities = _Models(kernels.INTENSITY_SYMBOLS, kernels.INTENSITY_BITS)
        self.colours = _Models(kernels.COLOUR_SYMBOLS)
        self.scratch = np.zeros(kernels.SCRATCH, np.int64)


_POOL: list[ThreadPoolExecutor] = []
os.register_at_fork(after_in_child=_POOL.clear)  # threads do not survive a fork
_SPACE: list[_Workspace] = []


def _workspace() -> _Workspace:
    if not _SPACE:
        _SPACE.append(_Workspace())
    return _SPACE[0]
