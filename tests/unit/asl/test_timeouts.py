"""TimeoutSeconds of tasks and machines, against the ASL specification."""

import asyncio
from pathlib import Path
from typing import Any

from tests.unit.asl.test_map import distributed
from tests.unit.asl.world import World, done, failed, states, task, until, within


async def for_ever(_: Any) -> None:
    await asyncio.get_running_loop().create_future()


def test_a_task_over_its_time_is_cancelled_and_times_out(tmp_path: Path) -> None:
    """ASL, Task State: a task that runs longer than TimeoutSeconds fails with States.Timeout."""
    world = World(tmp_path, {"f": for_ever})
    info = world.play(states(Do=task(TimeoutSeconds=30)))
    assert info.stop is not None
    assert (info.status, info.error, info.stop - info.start) == ("FAILED", "States.Timeout", 30)
    assert world.events(info.arn)[-3:] == ["TaskStarted", "TaskTimedOut", "ExecutionFailed"]


def test_the_limit_may_be_an_expression_and_holds_per_attempt(tmp_path: Path) -> None:
    """ASL, Task State: TimeoutSeconds may be JSONata; a retry has the whole time again."""
    world = World(tmp_path, {"f": for_ever})
    retries = [{"ErrorEquals": ["States.Timeout"], "MaxAttempts": 1, "IntervalSeconds": 5}]
    info = world.play(states(Do=task(TimeoutSeconds="{% $states.input.limit %}", Retry=retries)), {"limit": 10})
    assert info.stop is not None
    assert info.stop - info.start == 25


def test_waiting_for_others_before_a_task_is_none_of_its_time(tmp_path: Path) -> None:
    """Where AWS has no room it refuses at once, and a retry has the whole time again; here whoever comes waits for a place."""
    world = World(tmp_path)
    world.places = asyncio.Semaphore(1)

    async def forty_seconds(_: Any) -> None:
        await world.clock.sleep(40)

    world.answers["f"] = forty_seconds

    async def three() -> list[str]:
        world.register(states(Do=task(TimeoutSeconds=60)))
        started = [await world.engine.start("machine", f"run-{number}", {}) for number in range(3)]
        return [(await world.engine.wait(info.arn)).status for info in started]

    assert within(three()) == ["SUCCEEDED"] * 3


def test_a_timeout_is_caught_by_name_and_not_by_task_failed(tmp_path: Path) -> None:
    """Developer guide, Error names: States.TaskFailed does not match States.Timeout."""
    catch = [
        {"ErrorEquals": ["States.TaskFailed"], "Next": "Wrong"},
        {"ErrorEquals": ["States.Timeout"], "Next": "Right"},
    ]
    world = World(tmp_path, {"f": for_ever})
    definition = states(Do=task(TimeoutSeconds=1, Catch=catch), Wrong=done("wrong"), Right=done("right"))
    assert world.play(definition).output == "right"


def test_a_machine_over_its_time_times_out_with_all_that_runs(tmp_path: Path) -> None:
    """ASL, Top-level fields: an execution that runs longer than the machine's TimeoutSeconds fails with States.Timeout; the
    developer guide shows the status TIMED_OUT."""
    world = World(tmp_path, {"f": for_ever})
    each = distributed(states(Do=task()), Items=[1, 2])
    info = world.play({"TimeoutSeconds": 60, **states(Each=each)})
    assert info.stop is not None
    assert (info.status, info.error, info.stop - info.start) == ("TIMED_OUT", "States.Timeout", 60)
    assert world.events(info.arn)[-2:] == ["MapRunAborted", "ExecutionTimedOut"]
    assert world.statuses == ["RUNNING", "TIMED_OUT"]


def test_no_rule_catches_the_timeout_of_the_machine(tmp_path: Path) -> None:
    """Developer guide, Error names: the machine's own time-out ends the execution; no state can catch it."""
    world = World(tmp_path, {"f": for_ever})
    catch = [{"ErrorEquals": ["States.ALL"], "Next": "End"}]
    info = world.play({"TimeoutSeconds": 60, **states(Do=task(Catch=catch), End=done())})
    assert info.status == "TIMED_OUT"


def test_a_redrive_starts_the_machines_time_anew(tmp_path: Path) -> None:
    """Redrive: the machine-level time-out is reset to 0 when an execution is redriven."""
    world = World(tmp_path, {"f": [failed("A"), "ok"]})
    definition = {"TimeoutSeconds": 60, **states(Rest={"Type": "Wait", "Seconds": 50, "Next": "Do"}, Do=task())}
    arn = world.play(definition).arn
    world.clock.time += 1000
    assert world.redrive(arn).output == "ok"


def test_the_time_that_passed_before_a_restart_counts(tmp_path: Path) -> None:
    """Tilery: a restart does not lengthen what a state or machine may take."""
    world = World(tmp_path, {"f": for_ever})
    world.clock.auto = False
    world.register({"TimeoutSeconds": 60, **states(Do=task())})

    async def before() -> str:
        arn = (await world.engine.start("machine", "run", {})).arn
        await until(lambda: len(world.calls) == 1)
        await world.engine.close()
        return arn

    arn = within(before())
    world.clock.time += 100
    world.clock._sleepers.clear()
    world.clock.auto = True
    world.fresh_engine()

    async def after() -> Any:
        await world.engine.resume()
        return await world.engine.wait(arn)

    assert within(after()).status == "TIMED_OUT"


def test_a_wait_goes_on_where_it_was_after_a_restart(tmp_path: Path) -> None:
    """Tilery: a Wait of 100 s, killed after 40, waits for 60 more."""
    world = World(tmp_path)
    world.clock.auto = False
    world.register(states(Rest={"Type": "Wait", "Seconds": 100, "End": True}))

    async def before() -> str:
        arn = (await world.engine.start("machine", "run", {})).arn
        await until(lambda: len(world.clock.slept) == 1)
        await world.clock.advance(40)
        await world.engine.close()
        return arn

    arn = within(before())
    world.clock._sleepers.clear()
    world.clock.auto = True
    world.fresh_engine()

    async def after() -> Any:
        await world.engine.resume()
        return await world.engine.wait(arn)

    info = within(after())
    assert (info.status, info.stop - info.start, world.clock.slept) == ("SUCCEEDED", 100, [100, 60])
