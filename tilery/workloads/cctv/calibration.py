"""From pixels of the reference frame to metres on the ground, and to degrees; how sure that is.

The ground is a plane, so that a homography does it: given, or fitted to points by the normalised direct linear transform
(Hartley and Zisserman, Multiple View Geometry, 2nd ed., algorithm 4.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, degrees, radians, sin, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.outcomes import BadInput
from tilery.workloads.cctv.options import Calibration

Array = NDArray[np.float64]

CLICK_PX = 1.0
"""How well a point of the picture is known at best (one standard deviation)."""
FAR_M = 10.0
"""Metres on the ground for one pixel, from which on a place is as good as the horizon: nothing is known of where it is."""
SEMI_MAJOR_M, FLATTENING = 6378137.0, 1 / 298.257223563
"""WGS 84."""


@dataclass(frozen=True, slots=True)
class Ground:
    """A calibrated camera."""

    matrix: Array
    """(3, 3): pixels of the reference frame to metres east and north."""
    residual_m: Array
    """(points,) distance on the ground of each point from where it was said to be; empty for a given homography."""
    residual_px: float
    """Root mean square of the same in pixels of the picture, 0 for a given homography."""
    slightly_off: Array
    """(k, 3, 3): the matrices that one standard deviation in each coordinate of each point would have given instead."""
    origin: tuple[float, float] | None
    """Longitude and latitude of 0 m, 0 m."""

    def metres(self, pixels: Array) -> Array:
        """(n, 2) metres east and north of pixels (n, 2); NaN beyond the horizon, and as near to it as `FAR_M` says."""
        return np.where(self._known(pixels)[:, None], _project(self.matrix, pixels), np.nan)

    def pixels(self, metres: Array) -> Array:
        """The inverse of `metres`."""
        return _project(np.linalg.inv(self.matrix), metres, ahead=False)

    def speed(self, pixels: Array, velocity: Array) -> Array:
        """(n, 2) m/s on the ground of what moves at `velocity` (n, 2 px/s) in the picture; NaN where `metres` is."""
        return np.where(self._known(pixels)[:, None], _speed(self.matrix, pixels, velocity), np.nan)

    def speed_scatter(self, pixels: Array, velocity: Array) -> Array:
        """(n,) m/s: standard deviation of the speed that comes from the calibration's own points."""
        usual = np.hypot(*self.speed(pixels, velocity).T)
        off = [np.hypot(*_speed(one, pixels, velocity).T) - usual for one in self.slightly_off]
        return np.sqrt(np.sum(np.square(off), axis=0)) if off else np.zeros(len(pixels))

    def scale(self, pixels: Array) -> Array:
        """(n, 2, 2) metres on the ground for a pixel in the picture: the Jacobian."""
        across = _speed(self.matrix, pixels, np.tile([1.0, 0.0], (len(pixels), 1)))
        down = _speed(self.matrix, pixels, np.tile([0.0, 1.0], (len(pixels), 1)))
        return np.stack([across, down], axis=2)

    def _known(self, pixels: Array) -> NDArray[np.bool_]:
        return np.asarray(np.sqrt(np.square(self.scale(pixels)).sum((1, 2))) <= FAR_M, np.bool_)

    def degrees(self, metres: Array) -> Array:
        """(n, 2) longitude and latitude; good to some centimetres within kilometres of the origin."""
        if self.origin is None:
            raise BadInput("The calibration names no origin: give the longitude and latitude of 0 m, 0 m.")
        longitude, latitude = self.origin
        eccentricity = FLATTENING * (2 - FLATTENING)
        w = 1 - eccentricity * sin(radians(latitude)) ** 2
        east = SEMI_MAJOR_M / sqrt(w) * cos(radians(latitude))
        north = SEMI_MAJOR_M * (1 - eccentricity) / w**1.5
        return np.stack([longitude + degrees(1) * metres[:, 0] / east, latitude + degrees(1) * metres[:, 1] / north], axis=1)


