"""Distributed Map runs: child executions in one file, failure thresholds, redrive of what failed.

Source: Step Functions developer guide, "Distributed mode", "Setting failure thresholds", "Redriving Map Runs".
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from twin import journal as journals
from twin.faults import StateFailure
from twin.integrations import Json, TaskFailed
from twin.items import Dataset, dataset, fan_out, number, selector
from twin.journal import Journal, Record
from twin.jsonata import evaluate
from twin.results import map_output, write_results
from twin.running import Block, Execution, State
from twin.scope import Scope, fold

if TYPE_CHECKING:
    from twin.machine import Interpreter

DISTRIBUTED_CONCURRENCY = 1000
"""What `MaxConcurrency` 0 means here; AWS runs up to 10,000 children, a single machine gains nothing from more."""

THRESHOLD = "States.ExceedToleratedFailureThreshold"
UNSUCCESSFUL = ("FAILED", "TIMED_OUT", "ABORTED")
SUCCEEDED = Scope(status="SUCCEEDED", finished=True)
"""Stands for every finished child of a map run, so that a million items cost a million references."""


@dataclass(slots=True)
class MapRun:
    """One run of a Distributed Map: its file, its children and how many of them are where."""

    arn: str
    execution_arn: str
    label: str
    journal: Journal
    root: Scope
    header: Record
    counts: Counter[str]
    failing: bool = False

    @property
    def failed(self) -> int:
        return self.counts["FAILED"] + self.counts["TIMED_OUT"]

    def check_tolerance(self) -> None:
        """Raise once more children failed than the thresholds allow; without a threshold no failure is allowed."""
        count, percentage, total = self.header["toleratedCount"], self.header["toleratedPercentage"], self.header["total"]
        if count is None and percentage is None:
            count = 0
        if (count is not None and self.failed > count) or (percentage is not None and self.failed * 100 > percentage * total):
            raise StateFailure(THRESHOLD, "The specified tolerated failure threshold was exceeded")

    def child(self, index: int) -> Scope:
        return self.root.attempt.children.setdefault(index, Scope())

    def moved(self, index: int, before: str | None) -> None:
        """Count a child that changed its status, and let go of one that succeeded."""
        now = self.child(index).status
        self.counts[before or "PENDING"] -= 1
        self.counts[now or "PENDING"] += 1
        if now == "SUCCEEDED":
            self.root.attempt.children[index] = SUCCEEDED


def map_run_path(execution_journal: Path, label: str, run_id: str) -> Path:
    """Map run files lie in a folder beside the journal of the execution."""
    return execution_journal.with_suffix(".maps") / f"{label}-{run_id}.jsonl"


def load_map_run(path: Path) -> tuple[Record, Scope, Counter[str]]:
    """Replay the file of a map run: its header, its children and their counts."""
    header: Record = {}
    root = Scope()

    def compacted() -> Iterator[Record]:
        for record in journals.read(path):
            if not record["p"]:
                header.update({key: value for key, value in record.items() if key not in ("type", "t", "p")})
                continue
            yield record
            if record["type"] == "ExecutionSucceeded":
                root.attempt.children[record["p"][0]] = SUCCEEDED

    fold(compacted(), root)
    counts = Counter(child.status or "PENDING" for child in root.attempt.children.values())
    counts["PENDING"] += header.get("total", 0) - counts.total()
    return header, root, counts


def _open_map_run(interpreter: Interpreter, block: Block, state: State, total: int) -> MapRun:
    """Start a map run, or go on with the one that the scope stands in (after a restart or a redrive)."""
    execution, scope = interpreter.execution, block.scope
    assert scope.state is not None
    label = state.get("Label") or "".join(character for character in scope.state if character.isalnum())[:40]
    arn = scope.attempt.map_run
    fresh = arn is None
    if arn is None:
        arn = f"{execution.machine_arn.replace(':stateMachine:', ':mapRun:')}/{label}:{uuid.uuid4()}"
    path = map_run_path(execution.journal.path, label, arn.rsplit(":", 1)[1])
    journal = Journal(path)
    header, root, counts = load_map_run(path)
    run = MapRun(arn, execution.arn, label, journal, root, header, counts)
    if not header:
        header |= {
            "arn": arn,
            "executionArn": execution.arn,
            "label": label,
            "total": total,
            "maxConcurrency": int(number(interpreter, block, state, "MaxConcurrency") or 0),
            "toleratedCount": number(interpreter, block, state, "ToleratedFailureCount"),
            "toleratedPercentage": number(interpreter, block, state, "ToleratedFailurePercentage"),
            "startDate": interpreter.services.clock.now(),
        }
        counts["PENDING"] = total
        _note(interpreter, run, "MapRunStarted", status="RUNNING")
        journal.flush()
    if fresh:
        if not scope.attempt.map_started:
            interpreter.emit(scope, block.path, "MapStateStarted", length=total)
        interpreter.emit(scope, block.path, "MapRunStarted", mapRunArn=arn)
        execution.journal.flush()
    return run


def _note(interpreter: Interpreter, run: MapRun, kind: str, **fields: Json) -> None:
    """Journal something about the run as a whole; load_map_run merges such records into the header."""
    run.header.update(fields)
    run.journal.append({"type": kind, "t": interpreter.services.clock.now(), "p": [], **run.header})


def _redrive(interpreter: Interpreter, block: Block, run: MapRun) -> None:
    """Let only the unsuccessful children run again."""
    now = interpreter.services.clock.now()
    for index, child in run.root.attempt.children.items():
        if child.status in UNSUCCESSFUL:
            before = child.status
            record = {"type": "ExecutionRedriven", "t": now, "p": [index], "redriveCount": child.redrives + 1}
            run.journal.append(record)
            child.apply(record)
            run.moved(index, before)
    redrives = run.header.get("redriveCount", 0) + 1
    _note(interpreter, run, "MapRunRedriven", status="RUNNING", redriveCount=redrives, redriveDate=now, stopDate=None)
    run.journal.flush()
    interpreter.emit(block.scope, block.path, "MapRunRedriven", mapRunArn=run.arn, redriveCount=redrives)


async def run_distributed(interpreter: Interpreter, block: Block, state: State) -> Json:
    items = dataset(interpreter, block, state)
    run = _open_map_run(interpreter, block, state, len(items))
    interpreter.services.map_runs[run.arn] = run
    try:
        if block.scope.redrive_map:
            _redrive(interpreter, block, run)
        return await _run_children(interpreter, block, state, run, items)
    finally:
        interpreter.services.map_runs.pop(run.arn, None)
        run.journal.close()


async def _run_children(interpreter: Interpreter, block: Block, state: State, run: MapRun, items: Dataset) -> Json:
    scope, path, clock = block.scope, block.path, interpreter.services.clock
    select = selector(interpreter, block, state)

    async def work(numbered: tuple[int, Json]) -> None:
        await _run_child(interpreter, state, run, numbered[0], select, numbered[1])
        run.check_tolerance()

    def mark_failing() -> None:
        run.failing = True

    ended = (child.status in UNSUCCESSFUL or child.status == "SUCCEEDED" for child in run.root.attempt.children.values())
    at_once = min(run.header["maxConcurrency"] or DISTRIBUTED_CONCURRENCY, DISTRIBUTED_CONCURRENCY, len(items) - sum(ended))
    todo = ((index, item) for index, item in items if run.child(index).status in (None, "RUNNING"))
    try:
        run.check_tolerance()
        await fan_out(todo, work, at_once, mark_failing)
        output = _results(interpreter, block, state, run)
    except StateFailure as failure:
        if failure.error == THRESHOLD and "ResultWriter" in state:
            _results(interpreter, block, state, run)
        _note(interpreter, run, "MapRunFailed", status="FAILED", stopDate=clock.now())
        interpreter.emit(scope, path, "MapRunFailed", error=failure.error, cause=failure.cause)
        raise
    except asyncio.CancelledError:
        if interpreter.execution.stopped:
            _note(interpreter, run, "MapRunAborted", status="ABORTED", stopDate=clock.now())
            interpreter.emit(scope, path, "MapRunAborted")
        raise
    if not scope.attempt.map_done:
        _note(interpreter, run, "MapRunSucceeded", status="SUCCEEDED", stopDate=clock.now())
        run.journal.sync()
        interpreter.emit(scope, path, "MapRunSucceeded")
        interpreter.emit(scope, path, "MapStateSucceeded")
    return output


async def _run_child(
    parent: Interpreter, state: State, run: MapRun, index: int, select: Callable[[int, Json], Json], item: Json
) -> None:
    """Run one child execution to its end; a failed child is counted, not raised."""
    above, child, path = parent.execution, run.child(index), (index,)
    name = f"{run.arn.rsplit(':', 1)[1]}-{index}"
    machine_arn = f"{above.machine_arn}/{run.label}"
    arn = f"{machine_arn.replace(':stateMachine:', ':execution:')}:{name}"
    execution = Execution(
        arn, name, machine_arn, f"{above.machine}/{run.label}", above.role, above.run_id, run.journal, child, parent=above
    )
    interpreter = parent.inside(execution)
    before = child.status
    if before is None:
        interpreter.emit(child, path, "ExecutionStarted", input=select(index, item), name=name, role=above.role)
        run.moved(index, None)
    try:
        output = await interpreter.run(Block(state["ItemProcessor"], child, path, {}))
        interpreter.emit(child, path, "ExecutionSucceeded", output=output)
    except StateFailure as failure:
        interpreter.emit(child, path, "ExecutionFailed", error=failure.error, cause=failure.cause)
    except asyncio.CancelledError:
        if run.failing or above.stopped:
            interpreter.emit(child, path, "ExecutionAborted")
            run.moved(index, "RUNNING")
        raise
    run.moved(index, "RUNNING")
    run.journal.flush_soon_synced()


def _results(interpreter: Interpreter, block: Block, state: State, run: MapRun) -> Json:
    """The result of the state: the children's outputs, or where ResultWriter put them."""
    run.journal.flush()
    writer = state.get("ResultWriter", {})
    config = writer.get("WriterConfig", {})
    if "Resource" not in writer:
        return map_output(run, config.get("Transformation", "COMPACT"))
    place = evaluate(writer["Arguments"], interpreter.bindings(block), f"{block.scope.state}/ResultWriter/Arguments")
    try:
        return write_results(run, interpreter.services.objects, place["Bucket"], place.get("Prefix", ""), config)
    except (OSError, LookupError, TaskFailed) as error:
        raise StateFailure("States.ResultWriterFailed", f"{place} could not be written: {error}") from error
