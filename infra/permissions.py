"""Who may do what. Statements are written out; nothing is granted by a construct's convenience.

Functions and workers have no S3 permission of their own: they assume the data role with a session tag `tenant`, and its
policy names only prefixes of that tenant. A session without the tag matches no key at all.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.storage import Storage

TENANT = "${aws:PrincipalTag/tenant}"
READ = ["s3:GetObject", "s3:GetObjectVersion"]
WRITE = ["s3:PutObject", "s3:AbortMultipartUpload"]
LIST = ["s3:ListBucket"]
LIST_VERSIONS = ["s3:ListBucketVersions"]
DELETE = ["s3:DeleteObject"]


def statement(actions: list[str], resources: list[str], conditions: dict[str, object] | None = None) -> iam.PolicyStatement:
    return iam.PolicyStatement(actions=actions, resources=resources, conditions=conditions)


class DataRole(Construct):
    """The role behind every store of tenant data."""

    def __init__(self, scope: Construct, name: str, *, storage: Storage, role_path: str) -> None:
        super().__init__(scope, name)
        self._callers = cdk.Stack.of(self).format_arn(
            service="iam", region="", resource="role", resource_name=f"{role_path.strip('/')}/*"
        )
        self.role = iam.Role(
            self,
            "Role",
            description="Tilery: objects of the one tenant that the session is tagged with",
            assumed_by=iam.SessionTagsPrincipal(self._members()),
            max_session_duration=cdk.Duration.hours(1),
        )
        self.role.attach_inline_policy(self._policy(storage))

    def _members(self) -> iam.PrincipalWithConditions:
        """Our own functions and workers, known by their role's path (a list of them would outgrow a trust policy), who must
        say the tenant and nothing else."""
        return iam.PrincipalWithConditions(
            iam.AccountRootPrincipal(),
            {
                "ArnLike": {"aws:PrincipalArn": self._callers},
                "StringLike": {"aws:RequestTag/tenant": "?*"},
                "ForAllValues:StringEquals": {"aws:TagKeys": ["tenant"]},
            },
        )

    def _policy(self, storage: Storage) -> iam.Policy:
        def objects(area: str) -> str:
            return {"drop": storage.drop, "work": storage.work}.get(area, storage.results).arn_for_objects(f"{area}/{TENANT}/*")

        def listing(actions: list[str], arn: str, *areas: str) -> iam.PolicyStatement:
            return statement(actions, [arn], {"StringLike": {"s3:prefix": [f"{area}/{TENANT}/*" for area in areas]}})

        return iam.Policy(
            self,
            "OneTenant",
            statements=[
                statement(READ, [objects("drop")]),
                statement(READ + WRITE + DELETE, [objects("work")]),
                statement(READ + WRITE, [objects("results"), objects("ledger")]),
                statement(DELETE, [storage.results.arn_for_objects(f"results/{TENANT}/cctv/_frames/*")]),
                listing(LIST + LIST_VERSIONS, storage.drop.bucket_arn, "drop"),
                listing(LIST, storage.work.bucket_arn, "work"),
                listing(LIST, storage.results.bucket_arn, "results", "ledger"),
                statement(["kms:Decrypt", "kms:GenerateDataKey"], [storage.key.key_arn]),
            ],
        )

    def let_assume(self, caller: iam.Role) -> None:
        caller.add_to_policy(statement(["sts:AssumeRole", "sts:TagSession"], [self.role.role_arn]))
