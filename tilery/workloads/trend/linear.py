"""The straight line through every pixel's series, by least squares from integer sums.

Days are whole numbers and stored values are whole numbers, or are made so: then {n, St, Stt, Sy, Sty, Syy} are exact in any
order and any tiling, and the line follows from them with one rounding. Floating values become integers of 48 bits by a
power of two that each pixel's largest value sets, which does not depend on the order either.

Bounds: at most 4,096 dates over at most 2^15 days (89 years; see `scenes`, checked by `size`). For 16-bit values every sum
is below 2^53 and every product of two below 2^112; the 48-bit ones are summed in two halves as 64-bit integers.

Small values are first summed in 32 bits, over as many dates as fit (`_fitting`), with days counted from the first of them:
twice as many pixels in a vector register. Everything happens in blocks of pixels that stay in the processor's cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import frexp, ldexp, nan, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.trend.compiled import compiled
from tilery.workloads.trend.doubled import Pair, difference_of_products, exact_difference
from tilery.workloads.trend.significance import Floats, p_values, table

Whole = NDArray[np.int64]
_BITS = 47
_HALF = 24
_STREAM = 1024
"""Pixels whose sums stay in the processor's cache while the dates go by."""
_AT_ONCE = 512
"""The same where lines are made of sums."""
_LARGEST = 65535
_FITS = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Line:
    """(6, pixels): slope per day, intercept on day 0, number of dates, R^2, p, RMSE; NaN where there is none."""

    rows: Floats

    def _row(self, number: int) -> Floats:
        row: Floats = self.rows[number]
        return row

    @property
    def slope(self) -> Floats:
        return self._row(0)

    @property
    def intercept(self) -> Floats:
        return self._row(1)

    @property
    def n(self) -> Floats:
        return self._row(2)

    @property
    def r2(self) -> Floats:
        return self._row(3)

    @property
    def p(self) -> Floats:
        return self._row(4)

    @property
    def rmse(self) -> Floats:
        return self._row(5)


class Sums:
    """Sums of small integers (8 and 16 bit), some dates at a time in any order.

    >>> sums = Sums(1)
    >>> sums.add(np.array([0, 1, 2, 3]), np.array([[5], [7], [-1], [11]], np.int16), -1)
    >>> float(sums.line(2).slope[0])
    2.0
    """

    def __init__(self, pixels: int) -> None:
        self._sums = np.zeros((6, pixels), np.int64)

    def add(self, days: NDArray[Any], values: NDArray[Any], nodata: int) -> None:
        """Add dates: `values` are (dates, pixels), `days` (dates); `nodata`, of the values' type, means that there is none."""
        _add(days.astype(np.int64), np.ascontiguousarray(values), nodata, self._sums)

    def merge(self, other: Sums) -> None:
        """Add what another worker summed over other dates."""
        self._sums += other._sums

    def line(self, least: int) -> Line:
        """The line of each pixel with at least `least` dates."""
        out = np.empty((6, self._sums.shape[1]))
        _lines(self._sums, least, *table(), out)
        return Line(out)


def of_small(days: NDArray[Any], values: NDArray[Any], nodata: int, least: int) -> Line:
    """The line of each pixel of a whole stack of small integers, (dates, pixels), where `nodata`, of their type, means that
    there is no value.

    As `Sums` gives it, but the stack is passed over once and nothing is kept between.
    """
    out = np.empty((6, values.shape[1]))
    _small_lines(days.astype(np.int64), np.ascontiguousarray(values), nodata, least, *table(), out)
    return Line(out)


def of_floats(days: NDArray[Any], values: Floats, least: int) -> Line:
    """The line of each pixel of (dates, pixels) values; NaN and infinity mean that there is no value."""
    out = np.empty((6, values.shape[1]))
    _float_lines(days.astype(np.int64), values, least, *table(), out)
    return Line(out)


@compiled
def _add(days: Whole, values: NDArray[Any], nodata: int, sums: Whole) -> None:
    parts, blank = np.zeros(7 * _STREAM, np.int32), np.full(_STREAM, nodata, values.dtype)
    for start in range(0, values.shape[1], _STREAM):
        stop = min(values.shape[1], start + _STREAM)
        _add_block(days, values, nodata, start, stop, parts, blank, sums, start)


@compiled
def _small_lines(days: Whole, values: NDArray[Any], nodata: int, least: int, rows: Floats, known: Floats, out: Floats) -> None:
    parts, blank = np.zeros(7 * _STREAM, np.int32), np.full(_STREAM, nodata, values.dtype)
    sums, made = np.zeros((6, _STREAM), np.int64), np.zeros(8 * _AT_ONCE)
    for start in range(0, values.shape[1], _STREAM):
        stop = min(values.shape[1], start + _STREAM)
        sums.fill(0)
        _add_block(days, values, nodata, start, stop, parts, blank, sums, 0)
        for at in range(start, stop, _AT_ONCE):
            end = min(stop, at + _AT_ONCE)
            _compare(sums, at - start, end - start, made)
            _finish(made, least, rows, known, out, at, end)


