"""The points of a shard as columns, with what is needed of each point and no more, in batches of bounded memory.

Layered files (point formats 6 to 10) of some size are decoded straight to columns, 13 bytes a point; others by way of records.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilery.run import Source
from tilery.store.port import Store
from tilery.workloads.pointcloud import class_layer, compiled, laz
from tilery.workloads.pointcloud.extent import refuse_far_points
from tilery.workloads.pointcloud.las_header import Chunk, LasFile
from tilery.workloads.pointcloud.points import (
    BATCH_POINTS,
    Records,
    batches,
    classes_of,
    iter_records,
    named,
    read_span,
    returns_of,
    sizes_of,
)
from tilery.workloads.pointcloud.shards import Shard

COLOURED = (2, 3, 5, 7, 8, 10)
"""Point formats with colour."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Points in the file's order; all columns have the same length."""

    x: NDArray[np.int32]
    """As stored, like y and z: times scale, plus offset."""
    y: NDArray[np.int32]
    z: NDArray[np.int32]
    returns: NDArray[np.uint8]
    """Return number in the low four bits, number of returns in the high four."""
    classes: NDArray[np.uint8]
    contexts: NDArray[np.uint8] | None
    """What coding a class needs (class_layer.py); None where the format is not layered."""
    intensity: NDArray[np.uint16] | None = None
    rgb: NDArray[np.uint16] | None = None
    """Shape (n, 3)."""

    def __len__(self) -> int:
        return len(self.x)


def iter_columns(
    store: Store,
    source: Source,
    file: LasFile,
    shard: Shard,
    *,
    intensity: bool = False,
    rgb: bool = False,
    points: int = BATCH_POINTS,
    into: class_layer.Places | None = None,
) -> Iterator[tuple[int, Columns]]:
    """A shard's points in order, as (index in the file of the first, columns) with about `points` in each batch.

    `rgb` is obeyed where the file has colour. What is decoded straight to columns is written `into` those, if given, which have
    room for the shard. Raises `BadInput` naming the file and the chunk, or a point that cannot be there.
    """
    for first, columns in _decoded(store, source, file, shard, intensity, rgb, points, into):
        refuse_far_points(file, first, (columns.x, columns.y, columns.z))
        yield first, columns


def _decoded(
    store: Store,
    source: Source,
    file: LasFile,
    shard: Shard,
    intensity: bool,
    rgb: bool,
    points: int,
    into: class_layer.Places | None,
) -> Iterator[tuple[int, Columns]]:
    rgb = rgb and file.point_format in COLOURED
    layered = file.laszip is not None and file.laszip.layered
    compiled.prepare(shard.count if layered else 0)
    if layered and not shard.streamed and compiled.at_hand() and not (rgb and _colours_unknown(file)):
        yield from _from_layers(store, source, file, shard, points, intensity, rgb, into)
        return
    fields = laz.XYZ_AND_CLASS | (laz.INTENSITY if intensity else 0) | (laz.RGB if rgb else 0)
    for first, records in iter_records(store, source, file, shard, fields, points):
        yield first, _of_records(records, file.point_format, intensity, rgb)


def _of_records(records: Records, point_format: int, intensity: bool, rgb: bool) -> Columns:
    number, count = returns_of(records, point_format)
    layered = point_format >= 6
    return Columns(
        np.ascontiguousarray(records["X"]),
        np.ascontiguousarray(records["Y"]),
        np.ascontiguousarray(records["Z"]),
        number | (count << np.uint8(4)),
        classes_of(records, point_format),
        class_layer.contexts_of(records["bit_fields"], records["classification_flags"]) if layered else None,
        records["intensity"].copy() if intensity else None,
        np.stack([records[name] for name in ("red", "green", "blue")], axis=1) if rgb else None,
    )


def _colours_unknown(file: LasFile) -> bool:
    return file.laszip is None or class_layer.colour_layer(file.laszip) is None


def _from_layers(
    store: Store,
    source: Source,
    file: LasFile,
    shard: Shard,
    points: int,
    intensity: bool,
    rgb: bool,
    into: class_layer.Places | None,
) -> Iterator[tuple[int, Columns]]:
    for first, batch in batches(file, shard, points):
        start, count = first - shard.first, sum(chunk.points for chunk in batch)
        held = class_layer.Places.empty(count, intensity, rgb) if into is None else into.part(slice(start, start + count))

        def places(file: LasFile, chunks: list[Chunk], data: bytes, held: class_layer.Places = held) -> class_layer.Places:
            assert file.laszip is not None
            return class_layer.decode_places(data, sizes_of(chunks), file.laszip, intensity=intensity, rgb=rgb, into=held)

        got = named(file, batch, read_span(store, source, batch[0].start, batch[-1].stop), places)
        yield first, Columns(got.x, got.y, got.z, got.returns, got.classes, got.contexts, got.intensity, got.rgb)
