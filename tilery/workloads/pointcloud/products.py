"""What a point cloud run publishes: files stitched from their shards, the products of its sheets, and what tells of them all.

Nothing here grows with the points or the pixels of a run: files and rasters are put in their places by the store, and pictures
are made from few pixels (drawing.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.report import Picture
from tilery.run import Product, Source
from tilery.store.port import Span
from tilery.workload import Publication, Published
from tilery.workloads.pointcloud import copc_file, density, drawing, pictures, relief, sheets, stac, tile_index, vrt
from tilery.workloads.pointcloud.density import Survey
from tilery.workloads.pointcloud.drawing import AFTER, BEFORE, SQUARES, VIEW
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.grid import Window
from tilery.workloads.pointcloud.heights import DSM, DTM
from tilery.workloads.pointcloud.las_header import LasFile, read_las
from tilery.workloads.pointcloud.lists import SUMMARY
from tilery.workloads.pointcloud.options import PointCloudOptions
from tilery.workloads.pointcloud.page import CLASSES, OTHER_COLOUR, Seen, page
from tilery.workloads.pointcloud.pixels import Canvas, joined
from tilery.workloads.pointcloud.rasters import NODATA, Sheet
from tilery.workloads.pointcloud.stitch import ShardOutput, segments_of
from tilery.workloads.pointcloud.upgrading import with_head, written_as
from tilery.workloads.pointcloud.verify import check_stitched

WRITERS = 8
"""Files that are stitched at once; on S3 their bytes are copied by S3."""
RELIEF_PIXELS = 1000
"""Longest side of the relief inside the report."""
VOID_SHARE = 0.01
"""Share of the area without points, or with too few, from which the report warns."""


def publish(publication: Publication[PointCloudOptions]) -> Published:
    """Write all products that were asked for below the run's results folder."""
    done = {done.item["id"]: done.value for done in publication.done["finish"]}
    statistics = done.pop(SUMMARY)["statistics"]
    drawn = {name: value for name, value in done.items() if "products" in value}
    shards = [value for name, value in done.items() if name not in drawn]
    making = _Making(publication, statistics, drawn)
    counts: dict[str, Any] = {"classes": statistics["classes"]}
    if "classified" in making.asked:
        making.classified(shards)
        counts["verified"] = sum(shard["verified"] for shard in shards)
    making.copc(shards)
    making.warn()
    making.drawn()
    making.hillshade()
    making.tile_index()
    making.catalogue()
    making.report()
    return Published(making.products, counts, making.warnings)


