"""The results of a map run: as the state's output, or as ResultWriter's files in the store.

Source: Step Functions developer guide, "ResultWriter (Map)". Results are read back from the run's file, in item order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from twin import journal
from twin.history import text
from twin.integrations import Json, Objects
from twin.journal import Record
from twin.running import timestamp

if TYPE_CHECKING:
    from twin.distributed import MapRun

_ENDED = {
    "ExecutionSucceeded": "SUCCEEDED",
    "ExecutionFailed": "FAILED",
    "ExecutionTimedOut": "TIMED_OUT",
    "ExecutionAborted": "ABORTED",
}


def _started(run: MapRun, record: Record) -> dict[str, Json]:
    """The metadata of a child that Transformation NONE shows, as far as its start tells them."""
    machine = run.execution_arn.rsplit(":", 1)[0].replace(":execution:", ":stateMachine:") + f"/{run.label}"
    return {
        "ExecutionArn": f"{machine.replace(':stateMachine:', ':execution:')}:{record['name']}",
        "Input": text(record["input"]),
        "InputDetails": {"Included": True},
        "Name": record["name"],
        "RedriveCount": 0,
        "StartDate": timestamp(record["t"]),
        "StateMachineArn": machine,
    }


def _ended(child: dict[str, Json], record: Record) -> dict[str, Json]:
    """The metadata of a child that ended."""
    shown = {**child, "Status": _ENDED[record["type"]], "StopDate": timestamp(record["t"])}
    if record["type"] == "ExecutionSucceeded":
        output = {"Output": text(record["output"]), "OutputDetails": {"Included": True}}
        return {**shown, **output, "RedriveStatus": "NOT_REDRIVABLE"}
    return {**shown, "Error": record.get("error", ""), "Cause": record.get("cause", ""), "RedriveStatus": "REDRIVABLE"}


def _results(run: MapRun, transformation: str) -> Iterator[tuple[str, list[Json]]]:
    """(SUCCEEDED or FAILED, what the child adds to the results) of each ended child, by item number.

    Failed children stay as they are under every transformation (developer guide). What a successful child adds is all that is
    kept of it.
    """
    unsuccessful: dict[int, dict[str, Json]] = {}
    results: dict[int, tuple[str, list[Json]]] = {}
    for record in journal.read(run.journal.path, b'{"type":"Execution'):
        index = record["p"][0]
        if record["type"] == "ExecutionStarted":
            unsuccessful[index] = _started(run, record)
        elif record["type"] == "ExecutionRedriven":
            unsuccessful[index] |= {"RedriveCount": record["redriveCount"], "RedriveDate": timestamp(record["t"])}
        elif record["type"] != "ExecutionSucceeded":
            results[index] = ("FAILED", [_ended(unsuccessful[index], record)])
        else:
            child, output = unsuccessful.pop(index), record["output"]
            flat = transformation == "FLATTEN" and isinstance(output, list)
            added = [_ended(child, record)] if transformation == "NONE" else output if flat else [output]
            results[index] = ("SUCCEEDED", added)
    for index in sorted(results):
        yield results[index]


def map_output(run: MapRun, transformation: str) -> list[Json]:
    """The result of the Map state without an S3 destination: one array."""
    return [part for _, added in _results(run, transformation) for part in added]


def write_results(run: MapRun, objects: Objects, bucket: str, prefix: str, config: dict[str, str]) -> Json:
    """Write SUCCEEDED_0, FAILED_0 and manifest.json below PREFIX/RUN/ and return where the manifest is."""
    transformation = config.get("Transformation", "NONE")
    lines = config.get("OutputType", "JSON") == "JSONL"
    folder = "/".join(part for part in (prefix.strip("/"), run.arn.rsplit(":", 1)[1]) if part)
    parts: dict[str, list[str]] = {"FAILED": [], "PENDING": [], "SUCCEEDED": []}
    for group, added in _results(run, transformation):
        parts[group] += [text(part) for part in added]
    files: dict[str, list[Json]] = {}
    for group, texts in parts.items():
        files[group] = []
        if texts:
            data = ("".join(f"{line}\n" for line in texts) if lines else f"[{','.join(texts)}]").encode()
            key = f"{folder}/{group}_0.{'jsonl' if lines else 'json'}"
            objects.put(bucket, key, data)
            files[group].append({"Key": key, "Size": len(data)})
    manifest = {"DestinationBucket": bucket, "MapRunArn": run.arn, "ResultFiles": files}
    objects.put(bucket, f"{folder}/manifest.json", json.dumps(manifest).encode())
    return {"MapRunArn": run.arn, "ResultWriterDetails": {"Bucket": bucket, "Key": f"{folder}/manifest.json"}}
