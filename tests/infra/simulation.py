"""Asks an IAM simulator whether the synthesized roles may make calls. Feed it with calls that a run really made.

simulator = Simulator(deployment, node_modules)
simulator.assert_allowed([simulator.store("plan", "get", "work/acme/runs/r/run.json", tenant="acme")])
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.infra.template import ACCOUNT, Deployment
from tilery.store.recording import OPERATION_ACTIONS

HERE = Path(__file__).resolve().parent
BUCKETS = {"drop": "StorageDrop", "work": "StorageWork", "results": "StorageResults", "ledger": "StorageResults"}


@dataclass(frozen=True, slots=True)
class Call:
    """One API call. `role` is a logical id; `context` holds condition keys; `trust` asks the role's trust policy too."""

    role: str
    action: str
    resource: str
    context: dict[str, Any] = field(default_factory=dict)
    trust: str = ""
    allow: bool = True

    def __str__(self) -> str:
        return f"{self.role}: {self.action} on {self.resource} {self.context or ''}"


@dataclass(frozen=True)
class Simulator:
    deployment: Deployment
    node_modules: Path

    def answers(self, calls: Sequence[Call]) -> list[str]:
        """What IAM would say to each call: `Allowed`, `ImplicitlyDenied` or `ExplicitlyDenied`."""
        question = {"account": ACCOUNT, "calls": [self._question(call) for call in calls]}
        ran = subprocess.run(
            ["node", str(HERE / "iam_simulate.mjs")], input=json.dumps(question), capture_output=True, text=True, timeout=240
        )
        assert ran.returncode == 0, ran.stderr
        answers: list[str] = json.loads(ran.stdout)
        return answers

    def assert_allowed(self, calls: Sequence[Call]) -> None:
        """Every call is answered as its `allow` says; the message lists those that are not."""
        answers = self.answers(calls)
        wrong = [
            f"{call}: {answer}" for call, answer in zip(calls, answers, strict=True) if (answer == "Allowed") != call.allow
        ]
        assert not wrong, "\n".join(wrong)

    def _question(self, call: Call) -> dict[str, Any]:
        statements = self.deployment.statements(call.role)
        question: dict[str, Any] = {
            "principal": self.deployment.arn("AWS::IAM::Role", call.role),
            "action": call.action,
            "resource": call.resource,
            "context": call.context,
            "policies": [{"name": call.role, "policy": {"Version": "2012-10-17", "Statement": statements}}],
        }
        if call.action.startswith("kms:"):
            question["trust"] = self._key_policy(call.resource)
        if call.trust:
            question["trust"] = self.deployment.resources("AWS::IAM::Role")[call.trust]["Properties"][
                "AssumeRolePolicyDocument"
            ]
        return question

    def _key_policy(self, arn: str) -> dict[str, Any]:
        """A key is usable only where its own policy hands the decision to IAM."""
        keys = self.deployment.resources("AWS::KMS::Key")
        (policy,) = [key["Properties"]["KeyPolicy"] for name, key in keys.items() if arn.endswith(name.lower())]
        return dict(policy)

    @property
    def data_role(self) -> str:
        return self.deployment.one("AWS::IAM::Role", "DataRole")

    def role(self, function: str) -> str:
        """The role of a function by its deployed name (`plan`, `tile-pointcloud`)."""
        return self.deployment.one("AWS::IAM::Role", f"Functions{function.title().replace('-', '')}Role")

    def store(self, operation: str, key: str, *, tenant: str, allow: bool = True) -> list[Call]:
        """The calls of one recorded store operation (a line of `tilery.store.recording`) in a session tagged `tenant`."""
        bucket = self.deployment.arn("AWS::S3::Bucket", BUCKETS[key.partition("/")[0]])
        tag: dict[str, Any] = {"aws:PrincipalTag/tenant": tenant}
        calls = []
        for action in OPERATION_ACTIONS[operation]:
            lists = action.startswith("s3:List")
            context = tag | ({"s3:prefix": key} if lists else {})
            calls.append(Call(self.data_role, action, bucket if lists else f"{bucket}/{key}", context, allow=allow))
        return calls

    def assume(self, role: str, *, tenant: str, allow: bool = True) -> list[Call]:
        """The call by which a function or worker opens a tenant's store, seen from both sides."""
        arn = self.deployment.arn("AWS::IAM::Role", role)
        context = (
            {
                "aws:PrincipalArn": arn,
                "aws:RequestTag/tenant": tenant,
                "aws:TagKeys": ["tenant"],
            }
            if tenant
            else {"aws:PrincipalArn": arn}
        )
        target = self.deployment.arn("AWS::IAM::Role", self.data_role)
        return [Call(role, action, target, context, self.data_role, allow) for action in ("sts:AssumeRole", "sts:TagSession")]
