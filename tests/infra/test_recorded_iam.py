"""What a real run did, asked of the synthesized roles: every call is allowed to whom it fell, and the same calls on another
tenant's things, or on nobody's, are denied."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.infra import integrations
from tests.infra.conftest import Synthesis
from tests.infra.integrations import deployed, elsewhere
from tests.infra.recorded import TENANT, RecordedRun
from tests.infra.simulation import Call, Simulator
from tests.infra.template import load
from tilery import names

AREAS = ("drop", "work", "results", "ledger")
LABELS = ("CutTiles", "ProcessTiles", "MergeRound", "FinishParts")
AWS_CALLS = {
    ("stepfunctions", "DescribeExecution"): ("states:DescribeExecution", "executionArn"),
    ("stepfunctions", "ListExecutions"): ("states:ListExecutions", "stateMachineArn"),
    ("stepfunctions", "SendTaskSuccess"): ("states:SendTaskSuccess", ""),
}
"""(service, operation) -> (IAM action, the parameter with the resource). A new call of a handler must be added here."""


@pytest.fixture(scope="module")
def simulator(dev: Synthesis, node_modules: Path) -> Simulator:
    return Simulator(load(str(dev.folder), dev.stacks), node_modules)


@pytest.fixture(scope="module")
def machine_calls(simulator: Simulator, recorded: RecordedRun) -> list[Call]:
    return integrations.calls(simulator, recorded)


def role_of(simulator: Simulator, function: str) -> str:
    if function == "process-pointcloud":
        return simulator.deployment.one("AWS::IAM::Role", "JobsPointcloudRole")
    return simulator.role(function)


def shapes(recorded: RecordedRun) -> list[tuple[str, str]]:
    """(operation, key) of the store, each different folder once: IAM patterns end at the tenant."""
    found = {(line["operation"], line["key"].rpartition("/")[0], line["key"]) for line in recorded.store_operations}
    return sorted({(operation, folder): (operation, key) for operation, folder, key in sorted(found)}.values())


def test_the_run_used_every_function_every_lane_and_every_map(recorded: RecordedRun) -> None:
    assert {line["function"] for line in recorded.processes} == {
        *(names.function_name(function, "pointcloud") for function in names.FUNCTIONS),
        "process-pointcloud",
    }
    assert {line["function"] for line in recorded.store_operations} == {line["function"] for line in recorded.processes}
    arns = " ".join(execution.info.arn for execution in recorded.all_executions)
    assert all(f"/{label}:" in arns for label in LABELS)
    assert {line["function"] for line in recorded.aws_calls} == {"gate", "explain", "watchdog"}


def test_every_store_operation_was_of_one_tenant_and_below_that_tenants_prefixes(recorded: RecordedRun) -> None:
    for line in recorded.store_operations:
        area, tenant, *_ = line["key"].split("/")
        assert line["tenant"] == tenant == TENANT, line
        assert area in AREAS, line


def test_every_store_operation_of_the_run_is_allowed(simulator: Simulator, recorded: RecordedRun) -> None:
    lines = recorded.store_operations
    simulator.assert_allowed(
        [call for line in lines for call in simulator.store(line["operation"], line["key"], tenant=line["tenant"])]
    )


@pytest.mark.parametrize("other", ["other", "acme2", "acm"])
def test_the_same_operations_on_another_tenants_prefix_are_denied(
    other: str, simulator: Simulator, recorded: RecordedRun
) -> None:
    calls = []
    for operation, key in shapes(recorded):
        area, _, rest = key.split("/", 2)
        calls += simulator.store(operation, f"{area}/{other}/{rest}", tenant=TENANT, allow=False)
        calls += simulator.store(operation, key, tenant=other, allow=False)
    simulator.assert_allowed(calls)


def test_the_same_operations_outside_the_areas_are_denied(simulator: Simulator, recorded: RecordedRun) -> None:
    calls: list[Call] = []
    for operation, key in shapes(recorded):
        area, _, rest = key.partition("/")
        for call in simulator.store(operation, key, tenant=TENANT, allow=False):
            if "s3:prefix" in call.context:
                calls += [
                    replace(call, context=call.context | {"s3:prefix": prefix})
                    for prefix in ("", f"{area}/", f"elsewhere/{rest}")
                ]
            else:
                bucket = call.resource.partition("/")[0]
                calls.append(replace(call, resource=f"{bucket}/elsewhere/{rest}"))
                calls.append(replace(call, resource=f"arn:aws:s3:::another/{key}"))
    simulator.assert_allowed(calls)


def test_whoever_used_the_store_may_open_it_for_that_tenant_and_not_without_one(
    simulator: Simulator, recorded: RecordedRun
) -> None:
    calls = []
    for function, tenant in sorted({(line["function"], line["tenant"]) for line in recorded.store_operations}):
        role = role_of(simulator, function)
        calls += simulator.assume(role, tenant=tenant) + simulator.assume(role, tenant="", allow=False)
    assert calls
    simulator.assert_allowed(calls)


def aws_calls(simulator: Simulator, recorded: RecordedRun) -> list[Call]:
    found = {}
    for line in recorded.aws_calls:
        given = line["call"]
        action, parameter = AWS_CALLS[given["service"], given["operation"]]
        if parameter:
            call = Call(role_of(simulator, line["function"]), action, deployed(given["parameters"][parameter]))
            found[str(call)] = call
    return list(found.values())


def test_every_aws_call_of_the_handlers_is_allowed_and_denied_elsewhere(simulator: Simulator, recorded: RecordedRun) -> None:
    calls = aws_calls(simulator, recorded)
    assert {call.action for call in calls} == {"states:DescribeExecution", "states:ListExecutions"}
    simulator.assert_allowed(calls + [strange for call in calls if (strange := elsewhere(call))])


def test_whoever_answered_a_task_token_may_answer_for_that_machine(simulator: Simulator, recorded: RecordedRun) -> None:
    """By the statements: the simulator's reference lists no resource for this action (see test_iam)."""
    answered = {line["function"] for line in recorded.aws_calls if line["call"]["operation"] == "SendTaskSuccess"}
    assert answered == {"gate"}
    machine = deployed("arn:aws:states:local:000000000000:stateMachine:tilery-pointcloud")
    allowed = [
        one["Resource"]
        for one in simulator.deployment.statements(simulator.role("gate"))
        if "states:SendTaskSuccess" in one["Action"]
    ]
    assert allowed in ([machine], [[machine]])


