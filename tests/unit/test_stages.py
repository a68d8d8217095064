"""The plan-work-check loop without any state machine: the library alone does a run from drop to product."""

from __future__ import annotations

import errno
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from containers import entrypoint
from tests.toys import SUMS, environment
from tilery import device, explain, gates, keys, manifest, publishing, registry, sizing, stages, whole, worker
from tilery.outcomes import BadInput, Incomplete, Outcome
from tilery.store import open_store
from tilery.store.disk import DiskFull
from tilery.store.port import Digest, Store
from tilery.store.recording import RecordingStore

NUMBERS = "\n".join(str(number) for number in range(1, 61)).encode()
TOTAL = sum(number * number for number in range(1, 61))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with environment({**SUMS, "TILERY_STORE": (tmp_path / "root").as_uri()}):
        registry.load.cache_clear()
        yield open_store("acme")


def drop(store: Store, options: dict[str, object], dataset: str = "set", **ready: object) -> str:
    store.put(f"drop/acme/sums/{dataset}/a.txt", NUMBERS)
    key = f"drop/acme/sums/{dataset}/{keys.READY}"
    store.put(key, json.dumps({"options": options, **ready}).encode())
    entry = store.head(key)
    assert entry is not None
    return manifest.receive(store, "drop", key, entry.version).run_id


def work(store: Store, run_id: str, redriven: bool = False) -> None:
    """What the pipeline machine does."""
    run = stages.read_run(store, "acme", run_id)
    while (plan := stages.plan(store, run, worker.planning_work)).stage != "publish":
        for _ in range(2):
            for job in stages.read_lines(store, plan.jobs):
                try:
                    worker.run_job(store, "acme", run_id, plan.stage, job["key"])
                except Outcome:
                    continue
            again = stages.check(store, run, plan.stage, plan.round, redriven)
            if again is None:
                break
            plan, redriven = again, False


def total(store: Store, run_id: str) -> int:
    record = publishing.publish(store, "acme", run_id)
    folder = keys.result("acme", "sums", record.dataset, run_id)
    return int(json.loads(store.get(f"{folder}/sums.json"))[0]["scaled"])


@pytest.mark.parametrize("lines", [1, 7, 60, 1000])
def test_any_tiling_gives_the_same_product(store: Store, lines: int) -> None:
    run_id = drop(store, {"lane": "fargate", "lines": lines})
    sizing.size(store, "acme", run_id)
    work(store, run_id)
    assert total(store, run_id) == TOTAL


def test_the_whole_lane_gives_the_same_product(store: Store) -> None:
    run_id = drop(store, {"lane": "lambda"})
    sizing.size(store, "acme", run_id)
    whole.whole(store, "acme", run_id)
    assert total(store, run_id) == TOTAL


def test_one_worker_says_how_far_a_stage_is_and_not_how_far_each_of_its_jobs(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, list[float]] = {}
    monkeypatch.setattr(whole, "shown", lambda *_: lambda stage, share: told.setdefault(stage, []).append(share))
    run_id = drop(store, {"lane": "lambda", "lines": 1})
    sizing.size(store, "acme", run_id)
    whole.whole(store, "acme", run_id)
    assert len(told["process"]) == 60
    assert all(shares == sorted(shares) for stage, shares in told.items() if stage in ("tile", "process"))
    assert told["process"][-1] > 0.9


@pytest.mark.parametrize("fits", [True, False])
def test_the_record_says_when_one_worker_was_not_enough(store: Store, fits: bool) -> None:
    run_id = drop(store, {})
    assert sizing.size(store, "acme", run_id).lane == "lambda"
    if fits:
        whole.whole(store, "acme", run_id)
    else:
        work(store, run_id)  # what the machine does after the function ran out of time or memory
    assert ("it did not, so" in publishing.publish(store, "acme", run_id).lane_reason) is not fits


def test_doing_everything_twice_changes_nothing(store: Store) -> None:
    run_id = drop(store, {"lane": "fargate"})
    for _ in range(2):
        sizing.size(store, "acme", run_id)
        work(store, run_id)
        assert total(store, run_id) == TOTAL
    calls = [entry for entry in store.list("work/acme/process/") if "/calls/" in entry.key]
    assert len(calls) == 6


def test_each_marker_is_read_when_its_stage_is_complete_and_by_its_merge(store: Store, tmp_path: Path) -> None:
    """200,000 markers are half an hour of requests when whoever needs them reads them again, or a list of them for each job."""
    run_id = drop(store, {"lane": "fargate"})
    sizing.size(store, "acme", run_id)
    log = tmp_path / "operations"
    recording = RecordingStore(store, str(log), "")
    work(recording, run_id)
    publishing.publish(recording, "acme", run_id)
    done = [
        one for one in map(json.loads, log.read_text().splitlines()) if "/process/" in one["key"] and "/done/" in one["key"]
    ]
    counts = Counter((one["operation"], one["key"]) for one in done)
    assert {one["operation"] for one in done} == {"head", "put", "get", "list"}
    assert {count for (operation, _), count in counts.items() if operation == "get"} == {2}
    assert {count for (operation, _), count in counts.items() if operation == "head"} == {1}
    # planning and checking; not once a job
    assert max(count for (operation, _), count in counts.items() if operation == "list") == 2


