"""A batch of points as coordinates in the common frame: whole millimetres, whatever the file's scale, offset and unit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tilery.outcomes import BadInput
from tilery.workloads.pointcloud.columns import Columns
from tilery.workloads.pointcloud.grid import to_millimetres
from tilery.workloads.pointcloud.las_header import LasFile

INT32 = np.iinfo(np.int32)


def millimetres(
    file: LasFile, points: Columns, unit_m: float, z_unit_m: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """x, y (int64) and z (int32) in millimetres of points. Raises `BadInput` for a height beyond 2,147 km."""
    x = to_millimetres(points.x, file.scales[0], file.offsets[0], unit_m)
    y = to_millimetres(points.y, file.scales[1], file.offsets[1], unit_m)
    z = to_millimetres(points.z, file.scales[2], file.offsets[2], z_unit_m)
    if len(z) and (z.min() <= INT32.min or z.max() >= INT32.max):
        raise BadInput(f"{file.name} has heights beyond 2,147 km; its scale or offset in z is wrong")
    return x, y, z.astype(np.int32)
