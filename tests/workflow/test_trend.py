"""Trends through the real state machines: a folder of dated pictures becomes products, on either lane the same ones."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from tests.toys import environment
from tests.unit.trend_files import TREND, write
from tests.workflow.spine import dropped
from tilery import keys, registry
from tilery.store.directory import DirectoryStore
from twin.twin import Twin

T = TypeVar("T")
DATES = ["2020-01-01", "2020-06-01", "2021-01-01", "2021-06-01", "2022-01-01"]


@dataclass
class Drops:
    """A twin that knows the trend workload, and five pictures."""

    root: Path
    files: list[Path]

    @property
    def store(self) -> DirectoryStore:
        return DirectoryStore(self.root)

    def put(self, dataset: str, options: dict[str, Any]) -> str:
        for path in self.files:
            self.store.upload(str(path), f"drop/acme/trend/{dataset}/{path.name}")
        key = f"drop/acme/trend/{dataset}/{keys.READY}"
        self.store.put(key, json.dumps({"options": options}).encode())
        return key

    def on_twin(self, act: Callable[[Twin], Awaitable[T]]) -> T:
        async def live() -> T:
            async with Twin(self.root, workloads=["trend"]) as twin:
                return await act(twin)

        return asyncio.run(live())

    def json(self, dataset: str, run_id: str, name: str) -> Any:
        return json.loads(self.store.get(f"results/acme/trend/{dataset}/{run_id}/{name}"))

    def digest(self, dataset: str, run_id: str) -> str:
        return hashlib.sha256(self.store.get(f"results/acme/trend/{dataset}/{run_id}/trend.tif")).hexdigest()


@pytest.fixture
def drops(tmp_path: Path) -> Iterator[Drops]:
    level = np.random.default_rng(1).integers(100, 900, (5, 200, 300))
    files = [
        write(tmp_path / f"p_{day}.tif", (layer + 50 * number).astype(np.uint16))
        for number, (day, layer) in enumerate(zip(DATES, level, strict=True))
    ]
    with environment(TREND):
        registry.load.cache_clear()
        yield Drops(tmp_path / "root", files)


def test_both_lanes_publish_the_same_trend_and_two_events_are_one_run(drops: Drops) -> None:
    async def act(twin: Twin) -> tuple[str, str]:
        whole = await dropped(twin, drops.put("whole", {"lane": "lambda"}))
        tiled_key = drops.put("tiled", {"lane": "fargate", "block": 128, "window": 128})
        tiled, again = await dropped(twin, tiled_key), await dropped(twin, tiled_key)
        assert again.run_id == tiled.run_id
        blocks = await dropped(twin, drops.put("blocks", {"lane": "lambda", "block": 128}))
        for run in (whole, tiled, blocks):
            await twin.wait(run.run_id)
        assert drops.json("whole", whole.run_id, "run.json")["status"] == "SUCCEEDED"
        assert drops.json("tiled", tiled.run_id, "run.json")["lane"] == "fargate"
        assert set(drops.json("tiled", tiled.run_id, "run.json")["timings"]["stages"]) == {"process", "merge"}
        return drops.digest("tiled", tiled.run_id), drops.digest("blocks", blocks.run_id)

    tiled, blocks = drops.on_twin(act)
    assert tiled == blocks


def test_a_picture_without_a_date_fails_the_run_with_a_sentence(drops: Drops) -> None:
    drops.files.append(drops.files[0].rename(drops.files[0].with_name("undated.tif")))
    del drops.files[0]

    async def act(twin: Twin) -> str:
        run = await dropped(twin, drops.put("bad", {}))
        await twin.wait(run.run_id)
        for _ in range(100):
            if drops.store.head(f"results/acme/trend/bad/{run.run_id}/failure.json"):
                break
            await asyncio.sleep(0.1)
        return run.run_id

    failure = drops.json("bad", drops.on_twin(act), "failure.json")
    assert failure["error"] == "BadInput"
    assert failure["sentence"].startswith("undated.tif has no date in a STAC item, its tags or its name; set pattern")