def ground(calibration: Calibration, frame_size: tuple[int, int]) -> Ground:
    """The calibration of a run's options, for frames of this width and height; their lower edge shows ground, not sky.

    Raises `BadInput` where points lie on a line or cannot all be on one plane.
    """
    if calibration.homography:
        given = np.array(calibration.homography, np.float64)
        if not np.isfinite(given).all() or abs(np.linalg.det(given / np.abs(given).max())) < 1e-15:
            raise BadInput("The calibration's homography cannot be inverted: give one that maps the picture to the ground.")
        given = _oriented(given, np.array([[frame_size[0] / 2, float(frame_size[1])]]))
        return Ground(given, np.zeros(0), 0.0, np.zeros((0, 3, 3)), calibration.origin)
    pixels, metres = np.array(calibration.points, np.float64), np.array(calibration.metres, np.float64)
    matrix = _oriented(fit(pixels, metres), pixels)
    off = _project(matrix, pixels) - metres
    residual_px = _rms(_project(np.linalg.inv(matrix), metres, ahead=False) - pixels)
    scatter = max(CLICK_PX, residual_px * sqrt(len(pixels) / max(len(pixels) - 4, 1)) if len(pixels) > 4 else 0.0)
    moved = []
    for point in range(len(pixels)):
        for axis in range(2):
            shifted = pixels.copy()
            shifted[point, axis] += scatter
            moved.append(_oriented(fit(shifted, metres), pixels))
    return Ground(matrix, np.hypot(*off.T), residual_px, np.array(moved), calibration.origin)


def fit(pixels: Array, metres: Array) -> Array:
    """The homography (3, 3) that takes pixels (n, 2) to metres (n, 2), least squares of the algebraic error; n >= 4."""
    a, b = _normaliser(pixels), _normaliser(metres)
    p, q = _project(a, pixels), _project(b, metres)
    one, zero = np.ones(len(p)), np.zeros((len(p), 3))
    h = np.column_stack([p, one])
    rows = np.concatenate([np.hstack([h, zero, -q[:, :1] * h]), np.hstack([zero, h, -q[:, 1:] * h])])
    _, strength, basis = np.linalg.svd(rows)
    if strength[7] < 1e-6 * strength[0]:
        raise BadInput("Three or more of the calibration's points lie on a line: choose four that span an area of the ground.")
    matrix = np.linalg.inv(b) @ basis[8].reshape(3, 3) @ a
    return np.asarray(matrix / np.linalg.norm(matrix))


def _oriented(matrix: Array, pixels: Array) -> Array:
    """The matrix with positive weights at the points: they are on this side of the horizon."""
    weight = pixels @ matrix[2, :2] + matrix[2, 2]
    if (weight > 0).any() and (weight < 0).any():
        raise BadInput("The calibration's points lie on both sides of the horizon: check their order and their metres.")
    return matrix if weight[0] > 0 else -matrix


def _normaliser(points: Array) -> Array:
    """Moves points to their centre, their mean distance from it being the root of 2."""
    centre = points.mean(0)
    far = float(np.hypot(*(points - centre).T).mean())
    if not far > 0:
        raise BadInput("The calibration's points are all one and the same.")
    scale = sqrt(2) / far
    return np.array([[scale, 0, -scale * centre[0]], [0, scale, -scale * centre[1]], [0, 0, 1.0]])


def _project(matrix: NDArray[np.floating[Any]], points: NDArray[np.floating[Any]], ahead: bool = True) -> Array:
    """Points under a homography; with `ahead`, NaN where they are not on this side of the horizon (weight above 0)."""
    x, y, w = (points @ matrix[:, :2].T + matrix[:, 2]).T
    w = np.where(w > 0, w, np.nan) if ahead else w
    return np.stack([x / w, y / w], axis=1)


def _speed(matrix: Array, points: Array, velocity: Array) -> Array:
    at = _project(matrix, points)
    w = points @ matrix[2, :2] + matrix[2, 2]
    dx, dy, dw = (velocity @ matrix[:, :2].T).T
    return np.stack([(dx - at[:, 0] * dw) / w, (dy - at[:, 1] * dw) / w], axis=1)


def _rms(off: Array) -> float:
    return float(np.sqrt(np.square(off).sum(1).mean()))
