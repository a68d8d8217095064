"""Batch: one queue a lane, one job definition a workload and lane. The lanes are those of tilery.names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_batch as batch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.images import Image
from infra.network import WorkerNetwork
from infra.permissions import DataRole
from tilery import names

INSTANCES = {
    "gpu": ("g6.2xlarge", "g5.2xlarge", "g4dn.2xlarge"),
    "gpu-large": ("g6e.4xlarge", "g6e.8xlarge"),
}
FARGATE_SCRATCH_GIB = 100
GPU_VOLUME_GIB = 200

_WHY = batch.JobStateTimeLimitActionsReason
GIVE_UP_AFTER = {
    _WHY.INSUFFICIENT_INSTANCE_CAPACITY: cdk.Duration.hours(12),
    _WHY.COMPUTE_ENVIRONMENT_MAX_RESOURCE: cdk.Duration.minutes(10),
    _WHY.JOB_RESOURCE_REQUIREMENT: cdk.Duration.minutes(10),
}
"""A job at the head of a queue that cannot be placed is cancelled, and its run can be redriven."""


def _retry(condition: Mapping[str, str]) -> batch.RetryStrategy:
    reason = batch.Reason.custom(
        on_exit_code=condition.get("OnExitCode"),
        on_reason=condition.get("OnReason"),
        on_status_reason=condition.get("OnStatusReason"),
    )
    return batch.RetryStrategy.of(batch.Action[condition["Action"]], reason)


def title(name: str) -> str:
    return name.title().replace("-", "")


class Queues(Construct):
    """Fair-share queues with their compute environments; `arns` by lane."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        prefix: str,
        lanes: Sequence[names.BatchLane],
        tenants: Sequence[str],
        network: WorkerNetwork,
        fargate_max_vcpus: int,
        gpu_spot_max_vcpus: int,
        gpu_ondemand_max_vcpus: int,
    ) -> None:
        super().__init__(scope, name)
        self._prefix, self._network = prefix, network
        self._gpu_max_vcpus = (gpu_spot_max_vcpus, gpu_ondemand_max_vcpus)
        self._fair = batch.FairshareSchedulingPolicy(
            self,
            "FairShare",
            share_decay=cdk.Duration.hours(1),
            shares=[batch.Share(share_identifier=tenant, weight_factor=1) for tenant in tenants],
        )
        fargate = batch.FargateComputeEnvironment(
            self,
            "Fargate",
            vpc=network.vpc,
            vpc_subnets=network.subnets,
            security_groups=[network.security_group],
            maxv_cpus=fargate_max_vcpus,
        )
        template = self._template() if any(lane.gpus for lane in lanes) else None
        self.arns = {
            lane.name: self._queue(lane.name, self._gpu(lane.name, template) if template and lane.gpus else [fargate])
            for lane in lanes
        }

    def _template(self) -> ec2.LaunchTemplate:
        volume = ec2.BlockDeviceVolume.ebs(
            GPU_VOLUME_GIB, volume_type=ec2.EbsDeviceVolumeType.GP3, throughput=500, iops=6000, encrypted=True
        )
        return ec2.LaunchTemplate(
            self,
            "GpuTemplate",
            require_imdsv2=True,
            http_put_response_hop_limit=1,
            block_devices=[ec2.BlockDevice(device_name="/dev/xvda", volume=volume)],
        )

    def _gpu(self, lane: str, template: ec2.LaunchTemplate) -> list[batch.IComputeEnvironment]:
        """Spot first; on demand where there is none, or the work would wait for ever."""
        return [
            batch.ManagedEc2EcsComputeEnvironment(
                self,
                f"{title(lane)}{'Spot' if spot else 'OnDemand'}",
                vpc=self._network.vpc,
                vpc_subnets=self._network.subnets,
                security_groups=[self._network.security_group],
                spot=spot,
                minv_cpus=0,
                maxv_cpus=vcpus,
                instance_types=[ec2.InstanceType(name) for name in INSTANCES[lane]],
                use_optimal_instance_classes=False,
                images=[batch.EcsMachineImage(image_type=batch.EcsMachineImageType.ECS_AL2023_NVIDIA)],
                launch_template=template,
                # a replaced environment could not keep its name, nor its size be changed
                replace_compute_environment=False,
                update_to_latest_image_version=True,
            )
            for spot, vcpus in zip((True, False), self._gpu_max_vcpus, strict=True)
        ]

    def _queue(self, lane: str, environments: Sequence[batch.IComputeEnvironment]) -> str:
        return batch.JobQueue(
            self,
            f"{title(lane)}Queue",
            job_queue_name=f"{self._prefix}-{lane}",
            priority=10,
            scheduling_policy=self._fair,
            compute_environments=[
                batch.OrderedComputeEnvironment(compute_environment=environment, order=order)
                for order, environment in enumerate(environments, 1)
            ],
            job_state_time_limit_actions=[
                batch.JobStateTimeLimitAction(
                    reason=reason,
                    max_time=after,
                    state=batch.JobStateTimeLimitActionsState.RUNNABLE,
                    action=batch.JobStateTimeLimitActionsAction.CANCEL,
                )
                for reason, after in GIVE_UP_AFTER.items()
            ],
        ).job_queue_arn


