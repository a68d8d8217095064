"""A trend beside yearly cycles: y = a + b t + sum over k of c_k cos(2 pi k t) + s_k sin(2 pi k t), t in years.

Every pixel's whole series is in its window, and dates are taken in their order, so the result does not depend on the tiling.
Zhu, Z. and Woodcock, C. E. (2014): Continuous change detection and classification of land cover using all available Landsat
data. Remote Sensing of Environment 144, 152-171.
"""

from __future__ import annotations

from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery import machine_code
from tilery.machine_code import NOTHING, Array, called, kernel
from tilery.workloads.trend.instructions import root
from tilery.workloads.trend.significance import Floats, p_values, table

PROCESSORS = tuple(machine_code.VECTORS)
YEAR_DAYS = 365.25
READ, TABLE, ROW = Array("float64", 2, readonly=True), Array("float64", 2), Array("float64")


def bands(harmonics: int) -> list[str]:
    """The names of what `fit` returns, in order."""
    cycles = [name for k in range(1, harmonics + 1) for name in (f"amplitude_{k}", f"peak_day_{k}")]
    return ["seasonal_slope", "seasonal_r2", "seasonal_rmse", "seasonal_p", *cycles] if harmonics else []


def fit(days: NDArray[Any], day_of_year: NDArray[Any], values: Floats, harmonics: int) -> Floats:
    """(bands, pixels) of (dates, pixels) values. Slope per day; p is two-sided, of the slope beside cycles; `peak_day` counts
    from 1 January, 0 to 365.25.

    A pixel needs two dates more than the model has unknowns; NaN otherwise, and where dates cannot tell the terms apart.
    """
    solved, _ = _solved(days, day_of_year, values, harmonics)
    out = np.empty((4 + 2 * harmonics, values.shape[1]))
    out[0] = solved[1] / YEAR_DAYS
    out[1:3] = solved[-5:-3]
    freedom, r, unexplained = solved[-3:]
    room = np.empty(freedom.size), np.empty(freedom.size, np.int64)
    probabilities(freedom, r, unexplained, *table(), *room, out[3])
    for k in range(1, harmonics + 1):
        cosine, sine = solved[2 * k], solved[2 * k + 1]
        out[2 + 2 * k] = np.hypot(cosine, sine)
        out[3 + 2 * k] = np.mod(np.arctan2(sine, cosine) / (2 * np.pi), 1.0) * YEAR_DAYS / k
    return out


def curve(
    days: NDArray[Any],
    day_of_year: NDArray[Any],
    values: Floats,
    harmonics: int,
    at: tuple[NDArray[Any], NDArray[Any]],
) -> Floats:
    """(times, pixels): what the fitted model says at other times, `at` (days, days of the year)."""
    solved, middle = _solved(days, day_of_year, values, harmonics)
    wanted: Floats = _design(*at, harmonics, middle) @ solved[: 2 + 2 * harmonics]
    return wanted


def _solved(days: NDArray[Any], day_of_year: NDArray[Any], values: Floats, harmonics: int) -> tuple[Floats, float]:
    """What `solve` gives, and the middle of the years, from which it counts."""
    middle = float((days / YEAR_DAYS).mean())
    design = _design(days, day_of_year, harmonics, middle)
    terms = design.shape[1]
    solved = np.empty((terms + 5, values.shape[1]))
    solve(design, np.ascontiguousarray(values, np.float64), np.empty((terms, terms)), np.empty((2, terms)), solved)
    return solved, middle


def _design(days: NDArray[Any], day_of_year: NDArray[Any], harmonics: int, middle: float) -> Floats:
    """(dates, terms)."""
    years = days / YEAR_DAYS
    columns = [np.ones_like(years), years - middle]
    for k in range(1, harmonics + 1):
        angle = 2 * np.pi * k * (day_of_year / YEAR_DAYS)
        columns += [np.cos(angle), np.sin(angle)]
    return np.stack(columns, axis=1)


