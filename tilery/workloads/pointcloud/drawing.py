"""One sheet: every raster and table of its cells, and what the whole run's pictures and counts take from it.

Products are left below the stage's folder, for `publish` to put in their places; what is for all sheets together, on few
pixels, lies beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import rasterio
from numpy.typing import NDArray

from tilery.workload import Item, Work
from tilery.workloads.pointcloud import (
    contours,
    density,
    footprints,
    gridding,
    heights,
    ortho,
    pictures,
    sheets,
    tile_index,
)
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.grid import Window, tile_from_id
from tilery.workloads.pointcloud.heights import CHM, DSM, DTM, Heights
from tilery.workloads.pointcloud.layers import Layers
from tilery.workloads.pointcloud.merging import view_of
from tilery.workloads.pointcloud.options import PointCloudOptions
from tilery.workloads.pointcloud.pixels import Canvas, step_of, to_bytes
from tilery.workloads.pointcloud.rasters import NODATA, Sheet
from tilery.workloads.pointcloud.surface import fill_cells, in_cells

CACHE_MIB = 64
"""Of GDAL, which would take a twentieth of the machine's memory; every block is used once."""
RELIEF_PIXELS = 4096
"""Longest side of the shaded relief of a run."""
PICTURE_PIXELS = 2048
"""Longest side of what the report's pictures are made from."""
SQUARES, BEFORE, AFTER, VIEW = "squares", "before", "after", "view"
"""What there is on few pixels, beside the models of height."""


def step_for(name: str, extent: Window, resolution_m: float) -> int:
    """Cells a side of the pixels of this name."""
    if name == SQUARES:
        return density.square_side(extent, resolution_m)
    longest = {DTM: RELIEF_PIXELS, BEFORE: pictures.LONGEST, AFTER: pictures.LONGEST}.get(name, PICTURE_PIXELS)
    return step_of(extent, longest)


