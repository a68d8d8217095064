"""What differs between deployments. Constructs take plain values from here; nothing is looked up in an account."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tilery import keys, names, registry

Network = Literal["public", "endpoints", "nat"]


RETENTIONS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
"""Days that CloudWatch Logs can keep (PutRetentionPolicy)."""
RUN_DAYS = 10
"""`TimeoutSeconds` of statemachines/pipeline.asl.json."""


class UnknownSetting(SystemExit):
    """A deployment or field that does not exist, or a value that cannot be; the sentence says what to write instead."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One deployment. Override single fields with `-c settings='{"gpu": true}'`."""

    name: str
    workloads: tuple[str, ...] = ("pointcloud",)
    tenants: tuple[str, ...] = ("demo",)
    """Tenants with an equal fair share of every queue; others may drop too and get the default share."""
    network: Network = "public"
    """public: workers get a public address and no inbound rule (no standing cost); endpoints: no way out, about 58 dollars a
    month (102 with GPU lanes); nat: private subnets behind one gateway, about 37 dollars a month and traffic."""
    gpu: bool = False
    gpu_large: bool = False
    fargate_max_vcpus: int = 64
    gpu_spot_max_vcpus: int = 64
    gpu_ondemand_max_vcpus: int = 16
    map_concurrency: int = 40
    """Items of one map at once; the new-account limit of concurrent Lambda executions may be as low as 10."""
    lambda_mib: int = 10240
    """The most memory of a function (MiB); AWS may hold a new account to 3,008. Smaller drops then go to Batch."""
    tolerated_failure_percentage: int = 50
    """The circuit breaker of a map, not the tolerance of a run (that is the option `tolerate`)."""
    log_retention_days: int = 30
    work_expires_days: int = 14
    """Intermediate files; also how long Step Functions can redrive a run."""
    keep_data: bool = False
    """Whether buckets and key survive `cdk destroy`."""
    monthly_budget_usd: float = 50.0
    notify_email: str = ""
    images: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """`WORKLOAD-cpu` or `WORKLOAD-cuda` -> the ECR image to use (REPOSITORY_URI:TAG) instead of building one with Docker."""

    @property
    def lanes(self) -> tuple[str, ...]:
        """The deployed lanes, smallest first."""
        gpu = ("gpu",) * self.gpu + ("gpu-large",) * self.gpu_large
        return ("lambda", "fargate", "fargate-large", *gpu)

    @property
    def batch_lanes(self) -> tuple[names.BatchLane, ...]:
        return tuple(names.BATCH_LANES[lane] for lane in self.lanes if lane in names.BATCH_LANES)

    def lanes_of(self, workload: str) -> tuple[names.BatchLane, ...]:
        """The Batch lanes of a workload: those with a GPU only if it can compute on one."""
        return tuple(lane for lane in self.batch_lanes if registry.load(workload).gpu or not lane.gpus)

    @property
    def prefix(self) -> str:
        """What every physical name starts with."""
        return f"{names.APP}-{self.name}"


DEPLOYMENTS = {
    settings.name: settings
    for settings in (
        Settings("dev"),
        Settings(
            "prod",
            network="endpoints",
            fargate_max_vcpus=512,
            map_concurrency=500,
            log_retention_days=90,
            keep_data=True,
            monthly_budget_usd=1000.0,
        ),
    )
}


def load(name: str, overrides: str | Mapping[str, Any] = "") -> Settings:
    """The settings of a deployment, with fields replaced by `overrides` (a mapping or its JSON). `UnknownSetting` explains."""
    if name not in DEPLOYMENTS:
        raise UnknownSetting(f"there is no deployment {name!r}; choose one of: {', '.join(DEPLOYMENTS)} (-c env=NAME)")
    return check(dataclasses.replace(DEPLOYMENTS[name], **_fields(overrides)))


def _fields(overrides: str | Mapping[str, Any]) -> dict[str, Any]:
    given = _parse(overrides) if isinstance(overrides, str) else dict(overrides)
    kinds = {field.name: field for field in dataclasses.fields(Settings) if field.name != "name"}
    for field, value in given.items():
        if field not in kinds:
            near = difflib.get_close_matches(field, kinds, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the settings are {', '.join(sorted(kinds))}"
            raise UnknownSetting(f"there is no setting {field!r}: {hint}")
        given[field] = tuple(value) if isinstance(value, list) else value
        default = getattr(DEPLOYMENTS["dev"], field)
        expected = (int, float) if isinstance(default, float) else Mapping if isinstance(default, Mapping) else type(default)
        if not isinstance(given[field], expected) or isinstance(given[field], bool) is not isinstance(default, bool):
            raise UnknownSetting(f"the setting {field!r} takes a value like {json.dumps(default)}, got {json.dumps(value)}")
    return given


def _parse(text: str) -> dict[str, Any]:
    try:
        given = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise UnknownSetting(f"-c settings={text!r} is not JSON ({error}); write -c settings='{{\"gpu\": true}}'") from None
    if not isinstance(given, dict):
        raise UnknownSetting(f"-c settings={text!r} is not a JSON object; write -c settings='{{\"gpu\": true}}'")
    return given


def check(settings: Settings) -> Settings:
    """The settings themselves, or `UnknownSetting` naming the value that cannot be."""
    for workload in settings.workloads:
        if workload not in registry.names():
            raise UnknownSetting(f"there is no workload {workload!r}; choose from: {', '.join(registry.names())}")
    for tenant in settings.tenants:
        if not keys.TENANT.fullmatch(tenant):
            raise UnknownSetting(f"the tenant {tenant!r} must be 1 to 32 letters a-z or digits")
    if not settings.workloads or not settings.tenants:
        raise UnknownSetting("a deployment needs at least one workload and one tenant")
    if settings.network not in get_args(Network):
        raise UnknownSetting(f"network {settings.network!r} must be one of: {', '.join(get_args(Network))}")
    known = {f"{workload}-{image}" for workload in settings.workloads for image in ("cpu", "cuda")}
    for image in settings.images:
        if image not in known:
            raise UnknownSetting(f"images: there is no image {image!r}; choose from: {', '.join(sorted(known))}")
    if settings.gpu_large and not settings.gpu:
        raise UnknownSetting("gpu_large takes over from gpu when memory runs out; set gpu too")
    if not 0 <= settings.tolerated_failure_percentage <= 100:
        raise UnknownSetting("tolerated_failure_percentage must be between 0 and 100")
    if not 1 <= settings.map_concurrency <= 10_000:
        raise UnknownSetting("map_concurrency must be between 1 and 10000 (0 would be no limit)")
    if not 3008 <= settings.lambda_mib <= 10_240:
        raise UnknownSetting("lambda_mib must be between 3008 and 10240")
    if settings.log_retention_days not in RETENTIONS:
        raise UnknownSetting(f"log_retention_days must be one of: {', '.join(map(str, RETENTIONS))}")
    if settings.work_expires_days < RUN_DAYS + 1:
        raise UnknownSetting(f"work_expires_days must be at least {RUN_DAYS + 1}: a run may take {RUN_DAYS} days")
    return settings
