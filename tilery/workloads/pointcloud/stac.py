"""A STAC collection of a run with one item a classified file, and one a sheet of a large area, so that catalogues find them.

Source: STAC 1.1.0; the extensions pointcloud 1.0.0 and projection 2.0.0.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import laspy
from rasterio.crs import CRS
from rasterio.warp import transform_bounds

from tilery.run import Product
from tilery.workloads.pointcloud import copc
from tilery.workloads.pointcloud.las_header import LasFile
from tilery.workloads.pointcloud.rasters import Sheet

VERSION = "1.1.0"
POINTCLOUD = "https://stac-extensions.github.io/pointcloud/v1.0.0/schema.json"
PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
COLLECTION = "stac/collection.json"
COPC = "application/vnd.laszip+copc"
_CREATED_AT = 90
"""Day of the year and year of the file's creation in the LAS header."""
_SIZES = {"FloatingPoint": "floating", "SignedInteger": "signed", "UnsignedInteger": "unsigned", "BitField": "unsigned"}
_TYPES = {
    ".laz": "application/vnd.laszip",
    ".las": "application/vnd.las",
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".vrt": "application/xml",
    ".png": "image/png",
    ".gpkg": "application/geopackage+sqlite3",
    ".html": "text/html",
}
_TITLES = {
    "classified": "Classified points",
    "copc": "Classified points of all files",
    "dtm": "Terrain model",
    "dsm": "Surface model",
    "chm": "Height above ground",
    "hillshade": "Shaded relief",
    "ortho": "View from above",
    "density": "Points per square metre",
    "contours": "Contours",
    "footprints": "Building footprints",
    "tiles": "Tiles and files",
    "report": "Report",
}


@dataclass(frozen=True, slots=True)
class Described:
    """A classified file: its header, its product, and the EPSG code or WKT of its coordinates."""

    file: LasFile
    product: Product


@dataclass(frozen=True, slots=True)
class Part:
    """A sheet of an area that has several: its products are an item of their own."""

    name: str
    sheet: Sheet
    products: Sequence[Product]


def documents(
    name: str, files: Sequence[Described], parts: Sequence[Part], others: Sequence[Product], area: Sheet, received: str
) -> list[tuple[str, bytes]]:
    """(path, JSON) of the collection and its items. `others` are the products of the whole run."""
    items = [item(name, described, area.crs_wkt, received, area.unit_m) for described in files]
    paths = [f"stac/items/{number:05d}.json" for number in range(len(items))]
    moment = max((one["properties"]["datetime"] for one in items), default=_utc(received))
    items += [part_item(name, part, moment) for part in parts]
    paths += [f"stac/items/{part.name}.json" for part in parts]
    collected = collection(name, items, paths, others, received)
    return [(COLLECTION, _json(collected)), *((path, _json(one)) for path, one in zip(paths, items, strict=True))]


def part_item(collection_id: str, part: Part, moment: str) -> dict[str, Any]:
    """The item of a sheet: its rasters and tables. `moment`: of its points."""
    box = [edge * part.sheet.cell for edge in part.sheet.extent.edges(1)]
    found = {
        "proj:bbox": box,
        "proj:shape": list(part.sheet.extent.shape),
        "proj:transform": list(part.sheet.transform)[:6],
    }
    properties = {"datetime": moment, "title": part.name, **projection(part.sheet.crs_wkt), **found}
    assets = {product.kind: {**_asset(product, "../../"), "roles": _roles(product)} for product in part.products}
    return _item(part.name, collection_id, properties, world_bounds(box, part.sheet.crs_wkt), assets, [PROJECTION])


def item(collection_id: str, described: Described, crs_wkt: str | None, received: str, unit_m: float) -> dict[str, Any]:
    """The item of one file. Without a coordinate system it has no geometry, which STAC allows."""
    file, product = described.file, described.product
    bounds = [*file.mins[:2], *file.maxs[:2]]
    world = world_bounds(bounds, crs_wkt)
    area_m2 = max(0.0, bounds[2] - bounds[0]) * max(0.0, bounds[3] - bounds[1]) * unit_m**2
    properties: dict[str, Any] = {
        "datetime": created(file) or _utc(received),
        "title": file.name,
        "pc:count": file.count,
        "pc:type": "lidar",
        "pc:encoding": "LASzip" if file.compressed else "LAS",
        "pc:schemas": schemas(file.point_format),
        **({"pc:density": round(file.count / area_m2, 3)} if area_m2 else {}),
        **projection(crs_wkt),
        "proj:bbox": [*file.mins, *file.maxs],
    }
    asset = _asset(product, "../../") | ({"type": COPC} if file.vlr(copc.USER_ID, copc.INFO) else {})
    assets = {"data": {**asset, "roles": ["data"]}}
    return _item(file.name.replace("/", "--"), collection_id, properties, world, assets, [POINTCLOUD, PROJECTION])


