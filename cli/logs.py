"""`tilery logs`: what the functions and jobs of one run wrote."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.find_run import find_run
from cli.options import Json, Root, RunName, Stack, Tenant
from cli.target import StackTarget, Target, TwinTarget, find
from cli.text import err, local_time, short
from tilery.outcomes import Transient

_QUERY_WAIT_S = 60.0
_MOST_LINES = 10_000


def logs(
    run: RunName,
    source: Annotated[
        str, typer.Option("--source", help="Only from functions or jobs whose name holds this.", show_default=False)
    ] = "",
    tenant: Tenant = "local",
    root: Root = None,
    stack: Stack = "",
    as_json: Json = False,
) -> None:
    """Print the logs of a run: each line with its function or job. With --json one object a line."""
    target = find(stack, root)
    line = find_run(target.store, tenant, run)
    count = 0
    for entry in _entries(target, line):
        if (source and source not in entry["source"]) or (is_metric(entry) and not as_json):
            continue
        count += 1
        print(json.dumps(entry, ensure_ascii=False, default=str) if as_json else readable(entry))
    if not count:
        err().print(f"Run {short(line['run_id'])} has no logs in {target.place}.", markup=False)


def _entries(target: Target, line: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if isinstance(target, TwinTarget):
        return read_folder(target.root / "twin" / "logs" / line["run_id"])
    if isinstance(target, StackTarget):
        return _query(target, line)
    raise TypeError(f"no logs in {target.place}")


def read_folder(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of a run's log files, file by file in the order in which they were begun."""
    files = sorted(folder.glob("*.log"), key=lambda path: (_begun(path), path.name))
    for path in files:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for text in lines:
                if text.strip():
                    yield entry(path.stem, text.rstrip("\n"))


def entry(source: str, text: str) -> dict[str, Any]:
    """A log line as an object: `source`, `text`, and `at`, `level`, `facts` where the line is structured."""
    try:
        facts = json.loads(text)
    except json.JSONDecodeError:
        facts = None
    if not isinstance(facts, dict) or "message" not in facts:
        return {"source": source, "text": text}
    at = str(facts.get("timestamp", ""))
    message = facts["message"]
    shown = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
    if facts.get("exception"):
        shown += "\n" + str(facts["exception"])
    return {"source": source, "text": shown, "at": at, "level": str(facts.get("level", "")), "facts": facts}


def is_metric(entry: dict[str, Any]) -> bool:
    """Whether a line is a measurement for CloudWatch, which says nothing to a reader."""
    return str(entry["text"]).startswith('{"_aws":')


def readable(entry: dict[str, Any]) -> str:
    """One log line for people."""
    at = _clock(str(entry.get("at", "")))
    level = str(entry.get("level", ""))
    head = " ".join(part for part in (at, str(entry["source"]), "" if level == "INFO" else level) if part)
    return f"{head}: {entry['text']}"


def _clock(at: str) -> str:
    """The time of day of a log's moment; the log's own text where it is written in another form."""
    try:
        return local_time(at.replace(",", ".")).partition(" ")[2]
    except ValueError:
        return at


def _begun(path: Path) -> float:
    """When a log file's first structured line was written, else when the file was last changed."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        at = str(entry("", lines.readline().rstrip("\n")).get("at", ""))
    try:
        return datetime.fromisoformat(at.replace(",", ".")).timestamp()
    except ValueError:
        return path.stat().st_mtime


def _query(target: StackTarget, line: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The lines that carry the run's id, in every log group of the stack, by CloudWatch Logs Insights."""
    client = target.session.client("logs")
    groups = [
        resource["PhysicalResourceId"]
        for page in target.session.client("cloudformation")
        .get_paginator("list_stack_resources")
        .paginate(StackName=target.stack)
        for resource in page["StackResourceSummaries"]
        if resource["ResourceType"] == "AWS::Logs::LogGroup"
    ]
    start = int(datetime.fromisoformat(line["received"]).timestamp()) - 60
    stop = int(datetime.fromisoformat(line["ended"]).timestamp() if line["ended"] else datetime.now(UTC).timestamp()) + 600
    wanted = (
        f"fields @timestamp, @log, @message | filter @message like '{line['run_id']}' "
        f"| sort @timestamp asc | limit {_MOST_LINES}"
    )
    for first in range(0, len(groups), 50):
        query = client.start_query(logGroupNames=groups[first : first + 50], startTime=start, endTime=stop, queryString=wanted)
        for row in _results(client, query["queryId"]):
            fields = {part["field"]: part["value"] for part in row}
            yield {"at": fields["@timestamp"], **entry(fields["@log"].rpartition("/")[2], fields["@message"].rstrip("\n"))}


def _results(client: Any, query: str) -> list[Any]:
    until = time.monotonic() + _QUERY_WAIT_S
    while True:
        answer = client.get_query_results(queryId=query)
        if answer["status"] == "Complete":
            return list(answer["results"])
        if answer["status"] not in ("Scheduled", "Running") or time.monotonic() > until:
            raise Transient(f"CloudWatch Logs did not find the lines of this run ({answer['status'].lower()}); try again")
        time.sleep(1)
