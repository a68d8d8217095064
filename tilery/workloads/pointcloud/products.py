"""What a point cloud run publishes: classified files stitched from their shards, and whatever products were asked for."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tilery.report import Picture
from tilery.run import Product, Source
from tilery.workload import Publication, Published
from tilery.workloads.pointcloud import (
    contours,
    density,
    footprints,
    gridding,
    heights,
    ortho,
    pictures,
    relief,
    stac,
    tile_index,
)
from tilery.workloads.pointcloud.density import Survey
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.grid import TileIndex, Window, tile_from_id
from tilery.workloads.pointcloud.heights import CHM, DSM, DTM, Models
from tilery.workloads.pointcloud.las_header import LasFile, read_las
from tilery.workloads.pointcloud.layers import Layers
from tilery.workloads.pointcloud.lists import SUMMARY
from tilery.workloads.pointcloud.options import PointCloudOptions
from tilery.workloads.pointcloud.page import CLASSES, OTHER_COLOUR, Seen, page
from tilery.workloads.pointcloud.rasters import Sheet
from tilery.workloads.pointcloud.stitch import ShardOutput, segments_of
from tilery.workloads.pointcloud.surface import fill_cells, in_cells
from tilery.workloads.pointcloud.verify import check_stitched

WRITERS = 8
"""Files that are stitched at once; on S3 their bytes are copied by S3."""
PICTURE_PIXELS = 1000
"""Longest side of the relief inside the report."""
SHADE_PIXELS = 800
MOST_CELLS = 4_000_000_000
"""Cells of the largest raster. Stray points, kilometres off, would ask for more."""
DRAWN = frozenset({"dtm", "dsm", "chm", "hillshade", "ortho", "density", "contours", "footprints"})
VOID_SHARE = 0.01
"""Share of the area without points, or with too few, from which the report warns."""


def publish(publication: Publication[PointCloudOptions]) -> Published:
    """Write all products that were asked for below the run's results folder."""
    done = {done.item["id"]: done.value for done in publication.done["finish"]}
    summary = done.pop(SUMMARY)
    making = _Making(publication, summary)
    counts: dict[str, Any] = {"classes": summary["statistics"]["classes"]}
    if "classified" in making.asked:
        making.classified(list(done.values()))
        counts["verified"] = sum(shard["verified"] for shard in done.values())
    making.models()
    making.views()
    making.shapes()
    making.catalogue()
    making.report()
    return Published(making.products, counts, making.warnings)