@dataclass
class _Making:
    """The products of one run while they are put together. Each step makes those of its kind that were asked for."""

    publication: Publication[PointCloudOptions]
    statistics: dict[str, Any]
    sheets: dict[str, dict[str, Any]]
    """Name of a sheet -> what drawing it returned."""
    products: list[Product] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    by_sheet: dict[str, list[Product]] = field(default_factory=dict)

    @cached_property
    def asked(self) -> frozenset[str]:
        """What was asked for, less what is too large to be drawn."""
        asked = frozenset(self.publication.work.options.products)
        return asked if self.is_drawable else asked - sheets.DRAWN

    @cached_property
    def frame(self) -> Frame:
        return Frame.of(self.publication.work.run, self.publication.work.options)

    @cached_property
    def area(self) -> Sheet:
        """All cells of the run as one."""
        work = self.publication.work
        extent = Window(*sheets.extent_of(self.statistics, self.frame.resolution_mm))
        return Sheet(extent, work.options.resolution_m, work.run.facts["crs"], self.frame.unit_m)

    @property
    def is_drawable(self) -> bool:
        return sheets.is_drawable(sheets.extent_of(self.statistics, self.frame.resolution_mm))

    @property
    def z_factor(self) -> float:
        return self.frame.z_unit_m / self.frame.unit_m

    @cached_property
    def survey(self) -> Survey:
        squares = self.small(SQUARES)
        assert squares is not None
        return Survey(squares, self.area.cell_m2)

    @cached_property
    def las_files(self) -> list[LasFile]:
        """The files as their points were written."""
        work = self.publication.work
        with ThreadPoolExecutor(WRITERS) as pool:
            files = pool.map(lambda source: read_las(work.store, source), work.run.sources)
            return [written_as(file, work.options.upgrade) for file in files]

    def path(self, name: str) -> Path:
        return self.publication.work.scratch / name

    def upload(self, kind: str, name: str) -> None:
        self.products.append(self.publication.upload(kind, self.path(name)))

    def sheet(self, name: str) -> Sheet:
        """The cells of a sheet."""
        area = self.area
        return Sheet(Window(*self.sheets[name]["window"]), area.resolution_m, area.crs_wkt, area.unit_m)

    def small(self, name: str) -> Canvas | None:
        """What there is of all sheets on few pixels; None where there is none."""
        store = self.publication.work.store
        having = [sheet for sheet in self.sheets.values() if name in sheet["small"]]
        parts = ((Window(*sheet["window"]), store.get(sheet["small"][name])) for sheet in having)
        step = drawing.step_for(name, self.area.extent, self.area.resolution_m)
        nothing = NODATA if name in (DTM, DSM) else 0
        return joined(parts, self.area.extent, step, nothing)

    def classified(self, shards: list[dict[str, Any]]) -> None:
        by_file, returns = _by_file(shards), _returns(shards)
        with ThreadPoolExecutor(WRITERS) as pool:
            self.products += pool.map(
                lambda number: _stitched(self.publication, number, by_file[number], returns.get(number)), sorted(by_file)
            )

    def copc(self, shards: list[dict[str, Any]]) -> None:
        """All classified points in one file."""
        if "copc" not in self.asked:
            return
        work, files, path = self.publication.work, self.las_files, self.path("merged.copc.laz")
        batches = copc_file.batches_of(work.store, files, _by_file(shards))
        extended = copc_file.extended_of(work.store, work.run.sources, files)
        copc_file.write(path, files, batches, self.area.crs_wkt, self.path("parts"), extended)
        self.upload("copc", path.name)

    def warn(self) -> None:
        """Say why something that was asked for is not there."""
        asked, extent, classes = self.asked, self.area.extent, self.statistics["classes"]
        if not self.is_drawable and sheets.DRAWN & set(self.publication.work.options.products):
            cells = extent.width * extent.height
            side_km = [side * self.area.resolution_m / 1000 for side in (extent.width, extent.height)]
            self.warnings.append(
                f"the points spread over {side_km[0]:,.0f} x {side_km[1]:,.0f} km, {cells:,} cells: no raster and nothing that "
                f"is made from one. Take stray points out, drop parts of the area apart, or set resolution_m above "
                f"{self.area.resolution_m * (cells / sheets.MOST_CELLS) ** 0.5:,.1f}"
            )
        if not classes.get("2") and asked & {"dtm", "hillshade", "chm", "contours", "footprints", "report"}:
            self.warnings.append("no ground point was found, so there is no terrain model and nothing that is made from it")
        if "ortho" in asked and not any("ortho" in sheet["products"] for sheet in self.sheets.values()):
            self.warnings.append("colours or intensities of all points are 0, so there is no view from above")

    def drawn(self) -> None:
        """Put the products of the sheets in their places; where there are several, a mosaic of each raster before them."""
        for kind in self.publication.work.options.products:
            having = [name for name in sorted(self.sheets) if kind in self.sheets[name]["products"]]
            with ThreadPoolExecutor(WRITERS) as pool:
                placed = list(pool.map(lambda name: self._placed(kind, name), having))  # noqa: B023
            if placed and having != [sheets.ONLY] and placed[0].path.endswith(".tif"):
                parts = [(product.path, self.sheet(name)) for name, product in zip(having, placed, strict=True)]
                mosaic = vrt.mosaic(self.area, self._look(kind), parts)
                self.products.append(self.publication.put(kind, f"{kind}.vrt", mosaic))
            self.products += placed
            for name, product in zip(having, placed, strict=True):
                self.by_sheet.setdefault(name, []).append(product)

    def _placed(self, kind: str, name: str) -> Product:
        made = self.sheets[name]["products"][kind]
        path = sheets.path(kind, name, made["suffix"])
        self.publication.work.store.compose(self.publication.key(path), [Span(made["key"], 0, made["size"])])
        return self.publication.product(kind, path)

    def _look(self, kind: str) -> vrt.Look:
        if kind == "ortho":
            return vrt.COLOUR if self.publication.work.run.facts["coloured"] else vrt.GREY
        return vrt.DENSITY if kind == "density" else vrt.HEIGHTS

    @cached_property
    def heights(self) -> dict[str, Canvas]:
        """Terrain and surface on few pixels, as far as they were made."""
        made = {name: self.small(name) for name in (DTM, DSM)}
        return {name: canvas for name, canvas in made.items() if canvas is not None}

    def _lit(self, name: str) -> tuple[NDArray[np.float32], float]:
        """Heights (NaN is void, row 0 in the north) and the side of a pixel in the unit of the CRS."""
        canvas = self.heights[name]
        return np.where(canvas.values == NODATA, np.nan, canvas.values)[::-1], canvas.step * self.area.cell

    @cached_property
    def relief(self) -> NDArray[np.uint8] | None:
        return relief.paint(*self._lit(DTM), self.z_factor) if DTM in self.heights else None

    def hillshade(self) -> None:
        if "hillshade" in self.asked and self.relief is not None:
            self.products.append(self.publication.put("hillshade", "hillshade.png", pictures.png(self.relief)))

    def tile_index(self) -> None:
        """tiles."""
        if "tiles" not in self.asked:
            return
        paths = {product.source: product.path for product in self.products if product.kind == "classified"}
        files = [(file, paths.get(file.name, "")) for file in self.las_files]
        counts = tile_index.merged(sheet["tiles"] for sheet in self.sheets.values())
        missing = self.publication.missing.get("process", [])
        listed = [(name, self.sheet(name).extent, self._paths(name)) for name in sorted(self.sheets) if name != sheets.ONLY]
        tile_index.write(self.path("tiles.gpkg"), counts, self.area, self.frame.grid, missing, files, listed)
        self.upload("tiles", "tiles.gpkg")

    def _paths(self, name: str) -> str:
        return " ".join(product.path for product in self.by_sheet.get(name, ()))

    def catalogue(self) -> None:
        """stac."""
        if "stac" not in self.asked:
            return
        run = self.publication.work.run
        by_name = {product.source: product for product in self.products if product.kind == "classified"}
        files = [stac.Described(file, by_name[file.name]) for file in self.las_files if file.name in by_name]
        parts = [stac.Part(name, self.sheet(name), made) for name, made in sorted(self.by_sheet.items()) if name != sheets.ONLY]
        listed = {product.path for part in parts for product in part.products}
        others = [product for product in self.products if product.kind != "classified" and product.path not in listed]
        documents = stac.documents(run.dataset, files, parts, others, self.area, run.received)
        self.products += [self.publication.put("stac", path, data) for path, data in documents]

    def report(self) -> None:
        if "report" not in self.asked:
            return
        survey = self.survey
        self.warnings += _thin(survey, self.area.resolution_m)
        shown = {"Terrain": [*self._relief(), *self._view()], "Classes before and after": list(self._classes())}
        record = {**self.publication.record, "warnings": [*self.publication.record["warnings"], *self.warnings]}
        seen = Seen(survey.area_m2, survey.void_share, survey.thin_share, survey.blind_share, shown)
        html = page(record, self.statistics, seen, self.products)
        self.products.append(self.publication.put("report", "report.html", html.encode()))

    def _relief(self) -> Iterator[Picture]:
        if self.relief is not None:
            resolution_m = self.publication.work.options.resolution_m
            caption = f"Terrain, {resolution_m:g} m cells, lit from the north-west, tinted by height"
            yield Picture(
                self._framed(self.relief, DTM, RELIEF_PIXELS, self._heights_key()), caption, "Shaded relief of the ground"
            )

    def _view(self) -> Iterator[Picture]:
        view = self.small(VIEW)
        if view is not None:
            caption = "The highest point of each cell, in its colour or intensity"
            shown = pictures.of_view(view.values[..., ::-1, :])
            yield Picture(self._framed(shown, VIEW, pictures.LONGEST), caption, "View from above")

    def _classes(self) -> Iterator[Picture]:
        shaded = next((name for name in (DSM, DTM) if name in self.heights), "")
        lit = relief.shade(*self._lit(shaded), self.z_factor) if shaded else None
        colours = {label: colour for label, (_, colour) in CLASSES.items()}
        for name, caption in ((BEFORE, "Classes as they came"), (AFTER, "Classes as they are now")):
            classes = self.small(name)
            assert classes is not None
            painted = pictures.paint(pictures.near(classes.values)[::-1], colours, OTHER_COLOUR, lit)
            png = self._framed(painted, name, pictures.LONGEST)
            yield Picture(png, f"{caption}: the highest point of each cell, in the colours of the list below", caption)

    def _framed(self, painted: NDArray[np.uint8], name: str, longest: int, key: pictures.Key | None = None) -> bytes:
        """The PNG of what was painted on the pixels of this name."""
        step = drawing.step_for(name, self.area.extent, self.area.resolution_m)
        return pictures.framed(painted, step * self.area.resolution_m, longest, key)

    def _heights_key(self) -> pictures.Key | None:
        limits = relief.limits_of(self._lit(DTM)[0])
        if limits is None:
            return None
        low, high = (f"{height * self.frame.z_unit_m:,.1f} m" for height in limits)
        return pictures.Key(low, high, relief.palette_of(relief.TINT_STEPS))


