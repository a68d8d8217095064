"""Where a run's work is done. One table of thresholds; the reason for a choice is a sentence in run.json."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from tilery import names
from tilery.estimate import estimate
from tilery.outcomes import BadInput


@dataclass(frozen=True, slots=True)
class Limits:
    """What the lambda lane takes; above it a drop is sharded."""

    seconds: float = 300.0
    """A third of Lambda's 900 s, as rates vary by 2 between machines."""
    memory_mib: float = field(default_factory=lambda: 0.75 * _whole_mib())


def _whole_mib() -> float:
    """The memory of the function that does a whole drop: a deployment may have less than we would give it."""
    return float(os.environ.get("TILERY_WHOLE_MIB", names.FUNCTIONS["whole"].memory_mib))


@dataclass(frozen=True, slots=True)
class Choice:
    lane: str
    reason: str


def deployed() -> list[str]:
    """The lanes of this deployment, from the environment."""
    return os.environ.get("TILERY_LANES", "lambda,fargate").split(",")


def usable(lanes: list[str], gpu: bool) -> list[str]:
    """The lanes of a workload: those with a GPU only if it can compute on one."""
    return [lane for lane in lanes if gpu or lane not in names.BATCH_LANES or not names.BATCH_LANES[lane].gpus]


def first_batch_lane(lanes: list[str], device: str) -> str:
    """The lane of sharded work: a GPU where one is deployed and the run does not ask for the CPU."""
    batch = [lane for lane in lanes if lane in names.BATCH_LANES]
    gpu = [lane for lane in batch if names.BATCH_LANES[lane].gpus]
    cpu = [lane for lane in batch if not names.BATCH_LANES[lane].gpus]
    order = cpu + gpu if device == "cpu" else gpu + cpu
    if not order:
        raise BadInput("this deployment has no Batch lane; deploy one in infra/settings.py")
    return order[0]


def choose(
    workload: str, asked: str, device: str, work: float, memory_mib: float, lanes: list[str], pauses: bool = False
) -> Choice:
    """The lane of a run: the one asked for, else the cheapest that can do the drop. `pauses`: it is to wait between stages."""
    if pauses and asked == "lambda":
        raise BadInput("the lane 'lambda' does all stages in one go and cannot pause between them; leave out lane or pause")
    if asked != "auto":
        if asked not in lanes:
            raise BadInput(f"the lane {asked!r} is not deployed; choose one of: {', '.join(lanes)}, or auto")
        return Choice(asked, "asked for")
    limits = Limits()
    batch = first_batch_lane(lanes, device)
    if "lambda" not in lanes:
        return Choice(batch, "the lambda lane is not deployed")
    if pauses:
        return Choice(batch, "a pause between stages was asked for")
    if device == "gpu":
        return Choice(batch, "a GPU was asked for")
    seconds = estimate(workload, "lambda", work).seconds
    if seconds > limits.seconds:
        return Choice(batch, f"one worker would take about {seconds:.0f} s, more than {limits.seconds:.0f} s")
    if memory_mib > limits.memory_mib:
        return Choice(batch, f"one worker would need about {memory_mib:.0f} MiB, more than {limits.memory_mib:.0f} MiB")
    return Choice("lambda", f"one worker does it in about {seconds:.0f} s and {memory_mib:.0f} MiB")
