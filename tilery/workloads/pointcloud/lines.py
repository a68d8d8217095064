"""Wires: cells with a few points high up and nothing below them, in a line."""

from __future__ import annotations

from typing import Any

from tilery.workloads.pointcloud.array_module import module_of
from tilery.workloads.pointcloud.features import around
from tilery.workloads.pointcloud.grid import Window

SPAN, ROOM, LINK = 3, 2, 2
"""Cells: how far a line is looked at, how far it must be clear of other things, and how far off the next cell of it may be."""
REACH = SPAN + LINK
LEAST, LINKED, CROWD = 5, 3, 2
"""Cells in the span, linked cells, and cells of other things near it at most."""
ELONGATED = 14
"""Least ratio of the square of the trace to the determinant of the cells' covariance; 4 is a disk."""
LONG = 2
"""Least variance (cells squared) of the cells of a line."""
THICK_MM = 2_500
"""Several wires hang above one another; more than this is no wire."""


def wire_cells(cell: Any, height: Any, passed: Any, window: Window, least_mm: int, told: bool) -> Any:
    """Cells (bool) of wires, from the points above ground: cell, height above ground (mm), and whether light went on."""
    xp, size = module_of(height), window.width * window.height
    low = xp.full(size, 1 << 30, dtype=xp.int32)
    xp.minimum.at(low, cell, height.astype(xp.int32))
    top = xp.full(size, -(1 << 30), dtype=xp.int32)
    xp.maximum.at(top, cell, height.astype(xp.int32))
    thin = (low >= least_mm) & (low < 1 << 30) & (top - low <= THICK_MM)
    if told:
        thin &= 2 * xp.bincount(cell[passed], minlength=size) >= xp.bincount(cell, minlength=size)
    thin = thin.reshape(window.shape)
    if not bool(thin.any()):
        return thin
    thick = (top >= least_mm).reshape(window.shape) & ~thin
    lines = thin & _elongated(thin) & (around(thick, ROOM) <= CROWD)
    return lines & (around(lines, LINK) >= LINKED)


def _elongated(cells: Any) -> Any:
    """Cells (bool) around which the given ones lie in a line."""
    xp = module_of(cells)
    rows, columns = (values.astype(xp.int64) for values in xp.indices(cells.shape))
    there = cells.astype(xp.int64)
    n, x, y = around(there, SPAN), around(there * columns, SPAN), around(there * rows, SPAN)
    xx = n * around(there * columns * columns, SPAN) - x * x
    yy = n * around(there * rows * rows, SPAN) - y * y
    xy = n * around(there * columns * rows, SPAN) - x * y
    trace = xx + yy
    return (n >= LEAST) & (trace >= LONG * n * n) & ((xx * yy - xy * xy) * ELONGATED <= trace * trace)
