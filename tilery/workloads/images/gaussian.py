"""Gaussian bells in integers, so the same bytes on every machine; and the blur of small pictures with them, in numpy.

To set a convolution up costs libvips more than 100 x 150 pixels take here, where they stay in the processor's cache.
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
"""Standard deviations at which a bell is cut off, at most: smaller weights are nothing."""
SHARES = 256
"""What weights here add up to: with 8-bit values, sums fit 16 bits."""


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
def bell(deviation: float, total: int = SHARES) -> tuple[int, ...]:
    """Weights of a pixel and of its neighbours on one side; with both sides they add up to `total`."""
    heights = [math.exp(-0.5 * (at / deviation) ** 2) for at in range(math.ceil(REACH * deviation) + 1)]
    area = 2 * sum(heights) - heights[0]
    sides = [weight for weight in (round(total * height / area) for height in heights[1:]) if weight]
    return (total - 2 * sum(sides), *sides)


def bell_mask(deviation: float) -> list[int]:
    """All weights of a bell, for libvips' `convsep` of integers (`_fractions`)."""
    peak = bell(deviation, 1 << 16)[0] / (1 << 16)
    middle, *sides = bell(deviation, _fractions(peak))
    return [*reversed(sides), middle, *sides]


def box_mask(radius: int) -> list[int]:
    """Weights of 2 radius + 1 pixels, as equal as they can be, for `convsep` of integers (`_fractions`)."""
    total = _fractions(1 / (2 * radius + 1))
    side = (total - total // (2 * radius + 1)) // 2
    sides = [side * (at + 1) // radius - side * at // radius for at in range(radius)]
    return [*reversed(sides), total - 2 * side, *sides]


def _fractions(peak: float) -> int:
    """What the integers of a mask must add up to so that libvips computes with just these.

    It turns every weight into a fraction of which the largest has 8 bits. Rounded from others, as those of `gaussblur`, the
    fractions may add up to 1 % more or less than 1, and so does the brightness: a grey of 201 became 205.
    Source: vips_convi_intize in libvips/convolution/convi.c.
    """
    return int(2.0 ** (7 - math.ceil(math.log2(peak) + 1)))


def _weighted(row: NDArray[np.uint8], step: int, weights: tuple[int, ...]) -> NDArray[np.uint8]:
    """Each value with its neighbours at multiples of `step`; as far as they reach, both ends stay 0."""
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
