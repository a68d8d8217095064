"""Cells that may be of a class, in connected regions each of which is or is not as a whole.

A region may go on in tiles far away, so what speaks for it is whole numbers that add up over its cells, and the span of a
value, which only grows. Where the span is too wide already, a tile knows that the region is refused, whatever lies beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.pointcloud import point_kernels
from tilery.workloads.pointcloud.array_module import module_of, to_host
from tilery.workloads.pointcloud.compiled import kernels_for
from tilery.workloads.pointcloud.grid import Window

HOUSE, WATER, WIDE = "house", "water", "wide roof"
CLASS = {HOUSE: 6, WATER: 9, WIDE: 6}
"""The ASPRS class of the regions of each kind."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Rasters on the host, rows x columns of one window."""

    kind: str
    """What the regions may be, of `CLASS`."""
    numbers: NDArray[np.int32]
    """Number of the region (connected by edge or corner) that a cell is in, 0 for none."""
    count: int
    """Regions: numbers go from 1 to this."""
    sums: dict[str, NDArray[Any]] = field(default_factory=dict)
    """What is added up over the cells of a region, beside their number."""
    places: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Cells that are counted by this name, and of which the places (`NAME_x`, `_y`, in cells from the origin of the coordinate
    system), their squares and their product (`_xx`, `_yy`, `_xy`) are added up."""
    corner: tuple[int, int] = (0, 0)
    """The place of the window's first cell."""
    value: NDArray[np.int64] | None = None
    """A value of each cell that must not vary too much in a region; its sums and squares are added up as well."""
    lowest: NDArray[np.int32] | None = None
    """The least value of each number's cells."""
    highest: NDArray[np.int32] | None = None
    widest: int = 0
    """The most by which values may vary."""
    refused: NDArray[np.bool_] | None = None
    """Per number, whether its region is refused for sure; all whose values vary too much are. 0, no region, is."""

    @classmethod
    def of(cls, kind: str, there: Any, value: Any = None, widest: int = 0) -> Candidates:
        """The regions of some cells (bool)."""
        numbers, count = connected(np.ascontiguousarray(to_host(there)))
        if value is None:
            return cls(kind, numbers, count)
        cells, values = np.flatnonzero(numbers), to_host(value)
        lowest, highest = np.full(count + 1, np.iinfo(np.int32).max), np.full(count + 1, np.iinfo(np.int32).min)
        of, there = numbers.ravel()[cells], values.ravel()[cells]
        np.minimum.at(lowest, of, there)
        np.maximum.at(highest, of, there)
        refused = highest.astype(np.int64) - lowest > widest
        refused[0] = True
        return cls(kind, numbers, count, value=values, lowest=lowest, highest=highest, widest=widest, refused=refused)

    def further(self, core: Window, ring: Window) -> NDArray[np.bool_]:
        """Per number whether its region may go on beyond the core, or is none; in the window `ring`, a cell more than that."""
        open_ = np.ones(ring.shape, bool)
        middle = core.grow(-1).overlap(ring)
        if middle.width and middle.height:
            open_[middle.inside(ring)] = False
        further = np.zeros(self.count + 1, bool)
        further[self.numbers[open_]] = True
        further[0] = True
        return further

    def refused_where(self, core: Window, ring: Window, is_one: Callable[[Mapping[str, int]], bool]) -> NDArray[np.bool_]:
        """Per number whether its region is refused already, or ends in the tile and is none by what was added up over it."""
        assert self.refused is not None
        refused, totals = self.refused.copy(), self.totals(core.overlap(ring).inside(ring))
        for number in np.flatnonzero(~refused & ~self.further(core, ring)).tolist():
            refused[number] = not is_one({name: values[number] for name, values in totals.items()})
        return refused

    def totals(self, part: tuple[slice, slice]) -> dict[str, list[int]]:
        """Of each number what is added up over its cells in a part of the window: `cells`; then, but 0 where a region is
        refused, the sums and, where there are values, `values` and `squares`."""
        numbers, size = self.numbers[part].ravel(), self.count + 1
        there = np.flatnonzero(numbers if self.refused is None else ~self.refused[numbers])
        own = numbers[there]

        def total(weights: Any) -> list[int]:
            return [int(one) for one in np.bincount(own, weights=weights, minlength=size).tolist()]

        found = {name: total(raster[part].ravel()[there]) for name, raster in self.sums.items()}
        for name, mask in self.places.items():
            found |= self.placed(name, mask, part)
        found["cells"] = np.bincount(numbers, minlength=size).tolist()
        if self.value is None or self.lowest is None:
            return found
        # From the least value on, what is squared stays small; whole numbers of Python do the rest.
        cells, above = total(None), self.value[part].ravel()[there] - self.lowest[own].astype(np.int64)
        rows = zip(total(above), total(above * above), cells, self.lowest.tolist(), strict=True)
        both = [(plain + n * least, square + 2 * least * plain + n * least * least) for plain, square, n, least in rows]
        return {**found, "values": [one[0] for one in both], "squares": [one[1] for one in both]}

    def placed(self, name: str, mask: NDArray[np.bool_], part: tuple[slice, slice]) -> dict[str, list[int]]:
        """Of each number, how many of some cells there are in a part of the window, and the sums of their places (`places`)."""
        rows, columns = np.nonzero(mask[part] & (self.numbers[part] > 0))
        own = self.numbers[part][rows, columns]
        x0, y0 = self.corner[0] + (part[1].start or 0), self.corner[1] + (part[0].start or 0)

        def total(weights: Any = None) -> list[int]:
            return [int(one) for one in np.bincount(own, weights=weights, minlength=self.count + 1).tolist()]

        # Places in the part are small, their sums exact; whole numbers of Python move them to where the part lies.
        sums = zip(*(total(one) for one in (None, columns, rows, columns**2, rows**2, columns * rows)), strict=True)
        moved = [
            (
                n,
                x + n * x0,
                y + n * y0,
                xx + 2 * x0 * x + n * x0 * x0,
                yy + 2 * y0 * y + n * y0 * y0,
                xy + x0 * y + y0 * x + n * x0 * y0,
            )
            for n, x, y, xx, yy, xy in sums
        ]
        return {f"{name}{of}": [row[at] for row in moved] for at, of in enumerate(("", "_x", "_y", "_xx", "_yy", "_xy"))}