@kernel(NOTHING, ROW, ROW, ROW, TABLE, TABLE, ROW, Array("int64"), ROW)
def probabilities(n: Any, r: Any, unexplained: Any, rows: Any, known: Any, power: Any, places: Any, p: Any) -> None:
    """As `significance.p_values`."""
    p_values(n, r, unexplained, rows, known, power, places, p)


@kernel(NOTHING, READ, READ, TABLE, TABLE, TABLE)
def solve(design: Any, values: Any, normal: Any, room: Any, out: Any) -> None:
    """Normal equations by Cholesky, pixel by pixel: coefficients, R^2, RMSE; and for p of the second one, degrees of freedom
    and 2, its partial correlation with the values, and what that leaves unexplained. `normal` and `room` are working memory."""
    dates, terms = design.shape
    right, unit = room[0], room[1]
    for pixel in range(values.shape[1]):
        for i in range(terms):
            right[i] = 0.0
            for j in range(terms):
                normal[i, j] = 0.0
        for i in range(terms + 5):
            out[i, pixel] = nan
        out[terms + 2, pixel] = 0.0
        n, mean, least, most = 0, 0.0, np.inf, -np.inf
        for date in range(dates):
            value = values[date, pixel]
            if abs(value) < np.inf:
                n += 1
                mean += value
                least, most = min(least, value), max(most, value)
        if n < terms + 2:
            continue
        mean = mean / n if least < most else least  # of equal values it is rounded: what is left would pass for a trend
        for date in range(dates):
            value = values[date, pixel]
            if not abs(value) < np.inf:
                continue
            for i in range(terms):
                right[i] += design[date, i] * (value - mean)
                for j in range(i + 1):
                    normal[i, j] += design[date, i] * design[date, j]
        if not _cholesky(normal, right):
            continue
        total, left = 0.0, 0.0
        for date in range(dates):
            value = values[date, pixel]
            if not abs(value) < np.inf:
                continue
            fitted = 0.0
            for i in range(terms):
                fitted += design[date, i] * right[i]
            total += (value - mean) ** 2
            left += (value - mean - fitted) ** 2
        for i in range(terms):
            out[i, pixel] = right[i]
        out[0, pixel] += mean
        out[terms, pixel] = max(0.0, 1 - left / total) if total > 0 else 0.0
        out[terms + 1, pixel] = root(left / n)
        alone = 0.0  # the second of the diagonal of the inverse: what the slope varies by, in units of what is left
        for i in range(1, terms):
            unit[i] = 1.0 if i == 1 else 0.0
            for k in range(1, i):
                unit[i] -= normal[i, k] * unit[k]
            unit[i] /= normal[i, i]
            alone += unit[i] * unit[i]
        told = right[1] * right[1] / alone
        out[terms + 2, pixel] = n - terms + 2
        if total > 0:
            out[terms + 4, pixel] = left / (left + told) if left + told > 0 else nan
            out[terms + 3, pixel] = root(told / (left + told)) if left + told > 0 else nan


@called
def _cholesky(matrix: Any, right: Any) -> Any:
    """Solve in place from the lower triangle; False if the matrix is singular to working precision."""
    size = right.shape[0]
    for i in range(size):
        whole = matrix[i, i]
        for j in range(i + 1):
            for k in range(j):
                matrix[i, j] -= matrix[i, k] * matrix[j, k]
            if i == j:
                if not matrix[i, i] > 1e-10 * whole:
                    return False
                matrix[i, i] = root(matrix[i, i])
            else:
                matrix[i, j] /= matrix[j, j]
    for i in range(size):
        for k in range(i):
            right[i] -= matrix[i, k] * right[k]
        right[i] /= matrix[i, i]
    for i in range(size - 1, -1, -1):
        for k in range(i + 1, size):
            right[i] -= matrix[k, i] * right[k]
        right[i] /= matrix[i, i]
    return True
