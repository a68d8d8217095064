"""A small world to run state machines in: scripted tasks, a store in memory, a clock that jumps.

The engine is the real one; only what lies outside it is scripted.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any

from twin.engine import Engine, ExecutionInfo, StatusChange
from twin.integrations import FakeClock, TaskContext, TaskFailed

Answer = Any
ECHO = object()


class Store:
    """Objects by key; the bucket is a label."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def get(self, bucket: str, key: str) -> bytes:
        return self.objects[key]

    def put(self, bucket: str, key: str, data: bytes) -> None:
        self.objects[key] = data

    def json(self, key: str) -> Any:
        return json.loads(self.objects[key])

    def lines(self, key: str) -> list[Any]:
        return [json.loads(line) for line in self.objects[key].splitlines()]


class World:
    """`answers` maps a function name to what it returns: a value, an exception, a function of the payload, or a list of
    these, one per call (the last one stays). Every call is noted in `calls` as (function, payload)."""

    def __init__(self, root: Path, answers: dict[str, Answer] | None = None, clock: FakeClock | None = None) -> None:
        self.root = root
        self.answers = answers or {}
        self.clock = clock or FakeClock()
        self.store = Store()
        self.calls: list[tuple[str, Any]] = []
        self.contexts: list[TaskContext] = []
        self.statuses: list[str] = []
        self.places: AbstractAsyncContextManager[Any] = nullcontext()
        """Held by each call."""
        self.engine = self.fresh_engine()

    def fresh_engine(self) -> Engine:
        """A new engine on the same folder, as after a restart."""
        self.engine = Engine(self.root, self, self.store, self.clock, self._note)
        return self.engine

    def _note(self, change: StatusChange) -> None:
        self.statuses.append(change.status)

    def room(self, resource: str, arguments: Any) -> AbstractAsyncContextManager[Any]:
        return self.places

    async def call(self, resource: str, arguments: Any, task: TaskContext) -> Any:
        function, payload = arguments.get("FunctionName", resource), arguments.get("Payload", arguments)
        self.calls.append((function, payload))
        self.contexts.append(task)
        answer = self.answers.get(function, ECHO)
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, Exception):
            raise answer
        value = payload if answer is ECHO else answer
        if callable(answer):
            value = answer(payload)
            if inspect.isawaitable(value):
                value = await value
        return {"Payload": value, "StatusCode": 200}

    def called(self, function: str) -> list[Any]:
        return [payload for name, payload in self.calls if name == function]

    def register(self, definition: dict[str, Any], kind: Any = "STANDARD", name: str = "machine") -> str:
        return self.engine.register(name, json.dumps({"QueryLanguage": "JSONata", **definition}), kind)

    def play(self, definition: dict[str, Any], input: Any = None, name: str = "run") -> ExecutionInfo:
        """Register, start and wait for the end."""
        self.register(definition)

        async def whole() -> ExecutionInfo:
            started = await self.engine.start("machine", name, {} if input is None else input)
            return await self.engine.wait(started.arn)

        return within(whole())

    def redrive(self, arn: str) -> ExecutionInfo:
        async def whole() -> ExecutionInfo:
            await self.engine.redrive(arn)
            return await self.engine.wait(arn)

        return within(whole())

    def events(self, arn: str) -> list[str]:
        """The types of the execution's history, in order."""
        return [event["type"] for event in self.engine.history(arn)]


def within(work: Awaitable[Any], seconds: float = 20) -> Any:
    """Run a test's coroutine to its end, or fail instead of hanging."""

    async def bounded() -> Any:
        return await asyncio.wait_for(asyncio.ensure_future(work), seconds)

    return asyncio.run(bounded())


def failed(error: str, cause: str = "") -> TaskFailed:
    return TaskFailed(error, cause)


def task(function: str = "f", **fields: Any) -> dict[str, Any]:
    """A Lambda task that gets the state's input and returns the payload; ends unless `Next` is given."""
    state = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Arguments": {"FunctionName": function, "Payload": "{% $states.input %}"},
        "Output": "{% $states.result.Payload %}",
        **fields,
    }
    return ending(state)


def ending(state: dict[str, Any]) -> dict[str, Any]:
    """The state, ending the machine unless it names a next one."""
    return state if "Next" in state else {**state, "End": True}


def states(**named: dict[str, Any]) -> dict[str, Any]:
    """A definition that starts at the first state."""
    return {"StartAt": next(iter(named)), "States": named}


def done(output: str = "{% $states.input %}") -> dict[str, Any]:
    return {"Type": "Pass", "Output": output, "End": True}


Predicate = Callable[[], bool]


async def until(condition: Predicate) -> None:
    """Let the engine run until the condition holds."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition never held")
