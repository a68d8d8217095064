"""The whole job, LAZ to classified LAZ, in both lanes, with all products and with the file alone; and peers beside it.

    python -m benchmarks.pointcloud.speed [FILE ...] [--repeat N] [--refit] [--peers]

Without files: three real ones of the test data (TILERY_TEST_DATA). `--refit` writes what was measured to tilery/rates.json,
which the estimate of every run reads. `--peers` runs those of requirements.txt that are installed, and PDAL where it is on
PATH, on a small file: some need minutes for 100,000 points.
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
from benchmarks.pointcloud.peers import PEERS, command, missing
from cli.sample import sample
from tests.data import DATA, ROOT
from tilery.estimate import TABLE

FILES = ("pointcloud/samples/lidRbook_wires.laz", "pointcloud/autzen_full_m.laz")
LANES = ("lambda", "fargate")
PEER_FILE = "pointcloud/samples/ignpt_test_data_77050_627755_LA93_IGN69.laz"
FLOOR = "laspy decode + encode"


def run_lane(path: Path, lane: str, folder: Path, products: str = "") -> tuple[Cost, dict[str, Any]]:
    """`tilery run` of one file in one lane; its cost and run.json."""
    shutil.rmtree(folder, ignore_errors=True)
    ours = [sys.executable, "-m", "cli.main", "run", "pointcloud", str(path), "--out", str(folder), "--set", f"lane={lane}"]
    ours += ["--set", f"products={products}"] if products else []
    cost = cost_of(ours)
    if cost.code:
        raise SystemExit(f"{' '.join(ours)} ended with {cost.code}:\n{cost.output}")
    return cost, json.loads((folder / "run.json").read_text())


def peer(name: str, path: Path, folder: Path) -> Cost:
    """A peer's whole job on the file."""
    return cost_of(command(name, (str(path), str(folder / "peer.laz"))))


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
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--refit", action="store_true")
    parser.add_argument("--peers", action="store_true")
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
            _line(path, points, FLOOR, middle([peer(FLOOR, path, folder) for _ in range(asked.repeat)]), "")
            for lane in LANES:
                runs = [run_lane(path, lane, folder / "out") for _ in range(asked.repeat)]
                cost, record = middle([cost for cost, _ in runs]), runs[-1][1]
                totals = sorted(float(one["timings"]["total_s"]) for _, one in runs)
                measured[lane].append((points, totals[len(totals) // 2]))
                took = f"{totals[len(totals) // 2]:.1f} of {record['estimate']['seconds']:.1f}"
                _line(path, points, f"tilery, lane {lane}, all products", cost, took)
                alone = [run_lane(path, lane, folder / "out", '["classified"]')[0] for _ in range(asked.repeat)]
                _line(path, points, f"tilery, lane {lane}, classified file", middle(alone), "")
        if asked.peers:
            _peers(DATA / PEER_FILE, folder, asked.repeat)
    if asked.refit:
        refit(measured)
        print(f"\nrefitted {TABLE}")


def _peers(path: Path, folder: Path, repeat: int) -> None:
    with laspy.open(path) as reader:
        points = reader.header.point_count
    ours = [run_lane(path, "lambda", folder / "out", '["classified"]')[0] for _ in range(repeat)]
    _line(path, points, "tilery, lane lambda, classified file", middle(ours), "")
    for name in PEERS:
        if why := missing(name):
            print(f"| {path.name} | | {name}: not run, {why} | | | | | |", flush=True)
            continue
        cost = middle([peer(name, path, folder) for _ in range(repeat)])
        _line(path, points, name if not cost.code else f"{name}: failed", cost, "")


def _line(path: Path, points: int, what: str, cost: Cost, estimate: str) -> None:
    rate = points / cost.cpu_s / 1e6
    figures = f"{cost.wall_s:.1f} | {cost.cpu_s:.1f} | {rate:.2f} | {cost.peak_mib:.0f} | {estimate}"
    print(f"| {path.name} | {points:,} | {what} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
