"""Reads a synthesized template as if it were deployed: intrinsic functions become the texts that AWS would put there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

ACCOUNT = "123456789012"
REGION = "eu-west-1"
PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "stack",
}
ARNS = {
    "AWS::S3::Bucket": "arn:aws:s3:::{name}",
    "AWS::KMS::Key": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{{name}}",
    "AWS::Lambda::Function": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{{name}}",
    "AWS::StepFunctions::StateMachine": f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{{name}}",
    "AWS::Batch::JobQueue": f"arn:aws:batch:{REGION}:{ACCOUNT}:job-queue/{{name}}",
    "AWS::Batch::JobDefinition": f"arn:aws:batch:{REGION}:{ACCOUNT}:job-definition/{{name}}:1",
    "AWS::SNS::Topic": f"arn:aws:sns:{REGION}:{ACCOUNT}:{{name}}",
    "AWS::SQS::Queue": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{{name}}",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{{name}}:*",
    "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{{name}}",
}
NAMES = ("FunctionName", "StateMachineName", "JobQueueName", "JobDefinitionName", "QueueName", "LogGroupName", "BucketName")
REF_IS_ARN = ("AWS::Batch::", "AWS::SNS::", "AWS::StepFunctions::")


@dataclass(frozen=True)
class Deployment:
    """Templates of one deployment, by stack name."""

    templates: dict[str, dict[str, Any]]

    def resources(self, kind: str = "") -> dict[str, dict[str, Any]]:
        """Logical id -> resource, of all stacks, with intrinsic functions resolved."""
        return {
            name: self.resolve(stack, resource)
            for stack, template in self.templates.items()
            for name, resource in template["Resources"].items()
            if not kind or resource["Type"] == kind
        }

    def resolve(self, stack: str, value: Any) -> Any:
        """`value` with every Ref, GetAtt, Join, Sub, Select, Split and ImportValue replaced."""
        if isinstance(value, list):
            return [self.resolve(stack, one) for one in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, of),) = value.items()
            if function == "Ref":
                return PSEUDO.get(of) or self._ref(stack, of)
            if function == "Fn::GetAtt":
                return self._attribute(stack, of[0], of[1])
            if function == "Fn::Join":
                return of[0].join(self.resolve(stack, of[1]))
            if function == "Fn::Sub":
                return re.sub(r"\$\{([^}]+)\}", lambda match: PSEUDO.get(match[1], match[0]), of)
            if function == "Fn::Select":
                return self.resolve(stack, of[1])[int(of[0])]
            if function == "Fn::Split":
                return self.resolve(stack, of[1]).split(of[0])
            if function == "Fn::ImportValue":
                return self._imported(of)
        return {name: self.resolve(stack, one) for name, one in value.items()}

    def _name(self, stack: str, logical: str) -> str:
        properties = self.templates[stack]["Resources"][logical].get("Properties", {})
        given = next((properties[name] for name in NAMES if isinstance(properties.get(name), str)), "")
        return given or logical.lower()

    def _ref(self, stack: str, logical: str) -> str:
        kind = self.templates[stack]["Resources"].get(logical, {}).get("Type", "")
        if kind.startswith(REF_IS_ARN):
            return self._attribute(stack, logical, "Arn")
        if kind == "AWS::SQS::Queue":
            return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{self._name(stack, logical)}"
        return self._name(stack, logical) if kind else logical

    def _attribute(self, stack: str, logical: str, attribute: str) -> str:
        resource = self.templates[stack]["Resources"][logical]
        name = self._name(stack, logical)
        if attribute == "Name":
            return name
        if resource["Type"] == "AWS::IAM::Role":
            name = resource["Properties"].get("Path", "/").lstrip("/") + name
        arn = ARNS.get(resource["Type"], "{name}." + attribute)
        return arn.format(name=name)

    def _imported(self, export: str) -> str:
        for stack, template in self.templates.items():
            for output in template.get("Outputs", {}).values():
                if output.get("Export", {}).get("Name") == export:
                    return str(self.resolve(stack, output["Value"]))
        raise KeyError(export)

    def one(self, kind: str, starts: str) -> str:
        """The logical id of the only resource of this kind whose id starts so."""
        (found,) = [name for name in self.resources(kind) if name.startswith(starts)]
        return found

    def arn(self, kind: str, starts: str) -> str:
        logical = self.one(kind, starts)
        stack = next(stack for stack, template in self.templates.items() if logical in template["Resources"])
        return self._attribute(stack, logical, "Arn")

    def statements(self, role: str) -> list[dict[str, Any]]:
        """Every statement of the identity policies of a role, by its logical id."""
        name = role.lower()
        attached = [
            policy["Properties"]["PolicyDocument"]["Statement"]
            for policy in self.resources("AWS::IAM::Policy").values()
            if name in policy["Properties"].get("Roles", [])
        ]
        inline = self.resources("AWS::IAM::Role")[role]["Properties"].get("Policies", [])
        attached += [policy["PolicyDocument"]["Statement"] for policy in inline]
        return [statement for statements in attached for statement in statements]

    def definitions(self, source: dict[str, str]) -> Iterator[tuple[str, str]]:
        """(machine name, rendered definition) of every state machine; `source`: asset hash -> text of the definition."""
        for machine in self.resources("AWS::StepFunctions::StateMachine").values():
            properties = machine["Properties"]
            text = source[properties["DefinitionS3Location"]["Key"].partition(".")[0]]
            for name, value in properties["DefinitionSubstitutions"].items():
                text = text.replace("${" + name + "}", value)
            yield properties["StateMachineName"], text


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def load(assembly: str, stacks: list[str]) -> Deployment:
    """Read the templates of these stacks from a cloud assembly folder."""
    return Deployment({stack: json.loads(open(f"{assembly}/{stack}.template.json").read()) for stack in stacks})