@compiled
def _add_block(
    days: Whole,
    values: NDArray[Any],
    nodata: int,
    start: int,
    stop: int,
    parts: NDArray[np.int32],
    blank: NDArray[Any],
    sums: Whole,
    into: int,
) -> None:
    """Add all dates of the pixels from `start` to `stop` to `sums`, where the first of them has the place `into`."""
    first = 0
    while first < days.size:
        last = _fitting(days, first)
        parts.fill(0)
        for date in range(first, last, 4):
            a, b = values[date][start:stop], _row(values, date + 1, last, start, stop, blank)
            c, d = _row(values, date + 2, last, start, stop, blank), _row(values, date + 3, last, start, stop, blank)
            _add_four(days, date, first, last, a, b, c, d, np.int32(nodata), parts)
        _add_parts(parts, days[first], sums, into, into + stop - start)
        first = last


@compiled
def _row(values: NDArray[Any], date: int, last: int, start: int, stop: int, blank: NDArray[Any]) -> Any:
    return values[date][start:stop] if date < last else blank[: stop - start]


@compiled
def _add_four(
    days: Whole, date: int, first: int, last: int, a: Any, b: Any, c: Any, d: Any, nodata: Any, sums: NDArray[np.int32]
) -> None:
    """Add four dates to n, Sd, Sdd, Sy, Sdy and the two halves of Syy, which lie one after another in `sums`.

    One array at fixed distances, because the compiler then knows that no sum overlaps another: all become one vector loop.
    """
    p = np.int32(days[date] - days[first])
    q = np.int32(days[min(date + 1, last - 1)] - days[first])
    r = np.int32(days[min(date + 2, last - 1)] - days[first])
    s = np.int32(days[min(date + 3, last - 1)] - days[first])
    pp, qq, rr, ss = np.int32(p * p), np.int32(q * q), np.int32(r * r), np.int32(s * s)
    none, one, half = np.int32(0), np.int32(1), np.uint32(16)
    for at in range(a.size):
        i, j, k, m = np.int32(a[at]), np.int32(b[at]), np.int32(c[at]), np.int32(d[at])
        has_i, has_j, has_k, has_m = i != nodata, j != nodata, k != nodata, m != nodata
        i, j, k, m = i if has_i else none, j if has_j else none, k if has_k else none, m if has_m else none
        two, other = (one if has_i else none) + (one if has_j else none), (one if has_k else none) + (one if has_m else none)
        sums[at] = np.int32(sums[at] + np.int32(two + other))
        two, other = (p if has_i else none) + (q if has_j else none), (r if has_k else none) + (s if has_m else none)
        sums[at + _STREAM] = np.int32(sums[at + _STREAM] + np.int32(two + other))
        two, other = (pp if has_i else none) + (qq if has_j else none), (rr if has_k else none) + (ss if has_m else none)
        sums[at + 2 * _STREAM] = np.int32(sums[at + 2 * _STREAM] + np.int32(two + other))
        sums[at + 3 * _STREAM] = np.int32(sums[at + 3 * _STREAM] + np.int32(np.int32(i + j) + np.int32(k + m)))
        two, other = np.int32(i * p) + np.int32(j * q), np.int32(k * r) + np.int32(m * s)
        sums[at + 4 * _STREAM] = np.int32(sums[at + 4 * _STREAM] + np.int32(two + other))
        ii, jj, kk, mm = np.uint32(i * i), np.uint32(j * j), np.uint32(k * k), np.uint32(m * m)
        lower = np.uint32(np.uint32(ii + jj) + np.uint32(kk + mm))
        sums[at + 5 * _STREAM] = np.int32(sums[at + 5 * _STREAM] + np.int32(lower))
        upper = np.uint32(np.uint32((ii >> half) + (jj >> half)) + np.uint32((kk >> half) + (mm >> half)))
        sums[at + 6 * _STREAM] = np.int32(sums[at + 6 * _STREAM] + np.int32(upper))


@compiled
def _fitting(days: Whole, first: int) -> int:
    """Up to which date 32 bits hold the sums that begin with `first`."""
    linear, square = 0, 0
    for date in range(first, len(days)):
        away = abs(days[date] - days[first])
        linear += away
        square += away * away
        if linear * _LARGEST > _FITS or square > _FITS:
            return date
    return len(days)


@compiled
def _add_parts(parts: NDArray[np.int32], first: int, sums: Whole, start: int, stop: int) -> None:
    """Add 32-bit sums, with days counted from `first`, to the whole ones."""
    n, st, stt = sums[0][start:stop], sums[1][start:stop], sums[2][start:stop]
    sy, sty, syy = sums[3][start:stop], sums[4][start:stop], sums[5][start:stop]
    for at in range(n.size):
        count, day = np.int64(parts[at]), np.int64(parts[at + _STREAM])
        n[at] += count
        st[at] += first * count + day
        stt[at] += first * (first * count + 2 * day) + parts[at + 2 * _STREAM]
    for at in range(n.size):
        sy[at] += parts[at + 3 * _STREAM]
        sty[at] += first * np.int64(parts[at + 3 * _STREAM]) + parts[at + 4 * _STREAM]
    for at in range(n.size):
        upper = np.int64(np.uint32(parts[at + 6 * _STREAM])) << 16
        lower = (np.int64(np.uint32(parts[at + 5 * _STREAM])) - upper) & 0xFFFFFFFF  # their sum is below 2^16 times 4,096
        syy[at] += upper + lower


