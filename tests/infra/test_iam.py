"""The synthesized roles, asked by an IAM simulator: what each part needs is allowed, what it must not do is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.infra.conftest import Synthesis
from tests.infra.simulation import Call, Simulator
from tests.infra.template import ACCOUNT, REGION, as_list, load
from tilery import names
from tilery.store.recording import OPERATION_ACTIONS

READS = [one for one in OPERATION_ACTIONS if set(OPERATION_ACTIONS[one]) <= {"s3:GetObject", "s3:GetObjectVersion"}]
WRITES = ["put", "create", "writer", "upload", "compose"]
RUN = "0" * 64
NO_RESOURCES = {
    "batch:DescribeComputeEnvironments",
    "batch:DescribeJobQueues",
    "batch:DescribeJobs",
    "batch:ListJobs",
    "ecr:GetAuthorizationToken",
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}
"""Actions that AWS lets nobody narrow to a resource."""


@pytest.fixture(scope="session")
def simulator(dev: Synthesis, node_modules: Path) -> Simulator:
    return Simulator(load(str(dev.folder), dev.stacks), node_modules)


def states(kind: str, name: str) -> str:
    return f"arn:aws:states:{REGION}:{ACCOUNT}:{kind}:{name}"


def test_every_store_operation_is_allowed_where_it_is_used(simulator: Simulator) -> None:
    calls = []
    for operation in READS:
        for key in ("drop/acme/pointcloud/site.laz", "work/acme/tile/f/1.npz", f"results/acme/pointcloud/site/{RUN}/run.json"):
            calls += simulator.store(operation, key, tenant="acme")
    for operation in WRITES:
        for key in (
            "work/acme/tile/f/1.npz",
            "results/acme/pointcloud/site/latest.json",
            f"ledger/acme/2026-01-01/{RUN}/x.json",
        ):
            calls += simulator.store(operation, key, tenant="acme")
    for prefix in ("work/acme/tile/f/done/", "results/acme/pointcloud/", "ledger/acme/"):
        calls += simulator.store("list", prefix, tenant="acme")
    calls += simulator.store("list drop", "drop/acme/pointcloud/site/", tenant="acme")
    calls += simulator.store("delete", f"work/acme/runs/{RUN}/pause.json", tenant="acme")
    calls += simulator.store("delete", "results/acme/cctv/_frames/packs/1f", tenant="acme")  # the daily collection
    simulator.assert_allowed(calls)


def test_no_store_operation_reaches_another_tenant(simulator: Simulator) -> None:
    calls = []
    for operation in OPERATION_ACTIONS:
        for area in ("drop", "work", "results", "ledger"):
            for other in ("other", "acme2", "acm", ""):
                key = f"{area}/{other}/x/" if operation.startswith("list") else f"{area}/{other}/x/y.json"
                calls += simulator.store(operation, key, tenant="acme", allow=False)
            calls += simulator.store(operation, f"{area}/acme/x/", tenant="", allow=False)
    simulator.assert_allowed(calls)


def test_inputs_and_products_cannot_be_destroyed(simulator: Simulator) -> None:
    calls = []
    for operation in WRITES:
        calls += simulator.store(operation, "drop/acme/pointcloud/site.laz", tenant="acme", allow=False)
    for key in ("drop/acme/pointcloud/site.laz", f"results/acme/pointcloud/site/{RUN}/run.json", "ledger/acme/d/r/e.json"):
        calls += simulator.store("delete", key, tenant="acme", allow=False)
    simulator.assert_allowed([call for call in calls if call.action != "s3:AbortMultipartUpload"])


def deployed_functions() -> list[str]:
    return [names.function_name(function, "pointcloud") for function in names.FUNCTIONS]


def test_every_function_and_worker_opens_a_tenants_store_only_with_the_tag(simulator: Simulator) -> None:
    roles = [simulator.role(function) for function in deployed_functions()]
    roles.append(simulator.deployment.one("AWS::IAM::Role", "JobsPointcloudRole"))
    calls = []
    for role in roles:
        calls += simulator.assume(role, tenant="acme") + simulator.assume(role, tenant="", allow=False)
    simulator.assert_allowed(calls)


def test_others_cannot_open_a_tenants_store(simulator: Simulator) -> None:
    calls = []
    for start in ("PipelinePointcloudRole", "IngestRole", "JobsPointcloudExecution"):
        calls += simulator.assume(simulator.deployment.one("AWS::IAM::Role", start), tenant="acme", allow=False)
    simulator.assert_allowed(calls)


def test_functions_have_no_access_to_objects_of_their_own(simulator: Simulator) -> None:
    bucket = simulator.deployment.arn("AWS::S3::Bucket", "StorageWork")
    calls = [
        Call(simulator.role(function), action, f"{bucket}/work/acme/x", allow=False)
        for function in deployed_functions()
        for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject")
    ]
    simulator.assert_allowed(calls)


def test_every_function_writes_its_own_log_and_no_other(simulator: Simulator) -> None:
    group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/tilery-dev"
    calls = []
    for function in deployed_functions():
        role = simulator.role(function)
        calls.append(Call(role, "logs:PutLogEvents", f"{group}/{function}:log-stream:x"))
        calls.append(Call(role, "logs:PutLogEvents", f"{group}/another:log-stream:x", allow=False))
    simulator.assert_allowed(calls)


def letters(simulator: Simulator) -> list[Call]:
    """Reading dead letters and handing uploads in again is the watchdog's alone."""
    queue, role = simulator.deployment.arn("AWS::SQS::Queue", "DeadLetters"), simulator.role("watchdog")
    ingest = states("stateMachine", "tilery-dev-ingest")
    mine = [("sqs:ReceiveMessage", queue), ("sqs:DeleteMessage", queue), ("states:StartExecution", ingest)]
    strange = [("sqs:SendMessage", queue), ("states:StartExecution", states("stateMachine", "tilery-dev-pointcloud"))]
    calls = [Call(role, action, resource) for action, resource in mine]
    calls += [Call(role, action, resource, allow=False) for action, resource in strange]
    return calls + [Call(simulator.role("explain"), action, resource, allow=False) for action, resource in mine]


