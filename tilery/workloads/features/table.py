"""The rows of the dataset: what is known of every picture of a list, as an Arrow table."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tilery.workloads.features.lists import label_of

ROW_GROUP = 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One picture. `code` is empty if all is well."""

    path: str
    width: int = 0
    height: int = 0
    code: str = ""
    reason: str = ""


def rows_table(rows: Sequence[Row], features: NDArray[np.float32]) -> pa.Table:
    """(rows, features of the good ones in order) -> path, label, status, error, reason, width, height, features."""
    good = np.array([not row.code for row in rows], bool)
    columns: dict[str, Any] = {
        "path": pa.array([row.path for row in rows], pa.string()),
        "label": pa.array([label_of(row.path) for row in rows], pa.string()),
        "status": pa.array(["error" if row.code else "ok" for row in rows], pa.string()),
        "error": pa.array([row.code or None for row in rows], pa.string()),
        "reason": pa.array([row.reason or None for row in rows], pa.string()),
        "width": pa.array([row.width or None for row in rows], pa.int32()),
        "height": pa.array([row.height or None for row in rows], pa.int32()),
        "features": vectors(features, good),
    }
    return pa.table(columns)


def vectors(values: NDArray[np.float32], good: NDArray[np.bool_]) -> pa.FixedSizeListArray:
    """fixed_size_list<float>[d], null where not good; `values` has a row for every good one."""
    d = values.shape[1]
    spread = np.zeros((len(good), d), np.float32)
    spread[good] = values
    return pa.FixedSizeListArray.from_arrays(pa.array(spread.reshape(-1)), d, mask=pa.array(~good))


def good_of(table: pa.Table) -> NDArray[np.bool_]:
    return np.array([status == "ok" for status in table.column("status").to_pylist()], bool)


def features_of(table: pa.Table, name: str = "features") -> NDArray[np.float32]:
    """The vectors of the good rows, (n, d)."""
    column = table.column(name).combine_chunks()
    d = column.type.list_size
    if not len(column):
        return np.zeros((0, d), np.float32)
    flat = np.asarray(column.values)[column.offset * d : (column.offset + len(column)) * d]
    found: NDArray[np.float32] = flat.reshape(-1, d)[good_of(table)]
    return found


def encode(table: pa.Table) -> bytes:
    """Arrow's file format."""
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def decode(data: bytes) -> pa.Table:
    return pa.ipc.open_file(pa.BufferReader(data)).read_all()


def parquet(table: pa.Table) -> bytes:
    """A Parquet file in row groups of bounded size; the same table gives the same bytes."""
    sink = io.BytesIO()
    pq.write_table(
        table, sink, row_group_size=ROW_GROUP, compression="zstd", use_dictionary=["label", "status", "error"], version="2.6"
    )
    return sink.getvalue()
