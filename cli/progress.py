"""Live progress of a run: bars in a terminal, one line per change in a log.

What is shown comes from where the truth is: the execution's history says which stage runs, the completion markers in the
store say how many of its items are done. So it works the same for the twin, for AWS, and for a run joined half-way.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from tilery import progress, stages
from tilery.store.port import NotFound, Store

WORDS = {
    "Size the drop": "reading headers",
    "Do the whole drop": "doing the whole drop in one worker",
    "Plan the next stage": "planning",
    "Cut tiles": "cutting tiles",
    "Process tiles": "processing tiles",
    "Merge round": "merging",
    "Finish parts": "finishing parts",
    "Place the products": "placing products",
    "Check the stage": "checking",
    "Wait at the gate": "at the gate",
    "Publish the products": "publishing",
}
"""State -> what is said of it. States that are over at once (choices) are not said."""

WHOLE = "Do the whole drop"
VERBS = {"tile": "cutting", "process": "processing", "merge": "merging", "finish": "finishing"}
"""Stage -> what is said while one worker does all stages; it counts percent of the stage."""

MAPS = ("Cut tiles", "Process tiles", "Merge round", "Finish parts", "Place the products")
"""The states whose items are counted."""

ENDED = ("SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED")
_LOG_STEP = 10
"""A log gets a line for every so many percent of a stage."""


@dataclass(frozen=True, slots=True)
class Step:
    """What the run is doing: a state, and how many of the stage's items are done (total 0: not counted)."""

    state: str
    status: str
    stage: str = ""
    done: int = 0
    total: int = 0

    @property
    def words(self) -> str:
        said = WORDS.get(self.state, self.state)
        return f"{said}: {VERBS[self.stage]}" if self.state == WHOLE and self.stage in VERBS else said

    @property
    def ended(self) -> bool:
        return self.status in ENDED


@dataclass
class Watch:
    """Looks at one run, again and again; each look costs two or three small calls."""

    stepfunctions: Any
    store: Store
    arn: str
    tenant: str
    run_id: str
    _state: str = "Size the drop"
    _seen: int = 0
    _stage: str = ""
    _folder: str = ""
    _ids: frozenset[str] = frozenset()

    def look(self) -> Step:
        """Where the run is now."""
        status = self.stepfunctions.describe_execution(executionArn=self.arn)["status"]
        for event in self._news():
            self._take(event)
        if self._state == WHOLE:
            stage, share = progress.read(self.store, self.tenant, self.run_id)
            return Step(self._state, status, stage, round(100 * share), 100 if share else 0)
        if self._state not in MAPS:
            return Step(self._state, status, self._stage)
        return Step(self._state, status, self._stage, self._done(), len(self._ids))

    def _news(self) -> list[dict[str, Any]]:
        """History events since the last look, oldest first."""
        news: list[dict[str, Any]] = []
        token = ""
        while True:
            more = {"nextToken": token} if token else {}
            page = self.stepfunctions.get_execution_history(
                executionArn=self.arn,
                maxResults=100,
                reverseOrder=True,
                includeExecutionData=True,
                **more,
            )
            fresh = [dict(event) for event in page["events"] if event["id"] > self._seen]
            news += fresh
            token = page.get("nextToken", "")
            if not token or len(fresh) < len(page["events"]):
                break
        if news:
            self._seen = max(event["id"] for event in news)
        return news[::-1]

    def _take(self, event: dict[str, Any]) -> None:
        if event["type"] in ("TaskStateEntered", "MapStateEntered", "WaitStateEntered"):
            name = event["stateEnteredEventDetails"]["name"]
            if name in WORDS:
                self._state = name
        elif event["type"] == "TaskStateExited" and event["stateExitedEventDetails"]["name"] == "Plan the next stage":
            answer = json.loads(event["stateExitedEventDetails"].get("output") or "{}")
            self._stage = str(answer.get("stage", ""))
            self._folder, self._ids = self._items(int(answer.get("round", 0)))

    def _items(self, round_: int) -> tuple[str, frozenset[str]]:
        """The folder of the present stage and the ids of its items; nothing where this machine's code is another version than
        what runs there, since then the folder has another name."""
        try:
            run = stages.read_brief(self.store, self.tenant, self.run_id)
            link = next(link for link in stages.chain(self.store, run) if link.name == self._stage)
            items = stages.read_items(self.store, link, round_)
        except (NotFound, StopIteration):
            return "", frozenset()
        return link.folder, frozenset(str(item["id"]) for item in items)

    def _done(self) -> int:
        """How many items have their completion marker."""
        if not self._ids:
            return 0
        prefix = f"{self._folder}/done/"
        return sum(entry.key.removeprefix(prefix).removesuffix(".json") in self._ids for entry in self.store.list(prefix))


class Display:
    """Shows steps on a console; use as a context manager and call `show` with each step."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._begun = clock()
        self._last: tuple[str, int] = ("", -1)
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._shown: Step | None = None

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._bars = Progress(
                SpinnerColumn(finished_text="[green]✓[/]"),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=34),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def show(self, step: Step) -> None:
        if self._bars is not None:
            self._show_bar(self._bars, step)
        else:
            self._show_line(step)
        self._shown = step

    def note(self, text: str) -> None:
        """A line above the bars, or in the log."""
        console = self._bars.console if self._bars is not None else self._console
        console.print(text, markup=False)

    def _show_bar(self, bars: Progress, step: Step) -> None:
        if self._shown is None or self._shown.words != step.words:
            self._close_bar(bars, finished=not step.ended or step.status == "SUCCEEDED")
            self._task = None if step.ended else bars.add_task(step.words, total=step.total or None)
        if self._task is not None:
            bars.update(self._task, total=step.total or None, completed=step.done)
        if step.ended:
            self._close_bar(bars, finished=step.status == "SUCCEEDED")

    def _close_bar(self, bars: Progress, *, finished: bool) -> None:
        """Stop the present bar; one that did not get to its end stays where it is."""
        if self._task is None:
            return
        if finished:
            total = (self._shown.total if self._shown else 0) or 1
            bars.update(self._task, total=total, completed=total)
        bars.stop_task(self._task)

    def _show_line(self, step: Step) -> None:
        percent = 100 * step.done // step.total if step.total else 0
        mark = (step.status if step.ended else step.words, percent // _LOG_STEP)
        if mark == self._last:
            return
        self._last = mark
        seconds = int(self._clock() - self._begun)
        said = step.status.lower().replace("_", " ") if step.ended else step.words
        count = f" {step.done}/{step.total}" if step.total and not step.ended else ""
        count = f" {step.done} %" if count and step.state == WHOLE else count
        self._console.print(f"{seconds // 60:02d}:{seconds % 60:02d} {said}{count}", markup=False)


async def follow(watch: Watch, display: Display) -> None:
    """Show where the run is until cancelled: four times a second, less often where a look takes long."""
    clock = asyncio.get_running_loop().time
    while True:
        begun = clock()
        display.show(await asyncio.to_thread(watch.look))
        await asyncio.sleep(max(0.25, 5 * (clock() - begun)))
