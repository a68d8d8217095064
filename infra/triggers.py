"""What starts things: an upload, the end of a run, the clock. What cannot be handled waits in the dead-letter queue."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from tilery import names

ENDED_BADLY = ["FAILED", "TIMED_OUT", "ABORTED"]


def dead_letter_queue(scope: Construct, name: str, queue_name: str) -> sqs.Queue:
    return sqs.Queue(
        scope,
        name,
        queue_name=queue_name,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
        retention_period=cdk.Duration.days(14),
    )


class Triggers(Construct):
    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        drop: s3.IBucket,
        ingest: sfn.StateMachine,
        explain: lambda_.Function,
        watchdog: lambda_.Function,
        pipelines: Sequence[str],
        dead_letters: sqs.Queue,
    ) -> None:
        """`pipelines`: the ARNs of the machines whose bad ends are explained."""
        super().__init__(scope, name)
        patience = cdk.Duration.hours(24)
        events.Rule(
            self,
            "Uploaded",
            description="A file or a dataset's _READY.json landed in the drop bucket",
            event_pattern=events.EventPattern(
                source=["aws.s3"],
                detail_type=["Object Created"],
                detail={"bucket": {"name": [drop.bucket_name]}, **names.DROP_DETAIL},
            ),
            targets=[
                targets.SfnStateMachine(ingest, dead_letter_queue=dead_letters, retry_attempts=20, max_event_age=patience)
            ],
        )
        events.Rule(
            self,
            "Ended",
            # from outside: a Catch around a map would keep a redrive from going back into it
            description="A run ended badly",
            event_pattern=events.EventPattern(
                source=["aws.states"],
                detail_type=["Step Functions Execution Status Change"],
                detail={"stateMachineArn": list(pipelines), "status": ENDED_BADLY},
            ),
            targets=[
                targets.LambdaFunction(explain, dead_letter_queue=dead_letters, retry_attempts=20, max_event_age=patience)
            ],
        )
        events.Rule(
            self,
            "EveryFiveMinutes",
            description="The watchdog's round",
            schedule=events.Schedule.rate(cdk.Duration.minutes(5)),
            targets=[targets.LambdaFunction(watchdog, dead_letter_queue=dead_letters, retry_attempts=0)],
        )
