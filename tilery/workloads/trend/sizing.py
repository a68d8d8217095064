"""The first step: headers by range reads; dates, bands and grids agreed on; windows listed."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from math import isfinite, lcm, sqrt
from pathlib import Path

import numpy as np

from tilery.outcomes import BadInput
from tilery.run import Source
from tilery.store.port import Store
from tilery.workload import Item, Sizing
from tilery.workloads.trend import expression, grid, headers, names
from tilery.workloads.trend.grid import Grid
from tilery.workloads.trend.headers import Asset, Assets, Header
from tilery.workloads.trend.options import Band, TrendOptions
from tilery.workloads.trend.reading import READERS, held
from tilery.workloads.trend.scenes import MOST_DATES, MOST_DAYS, WHOLE, Layer, Scene, Series
from tilery.workloads.trend.seasonal import YEAR_DAYS
from tilery.workloads.trend.window import bands

WINDOW_MIB = 512
"""What a window's data may take; more dates make smaller windows."""
LARGEST_SIDE = 1024
LEAST_YEARS = 2.0
BASE_MIB = 350
"""Interpreter, libraries, compiled loops, GDAL's cache and blocks of usual size being decoded."""
BLOCKS = 64 << 20
"""Bytes of blocks being decoded that are within these."""


@dataclass(frozen=True, slots=True)
class Part:
    """One raster of one date: what it is called among the files of its scene, and which band is its first."""

    header: Header
    day: date
    scene: str
    band: str
    first: int = 1
    scaling: tuple[float, float] | None = None
    """What a STAC item says of it, where the file says nothing."""


def size(sources: list[Source], options: TrendOptions, store: Store) -> Sizing:
    """Plan a run. Raises `BadInput` naming the file that has no date, another grid, or no such band."""
    with tempfile.TemporaryDirectory(prefix="tilery-") as scratch:
        found = headers.read_all(store, sources, Path(scratch))
    assets = headers.read_items(store, sources)
    if not found:
        raise BadInput("the drop holds no raster; give GeoTIFF, JPEG 2000, NetCDF or zipped Zarr files")
    warnings: list[str] = []
    parts = [part for header in found for part in _parts(header, assets, options, warnings)]
    parts, outside = _between(parts, options)
    if outside:
        warnings.append(f"{outside} dates lie outside {options.start or 'the beginning'} to {options.end or 'the end'}")
    scenes = _scenes(parts, options)
    series = _series(scenes, parts, options, found)
    _check_dates(series)
    warnings += _unscaled(parts, series, options) + _doubled(series) + _short(series, options)
    width, height = series.window
    dates, layers = len(series.scenes), max(len(scene.all) for scene in series.scenes)
    items: list[Item] = [
        {
            "id": f"r{box[1]:06d}-c{box[0]:06d}",
            "work": box[2] * box[3] * dates * layers * _effort(options, dates),
            "box": list(box),
        }
        for box in grid.windows(series.grid, width, height)
    ]
    days = series.dates
    counts = {
        "files": len(sources),
        "dates": dates,
        "first": days[0].isoformat(),
        "last": days[-1].isoformat(),
        "pixels": series.grid.width * series.grid.height,
        "input_bytes": sum(source.size for source in sources),
    }
    decoded = max(header.block_bytes for header in found)
    memory = BASE_MIB + (width * height * _pixel_bytes(series, options) + max(0, READERS * 2 * decoded - BLOCKS)) / 2**20
    return Sizing(sum(item["work"] for item in items), items, counts, series.json(), warnings, memory)


def _parts(header: Header, assets: Assets, options: TrendOptions, warnings: list[str]) -> list[Part]:
    """The dates of a raster, each with what tells it from the other files of its scene."""
    if header.times:
        return [
            Part(header, day, f"{header.name}#{number:05d}", header.variable, number + 1)
            for number, day in enumerate(header.times)
        ]
    if options.pattern:
        named = names.Template(options.pattern).read(header.name)
        if named is None:
            raise BadInput(f"{header.name} does not match the pattern {options.pattern}, or its date does not exist")
        return [_told(Part(header, named.day, named.rest, named.band), headers.asset_of(assets, header.name))]
    asset = headers.asset_of(assets, header.name)
    if asset and asset.day:
        return [_told(Part(header, asset.day, asset.item, asset.band), asset)]
    day = header.tagged or names.guess(header.name)
    if day is None and header.written:
        day = header.written
        warnings.append(f"{header.name}: its only date is TIFFTAG_DATETIME, {day}, which may be when it was processed")
    if day is None:
        raise BadInput(
            f"{header.name} has no date in a STAC item, its tags or its name; "
            "set pattern, for example *_{YYYY}{MM}{DD}*.tif"
        )
    return [_told(Part(header, day, header.name, asset.band if asset else ""), asset)]


def _told(part: Part, asset: Asset | None) -> Part:
    said = any(band.scale != 1 or band.offset for band in part.header.bands)
    return part if said or not asset else replace(part, scaling=asset.scaling)


