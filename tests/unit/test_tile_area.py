"""Tiles are as large as asked, unless their points would not fit in a worker."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.las_files import las_of, stored
from tilery.workloads.pointcloud.las_header import LasFile, read_las
from tilery.workloads.pointcloud.sizing import LEAST_TILE_KM2, TILE_POINTS, tile_area_km2


def survey(tmp_path: Path, points_per_m2: float, side_m: float = 1_000.0) -> LasFile:
    file = read_las(*stored(tmp_path, las_of(6)))
    count = int(points_per_m2 * side_m**2)
    return replace(file, count=count, mins=(0.0, 0.0, 0.0), maxs=(side_m, side_m, 9.0))


@pytest.mark.parametrize("density", [0.1, 6.5, 8.0])
def test_sparse_points_have_tiles_as_asked(tmp_path: Path, density: float) -> None:
    assert tile_area_km2([survey(tmp_path, density)], 1.0, 0.5) == 0.5


@pytest.mark.parametrize("density", [10.0, 40.0, 90.0])
def test_dense_points_have_tiles_of_as_many_points_as_fit(tmp_path: Path, density: float) -> None:
    area = tile_area_km2([survey(tmp_path / "a", density), survey(tmp_path / "b", 1.0)], 1.0, 0.5)
    assert area * 1e6 * density == pytest.approx(TILE_POINTS, rel=1e-6)


def test_units_and_silly_bounds_are_minded(tmp_path: Path) -> None:
    feet = tile_area_km2([survey(tmp_path / "feet", 2.0)], 0.3048, 0.5)
    assert feet == pytest.approx(TILE_POINTS * 0.3048**2 / 2.0 / 1e6)
    assert tile_area_km2([survey(tmp_path / "dense", 1e6)], 1.0, 0.5) == LEAST_TILE_KM2
    assert tile_area_km2([replace(survey(tmp_path / "none", 5.0), maxs=(0.0, 0.0, 0.0))], 1.0, 0.5) == 0.5
    assert tile_area_km2([survey(tmp_path / "small", 1e6)], 1.0, 0.01) == 0.01
