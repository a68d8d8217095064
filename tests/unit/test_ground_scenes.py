"""What the ground filter test of the ISPRS found filters to fail at, on scenes of which the truth is known."""

import pytest

from benchmarks.pointcloud import scenes
from benchmarks.pointcloud.accuracy import evaluate
from tilery.workloads.pointcloud.options import GroundOptions


@pytest.mark.parametrize(
    ("name", "lost", "added"),
    [
        ("clumps of low points", 0.1, 1),
        ("ramp", 3, 1),
        ("terraces", 5, 2),
        ("gap", 0.1, 1),
        ("bank, few points", 0.5, 5),
        ("village, few points", 0.5, 2),
    ],
)
def test_what_is_ground_stays_and_what_stands_on_it_goes(name: str, lost: float, added: float) -> None:
    found = evaluate(scenes.sample(name, seed=0), GroundOptions())
    assert found["type1"] <= lost
    assert found["type2"] <= added


def test_a_roof_wider_than_openings_reach_in_the_open_goes_in_a_crowd() -> None:
    """More of a roof of 40 m beside a larger one stays where crowds are not looked at more strictly."""
    town = scenes.sample("large buildings", seed=7)
    strict, even = (evaluate(town, GroundOptions(crowd_share=share)) for share in (0.3, 2))
    assert strict["type2"] < even["type2"] - 2
    assert strict["type1"] < 0.5
