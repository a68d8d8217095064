"""Which tenant's store each handler opens: in the cloud a store without a tenant has no right to any object."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.toys import SUMS, environment
from tilery import explain, keys, ledger, manifest, names, registry, watchdog
from tilery.store import open_store
from tilery.store.directory import DirectoryStore
from tilery.workloads.cctv.workload import Cctv

MACHINE = "arn:aws:states:local:000000000000:stateMachine:tilery-sums"
ARN = MACHINE.replace("stateMachine", "execution") + ":{}"


class Opened:
    """Opens stores and remembers for whom."""

    def __init__(self, root: Path) -> None:
        self.store = DirectoryStore(root)
        self.tenants: list[str] = []

    def __call__(self, tenant: str = "") -> DirectoryStore:
        self.tenants.append(tenant)
        return self.store


class StepFunctions:
    """Answers for executions that have ended badly: (name, input)."""

    def __init__(self, *executions: tuple[str, object]) -> None:
        self.inputs = {ARN.format(name): given for name, given in executions}

    def list_executions(self, *, stateMachineArn: str, statusFilter: str, maxResults: int) -> dict[str, Any]:
        found = [
            {"executionArn": arn, "name": arn.rpartition(":")[2], "stopDate": datetime.now(UTC)}
            for arn in self.inputs
            if statusFilter == "FAILED"
        ]
        return {"executions": found}

    def describe_execution(self, *, executionArn: str) -> dict[str, Any]:
        return {
            "name": executionArn.rpartition(":")[2],
            "status": "FAILED",
            "input": json.dumps(self.inputs[executionArn]),
            "error": "BadInput",
            "cause": json.dumps({"errorType": "BadInput", "errorMessage": "the file is cut off"}),
        }


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    with environment({**SUMS, "TILERY_STORE": (tmp_path / "root").as_uri()}):
        registry.load.cache_clear()
        yield Opened(tmp_path / "root")


def received(opened: Opened, tenant: str) -> str:
    key = f"drop/{tenant}/sums/a.txt"
    opened.store.put(key, b"1\n")
    entry = opened.store.head(key)
    assert entry is not None
    return manifest.receive(opened.store, "drop", key, entry.version).run_id


def handler(function: str, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], Any]:
    module = importlib.import_module(f"functions.{function}.handler")
    monkeypatch.setattr(module, "open_store", opened)
    context = SimpleNamespace(
        function_name=function, memory_limit_in_mb=512, invoked_function_arn=f"arn:{function}", aws_request_id="x"
    )
    return lambda event: module.handler(event, context)


def created(key: str) -> dict[str, Any]:
    return {"schema": 1, "event": {"detail": {"bucket": {"name": "drop"}, "object": {"key": key, "version-id": "1"}}}}


def test_intake_opens_the_store_of_the_tenant_in_the_key(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    opened.store.put("drop/acme/sums/a.txt", b"1\n")
    answer = handler("intake", opened, monkeypatch)(created("drop/acme/sums/a.txt"))
    assert answer["start"] is True
    assert opened.tenants == ["acme"]


def test_intake_starts_no_run_that_no_machine_here_could_do(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library in the layer knows every workload, the deployment has some."""
    opened.store.put("drop/acme/sums/a.txt", b"1\n")
    monkeypatch.setenv("TILERY_PIPELINES", json.dumps({"pointcloud": MACHINE, "trend": MACHINE}))
    answer = handler("intake", opened, monkeypatch)(created("drop/acme/sums/a.txt"))
    assert (answer["start"], answer["why"]) == (False, "there is no workload 'sums' here; choose one of: pointcloud, trend")
    assert opened.tenants == []


