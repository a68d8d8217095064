"""Stitches the windows' blocks to one Cloud Optimized GeoTIFF, adds up the counts, reads the strongest pixels' series."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.shutil import copy
from rasterio.windows import Window

from tilery.workload import Done, Item, Work
from tilery.workloads.trend import expression, linear, rasters, robust, seasonal, strongest, window
from tilery.workloads.trend.options import TrendOptions
from tilery.workloads.trend.reading import Reader
from tilery.workloads.trend.scenes import Series
from tilery.workloads.trend.seasonal import YEAR_DAYS
from tilery.workloads.trend.window import bands

NAME = "trend.tif"
CURVE = 600
"""Places of a drawn curve, at most."""
UNITS = {"n": "dates", "r2": "", "p": "", "mk_tau": "", "mk_p": "", "seasonal_r2": "", "seasonal_p": ""}


def merge(work: Work[TrendOptions], item: Item) -> dict[str, Any]:
    """Write the mosaic of all windows; those that are missing stay NaN."""
    series = Series.read(work.run.facts)
    path = work.scratch / NAME
    stitch(work, series, work.finished("process"), path)
    work.store.upload(str(path), work.out(NAME))
    chosen = strongest.choose((one for value in item["values"] for one in value["strongest"]), work.options.series)
    reader = Reader(work.store, work.run.sources, series, work.options, work.scratch)
    names = dict.fromkeys(name for value in item["values"] for name in value if name != "strongest")
    totals = {name: sum(value[name] for value in item["values"]) for name in names}
    return {"counts": totals, "series": _with_series(reader, chosen)}


def stitch(work: Work[TrendOptions], series: Series, windows: Sequence[Done], path: Path) -> None:
    """A COG at `path`, by way of a tiled file that holds one window in memory at a time."""
    options, area = work.options, series.grid
    tiled = path.with_name("tiled.tif")
    profile = {
        "driver": "GTiff",
        "width": area.width,
        "height": area.height,
        "count": len(bands(options)),
        "dtype": options.precision,
        "crs": area.crs or None,
        "transform": area.affine,
        "nodata": float("nan"),
        "tiled": True,
        "blockxsize": options.block,
        "blockysize": options.block,
        "interleave": "band",
        "compress": "ZSTD",
        "zstd_level": 1,
        "bigtiff": "IF_SAFER",
        "sparse_ok": True,
    }
    with rasterio.Env(**rasters.SETTINGS):
        with rasterio.open(tiled, "w", **profile) as target:
            for done in windows:
                column, row, width, height = done.item["box"]
                values = np.load(io.BytesIO(work.store.get(work.key("process", f"{done.item['id']}.npy"))))
                target.write(values, window=Window(column, row, width, height))
            describe(target, series, options)
            target.build_overviews(overviews(area.width, area.height, options.block), Resampling.nearest)
        copy(
            str(tiled),
            str(path),
            driver="COG",
            blocksize=options.block,
            compress="ZSTD",
            level=3,
            predictor="YES",
            bigtiff="IF_SAFER",
        )
    tiled.unlink()


def overviews(width: int, height: int, block: int) -> list[int]:
    """By what the overviews are smaller: the last one fits a block. Left to the COG driver they take eight times as long.

    >>> overviews(2048, 300, 256)
    [2, 4, 8]
    """
    factors = [1]
    while max(width, height) // factors[-1] > block:
        factors.append(2 * factors[-1])
    return factors[1:]


def describe(target: Any, series: Series, options: TrendOptions) -> None:
    """Names, units and provenance, in the file itself."""
    quantity = options.quantity
    for number, name in enumerate(bands(options), 1):
        target.set_band_description(number, name)
        target.set_band_unit(number, unit(name, quantity))
    days = series.dates
    target.update_tags(
        TREND_OF=(options.expression and expression.INDICES.get(quantity.lower())) or quantity,
        TREND_FIRST_DATE=days[0].isoformat(),
        TREND_LAST_DATE=days[-1].isoformat(),
        TREND_DATES=str(len(days)),
        TREND_EPOCH=series.epoch.isoformat(),
        TREND_YEAR_DAYS="365.25",
    )


def unit(band: str, quantity: str) -> str:
    """What a band is measured in."""
    if band.endswith("slope"):
        return f"{quantity} per year"
    if band.startswith("peak_day"):
        return "days from 1 January"
    return UNITS.get(band, quantity)


def _with_series(reader: Reader, chosen: Sequence[strongest.Candidate]) -> list[dict[str, Any]]:
    """The chosen pixels with their valid dates and values, and what was fitted to them: R^2 is that of the first model."""
    if not chosen:
        return []
    series, options = reader.series, reader.options
    stacked = reader.pixels([(one["column"], one["row"]) for one in chosen])
    values = window.values_of(stacked, series)
    line = linear.of_floats(window.days_of(series), values, 2)
    valid, dates = np.isfinite(values), series.dates
    found = [
        {
            **one,
            "dates": [dates[place].isoformat() for place in np.flatnonzero(valid[:, at])],
            "values": values[valid[:, at], at].tolist(),
            "intercept": float(line.intercept[at]),
            "r2": float(line.r2[at]),
            "n": int(line.n[at]),
        }
        for at, one in enumerate(chosen)
    ]
    days, of_year = window.days_of(series).astype(np.float64), window.days_of_year(dates)
    if options.harmonics:
        at = _times(series)
        when = np.array([(day - series.epoch).days for day in at], np.float64), window.days_of_year(at)
        curves = seasonal.curve(days, of_year, values, options.harmonics, when)
        r2 = seasonal.fit(days, of_year, values, options.harmonics)[seasonal.bands(options.harmonics).index("seasonal_r2")]
        for number, one in enumerate(found):
            one["r2"] = float(r2[number])
            one["curve"] = {"dates": [day.isoformat() for day in at], "values": curves[:, number].tolist()}
    if options.robust:
        slopes = robust.fit(days, values, 2)[0]
        middles = np.nanmedian(values - slopes * days[:, None], axis=0)  # half of the values lie above the line
        for number, one in enumerate(found):
            one["sen_slope"], one["sen_intercept"] = float(slopes[number] * YEAR_DAYS), float(middles[number])
    return found


def _times(series: Series) -> list[date]:
    """Days on which a curve is drawn: close enough for a year's cycles, few enough for long series."""
    first, last = series.dates[0], series.dates[-1]
    step = max(3, (last - first).days // CURVE)
    return [first + timedelta(days=day) for day in range(0, (last - first).days + 1, step)]
