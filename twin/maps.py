"""The Map state, and its inline iterations. Distributed Map runs are in twin/distributed.py.

Source: Amazon States Language specification, "Map State".
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from twin.distributed import run_distributed
from twin.faults import StateFailure
from twin.integrations import Json
from twin.items import fan_out, list_of_items, number, selector
from twin.running import Block, State

if TYPE_CHECKING:
    from twin.machine import Interpreter

INLINE_CONCURRENCY = 40


async def run_map(interpreter: Interpreter, block: Block, state: State) -> Json:
    """Run the Map state from where its scope stands and return its result. Raises StateFailure."""
    if block.scope.attempt.error is not None:
        raise StateFailure(*block.scope.attempt.error)
    if state["ItemProcessor"].get("ProcessorConfig", {}).get("Mode", "INLINE") == "DISTRIBUTED":
        return await run_distributed(interpreter, block, state)
    return await _run_inline(interpreter, block, state)


async def _run_inline(interpreter: Interpreter, block: Block, state: State) -> Json:
    scope, name = block.scope, block.scope.state
    items = list_of_items(interpreter, block, state)
    select = selector(interpreter, block, state)
    at_once = int(number(interpreter, block, state, "MaxConcurrency") or INLINE_CONCURRENCY)
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
        inner = Block(state["ItemProcessor"], child, path, outer, {"Index": index, "Value": item})
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
