"""How far a worker is, as its log and as people's tools see it."""

from __future__ import annotations

import logging
from itertools import count
from pathlib import Path

import pytest

from cli.progress import Step
from tests.unit.test_ledger import given
from tilery import progress
from tilery.progress import Progress
from tilery.run import Estimate, Run
from tilery.store.directory import DirectoryStore


def run_of(store: DirectoryStore) -> Run:
    manifest = given(store)
    return Run(
        **manifest.model_dump(include={"run_id", "tenant", "workload", "dataset", "trigger", "received"}),
        sources=[],
        options={},
        fingerprint="f",
        lane="lambda",
        lane_reason="small",
        estimate=Estimate(seconds=1, dollars=0),
        counts={},
        facts={},
        version="",
    )


def test_the_share_of_a_job_is_that_of_its_items() -> None:
    told: list[tuple[str, float]] = []
    job = Progress("process", 4, lambda stage, share: told.append((stage, share)))
    job.of_item(0, "a")(0.5)
    job.of_item(3, "d")(7.0)
    assert told == [("process", 0.0), ("process", 0.125), ("process", 0.75), ("process", 1.0)]


def test_a_long_item_is_a_line_in_the_log_every_half_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("tilery"), "propagate", True)  # a handler imported here before took its lines
    seconds = count(0.0, 10.0)
    job = Progress("process", 2, clock=lambda: next(seconds))
    with caplog.at_level(logging.INFO, "tilery.worker"):
        tell = job.of_item(1, "night")
        for part in range(10):
            tell(part / 10)
    assert [record.getMessage() for record in caplog.records] == [
        "process night 20 % (2/2)",
        "process night 50 % (2/2)",
        "process night 80 % (2/2)",
    ]


def test_what_is_shown_is_written_seldom_and_at_once_for_another_stage(tmp_path: Path) -> None:
    store, seconds = DirectoryStore(tmp_path), count(100.0, 0.5)
    run = run_of(store)
    assert progress.read(store, run.tenant, run.run_id) == ("", 0.0)
    show = progress.shown(store, run, lambda: next(seconds))
    seen = []
    for stage, share in [("tile", 0.0), ("tile", 0.3), ("process", 0.1), ("process", 0.2), ("process", 0.9)]:
        show(stage, share)
        seen.append(progress.read(store, run.tenant, run.run_id))
    assert seen == [("tile", 0.0), ("tile", 0.0), ("process", 0.1), ("process", 0.1), ("process", 0.1)]


def test_a_run_in_one_worker_says_what_it_does() -> None:
    assert Step("Do the whole drop", "RUNNING").words == "doing the whole drop in one worker"
    assert Step("Do the whole drop", "RUNNING", "process", 40, 100).words == "doing the whole drop in one worker: processing"