@dataclass
class _Making:
    """The products of one run while they are made. Each step makes those of its kind that were asked for."""

    publication: Publication[PointCloudOptions]
    summary: dict[str, Any]
    products: list[Product] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)
    """Models of height, asked for or not, that others are made from."""

    @cached_property
    def asked(self) -> frozenset[str]:
        """What was asked for, less what is too large to be drawn."""
        asked, extent = frozenset(self.publication.work.options.products), self.sheet.extent
        cells = extent.width * extent.height
        if self.is_drawable or not asked & DRAWN:
            return asked
        side_km = [side * self.sheet.resolution_m / 1000 for side in (extent.width, extent.height)]
        self.warnings.append(
            f"the points spread over {side_km[0]:,.0f} x {side_km[1]:,.0f} km, {cells:,} cells: no raster and nothing that is "
            f"made from one. Take stray points out, drop parts of the area apart, or set resolution_m above "
            f"{self.sheet.resolution_m * (cells / MOST_CELLS) ** 0.5:,.1f}"
        )
        return asked - DRAWN

    @property
    def is_drawable(self) -> bool:
        return self.sheet.extent.width * self.sheet.extent.height <= MOST_CELLS

    @cached_property
    def frame(self) -> Frame:
        return Frame.of(self.publication.work.run, self.publication.work.options)

    @cached_property
    def statistics(self) -> dict[str, Any]:
        found: dict[str, Any] = self.summary["statistics"]
        return found

    @cached_property
    def tiles(self) -> Layers:
        holes = [in_cells(self.frame.grid, tile, self.frame.resolution_mm) for tile in self.missing]
        tiles, refused = self.summary["tiles"], self.summary.get("refused")
        return Layers(self.publication.work.store, tiles, self.sheet.extent, refused, holes)

    @cached_property
    def missing(self) -> list[TileIndex]:
        return [tile_from_id(name) for name in self.publication.missing.get("process", [])]

    @cached_property
    def sheet(self) -> Sheet:
        work = self.publication.work
        extent = _extent(self.statistics, self.frame.resolution_mm)
        return Sheet(extent, work.options.resolution_m, work.run.facts["crs"], self.frame.unit_m)

    @cached_property
    def has_ground(self) -> bool:
        return bool(self.statistics["classes"].get("2"))

    @cached_property
    def has_buildings(self) -> bool:
        return bool(self.statistics["classes"].get(str(gridding.BUILDING_CLASS)))

    @cached_property
    def survey(self) -> Survey:
        return density.survey(self.tiles.each(gridding.COUNT), self.sheet)

    @cached_property
    def las_files(self) -> list[LasFile]:
        work = self.publication.work
        with ThreadPoolExecutor(WRITERS) as pool:
            return list(pool.map(lambda source: read_las(work.store, source), work.run.sources))

    def path(self, name: str) -> Path:
        return self.publication.work.scratch / name

    def upload(self, kind: str, name: str) -> None:
        self.products.append(self.publication.upload(kind, self.path(name)))

    def classified(self, shards: list[dict[str, Any]]) -> None:
        by_file: dict[int, list[ShardOutput]] = {}
        for shard in shards:
            chunks = tuple((points, size) for points, size in shard["chunks"])
            by_file.setdefault(shard["file"], []).append(ShardOutput(shard["key"], shard["size"], chunks))
        with ThreadPoolExecutor(WRITERS) as pool:
            self.products += pool.map(lambda number: _stitched(self.publication, number, by_file[number]), sorted(by_file))

    def models(self) -> None:
        """dtm, dsm, chm and hillshade; and the models that other products need, which are not published."""
        shown = {"report"} if self.is_drawable else set()
        need = {DTM: {"dtm", "hillshade", "contours", "footprints"} | shown, DSM: {"dsm"}, CHM: {"chm", "footprints"}}
        names = {name for name, users in need.items() if users & self.asked and (name == DSM or self.has_ground)}
        if not self.has_ground and self.asked & need[DTM] | self.asked & need[CHM]:
            self.warnings.append("no ground point was found, so there is no terrain model and nothing that is made from it")
        if not names:
            return
        options, scratch = self.publication.work.options, self.publication.work.scratch
        reach = fill_cells(options.resolution_m, options.fill_m)
        found: Models = heights.write(scratch, self.tiles, self.sheet, self.frame.z_unit_m, reach, names)
        self.files = found.files
        for name in (DTM, DSM, CHM):
            if name in self.asked and name in self.files:
                self.upload(name, f"{name}.tif")
        if "hillshade" in self.asked and DTM in self.files:
            relief.write_hillshade(self.files[DTM], self.path("hillshade.png"), self.z_factor)
            self.upload("hillshade", "hillshade.png")

    @property
    def z_factor(self) -> float:
        return self.frame.z_unit_m / self.frame.unit_m

    def views(self) -> None:
        """ortho and density."""
        if "ortho" in self.asked:
            coloured = bool(self.publication.work.run.facts["coloured"])
            if ortho.write(self.path("ortho.tif"), self.tiles, self.sheet, coloured):
                self.upload("ortho", "ortho.tif")
            else:
                self.warnings.append("colours or intensities of all points are 0, so there is no view from above")
        if "density" in self.asked:
            density.write(self.path("density.tif"), self.tiles, self.sheet)
            self.upload("density", "density.tif")

    def shapes(self) -> None:
        """contours, footprints and tiles."""
        work = self.publication.work
        if "contours" in self.asked and DTM in self.files:
            low, high = (height / 1000 / self.frame.z_unit_m for height in self.statistics["ground_mm"])
            step = contours.interval_of(work.options.contour_m, high - low, self.frame.z_unit_m)
            contours.write(self.path("contours.gpkg"), self.files[DTM], self.sheet, step)
            self.upload("contours", "contours.gpkg")
        if "footprints" in self.asked and CHM in self.files and self.has_buildings:
            made = (self.files[CHM], self.files[DTM], self.frame.z_unit_m)
            footprints.write(self.path("footprints.gpkg"), self.tiles, self.sheet, *made)
            self.upload("footprints", "footprints.gpkg")
        if "tiles" in self.asked:
            paths = {product.source: product.path for product in self.products if product.kind == "classified"}
            files = [(file, paths.get(file.name, "")) for file in self.las_files]
            counts = self.tiles.each(gridding.COUNT)
            tile_index.write(self.path("tiles.gpkg"), counts, self.sheet, self.frame.grid, self.missing, files)
            self.upload("tiles", "tiles.gpkg")

    def catalogue(self) -> None:
        """stac."""
        if "stac" not in self.asked:
            return
        run = self.publication.work.run
        by_name = {product.source: product for product in self.products if product.kind == "classified"}
        described = [stac.Described(file, by_name[file.name]) for file in self.las_files if file.name in by_name]
        others = [product for product in self.products if product.kind != "classified"]
        documents = stac.documents(run.dataset, described, others, self.sheet.crs_wkt, run.received, self.frame.unit_m)
        self.products += [self.publication.put("stac", path, data) for path, data in documents]

    def report(self) -> None:
        if "report" not in self.asked:
            return
        survey = self.survey
        self.warnings += _thin(survey)
        shown = {"Terrain": [*self._relief(), *self._view()], "Classes before and after": list(self._classes())}
        record = {**self.publication.record, "warnings": [*self.publication.record["warnings"], *self.warnings]}
        seen = Seen(survey.area_m2, survey.void_share, survey.thin_share, survey.blind_share, shown)
        html = page(record, self.statistics, seen, self.products)
        self.products.append(self.publication.put("report", "report.html", html.encode()))

    def _relief(self) -> Iterator[Picture]:
        if DTM not in self.files:
            return
        options = self.publication.work.options
        relief.write_hillshade(self.files[DTM], self.path("small.png"), self.z_factor, longest=PICTURE_PIXELS)
        caption = f"Terrain, {options.resolution_m:g} m cells, lit from the north-west, tinted by height"
        yield Picture(self.path("small.png").read_bytes(), caption, "Shaded relief of the ground")

    def _view(self) -> Iterator[Picture]:
        view = self.path("ortho.tif")
        if view.exists():
            caption = "The highest point of each cell, in its colour or intensity"
            yield Picture(pictures.of_view(view), caption, "View from above")

    def _classes(self) -> Iterator[Picture]:
        shaded = self.files.get(DSM) or self.files.get(DTM)
        lit = relief.shade(*relief.read_heights(shaded, SHADE_PIXELS), self.z_factor) if shaded else None
        before, after = pictures.of_layers(self.sheet.extent, self.tiles.each(gridding.CLASSES))
        colours = {label: colour for label, (_, colour) in CLASSES.items()}
        for picture, caption in ((before, "Classes as they came"), (after, "Classes as they are now")):
            png = pictures.paint(picture.classes(), colours, OTHER_COLOUR, lit)
            yield Picture(png, f"{caption}: the highest point of each cell", caption)


