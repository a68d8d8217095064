"""The 256 KiB limit, against the developer guide: "Service quotas" and "Error names"."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.asl.world import World, done, states, task, within
from twin.faults import InvalidExecutionInput, StateFailure
from twin.running import check_size

LIMIT = 262_144


def text_of(size_bytes: int) -> str:
    """A JSON string that takes so many bytes, quotes included."""
    return "x" * (size_bytes - 2)


def test_the_limit_counts_bytes_of_utf_8() -> None:
    """Quotas: 256 KiB of data as a UTF-8 encoded string, for input or output of a task, state or execution."""
    check_size(text_of(LIMIT), "payload")
    check_size("é" * (LIMIT // 2 - 1), "payload")
    for over in (text_of(LIMIT + 1), "é" * (LIMIT // 2)):
        with pytest.raises(StateFailure, match=r"States\.DataLimitExceeded"):
            check_size(over, "payload")


def test_a_result_over_the_limit_fails_and_states_all_does_not_catch_it(tmp_path: Path) -> None:
    """Error names: States.DataLimitExceeded is terminal and not caught by States.ALL; it can be caught by its name."""
    world = World(tmp_path, {"f": text_of(LIMIT)})
    info = world.play(states(Do=task(Catch=[{"ErrorEquals": ["States.ALL"], "Next": "End"}]), End=done()), name="all")
    assert (info.status, info.error) == ("FAILED", "States.DataLimitExceeded")
    catch = [{"ErrorEquals": ["States.DataLimitExceeded"], "Output": "caught", "Next": "End"}]
    assert world.play(states(Do=task(Catch=catch), End=done()), name="name").output == "caught"


def test_a_small_output_does_not_save_a_big_result(tmp_path: Path) -> None:
    """Quotas: the limit holds for the task's result itself, before Output shrinks it."""
    info = World(tmp_path, {"f": text_of(LIMIT)}).play(states(Do=task(Output="small")))
    assert info.error == "States.DataLimitExceeded"


def test_an_output_built_too_big_fails(tmp_path: Path) -> None:
    """Quotas: the limit holds for the output of a state."""
    info = World(tmp_path).play(states(Build=done("{% $pad('', 262143, 'x') %}")))
    assert info.error == "States.DataLimitExceeded"


def test_arguments_over_the_limit_fail_before_the_call(tmp_path: Path) -> None:
    """Quotas: the limit holds for the input of a task."""
    world = World(tmp_path)
    payload = "{% $pad('', 262143, 'x') %}"
    info = world.play(states(Do=task(Arguments={"FunctionName": "f", "Payload": payload})))
    assert (info.error, world.calls) == ("States.DataLimitExceeded", [])


def test_an_execution_cannot_start_with_too_big_an_input(tmp_path: Path) -> None:
    """API reference, StartExecution: the input is limited to 262,144 bytes (InvalidExecutionInput)."""
    world = World(tmp_path)
    world.register(states(End=done()))

    async def start(value: Any) -> Any:
        return await world.engine.start("machine", None, value)

    with pytest.raises(InvalidExecutionInput):
        within(start(text_of(LIMIT + 1)))
