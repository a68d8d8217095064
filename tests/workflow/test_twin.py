"""The facade: what `tilery run` and `tilery up` stand on, with the toy workload `sums`."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.spine import Spine
from tilery.outcomes import BadInput
from tilery.registry import EXTRA
from twin.integrations import TaskContext
from twin.services import DEAD_LETTER_QUEUE
from twin.twin import Accepted, Ignored, Resumed, Twin, TwinEvent

NUMBERS = b"\n".join(str(number).encode() for number in range(1, 61))


def test_the_twin_starts_in_less_than_two_seconds_and_says_where_it_listens(spine: Spine) -> None:
    started = time.perf_counter()

    async def look(twin: Twin) -> float:
        endpoint = json.loads((spine.root / "twin" / "endpoint.json").read_text())
        assert endpoint == {"url": twin.url, "pid": os.getpid()}
        return time.perf_counter() - started

    assert spine.on_twin(look) < 2
    assert not (spine.root / "twin" / "endpoint.json").exists()


def test_two_twins_never_share_a_folder(spine: Spine) -> None:
    async def another(twin: Twin) -> None:
        with pytest.raises(BadInput, match=rf"in use by another twin \(process {os.getpid()}\)"):
            async with Twin(spine.root, workloads=["sums"]):
                pass

    spine.on_twin(another)
    spine.on_twin(lambda twin: asyncio.sleep(0))


def test_an_upload_is_accepted_once_and_a_wrong_one_ignored_with_the_reason(spine: Spine) -> None:
    spine.store.put("drop/acme/sums/a.txt", NUMBERS)
    spine.store.put("drop/acme/sums/a.jpg", b"x")
    spine.store.put("drop/acme/sums/set/part.txt", NUMBERS)

    async def act(twin: Twin) -> None:
        first = await twin.drop("drop/acme/sums/a.txt")
        assert isinstance(first, Accepted)
        assert first.new
        again = await twin.drop("drop/acme/sums/a.txt")
        assert isinstance(again, Accepted)
        assert (again.run_id, again.new) == (first.run_id, False)
        assert (await twin.wait(first.run_id)).status == "SUCCEEDED"
        wrong = await twin.drop("drop/acme/sums/a.jpg")
        assert isinstance(wrong, Ignored)
        assert "'a.jpg' is not a file that sums reads (.txt)" in wrong.why
        part = await twin.drop("drop/acme/sums/set/part.txt")
        assert isinstance(part, Ignored)
        assert "the run starts when _READY.json lands" in part.why
        missing = await twin.drop("drop/acme/sums/none.txt")
        assert isinstance(missing, Ignored)

    spine.on_twin(act)
    assert not list((spine.root / "twin" / "logs").glob("*/watchdog.log"))  # in a new folder there is nothing to watch yet


async def until(seen: list[TwinEvent], good: Callable[[TwinEvent], bool]) -> Any:
    for _ in range(400):
        for event in seen:
            if good(event):
                return event
        await asyncio.sleep(0.05)
    raise AssertionError(f"only {seen}")


def test_the_watched_folder_starts_runs_also_for_files_that_came_while_the_twin_was_down_but_only_once(spine: Spine) -> None:
    seen: list[TwinEvent] = []

    async def watched(act: Callable[[Twin], Any]) -> None:
        seen.clear()
        async with Twin(spine.root, workloads=["sums"], watch=True, on_event=seen.append) as twin:
            await act(twin)

    async def first(twin: Twin) -> None:
        early: Accepted = await until(seen, lambda event: isinstance(event, Accepted))
        assert early.key == "drop/acme/sums/early.txt"
        assert (await twin.wait(early.run_id)).status == "SUCCEEDED"
        (spine.root / "drop/acme/sums/late.jpg").write_bytes(b"x")
        late: Ignored = await until(seen, lambda event: isinstance(event, Ignored))
        assert late.key == "drop/acme/sums/late.jpg"

    async def second(twin: Twin) -> None:
        await until(seen, lambda event: isinstance(event, Ignored))
        await asyncio.sleep(0.5)
        assert not [event for event in seen if isinstance(event, Accepted)]

    spine.store.put("drop/acme/sums/early.txt", NUMBERS)
    asyncio.run(watched(first))
    asyncio.run(watched(second))


def test_a_watched_dataset_speaks_once_however_many_files_it_has(spine: Spine) -> None:
    seen: list[TwinEvent] = []

    async def inside() -> None:
        async with Twin(spine.root, workloads=["sums"], watch=True, on_event=seen.append) as twin:
            await until(seen, lambda event: isinstance(event, Ignored))
            key = spine.put({}, ready={})
            accepted: Accepted = await until(seen, lambda event: isinstance(event, Accepted))
            assert accepted.key == key
            assert (await twin.wait(accepted.run_id)).status == "SUCCEEDED"

    for number in range(30):
        spine.store.put(f"drop/acme/sums/set/{number}.txt", NUMBERS)
    asyncio.run(inside())
    assert len([event for event in seen if isinstance(event, Ignored)]) == 1


def test_a_port_that_is_taken_is_refused_with_a_sentence(spine: Spine, tmp_path: Path) -> None:
    async def another(twin: Twin) -> None:
        port = int(twin.url.rpartition(":")[2])
        with pytest.raises(BadInput, match=f"port {port} of this machine cannot be used"):
            async with Twin(tmp_path / "other", workloads=["sums"], port=port):
                pass

    spine.on_twin(another)


def test_a_stopped_run_ends_its_jobs_and_says_so(spine: Spine) -> None:
    key = spine.put({"a.txt": NUMBERS}, ready={"options": {"lane": "fargate", "lines": 10, "sleep_s": 0.5}})

    async def act(twin: Twin) -> None:
        accepted = await twin.drop(key)
        assert isinstance(accepted, Accepted)
        await asyncio.to_thread(wait_for_markers, spine, 1)
        await twin.engine.stop(accepted.execution_arn, "Operator", "not needed")
        assert (await twin.wait(accepted.run_id)).status == "ABORTED"
        at_stop = wait_for_markers(spine, 1)
        await asyncio.sleep(1.2)
        assert wait_for_markers(spine, 1) == at_stop
        failure = json.loads(next(spine.root.glob(f"results/acme/sums/*/{accepted.run_id}/failure.json")).read_text())
        assert failure["status"] == "ABORTED"

    spine.on_twin(act)


KILLED = """
import asyncio, sys
from pathlib import Path
from twin.twin import Twin

