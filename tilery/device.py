"""Which device a worker computes on, and why: a silent fall-back would be a defect."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from tilery.outcomes import BadInput


@dataclass(frozen=True, slots=True)
class Device:
    kind: str
    """`cpu` or `gpu`."""
    reason: str


@cache
def gpu_problem() -> str:
    """Why no GPU can be used here; empty if one can."""
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CUDA says: {error}"
    return "" if count else "CUDA sees no device"


def choose(asked: str) -> Device:
    """The device for `auto`, `cpu` or `gpu`; `BadInput` if a GPU is asked for where there is none."""
    if asked == "cpu":
        return Device("cpu", "asked for")
    problem = gpu_problem()
    if not problem:
        return Device("gpu", "asked for" if asked == "gpu" else "a GPU is there")
    if asked == "gpu":
        raise BadInput(f"device=gpu, but there is no usable GPU here: {problem}; set device=auto or use a gpu lane")
    return Device("cpu", problem)