def _thin(survey: Survey, resolution_m: float) -> list[str]:
    """What the report says of an area that was measured with gaps."""
    said = []
    side = survey.side * resolution_m
    if survey.void_share >= VOID_SHARE:
        said.append(f"{survey.void_share:.1%} of the area, in squares of {side:g} m, has no point at all")
    if survey.thin_share - survey.void_share >= VOID_SHARE:
        said.append(f"{survey.thin_share:.1%} of the area, in squares of {side:g} m, has less than {density.FEW:g} point a m2")
    return said


def _by_file(shards: list[dict[str, Any]]) -> dict[int, list[ShardOutput]]:
    """What was written of each file, in order."""
    found: dict[int, list[ShardOutput]] = {}
    for shard in shards:
        chunks = tuple((points, size) for points, size in shard["chunks"])
        found.setdefault(shard["file"], []).append(ShardOutput(shard["key"], shard["size"], chunks))
    return found


def _returns(shards: list[dict[str, Any]]) -> dict[int, NDArray[np.int64]]:
    """The points of each return of files that were upgraded."""
    found: dict[int, NDArray[np.int64]] = {}
    for shard in shards:
        if "returns" in shard:
            found[shard["file"]] = found.get(shard["file"], 0) + np.array(shard["returns"], np.int64)
    return found


def _stitched(
    publication: Publication[PointCloudOptions],
    number: int,
    shards: list[ShardOutput],
    returns: NDArray[np.int64] | None,
) -> Product:
    store, source = publication.work.store, publication.work.run.sources[number]
    path, file = f"classified/{source.name}", read_las(store, source)
    new = file if returns is None else with_head(store, source, file, written_as(file, True), returns)
    store.compose(publication.key(path), segments_of(store, source, file, shards, new))
    product = publication.product("classified", path, source.name)
    written = Source(name=path, key=publication.key(path), size=product.bytes, version="")
    check_stitched(store, source, written, [chunk for shard in shards for chunk in shard.chunks])
    return product
