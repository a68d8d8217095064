"""Lines of equal height are exact, joined across blocks, and turn the right way round."""

from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from tilery.store.directory import DirectoryStore
from tilery.workloads.pointcloud import contours, isolines
from tilery.workloads.pointcloud.geopackage import GeoPackage, Layer
from tilery.workloads.pointcloud.grid import Window
from tilery.workloads.pointcloud.heights import Heights, Models
from tilery.workloads.pointcloud.isolines import Line, Weaver, blocks
from tilery.workloads.pointcloud.layers import Layers
from tilery.workloads.pointcloud.rasters import NODATA, Raster, Sheet


def woven(values: np.ndarray, interval: float, side: int) -> list[Line]:
    rows, columns = values.shape
    weaver, found, previous = Weaver(columns, interval), [], 0
    for row, column, height, width in blocks(rows, columns, side):
        if row != previous:
            found += weaver.finished(row)
            previous = row
        weaver.add(values[row : row + height, column : column + width], column, row)
    return [*found, *weaver.finished()]


def cone(size: int = 41) -> np.ndarray:
    rows, columns = np.indices((size, size))
    return 20.5 - np.hypot(rows - size // 2, columns - size // 2)


def canonical(lines: list[Line]) -> list[tuple[int, bool, bytes]]:
    return sorted((line.level, line.closed, np.round(line.points, 9).tobytes()) for line in lines)


def test_the_contours_of_a_cone_are_circles_with_the_summit_on_their_left() -> None:
    found = [line for line in woven(cone(), 5.0, 100) if line.closed]
    assert sorted(line.level for line in found) == [1, 2, 3, 4]
    for line in found:
        ring = shapely.Polygon(line.points)
        radius = 20.5 - 5 * line.level
        assert ring.exterior.is_ccw
        assert abs(np.hypot(*(line.points - 20).T) - radius).max() < 0.25
        assert shapely.is_valid(ring)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 30))
def test_blocks_of_any_size_give_the_lines_of_the_whole(seed: int, side: int) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(0, 6, (19, 23)) / 2.0
    values[random.random(values.shape) < 0.1] = np.nan
    assert canonical(woven(values, 1.0, side)) == canonical(woven(values, 1.0, 1000))


def test_no_line_crosses_what_is_unknown() -> None:
    values = cone()
    values[:, 20] = np.nan
    lines = woven(values, 5.0, 7)
    assert lines
    assert not any(line.closed for line in lines)
    assert all((line.points[:, 0] <= 19).all() or (line.points[:, 0] >= 21).all() for line in lines)


def test_a_saddle_is_decided_by_its_centre() -> None:
    high = np.array([[2.0, 0.1], [0.1, 2.0]])
    low = np.array([[1.1, 0.0], [0.0, 1.1]])
    split = [shapely.LineString(line.points) for line in woven(low, 1.0, 9)]
    joined = [shapely.LineString(line.points) for line in woven(high, 1.0, 9) if line.level == 1]
    diagonal = shapely.LineString([(0, 0), (1, 1)])
    assert [line.intersects(diagonal) for line in split] == [True, True]
    assert [line.intersects(diagonal) for line in joined] == [False, False]


@pytest.mark.parametrize(("given", "relief", "unit", "step"), [(0, 8, 1, 0.25), (0, 55, 1, 2), (0, 9e3, 1, 50), (2, 9, 0.5, 4)])
def test_the_interval_is_the_one_asked_for_or_follows_the_relief(given: float, relief: float, unit: float, step: float) -> None:
    assert contours.interval_of(given, relief, unit) == step


def test_smoothing_keeps_a_plane_and_what_is_unknown() -> None:
    rows, columns = np.indices((30, 30))
    plane = 0.3 * rows - 0.1 * columns + 1e5
    plane[10, 12] = np.nan
    smoothed = contours.smooth(plane)
    assert np.isnan(smoothed[10, 12])
    assert np.count_nonzero(np.isnan(smoothed)) == 1
    np.testing.assert_allclose(smoothed[2:8, 2:8], plane[2:8, 2:8], atol=1e-9)


def models(folder: Path, sheet: Sheet, **values: np.ndarray) -> Models:
    for name, model in values.items():
        with Raster(folder / f"{name}.tif", sheet) as raster:
            raster.write(sheet.extent, model.astype(np.float32))
    nothing = Layers(DirectoryStore(folder), [], sheet.extent)
    return Models(Heights(nothing, sheet.extent, 1.0, 0), sheet, {name: folder / f"{name}.tif" for name in values})


