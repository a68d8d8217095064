"""The whole job, LAZ to classified LAZ with terrain model, in both lanes, beside laspy decoding and encoding the same file.

    python -m benchmarks.pointcloud.speed [FILE ...] [--repeat N] [--refit]

Without files: three real ones of the test data (TILERY_TEST_DATA). `--refit` writes what was measured to tilery/rates.json,
which the estimate of every run reads.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import laspy
import numpy as np

from benchmarks.measure import Cost, cost_of, machine, middle
from cli.sample import sample
from tests.data import DATA, ROOT
from tilery.estimate import TABLE

FILES = ("pointcloud/samples/lidRbook_wires.laz", "pointcloud/autzen_full_m.laz")
LANES = ("lambda", "fargate")
LASPY = "import laspy, sys; las = laspy.read(sys.argv[1]); las.write(sys.argv[2])"


def run_lane(path: Path, lane: str, folder: Path) -> tuple[Cost, dict[str, Any]]:
    """`tilery run` of one file in one lane; its cost and run.json."""
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "cli.main", "run", "pointcloud", str(path), "--out", str(folder), "--set", f"lane={lane}"]
    cost = cost_of(command)
    if cost.code:
        raise SystemExit(f"{' '.join(command)} ended with {cost.code}:\n{cost.output}")
    return cost, json.loads((folder / "run.json").read_text())


def peer(path: Path, folder: Path) -> Cost:
    """laspy (lazrs) decodes and encodes the file: the floor of any tool that rewrites it in full."""
    return cost_of([sys.executable, "-c", LASPY, str(path), str(folder / "laspy.laz")])


def fit(points: list[int], seconds: list[float]) -> dict[str, float]:
    """fixed_s and units_per_s that minimise the relative error of fixed + points / rate."""
    n, t = np.array(points, float), np.array(seconds)
    design = np.stack([1 / t, n / t], axis=1)
    (fixed, per_point), *_ = np.linalg.lstsq(design, np.ones(len(t)), rcond=None)
    per_point = max(per_point, 1e-9)
    return {"fixed_s": round(max(float(fixed), 0.1), 2), "units_per_s": round(1 / float(per_point))}


def refit(measured: dict[str, list[tuple[int, float]]]) -> None:
    """Write the fitted rates of the point cloud to rates.json, keeping everything else."""
    table = json.loads(TABLE.read_text())
    rates = table["rates"]["pointcloud"]
    for lane, name in (("lambda", "lambda"), ("fargate", "sharded")):
        rates[name] = fit([points for points, _ in measured[lane]], [seconds for _, seconds in measured[lane]])
    rates["measured"] = machine()
    TABLE.write_text(json.dumps(table, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--refit", action="store_true")
    asked = parser.parse_args()
    files = asked.files or [sample(ROOT / ".cache"), *(DATA / name for name in FILES if (DATA / name).exists())]
    measured: dict[str, list[tuple[int, float]]] = {lane: [] for lane in LANES}
    print(f"{machine()}, median of {asked.repeat}\n")
    print("| file | points | what | wall s | CPU s | M points / CPU s | peak MiB | run s of estimate s |")
    print("|---" * 8 + "|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in files:
            with laspy.open(path) as reader:
                points = reader.header.point_count
            floor = middle([peer(path, folder) for _ in range(asked.repeat)])
            _line(path, points, "laspy decode + encode", floor, "")
            for lane in LANES:
                runs = [run_lane(path, lane, folder / "out") for _ in range(asked.repeat)]
                cost, record = middle([cost for cost, _ in runs]), runs[-1][1]
                totals = sorted(float(one["timings"]["total_s"]) for _, one in runs)
                measured[lane].append((points, totals[len(totals) // 2]))
                took = f"{totals[len(totals) // 2]:.1f} of {record['estimate']['seconds']:.1f}"
                _line(path, points, f"tilery, lane {lane}", cost, took)
    if asked.refit:
        refit(measured)
        print(f"\nrefitted {TABLE}")


def _line(path: Path, points: int, what: str, cost: Cost, estimate: str) -> None:
    rate = points / cost.cpu_s / 1e6
    figures = f"{cost.wall_s:.1f} | {cost.cpu_s:.1f} | {rate:.2f} | {cost.peak_mib:.0f} | {estimate}"
    print(f"| {path.name} | {points:,} | {what} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
