"""What the engine asks of the world: a clock, task integrations and an object store.

The engine knows no Lambda, no Batch and no S3; it knows these protocols. Tests hand in a clock that jumps.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

Json = Any


class Clock(Protocol):
    """Where the engine gets the time from, so that back-off and timeouts can be tested in milliseconds."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class TaskFailed(Exception):
    """An integration ended badly. `error` is what Retry and Catch match; `cause` is text (AWS: JSON of the failure)."""

    def __init__(self, error: str, cause: str = "") -> None:
        super().__init__(f"{error}: {cause}")
        self.error = error
        self.cause = cause


@dataclass(frozen=True, slots=True)
class TaskContext:
    """Who calls. `attempt` counts from 0 over the Retry of one visit of the state; `run_id` is the root execution's name."""

    execution_arn: str
    execution_name: str
    state: str
    token: str | None
    attempt: int
    run_id: str


class Integrations(Protocol):
    def room(self, resource: str, arguments: Json) -> AbstractAsyncContextManager[Any]:
        """Held while a task is called: where few can be at once, whoever enters waits until there is room."""
        ...

    async def call(self, resource: str, arguments: Json, task: TaskContext) -> Json:
        """Run one task, e.g. `lambda:invoke`, and return the result in the AWS shape. Raises TaskFailed.

        Cancellation of the coroutine stops the task. For `...waitForTaskToken` the call returns once the request is made.
        """
        ...


class Objects(Protocol):
    """The store that ItemReader and ResultWriter use."""

    def get(self, bucket: str, key: str) -> bytes:
        """The bytes of an object. Raises OSError or TaskFailed when there is none."""
        ...

    def put(self, bucket: str, key: str, data: bytes) -> None: ...


class RealClock:
    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class FakeClock:
    """A clock for tests that jumps to the next sleeper as soon as the event loop has nothing else to do.

    With `auto=False` time moves only by `advance`. `slept` lists every sleep that was asked for, in seconds.
    """

    IDLE_TURNS = 60

    def __init__(self, start: float = 1_700_000_000.0, auto: bool = True) -> None:
        self.time = start
        self.auto = auto
        self.slept: list[float] = []
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._mover: asyncio.Task[None] | None = None

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        self.slept.append(seconds)
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.time + seconds, next(self._order), woken))
        if self.auto and (self._mover is None or self._mover.done()):
            self._mover = asyncio.get_running_loop().create_task(self._jump_when_idle())
        await woken

    async def advance(self, seconds: float) -> None:
        """Move time forward and let every sleeper that is due run."""
        until = self.time + seconds
        while self._sleepers and self._sleepers[0][0] <= until:
            self._wake_next()
            await self._let_others_run()
        self.time = until
        await self._let_others_run()

    async def _jump_when_idle(self) -> None:
        while self._sleepers:
            await self._let_others_run()
            if self._sleepers:
                self._wake_next()

    async def _let_others_run(self) -> None:
        for _ in range(self.IDLE_TURNS):
            await asyncio.sleep(0)

    def _wake_next(self) -> None:
        when, _, woken = heapq.heappop(self._sleepers)
        if not woken.done():
            self.time = max(self.time, when)
            woken.set_result(None)
