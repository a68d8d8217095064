"""Every folder in functions/ as a Lambda: control functions once, as zips; data functions once per workload, from its image."""

from __future__ import annotations

from collections.abc import Mapping

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra import bundling
from infra.images import Image
from infra.observability import log_group
from infra.permissions import DataRole, statement
from tilery import names

SCRATCH_MIB = 10240
"""The most a Lambda can have: tiles are worked on in /tmp."""


class Nanoservices(Construct):
    """All functions; `control[name]` and `data[workload][name]`."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        prefix: str,
        role_path: str,
        images: Mapping[str, Image],
        data_role: DataRole,
        environment: Mapping[str, str],
        most_mib: int,
        log_retention_days: int,
    ) -> None:
        """`images` are the CPU images by workload; `most_mib` the memory that no function may exceed."""
        super().__init__(scope, name)
        self._prefix, self._role_path, self._data_role = prefix, role_path, data_role
        self._environment, self._most_mib, self._log_retention_days = environment, most_mib, log_retention_days
        self._layers = [self._layer("Dependencies", bundling.dependencies()), self._layer("Library", bundling.library())]
        kinds = names.FUNCTIONS.values()
        self.control = {kind.name: self._zip(kind) for kind in kinds if kind.kind == "control"}
        self.data = {
            workload: {kind.name: self._image(kind, workload, image) for kind in kinds if kind.kind == "data"}
            for workload, image in images.items()
        }

    def of_pipeline(self, workload: str) -> dict[str, lambda_.Function]:
        """The functions that the pipeline of a workload calls, by name."""
        every = {**self.control, **self.data[workload]}
        return {name: function for name, function in every.items() if names.FUNCTIONS[name].pipeline}

    def _layer(self, name: str, code: lambda_.Code) -> lambda_.LayerVersion:
        return lambda_.LayerVersion(
            self,
            name,
            code=code,
            compatible_runtimes=[lambda_.Runtime.PYTHON_3_13],
            compatible_architectures=[lambda_.Architecture.ARM_64],
        )

    def _zip(self, kind: names.Function) -> lambda_.Function:
        logs, role = self._logs_and_role(kind.name)
        function = lambda_.Function(
            self,
            kind.name.capitalize(),
            function_name=f"{self._prefix}-{kind.name}",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            code=bundling.function(kind.name),
            handler=handler(kind.name),
            layers=self._layers,
            memory_size=min(kind.memory_mib, self._most_mib),
            timeout=cdk.Duration.seconds(kind.timeout_s),
            environment=self._variables(kind.name),
            tracing=lambda_.Tracing.ACTIVE,
            log_group=logs,
            role=role,
        )
        return function

    def _image(self, kind: names.Function, workload: str, image: Image) -> lambda_.Function:
        name = names.function_name(kind.name, workload)
        logs, role = self._logs_and_role(name)
        function = lambda_.DockerImageFunction(
            self,
            name.title().replace("-", ""),
            function_name=f"{self._prefix}-{name}",
            code=image.function_code([handler(kind.name)]),
            architecture=lambda_.Architecture.X86_64,
            memory_size=min(kind.memory_mib, self._most_mib),
            ephemeral_storage_size=cdk.Size.mebibytes(SCRATCH_MIB),
            timeout=cdk.Duration.seconds(kind.timeout_s),
            environment=self._variables(name) | {"TILERY_WORKLOAD": workload},
            tracing=lambda_.Tracing.ACTIVE,
            log_group=logs,
            role=role,
        )
        cdk.Tags.of(function).add("workload", workload)
        return function

    def _logs_and_role(self, name: str) -> tuple[cdk.aws_logs.LogGroup, iam.Role]:
        title = name.title().replace("-", "")
        logs = log_group(self, f"{title}Logs", f"/{self._prefix}/{name}", self._log_retention_days)
        role = iam.Role(self, f"{title}Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"), path=self._role_path)
        role.add_to_policy(statement(["logs:CreateLogStream", "logs:PutLogEvents"], [logs.log_group_arn]))
        self._data_role.let_assume(role)
        return logs, role

    def _variables(self, name: str) -> dict[str, str]:
        return {**self._environment, "POWERTOOLS_SERVICE_NAME": name}


def handler(function: str) -> str:
    """The Python path of a nanoservice's handler, the same in a zip, in an image and in the twin."""
    return f"functions.{function}.handler.handler"
