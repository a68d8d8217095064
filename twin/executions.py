"""What an execution's journal tells: the answers of DescribeExecution and ListExecutions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from twin import journal as journals
from twin.integrations import Json
from twin.journal import Record
from twin.scope import ENDS

Kind = Literal["STANDARD", "EXPRESS"]
ARN = "arn:aws:states:local:000000000000"
UNSUCCESSFUL = ("FAILED", "TIMED_OUT", "ABORTED")


@dataclass(frozen=True, slots=True)
class ExecutionInfo:
    """What DescribeExecution tells. Times are seconds since the epoch; input and output are JSON values."""

    arn: str
    name: str
    machine_arn: str
    machine: str
    kind: Kind
    status: str
    start: float
    stop: float | None
    input: Json
    output: Json
    error: str | None
    cause: str | None
    redrive_count: int
    redrive_date: float | None
    definition: str
    map_run_arn: str | None = None
    item_count: int | None = None

    @property
    def redrivable(self) -> bool:
        return self.kind == "STANDARD" and self.status in UNSUCCESSFUL and self.map_run_arn is None


def arn_of(path: Path) -> str:
    """The execution whose journal this is; Express journals are named NAME~UUID."""
    name, _, unique = path.stem.partition("~")
    machine = path.parent.name
    return f"{ARN}:express:{machine}:{name}:{unique}" if unique else f"{ARN}:execution:{machine}:{name}"


def load_header(path: Path) -> Record:
    """The first record of a map run's file."""
    return next(journals.read(path))


def info_from_journal(path: Path) -> ExecutionInfo | None:
    """How an execution stands, reading only the records of its own start, redrives and end."""
    info: ExecutionInfo | None = None
    for record in journals.read(path, b'{"type":"Execution'):
        if record["type"] == "ExecutionStarted":
            machine_arn = f"{ARN}:stateMachine:{record['machine']}"
            info = _started(record, record["arn"], machine_arn, record["machine"], record["kind"], record["digest"])
        elif info is not None:
            info = _advanced(info, record)
    return info


def children_of(path: Path) -> dict[int, ExecutionInfo]:
    """All child executions in a map run's file."""
    header = load_header(path)
    children: dict[int, ExecutionInfo] = {}
    machine_arn = header["executionArn"].rsplit(":", 1)[0].replace(":execution:", ":stateMachine:") + f"/{header['label']}"
    for record in journals.read(path, b'{"type":"Execution'):
        index = record["p"][0]
        if record["type"] == "ExecutionStarted":
            arn = f"{machine_arn.replace(':stateMachine:', ':execution:')}:{record['name']}"
            child = _started(record, arn, machine_arn, machine_arn.rsplit(":", 1)[1], "STANDARD", "")
            children[index] = replace(child, map_run_arn=header["arn"], item_count=1)
        else:
            children[index] = _advanced(children[index], record)
    return dict(sorted(children.items()))


def _started(record: Record, arn: str, machine_arn: str, machine: str, kind: Kind, definition: str) -> ExecutionInfo:
    return ExecutionInfo(
        arn=arn,
        name=record["name"],
        machine_arn=machine_arn,
        machine=machine,
        kind=kind,
        status="RUNNING",
        start=record["t"],
        stop=None,
        input=record["input"],
        output=None,
        error=None,
        cause=None,
        redrive_count=0,
        redrive_date=None,
        definition=definition,
    )


def _advanced(info: ExecutionInfo, record: Record) -> ExecutionInfo:
    if record["type"] == "ExecutionRedriven":
        count = info.redrive_count + 1
        return replace(info, status="RUNNING", stop=None, error=None, cause=None, redrive_count=count, redrive_date=record["t"])
    return replace(
        info,
        status=ENDS[record["type"]],
        stop=record["t"],
        output=record.get("output"),
        error=record.get("error"),
        cause=record.get("cause"),
    )
