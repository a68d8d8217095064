"""Grids of occupancy, flow and speed add up; hot spots are where the crowd is; the picture is the same every time."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.unit.cctv_scenes import all_of, path
from tilery.workloads.cctv.heat import Heat, heat, spots
from tilery.workloads.cctv.heatmap import What, heatmap
from tilery.workloads.cctv.speeds import speeds
from tilery.workloads.cctv.tracks import Tracks, empty

SIZE = (480, 320)


def of(tracks: Tracks) -> Heat:
    return heat(tracks, speeds(tracks, None, 200), SIZE)


def busy_road() -> Tracks:
    """Twenty go along a road in the lower half, where three turn off upwards at x = 240."""
    along = [path([(8 * i, 250 + k % 3) for i in range(60)], identity=k + 1) for k in range(20)]
    off = [path([(8 * i, 250) for i in range(30)] + [(240, 250 - 8 * i) for i in range(30)], identity=k + 30) for k in range(3)]
    return all_of(*along, *off)


def test_occupancy_adds_up_to_the_time_that_all_were_there() -> None:
    found = of(busy_road())
    assert found.occupancy.sum() == pytest.approx(23 * 5.9, rel=1e-3)


def test_what_is_outside_of_the_picture_is_left_out() -> None:
    found = of(path([(-200 + 8 * i, 100) for i in range(50)]))
    assert found.occupancy.sum() == pytest.approx(2.45, abs=0.06)
    assert found.flow.max() == 1


def test_flow_counts_everyone_once_even_who_waits_there() -> None:
    waiting = path([(100, 100)] * 300, identity=1)
    passing = path([(4 * i, 100) for i in range(100)], identity=2)
    found = of(all_of(waiting, passing))
    row, column = int(100 // found.cell_px), int(100 // found.cell_px)
    assert found.flow[row, column] == 2
    assert found.occupancy[row, column] > 29


def test_one_too_fast_for_the_frames_leaves_no_cell_of_its_way_out() -> None:
    found = of(path([(60 * i, 160) for i in range(8)]))
    assert (found.flow[int(160 // found.cell_px), : int(420 // found.cell_px)] == 1).all()


def test_mean_speed_is_weighted_by_time_and_nowhere_without_road_users() -> None:
    slow = path([(0.5 * i, 100) for i in range(200)], identity=1)
    fast = path([(10 * i, 200) for i in range(40)], identity=2)
    found = of(all_of(slow, fast))
    assert found.unit == "px/s"
    assert np.nanmedian(found.speed[int(100 // found.cell_px)]) == pytest.approx(5, rel=0.05)
    assert np.nanmedian(found.speed[int(200 // found.cell_px)]) == pytest.approx(100, rel=0.05)
    assert np.isnan(found.speed[0]).all()


def test_hot_spots_lie_on_the_busy_road_and_low_ones_on_the_quiet_branch() -> None:
    found = spots(of(busy_road()))
    high, low = [one for one in found if one.kind == "high"], [one for one in found if one.kind == "low"]
    assert high
    assert low
    assert all(abs(one.y - 250) < 20 and one.z > 2.5 for one in high)
    assert all(one.y < 235 and one.z < -2.5 and one.flow <= 3 for one in low)


def test_a_picture_has_the_background_the_legend_and_the_same_bytes_each_time() -> None:
    found = of(busy_road())
    background = np.full((320, 480, 3), 90, np.uint8)
    lines, yards = {"gate": ((240.0, 200.0), (240.0, 300.0))}, {"yard": [(10.0, 10.0), (60.0, 10.0), (10.0, 60.0)]}
    kinds: tuple[What, ...] = ("flow", "occupancy", "speed")
    for what in kinds:
        drawn = heatmap(found, background, what, lines, yards, spots(found))
        assert drawn == heatmap(found, background, what, lines, yards, spots(found))
        picture = cv2.imdecode(np.frombuffer(drawn, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape == (480 + 52, 720, 3)
        road, field = picture[int(250 * 1.5), 300].astype(int), picture[100, 600].astype(int)
        assert np.ptp(road) > 30
        assert np.ptp(field) < 5


def test_a_scene_without_road_users_has_an_empty_map() -> None:
    found = of(empty())
    assert found.flow.shape == (64, 96)
    assert not found.flow.any()
    assert spots(found) == []
    assert heatmap(found, np.zeros((333, 480, 3), np.uint8), "speed").startswith(b"\x89PNG")
