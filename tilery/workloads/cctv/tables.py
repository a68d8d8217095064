"""The tables of a segment as bytes: Arrow files. The same table gives the same bytes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tilery.workloads.cctv.detections import Detections
from tilery.workloads.cctv.frames import Frames


def encode_frames(frames: Frames) -> bytes:
    """Columns time_us, looked, to_reference (9 numbers, row by row)."""
    columns = {
        "time_us": pa.array(frames.time_us, pa.int64()),
        "looked": pa.array(frames.looked, pa.uint8()),
        "to_reference": _vectors(frames.to_reference.reshape(-1, 9).astype(np.float64)),
    }
    return _encode(columns)


def decode_frames(data: bytes) -> Frames:
    table = _decode(data)
    matrices = _matrix(table, "to_reference", 9).reshape(-1, 3, 3)
    return Frames(_column(table, "time_us"), _column(table, "looked"), matrices)


def encode_detections(found: Detections) -> bytes:
    """Columns time_us, label, score, box (4 numbers), moving."""
    columns = {
        "time_us": pa.array(found.time_us, pa.int64()),
        "label": pa.array(found.label, pa.uint8()),
        "score": pa.array(found.score, pa.float32()),
        "box": _vectors(found.box.astype(np.float32)),
        "moving": pa.array(found.moving, pa.float32(), from_pandas=False),
    }
    return _encode(columns)


def decode_detections(data: bytes) -> Detections:
    table = _decode(data)
    time_us, label, score, moving = (_column(table, name) for name in ("time_us", "label", "score", "moving"))
    return Detections(time_us, label, score, _matrix(table, "box", 4), moving)


@dataclass(frozen=True, slots=True)
class Packed:
    """A picture without loss. zstd is several times faster than PNG, for what lives no longer than till the merge."""

    time_us: int
    height: int
    width: int
    data: bytes

    @staticmethod
    def of(time_us: int, rgb: NDArray[np.uint8]) -> Packed:
        data = _zstd().compress(_differences(rgb).tobytes(), asbytes=True)
        return Packed(time_us, rgb.shape[0], rgb.shape[1], data)


def encode_pictures(pictures: list[Packed]) -> bytes:
    """Columns time_us, height, width, data."""
    columns = {
        "time_us": pa.array([one.time_us for one in pictures], pa.int64()),
        "height": pa.array([one.height for one in pictures], pa.int32()),
        "width": pa.array([one.width for one in pictures], pa.int32()),
        "data": pa.array([one.data for one in pictures], pa.binary()),
    }
    return _encode(columns, compression=None)  # they are packed already


def decode_pictures(data: bytes) -> list[tuple[int, NDArray[np.uint8]]]:
    """(time_us, (h, w, 3) RGB) of each."""
    return [(one["time_us"], _unpacked(**one)) for one in _decode(data).to_pylist()]


def _differences(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each pixel less the one to its left, modulo 256."""
    found = rgb.copy()
    found[:, 1:] -= rgb[:, :-1]
    return found


def _unpacked(time_us: int, height: int, width: int, data: bytes) -> NDArray[np.uint8]:
    raw = _zstd().decompress(data, height * width * 3)
    return np.asarray(np.frombuffer(raw, np.uint8).reshape(height, width, 3).cumsum(axis=1, dtype=np.uint8), np.uint8)


def _zstd() -> Any:
    return pa.Codec("zstd", compression_level=1)


def _encode(columns: dict[str, Any], compression: str | None = "zstd") -> bytes:
    table = pa.table(columns)
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression, use_threads=False)
    with pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue()


def _decode(data: bytes) -> Any:
    return pa.ipc.open_file(io.BytesIO(data)).read_all()


def _vectors(values: NDArray[Any]) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), from_pandas=False), values.shape[1])


def _column(table: Any, name: str) -> NDArray[Any]:
    return np.asarray(table.column(name).to_numpy()).copy()


def _matrix(table: Any, name: str, width: int) -> NDArray[Any]:
    chunks = table.column(name).combine_chunks()
    return np.asarray(chunks.flatten().to_numpy(zero_copy_only=False)).reshape(-1, width).copy()
