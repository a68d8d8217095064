"""How fast road users go, how sure that is, and what cannot be true.

A speed is the slope of the foot's way over a window of a second. Its uncertainty has two sources: boxes tremble
(the track's jitter over the detections in the window) and the calibration's points were clicked with some error.
Only a calibrated camera tells km/h; else speeds are pixels a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.cctv.calibration import Ground
from tilery.workloads.cctv.kalman import Array
from tilery.workloads.cctv.tracks import State, Tracks

WINDOW_S = 1.0
KMH = 3.6
"""One m/s in km/h."""


@dataclass(frozen=True, slots=True)
class Speeds:
    """One for each row of `Tracks`."""

    unit: str
    """`km/h`, or `px/s` without a calibration."""
    value: NDArray[np.float32]
    """NaN where there is none: a single sight, or a place at the horizon."""
    sigma: NDArray[np.float32]
    """One standard deviation, in the same unit."""
    velocity: Array
    """(n, 2): m/s east and north, or pixels a second right and down."""
    impossible: NDArray[np.bool_]
    """Surely (by twice sigma) above the largest speed allowed; False without a calibration."""


def speeds(tracks: Tracks, ground: Ground | None, max_kmh: float) -> Speeds:
    """Speeds of all rows of tracks."""
    slope, scatter = _slopes(tracks)
    if ground is None:
        value = np.hypot(*slope.T)
        nothing = np.zeros(len(tracks), bool)
        return Speeds("px/s", value.astype(np.float32), scatter.astype(np.float32), slope, nothing)
    velocity = ground.speed(tracks.foot, slope)
    value = KMH * np.hypot(*velocity.T)
    direction = np.where(value[:, None] > 0, velocity / np.maximum(value / KMH, 1e-12)[:, None], np.sqrt(0.5))
    jacobian = ground.scale(tracks.foot)
    along = np.einsum("ni,nij->nj", direction, jacobian)
    sigma = KMH * np.hypot(scatter * np.hypot(*along.T), ground.speed_scatter(tracks.foot, slope))
    value[~np.isfinite(sigma)] = np.nan  # a calibration that is off by as little as its points may be puts it at the horizon
    impossible = value - 2 * sigma > max_kmh
    return Speeds("km/h", value.astype(np.float32), sigma.astype(np.float32), velocity, impossible)


def _slopes(tracks: Tracks) -> tuple[Array, Array]:
    """Velocity (n, 2) of the feet in pixels a second by least squares over the window, and its deviation along an axis (n,).

    At least three rows, where the track has them: at low rates the window widens.
    """
    slope, scatter = np.full((len(tracks), 2), np.nan), np.full(len(tracks), np.nan)
    for _, rows in tracks.by_track():
        if len(rows) < 2:
            continue
        t = (tracks.time_us[rows] - tracks.time_us[rows[0]]) * 1e-6
        seen = (tracks.state[rows] == State.SEEN).astype(np.float64)
        at = np.arange(len(rows))
        half_us, when = round(WINDOW_S * 500_000), tracks.time_us[rows]
        low = np.minimum(np.searchsorted(when, when - half_us), np.maximum(at - 1, 0))
        high = np.maximum(np.searchsorted(when, when + half_us, "right"), np.minimum(at + 2, len(rows)))
        few = high - low < 3
        low, high = np.where(few, np.maximum(high - 3, 0), low), np.where(few, np.minimum(low + 3, len(rows)), high)
        count = (high - low)[:, None]
        foot = tracks.foot[rows] - tracks.foot[rows[0]]
        columns = np.column_stack([t, t * t, foot, foot * t[:, None], seen, seen * t, seen * t * t])
        total = np.concatenate([np.zeros((1, columns.shape[1])), np.cumsum(columns, axis=0)])
        s = total[high] - total[low]
        spread = s[:, 1:2] - s[:, 0:1] ** 2 / count
        slope[rows] = (s[:, 4:6] - s[:, 0:1] * s[:, 2:4] / count) / spread
        measured = s[:, 8] - s[:, 7] ** 2 / np.maximum(s[:, 6], 1)
        floor = np.minimum(spread[:, 0], (WINDOW_S / 4) ** 2)
        scatter[rows] = tracks.jitter[rows] / np.sqrt(np.maximum(measured, floor))
    return slope, scatter


def of_tracks(tracks: Tracks, found: Speeds) -> dict[int, tuple[float, float]]:
    """The median speed of each track and its deviation, by id; impossible rows and those without a speed are left out."""
    good = np.isfinite(found.value) & ~found.impossible
    result = {}
    for identity, rows in tracks.by_track():
        rows = rows[good[rows]]
        if len(rows):
            result[identity] = (float(np.median(found.value[rows])), float(np.median(found.sigma[rows])))
    return result
