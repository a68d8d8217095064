"""The endpoint, driven by a real boto3 client, over an engine with a small machine."""

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from twin.api import StepFunctionsApi
from twin.client import Client
from twin.endpoint import MAX_BODY, Endpoint, Refused
from twin.engine import Engine
from twin.integrations import RealClock, TaskContext, TaskFailed

DEFINITION = json.dumps(
    {
        "QueryLanguage": "JSONata",
        "StartAt": "Work",
        "States": {
            "Work": {
                "Type": "Task",
                "Resource": "arn:aws:states:::lambda:invoke",
                "Arguments": {"FunctionName": "f", "Payload": "{% $states.input %}"},
                "Output": "{% $states.result.Payload %}",
                "End": True,
            }
        },
    }
)
TOKEN_DEFINITION = json.dumps(
    {
        "QueryLanguage": "JSONata",
        "StartAt": "Ask",
        "States": {
            "Ask": {
                "Type": "Task",
                "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
                "Arguments": {"FunctionName": "gate", "Payload": {"token": "{% $states.context.Task.Token %}"}},
                "End": True,
            }
        },
    }
)
MAP_DEFINITION = json.dumps(
    {
        "QueryLanguage": "JSONata",
        "StartAt": "Each",
        "States": {
            "Each": {
                "Type": "Map",
                "Label": "Each",
                "MaxConcurrency": 2,
                "Items": "{% $states.input.items %}",
                "ItemProcessor": {
                    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                    "StartAt": "One",
                    "States": {"One": {"Type": "Pass", "End": True}},
                },
                "End": True,
            }
        },
    }
)


