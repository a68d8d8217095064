"""A batch of points as coordinates in the common frame: whole millimetres, whatever the file's scale, offset and unit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.outcomes import BadInput
from tilery.workloads.pointcloud import point_kernels
from tilery.workloads.pointcloud.columns import Columns
from tilery.workloads.pointcloud.compiled import kernels_for
from tilery.workloads.pointcloud.grid import Conversion, to_millimetres
from tilery.workloads.pointcloud.las_header import LasFile

INT32 = np.iinfo(np.int32)


def millimetres(
    file: LasFile, points: Columns, unit_m: float, z_unit_m: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """x, y (int64) and z (int32) in millimetres of points. Raises `BadInput` for a height beyond 2,147 km."""
    x = to_millimetres(points.x, file.scales[0], file.offsets[0], unit_m)
    y = to_millimetres(points.y, file.scales[1], file.offsets[1], unit_m)
    z = to_millimetres(points.z, file.scales[2], file.offsets[2], z_unit_m)
    if len(z):
        _check_heights(file, int(z.min()), int(z.max()))
    return x, y, z.astype(np.int32)


def _check_heights(file: LasFile, least: int, most: int) -> None:
    if least <= INT32.min or most >= INT32.max:
        raise BadInput(f"{file.name} has heights beyond 2,147 km; its scale or offset in z is wrong")


def write_millimetres(
    file: LasFile, stored: tuple[NDArray[np.int32], ...], unit_m: float, z_unit_m: float, corner_mm: tuple[int, int], into: Any
) -> None:
    """The same of points as stored (x, y, z), `into` three columns (int32), x and y from a corner on. Raises `BadInput` for
    points more than 2,147 km from it, too."""
    for axis, (values, unit, start, column) in enumerate(
        zip(stored, (unit_m, unit_m, z_unit_m), (*corner_mm, 0), into, strict=True)
    ):
        to = Conversion.of(file.scales[axis], file.offsets[axis], unit)
        small = to.fits and abs(to.whole - start) < 2**62
        kernels = kernels_for(values, column, module=point_kernels) if small else None
        if kernels is not None:
            ends, how = np.empty(2, np.int64), np.array([to.factor, to.add, to.denominator, to.whole - start], np.int64)
            kernels.convert(values, how, column, ends)
            least, most = ends.tolist()
        else:
            places = to_millimetres(values, file.scales[axis], file.offsets[axis], unit) - start
            least, most = int(places.min()), int(places.max())
            column[:] = places
        if axis == 2:
            _check_heights(file, least, most)
        elif max(abs(least), abs(most)) >= 2**31:
            raise BadInput(f"{file.name} has points more than 2,147 km from others; a scale or an offset is wrong")
