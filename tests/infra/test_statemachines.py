"""The definitions as they are deployed: valid, complete, and with no variable that nobody assigned."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.infra.conftest import ROOT, Synthesis
from tests.infra.template import load

FILES = sorted((ROOT / "statemachines").glob("*.asl.json"))
RESOURCES = {
    "lambda:invoke",
    "lambda:invoke.waitForTaskToken",
    "batch:submitJob.sync",
    "states:startExecution",
    "sqs:sendMessage",
    "s3:getObject",
    "s3:putObject",
}
"""What a state machine of ours may call; the twin and the machines' roles know exactly these."""


def rendered(synthesis: Synthesis) -> dict[str, str]:
    by_hash = {
        path.name.partition(".")[1] and path.name.split(".")[1]: path.read_text()
        for path in synthesis.folder.glob("asset.*.json")
    }
    return dict(load(str(synthesis.folder), synthesis.stacks).definitions(by_hash))


def walk(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def machines(definition: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The definition and the item processors of its maps."""
    return (part for part in walk(definition) if "StartAt" in part)


@pytest.mark.parametrize("which", ["dev", "prod"])
def test_asl_validator_accepts_every_rendered_definition(
    which: str, request: pytest.FixtureRequest, node_modules: Path, tmp_path: Path
) -> None:
    definitions = rendered(request.getfixturevalue(which))
    assert len(definitions) == len(FILES)
    for name, text in definitions.items():
        file = tmp_path / f"{name}.asl.json"
        file.write_text(text)
        ran = subprocess.run(
            ["node", str(node_modules / ".bin" / "asl-validator"), "--json-path", str(file)], capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_substitution_is_given_and_none_is_unused(dev: Synthesis) -> None:
    deployment = load(str(dev.folder), dev.stacks)
    given = {
        resource["Properties"]["StateMachineName"]: set(resource["Properties"]["DefinitionSubstitutions"])
        for resource in deployment.resources("AWS::StepFunctions::StateMachine").values()
    }
    asked = {file.name.split(".")[0]: set(re.findall(r"\$\{(\w+)\}", file.read_text())) for file in FILES}
    assert given == {"tilery-dev-ingest": asked["ingest"], "tilery-dev-pointcloud": asked["pipeline"]}


def test_rendered_definitions_hold_no_placeholder_and_no_token(dev: Synthesis) -> None:
    for text in rendered(dev).values():
        assert "${" not in text
        json.loads(text)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_resource_is_on_the_list_of_what_we_support(file: Path) -> None:
    used = {part["Resource"] for part in walk(json.loads(file.read_text())) if "Resource" in part}
    assert {resource.removeprefix("arn:${Partition}:states:::") for resource in used} <= RESOURCES


def test_only_json_paths_of_jsonata_are_used() -> None:
    for file in FILES:
        assert json.loads(file.read_text())["QueryLanguage"] == "JSONata"
        assert not [
            part for part in walk(json.loads(file.read_text())) if {"InputPath", "ResultPath", "Parameters"} & set(part)
        ]


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key not in ("States", "Branches"):
                yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


def reads(value: Any) -> set[str]:
    """Variables that the expressions of a value read: not functions, not those that an expression binds itself."""
    found = set()
    for text in texts(value):
        for expression in re.findall(r"\{%(.*?)%\}", text, re.S):
            bare = re.sub(r"'[^']*'|/(?:\\.|[^/\\\s])+/(?=[,)\s])", "''", expression)
            bound = set(re.findall(r"\$([A-Za-z_]\w*)\s*:=", bare))
            found |= set(re.findall(r"\$([A-Za-z_]\w*)(?!\w*\s*\()", bare)) - bound - {"states"}
    return found


def edges(state: dict[str, Any]) -> Iterator[tuple[str, set[str]]]:
    """(next state, variables assigned on that way) of a state."""
    assigned = set(state.get("Assign", {}))
    for choice in state.get("Choices", []):
        yield choice["Next"], set(choice.get("Assign", {}))
    for key in ("Next", "Default"):
        if key in state:
            yield state[key], assigned
    for catch in state.get("Catch", []):
        yield catch["Next"], set(catch.get("Assign", {}))


def unassigned(machine: dict[str, Any], outer: set[str]) -> list[str]:
    """States that may read a variable which some way to them has not assigned: a data-flow analysis, all ways meet."""
    states, problems = machine["States"], []
    known: dict[str, set[str]] = {machine["StartAt"]: set()}
    waiting = [machine["StartAt"]]
    while waiting:
        name = waiting.pop()
        for target, assigned in edges(states[name]):
            after = known[name] | assigned
            before = known.get(target)
            merged = after if before is None else before & after
            if merged != before:
                known[target] = merged
                waiting.append(target)
    for name, state in states.items():
        have = known.get(name, set()) | outer
        shown = {key: value for key, value in state.items() if key not in ("ItemProcessor",)}
        problems += [f"{name}: ${missing}" for missing in sorted(reads(shown) - have)]
        if "ItemProcessor" in state:
            problems += unassigned(state["ItemProcessor"], set())
    return problems


@pytest.mark.parametrize("which", ["tilery-dev-ingest", "tilery-dev-pointcloud"])
def test_every_variable_is_assigned_on_every_way_to_its_use(which: str, dev: Synthesis) -> None:
    assert unassigned(json.loads(rendered(dev)[which]), set()) == []


def test_the_variable_check_finds_a_variable_missing_on_one_of_two_ways() -> None:
    machine = {
        "StartAt": "A",
        "States": {
            "A": {"Type": "Choice", "Choices": [{"Condition": "{% true %}", "Assign": {"x": 1}, "Next": "B"}], "Default": "B"},
            "B": {"Type": "Pass", "Output": "{% $x & $string(1) & '$y' %}", "End": True},
        },
    }
    assert unassigned(machine, set()) == ["B: $x"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_maps_are_labelled_and_bounded(file: Path) -> None:
    for part in walk(json.loads(file.read_text())):
        if part.get("Type") == "Map":
            assert part.get("Label")
            assert part.get("MaxConcurrency")
            assert part.get("ToleratedFailurePercentage")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_state_can_be_reached(file: Path) -> None:
    for machine in machines(json.loads(file.read_text())):
        seen, waiting = set(), [machine["StartAt"]]
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += [target for target, _ in edges(machine["States"][name])]
        assert set(machine["States"]) == seen
