"""Heights are filled the same in any window, and become rasters and pictures that readers understand."""

import io
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from tilery.workloads.pointcloud import heights, pictures, relief, surface
from tilery.workloads.pointcloud.grid import VOID, Window
from tilery.workloads.pointcloud.rasters import NODATA, Raster, Sheet, read

EXTENT = Window(-40, -30, 80, 60)


def slope() -> np.ndarray:
    """Heights (mm) rising 0.1 m per m to the east, some cells unknown, with a round hole."""
    random = np.random.default_rng(1)
    rows, columns = np.indices(EXTENT.shape)
    z = (columns * 100 + 100_050).astype(np.int32)
    hole = np.hypot(columns - 40, rows - 30) < 6
    return np.where(hole | (random.random(EXTENT.shape) < 0.2), VOID, z).astype(np.int32)


def filled(core: Window, reach: int) -> np.ndarray:
    wide = core.grow(reach + surface.MORE)
    mean = np.full(wide.shape, VOID, np.int32)
    part = wide.overlap(EXTENT)
    mean[part.inside(wide)] = slope()[part.inside(EXTENT)]
    return surface.filled(mean, wide, core, reach)


def test_a_window_has_the_cells_of_the_whole() -> None:
    whole = filled(EXTENT, 20)
    for part in (Window(-7, -11, 20, 25), Window(-40, -30, 1, 60), Window(39, 29, 1, 1)):
        assert np.array_equal(filled(part, 20), whole[part.inside(EXTENT)])


def test_a_hole_is_filled_to_the_slope_around_it() -> None:
    expected = np.arange(80) * 100 + 100_050
    assert abs(filled(EXTENT, 20)[30] - expected)[6:-6].max() <= 3
    known = slope() != VOID
    assert np.array_equal(filled(EXTENT, 20)[known], slope()[known]), "what is measured stays"


def test_a_hole_wider_than_the_distance_stays_void() -> None:
    assert filled(EXTENT, 4)[30, 40] == VOID


def test_nothing_is_known_beyond_what_surrounds_it() -> None:
    beyond = filled(Window(60, -30, 20, 60), 30)
    assert (beyond == VOID).all()


def test_the_canopy_is_never_below_the_ground_and_unknown_where_either_is() -> None:
    top = np.array([5000, 900, VOID, 7000], np.int32)
    ground = np.array([1000, 1000, 1000, VOID], np.int32)
    assert heights.canopy(top, ground).tolist() == [4000, 0, VOID, VOID]


def written(path: Path, values: np.ndarray, sheet: Sheet) -> Path:
    west, east = Window(-40, -30, 33, 60), Window(-7, -30, 60, 60)
    with Raster(path, sheet) as raster:
        for part in (east.overlap(EXTENT), west):
            raster.write(part, values[part.inside(EXTENT)])
    return path


def test_the_raster_is_a_cog_in_the_units_of_the_crs(tmp_path: Path) -> None:
    sheet = Sheet(EXTENT, 1.0, rasterio.crs.CRS.from_epsg(2992).to_wkt(), unit_m=0.3048)
    values = heights.in_units(filled(EXTENT, 4), 0.3048)
    with rasterio.open(written(tmp_path / "dtm.tif", values, sheet)) as raster:
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert raster.crs.to_epsg() == 2992
        assert raster.nodata == NODATA
        np.testing.assert_allclose(raster.bounds, np.array([-40, -30, 40, 30]) / 0.3048)
        stored = raster.read(1, masked=True)[::-1]
        assert np.array_equal(stored.mask, filled(EXTENT, 4) == VOID)
        np.testing.assert_allclose(stored, filled(EXTENT, 4) / 304.8, rtol=1e-6)
        assert np.array_equal(read(raster, sheet, Window(-41, -30, 3, 2))[:, 0], [NODATA, NODATA])


def test_the_windows_that_a_raster_is_written_in_do_not_change_its_bytes(tmp_path: Path) -> None:
    sheet, values = Sheet(EXTENT, 1.0), heights.in_units(filled(EXTENT, 4), 1.0)
    one = written(tmp_path / "one.tif", values, sheet).read_bytes()
    with Raster(tmp_path / "two.tif", sheet) as raster:
        raster.write(EXTENT, values)
    assert (tmp_path / "two.tif").read_bytes() == one


def test_what_fails_leaves_no_raster(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Raster(tmp_path / "dtm.tif", Sheet(EXTENT, 1.0)):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_slope_towards_the_sun_is_lit_and_one_away_is_not() -> None:
    rising_east = np.tile(np.arange(20, dtype=np.float32), (20, 1))
    inner = (slice(5, -5), slice(5, -5))
    to_east, to_north = relief.slopes(rising_east, 1.0)
    np.testing.assert_allclose(to_east[inner], 1.0, atol=1e-6)
    np.testing.assert_allclose(relief.hillshade(to_east, to_north, azimuth=270)[inner], 1.0, atol=1e-6)
    assert relief.hillshade(to_east, to_north, azimuth=90)[10, 10] < 1e-6
    falling_south = relief.slopes(np.arange(20, 0, -1, dtype=np.float32)[:, None] + np.zeros((20, 20), np.float32), 1.0)
    np.testing.assert_allclose(relief.hillshade(*falling_south, azimuth=180)[inner], 1.0, atol=1e-6)


def test_the_picture_is_transparent_where_there_is_nothing() -> None:
    known = filled(EXTENT, 4) != VOID
    heights_m = np.where(known, filled(EXTENT, 4) / 1000, np.nan).astype(np.float32)
    picture = relief.paint(heights_m[::-1], 1.0)
    assert picture.shape == (60, 80, 4)
    assert picture[29, 40, 3] == 0
    assert picture[5, 5, 3] == 255


def test_a_picture_in_strips_is_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    heights_m = np.random.default_rng(1).normal(500, 20, (60, 80)).astype(np.float32)
    heights_m[20:30, 10:40] = np.nan
    one = relief.paint(heights_m, 1.0)
    monkeypatch.setattr(relief, "STRIP", 7)
    assert np.array_equal(relief.paint(heights_m, 1.0), one)


def test_a_picture_has_a_scale_of_a_round_length_whatever_its_size() -> None:
    assert [pictures.scale_length(most) for most in (0.03, 0.99, 7.0, 210.0, 5000.0)] == [0.02, 0.5, 5, 200, 5000]
    key = pictures.Key("1 m", "2 m", relief.palette_of(8))
    for side, shown, width in ((3, 480, 480), (241, 241, 420), (2_000, 800, 800)):
        pixels = np.full((side, side, 4), 255, np.uint8)
        with Image.open(io.BytesIO(pictures.framed(pixels, 0.5, 800, key))) as picture:
            assert picture.size == (width, shown + pictures.STRIP)
            strip = np.asarray(picture)[-pictures.STRIP :]
        metres = 0.5 * side / shown
        dark = (strip[-10, pictures.MARGIN :, :3] < 90).all(axis=1)
        assert np.argmin(dark) * metres == pytest.approx(pictures.scale_length(0.3 * width * metres), rel=0.05)
