"""A real run of the point cloud through the twin with everything written down: processes, store operations, AWS calls, states.

In both lanes, paused and resumed between two stages, and once failing, so that every function works at least once.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.data import autzen_trim
from tilery import gates, keys
from tilery.store.directory import DirectoryStore
from twin import events
from twin.engine import ExecutionInfo, Machine
from twin.twin import Accepted, Twin

TENANT = "acme"
SHARDED = {"lane": "fargate", "tile_area_km2": 0.2, "shard_mib": 0.2, "pause": ["process"]}
"""A few shards and tiles of the sample."""


@dataclass(frozen=True)
class Execution:
    """One execution, its events in the AWS shape, and those of its map runs' children."""

    info: ExecutionInfo
    events: list[dict[str, Any]]
    children: list[Execution]

    @property
    def family(self) -> Iterator[Execution]:
        yield self
        for child in self.children:
            yield from child.family

    @property
    def tasks(self) -> Iterator[tuple[str, Any]]:
        """(resource, arguments) of every task that was scheduled."""
        for event in self.events:
            if event["type"] == "TaskScheduled":
                details = event["taskScheduledEventDetails"]
                yield f"{details['resourceType']}:{details['resource']}", json.loads(details["parameters"])

    @property
    def job_lists(self) -> set[str]:
        """The keys that the maps read: the variable `jobs`."""
        details = [event.get("stateExitedEventDetails", {}).get("assignedVariables", {}) for event in self.events]
        return {json.loads(assigned["jobs"]) for assigned in details if assigned.get("jobs", '""') != '""'}


@dataclass(frozen=True)
class RecordedRun:
    """What the twin left: `lines` of the record, executions of the three drops and of their ingests, and the definitions."""

    root: Path
    lines: list[dict[str, Any]]
    executions: list[Execution]
    machines: list[Machine]

    @cached_property
    def store_operations(self) -> list[dict[str, Any]]:
        """Each different operation of a function on a key once."""
        different = {json.dumps(line, sort_keys=True) for line in self.lines if "operation" in line}
        return [json.loads(line) for line in sorted(different)]

    @cached_property
    def aws_calls(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if "call" in line]

    @cached_property
    def processes(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if "process" in line]

    @property
    def all_executions(self) -> Iterator[Execution]:
        for execution in self.executions:
            yield from execution.family

    @property
    def map_files(self) -> list[str]:
        """The keys that the maps' result writers wrote."""
        return [file.relative_to(self.root).as_posix() for file in self.root.glob("work/*/runs/*/map/**/*") if file.is_file()]


def record(folder: Path) -> RecordedRun:
    """Run the drops in a twin below `folder`."""
    root, path = folder / "root", folder / "record.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TILERY_RECORD", str(path))
        executions, machines = asyncio.run(_live(root))
    return RecordedRun(root, [json.loads(line) for line in path.read_text().splitlines()], executions, machines)


async def _live(root: Path) -> tuple[list[Execution], list[Machine]]:
    store = DirectoryStore(root)
    async with Twin(root, workloads=["pointcloud"]) as twin:
        small, sharded, cut_off = _put_drops(root, store)
        await _run(twin, small, "SUCCEEDED")
        await _run(twin, cut_off, "FAILED")
        await _run_paused(twin, store, sharded)
        await twin._lambdas.invoke("watchdog", events.schedule("watchdog"))
        found = [_execution(twin, info) for info in twin.engine.executions()]
        return found, twin.engine.machines()


def _put_drops(root: Path, store: DirectoryStore) -> tuple[str, str, str]:
    data = autzen_trim()
    folder = f"drop/{TENANT}/pointcloud"
    (root / folder / "set").mkdir(parents=True)
    shutil.copyfile(data, root / folder / "small.laz")
    shutil.copyfile(data, root / folder / "set" / "a.laz")
    store.put(f"{folder}/set/{keys.READY}", json.dumps({"options": SHARDED}).encode())
    store.put(f"{folder}/cut-off.laz", data.read_bytes()[:300])
    return f"{folder}/small.laz", f"{folder}/set/{keys.READY}", f"{folder}/cut-off.laz"


async def _run(twin: Twin, key: str, status: str) -> None:
    accepted = await twin.drop(key)
    assert isinstance(accepted, Accepted), accepted
    ended = await twin.wait(accepted.run_id)
    assert ended.status == status, ended


async def _run_paused(twin: Twin, store: DirectoryStore, key: str) -> None:
    accepted = await twin.drop(key)
    assert isinstance(accepted, Accepted), accepted
    while not gates.waiting(store, TENANT, accepted.run_id):
        assert twin.engine.describe(accepted.execution_arn).status == "RUNNING"
        await asyncio.sleep(0.05)
    who: Any = {"region_name": "us-east-1", "aws_access_key_id": "twin", "aws_secret_access_key": "twin"}
    client = boto3.Session().client("stepfunctions", endpoint_url=twin.url, **who)
    await asyncio.to_thread(gates.resume, store, client, TENANT, accepted.run_id)
    assert (await twin.wait(accepted.run_id)).status == "SUCCEEDED"


def _execution(twin: Twin, info: ExecutionInfo) -> Execution:
    runs = [] if info.kind == "EXPRESS" or info.map_run_arn else twin.engine.map_runs(info.arn)
    children = [_execution(twin, child) for run in runs for child in twin.engine.map_run_executions(run["mapRunArn"])]
    return Execution(info, twin.engine.history(info.arn), children)
