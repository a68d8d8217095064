"""Kernels of `linear`: sums of dates, and lines from sums, in blocks of pixels that stay in the processor's cache."""

from __future__ import annotations

from math import nan
from typing import Any

import numpy as np

from tilery import machine_code
from tilery.machine_code import LONG, NOTHING, Array, called, kernel
from tilery.workloads.trend.doubled import difference_of_products, exact_difference
from tilery.workloads.trend.instructions import bits_of, float_of, root
from tilery.workloads.trend.significance import p_values

PROCESSORS = tuple(machine_code.VECTORS)
_BITS = 47
_HALF = 24
STREAM = 1024
"""Pixels whose sums stay in the processor's cache while the dates go by."""
AT_ONCE = 512
"""The same where lines are made of sums."""
_LARGEST = 65535
_FITS = (1 << 31) - 1
SMALL = ("uint8", "int8", "uint16", "int16", "int32")
"""The types of stacks of stored values."""

DAYS, SUMS, LINES = Array("int64", readonly=True), Array("int64", 2), Array("float64", 2)
PARTS, MADE = Array("int32"), Array("float64")
TABLES = Array("float64", 3), Array("float64", 2)


def _add(days: Any, values: Any, nodata: Any, blank: Any, parts: Any, sums: Any) -> None:
    """Add dates (days; values, dates x pixels) to sums (6 x pixels). `blank` is a row of `nodata`, `parts` working memory."""
    for start in range(0, values.shape[1], STREAM):
        stop = min(values.shape[1], start + STREAM)
        _add_block(days, values, nodata, start, stop, parts, blank, sums, start)


def _small(
    days: Any,
    values: Any,
    nodata: Any,
    least: Any,
    blank: Any,
    parts: Any,
    sums: Any,
    made: Any,
    rows: Any,
    known: Any,
    out: Any,
) -> None:
    """The lines of a whole stack of small integers, into `out` (6 x pixels); `sums` (6 x STREAM) is working memory too."""
    for start in range(0, values.shape[1], STREAM):
        stop = min(values.shape[1], start + STREAM)
        for row in range(6):
            for at in range(STREAM):
                sums[row, at] = 0
        _add_block(days, values, nodata, start, stop, parts, blank, sums, 0)
        for at in range(start, stop, AT_ONCE):
            end = min(stop, at + AT_ONCE)
            _compare(sums, at - start, end - start, made)
            _finish(made, least, rows, known, out, at, end)


@called
def _add_block(
    days: Any,
    values: Any,
    nodata: Any,
    start: Any,
    stop: Any,
    parts: Any,
    blank: Any,
    sums: Any,
    into: Any,
) -> None:
    """Add all dates of the pixels from `start` to `stop` to `sums`, where the first of them has the place `into`."""
    first = 0
    while first < days.size:
        last = _fitting(days, first)
        for at in range(7 * STREAM):
            parts[at] = 0
        for date in range(first, last, 4):
            a = values[date, start:stop]
            b = values[date + 1, start:stop] if date + 1 < last else blank[: stop - start]
            c = values[date + 2, start:stop] if date + 2 < last else blank[: stop - start]
            d = values[date + 3, start:stop] if date + 3 < last else blank[: stop - start]
            _add_four(days, date, first, last, a, b, c, d, np.int32(nodata), parts)
        _add_parts(parts, days[first], sums, into, into + stop - start)
        first = last


@called
def _add_four(days: Any, date: Any, first: Any, last: Any, a: Any, b: Any, c: Any, d: Any, nodata: Any, sums: Any) -> None:
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
        sums[at + STREAM] = np.int32(sums[at + STREAM] + np.int32(two + other))
        two, other = (pp if has_i else none) + (qq if has_j else none), (rr if has_k else none) + (ss if has_m else none)
        sums[at + 2 * STREAM] = np.int32(sums[at + 2 * STREAM] + np.int32(two + other))
        sums[at + 3 * STREAM] = np.int32(sums[at + 3 * STREAM] + np.int32(np.int32(i + j) + np.int32(k + m)))
        two, other = np.int32(i * p) + np.int32(j * q), np.int32(k * r) + np.int32(m * s)
        sums[at + 4 * STREAM] = np.int32(sums[at + 4 * STREAM] + np.int32(two + other))
        ii, jj, kk, mm = np.uint32(i * i), np.uint32(j * j), np.uint32(k * k), np.uint32(m * m)
        lower = np.uint32(np.uint32(ii + jj) + np.uint32(kk + mm))
        sums[at + 5 * STREAM] = np.int32(sums[at + 5 * STREAM] + np.int32(lower))
        upper = np.uint32(np.uint32((ii >> half) + (jj >> half)) + np.uint32((kk >> half) + (mm >> half)))
        sums[at + 6 * STREAM] = np.int32(sums[at + 6 * STREAM] + np.int32(upper))


