"""Runs the features workload through the stage loop, without a state machine."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from tests import machine
from tilery import keys, manifest, publishing, sizing, whole
from tilery.run import Record
from tilery.store.port import Store

WORKLOAD = {"TILERY_WORKLOADS": json.dumps({"features": "tilery.workloads.features.workload:Features"})}


@dataclass
class Result:
    store: Store
    record: Record
    folder: str

    def get(self, path: str) -> bytes:
        return self.store.get(f"{self.folder}/{path}")

    def rows(self, part: int = 0) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(self.get(f"features/part-{part:05d}.parquet"))).to_pylist()
        return rows

    def products(self) -> dict[str, str]:
        """Path -> digest, without the report: it tells the time."""
        return {one.path: one.digest["value"] for one in self.record.products if one.kind != "report"}


def run(store: Store, files: Mapping[str, bytes], options: Mapping[str, Any], dataset: str = "set") -> Result:
    """Drop files, do every stage, publish."""
    for name, data in files.items():
        store.put(f"drop/acme/features/{dataset}/{name}", data)
    key = f"drop/acme/features/{dataset}/{keys.READY}"
    store.put(key, json.dumps({"options": dict(options)}).encode())
    entry = store.head(key)
    assert entry is not None
    run_id = manifest.receive(store, "drop", key, entry.version).run_id
    sized = sizing.size(store, "acme", run_id)
    if sized.lane == "lambda":
        whole.whole(store, "acme", run_id)
    else:
        machine.every_stage(store, run_id)
    record = publishing.publish(store, "acme", run_id)
    return Result(store, record, keys.result("acme", "features", dataset, run_id))