class Functions:
    """A function that returns its payload, fails when told to, waits when told to, and keeps tokens."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.broken = True

    def room(self, resource: str, arguments: Any) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def call(self, resource: str, arguments: Any, task: TaskContext) -> Any:
        payload = arguments["Payload"]
        if resource.endswith(".waitForTaskToken"):
            self.tokens.append(payload["token"])
        elif payload.get("fail") and self.broken:
            raise TaskFailed("BadInput", "no")
        elif payload.get("wait"):
            await asyncio.sleep(60)
        return {"Payload": payload}


class NoObjects:
    def get(self, bucket: str, key: str) -> bytes:
        raise FileNotFoundError(key)

    def put(self, bucket: str, key: str, data: bytes) -> None:
        raise AssertionError("nothing is written here")


class Served:
    """An endpoint in a thread of its own, as the CLI meets it: in another process."""

    def __init__(self, root: Path) -> None:
        self.functions = Functions()
        self._root = root
        self._started: Future[tuple[int, asyncio.AbstractEventLoop]] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        self.port, self._loop = self._started.result(10)
        self.client = boto3.client(
            "stepfunctions",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=Config(retries={"max_attempts": 0}),
        )

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        engine = Engine(self._root, self.functions, NoObjects(), RealClock(), lambda change: None)
        self.arn = engine.register("work", DEFINITION, "STANDARD")
        self.gate_arn = engine.register("gate", TOKEN_DEFINITION, "STANDARD")
        self.map_arn = engine.register("map", MAP_DEFINITION, "STANDARD")
        self.express_arn = engine.register("quick", DEFINITION, "EXPRESS")
        api = StepFunctionsApi(engine)
        self.inside = Client(api.handle)
        endpoint: Endpoint = api.endpoint()
        await endpoint.start()
        self._started.set_result((endpoint.port, asyncio.get_running_loop()))
        await self._stop.wait()
        await endpoint.close()
        await engine.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def ended(self, arn: str) -> dict[str, Any]:
        return until(lambda: self.client.describe_execution(executionArn=arn), lambda answer: answer["status"] != "RUNNING")

    def run(self, name: str, value: dict[str, Any]) -> str:
        started = self.client.start_execution(stateMachineArn=self.arn, name=name, input=json.dumps(value))
        return str(started["executionArn"])


def until(ask: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
    for _ in range(200):
        answer = ask()
        if good(answer):
            return answer
        threading.Event().wait(0.02)
    raise AssertionError(f"still {answer}")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    served.close()


def code(caught: pytest.ExceptionInfo[ClientError]) -> str:
    return str(caught.value.response["Error"]["Code"])


def test_an_execution_starts_and_is_described(served: Served) -> None:
    arn = served.run("one", {"x": "ü"})
    assert arn == "arn:aws:states:local:000000000000:execution:work:one"
    described = served.ended(arn)
    assert described["status"] == "SUCCEEDED"
    assert json.loads(described["output"]) == {"x": "ü"}
    assert json.loads(described["input"]) == {"x": "ü"}
    assert described["stateMachineArn"] == served.arn
    assert described["name"] == "one"
    assert described["startDate"] <= described["stopDate"]
    assert described["redriveStatus"] == "NOT_REDRIVABLE"


def test_a_name_is_taken_once_unless_it_runs_with_the_same_input(served: Served) -> None:
    waiting = served.run("twice", {"wait": True})
    assert served.run("twice", {"wait": True}) == waiting
    with pytest.raises(served.client.exceptions.ExecutionAlreadyExists):
        served.run("twice", {"wait": True, "other": 1})
    served.ended(served.run("done", {}))
    with pytest.raises(served.client.exceptions.ExecutionAlreadyExists):
        served.run("done", {})


def test_a_running_execution_is_stopped_with_error_and_cause(served: Served) -> None:
    arn = served.run("long", {"wait": True})
    assert served.client.stop_execution(executionArn=arn, error="Operator", cause="not needed")["stopDate"]
    described = served.client.describe_execution(executionArn=arn)
    assert (described["status"], described["error"], described["cause"]) == ("ABORTED", "Operator", "not needed")


def test_a_failed_execution_is_redriven(served: Served) -> None:
    arn = served.run("again", {"fail": True})
    failed = served.ended(arn)
    assert (failed["status"], failed["error"], failed["cause"]) == ("FAILED", "BadInput", "no")
    assert failed["redriveStatus"] == "REDRIVABLE"
    served.functions.broken = False
    assert served.client.redrive_execution(executionArn=arn)["redriveDate"]
    again = served.ended(arn)
    assert again["status"] == "SUCCEEDED"
    assert again["redriveCount"] == 1
    with pytest.raises(served.client.exceptions.ExecutionNotRedrivable):
        served.client.redrive_execution(executionArn=arn)


def test_executions_are_listed_newest_first_in_pages_and_by_status(served: Served) -> None:
    for number in range(5):
        served.ended(served.run(f"n{number}", {"fail": number == 3}))
    pages = list(
        served.client.get_paginator("list_executions").paginate(stateMachineArn=served.arn, PaginationConfig={"PageSize": 2})
    )
    assert [len(page["executions"]) for page in pages] == [2, 2, 1]
    assert [item["name"] for page in pages for item in page["executions"]] == ["n4", "n3", "n2", "n1", "n0"]
    failed = served.client.list_executions(stateMachineArn=served.arn, statusFilter="FAILED")["executions"]
    assert [item["name"] for item in failed] == ["n3"]
    with pytest.raises(served.client.exceptions.InvalidToken):
        served.client.list_executions(stateMachineArn=served.arn, nextToken="?")


def test_history_comes_in_order_in_reverse_and_in_pages(served: Served) -> None:
    arn = served.run("told", {"x": 1})
    served.ended(arn)
    events = served.client.get_execution_history(executionArn=arn)["events"]
    assert events[0]["type"] == "ExecutionStarted"
    assert events[-1]["type"] == "ExecutionSucceeded"
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["timestamp"].timestamp() > 1e9
    assert {"TaskStateEntered", "TaskScheduled", "TaskStarted", "TaskSucceeded", "TaskStateExited"} <= {
        event["type"] for event in events
    }
    backwards = served.client.get_execution_history(executionArn=arn, reverseOrder=True, maxResults=1)
    assert backwards["events"][0]["type"] == "ExecutionSucceeded"
    assert backwards["nextToken"]
    paged = served.client.get_paginator("get_execution_history").paginate(executionArn=arn, PaginationConfig={"PageSize": 3})
    assert [event["id"] for page in paged for event in page["events"]] == [event["id"] for event in events]
    bare = served.client.get_execution_history(executionArn=arn, includeExecutionData=False)["events"]
    assert "input" not in bare[0]["executionStartedEventDetails"]


def test_threads_of_the_same_process_are_answered_alike_without_boto3(served: Served) -> None:
    arn = served.run("told", {"x": 1})
    described, inside = served.ended(arn), served.inside.describe_execution(executionArn=arn)
    assert {name: inside[name] for name in ("name", "status", "input", "output")} == {
        name: described[name] for name in ("name", "status", "input", "output")
    }
    asked = {"executionArn": arn, "reverseOrder": True, "maxResults": 4, "includeExecutionData": True}
    events, same = served.client.get_execution_history(**asked), served.inside.get_execution_history(**asked)
    assert same["nextToken"] == events["nextToken"]
    assert [event | {"timestamp": 0} for event in same["events"]] == [event | {"timestamp": 0} for event in events["events"]]
    with pytest.raises(Refused, match="There is no execution"):
        served.inside.describe_execution(executionArn=arn + "-not")


def test_map_runs_and_their_children_are_listed_and_described(served: Served) -> None:
    started = served.client.start_execution(stateMachineArn=served.map_arn, name="m", input=json.dumps({"items": [1, 2, 3]}))
    served.ended(started["executionArn"])
    runs = served.client.list_map_runs(executionArn=started["executionArn"])["mapRuns"]
    assert len(runs) == 1
    described = served.client.describe_map_run(mapRunArn=runs[0]["mapRunArn"])
    assert described["status"] == "SUCCEEDED"
    assert described["itemCounts"]["succeeded"] == 3
    assert described["maxConcurrency"] == 2
    children = served.client.list_executions(mapRunArn=runs[0]["mapRunArn"])["executions"]
    assert len(children) == 3
    child = served.client.describe_execution(executionArn=children[0]["executionArn"])
    assert child["mapRunArn"] == runs[0]["mapRunArn"]
    with pytest.raises(served.client.exceptions.ResourceNotFound):
        served.client.describe_map_run(mapRunArn=runs[0]["mapRunArn"] + "x")


def test_a_task_token_is_answered_once(served: Served) -> None:
    arns = [
        served.client.start_execution(stateMachineArn=served.gate_arn, name=name, input="{}")["executionArn"]
        for name in ("a", "b")
    ]
    first, second = until(lambda: served.functions.tokens, lambda tokens: len(tokens) == 2)
    served.client.send_task_heartbeat(taskToken=first)
    served.client.send_task_success(taskToken=first, output='{"go": 1}')
    served.client.send_task_failure(taskToken=second, error="Refused", cause="by a person")
    ended = [served.ended(arn) for arn in arns]
    assert {answer["status"] for answer in ended} == {"SUCCEEDED", "FAILED"}
    with pytest.raises(served.client.exceptions.TaskTimedOut):
        served.client.send_task_success(taskToken=first, output="{}")
    with pytest.raises(served.client.exceptions.InvalidOutput):
        served.client.send_task_success(taskToken=second, output="{")


def test_machines_are_listed_and_described(served: Served) -> None:
    machines = {item["name"]: item["type"] for item in served.client.list_state_machines()["stateMachines"]}
    assert machines == {"work": "STANDARD", "gate": "STANDARD", "map": "STANDARD", "quick": "EXPRESS"}
    described = served.client.describe_state_machine(stateMachineArn=served.arn)
    assert json.loads(described["definition"]) == json.loads(DEFINITION)
    assert described["type"] == "STANDARD"
    arn = served.run("one", {})
    assert served.client.describe_state_machine_for_execution(executionArn=arn)["stateMachineArn"] == served.arn


@pytest.mark.parametrize(
    ("operation", "request_", "expected"),
    [
        (
            "start_execution",
            {"stateMachineArn": "arn:aws:states:local:000000000000:stateMachine:none"},
            "StateMachineDoesNotExist",
        ),
        ("start_execution", {"stateMachineArn": "nonsense"}, "InvalidArn"),
        (
            "describe_execution",
            {"executionArn": "arn:aws:states:local:000000000000:execution:work:none"},
            "ExecutionDoesNotExist",
        ),
        ("stop_execution", {"executionArn": "arn:aws:states:local:000000000000:execution:work:none"}, "ExecutionDoesNotExist"),
        ("describe_execution", {"executionArn": "arn:aws:states:local:000000000000:execution:..:x"}, "ExecutionDoesNotExist"),
        (
            "list_executions",
            {"stateMachineArn": "arn:aws:states:local:000000000000:stateMachine:quick"},
            "StateMachineTypeNotSupported",
        ),
        ("list_executions", {}, "ValidationException"),
        ("create_activity", {"name": "x"}, "UnknownOperationException"),
    ],
)
def test_a_refusal_has_the_error_name_of_aws(served: Served, operation: str, request_: dict[str, str], expected: str) -> None:
    with pytest.raises(ClientError) as caught:
        getattr(served.client, operation)(**request_)
    assert code(caught) == expected


@pytest.mark.parametrize(("name", "value", "expected"), [("a b", "{}", "InvalidName"), ("ok", "{", "InvalidExecutionInput")])
def test_a_bad_name_or_input_is_refused(served: Served, name: str, value: str, expected: str) -> None:
    with pytest.raises(ClientError) as caught:
        served.client.start_execution(stateMachineArn=served.arn, name=name, input=value)
    assert code(caught) == expected


GOOD = {"X-Amz-Target": "AWSStepFunctions.ListStateMachines", "Content-Type": "application/x-amz-json-1.0"}


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", GOOD, 200),
        ("POST", {**GOOD, "Origin": "https://evil.example"}, 403),
        ("POST", {**GOOD, "Host": "evil.example"}, 403),
        ("POST", {**GOOD, "Content-Type": "text/plain"}, 415),
        ("POST", {**GOOD, "X-Amz-Target": "DynamoDB.ListTables"}, 404),
        ("POST", {**GOOD, "Content-Length": str(MAX_BODY + 1)}, 413),
        ("GET", {}, 404),
    ],
)
def test_a_request_that_a_web_page_could_send_is_refused(
    served: Served, method: str, headers: dict[str, str], status: int
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=5)
    connection.request(method, "/", None if headers.get("Content-Length") else "{}", headers)
    assert connection.getresponse().status == status
    connection.close()