def _item(
    name: str,
    collection_id: str,
    properties: dict[str, Any],
    world: list[float] | None,
    assets: dict[str, Any],
    extensions: Sequence[str],
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": list(extensions),
        "id": name,
        "collection": collection_id,
        "geometry": _polygon(world) if world else None,
        "properties": properties,
        "links": [
            {"rel": rel, "href": "../collection.json", "type": "application/json"} for rel in ("root", "parent", "collection")
        ],
        "assets": assets,
    }
    return found | ({"bbox": world} if world else {})


def collection(
    name: str, items: Sequence[dict[str, Any]], paths: Sequence[str], others: Sequence[Product], received: str
) -> dict[str, Any]:
    """The collection of a run: its extent, its items, and the products of the whole run as its assets."""
    boxes = [one["bbox"] for one in items if "bbox" in one]
    world = [f(box[place] for box in boxes) for place, f in enumerate((min, min, max, max))] if boxes else [-180, -90, 180, 90]
    moments = sorted(one["properties"]["datetime"] for one in items) or [_utc(received)]
    assets = {product.kind: {**_asset(product, "../"), "roles": _roles(product)} for product in others}
    return {
        "type": "Collection",
        "stac_version": VERSION,
        "stac_extensions": [],
        "id": name,
        "title": name,
        "description": f"Point clouds of {name}, classified by Tilery, and what was made from them.",
        "license": "other",
        "extent": {"spatial": {"bbox": [world]}, "temporal": {"interval": [[moments[0], moments[-1]]]}},
        "links": [
            {"rel": "root", "href": "./collection.json", "type": "application/json"},
            *({"rel": "item", "href": f"./{path.removeprefix('stac/')}", "type": "application/geo+json"} for path in paths),
        ],
        "assets": assets,
    }


def projection(crs_wkt: str | None) -> dict[str, Any]:
    """The fields of the projection extension that say the CRS: a code where there is one, else its WKT."""
    if not crs_wkt:
        return {"proj:code": None}
    system = CRS.from_wkt(crs_wkt)
    code = system.to_epsg()
    return {"proj:code": f"EPSG:{code}"} if code else {"proj:code": None, "proj:wkt2": system.to_wkt(version="WKT2_2019")}


def world_bounds(bounds: Sequence[float], crs_wkt: str | None) -> list[float] | None:
    """West, south, east, north (degrees) of bounds in the CRS; None where that cannot be said."""
    if not crs_wkt or not all(math.isfinite(edge) for edge in bounds):
        return None
    low, high = list(bounds[:2]), list(bounds[2:])
    world = transform_bounds(CRS.from_wkt(crs_wkt), CRS.from_epsg(4326), *low, *high)
    return [round(edge, 8) for edge in world] if all(math.isfinite(edge) for edge in world) else None


def created(file: LasFile) -> str | None:
    """The day on which the file says it was made (or its points measured); LAS knows no other moment of the whole file."""
    day, year = struct.unpack_from("<HH", file.head, _CREATED_AT)
    if not 1 <= day <= 366 or not 1990 <= year <= 2200:
        return None
    return _iso(datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=day - 1))


def schemas(point_format: int) -> list[dict[str, Any]]:
    """The dimensions of a point: name, bytes, type."""
    return [
        {"name": dimension.name, "size": max(1, dimension.num_bits // 8), "type": _SIZES[dimension.kind.name]}
        for dimension in laspy.PointFormat(point_format).dimensions
    ]


def _asset(product: Product, up: str) -> dict[str, Any]:
    suffix = "." + product.path.rsplit(".", 1)[-1].lower()
    return {
        "href": up + product.path,
        "type": COPC if product.kind == "copc" else _TYPES.get(suffix, "application/octet-stream"),
        "title": _TITLES.get(product.kind, product.kind),
    }


def _roles(product: Product) -> list[str]:
    return ["overview"] if product.path.endswith((".png", ".html")) else ["data"]


def _polygon(box: Sequence[float]) -> dict[str, Any]:
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def _utc(moment: str) -> str:
    return _iso(datetime.fromisoformat(moment).astimezone(UTC))


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode()
