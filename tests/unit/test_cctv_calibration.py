"""From pixels to metres and degrees: exact for exact points, honest about the rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilery.outcomes import BadInput
from tilery.workloads.cctv.calibration import Ground, fit, ground
from tilery.workloads.cctv.options import Calibration

SIZE = (768, 576)
TRUE = np.array([[0.05, 0.01, -20.0], [0.002, -0.08, 60.0], [0.0001, 0.004, 1.0]])
PICTURE = np.array([(120.0, 230.0), (620.0, 250.0), (740.0, 500.0), (80.0, 520.0), (400.0, 350.0), (300.0, 450.0)])


def seen_at(pixels: np.ndarray) -> np.ndarray:
    at = np.column_stack([pixels, np.ones(len(pixels))]) @ TRUE.T
    return np.asarray(at[:, :2] / at[:, 2:])


def calibrated(count: int, noise_px: float = 0.0) -> Ground:
    shake = np.random.default_rng(2).normal(0, noise_px, (count, 2)) if noise_px else 0
    pixels = PICTURE[:count] + shake
    points = [(float(x), float(y)) for x, y in pixels]
    metres = [(float(x), float(y)) for x, y in seen_at(PICTURE[:count])]
    return ground(Calibration(points=points, metres=metres, origin=(11.25, 46.5)), SIZE)


@pytest.mark.parametrize("count", [4, 6])
def test_exact_points_give_the_exact_homography(count: int) -> None:
    plane = calibrated(count)
    assert plane.metres(PICTURE) == pytest.approx(seen_at(PICTURE), abs=1e-6)
    assert plane.pixels(plane.metres(PICTURE)) == pytest.approx(PICTURE, abs=1e-6)
    assert plane.residual_m.max() < 1e-6


def test_points_that_do_not_fit_leave_residuals() -> None:
    plane = calibrated(6, noise_px=3.0)
    assert plane.residual_m.shape == (6,)
    assert 0.5 < plane.residual_px < 6


def test_a_given_homography_is_used_as_it_is_whatever_its_sign() -> None:
    for sign in (1, -1):
        plane = ground(Calibration(homography=(sign * TRUE).tolist()), SIZE)
        assert plane.metres(PICTURE) == pytest.approx(seen_at(PICTURE))


def test_the_sky_has_no_metres() -> None:
    plane = ground(Calibration(homography=[[1, 0, 0], [0, 1, 0], [0, 0.01, -1]]), SIZE)
    assert np.isnan(plane.metres(np.array([[300.0, 50.0]]))).all()
    assert np.isfinite(plane.metres(np.array([[300.0, 300.0]]))).all()


def test_so_near_to_the_horizon_that_a_pixel_is_more_than_ten_metres_there_is_neither_place_nor_speed() -> None:
    plane = ground(Calibration(homography=[[1, 0, 0], [0, 1, 0], [0, 0.01, -1]]), SIZE)
    rows = np.column_stack([np.full(60, 10.0), np.arange(101.0, 161.0)])
    known = np.isfinite(plane.metres(rows)[:, 0])
    assert (np.diff(known.astype(int)) >= 0).all()  # from some row of the picture on
    assert 5 < (~known).sum() < 50
    size = np.sqrt(np.square(plane.scale(rows)).sum((1, 2)))
    assert size[known].max() <= 10 < size[~known].min()
    np.testing.assert_array_equal(np.isfinite(plane.speed(rows, np.ones_like(rows))[:, 0]), known)


@settings(max_examples=25)
@given(st.floats(80, 740), st.floats(230, 560), st.floats(-50, 50), st.floats(-50, 50))
def test_the_speed_is_the_slope_of_the_way(x: float, y: float, vx: float, vy: float) -> None:
    plane, at, v = calibrated(4), np.array([[x, y]]), np.array([[vx, vy]])
    step = 1e-4
    slope = (plane.metres(at + step * v) - plane.metres(at - step * v)) / (2 * step)
    assert plane.speed(at, v) == pytest.approx(slope, rel=1e-4, abs=1e-4)
    assert np.einsum("nij,nj->ni", plane.scale(at), v) == pytest.approx(plane.speed(at, v), abs=1e-9)


def test_the_doubt_of_clicked_points_grows_away_from_them() -> None:
    plane = calibrated(4)
    moving = np.array([[10.0, 0.0]])
    near, far = plane.speed_scatter(np.array([[400.0, 400.0]]), moving), plane.speed_scatter(np.array([[400.0, 20.0]]), moving)
    assert 0 < near[0] < far[0]
    given = ground(Calibration(homography=TRUE.tolist()), SIZE)
    assert given.speed_scatter(np.array([[400.0, 400.0]]), moving)[0] == 0


def test_a_kilometre_east_and_north_in_degrees() -> None:
    """At 46.5 degrees: a degree of longitude is 76,756 m, one of latitude 111,156 m (WGS 84)."""
    longitude, latitude = calibrated(4).degrees(np.array([[1000.0, 1000.0]]))[0]
    assert (longitude - 11.25) * 76_756 == pytest.approx(1000, abs=2)
    assert (latitude - 46.5) * 111_156 == pytest.approx(1000, abs=2)


def test_bad_calibrations_say_what_to_do() -> None:
    on_a_line = [(0.0, 0.0), (10.0, 10.0), (20.0, 20.0), (30.0, 30.0)]
    square = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    with pytest.raises(BadInput, match="lie on a line"):
        ground(Calibration(points=on_a_line, metres=square), SIZE)
    with pytest.raises(BadInput, match="one and the same"):
        ground(Calibration(points=[(5.0, 5.0)] * 4, metres=square), SIZE)
    crossed = [(0.0, 0.0), (100.0, 0.0), (100.0, 100.0), (0.0, 100.0)]
    with pytest.raises(BadInput, match="horizon"):
        ground(Calibration(points=crossed, metres=[square[at] for at in (0, 1, 3, 2)]), SIZE)
    with pytest.raises(BadInput, match="cannot be inverted"):
        ground(Calibration(homography=[[1, 0, 0], [2, 0, 0], [0, 0, 1]]), SIZE)
    with pytest.raises(BadInput, match="names no origin"):
        ground(Calibration(homography=TRUE.tolist()), SIZE).degrees(np.zeros((1, 2)))


def test_the_fit_does_not_depend_on_where_the_origin_of_metres_is() -> None:
    metres = seen_at(PICTURE) + np.array([600_000, 5_100_000])
    matrix = fit(PICTURE, metres)
    at = np.column_stack([PICTURE, np.ones(6)]) @ matrix.T
    assert at[:, :2] / at[:, 2:] == pytest.approx(metres, abs=1e-4)
