"""The logical names of the system, and the one mapping to ARNs, environment variables and commands.

CDK, the twin and the tests all ask here, so that what is deployed and what runs on one machine cannot drift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

APP = "tilery"


@dataclass(frozen=True, slots=True)
class Function:
    """One nanoservice: a folder in functions/. Control functions are zips shared by all workloads; data functions run from
    their workload's image, once per workload."""

    name: str
    kind: Literal["control", "data"]
    memory_mib: int
    timeout_s: int
    pipeline: bool
    """Called by the pipeline machine (else by ingest, a rule or a schedule)."""


FUNCTIONS = {
    function.name: function
    for function in (
        Function("intake", "control", 2048, 240, False),
        Function("size", "data", 2048, 900, True),
        Function("whole", "data", 8192, 900, True),
        Function("plan", "control", 2048, 900, True),
        Function("tile", "data", 3008, 900, True),
        Function("check", "control", 2048, 900, True),
        Function("merge", "data", 4096, 900, True),
        Function("finish", "data", 3008, 900, True),
        Function("publish", "data", 8192, 900, True),
        Function("gate", "control", 512, 60, True),
        Function("explain", "control", 512, 120, False),
        Function("watchdog", "control", 512, 300, False),
    )
}


@dataclass(frozen=True, slots=True)
class BatchLane:
    """One way to run a Batch job: a queue, a job definition, and the lane that takes over when memory runs out."""

    name: str
    vcpus: int
    memory_mib: int
    gpus: int
    image: Literal["cpu", "cuda"]
    larger: str | None


BATCH_LANES = {
    lane.name: lane
    for lane in (
        BatchLane("fargate", 2, 16384, 0, "cpu", "fargate-large"),
        BatchLane("fargate-large", 8, 61440, 0, "cpu", None),
        BatchLane("gpu", 8, 28000, 1, "cuda", "gpu-large"),
        BatchLane("gpu-large", 16, 120000, 1, "cuda", None),
    )
}

JOB_TIMEOUT_S = 6 * 3600
JOB_ATTEMPTS = 5
JOB_RETRY: tuple[dict[str, str], ...] = (
    {"OnStatusReason": "Host EC2*", "Action": "RETRY"},
    {"OnExitCode": "1", "Action": "EXIT"},
    {"OnExitCode": "2", "Action": "EXIT"},
    {"OnExitCode": "42", "Action": "EXIT"},
    {"OnExitCode": "13*", "Action": "EXIT"},
)
"""Batch's `evaluateOnExit`, at most five, first match wins; a job that none matches is tried again. That is one that never came
to a machine (no image, no network interface: there is no exit code then), was told to stop (143), or may go well the next time
(75). Not again: an error of ours, bad input, too little memory (42, 137), a crash (134, 139)."""

JOB_COMMAND = ["python", "-m", "containers.entrypoint"]
"""What a container runs; the twin replaces `python` by its own interpreter."""


def function_name(function: str, workload: str) -> str:
    """The deployed name of a function, as the twin and the logs show it: `size-pointcloud`, `plan`."""
    return f"{function}-{workload}" if FUNCTIONS[function].kind == "data" else function


def substitution(function: str) -> str:
    """The ASL substitution of a function: size -> SizeFunction."""
    return f"{function.capitalize()}Function"


def machine_name(workload: str) -> str:
    return f"{APP}-{workload}"


INGEST_MACHINE = f"{APP}-ingest"


def jsonata_object(values: dict[str, str]) -> str:
    """A JSONata object literal of plain texts, for substitutions such as ${JobQueues} inside an expression."""
    return "{" + ", ".join(f"'{name}': '{value}'" for name, value in values.items()) + "}"


def larger_lanes(deployed: list[str]) -> dict[str, str]:
    """Lane -> the deployed lane that takes over when its memory runs out; absent where there is none."""
    return {
        name: lane.larger for name in deployed if (lane := BATCH_LANES[name]).larger is not None and lane.larger in deployed
    }


DROP_DETAIL = {
    "object": {
        "key": [
            {"anything-but": {"wildcard": "drop/*/*/*/*"}},
            {"suffix": "/_READY.json"},
        ]
    }
}
"""The part of the EventBridge pattern that lets through drop-shaped keys, and few others, which intake ignores; CDK adds the
source, the detail-type and the bucket. With a second wildcard EventBridge would refuse the rule as too complex (tested)."""
