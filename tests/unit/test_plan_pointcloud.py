"""The plan of a large amount of point clouds: arithmetic that can be checked by hand, from rates that stand in a file."""

import json
import subprocess
import sys
from math import ceil

import pytest

from tilery.outcomes import BadInput
from tilery.workloads.pointcloud import plan
from tilery.workloads.pointcloud.options import PointCloudOptions


def test_shards_and_tiles_follow_from_bytes_and_points() -> None:
    made, known = plan.plan(100e12), plan.rates()
    assert made.points == pytest.approx(100e12 / known["bytes_per_point"])
    assert made.shards == pytest.approx(100e12 / (32 * 2**20), rel=1e-4)
    assert made.tiles == pytest.approx(made.points / known["points_per_m2"] / 0.5e6, rel=1e-4)
    assert made.runs == ceil(made.points / plan.RUN_POINTS)
    assert made.sheets == pytest.approx(made.points / known["points_per_m2"] / 8192**2, rel=1e-3)


def test_larger_tiles_are_fewer_and_larger_shards_too() -> None:
    usual, large = plan.plan(1e13), plan.plan(1e13, options=PointCloudOptions(tile_area_km2=1.0, shard_mib=64))
    assert large.tiles == pytest.approx(usual.tiles / 2, rel=1e-3)
    assert large.shards == pytest.approx(usual.shards / 2, rel=1e-3)


def test_twice_the_bytes_are_twice_the_dollars() -> None:
    one, two = (sum(plan.plan(amount).dollars.values()) for amount in (1e13, 2e13))
    assert two == pytest.approx(2 * one, rel=1e-3)


def test_very_many_workers_wait_for_submission() -> None:
    narrow, *_, wide = plan.plan(100e12).lines[:3]
    assert not narrow.bound_by_submission
    assert wide.bound_by_submission
    assert wide.submits_per_s == pytest.approx(plan.SUBMITS_PER_S)
    assert wide.seconds < narrow.seconds


def test_a_deadline_gets_the_fewest_workers_that_make_it() -> None:
    (line,) = [line for line in plan.plan(100e12, [86_400.0]).lines if line.wanted_s]
    stages = plan.plan(100e12).stages
    assert line.reached
    assert plan._at(line.workers, stages).seconds <= 86_400 < plan._at(line.workers - 1, stages).seconds
    assert not plan.plan(100e12, [60.0]).lines[-1].reached
    assert "not reached" in plan.plan(100e12, [60.0]).text()


def test_no_job_holds_more_than_a_job_may_and_publishing_fits_its_function() -> None:
    made = plan.plan(100e12)
    assert all(stage.items <= 50 * stage.jobs for stage in made.stages)
    (publish,) = [stage for stage in made.stages if stage.name == "publish"]
    assert publish.cpu_hours * 3600 / publish.jobs < 900


def test_smaller_cells_cost_sheets_and_no_tiles() -> None:
    usual, fine = plan.plan(1e13), plan.plan(1e13, options=PointCloudOptions(resolution_m=0.5))
    assert fine.sheets == pytest.approx(4 * usual.sheets, rel=1e-2)
    assert fine.tiles == usual.tiles
    hours = [{stage.name: stage.cpu_hours for stage in made.stages} for made in (usual, fine)]
    assert hours[1]["finish"] > 2 * hours[0]["finish"]
    assert hours[1]["publish"] < 1.1 * hours[0]["publish"], "publishing does not grow with pixels"


def test_the_text_says_what_it_rests_on() -> None:
    text = plan.plan(100e12).text()
    for words in ("state transitions", "PUT and LIST", "Prices: us-east-1, 2026-11-01", "L-3032A538", plan.rates()["measured"]):
        assert words in text


@pytest.mark.parametrize("deadlines", [[0.0], [-5.0]])
def test_nothing_and_no_time_are_refused(deadlines: list[float]) -> None:
    with pytest.raises(BadInput, match="above 0"):
        plan.plan(0)
    with pytest.raises(BadInput, match="above 0"):
        plan.plan(1e12, deadlines)


def test_the_command_prints_it_without_loading_numpy() -> None:
    code = (
        "import sys; from cli.main import app; "
        "app(['plan', 'pointcloud', '--bytes', '100TB', '--json'], standalone_mode=False); "
        "sys.exit('numpy' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["runs"] == plan.plan(100e12).runs
