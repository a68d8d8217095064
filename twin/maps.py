"""The Map state: inline iterations, and Distributed Map runs with their readers, tolerance and results in the store.

Source: Step Functions developer guide, "Map workflow state", "ItemReader", "ResultWriter", "Setting failure thresholds".
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from twin import journal as journals
from twin.faults import StateFailure
from twin.integrations import Json, TaskFailed
from twin.journal import Journal, Record
from twin.jsonata import QUERY_ERROR, evaluate
from twin.results import map_output, write_results
from twin.scope import Scope, fold

if TYPE_CHECKING:
    from twin.machine import Block, Interpreter, State

T = TypeVar("T")
INLINE_CONCURRENCY = 40
DISTRIBUTED_CONCURRENCY = 1000
"""What `MaxConcurrency` 0 means here; AWS runs up to 10,000 children, a single machine gains nothing from more."""

THRESHOLD = "States.ExceedToleratedFailureThreshold"
UNSUCCESSFUL = ("FAILED", "TIMED_OUT", "ABORTED")
SUCCEEDED = Scope(status="SUCCEEDED", finished=True)
"""Stands for every finished child of a map run, so that a million items cost a million references."""


async def run_map(interpreter: Interpreter, block: Block, state: State) -> Json:
    """Run the Map state from where its scope stands and return its result. Raises StateFailure."""
    if block.scope.attempt.error is not None:
        raise StateFailure(*block.scope.attempt.error)
    if state["ItemProcessor"].get("ProcessorConfig", {}).get("Mode", "INLINE") == "DISTRIBUTED":
        return await _run_distributed(interpreter, block, state)
    return await _run_inline(interpreter, block, state)


async def fan_out(
    items: Iterable[T], work: Callable[[T], Awaitable[None]], at_once: int, on_failure: Callable[[], None]
) -> None:
    """Await `work(item)` for all items, `at_once` at a time. The first failure cancels the rest and is raised."""
    queue = iter(items)

    async def worker() -> None:
        for item in queue:
            await work(item)

    workers = [asyncio.ensure_future(worker()) for _ in range(at_once)]
    try:
        while workers:
            done, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
            workers = [task for task in workers if task not in done]
            for task in done:
                if task.exception() is not None:
                    on_failure()
                    task.result()
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def _list_of_items(interpreter: Interpreter, block: Block, state: State) -> list[Json]:
    items = block.scope.input
    if "Items" in state:
        items = evaluate(state["Items"], interpreter.bindings(block), f"{block.scope.state}/Items")
    if not isinstance(items, list):
        raise StateFailure(
            QUERY_ERROR, f"The items of the Map '{block.scope.state}' must be an array, but are {type(items).__name__}."
        )
    return items


def _number(interpreter: Interpreter, block: Block, state: State, name: str) -> float | None:
    """A numeric field of a Map state, which may be an expression; AWS takes integers and percentages from 0."""
    if name not in state:
        return None
    value = evaluate(state[name], interpreter.bindings(block), f"{block.scope.state}/{name}")
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise StateFailure(QUERY_ERROR, f"{block.scope.state}/{name} must be a number from 0, but is {value!r}.")
    return float(value)


def _selector(interpreter: Interpreter, block: Block, state: State) -> Callable[[int, Json], Json]:
    """What makes the input of iteration `index` from an item; the bindings are built once for all items."""
    if "ItemSelector" not in state:
        return lambda _, item: item
    bindings = interpreter.bindings(block)
    context = bindings["states"]["context"]

    def select(index: int, item: Json) -> Json:
        context["Map"] = {"Item": {"Index": index, "Value": item}}
        return evaluate(state["ItemSelector"], bindings, f"{block.scope.state}/ItemSelector")

    return select


async def _run_inline(interpreter: Interpreter, block: Block, state: State) -> Json:
    from twin.machine import Block as InnerBlock

    scope, name = block.scope, block.scope.state
    items = _list_of_items(interpreter, block, state)
    select = _selector(interpreter, block, state)
    at_once = int(_number(interpreter, block, state, "MaxConcurrency") or INLINE_CONCURRENCY)
    if not scope.attempt.map_started:
        interpreter.emit(scope, block.path, "MapStateStarted", length=len(items))
    outer = block.variables
    failing = False

    async def iterate(numbered: tuple[int, Json]) -> None:
        index, item = numbered
        child, path = scope.child(index), (*block.path, index)
        if child.status == "SUCCEEDED":
            return
        if child.failure is not None:
            raise StateFailure(*child.failure)
        if child.status is None:
            interpreter.emit(child, path, "MapIterationStarted", state=name, input=select(index, item))
        inner = InnerBlock(state["ItemProcessor"], child, path, outer, {"Index": index, "Value": item})
        try:
            await interpreter.run(inner)
        except StateFailure as failure:
            interpreter.emit(child, path, "MapIterationFailed", state=name, error=failure.error, cause=failure.cause)
            raise
        except asyncio.CancelledError:
            if failing or interpreter.execution.stopped:
                interpreter.emit(child, path, "MapIterationAborted", state=name)
            raise
        interpreter.emit(child, path, "MapIterationSucceeded", state=name)

    def mark_failing() -> None:
        nonlocal failing
        failing = True

    try:
        await fan_out(enumerate(items), iterate, min(at_once, len(items)), mark_failing)
    except StateFailure as failure:
        interpreter.emit(scope, block.path, "MapStateFailed", error=failure.error, cause=failure.cause)
        raise
    if not scope.attempt.map_done:
        interpreter.emit(scope, block.path, "MapStateSucceeded")
    return [scope.child(index).input for index in range(len(items))]


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
            "maxConcurrency": int(_number(interpreter, block, state, "MaxConcurrency") or 0),
            "toleratedCount": _number(interpreter, block, state, "ToleratedFailureCount"),
            "toleratedPercentage": _number(interpreter, block, state, "ToleratedFailurePercentage"),
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


async def _run_distributed(interpreter: Interpreter, block: Block, state: State) -> Json:
    items = _dataset(interpreter, block, state)
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
    select = _selector(interpreter, block, state)

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
    from twin.machine import Block, Execution, Interpreter

    above, child, path = parent.execution, run.child(index), (index,)
    name = f"{run.arn.rsplit(':', 1)[1]}-{index}"
    machine_arn = f"{above.machine_arn}/{run.label}"
    arn = f"{machine_arn.replace(':stateMachine:', ':execution:')}:{name}"
    execution = Execution(
        arn, name, machine_arn, f"{above.machine}/{run.label}", above.role, above.run_id, run.journal, child, parent=above
    )
    interpreter = Interpreter(parent.services, execution)
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


class Dataset:
    """The items of a Distributed Map, numbered. JSON Lines are parsed one by one, so only the text is held."""

    def __init__(self, items: list[Json] | None, lines: bytes = b"", limit: int | None = None) -> None:
        self._items = items
        self._lines = lines
        count = len(items) if items is not None else sum(1 for _ in self._texts())
        self._count = count if limit is None else min(count, limit)

    def __len__(self) -> int:
        return self._count

    def _texts(self) -> Iterator[bytes]:
        start = 0
        while start < len(self._lines):
            end = self._lines.find(b"\n", start)
            end = len(self._lines) if end < 0 else end
            if line := self._lines[start:end].strip():
                yield line
            start = end + 1

    def __iter__(self) -> Iterator[tuple[int, Json]]:
        values = iter(self._items) if self._items is not None else (self._parse(text) for text in self._texts())
        return zip(range(self._count), values, strict=False)

    @staticmethod
    def _parse(text: bytes) -> Json:
        try:
            return json.loads(text)
        except ValueError as error:
            raise StateFailure("States.ItemReaderFailed", f"A line of the item list is not JSON: {text[:200]!r}") from error


def _dataset(interpreter: Interpreter, block: Block, state: State) -> Dataset:
    """Read the items of a Distributed Map. Raises States.ItemReaderFailed if the object cannot be read or parsed."""
    reader = state.get("ItemReader")
    if reader is None:
        return Dataset(_list_of_items(interpreter, block, state))
    where = f"{block.scope.state}/ItemReader"
    bindings = interpreter.bindings(block)
    place = evaluate(reader["Arguments"], bindings, f"{where}/Arguments")
    config = evaluate(reader.get("ReaderConfig", {}), bindings, f"{where}/ReaderConfig")
    try:
        data = interpreter.services.objects.get(place["Bucket"], place["Key"])
        if config["InputType"] == "JSONL":
            return Dataset(None, data, config.get("MaxItems"))
        items = json.loads(data)
    except (OSError, LookupError, ValueError, TaskFailed) as error:
        raise StateFailure("States.ItemReaderFailed", f"{place} could not be read: {error}") from error
    if not isinstance(items, list):
        raise StateFailure("States.ItemReaderFailed", f"{place} must hold a JSON array.")
    return Dataset(items, limit=config.get("MaxItems"))


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
