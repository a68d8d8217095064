"""Whole runs of trends on small rasters: products, tilings, masks, grids, dates, and inputs that are refused."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rasterio.transform import from_origin
from scipy import stats

from tests.data import real
from tests.unit.trend_files import HERE, TrendRuns, days_apart, trend_runs, write
from tilery.outcomes import BadInput
from tilery.run import Source
from tilery.store.directory import DirectoryStore
from tilery.workloads.trend import pictures, rasters, reading, sizing, window
from tilery.workloads.trend.headers import Header
from tilery.workloads.trend.options import TrendOptions
from tilery.workloads.trend.scenes import Series
from tilery.workloads.trend.seasonal import YEAR_DAYS

DATES = [date(2015, 1, 5) + timedelta(days=40 * number) for number in range(12)]
RANDOM = np.random.default_rng(11)
SIDE = (300, 410)
LEVEL = np.kron(RANDOM.integers(1000, 3000, (30, 41)), np.ones((10, 10)))
SLOPE = np.kron(RANDOM.normal(0, 300, (30, 41)), np.ones((10, 10)))
STACK = np.stack(
    [LEVEL + SLOPE * (day - DATES[0]).days / 365.25 + RANDOM.normal(0, 60, SIDE) for day in DATES]
).clip(1, 65535).astype(np.uint16)  # fmt: skip
STACK[RANDOM.random(STACK.shape) < 0.15] = 0


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[TrendRuns]:
    with trend_runs(tmp_path / "root") as found:
        yield found


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twelve dates of 300 x 410 pixels, 0 is nodata."""
    folder = tmp_path_factory.mktemp("series")
    return [
        write(folder / f"made_{day}.tif", values, nodata=0, tiled=True, blockxsize=128, blockysize=128, compress="zstd")
        for day, values in zip(DATES, STACK, strict=True)
    ]


def small(folder: Path, **options: Any) -> list[Path]:
    """Five dates of 20 x 30 pixels."""
    return [
        write(folder / f"s_{day}.tif", values[:20, :30], nodata=0, **options)
        for day, values in zip(DATES[:5], STACK, strict=False)
    ]


def scipys(dates: list[date], values: NDArray[Any], row: int, column: int) -> Any:
    """linregress of a pixel over years since the first date; None with fewer than 3 dates."""
    pixel = values[:, row, column]
    there = np.isfinite(pixel)
    return stats.linregress(days_apart(dates)[there] / YEAR_DAYS, pixel[there]) if there.sum() > 2 else None


def assert_scipys(bands: dict[str, NDArray[Any]], dates: list[date], values: NDArray[Any], step: int) -> int:
    """Every `step`-th pixel agrees to 1e-12; returns how many were compared."""
    size, compared = np.nanmax(np.abs(values)), 0
    for at in range(0, values[0].size, step):
        row, column = divmod(at, values.shape[2])
        wanted = scipys(dates, values, row, column)
        if wanted is None:
            assert np.isnan(bands["slope"][row, column])
            continue
        compared += 1
        assert bands["slope"][row, column] == pytest.approx(wanted.slope, rel=1e-12, abs=1e-12 * size)
        assert bands["intercept"][row, column] == pytest.approx(wanted.intercept, rel=1e-12, abs=1e-12 * size)
        assert bands["p"][row, column] == pytest.approx(wanted.pvalue, rel=1e-9, abs=1e-12)
        assert bands["r2"][row, column] == pytest.approx(wanted.rvalue**2, abs=1e-12)
    return compared


def test_the_result_is_scipys_line_of_every_pixel(runs: TrendRuns, series: list[Path]) -> None:
    result = runs.run(series)
    values = np.where(STACK == 0, np.nan, STACK.astype(float))
    bands = result.bands()
    assert assert_scipys(bands, DATES, values, 97) > 1000
    assert np.array_equal(bands["n"], (STACK != 0).sum(0))
    assert result.record.status == "SUCCEEDED"
    assert result.record.counts["observations"] == int((STACK != 0).sum())


def test_any_tiling_and_either_lane_give_the_same_bytes(runs: TrendRuns, series: list[Path]) -> None:
    names = ("trend.tif", "series.json", "series.png")
    wanted = runs.run(series, block=128)
    for lane, side in (("fargate", 128), ("fargate", 256), ("lambda", 512)):
        found = runs.run(series, lane, block=128, window=side)
        assert [found.bytes(name) for name in names] == [wanted.bytes(name) for name in names]


def test_fractions_seasons_and_robust_trends_do_not_depend_on_the_tiling(runs: TrendRuns, tmp_path: Path) -> None:
    files = [
        write(tmp_path / f"f_{day}.tif", np.where(values == 0, np.nan, values * 1e-4).astype(np.float32)[:150, :140])
        for day, values in zip(DATES, STACK, strict=True)
    ]
    wanted, found = (runs.run(files, block=128, window=side, harmonics=1, robust=True) for side in (0, 128))
    assert found.bytes("trend.tif") == wanted.bytes("trend.tif")
    values = np.where(STACK == 0, np.nan, (STACK * 1e-4).astype(np.float32).astype(float))[:, :150, :140]
    assert assert_scipys(wanted.bands(), DATES, values, 501) > 30


def test_the_order_and_the_names_of_the_files_do_not_matter(runs: TrendRuns, series: list[Path]) -> None:
    renamed = {
        f"{9 - number % 10}/x{number}_{day:%Y%m%d}.tif": path
        for number, (day, path) in enumerate(zip(DATES, series, strict=True))
    }
    assert runs.run(renamed).bytes("trend.tif") == runs.run(series).bytes("trend.tif")


