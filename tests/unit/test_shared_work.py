"""Runs that meet: two with one folder of work, an old one that ends late, a pause that is taken back at the wrong moment."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from botocore.stub import Stubber

from tests.toys import SUMS, environment
from tilery import gates, keys, lanes, manifest, publishing, registry, sizing, stages, watchdog, whole, worker
from tilery.outcomes import BadInput, Incomplete, OutOfMemory
from tilery.run import Manifest
from tilery.store import open_store
from tilery.store.directory import DirectoryStore
from tilery.store.port import Store

NUMBERS = b"1\n2\n3\n4\n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with environment({**SUMS, "TILERY_STORE": (tmp_path / "root").as_uri()}):
        registry.load.cache_clear()
        yield open_store("acme")


def ready(store: Store, content: dict[str, Any], files: dict[str, bytes] | None = None) -> Manifest:
    """The manifest of a dataset `set` whose `_READY.json` holds `content`."""
    for name, data in (files or {"a.txt": NUMBERS}).items():
        store.create(f"drop/acme/sums/set/{name}", data)
    key = f"drop/acme/sums/set/{keys.READY}"
    store.put(key, json.dumps(content).encode())
    entry = store.head(key)
    assert entry is not None
    return manifest.receive(store, "drop", key, entry.version)


def sized(store: Store, **options: Any) -> str:
    run_id = ready(store, {"options": options}).run_id
    sizing.size(store, "acme", run_id)
    return run_id


def latest(store: Store) -> str:
    return str(json.loads(store.get("results/acme/sums/set/latest.json"))["run_id"])


def test_latest_is_the_newest_drop_even_if_an_older_run_ends_later(store: Store) -> None:
    older, newer = sized(store, lane="lambda", scale=2), sized(store, lane="lambda", scale=3)
    for run_id in (newer, older):
        whole.whole(store, "acme", run_id)
        publishing.publish(store, "acme", run_id)
    assert latest(store) == newer


def test_a_list_of_items_is_never_replaced_by_another_run(store: Store) -> None:
    run = stages.read_run(store, "acme", sized(store, lane="fargate"))
    link = stages.chain(store, run)[-1]
    stages.write_items(store, link, [{"id": "first", "work": 1}])
    stages.write_items(store, link, [{"id": "second", "work": 1}])
    assert [item["id"] for item in stages.read_items(store, link)] == ["first"]


@pytest.mark.parametrize("gone", ["items.jsonl", "done/f0.json"])
def test_nothing_is_published_once_files_of_the_last_stage_have_expired(store: Store, gone: str) -> None:
    run_id = sized(store, lane="lambda")
    whole.whole(store, "acme", run_id)
    last = stages.last_made(stages.chain(store, stages.read_run(store, "acme", run_id)))
    store.delete([f"{last.folder}/{gone}"])
    with pytest.raises(Incomplete, match="from the work area; drop the input again"):
        publishing.publish(store, "acme", run_id)


def test_the_lambda_lane_tolerates_what_the_sharded_lanes_tolerate(store: Store) -> None:
    run_id = sized(store, lane="lambda", lines=1, tolerate=50, fail={"f0-1": "error"})
    whole.whole(store, "acme", run_id)
    record = publishing.publish(store, "acme", run_id)
    assert (record.status, record.missing) == ("PARTIAL", ["process/f0-1"])


@pytest.mark.parametrize(("kind", "raised"), [("error", Incomplete), ("BadInput", BadInput), ("oom", OutOfMemory)])
def test_the_lambda_lane_without_tolerance_fails_as_the_sharded_lanes_do(
    store: Store, kind: str, raised: type[Exception]
) -> None:
    run_id = sized(store, lane="lambda", lines=1, fail={"f0-1": kind})
    with pytest.raises(raised):
        whole.whole(store, "acme", run_id)


def test_a_refused_drop_cannot_be_redone_without_its_files(store: Store) -> None:
    refused = ready(store, {"files": [{"name": "missing.txt"}]})
    with pytest.raises(BadInput, match=r"the drop was refused: .*'missing\.txt', which is not in the dataset"):
        manifest.redo(store, "acme", refused.run_id, {"scale": 2})


@pytest.mark.parametrize(
    ("files", "sentence"),
    [([], "an empty list of files"), ([{"name": "a.txt"}, {"name": "a.txt"}], "names 'a.txt' twice; name each file once")],
)
def test_a_list_of_files_is_neither_empty_nor_double(store: Store, files: list[Any], sentence: str) -> None:
    assert sentence in ready(store, {"files": files}).refused


def test_a_name_whose_products_would_have_too_long_keys_is_refused_at_once(store: Store) -> None:
    long = "/".join(["d" * 200] * 4) + "/" + "x" * 100 + ".txt"
    assert "is longer than 850 bytes" in ready(store, {}, {long: NUMBERS}).refused


def test_the_size_is_that_of_the_version_which_the_event_names(store: Store) -> None:
    """Two uploads of one key in quick succession: the first one's event is handled when the second one is there."""
    store.put("drop/acme/sums/a.txt", b"1\n2\n3\n")
    given = manifest.receive(store, "drop", "drop/acme/sums/a.txt", "the-version-before", 4)
    assert [(source.version, source.size) for source in given.sources] == [("the-version-before", 4)]


