"""Gaussian blur of small pictures in numpy: integers only, so the same bytes on every machine.

To set a convolution up costs libvips more than 100 x 150 pixels take here, where they stay in the processor's cache; and its
integer masks are coarser (a peak of 20, cut off at 2.1 standard deviations).
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

PIXELS = 2**16
"""Up to so many a picture is blurred here; larger ones are faster with libvips."""
DEVIATION = 5.0
"""Pixels: as wide as bells are here, for the same reason, and for the weights' sake: those of wider ones are small numbers."""
REACH = 3.0
"""Standard deviations at which the bell is cut off, at most: weights below 1/512 are nothing."""


def blurred(values: NDArray[np.uint8], deviation: float) -> NDArray[np.uint8]:
    """(height, width, bands) blurred by a bell of this standard deviation (pixels); beyond the edges they go on as they end.

    Between the two passes values are rounded to 8 bits, which costs 1 dB of what rounding the exact result leaves (tested).
    """
    weights = bell(deviation)
    margin = len(weights) - 1
    framed = np.pad(values, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    height, width, bands = framed.shape
    # In one long row a neighbour is a fixed number of steps away; what wraps from row to row stays in the frame.
    row = framed.reshape(-1)
    for step in (bands, width * bands):
        row = _weighted(row, step, weights)
    return row.reshape(height, width, bands)[margin : height - margin, margin : width - margin]


@cache
def bell(deviation: float) -> tuple[int, ...]:
    """Weights of a pixel and of its neighbours on one side, in 256ths; both sides add up to 256."""
    heights = [math.exp(-0.5 * (at / deviation) ** 2) for at in range(math.ceil(REACH * deviation) + 1)]
    total = 2 * sum(heights) - heights[0]
    sides = [weight for weight in (round(256 * height / total) for height in heights[1:]) if weight]
    return (256 - 2 * sum(sides), *sides)


def _weighted(row: NDArray[np.uint8], step: int, weights: tuple[int, ...]) -> NDArray[np.uint8]:
    """Each value with its neighbours at multiples of `step`; as far as they reach, both ends stay 0. 255 x 256 fits 16 bits."""
    reach, stop = step * (len(weights) - 1), len(row)
    wide = row.astype(np.uint16)
    total = wide[reach : stop - reach] * np.uint16(weights[0])
    total += np.uint16(128)
    pair = np.empty_like(total)
    for number, weight in enumerate(weights[1:], 1):
        near, far = reach - number * step, reach + number * step
        np.add(wide[near : stop - far], wide[far : stop - near], out=pair)
        pair *= np.uint16(weight)
        total += pair
    total >>= np.uint16(8)
    changed = np.zeros_like(row)
    changed[reach : stop - reach] = total
    return changed