def connected(there: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Numbers of the regions of cells connected by edge or corner, row by row from 1 on, 0 for none; and how many there are."""
    kernels = kernels_for(there, module=point_kernels)
    if kernels is not None:
        numbers = np.empty(there.shape, np.int32)
        return numbers, kernels.connect(there, np.zeros(there.size // 2 + 2, np.int32), numbers)
    from scipy import ndimage  # a fifth of a second, for small runs and products alone

    labelled, count = ndimage.label(there, np.ones((3, 3)))
    return labelled.astype(np.int32), count


def inside(core: Window, ring: Window) -> NDArray[np.bool_]:
    """Raster of `ring`: whether a cell is in the core, where things are added up."""
    cells = np.zeros(ring.shape, bool)
    cells[core.overlap(ring).inside(ring)] = True
    return cells


Step = tuple[int, int]
"""Rows and columns."""


def beside(chosen: NDArray[np.bool_], window: Window, ring: Window, far: int, like: Any) -> Iterator[tuple[Step, Any]]:
    """Each step of up to `far` cells along both axes, and the cells (flat indices of `window`, arrays as `like`) that lie so
    from the chosen ones of `ring`. Cells on the rim stand for those beyond it."""
    xp = module_of(like)
    rows, columns = (xp.asarray(values) for values in np.nonzero(chosen))
    row, column = rows + (ring.y0 - window.y0), columns + (ring.x0 - window.x0)
    for dy in range(-far, far + 1):
        for dx in range(-far, far + 1):
            y, x = xp.clip(row + dy, 0, window.height - 1), xp.clip(column + dx, 0, window.width - 1)
            yield (dy, dx), y * window.width + x


def spread(chosen: NDArray[np.bool_], values: Any) -> NDArray[np.int64]:
    """A raster of what the chosen cells have, 0 elsewhere."""
    raster = np.zeros(chosen.shape, np.int64)
    raster[chosen] = to_host(values)
    return raster
