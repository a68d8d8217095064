"""Single instructions of processors that kernels need and Python, or numba, has no word for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tilery.machine_code import built


def _root(builder: Any, value: Any) -> Any:
    return builder.call(builder.module.declare_intrinsic("llvm.sqrt", [value.type]), [value])


@built(_root, "float64", "float64")
def root(value: Any) -> Any:
    """The square root, rounded once; numba calls the C library for it, which vector loops cannot."""
    return math.sqrt(value) if value >= 0 else math.nan


def _as_bits(builder: Any, value: Any) -> Any:
    from llvmlite import ir  # type: ignore[import-untyped]

    return builder.bitcast(value, ir.IntType(64))


@built(_as_bits, "int64", "float64")
def bits_of(value: Any) -> Any:
    """The bits of a float."""
    return np.float64(value).view(np.int64)


def _as_float(builder: Any, value: Any) -> Any:
    from llvmlite import ir

    return builder.bitcast(value, ir.DoubleType())


@built(_as_float, "float64", "int64")
def float_of(bits: Any) -> Any:
    """The float of these bits."""
    return np.int64(bits).view(np.float64)
