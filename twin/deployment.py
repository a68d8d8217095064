"""What `cdk deploy` creates, on one machine: functions, job definitions, state machines and the environment of each.

Names, commands and sizes come from tilery.names, as CDK's do, so that the two cannot drift.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import tilery
from tilery import lanes, names, registry
from twin.engine import Kind
from twin.jobs import JobDefinition
from twin.lambdas import FunctionSpec
from twin.services import DEAD_LETTER_QUEUE

CODE = Path(tilery.__file__).resolve().parents[1]
"""The folder with tilery, functions, containers and statemachines."""
ARN = "arn:aws:{service}:local:000000000000:{rest}"
KEPT = ("TILERY_RECORD", registry.EXTRA)
"""Settings of ours that the twin's own environment hands on."""
CONTROL_MODULES = [
    "tilery.nanoservice",
    "tilery.store.directory",
    "tilery.manifest",
    "tilery.stages",
    "tilery.gates",
    "tilery.explain",
    "tilery.watchdog",
]
DATA_MODULES = [
    "tilery.nanoservice",
    "tilery.store.directory",
    "tilery.sizing",
    "tilery.whole",
    "tilery.worker",
    "tilery.publishing",
]


@dataclass(frozen=True, slots=True)
class Deployment:
    """One twin's deployment. `root` is the store's folder, `endpoint` the URL of the twin's Step Functions API."""

    root: Path
    endpoint: str
    workloads: tuple[str, ...]
    map_concurrency: int
    tolerated_failure_percentage: int = 50
    lanes: tuple[str, ...] = ("lambda", "fargate", "fargate-large")

    def functions(self) -> list[FunctionSpec]:
        """Control functions once, data functions once per workload."""
        return [
            FunctionSpec(
                names.function_name(function.name, workload),
                f"functions.{function.name}.handler",
                function.memory_mib,
                function.timeout_s,
                {
                    **self._settings(),
                    "TILERY_PIPELINES": json.dumps(self.pipelines()),
                    **({"TILERY_WORKLOAD": workload} if function.kind == "data" else {}),
                    "POWERTOOLS_SERVICE_NAME": names.function_name(function.name, workload),
                    "AWS_LAMBDA_FUNCTION_NAME": names.function_name(function.name, workload),
                    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mib),
                    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                },
                zygote=workload if function.kind == "data" else "control",
            )
            for function in names.FUNCTIONS.values()
            for workload in (self.workloads if function.kind == "data" else self.workloads[:1])
        ]

    def preload(self) -> dict[str, list[str]]:
        """What each zygote imports: the control functions' modules, or a workload with everything that its verbs use."""
        light = [registry.known()[workload].partition(":")[0] for workload in self.workloads]
        return {
            "control": [*CONTROL_MODULES, *light],
            **{workload: [*DATA_MODULES, *_modules(workload)] for workload in self.workloads},
        }

    def job_definitions(self) -> list[JobDefinition]:
        """One per workload and Batch lane."""
        return [
            JobDefinition(
                f"{workload}-{lane.name}",
                _command(),
                {
                    **base_environment(),
                    **self._settings(),
                    "TILERY_WORKLOAD": workload,
                    "POWERTOOLS_SERVICE_NAME": f"process-{workload}",
                    "PYTHONUNBUFFERED": "1",
                },
                lane.memory_mib,
                lane.vcpus,
                lane.gpus,
                names.JOB_TIMEOUT_S,
            )
            for workload in self.workloads
            for lane in self._batch_lanes(workload)
        ]

    def substitutions(self, machine: str) -> dict[str, str]:
        """The `${Name}` values of a state machine, by the name of the machine."""
        if machine == names.INGEST_MACHINE:
            return {
                "Partition": "aws",
                "IntakeFunction": function_arn("intake", ""),
                "Pipelines": names.jsonata_object(self.pipelines()),
                "DeadLetterQueueUrl": DEAD_LETTER_QUEUE,
            }
        workload = machine.removeprefix(f"{names.APP}-")
        batch = [lane.name for lane in self._batch_lanes(workload)]
        return {
            "Partition": "aws",
            **{
                names.substitution(function.name): function_arn(function.name, workload)
                for function in names.FUNCTIONS.values()
                if function.pipeline
            },
            "WorkBucket": "work",
            "MapConcurrency": str(self.map_concurrency),
            "ToleratedFailurePercentage": str(self.tolerated_failure_percentage),
            "FirstBatchLane": batch[0],
            "JobQueues": names.jsonata_object({lane: ARN.format(service="batch", rest=f"job-queue/{lane}") for lane in batch}),
            "JobDefinitions": names.jsonata_object(
                {lane: ARN.format(service="batch", rest=f"job-definition/{workload}-{lane}:1") for lane in batch}
            ),
            "LargerLanes": names.jsonata_object(names.larger_lanes(batch)),
        }

    def machines(self) -> list[tuple[str, str, Kind]]:
        """(name, definition before substitution, kind) of every state machine."""
        folder = CODE / "statemachines"
        pipeline = (folder / "pipeline.asl.json").read_text(encoding="utf-8")
        return [
            (names.INGEST_MACHINE, (folder / "ingest.asl.json").read_text(encoding="utf-8"), "EXPRESS"),
            *((names.machine_name(workload), pipeline, "STANDARD") for workload in self.workloads),
        ]

    def pipelines(self) -> dict[str, str]:
        return {workload: machine_arn(names.machine_name(workload)) for workload in self.workloads}

    def _batch_lanes(self, workload: str) -> list[names.BatchLane]:
        usable = lanes.usable(list(self.lanes), bool(registry.load(workload).gpu))
        return [names.BATCH_LANES[lane] for lane in usable if lane in names.BATCH_LANES]

    def _settings(self) -> dict[str, str]:
        """The environment that functions and containers share; no real AWS account can be reached with it."""
        return {
            "TILERY_STORE": self.root.as_uri(),
            "TILERY_LANES": ",".join(self.lanes),
            "TILERY_SPREAD": str(os.cpu_count() or 1),
            "TILERY_WHOLE_MIB": str(names.FUNCTIONS["whole"].memory_mib),
            "TILERY_WORK_EXPIRES_DAYS": "0",
            "POWERTOOLS_METRICS_NAMESPACE": "Tilery",
            "POWERTOOLS_LOG_LEVEL": "INFO",
            "POWERTOOLS_TRACE_DISABLED": "true",
            "AWS_ENDPOINT_URL_SFN": self.endpoint,
            "AWS_ACCESS_KEY_ID": "twin",
            "AWS_SECRET_ACCESS_KEY": "twin",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def base_environment() -> dict[str, str]:
    """The twin's own environment without what would lead a worker to an AWS account or another deployment."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT or not name.startswith(("AWS_", "TILERY_"))}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, [str(CODE), os.environ.get("PYTHONPATH", "")]))}


def function_arn(function: str, workload: str) -> str:
    return ARN.format(service="lambda", rest=f"function:{names.function_name(function, workload)}")


def machine_arn(machine: str) -> str:
    return ARN.format(service="states", rest=f"stateMachine:{machine}")


def available_lanes() -> tuple[str, ...]:
    """Every lane, but those with a GPU only where one is."""
    gpu = any(Path("/dev").glob("nvidia[0-9]*"))
    return ("lambda", *(name for name, lane in names.BATCH_LANES.items() if gpu or not lane.gpus))


def _command() -> list[str]:
    """What a container runs, with this interpreter."""
    return [sys.executable, *names.JOB_COMMAND[1:]]


def _module(workload: str) -> str:
    """The module of a workload's class: light, since its heavy parts are imported by its verbs."""
    return registry.known()[workload].partition(":")[0]


def _modules(workload: str) -> Iterable[str]:
    """That module and all others of its package, but those that compile when they are imported (`*_kernels`): a worker does
    that when its work is worth it, and on a fresh machine it takes seconds."""
    module = _module(workload)
    package = importlib.import_module(module.rpartition(".")[0])
    if not package.__name__.startswith("tilery.workloads."):
        return [module]
    found = (found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."))
    return [module, *(name for name in found if not name.endswith(("_kernel", "_kernels")))]
