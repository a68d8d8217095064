"""The tables of a segment as bytes: Arrow files. The same table gives the same bytes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tilery.workloads.cctv.detections import Detections
from tilery.workloads.cctv.frames import Frames

QUALITY = 95
"""Of a JPEG picture."""


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
    """A picture as a JPEG file, colours at full resolution: a third of the time and of the bytes of one without loss, and no
    one sees the difference in what is made of many."""

    time_us: int
    data: bytes

    @staticmethod
    def of(time_us: int, rgb: NDArray[np.uint8]) -> Packed:
        how = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
        _, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), how)
        return Packed(time_us, data.tobytes())


def encode_pictures(pictures: list[Packed]) -> bytes:
    """Columns time_us, data."""
    columns = {
        "time_us": pa.array([one.time_us for one in pictures], pa.int64()),
        "data": pa.array([one.data for one in pictures], pa.binary()),
    }
    return _encode(columns, compression=None)  # they are packed already


def decode_pictures(data: bytes) -> list[tuple[int, NDArray[np.uint8]]]:
    """(time_us, (h, w, 3) RGB) of each."""
    return [(one["time_us"], _unpacked(one["data"])) for one in _decode(data).to_pylist()]


def _unpacked(data: bytes) -> NDArray[np.uint8]:
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB), np.uint8)


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
