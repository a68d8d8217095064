"""The application: everything but the data. The parts are made and joined here; each says itself what it may do."""

from __future__ import annotations

import json

import aws_cdk as cdk
from constructs import Construct

from infra.back_office import allow_back_office
from infra.batch import Jobs, Queues
from infra.images import Image
from infra.nanoservices import Nanoservices
from infra.network import WorkerNetwork
from infra.observability import Alarms, Budget, Notices, log_group
from infra.outputs import Outputs
from infra.permissions import DataRole
from infra.settings import Settings
from infra.storage import Storage
from infra.triggers import Triggers, dead_letter_queue
from infra.workflows import Ingest, Pipeline, machine_arn, pipeline_name
from tilery import names


class AppStack(cdk.Stack):
    def __init__(self, scope: Construct, name: str, *, settings: Settings, storage: Storage) -> None:
        super().__init__(scope, name, description=f"Tilery {settings.name}: network, functions, queues, state machines")
        prefix, role_path = settings.prefix, f"/{settings.prefix}/"
        pipelines = {workload: machine_arn(self, pipeline_name(prefix, workload)) for workload in settings.workloads}
        gpu = any(lane.gpus for lane in settings.batch_lanes)

        network = WorkerNetwork(self, "Network", kind=settings.network, gpu=gpu, flow_logs=storage.access_logs)
        notices = Notices(self, "Notices", key=storage.key, email=settings.notify_email)
        data_role = DataRole(self, "Data", storage=storage, role_path=role_path)
        environment = {
            "TILERY_STORE": "s3",
            "TILERY_DROP_BUCKET": storage.drop.bucket_name,
            "TILERY_WORK_BUCKET": storage.work.bucket_name,
            "TILERY_RESULTS_BUCKET": storage.results.bucket_name,
            "TILERY_DATA_ROLE": data_role.role.role_arn,
            "TILERY_LANES": ",".join(settings.lanes),
            "TILERY_SPREAD": "8",
            "TILERY_WHOLE_MIB": str(min(names.FUNCTIONS["whole"].memory_mib, settings.lambda_mib)),
            "TILERY_WORK_EXPIRES_DAYS": str(settings.work_expires_days),
            "POWERTOOLS_METRICS_NAMESPACE": "Tilery",
            "POWERTOOLS_LOG_LEVEL": "INFO",
        }
        told = {"TILERY_TOPIC": notices.topic.topic_arn, "TILERY_PIPELINES": json.dumps(pipelines)}

        images: dict[str, dict[str, Image]] = {
            workload: {
                target: Image(
                    self,
                    f"Image{workload.title()}{target.title()}",
                    workload=workload,
                    target=target,
                    given=settings.images.get(f"{workload}-{target}", ""),
                )
                for target in sorted({"cpu", *(lane.image for lane in settings.lanes_of(workload))})
            }
            for workload in settings.workloads
        }
        functions = Nanoservices(
            self,
            "Functions",
            prefix=prefix,
            role_path=role_path,
            images={workload: targets["cpu"] for workload, targets in images.items()},
            data_role=data_role,
            environment=environment | told,
            most_mib=settings.lambda_mib,
            log_retention_days=settings.log_retention_days,
        )
        queues = Queues(
            self,
            "Batch",
            prefix=prefix,
            lanes=settings.batch_lanes,
            tenants=settings.tenants,
            network=network,
            fargate_max_vcpus=settings.fargate_max_vcpus,
            gpu_spot_max_vcpus=settings.gpu_spot_max_vcpus,
            gpu_ondemand_max_vcpus=settings.gpu_ondemand_max_vcpus,
        )
        job_logs = log_group(self, "JobLogs", f"/{prefix}/jobs", settings.log_retention_days)
        machines = {}
        for workload in settings.workloads:
            jobs = Jobs(
                self,
                f"Jobs{workload.title()}",
                prefix=prefix,
                workload=workload,
                role_path=role_path,
                lanes=settings.lanes_of(workload),
                images=images[workload],
                data_role=data_role,
                environment=environment,
                network=network,
                log_group=job_logs,
            )
            machines[workload] = Pipeline(
                self,
                f"Pipeline{workload.title()}",
                prefix=prefix,
                workload=workload,
                functions=functions.of_pipeline(workload),
                work=storage.work,
                key=storage.key,
                job_queues={lane.name: queues.arns[lane.name] for lane in settings.lanes_of(workload)},
                job_definitions=jobs.arns,
                map_concurrency=settings.map_concurrency,
                tolerated_failure_percentage=settings.tolerated_failure_percentage,
                retention_days=settings.log_retention_days,
            ).machine
        dead_letters = dead_letter_queue(self, "DeadLetters", f"{prefix}-dead-letters")
        ingest = Ingest(
            self,
            "Ingest",
            prefix=prefix,
            intake=functions.control["intake"],
            pipelines=pipelines,
            dead_letters=dead_letters,
            retention_days=settings.log_retention_days,
        ).machine
        allow_back_office(
            functions,
            settings=settings,
            storage=storage,
            topic=notices.topic,
            queue_arns=list(queues.arns.values()),
            dead_letters=dead_letters,
        )
        Triggers(
            self,
            "Triggers",
            drop=storage.drop,
            ingest=ingest,
            explain=functions.control["explain"],
            watchdog=functions.control["watchdog"],
            pipelines=[machine.state_machine_arn for machine in machines.values()],
            dead_letters=dead_letters,
        )
        Alarms(
            self,
            "Alarms",
            topic=notices.topic,
            pipelines=machines,
            ingest=ingest,
            dead_letters=dead_letters,
            functions=[functions.control[name] for name in ("explain", "watchdog")],
            queue_arns=list(queues.arns.values()),
        )
        Budget(self, "Budget", prefix=prefix, dollars=settings.monthly_budget_usd, topic=notices.topic)
        Outputs(
            self,
            "Outputs",
            settings=settings,
            storage=storage,
            machines=machines,
            ingest=ingest,
            topic=notices.topic,
            dead_letters=dead_letters,
        )
