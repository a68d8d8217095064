"""A workload's container image: built here by Docker on deployment, or one that is already in ECR."""

from __future__ import annotations

from typing import Literal

import aws_cdk as cdk
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.bundling import ROOT
from infra.settings import UnknownSetting

LAMBDA_ENTRYPOINT = ["/opt/venv/bin/python", "-m", "awslambdaric"]
"""By its whole path: Lambda has a PATH of its own."""


class Image(Construct):
    """`given` is REPOSITORY_URI:TAG of an image to use as it is, or empty to build it."""

    def __init__(self, scope: Construct, name: str, *, workload: str, target: Literal["cpu", "cuda"], given: str) -> None:
        super().__init__(scope, name)
        if given:
            self.repository, self.tag = self._find(given)
        else:
            asset = ecr_assets.DockerImageAsset(
                self,
                "Asset",
                directory=str(ROOT),
                file="containers/Dockerfile",
                build_args={"WORKLOAD": workload},
                target=target,
                platform=ecr_assets.Platform.LINUX_AMD64,
            )
            self.repository, self.tag = asset.repository, asset.image_tag

    def _find(self, uri: str) -> tuple[ecr.IRepository, str]:
        registry, _, rest = uri.partition("/")
        name, _, tag = rest.rpartition(":")
        parts = registry.split(".")
        if len(parts) < 6 or parts[1:3] != ["dkr", "ecr"] or not name or "@" in name:
            raise UnknownSetting(f"images: {uri!r} is not ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG")
        arn = f"arn:{cdk.Aws.PARTITION}:ecr:{parts[3]}:{parts[0]}:repository/{name}"
        return ecr.Repository.from_repository_attributes(self, "Given", repository_arn=arn, repository_name=name), tag

    def function_code(self, command: list[str]) -> lambda_.DockerImageCode:
        """The image as a Lambda with this handler."""
        return lambda_.DockerImageCode.from_ecr(
            self.repository, tag_or_digest=self.tag, entrypoint=LAMBDA_ENTRYPOINT, cmd=command
        )

    def container(self) -> ecs.ContainerImage:
        """The image as a Batch container; its entry point is the Dockerfile's."""
        return ecs.ContainerImage.from_ecr_repository(self.repository, self.tag)
