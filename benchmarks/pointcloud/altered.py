"""The ISPRS reference samples, changed in ways that filters are known to fail at, and of which the truth is known.

python -m benchmarks.pointcloud.altered [--data DIR] [--seeds 2]

Low points in clumps or strewn, blocks of houses with courtyards on the terrain, gaps, a slope beneath all, few points, a part
cut out. Kappa of each, means over so many copies. What is put there is an object; the terrain is the sample's own ground.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.interpolate import griddata

from benchmarks.pointcloud.accuracy import Sample, evaluate, print_kappas, read
from tilery.workloads.pointcloud.options import GroundOptions

Metres = npt.NDArray[np.float64]


def places(sample: Sample) -> tuple[Metres, Metres]:
    """East and north (m) from the sample's corner."""
    return tuple((column - column.min()) / 1000 for column in sample[:2])  # type: ignore[return-value]


def terrain(sample: Sample) -> Metres:
    """Height (m) of the ground below each point, from the ground nearest to it."""
    here = np.column_stack(places(sample))
    return np.asarray(griddata(here[sample[3]], sample[2][sample[3]] / 1000, here, method="nearest"))


def lifted(sample: Sample, which: npt.NDArray[np.bool_], height: Metres) -> Sample:
    """With objects at these heights (m) in place of some points."""
    x, y, z, truth = sample
    return x, y, np.where(which, np.nan_to_num(height) * 1000, z).astype(np.int64), truth & ~which


def around_any(sample: Sample, random: np.random.Generator, count: int, least: float, most: float) -> Metres:
    """A number for each point, from 0 on, of the disk of such a radius (m) that it lies in; -1 for none."""
    east, north = places(sample)
    found = np.full(len(east), -1.0)
    for number in range(count):
        x, y, radius = random.uniform(0, east.max()), random.uniform(0, north.max()), random.uniform(least, most)
        found[np.hypot(east - x, north - y) < radius] = number
    return found


def clumps(sample: Sample, random: np.random.Generator) -> Sample:
    """Four clumps of low points, 3 to 7 m in radius, 3 to 25 m below the ground."""
    clump = around_any(sample, random, 4, 3, 7)
    depth = random.uniform(3, 25, 4)[clump.astype(int)]
    return lifted(sample, (clump >= 0) & (random.random(len(clump)) < 0.6), terrain(sample) - depth)


def strewn(sample: Sample, random: np.random.Generator) -> Sample:
    """One point in a hundred 1 to 30 m below the ground."""
    low = random.random(len(sample[0])) < 0.01
    return lifted(sample, low, terrain(sample) - random.uniform(1, 30, len(low)))


def blocks(sample: Sample, random: np.random.Generator) -> Sample:
    """Two blocks of houses of 50 to 90 x 40 to 70 m with a courtyard, their eaves 3 to 9 m above the highest ground in them."""
    east, north = places(sample)
    ground = terrain(sample)
    for _ in range(2):
        turn, x, y = random.uniform(0, np.pi), *(random.uniform(0.25, 0.75) * side.max() for side in (east, north))
        along, across = ((east - x) * np.cos(turn + by) + (north - y) * np.sin(turn + by) for by in (0, np.pi / 2))
        long, wide, high = random.uniform(25, 45), random.uniform(20, 35), random.uniform(3, 9)
        block = (abs(along) < long) & (abs(across) < wide)
        court = (abs(along - 0.3 * long) < 0.4 * long) & (abs(across) < wide - 13)
        if (block & ~court).any():
            gable = 2 * np.clip(1 - abs(across % 13 - 6.5) / 6.5, 0, 1)
            sample = lifted(sample, block & ~court, ground[block].max() + high + gable)
    return sample


def of_some(sample: Sample, kept: npt.NDArray[np.bool_]) -> Sample:
    x, y, z, truth = sample
    return x[kept], y[kept], z[kept], truth[kept]


def gaps(sample: Sample, random: np.random.Generator) -> Sample:
    """Without what lies in three disks of 10 to 30 m."""
    return of_some(sample, around_any(sample, random, 3, 10, 30) < 0)


def sloping(sample: Sample, random: np.random.Generator) -> Sample:
    """All of it on a slope of 35 %."""
    (east, north), turn = places(sample), random.uniform(0, 2 * np.pi)
    x, y, z, truth = sample
    return x, y, (z + 350 * (np.cos(turn) * east + np.sin(turn) * north)).astype(np.int64), truth


def few(sample: Sample, random: np.random.Generator) -> Sample:
    """Three points in ten."""
    return of_some(sample, random.random(len(sample[0])) < 0.3)


def part(sample: Sample, random: np.random.Generator) -> Sample:
    """A third of it, cut out."""
    within = [abs(side - random.uniform(0.3, 0.7) * side.max()) < 0.3 * side.max() for side in places(sample)]
    return of_some(sample, within[0] & within[1])


KINDS: dict[str, Callable[[Sample, np.random.Generator], Sample]] = {
    "clumps of low points": clumps,
    "low points strewn": strewn,
    "blocks of houses": blocks,
    "gaps": gaps,
    "on a slope": sloping,
    "few points": few,
    "a part": part,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TILERY_TEST_DATA", "../shared/data")))
    parser.add_argument("--seeds", type=int, default=2)
    asked = parser.parse_args()
    samples = {path.name[4:6]: read(path) for path in sorted(asked.data.glob("pointcloud/isprs/samp*.laz"))}
    table = {}
    for kind, change in KINDS.items():
        table[kind] = {
            name: float(
                np.mean(
                    [
                        evaluate(change(sample, np.random.default_rng(seed)), GroundOptions())["kappa"]
                        for seed in range(asked.seeds)
                    ]
                )
            )
            for name, sample in samples.items()
        }
    print_kappas(table)


if __name__ == "__main__":
    main()
