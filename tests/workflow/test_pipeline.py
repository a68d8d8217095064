"""The pipeline's promises, kept through the real state machines: once, whole, cheap to repeat, clear when it fails."""

import asyncio
import json

import pytest

from tests.workflow.spine import Outcome, Spine, dropped, stepfunctions
from tilery import gates, manifest
from twin.twin import Ignored, Twin

NUMBERS = "\n".join(str(number) for number in range(1, 61)).encode()
TOTAL = sum(number * number for number in range(1, 61))
SHARDED = {"lane": "fargate"}


def sums(outcome: Outcome) -> list[int]:
    return [one["scaled"] for one in outcome.json("sums.json")]


def test_one_dropped_file_becomes_a_product_and_a_record_of_the_run(spine: Spine) -> None:
    spine.store.put("drop/acme/sums/numbers.txt", NUMBERS)
    outcome = spine.run("drop/acme/sums/numbers.txt")
    record = outcome.record
    assert (record["status"], record["lane"], record["dataset"]) == ("SUCCEEDED", "lambda", "numbers.txt")
    assert sums(outcome) == [TOTAL]
    assert [product["kind"] for product in record["products"]] == ["sums"]
    assert outcome.events == ["received", "sized", "succeeded", "notice-succeeded"]
    assert json.loads(outcome.store.get("results/acme/sums/numbers.txt/latest.json"))["run_id"] == outcome.run_id


def test_both_lanes_make_the_same_product(spine: Spine) -> None:
    files = {"a.txt": NUMBERS, "b.txt": b"7\n8\n"}
    whole = spine.run_dataset(files, {"lane": "lambda"}, "whole")
    assert whole.record["timings"]["stages"]
    sharded = spine.run_dataset(files, {"lane": "fargate", "lines": 7}, "sharded")
    assert sums(whole) == sums(sharded) == [TOTAL + 113] * 2
    assert sharded.record["lane"] == "fargate"
    assert set(sharded.record["timings"]["stages"]) == {"tile", "process", "merge", "finish"}


def test_the_same_event_twice_is_one_run(spine: Spine) -> None:
    key = spine.put({"a.txt": NUMBERS})

    async def twice(twin: Twin) -> tuple[str, str]:
        first, second = await dropped(twin, key), await dropped(twin, key)
        await twin.wait(first.run_id)
        third = await dropped(twin, key)
        await twin.wait(third.run_id)
        return first.run_id, second.run_id if second.run_id == third.run_id else ""

    first, second = spine.on_twin(twice)
    assert first == second
    assert set(spine.calls().values()) == {1}


def test_the_same_bytes_dropped_again_are_a_new_run_that_computes_nothing_and_has_its_own_products(spine: Spine) -> None:
    first = spine.run_dataset({"a.txt": NUMBERS}, {**SHARDED, "apart": True})
    calls = spine.calls()
    second = spine.run_dataset({"a.txt": NUMBERS}, {**SHARDED, "apart": True})
    assert first.run_id != second.run_id
    assert spine.calls() == calls
    assert sums(second) == sums(first)
    assert set(second.record["timings"]["stages"]) == {"place"}
    for one in (first, second):
        (listing,) = one.record["listed"]
        assert one.json(one.json(listing["path"])["path"])["name"] == "a.txt"


def test_redo_with_an_option_of_finish_processes_nothing_again(spine: Spine) -> None:
    first = spine.run_dataset({"a.txt": NUMBERS}, SHARDED)
    calls = spine.calls()
    again = manifest.redo(spine.store, "acme", first.run_id, {"scale": 3})

    async def act(twin: Twin) -> None:
        client = stepfunctions(twin)
        machine = "arn:aws:states:local:000000000000:stateMachine:tilery-sums"
        text = json.dumps(manifest.execution_input(again))
        await asyncio.to_thread(client.start_execution, stateMachineArn=machine, name=again.run_id, input=text)
        await twin.wait(again.run_id)

    spine.on_twin(act)
    assert sums(spine.outcome(again.run_id)) == [3 * TOTAL]
    assert spine.calls() == calls


