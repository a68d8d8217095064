"""Speeds are km/h only where metres are known, come with an honest uncertainty, and impossible ones are flagged."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.cctv_scenes import all_of, frames, path, walker
from tilery.workloads.cctv.calibration import Ground, ground
from tilery.workloads.cctv.options import Calibration
from tilery.workloads.cctv.speeds import of_tracks, speeds
from tilery.workloads.cctv.tracker import track
from tilery.workloads.cctv.tracks import empty

FIVE_CM = ground(Calibration(homography=[[0.05, 0, 0], [0, -0.05, 30], [0, 0, 1]]), (640, 480))


def test_without_a_calibration_speeds_are_pixels_a_second() -> None:
    found = speeds(path([(30 + 3 * i, 40 + 4 * i) for i in range(30)]), None, 200)
    assert found.unit == "px/s"
    assert found.value == pytest.approx(50, rel=1e-6)
    assert not found.impossible.any()


def test_with_one_they_are_kilometres_an_hour() -> None:
    found = speeds(path([(30 + 20 * i, 100) for i in range(30)]), FIVE_CM, 200)
    assert found.unit == "km/h"
    assert found.value == pytest.approx(200 * 0.05 * 3.6, rel=1e-6)
    assert found.velocity == pytest.approx(np.tile([10.0, 0.0], (30, 1)), abs=1e-9)


def test_one_that_slows_down_has_less_speed_later() -> None:
    t = np.arange(60) / 10
    found = speeds(path([(100 * s - 8 * s * s, 100) for s in t]), None, 200)
    assert found.value[5:-5] == pytest.approx((100 - 16 * t)[5:-5], abs=0.5)


def test_the_uncertainty_covers_the_truth_in_noisy_boxes() -> None:
    seen = frames(150)
    within = []
    for seed in range(6):
        tracks = track(seen, walker(seen, (50, 200), (30, 5), noise=3, seed=seed), confident=0.5)
        found = speeds(tracks, None, 200)
        within.append(np.abs(found.value - np.hypot(30, 5)) < 2 * found.sigma)
        assert 0 < np.median(found.sigma) < 10
    assert np.mean(within) > 0.9


def test_a_calibration_of_clicked_points_adds_to_the_uncertainty() -> None:
    tracks = path([(30 + 20 * i, 100) for i in range(30)])
    corners = [(0.0, 0.0), (100.0, 0.0), (100.0, 100.0), (0.0, 100.0)]
    clicked = ground(Calibration(points=corners, metres=[(x / 20, 30 - y / 20) for x, y in corners]), (640, 480))
    assert speeds(tracks, clicked, 200).value == pytest.approx(36, rel=1e-6)
    assert (speeds(tracks, clicked, 200).sigma > speeds(tracks, FIVE_CM, 200).sigma).all()


def test_impossible_speeds_are_flagged_and_left_out_of_a_tracks_speed() -> None:
    way = (
        [(10 * i, 100) for i in range(20)]
        + [(190 + 400 * i, 100) for i in range(1, 5)]
        + [(1790 + 10 * i, 100) for i in range(1, 20)]
    )
    found = speeds(tracks := path(way), FIVE_CM, 200)
    assert found.impossible[18:26].any()
    assert not found.impossible[:12].any()
    assert of_tracks(tracks, found)[1][0] == pytest.approx(18, rel=0.01)


def test_a_single_sight_has_no_speed_and_two_have_one() -> None:
    found = speeds(tracks := all_of(path([(10, 10)], identity=1), path([(10, 10), (13, 14)], identity=2)), None, 200)
    assert np.isnan(found.value[tracks.id == 1]).all()
    assert found.value[tracks.id == 2] == pytest.approx(50)
    assert list(of_tracks(tracks, found)) == [2]


def test_where_a_calibration_that_is_hardly_off_sees_the_sky_there_is_no_speed_and_no_uncertainty_is_nan() -> None:
    points = [(140, 110), (180, 110), (300, 300), (20, 300)]
    plane = ground(Calibration(points=points, metres=[(0, 60), (8, 60), (8, 0), (0, 0)]), (320, 320))
    found = speeds(tracks := path([(150, 300 - 5 * at) for at in range(58)]), plane, 200)
    known = np.isfinite(found.value)
    assert known.any()
    assert not known.all()
    assert np.isfinite(found.sigma[known]).all()
    assert np.isfinite(of_tracks(tracks, found)[1]).all()


def test_no_tracks_have_no_speeds() -> None:
    plane: Ground | None
    for plane in (None, FIVE_CM):
        assert len(speeds(empty(), plane, 200).value) == 0
