"""Gathers the rows of all lists into one index, Parquet and JSON, with what is known of each source and its pieces."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from tilery.outcomes import BadInput
from tilery.workload import Item, Work
from tilery.workloads.images.options import ImagesOptions
from tilery.workloads.images.packs import public
from tilery.workloads.images.sheet import drawn

SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("folder", pa.string()),
        ("status", pa.string()),
        ("code", pa.string()),
        ("reason", pa.string()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("bands", pa.int16()),
        ("bits", pa.int16()),
        ("alpha", pa.bool_()),
        ("frames", pa.int32()),
        ("orientation", pa.int16()),
        ("icc", pa.bool_()),
        ("engine", pa.string()),
        ("notes", pa.list_(pa.string())),
        ("piece_count", pa.int32()),
        (
            "pieces",
            pa.list_(
                pa.struct(
                    [
                        ("path", pa.string()),
                        ("width", pa.int32()),
                        ("height", pa.int32()),
                        ("bytes", pa.int64()),
                        ("sha256", pa.string()),
                    ]
                )
            ),
        ),
    ]
)


def merge(work: Work[ImagesOptions], item: Item) -> dict[str, Any]:
    """Leaves index.parquet, index.json, contact_sheet.jpg and preview.png; returns the counts.

    Raises `BadInput` naming pictures that failed if the run's `fail_on_error` asks for that.
    """
    rows = complete(work, [row for part in item["parts"] for row in work.get_json("process", "rows", f"{part}.json")])
    if work.options.fail_on_error:
        refuse_errors(rows)
    lines = [json.dumps(public(row), ensure_ascii=False).encode() for row in rows]
    write_parquet(lines, work.scratch / "index.parquet")
    work.store.upload(str(work.scratch / "index.parquet"), work.out("index.parquet"))
    work.store.put(work.out("index.json"), as_json(lines))
    sheet, preview = drawn(work, rows, work.options.sheet)
    work.store.put(work.out("contact_sheet.jpg"), sheet)
    work.store.put(work.out("preview.png"), preview)
    return summary(rows)


def complete(work: Work[ImagesOptions], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a source, in the order of their names; a source whose list is a tolerated hole is an error too."""
    known = {row["source"]: row for row in rows}
    lost = {"status": "error", "code": "missing", "reason": "its worker failed, and the run tolerates that", "pieces": []}
    full = []
    for source in sorted(work.run.sources, key=lambda source: source.name):
        row = known.get(source.name) or {**lost, "source": source.name, "bytes": source.size}
        parent = str(PurePosixPath(source.name).parent)
        full.append({**row, "folder": "" if parent == "." else parent, "piece_count": len(row["pieces"])})
    return [{name: row.get(name) for name in SCHEMA.names} for row in full]


def refuse_errors(rows: list[dict[str, Any]]) -> None:
    errors = [row for row in rows if row["status"] == "error"]
    if errors:
        named = "; ".join(f"{row['source']}: {row['reason']}" for row in errors[:5])
        more = f"; and {len(errors) - 5} more" if len(errors) > 5 else ""
        raise BadInput(f"{len(errors)} of {len(rows)} pictures failed, and fail_on_error is set: {named}{more}")


def write_parquet(lines: list[bytes], path: Path) -> None:
    """Rows from their JSON, which Arrow reads itself; to take Python objects it would load pandas, if that is installed."""
    options = pa.json.ParseOptions(explicit_schema=SCHEMA, unexpected_field_behavior="error")
    block = pa.json.ReadOptions(use_threads=False, block_size=max(1 << 24, 1 + max(map(len, lines), default=0)))
    table = pa.json.read_json(pa.py_buffer(b"\n".join(lines)), block, options)
    pq.write_table(table, path, compression="zstd")


def as_json(lines: list[bytes]) -> bytes:
    """One row a line, so that a person can read it and `grep` finds a source."""
    return b'{"schema": 1, "rows": [\n' + b",\n".join(lines) + b"\n]}\n"


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts of the whole and of each folder, and the errors (the first 200) for the report."""
    folders: dict[str, dict[str, int]] = {}
    codes: dict[str, int] = {}
    engines: dict[str, int] = {}
    for row in rows:
        entry = folders.setdefault(row["folder"], {"pictures": 0, "errors": 0, "pieces": 0})
        entry["pictures"] += 1
        entry["pieces"] += row["piece_count"]
        if row["status"] == "error":
            entry["errors"] += 1
            codes[row["code"]] = codes.get(row["code"], 0) + 1
        else:
            engines[row["engine"]] = engines.get(row["engine"], 0) + 1
    errors = [[row["source"], row["code"], row["reason"]] for row in rows if row["status"] == "error"]
    return {
        "pictures": len(rows),
        "errors": len(errors),
        "pieces": sum(row["piece_count"] for row in rows),
        "folders": folders,
        "codes": codes,
        "engines": engines,
        "failed": errors[:200],
    }
