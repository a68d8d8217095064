"""The twin's AWS Batch: a job is a subprocess that runs the command its container would run.

What a job gets and gives is Batch's: environment, container overrides, retry strategy (`evaluateOnExit`), attempt
timeout, memory limit with exit code 137, SIGTERM and then SIGKILL on termination, and the detail that DescribeJobs
returns, which is what Step Functions' `batch:submitJob.sync` hands on, as the result or as the cause of the failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tilery import names
from twin.integrations import TaskFailed
from twin.offspring import Guardian, kill_group, launcher

MEMORY_CHECK_S = 0.5
GRACE_S = 5.0
"""Seconds between SIGTERM and SIGKILL; ECS gives 30, a person at a terminal waits less."""

OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
TIMED_OUT = "Job attempt duration exceeded timeout"
HOST_LOST = "Host EC2 (instance twin) terminated."
EXITED = "Essential container in task exited"

RETRY_STRATEGY: dict[str, Any] = {"Attempts": names.JOB_ATTEMPTS, "EvaluateOnExit": list(names.JOB_RETRY)}


@dataclass(frozen=True, slots=True)
class JobDefinition:
    """What is deployed as a Batch job definition."""

    name: str
    command: list[str]
    """The entry point; the job's own arguments follow it."""
    environment: Mapping[str, str]
    memory_mib: int
    vcpus: int
    gpus: int = 0
    timeout_s: float = 6 * 3600
    retry_strategy: Mapping[str, Any] = field(default_factory=lambda: RETRY_STRATEGY)

    @property
    def arn(self) -> str:
        return f"arn:aws:batch:local:000000000000:job-definition/{self.name}:1"


@dataclass(slots=True)
class _Attempt:
    """One run of the process."""

    exit_code: int | None
    reason: str
    status_reason: str
    started_ms: int
    stopped_ms: int
    log: str
    timed_out: bool = False

    def detail(self) -> dict[str, Any]:
        container: dict[str, Any] = {"LogStreamName": self.log}
        if self.exit_code is not None:
            container["ExitCode"] = self.exit_code
        if self.reason:
            container["Reason"] = self.reason
        return {
            "Container": container,
            "StartedAt": self.started_ms,
            "StoppedAt": self.stopped_ms,
            "StatusReason": self.status_reason,
        }


