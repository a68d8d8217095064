"""The run book tells the state of a run from its events alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tilery import explain, gates, ledger, manifest
from tilery.outcomes import BadInput
from tilery.run import Estimate, Manifest, Run, Trigger
from tilery.store.directory import DirectoryStore
from tilery.store.recording import RecordingStore

TRIGGER = Trigger(bucket="drop", key="drop/acme/sums/a.txt", version="1")


def given(store: DirectoryStore) -> Manifest:
    run = Manifest(run_id="r" * 64, tenant="acme", workload="sums", dataset="a.txt", trigger=TRIGGER, received=ledger.now())
    return manifest.write(store, run)


def status(store: DirectoryStore) -> str:
    return str(next(ledger.runs(store, "acme"))["status"])


@pytest.mark.parametrize("clock", ["ticking", "standing still", "running backwards"])
def test_a_run_is_running_until_it_ends_and_again_after_a_redrive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: str
) -> None:
    if clock != "ticking":  # events come from several machines, and several within a millisecond
        step = 0 if clock == "standing still" else -1
        times = (f"2026-11-21T10:00:{second:02d}.000+00:00" for second in range(50, 0, step or -50))
        last = next(times)
        monkeypatch.setattr(ledger, "now", lambda: next(times, last))
    store = DirectoryStore(tmp_path)
    run = given(store)
    assert status(store) == "RUNNING"
    ledger.write(store, run, "failed-0", sentence="a tile is missing")
    assert status(store) == "FAILED"
    explain.redriven(store, "acme", run.run_id, 1)
    assert status(store) == "RUNNING"
    ledger.write(store, run, "succeeded")
    assert status(store) == "SUCCEEDED"


def test_an_upload_whose_intake_was_killed_halfway_is_in_the_book_when_its_event_comes_again(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)

    class Killed(DirectoryStore):
        def put(self, key: str, data: bytes) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        given(Killed(tmp_path))
    assert list(ledger.runs(store, "acme")) == []
    run = given(store)
    assert status(store) == "RUNNING"
    assert manifest.read_brief(store, "acme", run.run_id) == run


def test_runs_come_newest_first_and_the_book_of_years_is_not_listed_for_the_last_one(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "root")
    for days in (400, 8, 1, 0):
        received = datetime.now(UTC) - timedelta(days)
        run = Manifest(
            run_id=f"{days:064d}", tenant="acme", workload="sums", dataset="a", trigger=TRIGGER, received=received.isoformat()
        )
        ledger.write(store, run, "received")
    assert [int(run["run_id"]) for run in ledger.runs(store, "acme")] == [0, 1, 8, 400]
    log = tmp_path / "operations"
    next(ledger.runs(RecordingStore(store, str(log), ""), "acme"))
    listed = [one["key"] for one in map(json.loads, log.read_text().splitlines()) if one["operation"] == "list"]
    assert listed[0] == f"ledger/acme/{datetime.now(UTC):%Y-%m-%d}/"
    assert "ledger/acme/" not in listed


def test_an_event_is_written_once(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    run = given(store)
    assert ledger.write(store, run, "sized", lane="fargate")
    assert not ledger.write(store, run, "sized", lane="lambda")
    events = ledger.events(store, "acme", run.received[:10], run.run_id)
    assert [event.get("lane") for event in events] == [None, "fargate"]


def test_a_run_that_one_worker_does_in_one_go_cannot_be_paused(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    run = given(store)
    sized = Run(
        run_id=run.run_id,
        tenant="acme",
        workload="sums",
        dataset="a.txt",
        trigger=TRIGGER,
        sources=[],
        options={},
        fingerprint="f",
        lane="lambda",
        lane_reason="small",
        estimate=Estimate(seconds=1, dollars=0),
        counts={},
        facts={},
        received=run.received,
        version="0",
    )
    store.put(f"work/acme/runs/{run.run_id}/run.json", sized.model_dump_json().encode())
    with pytest.raises(BadInput, match="nothing to pause"):
        gates.pause(store, "acme", run.run_id)


def test_the_newest_runs_are_told_without_reading_other_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DirectoryStore(tmp_path)
    for day in (19, 21, 20):
        for hour in (9, 11):
            received = f"2026-11-{day}T{hour:02d}:00:00.000+00:00"
            monkeypatch.setattr(ledger, "now", lambda received=received: received)
            name = f"{day}{hour:02d}" * 16
            manifest.write(
                store,
                Manifest(run_id=name, tenant="acme", workload="sums", dataset="a", trigger=TRIGGER, received=received),
            )
    read: list[str] = []
    monkeypatch.setattr(store, "get", lambda key, get=store.get: read.append(key) or get(key))
    runs = ledger.runs(store, "acme")
    assert [next(runs)["run_id"][:4] for _ in range(2)] == ["2111", "2109"]
    assert read
    assert all("/2026-11-21/" in key for key in read)
    assert [run["run_id"][:4] for run in runs] == ["2011", "2009", "1911", "1909"]