def test_the_products_are_a_cog_a_map_plots_a_stac_item_and_a_report(runs: TrendRuns, series: list[Path]) -> None:
    result = runs.run(series, series=4, block=128)
    assert [product.kind for product in result.record.products] == ["trend", "overview", "series", "series", "stac", "report"]
    with result.cog() as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.profile["compress"] == "zstd"
        assert dataset.block_shapes[0] == (128, 128)
        assert dataset.overviews(1) == [2, 4]
        assert dataset.crs.to_epsg() == 32633
        assert dataset.descriptions == ("slope", "intercept", "n", "r2", "p", "rmse")
        assert dataset.tags()["TREND_EPOCH"] == "2015-01-05"
    shown = Image.open(io.BytesIO(result.bytes("overview.png"))).convert("RGB")
    assert min(shown.size) > 500
    assert len(set(shown.getdata())) > 100
    plotted = result.json("series.json")
    assert len(plotted) == 4
    assert abs(plotted[0]["slope"]) >= abs(plotted[3]["slope"])
    one = plotted[0]
    assert one["values"] == [int(v) for v in STACK[:, one["row"], one["column"]] if v]
    item = result.json("item.json")
    assert item["properties"]["start_datetime"] == "2015-01-05T00:00:00Z"
    assert item["bbox"] == pytest.approx([15, 45.13, 15.05, 45.16], abs=0.02)
    assert [band["name"] for band in item["assets"]["trend"]["raster:bands"]][:2] == ["slope", "intercept"]
    assert "Pixels with a trend" in result.bytes("report.html").decode()


