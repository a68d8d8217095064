"""Retry and Catch, against the Amazon States Language specification (Errors) and the developer guide (Error handling)."""

from pathlib import Path

import pytest

from tests.unit.asl.world import World, done, failed, states, task
from twin.retry import delay_s, first_match, matches


def retrying(**rule: object) -> dict[str, object]:
    return states(Do=task(Retry=[{"ErrorEquals": ["Busy"], **rule}]))


def test_the_default_is_three_retries_after_1_2_and_4_seconds(tmp_path: Path) -> None:
    """ASL, Retrying after error: IntervalSeconds defaults to 1, MaxAttempts to 3, BackoffRate to 2.0."""
    world = World(tmp_path, {"f": failed("Busy", "no room")})
    info = world.play(retrying())
    assert (info.status, info.error, info.cause) == ("FAILED", "Busy", "no room")
    assert len(world.calls) == 4
    assert world.clock.slept == [1, 2, 4]


def test_each_attempt_is_in_the_history(tmp_path: Path) -> None:
    """Developer guide, Retry: every retry schedules the task anew inside one visit of the state."""
    world = World(tmp_path, {"f": [failed("Busy"), {"ok": 1}]})
    info = world.play(retrying())
    assert world.events(info.arn) == [
        "ExecutionStarted",
        "TaskStateEntered",
        "TaskScheduled",
        "TaskStarted",
        "TaskFailed",
        "TaskScheduled",
        "TaskStarted",
        "TaskSucceeded",
        "TaskStateExited",
        "ExecutionSucceeded",
    ]


def test_max_delay_caps_the_back_off(tmp_path: Path) -> None:
    """Developer guide, Retry: MaxDelaySeconds is the maximum by which a retry interval can increase."""
    world = World(tmp_path, {"f": failed("Busy")})
    world.play(retrying(IntervalSeconds=3, BackoffRate=3, MaxAttempts=4, MaxDelaySeconds=10))
    assert world.clock.slept == [3, 9, 10, 10]


def test_full_jitter_draws_between_zero_and_the_delay() -> None:
    """Developer guide, Retry: with JitterStrategy FULL the delay is random between 0 and the computed delay."""
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return 1.5

    rule = {"ErrorEquals": ["Busy"], "IntervalSeconds": 4, "MaxDelaySeconds": 6, "JitterStrategy": "FULL"}
    assert [delay_s(rule, retries, uniform) for retries in (0, 1, 3)] == [1.5, 1.5, None]
    assert drawn == [(0, 4), (0, 6)]


def test_max_attempts_zero_never_retries(tmp_path: Path) -> None:
    """ASL, Retrying after error: MaxAttempts 0 says that the error is never retried."""
    world = World(tmp_path, {"f": failed("Busy")})
    world.play(states(Do=task(Retry=[{"ErrorEquals": ["Busy"], "MaxAttempts": 0}, {"ErrorEquals": ["States.ALL"]}])))
    assert len(world.calls) == 1


def test_each_rule_counts_its_own_retries(tmp_path: Path) -> None:
    """ASL, Complex retry scenarios: the count applies per rule across visits of that rule, in one execution of the state."""
    world = World(tmp_path, {"f": [failed("A"), failed("B"), failed("A"), failed("B"), failed("A")]})
    rules = [
        {"ErrorEquals": ["A"], "IntervalSeconds": 10, "MaxAttempts": 2},
        {"ErrorEquals": ["B"], "IntervalSeconds": 100, "BackoffRate": 1.0, "MaxAttempts": 5},
    ]
    info = world.play(states(Do=task(Retry=rules)))
    assert info.error == "A"
    assert world.clock.slept == [10, 100, 20, 100]


def test_retries_come_before_catch_and_the_context_counts_them(tmp_path: Path) -> None:
    """ASL, Fallback states: Catch is used only after the retries are used up. Context object: State.RetryCount."""
    world = World(tmp_path, {"f": failed("Busy", "full")})
    definition = states(
        Do=task(
            Arguments={"FunctionName": "f", "Payload": "{% $states.context.State.RetryCount %}"},
            Retry=[{"ErrorEquals": ["States.ALL"], "MaxAttempts": 2}],
            Catch=[{"ErrorEquals": ["States.ALL"], "Assign": {"why": "{% $states.errorOutput.Cause %}"}, "Next": "End"}],
        ),
        End=done("{% [$why, $states.input] %}"),
    )
    assert world.play(definition).output == ["full", {"Error": "Busy", "Cause": "full"}]
    assert world.called("f") == [0, 1, 2]


def test_catch_output_replaces_the_error_output(tmp_path: Path) -> None:
    """Developer guide, Fallback states (JSONata): Output of a Catch rule is the next input; it sees input and errorOutput."""
    world = World(tmp_path, {"f": failed("Busy")})
    catch = {"ErrorEquals": ["Busy"], "Output": "{% $states.input.a & $states.errorOutput.Error %}", "Next": "End"}
    info = world.play(states(Do=task(Catch=[catch]), End=done()), {"a": "was "})
    assert info.output == "was Busy"
    assert "ExecutionFailed" not in world.events(info.arn)


@pytest.mark.parametrize(
    ("names", "error", "expected"),
    [
        (["Busy"], "Busy", True),
        (["Busy"], "Idle", False),
        (["States.ALL"], "Busy", True),
        (["States.ALL"], "States.Timeout", True),
        (["States.ALL"], "States.DataLimitExceeded", False),
        (["States.ALL"], "States.Runtime", False),
        (["States.DataLimitExceeded"], "States.DataLimitExceeded", True),
        (["States.TaskFailed"], "Busy", True),
        (["States.TaskFailed"], "States.Timeout", False),
        (["States.TaskFailed"], "States.HeartbeatTimeout", False),
        (["States.Timeout"], "States.Timeout", True),
        (["States.Timeout"], "States.HeartbeatTimeout", True),
        (["States.HeartbeatTimeout"], "States.Timeout", False),
    ],
)
def test_wildcards_take_what_the_developer_guide_says(names: list[str], error: str, expected: bool) -> None:
    """Developer guide, Error names: States.ALL takes all but the terminal States.DataLimitExceeded and States.Runtime;
    States.TaskFailed takes any error except States.Timeout; a missed heartbeat is a kind of time-out."""
    assert matches(names, error) is expected


def test_rules_are_scanned_in_order() -> None:
    """ASL, Retrying after error: the interpreter scans the retriers in order and uses the first that names the error."""
    assert first_match([{"ErrorEquals": ["A"]}, {"ErrorEquals": ["States.ALL"]}, {"ErrorEquals": ["B"]}], "B") == 1


def test_an_expression_that_fails_can_be_caught(tmp_path: Path) -> None:
    """Developer guide, Transforming data: a failed JSONata evaluation raises States.QueryEvaluationError, like any error."""
    catch = [{"ErrorEquals": ["States.QueryEvaluationError"], "Next": "End"}]
    world = World(tmp_path)
    info = world.play(states(Do=task(Output="{% $states.result.Payload.nothing %}", Catch=catch), End=done("caught")))
    assert info.output == "caught"
    assert world.events(info.arn)[4:7] == ["TaskSucceeded", "EvaluationFailed", "TaskStateExited"]
