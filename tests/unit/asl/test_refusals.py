"""What the twin does not run is refused when a definition is registered, naming the state and the field (DESIGN section 8)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.asl.test_map import distributed, inline, reader, writer
from tests.unit.asl.world import World, done, states, task
from tilery import names
from twin.faults import InvalidDefinition
from twin.render import render

ROOT = Path(__file__).parents[3]
MAP = distributed(states(Inner=task()), ItemReader=reader("JSONL"), ResultWriter=writer(OutputType="JSONL"))

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    (states(Do={"Type": "Parallel", "Branches": [], "End": True}), "Do", "Type"),
    (states(Do=task(QueryLanguage="JSONPath")), "Do", "QueryLanguage"),
    (states(Do=task(ResultPath="$.a")), "Do", "ResultPath"),
    (states(Do=task(Arguments={"FunctionName": "f", "Payload.$": "$.a"})), "Do", "Arguments/Payload.$"),
    (states(Do=task(Credentials={"RoleArn": "x"})), "Do", "Credentials"),
    (states(Do=task(Resource="arn:aws:states:us-east-1:123456789012:activity:x")), "Do", "Resource"),
    (states(Do=task(Resource="arn:aws:lambda:us-east-1:123456789012:function:x")), "Do", "Resource"),
    (states(Do=task(Resource="arn:aws:states:::ecs:runTask.sync")), "Do", "Resource"),
    (states(Do=task(Resource="arn:aws:states:::batch:submitJob")), "Do", "Resource"),
    (states(Do=task(Next="Nowhere")), "Do", "Next"),
    (states(Do={**task(), "End": False}), "Do", "Next"),
    (states(Do={**task(), "Next": "Do"}), "Do", "Next"),
    (states(Do=done(), Lost=done()), "Lost", "States"),
    (states(Do=done("{% (1 %}")), "Do", "Output"),
    (states(Do=done("{% $eval('1') %}")), "Do", "Output"),
    (states(Do=done(" {% 1 %}")), "Do", "Output"),
    (states(Do={**done(), "Assign": {"states": 1}}), "Do", "Assign"),
    (states(Do={**done(), "Parameters": {}}), "Do", "Parameters"),
    (states(Do={"Type": "Wait", "End": True}), "Do", "Seconds"),
    (states(Do={"Type": "Wait", "SecondsPath": "$.a", "End": True}), "Do", "SecondsPath"),
    (states(Do={"Type": "Choice", "Choices": []}), "Do", "Choices"),
    (states(Do={"Type": "Choice", "Choices": [{"Variable": "$.a", "Next": "Do"}]}), "Do", "Choices[0]/Variable"),
    (states(Do=task(TimeoutSeconds=0)), "Do", "TimeoutSeconds"),
    (states(Do=task(TimeoutSeconds=5, HeartbeatSeconds=5)), "Do", "HeartbeatSeconds"),
    (states(Do=task(Retry=[{"ErrorEquals": []}])), "Do", "Retry[0]/ErrorEquals"),
    (states(Do=task(Retry=[{"ErrorEquals": ["States.ALL", "A"]}])), "Do", "Retry[0]/ErrorEquals"),
    (states(Do=task(Retry=[{"ErrorEquals": ["A"], "BackoffRate": 0.5}])), "Do", "Retry[0]/BackoffRate"),
    (states(Do=task(Retry=[{"ErrorEquals": ["A"], "JitterStrategy": "SOME"}])), "Do", "Retry[0]/JitterStrategy"),
    (states(Do=task(Catch=[{"ErrorEquals": ["A"]}])), "Do", "Catch[0]/Next"),
    (states(Do=task(Catch=[{"ErrorEquals": ["A"], "ResultPath": "$.e", "Next": "Do"}])), "Do", "Catch[0]/ResultPath"),
    (states(Do={**MAP, "ItemBatcher": {"MaxItemsPerBatch": 2}}), "Do", "ItemBatcher"),
    (states(Do={**MAP, "ItemsPath": "$.a"}), "Do", "ItemsPath"),
    (states(Do={**MAP, "ItemReader": reader("CSV")}), "Do", "ItemReader/ReaderConfig/InputType"),
    (
        states(Do={**MAP, "ItemReader": {**reader("JSON"), "Resource": "arn:aws:states:::s3:listObjectsV2"}}),
        "Do",
        "ItemReader/Resource",
    ),
    (states(Do={**MAP, "ResultWriter": writer(OutputType="CSV")}), "Do", "ResultWriter/WriterConfig/OutputType"),
    (states(Do={**MAP, "Label": "with space"}), "Do", "Label"),
    (states(Do=inline(states(Inner=task()), ToleratedFailureCount=1)), "Do", "ToleratedFailureCount"),
    (states(Do=inline({**states(Inner=task()), "TimeoutSeconds": 5})), "Do", "TimeoutSeconds"),
    (
        states(Do=distributed(states(Inner=MAP))),
        "Inner",
        "ItemProcessor/ProcessorConfig/Mode",
    ),
    (
        states(Do={**done(), "Assign": {"a": 1}}, Each=inline(states(Inner={**done(), "Assign": {"a": 2}}))),
        "Inner",
        "Assign",
    ),
    (states(Do=inline(states(Do=done()))), "Do", "States"),
]


@pytest.mark.parametrize(("definition", "state", "field"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_refusal_names_state_and_field(tmp_path: Path, definition: dict[str, Any], state: str, field: str) -> None:
    """ASL specification, the rules of each state type; and DESIGN section 8 for what the twin leaves out."""
    if "Each" in definition["States"]:
        definition["States"]["Do"] = {key: value for key, value in definition["States"]["Do"].items() if key != "End"} | {
            "Next": "Each"
        }
    with pytest.raises(InvalidDefinition) as refusal:
        World(tmp_path).register(definition)
    assert f"State '{state}', field '{field}'" in str(refusal.value)


@pytest.mark.parametrize(
    ("definition", "says"),
    [
        ("{", "not JSON"),
        ('{"StartAt": "A", "States": {}}', "QueryLanguage"),
        ('{"QueryLanguage": "JSONata", "StartAt": "A", "States": {"B": {"Type": "Succeed"}}}', "StartAt"),
        (
            '{"QueryLanguage": "JSONata", "StartAt": "A", "States": {"A": {"Type": "Succeed"}, "A": {"Type": "Succeed"}}}',
            "twice",
        ),
        ('{"QueryLanguage": "JSONata", "Version": "2.0", "StartAt": "A", "States": {"A": {"Type": "Succeed"}}}', "Version"),
    ],
)
def test_a_broken_definition_is_refused(tmp_path: Path, definition: str, says: str) -> None:
    """ASL specification, Top-level fields: StartAt must name a state; names are unique; version 1.0."""
    with pytest.raises(InvalidDefinition, match=says):
        World(tmp_path).engine.register("machine", definition)


def test_express_machines_run_neither_callbacks_nor_distributed_maps(tmp_path: Path) -> None:
    """Developer guide, Standard and Express: Express supports neither .sync, nor .waitForTaskToken, nor Distributed Map."""
    world = World(tmp_path)
    for state in (
        task(Resource="arn:aws:states:::lambda:invoke.waitForTaskToken"),
        task(Resource="arn:aws:states:::batch:submitJob.sync"),
        MAP,
    ):
        with pytest.raises(InvalidDefinition):
            world.register(states(Do=state), kind="EXPRESS")


def test_render_fills_every_place_and_escapes_for_json() -> None:
    """CDK's definition substitutions put texts into JSON strings; `"` and `\\` must stay what they are."""
    assert json.loads(render('{"a": "x ${One} ${Two}"}', {"One": 'say "hi"', "Two": "a\\b"})) == {"a": 'x say "hi" a\\b'}


