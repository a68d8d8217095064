"""Redrive, against the developer guide: "Restarting state machine executions with redrive" and "Redriving Map Runs"."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.unit.asl.test_map import distributed, inline
from tests.unit.asl.world import World, done, failed, states, task, until, within
from twin.faults import ApiError, ExecutionNotRedrivable


def test_redrive_repeats_the_failed_state_with_the_same_input_and_variables(tmp_path: Path) -> None:
    """Redrive: continues from the unsuccessful step with the same input; successful steps are not rerun."""
    world = World(tmp_path, {"first": {"made": 1}, "second": [failed("Broken"), {"fixed": True}]})
    definition = states(
        One=task("first", Assign={"kept": "{% $states.result.Payload.made %}"}, Next="Two"),
        Two=task("second", Output="{% {'kept': $kept, 'input': $states.input, 'out': $states.result.Payload} %}"),
    )
    broken = world.play(definition)
    assert (broken.status, broken.redrivable) == ("FAILED", True)
    info = world.redrive(broken.arn)
    assert info.output == {"kept": 1, "input": {"made": 1}, "out": {"fixed": True}}
    assert (info.status, info.redrive_count) == ("SUCCEEDED", 1)
    assert [function for function, _ in world.calls] == ["first", "second", "second"]
    assert world.events(info.arn)[6:] == [
        "TaskStateEntered",
        "TaskScheduled",
        "TaskStarted",
        "TaskFailed",
        "ExecutionFailed",
        "ExecutionRedriven",
        "TaskScheduled",
        "TaskStarted",
        "TaskSucceeded",
        "TaskStateExited",
        "ExecutionSucceeded",
    ]
    assert world.statuses == ["RUNNING", "FAILED", "RUNNING", "SUCCEEDED"]


def test_the_redrive_count_is_absent_before_the_first_redrive(tmp_path: Path) -> None:
    """Developer guide, Context object: RedriveCount and RedriveTime are there only when the execution was redriven."""
    payload = "{% $exists($states.context.Execution.RedriveCount) ? $states.context.Execution.RedriveCount : 'absent' %}"
    world = World(tmp_path, {"f": [failed("A"), failed("A"), 1]})
    arn = world.play(states(Do=task(Arguments={"FunctionName": "f", "Payload": payload}))).arn
    world.redrive(arn)
    world.redrive(arn)
    assert world.called("f") == ["absent", 1, 2]


def test_the_retry_count_starts_anew(tmp_path: Path) -> None:
    """Redrive: the retry attempt count is reset to 0 when an execution is redriven."""
    world = World(tmp_path, {"f": failed("Busy")})
    arn = world.play(states(Do=task(Retry=[{"ErrorEquals": ["Busy"], "MaxAttempts": 2}]))).arn
    world.redrive(arn)
    assert len(world.calls) == 6


def test_only_failed_children_of_a_map_run_are_repeated(tmp_path: Path) -> None:
    """Redriving Map Runs: the redriven parent restarts the unsuccessful child executions in the same Map Run."""
    broken = True

    def work(item: int) -> int:
        if broken and item in (1, 3):
            raise failed("Bad", str(item))
        return item * 10

    world = World(tmp_path, {"f": work})
    each = distributed(states(Do=task()), Items="{% [0..4] %}", MaxConcurrency=1, ToleratedFailureCount=1)
    first = world.play(states(Each=each))
    assert first.error == "States.ExceedToleratedFailureThreshold"
    assert world.called("f") == [0, 1, 2, 3]
    broken = False
    info = world.redrive(first.arn)
    assert info.output == [0, 10, 20, 30, 40]
    assert world.called("f")[4:] == [1, 3, 4]
    [run] = world.engine.map_runs(first.arn)
    assert (run["status"], run["redriveCount"], run["itemCounts"]["succeeded"]) == ("SUCCEEDED", 1, 5)
    children = world.engine.map_run_executions(run["mapRunArn"])
    assert [child.redrive_count for child in children] == [0, 1, 0, 1, 0]
    assert world.events(children[1].arn) == [
        "ExecutionStarted",
        "TaskStateEntered",
        "TaskScheduled",
        "TaskStarted",
        "TaskFailed",
        "ExecutionFailed",
        "ExecutionRedriven",
        "TaskScheduled",
        "TaskStarted",
        "TaskSucceeded",
        "TaskStateExited",
        "ExecutionSucceeded",
    ]


def test_only_failed_iterations_of_an_inline_map_are_repeated(tmp_path: Path) -> None:
    """API reference, RedriveExecution: for an inline Map only the iterations that failed or were aborted are redriven."""
    broken = True

    def work(item: int) -> int:
        if broken and item == 2:
            raise failed("Bad")
        return item

    world = World(tmp_path, {"f": work})
    first = world.play(states(Each=inline(states(Do=task()), Items=[1, 2, 3], MaxConcurrency=1)))
    broken = False
    assert world.redrive(first.arn).output == [1, 2, 3]
    assert world.called("f") == [1, 2, 2, 3]


def test_a_caught_failure_is_not_repeated(tmp_path: Path) -> None:
    """Redriving Map Runs: a state with an exited event is not redriven, so a caught Map stays as it is."""
    world = World(tmp_path, {"f": failed("Bad"), "after": [failed("Worse"), "ok"]})
    catch = [{"ErrorEquals": ["States.ALL"], "Next": "After"}]
    first = world.play(states(Each=distributed(states(Do=task()), Items=[1], Catch=catch, Next="After"), After=task("after")))
    assert world.redrive(first.arn).output == "ok"
    assert len(world.called("f")) == 1


def test_a_succeeded_or_running_or_express_execution_cannot_be_redriven(tmp_path: Path) -> None:
    """API reference, RedriveExecution: ExecutionNotRedrivable for SUCCEEDED and RUNNING; Express is not supported."""
    world = World(tmp_path, {"f": failed("A")})
    good = world.play(states(End=done()))
    with pytest.raises(ExecutionNotRedrivable):
        world.redrive(good.arn)
    world.register(states(Do=task()), kind="EXPRESS", name="quick")

    async def express() -> str:
        return (await world.engine.wait((await world.engine.start("quick", "x", {})).arn)).arn

    arn = within(express())
    assert world.engine.describe(arn).status == "FAILED"
    with pytest.raises(ExecutionNotRedrivable):
        world.redrive(arn)


def test_after_14_days_it_is_too_late(tmp_path: Path) -> None:
    """Redrive eligibility: the redrivable period is 14 days after the execution ended."""
    world = World(tmp_path, {"f": failed("A")})
    arn = world.play(states(Do=task())).arn
    world.clock.time += 14 * 24 * 3600 + 1
    with pytest.raises(ExecutionNotRedrivable, match="14 days"):
        world.redrive(arn)


def test_a_redrive_uses_the_definition_of_the_start(tmp_path: Path) -> None:
    """Redrive: redriven executions use the same definition as the original attempt, even after an update."""
    world = World(tmp_path, {"old": [failed("A"), "from old"], "new": "from new"})
    arn = world.play(states(Do=task("old"))).arn
    world.fresh_engine().register("machine", '{"QueryLanguage":"JSONata","StartAt":"X","States":{"X":{"Type":"Succeed"}}}')
    assert world.redrive(arn).output == "from old"


def test_stop_aborts_tasks_and_children_and_can_be_redriven(tmp_path: Path) -> None:
    """API reference, StopExecution: the execution is ABORTED with error and cause; redrive takes up the aborted children."""
    cancelled: list[Any] = []
    hang = True

    async def work(item: int) -> int:
        try:
            await asyncio.sleep(60 if hang and item > 0 else 0)
        except asyncio.CancelledError:
            cancelled.append(item)
            raise
        return item

    world = World(tmp_path, {"f": work})
    world.register(states(Each=distributed(states(Do=task()), Items=[0, 1, 2])))

    async def stop() -> str:
        arn = (await world.engine.start("machine", "run", {})).arn
        await until(lambda: len(world.calls) == 3)
        await asyncio.sleep(0.01)
        info = await world.engine.stop(arn, "Enough", "the user said so")
        assert (info.status, info.error, info.cause) == ("ABORTED", "Enough", "the user said so")
        return arn

    arn = within(stop())
    assert sorted(cancelled) == [1, 2]
    assert world.events(arn)[-2:] == ["MapRunAborted", "ExecutionAborted"]
    [run] = world.engine.map_runs(arn)
    assert [run["itemCounts"][name] for name in ("succeeded", "aborted")] == [1, 2]
    hang = False
    assert world.redrive(arn).output == [0, 1, 2]
    assert sorted(world.called("f")) == [0, 1, 1, 2, 2]


def test_an_execution_left_running_by_a_kill_can_be_stopped_before_it_is_resumed(tmp_path: Path) -> None:
    """API reference, StopExecution; after a restart the execution is only a journal, and stopping it ends that journal."""
    world = World(tmp_path)
    world.register(states(Rest={"Type": "Wait", "Seconds": 1000, "End": True}))
    world.clock.auto = False

    async def killed() -> str:
        arn = (await world.engine.start("machine", "run", {})).arn
        await until(lambda: len(world.clock.slept) == 1)
        await world.engine.close()
        return arn

    arn = within(killed())
    engine = world.fresh_engine()
    assert within(engine.stop(arn, "Enough")).status == "ABORTED"
    assert within(engine.resume()) == []
    assert world.events(arn) == ["ExecutionStarted", "WaitStateEntered", "ExecutionAborted"]


def test_a_child_of_a_map_run_is_not_stopped_alone(tmp_path: Path) -> None:
    """The twin refuses what it does not do as AWS does; it does not pretend."""
    world = World(tmp_path)
    info = world.play(states(Each=distributed(states(Do=done()), Items=[1])))
    [run] = world.engine.map_runs(info.arn)
    [child] = world.engine.map_run_executions(run["mapRunArn"])
    with pytest.raises(ApiError, match="stop the execution that started"):
        within(world.engine.stop(child.arn))
