"""Batch jobs as subprocesses, with throw-away commands."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.processes import alive
from twin.integrations import TaskFailed
from twin.jobs import JobDefinition, Jobs
from twin.offspring import Guardian


def run(tmp_path: Path, body: Callable[[Jobs], Awaitable[None]], *, max_jobs: int = 2, timeout_s: float = 30) -> None:
    async def inside() -> None:
        guardian = Guardian()
        definition = JobDefinition(
            "pointcloud-fargate",
            [sys.executable, "-c"],
            {"PATH": os.environ["PATH"], "LANE": "fargate"},
            200,
            4,
            timeout_s=timeout_s,
        )
        try:
            await body(Jobs([definition], logs=tmp_path / "logs", guardian=guardian, max_jobs=max_jobs, grace_s=1))
        finally:
            guardian.close()

    asyncio.run(inside())


def job(code: str, *arguments: object, **more: Any) -> dict[str, Any]:
    return {
        "JobName": "process-0001",
        "JobQueue": "arn:aws:batch:local:000000000000:job-queue/fargate",
        "JobDefinition": "arn:aws:batch:local:000000000000:job-definition/pointcloud-fargate:1",
        "ContainerOverrides": {"Command": [code, *map(str, arguments)]},
        **more,
    }


async def failure(jobs: Jobs, arguments: dict[str, Any]) -> dict[str, Any]:
    with pytest.raises(TaskFailed) as caught:
        await jobs.submit(arguments, "r1")
    assert caught.value.error == "States.TaskFailed"
    detail: dict[str, Any] = json.loads(caught.value.cause)
    assert detail["Status"] == "FAILED"
    return detail


def test_a_job_that_exits_with_0_gives_the_detail_of_describe_jobs_and_a_log(tmp_path: Path) -> None:
    code = "import os, sys; print(sys.argv[1:], os.environ['LANE'], os.environ['EXTRA'], os.environ['AWS_BATCH_JOB_ATTEMPT'])"

    async def body(jobs: Jobs) -> None:
        arguments = job(code, "acme", "a b")
        arguments["ContainerOverrides"]["Environment"] = [{"Name": "EXTRA", "Value": "more"}]
        detail = await jobs.submit(arguments, "r1")
        assert detail["Status"] == "SUCCEEDED"
        assert detail["JobName"] == "process-0001"
        assert detail["Container"]["ExitCode"] == 0
        assert detail["Container"]["Command"][1:] == ["acme", "a b"]
        assert [attempt["Container"]["ExitCode"] for attempt in detail["Attempts"]] == [0]
        log = tmp_path / "logs" / detail["Container"]["LogStreamName"]
        assert log.parent.name == "r1"
        assert log.read_text() == "['acme', 'a b'] fargate more 1\n"

    run(tmp_path, body)


@pytest.mark.parametrize("code", [75, 143])
def test_a_job_that_may_go_well_the_next_time_runs_again(code: int, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    program = f"import pathlib, sys\np = pathlib.Path(sys.argv[1])\nif not p.exists(): p.touch(); raise SystemExit({code})"

    async def body(jobs: Jobs) -> None:
        detail = await jobs.submit(job(program, mark), "r1")
        assert [attempt["Container"]["ExitCode"] for attempt in detail["Attempts"]] == [code, 0]

    run(tmp_path, body)


@pytest.mark.parametrize("code", [1, 2, 42, 134, 137, 139])
def test_a_job_that_exits_otherwise_fails_once_with_its_code_in_the_cause(tmp_path: Path, code: int) -> None:
    async def body(jobs: Jobs) -> None:
        detail = await failure(jobs, job(f"raise SystemExit({code})"))
        assert [attempt["Container"]["ExitCode"] for attempt in detail["Attempts"]] == [code]
        assert detail["StatusReason"] == "Essential container in task exited"

    run(tmp_path, body)


def test_a_job_over_its_memory_is_killed_with_137_and_the_reason_of_ecs(tmp_path: Path) -> None:
    code = "import time; held = b'x' * (400 * 2**20); time.sleep(20)"

    async def body(jobs: Jobs) -> None:
        detail = await failure(jobs, job(code))
        assert len(detail["Attempts"]) == 1
        assert detail["Attempts"][0]["Container"]["ExitCode"] == 137
        assert detail["Attempts"][0]["Container"]["Reason"].startswith("OutOfMemoryError")

    run(tmp_path, body)


def test_memory_is_that_of_the_whole_process_tree(tmp_path: Path) -> None:
    child = "import time; held = b'x' * (400 * 2**20); time.sleep(20)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"

    async def body(jobs: Jobs) -> None:
        assert (await failure(jobs, job(code)))["Container"]["Reason"].startswith("OutOfMemoryError")

    run(tmp_path, body)


def test_a_job_over_its_time_is_terminated_and_not_tried_again(tmp_path: Path) -> None:
    async def body(jobs: Jobs) -> None:
        started = time.monotonic()
        detail = await failure(jobs, job("import time; time.sleep(30)", Timeout={"AttemptDurationSeconds": 1}))
        assert time.monotonic() - started < 5
        assert len(detail["Attempts"]) == 1
        assert detail["StatusReason"] == "Job attempt duration exceeded timeout"
        assert detail["Container"]["ExitCode"] == 137

    run(tmp_path, body)


def test_a_job_whose_process_was_taken_away_runs_again(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = "import os, pathlib, sys\np = pathlib.Path(sys.argv[1])\nif not p.exists(): p.touch(); os.kill(os.getpid(), 9)"

    async def body(jobs: Jobs) -> None:
        detail = await jobs.submit(job(code, mark), "r1")
        assert detail["Status"] == "SUCCEEDED"
        assert detail["Attempts"][0]["StatusReason"].startswith("Host EC2")
        assert detail["Attempts"][1]["Container"]["ExitCode"] == 0

    run(tmp_path, body)


def test_a_job_that_is_taken_away_again_and_again_fails_after_the_last_attempt(tmp_path: Path) -> None:
    async def body(jobs: Jobs) -> None:
        detail = await failure(jobs, job("import os; os.kill(os.getpid(), 9)"))
        assert len(detail["Attempts"]) == 5

    run(tmp_path, body)


def test_the_first_matching_condition_of_the_retry_strategy_decides(tmp_path: Path) -> None:
    strategy = {
        "Attempts": 2,
        "EvaluateOnExit": [{"OnExitCode": "7", "Action": "RETRY"}, {"OnExitCode": "*", "Action": "EXIT"}],
    }

    async def body(jobs: Jobs) -> None:
        assert len((await failure(jobs, job("raise SystemExit(7)", RetryStrategy=strategy)))["Attempts"]) == 2
        assert len((await failure(jobs, job("raise SystemExit(8)", RetryStrategy=strategy)))["Attempts"]) == 1

    run(tmp_path, body)


def test_cancelling_sends_sigterm_and_then_sigkill_to_the_whole_job(tmp_path: Path) -> None:
    mark = tmp_path / "pids"
    code = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: open(sys.argv[1] + '.term', 'w').close())\n"
        "child = subprocess.Popen(['sleep', '60'], preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))\n"
        "open(sys.argv[1], 'w').write(f'{os.getpid()} {child.pid}')\n"
        "while True: time.sleep(0.1)"
    )

    async def body(jobs: Jobs) -> None:
        task = asyncio.create_task(jobs.submit(job(code, mark), "r1"))
        while not (mark.exists() and mark.read_text()):
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert Path(f"{mark}.term").exists()
        await asyncio.sleep(0.1)
        assert not any(alive(int(pid)) for pid in mark.read_text().split())

    run(tmp_path, body)


def test_no_more_jobs_run_at_once_than_there_are_places(tmp_path: Path) -> None:
    code = "import time; print(time.time()); time.sleep(0.3); print(time.time())"

    async def body(jobs: Jobs) -> None:
        details = await asyncio.gather(*(jobs.submit(job(code), "r1") for _ in range(4)))
        spans = [
            tuple(map(float, (tmp_path / "logs" / detail["Container"]["LogStreamName"]).read_text().split()))
            for detail in details
        ]
        assert max(sum(start <= at < stop for start, stop in spans) for at, _ in spans) <= 2

    run(tmp_path, body)


@pytest.mark.parametrize(
    "wrong",
    [
        {"JobDefinition": "arn:aws:batch:local:000000000000:job-definition/pointcloud-none:1"},
        {"JobName": "has a space"},
        {"ContainerOverrides": {"Command": ["x" * 9000]}},
    ],
)
def test_a_request_that_batch_would_refuse_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    async def body(jobs: Jobs) -> None:
        with pytest.raises(TaskFailed) as caught:
            await jobs.submit({**job("pass"), **wrong}, "r1")
        assert caught.value.error == "Batch.ClientException"

    run(tmp_path, body)
