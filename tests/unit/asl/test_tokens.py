"""Task tokens, against the developer guide: "Wait for a Callback with Task Token"."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.unit.asl.world import World, done, failed, states, task, until, within
from twin.faults import InvalidOutput, TaskTimedOut
from twin.integrations import FakeClock

WAITING = {
    "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
    "Arguments": {"FunctionName": "ask", "Payload": {"token": "{% $states.context.Task.Token %}"}},
    "Output": "{% $states.result %}",
}


def asking(**fields: Any) -> dict[str, Any]:
    return states(Ask=task(**WAITING, **fields))


async def started(world: World) -> tuple[str, str]:
    """(execution, token) once the task was asked."""
    arn = (await world.engine.start("machine", "run", {})).arn
    await until(lambda: len(world.calls) > 0)
    return arn, world.called("ask")[-1]["token"]


def test_the_output_sent_with_the_token_is_the_result(tmp_path: Path) -> None:
    """Callback: the task pauses until SendTaskSuccess returns its token; its output is the task's result."""
    world = World(tmp_path)
    world.register(asking())

    async def whole() -> Any:
        arn, token = await started(world)
        await asyncio.sleep(0.01)
        await world.engine.send_task_success(token, '{"approved": true}')
        return await world.engine.wait(arn)

    info = within(whole())
    assert info.output == {"approved": True}
    assert world.events(info.arn)[2:6] == ["TaskScheduled", "TaskStarted", "TaskSubmitted", "TaskSucceeded"]


def test_a_failure_sent_with_the_token_is_matched_by_catch(tmp_path: Path) -> None:
    """API reference, SendTaskFailure: reports error and cause of the task."""
    world = World(tmp_path)
    catch = [{"ErrorEquals": ["Denied"], "Next": "End"}]
    world.register(states(Ask=task(**WAITING, Catch=catch), End=done()))

    async def whole() -> Any:
        arn, token = await started(world)
        await world.engine.send_task_failure(token, "Denied", "not today")
        return await world.engine.wait(arn)

    assert within(whole()).output == {"Error": "Denied", "Cause": "not today"}


def test_a_function_may_answer_its_own_token_before_it_returns(tmp_path: Path) -> None:
    """Tilery's gate answers at once when nobody asked for a pause; the call is still allowed to end."""
    ended: list[bool] = []
    world = World(tmp_path)

    async def answer(payload: dict[str, str]) -> None:
        await world.engine.send_task_success(payload["token"], "1")
        await asyncio.sleep(0.01)
        ended.append(True)

    world.answers["ask"] = answer
    assert world.play(asking()).output == 1
    assert ended == [True]


def test_a_call_that_fails_fails_the_task(tmp_path: Path) -> None:
    """Callback: if the request itself fails there is nobody to return the token."""
    assert World(tmp_path, {"ask": failed("Boom")}).play(asking()).error == "Boom"


def test_a_token_is_good_for_one_answer(tmp_path: Path) -> None:
    """API reference, SendTaskSuccess: TaskTimedOut when the task already ended; InvalidOutput for what is not JSON."""
    world = World(tmp_path)
    world.register(asking())

    async def whole() -> None:
        arn, token = await started(world)
        with pytest.raises(InvalidOutput):
            await world.engine.send_task_success(token, "not json")
        await world.engine.send_task_success(token, "1")
        with pytest.raises(TaskTimedOut):
            await world.engine.send_task_success(token, "2")
        assert (await world.engine.wait(arn)).output == 1
        with pytest.raises(TaskTimedOut):
            await world.engine.send_task_failure(token)

    within(whole())


def test_each_retry_gets_a_token_of_its_own(tmp_path: Path) -> None:
    """Callback: a token belongs to one scheduled task; a retry schedules another."""
    world = World(tmp_path, {"ask": [failed("Busy"), None]})
    world.register(asking(Retry=[{"ErrorEquals": ["Busy"]}]))

    async def whole() -> Any:
        arn, first = await started(world)
        await until(lambda: len(world.calls) == 2)
        await world.engine.send_task_success(world.called("ask")[1]["token"], "2")
        return first, await world.engine.wait(arn)

    first, info = within(whole())
    assert info.output == 2
    assert first != world.called("ask")[1]["token"]


def test_a_missed_heartbeat_times_the_task_out(tmp_path: Path) -> None:
    """ASL, Task State: more than HeartbeatSeconds between heartbeats fails the task; a heartbeat starts the time anew."""
    world = World(tmp_path, clock=FakeClock(auto=False))
    world.register(asking(HeartbeatSeconds=10, TimeoutSeconds=100))

    async def whole() -> Any:
        arn, token = await started(world)
        for _ in range(3):
            await world.clock.advance(9)
            await world.engine.send_task_heartbeat(token)
        assert world.engine.describe(arn).status == "RUNNING"
        await world.clock.advance(11)
        return await world.engine.wait(arn)

    assert within(whole()).error == "States.HeartbeatTimeout"


def test_heartbeats_do_not_extend_the_time_limit(tmp_path: Path) -> None:
    """ASL, Task State: TimeoutSeconds bounds the whole task, whatever heartbeats come."""
    world = World(tmp_path, clock=FakeClock(auto=False))
    world.register(asking(HeartbeatSeconds=10, TimeoutSeconds=20))

    async def whole() -> Any:
        arn, token = await started(world)
        await world.clock.advance(8)
        await world.engine.send_task_heartbeat(token)
        await world.clock.advance(8)
        await world.engine.send_task_heartbeat(token)
        await world.clock.advance(8)
        return await world.engine.wait(arn)

    assert within(whole()).error == "States.Timeout"


def test_a_token_survives_a_restart_and_is_not_asked_for_again(tmp_path: Path) -> None:
    """Tilery, DESIGN section 8: a run that waits for a person waits on after the twin was killed."""
    world = World(tmp_path)
    world.register(asking())

    async def before() -> tuple[str, str]:
        arn, token = await started(world)
        await asyncio.sleep(0.01)
        await world.engine.close()
        return arn, token

    arn, token = within(before())
    world.fresh_engine()

    async def after() -> Any:
        assert await world.engine.resume() == [arn]
        await asyncio.sleep(0.01)
        await world.engine.send_task_success(token, '"yes"')
        return await world.engine.wait(arn)

    assert within(after()).output == "yes"
    assert len(world.calls) == 1
