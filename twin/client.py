"""The Step Functions API of a twin in this process, for its other threads: as boto3 has it, without 0.4 CPU s of imports."""

from __future__ import annotations

import asyncio
from typing import Any

from twin.endpoint import Handle


class Client:
    """The operations that a run is followed with, named as boto3 names them; times are seconds since the epoch.

    Never called on the twin's own thread, whose loop has to answer. Raises `twin.endpoint.Refused`.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._loop = asyncio.get_running_loop()

    def describe_execution(self, **request: Any) -> dict[str, Any]:
        return self._ask("DescribeExecution", request)

    def get_execution_history(self, **request: Any) -> dict[str, Any]:
        return self._ask("GetExecutionHistory", request)

    def _ask(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        return asyncio.run_coroutine_threadsafe(self._call(operation, request), self._loop).result()

    async def _call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        return await self._handle(operation, request)