@pytest.mark.parametrize(("given", "says"), [({}, "uses One"), ({"One": "1", "Two": "2"}, "Two are not used")])
def test_render_refuses_a_missing_or_unused_substitution(given: dict[str, str], says: str) -> None:
    """A place without a value would reach the engine as text; a value without a place is a spelling mistake."""
    with pytest.raises(InvalidDefinition, match=says):
        render('"${One}"', given)


def substitutions(definition: str, known: Callable[[str], str]) -> dict[str, str]:
    import re

    return {name: known(name) for name in re.findall(r"\$\{(\w+)\}", definition)}


@pytest.mark.parametrize(("file", "kind"), [("ingest.asl.json", "EXPRESS"), ("pipeline.asl.json", "STANDARD")])
def test_the_machines_of_tilery_are_accepted(tmp_path: Path, file: str, kind: Any) -> None:
    """The twin runs the same files that CDK deploys."""
    definition = (ROOT / "statemachines" / file).read_text()
    objects = {"JobQueues", "JobDefinitions", "LargerLanes", "Pipelines"}
    numbers = {"MapConcurrency": "10", "ToleratedFailurePercentage": "50"}

    def known(name: str) -> str:
        return names.jsonata_object({"a": "b"}) if name in objects else numbers.get(name, name.lower())

    World(tmp_path).engine.register("machine", render(definition, substitutions(definition, known)), kind)