def draw(work: Work[PointCloudOptions], item: Item, places: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Make what is asked for of a sheet; `places` of the tiles that it sees (layers.py)."""
    drawing = _Drawing(work, item, places)
    with rasterio.Env(GDAL_CACHEMAX=CACHE_MIB):
        drawing.models()
        drawing.view()
        drawing.counts()
        drawing.classes()
    return {"window": item["window"], "products": drawing.products, "tiles": drawing.tiles_counts, "small": drawing.small}


@dataclass
class _Drawing:
    """A sheet while it is drawn. Each step makes the products of its kind that are asked for."""

    work: Work[PointCloudOptions]
    item: Item
    places: Sequence[dict[str, Any]]
    products: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Kind -> suffix, key and size."""
    small: dict[str, str] = field(default_factory=dict)
    """Name -> key of what there is on few pixels."""
    tiles_counts: tile_index.Counts = field(default_factory=dict)

    @cached_property
    def frame(self) -> Frame:
        return Frame.of(self.work.run, self.work.options)

    @cached_property
    def asked(self) -> frozenset[str]:
        return frozenset(self.item["kinds"])

    @cached_property
    def extent(self) -> Window:
        return Window(*self.item["extent"])

    @cached_property
    def sheet(self) -> Sheet:
        facts = self.work.run.facts
        return Sheet(Window(*self.item["window"]), self.work.options.resolution_m, facts["crs"], self.frame.unit_m)

    @cached_property
    def layers(self) -> Layers:
        missing = (tile_from_id(name) for name in sorted(self.work.missing.get("process", ())))
        holes = [in_cells(self.frame.grid, tile, self.frame.resolution_mm) for tile in missing]
        return Layers(self.work.store, self.places, self.extent, self.item["refused"], holes)

    def keep(self, kind: str, suffix: str, has_content: bool) -> None:
        """Put a product's file, named after its kind, where `publish` finds it; one of several only if it holds something."""
        file = self.work.scratch / f"{kind}{suffix}"
        if has_content or self.item["id"] == sheets.ONLY:
            key = self.work.out("sheets", str(self.item["id"]), file.name)
            self.work.store.upload(str(file), key)
            self.products[kind] = {"suffix": suffix, "key": key, "size": file.stat().st_size}

    def keep_small(self, name: str, values: NDArray[Any]) -> None:
        key = self.work.out("sheets", str(self.item["id"]), f"{name}.npy")
        self.work.store.put(key, to_bytes(values))
        self.small[name] = key

    def canvas(self, name: str, dtype: str, nothing: float = 0, bands: int = 0) -> Canvas:
        return Canvas.blank(self.sheet.extent, step_for(name, self.extent, self.sheet.resolution_m), dtype, nothing, bands)

    def models(self) -> None:
        """dtm, dsm and chm; contours and footprints, which are made from them; and the relief on few pixels."""
        has_ground, has_buildings = bool(self.item["ground_mm"]), bool(self.item["buildings"])
        drawn = self.asked & {"hillshade", "report"} if self.item["drawable"] else frozenset[str]()
        need = {DTM: {DTM, "contours", "footprints"} | drawn, DSM: {DSM}, CHM: {CHM, "footprints"}}
        names = {name for name, users in need.items() if users & self.asked and (name == DSM or has_ground)}
        if not names:
            return
        options = self.work.options
        reach = fill_cells(options.resolution_m, options.fill_m)
        made = Heights(self.layers, self.extent, self.frame.z_unit_m, reach)
        small = {name: self.canvas(name, "f4", NODATA) for name in names & {DTM, DSM} if drawn}
        with heights.write(self.work.scratch, made, self.sheet, names, small) as models:
            for name in sorted(names & self.asked):
                self.keep(name, ".tif", name in models.known)
            for name, canvas in small.items():
                self.keep_small(name, canvas.values)
            if "contours" in self.asked and has_ground:
                count = contours.write(self.work.scratch / "contours.gpkg", models, self._interval())
                self.keep("contours", ".gpkg", count > 0)
            if "footprints" in self.asked and has_ground and has_buildings:
                count = footprints.write(self.work.scratch / "footprints.gpkg", models, self.layers)
                self.keep("footprints", ".gpkg", count > 0)

    def _interval(self) -> float:
        low, high = (height / 1000 / self.frame.z_unit_m for height in self.item["ground_mm"])
        return contours.interval_of(self.work.options.contour_m, high - low, self.frame.z_unit_m)

    def view(self) -> None:
        """ortho."""
        if "ortho" not in self.asked or self.item["scale"] is None:
            return
        name = view_of(self.work)
        small = self.canvas(VIEW, "u1", bands=3 if name == gridding.COLOUR else 0)
        path, scale = self.work.scratch / "ortho.tif", ortho.Scale(*self.item["scale"])
        self.keep("ortho", ".tif", ortho.write(path, self.layers, self.sheet, name, scale, small))
        self.keep_small(VIEW, small.values)

    def counts(self) -> None:
        """density, and what the tile index and the survey count."""
        if not self.asked & {"density", "tiles", "report"}:
            return
        path: Path | None = self.work.scratch / "density.tif" if "density" in self.asked else None
        squares = self.canvas(SQUARES, "i8", bands=3)
        for window, counts in density.count(path, self.layers, self.sheet, squares):
            tile_index.add(self.tiles_counts, window, counts, self.frame.grid, self.frame.resolution_mm)
        if path:
            self.keep("density", ".tif", bool(self.tiles_counts))
        self.keep_small(SQUARES, squares.values)

    def classes(self) -> None:
        """The classes on few pixels, for the report."""
        if "report" not in self.asked:
            return
        step = step_for(AFTER, self.extent, self.sheet.resolution_m)
        for name, values in zip((BEFORE, AFTER), pictures.vote(self.layers, self.sheet, step), strict=True):
            self.keep_small(name, values)
