"""The compiled steps of the ground filter, where they can be used."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from tilery.workloads.pointcloud import class_layer

KERNELS = "tilery.workloads.pointcloud.ground_kernels"


def kernels_for(*columns: Any) -> Any:
    """The module ground_kernels for arrays of numpy that it can read as they are; None without numba, or where it is not loaded
    as it would not pay (class_layer.py decides)."""
    if not class_layer.compiled() or not all(
        isinstance(column, np.ndarray) and column.flags.c_contiguous for column in columns
    ):
        return None
    return importlib.import_module(KERNELS)