@called
def _fitting(days: Any, first: Any) -> Any:
    """Up to which date 32 bits hold the sums that begin with `first`."""
    linear, square = 0, 0
    for date in range(first, len(days)):
        away = abs(days[date] - days[first])
        linear += away
        square += away * away
        if linear * _LARGEST > _FITS or square > _FITS:
            return date
    return len(days)


@called
def _add_parts(parts: Any, first: Any, sums: Any, start: Any, stop: Any) -> None:
    """Add 32-bit sums, with days counted from `first`, to the whole ones."""
    n, st, stt = sums[0][start:stop], sums[1][start:stop], sums[2][start:stop]
    sy, sty, syy = sums[3][start:stop], sums[4][start:stop], sums[5][start:stop]
    for at in range(n.size):
        count, day = np.int64(parts[at]), np.int64(parts[at + STREAM])
        n[at] += count
        st[at] += first * count + day
        stt[at] += first * (first * count + 2 * day) + parts[at + 2 * STREAM]
    for at in range(n.size):
        sy[at] += parts[at + 3 * STREAM]
        sty[at] += first * np.int64(parts[at + 3 * STREAM]) + parts[at + 4 * STREAM]
    for at in range(n.size):
        upper = np.int64(np.uint32(parts[at + 6 * STREAM])) << 16
        lower = (np.int64(np.uint32(parts[at + 5 * STREAM])) - upper) & 0xFFFFFFFF  # their sum is below 2^16 times 4,096
        syy[at] += upper + lower


@kernel(NOTHING, SUMS, LONG, MADE, *TABLES, LINES)
def lines(sums: Any, least: Any, made: Any, rows: Any, known: Any, out: Any) -> None:
    """The lines that sums (6 x pixels) say, into `out` (6 x pixels)."""
    for start in range(0, sums.shape[1], AT_ONCE):
        stop = min(sums.shape[1], start + AT_ONCE)
        _compare(sums, start, stop, made)
        _finish(made, least, rows, known, out, start, stop)


@called
def _compare(sums: Any, start: Any, stop: Any, made: Any) -> None:
    """What `_finish` wants, from exact sums; the products of two sums are below 2^56 but for the intercept's."""
    for at in range(stop - start):
        n, t, tt = sums[0, start + at], sums[1, start + at], sums[2, start + at]
        y, ty, yy = sums[3, start + at], sums[4, start + at], sums[5, start + at]
        days, both, values = n * tt - t * t, n * ty - t * y, n * yy - y * y
        made[at] = n
        made[at + AT_ONCE] = days
        made[at + 2 * AT_ONCE] = both
        made[at + 3 * AT_ONCE] = values
        made[at + 4 * AT_ONCE] = exact_difference(tt, y, t, ty)
        made[at + 5 * AT_ONCE] = exact_difference(days, values, both, both)
        made[at + 6 * AT_ONCE] = 1.0


@called
def _exponent(value: Any) -> Any:
    """The least power of two above a positive, normal value; as `frexp`."""
    return ((bits_of(value) >> 52) & 0x7FF) - 1022


@called
def _power_of_two(power: Any) -> Any:
    return float_of((power + 1023) << 52)


@called
def _pair(whole: Any) -> Any:
    """An integer of 63 bits as a pair, exactly."""
    high = np.float64(whole)
    return high, np.float64(whole - np.int64(high))


