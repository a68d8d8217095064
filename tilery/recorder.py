"""Writes down what a process of ours really is and does, where TILERY_RECORD names a file: one JSON line each.

The tests compare it with what CDK deploys: command, environment and handler with the template, AWS calls with the roles.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

OURS = ("TILERY_", "POWERTOOLS_", "AWS_LAMBDA_", "AWS_BATCH_")
_started: set[int] = set()


def append(path: str, line: dict[str, Any]) -> None:
    """Add a line to the record; processes share the file, so a line is one write."""
    with open(path, "ab", buffering=0) as file:
        file.write(json.dumps(line, default=str).encode() + b"\n")


def start(handler: str = "") -> None:
    """Record this process (once) and, from here on, each of its AWS calls. `handler`: the Python path of a Lambda's handler."""
    path = os.environ.get("TILERY_RECORD")
    if not path or os.getpid() in _started:
        return
    _started.add(os.getpid())
    environment = {name: value for name, value in os.environ.items() if name.startswith(OURS)}
    process = {"handler": handler, "argv": [] if handler else sys.orig_argv, "environment": environment}
    append(path, {"function": os.environ.get("POWERTOOLS_SERVICE_NAME", ""), "process": process})
    _watch_aws(path)


def _watch_aws(path: str) -> None:
    import boto3

    def seen(params: dict[str, Any], model: Any, **_: Any) -> None:
        call = {
            "service": model.service_model.service_name,
            "operation": model.name,
            "parameters": {name: value for name, value in params.items() if name != "taskToken"},
        }
        append(path, {"function": os.environ.get("POWERTOOLS_SERVICE_NAME", ""), "call": call})

    if boto3.DEFAULT_SESSION is None:
        boto3.setup_default_session()
    session: Any = boto3.DEFAULT_SESSION
    session.events.register("provide-client-params", seen)