def _thin(survey: Survey) -> list[str]:
    """What the report says of an area that was measured with gaps."""
    said = []
    side = survey.side * survey.sheet.resolution_m
    if survey.void_share >= VOID_SHARE:
        said.append(f"{survey.void_share:.1%} of the area, in squares of {side:g} m, has no point at all")
    if survey.thin_share - survey.void_share >= VOID_SHARE:
        said.append(f"{survey.thin_share:.1%} of the area, in squares of {side:g} m, has less than {density.FEW:g} point a m2")
    return said


def _stitched(publication: Publication[PointCloudOptions], number: int, shards: list[ShardOutput]) -> Product:
    store, source = publication.work.store, publication.work.run.sources[number]
    path = f"classified/{source.name}"
    segments = segments_of(store, source, read_las(store, source), shards)
    store.compose(publication.key(path), segments)
    product = publication.product("classified", path, source.name)
    written = Source(name=path, key=publication.key(path), size=product.bytes, version="")
    check_stitched(store, source, written, [chunk for shard in shards for chunk in shard.chunks])
    return product


def _extent(statistics: dict[str, Any], cell_mm: int) -> Window:
    """The cells between the outermost points; headers may say anything."""
    (x0, x1), (y0, y1) = ([edge // cell_mm for edge in statistics[name]] for name in ("x_mm", "y_mm"))
    return Window(x0, y0, x1 - x0 + 1, y1 - y0 + 1)
