"""What the functions around the pipeline may do with AWS besides tenant data: tell, look, and answer."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs

from infra.nanoservices import Nanoservices
from infra.permissions import statement
from infra.settings import Settings
from infra.storage import Storage
from infra.workflows import execution_arn, ingest_name, machine_arn, pipeline_name


def allow_back_office(
    functions: Nanoservices,
    *,
    settings: Settings,
    storage: Storage,
    topic: sns.Topic,
    queue_arns: Sequence[str],
    dead_letters: sqs.Queue,
) -> None:
    """Grant by computed ARNs: a role that named the machine itself would close a cycle."""
    stack = cdk.Stack.of(functions)
    machines = [pipeline_name(settings.prefix, workload) for workload in settings.workloads]
    machine_arns = [machine_arn(stack, name) for name in machines]
    executions = [execution_arn(stack, f"{name}:*") for name in machines]
    control = functions.control
    control["gate"].add_to_role_policy(statement(["states:SendTaskSuccess"], machine_arns))
    for name in ("explain", "watchdog"):
        control[name].add_to_role_policy(statement(["states:DescribeExecution"], executions))
    queues = ["batch:ListJobs", "batch:DescribeJobQueues", "batch:DescribeComputeEnvironments"]
    control["watchdog"].add_to_role_policy(statement(queues, ["*"]))
    control["watchdog"].add_environment("TILERY_QUEUES", ",".join(queue_arns))
    control["watchdog"].add_environment("TILERY_TENANTS", ",".join(settings.tenants))
    control["watchdog"].add_to_role_policy(statement(["states:ListExecutions"], machine_arns))
    control["watchdog"].add_to_role_policy(statement(["s3:ListBucketMultipartUploads"], [storage.drop.bucket_arn]))
    ingest = machine_arn(stack, ingest_name(settings.prefix))
    control["watchdog"].add_to_role_policy(statement(["sqs:ReceiveMessage", "sqs:DeleteMessage"], [dead_letters.queue_arn]))
    control["watchdog"].add_to_role_policy(statement(["states:StartExecution"], [ingest]))
    control["watchdog"].add_environment("TILERY_DEAD_LETTERS", dead_letters.queue_url)
    control["watchdog"].add_environment("TILERY_INGEST", ingest)
    publishers = [data["publish"] for data in functions.data.values()]
    for function in (control["explain"], control["watchdog"], *publishers):
        _tell(function, topic, storage)


def _tell(function: lambda_.Function, topic: sns.Topic, storage: Storage) -> None:
    function.add_to_role_policy(statement(["sns:Publish"], [topic.topic_arn]))
    function.add_to_role_policy(statement(["kms:Decrypt", "kms:GenerateDataKey"], [storage.key.key_arn]))
