"""What became of the regions of a tile (regions.py), as plain numbers, and the labels of points after that.

A point whose label depends on a region has the region's number, the label that it has if nothing is said of that number, and
another one. A positive number says: the region is refused, its points get their other label. A negative one says: its points
are of a class that neither label tells; where both are said, this holds.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray


def of_class(number: int, kind: int) -> int:
    """What says that the points of the region with this number are of a class (0 to 255).

    >>> of_class(3, 17)
    -785
    """
    return -(number << 8 | kind)


def recast(said: Collection[int]) -> dict[int, int]:
    """Number -> class, of those whose points are of a class of its own."""
    return {-one >> 8: -one & 255 for one in said if one < 0}


def final(labels: NDArray[Any], otherwise: NDArray[Any], numbers: NDArray[Any], said: Collection[int]) -> NDArray[Any]:
    """The labels of points once it is known what became of their regions."""
    at = np.flatnonzero(numbers) if said else np.zeros(0, np.int64)
    if not len(at):
        return labels
    result, own, part = labels.copy(), numbers[at], labels[at]
    part = np.where(np.isin(own, [one for one in said if one > 0]), otherwise[at], part)
    if classes := recast(said):
        known = np.array(sorted(classes), np.int64)
        of = np.array([classes[number] for number in known.tolist()], labels.dtype)
        place = np.minimum(np.searchsorted(known, own), len(known) - 1)
        part = np.where(known[place] == own, of[place], part)
    result[at] = part
    return result
