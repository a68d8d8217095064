"""The last step: the COG, the map, the plots, the STAC item and the report, in the results folder."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from tilery.outcomes import BadInput
from tilery.report import Figure, FileLink, Picture, Report
from tilery.run import Source
from tilery.store.port import Span
from tilery.workload import Publication, Published
from tilery.workloads.trend import expression, pictures, rasters, stac
from tilery.workloads.trend.grid import crs_name
from tilery.workloads.trend.mosaic import NAME, UNITS
from tilery.workloads.trend.options import TrendOptions
from tilery.workloads.trend.scenes import Series
from tilery.workloads.trend.window import MAPS, Model, bands, models


def publish(publication: Publication[TrendOptions]) -> Published:
    """Write all products; the same run writes the same bytes."""
    work, options = publication.work, publication.work.options
    series = Series.read(work.run.facts)
    merged = publication.done["merge"][0].value
    entry = work.store.head(work.key("merge", NAME))
    if entry is None:
        raise BadInput(f"{NAME} of this run is gone from the work folder; run `tilery redo --from merge`")
    work.store.compose(f"{publication.folder}/{NAME}", [Span(entry.key, 0, entry.size)])
    quantity = options.quantity
    upward = series.grid.transform[4] > 0  # rows count from the south: the map has north at its top all the same
    places = [((one["column"] + 0.5) / series.grid.width, (one["row"] + 0.5) / series.grid.height) for one in merged["series"]]
    places = [(x, 1 - y if upward else y) for x, y in places]
    maps = [
        pictures.overview(
            *_small(publication, model, entry.key, entry.size, upward),
            options.alpha,
            f"{work.run.dataset}: trend of {quantity}, {series.dates[0]} to {series.dates[-1]}",
            f"{quantity} per year, {model.name}",
            places,
        )
        for model in models(options)
    ]
    item = stac.item(work.run.dataset, series, options, work.run.version)
    files: list[tuple[str, str, bytes]] = [("overview", name, picture) for name, picture in zip(MAPS, maps, strict=False)]
    plots = pictures.series(merged["series"], series.epoch, quantity) if merged["series"] else None
    if plots:
        files.append(("series", "series.png", plots))
        files.append(("series", "series.json", _json(merged["series"])))
    files.append(("stac", "item.json", _json(item)))
    counts = merged["counts"]
    for _, path, data in files:
        work.store.put(f"{publication.folder}/{path}", data)
    links = [("trend", NAME, entry.size), *((kind, path, len(data)) for kind, path, data in files)]
    page = _report(publication, series, counts, maps, plots, links).html().encode()
    work.store.put(f"{publication.folder}/report.html", page)
    products = [publication.product(kind, path) for kind, path, _ in [*links, ("report", "report.html", len(page))]]
    warnings = [] if counts["with_trend"] else ["no pixel has enough valid dates for a trend; check nodata, mask and pattern"]
    return Published(products, counts, warnings)


def _small(publication: Publication[TrendOptions], model: Model, key: str, size: int, upward: bool) -> tuple[Any, Any]:
    """Slope and p of a model, at most as large as the picture: an overview of the COG as it is, for any other size decodes
    blocks often."""
    work = publication.work
    with rasters.opened(work.store, Source(name=NAME, key=key, size=size, version=""), work.scratch, 0) as dataset:
        known = [1, *dataset.overviews(1)]
        share = next((one for one in known if max(dataset.shape) <= one * pictures.LARGEST), known[-1])
        shape = [-(-side // share) for side in dataset.shape]
        numbers = [bands(work.options).index(name) + 1 for name in (model.slope, model.p)]
        slope, p = dataset.read(numbers, out_shape=(2, *shape)).astype(np.float64)
    return (slope[::-1], p[::-1]) if upward else (slope, p)


def _report(
    publication: Publication[TrendOptions],
    series: Series,
    counts: dict[str, int],
    maps: list[bytes],
    plots: bytes | None,
    links: list[tuple[str, str, int]],
) -> Report:
    work, options, record = publication.work, publication.work.options, publication.record
    days = series.dates
    tried = max(counts["with_trend"], 1)
    quantity = options.quantity
    spelled = expression.INDICES.get(quantity.lower(), "") if options.expression else ""
    page = Report(
        work.run.dataset, f"per-pixel trend of {quantity}" + (f" = {spelled}" if spelled else ""), str(record["status"])
    )
    page.holes([f"{stage}/{one}" for stage, missing in publication.missing.items() for one in missing])
    named, ranks = models(options)[0].name, "sen_rising" in counts
    page.figures(
        [
            Figure("Dates", f"{len(days):,}", f"{days[0]} to {days[-1]}"),
            Figure("Pixels with a trend", f"{counts['with_trend']:,}", f"of {counts['pixels']:,}"),
            Figure("Rising", f"{100 * counts['rising'] / tried:.1f} %", f"p < {options.alpha:g}, {named}"),
            Figure("Falling", f"{100 * counts['falling'] / tried:.1f} %", f"p < {options.alpha:g}, {named}"),
            *(
                [
                    Figure(
                        "Rising / falling by ranks",
                        f"{100 * counts['sen_rising'] / tried:.1f} / {100 * counts['sen_falling'] / tried:.1f} %",
                        f"p < {options.alpha:g}, {models(options)[1].name}",
                    )
                ]
                if ranks
                else []
            ),
            Figure("Valid dates a pixel", f"{counts['observations'] / max(counts['pixels'], 1):.1f}", f"of {len(days)}"),
        ]
    )
    page.pictures(
        "Slope",
        [
            Picture(
                picture,
                f"Change per year by {model.name}. Full colour where p < {options.alpha:g}, faded elsewhere, hatched where "
                "there is no trend.",
                f"Map of slopes: {counts[rise]:,} pixels rise and {counts[fall]:,} fall significantly",
            )
            for picture, model, rise, fall in zip(
                maps, models(options), ("rising", "sen_rising"), ("falling", "sen_falling"), strict=False
            )
        ],
    )
    if plots:
        page.pictures(
            "The strongest pixels",
            [Picture(plots, _drawn(options), "Plots of single pixels' series")],
        )
    page.warnings(list(record["warnings"]))
    page.text(
        "How to read it",
        _told(series, options),
    )
    page.table(
        f"Bands of {NAME}",
        ["band", "name", "unit"],
        [[n, band, _unit(band, quantity)] for n, band in enumerate(bands(options), 1)],
    )
    page.facts("Grid and options", _facts(series, options))
    page.timings(record["timings"]["stages"], record["timings"]["total_s"])
    page.files("Products", [FileLink(path, kind, size) for kind, path, size in links])
    return page


def _drawn(options: TrendOptions) -> str:
    model = "the fitted trend with its seasons" if options.harmonics else "the fitted line"
    ranks = " (dashed: Theil-Sen)" if options.robust else ""
    return f"Valid values and {model}{ranks}; numbers as on the map."


def _told(series: Series, options: TrendOptions) -> str:
    """How the numbers are to be read."""
    said = [
        f"The slope is the ordinary least squares change per year of 365.25 days; the intercept is the line's value on "
        f"{series.epoch}. p is two-sided and takes the dates of a pixel as independent: neighbouring dates that are alike "
        f"make it too small. With this many pixels, about {100 * options.alpha:g} % would fall below {options.alpha:g} by "
        "chance alone."
    ]
    if options.harmonics:
        said.append(
            "The map, the counts and the plots show seasonal_slope and seasonal_p: the trend beside yearly cycles, fitted "
            "together, so that an odd part of a year at either end does not pass for a change."
        )
    if options.robust:
        said.append(
            "sen_slope is the median of the slopes between all pairs of dates, and mk_p says whether values rise or fall in "
            "order; neither is pulled by outliers, and neither knows of seasons."
        )
    return " ".join(said)


def _unit(band: str, quantity: str) -> str:
    from tilery.workloads.trend.mosaic import unit

    return unit(band, quantity) if band not in UNITS else UNITS[band] or "-"


def _facts(series: Series, options: TrendOptions) -> dict[str, object]:
    area = series.grid
    asked = options.model_dump(mode="json", exclude_defaults=True)
    return {
        "Grid": f"{area.width:,} x {area.height:,} pixels of {abs(area.transform[0]):g}",
        "CRS": crs_name(area.crs),
        "Sums": f"of stored {series.whole} values" if series.whole else "of values as 48-bit integers",
        **{f"option {name}": json.dumps(value) for name, value in sorted(asked.items())},
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode()
