"""Arithmetic with pairs of floats (106 bits): exact enough for differences of products of exact sums.

Dekker, T. J. (1971): A floating-point technique for extending the available precision. Numerische Mathematik 18, 224-242.
A pair (high, low) stands for high + low, with |low| at most half a unit in the last place of high.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tilery.machine_code import called, inlined

Pair = tuple[float, float]
_SPLIT = 134217729.0  # 2**27 + 1
_LOWER = (1 << 32) - 1


@called
def add(a: Pair, b: Pair) -> Pair:
    s = a[0] + b[0]
    c = s - a[0]
    e = (a[0] - (s - c)) + (b[0] - c) + (a[1] + b[1])
    high = s + e
    return high, e - (high - s)


@called
def multiply(a: Pair, b: Pair) -> Pair:
    p = a[0] * b[0]
    big = _SPLIT * a[0]
    a1 = big - (big - a[0])
    a2 = a[0] - a1
    big = _SPLIT * b[0]
    b1 = big - (big - b[0])
    b2 = b[0] - b1
    e = ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2
    e += a[0] * b[1] + a[1] * b[0]
    high = p + e
    return high, e - (high - p)


@called
def difference_of_products(a: Pair, b: Pair, c: Pair, d: Pair) -> Pair:
    """a b - c d."""
    p = multiply(c, d)
    return add(multiply(a, b), (-p[0], -p[1]))


@inlined
def exact_difference(a: Any, b: Any, c: Any, d: Any) -> Any:
    """a b - c d of integers below 2^56: exact, as 128 bits in halves of 32, until it becomes a float, to 2^-52 of itself.

    With shifts and products of 64 bits, because those become vector instructions.
    """
    a1, b1, c1, d1 = a >> 32, b >> 32, c >> 32, d >> 32
    a0, b0, c0, d0 = a & _LOWER, b & _LOWER, c & _LOWER, d & _LOWER
    one, other = np.uint64(a0 * b0), np.uint64(c0 * d0)
    low = np.int64(one & np.uint64(_LOWER)) - np.int64(other & np.uint64(_LOWER))
    middle = a1 * b0 + a0 * b1 - c1 * d0 - c0 * d1 + np.int64(one >> np.uint64(32)) - np.int64(other >> np.uint64(32))
    middle += low >> 32
    high = a1 * b1 - c1 * d1 + (middle >> 32)
    tail = (middle << 32) | (low & _LOWER)
    negative = high < 0
    tail = -tail if negative else tail
    high = (~high + (1 if tail == 0 else 0)) if negative else high
    total = np.float64(high) * 2.0**64 + np.float64(np.uint64(tail))
    return -total if negative else total
