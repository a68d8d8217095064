"""The AWS calls that Step Functions makes for a state, as the role of the machine.

Source: AWS Step Functions Developer Guide, "Integrating services" (the IAM policy of each service) and "IAM policies for using
Distributed Map state". The names of the twin become those of the deployment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests.infra.recorded import Execution, RecordedRun
from tests.infra.simulation import Call, Simulator
from tests.infra.template import ACCOUNT, REGION

PREFIX = "tilery-dev"
BATCH_RULE = f"arn:aws:events:{REGION}:{ACCOUNT}:rule/StepFunctionsGetEventsForBatchJobsRule"


def deployed(arn: str, prefix: str = PREFIX) -> str:
    """The ARN that a resource of the twin has in the deployment; any revision of a job definition is the same.

    >>> deployed("arn:aws:states:local:000000000000:stateMachine:tilery-pointcloud")
    'arn:aws:states:eu-west-1:123456789012:stateMachine:tilery-dev-pointcloud'
    """
    arn = arn.replace(":local:000000000000:", f":{REGION}:{ACCOUNT}:").replace(":express:", ":execution:")
    for before in (":stateMachine:tilery-", ":execution:tilery-", ":mapRun:tilery-"):
        arn = arn.replace(before, before.replace("tilery-", f"{prefix}-"))
    for before in (":function:", ":job-queue/", ":job-definition/"):
        arn = arn.replace(before, f"{before}{prefix}-")
    return arn


def calls(simulator: Simulator, run: RecordedRun) -> list[Call]:
    """Every call of the state machines of a recorded run, each once."""
    found = [call for execution in run.executions for call in _of_execution(simulator, execution, run)]
    return list({str(call): call for call in found}.values())


def _of_execution(simulator: Simulator, execution: Execution, run: RecordedRun) -> Iterator[Call]:
    ingest = execution.info.kind == "EXPRESS"
    role = simulator.deployment.one("AWS::IAM::Role", "IngestRole" if ingest else "PipelinePointcloudRole")
    for member in execution.family:
        for resource, arguments in member.tasks:
            yield from _of_task(role, resource, arguments)
    for child in execution.children:
        yield from _of_child(role, execution, child)
    work = simulator.deployment.arn("AWS::S3::Bucket", "StorageWork")
    for key in execution.job_lists:
        yield Call(role, "s3:GetObject", f"{work}/{key}")
    for key in run.map_files:
        if f"/{execution.info.name}/" in key:
            for action in ("s3:PutObject", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:AbortMultipartUpload"):
                yield Call(role, action, f"{work}/{key}")
    if execution.job_lists:
        for action in ("kms:Decrypt", "kms:GenerateDataKey"):
            yield Call(role, action, simulator.deployment.arn("AWS::KMS::Key", "StorageKey"))


def _of_task(role: str, resource: str, arguments: Any) -> Iterator[Call]:
    match resource:
        case "lambda:invoke" | "lambda:invoke.waitForTaskToken":
            yield Call(role, "lambda:InvokeFunction", deployed(arguments["FunctionName"]))
        case "batch:submitJob.sync":
            yield Call(role, "batch:SubmitJob", deployed(arguments["JobQueue"]))
            yield Call(role, "batch:SubmitJob", deployed(arguments["JobDefinition"]))
            yield Call(role, "batch:DescribeJobs", "*")
            yield Call(role, "batch:TerminateJob", f"arn:aws:batch:{REGION}:{ACCOUNT}:job/00000000-0000-0000-0000-000000000000")
            for action in ("events:PutTargets", "events:PutRule", "events:DescribeRule"):
                yield Call(role, action, BATCH_RULE)
        case "states:startExecution":
            yield Call(role, "states:StartExecution", deployed(arguments["StateMachineArn"]))
        case "sqs:sendMessage":
            yield Call(role, "sqs:SendMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{PREFIX}-dead-letters")
        case _:
            raise AssertionError(f"no test knows which calls the integration {resource} makes")


def _of_child(role: str, execution: Execution, child: Execution) -> Iterator[Call]:
    """A child of a distributed map is started, watched, stopped and redriven by its parent."""
    yield Call(role, "states:StartExecution", deployed(execution.info.machine_arn))
    for action in ("states:DescribeExecution", "states:StopExecution", "states:RedriveExecution"):
        yield Call(role, action, deployed(child.info.arn))


def elsewhere(call: Call) -> Call | None:
    """The same call on the same kind of thing that is not of this deployment, which must be denied; None where AWS knows no
    resource for the action."""
    if call.resource == "*" or call.action.startswith(("kms:", "batch:TerminateJob")):
        return None
    if call.action.startswith("s3:"):
        bucket, _, key = call.resource.partition("/")
        return replace(call, resource=f"{bucket}/{key.replace('work/', 'elsewhere/', 1)}", allow=False)
    strange = call.resource.replace(PREFIX, "another").replace("StepFunctionsGetEventsForBatchJobsRule", "another")
    assert strange != call.resource, call
    return replace(call, resource=strange, allow=False)
