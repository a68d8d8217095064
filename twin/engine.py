"""The Step Functions engine of the twin: machines, executions, tokens, stop, redrive and resume.

Everything that can be asked about an execution is read from its journal, ROOT/twin/executions/MACHINE/NAME.jsonl; a running one
is also in memory. Requests that AWS would refuse raise twin.faults.ApiError with the AWS error code.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import re
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tilery.store.disk import DiskFull
from twin import journal as journals
from twin.distributed import load_map_run
from twin.executions import ARN, ExecutionInfo, Kind, arn_of, children_of, info_from_journal, load_header
from twin.faults import (
    MAX_PAYLOAD_BYTES,
    ApiError,
    ExecutionAlreadyExists,
    ExecutionDoesNotExist,
    ExecutionNotRedrivable,
    InvalidExecutionInput,
    InvalidName,
    InvalidOutput,
    ResourceNotFound,
    StateFailure,
    StateMachineDoesNotExist,
    TaskTimedOut,
)
from twin.history import history as shown_history
from twin.history import text
from twin.integrations import Clock, Integrations, Json, Objects, RealClock
from twin.journal import Journal
from twin.machine import Interpreter
from twin.running import Block, Execution, Overrun, Services, TokenWait, bounded
from twin.scope import fold
from twin.validate import validate

__all__ = ["ARN", "ROLE", "Engine", "ExecutionInfo", "Kind", "Machine", "StatusChange"]

ROLE = "arn:aws:iam::000000000000:role/twin"
REDRIVABLE_S = 14 * 24 * 3600
EXPRESS_KEPT = 1000
"""Ended executions of Express machines whose journals stay: one came for each upload. (AWS keeps none.)"""
_NAME = re.compile(r"[A-Za-z0-9_.+!@()='-]{1,80}")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Machine:
    """A registered definition; `digest` names the file that redrives of old executions read it from."""

    arn: str
    name: str
    definition: str
    kind: Kind
    created: float
    digest: str
    flow: dict[str, Json]


@dataclass(frozen=True, slots=True)
class StatusChange:
    """A Standard execution started, ended or was redriven: what AWS sends as `Step Functions Execution Status Change`."""

    execution: ExecutionInfo

    @property
    def status(self) -> str:
        return self.execution.status


@dataclass(slots=True)
class Run:
    """An execution in memory."""

    execution: Execution
    machine: Machine
    task: asyncio.Task[None] | None = None
    stop_reason: tuple[str, str] | None = None


class Engine:
    """Runs state machines below `root`. One event loop, one thread."""

    def __init__(
        self,
        root: Path,
        integrations: Integrations,
        objects: Objects,
        clock: Clock | None = None,
        on_status: Callable[[StatusChange], None] = lambda change: None,
    ) -> None:
        self.folder = root / "twin"
        self.services = Services(integrations, objects, clock or RealClock())
        self.on_status = on_status
        self._machines: dict[str, Machine] = {}
        self._live: dict[str, Run] = {}
        self._ended: dict[str, ExecutionInfo] = {}
        self._express: deque[Path] = deque()

    # -- machines

    def register(self, name: str, definition: str, kind: Kind = "STANDARD") -> str:
        """Check and keep a definition (already rendered); returns its ARN. Raises InvalidDefinition naming state and field."""
        if not _NAME.fullmatch(name):
            raise InvalidName(f"'{name}' is no state machine name: use 1 to 80 letters, digits, '-' and '_'.")
        flow = validate(definition, kind)
        digest = hashlib.sha256(definition.encode()).hexdigest()
        path = self.folder / "definitions" / f"{digest}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{uuid.uuid4().hex}")
            part.write_text(definition, encoding="utf-8")
            part.replace(path)
        arn = f"{ARN}:stateMachine:{name}"
        self._machines[arn] = Machine(arn, name, definition, kind, self.services.clock.now(), digest, flow)
        return arn

    def machines(self) -> list[Machine]:
        return list(self._machines.values())

    def describe_machine(self, arn: str) -> Machine:
        """By ARN or name. Raises StateMachineDoesNotExist."""
        machine = self._machines.get(arn) or self._machines.get(f"{ARN}:stateMachine:{arn}")
        if machine is None:
            raise StateMachineDoesNotExist(f"There is no state machine '{arn}'.")
        return machine

    # -- executions

    async def start(self, machine: str, name: str | None, input: Json) -> ExecutionInfo:
        """StartExecution. The same name with the same input while running is the same execution; else the name is taken."""
        chosen = self.describe_machine(machine)
        name = name or str(uuid.uuid4())
        if not _NAME.fullmatch(name):
            raise InvalidName(f"'{name}' is no execution name: use 1 to 80 letters, digits, '-' and '_'.")
        if len(text(input).encode()) > MAX_PAYLOAD_BYTES:
            raise InvalidExecutionInput(f"The input is larger than {MAX_PAYLOAD_BYTES} bytes.")
        arn = f"{ARN}:execution:{chosen.name}:{name}"
        if chosen.kind == "EXPRESS":
            arn = f"{ARN}:express:{chosen.name}:{name}:{uuid.uuid4()}"
        elif arn in self._live or self._path(arn).exists():
            taken = self.describe(arn)
            if taken.status == "RUNNING" and taken.input == input:
                return taken
            raise ExecutionAlreadyExists(f"The execution name '{name}' is taken by {arn}.")
        run = self._open(arn, name, chosen)
        about = {"name": name, "arn": arn, "machine": chosen.name, "kind": chosen.kind, "role": ROLE, "digest": chosen.digest}
        Interpreter(self.services, run.execution).emit(run.execution.scope, (), "ExecutionStarted", input=input, **about)
        run.execution.journal.flush_soon_synced()
        return self._launch(run)

    async def stop(self, arn: str, error: str = "", cause: str = "") -> ExecutionInfo:
        """StopExecution: cancels what runs; the execution is ABORTED. Does nothing to one that has ended.

        Raises ApiError for a child of a map run, which AWS would stop alone.
        """
        run = self._live.get(arn)
        if run is None:
            info = self.describe(arn)
            if info.map_run_arn is not None:
                raise ApiError(
                    "The twin does not stop a child of a map run alone: stop the execution that started the map run."
                )
            if info.status == "RUNNING":
                run = self._reopen(arn)
                run.stop_reason = (error, cause)
                self._finish(run, "ExecutionAborted", error=error, cause=cause)
            return self.describe(arn)
        run.stop_reason, run.execution.ending = (error, cause), True
        assert run.task is not None
        run.task.cancel()
        await asyncio.wait({run.task})
        if arn in self._live:  # cancelled before its first step
            self._finish(run, "ExecutionAborted", error=error, cause=cause)
        return self.describe(arn)

    async def redrive(self, arn: str) -> ExecutionInfo:
        """RedriveExecution: go on from the state that did not succeed. Raises ExecutionNotRedrivable."""
        info = self.describe(arn)
        if not info.redrivable:
            raise ExecutionNotRedrivable(f"Execution is {info.status} ({info.kind}) and cannot be redriven.")
        if info.stop is not None and self.services.clock.now() - info.stop > REDRIVABLE_S:
            raise ExecutionNotRedrivable("Execution redrivable period of 14 days exceeded.")
        run = self._reopen(arn)
        scope = run.execution.scope
        Interpreter(self.services, run.execution).emit(scope, (), "ExecutionRedriven", redriveCount=scope.redrives + 1)
        run.execution.journal.flush_soon_synced()
        self._ended.pop(arn, None)
        return self._launch(run)

    async def resume(self) -> list[str]:
        """After a restart: go on with every execution that its journal leaves running; returns their ARNs."""
        every = self.executions()
        self._forget(*(self._path(info.arn) for info in reversed(every) if info.kind == "EXPRESS" and info.status != "RUNNING"))
        arns = [info.arn for info in every if info.status == "RUNNING" and info.arn not in self._live]
        for arn in arns:
            run = self._reopen(arn)
            self._live[arn] = run
            run.task = asyncio.get_running_loop().create_task(self._drive(run))
            run.task.add_done_callback(_seen)
        return arns

    async def wait(self, arn: str) -> ExecutionInfo:
        """The execution once it has ended. Raises `DiskFull` for one that stands still because its journal has no room."""
        if (run := self._live.get(arn)) is not None and run.task is not None:
            await asyncio.wait({run.task})
            if not run.task.cancelled() and isinstance(stuck := run.task.exception(), DiskFull):
                raise stuck
        return self.describe(arn)

    async def close(self) -> None:
        """Let go of all running executions without ending them: their journals stay open for `resume`."""
        runs = list(self._live.values())
        tasks = [run.task for run in runs if run.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for run in runs:
            run.execution.journal.close()
        self._live.clear()

    def describe(self, arn: str) -> ExecutionInfo:
        """DescribeExecution, also for a child of a map run. Raises ExecutionDoesNotExist."""
        if run := self._live.get(arn):
            return self._info_of(run)
        if arn not in self._ended:
            path, index = self._journal_of(arn)
            if index is not None:
                return self._describe_child(arn, path, index)
            info = info_from_journal(path)
            if info is None:
                raise ExecutionDoesNotExist(f"There is no execution '{arn}'.")
            if info.status == "RUNNING":
                return info
            self._ended[arn] = info
        return self._ended[arn]

    def executions(self, machine: str | None = None, status: str | None = None) -> list[ExecutionInfo]:
        """All executions, newest first, of one machine (name or ARN) and with one status if given."""
        name = machine.rsplit(":", 1)[-1] if machine else "*"
        found = []
        for path in (self.folder / "executions").glob(f"{name}/*.jsonl"):
            arn = arn_of(path)
            try:
                info = self.describe(arn)
            except ExecutionDoesNotExist:  # killed before its first record was whole
                continue
            if status is None or info.status == status:
                found.append(info)
        return sorted(found, key=lambda info: (info.start, info.arn), reverse=True)

    def history(self, arn: str) -> list[dict[str, Json]]:
        """GetExecutionHistory: events in the AWS shape, oldest first."""
        path, index = self._journal_of(arn)
        self._flush(arn)
        if index is None:
            return shown_history(journals.read(path))
        records = (record for record in journals.read(path) if record["p"][:1] == [index])
        return shown_history({**record, "p": record["p"][1:]} for record in records)

    # -- map runs

    def map_runs(self, execution_arn: str) -> list[dict[str, Json]]:
        """ListMapRuns of one execution, oldest first, each as describe_map_run shows it."""
        path, _ = self._journal_of(execution_arn)
        found = [self.describe_map_run(load_header(file)["arn"]) for file in path.with_suffix(".maps").glob("*.jsonl")]
        return sorted(found, key=lambda run: float(run["startDate"]))

    def describe_map_run(self, arn: str) -> dict[str, Json]:
        """DescribeMapRun in the AWS shape (times in seconds). Raises ResourceNotFound."""
        if live := self.services.map_runs.get(arn):
            header, counts = live.header, live.counts
        else:
            header, _, counts = load_map_run(self._map_run_path(arn))
        named = {name.lower(): counts[name] for name in ("PENDING", "RUNNING", "SUCCEEDED", "FAILED", "ABORTED")}
        done = counts["SUCCEEDED"] if header["status"] == "SUCCEEDED" else 0
        tally = {**named, "timedOut": counts["TIMED_OUT"], "total": header["total"], "resultsWritten": done}
        return {
            "mapRunArn": arn,
            "executionArn": header["executionArn"],
            "status": header["status"],
            "startDate": header["startDate"],
            "stopDate": header.get("stopDate"),
            "maxConcurrency": header["maxConcurrency"],
            "toleratedFailureCount": int(header["toleratedCount"] or 0),
            "toleratedFailurePercentage": header["toleratedPercentage"] or 0.0,
            "itemCounts": tally,
            "executionCounts": tally,
            "redriveCount": header.get("redriveCount", 0),
            "redriveDate": header.get("redriveDate"),
        }

    def map_run_executions(self, arn: str) -> list[ExecutionInfo]:
        """ListExecutions of a map run: its children, by item number."""
        path = self._map_run_path(arn)
        if live := self.services.map_runs.get(arn):
            _flushed(live.journal)
        return list(children_of(path).values())

    # -- task tokens

    async def send_task_success(self, token: str, output: str) -> None:
        """SendTaskSuccess; `output` is JSON text. Raises TaskTimedOut when nobody waits for the token (any more)."""
        try:
            value = json.loads(output)
        except ValueError as error:
            raise InvalidOutput(f"The output is not JSON: {error}") from error
        if len(output.encode()) > MAX_PAYLOAD_BYTES:
            raise InvalidOutput(f"The output is larger than {MAX_PAYLOAD_BYTES} bytes.")
        self._settle(token, "TaskSucceeded", {"output": value})

    async def send_task_failure(self, token: str, error: str = "", cause: str = "") -> None:
        self._settle(token, "TaskFailed", {"error": error, "cause": cause})

    async def send_task_heartbeat(self, token: str) -> None:
        self._waiting(token).last_heartbeat = self.services.clock.now()

    def _waiting(self, token: str) -> TokenWait:
        wait = self.services.tokens.get(token)
        if wait is None or wait.settled.done():
            raise TaskTimedOut("No task waits for this token: it was answered, timed out, or its execution has ended.")
        return wait

    def _settle(self, token: str, kind: str, fields: dict[str, Json]) -> None:
        wait = self._waiting(token)
        wait.settle(kind, fields)
        wait.settled.set_result(None)

    # -- inside

    def _path(self, arn: str) -> Path:
        """The journal of an execution that is no child of a map run."""
        parts = arn.split(":")
        kind = parts[5] if len(parts) > 5 else ""
        names = parts[6:]
        if kind not in ("execution", "express") or len(names) != (2 if kind == "execution" else 3):
            raise ExecutionDoesNotExist(f"'{arn}' is no execution ARN of this engine.")
        if not all(_NAME.fullmatch(name) for name in names):
            raise ExecutionDoesNotExist(f"'{arn}' is no execution ARN of this engine.")
        return self.folder / "executions" / names[0] / f"{'~'.join(names[1:])}.jsonl"

    def _journal_of(self, arn: str) -> tuple[Path, int | None]:
        """The file that holds an execution, and its item number if it is a child of a map run."""
        parts = arn.split(":")
        if len(parts) == 8 and parts[5] == "execution" and "/" in parts[6]:
            run_id, _, index = parts[7].rpartition("-")
            try:
                return self._map_run_path(f"{ARN}:mapRun:{parts[6]}:{run_id}"), int(index)
            except (ResourceNotFound, ValueError) as error:
                raise ExecutionDoesNotExist(f"There is no execution '{arn}'.") from error
        path = self._path(arn)
        if not path.exists():
            raise ExecutionDoesNotExist(f"There is no execution '{arn}'.")
        return path, None

    def _map_run_path(self, arn: str) -> Path:
        parts = arn.split(":")
        machine, _, label = parts[6].partition("/") if len(parts) == 8 else ("", "", "")
        if _NAME.fullmatch(machine) and _NAME.fullmatch(label) and _NAME.fullmatch(parts[7]):
            folders = (self.folder / "executions" / machine).glob("*.maps")
            for path in (folder / f"{label}-{parts[7]}.jsonl" for folder in folders):
                if path.exists():
                    return path
        raise ResourceNotFound(f"There is no map run '{arn}'.")

    def _flush(self, arn: str) -> None:
        if run := self._live.get(arn):
            _flushed(run.execution.journal)
        for live in self.services.map_runs.values():
            _flushed(live.journal)

    def _open(self, arn: str, name: str, machine: Machine) -> Run:
        path = self._path(arn)
        journal = Journal(path)
        scope = fold(journals.read(path))
        return Run(Execution(arn, name, machine.arn, machine.name, ROLE, name, journal, scope), machine)

    def _reopen(self, arn: str) -> Run:
        """An execution from its journal, with the definition that it was started with."""
        info = self.describe(arn)
        definition = (self.folder / "definitions" / f"{info.definition}.json").read_text(encoding="utf-8")
        flow: dict[str, Json] = json.loads(definition)
        machine = Machine(info.machine_arn, info.machine, definition, info.kind, info.start, info.definition, flow)
        return self._open(arn, info.name, machine)

    def _launch(self, run: Run) -> ExecutionInfo:
        self._live[run.execution.arn] = run
        run.task = asyncio.get_running_loop().create_task(self._drive(run))
        run.task.add_done_callback(_seen)
        info = self._info_of(run)
        self._announce(info)
        return info

    async def _drive(self, run: Run) -> None:
        """Run the machine to its end and journal how it ended."""
        scope, clock = run.execution.scope, self.services.clock
        limit = run.machine.flow.get("TimeoutSeconds")
        left = None if limit is None else (scope.redriven_at or scope.started) + limit - clock.now()
        work = Interpreter(self.services, run.execution).run(Block(run.machine.flow, scope, (), {}))

        def mark_ending() -> None:
            run.execution.ending = True

        try:
            output = await bounded(clock, work, left, mark_ending)
            self._finish(run, "ExecutionSucceeded", output=output)
        except Overrun:
            self._finish(run, "ExecutionTimedOut", error="States.Timeout", cause="")
        except StateFailure as failure:
            self._finish(run, "ExecutionFailed", error=failure.error, cause=failure.cause)
        except asyncio.CancelledError:
            if run.stop_reason is None:
                raise
            error, cause = run.stop_reason
            self._finish(run, "ExecutionAborted", error=error, cause=cause)
        except DiskFull as full:
            _log.error("%s stands still: %s", run.execution.name, full)
            raise
        except Exception as error:  # a defect of the engine or an integration must end the execution, not hang whoever waits
            _log.exception("The execution %s ended by an unexpected error", run.execution.arn)
            self._finish(run, "ExecutionFailed", error="States.Runtime", cause=f"{type(error).__name__}: {error}")

    def _finish(self, run: Run, kind: str, **fields: Json) -> None:
        execution = run.execution
        Interpreter(self.services, execution).emit(execution.scope, (), kind, **fields)
        execution.journal.close()
        info = self._info_of(run)
        self._live.pop(execution.arn, None)
        self._ended[execution.arn] = info
        if info.kind == "EXPRESS":
            self._forget(execution.journal.path)
        self._announce(info)

    def _forget(self, *ended: Path) -> None:
        """Keep these Express journals, oldest first, as the newest; delete the oldest beyond `EXPRESS_KEPT`."""
        self._express.extend(ended)
        while len(self._express) > EXPRESS_KEPT:
            path = self._express.popleft()
            path.unlink(missing_ok=True)
            self._ended.pop(arn_of(path), None)

    def _announce(self, info: ExecutionInfo) -> None:
        if info.kind == "STANDARD":
            self.on_status(StatusChange(info))

    def _info_of(self, run: Run) -> ExecutionInfo:
        scope, execution, machine = run.execution.scope, run.execution, run.machine
        error, cause = scope.failure or (None, None)
        succeeded = scope.status == "SUCCEEDED"
        return ExecutionInfo(
            arn=execution.arn,
            name=execution.name,
            machine_arn=machine.arn,
            machine=machine.name,
            kind=machine.kind,
            status=scope.status or "RUNNING",
            start=scope.started,
            stop=scope.stopped,
            input=scope.first_input,
            output=scope.input if succeeded else None,
            error=error,
            cause=cause,
            redrive_count=scope.redrives,
            redrive_date=scope.redriven_at,
            definition=machine.digest,
        )

    def _describe_child(self, arn: str, path: Path, index: int) -> ExecutionInfo:
        self._flush(arn)
        child = children_of(path).get(index)
        if child is None:
            raise ExecutionDoesNotExist(f"There is no execution '{arn}'.")
        return child


def _flushed(journal: Journal) -> None:
    """What is known is in the file, as far as there is room: whoever only reads is not told that there is none."""
    with contextlib.suppress(DiskFull):
        journal.flush()


def _seen(task: asyncio.Task[None]) -> None:
    """Look at how a task ended: what it raised was logged, and is raised again to whoever waits for it."""
    if not task.cancelled():
        task.exception()