def test_the_map_of_a_large_raster_is_an_overview_read_once(
    runs: TrendRuns, series: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[int] = []
    fetch = rasters.RangeFile.fetch

    def counted(self: rasters.RangeFile, start: int, stop: int) -> bytes:
        if self._source.name == "trend.tif" and stop - start > 20_000:
            fetched.append(start)
        return fetch(self, start, stop)

    monkeypatch.setattr(rasters.RangeFile, "fetch", counted)
    monkeypatch.setattr(pictures, "LARGEST", 300)
    result = runs.run(series, block=128)
    assert len(fetched) == len(set(fetched)) == 4, "each of the 2 x 2 blocks of the first overview, once"
    map_width = Image.open(io.BytesIO(result.bytes("overview.png"))).width - 2 * pictures.MARGIN
    assert map_width == 205 * 3


def test_scale_offset_and_range_are_honoured(runs: TrendRuns, tmp_path: Path) -> None:
    files = small(tmp_path, scale=1e-4, offset=-0.1)
    values = np.where(STACK == 0, np.nan, STACK * 1e-4 - 0.1)[:5, :20, :30]
    assert assert_scipys(runs.run(files).bands(), DATES[:5], values, 7) > 30
    values[values > 0.15] = np.nan
    assert assert_scipys(runs.run(files, valid_max=0.15).bands(), DATES[:5], values, 7) > 5
    values = np.where(STACK == 0, np.nan, STACK * 2.0 + 5)[:5, :20, :30]
    assert assert_scipys(runs.run(files, scale=2, offset=5).bands(), DATES[:5], values, 7) > 30
    assert (runs.run(files, nodata=65535).bands()["n"] == 5).all()


def test_a_scale_of_nothing_is_refused(runs: TrendRuns, tmp_path: Path) -> None:
    files = small(tmp_path, scale=0.0)
    with pytest.raises(BadInput, match=r"s_2015-01-05\.tif says scale 0 and offset 0, which leaves no values; set scale"):
        runs.run(files)
    with pytest.raises(BadInput, match="option 'scale': a scale of 0 leaves no values"):
        runs.run(files, scale=0)
    assert runs.run(files, scale=2).record.status == "SUCCEEDED"


def test_files_scaled_each_in_its_own_way_still_agree(runs: TrendRuns, tmp_path: Path) -> None:
    files = small(tmp_path)
    write(files[4], STACK[4, :20, :30], nodata=0, offset=-1000.0)
    values = np.where(STACK == 0, np.nan, STACK.astype(float))[:5, :20, :30]
    values[4] -= 1000
    assert assert_scipys(runs.run(files).bands(), DATES[:5], values, 7) > 30


def test_an_index_is_computed_from_bands_by_number_name_or_description(runs: TrendRuns, tmp_path: Path) -> None:
    red, nir = STACK[:5, :20, :30], STACK[5:10, :20, :30]
    numbered = [
        write(tmp_path / f"n_{day}.tif", np.stack([red[i], nir[i]]), nodata=0, names=["Red", "NIR"])
        for i, day in enumerate(DATES[:5])
    ]
    with np.errstate(all="ignore"):
        ndvi = np.where((red == 0) | (nir == 0), np.nan, (nir.astype(float) - red) / (nir.astype(float) + red))
    wanted = runs.run(numbered, expression="(b2-b1)/(b2+b1)")
    assert assert_scipys(wanted.bands(), DATES[:5], ndvi, 7) > 20
    assert runs.run(numbered, expression="ndvi").bytes("trend.tif") != b""
    assert np.array_equal(runs.run(numbered, expression="ndvi").bands()["slope"], wanted.bands()["slope"], equal_nan=True)
    parted = [
        write(tmp_path / f"p_{day:%Y%m%d}_{name}.tif", layer[i], nodata=0)
        for i, day in enumerate(DATES[:5])
        for name, layer in (("B04", red), ("B08", nir))
    ]
    found = runs.run(parted, expression="ndvi", pattern="p_{YYYY}{MM}{DD}_{band}.tif", bands={"red": "B04", "nir": "B08"})
    assert np.array_equal(found.bands()["slope"], wanted.bands()["slope"], equal_nan=True)
    with pytest.raises(BadInput, match=r"has no band 'swir2' \(there: NIR, Red\); say which one it is"):
        runs.run(numbered, expression="nbr")
    with pytest.raises(BadInput, match="there is no band 3"):
        runs.run(numbered, band=3)


@pytest.mark.parametrize(
    "rule", [{"keep": [1]}, {"drop": [0, 8]}, {"bits": [3]}, {"preset": "flag"}], ids=lambda rule: next(iter(rule))
)
def test_a_quality_band_hides_what_it_flags(runs: TrendRuns, tmp_path: Path, rule: dict[str, Any]) -> None:
    quality = np.random.default_rng(5).choice([0, 1, 8], (5, 20, 30)).astype(np.uint16)
    files = [write(tmp_path / f"q_{day}.tif", np.stack([STACK[i, :20, :30], quality[i]])) for i, day in enumerate(DATES[:5])]
    good = {"keep": quality == 1, "drop": quality == 1, "bits": quality < 8, "preset": quality == 0}[next(iter(rule))]
    bands = runs.run(files, mask={"band": 2, **rule}, nodata=0).bands()
    assert np.array_equal(bands["n"], (good & (STACK[:5, :20, :30] != 0)).sum(0))


def test_what_means_nothing_in_a_file_may_be_clear_in_its_quality_band(runs: TrendRuns, tmp_path: Path) -> None:
    """Nodata is of all bands of a GeoTIFF; that of a quality band is what the rule makes of it, where it names it."""
    layers = np.stack([STACK[:5, :20, :30], np.zeros((5, 20, 30), np.uint16)], axis=1)
    files = [write(tmp_path / f"q_{day}.tif", both, nodata=0) for day, both in zip(DATES[:5], layers, strict=True)]
    wanted = (STACK[:5, :20, :30] != 0).sum(0)
    for rule in ({"preset": "flag"}, {"bits": [1]}):
        assert np.array_equal(runs.run(files, mask={"band": 2, **rule}).bands()["n"], wanted)
    assert runs.run(files, mask={"band": 2, "drop": [3]}).bands()["n"].max() == 0


def test_a_coarser_quality_band_does_not_set_the_grid(runs: TrendRuns, tmp_path: Path) -> None:
    files = small(tmp_path)
    clouds = np.zeros((10, 15), np.uint8)
    clouds[:, :3] = 1
    masks = [write(tmp_path / f"a_{day}.tif", clouds, transform=from_origin(500000, 5000000, 20, 20)) for day in DATES[:5]]
    named = {f"{path.stem[2:]}_{'val' if path in files else 'clm'}.tif": path for path in (*files, *masks)}
    options: dict[str, Any] = {
        "pattern": "{YYYY}-{MM}-{DD}_{band}.tif", "band": "val", "mask": {"band": "clm", "preset": "flag"},
    }  # fmt: skip
    n = runs.run(named, grid="first", **options).bands()["n"]
    assert np.array_equal(n, np.where(np.arange(30) < 6, 0, (STACK[:5, :20, :30] != 0).sum(0)))
    with pytest.raises(BadInput, match=r"2015-01-05_clm\.tif is on another grid than 2015-01-05_val\.tif"):
        runs.run(named, **options)


def test_the_mask_inside_a_file_counts(runs: TrendRuns, tmp_path: Path) -> None:
    import rasterio

    files = small(tmp_path)
    hidden = np.zeros((20, 30), np.uint8)
    hidden[:, 10:] = 255
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(files[0], "r+") as dataset:
        dataset.nodata = None
        dataset.write_mask(hidden)
    assert (runs.run(files, valid_min=1).bands()["n"][:, :10] <= 4).all()


def test_other_grids_are_refused_or_reprojected_as_asked(runs: TrendRuns, tmp_path: Path) -> None:
    files = small(tmp_path)
    moved = write(
        tmp_path / "s_2016-01-01.tif", STACK[5, :20, :30], nodata=0, transform=from_origin(500000 + 50, 5000000 - 30, 10, 10)
    )
    with pytest.raises(
        BadInput, match=r"s_2016-01-01\.tif is on another grid than s_2015-01-05\.tif: its pixels lie elsewhere"
    ):
        runs.run([*files, moved])
    first = runs.run([*files, moved], grid="first").bands()
    counted = (STACK[:5, :20, :30] != 0).sum(0)
    counted[3:, 5:] += STACK[5, :17, :25] != 0
    assert np.array_equal(first["n"], counted)
    both = runs.run([*files, moved], grid="union").bands()
    assert both["n"].shape == (23, 35)
    assert np.array_equal(both["n"][:20, :30], counted)
    wgs = write(
        tmp_path / "s_2016-02-01.tif",
        np.full((80, 80), 5000, np.uint16),
        transform=from_origin(14.999, 45.155, 1e-4, 1e-4),
        crs="EPSG:4326",
    )
    with pytest.raises(BadInput, match=r"its CRS is EPSG:4326 \(WGS 84\), not EPSG:32633 \(WGS 84 / UTM zone 33N\)"):
        runs.run([*files, wgs])
    warped = runs.run([*files, wgs], grid="first", window=0).bands()
    assert np.array_equal(warped["n"], (STACK[:5, :20, :30] != 0).sum(0) + 1)


def test_reprojection_does_not_depend_on_the_tiling(runs: TrendRuns, tmp_path: Path) -> None:
    fine = [write(tmp_path / f"a_{day}.tif", STACK[i], nodata=0) for i, day in enumerate(DATES[:4])]
    turned = write(
        tmp_path / "a_2017-01-01.tif", STACK[5], nodata=0, transform=from_origin(14.998, 45.16, 1.3e-4, 0.9e-4), crs="EPSG:4326"
    )
    options: dict[str, Any] = {"grid": "first", "resampling": "bilinear", "block": 128}
    one, other = (runs.run([*fine, turned], window=side, **options) for side in (128, 512))
    assert one.bytes("trend.tif") == other.bytes("trend.tif")
    assert one.bands()["n"].max() == 5


def test_dates_come_from_stac_items_then_tags_then_names(runs: TrendRuns, tmp_path: Path) -> None:
    files = [
        write(
            tmp_path / f"x_{number}_2001-01-0{number + 1}.tif",
            STACK[number, :20, :30],
            tags={"ACQUISITION_DATE": f"{2010 + number}:06:01 10:00:00"},
        )
        for number in range(4)
    ]
    assert runs.run(files).record.counts["first"] == "2010-06-01"
    item = {
        "type": "Feature", "id": "one",
        "properties": {"datetime": "2009-02-03T10:20:30Z"}, "assets": {"data": {"href": f"./{files[0].name}"}},
    }  # fmt: skip
    stac = tmp_path / "one.json"
    stac.write_text(json.dumps(item))
    assert runs.run([*files, stac]).record.counts["first"] == "2009-02-03"
    assert runs.run(files, pattern="x_*_{YYYY}-{MM}-{DD}.tif").record.counts["first"] == "2001-01-01"
    late = runs.run(files, start="2011-01-01", epoch="2011-01-01")
    assert late.record.counts["dates"] == 3
    assert late.record.warnings == ["1 dates lie outside 2011-01-01 to the end"]


def test_stac_items_beside_files_of_one_name_tell_each_its_own_date(runs: TrendRuns, tmp_path: Path) -> None:
    """As the missions lay them out: a folder a scene, B04.tif in each."""
    drop: dict[str, Path] = {}
    for number, day in enumerate(DATES[:4]):
        item = {
            "type": "Feature", "id": f"scene{number}", "properties": {"datetime": f"{day}T10:00:00Z"},
            "assets": {"B04": {"href": "./B04.tif"}},
        }  # fmt: skip
        (tmp_path / f"{number}.json").write_text(json.dumps(item))
        drop[f"scene{number}/item.json"] = tmp_path / f"{number}.json"
        drop[f"scene{number}/B04.tif"] = write(tmp_path / f"{number}.tif", STACK[number, :20, :30], nodata=0)
    values = np.where(STACK == 0, np.nan, STACK.astype(float))[:4, :20, :30]
    assert assert_scipys(runs.run(drop).bands(), DATES[:4], values, 7) > 30
    flat = {path: drop[path] for path in drop if path.endswith("json")} | {"B04.tif": drop["scene0/B04.tif"]}
    with pytest.raises(BadInput, match=r"B04\.tif is named by several STAC items \(scene0, scene1, scene2\)"):
        runs.run(flat)


def test_two_pictures_of_one_day_both_count(runs: TrendRuns, tmp_path: Path) -> None:
    files = small(tmp_path)
    again = write(tmp_path / f"t_{DATES[0]}.tif", STACK[6, :20, :30], nodata=0)
    values = np.where(STACK == 0, np.nan, STACK.astype(float))[[0, 1, 2, 3, 4, 6], :20, :30]
    assert assert_scipys(runs.run([*files, again]).bands(), [*DATES[:5], DATES[0]], values, 7) > 30


def test_a_missing_window_is_a_hole_and_the_result_is_marked_partial(
    runs: TrendRuns, series: list[Path], monkeypatch: Any
) -> None:
    compute = window.compute

    def broken(reader: Any, box: Any) -> Any:
        if box[0] == 128 and box[1] == 128 and box[2] > 1:
            raise RuntimeError("told to fail")
        return compute(reader, box)

    monkeypatch.setattr(window, "compute", broken)
    result = runs.run(series, "fargate", block=128, window=128, tolerate=20)
    assert result.record.status == "PARTIAL"
    assert result.record.missing == ["process/r000128-c000128"]
    slope = result.bands()["slope"]
    assert np.isnan(slope[128:256, 128:256]).all()
    assert np.isfinite(slope[:128]).mean() > 0.99
    assert "PARTIAL" in result.bytes("report.html").decode()


def test_a_second_run_of_other_pictures_only_reuses_the_windows(runs: TrendRuns, series: list[Path]) -> None:
    first = runs.run(series, "fargate")
    begun = windows_of(runs)
    second = runs.run(series, "fargate", series=2)
    assert windows_of(runs) == begun
    assert second.bytes("trend.tif") == first.bytes("trend.tif")
    assert len(second.json("series.json")) == 2


def windows_of(runs: TrendRuns) -> dict[str, str]:
    kept = (".npy", ".json")
    return {entry.key: entry.version for entry in runs.store.list("work/acme/process/") if entry.key.endswith(kept)}


REFUSED = {
    "no_date.tif": "no_date.tif has no date in a STAC item, its tags or its name",
    "cut_2015-03-01.tif": "cut_2015-03-01.tif cannot be read",
    "text_2015-03-01.tif": "text_2015-03-01.tif cannot be read: not recognized as being in a supported file format",
    "vrt_2015-03-01.tif": "vrt_2015-03-01.tif cannot be read",
    "odd_2015-03-01.tif": "odd_2015-03-01.tif holds complex64 values",
    "bad.json": "bad.json is no STAC item",
    "broken.json": "broken.json is not JSON",
    "cut_2015-03-01.jp2": "cut_2015-03-01.jp2 cannot be read",
    "cut_2015-03-01.nc": "cut_2015-03-01.nc cannot be read",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_used_is_refused_by_name(runs: TrendRuns, tmp_path: Path, name: str) -> None:
    files = small(tmp_path)
    path = tmp_path / name
    if name.startswith("no_"):
        write(path, STACK[0, :20, :30])
    elif name.startswith("odd"):
        write(path, STACK[0, :20, :30].astype(np.complex64))
    elif name.startswith("vrt"):
        path.write_text(
            '<VRTDataset rasterXSize="30" rasterYSize="20"><VRTRasterBand dataType="UInt16"><SimpleSource>'
            f"<SourceFilename>{files[0]}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
        )
    elif name.startswith("cut"):
        path.write_bytes(files[0].read_bytes()[:60])
    else:
        path.write_text('{"a": 1}' if name == "bad.json" else "no raster")
    with pytest.raises(BadInput, match=REFUSED[name].replace(".", r"\.")):
        runs.run([*files, path])


def test_damage_behind_the_header_is_found_by_the_worker_and_named(runs: TrendRuns, tmp_path: Path) -> None:
    files = small(tmp_path, compress="deflate")
    data = files[2].read_bytes()
    start = data.index(b"\x78\x9c")  # of the deflated strip
    files[2].write_bytes(data[:start] + b"\xff" * 200 + data[start + 200 :])
    with pytest.raises(BadInput, match=rf"{files[2].name} cannot be read: ZIPDecode:.*; upload it again"):
        runs.run(files)


def test_series_without_a_trend_are_refused_or_said(runs: TrendRuns, tmp_path: Path) -> None:
    files = small(tmp_path)
    with pytest.raises(BadInput, match=r"all rasters are of one date, 2015-01-05"):
        runs.run(files[:1])
    with pytest.raises(BadInput, match="no date lies between 2030-01-01 and the end"):
        runs.run(files, start="2030-01-01")
    with pytest.raises(BadInput, match="more than 89 years"):
        runs.run(files, epoch="1900-01-01")
    empty = [write(tmp_path / f"e_{day}.tif", np.zeros((9, 9), np.uint8), nodata=0, crs=None) for day in DATES[:3]]
    result = runs.run(empty)
    assert result.record.warnings == ["no pixel has enough valid dates for a trend; check nodata, mask and pattern"]
    assert result.json("item.json")["geometry"] is None


KINDS: list[tuple[str, float | None, dict[str, Any]]] = [
    ("uint16", 0, {}),
    ("uint16", None, {"mask": {"band": 2, "keep": [1]}}),
    ("int8", -128, {"valid_max": 80}),
    ("uint8", None, {"mask": {"band": 2, "drop": [0]}, "robust": True}),
    ("int16", 7, {"harmonics": 1}),
    ("float32", 0, {"mask": {"band": 2, "keep": [1, 2]}}),
]


def planned(folder: Path, kind: str, nodata: float | None, options: dict[str, Any], side: int = 150) -> reading.Reader:
    """A reader of twelve dates with a quality band, as a run has it."""
    drop = folder / "drop/acme/trend/made"
    drop.mkdir(parents=True)
    for day, values in zip(DATES, STACK, strict=True):
        write(drop / f"k_{day}.tif", np.stack([values % 90, values // 90 % 3])[:, :side, :side].astype(kind), nodata=nodata)
    store, chosen = DirectoryStore(folder), TrendOptions.model_validate(options)
    entries = store.list("drop/acme/trend/made/")
    sources = [Source(name=entry.key, key=entry.key, size=entry.size, version=entry.version) for entry in entries]
    return reading.Reader(store, sources, Series.read(sizing.size(sources, chosen, store).facts), chosen, folder)


@pytest.mark.parametrize(("kind", "nodata", "options"), KINDS, ids=[f"{kind}-{nodata}" for kind, nodata, _ in KINDS])
def test_dates_at_once_and_dates_in_runs_give_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, nodata: float | None, options: dict[str, Any]
) -> None:
    """Whatever the type, what marks a pixel that does not count, and how many dates are in memory together."""
    reader = planned(tmp_path, kind, nodata, options)
    wanted = window.compute(reader, (3, 5, 120, 40))
    assert 100 < wanted[2].sum() < wanted[2].size * len(DATES)
    for at_once in (1, 5, 11):
        monkeypatch.setattr(reading, "AT_ONCE", at_once)
        halves = [window.compute(reader, box) for box in ((3, 5, 120, 19), (3, 24, 120, 21))]
        assert np.concatenate(halves, 1).tobytes() == wanted.tobytes()


@pytest.mark.parametrize(("kind", "nodata", "options"), [KINDS[0], KINDS[4], KINDS[5]], ids=["stored", "seasons", "computed"])
def test_a_window_takes_no_more_memory_than_is_planned(
    tmp_path: Path, kind: str, nodata: float | None, options: dict[str, Any]
) -> None:
    """Of arrays: the interpreter, GDAL's cache and the libraries are counted apart (`sizing.BASE_MIB`)."""
    reader = planned(tmp_path, kind, nodata, options, 300)
    box = (0, 0, 300, 300)
    window.describe(reader, box)
    tracemalloc.start()
    window.describe(reader, box)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    planned_for = 300 * 300 * sizing._pixel_bytes(reader.series, reader.options)
    assert 0.4 * planned_for < peak < planned_for + (3 << 20)


def test_ranks_and_blocks_in_one_piece_are_planned_for(tmp_path: Path) -> None:
    drop = tmp_path / "drop/acme/trend"
    drop.mkdir(parents=True)
    for day in DATES[:4]:
        write(drop / f"{day}.tif", np.zeros((4000, 4000), np.uint16), blockysize=4000, compress="zstd")
    store = DirectoryStore(tmp_path)
    entries = store.list("drop/acme/trend/")
    sources = [Source(name=entry.key, key=entry.key, size=entry.size, version=entry.version) for entry in entries]
    line, ranks, large = (
        sizing.size(sources, TrendOptions(**asked), store) for asked in ({}, {"robust": True}, {"window": 256})
    )
    assert line.work == 4 * 4000 * 4000
    assert ranks.work > 4 * line.work
    assert large.memory_mib > sizing.BASE_MIB + 4 * 4000 * 4000 * 2 / 2**20, "each of four readers holds a whole file"


def test_windows_follow_the_number_of_dates_and_the_blocks_of_the_files(tmp_path: Path) -> None:
    few = planned(tmp_path, "uint16", 0, {}).series
    many = replace(few, scenes=few.scenes * 300)
    [*headers] = [Header(0, "", few.grid, [], blocks, None, None) for blocks in ((512, 512), (128, 128))]
    robust = TrendOptions(robust=True)
    assert sizing._window(few, TrendOptions(), headers[:1]) == (1024, 1024)
    assert sizing._window(many, TrendOptions(), headers) == (512, 512)
    assert sizing._window(many, robust, headers[1:]) == (256, 256)
    assert sizing._window(replace(many, scenes=many.scenes[:350]), robust, headers[1:]) == (768, 768)
    assert sizing._window(replace(many, scenes=many.scenes[:350]), robust, headers[:1]) == (512, 512)


def test_real_sentinel_2_ndvi_under_clouds(runs: TrendRuns, tmp_path: Path) -> None:
    folder = real("imagery/ndvi/example_data/TestEOPatch")
    ndvi, cloud = np.load(folder / "data/NDVI.npy")[..., 0], np.load(folder / "mask/CLM.npy")[..., 0]
    dates = [date.fromisoformat(text[:10]) for text in json.loads((folder / "timestamps.json").read_text())]
    files = [
        write(tmp_path / f"{number:02d}_{day}_{kind}.tif", layer[number])
        for number, day in enumerate(dates)
        for kind, layer in (("ndvi", ndvi), ("clm", cloud))
    ]
    result = runs.run(files, pattern="*_{YYYY}-{MM}-{DD}_{band}.tif", band="ndvi", mask={"band": "clm", "preset": "flag"})
    values = np.where(cloud == 0, ndvi.astype(float), np.nan)
    assert result.record.counts["dates"] == 68
    assert assert_scipys(result.bands(), dates, values, 31) > 300
    assert result.record.counts["falling"] > 50


def test_maps_counts_and_plots_show_the_model_that_was_asked_for(runs: TrendRuns, tmp_path: Path) -> None:
    """Half a year more of summer at the end: a line rises everywhere, a line beside seasons where there is a change."""
    days = [date(2015, 1, 10) + timedelta(days=10 * number) for number in range(62)]
    random, files = np.random.default_rng(8), []
    for day in days:
        season = 4000 - 3000 * np.cos(2 * np.pi * (day.timetuple().tm_yday - 15) / 365.25)
        values = season + random.normal(0, 100, (12, 12))
        values[3:5, 3:5] -= 400 * (day - days[0]).days / 365.25
        files.append(write(tmp_path / f"s_{day}.tif", values.round().astype(np.uint16), nodata=0))
    asked = runs.run(files, harmonics=1, robust=True)
    bands, counts = asked.bands(), asked.record.counts
    chosen = {(one["row"], one["column"]) for one in asked.json("series.json")}
    assert ((bands["p"] < 0.05) & (bands["slope"] > 0)).sum() > 100
    assert counts["rising"] == (((bands["seasonal_p"] < 0.05) & (bands["seasonal_slope"] > 0)).sum()) < 20
    assert counts["falling"] >= 4
    assert counts["sen_rising"] == ((bands["mk_p"] < 0.05) & (bands["sen_slope"] > 0)).sum()
    assert chosen & {(3, 3), (3, 4), (4, 3), (4, 4)}
    first = asked.json("series.json")[0]
    fitted = np.interp([date.fromisoformat(text).toordinal() for text in first["dates"]], *along(first["curve"]))
    assert np.abs(fitted - first["values"]).mean() < 120
    assert asked.bytes("overview_sen.png") != asked.bytes("overview.png")
    assert asked.json("item.json")["assets"]["overview_sen"]["href"] == "./overview_sen.png"


def along(curve: dict[str, Any]) -> tuple[list[int], list[float]]:
    return [date.fromisoformat(text).toordinal() for text in curve["dates"]], curve["values"]


def test_offsets_of_stac_items_are_added_when_asked_and_told_when_not(runs: TrendRuns, tmp_path: Path) -> None:
    """Sentinel-2 from January 2022: 1,000 more in each pixel, which only the item says."""
    files = []
    for number, day in enumerate(DATES):
        late = number >= 6
        files.append(write(tmp_path / f"s2_{day}.tif", STACK[number, :32, :32] // 2 + 1 + 1000 * late, nodata=0))
        raster = {"scale": 0.0001, "offset": -0.1 * late}
        asset = {"href": f"./s2_{day}.tif", "eo:bands": [{"name": "B04"}], "raster:bands": [raster]}
        item = {"id": f"i{number}", "properties": {"datetime": f"{day}T10:00:00Z"}, "assets": {"red": asset}}
        (tmp_path / f"i{number}.json").write_text(json.dumps(item))
        files.append(tmp_path / f"i{number}.json")
    values = (np.stack(STACK)[: len(DATES), :32, :32] // 2 + 1) * 0.0001
    asked, plain = runs.run(files, band="red", stac_scale=True), runs.run(files, band="red")
    assert assert_scipys(asked.bands(), DATES, values, 31) > 20
    assert asked.record.warnings == []
    assert ["offsets (-0.1, 0) that the files do not have" in warning for warning in plain.record.warnings] == [True]


def test_rows_from_the_south_and_longitudes_to_360_are_shown_as_maps_are(runs: TrendRuns, tmp_path: Path) -> None:
    files = []
    for number, day in enumerate([*DATES[:5], DATES[4]]):  # and the last one twice
        values = np.full((8, 10), 500, np.uint16)
        values[:2] += 100 * number
        upward = from_origin(350, 40, 0.5, -0.5)
        files.append(write(tmp_path / f"{number}_{day}.tif", values, transform=upward, crs="EPSG:4326", nodata=0))
    result = runs.run(files)
    item = result.json("item.json")
    assert item["bbox"] == [-10, 40, -5, 44]
    assert item["geometry"]["coordinates"][0][0] == [-10, 40]
    assert result.bands()["slope"][0, 0] > 100
    with Image.open(io.BytesIO(result.bytes("overview.png"))) as picture:
        _, green, blue = picture.convert("RGB").getpixel((100, 70))
        assert abs(green - blue) < 12  # the first row is the southernmost: what rises is at the bottom
    assert ["several rasters of one day" in warning for warning in result.record.warnings] == [True]


def test_real_modis_ndvi_in_jpeg_2000(runs: TrendRuns) -> None:
    import rasterio

    files = sorted(real("imagery/modis/ndvi").glob("*.jp2"))
    dates = [date.fromisoformat(path.stem[-10:]) for path in files]
    layers = []
    for path in files:
        with rasterio.open(path) as source:
            layers.append(source.read(1))
    bands = runs.run(files, scale=1e-4, block=128).bands()
    assert assert_scipys(bands, dates, np.stack(layers) * 1e-4, 171) > 200


def test_real_landsat_ndvi_of_thirty_years(runs: TrendRuns, tmp_path: Path) -> None:
    import tarfile

    import rasterio

    with tarfile.open(real("imagery/landsat/yatsm/p035r032_testdata.tar.gz")) as archive:
        members = [member for member in archive.getmembers() if member.name.endswith(".gtif")][::4]
        archive.extractall(tmp_path, members=members, filter="data")
    files = sorted(tmp_path.glob("p035r032/images/*/*.gtif"))
    options: dict[str, Any] = {"expression": "ndvi", "bands": {"red": 3, "nir": 4}, "mask": {"band": 8, "preset": "fmask"}}
    result = runs.run(files, **options, harmonics=2)
    from tilery.workloads.trend.names import guess

    read = sorted((guess(path.name), path) for path in files)
    stack = []
    for _, path in read:
        with rasterio.open(path) as source:
            stack.append(source.read().astype(float))
    red, nir, fmask = (np.stack(stack)[:, band] for band in (2, 3, 7))
    with np.errstate(all="ignore"):
        ndvi = np.where((fmask <= 1) & (red != -9999) & (nir != -9999), (nir - red) / (nir + red), np.nan)
    assert assert_scipys(result.bands(), [day for day, _ in read if day], ndvi, 1) > 20
    assert 100 < np.nanmedian(result.bands()["peak_day_1"]) < 260


def test_a_netcdf_series_is_read_by_its_time_axis(runs: TrendRuns, tmp_path: Path) -> None:
    files = _netcdf(tmp_path, STACK[:5, :20, :30], DATES[:5])
    values = np.where(STACK == 0, np.nan, STACK.astype(float))[:5, :20, :30]
    assert assert_scipys(runs.run(files, nodata=0).bands(), DATES[:5], values, 7) > 30


@pytest.mark.parametrize(
    ("unit", "at", "last"),
    [
        ("Day since 2000-1-1", [0, 366], "2001-01-01"),
        ("hours since 1999-12-31 18:00:0.0", [0, 7], "2000-01-01"),
        ("milliseconds since 2000-01-01T00:00:00Z", [864e5, 0], "2000-01-02"),
        ("months since 2000-01-01", [0, 1], r"its time axis \(months since 2000-01-01, standard calendar\) is not one"),
        ("days since 0001-01-01", [0, 1], "is not one that can be read"),
        ("days since 2000-01-01", [0, 1e300], r"cube\.nc: its time axis holds values that are no dates"),
        ("days since 2000-01-01", [0, float("nan")], r"cube\.nc: its time axis holds values that are no dates"),
    ],
)
def test_time_axes_are_read_as_cf_has_them(tmp_path: Path, unit: str, at: list[float], last: str) -> None:
    [path] = _netcdf(tmp_path, STACK[:2, :20, :30], DATES[:2], unit, at)
    drop = tmp_path / "drop/acme/trend/cube.nc"
    drop.parent.mkdir(parents=True)
    path.rename(drop)
    [entry] = (store := DirectoryStore(tmp_path)).list("drop/acme/trend/")
    sources = [Source(name="cube.nc", key=entry.key, size=entry.size, version=entry.version)]
    if len(last) == 10:
        assert sizing.size(sources, TrendOptions(), store).counts["last"] == last
        return
    with pytest.raises(BadInput, match=last):
        sizing.size(sources, TrendOptions(), store)


def test_a_zipped_zarr_store_is_the_same_series_as_geotiffs(runs: TrendRuns, tmp_path: Path) -> None:
    wanted = runs.run(small(tmp_path, crs=None))
    cube = _zarr(tmp_path / "cube.zarr.zip", STACK[:5, :20, :30], DATES[:5])
    for lane in ("lambda", "fargate"):
        found = runs.run([cube], lane)
        assert found.bands()["slope"].tobytes() == wanted.bands()["slope"].tobytes()
        assert found.record.counts["dates"] == 5


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"zarr.json": b"{}"}, "is Zarr version 3"),
        ({"readme.txt": b"hello"}, "holds no Zarr group"),
        ({}, "is no zip file"),
        ({".zgroup": b'{"zarr_format": 2}', "t/0.0.0": b"0" * 1001}, "larger than 1 GiB"),
    ],
)
def test_a_zip_that_is_no_zarr_store_is_refused(
    runs: TrendRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: dict[str, bytes], reason: str
) -> None:
    monkeypatch.setattr(rasters, "LARGEST_MEMBER", 1000)
    path = tmp_path / "cube.zarr.zip"
    path.write_bytes(b"nothing")
    if members:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
            for name, data in members.items():
                packed.writestr(name, data)
    with pytest.raises(BadInput, match=rf"cube\.zarr\.zip.*{reason}"):
        runs.run([path])


def _zarr(path: Path, values: NDArray[Any], dates: list[date]) -> Path:
    """A Zarr store of version 2 as xarray writes one, in a folder of the zip."""
    transform = HERE
    axes = {
        "time": days_apart(dates).astype("<i8"),
        "y": transform.f + (np.arange(values.shape[1]) + 0.5) * transform.e,
        "x": transform.c + (np.arange(values.shape[2]) + 0.5) * transform.a,
    }
    about: dict[str, dict[str, Any]] = {"time": {"units": f"days since {dates[0]}", "calendar": "proleptic_gregorian"}}
    chunk = (len(values), 16, 16)
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("cube.zarr/.zgroup", json.dumps({"zarr_format": 2}))
        for name, array, chunks in [*((name, axis, axis.shape) for name, axis in axes.items()), ("ndvi", values, chunk)]:
            dimensions = list(axes) if name == "ndvi" else [name]
            meta = {
                "zarr_format": 2, "shape": array.shape, "chunks": chunks, "dtype": array.dtype.str, "order": "C",
                "compressor": {"id": "zlib", "level": 1}, "filters": None, "fill_value": 0 if name == "ndvi" else None,
            }  # fmt: skip
            packed.writestr(f"cube.zarr/{name}/.zarray", json.dumps(meta))
            packed.writestr(f"cube.zarr/{name}/.zattrs", json.dumps({"_ARRAY_DIMENSIONS": dimensions, **about.get(name, {})}))
            for index in np.ndindex(*(-(-side // step) for side, step in zip(array.shape, chunks, strict=True))):
                block = np.zeros(chunks, array.dtype)
                part = array[tuple(slice(at * step, (at + 1) * step) for at, step in zip(index, chunks, strict=True))]
                block[tuple(slice(0, side) for side in part.shape)] = part
                packed.writestr(f"cube.zarr/{name}/{'.'.join(map(str, index))}", zlib.compress(block.tobytes()))
    return path


def _netcdf(
    folder: Path, values: NDArray[Any], dates: list[date], unit: str = "days since 2000-01-01", at: Any = None
) -> list[Path]:
    """A NetCDF file as GDAL writes one: a band per date on a time axis, at `at` of its units instead."""
    import rasterio

    path = folder / "cube.nc"
    days = at or [(day - date(2000, 1, 1)).days for day in dates]
    tags = {
        "NETCDF_DIM_EXTRA": "{time}",
        "NETCDF_DIM_time_DEF": f"{{{len(days)},6}}",
        "NETCDF_DIM_time_VALUES": "{" + ",".join(map(str, days)) + "}",
        "time#units": unit,
        "time#calendar": "standard",
        "time#axis": "T",
    }
    tiff = write(folder / "cube.tif", values, tags=tags)
    for number, day in enumerate(days, 1):
        with rasterio.open(tiff, "r+") as dataset:
            dataset.update_tags(number, NETCDF_VARNAME="ndvi", NETCDF_DIM_time=str(day))
    import rasterio.shutil

    rasterio.shutil.copy(str(tiff), str(path), driver="netCDF", format="NC4")
    return [path]
