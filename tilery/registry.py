"""Every workload of the system, by name. Importing this loads no numpy: a workload's heavy parts are imported by its verbs."""

from __future__ import annotations

import json
import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from tilery.options import Options
from tilery.outcomes import BadInput
from tilery.workload import Workload

WORKLOADS = {
    "pointcloud": "tilery.workloads.pointcloud.workload:PointCloud",
    "images": "tilery.workloads.images.workload:Images",
    "features": "tilery.workloads.features.workload:Features",
    "trend": "tilery.workloads.trend.workload:Trend",
    "cctv": "tilery.workloads.cctv.workload:Cctv",
}


EXTRA = "TILERY_WORKLOADS"
"""Environment variable: JSON {name: "module:Class"} of workloads to try without a line here."""


def known() -> dict[str, str]:
    """Name -> where the class is."""
    extra: dict[str, str] = json.loads(os.environ.get(EXTRA, "{}"))
    return {**WORKLOADS, **extra}


def names() -> list[str]:
    return list(known())


@cache
def load(name: str) -> Workload[Any]:
    """The workload of this name; `BadInput` lists those that exist."""
    if name not in known():
        raise BadInput(f"there is no workload {name!r}; choose one of: {', '.join(names())}")
    module, _, kind = known()[name].partition(":")
    workload: Workload[Any] = getattr(import_module(module), kind)()
    return workload


def missing(name: str) -> list[str]:
    """The modules that a workload needs and that are not installed here."""
    return [module for module in load(name).needs if find_spec(module) is None]


def installed() -> list[str]:
    """The workloads that can run on this machine."""
    return [name for name in names() if not missing(name)]


def suffixes(name: str) -> tuple[str, ...]:
    return load(name).suffixes


def options(name: str) -> type[Options]:
    return load(name).Options