@pytest.mark.parametrize("key", ["drop/ACME/sums/a.txt", "drop/a.txt", "drop/acme/../sums/a.txt", "other/acme/sums/a.txt"])
def test_intake_opens_no_store_for_a_key_without_a_good_tenant(
    key: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = handler("intake", opened, monkeypatch)(created(key))
    assert answer["start"] is False
    assert answer["why"]
    assert opened.tenants == []


@pytest.mark.parametrize("function", [one.name for one in names.FUNCTIONS.values() if one.pipeline])
def test_every_function_of_the_pipeline_opens_the_store_of_its_tenant(
    function: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = {
        "tenant": "acme",
        "run_id": "f" * 64,
        "stage": "tile",
        "job": "work/acme/x",
        "round": 0,
        "redriven": 0,
        "token": "t",
    }
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with pytest.raises(Exception):  # noqa: B017, PT011 - there is no such run: whatever comes of it, it comes from this store
        handler(function, opened, monkeypatch)(event)
    assert opened.tenants == ["acme"]


def test_explain_asks_the_execution_whose_it_is(opened: Opened) -> None:
    run_id = received(opened, "acme")
    failure = explain.explain(opened, StepFunctions((run_id, {"tenant": "acme"})), ARN.format(run_id))
    assert failure is not None
    assert failure["sentence"] == "the file is cut off"
    assert opened.tenants == ["acme"]


def test_the_watchdog_opens_the_store_of_each_runs_tenant_and_explains_once(opened: Opened) -> None:
    runs = {tenant: received(opened, tenant) for tenant in ("acme", "other")}
    sfn = StepFunctions(*((run_id, {"tenant": tenant}) for tenant, run_id in runs.items()))
    assert sorted(watchdog.reconcile(opened, sfn, {"sums": MACHINE})) == sorted(runs.values())
    assert set(opened.tenants) == {"acme", "other"}
    assert watchdog.reconcile(opened, sfn, {"sums": MACHINE}) == []
    for tenant, run_id in runs.items():
        day = manifest.read(opened.store, tenant, run_id).received[:10]
        assert "failed-0" in {event["event"] for event in ledger.events(opened.store, tenant, day, run_id)}


@pytest.mark.parametrize("given", [{}, [], "text", {"tenant": 3}, {"tenant": "../other"}, {"tenant": "OTHER"}])
def test_an_execution_that_somebody_started_by_hand_is_nobodys_and_stops_no_round(given: object, opened: Opened) -> None:
    run_id = received(opened, "acme")
    sfn = StepFunctions(("by-hand", given), (run_id, {"tenant": "acme"}))
    assert watchdog.reconcile(opened, sfn, {"sums": MACHINE}) == [run_id]
    assert explain.explain(opened, sfn, ARN.format("by-hand")) is None
    assert set(opened.tenants) == {"acme"}


def test_the_handlers_hand_on_how_to_open_a_store_and_open_none_themselves(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    sfn = StepFunctions(("by-hand", {}))
    monkeypatch.setattr("boto3.client", lambda service: sfn)
    monkeypatch.setenv("TILERY_PIPELINES", json.dumps({"sums": MACHINE}))
    assert handler("watchdog", opened, monkeypatch)({}) == {"explained": []}
    assert handler("explain", opened, monkeypatch)({"detail": {"executionArn": ARN.format("by-hand")}}) == {"explained": False}
    assert opened.tenants == []


def test_the_watchdogs_round_at_three_tidies_up_for_every_tenant_and_one_that_fails_stops_no_other(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tidy(workload: object, store: object, tenant: str) -> dict[str, int]:
        if tenant == "acme":
            raise OSError("full")
        return {"deleted": 3}

    monkeypatch.setattr(Cctv, "tidy", tidy)
    monkeypatch.setattr("boto3.client", lambda service: StepFunctions())
    monkeypatch.setenv("TILERY_PIPELINES", json.dumps({"sums": MACHINE}))
    monkeypatch.setenv("TILERY_TENANTS", "acme,other")
    watchdog = handler("watchdog", opened, monkeypatch)
    assert watchdog({"time": "2026-11-21T03:07:00Z"}) == {"explained": []}
    assert opened.tenants == []
    tidied = {"acme/cctv": {"failed": "OSError: full"}, "other/cctv": {"deleted": 3}}
    assert watchdog({"time": "2026-11-21T03:02:00Z"}) == {"explained": [], "tidied": tidied}
    assert watchdog({"time": "", "detail": {"tidy": ["other"]}})["tidied"] == {"other/cctv": {"deleted": 3}}


def test_a_store_for_a_tenant_is_the_only_kind_that_handlers_open() -> None:
    root = Path(keys.__file__).parents[1]
    for file in [*root.glob("functions/*/handler.py"), root / "containers" / "entrypoint.py"]:
        assert "open_store()" not in file.read_text(), file
    assert open_store.__defaults__ == ("",)
