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
STREAM = 880
"""Pixels whose sums stay in the processor's cache while the dates go by."""
AT_ONCE = 440
"""The same where lines are made of sums."""
_COUNT_BITS = 13
_COUNT = 1 << _COUNT_BITS
"""n is below this, and Sd takes the bits above."""
SMALL = ("uint16", "int16", "int32")
"""The types of stacks of stored values."""

DAYS, RUNS = Array("int64", readonly=True), Array("int64", 2, readonly=True)
SUMS, LINES = Array("int64", 2), Array("float64", 2)
PARTS, MADE, PLACES = Array("int32"), Array("float64"), Array("int64")
TABLES = Array("float64", 2), Array("float64", 2)


def _add(steps: Any, runs: Any, values: Any, nodata: Any, centre: Any, blank: Any, parts: Any, sums: Any) -> None:
    """Add dates (steps and runs as `linear.cut` gives them; values, dates x pixels) to sums (6 x pixels). Values lie within
    2^15 of `centre`; `blank` is a row of `nodata`, `parts` (6 x STREAM) working memory."""
    for start in range(0, values.shape[1], STREAM):
        stop = min(values.shape[1], start + STREAM)
        _add_block(steps, runs, values, nodata, centre, start, stop, parts, blank, sums, start)


def _small(
    steps: Any,
    runs: Any,
    values: Any,
    nodata: Any,
    centre: Any,
    least: Any,
    blank: Any,
    parts: Any,
    sums: Any,
    made: Any,
    places: Any,
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
        _add_block(steps, runs, values, nodata, centre, start, stop, parts, blank, sums, 0)
        for at in range(start, stop, AT_ONCE):
            end = min(stop, at + AT_ONCE)
            _compare(sums, at - start, end - start, made)
            _finish(made, places, least, rows, known, out, at, end)


@called
def _add_block(
    steps: Any,
    runs: Any,
    values: Any,
    nodata: Any,
    centre: Any,
    start: Any,
    stop: Any,
    parts: Any,
    blank: Any,
    sums: Any,
    into: Any,
) -> None:
    """Add all dates of the pixels from `start` to `stop` to `sums`, where the first of them has the place `into`."""
    for run in range(runs.shape[0]):
        first, last, base, unit = runs[run, 0], runs[run, 1], runs[run, 2], runs[run, 3]
        all_n, all_d, all_dd = 0, 0, 0
        for at in range(6 * STREAM):
            parts[at] = 0
        for date in range(first, last, 4):
            a = values[date, start:stop]
            b = values[date + 1, start:stop] if date + 1 < last else blank[: stop - start]
            c = values[date + 2, start:stop] if date + 2 < last else blank[: stop - start]
            d = values[date + 3, start:stop] if date + 3 < last else blank[: stop - start]
            p, q = steps[date], steps[date + 1] if date + 1 < last else 0
            r, s = steps[date + 2] if date + 2 < last else 0, steps[date + 3] if date + 3 < last else 0
            _add_four(p, q, r, s, a, b, c, d, np.int32(nodata), np.int32(centre), parts)
            all_n, all_d, all_dd = all_n + 4, all_d + p + q + r + s, all_dd + p * p + q * q + r * r + s * s
        _add_parts(parts, all_n, all_d, all_dd, base, unit, centre, nodata - centre, sums, into, into + stop - start)


@called
def _add_four(p: Any, q: Any, r: Any, s: Any, a: Any, b: Any, c: Any, d: Any, nodata: Any, centre: Any, sums: Any) -> None:
    """Add four dates, `p` to `s` steps from the base, to sums that lie one after another: n and Sd (in one number) and Sdd
    of dates without a value; Sy, Sdy and the two halves of Syy of all dates, y counting from `centre`.

    What `nodata` adds to the latter is known and taken away at the end: nothing has to be masked but what is lost, which takes
    one instruction each. One array at fixed distances, because the compiler then knows that no sum overlaps another: all become
    one vector loop.
    """
    p, q, r, s = np.int32(p), np.int32(q), np.int32(r), np.int32(s)
    pp, qq, rr, ss = np.int32(p * p), np.int32(q * q), np.int32(r * r), np.int32(s * s)
    p1, q1 = np.int32(p * _COUNT + 1), np.int32(q * _COUNT + 1)
    r1, s1 = np.int32(r * _COUNT + 1), np.int32(s * _COUNT + 1)
    half = np.uint32(16)
    for at in range(a.size):
        i, j, k, m = np.int32(a[at]), np.int32(b[at]), np.int32(c[at]), np.int32(d[at])
        lost_i, lost_j, lost_k, lost_m = i == nodata, j == nodata, k == nodata, m == nodata
        count, square = sums[at], sums[at + STREAM]
        count = np.int32(count + p1) if lost_i else count
        count = np.int32(count + q1) if lost_j else count
        count = np.int32(count + r1) if lost_k else count
        count = np.int32(count + s1) if lost_m else count
        sums[at] = count
        square = np.int32(square + pp) if lost_i else square
        square = np.int32(square + qq) if lost_j else square
        square = np.int32(square + rr) if lost_k else square
        square = np.int32(square + ss) if lost_m else square
        sums[at + STREAM] = square
        i, j, k, m = np.int32(i - centre), np.int32(j - centre), np.int32(k - centre), np.int32(m - centre)
        sums[at + 2 * STREAM] = np.int32(sums[at + 2 * STREAM] + np.int32(np.int32(i + j) + np.int32(k + m)))
        two, other = np.int32(i * p) + np.int32(j * q), np.int32(k * r) + np.int32(m * s)
        sums[at + 3 * STREAM] = np.int32(sums[at + 3 * STREAM] + np.int32(two + other))
        one, more = np.uint32(np.int32(i * i) + np.int32(j * j)), np.uint32(np.int32(k * k) + np.int32(m * m))
        sums[at + 4 * STREAM] = np.int32(sums[at + 4 * STREAM] + np.int32(one + more))
        sums[at + 5 * STREAM] = np.int32(sums[at + 5 * STREAM] + np.int32((one >> half) + (more >> half)))


@called
def _add_parts(
    parts: Any,
    all_n: Any,
    all_d: Any,
    all_dd: Any,
    base: Any,
    unit: Any,
    centre: Any,
    nothing: Any,
    sums: Any,
    start: Any,
    stop: Any,
) -> None:
    """Add 32-bit sums, with steps of `unit` days counted from `base` and values from `centre`, to the whole ones: n, Sd and Sdd
    are those of all dates less what was lost, which counted as `nothing`."""
    n, st, stt = sums[0, start:stop], sums[1, start:stop], sums[2, start:stop]
    sy, sty, syy = sums[3, start:stop], sums[4, start:stop], sums[5, start:stop]
    for at in range(n.size):
        count, day = all_n - np.int64(parts[at] & (_COUNT - 1)), unit * (all_d - np.int64(parts[at] >> _COUNT_BITS))
        n[at] += count
        st[at] += base * count + day
        stt[at] += base * (base * count + 2 * day) + unit * unit * (all_dd - parts[at + STREAM])
    for at in range(n.size):
        lost, lost_day = np.int64(parts[at] & (_COUNT - 1)), np.int64(parts[at] >> _COUNT_BITS)
        count, day = all_n - lost, unit * (all_d - lost_day)
        value = np.int64(parts[at + 2 * STREAM]) - nothing * lost
        sy[at] += value + centre * count
        sty[at] += base * value + unit * (parts[at + 3 * STREAM] - nothing * lost_day) + centre * (base * count + day)
    for at in range(n.size):
        lost = np.int64(parts[at] & (_COUNT - 1))
        value = np.int64(parts[at + 2 * STREAM]) - nothing * lost
        upper = np.int64(np.uint32(parts[at + 5 * STREAM])) << 16
        lower = (np.int64(np.uint32(parts[at + 4 * STREAM])) - upper) & 0xFFFFFFFF  # their sum is below 2^16 times 4,096
        syy[at] += upper + lower - nothing * nothing * lost + centre * (2 * value + centre * (all_n - lost))


@kernel(NOTHING, SUMS, LONG, MADE, PLACES, *TABLES, LINES)
def lines(sums: Any, least: Any, made: Any, places: Any, rows: Any, known: Any, out: Any) -> None:
    """The lines that sums (6 x pixels) say, into `out` (6 x pixels)."""
    for start in range(0, sums.shape[1], AT_ONCE):
        stop = min(sums.shape[1], start + AT_ONCE)
        _compare(sums, start, stop, made)
        _finish(made, places, least, rows, known, out, start, stop)


@called
def _compare(sums: Any, start: Any, stop: Any, made: Any) -> None:
    """What `_finish` wants, from exact sums; the products of two sums are below 2^56 but for the intercept's."""
    n, t, tt = sums[0, start:stop], sums[1, start:stop], sums[2, start:stop]
    y, ty, yy = sums[3, start:stop], sums[4, start:stop], sums[5, start:stop]
    for at in range(stop - start):
        days, both, values = n[at] * tt[at] - t[at] * t[at], n[at] * ty[at] - t[at] * y[at], n[at] * yy[at] - y[at] * y[at]
        made[at] = n[at]
        made[at + AT_ONCE] = days
        made[at + 2 * AT_ONCE] = both
        made[at + 3 * AT_ONCE] = values
        made[at + 4 * AT_ONCE] = exact_difference(tt[at], y[at], t[at], ty[at])
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


@kernel(NOTHING, DAYS, Array("float64", 2, readonly=True), LONG, LINES, SUMS, MADE, PLACES, *TABLES, LINES)
def floats(
    days: Any, values: Any, least: Any, scales: Any, sums: Any, made: Any, places: Any, rows: Any, known: Any, out: Any
) -> None:
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
        _finish(made, places, least, rows, known, out, start, start + count)


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
def _finish(made: Any, places: Any, least: Any, rows: Any, known: Any, out: Any, start: Any, stop: Any) -> None:
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
    _copy(made[AT_ONCE : AT_ONCE + count], out[0, start:stop])
    _copy(made[2 * AT_ONCE : 2 * AT_ONCE + count], out[1, start:stop])
    _copy(made[:count], out[2, start:stop])
    _copy(made[3 * AT_ONCE : 3 * AT_ONCE + count], out[3, start:stop])
    _copy(made[4 * AT_ONCE : 4 * AT_ONCE + count], out[5, start:stop])
    unexplained_of, r = made[5 * AT_ONCE : 5 * AT_ONCE + count], made[6 * AT_ONCE : 6 * AT_ONCE + count]
    power, places = made[7 * AT_ONCE : 7 * AT_ONCE + count], places[:count]
    p_values(made[:count], r, unexplained_of, rows, known, power, places, out[4, start:stop])


@called
def _copy(one: Any, other: Any) -> None:
    for at in range(other.size):
        other[at] = one[at]


def _stack(kind: str) -> Array:
    return Array(kind, 2, readonly=True)


add = {
    kind: kernel(NOTHING, DAYS, RUNS, _stack(kind), LONG, LONG, Array(kind, readonly=True), PARTS, SUMS)(_add) for kind in SMALL
}
small = {
    kind: kernel(
        NOTHING,
        DAYS,
        RUNS,
        _stack(kind),
        LONG,
        LONG,
        LONG,
        Array(kind, readonly=True),
        PARTS,
        SUMS,
        MADE,
        PLACES,
        *TABLES,
        LINES,
    )(_small)
    for kind in SMALL
}
