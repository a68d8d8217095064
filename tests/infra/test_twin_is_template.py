"""The template is what the twin really executed: commands, environments, handlers, definitions, patterns, retries."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from infra.triggers import ENDED_BADLY
from tests.infra.conftest import ROOT, Synthesis
from tests.infra.recorded import RecordedRun
from tests.infra.template import Deployment, load
from tests.infra.test_statemachines import rendered
from twin import events, twin
from twin.deployment import Deployment as TwinDeployment
from twin.deployment import available_lanes
from twin.render import render

PREFIX = "tilery-dev-"
FROM_THE_SERVICE = re.compile(r"AWS_(LAMBDA|BATCH)_\w+")
"""What Lambda and Batch themselves put into the environment."""
PLACE = {
    "AWS_DEFAULT_REGION",
    "TILERY_STORE",
    "TILERY_DROP_BUCKET",
    "TILERY_WORK_BUCKET",
    "TILERY_RESULTS_BUCKET",
    "TILERY_DATA_ROLE",
    "TILERY_TOPIC",
    "TILERY_QUEUES",
    "TILERY_TENANTS",
    "TILERY_DEAD_LETTERS",
    "TILERY_INGEST",
    "TILERY_RECORD",
    "POWERTOOLS_TRACE_DISABLED",
}
"""What depends on where the data is, whose it is, who may touch it, who is told, and whether anybody traces; all else must be
the same."""
BUCKETS = {"TILERY_DROP_BUCKET", "TILERY_WORK_BUCKET", "TILERY_RESULTS_BUCKET", "TILERY_DATA_ROLE"}


@pytest.fixture(scope="module")
def deployed(dev: Synthesis) -> Deployment:
    return load(str(dev.folder), dev.stacks)


@pytest.fixture(scope="module")
def functions(deployed: Deployment) -> dict[str, dict[str, Any]]:
    """Properties of the deployed functions, by their name in the twin."""
    every = [one["Properties"] for one in deployed.resources("AWS::Lambda::Function").values()]
    return {one["FunctionName"].removeprefix(PREFIX): one for one in every if one.get("FunctionName", "").startswith(PREFIX)}


@pytest.fixture(scope="module")
def job_definitions(deployed: Deployment) -> dict[str, dict[str, Any]]:
    every = [one["Properties"] for one in deployed.resources("AWS::Batch::JobDefinition").values()]
    return {one["JobDefinitionName"].removeprefix(PREFIX): one for one in every}


@pytest.fixture(scope="module")
def machines(deployed: Deployment) -> dict[str, dict[str, Any]]:
    every = [one["Properties"] for one in deployed.resources("AWS::StepFunctions::StateMachine").values()]
    return {one["StateMachineName"].replace(PREFIX, "tilery-"): one for one in every}


@pytest.fixture(scope="module")
def local() -> TwinDeployment:
    """The deployment of a twin with the lanes of dev."""
    return TwinDeployment(Path("/root"), "http://localhost", ("pointcloud",), 8, lanes=("lambda", "fargate", "fargate-large"))


def lambdas(recorded: RecordedRun) -> dict[str, dict[str, Any]]:
    return {line["function"]: line["process"] for line in recorded.processes if line["process"]["handler"]}


def jobs(recorded: RecordedRun) -> list[dict[str, Any]]:
    return [line["process"] for line in recorded.processes if not line["process"]["handler"]]


def compare_environments(executed: dict[str, str], given: dict[str, str]) -> None:
    """Same names; same values but where they hold names of the deployment."""

    def apart_from_place(environment: dict[str, str]) -> dict[str, str]:
        return {
            name: value for name, value in environment.items() if name not in PLACE and not FROM_THE_SERVICE.fullmatch(name)
        }

    executed, given = apart_from_place(executed), apart_from_place(given)
    assert set(executed) == set(given)
    lanes, deployed_lanes = executed.pop("TILERY_LANES").split(","), given.pop("TILERY_LANES").split(",")
    assert tuple(lanes) == available_lanes()
    assert [lane for lane in lanes if not lane.startswith("gpu")] == deployed_lanes
    assert executed.pop("TILERY_SPREAD") == str(os.cpu_count()), "a machine's cores, or a few workers of a cloud"
    assert int(given.pop("TILERY_SPREAD")) > 1
    assert (executed.pop("TILERY_WORK_EXPIRES_DAYS"), given.pop("TILERY_WORK_EXPIRES_DAYS")) == ("0", "14")
    pipelines = [json.loads(environment.pop("TILERY_PIPELINES", "{}")) for environment in (executed, given)]
    assert pipelines[0].keys() == pipelines[1].keys()
    assert executed == given


def test_every_deployed_function_was_executed_and_no_other(recorded: RecordedRun, functions: dict[str, dict[str, Any]]) -> None:
    assert set(lambdas(recorded)) == set(functions)


def test_each_function_ran_the_handler_that_is_deployed_with_its_memory(
    recorded: RecordedRun, functions: dict[str, dict[str, Any]]
) -> None:
    for name, process in lambdas(recorded).items():
        properties = functions[name]
        handler = properties.get("Handler") or properties["ImageConfig"]["Command"]
        assert handler in (process["handler"], [process["handler"]])
        assert process["environment"]["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == str(properties["MemorySize"])


def test_each_function_ran_in_the_environment_that_is_deployed(
    recorded: RecordedRun, functions: dict[str, dict[str, Any]]
) -> None:
    for name, process in lambdas(recorded).items():
        given = functions[name]["Environment"]["Variables"]
        assert set(given) > BUCKETS
        compare_environments(process["environment"], given)


def test_each_job_ran_the_images_entry_point_with_the_arguments_of_the_state_machine(
    recorded: RecordedRun, job_definitions: dict[str, dict[str, Any]]
) -> None:
    (entry,) = [line for line in (ROOT / "containers" / "Dockerfile").read_text().splitlines() if line.startswith("ENTRYPOINT")]
    submitted = [
        arguments
        for execution in recorded.all_executions
        for resource, arguments in execution.tasks
        if resource == "batch:submitJob.sync"
    ]
    assert submitted
    assert len(submitted) == len(jobs(recorded))
    for arguments in submitted:
        definition = job_definitions[arguments["JobDefinition"].rpartition("/")[2].partition(":")[0]]
        assert not definition["ContainerProperties"].get("Command")
    commands = sorted(arguments["ContainerOverrides"]["Command"] for arguments in submitted)
    argv = sorted(process["argv"] for process in jobs(recorded))
    assert [one[1:] for one in argv] == [json.loads(entry.removeprefix("ENTRYPOINT "))[1:] + command for command in commands]


def test_each_job_ran_in_the_environment_that_is_deployed(
    recorded: RecordedRun, job_definitions: dict[str, dict[str, Any]]
) -> None:
    for process in jobs(recorded):
        for definition in job_definitions.values():
            given = {one["Name"]: one["Value"] for one in definition["ContainerProperties"]["Environment"]}
            assert set(given) > BUCKETS
            compare_environments(process["environment"], given)


def test_jobs_have_the_same_size_time_limit_and_retries(
    local: TwinDeployment, job_definitions: dict[str, dict[str, Any]]
) -> None:
    ours = {definition.name: definition for definition in local.job_definitions()}
    assert set(ours) == set(job_definitions)
    for name, properties in job_definitions.items():
        needs = {one["Type"]: float(one["Value"]) for one in properties["ContainerProperties"]["ResourceRequirements"]}
        assert needs == {"VCPU": ours[name].vcpus, "MEMORY": ours[name].memory_mib}
        assert properties["Timeout"] == {"AttemptDurationSeconds": ours[name].timeout_s}
        assert properties["RetryStrategy"] == ours[name].retry_strategy


def test_the_machines_that_ran_are_the_deployed_definitions(
    recorded: RecordedRun, dev: Synthesis, machines: dict[str, dict[str, Any]], local: TwinDeployment
) -> None:
    """The file that CloudFormation gets, with the values of the twin put in, is what the twin's engine ran."""
    assert {machine.name for machine in recorded.machines} == set(machines) == {name for name, _, _ in local.machines()}
    for machine in recorded.machines:
        properties = machines[machine.name]
        asset = properties["DefinitionS3Location"]["Key"].partition(".")[0]
        text = (dev.folder / f"asset.{asset}.json").read_text()
        values = local.substitutions(machine.name)
        assert set(properties["DefinitionSubstitutions"]) == set(values)
        assert properties["StateMachineType"] == machine.kind
        ran, deployed = json.loads(machine.definition), json.loads(render(text, values))
        assert ran["States"].keys() == deployed["States"].keys()
        assert without_concurrency(ran) == without_concurrency(deployed)


