"""What a point cloud run publishes: classified files stitched from their shards, the terrain model, and the report."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tilery.report import Picture
from tilery.run import Product
from tilery.workload import Publication, Published
from tilery.workloads.pointcloud import surface, terrain
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.grid import Window
from tilery.workloads.pointcloud.las_header import read_las
from tilery.workloads.pointcloud.lists import SUMMARY
from tilery.workloads.pointcloud.options import PointCloudOptions
from tilery.workloads.pointcloud.page import page
from tilery.workloads.pointcloud.stitch import ShardOutput, segments_of

WRITERS = 8
"""Files that are stitched at once; on S3 their bytes are copied by S3."""
PICTURE_PIXELS = 1600
"""Longest side of the pictures inside the report."""


def publish(publication: Publication[PointCloudOptions]) -> Published:
    """Write all products below the run's results folder."""
    done = {done.item["id"]: done.value for done in publication.done["finish"]}
    summary = done.pop(SUMMARY)
    statistics = summary["statistics"]
    products = _classified(publication, list(done.values()))
    model = _terrain(publication, summary["tiles"], statistics) if statistics["classes"].get("2") else None
    products += model.products if model else []
    html = page(publication.record, statistics, model.measured_m2 if model else 0.0, products, model.pictures if model else [])
    products.append(publication.put("report", "report.html", html.encode()))
    warnings = [] if model else ["no ground point was found, so there is no terrain model"]
    return Published(products, counts={"classes": statistics["classes"]}, warnings=warnings)


def _classified(publication: Publication[PointCloudOptions], shards: list[dict[str, Any]]) -> list[Product]:
    by_file: dict[int, list[ShardOutput]] = {}
    for shard in shards:
        chunks = tuple((points, size) for points, size in shard["chunks"])
        by_file.setdefault(shard["file"], []).append(ShardOutput(shard["key"], shard["size"], chunks))
    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(lambda number: _stitched(publication, number, by_file[number]), sorted(by_file)))


def _stitched(publication: Publication[PointCloudOptions], number: int, shards: list[ShardOutput]) -> Product:
    store, source = publication.work.store, publication.work.run.sources[number]
    path = f"classified/{source.name}"
    segments = segments_of(store, source, read_las(store, source), shards)
    store.compose(publication.key(path), segments)
    return publication.product("classified", path, source.name)


@dataclass(frozen=True)
class _Terrain:
    products: list[Product]
    pictures: list[Picture]
    measured_m2: float
    """Area of the cells that hold a ground point."""


def _terrain(publication: Publication[PointCloudOptions], ground: list[dict[str, Any]], statistics: dict[str, Any]) -> _Terrain:
    work = publication.work
    frame = Frame.of(work.run, work.options)
    windows, stored = [Window(*tile["window"]) for tile in ground], [str(tile["key"]) + "/ground" for tile in ground]
    reach = terrain.fill_cells(work.options.resolution_m, work.options.fill_m)
    box = _extent(statistics, frame.resolution_mm)
    measured = 0

    def models() -> Iterator[tuple[Window, Any]]:
        nonlocal measured
        for model in surface.filled(work.store, stored, windows, reach):
            measured += model.measured
            yield model.window, model.heights

    dtm, shade, small = (work.scratch / name for name in ("dtm.tif", "hillshade.png", "small.png"))
    units = (frame.unit_m, frame.z_unit_m)
    terrain.write_cog(dtm, box, models(), work.options.resolution_m, work.run.facts["crs"], *units)
    z_factor = frame.z_unit_m / frame.unit_m
    terrain.write_hillshade(dtm, shade, z_factor)
    terrain.write_hillshade(dtm, small, z_factor, longest=PICTURE_PIXELS)
    caption = (
        f"Terrain model of {work.run.dataset}, {work.options.resolution_m:g} m cells, lit from the north-west, tinted by height"
    )
    picture = Picture(small.read_bytes(), caption, "Shaded relief of the ground")
    products = [publication.upload("dtm", dtm), publication.upload("hillshade", shade)]
    return _Terrain(products, [picture], measured * (frame.resolution_mm / 1000) ** 2)


def _extent(statistics: dict[str, Any], cell_mm: int) -> Window:
    """The cells between the outermost points; headers may say anything."""
    (x0, x1), (y0, y1) = ([edge // cell_mm for edge in statistics[name]] for name in ("x_mm", "y_mm"))
    return Window(x0, y0, x1 - x0 + 1, y1 - y0 + 1)
