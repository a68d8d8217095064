"""Parts of trends' kernels as kernels of their own, for tests."""

from __future__ import annotations

from typing import Any

from tilery.machine_code import LONG, NOTHING, Array, kernel
from tilery.workloads.trend import line_kernels, significance
from tilery.workloads.trend.doubled import exact_difference
from tilery.workloads.trend.instructions import root

_exponent, _power_of_two, _p_values = line_kernels._exponent, line_kernels._power_of_two, significance.p_values
READ, LINE = Array("float64", readonly=True), Array("float64")


@kernel(NOTHING, READ, READ, READ, Array("float64", 2), Array("float64", 2), LINE, Array("int64"), LINE)
def p_values(n: Any, r: Any, unexplained: Any, rows: Any, known: Any, power: Any, places: Any, p: Any) -> None:
    _p_values(n, r, unexplained, rows, known, power, places, p)


@kernel(NOTHING, LONG, LONG, LONG, LONG, LINE)
def difference(a: Any, b: Any, c: Any, d: Any, found: Any) -> None:
    found[0] = exact_difference(a, b, c, d)


@kernel(NOTHING, READ, LINE)
def taken_apart(values: Any, found: Any) -> None:
    """The exponent of a value, two to it (1,000 at most, either way), and the root."""
    found[0] = _exponent(values[0])
    found[1] = _power_of_two(min(max(_exponent(values[0]), -1000), 1000))
    found[2] = root(values[0])
