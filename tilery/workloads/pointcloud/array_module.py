"""Which array library does the work: numpy on the CPU, CuPy on a GPU.

Where a label depends on the value, only element-wise integer arithmetic, comparisons, shifts, integer sums, and float64
operations that are correctly rounded one by one (+, -, *, /, square root) are used, so both libraries give the same labels bit
for bit.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from tilery.outcomes import BadInput


def array_module(device: str = "cpu") -> Any:
    """The module that makes arrays on a device, `cpu` or `gpu`. Raises `BadInput` where there is no usable GPU."""
    if device == "cpu":
        return np
    try:
        cupy = importlib.import_module("cupy")
        cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        raise BadInput(f"device {device!r} was asked for, but CuPy finds no GPU here ({error}): use device=cpu") from error
    return cupy


def module_of(array: Any) -> Any:
    """The module an array belongs to."""
    return np if isinstance(array, np.ndarray) else importlib.import_module("cupy")


def to_host(array: Any) -> np.ndarray[Any, Any]:
    """A numpy array with the same values."""
    return array if isinstance(array, np.ndarray) else np.asarray(array.get())
