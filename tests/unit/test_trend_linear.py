"""The line of a pixel is scipy's, and does not depend on order or split, bit for bit."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from tests.unit import trend_kernels
from tilery import machine_code
from tilery.workloads.trend import linear, robust, seasonal, significance
from tilery.workloads.trend.linear import Line, Sums
from tilery.workloads.trend.seasonal import YEAR_DAYS

RANDOM = np.random.default_rng(3)
DAYS = np.sort(RANDOM.choice(9000, 61, replace=False))
FLAT = RANDOM.integers(0, 10000, (61, 40))
RISING = (2000 + 0.4 * DAYS[:, None] + RANDOM.normal(0, 60, (61, 40))).astype(np.int64)
COUNTS = np.concatenate([FLAT, RISING], axis=1).astype(np.uint16)
VALID = RANDOM.random(COUNTS.shape) > 0.3
NONE = -1
"""Beside unsigned values."""


def of_whole(days: NDArray[Any], values: NDArray[Any], valid: NDArray[Any], least: int = 3) -> Line:
    sums = Sums(values.shape[1])
    sums.add(days, marked(values, valid), none_beside(values))
    return sums.line(least)


def none_beside(values: NDArray[Any]) -> int:
    return NONE if values.dtype.kind == "u" else 1 << 15


def marked(values: NDArray[Any], valid: NDArray[Any]) -> NDArray[Any]:
    return np.where(valid, values.astype(np.int32), np.int32(none_beside(values)))


def bits(line: Line) -> list[bytes]:
    return [getattr(line, name).tobytes() for name in ("slope", "intercept", "n", "r2", "p", "rmse")]


def assert_scipy(line: Line, days: NDArray[Any], values: NDArray[Any]) -> None:
    """To 1e-12 of the size of the values, and of p relative to itself."""
    size = np.nanmax(np.abs(values))
    for pixel in range(values.shape[1]):
        there = np.isfinite(values[:, pixel])
        t, y = days[there] / YEAR_DAYS, values[there, pixel]
        wanted: Any = stats.linregress(t, y)
        rest = y - wanted.intercept - wanted.slope * t
        assert line.n[pixel] == there.sum()
        assert line.slope[pixel] * YEAR_DAYS == pytest.approx(wanted.slope, rel=1e-12, abs=1e-12 * size)
        assert line.intercept[pixel] == pytest.approx(wanted.intercept, rel=1e-12, abs=1e-12 * size)
        assert line.r2[pixel] == pytest.approx(wanted.rvalue**2, rel=1e-12, abs=1e-12)
        assert line.p[pixel] == pytest.approx(wanted.pvalue, rel=1e-9, abs=1e-300)
        assert line.rmse[pixel] == pytest.approx(np.sqrt((rest**2).mean()), rel=1e-12, abs=1e-12 * size)


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_sums_of_small_integers_give_scipys_line(kind: type) -> None:
    values = COUNTS.astype(kind)
    assert_scipy(of_whole(DAYS, values, VALID), DAYS, np.where(VALID, values, np.nan))


@pytest.mark.parametrize("factor", [1.0, 1e-4, 1e6, -3.7e-9])
def test_floats_of_any_size_give_scipys_line(factor: float) -> None:
    values = np.where(VALID, COUNTS * factor, np.nan)
    assert_scipy(linear.of_floats(DAYS, values, 3), DAYS, values)


@pytest.mark.parametrize("dates", [3, 4, 5, 12, 200, 203, 204, 900])
def test_the_p_value_is_right_for_few_and_for_many_dates(dates: int) -> None:
    days = np.sort(np.random.default_rng(dates).choice(20000, dates, replace=False))
    noise = np.random.default_rng(dates).normal(0, 1000, (dates, 30))
    values = (20000 + noise + days[:, None] * np.linspace(-1, 1, 30)).astype(np.int16)
    assert_scipy(of_whole(days, values, np.ones(values.shape, bool)), days, values.astype(float))


def test_the_p_value_keeps_its_digits_where_the_trend_is_beyond_doubt() -> None:
    days = np.arange(60) * 16
    values = (1000 + days * 5 + np.random.default_rng(0).integers(-3, 4, 60)).astype(np.uint16)[:, None]
    line = of_whole(days, values, np.ones(values.shape, bool))
    assert 0 < line.p[0] < 1e-100
    assert line.p[0] == pytest.approx(float(stats.linregress(days, values[:, 0]).pvalue), rel=1e-6)


def test_a_perfect_line_has_no_error_at_all() -> None:
    days = np.array([0, 16, 48, 400])
    line = of_whole(days, (7 + 2 * days[:, None]).astype(np.uint16), np.ones((4, 1), bool))
    assert (line.slope[0], line.intercept[0], line.r2[0], line.p[0], line.rmse[0]) == (2.0, 7.0, 1.0, 0.0, 0.0)


def test_a_constant_has_no_slope_and_nothing_to_explain_as_in_scipy() -> None:
    line = of_whole(DAYS, np.full((61, 1), 77, np.uint8), np.ones((61, 1), bool))
    wanted: Any = stats.linregress(DAYS, np.full(61, 77.0))
    assert (line.slope[0], line.intercept[0], line.rmse[0]) == (0.0, 77.0, 0.0)
    assert np.isnan([line.r2[0], line.p[0], wanted.rvalue, wanted.pvalue]).all()


def test_too_few_dates_and_dates_of_one_day_give_no_line() -> None:
    values = np.array([[1, 1], [2, 2], [3, 3]], np.uint16)
    valid = np.array([[True, True], [True, False], [False, False]])
    assert np.isnan(of_whole(np.array([0, 5, 9]), values, valid, 2).slope).tolist() == [False, True]
    assert np.isnan(of_whole(np.array([4, 4, 4]), values, np.ones((3, 2), bool)).slope).all()


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(61)), st.lists(st.integers(1, 60), max_size=5))
def test_any_order_of_dates_in_any_runs_gives_the_same_bits(order: list[int], cuts: list[int]) -> None:
    sums = Sums(COUNTS.shape[1])
    for part in np.split(np.array(order), sorted(set(cuts))):
        sums.add(DAYS[part], marked(COUNTS[part], VALID[part]), NONE)
    assert bits(sums.line(3)) == bits(linear.of_small(DAYS[order], marked(COUNTS, VALID)[order], NONE, 3))
    assert bits(sums.line(3)) == bits(of_whole(DAYS, COUNTS, VALID))


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
@pytest.mark.parametrize("longest", [3, 900, 32767])
def test_a_whole_stack_at_once_gives_the_same_bits_as_its_sums(kind: Any, longest: int) -> None:
    """However many dates the 32-bit sums can take, and in which order the days come."""
    limits = np.iinfo(kind)
    random = np.random.default_rng(longest)
    values: Any = random.integers(limits.min, limits.max, (61, 1100), endpoint=True).astype(kind)
    values[random.random(values.shape) < 0.3] = 7
    days = random.integers(0, longest, 61)
    days[:3] = longest, 0, longest // 2
    line = linear.of_small(days, values, 7, 3)
    assert bits(line) == bits(of_whole(days, values, values != 7))
    assert_scipy(Line(line.rows[:, :40]), days, np.where(values[:, :40] == 7, np.nan, values[:, :40].astype(float)))


@pytest.mark.parametrize("df", [1, 2, 3, 58, 199, 1000, 4094])
def test_the_tabulated_p_value_is_the_incomplete_beta_function(df: int) -> None:
    from scipy.special import betainc

    t = np.concatenate([np.linspace(1e-6, 12, 5000), np.geomspace(12, 1e5, 500)])
    square = t * t / (df + t * t)
    rest = df / (df + t * t)
    wanted = np.where(t < 1, 1 - betainc(0.5, df / 2, square), betainc(df / 2, 0.5, rest))
    p = np.empty(t.size)
    trend_kernels.p_values(
        np.full(t.size, df + 2.0), np.sqrt(square), rest, *significance.table(), np.empty(t.size), np.empty(t.size, np.int64), p
    )
    large = wanted > 1e-290
    assert p[large] == pytest.approx(wanted[large], rel=3e-12)
    assert (p[~large] < 1e-289).all()


@given(*[st.integers(-(2**55), 2**55)] * 4)
def test_a_difference_of_products_is_rounded_only_at_its_end(a: int, b: int, c: int, d: int) -> None:
    found = np.empty(1)
    for second in ((c, d), (a, b), (a, b + 1)):
        trend_kernels.difference(a, b, *second, found)
        assert found[0] == pytest.approx(a * b - second[0] * second[1], rel=2.0**-52, abs=0)


@given(st.floats(1e-300, 1e300))
def test_the_bits_of_a_float_say_its_power_of_two(value: float) -> None:
    power = np.frexp(value)[1]
    found = np.empty(3)
    trend_kernels.taken_apart(np.array([value]), found)
    assert found.tolist() == [power, 2.0 ** min(max(power, -1000), 1000), np.sqrt(value)]


def test_sums_of_two_workers_merge_to_the_whole() -> None:
    one, other = Sums(COUNTS.shape[1]), Sums(COUNTS.shape[1])
    one.add(DAYS[:20], marked(COUNTS[:20], VALID[:20]), NONE)
    other.add(DAYS[20:], marked(COUNTS[20:], VALID[20:]), NONE)
    other.merge(one)
    assert bits(other.line(3)) == bits(of_whole(DAYS, COUNTS, VALID))


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(61)), st.integers(1, 79))
def test_floats_do_not_depend_on_order_or_neighbours_either(order: list[int], cut: int) -> None:
    values = np.where(VALID, np.sin(COUNTS) * 0.3, np.nan)
    wanted = linear.of_floats(DAYS, values, 3)
    shuffled = values[np.array(order)]
    parts = [linear.of_floats(DAYS[np.array(order)], part, 3) for part in (shuffled[:, :cut], shuffled[:, cut:])]
    joined = Line(np.concatenate([part.rows for part in parts], axis=1))
    assert bits(joined) == bits(wanted)


def test_the_largest_sums_that_are_allowed_do_not_overflow() -> None:
    days = np.linspace(0, 1 << 15, 4096).astype(np.int64)
    values = np.where(np.arange(4096)[:, None] % 2 == 0, 65535, 65000).astype(np.uint16)
    everywhere = np.ones(values.shape, bool)
    assert_scipy(of_whole(days, values, everywhere), days, values.astype(float))
    assert_scipy(linear.of_floats(days, values * 1.0, 3), days, values * 1.0)


def test_sens_slope_and_kendalls_tau_are_scipys() -> None:
    values = np.where(VALID, (COUNTS // 50).astype(float), np.nan)
    found = robust.fit(DAYS, values, 3)
    for pixel in range(values.shape[1]):
        there = np.isfinite(values[:, pixel])
        t, y = DAYS[there], values[there, pixel]
        wanted: Any = stats.theilslopes(y, t)
        tau: Any = stats.kendalltau(t, y, method="asymptotic")
        assert found[0, pixel] == pytest.approx(wanted[0], abs=1e-12)
        assert found[1, pixel] == pytest.approx(tau.statistic, abs=1e-12)
        assert found[2, pixel] == pytest.approx(tau.pvalue, rel=0.25, abs=0.02)  # scipy corrects for ties, not continuity


def test_mann_kendalls_p_is_that_of_the_textbook() -> None:
    """Gilbert (1987), Statistical Methods for Environmental Pollution Monitoring, 16.4.3: Var(S) with a group of ties."""
    values = np.array([10, 22, 21, 30, 22, 30, 22, 40, 24, 40.0])[:, None]
    days = np.arange(10)
    score = sum(np.sign(values[j, 0] - values[i, 0]) for i in range(10) for j in range(i + 1, 10))
    variance = (10 * 9 * 25 - (3 * 2 * 11 + 2 * 1 * 9 + 2 * 1 * 9)) / 18
    z = (score - 1) / np.sqrt(variance)
    assert robust.fit(days, values, 3)[2, 0] == pytest.approx(2 * stats.norm.sf(z), rel=1e-12)


def test_the_seasonal_fit_is_least_squares_and_finds_the_peak() -> None:
    of_year = (DAYS % 365).astype(float)
    wave = 300 * np.cos(2 * np.pi * (of_year - 200) / YEAR_DAYS)
    values = (1000 + 0.5 * DAYS + wave + np.random.default_rng(1).normal(0, 5, 61))[:, None]
    values[[3, 17]] = np.nan
    found = dict(zip(seasonal.bands(2), seasonal.fit(DAYS, of_year, values, 2)[:, 0], strict=True))
    there = np.isfinite(values[:, 0])
    angle = 2 * np.pi * of_year / YEAR_DAYS
    columns = [np.ones(61), DAYS / YEAR_DAYS, np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)]
    wanted = np.linalg.lstsq(np.stack(columns, 1)[there], values[there, 0], rcond=None)[0]
    assert found["seasonal_slope"] * YEAR_DAYS == pytest.approx(wanted[1], rel=1e-9)
    assert found["amplitude_1"] == pytest.approx(np.hypot(wanted[2], wanted[3]), rel=1e-9)
    assert found["amplitude_2"] == pytest.approx(np.hypot(wanted[4], wanted[5]), rel=1e-7)
    assert found["peak_day_1"] == pytest.approx(200, abs=2)
    assert found["seasonal_r2"] > 0.99
    x, y = np.stack(columns, 1)[there], values[there, 0]
    rest, freedom = y - x @ wanted, len(y) - x.shape[1]
    t = wanted[1] / np.sqrt(rest @ rest / freedom * np.linalg.inv(x.T @ x)[1, 1])
    assert found["seasonal_p"] == pytest.approx(2 * stats.t.sf(abs(t), freedom), rel=1e-6, abs=1e-290)


def test_the_p_of_a_seasonal_slope_is_uniform_where_there_is_none() -> None:
    of_year = (DAYS % 365).astype(float)
    noise = np.random.default_rng(2).normal(0, 1, (61, 4000)) + np.cos(2 * np.pi * of_year / YEAR_DAYS)[:, None]
    p = seasonal.fit(DAYS, of_year, noise, 1)[seasonal.bands(1).index("seasonal_p")]
    assert stats.kstest(p, "uniform").pvalue > 0.01


@pytest.mark.parametrize("value", [7.0, 0.1, 1 / 3, 273.15, -1e20])
def test_a_constant_has_no_seasons_and_no_trend(value: float) -> None:
    """Neither where the sum of its values is rounded: tenths all over a mask must not count as rising."""
    fitted = seasonal.fit(DAYS, (DAYS % 365).astype(float), np.full((61, 1), value), 1)
    found = dict(zip(seasonal.bands(1), fitted, strict=True))
    assert np.isnan(found.pop("seasonal_p")[0])
    assert {name: band[0] for name, band in found.items()} == dict.fromkeys(found, 0.0)


def test_the_curve_goes_through_what_was_fitted() -> None:
    of_year = (DAYS % 365).astype(float)
    exact = 3 + 0.01 * DAYS + 2 * np.cos(2 * np.pi * (of_year - 100) / YEAR_DAYS)
    at = seasonal.curve(DAYS, of_year, exact[:, None], 1, (DAYS[::7], of_year[::7]))
    assert at[:, 0] == pytest.approx(exact[::7], rel=1e-9)


def test_a_series_too_short_for_its_seasons_gets_none() -> None:
    few = np.full((61, 1), np.nan)
    few[:5] = 1.5
    assert np.isnan(seasonal.fit(DAYS, (DAYS % 365).astype(float), few, 1)).all()


EVERY_WAY = """
import sys, hashlib, numpy as np
from tilery.workloads.trend import line_kernels, linear, robust, seasonal
for module in (line_kernels, seasonal, robust):
    module.PROCESSORS = tuple(sys.argv[1:])
random = np.random.default_rng(5)
days = np.sort(random.choice(9000, 61, replace=False))
whole = random.integers(0, 65535, (61, 3000), endpoint=True).astype(np.uint16)
parts = np.where(random.random((61, 3000)) < 0.3, np.nan, random.normal(0, 1, (61, 3000)))
found = [linear.of_small(days, whole, 7, 3).rows, linear.of_floats(days, parts, 3).rows]
found += [seasonal.fit(days, days % 365.0, parts, cycles) for cycles in (1, 3)] + [robust.fit(days, parts.round(1), 3)]
print(hashlib.sha256(b"".join(one.tobytes() for one in found)).hexdigest())
"""


@pytest.mark.long("two more kinds of processors are compiled for")
def test_every_kind_of_processor_gives_the_same_bits() -> None:
    ways = [[], *([kind] for kind in machine_code.VECTORS)]  # what this one does not know falls back to the generic one
    told = {subprocess.run([sys.executable, "-c", EVERY_WAY, *way], capture_output=True, text=True).stdout for way in ways}
    assert len(told) == 1
    assert len(told.pop()) == 65