@kernel(NOTHING, DAYS, Array("float64", 2, readonly=True), LONG, LINES, SUMS, MADE, *TABLES, LINES)
def floats(days: Any, values: Any, least: Any, scales: Any, sums: Any, made: Any, rows: Any, known: Any, out: Any) -> None:
    """The lines of (dates, pixels) values, into `out` (6 x pixels). `scales` (2 x AT_ONCE) and `sums` (10 x AT_ONCE) are
    working memory."""
    dates, pixels = values.shape
    largest, step = scales[0], scales[1]
    for start in range(0, pixels, AT_ONCE):
        count = min(pixels - start, AT_ONCE)
        for at in range(AT_ONCE):
            largest[at] = 0.0
        for row in range(10):
            for at in range(AT_ONCE):
                sums[row, at] = 0
        for date in range(dates):
            for at in range(count):
                size = abs(values[date, start + at])
                if size < np.inf and size > largest[at]:
                    largest[at] = size
        for at in range(count):
            step[at] = _power_of_two(_BITS - _exponent(largest[at])) if largest[at] > 1e-280 else 1.0
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
            made[at + AT_ONCE] = spread[0]
            made[at + 2 * AT_ONCE] = both[0]
            made[at + 3 * AT_ONCE] = varied[0]
            made[at + 4 * AT_ONCE] = at_zero[0]
            made[at + 5 * AT_ONCE] = difference_of_products(spread, varied, both, both)[0]
            made[at + 6 * AT_ONCE] = 1.0 / step[at]
        _finish(made, least, rows, known, out, start, start + count)


@called
def _joined(top: Any, high: Any, low: Any) -> Any:
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


@called
def _finish(made: Any, least: Any, rows: Any, known: Any, out: Any, start: Any, stop: Any) -> None:
    """slope, intercept, n, R^2, p, RMSE of a block of pixels; values are whole numbers of a unit.

    `made` holds, one after another: n; n Stt - St^2; n Sty - St Sy; n Syy - Sy^2; Stt Sy - St Sty; the second times the fourth
    minus the square of the third; the unit; and room for one row. NaN where there is no line; a constant has no variance to
    explain: R^2 and p stay undefined. At fixed distances in one array, so that it becomes one loop of vector instructions.
    """
    count = stop - start
    for at in range(count):
        n, days, both = made[at], made[at + AT_ONCE], made[at + 2 * AT_ONCE]
        values, at_zero = made[at + 3 * AT_ONCE], made[at + 4 * AT_ONCE]
        left, unit = made[at + 5 * AT_ONCE], made[at + 6 * AT_ONCE]
        days = days if n >= least and days > 0 else nan  # NaN spreads to all that follows
        left = left if left > 0 else 0.0
        slope = both / days
        unexplained = left / (days * values) if values > 0 else nan
        explained = slope * (both / values)
        explained = min(explained, 1.0) if unexplained >= 0 else nan
        made[at + AT_ONCE] = slope * unit
        made[at + 2 * AT_ONCE] = at_zero / days * unit
        made[at + 3 * AT_ONCE] = explained
        made[at + 4 * AT_ONCE] = root(left / days) / n * unit
        made[at + 5 * AT_ONCE] = unexplained
        made[at + 6 * AT_ONCE] = root(explained)
    for at in range(count):
        out[0, start + at], out[1, start + at] = made[at + AT_ONCE], made[at + 2 * AT_ONCE]
        out[2, start + at], out[3, start + at] = made[at], made[at + 3 * AT_ONCE]
        out[5, start + at] = made[at + 4 * AT_ONCE]
    unexplained_of, r = made[5 * AT_ONCE : 5 * AT_ONCE + count], made[6 * AT_ONCE : 6 * AT_ONCE + count]
    p_values(made[:count], r, unexplained_of, rows, known, made[7 * AT_ONCE : 7 * AT_ONCE + count], out[4][start:stop])


def _stack(kind: str) -> Array:
    return Array(kind, 2, readonly=True)


add = {kind: kernel(NOTHING, DAYS, _stack(kind), LONG, Array(kind, readonly=True), PARTS, SUMS)(_add) for kind in SMALL}
small = {
    kind: kernel(NOTHING, DAYS, _stack(kind), LONG, LONG, Array(kind, readonly=True), PARTS, SUMS, MADE, *TABLES, LINES)(_small)
    for kind in SMALL
}
