"""Three buckets under one key: drop (what people upload), work (expires), results (products and the ledger)."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

PINNED_DAYS = 30
"""How long a replaced version stays: runs pin versions and can be redriven for 14 days."""


class Storage(Construct):
    """The key and the buckets; no bucket is public, every request needs TLS, all access is logged."""

    def __init__(self, scope: Construct, name: str, *, keep: bool, work_expires_days: int) -> None:
        super().__init__(scope, name)
        self._keep = keep
        self.key = self._key()
        self.access_logs = s3.Bucket(
            self,
            "AccessLogs",
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            lifecycle_rules=[s3.LifecycleRule(expiration=cdk.Duration.days(90))],
            removal_policy=self._removal,
            auto_delete_objects=not keep,
        )
        old = s3.LifecycleRule(
            noncurrent_version_expiration=cdk.Duration.days(PINNED_DAYS),
            expired_object_delete_marker=True,
            abort_incomplete_multipart_upload_after=cdk.Duration.days(7),
        )
        expires = s3.LifecycleRule(
            expiration=cdk.Duration.days(work_expires_days), abort_incomplete_multipart_upload_after=cdk.Duration.days(7)
        )
        self.drop = self._bucket("Drop", rule=old, versioned=True)
        self.work = self._bucket("Work", rule=expires, versioned=False)
        self.results = self._bucket("Results", rule=old, versioned=True)
        self._raise_events(self.drop)

    @property
    def _removal(self) -> cdk.RemovalPolicy:
        return cdk.RemovalPolicy.RETAIN if self._keep else cdk.RemovalPolicy.DESTROY

    def _key(self) -> kms.Key:
        key = kms.Key(
            self, "Key", enable_key_rotation=True, removal_policy=self._removal, description="Tilery data and notices"
        )
        ours = {"StringEquals": {"aws:SourceAccount": cdk.Stack.of(self).account}}
        key.add_to_resource_policy(self._may_encrypt("NoticesOfThisAccount", ["cloudwatch", "budgets"], ours))
        # EventBridge hands KMS no source account: with the condition its notices would be dropped without a word
        key.add_to_resource_policy(self._may_encrypt("NoticesOfEvents", ["events"]))
        return key

    @staticmethod
    def _may_encrypt(sid: str, services: list[str], conditions: dict[str, dict[str, str]] | None = None) -> iam.PolicyStatement:
        """That AWS services may speak on a topic under this key."""
        return iam.PolicyStatement(
            sid=sid,
            principals=[iam.ServicePrincipal(f"{service}.amazonaws.com") for service in services],
            actions=["kms:Decrypt", "kms:GenerateDataKey"],
            resources=["*"],
            conditions=conditions,
        )

    def _bucket(self, name: str, *, rule: s3.LifecycleRule, versioned: bool) -> s3.Bucket:
        return s3.Bucket(
            self,
            name,
            encryption=s3.BucketEncryption.KMS,
            encryption_key=self.key,
            bucket_key_enabled=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            versioned=versioned,
            lifecycle_rules=[rule],
            server_access_logs_bucket=self.access_logs,
            server_access_logs_prefix=f"{name.lower()}/",
            removal_policy=self._removal,
            auto_delete_objects=not self._keep,
        )

    @staticmethod
    def _raise_events(bucket: s3.Bucket) -> None:
        """Every event to EventBridge, by the L1 property: the L2 flag would add a custom-resource function."""
        resource = bucket.node.default_child
        assert isinstance(resource, s3.CfnBucket)
        resource.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
            event_bridge_configuration=s3.CfnBucket.EventBridgeConfigurationProperty(event_bridge_enabled=True)
        )
