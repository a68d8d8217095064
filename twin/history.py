"""The journal as the history that GetExecutionHistory returns.

Source: AWS Step Functions API reference, HistoryEvent. Records of the engine's own (RetryScheduled) are left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from twin.integrations import Json
from twin.journal import Record

Details = dict[str, Json]
PARTITION_REGION = "local"


def text(value: Json) -> str:
    """JSON as AWS shows it in inputs and outputs: no spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _input(record: Record) -> Details:
    return {"input": text(record["input"]), "inputDetails": {"truncated": False}}


def _output(record: Record) -> Details:
    return {"output": text(record["output"]), "outputDetails": {"truncated": False}}


def _failure(record: Record) -> Details:
    return {"error": record.get("error", ""), "cause": record.get("cause", "")}


def _task(record: Record) -> Details:
    service, _, action = record["resource"].partition(":")
    return {"resourceType": service, "resource": action}


def _exited(record: Record) -> Details:
    details = {"name": record["state"], **_output(record)}
    if assigned := record.get("assign"):
        details["assignedVariables"] = {name: text(value) for name, value in assigned.items()}
        details["assignedVariablesDetails"] = {"truncated": False}
    return details


def _scheduled(record: Record) -> Details:
    details = {**_task(record), "region": PARTITION_REGION, "parameters": text(record["arguments"])}
    for name, key in (("timeoutInSeconds", "timeout"), ("heartbeatInSeconds", "heartbeat")):
        if record.get(key) is not None:
            details[name] = int(record[key])
    return details


def _iteration(record: Record) -> Details:
    return {"name": record["state"], "index": record["p"][-1]}


_DETAILS: dict[str, tuple[str, Callable[[Record], Details]]] = {
    "ExecutionStarted": ("executionStarted", lambda r: {**_input(r), "roleArn": r["role"]}),
    "ExecutionSucceeded": ("executionSucceeded", _output),
    "ExecutionFailed": ("executionFailed", _failure),
    "ExecutionTimedOut": ("executionTimedOut", _failure),
    "ExecutionAborted": ("executionAborted", _failure),
    "ExecutionRedriven": ("executionRedriven", lambda r: {"redriveCount": r["redriveCount"]}),
    "TaskScheduled": ("taskScheduled", _scheduled),
    "TaskStarted": ("taskStarted", _task),
    "TaskSubmitted": ("taskSubmitted", lambda r: {**_task(r), **_output(r)}),
    "TaskSucceeded": ("taskSucceeded", lambda r: {**_task(r), **_output(r)}),
    "TaskFailed": ("taskFailed", lambda r: {**_task(r), **_failure(r)}),
    "TaskTimedOut": ("taskTimedOut", lambda r: {**_task(r), **_failure(r)}),
    "EvaluationFailed": ("evaluationFailed", lambda r: {**_failure(r), "state": r["state"]}),
    "MapStateStarted": ("mapStateStarted", lambda r: {"length": r["length"]}),
    "MapIterationStarted": ("mapIterationStarted", _iteration),
    "MapIterationSucceeded": ("mapIterationSucceeded", _iteration),
    "MapIterationFailed": ("mapIterationFailed", _iteration),
    "MapIterationAborted": ("mapIterationAborted", _iteration),
    "MapRunStarted": ("mapRunStarted", lambda r: {"mapRunArn": r["mapRunArn"]}),
    "MapRunFailed": ("mapRunFailed", _failure),
    "MapRunRedriven": ("mapRunRedriven", lambda r: {"mapRunArn": r["mapRunArn"], "redriveCount": r["redriveCount"]}),
}
_WITHOUT_DETAILS = frozenset({"MapStateSucceeded", "MapStateFailed", "MapStateAborted", "MapRunSucceeded", "MapRunAborted"})


def event(record: Record) -> Details | None:
    """One record as an event without ids, or None if AWS shows no such event."""
    kind: str = record["type"]
    shown: Details = {"timestamp": datetime.fromtimestamp(record["t"], UTC), "type": kind}
    if kind.endswith("StateEntered"):
        return {**shown, "stateEnteredEventDetails": {"name": record["state"], **_input(record)}}
    if kind.endswith("StateExited"):
        return {**shown, "stateExitedEventDetails": _exited(record)}
    if kind in _DETAILS:
        name, details = _DETAILS[kind]
        return {**shown, f"{name}EventDetails": details(record)}
    return shown if kind in _WITHOUT_DETAILS else None


def history(records: Iterable[Record]) -> list[Details]:
    """Events in order; `id` counts from 1, `previousEventId` is the event before it in the same branch (0 for the first)."""
    events: list[Details] = []
    last: dict[tuple[int, ...], int] = {}
    for record in records:
        shown = event(record)
        if shown is None:
            continue
        path = tuple(record["p"])
        ancestors = (path[:length] for length in range(len(path), -1, -1))
        shown["id"] = len(events) + 1
        shown["previousEventId"] = next((last[place] for place in ancestors if place in last), 0)
        last[path] = shown["id"]
        events.append(shown)
    return events
