"""Gathers the rows of all lists into one index, Parquet and JSON, with what is known of each source and its pieces.

A drop may hold a million pictures: rows pass through, some thousands at a time, and none but those on the sheet are kept.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePosixPath
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


FAILED, FOLDERS = 200, 500
"""How many errors and folders the report names."""
ROWS = 5_000
"""Rows of a row group, and about what the merge holds at once, however many pictures there are."""
AT_ONCE = 8
"""Lists whose rows are read ahead."""


def merge(work: Work[ImagesOptions], item: Item) -> dict[str, Any]:
    """Leaves index.parquet, index.json, contact_sheet.jpg and preview.png; returns the counts.

    Raises `BadInput` naming pictures that failed if the run's `fail_on_error` asks for that.
    """
    count = len(work.run.sources)
    most = min(work.options.sheet, count)
    chosen = frozenset(number * count // most for number in range(most))
    summary, shown = Summary(), []
    parquet = work.scratch / "index.parquet"
    with work.store.writer(work.out("index.json")) as index, pq.ParquetWriter(parquet, SCHEMA, compression="zstd") as table:
        index.write(b'{"schema": 1, "rows": [')
        for number, group in enumerate(_groups(complete(work, _rows(work, item["parts"])))):
            lines = [json.dumps(public(row), ensure_ascii=False).encode() for row in group]
            # one row a line, so that a person can read it and `grep` finds a source
            index.write((b",\n" if number else b"\n") + b",\n".join(lines))
            table.write_table(as_table(lines), ROWS)
            shown += [row for at, row in enumerate(group, number * ROWS) if at in chosen]
            summary.add(group)
        index.write(b"\n]}\n")
    if work.options.fail_on_error:
        summary.refuse_errors()
    work.store.upload(str(parquet), work.out("index.parquet"))
    sheet, preview = drawn(work, shown)
    work.store.put(work.out("contact_sheet.jpg"), sheet)
    work.store.put(work.out("preview.png"), preview)
    return summary.value()


def _rows(work: Work[ImagesOptions], lists: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of all lists, by the names of their sources: a list holds neighbours, and its rows are sorted."""

    def read(name: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = work.get_json("process", "rows", f"{name}.json")
        return rows

    with ThreadPoolExecutor(AT_ONCE) as pool:
        ahead: deque[Future[list[dict[str, Any]]]] = deque()
        for name in lists:
            ahead.append(pool.submit(read, name))
            if len(ahead) > AT_ONCE:
                yield from ahead.popleft().result()
        for left in ahead:
            yield from left.result()


def complete(work: Work[ImagesOptions], rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One row a source, in the order of their names; a source whose list is a tolerated hole is an error too."""
    lost = {"status": "error", "code": "missing", "reason": "its worker failed, and the run tolerates that", "pieces": []}
    known = next(rows, None)
    for source in sorted(work.run.sources, key=lambda source: source.name):
        row: dict[str, Any] = {**lost, "source": source.name, "bytes": source.size}
        if known is not None and known["source"] == source.name:
            row, known = known, next(rows, None)
        parent = str(PurePosixPath(source.name).parent)
        row = {**row, "folder": "" if parent == "." else parent, "piece_count": len(row["pieces"])}
        yield {name: row.get(name) for name in SCHEMA.names}


def _groups(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while group := list(islice(rows, ROWS)):
        yield group


def as_table(lines: list[bytes]) -> pa.Table:
    """Rows from their JSON, which Arrow reads itself; to take Python objects it would load pandas, if that is installed."""
    options = pa.json.ParseOptions(explicit_schema=SCHEMA, unexpected_field_behavior="error")
    block = pa.json.ReadOptions(use_threads=False, block_size=max(1 << 24, 1 + max(map(len, lines), default=0)))
    return pa.json.read_json(pa.py_buffer(b"\n".join(lines)), block, options)


@dataclass
class Summary:
    """Counts of the whole and of each folder, and the first errors, for the report."""

    pictures: int = 0
    errors: int = 0
    pieces: int = 0
    folders: dict[str, dict[str, int]] = field(default_factory=dict)
    codes: Counter[str] = field(default_factory=Counter)
    engines: Counter[str] = field(default_factory=Counter)
    failed: list[list[str]] = field(default_factory=list)

    def add(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            bad = row["status"] == "error"
            entry = self.folders.setdefault(row["folder"], {"pictures": 0, "errors": 0, "pieces": 0})
            entry["pictures"] += 1
            entry["errors"] += bad
            entry["pieces"] += row["piece_count"]
            self.pieces += row["piece_count"]
            if not bad:
                self.engines[row["engine"]] += 1
                continue
            self.codes[row["code"]] += 1
            if self.errors < FAILED:
                self.failed.append([row["source"], row["code"], row["reason"]])
            self.errors += 1
        self.pictures += len(rows)

    def refuse_errors(self) -> None:
        if self.errors:
            named = "; ".join(f"{source}: {reason}" for source, _, reason in self.failed[:5])
            more = f"; and {self.errors - 5} more" if self.errors > 5 else ""
            raise BadInput(f"{self.errors} of {self.pictures} pictures failed, and fail_on_error is set: {named}{more}")

    def value(self) -> dict[str, Any]:
        """What `publish` gets; of very many folders the report names the first."""
        folders = dict(sorted(self.folders.items())[:FOLDERS])
        counts = {"pictures": self.pictures, "errors": self.errors, "pieces": self.pieces, "folder_count": len(self.folders)}
        return {**counts, "folders": folders, "codes": self.codes, "engines": self.engines, "failed": self.failed}
