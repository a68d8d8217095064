"""The two-sided p-value of a slope, from the share of the variance that it explains.

With t the statistic and df its degrees of freedom, cos^2 = df / (df + t^2) = 1 - R^2. Student's distribution is then a
finite series in cos (Abramowitz and Stegun 26.7.3 and 26.7.4), whose infinite rest is p itself: summed where p is small, it
keeps its relative precision.
"""

from __future__ import annotations

from math import atan2, nan, pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.trend.compiled import compiled

Floats = NDArray[np.float64]
SERIES_UP_TO = 200
"""Degrees of freedom for which the series is used; above, the incomplete beta function."""
_TERMS = 2048
_REST_IS_SHORT = 0.6
"""Below this 1 - R^2 the rest converges faster than it is worth to try the beginning first."""


def coefficients() -> Floats:
    """(2, terms): of the series for even and for odd degrees of freedom."""
    j = np.arange(1, _TERMS, dtype=np.float64)
    even = np.concatenate([[1.0], np.cumprod((2 * j - 1) / (2 * j))])
    odd = np.concatenate([[1.0], np.cumprod(2 * j / (2 * j + 1))])
    return np.stack([even, odd])


@compiled
def p_value(df: int, explained: float, unexplained: float, series: Floats) -> float:
    """p for R^2 = `explained` = 1 - `unexplained`, both exact on their own. NaN where no series is used."""
    if df < 1 or df > SERIES_UP_TO:
        return nan
    sine, cosine = sqrt(explained), sqrt(unexplained)
    odd = df % 2
    factor = 2 / pi * sine * cosine if odd else sine
    first = (df - 1) // 2 if odd else df // 2
    if unexplained > _REST_IS_SHORT:
        begun = factor * _polynomial(series[odd, :first], unexplained)
        p = 1.0 - (2 / pi * atan2(sine, cosine) if odd else 0.0) - begun
        if p > 0.01:
            return min(p, 1.0)
    return factor * unexplained**first * _rest(series[odd, first:], unexplained)


@compiled
def _polynomial(coefficients: Floats, x: float) -> float:
    """By four interleaved Horner schemes, so that a processor need not wait for each step."""
    size = coefficients.size
    whole = size - size % 4
    fourth = (x * x) * (x * x)
    a = b = c = d = 0.0
    tail = 0.0
    for j in range(size - 1, whole - 1, -1):
        tail = tail * x + coefficients[j]
    a = tail
    for j in range(whole - 4, -1, -4):
        a = a * fourth + coefficients[j]
        b = b * fourth + coefficients[j + 1]
        c = c * fourth + coefficients[j + 2]
        d = d * fourth + coefficients[j + 3]
    return (a + b * x) + (x * x) * (c + d * x)


@compiled
def _rest(coefficients: Floats, x: float) -> float:
    """The infinite sum, as far as it counts."""
    second, fourth = x * x, (x * x) * (x * x)
    total, power = 0.0, 1.0
    for j in range(0, coefficients.size - 3, 4):
        four = (coefficients[j] + coefficients[j + 1] * x) + second * (coefficients[j + 2] + coefficients[j + 3] * x)
        term = four * power
        total += term
        if term <= 1e-17 * total:
            break
        power *= fourth
    return total


def fill_large(p: Floats, n: Floats, explained: Floats, unexplained: Floats) -> None:
    """p in place where there are too many degrees of freedom for the series."""
    from scipy.special import betainc

    large = n - 2 > SERIES_UP_TO
    if large.any():
        p[large] = betainc((n[large] - 2) / 2, 0.5, unexplained[large])


def normal_two_sided(z: Any) -> Any:
    """p of a standard normal statistic."""
    from scipy.special import erfc

    return erfc(np.abs(z) / np.sqrt(2.0))