def test_a_tile_that_always_fails_fails_the_run_and_says_which(spine: Spine) -> None:
    outcome = spine.run_dataset({"a.txt": NUMBERS}, {**SHARDED, "fail": {"f0-2": "error"}})
    assert outcome.status == "FAILED"
    assert outcome.failure["error"] == "Incomplete"
    assert outcome.failure["redrive"] is True
    assert "1 of 6 process items are not done: f0-2: f0-2 was told to fail" in outcome.failure["sentence"]
    assert outcome.record["products"] == []
    assert outcome.events[-2:] == ["failed-0", "notice-failed-0"]
    assert spine.calls() == {f"f0-{number}": 1 for number in range(6)}


def test_with_tolerance_the_product_is_partial_and_lists_its_holes(spine: Spine) -> None:
    outcome = spine.run_dataset({"a.txt": NUMBERS}, {**SHARDED, "fail": {"f0-2": "error"}, "tolerate": 20})
    hole = sum(number * number for number in range(21, 31))
    assert outcome.status == "PARTIAL"
    assert outcome.record["missing"] == ["process/f0-2"]
    assert sums(outcome) == [TOTAL - hole]
    assert any("PARTIAL" in warning for warning in outcome.record["warnings"])


def test_a_redrive_repeats_only_what_is_missing(spine: Spine) -> None:
    key = spine.put({"a.txt": NUMBERS}, ready={"options": {**SHARDED, "fail": {"f0-2": "error"}, "once": True}})

    async def act(twin: Twin) -> str:
        accepted = await dropped(twin, key)
        failed = await twin.wait(accepted.run_id)
        assert failed.status == "FAILED"
        await twin.redrive(accepted.run_id)
        redriven = await twin.wait(accepted.run_id)
        assert redriven.status == "SUCCEEDED"
        return accepted.run_id

    outcome = spine.outcome(spine.on_twin(act))
    assert sums(outcome) == [TOTAL]
    assert outcome.status == "SUCCEEDED"
    assert spine.calls() == {f"f0-{number}": 2 if number == 2 else 1 for number in range(6)}
    assert "redriven-1" in outcome.events
    assert outcome.failure["settled"] == "a later attempt ended SUCCEEDED: see run.json"


def test_a_redrive_that_fails_again_can_be_redriven_again(spine: Spine) -> None:
    key = spine.put({"a.txt": NUMBERS}, ready={"options": {**SHARDED, "fail": {"f0-2": "error"}}})

    async def act(twin: Twin) -> str:
        accepted = await dropped(twin, key)
        for _ in range(3):
            assert (await twin.wait(accepted.run_id)).status == "FAILED"
            await twin.redrive(accepted.run_id)
        await twin.wait(accepted.run_id)
        return accepted.run_id

    outcome = spine.outcome(spine.on_twin(act))
    assert spine.calls()["f0-2"] == 4
    assert spine.calls()["f0-1"] == 1
    assert {"failed-0", "failed-1", "failed-2", "failed-3"} <= set(outcome.events)


def test_a_map_that_gives_up_reaches_the_check_and_redrives_do_only_what_is_missing(spine: Spine) -> None:
    numbers = range(420)
    options = {**SHARDED, "lines": 1, "once": True, "fail": {f"f0-{number}": "error" for number in numbers}}
    key = spine.put({"a.txt": "\n".join(map(str, numbers)).encode()}, ready={"options": options})

    async def act(twin: Twin) -> str:
        accepted = await dropped(twin, key)
        ended = await twin.wait(accepted.run_id)
        assert (ended.status, ended.error) == ("FAILED", "Incomplete")
        assert any(event["type"] == "MapRunFailed" for event in twin.engine.history(ended.arn))
        for _ in range(5):  # the breaker spares jobs that were never tried: they fail once of their own later
            await twin.redrive(accepted.run_id)
            if (await twin.wait(accepted.run_id)).status == "SUCCEEDED":
                break
        return accepted.run_id

    outcome = spine.outcome(spine.on_twin(act))
    assert sums(outcome) == [sum(number * number for number in numbers)]
    assert set(spine.calls().values()) == {2}


def test_a_batch_job_that_is_killed_from_outside_is_tried_again_and_skips_what_was_finished(spine: Spine) -> None:
    outcome = spine.run_dataset({"a.txt": NUMBERS}, {**SHARDED, "fail": {"f0-3": "kill"}, "once": True})
    assert sums(outcome) == [TOTAL]
    assert spine.calls() == {f"f0-{number}": 2 if number == 3 else 1 for number in range(6)}


