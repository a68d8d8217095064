"""Scenes of which it is known what is ground, of the kinds that ground filters are known to fail at.

python -m benchmarks.pointcloud.scenes [--set KEY=VALUE]...

The kinds are those of the ISPRS filter test (Sithole and Vosselman, ISPRS Journal 59, 2004): outliers, large and low
buildings, ramps, terraces, banks, bridges, gaps in the data, few points. As there, a bridge is an object; a ramp, a bank, and
the ground above and below a wall are ground. Every scene is a square of `SIDE` metres around the origin.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.pointcloud.accuracy import Sample, evaluate
from tilery.options import from_text
from tilery.workloads.pointcloud.options import GroundOptions

SIDE = 160.0
NOISE = 0.03
"""Standard deviation (m) of heights."""

Metres = NDArray[np.float64]
Mask = NDArray[np.bool_]
Scene = tuple[Metres, Metres]
"""Height of the ground, and of what stands on it (not a number where nothing does), at given places."""


def slope(x: Metres, y: Metres) -> Metres:
    """A plain that is not quite flat."""
    return 0.02 * x + 0.5 * np.sin(y / 30)


def nothing(x: Metres) -> Metres:
    return np.full(x.shape, np.nan)


def box(x: Metres, y: Metres, centre: tuple[float, float], size: tuple[float, float]) -> Mask:
    return (abs(x - centre[0]) < size[0] / 2) & (abs(y - centre[1]) < size[1] / 2)


def clumps_of_low_points(x: Metres, y: Metres) -> Scene:
    """A dozen clumps of 2 to 3 m across, of points 8 to 20 m below the ground."""
    random = np.random.default_rng(1)
    ground, above = slope(x, y), nothing(x)
    for centre_x, centre_y, radius, depth in random.uniform((-70, -70, 1, 8), (70, 70, 1.5, 20), (12, 4)):
        clump = (x - centre_x) ** 2 + (y - centre_y) ** 2 < radius**2
        above[clump] = ground[clump] - depth
    return ground, above


def large_buildings(x: Metres, y: Metres) -> Scene:
    """A flat roof of 60 x 70 m with a courtyard and a lower wing, and small houses around."""
    ground, above = slope(x, y), nothing(x)
    above[box(x, y, (0, 0), (60, 70))] = 12
    above[box(x, y, (0, 52), (40, 40))] = 5
    court = box(x, y, (0, 0), (16, 20))
    above[court] = np.nan
    for across in (-60, 60):
        for along in range(-65, 66, 26):
            above[box(x, y, (across, along), (12, 16))] = 6
    return ground, above


def ramp(x: Metres, y: Metres) -> Scene:
    """A road that climbs 5 m on walls, to a plateau at the edge of the scene, with houses beside it."""
    rise = np.clip((x + 40) / 60, 0, 1) * 5
    ground = np.where((abs(y) < 6) | (x > 40), rise, 0) + slope(x, y)
    above = nothing(x)
    for along in (-45, -25, 25, 45):
        above[box(x, y, (-10, along), (14, 10))] = 7
    return ground, above


def terraces(x: Metres, y: Metres) -> Scene:
    """A hillside of terraces 12 to 30 m wide with walls of 1.5 to 3 m, and trees."""
    walls = np.array([-66, -48, -36, -12, 18, 40, 60])
    heights = np.concatenate([[0], np.cumsum([2, 3, 1.5, 3, 2.5, 2, 3])])
    ground = heights[np.searchsorted(walls, x + 3 * np.sin(y / 25))] + 0.03 * x
    return ground, trees(x, y, ground, 25, 2)


def trees(x: Metres, y: Metres, ground: Metres, count: int, seed: int) -> Metres:
    """Crowns that half the points of pass."""
    random = np.random.default_rng(seed)
    above = nothing(x)
    for centre_x, centre_y, radius in random.uniform((-80, -80, 1.5), (80, 80, 4), (count, 3)):
        crown = ((x - centre_x) ** 2 + (y - centre_y) ** 2 < radius**2) & (random.random(len(x)) < 0.5)
        above[crown] = ground[crown] + random.uniform(2, 9, crown.sum())
    return above


def bank(x: Metres, y: Metres) -> Scene:
    """A railway on a bank of 5 m, 8 m wide on top, its sides 1 on 1.5, through open land with a few trees."""
    along = x + 0.4 * y
    ground = slope(x, y) + np.clip((4 + 7.5 - abs(along)) / 1.5, 0, 5)
    return ground, trees(x, y, ground, 12, 3)


def bridge(x: Metres, y: Metres) -> Scene:
    """A road on a bank crosses a cut of 6 m depth, 24 m wide, on a bridge 10 m wide."""
    cut = np.clip((abs(x) - 12) / 1.5, -6, 0)
    ground = slope(x, y) * 0.2 + np.where(abs(x) < 21, cut, 0)
    above = nothing(x)
    deck = (abs(y) < 5) & (cut < -1)
    above[deck] = 0.3
    return ground, above


def gap(x: Metres, y: Metres) -> Scene:
    """A river of 40 m without points between banks of 2 m, houses on one side."""
    shore = abs(x - 8 * np.sin(y / 30)) - 20
    ground = np.where(shore > 0, np.clip(shore / 2, 0, 2), np.nan) + slope(x, y)
    above = nothing(x)
    for along in range(-60, 61, 24):
        above[box(x, y, (50, along), (12, 12))] = 9
    return ground, above


def hillside_village(x: Metres, y: Metres) -> Scene:
    """Houses cut into a slope of 1 on 3, their roofs little above the ground behind them, and trees."""
    ground = 0.33 * x + 0.5 * np.sin(y / 12)
    above = trees(x, y, ground, 60, 4)
    for number, across in enumerate(range(-60, 61, 24)):
        for along in range(-60, 61, 30):
            house = box(x, y, (across, along + 7 * (number % 2)), (10, 12))
            above[house] = 0.33 * across + 5
    return ground, above


SCENES: dict[str, tuple[Callable[[Metres, Metres], Scene], float]] = {
    "clumps of low points": (clumps_of_low_points, 1.0),
    "large buildings": (large_buildings, 1.0),
    "ramp": (ramp, 1.0),
    "terraces": (terraces, 1.0),
    "bank": (bank, 1.0),
    "bridge": (bridge, 1.0),
    "gap": (gap, 1.0),
    "hillside village": (hillside_village, 1.0),
    "terraces, few points": (terraces, 0.2),
    "bank, few points": (bank, 0.2),
    "village, few points": (hillside_village, 0.2),
}
"""Each with its points per square metre."""


def sample(name: str, seed: int = 0) -> Sample:
    """Points of a scene, and which are ground."""
    make, density = SCENES[name]
    random = np.random.default_rng(seed)
    x, y = random.uniform(-SIDE / 2, SIDE / 2, (2, round(SIDE**2 * density)))
    ground, above = make(x, y)
    z = np.where(np.isnan(above), ground, above) + random.normal(0, NOISE, len(x))
    seen = ~np.isnan(z)
    x_mm, y_mm, z_mm = (np.floor(values[seen] * 1000).astype(np.int64) for values in (x, y, z))
    return x_mm, y_mm, z_mm, np.isnan(above)[seen]


def main(argv: list[str] | None = None) -> dict[str, dict[str, float]]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = GroundOptions(**from_text(parser.parse_args(argv).set))
    found = {name: evaluate(sample(name), options) for name in SCENES}
    table = {name: {column: row[column] for column in ("type1", "type2", "kappa")} for name, row in found.items()}
    print(" " * 24 + "".join(f"{column:>8}" for column in ("type1", "type2", "kappa")))
    print("\n".join(f"{name:24}" + "".join(f"{value:8.2f}" for value in row.values()) for name, row in table.items()))
    return table


if __name__ == "__main__":
    main()
