"""Accuracy of the ground filter on the ISPRS reference samples, one default parameter set for all.

python -m benchmarks.pointcloud.accuracy [--data DIR] [--set KEY=VALUE]... [--leave-one-out | --copies | --numbers | --run]

With `--leave-one-out`, the samples of each site are scored with the options of `CHOICES` that are best on all other sites; with
`--copies`, changed copies of the samples; with `--numbers`, the samples with one number of the options 30 % less and more; with
`--run`, what a whole run leaves in the ground, classes above ground included, of each sample, and of a sample within its site.

Type I: ground points called object, of all ground points. Type II: object points called ground, of all object points. Total:
wrong points of all. Kappa: Cohen's. The samples: Sithole and Vosselman, ISPRS Journal 59 (2004).
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import numpy.typing as npt

from benchmarks.pointcloud import objects
from tilery.options import from_text
from tilery.workloads.pointcloud import compiled, grid, ground
from tilery.workloads.pointcloud.grid import Millimetres
from tilery.workloads.pointcloud.options import GroundOptions, PointCloudOptions

Sample = tuple[Millimetres, Millimetres, Millimetres, npt.NDArray[np.bool_]]
"""x, y, z (mm), and which points are ground."""

CHOICES = [
    {"slope": slope, "wide_m": wide, "threshold_m": threshold, "crowd_share": share, "crowd_slope": crowd, "open_grow": grow}
    for slope in (0.11, 0.12, 0.14)
    for wide in (2.0, 20.0)
    for threshold in (0.3, 0.4)
    for share in (0.25, 0.3, 0.35)
    for crowd in (0.08, 0.1)
    for grow in (1.0, 1.5)
]
"""What was chosen by these samples; `wide_m` 20 lets the tolerance grow evenly."""


def scores(truth: npt.NDArray[np.bool_], found: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Type I, Type II, total error and Cohen's kappa, in percent, of ground masks."""
    n = len(truth)
    both, lost, added = int((truth & found).sum()), int((truth & ~found).sum()), int((~truth & found).sum())
    neither = n - both - lost - added
    chance = ((both + lost) * (both + added) + (neither + lost) * (neither + added)) / n**2
    agreement = (both + neither) / n
    return {
        "type1": 100 * lost / max(1, both + lost),
        "type2": 100 * added / max(1, neither + added),
        "total": 100 * (lost + added) / n,
        "kappa": 100 * (agreement - chance) / (1 - chance),
    }


def read(path: Path) -> Sample:
    las = laspy.read(path)
    x, y, z = (
        grid.to_millimetres(np.asarray(stored), scale, offset)
        for stored, scale, offset in zip((las.X, las.Y, las.Z), las.header.scales, las.header.offsets, strict=True)
    )
    return x, y, z, np.asarray(las.classification) == ground.GROUND


def evaluate(sample: Sample, options: GroundOptions) -> dict[str, float]:
    x, y, z, truth = sample
    started = time.process_time()
    labels = ground.classify_ground(x, y, z.astype(np.int32), grid.bounds(x, y, grid.cell_millimetres(options.cell_m)), options)
    seconds = time.process_time() - started
    return scores(truth, labels == ground.GROUND) | {"points": len(x), "cpu_s": seconds}


def kappas(samples: dict[str, Sample], options: GroundOptions) -> dict[str, float]:
    return {name: evaluate(sample, options)["kappa"] for name, sample in samples.items()}


def leave_one_out(samples: dict[str, Sample]) -> dict[str, float]:
    """Kappa per sample with the choice that has the best mean on the other sites (a site is the sample's first digit)."""
    table = [kappas(samples, GroundOptions(**choice)) for choice in CHOICES]
    found = {}
    for name in samples:
        others = [other for other in samples if other[0] != name[0]]
        found[name] = max(table, key=lambda row: float(np.mean([row[other] for other in others])))[name]
    return found


def copies(sample: Sample, seed: int) -> dict[str, Sample]:
    """The sample, mirrored, turned, moved by a part of a cell, and without every fifth point, at random."""
    x, y, z, truth = sample
    random = np.random.default_rng(seed)
    angle = random.uniform(0, 2 * np.pi)
    east, north = x - x.min(), y - y.min()
    turned = (np.cos(angle) * east - np.sin(angle) * north, np.sin(angle) * east + np.cos(angle) * north)
    turned_x, turned_y = (np.floor(values).astype(np.int64) for values in turned)
    aside, up = random.integers(0, 1000, 2)
    left = random.random(len(x)) < 0.8
    return {
        "mirrored": (-x, y, z, truth),
        "turned": (turned_x, turned_y, z, truth),
        "moved": (x + aside, y + up, z, truth),
        "thinned": (x[left], y[left], z[left], truth[left]),
    }


