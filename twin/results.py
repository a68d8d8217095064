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

if TYPE_CHECKING:
    from twin.maps import MapRun

_ENDED = {
    "ExecutionSucceeded": "SUCCEEDED",
    "ExecutionFailed": "FAILED",
    "ExecutionTimedOut": "TIMED_OUT",
    "ExecutionAborted": "ABORTED",
}


def _when(seconds: float) -> str:
    from twin.machine import timestamp

    return timestamp(seconds)


def _children(run: MapRun) -> Iterator[tuple[str, Json, Json]]:
    """(status, metadata, output) of each ended child, by item number; the metadata are those of Transformation NONE."""
    children: dict[int, Json] = {}
    outputs: dict[int, Json] = {}
    machine = run.execution_arn.rsplit(":", 1)[0].replace(":execution:", ":stateMachine:") + f"/{run.label}"
    for record in journal.read(run.journal.path, b'{"type":"Execution'):
        index = record["p"][0]
        if record["type"] == "ExecutionStarted":
            children[index] = {
                "ExecutionArn": f"{machine.replace(':stateMachine:', ':execution:')}:{record['name']}",
                "Input": text(record["input"]),
                "InputDetails": {"Included": True},
                "Name": record["name"],
                "RedriveCount": 0,
                "StartDate": _when(record["t"]),
                "StateMachineArn": machine,
                "Status": "RUNNING",
            }
        elif record["type"] == "ExecutionRedriven":
            children[index] |= {"RedriveCount": record["redriveCount"], "RedriveDate": _when(record["t"])}
        else:
            status = _ENDED[record["type"]]
            child = children[index] | {"Status": status, "StopDate": _when(record["t"])}
            child = {key: value for key, value in child.items() if key not in ("Error", "Cause")}
            if status == "SUCCEEDED":
                outputs[index] = record["output"]
                child |= {
                    "Output": text(record["output"]),
                    "OutputDetails": {"Included": True},
                    "RedriveStatus": "NOT_REDRIVABLE",
                }
            else:
                child |= {"Error": record.get("error", ""), "Cause": record.get("cause", ""), "RedriveStatus": "REDRIVABLE"}
            children[index] = child
    for index in sorted(children):
        yield children[index]["Status"], children[index], outputs.get(index)


def _transformed(status: str, child: Json, output: Json, transformation: str) -> list[Json]:
    """What a child adds to the results. Failed children stay as they are under every transformation (developer guide)."""
    if transformation == "NONE" or status != "SUCCEEDED":
        return [child]
    return output if transformation == "FLATTEN" and isinstance(output, list) else [output]


def map_output(run: MapRun, transformation: str) -> list[Json]:
    """The result of the Map state without an S3 destination: one array."""
    return [part for status, child, output in _children(run) for part in _transformed(status, child, output, transformation)]


def write_results(run: MapRun, objects: Objects, bucket: str, prefix: str, config: dict[str, str]) -> Json:
    """Write SUCCEEDED_0, FAILED_0 and manifest.json below PREFIX/RUN/ and return where the manifest is."""
    transformation = config.get("Transformation", "NONE")
    lines = config.get("OutputType", "JSON") == "JSONL"
    folder = "/".join(part for part in (prefix.strip("/"), run.arn.rsplit(":", 1)[1]) if part)
    parts: dict[str, list[str]] = {"FAILED": [], "PENDING": [], "SUCCEEDED": []}
    for status, child, output in _children(run):
        group = "SUCCEEDED" if status == "SUCCEEDED" else "FAILED"
        parts[group] += [text(part) for part in _transformed(status, child, output, transformation)]
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
