"""What a person, and the command line, need to know of a deployment."""

from __future__ import annotations

from collections.abc import Mapping

import aws_cdk as cdk
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra.settings import Settings
from infra.storage import Storage
from infra.workflows import execution_arn, pipeline_name


class Outputs(Construct):
    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        settings: Settings,
        storage: Storage,
        machines: Mapping[str, sfn.StateMachine],
        ingest: sfn.StateMachine,
        topic: sns.Topic,
        dead_letters: sqs.Queue,
    ) -> None:
        super().__init__(scope, name)
        drop, workload = storage.drop.bucket_name, settings.workloads[0]
        self._say("DropBucket", drop, "Upload here, below drop/TENANT/WORKLOAD/")
        self._say("WorkBucket", storage.work.bucket_name, "Intermediate files; they expire")
        self._say("ResultsBucket", storage.results.bucket_name, "Products, below results/TENANT/WORKLOAD/DATASET/")
        self._say("Topic", topic.topic_arn, "Notices of runs and alarms; subscribe here")
        self._say("DeadLetterQueue", dead_letters.queue_url, "Events that could not be handled")
        self._say("IngestMachine", ingest.state_machine_arn, "The machine that upload events start")
        self._say("IngestConsole", self._console(ingest), "What became of each upload")
        for kind, machine in machines.items():
            self._say(f"{kind.title()}Machine", machine.state_machine_arn, f"The machine of {kind} runs")
            self._say(f"{kind.title()}Console", self._console(machine), f"The {kind} runs in the console")
        self._say("Upload", f"aws s3 cp FILE s3://{drop}/drop/{settings.tenants[0]}/{workload}/", "Start a run with one file")
        execution = execution_arn(cdk.Stack.of(self), f"{pipeline_name(settings.prefix, workload)}:RUN_ID")
        self._say(
            "Redrive",
            f"aws stepfunctions redrive-execution --execution-arn {execution}",
            "Repeat what failed in a run, within 14 days",
        )

    def _say(self, key: str, value: str, description: str) -> None:
        stack = cdk.Stack.of(self)
        cdk.CfnOutput(stack, f"Output{key}", key=key, value=value, description=description)

    def _console(self, machine: sfn.StateMachine) -> str:
        region = cdk.Stack.of(self).region
        return f"https://{region}.console.aws.amazon.com/states/home?region={region}#/statemachines/view/{machine.state_machine_arn}"
