"""Which device a worker computes on, and why: a silent fall-back would be a defect."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from tilery.outcomes import BadInput

GpuLibrary = Literal["", "cupy", "onnxruntime"]


@dataclass(frozen=True, slots=True)
class Device:
    kind: str
    """`cpu` or `gpu`."""
    reason: str


@cache
def gpu_problem(library: GpuLibrary) -> str:
    """Why a library can use no GPU here; empty if it can."""
    match library:
        case "cupy":
            return _cupy_problem()
        case "onnxruntime":
            return _onnxruntime_problem()
        case _:
            return "nothing of this workload computes on a GPU"


def choose(asked: str, library: GpuLibrary) -> Device:
    """The device for `auto`, `cpu` or `gpu`; `BadInput` if a GPU is asked for where there is none."""
    if asked == "cpu":
        return Device("cpu", "asked for")
    problem = gpu_problem(library)
    if not problem:
        return Device("gpu", "asked for" if asked == "gpu" else "a GPU is there")
    if asked == "gpu":
        raise BadInput(f"device=gpu, but there is no usable GPU here: {problem}; set device=auto or use a gpu lane")
    return Device("cpu", problem)


def _cupy_problem() -> str:
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CUDA says: {error}"
    return "" if count else "CUDA sees no device"


def _onnxruntime_problem() -> str:
    try:
        import onnxruntime
    except ImportError:
        return "onnxruntime is not installed"
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return "this onnxruntime computes on CPUs alone (onnxruntime-gpu is not installed)"
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # finds the CUDA libraries that came as wheels
    return "" if onnxruntime.get_device() == "GPU" else "onnxruntime sees no GPU"