def test_the_back_office_may_look_tell_and_answer(simulator: Simulator) -> None:
    machine, topic = "tilery-dev-pointcloud", simulator.deployment.arn("AWS::SNS::Topic", "NoticesTopic")
    calls = [
        Call(simulator.role("gate"), "states:StartExecution", states("stateMachine", machine), allow=False),
        Call(simulator.role("watchdog"), "states:ListExecutions", states("stateMachine", machine)),
        Call(simulator.role("watchdog"), "batch:ListJobs", "*"),
        Call(simulator.role("watchdog"), "batch:DescribeJobQueues", "*"),
        Call(simulator.role("watchdog"), "batch:DescribeComputeEnvironments", "*"),
        Call(
            simulator.role("watchdog"),
            "s3:ListBucketMultipartUploads",
            simulator.deployment.arn("AWS::S3::Bucket", "StorageDrop"),
        ),
        *letters(simulator),
        Call(simulator.role("publish-pointcloud"), "sns:Publish", topic),
        Call(simulator.role("tile-pointcloud"), "sns:Publish", topic, allow=False),
        Call(simulator.role("plan"), "states:DescribeExecution", states("execution", f"{machine}:{RUN}"), allow=False),
    ]
    for function in ("explain", "watchdog"):
        role = simulator.role(function)
        calls += [
            Call(role, "states:DescribeExecution", states("execution", f"{machine}:{RUN}")),
            Call(role, "states:DescribeExecution", states("execution", f"{machine}/ProcessTiles:x"), allow=False),
            Call(role, "states:StopExecution", states("execution", f"{machine}:{RUN}"), allow=False),
            Call(role, "states:DescribeExecution", states("execution", "someone-elses:x"), allow=False),
            Call(role, "sns:Publish", topic),
            Call(role, "kms:GenerateDataKey", simulator.deployment.arn("AWS::KMS::Key", "StorageKey")),
        ]
    simulator.assert_allowed(calls)


def test_the_gate_may_answer_for_our_pipelines_only(simulator: Simulator) -> None:
    """Not simulated: AWS's reference lists no resource for this action, but AWS checks it against the machine's ARN
    (aws/aws-cdk pull request 8486)."""
    answers = [
        one for one in simulator.deployment.statements(simulator.role("gate")) if "states:SendTaskSuccess" in one["Action"]
    ]
    assert [as_list(one["Resource"]) for one in answers] == [[states("stateMachine", "tilery-dev-pointcloud")]]


