"""Runs drops of the toy workload `sums` through a real twin: real state machines, Lambda workers, Batch subprocesses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import boto3

from tilery import keys
from tilery.store.directory import DirectoryStore
from twin.twin import Accepted, Twin

T = TypeVar("T")


async def dropped(twin: Twin, key: str) -> Accepted:
    """Raise the upload event of a key that must start (or find) a run."""
    answer = await twin.drop(key)
    assert isinstance(answer, Accepted), answer
    return answer


def stepfunctions(twin: Twin) -> Any:
    """A boto3 client on the twin's endpoint."""
    return boto3.client(
        "stepfunctions", endpoint_url=twin.url, region_name="us-east-1", aws_access_key_id="twin", aws_secret_access_key="twin"
    )


@dataclass
class Spine:
    """One root folder with a twin that is started for every call of `on_twin`."""

    root: Path

    @property
    def store(self) -> DirectoryStore:
        return DirectoryStore(self.root)

    def on_twin(self, act: Callable[[Twin], Awaitable[T]]) -> T:
        async def live() -> T:
            async with Twin(self.root, workloads=["sums"]) as twin:
                return await act(twin)

        return asyncio.run(live())

    def put(self, files: dict[str, bytes], dataset: str = "set", ready: dict[str, Any] | bytes | None = None) -> str:
        """Store a dataset in the drop folder; returns the key of its _READY.json."""
        for name, data in files.items():
            self.store.put(f"drop/acme/sums/{dataset}/{name}", data)
        key = f"drop/acme/sums/{dataset}/{keys.READY}"
        self.store.put(key, ready if isinstance(ready, bytes) else json.dumps(ready or {}).encode())
        return key

    def run(self, key: str) -> Outcome:
        """Raise the upload event of a key, wait for its run."""

        async def act(twin: Twin) -> Outcome:
            accepted = await dropped(twin, key)
            await twin.wait(accepted.run_id)
            return self.outcome(accepted.run_id)

        return self.on_twin(act)

    def run_dataset(self, files: dict[str, bytes], options: dict[str, Any], dataset: str = "set") -> Outcome:
        return self.run(self.put(files, dataset, {"options": options}))

    def outcome(self, run_id: str, dataset: str = "") -> Outcome:
        given = json.loads(self.store.get(keys.run("acme", run_id, "manifest.json")))
        return Outcome(self.store, run_id, f"results/acme/sums/{given['dataset']}/{run_id}")

    def calls(self) -> dict[str, int]:
        """How often each process item was really worked on, in all runs."""
        count: dict[str, int] = {}
        for entry in self.store.list("work/acme/process/"):
            parts = entry.key.split("/")
            if parts[4] == "calls":
                item = parts[5].split(".")[0]
                count[item] = count.get(item, 0) + 1
        return count


@dataclass
class Outcome:
    """What a run left behind."""

    store: DirectoryStore
    run_id: str
    folder: str

    def json(self, name: str) -> Any:
        return json.loads(self.store.get(f"{self.folder}/{name}"))

    @property
    def record(self) -> Any:
        return self.json("run.json")

    @property
    def status(self) -> str:
        return str(self.record["status"])

    @property
    def failure(self) -> Any:
        return self.json("failure.json")

    @property
    def events(self) -> list[str]:
        """Names of the run's ledger events, in the order of their moments (equal moments: a notice is last)."""
        found = [json.loads(self.store.get(entry.key)) for entry in self.store.list("ledger/acme/") if self.run_id in entry.key]
        return [event["event"] for event in sorted(found, key=lambda event: (event["at"], event["event"].startswith("notice")))]