def without_concurrency(value: Any) -> Any:
    """A definition without what depends on the machine's cores, and on whether it has a GPU."""
    text = re.sub(r'"MaxConcurrency": "[^"]*"', '"MaxConcurrency": ""', json.dumps(value))
    return re.sub(r"\{'fargate[^}]*\}", "{}", text) if available_lanes()[-1].startswith("gpu") else text


def test_every_deployed_definition_has_the_substitutions_in_the_same_places(
    dev: Synthesis, machines: dict[str, dict[str, Any]]
) -> None:
    for name, text in rendered(dev).items():
        source = (ROOT / "statemachines" / ("ingest" if name.endswith("ingest") else "pipeline")).with_suffix(".asl.json")
        given = machines[name.replace(PREFIX, "tilery-")]["DefinitionSubstitutions"]
        assert json.loads(text) == json.loads(render(source.read_text(), given))


def test_the_events_of_the_run_pass_the_deployed_rule(recorded: RecordedRun, deployed: Deployment) -> None:
    (rule,) = [
        one["Properties"]["EventPattern"]
        for one in deployed.resources("AWS::Events::Rule").values()
        if one["Properties"].get("EventPattern", {}).get("source") == ["aws.s3"]
    ]
    (bucket,) = rule["detail"]["bucket"]["name"]
    assert rule == events.drop_pattern(bucket)
    uploads = [execution.info.input for execution in recorded.executions if execution.info.kind == "EXPRESS"]
    assert len(uploads) == 3
    for event in uploads:
        event["detail"]["bucket"]["name"] = bucket
        assert events.matches(rule, event)


def test_the_same_bad_ends_are_explained(deployed: Deployment) -> None:
    (rule,) = [
        one["Properties"]["EventPattern"]
        for one in deployed.resources("AWS::Events::Rule").values()
        if one["Properties"].get("EventPattern", {}).get("source") == ["aws.states"]
    ]
    assert rule["detail"]["status"] == ENDED_BADLY == list(twin.ENDED_BADLY)
    machine = rule["detail"]["stateMachineArn"][0]
    change = events.status_change({"executionArn": "x", "stateMachineArn": machine, "status": "FAILED"})
    assert events.matches(rule, change)


def test_the_watchdog_goes_round_as_often(deployed: Deployment) -> None:
    schedules = [one["Properties"].get("ScheduleExpression") for one in deployed.resources("AWS::Events::Rule").values()]
    assert f"rate({twin.WATCHDOG_S // 60} minutes)" in schedules
