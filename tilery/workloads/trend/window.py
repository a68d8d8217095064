"""The work of one window: every date read once, all statistics computed, the blocks left as one array."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tilery.workload import Item, Work
from tilery.workloads.trend import linear, robust, seasonal, strongest
from tilery.workloads.trend.linear import Line, Sums
from tilery.workloads.trend.options import TrendOptions
from tilery.workloads.trend.reading import Reader
from tilery.workloads.trend.scenes import Layer, Series
from tilery.workloads.trend.seasonal import YEAR_DAYS
from tilery.workloads.trend.significance import Floats

_BLOCK = 1024
"""Pixels whose series stay in the processor's cache while seasons and ranks are fitted."""
LINEAR = ["slope", "intercept", "n", "r2", "p", "rmse"]


MAPS = ("overview.png", "overview_sen.png")
"""The maps of `models`, in their order."""


class Model(NamedTuple):
    """A way to fit a trend: which bands hold its slope and its p, and what it is called."""

    slope: str
    p: str
    name: str

    def of(self, result: NDArray[Any], options: TrendOptions) -> tuple[NDArray[Any], NDArray[Any]]:
        """Slope and p of (bands, ...)."""
        names = bands(options)
        return result[names.index(self.slope)], result[names.index(self.p)]


def models(options: TrendOptions) -> list[Model]:
    """What was asked for; the first is what the map, the counts and the strongest pixels go by."""
    yearly = "1 yearly cycle" if options.harmonics == 1 else f"{options.harmonics} yearly cycles"
    first = Model("seasonal_slope", "seasonal_p", f"least squares beside {yearly}")
    line = Model("slope", "p", "least squares")
    ranks = Model("sen_slope", "mk_p", "Theil-Sen and Mann-Kendall")
    return [first if options.harmonics else line, *([ranks] if options.robust else [])]


def bands(options: TrendOptions) -> list[str]:
    """The bands of the result, in order."""
    return [*LINEAR, *seasonal.bands(options.harmonics), *(robust.BANDS if options.robust else [])]


def process(work: Work[TrendOptions], item: Item) -> dict[str, Any]:
    """Compute one window and store it as (bands, height, width)."""
    column, row, width, height = item["box"]
    reader = Reader(work.store, work.run.sources, Series.read(work.run.facts), work.options, work.scratch)
    stored, told = describe(reader, (column, row, width, height))
    work.store.put(work.out(f"{item['id']}.npy"), stored)
    return told


def describe(reader: Reader, box: tuple[int, int, int, int]) -> tuple[bytes, dict[str, Any]]:
    """A window's result as a file of numpy, and what is to be known of it."""
    column, row, width, height = box
    result = compute(reader, box).reshape(-1, height, width)
    slope, p = models(reader.options)[0].of(result, reader.options)
    told = {**counts(result, reader.options), "strongest": strongest.of_window(slope, p, column, row, reader.options)}
    buffer = io.BytesIO()
    np.save(buffer, result.astype(reader.options.precision, copy=False))
    return buffer.getvalue(), told


def compute(reader: Reader, box: tuple[int, int, int, int]) -> Floats:
    """(bands, pixels) of a box of the series' grid."""
    series, options = reader.series, reader.options
    days, nodata = days_of(series), series.stacked[1]
    least, sums = options.min_observations, None
    for part, values in reader.runs(box):
        if len(values) < len(days):
            sums = sums or Sums(values.shape[1])
            sums.add(days[part], values, int(nodata))
    if sums:
        line = sums.line(least)
    elif series.whole:
        line = linear.of_small(days, values, int(nodata), least)
    else:
        line = linear.of_floats(days, values, least)
    found = [scaled_line(line, series)]
    if options.harmonics or options.robust:
        blocks = [values[:, at : at + _BLOCK] for at in range(0, values.shape[1], _BLOCK)]
        found.append(np.concatenate([_more(_floats(block, nodata), days, series, options) for block in blocks], 1))
    return found[0] if len(found) == 1 else np.concatenate(found)


def days_of_year(dates: Sequence[date]) -> Floats:
    """Days since 1 January."""
    return np.array([day.timetuple().tm_yday - 1 for day in dates], np.float64)


def days_of(series: Series) -> NDArray[np.int64]:
    """The days of the scenes since the epoch."""
    return np.array([scene.day for scene in series.scenes], np.int64)


def counts(result: NDArray[Any], options: TrendOptions) -> dict[str, int]:
    """What the report says of all pixels, by the first model and, with names of its own, by ranks; adding up windows gives the
    whole."""
    found = {"pixels": int(result[2].size), "observations": int(result[2].sum())}
    for at, model in enumerate(models(options)):
        slope, p = model.of(result, options)
        if at == 0:
            found["with_trend"] = int(np.isfinite(slope).sum())
        significant, prefix = p < options.alpha, "sen_" if at else ""
        found[f"{prefix}rising"] = int((significant & (slope > 0)).sum())
        found[f"{prefix}falling"] = int((significant & (slope < 0)).sum())
    return found


def _more(stack: Floats, days: NDArray[Any], series: Series, options: TrendOptions) -> Floats:
    """Seasons and ranks of (dates, pixels)."""
    layer = _scale(series)
    found = []
    if options.harmonics:
        fitted = seasonal.fit(days.astype(np.float64), days_of_year(series.dates), stack, options.harmonics)
        fitted[0] *= YEAR_DAYS * layer.scale
        fitted[2:] *= _factors(seasonal.bands(options.harmonics)[2:], abs(layer.scale))
        if layer.scale < 0:  # the peak of what was stored is the trough of the value
            for k in range(1, options.harmonics + 1):
                fitted[3 + 2 * k] = np.mod(fitted[3 + 2 * k] + YEAR_DAYS / k / 2, YEAR_DAYS / k)
        found.append(fitted)
    if options.robust:
        fitted = robust.fit(days, stack, options.min_observations)
        fitted[0] *= YEAR_DAYS * layer.scale
        fitted[1] *= np.sign(layer.scale)
        found.append(fitted)
    return np.concatenate(found)


def _factors(names: Sequence[str], scale: float) -> Floats:
    """What each band is multiplied with: peaks are days and p is a share, and stay."""
    return np.array([1.0 if name.startswith("peak") or name == "seasonal_p" else scale for name in names])[:, None]


def _scale(series: Series) -> Layer:
    """How results in stored values become values; nothing to do where they were computed in values."""
    return next(iter(series.scenes[0].layers.values())) if series.whole else Layer(0, 1)


def scaled_line(line: Line, series: Series) -> Floats:
    """(6, pixels): slope per year, intercept and RMSE in values; in the memory of `line`, for a window's is large."""
    layer = _scale(series)
    rows = line.rows
    rows[0] *= YEAR_DAYS * layer.scale
    if layer.scaled:
        rows[1] *= layer.scale
        rows[1] += layer.offset
        rows[5] *= abs(layer.scale)
    return rows


def values_of(stacked: NDArray[Any], series: Series) -> Floats:
    """What a reader gives, as values; NaN where there is none."""
    layer = _scale(series)
    return _floats(stacked, series.stacked[1]) * layer.scale + layer.offset


def _floats(stacked: NDArray[Any], nodata: float) -> Floats:
    return np.where(stacked == nodata, np.nan, stacked)
