"""Everyone is counted once, the right way, in the right bin; what was not seen is missing, not zero."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.cctv_scenes import CAR, PERSON, SECOND, all_of, frames, only, path, together, walker
from tilery.options import parse
from tilery.outcomes import BadInput
from tilery.workloads.cctv import proposals, zones
from tilery.workloads.cctv.analysis import outside, unmoved
from tilery.workloads.cctv.counting import Crossing, counts, crossings, time_bins, timeline, unseen
from tilery.workloads.cctv.frames import Looked
from tilery.workloads.cctv.options import CctvOptions
from tilery.workloads.cctv.tracker import track
from tilery.workloads.cctv.tracks import empty
from tilery.workloads.cctv.zones import OUTSIDE, matrix, trips

ACROSS = {"gate": ((100.0, 0.0), (100.0, 200.0))}
"""It points down: left of it, when looking down the picture, is where x is larger."""


def ways(found: list[Crossing]) -> list[tuple[str, bool]]:
    return [(one.way, one.counted) for one in found]


def test_left_of_the_line_is_a_and_right_of_it_is_b() -> None:
    to_the_left = path([(200 - 10 * i, 50) for i in range(20)])
    assert ways(crossings(to_the_left, ACROSS)) == [("A->B", True)]
    to_the_right = path([(10 * i, 50) for i in range(20)])
    assert ways(crossings(to_the_right, ACROSS)) == [("B->A", True)]
    assert ways(crossings(to_the_right, {"gate": (ACROSS["gate"][1], ACROSS["gate"][0])})) == [("A->B", True)]


def test_place_and_time_of_a_crossing_are_between_the_frames() -> None:
    (one,) = crossings(path([(5 + 10 * i, 50 + i) for i in range(20)], label=CAR), ACROSS)
    assert (one.x, one.y) == pytest.approx((100, 59.5))
    assert one.time_us == pytest.approx(950_000, abs=1)
    assert (one.label, one.line, one.id) == ("car", "gate", 1)


def test_a_way_past_the_end_of_a_line_does_not_cross_it() -> None:
    assert crossings(path([(10 * i, 250) for i in range(20)]), ACROSS) == []


def test_a_car_that_stops_on_the_line_and_trembles_is_counted_once() -> None:
    tremble = [(100 + 3 * np.sin(7 * i), 50.0) for i in range(200)]
    way = [(10.0 * i, 50.0) for i in range(10)] + tremble + [(100 + 10.0 * i, 50.0) for i in range(1, 10)]
    found = crossings(path(way, jitter=4.0), ACROSS)
    assert ways(found) == [("B->A", True)]
    assert found[0].time_us > 20 * SECOND


def test_one_that_stops_on_the_line_and_turns_back_has_not_crossed() -> None:
    way = [(10.0 * i, 50.0) for i in range(11)]
    assert crossings(path([*way, *way[::-1]], jitter=4.0), ACROSS) == []


def test_one_that_walks_to_and_fro_is_counted_once_each_way() -> None:
    way = [(10.0 * i, 50.0) for i in range(20)]
    found = crossings(path([*way, *way[::-1], *way]), ACROSS)
    assert ways(found) == [("B->A", True), ("A->B", True), ("B->A", False)]
    total = counts(found, ACROSS, ["person"], [(0, 100 * SECOND)])
    assert {one.way: one.count for one in total} == {"A->B": 1, "B->A": 1}


def test_parked_cars_beside_the_line_are_not_counted() -> None:
    seen = frames(300)
    parked = walker(seen, (100, 60), (0, 0), size=(80, 50), label=CAR, moving=0.0, noise=3)
    assert crossings(track(seen, parked, confident=0.5), ACROSS) == []


def test_counts_are_by_line_way_class_and_bin_with_zeros() -> None:
    car = path([(10 * i, 50) for i in range(20)], label=CAR, identity=2, start_us=65 * SECOND)
    person = path([(200 - 10 * i, 50) for i in range(20)], label=PERSON)
    found = crossings(all_of(person, car), ACROSS)
    table = counts(found, ACROSS, ["bus"], time_bins((0, 150 * SECOND), 60 * SECOND))
    assert len(table) == 2 * 3 * 3
    there = [(one.way, one.label, one.start_us // SECOND, one.stop_us // SECOND, one.count) for one in table if one.count]
    assert there == [("A->B", "person", 0, 60, 1), ("B->A", "car", 60, 120, 1)]
    assert all(one.count is not None and one.missing_s == 0 for one in table)


def test_bins_begin_at_full_minutes_of_the_clock() -> None:
    bins = time_bins((0, 150 * SECOND), 60 * SECOND, phase_us=(8 * 3600 + 45) * SECOND)
    assert [(start // SECOND, stop // SECOND) for start, stop in bins] == [(0, 15), (15, 75), (75, 135), (135, 150)]


@given(st.integers(1, 10**9), st.integers(1, 10**8), st.integers(0, 86_400 * SECOND))
@settings(max_examples=50)
def test_bins_cover_the_timeline_without_gap_or_overlap(stop: int, bin_us: int, phase_us: int) -> None:
    bin_us = max(bin_us, stop // 500)
    bins = time_bins((0, stop), bin_us, phase_us)
    assert bins[0][0] == 0
    assert bins[-1][1] == stop
    assert all(a[1] == b[0] and a[1] > a[0] for a, b in pairwise(bins))
    assert all((start + phase_us) % bin_us == 0 for start, _ in bins[1:])


def test_missing_time_is_never_a_zero() -> None:
    found = crossings(path([(10 * i, 50) for i in range(20)]), ACROSS)
    gone = [(30 * SECOND, 70 * SECOND), (60 * SECOND, 90 * SECOND)]
    table = counts(found, ACROSS, ["person"], time_bins((0, 180 * SECOND), 60 * SECOND), gone)
    assert [(one.count, one.missing_s) for one in table if one.way == "B->A"] == [(1, 30), (None, 30), (0, 0)]
    assert [(one.count, one.missing_s) for one in table if one.way == "A->B"] == [(None, 30), (None, 30), (0, 0)]


def test_gaps_holes_and_damaged_stretches_are_unseen() -> None:
    seen = frames(600)
    looked = seen.looked.copy()
    looked[300:400] = Looked.DAMAGED
    time_us = seen.time_us.copy()
    time_us[500:] += 5 * SECOND
    broken = replace(seen, looked=looked, time_us=time_us)
    assert timeline(broken) == (0, 65 * SECOND)
    spans = unseen(broken, 2 * SECOND, [(10 * SECOND, 12 * SECOND), (11 * SECOND, 13 * SECOND)])
    assert [(start / SECOND, stop / SECOND) for start, stop in spans] == [(10, 13), (30, 40), (50, 55)]
    assert unseen(seen, 2 * SECOND) == []
    assert unseen(frames(0), 2 * SECOND) == []


SQUARES = {
    "west": [(0.0, 0.0), (50.0, 0.0), (50.0, 100.0), (0.0, 100.0)],
    "east": [(150.0, 0.0), (200.0, 0.0), (200.0, 100.0), (150.0, 100.0)],
}


def test_trips_go_from_the_first_zone_to_the_last() -> None:
    eastward = path([(5 * i, 50) for i in range(41)], identity=1)
    away = path([(25 + 5 * i, 50) for i in range(20)], identity=2)
    into = path([(60 + 5 * i, 50) for i in range(25)], identity=3, label=CAR)
    through = path([(100 - 6 * i, 50) for i in range(30)], identity=4)
    nowhere = path([(100, 5 * i) for i in range(20)], identity=5)
    found = trips(all_of(eastward, away, into, through, nowhere), SQUARES)
    assert [(one.id, one.origin, one.destination) for one in found] == [
        (1, "west", "east"), (2, "west", OUTSIDE), (3, OUTSIDE, "east"), (4, "west", "west"),
    ]  # fmt: skip
    assert ("west", "east", "person", 1) in matrix(found)
    assert sum(row[3] for row in matrix(found)) == 4


def test_the_edge_of_a_zone_may_be_touched_without_a_visit() -> None:
    touching = path([(100 - 5 * i, 50) for i in range(12)] + [(45 + 5 * i, 50) for i in range(1, 12)])
    assert trips(touching, SQUARES) == []


@given(st.lists(st.tuples(st.floats(-10, 60), st.floats(-10, 110)), min_size=1, max_size=20))
def test_within_a_square_is_between_its_sides(points: list[tuple[float, float]]) -> None:
    at = np.array(points)
    inside = (at[:, 0] > 0) & (at[:, 0] < 50) & (at[:, 1] > 0) & (at[:, 1] < 100)
    border = np.isin(at[:, 0], [0, 50]) | np.isin(at[:, 1], [0, 100])
    assert (zones.within(at, SQUARES["west"]) == inside)[~border].all()


def test_proposed_lines_are_crossed_by_everyone_on_the_main_ways() -> None:
    right = [path([(20 * i, 100 + 10 * k) for i in range(32)], identity=k + 1) for k in range(8)]
    down = [path([(300 + 10 * k, 15 * i) for i in range(32)], identity=k + 20) for k in range(4)]
    ways = all_of(*right, *down)
    drawn = proposals.lines(ways, (640, 480))
    assert list(drawn) == ["line 1", "line 2"]
    crossed = {name: {one.id for one in crossings(ways, {name: line})} for name, line in drawn.items()}
    assert set(range(1, 9)) <= crossed["line 1"] | crossed["line 2"]
    assert set(range(20, 24)) <= crossed["line 1"] | crossed["line 2"]
    for line in drawn.values():
        assert all(0 <= x <= 640 and 0 <= y <= 480 for x, y in line)


def test_without_tracks_nothing_is_proposed_counted_or_travelled() -> None:
    assert proposals.lines(empty(), (640, 480)) == {}
    assert crossings(empty(), ACROSS) == []
    assert trips(empty(), SQUARES) == []
    assert [one.count for one in counts([], ACROSS, ["car"], [(0, SECOND)])] == [0, 0]


def test_one_who_stands_still_crosses_no_proposed_line() -> None:
    assert proposals.lines(path([(300, 200)] * 20), (640, 480)) == {}


def test_what_is_drawn_beside_the_picture_is_told() -> None:
    drawn = CctvOptions(
        lines={"in": ((-50, 10), (50, 10)), "off": ((700, 10), (700, 90))},
        zones={"all": [(-10, -10), (900, -10), (900, 900)], "below": [(0, 500), (9, 500), (9, 600)]},
        calibration={"points": [(0, 0), (99, 0), (99, 99), (0, 9000)], "metres": [(0, 0), (1, 0), (1, 1), (0, 90)]},
    )
    (told,) = outside(drawn, (640, 480))
    assert told == "the line off, the zone below, a point of the calibration: outside the picture of 640 x 480 pixels"
    assert outside(CctvOptions(), (640, 480)) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"zones": {"gate": [[0, 0], [5, 5], [9, 9]]}}, "the points of the zone 'gate' lie on a line"),
        ({"lines": {"gate": [[0, float("nan")], [5, 5]]}}, "lines.gate.0.1': input should be a finite number"),
        ({"calibration": {"homography": [[1, 0, 0]] * 3, "origin": [9, 95]}}, "origin.1': input should be less than 90"),
        ({"classes": ""}, "classes': list should have at least 1 item"),
        ({"bin_s": float("inf")}, "bin_s': input should be a finite number"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=re.escape(said)):
        parse(CctvOptions, options, "--set")


def test_that_most_of_what_is_surely_there_never_moved_is_known() -> None:
    seen = frames(200)
    parked = [walker(seen, (100.0 * at, 50.0), (0, 0), moving=0.0, seed=at) for at in range(3)]
    walking = walker(seen, (0.0, 200.0), (5, 0), moving=0.6)
    faint = walker(seen, (300.0, 200.0), (0, 0), moving=0.0, score=0.3)
    assert unmoved(together(*parked, walking, faint), 0.45) == 0.75
    assert unmoved(walking, 0.45) == 0
    assert unmoved(only(parked[0], np.arange(20)), 0.45) == 0  # too few
    assert unmoved(walker(seen, (0.0, 0.0), (1, 0), moving=np.nan), 0.45) == 0
