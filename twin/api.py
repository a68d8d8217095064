"""The Step Functions API over the engine: requests and responses as boto3 and the AWS CLI know them.

Source: AWS Step Functions API reference; times are seconds since the epoch, as the JSON protocol sends them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from twin.endpoint import Endpoint, Refused
from twin.engine import ROLE, Engine, ExecutionInfo, Machine
from twin.faults import ApiError
from twin.history import text

Request = dict[str, Any]
Response = dict[str, Any]
T = TypeVar("T")

DEFAULT_PAGE = 100
LARGEST_PAGE = 1000
LARGEST_CAUSE = 32768


class StepFunctionsApi:
    """Answers the operations that the CLI, the functions and `boto3.client("stepfunctions")` use."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._operations: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "StartExecution": self._start_execution,
            "StopExecution": self._stop_execution,
            "RedriveExecution": self._redrive_execution,
            "DescribeExecution": self._describe_execution,
            "ListExecutions": self._list_executions,
            "GetExecutionHistory": self._get_execution_history,
            "ListMapRuns": self._list_map_runs,
            "DescribeMapRun": self._describe_map_run,
            "SendTaskSuccess": self._send_task_success,
            "SendTaskFailure": self._send_task_failure,
            "SendTaskHeartbeat": self._send_task_heartbeat,
            "ListStateMachines": self._list_state_machines,
            "DescribeStateMachine": self._describe_state_machine,
            "DescribeStateMachineForExecution": self._describe_state_machine_for_execution,
        }

    def endpoint(self) -> Endpoint:
        """An HTTP server for this API."""
        return Endpoint("AWSStepFunctions", self.handle)

    async def handle(self, operation: str, request: Request) -> Response:
        """One request; raises `Refused` with the AWS error name."""
        if operation not in self._operations:
            known = ", ".join(self._operations)
            raise Refused("UnknownOperationException", f"the twin does not serve {operation}; it serves {known}")
        try:
            answer = await self._operations[operation](request)
        except ApiError as error:
            raise Refused(error.code, str(error)) from None
        return {name: value for name, value in answer.items() if value is not None}

    async def _start_execution(self, request: Request) -> Response:
        machine = _arn(request, "stateMachineArn", "stateMachine")
        try:
            given = json.loads(request.get("input", "{}"))
        except (TypeError, ValueError) as error:
            raise Refused("InvalidExecutionInput", f"Invalid State Machine Execution Input: '{error}'") from None
        info = await self._engine.start(machine, request.get("name"), given)
        return {"executionArn": info.arn, "startDate": info.start}

    async def _stop_execution(self, request: Request) -> Response:
        arn = _arn(request, "executionArn", "execution", "express")
        info = await self._engine.stop(arn, request.get("error", ""), request.get("cause", ""))
        return {"stopDate": info.stop}

    async def _redrive_execution(self, request: Request) -> Response:
        info = await self._engine.redrive(_arn(request, "executionArn", "execution", "express"))
        return {"redriveDate": info.redrive_date}

    async def _describe_execution(self, request: Request) -> Response:
        info = self._engine.describe(_arn(request, "executionArn", "execution", "express"))
        response: Response = {
            **_list_item(info),
            "input": text(info.input),
            "inputDetails": {"included": True},
            "error": info.error,
            "cause": None if info.cause is None else info.cause[:LARGEST_CAUSE],
            "redriveStatus": "REDRIVABLE" if info.redrivable else "NOT_REDRIVABLE",
            "redriveStatusReason": None if info.redrivable else _not_redrivable(info),
        }
        response.pop("itemCount", None)
        if info.status == "SUCCEEDED":
            response |= {"output": text(info.output), "outputDetails": {"included": True}}
        return response

    async def _list_executions(self, request: Request) -> Response:
        if "mapRunArn" in request:
            infos = self._engine.map_run_executions(_arn(request, "mapRunArn", "mapRun"))
            infos.sort(key=lambda info: info.start, reverse=True)
        else:
            machine = self._engine.describe_machine(_arn(request, "stateMachineArn", "stateMachine"))
            if machine.kind == "EXPRESS":
                raise Refused("StateMachineTypeNotSupported", "This operation is not supported by this type of state machine")
            infos = self._engine.executions(machine.arn)
        wanted = request.get("statusFilter")
        page, token = _page([info for info in infos if wanted in (None, info.status)], request)
        items = [{name: value for name, value in _list_item(info).items() if value is not None} for info in page]
        return {"executions": items, "nextToken": token}

    async def _get_execution_history(self, request: Request) -> Response:
        events = self._engine.history(_arn(request, "executionArn", "execution", "express"))
        if request.get("reverseOrder"):
            events.reverse()
        page, token = _page(events, request)
        if not request.get("includeExecutionData", True):
            page = [_without_data(event) for event in page]
        return {"events": [_in_seconds(event) for event in page], "nextToken": token}

    async def _list_map_runs(self, request: Request) -> Response:
        arn = _arn(request, "executionArn", "execution")
        machine = self._engine.describe(arn).machine_arn
        page, token = _page(self._engine.map_runs(arn), request)
        kept = ("executionArn", "mapRunArn", "startDate", "stopDate")
        runs = [{**{name: run[name] for name in kept if run.get(name) is not None}, "stateMachineArn": machine} for run in page]
        return {"mapRuns": runs, "nextToken": token}

    async def _describe_map_run(self, request: Request) -> Response:
        return self._engine.describe_map_run(_arn(request, "mapRunArn", "mapRun"))

    async def _send_task_success(self, request: Request) -> Response:
        await self._engine.send_task_success(_required(request, "taskToken"), _required(request, "output"))
        return {}

    async def _send_task_failure(self, request: Request) -> Response:
        await self._engine.send_task_failure(
            _required(request, "taskToken"), request.get("error", ""), request.get("cause", "")
        )
        return {}

    async def _send_task_heartbeat(self, request: Request) -> Response:
        await self._engine.send_task_heartbeat(_required(request, "taskToken"))
        return {}

    async def _list_state_machines(self, request: Request) -> Response:
        page, token = _page(sorted(self._engine.machines(), key=lambda machine: machine.name), request)
        items = [
            {"stateMachineArn": machine.arn, "name": machine.name, "type": machine.kind, "creationDate": machine.created}
            for machine in page
        ]
        return {"stateMachines": items, "nextToken": token}

    async def _describe_state_machine(self, request: Request) -> Response:
        machine: Machine = self._engine.describe_machine(_arn(request, "stateMachineArn", "stateMachine"))
        return {
            "stateMachineArn": machine.arn,
            "name": machine.name,
            "status": "ACTIVE",
            "definition": machine.definition,
            "roleArn": ROLE,
            "type": machine.kind,
            "creationDate": machine.created,
        }

    async def _describe_state_machine_for_execution(self, request: Request) -> Response:
        info = self._engine.describe(_arn(request, "executionArn", "execution", "express"))
        root = self._engine.describe(_root(info, self._engine)) if info.map_run_arn else info
        return {
            "stateMachineArn": info.machine_arn,
            "name": info.machine,
            "definition": (self._engine.folder / "definitions" / f"{root.definition}.json").read_text(encoding="utf-8"),
            "roleArn": ROLE,
            "updateDate": root.start,
            "mapRunArn": info.map_run_arn,
        }