def test_the_pipeline_may_do_what_its_states_do(simulator: Simulator) -> None:
    deployment, role = simulator.deployment, simulator.deployment.one("AWS::IAM::Role", "PipelinePointcloudRole")
    work, machine = deployment.arn("AWS::S3::Bucket", "StorageWork"), "tilery-dev-pointcloud"
    batch = f"arn:aws:batch:{REGION}:{ACCOUNT}"
    calls = [
        Call(role, "lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:tilery-dev-{name}", allow=allow)
        for name, allow in [
            *((names.function_name(one.name, "pointcloud"), one.pipeline) for one in names.FUNCTIONS.values()),
            ("another", False),
        ]
    ]
    calls += [
        Call(role, "batch:SubmitJob", f"{batch}:job-queue/tilery-dev-fargate"),
        Call(role, "batch:SubmitJob", f"{batch}:job-definition/tilery-dev-pointcloud-fargate:7"),
        Call(role, "batch:SubmitJob", f"{batch}:job-queue/another", allow=False),
        Call(role, "batch:TerminateJob", f"{batch}:job/x"),
        Call(role, "batch:DescribeJobs", "*"),
        Call(role, "events:PutRule", f"arn:aws:events:{REGION}:{ACCOUNT}:rule/StepFunctionsGetEventsForBatchJobsRule"),
        Call(role, "events:PutTargets", f"arn:aws:events:{REGION}:{ACCOUNT}:rule/another", allow=False),
        Call(role, "states:StartExecution", states("stateMachine", machine)),
        Call(role, "states:StopExecution", states("execution", f"{machine}:x")),
        Call(role, "states:StopExecution", states("execution", "tilery-dev-ingest:x"), allow=False),
        Call(role, "states:RedriveExecution", states("execution", f"{machine}:x"), allow=False),
        Call(role, "s3:GetObject", f"{work}/work/acme/runs/{RUN}/jobs/tile-0.jsonl"),
        Call(role, "s3:PutObject", f"{work}/work/acme/runs/{RUN}/map/tile/x/manifest.json"),
        Call(role, "s3:PutObject", f"{work}/work/acme/runs/{RUN}/jobs/tile-0.jsonl", allow=False),
        Call(role, "s3:GetObject", f"{work}/work/acme/tile/f/1.npz", allow=False),
        Call(role, "kms:Decrypt", deployment.arn("AWS::KMS::Key", "StorageKey")),
    ]
    for label in ("CutTiles", "ProcessTiles", "MergeRound", "FinishParts", "PlaceProducts"):
        for action in ("states:DescribeExecution", "states:StopExecution", "states:RedriveExecution"):
            calls.append(Call(role, action, states("execution", f"{machine}/{label}:x")))
    simulator.assert_allowed(calls)


def test_ingest_may_start_our_pipelines_and_keep_an_event(simulator: Simulator) -> None:
    deployment, role = simulator.deployment, simulator.deployment.one("AWS::IAM::Role", "IngestRole")
    queue = deployment.arn("AWS::SQS::Queue", "DeadLetters")
    function = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:tilery-dev-"
    calls = [
        Call(role, "states:StartExecution", states("stateMachine", "tilery-dev-pointcloud")),
        Call(role, "states:StartExecution", states("stateMachine", "another"), allow=False),
        Call(role, "sqs:SendMessage", queue),
        Call(role, "lambda:InvokeFunction", f"{function}intake"),
        Call(role, "lambda:InvokeFunction", f"{function}plan", allow=False),
    ]
    simulator.assert_allowed(calls)


def test_no_statement_allows_a_wildcard_action(dev: Synthesis) -> None:
    for name, policy in load(str(dev.folder), dev.stacks).resources("AWS::IAM::Policy").items():
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
            assert not [action for action in as_list(statement["Action"]) if "*" in action], name


def test_every_resource_is_named_where_aws_lets_one_name_it(prod: Synthesis) -> None:
    for name, policy in load(str(prod.folder), prod.stacks).resources("AWS::IAM::Policy").items():
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
            if "*" in as_list(statement["Resource"]):
                assert set(as_list(statement["Action"])) <= NO_RESOURCES, name
