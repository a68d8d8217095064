"""Compiled passes over points and cells: the best plane of each cell, bit for bit as features.py tells it from arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilery.machine_code import LONG, NOTHING, Array, kernel
from tilery.workloads.pointcloud.ground_kernels import FLAT, PLACES, TABLE, quotient

READ_64, READ_FLAGS = Array("int64", readonly=True), Array("bool", readonly=True)
MOMENTS = 10
"""Sums of a cell: n, x, y, z, xx, xy, yy, xz, yz, zz."""
NOWHERE, SCALE = -(1 << 31), 1024
"""As in features.py, which loads this file and is not loaded by it."""


@kernel(LONG, READ_64, READ_64, READ_64, READ_FLAGS, READ_64, FLAT, PLACES, FLAT)
def tops(x: Any, y: Any, z: Any, chosen: Any, layout: Any, highest: Any, count: Any, place: Any) -> int:
    """The highest of the chosen points of each cell, how many there are, and a place for each cell that has any; returns how
    many have. `layout`: west and south of the first cell, its side (mm), cells in a row. `count` is 0."""
    inverse = 1.0 / layout[2]
    for cell in range(len(highest)):
        highest[cell] = NOWHERE
    for point in range(len(x)):
        if not chosen[point]:
            continue
        column = quotient(x[point] - layout[0], layout[2], inverse)
        cell = quotient(y[point] - layout[1], layout[2], inverse) * layout[3] + column
        count[cell] += 1
        if z[point] > highest[cell]:
            highest[cell] = z[point]
    places = np.int64(0)
    for cell in range(len(highest)):
        place[cell] = places if count[cell] else -1
        places += count[cell] > 0
    return int(places)


@kernel(NOTHING, READ_64, READ_64, READ_64, READ_FLAGS, READ_64, READ_64, FLAT, FLAT, TABLE)
def moments(x: Any, y: Any, z: Any, chosen: Any, layout: Any, depths: Any, highest: Any, place: Any, sums: Any) -> None:
    """The moments of each cell (a row of `sums`) over those of its points that lie near its top. `depths` (mm): how far they
    may lie below it, and the most that is counted."""
    inverse, half = 1.0 / layout[2], layout[2] // 2
    for row in range(len(sums)):
        for number in range(MOMENTS):
            sums[row, number] = 0
    for point in range(len(x)):
        if not chosen[point]:
            continue
        from_west, from_south = x[point] - layout[0], y[point] - layout[1]
        column, row = quotient(from_west, layout[2], inverse), quotient(from_south, layout[2], inverse)
        cell = row * layout[3] + column
        depth = z[point] - highest[cell]
        if depth < -depths[0]:
            continue
        east, north, down = from_west - column * layout[2] - half, from_south - row * layout[2] - half, max(depth, -depths[1])
        mine = sums[place[cell]]
        mine[0] += 1
        mine[1] += east
        mine[2] += north
        mine[3] += down
        mine[4] += east * east
        mine[5] += east * north
        mine[6] += north * north
        mine[7] += east * down
        mine[8] += north * down
        mine[9] += down * down


@kernel(NOTHING, FLAT, FLAT, TABLE, READ_64, PLACES, PLACES, PLACES, PLACES)
def best(highest: Any, place: Any, sums: Any, limits: Any, variance: Any, slope_x: Any, slope_y: Any, height: Any) -> None:
    """The best plane of each cell: of the four squares of two by two cells that it lies in, row by row. As `features._best`,
    into the last four, which say of each cell that there is none.

    `limits`: cells in a row, side of a cell (mm), points that a square needs, the deepest that is counted (mm), the variance
    where there is no plane.
    """
    width, cell_mm, least, deepest, no_plane = limits[0], limits[1], limits[2], limits[3], limits[4]
    half, smallest = cell_mm // 2, (cell_mm * cell_mm // 50) ** 2
    for first in range(len(highest) - width):
        if first % width == width - 1:
            continue
        n: Any = np.int64(0)
        reference: Any = np.int64(NOWHERE)
        for corner in range(4):
            cell = first + (corner >> 1) * width + (corner & 1)
            if place[cell] >= 0:
                n += sums[place[cell], 0]
                reference = max(reference, np.int64(highest[cell]))
        if n < least or n == 0:
            continue
        x: Any = 0
        y, z, xx, xy, yy, xz, yz, zz = x, x, x, x, x, x, x, x
        for corner in range(4):
            cell = first + (corner >> 1) * width + (corner & 1)
            if place[cell] < 0:
                continue
            one = sums[place[cell]]
            east, north = (2 * (corner & 1) - 1) * half, (2 * (corner >> 1) - 1) * half
            up = max(np.int64(highest[cell]) - reference, -deepest)
            x += one[1] + east * one[0]
            y += one[2] + north * one[0]
            z += one[3] + up * one[0]
            xx += one[4] + 2 * east * one[1] + east * east * one[0]
            xy += one[5] + east * one[2] + north * one[1] + east * north * one[0]
            yy += one[6] + 2 * north * one[2] + north * north * one[0]
            xz += one[7] + east * one[3] + up * one[1] + east * up * one[0]
            yz += one[8] + north * one[3] + up * one[2] + north * up * one[0]
            zz += one[9] + 2 * up * one[3] + up * up * one[0]
        mean_x, mean_y, mean_z = x // n, y // n, z // n
        xx = (xx - mean_x * (2 * x - mean_x * n)) // n
        yy = (yy - mean_y * (2 * y - mean_y * n)) // n
        zz = (zz - mean_z * (2 * z - mean_z * n)) // n
        xy = (xy - mean_x * y - mean_y * x + n * mean_x * mean_y) // n
        xz = (xz - mean_x * z - mean_z * x + n * mean_x * mean_z) // n
        yz = (yz - mean_y * z - mean_z * y + n * mean_y * mean_z) // n
        spread = xx * yy - xy * xy
        if spread <= smallest:
            continue
        rise_x, rise_y = (xz * yy - yz * xy) * SCALE // spread, (yz * xx - xz * xy) * SCALE // spread
        left = max(zz - ((rise_x * xz + rise_y * yz) >> 10), 0)
        if left >= no_plane:
            continue
        for corner in range(4):
            cell = first + (corner >> 1) * width + (corner & 1)
            # Of equals the square counts in which the cell is the first corner, which comes last.
            if place[cell] < 0 or left > variance[cell]:
                continue
            east, north = (2 * (corner & 1) - 1) * half, (2 * (corner >> 1) - 1) * half
            rise = rise_x * (east - mean_x) + rise_y * (north - mean_y)
            variance[cell], slope_x[cell], slope_y[cell] = left, rise_x, rise_y
            height[cell] = reference + mean_z + (rise >> 10)
