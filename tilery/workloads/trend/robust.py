"""Trends that outliers cannot pull: the Mann-Kendall test and the Theil-Sen slope.

Mann, H. B. (1945), Econometrica 13, 245-259; Kendall, M. G. (1975), Rank Correlation Methods; Sen, P. K. (1968), Journal of
the American Statistical Association 63, 1379-1389.
"""

from __future__ import annotations

from math import nan, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.trend.compiled import compiled
from tilery.workloads.trend.significance import Floats, normal_two_sided

BANDS = ["sen_slope", "mk_tau", "mk_p"]


def fit(days: NDArray[Any], values: Floats, least: int) -> Floats:
    """(3, pixels) of (dates, pixels) values: Sen's slope per day, Kendall's tau-b, and p of the Mann-Kendall test
    (normal approximation with the corrections for ties and continuity; pairs of one day count for neither)."""
    out = np.empty((3, values.shape[1]))
    _all(days.astype(np.float64), values, least, out)
    out[2] = normal_two_sided(out[2])
    return out


@compiled
def _all(days: Floats, values: Floats, least: int, out: Floats) -> None:
    dates, pixels = values.shape
    t, y = np.empty(dates), np.empty(dates)
    slopes = np.empty(dates * (dates - 1) // 2)
    for pixel in range(pixels):
        out[:, pixel] = nan
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
        out[0, pixel] = np.median(slopes[:pairs])
        ties_y, cube_y = _ties(y[:n])
        ties_t, cube_t = _ties(t[:n])
        every = n * (n - 1) / 2
        spread = sqrt((every - ties_y) * (every - ties_t))
        out[1, pixel] = score / spread if spread > 0 else 0.0
        variance = (n * (n - 1) * (2.0 * n + 5) - cube_y - cube_t) / 18
        out[2, pixel] = (score - np.sign(score)) / sqrt(variance) if variance > 0 else 0.0


@compiled
def _ties(values: Floats) -> tuple[float, float]:
    """Tied pairs, and the sum of k (k - 1) (2 k + 5) over groups of k equal values."""
    ordered = np.sort(values)
    pairs, cubes, run = 0.0, 0.0, 1
    for i in range(1, ordered.size + 1):
        if i < ordered.size and ordered[i] == ordered[i - 1]:
            run += 1
            continue
        pairs += run * (run - 1) / 2
        cubes += run * (run - 1) * (2.0 * run + 5)
        run = 1
    return pairs, cubes
