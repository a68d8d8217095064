"""Where Batch workers run. Functions stay outside the VPC."""

from __future__ import annotations

from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.settings import Network

SERVICES = ("ECR", "ECR_DOCKER", "CLOUDWATCH_LOGS", "STS")
GPU_SERVICES = ("ECS", "ECS_AGENT", "ECS_TELEMETRY")
"""What the ECS agent on an EC2 instance talks to besides."""


class WorkerNetwork(Construct):
    """A VPC of two zones with the free S3 gateway endpoint, and a security group that lets nothing in."""

    def __init__(self, scope: Construct, name: str, *, kind: Network, gpu: bool, flow_logs: s3.IBucket) -> None:
        super().__init__(scope, name)
        subnets = {
            "public": [ec2.SubnetConfiguration(name="work", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=20)],
            "endpoints": [ec2.SubnetConfiguration(name="work", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=20)],
            # work comes first in all three, so that its addresses stay when a deployment changes from one to another
            "nat": [
                ec2.SubnetConfiguration(name="work", subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS, cidr_mask=20),
                ec2.SubnetConfiguration(name="way-out", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=26),
            ],
        }[kind]
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            max_azs=2,
            nat_gateways=1 if kind == "nat" else 0,
            subnet_configuration=subnets,
            # on, it would add a custom-resource function; the group is not used by anything
            restrict_default_security_group=False,
            flow_logs={"Traffic": ec2.FlowLogOptions(destination=ec2.FlowLogDestination.to_s3(flow_logs, "flow/"))},
        )
        self.vpc.add_gateway_endpoint("S3", service=ec2.GatewayVpcEndpointAwsService.S3)
        self.subnets = ec2.SubnetSelection(subnet_group_name="work")
        self.public_address = kind == "public"
        self.security_group = ec2.SecurityGroup(
            self, "Workers", vpc=self.vpc, allow_all_outbound=True, description="Tilery workers: nothing comes in"
        )
        if kind == "endpoints":
            self._endpoints(SERVICES + (GPU_SERVICES if gpu else ()))

    def _endpoints(self, services: tuple[str, ...]) -> None:
        """Private doors to AWS services, open to our workers only."""
        doors = ec2.SecurityGroup(
            self, "Doors", vpc=self.vpc, allow_all_outbound=False, description="Tilery endpoints: from workers only"
        )
        doors.add_ingress_rule(self.security_group, ec2.Port.HTTPS)
        for service in services:
            self.vpc.add_interface_endpoint(
                service.title().replace("_", ""),
                service=getattr(ec2.InterfaceVpcEndpointAwsService, service),
                security_groups=[doors],
                open=False,
                subnets=self.subnets,
            )