def test_memory_that_runs_out_moves_the_job_to_the_larger_lane(spine: Spine) -> None:
    outcome = spine.run_dataset({"a.txt": NUMBERS}, {**SHARDED, "fail": {"f0-1": "oom"}, "once": True})
    assert outcome.status == "SUCCEEDED"
    assert spine.calls()["f0-1"] == 2


def test_a_paused_run_waits_and_a_resumed_one_goes_on(spine: Spine) -> None:
    key = spine.put({"a.txt": NUMBERS}, ready={"options": {**SHARDED, "pause": ["process"]}})

    async def act(twin: Twin) -> str:
        accepted = await dropped(twin, key)
        while not gates.waiting(spine.store, "acme", accepted.run_id):
            await asyncio.sleep(0.05)
        assert gates.waiting(spine.store, "acme", accepted.run_id) == ["process"]
        client = stepfunctions(twin)
        assert await asyncio.to_thread(gates.resume, spine.store, client, "acme", accepted.run_id) == ["process"]
        await twin.wait(accepted.run_id)
        return accepted.run_id

    assert sums(spine.outcome(spine.on_twin(act))) == [TOTAL]


@pytest.mark.parametrize(
    ("files", "ready", "sentence"),
    [
        ({"a.txt": b"1\n"}, b"{", "set/_READY.json: the file: Invalid JSON"),
        ({"a.txt": b"1\n"}, {"option": {}}, "set/_READY.json: there is no 'option'; did you mean 'options'?"),
        ({"a.txt": b"1\n"}, {"options": {"scal": 1}}, "unknown option 'scal': did you mean 'scale'"),
        ({"a.txt": b"1\n"}, {"files": [{"name": "b.txt"}]}, "names 'b.txt', which is not in the dataset"),
        ({"a.txt": b"1\n"}, {"files": [{"name": "a.txt", "size": 9}]}, "says 'a.txt' has 9 bytes, but 2 arrived"),
        ({"a.txt": b"1\n"}, {"files": [{"name": "../a.txt"}]}, "'..'"),
        ({"a.txt": b"1\n"}, {"files": [{"name": "a.txt", "sha256": "0" * 64}]}, "a.txt: its sha256 is"),
        ({"a.pdf": b"1\n"}, {}, "set holds no file that sums reads (.txt)"),
        ({"a.pdf": b"1\n"}, {"files": [{"name": "a.pdf"}]}, "names 'a.pdf', which sums does not read"),
        ({"a.txt": b""}, {}, "a.txt is empty (0 bytes)"),
        ({"ä ö.txt": b"1\nx\n"}, {}, "ä ö.txt holds something that is not a whole number"),
    ],
)
def test_bad_content_is_a_failed_run_with_a_sentence_and_is_never_retried(
    spine: Spine, files: dict[str, bytes], ready: dict[str, object] | bytes, sentence: str
) -> None:
    outcome = spine.run(spine.put(files, ready=ready))
    assert outcome.failure["error"] == "BadInput"
    assert outcome.failure["redrive"] is False
    assert sentence in outcome.failure["sentence"]
    assert outcome.status == "FAILED"
    assert outcome.events == ["received", "failed-0", "notice-failed-0"]
    for name, data in files.items():
        assert outcome.store.get(f"drop/acme/sums/set/{name}") == data


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("drop/acme/sums/x.pdf", "is not a file that sums reads"),
        ("drop/acme/nothing/x.txt", "there is no workload 'nothing'"),
        ("drop/ACME/sums/x.txt", "tenant"),
        ("drop/x.txt", "not below drop/TENANT/WORKLOAD/"),
        ("drop/acme/trend/x.tif", "this twin was started without trend"),
        ("drop/acme/sums/set/x.txt", ""),
    ],
)
def test_a_key_of_the_wrong_shape_starts_no_run_and_the_reason_is_said(spine: Spine, key: str, why: str) -> None:
    spine.store.put(key, b"1\n")

    async def act(twin: Twin) -> str:
        answer = await twin.drop(key)
        assert isinstance(answer, Ignored)
        return answer.why

    assert why in spine.on_twin(act)
