"""Trends that outliers cannot pull: the Mann-Kendall test and the Theil-Sen slope.

Mann, H. B. (1945), Econometrica 13, 245-259; Kendall, M. G. (1975), Rank Correlation Methods; Sen, P. K. (1968), Journal of
the American Statistical Association 63, 1379-1389.
"""

from __future__ import annotations

from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery import machine_code
from tilery.machine_code import LONG, NOTHING, Array, called, kernel
from tilery.workloads.trend.instructions import root
from tilery.workloads.trend.significance import Floats, normal_two_sided

PROCESSORS = tuple(machine_code.VECTORS)
ROW, ROWS = Array("float64"), Array("float64", 2)
BANDS = ["sen_slope", "mk_tau", "mk_p"]


def fit(days: NDArray[Any], values: Floats, least: int) -> Floats:
    """(3, pixels) of (dates, pixels) values: Sen's slope per day, Kendall's tau-b, and p of the Mann-Kendall test
    (normal approximation with the corrections for ties and continuity; pairs of one day count for neither)."""
    out = np.empty((3, values.shape[1]))
    dates = len(days)
    ranks(
        days.astype(np.float64),
        np.ascontiguousarray(values, np.float64),
        least,
        np.empty((3, dates)),
        np.empty(dates * (dates - 1) // 2),
        out,
    )
    out[2] = normal_two_sided(out[2])
    return out


@kernel(NOTHING, Array("float64", readonly=True), Array("float64", 2, readonly=True), LONG, ROWS, ROW, ROWS)
def ranks(days: Any, values: Any, least: Any, series: Any, slopes: Any, out: Any) -> None:
    """Sen's slope, tau and the normal statistic of each pixel. `series` (3 x dates) and `slopes` (one for each pair of dates)
    are working memory."""
    dates, pixels = values.shape
    t, y, ordered = series[0], series[1], series[2]
    for pixel in range(pixels):
        for row in range(3):
            out[row, pixel] = nan
        n = 0
        for date in range(dates):
            if abs(values[date, pixel]) < np.inf:
                t[n], y[n] = days[date], values[date, pixel]
                n += 1
        if n < least:
            continue
        pairs, score = 0, 0
        for i in range(n):
            for j in range(i + 1, n):
                if t[j] != t[i]:
                    rise = y[j] - y[i]
                    score += int(rise > 0) - int(rise < 0)
                    slopes[pairs] = rise / (t[j] - t[i])
                    pairs += 1
        if pairs == 0:
            continue
        out[0, pixel] = _median(slopes, pairs)
        ties_y, cube_y = _ties(y, n, ordered)
        ties_t, cube_t = _ties(t, n, ordered)
        every = n * (n - 1) / 2
        spread = root((every - ties_y) * (every - ties_t))
        out[1, pixel] = score / spread if spread > 0 else 0.0
        variance = (n * (n - 1) * (2.0 * n + 5) - cube_y - cube_t) / 18
        sign = 1 if score > 0 else -1 if score < 0 else 0
        out[2, pixel] = (score - sign) / root(variance) if variance > 0 else 0.0


@called
def _median(values: Any, count: Any) -> Any:
    """The median of the first `count` values, which change places."""
    middle = count // 2
    upper = _placed(values, count, middle)
    if count & 1:
        return upper + 0.0
    lower = values[0]
    for at in range(1, middle):
        lower = max(lower, values[at])
    return (lower + upper) / 2 + 0.0  # of zeros of both signs, which one is in the middle is chance


@called
def _placed(values: Any, count: Any, wanted: Any) -> Any:
    """The value that has the place `wanted` in the order of the first `count`; no larger ones stay before it (Hoare, 1961)."""
    first, last = 0, count - 1
    while first < last:
        low, high, middle = values[first], values[last], values[(first + last) // 2]
        pivot = max(min(low, high), min(max(low, high), middle))
        i, j = first, last
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if wanted <= j:
            last = j
        elif wanted >= i:
            first = i
        else:
            break
    return values[wanted]


@called
def _ties(values: Any, count: Any, ordered: Any) -> Any:
    """Tied pairs, and the sum of k (k - 1) (2 k + 5) over groups of k equal values; `ordered` is working memory."""
    for at in range(count):  # put in their order one after another: series are short
        value, place = values[at], at
        while place > 0 and ordered[place - 1] > value:
            ordered[place] = ordered[place - 1]
            place -= 1
        ordered[place] = value
    pairs, cubes, run = 0.0, 0.0, 1
    for i in range(1, count + 1):
        if i < count and ordered[i] == ordered[i - 1]:
            run += 1
            continue
        pairs += run * (run - 1) / 2
        cubes += run * (run - 1) * (2.0 * run + 5)
        run = 1
    return pairs, cubes
