"""The features workload through the real twin: drop, state machines, workers, products."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import pyarrow.parquet as pq

from tests.toys import environment
from tests.unit.features_run import WORKLOAD
from tests.unit.test_features_run import SMALL, drop, small_model
from tests.workflow.spine import Outcome, dropped
from tilery import keys, registry
from tilery.store.directory import DirectoryStore
from twin.twin import Twin


def through_the_twin(root: Path, options: dict[str, object], dataset: str) -> Outcome:
    """Drop 150 small pictures, one of them bad, and their backbone twice; wait for the run."""
    store = DirectoryStore(root)
    for name, data in {**drop(150), "small.onnx": small_model(), "odd/bad.png": b"no"}.items():
        store.put(f"drop/acme/features/{dataset}/{name}", data)
    key = f"drop/acme/features/{dataset}/{keys.READY}"
    store.put(key, json.dumps({"options": options}).encode())

    async def live() -> str:
        async with Twin(root, workloads=["features"]) as twin:
            first, again = await dropped(twin, key), await dropped(twin, key)
            assert first.run_id == again.run_id
            await twin.wait(first.run_id)
            return first.run_id

    run_id = asyncio.run(live())
    return Outcome(store, run_id, f"results/acme/features/{dataset}/{run_id}")


def test_a_dropped_folder_becomes_features_in_both_lanes_with_the_same_bytes(tmp_path: Path) -> None:
    with environment(WORKLOAD):
        registry.load.cache_clear()
        found = []
        for lane in ("fargate", "lambda"):
            outcome = through_the_twin(tmp_path / lane, {**SMALL, "lane": lane, "list_pictures": 64}, "shapes")
            record = outcome.record
            assert (record["status"], record["lane"]) == ("SUCCEEDED", lane), record
            assert record["counts"]["embedded"] == 150
            assert record["warnings"] == ["1 of 151 pictures gave no features: 1 not a picture"]
            found.append({one["path"]: one["digest"]["value"] for one in record["products"] if one["kind"] != "report"})
            rows = pq.read_table(io.BytesIO(outcome.store.get(f"{outcome.folder}/features/part-00000.parquet"))).to_pylist()
            assert len(rows) == 151
            assert [row["path"] for row in rows if row["status"] == "error"] == ["odd/bad.png"]
        assert found[0] == found[1]