def status_detail(info: ExecutionInfo) -> Response:
    """The `detail` of the EventBridge event for a status change: DescribeExecution with times in milliseconds."""
    return {
        "executionArn": info.arn,
        "stateMachineArn": info.machine_arn,
        "name": info.name,
        "status": info.status,
        "startDate": int(1000 * info.start),
        "stopDate": None if info.stop is None else int(1000 * info.stop),
        "input": text(info.input),
        "output": text(info.output) if info.status == "SUCCEEDED" else None,
        "inputDetails": {"included": True},
        "outputDetails": {"included": True} if info.status == "SUCCEEDED" else None,
        "error": info.error,
        "cause": info.cause,
        "redriveCount": info.redrive_count,
        "redriveDate": None if info.redrive_date is None else int(1000 * info.redrive_date),
        "redriveStatus": "REDRIVABLE" if info.redrivable else "NOT_REDRIVABLE",
    }


def _list_item(info: ExecutionInfo) -> Response:
    return {
        "executionArn": info.arn,
        "stateMachineArn": info.machine_arn,
        "name": info.name,
        "status": info.status,
        "startDate": info.start,
        "stopDate": info.stop,
        "mapRunArn": info.map_run_arn,
        "itemCount": info.item_count,
        "redriveCount": info.redrive_count,
        "redriveDate": info.redrive_date,
    }


def _not_redrivable(info: ExecutionInfo) -> str:
    if info.map_run_arn:
        return "Execution is a child of a Map Run: redrive the parent execution"
    return f"Execution is {info.status} and cannot be redriven"


def _root(info: ExecutionInfo, engine: Engine) -> str:
    return str(engine.describe_map_run(info.map_run_arn or "")["executionArn"])


def _required(request: Request, name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not value:
        raise Refused(
            "ValidationException",
            f"1 validation error detected: Value at '{name}' failed to satisfy constraint: Member must not be null",
        )
    return value


def _arn(request: Request, name: str, *kinds: str) -> str:
    """A required ARN of one of these kinds of resource."""
    arn = _required(request, name)
    parts = arn.split(":")
    if len(parts) < 7 or parts[0] != "arn" or parts[2] != "states" or parts[5] not in kinds:
        raise Refused("InvalidArn", f"Invalid Arn: '{arn}' is not the ARN of a {' or '.join(kinds)}")
    return arn


def _page(items: Sequence[T], request: Request) -> tuple[list[T], str | None]:
    """The asked page and the token of the next one. Tokens carry a position: lists here only grow at one end."""
    size = request.get("maxResults") or DEFAULT_PAGE
    if not isinstance(size, int) or not 0 < size <= LARGEST_PAGE:
        raise Refused("ValidationException", f"maxResults must be between 0 and {LARGEST_PAGE}, got {size}")
    start = 0
    if token := request.get("nextToken"):
        try:
            start = int(base64.b64decode(token, validate=True))
        except ValueError:
            raise Refused("InvalidToken", f"Invalid Token: '{token}'") from None
    following = start + size
    return list(items[start:following]), base64.b64encode(str(following).encode()).decode() if following < len(items) else None


def _in_seconds(event: Response) -> Response:
    when: datetime = event["timestamp"]
    return {**event, "timestamp": when.timestamp()}


def _without_data(event: Response) -> Response:
    hidden = ("input", "output", "inputDetails", "outputDetails", "parameters", "assignedVariables", "error", "cause")
    return {
        name: {key: inner for key, inner in value.items() if key not in hidden} if name.endswith("EventDetails") else value
        for name, value in event.items()
    }