async def main(root, key):
    async with Twin(Path(root), workloads=["sums"]) as twin:
        accepted = await twin.drop(key)
        print(accepted.run_id, flush=True)
        await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


def test_a_twin_that_was_killed_goes_on_where_it_stood_and_repeats_no_finished_item(spine: Spine) -> None:
    key = spine.put({"a.txt": NUMBERS}, ready={"options": {"lane": "fargate", "lines": 10, "sleep_s": 0.4}})
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(spine.root), key],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    marked = wait_for_markers(spine, 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    seen: list[TwinEvent] = []

    async def resume() -> str:
        async with Twin(spine.root, workloads=["sums"], on_event=seen.append) as twin:
            return (await twin.wait(run_id)).status

    assert asyncio.run(resume()) == "SUCCEEDED"
    assert [event for event in seen if isinstance(event, Resumed)]
    after = {path: path.stat().st_mtime_ns for path in marked}
    assert after == marked


def wait_for_markers(spine: Spine, count: int) -> dict[Path, int]:
    for _ in range(400):
        found = list(spine.root.glob("work/acme/process/*/done/*.json"))
        if len(found) >= count:
            return {path: path.stat().st_mtime_ns for path in found}
        time.sleep(0.05)
    raise AssertionError("no item was finished")


TASK = TaskContext("arn", "name", "state", None, 0, "run")


def test_a_dead_letter_is_kept_in_a_file_that_outlives_the_twin(spine: Spine) -> None:
    async def act(twin: Twin) -> None:
        arguments = {"QueueUrl": DEAD_LETTER_QUEUE, "MessageBody": {"event": "ü"}}
        answer = await twin.engine.services.integrations.call("sqs:sendMessage", arguments, TASK)
        assert answer["MessageId"]

    spine.on_twin(act)
    lines = (spine.root / "twin" / "dead-letters.jsonl").read_text().splitlines()
    assert [json.loads(json.loads(line)["body"]) for line in lines] == [{"event": "ü"}]


def test_a_service_that_the_twin_does_not_speak_runs_on_moto(spine: Spine) -> None:
    pytest.importorskip("moto.server")

    async def act(twin: Twin) -> None:
        integrations = twin.engine.services.integrations
        made = await integrations.call("aws-sdk:sqs:createQueue", {"QueueName": "q"}, TASK)
        sent = await integrations.call("sqs:sendMessage", {"QueueUrl": made["QueueUrl"], "MessageBody": "hello"}, TASK)
        assert sent["MessageId"]

    spine.on_twin(act)


def test_moto_and_the_cdk_are_not_imported_by_the_twin() -> None:
    code = "import twin.twin, sys; print([m for m in ('moto', 'aws_cdk', 'numpy', 'boto3', 'watchfiles') if m in sys.modules])"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, EXTRA: "{}"}
    )
    assert out.stdout.strip() == "[]"
