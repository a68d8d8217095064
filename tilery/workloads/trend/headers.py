"""What the headers of the dropped files say, before anything is decoded."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from math import isnan
from pathlib import Path
from typing import Any

from rasterio.crs import CRS

from tilery.outcomes import BadInput
from tilery.run import Source
from tilery.store.port import Store
from tilery.workloads.trend import names, rasters
from tilery.workloads.trend.grid import Grid

READERS = 16
LARGEST_BLOCK = 1 << 30
"""Bytes of one compressed block: GDAL decodes it whole."""
_ITEM_LIMIT = 4 << 20
_DATE_TAGS = (
    "datetime",
    "date_acquired",
    "acquisition_date",
    "acquisition_datetime",
    "sensing_time",
    "date",
    "time",
    "timestamp",
)
_SIZES = {"uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "uint32": 4, "int32": 4, "float32": 4, "float64": 8}
CUBES = ("netCDF", "Zarr")
"""Formats with a time axis of their own."""
_UNIT_SECONDS = {
    **dict.fromkeys(("days", "day", "d"), 86400.0),
    **dict.fromkeys(("hours", "hour", "hrs", "hr", "h"), 3600.0),
    **dict.fromkeys(("minutes", "minute", "mins", "min"), 60.0),
    **dict.fromkeys(("seconds", "second", "secs", "sec", "s"), 1.0),
    **dict.fromkeys(("milliseconds", "millisecond", "msecs", "msec", "ms"), 1e-3),
    **dict.fromkeys(("microseconds", "microsecond"), 1e-6),
    **dict.fromkeys(("nanoseconds", "nanosecond"), 1e-9),
}
"""As UDUNITS and xarray write them."""


@dataclass(frozen=True, slots=True)
class BandHeader:
    """One band: its type, what means nothing, how it is scaled, what it is called."""

    dtype: str
    nodata: float | None
    scale: float
    offset: float
    name: str


@dataclass(frozen=True, slots=True)
class Header:
    """One raster of one source (a NetCDF or Zarr file may have several: its variables)."""

    source: int
    name: str
    grid: Grid
    bands: list[BandHeader]
    blocks: tuple[int, int]
    """Width and height of what is decoded at once."""
    tagged: date | None
    """The acquisition date that a tag says."""
    written: date | None
    """TIFFTAG_DATETIME: often the date of processing, so the last resort."""
    variable: str = ""
    times: list[date] = field(default_factory=list)
    """Of NetCDF and Zarr: the date of each band."""

    @property
    def block_bytes(self) -> int:
        """What a block takes in memory, as if all bands lay in it."""
        return self.blocks[0] * self.blocks[1] * _SIZES[self.bands[0].dtype] * (1 if self.times else len(self.bands))

    @property
    def striped(self) -> bool:
        return self.blocks[0] >= self.grid.width > 2 * self.blocks[1]


@dataclass(frozen=True, slots=True)
class Asset:
    """What a STAC item says of a file."""

    item: str
    day: date | None
    band: str
    scaling: tuple[float, float] | None = None
    """Scale and offset, where the item says some."""


def read_all(store: Store, sources: Sequence[Source], scratch: Path) -> list[Header]:
    """The headers of all rasters, in the order of the sources."""
    rasters_only = [(number, source) for number, source in enumerate(sources) if not source.name.lower().endswith(".json")]

    def read(one: tuple[int, Source]) -> list[Header]:
        number, source = one
        with rasters.opened(store, source, scratch, number) as dataset:
            if rasters.driver(source.name) in CUBES:
                variables = [text.rsplit(":", 1)[-1].lstrip("/") for text in dataset.subdatasets]
                if not variables:
                    return [_header(number, source, dataset, dataset.tags(1).get("NETCDF_VARNAME", ""))]
            else:
                return [_header(number, source, dataset, "")]
        found = []
        for variable in variables:
            with rasters.opened(store, source, scratch, number, variable) as dataset:
                if dataset.count and len(dataset.shape) == 2 and _time(dataset, 1) is not None:
                    found.append(_header(number, source, dataset, variable))
        if not found:
            raise BadInput(f"{source.name} holds no variable with a time axis (called time); convert it or leave it out")
        return found

    with ThreadPoolExecutor(READERS) as pool:
        return [header for headers in pool.map(read, rasters_only) for header in headers]


Assets = dict[str, dict[str, Asset]]
"""File name without folders -> path, as far as an item tells it -> what the item says of it."""


def read_items(store: Store, sources: Sequence[Source]) -> Assets:
    """What the STAC items among the sources say of files."""
    assets: Assets = {}
    for source in sources:
        if source.name.lower().endswith(".json"):
            for item in _items(store, source):
                day = _item_date(item)
                for key, asset in item.get("assets", {}).items():
                    bands = _bands(asset, "eo:bands")
                    band = str(bands[0].get("common_name") or bands[0].get("eo:common_name") or key) if len(bands) == 1 else ""
                    path = posixpath.normpath(posixpath.join(posixpath.dirname(source.name), str(asset.get("href", ""))))
                    told = assets.setdefault(posixpath.basename(path), {})
                    told[path] = Asset(str(item.get("id", source.name)), day, band, _scaling(asset))
    return assets


def _scaling(asset: Mapping[str, Any]) -> tuple[float, float] | None:
    """Scale and offset of a file of one band: `raster:bands`, or `raster:scale` there or in `bands`."""
    listed = _bands(asset, "raster:bands")
    said = {**asset, **listed[0]} if len(listed) == 1 else asset
    found = [said.get(name, said.get(f"raster:{name}")) for name in ("scale", "offset")]
    numbers = [float(one) if isinstance(one, int | float) else None for one in found]
    scale, offset = numbers
    return None if scale is None and offset is None else (1.0 if scale is None else scale, offset or 0.0)


def _bands(asset: Mapping[str, Any], extension: str) -> list[dict[str, Any]]:
    """What an asset says of its bands, by an extension of STAC 1.0 or as STAC 1.1 does; one that says nothing has one band."""
    listed = asset.get(extension) or asset.get("bands")
    return [band if isinstance(band, dict) else {} for band in listed] if isinstance(listed, list) and listed else [{}]


def asset_of(assets: Assets, name: str) -> Asset | None:
    """What is said of a file: of several of its name in other folders, the one whose path ends like it.

    >>> jan, feb = Asset("jan", None, ""), Asset("feb", None, "")
    >>> asset_of({"B04.tif": {"jan/B04.tif": jan, "feb/B04.tif": feb}}, "feb/B04.tif").item
    'feb'
    """
    known = assets.get(posixpath.basename(name), {})
    alike = {path: len(posixpath.commonprefix([path.split("/")[::-1], name.split("/")[::-1]])) for path in known}
    found = {known[path] for path, parts in alike.items() if parts == max(alike.values())}
    if len(found) > 1:
        items = ", ".join(sorted(asset.item for asset in found)[:3])
        raise BadInput(f"{name} is named by several STAC items ({items}); keep each item in one folder with its files")
    return found.pop() if found else None


def _items(store: Store, source: Source) -> list[dict[str, Any]]:
    if source.size > _ITEM_LIMIT:
        raise BadInput(f"{source.name} is too large for a STAC item ({source.size} bytes); leave it out")
    try:
        value = json.loads(store.get(source.key, version=source.version))
    except (ValueError, RecursionError):
        raise BadInput(f"{source.name} is not JSON; give a STAC item or leave it out") from None
    items = value.get("features", [value]) if isinstance(value, dict) else []
    well_formed = [
        item
        for item in items
        if isinstance(item, dict)
        and isinstance(item.get("assets"), dict)
        and isinstance(item.get("properties"), dict)
        and all(isinstance(asset, dict) for asset in item["assets"].values())
    ]
    if not well_formed or len(well_formed) != len(items):
        raise BadInput(f"{source.name} is no STAC item (it needs properties and assets); leave it out")
    return well_formed


def _item_date(item: dict[str, Any]) -> date | None:
    properties = item["properties"]
    return names.from_text(str(properties.get("datetime") or properties.get("start_datetime") or ""))


def _grid(source: Source, dataset: Any) -> Grid:
    """The grid; of a NetCDF or Zarr file whose axes are degrees and that names no CRS, it is WGS 84, as CF has it be read."""
    found = Grid.of(dataset)
    if found.crs or rasters.driver(source.name) not in CUBES:
        return found
    units = {value.lower() for key, value in dataset.tags().items() if key.lower().endswith("#units")}
    return replace(found, crs=CRS.from_epsg(4326).to_wkt()) if {"degrees_east", "degrees_north"} <= units else found


def _header(number: int, source: Source, dataset: Any, variable: str) -> Header:
    block_height, block_width = dataset.block_shapes[0]
    itemsize = max(_itemsize(dtype, source) for dtype in dataset.dtypes)
    pixel_interleaved = dataset.count if str(dataset.profile.get("interleave", "")) == "pixel" else 1
    if block_height * block_width * itemsize * pixel_interleaved > LARGEST_BLOCK:
        raise BadInput(
            f"{source.name} is compressed in blocks of {block_width} x {block_height} pixels, which cannot be read in parts; "
            "write it as a tiled GeoTIFF (gdal_translate -of COG)"
        )
    tags = {key.lower(): value for key, value in dataset.tags().items()}
    tagged = next((day for key in _DATE_TAGS if key in tags and (day := names.from_text(tags[key]))), None)
    bands = [
        BandHeader(
            dtype=dtype,
            nodata=None if nodata is None or isnan(nodata) else float(nodata),
            scale=float(scale),
            offset=float(offset),
            name=(description or "").strip(),
        )
        for dtype, nodata, scale, offset, description in zip(
            dataset.dtypes, dataset.nodatavals, dataset.scales, dataset.offsets, dataset.descriptions, strict=True
        )
    ]
    return Header(
        source=number,
        name=source.name,
        grid=_grid(source, dataset),
        bands=bands,
        blocks=(block_width, block_height),
        tagged=tagged,
        written=names.from_text(tags.get("tifftag_datetime", "")),
        variable=variable,
        times=_times(source, dataset) if rasters.driver(source.name) in CUBES else [],
    )


def _itemsize(dtype: str, source: Source) -> int:
    if dtype not in _SIZES:
        raise BadInput(f"{source.name} holds {dtype} values; real numbers of up to 32 bits, or float64, are wanted")
    return _SIZES[dtype]


def _times(source: Source, dataset: Any) -> list[date]:
    """The dates of the bands of a NetCDF or Zarr variable, by the CF conventions (section 4.4), in a real calendar."""
    unit = dataset.tags(1).get("time#units") or dataset.tags().get("time#units") or dataset.tags(1).get("DIM_time_UNIT", "")
    calendar = dataset.tags().get("time#calendar", "standard").lower()
    step, _, origin = unit.lower().partition(" since ")
    begin = _moment(origin)
    plain = calendar == "proleptic_gregorian" or (calendar in ("standard", "gregorian") and begin and begin.year > 1582)
    if step not in _UNIT_SECONDS or begin is None or not plain:
        raise BadInput(f"{source.name}: its time axis ({unit or 'no unit'}, {calendar} calendar) is not one that can be read")
    values = [_time(dataset, number) or "none" for number in range(1, dataset.count + 1)]
    try:
        return [(begin + timedelta(seconds=float(value) * _UNIT_SECONDS[step])).date() for value in values]
    except (ValueError, OverflowError) as error:
        raise BadInput(
            f"{source.name}: its time axis holds values that are no dates ({error}); mend it or leave it out"
        ) from None


def _moment(text: str) -> datetime | None:
    """A moment as CF writes them, in UTC.

    >>> str(_moment("2000-1-1 18:00:0.0"))
    '2000-01-01 18:00:00'
    """
    found = re.match(r"(\d{1,4})-(\d{1,2})-(\d{1,2})(?:[t ]+(\d{1,2}):(\d{1,2})(?::(\d{1,2}))?)?", text.strip())
    try:
        return datetime(*(int(part or 0) for part in found.groups())) if found else None  # type: ignore[arg-type]
    except ValueError:
        return None


def _time(dataset: Any, band: int) -> str | None:
    """The value of the time axis at a band; None where there is no such axis."""
    tags = dataset.tags(band)
    value: str | None = tags.get("NETCDF_DIM_time", tags.get("DIM_time_VALUE"))
    return value