@compiled
def _lines(sums: Whole, least: int, rows: Floats, known: Floats, out: Floats) -> None:
    made = np.zeros(8 * _AT_ONCE)
    for start in range(0, sums.shape[1], _AT_ONCE):
        stop = min(sums.shape[1], start + _AT_ONCE)
        _compare(sums, start, stop, made)
        _finish(made, least, rows, known, out, start, stop)


@compiled
def _compare(sums: Whole, start: int, stop: int, made: Floats) -> None:
    """What `_finish` wants, from exact sums; the products of two sums are below 2^56 but for the intercept's."""
    for at in range(stop - start):
        n, t, tt = sums[0, start + at], sums[1, start + at], sums[2, start + at]
        y, ty, yy = sums[3, start + at], sums[4, start + at], sums[5, start + at]
        days, both, values = n * tt - t * t, n * ty - t * y, n * yy - y * y
        made[at] = n
        made[at + _AT_ONCE] = days
        made[at + 2 * _AT_ONCE] = both
        made[at + 3 * _AT_ONCE] = values
        made[at + 4 * _AT_ONCE] = exact_difference(tt, y, t, ty)
        made[at + 5 * _AT_ONCE] = exact_difference(days, values, both, both)
        made[at + 6 * _AT_ONCE] = 1.0


@compiled
def _pair(whole: Any) -> Pair:
    """An integer of 63 bits as a pair, exactly."""
    high = np.float64(whole)
    return high, np.float64(whole - np.int64(high))


@compiled
def _float_lines(days: Whole, values: Floats, least: int, rows: Floats, known: Floats, out: Floats) -> None:
    dates, pixels = values.shape
    largest = np.zeros(_AT_ONCE)
    step = np.ones(_AT_ONCE)
    sums = np.zeros((10, _AT_ONCE), np.int64)
    made = np.zeros(8 * _AT_ONCE)
    for start in range(0, pixels, _AT_ONCE):
        count = min(pixels - start, _AT_ONCE)
        largest.fill(0.0)
        sums.fill(0)
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
            made[at] = sums[0, at]
            made[at + _AT_ONCE] = spread[0]
            made[at + 2 * _AT_ONCE] = both[0]
            made[at + 3 * _AT_ONCE] = varied[0]
            made[at + 4 * _AT_ONCE] = at_zero[0]
            made[at + 5 * _AT_ONCE] = difference_of_products(spread, varied, both, both)[0]
            made[at + 6 * _AT_ONCE] = 1.0 / step[at]
        _finish(made, least, rows, known, out, start, start + count)


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
def _finish(made: Floats, least: int, rows: Floats, known: Floats, out: Floats, start: int, stop: int) -> None:
    """slope, intercept, n, R^2, p, RMSE of a block of pixels; values are whole numbers of a unit.

    `made` holds, one after another: n; n Stt - St^2; n Sty - St Sy; n Syy - Sy^2; Stt Sy - St Sty; the second times the fourth
    minus the square of the third; the unit; and room for one row. NaN where there is no line; a constant has no variance to
    explain: R^2 and p stay undefined. At fixed distances in one array, so that it becomes one loop of vector instructions.
    """
    count = stop - start
    for at in range(count):
        n, days, both = made[at], made[at + _AT_ONCE], made[at + 2 * _AT_ONCE]
        values, at_zero = made[at + 3 * _AT_ONCE], made[at + 4 * _AT_ONCE]
        left, unit = made[at + 5 * _AT_ONCE], made[at + 6 * _AT_ONCE]
        days = days if n >= least and days > 0 else nan  # NaN spreads to all that follows
        left = left if left > 0 else 0.0
        slope = both / days
        unexplained = left / (days * values) if values > 0 else nan
        explained = slope * (both / values)
        explained = min(explained, 1.0) if unexplained >= 0 else nan
        made[at + _AT_ONCE] = slope * unit
        made[at + 2 * _AT_ONCE] = at_zero / days * unit
        made[at + 3 * _AT_ONCE] = explained
        made[at + 4 * _AT_ONCE] = sqrt(left / days) / n * unit
        made[at + 5 * _AT_ONCE] = unexplained
        made[at + 6 * _AT_ONCE] = sqrt(explained)
    for at in range(count):
        out[0, start + at], out[1, start + at] = made[at + _AT_ONCE], made[at + 2 * _AT_ONCE]
        out[2, start + at], out[3, start + at] = made[at], made[at + 3 * _AT_ONCE]
        out[5, start + at] = made[at + 4 * _AT_ONCE]
    unexplained_of, r = made[5 * _AT_ONCE : 5 * _AT_ONCE + count], made[6 * _AT_ONCE : 6 * _AT_ONCE + count]
    p_values(made[:count], r, unexplained_of, rows, known, made[7 * _AT_ONCE : 7 * _AT_ONCE + count], out[4][start:stop])