class Jobs(Construct):
    """The job definitions of one workload; `arns` by lane. Only Batch retries, and only what is not the work's fault."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        prefix: str,
        workload: str,
        role_path: str,
        lanes: Sequence[names.BatchLane],
        images: Mapping[str, Image],
        data_role: DataRole,
        environment: Mapping[str, str],
        network: WorkerNetwork,
        log_group: logs.ILogGroup,
    ) -> None:
        """`images` by the lane's image name, cpu or cuda."""
        super().__init__(scope, name)
        self._prefix, self._workload, self._network = prefix, workload, network
        self._environment = {
            **environment,
            "AWS_DEFAULT_REGION": cdk.Stack.of(self).region,
            "TILERY_WORKLOAD": workload,
            "POWERTOOLS_SERVICE_NAME": f"process-{workload}",
            # there is no X-Ray daemon beside a Batch container
            "POWERTOOLS_TRACE_DISABLED": "true",
        }
        self._logging = ecs.LogDriver.aws_logs(stream_prefix=workload, log_group=log_group)
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com"), path=role_path)
        data_role.let_assume(self.role)
        self._execution = iam.Role(self, "Execution", assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com"))
        self.arns = {lane.name: self._definition(lane, images[lane.image]) for lane in lanes}
        cdk.Tags.of(self).add("workload", workload)

    def _definition(self, lane: names.BatchLane, image: Image) -> str:
        definition = batch.EcsJobDefinition(
            self,
            title(lane.name),
            job_definition_name=f"{self._prefix}-{self._workload}-{lane.name}",
            container=self._fargate(lane, image) if not lane.gpus else self._gpu(lane, image),
            timeout=cdk.Duration.seconds(names.JOB_TIMEOUT_S),
            scheduling_priority=50,
            propagate_tags=True,
            retry_attempts=names.JOB_ATTEMPTS,
            retry_strategies=[_retry(condition) for condition in names.JOB_RETRY],
        )
        resource = definition.node.default_child
        assert isinstance(resource, batch.CfnJobDefinition)
        # runs in flight and redrives still name the revision before
        resource.resource_retention_policy = batch.CfnJobDefinition.ResourceRetentionPolicyProperty(
            skip_deregister_on_update=True
        )
        return definition.job_definition_arn

    def _fargate(self, lane: names.BatchLane, image: Image) -> batch.EcsFargateContainerDefinition:
        return batch.EcsFargateContainerDefinition(
            self,
            f"{title(lane.name)}Container",
            image=image.container(),
            cpu=lane.vcpus,
            memory=cdk.Size.mebibytes(lane.memory_mib),
            ephemeral_storage_size=cdk.Size.gibibytes(FARGATE_SCRATCH_GIB),
            assign_public_ip=self._network.public_address,
            environment=self._environment,
            job_role=self.role,
            execution_role=self._execution,
            logging=self._logging,
        )

    def _gpu(self, lane: names.BatchLane, image: Image) -> batch.EcsEc2ContainerDefinition:
        return batch.EcsEc2ContainerDefinition(
            self,
            f"{title(lane.name)}Container",
            image=image.container(),
            cpu=lane.vcpus,
            gpu=lane.gpus,
            memory=cdk.Size.mebibytes(lane.memory_mib),
            environment=self._environment,
            job_role=self.role,
            execution_role=self._execution,
            logging=self._logging,
        )
