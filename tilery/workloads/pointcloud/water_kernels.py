"""Compiled passes over the cells of what may be water: bit for bit what water.py makes of arrays, with fewer of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilery.machine_code import LONG, NOTHING, Array, kernel
from tilery.workloads.pointcloud.ground_kernels import GRID, TABLE, VOID

READ_MASK, READ_64 = Array("bool", 2, readonly=True), Array("int64", readonly=True)


@kernel(NOTHING, GRID, READ_MASK, READ_64, TABLE, TABLE, TABLE)
def levels(terrain: Any, known: Any, limits: Any, column_sums: Any, found: Any, kept: Any) -> None:
    """As `water._levels`, into `kept`; what slopes is in `found` as well.

    limits: lowest, radius, known cells at least, variance at most (mm2), high, cells between two levels, and by how much these
    may differ, or must, to be two (mm). `column_sums` (three rows) are 0.
    """
    lowest, radius, least, rough, high = limits[0], limits[1], limits[2], limits[3], limits[4]
    apart, rise, bank = limits[5], limits[6], limits[7]
    rows, columns = terrain.shape
    for row in range(-radius, rows):
        for side in range(2):
            other = row + radius if side == 0 else row - radius - 1
            if other < 0 or other >= rows:
                continue
            sign = 1 if side == 0 else -1
            for column in range(columns):
                if known[other, column]:
                    height = np.int64(terrain[other, column]) - lowest
                    column_sums[0, column] += sign
                    column_sums[1, column] += sign * height
                    column_sums[2, column] += sign * height * height
        if row < 0:
            continue
        n, total, square = np.int64(0), np.int64(0), np.int64(0)
        for column in range(-radius, columns):
            if column + radius < columns:
                n += column_sums[0, column + radius]
                total += column_sums[1, column + radius]
                square += column_sums[2, column + radius]
            if column - radius > 0:
                n -= column_sums[0, column - radius - 1]
                total -= column_sums[1, column - radius - 1]
                square -= column_sums[2, column - radius - 1]
            if column >= 0:
                level = known[row, column] and n >= least and n * square - total * total <= rough * n * n
                found[row, column] = total // n if level else high
    for row in range(rows):
        for column in range(columns):
            level = found[row, column]
            kept[row, column] = level
            if level == high:
                continue
            for side in range(4):
                step = apart if side & 1 else -apart
                y, x = (row + step, column) if side & 2 else (row, column + step)
                if 0 <= y < rows and 0 <= x < columns and found[y, x] != high:
                    off = abs(found[y, x] - level)
                    if rise < off < bank:
                        kept[row, column] = high


@kernel(NOTHING, GRID, TABLE, LONG, LONG, LONG, TABLE)
def carried(terrain: Any, level: Any, lowest: int, near: int, high: int, found: Any) -> None:
    """Into `found` the level around each cell whose terrain is at it but for `near`, the opposite of `high` for others."""
    rows, columns = terrain.shape
    for row in range(rows):
        for column in range(columns):
            height, at = np.int64(terrain[row, column]), level[row, column]
            there = at < high and height != VOID and abs(height - lowest - at) <= near
            found[row, column] = at if there else -high


@kernel(NOTHING, READ_MASK, TABLE, GRID, TABLE, READ_64, TABLE, TABLE, TABLE, TABLE)
def banks(
    edges: Any, level: Any, terrain: Any, count: Any, limits: Any, bank: Any, drop: Any, dry: Any, dry_points: Any
) -> None:
    """Of each of the `edges` whether land rises, or falls away, within some cells of it, how many cells rise, and the points in
    them, into the last four. limits: rows and columns that `terrain` and `count` begin before the rest, cells, mm."""
    above, before, far, rise = limits[0], limits[1], limits[2], limits[3]
    rows, columns = edges.shape
    high, wide = terrain.shape
    for row in range(rows):
        for column in range(columns):
            if not edges[row, column]:
                continue
            for y in range(row + above - far, row + above + far + 1):
                for x in range(column + before - far, column + before + far + 1):
                    here_y, here_x = min(max(y, 0), high - 1), min(max(x, 0), wide - 1)
                    height = np.int64(terrain[here_y, here_x])
                    if height == VOID:
                        continue
                    off = height - level[row, column]
                    if off >= rise:
                        bank[row, column] = 1
                        dry[row, column] += 1
                        dry_points[row, column] += count[here_y, here_x]
                    elif off <= -rise:
                        drop[row, column] = 1
