"""A large area in sheets: no pixel, line or building differs from the area in one, and every reader opens what is published."""

from pathlib import Path

import numpy as np
import pyogrio
import pystac
import pytest
import rasterio
import shapely

from tests.unit.stac_schemas import validated
from tests.unit.test_products_run import KEEP, SMALL, pictures
from tests.unit.town import WEST_M, Ended, run, town
from tilery.workloads.pointcloud import contours, footprints, rasters, sheets

RASTERS = ("dtm", "dsm", "chm", "ortho", "density")


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return run(tmp_path_factory.mktemp("one"), {"town.laz": town()}, **KEEP)


@pytest.fixture(scope="module")
def cut(one: Ended) -> Ended:
    """The same in 3 x 2 sheets, through every stage."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rasters, "BLOCK", 16)
        patch.setattr(sheets, "SIDE", 64)
        patch.setattr(footprints, "AROUND_M", 2.0)
        return run(one.root.parent, {"town.laz": town()}, **SMALL, **KEEP)


def shapes(ended: Ended, kind: str) -> list[tuple]:
    """Geometries with their columns, of all sheets."""
    found: list[tuple] = []
    for path in sorted(ended.folder.rglob(f"{kind}*.gpkg")) + sorted(ended.folder.glob(f"{kind}/*.gpkg")):
        _, _, geometry, columns = pyogrio.raw.read(path, layer=kind)
        found += zip(shapely.from_wkb(geometry), *(column.tolist() for column in columns), strict=True)
    return found


@pytest.mark.parametrize("kind", RASTERS)
def test_no_pixel_differs_and_the_mosaic_opens_as_one(one: Ended, cut: Ended, kind: str) -> None:
    assert {path for path in one.products if path.startswith(kind)} == {f"{kind}.tif"}
    parts = sorted(path for path in cut.products if path.startswith(f"{kind}/"))
    assert len(parts) == 6
    with rasterio.open(one.path(f"{kind}.tif")) as whole, rasterio.open(cut.path(f"{kind}.vrt")) as mosaic:
        assert np.array_equal(whole.read(), mosaic.read())
        for name in ("crs", "transform", "nodata", "dtypes", "count", "colorinterp", "descriptions", "bounds"):
            assert getattr(whole, name) == getattr(mosaic, name), name
        for path in parts:
            with rasterio.open(cut.path(path)) as part:
                assert part.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
                window = rasterio.windows.from_bounds(*part.bounds, whole.transform)
                assert np.array_equal(part.read(), whole.read(window=window))


def test_what_is_on_few_pixels_is_the_same_too(one: Ended, cut: Ended) -> None:
    assert one.products["hillshade.png"] == cut.products["hillshade.png"]
    assert pictures(one) == pictures(cut)
    assert one.record.counts == {**cut.record.counts, "shards": 1}
    assert [w for w in one.record.warnings if "point" in w] == [w for w in cut.record.warnings if "point" in w]


def test_a_building_across_sheets_is_drawn_once_and_whole(one: Ended, cut: Ended) -> None:
    whole, parts = shapes(one, "footprints"), shapes(cut, "footprints")
    assert sorted(map(str, parts)) == sorted(map(str, whole))
    seam = 64 * (WEST_M // 64 + 1)
    assert any(shape.bounds[0] < seam - 3 < seam + 3 < shape.bounds[2] for shape, *_ in whole), "or this says nothing"


def test_contours_end_where_the_next_sheet_goes_on(one: Ended, cut: Ended) -> None:
    whole, parts = shapes(one, "contours"), shapes(cut, "contours")
    assert len(parts) > len(whole) > 10
    for level in {row[1] for row in whole}:
        line = shapely.union_all([row[0] for row in whole if row[1] == level])
        cut_line = shapely.union_all([row[0] for row in parts if row[1] == level])
        assert shapely.hausdorff_distance(line, cut_line) < 2 * contours.TOLERANCE
        assert cut_line.length == pytest.approx(line.length, rel=0.01)
        ends = shapely.line_merge(cut_line)
        assert len(shapely.get_parts(ends)) == len(shapely.get_parts(shapely.line_merge(line))), "no gap at a seam"


def test_the_index_and_the_catalogue_list_the_sheets(one: Ended, cut: Ended) -> None:
    assert [name for name, _ in pyogrio.list_layers(cut.path("tiles.gpkg"))] == ["tiles", "files", "sheets"]
    _, _, _, (names, paths) = pyogrio.raw.read(cut.path("tiles.gpkg"), layer="sheets")
    assert len(names) == 6
    for listed in paths:
        assert "dtm/" in listed
        assert all(cut.path(path).exists() for path in listed.split())
    collection = pystac.Collection.from_file(str(cut.path("stac/collection.json")))
    collection.validate()
    assert Path(collection.assets["dtm"].get_absolute_href() or "").name == "dtm.vrt"
    items = list(collection.get_items())
    assert len(items) == 7
    for item in items:
        validated(item)
        for asset in item.assets.values():
            assert Path(asset.get_absolute_href() or "").exists()
    assert cut.kinds == one.kinds


def test_an_area_with_nothing_in_the_middle_has_no_sheet_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rasters, "BLOCK", 16)
    monkeypatch.setattr(sheets, "SIDE", 32)
    merged = {
        "statistics": {"points": 9, "classes": {"2": 9}, "x_mm": [0, 199_000], "y_mm": [0, 63_000], "ground_mm": [0, 1]},
        "refused": {"x0_y0": [3]},
        "scale": None,
        "cell_mm": 1000,
        "tile_cells": 48,
    }
    made = sheets.items(merged, ["x0_y0", "x4_y0"], ["dtm"])
    assert [item["id"] for item in made] == [f"sheet-x{column}_y{row}" for column in (0, 1, 6) for row in (0, 1)]
    assert made[0]["refused"] == {"x0_y0": [3]}
    assert made[-1]["window"] == (192, 32, 8, 32)
    assert sheets.items(merged, ["x0_y0"], ["classified", "stac"]) == []