def _doubled(series: Series) -> list[str]:
    """Dates of several rasters: two passes of one day are rightly two, a scene that was dropped twice is not."""
    days = series.dates
    doubled = sorted({one for one, other in pairwise(days) if one == other})
    if not doubled:
        return []
    more = f" and {len(doubled) - 1} more dates" if len(doubled) > 1 else ""
    return [f"{doubled[0]}{more}: several rasters of one day; each counts as a date of its own. Leave out what is there twice"]


def _short(series: Series, options: TrendOptions) -> list[str]:
    """A year's cycle and a trend are one and the same where there are not two years of both."""
    years = (series.dates[-1] - series.dates[0]).days / YEAR_DAYS
    if not options.harmonics or years >= LEAST_YEARS:
        return []
    return [f"the dates span {years:.1f} years: with fewer than two, seasons pass for trends and trends for seasons"]


def _unscaled(parts: Sequence[Part], series: Series, options: TrendOptions) -> list[str]:
    """That offsets which the STAC items give are left out: a step between dates, or a shift that an index does not forgive."""
    if options.stac_scale or options.offset is not None:
        return []
    used = {layer.source for scene in series.scenes for layer in scene.layers.values()}
    offsets = {part.scaling[1] for part in parts if part.scaling and part.header.source in used}
    if not any(offsets):
        return []
    listed = ", ".join(f"{offset:g}" for offset in sorted(offsets))
    return [
        f"the STAC items say offsets ({listed}) that the files do not have; they are left out. Set stac_scale=true to add "
        "them; look at a few values first, for catalogues also say them of files that had them added already"
    ]


def _between(parts: list[Part], options: TrendOptions) -> tuple[list[Part], int]:
    kept = [part for part in parts if (options.start or part.day) <= part.day <= (options.end or part.day)]
    if not kept:
        raise BadInput(f"no date lies between {options.start or 'the beginning'} and {options.end or 'the end'}")
    return kept, len({part.day for part in parts}) - len({part.day for part in kept})


def _scenes(parts: Sequence[Part], options: TrendOptions) -> list[list[Part]]:
    """The parts by scene, in the order of their dates."""
    groups: dict[tuple[date, str], list[Part]] = {}
    for part in parts:
        groups.setdefault((part.day, part.scene), []).append(part)
    for group in groups.values():
        seen: dict[str, Part] = {}
        for part in group:
            if part.band in seen:
                other = seen[part.band].header.name
                raise BadInput(f"{part.header.name} and {other} are the same band of the same scene; leave one out")
            seen[part.band] = part
    return [groups[key] for key in sorted(groups)]


def _series(scenes: list[list[Part]], parts: Sequence[Part], options: TrendOptions, found: list[Header]) -> Series:
    epoch = options.epoch or scenes[0][0].day
    wanted = expression.names(options.expression) if options.expression else ["value"]
    if options.expression and not wanted:
        raise BadInput(f"the expression {options.expression!r} reads no band")
    made = [
        Scene(
            (group[0].day - epoch).days,
            {name: _layer(group, _reference(name, options, group), options) for name in wanted},
            _quality(group, options),
        )
        for group in scenes
    ]
    used = {layer.source for scene in made for layer in scene.all}
    values = {layer.source for scene in made for layer in scene.layers.values()}
    area = _area([part for part in parts if part.header.source in used], values, options)
    first = {(header.source, header.variable): grid.offset(area, header.grid) for header in found if header.source in used}
    for header in found:
        if first.get((header.source, header.variable), True) is None and not (area.crs and header.grid.crs):
            raise BadInput(f"{header.name} cannot be reprojected, because it or the first raster has no CRS; give them one")
    made = [scene.mapped(lambda layer: replace(layer, first=first[layer.source, layer.variable])) for scene in made]
    whole = _whole(made, {(header.source, header.variable): header for header in found}, options)
    series = Series(area, epoch, made, whole, (0, 0))
    return replace(series, window=_window(series, options, [header for header in found if header.source in used]))


def _reference(name: str, options: TrendOptions, group: list[Part]) -> Band:
    """The band that a name of the expression means."""
    if name in options.bands:
        return options.bands[name]
    if name == "value" and not options.expression:
        return options.band
    known = {part.band.lower() for part in group} | {band.name.lower() for part in group for band in part.header.bands}
    if name.lower() not in known and name[:1] in "bB" and name[1:].isdigit():
        return int(name[1:])
    return name


def _layer(group: list[Part], reference: Band, options: TrendOptions | None) -> Layer:
    part, number = _find(group, reference)
    header = part.header
    last = 1 if header.times else len(header.bands)
    if not 1 <= number <= last:
        raise BadInput(f"{header.name} has {last} bands; there is no band {number}")
    at = number - 1 + part.first
    band = header.bands[at - 1]
    scale, offset, nodata = band.scale, band.offset, band.nodata
    if options:
        if options.stac_scale and part.scaling:
            scale, offset = part.scaling
        scale = options.scale if options.scale is not None else scale
        offset = options.offset if options.offset is not None else offset
        nodata = options.nodata if options.nodata is not None else nodata
        if not scale or not isfinite(scale) or not isfinite(offset):
            raise BadInput(
                f"{header.name} says scale {scale:g} and offset {offset:g}, which leaves no values; set scale and offset"
            )
    return Layer(header.source, at, scale, offset, nodata, header.variable)


