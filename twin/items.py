"""What a Map state works on: its items, the inputs made of them, and how many at once.

Source: Step Functions developer guide, "ItemReader (Map)", "Items", "ItemSelector (Map)".
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from twin.faults import StateFailure
from twin.integrations import Json, TaskFailed
from twin.jsonata import QUERY_ERROR, evaluate

if TYPE_CHECKING:
    from twin.machine import Interpreter
    from twin.running import Block, State

T = TypeVar("T")


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


def list_of_items(interpreter: Interpreter, block: Block, state: State) -> list[Json]:
    items = block.scope.input
    if "Items" in state:
        items = evaluate(state["Items"], interpreter.bindings(block), f"{block.scope.state}/Items")
    if not isinstance(items, list):
        raise StateFailure(
            QUERY_ERROR, f"The items of the Map '{block.scope.state}' must be an array, but are {type(items).__name__}."
        )
    return items


def number(interpreter: Interpreter, block: Block, state: State, name: str) -> float | None:
    """A numeric field of a Map state, which may be an expression; AWS takes integers and percentages from 0."""
    if name not in state:
        return None
    value = evaluate(state[name], interpreter.bindings(block), f"{block.scope.state}/{name}")
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise StateFailure(QUERY_ERROR, f"{block.scope.state}/{name} must be a number from 0, but is {value!r}.")
    return float(value)


def selector(interpreter: Interpreter, block: Block, state: State) -> Callable[[int, Json], Json]:
    """What makes the input of iteration `index` from an item; the bindings are built once for all items."""
    if "ItemSelector" not in state:
        return lambda _, item: item
    bindings = interpreter.bindings(block)
    context = bindings["states"]["context"]

    def select(index: int, item: Json) -> Json:
        context["Map"] = {"Item": {"Index": index, "Value": item}}
        return evaluate(state["ItemSelector"], bindings, f"{block.scope.state}/ItemSelector")

    return select


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


def dataset(interpreter: Interpreter, block: Block, state: State) -> Dataset:
    """Read the items of a Distributed Map. Raises States.ItemReaderFailed if the object cannot be read or parsed."""
    reader = state.get("ItemReader")
    if reader is None:
        return Dataset(list_of_items(interpreter, block, state))
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
