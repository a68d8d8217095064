"""The STAC item of a result: https://github.com/radiantearth/stac-spec/blob/master/item-spec/item-spec.md (1.0.0)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rasterio.crs import CRS
from rasterio.warp import transform_bounds

from tilery.workloads.trend.mosaic import NAME, unit
from tilery.workloads.trend.options import TrendOptions
from tilery.workloads.trend.scenes import Series
from tilery.workloads.trend.window import MAPS, bands, models


def item(name: str, series: Series, options: TrendOptions, created_by: str) -> dict[str, Any]:
    """The item beside the products; without a geometry where the rasters have no CRS."""
    days = series.dates
    area = series.grid
    bounds = _bounds(series)
    quantity = options.quantity
    epsg = CRS.from_wkt(area.crs).to_epsg() if area.crs else None
    properties: dict[str, Any] = {
        "datetime": None,
        "start_datetime": f"{days[0]}T00:00:00Z",
        "end_datetime": f"{days[-1]}T23:59:59Z",
        "proj:epsg": epsg,
        "proj:shape": [area.height, area.width],
        "proj:transform": list(area.transform),
        "tilery:version": created_by,
        "tilery:dates": len(days),
        "tilery:epoch": series.epoch.isoformat(),
    }
    if epsg is None and area.crs:
        properties["proj:wkt2"] = area.crs
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
        "id": name,
        "geometry": _outline(*bounds) if bounds else None,
        **({"bbox": list(bounds)} if bounds else {}),
        "properties": properties,
        "links": [],
        "assets": {
            "trend": {
                "href": f"./{NAME}",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "roles": ["data"],
                "raster:bands": [
                    {"data_type": options.precision, "nodata": "nan", "unit": unit(band, quantity), "name": band}
                    for band in bands(options)
                ],
            },
            **{
                Path(path).stem: {"href": f"./{path}", "type": "image/png", "roles": ["overview"], "title": model.name}
                for path, model in zip(MAPS, models(options), strict=False)
            },
            "report": {"href": "./report.html", "type": "text/html", "roles": ["metadata"]},
        },
    }


def _bounds(series: Series) -> tuple[float, float, float, float] | None:
    area = series.grid
    if not area.crs:
        return None
    corners = [area.affine @ corner for corner in ((0, 0), (area.width, 0), (0, area.height), (area.width, area.height))]
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    left, bottom, right, top = transform_bounds(CRS.from_wkt(area.crs), CRS.from_epsg(4326), min(xs), min(ys), max(xs), max(ys))
    left, right = longitudes(left, right)
    return (round(left, 7), round(bottom, 7), round(right, 7), round(top, 7))


def longitudes(left: float, right: float) -> tuple[float, float]:
    """Within -180 to 180, as GeoJSON has them; the left one is the larger where the antimeridian lies between (RFC 7946, 5.2).

    >>> longitudes(350.0, 370.0), longitudes(0.0, 360.0), longitudes(170.0, 190.0)
    ((-10.0, 10.0), (-180.0, 180.0), (170.0, -170.0))
    """
    if -180 <= left <= 180 and -180 <= right <= 180:
        return left, right
    if right - left >= 360:
        return -180.0, 180.0
    west = (left + 180) % 360 - 180
    east = west + (right - left) if right >= left else right
    return (west, east) if east <= 180 else (west, east - 360)


def _outline(left: float, bottom: float, right: float, top: float) -> dict[str, Any]:
    """The box as GeoJSON; two where the antimeridian cuts it."""
    parts = [(left, right)] if left <= right else [(left, 180.0), (-180.0, right)]
    rings = [[[[west, bottom], [east, bottom], [east, top], [west, top], [west, bottom]]] for west, east in parts]
    return {"type": "Polygon", "coordinates": rings[0]} if len(rings) == 1 else {"type": "MultiPolygon", "coordinates": rings}