def test_a_name_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(keys.BadKey, match="not valid UTF-8"):
        keys.check("drop/acme/sums/bad\udcff.txt")


def test_a_run_that_is_to_pause_is_not_done_in_one_go(store: Store) -> None:
    assert stages.read_run(store, "acme", sized(store, pause=["process"])).lane == "fargate"
    with pytest.raises(BadInput, match="cannot pause between them"):
        lanes.choose("sums", "lambda", "auto", 1, 0, ["lambda", "fargate"], pauses=True)


class Tokens:
    """The Step Functions calls of gates; remembers which tokens were answered."""

    class exceptions:
        class TaskTimedOut(Exception): ...

        class InvalidToken(Exception): ...

    def __init__(self) -> None:
        self.answered: list[str] = []

    def send_task_success(self, *, taskToken: str, output: str) -> None:
        self.answered.append(taskToken)


class ResumedMeanwhile(DirectoryStore):
    """A store on which somebody resumes the run between the gate's look and its note."""

    def put(self, key: str, data: bytes) -> None:
        if "/gates/" in key:
            self.delete([keys.run("acme", "r1", "pause.json")])
        super().put(key, data)


def test_a_resume_between_the_look_and_the_wait_is_not_lost(tmp_path: Path) -> None:
    store, sfn = ResumedMeanwhile(tmp_path), Tokens()
    gates.pause(store, "acme", "r1")
    assert not gates.arrive(store, sfn, "acme", "r1", "tile", "token")
    assert sfn.answered == ["token"]
    assert gates.waiting(store, "acme", "r1") == []


def test_a_run_can_be_paused_again_behind_a_stage_that_was_opened_before(tmp_path: Path) -> None:
    store, sfn = DirectoryStore(tmp_path), Tokens()
    for round_ in ("first", "second"):
        gates.pause(store, "acme", "r1")
        assert gates.arrive(store, sfn, "acme", "r1", "merge", round_)
        assert gates.resume(store, sfn, "acme", "r1") == ["merge"]
    assert sfn.answered == ["first", "second"]


class ManyExecutions:
    """Lists executions two to a page, as Step Functions does with more of them."""

    def list_executions(self, *, nextToken: str = "0", **_: Any) -> dict[str, Any]:
        start = int(nextToken)
        page = {"executions": [{"name": str(number)} for number in range(start, min(start + 2, 5))]}
        return page | ({"nextToken": str(start + 2)} if start + 2 < 5 else {})


def test_the_watchdog_looks_at_every_page() -> None:
    found = watchdog.ended(ManyExecutions(), "arn", "FAILED")
    assert [one["name"] for one in found] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("busy", [False, True])
def test_the_watchdog_tells_a_queue_that_stands_still_from_one_that_is_busy(busy: bool) -> None:
    client = cast("Any", boto3).client
    batch = client("batch", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    now = time.time()

    def jobs(*minutes: float) -> list[dict[str, Any]]:
        return [{"jobId": f"{one}", "jobName": f"process-{one}", "createdAt": int(1000 * (now - 60 * one))} for one in minutes]

    with Stubber(batch) as stub:
        stub.add_response("list_jobs", {"jobSummaryList": jobs(1, 45), "nextToken": "2"})
        stub.add_response("list_jobs", {"jobSummaryList": jobs(90)})
        stub.add_response("list_jobs", {"jobSummaryList": jobs(50) if busy else []})
        if not busy:
            stub.add_response("describe_job_queues", {"jobQueues": []})
        found = watchdog.stuck_jobs(batch, ["q"])
    cause = "the job queue is disabled"
    wanted = [{"queue": "q", "jobs": 2, "job": "90", "name": "process-90", "minutes": 90, "cause": cause}]
    assert found == ([] if busy else wanted)


def test_two_runs_of_one_folder_at_once_make_one_product(store: Store) -> None:
    """Step by step in turns: both plan, work, check, and publish the same bytes."""
    runs = [sized(store, lane="fargate", lines=1) for _ in range(2)]
    plans = {run_id: stages.plan(store, stages.read_run(store, "acme", run_id), worker.planning_work) for run_id in runs}
    while any(plan.stage != "publish" for plan in plans.values()):
        for run_id, plan in plans.items():
            for job in stages.read_lines(store, plan.jobs) if plan.stage != "publish" else []:
                worker.run_job(store, "acme", run_id, plan.stage, job["key"])
        for run_id, plan in plans.items():
            run = stages.read_run(store, "acme", run_id)
            if plan.stage != "publish":
                assert stages.check(store, run, plan.stage, plan.round, redriven=False) is None
                plans[run_id] = stages.plan(store, run, worker.planning_work)
    digests = {publishing.publish(store, "acme", run_id).products[0].digest["value"] for run_id in runs}
    assert len(set(runs)) == 2
    assert len(digests) == 1
