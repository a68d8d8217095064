"""The state machines, from the files in statemachines/. `DefinitionBody.from_file` grants nothing: every grant is here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra.bundling import ROOT
from infra.observability import log_group
from infra.permissions import statement
from tilery import names

STATEMACHINES = ROOT / "statemachines"


def map_labels(definition: Path) -> list[str]:
    """The labels of the distributed maps of a definition: their child executions are named MACHINE/LABEL."""

    def walk(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if value.get("Type") == "Map" and "Label" in value:
                yield value["Label"]
            for inner in value.values():
                yield from walk(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from walk(inner)

    return sorted(walk(json.loads(definition.read_text())))


def pipeline_name(prefix: str, workload: str) -> str:
    """The physical name: known before the machine is, so that roles can name it without a cycle."""
    return f"{prefix}-{workload}"


def ingest_name(prefix: str) -> str:
    return f"{prefix}-ingest"


def machine_arn(stack: cdk.Stack, name: str) -> str:
    return stack.format_arn(
        service="states", resource="stateMachine", resource_name=name, arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME
    )


def execution_arn(stack: cdk.Stack, name: str) -> str:
    return stack.format_arn(
        service="states", resource="execution", resource_name=name, arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME
    )


class _Machine(Construct):
    def _machine(
        self, *, file: str, name: str, kind: sfn.StateMachineType, substitutions: Mapping[str, str], retention_days: int
    ) -> sfn.StateMachine:
        logs = log_group(self, "Logs", f"/aws/vendedlogs/states/{name}", retention_days)
        return sfn.StateMachine(
            self,
            "Machine",
            state_machine_name=name,
            state_machine_type=kind,
            definition_body=sfn.DefinitionBody.from_file(str(STATEMACHINES / file)),
            definition_substitutions={"Partition": cdk.Stack.of(self).partition, **substitutions},
            role=iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("states.amazonaws.com")),
            tracing_enabled=True,
            # keys and names only travel in payloads, but errors may quote file names: not in logs
            logs=sfn.LogOptions(destination=logs, level=sfn.LogLevel.ALL, include_execution_data=False),
        )


class Pipeline(_Machine):
    """The Standard machine of one workload."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        prefix: str,
        workload: str,
        functions: Mapping[str, lambda_.Function],
        work: s3.IBucket,
        key: kms.IKey,
        job_queues: Mapping[str, str],
        job_definitions: Mapping[str, str],
        map_concurrency: int,
        tolerated_failure_percentage: int,
        retention_days: int,
    ) -> None:
        """`job_queues` and `job_definitions`: ARNs by lane, the preferred lane first."""
        super().__init__(scope, name)
        self._name = pipeline_name(prefix, workload)
        lanes = list(job_queues)
        self.machine = self._machine(
            file="pipeline.asl.json",
            name=self._name,
            kind=sfn.StateMachineType.STANDARD,
            retention_days=retention_days,
            substitutions={
                **{names.substitution(called): function.function_arn for called, function in functions.items()},
                "WorkBucket": work.bucket_name,
                "MapConcurrency": str(map_concurrency),
                "ToleratedFailurePercentage": str(tolerated_failure_percentage),
                "FirstBatchLane": lanes[0],
                "JobQueues": names.jsonata_object(dict(job_queues)),
                "JobDefinitions": names.jsonata_object(dict(job_definitions)),
                "LargerLanes": names.jsonata_object(names.larger_lanes(lanes)),
            },
        )
        invoked = [function.function_arn for function in functions.values()]
        self.machine.add_to_role_policy(statement(["lambda:InvokeFunction"], invoked))
        self._read_and_write_lists(work, key)
        self._submit_jobs(list(job_queues.values()), f"{prefix}-{workload}-*")
        self._start_own_children()

    def _read_and_write_lists(self, work: s3.IBucket, key: kms.IKey) -> None:
        """Job lists in, map results out: the only objects that Step Functions itself touches."""
        jobs = [work.arn_for_objects("work/*/runs/*/jobs/*")]
        results = [work.arn_for_objects("work/*/runs/*/map/*")]
        writes = ["s3:GetObject", "s3:PutObject", "s3:ListMultipartUploadParts", "s3:AbortMultipartUpload"]
        self.machine.add_to_role_policy(statement(["s3:GetObject"], jobs))
        self.machine.add_to_role_policy(statement(writes, results))
        self.machine.add_to_role_policy(statement(["kms:Decrypt", "kms:GenerateDataKey"], [key.key_arn]))

    def _submit_jobs(self, queues: list[str], definitions: str) -> None:
        """Any revision of our definitions: a redrive submits with the one it started with."""
        stack = cdk.Stack.of(self)
        ours = stack.format_arn(service="batch", resource="job-definition", resource_name=f"{definitions}:*")
        every_job = stack.format_arn(service="batch", resource="job", resource_name="*")
        rule = stack.format_arn(service="events", resource="rule", resource_name="StepFunctionsGetEventsForBatchJobsRule")
        self.machine.add_to_role_policy(statement(["batch:SubmitJob"], [*queues, ours]))
        self.machine.add_to_role_policy(statement(["batch:TerminateJob"], [every_job]))
        self.machine.add_to_role_policy(statement(["batch:DescribeJobs"], ["*"]))
        self.machine.add_to_role_policy(statement(["events:PutTargets", "events:PutRule", "events:DescribeRule"], [rule]))

    def _start_own_children(self) -> None:
        stack = cdk.Stack.of(self)
        labels = map_labels(STATEMACHINES / "pipeline.asl.json")
        children = [execution_arn(stack, f"{self._name}/{label}:*") for label in labels]
        self.machine.add_to_role_policy(statement(["states:StartExecution"], [machine_arn(stack, self._name)]))
        self.machine.add_to_role_policy(statement(["states:RedriveExecution"], children))
        # the user guide and the CDK's own grants name the machine here, children are named after their map: whichever is asked
        every = [execution_arn(stack, f"{self._name}:*"), *children]
        self.machine.add_to_role_policy(statement(["states:DescribeExecution", "states:StopExecution"], every))


class Ingest(_Machine):
    """The Express machine between an upload event and the start of a run."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        prefix: str,
        intake: lambda_.Function,
        pipelines: Mapping[str, str],
        dead_letters: sqs.Queue,
        retention_days: int,
    ) -> None:
        """`pipelines`: ARN by workload."""
        super().__init__(scope, name)
        self.machine = self._machine(
            file="ingest.asl.json",
            name=ingest_name(prefix),
            kind=sfn.StateMachineType.EXPRESS,
            retention_days=retention_days,
            substitutions={
                names.substitution("intake"): intake.function_arn,
                "Pipelines": names.jsonata_object(dict(pipelines)),
                "DeadLetterQueueUrl": dead_letters.queue_url,
            },
        )
        self.machine.add_to_role_policy(statement(["lambda:InvokeFunction"], [intake.function_arn]))
        self.machine.add_to_role_policy(statement(["states:StartExecution"], list(pipelines.values())))
        self.machine.add_to_role_policy(statement(["sqs:SendMessage"], [dead_letters.queue_arn]))
