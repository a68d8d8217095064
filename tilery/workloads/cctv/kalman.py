"""Constant velocity in time, for many boxes at once.

A box is centre x, centre y, width, height. Each of the four moves on its own: its speed changes by white accelerations of
`SHAKE` box sizes, it is measured with an error of `BLUR` box sizes, where the size is the geometric mean of width and height.
Time is in seconds, so that skipped frames and variable rates need nothing special. The smoother is that of Rauch, Tung and
Striebel (AIAA Journal 3, 1965).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BLUR = 0.15
"""Standard deviation of a measured edge, in box sizes."""
SHAKE = np.array([0.5, 0.5, 0.1, 0.1])
"""Square root of the accelerations' spectral density, in box sizes / s^1.5: centres turn and brake, sizes change slowly."""
START = np.array([5.0, 5.0, 0.3, 0.3])
"""Standard deviation of an unknown speed, in box sizes a second."""


def size_of(boxes: Array) -> Array:
    """(n, 1): geometric mean of width and height, at least a pixel."""
    return np.sqrt(np.maximum(boxes[:, 2:3] * boxes[:, 3:4], 1.0))


def seconds(time_us: NDArray[np.int64]) -> Array:
    """(n, 1), of microseconds (n,)."""
    return np.asarray(time_us[:, None] * 1e-6, np.float64)


@dataclass(frozen=True, slots=True)
class Motion:
    """What is believed of n boxes."""

    parts: Array
    """(5, n, 4): place, speed (pixels a second), variance of the place, covariance of both, variance of the speed."""

    @property
    def place(self) -> Array:
        return np.asarray(self.parts[0])

    @property
    def speed(self) -> Array:
        return np.asarray(self.parts[1])

    def rows(self, chosen: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Motion:
        return Motion(self.parts[:, chosen])

    def put(self, chosen: NDArray[np.int64], other: Motion) -> None:
        """Replace the chosen rows."""
        self.parts[:, chosen] = other.parts

    def join(self, other: Motion) -> Motion:
        return Motion(np.concatenate([self.parts, other.parts], axis=1))


def begin(boxes: Array) -> Motion:
    """Boxes seen for the first time."""
    size = size_of(boxes)
    parts = np.zeros((5, *boxes.shape))
    parts[0], parts[2], parts[4] = boxes, (BLUR * size) ** 2, (START * size) ** 2
    return Motion(parts)


def predict(motion: Motion, dt_s: float | Array) -> Motion:
    """The same boxes `dt_s` later."""
    place, speed, pp, ps, ss = motion.parts
    density = (SHAKE * size_of(place)) ** 2
    parts = np.empty_like(motion.parts)
    parts[0], parts[1] = place + dt_s * speed, speed
    later = ps + dt_s * ss
    parts[2] = pp + dt_s * (ps + later) + density * (dt_s**3 / 3)
    parts[3] = later + density * (dt_s**2 / 2)
    parts[4] = ss + density * dt_s
    return Motion(parts)


def backwards(motion: Motion) -> Motion:
    """The same boxes with time running backwards."""
    parts = motion.parts.copy()
    parts[1], parts[3] = -parts[1], -parts[3]
    return Motion(parts)


def correct(motion: Motion, boxes: Array) -> Motion:
    """The belief after boxes were measured."""
    place, speed, pp, ps, ss = motion.parts
    spread = pp + (BLUR * size_of(boxes)) ** 2
    gain, gain_speed = pp / spread, ps / spread
    off = boxes - place
    parts = np.empty_like(motion.parts)
    parts[0], parts[1] = place + gain * off, speed + gain_speed * off
    parts[2], parts[3] = pp * (1 - gain), ps * (1 - gain)
    parts[4] = ss - gain_speed * ps
    return Motion(parts)


def smooth(time_us: NDArray[np.int64], boxes: Array, starts: NDArray[np.int64]) -> Motion:
    """The belief at each row of many tracks, from all that was measured before and after.

    time_us: (n,) ascending within each track; boxes: (n, 4); starts: first row of each track, then n.
    All tracks advance together, a row at a time.
    """
    lengths = np.diff(starts)
    order = np.argsort(-lengths, kind="stable")
    first, lengths = starts[:-1][order], lengths[order]
    longest = int(lengths[0]) if len(lengths) else 0
    alive = np.searchsorted(-lengths, -np.arange(longest), side="left")
    result = Motion(np.empty((5, *boxes.shape)))
    foreseen = [begin(boxes[first])]
    kept = foreseen.copy()
    for step in range(1, longest):
        rows = first[: alive[step]] + step
        dt_s = seconds(time_us[rows] - time_us[rows - 1])
        ahead = predict(kept[-1].rows(slice(len(rows))), dt_s)
        foreseen.append(ahead)
        kept.append(correct(ahead, boxes[rows]))
    later = kept[-1]
    for step in range(longest - 1, -1, -1):
        now, count = kept[step], len(kept[step].place)
        if step + 1 < longest and alive[step + 1]:
            following = int(alive[step + 1])
            rows = first[:following] + step
            dt_s = seconds(time_us[rows + 1] - time_us[rows])
            better = _look_back(now.rows(slice(following)), foreseen[step + 1], later, dt_s)
            now = better.join(now.rows(slice(following, count)))
        later = now
        result.put(first[:count] + step, now)
    return result


def _look_back(now: Motion, foreseen: Motion, later: Motion, dt_s: Array) -> Motion:
    """One step of the smoother: gain C = P F' / P_foreseen, 2 x 2 for each of the four."""
    _, _, pp, ps, ss = now.parts
    _, _, fpp, fps, fss = foreseen.parts
    a, c = pp + dt_s * ps, ps + dt_s * ss
    determinant = fpp * fss - fps**2
    g00, g01 = (a * fss - ps * fps) / determinant, (ps * fpp - a * fps) / determinant
    g10, g11 = (c * fss - ss * fps) / determinant, (ss * fpp - c * fps) / determinant
    place, speed, dpp, dps, dss = later.parts - foreseen.parts
    parts = now.parts.copy()
    parts[0] += g00 * place + g01 * speed
    parts[1] += g10 * place + g11 * speed
    u, v = g00 * dpp + g01 * dps, g00 * dps + g01 * dss
    parts[2] += g00 * u + g01 * v
    parts[3] += g10 * u + g11 * v
    parts[4] += g10 * (g10 * dpp + g11 * dps) + g11 * (g10 * dps + g11 * dss)
    return Motion(parts)
