"""Choice, Pass, Succeed, Fail, Wait and variables, against the Amazon States Language specification."""

from pathlib import Path

import pytest

from tests.unit.asl.world import World, done, states, task


def choice(*rules: dict[str, object], **fields: object) -> dict[str, object]:
    return {"Type": "Choice", "Choices": list(rules), **fields}


@pytest.mark.parametrize(("size", "expected"), [(5, "small"), (50, "large"), (500, "huge")])
def test_the_first_rule_that_is_true_decides(tmp_path: Path, size: int, expected: str) -> None:
    """ASL, Choice State: the rules are examined in order and the interpreter goes to the Next of the first match."""
    definition = states(
        Pick=choice(
            {"Condition": "{% $states.input.size < 10 %}", "Next": "Small"},
            {"Condition": "{% $states.input.size < 100 %}", "Next": "Large"},
            Default="Huge",
        ),
        Small=done("small"),
        Large=done("large"),
        Huge=done("huge"),
    )
    assert World(tmp_path).play(definition, {"size": size}).output == expected


def test_no_match_and_no_default_fails(tmp_path: Path) -> None:
    """ASL, Choice State: without a match and without Default the interpreter raises States.NoChoiceMatched."""
    world = World(tmp_path)
    info = world.play(states(Pick=choice({"Condition": "{% false %}", "Next": "End"}), End=done()))
    assert (info.status, info.error) == ("FAILED", "States.NoChoiceMatched")
    assert world.events(info.arn) == ["ExecutionStarted", "ChoiceStateEntered", "ExecutionFailed"]


def test_a_condition_must_be_a_boolean(tmp_path: Path) -> None:
    """ASL, Choice State (JSONata): a Condition must evaluate to a boolean; 1 is none."""
    info = World(tmp_path).play(states(Pick=choice({"Condition": "{% 1 %}", "Next": "End"}, Default="End"), End=done()))
    assert info.error == "States.QueryEvaluationError"


def test_the_assign_of_the_matching_rule_is_used_and_not_that_of_the_state(tmp_path: Path) -> None:
    """ASL, Choice State: Assign in a rule runs when the rule matches; the state's own Assign when Default is taken."""
    definition = states(
        Pick=choice(
            {"Condition": "{% $states.input.go %}", "Assign": {"who": "rule"}, "Output": "from rule", "Next": "End"},
            Default="End",
            Assign={"who": "state"},
        ),
        End=done("{% [$who, $states.input] %}"),
    )
    assert World(tmp_path / "a").play(definition, {"go": True}).output == ["rule", "from rule"]
    assert World(tmp_path / "b").play(definition, {"go": False}).output == ["state", {"go": False}]


def test_all_assignments_see_the_values_from_before_the_state(tmp_path: Path) -> None:
    """Developer guide, Passing data with variables: all expressions of an Assign use the values from state entry."""
    definition = states(
        First={"Type": "Pass", "Assign": {"x": 3, "a": 6}, "Next": "Second"},
        Second={"Type": "Pass", "Assign": {"x": "{% $a %}", "nextX": "{% $x %}"}, "Output": "{% $x %}", "Next": "End"},
        End=done("{% {'x': $x, 'nextX': $nextX, 'seen': $states.input} %}"),
    )
    assert World(tmp_path).play(definition).output == {"x": 6, "nextX": 3, "seen": 3}


def test_fail_takes_error_and_cause_from_expressions(tmp_path: Path) -> None:
    """ASL, Fail State: Error and Cause may be JSONata; there is no FailStateExited event."""
    world = World(tmp_path)
    info = world.play(
        states(Stop={"Type": "Fail", "Error": "{% $states.input.e %}", "Cause": "{% 'not ' & $states.input.w %}"}),
        {"e": "Broken", "w": "good"},
    )
    assert (info.status, info.error, info.cause) == ("FAILED", "Broken", "not good")
    assert world.events(info.arn) == ["ExecutionStarted", "FailStateEntered", "ExecutionFailed"]


def test_succeed_ends_with_its_output(tmp_path: Path) -> None:
    """ASL, Succeed State: ends the machine successfully; Output gives its result."""
    world = World(tmp_path)
    info = world.play(states(Good={"Type": "Succeed", "Output": {"n": "{% 1 + 1 %}"}}))
    assert info.output == {"n": 2}
    assert world.events(info.arn) == ["ExecutionStarted", "SucceedStateEntered", "SucceedStateExited", "ExecutionSucceeded"]


def test_wait_seconds_waits_from_entering_the_state(tmp_path: Path) -> None:
    """ASL, Wait State: delays for Seconds, which may be an expression."""
    world = World(tmp_path)
    info = world.play(states(Rest={"Type": "Wait", "Seconds": "{% $states.input.s %}", "End": True}), {"s": 90})
    assert info.stop is not None
    assert info.stop - info.start == 90
    assert world.events(info.arn)[1:3] == ["WaitStateEntered", "WaitStateExited"]


def test_wait_timestamp_waits_until_then(tmp_path: Path) -> None:
    """ASL, Wait State: Timestamp is an absolute ISO 8601 time. The clock starts at 2023-11-14T22:13:20Z."""
    definition = states(Rest={"Type": "Wait", "Timestamp": "2023-11-14T22:14:00Z", "End": True})
    info = World(tmp_path).play(definition)
    assert info.stop is not None
    assert info.stop - info.start == 40


def test_a_task_shows_the_events_of_aws_in_order(tmp_path: Path) -> None:
    """API reference, HistoryEvent: events of an optimized Lambda task; previousEventId chains them."""
    world = World(tmp_path, {"f": {"n": 1}})
    info = world.play(states(Do=task(Assign={"n": "{% $states.result.Payload.n %}"})), {"a": 1})
    assert world.events(info.arn) == [
        "ExecutionStarted",
        "TaskStateEntered",
        "TaskScheduled",
        "TaskStarted",
        "TaskSucceeded",
        "TaskStateExited",
        "ExecutionSucceeded",
    ]
    history = world.engine.history(info.arn)
    assert [event["previousEventId"] for event in history] == [0, 1, 2, 3, 4, 5, 6]
    assert history[2]["taskScheduledEventDetails"]["parameters"] == '{"FunctionName":"f","Payload":{"a":1}}'
    assert history[4]["taskSucceededEventDetails"]["output"] == '{"Payload":{"n":1},"StatusCode":200}'
    assert history[5]["stateExitedEventDetails"] == {
        "name": "Do",
        "output": '{"n":1}',
        "outputDetails": {"truncated": False},
        "assignedVariables": {"n": "1"},
        "assignedVariablesDetails": {"truncated": False},
    }


def test_status_changes_are_told_once_each(tmp_path: Path) -> None:
    """Developer guide, EventBridge: an execution status change is sent when it starts and when it ends."""
    world = World(tmp_path)
    world.play(states(End=done()))
    assert world.statuses == ["RUNNING", "SUCCEEDED"]
