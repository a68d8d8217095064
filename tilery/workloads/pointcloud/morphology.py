"""Grey openings by discrete disks on int32 heights, exact and with a fixed footprint.

A disk is a stack of rows of different length. Minima over rows of half width w follow from those of w - 1 by one comparison,
so all disks of radius 1 to R share them; no cell depends on anything further than the footprint.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.pointcloud.array_module import module_of
from tilery.workloads.pointcloud.compiled import kernels_for
from tilery.workloads.pointcloud.grid import VOID

LOWEST = -int(VOID) - 1
FLOAT_RANGE = 1 << 24
"""Whole numbers up to this are exact in float32, which every processor compares several at once."""


def half_widths(radius: int) -> list[int]:
    """Half widths of the disk's rows at distance 0, 1, ... `radius` from its centre.

    >>> half_widths(3)
    [3, 2, 2, 0]
    """
    return [math.isqrt(radius * radius - dy * dy) for dy in range(radius + 1)]


def openings(surface: Any, radii: range) -> Iterator[Any]:
    """For each radius (1 or more) the opening of `surface` (int32 mm, `VOID` cells are no part of it) by a disk, in order.

    The opened surface is the highest that disks lying wholly below the surface reach, with their centres on known cells. An
    opened cell depends on cells within twice the radius.
    """
    xp = module_of(surface)
    if not radii:
        return
    void = surface == VOID
    kernels = kernels_for(surface)
    if kernels is not None and surface.size and not void.all():
        base = int(surface.min())
        if int(surface.max(initial=base, where=~void)) - base <= FLOAT_RANGE:
            yield from _compiled_openings(kernels, surface, void, base, radii)
            return
    rows = _row_minima(surface, max(radii))
    for radius in radii:
        eroded = rows[radius].copy()
        for dy, width in enumerate(half_widths(radius)):
            if dy:
                _extend(xp.minimum, eroded, rows[width], dy)
        eroded[void] = LOWEST
        opened = _dilate(eroded, radius)
        opened[void] = VOID
        yield opened


def in_pairs(surface: Any, column: int, row: int) -> Any:
    """Lowest heights (int32 mm) of squares of 2 x 2 cells, counted from the origin of the grid, of which `surface` starts at
    `column` and `row`."""
    east, north = (-(start + size) % 2 for start, size in zip((column, row), surface.shape[::-1], strict=True))
    whole = module_of(surface).pad(surface, ((row % 2, north), (column % 2, east)), constant_values=VOID)
    rows = module_of(surface).minimum(whole[::2], whole[1::2])
    return module_of(surface).minimum(rows[:, ::2], rows[:, 1::2])


def from_pairs(pairs: Any, column: int, row: int, shape: tuple[int, int]) -> Any:
    """What `in_pairs` took together, each cell with the value of its square."""
    wide = pairs.repeat(2, axis=0).repeat(2, axis=1)
    return wide[row % 2 : row % 2 + shape[0], column % 2 : column % 2 + shape[1]]


def _compiled_openings(
    kernels: Any, surface: NDArray[np.int32], void: NDArray[np.bool_], base: int, radii: range
) -> Iterator[NDArray[np.int32]]:
    edge = max(radii)
    padded = np.pad(
        np.where(void, np.float32(np.inf), (surface - np.int32(base)).astype(np.float32)), edge, constant_values=np.inf
    )
    eroded = np.full(padded.shape, -np.inf, dtype=np.float32)
    rows = np.empty(padded.shape[1], np.float32), np.empty(surface.shape[1], np.float32)
    for radius in radii:
        opened = np.empty(surface.shape, dtype=np.int32)
        # A disk is the same seen from the side: its columns are as high as its rows are wide.
        kernels.opened(padded, edge, np.array(half_widths(radius), np.int32), surface, base, eroded, *rows, opened)
        yield opened


def _extend(best: Any, into: Any, rows: Any, dy: int) -> None:
    best(into[dy:], rows[:-dy], out=into[dy:])
    best(into[:-dy], rows[dy:], out=into[:-dy])


def _row_minima(surface: Any, radius: int) -> list[Any]:
    """Minima over x - w .. x + w, for w = 0 .. radius."""
    rows = [surface]
    for width in range(1, radius + 1):
        rows.append(_widen(module_of(surface).minimum, rows[-1], width))
    return rows


def _widen(best: Any, row: Any, width: int) -> Any:
    """The best over x - width .. x + width from that over one less: shifted by one both ways, the two overlap or (at width
    1) leave out only x itself."""
    wider = row.copy()
    best(wider[:, 1:], row[:, :-1], out=wider[:, 1:])
    best(wider[:, :-1], row[:, 1:], out=wider[:, :-1])
    return wider


def _dilate(eroded: Any, radius: int) -> Any:
    xp = module_of(eroded)
    widths = half_widths(radius)
    row = eroded
    dilated = eroded.copy()
    for width in range(radius + 1):
        if width:
            row = _widen(xp.maximum, row, width)
        for dy, wanted in enumerate(widths):
            if wanted == width:
                if dy:
                    _extend(xp.maximum, dilated, row, dy)
                else:
                    xp.maximum(dilated, row, out=dilated)
    return dilated