def test_whoever_wrote_a_notice_may_publish_it_and_nobody_else_may(simulator: Simulator, recorded: RecordedRun) -> None:
    """In the twin no topic is deployed; in the cloud a message follows each notice in the ledger (tilery.notices)."""
    topic, key = (
        simulator.deployment.arn("AWS::SNS::Topic", "NoticesTopic"),
        simulator.deployment.arn("AWS::KMS::Key", "StorageKey"),
    )
    wrote = {
        line["function"] for line in recorded.store_operations if "/notice-" in line["key"] and line["operation"] == "create"
    }
    assert wrote == {"publish-pointcloud", "explain"}
    calls = []
    for function in sorted({line["function"] for line in recorded.processes}):
        allow = function in wrote | {"watchdog"}  # which explains what explain missed
        calls.append(Call(role_of(simulator, function), "sns:Publish", topic, allow=allow))
        if allow:
            calls.append(Call(role_of(simulator, function), "kms:GenerateDataKey", key))
            calls.append(Call(role_of(simulator, function), "sns:Publish", topic.replace("notices", "another"), allow=False))
    simulator.assert_allowed(calls)


def test_every_call_of_the_state_machines_is_allowed(simulator: Simulator, machine_calls: list[Call]) -> None:
    actions = {call.action for call in machine_calls}
    assert {"lambda:InvokeFunction", "batch:SubmitJob", "states:StartExecution", "s3:GetObject", "s3:PutObject"} <= actions
    simulator.assert_allowed(machine_calls)


def test_the_same_calls_of_the_state_machines_elsewhere_are_denied(simulator: Simulator, machine_calls: list[Call]) -> None:
    simulator.assert_allowed([strange for call in machine_calls if (strange := elsewhere(call))])


def test_a_state_machine_reads_and_writes_nothing_but_its_own_lists(simulator: Simulator, recorded: RecordedRun) -> None:
    """The functions' and workers' objects, touched in the same run, are closed to it."""
    deployment = simulator.deployment
    calls = []
    for start in ("PipelinePointcloudRole", "IngestRole"):
        role = deployment.one("AWS::IAM::Role", start)
        for operation, key in shapes(recorded):
            if "/jobs/" not in key and "/map/" not in key:
                calls += [
                    replace(call, role=role, context={}, allow=False) for call in simulator.store(operation, key, tenant="")
                ]
    simulator.assert_allowed(calls)


def test_a_dead_letter_can_be_kept(simulator: Simulator) -> None:
    """No event of the run ended there; the state is in the definition all the same."""
    definition = json.loads((Path(__file__).parents[2] / "statemachines" / "ingest.asl.json").read_text())
    resources = {state.get("Resource", "").rpartition(":::")[2] for state in definition["States"].values()}
    assert "sqs:sendMessage" in resources
    queue: Any = simulator.deployment.arn("AWS::SQS::Queue", "DeadLetters")
    role = simulator.deployment.one("AWS::IAM::Role", "IngestRole")
    simulator.assert_allowed(
        [
            Call(role, "sqs:SendMessage", queue),
            Call(role, "sqs:SendMessage", queue.replace("tilery-dev", "another"), allow=False),
        ]
    )