def test_contours_lie_where_the_model_has_their_height(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = Sheet(Window(100, 200, 41, 41), 1.0, None)
    with models(tmp_path, sheet, dtm=np.where(cone() > 2, cone(), NODATA)) as made:
        assert contours.write(tmp_path / "one.gpkg", made, 5.0) == 3
        monkeypatch.setattr(contours, "BLOCK", 9)
        contours.write(tmp_path / "two.gpkg", made, 5.0)
    assert sorted(features(tmp_path / "one.gpkg", "contours")) == sorted(features(tmp_path / "two.gpkg", "contours"))
    for geometry, elevation, indexed in features(tmp_path / "one.gpkg", "contours"):
        line = shapely.from_wkb(geometry)
        assert line.is_closed
        away = np.hypot(*(shapely.get_coordinates(line) - [120.5, 220.5]).T)
        assert abs(away - (20.5 - elevation)).max() < 0.6
        assert indexed == 0


def features(path: Path, layer: str) -> list[tuple]:
    _, _, geometry, columns = pyogrio.raw.read(path, layer=layer)
    return list(zip(geometry.tolist(), *(column.tolist() for column in columns), strict=True))


LAYERS = [
    Layer("ways", "LINESTRING", {"name": "TEXT", "length": "REAL"}),
    Layer("fields", "POLYGON", {"count": "INTEGER"}),
]
RING = np.array([[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]], float)


def write(path: Path, crs: str | None = None) -> bytes:
    with GeoPackage(path, LAYERS, crs) as package:
        package.add("ways", [np.array([[1, 2], [3, 4]], float)], ['O\'Neill "way"', 2.5])
        package.add("fields", [RING, RING[::-1] * 0.2 + 4], [7])
        package.add("fields", [RING + 100], [None])
    return path.read_bytes()


def test_a_geopackage_is_read_as_it_was_written(tmp_path: Path) -> None:
    first = write(tmp_path / "a.gpkg", rasterio_wkt(32632))
    assert write(tmp_path / "b.gpkg", rasterio_wkt(32632)) == first
    assert [name for name, _ in pyogrio.list_layers(tmp_path / "a.gpkg")] == ["ways", "fields"]
    way, name, length = features(tmp_path / "a.gpkg", "ways")[0]
    assert (shapely.from_wkb(way).wkt, name, length) == ("LINESTRING (1 2, 3 4)", 'O\'Neill "way"', 2.5)
    fields = features(tmp_path / "a.gpkg", "fields")
    assert shapely.from_wkb(fields[0][0]).area == 96
    information = pyogrio.read_info(tmp_path / "a.gpkg", layer="fields")
    assert information["crs"] == "EPSG:32632"
    assert tuple(information["total_bounds"]) == (0, 0, 110, 110)
    near = pyogrio.raw.read(tmp_path / "a.gpkg", layer="fields", bbox=(101, 101, 102, 102))
    assert len(near[2]) == 1, "through the spatial index"


def test_a_geopackage_without_or_with_an_unlisted_crs_opens_too(tmp_path: Path) -> None:
    write(tmp_path / "none.gpkg")
    assert len(features(tmp_path / "none.gpkg", "fields")) == 2
    own = rasterio_wkt(32632).replace('"9996"', "").replace("0.9996", "0.9997").replace(',AUTHORITY["EPSG","32632"]]', "]")
    write(tmp_path / "own.gpkg", own)
    assert "0.9997" in pyogrio.read_info(tmp_path / "own.gpkg", layer="ways")["crs"]


def rasterio_wkt(code: int) -> str:
    from rasterio.crs import CRS

    return str(CRS.from_epsg(code).to_wkt())


def test_a_gis_may_edit_a_table_and_its_index_stays_true(tmp_path: Path) -> None:
    write(tmp_path / "a.gpkg", rasterio_wkt(32632))
    moved = shapely.to_wkb(shapely.box(500, 500, 501, 501))
    pyogrio.raw.write(
        tmp_path / "a.gpkg",
        np.array([moved], object),
        [np.array([1])],
        ["count"],
        layer="fields",
        append=True,
        crs="EPSG:32632",
        geometry_type="Polygon",
    )
    assert len(pyogrio.raw.read(tmp_path / "a.gpkg", layer="fields", bbox=(499, 499, 502, 502))[2]) == 1


def test_lines_start_where_they_are_lowest_wherever_they_were_begun() -> None:
    ring = np.array([[2, 2], [0, 3], [1, 0], [3, 1], [2, 2]], float)
    assert isolines._from_lowest(ring)[0].tolist() == [1, 0]
