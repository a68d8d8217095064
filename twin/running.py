"""What runs: an execution, the blocks of states in it, what all executions share, and limits of time and size."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from twin.faults import MAX_PAYLOAD_BYTES, StateFailure
from twin.integrations import Clock, Integrations, Json, Objects
from twin.journal import Journal
from twin.scope import Scope

if TYPE_CHECKING:
    from twin.distributed import MapRun

T = TypeVar("T")
State = dict[str, Json]


class Overrun(Exception):
    """The time limit passed first."""


@dataclass(slots=True)
class TokenWait:
    """A task that waits for SendTaskSuccess or SendTaskFailure. `settle` journals the answer at once."""

    settled: asyncio.Future[None]
    settle: Callable[[str, dict[str, Json]], None]
    last_heartbeat: float


@dataclass(slots=True)
class Services:
    """What all executions of an engine share."""

    integrations: Integrations
    objects: Objects
    clock: Clock
    tokens: dict[str, TokenWait] = field(default_factory=dict)
    map_runs: dict[str, MapRun] = field(default_factory=dict)


@dataclass(slots=True)
class Execution:
    """One execution as its states see it; a child of a Distributed Map has its map run's journal and a parent."""

    arn: str
    name: str
    machine_arn: str
    machine: str
    role: str
    run_id: str
    journal: Journal
    scope: Scope
    parent: Execution | None = None
    ending: bool = False

    @property
    def stopped(self) -> bool:
        """True once the execution or one above it is being ended: what is cancelled then counts as aborted."""
        return self.ending or (self.parent is not None and self.parent.stopped)


@dataclass(slots=True)
class Block:
    """A `StartAt`/`States` block being run in a scope, with the variables of the scopes around it."""

    flow: dict[str, Json]
    scope: Scope
    path: tuple[int, ...]
    outer: Mapping[str, Json]
    item: Json = None

    @property
    def variables(self) -> dict[str, Json]:
        return {**self.outer, **self.scope.variables}


def timestamp(seconds: float) -> str:
    """ISO 8601 in UTC with milliseconds, as the context object shows times."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def check_size(value: Json, what: str) -> None:
    """Raise States.DataLimitExceeded for a payload over 256 KiB of UTF-8 JSON."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if len(text) > MAX_PAYLOAD_BYTES or (len(text) * 4 > MAX_PAYLOAD_BYTES and len(text.encode()) > MAX_PAYLOAD_BYTES):
        raise StateFailure(
            "States.DataLimitExceeded", f"The {what} is larger than the maximum of {MAX_PAYLOAD_BYTES} bytes (256 KiB)."
        )


async def bounded(clock: Clock, work: Awaitable[T], seconds: float | None, on_overrun: Callable[[], None] | None = None) -> T:
    """Await `work` for at most so many seconds of the clock, else cancel it and raise Overrun."""
    if seconds is None:
        return await work
    task = asyncio.ensure_future(work)
    timer = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if on_overrun is not None:
            on_overrun()
        raise Overrun
    finally:
        await cancel_all([timer, task])


async def cancel_all(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel what still runs and wait until it has ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
