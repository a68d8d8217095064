"""The two-sided p-value of a slope, from the share of the variance that it explains.

With t the statistic and df its degrees of freedom, x = df / (df + t^2) = 1 - R^2 and p = I_x(df / 2, 1 / 2), the incomplete
beta function. p = x^(df/2) M(R), where M falls smoothly from 1 at R = 0 to 1 / (a B(a, 1/2)), a = df / 2: it is tabulated
once for each df as polynomials in 32 pieces, from the series and the continued fraction of DLMF 8.17.8 and 8.17.22. Because x
comes exactly (not as a difference from 1) and its power is a product, p keeps its relative precision, 1e-12, however small.
"""

from __future__ import annotations

import threading
from math import nan, pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.machine_code import called
from tilery.workloads.trend.instructions import root

Floats = NDArray[np.float64]
MOST_DF = 4094
_PIECES = 32
_DEGREE = 7
_NODES = np.cos(np.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1))
_FROM_NODES = np.linalg.inv(np.vander(_NODES, increasing=True))
"""Values at the Chebyshev nodes to coefficients."""
_SERIES_BELOW = 4.0
"""t^2 up to which p is 1 minus the series; above, the continued fraction converges fast and cancels nothing."""
_own = threading.local()


def table() -> tuple[Floats, Floats]:
    """This thread's table: (df x pieces, degree + 1) coefficients, those of a df filled when first needed, and (df, 2): the
    scale of the pieces (0 while they are empty) and 1 / B(df / 2, 1 / 2)."""
    if not hasattr(_own, "table"):
        known = np.zeros((MOST_DF + 1, 2))
        known[1:3, 1] = 1 / pi, 0.5
        for df in range(3, MOST_DF + 1):
            known[df, 1] = known[df - 2, 1] * (df - 1) / (df - 2)
        _own.table = np.zeros(((MOST_DF + 1) * _PIECES, _DEGREE + 1)), known
    found: tuple[Floats, Floats] = _own.table
    return found


@called
def fill(df: int, rows: Floats, known: Floats) -> None:
    """Compute the row of `df`. Pieces are equal in u = k R / (1 + (k - 1) R): they are shorter where M bends, near R = 0."""
    scale = max(1.0, root(df) / 2)
    for piece in range(_PIECES):
        row = rows[df * _PIECES + piece]
        for power in range(_DEGREE + 1):
            row[power] = 0.0
        for node in range(_DEGREE + 1):
            u = (piece + (_NODES[node] + 1) / 2) / _PIECES
            value = _scaled(df, u / (scale - u * (scale - 1)), known[df, 1])
            for power in range(_DEGREE + 1):
                row[power] += _FROM_NODES[power, node] * value
    known[df, 0] = scale


@called
def _scaled(df: int, r: float, over_beta: float) -> Any:
    """M = I_x(a, 1/2) / x^a with a = df / 2, x = 1 - r^2."""
    a, square = df / 2, r * r
    x = (1 - r) * (1 + r)
    if df * square < _SERIES_BELOW * x:
        total, term, k = 1.0, 1.0, 0
        while term > 1e-17 * total:
            term *= (a + 0.5 + k) / (1.5 + k) * square
            total += term
            k += 1
        return x**-a - 2 * r * over_beta * total
    return r * over_beta / a * _fraction(a, x)


@called
def _fraction(a: float, x: float) -> float:
    """The continued fraction of I_x(a, 1/2), by Lentz's method."""
    c, d = 1.0, 1 / (1 - (a + 0.5) * x / (a + 1))
    value = d
    for m in range(1, 1000):
        even = m * (0.5 - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / (1 + even * d)
        c = 1 + even / c
        value *= d * c
        odd = -(a + m) * (a + 0.5 + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / (1 + odd * d)
        c = 1 + odd / c
        value *= d * c
        if abs(d * c - 1) < 1e-16:
            break
    return value


@called
def p_values(n: Any, r: Any, unexplained: Any, rows: Any, known: Any, power: Any, places: Any, p: Any) -> None:
    """p of blocks of pixels: `n` dates, correlation `r` (its size) and `unexplained` = 1 - r^2, exact on its own.

    NaN where r is NaN or n < 3. `power` and `places` are working memory. Loops of few steps each, because those become vector
    instructions; what is looked up in the table goes pixel by pixel at the end.
    """
    most = 0.0
    for at in range(p.size):
        most = max(most, n[at])
    for at in range(p.size):
        df = np.int64(n[at]) - 2
        places[at] = df
        p[at] = unexplained[at]
        power[at] = root(unexplained[at]) if df & 1 else 1.0  # half a power more
    for bit in range(1, 12, 2):
        if np.int64(most) >> bit == 0:
            break
        for at in range(p.size):
            once = p[at]
            twice = once * once
            first = once if (places[at] >> bit) & 1 else 1.0
            second = twice if (places[at] >> (bit + 1)) & 1 else 1.0
            power[at] = (power[at] * first) * second
            p[at] = twice * twice
    for at in range(p.size):
        df = places[at]
        if df >= 1 and known[df, 0] == 0:
            fill(df, rows, known)
    for at in range(p.size):
        size, degrees = r[at], np.float64(places[at])
        there = degrees >= 1 and size >= 0
        scale = max(1.0, root(degrees if there else 1.0) / 2)
        u = scale * size / (1 + (scale - 1) * size) * _PIECES
        u = u if there else 0.0
        piece: Any = min(np.int64(u), _PIECES - 1)
        places[at] = places[at] * _PIECES + piece if there else 0
        p[at] = 2 * (u - piece) - 1
        power[at] = power[at] if there else nan
    for at in range(p.size):
        c, v = rows[places[at]], p[at]
        second = v * v
        low = (c[0] + c[1] * v) + second * (c[2] + c[3] * v)
        high = (c[4] + c[5] * v) + second * (c[6] + c[7] * v)
        value = power[at] * (low + second * second * high)
        p[at] = 1.0 if value > 1.0 else value


def normal_two_sided(z: Any) -> Any:
    """p of a standard normal statistic."""
    from scipy.special import erfc

    return erfc(np.abs(z) / np.sqrt(2.0))
