"""What task states call, on one machine: Lambda, Batch, nested executions, the dead-letter queue; moto for the rest."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twin.faults import ApiError
from twin.integrations import Json, TaskContext, TaskFailed
from twin.jobs import Jobs
from twin.lambdas import Lambdas
from twin.other_services import OtherServices

DEAD_LETTER_QUEUE = "https://sqs.local.amazonaws.com/000000000000/tilery-dead-letters"

StartExecution = Callable[[str, str | None, Json], Awaitable[tuple[str, float]]]
"""Machine ARN, name, input -> execution ARN and start in seconds since the epoch; refuses with `ApiError`."""


class LocalServices:
    """`Integrations` of the engine over the twin's own Lambda and Batch.

    Dead letters are lines of a file and not messages of an emulated queue: they must outlive the twin.
    """

    def __init__(
        self,
        lambdas: Lambdas,
        jobs: Jobs,
        start: StartExecution,
        dead_letters: Path,
        on_dead_letter: Callable[[str], None] = lambda body: None,
    ) -> None:
        self._lambdas = lambdas
        self._jobs = jobs
        self._start = start
        self._dead_letters = dead_letters
        self._on_dead_letter = on_dead_letter
        self._others = OtherServices()

    def room(self, resource: str, arguments: Json) -> AbstractAsyncContextManager[Any]:
        """A place among the Lambda workers; other services have room for all."""
        return self._lambdas.place(arguments["FunctionName"]) if resource == "lambda:invoke" else nullcontext()

    async def call(self, resource: str, arguments: Json, task: TaskContext) -> Json:
        """Run one task; the results have the shapes that Step Functions returns. Raises `TaskFailed`."""
        match resource:
            case "lambda:invoke" | "lambda:invoke.waitForTaskToken":
                placed = resource == "lambda:invoke"  # by `room`
                invoke = self._lambdas.invoke_placed if placed else self._lambdas.invoke
                payload = await invoke(arguments["FunctionName"], arguments.get("Payload", {}))
                return {"ExecutedVersion": "$LATEST", "Payload": payload, "StatusCode": 200}
            case "batch:submitJob.sync":
                return await self._jobs.submit(arguments, task.run_id)
            case "states:startExecution":
                return await self._start_execution(arguments)
            case "sqs:sendMessage" if arguments.get("QueueUrl") == DEAD_LETTER_QUEUE:
                return self._keep_dead_letter(arguments)
            case _:
                return await self._others.call(resource, arguments)

    def close(self) -> None:
        self._others.close()

    async def _start_execution(self, arguments: Json) -> Json:
        machine_input = arguments.get("Input", {})
        try:
            arn, started = await self._start(
                arguments["StateMachineArn"],
                arguments.get("Name"),
                json.loads(machine_input) if isinstance(machine_input, str) else machine_input,
            )
        except ApiError as error:
            raise TaskFailed(f"StepFunctions.{error.code.removesuffix('Exception')}Exception", str(error)) from None
        return {"ExecutionArn": arn, "StartDate": datetime.fromtimestamp(started, UTC).isoformat(timespec="milliseconds")}

    def _keep_dead_letter(self, arguments: Json) -> Json:
        body = arguments["MessageBody"]
        text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
        message_id = str(uuid.uuid4())
        self._dead_letters.parent.mkdir(parents=True, exist_ok=True)
        line = {"id": message_id, "at": datetime.now(UTC).isoformat(timespec="seconds"), "body": text}
        with self._dead_letters.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._on_dead_letter(text)
        return {"MessageId": message_id}
