"""The compiled kernels: loaded where that pays, and used where there are arrays that they can read."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

import numpy as np

from tilery import machine_code
from tilery.workloads.pointcloud import forest_kernel, ground_kernels, laz_kernels, plane_kernels, point_kernels, water_kernels

log = logging.getLogger(__name__)
MODULES = (laz_kernels, ground_kernels, point_kernels, plane_kernels, water_kernels, forest_kernel)
LEAST_POINTS = 20_000
"""Fewer points than this do not pay for loading the kernels where they are kept (a thirtieth of a second)."""
LEAST_TO_KEEP = 2_000_000
"""Nor do fewer than this pay for compiling them (ten seconds) where they will be kept."""
LEAST_TO_COMPILE = 30_000_000
"""Nor do fewer than this where they are not, as in a Lambda function."""
CELL_POINTS = 5
"""A cell that the ground filter looks at costs as much without them as so many points."""


def prepare(points: int) -> None:
    """Load the kernels if so many points pay for it, and if there is numba. Called for small batches too: files come last.

    Where they cannot be had, numpy and lazrs do the same, slower, and the log says why."""
    if points < LEAST_POINTS or at_hand() or not machine_code.possible() or any(map(machine_code.refused, MODULES)):
        return
    if points >= _least():
        try:
            for module in MODULES:
                machine_code.load(module)
        except machine_code.Unusable as error:
            log.warning("points are worked on without compiled kernels, which takes longer: %s", error)


def _least() -> int:
    if all(machine_code.file_of(module).exists() for module in MODULES):
        return LEAST_POINTS
    return LEAST_TO_KEEP if machine_code.can_keep() else LEAST_TO_COMPILE


def at_hand() -> bool:
    """Whether they are loaded."""
    return all(machine_code.loaded(module) for module in MODULES)


def kernels_for(*columns: Any, module: ModuleType = ground_kernels) -> Any:
    """Those of a module, for arrays of numpy that they can read as they are; None for others, or where none is at hand."""
    if not at_hand() or not all(isinstance(column, np.ndarray) and column.flags.c_contiguous for column in columns):
        return None
    return module
