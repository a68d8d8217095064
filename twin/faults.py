"""The two ways things go wrong: a state fails inside an execution, or a caller asks the engine something impossible."""

from __future__ import annotations

from typing import ClassVar

MAX_PAYLOAD_BYTES = 256 * 1024


class StateFailure(Exception):
    """A state ended with an error name that Retry and Catch may match."""

    def __init__(self, error: str, cause: str = "") -> None:
        super().__init__(f"{error}: {cause}")
        self.error = error
        self.cause = cause


class ApiError(Exception):
    """A request that the Step Functions API refuses. `code` is the AWS error name; the text says what is wrong."""

    code: ClassVar[str] = "ValidationException"


class InvalidDefinition(ApiError):
    code = "InvalidDefinition"


class InvalidName(ApiError):
    code = "InvalidName"


class InvalidExecutionInput(ApiError):
    code = "InvalidExecutionInput"


class InvalidOutput(ApiError):
    code = "InvalidOutput"


class ExecutionAlreadyExists(ApiError):
    code = "ExecutionAlreadyExists"


class ExecutionDoesNotExist(ApiError):
    code = "ExecutionDoesNotExist"


class ExecutionNotRedrivable(ApiError):
    code = "ExecutionNotRedrivable"


class StateMachineDoesNotExist(ApiError):
    code = "StateMachineDoesNotExist"


class TaskTimedOut(ApiError):
    code = "TaskTimedOut"


class ResourceNotFound(ApiError):
    code = "ResourceNotFound"
