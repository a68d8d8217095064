"""JSONata in Step Functions, against the developer guide: "Transforming data with JSONata in Step Functions"."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.asl.world import World, done, states, task
from twin.faults import StateFailure
from twin.jsonata import evaluate

EMPTY: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("$partition([1,2,3,4], 2)", [[1, 2], [3, 4]]),
        ("$partition([1,2,3], 2)", [[1, 2], [3]]),
        ("$range(0, 5, 2)", [0, 2, 4]),
        ("$range(3, 1, -1)", [3, 2, 1]),
        ("$hash('input data', 'SHA-1')", "aaff4a450a104cd177d28d18d74485e8cae074b7"),
        ("$hash('input data', 'SHA-256')", "b4a697a057313163aee33cd8d40c66e9f0f177e00cac2de32475ffff6169c3e3"),
        ("$parse('{\"a\": [1, null]}').a", [1, None]),
        ("$parse('null')", None),
        ("$random() >= 0 and $random() < 1", True),
        ("$random(7) = $random(7)", True),
        ("$length($uuid())", 36),
        ("4 / 2", 2),
        ("[1..3]", [1, 2, 3]),
        ("null", None),
    ],
)
def test_functions_of_step_functions(expression: str, expected: Any) -> None:
    """JSONata functions provided by Step Functions: $partition, $range, $hash, $random, $uuid, $parse."""
    assert evaluate(f"{{% {expression} %}}", EMPTY, "here") == expected


@pytest.mark.parametrize(
    "expression",
    [
        "$missing",
        "$states.input.nothing",
        "$eval('1')",
        "$parse('{')",
        "$hash('a', 'CRC')",
        "1 + 'a'",
        "$range(1, 2000)",
        "$sum",
        "1/0",
    ],
)
def test_what_yields_nothing_or_fails_is_a_query_evaluation_error(expression: str) -> None:
    """Handling errors: an expression must yield a defined JSON value; $eval is not offered; else
    States.QueryEvaluationError."""
    with pytest.raises(StateFailure) as caught:
        evaluate(f"{{% {expression} %}}", {"states": {"input": {}}}, "the field")
    assert caught.value.error == "States.QueryEvaluationError"
    assert "the field" in caught.value.cause


def test_only_whole_strings_are_expressions() -> None:
    """JSONata expressions in fields: the string starts with `{%` and ends with `%}` and nothing stands around them."""
    assert evaluate({"a": ["{% 1 %}", " {% 1 %}", "x {% 1 %}"], "{% b %}": 2}, EMPTY, "here") == {
        "a": [1, " {% 1 %}", "x {% 1 %}"],
        "{% b %}": 2,
    }


def test_null_is_a_value_and_missing_is_not() -> None:
    """JSONata: null is a JSON value; the guide counts only undefined as an error."""
    bindings = {"states": {"input": {"a": None}}, "n": None}
    assert evaluate(["{% $states.input.a %}", "{% $n %}", "{% {'b': $states.input.a} %}"], bindings, "here") == [
        None,
        None,
        {"b": None},
    ]


def test_expressions_in_one_expression_do_not_disturb_each_other() -> None:
    """The parse cache keeps one parsed expression per text; higher-order functions may call ours."""
    for _ in range(2):
        assert evaluate("{% $map([1, 2], function($v) { $partition([$v, $v, $v], 2) }) %}", EMPTY, "here") == [
            [[1, 1], [1]],
            [[2, 2], [2]],
        ]
        assert evaluate("{% $string($x) %}", {"x": {"b": 1, "c": None}}, "here") == '{"b":1,"c":null}'


def test_the_context_object_has_the_fields_of_the_guide(tmp_path: Path) -> None:
    """Context object: Execution, State and StateMachine; the clock starts at 2023-11-14T22:13:20Z."""
    info = World(tmp_path).play(states(Look=done("{% $states.context %}")), {"in": 1})
    assert info.output == {
        "Execution": {
            "Id": "arn:aws:states:local:000000000000:execution:machine:run",
            "Input": {"in": 1},
            "Name": "run",
            "RoleArn": "arn:aws:iam::000000000000:role/twin",
            "StartTime": "2023-11-14T22:13:20.000Z",
        },
        "State": {"EnteredTime": "2023-11-14T22:13:20.000Z", "Name": "Look", "RetryCount": 0},
        "StateMachine": {"Id": "arn:aws:states:local:000000000000:stateMachine:machine", "Name": "machine"},
    }


def test_result_is_the_whole_answer_of_the_service(tmp_path: Path) -> None:
    """$states.result: the API result; without Output the state's output is that result, for Lambda with its Payload."""
    world = World(tmp_path, {"f": {"n": 1}})
    state = task()
    del state["Output"]
    assert world.play(states(Do=state)).output == {"Payload": {"n": 1}, "StatusCode": 200}


def test_an_undefined_output_fails_the_execution_with_the_place(tmp_path: Path) -> None:
    """Handling errors: the Cause says which expression at which field failed; history shows EvaluationFailed."""
    world = World(tmp_path)
    info = world.play(states(Look=done("{% $states.input.nothing %}")))
    assert info.error == "States.QueryEvaluationError"
    assert info.cause == "The JSONata expression '$states.input.nothing' at Look/Output returned nothing (undefined)."
    assert world.events(info.arn) == ["ExecutionStarted", "PassStateEntered", "EvaluationFailed", "ExecutionFailed"]
