"""What a run is expected to take: measured rates (rates.json, refitted by `make bench`) and a dated price table."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from tilery.run import Estimate

TABLE = Path(__file__).with_name("rates.json")
FREE_SCRATCH_GIB = 20
"""Of a Fargate task's disk."""


@cache
def table() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(TABLE.read_text())
    return loaded


def dollars_per_second(lane: str) -> float:
    """On-demand price of one busy worker of a lane; Lambda's is that of x86, for which the images are built."""
    prices, size = table()["prices"], table()["lanes"][lane]
    if lane == "lambda":
        return float(size["memory_gib"] * prices["lambda_gib_s"])
    if lane.startswith("fargate"):
        scratch = max(0, size["scratch_gib"] - FREE_SCRATCH_GIB) * prices["fargate_scratch_gib_h"]
        busy = size["vcpus"] * prices["fargate_vcpu_h"] + size["memory_gib"] * prices["fargate_gib_h"]
        return float((busy + scratch) / 3600)
    return float(prices["gpu_large_h" if lane == "gpu-large" else "gpu_h"] / 3600)


def estimate(workload: str, lane: str, work: float) -> Estimate:
    """Seconds of one worker on the machine that `make bench` measured, and what those seconds cost on AWS.

    seconds = fixed + work / rate: of the whole drop in one worker, or of the sharded stages on this machine's cores.
    """
    rates = table()["rates"].get(workload, table()["rates"]["unmeasured"])
    rate = rates["lambda" if lane == "lambda" else "sharded"]
    seconds = rate["fixed_s"] + work / rate["units_per_s"]
    return Estimate(seconds=round(seconds, 2), dollars=round(seconds * dollars_per_second(lane), 6))
