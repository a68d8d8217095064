"""The straight line through every pixel's series, by least squares from integer sums.

Days are whole numbers and stored values are whole numbers, or are made so: then {n, St, Stt, Sy, Sty, Syy} are exact in any
order and any tiling, and the line follows from them with one rounding. Floating values become integers of 48 bits by a
power of two that each pixel's largest value sets, which does not depend on the order either.

Bounds: at most 4,096 dates over at most 2^15 days (89 years; see `scenes`, checked by `size`). For 16-bit values every sum
is below 2^53 and every product of two below 2^112; the 48-bit ones are summed in two halves as 64-bit integers.

Small values are first summed in 32 bits, over as many dates as fit (`cut`), with days counted from the middle of them:
twice as many pixels in a vector register. Everything happens in blocks of pixels that stay in the processor's cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.trend import line_kernels
from tilery.workloads.trend.line_kernels import AT_ONCE, STREAM
from tilery.workloads.trend.significance import Floats, table

_LARGEST = 1 << 15
"""Of a value that is summed, which counts from a centre."""
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
    """Sums of small integers (16 bit at most), some dates at a time in any order.

    >>> sums = Sums(1)
    >>> sums.add(np.array([0, 1, 2, 3]), np.array([[5], [7], [-1], [11]], np.int16), -1)
    >>> float(sums.line(2).slope[0])
    2.0
    """

    def __init__(self, pixels: int) -> None:
        self._sums = np.zeros((6, pixels), np.int64)

    def add(self, days: NDArray[Any], values: NDArray[Any], nodata: int) -> None:
        """Add dates: `values` (16 or 32 bit) are (dates, pixels), `days` (dates); `nodata`, of the values' type, means that
        there is none: of int32, -1 beside unsigned and 32,768 beside signed 16-bit values."""
        kind = values.dtype.name
        line_kernels.add[kind](
            *cut(days.astype(np.int64)),
            np.ascontiguousarray(values),
            nodata,
            _centre(values, nodata),
            *_room(kind, nodata),
            self._sums,
        )

    def merge(self, other: Sums) -> None:
        """Add what another worker summed over other dates."""
        self._sums += other._sums

    def line(self, least: int) -> Line:
        """The line of each pixel with at least `least` dates."""
        out = np.empty((6, self._sums.shape[1]))
        line_kernels.lines(self._sums, least, *_made(), *table(), out)
        return Line(out)


def of_small(days: NDArray[Any], values: NDArray[Any], nodata: int, least: int) -> Line:
    """The line of each pixel of a whole stack of small integers, (dates, pixels), where `nodata` means that there is no
    value, as in `Sums.add`.

    As `Sums` gives it, but the stack is passed over once and nothing is kept between.
    """
    out = np.empty((6, values.shape[1]))
    kind, sums = values.dtype.name, np.empty((6, STREAM), np.int64)
    line_kernels.small[kind](
        *cut(days.astype(np.int64)),
        np.ascontiguousarray(values),
        nodata,
        _centre(values, nodata),
        least,
        *_room(kind, nodata),
        sums,
        *_made(),
        *table(),
        out,
    )
    return Line(out)


def of_floats(days: NDArray[Any], values: Floats, least: int) -> Line:
    """The line of each pixel of (dates, pixels) values; NaN and infinity mean that there is no value."""
    out = np.empty((6, values.shape[1]))
    scales, sums = np.empty((2, AT_ONCE)), np.empty((10, AT_ONCE), np.int64)
    line_kernels.floats(
        days.astype(np.int64), np.ascontiguousarray(values, np.float64), least, scales, sums, *_made(), *table(), out
    )
    return Line(out)


def cut(days: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Runs of dates whose sums 32 bits hold, as (first, last, base, unit); and the steps of each date from its run's base, in
    units of days. Steps are as small as can be: counted from the middle, in the largest unit that all dates are multiples of.

    >>> steps, runs = cut(np.array([0, 16, 32, 48, 64]))
    >>> steps.tolist(), runs.tolist()
    ([-2, -1, 0, 1, 2], [[0, 5, 32, 16]])
    """
    steps, runs = np.zeros(len(days), np.int64), list[tuple[int, int, int, int]]()

    def add(first: int, last: int) -> None:
        part = days[first:last]
        unit = int(np.gcd.reduce(part - part[0])) or 1
        base = int(part[0]) + (int(part.min()) + int(part.max()) - 2 * int(part[0])) // 2 // unit * unit
        away = (part - base) // unit
        if np.abs(away).sum() * _LARGEST <= _FITS and (away * away).sum() <= _FITS:
            steps[first:last] = away
            runs.append((first, last, base, unit))
        else:
            middle = (first + last) // 2
            add(first, middle)
            add(middle, last)

    if len(days):
        add(0, len(days))
    return steps, np.array(runs, np.int64).reshape(-1, 4)


def _room(kind: str, nodata: int) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """A row without values, and working memory."""
    return np.full(STREAM, nodata, kind), np.empty(6 * STREAM, np.int32)


def _centre(values: NDArray[Any], nodata: int) -> int:
    """What values and `nodata` are counted from: all then lie within 2^15 of it, so that two squares fit into 32 bits."""
    return 1 << 15 if values.dtype == np.uint16 else (1 << 15) - 1 if nodata == -1 and values.dtype == np.int32 else 0


def _made() -> tuple[Floats, NDArray[np.int64]]:
    return np.empty(8 * AT_ONCE), np.empty(AT_ONCE, np.int64)
