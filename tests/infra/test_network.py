"""The network of the workers, alone: a deployment may change from one kind to another."""

from __future__ import annotations

import itertools
import shutil
from typing import Any, get_args

import pytest

from infra.settings import Network


def subnets(kind: Any) -> dict[str, str]:
    """Logical id -> address range of the workers' subnets."""
    import aws_cdk as cdk
    from aws_cdk import aws_s3 as s3
    from aws_cdk.assertions import Template

    from infra.network import WorkerNetwork

    stack = cdk.Stack(cdk.App(), "Stack")
    logs = s3.Bucket.from_bucket_name(stack, "Logs", "logs")
    WorkerNetwork(stack, "Network", kind=kind, gpu=False, flow_logs=logs)
    found = Template.from_stack(stack).find_resources("AWS::EC2::Subnet")
    return {name: one["Properties"]["CidrBlock"] for name, one in found.items() if "workSubnet" in name}


@pytest.mark.long("it starts the CDK's own process for three small stacks")
@pytest.mark.skipif(shutil.which("node") is None, reason="the CDK needs node")
def test_workers_keep_their_subnets_when_a_deployment_changes_its_network() -> None:
    """Else CloudFormation would make the new ones beside the old, with the same addresses, and fail."""
    kinds = [subnets(kind) for kind in get_args(Network)]
    assert len(kinds) == 3
    assert len(kinds[0]) == 2
    assert all(one == other for one, other in itertools.pairwise(kinds))