def test_a_merge_of_very_many_reads_what_was_gathered_and_not_each_marker(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "FEW", 1)
    run_id = drop(store, {"lane": "fargate"})
    sizing.size(store, "acme", run_id)
    log = tmp_path / "operations"
    work(RecordingStore(store, str(log), ""), run_id)
    publishing.publish(store, "acme", run_id)
    assert total(store, run_id) == TOTAL
    read = Counter(one["key"] for one in map(json.loads, log.read_text().splitlines()) if one["operation"] == "get")
    assert {count for key, count in read.items() if "/process/" in key and "/done/" in key} == {1}


def test_a_missing_item_is_incomplete_and_a_redrive_goes_round_with_only_it(store: Store) -> None:
    run_id = drop(store, {"lane": "fargate", "fail": {"f0-4": "error"}, "once": True})
    sizing.size(store, "acme", run_id)
    with pytest.raises(Incomplete, match="1 of 6 process items are not done: f0-4: f0-4 was told to fail"):
        work(store, run_id)
    work(store, run_id, redriven=True)
    assert total(store, run_id) == TOTAL


def test_only_process_must_find_the_gpu_that_is_asked_for_and_its_job_says_why_it_did_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On AWS tile, merge and finish are Lambda functions, which have none. A job that fails before its items marks none."""
    monkeypatch.setattr(type(registry.load("sums")), "gpu", "cupy")
    monkeypatch.setattr(device, "gpu_problem", lambda library: "CUDA sees no device")
    monkeypatch.setenv("TILERY_LANES", "lambda,fargate,gpu")
    run_id = drop(store, {"device": "gpu"})
    run = sizing.size(store, "acme", run_id)
    assert run.lane == "gpu"
    codes = {}
    while (plan := stages.plan(store, run, worker.planning_work)).stage != "process":
        for job in stages.read_lines(store, plan.jobs):
            codes[plan.stage] = entrypoint.run(store, "acme", run_id, plan.stage, job["key"], entrypoint.Stop())
        assert stages.check(store, run, plan.stage, plan.round, False) is None
    for job in stages.read_lines(store, plan.jobs):
        codes[plan.stage] = entrypoint.run(store, "acme", run_id, plan.stage, job["key"], entrypoint.Stop())
    assert codes == {"tile": 0, "process": 2}
    with pytest.raises(BadInput, match="device=gpu, but there is no usable GPU here: CUDA sees no device"):
        stages.check(store, run, plan.stage, plan.round, False)


def test_bad_input_found_by_a_worker_stays_bad_input(store: Store) -> None:
    run_id = drop(store, {"lane": "fargate", "fail": {"f0-4": "BadInput"}})
    sizing.size(store, "acme", run_id)
    with pytest.raises(BadInput, match="f0-4 was told to fail"):
        work(store, run_id)


@pytest.mark.parametrize(
    ("ended", "cause", "said"),
    [("ABORTED", "Stopped by an operator.", "Stopped by an operator."), ("FAILED", "A map gave up.", "f0-4 was told to fail")],
)
def test_what_a_person_stopped_was_stopped_and_what_failed_says_which_tile(
    store: Store, ended: str, cause: str, said: str
) -> None:
    run_id = drop(store, {"lane": "fargate", "fail": {"f0-4": "error"}})
    sizing.size(store, "acme", run_id)
    with pytest.raises(Incomplete):
        work(store, run_id)

    class StepFunctions:
        def describe_execution(self, executionArn: str) -> dict[str, Any]:
            return {"status": ended, "name": run_id, "input": '{"tenant": "acme"}', "error": "Stopped", "cause": cause}

    failure = explain.explain(lambda tenant: store, StepFunctions(), "arn")
    assert failure is not None
    assert said in failure["sentence"]
    run_id = "started by hand"
    assert explain.explain(lambda tenant: store, StepFunctions(), "arn") is None


def test_holes_change_the_fingerprint_of_later_stages_so_a_whole_run_never_reuses_them(store: Store) -> None:
    partial = drop(store, {"lane": "fargate", "fail": {"f0-4": "error"}, "tolerate": 50, "once": True})
    sizing.size(store, "acme", partial)
    work(store, partial)
    hole = sum(number * number for number in range(41, 51))
    assert total(store, partial) == TOTAL - hole
    again = manifest.redo(store, "acme", partial, {"tolerate": 0})
    sizing.size(store, "acme", again.run_id)
    work(store, again.run_id)
    assert total(store, again.run_id) == TOTAL


def test_a_redo_from_a_stage_does_that_stage_again(store: Store) -> None:
    first = drop(store, {"lane": "fargate"})
    sizing.size(store, "acme", first)
    work(store, first)
    again = manifest.redo(store, "acme", first, {}, from_stage="process")
    sizing.size(store, "acme", again.run_id)
    work(store, again.run_id)
    calls = [entry for entry in store.list("work/acme/process/") if "/calls/" in entry.key]
    assert len(calls) == 12


def test_a_replaced_input_is_refused(store: Store) -> None:
    run_id = drop(store, {"lane": "fargate"})
    store.put("drop/acme/sums/set/a.txt", b"1\n2\n")
    with pytest.raises(BadInput, match=r"a\.txt was replaced after the run had been asked for"):
        sizing.size(store, "acme", run_id)


@pytest.mark.parametrize("said", ["as it is", "another"])
def test_a_named_sha256_is_checked_where_the_store_keeps_another_checksum(
    store: Store, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(store), "digest", lambda *_, **__: Digest("crc64nvme", "AAAAAAAAAAA="))
    right = hashlib.sha256(NUMBERS).hexdigest()
    files = [{"name": "a.txt", "sha256": right if said == "as it is" else "0" * 64}]
    run_id = drop(store, {}, files=files)
    if said == "as it is":
        sizing.size(store, "acme", run_id)
    else:
        with pytest.raises(BadInput, match=f"a.txt: its sha256 is {right}"):
            sizing.size(store, "acme", run_id)


def test_very_many_inputs_are_told_apart_by_their_versions_and_none_is_asked_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizing, "MANY", 0)
    monkeypatch.setattr(type(store), "digest", lambda *_, **__: pytest.fail("its digest was asked for"))
    first, again = sizing.size(store, "acme", drop(store, {})), sizing.size(store, "acme", drop(store, {"lines": 7}))
    assert first.sources[0].digest == f"version:{first.sources[0].version}"
    assert (first.fingerprint == again.fingerprint) is (first.sources[0].version == again.sources[0].version)


def test_very_many_inputs_without_versions_are_nobody_elses(store: Store) -> None:
    """Names and sizes may be those of other bytes, as in a bucket that keeps no versions."""
    unpinned = []
    for dataset in ("one", "two"):
        given = manifest.read(store, "acme", drop(store, {}, dataset))
        sources = [source.model_copy(update={"version": ""}) for source in given.sources]
        unpinned.append(given.model_copy(update={"sources": sources}))
    one, other = (sizing.fingerprint(given, sizing._pinned(given)) for given in unpinned)
    assert one != other
    assert one == sizing.fingerprint(unpinned[0], sizing._pinned(unpinned[0]))


def test_what_needs_no_source_reads_none(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of half a million files the list has a gigabyte in memory, and these functions have half of one."""
    run_id = drop(store, {"lane": "fargate", "pause": ["merge"]})
    sizing.size(store, "acme", run_id)
    brief, whole_ = stages.read_brief(store, "acme", run_id), stages.read_run(store, "acme", run_id)
    assert brief == whole_.model_copy(update={"sources": []})
    assert [link.folder for link in stages.chain(store, brief)] == [link.folder for link in stages.chain(store, whole_)]
    assert manifest.read_brief(store, "acme", run_id).sources == []
    monkeypatch.setattr(stages, "read_run", lambda *_: pytest.fail("the whole run was read"))
    assert not gates.waiting(store, "acme", run_id)
    assert gates._asked(store, "acme", run_id, "merge")
    assert not gates._asked(store, "acme", run_id, "tile")


def test_finished_stages_are_shared_only_while_their_files_are_young(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILERY_WORK_EXPIRES_DAYS", "14")
    folders = []
    for day in (8, 9, 12, 40):  # periods of 4 days: 8 and 9 lie in one, a redo may still use the one before
        monkeypatch.setattr(manifest.time, "time", lambda day=day: day * 86_400.0)
        run_id = drop(store, {"lane": "fargate"}, f"set{day}")
        folders.append(stages.chain(store, sizing.size(store, "acme", run_id))[0].folder)
        if day == 8:
            first = run_id
        if day == 12:
            again = manifest.redo(store, "acme", first, {"scale": 2})
            assert stages.chain(store, sizing.size(store, "acme", again.run_id))[0].folder == folders[0]
    assert folders[0] == folders[1]
    assert len(set(folders)) == 3


def test_a_scratch_disk_that_is_full_is_said_in_plain_words() -> None:
    failure = worker.as_outcome(OSError(errno.ENOSPC, "No space left on device", "/scratch/film.mp4"), {"id": "a"})
    assert isinstance(failure, DiskFull)
    assert str(failure) == "the disk that holds /scratch/film.mp4 is full; make room, then redrive the run"
