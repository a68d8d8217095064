"""The straight line through every pixel's series, by least squares from integer sums.

Days are whole numbers and stored values are whole numbers, or are made so: then {n, St, Stt, Sy, Sty, Syy} are exact in any
order and any tiling, and the line follows from them with one rounding. Floating values become integers of 48 bits by a
power of two that each pixel's largest value sets, which does not depend on the order either.

Bounds: at most 4,096 dates over at most 2^15 days (89 years; see `scenes`, checked by `size`). For 16-bit values every sum
is below 2^53 and so exact as a float; the 48-bit ones are summed in two halves as 64-bit integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import frexp, ldexp, nan, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.trend.compiled import compiled
from tilery.workloads.trend.doubled import Pair, difference_of_products
from tilery.workloads.trend.significance import Floats, coefficients, fill_large, p_value

_BITS = 47
_HALF = 24
_AT_ONCE = 512
"""Pixels whose sums stay in the processor's cache while the dates go by."""


@dataclass(frozen=True, slots=True)
class Line:
    """Per pixel, as flat arrays: slope per day, intercept on day 0, number of dates, R^2, p, RMSE; NaN where there is none."""

    slope: Floats
    intercept: Floats
    n: Floats
    r2: Floats
    p: Floats
    rmse: Floats


class Sums:
    """Sums of small integers (8 and 16 bit), date by date in any order.

    >>> sums = Sums(1)
    >>> sums.add(np.array([0, 1, 2]), np.array([[5], [7], [9]], np.int16), np.ones((3, 1), bool))
    >>> float(sums.line(2).slope[0])
    2.0
    """

    def __init__(self, pixels: int) -> None:
        self._sums = np.zeros((6, pixels))

    def add(self, days: NDArray[Any], values: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Add dates: `values` and `valid` are (dates, pixels), `days` (dates)."""
        _accumulate(days.astype(np.float64), values, valid.view(np.uint8), self._sums)

    def merge(self, other: Sums) -> None:
        """Add what another worker summed over other dates."""
        self._sums += other._sums

    def line(self, least: int) -> Line:
        """The line of each pixel with at least `least` dates."""
        out = np.empty((7, self._sums.shape[1]))
        _lines(self._sums, least, coefficients(), out)
        return _line(out)


def of_floats(days: NDArray[Any], values: Floats, least: int) -> Line:
    """The line of each pixel of (dates, pixels) values; NaN and infinity mean that there is no value."""
    out = np.empty((7, values.shape[1]))
    _float_lines(days.astype(np.int64), values, least, coefficients(), out)
    return _line(out)


def _line(out: Floats) -> Line:
    fill_large(out[4], out[2], out[3], out[6])
    return Line(*out[:6])


@compiled
def _accumulate(days: Floats, values: NDArray[Any], valid: NDArray[np.uint8], sums: Floats) -> None:
    """Four dates at a time, so that the sums are loaded and stored once for all of them.

    Small loops over few arrays each, because only those become vector instructions.
    """
    dates, pixels = values.shape
    there, value = np.zeros((4, _AT_ONCE)), np.zeros((4, _AT_ONCE))
    t, square = np.zeros(4), np.zeros(4)
    for start in range(0, pixels, _AT_ONCE):
        stop = min(pixels, start + _AT_ONCE)
        n, st, stt = sums[0][start:stop], sums[1][start:stop], sums[2][start:stop]
        sy, sty, syy = sums[3][start:stop], sums[4][start:stop], sums[5][start:stop]
        for date in range(0, dates, 4):
            for k in range(4):
                if date + k < dates:
                    t[k] = days[date + k]
                    square[k] = t[k] * t[k]
                    _masked(values[date + k][start:stop], valid[date + k][start:stop], there[k], value[k])
                else:
                    there[k, :] = 0.0
                    value[k, :] = 0.0
            _add_four(n, there[0], there[1], there[2], there[3], 1.0, 1.0, 1.0, 1.0)
            _add_four(st, there[0], there[1], there[2], there[3], t[0], t[1], t[2], t[3])
            _add_four(stt, there[0], there[1], there[2], there[3], square[0], square[1], square[2], square[3])
            _add_four(sy, value[0], value[1], value[2], value[3], 1.0, 1.0, 1.0, 1.0)
            _add_four(sty, value[0], value[1], value[2], value[3], t[0], t[1], t[2], t[3])
            _add_squares(syy, value[0], value[1], value[2], value[3])


@compiled
def _masked(values: NDArray[Any], valid: NDArray[np.uint8], there: Floats, value: Floats) -> None:
    for at in range(values.size):
        there[at] = valid[at]
    for at in range(values.size):
        value[at] = there[at] * values[at]


@compiled
def _add_four(out: Floats, a: Floats, b: Floats, c: Floats, d: Floats, p: float, q: float, r: float, s: float) -> None:
    for at in range(out.size):
        out[at] += (p * a[at] + q * b[at]) + (r * c[at] + s * d[at])


@compiled
def _add_squares(out: Floats, a: Floats, b: Floats, c: Floats, d: Floats) -> None:
    for at in range(out.size):
        out[at] += (a[at] * a[at] + b[at] * b[at]) + (c[at] * c[at] + d[at] * d[at])


@compiled
def _lines(sums: Floats, least: int, series: Floats, out: Floats) -> None:
    """All products of two sums are below 2^56 here, so integers hold them."""
    for pixel in range(sums.shape[1]):
        n, t, tt = np.int64(sums[0, pixel]), np.int64(sums[1, pixel]), np.int64(sums[2, pixel])
        y, ty, yy = np.int64(sums[3, pixel]), np.int64(sums[4, pixel]), np.int64(sums[5, pixel])
        days, both, values = n * tt - t * t, n * ty - t * y, n * yy - y * y
        at_zero = difference_of_products(_pair(tt), _pair(y), _pair(t), _pair(ty))
        _fit(n, _pair(days), _pair(both), _pair(values), at_zero, 1.0, least, series, out[:, pixel])


@compiled
def _pair(whole: Any) -> Pair:
    """An integer of 63 bits as a pair, exactly."""
    high = np.float64(whole)
    return high, np.float64(whole - np.int64(high))


@compiled
def _float_lines(days: NDArray[np.int64], values: Floats, least: int, series: Floats, out: Floats) -> None:
    dates, pixels = values.shape
    largest = np.zeros(_AT_ONCE)
    step = np.ones(_AT_ONCE)
    sums = np.zeros((10, _AT_ONCE), np.int64)
    for start in range(0, pixels, _AT_ONCE):
        count = min(pixels - start, _AT_ONCE)
        largest[:] = 0.0
        sums[:] = 0
        for date in range(dates):
            for at in range(count):
                size = abs(values[date, start + at])
                if size < np.inf and size > largest[at]:
                    largest[at] = size
        for at in range(count):
            step[at] = ldexp(1.0, _BITS - frexp(largest[at])[1]) if largest[at] > 1e-280 else 1.0
        for date in range(dates):
            day = days[date]
            for at in range(count):
                value = values[date, start + at]
                if not abs(value) < np.inf:
                    continue
                whole = np.int64(np.rint(value * step[at]))
                high = whole >> _HALF
                low = whole - (high << _HALF)
                sums[0, at] += 1
                sums[1, at] += day
                sums[2, at] += day * day
                sums[3, at] += high
                sums[4, at] += low
                sums[5, at] += high * day
                sums[6, at] += low * day
                sums[7, at] += high * high
                sums[8, at] += high * low
                sums[9, at] += low * low
        for at in range(count):
            y = _joined(0, sums[3, at], sums[4, at])
            ty = _joined(0, sums[5, at], sums[6, at])
            yy = _joined(sums[7, at], 2 * sums[8, at], sums[9, at])
            n, t, tt = _pair(sums[0, at]), _pair(sums[1, at]), _pair(sums[2, at])
            spread = difference_of_products(n, tt, t, t)
            both = difference_of_products(n, ty, t, y)
            varied = difference_of_products(n, yy, y, y)
            at_zero = difference_of_products(tt, y, t, ty)
            _fit(sums[0, at], spread, both, varied, at_zero, 1.0 / step[at], least, series, out[:, start + at])


@compiled
def _joined(top: int, high: int, low: int) -> Pair:
    """top 2^48 + high 2^24 + low as a pair: each addition carries what it cannot hold, so nothing is lost."""
    carried = high + (low >> _HALF)
    rest = low - ((low >> _HALF) << _HALF)
    upper = top + (carried >> _HALF)
    middle = carried - ((carried >> _HALF) << _HALF)
    lower = np.float64((middle << _HALF) + rest)  # below 2^48
    above = upper >> _HALF  # 2^72 units; `upper` may have 63 bits, more than a float holds
    between = np.float64(upper - (above << _HALF)) * 2.0**48
    first = np.float64(above) * 2.0**72
    tail = between + lower  # below 2^72 + 2^48
    error = lower - (tail - between)
    total = first + tail
    return total, (tail - (total - first)) + error


@compiled
def _fit(
    n: Any, days: Pair, both: Pair, values: Pair, at_zero: Pair, unit: float, least: int, series: Floats, out: Floats
) -> None:
    """slope, intercept, n, R^2, p, RMSE and 1 - R^2; values are whole numbers of `unit`.

    `days` is n Stt - St^2, `both` n Sty - St Sy, `values` n Syy - Sy^2, `at_zero` Stt Sy - St Sty.
    """
    out[2] = n
    if n < least or not days[0] > 0:
        out[0] = out[1] = out[3] = out[4] = out[5] = out[6] = nan
        return
    out[0] = both[0] / days[0] * unit
    out[1] = at_zero[0] / days[0] * unit
    if not values[0] > 0:  # a constant has no variance to explain: R^2 and p stay undefined
        out[3] = out[4] = out[6] = nan
        out[5] = 0.0
        return
    left = difference_of_products(days, values, both, both)
    unexplained = max(left[0], 0.0)
    out[3] = min(both[0] / days[0] * (both[0] / values[0]), 1.0)
    out[6] = unexplained / (days[0] * values[0])
    out[5] = sqrt(unexplained / days[0]) / n * unit
    out[4] = p_value(n - 2, out[3], out[6], series)
