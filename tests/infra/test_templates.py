"""The templates as CloudFormation would get them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.infra.conftest import ROOT, Synthesis
from tests.infra.template import REGION, Deployment, as_list, load
from tests.infra.wildcards import MOST_COMPLEX, complexity, wildcards_of
from tilery import estimate, keys, names


@pytest.fixture(scope="session")
def deployed(dev: Synthesis) -> Deployment:
    return load(str(dev.folder), dev.stacks)


@pytest.fixture(scope="session")
def full(prod: Synthesis) -> Deployment:
    return load(str(prod.folder), prod.stacks)


def by_name(deployment: Deployment, kind: str, name: str) -> dict[str, dict[str, Any]]:
    return {
        one["Properties"][name]: one["Properties"] for one in deployment.resources(kind).values() if name in one["Properties"]
    }


def test_cfn_lint_has_nothing_to_say(dev: Synthesis, prod: Synthesis) -> None:
    # the CDK writes dependencies that a reference implies already (W3005); people look for all outputs in one stack (W6001)
    ignored = ["--ignore-checks", "W3005", "W6001"]
    command = [
        str(Path(sys.executable).parent / "cfn-lint"),
        *ignored,
        "--non-zero-exit-code",
        "warning",
        "--regions",
        "eu-west-1",
        "--",
    ]
    ran = subprocess.run([*command, *map(str, dev.templates + prod.templates)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


def test_every_function_is_deployed_with_its_handler_and_environment(deployed: Deployment) -> None:
    functions = by_name(deployed, "AWS::Lambda::Function", "FunctionName")
    ours = {f"tilery-dev-{names.function_name(one, 'pointcloud')}": kind for one, kind in names.FUNCTIONS.items()}
    assert set(functions) == set(ours)
    assert {folder.parent.name for folder in (ROOT / "functions").glob("*/__init__.py")} == set(names.FUNCTIONS)
    for name, kind in ours.items():
        properties = functions[name]
        handler = f"functions.{kind.name}.handler.handler"
        assert (properties["MemorySize"], properties["Timeout"]) == (kind.memory_mib, kind.timeout_s)
        variables = properties["Environment"]["Variables"]
        assert variables["TILERY_WHOLE_MIB"] == str(names.FUNCTIONS["whole"].memory_mib)
        assert variables["TILERY_STORE"] == "s3"
        assert variables["TILERY_LANES"] == "lambda,fargate,fargate-large"
        assert json.loads(variables["TILERY_PIPELINES"]).keys() == {"pointcloud"}
        if kind.kind == "control":
            assert (properties["Handler"], properties["Runtime"]) == (handler, "python3.13")
            assert len(properties["Layers"]) == 2
        else:
            entry = ["/opt/venv/bin/python", "-m", "awslambdaric"]
            assert properties["ImageConfig"] == {"EntryPoint": entry, "Command": [handler]}
            assert variables["TILERY_WORKLOAD"] == "pointcloud"


def test_dev_deploys_only_cpu_lanes(deployed: Deployment) -> None:
    assert set(by_name(deployed, "AWS::Batch::JobQueue", "JobQueueName")) == {"tilery-dev-fargate", "tilery-dev-fargate-large"}
    assert not deployed.resources("AWS::EC2::LaunchTemplate")
    assert not deployed.resources("AWS::EC2::NatGateway")
    assert {one["Properties"]["VpcEndpointType"] for one in deployed.resources("AWS::EC2::VPCEndpoint").values()} == {"Gateway"}


def test_gpu_lanes_take_spot_first_and_fall_back_to_on_demand(full: Deployment) -> None:
    environments = full.resources("AWS::Batch::ComputeEnvironment")
    for queue in ("tilery-prod-gpu", "tilery-prod-gpu-large"):
        order = by_name(full, "AWS::Batch::JobQueue", "JobQueueName")[queue]["ComputeEnvironmentOrder"]
        names_in_order = [one["ComputeEnvironment"].partition(".")[0] for one in sorted(order, key=lambda one: one["Order"])]
        by_lower = {name.lower(): one["Properties"] for name, one in environments.items()}
        kinds = [by_lower[name]["ComputeResources"]["Type"] for name in names_in_order]
        assert kinds == ["SPOT", "EC2"]
    for one in environments.values():
        resources = one["Properties"]["ComputeResources"]
        if resources["Type"] in ("SPOT", "EC2"):
            assert resources["MinvCpus"] == 0
            assert [image["ImageType"] for image in resources["Ec2Configuration"]] == ["ECS_AL2023_NVIDIA"]
            assert one["Properties"]["ReplaceComputeEnvironment"] is False


def test_job_definitions_are_the_lanes_and_outlive_updates(full: Deployment) -> None:
    definitions = by_name(full, "AWS::Batch::JobDefinition", "JobDefinitionName")
    assert set(definitions) == {f"tilery-prod-pointcloud-{lane}" for lane in names.BATCH_LANES}
    for name, properties in definitions.items():
        lane = names.BATCH_LANES[name.removeprefix("tilery-prod-pointcloud-")]
        container = properties["ContainerProperties"]
        wanted = {one["Type"]: one["Value"] for one in container["ResourceRequirements"]}
        gpu = {"GPU": str(lane.gpus)} if lane.gpus else {}
        assert wanted == {"VCPU": str(lane.vcpus), "MEMORY": str(lane.memory_mib), **gpu}
        assert properties["ResourceRetentionPolicy"] == {"SkipDeregisterOnUpdate": True}
        assert properties["Timeout"] == {"AttemptDurationSeconds": names.JOB_TIMEOUT_S}
        assert "Command" not in container or container["Command"] == []
        assert {"Name": "AWS_DEFAULT_REGION", "Value": REGION} in container["Environment"]
        assert properties["RetryStrategy"]["EvaluateOnExit"] == [
            {"Action": "RETRY", "OnStatusReason": "Host EC2*"},
            *({"Action": "EXIT", "OnExitCode": code} for code in ("1", "2", "42", "13*")),
        ]


def test_functions_are_no_larger_than_the_settings_let_them(full: Deployment) -> None:
    functions = by_name(full, "AWS::Lambda::Function", "FunctionName").values()
    assert max(one["MemorySize"] for one in functions) == 3008
    assert {one["Environment"]["Variables"]["TILERY_WHOLE_MIB"] for one in functions} == {"3008"}


def test_estimates_price_the_workers_that_are_deployed(full: Deployment, deployed: Deployment) -> None:
    """Sizes from the template; Lambda's price is that of its images' processor."""
    lanes, prices = estimate.table()["lanes"], estimate.table()["prices"]
    for name, properties in by_name(full, "AWS::Batch::JobDefinition", "JobDefinitionName").items():
        lane, container = lanes[name.removeprefix("tilery-prod-pointcloud-")], properties["ContainerProperties"]
        sizes = {one["Type"]: float(one["Value"]) for one in container["ResourceRequirements"]}
        assert lane["vcpus"] == sizes["VCPU"]
        assert lane["memory_gib"] == pytest.approx(sizes["MEMORY"] / 1024, rel=0.03)
        assert lane.get("scratch_gib") == container.get("EphemeralStorage", {}).get("SizeInGiB")
    whole = by_name(deployed, "AWS::Lambda::Function", "FunctionName")["tilery-dev-whole-pointcloud"]
    assert (lanes["lambda"]["memory_gib"], whole["Architectures"]) == (whole["MemorySize"] / 1024, ["x86_64"])
    assert prices["lambda_gib_s"] == pytest.approx(1.66667e-05)
    hours = {lane: round(3600 * estimate.dollars_per_second(lane), 3) for lane in lanes}
    assert hours == {"lambda": 0.48, "fargate": 0.161, "fargate-large": 0.599, "gpu": 0.978, "gpu-large": 3.004}


def test_there_is_a_budget_only_where_aws_has_them(dev: Synthesis) -> None:
    template = json.loads(dev.templates[1].read_text())
    (budget,) = [one for one in template["Resources"].values() if one["Type"] == "AWS::Budgets::Budget"]
    assert template["Conditions"][budget["Condition"]] == {"Fn::Equals": [{"Ref": "AWS::Partition"}, "aws"]}


def test_every_queue_is_fair_share(full: Deployment) -> None:
    assert all(queue["SchedulingPolicyArn"] for queue in by_name(full, "AWS::Batch::JobQueue", "JobQueueName").values())
    (policy,) = full.resources("AWS::Batch::SchedulingPolicy").values()
    shares = policy["Properties"]["FairsharePolicy"]["ShareDistribution"]
    assert [share["ShareIdentifier"] for share in shares] == ["demo"]
    assert all(keys.TENANT.fullmatch(share["ShareIdentifier"]) for share in shares)


def test_the_upload_rule_is_the_pattern_of_tilery_names(deployed: Deployment) -> None:
    (rule,) = [
        one["Properties"]
        for one in deployed.resources("AWS::Events::Rule").values()
        if one["Properties"].get("EventPattern", {}).get("source") == ["aws.s3"]
    ]
    bucket = deployed.one("AWS::S3::Bucket", "StorageDrop").lower()
    assert rule["EventPattern"]["detail"] == {"bucket": {"name": [bucket]}, **names.DROP_DETAIL}
    assert rule["EventPattern"]["detail-type"] == ["Object Created"]
    assert rule["Targets"][0]["Arn"].endswith(":stateMachine:tilery-dev-ingest")
    assert rule["Targets"][0]["DeadLetterConfig"]


@pytest.mark.parametrize(
    ("wildcards", "refused"),
    [
        (["*/datasync/*.bif", "*/datasync/*.tif"], False),
        (["*/datasync/*.bif", "*/datasync/*.tif", "*/datasync/*.tiff", "*/datasync/*.svs"], True),
        (["*:stack/AStack/*", "*:stack/BStack/*", "*:stack/CStack/*"], False),
        (["*:stack/AStack/*", "*:stack/BStack/*", "*:stack/CStack/*", "*:stack/DStack/*"], True),
        (["drop/*/*/*/*", "drop/*/*/*/_READY.json"], True),
        (wildcards_of(names.DROP_DETAIL), False),
    ],
)
def test_eventbridge_takes_the_upload_rule(wildcards: list[str], refused: bool) -> None:
    """The first four are what people report of EventBridge, the fifth is what this rule once was."""
    assert (complexity(wildcards) > MOST_COMPLEX) is refused


def test_buckets_are_private_encrypted_and_as_versioned_as_they_must_be(deployed: Deployment) -> None:
    for name, bucket in deployed.resources("AWS::S3::Bucket").items():
        properties = bucket["Properties"]
        assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}, name
        if not name.startswith("StorageAccessLogs"):
            (rule,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
            assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
            (lifecycle,) = properties["LifecycleConfiguration"]["Rules"]
            assert lifecycle["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
            assert ("VersioningConfiguration" in properties) is not name.startswith("StorageWork")
    drop = deployed.resources("AWS::S3::Bucket")[deployed.one("AWS::S3::Bucket", "StorageDrop")]["Properties"]
    assert drop["NotificationConfiguration"]["EventBridgeConfiguration"] == {"EventBridgeEnabled": True}
    work = deployed.resources("AWS::S3::Bucket")[deployed.one("AWS::S3::Bucket", "StorageWork")]["Properties"]
    assert work["LifecycleConfiguration"]["Rules"][0]["ExpirationInDays"] == 14


def test_prod_keeps_its_data_when_it_is_destroyed(full: Deployment, deployed: Deployment) -> None:
    assert {one["DeletionPolicy"] for one in full.resources("AWS::S3::Bucket").values()} == {"Retain"}
    assert {one["DeletionPolicy"] for one in deployed.resources("AWS::S3::Bucket").values()} == {"Delete"}


def test_every_log_group_forgets(full: Deployment) -> None:
    groups = full.resources("AWS::Logs::LogGroup")
    assert groups
    assert {one["Properties"]["RetentionInDays"] for one in groups.values()} == {90}


def test_failures_time_outs_dead_letters_and_blocked_queues_are_told(full: Deployment) -> None:
    alarms = full.resources("AWS::CloudWatch::Alarm").values()
    watched = {one["Properties"]["MetricName"] for one in alarms}
    assert {"ExecutionsFailed", "ExecutionsTimedOut", "ApproximateNumberOfMessagesVisible", "Errors"} <= watched
    topic = full.arn("AWS::SNS::Topic", "NoticesTopic")
    assert all(one["Properties"]["AlarmActions"] == [topic] for one in alarms)
    speakers = {"cloudwatch.amazonaws.com", "budgets.amazonaws.com", "events.amazonaws.com"}
    assert allowed_services(full, "AWS::SNS::TopicPolicy", "PolicyDocument", "sns:Publish").keys() == speakers
    keepers = allowed_services(full, "AWS::KMS::Key", "KeyPolicy", "kms:GenerateDataKey")
    assert keepers.keys() == speakers
    assert not keepers["events.amazonaws.com"], "EventBridge sends KMS no source account"
    blocked = [
        one["Properties"]["EventPattern"]["detail"]["jobQueue"]
        for one in full.resources("AWS::Events::Rule").values()
        if one["Properties"].get("EventPattern", {}).get("source") == ["aws.batch"]
    ]
    assert len(blocked[0]) == len(names.BATCH_LANES)


def allowed_services(deployment: Deployment, kind: str, policy: str, action: str) -> dict[str, Any]:
    """Service -> the condition under which the policies of this kind let it act."""
    return {
        service: one.get("Condition", {})
        for resource in deployment.resources(kind).values()
        for one in resource["Properties"][policy]["Statement"]
        if one["Effect"] == "Allow" and action in as_list(one["Action"]) and "Service" in one["Principal"]
        for service in as_list(one["Principal"]["Service"])
    }


def test_outputs_say_what_a_person_needs(dev: Synthesis, deployed: Deployment) -> None:
    template = json.loads(dev.templates[1].read_text())
    outputs = {name: deployed.resolve(dev.stacks[1], one["Value"]) for name, one in template["Outputs"].items()}
    assert outputs["Upload"].startswith("aws s3 cp FILE s3://")
    assert outputs["Upload"].endswith("/drop/demo/pointcloud/")
    assert outputs["Redrive"].endswith(":execution:tilery-dev-pointcloud:RUN_ID")
    assert outputs["PointcloudConsole"].startswith("https://eu-west-1.console.aws.amazon.com/states/")
    assert {"DropBucket", "ResultsBucket", "WorkBucket", "PointcloudMachine", "IngestConsole", "Topic"} <= set(outputs)


def test_nothing_is_tied_to_an_account(dev: Synthesis) -> None:
    assert not (ROOT / "cdk.context.json").exists()
    assert "unknown-account" in (dev.folder / "manifest.json").read_text()
