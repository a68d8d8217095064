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
    left, bottom, right, top = bounds or (0.0, 0.0, 0.0, 0.0)
    ring = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
        "id": name,
        "geometry": {"type": "Polygon", "coordinates": [ring]} if bounds else None,
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
    return (round(left, 7), round(bottom, 7), round(right, 7), round(top, 7))
