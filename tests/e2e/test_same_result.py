"""The same points give the same bytes: whatever the lane, the tiles, the format of the file, or the order of the files."""

import io
from pathlib import Path

import laspy
import numpy as np
import pytest

from tests.data import autzen_trim, real
from tests.e2e.drops import SHARDED, Cloud, Ended, sha256, thin, verified, written
from tests.unit.las_files import laz_of
from tilery.workloads.pointcloud.grid import to_millimetres

SAMPLES = "pointcloud/samples"
TINY = ("--set", "lane=fargate", "--set", "shard_mib=0.01", "--set", "tile_area_km2=0.005")


def of_the_points(ended: Ended) -> dict[str, str]:
    """Path -> sha256 of the products that tell of the points; the tile index and STAC tell of tiles and file order."""
    return {path: digest for path, digest in ended.products.items() if path != "tiles.gpkg" and not path.startswith("stac/")}


def succeeded(ended: Ended) -> Ended:
    assert ended.code == 0, ended.err
    return ended


def test_both_lanes_give_identical_bytes(cloud: Cloud) -> None:
    before = sha256(autzen_trim())
    one = succeeded(cloud.run(autzen_trim(), "--set", "lane=lambda", out="one"))
    cut = succeeded(cloud.run(autzen_trim(), *TINY, out="cut"))
    assert {f"classified/{autzen_trim().name}", "dtm.tif", "dsm.tif", "hillshade.png"} <= set(one.products)
    assert of_the_points(one) == of_the_points(cut)
    assert (one.record["lane"], cut.record["lane"]) == ("lambda", "fargate")
    assert one.record["counts"]["classes"] == cut.record["counts"]["classes"]
    for ended in (one, cut):
        verified(autzen_trim(), ended.folder / "classified" / autzen_trim().name)
        for product in ended.record["products"]:
            assert product["digest"] == {"algorithm": "sha256", "value": sha256(ended.folder / product["path"])}
    assert sha256(autzen_trim()) == before


def converted(data: bytes, point_format: int) -> bytes:
    las = laspy.convert(laspy.read(io.BytesIO(data)), point_format_id=point_format, file_version="1.4")
    return written(las)


def test_las_and_laz_of_every_generation_get_the_same_labels(cloud: Cloud) -> None:
    data = thin(20)
    (cloud.folder / "old.las").write_bytes(data)
    files = {"old.laz": laz_of(data)}
    for point_format in (6, 7, 8):
        modern = converted(data, point_format)
        files |= {f"format{point_format}.las": modern, f"format{point_format}.laz": laz_of(modern)}
    for name, content in files.items():
        (cloud.folder / name).write_bytes(content)
    labels = {}
    for names in (("old.las",), ("old.laz",), ("format6.las", "format7.laz"), ("format8.laz",)):
        ended = succeeded(cloud.run(*(cloud.folder / name for name in names), "--set", "lane=lambda"))
        for name in names:
            verified(cloud.folder / name, ended.folder / "classified" / name)
            labels[name] = ended.classes(name)
    assert np.array_equal(labels["old.las"], labels["old.laz"])
    assert np.array_equal(labels["old.las"], labels["format8.laz"])
    for name in ("format6.las", "format7.laz"):
        assert np.array_equal(labels["old.las"], labels[name]), f"{name}: the same points twice do not change their classes"


def test_two_neighbours_across_a_seam_in_either_order(cloud: Cloud) -> None:
    names = ["ignpt_test_data_77050_627755_LA93_IGN69.laz", "ignpt_test_data_77055_627755_LA93_IGN69.laz"]
    west, east = (real(f"{SAMPLES}/{name}") for name in names)
    digests = [sha256(west), sha256(east)]
    one = succeeded(cloud.run(west, east, out="one"))
    other = succeeded(cloud.run(east, west, *SHARDED, out="other"))
    assert of_the_points(one) == of_the_points(other)
    assert {*(f"classified/{name}" for name in names), "dtm.tif", "dsm.tif", "footprints.gpkg"} <= set(one.products)
    assert {"2", "5", "6"} <= set(one.record["counts"]["classes"])
    alone = succeeded(cloud.run(west, out="alone"))
    for path in (west, east):
        verified(path, one.folder / "classified" / path.name)
    distance = seam_distance_m(west)
    differ = alone.classes(west.name) != one.classes(west.name)
    assert not differ[distance > 40].any(), "a neighbour matters near the seam only"
    assert [sha256(west), sha256(east)] == digests


def seam_distance_m(path: Path) -> np.ndarray:
    """Distance of the points of the western file from x = 770,550 m."""
    las = laspy.read(path)
    x_mm = to_millimetres(las.X, las.header.scales[0], las.header.offsets[0])
    return (770_550_000 - x_mm) / 1000


@pytest.mark.parametrize(
    "name",
    [
        "laspy_fullwave.laz",
        "laspy_1_4_w_evlr.laz",
        "laspy_file_with_both_wkt_and_geotiff_vlrs.las",
        "ignpt_test_data_77055_627755_LA93_IGN69_extra_dims.laz",
    ],
)
def test_a_real_file_of_each_kind_keeps_everything_but_its_classes(cloud: Cloud, name: str) -> None:
    path = real(f"{SAMPLES}/{name}")
    ended = succeeded(cloud.run(path, "--set", "lane=fargate", "--set", "shard_mib=0.1"))
    verified(path, ended.folder / "classified" / name)
    assert sum(ended.record["counts"]["classes"].values()) == laspy.open(path).header.point_count
