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
SHAKE = np.array([0.3, 0.3, 0.1, 0.1])
"""Square root of the accelerations' spectral density, in box sizes / s^1.5: centres turn and brake, sizes change slowly."""
START = np.array([5.0, 5.0, 0.3, 0.3])
"""Standard deviation of an unknown speed, in box sizes a second."""


def size_of(boxes: Array) -> Array:
    """(n, 1): geometric mean of width and height, at least a pixel."""
    return np.sqrt(np.maximum(boxes[:, 2:3] * boxes[:, 3:4], 1.0))


def seconds(time_us: NDArray[np.int64]) -> Array:
    """(n, 1), of microseconds (n,)."""
    return np.asarray(time_us[:, None] * 1e-6, np.float64)


@dataclass(slots=True)
class Motion:
    """What is believed of n boxes; all arrays are (n, 4)."""

    place: Array
    speed: Array
    """Pixels a second."""
    pp: Array
    """Variance of the place."""
    ps: Array
    """Covariance of place and speed."""
    ss: Array
    """Variance of the speed."""

    def rows(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Motion:
        return Motion(self.place[chosen], self.speed[chosen], self.pp[chosen], self.ps[chosen], self.ss[chosen])

    def put(self, chosen: NDArray[np.int64], other: Motion) -> None:
        """Replace the chosen rows."""
        for name in ("place", "speed", "pp", "ps", "ss"):
            getattr(self, name)[chosen] = getattr(other, name)

    def join(self, other: Motion) -> Motion:
        names = ("place", "speed", "pp", "ps", "ss")
        return Motion(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names))


def begin(boxes: Array) -> Motion:
    """Boxes seen for the first time."""
    size = size_of(boxes)
    zero = np.zeros_like(boxes)
    return Motion(boxes.copy(), zero, zero + (BLUR * size) ** 2, zero, (START * size) ** 2)


def predict(motion: Motion, dt_s: float | Array) -> Motion:
    """The same boxes `dt_s` later."""
    density = (SHAKE * size_of(motion.place)) ** 2
    ps = motion.ps + dt_s * motion.ss
    return Motion(
        place=motion.place + dt_s * motion.speed,
        speed=motion.speed,
        pp=motion.pp + dt_s * (motion.ps + ps) + density * (dt_s**3 / 3),
        ps=ps + density * (dt_s**2 / 2),
        ss=motion.ss + density * dt_s,
    )


def correct(motion: Motion, boxes: Array) -> Motion:
    """The belief after boxes were measured."""
    spread = motion.pp + (BLUR * size_of(boxes)) ** 2
    gain, gain_speed = motion.pp / spread, motion.ps / spread
    off = boxes - motion.place
    return Motion(
        place=motion.place + gain * off,
        speed=motion.speed + gain_speed * off,
        pp=motion.pp * (1 - gain),
        ps=motion.ps * (1 - gain),
        ss=motion.ss - gain_speed * motion.ps,
    )


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
    result = Motion(*(np.empty_like(boxes) for _ in range(5)))
    filtered = begin(boxes[first])
    kept, foreseen = [filtered], [filtered]
    for step in range(1, longest):
        rows = first[: alive[step]] + step
        dt_s = seconds(time_us[rows] - time_us[rows - 1])
        ahead = predict(kept[-1].rows(np.arange(len(rows))), dt_s)
        foreseen.append(ahead)
        kept.append(correct(ahead, boxes[rows]))
    later = kept[-1]
    for step in range(longest - 1, -1, -1):
        now, count = kept[step], len(kept[step].place)
        if step + 1 < longest and alive[step + 1]:
            following = int(alive[step + 1])
            rows = first[:following] + step
            dt_s = seconds(time_us[rows + 1] - time_us[rows])
            better = _look_back(now.rows(np.arange(following)), foreseen[step + 1], later, dt_s)
            now = better.join(now.rows(np.arange(following, count)))
        later = now
        rows = first[:count] + step
        for name in ("place", "speed", "pp", "ps", "ss"):
            getattr(result, name)[rows] = getattr(now, name)
    return result


def _look_back(now: Motion, foreseen: Motion, later: Motion, dt_s: Array) -> Motion:
    """One step of the smoother: gain C = P F' / P_foreseen, 2 x 2 for each of the four."""
    a, b = now.pp + dt_s * now.ps, now.ps
    c, d = now.ps + dt_s * now.ss, now.ss
    determinant = foreseen.pp * foreseen.ss - foreseen.ps**2
    g00 = (a * foreseen.ss - b * foreseen.ps) / determinant
    g01 = (b * foreseen.pp - a * foreseen.ps) / determinant
    g10 = (c * foreseen.ss - d * foreseen.ps) / determinant
    g11 = (d * foreseen.pp - c * foreseen.ps) / determinant
    place, speed = later.place - foreseen.place, later.speed - foreseen.speed
    pp, ps, ss = later.pp - foreseen.pp, later.ps - foreseen.ps, later.ss - foreseen.ss
    return Motion(
        place=now.place + g00 * place + g01 * speed,
        speed=now.speed + g10 * place + g11 * speed,
        pp=now.pp + g00 * (g00 * pp + g01 * ps) + g01 * (g00 * ps + g01 * ss),
        ps=now.ps + g10 * (g00 * pp + g01 * ps) + g11 * (g00 * ps + g01 * ss),
        ss=now.ss + g10 * (g10 * pp + g11 * ps) + g11 * (g10 * ps + g11 * ss),
    )
