"""Accuracy of the ground filter on the ISPRS reference samples, one default parameter set for all.

python -m benchmarks.pointcloud.accuracy [--data DIR] [--set KEY=VALUE]... [--leave-one-out]

With `--leave-one-out`, the samples of each site are scored with the options of `CHOICES` that are best on all other sites.

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

from tilery.options import from_text
from tilery.workloads.pointcloud import grid, ground

CHOICES = [
    {"slope": slope, "slope_share": share, "wide_m": wide, "grow_sparse": sparse, "grow_level": level, "threshold_m": threshold}
    for slope in (0.11, 0.12, 0.14)
    for share in (0.15, 0.25)
    for wide in (2.0, 20.0)
    for sparse in (1.0, 1.4)
    for level in (3.0, 4.0)
    for threshold in (0.3, 0.4)
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


def evaluate(path: Path, options: ground.GroundOptions) -> dict[str, float]:
    las = laspy.read(path)
    x, y, z = (
        grid.to_millimetres(np.asarray(stored), scale, offset)
        for stored, scale, offset in zip((las.X, las.Y, las.Z), las.header.scales, las.header.offsets, strict=True)
    )
    started = time.process_time()
    labels = ground.classify_ground(x, y, z.astype(np.int32), grid.bounds(x, y, grid.cell_millimetres(options.cell_m)), options)
    seconds = time.process_time() - started
    found = scores(np.asarray(las.classification) == ground.GROUND, labels == ground.GROUND)
    return found | {"points": len(x), "cpu_s": seconds}


def leave_one_out(paths: list[Path]) -> dict[str, float]:
    """Kappa per sample with the choice that has the best mean on the other sites (a site is the sample's first digit)."""
    table = [{path.name[4:6]: evaluate(path, ground.GroundOptions(**choice))["kappa"] for path in paths} for choice in CHOICES]
    names = [path.name[4:6] for path in paths]
    found = {}
    for name in names:
        others = [other for other in names if other[0] != name[0]]
        found[name] = max(table, key=lambda row: float(np.mean([row[other] for other in others])))[name]
    return found


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TILERY_TEST_DATA", "../shared/data")))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--leave-one-out", action="store_true")
    arguments = parser.parse_args(argv)
    paths = sorted(arguments.data.glob("pointcloud/isprs/samp*.laz"))
    if arguments.leave_one_out:
        held_out = leave_one_out(paths)
        print("\n".join(f"samp{name} {kappa:7.2f}" for name, kappa in held_out.items()))
        print(f"mean   {np.mean(list(held_out.values())):7.2f}\nminimum{min(held_out.values()):7.2f}")
        return held_out
    options = ground.GroundOptions(**from_text(arguments.set))
    results = {path.name[:6]: evaluate(path, options) for path in paths}
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