def of_copies(samples: dict[str, Sample], options: GroundOptions) -> dict[str, dict[str, float]]:
    """Kappa per kind of copy and sample: means over three copies of each kind."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, sample in samples.items():
        for seed in range(3):
            for kind, copy in copies(sample, seed).items():
                found.setdefault(kind, {}).setdefault(name, []).append(evaluate(copy, options)["kappa"])
    return {kind: {name: float(np.mean(values)) for name, values in row.items()} for kind, row in found.items()}


def of_numbers(samples: dict[str, Sample], options: GroundOptions) -> dict[str, dict[str, float]]:
    """Kappa per sample with each number of the options but the cell 30 % less and more."""
    found = {}
    for name, value in options.model_dump().items():
        for factor in (0.7, 1.3) if name != "cell_m" else ():
            changed = round(value * factor) if isinstance(value, int) else round(value * factor, 4)
            found[f"{name} {changed}"] = kappas(samples, options.model_copy(update={name: changed}))
    return found


def of_runs(paths: list[Path], options: GroundOptions) -> dict[str, dict[str, float]]:
    """Kappa per sample of what a whole run leaves in the ground, and of the samples that lie within one of the sites."""
    run = PointCloudOptions(ground=options)
    found: dict[str, dict[str, float]] = {"alone": {}, "in its site": {}}
    sites = {path.name[5]: path for path in paths[0].parent.glob("CSite*.laz")} if paths else {}
    at_sites = {}
    for digit, path in sites.items():
        points, _ = objects.read(path)
        labels = objects.labels_of(points, run)
        places = zip(points.x.tolist(), points.y.tolist(), points.z.tolist(), strict=True)
        at_sites[digit] = dict(zip(places, (labels == ground.GROUND).tolist(), strict=True))
    for path in paths:
        points, truth = objects.read(path)
        name, is_ground = path.name[4:6], truth == ground.GROUND
        found["alone"][name] = scores(is_ground, objects.labels_of(points, run) == ground.GROUND)["kappa"]
        site = at_sites.get(name[0])
        if site is not None:
            places = zip(points.x.tolist(), points.y.tolist(), points.z.tolist(), strict=True)
            found["in its site"][name] = scores(is_ground, np.array([site[place] for place in places]))["kappa"]
    return found


def print_kappas(table: dict[str, dict[str, float]]) -> None:
    width = max(map(len, table)) + 2
    print(" " * width + "".join(f"{name:>7}" for name in (*next(iter(table.values())), "mean", "least")))
    for kind, row in table.items():
        values = [*row.values(), float(np.mean(list(row.values()))), min(row.values())]
        print(f"{kind:{width}}" + "".join(f"{value:7.2f}" for value in values))


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TILERY_TEST_DATA", "../shared/data")))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    how = parser.add_mutually_exclusive_group()
    for name in ("--leave-one-out", "--copies", "--numbers", "--run"):
        how.add_argument(name, action="store_true")
    arguments = parser.parse_args(argv)
    paths = sorted(arguments.data.glob("pointcloud/isprs/samp*.laz"))
    options = GroundOptions(**from_text(arguments.set))
    if arguments.run:
        table = of_runs(paths, options)
        for kind, row in table.items():
            if row:
                print_kappas({kind: row})
        return table
    samples = {path.name[4:6]: read(path) for path in paths}
    if arguments.leave_one_out or arguments.copies or arguments.numbers:
        compiled.prepare(compiled.LEAST_TO_COMPILE)
        table = {"site left out": leave_one_out(samples)} if arguments.leave_one_out else {}
        table |= of_copies(samples, options) if arguments.copies else {}
        table |= of_numbers(samples, options) if arguments.numbers else {}
        print_kappas(table)
        return table
    results = {f"samp{name}": evaluate(sample, options) for name, sample in samples.items()}
    columns = ("points", "type1", "type2", "total", "kappa", "cpu_s")
    print("sample  " + "".join(f"{name:>9}" for name in columns))
    for name, row in results.items():
        print(
            f"{name:8}" + "".join(f"{row[column]:9.0f}" if column == "points" else f"{row[column]:9.2f}" for column in columns)
        )
    for name, gather in (("mean", np.mean), ("minimum", np.min), ("maximum", np.max)):
        values = [gather([row[column] for row in results.values()]) for column in columns]
        print(f"{name:8}" + "".join(f"{value:9.2f}" if i else f"{value:9.0f}" for i, value in enumerate(values)))
    return results


if __name__ == "__main__":
    main()
