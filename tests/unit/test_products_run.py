"""Products of whole runs: the same bytes whatever the tiles, only what was asked for, and every reader opens them."""

import io
import re
from pathlib import Path

import jsonschema
import laspy
import numpy as np
import pyogrio
import pystac
import pytest
import rasterio
import shapely
from pystac.extensions.pointcloud import PointcloudExtension
from pystac.extensions.projection import ProjectionExtension

from tests.unit.stac_schemas import validated
from tests.unit.town import FOOT, HOUSES, POND, SOUTH_M, WEST_M, Ended, run, town
from tilery.workloads.pointcloud import footprints, tile_index
from tilery.workloads.pointcloud.grid import TileGrid, Window
from tilery.workloads.pointcloud.options import EVERY_PRODUCT
from tilery.workloads.pointcloud.rasters import Sheet

KEEP = {"keep": [2, 5, 6]}
"""The town's own classes: what is tested here are the products."""
SMALL = {"lane": "fargate", "tile_area_km2": 0.0016, "shard_mib": 0.2}


@pytest.fixture(scope="module")
def metres(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return run(tmp_path_factory.mktemp("metres"), {"town.laz": town()}, **KEEP)


@pytest.fixture(scope="module")
def cut(metres: Ended) -> Ended:
    return run(metres.root.parent, {"town.laz": town()}, **SMALL, **KEEP)


@pytest.fixture(scope="module")
def feet(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return run(tmp_path_factory.mktemp("feet"), {"town.laz": town(epsg=2992, foot=True)}, **KEEP)


def test_every_product_is_made_and_tiles_do_not_change_a_byte(metres: Ended, cut: Ended) -> None:
    assert metres.kinds == set(EVERY_PRODUCT)
    assert (metres.record.lane, cut.record.lane) == ("lambda", "fargate")
    same = set(metres.products) - {"report.html", "tiles.gpkg"}
    assert {path for path in same if metres.products[path] != cut.products[path]} == set()
    assert len(same) == len(metres.products) - 2


def test_buildings_that_cross_tiles_are_the_same_too(metres: Ended) -> None:
    made = {"products": ["footprints", "report"]}
    one = run(metres.root.parent, {"town.laz": town()}, **made)
    cut = run(metres.root.parent, {"town.laz": town()}, **SMALL, **made)
    assert one.record.counts["classes"] == cut.record.counts["classes"]
    assert one.products["footprints.gpkg"] == cut.products["footprints.gpkg"]
    assert len(shapes(one, "footprints")) == len(HOUSES)
    assert pictures(one) == pictures(cut)


def pictures(ended: Ended) -> list[str]:
    return re.findall(r'src="data:image/png;base64,([^"]+)"', ended.path("report.html").read_text())


def test_the_models_agree_with_the_town(metres: Ended) -> None:
    with rasterio.open(metres.path("dtm.tif")) as dtm, rasterio.open(metres.path("dsm.tif")) as dsm:
        ground, top = dtm.read(1, masked=True), dsm.read(1, masked=True)
    with rasterio.open(metres.path("chm.tif")) as raster:
        above = raster.read(1, masked=True)
        assert (raster.crs.to_epsg(), raster.res, raster.nodata) == (32632, (1.0, 1.0), -9999.0)
        x, y = (np.array(raster.xy(*np.indices(raster.shape))[place]).reshape(raster.shape) for place in (0, 1))
    known = ~above.mask
    np.testing.assert_allclose(above[known], np.maximum(top - ground, 0)[known], atol=1e-4)
    assert above.min() == 0
    x, y = x - WEST_M, y - SOUTH_M
    for house in HOUSES:
        inside = house.holds(x, y, 0.8) & ~house.holds(x, y, 0.6)
        assert abs(np.ma.median(above[inside]) - house.height) < 0.6
    deep = np.hypot(x - POND[0], y - POND[1]) < POND[2] - 1
    assert not ground.mask[deep].any(), "the pond is narrower than the distance up to which voids are filled"


def test_a_void_wider_than_the_distance_stays_one(metres: Ended) -> None:
    narrow = run(metres.root.parent, {"town.laz": town()}, products=["dtm", "dsm", "chm"], fill_m=4, **KEEP)
    assert narrow.kinds == {"dtm", "dsm", "chm"}
    for name in ("dtm.tif", "dsm.tif", "chm.tif"):
        with rasterio.open(narrow.path(name)) as raster:
            centre = raster.index(WEST_M + POND[0], SOUTH_M + POND[1])
            assert raster.read(1)[centre] == -9999.0


def test_in_feet_everything_is_at_the_same_place_in_feet(metres: Ended, feet: Ended) -> None:
    for name in ("dtm.tif", "chm.tif"):
        with rasterio.open(metres.path(name)) as metre, rasterio.open(feet.path(name)) as foot:
            np.testing.assert_allclose(np.array(foot.bounds) * FOOT, metre.bounds, rtol=1e-9)
            one, other = metre.read(1, masked=True), foot.read(1, masked=True) * FOOT
            assert np.ma.median(abs(one - other)) < 0.01
    areas = [sorted(row[0] for row in table(ended, "footprints")) for ended in (metres, feet)]
    np.testing.assert_allclose(areas[0], areas[1], rtol=0.05)
    heights = [sorted(row[1] for row in table(ended, "footprints")) for ended in (metres, feet)]
    np.testing.assert_allclose(heights[0], heights[1], atol=0.05)
    steps = np.unique(np.diff(np.unique([row[0] for row in table(feet, "contours")])))
    assert np.allclose(steps / steps[0], np.round(steps / steps[0])), "round numbers of feet"


def table(ended: Ended, kind: str) -> list[tuple]:
    _, _, _, columns = pyogrio.raw.read(ended.path(f"{kind}.gpkg"), layer=kind)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def shapes(ended: Ended, kind: str, layer: str = "") -> list[shapely.Geometry]:
    return list(shapely.from_wkb(pyogrio.raw.read(ended.path(f"{kind}.gpkg"), layer=layer or kind)[2]))


def test_footprints_are_the_houses(metres: Ended) -> None:
    found = shapes(metres, "footprints")
    assert len(found) == len(HOUSES)
    for house in HOUSES:
        drawn = shapely.affinity.rotate(
            shapely.box(-house.width / 2, -house.depth / 2, house.width / 2, house.depth / 2), house.degrees
        )
        drawn = drawn.difference(shapely.affinity.scale(drawn, 0.5, 0.5)) if house.court else drawn
        drawn = shapely.affinity.translate(drawn, WEST_M + house.x, SOUTH_M + house.y)
        shape = max(found, key=lambda one: one.intersection(drawn).area)
        assert shape.is_valid
        assert shape.intersection(drawn).area > 0.85 * shape.union(drawn).area
        assert len(shape.interiors) == house.court
        edges = np.diff(shapely.get_coordinates(shape.exterior), axis=0)
        angles = np.degrees(np.arctan2(edges[:, 1], edges[:, 0])) % 90
        off = np.minimum(abs(angles - house.degrees), 90 - abs(angles - house.degrees))
        assert (off < 4).all(), "square"
    for area, height, highest, ground, squared in table(metres, "footprints"):
        assert squared == 1
        assert any(abs(height - house.height) < 1.6 for house in HOUSES)
        assert highest >= height > 3
        assert 98 < ground < 112
        assert area > footprints.LEAST_M2


def test_outlines_are_joined_where_blocks_meet(metres: Ended, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprints, "BLOCK", 17)
    cut = run(metres.root.parent, {"town.laz": town()}, products=["footprints"], **KEEP)
    assert {shape.wkt for shape in shapes(cut, "footprints")} == {shape.wkt for shape in shapes(metres, "footprints")}


def test_the_index_lists_what_is_missing(tmp_path: Path) -> None:
    sheet, grid = Sheet(Window(0, 0, 50, 20), 1.0), TileGrid(1000, 20)
    values = np.stack([np.full((20, 25), 3), np.ones((20, 25), int)])
    values[:, :5], values[:, :, 20:] = 0, 0
    counts: tile_index.Counts = {}
    for x0, x1 in ((0, 7), (7, 25)):
        tile_index.add(counts, Window(x0, 0, x1 - x0, 20), values[:, :, x0:x1], grid, 1000)
    tile_index.write(tmp_path / "tiles.gpkg", counts, sheet, grid, ["x1_y0"], [])
    _, _, _, columns = pyogrio.raw.read(tmp_path / "tiles.gpkg", layer="tiles")
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    assert rows[0] == ("x0_y0", "done", 900, 300, 3.0, 0.25)
    assert rows[1][:4] == ("x1_y0", "missing", 0, 0)


def test_contours_follow_the_terrain(metres: Ended) -> None:
    with rasterio.open(metres.path("dtm.tif")) as raster:
        model, index = raster.read(1), raster.index
        for line, (elevation, indexed) in zip(shapes(metres, "contours"), table(metres, "contours"), strict=True):
            places = shapely.get_coordinates(line)
            heights = np.array([model[index(x, y)] for x, y in places])
            assert np.median(abs(heights - elevation)) < 0.15
            assert indexed == (round(elevation / 0.25) % 5 == 0)


def test_a_contour_interval_can_be_asked_for(metres: Ended) -> None:
    coarse = run(metres.root.parent, {"town.laz": town()}, products=["contours"], contour_m=2.0, **KEEP)
    assert coarse.kinds == {"contours"}
    assert {row[0] % 2 for row in table(coarse, "contours")} == {0.0}


def test_the_density_map_counts_points(metres: Ended) -> None:
    with rasterio.open(metres.path("density.tif")) as raster:
        points, ground = raster.read()
        assert raster.descriptions == ("points per m2", "ground points per m2")
        row, column = raster.index(WEST_M + POND[0], SOUTH_M + POND[1])
    assert points.sum() == metres.record.counts["points"]
    assert ground.sum() == metres.record.counts["classes"]["2"]
    assert points[row, column] == 0


def test_the_view_shows_the_colours_and_fills_no_pond(metres: Ended) -> None:
    with rasterio.open(metres.path("ortho.tif")) as raster:
        assert [band.name for band in raster.colorinterp] == ["red", "green", "blue"]
        assert (raster.dtypes[0], raster.nodata) == ("uint8", 0)
        bands = raster.read()
        pond = raster.index(WEST_M + POND[0], SOUTH_M + POND[1])
        roof = raster.index(WEST_M + HOUSES[1].x, SOUTH_M + HOUSES[1].y)
    assert not bands[:, pond[0], pond[1]].any()
    expected = [1 + round(254 * (6 * 9000 + 500 * band) / 65535) for band in range(3)]
    assert bands[:, roof[0], roof[1]].tolist() == expected


def test_without_colour_the_view_shows_the_intensity(tmp_path: Path) -> None:
    grey = run(tmp_path, {"town.laz": town(point_format=6)}, products=["ortho"], **KEEP)
    with rasterio.open(grey.path("ortho.tif")) as raster:
        band = raster.read(1)
        roof = raster.index(WEST_M + HOUSES[1].x, SOUTH_M + HOUSES[1].y)
        field = raster.index(WEST_M + 5, SOUTH_M + 60)
    assert raster.count == 1
    assert band[roof] > 200 > 60 > band[field]


def test_a_file_whose_colours_are_empty_is_seen_by_its_intensity(tmp_path: Path) -> None:
    las = laspy.read(io.BytesIO(town()))
    las.red[:] = las.green[:] = las.blue[:] = 0
    black = io.BytesIO()
    las.write(black, do_compress=True)
    grey = run(tmp_path, {"town.laz": black.getvalue()}, products=["ortho"], **KEEP)
    with rasterio.open(grey.path("ortho.tif")) as raster:
        assert raster.count == 1
        assert raster.read(1).max() == 255
    las.intensity[:] = 0
    nothing = io.BytesIO()
    las.write(nothing, do_compress=True)
    dark = run(tmp_path, {"town.laz": nothing.getvalue()}, products=["ortho", "dsm"], **KEEP)
    assert dark.kinds == {"dsm"}
    assert any("no view from above" in warning for warning in dark.record.warnings)


def test_the_index_has_the_tiles_and_the_files(metres: Ended, cut: Ended) -> None:
    assert [name for name, _ in pyogrio.list_layers(cut.path("tiles.gpkg"))] == ["tiles", "files"]
    _, _, _, (names, status, points, ground, density, void) = pyogrio.raw.read(cut.path("tiles.gpkg"), layer="tiles")
    assert len(names) == 9
    assert set(status) == {"done"}
    assert points.sum() == cut.record.counts["points"]
    assert ground.sum() == cut.record.counts["classes"]["2"]
    assert (density > 3).all()
    assert (void < 0.5).all()
    (box,) = shapes(cut, "tiles", "files")
    assert box.area == pytest.approx(119**2, rel=0.01)
    union = shapely.union_all(shapes(cut, "tiles", "tiles"))
    assert union.contains(box)
    assert len(shapes(metres, "tiles", "tiles")) == 1


def test_a_stac_reader_finds_every_file_and_product(metres: Ended) -> None:
    collection = pystac.Collection.from_file(str(metres.path("stac/collection.json")))
    collection.validate()
    assert {"dtm", "dsm", "chm", "ortho", "contours"} <= set(collection.assets)
    for asset in collection.assets.values():
        assert Path(asset.get_absolute_href() or "").exists()
    (item,) = collection.get_items()
    validated(item)
    broken = item.clone()
    broken.properties["pc:type"] = broken.properties["proj:bbox"] = 7
    with pytest.raises(jsonschema.ValidationError):
        validated(broken)
    cloud, projection = PointcloudExtension.ext(item), ProjectionExtension.ext(item)
    assert (cloud.count, cloud.type, cloud.encoding) == (metres.record.counts["points"], "lidar", "LASzip")
    assert {"X", "intensity", "classification", "red"} <= {schema.name for schema in cloud.schemas}
    assert cloud.density == pytest.approx(4, rel=0.1)
    assert projection.code == "EPSG:32632"
    assert projection.bbox is not None
    assert projection.bbox[0] == pytest.approx(WEST_M, abs=1)
    assert item.datetime is not None
    assert (item.datetime.year, item.datetime.month, item.datetime.day) == (2020, 5, 4)
    west, south, east, north = item.bbox or []
    assert 9 < west < east < 9.01
    assert 45 < south < north < 46
    assert Path(item.assets["data"].get_absolute_href() or "").exists()


def test_without_a_crs_there_is_no_geometry_and_everything_else(tmp_path: Path) -> None:
    bare = run(tmp_path, {"town.laz": town(epsg=None)}, products=["classified", "stac", "contours"], **KEEP)
    collection = pystac.Collection.from_file(str(bare.path("stac/collection.json")))
    (item,) = collection.get_items()
    assert item.geometry is None
    validated(item)
    assert table(bare, "contours")


@pytest.mark.parametrize("kind", EVERY_PRODUCT)
def test_one_product_alone_is_the_same_as_among_all(metres: Ended, kind: str) -> None:
    alone = run(metres.root.parent, {"town.laz": town()}, products=[kind], **KEEP)
    assert alone.kinds == {kind}
    if kind not in ("report", "stac", "tiles"):
        assert alone.products == {path: digest for path, digest in metres.products.items() if path in alone.products}


def test_without_ground_there_are_no_models_and_the_run_says_so(tmp_path: Path) -> None:
    nothing = ["dtm", "hillshade", "contours", "dsm", "report", "density"]
    bare = run(tmp_path, {"town.laz": labelled(town(), 1)}, keep=[1], products=nothing)
    assert bare.record.counts["classes"].keys() == {"1"}
    assert bare.kinds == {"dsm", "report", "density"}
    assert any("no ground point was found" in warning for warning in bare.record.warnings)


def labelled(data: bytes, label: int) -> bytes:
    las = laspy.read(io.BytesIO(data))
    las.classification[:] = label
    out = io.BytesIO()
    las.write(out, do_compress=True)
    return out.getvalue()


def test_a_stray_point_far_away_asks_for_no_endless_raster(tmp_path: Path) -> None:
    las = laspy.read(io.BytesIO(town()))
    las.x[7] += 900_000
    las.y[7] -= 900_000
    stray = io.BytesIO()
    las.write(stray, do_compress=True)
    wide = run(tmp_path, {"town.laz": stray.getvalue()}, **KEEP)
    assert wide.kinds == {"classified", "tiles", "stac", "report"}
    assert any("the points spread over 900 x 900 km" in warning for warning in wide.record.warnings)


def test_the_report_compares_and_warns(metres: Ended) -> None:
    page = metres.path("report.html").read_text()
    for words in ("Before and after", "Agreement on ground", "Cohen&#x27;s kappa", "Classes as they came", "without any point"):
        assert words in page
    assert any("has no point at all" in warning for warning in metres.record.warnings)
