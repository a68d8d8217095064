"""What tells people that something is wrong: logs, alarms, one topic, a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct


def log_group(scope: Construct, name: str, path: str, retention_days: int) -> logs.LogGroup:
    """A log group that forgets, and that goes with its stack."""
    group = logs.LogGroup(scope, name, log_group_name=path, removal_policy=cdk.RemovalPolicy.DESTROY)
    resource = group.node.default_child
    assert isinstance(resource, logs.CfnLogGroup)
    resource.retention_in_days = retention_days
    return group


class Notices(Construct):
    """The topic that functions, alarms and the budget speak on."""

    def __init__(self, scope: Construct, name: str, *, key: kms.IKey, email: str) -> None:
        super().__init__(scope, name)
        self.topic = sns.Topic(self, "Topic", master_key=key, enforce_ssl=True, display_name="Tilery")
        # a policy of our own (here: TLS only) takes the place of the one that would let alarms of the account in
        self.topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid="AlarmsAndBudgetOfThisAccount",
                principals=[iam.ServicePrincipal(service) for service in ("cloudwatch.amazonaws.com", "budgets.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[self.topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": cdk.Stack.of(self).account}},
            )
        )
        if email:
            self.topic.add_subscription(subscriptions.EmailSubscription(email))


class Alarms(Construct):
    """Runs that failed or timed out, events nobody could handle, functions of the back office that fail, blocked queues."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        topic: sns.Topic,
        pipelines: Mapping[str, sfn.StateMachine],
        ingest: sfn.StateMachine,
        dead_letters: sqs.Queue,
        functions: Sequence[lambda_.Function],
        queue_arns: Sequence[str],
    ) -> None:
        super().__init__(scope, name)
        self._topic = topic
        for workload, machine in pipelines.items():
            self._alarm(f"Failed{workload.title()}", machine.metric_failed(), f"A {workload} run failed: see failure.json")
            self._alarm(f"TimedOut{workload.title()}", machine.metric_timed_out(), f"A {workload} run took too long")
        self._alarm("IngestFailed", ingest.metric_failed(), "An upload event could not be handled, not even kept")
        self._alarm("IngestTimedOut", ingest.metric_timed_out(), "An upload event took too long to handle, and was not kept")
        letters = dead_letters.metric_approximate_number_of_messages_visible()
        self._alarm(
            "DeadLetters", letters, "An upload (tried again for a day) or an end of a run was not handled: read the queue"
        )
        for function in functions:
            title = function.node.id
            self._alarm(f"{title}Errors", function.metric_errors(), f"The function {title.lower()} fails: read its log")
        self._tell_of_blocked_queues(queue_arns, dead_letters)

    def _alarm(self, name: str, metric: cloudwatch.IMetric, sentence: str) -> None:
        alarm = cloudwatch.Alarm(
            self,
            name,
            metric=metric,
            threshold=1,
            evaluation_periods=1,
            alarm_description=sentence,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarm.add_alarm_action(actions.SnsAction(self._topic))

    def _tell_of_blocked_queues(self, queue_arns: Sequence[str], dead_letters: sqs.Queue) -> None:
        events.Rule(
            self,
            "QueueBlocked",
            description="A job at the head of a queue cannot be placed: capacity, quota or configuration",
            event_pattern=events.EventPattern(
                source=["aws.batch"], detail_type=["Batch Job Queue Blocked"], detail={"jobQueue": list(queue_arns)}
            ),
            targets=[targets.SnsTopic(self._topic, dead_letter_queue=dead_letters)],
        )


class Budget(Construct):
    """A monthly budget over everything tagged with this deployment; it tells, it does not stop."""

    def __init__(self, scope: Construct, name: str, *, prefix: str, dollars: float, topic: sns.Topic) -> None:
        super().__init__(scope, name)
        subscriber = budgets.CfnBudget.SubscriberProperty(subscription_type="SNS", address=topic.topic_arn)
        budget = budgets.CfnBudget(
            self,
            "Monthly",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_name=prefix,
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(amount=dollars, unit="USD"),
                cost_filters={"TagKeyValue": [f"user:deployment${prefix}"]},
            ),
            notifications_with_subscribers=[
                budgets.CfnBudget.NotificationWithSubscribersProperty(
                    notification=budgets.CfnBudget.NotificationProperty(
                        notification_type=kind, comparison_operator="GREATER_THAN", threshold=percent
                    ),
                    subscribers=[subscriber],
                )
                for kind, percent in (("ACTUAL", 80), ("FORECASTED", 100))
            ],
        )
        # CloudFormation knows no budgets in China and GovCloud
        budget.cfn_options.condition = cdk.CfnCondition(
            self, "Budgets", expression=cdk.Fn.condition_equals(cdk.Aws.PARTITION, "aws")
        )
