"""Arithmetic with pairs of floats (106 bits): exact enough for differences of products of exact sums.

Dekker, T. J. (1971): A floating-point technique for extending the available precision. Numerische Mathematik 18, 224-242.
A pair (high, low) stands for high + low, with |low| at most half a unit in the last place of high.
"""

from __future__ import annotations

from typing import Any

from tilery.machine_code import built, called

Pair = tuple[float, float]
_SPLIT = 134217729.0  # 2**27 + 1


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


def _wide_difference(builder: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    from llvmlite import ir  # type: ignore[import-untyped]

    wide, word, real = ir.IntType(128), ir.IntType(64), ir.DoubleType()
    a, b, c, d = (builder.sext(argument, wide) for argument in (a, b, c, d))
    value = builder.sub(builder.mul(a, b), builder.mul(c, d))
    negative = builder.icmp_signed("<", value, ir.Constant(wide, 0))
    size = builder.select(negative, builder.neg(value), value)
    high = builder.sitofp(builder.trunc(builder.lshr(size, ir.Constant(wide, 64)), word), real)
    low = builder.uitofp(builder.trunc(size, word), real)
    total = builder.fadd(builder.fmul(high, ir.Constant(real, 2.0**64)), low)
    return builder.select(negative, builder.fneg(total), total)


@built(_wide_difference, "float64", "int64", "int64", "int64", "int64")
def exact_difference(a: Any, b: Any, c: Any, d: Any) -> Any:
    """a b - c d of 64-bit integers, by 128-bit integers: exact until it becomes a float, to 2^-52 of itself. Below 2^116."""
    return float(int(a) * int(b) - int(c) * int(d))
