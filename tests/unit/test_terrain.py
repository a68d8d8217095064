"""The terrain model: exact, the same in any window, and a raster that readers understand."""

from pathlib import Path

import numpy as np
import rasterio
from PIL import Image

from tilery.workloads.pointcloud import terrain
from tilery.workloads.pointcloud.grid import Window

EXTENT = Window(-40, -30, 80, 60)


def slope() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points on a plane rising 0.1 m per m to the east, with a hole."""
    random = np.random.default_rng(1)
    x, y = random.integers(-40_000, 40_000, 9000), random.integers(-30_000, 30_000, 9000)
    keep = x**2 + y**2 > 6000**2
    return x[keep], y[keep], (x[keep] // 10 + 100_000).astype(np.int32)


def test_a_window_has_the_cells_of_the_whole() -> None:
    points = slope()
    part = Window(-7, -11, 20, 25)
    whole = terrain.terrain_model(*points, EXTENT, 1.0, 20)
    assert (terrain.terrain_model(*points, part, 1.0, 20) == whole[part.inside(EXTENT)]).all()


def test_a_hole_is_filled_to_the_slope_around_it() -> None:
    heights = terrain.terrain_model(*slope(), EXTENT, 1.0, 20)
    east = (np.arange(80) - 39.5) * 0.1 + 100
    assert abs(heights[30] - east).max() < 0.12


def test_a_hole_wider_than_the_distance_stays_void() -> None:
    heights = terrain.terrain_model(*slope(), EXTENT, 1.0, 4)
    assert heights[30, 40] == terrain.NODATA


def test_the_raster_is_a_cog_in_the_units_of_the_crs(tmp_path: Path) -> None:
    heights = terrain.terrain_model(*slope(), EXTENT, 1.0, 20)
    west, east = Window(-40, -30, 40, 60), Window(0, -30, 40, 60)
    parts = [(part, heights[part.inside(EXTENT)]) for part in (west, east)]
    wkt = rasterio.crs.CRS.from_epsg(2992).to_wkt()
    terrain.write_cog(tmp_path / "dtm.tif", EXTENT, parts, 1.0, wkt, unit_m=0.3048, z_unit_m=0.3048)
    with rasterio.open(tmp_path / "dtm.tif") as raster:
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert raster.crs.to_epsg() == 2992
        assert raster.nodata == terrain.NODATA
        np.testing.assert_allclose(raster.bounds, np.array([-40, -30, 40, 30]) / 0.3048)
        np.testing.assert_allclose(raster.read(1)[::-1], heights / 0.3048, rtol=1e-6)


def test_a_slope_towards_the_sun_is_lit_and_one_away_is_not() -> None:
    rising_east = np.tile(np.arange(20, dtype=np.float32), (20, 1))
    facing_west = terrain.hillshade(rising_east, 1.0, azimuth=270)
    np.testing.assert_allclose(facing_west[5:-5, 5:-5], 1.0, atol=1e-6)
    assert terrain.hillshade(rising_east, 1.0, azimuth=90)[10, 10] < 1e-6
    facing_south = terrain.hillshade(
        rising_east.T[::-1] * 0 + np.arange(20, 0, -1, dtype=np.float32)[:, None], 1.0, azimuth=180
    )
    np.testing.assert_allclose(facing_south[5:-5, 5:-5], 1.0, atol=1e-6)


def test_the_picture_is_transparent_where_there_is_nothing(tmp_path: Path) -> None:
    heights = terrain.terrain_model(*slope(), EXTENT, 1.0, 4)
    terrain.write_cog(tmp_path / "dtm.tif", EXTENT, [(EXTENT, heights)], 1.0, None)
    terrain.write_hillshade(tmp_path / "dtm.tif", tmp_path / "shade.png")
    picture = np.asarray(Image.open(tmp_path / "shade.png"))
    assert picture.shape == (60, 80, 4)
    assert picture[29, 40, 3] == 0
    assert picture[5, 5, 3] == 255