class Jobs:
    """Runs submitted jobs, as many at once as the machine has cores (and, for GPU lanes, GPUs)."""

    def __init__(
        self,
        definitions: Iterable[JobDefinition],
        *,
        logs: Path,
        guardian: Guardian,
        max_jobs: int | None = None,
        grace_s: float = GRACE_S,
    ) -> None:
        self.definitions = {definition.name: definition for definition in definitions}
        self._logs = logs
        self._guardian = guardian
        self._grace_s = grace_s
        jobs = max_jobs or os.cpu_count() or 1
        self._places = asyncio.Semaphore(jobs)
        self._gpu_places = asyncio.Semaphore(min(jobs, _gpus() or jobs))

    async def submit(self, arguments: Mapping[str, Any], run_id: str) -> dict[str, Any]:
        """Run a job to its end. `arguments` are SubmitJob's as a state machine writes them (JobName, JobDefinition,
        JobQueue, ContainerOverrides, RetryStrategy, Timeout); a failed job raises `TaskFailed` with the detail as cause.
        Cancelling terminates the job.
        """
        definition = self._definition(arguments)
        overrides = arguments.get("ContainerOverrides", {})
        job_id = str(uuid.uuid4())
        command = [str(part) for part in overrides.get("Command", [])]
        environment = {
            **definition.environment,
            **{pair["Name"]: pair["Value"] for pair in overrides.get("Environment", [])},
            "AWS_BATCH_JOB_ID": job_id,
            "AWS_BATCH_JQ_NAME": str(arguments.get("JobQueue", "")).rpartition("/")[2],
        }
        log = self._logs / run_id / f"{arguments['JobName']}-{job_id[:8]}.log"
        timeout_s = float(arguments.get("Timeout", {}).get("AttemptDurationSeconds", definition.timeout_s))
        strategy = {**definition.retry_strategy, **arguments.get("RetryStrategy", {})}
        created_ms = _now_ms()
        attempts: list[_Attempt] = []
        async with self._gpu_places if definition.gpus else self._places:
            while True:
                environment["AWS_BATCH_JOB_ATTEMPT"] = str(len(attempts) + 1)
                attempts.append(await self._attempt(definition, command, environment, log, timeout_s))
                if attempts[-1].exit_code == 0 or not _again(strategy, attempts):
                    break
        last = attempts[-1]
        detail = {
            "JobName": arguments["JobName"],
            "JobId": job_id,
            "JobArn": f"arn:aws:batch:local:000000000000:job/{job_id}",
            "JobQueue": arguments.get("JobQueue", ""),
            "JobDefinition": definition.arn,
            "Status": "SUCCEEDED" if last.exit_code == 0 else "FAILED",
            "StatusReason": last.status_reason,
            "Attempts": [attempt.detail() for attempt in attempts],
            "CreatedAt": created_ms,
            "StartedAt": attempts[0].started_ms,
            "StoppedAt": last.stopped_ms,
            "Timeout": {"AttemptDurationSeconds": timeout_s},
            "Container": {
                **last.detail()["Container"],
                "Command": command,
                "Vcpus": definition.vcpus,
                "Memory": definition.memory_mib,
            },
        }
        if last.exit_code != 0:
            raise TaskFailed("States.TaskFailed", json.dumps(detail))
        return detail

    def _definition(self, arguments: Mapping[str, Any]) -> JobDefinition:
        reference = str(arguments.get("JobDefinition", ""))
        name = reference.rpartition("/")[2].partition(":")[0]
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", str(arguments.get("JobName", ""))):
            raise TaskFailed(
                "Batch.ClientException", "Job name should match valid pattern (letters, digits, - and _, up to 128)"
            )
        if name not in self.definitions:
            raise TaskFailed("Batch.ClientException", f"JobDefinition arn {reference} does not exist.")
        if len(json.dumps(arguments.get("ContainerOverrides", {}))) > 8192:
            raise TaskFailed("Batch.ClientException", "Container Overrides length must be at most 8192")
        return self.definitions[name]

    async def _attempt(
        self, definition: JobDefinition, command: list[str], environment: Mapping[str, str], log: Path, timeout_s: float
    ) -> _Attempt:
        log.parent.mkdir(parents=True, exist_ok=True)
        started_ms = _now_ms()
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *launcher([*definition.command, *command]),
                env=dict(environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._guardian.add(process.pid)
        over_memory = asyncio.create_task(_over_memory(process.pid, definition.memory_mib))
        ended = asyncio.create_task(process.wait())
        try:
            done, _ = await asyncio.wait({ended, over_memory}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            attempt = _Attempt(None, "", EXITED, started_ms, 0, str(log.relative_to(self._logs)))
            if ended in done:
                _judge(attempt, ended.result())
            elif over_memory in done:
                attempt.exit_code, attempt.reason = 137, OUT_OF_MEMORY
            else:
                await self._terminate(process, ended)
                attempt.exit_code, attempt.status_reason, attempt.timed_out = 137, TIMED_OUT, True
            attempt.stopped_ms = _now_ms()
            return attempt
        except asyncio.CancelledError:
            await asyncio.shield(self._terminate(process, ended))
            raise
        finally:
            over_memory.cancel()
            # What the job started in the background ends with it, as a container's processes do.
            kill_group(process.pid)
            await asyncio.shield(ended)
            self._guardian.remove(process.pid)

    async def _terminate(self, process: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
        kill_group(process.pid, signal.SIGTERM)
        await asyncio.wait({ended}, timeout=self._grace_s)


def _judge(attempt: _Attempt, code: int) -> None:
    """Exit code and reason of a process that ended by itself, as ECS and Batch report them."""
    attempt.exit_code = code if code >= 0 else 128 - code
    if code == 127:
        attempt.reason = "CannotStartContainerError: the command does not exist"
    if -code in (signal.SIGKILL, signal.SIGTERM):
        # Nobody here killed it: the machine, or a person, took the process away, as losing a spot instance does.
        attempt.exit_code, attempt.status_reason = None, HOST_LOST


def _again(strategy: Mapping[str, Any], attempts: list[_Attempt]) -> bool:
    """Whether Batch runs a failed job again: up to Attempts times, unless the first matching condition says EXIT.

    A job that was stopped by its timeout is not retried (AWS Batch user guide, "Job timeouts").
    """
    last = attempts[-1]
    if last.timed_out or len(attempts) >= strategy.get("Attempts", 1):
        return False
    for condition in strategy.get("EvaluateOnExit", []):
        patterns = (
            (condition.get("OnStatusReason"), last.status_reason),
            (condition.get("OnReason"), last.reason),
            (condition.get("OnExitCode"), "" if last.exit_code is None else str(last.exit_code)),
        )
        if all(pattern is None or _matches(pattern, text) for pattern, text in patterns):
            return str(condition["Action"]).upper() == "RETRY"
    return True


def _matches(pattern: str, text: str) -> bool:
    """Batch's glob: only a trailing asterisk is special, upper and lower case are the same."""
    pattern, text = pattern.lower(), text.lower()
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


async def _over_memory(pid: int, limit_mib: int) -> None:
    """Return once the process and its children together hold more than the limit."""
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        while True:
            await asyncio.sleep(MEMORY_CHECK_S)
            used = 0
            for process in (root, *root.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    used += process.memory_info().rss
            if used > limit_mib * 2**20:
                return
    await asyncio.Event().wait()


def _gpus() -> int:
    return sum(1 for device in Path("/dev").glob("nvidia[0-9]*"))


def _now_ms() -> int:
    return int(1000 * time.time())
