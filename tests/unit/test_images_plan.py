"""The plan of a large amount of pictures: arithmetic that can be checked by hand."""

import json
from pathlib import Path

import pytest

from tilery.outcomes import BadInput
from tilery.workloads.images import place, plan

ROOT = Path(__file__).resolve().parents[2]


def test_two_million_results_are_placed_by_six_functions_within_the_writes_of_a_prefix() -> None:
    one, four, _ = plan.plan(50e9).results
    assert (one.objects, four.objects) == (500_000, 2_000_000)
    assert four.functions == plan.PLACERS
    assert four.seconds == pytest.approx(2e6 / 3500, rel=1e-3)
    assert four.dollars == pytest.approx(2e6 * 0.005 / 1000, rel=0.05)


def test_few_results_are_published_by_one_function_in_its_time() -> None:
    one = plan.plan(place.ALONE * plan.PICTURE_BYTES).results[0]
    assert (one.objects, one.functions) == (place.ALONE, 1)
    assert one.seconds < 60


def test_a_deadline_gets_the_fewest_workers_that_make_it_and_says_so_if_none_do() -> None:
    line, never = plan.plan(50e9, [600.0, 30.0]).lines
    assert line.reached
    assert line.seconds <= 600
    assert (line.seconds - plan.START_S) * line.workers / (line.workers - 1) > 600 - plan.START_S
    assert not never.reached
    assert "not reached" in plan.plan(50e9, [30.0]).text()


def test_the_machine_places_with_as_many_functions_as_the_plan_says() -> None:
    machine = json.loads((ROOT / "statemachines/pipeline.asl.json").read_text())
    assert machine["States"]["Place the products"]["MaxConcurrency"] == f"{{% $min([${{MapConcurrency}}, {plan.PLACERS}]) %}}"


@pytest.mark.parametrize("amount", [0.0, -1.0, float("nan")])
def test_no_amount_is_refused(amount: float) -> None:
    with pytest.raises(BadInput, match="give an amount above 0"):
        plan.plan(amount)