def _find(group: list[Part], reference: Band) -> tuple[Part, int]:
    """The raster of a scene that holds a band, and the band's number there."""
    if isinstance(reference, int):
        if len(group) == 1:
            return group[0], reference
        listed = ", ".join(part.band or part.header.name for part in group)
        raise BadInput(f"the bands of {group[0].scene} are files of their own ({listed}); name one instead of {reference}")
    wanted = reference.lower()
    for part in group:
        if part.band.lower() == wanted:
            return part, 1
    for part in group:
        for number, band in enumerate(part.header.bands, 1):
            if band.name.lower() == wanted and not part.header.times:
                return part, number
    known = [part.band for part in group if part.band] + [
        band.name for part in group for band in part.header.bands if band.name
    ]
    listed = ", ".join(sorted(set(known))[:20]) or "none has a name"
    raise BadInput(
        f"{group[0].header.name} has no band {reference!r} (there: {listed}); "
        f"say which one it is, as bands={{'{reference}': 4}}"
    )


def _quality(group: list[Part], options: TrendOptions) -> Layer | None:
    return _layer(group, options.mask.band, None) if options.mask else None


def _area(parts: Sequence[Part], values: Collection[int], options: TrendOptions) -> Grid:
    """The grid of the result: the first one's that holds values, for quality bands are often coarser."""
    ordered = sorted(parts, key=lambda part: (part.header.source not in values, part.day, part.scene, part.band))
    first = ordered[0].header
    if options.grid == "union":
        distinct = list(dict.fromkeys([first.grid, *(part.header.grid for part in ordered)]))
        area = grid.union(distinct)
    else:
        area = first.grid
        for part in ordered:
            if options.grid == "refuse" and not grid.same(area, part.header.grid):
                why = grid.difference(area, part.header.grid)
                raise BadInput(
                    f"{part.header.name} is on another grid than {first.name}: {why}; "
                    "reproject it, or set grid=first or grid=union"
                )
    if area.width * area.height > grid.MOST_PIXELS:
        raise BadInput(f"the result would have {area.width} x {area.height} pixels, more than {grid.MOST_PIXELS:,}")
    return area


def _whole(scenes: list[Scene], found: dict[tuple[int, str], Header], options: TrendOptions) -> str:
    """The type of the stored values if their sums say all: one small integer type, one scale, no expression."""
    if options.expression:
        return ""
    layers = [layer for scene in scenes for layer in scene.layers.values()]
    kinds = {(found[layer.source, layer.variable].bands[layer.band - 1].dtype, layer.scale, layer.offset) for layer in layers}
    kind = next(iter(kinds))[0]
    return kind if len(kinds) == 1 and kind in WHOLE else ""


def _effort(options: TrendOptions, dates: int) -> float:
    """How much longer a sample takes with seasons and ranks: 20 ns a cycle and 14 ns a pair to 8 ns to be read and summed."""
    return 1 + 2.5 * options.harmonics + (0.85 * dates if options.robust else 0)


def _pixel_bytes(series: Series, options: TrendOptions) -> float:
    """Working memory of one pixel of a window: while it is computed, or while the result is described and stored."""
    dates = len(series.scenes)
    together = held(options, series.whole, dates)
    masked = bool(options.mask) or options.valid_min is not None or options.valid_max is not None
    layers = max(len(scene.layers) for scene in series.scenes)
    reading = (20 if masked else 6) if series.whole else 16 * layers + 40  # of one date, beside the stack
    result = 8 * len(bands(options))
    stack = together * np.dtype(series.stacked[0]).itemsize + (48 if together < dates else 0)
    return max(stack + max(READERS * reading, result + (result if result > 48 else 0)), 3 * result + 24)


def _window(series: Series, options: TrendOptions, sources: Sequence[Header]) -> tuple[int, int]:
    """Width and height of a window: asked for, else what the memory allows; whole blocks or rows of the files."""
    if options.window:
        return options.window, options.window
    pixels, block = WINDOW_MIB * 2**20 / _pixel_bytes(series, options), options.block
    if all(header.striped for header in sources) and series.grid.width * block <= pixels:
        wide = -(-series.grid.width // block) * block
        return wide, max(block, int(pixels / wide) // block * block)
    side = min(max(block, int(sqrt(pixels))), LARGEST_SIDE)
    whole = lcm(block, *(size for header in sources for size in header.blocks))
    step = whole if whole <= side else block
    return side // step * step, side // step * step


def _check_dates(series: Series) -> None:
    days = [scene.day for scene in series.scenes]
    if len(set(days)) < 2:
        raise BadInput(f"all rasters are of one date, {series.dates[0]}; a trend needs at least two (is the pattern right?)")
    if len(days) > MOST_DATES:
        raise BadInput(f"there are {len(days)} dates, more than the {MOST_DATES} of one run; set start and end")
    if max(abs(day) for day in days) > MOST_DAYS:
        raise BadInput(
            f"the dates lie up to {max(abs(day) for day in days)} days from the epoch {series.epoch}, more than 89 years"
        )
