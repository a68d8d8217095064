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
_AT_ONCE = 512
"""Pixels whose sums stay in the processor's cache while the dates go by."""
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
    """Sums of small integers (8 and 16 bit), date by date in any order.

    >>> sums = Sums(1)
    >>> sums.add(np.array([0, 1, 2]), np.array([[5], [7], [9]], np.int16), np.ones((3, 1), bool))
    >>> float(sums.line(2).slope[0])
    2.0
    """

    def __init__(self, pixels: int) -> None:
        self._sums = np.zeros((6, pixels), np.int64)

    def add(self, days: NDArray[Any], values: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Add dates: `values` and `valid` are (dates, pixels), `days` (dates)."""
        _accumulate(days.astype(np.int64), values, valid.view(np.uint8), self._sums)

    def merge(self, other: Sums) -> None:
        """Add what another worker summed over other dates."""
        self._sums += other._sums

    def line(self, least: int) -> Line:
        """The line of each pixel with at least `least` dates."""
        out = np.empty((6, self._sums.shape[1]))
        _lines(self._sums, least, *table(), out)
        return Line(out)


def of_small(days: NDArray[Any], values: NDArray[Any], nodata: int, least: int) -> Line:
    """The line of each pixel of a whole stack of small integers, (dates, pixels), where `nodata` means that there is no value.

    As `Sums` gives it, but the stack is passed over once and nothing is kept between.
    """
    out = np.empty((6, values.shape[1]))
    _small_lines(days.astype(np.int64), values, nodata, least, *table(), out)
    return Line(out)


def of_floats(days: NDArray[Any], values: Floats, least: int) -> Line:
    """The line of each pixel of (dates, pixels) values; NaN and infinity mean that there is no value."""
    out = np.empty((6, values.shape[1]))
    _float_lines(days.astype(np.int64), values, least, *table(), out)
    return Line(out)


@compiled
def _accumulate(days: Whole, values: NDArray[Any], valid: NDArray[np.uint8], sums: Whole) -> None:
    dates, pixels = values.shape
    there, whole, parts, squares = _room()
    for start in range(0, pixels, _AT_ONCE):
        stop = min(pixels, start + _AT_ONCE)
        first = 0
        while first < dates:
            last = _fitting(days, first)
            parts[:] = 0
            squares[:] = 0
            for date in range(first, last, 4):
                for k in range(4):
                    if date + k < last:
                        _same(valid[date + k][start:stop], there[k])
                        _masked(values[date + k][start:stop], there[k], whole[k])
                    else:
                        there[k, :] = 0
                        whole[k, :] = 0
                _add_four(days, date, first, last, there, whole, parts, squares)
            _add_parts(parts, squares, days[first], sums, start, stop)
            first = last


@compiled
def _small_lines(days: Whole, values: NDArray[Any], nodata: int, least: int, rows: Floats, known: Floats, out: Floats) -> None:
    dates, pixels = values.shape
    there, whole, parts, squares = _room()
    sums = np.zeros((6, _AT_ONCE), np.int64)
    made = np.zeros((8, _AT_ONCE))
    for start in range(0, pixels, _AT_ONCE):
        stop = min(pixels, start + _AT_ONCE)
        sums[:] = 0
        first = 0
        while first < dates:
            last = _fitting(days, first)
            parts[:] = 0
            squares[:] = 0
            for date in range(first, last, 4):
                for k in range(4):
                    if date + k < last:
                        _differs(values[date + k][start:stop], nodata, there[k])
                        _masked(values[date + k][start:stop], there[k], whole[k])
                    else:
                        there[k, :] = 0
                        whole[k, :] = 0
                _add_four(days, date, first, last, there, whole, parts, squares)
            _add_parts(parts, squares, days[first], sums, 0, stop - start)
            first = last
        _compare(sums, 0, stop - start, made)
        _finish(made, least, rows, known, out, start, stop)


@compiled
def _room() -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32], NDArray[np.uint32]]:
    """For four dates: which values are there, and the values; for their sums: n, Sd, Sdd, Sy, Sdy; Syy modulo 2^32 beside the
    sum of the upper halves of its squares."""
    return (
        np.zeros((4, _AT_ONCE), np.uint8),
        np.zeros((4, _AT_ONCE), np.int32),
        np.zeros((5, _AT_ONCE), np.int32),
        np.zeros((2, _AT_ONCE), np.uint32),
    )


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
def _differs(values: NDArray[Any], nodata: int, there: NDArray[np.uint8]) -> None:
    for at in range(values.size):
        there[at] = values[at] != nodata


@compiled
def _same(valid: NDArray[np.uint8], there: NDArray[np.uint8]) -> None:
    for at in range(valid.size):
        there[at] = valid[at]


@compiled
def _masked(values: NDArray[Any], there: NDArray[np.uint8], whole: NDArray[np.int32]) -> None:
    for at in range(values.size):
        whole[at] = np.int32(np.int32(values[at]) * np.int32(there[at]))


@compiled
def _add_four(
    days: Whole,
    date: int,
    first: int,
    last: int,
    there: NDArray[np.uint8],
    whole: NDArray[np.int32],
    parts: NDArray[np.int32],
    squares: NDArray[np.uint32],
) -> None:
    """Four dates at a time, so that the sums are loaded and stored once for all of them.

    Small loops over few arrays each, because only those become vector instructions.
    """
    p = np.int32(days[date] - days[first])
    q = np.int32(days[min(date + 1, last - 1)] - days[first])
    r = np.int32(days[min(date + 2, last - 1)] - days[first])
    s = np.int32(days[min(date + 3, last - 1)] - days[first])
    _count_and_weigh(parts[0], parts[1], there[0], there[1], there[2], there[3], p, q, r, s)
    pp, qq, rr, ss = np.int32(p * p), np.int32(q * q), np.int32(r * r), np.int32(s * s)
    _weigh(parts[2], there[0], there[1], there[2], there[3], pp, qq, rr, ss)
    _count_and_weigh(parts[3], parts[4], whole[0], whole[1], whole[2], whole[3], p, q, r, s)
    _square(squares[0], squares[1], whole[0], whole[1], whole[2], whole[3])


@compiled
def _count_and_weigh(total: Any, weighed: Any, a: Any, b: Any, c: Any, d: Any, p: Any, q: Any, r: Any, s: Any) -> None:
    for at in range(total.size):
        i, j, k, m = np.int32(a[at]), np.int32(b[at]), np.int32(c[at]), np.int32(d[at])
        total[at] = np.int32(total[at] + np.int32(np.int32(i + j) + np.int32(k + m)))
        two, other = np.int32(np.int32(i * p) + np.int32(j * q)), np.int32(np.int32(k * r) + np.int32(m * s))
        weighed[at] = np.int32(weighed[at] + np.int32(two + other))


@compiled
def _weigh(weighed: Any, a: Any, b: Any, c: Any, d: Any, p: Any, q: Any, r: Any, s: Any) -> None:
    for at in range(weighed.size):
        i, j, k, m = np.int32(a[at]), np.int32(b[at]), np.int32(c[at]), np.int32(d[at])
        two, other = np.int32(np.int32(i * p) + np.int32(j * q)), np.int32(np.int32(k * r) + np.int32(m * s))
        weighed[at] = np.int32(weighed[at] + np.int32(two + other))


@compiled
def _square(total: Any, upper: Any, a: Any, b: Any, c: Any, d: Any) -> None:
    half = np.uint32(16)
    for at in range(total.size):
        i, j, k, m = np.uint32(a[at] * a[at]), np.uint32(b[at] * b[at]), np.uint32(c[at] * c[at]), np.uint32(d[at] * d[at])
        total[at] = np.uint32(total[at] + np.uint32(np.uint32(i + j) + np.uint32(k + m)))
        two, other = np.uint32((i >> half) + (j >> half)), np.uint32((k >> half) + (m >> half))
        upper[at] = np.uint32(upper[at] + np.uint32(two + other))


@compiled
def _add_parts(parts: NDArray[np.int32], squares: NDArray[np.uint32], first: int, sums: Whole, start: int, stop: int) -> None:
    """Add 32-bit sums, with days counted from `first`, to the whole ones."""
    n, st, stt = sums[0][start:stop], sums[1][start:stop], sums[2][start:stop]
    sy, sty, syy = sums[3][start:stop], sums[4][start:stop], sums[5][start:stop]
    for at in range(n.size):
        count, day = np.int64(parts[0, at]), np.int64(parts[1, at])
        n[at] += count
        st[at] += first * count + day
        stt[at] += first * (first * count + 2 * day) + parts[2, at]
    for at in range(n.size):
        sy[at] += parts[3, at]
        sty[at] += first * np.int64(parts[3, at]) + parts[4, at]
    for at in range(n.size):
        upper = np.int64(squares[1, at]) << 16
        syy[at] += upper + ((np.int64(squares[0, at]) - upper) & 0xFFFFFFFF)  # the lower halves: below 2^16 times 4,096


@compiled
def _lines(sums: Whole, least: int, rows: Floats, known: Floats, out: Floats) -> None:
    made = np.zeros((8, _AT_ONCE))
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
        made[0, at] = n
        made[1, at] = days
        made[2, at] = both
        made[3, at] = values
        made[4, at] = exact_difference(tt, y, t, ty)
        made[5, at] = exact_difference(days, values, both, both)
        made[6, at] = 1.0


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
    made = np.zeros((8, _AT_ONCE))
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
            made[0, at] = sums[0, at]
            made[1, at] = spread[0]
            made[2, at] = both[0]
            made[3, at] = varied[0]
            made[4, at] = at_zero[0]
            made[5, at] = difference_of_products(spread, varied, both, both)[0]
            made[6, at] = 1.0 / step[at]
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

    `made` holds n; n Stt - St^2; n Sty - St Sy; n Syy - Sy^2; Stt Sy - St Sty; the second times the fourth minus the square of
    the third; the unit; and room for one row. Short loops over few arrays, because only those become vector instructions.
    """
    count = stop - start
    n, days, both, values = made[0][:count], made[1][:count], made[2][:count], made[3][:count]
    at_zero, left, unit, r = made[4][:count], made[5][:count], made[6][:count], made[7][:count]
    slope, intercept, r2, rmse = out[0][start:stop], out[1][start:stop], out[3][start:stop], out[5][start:stop]
    for at in range(count):
        slope[at] = both[at] / days[at]
    for at in range(count):
        days[at] = days[at] if n[at] >= least and days[at] > 0 else nan  # NaN spreads to all that follows
    for at in range(count):
        intercept[at] = at_zero[at] / days[at] * unit[at]
    for at in range(count):
        left[at] = left[at] if left[at] > 0 else 0.0
    for at in range(count):
        rmse[at] = sqrt(left[at] / days[at]) / n[at]
    for at in range(count):  # a constant has no variance to explain: R^2 and p stay undefined
        left[at] = left[at] / (days[at] * values[at]) if values[at] > 0 else nan
    for at in range(count):
        r2[at] = slope[at] * (both[at] / values[at])
    for at in range(count):
        r2[at] = min(r2[at], 1.0) if left[at] >= 0 else nan
    for at in range(count):
        r[at] = sqrt(r2[at])
    for at in range(count):
        slope[at] = slope[at] * unit[at] if days[at] > 0 else nan
        rmse[at] *= unit[at]
    out[2][start:stop] = n
    p_values(n, r, left, rows, known, days, out[4][start:stop])
