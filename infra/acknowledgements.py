"""Every cdk-nag finding that we accept: where, which and why. A test fails on one that no longer matches anything."""

from __future__ import annotations

from dataclasses import dataclass

import aws_cdk as cdk
from constructs import IConstruct

from infra.settings import Settings
from infra.workflows import STATEMACHINES, map_labels, pipeline_name
from tilery import names

EXPORTS = {
    "drop": "ExportsOutputFnGetAttStorageDrop099BA55DArnBD1DA948",
    "work": "ExportsOutputFnGetAttStorageWorkD07184AEArnC7E3BA6E",
    "results": "ExportsOutputFnGetAttStorageResultsB2A4FB2EArn6F240AD0",
}
"""How the data stack exports the buckets' ARNs: cdk-nag quotes these in its ids."""
HERE = "arn:<AWS::Partition>:{}:<AWS::Region>:<AWS::AccountId>:"
TENANT = "<aws:PrincipalTag/tenant>"

TRACING = "X-Ray's PutTraceSegments and PutTelemetryRecords know no resources"
LOOKING = "Batch's List and Describe actions know no resources; besides, tracing"
MACHINE = "log delivery, X-Ray and batch:DescribeJobs know no resources"
ONE_TENANT = "every object of the one tenant that the session is tagged with"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A finding `rule` on the construct at `path` (below the app stack) or anything inside it."""

    path: str
    rule: str
    reason: str


def _wildcards(path: str, resources: list[str], reason: str) -> list[Accepted]:
    return [Accepted(path, f"AwsSolutions-IAM5[Resource::{resource}]", reason) for resource in resources]


def accepted(settings: Settings) -> list[Accepted]:
    """All of them, for this deployment."""
    functions = {
        names.function_name(kind.name, workload): kind for kind in names.FUNCTIONS.values() for workload in settings.workloads
    }
    found = [Accepted("DeadLetters", "AwsSolutions-SQS3", "this queue is the dead-letter queue")]
    for name, kind in functions.items():
        path = f"Functions/{name.title().replace('-', '')}"
        found += _wildcards(path, ["*"], LOOKING if kind.name == "watchdog" else TRACING)
        if kind.name in ("explain", "watchdog"):
            found += _wildcards(path, _runs(settings), "every run of our own machines")
        if kind.kind == "control":
            found.append(
                Accepted(path, "AwsSolutions-L1", "Python 3.13 is pinned: the newest for which every package has wheels")
            )
    found += _tenant_data(settings)
    for workload in settings.workloads:
        found += _pipeline(settings, workload)
        reason = "ecr:GetAuthorizationToken knows no resource"
        found += _wildcards(f"Jobs{workload.title()}/Execution", ["*"], reason)
    found += _wildcards("Ingest/Role", ["*"], MACHINE)
    return found + _instances(settings)


def _runs(settings: Settings) -> list[str]:
    machines = [pipeline_name(settings.prefix, workload) for workload in settings.workloads]
    return [f"{HERE.format('states')}execution:{machine}:*" for machine in machines]


def _tenant_data(settings: Settings) -> list[Accepted]:
    places = {"drop": "drop", "work": "work", "results": "results", "ledger": "results"}
    arns = [f"{settings.prefix}-data:{EXPORTS[bucket]}/{area}/{TENANT}/*" for area, bucket in places.items()]
    frames = f"{settings.prefix}-data:{EXPORTS['results']}/results/{TENANT}/cctv/_frames/*"
    return _wildcards("Data/OneTenant", [*arns, frames], ONE_TENANT)


def _pipeline(settings: Settings, workload: str) -> list[Accepted]:
    path, machine = f"Pipeline{workload.title()}/Role", pipeline_name(settings.prefix, workload)
    work, batch = f"{settings.prefix}-data:{EXPORTS['work']}", HERE.format("batch")
    labels = map_labels(STATEMACHINES / "pipeline.asl.json")
    children = [f"{HERE.format('states')}execution:{machine}/{label}:*" for label in labels]
    return [
        *_wildcards(path, ["*"], MACHINE),
        *_wildcards(path, [f"{HERE.format('states')}execution:{machine}:*", *children], "its own distributed maps"),
        *_wildcards(path, [f"{work}/work/*/runs/*/{part}/*" for part in ("jobs", "map")], "lists and map results of all runs"),
        *_wildcards(path, [f"{batch}job-definition/{machine}-*:*"], "any revision: redrives use the one they began with"),
        *_wildcards(path, [f"{batch}job/*"], "jobs have no names; those of others are not ours to know"),
    ]


def _instances(settings: Settings) -> list[Accepted]:
    policy = "arn:<AWS::Partition>:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"
    reason = "the policy that AWS requires for the ECS agent on Batch instances"
    lanes = [lane.name.title().replace("-", "") for lane in settings.batch_lanes if lane.gpus]
    return [
        Accepted(f"Batch/{lane}{market}", f"AwsSolutions-IAM4[Policy::{policy}]", reason)
        for lane in lanes
        for market in ("Spot", "OnDemand")
    ]


def acknowledge(stack: cdk.Stack, settings: Settings) -> None:
    """Tell cdk-nag; a path that does not exist is an error here, a rule that no longer fires one in the tests."""
    for one in accepted(settings):
        construct: IConstruct = stack
        for part in one.path.split("/"):
            construct = construct.node.find_child(part)
        cdk.Validations.of(construct).acknowledge(cdk.Acknowledgment(id=f"AwsSolutions::{one.rule}", reason=one.reason))
