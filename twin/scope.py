"""Where an execution stands: the fold of its journal.

A scope is one run of a `StartAt`/`States` block: the execution itself, an inline Map iteration or a child of a Distributed Map.
The live engine changes a scope only by `apply`, with the record that it journals, so that replaying a journal gives exactly
the scope that was live.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from twin.integrations import Json
from twin.journal import Record

MISSING = object()
"""Stands for "no result yet", since None is a result."""

ENDS = {
    "ExecutionSucceeded": "SUCCEEDED",
    "ExecutionFailed": "FAILED",
    "ExecutionTimedOut": "TIMED_OUT",
    "ExecutionAborted": "ABORTED",
    "MapIterationSucceeded": "SUCCEEDED",
    "MapIterationFailed": "FAILED",
    "MapIterationAborted": "ABORTED",
}
STARTS = frozenset({"ExecutionStarted", "MapIterationStarted"})
TASK_FAILURES = frozenset({"TaskFailed", "TaskTimedOut", "EvaluationFailed"})


@dataclass(slots=True)
class Attempt:
    """What is known of the state that is running: reset on entering, retrying and redriving it."""

    result: Json = MISSING
    error: tuple[str, str] | None = None
    scheduled: float | None = None
    token: str | None = None
    submitted: bool = False
    map_started: bool = False
    map_done: bool = False
    map_run: str | None = None
    children: dict[int, Scope] = field(default_factory=dict)


@dataclass(slots=True)
class Scope:
    """`input` is the input of the current state, or the output of the last one; `next` the state to enter."""

    started: float = 0.0
    stopped: float | None = None
    status: str | None = None
    input: Json = None
    first_input: Json = None
    variables: dict[str, Json] = field(default_factory=dict)
    state: str | None = None
    next: str | None = None
    finished: bool = False
    entered: float = 0.0
    retries: dict[int, int] = field(default_factory=dict)
    retry_at: float | None = None
    failure: tuple[str, str] | None = None
    redrives: int = 0
    redriven_at: float | None = None
    redrive_map: bool = False
    attempt: Attempt = field(default_factory=Attempt)

    @property
    def retry_count(self) -> int:
        return sum(self.retries.values())

    def child(self, index: int) -> Scope:
        """The scope of a Map iteration, made on first use."""
        return self.attempt.children.setdefault(index, Scope())

    def apply(self, record: Record) -> None:
        """Change the scope as the record says. Unknown record types are history only."""
        kind: str = record["type"]
        if kind.endswith("StateEntered"):
            self.state, self.next, self.input, self.entered = record["state"], None, record["input"], record["t"]
            self.retries, self.retry_at, self.attempt, self.redrive_map = {}, None, Attempt(), False
        elif kind.endswith("StateExited"):
            self.state, self.next, self.input = None, record.get("next"), record["output"]
            self.finished = self.next is None
            self.variables = {**self.variables, **record.get("assign", {})}
            self.attempt, self.redrive_map = Attempt(), False
        elif kind in STARTS:
            self.started, self.input, self.first_input, self.status = record["t"], record["input"], record["input"], "RUNNING"
        elif kind in ENDS:
            self.status, self.stopped = ENDS[kind], record["t"]
            self.failure = (record.get("error", ""), record.get("cause", "")) if self.status != "SUCCEEDED" else None
        elif kind == "ExecutionRedriven":
            self.redrives, self.redriven_at = self.redrives + 1, record["t"]
            self._redrive()
        else:
            self._apply_to_attempt(kind, record)

    def _apply_to_attempt(self, kind: str, record: Record) -> None:
        attempt = self.attempt
        if kind == "TaskScheduled":
            attempt.scheduled, attempt.token, attempt.submitted = record["t"], record.get("token"), False
        elif kind == "TaskSubmitted":
            attempt.submitted = True
        elif kind == "TaskSucceeded":
            attempt.result = record["output"]
        elif kind in TASK_FAILURES or kind in ("MapStateFailed", "MapRunFailed"):
            attempt.error = (record["error"], record["cause"])
        elif kind == "RetryScheduled":
            rule = record["rule"]
            self.retries = {**self.retries, rule: self.retries.get(rule, 0) + 1}
            self.retry_at, self.attempt = record["until"], Attempt()
        elif kind == "MapStateStarted":
            attempt.map_started = True
        elif kind == "MapStateSucceeded":
            attempt.map_done = True
        elif kind == "MapRunStarted":
            attempt.map_run = record["mapRunArn"]
        elif kind == "MapRunRedriven":
            self.redrive_map = False

    def _redrive(self) -> None:
        """Make an unsuccessful scope run again from its current state, which keeps its input; what succeeded inside stays."""
        if self.status in (None, "SUCCEEDED"):
            return
        self.status, self.stopped, self.failure, self.retries, self.retry_at = "RUNNING", None, None, {}, None
        old = self.attempt
        self.attempt = Attempt(map_started=old.map_started, map_run=old.map_run, children=old.children)
        self.redrive_map = old.map_run is not None
        for child in old.children.values():
            child._redrive()


def fold(records: Iterable[Record], root: Scope | None = None) -> Scope:
    """Replay a journal into a scope."""
    root = root or Scope()
    for record in records:
        scope = root
        for index in record["p"]:
            scope = scope.child(index)
        scope.apply(record)
    return root
