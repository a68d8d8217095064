"""A tile whose process always fails: FAILED and redrivable by default, PARTIAL with its holes listed where tolerated."""

import json
import time
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pytest
import rasterio
import rasterio.transform

from tests.data import autzen_trim
from tests.e2e.drops import Cloud, Ended, ledger, verified
from tilery.workloads.pointcloud.grid import TileGrid, tile_from_id

AREA = 0.02
SETTINGS = ("--set", "lane=fargate", "--set", "shard_mib=0.1", "--set", f"tile_area_km2={AREA}")
FOOT = 0.3048


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """The public sample without any fault."""
    ended = Cloud(tmp_path_factory.mktemp("sound")).run(autzen_trim(), *SETTINGS)
    assert ended.code == 0, ended.err
    return ended


@pytest.fixture(scope="module")
def bad_tile(sound: Ended) -> str:
    """The tile with the most points."""
    (path,) = sound.root.glob("work/local/process/*/items.jsonl")
    items = [json.loads(line) for line in path.read_text().splitlines()]
    return str(max(items, key=lambda item: item["points"])["id"])


def wait_until(true: Any, what: str) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_without_tolerance_the_run_fails_and_a_redrive_does_only_the_missing_tile(
    cloud: Cloud, sound: Ended, bad_tile: str
) -> None:
    before_bytes = autzen_trim().read_bytes()
    failed = cloud.run_apart(autzen_trim(), *SETTINGS, fault={"stage": "process", "item": bad_tile, "how": "fail"})
    assert failed.code == 1, failed.err
    failure = failed.failure
    assert (failure["error"], failure["redrive"], failure["status"]) == ("Incomplete", True, "FAILED")
    assert failure["sentence"].startswith("1 of ")
    assert f"process items are not done: {bad_tile}: {bad_tile} was told to fail" in failure["sentence"]
    assert failure["sentence"] in failed.err
    assert (failed.record["status"], failed.record["products"]) == ("FAILED", [])
    events = failed.ledger
    assert list(events)[-2:] == ["failed-0", "notice-failed-0"]
    assert events["failed-0"]["redrive"] is True
    assert autzen_trim().read_bytes() == before_bytes

    run_id, before = failed.record["run_id"], cloud.markers()
    up = cloud.start("up", "--root", failed.root)
    try:
        wait_until((failed.root / "twin/endpoint.json").exists, "the twin starts")
        redriven = cloud.ended(cloud.start("redrive", run_id, "--root", failed.root))
        assert redriven.code == 0, redriven.err
        results = failed.root / "results/local/pointcloud" / autzen_trim().name / run_id
        wait_until(lambda: json.loads((results / "run.json").read_text())["status"] != "FAILED", "the redrive ends")
    finally:
        up.terminate()
        up.communicate()
    after = cloud.markers()
    assert {marker: after[marker] for marker in before} == before
    assert [Path(marker).stem for marker in set(after) - set(before) if "/process/" in marker] == [bad_tile]
    record = json.loads((results / "run.json").read_text())
    assert record["status"] == "SUCCEEDED"
    digests = {product["path"]: product["digest"] for product in record["products"] if product["kind"] != "report"}
    assert digests == {
        product["path"]: product["digest"] for product in sound.record["products"] if product["kind"] != "report"
    }
    assert list(ledger(failed.root, run_id))[-2:] == ["succeeded", "notice-succeeded"]


def test_with_tolerance_the_products_are_partial_and_a_later_run_fills_the_hole(
    cloud: Cloud, sound: Ended, bad_tile: str
) -> None:
    fault = {"stage": "process", "item": bad_tile, "how": "fail"}
    partial = cloud.run_apart(autzen_trim(), *SETTINGS, "--set", "tolerate=30", fault=fault)
    assert partial.code == 3, partial.err
    record = partial.record
    assert (record["status"], record["missing"]) == ("PARTIAL", [f"process/{bad_tile}"])
    assert "PARTIAL: 1 process items are missing; the products have holes there" in record["warnings"]
    assert "PARTIAL: 1 parts are missing" in partial.out
    assert list(partial.ledger)[-2:] == ["partial", "notice-partial"]
    assert "PARTIAL" in (cloud.out / "report.html").read_text()

    name = autzen_trim().name
    verified(autzen_trim(), cloud.out / "classified" / name)
    hole = in_tile(sound.folder / "classified" / name, bad_tile)
    labels, whole = partial.classes(name), sound.classes(name)
    assert hole.any()
    assert not labels[hole].any(), "points of the hole are class 0"
    assert np.array_equal(labels[~hole], whole[~hole]), "every other point is classified as in the whole run"
    with rasterio.open(cloud.out / "dtm.tif") as model, rasterio.open(sound.folder / "dtm.tif") as full:
        assert (model.shape, model.transform) == (full.shape, full.transform)
        heights, complete = model.read(1, masked=True), full.read(1, masked=True)
        inside = cells_in_tile(model, bad_tile)
    assert complete.mask[inside].mean() < 0.5
    assert heights.mask[inside].all(), "no height in the hole, not even an interpolated one"
    assert not heights.mask[~inside].all()

    before = cloud.markers()
    again = cloud.run_apart(autzen_trim(), *SETTINGS, "--set", "tolerate=30")
    assert again.code == 0, again.err
    after = cloud.markers()
    assert [Path(marker).stem for marker in set(after) - set(before) if "/process/" in marker] == [bad_tile]
    assert again.products == sound.products


def in_tile(path: Path, tile: str) -> Any:
    """Which points of a file (in feet) a tile owns."""
    las = laspy.read(path)
    column, row = tile_from_id(tile)
    side_m = TileGrid.of_area(AREA, block=1).side
    return (np.floor(las.x * FOOT / side_m) == column) & (np.floor(las.y * FOOT / side_m) == row)


def cells_in_tile(model: Any, tile: str) -> Any:
    """Which cells of a terrain model have their centre in a tile."""
    column, row = tile_from_id(tile)
    side_m = TileGrid.of_area(AREA, block=1).side
    rows, columns = np.indices(model.shape)
    x, y = rasterio.transform.xy(model.transform, rows, columns)
    x, y = (np.reshape(values, model.shape) for values in (x, y))
    return (np.floor(x * FOOT / side_m) == column) & (np.floor(y * FOOT / side_m) == row)
